/* flows.c - ALPN "MQTT-next": each stream begins with a header that names a flow, and a flow's state (identifiers in
 * flight, subscriptions, what is queued) is the session's, not the stream's.
 *
 * Errors have three levels: 0 ends the connection, 1 aborts the stream and discards the flow's state, 2 aborts the stream
 * and keeps it for recovery. What is kept is what the flow's flags ask to persist, until its expire interval runs out or
 * the session ends. Taking over: of two streams for one flow the later stream wins and the older is aborted both ways, with
 * the half of a packet that may stand in it. On a one-way stream nothing can be answered, so only QoS 0 travels there, and
 * nothing of such a flow persists. The broker's own flows are push.c's. */
#include "broker/broker.h"

#include <stdlib.h>

#include "mqtt/flow.h"

#define CONNECT_BYTE 0x10 /* the first of a CONNECT */

/* ---- the table ------------------------------------------------------------------------------------------------------- */

struct roam_flow *roam_flows_by_id(const struct roam_record *r, uint64_t id) {
  for (uint32_t i = 0; i < r->flows.len; i++)
    if (r->flows.list[i]->id == id) return r->flows.list[i];
  return NULL;
}

struct roam_flow *roam_flows_by_slot(const struct roam_record *r, uint32_t slot) {
  for (uint32_t i = 0; i < r->flows.len; i++)
    if (r->flows.list[i]->slot == slot) return r->flows.list[i];
  return NULL;
}

static void take_out(roam_broker *b, struct roam_flow *flow) {
  struct roam_flows *flows = &flow->record->flows;
  roam_heap_remove(&b->flows, &flow->due);
  for (uint32_t i = 0; i < flows->len; i++) {
    if (flows->list[i] != flow) continue;
    flows->list[i] = flows->list[--flows->len];
    break;
  }
  roam_blob_unref(flow->filter);
  free(flow);
}

static bool grow(struct roam_flows *flows) {
  if (flows->len < flows->cap) return true;
  uint32_t cap = flows->cap ? 2 * flows->cap : 4;
  struct roam_flow **grown = realloc(flows->list, cap * sizeof(struct roam_flow *));
  if (!grown) return false;
  flows->list = grown;
  flows->cap = cap;
  return true;
}

struct roam_flow *roam_flows_add(roam_broker *b, struct roam_record *r, uint64_t id, roam_rc *rc) {
  uint32_t slot = roam_lanes_free_slot(r);
  *rc = slot == 0 ? ROAM_E_LIMIT : ROAM_E_MEMORY;
  if (slot == 0 || !grow(&r->flows)) return NULL;
  struct roam_flow *flow = calloc(1, sizeof *flow);
  if (!flow) return NULL;
  if (roam_heap_reserve(&b->flows, b->flows_count + 1) != 0) {
    free(flow);
    return NULL;
  }
  flow->record = r;
  flow->id = id;
  flow->slot = slot;
  r->flows.list[r->flows.len++] = flow;
  b->flows_count++;
  *rc = 0;
  return flow;
}

void roam_flows_discard(roam_broker *b, struct roam_flow *flow) {
  struct roam_record *r = flow->record;
  roam_session_event ev;
  roam_lanes_forget_slot(b, r, flow->slot);
  while (!r->peer && r->session && roam_session_poll(r->session, &ev, 1) == 1) roam_durable_note(b, r, &ev);
  roam_durable_flow_drop(b, flow);
  take_out(b, flow);
  b->flows_count--;
}

unsigned roam_flow_rules(const struct roam_flow *flow) {
  unsigned rules = flow->filter ? ROAM_LANE_OF_ASSIGNED : 0;
  if (flow->one_way) rules |= ROAM_LANE_INWARD;
  if (flow->kept && (flow->flags & ROAM_FLOW_PERSISTENT_QOS)) rules |= ROAM_LANE_JOURNAL;
  if (flow->flags & ROAM_FLOW_PERSISTENT_ALIAS) rules |= ROAM_LANE_ALIASES;
  return rules;
}

void roam_flows_forget(roam_broker *b, struct roam_record *r) {
  while (r->flows.len > 0) roam_flows_discard(b, r->flows.list[0]);
  free(r->flows.list);
  r->flows = (struct roam_flows){0};
}

void roam_flows_tick(roam_broker *b) {
  struct roam_heap_node *first;
  while ((first = roam_heap_first(&b->flows)) && first->at <= b->now)
    roam_flows_discard(b, ROAM_CONTAINER(first, struct roam_flow, due));
}

void roam_flows_lost(roam_broker *b, struct roam_record *r, uint32_t slot, enum roam_flow_end how, uint64_t code) {
  struct roam_flow *flow = roam_flows_by_slot(r, slot);
  if (!flow) return;
  if (flow->filter && how != ROAM_FLOW_END_GRACEFUL && !flow->ending) {
    roam_push_lost(b, flow, how, code);
    return;
  }
  bool kept = how == ROAM_FLOW_END_KEEP && (flow->flags & ROAM_FLOW_PERSISTENCE) != 0 && flow->expire_s > 0;
  if (!kept) {
    roam_flows_discard(b, flow);
    return;
  }
  if (!(flow->flags & ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS) && !flow->filter)
    roam_topics_forget(&b->topics, ROAM_SUBSCRIBER(r->number, slot));
  roam_topics_connected(&b->topics, ROAM_SUBSCRIBER(r->number, slot), false);
  bool qos = (flow->flags & ROAM_FLOW_PERSISTENT_QOS) != 0;
  roam_session_lane_end(r->session, b->now, slot, qos ? ROAM_LANE_RESUME : ROAM_LANE_EMPTY);
  roam_heap_set(&b->flows, &flow->due, b->now + (roam_time)flow->expire_s * ROAM_S); /* reserved */
  roam_durable_flow(b, flow);
}

/* ---- headers --------------------------------------------------------------------------------------------------------- */

bool roam_flows_greet(roam_broker *b, struct roam_peer *p) {
  struct roam_flow_header h;
  size_t used;
  if (p->greeted) return true;
  roam_bytes bytes = roam_conn_peek(p->conn, 0);
  if (bytes.len > 0 && bytes.base[0] == CONNECT_BYTE) { /* mqtt-lib leaves this header out; no type is that byte */
    p->greeted = true;
    return true;
  }
  int rv = bytes.len > 0 ? roam_flow_read(bytes, &h, &used) : 0;
  if (rv == 0) return false;
  if (rv < 0 || h.type != ROAM_FLOW_CONTROL || h.id != 0) {
    p->close_code = ROAM_FLOWS_PROTOCOL;
    b->stats.packets_malformed++;
    roam_peer_leave(b, p, (struct roam_end){ROAM_E_PROTOCOL, -1, "the control stream does not begin with its flow header"},
                    false);
    return false;
  }
  roam_conn_consume(p->conn, b->now, 0, used);
  p->greeted = true;
  return true;
}

/* Level 1: nothing of the flow is kept. */
static bool refuse(roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, uint8_t code, const char *text) {
  roam_lanes_abort(b, p, l, ROAM_FLOW_END_DISCARD, code, ROAM_E_PROTOCOL, text);
  return false;
}

static bool was_refused(struct roam_peer *p, uint64_t id) {
  for (uint32_t i = 0; i < p->flow_refusals_len; i++)
    if (p->flow_refusals[i] == id) return true;
  return false;
}

static bool refuse_recovery(roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, uint64_t id) {
  if (was_refused(p, id) || p->flow_refusals_len == ROAM_FLOW_REFUSALS) {
    p->close_code = ROAM_FLOWS_TOO_MANY_RECOVERIES;
    roam_peer_leave(b, p, (struct roam_end){ROAM_E_PROTOCOL, -1, "a flow without state was recovered again and again"},
                    false);
    return false;
  }
  p->flow_refusals[p->flow_refusals_len++] = id;
  roam_lanes_abort(b, p, l, ROAM_FLOW_END_DISCARD, ROAM_FLOW_NO_STATE, 0, NULL);
  return false;
}

/* What is wrong with a header on its own; 0: nothing. */
static uint8_t find_fault(const struct roam_flow_header *h, bool one_way, const char **text) {
  uint8_t both = ROAM_FLOW_CLEAN | ROAM_FLOW_ABORT_IF_NO_STATE;
  *text = "a stream of a type that the client cannot begin";
  if (h->type == ROAM_FLOW_USER) {
    *text = "user-defined flows are not served";
    return ROAM_FLOW_REFUSED;
  }
  if (h->type != ROAM_FLOW_CLIENT) return ROAM_FLOW_STREAM_TYPE;
  *text = "a client's flows have even numbers, the control flow's is 0";
  if (h->id == 0 || (h->id & 1) != 0) return ROAM_FLOW_BAD_ID;
  *text = "a flow that is to be clean and to be recovered";
  if ((h->flags & both) == both) return ROAM_FLOW_REFUSED;
  *text = "nobody subscribes on a one-way stream";
  return one_way && (h->flags & ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS) ? ROAM_FLOW_SUBSCRIPTIONS_REFUSED : 0;
}

/* Stream numbers in the order in which QUIC's own have them. */
static uint64_t order_of(uint32_t stream) {
  return (uint64_t)(stream & ~(ROAM_LANE_ONE_WAY | ROAM_LANE_OF_SERVER)) * 4 + (stream & ROAM_LANE_ONE_WAY ? 2 : 0);
}

/* Of two streams the later one carries the flow. False: this is the older. */
static bool take_over(roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, struct roam_flow *flow) {
  struct roam_peer_lane *old = roam_lanes_by_slot(p, flow->slot);
  if (!old || old == l) return true;
  if (order_of(old->stream) > order_of(l->stream)) {
    roam_lanes_abort(b, p, l, ROAM_FLOW_END_KEEP, ROAM_FLOW_NO_ERROR, 0, NULL);
    return false;
  }
  old->slot = 0; /* what becomes of the flow is no matter of this stream any more */
  roam_lanes_abort(b, p, old, ROAM_FLOW_END_KEEP, ROAM_FLOW_NO_ERROR, 0, NULL);
  roam_flows_lost(b, p->record, flow->slot, ROAM_FLOW_END_KEEP, ROAM_FLOW_NO_ERROR);
  return true;
}

/* The flow's state as the header wants it; NULL: none, and the lane has been given up. */
static struct roam_flow *find_state(roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l,
                                    const struct roam_flow_header *h) {
  roam_rc rc;
  struct roam_flow *flow = roam_flows_by_id(p->record, h->id);
  if (flow && !take_over(b, p, l, flow)) return NULL;
  flow = roam_flows_by_id(p->record, h->id); /* what does not persist went with its old stream */
  if (flow && (h->flags & ROAM_FLOW_CLEAN)) {
    roam_flows_discard(b, flow);
    flow = NULL;
  }
  if (!flow && (h->flags & ROAM_FLOW_ABORT_IF_NO_STATE)) {
    refuse_recovery(b, p, l, h->id);
    return NULL;
  }
  if (!flow) flow = roam_flows_add(b, p->record, h->id, &rc);
  if (!flow) refuse(b, p, l, ROAM_FLOW_REFUSED, "too many flows, or no memory for one");
  return flow;
}

bool roam_flows_open(roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  struct roam_flow_header h;
  size_t used = 0;
  const char *text;
  roam_bytes bytes = roam_conn_peek(p->conn, l->stream);
  int rv = bytes.len > 0 ? roam_flow_read(bytes, &h, &used) : 0;
  if (rv == 0) return false;
  if (rv < 0) return refuse(b, p, l, ROAM_FLOW_BAD_OPTIONAL_HEADER, "a flow header without end");
  if (roam_flow_is_grease(h.type)) { /* somebody sees whether we choke on it */
    roam_lanes_abort(b, p, l, ROAM_FLOW_END_DISCARD, ROAM_FLOW_NO_ERROR, 0, NULL);
    return false;
  }
  bool one_way = (l->stream & ROAM_LANE_ONE_WAY) != 0;
  uint8_t code = find_fault(&h, one_way, &text);
  if (code != 0) return refuse(b, p, l, code, text);
  struct roam_flow *flow = find_state(b, p, l, &h);
  if (!flow) return false;
  flow->flags = one_way ? h.flags & (uint8_t)~ROAM_FLOW_PERSISTENCE : h.flags;
  flow->one_way = one_way;
  flow->expire_s = h.expire_s > UINT32_MAX ? UINT32_MAX : (uint32_t)h.expire_s;
  roam_heap_remove(&b->flows, &flow->due);
  roam_durable_flow(b, flow);
  if (roam_session_lane_rules(p->session, b->now, flow->slot, roam_flow_rules(flow)) != 0)
    return refuse(b, p, l, ROAM_FLOW_REFUSED, "no memory for a flow");
  roam_topics_connected(&b->topics, ROAM_SUBSCRIBER(p->record->number, flow->slot), true);
  l->slot = flow->slot;
  l->header_by = ROAM_NEVER;
  roam_conn_consume(p->conn, b->now, l->stream, used);
  return true;
}
