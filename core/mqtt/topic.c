/* topic.c - topic names and filters (section 4.7, shared subscriptions 4.8.2). It decides what is well formed and what
 * matches what; who may use a topic is for others. */
#include "mqtt/packet.h"

#include <string.h>

static bool has_byte(roam_bytes text, uint8_t byte) { return text.len > 0 && memchr(text.base, byte, text.len) != NULL; }

static bool is_topic_string(roam_bytes text) {
  return text.len >= 1 && text.len <= ROAM_STRING_MAX && roam_utf8_valid(text);
}

bool roam_topic_valid(roam_bytes topic) { return is_topic_string(topic) && !has_byte(topic, '+') && !has_byte(topic, '#'); }

/* A wildcard stands alone in its level, and '#' in the last one only. */
static bool has_good_wildcards(roam_bytes filter) {
  for (size_t i = 0; i < filter.len; i++) {
    uint8_t c = filter.base[i];
    if (c != '+' && c != '#') {
      continue;
    }
    bool starts = i == 0 || filter.base[i - 1] == '/';
    bool ends = i + 1 == filter.len || (c == '+' && filter.base[i + 1] == '/');
    if (!starts || !ends) {
      return false;
    }
  }
  return true;
}

/* The part of a filter that is matched: without "$share/<name>/". len 0 when that prefix is broken. */
static roam_bytes strip_share(roam_bytes filter) {
  static const char prefix[] = "$share/";
  size_t skip = sizeof prefix - 1;
  if (filter.len < skip || memcmp(filter.base, prefix, skip) != 0) {
    return filter;
  }
  roam_bytes rest = {filter.base + skip, filter.len - skip};
  const uint8_t *slash = rest.len > 0 ? memchr(rest.base, '/', rest.len) : NULL;
  roam_bytes name = {rest.base, slash != NULL ? (size_t)(slash - rest.base) : 0};
  if (name.len == 0 || has_byte(name, '+') || has_byte(name, '#')) {
    return (roam_bytes){NULL, 0};
  }
  return (roam_bytes){slash + 1, rest.len - name.len - 1};
}

bool roam_topic_filter_valid(roam_bytes filter) {
  if (!is_topic_string(filter)) {
    return false;
  }
  roam_bytes matched = strip_share(filter);
  return matched.len > 0 && has_good_wildcards(matched);
}

static size_t level_len(const uint8_t *at, const uint8_t *end) {
  const uint8_t *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
  return slash != NULL ? (size_t)(slash - at) : (size_t)(end - at);
}

bool roam_topic_matches(roam_bytes filter, roam_bytes topic) {
  filter = strip_share(filter);
  if (filter.len == 0 || topic.len == 0) {
    return false;
  }
  const uint8_t *f = filter.base, *f_end = f + filter.len, *t = topic.base, *t_end = t + topic.len;
  if (*t == '$' && (*f == '+' || *f == '#')) {
    return false;
  }
  for (;;) {
    size_t f_len = level_len(f, f_end), t_len = level_len(t, t_end);
    if (f_len == 1 && *f == '#') {
      return true;
    }
    bool same = f_len == t_len && memcmp(f, t, f_len) == 0;
    if (!same && !(f_len == 1 && *f == '+')) {
      return false;
    }
    f += f_len;
    t += t_len;
    if (t == t_end) {
      /* "a/#" also matches "a" (section 4.7.1.2) */
      return f == f_end || (f_end - f == 2 && f[1] == '#');
    }
    if (f == f_end) {
      return false;
    }
    f++;
    t++;
  }
}
