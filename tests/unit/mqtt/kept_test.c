/* kept_test.c - sessions whose owner writes down what they keep: answers wait for their epoch, changes are told, and what
 * was kept can be given back. */
#include "pair.h"

static void begin(struct pair *p) {
  roam_session_options client, server;
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  pair_init(p, &client, &server);
}

static void connack_waits(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  roam_session_hold(p.server.session, 5);
  pair_connect(&p, false);
  assert_int_equal(publish(&p, &p.server, "t", "nothing comes before CONNACK", 0, 1), 0);
  pair_pump(&p);
  assert_int_equal(p.client.log_len, 0);
  assert_true(roam_session_held(p.server.session));
  roam_session_release(p.server.session, 4);
  pair_pump(&p);
  assert_int_equal(p.client.log_len, 0);
  roam_session_release(p.server.session, 5);
  pair_pump(&p);
  assert_int_equal(p.client.log[0].kind, ROAM_SE_CONNACK);
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 1);
  assert_false(roam_session_held(p.server.session));
  pair_reset(&p);
}

/* Answers of three epochs leave in order, each with its own, however little room there is. */
static void in_order_of_epochs(void **state) {
  (void)state;
  for (size_t room = 1; room <= 64; room = room < 8 ? room + 1 : room * 2) {
    struct pair p;
    begin(&p);
    pair_connect(&p, false);
    pair_pump(&p);
    p.room = room;
    for (uint64_t i = 1; i <= 6; i++) {
      roam_session_hold(p.server.session, (i + 1) / 2);
      publish(&p, &p.client, "t", "x", 1, i);
      pair_pump(&p);
    }
    assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 0);
    for (uint64_t epoch = 1; epoch <= 3; epoch++) {
      assert_true(roam_session_held(p.server.session));
      roam_session_release(p.server.session, epoch);
      pair_pump(&p);
      assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 2 * epoch);
      assert_true(find_kind(&p.client, ROAM_SE_DONE, 2 * epoch - 1)->token == 2 * epoch);
    }
    pair_reset(&p);
  }
}

static void pings_do_not_wait(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  pair_connect(&p, false);
  pair_pump(&p);
  roam_session_hold(p.server.session, 9);
  publish(&p, &p.client, "t", "x", 1, 1);
  pair_pump(&p);
  uint64_t before = p.client.in.total;
  for (int i = 0; i < 3; i++) {
    roam_session_ping(p.client.session, p.now);
    pair_pump(&p);
  }
  assert_int_equal(p.client.in.total - before, 6);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 0);
  roam_session_release(p.server.session, 9);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 1);
  pair_reset(&p);
}

/* With a journal an outgoing QoS 2 message has its identifier told before it goes, and what is behind it follows. */
static void qos2_waits_with_its_identifier(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  pair_connect(&p, false);
  pair_pump(&p);
  roam_session_journal(p.server.session, true);
  roam_session_hold(p.server.session, 1);
  publish(&p, &p.server, "t", "one", 1, 11);
  publish(&p, &p.server, "t", "two", 2, 12);
  publish(&p, &p.server, "t", "three", 1, 13);
  publish(&p, &p.server, "t", "four", 2, 14);
  publish(&p, &p.server, "t", "zero", 0, 15);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 1);
  assert_int_equal(count_kind(&p.server, ROAM_SE_CHANGED), 2);
  assert_true(find_kind(&p.server, ROAM_SE_CHANGED, 0)->token == 12 &&
              find_kind(&p.server, ROAM_SE_CHANGED, 1)->token == 14);
  assert_true(roam_session_held(p.server.session));
  roam_session_release(p.server.session, 1);
  roam_session_hold(p.server.session, 2);
  pair_pump(&p);
  const char *const order[] = {"one", "two", "three", "four", "zero"};
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 5);
  for (size_t i = 0; i < 5; i++) assert_string_equal(find_kind(&p.client, ROAM_SE_MESSAGE, i)->payload, order[i]);
  assert_int_equal(count_kind(&p.server, ROAM_SE_CHANGED), 4); /* two PUBREC have come, */
  assert_int_equal(count_kind(&p.server, ROAM_SE_DONE), 3);    /* and PUBREL waits for the second epoch */
  roam_session_release(p.server.session, 2);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_DONE), 5);
  pair_reset(&p);
}

static void released_identifiers_are_told(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  pair_connect(&p, false);
  pair_pump(&p);
  roam_session_journal(p.server.session, true);
  publish(&p, &p.client, "t", "x", 2, 1);
  pair_pump(&p);
  const struct seen *changed = find_kind(&p.server, ROAM_SE_CHANGED, 0);
  assert_int_equal(changed->packet_id, find_kind(&p.server, ROAM_SE_MESSAGE, 0)->packet_id);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 1);
  pair_reset(&p);
}

static void give(struct pair *p, roam_past_kind kind, uint16_t packet_id, const char *payload, uint8_t qos, uint64_t token,
                 roam_rc expected) {
  roam_message m = {0};
  roam_past past = {.kind = kind, .packet_id = packet_id, .token = token, .how = {.qos = qos}};
  if (payload) {
    assert_int_equal(roam_message_make(&m, p->now, text("t"), (roam_bytes){NULL, 0}, text(payload), qos, false), 0);
    past.message = &m;
  }
  assert_int_equal(roam_session_restore(p->server.session, &past), expected);
  roam_blob_unref(m.blob);
}

static void given_back(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  give(&p, ROAM_PAST_RELEASED, 7, NULL, 2, 1, 0);
  give(&p, ROAM_PAST_SENT, 40000, "sent", 2, 2, 0);
  give(&p, ROAM_PAST_SENT, 15, "sent too", 2, 3, 0);
  give(&p, ROAM_PAST_SENT, 15, "twice", 2, 4, ROAM_E_ARGUMENT);
  give(&p, ROAM_PAST_SENT, 0, "no identifier", 2, 4, ROAM_E_ARGUMENT);
  give(&p, ROAM_PAST_QUEUED, 0, "queued", 1, 5, 0);
  give(&p, ROAM_PAST_RECEIVED, 99, NULL, 0, 0, 0);
  give(&p, ROAM_PAST_RECEIVED, 99, NULL, 0, 0, ROAM_E_ARGUMENT);
  roam_session_info info = roam_session_get_info(p.server.session);
  assert_true(info.inflight == 3 && info.queued == 1 && info.awaiting_rel == 1);
  pair_connect(&p, true);
  give(&p, ROAM_PAST_QUEUED, 0, "too late", 1, 6, ROAM_E_STATE);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 3);
  const struct seen *sent = find_kind(&p.client, ROAM_SE_MESSAGE, 0);
  assert_string_equal(sent->payload, "sent");
  assert_true(sent->dup && sent->packet_id == 40000);
  assert_int_equal(find_kind(&p.client, ROAM_SE_MESSAGE, 1)->packet_id, 15);
  assert_false(find_kind(&p.client, ROAM_SE_MESSAGE, 2)->dup);
  assert_int_equal(count_kind(&p.server, ROAM_SE_DONE), 4);
  pair_reset(&p);
}

/* Identifiers that share a slot of a small table, and then as many new ones as there is room for. */
static void many_given_back(void **state) {
  (void)state;
  struct pair p;
  begin(&p);
  for (uint16_t i = 1; i <= 60; i++) give(&p, ROAM_PAST_SENT, (uint16_t)(i * 1024), "x", 2, i, 0);
  for (uint16_t i = 0; i < 500; i++) publish(&p, &p.server, "t", "y", 2, 1000u + i);
  pair_connect(&p, true);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 560);
  assert_int_equal(count_kind(&p.server, ROAM_SE_DONE), 560);
  pair_reset(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connack_waits),
      cmocka_unit_test(in_order_of_epochs),
      cmocka_unit_test(pings_do_not_wait),
      cmocka_unit_test(qos2_waits_with_its_identifier),
      cmocka_unit_test(released_identifiers_are_told),
      cmocka_unit_test(given_back),
      cmocka_unit_test(many_given_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
