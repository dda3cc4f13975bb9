/* queue_test.c - what waits: bounds and what happens at them, expiry, topic aliases on the way out and in, subscription
 * identifiers. */
#include "unit/mqtt/pair.h"

static const roam_bytes none = {NULL, 0};

static void start(struct pair *p, roam_session_options *client, roam_session_options *server) {
  pair_init(p, client, server);
  pair_connect(p, false);
  pair_pump(p);
}

static void options(roam_session_options *client, roam_session_options *server) {
  roam_session_options_init(client, ROAM_ROLE_CLIENT);
  roam_session_options_init(server, ROAM_ROLE_SERVER);
}

/* ---- bounds ---- */

static void refuse_is_blocked_then_writable(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  client.queue_messages_max = 4;
  struct pair p;
  start(&p, &client, &server);
  for (uint64_t i = 0; i < 4; i++) {
    assert_int_equal(publish(&p, &p.client, "t", "x", 1, i), 0);
  }
  assert_int_equal(publish(&p, &p.client, "t", "x", 1, 4), ROAM_E_BLOCKED);
  assert_int_equal(count_kind(&p.client, ROAM_SE_WRITABLE), 0);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_WRITABLE), 1);
  assert_int_equal(publish(&p, &p.client, "t", "x", 1, 5), 0);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_WRITABLE), 1);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 5);
  pair_reset(&p);
}

/* WRITABLE comes only when half of the queue is free, not with the first place. */
static void writable_waits_for_half(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  client.queue_messages_max = 4;
  client.send_window_max = 1;
  struct pair p;
  start(&p, &client, &server);
  p.server.no_acks = true;
  for (uint64_t i = 0; i < 4; i++) {
    publish(&p, &p.client, "t", "x", 1, i);
  }
  assert_int_equal(publish(&p, &p.client, "t", "x", 1, 4), ROAM_E_BLOCKED);
  pair_pump(&p); /* one flies, three wait */
  assert_int_equal(count_kind(&p.client, ROAM_SE_WRITABLE), 0);
  roam_session_ack(p.server.session, p.now, 0, 1, 0);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_WRITABLE), 1);
  pair_reset(&p);
}

static void a_servers_refusal_is_a_limit(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  server.queue_bytes_max = 10;
  struct pair p;
  start(&p, &client, &server);
  assert_int_equal(publish(&p, &p.server, "t", "12345", 1, 1), 0);
  assert_int_equal(publish(&p, &p.server, "t", "1234", 1, 2), ROAM_E_LIMIT);
  assert_int_equal(publish(&p, &p.server, "t", "123", 1, 3), 0);
  assert_int_equal(roam_session_get_info(p.server.session).queued_bytes, 10);
  assert_int_equal(publish(&p, &p.server, "t", "12345678901234567890", 1, 3), ROAM_E_LIMIT);
  pair_pump(&p);
  assert_int_equal(roam_session_get_info(p.server.session).queued_bytes, 0);
  pair_reset(&p);
}

static void the_oldest_or_the_newest_goes(void **state) {
  (void)state;
  for (int oldest = 0; oldest <= 1; oldest++) {
    roam_session_options client, server;
    options(&client, &server);
    client.queue_messages_max = 3;
    client.overflow = oldest ? ROAM_OVERFLOW_DROP_OLDEST : ROAM_OVERFLOW_DROP_NEWEST;
    struct pair p;
    start(&p, &client, &server);
    for (uint64_t i = 0; i < 5; i++) {
      char payload[2] = {(char)('0' + i), 0};
      assert_int_equal(publish(&p, &p.client, "t", payload, 1, i), 0);
    }
    pair_pump(&p);
    assert_int_equal(count_kind(&p.client, ROAM_SE_DROPPED), 2);
    assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 0)->token, oldest ? 0 : 3);
    assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 1)->token, oldest ? 1 : 4);
    assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 0)->reason, ROAM_REASON_QUOTA_EXCEEDED);
    assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 0)->payload, oldest ? "2" : "0");
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 3);
    assert_int_equal(roam_session_get_info(p.client.session).dropped, 2);
    pair_reset(&p);
  }
}

/* Dropping makes events; an owner who does not read them is refused instead. */
static void dropping_unheard_is_refused(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  client.queue_messages_max = 1;
  client.events_max = 8;
  client.overflow = ROAM_OVERFLOW_DROP_OLDEST;
  struct pair p;
  start(&p, &client, &server);
  int refused = 0;
  for (uint64_t i = 0; i < 100; i++) {
    refused += publish(&p, &p.client, "t", "x", 1, i) == ROAM_E_BLOCKED;
  }
  assert_int_equal(refused, 100 - 1 - 8);
  side_poll(&p, &p.client);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DROPPED), 8);
  pair_reset(&p);
}

/* ---- expiry ---- */

static roam_bytes make_expiry(uint8_t memory[8], uint32_t seconds) {
  roam_props props = {memory, 0, 8};
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, seconds), 0);
  return (roam_bytes){memory, props.len};
}

static void the_interval_shrinks_while_it_waits(void **state) {
  (void)state;
  static const struct {
    roam_time waited;
    uint32_t left;
  } cases[] = {{0, 10}, {1, 10}, {ROAM_S, 9}, {ROAM_S + 1, 9}, {9 * ROAM_S + 1, 1}, {10 * ROAM_S - 1, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_session_options client, server;
    options(&client, &server);
    struct pair p;
    start(&p, &client, &server);
    uint8_t memory[8];
    publish_bytes(&p, &p.client, "a/b", make_expiry(memory, 10), text("x"), 1, 1);
    p.now += cases[i].waited;
    pair_pump(&p);
    const struct seen *x = find_kind(&p.server, ROAM_SE_MESSAGE, 0);
    roam_prop prop;
    assert_int_equal(roam_prop_find((roam_bytes){x->props, x->props_len}, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, &prop), 1);
    assert_int_equal(prop.number, cases[i].left);
    pair_reset(&p);
  }
}

static void what_has_expired_is_not_sent(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  struct pair p;
  start(&p, &client, &server);
  uint8_t memory[8];
  publish_bytes(&p, &p.client, "t", make_expiry(memory, 10), text("old"), 1, 1);
  publish(&p, &p.client, "t", "young", 1, 2);
  p.now += 10 * ROAM_S;
  pair_pump(&p);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 0)->token, 1);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
  assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 0)->payload, "young");
  pair_reset(&p);
}

/* A full queue first forgets what nobody would get. */
static void what_has_expired_makes_room(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  client.queue_messages_max = 2;
  struct pair p;
  start(&p, &client, &server);
  uint8_t memory[8];
  publish_bytes(&p, &p.client, "t", make_expiry(memory, 1), text("old"), 1, 1);
  publish_bytes(&p, &p.client, "t", make_expiry(memory, 100), text("young"), 1, 2);
  assert_int_equal(publish(&p, &p.client, "t", "new", 1, 3), ROAM_E_BLOCKED);
  p.now += ROAM_S;
  assert_int_equal(publish(&p, &p.client, "t", "new", 1, 3), 0);
  pair_reset(&p);
}

/* ---- what is made ---- */

static void a_message_keeps_only_its_own_properties(void **state) {
  (void)state;
  uint8_t memory[64];
  roam_props props = {memory, 0, sizeof memory};
  roam_props_put_number(&props, ROAM_PROP_TOPIC_ALIAS, 3);
  roam_props_put_bytes(&props, ROAM_PROP_CONTENT_TYPE, text("c"));
  roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, 7);
  roam_props_put_number(&props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, 5);
  roam_message m;
  assert_int_equal(roam_message_make(&m, T0, text("t"), (roam_bytes){memory, props.len}, text("p"), 1, true), 0);
  assert_int_equal(m.props.len, 4 + 5);
  assert_int_equal(m.expires, T0 + 5 * ROAM_S);
  assert_true(m.retain && m.qos == 1);
  assert_int_equal(roam_blob_len(m.blob), 1 + 9 + 1);
  roam_blob_unref(m.blob);
  assert_int_equal(roam_message_make(&m, T0, text("a/#"), none, none, 0, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_message_make(&m, T0, none, none, none, 0, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_message_make(&m, T0, text("t"), text("zz"), none, 0, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_message_make(&m, T0, text("t"), none, none, 3, false), ROAM_E_ARGUMENT);
}

static void subscription_identifiers_are_added(void **state) {
  (void)state;
  static const uint32_t counts[] = {1, 2, 5}; /* in place, and in a blob of their own */
  for (size_t c = 0; c < 3; c++) {
    roam_session_options client, server;
    options(&client, &server);
    struct pair p;
    start(&p, &client, &server);
    uint8_t memory[64];
    roam_props ids = {memory, 0, sizeof memory};
    for (uint32_t i = 0; i < counts[c]; i++) {
      roam_props_put_number(&ids, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, 1000 + i);
    }
    roam_message m;
    assert_int_equal(roam_message_make(&m, p.now, text("t"), none, text("p"), 1, false), 0);
    roam_publish_how how = {.qos = 1, .sub_ids = {memory, ids.len}};
    assert_int_equal(roam_session_publish(p.server.session, p.now, &m, &how, 1), 0);
    roam_blob_unref(m.blob);
    memset(memory, 0, sizeof memory);
    pair_pump(&p);
    const struct seen *x = find_kind(&p.client, ROAM_SE_MESSAGE, 0);
    roam_bytes rest = {x->props, x->props_len};
    roam_prop prop;
    uint32_t n = 0;
    while (roam_prop_next(&rest, &prop) == 1) {
      assert_int_equal(prop.number, 1000 + n++);
    }
    assert_int_equal(n, counts[c]);
    pair_reset(&p);
  }
}

/* ---- aliases ---- */

static void repeated_topics_become_aliases(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  server.topic_alias_maximum = 2;
  struct pair p;
  start(&p, &client, &server);
  static const char *const topics[] = {"topic/one", "topic/two", "topic/three"};
  size_t sizes[2][3];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 3; i++) {
      uint64_t before = p.server.in.total;
      publish(&p, &p.client, topics[i], "x", 0, 1);
      pair_pump(&p);
      sizes[round][i] = (size_t)(p.server.in.total - before);
    }
  }
  assert_int_equal(sizes[0][0] - sizes[1][0], strlen(topics[0]));
  assert_int_equal(sizes[0][1] - sizes[1][1], strlen(topics[1]));
  assert_int_equal(sizes[0][2], sizes[1][2]); /* the peer allows two */
  for (size_t i = 0; i < 6; i++) {
    assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, i)->topic, topics[i % 3]);
  }
  pair_cut(&p);
  pair_connect(&p, true);
  publish(&p, &p.client, topics[0], "x", 1, 1);
  pair_pump(&p);
  assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 6)->topic, topics[0]);
  pair_reset(&p);
}

static void feed(struct pair *p, struct side *side, const uint8_t *bytes, size_t len) {
  pipe_append(&side->in, bytes, len);
  side_read(p, side);
}

static void bad_aliases_are_faults(void **state) {
  (void)state;
  static const struct {
    uint8_t bytes[12];
    size_t len;
    uint8_t reason;
  } cases[] = {
      {{0x30, 7, 0, 1, 't', 3, 0x23, 0, 17}, 9, ROAM_REASON_TOPIC_ALIAS_INVALID},
      {{0x30, 7, 0, 1, 't', 3, 0x23, 0, 0}, 9, ROAM_REASON_TOPIC_ALIAS_INVALID},
      {{0x30, 6, 0, 0, 3, 0x23, 0, 16}, 8, ROAM_REASON_PROTOCOL_ERROR},
  };
  for (size_t i = 0; i < 3; i++) {
    roam_session_options client, server;
    options(&client, &server);
    struct pair p;
    start(&p, &client, &server);
    feed(&p, &p.server, cases[i].bytes, cases[i].len);
    assert_int_equal(find_kind(&p.server, ROAM_SE_FAULT, 0)->reason, cases[i].reason);
    pair_reset(&p);
  }
}

/* An alias set anew while an event still shows its old topic. */
static void an_alias_may_change_under_unread_events(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server);
  struct pair p;
  start(&p, &client, &server);
  static const uint8_t bytes[] = {0x30, 7, 0, 1, 'a', 3, 0x23, 0, 1, 0x30, 6, 0, 0, 3, 0x23, 0, 1,
                                  0x30, 7, 0, 1, 'b', 3, 0x23, 0, 1, 0x30, 6, 0, 0, 3, 0x23, 0, 1};
  feed(&p, &p.server, bytes, sizeof bytes);
  static const char *const want[] = {"a", "a", "b", "b"};
  for (size_t i = 0; i < 4; i++) {
    assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, i)->topic, want[i]);
  }
  pair_reset(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refuse_is_blocked_then_writable),
      cmocka_unit_test(writable_waits_for_half),
      cmocka_unit_test(a_servers_refusal_is_a_limit),
      cmocka_unit_test(the_oldest_or_the_newest_goes),
      cmocka_unit_test(dropping_unheard_is_refused),
      cmocka_unit_test(the_interval_shrinks_while_it_waits),
      cmocka_unit_test(what_has_expired_is_not_sent),
      cmocka_unit_test(what_has_expired_makes_room),
      cmocka_unit_test(a_message_keeps_only_its_own_properties),
      cmocka_unit_test(subscription_identifiers_are_added),
      cmocka_unit_test(repeated_topics_become_aliases),
      cmocka_unit_test(bad_aliases_are_faults),
      cmocka_unit_test(an_alias_may_change_under_unread_events),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
