/* rig.h - a client on one side, a scripted server on the other, the test as the edge between them: wire units of TCP,
 * virtual time, no socket. What the client tells and what the server sees become lines of text, so that a test says what it
 * expects as a story. */
#ifndef TESTS_UNIT_CLIENT_RIG_H
#define TESTS_UNIT_CLIENT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <roamqtt/client.h>

#include "base/rng.h"

#define RIG_LOG 65536
#define RIG_BYTES (1 << 22)
#define RIG_HANG 2000000 /* turns: a client that never comes to rest fails the test instead of hanging it */

struct rig {
  roam_client *c;
  struct roam_rng rng;
  roam_time now;

  /* the network */
  uint32_t handle;       /* of the connection that is open, 0 = none */
  int open_error;        /* OPEN is answered by FAILED with this errno */
  bool open_silent;      /* or by nothing */
  uint32_t errors_first; /* so many OPENs get open_error, later ones succeed */
  roam_addr answers[4];  /* of RESOLVE */
  size_t answers_len;
  bool resolve_silent;
  size_t chunk;          /* most bytes in one DATA to the client; 0 = all */
  uint64_t credit;       /* what the client will take */
  uint64_t least_credit; /* the lowest it has been */

  /* the server */
  roam_session *server;
  bool connected;       /* CONNECT has been answered with success */
  bool mute;            /* takes bytes, says nothing */
  bool no_ack;          /* does not acknowledge messages by itself */
  uint8_t refuse;       /* CONNACK with this reason */
  bool present;         /* CONNACK says session present */
  const uint8_t *props; /* of CONNACK */
  size_t props_len;
  uint8_t suback; /* 0: as asked for; else this code for every filter */
  bool no_suback;
  uint8_t in[RIG_BYTES];
  size_t in_len;
  uint8_t out[RIG_BYTES];
  size_t out_len;
  uint32_t publishes; /* seen by the server */

  /* what happened */
  char log[RIG_LOG], seen[RIG_LOG], units[RIG_LOG];
  bool no_poll;
  uint32_t messages;
  uint64_t retry_ns;
  roam_event_message last_message;
};

static inline roam_bytes str(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

__attribute__((format(printf, 2, 3))) static inline void note(char log[RIG_LOG], const char *format, ...) {
  size_t len = strlen(log);
  va_list args;
  va_start(args, format);
  vsnprintf(log + len, RIG_LOG - len, format, args);
  va_end(args);
}

static inline roam_client_options rig_options(void) {
  roam_client_options o;
  roam_client_options_init(&o);
  o.url = "mqtt://192.0.2.1";
  o.client_id = "me";
  return o;
}

static inline struct rig *rig_new(const roam_client_options *o) {
  struct rig *r = calloc(1, sizeof *r);
  assert_non_null(r);
  roam_rng_init(&r->rng, 1);
  r->now = ROAM_S;
  roam_rc rc;
  r->c = roam_client_new(o, &r->rng.random, &rc);
  assert_int_equal(rc, 0);
  assert_non_null(r->c);
  roam_session_options so;
  roam_session_options_init(&so, ROAM_ROLE_SERVER);
  r->server = roam_session_new(&so);
  assert_non_null(r->server);
  return r;
}

static inline void rig_free(struct rig *r) {
  roam_client_free(r->c);
  roam_session_free(r->server);
  free(r);
}

/* ---- the client's side ---- */

static inline void rig_note_event(struct rig *r, const roam_event *e) {
  switch (e->kind) {
    case ROAM_EV_CONNECTED:
      note(r->log, "CONNECTED %s v%u %s\n", roam_transport_name(e->u.link.transport), e->u.link.version,
           e->u.link.session_present ? "resumed" : "new");
      break;
    case ROAM_EV_DISCONNECTED:
      r->retry_ns = e->u.link.retry_ns;
      note(r->log, "DISCONNECTED %s %s: %s\n", roam_error_name(e->rc), e->u.link.retry_ns ? "retry" : "final", e->text);
      break;
    case ROAM_EV_CLOSED:
      note(r->log, "CLOSED %s%s%s\n", e->rc ? roam_error_name(e->rc) : "ok", e->text ? ": " : "", e->text ? e->text : "");
      break;
    case ROAM_EV_MESSAGE:
      r->messages++;
      r->last_message = e->u.message;
      note(r->log, "MESSAGE %.*s=%.*s q%u\n", (int)e->u.message.topic.len, (const char *)e->u.message.topic.base,
           e->u.message.payload.len > 40 ? 40 : (int)e->u.message.payload.len, (const char *)e->u.message.payload.base,
           e->u.message.qos);
      break;
    case ROAM_EV_PUBLISHED:
      note(r->log, "PUBLISHED %u %s %d\n", (unsigned)e->token, e->rc ? roam_error_name(e->rc) : "ok", e->reason);
      break;
    case ROAM_EV_SUBSCRIBED:
    case ROAM_EV_UNSUBSCRIBED:
      note(r->log, "%s %u %s", roam_event_name(e->kind), (unsigned)e->token, e->rc ? roam_error_name(e->rc) : "ok");
      for (size_t i = 0; i < e->u.ack.codes.len; i++) note(r->log, " %02x", e->u.ack.codes.base[i]);
      note(r->log, "\n");
      break;
    case ROAM_EV_PATH_FAILED: note(r->log, "PATH_FAILED %s: %s\n", roam_error_name(e->rc), e->text); break;
    default: note(r->log, "%s\n", roam_event_name(e->kind));
  }
}

static inline void rig_poll(struct rig *r, size_t most) {
  roam_event ev[64];
  size_t n;
  while (most > 0 && (n = roam_client_poll(r->c, ev, most < 64 ? most : 64)) > 0) {
    for (size_t i = 0; i < n; i++) rig_note_event(r, &ev[i]);
    most -= n;
  }
}

/* ---- the server's side ---- */

static inline void rig_send(struct rig *r, const void *bytes, size_t len) {
  assert_true(r->out_len + len <= sizeof r->out);
  memcpy(r->out + r->out_len, bytes, len);
  r->out_len += len;
}

static inline void rig_send_packet(struct rig *r, const roam_packet *p) {
  static uint8_t space[70000];
  size_t len;
  assert_int_equal(roam_packet_write(p, space, sizeof space, &len), 0);
  rig_send(r, space, len);
}

static inline void rig_answer_connect(struct rig *r, const roam_packet *p) {
  note(r->seen, "CONNECT v%u %.*s%s ka=%u", p->version, (int)p->connect.client_id.len,
       (const char *)p->connect.client_id.base, p->connect.clean_start ? " clean" : "", p->connect.keep_alive_s);
  roam_prop prop;
  if (roam_prop_find(p->props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, &prop)) note(r->seen, " expiry=%u", prop.number);
  if (roam_prop_find(p->props, ROAM_PROP_RECEIVE_MAXIMUM, &prop)) note(r->seen, " rm=%u", prop.number);
  if (roam_prop_find(p->props, ROAM_PROP_MAXIMUM_PACKET_SIZE, &prop)) note(r->seen, " mps=%u", prop.number);
  if (roam_prop_find(p->props, ROAM_PROP_TOPIC_ALIAS_MAXIMUM, &prop)) note(r->seen, " tam=%u", prop.number);
  if (p->connect.has_user_name)
    note(r->seen, " user=%.*s", (int)p->connect.user_name.len, (const char *)p->connect.user_name.base);
  if (p->connect.has_password)
    note(r->seen, " pass=%.*s", (int)p->connect.password.len, (const char *)p->connect.password.base);
  if (p->connect.has_will)
    note(r->seen, " will=%.*s=%.*s q%u%s", (int)p->connect.will_topic.len, (const char *)p->connect.will_topic.base,
         (int)p->connect.will_payload.len, (const char *)p->connect.will_payload.base, p->connect.will_qos,
         p->connect.will_retain ? " retain" : "");
  if (roam_prop_find(p->connect.will_props, ROAM_PROP_WILL_DELAY_INTERVAL, &prop)) note(r->seen, " delay=%u", prop.number);
  note(r->seen, "\n");
  if (r->mute) return;
  roam_packet ack = {.type = ROAM_CONNACK, .version = p->version, .reason = r->refuse, .session_present = r->present};
  if (p->version == ROAM_MQTT_5) ack.props = (roam_bytes){r->props, r->props_len};
  if (r->refuse) {
    rig_send_packet(r, &ack);
    return;
  }
  assert_int_equal(roam_session_accept(r->server, r->now, p, &ack, p->connect.keep_alive_s), 0);
  r->connected = true;
}

static inline void rig_answer_filters(struct rig *r, const roam_session_event *se) {
  uint8_t codes[2048];
  size_t n = 0;
  int type = se->kind == ROAM_SE_SUBSCRIBE ? ROAM_SUBSCRIBE : ROAM_UNSUBSCRIBE;
  roam_bytes rest = se->packet.filters;
  roam_filter f;
  note(r->seen, "%s", roam_packet_name(type));
  while (roam_filter_next(&rest, type, &f) == 1) {
    if (n < 8) note(r->seen, " %.*s", (int)f.filter.len, (const char *)f.filter.base);
    codes[n++] = type == ROAM_UNSUBSCRIBE ? 0 : r->suback ? r->suback : f.qos;
  }
  note(r->seen, n > 8 ? " .. %zu\n" : "\n", n);
  if (r->no_suback) return;
  if (type == ROAM_SUBSCRIBE)
    roam_session_suback(r->server, r->now, se->lane, se->packet.packet_id, (roam_bytes){codes, n}, (roam_bytes){0});
  else roam_session_unsuback(r->server, r->now, se->lane, se->packet.packet_id, (roam_bytes){codes, n}, (roam_bytes){0});
}

static inline void rig_server_event(struct rig *r, const roam_session_event *se) {
  switch (se->kind) {
    case ROAM_SE_MESSAGE:
      r->publishes++;
      note(r->seen, "PUBLISH %.*s=%.*s q%u%s\n", (int)se->packet.topic.len, (const char *)se->packet.topic.base,
           se->packet.payload.len > 40 ? 40 : (int)se->packet.payload.len, (const char *)se->packet.payload.base,
           se->packet.qos, se->packet.dup ? " dup" : "");
      if (se->packet.qos > 0 && !r->no_ack) roam_session_ack(r->server, r->now, se->lane, se->packet.packet_id, 0);
      break;
    case ROAM_SE_DONE: note(r->seen, "DONE %u\n", (unsigned)se->token); break;
    case ROAM_SE_SUBSCRIBE:
    case ROAM_SE_UNSUBSCRIBE: rig_answer_filters(r, se); break;
    case ROAM_SE_DISCONNECT: note(r->seen, "DISCONNECT %02x\n", se->packet.reason); break;
    case ROAM_SE_FAULT: note(r->seen, "FAULT %s\n", se->fault.text); break;
    default: break;
  }
}

static inline void rig_server(struct rig *r) {
  size_t used = 0;
  if (!r->connected) {
    roam_packet p;
    roam_fault fault;
    if (roam_packet_read((roam_bytes){r->in, r->in_len}, 0, 1 << 20, false, &p, &used, &fault) != 0 || used == 0) return;
    rig_answer_connect(r, &p);
  } else if (!r->mute) {
    roam_session_feed(r->server, r->now, 0, (roam_bytes){r->in, r->in_len}, &used);
  }
  roam_session_event se[32];
  size_t n;
  while ((n = roam_session_poll(r->server, se, 32)) > 0)
    for (size_t i = 0; i < n; i++) rig_server_event(r, &se[i]);
  memmove(r->in, r->in + used, r->in_len - used);
  r->in_len -= used;
  roam_slice slices[32];
  while (!r->mute && r->connected && (n = roam_session_drain(r->server, r->now, 0, 65536, slices, 32)) > 0)
    for (size_t i = 0; i < n; i++) rig_send(r, slices[i].base, slices[i].len);
}

/* ---- the edge ---- */

static inline void rig_feed(struct rig *r, roam_wire unit) { roam_client_feed(r->c, r->now, &unit, 1); }

static inline void rig_break(struct rig *r, int error) {
  uint32_t handle = r->handle;
  r->handle = 0;
  r->connected = false;
  r->in_len = r->out_len = 0;
  roam_session_detach(r->server, r->now);
  if (handle) rig_feed(r, (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = handle, .error = error});
}

static inline void rig_open(struct rig *r, const roam_wire *u) {
  char text[ROAM_ADDR_TEXT_MAX];
  note(r->units, "OPEN %s\n", roam_addr_format(&u->remote, text));
  if (r->open_silent) return;
  if (r->open_error || r->errors_first > 0) {
    if (r->errors_first > 0) r->errors_first--;
    rig_feed(r, (roam_wire){
                    .kind = ROAM_WIRE_FAILED, .handle = u->handle, .error = r->open_error ? r->open_error : ECONNREFUSED});
    return;
  }
  r->handle = u->handle;
  r->credit = r->least_credit = ROAM_CREDIT_START;
  roam_addr local = u->local;
  if (local.family == 0) roam_addr_parse("198.51.100.7", &local);
  if (local.port == 0) local.port = 40000;
  rig_feed(r, (roam_wire){.kind = ROAM_WIRE_OPENED, .handle = u->handle, .local = local, .remote = u->remote});
}

static inline void rig_unit(struct rig *r, const roam_wire *u) {
  switch (u->kind) {
    case ROAM_WIRE_RESOLVE:
      note(r->units, "RESOLVE %s %u\n", u->name, u->local.port);
      if (!r->resolve_silent)
        rig_feed(r, (roam_wire){
                        .kind = ROAM_WIRE_RESOLVED, .handle = u->handle, .addrs = r->answers, .addrs_len = r->answers_len});
      break;
    case ROAM_WIRE_OPEN: rig_open(r, u); break;
    case ROAM_WIRE_DATA:
      if (u->handle != r->handle) break;
      assert_true(r->in_len + u->len <= sizeof r->in);
      memcpy(r->in + r->in_len, u->data, u->len);
      r->in_len += u->len;
      rig_feed(r, (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = u->handle, .credit = u->len});
      break;
    case ROAM_WIRE_CREDIT: r->credit += u->credit; break;
    case ROAM_WIRE_CLOSE:
      note(r->units, "CLOSE%s\n", u->how == ROAM_CLOSE_RESET ? " reset" : "");
      if (u->handle != r->handle) break;
      rig_server(r);
      r->handle = 0;
      r->connected = false;
      r->in_len = r->out_len = 0;
      roam_session_detach(r->server, r->now);
      break;
    default: fail_msg("unit of kind %u", u->kind);
  }
}

/* Bytes to the client, cut by chunk, as far as its credit goes. */
static inline bool rig_deliver(struct rig *r) {
  size_t len = r->out_len;
  if (r->chunk && len > r->chunk) len = r->chunk;
  if (len > r->credit) len = (size_t)r->credit;
  if (len == 0 || !r->handle) return false;
  uint8_t *exact = malloc(len); /* so that a sanitizer sees a step too far, or too late */
  memcpy(exact, r->out, len);
  memmove(r->out, r->out + len, r->out_len - len);
  r->out_len -= len;
  r->credit -= len;
  if (r->credit < r->least_credit) r->least_credit = r->credit;
  rig_feed(r, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = r->handle, .data = exact, .len = len});
  free(exact);
  return true;
}

/* Turns at this moment until nobody has anything to do. */
static inline void rig_settle(struct rig *r) {
  for (int i = 0; i < RIG_HANG; i++) {
    roam_wire out[4], copy[4];
    uint8_t *data[4];
    size_t n = roam_client_drain(r->c, r->now, out, 4);
    for (size_t k = 0; k < n; k++) {
      copy[k] = out[k];
      data[k] = malloc(out[k].len + 1);
      if (out[k].len) memcpy(data[k], out[k].data, out[k].len);
      copy[k].data = data[k];
    }
    for (size_t k = 0; k < n; k++) rig_unit(r, &copy[k]);
    for (size_t k = 0; k < n; k++) free(data[k]);
    if (n > 0) continue;
    if (!r->no_poll) rig_poll(r, 512);
    if (r->handle) rig_server(r);
    if (rig_deliver(r)) continue;
    if (roam_client_deadline(r->c) > r->now) return;
    roam_client_tick(r->c, r->now);
  }
  fail_msg("the client does not come to rest");
}

static inline void rig_run(struct rig *r, roam_time until) {
  rig_settle(r);
  while (roam_client_deadline(r->c) <= until) {
    r->now = roam_client_deadline(r->c);
    roam_client_tick(r->c, r->now);
    rig_settle(r);
  }
  r->now = until;
}

static inline void rig_start(struct rig *r) {
  assert_int_equal(roam_client_start(r->c, r->now), 0);
  rig_settle(r);
}

/* A client that is connected, with nothing in the logs. */
static inline struct rig *rig_connected(const roam_client_options *o) {
  struct rig *r = rig_new(o);
  rig_start(r);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  r->log[0] = r->seen[0] = r->units[0] = 0;
  return r;
}

#define EXPECT(log, text)                                                                                                  \
  do {                                                                                                                     \
    assert_string_equal(log, text);                                                                                        \
    (log)[0] = 0;                                                                                                          \
  } while (0)

static inline roam_rc rig_publish(struct rig *r, const char *topic, const char *payload, uint8_t qos) {
  roam_client_message m = {.topic = str(topic), .payload = str(payload), .qos = qos};
  return roam_client_publish(r->c, r->now, &m, NULL);
}

static inline roam_rc rig_subscribe(struct rig *r, const char *filter, uint8_t qos) {
  roam_filter f = {.filter = str(filter), .qos = qos};
  return roam_client_subscribe(r->c, r->now, &f, 1, NULL);
}

/* The server publishes to the client. */
static inline void rig_push(struct rig *r, const char *topic, roam_bytes payload, uint8_t qos) {
  roam_message m;
  assert_int_equal(roam_message_make(&m, r->now, str(topic), (roam_bytes){0}, payload, qos, false), 0);
  roam_publish_how how = {.qos = qos};
  assert_int_equal(roam_session_publish(r->server, r->now, &m, &how, 7), 0);
  roam_blob_unref(m.blob);
}

static inline void rig_server_disconnects(struct rig *r, uint8_t reason) {
  rig_send_packet(r, &(roam_packet){.type = ROAM_DISCONNECT, .version = ROAM_MQTT_5, .reason = reason});
}

#endif
