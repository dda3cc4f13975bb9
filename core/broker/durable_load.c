/* durable_load.c - what was written down becomes the broker's state again, before it begins.
 *
 * Records come in the order of their keys: secrets, messages, then each session with its subscriptions, the progress of its
 * deliveries, the deliveries, received identifiers and will, then retained messages. All clients count as gone from now on.
 * What cannot be read ends the loading with the reason: a broker that forgets silently would be worse than none.
 *
 * Several workers. Numbers of sessions and messages have the worker in them, and a message is shared by sessions of its
 * worker alone. So each takes what is its own, as long as there are as many workers as before. When there are not, sessions
 * are divided by their client ids; one that comes to another worker is written anew under a number of that one, with its
 * messages, in its part of the first commit. All read all, and nothing is committed before all have. */
#include "broker/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded {
  struct roam_list node;
  struct roam_kept_message *kept;
  struct roam_kept_message *copy; /* written anew, for sessions that come from another worker */
  roam_message message;
};

struct loading {
  roam_broker *b;
  struct roam_map64 messages; /* number -> struct loaded */
  struct roam_list all;       /* struct loaded */
  struct roam_map64 progress; /* of this session: sequence -> state << 16 | packet id */
  struct roam_record *r;
  uint64_t gone_at;
  bool versioned;
  uint32_t layout;
  uint32_t workers; /* that had the store before */
  bool foreign;     /* the session that is being read is another worker's */
  uint64_t number;  /* its number in the store, if it is ours; r->number is another when it comes from another worker */
  uint32_t sessions, retained;
  const char *what; /* what is wrong */
};

static roam_rc damaged(struct loading *l, const char *what) {
  l->what = what;
  return ROAM_E_DAMAGED;
}

static roam_rc too_many(struct loading *l, roam_rc rc, const char *what) {
  if (rc == ROAM_E_LIMIT) l->what = what;
  return rc;
}

/* ---- messages ---- */

static roam_rc make_message(struct loading *l, roam_bytes record, roam_message *out) {
  struct roam_message_record m;
  if (!roam_message_record_read(record, &m)) return damaged(l, "a message cannot be read");
  roam_rc rc = roam_message_make(out, l->b->now, m.topic, m.props, m.payload, m.qos, m.retain);
  if (rc == ROAM_E_ARGUMENT) return damaged(l, "a message is not valid");
  if (rc == 0) out->expires = roam_time_of_wall(&l->b->durable, m.at);
  return rc;
}

/* ---- whose ---- */

#define WORKERS_SECRET "workers" /* one byte; none: 1 */

static uint32_t self_of(const struct loading *l) { return l->b->o.worker; }

static bool is_divided_anew(const struct loading *l) { return l->workers != l->b->o.workers; }

static uint32_t place_of(const struct loading *l, uint64_t number, roam_bytes id) {
  uint32_t n = l->b->o.workers;
  if (n == 1) return 0;
  return is_divided_anew(l) ? roam_mail_home(l->b->mail, id.base, id.len) : ROAM_WORKER_OF(number) % n;
}

/* Who writes that it goes: the worker whose number it has, or one of those that are left. */
static bool is_in_charge(const struct loading *l, uint64_t message) {
  return ROAM_WORKER_OF(message) % l->b->o.workers == self_of(l);
}

static bool is_adopted(const struct loading *l) { return l->r && l->r->number != l->number; }

static roam_rc load_message(struct loading *l, uint64_t number, roam_bytes record) {
  if (!is_divided_anew(l) && !is_in_charge(l, number)) return 0;
  struct loaded *m = calloc(1, sizeof *m);
  if (!m) return ROAM_E_MEMORY;
  roam_rc rc = make_message(l, record, &m->message);
  if (rc == 0) {
    m->kept = calloc(1, sizeof *m->kept);
    rc = m->kept ? roam_map64_put(&l->messages, number, m) : ROAM_E_MEMORY;
    if (rc != 0) roam_blob_unref(m->message.blob);
  }
  if (rc != 0) {
    free(m->kept);
    free(m);
    return rc;
  }
  m->kept->number = number;
  roam_list_push_back(&l->all, &m->node);
  if (ROAM_WORKER_OF(number) == self_of(l) && number > l->b->durable.message_next) l->b->durable.message_next = number;
  return 0;
}

static roam_rc load_retained(struct loading *l, roam_bytes topic, roam_bytes record) {
  roam_message m;
  roam_rc rc = make_message(l, record, &m);
  if (rc != 0) return rc;
  if (m.topic.len != topic.len || memcmp(m.topic.base, topic.base, topic.len) != 0)
    rc = damaged(l, "a retained message is not that of its topic");
  else if (m.expires <= l->b->now) roam_durable_retained(l->b, &m, false);
  else rc = too_many(l, roam_retain_put(&l->b->retained, &m), "more retained messages than retained_max or their bytes");
  roam_blob_unref(m.blob);
  l->retained++;
  return rc;
}

/* ---- sessions ---- */

roam_time roam_durable_left(const roam_broker *b, uint64_t gone_at_ms, uint32_t seconds) {
  roam_time all = (roam_time)seconds * ROAM_S;
  if (gone_at_ms == 0) return all;
  if (gone_at_ms < b->durable.wall_start_ms) { /* before our clock began */
    roam_time past = (b->durable.wall_start_ms - gone_at_ms) * ROAM_MS;
    return all > past ? all - past : 0;
  }
  return roam_time_of_wall(&b->durable, gone_at_ms) - b->now + all;
}

/* In today's layout, in the batch that says so of the whole store. When it went is what the record said. */
static void write_anew(struct loading *l, struct roam_record *r) {
  struct roam_key key = roam_key_of(ROAM_KEY_SESSION, r->number);
  struct roam_session_record s = {.version = r->version,
                                  .expiry_s = r->expiry_s,
                                  .gone_at = l->gone_at,
                                  .user_known = r->user_known,
                                  .id = {roam_blob_data(r->id), roam_blob_len(r->id)}};
  if (r->user) s.user = (roam_bytes){roam_blob_data(r->user), roam_blob_len(r->user)};
  uint8_t *at = roam_batch_add(&l->b->durable.open, ROAM_STORE_PUT, roam_key_view(&key), roam_session_record_size(&s));
  if (at) roam_session_record_write(at, &s);
  else l->b->durable.starved = true;
}

/* The one before has been read whole. */
static void finish_session(struct loading *l) {
  struct roam_record *r = l->r;
  roam_broker *b = l->b;
  roam_map64_reset(&l->progress);
  l->r = NULL;
  if (!r) return;
  roam_topics_connected(&b->topics, r->number, false);
  roam_heap_set(&b->expiries, &r->expiry, b->now + roam_durable_left(b, l->gone_at, r->expiry_s)); /* reserved */
  if (l->gone_at) {
    if (l->layout < ROAM_RECORDS_VERSION || r->number != l->number) write_anew(l, r);
    if (r->number != l->number) roam_durable_will(b, r);
    return;
  }
  if (roam_will_armed(&r->will)) roam_heap_set(&b->wills, &r->will.due, b->now + r->will.delay_s * ROAM_S);
  roam_durable_session(b, r); /* gone now */
}

static roam_rc load_session(struct loading *l, uint64_t number, roam_bytes record) {
  struct roam_session_record s;
  finish_session(l);
  if (!roam_session_record_read(l->layout, record, &s) || s.expiry_s == 0 || s.id.len == 0 ||
      s.id.len > ROAM_BROKER_CLIENT_ID_MAX)
    return damaged(l, "a session cannot be read");
  if (roam_sessions_find(l->b, s.id.base, s.id.len)) return damaged(l, "a client has two sessions");
  uint32_t place = place_of(l, number, s.id);
  roam_rc rc = l->b->mail ? roam_mail_note_home(l->b, s.id, place) : 0;
  if (rc == ROAM_E_STATE) return damaged(l, "a client has two sessions");
  l->number = number;
  l->foreign = place != self_of(l);
  if (rc != 0 || l->foreign) return rc;
  bool adopted = ROAM_WORKER_OF(number) != self_of(l);
  rc = roam_sessions_restore(l->b, s.id, adopted ? 0 : number, &l->r);
  if (rc != 0) return too_many(l, rc, "more sessions than sessions_max");
  if (adopted) {
    struct roam_key all = roam_key_of(ROAM_KEY_SESSION, number);
    roam_durable_add(l->b, ROAM_STORE_DROP_ALL, roam_key_view(&all), 0);
  }
  l->r->version = s.version;
  l->r->expiry_s = s.expiry_s;
  l->r->kept = true;
  l->r->user_known = s.user_known;
  if (s.user.len > 0 && !(l->r->user = roam_blob_new(s.user.base, s.user.len))) return ROAM_E_MEMORY;
  l->gone_at = s.gone_at;
  l->sessions++;
  roam_session_journal(l->r->session, true);
  return 0;
}

static roam_rc load_filter(struct loading *l, roam_bytes filter, roam_bytes record) {
  bool existed;
  struct roam_subscription sub;
  if (!roam_subscription_record_read(record, &sub) || !roam_topic_filter_valid(filter))
    return damaged(l, "a subscription cannot be read");
  roam_rc rc = roam_topics_subscribe(&l->b->topics, l->r->number, filter, &sub, &existed);
  if (rc == 0 && is_adopted(l)) roam_durable_subscribed(l->b, l->r, filter, &sub);
  return too_many(l, rc, "more subscriptions of one client than subscriptions_max, or deeper than topic_levels_max");
}

static roam_rc load_progress(struct loading *l, uint64_t sequence, roam_bytes record) {
  if (record.len != 3 || (record.base[0] != ROAM_PAST_SENT && record.base[0] != ROAM_PAST_RELEASED))
    return damaged(l, "a delivery's progress cannot be read");
  return roam_map64_put(&l->progress, sequence, (void *)(uintptr_t)roam_number_read(record));
}

static roam_rc restore(struct loading *l, struct roam_kept_delivery *q, const struct roam_delivery_record *d,
                       struct loaded *m) {
  uintptr_t progress = (uintptr_t)roam_map64_get(&l->progress, q->sequence);
  struct roam_flow *flow = d->flow ? roam_flows_by_id(l->r, d->flow) : NULL;
  if (d->flow && !flow) return damaged(l, "a delivery's flow is missing");
  roam_past past = {.kind = progress ? (roam_past_kind)(progress >> 16) : ROAM_PAST_QUEUED,
                    .packet_id = (uint16_t)progress,
                    .token = (uint64_t)(uintptr_t)q,
                    .message = m ? &m->message : NULL,
                    .how = {.qos = d->qos, .retain = d->retain, .sub_ids = d->sub_ids, .lane = flow ? flow->slot : 0}};
  if (past.kind != ROAM_PAST_RELEASED && !m) return damaged(l, "a delivery's message is missing");
  if (progress && d->qos != 2) return damaged(l, "a delivery's progress is not one of QoS 2");
  roam_rc rc = roam_session_restore(l->r->session, &past);
  if (rc != 0) return rc == ROAM_E_ARGUMENT ? damaged(l, "a packet identifier is used twice") : rc;
  q->progress = progress != 0;
  if (is_adopted(l)) {
    roam_durable_adopt(l->b, l->r, q, &past, m ? &m->copy : NULL);
    return 0;
  }
  if (past.kind == ROAM_PAST_RELEASED) return 0;
  q->message = m->kept;
  m->kept->count++;
  return 0;
}

static roam_rc load_delivery(struct loading *l, uint64_t sequence, roam_bytes record) {
  struct roam_delivery_record d;
  if (!roam_delivery_record_read(record, &d)) return damaged(l, "a delivery cannot be read");
  struct roam_kept_delivery *q = calloc(1, sizeof *q);
  if (!q) return ROAM_E_MEMORY;
  q->sequence = sequence;
  if (sequence > l->b->durable.sequence_next) l->b->durable.sequence_next = sequence;
  roam_rc rc = restore(l, q, &d, roam_map64_get(&l->messages, d.message));
  if (rc != 0) {
    free(q);
    return rc;
  }
  roam_list_push_back(&l->r->kept_deliveries, &q->node);
  return 0;
}

static roam_rc load_received(struct loading *l, roam_bytes id) {
  roam_past past = {.kind = ROAM_PAST_RECEIVED, .packet_id = (uint16_t)roam_number_read(id)};
  roam_rc rc = id.len == 2 ? roam_session_restore(l->r->session, &past) : ROAM_E_ARGUMENT;
  if (rc == 0 && is_adopted(l)) roam_durable_received(l->b, l->r, 0, past.packet_id);
  return rc == ROAM_E_ARGUMENT ? damaged(l, "a received packet identifier cannot be read") : rc;
}

static roam_rc load_will(struct loading *l, roam_bytes record) {
  struct roam_message_record w;
  if (!roam_message_record_read(record, &w) || !roam_topic_valid(w.topic)) return damaged(l, "a will cannot be read");
  roam_packet c = {.version = ROAM_MQTT_5,
                   .connect = {.will_qos = w.qos,
                               .will_retain = w.retain,
                               .will_props = w.props,
                               .will_topic = w.topic,
                               .will_payload = w.payload}};
  roam_rc rc = roam_will_arm(&l->r->will, &c);
  if (rc != 0) return rc;
  l->r->will.delay_s = w.delay_s;
  l->r->will_kept = true;
  if (w.at == 0) return 0;
  return roam_heap_set(&l->b->wills, &l->r->will.due, roam_time_of_wall(&l->b->durable, w.at));
}

static roam_rc of_flow(struct loading *l, roam_rc rc) {
  if (rc == ROAM_E_DAMAGED) return damaged(l, "something of a flow cannot be read");
  return too_many(l, rc, "more flows of one client than lanes, or subscriptions than subscriptions_max");
}

static roam_rc load_of_session(struct loading *l, roam_bytes key, roam_bytes record) {
  uint64_t number = roam_number_read((roam_bytes){key.base + 1, 8});
  if (key.len == 9) return load_session(l, number, record);
  if (l->foreign && l->number == number) return 0;
  if (!l->r || l->number != number) return damaged(l, "something belongs to a session that is not there");
  roam_bytes rest = {key.base + 10, key.len - 10};
  bool anew = is_adopted(l);
  switch (key.base[9]) {
    case ROAM_KEY_FLOW: return of_flow(l, roam_durable_load_flow(l->b, l->r, rest, record, anew));
    case ROAM_KEY_FLOW_FILTER: return of_flow(l, roam_durable_load_flow_filter(l->b, l->r, rest, record, anew));
    case ROAM_KEY_FLOW_RECEIVED: return of_flow(l, roam_durable_load_flow_received(l->b, l->r, rest, anew));
    case ROAM_KEY_FILTER: return load_filter(l, rest, record);
    case ROAM_KEY_PROGRESS: return load_progress(l, roam_number_read(rest), record);
    case ROAM_KEY_DELIVERY: return load_delivery(l, roam_number_read(rest), record);
    case ROAM_KEY_RECEIVED: return load_received(l, rest);
    case ROAM_KEY_WILL: return load_will(l, record);
    default: return damaged(l, "a session has something unknown");
  }
}

/* ---- all ---- */

static roam_rc load_version(struct loading *l, roam_bytes record) {
  l->versioned = true;
  if (record.len != 4) return damaged(l, "its version cannot be read");
  l->layout = (uint32_t)roam_number_read(record);
  if (l->layout == 0) return damaged(l, "its version cannot be read");
  if (l->layout <= ROAM_RECORDS_VERSION) return 0;
  l->what = "it was written by a later version; use that one";
  return ROAM_E_NEWER;
}

static roam_rc load_secret(struct loading *l, roam_bytes name, roam_bytes record) {
  struct roam_secret *s = calloc(1, sizeof *s);
  if (!s) return ROAM_E_MEMORY;
  s->name = roam_blob_new(name.base, name.len);
  s->bytes = roam_blob_new(record.base, record.len);
  roam_list_push_back(&l->b->durable.secrets, &s->node);
  return s->name && s->bytes ? 0 : ROAM_E_MEMORY;
}

static roam_rc visit(void *context, roam_bytes key, roam_bytes record) {
  struct loading *l = context;
  uint8_t kind = key.len > 0 ? key.base[0] : 0;
  roam_bytes rest = {key.base + 1, key.len > 0 ? key.len - 1 : 0};
  if (!l->versioned && kind != ROAM_KEY_VERSION) return damaged(l, "it is not a broker's");
  switch (kind) {
    case ROAM_KEY_VERSION: return load_version(l, record);
    case ROAM_KEY_SECRET: return load_secret(l, rest, record);
    case ROAM_KEY_MESSAGE: return load_message(l, roam_number_read(rest), record);
    case ROAM_KEY_SESSION: return key.len >= 9 ? load_of_session(l, key, record) : damaged(l, "a session has no number");
    case ROAM_KEY_RETAINED: return load_retained(l, rest, record);
    default: return damaged(l, "it holds something unknown");
  }
}

/* Messages nobody waits for any more: their last delivery ended in the batch before the end. */
static void finish_messages(struct loading *l, bool good) {
  for (struct roam_list *node; (node = roam_list_pop_front(&l->all)) != NULL;) {
    struct loaded *m = ROAM_CONTAINER(node, struct loaded, node);
    if (m->kept->count == 0) {
      struct roam_key key = roam_key_of(ROAM_KEY_MESSAGE, m->kept->number);
      if (good && is_in_charge(l, m->kept->number))
        roam_batch_add(&l->b->durable.open, ROAM_STORE_DROP, roam_key_view(&key), 0);
      free(m->kept);
    }
    roam_blob_unref(m->message.blob);
    free(m);
  }
}

/* A new store, or one of an older layout that has just been read. */
static void write_layout(roam_broker *b) {
  static const uint8_t kind = ROAM_KEY_VERSION;
  uint8_t *at = roam_batch_add(&b->durable.open, ROAM_STORE_PUT, (roam_bytes){&kind, 1}, 4);
  if (at) roam_number_write(at, ROAM_RECORDS_VERSION, 4);
  else b->durable.starved = true;
}

static roam_rc write_workers(const struct loading *l) {
  uint8_t n = (uint8_t)l->b->o.workers;
  if (!is_divided_anew(l) || self_of(l) != 0) return 0;
  return roam_durable_set_secret(l->b, WORKERS_SECRET, (roam_bytes){&n, 1});
}

/* The first pass, over secrets only unless sessions are divided anew: how many workers had the store, and what numbers are
 * taken, so that sessions that come to this worker get others. */
static roam_rc survey(void *context, roam_bytes key, roam_bytes record) {
  static const char name[] = WORKERS_SECRET;
  struct loading *l = context;
  roam_broker *b = l->b;
  uint8_t kind = key.len > 0 ? key.base[0] : 0;
  if (kind == ROAM_KEY_SECRET && key.len == sizeof name && memcmp(key.base + 1, name, sizeof name - 1) == 0)
    l->workers = record.len == 1 ? record.base[0] : 0;
  if (kind == ROAM_KEY_VERSION || kind == ROAM_KEY_SECRET) return 0;
  if (!is_divided_anew(l)) return ROAM_E_STATE; /* enough */
  if (kind != ROAM_KEY_SESSION || key.len != 9) return 0;
  uint64_t number = roam_number_read((roam_bytes){key.base + 1, 8});
  if (ROAM_WORKER_OF(number) == self_of(l) && number > b->session_next) b->session_next = number;
  return 0;
}

roam_rc roam_durable_load(roam_broker *b) {
  char why[ROAM_STORE_WHY_MAX] = "";
  if (!b->durable.on) return 0;
  struct loading l = {.b = b, .workers = 1};
  roam_list_init(&l.all);
  roam_map64_init(&l.messages, SIZE_MAX / 64, NULL);
  roam_map64_init(&l.progress, SIZE_MAX / 64, NULL);
  roam_rc rc = b->durable.store->ops->scan(b->durable.store, survey, &l, why);
  if (rc == 0 || rc == ROAM_E_STATE) rc = b->durable.store->ops->scan(b->durable.store, visit, &l, why);
  if (rc == 0) finish_session(&l);
  if (rc == 0 && l.layout < ROAM_RECORDS_VERSION && b->o.worker == 0) write_layout(b);
  if (rc == 0) rc = write_workers(&l);
  finish_messages(&l, rc == 0);
  roam_map64_reset(&l.messages);
  roam_map64_reset(&l.progress);
  if (rc != 0) roam_trace(&b->o.log, b->now, STORE_UNUSABLE, .why = l.what ? l.what : why[0] ? why : roam_strerror(rc));
  else roam_trace(&b->o.log, b->now, STORE_LOADED, .sessions = l.sessions, .retained = l.retained);
  return rc;
}

/* ---- for those who make several workers ---- */

struct looking {
  uint8_t *secret;
  bool versioned, found;
};

static roam_rc look_for_secret(void *context, roam_bytes key, roam_bytes record) {
  static const char name[] = "quic";
  struct looking *l = context;
  if (key.len == 1 && key.base[0] == ROAM_KEY_VERSION) l->versioned = true;
  if (!l->versioned) return ROAM_E_DAMAGED;
  if (key.len != sizeof name || key.base[0] != ROAM_KEY_SECRET || memcmp(key.base + 1, name, sizeof name - 1) != 0)
    return 0;
  l->found = record.len == ROAM_TRANSPORT_SECRET_BYTES;
  if (l->found) memcpy(l->secret, record.base, record.len);
  return 0;
}

static roam_rc put_secret(roam_store *store, const uint8_t *secret, bool versioned, char *why) {
  static const uint8_t kind = ROAM_KEY_VERSION, key[] = {ROAM_KEY_SECRET, 'q', 'u', 'i', 'c'};
  struct roam_batch batch = {0};
  uint8_t *at = versioned ? NULL : roam_batch_add(&batch, ROAM_STORE_PUT, (roam_bytes){&kind, 1}, 4);
  if (at) roam_number_write(at, ROAM_RECORDS_VERSION, 4);
  bool good = versioned || at;
  at = good ? roam_batch_add(&batch, ROAM_STORE_PUT, (roam_bytes){key, sizeof key}, ROAM_TRANSPORT_SECRET_BYTES) : NULL;
  if (at) memcpy(at, secret, ROAM_TRANSPORT_SECRET_BYTES);
  roam_rc rc = at ? store->ops->commit(store, (roam_bytes){batch.base, batch.len}, why) : ROAM_E_MEMORY;
  roam_batch_reset(&batch);
  return rc;
}

roam_rc roam_broker_secret(roam_store *store, uint8_t secret[32], char why[ROAM_STORE_WHY_MAX]) {
  struct looking l = {.secret = secret};
  why[0] = '\0';
  roam_rc rc = store->ops->scan(store, look_for_secret, &l, why);
  if (rc != 0 || l.found) return rc;
  rc = roam_transport_secret_make(secret);
  return rc != 0 ? rc : put_secret(store, secret, l.versioned, why);
}
