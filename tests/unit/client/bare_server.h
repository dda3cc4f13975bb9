/* bare_server.h - our client against a bare QUIC endpoint that speaks either multistream mode as the test writes it, glued
 * in memory: so that a server may do what ours never would. */
#ifndef TESTS_UNIT_CLIENT_BARE_SERVER_H
#define TESTS_UNIT_CLIENT_BARE_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/client.h>
#include <roamqtt/tls.h>

#include "conformance/glue.h"
#include "conformance/side.h"
#include "mqtt/flow.h"

#define WALL INT64_C(1750000000)
#define LOST_MAX 16

struct bare {
  struct glue *g;
  struct side *server;
  roam_client *client;
  struct roam_rng client_rng, server_rng;
  roam_identity id;
  bool session_present;
  /* what the client has told */
  int connected, messages, lost_len, published, unsettled, subscribed;
  uint64_t unsettled_token;
  char payload[32];
  uint32_t lane;
  roam_event_lane lost[LOST_MAX];
  bool keep; /* messages are not polled */
};

static inline roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static inline void take_events(struct bare *b) {
  roam_event ev;
  while (!b->keep && roam_client_poll(b->client, &ev, 1) == 1) {
    b->connected += ev.kind == ROAM_EV_CONNECTED;
    b->subscribed += ev.kind == ROAM_EV_SUBSCRIBED;
    b->published += ev.kind == ROAM_EV_PUBLISHED && ev.rc == 0;
    if (ev.kind == ROAM_EV_PUBLISHED && ev.rc == ROAM_E_LOST) {
      b->unsettled++;
      b->unsettled_token = ev.token;
    }
    if (ev.kind == ROAM_EV_LANE_LOST && b->lost_len < LOST_MAX) b->lost[b->lost_len++] = ev.u.lane;
    if (ev.kind != ROAM_EV_MESSAGE) continue;
    b->messages++;
    b->lane = ev.u.message.lane;
    snprintf(b->payload, sizeof b->payload, "%.*s", (int)ev.u.message.payload.len, (const char *)ev.u.message.payload.base);
    roam_client_tick(b->client, b->g->now); /* it is polled: its acknowledgement may go */
  }
}

static inline void run(struct bare *b, uint64_t ns) {
  for (uint64_t done = 0; done < ns; done += 50 * ROAM_MS) {
    glue_run(b->g, 50 * ROAM_MS);
    take_events(b);
  }
}

static inline void say(struct bare *b, uint32_t lane, const void *bytes, size_t len) {
  roam_slice slice = {bytes, len, NULL};
  assert_int_equal(roam_conn_write(b->server->conn, b->g->now, lane, &slice, 1), 0);
  run(b, 100 * ROAM_MS);
}

static inline void say_packet(struct bare *b, uint32_t lane, const roam_packet *p) {
  uint8_t bytes[256];
  size_t len;
  assert_int_equal(roam_packet_write(p, bytes, sizeof bytes, &len), 0);
  say(b, lane, bytes, len);
}

static inline void say_message(struct bare *b, uint32_t lane, const char *payload, uint8_t qos, uint16_t id, bool dup) {
  say_packet(b, lane,
             &(roam_packet){.type = ROAM_PUBLISH,
                            .version = 5,
                            .qos = qos,
                            .dup = dup,
                            .packet_id = id,
                            .topic = text("t"),
                            .payload = text(payload)});
}

static inline void say_ack(struct bare *b, uint32_t lane, uint8_t type, uint16_t id) {
  say_packet(b, lane, &(roam_packet){.type = type, .version = 5, .packet_id = id});
}

static inline bool hear(struct bare *b, uint32_t lane, roam_packet *p) {
  roam_fault fault;
  size_t used = 0;
  roam_bytes bytes = roam_conn_peek(b->server->conn, lane);
  if (bytes.len == 0) return false;
  assert_int_equal(roam_packet_read(bytes, 5, 1u << 20, false, p, &used, &fault), 0);
  assert_true(used > 0);
  roam_conn_consume(b->server->conn, b->g->now, lane, used);
  return true;
}

static inline roam_packet expect(struct bare *b, uint32_t lane, int type, uint16_t id) {
  roam_packet p;
  assert_true(hear(b, lane, &p));
  assert_int_equal(p.type, type);
  assert_int_equal(p.packet_id, id);
  return p;
}

/* The client has opened the connection: its header, when flows are spoken, and CONNECT are read, CONNACK said. */
static inline void greet(struct bare *b) {
  roam_conn *conn = b->server->conn;
  struct roam_flow_header h;
  roam_packet p;
  roam_fault fault;
  size_t used;
  if (strcmp(roam_conn_alpn(conn), ROAM_ALPN_FLOWS) == 0) {
    assert_int_equal(roam_flow_read(roam_conn_peek(conn, 0), &h, &used), 1);
    assert_int_equal(h.type, ROAM_FLOW_CONTROL);
    assert_int_equal(h.id, 0);
    roam_conn_consume(conn, b->g->now, 0, used);
  }
  assert_int_equal(roam_packet_read(roam_conn_peek(conn, 0), 0, 1u << 20, false, &p, &used, &fault), 0);
  assert_int_equal(p.type, ROAM_CONNECT);
  roam_conn_consume(conn, b->g->now, 0, used);
  int before = b->connected;
  say_packet(b, 0, &(roam_packet){.type = ROAM_CONNACK, .version = 5, .session_present = b->session_present});
  assert_int_equal(b->connected, before + 1);
}

static inline struct bare *bare_new(void (*change)(roam_client_options *o), const char *alpn) {
  struct bare *b = calloc(1, sizeof *b);
  roam_transport_options t;
  roam_client_options o;
  roam_rc rc;
  const char *why;
  roam_addr at;
  uint32_t listener;
  assert_non_null(b);
  b->g = glue_new(1, 10 * ROAM_MS);
  roam_rng_init(&b->client_rng, 2);
  roam_rng_init(&b->server_rng, 3);
  assert_int_equal(roam_identity_make(&b->id, "bare", "localhost", WALL, 30, false), 0);
  roam_transport_options_init(&t);
  t.random = &b->server_rng.random;
  t.now = b->g->now;
  t.alpn = alpn;
  t.tls.certificate = text(b->id.certificate);
  t.tls.key = text(b->id.key);
  t.tls.wall_unix_s = WALL;
  t.datagrams_max = 16;
  b->server = calloc(1, sizeof *b->server);
  assert_non_null(b->server);
  b->server->random = t.random;
  b->server->t = roam_quic_new(&t, &rc, &why);
  assert_non_null(b->server->t);
  glue_add(b->g, side_machine(b->server), "10.0.0.1");
  assert_int_equal(roam_addr_parse("10.0.0.1:14567", &at), 0);
  assert_int_equal(roam_transport_listen(b->server->t, b->g->now, &at, &listener), 0);
  roam_client_options_init(&o);
  o.url = "mqtt-quic://10.0.0.1:14567";
  o.client_id = "ours";
  o.tls.ca = text(b->id.ca_certificate);
  o.tls.wall_unix_s = WALL;
  o.server_name = "localhost";
  o.flows = true;
  o.session_expiry_s = 3600;
  o.reconnect_max_ns = 500 * ROAM_MS;
  if (change) change(&o);
  b->client = roam_client_new(&o, &b->client_rng.random, &rc);
  assert_non_null(b->client);
  glue_add(b->g, roam_client_machine(b->client), "10.0.0.2");
  glue_settle(b->g);
  assert_int_equal(roam_client_start(b->client, b->g->now), 0);
  run(b, ROAM_S);
  greet(b);
  return b;
}

/* The connection breaks off and the client comes again. */
static inline void bare_reconnect(struct bare *b, uint64_t after_ns) {
  roam_conn_close(b->server->conn, b->g->now, 1, false);
  run(b, ROAM_S + after_ns);
  greet(b);
}

static inline void bare_free(struct bare *b) {
  roam_client_free(b->client);
  roam_transport_free(b->server->t);
  roam_identity_clear(&b->id);
  glue_free(b->g);
  free(b->server);
  free(b);
}

static inline uint32_t open_server_flow(struct bare *b, uint64_t type, uint64_t id, uint64_t expire_s, uint8_t flags) {
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  uint32_t lane;
  struct roam_flow_header h = {.type = type, .id = id, .expire_s = expire_s, .flags = flags};
  assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &lane), 0);
  say(b, lane, bytes, roam_flow_write(&h, bytes));
  return lane;
}

static inline void expect_reset(struct bare *b, uint32_t lane, uint64_t code) {
  run(b, 100 * ROAM_MS);
  const roam_te *te = side_last(b->server, ROAM_TE_LANE_RESET);
  assert_non_null(te);
  assert_int_equal(te->lane, lane);
  assert_int_equal(te->code, code);
}

/* Nothing has happened to the connection, and the control stream is alive. */
static inline void expect_alive(struct bare *b) {
  say_message(b, 0, "alive", 1, 0x7777, false);
  expect(b, 0, ROAM_PUBACK, 0x7777);
  assert_string_equal(b->payload, "alive");
  b->messages--;
}

static inline void expect_closed(struct bare *b, uint64_t code) {
  run(b, 200 * ROAM_MS);
  const roam_te *te = side_last(b->server, ROAM_TE_CLOSED);
  assert_non_null(te);
  assert_int_equal(te->code, code);
}

#endif
