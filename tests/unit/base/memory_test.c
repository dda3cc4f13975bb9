/* memory_test.c - containers when memory runs out: an error, and everything as it was before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/base/failing_memory.h"

#include "base/blob.c"
#include "base/heap.c"
#define grow grow_buf
#include "base/buf.c"
#undef grow
#define grow grow_ring
#define FIRST_CAP RING_FIRST_CAP
#include "base/ring.c"
#undef grow
#undef FIRST_CAP
#include "base/map.c"

static void fails_cleanly(long at) {
  struct roam_buf b;
  struct roam_ring r;
  struct roam_heap h;
  struct roam_map m;
  struct roam_map64 m64;
  struct roam_heap_node nodes[20] = {0};
  static const char keys[20][2] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                   "j", "k", "l", "m", "n", "o", "p", "q", "r"};
  roam_buf_init(&b, 1000);
  roam_ring_init(&r, sizeof(int), 100);
  roam_heap_init(&h, 100);
  roam_map_init(&m, 100, NULL);
  roam_map64_init(&m64, 100, NULL);
  memory_fail_at = at;
  for (int i = 0; i < 18; i++) {
    size_t len = b.len, count = r.count, in_heap = h.count, in_map = m.count, in_map64 = m64.count;
    if (roam_buf_put(&b, "0123456789012345678901234567890123456789", 40) != 0) assert_int_equal(b.len, len);
    if (roam_ring_push(&r, &i) != 0) assert_int_equal(r.count, count);
    if (roam_heap_set(&h, &nodes[i], 5) != 0) assert_true(h.count == in_heap && nodes[i].index == 0);
    if (roam_map_put(&m, keys[i], 1, &nodes[i]) != 0) assert_true(m.count == in_map && !roam_map_get(&m, keys[i], 1));
    if (roam_map64_put(&m64, (uint64_t)i, &nodes[i]) != 0)
      assert_true(m64.count == in_map64 && !roam_map64_get(&m64, (uint64_t)i));
    roam_blob_unref(roam_blob_new("x", 1));
  }
  memory_fail_at = 0;
  roam_buf_reset(&b);
  roam_ring_reset(&r);
  roam_heap_reset(&h);
  roam_map_reset(&m);
  roam_map64_reset(&m64);
}

static void survives_every_failure(void **state) {
  (void)state;
  long at = 1;
  do {
    memory_failed = false;
    fails_cleanly(at);
  } while (memory_failed && ++at < 1000);
  assert_in_range(at, 20, 999); /* it was reached, and ended by itself */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(survives_every_failure)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
