/* pump.c - the one place where bytes change layer: transport events, lane -> session, session events -> application's
 * queue, session -> lane, round after round until nothing moves any more.
 *
 * Inward. A lane's bytes are peeked at, never copied. Of [consumed, fed) the session has seen every packet; events in the
 * queue may point there. Bytes are given back (consume) as far as no event that has not been polled, or was polled since
 * the last call, needs them. So an application that does not poll keeps the flow-control credit, and the server stops
 * sending: back-pressure without a second buffer. The queue has its own bound; at the bound the session is fed no more
 * (`full`).
 *
 * While bytes are held back, the answer to a PINGREQ may be among them. Then the session's keep-alive would end a healthy
 * connection, so it stands still until a while after the holding back, and the PINGREQs that the server wants come from
 * here.
 *
 * Outward. The session fills slices for no more than the lane's room, and the lane takes them all.
 *
 * Ends are settled last (settle): a farewell that has been written is followed by the close, a lane that was read to its
 * end by the end of the connection. */
#include "client/client.h"

#define ROUNDS_MAX 4096 /* far above what the bounds of queue and lane allow; the rest is done in the next call */
#define SLICES 64
#define TE_BATCH 16

struct roam_lane_view roam_client_lane_view(const roam_client *c, uint32_t lane) {
  if (lane == 0 || lane > c->lanes.len) {
    struct roam_lane_view view = {.first = c->link.consumed};
    if (c->link.conn) view.bytes = roam_conn_peek(c->link.conn, 0);
    return view;
  }
  const struct roam_client_lane *l = &c->lanes.slots[lane - 1];
  struct roam_lane_view view = {.first = l->consumed};
  if (c->link.conn && l->open) view.bytes = roam_conn_peek(c->link.conn, l->stream);
  return view;
}

/* The part of a lane that the session has seen. */
static struct roam_lane_view fed_view(const roam_client *c, uint32_t lane) {
  struct roam_lane_view view = roam_client_lane_view(c, lane);
  const struct roam_client_lane *l = lane > 0 && lane <= c->lanes.len ? &c->lanes.slots[lane - 1] : NULL;
  view.bytes.len = (size_t)(l ? l->fed - l->consumed : c->link.fed - c->link.consumed);
  return view;
}

/* ---- what the application has polled ---- */

static bool same_session(const roam_client *c, const struct roam_entry *e) {
  if (e->ev.u.message.qos == 1) return e->link == c->link.number && c->link.conn;
  return e->link >= c->session_since; /* a QoS 2 identifier outlives its connection, not its session */
}

void roam_client_settle_polled(roam_client *c) {
  const struct roam_entry *e;
  while ((e = roam_events_release(&c->events)) != NULL) {
    if (e->ev.kind != ROAM_EV_MESSAGE || e->ev.u.message.qos == 0 || c->o.manual_ack || !same_session(c, e)) continue;
    roam_session_ack(c->session, c->now, e->ev.u.message.lane, e->ev.u.message.packet_id, 0);
  }
  c->ack_due = false;
  struct roam_link *l = &c->link;
  if (!l->conn) return;
  roam_lanes_settle_polled(c);
  uint64_t floor = roam_events_lane_floor(&c->events, 0, l->fed);
  if (floor > l->consumed) roam_conn_consume(l->conn, c->now, 0, (size_t)(floor - l->consumed));
  l->consumed = floor > l->consumed ? floor : l->consumed;
}

/* ---- the four moves ---- */

static bool take_transport_events(roam_client *c) {
  roam_te te[TE_BATCH];
  size_t n = c->transport ? roam_transport_poll(c->transport, te, TE_BATCH) : 0;
  for (size_t i = 0; i < n; i++) roam_link_on_event(c, &te[i]);
  size_t m = c->second ? roam_transport_poll(c->second, te, TE_BATCH) : 0;
  for (size_t i = 0; i < m; i++) roam_link_on_event(c, &te[i]);
  return n + m > 0;
}

static bool listening(const roam_client *c) {
  return c->link.conn && !c->link.leaving && !c->link.leave_due && c->phase >= ROAM_PHASE_GREETING &&
         c->phase <= ROAM_PHASE_CLOSING;
}

/* Does a whole packet stand at the front? */
static bool packet_complete(roam_bytes bytes) {
  size_t len = 0;
  for (size_t i = 1; i < 5 && i < bytes.len; i++) {
    len |= (size_t)(bytes.base[i] & 0x7f) << (7 * (i - 1));
    if (bytes.base[i] < 0x80) return bytes.len >= 1 + i + len;
  }
  return false;
}

static bool feed_session(roam_client *c) {
  c->link.full = c->link.clogged = false;
  if (!listening(c)) return false;
  struct roam_lane_view lane = roam_client_lane_view(c, 0);
  size_t seen = (size_t)(c->link.fed - c->link.consumed), used = 0;
  if (lane.bytes.len <= seen) return false;
  if (roam_events_waiting(&c->events) >= ROAM_EVENTS_MAX) {
    c->link.full = true;
    return false;
  }
  if (roam_events_reserve(&c->events, ROAM_EVENTS_BATCH) != 0) {
    roam_link_blame(c, ROAM_E_MEMORY, -1, 0, "%s", roam_strerror(ROAM_E_MEMORY));
    roam_link_leave(c, false);
    return true;
  }
  roam_bytes rest = {lane.bytes.base + seen, lane.bytes.len - seen};
  roam_session_feed(c->session, c->now, 0, rest, &used);
  c->link.fed += used;
  c->link.clogged = used == 0 && packet_complete(rest);
  return used > 0;
}

static bool take_session_events(roam_client *c) {
  roam_session_event se[ROAM_EVENTS_BATCH];
  if (roam_events_reserve(&c->events, ROAM_EVENTS_BATCH) != 0) return false;
  if (roam_events_waiting(&c->events) >= ROAM_EVENTS_MAX + ROAM_EVENTS_BATCH) return false;
  size_t n = roam_session_poll(c->session, se, ROAM_EVENTS_BATCH);
  struct roam_lane_view lane = {0};
  for (size_t i = 0; i < n; i++) {
    bool in_row = i > 0 && se[i].lane == se[i - 1].lane && se[i - 1].kind == ROAM_SE_MESSAGE && listening(c);
    if (!in_row) lane = fed_view(c, se[i].lane); /* else a message before it has left the lane as it was */
    roam_talk_on_event(c, &se[i], &lane);
  }
  return n > 0;
}

/* One datagram. What the session says of it is told before its bytes go; those of messages are copied. */
static bool feed_datagram(roam_client *c) {
  bool some = false;
  if (!listening(c) || !c->link.greeted || roam_events_waiting(&c->events) >= ROAM_EVENTS_MAX) return false;
  roam_bytes datagram = roam_conn_datagram_peek(c->link.conn, &some);
  if (!some) return false;
  roam_rc rc = roam_session_feed_datagram(c->session, c->now, datagram, !c->link.flows);
  while (take_session_events(c)) continue;
  if (rc == 0) c->datagrams_in++;
  if (c->link.conn) roam_conn_datagram_pop(c->link.conn);
  return true;
}

static bool send_subscriptions(roam_client *c) {
  struct roam_subs_failure failure;
  if (c->phase <= ROAM_PHASE_GREETING && c->link.conn && c->link.early)
    return roam_subs_send_early(&c->subs, c->session, c->now);
  if (c->phase != ROAM_PHASE_CONNECTED && c->phase != ROAM_PHASE_CLOSING) return false;
  bool moved = roam_subs_send(&c->subs, c->session, c->now, &failure);
  if (failure.type != 0) {
    struct roam_entry *e = roam_client_event(c, failure.type == ROAM_SUBSCRIBE ? ROAM_EV_SUBSCRIBED : ROAM_EV_UNSUBSCRIBED);
    if (e) {
      e->ev.rc = failure.rc;
      e->ev.token = failure.token;
    }
  }
  return moved;
}

static bool send_lane(roam_client *c) {
  bool moved = false;
  if (!c->link.conn || c->link.leaving || c->link.ended) return false;
  for (;;) {
    roam_slice slices[SLICES];
    size_t room = roam_conn_room(c->link.conn, 0);
    size_t n = room > 0 ? roam_session_drain(c->session, c->now, 0, room, slices, SLICES) : 0;
    if (n == 0) return moved;
    roam_rc rc = roam_conn_write(c->link.conn, c->now, 0, slices, n);
    moved = true;
    if (rc == 0) continue;
    /* What the session counts as sent was not: only a new connection can mend that. */
    roam_link_blame(c, rc, -1, 0, "%s", roam_strerror(rc));
    roam_link_leave(c, false);
    return true;
  }
}

/* ---- ends ---- */

/* The application wants out: when everything is acknowledged, or patience is at its end, DISCONNECT is the last word. */
static void say_goodbye(roam_client *c) {
  if (c->phase != ROAM_PHASE_CLOSING || c->link.leave_due || c->link.leaving) return;
  roam_session_info info = roam_session_get_info(c->session);
  bool subscribed = !c->subs.unsent && c->subs.pending_count == 0;
  /* DISCONNECT overtakes what is still under way on data streams, and ends it */
  bool delivered = c->link.conn && roam_conn_lanes_held(c->link.conn) == 0;
  if ((!info.drained || !subscribed || !delivered) && c->now < c->close_at) return;
  roam_session_disconnect(c->session, c->now, c->close_reason, (roam_bytes){0});
  c->link.leave_due = true;
}

/* Are bytes held back that may have the answer to a PINGREQ among or behind them? Also when unpolled messages hold so much
 * of the window that the server may have no credit for one. */
static bool is_held(const roam_client *c) {
  const struct roam_link *l = &c->link;
  bool starved = roam_events_waiting(&c->events) > 0 && l->fed - l->consumed >= roam_link_window(c) / 4;
  return l->full || l->clogged || starved;
}

/* Nothing more will be read. A session clogged for any other reason than an application that has yet to poll stays so
 * without a connection to answer on. */
static bool read_to_end(const roam_client *c) {
  return !c->link.full && !(c->link.clogged && roam_events_waiting(&c->events) > 0);
}

/* True: something changed that the moves should see. */
static bool settle(roam_client *c) {
  struct roam_link *l = &c->link;
  say_goodbye(c);
  if (!l->conn) return false;
  if (l->leave_due && !l->leaving) {
    send_lane(c);
    roam_link_leave(c, l->cause.rc != ROAM_E_TIMEOUT); /* a silent server takes nothing any more */
    return true;
  }
  if (l->fin && !l->leaving && read_to_end(c)) {
    if (l->pending_end.rc == 0) roam_link_blame(c, ROAM_E_PEER_CLOSED, -1, 0, "%s", roam_strerror(ROAM_E_PEER_CLOSED));
    else if (l->cause.rc == 0) l->cause = l->pending_end;
    roam_link_leave(c, true);
    return true;
  }
  if (l->ended && l->leaving && c->events.refs == 0) {
    roam_link_finish(c);
    return true;
  }
  return false;
}

static void mind_keep_alive(roam_client *c, bool was_held) {
  if (!is_held(c) && !was_held) return;
  roam_time patience = (roam_time)roam_session_get_info(c->session).keep_alive_s * ROAM_S / 2;
  if (!was_held) c->pinged_at = c->now;
  c->pings_own_until = c->now + (patience > 5 * ROAM_S ? patience : 5 * ROAM_S);
}

bool roam_client_pump(roam_client *c) {
  bool any = false, was_held = is_held(c);
  c->busy = false;
  for (int round = 0; round < ROUNDS_MAX; round++) {
    bool moved = take_transport_events(c);
    moved |= feed_session(c);
    moved |= take_session_events(c);
    moved |= feed_datagram(c);
    moved |= send_subscriptions(c);
    if (c->lanes.len > 0 || c->lanes.pending_len > 0) moved |= roam_lanes_pump(c);
    moved |= send_lane(c);
    if (!moved) moved = settle(c);
    if (!moved) {
      mind_keep_alive(c, was_held);
      return any;
    }
    any = true;
  }
  c->busy = true;
  return any;
}

bool roam_client_wants_turn(const roam_client *c) {
  const struct roam_link *l = &c->link;
  if (c->busy || c->ack_due) return true;
  if (!l->conn) return false;
  if (l->full && roam_events_waiting(&c->events) < ROAM_EVENTS_MAX) return true;
  if (c->events.refs > 0 && roam_events_waiting(&c->events) == 0) {
    bool much = l->fed - l->consumed >= 65536;
    return l->ended || much;
  }
  return false;
}
