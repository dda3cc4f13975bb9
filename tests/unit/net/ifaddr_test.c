/* Interface addresses: every Linux machine has lo with 127.0.0.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/ifaddr.h"

/* Stands before the kernel's: an ordinary user of an older kernel may not tie a socket to a device. */
static bool forbidden;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
  if (forbidden && name == SO_BINDTODEVICE) {
    errno = EPERM;
    return -1;
  }
  return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static void loopback_is_listed(void **state) {
  (void)state;
  struct roam_ifaddr all[64];
  int n = roam_ifaddr_list(all, 64);
  assert_true(n >= 1);
  bool found = false;
  for (int i = 0; i < n && i < 64; i++) {
    if (strcmp(all[i].name, "lo") == 0 && all[i].addr.family == 4) found = all[i].up && all[i].loopback;
  }
  assert_true(found);
  assert_int_equal(roam_ifaddr_list(NULL, 0), n);
}

static void addresses_are_found_by_name(void **state) {
  (void)state;
  roam_addr addr;
  assert_int_equal(roam_ifaddr_find("lo", 4, &addr), 0);
  assert_int_equal(addr.family, 4);
  assert_int_equal(addr.ip[0], 127);
  assert_int_equal(roam_ifaddr_find("lo", 9, &addr), EADDRNOTAVAIL);
  assert_int_equal(roam_ifaddr_find("no-such-if0", 4, &addr), ENODEV);
}

static void tying_names_what_is_missing(void **state) {
  (void)state;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  roam_addr local = {.family = 4, .port = 99};
  assert_int_equal(roam_ifaddr_tie(fd, "no-such-if0", 4, &local), ENODEV);
  assert_int_equal(roam_ifaddr_tie(fd, "lo", 4, &local), 0);
  assert_int_equal(local.port, 99);
  close(fd);
}

static void without_permission_the_address_stands_in(void **state) {
  (void)state;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  forbidden = true;
  roam_addr local = {.port = 99};
  assert_int_equal(roam_ifaddr_tie(fd, "lo", 4, &local), 0);
  assert_int_equal(local.family, 4);
  assert_int_equal(local.ip[0], 127);
  assert_int_equal(local.port, 99);
  roam_addr own = {.family = 4, .ip = {127, 0, 10, 8}};
  assert_int_equal(roam_ifaddr_tie(fd, "lo", 4, &own), 0);
  assert_int_equal(own.ip[3], 8);
  forbidden = false;
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loopback_is_listed),
      cmocka_unit_test(addresses_are_found_by_name),
      cmocka_unit_test(tying_names_what_is_missing),
      cmocka_unit_test(without_permission_the_address_stands_in),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
