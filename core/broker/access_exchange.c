/* access_exchange.c - one exchange that is not over: what is kept for it, AUTH out and in, SCRAM-SHA-256, its end. Refuses
 * to judge a CONNECT (access_ask.c does) and to know what the owner is told (access_owner.c). */
#include "auth/lines.h"
#include "auth/scram.h"
#include "base/assert.h"
#include "broker/access.h"
#include "broker/broker.h"
#include "mqtt/packet.h"

#include <stdlib.h>
#include <string.h>

struct roam_waiting *roam_exchange_begin(roam_broker *b, struct roam_peer *p, roam_bytes connect) {
  struct roam_access *a = &b->access;
  if (a->waiting_count >= b->o.auth_waiting_max || connect.len > ROAM_ACCESS_BYTES_MAX - a->waiting_bytes) return NULL;
  struct roam_waiting *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->connect = connect.len > 0 ? roam_blob_new(connect.base, connect.len) : NULL;
  if (connect.len > 0 && !w->connect) {
    free(w);
    return NULL;
  }
  w->peer = p;
  w->again = connect.len == 0;
  w->began = p->proved;
  roam_list_init(&w->job);
  roam_list_push_back(&a->waiting, &w->node);
  a->waiting_count++;
  a->waiting_bytes += connect.len;
  p->waiting = w;
  return w;
}

void roam_access_forget(roam_broker *b, struct roam_peer *p) {
  struct roam_waiting *w = p->waiting;
  if (!w) return;
  p->waiting = NULL;
  b->access.waiting_count--;
  if (w->connect) b->access.waiting_bytes -= roam_blob_len(w->connect);
  roam_list_remove(&w->node);
  roam_list_remove(&w->job);
  roam_password_check_end(&w->check);
  if (w->scram) explicit_bzero(w->scram, sizeof *w->scram);
  free(w->scram);
  roam_blob_unref(w->connect);
  roam_blob_unref(w->data);
  free(w->props);
  free(w);
}

bool roam_exchange_connect(const roam_broker *b, const struct roam_waiting *w, roam_packet *out) {
  roam_fault fault;
  size_t used;
  return roam_packet_read(roam_access_bytes(w->connect), 0, b->o.maximum_packet_size, false, out, &used, &fault) == 0 &&
         used > 0;
}

/* The end of an exchange, good (reason 0) or bad. The peer's, not yet this file's memory of it, may be gone afterwards. */
void roam_exchange_end(roam_broker *b, struct roam_waiting *w, uint8_t reason, const char *text) {
  struct roam_peer *p = w->peer;
  if (reason != 0 && w->again) {
    roam_peer_say(b, p, reason, text);
  } else if (!w->again) {
    roam_packet connect;
    bool whole = roam_exchange_connect(b, w, &connect); /* as it was the first time */
    ROAM_ASSERT(whole);
    (void)whole;
    roam_connect_decided(b, p, &connect, reason, text);
  }
  if (p->claim_connect) { /* CONNACK needs what is known of it */
    roam_list_remove(&w->job);
    w->stage = ROAM_WAITING_PLACE;
    return;
  }
  roam_access_forget(b, p);
  roam_peer_mark(b, p);
}

/* Somebody has tried and is not who they say. */
void roam_exchange_fail(roam_broker *b, struct roam_waiting *w, uint8_t reason, const char *text) {
  struct roam_peer *p = w->peer;
  if (w->again && reason == ROAM_REASON_BAD_USER_NAME_OR_PASSWORD) reason = ROAM_REASON_NOT_AUTHORIZED; /* table 3-13 */
  b->stats.auth_failures++;
  roam_places_fail(&b->access.limits, b->now, roam_access_account(p));
  if (p->known && !roam_addr_same_ip(&w->began, &p->proved)) roam_places_fail(&b->access.limits, b->now, &w->began);
  roam_exchange_end(b, w, reason, text);
}

/* ---- AUTH out ---- */

static roam_bytes make_props(const struct roam_peer *p, roam_bytes first, roam_bytes data, uint8_t **memory) {
  size_t cap = first.len + roam_blob_len(p->method) + data.len + 8;
  roam_props props = {.base = malloc(cap), .cap = cap};
  *memory = props.base;
  if (!props.base) return (roam_bytes){0};
  if (first.len > 0) memcpy(props.base, first.base, first.len);
  props.len = first.len;
  roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_METHOD, roam_access_bytes(p->method));
  if (data.len > 0) roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_DATA, data);
  return (roam_bytes){props.base, props.len};
}

roam_bytes roam_access_props(struct roam_peer *p, roam_bytes props) {
  if (!p->method || !p->waiting) return props;
  free(p->waiting->props);
  return make_props(p, props, roam_access_bytes(p->waiting->data), &p->waiting->props);
}

static roam_rc write_early(roam_broker *b, struct roam_peer *p, const roam_packet *packet) {
  size_t size = roam_packet_size(packet), len;
  uint8_t *bytes = size > 0 ? malloc(size) : NULL;
  roam_rc rc = bytes ? roam_packet_write(packet, bytes, size, &len) : ROAM_E_MEMORY;
  if (rc == 0) {
    roam_slice slice = {.base = bytes, .len = len};
    rc = roam_conn_write(p->conn, b->now, 0, &slice, 1);
    b->stats.bytes_out += rc == 0 ? len : 0;
  }
  free(bytes);
  return rc;
}

static roam_rc send_auth(roam_broker *b, struct roam_waiting *w, uint8_t reason, roam_bytes data) {
  struct roam_peer *p = w->peer;
  uint8_t *memory;
  roam_packet auth = {.type = ROAM_AUTH, .version = ROAM_MQTT_5, .reason = reason};
  if (data.len > UINT16_MAX) return ROAM_E_ARGUMENT;
  auth.props = make_props(p, (roam_bytes){0}, data, &memory);
  roam_rc rc = !memory    ? ROAM_E_MEMORY
               : w->again ? roam_session_auth(p->session, b->now, reason, auth.props)
                          : write_early(b, p, &auth);
  free(memory);
  roam_peer_mark(b, p);
  return rc;
}

/* Another round: what was answered went out, the peer's turn. */
void roam_exchange_ask(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  w->stage = ROAM_WAITING_PEER;
  if (send_auth(b, w, ROAM_REASON_CONTINUE_AUTHENTICATION, data) != 0)
    roam_exchange_end(b, w, ROAM_REASON_UNSPECIFIED, "AUTH cannot be sent");
}

void roam_exchange_succeed(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  if (w->again) {
    if (send_auth(b, w, ROAM_REASON_SUCCESS, data) != 0) {
      roam_exchange_end(b, w, ROAM_REASON_UNSPECIFIED, "AUTH cannot be sent");
      return;
    }
  } else if (data.len > 0 && !(w->data = roam_blob_new(data.base, data.len))) {
    roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  roam_exchange_end(b, w, 0, NULL);
}

/* ---- SCRAM-SHA-256 ---- */

bool roam_access_is_scram(const struct roam_access *a, roam_bytes method) {
  return a->passwords && method.len == strlen(ROAM_SCRAM_METHOD) && roam_bytes_begin(method, ROAM_SCRAM_METHOD);
}

void roam_exchange_scram(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  char nonce[ROAM_SCRAM_NONCE_LEN + 1];
  w->scram = malloc(sizeof *w->scram);
  if (!w->scram || !roam_scram_nonce(b->random, nonce)) {
    roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  roam_rc rc = roam_scram_server_first(w->scram, data, b->access.passwords, nonce);
  if (rc == 0) roam_exchange_ask(b, w, roam_bytes_make(w->scram->reply.text, w->scram->reply.len));
  else if (rc == ROAM_E_UNSUPPORTED)
    roam_exchange_fail(b, w, ROAM_REASON_NOT_AUTHORIZED,
                       "SCRAM-SHA-256: channel binding and other users' names are not supported");
  else
    roam_exchange_fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: Authentication Data is no client-first-message");
}

static void take_scram_final(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  struct roam_peer *p = w->peer;
  struct roam_scram_server *s = w->scram;
  roam_rc rc = roam_scram_server_final(s, data);
  if (rc == ROAM_E_MALFORMED) {
    roam_exchange_fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: Authentication Data is no client-final-message");
  } else if (rc != 0) {
    roam_exchange_fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: bad user name or password");
  } else if (w->again && !roam_bytes_same(roam_access_bytes(p->user), roam_bytes_make(s->user, s->user_len))) {
    roam_exchange_fail(b, w, ROAM_REASON_NOT_AUTHORIZED,
                       "re-authentication with another user name; begin a new connection for that");
  } else if (!roam_access_set_user(p, s->user, s->user_len)) {
    roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
  } else {
    p->stamp = s->line.stamp;
    roam_exchange_succeed(b, w, roam_bytes_make(s->reply.text, s->reply.len));
  }
}

/* ---- AUTH in ---- */

static void take_auth(roam_broker *b, struct roam_waiting *w, const roam_packet *auth) {
  roam_prop data = {0}, method = {0};
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_METHOD, &method);
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_DATA, &data);
  if (!roam_bytes_same(method.bytes, roam_access_bytes(w->peer->method))) {
    roam_exchange_end(b, w, ROAM_REASON_PROTOCOL_ERROR, "AUTH names another method than CONNECT");
    return;
  }
  if (auth->reason != ROAM_REASON_CONTINUE_AUTHENTICATION) {
    roam_exchange_end(b, w, ROAM_REASON_PROTOCOL_ERROR, "AUTH in the middle of an exchange says 0x18");
    return;
  }
  w->round++;
  if (w->scram) take_scram_final(b, w, data.bytes);
  else roam_exchange_ask_owner(b, w, NULL, data.bytes);
}

/* Section 3.1.2.11.9: nothing but AUTH and DISCONNECT may come now. */
void roam_access_read(roam_broker *b, struct roam_peer *p) {
  struct roam_waiting *w = p->waiting;
  roam_packet packet;
  roam_fault fault;
  size_t used = 0;
  roam_bytes bytes = roam_conn_peek(p->conn, 0);
  if (w->stage != ROAM_WAITING_PEER || bytes.len == 0) return;
  if (roam_packet_read(bytes, ROAM_MQTT_5, b->o.maximum_packet_size, false, &packet, &used, &fault) != 0) {
    b->stats.packets_malformed++;
    roam_exchange_end(b, w, fault.reason, fault.text);
    return;
  }
  if (used == 0) return;
  if (packet.type == ROAM_AUTH) take_auth(b, w, &packet);
  else if (packet.type == ROAM_DISCONNECT) roam_peer_leave(b, p, (struct roam_end){0, packet.reason, NULL}, false);
  else roam_exchange_end(b, w, ROAM_REASON_PROTOCOL_ERROR, "only AUTH and DISCONNECT may come during authentication");
  roam_conn_consume(p->conn, b->now, 0, used);
  b->stats.bytes_in += used;
  roam_peer_mark(b, p);
}

void roam_access_again(roam_broker *b, struct roam_peer *p, const roam_packet *auth) {
  roam_prop method = {0}, data = {0};
  struct roam_waiting *w = p->waiting;
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_METHOD, &method);
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_DATA, &data);
  if (!p->method) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "AUTH without an authentication method in CONNECT");
  } else if (w && w->stage == ROAM_WAITING_PEER) {
    take_auth(b, w, auth);
  } else if (w) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "AUTH before the last one was answered");
  } else if (auth->reason != ROAM_REASON_REAUTHENTICATE) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "AUTH that begins an exchange says 0x19");
  } else if (!roam_bytes_same(method.bytes, roam_access_bytes(p->method))) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "re-authentication with another method than in CONNECT");
  } else if (!(w = roam_exchange_begin(b, p, (roam_bytes){0}))) {
    roam_peer_say(b, p, ROAM_REASON_SERVER_BUSY, "too many clients wait for authentication");
  } else if (roam_access_is_scram(&b->access, method.bytes)) {
    roam_exchange_scram(b, w, data.bytes);
  } else {
    roam_exchange_ask_owner(b, w, NULL, data.bytes);
  }
}

/* ---- time ---- */

void roam_access_overdue(roam_broker *b, struct roam_peer *p) {
  struct roam_waiting *w = p->waiting;
  if (w->stage == ROAM_WAITING_PEER)
    roam_exchange_fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "no AUTH within connect_timeout_ns");
  else if (w->stage == ROAM_WAITING_OWNER)
    roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, "nobody has decided within connect_timeout_ns");
  else roam_exchange_end(b, w, ROAM_REASON_SERVER_BUSY, "too many passwords to check; try again");
}
