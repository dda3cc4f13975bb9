/* link_test.c - delay, queue and loss: exact times, order, bounds, and draws that do not shift. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/hop.h>

#include "base/rng.h"

static void put(roam_hop *hop, roam_time now, roam_dir dir, size_t len, uint8_t first) {
  roam_parcel *p = roam_parcel_new(NULL, len);
  assert_non_null(p);
  memset(p->data, first, len);
  p->dst.family = 4;
  p->proto = 17;
  roam_hop_put(hop, now, dir, p);
}

/* Takes what must come out at exactly `at`; returns its first byte. */
static int take_at(roam_hop *hop, roam_time at, roam_dir want) {
  roam_dir dir;
  assert_int_equal(roam_hop_deadline(hop), at);
  assert_null(roam_hop_take(hop, at - 1, &dir));
  roam_parcel *p = roam_hop_take(hop, at, &dir);
  assert_non_null(p);
  assert_int_equal(dir, want);
  int first = p->len > 0 ? p->data[0] : -1;
  roam_parcel_free(p);
  return first;
}

static int take_any(roam_hop *hop, roam_time now) {
  roam_dir dir;
  roam_parcel *p = roam_hop_take(hop, now, &dir);
  if (!p) return -1;
  int first = p->data[0];
  roam_parcel_free(p);
  return first;
}

static void makes_parcels(void **state) {
  (void)state;
  assert_null(roam_parcel_new(NULL, 65536));
  roam_parcel *p = roam_parcel_new("abc", 3);
  assert_non_null(p);
  assert_int_equal(p->len, 3);
  assert_memory_equal(p->data, "abc", 3);
  assert_int_equal(p->src.family + p->proto + p->flags, 0);
  roam_parcel_free(p);
  roam_parcel_free(NULL);
}

static void delays_exactly(void **state) {
  (void)state;
  roam_delay_options o;
  roam_delay_options_init(&o);
  o.delay_ns = 25 * ROAM_MS;
  roam_hop *hop = roam_delay_new(&o, NULL);
  assert_non_null(hop);
  put(hop, 100, ROAM_OUT, 10, 1);
  put(hop, 200, ROAM_IN, 10, 2);
  put(hop, 300, ROAM_OUT, 0, 0);
  assert_int_equal(take_at(hop, 100 + 25 * ROAM_MS, ROAM_OUT), 1);
  assert_int_equal(take_at(hop, 200 + 25 * ROAM_MS, ROAM_IN), 2);
  roam_delay_set(hop, ROAM_MS, 0); /* not for what is under way */
  put(hop, 250 + 25 * ROAM_MS, ROAM_IN, 1, 3);
  assert_int_equal(take_at(hop, 300 + 25 * ROAM_MS, ROAM_OUT), -1);
  assert_int_equal(take_at(hop, 250 + 26 * ROAM_MS, ROAM_IN), 3);
  assert_int_equal(roam_hop_deadline(hop), ROAM_NEVER);
  roam_hop_stats s = roam_hop_get_stats(hop);
  assert_int_equal(s.passed[ROAM_OUT], 2);
  assert_int_equal(s.bytes[ROAM_IN], 11);
  roam_hop_free(hop);
  roam_hop_free(NULL);
}

static void keeps_order_unless_told(void **state) {
  (void)state;
  for (int reorder = 0; reorder < 2; reorder++) {
    struct roam_rng rng;
    roam_rng_init(&rng, 4);
    roam_delay_options o;
    roam_delay_options_init(&o);
    o.delay_ns = ROAM_MS;
    o.jitter_ns = 10 * ROAM_MS;
    o.reorder = reorder;
    roam_hop *hop = roam_delay_new(&o, &rng.random);
    assert_non_null(hop);
    for (int i = 0; i < 100; i++) put(hop, ROAM_S + (roam_time)i, ROAM_OUT, 1, (uint8_t)i);
    int overtaken = 0, last = -1, n = 0;
    roam_time before = ROAM_S + ROAM_MS;
    for (roam_time at; (at = roam_hop_deadline(hop)) != ROAM_NEVER; n++) {
      assert_true(at >= before && at <= ROAM_S + 11 * ROAM_MS + 100);
      before = at;
      int i = take_any(hop, at);
      overtaken += i < last;
      last = i;
    }
    assert_int_equal(n, 100);
    assert_int_equal(overtaken > 0, reorder);
    roam_hop_free(hop);
  }
}

static void bounds_what_it_delays(void **state) {
  (void)state;
  for (int reorder = 0; reorder < 2; reorder++) {
    roam_delay_options o;
    roam_delay_options_init(&o);
    o.parcels_max = 3;
    o.delay_ns = 5;
    o.reorder = reorder;
    roam_hop *hop = roam_delay_new(&o, NULL);
    assert_non_null(hop);
    for (int i = 0; i < 5; i++) put(hop, 1, ROAM_OUT, 1, (uint8_t)i);
    put(hop, 1, ROAM_IN, 1, 9); /* the other direction has its own bound */
    assert_int_equal(roam_hop_get_stats(hop).dropped[ROAM_OUT], 2);
    assert_int_equal(roam_hop_get_stats(hop).dropped[ROAM_IN], 0);
    roam_hop_free(hop); /* with what is still in it */
  }
}

static void queues_at_its_rate(void **state) {
  (void)state;
  roam_queue_options o;
  roam_queue_options_init(&o);
  o.rate_bytes_s = 1000000; /* 1 us a byte */
  o.queue_bytes_max = 2500;
  roam_hop *hop = roam_queue_new(&o);
  assert_non_null(hop);
  put(hop, ROAM_S, ROAM_OUT, 1000, 1);
  put(hop, ROAM_S, ROAM_OUT, 1000, 2);
  put(hop, ROAM_S, ROAM_OUT, 1000, 3); /* the buffer is full */
  put(hop, ROAM_S, ROAM_OUT, 500, 4);
  assert_int_equal(roam_hop_get_stats(hop).dropped[ROAM_OUT], 1);
  assert_int_equal(take_at(hop, ROAM_S + ROAM_MS, ROAM_OUT), 1);
  /* A late caller loses no rate. */
  assert_int_equal(take_any(hop, ROAM_S + 10 * ROAM_MS), 2);
  assert_int_equal(roam_hop_deadline(hop), ROAM_S + 2500 * ROAM_US);
  /* A new rate counts for what is under way, too. */
  roam_queue_set_rate(hop, 10000);
  assert_int_equal(take_at(hop, ROAM_S + 52 * ROAM_MS, ROAM_OUT), 4);
  assert_int_equal(roam_hop_deadline(hop), ROAM_NEVER);
  put(hop, 3 * ROAM_S, ROAM_IN, 100, 5); /* idle time is not saved up */
  assert_int_equal(take_at(hop, 3 * ROAM_S + 10 * ROAM_MS, ROAM_IN), 5);
  roam_queue_set_rate(hop, 0);
  put(hop, 4 * ROAM_S, ROAM_IN, 60000, 6);
  assert_int_equal(take_any(hop, 4 * ROAM_S), 6);
  roam_hop_free(hop);
}

static void loses_by_chance_and_switch(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  roam_loss_options o;
  roam_loss_options_init(&o);
  o.loss_ppm = 100000;
  roam_hop *hop = roam_loss_new(&o, &rng.random);
  assert_non_null(hop);
  for (int i = 0; i < 10000; i++) {
    put(hop, 1, i % 2, 1, 1);
    take_any(hop, 1);
  }
  roam_hop_stats s = roam_hop_get_stats(hop);
  assert_in_range(s.dropped[ROAM_OUT], 400, 600);
  assert_in_range(s.dropped[ROAM_IN], 400, 600);
  roam_loss_set(hop, 0);
  roam_loss_set_down(hop, true);
  put(hop, 1, ROAM_OUT, 1, 1);
  assert_int_equal(take_any(hop, 1), -1);
  roam_loss_set_down(hop, false);
  put(hop, 1, ROAM_OUT, 1, 7);
  assert_int_equal(take_any(hop, 1), 7);
  roam_hop_free(hop);
}

/* One draw for each parcel, needed or not: switching the link off for a while must not change who is lost later. */
static void draws_for_every_parcel(void **state) {
  (void)state;
  int lost[2][100];
  for (int run = 0; run < 2; run++) {
    struct roam_rng rng;
    roam_rng_init(&rng, 9);
    roam_loss_options o;
    roam_loss_options_init(&o);
    o.loss_ppm = 300000;
    roam_hop *hop = roam_loss_new(&o, &rng.random);
    assert_non_null(hop);
    for (int i = 0; i < 100; i++) {
      roam_loss_set_down(hop, run == 1 && i < 50);
      put(hop, 1, ROAM_OUT, 1, 1);
      lost[run][i] = take_any(hop, 1) < 0;
    }
    roam_hop_free(hop);
  }
  assert_memory_equal(lost[0] + 50, lost[1] + 50, 50 * sizeof(int));
}

static void drops_above_the_mtu(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int family, proto;
    size_t len;
    uint32_t mtu;
    bool passes;
  } cases[] = {{"v4 fits", 4, 17, 1472, 1500, true}, {"v4 does not", 4, 17, 1473, 1500, false},
               {"v6 fits", 6, 17, 1452, 1500, true}, {"v6 does not", 6, 17, 1453, 1500, false},
               {"no limit", 4, 17, 60000, 0, true},  {"TCP finds its own", 4, 6, 1490, 1500, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    roam_loss_options o;
    roam_loss_options_init(&o);
    o.mtu = cases[i].mtu;
    roam_hop *hop = roam_loss_new(&o, NULL);
    assert_non_null(hop);
    roam_parcel *p = roam_parcel_new(NULL, cases[i].len);
    assert_non_null(p);
    memset(p->data, 1, cases[i].len);
    p->dst.family = (uint8_t)cases[i].family;
    p->proto = (uint8_t)cases[i].proto;
    roam_hop_put(hop, 1, ROAM_OUT, p);
    assert_int_equal(take_any(hop, 1) >= 0, cases[i].passes);
    roam_hop_free(hop);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(makes_parcels),           cmocka_unit_test(delays_exactly),
      cmocka_unit_test(keeps_order_unless_told), cmocka_unit_test(bounds_what_it_delays),
      cmocka_unit_test(queues_at_its_rate),      cmocka_unit_test(loses_by_chance_and_switch),
      cmocka_unit_test(draws_for_every_parcel),  cmocka_unit_test(drops_above_the_mtu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
