/* world_test.c - two toy machines in a world: datagrams, delay, NAT, ports, names, time, the trace, stop and restart. */
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
  roam_host *a, *b;
  struct toy *x, *y;
  roam_addr x_addr, y_addr;
};

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void begin(struct rig *g, uint64_t seed) {
  roam_world_options o;
  roam_world_options_init(&o);
  o.seed = seed;
  *g = (struct rig){.world = roam_world_new(&o), .x = toy_new(), .y = toy_new()};
  assert_non_null(g->world);
  g->x_addr = addr("10.0.0.1");
  g->y_addr = addr("10.0.0.2");
  g->a = roam_world_host(g->world, "alice");
  assert_non_null(g->a);
  g->b = roam_world_host(g->world, "bob");
  assert_non_null(g->b);
  assert_int_equal(roam_host_address(g->a, "wlan0", &g->x_addr), 0);
  assert_int_equal(roam_host_address(g->b, "eth0", &g->y_addr), 0);
  assert_int_equal(roam_host_run(g->a, toy_machine(g->x), NULL, NULL), 0);
  assert_int_equal(roam_host_run(g->b, toy_machine(g->y), NULL, NULL), 0);
}

static void end(struct rig *g) {
  roam_world_free(g->world);
  free(g->x);
  free(g->y);
}

static void add_delay(struct rig *g, roam_host *host, const roam_addr *at, uint64_t ns, uint64_t jitter_ns) {
  roam_delay_options o;
  roam_delay_options_init(&o);
  o.delay_ns = ns;
  o.jitter_ns = jitter_ns;
  roam_hop *delay = roam_delay_new(&o, roam_world_random(g->world));
  assert_non_null(delay);
  assert_int_equal(roam_host_hop(host, at, delay), 0);
}

static roam_hop *add_nat(struct rig *g, roam_host *host, const roam_addr *at, const char *public) {
  roam_nat_options o;
  roam_nat_options_init(&o);
  o.address = addr(public);
  roam_hop *nat = roam_nat_new(&o, roam_world_random(g->world));
  assert_int_equal(roam_host_hop(host, at, nat), 0);
  return nat;
}

/* y serves on port 1000, echoing; x gets socket 1. */
static void bind_both(struct rig *g) {
  g->y->echo = true;
  toy_say(g->y, (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 1, .local = addr("0.0.0.0:1000")});
  toy_say(g->x, (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 1, .remote = addr("10.0.0.2:1000")});
  assert_int_equal(roam_world_run(g->world, roam_world_now(g->world)), 0);
  assert_int_equal(g->x->seen[ROAM_WIRE_BOUND], 1);
  assert_int_equal(g->y->seen[ROAM_WIRE_BOUND], 1);
}

static void send(struct rig *g, const char *text) {
  toy_say(g->x, (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                            .handle = 1,
                            .remote = addr("10.0.0.2:1000"),
                            .data = (const uint8_t *)text,
                            .len = strlen(text),
                            .ecn = 1});
}

static void carries_datagrams_in_time(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  add_delay(&g, g.a, &g.x_addr, 10 * ROAM_MS, 0);
  add_delay(&g, g.b, &g.y_addr, 5 * ROAM_MS, 0);
  bind_both(&g);
  assert_int_equal(g.x->last[ROAM_WIRE_BOUND].local.port, 49152);
  send(&g, "hello");
  assert_int_equal(roam_world_run(g.world, ROAM_NEVER), 0);
  assert_int_equal(g.y->seen[ROAM_WIRE_DATAGRAM], 1);
  assert_int_equal(g.y->last_at[ROAM_WIRE_DATAGRAM], ROAM_S + 15 * ROAM_MS);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].remote.port, 49152);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].ecn, 1);
  assert_true(roam_addr_same_ip(&g.y->last[ROAM_WIRE_DATAGRAM].local, &g.y_addr));
  assert_int_equal(g.x->seen[ROAM_WIRE_DATAGRAM], 1);
  assert_int_equal(g.x->last_at[ROAM_WIRE_DATAGRAM], ROAM_S + 30 * ROAM_MS);
  assert_int_equal(roam_world_now(g.world), ROAM_S + 30 * ROAM_MS);
  assert_memory_equal(g.x->bytes, "hello", 5);
  end(&g);
}

static void cuts_trains_into_one_batch(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  add_delay(&g, g.a, &g.x_addr, ROAM_MS, 0);
  bind_both(&g);
  g.y->echo = false;
  unsigned feeds = g.y->feeds;
  toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                           .handle = 1,
                           .remote = addr("10.0.0.2:1000"),
                           .segment = 4,
                           .data = (const uint8_t *)"aaaabbbbcc",
                           .len = 10});
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.y->seen[ROAM_WIRE_DATAGRAM], 3);
  assert_int_equal(g.y->feeds - feeds, 1);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].len, 2);
  end(&g);
}

static void rebinds_a_nat(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  roam_hop *nat = add_nat(&g, g.a, &g.x_addr, "200.0.0.200");
  add_delay(&g, g.a, &g.x_addr, 10 * ROAM_MS, 0);
  bind_both(&g);
  send(&g, "one");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].remote.ip[3], 200);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].remote.port, 40000);
  assert_int_equal(g.x->seen[ROAM_WIRE_DATAGRAM], 1);
  roam_addr other = addr("200.0.0.203"), six = addr("::1");
  assert_int_equal(roam_world_rebind(g.world, nat, &six), ROAM_E_ARGUMENT);
  assert_int_equal(roam_world_rebind(g.world, nat, &other), 0);
  send(&g, "two");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].remote.ip[3], 203);
  assert_int_equal(g.y->last[ROAM_WIRE_DATAGRAM].remote.port, 40001);
  assert_int_equal(g.x->seen[ROAM_WIRE_DATAGRAM], 2);
  end(&g);
}

/* Two hosts behind one NAT get their own mappings and their own answers. */
static void shares_a_nat(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  roam_hop *nat = add_nat(&g, g.a, &g.x_addr, "200.0.0.200");
  roam_host *c = roam_world_host(g.world, "carol");
  assert_non_null(c);
  roam_addr z_addr = addr("10.0.0.3");
  struct toy *z = toy_new();
  assert_int_equal(roam_host_address(c, "wlan0", &z_addr), 0);
  add_delay(&g, c, &z_addr, ROAM_MS, 0);
  assert_int_equal(roam_host_hop(c, &z_addr, nat), 0);
  assert_int_equal(roam_host_hop(c, &z_addr, nat), ROAM_E_ARGUMENT);
  assert_int_equal(roam_host_run(c, toy_machine(z), NULL, NULL), 0);
  bind_both(&g);
  toy_say(z, (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 9, .remote = addr("10.0.0.2:1000")});
  toy_say(z, (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                         .handle = 9,
                         .remote = addr("10.0.0.2:1000"),
                         .data = (const uint8_t *)"z",
                         .len = 1});
  send(&g, "x");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_DATAGRAM], 1);
  assert_int_equal(z->seen[ROAM_WIRE_DATAGRAM], 1);
  assert_memory_equal(g.x->bytes, "x", 1);
  assert_memory_equal(z->bytes, "z", 1);
  assert_int_equal(roam_nat_mappings(nat), 2);
  end(&g);
  free(z);
}

static void answers_binds_like_a_kernel(void **state) {
  (void)state;
  static const struct {
    const char *name, *local, *remote, *interface, *bound;
    int error;
  } cases[] = {
      {"default", NULL, "10.0.0.2:1", NULL, "10.0.0.1:49152", 0},
      {"default of the other family", NULL, "[2001::9]:1", NULL, "[2001::1]:49152", 0},
      {"interface", NULL, "10.0.0.2:1", "cell0", "10.9.0.1:49152", 0},
      {"interface without that family", NULL, "[2001::9]:1", "cell0", NULL, EADDRNOTAVAIL},
      {"no such interface", NULL, "10.0.0.2:1", "eth7", NULL, EADDRNOTAVAIL},
      {"address", "10.9.0.1:77", NULL, NULL, "10.9.0.1:77", 0},
      {"any", "0.0.0.0:77", NULL, NULL, "0.0.0.0:77", 0},
      {"unknown address", "10.9.0.2:77", NULL, NULL, NULL, EADDRNOTAVAIL},
      {"address of another host", "10.0.0.2:77", NULL, NULL, NULL, EADDRNOTAVAIL},
      {"taken", "10.0.0.1:5000", NULL, NULL, NULL, EADDRINUSE},
      {"taken by any", "0.0.0.0:5000", NULL, NULL, NULL, EADDRINUSE},
      {"the same port elsewhere", "10.9.0.1:5000", NULL, NULL, "10.9.0.1:5000", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct rig g;
    begin(&g, 1);
    roam_addr cell = addr("10.9.0.1"), six = addr("2001::1");
    roam_host_address(g.a, "cell0", &cell);
    roam_host_address(g.a, "wlan0", &six);
    toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 5, .local = addr("10.0.0.1:5000")});
    roam_world_run(g.world, ROAM_NEVER);
    roam_wire unit = {.kind = ROAM_WIRE_BIND, .handle = 6, .name = cases[i].interface};
    if (cases[i].local) unit.local = addr(cases[i].local);
    if (cases[i].remote) unit.remote = addr(cases[i].remote);
    toy_say(g.x, unit);
    roam_world_run(g.world, ROAM_NEVER);
    assert_int_equal(g.x->seen[ROAM_WIRE_FAILED], cases[i].error != 0);
    assert_int_equal(g.x->last[ROAM_WIRE_FAILED].error, cases[i].error);
    if (cases[i].bound) {
      roam_addr want = addr(cases[i].bound);
      assert_true(roam_addr_equal(&g.x->last[ROAM_WIRE_BOUND].local, &want));
    }
    end(&g);
  }
}

static void takes_interfaces_down(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  bind_both(&g);
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_ADDR], 1); /* what there is is told at the beginning */
  assert_int_equal(g.x->last[ROAM_WIRE_ADDR].up, 1);
  assert_int_equal(roam_host_set_up(g.a, &g.x_addr, false, false), 0);
  send(&g, "vanishes");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_SENDFAIL] + g.y->seen[ROAM_WIRE_DATAGRAM], 0);
  roam_host_set_up(g.a, &g.x_addr, false, true);
  send(&g, "refused");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_ADDR], 2);
  assert_int_equal(g.x->last[ROAM_WIRE_ADDR].up, 0);
  assert_string_equal(g.x->last[ROAM_WIRE_ADDR].name, "wlan0");
  assert_int_equal(g.x->seen[ROAM_WIRE_SENDFAIL], 1);
  assert_int_equal(g.x->last[ROAM_WIRE_SENDFAIL].error, ENETUNREACH);
  roam_host_set_up(g.a, &g.x_addr, true, true);
  send(&g, "passes");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_DATAGRAM], 1);
  assert_int_equal(roam_host_set_up(g.a, &g.y_addr, true, true), ROAM_E_ARGUMENT);
  end(&g);
}

static void resolves_names(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  roam_world_name(g.world, "broker", &g.y_addr);
  toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_RESOLVE, .handle = 3, .name = "broker", .local = {.port = 99}});
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->last[ROAM_WIRE_RESOLVED].addrs_len, 1);
  assert_int_equal(g.x->last[ROAM_WIRE_RESOLVED].handle, 3);
  toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_RESOLVE, .handle = 4, .name = "nobody"});
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->last[ROAM_WIRE_RESOLVED].addrs_len, 0);
  end(&g);
}

static void ticks_at_deadlines_only(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  g.x->deadline = 5 * ROAM_S;
  assert_int_equal(roam_world_run(g.world, 4 * ROAM_S), 0);
  assert_int_equal(g.x->ticks, 0);
  assert_int_equal(roam_world_now(g.world), 4 * ROAM_S);
  unsigned drains = g.y->drains;
  roam_world_run(g.world, 6 * ROAM_S);
  assert_int_equal(g.x->ticks, 1);
  assert_int_equal(g.y->drains, drains + 1); /* at the run's start; the other's tick does not touch it */
  assert_int_equal(roam_world_now(g.world), 6 * ROAM_S);
  end(&g);
}

static char order[16];

static void note_a(void *context) {
  roam_world_note(context, "a");
  strcat(order, "a");
}

static void note_b(void *context) {
  strcat(order, "b");
  roam_world_at(context, roam_world_now(context), note_a, context);
}

static void calls_in_order(void **state) {
  (void)state;
  struct rig g;
  begin(&g, 1);
  order[0] = 0;
  roam_world_at(g.world, 3 * ROAM_S, note_b, g.world);
  roam_world_at(g.world, 2 * ROAM_S, note_a, g.world);
  roam_world_at(g.world, 3 * ROAM_S, note_a, g.world);
  roam_world_at(g.world, 9 * ROAM_S, note_a, g.world); /* never reached: freed with the world */
  roam_world_run(g.world, 4 * ROAM_S);
  assert_string_equal(order, "abaa");
  roam_bytes t = roam_world_trace(g.world);
  assert_non_null(memmem(t.base, t.len, "2000000000 note a\n", 18));
  end(&g);
}

/* A machine that wants to be called at once for ever must not hang the run. */
static roam_time now_deadline(const void *self) { return ((const struct toy *)self)->now; }

static void bounds_steps(void **state) {
  (void)state;
  roam_world_options o;
  roam_world_options_init(&o);
  o.steps_max = 1000;
  roam_world *w = roam_world_new(&o);
  assert_non_null(w);
  struct toy *t = toy_new();
  static const roam_machine_ops ops = {toy_feed, toy_tick, toy_drain, toy_poll, now_deadline};
  roam_host *h = roam_world_host(w, "h");
  assert_non_null(h);
  roam_host_run(h, (roam_machine){&ops, t, NULL}, NULL, NULL);
  assert_int_equal(roam_world_run(w, 2 * ROAM_S), ROAM_E_LIMIT);
  roam_world_free(w);
  free(t);
}

static void count_events(void *context, const roam_event ev[], size_t n) {
  (void)ev;
  *(size_t *)context += n;
}

static void stops_and_restarts_a_machine(void **state) {
  (void)state;
  struct rig g;
  size_t events = 0;
  begin(&g, 1);
  bind_both(&g);
  assert_int_equal(roam_host_run(g.b, toy_machine(g.y), NULL, NULL), ROAM_E_STATE);
  assert_int_equal(roam_host_stop(g.b, toy_machine(g.y)), 0);
  assert_int_equal(roam_host_stop(g.b, toy_machine(g.y)), ROAM_E_NOT_FOUND);
  send(&g, "to nobody");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.y->seen[ROAM_WIRE_DATAGRAM], 0);
  g.y->events = 700;
  assert_int_equal(roam_host_run(g.b, toy_machine(g.y), count_events, &events), 0);
  toy_say(g.y,
          (roam_wire){.kind = ROAM_WIRE_BIND, .handle = 1, .local = addr("0.0.0.0:1000")}); /* its port is free again */
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(events, 700);
  send(&g, "again");
  roam_world_run(g.world, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_DATAGRAM], 1);
  end(&g);
}

static uint64_t run_story(uint64_t seed, char **text, size_t *len) {
  struct rig g;
  begin(&g, seed);
  roam_hop *nat = add_nat(&g, g.a, &g.x_addr, "200.0.0.200");
  add_delay(&g, g.a, &g.x_addr, 10 * ROAM_MS, 3 * ROAM_MS);
  roam_loss_options loss;
  roam_loss_options_init(&loss);
  loss.loss_ppm = 200000;
  roam_hop *lossy = roam_loss_new(&loss, roam_world_random(g.world));
  assert_non_null(lossy);
  assert_int_equal(roam_host_hop(g.b, &g.y_addr, lossy), 0);
  bind_both(&g);
  for (int i = 0; i < 200; i++) {
    if (i == 100) roam_world_rebind(g.world, nat, &(roam_addr){.family = 4, .ip = {200, 0, 0, 203}});
    send(&g, "tell");
    roam_world_run(g.world, roam_world_now(g.world) + 2 * ROAM_MS);
  }
  roam_world_run(g.world, ROAM_NEVER);
  roam_bytes t = roam_world_trace(g.world);
  uint64_t hash = roam_world_trace_hash(g.world);
  assert_true(t.len > 0);
  *text = malloc(t.len);
  memcpy(*text, t.base, *len = t.len);
  end(&g);
  return hash;
}

static void repeats_with_its_seed(void **state) {
  (void)state;
  char *a, *b, *c;
  size_t a_len, b_len, c_len;
  uint64_t x = run_story(5, &a, &a_len), y = run_story(5, &b, &b_len), z = run_story(6, &c, &c_len);
  assert_true(x == y && x != z);
  assert_int_equal(a_len, b_len);
  assert_memory_equal(a, b, a_len);
  assert_non_null(memmem(a, a_len, "drop hop udp", 12));
  assert_non_null(memmem(a, a_len, "rebind nat", 10));
  free(a);
  free(b);
  free(c);
}

static void bounds_the_trace(void **state) {
  (void)state;
  uint64_t hashes[2];
  for (int i = 0; i < 2; i++) {
    roam_world_options o;
    roam_world_options_init(&o);
    if (i == 1) o.trace_bytes_max = 40;
    roam_world *w = roam_world_new(&o);
    assert_non_null(w);
    for (int k = 0; k < 10; k++) roam_world_note(w, "a line\nwith a break");
    assert_int_equal(roam_world_trace(w).len, i == 0 ? 360 : 36);
    hashes[i] = roam_world_trace_hash(w);
    roam_world_free(w);
  }
  assert_true(hashes[0] == hashes[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(carries_datagrams_in_time),
                                     cmocka_unit_test(cuts_trains_into_one_batch),
                                     cmocka_unit_test(rebinds_a_nat),
                                     cmocka_unit_test(shares_a_nat),
                                     cmocka_unit_test(answers_binds_like_a_kernel),
                                     cmocka_unit_test(takes_interfaces_down),
                                     cmocka_unit_test(resolves_names),
                                     cmocka_unit_test(ticks_at_deadlines_only),
                                     cmocka_unit_test(calls_in_order),
                                     cmocka_unit_test(bounds_steps),
                                     cmocka_unit_test(stops_and_restarts_a_machine),
                                     cmocka_unit_test(repeats_with_its_seed),
                                     cmocka_unit_test(bounds_the_trace)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
