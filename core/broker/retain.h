/* retain.h - retained messages (section 3.3.1.3): one for each topic, bounded, found by filter in pieces. */
#ifndef ROAM_BROKER_RETAIN_H
#define ROAM_BROKER_RETAIN_H

#include <roamqtt/mqtt.h>

#include "base/heap.h"
#include "broker/sys.h"
#include "broker/tree.h"

struct roam_retained_set {
  struct roam_tree tree; /* value: struct roam_retained */
  struct roam_heap due;  /* those that expire */
  uint32_t count, max;
  size_t bytes, bytes_max;
  uint64_t stamp; /* of what is put next (workers.md); 0 with one worker */
  uint32_t own;   /* of count: the broker's own, under $SYS, to which the bounds do not apply */
  size_t own_bytes;
};

roam_rc roam_retain_init(struct roam_retained_set *r, uint32_t levels_max, uint32_t max, size_t bytes_max,
                         roam_random *random);
void roam_retain_reset(struct roam_retained_set *r);
/* Keeps (one count of the blob) or replaces; an empty payload removes. ROAM_E_LIMIT: the set is full or the topic too deep,
 * and what was kept for the topic is gone: an outdated message must not be handed out as the current one. */
roam_rc roam_retain_put(struct roam_retained_set *r, const roam_message *message);
const roam_message *roam_retain_get(const struct roam_retained_set *r,
                                    roam_bytes topic);                           /* NULL: none; until the next put */
uint64_t roam_retain_stamp(const struct roam_retained_set *r, roam_bytes topic); /* 0: none is kept */
/* What has expired, one by one: the first of it, NULL: none; and dropping it. */
const roam_message *roam_retain_due(const struct roam_retained_set *r, roam_time now);
void roam_retain_drop_due(struct roam_retained_set *r);
static inline roam_time roam_retain_deadline(const struct roam_retained_set *r) { return roam_heap_deadline(&r->due); }

/* A search in pieces: it remembers where it is by node ids, so the set may change between two steps. What is there during
 * the whole search is found once. */
struct roam_retain_cursor {
  uint8_t *filter; /* a copy */
  size_t filter_len;
  uint64_t *path; /* ids from the root's child down to the last one reported, and room for the next step */
  uint32_t path_len;
  bool over;
};

roam_rc roam_retain_open(const struct roam_retained_set *r, roam_bytes filter,
                         struct roam_retain_cursor *out); /* ROAM_E_MEMORY */
void roam_retain_close(struct roam_retain_cursor *cursor);
/* The next at most n, until they make bytes_max together; returns how many. Views live until the next put or drop. */
size_t roam_retain_next(const struct roam_retained_set *r, struct roam_retain_cursor *cursor, const roam_message *out[],
                        size_t n, size_t bytes_max);

#endif
