/* roam_bounds_test.c - the promises of the roaming table, in virtual time: for RTT 20, 50 and 200 ms every event's longest pause
 * in delivery stays within its bound, nothing is lost, and no connection is made anew. The same rows as `roamqtt-bench roam`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <roamqtt/base.h>

#include "roam_case.h"

static const unsigned rtts_ms[] = {20, 50, 200};

static bool holds(roam_case_kind kind, unsigned rtt_ms) {
  struct roam_case c = {.kind = kind, .rtt_ns = rtt_ms * ROAM_MS, .interval_ns = 10 * ROAM_MS, .phases = 3};
  struct roam_case_result r;
  roam_case_run(&c, &r);
  print_message("%-20s RTT %3u: gap %.1f ms, promised %.1f, lost %u, reconnects %u %s%s\n", roam_case_name(kind), rtt_ms,
                (double)r.gap_ns / 1e6, (double)r.bound_ns / 1e6, r.lost, r.reconnects, r.ok ? "" : "EXCEEDED ", r.text);
  return r.ok;
}

static void every_event_keeps_its_bound(void **state) {
  (void)state;
  unsigned exceeded = 0;
  for (int kind = 0; kind < CASE_KINDS; kind++)
    for (size_t i = 0; i < sizeof rtts_ms / sizeof rtts_ms[0]; i++) exceeded += !holds((roam_case_kind)kind, rtts_ms[i]);
  assert_int_equal(exceeded, 0);
}

/* The measuring itself must be able to fail: a steady flow is as its interval, a TCP rebind is far from that. */
static void the_measure_measures(void **state) {
  (void)state;
  struct roam_case c = {.kind = CASE_STEADY, .rtt_ns = 50 * ROAM_MS, .interval_ns = 10 * ROAM_MS, .phases = 1};
  struct roam_case_result steady, tcp;
  roam_case_run(&c, &steady);
  assert_true(steady.gap_ns == 10 * ROAM_MS);
  c.kind = CASE_TCP_REBIND;
  roam_case_run(&c, &tcp);
  assert_true(tcp.gap_ns > 4 * c.rtt_ns);
  assert_true(tcp.reconnects > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_event_keeps_its_bound),
      cmocka_unit_test(the_measure_measures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
