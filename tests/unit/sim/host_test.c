/* host_test.c - a real machine of the library on a host: the relay between toy clients and a toy server, through a rebind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "unit/sim/toy.h"

struct rig {
  roam_world *world;
  struct toy *client, *server;
  roam_relay *relay;
  unsigned events[64];
};

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void count(void *context, const roam_event ev[], size_t n) {
  struct rig *g = context;
  for (size_t i = 0; i < n; i++) g->events[ev[i].kind]++;
}

static void run_for(struct rig *g, uint64_t ns) {
  assert_int_equal(roam_world_run(g->world, roam_world_now(g->world) + ns), 0);
}

static roam_host *add_host(struct rig *g, const char *name, const char *a, const char *b) {
  roam_host *h = roam_world_host(g->world, name);
  assert_non_null(h);
  roam_addr first = addr(a);
  assert_int_equal(roam_host_address(h, "eth0", &first), 0);
  if (!b) return h;
  roam_addr second = addr(b);
  assert_int_equal(roam_host_address(h, "eth1", &second), 0);
  return h;
}

static void begin(struct rig *g, uint64_t delay_ns) {
  *g = (struct rig){.world = roam_world_new(NULL), .client = toy_new(), .server = toy_new()};
  assert_non_null(g->world);
  roam_host *box = add_host(g, "box", "200.0.0.200", "200.0.0.203");
  roam_addr inside = addr("10.0.0.254");
  assert_int_equal(roam_host_address(box, "lan0", &inside), 0);
  roam_relay_options o;
  roam_relay_options_init(&o);
  o.inside = addr("10.0.0.254:0");
  o.server = addr("9.9.9.9:1000");
  o.address = addr("200.0.0.200");
  o.delay_ns = delay_ns;
  g->relay = roam_relay_new(&o, roam_world_random(g->world));
  assert_non_null(g->relay);
  g->server->echo = true;
  roam_host_run(add_host(g, "client", "10.0.0.1", NULL), toy_machine(g->client), NULL, NULL);
  roam_host_run(add_host(g, "server", "9.9.9.9", NULL), toy_machine(g->server), NULL, NULL);
  assert_int_equal(roam_host_run(box, roam_relay_machine(g->relay), count, g), 0);
  toy_say(g->server, (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 1, .local = addr("0.0.0.0:1000")});
  toy_say(g->server, (roam_wire){.kind = ROAM_WIRE_LISTEN, .handle = 2, .local = addr("0.0.0.0:1000")});
  run_for(g, 0);
  assert_int_equal(g->events[ROAM_EV_LISTENING], 2);
  assert_int_equal(roam_relay_inside(g->relay).port, 49152);
}

static void end(struct rig *g) {
  roam_world_free(g->world);
  roam_relay_free(g->relay);
  free(g->client);
  free(g->server);
}

static void relays_datagrams_through_a_rebind(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 10 * ROAM_MS);
  roam_wire hello = {.kind = ROAM_WIRE_DATAGRAM,
                     .handle = 1,
                     .remote = roam_relay_inside(g.relay),
                     .data = (const uint8_t *)"hi",
                     .len = 2};
  toy_say(g.client, (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 1, .remote = roam_relay_inside(g.relay)});
  toy_say(g.client, hello);
  roam_time sent = roam_world_now(g.world);
  run_for(&g, ROAM_S);
  assert_int_equal(g.client->seen[ROAM_WIRE_DATAGRAM], 1);
  assert_int_equal(g.client->last_at[ROAM_WIRE_DATAGRAM], sent + 20 * ROAM_MS);
  assert_int_equal(g.server->last[ROAM_WIRE_DATAGRAM].remote.ip[3], 200);
  roam_addr other = addr("200.0.0.203");
  roam_relay_rebind(g.relay, roam_world_now(g.world), &other);
  toy_say(g.client, hello);
  run_for(&g, ROAM_S);
  assert_int_equal(g.client->seen[ROAM_WIRE_DATAGRAM], 2);
  assert_int_equal(g.server->last[ROAM_WIRE_DATAGRAM].remote.ip[3], 203);
  assert_int_equal(g.events[ROAM_EV_NAT_REBOUND], 1);
  assert_int_equal(g.events[ROAM_EV_NAT_MAPPED], 2);
  end(&g);
}

static void relays_bytes_until_a_rebind(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 0);
  static uint8_t bytes[200000];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 13 >> 4);
  g.server->echo = false;
  toy_say(g.client, (roam_wire){.kind = ROAM_WIRE_OPEN, .handle = 5, .remote = roam_relay_inside(g.relay)});
  run_for(&g, ROAM_S);
  for (int i = 0; i < 5; i++) { /* far more than any first credit */
    toy_say(g.client, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = 5, .data = bytes, .len = sizeof bytes});
    run_for(&g, ROAM_S);
  }
  assert_int_equal(g.server->bytes_total, 5 * sizeof bytes);
  uint64_t sum = 0;
  for (size_t i = 0; i < 5 * sizeof bytes; i++) sum = sum * 31 + bytes[i % sizeof bytes];
  assert_true(sum == g.server->sum);
  roam_addr other = addr("200.0.0.203");
  roam_relay_rebind(g.relay, roam_world_now(g.world), &other);
  run_for(&g, ROAM_S);
  assert_int_equal(g.client->seen[ROAM_WIRE_CLOSE], 0);
  toy_say(g.client, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = 5, .data = bytes, .len = 1});
  run_for(&g, 100 * ROAM_S);
  assert_int_equal(g.client->last[ROAM_WIRE_CLOSE].error, ECONNRESET);
  assert_int_equal(g.server->seen[ROAM_WIRE_CLOSE], 0); /* the server's half hangs */
  assert_int_equal(roam_relay_get_stats(g.relay).hanging, 1);
  assert_int_equal(g.events[ROAM_EV_NAT_RESET], 1);
  end(&g);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(relays_datagrams_through_a_rebind),
                                     cmocka_unit_test(relays_bytes_until_a_rebind)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
