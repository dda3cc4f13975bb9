/* subs_test.c - subscriptions: answered, made again when the server has lost them and only then, bounded. */
#include "rig.h"

static void subscribe_and_unsubscribe(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  roam_filter f[3] = {{.filter = str("a"), .qos = 1}, {.filter = str("b/+"), .qos = 2}, {.filter = str("#")}};
  uint64_t token = 0;
  assert_int_equal(roam_client_subscribe(r->c, r->now, f, 3, &token), 0);
  assert_int_equal(token, 1);
  rig_settle(r);
  EXPECT(r->seen, "SUBSCRIBE a b/+ #\n");
  EXPECT(r->log, "SUBSCRIBED 1 ok 01 02 00\n");
  assert_int_equal(roam_client_unsubscribe(r->c, r->now, f, 2, &token), 0);
  rig_settle(r);
  EXPECT(r->seen, "UNSUBSCRIBE a b/+\n");
  EXPECT(r->log, "UNSUBSCRIBED 2 ok 00 00\n");
  rig_free(r);
}

static void wrong_filters(void **state) {
  (void)state;
  static const struct {
    const char *name;
    roam_filter filter;
  } cases[] = {{"empty", {.filter = {(const uint8_t *)"", 0}}},
               {"plus inside a level", {.filter = {(const uint8_t *)"a+", 2}}},
               {"hash not last", {.filter = {(const uint8_t *)"#/a", 3}}},
               {"QoS 3", {.filter = {(const uint8_t *)"a", 1}, .qos = 3}},
               {"retain handling 3", {.filter = {(const uint8_t *)"a", 1}, .retain_handling = 3}}};
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    print_message("%s\n", cases[i].name);
    assert_int_equal(roam_client_subscribe(r->c, r->now, &cases[i].filter, 1, NULL), ROAM_E_ARGUMENT);
  }
  assert_int_equal(roam_client_subscribe(r->c, r->now, NULL, 0, NULL), ROAM_E_ARGUMENT);
  rig_settle(r);
  EXPECT(r->seen, "");
  rig_free(r);
}

static void reconnect(struct rig *r, bool present) {
  r->now += 10 * ROAM_S;
  rig_break(r, ECONNRESET);
  rig_settle(r);
  r->log[0] = r->seen[0] = 0;
  r->present = present;
  rig_run(r, r->now + ROAM_S);
  char *line = strchr(r->seen, '\n');
  assert_non_null(line);
  memmove(r->seen, line + 1, strlen(line + 1) + 1); /* CONNECT is not what this is about */
}

static void made_again_when_the_session_is_lost_and_only_then(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.session_expiry_s = 60;
  struct rig *r = rig_connected(&o);
  assert_int_equal(rig_subscribe(r, "a", 1), 0);
  assert_int_equal(rig_subscribe(r, "b", 0), 0);
  assert_int_equal(rig_subscribe(r, "c", 0), 0);
  assert_int_equal(roam_client_unsubscribe(r->c, r->now, &(roam_filter){.filter = str("b")}, 1, NULL), 0);
  assert_int_equal(rig_subscribe(r, "a", 2), 0); /* takes the place of the first */
  rig_settle(r);
  reconnect(r, true);
  EXPECT(r->seen, "");
  EXPECT(r->log, "CONNECTED tcp v5 resumed\n");
  reconnect(r, false);
  EXPECT(r->seen, "SUBSCRIBE c a\n");
  EXPECT(r->log, "CONNECTED tcp v5 new\n");
  reconnect(r, false);
  EXPECT(r->seen, "SUBSCRIBE c a\n");
  rig_free(r);
}

static void refused_filters_are_not_kept(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  r->suback = 0x87;
  assert_int_equal(rig_subscribe(r, "secret", 1), 0);
  rig_settle(r);
  EXPECT(r->log, "SUBSCRIBED 1 ROAM_E_REFUSED 87\n");
  reconnect(r, false);
  EXPECT(r->seen, "");
  rig_free(r);
}

static void unanswered_requests_are_sent_again(void **state) {
  (void)state;
  for (int present = 0; present < 2; present++) {
    roam_client_options o = rig_options();
    o.session_expiry_s = 60;
    struct rig *r = rig_connected(&o);
    r->no_suback = true;
    assert_int_equal(rig_subscribe(r, "a", 1), 0);
    rig_settle(r);
    EXPECT(r->seen, "SUBSCRIBE a\n");
    r->no_suback = false;
    reconnect(r, present);
    EXPECT(r->seen, "SUBSCRIBE a\n");
    EXPECT(r->log,
           present ? "CONNECTED tcp v5 resumed\nSUBSCRIBED 1 ok 01\n" : "CONNECTED tcp v5 new\nSUBSCRIBED 1 ok 01\n");
    rig_free(r);
  }
}

static void wishes_before_the_connection(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  assert_int_equal(rig_subscribe(r, "a", 1), 0);
  assert_int_equal(rig_subscribe(r, "b", 1), 0);
  rig_start(r);
  assert_non_null(strstr(r->seen, "\nSUBSCRIBE a\nSUBSCRIBE b\n"));
  EXPECT(r->log, "CONNECTED tcp v5 new\nSUBSCRIBED 1 ok 01\nSUBSCRIBED 2 ok 01\n");
  rig_free(r);
}

static void bounded(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.subscriptions_max = 3;
  struct rig *r = rig_connected(&o);
  assert_int_equal(rig_subscribe(r, "a", 0), 0);
  assert_int_equal(rig_subscribe(r, "b", 0), 0);
  rig_settle(r);
  assert_int_equal(rig_subscribe(r, "c", 0), 0);
  assert_int_equal(rig_subscribe(r, "d", 0), ROAM_E_LIMIT); /* one is only asked for, but counts */
  assert_int_equal(roam_client_unsubscribe(r->c, r->now, &(roam_filter){.filter = str("a")}, 1, NULL), 0);
  rig_settle(r);
  assert_int_equal(rig_subscribe(r, "d", 0), 0);
  rig_free(r);
}

static void too_many_unanswered_requests_block(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.subscriptions_max = 5000;
  struct rig *r = rig_connected(&o);
  r->no_suback = true;
  for (int i = 0; i < 1024; i++) assert_int_equal(rig_subscribe(r, "a", 0), 0);
  assert_int_equal(rig_subscribe(r, "a", 0), ROAM_E_BLOCKED);
  rig_settle(r);
  r->no_suback = false;
  r->log[0] = 0;
  reconnect(r, false);
  assert_non_null(strstr(r->log, "WRITABLE\n"));
  assert_int_equal(rig_subscribe(r, "a", 0), 0);
  rig_free(r);
}

static void a_thousand_are_made_again_in_few_packets(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  for (int i = 0; i < 1000; i++) {
    char filter[32];
    snprintf(filter, sizeof filter, "some/topic/filter/%d", i);
    assert_int_equal(rig_subscribe(r, filter, 1), 0);
    if (i % 100 == 0) rig_settle(r);
  }
  rig_settle(r);
  reconnect(r, false);
  int packets = 0;
  for (const char *p = r->seen; (p = strstr(p, "SUBSCRIBE ")); p++) packets++;
  assert_in_range(packets, 4, 8);
  rig_free(r);
}

static void a_filter_too_large_for_the_server(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  static const uint8_t connack[] = {0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 40}; /* Maximum Packet Size 40 */
  r->mute = true;
  assert_int_equal(rig_subscribe(r, "a/filter/that/is/far/too/long/for/this/small/server", 0), 0);
  assert_int_equal(rig_subscribe(r, "short", 0), 0);
  rig_start(r);
  rig_send(r, connack, sizeof connack);
  rig_settle(r);
  EXPECT(r->log, "CONNECTED tcp v5 new\nSUBSCRIBED 1 ROAM_E_TOO_LARGE\n");
  assert_non_null(memmem(r->in, r->in_len, "short", 5));
  assert_null(memmem(r->in, r->in_len, "small", 5));
  rig_free(r);
}

static void options_stay_at_home_in_311(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.version = 4;
  struct rig *r = rig_connected(&o);
  roam_filter f = {.filter = str("a"), .qos = 1, .no_local = true, .retain_handling = 2};
  assert_int_equal(roam_client_subscribe(r->c, r->now, &f, 1, NULL), 0);
  rig_settle(r);
  EXPECT(r->log, "SUBSCRIBED 1 ok 01\n");
  assert_int_equal(roam_client_unsubscribe(r->c, r->now, &f, 1, NULL), 0);
  rig_settle(r);
  EXPECT(r->log, "UNSUBSCRIBED 2 ok\n");
  reconnect(r, false);
  EXPECT(r->seen, "");
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(subscribe_and_unsubscribe),
      cmocka_unit_test(wrong_filters),
      cmocka_unit_test(made_again_when_the_session_is_lost_and_only_then),
      cmocka_unit_test(refused_filters_are_not_kept),
      cmocka_unit_test(unanswered_requests_are_sent_again),
      cmocka_unit_test(wishes_before_the_connection),
      cmocka_unit_test(bounded),
      cmocka_unit_test(too_many_unanswered_requests_block),
      cmocka_unit_test(a_thousand_are_made_again_in_few_packets),
      cmocka_unit_test(a_filter_too_large_for_the_server),
      cmocka_unit_test(options_stay_at_home_in_311),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
