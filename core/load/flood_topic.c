/* flood_topic.c - payloads that prove themselves, and the window of one topic. Knows neither clients nor time. */
#include "load/flood.h"

#include <string.h>

void roam_flood_pattern(uint8_t *pattern, size_t len) {
  for (size_t i = 0; i < len + 256; i++) pattern[i] = (uint8_t)i;
}

/* Both ends are this process, so numbers keep the machine's own byte order. */
void roam_flood_fill(uint8_t *payload, size_t len, const uint8_t *pattern, uint64_t k, roam_time at) {
  memcpy(payload, &k, 8);
  memcpy(payload + 8, &at, 8);
  memcpy(payload + ROAM_FLOOD_HEADER, pattern + (uint8_t)(k * 31), len - ROAM_FLOOD_HEADER);
}

bool roam_flood_check(roam_bytes payload, size_t len, const uint8_t *pattern, uint64_t *k, roam_time *at) {
  if (payload.len != len || len < ROAM_FLOOD_HEADER) return false;
  memcpy(k, payload.base, 8);
  memcpy(at, payload.base + 8, 8);
  return memcmp(payload.base + ROAM_FLOOD_HEADER, pattern + (uint8_t)(*k * 31), len - ROAM_FLOOD_HEADER) == 0;
}

enum roam_flood_verdict roam_flood_take(struct roam_flood_topic *t, uint32_t window, uint32_t receivers, uint64_t *expected,
                                        uint64_t k, bool lossy) {
  if (k >= t->next) return ROAM_FLOOD_CORRUPT;
  if (k < *expected) return ROAM_FLOOD_AGAIN;
  uint64_t was = *expected;
  *expected = k + 1;
  for (uint64_t skipped = was; lossy && skipped < k; skipped++) t->seen[skipped % window]++;
  t->seen[k % window]++;
  while (t->base < t->next && t->seen[t->base % window] == receivers) t->seen[t->base++ % window] = 0;
  return lossy || k == was ? ROAM_FLOOD_GOOD : ROAM_FLOOD_DISORDERED;
}

void roam_flood_skip(struct roam_flood_topic *t, uint32_t window, uint32_t receivers, uint64_t expected[]) {
  for (; t->base < t->next; t->base++) t->seen[t->base % window] = 0;
  for (uint32_t i = 0; i < receivers; i++) expected[i] = t->next;
}
