/* auth.c - enhanced authentication (section 4.12) from the client's side: SCRAM-SHA-256 by itself, any other method through
 * the application. It decides nothing about trying again.
 *
 * Invariant: asked is set while an AUTH of the server's waits for the application's answer; again while a re-authentication
 * of ours is under way. Both end with the connection. */
#include "auth/scram.h"
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

static roam_bytes text_bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, text ? strlen(text) : 0}; }

bool roam_auth_is_own(const roam_client_options *o) {
  return o->auth_method && strcmp(o->auth_method, ROAM_SCRAM_METHOD) == 0 && o->user_name && o->password.len > 0;
}

static roam_bytes reply_of(const roam_client *c) {
  const struct roam_scram_message *m = &c->auth.scram->reply;
  return (roam_bytes){(const uint8_t *)m->text, m->len};
}

void roam_auth_free(roam_client *c) {
  if (c->auth.scram) explicit_bzero(c->auth.scram, sizeof *c->auth.scram);
  free(c->auth.scram);
  c->auth.scram = NULL;
}

/* ---- saying ---- */

static roam_rc begin_scram(roam_client *c) {
  char nonce[ROAM_SCRAM_NONCE_LEN + 1];
  if (!c->auth.scram) c->auth.scram = calloc(1, sizeof *c->auth.scram);
  if (!c->auth.scram || !roam_scram_nonce(c->random, nonce)) return ROAM_E_MEMORY;
  return roam_scram_client_first(c->auth.scram, text_bytes(c->o.user_name), nonce);
}

static size_t room_for(const roam_client *c, roam_bytes data) { return strlen(c->o.auth_method) + data.len + 8; }

static void put(const roam_client *c, roam_props *props, roam_bytes data) {
  roam_props_put_bytes(props, ROAM_PROP_AUTHENTICATION_METHOD, text_bytes(c->o.auth_method));
  if (data.len > 0) roam_props_put_bytes(props, ROAM_PROP_AUTHENTICATION_DATA, data);
}

roam_rc roam_auth_begin(roam_client *c, roam_bytes *data) {
  c->auth.asked = c->auth.again = false;
  *data = c->o.auth_data;
  if (!roam_auth_is_own(&c->o)) return 0;
  roam_rc rc = begin_scram(c);
  if (rc == 0) *data = reply_of(c);
  return rc;
}

size_t roam_auth_room(const roam_client *c, roam_bytes data) { return c->o.auth_method ? room_for(c, data) : 0; }

void roam_auth_put(const roam_client *c, roam_props *props, roam_bytes data) {
  if (c->o.auth_method) put(c, props, data);
}

static roam_rc send_auth(roam_client *c, uint8_t reason, roam_bytes data) {
  roam_props props = {.cap = room_for(c, data)};
  if (data.len > UINT16_MAX) return ROAM_E_ARGUMENT;
  props.base = malloc(props.cap);
  if (!props.base) return ROAM_E_MEMORY;
  put(c, &props, data);
  roam_rc rc = roam_session_auth(c->session, c->now, reason, (roam_bytes){props.base, props.len});
  free(props.base);
  return rc;
}

/* ---- hearing ---- */

static void give_up(roam_client *c, roam_rc rc, uint8_t reason, const char *text) {
  roam_link_blame(c, rc, reason, 0, "%s", text);
  roam_session_disconnect(c->session, c->now, reason, (roam_bytes){0});
  c->link.leave_due = true;
}

static void tell(roam_client *c, const roam_packet *p, roam_bytes data, const struct roam_lane_view *lane) {
  struct roam_entry *e = roam_client_event(c, ROAM_EV_AUTH);
  if (!e) return;
  roam_prop method = {0};
  roam_prop_find(p->props, ROAM_PROP_AUTHENTICATION_METHOD, &method);
  e->ev.reason = p->reason;
  e->ev.u.auth = (roam_event_auth){.method = method.bytes, .data = data, .remote = c->link.remote, .again = c->auth.again};
  roam_events_keep_views(&c->events, e, 0, lane);
}

static bool is_our_method(const roam_client *c, const roam_packet *p, roam_bytes *data) {
  roam_prop method, given = {0};
  roam_bytes ours = text_bytes(c->o.auth_method);
  roam_prop_find(p->props, ROAM_PROP_AUTHENTICATION_DATA, &given);
  *data = given.bytes;
  return roam_prop_find(p->props, ROAM_PROP_AUTHENTICATION_METHOD, &method) == 1 && method.bytes.len == ours.len &&
         memcmp(method.bytes.base, ours.base, ours.len) == 0;
}

static void answer_challenge(roam_client *c, roam_bytes data) {
  roam_rc rc = roam_scram_client_final(c->auth.scram, data, c->o.password);
  if (rc == 0) rc = send_auth(c, ROAM_REASON_CONTINUE_AUTHENTICATION, reply_of(c));
  if (rc == 0) return;
  if (rc == ROAM_E_LIMIT)
    give_up(c, ROAM_E_AUTHENTICATION, ROAM_REASON_UNSPECIFIED,
            "the server asks for fewer than 4096 or more than 1000000 iterations");
  else if (rc == ROAM_E_MALFORMED)
    give_up(c, ROAM_E_AUTHENTICATION, ROAM_REASON_PROTOCOL_ERROR, "the server's challenge is not of SCRAM-SHA-256");
  else give_up(c, rc, ROAM_REASON_UNSPECIFIED, roam_strerror(rc));
}

static bool check_server(roam_client *c, roam_bytes data) {
  if (roam_scram_client_check(c->auth.scram, data) == 0) return true;
  give_up(c, ROAM_E_AUTHENTICATION, ROAM_REASON_UNSPECIFIED, "the server could not prove that it knows the password");
  return false;
}

void roam_auth_on_packet(roam_client *c, const roam_packet *p, const struct roam_lane_view *lane) {
  roam_bytes data;
  bool up = c->phase != ROAM_PHASE_GREETING, more = p->reason == ROAM_REASON_CONTINUE_AUTHENTICATION;
  if (!c->o.auth_method) {
    give_up(c, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, "the server sent AUTH, which was not offered");
  } else if (!is_our_method(c, p, &data)) {
    give_up(c, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, "the server's AUTH names another method than our CONNECT");
  } else if (c->auth.asked || (up && !c->auth.again) || (!more && (!up || p->reason != ROAM_REASON_SUCCESS))) {
    give_up(c, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, "an AUTH that nothing asked for");
  } else if (roam_auth_is_own(&c->o) && more) {
    answer_challenge(c, data);
  } else if (!roam_auth_is_own(&c->o) || check_server(c, data)) {
    tell(c, p, data, lane);
    c->auth.asked = more;
    if (!more) c->auth.again = false;
  }
}

bool roam_auth_on_connack(roam_client *c, const roam_packet *p, const struct roam_lane_view *lane) {
  roam_bytes data;
  if (!c->o.auth_method) return true;
  if (!is_our_method(c, p, &data)) {
    give_up(c, ROAM_E_AUTHENTICATION, ROAM_REASON_PROTOCOL_ERROR,
            "the server let us in without the authentication method we asked for");
    return false;
  }
  c->auth.asked = false;
  if (roam_auth_is_own(&c->o)) return check_server(c, data);
  if (data.len > 0) tell(c, p, data, lane);
  return true;
}

/* ---- commands ---- */

roam_rc roam_client_auth(roam_client *c, roam_time now, roam_bytes data) {
  if (now > c->now) c->now = now;
  if (c->phase == ROAM_PHASE_CLOSED) return ROAM_E_CLOSED;
  if (!c->auth.asked || !c->link.conn || c->link.leaving || c->link.leave_due) return ROAM_E_STATE;
  roam_rc rc = send_auth(c, ROAM_REASON_CONTINUE_AUTHENTICATION, data);
  if (rc == 0) c->auth.asked = false;
  return rc;
}

roam_rc roam_client_reauthenticate(roam_client *c, roam_time now, roam_bytes data) {
  if (now > c->now) c->now = now;
  if (c->phase == ROAM_PHASE_CLOSED) return ROAM_E_CLOSED;
  if (!c->o.auth_method || c->phase != ROAM_PHASE_CONNECTED || c->auth.again) return ROAM_E_STATE;
  roam_rc rc = 0;
  if (roam_auth_is_own(&c->o)) {
    rc = begin_scram(c);
    if (rc == 0) data = reply_of(c);
  }
  if (rc == 0) rc = send_auth(c, ROAM_REASON_REAUTHENTICATE, data);
  if (rc == 0) c->auth.again = true;
  return rc;
}
