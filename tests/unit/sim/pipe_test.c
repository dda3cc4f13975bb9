/* pipe_test.c - the model of TCP: handshake, order, refusal, back-pressure, loss, closing, the death a NAT brings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "unit/sim/toy.h"

enum {
  LISTENER = 1,
  CONN = 7
};

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

static void run(struct rig *g, roam_time until) { assert_int_equal(roam_world_run(g->world, until), 0); }

static void begin(struct rig *g) {
  *g = (struct rig){.world = roam_world_new(NULL), .x = toy_new(), .y = toy_new()};
  assert_non_null(g->world);
  g->x_addr = addr("10.0.0.1");
  g->y_addr = addr("10.0.0.2");
  g->a = roam_world_host(g->world, "alice");
  assert_non_null(g->a);
  g->b = roam_world_host(g->world, "bob");
  assert_non_null(g->b);
  roam_host_address(g->a, "wlan0", &g->x_addr);
  roam_host_address(g->b, "eth0", &g->y_addr);
  roam_host_run(g->a, toy_machine(g->x), NULL, NULL);
  roam_host_run(g->b, toy_machine(g->y), NULL, NULL);
  toy_say(g->y, (roam_wire){.kind = ROAM_WIRE_LISTEN, .handle = LISTENER, .local = addr("0.0.0.0:1883")});
  run(g, ROAM_S);
  assert_int_equal(g->y->last[ROAM_WIRE_BOUND].local.port, 1883);
}

static void end(struct rig *g) {
  roam_world_free(g->world);
  free(g->x);
  free(g->y);
}

static void add(struct rig *g, roam_hop *hop) {
  assert_non_null(hop);
  assert_int_equal(roam_host_hop(g->a, &g->x_addr, hop), 0);
}

static void add_delay(struct rig *g, uint64_t ns) {
  roam_delay_options o;
  roam_delay_options_init(&o);
  o.delay_ns = ns;
  add(g, roam_delay_new(&o, roam_world_random(g->world)));
}

static void open_to(struct rig *g, const char *remote) {
  toy_say(g->x, (roam_wire){.kind = ROAM_WIRE_OPEN, .handle = CONN, .remote = addr(remote)});
}

/* Opens a connection; returns y's handle of it. */
static uint32_t join(struct rig *g) {
  open_to(g, "10.0.0.2:1883");
  run(g, roam_world_now(g->world) + 2 * ROAM_S);
  assert_int_equal(g->x->seen[ROAM_WIRE_OPENED], 1);
  assert_int_equal(g->y->seen[ROAM_WIRE_ACCEPT], 1);
  return g->y->last[ROAM_WIRE_ACCEPT].handle;
}

static void say(struct toy *t, uint32_t handle, const void *bytes, size_t len) {
  toy_say(t, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = handle, .data = bytes, .len = len});
}

static void shakes_hands_in_one_round_trip(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, 10 * ROAM_MS);
  open_to(&g, "10.0.0.2:1883");
  run(&g, ROAM_NEVER);
  assert_int_equal(g.x->last_at[ROAM_WIRE_OPENED], ROAM_S + 20 * ROAM_MS);
  assert_int_equal(g.y->last_at[ROAM_WIRE_ACCEPT], ROAM_S + 30 * ROAM_MS);
  assert_int_equal(g.y->last[ROAM_WIRE_ACCEPT].parent, LISTENER);
  assert_true(g.y->last[ROAM_WIRE_ACCEPT].handle & ROAM_HANDLE_EDGE);
  assert_int_equal(g.y->last[ROAM_WIRE_ACCEPT].remote.port, 49152);
  g.y->echo = true;
  say(g.x, CONN, "ping", 4);
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->last_at[ROAM_WIRE_DATA], ROAM_S + 40 * ROAM_MS);
  assert_int_equal(g.x->last_at[ROAM_WIRE_DATA], ROAM_S + 50 * ROAM_MS);
  assert_memory_equal(g.x->bytes, "ping", 4);
  end(&g);
}

static void is_refused_in_one_round_trip(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, 10 * ROAM_MS);
  open_to(&g, "10.0.0.2:1");
  run(&g, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_FAILED], 1);
  assert_int_equal(g.x->last[ROAM_WIRE_FAILED].error, ECONNREFUSED);
  assert_int_equal(g.x->last_at[ROAM_WIRE_FAILED], ROAM_S + 20 * ROAM_MS);
  open_to(&g, "10.0.0.77:1"); /* no such host: nobody answers */
  run(&g, ROAM_NEVER);
  assert_int_equal(g.x->last[ROAM_WIRE_FAILED].error, ETIMEDOUT);
  end(&g);
}

static void refuses_a_second_listener(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  toy_say(g.y, (roam_wire){.kind = ROAM_WIRE_LISTEN, .handle = 2, .local = addr("10.0.0.2:1883")});
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->last[ROAM_WIRE_FAILED].error, EADDRINUSE);
  toy_say(g.y, (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = LISTENER});
  toy_say(g.y, (roam_wire){.kind = ROAM_WIRE_LISTEN, .handle = 2, .local = addr("10.0.0.2:1883")});
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->last[ROAM_WIRE_BOUND].handle, 2);
  end(&g);
}

static uint8_t big[ROAM_CREDIT_START];

static uint64_t sum_of(const uint8_t *bytes, size_t n) {
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) sum = sum * 31 + bytes[i];
  return sum;
}

static void keeps_order_under_loss(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, 5 * ROAM_MS);
  roam_loss_options loss;
  roam_loss_options_init(&loss);
  loss.loss_ppm = 50000;
  add(&g, roam_loss_new(&loss, roam_world_random(g.world)));
  open_to(&g, "10.0.0.2:1883");
  run(&g, 20 * ROAM_S);
  assert_int_equal(g.x->seen[ROAM_WIRE_OPENED], 1);
  for (size_t i = 0; i < sizeof big; i++) big[i] = (uint8_t)(i * 7 + (i >> 8));
  say(g.x, CONN, big, sizeof big);
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->bytes_total, sizeof big);
  assert_true(g.y->sum == sum_of(big, sizeof big));
  assert_int_equal(g.x->last[ROAM_WIRE_CREDIT].handle, CONN);
  end(&g);
}

static void keeps_the_rate(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  roam_queue_options queue;
  roam_queue_options_init(&queue);
  queue.rate_bytes_s = 1000000;
  add(&g, roam_queue_new(&queue));
  join(&g);
  roam_time start = roam_world_now(g.world);
  for (size_t i = 0; i < 100000; i++) big[i] = (uint8_t)i;
  say(g.x, CONN, big, 100000);
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->bytes_total, 100000);
  /* 72 segments with a header of 40 bytes each: 102 880 us, and nothing on the way back. */
  assert_in_range(g.y->last_at[ROAM_WIRE_DATA] - start, 102 * ROAM_MS, 106 * ROAM_MS);
  end(&g);
}

static void pushes_back(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, ROAM_MS);
  uint32_t server = join(&g);
  g.y->greedy = true; /* takes, but grants nothing more */
  say(g.x, CONN, big, sizeof big);
  run(&g, roam_world_now(g.world) + 10 * ROAM_S);
  assert_int_equal(g.y->bytes_total, ROAM_CREDIT_START);
  say(g.x, CONN, "more", 4);
  run(&g, roam_world_now(g.world) + 60 * ROAM_S);
  assert_int_equal(g.y->bytes_total, ROAM_CREDIT_START);
  toy_say(g.y, (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = server, .credit = 3});
  run(&g, roam_world_now(g.world) + 60 * ROAM_S);
  assert_int_equal(g.y->bytes_total, ROAM_CREDIT_START + 3);
  toy_say(g.y, (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = server, .credit = 3});
  run(&g, roam_world_now(g.world) + 60 * ROAM_S);
  assert_int_equal(g.y->bytes_total, ROAM_CREDIT_START + 4);
  assert_int_equal(g.x->seen[ROAM_WIRE_CLOSE], 0);
  end(&g);
}

static void closes_in_every_way(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint8_t how;
    int error, closes;
    uint64_t bytes;
  } cases[] = {{"flush", ROAM_CLOSE_FLUSH, 0, 1, 5000},
               {"reset", ROAM_CLOSE_RESET, ECONNRESET, 1, 0},
               {"hang", ROAM_CLOSE_HANG, 0, 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct rig g;
    begin(&g);
    roam_queue_options queue;
    roam_queue_options_init(&queue);
    queue.rate_bytes_s = 100000;
    add(&g, roam_queue_new(&queue));
    uint32_t server = join(&g);
    if (cases[i].bytes) say(g.x, CONN, big, cases[i].bytes);
    toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = CONN, .how = cases[i].how});
    run(&g, ROAM_NEVER);
    assert_int_equal(g.y->bytes_total, cases[i].bytes);
    assert_int_equal(g.y->seen[ROAM_WIRE_CLOSE], cases[i].closes);
    assert_int_equal(g.y->last[ROAM_WIRE_CLOSE].error, cases[i].error);
    if (cases[i].how == ROAM_CLOSE_HANG) { /* silent until it is closed for good */
      say(g.y, server, "hello?", 6);
      run(&g, roam_world_now(g.world) + 10 * ROAM_S);
      assert_int_equal(g.x->seen[ROAM_WIRE_DATA], 0);
      toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = CONN, .how = ROAM_CLOSE_RESET});
      run(&g, roam_world_now(g.world) + 10 * ROAM_S);
      assert_int_equal(g.y->last[ROAM_WIRE_CLOSE].error, ECONNRESET);
    }
    assert_int_equal(g.x->seen[ROAM_WIRE_CLOSE], 0);
    end(&g);
  }
}

static void dies_of_a_rebind(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  roam_nat_options o;
  roam_nat_options_init(&o);
  o.address = addr("200.0.0.200");
  add_delay(&g, 10 * ROAM_MS);
  roam_hop *nat = roam_nat_new(&o, NULL);
  assert_non_null(nat);
  add(&g, nat);
  uint32_t server = join(&g);
  assert_int_equal(g.y->last[ROAM_WIRE_ACCEPT].remote.ip[3], 200);
  roam_addr other = addr("200.0.0.203");
  roam_world_rebind(g.world, nat, &other);
  run(&g, roam_world_now(g.world) + 60 * ROAM_S);
  assert_int_equal(g.x->seen[ROAM_WIRE_CLOSE], 0); /* nobody knows yet */
  roam_time said = roam_world_now(g.world);
  say(g.x, CONN, "x", 1);
  say(g.y, server, "y", 1);
  run(&g, said + 10 * ROAM_S);
  assert_int_equal(g.x->last[ROAM_WIRE_CLOSE].error, ECONNRESET);
  assert_int_equal(g.x->last_at[ROAM_WIRE_CLOSE], said + 20 * ROAM_MS);
  assert_int_equal(g.y->seen[ROAM_WIRE_CLOSE], 0); /* the far half hangs ... */
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->last[ROAM_WIRE_CLOSE].error, ETIMEDOUT); /* ... until it gives up */
  assert_int_equal(g.x->seen[ROAM_WIRE_DATA] + g.y->seen[ROAM_WIRE_DATA], 0);
  open_to(&g, "10.0.0.2:1883");
  run(&g, ROAM_NEVER);
  assert_int_equal(g.y->seen[ROAM_WIRE_ACCEPT], 2);
  assert_int_equal(g.y->last[ROAM_WIRE_ACCEPT].remote.ip[3], 203);
  end(&g);
}

static void dies_when_forgotten(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, 10 * ROAM_MS);
  uint32_t server = join(&g);
  roam_host_forget_tcp(g.a, &g.x_addr);
  say(g.x, CONN, "x", 1);
  say(g.y, server, "y", 1);
  run(&g, roam_world_now(g.world) + 10 * ROAM_S);
  assert_int_equal(g.x->last[ROAM_WIRE_CLOSE].error, ECONNRESET);
  assert_int_equal(g.y->seen[ROAM_WIRE_CLOSE] + g.y->seen[ROAM_WIRE_DATA], 0);
  end(&g);
}

static void resets_who_speaks_to_the_dead(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, ROAM_MS);
  join(&g);
  roam_host_stop(g.b, toy_machine(g.y));
  run(&g, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_CLOSE], 0); /* it vanished without a word */
  say(g.x, CONN, "hello?", 6);
  run(&g, ROAM_NEVER);
  assert_int_equal(g.x->last[ROAM_WIRE_CLOSE].error, ECONNRESET);
  end(&g);
}

static void closes_from_both_sides_at_once(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  add_delay(&g, 10 * ROAM_MS);
  uint32_t server = join(&g);
  toy_say(g.x, (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = CONN});
  toy_say(g.y, (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = server});
  run(&g, ROAM_NEVER);
  assert_in_range(roam_world_now(g.world), 0, 10 * ROAM_S); /* no timer goes on for long */
  open_to(&g, "10.0.0.2:1883");
  run(&g, ROAM_NEVER);
  assert_int_equal(g.x->seen[ROAM_WIRE_OPENED], 2);
  end(&g);
}

static void connects_within_a_host(void **state) {
  (void)state;
  struct rig g;
  begin(&g);
  struct toy *z = toy_new();
  roam_host_run(g.b, toy_machine(z), NULL, NULL);
  g.y->echo = true;
  toy_say(z, (roam_wire){.kind = ROAM_WIRE_OPEN, .handle = 3, .remote = addr("10.0.0.2:1883")});
  run(&g, ROAM_NEVER);
  assert_int_equal(z->seen[ROAM_WIRE_OPENED], 1);
  say(z, 3, big, 2000);
  run(&g, ROAM_NEVER);
  assert_int_equal(z->bytes_total, 2000);
  end(&g);
  free(z);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(shakes_hands_in_one_round_trip),
                                     cmocka_unit_test(is_refused_in_one_round_trip),
                                     cmocka_unit_test(refuses_a_second_listener),
                                     cmocka_unit_test(keeps_order_under_loss),
                                     cmocka_unit_test(keeps_the_rate),
                                     cmocka_unit_test(pushes_back),
                                     cmocka_unit_test(closes_in_every_way),
                                     cmocka_unit_test(dies_of_a_rebind),
                                     cmocka_unit_test(dies_when_forgotten),
                                     cmocka_unit_test(resets_who_speaks_to_the_dead),
                                     cmocka_unit_test(closes_from_both_sides_at_once),
                                     cmocka_unit_test(connects_within_a_host)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
