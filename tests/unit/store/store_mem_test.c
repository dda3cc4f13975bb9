/* store_mem_test.c - the store in memory does what every store must. */
#include "stores.h"

static void does_what_stores_do(void **state) {
  (void)state;
  roam_store *s = roam_store_memory();
  assert_non_null(s);
  exercise(s);
  commit(s, "+x=1");
  struct roam_batch b = {0}; /* the empty prefix is everything */
  roam_batch_add(&b, ROAM_STORE_DROP_ALL, (roam_bytes){(const uint8_t *)"", 0}, 0);
  char why[ROAM_STORE_WHY_MAX];
  assert_int_equal(s->ops->commit(s, (roam_bytes){b.base, b.len}, why), 0);
  roam_batch_reset(&b);
  expect(s, "");
  roam_store_free(s);
}

static void nothing_to_free(void **state) {
  (void)state;
  roam_store_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(does_what_stores_do), cmocka_unit_test(nothing_to_free)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
