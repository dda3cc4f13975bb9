/* sendq.h - bytes on their way out of a lane: slices queued, handed over in order, and kept where they are until
 * acknowledged.
 *
 * Invariant: acked <= sent <= written (offsets from the lane's first byte); pieces cover [acked, written) without a gap. A
 * piece lies either in a blob of which the queue has a count, or in a chunk of the queue's own; neither ever moves. */
#ifndef ROAM_TRANSPORT_SENDQ_H
#define ROAM_TRANSPORT_SENDQ_H

#include <roamqtt/mqtt.h>

#include "base/ring.h"

struct roam_sendq_chunk;

struct roam_sendq {
  struct roam_ring pieces;
  struct roam_sendq_chunk *tail; /* the chunk copies go to, or NULL */
  uint64_t written, sent, acked;
  size_t next_piece;  /* where the unsent part begins: index into pieces */
  size_t next_offset; /* and bytes into that piece */
};

void roam_sendq_init(struct roam_sendq *q);
void roam_sendq_reset(struct roam_sendq *q); /* drops all, gives counts and memory back */
/* Takes all slices or none. Those with hold are kept by count, short ones and those without are copied. ROAM_E_MEMORY. */
roam_rc roam_sendq_put(struct roam_sendq *q, const roam_slice slices[], size_t n);
/* Views of the unsent bytes, at most n views; returns how many, *len their sum. */
size_t roam_sendq_unsent(const struct roam_sendq *q, roam_bytes out[], size_t n, size_t *len);
void roam_sendq_advance(struct roam_sendq *q, size_t len); /* that many of the unsent bytes are sent */
void roam_sendq_rewind(struct roam_sendq *q); /* nothing of it has been sent after all; nothing may be acknowledged yet */
/* All before this offset is no longer needed. */
void roam_sendq_ack(struct roam_sendq *q, uint64_t offset);

static inline uint64_t roam_sendq_held(const struct roam_sendq *q) { return q->written - q->acked; }
static inline bool roam_sendq_has_unsent(const struct roam_sendq *q) { return q->sent < q->written; }

#endif
