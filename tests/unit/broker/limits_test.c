/* limits_test.c - accounts of addresses: the burst, how it comes back, the bound of the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "broker/limits.h"

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void failures_come_back_evenly(void **state) {
  (void)state;
  struct roam_places l;
  roam_addr a = addr("192.0.2.1:5"), b = addr("192.0.2.1:6"), other = addr("192.0.2.2:5");
  roam_time now = 100 * ROAM_S;
  roam_places_init(&l, 0, 3, NULL);
  for (int i = 0; i < 3; i++) {
    assert_false(roam_places_blocked(&l, now, &a));
    roam_places_fail(&l, now, i == 1 ? &b : &a); /* the port does not matter */
  }
  assert_true(roam_places_blocked(&l, now, &b));
  assert_false(roam_places_blocked(&l, now, &other));
  roam_places_fail(&l, now, &a); /* what is refused costs nothing more */
  assert_true(roam_places_blocked(&l, now + 19 * ROAM_S, &a));
  assert_false(roam_places_blocked(&l, now + 20 * ROAM_S, &a)); /* one in twenty seconds */
  roam_places_fail(&l, now + 20 * ROAM_S, &a);
  assert_true(roam_places_blocked(&l, now + 21 * ROAM_S, &a));
  assert_false(roam_places_blocked(&l, now + 90 * ROAM_S, &a));
  roam_places_reset(&l);
}

static void rates_are_a_seconds_burst(void **state) {
  (void)state;
  struct roam_places l;
  roam_addr a = addr("192.0.2.1:5");
  roam_places_init(&l, 10, 0, NULL);
  for (int i = 0; i < 10; i++) assert_true(roam_places_arrive(&l, ROAM_S, &a));
  assert_false(roam_places_arrive(&l, ROAM_S, &a));
  assert_true(roam_places_arrive(&l, ROAM_S + 100 * ROAM_MS, &a));
  assert_false(roam_places_arrive(&l, ROAM_S + 100 * ROAM_MS, &a));
  roam_places_fail(&l, ROAM_S, &a);
  assert_false(roam_places_blocked(&l, ROAM_S, &a)); /* no such limit */
  roam_places_reset(&l);
}

static void either_limit_spends_an_account(void **state) {
  (void)state;
  struct roam_places l;
  roam_addr a = addr("192.0.2.1:5"), b = addr("192.0.2.2:5");
  roam_places_init(&l, 1, 1, NULL);
  assert_false(roam_places_spent(&l, ROAM_S, &a)); /* asking costs nothing */
  assert_false(roam_places_spent(&l, ROAM_S, &a));
  assert_true(roam_places_arrive(&l, ROAM_S, &a));
  assert_true(roam_places_spent(&l, ROAM_S, &a));
  assert_false(roam_places_spent(&l, 2 * ROAM_S, &a));
  roam_places_fail(&l, ROAM_S, &b);
  assert_true(roam_places_spent(&l, 2 * ROAM_S, &b));
  assert_false(roam_places_spent(&l, 61 * ROAM_S, &b));
  roam_places_reset(&l);
}

static void a_network_of_ipv6_is_one_address(void **state) {
  (void)state;
  struct roam_places l;
  roam_addr a = addr("[2001:db8:1:2::1]:5"), b = addr("[2001:db8:1:2:3::9]:5"), c = addr("[2001:db8:1:3::1]:5");
  roam_places_init(&l, 0, 1, NULL);
  roam_places_fail(&l, ROAM_S, &a);
  assert_true(roam_places_blocked(&l, ROAM_S, &b));
  assert_false(roam_places_blocked(&l, ROAM_S, &c));
  roam_places_reset(&l);
}

static void the_table_is_bounded(void **state) {
  (void)state;
  struct roam_places l;
  roam_addr first = addr("10.0.0.0:1"), a = first;
  roam_places_init(&l, 0, 1, NULL);
  for (uint32_t i = 0; i < ROAM_LIMITS_ADDRESSES_MAX; i++) {
    a.ip[1] = (uint8_t)(i >> 16), a.ip[2] = (uint8_t)(i >> 8), a.ip[3] = (uint8_t)i;
    roam_places_fail(&l, ROAM_S, &a);
  }
  assert_int_equal(l.count, ROAM_LIMITS_ADDRESSES_MAX);
  assert_true(roam_places_blocked(&l, ROAM_S, &first));
  a.ip[1] = 9;
  roam_places_fail(&l, ROAM_S, &a); /* the oldest goes */
  assert_int_equal(l.count, ROAM_LIMITS_ADDRESSES_MAX);
  assert_false(roam_places_blocked(&l, ROAM_S, &first));
  assert_true(roam_places_blocked(&l, ROAM_S, &a));
  roam_places_reset(&l);
}

static void connections_are_counted(void **state) {
  (void)state;
  struct roam_places l;
  struct roam_place *one, *two, *three, *other;
  roam_addr a = addr("192.0.2.1:5"), b = addr("192.0.2.1:6"), c = addr("192.0.2.2:5"), none = {0};
  roam_places_init(&l, 0, 1, NULL);
  l.connections_max = 2;
  assert_true(roam_places_enter(&l, &a, &one));
  assert_true(roam_places_enter(&l, &b, &two));
  assert_ptr_equal(one, two);
  assert_true(roam_place_is_of(one, &b));
  assert_false(roam_place_is_of(one, &c));
  assert_false(roam_places_enter(&l, &a, &three));
  assert_null(three);
  assert_true(roam_places_enter(&l, &c, &other));
  assert_true(roam_places_enter(&l, &none, &three)); /* a Unix socket has no address */
  assert_null(three);
  roam_places_leave(&l, three);
  roam_places_leave(&l, one);
  assert_true(roam_places_enter(&l, &a, &one));
  l.connections_max = 0;
  assert_true(roam_places_enter(&l, &a, &three));
  roam_places_leave(&l, three);
  roam_places_fail(&l, ROAM_S, &c);
  roam_places_leave(&l, other);
  assert_true(roam_places_blocked(&l, ROAM_S, &c)); /* leaving leaves no clean record */
  assert_int_equal(l.count, 1);
  roam_places_leave(&l, one);
  roam_places_leave(&l, two);
  assert_int_equal(l.count, 1); /* nothing is owed: forgotten */
  roam_places_reset(&l);
}

/* However many others come: it is remembered while there is a connection. */
static void an_account_in_use_is_not_forgotten(void **state) {
  (void)state;
  struct roam_places l;
  struct roam_place *mine;
  roam_addr first = addr("192.0.2.1:1"), a = addr("10.0.0.0:1");
  roam_places_init(&l, 0, 1, NULL);
  assert_true(roam_places_enter(&l, &first, &mine));
  roam_places_fail(&l, ROAM_S, &first);
  for (uint32_t i = 0; i <= ROAM_LIMITS_ADDRESSES_MAX; i++) {
    a.ip[1] = (uint8_t)(i >> 16), a.ip[2] = (uint8_t)(i >> 8), a.ip[3] = (uint8_t)i;
    roam_places_fail(&l, ROAM_S, &a);
  }
  assert_int_equal(l.count, ROAM_LIMITS_ADDRESSES_MAX);
  assert_true(roam_places_blocked(&l, ROAM_S, &first));
  roam_places_leave(&l, mine);
  assert_int_equal(l.count, ROAM_LIMITS_ADDRESSES_MAX);
  roam_places_reset(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(failures_come_back_evenly),
      cmocka_unit_test(rates_are_a_seconds_burst),
      cmocka_unit_test(either_limit_spends_an_account),
      cmocka_unit_test(a_network_of_ipv6_is_one_address),
      cmocka_unit_test(the_table_is_bounded),
      cmocka_unit_test(connections_are_counted),
      cmocka_unit_test(an_account_in_use_is_not_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
