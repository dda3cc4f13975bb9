/* prop_test.c - properties built, walked and checked one by one against table 2-4; the variable byte integer at its edges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/packet.h"

static const int all_ids[] = {
#define X(name, number) number,
    ROAM_PROP_MAP(X)
#undef X
};

static bool is_number(int id) {
  uint8_t memory[16];
  roam_props props = {memory, 0, sizeof memory};
  return roam_props_put_number(&props, id, 1) == 0;
}

/* One sound property of that id. */
static roam_bytes make_one(int id, uint8_t memory[64]) {
  roam_props props = {memory, 0, 64};
  roam_bytes a = {(const uint8_t *)"a", 1};
  roam_rc rv = is_number(id)                   ? roam_props_put_number(&props, id, 1)
               : id == ROAM_PROP_USER_PROPERTY ? roam_props_put_user(&props, a, a)
                                               : roam_props_put_bytes(&props, id, a);
  assert_int_equal(rv, 0);
  return (roam_bytes){props.base, props.len};
}

static void each_is_put_and_found(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof all_ids / sizeof all_ids[0]; i++) {
    uint8_t memory[64];
    roam_bytes props = make_one(all_ids[i], memory), rest = props;
    roam_prop prop;
    assert_non_null(roam_prop_name(all_ids[i]));
    assert_int_equal(roam_prop_next(&rest, &prop), 1);
    assert_int_equal(prop.id, all_ids[i]);
    assert_int_equal(roam_prop_next(&rest, &prop), 0);
    assert_int_equal(roam_prop_find(props, all_ids[i], &prop), 1);
    assert_int_equal(prop.number, is_number(all_ids[i]) ? 1 : 0);
    for (size_t cap = 0; cap < props.len; cap++) {
      uint8_t small[64];
      roam_props full = {small, 0, cap};
      assert_int_equal(roam_props_put(&full, &prop), ROAM_E_LIMIT);
      rest = (roam_bytes){props.base, cap};
      assert_int_equal(roam_prop_next(&rest, &prop), cap == 0 ? 0 : ROAM_E_MALFORMED);
      assert_int_equal(roam_prop_find(props, all_ids[i], &prop), 1);
    }
  }
  assert_null(roam_prop_name(0));
  assert_null(roam_prop_name(0x7F));
  assert_null(roam_prop_name(-1));
}

/* Table 2-4 as the specification prints it, letter by letter: which packets each property may come in. */
static void each_is_allowed_where_table_2_4_says(void **state) {
  (void)state;
  enum {
    W = 1
  };
#define P(x) (UINT32_C(1) << (ROAM_##x))
  static const struct {
    int id;
    uint32_t places;
  } table[] = {
      {0x01, P(PUBLISH) | W},
      {0x02, P(PUBLISH) | W},
      {0x03, P(PUBLISH) | W},
      {0x08, P(PUBLISH) | W},
      {0x09, P(PUBLISH) | W},
      {0x0B, P(PUBLISH) | P(SUBSCRIBE)},
      {0x11, P(CONNECT) | P(CONNACK) | P(DISCONNECT)},
      {0x12, P(CONNACK)},
      {0x13, P(CONNACK)},
      {0x15, P(CONNECT) | P(CONNACK) | P(AUTH)},
      {0x16, P(CONNECT) | P(CONNACK) | P(AUTH)},
      {0x17, P(CONNECT)},
      {0x18, W},
      {0x19, P(CONNECT)},
      {0x1A, P(CONNACK)},
      {0x1C, P(CONNACK) | P(DISCONNECT)},
      {0x1F,
       P(CONNACK) | P(PUBACK) | P(PUBREC) | P(PUBREL) | P(PUBCOMP) | P(SUBACK) | P(UNSUBACK) | P(DISCONNECT) | P(AUTH)},
      {0x21, P(CONNECT) | P(CONNACK)},
      {0x22, P(CONNECT) | P(CONNACK)},
      {0x23, P(PUBLISH)},
      {0x24, P(CONNACK)},
      {0x25, P(CONNACK)},
      {0x26, P(CONNECT) | P(CONNACK) | P(PUBLISH) | W | P(PUBACK) | P(PUBREC) | P(PUBREL) | P(PUBCOMP) | P(SUBSCRIBE) |
                 P(SUBACK) | P(UNSUBSCRIBE) | P(UNSUBACK) | P(DISCONNECT) | P(AUTH)},
      {0x27, P(CONNECT) | P(CONNACK)},
      {0x28, P(CONNACK)},
      {0x29, P(CONNACK)},
      {0x2A, P(CONNACK)},
  };
  assert_int_equal(sizeof table / sizeof table[0], sizeof all_ids / sizeof all_ids[0]);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    uint8_t memory[64], twice[128];
    roam_bytes props = make_one(table[i].id, memory);
    memcpy(twice, props.base, props.len);
    memcpy(twice + props.len, props.base, props.len);
    for (int place = 0; place <= ROAM_AUTH; place++) {
      if (place == ROAM_PINGREQ || place == ROAM_PINGRESP) {
        continue; /* they have no properties at all */
      }
      roam_fault fault;
      bool allowed = (table[i].places >> place & 1) != 0;
      assert_int_equal(roam_props_check(props, ROAM_IN(place), &fault), allowed ? 0 : ROAM_E_MALFORMED);
      bool repeats = table[i].id == 0x26 || (table[i].id == 0x0B && place == ROAM_PUBLISH);
      roam_rc rv = roam_props_check((roam_bytes){twice, 2 * props.len}, ROAM_IN(place), &fault);
      assert_int_equal(rv, !allowed ? ROAM_E_MALFORMED : repeats ? 0 : ROAM_E_PROTOCOL);
    }
  }
#undef P
}

static void bad_values_are_not_put(void **state) {
  (void)state;
  static const uint8_t big[65536];
  uint8_t memory[32];
  roam_props props = {memory, 0, sizeof memory};
  roam_bytes a = {(const uint8_t *)"a", 1}, bad = {(const uint8_t *)"\xff", 1}, wild = {(const uint8_t *)"a/#", 3};
  assert_int_equal(roam_props_put_number(&props, 0x7F, 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_CONTENT_TYPE, 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_RECEIVE_MAXIMUM, 65536), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_RECEIVE_MAXIMUM, 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_MAXIMUM_QOS, 2), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, ROAM_REMAINING_MAX + 1),
                   ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_TOPIC_ALIAS, a), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_USER_PROPERTY, a), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_CONTENT_TYPE, bad), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_RESPONSE_TOPIC, wild), ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_CORRELATION_DATA, (roam_bytes){big, sizeof big}),
                   ROAM_E_ARGUMENT);
  assert_int_equal(roam_props_put_user(&props, a, bad), ROAM_E_ARGUMENT);
  assert_int_equal(props.len, 0);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_CORRELATION_DATA, bad), 0);
}

static void varint_edges(void **state) {
  (void)state;
  static const struct {
    uint32_t value;
    size_t size;
    uint8_t bytes[4];
  } cases[] = {
      {0, 1, {0}},
      {127, 1, {0x7F}},
      {128, 2, {0x80, 1}},
      {16383, 2, {0xFF, 0x7F}},
      {16384, 3, {0x80, 0x80, 1}},
      {2097151, 3, {0xFF, 0xFF, 0x7F}},
      {2097152, 4, {0x80, 0x80, 0x80, 1}},
      {268435455, 4, {0xFF, 0xFF, 0xFF, 0x7F}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t out[4] = {0};
    uint32_t value;
    assert_int_equal(roam_varint_size(cases[i].value), cases[i].size);
    assert_int_equal(roam_varint_write(out, cases[i].value), cases[i].size);
    assert_memory_equal(out, cases[i].bytes, cases[i].size);
    for (size_t len = 0; len < cases[i].size; len++) {
      assert_int_equal(roam_varint_read(out, len, &value), 0);
    }
    assert_int_equal(roam_varint_read(out, 4, &value), (int)cases[i].size);
    assert_int_equal(value, cases[i].value);
  }
  uint32_t value;
  assert_int_equal(roam_varint_size(268435456), 0);
  assert_int_equal(roam_varint_read((const uint8_t *)"\x80\x80\x80\x80\x01", 5, &value), -1);
  assert_int_equal(roam_varint_read((const uint8_t *)"\x80\x80\x00", 3, &value), -1);
}

static void payloads_are_what_their_format_says(void **state) {
  static const struct {
    const char *name;
    int indicator; /* -1: none */
    const char *payload;
    size_t len;
    bool fits;
  } cases[] = {
      {"no indicator", -1, "\xff", 1, true},         {"bytes", 0, "\xff", 1, true},
      {"text", 1, "gr\xc3\xbc\xc3\x9f", 6, true},    {"empty text", 1, "", 0, true},
      {"null is text too", 1, "a\0b\0", 4, true},    {"cut short", 1, "a\xc3", 2, false},
      {"bad behind a null", 1, "a\0\xff", 3, false}, {"surrogate", 1, "\xed\xa0\x80", 3, false},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t space[4];
    roam_props props = {.base = space, .cap = sizeof space};
    if (cases[i].indicator >= 0)
      roam_props_put_number(&props, ROAM_PROP_PAYLOAD_FORMAT_INDICATOR, (uint32_t)cases[i].indicator);
    roam_bytes payload = {(const uint8_t *)cases[i].payload, cases[i].len};
    if (roam_payload_fits((roam_bytes){space, props.len}, payload) != cases[i].fits) fail_msg("%s", cases[i].name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_is_put_and_found),
      cmocka_unit_test(each_is_allowed_where_table_2_4_says),
      cmocka_unit_test(bad_values_are_not_put),
      cmocka_unit_test(varint_edges),
      cmocka_unit_test(payloads_are_what_their_format_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
