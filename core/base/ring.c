/* ring.c - the bounded queue of equal elements. Refuses to grow beyond the maximum told at init. */
#include "base/ring.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
  FIRST_CAP = 2 /* an idle connection has several that hold one thing or none */
};

void roam_ring_init(struct roam_ring *r, size_t element, size_t max) {
  ROAM_ASSERT(element > 0 && max <= SIZE_MAX / 2 / element);
  *r = (struct roam_ring){.element = element, .max = max};
}

void roam_ring_reset(struct roam_ring *r) {
  free(r->base);
  roam_ring_init(r, r->element, r->max);
}

static size_t slot_of(const struct roam_ring *r, size_t i) {
  size_t slot = r->head + i;
  return slot >= r->cap ? slot - r->cap : slot;
}

static bool grow(struct roam_ring *r) {
  size_t cap = r->cap == 0 ? FIRST_CAP : r->cap * 2;
  if (cap > r->max) cap = r->max;
  uint8_t *base = malloc(cap * r->element);
  if (!base) return false;
  size_t front = r->cap - r->head < r->count ? r->cap - r->head : r->count;
  if (front > 0) memcpy(base, r->base + r->head * r->element, front * r->element);
  if (r->count > front) memcpy(base + front * r->element, r->base, (r->count - front) * r->element);
  free(r->base);
  r->base = base;
  r->cap = cap;
  r->head = 0;
  return true;
}

void *roam_ring_add(struct roam_ring *r) {
  if (r->count == r->max) return NULL;
  if (r->count == r->cap && !grow(r)) return NULL;
  uint8_t *slot = r->base + slot_of(r, r->count) * r->element;
  r->count++;
  return memset(slot, 0, r->element);
}

roam_rc roam_ring_push(struct roam_ring *r, const void *element) {
  if (r->count == r->max) return ROAM_E_LIMIT;
  if (r->count == r->cap && !grow(r)) return ROAM_E_MEMORY;
  memcpy(r->base + slot_of(r, r->count) * r->element, element, r->element);
  r->count++;
  return 0;
}

roam_rc roam_ring_reserve(struct roam_ring *r, size_t n) {
  if (n > r->max - r->count) return ROAM_E_LIMIT;
  while (r->cap - r->count < n)
    if (!grow(r)) return ROAM_E_MEMORY;
  return 0;
}

bool roam_ring_pop(struct roam_ring *r, void *out) {
  if (r->count == 0) return false;
  if (out) memcpy(out, r->base + r->head * r->element, r->element);
  r->head = slot_of(r, 1);
  r->count--;
  return true;
}

void *roam_ring_at(const struct roam_ring *r, size_t i) {
  return i < r->count ? r->base + slot_of(r, i) * r->element : NULL;
}
