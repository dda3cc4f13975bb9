/* rng_test.c - the seeded source: repeats with its seed, is fair within wide limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void repeats_with_its_seed(void **state) {
  (void)state;
  struct roam_rng a, b, c;
  roam_rng_init(&a, 5);
  roam_rng_init(&b, 5);
  roam_rng_init(&c, 6);
  assert_true(a.random.simulated);
  uint8_t x[61], y[61], z[61];
  roam_random_fill(&a.random, x, sizeof x);
  roam_random_fill(&b.random, y, sizeof y);
  roam_random_fill(&c.random, z, sizeof z);
  assert_memory_equal(x, y, sizeof x);
  assert_true(memcmp(x, z, sizeof x) != 0);
  assert_int_equal(roam_random_u64(&a.random), roam_rng_next(&b));
}

/* The published sequence of xoshiro256** for the state 1, 2, 3, 4. */
static void follows_the_published_sequence(void **state) {
  (void)state;
  struct roam_rng rng = {.state = {1, 2, 3, 4}};
  static const uint64_t want[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
  for (int i = 0; i < 4; i++) assert_int_equal(roam_rng_next(&rng), want[i]);
}

static void is_fair(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  int seen[7] = {0}, hits = 0;
  for (int i = 0; i < 70000; i++) seen[roam_random_below(&rng.random, 7)]++;
  for (int i = 0; i < 7; i++) assert_in_range(seen[i], 9500, 10500);
  for (int i = 0; i < 100000; i++) hits += roam_random_ppm(&rng.random, 30000);
  assert_in_range(hits, 2700, 3300);
  assert_int_equal(roam_random_below(&rng.random, 0), 0);
  assert_int_equal(roam_random_below(&rng.random, 1), 0);
  assert_true(roam_random_ppm(&rng.random, 1000000));
  assert_false(roam_random_ppm(&rng.random, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(repeats_with_its_seed),
                                     cmocka_unit_test(follows_the_published_sequence), cmocka_unit_test(is_fair)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
