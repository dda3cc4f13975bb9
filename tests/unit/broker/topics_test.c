/* topics_test.c - the routing table against brute force, and what a delivery to overlapping subscriptions looks like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "broker/topics.h"

#define LEVELS_MAX 16

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static void begin(struct roam_topics *t, uint32_t per_session_max) {
  assert_int_equal(roam_topics_init(t, LEVELS_MAX, per_session_max, 1000, NULL), 0);
}

static void subscribe(struct roam_topics *t, uint64_t session, const char *filter, uint8_t qos) {
  bool existed;
  struct roam_subscription sub = {.qos = qos};
  assert_int_equal(roam_topics_subscribe(t, session, text(filter), &sub, &existed), 0);
}

static const struct roam_matches *match(struct roam_topics *t, const char *topic, uint64_t from) {
  const struct roam_matches *m;
  assert_int_equal(roam_topics_match(t, text(topic), from, &m), 0);
  return m;
}

static void single_filters(void **state) {
  static const struct {
    const char *name, *filter, *topic;
    bool matches;
  } cases[] = {
      {"same", "a/b", "a/b", true},
      {"other", "a/b", "a/c", false},
      {"shorter", "a/b", "a", false},
      {"longer", "a", "a/b", false},
      {"plus", "a/+", "a/b", true},
      {"plus is one level", "a/+", "a/b/c", false},
      {"plus takes the empty level", "a/+", "a/", true},
      {"plus in the middle", "a/+/c", "a/b/c", true},
      {"hash", "a/#", "a/b/c", true},
      {"hash takes the parent", "a/#", "a", true},
      {"hash alone", "#", "a/b", true},
      {"leading slash", "/a", "/a", true},
      {"leading slash counts", "a", "/a", false},
      {"plus for the leading empty level", "+/a", "/a", true},
      {"dollar is hidden from hash", "#", "$SYS/x", false},
      {"dollar is hidden from plus", "+/x", "$SYS/x", false},
      {"dollar by name", "$SYS/#", "$SYS/x", true},
      {"dollar by name, plus", "$SYS/+", "$SYS/x", true},
      {"dollar below the first level", "a/+", "a/$b", true},
      {"share", "$share/g/a/+", "a/b", true},
      {"share without filter is a plain name", "$share/g", "$share/g", true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_topics t;
    begin(&t, 10);
    subscribe(&t, 1, cases[i].filter, 1);
    if (match(&t, cases[i].topic, 0)->len != cases[i].matches) fail_msg("%s", cases[i].name);
    assert_true(roam_topics_unsubscribe(&t, 1, text(cases[i].filter)));
    assert_int_equal(match(&t, cases[i].topic, 0)->len, 0);
    assert_int_equal(t.tree.nodes.count, 0);
    roam_topics_reset(&t);
  }
}

/* The last topic's matches stand until anything in the table changes, or somebody else sends. */
static void the_last_matches_stand_until_something_changes(void **state) {
  (void)state;
  struct roam_topics t;
  bool existed;
  struct roam_subscription mute = {.no_local = true};
  begin(&t, 10);
  subscribe(&t, 1, "a/+", 0);
  assert_int_equal(match(&t, "a/b", 7)->len, 1);
  uint64_t searched = t.epoch;
  assert_true(roam_topics_is_last(&t, text("a/b"), 7));
  assert_false(roam_topics_is_last(&t, text("a/c"), 7) || roam_topics_is_last(&t, text("a/b"), 8));
  assert_int_equal(match(&t, "a/b", 7)->items[0].session, 1);
  assert_int_equal(t.epoch, searched); /* not searched again */
  subscribe(&t, 2, "#", 1);
  assert_false(roam_topics_is_last(&t, text("a/b"), 7));
  assert_int_equal(match(&t, "a/b", 7)->len, 2);
  assert_int_equal(roam_topics_subscribe(&t, 7, text("a/b"), &mute, &existed), 0);
  assert_int_equal(match(&t, "a/b", 7)->len, 2);
  assert_int_equal(match(&t, "a/b", 1)->len, 3);
  assert_int_equal(match(&t, "a/b", 7)->len, 2);
  subscribe(&t, 1, "a/+", 2); /* replaced */
  uint8_t best = 0;
  const struct roam_matches *m = match(&t, "a/b", 7);
  for (size_t i = 0; i < m->len; i++)
    if (m->items[i].qos > best) best = m->items[i].qos;
  assert_int_equal(best, 2);
  roam_topics_forget(&t, 2);
  assert_int_equal(match(&t, "a/b", 7)->len, 1);
  subscribe(&t, 3, "$share/g/a/b", 0);
  subscribe(&t, 4, "$share/g/a/b", 0);
  uint64_t got[2];
  for (int i = 0; i < 2; i++) { /* members take turns, so nothing stands */
    m = match(&t, "a/b", 7);
    assert_int_equal(m->len, 2);
    got[i] = m->items[m->items[0].shared ? 0 : 1].session;
  }
  assert_true(got[0] != got[1]);
  roam_topics_reset(&t);
}

static void overlapping_is_one_delivery(void **state) {
  (void)state;
  struct roam_topics t;
  bool existed;
  begin(&t, 10);
  struct roam_subscription low = {.qos = 0, .identifier = 7, .retain_as_published = true},
                           high = {.qos = 2, .identifier = 9};
  struct roam_subscription own = {.qos = 1, .identifier = 11, .no_local = true};
  assert_int_equal(roam_topics_subscribe(&t, 1, text("a/#"), &low, &existed), 0);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("a/b"), &high, &existed), 0);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("+/b"), &own, &existed), 0);
  subscribe(&t, 2, "a/+", 1);
  const struct roam_matches *m = match(&t, "a/b", 2);
  assert_int_equal(m->len, 2);
  size_t one = m->items[0].session == 1 ? 0 : 1;
  assert_int_equal(m->items[one].qos, 2);
  assert_true(m->items[one].retain_as_published);
  uint32_t seen = 0;
  for (uint32_t at = m->items[one].first_id; at != 0; at = m->ids[at - 1].next) seen |= 1u << m->ids[at - 1].identifier;
  assert_int_equal(seen, 1u << 7 | 1u << 9 | 1u << 11);
  assert_int_equal(m->items[1 - one].session, 2);
  assert_int_equal(m->items[1 - one].qos, 1);
  m = match(&t, "a/b", 1); /* no_local takes out that subscription alone */
  one = m->items[0].session == 1 ? 0 : 1;
  seen = 0;
  for (uint32_t at = m->items[one].first_id; at != 0; at = m->ids[at - 1].next) seen |= 1u << m->ids[at - 1].identifier;
  assert_int_equal(seen, 1u << 7 | 1u << 9);
  assert_int_equal(match(&t, "c/b", 1)->len, 0);
  assert_int_equal(match(&t, "c/b", 0)->len, 1);
  roam_topics_reset(&t);
}

static void a_second_time_replaces(void **state) {
  (void)state;
  struct roam_topics t;
  bool existed;
  struct roam_subscription sub = {.qos = 2};
  begin(&t, 2);
  subscribe(&t, 1, "a", 0);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("a"), &sub, &existed), 0);
  assert_true(existed);
  assert_int_equal(roam_topics_of(&t, 1), 1);
  assert_int_equal(match(&t, "a", 0)->items[0].qos, 2);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("$share/g/a"), &sub, &existed), 0);
  assert_false(existed);
  assert_int_equal(match(&t, "a", 0)->len, 2); /* one of each kind */
  roam_topics_reset(&t);
}

static void bounds(void **state) {
  (void)state;
  struct roam_topics t;
  bool existed;
  struct roam_subscription sub = {.qos = 0};
  begin(&t, 3);
  subscribe(&t, 1, "a", 0);
  subscribe(&t, 1, "b", 0);
  subscribe(&t, 1, "$share/g/c", 0);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("d"), &sub, &existed), ROAM_E_LIMIT);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("$share/g/d"), &sub, &existed), ROAM_E_LIMIT);
  assert_int_equal(roam_topics_subscribe(&t, 1, text("b"), &sub, &existed), 0); /* replacing is not adding */
  assert_int_equal(match(&t, "d", 0)->len, 0);
  assert_int_equal(roam_topics_subscribe(&t, 2, text("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"), &sub, &existed), 0);
  assert_int_equal(roam_topics_subscribe(&t, 2, text("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"), &sub, &existed),
                   ROAM_E_LIMIT);
  assert_int_equal(roam_topics_subscribe(&t, 3, text("/////////////////"), &sub, &existed), ROAM_E_LIMIT);
  assert_int_equal(roam_topics_of(&t, 3), 0);
  roam_topics_forget(&t, 1);
  roam_topics_forget(&t, 2);
  roam_topics_forget(&t, 99);
  assert_int_equal(t.count, 0);
  assert_int_equal(t.tree.nodes.count, 0);
  assert_int_equal(t.subscribers.count, 0);
  roam_topics_reset(&t);
}

/* ---- against brute force ---- */

enum {
  SESSIONS = 12,
  FILTERS = 1500,
  TURNS = 20000
};

struct entry {
  char filter[40];
  uint64_t session;
  uint8_t qos;
  bool no_local;
};

static void draw_path(struct roam_rng *rng, char *out, bool filter) {
  static const char *const names[] = {"a", "b", "c", "", "$x", "dd"};
  size_t levels = 1 + roam_random_below(&rng->random, 5), at = 0;
  for (size_t i = 0; i < levels; i++) {
    const char *name = names[roam_random_below(&rng->random, 6)];
    uint64_t wild = filter ? roam_random_below(&rng->random, 8) : 7;
    if (wild == 0) name = "+";
    if (wild == 1 && i + 1 == levels) name = "#";
    at += (size_t)sprintf(out + at, "%s%s", i > 0 ? "/" : "", name);
  }
  if (at == 0) strcpy(out, "a");
}

static void check_topic(struct roam_topics *t, const struct entry *model, size_t n, const char *topic, uint64_t from) {
  int expected[SESSIONS + 1], got[SESSIONS + 1];
  for (size_t i = 0; i <= SESSIONS; i++) expected[i] = got[i] = -1;
  for (size_t i = 0; i < n; i++) {
    if (model[i].session == 0 || (model[i].no_local && model[i].session == from)) continue;
    if (!roam_topic_matches(text(model[i].filter), text(topic))) continue;
    if (model[i].qos > expected[model[i].session]) expected[model[i].session] = model[i].qos;
  }
  const struct roam_matches *m = match(t, topic, from);
  for (size_t i = 0; i < m->len; i++) {
    assert_int_equal(got[m->items[i].session], -1); /* one delivery each */
    got[m->items[i].session] = m->items[i].qos;
  }
  for (size_t i = 0; i <= SESSIONS; i++)
    if (got[i] != expected[i]) fail_msg("topic %s, session %zu: %d, expected %d", topic, i, got[i], expected[i]);
}

static size_t find(const struct entry *model, size_t n, uint64_t session, const char *filter) {
  for (size_t i = 0; i < n; i++)
    if (model[i].session == session && strcmp(model[i].filter, filter) == 0) return i;
  return n;
}

static void agrees_with_brute_force(void **state) {
  (void)state;
  static struct entry model[FILTERS];
  struct roam_rng rng;
  struct roam_topics t;
  size_t matched = 0;
  roam_rng_init(&rng, 2024);
  memset(model, 0, sizeof model);
  begin(&t, FILTERS);
  for (int turn = 0; turn < TURNS; turn++) {
    struct entry e = {.session = 1 + roam_random_below(&rng.random, SESSIONS),
                      .qos = (uint8_t)roam_random_below(&rng.random, 3),
                      .no_local = roam_random_below(&rng.random, 4) == 0};
    char topic[40];
    bool existed;
    draw_path(&rng, e.filter, true);
    size_t at = find(model, FILTERS, e.session, e.filter), vacant = find(model, FILTERS, 0, "");
    struct roam_subscription sub = {.qos = e.qos, .no_local = e.no_local};
    if (roam_random_below(&rng.random, 2) == 0 || vacant == FILTERS) {
      assert_int_equal(roam_topics_unsubscribe(&t, e.session, text(e.filter)), at < FILTERS);
      if (at < FILTERS) model[at] = (struct entry){0};
    } else {
      assert_int_equal(roam_topics_subscribe(&t, e.session, text(e.filter), &sub, &existed), 0);
      assert_int_equal(existed, at < FILTERS);
      model[at < FILTERS ? at : vacant] = e;
    }
    if (turn % 1000 == 999) {
      roam_topics_forget(&t, e.session);
      for (size_t i = 0; i < FILTERS; i++)
        if (model[i].session == e.session) model[i] = (struct entry){0};
    }
    if (turn % 4) continue;
    draw_path(&rng, topic, false);
    check_topic(&t, model, FILTERS, topic, 1 + roam_random_below(&rng.random, SESSIONS));
    matched += t.matches.len;
  }
  assert_true(matched > TURNS / 4); /* the draw must not be idle */
  roam_topics_reset(&t);
}

static void a_hundred_thousand(void **state) {
  (void)state;
  struct roam_topics t;
  begin(&t, 1000);
  for (uint32_t i = 0; i < 100000; i++) {
    char filter[40];
    snprintf(filter, sizeof filter, "device/%u/+/state", i);
    subscribe(&t, 1 + i % 1000, filter, 1);
  }
  assert_int_equal(t.count, 100000);
  for (uint32_t i = 0; i < 100000; i += 7) {
    char topic[40];
    snprintf(topic, sizeof topic, "device/%u/x/state", i);
    const struct roam_matches *m = match(&t, topic, 0);
    assert_int_equal(m->len, 1);
    assert_int_equal(m->items[0].session, 1 + i % 1000);
    assert_int_equal(t.visits, 5); /* the root, device, the number, +, state: as with one subscription */
  }
  for (uint64_t s = 1; s <= 1000; s++) roam_topics_forget(&t, s);
  assert_int_equal(t.tree.nodes.count, 0);
  roam_topics_reset(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_last_matches_stand_until_something_changes),
      cmocka_unit_test(single_filters),
      cmocka_unit_test(overlapping_is_one_delivery),
      cmocka_unit_test(a_second_time_replaces),
      cmocka_unit_test(bounds),
      cmocka_unit_test(agrees_with_brute_force),
      cmocka_unit_test(a_hundred_thousand),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
