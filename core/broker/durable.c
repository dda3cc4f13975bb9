/* durable.c - what the broker writes down: sessions, subscriptions, deliveries, retained messages, wills, secrets.
 *
 * Theory of operation
 *
 * Whoever changes something that must survive says so here at the same moment, and the change goes into the open batch.
 * durable_gate.c seals it and lets answers wait for it. The batch says what is, never what was done (put, drop), so
 * applying it twice does no harm.
 *
 * Only sessions with a Session Expiry Interval are written down ("kept"). A kept session's QoS 1 and 2 deliveries are
 * struct roam_kept_delivery; the address of one is the token by which the session tells what became of it. Deliveries of
 * one message share its struct roam_kept_message, which goes when the last of them has. What is put and dropped while the
 * same batch is open is struck from it instead: a subscriber that keeps up costs the disk nothing. */
#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

#include "mqtt/session.h"

void roam_durable_init(roam_broker *b) {
  struct roam_durable *d = &b->durable;
  roam_list_init(&d->held);
  roam_list_init(&d->secrets);
  d->store = b->o.store;
  d->on = d->store != NULL;
  d->start = b->now;
  d->wall_start_ms = (uint64_t)(b->o.tls.wall_unix_s > 0 ? b->o.tls.wall_unix_s : 0) * 1000;
  d->epoch = 1;
  d->message_next = (uint64_t)b->o.worker << ROAM_WORKER_SHIFT;
  d->retry_at = ROAM_NEVER;
}

void roam_durable_stop(roam_broker *b) { b->durable.on = false; }

void roam_durable_reset(roam_broker *b) {
  struct roam_durable *d = &b->durable;
  for (struct roam_list *node; (node = roam_list_pop_front(&d->secrets)) != NULL;) {
    struct roam_secret *secret = ROAM_CONTAINER(node, struct roam_secret, node);
    roam_blob_unref(secret->name);
    roam_blob_unref(secret->bytes);
    free(secret);
  }
  roam_batch_reset(&d->open);
  roam_batch_reset(&d->sealed);
  roam_batch_reset(&d->cut.batch);
}

/* ---- changes ---- */

/* Without memory for a change the store would not be true any more, which ends it (durable_gate.c). */
uint8_t *roam_durable_add(roam_broker *b, int what, roam_bytes key, size_t record_len) {
  struct roam_durable *d = &b->durable;
  if (!d->on) return NULL;
  uint8_t *at = roam_batch_add(&d->open, what, key, record_len);
  if (!at) d->starved = true;
  d->changes++;
  return at;
}

static void drop(roam_broker *b, const struct roam_key *key) {
  roam_durable_add(b, ROAM_STORE_DROP, roam_key_view(key), 0);
}

/* A key with a text in it; what: put (record_len bytes are the caller's to fill) or drop. */
static uint8_t *add_text(roam_broker *b, int what, const uint64_t *session, uint8_t kind, roam_bytes text,
                         size_t record_len) {
  if (!b->durable.on) return NULL;
  uint8_t few[256], *key = text.len + 10 <= sizeof few ? few : malloc(text.len + 10);
  uint8_t *at = NULL;
  if (key) at = roam_durable_add(b, what, (roam_bytes){key, roam_key_text(key, session, kind, text)}, record_len);
  else b->durable.starved = true;
  if (key != few) free(key);
  return at;
}

static void put_message(roam_broker *b, uint8_t *at, const roam_message *m) {
  roam_message_record_write(at, &(struct roam_message_record){.at = roam_wall_ms(&b->durable, m->expires),
                                                              .qos = m->qos,
                                                              .retain = m->retain,
                                                              .topic = m->topic,
                                                              .props = m->props,
                                                              .payload = m->payload});
}

static size_t message_size(const roam_message *m) {
  return roam_message_record_size(
      &(struct roam_message_record){.topic = m->topic, .props = m->props, .payload = m->payload});
}

/* ---- sessions and wills ---- */

bool roam_durable_keeps(const roam_broker *b, uint32_t expiry_s) { return b->durable.on && expiry_s > 0; }

void roam_durable_will(roam_broker *b, struct roam_record *r) {
  struct roam_key key = roam_key_below(r->number, ROAM_KEY_WILL, 0, 0);
  if (!roam_will_armed(&r->will)) {
    if (r->will_kept) drop(b, &key);
    r->will_kept = false;
    return;
  }
  struct roam_message_record w = {.at = r->will.due.index != 0 ? roam_wall_ms(&b->durable, r->will.due.at) : 0,
                                  .delay_s = r->will.delay_s,
                                  .qos = r->will.qos,
                                  .retain = r->will.retain,
                                  .topic = r->will.topic,
                                  .props = r->will.props,
                                  .payload = r->will.payload};
  uint8_t *at = roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), roam_message_record_size(&w));
  if (at) roam_message_record_write(at, &w);
  r->will_kept = true;
}

static void release_message(roam_broker *b, struct roam_kept_message *m) {
  if (--m->count > 0) return;
  struct roam_durable *d = &b->durable;
  if (d->on && m->epoch == d->epoch) {
    roam_batch_strike(&d->open, m->at);
  } else {
    struct roam_key key = roam_key_of(ROAM_KEY_MESSAGE, m->number);
    drop(b, &key);
  }
  if (d->routed == m) d->routed = NULL;
  free(m);
}

static void free_delivery(roam_broker *b, struct roam_kept_delivery *q) {
  if (q->message) release_message(b, q->message);
  roam_list_remove(&q->node);
  free(q);
}

/* It ends with its connection now. The session still knows its deliveries by their addresses, so they stay. */
static void unkeep(roam_broker *b, struct roam_record *r) {
  if (!r->kept) return;
  struct roam_key all = roam_key_of(ROAM_KEY_SESSION, r->number);
  ROAM_LIST_EACH(&r->kept_deliveries, node) {
    struct roam_kept_delivery *q = ROAM_CONTAINER(node, struct roam_kept_delivery, node);
    if (q->message) release_message(b, q->message);
    q->message = NULL;
  }
  roam_durable_add(b, ROAM_STORE_DROP_ALL, roam_key_view(&all), 0);
  r->kept = r->will_kept = false;
  for (uint32_t i = 0; i < r->flows.len; i++) r->flows.list[i]->kept = false;
  if (r->session) roam_session_journal(r->session, false);
}

void roam_durable_session(roam_broker *b, struct roam_record *r) {
  if (!b->durable.on || !r->session) return;
  if (r->expiry_s == 0) {
    unkeep(b, r);
    return;
  }
  struct roam_key key = roam_key_of(ROAM_KEY_SESSION, r->number);
  struct roam_session_record s = {.version = r->version,
                                  .expiry_s = r->expiry_s,
                                  .gone_at = r->peer ? 0 : roam_wall_ms(&b->durable, b->now),
                                  .user_known = r->user_known,
                                  .id = {roam_blob_data(r->id), roam_blob_len(r->id)}};
  if (r->user) s.user = (roam_bytes){roam_blob_data(r->user), roam_blob_len(r->user)};
  uint8_t *at = roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), roam_session_record_size(&s));
  if (at) roam_session_record_write(at, &s);
  r->kept = true;
  roam_session_journal(r->session, true);
  roam_durable_will(b, r);
}

void roam_durable_forget(roam_broker *b, struct roam_record *r) {
  unkeep(b, r);
  while (!roam_list_empty(&r->kept_deliveries))
    free_delivery(b, ROAM_CONTAINER(r->kept_deliveries.next, struct roam_kept_delivery, node));
}

/* ---- subscriptions ---- */

void roam_durable_subscribed(roam_broker *b, struct roam_record *r, roam_bytes filter,
                             const struct roam_subscription *sub) {
  if (!r->kept) return;
  uint8_t *at = add_text(b, ROAM_STORE_PUT, &r->number, ROAM_KEY_FILTER, filter, ROAM_SUBSCRIPTION_RECORD);
  if (at) roam_subscription_record_write(at, sub);
}

void roam_durable_unsubscribed(roam_broker *b, struct roam_record *r, roam_bytes filter) {
  if (r->kept) add_text(b, ROAM_STORE_DROP, &r->number, ROAM_KEY_FILTER, filter, 0);
}

/* ---- deliveries ---- */

static struct roam_kept_message *keep_message(roam_broker *b, const roam_message *message) {
  struct roam_durable *d = &b->durable;
  if (d->routed && d->routing == message) return d->routed;
  struct roam_kept_message *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  *m = (struct roam_kept_message){.number = ++d->message_next, .epoch = d->epoch};
  struct roam_key key = roam_key_of(ROAM_KEY_MESSAGE, m->number);
  uint8_t *at = roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), message_size(message));
  if (!at) {
    free(m);
    return NULL;
  }
  put_message(b, at, message);
  m->at = d->open.last;
  d->routed = m;
  d->routing = message;
  return m;
}

static uint64_t loose_token(uint64_t group) { return group ? group << 1 | 1 : 0; }

static struct roam_kept_delivery *delivery_of(uint64_t token) {
  return token & 1 ? NULL : (struct roam_kept_delivery *)(uintptr_t)token;
}

uint64_t roam_durable_group(uint64_t token) {
  struct roam_kept_delivery *q = delivery_of(token);
  return q ? q->group : token >> 1;
}

static void write_delivery(roam_broker *b, struct roam_record *r, struct roam_kept_delivery *q, const roam_publish_how *how,
                           uint64_t flow) {
  struct roam_durable *d = &b->durable;
  struct roam_delivery_record record = {.message = q->message ? q->message->number : 0,
                                        .qos = how->qos,
                                        .retain = how->retain,
                                        .flow = flow,
                                        .sub_ids = how->sub_ids};
  struct roam_key key = roam_key_below(r->number, ROAM_KEY_DELIVERY, q->sequence, 8);
  uint8_t *at = roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), roam_delivery_record_size(&record));
  if (at) roam_delivery_record_write(at, &record);
  q->at = d->open.last;
}

/* What goes on a data stream ends with it, and is not written down, unless the stream carries a flow that lasts. */
uint64_t roam_durable_delivery(roam_broker *b, struct roam_record *r, const roam_message *message,
                               const roam_publish_how *how, uint64_t group) {
  struct roam_durable *d = &b->durable;
  uint64_t flow;
  if (!d->on || how->qos == 0 || !roam_durable_lane_lasts(r, how->lane, &flow)) return loose_token(group);
  struct roam_kept_delivery *q = calloc(1, sizeof *q);
  struct roam_kept_message *m = q ? keep_message(b, message) : NULL;
  if (!m) {
    free(q);
    d->starved = true;
    return loose_token(group);
  }
  *q = (struct roam_kept_delivery){.sequence = ++d->sequence_next, .epoch = d->epoch, .message = m, .group = group};
  m->count++;
  roam_list_push_back(&r->kept_deliveries, &q->node);
  write_delivery(b, r, q, how, flow);
  return (uint64_t)(uintptr_t)q;
}

void roam_durable_delivered(roam_broker *b, struct roam_record *r, uint64_t token) {
  struct roam_kept_delivery *q = delivery_of(token);
  struct roam_durable *d = &b->durable;
  if (!q) return;
  if (!r->kept) {
    free_delivery(b, q);
    return;
  }
  struct roam_key key = roam_key_below(r->number, ROAM_KEY_DELIVERY, q->sequence, 8);
  struct roam_key progress = roam_key_below(r->number, ROAM_KEY_PROGRESS, q->sequence, 8);
  if (d->on && q->epoch == d->epoch) roam_batch_strike(&d->open, q->at);
  else drop(b, &key);
  if (q->progress) drop(b, &progress);
  free_delivery(b, q);
}

void roam_durable_routed(roam_broker *b) {
  struct roam_kept_message *m = b->durable.routed;
  b->durable.routed = NULL;
  if (m && m->count == 0) { /* cannot be: each delivery counts */
    m->count = 1;
    release_message(b, m);
  }
}

static void write_progress(roam_broker *b, struct roam_record *r, struct roam_kept_delivery *q, uint8_t state,
                           uint16_t packet_id) {
  struct roam_key key = roam_key_below(r->number, ROAM_KEY_PROGRESS, q->sequence, 8);
  uint8_t *at = roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), 3);
  q->progress = true;
  if (!at) return;
  at[0] = state;
  roam_number_write(at + 1, packet_id, 2);
}

static void note_changed(roam_broker *b, struct roam_record *r, const roam_session_event *ev) {
  struct roam_kept_delivery *q = delivery_of(ev->token);
  struct roam_key received = roam_durable_received_key(r, ev->lane, ev->packet.packet_id);
  switch (ev->packet.type) {
    case ROAM_PUBLISH:
      if (q) write_progress(b, r, q, ROAM_PAST_SENT, ev->packet.packet_id);
      break;
    case ROAM_PUBREL:
      if (!q) break;
      write_progress(b, r, q, ROAM_PAST_RELEASED, ev->packet.packet_id);
      if (q->message) release_message(b, q->message);
      q->message = NULL;
      break;
    case ROAM_PUBCOMP: drop(b, &received); break;
    default: break;
  }
}

void roam_durable_note(roam_broker *b, struct roam_record *r, const roam_session_event *ev) {
  if (!r) return;
  if (ev->kind == ROAM_SE_DONE || ev->kind == ROAM_SE_DROPPED) roam_durable_delivered(b, r, ev->token);
  else if (ev->kind == ROAM_SE_CHANGED && r->kept) note_changed(b, r, ev);
}

void roam_durable_received(roam_broker *b, struct roam_record *r, uint32_t lane, uint16_t packet_id) {
  uint64_t flow;
  if (!roam_durable_lane_lasts(r, lane, &flow)) return;
  struct roam_key key = roam_durable_received_key(r, lane, packet_id);
  roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), 0);
}

/* ---- to another worker ---- */

void roam_durable_depart(roam_broker *b, struct roam_record *r) { unkeep(b, r); }

struct arriving {
  roam_broker *b;
  struct roam_record *r;
};

void roam_durable_adopt(roam_broker *b, struct roam_record *r, struct roam_kept_delivery *q, const roam_past *past,
                        struct roam_kept_message **message) {
  struct roam_durable *d = &b->durable;
  struct roam_kept_message *shared = message ? *message : NULL;
  uint64_t flow;
  if (!roam_durable_lane_lasts(r, past->how.lane, &flow)) return;
  q->sequence = ++d->sequence_next;
  q->epoch = d->epoch;
  q->progress = past->kind != ROAM_PAST_QUEUED;
  q->message = NULL;
  if (past->kind != ROAM_PAST_RELEASED) {
    q->message = shared ? shared : keep_message(b, past->message);
    if (q->message) q->message->count++;
    else d->starved = true;
    if (message) *message = q->message;
    d->routed = NULL; /* the next one is another message at the same place */
  }
  write_delivery(b, r, q, &past->how, flow);
  if (q->progress) write_progress(b, r, q, (uint8_t)past->kind, past->packet_id);
}

static void take_along(void *context, const roam_past *past) {
  struct arriving *a = context;
  struct roam_kept_delivery *q = delivery_of(past->token);
  if (past->kind == ROAM_PAST_RECEIVED) roam_durable_received(a->b, a->r, past->how.lane, past->packet_id);
  else if (q) roam_durable_adopt(a->b, a->r, q, past, NULL);
}

void roam_durable_arrive(roam_broker *b, struct roam_record *r) {
  struct arriving a = {b, r};
  if (!b->durable.on || !r->session) return;
  roam_durable_session(b, r);
  if (!r->kept) return;
  for (uint32_t i = 0; i < r->flows.len; i++) roam_durable_flow(b, r->flows.list[i]);
  roam_session_look(r->session, take_along, &a);
}

/* ---- retained messages ---- */

void roam_durable_retained(roam_broker *b, const roam_message *message, bool kept) {
  if (roam_sys_owns(message->topic)) return; /* it is said anew every few seconds */
  /* Several workers all have it, and one writes it, always the same. */
  if (b->mail && roam_mail_home(b->mail, message->topic.base, message->topic.len) != b->mail->self) return;
  if (!kept) {
    add_text(b, ROAM_STORE_DROP, NULL, ROAM_KEY_RETAINED, message->topic, 0);
    return;
  }
  uint8_t *at = add_text(b, ROAM_STORE_PUT, NULL, ROAM_KEY_RETAINED, message->topic, message_size(message));
  if (at) put_message(b, at, message);
}

/* ---- secrets ---- */

static struct roam_secret *find_secret(const roam_broker *b, const char *name) {
  ROAM_LIST_EACH(&b->durable.secrets, node) {
    struct roam_secret *s = ROAM_CONTAINER(node, struct roam_secret, node);
    if (roam_blob_len(s->name) == strlen(name) && memcmp(roam_blob_data(s->name), name, strlen(name)) == 0) return s;
  }
  return NULL;
}

roam_bytes roam_durable_secret(const roam_broker *b, const char *name) {
  struct roam_secret *s = find_secret(b, name);
  return s ? (roam_bytes){roam_blob_data(s->bytes), roam_blob_len(s->bytes)} : (roam_bytes){0};
}

roam_rc roam_durable_set_secret(roam_broker *b, const char *name, roam_bytes bytes) {
  struct roam_secret *s = find_secret(b, name);
  roam_blob *blob = roam_blob_new(bytes.base, bytes.len);
  if (!s && blob) {
    s = calloc(1, sizeof *s);
    if (s) s->name = roam_blob_new(name, strlen(name));
    if (s && s->name) {
      roam_list_push_back(&b->durable.secrets, &s->node);
    } else {
      free(s);
      s = NULL;
    }
  }
  if (!s || !blob) {
    roam_blob_unref(blob);
    return ROAM_E_MEMORY;
  }
  roam_blob_unref(s->bytes);
  s->bytes = blob;
  uint8_t *at =
      add_text(b, ROAM_STORE_PUT, NULL, ROAM_KEY_SECRET, (roam_bytes){(const uint8_t *)name, strlen(name)}, bytes.len);
  if (at && bytes.len > 0) memcpy(at, bytes.base, bytes.len);
  return 0;
}
