/* heap.c - the binary heap. O(log n) for each change, O(1) to see the first. Refuses to grow beyond the maximum told at
 * init, and to own its nodes. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/assert.h"

void roam_heap_init(struct roam_heap *h, uint32_t max) { *h = (struct roam_heap){.max = max}; }

void roam_heap_reset(struct roam_heap *h) {
  for (uint32_t i = 0; i < h->count; i++) h->nodes[i]->index = 0;
  free(h->nodes);
  roam_heap_init(h, h->max);
}

roam_rc roam_heap_reserve(struct roam_heap *h, uint32_t n) {
  if (n > h->max) return ROAM_E_LIMIT;
  if (n <= h->cap) return 0;
  size_t cap = h->cap < 8 ? 8 : (size_t)h->cap * 2;
  if (cap < n) cap = n;
  if (cap > h->max) cap = h->max;
  struct roam_heap_node **nodes = realloc(h->nodes, cap * sizeof *nodes);
  if (!nodes) return ROAM_E_MEMORY;
  h->nodes = nodes;
  h->cap = (uint32_t)cap;
  return 0;
}

static bool before(const struct roam_heap_node *a, const struct roam_heap_node *b) {
  return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void place(struct roam_heap *h, struct roam_heap_node *node, uint32_t i) {
  h->nodes[i] = node;
  node->index = i + 1;
}

static void sift_up(struct roam_heap *h, struct roam_heap_node *node, uint32_t i) {
  while (i > 0) {
    uint32_t parent = (i - 1) / 2;
    if (!before(node, h->nodes[parent])) break;
    place(h, h->nodes[parent], i);
    i = parent;
  }
  place(h, node, i);
}

static void sift_down(struct roam_heap *h, struct roam_heap_node *node, uint32_t i) {
  for (;;) {
    uint64_t child = 2 * (uint64_t)i + 1;
    if (child >= h->count) break;
    if (child + 1 < h->count && before(h->nodes[child + 1], h->nodes[child])) child++;
    if (!before(h->nodes[child], node)) break;
    place(h, h->nodes[child], i);
    i = (uint32_t)child;
  }
  place(h, node, i);
}

static void settle(struct roam_heap *h, struct roam_heap_node *node, uint32_t i) {
  if (i > 0 && before(node, h->nodes[(i - 1) / 2])) sift_up(h, node, i);
  else sift_down(h, node, i);
}

void roam_heap_remove(struct roam_heap *h, struct roam_heap_node *node) {
  if (node->index == 0) return;
  uint32_t i = node->index - 1;
  ROAM_ASSERT(i < h->count && h->nodes[i] == node);
  node->index = 0;
  struct roam_heap_node *last = h->nodes[--h->count];
  if (last != node) settle(h, last, i);
}

roam_rc roam_heap_set(struct roam_heap *h, struct roam_heap_node *node, roam_time at) {
  if (at == ROAM_NEVER) {
    roam_heap_remove(h, node);
    return 0;
  }
  if (node->index != 0) {
    if (node->at == at) return 0;
    node->at = at;
    node->seq = ++h->seq;
    settle(h, node, node->index - 1);
    return 0;
  }
  if (h->count == h->max) return ROAM_E_LIMIT;
  roam_rc rc = roam_heap_reserve(h, h->count + 1);
  if (rc != 0) return rc;
  node->at = at;
  node->seq = ++h->seq;
  sift_up(h, node, h->count++);
  return 0;
}
