/* will_test.c - a will as data: copied whole, its delay taken out, its message's expiry counted from publication. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/will.h"

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static void kept_and_made(void **state) {
  (void)state;
  uint8_t bytes[64];
  char topic[] = "a/b", payload[] = "bye";
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct roam_will will = {0};
  struct roam_heap waiting;
  roam_message m;
  roam_prop prop;
  roam_heap_init(&waiting, 4);
  roam_props_put_number(&props, ROAM_PROP_WILL_DELAY_INTERVAL, 30);
  roam_props_put_number(&props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, 60);
  roam_props_put_user(&props, text("k"), text("v"));
  roam_packet connect = {.type = ROAM_CONNECT,
                         .version = 5,
                         .connect = {.has_will = true,
                                     .will_qos = 2,
                                     .will_retain = true,
                                     .will_props = {bytes, props.len},
                                     .will_topic = text(topic),
                                     .will_payload = text(payload)}};
  assert_int_equal(roam_will_arm(&will, &connect), 0);
  topic[0] = payload[0] = '?'; /* it is a copy */
  memset(bytes, 0xff, sizeof bytes);
  assert_true(roam_will_armed(&will));
  assert_int_equal(will.delay_s, 30);
  assert_int_equal(roam_will_make(&will, 100 * ROAM_S, &m), 0);
  assert_memory_equal(m.topic.base, "a/b", 3);
  assert_memory_equal(m.payload.base, "bye", 3);
  assert_true(m.qos == 2 && m.retain && m.expires == 160 * ROAM_S);
  assert_int_equal(roam_prop_find(m.props, ROAM_PROP_WILL_DELAY_INTERVAL, &prop), 0);
  assert_int_equal(roam_prop_find(m.props, ROAM_PROP_USER_PROPERTY, &prop), 1);
  roam_blob_unref(m.blob);
  assert_int_equal(roam_heap_set(&waiting, &will.due, 5), 0);
  roam_will_drop(&will, &waiting);
  assert_false(roam_will_armed(&will));
  assert_true(roam_heap_deadline(&waiting) == ROAM_NEVER);
  roam_will_drop(&will, &waiting);
  roam_heap_reset(&waiting);
}

static void bad_topics(void **state) {
  (void)state;
  struct roam_will will = {0};
  roam_packet connect = {.type = ROAM_CONNECT, .version = 4, .connect = {.has_will = true, .will_topic = text("a/#")}};
  assert_int_equal(roam_will_arm(&will, &connect), ROAM_E_ARGUMENT);
  assert_false(roam_will_armed(&will));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(kept_and_made), cmocka_unit_test(bad_topics)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
