/* lanes_test.c - simple multistream as our client speaks it (ALPN "mqtt"), against a bare QUIC server: what goes first and
 * where, what a lost stream means for each quality of service, and what the application is told of it. */
#include "bare_server.h"

static void plain(roam_client_options *o) { o->flows = false; }

static void per_topic(roam_client_options *o) {
  o->flows = false;
  o->lanes = ROAM_LANES_PER_TOPIC;
}

static struct bare *begin(void (*change)(roam_client_options *o)) { return bare_new(change, "mqtt"); }

static uint64_t publish(struct bare *b, const char *topic, uint8_t qos, uint32_t lane) {
  uint64_t token;
  roam_client_message m = {.topic = text(topic), .payload = text("x"), .qos = qos, .lane = lane};
  assert_int_equal(roam_client_publish(b->client, b->g->now, &m, &token), 0);
  run(b, 200 * ROAM_MS);
  return token;
}

static void subscribe(struct bare *b, const char *filter, uint32_t lane) {
  roam_filter f = {.filter = text(filter), .qos = 2};
  roam_client_subscribe_how how = {.lane = lane};
  assert_int_equal(roam_client_subscribe_how_to(b->client, b->g->now, &f, 1, &how, NULL), 0);
  run(b, 200 * ROAM_MS);
}

static void grant(struct bare *b, uint32_t lane, uint16_t id) {
  static const uint8_t code = 2;
  say_packet(b, lane, &(roam_packet){.type = ROAM_SUBACK, .version = 5, .packet_id = id, .codes = {&code, 1}});
}

static void lose(struct bare *b, uint32_t lane) {
  roam_conn_lane_reset(b->server->conn, b->g->now, lane, 0);
  run(b, 200 * ROAM_MS);
}

/* greet() has read CONNECT from stream 0 and nothing before it. */
static void connect_comes_first(void **state) {
  (void)state;
  struct bare *b = begin(per_topic);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_OPENED, NULL), 0);
  publish(b, "a", 1, 0);
  publish(b, "b", 0, 0);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_OPENED, NULL), 2);
  for (size_t i = 0; i < b->server->log_count; i++)
    if (b->server->log[i].kind == ROAM_TE_LANE_OPENED) assert_true(b->server->log[i].lane < 3); /* bidirectional, ours */
  bare_free(b);
}

static void each_stream_has_its_own_identifiers(void **state) {
  (void)state;
  struct bare *b = begin(per_topic);
  subscribe(b, "a", 1);
  subscribe(b, "b", 2);
  expect(b, 1, ROAM_SUBSCRIBE, 1);
  expect(b, 2, ROAM_SUBSCRIBE, 1);
  grant(b, 1, 1);
  grant(b, 2, 1);
  assert_int_equal(b->subscribed, 2);
  for (uint32_t lane = 0; lane < 3; lane++) { /* the same identifier under way on three streams */
    say_message(b, lane, "x", 2, 1, false);
    expect(b, lane, ROAM_PUBREC, 1);
  }
  for (uint32_t lane = 3; lane-- > 0;) {
    say_ack(b, lane, ROAM_PUBREL, 1);
    expect(b, lane, ROAM_PUBCOMP, 1);
  }
  assert_int_equal(b->messages, 3);
  bare_free(b);
}

static void unsubscribe_goes_where_the_subscription_is(void **state) {
  (void)state;
  struct bare *b = begin(plain);
  subscribe(b, "a", 7);
  expect(b, 1, ROAM_SUBSCRIBE, 1);
  grant(b, 1, 1);
  roam_filter f = {.filter = text("a")};
  assert_int_equal(roam_client_unsubscribe(b->client, b->g->now, &f, 1, NULL), 0);
  run(b, 200 * ROAM_MS);
  expect(b, 1, ROAM_UNSUBSCRIBE, 2);
  bare_free(b);
}

/* QoS 1 and requests go again on the next stream; QoS 2 that may have arrived is the application's to judge. */
static void a_lost_stream_is_told_with_what_it_leaves_unsettled(void **state) {
  (void)state;
  struct bare *b = begin(plain);
  subscribe(b, "a", 7);
  expect(b, 1, ROAM_SUBSCRIBE, 1);
  grant(b, 1, 1);
  publish(b, "t", 1, 7);
  uint64_t second = publish(b, "t", 2, 7);
  publish(b, "t", 2, 7);
  expect(b, 1, ROAM_PUBLISH, 2);
  expect(b, 1, ROAM_PUBLISH, 3);
  expect(b, 1, ROAM_PUBLISH, 4);
  say_ack(b, 1, ROAM_PUBREC, 4);
  expect(b, 1, ROAM_PUBREL, 4); /* that one has arrived */
  lose(b, 1);
  assert_int_equal(b->lost_len, 1);
  assert_int_equal(b->lost[0].unsettled, 1);
  assert_int_equal(b->unsettled, 1);
  assert_true(b->unsettled_token == second);
  assert_int_equal(b->published, 1);
  roam_packet p;
  int publishes = 0, subscribes = 0;
  while (hear(b, 2, &p)) {
    publishes += p.type == ROAM_PUBLISH && p.qos == 1;
    subscribes += p.type == ROAM_SUBSCRIBE;
    assert_false(p.type == ROAM_PUBLISH && p.qos == 2);
  }
  assert_int_equal(publishes, 1);
  assert_int_equal(subscribes, 1);
  expect_alive(b);
  bare_free(b);
}

static void a_lost_connection_leaves_it_unsettled_too(void **state) {
  (void)state;
  struct bare *b = begin(plain);
  uint64_t on_lane = publish(b, "t", 2, 7);
  publish(b, "t", 2, 0); /* on the control stream, whose session lasts */
  expect(b, 1, ROAM_PUBLISH, 1);
  expect(b, 0, ROAM_PUBLISH, 1);
  b->session_present = true;
  bare_reconnect(b, 0);
  run(b, ROAM_S);
  assert_int_equal(b->unsettled, 1);
  assert_true(b->unsettled_token == on_lane);
  roam_packet again = expect(b, 0, ROAM_PUBLISH, 1);
  assert_true(again.dup && again.qos == 2);
  bare_free(b);
}

static void what_must_last_takes_the_control_stream(void **state) {
  (void)state;
  struct bare *b = begin(per_topic); /* with a session that outlives its connection */
  subscribe(b, "a", 0);
  expect(b, 0, ROAM_SUBSCRIBE, 1);
  publish(b, "t", 2, 0);
  expect(b, 0, ROAM_PUBLISH, 2);
  publish(b, "t", 1, 0);
  expect(b, 1, ROAM_PUBLISH, 1);
  bare_free(b);
}

/* Three streams in a row that do not live: the server has none for us. */
static void streams_that_do_not_live_are_merged(void **state) {
  (void)state;
  struct bare *b = begin(plain);
  publish(b, "t", 1, 7);
  for (uint32_t lane = 1; lane <= 3; lane++) lose(b, lane);
  expect(b, 0, ROAM_PUBLISH, 1);
  assert_int_equal(side_count(b->server, ROAM_TE_LANE_OPENED, NULL), 3);
  bare_free(b);
}

static void a_stream_that_the_server_ends_is_another_next_time(void **state) {
  (void)state;
  struct bare *b = begin(plain);
  publish(b, "t", 0, 7);
  expect(b, 1, ROAM_PUBLISH, 0);
  roam_conn_lane_fin(b->server->conn, b->g->now, 1);
  run(b, ROAM_S);
  publish(b, "t", 0, 7);
  expect(b, 2, ROAM_PUBLISH, 0);
  expect_alive(b);
  bare_free(b);
}

/* What comes in one flight with the end of its stream is delivered; so is what comes before an abort. */
static void a_last_word_is_heard(void **state) {
  (void)state;
  for (int way = 0; way < 2; way++) {
    struct bare *b = begin(plain);
    uint8_t bytes[64];
    size_t len;
    roam_packet p = {.type = ROAM_PUBLISH, .version = 5, .topic = text("t"), .payload = text("last")};
    assert_int_equal(roam_packet_write(&p, bytes, sizeof bytes, &len), 0);
    publish(b, "t", 0, 7);
    expect(b, 1, ROAM_PUBLISH, 0);
    roam_slice slice = {bytes, len, NULL};
    assert_int_equal(roam_conn_write(b->server->conn, b->g->now, 1, &slice, 1), 0);
    if (way == 0) roam_conn_lane_fin(b->server->conn, b->g->now, 1);
    else say_message(b, 0, "other", 0, 0, false);
    if (way == 1) roam_conn_lane_reset(b->server->conn, b->g->now, 1, 0);
    run(b, ROAM_S);
    assert_string_equal(b->payload, "last");
    bare_free(b);
  }
}

static void the_end_of_the_control_stream_is_the_connections(void **state) {
  (void)state;
  struct bare *b = begin(plain);
  publish(b, "t", 1, 7);
  roam_conn_lane_reset(b->server->conn, b->g->now, 0, 0x8e);
  run(b, 200 * ROAM_MS);
  assert_int_equal(roam_client_error(b->client).reason, 0x8e);
  assert_int_equal(side_count(b->server, ROAM_TE_CLOSED, NULL), 1);
  bare_free(b);
}

/* DISCONNECT, FIN on the control stream, then the close with code 0; what comes after DISCONNECT is ignored. */
static void closing(void **state) {
  (void)state;
  for (int mode = 0; mode < 2; mode++) {
    struct bare *b = bare_new(mode ? NULL : plain, mode ? "MQTT-next" : "mqtt");
    roam_conn *conn = b->server->conn;
    roam_client_close(b->client, b->g->now, 0);
    for (int i = 0; i < 100 && roam_conn_peek(conn, 0).len == 0; i++) glue_run(b->g, ROAM_MS);
    expect(b, 0, ROAM_DISCONNECT, 0);
    int before = b->messages;
    roam_slice late = {(const uint8_t *)"\x30\x04\0\1t\0", 6, NULL};
    (void)roam_conn_write(conn, b->g->now, 0, &late, 1);
    run(b, 5 * ROAM_S);
    const roam_te *fin = side_last(b->server, ROAM_TE_LANE_FIN), *closed = side_last(b->server, ROAM_TE_CLOSED);
    assert_non_null(fin);
    assert_int_equal(fin->lane, 0);
    assert_non_null(closed);
    assert_int_equal(closed->code, 0);
    assert_true(fin < closed);
    assert_int_equal(b->messages, before);
    assert_int_equal(roam_client_get_state(b->client), ROAM_CLIENT_CLOSED);
    bare_free(b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connect_comes_first),
      cmocka_unit_test(each_stream_has_its_own_identifiers),
      cmocka_unit_test(unsubscribe_goes_where_the_subscription_is),
      cmocka_unit_test(a_lost_stream_is_told_with_what_it_leaves_unsettled),
      cmocka_unit_test(a_lost_connection_leaves_it_unsettled_too),
      cmocka_unit_test(what_must_last_takes_the_control_stream),
      cmocka_unit_test(streams_that_do_not_live_are_merged),
      cmocka_unit_test(a_stream_that_the_server_ends_is_another_next_time),
      cmocka_unit_test(a_last_word_is_heard),
      cmocka_unit_test(the_end_of_the_control_stream_is_the_connections),
      cmocka_unit_test(closing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
