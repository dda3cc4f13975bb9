/* durable_flows.c - what of a flow is written down, and how it comes back: the flow itself, its subscriptions and the QoS 2
 * identifiers it has received. Its deliveries are written with the session's, and name it (durable.c).
 *
 * Only flows of kept sessions are written: a client's when its header asks for something to persist and for how long, and
 * the broker's own. Keys have the flow's number, never its slot, which is chosen anew. */
#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

#include "mqtt/flow.h"

enum {
  FLOW_HEAD = 15,
  BIT_BY_OPTION = 1,
  BIT_OPENED = 2,
  BIT_REFUSED = 4
};

static bool is_worth_it(const struct roam_flow *flow) {
  if (!flow->record->kept || flow->one_way) return false;
  return flow->filter || ((flow->flags & ROAM_FLOW_PERSISTENCE) != 0 && flow->expire_s > 0);
}

static void drop_parts(roam_broker *b, const struct roam_flow *flow) {
  static const uint8_t parts[] = {ROAM_KEY_FLOW_FILTER, ROAM_KEY_FLOW_RECEIVED};
  for (size_t i = 0; i < sizeof parts; i++) {
    struct roam_key key = roam_key_below(flow->record->number, parts[i], flow->id, 8);
    roam_durable_add(b, ROAM_STORE_DROP_ALL, roam_key_view(&key), 0);
  }
}

void roam_durable_flow(roam_broker *b, struct roam_flow *flow) {
  struct roam_key key = roam_key_below(flow->record->number, ROAM_KEY_FLOW, flow->id, 8);
  if (!is_worth_it(flow)) {
    roam_durable_flow_drop(b, flow);
    return;
  }
  bool gone = flow->due.index != 0;
  roam_time since = gone ? flow->due.at - (roam_time)flow->expire_s * ROAM_S : 0;
  size_t len = flow->filter ? roam_blob_len(flow->filter) : 0;
  uint8_t *at = roam_durable_add(b, ROAM_STORE_PUT, roam_key_view(&key), FLOW_HEAD + len);
  flow->kept = true;
  if (!at) return;
  at[0] = flow->flags;
  roam_number_write(at + 1, flow->expire_s, 4);
  roam_number_write(at + 5, gone ? roam_wall_ms(&b->durable, since) : 0, 8);
  at[13] = flow->qos;
  at[14] = (uint8_t)(flow->by_option * BIT_BY_OPTION | flow->opened * BIT_OPENED | flow->refused * BIT_REFUSED);
  if (len > 0) memcpy(at + FLOW_HEAD, roam_blob_data(flow->filter), len);
}

void roam_durable_flow_drop(roam_broker *b, struct roam_flow *flow) {
  if (!flow->kept) return;
  struct roam_key key = roam_key_below(flow->record->number, ROAM_KEY_FLOW, flow->id, 8);
  drop_parts(b, flow);
  roam_durable_add(b, ROAM_STORE_DROP, roam_key_view(&key), 0);
  flow->kept = false;
}

void roam_durable_flow_forget(roam_broker *b, struct roam_flow *flow) {
  if (flow->kept) drop_parts(b, flow);
}

/* ---- parts ----------------------------------------------------------------------------------------------------------- */

static uint8_t *add_filter(roam_broker *b, const struct roam_flow *flow, int what, roam_bytes filter, size_t record_len) {
  struct roam_key head = roam_key_below(flow->record->number, ROAM_KEY_FLOW_FILTER, flow->id, 8);
  uint8_t *key = malloc(head.len + filter.len), *at = NULL;
  if (key) {
    memcpy(key, head.bytes, head.len);
    memcpy(key + head.len, filter.base, filter.len);
    at = roam_durable_add(b, what, (roam_bytes){key, head.len + filter.len}, record_len);
  } else {
    b->durable.starved = true;
  }
  free(key);
  return at;
}

void roam_durable_flow_subscribed(roam_broker *b, const struct roam_flow *flow, roam_bytes filter,
                                  const struct roam_subscription *sub) {
  bool lasts = flow->kept && (flow->filter || (flow->flags & ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS));
  uint8_t *at = lasts ? add_filter(b, flow, ROAM_STORE_PUT, filter, ROAM_SUBSCRIPTION_RECORD) : NULL;
  if (at) roam_subscription_record_write(at, sub);
}

void roam_durable_flow_unsubscribed(roam_broker *b, const struct roam_flow *flow, roam_bytes filter) {
  if (flow->kept) add_filter(b, flow, ROAM_STORE_DROP, filter, 0);
}

struct roam_key roam_durable_received_key(const struct roam_record *r, uint32_t lane, uint16_t packet_id) {
  struct roam_flow *flow = lane != 0 ? roam_flows_by_slot(r, lane) : NULL;
  if (!flow) return roam_key_below(r->number, ROAM_KEY_RECEIVED, packet_id, 2);
  struct roam_key key = roam_key_below(r->number, ROAM_KEY_FLOW_RECEIVED, flow->id, 8);
  roam_number_write(key.bytes + key.len, packet_id, 2);
  key.len += 2;
  return key;
}

bool roam_durable_lane_lasts(const struct roam_record *r, uint32_t lane, uint64_t *id) {
  struct roam_flow *flow = lane != 0 ? roam_flows_by_slot(r, lane) : NULL;
  *id = flow ? flow->id : 0;
  return r->kept && (lane == 0 || (flow && flow->kept && (flow->flags & ROAM_FLOW_PERSISTENT_QOS)));
}

/* ---- back ------------------------------------------------------------------------------------------------------------ */

static roam_rc load_own(struct roam_flow *flow, roam_bytes record) {
  roam_bytes filter = {record.base + FLOW_HEAD, record.len - FLOW_HEAD};
  if (!roam_topic_filter_valid(filter)) return ROAM_E_DAMAGED;
  flow->filter = roam_blob_new(filter.base, filter.len);
  return flow->filter ? 0 : ROAM_E_MEMORY;
}

roam_rc roam_durable_load_flow(roam_broker *b, struct roam_record *r, roam_bytes id, roam_bytes record, bool anew) {
  roam_rc rc;
  uint64_t number = roam_number_read(id);
  bool own = number & 1;
  if (id.len != 8 || record.len < FLOW_HEAD || own != (record.len > FLOW_HEAD) || record.base[13] > 2)
    return ROAM_E_DAMAGED;
  if (number == 0 || roam_flows_by_id(r, number)) return ROAM_E_DAMAGED;
  struct roam_flow *flow = roam_flows_add(b, r, number, &rc);
  if (!flow) return rc;
  uint64_t gone_at = roam_number_read((roam_bytes){record.base + 5, 8});
  flow->flags = record.base[0];
  flow->expire_s = (uint32_t)roam_number_read((roam_bytes){record.base + 1, 4});
  flow->qos = record.base[13];
  flow->by_option = record.base[14] & BIT_BY_OPTION;
  flow->opened = record.base[14] & BIT_OPENED;
  flow->refused = record.base[14] & BIT_REFUSED;
  flow->kept = true;
  rc = own ? load_own(flow, record) : 0;
  if (rc == 0) rc = roam_session_lane_rules(r->session, b->now, flow->slot, roam_flow_rules(flow));
  if (rc == 0 && own && anew) roam_durable_flow(b, flow);
  if (rc != 0 || own) return rc;
  roam_time end = b->now + roam_durable_left(b, gone_at, flow->expire_s);
  rc = roam_heap_set(&b->flows, &flow->due, end);
  if (rc == 0 && (gone_at == 0 || anew)) roam_durable_flow(b, flow); /* gone now; or under another number */
  return rc;
}

roam_rc roam_durable_load_flow_filter(roam_broker *b, struct roam_record *r, roam_bytes key, roam_bytes record, bool anew) {
  struct roam_subscription sub;
  bool existed;
  struct roam_flow *flow = key.len > 8 ? roam_flows_by_id(r, roam_number_read((roam_bytes){key.base, 8})) : NULL;
  roam_bytes filter = {key.base + 8, key.len > 8 ? key.len - 8 : 0};
  if (!flow || !roam_topic_filter_valid(filter) || !roam_subscription_record_read(record, &sub)) return ROAM_E_DAMAGED;
  uint64_t subscriber = ROAM_SUBSCRIBER(r->number, flow->slot);
  roam_rc rc = roam_topics_subscribe(&b->topics, subscriber, filter, &sub, &existed);
  if (rc == 0) roam_topics_connected(&b->topics, subscriber, false);
  if (rc == 0 && anew) roam_durable_flow_subscribed(b, flow, filter, &sub);
  return rc;
}

roam_rc roam_durable_load_flow_received(roam_broker *b, struct roam_record *r, roam_bytes key, bool anew) {
  struct roam_flow *flow = key.len == 10 ? roam_flows_by_id(r, roam_number_read((roam_bytes){key.base, 8})) : NULL;
  if (!flow) return ROAM_E_DAMAGED;
  roam_past past = {.kind = ROAM_PAST_RECEIVED,
                    .packet_id = (uint16_t)roam_number_read((roam_bytes){key.base + 8, 2}),
                    .how.lane = flow->slot};
  roam_rc rc = roam_session_restore(r->session, &past);
  if (rc == 0 && anew) roam_durable_received(b, r, flow->slot, past.packet_id);
  return rc == ROAM_E_ARGUMENT ? ROAM_E_DAMAGED : rc;
}
