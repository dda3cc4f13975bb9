/* hop.c - parcels, and the calls that every hop answers. It does not know what kinds of hop there are. */
#include "hop/hop.h"

#include <stdlib.h>
#include <string.h>

enum {
  NODE_BYTES = (sizeof(struct roam_heap_node) + 7) / 8 * 8
};

roam_parcel *roam_parcel_new(const void *data, size_t len) {
  if (len > UINT16_MAX) return NULL;
  uint8_t *block = malloc(NODE_BYTES + sizeof(roam_parcel) + len);
  if (!block) return NULL;
  memset(block, 0, NODE_BYTES + sizeof(roam_parcel));
  roam_parcel *parcel = (void *)(block + NODE_BYTES);
  parcel->len = (uint16_t)len;
  if (data && len > 0) memcpy(parcel->data, data, len);
  return parcel;
}

void roam_parcel_free(roam_parcel *parcel) {
  if (parcel) free((uint8_t *)parcel - NODE_BYTES);
}

struct roam_heap_node *roam_parcel_node(roam_parcel *parcel) {
  return (void *)((uint8_t *)parcel - NODE_BYTES);
}

roam_parcel *roam_parcel_of_node(struct roam_heap_node *node) { return (void *)((uint8_t *)node + NODE_BYTES); }

void roam_fifo_free(struct roam_fifo *f) {
  for (roam_parcel *p = roam_fifo_pop(f); p; p = roam_fifo_pop(f)) roam_parcel_free(p);
}

void roam_hop_drop(roam_hop *hop, roam_dir dir, roam_parcel *parcel) {
  hop->stats.dropped[dir]++;
  roam_parcel_free(parcel);
}

void roam_hop_put(roam_hop *hop, roam_time now, roam_dir dir, roam_parcel *parcel) {
  if (now > hop->now) hop->now = now;
  hop->ops->put(hop, dir, parcel);
}

roam_parcel *roam_hop_take(roam_hop *hop, roam_time now, roam_dir *dir) {
  if (now > hop->now) hop->now = now;
  roam_parcel *parcel = hop->ops->take(hop, dir);
  if (!parcel) return NULL;
  hop->stats.passed[*dir]++;
  hop->stats.bytes[*dir] += parcel->len;
  return parcel;
}

roam_time roam_hop_deadline(const roam_hop *hop) { return hop->ops->deadline(hop); }

void roam_hop_free(roam_hop *hop) {
  if (hop) hop->ops->free(hop);
}

roam_hop_stats roam_hop_get_stats(const roam_hop *hop) { return hop->stats; }
