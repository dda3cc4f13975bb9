/* flow_speak.h - what the tests of MQTT-next say on a bare connection (speak.h): headers, connections that begin again, and
 * brokers that do. */
#ifndef TESTS_UNIT_BROKER_FLOW_SPEAK_H
#define TESTS_UNIT_BROKER_FLOW_SPEAK_H

#include "speak.h"

#include "mqtt/flow.h"

#define BOTH (ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS)

static inline void write_header(struct glue *g, uint32_t lane, uint64_t type, uint64_t id, uint64_t expire_s,
                                uint8_t flags) {
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  struct roam_flow_header h = {.type = type, .id = id, .expire_s = expire_s, .flags = flags};
  write_raw(g, lane, bytes, roam_flow_write(&h, bytes));
}

static inline uint32_t open_flow(struct glue *g, uint64_t id, uint64_t expire_s, uint8_t flags) {
  uint32_t lane = open_lane(g);
  write_header(g, lane, ROAM_FLOW_CLIENT, id, expire_s, flags);
  return lane;
}

/* A connection with a session of an hour. */
static inline void greet(struct glue *g, bool clean) {
  static const uint8_t expiry[] = {0x11, 0, 0, 0x0e, 0x10};
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT,
                              .version = 5,
                              .props = {expiry, sizeof expiry},
                              .connect = {.client_id = str("bare"), .clean_start = clean}});
  expect_on(g, 0, ROAM_CONNACK, 0);
}

static inline struct glue *flows_new_with(void (*change)(roam_broker_options *o)) {
  struct glue *g = glue_open(change, "MQTT-next mqtt");
  assert_string_equal(roam_conn_alpn(g->conn), "MQTT-next");
  write_header(g, 0, ROAM_FLOW_CONTROL, 0, 0, 0);
  greet(g, true);
  return g;
}

static inline struct glue *flows_new(void) { return flows_new_with(NULL); }

/* The same with a data flow, number 2, on which "t" is subscribed to. */
static inline struct glue *flows_subscribed(uint64_t expire_s, uint8_t flags, uint32_t *lane) {
  struct glue *g = flows_new();
  *lane = open_flow(g, 2, expire_s, ROAM_FLOW_CLEAN | flags);
  subscribe(g, *lane, 1, "t", 1);
  expect_on(g, *lane, ROAM_SUBACK, 1);
  return g;
}

static inline void break_off(struct glue *g) {
  roam_conn_close(g->conn, g->now, 1, false);
  run(g, ROAM_S);
  roam_conn_release(g->conn);
  g->opened = g->closed = false;
}

static inline void dial_again(struct glue *g) {
  assert_int_equal(roam_transport_dial(g->quic, g->now, &g->server, NULL, NULL, "localhost", g, &g->conn), 0);
  run(g, ROAM_S);
  assert_true(g->opened);
  write_header(g, 0, ROAM_FLOW_CONTROL, 0, 0, 0);
  greet(g, false);
}

/* The connection breaks off, and another resumes the session. */
static inline void reconnect(struct glue *g, uint64_t after_ns) {
  break_off(g);
  run(g, after_ns);
  dial_again(g);
}

/* The broker's process dies, and another begins on the same store, so many seconds later. */
static inline void restart_broker(struct glue *g, uint64_t after_s) {
  roam_broker_free(g->broker);
  g->now += after_s * ROAM_S;
  make_broker(g, g->change);
  run(g, ROAM_S);
}

static inline void expect_closed(struct glue *g, uint64_t code) {
  run(g, ROAM_S);
  assert_true(g->closed);
  assert_int_equal(g->close_code, code);
}

/* The header of a stream that the broker has opened. */
static inline struct roam_flow_header expect_header(struct glue *g, uint32_t lane, uint64_t id, uint8_t flags) {
  struct roam_flow_header h;
  size_t used;
  assert_int_equal(roam_flow_read(roam_conn_peek(g->conn, lane), &h, &used), 1);
  roam_conn_consume(g->conn, g->now, lane, used);
  assert_int_equal(h.type, ROAM_FLOW_SERVER);
  assert_int_equal(h.id, id);
  assert_int_equal(h.flags, flags);
  return h;
}

#endif
