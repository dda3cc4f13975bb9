/* mail.c - letters between workers: boxes, leave to send, the barrier.
 *
 * A box holds what is to be said to one other worker, in order. At most WINDOW letters are under way to it; it gives leave
 * for more as it reads, so whoever carries units never has to hold more than that. What does not go out waits in the box,
 * and while a box is long no peer is read; mail still is, and needs no box to be short, so two full workers empty each
 * other.
 *
 * The barrier. Answers that depend on what others know are marked with the open epoch, like answers that wait for a store.
 * When something was said in an epoch, SYNC goes out behind it at the next drain; the epoch is over when all have said ACK,
 * which they do as they read it. Refuses to know what letters are about.
 *
 * Memory. A letter that is lost would break a promise made to somebody, so room for it is made before anything is changed.
 * What a client asks for is refused when there is none (roam_mail_may). What follows from that, and answers to letters,
 * have the rest of each box to themselves (spare), and while somebody uses it no peer is read. Should even that be used up,
 * or a reader have no memory for what a letter asks of him, the promises that are broken are taken back: with a store it
 * has failed; else sessions end, so that their clients learn of it (roam_mail_fail), and who waits for the reader's ACK
 * learns it with that (roam_mail_missed). */
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"

enum {
  WINDOW = 1024,
  UNIT = 16, /* letters in one unit */
  BOX_MAX = 1 << 18,
  STALL = 8192,
  SPARE_ALL = 512, /* letters, shared among the boxes of a worker */
  SPARE_MIN = 16,
  DOOR = 16 /* letters to each: what a peer may cause before it is looked at again */
};
#define STALL_BYTES ((size_t)16 << 20)

/* ---- life ---- */

void roam_letter_drop(struct roam_letter *letter) {
  roam_blob_unref(letter->message.blob);
  roam_blob_unref(letter->text);
  roam_blob_unref(letter->user);
  roam_move_free(letter->move);
}

void roam_broker_mail_drop(const uint8_t *data, size_t len) {
  for (size_t at = 0; at + sizeof(struct roam_letter) <= len; at += sizeof(struct roam_letter)) {
    struct roam_letter letter;
    memcpy(&letter, data + at, sizeof letter);
    roam_letter_drop(&letter);
  }
}

static struct roam_hash_key make_key(roam_bytes secret) {
  struct roam_hash_key zero = {0}, key;
  key.k0 = roam_hash_bytes(zero, secret.base, secret.len);
  key.k1 = roam_hash_u64(zero, key.k0);
  return key;
}

static roam_rc make_boxes(struct roam_mail *m) {
  m->boxes = calloc(m->n, sizeof *m->boxes);
  if (!m->boxes) return ROAM_E_MEMORY;
  for (uint32_t i = 0; i < m->n; i++) roam_ring_init(&m->boxes[i].out, sizeof(struct roam_letter), BOX_MAX);
  m->spare = SPARE_ALL / m->n > SPARE_MIN ? SPARE_ALL / m->n : SPARE_MIN;
  for (uint32_t i = 0; i < m->n; i++) {
    m->boxes[i].sending = calloc(UNIT, sizeof *m->boxes[i].sending);
    if (!m->boxes[i].sending || (i != m->self && roam_ring_reserve(&m->boxes[i].out, 2 * m->spare) != 0))
      return ROAM_E_MEMORY;
  }
  return 0;
}

roam_rc roam_mail_init(roam_broker *b, const roam_broker_options *o) {
  struct roam_mail *m = calloc(1, sizeof *m);
  if (!m) return ROAM_E_MEMORY;
  size_t ids = (size_t)o->sessions_max * o->workers * 2 + ROAM_BROKER_REMEMBERED_MAX;
  b->mail = m;
  m->self = m->origin = o->worker;
  m->n = o->workers;
  m->key = make_key(o->secret);
  m->epoch = 1;
  roam_list_init(&m->tombs);
  roam_list_init(&m->home_list);
  roam_list_init(&m->claim_list);
  roam_list_init(&m->ended);
  roam_list_init(&m->late);
  roam_list_init(&m->ghost_list);
  roam_map_init(&m->tombstones, ROAM_TREE_NODES_MAX, b->random);
  roam_map_init(&m->homes, ids, b->random);
  roam_map_init(&m->claims, ids, b->random);
  roam_map64_init(&m->ghosts, ids, NULL);
  roam_map64_init(&m->arrivals, ids, NULL);
  roam_list_init(&m->others.all);
  roam_list_init(&m->shares.all);
  roam_rc rc = make_boxes(m);
  if (rc == 0)
    rc =
        roam_topics_init(&m->others, o->topic_levels_max, UINT32_MAX, ROAM_WORKERS_MAX * (ROAM_WORKERS_MAX + 1), b->random);
  if (rc == 0) rc = roam_topics_init(&m->shares, o->topic_levels_max, UINT32_MAX, ROAM_TREE_NODES_MAX, b->random);
  m->shares.group_next = (uint64_t)m->self << ROAM_WORKER_SHIFT;
  if (rc == 0) roam_topics_watch(&b->topics);
  return rc;
}

void roam_mail_close(roam_broker *b) {
  if (b->mail) b->mail->closing = true;
}

void roam_mail_reset(roam_broker *b) {
  struct roam_mail *m = b->mail;
  struct roam_letter letter;
  if (!m) return;
  roam_mail_claims_free(b);
  roam_ghosts_free(b);
  roam_mail_tombs_free(b);
  roam_topics_reset(&m->others);
  roam_topics_reset(&m->shares);
  for (uint32_t i = 0; m->boxes && i < m->n; i++) {
    while (roam_ring_pop(&m->boxes[i].out, &letter)) roam_letter_drop(&letter);
    roam_ring_reset(&m->boxes[i].out);
    roam_blob_unref(m->boxes[i].figures);
    free(m->boxes[i].sending);
  }
  free(m->boxes);
  free(m);
  b->mail = NULL;
}

uint32_t roam_mail_home(const struct roam_mail *m, const void *name, size_t len) {
  return (uint32_t)(roam_hash_bytes(m->key, name, len) % m->n);
}

/* ---- out ---- */

static size_t weight(const struct roam_letter *letter) {
  return letter->message.blob ? roam_blob_len(letter->message.blob) : 0;
}

/* Nothing the reader may write down comes of it. */
static bool is_light(const struct roam_letter *letter) {
  switch ((enum roam_letter_kind)letter->kind) {
    case ROAM_LETTER_LEAVE:
    case ROAM_LETTER_DATAGRAM:
    case ROAM_LETTER_FIGURES:
    case ROAM_LETTER_ROUND:
    case ROAM_LETTER_FAILED: return true;
    case ROAM_LETTER_PUBLISH:
    case ROAM_LETTER_DELIVER:
    case ROAM_LETTER_AGAIN: return letter->message.qos == 0 && letter->stamp == 0;
    default: return false;
  }
}

/* With a store, whoever asked for it to be said waits until it is true there, too. */
static void note_said(roam_broker *b, const struct roam_letter *letter) {
  b->mail->said++;
  if (!b->durable.store || !letter->message.blob) return;
  b->mail->dirty = true;
  b->durable.changes++;
}

roam_rc roam_mail_post(roam_broker *b, uint32_t to, const struct roam_letter *letter) {
  struct roam_mail *m = b->mail;
  struct roam_letter copy = *letter;
  roam_rc rc = m->closing || to >= m->n || to == m->self ? ROAM_E_STATE : roam_ring_push(&m->boxes[to].out, letter);
  if (rc == 0) {
    m->boxes[to].out_bytes += weight(letter);
    if (!is_light(letter)) note_said(b, letter);
    return 0;
  }
  if (!m->closing && copy.kind != ROAM_LETTER_DATAGRAM && copy.kind != ROAM_LETTER_FIGURES) {
    roam_trace(&b->o.log, b->now, LETTER_LOST, .worker = to, .why = roam_strerror(rc));
    roam_mail_fail(b);
  }
  roam_letter_drop(&copy);
  return rc;
}

static bool has_room(const struct roam_mail *m, size_t n) {
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self && roam_ring_reserve(&m->boxes[i].out, n) != 0) return false;
  return true;
}

bool roam_mail_may(const roam_broker *b, size_t n) { return has_room(b->mail, n + b->mail->spare); }

bool roam_mail_can(const roam_broker *b, size_t n) { return has_room(b->mail, n); }

/* There may be other letters in the ring of changes, which go first. */
bool roam_mail_can_close(const roam_broker *b) { return roam_ring_count(&b->topics.changes) == 0 && has_room(b->mail, 1); }

void roam_mail_fail(roam_broker *b) {
  if (b->mail->closing) return;
  if (b->durable.store) {
    b->durable.starved = true;
    return;
  }
  ROAM_LIST_EACH(&b->order, node) {
    struct roam_record *r = ROAM_CONTAINER(node, struct roam_record, order);
    if (r->session) roam_sessions_doom(b, r);
  }
}

void roam_mail_missed(roam_broker *b, uint32_t from) {
  if (b->durable.store) b->durable.starved = true;
  else b->mail->missed |= UINT64_C(1) << from;
}

static void begin_barrier(roam_broker *b) {
  struct roam_mail *m = b->mail;
  if (!m->dirty || !roam_mail_can_close(b)) return; /* later; answers wait */
  m->dirty = false;
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self) roam_mail_post(b, i, &(struct roam_letter){.kind = ROAM_LETTER_SYNC, .number = m->epoch});
  m->epoch++;
}

/* Several SYNCs may have been read: the last one counts for all. Later than it could be is never wrong. */
static void acknowledge(roam_broker *b) {
  struct roam_mail *m = b->mail;
  for (uint32_t i = 0; i < m->n; i++) {
    struct roam_mail_box *box = &m->boxes[i];
    uint64_t bit = UINT64_C(1) << i;
    if (box->owed == 0 || roam_ring_reserve(&box->out, 1) != 0) continue;
    roam_mail_post(b, i,
                   &(struct roam_letter){.kind = ROAM_LETTER_ACK, .number = box->owed, .flag = (m->missed & bit) != 0});
    m->missed &= ~bit;
    box->owed = 0;
  }
}

/* Behind the ROUND that went last nothing goes before all have said theirs. */
static bool has_leave(const struct roam_mail *m, const struct roam_mail_box *box) {
  return box->under_way < WINDOW && roam_ring_count(&box->out) > 0 && box->held_by <= m->rounds_done;
}

static bool owes_leave(const struct roam_mail_box *box) { return box->read >= WINDOW / 2; }

static bool fill(struct roam_mail *m, uint32_t to, roam_wire *out) {
  struct roam_mail_box *box = &m->boxes[to];
  size_t k = 0;
  if (!has_leave(m, box) && !owes_leave(box)) return false;
  if (box->read > 0) {
    box->sending[k++] = (struct roam_letter){.kind = ROAM_LETTER_LEAVE, .number = box->read};
    box->read = 0;
  }
  while (k < UNIT && has_leave(m, box)) {
    roam_ring_pop(&box->out, &box->sending[k]);
    if (box->sending[k].kind == ROAM_LETTER_ROUND) box->held_by = box->sending[k].number;
    box->out_bytes -= weight(&box->sending[k++]);
    box->under_way++;
  }
  m->letters_out += k;
  *out = (roam_wire){
      .kind = ROAM_WIRE_MAIL, .handle = to, .data = (const uint8_t *)box->sending, .len = k * sizeof box->sending[0]};
  return true;
}

size_t roam_mail_drain(roam_broker *b, roam_wire out[], size_t n) {
  struct roam_mail *m = b->mail;
  size_t used = 0;
  if (!m || n == 0) return 0;
  roam_mail_flush(b);
  if (roam_mail_gates(b)) {
    acknowledge(b);
    begin_barrier(b);
  }
  bool stalled = roam_mail_stalled(b);
  for (uint32_t i = 0; i < m->n && used < n; i++)
    if (i != m->self && fill(m, i, &out[used])) used++;
  if (stalled && !roam_mail_stalled(b)) roam_durable_wake(b);
  return used;
}

bool roam_mail_waits(const roam_broker *b) {
  const struct roam_mail *m = b->mail;
  if (!m) return false;
  if ((m->dirty && roam_mail_gates(b) && roam_mail_can_close(b)) ||
      (roam_ring_count(&b->topics.changes) > 0 && roam_mail_can(b, 1)) || !roam_list_empty(&m->ended) ||
      !roam_list_empty(&m->late))
    return true;
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self && (m->boxes[i].owed > 0 || has_leave(m, &m->boxes[i]) || owes_leave(&m->boxes[i]))) return true;
  return false;
}

/* ---- in ---- */

/* What waits here was to be true at `from`, and something of it is not: the client is to begin anew. */
static void take_back(roam_broker *b) {
  ROAM_LIST_EACH(&b->durable.held, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, held);
    if (p->record) roam_sessions_doom(b, p->record);
  }
}

static void take_ack(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_mail *m = b->mail;
  uint64_t least = UINT64_MAX;
  if (letter->flag) take_back(b);
  m->boxes[from].acked = letter->number;
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self && m->boxes[i].acked < least) least = m->boxes[i].acked;
  if (least == m->committed) return;
  m->committed = least;
  roam_mail_bury(b);
  roam_durable_wake(b);
}

static void take_datagram(roam_broker *b, const struct roam_letter *letter) {
  roam_transport *quic = b->transports[ROAM_TRANSPORT_QUIC - 1];
  if (!quic || !letter->text) return;
  b->stats.datagrams_adopted++;
  roam_quic_adopt(quic, b->now, (roam_bytes){roam_blob_data(letter->text), roam_blob_len(letter->text)});
}

/* What a letter points to is dropped by the caller; who keeps it takes it out. */
static void take_letter(roam_broker *b, uint32_t from, struct roam_letter *letter) {
  struct roam_mail_box *box = &b->mail->boxes[from];
  switch ((enum roam_letter_kind)letter->kind) {
    case ROAM_LETTER_LEAVE: box->under_way -= (uint32_t)letter->number; break;
    case ROAM_LETTER_SYNC: box->owed = letter->number; break;
    case ROAM_LETTER_ACK: take_ack(b, from, letter); break;
    case ROAM_LETTER_FILTER_ADDED:
    case ROAM_LETTER_FILTER_GONE: roam_mail_take_filter(b, from, letter); break;
    case ROAM_LETTER_MEMBER_PUT:
    case ROAM_LETTER_MEMBER_GONE: roam_mail_take_member(b, from, letter); break;
    case ROAM_LETTER_PUBLISH:
    case ROAM_LETTER_DELIVER:
    case ROAM_LETTER_AGAIN: roam_mail_take_message(b, from, letter); break;
    case ROAM_LETTER_CLAIM:
    case ROAM_LETTER_FREE:
    case ROAM_LETTER_RELEASE:
    case ROAM_LETTER_MOVE:
    case ROAM_LETTER_HANDED:
    case ROAM_LETTER_GONE: roam_mail_take_claim(b, from, letter); break;
    case ROAM_LETTER_SWAP:
    case ROAM_LETTER_SWAPPED:
    case ROAM_LETTER_MARK:
    case ROAM_LETTER_DONE: roam_mail_take_swap(b, from, letter); break;
    case ROAM_LETTER_DATAGRAM: take_datagram(b, letter); break;
    case ROAM_LETTER_FIGURES:
      roam_blob_unref(box->figures);
      box->figures = letter->text;
      letter->text = NULL;
      break;
    case ROAM_LETTER_COMMAND:
    case ROAM_LETTER_ADMIT: roam_mail_take_command(b, letter); break;
    case ROAM_LETTER_ROUND:
    case ROAM_LETTER_FAILED: roam_cut_take(b, from, letter); break;
  }
}

void roam_mail_feed(roam_broker *b, const roam_wire *unit) {
  struct roam_mail *m = b->mail;
  if (!m || unit->handle >= m->n || unit->handle == m->self) return;
  for (size_t at = 0; at + sizeof(struct roam_letter) <= unit->len; at += sizeof(struct roam_letter)) {
    struct roam_letter letter;
    memcpy(&letter, unit->data + at, sizeof letter);
    m->letters_in++;
    if (letter.kind != ROAM_LETTER_LEAVE) m->boxes[unit->handle].read++;
    if (letter.stamp >> 8 > m->clock) m->clock = letter.stamp >> 8;
    take_letter(b, unit->handle, &letter);
    roam_letter_drop(&letter);
  }
}

/* ---- the gate ---- */

bool roam_mail_gates(const roam_broker *b) { return b->mail && !b->durable.store; }

uint64_t roam_mail_epoch(const roam_broker *b, uint64_t changes_before) {
  return b->durable.changes != changes_before ? b->mail->epoch : 0;
}

void roam_mail_enter(roam_broker *b, struct roam_peer *p) {
  if (!p->session) return;
  roam_session_hold(p->session, 0);
  roam_session_release(p->session, b->mail->committed);
}

void roam_mail_leave(roam_broker *b, struct roam_peer *p) {
  if (!p->session) return;
  roam_session_hold(p->session, 0);
  if (roam_session_held(p->session)) roam_durable_wait(b, p);
}

bool roam_mail_is_long(const roam_broker *b, uint32_t to) { return roam_ring_count(&b->mail->boxes[to].out) > STALL / 2; }

bool roam_mail_stalled(const roam_broker *b) {
  const struct roam_mail *m = b->mail;
  for (uint32_t i = 0; i < m->n; i++)
    if (roam_ring_count(&m->boxes[i].out) > STALL || m->boxes[i].out_bytes > STALL_BYTES) return true;
  return !roam_mail_may(b, DOOR);
}
