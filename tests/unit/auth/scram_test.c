/* scram_test.c - SCRAM-SHA-256: the exchange of RFC 7677, section 3, both sides, and all that is not one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scram.h"
#include "base/rng.h"

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define CLIENT_FIRST "n,,n=user,r=" CLIENT_NONCE
#define SERVER_FIRST "r=" CLIENT_NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define CLIENT_FINAL "c=biws,r=" CLIENT_NONCE SERVER_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
/* "pencil" with that salt */
#define USER_LINE                                                                                                          \
  "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                         \
  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

static void assert_says(const struct roam_scram_message *m, const char *want) {
  char got[ROAM_SCRAM_TEXT_MAX + 1];
  memcpy(got, m->text, m->len);
  got[m->len] = 0;
  assert_string_equal(got, want);
}

static struct roam_passwords *read_file(const char *file) {
  roam_access_fault fault;
  roam_rc rc;
  struct roam_rng rng;
  roam_rng_init(&rng, 3);
  struct roam_passwords *p = roam_passwords_new(text(file), &rng.random, &fault, &rc);
  assert_non_null(p);
  return p;
}

static void the_exchange_of_rfc_7677(void **state) {
  (void)state;
  struct roam_scram_server s;
  struct roam_scram_client c = {0};
  struct roam_passwords *p = read_file(USER_LINE);
  assert_int_equal(roam_scram_client_first(&c, text("user"), CLIENT_NONCE), 0);
  assert_says(&c.reply, CLIENT_FIRST);
  assert_int_equal(roam_scram_server_first(&s, text(CLIENT_FIRST), p, SERVER_NONCE), 0);
  assert_says(&s.reply, SERVER_FIRST);
  assert_int_equal(roam_scram_client_final(&c, text(SERVER_FIRST), text("pencil")), 0);
  assert_says(&c.reply, CLIENT_FINAL);
  assert_int_equal(roam_scram_server_final(&s, text(CLIENT_FINAL)), 0);
  assert_says(&s.reply, SERVER_FINAL);
  assert_int_equal(roam_scram_client_check(&c, text(SERVER_FINAL)), 0);
  assert_int_equal(s.user_len, 4);
  roam_passwords_free(p);
}

static roam_rc run(const struct roam_passwords *p, const char *user, const char *password) {
  struct roam_scram_server s;
  struct roam_scram_client c = {0};
  struct roam_rng rng;
  char nonce[ROAM_SCRAM_NONCE_LEN + 1];
  roam_rng_init(&rng, 9);
  assert_true(roam_scram_nonce(&rng.random, nonce));
  roam_rc rc = roam_scram_client_first(&c, text(user), nonce);
  if (rc != 0) return rc;
  assert_true(roam_scram_nonce(&rng.random, nonce));
  rc = roam_scram_server_first(&s, (roam_bytes){(uint8_t *)c.reply.text, c.reply.len}, p, nonce);
  if (rc != 0) return rc;
  rc = roam_scram_client_final(&c, (roam_bytes){(uint8_t *)s.reply.text, s.reply.len}, text(password));
  if (rc != 0) return rc;
  rc = roam_scram_server_final(&s, (roam_bytes){(uint8_t *)c.reply.text, c.reply.len});
  return rc != 0 ? rc : roam_scram_client_check(&c, (roam_bytes){(uint8_t *)s.reply.text, s.reply.len});
}

static void one_password_file_serves_both(void **state) {
  (void)state;
  struct roam_rng rng;
  char hash[ROAM_PASSWORD_TEXT_MAX], file[1024];
  roam_rng_init(&rng, 5);
  assert_int_equal(roam_password_make(hash, text("s3cret"), 4096, &rng.random), 0);
  snprintf(file, sizeof file,
           USER_LINE "a=b,c:%s\nold:$6$6lib3c9k003O0EMa$ezpynnHTLL9E1dmUskSwe2cGcBHitaqqJDzdCuSvSytwauYXF"
                     "4qAGn32Xrif0piCdsT7MKJvsplCeIFZgX+6Wg==\n",
           hash);
  struct roam_passwords *p = read_file(file);
  assert_int_equal(run(p, "user", "pencil"), 0);
  assert_int_equal(run(p, "user", "Pencil"), ROAM_E_REFUSED);
  assert_int_equal(run(p, "a=b,c", "s3cret"), 0);
  assert_int_equal(run(p, "nobody", "pencil"), ROAM_E_REFUSED); /* refused like a wrong password, and no sooner */
  assert_int_equal(run(p, "old", "geheim"), ROAM_E_REFUSED);    /* that hash cannot serve */
  roam_passwords_free(p);
}

static void firsts_that_are_none(void **state) {
  (void)state;
  static const struct {
    const char *name, *message;
    roam_rc rc;
  } cases[] = {
      {"empty", "", ROAM_E_MALFORMED},
      {"channel binding", "p=tls-unique,,n=user,r=abc", ROAM_E_UNSUPPORTED},
      {"no header", "n=user,r=abc", ROAM_E_MALFORMED},
      {"unknown flag", "x,,n=user,r=abc", ROAM_E_MALFORMED},
      {"for another", "n,a=root,n=user,r=abc", ROAM_E_UNSUPPORTED},
      {"mandatory extension", "n,,m=x,n=user,r=abc", ROAM_E_UNSUPPORTED},
      {"no name", "n,,n=,r=abc", ROAM_E_MALFORMED},
      {"bad escape", "n,,n=a=2,r=abc", ROAM_E_MALFORMED},
      {"bad escape at the end", "n,,n=a=,r=abc", ROAM_E_MALFORMED},
      {"no nonce", "n,,n=user", ROAM_E_MALFORMED},
      {"empty nonce", "n,,n=user,r=", ROAM_E_MALFORMED},
      {"nonce with a blank", "n,,n=user,r=a b", ROAM_E_MALFORMED},
      {"order", "n,,r=abc,n=user", ROAM_E_MALFORMED},
      {"fine with an extension", "y,,n=user,r=abc,x=y", 0},
  };
  struct roam_passwords *p = read_file(USER_LINE);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_scram_server s;
    roam_rc rc = roam_scram_server_first(&s, text(cases[i].message), p, SERVER_NONCE);
    if (rc != cases[i].rc) fail_msg("%s: %d", cases[i].name, rc);
  }
  roam_passwords_free(p);
}

static void finals_that_are_none(void **state) {
  (void)state;
  static const struct {
    const char *name, *message;
    roam_rc rc;
  } cases[] = {
      {"empty", "", ROAM_E_MALFORMED},
      {"another binding",
       "c=eSws,r=" CLIENT_NONCE SERVER_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", ROAM_E_MALFORMED},
      {"another nonce", "c=biws,r=" CLIENT_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", ROAM_E_REFUSED},
      {"no proof", "c=biws,r=" CLIENT_NONCE SERVER_NONCE, ROAM_E_MALFORMED},
      {"short proof", "c=biws,r=" CLIENT_NONCE SERVER_NONCE ",p=AAAA", ROAM_E_MALFORMED},
      {"something behind the proof", CLIENT_FINAL ",x=y", ROAM_E_MALFORMED},
      {"a proof of nothing",
       "c=biws,r=" CLIENT_NONCE SERVER_NONCE ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ROAM_E_REFUSED},
      {"an extension that was not signed",
       "c=biws,r=" CLIENT_NONCE SERVER_NONCE ",x=y,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", ROAM_E_REFUSED},
  };
  struct roam_passwords *p = read_file(USER_LINE);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_scram_server s;
    assert_int_equal(roam_scram_server_first(&s, text(CLIENT_FIRST), p, SERVER_NONCE), 0);
    roam_rc rc = roam_scram_server_final(&s, text(cases[i].message));
    if (rc != cases[i].rc) fail_msg("%s: %d", cases[i].name, rc);
    assert_int_equal(roam_scram_server_final(&s, text(CLIENT_FINAL)), ROAM_E_MALFORMED); /* one try for each exchange */
  }
  roam_passwords_free(p);
}

static void a_server_that_is_none(void **state) {
  (void)state;
  static const struct {
    const char *name, *message;
    roam_rc rc;
  } cases[] = {
      {"empty", "", ROAM_E_MALFORMED},
      {"another nonce", "r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ROAM_E_MALFORMED},
      {"ours alone", "r=" CLIENT_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ROAM_E_MALFORMED},
      {"no salt", "r=" CLIENT_NONCE "x,i=4096", ROAM_E_MALFORMED},
      {"few iterations", "r=" CLIENT_NONCE "x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", ROAM_E_LIMIT},
      {"iterations for a day", "r=" CLIENT_NONCE "x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000", ROAM_E_LIMIT},
      {"an error", "e=other-error", ROAM_E_MALFORMED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_scram_client c = {0};
    assert_int_equal(roam_scram_client_first(&c, text("user"), CLIENT_NONCE), 0);
    roam_rc rc = roam_scram_client_final(&c, text(cases[i].message), text("pencil"));
    if (rc != cases[i].rc) fail_msg("%s: %d", cases[i].name, rc);
  }
  struct roam_scram_client c = {0};
  assert_int_equal(roam_scram_client_check(&c, text(SERVER_FINAL)), ROAM_E_MALFORMED); /* before anything was proven */
  assert_int_equal(roam_scram_client_first(&c, text("user"), CLIENT_NONCE), 0);
  assert_int_equal(roam_scram_client_final(&c, text(SERVER_FIRST), text("pencil")), 0);
  assert_int_equal(roam_scram_client_check(&c, text("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")), ROAM_E_REFUSED);
  char long_name[ROAM_SCRAM_USER_MAX + 2] = {0};
  memset(long_name, 'u', ROAM_SCRAM_USER_MAX + 1);
  assert_int_equal(roam_scram_client_first(&c, text(long_name), CLIENT_NONCE), ROAM_E_LIMIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_exchange_of_rfc_7677), cmocka_unit_test(one_password_file_serves_both),
      cmocka_unit_test(firsts_that_are_none),     cmocka_unit_test(finals_that_are_none),
      cmocka_unit_test(a_server_that_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
