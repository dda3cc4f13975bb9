/* mail_move.c - a session on its way to another worker, with nothing lost, doubled or out of order while the workers'
 * tables change (docs/design/workers.md, "Take-over").
 *
 * The old place keeps a ghost: the subscriptions under the old number, and what they match goes on to the new place. The
 * new place has the session and an arrival. A worker that has read SWAP sends to the new place; what it sent before has
 * gone to the ghost. For each worker the arrival knows whether that point has passed (acked: before, what comes directly is
 * the ghost's to bring) and whether the ghost has brought all (done: until then what comes directly is parked behind it).
 * Messages to one member of a group are not doubled by any of this and pass straight through.
 *
 * Sessions move by pointer: the letter owns it, and whoever reads the letter has it. */
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "mqtt/session.h"

#define PARKED_MAX 65536u

struct moved_sub {
  uint32_t lane;
  roam_blob *filter;
  struct roam_subscription how;
  bool replay; /* what is retained for it was not all sent: it is begun again */
};

struct roam_move {
  struct roam_record *record;
  uint64_t number; /* it had; 0: there is no session, only what is remembered of the client */
  struct roam_ring subs;
  roam_time expiry_at, will_at; /* ROAM_NEVER: not set */
};

struct roam_ghost {
  struct roam_list node;
  uint64_t number, done;
  uint32_t to;
};

struct parked {
  uint32_t from;
  struct roam_letter letter;
};

struct roam_arrival {
  uint64_t number, acked, done;
  struct roam_ring parked;
  struct roam_late *owed; /* when it has arrived; NULL: to nobody */
};

static roam_bytes view(roam_blob *blob) { return (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)}; }

static uint64_t bit(uint32_t worker) { return UINT64_C(1) << worker; }

static uint64_t everybody(const struct roam_mail *m) { return m->n == 64 ? UINT64_MAX : bit(m->n) - 1; }

/* ---- out ---- */

static void drop_subs(struct roam_ring *subs) {
  struct moved_sub sub;
  while (roam_ring_pop(subs, &sub)) roam_blob_unref(sub.filter);
  roam_ring_reset(subs);
}

void roam_move_free(struct roam_move *move) {
  if (!move) return;
  roam_sessions_free_record(move->record);
  drop_subs(&move->subs);
  free(move);
}

static bool list_lane(const roam_broker *b, struct roam_move *move, uint32_t lane) {
  struct roam_subscriber *s = roam_map64_get(&b->topics.subscribers, ROAM_SUBSCRIBER(move->number, lane));
  if (!s) return true;
  ROAM_LIST_EACH(&s->subs, node) {
    const struct roam_topic_sub *sub = ROAM_CONTAINER(node, struct roam_topic_sub, mine);
    struct moved_sub moved = {.lane = lane, .filter = roam_topics_filter_of(sub), .how = sub->how};
    if (moved.filter && roam_ring_push(&move->subs, &moved) == 0) continue;
    roam_blob_unref(moved.filter);
    return false;
  }
  return true;
}

static bool list_subs(const roam_broker *b, struct roam_move *move) {
  for (uint32_t lane = 0; lane <= ROAM_LANES_PER_PEER; lane++)
    if (!list_lane(b, move, lane)) return false;
  return true;
}

/* Without memory they are forgotten, as for a client that reconnects too late. */
static void list_replays(struct roam_record *r, struct roam_move *move) {
  struct moved_sub sub = {.replay = true};
  while (roam_replay_take(r, &sub.lane, &sub.filter, &sub.how))
    if (sub.filter && roam_ring_push(&move->subs, &sub) != 0) roam_blob_unref(sub.filter);
}

static struct roam_ghost *make_ghost(roam_broker *b, uint64_t number, uint32_t to) {
  struct roam_ghost *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  *g = (struct roam_ghost){.number = number, .to = to};
  if (roam_map64_put(&b->mail->ghosts, number, g) != 0) {
    free(g);
    return NULL;
  }
  roam_list_push_back(&b->mail->ghost_list, &g->node);
  return g;
}

static roam_time time_of(const struct roam_heap_node *node) { return node->index != 0 ? node->at : ROAM_NEVER; }

uint8_t roam_move_out(roam_broker *b, struct roam_record *r, uint32_t to, struct roam_move **out) {
  *out = NULL;
  if (r->peer) {
    b->stats.sessions_taken_over++;
    roam_peer_say(b, r->peer, ROAM_REASON_SESSION_TAKEN_OVER, "another connection has taken over the session");
  }
  if (!roam_list_empty(&r->doomed)) roam_sessions_bury(b);
  struct roam_move *move = calloc(1, sizeof *move);
  if (!move) return ROAM_REASON_SERVER_UNAVAILABLE;
  roam_ring_init(&move->subs, sizeof(struct moved_sub), ROAM_TREE_NODES_MAX);
  move->number = r->session ? r->number : 0;
  if (r->session && (!list_subs(b, move) || !make_ghost(b, r->number, to))) {
    drop_subs(&move->subs);
    free(move);
    return ROAM_REASON_SERVER_UNAVAILABLE;
  }
  list_replays(r, move);
  roam_durable_depart(b, r);
  move->expiry_at = time_of(&r->expiry);
  move->will_at = time_of(&r->will.due);
  roam_sessions_detach(b, r);
  move->record = r;
  *out = move;
  return 0;
}

/* ---- in ---- */

static void write_sub(roam_broker *b, struct roam_record *r, const struct moved_sub *sub) {
  const struct roam_flow *flow = sub->lane != 0 ? roam_flows_by_slot(r, sub->lane) : NULL;
  if (sub->lane == 0) roam_durable_subscribed(b, r, view(sub->filter), &sub->how);
  else if (flow) roam_durable_flow_subscribed(b, flow, view(sub->filter), &sub->how);
}

static roam_rc put_subs(roam_broker *b, struct roam_record *r, struct roam_move *move) {
  struct moved_sub sub;
  roam_rc rc = 0;
  bool existed;
  while (roam_ring_pop(&move->subs, &sub)) {
    uint64_t subscriber = ROAM_SUBSCRIBER(r->number, sub.lane);
    if (rc == 0 && sub.replay) (void)roam_replay_begin(b, r, sub.lane, view(sub.filter), &sub.how);
    else if (rc == 0) rc = roam_topics_subscribe(&b->topics, subscriber, view(sub.filter), &sub.how, &existed);
    if (rc == 0 && !sub.replay) roam_topics_connected(&b->topics, subscriber, false); /* it has no connection yet */
    if (rc == 0 && !sub.replay) write_sub(b, r, &sub);
    roam_blob_unref(sub.filter);
  }
  return rc;
}

static roam_rc arrive(roam_broker *b, struct roam_record *r, uint64_t number) {
  struct roam_mail *m = b->mail;
  struct roam_arrival *a = calloc(1, sizeof *a);
  if (!a) return ROAM_E_MEMORY;
  roam_rc rc = roam_map64_put(&m->arrivals, number, r);
  if (rc != 0) {
    free(a);
    return rc;
  }
  a->number = number;
  a->acked = bit(m->self);
  roam_ring_init(&a->parked, sizeof(struct parked), PARKED_MAX);
  r->move = a;
  return 0;
}

static void tell_swap(roam_broker *b, uint64_t number, uint32_t from) {
  struct roam_mail *m = b->mail;
  roam_mail_flush(b); /* the filters first */
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self)
      roam_mail_post(b, i, &(struct roam_letter){.kind = ROAM_LETTER_SWAP, .number = number, .worker = (uint8_t)from});
}

static void put_times(roam_broker *b, struct roam_record *r, const struct roam_move *move) {
  roam_heap_set(&b->expiries, &r->expiry, move->expiry_at); /* reserved */
  if (roam_will_armed(&r->will)) roam_heap_set(&b->wills, &r->will.due, move->will_at);
}

struct roam_record *roam_move_in(roam_broker *b, struct roam_move *move, uint32_t from) {
  struct roam_record *r = move->record;
  move->record = NULL;
  roam_rc rc = roam_sessions_attach(b, r);
  if (rc != 0) {
    roam_trace(&b->o.log, b->now, SESSION_LOST, .worker = from, .why = roam_strerror(rc));
    roam_sessions_free_record(r);
    r = NULL;
  } else if (move->number != 0) {
    rc = arrive(b, r, move->number);
    put_times(b, r, move);
    if (rc == 0) roam_durable_arrive(b, r);
    if (rc == 0) rc = put_subs(b, r, move);
    if (rc != 0) roam_sessions_end(b, r);
  }
  if (move->number != 0) tell_swap(b, move->number, from);    /* also when it is lost: the ghost must go */
  if (rc != 0 && b->durable.store) b->durable.starved = true; /* on the disk it is still there */
  if (move->number != 0 && rc != 0) r = NULL;
  drop_subs(&move->subs);
  free(move);
  return r;
}

/* ---- while it moves ---- */

bool roam_move_admits(roam_broker *b, struct roam_record *r, const struct roam_letter *as) {
  struct roam_arrival *a = r->move;
  uint64_t from = bit(b->mail->origin);
  if ((a->acked & from) == 0) return false; /* the ghost has it, too, and sends it on */
  if ((a->done & from) != 0) return true;
  struct parked p = {.from = b->mail->origin, .letter = *as};
  if (roam_ring_push(&a->parked, &p) == 0) {
    roam_blob_ref(as->message.blob);
    roam_blob_ref(as->text);
    return false;
  }
  b->stats.messages_dropped++;
  if (as->qos > 0) roam_sessions_doom(b, r); /* as any queue that is full */
  return false;
}

/* All that is parked is looked at; what others sent goes back in its order. */
static void unpark(roam_broker *b, struct roam_record *r, uint32_t from) {
  struct roam_arrival *a = r->move;
  struct parked p;
  for (size_t left = roam_ring_count(&a->parked); left > 0 && roam_ring_pop(&a->parked, &p); left--) {
    if (p.from != from && roam_ring_push(&a->parked, &p) == 0) continue;
    if (p.from == from) roam_route_deliver(b, r, &p.letter);
    roam_letter_drop(&p.letter);
  }
}

static void free_arrival(roam_broker *b, struct roam_record *r) {
  struct roam_arrival *a = r->move;
  struct parked p;
  roam_map64_remove(&b->mail->arrivals, a->number);
  while (roam_ring_pop(&a->parked, &p)) roam_letter_drop(&p.letter);
  roam_ring_reset(&a->parked);
  roam_mail_late_free(a->owed);
  free(a);
  r->move = NULL;
}

static void look_whether_over(roam_broker *b, struct roam_record *r) {
  struct roam_arrival *a = r->move;
  uint64_t all = everybody(b->mail);
  if (a->acked != all || a->done != all) return;
  struct roam_late *owed = a->owed;
  a->owed = NULL;
  free_arrival(b, r);
  if (!owed) return;
  roam_mail_release(b, r, owed->to, owed->user);
  roam_mail_late_free(owed);
}

bool roam_move_then(struct roam_record *r, uint32_t to, roam_blob *user) {
  r->move->owed = roam_mail_late_new(r->id, to, user);
  return r->move->owed != NULL;
}

void roam_move_over(roam_broker *b, struct roam_record *r) {
  if (!r->move) return;
  if (r->move->owed) roam_mail_release_later(b, r->move->owed);
  r->move->owed = NULL;
  free_arrival(b, r);
}

/* ---- the ghost ---- */

void roam_ghost_forward(roam_broker *b, uint64_t session, const struct roam_letter *as) {
  struct roam_ghost *g = roam_map64_get(&b->mail->ghosts, session);
  if (!g || (as->group == 0 && (g->done & bit(b->mail->origin)) != 0)) return;
  struct roam_letter letter = *as;
  letter.kind = ROAM_LETTER_DELIVER;
  letter.number = session;
  letter.flag = true;
  letter.user = NULL;
  letter.move = NULL;
  roam_blob_ref(letter.message.blob);
  roam_blob_ref(letter.text);
  roam_mail_post(b, g->to, &letter);
}

static void free_ghost(roam_broker *b, struct roam_ghost *g) {
  for (uint32_t lane = 0; lane <= ROAM_LANES_PER_PEER; lane++)
    roam_topics_forget(&b->topics, ROAM_SUBSCRIBER(g->number, lane));
  roam_map64_remove(&b->mail->ghosts, g->number);
  roam_list_remove(&g->node);
  free(g);
}

static void ghost_done(roam_broker *b, uint64_t number, uint32_t who) {
  struct roam_ghost *g = roam_map64_get(&b->mail->ghosts, number);
  if (!g) return;
  g->done |= bit(who);
  roam_mail_post(b, g->to, &(struct roam_letter){.kind = ROAM_LETTER_DONE, .number = number, .worker = (uint8_t)who});
  if (g->done == everybody(b->mail)) free_ghost(b, g);
}

void roam_ghosts_free(roam_broker *b) {
  struct roam_mail *m = b->mail;
  while (!roam_list_empty(&m->ghost_list)) free_ghost(b, ROAM_CONTAINER(m->ghost_list.next, struct roam_ghost, node));
  roam_map64_reset(&m->ghosts);
  roam_map64_reset(&m->arrivals);
}

/* ---- letters ---- */

static void take_swap(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_mail *m = b->mail;
  roam_mail_post(b, from, &(struct roam_letter){.kind = ROAM_LETTER_SWAPPED, .number = letter->number});
  if (letter->worker != m->self) {
    roam_mail_post(b, letter->worker, &(struct roam_letter){.kind = ROAM_LETTER_MARK, .number = letter->number});
    return;
  }
  ghost_done(b, letter->number, m->self);
  ghost_done(b, letter->number, from);
}

void roam_mail_take_swap(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_record *r = roam_map64_get(&b->mail->arrivals, letter->number);
  if (letter->worker >= b->mail->n) return;
  switch (letter->kind) {
    case ROAM_LETTER_SWAP: take_swap(b, from, letter); return;
    case ROAM_LETTER_MARK: ghost_done(b, letter->number, from); return;
    default: break;
  }
  if (!r) return;
  if (letter->kind == ROAM_LETTER_SWAPPED) {
    r->move->acked |= bit(from);
  } else {
    r->move->done |= bit(letter->worker);
    unpark(b, r, letter->worker);
  }
  if (r->move) look_whether_over(b, r);
}
