/* heap_test.c - the deadline heap against a linear search: order, ties, moves, the bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/rng.h"

enum {
  N = 60
};

static struct roam_heap_node *search(struct roam_heap_node *nodes) {
  struct roam_heap_node *best = NULL;
  for (int i = 0; i < N; i++) {
    struct roam_heap_node *n = &nodes[i];
    if (n->index != 0 && (!best || n->at < best->at || (n->at == best->at && n->seq < best->seq))) best = n;
  }
  return best;
}

static void agrees_with_a_search(void **state) {
  (void)state;
  struct roam_heap_node nodes[N] = {0};
  struct roam_heap h;
  struct roam_rng rng;
  roam_rng_init(&rng, 3);
  roam_heap_init(&h, N);
  for (int turn = 0; turn < 20000; turn++) {
    struct roam_heap_node *n = &nodes[roam_random_below(&rng.random, N)];
    uint64_t what = roam_random_below(&rng.random, 10);
    if (what < 6) assert_int_equal(roam_heap_set(&h, n, 1 + roam_random_below(&rng.random, 40)), 0);
    else if (what < 8) assert_int_equal(roam_heap_set(&h, n, ROAM_NEVER), 0);
    else roam_heap_remove(&h, n);
    assert_ptr_equal(roam_heap_first(&h), search(nodes));
    assert_int_equal(roam_heap_deadline(&h), roam_heap_first(&h) ? roam_heap_first(&h)->at : ROAM_NEVER);
  }
  roam_heap_reset(&h);
  for (int i = 0; i < N; i++) assert_int_equal(nodes[i].index, 0);
}

static void keeps_turns_at_ties(void **state) {
  (void)state;
  struct roam_heap_node a = {0}, b = {0}, c = {0};
  struct roam_heap h;
  roam_heap_init(&h, 3);
  roam_heap_set(&h, &b, 5);
  roam_heap_set(&h, &a, 5);
  roam_heap_set(&h, &c, 4);
  roam_heap_set(&h, &b, 5); /* the same time: keeps its turn */
  roam_heap_set(&h, &c, 5); /* moved: goes behind */
  struct roam_heap_node *order[] = {&b, &a, &c};
  for (int i = 0; i < 3; i++) {
    assert_ptr_equal(roam_heap_first(&h), order[i]);
    roam_heap_remove(&h, order[i]);
  }
  roam_heap_reset(&h);
}

static void keeps_its_bound(void **state) {
  (void)state;
  struct roam_heap_node a = {0}, b = {0}, c = {0};
  struct roam_heap h;
  roam_heap_init(&h, 2);
  assert_int_equal(roam_heap_reserve(&h, 3), ROAM_E_LIMIT);
  assert_int_equal(roam_heap_reserve(&h, 2), 0);
  assert_int_equal(roam_heap_set(&h, &a, 1), 0);
  assert_int_equal(roam_heap_set(&h, &b, 2), 0);
  assert_int_equal(roam_heap_set(&h, &c, 3), ROAM_E_LIMIT);
  assert_int_equal(roam_heap_set(&h, &a, 9), 0);
  assert_int_equal(roam_heap_set(&h, &c, ROAM_NEVER), 0);
  roam_heap_reset(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_a_search), cmocka_unit_test(keeps_turns_at_ties),
                                     cmocka_unit_test(keeps_its_bound)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
