/* text.c - UTF-8, a character at a time. Changes nothing and keeps nothing. */
#include "base/text.h"

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

bool roam_text_hostile(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}
