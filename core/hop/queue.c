/* queue.c - a bottleneck: so many bytes per second, and a drop-tail buffer in front of it, each direction for itself.
 * Bytes are those of the payload. Only the first parcel has a due time; so a new rate counts for all that wait, and for
 * the one under way from its start. Refuses to choose: what does not fit is dropped, whatever it is. */
#include <stdlib.h>
#include <string.h>

#include "hop/hop.h"

/* Invariant: bytes = sum of the lengths in line; start = when the first of line began to be sent. */
struct lane {
  struct roam_fifo line;
  uint64_t bytes;
  roam_time start;
};

struct queue {
  roam_hop hop;
  roam_queue_options o;
  struct lane lane[2];
};

void roam_queue_options_init(roam_queue_options *o) {
  *o = (roam_queue_options){.size = sizeof *o, .queue_bytes_max = 262144};
}

static uint64_t sending_ns(const struct queue *q, const roam_parcel *parcel) {
  uint64_t rate = q->o.rate_bytes_s;
  return rate == 0 ? 0 : ((uint64_t)parcel->len * ROAM_S + rate - 1) / rate;
}

static roam_time first_due(const struct queue *q, roam_dir dir) {
  const struct lane *l = &q->lane[dir];
  return l->line.head ? l->start + sending_ns(q, l->line.head) : ROAM_NEVER;
}

static void put(roam_hop *hop, roam_dir dir, roam_parcel *parcel) {
  struct queue *q = (struct queue *)hop;
  struct lane *l = &q->lane[dir];
  if (q->o.rate_bytes_s > 0 && l->bytes + parcel->len > q->o.queue_bytes_max) {
    roam_hop_drop(hop, dir, parcel);
    return;
  }
  if (!l->line.head && hop->now > l->start) l->start = hop->now;
  l->bytes += parcel->len;
  roam_fifo_push(&l->line, parcel);
}

static roam_parcel *take(roam_hop *hop, roam_dir *dir) {
  struct queue *q = (struct queue *)hop;
  *dir = first_due(q, ROAM_IN) < first_due(q, ROAM_OUT) ? ROAM_IN : ROAM_OUT;
  roam_time due = first_due(q, *dir);
  if (due > hop->now) return NULL;
  struct lane *l = &q->lane[*dir];
  roam_parcel *parcel = roam_fifo_pop(&l->line);
  l->bytes -= parcel->len;
  l->start = due; /* the next begins when this one ended, however late the caller is */
  parcel->due = due;
  return parcel;
}

static roam_time deadline(const roam_hop *hop) {
  const struct queue *q = (const struct queue *)hop;
  roam_time out = first_due(q, ROAM_OUT), in = first_due(q, ROAM_IN);
  return in < out ? in : out;
}

static void free_queue(roam_hop *hop) {
  struct queue *q = (struct queue *)hop;
  for (int dir = 0; dir < 2; dir++) roam_fifo_free(&q->lane[dir].line);
  free(q);
}

roam_hop *roam_queue_new(const roam_queue_options *o) {
  static const struct roam_hop_ops ops = {put, take, deadline, free_queue};
  struct queue *q = calloc(1, sizeof *q);
  if (!q) return NULL;
  q->hop = (roam_hop){.ops = &ops};
  roam_queue_options_init(&q->o);
  if (o) memcpy(&q->o, o, roam_hop_option_size(o->size, sizeof q->o));
  for (int dir = 0; dir < 2; dir++) roam_fifo_init(&q->lane[dir].line);
  return &q->hop;
}

void roam_queue_set_rate(roam_hop *hop, uint64_t rate_bytes_s) { ((struct queue *)hop)->o.rate_bytes_s = rate_bytes_s; }
