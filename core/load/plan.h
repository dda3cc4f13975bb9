/* plan.h - when each message of a row is offered: an open loop, so that a stalled connection does not slow its own
 * measurement. */
#ifndef ROAM_LOAD_PLAN_H
#define ROAM_LOAD_PLAN_H

#include <roamqtt/base.h>

struct roam_plan {
  uint32_t rate_per_s; /* 1 or more */
  uint64_t count;      /* messages of each row */
};

/* Message k is offered k / rate after the start, for all k whose time lies before duration_ns. The answer is right for
 * every argument; one beyond 64 bits is UINT64_MAX. */
uint64_t roam_plan_count(uint32_t rate_per_s, uint64_t duration_ns);
/* How long after the start message k is offered. */
uint64_t roam_plan_offset(const struct roam_plan *plan, uint64_t k);

#endif
