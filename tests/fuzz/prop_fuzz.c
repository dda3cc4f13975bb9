/* prop_fuzz.c - any bytes as properties. What the check accepts can be walked to its end, found, rebuilt byte for byte, and
 * carried by a message; what it refuses is refused without a step too far. Input: how, then the bytes. */
#include "fuzz.h"

#include "mqtt/packet.h"

/* Walks to the end; the same properties again when they are put one by one. */
static void check_rebuilt(roam_bytes props) {
  uint8_t *out = malloc(props.len + 1);
  FUZZ_CHECK(out != NULL);
  roam_props built = {out, 0, props.len};
  roam_bytes rest = props;
  roam_prop prop, first;
  int rv;
  while ((rv = roam_prop_next(&rest, &prop)) == 1) {
    FUZZ_CHECK(roam_prop_name(prop.id) != NULL);
    FUZZ_CHECK(roam_prop_find(props, prop.id, &first) == 1 && first.id == prop.id);
    FUZZ_CHECK(roam_props_put(&built, &prop) == 0);
  }
  FUZZ_CHECK(rv == 0 && fuzz_same(props, (roam_bytes){out, built.len}));
  roam_prop user = {.id = ROAM_PROP_USER_PROPERTY};
  FUZZ_CHECK(roam_props_put(&built, &user) == ROAM_E_LIMIT && built.len == props.len);
  free(out);
}

static size_t count_kept(roam_bytes props) {
  size_t n = 0;
  roam_prop prop;
  while (roam_prop_next(&props, &prop) == 1)
    n += prop.id != ROAM_PROP_TOPIC_ALIAS && prop.id != ROAM_PROP_SUBSCRIPTION_IDENTIFIER;
  return n;
}

static void check_message(roam_bytes props, bool legal) {
  static const roam_bytes topic = {(const uint8_t *)"t", 1};
  roam_message m;
  roam_prop prop;
  roam_rc rc = roam_message_make(&m, ROAM_S, topic, props, topic, 1, false);
  FUZZ_CHECK(rc == (legal ? 0 : ROAM_E_ARGUMENT));
  if (rc != 0) return;
  FUZZ_CHECK(roam_prop_find(m.props, ROAM_PROP_TOPIC_ALIAS, &prop) == 0);
  FUZZ_CHECK(roam_prop_find(m.props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, &prop) == 0);
  FUZZ_CHECK(count_kept(m.props) == count_kept(props) && m.props.len <= props.len);
  FUZZ_CHECK((m.expires == ROAM_NEVER) == (roam_prop_find(props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, &prop) == 0));
  roam_blob_unref(m.blob);
}

static bool check_place(roam_bytes props, uint32_t place) {
  roam_fault fault = {0};
  roam_rc rc = roam_props_check(props, place, &fault);
  if (rc == 0) {
    check_rebuilt(props);
    return true;
  }
  FUZZ_CHECK(fault.rc == rc && fault.text != NULL);
  FUZZ_CHECK(fault.reason == ROAM_REASON_MALFORMED_PACKET || fault.reason == ROAM_REASON_PROTOCOL_ERROR ||
             fault.reason == ROAM_REASON_TOPIC_ALIAS_INVALID);
  return false;
}

/* Any value, legal or not: either it is refused and nothing has changed, or it comes out as it went in. */
static void check_put(struct tape *tape) {
  uint8_t memory[64];
  roam_props out = {memory, 0, sizeof memory};
  roam_prop got, prop = {.id = tape_u8(tape)};
  prop.number = (uint32_t)tape_u16(tape) << 16 | tape_u16(tape);
  prop.bytes = tape_take(tape, tape_u8(tape) & 31);
  prop.value = tape_take(tape, tape_u8(tape) & 31);
  roam_rc rc = roam_props_put(&out, &prop);
  FUZZ_CHECK(rc == 0 || rc == ROAM_E_ARGUMENT || rc == ROAM_E_LIMIT);
  if (rc != 0) {
    FUZZ_CHECK(out.len == 0);
    return;
  }
  roam_bytes rest = {memory, out.len};
  FUZZ_CHECK(roam_prop_next(&rest, &got) == 1 && rest.len == 0 && got.id == prop.id);
  FUZZ_CHECK(got.bytes.base == NULL || fuzz_same(got.bytes, prop.bytes));
  FUZZ_CHECK(got.bytes.base != NULL || got.number == prop.number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tape tape = {data, data + size};
  if ((tape_u8(&tape) & 1) != 0) {
    check_put(&tape);
    return 0;
  }
  roam_bytes bytes = tape_take(&tape, tape_left(&tape));
  uint8_t *copy = fuzz_copy(bytes);
  roam_bytes props = {copy, bytes.len};
  check_place(props, ROAM_IN_WILL);
  for (int type = ROAM_CONNECT; type <= ROAM_AUTH; type++) {
    bool legal = check_place(props, ROAM_IN(type));
    if (type == ROAM_PUBLISH) check_message(props, legal);
  }
  free(copy);
  return 0;
}
