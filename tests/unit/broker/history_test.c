/* history_test.c - addresses of a client: order, bound, counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/history.h"

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void there_and_back(void **state) {
  (void)state;
  struct roam_history h;
  roam_address_change out[4];
  roam_addr a = addr("10.0.0.200:5000"), b = addr("10.0.0.203:6000");
  roam_history_init(&h, 8);
  roam_history_connected(&h, 1, &a);
  roam_history_moved(&h, 2, &b);
  roam_history_moved(&h, 3, &a);
  assert_int_equal(h.moves, 2);
  assert_int_equal(h.connects, 1);
  assert_true(roam_addr_equal(&h.now, &a) && roam_addr_equal(&h.at_connect, &a));
  assert_int_equal(roam_history_read(&h, out, 4), 3);
  assert_true(out[0].by_connect && !out[1].by_connect && out[1].at == 2);
  assert_true(roam_addr_equal(&out[1].address, &b));
  assert_int_equal(roam_history_read(&h, out, 2), 2);
  roam_history_reset(&h);
}

static void the_oldest_go_first(void **state) {
  (void)state;
  struct roam_history h;
  roam_address_change out[8];
  roam_addr a = addr("10.0.0.1:1");
  roam_history_init(&h, 3);
  for (roam_time at = 1; at <= 100; at++) roam_history_moved(&h, at, &a);
  assert_int_equal(h.moves, 100);
  assert_int_equal(roam_history_read(&h, out, 8), 3);
  assert_true(out[0].at == 98 && out[2].at == 100);
  roam_history_reset(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(the_oldest_go_first)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
