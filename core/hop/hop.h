/* hop.h - what all hops have in common: a table of four functions, counters, and queues of parcels. */
#ifndef ROAM_HOP_HOP_H
#define ROAM_HOP_HOP_H

#include <roamqtt/hop.h>

#include "base/heap.h"

/* put owns the parcel; take gives one that is due at hop->now. Both see a now that never goes back. */
struct roam_hop_ops {
  void (*put)(roam_hop *hop, roam_dir dir, roam_parcel *parcel);
  roam_parcel *(*take)(roam_hop *hop, roam_dir *dir);
  roam_time (*deadline)(const roam_hop *hop);
  void (*free)(roam_hop *hop);
};

/* The first member of every hop. */
struct roam_hop {
  const struct roam_hop_ops *ops;
  roam_random *random; /* may be NULL: then chance never strikes */
  roam_time now;
  roam_hop_stats stats;
};

/* Counts and frees a parcel that goes no further. */
void roam_hop_drop(roam_hop *hop, roam_dir dir, roam_parcel *parcel);

/* The heap node that each parcel carries in front of it, for hops that let parcels overtake. */
struct roam_heap_node *roam_parcel_node(roam_parcel *parcel);
roam_parcel *roam_parcel_of_node(struct roam_heap_node *node);

/* Parcels in order of arrival. Invariant: *tail is the NULL at the end; count of them. */
struct roam_fifo {
  roam_parcel *head, **tail;
  uint32_t count;
};

static inline void roam_fifo_init(struct roam_fifo *f) {
  f->head = NULL;
  f->tail = &f->head;
  f->count = 0;
}
static inline void roam_fifo_push(struct roam_fifo *f, roam_parcel *parcel) {
  parcel->next = NULL;
  *f->tail = parcel;
  f->tail = &parcel->next;
  f->count++;
}
static inline roam_parcel *roam_fifo_pop(struct roam_fifo *f) {
  roam_parcel *parcel = f->head;
  if (!parcel) return NULL;
  f->head = parcel->next;
  if (!f->head) f->tail = &f->head;
  f->count--;
  parcel->next = NULL;
  return parcel;
}
void roam_fifo_free(struct roam_fifo *f); /* frees the parcels, too */

/* The smaller of the option struct's size and ours, for copying options field by field. */
static inline size_t roam_hop_option_size(size_t given, size_t known) { return given < known ? given : known; }

#endif
