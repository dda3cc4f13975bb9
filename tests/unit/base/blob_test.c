/* blob_test.c - counted blocks: contents, sharing, the empty one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/blob.h"

static void holds_a_copy(void **state) {
  (void)state;
  char text[] = "payload";
  roam_blob *b = roam_blob_new(text, 7);
  assert_non_null(b);
  text[0] = 'X';
  assert_int_equal(roam_blob_len(b), 7);
  assert_memory_equal(roam_blob_data(b), "payload", 7);
  assert_ptr_equal(roam_blob_ref(b), b);
  roam_blob_unref(b);
  assert_memory_equal(roam_blob_data(b), "payload", 7); /* one count is left; the sanitizer would tell otherwise */
  roam_blob_unref(b);
}

static void one_that_stays_is_counted_alike(void **state) {
  (void)state;
  roam_blob *b = roam_blob_new("payload", 7);
  assert_non_null(b);
  roam_blob_stay(b);
  for (int i = 0; i < 5; i++) assert_ptr_equal(roam_blob_ref(b), b);
  for (int i = 0; i < 5; i++) roam_blob_unref(b);
  assert_memory_equal(roam_blob_data(b), "payload", 7);
  roam_blob_unref(b);
  roam_blob_stay(NULL);
}

static void bears_null_and_empty(void **state) {
  (void)state;
  assert_null(roam_blob_ref(NULL));
  roam_blob_unref(NULL);
  roam_blob *b = roam_blob_new(NULL, 0);
  assert_non_null(b);
  assert_int_equal(roam_blob_len(b), 0);
  roam_blob_unref(b);
  assert_null(roam_blob_new(NULL, SIZE_MAX));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(holds_a_copy), cmocka_unit_test(one_that_stays_is_counted_alike),
                                     cmocka_unit_test(bears_null_and_empty)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
