/* text_test.c - log lines as JSON: every event of trace.def, filled with what a peer might write, is an object that a
 * strict reader takes, with the line's own names first and then the fields in their order. */
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

#include <roamqtt/record.h>

/* A reader of flat objects (RFC 8259): strings, whole numbers, null. NULL: it is none. */
static const char *read_string(const char *at) {
  if (*at++ != '"') return NULL;
  for (;; at++) {
    if (*at == '"') return at + 1;
    if ((unsigned char)*at < 0x20) return NULL; /* the end, too */
    if (*at != '\\') continue;
    if (*++at == 'u' && strspn(at + 1, "0123456789abcdef") >= 4) at += 4;
    else if (*at == 0 || !strchr("\"\\nrt", *at)) return NULL;
  }
}

static const char *read_value(const char *at) {
  size_t digits = strspn(at, "0123456789");
  if (strncmp(at, "null", 4) == 0) return at + 4;
  if (digits > 0) return *at == '0' && digits > 1 ? NULL : at + digits;
  return read_string(at);
}

/* The names in their order, a space behind each. */
static void read_object(const char *at, char names[1024]) {
  size_t used = 0;
  if (*at != '{') fail_msg("%s", at);
  do {
    const char *name = at + 1, *end = read_string(name), *value = end && *end == ':' ? read_value(end + 1) : NULL;
    if (!value) fail_msg("%s", at);
    used += (size_t)snprintf(names + used, 1024 - used, "%.*s ", (int)(end - name - 2), name + 1);
    at = value;
  } while (*at == ',');
  assert_string_equal(at, "}");
}

struct seen {
  char out[ROAM_JSON_LOG_MAX + 2];
  size_t len;
};

static void keep(void *context, roam_time at, roam_level level, const char *line, const char *name,
                 const roam_log_field fields[], size_t n) {
  struct seen *s = context;
  (void)at;
  s->len = roam_json_log(s->out + 1, ROAM_JSON_LOG_MAX, level, line, name, fields, n);
  assert_int_not_equal(s->len, 0);
  assert_int_equal(roam_json_log(NULL, 0, level, line, name, fields, n), 0);
  s->out[0] = '{';
  memcpy(s->out + 1 + s->len, "}", 2);
}

static void every_event_is_an_object(void **state) {
  static char longest[5000], worst[5000];
  memset(longest, 'x', sizeof longest - 1);
  memset(worst, 0xff, sizeof worst - 1); /* each byte becomes six */
  const char *const texts[] = {
      "word", NULL,    "",   "\"},{\"time\":\"", "\\", "\x1b\n\r\t\x7f", "\xc2\x9b\xe2\x80\xae\xe2\x80\xa8",
      "\xff", longest, worst};
  (void)state;
  for (unsigned e = 0; e < ROAM_TRACE_EVENTS; e++) {
    roam_trace_info info = roam_trace_describe(e);
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
      struct seen s;
      char names[1024], wanted[1024];
      roam_log log = {.context = &s, .level = ROAM_LOG_DEBUG, .record = keep};
      _Alignas(8) uint8_t values[8 * ROAM_LOG_FIELDS_MAX] = {0};
      size_t used = (size_t)snprintf(wanted, sizeof wanted, "level text name ");
      for (unsigned i = 0; i < info.fields_len; i++) {
        memcpy(values + 8 * i, &texts[t], sizeof texts[t]);
        used += (size_t)snprintf(wanted + used, sizeof wanted - used, "%s ", info.fields[i]);
      }
      roam_trace_write(&log, 9, (roam_trace_event)e, values);
      read_object(s.out, names);
      assert_string_equal(names, wanted);
      for (const char *at = s.out; *at; at++) assert_true((unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f);
    }
  }
}

static void a_line_looks_like_this(void **state) {
  struct seen s;
  roam_log log = {.context = &s, .level = ROAM_LOG_DEBUG, .record = keep};
  (void)state;
  roam_trace(&log, 1, PATH_CHANGED, .client = "gr\xc3\xbc\xc3\x9f", .what = "probing", .from = "a", .to = "b");
  assert_string_equal(
      s.out, "{\"level\":\"notice\",\"text\":\"client gr\xc3\xbc\xc3\x9f: path probing a -> b\",\"name\":\"PATH_CHANGED\","
             "\"client\":\"gr\xc3\xbc\xc3\x9f\",\"what\":\"probing\",\"from\":\"a\",\"to\":\"b\",\"why\":null}");
  roam_trace(&log, 1, CLIENT_OVERFLOWED, .client = "x", .bytes_max = UINT64_MAX);
  assert_non_null(strstr(s.out, ",\"messages_max\":0,\"bytes_max\":18446744073709551615}"));
  keep(&s, 0, ROAM_LOG_WARNING, "one's own", NULL, NULL, 0);
  assert_string_equal(s.out, "{\"level\":\"warning\",\"text\":\"one's own\"}");
}

/* A text is cut between characters. */
static void long_texts_are_cut(void **state) {
  struct seen s;
  char text[1024];
  roam_log log = {.context = &s, .level = ROAM_LOG_DEBUG, .record = keep};
  (void)state;
  for (size_t i = 0; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
  roam_trace(&log, 1, NAT_REBOUND, .client = text);
  const char *at = strstr(s.out, "\"client\":\"") + 10;
  assert_int_equal(strcspn(at, "\""), ROAM_JSON_LOG_TEXT_MAX / 3 * 3);
  assert_true(roam_text_valid((roam_bytes){(const uint8_t *)s.out, strlen(s.out)}));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_event_is_an_object), cmocka_unit_test(a_line_looks_like_this),
                                     cmocka_unit_test(long_texts_are_cut)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
