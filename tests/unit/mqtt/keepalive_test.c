/* keepalive_test.c - both sides of every edge of section 3.1.2.10, in virtual time. */
#include "unit/mqtt/pair.h"

static void start(struct pair *p, uint8_t version, uint16_t keep_alive_s) {
  roam_session_options client, server;
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  client.version = version;
  pair_init(p, &client, &server);
  p->connect.connect.keep_alive_s = keep_alive_s;
  pair_connect(p, false);
  pair_pump(p);
}

static void tick(struct pair *p, struct side *side, roam_time at) {
  p->now = at;
  roam_session_tick(side->session, at);
  side_poll(p, side);
}

static void client_pings_after_silence(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4, 60);
  assert_int_equal(roam_session_deadline(p.client.session), T0 + 60 * ROAM_S);
  tick(&p, &p.client, T0 + 60 * ROAM_S - 1);
  assert_false(side_write(&p, &p.client, &p.server));
  tick(&p, &p.client, T0 + 60 * ROAM_S);
  assert_true(side_write(&p, &p.client, &p.server));
  assert_int_equal(p.server.in.len, 2);
  assert_int_equal(p.server.in.bytes[0], 0xC0);
  tick(&p, &p.client, T0 + 61 * ROAM_S);
  assert_false(side_write(&p, &p.client, &p.server)); /* one is enough */
  pair_pump(&p);
  assert_int_equal(roam_session_deadline(p.client.session), T0 + 120 * ROAM_S);
  pair_reset(&p);
}

static void what_is_sent_puts_the_ping_off(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5, 60);
  p.now = T0 + 50 * ROAM_S;
  publish(&p, &p.client, "t", "x", 0, 1);
  pair_pump(&p);
  assert_int_equal(roam_session_deadline(p.client.session), T0 + 110 * ROAM_S);
  p.now = T0 + 55 * ROAM_S;
  publish(&p, &p.server, "t", "x", 0, 1); /* what is received does not */
  pair_pump(&p);
  assert_int_equal(roam_session_deadline(p.client.session), T0 + 110 * ROAM_S);
  pair_reset(&p);
}

static void client_gives_up_without_a_sign_of_life(void **state) {
  (void)state;
  static const struct {
    uint16_t keep_alive_s;
    roam_time patience;
  } cases[] = {{60, 30 * ROAM_S}, {20, 10 * ROAM_S}, {10, 5 * ROAM_S}, {2, 5 * ROAM_S}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct pair p;
    start(&p, 5, cases[i].keep_alive_s);
    roam_time asked = T0 + cases[i].keep_alive_s * ROAM_S;
    tick(&p, &p.client, asked);
    side_write(&p, &p.client, &p.server);
    assert_int_equal(roam_session_deadline(p.client.session), asked + cases[i].patience);
    tick(&p, &p.client, asked + cases[i].patience - 1);
    assert_int_equal(count_kind(&p.client, ROAM_SE_FAULT), 0);
    tick(&p, &p.client, asked + cases[i].patience);
    assert_int_equal(find_kind(&p.client, ROAM_SE_FAULT, 0)->reason, ROAM_REASON_KEEP_ALIVE_TIMEOUT);
    assert_int_equal(find_kind(&p.client, ROAM_SE_FAULT, 0)->rc, ROAM_E_TIMEOUT);
    assert_false(side_write(&p, &p.client, &p.server));
    assert_int_equal(roam_session_deadline(p.client.session), ROAM_NEVER);
    pair_reset(&p);
  }
}

/* The PINGRESP may stand behind other packets: each of them is a sign of life. */
static void any_packet_is_a_sign_of_life(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5, 60);
  tick(&p, &p.client, T0 + 60 * ROAM_S);
  side_write(&p, &p.client, &p.server);
  p.now = T0 + 80 * ROAM_S;
  publish(&p, &p.server, "t", "x", 0, 1);
  side_write(&p, &p.server, &p.client);
  side_read(&p, &p.client);
  assert_int_equal(roam_session_deadline(p.client.session), T0 + 110 * ROAM_S);
  pair_reset(&p);
}

static void server_gives_up_after_one_and_a_half(void **state) {
  (void)state;
  static const uint8_t versions[] = {4, 5};
  for (size_t v = 0; v < 2; v++) {
    struct pair p;
    start(&p, versions[v], 3);
    assert_int_equal(roam_session_deadline(p.server.session), T0 + 4500 * ROAM_MS);
    tick(&p, &p.server, T0 + 4500 * ROAM_MS - 1);
    assert_int_equal(count_kind(&p.server, ROAM_SE_FAULT), 0);
    tick(&p, &p.server, T0 + 4500 * ROAM_MS);
    assert_int_equal(find_kind(&p.server, ROAM_SE_FAULT, 0)->reason, ROAM_REASON_KEEP_ALIVE_TIMEOUT);
    assert_int_equal(side_write(&p, &p.server, &p.client), versions[v] == 5);
    if (versions[v] == 5) {
      static const uint8_t want[] = {0xE0, 1, 0x8D};
      assert_memory_equal(p.client.in.bytes, want, sizeof want);
    }
    pair_reset(&p);
  }
}

/* Only whole packets count. */
static void half_a_packet_is_no_sign_of_life(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4, 10);
  size_t used;
  const uint8_t half[] = {0x30, 10, 0, 1, 't'}, ping[] = {0xC0, 0};
  roam_session_feed(p.server.session, T0 + 10 * ROAM_S, 0, (roam_bytes){half, sizeof half}, &used);
  assert_int_equal(used, 0);
  assert_int_equal(roam_session_deadline(p.server.session), T0 + 15 * ROAM_S);
  roam_session_feed(p.server.session, T0 + 10 * ROAM_S, 0, (roam_bytes){ping, sizeof ping}, &used);
  assert_int_equal(roam_session_deadline(p.server.session), T0 + 25 * ROAM_S);
  pair_reset(&p);
}

static void zero_means_never(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5, 0);
  assert_int_equal(roam_session_deadline(p.client.session), ROAM_NEVER);
  assert_int_equal(roam_session_deadline(p.server.session), ROAM_NEVER);
  tick(&p, &p.client, T0 + 1000000 * ROAM_S);
  tick(&p, &p.server, T0 + 1000000 * ROAM_S);
  assert_false(side_write(&p, &p.client, &p.server));
  assert_int_equal(count_kind(&p.server, ROAM_SE_FAULT), 0);
  pair_reset(&p);
}

static void the_server_may_choose(void **state) {
  (void)state;
  roam_session_options client, server;
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  struct pair p;
  pair_init(&p, &client, &server);
  p.connect.connect.keep_alive_s = 600;
  uint8_t memory[8];
  roam_props props = {memory, 0, sizeof memory};
  roam_props_put_number(&props, ROAM_PROP_SERVER_KEEP_ALIVE, 30);
  p.connack.props = (roam_bytes){memory, props.len};
  pair_connect(&p, false);
  pair_pump(&p);
  assert_int_equal(roam_session_deadline(p.client.session), T0 + 30 * ROAM_S);
  assert_int_equal(roam_session_get_info(p.client.session).keep_alive_s, 30);
  pair_reset(&p);
}

static void a_ping_by_command(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4, 60);
  roam_session_ping(p.client.session, p.now);
  roam_session_ping(p.client.session, p.now); /* not drained yet: one will do */
  side_write(&p, &p.client, &p.server);
  assert_int_equal(p.server.in.len, 2);
  roam_session_ping(p.client.session, p.now);
  side_write(&p, &p.client, &p.server);
  assert_int_equal(p.server.in.len, 4);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_FAULT), 0);
  roam_session_ping(p.server.session, p.now);
  assert_false(side_write(&p, &p.server, &p.client));
  pair_reset(&p);
}

static void time_does_not_run_backwards(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4, 10);
  tick(&p, &p.server, T0 + 15 * ROAM_S - 1);
  roam_session_tick(p.server.session, 1);
  p.now = 1;
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_FAULT), 0);
  pair_reset(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(client_pings_after_silence),
      cmocka_unit_test(what_is_sent_puts_the_ping_off),
      cmocka_unit_test(client_gives_up_without_a_sign_of_life),
      cmocka_unit_test(any_packet_is_a_sign_of_life),
      cmocka_unit_test(server_gives_up_after_one_and_a_half),
      cmocka_unit_test(half_a_packet_is_no_sign_of_life),
      cmocka_unit_test(zero_means_never),
      cmocka_unit_test(the_server_may_choose),
      cmocka_unit_test(a_ping_by_command),
      cmocka_unit_test(time_does_not_run_backwards),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
