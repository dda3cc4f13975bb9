/* tls_ticket_test.c - a client over TLS comes back with its ticket, in the world: resumed each time, with a new ticket each
 * time; and without one where the broker is another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/stage.h"

struct story {
  roam_world *world;
  roam_host *server;
  roam_identity identity;
  roam_broker *broker;
  roam_client *client;
};

static roam_host *add_host(struct story *s, const char *name, const char *address) {
  roam_host *host = roam_world_host(s->world, name);
  roam_addr a = stage_addr(address);
  assert_int_equal(roam_host_address(host, "eth0", &a), 0);
  assert_int_equal(roam_host_hop(host, &a, stage_delay(s->world, 20 * ROAM_MS, 0)), 0);
  return host;
}

static void start_broker(struct story *s, const char *secret) {
  roam_addr at = stage_addr("192.0.2.1:8883");
  roam_broker_options o = stage_broker_options(&s->identity);
  o.secret = (roam_bytes){(const uint8_t *)secret, 32};
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), NULL);
  assert_non_null(s->broker);
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_TLS, &at, NULL), 0);
  assert_int_equal(roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL), 0);
}

static void end_broker(struct story *s) {
  assert_int_equal(roam_host_stop(s->server, roam_broker_machine(s->broker)), 0);
  roam_broker_free(s->broker);
}

static void until(struct story *s, uint64_t seconds) { assert_int_equal(roam_world_run(s->world, seconds * ROAM_S), 0); }

/* Connected for so many times, of which so many with a ticket that was taken; both sides say so. */
static void expect(const struct story *s, bool resumed, uint32_t in_all) {
  roam_peer_info info;
  assert_int_equal(roam_broker_client(s->broker, "phone", &info), 0);
  assert_true(info.connected);
  assert_int_equal(info.resumed, resumed);
  assert_int_equal(roam_client_get_stats(s->client).resumed, in_all);
}

static void kick(struct story *s) {
  assert_int_equal(roam_broker_kick(s->broker, roam_world_now(s->world), "phone", ROAM_REASON_SERVER_BUSY), 0);
}

static void each_visit_is_resumed(void **state) {
  (void)state;
  struct story s = {.world = roam_world_new(NULL)};
  roam_addr at = stage_addr("192.0.2.1");
  assert_int_equal(roam_identity_make(&s.identity, "story", "broker.test", STAGE_WALL, 30, false), 0);
  assert_int_equal(roam_world_name(s.world, "broker.test", &at), 0);
  s.server = add_host(&s, "server", "192.0.2.1");
  roam_host *phone = add_host(&s, "phone", "198.51.100.9");
  start_broker(&s, "what a broker keeps in a file...");
  roam_client_options o = stage_client_options(&s.identity, "mqtts://broker.test", "phone");
  s.client = roam_client_new(&o, roam_world_random(s.world), NULL);
  assert_non_null(s.client);
  assert_int_equal(roam_client_start(s.client, roam_world_now(s.world)), 0);
  assert_int_equal(roam_host_run(phone, roam_client_machine(s.client), stage_ignore, NULL), 0);
  until(&s, 5);
  expect(&s, false, 0);
  kick(&s);
  until(&s, 60);
  expect(&s, true, 1);
  kick(&s);
  until(&s, 120);
  expect(&s, true, 2);
  end_broker(&s);
  start_broker(&s, "what a broker keeps in a file..."); /* started anew, with its secret */
  until(&s, 400);
  expect(&s, true, 3);
  end_broker(&s);
  start_broker(&s, "another broker has another file."); /* its ticket is nothing there, and no harm */
  until(&s, 700);
  expect(&s, false, 3);
  roam_client_free(s.client);
  roam_broker_free(s.broker);
  roam_world_free(s.world);
  roam_identity_clear(&s.identity);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_visit_is_resumed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
