/* resume_test.c - connections that break at every step of a handshake: QoS 1 arrives at least once, QoS 2 exactly once, in
 * order, and nothing is left behind. */
#include "unit/mqtt/pair.h"

static const roam_bytes none = {NULL, 0};

static void start(struct pair *p, uint8_t version) {
  roam_session_options client, server;
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  client.version = version;
  pair_init(p, &client, &server);
}

/* One half step at a time: write or read, by one side, one packet at most. Returns false when nothing moved. */
static bool half_step(struct pair *p, unsigned step) {
  struct side *client = &p->client, *server = &p->server;
  switch (step % 4) {
    case 0: return side_write(p, client, server);
    case 1: return side_read(p, server);
    case 2: return side_write(p, server, client);
    default: return side_read(p, client);
  }
}

static void expect_all_done(struct pair *p, struct side *from, struct side *to, uint8_t qos, uint64_t n) {
  assert_int_equal(count_kind(from, ROAM_SE_DONE), n);
  assert_int_equal(count_kind(from, ROAM_SE_DROPPED), 0);
  assert_int_equal(count_kind(from, ROAM_SE_FAULT) + count_kind(to, ROAM_SE_FAULT), 0);
  size_t got = count_kind(to, ROAM_SE_MESSAGE);
  if (qos == 2) {
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++) {
      char want[24];
      snprintf(want, sizeof want, "%zu", i);
      assert_string_equal(find_kind(to, ROAM_SE_MESSAGE, i)->payload, want);
    }
  } else {
    assert_true(got >= n);
  }
  assert_true(roam_session_get_info(p->client.session).drained);
  assert_true(roam_session_get_info(p->server.session).drained);
  assert_int_equal(roam_session_get_info(p->client.session).awaiting_rel, 0);
  assert_int_equal(roam_session_get_info(p->server.session).awaiting_rel, 0);
}

/* The connection breaks after `first` half steps, and its successor after `second`. */
static void break_twice(uint8_t version, uint8_t qos, bool upward, unsigned first, unsigned second) {
  struct pair p;
  start(&p, version);
  pair_connect(&p, false);
  pair_pump(&p);
  struct side *from = upward ? &p.client : &p.server, *to = upward ? &p.server : &p.client;
  for (uint64_t i = 0; i < 3; i++) {
    char payload[8];
    snprintf(payload, sizeof payload, "%u", (unsigned)i);
    assert_int_equal(publish(&p, from, "t", payload, qos, i), 0);
  }
  for (unsigned i = 0; i < first; i++) {
    half_step(&p, i);
  }
  pair_cut(&p);
  pair_connect(&p, true);
  for (unsigned i = 0; i < second; i++) {
    half_step(&p, i);
  }
  pair_cut(&p);
  pair_connect(&p, true);
  pair_pump(&p);
  expect_all_done(&p, from, to, qos, 3);
  pair_reset(&p);
}

static void broken_at_every_step(void **state) {
  (void)state;
  static const uint8_t versions[] = {4, 5};
  for (size_t v = 0; v < 2; v++) {
    for (uint8_t qos = 1; qos <= 2; qos++) {
      for (unsigned first = 0; first <= 9; first++) {
        for (unsigned second = 0; second <= 11; second++) {
          break_twice(versions[v], qos, true, first, second);
          break_twice(versions[v], qos, false, first, second);
        }
      }
    }
  }
}

static void what_is_sent_again_is_marked_and_in_order(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4);
  pair_connect(&p, false);
  pair_pump(&p);
  p.server.no_acks = true;
  publish(&p, &p.client, "a", "", 2, 1); /* will be in its second half */
  pair_pump(&p);
  roam_session_ack(p.server.session, p.now, 0, 1, 0);
  side_write(&p, &p.server, &p.client);
  side_read(&p, &p.client);
  publish(&p, &p.client, "b", "", 1, 2);
  publish(&p, &p.client, "c", "", 2, 3);
  side_write(&p, &p.client, &p.server);
  publish(&p, &p.client, "d", "", 1, 4); /* never sent before */
  pair_cut(&p);
  pair_connect(&p, true);
  side_write(&p, &p.server, &p.client);
  side_read(&p, &p.client);
  struct side to = {0};
  side_write(&p, &p.client, &to);
  static const uint8_t want[] = {0x62, 2, 0,   1, 0x3A, 5,    0, 1, 'b', 0,   2, 0x3C, 5,
                                 0,    1, 'c', 0, 3,    0x32, 5, 0, 1,   'd', 0, 4};
  assert_int_equal(to.in.len, sizeof want);
  assert_memory_equal(to.in.bytes, want, sizeof want);
  free(to.in.bytes);
  pair_reset(&p);
}

/* The owner's acknowledgement comes while there is no connection: the duplicate is answered and not reported. */
static void acknowledged_without_a_connection(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  pair_connect(&p, false);
  p.server.no_acks = true;
  pair_pump(&p);
  publish(&p, &p.client, "t", "x", 2, 1);
  pair_pump(&p);
  pair_cut(&p);
  roam_session_ack(p.server.session, p.now, 0, 1, 0);
  assert_int_equal(roam_session_get_info(p.server.session).awaiting_rel, 1);
  pair_connect(&p, true);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 1);
  pair_reset(&p);
}

/* It comes only after the duplicate on the next connection. */
static void acknowledged_after_the_duplicate(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  pair_connect(&p, false);
  p.server.no_acks = true;
  pair_pump(&p);
  publish(&p, &p.client, "t", "x", 2, 1);
  pair_pump(&p);
  pair_cut(&p);
  pair_connect(&p, true);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 0);
  roam_session_ack(p.server.session, p.now, 0, 1, 0);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 1);
  assert_int_equal(roam_session_get_info(p.server.session).awaiting_rel, 0);
  pair_reset(&p);
}

/* The server has lost the session: the client's messages are published anew, ahead of what waits, and end well. */
static void a_lost_session_loses_no_message(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  pair_connect(&p, false);
  pair_pump(&p);
  p.server.deaf = true;
  publish(&p, &p.client, "t", "0", 1, 0);
  publish(&p, &p.client, "t", "1", 2, 1);
  side_write(&p, &p.client, &p.server);
  pair_cut(&p);
  publish(&p, &p.client, "t", "2", 1, 2);
  p.server.deaf = false;
  pair_connect(&p, false);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 3);
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(find_kind(&p.server, ROAM_SE_MESSAGE, i)->payload[0], (int)('0' + i));
    assert_false(find_kind(&p.server, ROAM_SE_MESSAGE, i)->dup);
  }
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 3);
  assert_true(roam_session_get_info(p.client.session).drained);
  pair_reset(&p);
}

static void a_new_session_drops_what_the_server_had(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  pair_connect(&p, false);
  pair_pump(&p);
  p.client.deaf = true;
  publish(&p, &p.server, "t", "flying", 1, 1);
  side_write(&p, &p.server, &p.client);
  pair_cut(&p);
  publish(&p, &p.server, "t", "waiting", 1, 2);
  p.client.deaf = false;
  pair_connect(&p, false);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 0);
  assert_int_equal(count_kind(&p.server, ROAM_SE_DROPPED), 2);
  assert_int_equal(roam_session_get_info(p.server.session).dropped, 2);
  pair_reset(&p);
}

static void subscribe_is_sent_until_it_is_answered(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  uint8_t list[8];
  size_t len = 0;
  roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("a"), .qos = 1});
  pair_connect(&p, false);
  pair_pump(&p);
  roam_session_subscribe(p.client.session, p.now, (roam_bytes){list, len}, none, 1);
  for (int i = 0; i < 3; i++) {
    side_write(&p, &p.client, &p.server);
    pair_cut(&p);
    pair_connect(&p, i == 1);
    side_write(&p, &p.server, &p.client);
    side_read(&p, &p.client);
  }
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_SUBACK), 1);
  assert_int_equal(count_kind(&p.server, ROAM_SE_SUBSCRIBE), 1);
  pair_reset(&p);
}

static void qos0_goes_with_its_connection_unless_asked_to_stay(void **state) {
  (void)state;
  for (int stay = 0; stay <= 1; stay++) {
    roam_session_options client, server;
    roam_session_options_init(&client, ROAM_ROLE_CLIENT);
    roam_session_options_init(&server, ROAM_ROLE_SERVER);
    client.queue_qos0_offline = stay == 1;
    struct pair p;
    pair_init(&p, &client, &server);
    assert_int_equal(publish(&p, &p.client, "t", "offline", 0, 1), 0);
    pair_connect(&p, false);
    publish(&p, &p.client, "t", "connecting", 0, 2);
    pair_cut(&p);
    side_poll(&p, &p.client);
    assert_int_equal(count_kind(&p.client, ROAM_SE_DROPPED), stay ? 0 : 2);
    assert_int_equal(roam_session_get_info(p.client.session).dropped, stay ? 0 : 2);
    pair_connect(&p, false);
    pair_pump(&p);
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), stay ? 2 : 0);
    pair_reset(&p);
  }
}

/* Any faults in any order: messages of all qualities both ways, connections cut at random, bytes in random pieces. Then the
 * faults end, and everything must have arrived as promised. */
static uint32_t draw(uint64_t *seed, uint32_t below) {
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(*seed >> 33) % below;
}

static void run_seed(uint64_t seed) {
  struct pair p;
  uint64_t state = seed, sent[2] = {0, 0};
  roam_session_options client, server;
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  client.version = draw(&state, 2) ? 5 : 4;
  client.receive_maximum = (uint16_t)(1 + draw(&state, 5));
  server.receive_maximum = (uint16_t)(1 + draw(&state, 5));
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  for (int turn = 0; turn < 300; turn++) {
    p.chunk = draw(&state, 3) ? 0 : 1 + draw(&state, 20);
    p.room = 1 + draw(&state, draw(&state, 2) ? 40 : 4000);
    p.slices = 1 + draw(&state, 8);
    int up = draw(&state, 2) == 0;
    char payload[16];
    if (draw(&state, 3) == 0 && sent[up] < 60) {
      snprintf(payload, sizeof payload, "%u", (unsigned)sent[up]);
      assert_int_equal(publish(&p, up ? &p.client : &p.server, "topic", payload, 2, sent[up]), 0);
      sent[up]++;
    }
    half_step(&p, draw(&state, 4));
    if (draw(&state, 25) == 0) {
      pair_cut(&p);
      p.room = 65536;
      pair_connect(&p, true);
    }
  }
  p.room = 65536;
  pair_pump(&p);
  for (int up = 0; up <= 1; up++) {
    struct side *to = up ? &p.server : &p.client;
    if (count_kind(to, ROAM_SE_MESSAGE) != sent[up]) {
      fail_msg("seed %u: %zu of %u", (unsigned)seed, count_kind(to, ROAM_SE_MESSAGE), (unsigned)sent[up]);
    }
    for (size_t i = 0; i < sent[up]; i++) {
      assert_int_equal(atoi(find_kind(to, ROAM_SE_MESSAGE, i)->payload), (int)i);
    }
    assert_int_equal(count_kind(up ? &p.client : &p.server, ROAM_SE_DONE), sent[up]);
    assert_int_equal(count_kind(to, ROAM_SE_FAULT), 0);
  }
  assert_true(roam_session_get_info(p.client.session).drained && roam_session_get_info(p.server.session).drained);
  pair_reset(&p);
}

static void any_faults_exactly_once_in_order(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 300; seed++) {
    run_seed(seed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broken_at_every_step),
      cmocka_unit_test(what_is_sent_again_is_marked_and_in_order),
      cmocka_unit_test(acknowledged_without_a_connection),
      cmocka_unit_test(acknowledged_after_the_duplicate),
      cmocka_unit_test(a_lost_session_loses_no_message),
      cmocka_unit_test(a_new_session_drops_what_the_server_had),
      cmocka_unit_test(subscribe_is_sent_until_it_is_answered),
      cmocka_unit_test(qos0_goes_with_its_connection_unless_asked_to_stay),
      cmocka_unit_test(any_faults_exactly_once_in_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
