/* speak.h - packets said and heard on the streams of a bare connection (glue.h). */
#ifndef TESTS_UNIT_BROKER_SPEAK_H
#define TESTS_UNIT_BROKER_SPEAK_H

#include "glue.h"

/* ---- saying and hearing -----------------------------------------------------------------------------------------------
 */

static inline uint32_t open_lane(struct glue *g) {
  uint32_t lane;
  assert_int_equal(roam_conn_lane_open(g->conn, g->now, &lane), 0);
  return lane;
}

static inline void write_raw(struct glue *g, uint32_t lane, const void *bytes, size_t len) {
  roam_slice slice = {.base = bytes, .len = len};
  assert_int_equal(roam_conn_write(g->conn, g->now, lane, &slice, 1), 0);
  run(g, 100 * ROAM_MS);
}

static inline void subscribe(struct glue *g, uint32_t lane, uint16_t id, const char *filter, uint8_t qos) {
  uint8_t list[128];
  size_t len = 0;
  roam_filter f = {.filter = str(filter), .qos = qos};
  assert_int_equal(roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &f), 0);
  write_packet(g, lane, &(roam_packet){.type = ROAM_SUBSCRIBE, .version = 5, .packet_id = id, .filters = {list, len}});
}

static inline void unsubscribe(struct glue *g, uint32_t lane, uint16_t id, const char *filter) {
  uint8_t list[128];
  size_t len = 0;
  roam_filter f = {.filter = str(filter)};
  assert_int_equal(roam_filter_put(list, sizeof list, &len, ROAM_UNSUBSCRIBE, &f), 0);
  write_packet(g, lane, &(roam_packet){.type = ROAM_UNSUBSCRIBE, .version = 5, .packet_id = id, .filters = {list, len}});
}

static inline void publish(struct glue *g, uint32_t lane, const char *topic, uint8_t qos, uint16_t id) {
  write_packet(
      g, lane,
      &(roam_packet){
          .type = ROAM_PUBLISH, .version = 5, .qos = qos, .packet_id = id, .topic = str(topic), .payload = str("x")});
}

static inline void acknowledge(struct glue *g, uint32_t lane, uint8_t type, uint16_t id) {
  write_packet(g, lane, &(roam_packet){.type = type, .version = 5, .packet_id = id});
}

/* The next packet on a lane; false: nothing has come. Views are void after it: only numbers are looked at. */
static inline bool hear(struct glue *g, uint32_t lane, roam_packet *p) {
  roam_fault fault;
  size_t used = 0;
  roam_bytes bytes = roam_conn_peek(g->conn, lane);
  if (bytes.len == 0) return false;
  assert_int_equal(roam_packet_read(bytes, 5, 1u << 20, true, p, &used, &fault), 0);
  assert_true(used > 0);
  roam_conn_consume(g->conn, g->now, lane, used);
  return true;
}

static inline roam_packet expect_on(struct glue *g, uint32_t lane, int type, uint16_t id) {
  roam_packet p;
  assert_true(hear(g, lane, &p));
  assert_int_equal(p.type, type);
  assert_int_equal(p.packet_id, id);
  return p;
}

/* At QoS 1, and the broker has taken it. */
static inline void publish_acked(struct glue *g, uint32_t lane, const char *topic, uint16_t id) {
  publish(g, lane, topic, 1, id);
  expect_on(g, lane, ROAM_PUBACK, id);
}

static inline void expect_quiet(struct glue *g, uint32_t lane) { assert_int_equal(roam_conn_peek(g->conn, lane).len, 0); }

static inline uint32_t subscriptions(struct glue *g) { return roam_broker_get_stats(g->broker).subscriptions; }

static inline void expect_alive(struct glue *g) {
  write_packet(g, 0, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  expect_on(g, 0, ROAM_PINGRESP, 0);
  assert_false(g->closed);
  assert_int_equal(g->counts[ROAM_EV_PEER_DISCONNECTED], 0);
}

#endif
