/* heap.h - who is due first: an intrusive binary heap ordered by time, ties by the order of setting.
 *
 * Invariant: nodes[i]->index == i + 1; a node with index 0 is in no heap, so a zeroed node is ready for use. Nodes belong
 * to their owners and must be removed before they are freed. */
#ifndef ROAM_BASE_HEAP_H
#define ROAM_BASE_HEAP_H

#include <roamqtt/base.h>

struct roam_heap_node {
  roam_time at;
  uint64_t seq;   /* the heap's: order of setting */
  uint32_t index; /* the heap's: 0 = not in it */
};

struct roam_heap {
  struct roam_heap_node **nodes;
  uint32_t count, cap, max;
  uint64_t seq;
};

void roam_heap_init(struct roam_heap *h, uint32_t max);
void roam_heap_reset(struct roam_heap *h); /* takes all nodes out and gives the memory back */
/* Room for n nodes in all, so that setting that many cannot fail. ROAM_E_LIMIT, ROAM_E_MEMORY. */
roam_rc roam_heap_reserve(struct roam_heap *h, uint32_t n);
/* Puts the node in, or moves it, to `at`; ROAM_NEVER takes it out. A node already at `at` keeps its turn. ROAM_E_LIMIT and
 * ROAM_E_MEMORY only for a node that was not in it. */
roam_rc roam_heap_set(struct roam_heap *h, struct roam_heap_node *node, roam_time at);
void roam_heap_remove(struct roam_heap *h, struct roam_heap_node *node); /* harmless when it is in no heap */

static inline struct roam_heap_node *roam_heap_first(const struct roam_heap *h) {
  return h->count > 0 ? h->nodes[0] : NULL;
}
static inline roam_time roam_heap_deadline(const struct roam_heap *h) {
  return h->count > 0 ? h->nodes[0]->at : ROAM_NEVER;
}

#endif
