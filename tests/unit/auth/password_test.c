/* password_test.c - password files: the three forms, what is refused and in which line, checks in slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <gnutls/crypto.h>

#include "auth/password.h"
#include "base/rng.h"

/* Made by mosquitto_passwd 2.0.11: alice has "secret" (PBKDF2), bob has "geheim" (-H sha512). */
#define ALICE                                                                                                              \
  "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"                   \
  "Uz4ecVxcRbxCbzkA=="
#define BOB                                                                                                                \
  "bob:$6$6lib3c9k003O0EMa$ezpynnHTLL9E1dmUskSwe2cGcBHitaqqJDzdCuSvSytwauYXF4qAGn32Xrif0piCdsT7MKJvsplCeIFZgX+6Wg=="
/* RFC 7677, section 3: the salt of the example. */
#define OWN_SALT "W22ZaJ0SNY7soEsUEjb6gQ=="

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

static struct roam_passwords *read_file(const char *file) {
  roam_access_fault fault;
  roam_rc rc;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  struct roam_passwords *p = roam_passwords_new(text(file), &rng.random, &fault, &rc);
  if (!p) fail_msg("line %u: %s", fault.line, fault.text);
  return p;
}

static bool check(const struct roam_password *line, const char *password, uint32_t slice, uint32_t *slices) {
  struct roam_password_check c;
  assert_int_equal(roam_password_check_begin(&c, line, text(password)), 0);
  for (*slices = 1;; ++*slices) {
    uint32_t budget = slice;
    if (roam_password_check_step(&c, &budget)) break;
    assert_int_equal(budget, 0);
  }
  return roam_password_check_end(&c);
}

static void mosquitto_files_are_read(void **state) {
  (void)state;
  uint32_t slices;
  struct roam_passwords *p = read_file("# people\n\n" ALICE "\r\n" BOB);
  const struct roam_password *alice = roam_passwords_find(p, text("alice")), *bob = roam_passwords_find(p, text("bob"));
  assert_non_null(alice);
  assert_non_null(bob);
  assert_int_equal(alice->iterations, 101);
  assert_true(check(alice, "secret", 1000, &slices));
  assert_false(check(alice, "Secret", 1000, &slices));
  assert_false(check(alice, "", 1000, &slices));
  assert_true(check(bob, "geheim", 1000, &slices));
  assert_false(check(bob, "secret", 1000, &slices));
  assert_null(roam_passwords_find(p, text("carol")));
  assert_null(roam_passwords_find(p, text("")));
  roam_passwords_free(p);
}

static void our_own_form_goes_round(void **state) {
  (void)state;
  struct roam_rng rng;
  char hash[ROAM_PASSWORD_TEXT_MAX], again[ROAM_PASSWORD_TEXT_MAX], line[300];
  uint32_t slices;
  roam_rng_init(&rng, 7);
  assert_int_equal(roam_password_make(hash, text("pa:ss$word"), 4096, &rng.random), 0);
  assert_int_equal(roam_password_make(again, text("pa:ss$word"), 4096, &rng.random), 0);
  assert_string_not_equal(hash, again); /* the salt */
  snprintf(line, sizeof line, "dave:%s\n", hash);
  struct roam_passwords *p = read_file(line);
  const struct roam_password *dave = roam_passwords_find(p, text("dave"));
  assert_non_null(dave);
  assert_true(check(dave, "pa:ss$word", UINT32_MAX, &slices));
  assert_int_equal(slices, 1);
  assert_false(check(dave, "pa:ss$wor", UINT32_MAX, &slices));
  roam_passwords_free(p);
  assert_int_equal(roam_password_make(hash, text("x"), 4095, &rng.random), ROAM_E_ARGUMENT);
  assert_int_equal(roam_password_make(hash, text("x"), 1000001, &rng.random), ROAM_E_ARGUMENT);
}

static void a_check_is_cut_into_slices(void **state) {
  (void)state;
  uint32_t slices;
  struct roam_passwords *p = read_file(ALICE "\n");
  assert_true(check(roam_passwords_find(p, text("alice")), "secret", 10, &slices));
  assert_int_equal(slices, 10); /* 100 iterations after the first */
  struct roam_password_check c;
  assert_int_equal(roam_password_check_begin(&c, roam_passwords_find(p, text("alice")), text("secret")), 0);
  uint32_t budget = 50;
  assert_false(roam_password_check_step(&c, &budget));
  assert_false(roam_password_check_end(&c)); /* what is not done is not right */
  roam_passwords_free(p);
}

static void slices_give_what_gnutls_gives(void **state) {
  (void)state;
  const gnutls_datum_t key = {(unsigned char *)"password", 8}, salt = {(unsigned char *)"saltSALT", 8};
  for (int sha512 = 0; sha512 < 2; sha512++) {
    size_t len = sha512 ? 64 : 32;
    uint8_t want[64];
    struct roam_kdf k;
    assert_int_equal(gnutls_pbkdf2(sha512 ? GNUTLS_MAC_SHA512 : GNUTLS_MAC_SHA256, &key, &salt, 777, want, len), 0);
    assert_int_equal(roam_kdf_begin(&k, sha512, text("password"), text("saltSALT"), 777), 0);
    for (uint32_t budget = 13; !roam_kdf_step(&k, &budget); budget = 13) continue;
    assert_memory_equal(k.out, want, len);
    roam_kdf_end(&k);
  }
}

static void a_stranger_looks_like_a_user(void **state) {
  (void)state;
  struct roam_password a, b, c;
  uint32_t slices;
  struct roam_passwords *p = read_file(ALICE "\n");
  roam_passwords_decoy(p, text("eve"), &a);
  roam_passwords_decoy(p, text("eve"), &b);
  roam_passwords_decoy(p, text("mallory"), &c);
  assert_int_equal(a.kind, ROAM_PASSWORD_PBKDF2_SHA512);
  assert_int_equal(a.iterations, 101);
  assert_memory_equal(a.salt, b.salt, sizeof a.salt);
  assert_memory_not_equal(a.salt, c.salt, a.salt_len);
  assert_false(check(&a, "anything", 1000, &slices));
  roam_passwords_free(p);
}

static void bad_lines_are_named(void **state) {
  (void)state;
  static const struct {
    const char *name, *file;
    uint32_t line;
  } cases[] = {
      {"no colon", ALICE "\nbob\n", 2},
      {"plain text", "bob:secret\n", 1},
      {"no name", ":$6$6lib3c9k003O0EMa$ezpy\n", 1},
      {"twice", ALICE "\n\n" ALICE "\n", 3},
      {"iterations missing", "a:$7$PgELaMHNZBuxchmh$I6lc\n", 1},
      {"iterations of a day",
       "a:$7$4000000000$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYE"
       "tiFHY1ThZVgl7ooCu+/Uz4ecVxcRbxCbzkA==\n",
       1},
      {"hash too short", "a:$6$6lib3c9k003O0EMa$ezpy\n", 1},
      {"no salt", "a:$6$$ezpynnHTLL9E1dmUskSwe2cGcBHitaqqJDzdCuSvSytwauYXF4qAGn32Xrif0piCdsT7MKJvsplCeIFZgX+6Wg==\n", 1},
      {"own, too few iterations", "a:SCRAM-SHA-256$4095:" OWN_SALT "$x:y\n", 1},
      {"own, cut", "a:SCRAM-SHA-256$4096:" OWN_SALT "\n", 1},
      {"own, keys that are none", "a:SCRAM-SHA-256$4096:" OWN_SALT "$AAAA:AAAA\n", 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_access_fault fault = {0};
    if (roam_passwords_check(text(cases[i].file), &fault) != ROAM_E_OPTION || fault.line != cases[i].line || !fault.text)
      fail_msg("%s: line %u %s", cases[i].name, fault.line, fault.text ? fault.text : "-");
  }
  assert_int_equal(roam_passwords_check((roam_bytes){0}, NULL), 0);
  assert_int_equal(roam_passwords_check((roam_bytes){(const uint8_t *)"a\0b:$6$x$y", 10}, NULL), ROAM_E_OPTION);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mosquitto_files_are_read),     cmocka_unit_test(our_own_form_goes_round),
      cmocka_unit_test(a_check_is_cut_into_slices),   cmocka_unit_test(slices_give_what_gnutls_gives),
      cmocka_unit_test(a_stranger_looks_like_a_user), cmocka_unit_test(bad_lines_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
