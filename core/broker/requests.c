/* requests.c - what an admitted peer asks for. Each function takes one event of the session and answers it; routing is
 * route.c's.
 *
 * An acknowledgement is given when the message has been routed, not before. */
#include "broker/broker.h"

#include "base/blob.h"
#include "mqtt/packet.h"

#include <stdlib.h>
#include <string.h>

#define REASON_SPACE 128

/* ---- PUBLISH ---- */

static uint8_t route_publish(roam_broker *b, struct roam_peer *p, const roam_packet *publish) {
  roam_message message;
  size_t matched = 0;
  if (!roam_access_may(b, p->record, publish->topic, ROAM_ACL_WRITE)) return ROAM_REASON_NOT_AUTHORIZED;
  bool known = roam_topics_is_last(&b->topics, publish->topic, p->record->number);
  if (!known && roam_tree_levels(publish->topic) > b->o.topic_levels_max) return ROAM_REASON_TOPIC_NAME_INVALID;
  if (roam_sys_owns(publish->topic)) return ROAM_REASON_NOT_AUTHORIZED;
  if (b->o.payload_format_check && !roam_payload_fits(publish->props, publish->payload))
    return ROAM_REASON_PAYLOAD_FORMAT_INVALID;
  roam_rc rc = roam_message_take(&message, b->now, publish);
  if (rc == 0 && !b->mail) roam_blob_stay(message.blob); /* no other worker will have a count */
  if (rc == 0) {
    rc = roam_route(b, &message, p->record->number, &matched);
    roam_blob_unref(message.blob);
  }
  if (rc != 0) return ROAM_REASON_UNSPECIFIED; /* no memory: never the publisher's quota */
  return matched == 0 && publish->version == ROAM_MQTT_5 ? ROAM_REASON_NO_MATCHING_SUBSCRIBERS : ROAM_REASON_SUCCESS;
}

/* Sections 3.2.2.3.4 and 3.2.2.3.5: a Protocol Error, for CONNACK has said so. A 3.1.1 client cannot know and is closed. */
static bool is_beyond(roam_broker *b, struct roam_peer *p, const roam_session_event *ev) {
  bool qos = ev->packet.qos > b->o.maximum_qos, retain = ev->packet.retain && !b->o.retain_available;
  if (!qos && !retain) return false;
  b->stats.messages_dropped++;
  if (ev->packet.qos > 0) /* nobody routes it, so it must be new again when it comes again */
    roam_session_ack(p->session, b->now, ev->lane, ev->packet.packet_id, ROAM_REASON_IMPLEMENTATION_SPECIFIC);
  roam_peer_say(b, p, qos ? ROAM_REASON_QOS_NOT_SUPPORTED : ROAM_REASON_RETAIN_NOT_SUPPORTED,
                qos ? "PUBLISH has a QoS above maximum_qos" : "PUBLISH asks to be retained, which is not available");
  return true;
}

static void take_publish(roam_broker *b, struct roam_peer *p, const roam_session_event *ev) {
  if (is_beyond(b, p, ev)) return;
  uint64_t before = b->durable.changes;
  uint8_t reason = route_publish(b, p, &ev->packet);
  b->stats.messages_in++;
  if (reason >= 0x80) b->stats.messages_dropped++;
  if (reason == ROAM_REASON_UNSPECIFIED && ev->packet.version != ROAM_MQTT_5) { /* PUBACK of 3.1.1 can only say success */
    roam_peer_say(b, p, reason, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  if (ev->packet.qos == 2 && reason < 0x80) roam_durable_received(b, p->record, ev->lane, ev->packet.packet_id);
  if (!p->record->kept) roam_session_hold(p->session, roam_durable_epoch(b, before));
  if (ev->packet.qos > 0) roam_session_ack(p->session, b->now, ev->lane, ev->packet.packet_id, reason);
  if (roam_mail_gates(b)) roam_session_hold(p->session, 0);
}

/* Several workers: SUBACK and UNSUBACK wait until the others know, and nothing else does. */
static void wait_for_others(roam_broker *b, struct roam_peer *p, uint64_t changes_before) {
  if (!b->mail) return;
  roam_mail_flush(b);
  if (!p->record->kept || roam_mail_gates(b)) roam_session_hold(p->session, roam_durable_epoch(b, changes_before));
}

/* ---- SUBSCRIBE, UNSUBSCRIBE ---- */

static size_t count_filters(const roam_packet *request) {
  roam_bytes rest = request->filters;
  roam_filter filter;
  size_t count = 0;
  while (roam_filter_next(&rest, request->type, &filter) == 1) count++;
  return count;
}

static uint8_t code_of_failure(const roam_broker *b, roam_bytes filter, roam_rc rc) {
  if (rc != ROAM_E_LIMIT) return ROAM_REASON_UNSPECIFIED;
  bool deep = roam_tree_levels(roam_share_split(filter).filter) > b->o.topic_levels_max;
  return deep ? ROAM_REASON_TOPIC_FILTER_INVALID : ROAM_REASON_QUOTA_EXCEEDED;
}

static uint8_t subscribe(roam_broker *b, struct roam_peer *p, uint32_t lane, const roam_filter *f, uint32_t identifier,
                         bool datagram) {
  uint8_t granted = f->qos < b->o.maximum_qos ? f->qos : b->o.maximum_qos;
  struct roam_subscription sub = {.qos = granted,
                                  .no_local = f->no_local,
                                  .retain_as_published = f->retain_as_published,
                                  .identifier = identifier,
                                  .datagram = datagram};
  bool existed = false, shared = roam_share_split(f->filter).group.len > 0;
  if (!roam_topic_filter_valid(f->filter)) return ROAM_REASON_TOPIC_FILTER_INVALID;
  if (!roam_access_may(b, p->record, roam_share_split(f->filter).filter, ROAM_ACL_READ)) return ROAM_REASON_NOT_AUTHORIZED;
  uint64_t subscriber = ROAM_SUBSCRIBER(p->record->number, lane);
  if (lane != 0 && roam_lanes_subscriptions(b, p->record->number) >= b->o.subscriptions_max)
    return ROAM_REASON_QUOTA_EXCEEDED;
  roam_rc rc = roam_topics_subscribe(&b->topics, subscriber, f->filter, &sub, &existed);
  if (rc == 0 && !shared && (f->retain_handling == 0 || (f->retain_handling == 1 && !existed)))
    rc = roam_replay_begin(b, p->record, lane, f->filter, &sub);
  if (rc != 0 && !existed) roam_topics_unsubscribe(&b->topics, subscriber, f->filter);
  const struct roam_flow *flow = lane != 0 ? roam_flows_by_slot(p->record, lane) : NULL;
  if (rc == 0 && lane == 0) roam_durable_subscribed(b, p->record, f->filter, &sub);
  if (rc == 0 && flow) roam_durable_flow_subscribed(b, flow, f->filter, &sub);
  return rc == 0 ? granted : code_of_failure(b, f->filter, rc);
}

static bool is_text(roam_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.base, text, bytes.len) == 0;
}

/* A User Property of our own clients': nobody else's SUBSCRIBE means anything by it. */
static bool wants_datagrams(const roam_packet *request) {
  roam_bytes rest = request->props;
  roam_prop prop;
  while (request->version == ROAM_MQTT_5 && roam_prop_next(&rest, &prop) == 1)
    if (prop.id == ROAM_PROP_USER_PROPERTY && is_text(prop.bytes, "roamqtt-delivery") && is_text(prop.value, "datagram"))
      return true;
  return false;
}

static void subscribe_all(roam_broker *b, struct roam_peer *p, uint32_t lane, const roam_packet *request, uint8_t codes[]) {
  roam_bytes rest = request->filters;
  roam_filter filter;
  roam_prop identifier = {0};
  roam_prop_find(request->props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, &identifier);
  bool datagram = wants_datagrams(request);
  for (size_t i = 0; roam_filter_next(&rest, ROAM_SUBSCRIBE, &filter) == 1; i++) {
    codes[i] = subscribe(b, p, lane, &filter, identifier.number, datagram);
    if (codes[i] >= 0x80 && request->version != ROAM_MQTT_5) codes[i] = 0x80;
  }
}

static void unsubscribe_all(roam_broker *b, struct roam_peer *p, uint32_t lane, const roam_packet *request,
                            uint8_t codes[]) {
  roam_bytes rest = request->filters;
  roam_filter filter;
  for (size_t i = 0; roam_filter_next(&rest, ROAM_UNSUBSCRIBE, &filter) == 1; i++) {
    bool existed = roam_topics_unsubscribe(&b->topics, ROAM_SUBSCRIBER(p->record->number, lane), filter.filter);
    roam_replay_end(p->record, (int)lane, &filter.filter);
    const struct roam_flow *flow = lane != 0 ? roam_flows_by_slot(p->record, lane) : NULL;
    if (existed && lane == 0) roam_durable_unsubscribed(b, p->record, filter.filter);
    if (existed && flow) roam_durable_flow_unsubscribed(b, flow, filter.filter);
    codes[i] = existed ? ROAM_REASON_SUCCESS : ROAM_REASON_NO_SUBSCRIPTION_EXISTED;
  }
}

/* Section 3.8.3.1: a Protocol Error, not a matter of a single filter. */
static bool has_local_share(const roam_packet *request) {
  roam_bytes rest = request->filters;
  roam_filter filter;
  while (roam_filter_next(&rest, ROAM_SUBSCRIBE, &filter) == 1)
    if (filter.no_local && roam_share_split(filter.filter).group.len > 0) return true;
  return false;
}

/* A lane that cannot be served is aborted alone; the control lane takes the connection along. */
static void give_up(roam_broker *b, struct roam_peer *p, uint32_t lane, roam_rc rc, uint8_t reason, const char *text) {
  if (lane == 0) roam_peer_say(b, p, reason, text);
  else roam_lanes_fault(b, p, lane, &(roam_fault){rc, reason, text});
}

/* The first refusal of a SUBSCRIBE in words. */
static roam_bytes explain(roam_bytes codes, uint8_t space[REASON_SPACE]) {
  roam_props props = {.base = space, .cap = REASON_SPACE};
  size_t i = 0;
  while (i < codes.len && codes.base[i] < 0x80) i++;
  if (i == codes.len) return (roam_bytes){0};
  const char *text = codes.base[i] == ROAM_REASON_QUOTA_EXCEEDED         ? "subscriptions_max is reached"
                     : codes.base[i] == ROAM_REASON_TOPIC_FILTER_INVALID ? "more levels than topic_levels_max"
                                                                         : roam_reason_text(codes.base[i]);
  roam_props_put_bytes(&props, ROAM_PROP_REASON_STRING, (roam_bytes){(const uint8_t *)text, strlen(text)});
  return (roam_bytes){props.base, props.len};
}

static void take_filters(roam_broker *b, struct roam_peer *p, const roam_session_event *ev) {
  const roam_packet *request = &ev->packet;
  bool subscribing = ev->kind == ROAM_SE_SUBSCRIBE;
  if (!roam_lanes_alive(p, ev->lane)) return;
  if (subscribing && has_local_share(request)) {
    give_up(b, p, ev->lane, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
            "SUBSCRIBE asks for No Local on a shared subscription");
    return;
  }
  roam_bytes codes = {NULL, count_filters(request)};
  uint8_t *list = malloc(codes.len);
  if (!list) {
    give_up(b, p, ev->lane, ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  uint8_t space[REASON_SPACE];
  roam_rc rc;
  uint64_t before = b->durable.changes;
  codes.base = list;
  if (subscribing) {
    subscribe_all(b, p, ev->lane, request, list);
    wait_for_others(b, p, before);
    rc = roam_session_suback(p->session, b->now, ev->lane, request->packet_id, codes, explain(codes, space));
  } else {
    unsubscribe_all(b, p, ev->lane, request, list);
    wait_for_others(b, p, before);
    if (request->version != ROAM_MQTT_5) codes = (roam_bytes){0};
    rc = roam_session_unsuback(p->session, b->now, ev->lane, request->packet_id, codes, (roam_bytes){0});
  }
  free(list);
  if (roam_mail_gates(b)) roam_session_hold(p->session, 0);
  if (rc != 0)
    give_up(b, p, ev->lane, rc, ROAM_REASON_UNSPECIFIED, "the answer to SUBSCRIBE or UNSUBSCRIBE cannot be sent");
}

/* ---- ends ---- */

/* Section 3.14.2.2.2; the session has seen to it that nothing is begun. */
static void change_expiry(roam_broker *b, struct roam_record *r, const roam_packet *disconnect) {
  roam_prop wish;
  if (disconnect->version != ROAM_MQTT_5 ||
      roam_prop_find(disconnect->props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, &wish) != 1)
    return;
  r->expiry_s = wish.number < b->o.session_expiry_max_s ? wish.number : b->o.session_expiry_max_s;
}

static void take_disconnect(roam_broker *b, struct roam_peer *p, const roam_packet *disconnect) {
  change_expiry(b, p->record, disconnect);
  if (disconnect->reason == ROAM_REASON_SUCCESS) roam_will_drop(&p->record->will, &b->wills);
  roam_peer_leave(b, p, (struct roam_end){.reason = disconnect->reason}, true);
}

static void take_fault(roam_broker *b, struct roam_peer *p, const roam_fault *fault) {
  if (fault->rc <= ROAM_E_MALFORMED && fault->rc >= ROAM_E_TOO_LARGE) b->stats.packets_malformed++;
  roam_peer_leave(b, p, (struct roam_end){fault->rc, fault->reason, fault->text}, true);
}

/* A second by the clock of the first request in it: cheap, and twice the rate at most. */
static bool is_too_fast(const roam_broker *b, struct roam_peer *p) {
  if (b->now - p->counted_from >= ROAM_S) {
    p->counted_from = b->now;
    p->requests = 0;
  }
  return ++p->requests > b->o.request_rate_max;
}

static bool is_request(const roam_session_event *ev) {
  return ev->kind == ROAM_SE_MESSAGE || ev->kind == ROAM_SE_SUBSCRIBE || ev->kind == ROAM_SE_UNSUBSCRIBE;
}

void roam_request_take(roam_broker *b, struct roam_peer *p, const roam_session_event *ev) {
  if (is_request(ev) && is_too_fast(b, p)) {
    b->stats.rates_exceeded++;
    roam_peer_say(b, p, ROAM_REASON_MESSAGE_RATE_TOO_HIGH, "more than request_rate_max requests in a second");
    return;
  }
  switch (ev->kind) {
    case ROAM_SE_MESSAGE: take_publish(b, p, ev); break;
    case ROAM_SE_SUBSCRIBE:
    case ROAM_SE_UNSUBSCRIBE: take_filters(b, p, ev); break;
    case ROAM_SE_DISCONNECT: take_disconnect(b, p, &ev->packet); break;
    case ROAM_SE_AUTH: roam_access_again(b, p, &ev->packet); break;
    case ROAM_SE_FAULT: take_fault(b, p, &ev->fault); break;
    case ROAM_SE_LANE_FAULT: roam_lanes_fault(b, p, ev->lane, &ev->fault); break;
    default: roam_durable_note(b, p->record, ev); break; /* what became of our own messages needs no answer */
  }
}
