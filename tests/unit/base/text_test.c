/* text_test.c - UTF-8, a character at a time, and which characters change what a reader sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

static void characters_are_decoded(void **state) {
  static const struct {
    const char *name, *bytes;
    size_t len;
    uint32_t c;
  } cases[] = {
      {"empty", "", 0, 0},
      {"a letter", "a", 1, 'a'},
      {"two bytes", "\xc3\xbc", 2, 0xfc},
      {"three", "\xe2\x82\xac", 3, 0x20ac},
      {"four", "\xf0\x9f\x98\x80", 4, 0x1f600},
      {"the last", "\xf4\x8f\xbf\xbf", 4, 0x10ffff},
      {"beyond it", "\xf4\x90\x80\x80", 0, 0},
      {"cut", "\xe2\x82", 0, 0},
      {"a tail alone", "\x80", 0, 0},
      {"no tail",
       "\xc3"
       "a",
       0, 0},
      {"overlong", "\xc0\xaf", 0, 0},
      {"overlong, three", "\xe0\x80\xaf", 0, 0},
      {"a surrogate", "\xed\xa0\x80", 0, 0},
      {"five bytes", "\xf8\x88\x80\x80\x80", 0, 0},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t c = 0;
    roam_bytes in = {(const uint8_t *)cases[i].bytes, strlen(cases[i].bytes)};
    if (roam_text_char(in, &c) != cases[i].len || c != cases[i].c) fail_msg("%s", cases[i].name);
    assert_int_equal(roam_text_valid(in), cases[i].len > 0 || in.len == 0);
  }
}

static void hostile_is_what_changes_the_line(void **state) {
  static const uint32_t hostile[] = {0,      '\n',   0x1b,   0x7f,   0x80,   0x9b,   0x9f,   0x061c,
                                     0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069};
  static const uint32_t harmless[] = {' ', '~', 0xa0, 0xad, 0x200d, 0x2027, 0x202f, 0x2065, 0x206a, 0x1f600, 0xfffd};
  (void)state;
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) assert_true(roam_text_hostile(hostile[i]));
  for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) assert_false(roam_text_hostile(harmless[i]));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(characters_are_decoded),
                                     cmocka_unit_test(hostile_is_what_changes_the_line)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
