/* utf8.c - section 1.5.4: is this well-formed UTF-8, without U+0000 and without surrogates? Control characters and
 * non-characters are allowed: the specification says "SHOULD NOT", and deployed topics have them. */
#include "mqtt/packet.h"

#include <string.h>

/* Eight ASCII bytes at once, none of them zero. */
static bool is_plain(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  uint64_t high = UINT64_C(0x8080808080808080), ones = UINT64_C(0x0101010101010101);
  return ((word | (word - ones)) & high) == 0;
}

/* Length of the well-formed sequence at `at`, 0 when there is none. The second byte carries the rules against overlongs,
 * surrogates and values above U+10FFFF. */
static size_t measure_sequence(const uint8_t *at, size_t left) {
  uint8_t lead = at[0];
  if (lead < 0x80) {
    return lead != 0 ? 1 : 0;
  }
  size_t need = lead >= 0xC2 && lead <= 0xDF ? 2 : lead >= 0xE0 && lead <= 0xEF ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (need == 0 || left < need) {
    return 0;
  }
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (at[1] < low || at[1] > high) {
    return 0;
  }
  for (size_t i = 2; i < need; i++) {
    if ((at[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  return need;
}

bool roam_utf8_valid(roam_bytes text) {
  size_t i = 0;
  while (i < text.len) {
    if (text.len - i >= 8 && is_plain(text.base + i)) {
      i += 8;
      continue;
    }
    size_t n = measure_sequence(text.base + i, text.len - i);
    if (n == 0) {
      return false;
    }
    i += n;
  }
  return true;
}
