/* batch_test.c - changes as bytes: what is put in comes out, what is struck does not, what is cut is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/batch.h"

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static void add(struct roam_batch *b, int what, const char *key, const char *record) {
  uint8_t *at = roam_batch_add(b, what, str(key), strlen(record));
  assert_non_null(at);
  if (record[0]) memcpy(at, record, strlen(record));
}

static bool same(roam_bytes a, const char *text) { return a.len == strlen(text) && memcmp(a.base, text, a.len) == 0; }

static void comes_out_as_it_went_in(void **state) {
  (void)state;
  struct roam_batch b = {0};
  roam_store_change c;
  add(&b, ROAM_STORE_PUT, "a", "one");
  add(&b, ROAM_STORE_PUT, "b", "struck");
  size_t at = b.last;
  add(&b, ROAM_STORE_DROP, "c", "");
  add(&b, ROAM_STORE_DROP_ALL, "prefix", "");
  roam_batch_strike(&b, at);
  roam_bytes rest = {b.base, b.len};
  assert_int_equal(roam_store_next(&rest, &c), 1);
  assert_true(c.what == ROAM_STORE_PUT && same(c.key, "a") && same(c.record, "one"));
  assert_int_equal(roam_store_next(&rest, &c), 1);
  assert_true(c.what == ROAM_STORE_DROP && same(c.key, "c") && c.record.len == 0);
  assert_int_equal(roam_store_next(&rest, &c), 1);
  assert_true(c.what == ROAM_STORE_DROP_ALL && same(c.key, "prefix"));
  assert_int_equal(roam_store_next(&rest, &c), 0);
  roam_batch_clear(&b);
  assert_int_equal(b.len, 0);
  roam_batch_reset(&b);
}

/* In memory exactly as large as what it holds, so that a sanitizer sees every step too far. */
static void cut_anywhere(void **state) {
  (void)state;
  struct roam_batch b = {0};
  add(&b, ROAM_STORE_PUT, "key", "record");
  for (size_t len = 1; len < b.len; len++) {
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, b.base, len);
    roam_bytes rest = {copy, len};
    roam_store_change c;
    assert_int_equal(roam_store_next(&rest, &c), ROAM_E_MALFORMED);
    free(copy);
  }
  b.base[0] = 9;
  roam_bytes rest = {b.base, b.len};
  assert_int_equal(roam_store_next(&rest, &(roam_store_change){0}), ROAM_E_MALFORMED);
  roam_batch_reset(&b);
}

static void grows(void **state) {
  (void)state;
  struct roam_batch b = {0};
  char record[1000];
  memset(record, 'x', sizeof record - 1);
  record[sizeof record - 1] = 0;
  for (int i = 0; i < 3000; i++) add(&b, ROAM_STORE_PUT, "key", record);
  roam_bytes rest = {b.base, b.len};
  roam_store_change c;
  int n = 0;
  while (roam_store_next(&rest, &c) == 1) n++;
  assert_int_equal(n, 3000);
  roam_batch_clear(&b); /* that much is given back */
  assert_null(b.base);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(comes_out_as_it_went_in),
      cmocka_unit_test(cut_anywhere),
      cmocka_unit_test(grows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
