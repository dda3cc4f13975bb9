/* batch.h - a list of changes to keys and records, as bytes: what a store applies whole or not at all.
 *
 * Each is: what (1 byte; 0 = struck), length of key and of record (4 bytes each, most significant first), key, record. */
#ifndef ROAM_BASE_BATCH_H
#define ROAM_BASE_BATCH_H

#include <roamqtt/store.h>

struct roam_batch {
  uint8_t *base;
  size_t len, cap;
  size_t last; /* where the last change begins */
};

/* Appends a change whose record of record_len bytes the caller fills in; valid until the next call. NULL: no memory. */
uint8_t *roam_batch_add(struct roam_batch *b, int what, roam_bytes key, size_t record_len);
/* Puts all of `more` behind what is there and empties that; what begins somewhere in it begins elsewhere now. False: no
 * memory, nothing has changed. */
bool roam_batch_append(struct roam_batch *b, struct roam_batch *more);
void roam_batch_strike(struct roam_batch *b, size_t at); /* the change that begins there is none any more */
void roam_batch_clear(struct roam_batch *b);             /* empties it; keeps a modest amount of memory */
void roam_batch_reset(struct roam_batch *b);

#endif
