/* command.c - what the application may ask for. Commands change state and queue; nothing leaves before the next drain, so
 * that a thousand publishes of one turn travel together. Migrating is in roam.c. */
#include <string.h>

#include "base/blob.h"
#include "client/client.h"
#include "mqtt/packet.h"

#define DATAGRAM_BYTES 1500

static void enter(roam_client *c, roam_time now) {
  if (now > c->now) c->now = now;
}

static bool is_closed(const roam_client *c) { return c->phase == ROAM_PHASE_CLOSED || roam_client_wants_out(c); }

roam_rc roam_client_start(roam_client *c, roam_time now) {
  enter(c, now);
  if (is_closed(c)) return ROAM_E_CLOSED;
  if (c->phase != ROAM_PHASE_NEW) return ROAM_E_STATE;
  roam_rc rc = 0;
  const char *why = NULL;
  c->started_at = c->now;
  c->transport = roam_link_transport_new(c, c->home_kind, &rc, &why);
  if (!c->transport) return rc;
  if (c->fallback.on) c->second = roam_link_transport_new(c, c->fallback.kind, &rc, &why);
  if (c->fallback.on && !c->second) return rc;
  roam_link_begin(c);
  return 0;
}

static bool wants_datagram(const roam_client *c, const roam_client_message *m) {
  if (m->qos != 0) return false;
  const char *filter = c->o.datagram_filter;
  return m->datagram || (filter && roam_topic_matches((roam_bytes){(const uint8_t *)filter, strlen(filter)}, m->topic));
}

/* False: it does not fit, or nobody would take it. Then it goes on a stream. */
static bool send_datagram(roam_client *c, const roam_message *message, const roam_publish_how *how) {
  uint8_t bytes[DATAGRAM_BYTES];
  size_t len, room = c->link.greeted && c->link.conn && !c->link.leaving ? roam_conn_datagram_room(c->link.conn) : 0;
  if (room > sizeof bytes) room = sizeof bytes;
  if (room == 0 || roam_session_write_datagram(c->session, c->now, message, how, bytes, room, &len) != 0) return false;
  if (roam_conn_datagram_write(c->link.conn, c->now, (roam_bytes){bytes, len}) != 0) return false;
  c->datagrams_out++;
  return true;
}

roam_rc roam_client_publish(roam_client *c, roam_time now, const roam_client_message *m, uint64_t *token) {
  enter(c, now);
  if (is_closed(c)) return ROAM_E_CLOSED;
  if (c->phase != ROAM_PHASE_CONNECTED && !c->o.offline_queue) return ROAM_E_STATE;
  if (m->props.len > 0 && c->o.version < ROAM_MQTT_5) return ROAM_E_ARGUMENT;
  bool known = c->link.greeted && c->phase == ROAM_PHASE_CONNECTED;
  if (known && (m->qos > c->link.maximum_qos || (m->retain && !c->link.retain_available))) return ROAM_E_ARGUMENT;
  if (c->o.payload_format_check && !roam_payload_fits(m->props, m->payload)) return ROAM_E_ARGUMENT;
  roam_message message;
  roam_rc rc = roam_message_make(&message, c->now, m->topic, m->props, m->payload, m->qos, m->retain);
  if (rc != 0) return rc;
  roam_blob_stay(message.blob);
  roam_publish_how how = {.qos = m->qos, .retain = m->retain, .safe_to_repeat = m->safe_to_repeat};
  if (wants_datagram(c, m) && send_datagram(c, &message, &how)) {
    roam_blob_unref(message.blob);
    if (token) *token = ++c->token;
    return 0;
  }
  struct roam_client_choice choice = {.topic = m->topic, .qos = m->qos, .lane = m->lane};
  how.lane = roam_lanes_choose(c, &choice);
  rc = roam_session_publish(c->session, c->now, &message, &how, c->token + 1);
  roam_blob_unref(message.blob);
  if (rc != 0) return rc;
  c->token++;
  if (token) *token = c->token;
  return 0;
}

static roam_rc change_subscriptions(roam_client *c, roam_time now, int type, const roam_filter *filters, size_t n,
                                    const roam_client_subscribe_how *wish, uint64_t *token) {
  enter(c, now);
  if (is_closed(c)) return ROAM_E_CLOSED;
  struct roam_subs_how how = {.datagram = wish && wish->datagram && c->o.version >= ROAM_MQTT_5};
  if (n > 0 && filters && type == ROAM_SUBSCRIBE) {
    struct roam_client_choice choice = {true, filters[0].filter, filters[0].qos, wish ? wish->lane : 0};
    how.lane = roam_lanes_choose(c, &choice);
  } else if (n > 0 && filters) {
    how.lane = roam_subs_lane_of(&c->subs, filters[0].filter);
  }
  roam_rc rc = roam_subs_want(&c->subs, type, filters, n, how, c->token + 1);
  if (rc == ROAM_E_BLOCKED) c->awaiting_writable = true;
  if (rc != 0) return rc;
  c->token++;
  if (token) *token = c->token;
  return 0;
}

roam_rc roam_client_subscribe(roam_client *c, roam_time now, const roam_filter *filters, size_t n, uint64_t *token) {
  return change_subscriptions(c, now, ROAM_SUBSCRIBE, filters, n, NULL, token);
}

roam_rc roam_client_subscribe_how_to(roam_client *c, roam_time now, const roam_filter *filters, size_t n,
                                     const roam_client_subscribe_how *how, uint64_t *token) {
  return change_subscriptions(c, now, ROAM_SUBSCRIBE, filters, n, how, token);
}

roam_rc roam_client_unsubscribe(roam_client *c, roam_time now, const roam_filter *filters, size_t n, uint64_t *token) {
  return change_subscriptions(c, now, ROAM_UNSUBSCRIBE, filters, n, NULL, token);
}

roam_rc roam_client_lane_weight(roam_client *c, roam_time now, uint32_t lane, uint32_t weight) {
  enter(c, now);
  return is_closed(c) ? ROAM_E_CLOSED : roam_lanes_weigh(c, lane, weight);
}

roam_rc roam_client_ack(roam_client *c, roam_time now, uint32_t lane, uint16_t packet_id) {
  enter(c, now);
  if (c->phase == ROAM_PHASE_CLOSED) return ROAM_E_CLOSED;
  if (!c->o.manual_ack) return ROAM_E_STATE;
  return roam_session_ack(c->session, c->now, lane, packet_id, 0);
}

roam_rc roam_client_hint(roam_client *c, roam_time now) {
  enter(c, now);
  if (is_closed(c)) return ROAM_E_CLOSED;
  roam_policy_hint(c);
  return 0;
}

/* Is there something to bring to the server before going? */
static bool owes(const roam_client *c) { return !roam_session_get_info(c->session).drained || c->subs.pending_count > 0; }

roam_rc roam_client_close(roam_client *c, roam_time now, uint8_t reason) {
  enter(c, now);
  if (c->phase == ROAM_PHASE_CLOSED) return ROAM_E_CLOSED;
  if (!roam_reason_fits(reason, ROAM_DISCONNECT)) return ROAM_E_ARGUMENT;
  if (roam_client_wants_out(c)) return 0;
  c->close_at = c->now + ROAM_CLIENT_CLOSE_NS;
  c->close_reason = reason;
  if (c->phase == ROAM_PHASE_CONNECTED) {
    roam_client_set_phase(c, ROAM_PHASE_CLOSING);
  } else if (c->phase == ROAM_PHASE_NEW || c->phase == ROAM_PHASE_WAITING || c->phase == ROAM_PHASE_RESOLVING) {
    if (c->phase == ROAM_PHASE_RESOLVING && owes(c)) return 0;
    roam_policy_close(c, 0);
  } else if (!owes(c)) {
    roam_link_leave(c, false);
  }
  return 0;
}
