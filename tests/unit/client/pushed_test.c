/* pushed_test.c - server data flows as our client takes them, against a bare QUIC server: headers, recovery, take-over,
 * expiry, ends, and each error with its level and code. */
#include "bare_server.h"

#define KEEP ROAM_FLOW_PERSISTENT_QOS
#define RECOVER (KEEP | ROAM_FLOW_ABORT_IF_NO_STATE)

static struct bare *begin(void) { return bare_new(NULL, "mqtt MQTT-next"); }

static uint32_t flow(struct bare *b, uint64_t id, uint8_t flags) {
  return open_server_flow(b, ROAM_FLOW_SERVER, id, 60, flags);
}

static void messages_come_on_server_flows(void **state) {
  (void)state;
  struct bare *b = begin();
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN), c = flow(b, 3, KEEP | ROAM_FLOW_CLEAN);
  say_message(b, a, "one", 1, 1, false);
  assert_string_equal(b->payload, "one");
  uint32_t first = b->lane;
  say_message(b, c, "two", 2, 1, false); /* identifiers are each flow's own */
  assert_string_equal(b->payload, "two");
  assert_true(first != 0 && b->lane != 0 && b->lane != first);
  expect(b, a, ROAM_PUBACK, 1); /* answers on the flow that carried it */
  expect(b, c, ROAM_PUBREC, 1);
  say_ack(b, c, ROAM_PUBREL, 1);
  expect(b, c, ROAM_PUBCOMP, 1);
  say_packet(b, a, &(roam_packet){.type = ROAM_PUBLISH, .version = 5, .topic = text("t"), .payload = text("three")});
  assert_int_equal(b->messages, 3);
  assert_int_equal(roam_client_get_stats(b->client).server_flows, 2);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_RESET, NULL), 0);
  bare_free(b);
}

static void a_header_may_come_in_pieces(void **state) {
  (void)state;
  struct bare *b = begin();
  uint32_t lane;
  static const uint8_t header[] = {0x13, 0x40, 0x03, 0x80, 0, 0, 60, 0x91, 3, 1, 2, 3, 0}; /* with an optional header */
  assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &lane), 0);
  for (size_t i = 0; i < sizeof header; i++) say(b, lane, &header[i], 1);
  say_message(b, lane, "one", 1, 1, false);
  expect(b, lane, ROAM_PUBACK, 1);
  bare_free(b);
}

static void bad_headers(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint64_t type, id;
    uint8_t flags;
    uint64_t code;
  } cases[] = {
      {"clean and to be recovered", ROAM_FLOW_SERVER, 1, ROAM_FLOW_CLEAN | ROAM_FLOW_ABORT_IF_NO_STATE, ROAM_FLOW_REFUSED},
      {"a client's flow", ROAM_FLOW_CLIENT, 2, ROAM_FLOW_CLEAN, ROAM_FLOW_STREAM_TYPE},
      {"user-defined", ROAM_FLOW_USER, 1, 0, ROAM_FLOW_REFUSED},
      {"no type of ours", 0x30, 1, 0, ROAM_FLOW_STREAM_TYPE},
      {"grease", 0x21, 0, 0, ROAM_FLOW_NO_ERROR},
      {"even number", ROAM_FLOW_SERVER, 2, ROAM_FLOW_CLEAN, ROAM_FLOW_BAD_ID},
      {"persistent subscriptions", ROAM_FLOW_SERVER, 1, ROAM_FLOW_CLEAN | ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS,
       ROAM_FLOW_SUBSCRIPTIONS_REFUSED},
      {"no state", ROAM_FLOW_SERVER, 1, RECOVER, ROAM_FLOW_NO_STATE},
  };
  struct bare *b = begin();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t lane = open_server_flow(b, cases[i].type, cases[i].id, 60, cases[i].flags);
    run(b, 100 * ROAM_MS);
    const roam_te *te = side_last(b->server, ROAM_TE_LANE_RESET);
    if (!te || te->lane != lane || te->code != cases[i].code) fail_msg("case: %s", cases[i].name);
    expect_alive(b);
  }
  bare_free(b);
}

static void a_control_flow_is_the_clients(void **state) {
  (void)state;
  struct bare *b = begin();
  open_server_flow(b, ROAM_FLOW_CONTROL, 0, 0, 0);
  expect_closed(b, ROAM_FLOWS_PROTOCOL); /* level 0 */
  bare_free(b);
}

static void recovering_again_ends_the_connection(void **state) {
  (void)state;
  struct bare *b = begin();
  for (int i = 0; i < 2; i++) flow(b, 1 + 2 * (uint64_t)i, RECOVER); /* each flow may try once */
  expect_alive(b);
  flow(b, 1, RECOVER);
  expect_closed(b, ROAM_FLOWS_TOO_MANY_RECOVERIES);
  bare_free(b);
}

static void an_idle_opening_is_aborted(void **state) {
  (void)state;
  struct bare *b = begin();
  static const uint8_t half[] = {0x13, 0x40};
  uint32_t lane;
  assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &lane), 0);
  say(b, lane, half, sizeof half);
  run(b, 9 * ROAM_S);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_RESET, NULL), 0);
  run(b, 2 * ROAM_S);
  expect_reset(b, lane, ROAM_FLOW_OPEN_IDLE);
  expect_alive(b);
  bare_free(b);
}

static void recovery_knows_what_was_received(void **state) {
  (void)state;
  struct bare *b = begin();
  for (int way = 0; way < 2; way++) {
    int before = b->messages;
    uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN);
    say_message(b, a, "once", 2, 9, false);
    expect(b, a, ROAM_PUBREC, 9);
    if (way == 0) {
      roam_conn_lane_reset(b->server->conn, b->g->now, a, ROAM_FLOW_NO_ERROR);
      run(b, ROAM_S);
    } else { /* over connections */
      b->session_present = true;
      bare_reconnect(b, ROAM_S);
    }
    uint32_t c = flow(b, 1, RECOVER);
    say_message(b, c, "once", 2, 9, true);
    expect(b, c, ROAM_PUBREC, 9);
    say_ack(b, c, ROAM_PUBREL, 9);
    expect(b, c, ROAM_PUBCOMP, 9);
    assert_int_equal(b->messages, before + 1);
    assert_int_equal(b->lost[0].flow, 1);
  }
  bare_free(b);
}

static void a_new_session_has_no_flows(void **state) {
  (void)state;
  struct bare *b = begin();
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN);
  say_message(b, a, "once", 2, 9, false);
  expect(b, a, ROAM_PUBREC, 9);
  bare_reconnect(b, 0);
  a = flow(b, 1, RECOVER);
  expect_reset(b, a, ROAM_FLOW_NO_STATE);
  bare_free(b);
}

static void state_expires(void **state) {
  (void)state;
  for (int late = 0; late < 2; late++) {
    struct bare *b = begin();
    uint32_t a = open_server_flow(b, ROAM_FLOW_SERVER, 1, 10, KEEP | ROAM_FLOW_CLEAN);
    run(b, 30 * ROAM_S); /* not while a stream carries it */
    roam_conn_lane_reset(b->server->conn, b->g->now, a, ROAM_FLOW_NO_ERROR);
    run(b, (late ? 11 : 9) * ROAM_S);
    a = flow(b, 1, RECOVER);
    run(b, ROAM_S);
    assert_int_equal(side_count(b->server, ROAM_TE_LANE_RESET, NULL), late);
    bare_free(b);
  }
}

static void what_does_not_persist_goes(void **state) {
  (void)state;
  static const struct {
    uint8_t flags;
    uint64_t code;
  } cases[] = {{0, ROAM_FLOW_NO_ERROR}, {KEEP, ROAM_FLOW_CANCELLED}, {KEEP, ROAM_FLOW_DISCARD}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct bare *b = begin();
    uint32_t a = flow(b, 1, cases[i].flags | ROAM_FLOW_CLEAN);
    roam_conn_lane_reset(b->server->conn, b->g->now, a, cases[i].code);
    run(b, ROAM_S);
    a = flow(b, 1, cases[i].flags | ROAM_FLOW_ABORT_IF_NO_STATE);
    expect_reset(b, a, ROAM_FLOW_NO_STATE);
    bare_free(b);
  }
}

static void without_the_flag_it_goes_on_empty(void **state) {
  (void)state;
  struct bare *b = begin();
  uint32_t a = flow(b, 1, KEEP);
  say_message(b, a, "one", 1, 1, false);
  expect(b, a, ROAM_PUBACK, 1);
  bare_free(b);
}

/* ---- ends ---- */

static void a_graceful_end_is_answered(void **state) {
  (void)state;
  struct bare *b = begin();
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN);
  b->keep = true; /* the application takes its time */
  say_message(b, a, "one", 1, 1, false);
  roam_conn_lane_fin(b->server->conn, b->g->now, a);
  run(b, ROAM_S);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_FIN, NULL), 0);
  b->keep = false;
  run(b, ROAM_S);
  expect(b, a, ROAM_PUBACK, 1);
  assert_int_equal(side_last(b->server, ROAM_TE_LANE_FIN)->lane, a);
  assert_int_equal(roam_client_get_stats(b->client).server_flows, 0);
  a = flow(b, 1, RECOVER); /* its state went with it */
  expect_reset(b, a, ROAM_FLOW_NO_STATE);
  bare_free(b);
}

static void discarding(void **state) {
  (void)state;
  struct bare *b = begin();
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN), c;
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  struct roam_flow_header h = {.type = ROAM_FLOW_SERVER, .id = 1, .flags = ROAM_FLOW_CLEAN};
  roam_conn_lane_reset(b->server->conn, b->g->now, a, ROAM_FLOW_NO_ERROR);
  run(b, ROAM_S);
  assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &c), 0);
  roam_slice slice = {bytes, roam_flow_write(&h, bytes), NULL};
  assert_int_equal(roam_conn_write(b->server->conn, b->g->now, c, &slice, 1), 0);
  roam_conn_lane_fin(b->server->conn, b->g->now, c);
  run(b, ROAM_S);
  assert_int_equal(side_last(b->server, ROAM_TE_LANE_FIN)->lane, c);
  a = flow(b, 1, RECOVER);
  expect_reset(b, a, ROAM_FLOW_NO_STATE);
  bare_free(b);
}

static void a_cut_packet_is_level_2(void **state) {
  (void)state;
  struct bare *b = begin();
  static const uint8_t part[] = {0x30, 10, 0};
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN);
  say(b, a, part, sizeof part);
  roam_conn_lane_fin(b->server->conn, b->g->now, a);
  run(b, ROAM_S);
  expect_reset(b, a, ROAM_FLOW_INCOMPLETE_PACKET);
  assert_int_equal(b->lost[0].code, ROAM_FLOW_INCOMPLETE_PACKET);
  size_t resets = side_count(b->server, ROAM_TE_LANE_RESET, NULL);
  flow(b, 1, RECOVER);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_RESET, NULL), resets);
  bare_free(b);
}

static void the_later_stream_takes_the_flow_over(void **state) {
  (void)state;
  struct bare *b = begin();
  static const uint8_t part[] = {0x30, 10, 0};
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN), older, later;
  b->keep = true; /* what came on the older is polled first */
  say_message(b, a, "one", 1, 1, false);
  say(b, a, part, sizeof part); /* dropped */
  uint32_t c = flow(b, 1, RECOVER);
  run(b, ROAM_S);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_RESET, NULL), 0);
  b->keep = false;
  run(b, ROAM_S);
  expect_reset(b, a, ROAM_FLOW_NO_ERROR);
  say_message(b, c, "two", 1, 2, false);
  assert_string_equal(b->payload, "two");
  assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &older), 0);
  assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &later), 0);
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  struct roam_flow_header h = {.type = ROAM_FLOW_SERVER, .id = 1, .expire_s = 60, .flags = KEEP};
  size_t len = roam_flow_write(&h, bytes);
  say(b, later, bytes, len);
  say(b, older, bytes, len); /* comes later, and loses all the same */
  expect_reset(b, older, ROAM_FLOW_NO_ERROR);
  say_message(b, later, "three", 1, 3, false);
  expect(b, later, ROAM_PUBACK, 3);
  expect_alive(b);
  bare_free(b);
}

/* ---- what may travel, and how many ---- */

static void nobody_subscribes_there(void **state) {
  (void)state;
  static const roam_packet packets[] = {
      {.type = ROAM_SUBACK, .version = 5, .packet_id = 1, .codes = {(const uint8_t *)"", 1}},
      {.type = ROAM_UNSUBACK, .version = 5, .packet_id = 1, .codes = {(const uint8_t *)"", 1}},
      {.type = ROAM_DISCONNECT, .version = 5},
      {.type = ROAM_CONNACK, .version = 5}};
  struct bare *b = begin();
  for (size_t i = 0; i < sizeof packets / sizeof packets[0]; i++) {
    uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN);
    say_packet(b, a, &packets[i]);
    expect_reset(b, a, ROAM_FLOW_CANCELLED);
    expect_alive(b);
  }
  bare_free(b);
}

static void three(roam_client_options *o) { o->server_flows_max = 3; }
static void none(roam_client_options *o) { o->server_flows_max = 0; }
static void crowded(roam_client_options *o) { o->lanes_max = 63; }

static void as_many_as_are_welcome(void **state) {
  (void)state;
  static void (*const changes[])(roam_client_options *) = {three, none, crowded};
  for (size_t i = 0; i < 3; i++) {
    struct bare *b = bare_new(changes[i], "MQTT-next");
    uint32_t lane;
    for (uint32_t n = 0; n < (i == 0 ? 3 : 0); n++) flow(b, 2 * n + 1, KEEP | ROAM_FLOW_CLEAN);
    assert_int_equal(roam_conn_lane_open(b->server->conn, b->g->now, &lane), ROAM_E_LIMIT);
    if (i == 0) { /* states without a stream count, too */
      roam_conn_lane_reset(b->server->conn, b->g->now, ROAM_LANE_OF_SERVER, ROAM_FLOW_NO_ERROR);
      run(b, ROAM_S);
      lane = flow(b, 7, KEEP | ROAM_FLOW_CLEAN);
      expect_reset(b, lane, ROAM_FLOW_REFUSED);
      lane = flow(b, 1, RECOVER);
      say_message(b, lane, "one", 1, 1, false);
      expect(b, lane, ROAM_PUBACK, 1);
    }
    bare_free(b);
  }
}

/* In the simple mode nobody but the client opens streams. */
static void not_in_the_simple_mode(void **state) {
  (void)state;
  struct bare *b = bare_new(NULL, "mqtt");
  uint32_t a = flow(b, 1, KEEP | ROAM_FLOW_CLEAN);
  expect_reset(b, a, ROAM_REASON_PROTOCOL_ERROR);
  expect_alive(b);
  bare_free(b);
}

static void ours_are_ours_to_end(void **state) {
  (void)state;
  struct bare *b = begin();
  roam_client_message m = {.topic = text("x"), .payload = text("y"), .qos = 1, .lane = 1};
  struct roam_flow_header h;
  size_t used;
  assert_int_equal(roam_client_publish(b->client, b->g->now, &m, NULL), 0);
  run(b, ROAM_S);
  assert_int_equal(roam_flow_read(roam_conn_peek(b->server->conn, 1), &h, &used), 1);
  assert_int_equal(h.type, ROAM_FLOW_CLIENT);
  assert_int_equal(h.id, 2);
  assert_int_equal(h.expire_s, 300);
  assert_int_equal(h.flags, KEEP | ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS | ROAM_FLOW_CLEAN);
  roam_conn_lane_fin(b->server->conn, b->g->now, 1);
  expect_closed(b, ROAM_FLOWS_PROTOCOL);
  bare_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_come_on_server_flows),
      cmocka_unit_test(a_header_may_come_in_pieces),
      cmocka_unit_test(bad_headers),
      cmocka_unit_test(a_control_flow_is_the_clients),
      cmocka_unit_test(recovering_again_ends_the_connection),
      cmocka_unit_test(an_idle_opening_is_aborted),
      cmocka_unit_test(recovery_knows_what_was_received),
      cmocka_unit_test(a_new_session_has_no_flows),
      cmocka_unit_test(state_expires),
      cmocka_unit_test(what_does_not_persist_goes),
      cmocka_unit_test(without_the_flag_it_goes_on_empty),
      cmocka_unit_test(a_graceful_end_is_answered),
      cmocka_unit_test(discarding),
      cmocka_unit_test(a_cut_packet_is_level_2),
      cmocka_unit_test(the_later_stream_takes_the_flow_over),
      cmocka_unit_test(nobody_subscribes_there),
      cmocka_unit_test(as_many_as_are_welcome),
      cmocka_unit_test(not_in_the_simple_mode),
      cmocka_unit_test(ours_are_ours_to_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
