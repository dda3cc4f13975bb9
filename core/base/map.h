/* map.h - hash tables from bytes, or from numbers, to pointers. Keyed hash, bounded, no iteration.
 *
 * There is no iteration on purpose: its order would depend on the hash key. Owners that must walk keep a list. Keys are not
 * copied: they belong to the value and must stay unchanged while it is in the table. Values are never NULL. */
#ifndef ROAM_BASE_MAP_H
#define ROAM_BASE_MAP_H

#include <roamqtt/base.h>

#include "base/hash.h"

struct roam_map_slot {
  uint64_t hash;
  const void *key;
  size_t key_len;
  void *value; /* NULL: free slot */
};

struct roam_map {
  struct roam_map_slot *slots; /* cap of them, a power of two, at most 3/4 in use */
  size_t count, cap, max;
  struct roam_hash_key seed;
};

/* The hash key is drawn from random; NULL gives a fixed one, for keys no stranger chooses. */
void roam_map_init(struct roam_map *m, size_t max, roam_random *random);
void roam_map_reset(struct roam_map *m); /* empties it; values are the owner's */
/* Inserts, or replaces key and value. ROAM_E_LIMIT, ROAM_E_MEMORY: unchanged. */
roam_rc roam_map_put(struct roam_map *m, const void *key, size_t key_len, void *value);
void *roam_map_get(const struct roam_map *m, const void *key, size_t key_len); /* NULL: not there */
void *roam_map_remove(struct roam_map *m, const void *key, size_t key_len);    /* what was there, or NULL */

struct roam_map64_slot {
  uint64_t key;
  void *value;
};

struct roam_map64 {
  struct roam_map64_slot *slots;
  size_t count, cap, max;
  struct roam_hash_key seed;
};

/* The same from 64-bit numbers. */
void roam_map64_init(struct roam_map64 *m, size_t max, roam_random *random);
void roam_map64_reset(struct roam_map64 *m);
roam_rc roam_map64_put(struct roam_map64 *m, uint64_t key, void *value);
void *roam_map64_get(const struct roam_map64 *m, uint64_t key);
void *roam_map64_remove(struct roam_map64 *m, uint64_t key);

#endif
