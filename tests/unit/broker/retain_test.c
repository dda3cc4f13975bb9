/* retain_test.c - retained messages: kept, replaced, removed, bounded, expired, and found by filter in pieces of any size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "broker/retain.h"

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static roam_rc put(struct roam_retained_set *r, const char *topic, const char *payload, uint32_t expiry_s) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  roam_message m;
  if (expiry_s) assert_int_equal(roam_props_put_number(&props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, expiry_s), 0);
  assert_int_equal(roam_message_make(&m, ROAM_S, text(topic), (roam_bytes){bytes, props.len}, text(payload), 1, true), 0);
  roam_rc rc = roam_retain_put(r, &m);
  roam_blob_unref(m.blob);
  return rc;
}

static void assert_payload(const struct roam_retained_set *r, const char *topic, const char *payload) {
  const roam_message *m = roam_retain_get(r, text(topic));
  assert_non_null(m);
  assert_int_equal(m->payload.len, strlen(payload));
  assert_memory_equal(m->payload.base, payload, m->payload.len);
}

static void one_for_each_topic(void **state) {
  (void)state;
  struct roam_retained_set r;
  assert_int_equal(roam_retain_init(&r, 8, 10, 1000, NULL), 0);
  assert_int_equal(put(&r, "a/b", "one", 0), 0);
  assert_int_equal(put(&r, "a", "top", 0), 0);
  assert_int_equal(put(&r, "a/b", "two", 0), 0);
  assert_int_equal(r.count, 2);
  assert_payload(&r, "a/b", "two");
  assert_payload(&r, "a", "top");
  assert_null(roam_retain_get(&r, text("a/c")));
  assert_int_equal(put(&r, "a/b", "", 0), 0);
  assert_null(roam_retain_get(&r, text("a/b")));
  assert_int_equal(put(&r, "never/was", "", 0), 0);
  assert_int_equal(put(&r, "a", "", 0), 0);
  assert_int_equal(r.count, 0);
  assert_int_equal(r.bytes, 0);
  assert_int_equal(r.tree.nodes.count, 0);
  roam_retain_reset(&r);
}

static void bounds(void **state) {
  (void)state;
  struct roam_retained_set r;
  assert_int_equal(roam_retain_init(&r, 3, 2, 20, NULL), 0);
  assert_int_equal(put(&r, "a", "1", 0), 0);
  assert_int_equal(put(&r, "b", "1", 0), 0);
  assert_int_equal(put(&r, "c", "1", 0), ROAM_E_LIMIT); /* messages */
  assert_int_equal(put(&r, "a", "12345678901234567", 0), 0);
  assert_int_equal(put(&r, "b", "123456", 0), ROAM_E_LIMIT); /* bytes */
  assert_null(roam_retain_get(&r, text("b")));               /* an outdated message is none */
  assert_int_equal(put(&r, "1/2/3/4", "x", 0), ROAM_E_LIMIT);
  assert_int_equal(put(&r, "z", "123456789012345678901", 0), ROAM_E_LIMIT);
  assert_int_equal(r.count, 1);
  assert_int_equal(r.tree.nodes.count, 1);
  roam_retain_reset(&r);
}

static void drop_expired(struct roam_retained_set *r, roam_time now) {
  while (roam_retain_due(r, now)) roam_retain_drop_due(r);
}

static void expiry(void **state) {
  (void)state;
  struct roam_retained_set r;
  assert_int_equal(roam_retain_init(&r, 3, 5, 1000, NULL), 0);
  put(&r, "a", "1", 10);
  put(&r, "b", "1", 5);
  put(&r, "c", "1", 0);
  assert_true(roam_retain_deadline(&r) == 6 * ROAM_S);
  drop_expired(&r, 6 * ROAM_S - 1);
  assert_int_equal(r.count, 3);
  drop_expired(&r, 6 * ROAM_S);
  assert_null(roam_retain_get(&r, text("b")));
  put(&r, "a", "2", 0); /* the old one's time no longer counts */
  drop_expired(&r, 60 * ROAM_S);
  assert_int_equal(r.count, 2);
  assert_true(roam_retain_deadline(&r) == ROAM_NEVER);
  roam_retain_reset(&r);
}

/* ---- search ---- */

enum {
  TOPICS = 400
};

static size_t draw(struct roam_rng *rng, char *out, bool filter) {
  static const char *const names[] = {"a", "b", "", "$x", "dd", "e"};
  size_t levels = 1 + roam_random_below(&rng->random, 4), at = 0;
  for (size_t i = 0; i < levels; i++) {
    uint64_t wild = filter ? roam_random_below(&rng->random, 4) : 9;
    const char *name = wild == 0 ? "+" : wild == 1 && i + 1 == levels ? "#" : names[roam_random_below(&rng->random, 6)];
    at += (size_t)sprintf(out + at, "%s%s", i > 0 ? "/" : "", name);
  }
  if (at == 0) at = (size_t)sprintf(out, "a");
  return at;
}

/* A search with the given step finds each matching topic of the list once, and nothing else. */
static void check_search(const struct roam_retained_set *r, char topics[][32], size_t n, const char *filter, size_t step,
                         size_t bytes) {
  struct roam_retain_cursor cursor;
  const roam_message *found[TOPICS];
  bool seen[TOPICS] = {false};
  assert_int_equal(roam_retain_open(r, text(filter), &cursor), 0);
  size_t got;
  while ((got = roam_retain_next(r, &cursor, found, step, bytes)) > 0) {
    assert_true(got <= step);
    for (size_t i = 0; i < got; i++) {
      size_t at = 0;
      while (at < n &&
             (strlen(topics[at]) != found[i]->topic.len || memcmp(topics[at], found[i]->topic.base, found[i]->topic.len)))
        at++;
      assert_true(at < n);
      assert_false(seen[at]);
      seen[at] = true;
    }
  }
  assert_true(cursor.over);
  for (size_t i = 0; i < n; i++)
    if (roam_topic_matches(text(filter), text(topics[i])) != seen[i])
      fail_msg("filter %s, topic %s: %d", filter, topics[i], seen[i]);
  roam_retain_close(&cursor);
}

static void search_in_pieces(void **state) {
  (void)state;
  static char topics[TOPICS][32];
  struct roam_retained_set r;
  struct roam_rng rng;
  size_t n = 0;
  roam_rng_init(&rng, 5);
  assert_int_equal(roam_retain_init(&r, 8, TOPICS, 1u << 20, NULL), 0);
  for (int i = 0; i < TOPICS; i++) {
    char topic[32];
    draw(&rng, topic, false);
    if (roam_retain_get(&r, text(topic))) continue;
    assert_int_equal(put(&r, topic, "x", 0), 0);
    strcpy(topics[n++], topic);
  }
  assert_true(n > 100);
  for (int i = 0; i < 300; i++) {
    char filter[32];
    draw(&rng, filter, true);
    check_search(&r, topics, n, filter, TOPICS, SIZE_MAX);
    check_search(&r, topics, n, filter, 1, SIZE_MAX);
    check_search(&r, topics, n, filter, 1 + roam_random_below(&rng.random, 20), SIZE_MAX);
    check_search(&r, topics, n, filter, TOPICS, 1 + roam_random_below(&rng.random, 30));
  }
  check_search(&r, topics, n, "#", 3, SIZE_MAX);
  check_search(&r, topics, n, "$x/#", 3, SIZE_MAX);
  roam_retain_reset(&r);
}

/* What stays during a search is found once, whatever comes and goes meanwhile. */
static void search_while_it_changes(void **state) {
  (void)state;
  struct roam_retained_set r;
  struct roam_retain_cursor cursor;
  const roam_message *found[2];
  int seen[100] = {0};
  char topic[32];
  struct roam_rng rng;
  roam_rng_init(&rng, 9);
  assert_int_equal(roam_retain_init(&r, 8, 1000, 1u << 20, NULL), 0);
  for (int i = 0; i < 100; i++) {
    snprintf(topic, sizeof topic, "%d/stays/%d", i % 7, i);
    put(&r, topic, "x", 0);
    snprintf(topic, sizeof topic, "%d/goes/%d", i % 7, i);
    put(&r, topic, "x", 0);
  }
  assert_int_equal(roam_retain_open(&r, text("#"), &cursor), 0);
  size_t got;
  while ((got = roam_retain_next(&r, &cursor, found, 2, SIZE_MAX)) > 0) {
    for (size_t i = 0; i < got; i++) {
      char copy[32] = {0};
      int first, number;
      memcpy(copy, found[i]->topic.base, found[i]->topic.len);
      if (sscanf(copy, "%d/stays/%d", &first, &number) == 2) seen[number]++;
    }
    int victim = (int)roam_random_below(&rng.random, 100);
    snprintf(topic, sizeof topic, "%d/goes/%d", victim % 7, victim);
    put(&r, topic, roam_random_below(&rng.random, 3) ? "" : "y", 0);
  }
  for (int i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
  roam_retain_close(&cursor);
  roam_retain_reset(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_for_each_topic),
      cmocka_unit_test(bounds),
      cmocka_unit_test(expiry),
      cmocka_unit_test(search_in_pieces),
      cmocka_unit_test(search_while_it_changes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
