/* flood_topic_test.c - a payload that was touched is found out, and so is every message that is missing, late or twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/flood.h"

#define LEN 40

static void every_byte_counts(void **state) {
  (void)state;
  uint8_t pattern[LEN + 256], payload[LEN];
  uint64_t k = 0;
  roam_time at = 0;
  roam_flood_pattern(pattern, LEN);
  roam_flood_fill(payload, LEN, pattern, 7, 99);
  assert_true(roam_flood_check((roam_bytes){payload, LEN}, LEN, pattern, &k, &at));
  assert_int_equal(k, 7);
  assert_int_equal(at, 99);
  assert_false(roam_flood_check((roam_bytes){payload, LEN - 1}, LEN, pattern, &k, &at));
  for (size_t i = ROAM_FLOOD_HEADER; i < LEN; i++) {
    payload[i] ^= 1;
    assert_false(roam_flood_check((roam_bytes){payload, LEN}, LEN, pattern, &k, &at));
    payload[i] ^= 1;
  }
  payload[0] ^= 1; /* another number wants another fill */
  assert_false(roam_flood_check((roam_bytes){payload, LEN}, LEN, pattern, &k, &at));
}

static void window_moves_with_the_slowest(void **state) {
  (void)state;
  uint32_t seen[4] = {0};
  uint64_t fast = 0, slow = 0;
  struct roam_flood_topic t = {.next = 4, .seen = seen};
  for (uint64_t k = 0; k < 4; k++) assert_int_equal(roam_flood_take(&t, 4, 2, &fast, k, false), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 0);
  assert_int_equal(roam_flood_take(&t, 4, 2, &slow, 0, false), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 1);
  t.next = 5;
  assert_int_equal(roam_flood_take(&t, 4, 2, &fast, 4, false), ROAM_FLOOD_GOOD);
  for (uint64_t k = 1; k < 5; k++) assert_int_equal(roam_flood_take(&t, 4, 2, &slow, k, false), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 5);
}

static void disorder_is_found(void **state) {
  (void)state;
  uint32_t seen[8] = {0};
  uint64_t expected = 0;
  struct roam_flood_topic t = {.next = 4, .seen = seen};
  assert_int_equal(roam_flood_take(&t, 8, 1, &expected, 0, false), ROAM_FLOOD_GOOD);
  assert_int_equal(roam_flood_take(&t, 8, 1, &expected, 0, false), ROAM_FLOOD_AGAIN);
  assert_int_equal(roam_flood_take(&t, 8, 1, &expected, 2, false), ROAM_FLOOD_DISORDERED);
  assert_int_equal(roam_flood_take(&t, 8, 1, &expected, 1, false), ROAM_FLOOD_AGAIN);
  assert_int_equal(roam_flood_take(&t, 8, 1, &expected, 4, false), ROAM_FLOOD_CORRUPT);
  assert_int_equal(t.base, 1); /* what is missing keeps the run from being complete */
}

static void what_is_lost_is_not_waited_for(void **state) {
  (void)state;
  uint32_t seen[8] = {0};
  uint64_t expected[2] = {0};
  struct roam_flood_topic t = {.next = 6, .seen = seen};
  assert_int_equal(roam_flood_take(&t, 8, 2, &expected[0], 3, true), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 0); /* the other one may still get them */
  assert_int_equal(roam_flood_take(&t, 8, 2, &expected[1], 2, true), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 3);
  assert_int_equal(roam_flood_take(&t, 8, 2, &expected[0], 1, true), ROAM_FLOOD_AGAIN); /* late */
  roam_flood_skip(&t, 8, 2, expected);
  assert_int_equal(t.base, 6);
  assert_int_equal(expected[0], 6);
  assert_int_equal(expected[1], 6);
  t.next = 14; /* a whole window again: nothing of the old one is left in it */
  for (uint64_t k = 6; k < 14; k++) assert_int_equal(roam_flood_take(&t, 8, 2, &expected[0], k, true), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 6);
  assert_int_equal(roam_flood_take(&t, 8, 2, &expected[1], 13, true), ROAM_FLOOD_GOOD);
  assert_int_equal(t.base, 14);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte_counts),
      cmocka_unit_test(window_moves_with_the_slowest),
      cmocka_unit_test(disorder_is_found),
      cmocka_unit_test(what_is_lost_is_not_waited_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
