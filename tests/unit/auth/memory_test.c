/* memory_test.c - password files, access lists and SCRAM when memory runs out: an error that says so, nothing lost, and
 * what is made in spite of it is right. Under a sanitizer the allocator is its own; there everything runs once, without
 * failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/acl.h"
#include "auth/scram.h"
#include "unit/failing_malloc.h"

static const char users[] =
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
    "other:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";
static const char list[] = "topic read public/#\nuser alice\ntopic readwrite home/+/x\ntopic deny home/secret/#\n"
                           "pattern write in/%c/%u\nuser bob\ntopic write b\n";

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

static roam_bytes said(const struct roam_scram_message *m) { return (roam_bytes){(const uint8_t *)m->text, m->len}; }

/* ---- what is tried; true: it was done ---- */

static bool passwords(void) {
  roam_access_fault fault;
  roam_rc rc = 0;
  struct roam_password_check check;
  uint32_t budget = 100000;
  struct roam_passwords *p = ARMED(roam_passwords_new(text(users), NULL, &fault, &rc));
  if (!p) {
    assert_int_equal(rc, ROAM_E_MEMORY);
    return false;
  }
  const struct roam_password *line = roam_passwords_find(p, text("other"));
  assert_non_null(line);
  rc = ARMED(roam_password_check_begin(&check, line, text("pencil")));
  bool done = rc == 0;
  if (done) {
    armed = true;
    while (!roam_password_check_step(&check, &budget)) budget = 100000;
    done = roam_password_check_end(&check);
    armed = false;
    assert_true(done || fail_at == 0); /* a hash that got no memory proves nothing */
  }
  roam_passwords_free(p);
  return done;
}

static bool acl(void) {
  roam_access_fault fault;
  roam_rc rc = 0;
  struct roam_acl *a = ARMED(roam_acl_new(text(list), &fault, &rc));
  if (!a) {
    assert_int_equal(rc, ROAM_E_MEMORY);
    return false;
  }
  struct roam_acl_who who = {.number = ROAM_ACL_ANONYMOUS},
                      alice = {roam_acl_find(a, text("alice")), text("alice"), text("c1")};
  assert_true(roam_acl_may(a, &who, text("public/x"), ROAM_ACL_READ));
  assert_false(roam_acl_may(a, &who, text("home/a/x"), ROAM_ACL_READ));
  assert_true(roam_acl_may(a, &alice, text("home/a/x"), ROAM_ACL_WRITE));
  assert_false(roam_acl_may(a, &alice, text("home/secret/x"), ROAM_ACL_READ));
  assert_true(roam_acl_may(a, &alice, text("in/c1/alice"), ROAM_ACL_WRITE));
  roam_acl_free(a);
  return true;
}

static bool checks(void) {
  roam_access_fault fault;
  roam_rc one = ARMED(roam_passwords_check(text(users), &fault));
  roam_rc other = ARMED(roam_acl_check(text(list), &fault));
  assert_true((one == 0 || one == ROAM_E_MEMORY) && (other == 0 || other == ROAM_E_MEMORY));
  return one == 0 && other == 0;
}

static bool scram(void) {
  roam_access_fault fault;
  roam_rc rc = 0;
  struct roam_scram_client c = {0};
  struct roam_scram_server s;
  struct roam_passwords *p = roam_passwords_new(text(users), NULL, &fault, &rc);
  assert_non_null(p);
  rc = ARMED(roam_scram_client_first(&c, text("user"), "clientclientclientclient"));
  if (rc == 0) rc = ARMED(roam_scram_server_first(&s, said(&c.reply), p, "serverserverserverserver"));
  if (rc == 0) rc = ARMED(roam_scram_client_final(&c, said(&s.reply), text("pencil")));
  if (rc == 0) rc = ARMED(roam_scram_server_final(&s, said(&c.reply)));
  if (rc == 0) rc = ARMED(roam_scram_client_check(&c, said(&s.reply)));
  roam_passwords_free(p);
  if (fail_at > 0 || !CAN_FAIL) assert_int_equal(rc, 0); /* nothing was refused */
  return rc == 0;
}

static void fails_cleanly(bool (*what)(void)) {
  assert_true(what());
  for (long n = 1; CAN_FAIL && n < 10000; n++) {
    long before = live;
    fail_at = n;
    bool done = what();
    bool came = fail_at == 0;
    fail_at = 0;
    if (live != before) fail_msg("request %ld: %ld blocks lost", n, live - before);
    if (came) continue;
    assert_true(done);
    return;
  }
  assert_false(CAN_FAIL);
}

static void passwords_fail(void **state) {
  (void)state;
  fails_cleanly(passwords);
}

static void lists_fail(void **state) {
  (void)state;
  fails_cleanly(acl);
}

static void checks_fail(void **state) {
  (void)state;
  fails_cleanly(checks);
}

static void scram_fails(void **state) {
  (void)state;
  fails_cleanly(scram);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(passwords_fail), cmocka_unit_test(lists_fail),
                                     cmocka_unit_test(checks_fail), cmocka_unit_test(scram_fails)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
