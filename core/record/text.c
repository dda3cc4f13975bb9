/* text.c - UTF-8 and JSON strings. Writes JSON, never reads it. */
#include "record/text.h"

#include <roamqtt/record.h>

size_t roam_text_char(roam_bytes text, uint32_t *out) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (text.len == 0) return 0;
  uint8_t first = text.base[0];
  size_t len = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 0;
  if (len == 0 || len > text.len) return 0;
  uint32_t c = len == 1 ? first : first & (0x7fu >> len);
  for (size_t i = 1; i < len; i++) {
    if ((text.base[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (text.base[i] & 0x3fu);
  }
  if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
  *out = c;
  return len;
}

bool roam_text_valid(roam_bytes text) {
  uint32_t c;
  while (text.len) {
    size_t len = roam_text_char(text, &c);
    if (len == 0) return false;
    text.base += len;
    text.len -= len;
  }
  return true;
}

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
  char code[6] = {'\\', 'u', '0', '0', digits[c >> 4 & 15], digits[c & 15]};
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
    else if (c < 0x20 || c == 0x7f || c == '"' || c == '\\') put_escape(&j, c);
    else put(&j, text.base, len);
    text.base += len ? len : 1;
    text.len -= len ? len : 1;
  }
  put(&j, "\"", 1);
  if (j.used >= cap) return 0;
  out[j.used] = 0;
  return j.used;
}
