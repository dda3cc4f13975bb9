/* pump_test.c - bytes between transport, session and application: any cut, acknowledging, back-pressure, ends with unread
 * bytes. */
#include "rig.h"

static void any_cut_gives_the_same_story(void **state) {
  (void)state;
  static char expected[RIG_LOG];
  for (size_t chunk = 0; chunk < 12; chunk++) {
    roam_client_options o = rig_options();
    struct rig *r = rig_new(&o);
    r->chunk = chunk;
    rig_start(r);
    assert_int_equal(rig_subscribe(r, "a/#", 2), 0);
    rig_settle(r);
    for (uint8_t qos = 0; qos < 3; qos++) rig_push(r, "a/b", str("hello"), qos);
    assert_int_equal(rig_publish(r, "c", "d", 2), 0);
    rig_settle(r);
    rig_server_disconnects(r, 0x8E);
    rig_settle(r);
    if (chunk == 0) {
      assert_non_null(strstr(r->log, "MESSAGE a/b=hello q2\n"));
      assert_non_null(strstr(r->log, "session taken over"));
      memcpy(expected, r->log, sizeof expected);
    }
    assert_string_equal(r->log, expected);
    rig_free(r);
  }
}

static void messages_are_acknowledged_once_polled(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  rig_push(r, "a", str("1"), 1);
  rig_push(r, "a", str("2"), 2);
  rig_settle(r);
  EXPECT(r->seen, "");
  rig_poll(r, 1);
  assert_true(roam_client_deadline(r->c) <= r->now); /* the acknowledgement does not wait for the next datagram */
  EXPECT(r->log, "MESSAGE a=1 q1\n");
  rig_settle(r);
  EXPECT(r->seen, "DONE 7\n");
  rig_poll(r, 1);
  rig_settle(r);
  EXPECT(r->seen, "DONE 7\n");
  rig_free(r);
}

static void views_live_until_the_next_call(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  rig_push(r, "topic", str("payload"), 0);
  rig_settle(r);
  rig_poll(r, 1);
  assert_memory_equal(r->last_message.payload.base, "payload", 7);
  assert_memory_equal(r->last_message.topic.base, "topic", 5);
  (void)roam_client_get_stats(r->c);
  (void)roam_client_deadline(r->c);
  assert_memory_equal(r->last_message.payload.base, "payload", 7);
  rig_free(r);
}

static void unpolled_messages_survive_what_comes_behind_them(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  char expected[4096] = "";
  for (int i = 0; i < 100; i++) { /* each arrives in a turn of its own, so the lane's buffer grows and moves */
    char payload[16];
    snprintf(payload, sizeof payload, "%d", i);
    rig_push(r, i % 2 ? "odd" : "even", str(payload), 0);
    rig_settle(r);
    snprintf(expected + strlen(expected), 64, "MESSAGE %s=%d q0\n", i % 2 ? "odd" : "even", i);
    if (i % 10 == 9) rig_poll(r, 5);
  }
  rig_poll(r, 1000);
  EXPECT(r->log, expected);
  rig_free(r);
}

static void manual_ack(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.manual_ack = true;
  struct rig *r = rig_connected(&o);
  rig_push(r, "a", str("1"), 1);
  rig_settle(r);
  EXPECT(r->log, "MESSAGE a=1 q1\n");
  EXPECT(r->seen, "");
  assert_int_equal(roam_client_ack(r->c, r->now, r->last_message.lane, r->last_message.packet_id), 0);
  rig_settle(r);
  EXPECT(r->seen, "DONE 7\n");
  rig_free(r);
  o.manual_ack = false;
  r = rig_connected(&o);
  assert_int_equal(roam_client_ack(r->c, r->now, 0, 1), ROAM_E_STATE);
  rig_free(r);
}

static void a_message_larger_than_the_window_arrives(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  size_t len = 900000;
  uint8_t *big = malloc(len);
  memset(big, 'x', len);
  rig_push(r, "big", (roam_bytes){big, len}, 1);
  rig_settle(r);
  EXPECT(r->log, "MESSAGE big=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx q1\n");
  roam_client_message m = {.topic = str("big"), .payload = {big, len}, .qos = 1};
  assert_int_equal(roam_client_publish(r->c, r->now, &m, NULL), 0);
  rig_settle(r);
  assert_int_equal(r->publishes, 1);
  EXPECT(r->log, "PUBLISHED 1 ok 0\n");
  free(big);
  rig_free(r);
}

/* An application that does not poll: the client stops reading, keeps its bounds, and is not disconnected for the PINGRESP
 * that it cannot see; polling sets everything going again. */
static void an_application_that_does_not_poll(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.keep_alive_s = 10;
  o.maximum_packet_size = 500000; /* the window is twice that */
  struct rig *r = rig_connected(&o);
  static uint8_t payload[1000];
  memset(payload, 'p', sizeof payload);
  r->no_poll = true;
  for (int i = 0; i < 3000; i++) rig_push(r, "t", (roam_bytes){payload, sizeof payload}, 0);
  rig_settle(r);
  assert_true(r->out_len > 1000000); /* the rest is still the server's */
  assert_true(r->credit < 1500);
  rig_run(r, 200 * ROAM_S);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  assert_int_equal(r->messages, 0);
  r->no_poll = false;
  rig_settle(r);
  assert_int_equal(r->messages, 3000);
  assert_null(strstr(r->log, "DISCONNECTED"));
  r->log[0] = 0;
  rig_run(r, 400 * ROAM_S);
  EXPECT(r->log, "");
  rig_free(r);
}

static void pings_go_on_while_reading_is_held_back(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.keep_alive_s = 10;
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  for (int i = 0; i < 2000; i++) rig_push(r, "t", str("x"), 0);
  rig_settle(r);
  uint64_t before = roam_client_get_stats(r->c).bytes_out;
  rig_run(r, r->now + 100 * ROAM_S);
  uint64_t pings = (roam_client_get_stats(r->c).bytes_out - before) / 2;
  assert_in_range(pings, 8, 12);
  assert_null(strstr(r->seen, "FAULT"));
  rig_free(r);
}

static void a_dead_server_is_noticed_after_the_backlog(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.keep_alive_s = 10;
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  for (int i = 0; i < 2000; i++) rig_push(r, "t", str("x"), 0);
  rig_settle(r);
  r->mute = true;
  rig_run(r, r->now + 60 * ROAM_S);
  r->no_poll = false;
  rig_run(r, r->now + 60 * ROAM_S);
  assert_int_equal(r->messages, 2000);
  assert_non_null(strstr(r->log, "DISCONNECTED ROAM_E_TIMEOUT"));
  rig_free(r);
}

static void the_end_waits_for_what_was_said_before_it(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  for (int i = 0; i < 2000; i++) rig_push(r, "t", str("x"), 0);
  rig_server(r);
  rig_server_disconnects(r, 0x8B);
  while (rig_deliver(r)) continue;
  rig_break(r, ECONNRESET);
  rig_settle(r);
  rig_run(r, r->now + 20 * ROAM_S);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED); /* the application has not heard of it */
  r->no_poll = false;
  rig_settle(r);
  assert_int_equal(r->messages, 2000);
  const char *end = strstr(r->log, "DISCONNECTED");
  assert_non_null(end);
  assert_null(strstr(end, "MESSAGE"));
  assert_non_null(strstr(end, "server shutting down (0x8B)"));
  rig_free(r);
}

static void qos_2_is_delivered_once_over_a_lost_connection(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.session_expiry_s = 100;
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  rig_push(r, "t", str("x"), 2);
  rig_settle(r);
  rig_poll(r, 1);
  rig_break(r, ECONNRESET); /* before the PUBREC could leave */
  r->no_poll = false;
  r->present = true;
  rig_run(r, r->now + 2 * ROAM_S);
  assert_int_equal(r->messages, 1);
  assert_non_null(strstr(r->seen, "DONE 7\n"));
  rig_free(r);
}

static void aliased_topics_are_kept_for_late_readers(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->no_poll = true;
  static const uint8_t again[] = {0x30, 7, 0, 0, 3, 0x23, 0, 1, '2'};
  static const uint8_t other[] = {0x30, 8, 0, 1, 'b', 3, 0x23, 0, 1, '3'}; /* and then b does */
  static const uint8_t set[] = {0x30, 8, 0, 1, 'a', 3, 0x23, 0, 1, '1'};
  rig_send(r, set, sizeof set);
  rig_send(r, again, sizeof again);
  rig_settle(r);
  rig_send(r, other, sizeof other);
  rig_send(r, again, sizeof again);
  rig_settle(r);
  rig_poll(r, 100);
  EXPECT(r->log, "MESSAGE a=1 q0\nMESSAGE a=2 q0\nMESSAGE b=3 q0\nMESSAGE b=2 q0\n");
  rig_free(r);
}

static void thousands_of_publishes_in_one_turn(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  for (int i = 0; i < 9000; i++) assert_int_equal(rig_publish(r, "t", "x", 1), 0);
  rig_settle(r);
  assert_int_equal(r->publishes, 9000);
  roam_client_stats stats = roam_client_get_stats(r->c);
  assert_int_equal(stats.inflight, 0);
  assert_int_equal(stats.queued, 0);
  assert_int_equal(stats.messages_out, 9000);
  rig_free(r);
}

/* Whatever a server sends, in whatever pieces, with breaks anywhere: the client lives, and ends when it is asked to. */
static void a_hostile_server(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 200; seed++) {
    roam_client_options o = rig_options();
    o.version = seed % 3 ? 5 : 4;
    struct rig *r = rig_new(&o);
    struct roam_rng rng;
    roam_rng_init(&rng, seed);
    rig_start(r);
    for (int step = 0; step < 60; step++) {
      uint64_t dice = roam_random_below(&rng.random, 12);
      r->chunk = roam_random_below(&rng.random, 9);
      r->no_poll = dice % 4 == 3;
      if (dice < 3 && r->connected) rig_push(r, "a/b", str("payload"), (uint8_t)dice);
      else if (dice < 6 && roam_client_get_state(r->c) != ROAM_CLIENT_CLOSED) rig_publish(r, "t", "x", (uint8_t)(dice - 3));
      else if (dice == 6 && roam_client_get_state(r->c) != ROAM_CLIENT_CLOSED) rig_subscribe(r, "a/#", 2);
      else if (dice == 7) rig_break(r, ECONNRESET);
      if (r->handle) rig_server(r);
      if (dice == 8 && r->out_len > 0)
        r->out[roam_random_below(&rng.random, r->out_len)] ^= (uint8_t)roam_random_u64(&rng.random);
      if (dice == 9) rig_send(r, &seed, 1 + roam_random_below(&rng.random, 8));
      rig_run(r, r->now + roam_random_below(&rng.random, ROAM_S));
    }
    r->no_poll = false;
    r->open_silent = true;
    roam_rc rc = roam_client_close(r->c, r->now, 0);
    assert_true(rc == 0 || rc == ROAM_E_CLOSED);
    rig_run(r, r->now + 20 * ROAM_S);
    assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CLOSED);
    rig_free(r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_cut_gives_the_same_story),
      cmocka_unit_test(messages_are_acknowledged_once_polled),
      cmocka_unit_test(views_live_until_the_next_call),
      cmocka_unit_test(unpolled_messages_survive_what_comes_behind_them),
      cmocka_unit_test(manual_ack),
      cmocka_unit_test(a_message_larger_than_the_window_arrives),
      cmocka_unit_test(an_application_that_does_not_poll),
      cmocka_unit_test(pings_go_on_while_reading_is_held_back),
      cmocka_unit_test(a_dead_server_is_noticed_after_the_backlog),
      cmocka_unit_test(the_end_waits_for_what_was_said_before_it),
      cmocka_unit_test(qos_2_is_delivered_once_over_a_lost_connection),
      cmocka_unit_test(aliased_topics_are_kept_for_late_readers),
      cmocka_unit_test(thousands_of_publishes_in_one_turn),
      cmocka_unit_test(a_hostile_server),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
