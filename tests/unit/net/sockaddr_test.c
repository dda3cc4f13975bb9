/* Addresses to the kernel's form and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "net/sockaddr.h"

static void every_family_comes_back(void **state) {
  (void)state;
  static const char *const texts[] = {"1.2.3.4:1883", "0.0.0.0", "[::1]:14567", "[fe80::1%3]:1", "::"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    roam_addr in, out;
    assert_int_equal(roam_addr_parse(texts[i], &in), 0);
    union roam_sockaddr sa;
    assert_int_equal(roam_sockaddr_from(&in, &sa), in.family == 6 ? sizeof sa.v6 : sizeof sa.v4);
    out = roam_sockaddr_to(&sa);
    assert_true(roam_addr_equal(&in, &out));
  }
}

static void the_kernel_reads_what_was_written(void **state) {
  (void)state;
  roam_addr in;
  assert_int_equal(roam_addr_parse("1.2.3.4:258", &in), 0);
  union roam_sockaddr sa;
  roam_sockaddr_from(&in, &sa);
  assert_int_equal(sa.v4.sin_family, AF_INET);
  assert_int_equal(sa.v4.sin_port, htons(258));
  assert_int_equal(sa.v4.sin_addr.s_addr, inet_addr("1.2.3.4"));
}

static void other_families_are_none(void **state) {
  (void)state;
  union roam_sockaddr sa;
  memset(&sa, 0, sizeof sa);
  sa.any.sa_family = AF_UNIX;
  assert_int_equal(roam_sockaddr_to(&sa).family, 0);
  assert_int_equal(roam_socket_local(-1).family, 0);
  assert_int_equal(roam_socket_remote(-1).family, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_family_comes_back),
      cmocka_unit_test(the_kernel_reads_what_was_written),
      cmocka_unit_test(other_families_are_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
