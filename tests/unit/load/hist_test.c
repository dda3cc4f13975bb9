/* hist_test.c - quantiles against a sorted array: never below the true value, never more than 1 % above. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

#include <roamqtt/load.h>

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static const uint32_t shares[] = {0, 1, 100000, 500000, 900000, 990000, 999000, 999999, 1000000};

static void check(const roam_hist *h, uint64_t *values, size_t n) {
  qsort(values, n, sizeof *values, compare);
  assert_int_equal(roam_hist_count(h), n);
  assert_true(roam_hist_max(h) == values[n - 1]);
  for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
    size_t rank = (size_t)(((unsigned __int128)n * shares[i] + 999999) / 1000000);
    uint64_t truth = values[rank ? rank - 1 : 0], told = roam_hist_quantile(h, shares[i]);
    assert_true(told >= truth);
    assert_true(told - truth <= truth / 100);
  }
}

/* bits: how wide the values are; each width exercises its own octaves. */
static void agrees_with_a_sorted_array(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 7);
  static uint64_t values[20000];
  for (unsigned bits = 1; bits <= 64; bits++) {
    size_t n = 1 + (size_t)roam_random_below(&rng.random, 20000);
    roam_hist *h = roam_hist_new();
    assert_non_null(h);
    for (size_t i = 0; i < n; i++) roam_hist_add(h, values[i] = roam_rng_next(&rng) >> (64 - bits));
    check(h, values, n);
    roam_hist_free(h);
  }
}

static void is_exact_below_256(void **state) {
  (void)state;
  for (uint64_t v = 0; v < 256; v++) {
    roam_hist *h = roam_hist_new();
    assert_non_null(h);
    roam_hist_add(h, v);
    roam_hist_add(h, UINT64_MAX);
    assert_int_equal(roam_hist_quantile(h, 500000), v);
    assert_true(roam_hist_quantile(h, 1000000) == UINT64_MAX);
    roam_hist_free(h);
  }
}

static void merges(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 8);
  uint64_t values[3000];
  roam_hist *all = roam_hist_new(), *part = roam_hist_new();
  assert_non_null(all);
  assert_non_null(part);
  for (size_t i = 0; i < 3000; i++) {
    values[i] = roam_rng_next(&rng) >> roam_random_below(&rng.random, 64);
    roam_hist_add(i % 3 ? all : part, values[i]);
  }
  roam_hist_merge(all, part);
  check(all, values, 3000);
  roam_hist_free(all);
  roam_hist_free(part);
}

static void says_0_when_empty(void **state) {
  (void)state;
  roam_hist *h = roam_hist_new();
  assert_non_null(h);
  assert_int_equal(roam_hist_quantile(h, 990000), 0);
  assert_int_equal(roam_hist_max(h), 0);
  roam_hist_free(h);
  roam_hist_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_with_a_sorted_array),
      cmocka_unit_test(is_exact_below_256),
      cmocka_unit_test(merges),
      cmocka_unit_test(says_0_when_empty),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
