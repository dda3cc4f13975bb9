/* lane_test.c - the lanes of a session: what becomes of what was in flight when a stream ends, by each way of ending; a
 * lane for single messages; datagrams. */
#include "pair.h"

/* A client that is up, with a window of 2: on lane 2 QoS 1 and 2 have been sent, and one more of QoS 1 waits behind. */
static void begin(struct pair *p) {
  roam_session_options client, server;
  roam_slice out[8];
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  client.send_window_max = 2;
  pair_init(p, &client, &server);
  pair_connect(p, false);
  pair_pump(p);
  for (uint8_t i = 1; i <= 3; i++) {
    roam_message m;
    roam_bytes topic = {(const uint8_t *)"t", 1}, payload = {&i, 1};
    assert_int_equal(roam_message_make(&m, p->now, topic, (roam_bytes){0}, payload, i == 2 ? 2 : 1, false), 0);
    roam_publish_how how = {.qos = m.qos, .lane = 2};
    assert_int_equal(roam_session_publish(p->client.session, p->now, &m, &how, i), 0);
    roam_blob_unref(m.blob);
  }
  assert_true(roam_session_drain(p->client.session, p->now, 2, 1000, out, 8) > 0);
  side_poll(p, &p->client);
  assert_int_equal(roam_session_get_lane(p->client.session, 2).inflight, 2);
  assert_int_equal(roam_session_get_lane(p->client.session, 2).queued, 1);
}

/* The payloads of the PUBLISH packets that leave on a lane now, with a mark for each duplicate. */
static void drain(struct pair *p, uint32_t lane, char *text) {
  roam_slice out[16];
  uint8_t bytes[1024];
  size_t n, len = 0, used;
  while ((n = roam_session_drain(p->client.session, p->now, lane, 1000, out, 16)) > 0) {
    for (size_t i = 0; i < n; i++) {
      memcpy(bytes + len, out[i].base, out[i].len);
      len += out[i].len;
    }
  }
  roam_packet packet;
  roam_fault fault;
  for (size_t at = 0; at < len; at += used) {
    assert_int_equal(roam_packet_read((roam_bytes){bytes + at, len - at}, 5, 1u << 20, false, &packet, &used, &fault), 0);
    *text++ = (char)('0' + packet.payload.base[0]);
    if (packet.dup) *text++ = '!';
  }
  *text = 0;
}

static void every_way_to_end(void **state) {
  (void)state;
  static const struct {
    roam_lane_end how;
    uint32_t lane;    /* where it goes on */
    const char *sent; /* there */
    size_t dropped;   /* tokens that are told so */
    bool exists;
  } cases[] = {
      {ROAM_LANE_RESUME, 2, "1!2!", 0, true}, /* the window is full again */
      {ROAM_LANE_AGAIN, 2, "13", 1, true},    /* QoS 2 may have arrived: it is told, not repeated */
      {ROAM_LANE_MERGE, 0, "13", 1, false},   {ROAM_LANE_DROP, 2, "", 3, false}, {ROAM_LANE_EMPTY, 2, "", 3, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct pair p;
    char text[32];
    begin(&p);
    roam_session_lane_end(p.client.session, p.now, 2, cases[i].how);
    side_poll(&p, &p.client);
    assert_int_equal(count_kind(&p.client, ROAM_SE_DROPPED), cases[i].dropped);
    if (cases[i].dropped == 1) assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 0)->token, 2);
    drain(&p, cases[i].lane, text);
    assert_string_equal(text, cases[i].sent);
    assert_int_equal(roam_session_get_lane(p.client.session, 2).exists, cases[i].exists);
    roam_session_info info = roam_session_get_info(p.client.session);
    assert_int_equal(info.queued, cases[i].how == ROAM_LANE_RESUME ? 1 : 0);
    if (cases[i].dropped == 3) assert_true(info.drained);
    pair_reset(&p);
  }
}

static void one_message_for_each_stream(void **state) {
  (void)state;
  struct pair p;
  char text[32];
  begin(&p);
  assert_int_equal(roam_session_lane_single(p.client.session, p.now, 5, true), 0);
  for (int i = 0; i < 3; i++) {
    uint8_t payload = (uint8_t)(4 + i);
    roam_message m;
    assert_int_equal(roam_message_make(&m, p.now, (roam_bytes){(const uint8_t *)"t", 1}, (roam_bytes){0},
                                       (roam_bytes){&payload, 1}, 0, false),
                     0);
    roam_publish_how how = {.lane = 5};
    assert_int_equal(roam_session_publish(p.client.session, p.now, &m, &how, 0), 0);
    roam_blob_unref(m.blob);
  }
  static const char *const expected[] = {"4", "5", "6", ""};
  for (int i = 0; i < 4; i++) {
    drain(&p, 5, text);
    assert_string_equal(text, expected[i]);
    assert_int_equal(roam_session_get_lane(p.client.session, 5).begun, i < 3);
    roam_session_lane_end(p.client.session, p.now, 5, ROAM_LANE_AGAIN);
  }
  pair_reset(&p);
}

/* What a lane of MQTT-next may not carry, and the aliases that outlive its stream. */
static void rules_of_a_lane(void **state) {
  (void)state;
  static const uint8_t qos0[] = {0x30, 4, 0, 1, 't', 0}, qos1[] = {0x32, 6, 0, 1, 't', 0, 1, 0}, ping[] = {0xC0, 0},
                       sub[] = {0x82, 7, 0, 1, 0, 0, 1, 't', 0}, puback[] = {0x40, 2, 0, 1};
  static const struct {
    unsigned rules;
    const uint8_t *bytes;
    size_t len;
    bool allowed;
  } cases[] = {
      {0, sub, sizeof sub, true},
      {ROAM_LANE_OF_ASSIGNED, sub, sizeof sub, false},
      {ROAM_LANE_OF_ASSIGNED, qos1, sizeof qos1, true},
      {ROAM_LANE_OF_ASSIGNED, puback, sizeof puback, true},
      {ROAM_LANE_OF_ASSIGNED, ping, sizeof ping, true},
      {ROAM_LANE_INWARD, qos0, sizeof qos0, true},
      {ROAM_LANE_INWARD, qos1, sizeof qos1, false},
      {ROAM_LANE_INWARD, ping, sizeof ping, false},
      {ROAM_LANE_INWARD, puback, sizeof puback, false},
      {ROAM_LANE_INWARD, sub, sizeof sub, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct pair p;
    size_t used;
    begin(&p);
    roam_session *s = p.server.session;
    assert_int_equal(roam_session_lane_rules(s, p.now, 3, cases[i].rules), 0);
    roam_session_feed(s, p.now, 3, (roam_bytes){cases[i].bytes, cases[i].len}, &used);
    side_poll(&p, &p.server);
    assert_int_equal(count_kind(&p.server, ROAM_SE_LANE_FAULT), cases[i].allowed ? 0 : 1);
    pair_reset(&p);
  }
}

static void aliases_outlive_the_stream(void **state) {
  (void)state;
  static const uint8_t set[] = {0x30, 9, 0, 3, 'a', '/', 'b', 3, 0x23, 0, 2}, use[] = {0x30, 6, 0, 0, 3, 0x23, 0, 2};
  static const roam_lane_end ways[] = {ROAM_LANE_RESUME, ROAM_LANE_EMPTY, ROAM_LANE_AGAIN, ROAM_LANE_DROP};
  for (int rule = 0; rule < 2; rule++) {
    for (size_t i = 0; i < 4; i++) {
      struct pair p;
      size_t used;
      begin(&p);
      roam_session *s = p.server.session;
      assert_int_equal(roam_session_lane_rules(s, p.now, 3, rule ? ROAM_LANE_ALIASES : 0), 0);
      roam_session_feed(s, p.now, 3, (roam_bytes){set, sizeof set}, &used);
      roam_session_lane_end(s, p.now, 3, ways[i]); /* the event is not polled yet: its topic must live */
      roam_session_feed(s, p.now, 3, (roam_bytes){use, sizeof use}, &used);
      side_poll(&p, &p.server);
      bool lasts = rule && i < 2;
      assert_int_equal(count_kind(&p.server, ROAM_SE_LANE_FAULT), lasts ? 0 : 1);
      assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), lasts ? 2 : 1);
      if (lasts) assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 1)->topic, "a/b");
      pair_reset(&p);
    }
  }
}

static void lane_0_does_not_end(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  for (int how = ROAM_LANE_DROP; how <= ROAM_LANE_MERGE; how++) {
    roam_session_lane_end(p.client.session, p.now, 0, (roam_lane_end)how);
    roam_session_lane_end(p.client.session, p.now, 77, (roam_lane_end)how); /* nor one that is not there */
  }
  assert_true(roam_session_get_lane(p.client.session, 0).exists);
  assert_int_equal(roam_session_ack(p.client.session, p.now, 77, 1, 0), ROAM_E_NOT_FOUND);
  assert_false(roam_session_get_lane(p.client.session, 77).exists);
  pair_reset(&p);
}

static void datagrams_are_single_packets(void **state) {
  (void)state;
  struct pair p;
  uint8_t bytes[64];
  size_t len;
  begin(&p);
  roam_message m;
  assert_int_equal(roam_message_make(&m, p.now, (roam_bytes){(const uint8_t *)"t", 1}, (roam_bytes){0},
                                     (roam_bytes){(const uint8_t *)"hello", 5}, 0, false),
                   0);
  roam_publish_how how = {0};
  assert_int_equal(roam_session_write_datagram(p.client.session, p.now, &m, &how, bytes, 8, &len), ROAM_E_TOO_LARGE);
  assert_int_equal(roam_session_write_datagram(p.client.session, p.now, &m, &how, bytes, sizeof bytes, &len), 0);
  roam_blob_unref(m.blob);
  for (size_t part = 0; part < len; part++)
    assert_true(roam_session_feed_datagram(p.server.session, p.now, (roam_bytes){bytes, part}, true) < 0);
  bytes[len] = 0;
  assert_int_equal(roam_session_feed_datagram(p.server.session, p.now, (roam_bytes){bytes, len + 1}, true),
                   ROAM_E_MALFORMED);
  assert_int_equal(roam_session_feed_datagram(p.server.session, p.now, (roam_bytes){bytes, len}, true), 0);
  side_poll(&p, &p.server);
  assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 0)->payload, "hello");
  assert_int_equal(count_kind(&p.server, ROAM_SE_FAULT), 0);
  pair_reset(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_way_to_end),    cmocka_unit_test(one_message_for_each_stream),
      cmocka_unit_test(rules_of_a_lane),     cmocka_unit_test(aliases_outlive_the_stream),
      cmocka_unit_test(lane_0_does_not_end), cmocka_unit_test(datagrams_are_single_packets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
