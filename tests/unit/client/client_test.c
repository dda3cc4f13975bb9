/* client_test.c - the life of a client: publishing on and offline, resuming, closing, and what remains possible after the
 * end. */
#include "rig.h"

static void publishes_each_quality(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  for (uint8_t qos = 0; qos < 3; qos++) assert_int_equal(rig_publish(r, "t", "hi", qos), 0);
  rig_settle(r);
  EXPECT(r->seen, "PUBLISH t=hi q0\nPUBLISH t=hi q1\nPUBLISH t=hi q2\n");
  EXPECT(r->log, "PUBLISHED 2 ok 0\nPUBLISHED 3 ok 0\n");
  rig_free(r);
}

static void refuses_what_cannot_be_published(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  static const uint8_t alien[] = {0x24, 1}; /* Maximum QoS does not belong into PUBLISH */
  roam_client_message m = {.topic = str("a/+"), .payload = str("x")};
  assert_int_equal(roam_client_publish(r->c, r->now, &m, NULL), ROAM_E_ARGUMENT);
  m.topic = str("");
  assert_int_equal(roam_client_publish(r->c, r->now, &m, NULL), ROAM_E_ARGUMENT);
  m.topic = str("a");
  m.qos = 3;
  assert_int_equal(roam_client_publish(r->c, r->now, &m, NULL), ROAM_E_ARGUMENT);
  m.qos = 0;
  m.props = (roam_bytes){alien, sizeof alien};
  assert_int_equal(roam_client_publish(r->c, r->now, &m, NULL), ROAM_E_ARGUMENT);
  rig_settle(r);
  EXPECT(r->seen, "");
  rig_free(r);
}

static void respects_what_the_server_says_it_cannot_do(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  static const uint8_t props[] = {0x24, 0, 0x25, 0}; /* Maximum QoS 0, Retain Available 0 */
  r->props = props;
  r->props_len = sizeof props;
  assert_int_equal(rig_publish(r, "early", "x", 1), 0); /* before anybody could know */
  rig_start(r);
  EXPECT(r->log, "CONNECTED tcp v5 new\nPUBLISHED 1 ROAM_E_REFUSED 155\n");
  assert_int_equal(rig_publish(r, "t", "x", 1), ROAM_E_ARGUMENT);
  roam_client_message m = {.topic = str("t"), .retain = true};
  assert_int_equal(roam_client_publish(r->c, r->now, &m, NULL), ROAM_E_ARGUMENT);
  rig_free(r);
}

static void offline_queue(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  assert_int_equal(rig_publish(r, "a", "0", 0), 0);
  assert_int_equal(rig_publish(r, "a", "1", 1), 0);
  rig_start(r);
  assert_non_null(strstr(r->seen, "PUBLISH a=0 q0\nPUBLISH a=1 q1\n"));
  rig_break(r, ECONNRESET);
  rig_settle(r);
  assert_int_equal(rig_publish(r, "a", "2", 2), 0);
  r->seen[0] = 0;
  rig_run(r, r->now + 5 * ROAM_S);
  assert_non_null(strstr(r->seen, "PUBLISH a=2 q2\n"));
  rig_free(r);

  o.offline_queue = false;
  r = rig_new(&o);
  assert_int_equal(rig_publish(r, "a", "0", 0), ROAM_E_STATE);
  assert_int_equal(rig_publish(r, "a", "0", 1), ROAM_E_STATE);
  rig_start(r);
  assert_int_equal(rig_publish(r, "a", "0", 1), 0);
  rig_free(r);
}

static void offline_queue_is_bounded_and_says_when_there_is_room(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.queue_messages_max = 3;
  struct rig *r = rig_new(&o);
  for (int i = 0; i < 3; i++) assert_int_equal(rig_publish(r, "a", "x", 1), 0);
  assert_int_equal(rig_publish(r, "a", "x", 1), ROAM_E_BLOCKED);
  rig_start(r);
  assert_non_null(strstr(r->log, "WRITABLE\n"));
  assert_int_equal(rig_publish(r, "a", "x", 1), 0);
  rig_settle(r);
  assert_int_equal(r->publishes, 4);
  rig_free(r);
}

static void resumes_its_own_session(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.session_expiry_s = 100;
  struct rig *r = rig_connected(&o);
  r->no_ack = true;
  assert_int_equal(rig_publish(r, "t", "1", 1), 0);
  rig_settle(r);
  EXPECT(r->seen, "PUBLISH t=1 q1\n");
  r->now += 10 * ROAM_S;
  rig_break(r, ECONNRESET);
  rig_settle(r);
  assert_memory_equal(r->log, "DISCONNECTED ROAM_E_LOST retry: connection to mqtt://192.0.2.1:1883 lost: ", 74);
  r->log[0] = 0;
  assert_true(r->retry_ns >= 100 * ROAM_MS && r->retry_ns <= 200 * ROAM_MS);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_WAITING);
  r->present = true;
  r->no_ack = false;
  rig_run(r, r->now + ROAM_S);
  EXPECT(r->seen, "CONNECT v5 me ka=60 expiry=100 rm=1024 mps=1048576 tam=16\nPUBLISH t=1 q1 dup\n");
  EXPECT(r->log, "CONNECTED tcp v5 resumed\nPUBLISHED 1 ok 0\n");
  rig_free(r);
}

static void unacknowledged_messages_survive_a_lost_session(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_ack = true;
  assert_int_equal(rig_publish(r, "t", "1", 1), 0);
  rig_settle(r);
  rig_break(r, ECONNRESET);
  r->no_ack = false;
  r->seen[0] = 0;
  rig_run(r, r->now + 2 * ROAM_S);
  EXPECT(r->seen, "CONNECT v5 me clean ka=60 rm=1024 mps=1048576 tam=16\nPUBLISH t=1 q1\n");
  rig_free(r);
}

static void clean_flag_of_311_is_always_the_users(void **state) {
  (void)state;
  for (int clean = 0; clean < 2; clean++) {
    roam_client_options o = rig_options();
    o.version = 4;
    o.clean_start = clean;
    struct rig *r = rig_connected(&o);
    rig_break(r, ECONNRESET);
    rig_run(r, r->now + 2 * ROAM_S);
    EXPECT(r->seen, clean ? "CONNECT v4 me clean ka=60\n" : "CONNECT v4 me ka=60\n");
    rig_free(r);
  }
}

static void gives_up_when_told_not_to_reconnect(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.reconnect = false;
  struct rig *r = rig_connected(&o);
  rig_break(r, 0);
  rig_settle(r);
  EXPECT(r->log, "DISCONNECTED ROAM_E_PEER_CLOSED final: connection to mqtt://192.0.2.1:1883 lost: closed by the peer\n"
                 "CLOSED ROAM_E_PEER_CLOSED: connection to mqtt://192.0.2.1:1883 lost: closed by the peer\n");
  rig_free(r);
}

static void backs_off(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  r->open_error = ENETUNREACH;
  rig_start(r);
  uint64_t base = 200 * ROAM_MS;
  for (int i = 0; i < 12; i++) {
    assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_WAITING);
    assert_true(r->retry_ns <= base && r->retry_ns >= base / 2);
    base = base * 2 > 30 * ROAM_S ? 30 * ROAM_S : base * 2;
    rig_run(r, r->now + r->retry_ns);
  }
  rig_free(r);
}

static void a_server_that_accepts_and_drops_is_not_hammered(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  uint64_t last = 0;
  for (int i = 0; i < 5; i++) {
    rig_break(r, 0);
    rig_settle(r);
    assert_true(r->retry_ns >= last / 2 && r->retry_ns >= (200 * ROAM_MS << i));
    last = r->retry_ns;
    rig_run(r, r->now + r->retry_ns);
    assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  }
  rig_run(r, r->now + 5 * ROAM_S); /* a steady connection starts afresh */
  rig_break(r, 0);
  rig_settle(r);
  assert_true(r->retry_ns <= 200 * ROAM_MS);
  rig_free(r);
}

static void a_hint_ends_the_waiting(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.reconnect_min_ns = 10 * ROAM_S;
  struct rig *r = rig_connected(&o);
  rig_run(r, 20 * ROAM_S);
  rig_break(r, 0);
  rig_settle(r);
  r->now += ROAM_S;
  rig_feed(r, (roam_wire){.kind = ROAM_WIRE_ADDR, .up = 1, .name = "wlan0"});
  rig_settle(r);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  rig_free(r);
}

static void a_hint_asks_for_a_sign_of_life(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.keep_alive_s = 600;
  struct rig *r = rig_connected(&o);
  uint64_t before = roam_client_get_stats(r->c).bytes_out;
  assert_int_equal(roam_client_hint(r->c, r->now), 0);
  rig_settle(r);
  assert_int_equal(roam_client_get_stats(r->c).bytes_out, before + 2); /* PINGREQ */
  rig_free(r);
}

static void closes_after_the_queue(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  for (int i = 0; i < 3; i++) assert_int_equal(rig_publish(r, "t", "x", (uint8_t)i), 0);
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CLOSING);
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  assert_int_equal(rig_publish(r, "t", "x", 0), ROAM_E_CLOSED);
  rig_settle(r);
  EXPECT(r->seen, "PUBLISH t=x q0\nPUBLISH t=x q1\nPUBLISH t=x q2\nDISCONNECT 00\n");
  EXPECT(r->log, "PUBLISHED 2 ok 0\nPUBLISHED 3 ok 0\nCLOSED ok\n");
  EXPECT(r->units, "CLOSE\n");
  rig_free(r);
}

static void closing_has_patience_for_three_seconds(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_ack = true;
  assert_int_equal(rig_publish(r, "t", "x", 1), 0);
  roam_time began = r->now;
  assert_int_equal(roam_client_close(r->c, r->now, 4), 0);
  rig_settle(r);
  EXPECT(r->log, "");
  rig_run(r, began + 2900 * ROAM_MS);
  EXPECT(r->log, "");
  rig_run(r, began + 3 * ROAM_S);
  EXPECT(r->log, "CLOSED ok: closed; 1 messages were not acknowledged\n");
  EXPECT(r->seen, "PUBLISH t=x q1\nDISCONNECT 04\n");
  rig_free(r);
}

static void closing_in_every_state(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o); /* new */
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  rig_settle(r);
  EXPECT(r->log, "CLOSED ok\n");
  rig_free(r);

  o.url = "mqtt://a.example"; /* resolving */
  r = rig_new(&o);
  r->resolve_silent = true;
  rig_start(r);
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  rig_settle(r);
  EXPECT(r->log, "CLOSED ok\n");
  rig_free(r);

  o.url = "mqtt://192.0.2.1"; /* dialling, with something to say that never goes */
  r = rig_new(&o);
  r->open_silent = true;
  rig_start(r);
  assert_int_equal(rig_publish(r, "t", "x", 1), 0);
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  rig_run(r, r->now + 4 * ROAM_S);
  EXPECT(r->log, "CLOSED ok: closed; 1 messages were not acknowledged\n");
  rig_free(r);

  r = rig_new(&o); /* waiting */
  r->open_error = ENETUNREACH;
  rig_start(r);
  r->log[0] = 0;
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  rig_settle(r);
  EXPECT(r->log, "CLOSED ok\n");
  rig_free(r);
}

static void closing_at_once_still_delivers(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.url = "mqtt://a.example";
  struct rig *r = rig_new(&o);
  roam_addr_parse("192.0.2.5", &r->answers[0]);
  r->answers_len = 1;
  assert_int_equal(roam_client_start(r->c, r->now), 0);
  assert_int_equal(rig_publish(r, "t", "x", 1), 0);
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  rig_settle(r);
  assert_non_null(strstr(r->seen, "PUBLISH t=x q1\nDISCONNECT 00\n"));
  EXPECT(r->log, "CONNECTED tcp v5 new\nPUBLISHED 1 ok 0\nCLOSED ok\n");
  rig_free(r);
}

static void after_the_end_everything_is_harmless(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  uint32_t handle = r->handle;
  assert_int_equal(roam_client_close(r->c, r->now, 0), 0);
  rig_settle(r);
  roam_filter f = {.filter = str("a")};
  roam_addr there;
  roam_addr_parse("198.51.100.8", &there);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CLOSED);
  assert_int_equal(roam_client_start(r->c, r->now), ROAM_E_CLOSED);
  assert_int_equal(rig_publish(r, "t", "x", 0), ROAM_E_CLOSED);
  assert_int_equal(roam_client_subscribe(r->c, r->now, &f, 1, NULL), ROAM_E_CLOSED);
  assert_int_equal(roam_client_unsubscribe(r->c, r->now, &f, 1, NULL), ROAM_E_CLOSED);
  assert_int_equal(roam_client_ack(r->c, r->now, 0, 1), ROAM_E_CLOSED);
  assert_int_equal(roam_client_migrate(r->c, r->now, &there, NULL, false), ROAM_E_CLOSED);
  assert_int_equal(roam_client_hint(r->c, r->now), ROAM_E_CLOSED);
  assert_int_equal(roam_client_close(r->c, r->now, 0), ROAM_E_CLOSED);
  rig_feed(r, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = handle, .data = (const uint8_t *)"xx", .len = 2});
  rig_feed(r, (roam_wire){.kind = ROAM_WIRE_WAKE, .credit = 5});
  roam_client_tick(r->c, r->now + ROAM_S);
  roam_wire out[4];
  roam_event ev[4];
  assert_int_equal(roam_client_drain(r->c, r->now, out, 4), 0);
  r->log[0] = 0;
  assert_int_equal(roam_client_poll(r->c, ev, 4), 0);
  assert_true(roam_client_deadline(r->c) == ROAM_NEVER);
  rig_free(r);
}

static void time_does_not_run_backwards(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  roam_client_tick(r->c, 100 * ROAM_S);
  roam_client_tick(r->c, 2 * ROAM_S);
  rig_break(r, 0);
  roam_event ev[4];
  assert_int_equal(roam_client_poll(r->c, ev, 4), 1);
  assert_true(ev[0].at == 100 * ROAM_S);
  rig_free(r);
}

static void migrating_over_tcp(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  roam_addr there;
  roam_addr_parse("198.51.100.8:5", &there);
  assert_int_equal(roam_client_migrate(r->c, r->now, &there, NULL, true), ROAM_E_UNSUPPORTED);
  assert_int_equal(roam_client_migrate(r->c, r->now, NULL, NULL, true), ROAM_E_ARGUMENT);
  assert_int_equal(roam_client_migrate(r->c, r->now, NULL, "a-name-that-is-too-long", true), ROAM_E_ARGUMENT);
  rig_break(r, 0);
  rig_settle(r);
  assert_int_equal(roam_client_migrate(r->c, r->now, &there, NULL, false), 0); /* used from the next connection on */
  rig_run(r, r->now + 2 * ROAM_S);
  assert_true(roam_addr_same_ip(&there, &(roam_addr){.family = 4, .ip = {198, 51, 100, 8}}));
  roam_addr local = roam_client_get_stats(r->c).local;
  assert_true(roam_addr_same_ip(&local, &there));
  rig_free(r);
}

static void log_line(void *context, roam_time at, roam_level level, const char *line) {
  (void)level;
  note(context, "%llu %s\n", (unsigned long long)(at / ROAM_MS), line);
}

static void every_state_change_is_logged(void **state) {
  (void)state;
  static char lines[RIG_LOG];
  roam_client_options o = rig_options();
  o.log = (roam_log){log_line, lines, ROAM_LOG_INFO};
  struct rig *r = rig_new(&o);
  rig_start(r);
  roam_client_close(r->c, r->now, 0);
  rig_settle(r);
  assert_string_equal(lines, "1000 client me: new -> dialling\n"
                             "1000 client me: dialling -> greeting\n"
                             "1000 client me: greeting -> connected\n"
                             "1000 client me: connected -> closing\n"
                             "1000 client me: closing -> closed\n");
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(publishes_each_quality),
      cmocka_unit_test(refuses_what_cannot_be_published),
      cmocka_unit_test(respects_what_the_server_says_it_cannot_do),
      cmocka_unit_test(offline_queue),
      cmocka_unit_test(offline_queue_is_bounded_and_says_when_there_is_room),
      cmocka_unit_test(resumes_its_own_session),
      cmocka_unit_test(unacknowledged_messages_survive_a_lost_session),
      cmocka_unit_test(clean_flag_of_311_is_always_the_users),
      cmocka_unit_test(gives_up_when_told_not_to_reconnect),
      cmocka_unit_test(backs_off),
      cmocka_unit_test(a_server_that_accepts_and_drops_is_not_hammered),
      cmocka_unit_test(a_hint_ends_the_waiting),
      cmocka_unit_test(a_hint_asks_for_a_sign_of_life),
      cmocka_unit_test(closes_after_the_queue),
      cmocka_unit_test(closing_has_patience_for_three_seconds),
      cmocka_unit_test(closing_in_every_state),
      cmocka_unit_test(closing_at_once_still_delivers),
      cmocka_unit_test(after_the_end_everything_is_harmless),
      cmocka_unit_test(time_does_not_run_backwards),
      cmocka_unit_test(migrating_over_tcp),
      cmocka_unit_test(every_state_change_is_logged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
