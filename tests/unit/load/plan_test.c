/* plan_test.c - the schedule: every message in its place, none beyond the end, no drift. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/plan.h"

static const struct {
  const char *name;
  uint32_t rate;
  uint64_t duration_ns, count;
} table[] = {
    {"the demo", 50, 20 * ROAM_S, 1000},
    {"one message", 50, 1, 1},
    {"two messages", 50, 20 * ROAM_MS + 1, 2},
    {"the end is not part of it", 50, 20 * ROAM_MS, 1},
    {"thirds", 3, ROAM_S, 3},
    {"thirds and a bit", 3, ROAM_S + 1, 4},
    {"fast", 1000000, 3600 * ROAM_S, UINT64_C(3600000000)},
    {"slow", 1, 1500 * ROAM_MS, 2},
    {"for ever", 1000000, UINT64_MAX, UINT64_C(18446744073709552)},
    {"beyond 64 bits", UINT32_MAX, UINT64_MAX, UINT64_MAX},
};

static void counts(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    uint64_t count = roam_plan_count(table[i].rate, table[i].duration_ns);
    if (table[i].count == UINT64_MAX ? count < UINT64_C(1) << 62 : count != table[i].count) {
      fail_msg("%s: %llu", table[i].name, (unsigned long long)count);
    }
  }
}

static void last_is_before_the_end_and_the_next_is_not(void **state) {
  (void)state;
  static const uint32_t rates[] = {1, 3, 7, 50, 333, 999999, 1000000};
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
    for (uint64_t duration = 1; duration < 100 * ROAM_S; duration = duration * 3 + 1) {
      struct roam_plan plan = {rates[i], roam_plan_count(rates[i], duration)};
      assert_true(roam_plan_offset(&plan, plan.count - 1) < duration);
      /* Offsets are rounded down by less than a nanosecond. */
      assert_true(roam_plan_offset(&plan, plan.count) + 1 > duration - 1);
      assert_int_equal(roam_plan_offset(&plan, 0), 0);
    }
  }
}

static void does_not_drift(void **state) {
  (void)state;
  struct roam_plan plan = {333, UINT64_MAX};
  assert_true(roam_plan_offset(&plan, UINT64_C(333) * 86400 * 365) == UINT64_C(86400) * 365 * ROAM_S);
  for (uint64_t k = 1; k < 1000; k++) {
    uint64_t step = roam_plan_offset(&plan, k) - roam_plan_offset(&plan, k - 1);
    assert_in_range(step, ROAM_S / 333, ROAM_S / 333 + 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts),
      cmocka_unit_test(last_is_before_the_end_and_the_next_is_not),
      cmocka_unit_test(does_not_drift),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
