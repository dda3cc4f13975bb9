/* lanes.c - the client's data streams (ALPN "mqtt": simple multistream, by the rules of deployed brokers).
 *
 * A strategy gives each packet a key; a key has a lane of the session, made when first used, which has a stream while there
 * is something to carry. When all lanes are taken, keys share them by their value, so that one key always takes the same
 * lane and its messages stay in order. One message for each stream is the exception: such lanes are taken in turn.
 *
 * QoS 2, and subscriptions of a session that is to outlive its connection, stay on the control stream unless the
 * application names a lane: nothing of a data stream survives it. When one is lost alone, or the connection is, QoS 1 and
 * requests go out again on the next one; a QoS 2 message that may have arrived is told as unsettled (PUBLISHED with
 * ROAM_E_LOST), for sending it again could double it. A lane whose streams do not live, or for which the server grants
 * none, is merged into the control stream until the next connection.
 *
 * Bytes are given back as the application polls the messages among them, lane by lane, so a lane that is not consumed holds
 * up no other. It refuses to open a stream before CONNACK. */
#include "client/lanes.h"

#include <stdlib.h>

#include "base/hash.h"
#include "client/client.h"
#include "mqtt/flow.h"

#define LIVED_NS (1 * ROAM_S)
#define FAILURES_MAX 3
#define SLICES 64

struct roam_client_lane *roam_lanes_at(const roam_client *c, uint32_t lane) {
  return lane > 0 && lane <= c->lanes.len ? &c->lanes.slots[lane - 1] : NULL;
}

void roam_lanes_reset(struct roam_lanes *lanes) {
  free(lanes->slots);
  free(lanes->pending);
  *lanes = (struct roam_lanes){0};
}

uint32_t roam_lanes_open(const roam_client *c) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < c->lanes.len; i++) count += c->lanes.slots[i].open;
  return count;
}

/* ---- flows (MQTT-next) --- a lane is a flow of the session: client flows have even numbers, from 2 on
 * ----------------------- */

static uint64_t flow_of(uint32_t lane) { return 2 * (uint64_t)lane; }

roam_rc roam_lanes_write_header(roam_client *c, uint32_t lane) {
  const struct roam_client_lane *l = roam_lanes_at(c, lane);
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  struct roam_flow_header h = {.type = ROAM_FLOW_CONTROL};
  if (l) {
    h = (struct roam_flow_header){.type = ROAM_FLOW_CLIENT, .id = flow_of(lane), .expire_s = c->o.flow_expire_s};
    h.flags = l->known ? ROAM_FLOW_ABORT_IF_NO_STATE : ROAM_FLOW_CLEAN;
    if (!l->single) h.flags |= ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS;
  }
  roam_slice slice = {.base = bytes, .len = roam_flow_write(&h, bytes)};
  return roam_conn_write(c->link.conn, c->now, l ? l->stream : 0, &slice, 1);
}

/* Does the state outlive the stream? After a level 1 error it does not, and the server had none when it says so. */
static bool is_recoverable(const roam_client *c, const struct roam_client_lane *l) {
  return c->link.flows && !l->single && l->known && roam_flow_keeps_state(l->code);
}

/* ---- choosing ---------------------------------------------------------------------------------------------------------
 */

enum {
  KEY_EXPLICIT = 1,
  KEY_TOPIC,
  KEY_QOS,
  KEY_SIDE,
  KEY_SINGLE
};

/* A fixed key: whose topics hash alike only share a lane, and runs must repeat. */
static uint64_t make_key(int kind, uint64_t value) {
  static const struct roam_hash_key fixed = {0x6c616e65, 0x73};
  return roam_hash_u64(fixed, value ^ (uint64_t)kind << 60);
}

static uint64_t key_of(const roam_client *c, const struct roam_client_choice *what) {
  static const struct roam_hash_key fixed = {0x746f7069, 0x63};
  if (what->lane != 0) return make_key(KEY_EXPLICIT, what->lane);
  switch (c->o.lanes) {
    case ROAM_LANES_PER_TOPIC: return make_key(KEY_TOPIC, roam_hash_bytes(fixed, what->topic.base, what->topic.len));
    case ROAM_LANES_PER_QOS: return make_key(KEY_QOS, what->qos);
    default: return make_key(KEY_SIDE, what->subscribes);
  }
}

struct roam_client_lane *roam_lanes_new(roam_client *c) {
  struct roam_lanes *l = &c->lanes;
  if (l->len == l->cap) {
    uint32_t cap = l->cap ? 2 * l->cap : 4;
    struct roam_client_lane *grown = realloc(l->slots, cap * sizeof *grown);
    if (!grown) return NULL;
    l->slots = grown;
    l->cap = cap;
  }
  l->slots[l->len] = (struct roam_client_lane){.expire_at = ROAM_NEVER};
  return &l->slots[l->len++];
}

static uint32_t add_lane(roam_client *c, uint64_t key, bool single) {
  if (single && roam_session_lane_single(c->session, c->now, c->lanes.len + 1, true) != 0) return 0;
  struct roam_client_lane *l = roam_lanes_new(c);
  if (!l) return 0;
  l->key = key;
  l->single = single;
  return c->lanes.len;
}

static bool is_full(const roam_client *c) {
  uint32_t own = 0;
  for (uint32_t i = 0; i < c->lanes.len; i++) own += !c->lanes.slots[i].theirs;
  return own >= c->o.lanes_max;
}

static bool is_keyed(const struct roam_client_lane *l) { return !l->single && !l->theirs; }

static uint32_t find_key(const roam_client *c, uint64_t key) {
  uint32_t shared = 0, nth = 0, count = 0;
  for (uint32_t i = 0; i < c->lanes.len; i++) {
    if (is_keyed(&c->lanes.slots[i]) && c->lanes.slots[i].key == key) return i + 1;
    count += is_keyed(&c->lanes.slots[i]);
  }
  if (!is_full(c) || count == 0) return 0;
  nth = (uint32_t)(key % count);
  for (uint32_t i = 0; i < c->lanes.len && shared == 0; i++)
    if (is_keyed(&c->lanes.slots[i]) && nth-- == 0) shared = i + 1;
  return shared;
}

static uint32_t load_of(const roam_client *c, uint32_t lane) {
  roam_session_lane_info info = roam_session_get_lane(c->session, lane);
  return info.queued + info.inflight + c->lanes.slots[lane - 1].open;
}

/* The lane with the least to do; a new one while the others are busy and there may be one. */
static uint32_t choose_single(roam_client *c) {
  uint32_t best = 0, least = UINT32_MAX;
  for (uint32_t lane = 1; lane <= c->lanes.len && least > 0; lane++) {
    if (!c->lanes.slots[lane - 1].single) continue;
    uint32_t load = load_of(c, lane);
    if (load >= least) continue;
    least = load;
    best = lane;
  }
  if (least == 0 || is_full(c)) return best;
  uint32_t made = add_lane(c, make_key(KEY_SINGLE, 0), true);
  return made ? made : best;
}

bool roam_lanes_outlive_connection(const roam_client *c) {
  return c->o.session_expiry_s > 0 || (c->o.version < ROAM_MQTT_5 && !c->o.clean_start);
}

/* What must not depend on a stream, unless the application has asked for one. */
static bool belongs_on_control(const roam_client *c, const struct roam_client_choice *what) {
  if (c->o.lanes == ROAM_LANES_ONE) return true;
  if (c->link.conn && c->link.flows && c->o.lanes != ROAM_LANES_PER_MESSAGE) return false; /* flows last */
  if (what->subscribes) return roam_lanes_outlive_connection(c) || c->o.lanes == ROAM_LANES_PER_MESSAGE;
  return what->qos == 2;
}

uint32_t roam_lanes_choose(roam_client *c, const struct roam_client_choice *what) {
  if (c->kind != ROAM_TRANSPORT_QUIC || c->o.lanes_max == 0 || what->lane == ROAM_LANE_CONTROL) return 0;
  if (what->lane == 0 && belongs_on_control(c, what)) return 0;
  uint32_t lane;
  if (what->lane == 0 && c->o.lanes == ROAM_LANES_PER_MESSAGE) {
    lane = choose_single(c);
  } else {
    uint64_t key = key_of(c, what);
    lane = find_key(c, key);
    if (lane == 0 && !is_full(c)) lane = add_lane(c, key, false);
  }
  return lane != 0 && !c->lanes.slots[lane - 1].merged ? lane : 0;
}

roam_rc roam_lanes_weigh(roam_client *c, uint32_t lane, uint32_t weight) {
  if (weight == 0 || weight > 256 || lane == 0 || lane == ROAM_LANE_CONTROL) return ROAM_E_ARGUMENT;
  struct roam_client_choice what = {.lane = lane};
  struct roam_client_lane *l = roam_lanes_at(c, roam_lanes_choose(c, &what));
  if (!l) return ROAM_E_LIMIT;
  l->weight = weight;
  if (l->open) roam_conn_lane_weight(c->link.conn, l->stream, weight);
  return 0;
}

/* ---- ends -------------------------------------------------------------------------------------------------------------
 */

static uint32_t lane_of_stream(const roam_client *c, uint32_t stream) {
  for (uint32_t i = 0; i < c->lanes.len; i++)
    if (c->lanes.slots[i].open && c->lanes.slots[i].stream == stream) return i + 1;
  return 0;
}

void roam_lanes_on_event(roam_client *c, const roam_te *te) {
  if (roam_pushed_on_event(c, te)) return;
  struct roam_client_lane *l = roam_lanes_at(c, lane_of_stream(c, te->lane));
  if (!l) return;
  if (te->kind == ROAM_TE_LANE_FIN) {
    l->fin = true;
    return;
  }
  l->gone = true;
  l->code = te->code;
}

void roam_lanes_on_fault(roam_client *c, uint32_t lane, const roam_fault *fault) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  if (!l || l->gone) return;
  l->gone = true;
  l->code = c->link.flows ? ROAM_FLOW_CANCELLED : fault->reason; /* level 1 */
  roam_trace(&c->o.log, c->now, LANE_GIVEN_UP, .client = c->id, .lane = lane,
             .why = fault->text ? fault->text : roam_strerror(fault->rc));
}

void roam_lanes_forget_stream(struct roam_client_lane *l) {
  l->open = l->fin = l->gone = false;
  l->consumed = l->fed = 0;
}

static void merge(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  l->merged = true;
  roam_session_lane_end(c->session, c->now, lane, ROAM_LANE_MERGE);
  if (l->single) (void)roam_session_lane_single(c->session, c->now, lane, true); /* for the next connection */
  roam_subs_lane_lost(&c->subs, lane, true);
  roam_trace(&c->o.log, c->now, LANE_MERGED, .client = c->id, .lane = lane);
}

void roam_lanes_tell_lost(roam_client *c, uint32_t lane, const struct roam_client_lane *l, uint64_t unsettled) {
  struct roam_entry *e = roam_client_event(c, ROAM_EV_LANE_LOST);
  if (!e) return;
  e->ev.rc = ROAM_E_LOST;
  e->ev.reason = l->code >= 0x80 && l->code <= 0xff ? (int)l->code : -1;
  e->ev.u.lane = (roam_event_lane){.lane = lane,
                                   .stream = l->stream,
                                   .code = l->code,
                                   .unsettled = (uint32_t)unsettled,
                                   .flow = l->pushed       ? l->pushed
                                           : c->link.flows ? flow_of(lane)
                                                           : 0};
}

/* The stream is gone and what came on it has been polled. */
static void lose(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane), was = *l;
  uint64_t dropped = roam_session_get_info(c->session).dropped;
  l->failures = c->now - l->opened_at >= LIVED_NS ? 0 : (uint8_t)(l->failures + 1);
  roam_conn_lane_reset(c->link.conn, c->now, l->stream, l->code);
  roam_lanes_forget_stream(l);
  /* a missing state is an answer, not a failure of streams */
  if (c->link.flows && was.code == ROAM_FLOW_NO_STATE && was.known) l->failures = 0;
  if (l->failures >= FAILURES_MAX) {
    merge(c, lane);
  } else if (is_recoverable(c, &was)) {
    roam_session_lane_end(c->session, c->now, lane, ROAM_LANE_RESUME);
  } else {
    l->known = false;
    roam_session_lane_end(c->session, c->now, lane, ROAM_LANE_AGAIN);
    roam_subs_lane_lost(&c->subs, lane, false);
  }
  roam_lanes_tell_lost(c, lane, &was, roam_session_get_info(c->session).dropped - dropped);
}

/* A lane of single messages has had its answer, if it wanted one: the next message takes a new stream. */
static void finish_single(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  roam_conn_lane_fin(c->link.conn, c->now, l->stream);
  if (l->fed > l->consumed) roam_conn_consume(c->link.conn, c->now, l->stream, (size_t)(l->fed - l->consumed));
  roam_lanes_forget_stream(l);
  roam_session_lane_end(c->session, c->now, lane, ROAM_LANE_AGAIN);
}

void roam_lanes_detached(roam_client *c) {
  c->lanes.opened = 0;
  roam_pushed_detached(c);
  for (uint32_t lane = 1; lane <= c->lanes.len; lane++) {
    struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (l->theirs) continue;
    roam_lanes_forget_stream(l);
    l->merged = false;
    l->code = ROAM_FLOW_NO_ERROR;
    bool lasts = is_recoverable(c, l) && roam_lanes_outlive_connection(c);
    l->known = lasts;
    roam_session_lane_end(c->session, c->now, lane, lasts ? ROAM_LANE_RESUME : ROAM_LANE_AGAIN);
  }
}

bool roam_lanes_connected(roam_client *c, bool session_present) {
  bool last = c->link.flows && session_present;
  if (!last) roam_pushed_lost(c);
  for (uint32_t lane = 1; lane <= c->lanes.len && !last; lane++) {
    struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (l->known && session_present) roam_session_lane_end(c->session, c->now, lane, ROAM_LANE_AGAIN); /* no flows now */
    l->known = false;
  }
  return last;
}

/* ---- the pump ---------------------------------------------------------------------------------------------------------
 */

void roam_lanes_settle_polled(roam_client *c) {
  for (uint32_t lane = 1; lane <= c->lanes.len; lane++) {
    struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (!l->open || l->fed == l->consumed) continue;
    uint64_t floor = roam_events_lane_floor(&c->events, lane, l->fed);
    if (floor <= l->consumed) continue;
    roam_conn_consume(c->link.conn, c->now, l->stream, (size_t)(floor - l->consumed));
    l->consumed = floor;
  }
}

static bool wants_stream(const roam_client *c, uint32_t lane) {
  roam_session_lane_info info = roam_session_get_lane(c->session, lane);
  return info.queued > 0 || info.inflight > 0 || info.unsent;
}

static bool open_stream(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  bool recovers = c->link.flows && l->known; /* what was subscribed to comes on it */
  if (l->merged || (!recovers && !wants_stream(c, lane))) return false;
  roam_rc rc = roam_conn_lane_open(c->link.conn, c->now, &l->stream);
  if (rc == 0) {
    roam_lanes_forget_stream(l);
    l->open = true;
    c->lanes.opened++;
    l->opened_at = c->now;
    l->code = ROAM_FLOW_NO_ERROR;
    if (l->weight) roam_conn_lane_weight(c->link.conn, l->stream, l->weight);
    if (c->link.flows && roam_lanes_write_header(c, lane) != 0) l->gone = true;
    return true;
  }
  /* Streams of single messages end and make room; the others stay. Where none could ever be opened, none will. */
  bool never = rc == ROAM_E_UNSUPPORTED || (rc == ROAM_E_LIMIT && (!l->single || c->lanes.opened == 0));
  if (!never) return false;
  merge(c, lane);
  return true;
}

/* What has arrived and the session has not seen. */
roam_bytes roam_lanes_unread(const roam_client *c, const struct roam_client_lane *l) {
  roam_bytes bytes = roam_conn_peek(c->link.conn, l->stream);
  size_t seen = (size_t)(l->fed - l->consumed);
  return bytes.len > seen ? (roam_bytes){bytes.base + seen, bytes.len - seen} : (roam_bytes){0};
}

bool roam_lanes_read(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  size_t used = 0;
  roam_bytes rest = roam_lanes_unread(c, l);
  if (rest.len == 0 || l->gone || roam_events_waiting(&c->events) >= ROAM_EVENTS_MAX) return false;
  if (roam_events_reserve(&c->events, ROAM_EVENTS_BATCH) != 0) return false;
  roam_session_feed(c->session, c->now, lane, rest, &used);
  l->fed += used;
  if (used > 0 && c->link.flows && !l->single) l->known = true;
  return used > 0;
}

bool roam_lanes_write(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  bool moved = false;
  while (!l->gone) {
    roam_slice slices[SLICES];
    size_t room = roam_conn_room(c->link.conn, l->stream);
    size_t n = room > 0 ? roam_session_drain(c->session, c->now, lane, room, slices, SLICES) : 0;
    if (n == 0) return moved;
    moved = true;
    if (roam_conn_write(c->link.conn, c->now, l->stream, slices, n) != 0) l->gone = true;
  }
  return moved;
}

/* Events of the session that have not been taken yet may have views of what came on a stream. */
bool roam_lanes_may_end(const roam_client *c, uint32_t lane) {
  return c->events.refs_of[lane] == 0 && roam_session_get_info(c->session).events == 0;
}

static bool end_stream(roam_client *c, uint32_t lane) {
  struct roam_client_lane *l = roam_lanes_at(c, lane);
  roam_session_lane_info info = roam_session_get_lane(c->session, lane);
  if (l->single && info.begun && !info.unsent && info.inflight == 0 && !l->gone) {
    finish_single(c, lane);
    return true;
  }
  if (l->fin && !l->gone && c->link.flows && !l->single) { /* the flow is ours to end */
    c->link.close_code = ROAM_FLOWS_PROTOCOL;
    roam_link_blame(c, ROAM_E_PROTOCOL, -1, ROAM_FLOWS_PROTOCOL, "the server has ended a flow that is ours");
    roam_link_leave(c, false);
    return true;
  }
  bool over = l->gone || (l->fin && roam_lanes_unread(c, l).len == 0);
  if (!over || !roam_lanes_may_end(c, lane)) return false;
  lose(c, lane);
  return true;
}

bool roam_lanes_pump(roam_client *c) {
  bool moved = false;
  if (!c->link.conn || !c->link.greeted || c->link.leaving || c->link.ended) return false;
  if (c->phase != ROAM_PHASE_CONNECTED && c->phase != ROAM_PHASE_CLOSING) return false;
  for (uint32_t lane = 1; lane <= c->lanes.len; lane++) {
    struct roam_client_lane *l = roam_lanes_at(c, lane);
    if (l->theirs) continue;
    if (!l->open) moved |= open_stream(c, lane);
    if (!l->open) continue;
    moved |= roam_lanes_read(c, lane);
    moved |= roam_lanes_write(c, lane);
    moved |= end_stream(c, lane);
  }
  return moved | roam_pushed_pump(c);
}
