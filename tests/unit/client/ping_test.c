/* ping_test.c - how often to ping, learned from a NAT that forgets after a time we do not know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/ping.h"

#define S UINT64_C(1000000000)

/* A NAT whose mappings live so long, asked `times` times. */
static void live_with(struct roam_ping *p, uint64_t life_ns, int times) {
  for (int i = 0; i < times; i++) {
    (void)roam_ping_learn(p, p->interval_ns, p->interval_ns > life_ns);
    assert_true(p->interval_ns >= p->min_ns && p->interval_ns <= p->max_ns);
  }
}

static void defaults_follow_the_start(void **state) {
  (void)state;
  struct roam_ping p;
  roam_ping_init(&p, 15 * S, 0, 0);
  assert_true(p.interval_ns == 15 * S && p.min_ns == 5 * S && p.max_ns == 25 * S);
  roam_ping_init(&p, 15 * S, 20 * S, 10 * S); /* the start is always allowed */
  assert_true(p.min_ns == 15 * S && p.max_ns == 15 * S);
  roam_ping_init(&p, 0, 0, 0);
  assert_false(roam_ping_learn(&p, 100 * S, true));
  assert_true(p.interval_ns == 0);
}

static void grows_while_nothing_is_lost(void **state) {
  (void)state;
  struct roam_ping p;
  roam_ping_init(&p, 15 * S, 5 * S, 60 * S);
  live_with(&p, 1000 * S, 2);
  assert_true(p.interval_ns == 15 * S);
  live_with(&p, 1000 * S, 1);
  assert_true(p.interval_ns > 15 * S);
  live_with(&p, 1000 * S, 50);
  assert_true(p.interval_ns == 60 * S);
}

static void closes_in_on_the_mapping_s_life(void **state) {
  (void)state;
  static const uint64_t lives[] = {6, 8, 15, 22, 30, 45, 59};
  for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
    struct roam_ping p;
    roam_ping_init(&p, 15 * S, 2 * S, 60 * S);
    live_with(&p, lives[i] * S, 15);
    unsigned broken = 0;
    for (int k = 0; k < 100; k++) {
      bool rebound = p.interval_ns > lives[i] * S;
      broken += rebound;
      (void)roam_ping_learn(&p, p.interval_ns, rebound);
    }
    assert_true(broken <= 12); /* it tries again from time to time, and no more often */
    assert_true(p.interval_ns >= lives[i] * S / 3);
  }
}

static void forgets_what_was_not_the_silence_s_fault(void **state) {
  (void)state;
  struct roam_ping p;
  roam_ping_init(&p, 15 * S, 5 * S, 30 * S);
  assert_true(roam_ping_learn(&p, 15 * S, true)); /* the provider changed the address, once */
  assert_true(p.interval_ns < 15 * S);
  live_with(&p, 1000 * S, 60);
  assert_true(p.interval_ns == 30 * S);
}

static void fixed_when_told_so(void **state) {
  (void)state;
  struct roam_ping p;
  roam_ping_init(&p, 2 * S, 2 * S, 2 * S);
  assert_false(roam_ping_learn(&p, 2 * S, true));
  live_with(&p, 1 * S, 10);
  live_with(&p, 100 * S, 10);
  assert_true(p.interval_ns == 2 * S);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_follow_the_start),       cmocka_unit_test(grows_while_nothing_is_lost),
      cmocka_unit_test(closes_in_on_the_mapping_s_life), cmocka_unit_test(forgets_what_was_not_the_silence_s_fault),
      cmocka_unit_test(fixed_when_told_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
