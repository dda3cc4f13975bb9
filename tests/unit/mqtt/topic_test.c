/* topic_test.c - what is well formed and what matches, as tables; and UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/mqtt.h>

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static void topics(void **state) {
  (void)state;
  static const struct {
    const char *topic;
    bool valid;
  } cases[] = {
      {"a", true}, {"/", true},  {"//", true},   {"a/b/c", true}, {"a b", true},  {"$SYS/x", true}, {"\xc3\xa9", true},
      {"", false}, {"+", false}, {"a/+", false}, {"a#", false},   {"a/#", false}, {"\xff", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (roam_topic_valid(text(cases[i].topic)) != cases[i].valid) {
      fail_msg("topic %s", cases[i].topic);
    }
  }
  uint8_t *big = malloc(65536);
  memset(big, 'a', 65536);
  assert_true(roam_topic_valid((roam_bytes){big, 65535}));
  assert_false(roam_topic_valid((roam_bytes){big, 65536}));
  assert_false(roam_topic_filter_valid((roam_bytes){big, 65536}));
  assert_false(roam_topic_valid((roam_bytes){NULL, 0}));
  free(big);
}

static void filters(void **state) {
  (void)state;
  static const struct {
    const char *filter;
    bool valid;
  } cases[] = {
      {"a", true},
      {"#", true},
      {"+", true},
      {"a/#", true},
      {"/#", true},
      {"+/a/+", true},
      {"/+", true},
      {"+/+/#", true},
      {"$share/g/a", true},
      {"$share/g/#", true},
      {"$share/g//", true},
      {"$share", true},
      {"$shared/a", true},
      {"", false},
      {"a#", false},
      {"#/", false},
      {"a/#/b", false},
      {"a+", false},
      {"+a", false},
      {"a/+b/c", false},
      {"$share/", false},
      {"$share/g", false},
      {"$share/g/", false},
      {"$share//a", false},
      {"$share/g+/a", false},
      {"$share/#/a", false},
      {"$share/g/a+", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (roam_topic_filter_valid(text(cases[i].filter)) != cases[i].valid) {
      fail_msg("filter %s", cases[i].filter);
    }
  }
}

static void matches(void **state) {
  (void)state;
  static const struct {
    const char *filter, *topic;
    bool match;
  } cases[] = {
      {"a", "a", true},
      {"a", "b", false},
      {"a", "a/", false},
      {"a/", "a", false},
      {"a/b", "a", false},
      {"a", "ab", false},
      {"#", "a", true},
      {"#", "a/b/c", true},
      {"#", "/", true},
      {"a/#", "a", true},
      {"a/#", "a/", true},
      {"a/#", "a/b/c", true},
      {"a/#", "ab", false},
      {"a/#", "b", false},
      {"+", "a", true},
      {"+", "a/b", false},
      {"+", "/a", false},
      {"/+", "/a", true},
      {"+/+", "/a", true},
      {"+/+", "a/b", true},
      {"+/b", "a/b", true},
      {"+/b", "a/c", false},
      {"a/+/c", "a/b/c", true},
      {"a/+/c", "a//c", true},
      {"a/+", "a", false},
      {"a/+", "a/", true},
      {"a/+/#", "a/b", true},
      {"a/+/#", "a", false},
      {"#", "$SYS/a", false},
      {"+/a", "$SYS/a", false},
      {"$SYS/#", "$SYS/a", true},
      {"$SYS/+", "$SYS/a", true},
      {"a/#", "a/$b", true},
      {"$share/g/a/+", "a/b", true},
      {"$share/g/a/+", "b/b", false},
      {"$share/g/#", "$SYS/a", false},
      {"A", "a", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (roam_topic_matches(text(cases[i].filter), text(cases[i].topic)) != cases[i].match) {
      fail_msg("%s against %s", cases[i].filter, cases[i].topic);
    }
  }
}

/* Against a slow decoder that follows the definition: every lead byte with every second byte, and tails. */
static bool is_utf8_slowly(const uint8_t *b, size_t len) {
  for (size_t i = 0; i < len;) {
    uint32_t lead = b[i], code;
    size_t n = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (n == 0 || i + n > len) {
      return false;
    }
    code = n == 1 ? lead : lead & (0x7Fu >> n);
    for (size_t j = 1; j < n; j++) {
      if (b[i + j] >> 6 != 2) {
        return false;
      }
      code = code << 6 | (b[i + j] & 0x3F);
    }
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    if (code < least[n] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      return false;
    }
    i += n;
  }
  return true;
}

static void utf8_agrees_with_the_definition(void **state) {
  (void)state;
  static const uint8_t tails[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0};
  for (unsigned first = 0; first < 256; first++) {
    for (unsigned second = 0; second < 256; second++) {
      for (size_t t = 0; t < sizeof tails; t++) {
        uint8_t b[4] = {(uint8_t)first, (uint8_t)second, tails[t], 0x80};
        for (size_t len = 1; len <= 4; len++) {
          if (roam_utf8_valid((roam_bytes){b, len}) != is_utf8_slowly(b, len)) {
            fail_msg("%02x %02x %02x 80, %zu bytes", first, second, tails[t], len);
          }
        }
      }
    }
  }
  assert_true(roam_utf8_valid((roam_bytes){NULL, 0}));
}

/* A bad byte at every place around the eight-byte steps. */
static void utf8_at_every_place(void **state) {
  (void)state;
  for (size_t len = 1; len <= 40; len++) {
    for (size_t at = 0; at < len; at++) {
      uint8_t *b = malloc(len);
      memset(b, 'a', len);
      assert_true(roam_utf8_valid((roam_bytes){b, len}));
      b[at] = 0;
      assert_false(roam_utf8_valid((roam_bytes){b, len}));
      b[at] = 0xC3;
      assert_false(roam_utf8_valid((roam_bytes){b, len}));
      if (at + 1 < len) {
        b[at + 1] = 0xA9;
        assert_true(roam_utf8_valid((roam_bytes){b, len}));
      }
      free(b);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(topics),
      cmocka_unit_test(filters),
      cmocka_unit_test(matches),
      cmocka_unit_test(utf8_agrees_with_the_definition),
      cmocka_unit_test(utf8_at_every_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
