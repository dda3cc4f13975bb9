/* pushed.c - server data flows (MQTT-next) as the client takes them: streams that the server opens, each with a flow of its
 * own, on which comes what it has subscribed us to.
 *
 * A flow of the server's is a lane of the session like ours, but nothing subscribes there and only the server begins,
 * recovers and ends it. Its state (QoS 2 identifiers, aliases) outlives the stream when its header says so, until its
 * interval runs out, and the connection when our session does. Of two streams for one flow the later wins: the older is
 * given up, and the newer waits until the application has polled what came on the older.
 *
 * A one-way stream is taken, too; only QoS 0 travels there, and nothing of it lasts. Errors have the levels of the draft: a
 * control flow of the server's, or recovering once more what we have said is not there, ends the connection (0); other bad
 * headers and broken rules end the flow (1); a cut packet or an opening without a header ends the stream (2). */
#include "client/lanes.h"

#include <stdlib.h>

#include "client/client.h"
#include "mqtt/flow.h"

#define HEADER_NS (10 * ROAM_S)

uint32_t roam_pushed_max(const roam_client *c) {
  if (!c->o.flows || c->o.lanes_max == 0) return 0;
  uint32_t room = ROAM_CLIENT_LANES_MAX - c->o.lanes_max, most = ROAM_CLIENT_PENDING / 2;
  if (room > most) room = most;
  return c->o.server_flows_max < room ? c->o.server_flows_max : room;
}

uint32_t roam_pushed_count(const roam_client *c) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < c->lanes.len; i++) count += c->lanes.slots[i].theirs && c->lanes.slots[i].open;
  return count;
}

/* ---- lanes for them -------------------------------------------------------------------------------------------------- */

static uint32_t find_flow(const roam_client *c, uint64_t id) {
  for (uint32_t i = 0; i < c->lanes.len; i++)
    if (c->lanes.slots[i].pushed == id) return i + 1;
  return 0;
}

/* One of the server's that is not used, or a new one. 0: as many as there may be. */
static uint32_t take_lane(roam_client *c) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < c->lanes.len; i++) {
    struct roam_client_lane *l = &c->lanes.slots[i];
    if (l->theirs && l->pushed == 0) return i + 1;
    count += l->theirs;
  }
  if (count >= roam_pushed_max(c)) return 0;
  struct roam_client_lane *l = roam_lanes_new(c);
  if (!l) return 0;
  l->theirs = true;
  return c->lanes.len;
}

static void vacate(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  roam_session_lane_end(c->session, c->now, lane, ROAM_LANE_DROP);
  roam_lanes_forget_stream(l);
  l->pushed = 0;
  l->expire_at = ROAM_NEVER;
}

/* The stream is gone. */
static void let_go(roam_client *c, uint32_t lane, bool keep) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  bool lasts = keep && (l->flags & ROAM_FLOW_PERSISTENCE) != 0 && l->expire_s > 0;
  if (!lasts) {
    vacate(c, lane);
    return;
  }
  roam_lanes_forget_stream(l);
  bool qos = (l->flags & ROAM_FLOW_PERSISTENT_QOS) != 0;
  roam_session_lane_end(c->session, c->now, lane, qos ? ROAM_LANE_RESUME : ROAM_LANE_EMPTY);
  l->expire_at = c->now + (roam_time)l->expire_s * ROAM_S;
}

/* ---- headers --------------------------------------------------------------------------------------------------------- */

static void forget_pending(roam_client *c, uint32_t i) { c->lanes.pending[i] = c->lanes.pending[--c->lanes.pending_len]; }

static void refuse(roam_client *c, uint32_t i, uint64_t code, const char *text) {
  uint32_t stream = c->lanes.pending[i].stream;
  forget_pending(c, i);
  roam_conn_lane_reset(c->link.conn, c->now, stream, code);
  if (text) roam_trace(&c->o.log, c->now, FLOW_REFUSED, .client = c->id, .why = text);
}

static void end_connection(roam_client *c, uint64_t code, const char *text) {
  c->link.close_code = code;
  roam_link_blame(c, ROAM_E_PROTOCOL, -1, code, "%s", text);
  roam_link_leave(c, false);
}

void roam_pushed_opened(roam_client *c, uint32_t stream) {
  struct roam_lanes *l = &c->lanes;
  if (!l->pending) l->pending = calloc(ROAM_CLIENT_PENDING, sizeof *l->pending);
  if (!c->link.flows || !l->pending || l->pending_len == ROAM_CLIENT_PENDING) {
    roam_conn_lane_reset(c->link.conn, c->now, stream, c->link.flows ? ROAM_FLOW_REFUSED : ROAM_REASON_PROTOCOL_ERROR);
    return;
  }
  l->pending[l->pending_len++] = (struct roam_client_pending){.stream = stream, .header_by = c->now + HEADER_NS};
}

bool roam_pushed_on_event(roam_client *c, const roam_te *te) {
  for (uint32_t i = 0; i < c->lanes.pending_len; i++) {
    if (c->lanes.pending[i].stream != te->lane) continue;
    if (te->kind == ROAM_TE_LANE_FIN) c->lanes.pending[i].fin = true;
    else c->lanes.pending[i].gone = true;
    return true;
  }
  return false;
}

/* What is wrong with a header on its own; 0: nothing. */
static uint8_t find_fault(const struct roam_flow_header *h, const char **text) {
  uint8_t both = ROAM_FLOW_CLEAN | ROAM_FLOW_ABORT_IF_NO_STATE;
  *text = "user-defined flows are not known";
  if (h->type == ROAM_FLOW_USER) return ROAM_FLOW_REFUSED;
  *text = "a stream of a type that a server cannot begin";
  if (h->type != ROAM_FLOW_SERVER) return ROAM_FLOW_STREAM_TYPE;
  *text = "a server's flows have odd numbers";
  if ((h->id & 1) == 0) return ROAM_FLOW_BAD_ID;
  *text = "a flow that is to be clean and to be recovered";
  if ((h->flags & both) == both) return ROAM_FLOW_REFUSED;
  *text = "subscriptions of a server's flow are the server's own";
  return h->flags & ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS ? ROAM_FLOW_SUBSCRIPTIONS_REFUSED : 0;
}

static void refuse_recovery(roam_client *c, uint32_t i, uint64_t id) {
  struct roam_lanes *l = &c->lanes;
  bool again = l->refusals_len == ROAM_CLIENT_REFUSALS;
  for (uint32_t n = 0; n < l->refusals_len; n++) again |= l->refusals[n] == id;
  if (again) {
    end_connection(c, ROAM_FLOWS_TOO_MANY_RECOVERIES, "the server recovered a flow without state again and again");
    return;
  }
  l->refusals[l->refusals_len++] = id;
  refuse(c, i, ROAM_FLOW_NO_STATE, NULL);
}

static uint64_t order_of(uint32_t stream) {
  return (uint64_t)(stream & ~(ROAM_LANE_ONE_WAY | ROAM_LANE_OF_SERVER)) * 4 + (stream & ROAM_LANE_ONE_WAY ? 2 : 0);
}

static void begin(roam_client *c, uint32_t i, uint32_t lane, const struct roam_flow_header *h, size_t used) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  struct roam_client_pending p = c->lanes.pending[i];
  bool one_way = (p.stream & ROAM_LANE_ONE_WAY) != 0;
  unsigned rules = ROAM_LANE_OF_ASSIGNED | (one_way ? ROAM_LANE_INWARD : 0);
  if (h->flags & ROAM_FLOW_PERSISTENT_ALIAS) rules |= ROAM_LANE_ALIASES;
  if (roam_session_lane_rules(c->session, c->now, lane, rules) != 0) {
    refuse(c, i, ROAM_FLOW_REFUSED, "no memory");
    return;
  }
  forget_pending(c, i);
  roam_conn_consume(c->link.conn, c->now, p.stream, used);
  roam_lanes_forget_stream(l);
  l->pushed = h->id;
  l->flags = one_way ? h->flags & (uint8_t)~ROAM_FLOW_PERSISTENCE : h->flags;
  l->expire_s = h->expire_s > UINT32_MAX ? UINT32_MAX : (uint32_t)h->expire_s;
  l->expire_at = ROAM_NEVER;
  l->stream = p.stream;
  l->opened_at = c->now;
  l->code = ROAM_FLOW_NO_ERROR;
  l->open = true;
  l->fin = p.fin;
}

/* The state that the header asks for. */
static void find_state(roam_client *c, uint32_t i, const struct roam_flow_header *h, size_t used) {
  uint32_t lane = find_flow(c, h->id);
  if (lane != 0 && (h->flags & ROAM_FLOW_CLEAN)) {
    vacate(c, lane);
    lane = 0;
  }
  if (lane == 0 && (h->flags & ROAM_FLOW_ABORT_IF_NO_STATE)) {
    refuse_recovery(c, i, h->id);
    return;
  }
  if (lane == 0) lane = take_lane(c);
  if (lane == 0) refuse(c, i, ROAM_FLOW_REFUSED, "more than server_flows_max");
  else begin(c, i, lane, h, used);
}

/* True: it is pending no more. */
static bool open_pending(roam_client *c, uint32_t i) {
  struct roam_client_pending *p = &c->lanes.pending[i];
  struct roam_flow_header h;
  size_t used = 0;
  const char *text;
  if (p->gone) {
    refuse(c, i, ROAM_FLOW_NO_ERROR, NULL);
    return true;
  }
  roam_bytes bytes = roam_conn_peek(c->link.conn, p->stream);
  int rv = bytes.len > 0 ? roam_flow_read(bytes, &h, &used) : 0;
  if (rv == 0 && p->fin) refuse(c, i, ROAM_FLOW_INCOMPLETE_PACKET, "it ended within its header");
  if (rv == 0) return p->fin;
  if (rv < 0) {
    refuse(c, i, ROAM_FLOW_BAD_OPTIONAL_HEADER, "a header without end");
    return true;
  }
  if (roam_flow_is_grease(h.type)) {
    refuse(c, i, ROAM_FLOW_NO_ERROR, NULL);
    return true;
  }
  if (h.type == ROAM_FLOW_CONTROL) {
    end_connection(c, ROAM_FLOWS_PROTOCOL, "the server has begun a control flow, which is ours");
    return true;
  }
  uint8_t code = find_fault(&h, &text);
  if (code != 0) {
    refuse(c, i, code, text);
    return true;
  }
  struct roam_client_lane *l = roam_lanes_at(c, find_flow(c, h.id));
  if (l && l->open && order_of(l->stream) > order_of(p->stream)) {
    refuse(c, i, ROAM_FLOW_NO_ERROR, NULL);
    return true;
  }
  if (l && l->open) { /* first the older goes, when it has been polled */
    bool moved = !l->gone;
    p->header_by = ROAM_NEVER;
    l->gone = true;
    l->code = ROAM_FLOW_NO_ERROR;
    return moved;
  }
  find_state(c, i, &h, used);
  return true;
}

/* ---- the pump -------------------------------------------------------------------------------------------------------- */

/* Does a whole packet stand at the front? Then the session has yet to take it. */
static bool is_whole(roam_bytes bytes) {
  size_t len = 0;
  for (size_t i = 1; i < 5 && i < bytes.len; i++) {
    len |= (size_t)(bytes.base[i] & 0x7f) << (7 * (i - 1));
    if (bytes.base[i] < 0x80) return bytes.len >= 1 + i + len;
  }
  return false;
}

/* The server has ended its half: when all is read, polled and answered, ours follows, and the flow is no more. */
static bool end_gracefully(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  roam_bytes rest = roam_lanes_unread(c, l);
  if (rest.len > 0 && is_whole(rest)) return false;
  if (rest.len > 0) {
    l->gone = true;
    l->code = ROAM_FLOW_INCOMPLETE_PACKET;
    return true;
  }
  roam_session_lane_info info = roam_session_get_lane(c->session, lane);
  if (!roam_lanes_may_end(c, lane) || info.unsent || info.unacked > 0 || info.inflight > 0) return false;
  roam_conn_lane_fin(c->link.conn, c->now, l->stream);
  if (l->fed > l->consumed) roam_conn_consume(c->link.conn, c->now, l->stream, (size_t)(l->fed - l->consumed));
  vacate(c, lane);
  return true;
}

static bool end_stream(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane), was = *l;
  if (l->fin && !l->gone) return end_gracefully(c, lane);
  if (!l->gone || !roam_lanes_may_end(c, lane)) return false;
  roam_conn_lane_reset(c->link.conn, c->now, l->stream, l->code);
  let_go(c, lane, !roam_flow_discards(l->code));
  roam_lanes_tell_lost(c, lane, &was, 0);
  return true;
}

bool roam_pushed_pump(roam_client *c) {
  bool moved = false;
  for (uint32_t i = c->lanes.pending_len; i-- > 0 && !c->link.leaving;) moved |= open_pending(c, i);
  for (uint32_t lane = 1; lane <= c->lanes.len && !c->link.leaving; lane++) {
    struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (!l->theirs || !l->open) continue;
    moved |= roam_lanes_read(c, lane);
    moved |= roam_lanes_write(c, lane);
    moved |= end_stream(c, lane);
  }
  return moved;
}

/* ---- ends ------------------------------------------------------------------------------------------------------------ */

void roam_pushed_detached(roam_client *c) {
  c->lanes.pending_len = c->lanes.refusals_len = 0;
  for (uint32_t lane = 1; lane <= c->lanes.len; lane++) {
    const struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (l->theirs && l->pushed && l->open) let_go(c, lane, roam_lanes_outlive_connection(c));
  }
}

void roam_pushed_lost(roam_client *c) {
  for (uint32_t lane = 1; lane <= c->lanes.len; lane++) {
    const struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (l->theirs && l->pushed && !l->open) vacate(c, lane);
  }
}

void roam_pushed_tick(roam_client *c) {
  for (uint32_t i = c->lanes.pending_len; i-- > 0;)
    if (c->lanes.pending[i].header_by <= c->now) refuse(c, i, ROAM_FLOW_OPEN_IDLE, "its header did not come");
  for (uint32_t lane = 1; lane <= c->lanes.len; lane++) {
    const struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (l->theirs && l->pushed && !l->open && l->expire_at <= c->now) vacate(c, lane);
  }
}

roam_time roam_pushed_deadline(const roam_client *c) {
  roam_time at = ROAM_NEVER;
  for (uint32_t i = 0; i < c->lanes.pending_len; i++)
    if (c->lanes.pending[i].header_by < at) at = c->lanes.pending[i].header_by;
  for (uint32_t i = 0; i < c->lanes.len; i++)
    if (c->lanes.slots[i].theirs && c->lanes.slots[i].expire_at < at) at = c->lanes.slots[i].expire_at;
  return at;
}
