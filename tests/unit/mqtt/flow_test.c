/* flow_test.c - stream headers of MQTT-next: written, read back, in pieces, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/flow.h"

static void written_and_read_back(void **state) {
  (void)state;
  static const uint64_t numbers[] = {0, 2, 63, 64, 16383, 16384, (1u << 30) - 1, 1u << 30, (UINT64_C(1) << 62) - 1};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    for (int control = 0; control < 2; control++) {
      struct roam_flow_header h = {.type = control ? ROAM_FLOW_CONTROL : ROAM_FLOW_CLIENT, .id = numbers[i], .flags = 0x51};
      if (!control) h.expire_s = numbers[8 - i];
      uint8_t bytes[ROAM_FLOW_HEADER_MAX];
      size_t len = roam_flow_write(&h, bytes), used;
      struct roam_flow_header back;
      for (size_t part = 0; part < len; part++)
        assert_int_equal(roam_flow_read((roam_bytes){bytes, part}, &back, &used), 0);
      assert_int_equal(roam_flow_read((roam_bytes){bytes, len}, &back, &used), 1);
      assert_int_equal(used, len);
      assert_true(back.type == h.type && back.id == h.id && back.expire_s == h.expire_s && back.flags == h.flags);
    }
  }
}

static void known_bytes(void **state) {
  (void)state;
  uint8_t bytes[ROAM_FLOW_HEADER_MAX];
  static const uint8_t control[] = {0x11, 0, 0}, client[] = {0x12, 0x40, 0x64, 0x41, 0x2c, 0x51};
  assert_int_equal(roam_flow_write(&(struct roam_flow_header){.type = 0x11}, bytes), sizeof control);
  assert_memory_equal(bytes, control, sizeof control);
  struct roam_flow_header h = {.type = 0x12, .id = 100, .expire_s = 300, .flags = 0x51};
  assert_int_equal(roam_flow_write(&h, bytes), sizeof client);
  assert_memory_equal(bytes, client, sizeof client);
}

static void optional_headers_are_skipped(void **state) {
  (void)state;
  static const uint8_t bytes[] = {0x12, 2, 5, 0x81, 3, 'a', 'b', 'c', 1, 'd', 0, 0xC0, 0};
  struct roam_flow_header h;
  size_t used;
  for (size_t part = 0; part < 11; part++) assert_int_equal(roam_flow_read((roam_bytes){bytes, part}, &h, &used), 0);
  assert_int_equal(roam_flow_read((roam_bytes){bytes, sizeof bytes}, &h, &used), 1);
  assert_int_equal(used, 11);
  uint8_t endless[ROAM_FLOW_HEADER_LIMIT + 1];
  memset(endless, 1, sizeof endless);
  memcpy(endless, bytes, 4);
  assert_int_equal(roam_flow_read((roam_bytes){endless, sizeof endless}, &h, &used), ROAM_E_MALFORMED);
}

static void unknown_types_say_only_that(void **state) {
  (void)state;
  static const uint8_t bytes[] = {0x21, 0xff};
  struct roam_flow_header h;
  size_t used;
  assert_int_equal(roam_flow_read((roam_bytes){bytes, sizeof bytes}, &h, &used), 1);
  assert_int_equal(h.type, 0x21);
  assert_true(roam_flow_is_grease(0x21) && roam_flow_is_grease(0x40) && roam_flow_is_grease(0x21 + 0x1f * UINT64_C(1000)));
  assert_false(roam_flow_is_grease(0x12) || roam_flow_is_grease(0x22) || roam_flow_is_grease(2));
}

static void which_codes_keep_the_state(void **state) {
  (void)state;
  for (uint64_t code = 0; code < 0x100; code++) {
    bool kept = code == 0 || code == 0xBA || code == 0xBB || code == 0xBD;
    assert_int_equal(roam_flow_keeps_state(code), kept);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(written_and_read_back),        cmocka_unit_test(known_bytes),
      cmocka_unit_test(optional_headers_are_skipped), cmocka_unit_test(unknown_types_say_only_that),
      cmocka_unit_test(which_codes_keep_the_state),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
