/* topic_fuzz.c - topic names and filters against a second opinion: a plain matcher that splits both into levels and
 * compares them one by one, and a plain decoder of UTF-8. Input: length of the filter, the filter, the topic. */
#include "fuzz.h"

#include <roamqtt/mqtt.h>

#define LEVELS_MAX 512

struct levels {
  roam_bytes at[LEVELS_MAX];
  size_t len;
};

static void split(roam_bytes text, struct levels *out) {
  size_t start = 0;
  out->len = 0;
  for (size_t i = 0; i <= text.len; i++) {
    if (i < text.len && text.base[i] != '/') continue;
    out->at[out->len++] = (roam_bytes){text.base + start, i - start};
    start = i + 1;
  }
}

static bool is_text(roam_bytes a, const char *text) {
  return fuzz_same(a, (roam_bytes){(const uint8_t *)text, strlen(text)});
}

static bool has_wildcard(roam_bytes a) {
  for (size_t i = 0; i < a.len; i++)
    if (a.base[i] == '+' || a.base[i] == '#') return true;
  return false;
}

/* Decodes each character to its number and judges that. */
static bool is_utf8(roam_bytes text) {
  static const uint32_t least[5] = {0, 1, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < text.len;) {
    uint8_t lead = text.base[i];
    size_t n = lead < 0x80 ? 1 : (lead & 0xE0) == 0xC0 ? 2 : (lead & 0xF0) == 0xE0 ? 3 : (lead & 0xF8) == 0xF0 ? 4 : 0;
    if (n == 0 || n > text.len - i) return false;
    uint32_t number = n == 1 ? lead : lead & (0xFFu >> (n + 1));
    for (size_t k = 1; k < n; k++) {
      if ((text.base[i + k] & 0xC0) != 0x80) return false;
      number = number << 6 | (text.base[i + k] & 0x3Fu);
    }
    if (number < least[n] || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return false;
    i += n;
  }
  return true;
}

/* Takes "$share" and the name off; false when they are there but broken. */
static bool strip_share(struct levels *filter) {
  if (filter->len < 2 || !is_text(filter->at[0], "$share")) return true;
  if (filter->len < 3 || filter->at[1].len == 0 || has_wildcard(filter->at[1])) return false;
  if (filter->len == 3 && filter->at[2].len == 0) return false;
  memmove(filter->at, filter->at + 2, (filter->len - 2) * sizeof filter->at[0]);
  filter->len -= 2;
  return true;
}

static bool is_filter(roam_bytes text, struct levels *levels) {
  if (text.len == 0 || !is_utf8(text) || !strip_share(levels)) return false;
  for (size_t i = 0; i < levels->len; i++) {
    bool plus = is_text(levels->at[i], "+"), hash = is_text(levels->at[i], "#") && i + 1 == levels->len;
    if (has_wildcard(levels->at[i]) && !plus && !hash) return false;
  }
  return true;
}

static bool matches(const struct levels *filter, const struct levels *topic, size_t i) {
  if (i == filter->len) return i == topic->len;
  if (is_text(filter->at[i], "#")) return true;
  if (i == topic->len) return false;
  return (is_text(filter->at[i], "+") || fuzz_same(filter->at[i], topic->at[i])) && matches(filter, topic, i + 1);
}

static bool is_match(const struct levels *filter, const struct levels *topic) {
  bool hidden = topic->at[0].len > 0 && topic->at[0].base[0] == '$';
  if (hidden && (is_text(filter->at[0], "+") || is_text(filter->at[0], "#"))) return false;
  return matches(filter, topic, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tape tape = {data, data + size};
  struct levels filter_levels, topic_levels;
  if (size >= LEVELS_MAX) return 0;
  size_t len = tape_u8(&tape);
  roam_bytes filter = tape_take(&tape, len), topic = tape_take(&tape, tape_left(&tape));
  uint8_t *f = fuzz_copy(filter), *t = fuzz_copy(topic);
  filter.base = f;
  topic.base = t;
  split(filter, &filter_levels);
  split(topic, &topic_levels);
  bool filter_good = is_filter(filter, &filter_levels),
       topic_good = topic.len > 0 && is_utf8(topic) && !has_wildcard(topic);
  FUZZ_CHECK(roam_utf8_valid(filter) == is_utf8(filter) && roam_utf8_valid(topic) == is_utf8(topic));
  FUZZ_CHECK(roam_topic_filter_valid(filter) == filter_good);
  FUZZ_CHECK(roam_topic_valid(topic) == topic_good);
  bool matched = roam_topic_matches(filter, topic); /* of bad ones, only that it comes back */
  if (filter_good && topic_good) FUZZ_CHECK(matched == is_match(&filter_levels, &topic_levels));
  free(f);
  free(t);
  return 0;
}
