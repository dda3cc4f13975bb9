/* ring_test.c - the bounded queue of equal elements: order over growth and wrap, the bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/ring.h"
#include "base/rng.h"

static void is_first_in_first_out(void **state) {
  (void)state;
  for (size_t max = 1; max < 200; max = max * 2 + 1) {
    struct roam_ring r;
    struct roam_rng rng;
    roam_rng_init(&rng, max);
    roam_ring_init(&r, sizeof(uint32_t), max);
    uint32_t in = 0, out = 0, got;
    for (int turn = 0; turn < 5000; turn++) {
      if (roam_random_below(&rng.random, 5) < 3) {
        roam_rc rc = roam_ring_push(&r, &in);
        assert_int_equal(rc, in - out == max ? ROAM_E_LIMIT : 0);
        if (rc == 0) in++;
      } else if (roam_ring_pop(&r, &got)) {
        assert_int_equal(got, out++);
      } else {
        assert_int_equal(in, out);
      }
      assert_int_equal(roam_ring_count(&r), in - out);
      for (uint32_t i = 0; i < in - out; i++) assert_int_equal(*(uint32_t *)roam_ring_at(&r, i), out + i);
      assert_null(roam_ring_at(&r, in - out));
    }
    roam_ring_reset(&r);
    assert_null(roam_ring_peek(&r));
  }
}

static void adds_in_place(void **state) {
  (void)state;
  struct roam_ring r;
  roam_ring_init(&r, 16, 2);
  uint8_t zero[16] = {0}, *slot = roam_ring_add(&r);
  assert_memory_equal(slot, zero, 16);
  memset(slot, 7, 16);
  roam_ring_pop(&r, NULL);
  assert_non_null(roam_ring_add(&r));
  assert_non_null(roam_ring_add(&r));
  assert_true(roam_ring_full(&r));
  assert_null(roam_ring_add(&r));
  assert_memory_equal(roam_ring_at(&r, 1), zero, 16);
  roam_ring_reset(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(is_first_in_first_out), cmocka_unit_test(adds_in_place)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
