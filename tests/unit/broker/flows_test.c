/* flows_test.c - MQTT-next as the broker serves it, against a bare QUIC connection: headers, recovery, take-over, discard,
 * expiry, and each error with its level and code. */
#include "flow_speak.h"

/* ---- the highest mode both speak ----------------------------------------------------------------------------------------
 */

static void no_flows(roam_broker_options *o) { o->flows = false; }

static void the_highest_mode_both_speak(void **state) {
  (void)state;
  struct glue *g = glue_open(no_flows, "MQTT-next mqtt");
  assert_string_equal(roam_conn_alpn(g->conn), "mqtt");
  glue_greet(g);
  glue_free(g);
  g = glue_open(NULL, "mqtt");
  assert_string_equal(roam_conn_alpn(g->conn), "mqtt");
  glue_greet(g);
  glue_free(g);
}

/* ---- packets ------------------------------------------------------------------------------------------------------------
 */

static void packets_travel_on_flows(void **state) {
  (void)state;
  struct glue *g = flows_new();
  uint32_t a = open_flow(g, 2, 60, ROAM_FLOW_CLEAN), b = open_flow(g, 1u << 20, 60, ROAM_FLOW_CLEAN);
  subscribe(g, a, 1, "t", 1);
  subscribe(g, b, 1, "t", 1); /* two flows may subscribe to the same topic */
  expect_on(g, a, ROAM_SUBACK, 1);
  expect_on(g, b, ROAM_SUBACK, 1);
  publish_acked(g, a, "t", 7);
  expect_on(g, a, ROAM_PUBLISH, 1);
  expect_on(g, b, ROAM_PUBLISH, 1);
  write_packet(g, a, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  expect_on(g, a, ROAM_PINGRESP, 0); /* answered there, unlike in the simple mode */
  expect_quiet(g, b);
  expect_alive(g);
  glue_free(g);
}

/* Two flows subscribe to one topic with the same identifier; each has its own packet identifiers, aliases and window. */
static void narrow(roam_broker_options *o) { o->receive_maximum = 1; }

static void each_flow_has_its_own(void **state) {
  (void)state;
  static const uint8_t identifier[] = {0x0b, 9}, alias[] = {0x23, 0, 1};
  struct glue *g = flows_new_with(narrow);
  uint32_t lanes[] = {open_flow(g, 2, 60, ROAM_FLOW_CLEAN), open_flow(g, 4, 60, ROAM_FLOW_CLEAN)};
  for (int i = 0; i < 2; i++) {
    uint8_t list[16];
    size_t len = 0;
    roam_filter f = {.filter = str("own"), .qos = 1};
    assert_int_equal(roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &f), 0);
    write_packet(g, lanes[i],
                 &(roam_packet){.type = ROAM_SUBSCRIBE,
                                .version = 5,
                                .packet_id = 1,
                                .filters = {list, len},
                                .props = {identifier, sizeof identifier}});
    expect_on(g, lanes[i], ROAM_SUBACK, 1);
    roam_packet p = {.type = ROAM_PUBLISH, .version = 5, .topic = str(i ? "two" : "one"), .props = {alias, sizeof alias}};
    write_packet(g, lanes[i], &p);
    publish(g, lanes[i], "none", 2, 1); /* fills its Receive Maximum, not the other's */
    expect_on(g, lanes[i], ROAM_PUBREC, 1);
  }
  subscribe(g, 0, 1, "+", 0);
  expect_on(g, 0, ROAM_SUBACK, 1);
  for (int i = 1; i >= 0; i--) {
    write_packet(g, lanes[i], &(roam_packet){.type = ROAM_PUBLISH, .version = 5, .props = {alias, sizeof alias}});
    roam_packet heard = expect_on(g, 0, ROAM_PUBLISH, 0);
    assert_memory_equal(heard.topic.base, i ? "two" : "one", 3);
  }
  publish_acked(g, 0, "own", 1);
  expect_on(g, 0, ROAM_PUBLISH, 0);
  for (int i = 0; i < 2; i++) {
    roam_packet heard = expect_on(g, lanes[i], ROAM_PUBLISH, 1);
    roam_prop prop;
    assert_int_equal(roam_prop_find(heard.props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, &prop), 1);
    assert_int_equal(prop.number, 9);
  }
  publish(g, lanes[0], "none", 1, 2);
  assert_int_equal(g->reset_lane, lanes[0]); /* beyond it */
  expect_alive(g);
  glue_free(g);
}

static void a_header_may_come_in_pieces(void **state) {
  (void)state;
  struct glue *g = flows_new();
  uint32_t a = open_lane(g);
  static const uint8_t header[] = {0x12, 0x40, 0x02, 0x80, 0, 0, 60, 0x81, 3, 1, 2, 3, 0}; /* with an optional header */
  for (size_t i = 0; i < sizeof header; i++) write_raw(g, a, &header[i], 1);
  publish_acked(g, a, "t", 7);
  assert_int_equal(g->resets, 0);
  glue_free(g);
}

/* ---- level 1: the stream is aborted, the state goes
 * ---------------------------------------------------------------------- */

static void bad_headers(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint64_t type, id;
    uint8_t flags;
    uint64_t code;
  } cases[] = {
      {"clean and to be recovered", ROAM_FLOW_CLIENT, 2, ROAM_FLOW_CLEAN | ROAM_FLOW_ABORT_IF_NO_STATE, ROAM_FLOW_REFUSED},
      {"a server's flow", ROAM_FLOW_SERVER, 3, 0, ROAM_FLOW_STREAM_TYPE},
      {"a second control flow", ROAM_FLOW_CONTROL, 0, 0, ROAM_FLOW_STREAM_TYPE},
      {"no type of ours", 0x30, 0, 0, ROAM_FLOW_STREAM_TYPE},
      {"odd number", ROAM_FLOW_CLIENT, 3, ROAM_FLOW_CLEAN, ROAM_FLOW_BAD_ID},
      {"number 0", ROAM_FLOW_CLIENT, 0, ROAM_FLOW_CLEAN, ROAM_FLOW_BAD_ID},
      {"user-defined", ROAM_FLOW_USER, 2, 0, ROAM_FLOW_REFUSED},
      {"grease", 0x21, 0, 0, ROAM_FLOW_NO_ERROR},
  };
  struct glue *g = flows_new();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t lane = open_lane(g);
    write_header(g, lane, cases[i].type, cases[i].id, 60, cases[i].flags);
    if (g->resets != (int)i + 1 || g->reset_code != cases[i].code) print_error("case: %s\n", cases[i].name);
    assert_int_equal(g->resets, i + 1);
    assert_int_equal(g->reset_lane, lane);
    assert_int_equal(g->reset_code, cases[i].code);
    expect_alive(g);
  }
  glue_free(g);
}

static void a_protocol_error_discards_the_state(void **state) {
  (void)state;
  static const uint8_t disconnect[] = {0xE0, 0};
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  write_raw(g, a, disconnect, sizeof disconnect); /* belongs on the control flow */
  assert_int_equal(g->reset_code, ROAM_FLOW_CANCELLED);
  assert_int_equal(g->last[ROAM_EV_PEER_LANE_LOST].u.lane.flow, 2);
  assert_int_equal(subscriptions(g), 0);
  expect_alive(g);
  uint32_t b = open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->reset_lane, b);
  assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
  glue_free(g);
}

/* ---- level 2: the stream is aborted, the state stays
 * ---------------------------------------------------------------------- */

static void recovery_finds_what_was_left(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  publish_acked(g, 0, "t", 1);
  expect_on(g, a, ROAM_PUBLISH, 1); /* not acknowledged */
  roam_conn_lane_reset(g->conn, g->now, a, ROAM_FLOW_NO_ERROR);
  run(g, ROAM_S);
  assert_int_equal(subscriptions(g), 1);
  publish(g, 0, "t", 1, 2); /* while no stream carries the flow */
  expect_on(g, 0, ROAM_PUBACK, 2);
  uint32_t b = open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  roam_packet again = expect_on(g, b, ROAM_PUBLISH, 1);
  assert_true(again.dup);
  expect_on(g, b, ROAM_PUBLISH, 2);
  acknowledge(g, b, ROAM_PUBACK, 1);
  acknowledge(g, b, ROAM_PUBACK, 2);
  expect_alive(g);
  glue_free(g);
}

static void recovery_over_connections(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  publish(g, a, "q", 2, 5);
  expect_on(g, a, ROAM_PUBREC, 5);
  reconnect(g, ROAM_S);
  publish_acked(g, 0, "t", 1);
  uint64_t before = roam_broker_get_stats(g->broker).messages_in;
  a = open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  expect_on(g, a, ROAM_PUBLISH, 1);
  write_packet(
      g, a, &(roam_packet){.type = ROAM_PUBLISH, .version = 5, .qos = 2, .dup = true, .packet_id = 5, .topic = str("q")});
  expect_on(g, a, ROAM_PUBREC, 5); /* known by (flow, packet id): not routed again */
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, before);
  uint32_t b = open_flow(g, 4, 60, ROAM_FLOW_CLEAN | BOTH); /* the same id on another flow is another message */
  publish(g, b, "q", 2, 5);
  expect_on(g, b, ROAM_PUBREC, 5);
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, before + 1);
  glue_free(g);
}

static void state_expires(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = flows_subscribed(30, BOTH, &a);
  run(g, 50 * ROAM_S); /* not while a stream carries it */
  assert_int_equal(subscriptions(g), 1);
  roam_conn_lane_reset(g->conn, g->now, a, 0);
  run(g, 29 * ROAM_S);
  assert_int_equal(subscriptions(g), 1);
  run(g, 2 * ROAM_S);
  assert_int_equal(subscriptions(g), 0);
  open_flow(g, 2, 30, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
  glue_free(g);
}

static void what_does_not_persist_goes(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = flows_subscribed(60, ROAM_FLOW_PERSISTENT_QOS, &a);
  roam_conn_lane_reset(g->conn, g->now, a, 0);
  run(g, ROAM_S);
  assert_int_equal(subscriptions(g), 0); /* but the flow is known */
  int resets = g->resets;
  open_flow(g, 2, 60, ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->resets, resets);
  a = open_flow(g, 4, 60, ROAM_FLOW_CLEAN); /* nothing of it persists */
  roam_conn_lane_reset(g->conn, g->now, a, 0);
  run(g, ROAM_S);
  open_flow(g, 4, 60, ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
  glue_free(g);
}

static void without_the_flag_it_goes_on_empty(void **state) {
  (void)state;
  struct glue *g = flows_new();
  uint32_t a = open_flow(g, 2, 60, BOTH);
  publish_acked(g, a, "t", 7);
  assert_int_equal(g->resets, 0);
  glue_free(g);
}

static void a_cut_packet_is_level_2(void **state) {
  (void)state;
  static const uint8_t part[] = {0x30, 10, 0};
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  write_raw(g, a, part, sizeof part);
  roam_conn_lane_fin(g->conn, g->now, a);
  run(g, ROAM_S);
  assert_int_equal(g->reset_code, ROAM_FLOW_INCOMPLETE_PACKET);
  assert_int_equal(subscriptions(g), 1);
  int resets = g->resets;
  open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->resets, resets);
  glue_free(g);
}

static void an_idle_opening_is_aborted(void **state) {
  (void)state;
  static const uint8_t half[] = {0x12, 0x40};
  struct glue *g = flows_new();
  uint32_t a = open_lane(g);
  write_raw(g, a, half, sizeof half);
  run(g, 9 * ROAM_S);
  assert_int_equal(g->resets, 0);
  run(g, 2 * ROAM_S);
  assert_int_equal(g->reset_code, ROAM_FLOW_OPEN_IDLE);
  expect_alive(g);
  glue_free(g);
}

/* ---- ends
 * ---------------------------------------------------------------------------------------------------------------- */

static void a_graceful_end_removes_the_state(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  publish(g, a, "x", 1, 2);
  roam_conn_lane_fin(g->conn, g->now, a);
  run(g, ROAM_S);
  expect_on(g, a, ROAM_PUBACK, 2);
  assert_true(g->fins & UINT64_C(1) << a);
  assert_int_equal(subscriptions(g), 0);
  open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
  glue_free(g);
}

static void discarding(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  roam_conn_lane_reset(g->conn, g->now, a, 0);
  run(g, ROAM_S);
  assert_int_equal(subscriptions(g), 1);
  a = open_flow(g, 2, 0, ROAM_FLOW_CLEAN);
  roam_conn_lane_fin(g->conn, g->now, a);
  run(g, ROAM_S);
  assert_true(g->fins & UINT64_C(1) << a);
  assert_int_equal(subscriptions(g), 0);
  glue_free(g);
}

static void the_later_stream_takes_the_flow_over(void **state) {
  (void)state;
  static const uint8_t part[] = {0x30, 10, 0};
  uint32_t a;
  struct glue *g = flows_subscribed(60, BOTH, &a);
  write_raw(g, a, part, sizeof part); /* is dropped with the stream */
  uint32_t b = open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->resets, 1);
  assert_int_equal(g->reset_lane, a);
  publish_acked(g, 0, "t", 1);
  expect_on(g, b, ROAM_PUBLISH, 1);
  uint32_t older = open_lane(g), later = open_lane(g);
  write_header(g, later, ROAM_FLOW_CLIENT, 2, 60, BOTH);
  write_header(g, older, ROAM_FLOW_CLIENT, 2, 60, BOTH); /* comes later, and loses all the same */
  assert_int_equal(g->reset_lane, older);
  publish(g, later, "x", 1, 2);
  roam_packet p;
  assert_true(hear(g, later, &p)); /* the message again, then the answer */
  expect_on(g, later, ROAM_PUBACK, 2);
  expect_alive(g);
  glue_free(g);
}

/* ---- level 0: the connection
 * ---------------------------------------------------------------------------------------------- */

static void recovering_again_ends_the_connection(void **state) {
  (void)state;
  struct glue *g = flows_new();
  open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
  expect_alive(g);
  open_flow(g, 4, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE); /* another flow may try */
  expect_alive(g);
  open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  expect_closed(g, ROAM_FLOWS_TOO_MANY_RECOVERIES);
  glue_free(g);
}

static void the_control_stream_needs_its_header(void **state) {
  (void)state;
  static const uint64_t types[] = {ROAM_FLOW_CLIENT, ROAM_FLOW_SERVER, ROAM_FLOW_USER, 0x15};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    struct glue *g = glue_open(NULL, "MQTT-next");
    write_header(g, 0, types[i], 2, 60, 0);
    expect_closed(g, ROAM_FLOWS_PROTOCOL);
    glue_free(g);
  }
}

/* mqtt-lib's way. Data streams have theirs all the same. */
static void or_a_connect_at_once(void **state) {
  (void)state;
  struct glue *g = glue_open(NULL, "MQTT-next");
  greet(g, true);
  uint32_t lane = open_flow(g, 2, 60, 0);
  write_packet(g, lane, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  expect_on(g, lane, ROAM_PINGRESP, 0);
  glue_free(g);
}

static void a_cut_packet_on_the_control_stream(void **state) {
  (void)state;
  static const uint8_t part[] = {0x30, 10, 0};
  struct glue *g = flows_new();
  write_raw(g, 0, part, sizeof part);
  roam_conn_lane_fin(g->conn, g->now, 0);
  expect_closed(g, ROAM_FLOWS_PROTOCOL);
  glue_free(g);
}

/* ---- datagrams
 * ------------------------------------------------------------------------------------------------------------ */

static void datagrams_carry_more(void **state) {
  (void)state;
  static const uint8_t qos1[] = {0x32, 7, 0, 1, 't', 0, 9, 0, 'x'}, sub[] = {0x82, 7, 0, 3, 0, 0, 1, 't', 0},
                       ping[] = {0xC0, 0}, bye[] = {0xE0, 0};
  struct glue *g = flows_new();
  const struct {
    const uint8_t *bytes;
    size_t len;
  } all[] = {{qos1, sizeof qos1}, {sub, sizeof sub}, {ping, sizeof ping}, {bye, sizeof bye}};
  for (int i = 0; i < 4; i++) {
    assert_int_equal(roam_conn_datagram_write(g->conn, g->now, (roam_bytes){all[i].bytes, all[i].len}), 0);
    run(g, 100 * ROAM_MS);
  }
  expect_on(g, 0, ROAM_PUBACK, 9);
  expect_on(g, 0, ROAM_SUBACK, 3);
  assert_int_equal(roam_broker_get_stats(g->broker).datagrams_ignored, 2); /* PING and DISCONNECT never */
  expect_alive(g);
  glue_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_highest_mode_both_speak),
      cmocka_unit_test(packets_travel_on_flows),
      cmocka_unit_test(each_flow_has_its_own),
      cmocka_unit_test(a_header_may_come_in_pieces),
      cmocka_unit_test(bad_headers),
      cmocka_unit_test(a_protocol_error_discards_the_state),
      cmocka_unit_test(recovery_finds_what_was_left),
      cmocka_unit_test(recovery_over_connections),
      cmocka_unit_test(state_expires),
      cmocka_unit_test(what_does_not_persist_goes),
      cmocka_unit_test(without_the_flag_it_goes_on_empty),
      cmocka_unit_test(a_cut_packet_is_level_2),
      cmocka_unit_test(an_idle_opening_is_aborted),
      cmocka_unit_test(a_graceful_end_removes_the_state),
      cmocka_unit_test(discarding),
      cmocka_unit_test(the_later_stream_takes_the_flow_over),
      cmocka_unit_test(recovering_again_ends_the_connection),
      cmocka_unit_test(the_control_stream_needs_its_header),
      cmocka_unit_test(or_a_connect_at_once),
      cmocka_unit_test(a_cut_packet_on_the_control_stream),
      cmocka_unit_test(datagrams_carry_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
