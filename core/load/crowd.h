/* crowd.h - many clients driven as one machine: whose unit is whose, and who wants attention.
 *
 * Invariant: a member is on `touched` (something was done to it: drain it), on `dry` (drained: hear it and read its
 * deadline) or on neither (then its node in `due` holds its deadline). Each outward drain drains a member at most once, so
 * that the units it gave stay valid until the next. */
#ifndef ROAM_LOAD_CROWD_H
#define ROAM_LOAD_CROWD_H

#include "base/heap.h"
#include "base/list.h"
#include "load/router.h"

#include <roamqtt/client.h>

struct roam_crowd_member {
  roam_client *client;
  uint32_t index;
  struct roam_heap_node due;
  struct roam_list place;
};

struct roam_crowd {
  struct roam_crowd_member *members;
  uint32_t len;
  struct roam_router router;
  struct roam_heap due;
  struct roam_list touched, dry;
  roam_time now;
  roam_rc rc; /* the first unit that could not be sent on; 0: none */
};

/* Room for n members without clients; those are put in by the owner and freed with the crowd. */
roam_rc roam_crowd_init(struct roam_crowd *c, uint32_t n, roam_random *random);
void roam_crowd_reset(struct roam_crowd *c);
void roam_crowd_enter(struct roam_crowd *c, roam_time now);
void roam_crowd_touch(struct roam_crowd *c, uint32_t index);
void roam_crowd_feed(struct roam_crowd *c, const roam_wire in[], size_t n);
void roam_crowd_tick(struct roam_crowd *c);
/* What the touched give; 0: all of them are dry and are to be heard. */
size_t roam_crowd_drain(struct roam_crowd *c, roam_wire out[], size_t n);
/* The next of those that are dry; false: none. The owner polls it, and touches it again if anything came of that. */
bool roam_crowd_next_dry(struct roam_crowd *c, uint32_t *index);
roam_time roam_crowd_deadline(const struct roam_crowd *c);

#endif
