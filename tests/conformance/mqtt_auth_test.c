/* Who may come in and what they may do there: credentials, enhanced authentication (section 4.12) on both sides, and the
 * access list. docs/conformance.md has the statements' ids. */
#include "conformance/mqtt_suite.h"

#include "auth/scram.h"

#include <stdlib.h>
#include <string.h>

/* user has "pencil" (RFC 7677), alice "secret" and bob "geheim" (made by mosquitto_passwd 2.0.11). */
static const char passwords[] =
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
    "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
    "Uz4ecVxcRbxCbzkA==\n"
    "bob:$6$6lib3c9k003O0EMa$ezpynnHTLL9E1dmUskSwe2cGcBHitaqqJDzdCuSvSytwauYXF4qAGn32Xrif0piCdsT7MKJvsplCeIFZgX+6Wg==\n";

static const char list[] = "topic read public/#\n"
                           "user alice\n"
                           "topic readwrite home/#\n"
                           "topic deny home/secret/#\n"
                           "user bob\n"
                           "topic read home/#\n"
                           "pattern write in/%c/%u\n";

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

static void with_passwords(struct setting *in) {
  in->options.passwords = text(passwords);
  in->options.auth_failures_max = 0;
}

static roam_time now_of(const struct setting *in) { return roam_world_now(in->world); }

/* ---- credentials ---- */

static void the_right_password_lets_in(void **state) {
  struct setting *in = *state;
  roam_peer_info info;
  with_passwords(in);
  join(in, "id=a user=alice pass=secret");
  join(in, "v=4 id=b user=bob pass=geheim");
  join(in, "id=c user=user pass=pencil");
  assert_int_equal(roam_broker_client(in->broker, "b", &info), 0);
  assert_string_equal(info.user_name, "bob");
}

static void a_wrong_password_is_refused(void **state) {
  with_passwords(*state);
  refused(*state, "id=a user=alice pass=wrong", "rc=86 REASON_STRING=bad%20user%20name%20or%20password");
  refused(*state, "id=a user=nobody pass=secret", "rc=86");
  refused(*state, "id=a user=alice", "rc=86");
  refused(*state, "v=4 id=a user=bob pass=wrong", "rc=86");
  assert_int_equal(roam_broker_get_stats(((struct setting *)*state)->broker).auth_failures, 4);
}

static void who_must_say_who_it_is_is_told_so(void **state) {
  with_passwords(*state);
  refused(*state, "id=a", "rc=87 REASON_STRING=this%20broker%20wants%20a%20user%20name%20and%20a%20password");
  refused(*state, "v=4 id=a", "rc=87");
}

static void the_nameless_come_in_only_where_said(void **state) {
  struct setting *in = *state;
  with_passwords(in);
  in->options.allow_anonymous = true; /* and anonymous_beyond_loopback, which the suite sets: the world has no loopback */
  join(in, "id=a");
  refused(in, "id=b user=alice pass=wrong", "rc=86");
}

static void passwords_read_anew_end_those_that_are_gone(void **state) {
  struct setting *in = *state;
  roam_access_fault fault;
  with_passwords(in);
  struct peer *a = join(in, "id=a user=alice pass=secret"), *b = join(in, "id=b user=bob pass=geheim");
  assert_int_equal(roam_broker_set_passwords(in->broker, now_of(in), text("bob:plain\n"), &fault), ROAM_E_OPTION);
  assert_int_equal(fault.line, 1);
  expect_nothing(a);
  assert_int_equal(roam_broker_set_passwords(in->broker, now_of(in), text(strstr(passwords, "bob:")), NULL), 0);
  expect_end(a, "DISCONNECT rc=87");
  expect_nothing(b);
  refused(in, "id=a user=alice pass=secret", "rc=86");
}

static void a_session_belongs_to_its_user(void **state) {
  with_passwords(*state);
  struct peer *a = join(*state, "id=a user=alice pass=secret SESSION_EXPIRY_INTERVAL=60");
  refused(*state, "id=a user=bob pass=geheim clean=0", "rc=87");
  expect_nothing(a);
  hang_up(a);
  refused(*state, "id=a user=bob pass=geheim clean=1", "rc=87");
  a = knock(*state);
  say(a, "CONNECT id=a user=alice pass=secret clean=0");
  expect(a, "CONNACK rc=00 sp=1");
}

/* ---- SCRAM-SHA-256 ---- */

static void value_of(const char *line, const char *name, char *out, size_t cap) {
  const char *at = strstr(line, name);
  size_t n = 0;
  if (!at) fail_msg("no %s in\n  %s", name, line);
  for (at += strlen(name) + 1; *at && *at != ' ' && n + 1 < cap; at++, n++) {
    unsigned byte = (unsigned char)*at;
    if (*at == '%' && sscanf(at + 1, "%2x", &byte) == 1) at += 2;
    out[n] = (char)byte;
  }
  out[n] = 0;
}

static const char *reply_of(const struct roam_scram_client *c) {
  static char out[ROAM_SCRAM_TEXT_MAX + 1];
  memcpy(out, c->reply.text, c->reply.len);
  out[c->reply.len] = 0;
  return out;
}

/* From CONNECT to the client's proof; returns the peer, whose CONNACK is still to come. */
static struct peer *scram(struct setting *in, struct roam_scram_client *c, const char *user, const char *password) {
  char challenge[512];
  struct peer *p = knock(in);
  memset(c, 0, sizeof *c);
  assert_int_equal(roam_scram_client_first(c, text(user), "rOprNGfwEbeRWgbNEkqO"), 0);
  say(p, "CONNECT id=%s AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=%s", user, reply_of(c));
  value_of(expect(p, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256"), "AUTHENTICATION_DATA", challenge, sizeof challenge);
  assert_int_equal(roam_scram_client_final(c, text(challenge), text(password)), 0);
  say(p, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=%s", reply_of(c));
  return p;
}

static void server_auth_says_continue(void **state) {
  struct roam_scram_client c;
  with_passwords(*state);
  scram(*state, &c, "user", "pencil"); /* expects rc=18 */
}

static void connack_repeats_the_method(void **state) {
  struct setting *in = *state;
  struct roam_scram_client c;
  char proof[256];
  roam_peer_info info;
  with_passwords(in);
  struct peer *p = scram(in, &c, "user", "pencil");
  value_of(expect(p, "CONNACK rc=00 AUTHENTICATION_METHOD=SCRAM-SHA-256"), "AUTHENTICATION_DATA", proof, sizeof proof);
  assert_int_equal(roam_scram_client_check(&c, text(proof)), 0);
  assert_int_equal(roam_broker_client(in->broker, "user", &info), 0);
  assert_string_equal(info.user_name, "user");
}

static void a_server_may_refuse_during_authentication(void **state) {
  struct roam_scram_client c;
  with_passwords(*state);
  expect_end(scram(*state, &c, "user", "pen"), "CONNACK rc=87 !AUTHENTICATION_DATA");
  expect_end(scram(*state, &c, "nobody", "pencil"), "CONNACK rc=87");
  expect_end(scram(*state, &c, "bob", "geheim"), "CONNACK rc=87"); /* a hash that cannot serve */
  refused(*state, "id=a AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=p=tls-unique,,n=user,r=x", "rc=87");
  refused(*state, "id=a AUTHENTICATION_METHOD=SCRAM-SHA-256", "rc=87");
  refused(*state, "id=a AUTHENTICATION_METHOD=SCRAM-SHA-1 AUTHENTICATION_DATA=n,,n=user,r=x", "rc=8C");
}

static void only_auth_may_come_during_authentication(void **state) {
  with_passwords(*state);
  static const char begin[] = "CONNECT id=a AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=n,,n=user,r=x";
  static const char *const wrong[] = {"PUBLISH t=t =x", "AUTH rc=19 AUTHENTICATION_METHOD=SCRAM-SHA-256",
                                      "AUTH rc=18 AUTHENTICATION_METHOD=other"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct peer *p = knock(*state);
    say(p, "%s", begin);
    expect(p, "AUTH rc=18");
    say(p, "%s", wrong[i]);
    expect_end(p, "CONNACK rc=82");
  }
  struct peer *p = knock(*state);
  say(p, "%s", begin);
  expect(p, "AUTH rc=18");
  say(p, "DISCONNECT rc=00");
  expect_closed(p);
}

static void connect_timeout_ends_an_exchange(void **state) {
  struct setting *in = *state;
  with_passwords(in);
  struct peer *p = knock(in);
  say(p, "CONNECT id=a AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=n,,n=user,r=x");
  expect(p, "AUTH rc=18");
  pass(in, 10 * ROAM_S);
  expect_end(p, "CONNACK rc=87");
}

static void begin_again(struct peer *p, struct roam_scram_client *c, const char *user, const char *password) {
  char challenge[512];
  memset(c, 0, sizeof *c);
  assert_int_equal(roam_scram_client_first(c, text(user), "rOprNGfwEbeRWgbNEkqO"), 0);
  say(p, "AUTH rc=19 AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=%s", reply_of(c));
  value_of(expect(p, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256"), "AUTHENTICATION_DATA", challenge, sizeof challenge);
  assert_int_equal(roam_scram_client_final(c, text(challenge), text(password)), 0);
  say(p, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=%s", reply_of(c));
}

static void reauthentication_uses_the_same_method(void **state) {
  struct roam_scram_client c;
  char proof[256];
  with_passwords(*state);
  struct peer *p = scram(*state, &c, "user", "pencil");
  expect(p, "CONNACK rc=00");
  begin_again(p, &c, "user", "pencil");
  value_of(expect(p, "AUTH rc=00 AUTHENTICATION_METHOD=SCRAM-SHA-256"), "AUTHENTICATION_DATA", proof, sizeof proof);
  assert_int_equal(roam_scram_client_check(&c, text(proof)), 0);
  expect_nothing(p);
  say(p, "AUTH rc=19 AUTHENTICATION_METHOD=other");
  expect_end(p, "DISCONNECT rc=82");
}

static void failed_reauthentication_closes(void **state) {
  struct roam_scram_client c;
  with_passwords(*state);
  struct peer *p = scram(*state, &c, "user", "pencil");
  expect(p, "CONNACK rc=00");
  begin_again(p, &c, "user", "pen");
  expect_end(p, "DISCONNECT rc=87");
  p = scram(*state, &c, "user", "pencil");
  expect(p, "CONNACK rc=00");
  say(p, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256");
  expect_end(p, "DISCONNECT rc=82");
}

/* ---- the owner decides ---- */

static roam_event next_question(struct setting *in) {
  roam_event ev;
  while (roam_broker_poll(in->broker, &ev, 1) == 1)
    if (ev.kind == ROAM_EV_AUTH) return ev;
  fail_msg("the owner is asked nothing");
  return ev;
}

static void admit(struct setting *in, uint64_t peer, roam_admission admission) {
  assert_int_equal(roam_broker_admit(in->broker, now_of(in), peer, &admission), 0);
}

static bool says(roam_bytes got, const char *want) {
  return got.len == strlen(want) && memcmp(got.base, want, got.len) == 0;
}

static void the_owner_decides_later(void **state) {
  struct setting *in = *state;
  roam_peer_info info;
  in->options.decide = true;
  struct peer *p = knock(in), *q = knock(in);
  say(p, "CONNECT id=a user=carol pass=p | SUBSCRIBE id=1 f=t");
  say(q, "CONNECT id=b");
  expect_nothing(p);
  roam_event ev = next_question(in);
  assert_true(says(ev.id, "a") && says(ev.u.auth.user_name, "carol") && says(ev.u.auth.password, "p"));
  uint64_t first = ev.peer;
  ev = next_question(in);
  assert_true(says(ev.id, "b") && !ev.u.auth.user_name.base && !ev.u.auth.password.base);
  assert_true(!ev.u.auth.method.base && !ev.u.auth.data.base);
  char words[300] = "not today", long_winded[257] = {0};
  memset(long_winded, 'x', sizeof long_winded - 1);
  roam_admission wordy = {.reason = ROAM_REASON_BANNED, .text = long_winded};
  assert_int_equal(roam_broker_admit(in->broker, now_of(in), ev.peer, &wordy), ROAM_E_ARGUMENT);
  admit(in, ev.peer, (roam_admission){.reason = ROAM_REASON_BANNED, .text = words});
  memset(words, 'x', sizeof words - 1); /* copied: the answer is not out yet */
  expect_end(q, "CONNACK rc=8A REASON_STRING=not%%20today");
  pass(in, 5 * ROAM_S); /* the first one waits on */
  admit(in, first, (roam_admission){.user_name = "Carol"});
  expect(p, "CONNACK rc=00");
  expect(p, "SUBACK id=1");
  assert_int_equal(roam_broker_client(in->broker, "a", &info), 0);
  assert_string_equal(info.user_name, "Carol");
  assert_int_equal(roam_broker_admit(in->broker, now_of(in), first, &(roam_admission){0}), ROAM_E_NOT_FOUND);
  p = knock(in);
  say(p, "CONNECT id=c");
  pass(in, 10 * ROAM_S);
  expect_end(p, "CONNACK rc=88");
}

static void the_owners_methods_take_as_many_rounds_as_they_like(void **state) {
  struct setting *in = *state;
  in->options.decide = true;
  struct peer *p = knock(in);
  say(p, "CONNECT id=a AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=one");
  expect_nothing(p);
  roam_event ev = next_question(in);
  assert_true(says(ev.u.auth.method, "m") && says(ev.u.auth.data, "one") && ev.u.auth.round == 0 && !ev.u.auth.again);
  for (int round = 1; round <= 3; round++) {
    admit(in, ev.peer, (roam_admission){.reason = ROAM_REASON_CONTINUE_AUTHENTICATION, .data = text("more")});
    expect(p, "AUTH rc=18 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=more");
    say(p, "AUTH rc=18 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=next");
    expect_nothing(p);
    ev = next_question(in);
    assert_true(says(ev.u.auth.data, "next") && ev.u.auth.round == round);
  }
  admit(in, ev.peer, (roam_admission){.data = text("fine"), .user_name = "dave"});
  expect(p, "CONNACK rc=00 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=fine");
  say(p, "AUTH rc=19 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=again");
  expect_nothing(p);
  ev = next_question(in);
  assert_true(ev.u.auth.again && says(ev.id, "a") && says(ev.u.auth.data, "again"));
  admit(in, ev.peer, (roam_admission){.data = text("still")});
  expect(p, "AUTH rc=00 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=still");
  say(p, "AUTH rc=19 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=again");
  expect_nothing(p);
  ev = next_question(in);
  admit(in, ev.peer, (roam_admission){.reason = ROAM_REASON_NOT_AUTHORIZED});
  expect_end(p, "DISCONNECT rc=87");
}

static void those_that_wait_are_bounded(void **state) {
  struct setting *in = *state;
  in->options.decide = true;
  in->options.auth_waiting_max = 2;
  struct peer *p = knock(in), *q = knock(in);
  say(p, "CONNECT id=a");
  say(q, "CONNECT id=b");
  expect_nothing(p);
  refused(in, "id=c", "rc=89");
  hang_up(p);
  pass(in, ROAM_S);
  p = knock(in);
  say(p, "CONNECT id=c"); /* whoever leaves makes room */
  expect_nothing(p);
}

/* ---- the access list ---- */

static void with_list(struct setting *in) {
  with_passwords(in);
  in->options.acl = text(list);
  in->options.allow_anonymous = true;
}

static void a_subscription_to_nothing_is_refused(void **state) {
  with_list(*state);
  struct peer *a = join(*state, "id=a user=alice pass=secret"), *n = join(*state, "id=n");
  say(a, "SUBSCRIBE id=1 f=home/+ f=home/secret/# f=public/# f=# f=$share/g/home/secret/x f=in/a/alice");
  expect(a, "SUBACK id=1 codes=00.87.87.00.87.87");
  say(n, "SUBSCRIBE id=2 f=public/a f=home/#");
  expect(n, "SUBACK id=2 codes=00.87");
  struct peer *old = join(*state, "v=4 id=o");
  say(old, "SUBSCRIBE id=3 f=public/a f=home/#");
  expect(old, "SUBACK id=3 codes=00.80");
}

static void a_publish_that_is_not_allowed_reaches_nobody(void **state) {
  struct setting *in = *state;
  with_list(in);
  struct peer *a = join(in, "id=a user=alice pass=secret"), *b = join(in, "id=b user=bob pass=geheim");
  say(a, "SUBSCRIBE id=1 f=#");
  expect(a, "SUBACK");
  say(b, "PUBLISH t=home/x q=0 =0 | PUBLISH t=home/x q=1 id=5 =1 | PUBLISH t=home/x q=2 id=6 =2 | PUBLISH t=in/b/bob q=1 "
         "id=7 =3 | "
         "PUBLISH t=in/a/bob q=1 id=8 =4");
  expect(b, "PUBACK id=5 rc=87");
  expect(b, "PUBREC id=6 rc=87");
  expect(b, "PUBACK id=7 rc=00");
  expect(b, "PUBACK id=8 rc=87");
  expect_nothing(a);
  assert_int_equal(roam_broker_get_stats(in->broker).acl_denied, 5); /* the third is not for a */
}

static void messages_are_checked_on_their_way_out(void **state) {
  struct setting *in = *state;
  with_list(in);
  struct peer *a = join(in, "id=a user=alice pass=secret");
  assert_int_equal(roam_broker_publish(in->broker, now_of(in), text("home/secret/r"), text("r"), 0, true), 0);
  assert_int_equal(roam_broker_publish(in->broker, now_of(in), text("home/r"), text("r"), 0, true), 0);
  say(a, "SUBSCRIBE id=1 f=home/#");
  expect(a, "SUBACK codes=00");
  expect(a, "PUBLISH t=home/r =r r=1");
  assert_int_equal(roam_broker_publish(in->broker, now_of(in), text("home/secret/x"), text("x"), 0, false), 0);
  assert_int_equal(roam_broker_publish(in->broker, now_of(in), text("home/x"), text("x"), 0, false), 0);
  expect(a, "PUBLISH t=home/x =x");
  assert_int_equal(roam_broker_set_acl(in->broker, now_of(in), text("topic #\n"), NULL), 0);
  assert_int_equal(roam_broker_publish(in->broker, now_of(in), text("home/x"), text("y"), 0, false), 0);
  expect_nothing(a); /* the list has changed under the subscription */
  assert_int_equal(roam_broker_set_acl(in->broker, now_of(in), text("pattern read home/#\n"), NULL), 0);
  assert_int_equal(roam_broker_publish(in->broker, now_of(in), text("home/x"), text("z"), 0, false), 0);
  expect(a, "PUBLISH t=home/x =z");
}

static void a_will_that_is_not_allowed_is_refused(void **state) {
  struct setting *in = *state;
  with_list(in);
  refused(in, "id=b user=bob pass=geheim will=home/x willmsg=x", "rc=87");
  struct peer *a = join(in, "id=a user=alice pass=secret will=home/x willmsg=bye");
  struct peer *b = join(in, "id=b user=bob pass=geheim");
  say(b, "SUBSCRIBE id=1 f=home/#");
  expect(b, "SUBACK");
  hang_up(a);
  expect(b, "PUBLISH t=home/x =bye");
}

/* ---- the client ---- */

static struct peer *serve_method(struct setting *in) {
  in->client_options.auth_method = "m";
  in->client_options.auth_data = text("one");
  struct peer *s = serve(in);
  expect(s, "CONNECT AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=one");
  return s;
}

static void client_answers_auth_with_continue(void **state) {
  struct setting *in = *state;
  struct peer *s = serve_method(in);
  assert_int_equal(roam_client_auth(in->client, now_of(in), text("early")), ROAM_E_STATE);
  say(s, "AUTH rc=18 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=what");
  expect_event(in, "AUTH reason=18");
  assert_int_equal(roam_client_auth(in->client, now_of(in), text("that")), 0);
  expect(s, "AUTH rc=18 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=that");
  say(s, "CONNACK rc=00 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=fine");
  expect_event(in, "AUTH reason=00");
  expect_event(in, "CONNECTED");
}

static void client_sends_nothing_else_during_authentication(void **state) {
  struct setting *in = *state;
  struct peer *s = serve_method(in);
  say(s, "AUTH rc=18 AUTHENTICATION_METHOD=m");
  publish(in, "t", "x", 1, false);
  subscribe(in, "t", 0);
  pass(in, ROAM_S);
  expect_nothing(s);
  assert_int_equal(roam_client_auth(in->client, now_of(in), text("x")), 0);
  expect(s, "AUTH rc=18");
  expect_nothing(s);
  say(s, "CONNACK rc=00 AUTHENTICATION_METHOD=m");
  expect(s, "!AUTH");
}

static void client_takes_no_other_method(void **state) {
  struct setting *in = *state;
  struct peer *s = serve_method(in);
  say(s, "AUTH rc=18 AUTHENTICATION_METHOD=other");
  expect_end(s, "DISCONNECT rc=82");
  expect_event(in, "CLOSED rc=ROAM_E_PROTOCOL");
}

static void client_takes_no_connack_without_its_method(void **state) {
  struct setting *in = *state;
  struct peer *s = serve_method(in);
  say(s, "CONNACK rc=00");
  expect_end(s, "DISCONNECT rc=82");
  expect_event(in, "CLOSED rc=ROAM_E_AUTHENTICATION");
}

static void client_takes_no_auth_it_has_not_asked_for(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  say(s, "AUTH rc=18 AUTHENTICATION_METHOD=m");
  expect_end(s, "DISCONNECT rc=82");
}

static void client_reauthenticates_with_the_same_method(void **state) {
  struct setting *in = *state;
  struct peer *s = serve_method(in);
  assert_int_equal(roam_client_reauthenticate(in->client, now_of(in), text("x")), ROAM_E_STATE);
  say(s, "CONNACK rc=00 AUTHENTICATION_METHOD=m");
  expect_event(in, "CONNECTED");
  assert_int_equal(roam_client_reauthenticate(in->client, now_of(in), text("again")), 0);
  expect(s, "AUTH rc=19 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=again");
  say(s, "AUTH rc=00 AUTHENTICATION_METHOD=m AUTHENTICATION_DATA=ok");
  expect_event(in, "AUTH reason=00");
  say(s, "AUTH rc=00 AUTHENTICATION_METHOD=m"); /* nothing is under way any more */
  expect_end(s, "DISCONNECT rc=82");
}

static void scram_options(struct setting *in) {
  in->client_options.auth_method = ROAM_SCRAM_METHOD;
  in->client_options.user_name = "user";
  in->client_options.password = text("pencil");
}

/* Plays the server of SCRAM-SHA-256 against our client; its last word is what `proof` makes of it. */
static struct peer *serve_scram(struct setting *in, struct roam_scram_server *server) {
  char message[512];
  roam_access_fault fault;
  roam_rc rc;
  struct roam_passwords *known = roam_passwords_new(text(passwords), NULL, &fault, &rc);
  assert_non_null(known);
  scram_options(in);
  struct peer *s = serve(in);
  const char *line = expect(s, "CONNECT AUTHENTICATION_METHOD=SCRAM-SHA-256 !user !pass");
  value_of(line, "AUTHENTICATION_DATA", message, sizeof message);
  assert_int_equal(roam_scram_server_first(server, text(message), known, "%hvYDpWUa2RaTCAfuxFIlj"), 0);
  roam_passwords_free(known);
  say(s, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=%.*s", (int)server->reply.len,
      server->reply.text);
  value_of(expect(s, "AUTH rc=18 AUTHENTICATION_METHOD=SCRAM-SHA-256"), "AUTHENTICATION_DATA", message, sizeof message);
  assert_int_equal(roam_scram_server_final(server, text(message)), 0);
  return s;
}

static void client_proves_itself_by_scram(void **state) {
  struct setting *in = *state;
  struct roam_scram_server server;
  struct peer *s = serve_scram(in, &server);
  say(s, "CONNACK rc=00 AUTHENTICATION_METHOD=SCRAM-SHA-256 AUTHENTICATION_DATA=%.*s", (int)server.reply.len,
      server.reply.text);
  expect_event(in, "CONNECTED");
}

static void client_leaves_a_server_that_does_not_know_the_password(void **state) {
  struct setting *in = *state;
  struct roam_scram_server server;
  struct peer *s = serve_scram(in, &server);
  say(s, "CONNACK rc=00 AUTHENTICATION_METHOD=SCRAM-SHA-256 "
         "AUTHENTICATION_DATA=v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
  expect_end(s, "DISCONNECT rc=80");
  expect_event(in, "CLOSED rc=ROAM_E_AUTHENTICATION");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_right_password_lets_in),
      TEST(a_wrong_password_is_refused),
      TEST(who_must_say_who_it_is_is_told_so),
      TEST(the_nameless_come_in_only_where_said),
      TEST(passwords_read_anew_end_those_that_are_gone),
      TEST(a_session_belongs_to_its_user),
      TEST(server_auth_says_continue),
      TEST(connack_repeats_the_method),
      TEST(a_server_may_refuse_during_authentication),
      TEST(only_auth_may_come_during_authentication),
      TEST(connect_timeout_ends_an_exchange),
      TEST(reauthentication_uses_the_same_method),
      TEST(failed_reauthentication_closes),
      TEST(the_owner_decides_later),
      TEST(the_owners_methods_take_as_many_rounds_as_they_like),
      TEST(those_that_wait_are_bounded),
      TEST(a_subscription_to_nothing_is_refused),
      TEST(a_publish_that_is_not_allowed_reaches_nobody),
      TEST(messages_are_checked_on_their_way_out),
      TEST(a_will_that_is_not_allowed_is_refused),
      TEST(client_answers_auth_with_continue),
      TEST(client_sends_nothing_else_during_authentication),
      TEST(client_takes_no_other_method),
      TEST(client_takes_no_connack_without_its_method),
      TEST(client_takes_no_auth_it_has_not_asked_for),
      TEST(client_reauthenticates_with_the_same_method),
      TEST(client_proves_itself_by_scram),
      TEST(client_leaves_a_server_that_does_not_know_the_password),
  };
  return RUN("Authentication and access", tests);
}
