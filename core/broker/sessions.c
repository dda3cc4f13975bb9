/* sessions.c - client ids and their sessions: found, begun, resumed, expired, ended; and when a will is due.
 *
 * A record is made by a client's first CONNECT. It has a session from then until the session ends: at once when the
 * connection does (Session Expiry Interval 0), after the interval, by a clean start, or because its queue overflowed. A
 * record whose session has ended is remembered for its history of addresses, the last ROAM_BROKER_REMEMBERED_MAX of them.
 *
 * A will is dropped by an orderly DISCONNECT (requests.c). Else, when the connection is gone, it waits for its delay; a new
 * connection to the same session drops it then; the end of the session publishes it.
 *
 * Ending a session frees it, and that must not happen while its events are being handled or messages handed out. So a
 * session that overflows is only doomed, and buried when the batch is done. */
#include "broker/broker.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

struct roam_record *roam_sessions_find(const roam_broker *b, const void *id, size_t len) {
  return roam_map_get(&b->ids, id, len);
}

struct roam_record *roam_sessions_by_number(const roam_broker *b, uint64_t number) {
  return roam_map64_get(&b->sessions, number);
}

/* ---- records ---- */

static roam_rc make_record(roam_broker *b, roam_bytes id, struct roam_record **out) {
  struct roam_record *r = calloc(1, sizeof *r);
  if (!r) return ROAM_E_MEMORY;
  r->id = roam_blob_new(id.base, id.len);
  roam_rc rc = r->id ? roam_map_put(&b->ids, roam_blob_data(r->id), id.len, r) : ROAM_E_MEMORY;
  if (rc != 0) {
    roam_blob_unref(r->id);
    free(r);
    return rc;
  }
  roam_list_init(&r->remembered);
  roam_list_init(&r->doomed);
  roam_list_init(&r->ended);
  roam_list_init(&r->replays);
  roam_list_init(&r->kept_deliveries);
  roam_list_push_back(&b->order, &r->order);
  roam_history_init(&r->history, b->o.address_history_max);
  *out = r;
  return 0;
}

static void forget_remembered(roam_broker *b, struct roam_record *r) {
  if (roam_list_empty(&r->remembered)) return;
  roam_list_remove(&r->remembered);
  b->remembered_count--;
}

void roam_sessions_free_record(struct roam_record *r) {
  if (!r) return;
  roam_session_free(r->session);
  for (uint32_t i = 0; i < r->flows.len; i++) {
    roam_blob_unref(r->flows.list[i]->filter);
    free(r->flows.list[i]);
  }
  free(r->flows.list);
  for (struct roam_list *node; (node = roam_list_pop_front(&r->kept_deliveries)) != NULL;) /* lost on its way */
    free(ROAM_CONTAINER(node, struct roam_kept_delivery, node));
  roam_history_reset(&r->history);
  roam_blob_unref(r->will.blob);
  roam_blob_unref(r->id);
  roam_blob_unref(r->user);
  free(r);
}

static void free_record(roam_broker *b, struct roam_record *r) {
  forget_remembered(b, r);
  roam_mail_record_gone(b, r);
  roam_map_remove(&b->ids, roam_blob_data(r->id), roam_blob_len(r->id));
  roam_list_remove(&r->order);
  roam_will_drop(&r->will, &b->wills);
  roam_sessions_free_record(r);
}

static void remember(roam_broker *b, struct roam_record *r) {
  roam_list_push_back(&b->remembered, &r->remembered);
  b->remembered_count++;
  if (b->remembered_count <= ROAM_BROKER_REMEMBERED_MAX) return;
  free_record(b, ROAM_CONTAINER(b->remembered.next, struct roam_record, remembered));
}

/* ---- wills ---- */

static void publish_will(roam_broker *b, struct roam_record *r) {
  roam_message message;
  size_t matched;
  char id[ROAM_ID_TEXT_MAX];
  if (!roam_will_armed(&r->will)) return;
  roam_rc rc = roam_will_make(&r->will, b->now, &message);
  if (rc == 0 && !roam_access_may(b, r, message.topic, ROAM_ACL_WRITE)) roam_blob_unref(message.blob);
  else if (rc == 0) {
    rc = roam_route(b, &message, 0, &matched);
    roam_blob_unref(message.blob);
  }
  if (rc != 0) roam_trace(&b->o.log, b->now, WILL_FAILED, .client = roam_id_text(r->id, id), .why = roam_strerror(rc));
  roam_will_drop(&r->will, &b->wills);
  if (r->kept && !r->peer) roam_durable_session(b, r);
}

/* ---- sessions ---- */

static roam_session *make_session(const roam_broker *b) {
  roam_session_options o;
  roam_session_options_init(&o, ROAM_ROLE_SERVER);
  o.receive_maximum = b->o.receive_maximum;
  o.topic_alias_maximum = b->o.topic_alias_maximum;
  o.maximum_packet_size = b->o.maximum_packet_size;
  o.queue_messages_max = b->o.queue_messages_max;
  o.queue_bytes_max = b->o.queue_bytes_max;
  o.overflow = b->o.overflow;
  size_t half = b->o.client_memory_max / 2;
  o.inflight_bytes_max = b->o.queue_bytes_max < half ? b->o.queue_bytes_max : half;
  o.reason_strings = true;
  return roam_session_new(&o);
}

/* max: several workers may load to one what was divided among all, as one may get them all by moves. */
static roam_rc begin_session(roam_broker *b, struct roam_record *r, uint64_t number, uint32_t max) {
  if (b->sessions_count >= max) return ROAM_E_LIMIT;
  if (roam_heap_reserve(&b->expiries, b->sessions_count + 1) != 0 ||
      roam_heap_reserve(&b->wills, b->sessions_count + 1) != 0)
    return ROAM_E_MEMORY;
  roam_session *session = make_session(b);
  if (!session) return ROAM_E_MEMORY;
  roam_rc rc = roam_map64_put(&b->sessions, number, r);
  if (rc != 0) {
    roam_session_free(session);
    return rc;
  }
  forget_remembered(b, r);
  r->number = number;
  r->owned = b->mail != NULL;
  if (number > b->session_next) b->session_next = number;
  r->session = session;
  b->sessions_count++;
  return 0;
}

roam_rc roam_sessions_open(roam_broker *b, roam_bytes id, bool clean_start, struct roam_record **out, bool *present) {
  struct roam_record *r = roam_sessions_find(b, id.base, id.len);
  ROAM_ASSERT(!r || !r->peer);
  if (r && r->session && clean_start) roam_sessions_end(b, r);
  *present = r && r->session;
  roam_rc rc = r ? 0 : make_record(b, id, &r);
  if (rc != 0) return rc;
  if (!r->session) rc = begin_session(b, r, b->session_next + 1, b->o.sessions_max);
  if (rc != 0 && r->history.connects == 0) free_record(b, r);
  *out = r;
  return rc;
}

roam_rc roam_sessions_restore(roam_broker *b, roam_bytes id, uint64_t number, struct roam_record **out) {
  struct roam_record *r;
  roam_rc rc = make_record(b, id, &r);
  if (rc != 0) return rc;
  rc = begin_session(b, r, number != 0 ? number : b->session_next + 1, b->o.sessions_max * b->o.workers);
  if (rc != 0) free_record(b, r);
  else *out = r;
  return rc;
}

void roam_sessions_joined(roam_broker *b, struct roam_record *r, struct roam_peer *p, struct roam_will *will) {
  r->peer = p;
  roam_heap_remove(&b->expiries, &r->expiry);
  roam_will_drop(&r->will, &b->wills);
  r->will = *will;
  roam_topics_connected(&b->topics, r->number, true);
}

void roam_sessions_left(roam_broker *b, struct roam_record *r) {
  roam_session_event ev;
  r->peer = NULL;
  roam_topics_connected(&b->topics, r->number, false);
  if (r->session) {
    roam_session_detach(r->session, b->now);
    while (roam_session_poll(r->session, &ev, 1) == 1) {
      roam_durable_note(b, r, &ev);
      /* A QoS 2 message that nobody will route must be new again when it comes again. */
      if (ev.kind == ROAM_SE_MESSAGE && ev.packet.qos == 2)
        roam_session_ack(r->session, b->now, ev.lane, ev.packet.packet_id, ROAM_REASON_UNSPECIFIED);
    }
  }
  if (!r->session || r->expiry_s == 0) {
    roam_sessions_end(b, r);
    return;
  }
  roam_sessions_count_queue(b, r);
  roam_heap_set(&b->expiries, &r->expiry, b->now + r->expiry_s * ROAM_S); /* reserved */
  if (roam_will_armed(&r->will) && r->will.delay_s > 0)
    roam_heap_set(&b->wills, &r->will.due, b->now + r->will.delay_s * ROAM_S);
  if (roam_will_armed(&r->will) && r->will.delay_s == 0) publish_will(b, r);
  else roam_durable_session(b, r);
}

static void account(roam_broker *b, struct roam_record *r) {
  roam_session_info info = roam_session_get_info(r->session);
  r->past_in += info.messages_in;
  r->past_out += info.messages_out;
  r->past_dropped += info.dropped;
  b->past_out += info.messages_out;
  b->past_dropped += info.dropped;
}

void roam_sessions_count_queue(roam_broker *b, struct roam_record *r) {
  size_t inflight = 0, now = r->session ? roam_session_weigh(r->session, &inflight) : 0;
  if (!r->peer) now += inflight; /* who is connected has it on its connection */
  r->inflight_seen = inflight;
  b->queued_bytes = b->queued_bytes - r->queued_seen + now;
  r->queued_seen = now;
  if (!r->peer) r->queued_left = now;
}

/* Takes the session out of the record; what becomes of it is the caller's. */
static roam_session *take_session(roam_broker *b, struct roam_record *r) {
  roam_session *session = r->session;
  if (!session) return NULL;
  account(b, r);
  roam_move_over(b, r);
  roam_flows_forget(b, r);
  roam_topics_forget(&b->topics, r->number);
  roam_replay_end(r, -1, NULL);
  roam_map64_remove(&b->sessions, r->number);
  roam_heap_remove(&b->expiries, &r->expiry);
  roam_list_remove(&r->doomed);
  r->session = NULL;
  roam_sessions_count_queue(b, r);
  b->sessions_count--;
  roam_mail_session_over(b, r);
  return session;
}

/* ---- to another worker and from one ---- */

static void detach_flows(roam_broker *b, struct roam_record *r) {
  b->flows_count -= r->flows.len;
  for (uint32_t i = 0; i < r->flows.len; i++) {
    struct roam_heap_node *due = &r->flows.list[i]->due;
    if (due->index == 0) due->at = ROAM_NEVER;
    roam_heap_remove(&b->flows, due); /* leaves the time */
  }
}

static roam_rc attach_flows(roam_broker *b, struct roam_record *r) {
  roam_rc rc = roam_heap_reserve(&b->flows, b->flows_count + r->flows.len);
  if (rc != 0) return rc;
  b->flows_count += r->flows.len;
  for (uint32_t i = 0; i < r->flows.len; i++) roam_heap_set(&b->flows, &r->flows.list[i]->due, r->flows.list[i]->due.at);
  return 0;
}

void roam_sessions_detach(roam_broker *b, struct roam_record *r) {
  forget_remembered(b, r);
  roam_list_remove(&r->doomed);
  roam_list_remove(&r->ended);
  roam_list_remove(&r->order);
  roam_map_remove(&b->ids, roam_blob_data(r->id), roam_blob_len(r->id));
  roam_heap_remove(&b->expiries, &r->expiry);
  roam_heap_remove(&b->wills, &r->will.due);
  b->queued_bytes -= r->queued_seen;
  r->queued_seen = 0;
  r->owned = false;
  if (!r->session) return;
  roam_session_info info = roam_session_get_info(r->session);
  b->past_out += info.messages_out;
  b->past_dropped += info.dropped;
  roam_map64_remove(&b->sessions, r->number);
  b->sessions_count--;
  detach_flows(b, r);
}

static roam_rc attach_session(roam_broker *b, struct roam_record *r) {
  if (roam_heap_reserve(&b->expiries, b->sessions_count + 1) != 0 ||
      roam_heap_reserve(&b->wills, b->sessions_count + 1) != 0 || attach_flows(b, r) != 0)
    return ROAM_E_MEMORY;
  roam_rc rc = roam_map64_put(&b->sessions, b->session_next + 1, r);
  if (rc != 0) {
    detach_flows(b, r);
    return rc;
  }
  r->number = ++b->session_next;
  r->owned = true;
  b->sessions_count++;
  roam_session_regate(r->session);
  roam_session_info info = roam_session_get_info(r->session);
  b->past_out -= info.messages_out; /* counted where they were sent; the sum wraps back to what is right */
  b->past_dropped -= info.dropped;
  return 0;
}

/* What this worker remembers of the client gives way. */
roam_rc roam_sessions_attach(roam_broker *b, struct roam_record *r) {
  struct roam_record *old = roam_sessions_find(b, roam_blob_data(r->id), roam_blob_len(r->id));
  ROAM_ASSERT(!old || !old->session);
  if (old) free_record(b, old);
  roam_rc rc = roam_map_put(&b->ids, roam_blob_data(r->id), roam_blob_len(r->id), r);
  if (rc == 0 && r->session) rc = attach_session(b, r);
  if (rc != 0) {
    roam_map_remove(&b->ids, roam_blob_data(r->id), roam_blob_len(r->id));
    return rc;
  }
  roam_list_push_back(&b->order, &r->order);
  roam_access_adopted(b, r);
  roam_sessions_count_queue(b, r);
  if (!r->session) remember(b, r);
  return 0;
}

void roam_sessions_end(roam_broker *b, struct roam_record *r) {
  ROAM_ASSERT(!r->peer);
  roam_session *session = take_session(b, r);
  if (session) roam_route_hand_over(b, session);
  roam_durable_forget(b, r);
  roam_session_free(session);
  publish_will(b, r);
  if (roam_list_empty(&r->remembered)) remember(b, r);
}

void roam_sessions_doom(roam_broker *b, struct roam_record *r) {
  if (roam_list_empty(&r->doomed)) roam_list_push_back(&b->doomed, &r->doomed);
}

bool roam_sessions_bury(roam_broker *b) {
  struct roam_list *first;
  bool any = false;
  while ((first = roam_list_pop_front(&b->doomed))) {
    struct roam_record *r = ROAM_CONTAINER(first, struct roam_record, doomed);
    char id[ROAM_ID_TEXT_MAX];
    any = true;
    b->stats.sessions_overflowed++;
    roam_trace(&b->o.log, b->now, CLIENT_OVERFLOWED, .client = roam_id_text(r->id, id),
               .messages_max = b->o.queue_messages_max, .bytes_max = b->o.queue_bytes_max);
    struct roam_peer *p = r->peer;
    if (p) {
      r->peer = NULL;
      roam_session *session = take_session(b, r);
      roam_route_hand_over(b, session);
      roam_durable_forget(b, r);
      roam_peer_part(b, p, session, (struct roam_end){ROAM_E_LIMIT, ROAM_REASON_QUOTA_EXCEEDED, "its queue is full"});
    }
    roam_sessions_end(b, r);
  }
  return any;
}

void roam_sessions_tick(roam_broker *b) {
  struct roam_heap_node *first;
  roam_flows_tick(b);
  while ((first = roam_heap_first(&b->wills)) && first->at <= b->now)
    publish_will(b, ROAM_CONTAINER(first, struct roam_record, will.due));
  while ((first = roam_heap_first(&b->expiries)) && first->at <= b->now)
    roam_sessions_end(b, ROAM_CONTAINER(first, struct roam_record, expiry));
}

void roam_sessions_free(roam_broker *b) {
  while (!roam_list_empty(&b->order)) {
    struct roam_record *r = ROAM_CONTAINER(b->order.next, struct roam_record, order);
    roam_session_free(take_session(b, r));
    roam_durable_forget(b, r);
    free_record(b, r);
  }
}
