/* streams_bounds_test.c - head-of-line blocking, held to what has been published: topics on streams of their own do not
 * wait for each other's losses, one stream makes them. The same cases as `roamqtt-bench streams`, shorter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <roamqtt/base.h>

#include "streams_case.h"

static struct streams_result measure(streams_mapping mapping, uint32_t loss_ppm) {
  struct streams_case c = {
      .mapping = mapping, .loss_ppm = loss_ppm, .rtt_ns = 25 * ROAM_MS, .duration_ns = 10 * ROAM_S, .rate = 500, .seed = 1};
  struct streams_result r;
  streams_case_run(&c, &r);
  print_message("%s, loss %u ppm: isolation %.2f, spread %.2f ms, p95 %.1f, p99 %.1f ms, %u spikes\n",
                streams_mapping_name(mapping), loss_ppm, r.isolation, r.spread_ms, r.p95_ms, r.p99_ms, r.spikes);
  assert_true(r.ok);
  return r;
}

static void topics_do_not_wait_for_each_other(void **state) {
  (void)state;
  struct streams_result topic = measure(STREAMS_PER_TOPIC, 10000), one = measure(STREAMS_ONE, 10000);
  assert_true(topic.spikes > 0 && topic.isolation <= 0.73); /* as published */
  assert_true(one.isolation >= 0.9);                        /* the control: it does show where there is something to show */
  struct streams_result heavy = measure(STREAMS_PER_TOPIC, 50000);
  assert_true(heavy.p99_ms <= 183);
}

static void without_loss_nothing_waits(void **state) {
  (void)state;
  for (int mapping = 0; mapping < STREAMS_MAPPINGS; mapping++) {
    struct streams_result r = measure((streams_mapping)mapping, 0);
    assert_int_equal(r.received, r.sent);
    assert_true(r.p99_ms < 30);
    assert_true(r.spread_ms < 1);
  }
}

static void datagrams_are_not_repeated(void **state) {
  (void)state;
  struct streams_result r = measure(STREAMS_DATAGRAM, 50000);
  assert_true(r.received < r.sent);
  assert_true(r.p99_ms < 60); /* but for the congestion window, which is theirs too */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(topics_do_not_wait_for_each_other),
      cmocka_unit_test(without_loss_nothing_waits),
      cmocka_unit_test(datagrams_are_not_repeated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
