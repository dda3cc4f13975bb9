/* What the client must do, against a scripted server. docs/conformance.md has the statements' ids. */
#include "conformance/mqtt_suite.h"

#include <string.h>

static void client_begins_with_connect(void **state) {
  struct setting *in = *state;
  in->client_options.user_name = "u";
  in->client_options.password = (roam_bytes){(const uint8_t *)"p", 1};
  in->client_options.will_topic = "w";
  in->client_options.will_payload = (roam_bytes){(const uint8_t *)"bye", 3};
  in->client_options.will_qos = 1;
  struct peer *s = serve(in);
  expect(s, "CONNECT v=5 id=c clean=1 keep=60 user=u pass=p will=w willq=1 willr=0 willmsg=bye");
  expect_nothing(s);
}

static void client_pings_within_keep_alive(void **state) {
  struct setting *in = *state;
  in->client_options.keep_alive_s = 10;
  struct peer *s = welcome(in, "rc=00");
  pass(in, 10 * ROAM_S);
  expect(s, "PINGREQ");
}

static void client_uses_the_servers_keep_alive(void **state) {
  struct peer *s = welcome(*state, "rc=00 SERVER_KEEP_ALIVE=5");
  pass(*state, 5 * ROAM_S);
  expect(s, "PINGREQ");
}

static void client_gives_its_packets_unused_identifiers(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "1", 1, false);
  publish(in, "t", "2", 2, false);
  expect(s, "PUBLISH q=1 d=0 =1");
  uint16_t first = last_id(s);
  expect(s, "PUBLISH q=2 d=0 =2");
  assert_true(first != 0 && last_id(s) != 0 && first != last_id(s));
}

static void client_publishes_at_qos_0_once(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "x", 0, false);
  expect(s, "PUBLISH q=0 d=0 t=t =x");
  expect_nothing(s);
}

static void client_answers_each_qos(void **state) {
  struct peer *s = welcome(*state, "rc=00");
  say(s, "PUBLISH t=t q=1 id=7 =1 | PUBLISH t=t q=2 id=8 =2 | PUBLISH t=t q=1 id=9 =3");
  expect(s, "PUBACK id=7 rc=00");
  expect(s, "PUBREC id=8 rc=00");
  expect(s, "PUBACK id=9 rc=00");
  say(s, "PUBREL id=8");
  expect(s, "PUBCOMP id=8 rc=00");
}

static void client_delivers_qos_2_once(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  say(s, "PUBLISH t=t q=2 id=8 =2");
  expect(s, "PUBREC id=8");
  say(s, "PUBLISH t=t q=2 id=8 d=1 =2");
  expect(s, "PUBREC id=8 rc=00");
  expect_event(in, "MESSAGE q=2 =2");
  expect_no_event(in);
}

static void client_goes_through_the_four_packets(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "x", 2, false);
  expect(s, "PUBLISH q=2");
  uint16_t id = last_id(s);
  say(s, "PUBREC id=%u", id);
  expect(s, "PUBREL id=%u rc=00", id);
  say(s, "PUBCOMP id=%u", id);
  expect_event(in, "PUBLISHED rc=0");
}

static void client_keeps_the_servers_receive_maximum(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00 RECEIVE_MAXIMUM=1");
  publish(in, "t", "1", 1, false);
  publish(in, "t", "2", 1, false);
  expect(s, "PUBLISH =1");
  uint16_t id = last_id(s);
  subscribe(in, "f", 1);
  expect(s, "SUBSCRIBE f=f");
  expect_nothing(s);
  say(s, "PUBACK id=%u", id);
  expect(s, "PUBLISH =2");
}

static void client_sends_no_alias_without_a_maximum(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "long/topic", "1", 0, false);
  expect(s, "PUBLISH t=long/topic !TOPIC_ALIAS !SUBSCRIPTION_IDENTIFIER");
}

static void client_sends_no_alias_beyond_the_maximum(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00 TOPIC_ALIAS_MAXIMUM=1");
  publish(in, "long/one", "1", 0, false);
  publish(in, "long/two", "2", 0, false);
  expect(s, "PUBLISH t=long/one TOPIC_ALIAS=1");
  expect(s, "PUBLISH t=long/two !TOPIC_ALIAS");
}

static void client_takes_aliases(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  say(s, "PUBLISH t=a =1 TOPIC_ALIAS=16 | PUBLISH t= =2 TOPIC_ALIAS=16");
  expect_event(in, "MESSAGE t=a =1");
  expect_event(in, "MESSAGE t=a =2");
}

static void client_sends_again_in_order(void **state) {
  struct setting *in = *state;
  in->client_options.session_expiry_s = 600;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "1", 1, false);
  publish(in, "t", "2", 2, false);
  hang_up(s);
  s = next_connection(in);
  expect(s, "CONNECT clean=0");
  say(s, "CONNACK rc=00 sp=1");
  expect(s, "PUBLISH q=1 d=1 =1");
  expect(s, "PUBLISH q=2 d=1 =2");
}

static void client_refuses_a_session_it_does_not_have(void **state) {
  struct peer *s = serve(*state);
  expect(s, "CONNECT clean=1");
  say(s, "CONNACK rc=00 sp=1");
  pass(*state, ROAM_S);
  assert_true(s->closed_at != 0);
}

static void client_closes_after_its_disconnect(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  assert_int_equal(roam_client_close(in->client, roam_world_now(in->world), 0), 0);
  expect_end(s, "DISCONNECT rc=00");
}

static void client_does_not_publish_beyond_maximum_qos(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00 MAXIMUM_QOS=0 RETAIN_AVAILABLE=0");
  roam_client_message m = {.topic = {(const uint8_t *)"t", 1}, .qos = 1};
  assert_true(roam_client_publish(in->client, roam_world_now(in->world), &m, NULL) != 0);
  m.qos = 0;
  m.retain = true;
  assert_true(roam_client_publish(in->client, roam_world_now(in->world), &m, NULL) != 0);
  expect_nothing(s);
}

static void client_begins_anew_without_a_session(void **state) {
  struct setting *in = *state;
  in->client_options.session_expiry_s = 600;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "x", 2, false);
  expect(s, "PUBLISH q=2 d=0");
  say(s, "PUBREC id=%u", last_id(s));
  expect(s, "PUBREL");
  hang_up(s);
  s = next_connection(in);
  expect(s, "CONNECT clean=0");
  say(s, "CONNACK rc=00 sp=0"); /* the PUBREL belonged to what is gone */
  pass(in, ROAM_S);
  for (size_t i = s->expected_n; i < s->heard_n; i++) assert_null(strstr(s->heard[i], "PUBREL"));
}

static void client_keeps_to_maximum_packet_size(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00 MAXIMUM_PACKET_SIZE=20");
  roam_client_message m = {.topic = {(const uint8_t *)"topic", 5}, .payload = {(const uint8_t *)"0123456789012345", 16}};
  assert_true(roam_client_publish(in->client, roam_world_now(in->world), &m, NULL) != 0);
  expect_nothing(s);
}

static void client_releases_in_the_order_of_receipts(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "1", 2, false);
  publish(in, "t", "2", 2, false);
  expect(s, "PUBLISH =1");
  uint16_t one = last_id(s);
  expect(s, "PUBLISH =2");
  uint16_t two = last_id(s);
  say(s, "PUBREC id=%u | PUBREC id=%u", two, one);
  expect(s, "PUBREL id=%u", two);
  expect(s, "PUBREL id=%u", one);
}

/* ---- beyond the numbered statements ---- */

static roam_bytes encoded(uint8_t space[64], int id, uint32_t number, const char *text) {
  roam_props props = {.base = space, .cap = 64};
  roam_bytes bytes = {(const uint8_t *)text, text ? strlen(text) : 0};
  assert_int_equal(text ? roam_props_put_bytes(&props, id, bytes) : roam_props_put_number(&props, id, number), 0);
  return (roam_bytes){space, props.len};
}

static void client_says_its_limits(void **state) {
  struct setting *in = *state;
  in->client_options.receive_maximum = 7;
  in->client_options.topic_alias_maximum = 3;
  in->client_options.maximum_packet_size = 5000;
  struct peer *s = welcome(in, "rc=00");
  assert_non_null(strstr(s->heard[0], " RECEIVE_MAXIMUM=7"));
  assert_non_null(strstr(s->heard[0], " TOPIC_ALIAS_MAXIMUM=3"));
  assert_non_null(strstr(s->heard[0], " MAXIMUM_PACKET_SIZE=5000"));
  say(s, "PUBLISH t=a =1 TOPIC_ALIAS=4");
  expect_end(s, "DISCONNECT rc=94 REASON_STRING=topic%%20alias%%20above%%20the%%20maximum");
}

static void client_asks_for_response_information(void **state) {
  struct setting *in = *state;
  uint8_t space[64], will[64];
  in->client_options.request_response_information = true;
  in->client_options.will_topic = "w";
  in->client_options.will_props = encoded(will, ROAM_PROP_CONTENT_TYPE, 0, "text");
  roam_props props = {.base = space, .cap = sizeof space};
  assert_int_equal(
      roam_props_put_user(&props, (roam_bytes){(const uint8_t *)"k", 1}, (roam_bytes){(const uint8_t *)"v", 1}), 0);
  in->client_options.connect_props = (roam_bytes){space, props.len};
  struct peer *s = serve(in);
  expect(s, "CONNECT REQUEST_RESPONSE_INFORMATION=1 USER_PROPERTY=k:v will=w will.CONTENT_TYPE=text");
  say(s, "CONNACK rc=00 RESPONSE_INFORMATION=answers/");
  expect_event(in, "CONNECTED");
  assert_string_equal(roam_client_response_information(in->client), "answers/");
}

static void client_subscribes_with_an_identifier(void **state) {
  struct setting *in = *state;
  in->client_options.session_expiry_s = 600;
  struct peer *s = welcome(in, "rc=00");
  roam_filter f[2] = {{.filter = {(const uint8_t *)"a/#", 3}, .qos = 1, .identifier = 7},
                      {.filter = {(const uint8_t *)"b", 1}, .identifier = 8}};
  roam_time now = roam_world_now(in->world);
  assert_int_equal(roam_client_subscribe(in->client, now, f, 2, NULL), ROAM_E_ARGUMENT);
  assert_int_equal(roam_client_subscribe(in->client, now, &f[0], 1, NULL), 0);
  assert_int_equal(roam_client_subscribe(in->client, now, &f[1], 1, NULL), 0);
  expect(s, "SUBSCRIBE f=a/# q=1 SUBSCRIPTION_IDENTIFIER=7");
  say(s, "SUBACK id=%u codes=01", last_id(s));
  expect(s, "SUBSCRIBE f=b SUBSCRIPTION_IDENTIFIER=8");
  say(s, "SUBACK id=%u codes=00", last_id(s));
  hang_up(s);
  s = next_connection(in);
  expect(s, "CONNECT");
  say(s, "CONNACK rc=00 sp=0"); /* made again, each with its own */
  expect(s, "SUBSCRIBE f=a/# SUBSCRIPTION_IDENTIFIER=7");
  expect(s, "SUBSCRIBE f=b SUBSCRIPTION_IDENTIFIER=8");
}

static void client_checks_payloads_when_asked(void **state) {
  struct setting *in = *state;
  uint8_t space[64];
  in->client_options.payload_format_check = true;
  struct peer *s = welcome(in, "rc=00");
  say(s, "PUBLISH t=t q=1 id=1 PAYLOAD_FORMAT_INDICATOR=1 =%%FF | PUBLISH t=t PAYLOAD_FORMAT_INDICATOR=1 =%%FF");
  expect(s, "PUBACK id=1 rc=99");
  say(s, "PUBLISH t=t q=2 id=2 PAYLOAD_FORMAT_INDICATOR=1 =%%FF");
  expect(s, "PUBREC id=2 rc=99");
  say(s, "PUBLISH t=t q=1 id=3 PAYLOAD_FORMAT_INDICATOR=1 =good");
  expect(s, "PUBACK id=3 rc=00");
  expect_event(in, "MESSAGE t=t =good");
  expect_no_event(in);
  assert_int_equal(roam_client_get_stats(in->client).dropped, 3);
  roam_client_message m = {.topic = {(const uint8_t *)"t", 1}, .payload = {(const uint8_t *)"\xff", 1}};
  m.props = encoded(space, ROAM_PROP_PAYLOAD_FORMAT_INDICATOR, 1, NULL);
  assert_int_equal(roam_client_publish(in->client, roam_world_now(in->world), &m, NULL), ROAM_E_ARGUMENT);
}

static void client_acknowledges_by_hand(void **state) {
  struct setting *in = *state;
  in->client_options.manual_ack = true;
  struct peer *s = welcome(in, "rc=00");
  say(s, "PUBLISH t=t q=1 id=7 =1 | PUBLISH t=t q=2 id=8 =2");
  expect_event(in, "MESSAGE =1");
  expect_event(in, "MESSAGE =2");
  expect_nothing(s);
  roam_time now = roam_world_now(in->world);
  assert_int_equal(roam_client_ack(in->client, now, 0, 8), 0);
  expect_nothing(s); /* answers keep the order of the messages */
  assert_int_equal(roam_client_ack(in->client, roam_world_now(in->world), 0, 7), 0);
  expect(s, "PUBACK id=7 rc=00");
  expect(s, "PUBREC id=8 rc=00");
}

static void client_tells_each_result(void **state) {
  struct setting *in = *state;
  struct peer *s = welcome(in, "rc=00");
  publish(in, "t", "1", 1, false);
  expect(s, "PUBLISH =1");
  say(s, "PUBACK id=%u rc=97", last_id(s));
  expect_event(in, "PUBLISHED reason=97");
  publish(in, "t", "2", 2, false);
  expect(s, "PUBLISH =2");
  say(s, "PUBREC id=%u rc=87", last_id(s));
  expect_event(in, "PUBLISHED reason=87");
  publish(in, "t", "3", 2, false);
  expect(s, "PUBLISH =3");
  say(s, "PUBREC id=%u rc=10", last_id(s));
  expect(s, "PUBREL rc=00");
  say(s, "PUBCOMP id=%u", last_id(s));
  expect_event(in, "PUBLISHED rc=0 reason=10");
  subscribe(in, "f", 1);
  expect(s, "SUBSCRIBE f=f");
  say(s, "SUBACK id=%u codes=8F", last_id(s));
  expect_event(in, "SUBSCRIBED reason=8F codes=8F");
}

static void client_queue_is_bounded(void **state) {
  struct setting *in = *state;
  in->client_options.queue_messages_max = 2;
  struct peer *s = welcome(in, "rc=00 RECEIVE_MAXIMUM=1");
  roam_client_message m = {.topic = {(const uint8_t *)"t", 1}, .qos = 1};
  publish(in, "t", "1", 1, false);
  expect(s, "PUBLISH =1");
  uint16_t id = last_id(s);
  publish(in, "t", "2", 1, false);
  publish(in, "t", "3", 1, false);
  assert_int_equal(roam_client_publish(in->client, roam_world_now(in->world), &m, NULL), ROAM_E_BLOCKED);
  say(s, "PUBACK id=%u", id);
  expect(s, "PUBLISH =2");
  expect_event(in, "PUBLISHED");
  expect_event(in, "WRITABLE");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(client_begins_with_connect),
      TEST(client_pings_within_keep_alive),
      TEST(client_uses_the_servers_keep_alive),
      TEST(client_gives_its_packets_unused_identifiers),
      TEST(client_publishes_at_qos_0_once),
      TEST(client_answers_each_qos),
      TEST(client_delivers_qos_2_once),
      TEST(client_goes_through_the_four_packets),
      TEST(client_keeps_the_servers_receive_maximum),
      TEST(client_sends_no_alias_without_a_maximum),
      TEST(client_sends_no_alias_beyond_the_maximum),
      TEST(client_takes_aliases),
      TEST(client_sends_again_in_order),
      TEST(client_refuses_a_session_it_does_not_have),
      TEST(client_closes_after_its_disconnect),
      TEST(client_does_not_publish_beyond_maximum_qos),
      TEST(client_begins_anew_without_a_session),
      TEST(client_keeps_to_maximum_packet_size),
      TEST(client_releases_in_the_order_of_receipts),
      TEST(client_says_its_limits),
      TEST(client_asks_for_response_information),
      TEST(client_subscribes_with_an_identifier),
      TEST(client_checks_payloads_when_asked),
      TEST(client_acknowledges_by_hand),
      TEST(client_tells_each_result),
      TEST(client_queue_is_bounded),
  };
  return RUN("the client", tests);
}
