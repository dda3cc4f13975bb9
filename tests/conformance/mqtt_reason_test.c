/* Reason strings: every error of the broker says in words what it is, where the client wants that and takes packets so
 * large. */
#include "conformance/mqtt_suite.h"

static void puback_reason_string_fits(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b MAXIMUM_PACKET_SIZE=20");
  say(a, "PUBLISH t=$SYS/x q=1 id=1");
  expect(a, "PUBACK id=1 rc=87 REASON_STRING=not%%20authorized !USER_PROPERTY");
  say(b, "PUBLISH t=$SYS/x q=1 id=1");
  expect(b, "PUBACK id=1 rc=87 !REASON_STRING !USER_PROPERTY");
}

static void pubrec_reason_string_fits(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b MAXIMUM_PACKET_SIZE=20");
  say(a, "PUBLISH t=$SYS/x q=2 id=1");
  expect(a, "PUBREC id=1 rc=87 REASON_STRING=not%%20authorized !USER_PROPERTY");
  say(b, "PUBLISH t=$SYS/x q=2 id=1");
  expect(b, "PUBREC id=1 rc=87 !REASON_STRING !USER_PROPERTY");
}

static void pubrel_reason_string_fits(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b MAXIMUM_PACKET_SIZE=20");
  say(a, "PUBREC id=9");
  expect(a, "PUBREL id=9 rc=92 REASON_STRING=packet%%20identifier%%20not%%20found !USER_PROPERTY");
  say(b, "PUBREC id=9");
  expect(b, "PUBREL id=9 rc=92 !REASON_STRING !USER_PROPERTY");
}

static void pubcomp_reason_string_fits(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b MAXIMUM_PACKET_SIZE=20");
  say(a, "PUBREL id=9");
  expect(a, "PUBCOMP id=9 rc=92 REASON_STRING=packet%%20identifier%%20not%%20found !USER_PROPERTY");
  say(b, "PUBREL id=9");
  expect(b, "PUBCOMP id=9 rc=92 !REASON_STRING !USER_PROPERTY");
}

static void suback_reason_string_fits(void **state) {
  struct setting *in = *state;
  in->options.topic_levels_max = 2;
  struct peer *a = join(in, "id=a"), *b = join(in, "id=b MAXIMUM_PACKET_SIZE=20"),
              *c = join(in, "id=c REQUEST_PROBLEM_INFORMATION=0");
  say(a, "SUBSCRIBE id=1 f=a f=a/b/c");
  expect(a, "SUBACK id=1 codes=00.8F REASON_STRING=more%%20levels%%20than%%20topic_levels_max !USER_PROPERTY");
  say(a, "SUBSCRIBE id=2 f=a");
  expect(a, "SUBACK id=2 codes=00 !REASON_STRING !USER_PROPERTY");
  say(b, "SUBSCRIBE id=1 f=a/b/c");
  expect(b, "SUBACK id=1 codes=8F !REASON_STRING !USER_PROPERTY");
  say(c, "SUBSCRIBE id=1 f=a/b/c");
  expect(c, "SUBACK id=1 codes=8F !REASON_STRING !USER_PROPERTY");
}

static void disconnect_reason_string_fits(void **state) {
  struct peer *a = join(*state, "id=a"), *b = join(*state, "id=b MAXIMUM_PACKET_SIZE=20"), *c;
  say_bytes(a, "C100");
  expect_end(a, "DISCONNECT rc=81 REASON_STRING=flags%%20of%%20the%%20first%%20byte%%20are%%20not%%20those%%20of%%20the%%20"
                "packet%%20type");
  say_bytes(b, "C100");
  expect_end(b, "DISCONNECT rc=81 !REASON_STRING !USER_PROPERTY");
  c = join(*state, "id=c");
  join(*state, "id=c");
  expect_end(
      c, "DISCONNECT rc=8E REASON_STRING=another%%20connection%%20has%%20taken%%20over%%20the%%20session !USER_PROPERTY");
}

static void connack_reason_string_fits(void **state) {
  refused(*state, "id=a AUTHENTICATION_METHOD=m", "rc=8C REASON_STRING=no%20authentication%20method%20is%20supported");
  refused(*state, "id=a AUTHENTICATION_METHOD=m MAXIMUM_PACKET_SIZE=20", "rc=8C !REASON_STRING !USER_PROPERTY");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(puback_reason_string_fits),  TEST(pubrec_reason_string_fits), TEST(pubrel_reason_string_fits),
      TEST(pubcomp_reason_string_fits), TEST(suback_reason_string_fits), TEST(disconnect_reason_string_fits),
      TEST(connack_reason_string_fits),
  };
  return RUN("reason strings", tests);
}
