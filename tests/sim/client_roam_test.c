/* client_roam_test.c - stories of a phone that moves: client and broker as they are, in a world of virtual time, over QUIC
 * (and once over TCP, to compare). Each story is its whole trace, exact: what the network did (notes), what client and
 * broker said. The phone has wlan0 behind a NAT and cell0 with an address of its own; every link takes 20 ms each way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

struct story {
  roam_world *world;
  roam_host *phone, *server;
  roam_hop *nat;
  struct roam_rng chance; /* the client's own, so that nobody else's draws move its back-off */
  roam_identity identity;
  roam_broker *broker;
  roam_client *client;
  roam_addr wlan, cell, home;
  int published;
};

static void build_network(struct story *s) {
  s->phone = roam_world_host(s->world, "phone");
  s->server = roam_world_host(s->world, "server");
  assert_int_equal(roam_host_address(s->phone, "wlan0", &s->wlan), 0);
  assert_int_equal(roam_host_address(s->phone, "cell0", &s->cell), 0);
  assert_int_equal(roam_host_address(s->server, "eth0", &s->home), 0);
  s->nat = stage_nat(s->world, ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT, 0);
  assert_non_null(s->nat);
  assert_int_equal(roam_host_hop(s->phone, &s->wlan, stage_delay(s->world, 20 * ROAM_MS, 0)), 0);
  assert_int_equal(roam_host_hop(s->phone, &s->wlan, s->nat), 0);
  assert_int_equal(roam_host_hop(s->phone, &s->cell, stage_delay(s->world, 20 * ROAM_MS, 0)), 0);
  assert_int_equal(roam_world_name(s->world, "broker.test", &s->home), 0);
}

static void start_broker(struct story *s) {
  roam_broker_options o = stage_broker_options(&s->identity);
  roam_time now = roam_world_now(s->world);
  roam_rc rc;
  s->broker = roam_broker_new(&o, now, roam_world_random(s->world), &rc);
  assert_non_null(s->broker);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_QUIC, 14567);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_TCP, 1883);
  assert_int_equal(roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL), 0);
}

static void start_client(struct story *s, const char *url) {
  roam_client_options o = stage_client_options(&s->identity, url, "phone");
  o.session_expiry_s = 600;
  roam_rc rc;
  roam_rng_init(&s->chance, 1);
  s->chance.random.simulated = true;
  s->client = roam_client_new(&o, &s->chance.random, &rc);
  assert_non_null(s->client);
  assert_int_equal(roam_client_start(s->client, roam_world_now(s->world)), 0);
  assert_int_equal(roam_host_run(s->phone, roam_client_machine(s->client), stage_ignore, NULL), 0);
}

static struct story *story_new(const char *url) {
  struct story *s = calloc(1, sizeof *s);
  assert_non_null(s);
  roam_world_options o;
  roam_world_options_init(&o);
  o.trace_datagrams = false;
  s->world = roam_world_new(&o);
  s->wlan = stage_addr("10.0.0.2");
  s->cell = stage_addr("198.51.100.9");
  s->home = stage_addr("192.0.2.1");
  assert_int_equal(roam_identity_make(&s->identity, "story", "broker.test", STAGE_WALL, 30, false), 0);
  build_network(s);
  start_broker(s);
  start_client(s, url);
  return s;
}

static void story_free(struct story *s) {
  roam_client_free(s->client);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void until(struct story *s, uint64_t ms) { assert_int_equal(roam_world_run(s->world, ms * ROAM_MS), 0); }

/* The client publishes to itself, so that both directions are in the story. */
static void publish(struct story *s) {
  char text[16];
  snprintf(text, sizeof text, "publish %d", ++s->published);
  roam_world_note(s->world, text);
  roam_client_message m = {.topic = stage_bytes("t"), .payload = stage_bytes("x"), .qos = 1};
  assert_int_equal(roam_client_publish(s->client, roam_world_now(s->world), &m, NULL), 0);
}

static void subscribe(struct story *s) {
  roam_filter f = {.filter = stage_bytes("t"), .qos = 1};
  assert_int_equal(roam_client_subscribe(s->client, roam_world_now(s->world), &f, 1, NULL), 0);
}

static void rebind(struct story *s, const char *text) {
  roam_addr a = stage_addr(text);
  char line[64];
  snprintf(line, sizeof line, "the NAT becomes %s", text);
  roam_world_note(s->world, line);
  assert_int_equal(roam_world_rebind(s->world, s->nat, &a), 0);
}

static void migrate(struct story *s, const roam_addr *to, bool immediate) {
  roam_world_note(s->world, immediate ? "migrate at once" : "migrate");
  assert_int_equal(roam_client_migrate(s->client, roam_world_now(s->world), to, NULL, immediate), 0);
}

/* The trace as a person reads it: from the client's first step on, in milliseconds. */
static void expect(struct story *s, const char *expected) {
  static char got[65536];
  roam_bytes trace = roam_world_trace(s->world);
  const char *line = (const char *)trace.base, *end = line + trace.len;
  size_t len = 0;
  bool begun = false;
  for (const char *next; line < end; line = next) {
    next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
    size_t n = (size_t)(next - line);
    begun |= memmem(line, n, " resolve phone", 14) != NULL;
    if (!begun || memmem(line, n, " LISTENING ", 11)) continue;
    char *rest;
    unsigned long long ms = strtoull(line, &rest, 10) / ROAM_MS;
    len += (size_t)snprintf(got + len, sizeof got - len, "%llu%.*s", ms, (int)(next - rest), rest);
  }
  assert_string_equal(got, expected);
}

static roam_peer_info peer(struct story *s) {
  roam_peer_info info;
  assert_int_equal(roam_broker_client(s->broker, "phone", &info), 0);
  return info;
}

static void rebind_and_return(void **state) {
  (void)state;
  struct story *s = story_new("mqtt-quic://broker.test");
  until(s, 1500);
  subscribe(s);
  until(s, 2000);
  publish(s);
  until(s, 3000);
  rebind(s, "203.0.113.203");
  publish(s);
  until(s, 4000);
  rebind(s, "203.0.113.200");
  publish(s);
  until(s, 5000);
  expect(s, "1000 resolve phone broker.test\n"
            "1000 bind phone 10.0.0.2:49152\n"
            "1060 event server PEER_CONNECTED peer 1 id phone\n"
            "1080 event phone CONNECTED\n"
            "1540 event phone SUBSCRIBED token 1\n"
            "2000 note publish 1\n"
            "2040 event phone PUBLISHED token 2\n"
            "2040 event phone MESSAGE t 1\n"
            "3000 note the NAT becomes 203.0.113.203\n"
            "3000 rebind nat 203.0.113.200:0 > 203.0.113.203:0\n"
            "3000 note publish 2\n"
            "3020 event server PEER_MOVED peer 1 id phone 192.0.2.1:14567 203.0.113.203:40001\n"
            "3040 event phone PUBLISHED token 3\n"
            "3040 event phone MESSAGE t 1\n"
            "4000 note the NAT becomes 203.0.113.200\n"
            "4000 rebind nat 203.0.113.203:0 > 203.0.113.200:0\n"
            "4000 note publish 3\n"
            "4020 event server PEER_MOVED peer 1 id phone 192.0.2.1:14567 203.0.113.200:40002\n"
            "4040 event phone PUBLISHED token 4\n"
            "4040 event phone MESSAGE t 1\n");
  roam_peer_info info = peer(s);
  assert_int_equal(info.moves, 2);
  assert_int_equal(info.connects, 1);
  story_free(s);
}

static void migrate_there_and_back(void **state) {
  (void)state;
  struct story *s = story_new("mqtt-quic://broker.test");
  until(s, 1500);
  subscribe(s);
  until(s, 2000);
  migrate(s, &s->cell, false);
  publish(s);
  until(s, 3000);
  migrate(s, &s->wlan, false);
  publish(s);
  until(s, 4000);
  expect(s, "1000 resolve phone broker.test\n"
            "1000 bind phone 10.0.0.2:49152\n"
            "1060 event server PEER_CONNECTED peer 1 id phone\n"
            "1080 event phone CONNECTED\n"
            "1540 event phone SUBSCRIBED token 1\n"
            "2000 note migrate\n"
            "2000 note publish 1\n"
            "2000 bind phone 198.51.100.9:49153\n"
            "2000 event phone PATH_PROBING 198.51.100.9:49153 192.0.2.1:14567\n"
            "2040 event phone PATH_MIGRATED 198.51.100.9:49153 192.0.2.1:14567\n"
            "2040 event phone PUBLISHED token 2\n"
            "2040 event phone MESSAGE t 1\n"
            "2060 event server PEER_MOVED peer 1 id phone 192.0.2.1:14567 198.51.100.9:49153\n"
            "2365 unbind phone 10.0.0.2:49152\n"
            "3000 note migrate\n"
            "3000 note publish 2\n"
            "3000 bind phone 10.0.0.2:49154\n"
            "3000 event phone PATH_PROBING 10.0.0.2:49154 192.0.2.1:14567\n"
            "3040 event phone PATH_MIGRATED 10.0.0.2:49154 192.0.2.1:14567\n"
            "3040 event phone PUBLISHED token 3\n"
            "3040 event phone MESSAGE t 1\n"
            "3060 event server PEER_MOVED peer 1 id phone 192.0.2.1:14567 203.0.113.200:40001\n"
            "3365 unbind phone 198.51.100.9:49153\n");
  roam_peer_info info = peer(s);
  assert_int_equal(info.moves, 2);
  assert_int_equal(info.connects, 1);
  story_free(s);
}

static void wlan_dies_and_comes_back(void **state) {
  (void)state;
  struct story *s = story_new("mqtt-quic://broker.test");
  until(s, 1500);
  subscribe(s);
  until(s, 2000);
  assert_int_equal(roam_host_set_up(s->phone, &s->wlan, false, false), 0);
  publish(s);
  until(s, 2100);
  migrate(s, &s->cell, true);
  until(s, 3000);
  assert_int_equal(roam_host_set_up(s->phone, &s->wlan, true, false), 0);
  migrate(s, &s->wlan, true);
  publish(s);
  until(s, 4000);
  expect(s, "1000 resolve phone broker.test\n"
            "1000 bind phone 10.0.0.2:49152\n"
            "1060 event server PEER_CONNECTED peer 1 id phone\n"
            "1080 event phone CONNECTED\n"
            "1540 event phone SUBSCRIBED token 1\n"
            "2000 down phone 10.0.0.2:0\n"
            "2000 note publish 1\n"
            "2100 note migrate at once\n"
            "2100 bind phone 198.51.100.9:49153\n"
            "2100 event phone PATH_PROBING 198.51.100.9:49153 192.0.2.1:14567\n"
            "2120 event server PEER_MOVED peer 1 id phone 192.0.2.1:14567 198.51.100.9:49153\n"
            "2140 event phone PATH_MIGRATED 198.51.100.9:49153 192.0.2.1:14567\n"
            "2180 event phone PUBLISHED token 2\n"
            "2180 event phone MESSAGE t 1\n"
            "2425 unbind phone 10.0.0.2:49152\n"
            "3000 up phone 10.0.0.2:0\n"
            "3000 note migrate at once\n"
            "3000 note publish 2\n"
            "3000 bind phone 10.0.0.2:49154\n"
            "3000 event phone PATH_PROBING 10.0.0.2:49154 192.0.2.1:14567\n"
            "3020 event server PEER_MOVED peer 1 id phone 192.0.2.1:14567 203.0.113.200:40001\n"
            "3040 event phone PATH_MIGRATED 10.0.0.2:49154 192.0.2.1:14567\n"
            "3040 event phone PUBLISHED token 3\n"
            "3040 event phone MESSAGE t 1\n"
            "3325 unbind phone 198.51.100.9:49153\n");
  roam_peer_info info = peer(s);
  assert_int_equal(info.moves, 2);
  assert_int_equal(info.connects, 1);
  story_free(s);
}

static void over_tcp_a_rebind_is_a_resume(void **state) {
  (void)state;
  struct story *s = story_new("mqtt://broker.test");
  until(s, 1500);
  subscribe(s);
  until(s, 2000);
  publish(s);
  until(s, 3000);
  rebind(s, "203.0.113.203");
  publish(s);
  until(s, 5000);
  expect(s, "1000 resolve phone broker.test\n"
            "1040 open phone 10.0.0.2:49152 > 192.0.2.1:1883\n"
            "1060 accept server 192.0.2.1:1883 > 203.0.113.200:40000\n"
            "1060 event server PEER_CONNECTED peer 1 id phone\n"
            "1080 event phone CONNECTED\n"
            "1540 event phone SUBSCRIBED token 1\n"
            "2000 note publish 1\n"
            "2040 event phone PUBLISHED token 2\n"
            "2040 event phone MESSAGE t 1\n"
            "3000 note the NAT becomes 203.0.113.203\n"
            "3000 rebind nat 203.0.113.200:0 > 203.0.113.203:0\n"
            "3000 note publish 2\n"
            "3040 reset phone 10.0.0.2:49152 > 192.0.2.1:1883\n"
            "3040 event phone DISCONNECTED ROAM_E_LOST\n"
            "3202 resolve phone broker.test\n"
            "3242 open phone 10.0.0.2:49153 > 192.0.2.1:1883\n"
            "3262 accept server 192.0.2.1:1883 > 203.0.113.203:40001\n"
            "3262 close server 192.0.2.1:1883 > 203.0.113.200:40000\n"
            "3262 event server PEER_DISCONNECTED ROAM_E_REFUSED peer 1 id phone\n"
            "3262 event server PEER_CONNECTED peer 2 id phone\n"
            "3282 event phone CONNECTED\n"
            "3322 event phone PUBLISHED token 3\n"
            "3322 event phone MESSAGE t 1\n");
  roam_peer_info info = peer(s);
  assert_int_equal(info.moves, 0);
  assert_int_equal(info.connects, 2);
  story_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rebind_and_return),
      cmocka_unit_test(migrate_there_and_back),
      cmocka_unit_test(wlan_dies_and_comes_back),
      cmocka_unit_test(over_tcp_a_rebind_is_a_resume),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
