/* trace_test.c - events of the list: their lines, their fields, and the list itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "base/trace.h"

struct seen {
  int lines, records;
  roam_time at;
  roam_level level;
  char event[64], line[1024];
  roam_log_field fields[ROAM_LOG_FIELDS_MAX];
  size_t n;
};

static void keep_line(void *context, roam_time at, roam_level level, const char *line) {
  struct seen *s = context;
  s->lines++;
  s->at = at;
  s->level = level;
  snprintf(s->line, sizeof s->line, "%s", line);
}

static void keep_record(void *context, roam_time at, roam_level level, const char *line, const char *event,
                        const roam_log_field fields[], size_t n) {
  struct seen *s = context;
  keep_line(context, at, level, line);
  s->lines--;
  s->records++;
  snprintf(s->event, sizeof s->event, "%s", event);
  memcpy(s->fields, fields, n * sizeof fields[0]);
  s->n = n;
}

static void a_line_is_made_of_the_fields(void **state) {
  (void)state;
  struct seen s = {0};
  roam_log log = {keep_line, &s, ROAM_LOG_NOTICE, NULL};
  roam_trace(&log, 7, CLIENT_MOVED, .to = "b", .from = "a", .client = "x\ny");
  assert_string_equal(s.line, "client x?y moved a -> b");
  assert_int_equal(s.at, 7);
  assert_int_equal(s.level, ROAM_LOG_NOTICE);
  roam_trace(&log, 7, CLIENT_OVERFLOWED, .client = "x", .messages_max = 10, .bytes_max = UINT64_MAX);
  assert_non_null(strstr(s.line, "bounds: 10 messages, 18446744073709551615 bytes"));
  roam_trace(&log, 7, RESUBSCRIBE_REFUSED, .client = "x", .why = "no", .code = 0x8d);
  assert_string_equal(s.line, "client x: a subscription made again was refused: no (0x8D)");
  roam_trace(&log, 7, PATH_CHANGED, .client = "x", .what = "failed", .from = "a", .to = "b", .why = "no answer");
  assert_string_equal(s.line, "client x: path failed a -> b: no answer");
  roam_trace(&log, 7, PATH_CHANGED, .client = "x", .what = "moved", .from = "a", .to = "b");
  assert_string_equal(s.line, "client x: path moved a -> b"); /* what is not there leaves no trace */
  assert_int_equal(s.lines, 5);
}

static void a_tool_gets_the_fields(void **state) {
  (void)state;
  struct seen s = {0};
  roam_log log = {.context = &s, .level = ROAM_LOG_INFO, .record = keep_record};
  roam_trace(&log, 7, STREAM_ABORTED, .client = "x", .stream = 3);
  assert_int_equal(s.records, 1);
  assert_int_equal(s.lines, 0);
  assert_string_equal(s.event, "STREAM_ABORTED");
  assert_string_equal(s.line, "client x: data stream 3 aborted: ");
  assert_int_equal(s.n, 3);
  assert_string_equal(s.fields[0].name, "client");
  assert_string_equal(s.fields[0].text, "x");
  assert_false(s.fields[0].is_number);
  assert_true(s.fields[1].is_number);
  assert_int_equal(s.fields[1].number, 3);
  assert_null(s.fields[2].text);
}

static const char *never(int *asked) {
  ++*asked;
  return "x";
}

static void what_nobody_wants_costs_nothing(void **state) {
  (void)state;
  struct seen s = {0};
  int asked = 0;
  roam_log quiet = {keep_line, &s, ROAM_LOG_WARNING, NULL}, none = {0};
  roam_trace(&quiet, 7, NAT_REBOUND, .client = never(&asked));
  roam_trace(&none, 7, STORE_FAILED, .why = never(&asked));
  assert_int_equal(asked, 0);
  assert_int_equal(s.lines, 0);
}

static void long_lines_are_cut(void **state) {
  (void)state;
  struct seen s = {0};
  roam_log log = {keep_line, &s, ROAM_LOG_NOTICE, NULL};
  char text[2000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  roam_trace(&log, 7, CLIENT_MOVED, .client = text, .from = "a", .to = "b");
  assert_int_equal(strlen(s.line), 511);
  assert_string_equal(s.line + 508, "...");
  for (size_t i = 0; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3); /* never within a character */
  for (int shift = 0; shift < 3; shift++) {
    roam_trace(&log, 7, CLIENT_MOVED, .client = text + shift * 3, .from = "a", .to = "b");
    assert_true(roam_text_valid((roam_bytes){(const uint8_t *)s.line, strlen(s.line)}));
    assert_string_equal(s.line + strlen(s.line) - 3, "...");
  }
  memset(text, 'x', sizeof text); /* as long as a line can be, and no longer */
  text[508 - strlen("client  moved a -> b")] = 0;
  roam_trace(&log, 7, CLIENT_MOVED, .client = text, .from = "a", .to = "b");
  assert_int_equal(strlen(s.line), 508);
  assert_string_equal(s.line + 508 - 6, "a -> b");
}

static void hostile_text_forges_nothing(void **state) {
  static const struct {
    const char *in, *out;
  } cases[] = {
      {"a\nb\r\tc", "a?b??c"},
      {"\x1b[2J", "?[2J"},
      {"\xc2\x9b", "?"}, /* CSI in one character */
      {"\xe2\x80\xae"
       "evil",
       "?evil"},                                    /* from right to left */
      {"\xe2\x80\xa8", "?"},                        /* a line separator */
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"}, /* letters stay */
      {"\xff\xc3", "??"},                           /* no UTF-8 */
      {"{from} [{to}] %s", "{from} [{to}] %s"},     /* no template */
      {NULL, ""},
  };
  (void)state;
  struct seen s = {0};
  roam_log log = {keep_line, &s, ROAM_LOG_NOTICE, NULL};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char wanted[128];
    snprintf(wanted, sizeof wanted, "client x: path in trouble: %s", cases[i].out);
    roam_trace(&log, 7, PATH_TROUBLE, .client = "x", .why = cases[i].in);
    assert_string_equal(s.line, wanted);
  }
}

/* Every event, by number: filled with texts, with nothing, and with texts that are hostile. */
static void every_event_makes_a_line(void **state) {
  static const char *const texts[] = {"word", NULL, "\x1b\n\xff\xe2\x80\xae"};
  (void)state;
  for (unsigned e = 0; e < ROAM_TRACE_EVENTS; e++) {
    roam_trace_info info = roam_trace_describe(e);
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
      struct seen s = {0};
      roam_log log = {.context = &s, .level = ROAM_LOG_DEBUG, .record = keep_record};
      _Alignas(8) uint8_t values[8 * ROAM_LOG_FIELDS_MAX] = {0};
      for (unsigned i = 0; i < info.fields_len; i++) /* numbers take whatever stands there */
        memcpy(values + 8 * i, &texts[t], sizeof texts[t]);
      roam_trace_write(&log, 9, (roam_trace_event)e, values);
      assert_int_equal(s.records, 1);
      assert_string_equal(s.event, info.name);
      assert_int_equal(s.level, info.level);
      assert_int_equal(s.n, info.fields_len);
      for (const char *at = s.line; *at; at++)
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) fail_msg("%s: %s", info.name, s.line);
      if (strpbrk(s.line, "{}[]")) fail_msg("%s: %s", info.name, s.line);
    }
  }
  assert_null(roam_trace_describe(ROAM_TRACE_EVENTS).name);
}

static bool names(const roam_trace_info *info, const char *at, size_t len) {
  for (unsigned i = 0; i < info->fields_len; i++)
    if (strlen(info->fields[i]) == len && memcmp(info->fields[i], at, len) == 0) return true;
  return false;
}

/* Every place in a text is a field's, every field has its place, and no name is given twice. */
static void the_list_is_whole(void **state) {
  static const char *const owns[] = {"time", "at", "event", "level", "text", "name"}; /* a sink's own */
  (void)state;
  for (unsigned e = 0; e < ROAM_TRACE_EVENTS; e++) {
    roam_trace_info info = roam_trace_describe(e);
    unsigned places = 0;
    assert_in_range(info.fields_len, 1, ROAM_LOG_FIELDS_MAX);
    for (const char *at = strchr(info.text, '{'); at; at = strchr(at + 1, '{'), places++)
      if (!names(&info, at + 1, strcspn(at + 1, "}"))) fail_msg("%s: %s", info.name, at);
    if (places != info.fields_len) fail_msg("%s has %u places for %u fields", info.name, places, info.fields_len);
    for (unsigned other = 0; other < e; other++) assert_string_not_equal(roam_trace_describe(other).name, info.name);
    for (unsigned i = 0; i < info.fields_len; i++)
      for (size_t own = 0; own < sizeof owns / sizeof owns[0]; own++) assert_string_not_equal(info.fields[i], owns[own]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_line_is_made_of_the_fields),
                                     cmocka_unit_test(a_tool_gets_the_fields),
                                     cmocka_unit_test(what_nobody_wants_costs_nothing),
                                     cmocka_unit_test(long_lines_are_cut),
                                     cmocka_unit_test(hostile_text_forges_nothing),
                                     cmocka_unit_test(every_event_makes_a_line),
                                     cmocka_unit_test(the_list_is_whole)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
