/* delay.c - every parcel waits a fixed time plus a drawn one. Without `reorder` a parcel never comes out before one put in
 * earlier in the same direction: then the drawn time only ever pushes later ones back. It never drops for lack of luck,
 * only beyond its bound. */
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "base/rng.h"
#include "hop/hop.h"

/* Invariant: with reorder parcels are in heap[dir], else in line[dir] with due times that never fall. */
struct delay {
  roam_hop hop;
  roam_delay_options o;
  struct roam_fifo line[2];
  struct roam_heap heap[2];
  roam_time last_due[2];
};

void roam_delay_options_init(roam_delay_options *o) { *o = (roam_delay_options){.size = sizeof *o, .parcels_max = 65536}; }

static uint32_t held(const struct delay *d, roam_dir dir) { return d->o.reorder ? d->heap[dir].count : d->line[dir].count; }

static roam_time due_time(struct delay *d, roam_dir dir) {
  uint64_t drawn = d->hop.random ? roam_random_below(d->hop.random, d->o.jitter_ns + 1) : 0;
  roam_time due = d->hop.now + d->o.delay_ns + drawn;
  if (!d->o.reorder && due < d->last_due[dir]) due = d->last_due[dir];
  d->last_due[dir] = due;
  return due;
}

static void put(roam_hop *hop, roam_dir dir, roam_parcel *parcel) {
  struct delay *d = (struct delay *)hop;
  roam_time due = due_time(d, dir); /* drawn also for one that is dropped */
  if (held(d, dir) >= d->o.parcels_max) {
    roam_hop_drop(hop, dir, parcel);
    return;
  }
  parcel->due = due;
  if (!d->o.reorder) roam_fifo_push(&d->line[dir], parcel);
  else if (roam_heap_set(&d->heap[dir], roam_parcel_node(parcel), due) != 0) roam_hop_drop(hop, dir, parcel);
}

static roam_time first_due(const struct delay *d, roam_dir dir) {
  if (d->o.reorder) return roam_heap_deadline(&d->heap[dir]);
  return d->line[dir].head ? d->line[dir].head->due : ROAM_NEVER;
}

static roam_parcel *take(roam_hop *hop, roam_dir *dir) {
  struct delay *d = (struct delay *)hop;
  *dir = first_due(d, ROAM_IN) < first_due(d, ROAM_OUT) ? ROAM_IN : ROAM_OUT;
  if (first_due(d, *dir) > hop->now) return NULL;
  if (!d->o.reorder) return roam_fifo_pop(&d->line[*dir]);
  struct roam_heap_node *node = roam_heap_first(&d->heap[*dir]);
  if (!node) return NULL;
  roam_heap_remove(&d->heap[*dir], node);
  return roam_parcel_of_node(node);
}

static roam_time deadline(const roam_hop *hop) {
  const struct delay *d = (const struct delay *)hop;
  roam_time out = first_due(d, ROAM_OUT), in = first_due(d, ROAM_IN);
  return in < out ? in : out;
}

static void free_delay(roam_hop *hop) {
  struct delay *d = (struct delay *)hop;
  for (int dir = 0; dir < 2; dir++) {
    roam_fifo_free(&d->line[dir]);
    for (struct roam_heap_node *n = roam_heap_first(&d->heap[dir]); n; n = roam_heap_first(&d->heap[dir])) {
      roam_heap_remove(&d->heap[dir], n);
      roam_parcel_free(roam_parcel_of_node(n));
    }
    roam_heap_reset(&d->heap[dir]);
  }
  free(d);
}

roam_hop *roam_delay_new(const roam_delay_options *o, roam_random *random) {
  static const struct roam_hop_ops ops = {put, take, deadline, free_delay};
  struct delay *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  d->hop = (roam_hop){.ops = &ops, .random = random};
  roam_delay_options_init(&d->o);
  if (o) memcpy(&d->o, o, roam_hop_option_size(o->size, sizeof d->o));
  roam_delay_set(&d->hop, d->o.delay_ns, d->o.jitter_ns);
  for (int dir = 0; dir < 2; dir++) {
    roam_fifo_init(&d->line[dir]);
    roam_heap_init(&d->heap[dir], d->o.parcels_max);
  }
  return &d->hop;
}

void roam_delay_set(roam_hop *hop, uint64_t delay_ns, uint64_t jitter_ns) {
  /* A year is for ever, and the sum of both with any now stays below ROAM_NEVER. */
  const uint64_t longest = UINT64_C(31536000) * ROAM_S;
  struct delay *d = (struct delay *)hop;
  d->o.delay_ns = delay_ns < longest ? delay_ns : longest;
  d->o.jitter_ns = jitter_ns < longest ? jitter_ns : longest;
}
