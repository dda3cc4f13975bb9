/* router.h - whose socket is whose: handles of many clients in one machine's range, and back.
 *
 * Invariant: a slot is in use from the BIND, OPEN or RESOLVE that made it until UNBIND or CLOSE has gone out or FAILED,
 * CLOSE or RESOLVED come in; its outer handle is its place + 1. Clients never listen, so no handle of the edge's own choice
 * is ever theirs. */
#ifndef ROAM_LOAD_ROUTER_H
#define ROAM_LOAD_ROUTER_H

#include "base/map.h"
#include "base/ring.h"

#include <roamqtt/wire.h>

struct roam_router_slot {
  uint64_t key; /* 0: free */
  uint32_t member, inner;
};

struct roam_router {
  struct roam_router_slot *slots;
  uint32_t count, cap, max;
  struct roam_ring unused;  /* places of free slots, the longest free one first */
  struct roam_map64 by_key; /* key -> place + 1 */
};

void roam_router_init(struct roam_router *r, uint32_t slots_max, roam_random *random);
void roam_router_reset(struct roam_router *r);
/* A unit drained from a member: its handle becomes the machine's. ROAM_E_NOT_FOUND: the unit is to be dropped.
 * ROAM_E_LIMIT, ROAM_E_MEMORY: no room for another socket. */
roam_rc roam_router_out(struct roam_router *r, uint32_t member, roam_wire *unit);
/* A unit for the machine: whose it is, and its handle as that member knows it. ROAM_E_NOT_FOUND: nobody's. */
roam_rc roam_router_in(struct roam_router *r, roam_wire *unit, uint32_t *member);

#endif
