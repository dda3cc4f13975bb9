/* text.c - JSON strings, and the fields of a log line as JSON. Writes JSON, never reads it. */
#include "base/text.h"

#include <roamqtt/record.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
  LOG_TEXT_MAX = 600 /* of a line: trace.c's are shorter */
};

/* Where a JSON string is being written; used > cap means that it did not fit. */
struct json {
  char *out;
  size_t cap, used;
};

static void put(struct json *j, const void *bytes, size_t len) {
  const char *from = bytes;
  for (size_t i = 0; i < len; i++, j->used++)
    if (j->used < j->cap) j->out[j->used] = from[i];
}

static void put_escape(struct json *j, uint32_t c) {
  static const char digits[] = "0123456789abcdef";
  char code[6] = {'\\', 'u', digits[c >> 12 & 15], digits[c >> 8 & 15], digits[c >> 4 & 15], digits[c & 15]};
  switch (c) {
    case '\n': put(j, "\\n", 2); break;
    case '\r': put(j, "\\r", 2); break;
    case '\t': put(j, "\\t", 2); break;
    case '"': put(j, "\\\"", 2); break;
    case '\\': put(j, "\\\\", 2); break;
    default: put(j, code, sizeof code);
  }
}

size_t roam_json_string(char *out, size_t cap, roam_bytes text) {
  struct json j = {out, cap, 0};
  uint32_t c = 0;
  put(&j, "\"", 1);
  while (text.len) {
    size_t len = roam_text_char(text, &c);
    if (len == 0) put(&j, "\\ufffd", 6);
    else if (roam_text_hostile(c) || c == '"' || c == '\\') put_escape(&j, c);
    else put(&j, text.base, len);
    text.base += len ? len : 1;
    text.len -= len ? len : 1;
  }
  put(&j, "\"", 1);
  if (j.used >= cap) return 0;
  out[j.used] = 0;
  return j.used;
}

/* The longest beginning of text that is whole characters and at most max bytes. */
static roam_bytes cut(const char *text, size_t max) {
  roam_bytes all = {(const uint8_t *)text, strnlen(text, max + 4)};
  size_t len = 0;
  uint32_t c;
  while (len < all.len) {
    size_t next = roam_text_char((roam_bytes){all.base + len, all.len - len}, &c);
    if (next == 0) next = 1;
    if (len + next > max) break;
    len += next;
  }
  return (roam_bytes){all.base, len};
}

static void put_text(struct json *j, const char *text, size_t max) {
  char quoted[LOG_TEXT_MAX * 6 + 3];
  put(j, quoted, roam_json_string(quoted, sizeof quoted, cut(text, max)));
}

static void put_name(struct json *j, const char *name) {
  put(j, ",\"", 2);
  put(j, name, strlen(name));
  put(j, "\":", 2);
}

size_t roam_json_log(char *out, size_t cap, roam_level level, const char *line, const char *name,
                     const roam_log_field fields[], size_t n) {
  static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
  struct json j = {out, cap, 0};
  char digits[24];
  put(&j, "\"level\":", 8);
  put_text(&j, (unsigned)level < 5 ? levels[level] : "?", 16);
  put_name(&j, "text");
  put_text(&j, line, LOG_TEXT_MAX);
  if (name) {
    put_name(&j, "name");
    put_text(&j, name, 64);
  }
  for (size_t i = 0; name && i < n && i < ROAM_LOG_FIELDS_MAX; i++) {
    put_name(&j, fields[i].name);
    if (fields[i].is_number) put(&j, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64, fields[i].number));
    else if (fields[i].text) put_text(&j, fields[i].text, ROAM_JSON_LOG_TEXT_MAX);
    else put(&j, "null", 4);
  }
  if (j.used >= cap) return 0;
  out[j.used] = 0;
  return j.used;
}
