/* networks_test.c - which network is best, and how long one that flaps or failed is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/networks.h"

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static struct roam_network *note(struct roam_networks *n, uint64_t at_s, const char *name, const char *text, bool up) {
  roam_addr a = addr(text);
  return roam_networks_note(n, at_s * ROAM_S, name, &a, up);
}

static const char *best(struct roam_networks *n, uint64_t at_ms, const struct roam_network *here, bool urgent) {
  const struct roam_network *b = roam_networks_best(n, at_ms * ROAM_MS, 4, here, urgent);
  return b ? b->name : "none";
}

static void reads_wishes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool good;
    size_t count;
  } cases[] = {
      {NULL, true, 0},
      {"", true, 0},
      {"wlan0", true, 1},
      {"wlan0, wwan0:metered, ppp*:cost=50", true, 3},
      {"*", true, 1},
      {"wlan0,", true, 1},
      {",", false, 0},
      {"wlan0:", false, 0},
      {"wlan0:free", false, 0},
      {"wlan0:cost=", false, 0},
      {"wlan0:cost=1x", false, 0},
      {"wlan0:cost=9999999999", false, 0},
      {"a-name-too-long-for-an-interface", false, 0},
      {"wlan0:metered:cost=7", true, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_networks n;
    print_message("%s\n", cases[i].text ? cases[i].text : "NULL");
    assert_int_equal(roam_networks_init(&n, cases[i].text, 0), cases[i].good);
    if (cases[i].good) assert_int_equal(n.wishes_count, cases[i].count);
  }
  struct roam_networks n;
  char many[256] = "";
  for (int i = 0; i < 17; i++) strcat(many, "eth0,");
  assert_false(roam_networks_init(&n, many, 0));
}

static void orders_by_list_meter_and_name(void **state) {
  (void)state;
  struct roam_networks n;
  assert_true(roam_networks_init(&n, "wwan0:metered, wlan1, usb*:cost=5", 0));
  note(&n, 1, "wwan0", "10.0.0.1", true);
  assert_string_equal(best(&n, 2000, NULL, true), "wwan0");
  note(&n, 1, "eth0", "10.0.0.2", true); /* unlisted, but not metered */
  assert_string_equal(best(&n, 2000, NULL, true), "eth0");
  note(&n, 1, "usb3", "10.0.0.3", true);
  assert_string_equal(best(&n, 2000, NULL, true), "usb3");
  note(&n, 1, "wlan1", "10.0.0.4", true);
  assert_string_equal(best(&n, 2000, NULL, true), "wlan1");
  assert_true(roam_networks_init(&n, NULL, 0));
  note(&n, 1, "docker0", "172.17.0.1", true);
  note(&n, 1, "lo", "127.0.0.1", true);
  assert_string_equal(best(&n, 2000, NULL, true), "none");
  note(&n, 1, "wwan0", "10.0.0.1", true);
  assert_string_equal(best(&n, 2000, NULL, true), "wwan0");
  note(&n, 1, "wlp3s0", "10.0.0.5", true);
  assert_string_equal(best(&n, 2000, NULL, true), "wlp3s0");
  note(&n, 1, "enp1s0", "10.0.0.6", true);
  assert_string_equal(best(&n, 2000, NULL, true), "enp1s0");
  assert_string_equal(best(&n, 2000, roam_networks_at(&n, &n.list[3].addr), false), "none"); /* already the best */
  assert_null(roam_networks_best(&n, ROAM_S, 6, NULL, true));                                /* no IPv6 here */
}

static void a_better_one_must_settle(void **state) {
  (void)state;
  struct roam_networks n;
  assert_true(roam_networks_init(&n, "wlan0, wwan0", 2 * ROAM_S));
  struct roam_network *cell = note(&n, 1, "wwan0", "10.0.0.1", true);
  note(&n, 10, "wlan0", "10.0.0.2", true);
  assert_string_equal(best(&n, 11999, cell, false), "none");
  assert_true(roam_networks_due(&n, 11 * ROAM_S, 4, cell, false) == 12 * ROAM_S);
  assert_string_equal(best(&n, 12000, cell, false), "wlan0");
  assert_string_equal(best(&n, 10000, cell, true), "wlan0"); /* in need it is taken at once */
  /* Each flap doubles the while. */
  note(&n, 13, "wlan0", "10.0.0.2", false);
  note(&n, 14, "wlan0", "10.0.0.2", true);
  assert_string_equal(best(&n, 17999, cell, false), "none");
  assert_string_equal(best(&n, 18000, cell, false), "wlan0");
  for (uint64_t s = 20; s < 60; s += 2) {
    note(&n, s, "wlan0", "10.0.0.2", false);
    note(&n, s + 1, "wlan0", "10.0.0.2", true);
  }
  assert_true(roam_networks_due(&n, 60 * ROAM_S, 4, cell, false) == (59 + 60) * ROAM_S); /* and is bounded */
  /* A long life forgives. */
  note(&n, 500, "wlan0", "10.0.0.2", false);
  note(&n, 501, "wlan0", "10.0.0.2", true);
  assert_string_equal(best(&n, 503000, cell, false), "wlan0");
}

static void a_failed_one_is_left_alone(void **state) {
  (void)state;
  struct roam_networks n;
  assert_true(roam_networks_init(&n, "wlan0, wwan0", 0));
  struct roam_network *wlan = note(&n, 1, "wlan0", "10.0.0.2", true);
  roam_networks_failed(wlan, 10 * ROAM_S);
  assert_string_equal(best(&n, 11999, NULL, true), "none");
  assert_string_equal(best(&n, 12000, NULL, true), "wlan0");
  roam_networks_failed(wlan, 12 * ROAM_S);
  assert_true(roam_networks_due(&n, 12 * ROAM_S, 4, NULL, true) == 16 * ROAM_S);
  roam_networks_worked(wlan);
  assert_string_equal(best(&n, 12000, NULL, true), "wlan0");
}

static void the_table_is_bounded(void **state) {
  (void)state;
  struct roam_networks n;
  char text[32];
  assert_true(roam_networks_init(&n, NULL, 0));
  for (int i = 0; i < 40; i++) {
    snprintf(text, sizeof text, "10.0.0.%d", i + 1);
    note(&n, 1, "eth0", text, true);
  }
  assert_int_equal(n.count, ROAM_NETWORKS_MAX);
  note(&n, 2, "eth0", "10.0.0.3", false);
  assert_non_null(note(&n, 3, "eth1", "10.9.9.9", true)); /* takes the place of the one that is gone */
  roam_addr gone = addr("10.0.0.3");
  assert_null(roam_networks_at(&n, &gone));
  assert_null(note(&n, 3, "eth1", "10.9.9.9", true)); /* no news */
  assert_null(note(&n, 3, "eth1", "10.9.9.8", false));
  roam_addr nothing = {0};
  assert_null(roam_networks_note(&n, 1, "eth0", &nothing, true));
  assert_null(roam_networks_note(&n, 1, NULL, &gone, true));
}

static void remembers_where_udp_is_blocked(void **state) {
  (void)state;
  struct roam_network n = {.up = true};
  roam_networks_udp_blocked(&n, ROAM_S);
  assert_true(n.udp_blocked_until == 61 * ROAM_S);
  for (int i = 2; i < 50; i++) roam_networks_udp_blocked(&n, (roam_time)i * ROAM_S); /* tried early, at signs of change */
  assert_true(n.udp_blocked_until == (49 + 60) * ROAM_S);
  roam_networks_udp_blocked(&n, n.udp_blocked_until);
  assert_true(n.udp_blocked_until == (109 + 120) * ROAM_S);
  for (int i = 0; i < 50; i++) roam_networks_udp_blocked(&n, n.udp_blocked_until);
  roam_networks_udp_blocked(&n, 100000 * ROAM_S);
  assert_true(n.udp_blocked_until == 100600 * ROAM_S);
  roam_networks_udp_works(&n);
  assert_true(n.udp_blocked_until == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_wishes),
      cmocka_unit_test(orders_by_list_meter_and_name),
      cmocka_unit_test(a_better_one_must_settle),
      cmocka_unit_test(a_failed_one_is_left_alone),
      cmocka_unit_test(the_table_is_bounded),
      cmocka_unit_test(remembers_where_udp_is_blocked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
