/* A TCP connection that is accepted while there is no memory for it is closed; its descriptor does not stay behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/base/failing_memory.h"

#include "base/map.c"
#include "transport/tcp_conn.c"

static roam_transport *make_listening(uint32_t *listener) {
  roam_transport_options o;
  const char *why;
  roam_rc rc;
  roam_addr local;
  roam_wire out[4];
  roam_transport_options_init(&o);
  o.handle_first = 1;
  o.now = 1;
  roam_transport *t = roam_tcp_new(&o, &rc, &why);
  assert_non_null(t);
  assert_int_equal(roam_addr_parse("192.0.2.1:1883", &local), 0);
  assert_int_equal(roam_transport_listen(t, 1, &local, listener), 0);
  assert_int_equal(roam_transport_drain(t, 1, out, 4), 1);
  assert_int_equal(out[0].kind, ROAM_WIRE_LISTEN);
  return t;
}

/* The n-th request for memory while a connection is accepted is refused. False: there was none such. */
static bool refuse(long n) {
  uint32_t listener;
  roam_wire out[4];
  roam_transport *t = make_listening(&listener);
  const roam_wire in = {.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | 7, .parent = listener};
  memory_failed = false;
  memory_fail_at = n;
  roam_transport_feed(t, 2, &in, 1);
  memory_fail_at = 0;
  if (memory_failed) {
    assert_true(roam_transport_deadline(t) <= 2);
    assert_int_equal(roam_transport_drain(t, 2, out, 4), 1);
    assert_int_equal(out[0].kind, ROAM_WIRE_CLOSE);
    assert_int_equal(out[0].handle, ROAM_HANDLE_EDGE | 7);
    assert_int_equal(out[0].how, ROAM_CLOSE_RESET);
    assert_int_equal(roam_transport_drain(t, 2, out, 4), 0);
    assert_int_equal(t->refused, 1);
  }
  roam_transport_free(t);
  return memory_failed;
}

static void without_memory_it_is_closed(void **state) {
  (void)state;
  long n = 1;
  while (refuse(n)) n++;
  assert_true(n >= 2); /* the connection itself, at least */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(without_memory_it_is_closed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
