/* share_test.c - several sockets on one address: who may come, and where datagrams go. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/sockaddr.h"
#include "net/tcp.h"
#include "net/udp.h"

static const roam_addr none;

static int open_one(struct roam_udp *u, const roam_addr *local, bool first, bool steer) {
  struct roam_udp_options o = {.buffer_bytes = 65536, .sharing = {.sockets = 3, .first = first, .steer = steer}};
  return roam_udp_open(u, local, &none, NULL, &o);
}

static void datagrams_go_where_their_octet_says(void **state) {
  (void)state;
  struct roam_udp u[3];
  struct roam_udp_io *io = roam_udp_io_new(64);
  assert_non_null(io);
  roam_addr local = {.family = 4, .ip = {127, 0, 0, 1}};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(open_one(&u[i], &local, i == 0, true), 0);
    if (!u[i].steers) skip(); /* a kernel without it: the broker forwards instead */
    local = u[i].local;
  }
  for (unsigned i = 0; i < 60; i++) { /* from as many ports, so that addresses mean nothing */
    union roam_sockaddr to;
    socklen_t len = roam_sockaddr_from(&local, &to);
    uint8_t bytes[16] = {0};
    bool longer = i >= 30;
    bytes[0] = longer ? 0xc3 : 0x43;
    bytes[longer ? ROAM_STEER_LONG : ROAM_STEER_SHORT] = (uint8_t)i;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(sendto(fd, bytes, sizeof bytes, 0, &to.any, len), sizeof bytes);
    close(fd);
  }
  for (unsigned i = 0; i < 3; i++) {
    roam_wire out[64];
    int n = roam_udp_recv(&u[i], io, 0, out, 64);
    assert_int_equal(n, 20);
    for (int k = 0; k < n; k++)
      assert_int_equal(out[k].data[out[k].data[0] & 0x80 ? ROAM_STEER_LONG : ROAM_STEER_SHORT] % 3, i);
  }
  for (int i = 0; i < 3; i++) roam_udp_close(&u[i]);
  roam_udp_io_free(io);
}

/* SO_REUSEPORT lets any process of ours in: the first must not mistake another broker for its own. */
static void the_first_joins_nobody(void **state) {
  (void)state;
  struct roam_udp one, two, three;
  roam_addr local = {.family = 4, .ip = {127, 0, 0, 1}}, bound, again;
  assert_int_equal(open_one(&one, &local, true, false), 0);
  assert_int_equal(open_one(&two, &one.local, true, false), EADDRINUSE);
  assert_int_equal(open_one(&three, &one.local, false, false), 0);
  roam_udp_close(&one);
  roam_udp_close(&three);
  int a, b, c;
  struct roam_sharing first = {.sockets = 2, .first = true}, next = {.sockets = 2};
  assert_int_equal(roam_tcp_listen(&local, &first, &a, &bound), 0);
  assert_int_equal(roam_tcp_listen(&bound, &first, &b, &again), EADDRINUSE);
  assert_int_equal(roam_tcp_listen(&bound, NULL, &b, &again), EADDRINUSE);
  assert_int_equal(roam_tcp_listen(&bound, &next, &c, &again), 0);
  close(a);
  close(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(datagrams_go_where_their_octet_says),
      cmocka_unit_test(the_first_joins_nobody),
  };
  return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
