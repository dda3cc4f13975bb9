/* lines.h - walking over the lines of a file that is in memory. */
#ifndef ROAM_AUTH_LINES_H
#define ROAM_AUTH_LINES_H

#include <roamqtt/base.h>

#include <string.h>

/* The next line without its end (LF or CR LF): false behind the last. */
static inline bool roam_line_next(roam_bytes *rest, roam_bytes *line) {
  if (rest->len == 0) return false;
  const uint8_t *end = memchr(rest->base, '\n', rest->len);
  size_t len = end ? (size_t)(end - rest->base) : rest->len, used = len + (end != NULL);
  *line = (roam_bytes){rest->base, len};
  *rest = (roam_bytes){rest->base + used, rest->len - used};
  if (line->len > 0 && line->base[line->len - 1] == '\r') line->len--;
  return true;
}

static inline bool roam_bytes_same(roam_bytes a, roam_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

/* Cuts *rest at the first `mark`; false: there is none. */
static inline bool roam_bytes_cut(roam_bytes *rest, char mark, roam_bytes *before) {
  const uint8_t *at = rest->len > 0 ? memchr(rest->base, mark, rest->len) : NULL;
  if (!at) return false;
  *before = (roam_bytes){rest->base, (size_t)(at - rest->base)};
  *rest = (roam_bytes){at + 1, rest->len - before->len - 1};
  return true;
}

static inline bool roam_bytes_begin(roam_bytes bytes, const char *word) {
  size_t len = strlen(word);
  return bytes.len >= len && memcmp(bytes.base, word, len) == 0;
}

/* Decimal digits alone, at most max. */
static inline bool roam_bytes_number(roam_bytes text, uint32_t max, uint32_t *out) {
  uint64_t number = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.base[i] < '0' || text.base[i] > '9') return false;
    number = number * 10 + (uint64_t)(text.base[i] - '0');
    if (number > max) return false;
  }
  *out = (uint32_t)number;
  return text.len > 0;
}

#endif
