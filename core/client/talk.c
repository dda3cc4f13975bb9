/* talk.c - what is said on a connection: the CONNECT we send, and what the session reports of the server's answers. It
 * moves no bytes and decides nothing about trying again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "mqtt/packet.h"

/* ---- CONNECT ---- */

/* The session adds its own limits (Receive Maximum, Maximum Packet Size, Topic Alias Maximum); the rest is here.
 *
 * The first connection honours clean_start as it is; with 5.0 and a session expiry, later ones of the same object ask for
 * the session back, which is their own. 3.1.1 ties both wishes to one flag, so there the application's value always counts.
 */
static bool wants_clean_start(const roam_client *c) {
  if (c->ever_connected && c->o.version == ROAM_MQTT_5 && c->o.session_expiry_s > 0) return false;
  return c->o.clean_start;
}

static roam_bytes text_bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, text ? strlen(text) : 0}; }

/* The application's properties, and room for `more` bytes of ours. */
static roam_rc begin_props(roam_bytes given, size_t more, roam_props *out) {
  *out = (roam_props){.base = malloc(given.len + more), .cap = given.len + more};
  if (!out->base) return ROAM_E_MEMORY;
  if (given.len > 0) memcpy(out->base, given.base, given.len);
  out->len = given.len;
  return 0;
}

static roam_rc compose_props(roam_client *c, roam_props *props, roam_props *will) {
  roam_bytes auth_data;
  roam_rc rc = roam_auth_begin(c, &auth_data);
  if (rc != 0) return rc;
  if (begin_props(c->o.connect_props, 16 + roam_auth_room(c, auth_data), props) != 0 ||
      begin_props(c->o.will_props, 16, will) != 0)
    return ROAM_E_MEMORY;
  roam_auth_put(c, props, auth_data);
  if (c->o.session_expiry_s > 0) roam_props_put_number(props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, c->o.session_expiry_s);
  if (c->o.request_response_information) roam_props_put_number(props, ROAM_PROP_REQUEST_RESPONSE_INFORMATION, 1);
  if (c->o.will_delay_s > 0) roam_props_put_number(will, ROAM_PROP_WILL_DELAY_INTERVAL, c->o.will_delay_s);
  return 0;
}

/* Those that an option of their own stands for. */
const char *roam_talk_props_error(const roam_client_options *o) {
  static const int own[] = {ROAM_PROP_SESSION_EXPIRY_INTERVAL, ROAM_PROP_REQUEST_RESPONSE_INFORMATION,
                            ROAM_PROP_AUTHENTICATION_METHOD,   ROAM_PROP_AUTHENTICATION_DATA,
                            ROAM_PROP_RECEIVE_MAXIMUM,         ROAM_PROP_TOPIC_ALIAS_MAXIMUM,
                            ROAM_PROP_MAXIMUM_PACKET_SIZE};
  roam_prop prop;
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
    if (roam_prop_find(o->connect_props, own[i], &prop) == 1)
      return "connect_props: has a property for which there is an option (session_expiry_s, receive_maximum...)";
  if (roam_prop_find(o->will_props, ROAM_PROP_WILL_DELAY_INTERVAL, &prop) == 1)
    return "will_props: the will's delay is will_delay_s";
  return NULL;
}

roam_rc roam_talk_greet(roam_client *c) {
  roam_props props = {0}, will_props = {0};
  bool hidden = roam_auth_is_own(&c->o); /* the password never travels, and the name goes with the method */
  roam_rc rc = compose_props(c, &props, &will_props);
  roam_packet p = {.type = ROAM_CONNECT, .version = c->o.version};
  p.connect.clean_start = wants_clean_start(c);
  p.connect.keep_alive_s = c->o.keep_alive_s;
  p.connect.client_id = text_bytes(c->id);
  p.connect.has_user_name = c->o.user_name != NULL && !hidden;
  p.connect.user_name = text_bytes(c->o.user_name);
  p.connect.has_password = c->o.password.len > 0 && !hidden;
  p.connect.password = c->o.password;
  if (c->o.will_topic) {
    p.connect.has_will = true;
    p.connect.will_qos = c->o.will_qos;
    p.connect.will_retain = c->o.will_retain;
    p.connect.will_topic = text_bytes(c->o.will_topic);
    p.connect.will_payload = c->o.will_payload;
    p.connect.will_props = (roam_bytes){will_props.base, will_props.len};
  }
  p.props = (roam_bytes){props.base, props.len};
  if (rc == 0) rc = roam_session_connect(c->session, c->now, &p);
  free(props.base);
  free(will_props.base);
  return rc;
}

/* ---- words of the server's that end a connection ---- */

/* The server's Reason String, made fit for one line: control characters become '?'. */
static void quote_reason(roam_bytes props, char *out, size_t cap) {
  roam_prop prop;
  out[0] = 0;
  if (!roam_prop_find(props, ROAM_PROP_REASON_STRING, &prop) || prop.bytes.len == 0) return;
  size_t n = prop.bytes.len < cap - 3 ? prop.bytes.len : cap - 3;
  out[0] = ':';
  out[1] = ' ';
  for (size_t i = 0; i < n; i++)
    out[2 + i] = prop.bytes.base[i] < ' ' || prop.bytes.base[i] == 0x7f ? '?' : (char)prop.bytes.base[i];
  out[2 + n] = 0;
}

static const char *reason_text(int reason) {
  const char *text = roam_reason_text(reason);
  return text ? text : "unknown reason";
}

static void on_refused(roam_client *c, const roam_packet *p) {
  char why[128];
  quote_reason(p->props, why, sizeof why);
  roam_link_blame(c, ROAM_E_REFUSED, p->reason, 0, "refused: %s (0x%02X)%s", reason_text(p->reason), p->reason, why);
  c->link.cause.connack = true;
  roam_redirect_hear(c, p->reason, p->props);
  roam_link_leave(c, true);
}

static void on_disconnect(roam_client *c, const roam_packet *p) {
  char why[128];
  quote_reason(p->props, why, sizeof why);
  roam_link_blame(c, ROAM_E_PEER_CLOSED, p->reason, 0, "disconnected by the server: %s (0x%02X)%s", reason_text(p->reason),
                  p->reason, why);
  roam_redirect_hear(c, p->reason, p->props);
  roam_link_leave(c, true);
}

/* The session has queued its DISCONNECT, where one may be sent; the pump writes it and then leaves. */
static void on_fault(roam_client *c, const roam_fault *fault) {
  roam_link_blame(c, fault->rc, fault->reason, 0, "%s", fault->text ? fault->text : roam_strerror(fault->rc));
  c->link.leave_due = true;
}

/* ---- CONNACK ---- */

static void adopt_limits(roam_client *c, roam_bytes props) {
  roam_prop prop;
  c->link.maximum_qos = roam_prop_find(props, ROAM_PROP_MAXIMUM_QOS, &prop) ? (uint8_t)prop.number : 2;
  c->link.retain_available = !roam_prop_find(props, ROAM_PROP_RETAIN_AVAILABLE, &prop) || prop.number != 0;
}

static roam_rc adopt_id(roam_client *c, roam_bytes props) {
  roam_prop prop;
  if (!roam_prop_find(props, ROAM_PROP_ASSIGNED_CLIENT_IDENTIFIER, &prop)) return 0;
  char *id = strndup((const char *)prop.bytes.base, prop.bytes.len);
  if (!id) return ROAM_E_MEMORY;
  free(c->id);
  c->id = id;
  return 0;
}

static roam_rc adopt_response_information(roam_client *c, roam_bytes props) {
  roam_prop prop;
  free(c->response_information);
  c->response_information = NULL;
  if (!roam_prop_find(props, ROAM_PROP_RESPONSE_INFORMATION, &prop)) return 0;
  c->response_information = strndup((const char *)prop.bytes.base, prop.bytes.len);
  return c->response_information ? 0 : ROAM_E_MEMORY;
}

static void tell_connected(roam_client *c, const roam_packet *p) {
  struct roam_entry *e = roam_client_event(c, ROAM_EV_CONNECTED);
  if (!e) return;
  e->ev.reason = p->reason;
  e->ev.u.link = (roam_event_link){.local = c->link.local,
                                   .remote = c->link.remote,
                                   .attempt = c->attempt.number,
                                   .transport = (uint8_t)c->kind,
                                   .version = c->o.version,
                                   .session_present = p->session_present};
}

static void on_connack(roam_client *c, const roam_packet *p, const struct roam_lane_view *lane) {
  if (p->reason != 0) {
    on_refused(c, p);
    return;
  }
  if (!roam_auth_on_connack(c, p, lane)) return;
  roam_rc rc = adopt_id(c, p->props);
  if (rc == 0) rc = adopt_response_information(c, p->props);
  if (rc != 0) {
    roam_link_blame(c, rc, -1, 0, "%s", roam_strerror(rc));
    roam_link_leave(c, false);
    return;
  }
  adopt_limits(c, p->props);
  roam_conn_info info = roam_conn_get_info(c->link.conn);
  c->link.local = info.local;
  c->link.remote = info.remote;
  c->link.greeted = true;
  c->link.connected_at = c->now;
  c->ever_connected = true;
  c->past.connects++;
  if (!p->session_present) c->session_since = c->link.number;
  roam_client_set_phase(c, roam_client_wants_out(c) ? ROAM_PHASE_CLOSING : ROAM_PHASE_CONNECTED);
  tell_connected(c, p);
  bool streams_last = roam_lanes_connected(c, p->session_present);
  roam_subs_connected(&c->subs, p->session_present, streams_last);
  roam_wander_connected(c);
  roam_fallback_connected(c);
  c->move.give_up_at = c->now + ROAM_CLIENT_MIGRATE_PATIENCE_NS;
  roam_policy_move(c);
}

/* ---- what the application hears ---- */

/* Not what its Payload Format Indicator says: refused where there is an answer to say so in, else dropped. */
static bool refuse_format(roam_client *c, const roam_session_event *se) {
  const roam_packet *p = &se->packet;
  if (!c->o.payload_format_check || roam_payload_fits(p->props, p->payload)) return false;
  if (p->qos > 0) roam_session_ack(c->session, c->now, se->lane, p->packet_id, ROAM_REASON_PAYLOAD_FORMAT_INVALID);
  c->past.dropped++;
  return true;
}

static void tell_message(roam_client *c, const roam_session_event *se, const struct roam_lane_view *lane) {
  if (refuse_format(c, se)) return;
  struct roam_entry *e = roam_client_event(c, ROAM_EV_MESSAGE);
  if (!e) return;
  const roam_packet *p = &se->packet;
  e->link = c->link.number;
  e->ev.u.message = (roam_event_message){.topic = p->topic,
                                         .payload = p->payload,
                                         .props = p->props,
                                         .lane = se->lane,
                                         .packet_id = p->qos > 0 ? p->packet_id : 0,
                                         .qos = p->qos,
                                         .retain = p->retain,
                                         .dup = p->dup};
  if (roam_events_keep_views(&c->events, e, se->lane, lane) == 0) return;
  /* Not delivered: a refused identifier is forgotten, so that the next connection brings the message again. */
  e->ev.kind = ROAM_EV_NONE;
  if (p->qos == 2) roam_session_ack(c->session, c->now, se->lane, p->packet_id, ROAM_REASON_UNSPECIFIED);
  roam_link_blame(c, ROAM_E_MEMORY, -1, 0, "%s", roam_strerror(ROAM_E_MEMORY));
  roam_link_leave(c, false);
}

static roam_rc dropped_rc(int reason) {
  switch (reason) {
    case ROAM_REASON_PACKET_TOO_LARGE: return ROAM_E_TOO_LARGE;
    case ROAM_REASON_QUOTA_EXCEEDED: return ROAM_E_LIMIT;
    case ROAM_REASON_QOS_NOT_SUPPORTED:
    case ROAM_REASON_RETAIN_NOT_SUPPORTED: return ROAM_E_REFUSED;
    case ROAM_REASON_IMPLEMENTATION_SPECIFIC: /* its Message Expiry Interval ran out */ return ROAM_E_TIMEOUT;
    default: return ROAM_E_LOST;
  }
}

static void tell_published(roam_client *c, const roam_session_event *se) {
  struct roam_entry *e = roam_client_event(c, ROAM_EV_PUBLISHED);
  if (!e) return;
  e->ev.token = se->token;
  e->ev.reason = se->packet.reason;
  if (se->kind == ROAM_SE_DROPPED) e->ev.rc = dropped_rc(se->packet.reason);
  else if (se->packet.reason >= 0x80) e->ev.rc = ROAM_E_REFUSED;
}

static void tell_subscribed(roam_client *c, const roam_session_event *se, const struct roam_lane_view *lane) {
  if (!roam_subs_answered(&c->subs, se->token, se->packet.codes)) {
    for (size_t i = 0; i < se->packet.codes.len; i++)
      if (se->packet.codes.base[i] >= 0x80)
        roam_trace(&c->o.log, c->now, RESUBSCRIBE_REFUSED, .client = c->id, .why = reason_text(se->packet.codes.base[i]),
                   .code = se->packet.codes.base[i]);
    return;
  }
  if (c->awaiting_writable) (void)roam_client_event(c, ROAM_EV_WRITABLE);
  c->awaiting_writable = false;
  struct roam_entry *e = roam_client_event(c, se->kind == ROAM_SE_SUBACK ? ROAM_EV_SUBSCRIBED : ROAM_EV_UNSUBSCRIBED);
  if (!e) return;
  e->ev.token = se->token;
  e->ev.u.ack = (roam_event_ack){.codes = se->packet.codes, .props = se->packet.props};
  for (size_t i = 0; i < se->packet.codes.len; i++)
    if (se->packet.codes.base[i] >= 0x80 && e->ev.rc == 0) {
      e->ev.rc = ROAM_E_REFUSED;
      e->ev.reason = se->packet.codes.base[i];
    }
  roam_events_keep_views(&c->events, e, se->lane, lane);
}

void roam_talk_on_event(roam_client *c, const roam_session_event *se, const struct roam_lane_view *lane) {
  switch (se->kind) {
    case ROAM_SE_CONNACK:
      if (c->phase == ROAM_PHASE_GREETING) on_connack(c, &se->packet, lane);
      break;
    case ROAM_SE_MESSAGE: tell_message(c, se, lane); break;
    case ROAM_SE_DONE:
    case ROAM_SE_DROPPED: tell_published(c, se); break;
    case ROAM_SE_SUBACK:
    case ROAM_SE_UNSUBACK: tell_subscribed(c, se, lane); break;
    case ROAM_SE_DISCONNECT: on_disconnect(c, &se->packet); break;
    case ROAM_SE_AUTH: roam_auth_on_packet(c, &se->packet, lane); break;
    case ROAM_SE_WRITABLE: (void)roam_client_event(c, ROAM_EV_WRITABLE); break;
    case ROAM_SE_FAULT: on_fault(c, &se->fault); break;
    case ROAM_SE_LANE_FAULT: roam_lanes_on_fault(c, se->lane, &se->fault); break;
    default: break;
  }
}
