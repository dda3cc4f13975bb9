/* worker_test.c - counting one row: what is lost, what came twice, what was changed on its way, and the longest pause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/worker.h"

#define LEN 40

static const struct roam_plan plan = {10, 10}; /* ten messages, one every 100 ms */

static struct roam_worker make(void) {
  struct roam_worker w;
  assert_int_equal(roam_worker_init(&w, "row", 0xabcd, &plan), 0);
  w.published = 10;
  return w;
}

static enum roam_delivery deliver(struct roam_worker *w, uint64_t k, uint64_t at_ms) {
  uint8_t payload[LEN];
  uint64_t number = 0, latency_ns = 0;
  roam_payload_fill(payload, LEN, &plan, k);
  enum roam_delivery what =
      roam_worker_deliver(w, &plan, LEN, (roam_bytes){payload, LEN}, at_ms * ROAM_MS, &number, &latency_ns);
  if (what != ROAM_DELIVERY_CORRUPT) {
    assert_int_equal(number, k);
    assert_true(latency_ns == (at_ms - k * 100) * ROAM_MS);
  }
  return what;
}

static roam_load_report report(const struct roam_worker *w, uint64_t now_ms) {
  roam_load_report r;
  roam_worker_report(w, now_ms * ROAM_MS, &r);
  return r;
}

static void counts_what_comes(void **state) {
  (void)state;
  struct roam_worker w = make();
  assert_string_equal(w.topic, "roamqtt/load/0000abcd/row");
  for (uint64_t k = 0; k < 10; k++)
    if (k != 4) assert_int_equal(deliver(&w, k, k * 100 + 5), ROAM_DELIVERY_FIRST);
  assert_int_equal(deliver(&w, 9, 950), ROAM_DELIVERY_AGAIN);
  assert_int_equal(deliver(&w, 10, 1000), ROAM_DELIVERY_CORRUPT);
  roam_load_report r = report(&w, 4000);
  assert_int_equal(r.received, 9);
  assert_int_equal(r.lost, 1);
  assert_int_equal(r.duplicated, 1);
  assert_int_equal(r.corrupt, 1);
  assert_int_equal(r.gap_ns, 200 * ROAM_MS);
  assert_in_range(r.latency_max_ns, 5 * ROAM_MS, 5 * ROAM_MS);
  roam_worker_reset(&w);
}

/* The window is 0..900 ms: from the first to the last offered message. */
static const struct {
  const char *name;
  struct {
    uint64_t k, at_ms;
  } deliveries[4];
  size_t n;
  uint64_t now_ms, gap_ms;
} gaps[] = {
    {"nothing comes", {{0}}, 0, 4000, 900},
    {"nothing yet", {{0}}, 0, 300, 300},
    {"the beginning counts", {{0, 600}, {1, 800}}, 2, 4000, 600},
    {"the end counts", {{0, 10}, {1, 110}}, 2, 4000, 790},
    {"the middle counts", {{0, 10}, {1, 700}}, 2, 4000, 690},
    {"a delivery after the end does not lengthen it", {{0, 10}, {1, 500}, {2, 3000}}, 3, 4000, 490},
    {"duplicates fill no pause", {{0, 10}, {0, 400}, {1, 800}}, 3, 4000, 790},
    {"the open pause counts while it runs", {{0, 10}}, 1, 500, 490},
};

static void measures_the_longest_pause(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
    struct roam_worker w = make();
    for (size_t j = 0; j < gaps[i].n; j++) (void)deliver(&w, gaps[i].deliveries[j].k, gaps[i].deliveries[j].at_ms);
    uint64_t gap_ns = report(&w, gaps[i].now_ms).gap_ns;
    if (gap_ns != gaps[i].gap_ms * ROAM_MS) fail_msg("%s: %llu ns", gaps[i].name, (unsigned long long)gap_ns);
    roam_worker_reset(&w);
  }
}

static void every_changed_byte_is_noticed(void **state) {
  (void)state;
  uint8_t payload[LEN + 1];
  uint64_t k;
  for (size_t i = 0; i < LEN; i++) {
    roam_payload_fill(payload, LEN, &plan, 7);
    assert_true(roam_payload_check((roam_bytes){payload, LEN}, LEN, &plan, &k));
    payload[i] ^= 1;
    assert_false(roam_payload_check((roam_bytes){payload, LEN}, LEN, &plan, &k));
  }
  for (size_t len = 0; len <= LEN + 1; len++) {
    roam_payload_fill(payload, LEN + 1, &plan, 7);
    assert_int_equal(roam_payload_check((roam_bytes){payload, len}, LEN, &plan, &k), len == LEN);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_what_comes),
      cmocka_unit_test(measures_the_longest_pause),
      cmocka_unit_test(every_changed_byte_is_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
