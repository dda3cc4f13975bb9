/* acl_test.c - access lists: mosquitto's syntax, order and patterns; topics and filters; what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/acl.h"

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, t ? strlen(t) : 0}; }

static struct roam_acl *read_list(const char *file) {
  roam_access_fault fault;
  roam_rc rc;
  struct roam_acl *a = roam_acl_new(text(file), &fault, &rc);
  if (!a) fail_msg("line %u: %s", fault.line, fault.text);
  return a;
}

static bool may(const struct roam_acl *a, const char *user, const char *id, const char *what, enum roam_acl_access access) {
  struct roam_acl_who who = {.number = roam_acl_find(a, text(user)), .user_name = text(user), .client_id = text(id)};
  return roam_acl_may(a, &who, text(what), access);
}

static const char list[] = "# everybody without a name\n"
                           "topic read public/#\n"
                           "\n"
                           "user alice\n"
                           "topic alice/#\n"
                           "topic deny alice/private/#\n"
                           "topic write  log/alice\r\n"
                           "topic read two words/+/end\n"
                           "user bob the builder\n"
                           "topic readwrite #\n"
                           "user alice\n"
                           "topic read $SYS/#\n"
                           "pattern readwrite home/%u/#\n"
                           "pattern read device/%c/+\n"
                           "pattern write x-%c-%u/up\n"
                           "pattern deny secret/#\n";

static void lines_count_for_whom_they_are(void **state) {
  (void)state;
  static const struct {
    const char *name, *user, *id, *what;
    int access;
    bool allowed;
  } cases[] = {
      {"anonymous reads", NULL, "c", "public/a", ROAM_ACL_READ, true},
      {"a filter's parent", NULL, "c", "public", ROAM_ACL_READ, true},
      {"anonymous writes", NULL, "c", "public/a", ROAM_ACL_WRITE, false},
      {"a user does not have what anonymous has", "alice", "c", "public/a", ROAM_ACL_READ, false},
      {"both ways without a word", "alice", "c", "alice/a", ROAM_ACL_WRITE, true},
      {"denied", "alice", "c", "alice/private/a", ROAM_ACL_READ, false},
      {"denied to its parent", "alice", "c", "alice/private", ROAM_ACL_WRITE, false},
      {"write only", "alice", "c", "log/alice", ROAM_ACL_READ, false},
      {"write", "alice", "c", "log/alice", ROAM_ACL_WRITE, true},
      {"blanks in a topic", "alice", "c", "two words/x/end", ROAM_ACL_READ, true},
      {"blanks in a name", "bob the builder", "c", "any/thing", ROAM_ACL_WRITE, true},
      {"a wildcard and $", "bob the builder", "c", "$SYS/a", ROAM_ACL_READ, false},
      {"a second section of a user", "alice", "c", "$SYS/a", ROAM_ACL_READ, true},
      {"a user without lines", "carol", "c", "public/a", ROAM_ACL_READ, false},
      {"pattern with the user", "carol", "c", "home/carol/x", ROAM_ACL_WRITE, true},
      {"of another user", "carol", "c", "home/alice/x", ROAM_ACL_WRITE, false},
      {"pattern without a user", NULL, "c", "home//x", ROAM_ACL_WRITE, false},
      {"pattern with the client", NULL, "dev7", "device/dev7/t", ROAM_ACL_READ, true},
      {"of another client", NULL, "dev7", "device/dev8/t", ROAM_ACL_READ, false},
      {"both inside a level", "carol", "dev7", "x-dev7-carol/up", ROAM_ACL_WRITE, true},
      {"and only so", "carol", "dev7", "x-dev7-carolx/up", ROAM_ACL_WRITE, false},
      {"a user's grant comes before a pattern's denial", "bob the builder", "c", "secret/a", ROAM_ACL_READ, true},
      {"a name that is a wildcard", "#", "c", "home/alice/x", ROAM_ACL_READ, false},
      {"a name that is one level more", "alice/x", "c", "home/alice/x/y", ROAM_ACL_READ, false},
      {"an id that is a wildcard", NULL, "+", "device/dev7/t", ROAM_ACL_READ, false},
      {"even to itself", NULL, "+", "device/+/t", ROAM_ACL_READ, false},
  };
  struct roam_acl *a = read_list(list);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (may(a, cases[i].user, cases[i].id, cases[i].what, cases[i].access) != cases[i].allowed)
      fail_msg("%s", cases[i].name);
  roam_acl_free(a);
}

static void filters_are_refused_when_nothing_could_come(void **state) {
  (void)state;
  static const struct {
    const char *name, *user, *filter;
    bool allowed;
  } cases[] = {
      {"everything, of which some may be read", "alice", "#", true},
      {"within a grant", "alice", "alice/+/x", true},
      {"around a grant", "alice", "+/+", true},
      {"within a denial", "alice", "alice/private/+", false},
      {"all of a denial", "alice", "alice/private/#", false},
      {"more than a denial", "alice", "alice/#", true},
      {"beside every grant", "alice", "bob/#", false},
      {"write only", "alice", "log/alice", false},
      {"two words crossed", "alice", "two words/+/+", true},
      {"two words, too long", "alice", "two words/+/end/x", false},
      {"$SYS", "alice", "$SYS/broker/#", true},
      {"$SYS is not under #", "bob the builder", "$SYS/#", false},
      {"patterns", "carol", "home/#", true},
      {"patterns of others", "carol", "home/alice/#", false},
      {"pattern denied", "carol", "secret/+", false},
  };
  struct roam_acl *a = read_list(list);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (may(a, cases[i].user, "c", cases[i].filter, ROAM_ACL_READ) != cases[i].allowed) fail_msg("%s", cases[i].name);
  roam_acl_free(a);
}

static void nothing_is_granted_by_an_empty_list(void **state) {
  (void)state;
  struct roam_acl *a = read_list("");
  assert_false(may(a, NULL, "c", "a", ROAM_ACL_READ));
  assert_false(may(a, "alice", "c", "a", ROAM_ACL_WRITE));
  roam_acl_free(a);
  roam_acl_free(NULL);
}

static void words_may_be_topics(void **state) {
  (void)state;
  struct roam_acl *a = read_list("topic reads/x\ntopic denying\n  topic\tread\tx  \n");
  assert_true(may(a, NULL, "c", "reads/x", ROAM_ACL_WRITE));
  assert_true(may(a, NULL, "c", "denying", ROAM_ACL_WRITE));
  assert_true(may(a, NULL, "c", "x", ROAM_ACL_READ));
  assert_false(may(a, NULL, "c", "x", ROAM_ACL_WRITE));
  roam_acl_free(a);
}

static void bad_lines_are_named(void **state) {
  (void)state;
  static const struct {
    const char *name, *file;
    uint32_t line;
  } cases[] = {
      {"unknown word", "topic a\nallow a\n", 2},
      {"no filter", "topic read\n", 1},
      {"nothing", "topic\n", 1},
      {"no name", "\n\nuser\n", 3},
      {"# not last", "topic a/#/b\n", 1},
      {"# not alone", "topic a#\n", 1},
      {"+ not alone", "topic a/+b\n", 1},
      {"pattern", "pattern read %u#\n", 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_access_fault fault = {0};
    if (roam_acl_check(text(cases[i].file), &fault) != ROAM_E_OPTION || fault.line != cases[i].line || !fault.text)
      fail_msg("%s: line %u", cases[i].name, fault.line);
  }
  assert_int_equal(roam_acl_check((roam_bytes){(const uint8_t *)"topic a\0b", 9}, NULL), ROAM_E_OPTION);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_count_for_whom_they_are),
      cmocka_unit_test(filters_are_refused_when_nothing_could_come),
      cmocka_unit_test(nothing_is_granted_by_an_empty_list),
      cmocka_unit_test(words_may_be_topics),
      cmocka_unit_test(bad_lines_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
