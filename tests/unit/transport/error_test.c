/* Numbers to sentences: every one has a meaning, and a stranger's text stays harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "transport/error.h"

static void errnos(void **state) {
  static const struct {
    int error;
    roam_rc rc;
    const char *text;
  } cases[] = {
      {ECONNREFUSED, ROAM_E_CONN_REFUSED, "connecting to 10.1.2.3:4: connection refused"},
      {ETIMEDOUT, ROAM_E_TIMEOUT, "timed out"},
      {ENETUNREACH, ROAM_E_UNREACHABLE, "network unreachable"},
      {EHOSTUNREACH, ROAM_E_UNREACHABLE, "host unreachable"},
      {EADDRINUSE, ROAM_E_ADDRESS_IN_USE, "already in use"},
      {EADDRNOTAVAIL, ROAM_E_ADDRESS_NOT_AVAILABLE, "no such address"},
      {EACCES, ROAM_E_PERMISSION, "permission"},
      {ECONNRESET, ROAM_E_LOST, "reset"},
      {EXDEV, ROAM_E_IO, "errno"},
  };
  (void)state;
  roam_addr addr;
  assert_int_equal(roam_addr_parse("10.1.2.3:4", &addr), 0);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[ROAM_CONN_TEXT_MAX];
    assert_int_equal(roam_error_from_errno(cases[i].error, "connecting to", &addr, text), cases[i].rc);
    if (!strstr(text, cases[i].text)) fail_msg("%d: %s", cases[i].error, text);
  }
}

static void quic_codes(void **state) {
  static const struct {
    uint64_t code;
    bool handshaking;
    roam_rc rc;
    const char *text;
  } cases[] = {
      {0, false, 0, "closed by the peer"},
      {2, true, ROAM_E_REFUSED, "refuses"},
      {0x178, true, ROAM_E_ALPN, "speaks QUIC but not MQTT"},
      {0x132, true, ROAM_E_ALPN, "speaks QUIC but not MQTT"},
      {0x132, false, ROAM_E_TLS, "alert 50"},
      {0x174, true, ROAM_E_CERTIFICATE, "demands a client certificate"},
      {0x12a, true, ROAM_E_CERTIFICATE, "did not accept our certificate"},
      {0x130, true, ROAM_E_CERTIFICATE, "authority"},
      {0x15a, true, ROAM_E_REFUSED, "overloaded"},
      {0x7, false, ROAM_E_PROTOCOL, "could not read a frame"},
      {0x10, false, ROAM_E_UNREACHABLE, "no path"},
      {0x170, true, ROAM_E_TLS, "server_name"},
      {0x5, false, ROAM_E_PROTOCOL, "0x5"},
      {UINT64_MAX >> 2, false, ROAM_E_PROTOCOL, "0x3fff"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[ROAM_CONN_TEXT_MAX];
    roam_rc rc = roam_error_from_quic(cases[i].code, cases[i].handshaking, (roam_bytes){0}, text);
    if (rc != cases[i].rc || !strstr(text, cases[i].text))
      fail_msg("0x%llx: %d %s", (unsigned long long)cases[i].code, rc, text);
  }
}

static void a_strangers_reason_is_cleaned_and_cut(void **state) {
  (void)state;
  char text[ROAM_CONN_TEXT_MAX];
  uint8_t reason[2000];
  memset(reason, '\n', sizeof reason);
  memcpy(reason, "go \x1b[31maway", 12);
  roam_error_from_quic(7, false, (roam_bytes){reason, sizeof reason}, text);
  assert_non_null(strstr(text, ": go ?[31maway"));
  assert_true(strlen(text) < sizeof text);
  for (const char *c = text; *c; c++) assert_true(*c >= 0x20 && *c < 0x7f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(errnos),
      cmocka_unit_test(quic_codes),
      cmocka_unit_test(a_strangers_reason_is_cleaned_and_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
