/* log_test.c - log lines: levels, cutting, no forged lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"

struct seen {
  int n;
  roam_time at;
  roam_level level;
  char line[1024];
};

static void keep(void *context, roam_time at, roam_level level, const char *line) {
  struct seen *s = context;
  s->n++;
  s->at = at;
  s->level = level;
  strncpy(s->line, line, sizeof s->line - 1);
}

static void writes_enabled_levels(void **state) {
  (void)state;
  struct seen s = {0};
  roam_log log = {keep, &s, ROAM_LOG_INFO}, none = {0};
  roam_log_line(&log, 5, ROAM_LOG_DEBUG, "no");
  roam_log_line(&none, 5, ROAM_LOG_ERROR, "no");
  assert_int_equal(s.n, 0);
  roam_log_line(&log, 7, ROAM_LOG_INFO, "client %s: %d", "a\nb\x1b", 3);
  assert_int_equal(s.n, 1);
  assert_int_equal(s.at, 7);
  assert_int_equal(s.level, ROAM_LOG_INFO);
  assert_string_equal(s.line, "client a?b?: 3");
}

static void cuts_long_lines(void **state) {
  (void)state;
  struct seen s = {0};
  roam_log log = {keep, &s, ROAM_LOG_DEBUG};
  char text[900];
  memset(text, 'a', sizeof text);
  text[sizeof text - 1] = 0;
  roam_log_line(&log, 7, ROAM_LOG_DEBUG, "%s", text);
  assert_int_equal(strlen(s.line), 511);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(writes_enabled_levels), cmocka_unit_test(cuts_long_lines)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
