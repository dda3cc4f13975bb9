/* map.c - open addressing with linear probing. A removal closes the gap behind it, so there are no tombstones and a table
 * that lives long does not get slower. */
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
  FIRST_CAP = 16
};

static bool needs_growth(size_t count, size_t cap) { return count + 1 > cap - cap / 4; }

/* ---- bytes -> pointer ---- */

void roam_map_init(struct roam_map *m, size_t max, roam_random *random) {
  ROAM_ASSERT(max <= SIZE_MAX / 4 / sizeof *m->slots);
  *m = (struct roam_map){.max = max, .seed = roam_hash_key_draw(random)};
}

void roam_map_reset(struct roam_map *m) {
  free(m->slots);
  *m = (struct roam_map){.max = m->max, .seed = m->seed};
}

static bool is_key(const struct roam_map_slot *s, uint64_t hash, const void *key, size_t key_len) {
  return s->hash == hash && s->key_len == key_len && (key_len == 0 || memcmp(s->key, key, key_len) == 0);
}

/* The slot of the key, or the free one where it belongs. */
static size_t find(const struct roam_map *m, uint64_t hash, const void *key, size_t key_len) {
  size_t mask = m->cap - 1, i = hash & mask;
  while (m->slots[i].value && !is_key(&m->slots[i], hash, key, key_len)) i = (i + 1) & mask;
  return i;
}

static roam_rc grow(struct roam_map *m) {
  size_t cap = m->cap == 0 ? FIRST_CAP : m->cap * 2, mask = cap - 1;
  struct roam_map_slot *slots = calloc(cap, sizeof *slots);
  if (!slots) return ROAM_E_MEMORY;
  for (size_t k = 0; k < m->cap; k++) {
    if (!m->slots[k].value) continue;
    size_t i = m->slots[k].hash & mask;
    while (slots[i].value) i = (i + 1) & mask;
    slots[i] = m->slots[k];
  }
  free(m->slots);
  m->slots = slots;
  m->cap = cap;
  return 0;
}

roam_rc roam_map_put(struct roam_map *m, const void *key, size_t key_len, void *value) {
  ROAM_ASSERT(value);
  uint64_t hash = roam_hash_bytes(m->seed, key, key_len);
  size_t i = 0;
  bool known = false;
  if (m->cap > 0) {
    i = find(m, hash, key, key_len);
    known = m->slots[i].value != NULL;
  }
  if (!known) {
    if (m->count >= m->max) return ROAM_E_LIMIT;
    if (needs_growth(m->count, m->cap)) {
      roam_rc rc = grow(m);
      if (rc != 0) return rc;
      i = find(m, hash, key, key_len);
    }
    m->count++;
  }
  m->slots[i] = (struct roam_map_slot){hash, key, key_len, value};
  return 0;
}

void *roam_map_get(const struct roam_map *m, const void *key, size_t key_len) {
  if (m->count == 0) return NULL;
  return m->slots[find(m, roam_hash_bytes(m->seed, key, key_len), key, key_len)].value;
}

void *roam_map_remove(struct roam_map *m, const void *key, size_t key_len) {
  if (m->count == 0) return NULL;
  size_t mask = m->cap - 1, hole = find(m, roam_hash_bytes(m->seed, key, key_len), key, key_len);
  void *value = m->slots[hole].value;
  if (!value) return NULL;
  for (size_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
    size_t home = m->slots[i].hash & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue; /* would land before its home */
    m->slots[hole] = m->slots[i];
    hole = i;
  }
  m->slots[hole] = (struct roam_map_slot){0};
  m->count--;
  return value;
}

/* ---- number -> pointer ---- */

void roam_map64_init(struct roam_map64 *m, size_t max, roam_random *random) {
  ROAM_ASSERT(max <= SIZE_MAX / 4 / sizeof *m->slots);
  *m = (struct roam_map64){.max = max, .seed = roam_hash_key_draw(random)};
}

void roam_map64_reset(struct roam_map64 *m) {
  free(m->slots);
  *m = (struct roam_map64){.max = m->max, .seed = m->seed};
}

static size_t find64(const struct roam_map64_slot *slots, size_t cap, struct roam_hash_key seed, uint64_t key) {
  size_t mask = cap - 1, i = roam_hash_u64(seed, key) & mask;
  while (slots[i].value && slots[i].key != key) i = (i + 1) & mask;
  return i;
}

static roam_rc grow64(struct roam_map64 *m) {
  size_t cap = m->cap == 0 ? FIRST_CAP : m->cap * 2;
  struct roam_map64_slot *slots = calloc(cap, sizeof *slots);
  if (!slots) return ROAM_E_MEMORY;
  for (size_t k = 0; k < m->cap; k++) {
    if (m->slots[k].value) slots[find64(slots, cap, m->seed, m->slots[k].key)] = m->slots[k];
  }
  free(m->slots);
  m->slots = slots;
  m->cap = cap;
  return 0;
}

roam_rc roam_map64_put(struct roam_map64 *m, uint64_t key, void *value) {
  ROAM_ASSERT(value);
  size_t i = m->cap > 0 ? find64(m->slots, m->cap, m->seed, key) : 0;
  if (m->cap == 0 || !m->slots[i].value) {
    if (m->count >= m->max) return ROAM_E_LIMIT;
    if (needs_growth(m->count, m->cap)) {
      roam_rc rc = grow64(m);
      if (rc != 0) return rc;
      i = find64(m->slots, m->cap, m->seed, key);
    }
    m->count++;
  }
  m->slots[i] = (struct roam_map64_slot){key, value};
  return 0;
}

void *roam_map64_get(const struct roam_map64 *m, uint64_t key) {
  return m->count == 0 ? NULL : m->slots[find64(m->slots, m->cap, m->seed, key)].value;
}

void *roam_map64_remove(struct roam_map64 *m, uint64_t key) {
  if (m->count == 0) return NULL;
  size_t mask = m->cap - 1, hole = find64(m->slots, m->cap, m->seed, key);
  void *value = m->slots[hole].value;
  if (!value) return NULL;
  for (size_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
    size_t home = roam_hash_u64(m->seed, m->slots[i].key) & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    m->slots[hole] = m->slots[i];
    hole = i;
  }
  m->slots[hole] = (struct roam_map64_slot){0};
  m->count--;
  return value;
}
