/* events.h - what the application has not polled yet, in order, and what still holds bytes of the control lane because of
 * it.
 *
 * A message is not copied on its way to the application: its views are kept as offsets into the lane, whose bytes stay
 * where they are (and keep their flow-control credit) until the event has been polled and the next call has come. Only what
 * does not lie in the lane (a topic that an alias stood for, a text) is copied, into one blob of the entry's own.
 *
 * Invariant: polled <= count <= cap; refs entries point into the lane; entries [0, polled) have been handed out. */
#ifndef ROAM_CLIENT_EVENTS_H
#define ROAM_CLIENT_EVENTS_H

#include <roamqtt/event.h>

#define ROAM_EVENTS_MAX 1024 /* waiting events; at the bound the session is fed no more */
#define ROAM_EVENTS_BATCH                                                                                                  \
  16 /* what one feed of the session may add beyond it; small, for a client's memory is mostly this */
#define ROAM_EVENTS_MARGIN 16 /* slots kept for what must be said even without memory: DISCONNECTED, CLOSED */
#define ROAM_NOT_IN_LANE UINT64_MAX

struct roam_entry {
  roam_event ev;
  roam_blob *hold;
  uint64_t offset[3]; /* of its views, from the first byte the lane ever carried; ROAM_NOT_IN_LANE */
  uint32_t link;      /* the connection it came on, for acknowledging */
  uint32_t lane;      /* the lane its offsets are of */
};

struct roam_events {
  struct roam_entry *slots;
  size_t cap, head, count, polled, refs;
  uint32_t refs_of[64]; /* refs, by lane */
  roam_blob *topic;     /* the last one that did not lie in its lane: the next one is most likely the same */
};

/* The part of a lane that the session has seen: base[0] is byte `first` of the lane. */
struct roam_lane_view {
  roam_bytes bytes;
  uint64_t first;
};

/* Where the lanes are now. */
struct roam_lane_views {
  struct roam_lane_view (*of)(const void *owner, uint32_t lane);
  const void *owner;
};

/* Room for n more above the margin. ROAM_E_MEMORY: nothing has changed. */
roam_rc roam_events_reserve(struct roam_events *q, size_t n);
/* A new last entry, zeroed, no views; NULL when there is no slot. */
struct roam_entry *roam_events_add(struct roam_events *q);
/* Turns the views of a just added entry into offsets, and copies those that lie outside the lane. ROAM_E_MEMORY: views
 * cleared. */
roam_rc roam_events_keep_views(struct roam_events *q, struct roam_entry *e, uint32_t number,
                               const struct roam_lane_view *lane);
/* Keeps a copy of text for the entry; when there is no memory, `otherwise` (static). */
void roam_events_keep_text(struct roam_entry *e, const char *text, const char *otherwise);
size_t roam_events_poll(struct roam_events *q, roam_event ev[], size_t n, const struct roam_lane_views *lanes);
/* Takes back the first entry that has been polled. It stands until the next one is added, its views are void; NULL: none is
 * left. */
const struct roam_entry *roam_events_release(struct roam_events *q);
/* The lane's bytes below this one are needed by nobody; `end` when none are. */
uint64_t roam_events_lane_floor(const struct roam_events *q, uint32_t lane, uint64_t end);
void roam_events_reset(struct roam_events *q);

static inline size_t roam_events_waiting(const struct roam_events *q) { return q->count - q->polled; }

#endif
