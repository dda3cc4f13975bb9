/* Throw-away identities: what is in them, and names that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <gnutls/x509.h>
#include <roamqtt/tls.h>
#include <string.h>

#define WALL INT64_C(1750000000)

static gnutls_x509_crt_t read_pem(const char *pem) {
  gnutls_x509_crt_t crt;
  gnutls_datum_t d = {(unsigned char *)(uintptr_t)pem, (unsigned)strlen(pem)};
  assert_int_equal(gnutls_x509_crt_init(&crt), 0);
  assert_int_equal(gnutls_x509_crt_import(crt, &d, GNUTLS_X509_FMT_PEM), 0);
  return crt;
}

static void names_and_times(void **state) {
  (void)state;
  roam_identity id;
  assert_int_equal(roam_identity_make(&id, "broker", "localhost, 127.0.0.1,::1", WALL, 10, false), 0);
  gnutls_x509_crt_t crt = read_pem(id.certificate), ca = read_pem(id.ca_certificate);
  assert_true(gnutls_x509_crt_check_hostname(crt, "localhost"));
  assert_true(gnutls_x509_crt_check_hostname(crt, "127.0.0.1"));
  assert_true(gnutls_x509_crt_check_hostname(crt, "::1"));
  assert_false(gnutls_x509_crt_check_hostname(crt, "broker"));
  assert_true(gnutls_x509_crt_check_issuer(crt, ca));
  assert_true(gnutls_x509_crt_get_ca_status(ca, NULL) == 1);
  assert_true(gnutls_x509_crt_get_ca_status(crt, NULL) == 0);
  assert_int_equal(gnutls_x509_crt_get_activation_time(crt), WALL - 3600);
  assert_int_equal(gnutls_x509_crt_get_expiration_time(crt), WALL + 10 * 86400);
  assert_non_null(strstr(id.key, "PRIVATE KEY"));
  gnutls_x509_crt_deinit(crt);
  gnutls_x509_crt_deinit(ca);
  roam_identity_clear(&id);
  roam_identity_clear(&id);
}

static void another_leaf_of_the_same_authority(void **state) {
  (void)state;
  roam_identity a, b;
  assert_int_equal(roam_identity_make(&a, "broker", "localhost", WALL, 10, false), 0);
  roam_bytes ca = {(const uint8_t *)a.ca_certificate, strlen(a.ca_certificate)};
  roam_bytes key = {(const uint8_t *)a.ca_key, strlen(a.ca_key)};
  assert_int_equal(roam_identity_issue(&b, ca, key, "device", "device-7", WALL, 10, true), 0);
  assert_string_equal(a.ca_certificate, b.ca_certificate);
  gnutls_x509_crt_t issuer = read_pem(b.ca_certificate), crt = read_pem(b.certificate);
  unsigned status = 1;
  assert_true(gnutls_x509_crt_verify(crt, &issuer, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) >= 0);
  assert_int_equal(status, 0);
  gnutls_x509_crt_deinit(issuer);
  gnutls_x509_crt_deinit(crt);
  roam_identity_clear(&a);
  roam_identity_clear(&b);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  roam_identity id;
  roam_bytes nonsense = {(const uint8_t *)"nonsense", 8};
  assert_int_equal(roam_identity_make(&id, "x", "", WALL, 10, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_identity_make(&id, "x", NULL, WALL, 10, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_identity_make(&id, NULL, "localhost", WALL, 10, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_identity_make(&id, "x", "localhost", WALL, 0, false), ROAM_E_ARGUMENT);
  assert_int_equal(roam_identity_issue(&id, nonsense, nonsense, "x", "localhost", WALL, 10, false), ROAM_E_TLS);
  assert_null(id.certificate);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_and_times),
      cmocka_unit_test(another_leaf_of_the_same_authority),
      cmocka_unit_test(what_cannot_be_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
