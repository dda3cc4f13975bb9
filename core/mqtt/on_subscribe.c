/* on_subscribe.c - SUBSCRIBE, UNSUBSCRIBE and their answers, both roles. A client's request is an exchange whose whole
 * packet is kept until it is answered, so that it survives a connection. Which subscriptions exist is the owner's to know.
 */
#include "mqtt/session.h"

/* ---- server ---- */

void roam_session_on_subscribe(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  bool subscribe = p->type == ROAM_SUBSCRIBE;
  struct roam_tiding *t = roam_session_tell(s, subscribe ? ROAM_SE_SUBSCRIBE : ROAM_SE_UNSUBSCRIBE, lane->number);
  t->type = p->type;
  t->packet_id = p->packet_id;
  t->props = p->props;
  t->first = p->filters;
}

static roam_rc answer(roam_session *s, roam_time now, uint8_t type, uint32_t lane, uint16_t packet_id, roam_bytes codes,
                      roam_bytes props) {
  roam_session_enter(s, now);
  if (s->o.role != ROAM_ROLE_SERVER || s->live.link != ROAM_LINK_UP) {
    return ROAM_E_STATE;
  }
  struct roam_lane *l = roam_session_find_lane(s, lane);
  if (l == NULL) {
    return ROAM_E_NOT_FOUND;
  }
  roam_packet p = {.type = type, .version = s->version, .packet_id = packet_id, .codes = codes, .props = props};
  if (props.len > 0 && (!s->live.peer_wants_reasons || roam_packet_size(&p) > s->live.peer_packet_max)) {
    p.props = (roam_bytes){NULL, 0}; /* sections 3.1.2.11.7 and 3.1.2.11.4 */
  }
  return roam_session_put(s, l, &p);
}

roam_rc roam_session_suback(roam_session *s, roam_time now, uint32_t lane, uint16_t packet_id, roam_bytes codes,
                            roam_bytes props) {
  return answer(s, now, ROAM_SUBACK, lane, packet_id, codes, props);
}

roam_rc roam_session_unsuback(roam_session *s, roam_time now, uint32_t lane, uint16_t packet_id, roam_bytes codes,
                              roam_bytes props) {
  return answer(s, now, ROAM_UNSUBACK, lane, packet_id, codes, props);
}

/* ---- client ---- */

static uint32_t count_filters(roam_bytes filters, int type) {
  uint32_t n = 0;
  roam_filter filter;
  while (roam_filter_next(&filters, type, &filter) == 1) {
    n++;
  }
  return n;
}

static roam_rc encode_request(roam_session *s, const roam_packet *p, roam_blob **out) {
  size_t size = roam_packet_size(p), len;
  if (size == 0) {
    return ROAM_E_ARGUMENT;
  }
  bool connected = s->live.link == ROAM_LINK_UP || s->live.link == ROAM_LINK_CONNECTING;
  if (connected && size > s->live.peer_packet_max) {
    return ROAM_E_TOO_LARGE;
  }
  *out = roam_blob_new(NULL, size);
  if (*out == NULL) {
    return ROAM_E_MEMORY;
  }
  roam_rc rv = roam_packet_write(p, roam_blob_data(*out), size, &len);
  if (rv != 0) {
    roam_blob_unref(*out);
  }
  return rv;
}

static roam_rc request(roam_session *s, roam_time now, uint8_t type, uint32_t number, roam_bytes filters, roam_bytes props,
                       uint64_t token) {
  roam_session_enter(s, now);
  if (s->o.role != ROAM_ROLE_CLIENT) {
    return ROAM_E_STATE;
  }
  struct roam_lane *lane = roam_session_lane(s, number);
  if (lane == NULL) {
    return s->lanes_len >= ROAM_LANES_MAX ? ROAM_E_LIMIT : ROAM_E_MEMORY;
  }
  if (lane->kept.inflight.subscribes >= ROAM_SUBSCRIBES_MAX) {
    s->blocked = true;
    return ROAM_E_BLOCKED;
  }
  struct roam_exchange *x = roam_inflight_add(&lane->kept.inflight);
  if (x == NULL) {
    return ROAM_E_MEMORY;
  }
  roam_packet p = {.type = type, .version = s->version, .packet_id = x->packet_id, .filters = filters, .props = props};
  roam_blob *blob;
  roam_rc rv = encode_request(s, &p, &blob);
  if (rv != 0) {
    roam_inflight_remove(&lane->kept.inflight, x);
    return rv;
  }
  x->state = type == ROAM_SUBSCRIBE ? ROAM_EXCHANGE_SUBACK : ROAM_EXCHANGE_UNSUBACK;
  x->message =
      (struct roam_outgoing){.blob = blob, .token = token, .report = true, .payload_len = count_filters(filters, type)};
  lane->kept.inflight.subscribes++;
  if (s->live.link == ROAM_LINK_UP && lane->live.cursor == 0) {
    lane->live.cursor = x->packet_id;
  }
  return 0;
}

roam_rc roam_session_subscribe(roam_session *s, roam_time now, roam_bytes filters, roam_bytes props, uint64_t token) {
  return request(s, now, ROAM_SUBSCRIBE, 0, filters, props, token);
}

roam_rc roam_session_unsubscribe(roam_session *s, roam_time now, roam_bytes filters, roam_bytes props, uint64_t token) {
  return request(s, now, ROAM_UNSUBSCRIBE, 0, filters, props, token);
}

roam_rc roam_session_subscribe_on(roam_session *s, roam_time now, uint32_t lane, roam_bytes filters, roam_bytes props,
                                  uint64_t token) {
  return request(s, now, ROAM_SUBSCRIBE, lane, filters, props, token);
}

roam_rc roam_session_unsubscribe_on(roam_session *s, roam_time now, uint32_t lane, roam_bytes filters, roam_bytes props,
                                    uint64_t token) {
  return request(s, now, ROAM_UNSUBSCRIBE, lane, filters, props, token);
}

void roam_session_on_suback(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  struct roam_exchange *x = roam_inflight_find(&lane->kept.inflight, p->packet_id);
  if (x == NULL) {
    return;
  }
  bool subscribe = p->type == ROAM_SUBACK;
  bool codes = subscribe || s->version == ROAM_MQTT_5;
  if (x->state != (subscribe ? ROAM_EXCHANGE_SUBACK : ROAM_EXCHANGE_UNSUBACK) ||
      (codes && p->codes.len != x->message.payload_len)) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
                      "SUBACK or UNSUBACK does not fit its request");
    return;
  }
  struct roam_tiding *t = roam_session_tell(s, subscribe ? ROAM_SE_SUBACK : ROAM_SE_UNSUBACK, lane->number);
  t->type = p->type;
  t->packet_id = p->packet_id;
  t->token = x->message.token;
  t->props = p->props;
  t->first = p->codes;
  if (lane->live.cursor == x->packet_id) {
    lane->live.cursor = x->next;
  }
  roam_outgoing_reset(&x->message);
  lane->kept.inflight.subscribes--;
  roam_inflight_remove(&lane->kept.inflight, x);
}
