/* err_test.c - names and texts are complete and distinct. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/event.h>

static void names_errors(void **state) {
  (void)state;
  assert_string_equal(roam_strerror(0), "ok");
  assert_string_equal(roam_strerror(ROAM_E_TIMEOUT), "timed out");
  assert_string_equal(roam_error_name(ROAM_E_TIMEOUT), "ROAM_E_TIMEOUT");
  assert_string_equal(roam_strerror(-77), "unknown error");
  assert_string_equal(roam_strerror(1), "unknown error");
#define X(name, number, text)                                                                                              \
  assert_string_equal(roam_strerror(number), text);                                                                        \
  assert_string_equal(roam_error_name(ROAM_E_##name), "ROAM_E_" #name);
  ROAM_ERROR_MAP(X)
#undef X
}

static void names_events_and_transports(void **state) {
  (void)state;
  assert_string_equal(roam_event_name(ROAM_EV_CONNECTED), "CONNECTED");
  assert_string_equal(roam_event_name(ROAM_EV_LOAD_DONE), "LOAD_DONE");
  assert_string_equal(roam_event_name(999), "?");
  assert_string_equal(roam_transport_name(ROAM_TRANSPORT_QUIC), "quic");
  assert_string_equal(roam_transport_name(ROAM_TRANSPORT_WSS), "wss");
  assert_string_equal(roam_transport_name(0), "?");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(names_errors), cmocka_unit_test(names_events_and_transports)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
