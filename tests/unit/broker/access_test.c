/* access_test.c - a broker with passwords: hashing in slices while others are served, limits of an address, permission to
 * listen. What a client hears of it all is in tests/conformance/mqtt_auth_test.c. */
#include "unit/broker/rig.h"

/* "secret" and "geheim"; slow costs 900,000 iterations */
#define QUICK                                                                                                              \
  "quick:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"                   \
  "Uz4ecVxcRbxCbzkA==\n"
#define SLOW                                                                                                               \
  "slow:$7$900000$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"                 \
  "Uz4ecVxcRbxCbzkA==\n"

static roam_broker_options options(void) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.passwords = text(QUICK SLOW);
  o.sys_interval_s = 0; /* nothing else asks for a tick */
  return o;
}

static roam_packet login(const char *id, const char *user, const char *password) {
  roam_packet c = rig_connect_packet(id, true);
  c.connect.has_user_name = c.connect.has_password = true;
  c.connect.user_name = text(user);
  c.connect.password = text(password);
  return c;
}

static struct link *try(struct rig *rig, const char *user, const char *password) {
  struct link *l = rig_open(rig, ROAM_MQTT_5);
  roam_packet c = login("x", user, password);
  rig_send(rig, l, &c);
  rig_wait(rig, ROAM_MS);
  return l;
}

static void tick(struct rig *rig) {
  roam_broker_tick(rig->broker, rig->now);
  rig_run(rig);
}

static void a_costly_hash_holds_up_nobody(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options();
  rig_begin(&rig, &o);
  struct link *slow = rig_open(&rig, ROAM_MQTT_5), *quick = rig_open(&rig, ROAM_MQTT_5);
  roam_packet c = login("slow", "slow", "wrong");
  rig_send(&rig, slow, &c);
  rig_expect_nothing(slow);
  assert_true(roam_broker_deadline(rig.broker) == rig.now); /* it wants to go on at once */
  tick(&rig);
  rig_expect_nothing(slow);
  c = login("quick", "quick", "secret");
  rig_send(&rig, quick, &c);
  tick(&rig);
  assert_int_equal(rig_expect(quick, ROAM_CONNACK).reason, 0); /* one tick, however much the other still costs */
  rig_expect_nothing(slow);
  rig_subscribe(&rig, quick, "t", 0);
  int ticks = 0;
  for (; roam_broker_deadline(rig.broker) == rig.now; ticks++) tick(&rig);
  assert_in_range(ticks, 100, 120); /* 900000 / 8192 */
  assert_int_equal(rig_expect(slow, ROAM_CONNACK).reason, ROAM_REASON_BAD_USER_NAME_OR_PASSWORD);
  rig_end(&rig);
}

static void whoever_leaves_costs_no_more(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options();
  rig_begin(&rig, &o);
  struct link *slow = rig_open(&rig, ROAM_MQTT_5);
  roam_packet c = login("slow", "slow", "wrong");
  rig_send(&rig, slow, &c);
  rig_hang_up(&rig, slow, ECONNRESET);
  assert_true(roam_broker_deadline(rig.broker) > rig.now);
  assert_int_equal(roam_broker_get_stats(rig.broker).connections, 0);
  rig_end(&rig);
}

static void failures_block_their_address(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options();
  o.auth_failures_max = 3;
  rig_begin(&rig, &o);
  for (int i = 0; i < 3; i++)
    assert_int_equal(rig_expect(try(&rig, i == 1 ? "nobody" : "quick", "no"), ROAM_CONNACK).reason,
                     ROAM_REASON_BAD_USER_NAME_OR_PASSWORD);
  roam_packet connack = rig_expect(try(&rig, "quick", "secret"), ROAM_CONNACK); /* the right one comes too late */
  roam_prop why;
  assert_int_equal(connack.reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  assert_int_equal(roam_prop_find(connack.props, ROAM_PROP_REASON_STRING, &why), 1);
  assert_int_equal(roam_broker_get_stats(rig.broker).connects_limited, 1);
  rig_wait(&rig, 21 * ROAM_S);
  assert_int_equal(rig_expect(try(&rig, "quick", "secret"), ROAM_CONNACK).reason, 0);
  rig_end(&rig);
}

static void rates_are_limited_by_address(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.connect_rate_max = 2;
  rig_begin(&rig, &o);
  rig_join(&rig, "a", ROAM_MQTT_5, true, 0);
  rig_join(&rig, "b", ROAM_MQTT_5, true, 0);
  struct link *l = rig_open(&rig, ROAM_MQTT_311);
  roam_packet c = rig_connect_packet("c", true), connack = rig_greet(&rig, l, &c);
  assert_int_equal(connack.reason, ROAM_REASON_SERVER_UNAVAILABLE); /* all that 3.1.1 can say */
  rig_wait(&rig, ROAM_S);
  rig_join(&rig, "c", ROAM_MQTT_5, true, 0);
  rig_end(&rig);
}

static void connections_are_limited_by_address(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.address_connections_max = 2;
  rig_begin(&rig, &o);
  struct link *a = rig_join(&rig, "a", ROAM_MQTT_5, true, 0);
  rig_open(&rig, ROAM_MQTT_5); /* says nothing, and counts */
  struct link *c = rig_open(&rig, ROAM_MQTT_5);
  assert_false(c->open);
  assert_int_equal(rig_event(&rig, ROAM_EV_PEER_REFUSED, "")->rc, ROAM_E_LIMIT);
  assert_int_equal(roam_broker_get_stats(rig.broker).addresses_limited, 1);
  assert_int_equal(roam_broker_get_stats(rig.broker).connections, 2);
  rig_hang_up(&rig, a, 0);
  struct link *d = rig_join(&rig, "d", ROAM_MQTT_5, true, 0);
  o.address_connections_max = 0; /* SIGHUP */
  assert_int_equal(roam_broker_reconfigure(rig.broker, &o), 0);
  for (int i = 0; i < 10; i++) assert_true(rig_open(&rig, ROAM_MQTT_5)->open);
  o.address_connections_max = 3; /* those that are there count, and stay */
  assert_int_equal(roam_broker_reconfigure(rig.broker, &o), 0);
  assert_false(rig_open(&rig, ROAM_MQTT_5)->open);
  assert_true(d->open);
  rig_end(&rig);
}

static void limits_are_read_anew(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options();
  o.auth_failures_max = 1;
  rig_begin(&rig, &o);
  rig_expect(try(&rig, "quick", "no"), ROAM_CONNACK);
  assert_int_equal(rig_expect(try(&rig, "quick", "secret"), ROAM_CONNACK).reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  o.auth_failures_max = 0;
  o.connect_rate_max = 1;
  assert_int_equal(roam_broker_reconfigure(rig.broker, &o), 0);
  assert_int_equal(rig_expect(try(&rig, "quick", "secret"), ROAM_CONNACK).reason, 0);
  assert_int_equal(rig_expect(try(&rig, "quick", "secret"), ROAM_CONNACK).reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  rig_end(&rig);
}

static void passwords_open_the_way_beyond_loopback(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_broker_options o;
  roam_addr local;
  roam_rng_init(&rng, 1);
  roam_broker_options_init(&o);
  assert_int_equal(roam_addr_parse("0.0.0.0:1883", &local), 0);
  for (int with = 0; with < 2; with++) {
    if (with) o.passwords = text(QUICK);
    roam_broker *b = roam_broker_new(&o, ROAM_S, &rng.random, NULL);
    assert_non_null(b);
    assert_int_equal(roam_broker_listen(b, ROAM_S, ROAM_TRANSPORT_TCP, &local, NULL), with ? 0 : ROAM_E_PERMISSION);
    roam_broker_free(b);
  }
}

static const struct {
  const char *name, *local, *remote; /* NULL: a Unix socket's */
  uint8_t reason;
} nameless[] = {
    {"both ends", "127.0.0.1:1883", "127.0.0.1:40000", 0},
    {"IPv6", "[::1]:1883", "[::1]:40000", 0},
    {"a Unix socket", NULL, NULL, 0},
    {"neither end", "192.0.2.1:1883", "192.0.2.9:40000", ROAM_REASON_NOT_AUTHORIZED},
    {"led to loopback from elsewhere", "127.0.0.1:1883", "192.0.2.9:40000", ROAM_REASON_NOT_AUTHORIZED},
    {"to an address that others reach", "192.0.2.1:1883", "127.0.0.1:40000", ROAM_REASON_NOT_AUTHORIZED},
};

/* passwords: with some, and allow_anonymous; without, on listeners that are on loopback. */
static void the_nameless_stay_on_loopback(void **state) {
  (void)state;
  for (int with = 0; with < 2; with++) {
    for (size_t i = 0; i < sizeof nameless / sizeof nameless[0]; i++) {
      struct rig rig;
      roam_broker_options o = options();
      o.allow_anonymous = true;
      if (!with) o.passwords = (roam_bytes){0};
      rig_begin(&rig, &o);
      struct link *l = &rig.links[rig.links_len++];
      roam_packet c = rig_connect_packet("near", true);
      *l =
          (struct link){.handle = ROAM_HANDLE_EDGE | 60, .version = ROAM_MQTT_5, .open = true, .credit = ROAM_CREDIT_START};
      l->reader = roam_reader_new(true, ROAM_MQTT_5, 1u << 20);
      assert_non_null(l->reader);
      roam_wire accept = {.kind = ROAM_WIRE_ACCEPT, .handle = l->handle, .parent = rig.listener};
      if (nameless[i].local) {
        assert_int_equal(roam_addr_parse(nameless[i].local, &accept.local), 0);
        assert_int_equal(roam_addr_parse(nameless[i].remote, &accept.remote), 0);
      }
      roam_broker_feed(rig.broker, rig.now, &accept, 1);
      if (rig_greet(&rig, l, &c).reason != nameless[i].reason) fail_msg("%s", nameless[i].name);
      rig_end(&rig);
    }
  }
}

static void options_are_checked(void **state) {
  (void)state;
  roam_broker_options o = options();
  assert_null(roam_broker_option_error(&o));
  o.passwords = text("a:b\n");
  assert_non_null(strstr(roam_broker_option_error(&o), "passwords"));
  o = options();
  o.acl = text("forbid all\n");
  assert_non_null(strstr(roam_broker_option_error(&o), "acl"));
  o = options();
  o.subject_as_user_name = true;
  assert_non_null(strstr(roam_broker_option_error(&o), "subject_as_user_name"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_costly_hash_holds_up_nobody),
      cmocka_unit_test(whoever_leaves_costs_no_more),
      cmocka_unit_test(failures_block_their_address),
      cmocka_unit_test(rates_are_limited_by_address),
      cmocka_unit_test(connections_are_limited_by_address),
      cmocka_unit_test(limits_are_read_anew),
      cmocka_unit_test(passwords_open_the_way_beyond_loopback),
      cmocka_unit_test(the_nameless_stay_on_loopback),
      cmocka_unit_test(options_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
