/* lanes.c - the data streams of a connection. ALPN "mqtt", simple multistream, is here; what MQTT-next does otherwise is in
 * flows.c and asked for from here. One lane of the session for each, with its
 * own packet identifiers, aliases, windows and subscriptions. There is no header; that a second stream exists is all there
 * is to know.
 *
 * What the rules come to: a stream opened before CONNECT is held unread until CONNACK; answers and deliveries go where the
 * request came from; whatever goes wrong on a stream (a malformed packet, a packet that belongs on the control stream, a
 * queue that overflows) aborts that stream and takes its subscriptions along, and touches nothing else; the will is the
 * control stream's. Nothing of a data stream outlives it. A stream whose peer has ended its half is read to its end,
 * answered, and ended.
 *
 * Refuses to know what packets mean: requests.c does. */
#include "broker/broker.h"

#include <stdlib.h>

#include "mqtt/flow.h"

#define DATAGRAMS_ROUND 256
#define DATAGRAM_BYTES 1500
#define HEADER_NS (10 * ROAM_S) /* from a flow's opening to its whole header */

/* ---- the table ------------------------------------------------------------------------------------------------------- */

static struct roam_peer_lane *find_stream(const struct roam_peer *p, uint32_t stream) {
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (p->lanes[i].stream == stream) return &p->lanes[i];
  return NULL;
}

struct roam_peer_lane *roam_lanes_by_slot(const struct roam_peer *p, uint32_t slot) {
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (p->lanes[i].slot == slot) return &p->lanes[i];
  return NULL;
}

static bool is_flow(const struct roam_peer *p, uint32_t slot) { return p->record && roam_flows_by_slot(p->record, slot); }

static uint32_t free_slot(const struct roam_record *r, const struct roam_peer *p) {
  for (uint32_t slot = 1; slot <= ROAM_LANES_PER_PEER; slot++)
    if ((!p || !roam_lanes_by_slot(p, slot)) && (!r || !roam_flows_by_slot(r, slot))) return slot;
  return 0;
}

uint32_t roam_lanes_free_slot(const struct roam_record *r) { return free_slot(r, r->peer); }

static void take_out(struct roam_peer *p, struct roam_peer_lane *l) {
  p->lanes_len--;
  *l = p->lanes[p->lanes_len];
}

void roam_lanes_free(struct roam_peer *p) {
  free(p->lanes);
  p->lanes = NULL;
  p->lanes_len = p->lanes_cap = 0;
}

uint32_t roam_lanes_count(const struct roam_peer *p) { return p->lanes_len; }

bool roam_lanes_alive(const struct roam_peer *p, uint32_t slot) {
  const struct roam_peer_lane *l = slot != 0 ? roam_lanes_by_slot(p, slot) : NULL;
  return slot == 0 || (l && !l->failed && !l->gone) || is_flow(p, slot); /* a flow waits for its next stream */
}

uint32_t roam_lanes_subscriptions(const struct roam_broker *b, uint64_t number) {
  uint32_t count = 0;
  for (uint32_t slot = 0; slot <= ROAM_LANES_PER_PEER; slot++)
    count += roam_topics_of(&b->topics, ROAM_SUBSCRIBER(number, slot));
  return count;
}

/* ---- what the transport says ------------------------------------------------------------------------------------------
 */

static void refuse(struct roam_broker *b, struct roam_peer *p, uint32_t stream, uint64_t code) {
  b->stats.lanes_refused++;
  roam_trace(&b->o.log, b->now, STREAM_REFUSED, .connection = p->number, .max = b->o.lanes_max);
  roam_conn_lane_reset(p->conn, b->now, stream, code);
}

bool roam_lanes_reserve(struct roam_peer *p) {
  if (p->lanes_len < p->lanes_cap) return true;
  uint32_t cap = p->lanes_cap ? 2 * p->lanes_cap : 4;
  struct roam_peer_lane *grown = realloc(p->lanes, cap * sizeof *grown);
  if (!grown) return false;
  p->lanes = grown;
  p->lanes_cap = cap;
  return true;
}

void roam_lanes_opened(struct roam_broker *b, struct roam_peer *p, uint32_t stream) {
  bool one_way = (stream & ROAM_LANE_ONE_WAY) != 0;
  if (stream == 0) return;
  if (one_way && !p->flows) { /* nobody can answer there */
    refuse(b, p, stream, ROAM_REASON_PROTOCOL_ERROR);
    return;
  }
  if (p->state == ROAM_PEER_LEFT || p->state == ROAM_PEER_PARTING || p->lanes_len >= b->o.lanes_max ||
      !roam_lanes_reserve(p)) {
    refuse(b, p, stream, ROAM_REASON_QUOTA_EXCEEDED);
    return;
  }
  struct roam_peer_lane l = {.stream = stream, .header_by = p->flows ? b->now + HEADER_NS : ROAM_NEVER};
  if (!p->flows) l.slot = free_slot(p->record, p); /* there is one but for flows of a session that now goes without */
  if (!p->flows && l.slot == 0) {
    refuse(b, p, stream, ROAM_REASON_QUOTA_EXCEEDED);
    return;
  }
  p->lanes[p->lanes_len++] = l;
  b->stats.lanes_opened++;
}

void roam_lanes_ended(struct roam_broker *b, struct roam_peer *p, const roam_te *te) {
  struct roam_peer_lane *l = find_stream(p, te->lane);
  (void)b;
  if (!l) return;
  if (te->kind == ROAM_TE_LANE_FIN) {
    l->fin = true;
  } else {
    l->gone = true;
    l->code = te->code;
  }
}

/* ---- faults -----------------------------------------------------------------------------------------------------------
 */

static void tell_lost(struct roam_broker *b, struct roam_peer *p, const struct roam_peer_lane *l, roam_rc rc, int reason,
                      const char *text) {
  char id[ROAM_ID_TEXT_MAX];
  b->stats.lanes_failed++;
  roam_trace(&b->o.log, b->now, STREAM_ABORTED, .client = roam_id_text(p->record->id, id), .stream = l->stream,
             .why = text ? text : roam_strerror(rc));
  roam_event *ev = roam_broker_tell(b, ROAM_EV_PEER_LANE_LOST, p->record->id, text);
  ev->rc = rc;
  ev->reason = reason;
  ev->peer = p->number;
  const struct roam_flow *flow = roam_flows_by_slot(p->record, l->slot);
  ev->u.lane = (roam_event_lane){.lane = l->slot, .stream = l->stream, .code = l->code, .flow = flow ? flow->id : 0};
}

void roam_lanes_abort(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, int how, uint8_t code,
                      roam_rc rc, const char *text) {
  if (l->failed) return;
  l->failed = true;
  l->end = (uint8_t)how;
  l->code = code;
  if (rc != 0) tell_lost(b, p, l, rc, p->flows ? -1 : code, text);
  roam_peer_mark(b, p);
}

static void fail(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, const roam_fault *fault) {
  uint8_t code = p->flows ? ROAM_FLOW_CANCELLED : fault->reason; /* level 1 */
  roam_lanes_abort(b, p, l, ROAM_FLOW_END_DISCARD, code, fault->rc, fault->text);
}

void roam_lanes_fault(struct roam_broker *b, struct roam_peer *p, uint32_t slot, const roam_fault *fault) {
  struct roam_peer_lane *l = roam_lanes_by_slot(p, slot);
  if (fault->rc <= ROAM_E_MALFORMED && fault->rc >= ROAM_E_TOO_LARGE) b->stats.packets_malformed++;
  if (l) fail(b, p, l, fault);
}

void roam_lanes_forget_slot(struct roam_broker *b, struct roam_record *r, uint32_t slot) {
  roam_topics_forget(&b->topics, ROAM_SUBSCRIBER(r->number, slot));
  roam_replay_end(r, (int)slot, NULL);
  if (r->session) roam_session_lane_end(r->session, b->now, slot, ROAM_LANE_DROP);
}

/* What the stream's end means for what it carried. */
static void let_go(struct roam_broker *b, struct roam_record *r, uint32_t slot, enum roam_flow_end how, uint64_t code) {
  if (slot == 0) return;
  if (roam_flows_by_slot(r, slot)) roam_flows_lost(b, r, slot, how, code);
  else roam_lanes_forget_slot(b, r, slot);
}

bool roam_lanes_sacrifice(struct roam_broker *b, struct roam_record *r) {
  static const roam_fault full = {ROAM_E_LIMIT, ROAM_REASON_QUOTA_EXCEEDED, "its queue is full"};
  uint32_t worst = 0, most = roam_session_get_lane(r->session, 0).queued;
  for (uint32_t slot = 1; slot <= ROAM_LANES_PER_PEER; slot++) {
    uint32_t queued = roam_session_get_lane(r->session, slot).queued;
    if (queued <= most) continue;
    most = queued;
    worst = slot;
  }
  struct roam_peer_lane *l = worst != 0 && r->peer ? roam_lanes_by_slot(r->peer, worst) : NULL;
  if (l) {
    fail(b, r->peer, l, &full);
    l->slot = 0;
  }
  if (worst == 0 || (!l && !roam_flows_by_slot(r, worst))) return false;
  let_go(b, r, worst, ROAM_FLOW_END_DISCARD, ROAM_FLOW_NO_ERROR);
  return true;
}

/* ---- the pump ---------------------------------------------------------------------------------------------------------
 */

static bool readable(const struct roam_peer_lane *l) { return !l->failed && !l->gone && !l->ended; }

/* The lane may have moved in the table, or out of it, when events have been handled: only its stream still names it. */
static bool read_lane(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  uint32_t stream = l->stream;
  if (l->slot == 0 && !roam_flows_open(b, p, l)) return false;
  roam_bytes bytes = roam_conn_peek(p->conn, stream);
  size_t used = 0;
  if (bytes.len == 0) return false;
  roam_session_feed(p->session, b->now, l->slot, bytes, &used);
  roam_peer_take_events(b, p);
  if (used > 0) roam_conn_consume(p->conn, b->now, stream, used);
  b->stats.bytes_in += used;
  return used > 0 && used < bytes.len;
}

static void write_lane(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  static const roam_fault no_memory = {ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, "no memory to send with"};
  if (!readable(l) || l->slot == 0 || roam_peer_write(b, p, l->stream, l->slot) == 0) return;
  fail(b, p, l, &no_memory);
}

/* Everything that came has been read; is everything said? */
static bool answered(const struct roam_peer *p, const struct roam_peer_lane *l) {
  roam_session_lane_info info = roam_session_get_lane(p->session, l->slot);
  return !info.unsent && info.unacked == 0;
}

/* What is left behind the last whole packet can never be completed. */
static void end_half(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  static const roam_fault cut = {ROAM_E_MALFORMED, ROAM_REASON_MALFORMED_PACKET, "the stream ended within a packet"};
  bool whole = roam_conn_peek(p->conn, l->stream).len == 0 && l->slot != 0;
  if (!whole && p->flows) {
    roam_lanes_abort(b, p, l, ROAM_FLOW_END_KEEP, ROAM_FLOW_INCOMPLETE_PACKET, cut.rc, cut.text); /* level 2 */
  } else if (!whole) {
    fail(b, p, l, &cut);
  } else if (answered(p, l)) {
    roam_conn_lane_fin(p->conn, b->now, l->stream);
    l->ended = true;
  }
}

/* True: the lane is gone, and another stands in its place. */
static bool settle_lane(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  if (l->ours && !l->failed && !l->gone && !roam_push_settle(b, p, l)) return true;
  if (!l->ours && l->fin && !l->failed && !l->gone && !l->ended) end_half(b, p, l);
  if (!l->failed && !l->gone && !l->ended) return false;
  if (!l->ended) roam_conn_lane_reset(p->conn, b->now, l->stream, l->code);
  bool dropped = l->gone && roam_flow_discards(l->code);
  enum roam_flow_end how = l->ended    ? ROAM_FLOW_END_GRACEFUL
                           : l->failed ? (enum roam_flow_end)l->end
                           : dropped   ? ROAM_FLOW_END_DISCARD
                                       : ROAM_FLOW_END_KEEP;
  uint32_t slot = l->slot;
  uint64_t code = l->failed ? ROAM_FLOW_NO_ERROR : l->code;
  take_out(p, l);
  let_go(b, p->record, slot, how, code);
  return true;
}

bool roam_lanes_visit(struct roam_broker *b, struct roam_peer *p) {
  bool more = false, stalled = roam_durable_stalled(b);
  for (uint32_t i = 0; i < p->lanes_len && p->state == ROAM_PEER_UP && !stalled; i++)
    if (readable(&p->lanes[i])) more |= read_lane(b, p, &p->lanes[i]);
  for (uint32_t i = 0; i < p->lanes_len && p->state == ROAM_PEER_UP; i++) write_lane(b, p, &p->lanes[i]);
  if (stalled) { /* what they still have to say is read when the disk has caught up */
    roam_durable_wait(b, p);
    return false;
  }
  if (more || p->state != ROAM_PEER_UP) return more && p->state == ROAM_PEER_UP;
  for (uint32_t i = 0; i < p->lanes_len && p->state == ROAM_PEER_UP;)
    if (!settle_lane(b, p, &p->lanes[i])) i++;
  return false;
}

void roam_lanes_left(struct roam_broker *b, struct roam_record *r, struct roam_peer *p) {
  for (uint32_t i = 0; i < p->lanes_len; i++) let_go(b, r, p->lanes[i].slot, ROAM_FLOW_END_KEEP, ROAM_FLOW_CONNECTION_GONE);
  p->lanes_len = 0;
}

void roam_lanes_due(struct roam_broker *b, struct roam_peer *p) {
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (p->lanes[i].header_by <= b->now)
      roam_lanes_abort(b, p, &p->lanes[i], ROAM_FLOW_END_KEEP, ROAM_FLOW_OPEN_IDLE, ROAM_E_TIMEOUT,
                       "a flow was opened and its header did not come");
}

roam_time roam_lanes_deadline(const struct roam_peer *p) {
  roam_time at = ROAM_NEVER;
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (!p->lanes[i].failed && p->lanes[i].header_by < at) at = p->lanes[i].header_by;
  return at;
}

/* ---- datagrams --------------------------------------------------------------------------------------------------------
 */

bool roam_lanes_read_datagrams(struct roam_broker *b, struct roam_peer *p) {
  for (int i = 0; i < DATAGRAMS_ROUND; i++) {
    bool some;
    roam_bytes datagram = roam_conn_datagram_peek(p->conn, &some);
    p->datagrams = some;
    if (!some) return false;
    roam_rc rc = roam_session_feed_datagram(p->session, b->now, datagram, !p->flows);
    if (rc == ROAM_E_BLOCKED) return false; /* the next visit tries again */
    roam_peer_take_events(b, p);
    if (rc == 0) b->stats.datagrams_in++;
    else b->stats.datagrams_ignored++;
    roam_conn_datagram_pop(p->conn);
    if (p->state != ROAM_PEER_UP) return false;
  }
  return true;
}

bool roam_lanes_write_datagram(struct roam_broker *b, struct roam_peer *p, const roam_message *message,
                               const roam_publish_how *how) {
  uint8_t bytes[DATAGRAM_BYTES];
  size_t len, room = p->state == ROAM_PEER_UP && !p->closed ? roam_conn_datagram_room(p->conn) : 0;
  if (room > sizeof bytes) room = sizeof bytes;
  if (room == 0 || roam_blob_len(message->blob) > room) return false;
  if (roam_session_write_datagram(p->session, b->now, message, how, bytes, room, &len) != 0) return false;
  if (roam_conn_datagram_write(p->conn, b->now, (roam_bytes){bytes, len}) != 0) return false;
  b->stats.datagrams_out++;
  b->stats.bytes_out += len;
  return true;
}
