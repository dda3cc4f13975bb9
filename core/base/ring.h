/* ring.h - a queue of elements of one size, told its maximum at init; it grows by doubling up to that.
 *
 * Invariant: count <= cap <= max; element i is at slot (head + i) mod cap. */
#ifndef ROAM_BASE_RING_H
#define ROAM_BASE_RING_H

#include <roamqtt/base.h>

struct roam_ring {
  uint8_t *base;
  size_t element, head, count, cap, max;
};

/* element: bytes of one; max: the most elements. No memory is taken before the first push. */
void roam_ring_init(struct roam_ring *r, size_t element, size_t max);
void roam_ring_reset(struct roam_ring *r); /* empties it and gives its memory back */
/* A new last element, zeroed, to be filled in place; NULL at max or when memory is out. Valid until the next push or pop.
 */
void *roam_ring_add(struct roam_ring *r);
/* Appends a copy of *element. ROAM_E_LIMIT, ROAM_E_MEMORY. */
roam_rc roam_ring_push(struct roam_ring *r, const void *element);
/* Makes room for n more, so that n pushes cannot fail. ROAM_E_LIMIT, ROAM_E_MEMORY. */
roam_rc roam_ring_reserve(struct roam_ring *r, size_t n);
/* Takes the first into *out (not copied when NULL); false when empty. */
bool roam_ring_pop(struct roam_ring *r, void *out);
/* The i-th from the front, NULL beyond the last. Valid until the next push or pop. */
void *roam_ring_at(const struct roam_ring *r, size_t i);

static inline void *roam_ring_peek(const struct roam_ring *r) { return roam_ring_at(r, 0); }
static inline size_t roam_ring_count(const struct roam_ring *r) { return r->count; }
static inline bool roam_ring_full(const struct roam_ring *r) { return r->count == r->max; }

#endif
