/* lanes_test.c - simple multistream as the broker serves it, against a bare QUIC connection: which rule holds on which
 * stream, what a broken one takes along, and datagrams. */
#include "speak.h"

/* ---- which packet where ------------------------------------------------------------------------------------------------
 */

static void answers_take_the_stream_of_the_request(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g), b = open_lane(g);
  publish(g, a, "t", 1, 7);
  publish(g, b, "t", 1, 7); /* the same identifier is another's on another stream */
  expect_on(g, a, ROAM_PUBACK, 7);
  expect_on(g, b, ROAM_PUBACK, 7);
  publish(g, b, "t", 2, 8);
  expect_on(g, b, ROAM_PUBREC, 8);
  acknowledge(g, b, ROAM_PUBREL, 8);
  expect_on(g, b, ROAM_PUBCOMP, 8);
  subscribe(g, a, 9, "t", 0);
  expect_on(g, a, ROAM_SUBACK, 9);
  unsubscribe(g, a, 10, "t");
  expect_on(g, a, ROAM_UNSUBACK, 10);
  expect_quiet(g, 0);
  expect_alive(g);
  assert_int_equal(roam_broker_get_stats(g->broker).lanes_opened, 2);
  glue_free(g);
}

static void deliveries_take_the_stream_of_the_subscription(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g), b = open_lane(g);
  subscribe(g, a, 1, "one", 1);
  subscribe(g, b, 1, "two", 1);
  expect_on(g, a, ROAM_SUBACK, 1);
  expect_on(g, b, ROAM_SUBACK, 1);
  publish(g, 0, "one", 1, 1);
  publish(g, 0, "two", 1, 2);
  expect_on(g, a, ROAM_PUBLISH, 1); /* identifiers are each stream's own */
  expect_on(g, b, ROAM_PUBLISH, 1);
  expect_quiet(g, a);
  expect_quiet(g, b);
  acknowledge(g, a, ROAM_PUBACK, 1);
  publish(g, 0, "one", 1, 3);
  publish(g, 0, "two", 1, 4);
  expect_on(g, a, ROAM_PUBLISH, 2);
  expect_on(g, b, ROAM_PUBLISH, 2);
  glue_free(g);
}

static void the_same_filter_on_two_streams_is_two_subscriptions(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g), b = open_lane(g);
  subscribe(g, a, 1, "t/1", 0);
  subscribe(g, a, 2, "t/+", 0); /* overlaps within its stream: one delivery */
  subscribe(g, b, 1, "t/1", 0);
  expect_on(g, a, ROAM_SUBACK, 1);
  expect_on(g, a, ROAM_SUBACK, 2);
  expect_on(g, b, ROAM_SUBACK, 1);
  assert_int_equal(subscriptions(g), 3);
  publish(g, 0, "t/1", 0, 0);
  expect_on(g, a, ROAM_PUBLISH, 0);
  expect_on(g, b, ROAM_PUBLISH, 0);
  expect_quiet(g, a);
  expect_quiet(g, b);
  glue_free(g);
}

static void unsubscribing_elsewhere_finds_nothing(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g), b = open_lane(g);
  subscribe(g, a, 1, "t", 0);
  expect_on(g, a, ROAM_SUBACK, 1);
  const uint32_t elsewhere[] = {b, 0};
  for (int i = 0; i < 2; i++) {
    unsubscribe(g, elsewhere[i], 5, "t");
    const uint8_t *at = roam_conn_peek(g->conn, elsewhere[i]).base;
    assert_int_equal(at[5], ROAM_REASON_NO_SUBSCRIPTION_EXISTED);
    expect_on(g, elsewhere[i], ROAM_UNSUBACK, 5);
    assert_int_equal(subscriptions(g), 1);
  }
  unsubscribe(g, a, 2, "t");
  expect_on(g, a, ROAM_UNSUBACK, 2);
  assert_int_equal(subscriptions(g), 0);
  glue_free(g);
}

static void a_ping_on_a_data_stream_is_a_sign_of_life_only(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g);
  write_packet(g, a, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  expect_quiet(g, a);
  assert_int_equal(g->resets, 0);
  publish_acked(g, a, "t", 1);
  glue_free(g);
}

/* ---- before CONNACK ----------------------------------------------------------------------------------------------------
 */

static void early_streams_wait_for_connack(void **state) {
  (void)state;
  struct glue *g = glue_open(NULL, "mqtt");
  uint32_t a = open_lane(g);
  subscribe(g, a, 1, "t", 1);
  publish(g, a, "t", 1, 2);
  run(g, ROAM_S);
  expect_quiet(g, a);
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, 0);
  glue_greet(g);
  expect_on(g, a, ROAM_SUBACK, 1);
  roam_packet p;
  assert_true(hear(g, a, &p) && hear(g, a, &p)); /* its PUBACK, and the message itself */
  expect_alive(g);
  glue_free(g);
}

static void a_refused_connect_takes_early_streams_along(void **state) {
  (void)state;
  struct glue *g = glue_open(NULL, "mqtt");
  uint32_t a = open_lane(g);
  publish(g, a, "t", 1, 2);
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT, .version = 4, .connect = {.clean_start = false, .client_id = str("")}});
  run(g, ROAM_S);
  assert_true(g->closed);
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, 0);
  glue_free(g);
}

/* NanoMQ opens five at once and begins with whichever has something to say. */
static void five_streams_with_gaps(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t lanes[4];
  for (int i = 0; i < 4; i++) lanes[i] = open_lane(g);
  static const int order[] = {3, 1, 2, 0};
  for (int i = 0; i < 4; i++) {
    publish(g, lanes[order[i]], "t", 1, (uint16_t)(100 * i + 1));
    expect_on(g, lanes[order[i]], ROAM_PUBACK, (uint16_t)(100 * i + 1));
  }
  subscribe(g, lanes[1], 6, "x", 0);
  expect_on(g, lanes[1], ROAM_SUBACK, 6);
  expect_alive(g);
  glue_free(g);
}

/* ---- failures ----------------------------------------------------------------------------------------------------------
 */

static const uint8_t malformed[] = {0x36, 2, 0, 0}, disconnect[] = {0xE0, 0}, reserved[] = {0x00, 0},
                     too_large[] = {0x30, 0xff, 0xff, 0xff, 0x7f, 0}, auth[] = {0xF0, 0},
                     connect[] = {0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 3, 'a', 'b', 'c'};

static void a_broken_stream_harms_itself_alone(void **state) {
  (void)state;
  static const struct {
    const char *name;
    const uint8_t *bytes;
    size_t len;
    uint8_t code;
  } cases[] = {
      {"malformed", malformed, sizeof malformed, ROAM_REASON_MALFORMED_PACKET},
      {"DISCONNECT", disconnect, sizeof disconnect, ROAM_REASON_PROTOCOL_ERROR},
      {"reserved type", reserved, sizeof reserved, ROAM_REASON_MALFORMED_PACKET},
      {"too large", too_large, sizeof too_large, ROAM_REASON_PACKET_TOO_LARGE},
      {"AUTH", auth, sizeof auth, ROAM_REASON_PROTOCOL_ERROR},
      {"CONNECT", connect, sizeof connect, ROAM_REASON_PROTOCOL_ERROR},
  };
  struct glue *g = glue_new();
  uint32_t other = open_lane(g);
  subscribe(g, 0, 1, "will", 0); /* the will is the control stream's */
  expect_on(g, 0, ROAM_SUBACK, 1);
  subscribe(g, other, 1, "t", 0);
  expect_on(g, other, ROAM_SUBACK, 1);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t lane = open_lane(g);
    subscribe(g, lane, 1, "t", 0);
    expect_on(g, lane, ROAM_SUBACK, 1);
    assert_int_equal(subscriptions(g), 3);
    write_raw(g, lane, cases[i].bytes, cases[i].len);
    run(g, ROAM_S);
    if (g->resets != (int)i + 1 || g->reset_code != cases[i].code) print_error("case: %s\n", cases[i].name);
    assert_int_equal(g->resets, i + 1);
    assert_int_equal(g->reset_lane, lane);
    assert_int_equal(g->reset_code, cases[i].code);
    assert_int_equal(subscriptions(g), 2); /* its own have gone with it */
    assert_int_equal(g->counts[ROAM_EV_PEER_LANE_LOST], i + 1);
    assert_int_equal(g->last[ROAM_EV_PEER_LANE_LOST].u.lane.stream, lane);
    publish(g, 0, "t", 0, 0);
    expect_on(g, other, ROAM_PUBLISH, 0);
    expect_alive(g);
  }
  assert_int_equal(roam_broker_get_stats(g->broker).lanes_failed, sizeof cases / sizeof cases[0]);
  glue_free(g);
}

static void an_aborted_stream_takes_its_subscriptions_along(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g);
  subscribe(g, a, 1, "t", 1);
  expect_on(g, a, ROAM_SUBACK, 1);
  publish(g, 0, "t", 0, 0);
  roam_conn_lane_reset(g->conn, g->now, a, 0);
  run(g, ROAM_S);
  assert_int_equal(subscriptions(g), 0);
  expect_alive(g);
  uint32_t b = open_lane(g); /* its place in the session begins anew */
  subscribe(g, b, 1, "t", 1);
  expect_on(g, b, ROAM_SUBACK, 1);
  publish(g, 0, "t", 1, 1);
  expect_on(g, b, ROAM_PUBLISH, 1);
  glue_free(g);
}

/* What it received at QoS 2 is forgotten with it: the same identifier on the next stream is another message. */
static void the_guarantee_ends_with_the_stream(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g);
  publish(g, a, "t", 2, 5);
  expect_on(g, a, ROAM_PUBREC, 5);
  uint64_t before = roam_broker_get_stats(g->broker).messages_in;
  roam_conn_lane_reset(g->conn, g->now, a, 0);
  run(g, ROAM_S);
  uint32_t b = open_lane(g);
  acknowledge(g, b, ROAM_PUBREL, 5);
  expect_on(g, b, ROAM_PUBCOMP, 5);
  publish(g, b, "t", 2, 5);
  expect_on(g, b, ROAM_PUBREC, 5);
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, before + 1);
  expect_alive(g);
  glue_free(g);
}

/* Nothing a data stream had comes back with the session, though it lasts. */
static void nothing_of_a_data_stream_persists(void **state) {
  (void)state;
  static const uint8_t expiry[] = {0x11, 0, 0, 0x0e, 0x10};
  roam_packet hello = {
      .type = ROAM_CONNECT, .version = 5, .props = {expiry, sizeof expiry}, .connect = {.client_id = str("bare")}};
  struct glue *g = glue_open(NULL, "mqtt");
  write_packet(g, 0, &hello);
  expect_on(g, 0, ROAM_CONNACK, 0);
  uint32_t a = open_lane(g);
  subscribe(g, a, 1, "a", 1);
  expect_on(g, a, ROAM_SUBACK, 1);
  subscribe(g, 0, 1, "c", 1);
  expect_on(g, 0, ROAM_SUBACK, 1);
  roam_conn_close(g->conn, g->now, 1, false);
  run(g, ROAM_S);
  roam_conn_release(g->conn);
  g->opened = g->closed = false;
  assert_int_equal(subscriptions(g), 1);
  assert_int_equal(roam_transport_dial(g->quic, g->now, &g->server, NULL, NULL, "localhost", g, &g->conn), 0);
  run(g, ROAM_S);
  write_packet(g, 0, &hello);
  assert_true(expect_on(g, 0, ROAM_CONNACK, 0).session_present);
  glue_free(g);
}

static void nobody_is_pushed_in_the_simple_mode(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g);
  subscribe(g, a, 1, "t", 1);
  expect_on(g, a, ROAM_SUBACK, 1);
  publish_acked(g, 0, "t", 1);
  expect_on(g, a, ROAM_PUBLISH, 1);
  assert_int_equal(g->opened_count, 0); /* the broker opens no stream */
  glue_free(g);
}

static void an_ended_stream_is_read_answered_and_ended(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t a = open_lane(g), b = open_lane(g);
  publish(g, a, "t", 1, 3);
  roam_conn_lane_fin(g->conn, g->now, a);
  run(g, ROAM_S);
  expect_on(g, a, ROAM_PUBACK, 3);
  assert_true(g->fins & UINT64_C(1) << a);
  static const uint8_t part[] = {0x30, 10, 0};
  write_raw(g, b, part, sizeof part);
  roam_conn_lane_fin(g->conn, g->now, b);
  run(g, ROAM_S);
  assert_int_equal(g->reset_lane, b);
  assert_int_equal(g->reset_code, ROAM_REASON_MALFORMED_PACKET);
  expect_alive(g);
  glue_free(g);
}

static void a_thousand_streams_one_after_another(void **state) {
  (void)state;
  struct glue *g = glue_new();
  roam_peer_info info;
  for (int i = 0; i < 1000; i++) {
    uint32_t lane = open_lane(g);
    publish(g, lane, "t", 0, 0);
    roam_conn_lane_fin(g->conn, g->now, lane);
    run(g, 100 * ROAM_MS);
  }
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, 1000);
  assert_int_equal(roam_broker_client(g->broker, "bare", &info), 0);
  assert_int_equal(info.lanes, 0);
  glue_free(g);
}

static void two_lanes(roam_broker_options *o) { o->lanes_max = 2; }
static void no_lanes(roam_broker_options *o) { o->lanes_max = 0; }

static void the_number_of_streams_is_bounded(void **state) {
  (void)state;
  uint32_t lane;
  struct glue *g = glue_open(two_lanes, "mqtt");
  glue_greet(g);
  publish(g, open_lane(g), "t", 0, 0);
  publish(g, open_lane(g), "t", 0, 0);
  assert_int_equal(roam_conn_lane_open(g->conn, g->now, &lane), ROAM_E_LIMIT);
  expect_alive(g);
  glue_free(g);
  g = glue_open(no_lanes, "mqtt");
  glue_greet(g);
  assert_int_equal(roam_conn_lane_open(g->conn, g->now, &lane), ROAM_E_LIMIT);
  expect_alive(g);
  glue_free(g);
}

/* ---- back-pressure -----------------------------------------------------------------------------------------------------
 */

static void short_queue(roam_broker_options *o) {
  o->queue_bytes_max = 400000;
  o->queue_messages_max = 400;
}

static void publish_large(struct glue *g, const char *topic, uint8_t qos) {
  static uint8_t payload[2000];
  roam_packet p = {.type = ROAM_PUBLISH, .version = 5, .topic = str(topic), .payload = {payload, sizeof payload}};
  uint8_t bytes[2100];
  size_t len;
  p.qos = qos;
  p.packet_id = qos > 0 ? 1 : 0;
  assert_int_equal(roam_packet_write(&p, bytes, sizeof bytes, &len), 0);
  write_raw(g, 0, bytes, len);
  if (qos > 0) expect_on(g, 0, ROAM_PUBACK, 1);
}

/* A subscriber that does not read one stream: the other goes on, and when the queue is full it is that stream that goes. */
static void a_slow_stream_stalls_no_other(void **state) {
  (void)state;
  struct glue *g = glue_open(short_queue, "mqtt");
  glue_greet(g);
  uint32_t slow = open_lane(g), quick = open_lane(g);
  subscribe(g, slow, 1, "slow", 1);
  subscribe(g, quick, 1, "quick", 0);
  expect_on(g, slow, ROAM_SUBACK, 1);
  expect_on(g, quick, ROAM_SUBACK, 1);
  int sent = 0;
  while (g->resets == 0 && sent < 2000) { /* nothing of "slow" is read here, nor acknowledged */
    publish_large(g, "slow", 1);
    publish_large(g, "quick", 0);
    expect_on(g, quick, ROAM_PUBLISH, 0);
    sent++;
  }
  assert_int_equal(g->resets, 1);
  assert_true(sent > 200); /* windows and queue have been used */
  assert_int_equal(g->reset_lane, slow);
  assert_int_equal(g->reset_code, ROAM_REASON_QUOTA_EXCEEDED);
  assert_int_equal(roam_broker_get_stats(g->broker).sessions_overflowed, 0);
  expect_alive(g);
  publish_large(g, "quick", 0);
  expect_on(g, quick, ROAM_PUBLISH, 0);
  glue_free(g);
}

/* ---- datagrams ---------------------------------------------------------------------------------------------------------
 */

static void write_datagram(struct glue *g, const void *bytes, size_t len) {
  assert_int_equal(roam_conn_datagram_write(g->conn, g->now, (roam_bytes){bytes, len}), 0);
  run(g, 100 * ROAM_MS);
}

static void datagrams_carry_qos_0_and_nothing_else(void **state) {
  (void)state;
  struct glue *g = glue_new();
  subscribe(g, 0, 1, "t", 0);
  expect_on(g, 0, ROAM_SUBACK, 1);
  static const uint8_t message[] = {0x30, 5, 0, 1, 't', 0, 'x'}, qos1[] = {0x32, 7, 0, 1, 't', 0, 9, 0, 'x'},
                       ping[] = {0xC0, 0}, other[] = {0, 1, 2}, cut[] = {0x30, 5, 0, 1, 't'},
                       alias[] = {0x30, 8, 0, 1, 't', 3, 0x23, 0, 1, 'x'}, two[] = {0x30, 4, 0, 1, 't', 0, 0xC0, 0};
  write_datagram(g, message, sizeof message);
  expect_on(g, 0, ROAM_PUBLISH, 0);
  const struct {
    const uint8_t *bytes;
    size_t len;
  } ignored[] = {{qos1, sizeof qos1},   {ping, sizeof ping}, {disconnect, sizeof disconnect}, {connect, sizeof connect},
                 {other, sizeof other}, {cut, sizeof cut},   {alias, sizeof alias},           {two, sizeof two}};
  for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
    write_datagram(g, ignored[i].bytes, ignored[i].len);
    expect_quiet(g, 0);
    assert_int_equal(roam_broker_get_stats(g->broker).datagrams_ignored, i + 1);
  }
  assert_int_equal(roam_broker_get_stats(g->broker).datagrams_in, 1);
  assert_int_equal(roam_conn_datagram_write(g->conn, g->now, (roam_bytes){0}), ROAM_E_ARGUMENT);
  expect_alive(g);
  glue_free(g);
}

static void early_datagrams_wait_too(void **state) {
  (void)state;
  static const uint8_t message[] = {0x30, 5, 0, 1, 't', 0, 'x'};
  struct glue *g = glue_open(NULL, "mqtt");
  write_datagram(g, message, sizeof message);
  assert_int_equal(roam_broker_get_stats(g->broker).datagrams_in, 0);
  glue_greet(g);
  assert_int_equal(roam_broker_get_stats(g->broker).datagrams_in, 1);
  glue_free(g);
}

static void no_datagrams(roam_broker_options *o) { o->datagrams_max = 0; }

static void datagrams_are_negotiated_and_bounded_in_size(void **state) {
  (void)state;
  static const uint8_t big[9000];
  struct glue *g = glue_open(no_datagrams, "mqtt");
  assert_int_equal(roam_conn_datagram_room(g->conn), 0);
  assert_int_equal(roam_conn_datagram_write(g->conn, g->now, (roam_bytes){big, 10}), ROAM_E_UNSUPPORTED);
  glue_free(g);
  g = glue_new();
  size_t room = roam_conn_datagram_room(g->conn);
  assert_true(room > 1100 && room < 8952);
  assert_int_equal(roam_conn_datagram_write(g->conn, g->now, (roam_bytes){big, room + 1}), ROAM_E_TOO_LARGE);
  write_datagram(g, big, room); /* the largest there is does fit a packet */
  assert_int_equal(roam_broker_get_stats(g->broker).datagrams_ignored, 1);
  int taken = 0;
  while (taken < 1000 && roam_conn_datagram_write(g->conn, g->now, (roam_bytes){big, 100}) == 0) taken++;
  assert_int_equal(taken, 64);
  glue_free(g);
}

static void with_little_memory(roam_broker_options *o) {
  o->maximum_packet_size = 65536;
  o->client_memory_max = 2 * 65536 + 262144;
}

/* A packet that is not whole on each of many streams: within the window of each, and too much together. */
static void packets_cut_in_the_middle_are_bounded(void **state) {
  (void)state;
  static uint8_t part[60000] = {0x30, 0xe8, 0xfb, 0x03, 0, 1, 't'}; /* of 65000 bytes */
  struct glue *g = glue_open(with_little_memory, "mqtt");
  glue_greet(g);
  for (int i = 0; i < 8 && !g->closed; i++) {
    uint32_t lane = open_lane(g);
    write_raw(g, lane, part, sizeof part);
    assert_in_range(roam_broker_get_stats(g->broker).memory_bytes, 0, 393216 + 131072);
  }
  run(g, 5 * ROAM_S);
  assert_true(g->closed);
  expect(g, ROAM_DISCONNECT);
  assert_int_equal(g->reason, ROAM_REASON_QUOTA_EXCEEDED);
  assert_int_equal(roam_broker_get_stats(g->broker).memory_limited, 1);
  assert_int_equal(roam_broker_get_stats(g->broker).memory_bytes, 0);
  glue_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_take_the_stream_of_the_request),
      cmocka_unit_test(deliveries_take_the_stream_of_the_subscription),
      cmocka_unit_test(the_same_filter_on_two_streams_is_two_subscriptions),
      cmocka_unit_test(unsubscribing_elsewhere_finds_nothing),
      cmocka_unit_test(a_ping_on_a_data_stream_is_a_sign_of_life_only),
      cmocka_unit_test(early_streams_wait_for_connack),
      cmocka_unit_test(a_refused_connect_takes_early_streams_along),
      cmocka_unit_test(five_streams_with_gaps),
      cmocka_unit_test(a_broken_stream_harms_itself_alone),
      cmocka_unit_test(an_aborted_stream_takes_its_subscriptions_along),
      cmocka_unit_test(the_guarantee_ends_with_the_stream),
      cmocka_unit_test(nothing_of_a_data_stream_persists),
      cmocka_unit_test(nobody_is_pushed_in_the_simple_mode),
      cmocka_unit_test(an_ended_stream_is_read_answered_and_ended),
      cmocka_unit_test(a_thousand_streams_one_after_another),
      cmocka_unit_test(the_number_of_streams_is_bounded),
      cmocka_unit_test(a_slow_stream_stalls_no_other),
      cmocka_unit_test(datagrams_carry_qos_0_and_nothing_else),
      cmocka_unit_test(early_datagrams_wait_too),
      cmocka_unit_test(datagrams_are_negotiated_and_bounded_in_size),
      cmocka_unit_test(packets_cut_in_the_middle_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
