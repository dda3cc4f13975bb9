/* map_test.c - the hash tables against plain arrays: insert, replace, remove, bound; the hash against its published vector.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/rng.h"

enum {
  N = 400
};

static void agrees_with_an_array(void **state) {
  (void)state;
  struct roam_map m;
  struct roam_map64 m64;
  struct roam_rng rng;
  char keys[N][8];
  int values[2];
  void *model[N] = {0};
  size_t count = 0;
  roam_rng_init(&rng, 11);
  roam_map_init(&m, N, &rng.random);
  roam_map64_init(&m64, N, NULL);
  for (int i = 0; i < N; i++) memcpy(keys[i], (char[8]){'k', (char)i, (char)(i >> 8)}, 8);
  for (int turn = 0; turn < 40000; turn++) {
    size_t k = roam_random_below(&rng.random, N);
    if (roam_random_below(&rng.random, 100) < (turn / 5000 % 2 ? 70u : 40u)) {
      void *value = &values[roam_random_below(&rng.random, 2)];
      assert_int_equal(roam_map_put(&m, keys[k], 3, value), 0);
      assert_int_equal(roam_map64_put(&m64, k * UINT64_C(1000003), value), 0);
      count += model[k] == NULL;
      model[k] = value;
    } else {
      assert_ptr_equal(roam_map_remove(&m, keys[k], 3), model[k]);
      assert_ptr_equal(roam_map64_remove(&m64, k * UINT64_C(1000003)), model[k]);
      count -= model[k] != NULL;
      model[k] = NULL;
    }
    assert_int_equal(m.count, count);
    assert_int_equal(m64.count, count);
    k = roam_random_below(&rng.random, N);
    assert_ptr_equal(roam_map_get(&m, keys[k], 3), model[k]);
    assert_ptr_equal(roam_map64_get(&m64, k * UINT64_C(1000003)), model[k]);
  }
  for (size_t k = 0; k < N; k++) {
    assert_ptr_equal(roam_map_get(&m, keys[k], 3), model[k]);
    assert_ptr_equal(roam_map64_get(&m64, k * UINT64_C(1000003)), model[k]);
  }
  roam_map_reset(&m);
  roam_map64_reset(&m64);
  assert_null(roam_map_get(&m, "k", 1));
}

static void keeps_its_bound(void **state) {
  (void)state;
  struct roam_map m;
  int v;
  roam_map_init(&m, 2, NULL);
  assert_null(roam_map_remove(&m, "a", 1));
  assert_int_equal(roam_map_put(&m, "a", 1, &v), 0);
  assert_int_equal(roam_map_put(&m, "", 0, &v), 0);
  assert_int_equal(roam_map_put(&m, "b", 1, &v), ROAM_E_LIMIT);
  assert_int_equal(roam_map_put(&m, "a", 1, &m), 0);
  assert_ptr_equal(roam_map_get(&m, "a", 1), &m);
  assert_ptr_equal(roam_map_get(&m, "", 0), &v);
  roam_map_reset(&m);
}

/* SipHash-1-3 of no bytes and of 00 .. 07 under the key 00 .. 0f, as in the tables of other implementations. */
static void hashes_as_published(void **state) {
  (void)state;
  struct roam_hash_key key = roam_hash_key_draw(NULL);
  uint8_t bytes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  assert_int_equal(roam_hash_bytes(key, bytes, 0), UINT64_C(0xabac0158050fc4dc));
  assert_int_equal(roam_hash_bytes(key, bytes, 1), UINT64_C(0xc9f49bf37d57ca93));
  assert_int_equal(roam_hash_bytes(key, bytes, 8), roam_hash_u64(key, UINT64_C(0x0706050403020100)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_an_array), cmocka_unit_test(keeps_its_bound),
                                     cmocka_unit_test(hashes_as_published)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
