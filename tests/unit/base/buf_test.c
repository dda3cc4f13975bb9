/* buf_test.c - the byte queue against a plain model: bounds, compaction, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/rng.h"

static void keeps_its_bound(void **state) {
  (void)state;
  struct roam_buf b;
  roam_buf_init(&b, 10);
  assert_int_equal(roam_buf_view(&b).len, 0);
  assert_int_equal(roam_buf_put(&b, "0123456789", 10), 0);
  assert_int_equal(roam_buf_put(&b, "x", 1), ROAM_E_LIMIT);
  assert_null(roam_buf_reserve(&b, 1));
  roam_buf_take(&b, 4);
  assert_int_equal(roam_buf_room(&b), 4);
  assert_int_equal(roam_buf_put(&b, "abcde", 5), ROAM_E_LIMIT);
  assert_int_equal(roam_buf_put(&b, "abcd", 4), 0);
  roam_bytes v = roam_buf_view(&b);
  assert_int_equal(v.len, 10);
  assert_memory_equal(v.base, "456789abcd", 10);
  roam_buf_reset(&b);
  assert_int_equal(roam_buf_put(&b, NULL, 0), 0);
  roam_buf_reset(&b);
}

static void commits_less_than_reserved(void **state) {
  (void)state;
  struct roam_buf b;
  roam_buf_init(&b, 100);
  uint8_t *p = roam_buf_reserve(&b, 50);
  memcpy(p, "abc", 3);
  roam_buf_commit(&b, 3);
  assert_int_equal(roam_buf_len(&b), 3);
  assert_int_equal(roam_buf_room(&b), 97);
  roam_buf_reset(&b);
}

static void gives_large_memory_back(void **state) {
  (void)state;
  struct roam_buf b;
  roam_buf_init(&b, 1 << 20);
  assert_non_null(roam_buf_reserve(&b, 1 << 19));
  roam_buf_commit(&b, 1 << 19);
  roam_buf_take(&b, (1 << 19) - 1);
  assert_true(b.cap >= 1 << 19);
  roam_buf_take(&b, 1);
  assert_int_equal(b.cap, 0);
  assert_int_equal(roam_buf_put(&b, "x", 1), 0);
  size_t cap = b.cap;
  roam_buf_take(&b, 1);
  assert_int_equal(b.cap, cap);
  roam_buf_reset(&b);
}

/* Every unread byte is its position in the stream, so order and loss show at once. */
static void streams_like_a_model(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 7);
  for (size_t max = 1; max < 3000; max = max * 3 + 1) {
    struct roam_buf b;
    roam_buf_init(&b, max);
    uint64_t in = 0, out = 0;
    for (int turn = 0; turn < 3000; turn++) {
      size_t n = roam_random_below(&rng.random, roam_buf_room(&b) + 1);
      if (n > 0) {
        uint8_t *p = roam_buf_reserve(&b, n);
        assert_non_null(p);
        for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(in++ * 31 >> 3);
        roam_buf_commit(&b, n);
      }
      roam_bytes v = roam_buf_view(&b);
      assert_int_equal(v.len, in - out);
      for (size_t i = 0; i < v.len; i++) assert_int_equal(v.base[i], (uint8_t)((out + i) * 31 >> 3));
      size_t take = roam_random_below(&rng.random, v.len + 1);
      roam_buf_take(&b, take);
      out += take;
      assert_true(b.cap <= max + max / 2 + 256);
    }
    roam_buf_reset(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_its_bound), cmocka_unit_test(commits_less_than_reserved),
                                     cmocka_unit_test(gives_large_memory_back), cmocka_unit_test(streams_like_a_model)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
