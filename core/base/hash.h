/* hash.h - SipHash-1-3, a keyed hash for tables whose keys strangers choose. Not a MAC: do not authenticate with it. */
#ifndef ROAM_BASE_HASH_H
#define ROAM_BASE_HASH_H

#include <roamqtt/base.h>

struct roam_hash_key {
  uint64_t k0, k1;
};

/* Draws a key; a fixed one when random is NULL (for tables no stranger can reach). */
struct roam_hash_key roam_hash_key_draw(roam_random *random);
uint64_t roam_hash_bytes(struct roam_hash_key key, const void *bytes, size_t len);
uint64_t roam_hash_u64(struct roam_hash_key key, uint64_t value);

#endif
