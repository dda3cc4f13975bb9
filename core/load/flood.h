/* flood.h - one topic of a flood: what its publisher may send, and what each receiver makes of what comes. */
#ifndef ROAM_LOAD_FLOOD_H
#define ROAM_LOAD_FLOOD_H

#include <roamqtt/load.h>

#define ROAM_FLOOD_HEADER 16 /* bytes of a payload before its fill: number and time */
#define ROAM_FLOOD_TOPIC_MAX 48

/* Invariant: next - base <= window; message k of [base, next) has been seen by seen[k mod window] receivers. */
struct roam_flood_topic {
  char name[ROAM_FLOOD_TOPIC_MAX];
  size_t name_len;
  uint64_t next; /* to be published */
  uint64_t base; /* the first that not all receivers have */
  uint32_t *seen;
};

enum roam_flood_verdict {
  ROAM_FLOOD_GOOD,
  ROAM_FLOOD_AGAIN,
  ROAM_FLOOD_DISORDERED,
  ROAM_FLOOD_CORRUPT
};

/* pattern: len + 256 bytes, byte i has the value i mod 256. */
void roam_flood_pattern(uint8_t *pattern, size_t len);
void roam_flood_fill(uint8_t *payload, size_t len, const uint8_t *pattern, uint64_t k, roam_time at);
bool roam_flood_check(roam_bytes payload, size_t len, const uint8_t *pattern, uint64_t *k, roam_time *at);
/* Message k came to a receiver that waits for *expected. lossy: what it skips will not come, and nobody waits for it. */
enum roam_flood_verdict roam_flood_take(struct roam_flood_topic *t, uint32_t window, uint32_t receivers, uint64_t *expected,
                                        uint64_t k, bool lossy);
/* Nobody waits any longer for what is under way; expected: all receivers' of this topic. */
void roam_flood_skip(struct roam_flood_topic *t, uint32_t window, uint32_t receivers, uint64_t expected[]);

#endif
