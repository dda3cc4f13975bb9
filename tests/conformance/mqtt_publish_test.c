/* Sections 3.3 to 3.7, 4.3 to 4.6 and 4.9: PUBLISH, its answers, QoS flows, order and windows, as the broker keeps them. */
#include "conformance/mqtt_suite.h"

#include <string.h>

static struct peer *subscribed(struct setting *in, const char *id, const char *filter, const char *options) {
  struct peer *p = join(in, id);
  say(p, "SUBSCRIBE id=1 f=%s %s", filter, options);
  expect(p, "SUBACK id=1");
  return p;
}

/* ---- 3.3.1: DUP, QoS, RETAIN ---- */

static void dup_is_set_when_sent_again(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(a, "PUBLISH d=0 =x");
  uint16_t id = last_id(a);
  hang_up(a);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH d=1 q=1 =x id=%u", id);
}

static void dup_is_0_at_qos_0(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 d=1 =x");
  expect(a, "PUBLISH q=0 d=0 =x");
}

static void dup_at_qos_0_is_malformed(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "38: 0001 't' 00");
  expect_end(a, "DISCONNECT rc=81");
}

static void dup_is_not_passed_on(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 d=1 =one | PUBLISH t=t q=2 id=2 d=1 =two");
  expect(a, "PUBLISH q=1 d=0 =one");
  expect(a, "PUBLISH q=2 d=0 =two");
}

static void qos_3_is_malformed(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "36: 0001 't' 0001 00");
  expect_end(a, "DISCONNECT rc=81");
}

static void retain_replaces_what_was_kept(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =old | PUBLISH t=t r=1 q=1 id=1 =new");
  expect(b, "PUBACK id=1");
  struct peer *a = subscribed(*state, "id=a", "t", "q=1");
  expect(a, "PUBLISH t=t =new r=1 q=1");
  expect_nothing(a);
}

static void an_empty_retained_message_removes_and_is_delivered(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =kept");
  expect(a, "PUBLISH =kept");
  say(b, "PUBLISH t=t r=1");
  expect(a, "PUBLISH t=t size=0 r=0");
  struct peer *late = subscribed(*state, "id=late", "t", "q=0");
  expect_nothing(late);
}

static void an_empty_message_is_not_kept(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 q=1 id=1");
  expect(b, "PUBACK id=1");
  expect_nothing(subscribed(*state, "id=a", "t", "q=0"));
  assert_int_equal(roam_broker_get_stats(((struct setting *)*state)->broker).retained, 0);
}

static void without_retain_what_is_kept_stays(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =kept | PUBLISH t=t r=0 =passing | PUBLISH t=t r=0");
  struct peer *a = subscribed(*state, "id=a", "t", "q=0");
  expect(a, "PUBLISH =kept r=1");
  expect_nothing(a);
}

static void retain_handling_0_sends_what_is_kept_each_time(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t/1 r=1 =one | PUBLISH t=u r=1 =other");
  struct peer *a = subscribed(*state, "id=a", "t/#", "q=0 rh=0");
  expect(a, "PUBLISH t=t/1 =one r=1");
  say(a, "SUBSCRIBE id=2 f=t/# q=0 rh=0");
  expect(a, "SUBACK id=2");
  expect(a, "PUBLISH t=t/1 =one r=1");
  expect_nothing(a);
}

static void retain_handling_1_sends_only_to_new_subscriptions(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =one");
  struct peer *a = subscribed(*state, "id=a", "t", "q=0 rh=1");
  expect(a, "PUBLISH =one r=1");
  say(a, "SUBSCRIBE id=2 f=t q=1 rh=1");
  expect(a, "SUBACK id=2");
  expect_nothing(a);
}

static void retain_handling_2_sends_nothing(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =one");
  expect_nothing(subscribed(*state, "id=a", "t", "q=0 rh=2"));
}

static void retain_is_cleared_unless_as_published(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0 rap=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =x");
  expect(a, "PUBLISH =x r=0");
}

static void retain_is_kept_as_published(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0 rap=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =x | PUBLISH t=t r=0 =y");
  expect(a, "PUBLISH =x r=1");
  expect(a, "PUBLISH =y r=0");
}

/* ---- 3.3.2: topic, properties ---- */

static void topic_name_must_be_utf8(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0002 C328 00");
  expect_end(a, "DISCONNECT rc=81");
}

static void topic_name_with_wildcard_is_refused(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b");
  say_bytes(a, "30: 0003 'a/+' 00");
  expect_end(a, "DISCONNECT rc=90");
  say_bytes(b, "30: 0003 'a/#' 00");
  expect_end(b, "DISCONNECT rc=90");
}

static void topic_name_delivered_matches_the_filter(void **state) {
  struct peer *a = subscribed(*state, "id=a", "a/+/c", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=a/b/c =1 | PUBLISH t=a/b/d =2 | PUBLISH t=a//c =3 | PUBLISH t=a/c =4");
  expect(a, "PUBLISH t=a/b/c =1");
  expect(a, "PUBLISH t=a//c =3");
  expect_nothing(a);
}

static void properties_are_passed_on_unaltered(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b,
      "PUBLISH t=t =x PAYLOAD_FORMAT_INDICATOR=1 CONTENT_TYPE=text/plain RESPONSE_TOPIC=re/ply CORRELATION_DATA=%%00%%FF");
  expect(a, "PUBLISH PAYLOAD_FORMAT_INDICATOR=1 CONTENT_TYPE=text/plain RESPONSE_TOPIC=re/ply CORRELATION_DATA=%%00%%FF");
}

static void payload_format_indicator_is_passed_on(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t =x PAYLOAD_FORMAT_INDICATOR=1 | PUBLISH t=t =y PAYLOAD_FORMAT_INDICATOR=0 | PUBLISH t=t =z");
  expect(a, "PUBLISH =x PAYLOAD_FORMAT_INDICATOR=1");
  expect(a, "PUBLISH =y PAYLOAD_FORMAT_INDICATOR=0");
  expect(a, "PUBLISH =z !PAYLOAD_FORMAT_INDICATOR");
}

static void user_properties_keep_their_order(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t =x USER_PROPERTY=b:1 USER_PROPERTY=a:2 USER_PROPERTY=b:1 USER_PROPERTY=c:");
  const char *got = expect(a, "PUBLISH =x");
  assert_non_null(strstr(got, "USER_PROPERTY=b:1 USER_PROPERTY=a:2 USER_PROPERTY=b:1 USER_PROPERTY=c:"));
}

static void retained_messages_keep_their_properties(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =x USER_PROPERTY=b:1 USER_PROPERTY=a:2 CONTENT_TYPE=text RESPONSE_TOPIC=r");
  struct peer *a = subscribed(*state, "id=a", "t", "q=0");
  expect(a, "PUBLISH =x r=1 USER_PROPERTY=b:1 USER_PROPERTY=a:2 CONTENT_TYPE=text RESPONSE_TOPIC=r");
}

static void an_expired_message_is_not_delivered(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=600", "t", "q=1"), *b = join(*state, "id=b");
  say(a, "DISCONNECT");
  say(b, "PUBLISH t=t q=1 id=1 =short MESSAGE_EXPIRY_INTERVAL=10 | PUBLISH t=t q=1 id=2 =long MESSAGE_EXPIRY_INTERVAL=100");
  pass(*state, 20 * ROAM_S);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH =long");
  expect_nothing(a);
}

static void an_expired_message_is_no_longer_kept(void **state) {
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=t r=1 =x MESSAGE_EXPIRY_INTERVAL=10");
  pass(*state, 11 * ROAM_S);
  expect_nothing(subscribed(*state, "id=a", "t", "q=0"));
}

static void message_expiry_is_counted_down(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=600", "t", "q=1"), *b = join(*state, "id=b");
  say(a, "DISCONNECT");
  say(b, "PUBLISH t=t q=1 id=1 =x MESSAGE_EXPIRY_INTERVAL=100");
  pass(*state, 40 * ROAM_S);
  const char *got = expect(join(*state, "id=a clean=0"), "PUBLISH =x");
  unsigned left = 0;
  assert_int_equal(sscanf(strstr(got, "EXPIRY_INTERVAL=") + 16, "%u", &left), 1);
  assert_in_range(left, 59, 60);
}

static void aliases_do_not_outlive_the_connection(void **state) {
  struct peer *b = join(*state, "id=b SESSION_EXPIRY_INTERVAL=60");
  say(b, "PUBLISH t=t TOPIC_ALIAS=1 =x");
  hang_up(b);
  b = join(*state, "id=b clean=0");
  say(b, "PUBLISH t= TOPIC_ALIAS=1 =y");
  expect_end(b, "DISCONNECT rc=82");
}

static void our_aliases_do_not_outlive_the_connection(void **state) {
  struct peer *a = subscribed(*state, "id=a TOPIC_ALIAS_MAXIMUM=5 SESSION_EXPIRY_INTERVAL=60", "long/t", "q=0");
  struct peer *b = join(*state, "id=b");
  say(b, "PUBLISH t=long/t =x");
  expect(a, "PUBLISH t=long/t TOPIC_ALIAS=1");
  hang_up(a);
  a = join(*state, "id=a clean=0 TOPIC_ALIAS_MAXIMUM=5");
  say(b, "PUBLISH t=long/t =y");
  expect(a, "PUBLISH t=long/t =y");
}

static void alias_0_is_invalid(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0001 't' 03 23 0000");
  expect_end(a, "DISCONNECT rc=94");
}

static void alias_beyond_the_maximum_is_invalid(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBLISH t=t TOPIC_ALIAS=17");
  expect_end(a, "DISCONNECT rc=94");
}

static void every_alias_up_to_the_maximum_is_taken(void **state) {
  struct peer *a = subscribed(*state, "id=a", "#", "q=0"), *b = join(*state, "id=b");
  for (unsigned i = 1; i <= 16; i++) say(b, "PUBLISH t=t%u TOPIC_ALIAS=%u | PUBLISH t= TOPIC_ALIAS=%u =x", i, i, i);
  for (unsigned i = 1; i <= 16; i++) {
    expect(a, "PUBLISH t=t%u size=0 !TOPIC_ALIAS", i);
    expect(a, "PUBLISH t=t%u =x !TOPIC_ALIAS", i);
  }
}

static void an_alias_can_be_given_anew(void **state) {
  struct peer *a = subscribed(*state, "id=a", "#", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=one TOPIC_ALIAS=1 | PUBLISH t=two TOPIC_ALIAS=1 | PUBLISH t= TOPIC_ALIAS=1");
  expect(a, "PUBLISH t=one");
  expect(a, "PUBLISH t=two");
  expect(a, "PUBLISH t=two");
}

static void an_unknown_alias_is_a_protocol_error(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBLISH t= TOPIC_ALIAS=3");
  expect_end(a, "DISCONNECT rc=82");
}

static void no_topic_and_no_alias_is_a_protocol_error(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0000 00");
  expect_end(a, "DISCONNECT rc=82");
}

static void response_topic_must_be_utf8(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0001 't' 05 08 0002 C328");
  expect_end(a, "DISCONNECT rc=81");
}

static void response_topic_with_wildcard_is_refused(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0001 't' 05 08 0002 'r#'");
  expect_closed((expect(a, "DISCONNECT"), a));
}

static void content_type_must_be_utf8(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0001 't' 05 03 0002 C328");
  expect_end(a, "DISCONNECT rc=81");
}

static void a_clients_publish_has_no_subscription_identifier(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "30: 0001 't' 02 0B01");
  expect_end(a, "DISCONNECT rc=82");
}

/* ---- 3.3.4: actions ---- */

static void each_qos_has_its_answer(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0");
  say(a, "PUBLISH t=t q=0 =0");
  expect(a, "PUBLISH =0");
  say(a, "PUBLISH t=t q=1 id=11 =1");
  expect(a, "PUBACK id=11 rc=00");
  expect(a, "PUBLISH =1");
  say(a, "PUBLISH t=t q=2 id=12 =2");
  expect(a, "PUBREC id=12 rc=00");
  expect(a, "PUBLISH =2");
  say(a, "PUBREL id=12");
  expect(a, "PUBCOMP id=12 rc=00");
}

static void overlapping_subscriptions_deliver_once_at_the_highest_qos(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t/#", "q=1 f=t/+ q=2 f=t/x q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t/x q=2 id=1 =x");
  expect(a, "PUBLISH q=2 =x");
  expect_nothing(a);
}

static void a_subscription_identifier_comes_with_its_messages(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0 SUBSCRIPTION_IDENTIFIER=268435455"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=2 f=plain q=0");
  expect(a, "SUBACK id=2");
  say(b, "PUBLISH t=t =x | PUBLISH t=plain =y");
  expect(a, "PUBLISH t=t SUBSCRIPTION_IDENTIFIER=268435455");
  expect(a, "PUBLISH t=plain !SUBSCRIPTION_IDENTIFIER");
}

static void one_copy_has_all_subscription_identifiers(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t/#", "q=0 SUBSCRIPTION_IDENTIFIER=5"), *b = join(*state, "id=b");
  say(a, "SUBSCRIBE id=2 f=t/+ q=0 SUBSCRIPTION_IDENTIFIER=7 | SUBSCRIBE id=3 f=other q=0 SUBSCRIPTION_IDENTIFIER=9");
  expect(a, "SUBACK id=2");
  expect(a, "SUBACK id=3");
  say(b, "PUBLISH t=t/x =x");
  const char *got = expect(a, "PUBLISH =x SUBSCRIPTION_IDENTIFIER=5 SUBSCRIPTION_IDENTIFIER=7");
  assert_null(strstr(got, "IDENTIFIER=9"));
  expect_nothing(a);
}

/* ---- 3.4 to 3.7 and 2.2.1: answers ---- */

static void answers_have_the_identifier_of_the_publish(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBLISH t=t q=1 id=65535 | PUBLISH t=t q=2 id=1 | PUBLISH t=t q=1 id=300");
  expect(a, "PUBACK id=65535");
  expect(a, "PUBREC id=1");
  expect(a, "PUBACK id=300");
}

static void an_undefined_reason_code_is_malformed(void **state) {
  struct setting *in = *state;
  static const char *const packets[] = {"40: 0001 01", "50: 0001 18", "62: 0001 10", "70: 0001 FF"};
  for (size_t i = 0; i < 4; i++) {
    char connect[16];
    snprintf(connect, sizeof connect, "id=a%zu", i);
    struct peer *a = join(in, connect);
    say_bytes(a, packets[i]);
    expect_end(a, "DISCONNECT rc=81");
  }
}

static void puback_says_that_nobody_subscribes(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBLISH t=t q=1 id=1 | PUBLISH t=t q=2 id=2");
  expect(a, "PUBACK id=1 rc=10 !REASON_STRING");
  expect(a, "PUBREC id=2 rc=10 !REASON_STRING");
}

static void pubrel_of_an_unknown_identifier_is_answered_so(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBREL id=9");
  expect(a, "PUBCOMP id=9 rc=92");
}

static void pubrec_of_an_unknown_identifier_is_answered_so(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBREC id=9");
  expect(a, "PUBREL id=9 rc=92");
}

static void pubrel_with_other_flags_is_malformed(void **state) {
  struct peer *a = join(*state, "id=a");
  say_bytes(a, "60: 0001");
  expect_end(a, "DISCONNECT rc=81");
}

static void identifiers_in_use_are_not_given_again(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=2"), *b = join(*state, "id=b");
  for (unsigned i = 1; i <= 20; i++) say(b, "PUBLISH t=t q=%u id=%u", 1 + i % 2, i);
  bool seen[65536] = {false};
  for (unsigned i = 1; i <= 20; i++) {
    expect(a, "PUBLISH t=t");
    assert_true(last_id(a) != 0 && !seen[last_id(a)]);
    seen[last_id(a)] = true;
  }
}

static void qos_0_has_no_packet_identifier(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =xy");
  expect(a, "PUBLISH q=0 =xy");
  assert_int_equal(last_size(a), 8); /* 2 + "t" 3 + property length 1 + "xy" 2 */
}

/* ---- 4.3: QoS flows, the broker receiving ---- */

static void qos_1_identifier_is_free_after_puback(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=5 =one");
  expect(b, "PUBACK id=5");
  say(b, "PUBLISH t=t q=1 id=5 d=1 =two");
  expect(b, "PUBACK id=5");
  expect(a, "PUBLISH =one");
  expect(a, "PUBLISH =two");
}

static void qos_2_is_delivered_once_until_pubrel(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=5 =one");
  expect(b, "PUBREC id=5 rc=00");
  say(b, "PUBLISH t=t q=2 id=5 d=1 =one");
  expect(b, "PUBREC id=5 rc=00");
  expect(a, "PUBLISH =one");
  expect_nothing(a);
}

static void qos_2_is_delivered_once_over_two_connections(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b SESSION_EXPIRY_INTERVAL=60");
  say(b, "PUBLISH t=t q=2 id=5 =one");
  expect(b, "PUBREC id=5");
  hang_up(b);
  b = join(*state, "id=b clean=0");
  say(b, "PUBLISH t=t q=2 id=5 d=1 =one");
  expect(b, "PUBREC id=5 rc=00");
  say(b, "PUBREL id=5");
  expect(b, "PUBCOMP id=5 rc=00");
  expect(a, "PUBLISH =one");
  expect_nothing(a);
}

static void qos_2_identifier_is_free_after_pubcomp(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  for (int i = 0; i < 2; i++) {
    say(b, "PUBLISH t=t q=2 id=5 =x");
    expect(b, "PUBREC id=5");
    say(b, "PUBREL id=5");
    expect(b, "PUBCOMP id=5 rc=00");
    expect(a, "PUBLISH =x");
  }
  expect_nothing(a);
}

static void qos_2_identifier_is_free_after_a_refusing_pubrec(void **state) {
  struct setting *in = *state;
  in->options.topic_levels_max = 2;
  struct peer *a = subscribed(in, "id=a", "t", "q=0"), *b = join(in, "id=b");
  say(b, "PUBLISH t=t/t/t q=2 id=5 =x");
  expect(b, "PUBREC id=5 rc=90");
  say(b, "PUBLISH t=t q=2 id=5 =y");
  expect(b, "PUBREC id=5 rc=00");
  expect(a, "PUBLISH =y");
}

static void qos_2_goes_on_though_the_message_has_expired(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=5 =x MESSAGE_EXPIRY_INTERVAL=1");
  expect(b, "PUBREC id=5");
  expect(a, "PUBLISH =x");
  pass(*state, 5 * ROAM_S);
  say(b, "PUBREL id=5");
  expect(b, "PUBCOMP id=5 rc=00");
}

/* ---- 4.3: QoS flows, the broker sending ---- */

static void qos_0_is_sent_once_and_not_kept(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=0"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t =x");
  expect(a, "PUBLISH q=0 d=0");
  hang_up(a);
  expect_nothing(join(*state, "id=a clean=0"));
}

static void qos_1_waits_for_puback(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =one | PUBLISH t=t q=1 id=2 =two");
  expect(a, "PUBLISH q=1 d=0 =one");
  say(a, "PUBACK id=%u", last_id(a));
  expect(a, "PUBLISH q=1 d=0 =two");
  hang_up(a);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH d=1 =two");
  expect_nothing(a);
}

static void qos_2_goes_through_its_four_packets(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =x");
  expect(a, "PUBLISH q=2 d=0 =x");
  uint16_t id = last_id(a);
  say(a, "PUBREC id=%u", id);
  expect(a, "PUBREL id=%u rc=00", id);
  say(a, "PUBCOMP id=%u", id);
  expect_nothing(a);
}

static void qos_2_waits_for_pubrec(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =x");
  expect(a, "PUBLISH q=2 =x");
  uint16_t id = last_id(a);
  hang_up(a);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH q=2 d=1 =x id=%u", id);
}

static void after_pubrel_the_publish_is_not_sent_again(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =x");
  expect(a, "PUBLISH q=2");
  uint16_t id = last_id(a);
  say(a, "PUBREC id=%u", id);
  expect(a, "PUBREL id=%u", id);
  hang_up(a);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBREL id=%u", id);
  say(a, "PUBCOMP id=%u", id);
  expect_nothing(a);
}

static void a_refusing_pubrec_ends_the_exchange(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =x");
  expect(a, "PUBLISH q=2");
  say(a, "PUBREC id=%u rc=97", last_id(a));
  expect_nothing(a);
  hang_up(a);
  expect_nothing(join(*state, "id=a clean=0"));
}

static void a_refusing_puback_ends_the_exchange(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(a, "PUBLISH q=1");
  say(a, "PUBACK id=%u rc=80", last_id(a));
  hang_up(a);
  expect_nothing(join(*state, "id=a clean=0"));
}

static void what_was_sent_does_not_expire(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =x MESSAGE_EXPIRY_INTERVAL=2");
  expect(a, "PUBLISH q=2 =x");
  uint16_t id = last_id(a);
  hang_up(a);
  pass(*state, 10 * ROAM_S);
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH q=2 d=1 id=%u", id);
}

static void nothing_is_sent_again_within_a_connection(void **state) {
  struct peer *a = subscribed(*state, "id=a keep=0", "t", "q=2"), *b = join(*state, "id=b keep=0");
  say(b, "PUBLISH t=t q=1 id=1 =one | PUBLISH t=t q=2 id=2 =two");
  expect(a, "PUBLISH =one");
  expect(a, "PUBLISH =two");
  pass(*state, 600 * ROAM_S);
  expect_nothing(a);
}

static void what_was_unanswered_is_sent_again_in_order(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =1 | PUBLISH t=t q=2 id=2 =2 | PUBLISH t=t q=1 id=3 =3");
  hang_up(a);
  say(b, "PUBLISH t=t q=1 id=4 =4");
  a = join(*state, "id=a clean=0");
  expect(a, "PUBLISH d=1 q=1 =1");
  expect(a, "PUBLISH d=1 q=2 =2");
  expect(a, "PUBLISH d=1 q=1 =3");
  expect(a, "PUBLISH d=0 q=1 =4");
}

/* ---- 4.5, 4.6: ownership, order ---- */

static void every_matching_session_gets_the_message(void **state) {
  struct peer *a = subscribed(*state, "id=a", "t/+", "q=1"), *b = subscribed(*state, "id=b", "t/x", "q=0");
  struct peer *c = subscribed(*state, "id=c SESSION_EXPIRY_INTERVAL=60", "#", "q=1"), *d = join(*state, "id=d");
  hang_up(c);
  say(d, "PUBLISH t=t/x q=1 id=1 =x");
  expect(d, "PUBACK id=1 rc=00");
  expect(a, "PUBLISH =x");
  expect(b, "PUBLISH =x");
  expect(join(*state, "id=c clean=0"), "PUBLISH =x");
}

static void order_is_kept_within_topic_and_qos(void **state) {
  struct peer *a = subscribed(*state, "id=a", "#", "q=2"), *b = join(*state, "id=b");
  for (unsigned i = 1; i <= 30; i++) say(b, "PUBLISH t=t%u q=%u id=%u =%u", i % 2, i % 3, i % 3 ? i : 0, i);
  unsigned last[2][3] = {{0}};
  for (unsigned i = 1; i <= 30; i++) {
    unsigned topic, qos, n;
    const char *got = expect(a, "PUBLISH");
    assert_int_equal(sscanf(strstr(got, " q="), " q=%u", &qos), 1);
    assert_int_equal(sscanf(strstr(got, " t=t"), " t=t%u =%u", &topic, &n), 2);
    assert_true(n > last[topic][qos]);
    last[topic][qos] = n;
  }
}

static void acknowledgements_keep_the_order_of_the_messages(void **state) {
  struct peer *a = join(*state, "id=a");
  say(a, "PUBLISH t=t q=1 id=3 | PUBLISH t=t q=2 id=1 | PUBLISH t=t q=1 id=9 | PUBLISH t=t q=2 id=2");
  expect(a, "PUBACK id=3");
  expect(a, "PUBREC id=1");
  expect(a, "PUBACK id=9");
  expect(a, "PUBREC id=2");
}

/* ---- 4.9: windows ---- */

static void the_clients_receive_maximum_is_kept(void **state) {
  struct peer *a = subscribed(*state, "id=a RECEIVE_MAXIMUM=2", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =1 | PUBLISH t=t q=2 id=2 =2 | PUBLISH t=t q=1 id=3 =3 | PUBLISH t=t q=1 id=4 =4");
  expect(a, "PUBLISH =1");
  uint16_t one = last_id(a);
  expect(a, "PUBLISH =2");
  uint16_t two = last_id(a);
  expect_nothing(a);
  say(a, "PUBACK id=%u", one);
  expect(a, "PUBLISH =3");
  say(a, "PUBREC id=%u", two);
  expect(a, "PUBREL id=%u", two);
  expect_nothing(a);
  say(a, "PUBCOMP id=%u", two);
  expect(a, "PUBLISH =4");
}

static void a_refusing_pubrec_makes_room_in_the_window(void **state) {
  struct peer *a = subscribed(*state, "id=a RECEIVE_MAXIMUM=1", "t", "q=2"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=2 id=1 =1 | PUBLISH t=t q=2 id=2 =2");
  expect(a, "PUBLISH =1");
  expect_nothing(a);
  say(a, "PUBREC id=%u rc=80", last_id(a));
  expect(a, "PUBLISH =2");
}

static void a_full_window_delays_nothing_else(void **state) {
  struct peer *a = subscribed(*state, "id=a RECEIVE_MAXIMUM=1", "t", "q=1"), *b = join(*state, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =1 | PUBLISH t=t q=1 id=2 =2");
  expect(a, "PUBLISH =1");
  say(a, "PINGREQ");
  expect(a, "PINGRESP");
  say(a, "SUBSCRIBE id=2 f=u q=0");
  expect(a, "SUBACK id=2");
  say(a, "PUBLISH t=none q=2 id=7");
  expect(a, "PUBREC id=7");
  say(a, "PUBREL id=7");
  expect(a, "PUBCOMP id=7");
}

static void a_client_beyond_our_receive_maximum_is_disconnected(void **state) {
  struct setting *in = *state;
  in->options.receive_maximum = 2;
  struct peer *a = join(in, "id=a");
  say(a, "PUBLISH t=t q=2 id=1 | PUBLISH t=t q=2 id=2");
  expect(a, "PUBREC id=1");
  expect(a, "PUBREC id=2");
  say(a, "PUBLISH t=t q=2 id=3");
  expect_end(a, "DISCONNECT rc=93");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(dup_is_set_when_sent_again),
      TEST(dup_is_0_at_qos_0),
      TEST(dup_at_qos_0_is_malformed),
      TEST(dup_is_not_passed_on),
      TEST(qos_3_is_malformed),
      TEST(retain_replaces_what_was_kept),
      TEST(an_empty_retained_message_removes_and_is_delivered),
      TEST(an_empty_message_is_not_kept),
      TEST(without_retain_what_is_kept_stays),
      TEST(retain_handling_0_sends_what_is_kept_each_time),
      TEST(retain_handling_1_sends_only_to_new_subscriptions),
      TEST(retain_handling_2_sends_nothing),
      TEST(retain_is_cleared_unless_as_published),
      TEST(retain_is_kept_as_published),
      TEST(topic_name_must_be_utf8),
      TEST(topic_name_with_wildcard_is_refused),
      TEST(topic_name_delivered_matches_the_filter),
      TEST(properties_are_passed_on_unaltered),
      TEST(payload_format_indicator_is_passed_on),
      TEST(user_properties_keep_their_order),
      TEST(retained_messages_keep_their_properties),
      TEST(an_expired_message_is_not_delivered),
      TEST(an_expired_message_is_no_longer_kept),
      TEST(message_expiry_is_counted_down),
      TEST(aliases_do_not_outlive_the_connection),
      TEST(our_aliases_do_not_outlive_the_connection),
      TEST(alias_0_is_invalid),
      TEST(alias_beyond_the_maximum_is_invalid),
      TEST(every_alias_up_to_the_maximum_is_taken),
      TEST(an_alias_can_be_given_anew),
      TEST(an_unknown_alias_is_a_protocol_error),
      TEST(no_topic_and_no_alias_is_a_protocol_error),
      TEST(response_topic_must_be_utf8),
      TEST(response_topic_with_wildcard_is_refused),
      TEST(content_type_must_be_utf8),
      TEST(a_clients_publish_has_no_subscription_identifier),
      TEST(each_qos_has_its_answer),
      TEST(overlapping_subscriptions_deliver_once_at_the_highest_qos),
      TEST(a_subscription_identifier_comes_with_its_messages),
      TEST(one_copy_has_all_subscription_identifiers),
      TEST(answers_have_the_identifier_of_the_publish),
      TEST(an_undefined_reason_code_is_malformed),
      TEST(puback_says_that_nobody_subscribes),
      TEST(pubrel_of_an_unknown_identifier_is_answered_so),
      TEST(pubrec_of_an_unknown_identifier_is_answered_so),
      TEST(pubrel_with_other_flags_is_malformed),
      TEST(identifiers_in_use_are_not_given_again),
      TEST(qos_0_has_no_packet_identifier),
      TEST(qos_1_identifier_is_free_after_puback),
      TEST(qos_2_is_delivered_once_until_pubrel),
      TEST(qos_2_is_delivered_once_over_two_connections),
      TEST(qos_2_identifier_is_free_after_pubcomp),
      TEST(qos_2_identifier_is_free_after_a_refusing_pubrec),
      TEST(qos_2_goes_on_though_the_message_has_expired),
      TEST(qos_0_is_sent_once_and_not_kept),
      TEST(qos_1_waits_for_puback),
      TEST(qos_2_goes_through_its_four_packets),
      TEST(qos_2_waits_for_pubrec),
      TEST(after_pubrel_the_publish_is_not_sent_again),
      TEST(a_refusing_pubrec_ends_the_exchange),
      TEST(a_refusing_puback_ends_the_exchange),
      TEST(what_was_sent_does_not_expire),
      TEST(nothing_is_sent_again_within_a_connection),
      TEST(what_was_unanswered_is_sent_again_in_order),
      TEST(every_matching_session_gets_the_message),
      TEST(order_is_kept_within_topic_and_qos),
      TEST(acknowledgements_keep_the_order_of_the_messages),
      TEST(the_clients_receive_maximum_is_kept),
      TEST(a_refusing_pubrec_makes_room_in_the_window),
      TEST(a_full_window_delays_nothing_else),
      TEST(a_client_beyond_our_receive_maximum_is_disconnected),
  };
  return RUN("PUBLISH and its answers", tests);
}
