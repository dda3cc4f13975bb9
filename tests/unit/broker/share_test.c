/* share_test.c - shared subscriptions: turns go round among the connected, and nobody else is asked while one is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "broker/topics.h"

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static void subscribe(struct roam_topics *t, uint64_t session, const char *filter) {
  bool existed;
  struct roam_subscription sub = {.qos = 1};
  assert_int_equal(roam_topics_subscribe(t, session, text(filter), &sub, &existed), 0);
}

static void names(void **state) {
  static const struct {
    const char *given, *group, *filter;
  } cases[] = {
      {"$share/g/a/b", "g", "a/b"},
      {"$share/g//a", "g", "/a"},
      {"$share/g/", "g", ""},
      {"$share/g", "", "$share/g"},
      {"$share//a", "", "$share//a"},
      {"$share/", "", "$share/"},
      {"$shared/g/a", "", "$shared/g/a"},
      {"a/b", "", "a/b"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_share_name n = roam_share_split(text(cases[i].given));
    assert_int_equal(n.group.len, strlen(cases[i].group));
    assert_memory_equal(n.group.base ? n.group.base : (const uint8_t *)"", cases[i].group, n.group.len);
    assert_int_equal(n.filter.len, strlen(cases[i].filter));
    assert_memory_equal(n.filter.base, cases[i].filter, n.filter.len);
  }
}

/* counts[session] += deliveries of n messages on topic "a/b" */
static void publish(struct roam_topics *t, int n, int counts[]) {
  const struct roam_matches *m;
  for (int i = 0; i < n; i++) {
    assert_int_equal(roam_topics_match(t, text("a/b"), 0, &m), 0);
    for (size_t j = 0; j < m->len; j++) counts[m->items[j].session]++;
  }
}

static void turns_go_round(void **state) {
  (void)state;
  struct roam_topics t;
  int counts[6] = {0};
  assert_int_equal(roam_topics_init(&t, 8, 8, 8, NULL), 0);
  subscribe(&t, 1, "$share/g/a/+");
  subscribe(&t, 2, "$share/g/a/+");
  subscribe(&t, 3, "$share/g/a/+");
  subscribe(&t, 4, "$share/h/a/+"); /* another group at the same filter */
  subscribe(&t, 5, "a/+");
  publish(&t, 300, counts);
  assert_int_equal(counts[1], 100);
  assert_int_equal(counts[2], 100);
  assert_int_equal(counts[3], 100);
  assert_int_equal(counts[4], 300);
  assert_int_equal(counts[5], 300);
  roam_topics_reset(&t);
}

static void the_connected_come_first(void **state) {
  (void)state;
  struct roam_topics t;
  int counts[4] = {0};
  assert_int_equal(roam_topics_init(&t, 8, 8, 8, NULL), 0);
  for (uint64_t s = 1; s <= 3; s++) subscribe(&t, s, "$share/g/a/b");
  roam_topics_connected(&t, 2, false);
  publish(&t, 100, counts);
  assert_int_equal(counts[1], 50);
  assert_int_equal(counts[2], 0);
  assert_int_equal(counts[3], 50);
  roam_topics_connected(&t, 1, false);
  roam_topics_connected(&t, 3, false);
  publish(&t, 30, counts); /* nobody is there: they wait in somebody's session, in turn */
  assert_int_equal(counts[1], 60);
  assert_int_equal(counts[2], 10);
  assert_int_equal(counts[3], 60);
  roam_topics_connected(&t, 2, true);
  publish(&t, 5, counts);
  assert_int_equal(counts[2], 15);
  roam_topics_reset(&t);
}

static void leaving_a_group(void **state) {
  (void)state;
  struct roam_topics t;
  int counts[4] = {0};
  assert_int_equal(roam_topics_init(&t, 8, 8, 8, NULL), 0);
  subscribe(&t, 1, "$share/g/a/b");
  subscribe(&t, 2, "$share/g/a/b");
  assert_false(roam_topics_unsubscribe(&t, 1, text("a/b")));
  assert_false(roam_topics_unsubscribe(&t, 1, text("$share/h/a/b")));
  assert_true(roam_topics_unsubscribe(&t, 1, text("$share/g/a/b")));
  publish(&t, 10, counts);
  assert_int_equal(counts[1], 0);
  assert_int_equal(counts[2], 10);
  roam_topics_forget(&t, 2);
  publish(&t, 1, counts);
  assert_int_equal(counts[2], 10);
  assert_int_equal(t.tree.nodes.count, 0);
  roam_topics_reset(&t);
}

/* Many names at one filter are refused before they make each message to it dear; a name that is given up makes room. */
static void names_at_a_filter_are_bounded(void **state) {
  (void)state;
  struct roam_topics t;
  struct roam_subscription sub = {.qos = 1};
  char filter[32];
  bool existed;
  assert_int_equal(roam_topics_init(&t, 4096, 4096, 8, NULL), 0);
  for (unsigned i = 0; i < ROAM_SHARE_GROUPS_MAX; i++) {
    snprintf(filter, sizeof filter, "$share/g%u/a", i);
    subscribe(&t, 1, filter);
  }
  assert_int_equal(roam_topics_subscribe(&t, 2, text("$share/more/a"), &sub, &existed), ROAM_E_LIMIT);
  subscribe(&t, 2, "$share/g7/a"); /* a name that is there takes members */
  subscribe(&t, 2, "$share/more/b");
  assert_true(roam_topics_unsubscribe(&t, 1, text("$share/g8/a")));
  subscribe(&t, 2, "$share/more/a");
  roam_topics_reset(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names),
      cmocka_unit_test(turns_go_round),
      cmocka_unit_test(the_connected_come_first),
      cmocka_unit_test(leaving_a_group),
      cmocka_unit_test(names_at_a_filter_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
