/* lanes.c - the data streams of a connection (ALPN "mqtt": simple multistream): one lane of the session for each, with its
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

#define DATAGRAMS_ROUND 256
#define DATAGRAM_BYTES 1500

/* ---- the table ------------------------------------------------------------------------------------------------------- */

static struct roam_peer_lane *find_stream(const struct roam_peer *p, uint32_t stream) {
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (p->lanes[i].stream == stream) return &p->lanes[i];
  return NULL;
}

static struct roam_peer_lane *find_slot(const struct roam_peer *p, uint32_t slot) {
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (p->lanes[i].slot == slot) return &p->lanes[i];
  return NULL;
}

static uint32_t free_slot(const struct roam_peer *p) {
  uint32_t slot = 1;
  while (find_slot(p, slot)) slot++;
  return slot;
}

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
  const struct roam_peer_lane *l = slot != 0 ? find_slot(p, slot) : NULL;
  return slot == 0 || (l && !l->failed && !l->gone);
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
  roam_log_line(&b->o.log, b->now, ROAM_LOG_INFO, "connection %llu: data stream refused, lanes_max is %u",
                (unsigned long long)p->number, b->o.lanes_max);
  roam_conn_lane_reset(p->conn, b->now, stream, code);
}

static bool grow(struct roam_peer *p) {
  if (p->lanes_len < p->lanes_cap) return true;
  uint32_t cap = p->lanes_cap ? 2 * p->lanes_cap : 4;
  struct roam_peer_lane *grown = realloc(p->lanes, cap * sizeof *grown);
  if (!grown) return false;
  p->lanes = grown;
  p->lanes_cap = cap;
  return true;
}

void roam_lanes_opened(struct roam_broker *b, struct roam_peer *p, uint32_t stream) {
  if (stream == 0) return;
  if (p->state == ROAM_PEER_LEFT || p->state == ROAM_PEER_PARTING || p->lanes_len >= b->o.lanes_max || !grow(p)) {
    refuse(b, p, stream, ROAM_REASON_QUOTA_EXCEEDED);
    return;
  }
  p->lanes[p->lanes_len] = (struct roam_peer_lane){.stream = stream, .slot = free_slot(p), .header_by = ROAM_NEVER};
  p->lanes_len++;
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
  roam_log_line(&b->o.log, b->now, ROAM_LOG_NOTICE, "client %s: data stream %u aborted: %s",
                roam_id_text(p->record->id, id), l->stream, text ? text : roam_strerror(rc));
  roam_event *ev = roam_broker_tell(b, ROAM_EV_PEER_LANE_LOST, p->record->id, text);
  ev->rc = rc;
  ev->reason = reason;
  ev->peer = p->number;
  ev->u.lane = (roam_event_lane){.lane = l->slot, .stream = l->stream, .code = l->code};
}

static void fail(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, const roam_fault *fault) {
  if (l->failed) return;
  l->failed = true;
  l->code = fault->reason;
  tell_lost(b, p, l, fault->rc, fault->reason, fault->text);
  roam_peer_mark(b, p);
}

void roam_lanes_fault(struct roam_broker *b, struct roam_peer *p, uint32_t slot, const roam_fault *fault) {
  struct roam_peer_lane *l = find_slot(p, slot);
  if (fault->rc <= ROAM_E_MALFORMED && fault->rc >= ROAM_E_TOO_LARGE) b->stats.packets_malformed++;
  if (l) fail(b, p, l, fault);
}

static void forget_slot(struct roam_broker *b, struct roam_record *r, uint32_t slot) {
  roam_topics_forget(&b->topics, ROAM_SUBSCRIBER(r->number, slot));
  roam_replay_end(r, (int)slot, NULL);
  if (r->session) roam_session_lane_end(r->session, b->now, slot, ROAM_LANE_DROP);
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
  struct roam_peer_lane *l = worst != 0 && r->peer ? find_slot(r->peer, worst) : NULL;
  if (!l) return false;
  fail(b, r->peer, l, &full);
  forget_slot(b, r, worst);
  return true;
}

/* ---- the pump ---------------------------------------------------------------------------------------------------------
 */

static bool readable(const struct roam_peer_lane *l) { return l->slot != 0 && !l->failed && !l->gone && !l->ended; }

/* The lane may have moved in the table, or out of it, when events have been handled: only its stream still names it. */
static bool read_lane(struct roam_broker *b, struct roam_peer *p, const struct roam_peer_lane *l) {
  uint32_t stream = l->stream;
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
  if (!readable(l) || roam_peer_write(b, p, l->stream, l->slot) == 0) return;
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
  if (roam_conn_peek(p->conn, l->stream).len > 0) {
    fail(b, p, l, &cut);
  } else if (answered(p, l)) {
    roam_conn_lane_fin(p->conn, b->now, l->stream);
    l->ended = true;
  }
}

/* True: the lane is gone, and another stands in its place. */
static bool settle_lane(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  if (l->fin && !l->failed && !l->gone && !l->ended) end_half(b, p, l);
  if (!l->failed && !l->gone && !l->ended) return false;
  if (!l->ended) roam_conn_lane_reset(p->conn, b->now, l->stream, l->code);
  forget_slot(b, p->record, l->slot);
  take_out(p, l);
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
  for (uint32_t i = 0; i < p->lanes_len;)
    if (!settle_lane(b, p, &p->lanes[i])) i++;
  return false;
}

void roam_lanes_left(struct roam_broker *b, struct roam_record *r, struct roam_peer *p) {
  for (uint32_t i = 0; i < p->lanes_len; i++)
    if (p->lanes[i].slot != 0) forget_slot(b, r, p->lanes[i].slot);
  p->lanes_len = 0;
}

/* ---- datagrams --------------------------------------------------------------------------------------------------------
 */

bool roam_lanes_read_datagrams(struct roam_broker *b, struct roam_peer *p) {
  for (int i = 0; i < DATAGRAMS_ROUND; i++) {
    bool some;
    roam_bytes datagram = roam_conn_datagram_peek(p->conn, &some);
    if (!some) return false;
    roam_rc rc = roam_session_feed_datagram(p->session, b->now, datagram, true);
    if (rc == ROAM_E_BLOCKED) return false;
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
