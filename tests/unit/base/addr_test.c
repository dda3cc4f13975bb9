/* addr_test.c - addresses: text both ways, bad text, equality, order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

static void reads_and_writes(void **state) {
  (void)state;
  static const struct {
    const char *name, *text, *back;
    int family, port, scope;
  } cases[] = {
      {"v4", "1.2.3.4", "1.2.3.4", 4, 0, 0},
      {"v4 port", "1.2.3.4:1883", "1.2.3.4:1883", 4, 1883, 0},
      {"v6", "::1", "::1", 6, 0, 0},
      {"v6 port", "[::1]:1883", "[::1]:1883", 6, 1883, 0},
      {"v6 brackets", "[2001:db8::5]", "2001:db8::5", 6, 0, 0},
      {"v6 scope", "[fe80::1%3]:1", "[fe80::1%3]:1", 6, 1, 3},
      {"v6 scope bare", "fe80::1%3", "fe80::1%3", 6, 0, 3},
      {"longest", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535", 6, 65535, -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    roam_addr a;
    char text[ROAM_ADDR_TEXT_MAX];
    assert_int_equal(roam_addr_parse(cases[i].text, &a), 0);
    assert_int_equal(a.family, cases[i].family);
    assert_int_equal(a.port, cases[i].port);
    if (cases[i].scope >= 0) assert_int_equal(a.scope, cases[i].scope);
    assert_string_equal(roam_addr_format(&a, text), cases[i].back);
  }
}

static void refuses_bad_text(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      "1.2.3",
      "1.2.3.4:",
      "1.2.3.4:65536",
      "1.2.3.4:-1",
      "1.2.3.4: 1",
      "1.2.3.256",
      "localhost",
      "localhost:1",
      "[::1",
      "[::1]1",
      "[::1]:",
      "[::1]:99999",
      "::g",
      "fe80::1%",
      "fe80::1%x",
      "1.2.3.4%1",
      "[1.2.3.4]:1",
      "1.2.3.4:1:2",
      "fe80::1%4294967296",
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    roam_addr a = {.family = 9};
    assert_int_equal(roam_addr_parse(bad[i], &a), ROAM_E_ARGUMENT);
    assert_int_equal(a.family, 9);
  }
  roam_addr none = {0};
  char text[ROAM_ADDR_TEXT_MAX];
  assert_string_equal(roam_addr_format(&none, text), "-");
  assert_string_equal(roam_addr_format(NULL, text), "-");
}

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void compares(void **state) {
  (void)state;
  roam_addr a = addr("1.2.3.4:1"), b = addr("1.2.3.4:2"), c = addr("1.2.3.5:1"), d = addr("[::1]:1");
  assert_true(roam_addr_equal(&a, &a));
  assert_false(roam_addr_equal(&a, &b));
  assert_true(roam_addr_same_ip(&a, &b));
  assert_false(roam_addr_same_ip(&a, &c));
  assert_false(roam_addr_same_ip(&c, &d));
}

static void knows_kinds(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool loopback, any;
  } cases[] = {{"127.0.10.200:5", true, false},
               {"128.0.0.1", false, false},
               {"0.0.0.0:5", false, true},
               {"::", false, true},
               {"::1", true, false},
               {"::ffff:127.0.0.1", true, false},
               {"::2", false, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    roam_addr a = addr(cases[i].text);
    assert_int_equal(roam_addr_is_loopback(&a), cases[i].loopback);
    assert_int_equal(roam_addr_is_any(&a), cases[i].any);
  }
  roam_addr none = {0};
  assert_true(roam_addr_is_any(&none));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(reads_and_writes), cmocka_unit_test(refuses_bad_text),
                                     cmocka_unit_test(compares), cmocka_unit_test(knows_kinds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
