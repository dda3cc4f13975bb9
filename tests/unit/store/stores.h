/* stores.h - what the tests of all stores share: batches from words, and what is in a store as words. */
#ifndef TESTS_UNIT_STORE_STORES_H
#define TESTS_UNIT_STORE_STORES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/batch.h"

/* "+key=record", "-key", "*prefix", separated by spaces. */
static inline void fill(struct roam_batch *b, const char *words) {
  char text[512];
  snprintf(text, sizeof text, "%s", words);
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    char *record = strchr(word, '=');
    if (record) *record++ = 0;
    else record = word + strlen(word);
    int what = *word == '+' ? ROAM_STORE_PUT : *word == '-' ? ROAM_STORE_DROP : ROAM_STORE_DROP_ALL;
    uint8_t *at = roam_batch_add(b, what, (roam_bytes){(uint8_t *)word + 1, strlen(word + 1)}, strlen(record));
    assert_non_null(at);
    memcpy(at, record, strlen(record));
  }
}

static inline roam_rc try_commit(roam_store *s, const char *words) {
  struct roam_batch b = {0};
  char why[ROAM_STORE_WHY_MAX] = "";
  fill(&b, words);
  roam_rc rc = s->ops->commit(s, (roam_bytes){b.base, b.len}, why);
  if (rc != 0) assert_true(why[0]);
  roam_batch_reset(&b);
  return rc;
}

static inline void commit(roam_store *s, const char *words) { assert_int_equal(try_commit(s, words), 0); }

static inline roam_rc visit_words(void *context, roam_bytes key, roam_bytes record) {
  char *text = context;
  size_t len = strlen(text);
  snprintf(text + len, 1024 - len, "%s%.*s=%.*s", len ? " " : "", (int)key.len, (const char *)key.base, (int)record.len,
           record.len ? (const char *)record.base : "");
  return 0;
}

static inline void expect(roam_store *s, const char *words) {
  char text[1024] = "", why[ROAM_STORE_WHY_MAX] = "";
  assert_int_equal(s->ops->scan(s, visit_words, text, why), 0);
  assert_string_equal(text, words);
}

static inline roam_rc stop_visit(void *context, roam_bytes key, roam_bytes record) {
  int *left = context;
  (void)key, (void)record;
  return --*left == 0 ? ROAM_E_LIMIT : 0;
}

/* What every store must do. */
static inline void exercise(roam_store *s) {
  char why[ROAM_STORE_WHY_MAX] = "";
  int left = 2;
  expect(s, "");
  commit(s, "+b=2 +a=1 +c=");
  expect(s, "a=1 b=2 c=");
  commit(s, "+a=11 -c -nothing");
  expect(s, "a=11 b=2");
  commit(s, "+s1=x +s1a=y +s1b=z +s2=w +s=v");
  commit(s, "*s1 +s1c=new");
  expect(s, "a=11 b=2 s=v s1c=new s2=w");
  commit(s, "+q=1 -q +q=2 *zz");
  expect(s, "a=11 b=2 q=2 s=v s1c=new s2=w");
  assert_int_equal(s->ops->scan(s, stop_visit, &left, why), ROAM_E_LIMIT);
  assert_int_equal(s->ops->sync(s, why), 0);
  static const uint8_t cut[] = {ROAM_STORE_PUT, 0, 0, 0, 1, 0, 0, 0, 1, 'x', 'y', ROAM_STORE_PUT, 0};
  assert_true(s->ops->commit(s, (roam_bytes){cut, sizeof cut}, why) < 0);
  expect(s, "a=11 b=2 q=2 s=v s1c=new s2=w"); /* all or nothing */
  uint8_t high[] = {0xff, 0xff, 0x01};
  struct roam_batch b = {0};
  roam_batch_add(&b, ROAM_STORE_PUT, (roam_bytes){high, 3}, 0);
  roam_batch_add(&b, ROAM_STORE_DROP_ALL, (roam_bytes){(const uint8_t *)"s", 1}, 0);
  assert_int_equal(s->ops->commit(s, (roam_bytes){b.base, b.len}, why), 0);
  roam_batch_clear(&b);
  roam_batch_add(&b, ROAM_STORE_DROP, (roam_bytes){high, 3}, 0);
  assert_int_equal(s->ops->commit(s, (roam_bytes){b.base, b.len}, why), 0);
  roam_batch_reset(&b);
  expect(s, "a=11 b=2 q=2");
}

#endif
