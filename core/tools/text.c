/* text.c - reads single values: durations, sizes, rates, percentages, addresses. Knows no option and prints nothing. */
#include "options.h"

#include <string.h>

struct unit {
  const char *suffix;
  uint64_t times, over; /* value = number * times / over */
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* "12", "0.5": the value is *whole + *part / *parts. At most 9 places behind the point; more say more than any unit holds.
 */
static const char *read_decimal(const char *text, uint64_t *whole, uint64_t *part, uint64_t *parts) {
  *whole = *part = 0;
  *parts = 1;
  if (!is_digit(*text)) return NULL;
  for (; is_digit(*text); text++) {
    if (__builtin_mul_overflow(*whole, 10, whole)) return NULL;
    if (__builtin_add_overflow(*whole, (uint64_t)(*text - '0'), whole)) return NULL;
  }
  if (*text != '.') return text;
  if (!is_digit(*++text)) return NULL;
  for (; is_digit(*text); text++) {
    if (*parts == UINT64_C(1000000000)) return NULL;
    *part = *part * 10 + (uint64_t)(*text - '0');
    *parts *= 10;
  }
  return text;
}

static bool read_scaled(const char *text, const struct unit *units, size_t n, uint64_t *out) {
  uint64_t whole, part, parts, fraction;
  const char *suffix = read_decimal(text, &whole, &part, &parts);
  if (!suffix) return false;
  for (size_t i = 0; i < n; i++) {
    if (strcmp(units[i].suffix, suffix) != 0) continue;
    if (__builtin_mul_overflow(whole, units[i].times, &whole)) return false;
    if (__builtin_mul_overflow(part, units[i].times, &fraction)) return false;
    return !__builtin_add_overflow(whole / units[i].over, fraction / parts / units[i].over, out);
  }
  return false;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

bool roam_text_uint(const char *text, uint64_t *out) {
  static const struct unit units[] = {{"", 1, 1}};
  return !strchr(text, '.') && read_scaled(text, units, COUNT(units), out);
}

bool roam_text_duration(const char *text, uint64_t *ns) {
  static const struct unit units[] = {{"ns", 1, 1},           {"us", ROAM_US, 1},    {"ms", ROAM_MS, 1},
                                      {"s", ROAM_S, 1},       {"m", 60 * ROAM_S, 1}, {"min", 60 * ROAM_S, 1},
                                      {"h", 3600 * ROAM_S, 1}};
  if (strcmp(text, "0") == 0) {
    *ns = 0;
    return true;
  }
  return read_scaled(text, units, COUNT(units), ns);
}

bool roam_text_bytes(const char *text, uint64_t *bytes) {
  static const struct unit units[] = {{"", 1, 1},          {"B", 1, 1},          {"k", 1024, 1},
                                      {"K", 1024, 1},      {"KiB", 1024, 1},     {"M", 1048576, 1},
                                      {"MiB", 1048576, 1}, {"G", 1073741824, 1}, {"GiB", 1073741824, 1}};
  return read_scaled(text, units, COUNT(units), bytes);
}

bool roam_text_rate(const char *text, uint64_t *bytes_s) {
  static const struct unit units[] = {{"", 1, 1},        {"k", 1000, 1},       {"K", 1000, 1},
                                      {"M", 1000000, 1}, {"G", 1000000000, 1}, {"bit", 1, 8},
                                      {"kbit", 1000, 8}, {"Mbit", 1000000, 8}, {"Gbit", 1000000000, 8}};
  return read_scaled(text, units, COUNT(units), bytes_s);
}

bool roam_text_ppm(const char *text, uint32_t *ppm) {
  static const struct unit units[] = {{"%", 10000, 1}, {"ppm", 1, 1}};
  uint64_t value = 0;
  if (strcmp(text, "0") != 0 && !read_scaled(text, units, COUNT(units), &value)) return false;
  if (value > 1000000) return false;
  *ppm = (uint32_t)value;
  return true;
}

bool roam_text_addr(const char *text, roam_addr *addr) {
  char loopback[32];
  size_t len = strlen(text);
  if (text[0] == ':' && len > 1 && len < 7 && is_digit(text[1])) {
    memcpy(loopback, "127.0.0.1", 9);
    memcpy(loopback + 9, text, len + 1);
    text = loopback;
  }
  return roam_addr_parse(text, addr) == 0;
}
