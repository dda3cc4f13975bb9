/* push.c - server data flows (MQTT-next): subscriptions that the broker assigns to a client, each on a flow of the broker's
 * own, which the broker opens, recovers and ends.
 *
 * An assigned subscription belongs to the session: what it matches waits there while no stream carries its flow, and never
 * goes anywhere else. A stream is opened when the client grants one; until then the broker waits (ngtcp2 has no call that
 * says STREAMS_BLOCKED). Its header asks for a clean beginning the first time and for recovery later. A client that has no
 * state says so once and gets a clean beginning, with what was in flight again. One that does not want the flow (or breaks
 * it again and again) is left alone until its next connection, and the flow's messages are dropped.
 *
 * It refuses to know who should get what: filters come from the option `assigned` and from roam_broker_assign. */
#include "broker/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt/flow.h"

#define TRIES_MAX 3 /* streams in a row that lived less than a second */
#define LIVED_NS ROAM_S

/* ---- the state ------------------------------------------------------------------------------------------------------- */

static uint64_t subscriber(const struct roam_flow *flow) { return ROAM_SUBSCRIBER(flow->record->number, flow->slot); }

static roam_bytes filter_of(const struct roam_flow *flow) {
  return (roam_bytes){roam_blob_data(flow->filter), roam_blob_len(flow->filter)};
}

static bool is_for(const struct roam_flow *flow, roam_bytes filter) {
  roam_bytes own = flow->filter ? filter_of(flow) : (roam_bytes){0};
  return flow->filter && own.len == filter.len && memcmp(own.base, filter.base, own.len) == 0;
}

static struct roam_flow *find_filter(const struct roam_record *r, roam_bytes filter) {
  for (uint32_t i = 0; i < r->flows.len; i++)
    if (is_for(r->flows.list[i], filter)) return r->flows.list[i];
  return NULL;
}

static uint64_t vacant_id(const struct roam_record *r) {
  uint64_t id = 1;
  while (roam_flows_by_id(r, id)) id += 2;
  return id;
}

static roam_rc begin(roam_broker *b, struct roam_flow *flow) {
  struct roam_subscription how = {.qos = flow->qos};
  bool existed;
  roam_bytes filter = filter_of(flow);
  if (roam_lanes_subscriptions(b, flow->record->number) >= b->o.subscriptions_max) return ROAM_E_LIMIT;
  roam_rc rc = roam_topics_subscribe(&b->topics, subscriber(flow), filter, &how, &existed);
  if (rc == 0) rc = roam_replay_begin(b, flow->record, flow->slot, filter, &how);
  if (rc == 0) roam_durable_flow_subscribed(b, flow, filter, &how);
  return rc;
}

static struct roam_flow *add(roam_broker *b, struct roam_record *r, roam_bytes filter, uint8_t qos, roam_rc *rc) {
  struct roam_flow *flow = roam_flows_add(b, r, vacant_id(r), rc);
  if (!flow) return NULL;
  flow->filter = roam_blob_new(filter.base, filter.len);
  flow->qos = qos;
  flow->flags = ROAM_FLOW_PERSISTENT_QOS;
  flow->expire_s = r->expiry_s;
  roam_durable_flow(b, flow);
  *rc = flow->filter ? begin(b, flow) : ROAM_E_MEMORY;
  if (*rc == 0) return flow;
  roam_flows_discard(b, flow);
  return NULL;
}

/* Written down too: after a restart the client still has its half. */
static void set_opened(roam_broker *b, struct roam_flow *flow, bool opened) {
  flow->opened = opened;
  roam_durable_flow(b, flow);
}

static void refuse(roam_broker *b, struct roam_flow *flow, const char *why) {
  char id[ROAM_ID_TEXT_MAX];
  roam_lanes_forget_slot(b, flow->record, flow->slot);
  roam_durable_flow_forget(b, flow);
  flow->refused = true;
  set_opened(b, flow, false);
  b->stats.server_flows_refused++;
  roam_trace(&b->o.log, b->now, FLOW_GIVEN_UP, .client = roam_id_text(flow->record->id, id), .flow = flow->id, .why = why);
}

/* ---- what the option says -------------------------------------------------------------------------------------------- */

#define FILTER_MAX 1024

/* "%c" the client id, "%u" the user name. 0: it does not fit, or what is put in could be taken for more than a name. */
static size_t expand(const struct roam_record *r, const char *from, size_t len, char out[FILTER_MAX]) {
  size_t used = 0;
  for (size_t i = 0; i < len; i++) {
    bool named = from[i] == '%' && i + 1 < len && (from[i + 1] == 'c' || from[i + 1] == 'u');
    roam_blob *name = !named ? NULL : from[i + 1] == 'c' ? r->id : r->user;
    const void *text = !named ? (const void *)&from[i] : name ? roam_blob_data(name) : NULL;
    size_t n = !named ? 1 : name ? roam_blob_len(name) : 0;
    if (n == 0 || n > FILTER_MAX - used) return 0;
    if (named && (memchr(text, '+', n) || memchr(text, '#', n) || memchr(text, '/', n))) return 0;
    memcpy(out + used, text, n);
    used += n;
    i += named;
  }
  return used;
}

static void assign_by_option(roam_broker *b, struct roam_record *r) {
  char text[FILTER_MAX], id[ROAM_ID_TEXT_MAX];
  for (const char *at = b->o.assigned; at && *at; at += strspn(at, " ")) {
    size_t len = strcspn(at, " "), used = expand(r, at, len, text);
    roam_bytes filter = {(const uint8_t *)text, used};
    struct roam_flow *flow = used ? find_filter(r, filter) : NULL;
    roam_rc rc = 0;
    if (!flow && used && roam_topic_filter_valid(filter)) flow = add(b, r, filter, b->o.assigned_qos, &rc);
    if (flow) flow->by_option = flow->wanted = true;
    else {
      snprintf(text, sizeof text, "%.*s", (int)len, at);
      roam_trace(&b->o.log, b->now, FLOW_NOT_MADE, .client = roam_id_text(r->id, id), .filter = text,
                 .why = rc ? roam_strerror(rc) : "its name cannot stand in a filter");
    }
    at += len;
  }
}

void roam_push_joined(roam_broker *b, struct roam_peer *p) {
  struct roam_record *r = p->record;
  if (!p->flows) return;
  for (uint32_t i = 0; i < r->flows.len; i++) r->flows.list[i]->wanted = !r->flows.list[i]->by_option;
  assign_by_option(b, r);
  for (uint32_t i = r->flows.len; i-- > 0;) {
    struct roam_flow *flow = r->flows.list[i];
    if (!flow->filter) continue;
    flow->tries = 0;
    if (!flow->wanted || (flow->refused && begin(b, flow) != 0)) {
      roam_flows_discard(b, flow);
      continue;
    }
    flow->refused = false;
    flow->expire_s = r->expiry_s;
    roam_durable_flow(b, flow);
    p->push_due = true;
  }
}

/* ---- streams --------------------------------------------------------------------------------------------------------- */

/* False: not now. */
static bool open_stream(roam_broker *b, struct roam_peer *p, struct roam_flow *flow) {
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  uint32_t stream;
  struct roam_flow_header h = {.type = ROAM_FLOW_SERVER,
                               .id = flow->id,
                               .expire_s = flow->expire_s,
                               .flags = (flow->expire_s ? ROAM_FLOW_PERSISTENT_QOS : 0) |
                                        (flow->opened ? ROAM_FLOW_ABORT_IF_NO_STATE : ROAM_FLOW_CLEAN)};
  if (!roam_lanes_reserve(p) || roam_session_lane_rules(p->session, b->now, flow->slot, roam_flow_rules(flow)) != 0 ||
      roam_conn_lane_open(p->conn, b->now, &stream) != 0)
    return false;
  roam_slice header = {.base = bytes, .len = roam_flow_write(&h, bytes)};
  if (roam_conn_write(p->conn, b->now, stream, &header, 1) != 0) {
    roam_conn_lane_reset(p->conn, b->now, stream, ROAM_FLOW_PACKET_CANCELLED);
    return false;
  }
  p->lanes[p->lanes_len++] =
      (struct roam_peer_lane){.stream = stream, .slot = flow->slot, .ours = true, .header_by = ROAM_NEVER};
  flow->opened_at = b->now;
  if (!flow->opened) set_opened(b, flow, true);
  roam_topics_connected(&b->topics, subscriber(flow), true);
  b->stats.server_flows_opened++;
  return true;
}

void roam_push_open(roam_broker *b, struct roam_peer *p) {
  p->push_due = false;
  for (uint32_t i = 0; i < p->record->flows.len; i++) {
    struct roam_flow *flow = p->record->flows.list[i];
    if (!flow->filter || flow->refused || roam_lanes_by_slot(p, flow->slot)) continue;
    p->push_due |= !open_stream(b, p, flow);
  }
}

/* The stream is gone and the flow is not ended. */
void roam_push_lost(roam_broker *b, struct roam_flow *flow, enum roam_flow_end how, uint64_t code) {
  struct roam_record *r = flow->record;
  roam_topics_connected(&b->topics, subscriber(flow), false);
  if (code == ROAM_FLOW_CONNECTION_GONE) {
    roam_session_lane_end(r->session, b->now, flow->slot, ROAM_LANE_RESUME);
    return;
  }
  flow->tries = b->now - flow->opened_at >= LIVED_NS ? 0 : flow->tries + 1;
  if (r->peer) {
    r->peer->push_due = true;
    roam_peer_mark(b, r->peer);
  }
  if (code == ROAM_FLOW_PUSH_NOT_WELCOME || code == ROAM_FLOW_REFUSED) {
    refuse(b, flow, "the client does not want it");
  } else if (r->peer && flow->tries >= TRIES_MAX) {
    refuse(b, flow, "its streams do not live");
  } else if (code == ROAM_FLOW_NO_STATE) { /* from the beginning, with what it may not have seen */
    set_opened(b, flow, false);
    roam_session_lane_end(r->session, b->now, flow->slot, ROAM_LANE_AGAIN);
  } else if (how == ROAM_FLOW_END_DISCARD) {
    set_opened(b, flow, false);
    roam_lanes_forget_slot(b, r, flow->slot);
    roam_durable_flow_forget(b, flow);
    if (begin(b, flow) != 0) flow->refused = true;
  } else {
    roam_session_lane_end(r->session, b->now, flow->slot, ROAM_LANE_RESUME);
  }
}

/* The flow is being withdrawn: when all it has is said and answered, our half ends; the client's end is the flow's. */
bool roam_push_settle(roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l) {
  struct roam_flow *flow = roam_flows_by_slot(p->record, l->slot);
  if (flow && flow->ending && !l->finished) {
    roam_session_lane_info info = roam_session_get_lane(p->session, l->slot);
    if (info.queued > 0 || info.inflight > 0 || info.unacked > 0 || info.unsent) return true;
    roam_conn_lane_fin(p->conn, b->now, l->stream);
    l->finished = true;
  }
  if (!l->fin) return true;
  if (l->finished) {
    l->ended = true;
    return true;
  }
  p->close_code = ROAM_FLOWS_PROTOCOL; /* level 0 */
  roam_peer_leave(b, p, (struct roam_end){ROAM_E_PROTOCOL, -1, "the client has ended a flow that is not its own"}, false);
  return false;
}

/* ---- commands -------------------------------------------------------------------------------------------------------- */

roam_rc roam_push_assign(roam_broker *b, struct roam_record *r, roam_bytes filter, uint8_t qos) {
  roam_rc rc = 0;
  if (find_filter(r, filter)) return 0;
  if (!add(b, r, filter, qos, &rc)) return rc;
  if (r->peer && r->peer->flows) {
    r->peer->push_due = true;
    roam_peer_mark(b, r->peer);
  }
  return 0;
}

roam_rc roam_push_withdraw(roam_broker *b, struct roam_record *r, roam_bytes filter) {
  struct roam_flow *flow = find_filter(r, filter);
  if (!flow) return ROAM_E_NOT_FOUND;
  if (!r->peer || !roam_lanes_by_slot(r->peer, flow->slot)) {
    roam_flows_discard(b, flow);
    return 0;
  }
  flow->ending = true;
  roam_topics_forget(&b->topics, subscriber(flow));
  roam_replay_end(r, (int)flow->slot, NULL);
  roam_peer_mark(b, r->peer);
  return 0;
}

roam_rc roam_broker_assign(roam_broker *b, roam_time now, const char *client_id, const char *filter, uint8_t qos) {
  roam_bytes view = {(const uint8_t *)filter, strlen(filter)};
  roam_broker_enter(b, now);
  struct roam_record *r = roam_sessions_find(b, client_id, strlen(client_id));
  bool good = qos <= 2 && roam_topic_filter_valid(view) && roam_share_split(view).group.len == 0, here = r && r->session;
  if (!here && !b->mail) return ROAM_E_NOT_FOUND;
  if (!good) return ROAM_E_ARGUMENT;
  roam_rc rc = here ? roam_push_assign(b, r, view, qos) : roam_mail_command(b, ROAM_COMMAND_ASSIGN, client_id, view, qos);
  roam_broker_settle(b);
  return rc;
}

roam_rc roam_broker_withdraw(roam_broker *b, roam_time now, const char *client_id, const char *filter) {
  roam_bytes view = {(const uint8_t *)filter, strlen(filter)};
  roam_broker_enter(b, now);
  struct roam_record *r = roam_sessions_find(b, client_id, strlen(client_id));
  bool here = r && r->session;
  if (!here && !b->mail) return ROAM_E_NOT_FOUND;
  roam_rc rc = here ? roam_push_withdraw(b, r, view) : roam_mail_command(b, ROAM_COMMAND_WITHDRAW, client_id, view, 0);
  roam_broker_settle(b);
  return rc;
}
