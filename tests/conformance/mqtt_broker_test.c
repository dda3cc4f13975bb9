/* What the broker offers beyond the numbered statements, and what happens at each of its bounds. docs/guide/limits.md has
 * the same as a table. */
#include "conformance/mqtt_suite.h"

#include <string.h>

static struct peer *subscribed(struct setting *in, const char *id, const char *filter, const char *options) {
  struct peer *p = join(in, id);
  say(p, "SUBSCRIBE id=1 f=%s %s", filter, options);
  expect(p, "SUBACK id=1");
  return p;
}

/* ---- Maximum QoS, Retain Available ---- */

static void maximum_qos_is_told_and_granted(void **state) {
  struct setting *in = *state;
  in->options.maximum_qos = 1;
  struct peer *a = knock(in), *b;
  say(a, "CONNECT id=a");
  expect(a, "CONNACK rc=00 MAXIMUM_QOS=1");
  say(a, "SUBSCRIBE id=1 f=t q=2 f=u q=0");
  expect(a, "SUBACK codes=01.00");
  b = join(in, "id=b");
  say(b, "PUBLISH t=t q=1 id=1 =x");
  expect(b, "PUBACK id=1 rc=00");
  expect(a, "PUBLISH t=t q=1");
}

static void a_publish_beyond_maximum_qos_ends(void **state) {
  struct setting *in = *state;
  in->options.maximum_qos = 0;
  struct peer *w = subscribed(in, "id=w", "t", "q=0"), *a = join(in, "id=a"), *b = join(in, "v=4 id=b");
  say(a, "PUBLISH t=t q=1 id=1 =x");
  expect_end(a, "DISCONNECT rc=9B");
  say(b, "PUBLISH t=t q=2 id=1 =x");
  expect_closed(b);
  expect_nothing(w);
}

static void a_will_beyond_maximum_qos_is_refused(void **state) {
  struct setting *in = *state;
  in->options.maximum_qos = 1;
  refused(in, "id=a will=w willq=2 willmsg=x", "rc=9B");
  join(in, "id=a will=w willq=1 willmsg=x");
}

static void a_retained_publish_without_support_ends(void **state) {
  struct setting *in = *state;
  in->options.retain_available = false;
  struct peer *a = knock(in);
  say(a, "CONNECT id=a");
  expect(a, "CONNACK rc=00 RETAIN_AVAILABLE=0");
  say(a, "PUBLISH t=t r=1 =x");
  expect_end(a, "DISCONNECT rc=9A");
  expect_nothing(subscribed(in, "id=b", "t", "q=0"));
}

static void a_retained_will_without_support_is_refused(void **state) {
  struct setting *in = *state;
  in->options.retain_available = false;
  refused(in, "id=a will=w willr=1 willmsg=x", "rc=9A");
}

/* ---- Response Information, Payload Format Indicator ---- */

static void response_information_is_told_when_asked(void **state) {
  struct setting *in = *state;
  in->options.response_information = "answers/";
  struct peer *a = knock(in), *b = knock(in);
  say(a, "CONNECT id=a REQUEST_RESPONSE_INFORMATION=1");
  expect(a, "CONNACK rc=00 RESPONSE_INFORMATION=answers/");
  say(b, "CONNECT id=b REQUEST_RESPONSE_INFORMATION=0");
  expect(b, "CONNACK rc=00 !RESPONSE_INFORMATION");
}

static void a_payload_that_is_not_its_format_is_refused(void **state) {
  struct setting *in = *state;
  in->options.payload_format_check = true;
  struct peer *w = subscribed(in, "id=w", "t", "q=2"), *a = join(in, "id=a");
  say(a, "PUBLISH t=t q=1 id=1 PAYLOAD_FORMAT_INDICATOR=1 =%%FF");
  expect(a, "PUBACK id=1 rc=99 REASON_STRING=payload%%20format%%20invalid");
  say(a, "PUBLISH t=t q=2 id=2 PAYLOAD_FORMAT_INDICATOR=1 =%%ED%%A0%%80");
  expect(a, "PUBREC id=2 rc=99");
  say(a, "PUBLISH t=t PAYLOAD_FORMAT_INDICATOR=1 =%%C3 | PUBLISH t=t PAYLOAD_FORMAT_INDICATOR=0 =%%FE");
  expect(w, "PUBLISH =%%FE");
  say(a, "PUBLISH t=t q=1 id=3 PAYLOAD_FORMAT_INDICATOR=1 =a%%00%%C3%%BC");
  expect(a, "PUBACK id=3 rc=00");
  expect(w, "PUBLISH =a%%00%%C3%%BC");
  expect_nothing(a);
  refused(in, "id=b will=w willmsg=%FF will.PAYLOAD_FORMAT_INDICATOR=1", "rc=99");
}

static void a_payload_is_not_looked_at_unasked(void **state) {
  struct peer *w = subscribed(*state, "id=w", "t", "q=1"), *a = join(*state, "id=a");
  say(a, "PUBLISH t=t q=1 id=1 PAYLOAD_FORMAT_INDICATOR=1 =%%FF");
  expect(a, "PUBACK id=1 rc=00");
  expect(w, "PUBLISH =%%FF PAYLOAD_FORMAT_INDICATOR=1");
}

/* ---- $SYS ---- */

static void sys_topics_tell_about_the_broker(void **state) {
  static const struct {
    const char *topic, *payload;
  } said[] = {
      {"version", NULL},
      {"uptime", "10%20seconds"},
      {"clients/connected", "2"},
      {"clients/disconnected", "1"},
      {"clients/total", "3"},
      {"messages/received", "6"},
      {"bytes/received", NULL},
      {"subscriptions/count", NULL},
      {"retained%20messages/count", "1"},
      {"moves", "0"},
      {"load/messages/received/1min", "5.14"}, /* 36 a minute, of which a window of 60 s has seen 10 s: a seventh */
  };
  struct setting *in = *state;
  struct peer *c = join(in, "id=c SESSION_EXPIRY_INTERVAL=100"), *a = join(in, "id=a"), *w = join(in, "id=w");
  hang_up(c);
  for (int i = 0; i < 6; i++) say(a, "PUBLISH t=t =x r=%d", i == 0);
  pass(in, 10 * ROAM_S);
  for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
    say(w, "SUBSCRIBE id=%zu f=$SYS/broker/%s q=1", i + 1, said[i].topic);
    expect(w, "SUBACK codes=01");
    if (said[i].payload) expect(w, "PUBLISH r=1 q=0 t=$SYS/broker/%s =%s", said[i].topic, said[i].payload);
    else expect(w, "PUBLISH r=1 q=0 t=$SYS/broker/%s", said[i].topic);
  }
}

static void sys_topics_are_said_again_when_they_change(void **state) {
  struct setting *in = *state;
  in->options.sys_interval_s = 5;
  struct peer *w = subscribed(in, "id=w keep=0", "$SYS/broker/clients/connected", "q=0 rh=2 rap=1"), *a;
  pass(in, 5 * ROAM_S);
  expect(w, "PUBLISH t=$SYS/broker/clients/connected =1");
  pass(in, 20 * ROAM_S);
  expect_nothing(w);
  a = join(in, "id=a keep=0");
  pass(in, 5 * ROAM_S);
  expect(w, "PUBLISH t=$SYS/broker/clients/connected =2 r=1");
  say(a, "DISCONNECT");
  pass(in, 5 * ROAM_S);
  expect(w, "PUBLISH t=$SYS/broker/clients/connected =1");
}

static void wildcards_do_not_show_sys(void **state) {
  struct peer *w = subscribed(*state, "id=w keep=0", "#", "q=0 f=+/broker/uptime q=0");
  pass(*state, 60 * ROAM_S);
  expect_nothing(w);
}

static void sys_can_be_off(void **state) {
  struct setting *in = *state;
  in->options.sys_interval_s = 0;
  struct peer *w = subscribed(in, "id=w keep=0", "$SYS/#", "q=0");
  pass(in, 60 * ROAM_S);
  expect_nothing(w);
}

static void clients_may_not_publish_to_sys(void **state) {
  struct peer *w = subscribed(*state, "id=w", "$SYSTEM/x", "q=0 f=$SYS/broker/own q=0"), *a = join(*state, "id=a");
  say(a, "PUBLISH t=$SYS/broker/own q=1 id=1 =x | PUBLISH t=$SYS/broker/own =x | PUBLISH t=$SYSTEM/x =y");
  expect(a, "PUBACK id=1 rc=87");
  expect(w, "PUBLISH t=$SYSTEM/x");
  expect_nothing(w);
  refused(*state, "id=b will=$SYS/x willmsg=x", "rc=87");
}

/* ---- shared subscriptions ---- */

static void a_shared_subscription_goes_round_the_connected(void **state) {
  struct peer *a = subscribed(*state, "id=a SESSION_EXPIRY_INTERVAL=60", "$share/g/t", "q=1");
  struct peer *b = subscribed(*state, "id=b", "$share/g/t", "q=1"), *p = join(*state, "id=p");
  for (unsigned i = 1; i <= 4; i++) say(p, "PUBLISH t=t q=1 id=%u =%u", i, i);
  for (unsigned i = 0; i < 2; i++) {
    expect(a, "PUBLISH");
    say(a, "PUBACK id=%u", last_id(a));
    expect(b, "PUBLISH");
    say(b, "PUBACK id=%u", last_id(b));
  }
  hang_up(a); /* its session lives on, but it is not connected */
  for (unsigned i = 5; i <= 8; i++) say(p, "PUBLISH t=t q=1 id=%u =%u", i, i);
  for (unsigned i = 5; i <= 8; i++) expect(b, "PUBLISH =%u", i);
}

static void a_share_is_handed_over_when_a_member_leaves(void **state) {
  struct peer *a = subscribed(*state, "id=a RECEIVE_MAXIMUM=1", "$share/g/t", "q=1"), *p = join(*state, "id=p");
  for (unsigned i = 1; i <= 3; i++) say(p, "PUBLISH t=t q=1 id=%u =%u CONTENT_TYPE=text", i, i);
  expect(a, "PUBLISH =1");
  struct peer *b = subscribed(*state, "id=b", "$share/g/t", "q=1 SUBSCRIPTION_IDENTIFIER=7");
  expect_nothing(b);
  hang_up(a); /* and its session ends: one message without PUBACK, two never sent */
  for (unsigned i = 1; i <= 3; i++) expect(b, "PUBLISH q=1 d=0 =%u CONTENT_TYPE=text SUBSCRIPTION_IDENTIFIER=7", i);
  expect_nothing(b);
}

/* ---- bounds ---- */

static void connections_max_closes(void **state) {
  struct setting *in = *state;
  in->options.connections_max = 2;
  join(in, "id=a");
  join(in, "id=b");
  turned_away(in);
  assert_int_equal(roam_broker_get_stats(in->broker).connects_refused, 1);
}

static void sessions_max_refuses(void **state) {
  struct setting *in = *state;
  in->options.sessions_max = 2;
  hang_up(join(in, "id=a SESSION_EXPIRY_INTERVAL=60"));
  join(in, "id=b");
  refused(in, "id=c", "rc=97 REASON_STRING=sessions_max%20is%20reached");
  join(in, "id=a clean=0"); /* whoever has one gets it */
}

static void subscriptions_max_refuses(void **state) {
  struct setting *in = *state;
  in->options.subscriptions_max = 2;
  struct peer *a = join(in, "id=a");
  say(a, "SUBSCRIBE id=1 f=a q=1 f=b q=1 f=c q=1");
  expect(a, "SUBACK codes=01.01.97 REASON_STRING=subscriptions_max%%20is%%20reached");
  say(a, "SUBSCRIBE id=2 f=b q=2");
  expect(a, "SUBACK codes=02");
  say(a, "UNSUBSCRIBE id=3 f=a");
  expect(a, "UNSUBACK");
  say(a, "SUBSCRIBE id=4 f=c q=0");
  expect(a, "SUBACK codes=00");
}

static void retained_max_keeps_no_more(void **state) {
  struct setting *in = *state;
  in->options.retained_max = 1;
  struct peer *w = subscribed(in, "id=w", "t/+", "q=0"), *a = join(in, "id=a");
  say(a, "PUBLISH t=t/1 q=1 id=1 r=1 =x | PUBLISH t=t/2 q=1 id=2 r=1 =y | PUBLISH t=t/1 q=1 id=3 r=1 =z");
  for (unsigned i = 1; i <= 3; i++) expect(a, "PUBACK id=%u rc=00", i);
  expect(w, "PUBLISH t=t/1 =x");
  expect(w, "PUBLISH t=t/2 =y");
  expect(w, "PUBLISH t=t/1 =z");
  struct peer *b = subscribed(in, "id=b", "t/+", "q=0");
  expect(b, "PUBLISH t=t/1 =z r=1");
  expect_nothing(b);
}

/* The publisher's acknowledgements come at once and say success, whatever the subscriber does. */
static void fill(struct setting *in, struct peer *p, unsigned n) {
  for (unsigned i = 1; i <= n; i++) {
    say(p, "PUBLISH t=t q=1 id=%u =%u", i, i);
    expect(p, "PUBACK id=%u rc=00", i);
  }
  (void)in;
}

static void a_session_at_its_queue_bound_is_ended(void **state) {
  struct setting *in = *state;
  in->options.queue_messages_max = 5;
  struct peer *a = subscribed(in, "id=a SESSION_EXPIRY_INTERVAL=60 RECEIVE_MAXIMUM=1", "t", "q=1"), *p = join(in, "id=p");
  fill(in, p, 6);
  expect(a, "PUBLISH =1");
  expect_nothing(a);
  fill(in, p, 1);
  expect_end(a, "DISCONNECT rc=97 REASON_STRING=its%%20queue%%20is%%20full");
  a = knock(in);
  say(a, "CONNECT id=a clean=0 SESSION_EXPIRY_INTERVAL=60");
  expect(a, "CONNACK rc=00 sp=0");
  assert_int_equal(roam_broker_get_stats(in->broker).sessions_overflowed, 1);
}

static void an_absent_session_at_its_bound_is_ended(void **state) {
  struct setting *in = *state;
  in->options.queue_bytes_max = 100;
  hang_up(subscribed(in, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=1"));
  struct peer *p = join(in, "id=p"), *a = knock(in);
  say(p, "PUBLISH t=t q=1 id=1 size=60 | PUBLISH t=t q=1 id=2 size=60");
  expect(p, "PUBACK id=1 rc=00");
  expect(p, "PUBACK id=2 rc=00");
  say(a, "CONNECT id=a clean=0");
  expect(a, "CONNACK rc=00 sp=0");
}

static void overflow_may_drop_the_oldest(void **state) {
  struct setting *in = *state;
  in->options.queue_messages_max = 3;
  in->options.overflow = ROAM_OVERFLOW_DROP_OLDEST;
  hang_up(subscribed(in, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=1"));
  fill(in, join(in, "id=p"), 5);
  struct peer *a = join(in, "id=a clean=0");
  for (unsigned i = 3; i <= 5; i++) expect(a, "PUBLISH =%u", i);
  assert_int_equal(roam_broker_get_stats(in->broker).messages_dropped, 2);
}

static void overflow_may_drop_the_newest(void **state) {
  struct setting *in = *state;
  in->options.queue_messages_max = 3;
  in->options.overflow = ROAM_OVERFLOW_DROP_NEWEST;
  hang_up(subscribed(in, "id=a SESSION_EXPIRY_INTERVAL=60", "t", "q=1"));
  fill(in, join(in, "id=p"), 5);
  struct peer *a = join(in, "id=a clean=0");
  for (unsigned i = 1; i <= 3; i++) expect(a, "PUBLISH =%u", i);
  expect_nothing(a);
  assert_int_equal(roam_broker_get_stats(in->broker).messages_dropped, 2);
}

static void a_deaf_subscriber_delays_nobody(void **state) {
  struct setting *in = *state;
  struct peer *a = subscribed(in, "id=a keep=0", "t", "q=0"), *b = subscribed(in, "id=b", "t", "q=1"),
              *p = join(in, "id=p");
  stay_deaf(a, true);
  for (unsigned i = 1; i <= 100; i++) {
    say(p, "PUBLISH t=t q=1 id=%u size=20000", i);
    expect(p, "PUBACK id=%u rc=00", i);
    expect(b, "PUBLISH size=20000 q=1");
    say(b, "PUBACK id=%u", last_id(b));
  }
}

static void the_connect_timeout_closes(void **state) {
  struct setting *in = *state;
  in->options.connect_timeout_ns = 3 * ROAM_S;
  struct peer *p = knock(in);
  pass(in, 2 * ROAM_S);
  assert_true(p->closed_at == 0);
  pass(in, 2 * ROAM_S);
  expect_closed(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(maximum_qos_is_told_and_granted),
      TEST(a_publish_beyond_maximum_qos_ends),
      TEST(a_will_beyond_maximum_qos_is_refused),
      TEST(a_retained_publish_without_support_ends),
      TEST(a_retained_will_without_support_is_refused),
      TEST(response_information_is_told_when_asked),
      TEST(a_payload_that_is_not_its_format_is_refused),
      TEST(a_payload_is_not_looked_at_unasked),
      TEST(sys_topics_tell_about_the_broker),
      TEST(sys_topics_are_said_again_when_they_change),
      TEST(wildcards_do_not_show_sys),
      TEST(sys_can_be_off),
      TEST(clients_may_not_publish_to_sys),
      TEST(a_shared_subscription_goes_round_the_connected),
      TEST(a_share_is_handed_over_when_a_member_leaves),
      TEST(connections_max_closes),
      TEST(sessions_max_refuses),
      TEST(subscriptions_max_refuses),
      TEST(retained_max_keeps_no_more),
      TEST(a_session_at_its_queue_bound_is_ended),
      TEST(an_absent_session_at_its_bound_is_ended),
      TEST(overflow_may_drop_the_oldest),
      TEST(overflow_may_drop_the_newest),
      TEST(a_deaf_subscriber_delays_nobody),
      TEST(the_connect_timeout_closes),
  };
  return RUN("the broker's options and bounds", tests);
}
