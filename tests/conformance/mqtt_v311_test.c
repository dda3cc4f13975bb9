/* MQTT 3.1.1 where it differs from 5.0, as the broker keeps it. docs/conformance.md has the statements' ids. */
#include "conformance/mqtt_suite.h"

static struct peer *join_v4(struct setting *in, const char *words, const char *connack) {
  struct peer *p = knock(in);
  say(p, "CONNECT v=4 %s", words);
  expect(p, "CONNACK %s", connack);
  return p;
}

static void closed_without_a_word(struct setting *in, const char *bytes) {
  struct peer *p = join_v4(in, "id=x", "rc=00");
  say_bytes(p, bytes);
  expect_closed(p);
}

static void v311_malformed_packets_close_without_a_word(void **state) {
  static const char *const bad[] = {
      "30: 0002 C328", "36: 0001 't' 0001", "C100", "80: 0001 0001 't' 00", "82: 0001 0001 't' 03", "82: 0001",
      "A2: 0001",      "30: 0003 'a/#'",    "F0 00"};
  for (size_t i = 0; i < 9; i++) closed_without_a_word(*state, bad[i]);
}

static void v311_second_connect_closes(void **state) {
  struct peer *p = join_v4(*state, "id=a", "rc=00");
  say(p, "CONNECT v=4 id=a");
  expect_closed(p);
}

static void v311_password_without_user_name_closes(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 04 42 003C 0001 'a' 0001 'p'");
  expect_closed(p);
}

static void v311_session_is_kept_without_clean_session(void **state) {
  struct peer *a = join_v4(*state, "id=a clean=0", "rc=00 sp=0"), *b = join_v4(*state, "id=b", "rc=00 sp=0");
  say(a, "SUBSCRIBE id=1 f=t q=1");
  expect(a, "SUBACK id=1 codes=01");
  hang_up(a);
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(b, "PUBACK id=1");
  a = join_v4(*state, "id=a clean=0", "rc=00 sp=1");
  expect(a, "PUBLISH q=1 =x");
}

static void v311_clean_session_keeps_nothing(void **state) {
  struct peer *a = join_v4(*state, "id=a clean=1", "rc=00 sp=0");
  hang_up(a);
  join_v4(*state, "id=a clean=0", "rc=00 sp=0");
  join_v4(*state, "id=a clean=1", "rc=00 sp=0");
}

static void v311_empty_client_id_needs_clean_session(void **state) {
  struct peer *p = join_v4(*state, "id= clean=0", "rc=85 sp=0");
  expect_closed(p);
  join_v4(*state, "id= clean=1", "rc=00");
}

static void v311_take_over_closes_the_old_connection(void **state) {
  struct peer *a = join_v4(*state, "id=a", "rc=00");
  join_v4(*state, "id=a", "rc=00");
  expect_closed(a);
}

static void v311_keep_alive_is_the_clients(void **state) {
  struct peer *a = join_v4(*state, "id=a keep=10", "rc=00");
  pass(*state, 14 * ROAM_S);
  expect_nothing(a);
  pass(*state, 2 * ROAM_S);
  expect_closed(a);
}

static void v311_answers_have_no_reason(void **state) {
  struct peer *a = join_v4(*state, "id=a", "rc=00");
  say(a, "PUBLISH t=t q=1 id=1 | UNSUBSCRIBE id=2 f=none");
  expect(a, "PUBACK id=1");
  assert_int_equal(last_size(a), 4);
  expect(a, "UNSUBACK id=2 !codes");
  assert_int_equal(last_size(a), 4);
}

static void v311_will_is_published_unless_disconnected(void **state) {
  struct peer *w = join(*state, "id=w"), *a = join_v4(*state, "id=a will=w willq=1 willmsg=bye", "rc=00");
  say(w, "SUBSCRIBE id=1 f=w q=1");
  expect(w, "SUBACK");
  say(a, "DISCONNECT");
  expect_closed(a);
  expect_nothing(w);
  hang_up(join_v4(*state, "id=a will=w willq=1 willmsg=bye", "rc=00"));
  expect(w, "PUBLISH t=w q=1 =bye");
}

static void v5_properties_do_not_reach_v311(void **state) {
  struct peer *a = join_v4(*state, "id=a", "rc=00"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=1 f=t q=0");
  expect(a, "SUBACK");
  say(b, "PUBLISH t=t =xy CONTENT_TYPE=text USER_PROPERTY=a:b");
  expect(a, "PUBLISH t=t =xy");
  assert_int_equal(last_size(a), 7);
}

static void v31_is_taken(void **state) {
  struct peer *a = knock(*state);
  say(a, "CONNECT v=3 id=a");
  expect(a, "CONNACK rc=00 sp=0");
  say(a, "PINGREQ");
  expect(a, "PINGRESP");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(v311_malformed_packets_close_without_a_word),
      TEST(v311_second_connect_closes),
      TEST(v311_password_without_user_name_closes),
      TEST(v311_session_is_kept_without_clean_session),
      TEST(v311_clean_session_keeps_nothing),
      TEST(v311_empty_client_id_needs_clean_session),
      TEST(v311_take_over_closes_the_old_connection),
      TEST(v311_keep_alive_is_the_clients),
      TEST(v311_answers_have_no_reason),
      TEST(v311_will_is_published_unless_disconnected),
      TEST(v5_properties_do_not_reach_v311),
      TEST(v31_is_taken),
  };
  return RUN("MQTT 3.1.1", tests);
}
