/* Sections 3.8 to 3.15, 4.1, 4.7, 4.8, 4.12 and 4.13: subscriptions, topics, ends and errors, as the broker keeps them. */
#include "conformance/mqtt_suite.h"

#include <string.h>

static struct peer *subscribed(struct setting *in, const char *id, const char *filter, const char *options) {
  struct peer *p = join(in, id);
  say(p, "SUBSCRIBE id=1 f=%s %s", filter, options);
  expect(p, "SUBACK id=1");
  return p;
}

static void bytes_end_with(struct setting *in, const char *bytes, const char *words) {
  char connect[16];
  snprintf(connect, sizeof connect, "id=x%zu", in->peers_n);
  struct peer *p = join(in, connect);
  say_bytes(p, bytes);
  expect_end(p, "%s", words);
}

/* ---- 1.5, 2.1: representation ---- */

static void surrogates_are_malformed(void **state) { bytes_end_with(*state, "30: 0003 EDA080 00", "DISCONNECT rc=81"); }

static void the_null_character_is_malformed(void **state) {
  bytes_end_with(*state, "30: 0003 'a' 00 'b' 00", "DISCONNECT rc=81");
}

static void lengths_take_the_fewest_bytes(void **state) { bytes_end_with(*state, "C0 8000", "DISCONNECT rc=81"); }

static void user_property_must_be_utf8(void **state) {
  bytes_end_with(*state, "30: 0001 't' 07 26 0001 'a' 0001 FF", "DISCONNECT rc=81");
  bytes_end_with(*state, "30: 0001 't' 07 26 0001 FF 0001 'a'", "DISCONNECT rc=81");
}

static void a_byte_order_mark_is_a_character(void **state) {
  struct peer *a = subscribed(*state, "id=a", "#", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=%%EF%%BB%%BFt =x");
  expect(a, "PUBLISH t=%%EF%%BB%%BFt =x");
}

static void reserved_flags_are_malformed(void **state) {
  static const char *const packets[] = {"C100", "80: 0001 00 0001 't' 00", "A0: 0001 00 0001 't'", "E1: 00 00", "41: 0001"};
  for (size_t i = 0; i < 5; i++) bytes_end_with(*state, packets[i], "DISCONNECT rc=81");
}

static void auth_with_other_flags_is_malformed(void **state) { bytes_end_with(*state, "F1: 00", "DISCONNECT rc=81"); }

static void disconnect_with_other_flags_is_malformed(void **state) { bytes_end_with(*state, "E2: 00", "DISCONNECT rc=81"); }

static void packet_identifier_0_is_refused(void **state) {
  bytes_end_with(*state, "82: 0000 00 0001 't' 00", "DISCONNECT");
  bytes_end_with(*state, "A2: 0000 00 0001 't'", "DISCONNECT");
  bytes_end_with(*state, "32: 0001 't' 0000 00", "DISCONNECT");
}

/* ---- 3.8, 3.9: SUBSCRIBE ---- */

static void subscribe_with_other_flags_is_malformed(void **state) {
  bytes_end_with(*state, "80: 0001 00 0001 't' 00", "DISCONNECT rc=81");
}
static void topic_filter_must_be_utf8(void **state) {
  bytes_end_with(*state, "82: 0001 00 0001 FF 00", "DISCONNECT rc=81");
}

static void subscribe_without_filter_is_a_protocol_error(void **state) {
  bytes_end_with(*state, "82: 0001 00", "DISCONNECT rc=82");
}

static void reserved_subscription_options_are_malformed(void **state) {
  bytes_end_with(*state, "82: 0001 00 0001 't' 40", "DISCONNECT rc=81");
  bytes_end_with(*state, "82: 0001 00 0001 't' 80", "DISCONNECT rc=81");
}
static void qos_3_and_retain_handling_3_are_protocol_errors(void **state) {
  bytes_end_with(*state, "82: 0001 00 0001 't' 03", "DISCONNECT rc=82");
  bytes_end_with(*state, "82: 0001 00 0001 't' 30", "DISCONNECT rc=82");
}
static void no_local_on_a_share_is_a_protocol_error(void **state) {
  bytes_end_with(*state, "82: 0001 00 000A '$share/g/t' 04", "DISCONNECT rc=82");
}

static void no_local_keeps_ones_own_messages_away(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0 nl=1"), *b = join(*state, "id=b");
  say(a, "PUBLISH t=t =own");
  say(b, "PUBLISH t=t =other");
  expect(a, "PUBLISH =other");
  expect_nothing(a);
}

static void suback_has_the_identifier(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "SUBSCRIBE id=65535 f=t q=0 | SUBSCRIBE id=3 f=u q=0");
  expect(a, "SUBACK id=65535");
  expect(a, "SUBACK id=3");
}

static void suback_has_a_code_for_each_filter_in_order(void **state) {
  struct setting *in = *state;
  in->options.topic_levels_max = 2;
  struct peer *a = join(in, "id=a");
  say(a, "SUBSCRIBE id=1 f=a q=2 f=a/b/c q=1 f=b q=0 f=c q=1");
  expect(a, "SUBACK id=1 codes=02.8F.00.01");
}

static void an_identical_filter_replaces_the_subscription(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=2 SUBSCRIPTION_IDENTIFIER=1"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=2 f=t q=0 SUBSCRIPTION_IDENTIFIER=2");
  expect(a, "SUBACK codes=00");
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(a, "PUBLISH q=0 SUBSCRIPTION_IDENTIFIER=2");
  expect_nothing(a);
}

static void several_filters_are_as_several_subscribes(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0 f=u q=0 f=v/# q=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=u =1 | PUBLISH t=v/w =2 | PUBLISH t=t =3");
  expect(a, "PUBLISH t=u");
  expect(a, "PUBLISH t=v/w");
  expect(a, "PUBLISH t=t");
}

static void delivery_is_at_the_lower_qos(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t0", "q=0 f=t1 q=1 f=t2 q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t0 q=2 id=1 | PUBLISH t=t1 q=2 id=2 | PUBLISH t=t2 q=1 id=3 | PUBLISH t=t2 q=0");
  expect(a, "PUBLISH t=t0 q=0");
  expect(a, "PUBLISH t=t1 q=1");
  expect(a, "PUBLISH t=t2 q=1");
  expect(a, "PUBLISH t=t2 q=0");
}

/* ---- 3.10, 3.11: UNSUBSCRIBE ---- */

static void unsubscribe_with_other_flags_is_malformed(void **state) {
  bytes_end_with(*state, "A0: 0001 00 0001 't'", "DISCONNECT rc=81");
}

static void unsubscribe_filter_must_be_utf8(void **state) {
  bytes_end_with(*state, "A2: 0001 00 0001 FF", "DISCONNECT rc=81");
}

static void unsubscribe_without_filter_is_a_protocol_error(void **state) {
  bytes_end_with(*state, "A2: 0001 00", "DISCONNECT rc=82");
}

static void unsubscribe_removes_exactly_that_filter(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t/#", "q=0 f=t/+ q=0"), *b = join(*state, "id=b");
  say(a, "UNSUBSCRIBE id=2 f=t/x f=t/# f=T/+");
  expect(a, "UNSUBACK id=2 codes=11.00.11 !REASON_STRING !USER_PROPERTY");
  say(b, "PUBLISH t=t/x/y =1 | PUBLISH t=t/x =2");
  expect(a, "PUBLISH t=t/x =2");
  expect_nothing(a);
}

static void unsubscribe_lets_what_was_sent_be_completed(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =x");
  expect(a, "PUBLISH =x");
  uint16_t id = last_id(a);
  say(a, "UNSUBSCRIBE id=9 f=t");
  expect(a, "UNSUBACK id=9 codes=00");
  say(a, "PUBREC id=%u", id);
  expect(a, "PUBREL id=%u rc=00", id);
}

/* ---- 3.12, 3.14, 3.15, 4.12, 4.13 ---- */

static void pingreq_is_answered(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PINGREQ | PINGREQ");
  expect(a, "PINGRESP");
  expect(a, "PINGRESP");
}

static void no_disconnect_before_connack(void **state) {
  struct peer *p = knock(*state);
  say_bytes(p, "10: 0004 'MQTT' 05 02 003C 00 0002 C328");
  expect_closed(p);
}

static void disconnect_with_undefined_reason_is_malformed(void **state) {
  bytes_end_with(*state, "E0: 03", "DISCONNECT rc=81");
}

static void disconnect_closes_and_nothing_is_taken_after_it(void **state) {
  struct peer *w = subscribed(*state, "id=w", "t", "q=0"), *a = join(*state, "id=a");
  say(a, "DISCONNECT | PUBLISH t=t =late");
  expect_closed(a);
  expect_nothing(w);
}

static void disconnect_of_the_broker_has_no_session_expiry(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60");
  say(a, "CONNECT id=a");
  expect_end(a, "DISCONNECT rc=82 !SESSION_EXPIRY_INTERVAL !USER_PROPERTY");
}

static void disconnect_may_shorten_the_session(void **state) {
  struct peer *a = join(*state, "id=a SESSION_EXPIRY_INTERVAL=60");
  say(a, "DISCONNECT rc=00 SESSION_EXPIRY_INTERVAL=0");
  a = knock(*state);
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK sp=0");
}

static void disconnect_may_not_begin_a_session_expiry(void **state) {
  struct peer *w = subscribed(*state, "id=w", "w", "q=0"), *a = join(*state, "id=a will=w willmsg=bye");
  say(a, "DISCONNECT rc=00 SESSION_EXPIRY_INTERVAL=10");
  expect_end(a, "DISCONNECT rc=82");
  expect(w, "PUBLISH =bye"); /* it was no valid goodbye */
}

static void auth_with_undefined_reason_is_malformed(void **state) {
  bytes_end_with(*state, "F0: 01 04 15 0001 'm'", "DISCONNECT rc=81");
}

static void auth_without_a_method_is_a_protocol_error(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "AUTH rc=19 AUTHENTICATION_METHOD=m");
  expect_end(a, "DISCONNECT rc=82");
}

static void an_unsupported_method_is_refused(void **state) { refused(*state, "id=a AUTHENTICATION_METHOD=m", "rc=8C"); }

static void an_error_harms_nobody_else(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b");
  say_bytes(b, "00 00");
  expect_end(b, "DISCONNECT rc=81");
  say(a, "PINGREQ");
  expect(a, "PINGRESP");
}

static void a_packet_beyond_our_maximum_is_refused(void **state) {
  struct setting *in = *state;
  in->options.maximum_packet_size = 1024;
  struct peer *a = join(in, "id=a");
  say(a, "PUBLISH t=t size=1100");
  expect_end(a, "DISCONNECT rc=95");
}

static void packets_of_a_server_are_refused(void **state) {
  bytes_end_with(*state, "20: 00 00 00", "DISCONNECT rc=82");
  bytes_end_with(*state, "D0 00", "DISCONNECT rc=82");
}

/* ---- 4.1, 4.7, 4.8 ---- */

static void state_is_kept_while_connected(void **state) {
  struct peer *a = subscribed(*state, "id=a keep=0", "t", "q=1"), *b = join(*state, "id=b keep=0");
  pass(*state, 3600 * ROAM_S);
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(a, "PUBLISH =x");
}

static void wildcards_stand_for_whole_levels(void **state) {
  static const char *const bad[] = {"82: 0001 00 0002 'a#' 00", "82: 0001 00 0005 'a/#/b' 00", "82: 0001 00 0002 'a+' 00",
                                    "82: 0001 00 0004 'a/+b' 00", "82: 0001 00 0000 00"};
  for (size_t i = 0; i < 5; i++) bytes_end_with(*state, bad[i], "DISCONNECT rc=8F");
}

static void wildcards_match_as_defined(void **state) {
  struct peer *a = subscribed(*state, "id=a", "sport/#", "q=0 f=+/x q=0 f=/+ q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=sport | PUBLISH t=sport/a/b | PUBLISH t=/x | PUBLISH t=/fin | PUBLISH t=Sport");
  say(b, "PUBLISH t=a/x/ | PUBLISH t=end/x");
  expect(a, "PUBLISH t=sport");
  expect(a, "PUBLISH t=sport/a/b");
  expect(a, "PUBLISH t=/x");
  expect(a, "PUBLISH t=/fin");
  expect(a, "PUBLISH t=end/x");
}

static void wildcards_do_not_match_dollar_topics(void **state) {
  struct peer *a = subscribed(*state, "id=a", "#", "q=0 f=+/x q=0"), *b = subscribed(*state, "id=b", "$any/#", "q=0");
  say(b, "PUBLISH t=$any/x =1");
  expect(b, "PUBLISH t=$any/x");
  expect_nothing(a);
}

static void a_topic_name_is_not_empty(void **state) { bytes_end_with(*state, "30: 0000 00", "DISCONNECT rc=82"); }

static void share_names_are_checked(void **state) {
  bytes_end_with(*state, "82: 0001 00 0009 '$share//t' 00", "DISCONNECT rc=8F");
  bytes_end_with(*state, "82: 0001 00 000B '$share/g+/t' 00", "DISCONNECT rc=8F");
  bytes_end_with(*state, "82: 0001 00 0008 '$share/g' 00", "DISCONNECT rc=8F");
}

static void a_shared_message_goes_to_one_at_its_own_qos(void **state) {
  struct peer *a = subscribed(*state, "id=a", "$share/g/t", "q=0"), *b = subscribed(*state, "id=b", "$share/g/t", "q=1");
  struct peer *p = join(*state, "id=p");
  say(p, "PUBLISH t=t q=1 id=1 =1 | PUBLISH t=t q=1 id=2 =2");
  expect(a, "PUBLISH q=0");
  expect(b, "PUBLISH q=1");
  expect_nothing(a);
  expect_nothing(b);
}

static void a_shared_qos_2_message_stays_with_its_receiver(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "$share/g/t", "q=2"), *p = join(*state, "id=p");
  say(p, "PUBLISH t=t q=2 id=1 =1");
  expect(a, "PUBLISH q=2 =1");
  struct peer *b = subscribed(*state, "id=b", "$share/g/t", "q=2");
  hang_up(a);
  expect_nothing(b);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH d=1 q=2 =1");
  hang_up(a); /* and with it goes the session */
  expect_nothing(b);
}

static void a_refused_shared_message_goes_to_nobody_else(void **state) {
  struct peer *a = subscribed(*state, "id=a", "$share/g/t", "q=1"), *p = join(*state, "id=p");
  say(p, "PUBLISH t=t q=1 id=1 =1");
  expect(a, "PUBLISH q=1 =1");
  struct peer *b = subscribed(*state, "id=b", "$share/g/t", "q=1");
  say(a, "PUBACK id=%u rc=80", last_id(a));
  expect_nothing(a);
  expect_nothing(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(surrogates_are_malformed),
      TEST(the_null_character_is_malformed),
      TEST(lengths_take_the_fewest_bytes),
      TEST(user_property_must_be_utf8),
      TEST(a_byte_order_mark_is_a_character),
      TEST(reserved_flags_are_malformed),
      TEST(auth_with_other_flags_is_malformed),
      TEST(disconnect_with_other_flags_is_malformed),
      TEST(packet_identifier_0_is_refused),
      TEST(subscribe_with_other_flags_is_malformed),
      TEST(topic_filter_must_be_utf8),
      TEST(subscribe_without_filter_is_a_protocol_error),
      TEST(reserved_subscription_options_are_malformed),
      TEST(qos_3_and_retain_handling_3_are_protocol_errors),
      TEST(no_local_on_a_share_is_a_protocol_error),
      TEST(no_local_keeps_ones_own_messages_away),
      TEST(suback_has_the_identifier),
      TEST(suback_has_a_code_for_each_filter_in_order),
      TEST(an_identical_filter_replaces_the_subscription),
      TEST(several_filters_are_as_several_subscribes),
      TEST(delivery_is_at_the_lower_qos),
      TEST(unsubscribe_with_other_flags_is_malformed),
      TEST(unsubscribe_filter_must_be_utf8),
      TEST(unsubscribe_without_filter_is_a_protocol_error),
      TEST(unsubscribe_removes_exactly_that_filter),
      TEST(unsubscribe_lets_what_was_sent_be_completed),
      TEST(pingreq_is_answered),
      TEST(no_disconnect_before_connack),
      TEST(disconnect_with_undefined_reason_is_malformed),
      TEST(disconnect_closes_and_nothing_is_taken_after_it),
      TEST(disconnect_of_the_broker_has_no_session_expiry),
      TEST(disconnect_may_shorten_the_session),
      TEST(disconnect_may_not_begin_a_session_expiry),
      TEST(auth_with_undefined_reason_is_malformed),
      TEST(auth_without_a_method_is_a_protocol_error),
      TEST(an_unsupported_method_is_refused),
      TEST(an_error_harms_nobody_else),
      TEST(a_packet_beyond_our_maximum_is_refused),
      TEST(packets_of_a_server_are_refused),
      TEST(state_is_kept_while_connected),
      TEST(wildcards_stand_for_whole_levels),
      TEST(wildcards_match_as_defined),
      TEST(wildcards_do_not_match_dollar_topics),
      TEST(a_topic_name_is_not_empty),
      TEST(share_names_are_checked),
      TEST(a_shared_message_goes_to_one_at_its_own_qos),
      TEST(a_shared_qos_2_message_stays_with_its_receiver),
      TEST(a_refused_shared_message_goes_to_nobody_else),
  };
  return RUN("subscriptions, ends and errors", tests);
}
