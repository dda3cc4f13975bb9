/* tcp_test.c - the TCP transport by hand, the test being the edge: listeners from asking to the end, what may be dialled,
 * handles, credit both ways, and an end that flushes. What all transports have in common is the conformance suite's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "transport/tcp.h"

#define NOW (5 * ROAM_S)

static struct roam_rng rng;

static roam_transport *new_transport(uint32_t conns_max) {
  roam_transport_options o;
  roam_rc rc;
  const char *why;
  roam_rng_init(&rng, 1);
  roam_transport_options_init(&o);
  o.random = &rng.random;
  o.handle_first = 1;
  o.conns_max = conns_max;
  o.lane_tx_bytes = 1000;
  roam_transport *t = roam_tcp_new(&o, &rc, &why);
  assert_non_null(t);
  return t;
}

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

/* The next unit that goes out, which must be of that kind. */
static roam_wire next(roam_transport *t, int kind) {
  roam_wire out = {0};
  assert_int_equal(roam_transport_drain(t, NOW, &out, 1), 1);
  assert_int_equal(out.kind, kind);
  return out;
}

static void expect_silence(roam_transport *t) {
  roam_wire out;
  assert_int_equal(roam_transport_drain(t, NOW, &out, 1), 0);
}

static roam_te event(roam_transport *t, int kind) {
  roam_te ev = {0};
  assert_int_equal(roam_transport_poll(t, &ev, 1), 1);
  assert_int_equal(ev.kind, kind);
  return ev;
}

static void feed(roam_transport *t, roam_wire unit) { roam_transport_feed(t, NOW, &unit, 1); }

static uint32_t listening(roam_transport *t) {
  roam_addr at = addr("127.0.0.1:0"), bound = addr("127.0.0.1:1883");
  uint32_t listener;
  assert_int_equal(roam_transport_listen(t, NOW, &at, &listener), 0);
  assert_int_equal(next(t, ROAM_WIRE_LISTEN).handle, listener);
  feed(t, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = listener, .local = bound});
  roam_te ev = event(t, ROAM_TE_LISTENING);
  assert_int_equal(ev.listener, listener);
  assert_int_equal(ev.local.port, 1883);
  return listener;
}

static roam_conn *accepted(roam_transport *t, uint32_t listener, uint32_t handle) {
  feed(t, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = handle, .parent = listener, .remote = addr("127.0.0.9:4000")});
  roam_conn *c = event(t, ROAM_TE_ACCEPTED).conn;
  assert_ptr_equal(event(t, ROAM_TE_OPENED).conn, c);
  return c;
}

static void options_that_cannot_be(void **state) {
  (void)state;
  roam_transport_options o;
  roam_rc rc;
  const char *why;
  roam_transport_options_init(&o);
  o.handle_first = 0;
  assert_null(roam_tcp_new(&o, &rc, &why));
  assert_int_equal(rc, ROAM_E_OPTION);
  assert_non_null(why);
}

static void a_listener_comes_and_goes(void **state) {
  (void)state;
  roam_transport *t = new_transport(4);
  uint32_t listener = listening(t);
  feed(t, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = listener, .local = addr("127.0.0.1:1")});
  assert_true(roam_transport_owns(t, &(roam_wire){.kind = ROAM_WIRE_ACCEPT, .parent = listener}));
  roam_transport_unlisten(t, NOW, listener);
  assert_int_equal(next(t, ROAM_WIRE_CLOSE).handle, listener);
  assert_false(roam_transport_owns(t, &(roam_wire){.kind = ROAM_WIRE_ACCEPT, .parent = listener}));
  expect_silence(t);
  roam_transport_free(t);
}

static void a_listener_that_cannot_be_is_told_and_forgotten(void **state) {
  (void)state;
  roam_transport *t = new_transport(4);
  roam_addr at = addr("127.0.0.1:1883");
  uint32_t listener;
  assert_int_equal(roam_transport_listen(t, NOW, &at, &listener), 0);
  next(t, ROAM_WIRE_LISTEN);
  feed(t, (roam_wire){.kind = ROAM_WIRE_FAILED, .handle = listener, .error = EADDRINUSE});
  roam_te ev = event(t, ROAM_TE_LISTEN_FAILED);
  assert_int_equal(ev.rc, ROAM_E_ADDRESS_IN_USE);
  assert_non_null(strstr(ev.text, "127.0.0.1:1883"));
  expect_silence(t); /* no CLOSE for what never was */
  assert_false(roam_transport_owns(t, &(roam_wire){.kind = ROAM_WIRE_ACCEPT, .parent = listener}));
  roam_transport_free(t);
}

static void names_of_listeners(void **state) {
  (void)state;
  roam_transport *t = new_transport(4);
  char longest[ROAM_TCP_NAME_BYTES_MAX + 1];
  uint32_t listener;
  memset(longest, 'x', sizeof longest);
  longest[ROAM_TCP_NAME_BYTES_MAX] = 0;
  assert_int_equal(roam_transport_listen_name(t, NOW, longest, NULL, &listener), ROAM_E_ARGUMENT);
  assert_int_equal(roam_transport_listen_name(t, NOW, "", NULL, &listener), ROAM_E_ARGUMENT);
  longest[ROAM_TCP_NAME_BYTES_MAX - 1] = 0;
  assert_int_equal(roam_transport_listen_name(t, NOW, longest, NULL, &listener), 0);
  assert_string_equal(next(t, ROAM_WIRE_LISTEN).name, longest);
  for (int i = 1; i < ROAM_TCP_LISTENERS_MAX; i++)
    assert_int_equal(roam_transport_listen_name(t, NOW, "fd:3", NULL, &listener), 0);
  assert_int_equal(roam_transport_listen_name(t, NOW, "fd:3", NULL, &listener), ROAM_E_LIMIT);
  roam_transport_free(t);
}

static void what_may_be_dialled(void **state) {
  (void)state;
  static const struct {
    const char *name, *remote, *interface;
    roam_rc rc;
  } cases[] = {
      {"an address", "127.0.0.1:1883", NULL, 0},
      {"through an interface", "127.0.0.1:1883", "wlan0", 0},
      {"a path", NULL, "/run/mqtt.sock", 0},
      {"no port", "127.0.0.1", NULL, ROAM_E_ARGUMENT},
      {"an address and a path", "127.0.0.1:1883", "/run/mqtt.sock", ROAM_E_ARGUMENT},
      {"nothing", NULL, NULL, ROAM_E_ARGUMENT},
      {"an interface alone", NULL, "wlan0", ROAM_E_ARGUMENT},
      {"no interface's name", "127.0.0.1:1883", "an-interface-with-a-name-of-its-own", ROAM_E_ARGUMENT},
  };
  roam_transport *t = new_transport(3);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_addr remote = cases[i].remote ? addr(cases[i].remote) : (roam_addr){0};
    roam_conn *c;
    roam_rc rc = roam_transport_dial(t, NOW, &remote, NULL, cases[i].interface, NULL, NULL, &c);
    if (rc != cases[i].rc) print_error("case: %s\n", cases[i].name);
    assert_int_equal(rc, cases[i].rc);
    if (rc == 0) next(t, ROAM_WIRE_OPEN);
  }
  roam_addr remote = addr("127.0.0.1:1883");
  roam_conn *c;
  assert_int_equal(roam_transport_dial(t, NOW, &remote, NULL, NULL, NULL, NULL, &c), ROAM_E_LIMIT);
  roam_transport_free(t);
}

static void nobody_answers(void **state) {
  (void)state;
  roam_transport *t = new_transport(4);
  roam_addr remote = addr("192.0.2.1:1883");
  roam_conn *c;
  assert_int_equal(roam_transport_dial(t, NOW, &remote, NULL, NULL, NULL, NULL, &c), 0);
  uint32_t handle = next(t, ROAM_WIRE_OPEN).handle;
  expect_silence(t);
  roam_time due = roam_transport_deadline(t);
  assert_true(due > NOW && due != ROAM_NEVER);
  roam_transport_tick(t, due - 1);
  expect_silence(t);
  roam_transport_tick(t, due);
  roam_wire close = next(t, ROAM_WIRE_CLOSE);
  assert_int_equal(close.handle, handle);
  assert_int_equal(close.how, ROAM_CLOSE_RESET);
  roam_te ev = event(t, ROAM_TE_CLOSED);
  assert_int_equal(ev.rc, ROAM_E_TIMEOUT);
  assert_non_null(strstr(ev.text, "192.0.2.1:1883"));
  roam_conn_release(c);
  roam_transport_free(t);
}

static void beyond_conns_max_they_are_turned_away(void **state) {
  (void)state;
  roam_transport *t = new_transport(1);
  uint32_t listener = listening(t);
  accepted(t, listener, ROAM_HANDLE_EDGE | 1);
  feed(t, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | 2, .parent = listener});
  roam_wire close = next(t, ROAM_WIRE_CLOSE);
  assert_int_equal(close.handle, ROAM_HANDLE_EDGE | 2);
  assert_int_equal(close.how, ROAM_CLOSE_RESET);
  assert_int_equal(roam_transport_refused(t), 1);
  roam_te ev;
  assert_int_equal(roam_transport_poll(t, &ev, 1), 0); /* the owner never hears of it */
  roam_transport_free(t);
}

static void bytes_go_out_as_far_as_there_is_credit(void **state) {
  (void)state;
  static const uint8_t bytes[1000];
  roam_transport *t = new_transport(4);
  uint32_t handle = ROAM_HANDLE_EDGE | 1;
  roam_conn *c = accepted(t, listening(t), handle);
  roam_slice slice = {.base = bytes, .len = sizeof bytes};
  uint64_t sent = 0;
  for (int i = 0; i < ROAM_CREDIT_START / 1000; i++) {
    assert_int_equal(roam_conn_write(c, NOW, 0, &slice, 1), 0);
    assert_int_equal(roam_conn_write(c, NOW, 0, &slice, 1), ROAM_E_BLOCKED); /* lane_tx_bytes */
    sent += next(t, ROAM_WIRE_DATA).len;
    expect_silence(t);
    event(t, ROAM_TE_WRITABLE);
  }
  assert_int_equal(roam_conn_write(c, NOW, 0, &slice, 1), 0);
  sent += next(t, ROAM_WIRE_DATA).len;
  assert_int_equal(sent, ROAM_CREDIT_START);
  expect_silence(t);
  feed(t, (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = handle, .credit = 10});
  assert_int_equal(next(t, ROAM_WIRE_DATA).len, 10);
  roam_transport_free(t);
}

static void more_than_was_granted_is_a_fault_of_the_edge(void **state) {
  (void)state;
  static uint8_t bytes[ROAM_CREDIT_START];
  roam_transport *t = new_transport(4);
  uint32_t handle = ROAM_HANDLE_EDGE | 1;
  roam_conn *c = accepted(t, listening(t), handle);
  feed(t, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = handle, .data = bytes, .len = sizeof bytes});
  event(t, ROAM_TE_READABLE);
  expect_silence(t); /* nothing has been read: nothing is granted */
  roam_conn_consume(c, NOW, 0, 1000);
  assert_int_equal(next(t, ROAM_WIRE_CREDIT).credit, 1000); /* it had none left */
  feed(t, (roam_wire){.kind = ROAM_WIRE_DATA, .handle = handle, .data = bytes, .len = 1001});
  assert_int_equal(next(t, ROAM_WIRE_CLOSE).how, ROAM_CLOSE_RESET);
  assert_int_equal(event(t, ROAM_TE_CLOSED).rc, ROAM_E_INTERNAL);
  roam_conn_release(c);
  roam_transport_free(t);
}

static void an_orderly_end_comes_after_the_last_byte(void **state) {
  (void)state;
  roam_transport *t = new_transport(4);
  roam_conn *c = accepted(t, listening(t), ROAM_HANDLE_EDGE | 1);
  roam_slice slice = {.base = (const uint8_t *)"bye", .len = 3};
  assert_int_equal(roam_conn_write(c, NOW, 0, &slice, 1), 0);
  roam_conn_close(c, NOW, 0, true);
  assert_int_equal(roam_conn_write(c, NOW, 0, &slice, 1), ROAM_E_CLOSED);
  assert_int_equal(next(t, ROAM_WIRE_DATA).len, 3);
  assert_int_equal(next(t, ROAM_WIRE_CLOSE).how, ROAM_CLOSE_FLUSH);
  assert_int_equal(event(t, ROAM_TE_CLOSED).rc, 0);
  roam_conn_release(c);
  expect_silence(t);
  roam_transport_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(options_that_cannot_be),
      cmocka_unit_test(a_listener_comes_and_goes),
      cmocka_unit_test(a_listener_that_cannot_be_is_told_and_forgotten),
      cmocka_unit_test(names_of_listeners),
      cmocka_unit_test(what_may_be_dialled),
      cmocka_unit_test(nobody_answers),
      cmocka_unit_test(beyond_conns_max_they_are_turned_away),
      cmocka_unit_test(bytes_go_out_as_far_as_there_is_credit),
      cmocka_unit_test(more_than_was_granted_is_a_fault_of_the_edge),
      cmocka_unit_test(an_orderly_end_comes_after_the_last_byte),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
