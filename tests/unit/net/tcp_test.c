/* TCP sockets alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>

#include "net/tcp.h"

static void wait_for(int fd, short events) {
  struct pollfd wait = {.fd = fd, .events = events};
  assert_int_equal(poll(&wait, 1, 5000), 1);
}

static void open_both(int *listener, int *client, int *server) {
  roam_addr local = {.family = 4, .ip = {127, 0, 0, 1}}, none = {0}, bound, mine, theirs;
  assert_int_equal(roam_tcp_listen(&local, NULL, listener, &bound), 0);
  assert_int_equal(roam_tcp_accept(*listener, server, &mine, &theirs), EAGAIN);
  assert_int_equal(roam_tcp_connect(&none, &bound, NULL, client), 0);
  wait_for(*listener, POLLIN);
  assert_int_equal(roam_tcp_accept(*listener, server, &mine, &theirs), 0);
  assert_true(roam_addr_equal(&mine, &bound));
  wait_for(*client, POLLOUT);
  assert_int_equal(roam_tcp_error(*client), 0);
}

static void bytes_and_the_end_arrive(void **state) {
  (void)state;
  int listener, client, server;
  open_both(&listener, &client, &server);
  char got[16];
  assert_int_equal(roam_tcp_read(server, got, sizeof got), -EAGAIN);
  struct iovec pieces[] = {{"ab", 2}, {"", 0}, {"cde", 3}};
  assert_int_equal(roam_tcp_write(client, pieces, 3), 5);
  wait_for(server, POLLIN);
  assert_int_equal(roam_tcp_peek(server), 1);
  assert_int_equal(roam_tcp_read(server, got, sizeof got), 5);
  assert_memory_equal(got, "abcde", 5);
  roam_tcp_finish(client);
  wait_for(server, POLLIN);
  assert_int_equal(roam_tcp_peek(server), 0);
  assert_int_equal(roam_tcp_read(server, got, sizeof got), 0);
  roam_tcp_close(client);
  roam_tcp_close(server);
  roam_tcp_close(listener);
}

static void reset_and_refusal_have_their_errno(void **state) {
  (void)state;
  int listener, client, server;
  open_both(&listener, &client, &server);
  roam_tcp_reset(server);
  wait_for(client, POLLIN);
  char byte = 0;
  assert_int_equal(roam_tcp_read(client, &byte, 1), -ECONNRESET);
  struct iovec piece = {&byte, 1};
  assert_int_equal(roam_tcp_write(client, &piece, 1), -EPIPE); /* and no signal */
  roam_tcp_close(client);
  roam_tcp_close(listener);
}

static void in_use_is_said(void **state) {
  (void)state;
  roam_addr local = {.family = 6, .ip = {[15] = 1}}, bound, again;
  int one, two;
  assert_int_equal(roam_tcp_listen(&local, NULL, &one, &bound), 0);
  assert_int_equal(roam_tcp_listen(&bound, NULL, &two, &again), EADDRINUSE);
  assert_int_equal(two, -1);
  roam_tcp_close(one);
  assert_int_equal(roam_tcp_listen(&bound, NULL, &two, &again), 0);
  roam_tcp_close(two);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_and_the_end_arrive),
      cmocka_unit_test(reset_and_refusal_have_their_errno),
      cmocka_unit_test(in_use_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
