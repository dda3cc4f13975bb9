/* Sections 3.1 and 3.2: CONNECT and CONNACK of MQTT 5.0, as the broker keeps them. docs/conformance.md has the statements'
 * ids. */
#include "conformance/mqtt_suite.h"

#include <string.h>

/* ---- 3.1: the header and the flags ---- */

static void first_packet_must_be_connect(void **state) {
  struct peer *p = knock(*state);
  say(p, "PUBLISH t=a =x");
  expect_closed(p);
}

static void second_connect_is_a_protocol_error(void **state) {
  struct peer *p = join(*state, "id=a");
  say(p, "CONNECT id=a");
  expect_end(p, "DISCONNECT rc=82");
}

static void wrong_protocol_name_gets_no_answer(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTX' 05 02 003C 00 0001 'a'");
  expect_closed(p);
}

static void unknown_protocol_version_is_refused(void **state) {
  struct peer *p = knock(*state);
  p->version = ROAM_MQTT_311; /* the answer is in words that all versions can read */
  say_bytes(p, "10: 0004 'MQTT' 06 02 003C 00 0001 'a'");
  expect_end(p, "CONNACK rc=84 sp=0");
}

static void reserved_connect_flag_is_malformed(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 03 003C 00 0001 'a'");
  expect_closed(p);
}

static void clean_start_discards_the_session(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60");
  say(a, "SUBSCRIBE id=1 f=t q=1 | DISCONNECT");
  a = knock(*state);
  say(a, "CONNECT id=a clean=1");
  expect(a, "CONNACK rc=00 sp=0");
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(b, "PUBACK rc=10");
  expect_nothing(a);
}

static void session_is_resumed_without_clean_start(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=1 f=t q=1 | DISCONNECT");
  say(b, "PUBLISH t=t q=1 id=1 =x");
  a = knock(*state);
  say(a, "CONNECT id=a clean=0 SESSION_EXPIRY_INTERVAL=60");
  expect(a, "CONNACK rc=00 sp=1");
  expect(a, "PUBLISH t=t q=1 =x d=0");
}

static void session_is_new_when_there_was_none(void **state) {
  struct peer *a = knock(*state);
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK rc=00 sp=0");
  expect_nothing(a);
}

/* ---- 3.1: wills ---- */

static struct peer *watch(struct setting *in, const char *filter) {
  struct peer *p = join(in, "id=watcher");
  say(p, "SUBSCRIBE id=1 f=%s q=2 rap=1", filter);
  expect(p, "SUBACK id=1");
  return p;
}

static void will_is_published_when_the_connection_breaks(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a will=w willq=1 willmsg=bye");
  expect_nothing(w);
  hang_up(a);
  expect(w, "PUBLISH t=w =bye q=1 r=0");
}

static void will_is_published_after_a_protocol_error(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a will=w willmsg=bye");
  say_bytes(a, "C100");
  expect_end(a, "DISCONNECT rc=81");
  expect(w, "PUBLISH t=w =bye");
}

static void will_is_published_after_keep_alive(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a keep=10 will=w willmsg=bye");
  pass(*state, 14 * ROAM_S);
  expect_nothing(w);
  pass(*state, 2 * ROAM_S);
  expect_end(a, "DISCONNECT rc=8D");
  expect(w, "PUBLISH t=w =bye");
}

static void will_waits_for_its_delay(void **state) {
  struct peer *w = watch(*state, "w");
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60 will=w willmsg=bye will.WILL_DELAY_INTERVAL=20");
  hang_up(a);
  pass(*state, 19 * ROAM_S);
  expect_nothing(w);
  pass(*state, ROAM_S);
  expect(w, "PUBLISH t=w =bye !WILL_DELAY_INTERVAL");
}

static void will_is_not_delayed_beyond_the_session(void **state) {
  struct peer *w = watch(*state, "w");
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=5 will=w willmsg=bye will.WILL_DELAY_INTERVAL=60");
  hang_up(a);
  pass(*state, 4 * ROAM_S);
  expect_nothing(w);
  pass(*state, 2 * ROAM_S);
  expect(w, "PUBLISH t=w =bye");
}

static void will_is_dropped_by_a_new_connection_within_its_delay(void **state) {
  struct peer *w = watch(*state, "w");
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60 will=w willmsg=bye will.WILL_DELAY_INTERVAL=20");
  hang_up(a);
  a = join(*state, "id=a clean=0 SESSION_EXPIRY_INTERVAL=60");
  pass(*state, 30 * ROAM_S);
  expect_nothing(w);
}

static void will_is_removed_by_disconnect(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=9 will=w willmsg=bye");
  say(a, "DISCONNECT rc=00");
  expect_closed(a);
  pass(*state, 20 * ROAM_S);
  expect_nothing(w);
}

static void will_is_removed_once_published(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60 will=w willmsg=bye");
  hang_up(a);
  expect(w, "PUBLISH t=w =bye");
  a = join(*state, "id=a clean=0 SESSION_EXPIRY_INTERVAL=5");
  hang_up(a);
  pass(*state, 20 * ROAM_S);
  expect_nothing(w);
}

static void disconnect_with_will_publishes_it(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a will=w willmsg=bye");
  say(a, "DISCONNECT rc=04");
  expect_closed(a);
  expect(w, "PUBLISH t=w =bye");
}

static void will_fields_must_be_there_with_the_flag(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 06 003C 00 0001 'a' 00 0001 'w'");
  expect_closed(p);
}

static void will_qos_without_will_is_malformed(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 0A 003C 00 0001 'a'");
  expect_closed(p);
}

static void will_qos_3_is_malformed(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 1E 003C 00 0001 'a' 00 0001 'w' 0000");
  expect_closed(p);
}

static void will_retain_without_will_is_malformed(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 22 003C 00 0001 'a'");
  expect_closed(p);
}

static void will_without_retain_is_not_retained(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a will=w willmsg=bye willr=0");
  hang_up(a);
  expect(w, "PUBLISH t=w r=0");
  say(w, "SUBSCRIBE id=2 f=w q=0");
  expect(w, "SUBACK id=2");
  expect_nothing(w);
}

static void will_with_retain_is_retained(void **state) {
  struct peer *w = watch(*state, "w"), *a = join(*state, "id=a will=w willmsg=bye willr=1");
  hang_up(a);
  expect(w, "PUBLISH t=w r=1");
  say(w, "SUBSCRIBE id=2 f=w q=0");
  expect(w, "SUBACK id=2");
  expect(w, "PUBLISH t=w =bye r=1");
}

static void will_keeps_its_properties_in_order(void **state) {
  struct peer *w = watch(*state, "w");
  struct peer *a =
      join(*state, "id=a will=w willmsg=bye will.USER_PROPERTY=b:1 will.USER_PROPERTY=a:2 will.USER_PROPERTY=b:0 "
                   "will.CONTENT_TYPE=text will.RESPONSE_TOPIC=r will.CORRELATION_DATA=c "
                   "will.PAYLOAD_FORMAT_INDICATOR=1");
  hang_up(a);
  const char *got = expect(w, "PUBLISH CONTENT_TYPE=text RESPONSE_TOPIC=r CORRELATION_DATA=c PAYLOAD_FORMAT_INDICATOR=1");
  assert_non_null(strstr(got, "USER_PROPERTY=b:1 USER_PROPERTY=a:2 USER_PROPERTY=b:0"));
}

static void will_topic_must_be_utf8(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 06 003C 00 0001 'a' 00 0002 C080 0000");
  expect_closed(p);
}

static void will_topic_must_be_publishable(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 06 003C 00 0001 'a' 00 0002 'w#' 0000");
  expect_closed(p);
}

/* ---- 3.1: user name, password, Keep Alive ---- */

static void user_name_without_flag_is_malformed(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 00 0001 'a' 0001 'u'");
  expect_closed(p);
}

static void user_name_must_be_there_with_the_flag(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 82 003C 00 0001 'a'");
  expect_closed(p);
}

static void password_without_flag_is_malformed(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 82 003C 00 0001 'a' 0001 'u' 0001 'p'");
  expect_closed(p);
}

static void password_must_be_there_with_the_flag(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 C2 003C 00 0001 'a' 0001 'u'");
  expect_closed(p);
}

static void password_without_user_name_is_allowed(void **state) { join(*state, "id=a pass=secret"); }

static void user_name_must_be_utf8(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 82 003C 00 0001 'a' 0001 FF");
  expect_closed(p);
}

static void silence_beyond_keep_alive_ends_the_connection(void **state) {
  struct peer *a = join(*state, "id=a keep=10");
  pass(*state, 14 * ROAM_S);
  expect_nothing(a);
  pass(*state, 2 * ROAM_S);
  expect_end(a, "DISCONNECT rc=8D");
}

static void any_packet_holds_the_connection(void **state) {
  struct peer *a = join(*state, "id=a keep=10");
  for (int i = 0; i < 4; i++) {
    pass(*state, 9 * ROAM_S);
    say(a, "PUBLISH t=t =x");
  }
  expect_nothing(a);
}

static void keep_alive_0_never_ends_the_connection(void **state) {
  struct peer *a = join(*state, "id=a keep=0");
  pass(*state, 3600 * ROAM_S);
  say(a, "PINGREQ");
  expect(a, "PINGRESP");
}

static void server_keep_alive_is_told_and_held(void **state) {
  struct setting *in = *state;
  in->options.server_keep_alive = 10;
  struct peer *a = knock(in);
  say(a, "CONNECT id=a keep=100");
  expect(a, "CONNACK rc=00 SERVER_KEEP_ALIVE=10");
  pass(in, 16 * ROAM_S);
  expect_end(a, "DISCONNECT rc=8D");
}

static void without_server_keep_alive_the_clients_holds(void **state) {
  struct peer *a = knock(*state);
  say(a, "CONNECT id=a keep=20");
  expect(a, "CONNACK rc=00 !SERVER_KEEP_ALIVE");
  pass(*state, 29 * ROAM_S);
  expect_nothing(a);
  pass(*state, 2 * ROAM_S);
  expect_end(a, "DISCONNECT rc=8D");
}

/* ---- 3.1: properties ---- */

static void session_outlives_the_connection_by_its_expiry(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=30");
  hang_up(a);
  pass(*state, 29 * ROAM_S);
  a = knock(*state);
  say(a, "CONNECT id=a clean=0 SESSION_EXPIRY_INTERVAL=30");
  expect(a, "CONNACK sp=1");
}

static void session_ends_when_its_expiry_has_passed(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=30");
  hang_up(a);
  pass(*state, 31 * ROAM_S);
  a = knock(*state);
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK sp=0");
}

static void session_without_expiry_ends_with_the_connection(void **state) {
  struct peer *a = join(*state, "id=a");
  hang_up(a);
  a = knock(*state);
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK sp=0");
}

static void session_expiry_beyond_the_limit_is_cut_and_told(void **state) {
  struct setting *in = *state;
  in->options.session_expiry_max_s = 100;
  struct peer *a = knock(in);
  say(a, "CONNECT id=a SESSION_EXPIRY_INTERVAL=4294967295");
  expect(a, "CONNACK rc=00 SESSION_EXPIRY_INTERVAL=100");
}

static void packets_beyond_maximum_packet_size_are_not_sent(void **state) {
  struct peer *a = join(*state, "id=a MAXIMUM_PACKET_SIZE=100"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=1 f=t q=1");
  expect(a, "SUBACK");
  say(b, "PUBLISH t=t size=91"); /* 2 + 2 + 1 + 1 + 91 = 97 */
  expect(a, "PUBLISH size=91");
  say(b, "PUBLISH t=t size=94");
  expect(a, "PUBLISH size=94");
  assert_int_equal(last_size(a), 100);
  say(b, "PUBLISH t=t size=95");
  expect_nothing(a);
}

static void a_message_too_large_counts_as_sent(void **state) {
  struct peer *a = join(*state, "id=a MAXIMUM_PACKET_SIZE=100 RECEIVE_MAXIMUM=1"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=1 f=t q=1");
  expect(a, "SUBACK");
  say(b, "PUBLISH t=t q=1 id=1 size=200");
  expect(b, "PUBACK id=1 rc=00");
  say(b, "PUBLISH t=t q=1 id=2 =next");
  expect(a, "PUBLISH =next q=1");
}

static void no_alias_beyond_the_clients_maximum(void **state) {
  struct peer *a = join(*state, "id=a TOPIC_ALIAS_MAXIMUM=1"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=1 f=# q=0");
  expect(a, "SUBACK");
  say(b, "PUBLISH t=long/one =1 | PUBLISH t=long/two =2 | PUBLISH t=long/one =3 | PUBLISH t=long/two =4");
  expect(a, "PUBLISH t=long/one TOPIC_ALIAS=1 =1");
  expect(a, "PUBLISH t=long/two !TOPIC_ALIAS =2");
  expect(a, "PUBLISH t= TOPIC_ALIAS=1 =3");
  expect(a, "PUBLISH t=long/two !TOPIC_ALIAS =4");
}

static void no_alias_without_a_maximum(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=1 f=# q=0");
  expect(a, "SUBACK");
  say(b, "PUBLISH t=long/one =1 | PUBLISH t=long/one =2");
  expect(a, "PUBLISH t=long/one !TOPIC_ALIAS");
  expect(a, "PUBLISH t=long/one !TOPIC_ALIAS");
}

static void no_response_information_unless_asked(void **state) {
  struct peer *a = knock(*state);
  say(a, "CONNECT id=a REQUEST_RESPONSE_INFORMATION=0");
  expect(a, "CONNACK rc=00 !RESPONSE_INFORMATION");
}

static void no_problem_information_when_not_wanted(void **state) {
  struct peer *a = join(*state, "id=a REQUEST_PROBLEM_INFORMATION=0");
  say(a, "PUBLISH t=t q=1 id=1 | UNSUBSCRIBE id=2 f=none");
  expect(a, "PUBACK rc=10 !REASON_STRING !USER_PROPERTY");
  expect(a, "UNSUBACK codes=11 !REASON_STRING !USER_PROPERTY");
  say(a, "PUBLISH t=$SYS/x q=1 id=3");
  expect(a, "PUBACK rc=87 !REASON_STRING !USER_PROPERTY");
  say(a, "PUBREL id=9");
  expect(a, "PUBCOMP rc=92 !REASON_STRING !USER_PROPERTY");
}

static void receive_maximum_0_is_a_protocol_error(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 03 21 0000 0001 'a'");
  expect_closed(p);
}

static void maximum_packet_size_0_is_a_protocol_error(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 05 27 00000000 0001 'a'");
  expect_closed(p);
}

static void a_property_given_twice_is_a_protocol_error(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 06 21 0001 21 0001 0001 'a'");
  expect_closed(p);
}

static void authentication_data_without_method_is_a_protocol_error(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 04 16 0001 'x' 0001 'a'");
  expect_closed(p);
}

/* ---- 3.1: the payload ---- */

static void connect_with_every_field_is_taken(void **state) {
  struct peer *w = watch(*state, "w");
  struct peer *a = join(*state, "id=all will=w willmsg=bye willq=2 user=u pass=p keep=30 SESSION_EXPIRY_INTERVAL=10 "
                                "RECEIVE_MAXIMUM=10 MAXIMUM_PACKET_SIZE=1000 TOPIC_ALIAS_MAXIMUM=5 USER_PROPERTY=a:b");
  roam_peer_info info;
  assert_int_equal(roam_broker_client(((struct setting *)*state)->broker, "all", &info), 0);
  assert_int_equal(info.keep_alive_s, 30);
  hang_up(a);
  expect(w, "PUBLISH t=w =bye q=2");
}

static void client_ids_name_their_sessions(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60");
  hang_up(a);
  struct peer *other = knock(*state);
  say(other, "CONNECT id=A clean=0");
  expect(other, "CONNACK sp=0");
  a = knock(*state);
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK sp=1");
}

static void client_id_must_be_there(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 00");
  expect_closed(p);
}

static void client_id_must_be_utf8(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 00 0002 C328");
  expect_closed(p);
}

static void client_ids_of_23_letters_and_digits_are_taken(void **state) {
  struct peer *p = knock(*state);
  say(p, "CONNECT id=0123456789ABCDEFGHIJKLM");
  expect(p, "CONNACK rc=00 !ASSIGNED_CLIENT_IDENTIFIER");
  join(*state, "id=NOPQRSTUVWXYZabcdefghij");
  join(*state, "id=klmnopqrstuvwxyz");
}

static void empty_client_id_gets_a_unique_one(void **state) {
  struct peer *a = knock(*state), *b = knock(*state);
  say(a, "CONNECT id=");
  const char *first = expect(a, "CONNACK rc=00"), *second;
  say(b, "CONNECT id=");
  second = expect(b, "CONNACK rc=00");
  first = strstr(first, "ASSIGNED_CLIENT_IDENTIFIER=");
  second = strstr(second, "ASSIGNED_CLIENT_IDENTIFIER=");
  assert_true(first && second);
  assert_string_not_equal(first, second);
}

static void assigned_client_id_names_the_session(void **state) {
  struct peer *a = knock(*state), *b;
  char id[64];
  say(a, "CONNECT id= SESSION_EXPIRY_INTERVAL=60");
  assert_int_equal(sscanf(strstr(expect(a, "CONNACK rc=00"), "IDENTIFIER=") + 11, "%63s", id), 1);
  hang_up(a);
  b = knock(*state);
  say(b, "CONNECT id=%s clean=0", id);
  expect(b, "CONNACK sp=1 !ASSIGNED_CLIENT_IDENTIFIER");
}

static void unacceptable_client_id_is_refused(void **state) {
  char words[1200] = "id=";
  memset(words + 3, 'x', 1025);
  words[3 + 1025] = '\0';
  refused(*state, words, "rc=85");
}

/* ---- 3.1.4 and 3.2 ---- */

static void a_second_connection_takes_the_session_over(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60"), *b = knock(*state);
  say(b, "CONNECT id=a clean=0 SESSION_EXPIRY_INTERVAL=60");
  expect(b, "CONNACK rc=00 sp=1");
  expect_end(a, "DISCONNECT rc=8E");
  expect_nothing(b);
}

static void nothing_is_processed_after_a_refused_connect(void **state) {
  struct peer *w = watch(*state, "t"), *p = knock(*state);
  say(p, "CONNECT id=a AUTHENTICATION_METHOD=none | PUBLISH t=t =x");
  expect_end(p, "CONNACK rc=8C");
  expect_nothing(w);
}

static void connack_comes_first(void **state) {
  struct peer *b = join(*state, "id=b"), *a = knock(*state);
  say(b, "PUBLISH t=t r=1 =kept");
  say(a, "CONNECT id=a | SUBSCRIBE id=1 f=t q=0 | PINGREQ");
  expect(a, "CONNACK rc=00");
}

static void there_is_one_connack(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PINGREQ");
  expect(a, "PINGRESP");
  expect_nothing(a);
}

static void connack_flags_are_session_present_or_nothing(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60"); /* the reader refuses reserved bits */
  hang_up(a);
  a = knock(*state);
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK rc=00 sp=1");
}

static void no_session_present_after_clean_start(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60");
  hang_up(a);
  a = knock(*state);
  say(a, "CONNECT id=a clean=1");
  expect(a, "CONNACK rc=00 sp=0");
}

static void no_session_present_in_a_refusal(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60");
  hang_up(a);
  refused(*state, "id=a clean=0 AUTHENTICATION_METHOD=none", "rc=8C sp=0");
}

static void a_refusing_connack_is_the_end(void **state) { refused(*state, "id=a AUTHENTICATION_METHOD=none", "rc=8C"); }

static void capabilities_are_told_truly(void **state) {
  struct peer *a = knock(*state);
  say(a, "CONNECT id=a");
  expect(a, "CONNACK !MAXIMUM_QOS RETAIN_AVAILABLE=1 WILDCARD_SUBSCRIPTION_AVAILABLE=1 SUBSCRIPTION_IDENTIFIER_AVAILABLE=1 "
            "SHARED_SUBSCRIPTION_AVAILABLE=1 RECEIVE_MAXIMUM=1024 TOPIC_ALIAS_MAXIMUM=16 MAXIMUM_PACKET_SIZE=1048576");
}

static void connack_fits_the_clients_maximum_packet_size(void **state) {
  struct peer *a = knock(*state);
  say(a, "CONNECT id=a MAXIMUM_PACKET_SIZE=40");
  expect(a, "CONNACK rc=00 !REASON_STRING !USER_PROPERTY");
  assert_true(last_size(a) <= 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(first_packet_must_be_connect),
      TEST(second_connect_is_a_protocol_error),
      TEST(wrong_protocol_name_gets_no_answer),
      TEST(unknown_protocol_version_is_refused),
      TEST(reserved_connect_flag_is_malformed),
      TEST(clean_start_discards_the_session),
      TEST(session_is_resumed_without_clean_start),
      TEST(session_is_new_when_there_was_none),
      TEST(will_is_published_when_the_connection_breaks),
      TEST(will_is_published_after_a_protocol_error),
      TEST(will_is_published_after_keep_alive),
      TEST(will_waits_for_its_delay),
      TEST(will_is_not_delayed_beyond_the_session),
      TEST(will_is_dropped_by_a_new_connection_within_its_delay),
      TEST(will_is_removed_by_disconnect),
      TEST(will_is_removed_once_published),
      TEST(disconnect_with_will_publishes_it),
      TEST(will_fields_must_be_there_with_the_flag),
      TEST(will_qos_without_will_is_malformed),
      TEST(will_qos_3_is_malformed),
      TEST(will_retain_without_will_is_malformed),
      TEST(will_without_retain_is_not_retained),
      TEST(will_with_retain_is_retained),
      TEST(will_keeps_its_properties_in_order),
      TEST(will_topic_must_be_utf8),
      TEST(will_topic_must_be_publishable),
      TEST(user_name_without_flag_is_malformed),
      TEST(user_name_must_be_there_with_the_flag),
      TEST(password_without_flag_is_malformed),
      TEST(password_must_be_there_with_the_flag),
      TEST(password_without_user_name_is_allowed),
      TEST(user_name_must_be_utf8),
      TEST(silence_beyond_keep_alive_ends_the_connection),
      TEST(any_packet_holds_the_connection),
      TEST(keep_alive_0_never_ends_the_connection),
      TEST(server_keep_alive_is_told_and_held),
      TEST(without_server_keep_alive_the_clients_holds),
      TEST(session_outlives_the_connection_by_its_expiry),
      TEST(session_ends_when_its_expiry_has_passed),
      TEST(session_without_expiry_ends_with_the_connection),
      TEST(session_expiry_beyond_the_limit_is_cut_and_told),
      TEST(packets_beyond_maximum_packet_size_are_not_sent),
      TEST(a_message_too_large_counts_as_sent),
      TEST(no_alias_beyond_the_clients_maximum),
      TEST(no_alias_without_a_maximum),
      TEST(no_response_information_unless_asked),
      TEST(no_problem_information_when_not_wanted),
      TEST(receive_maximum_0_is_a_protocol_error),
      TEST(maximum_packet_size_0_is_a_protocol_error),
      TEST(a_property_given_twice_is_a_protocol_error),
      TEST(authentication_data_without_method_is_a_protocol_error),
      TEST(connect_with_every_field_is_taken),
      TEST(client_ids_name_their_sessions),
      TEST(client_id_must_be_there),
      TEST(client_id_must_be_utf8),
      TEST(client_ids_of_23_letters_and_digits_are_taken),
      TEST(empty_client_id_gets_a_unique_one),
      TEST(assigned_client_id_names_the_session),
      TEST(unacceptable_client_id_is_refused),
      TEST(a_second_connection_takes_the_session_over),
      TEST(nothing_is_processed_after_a_refused_connect),
      TEST(connack_comes_first),
      TEST(there_is_one_connack),
      TEST(connack_flags_are_session_present_or_nothing),
      TEST(no_session_present_after_clean_start),
      TEST(no_session_present_in_a_refusal),
      TEST(a_refusing_connack_is_the_end),
      TEST(capabilities_are_told_truly),
      TEST(connack_fits_the_clients_maximum_packet_size),
  };
  return RUN("CONNECT and CONNACK", tests);
}
