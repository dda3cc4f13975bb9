/* limits.h - how often an address may do something: CONNECTs a second, failed logins a minute. */
#ifndef ROAM_BROKER_LIMITS_H
#define ROAM_BROKER_LIMITS_H

#include <roamqtt/base.h>

#include "base/list.h"
#include "base/map.h"

#define ROAM_LIMITS_ADDRESSES_MAX 65536u

/* Addresses with something on their account, the least recently seen first. Beyond the bound that one is forgotten. */
struct roam_places {
  struct roam_map places; /* struct roam_place */
  struct roam_list recent;
  uint32_t count, rate_max, failures_max; /* a second; a minute; 0 = no limit */
};

void roam_places_init(struct roam_places *l, uint32_t rate_max, uint32_t failures_max, roam_random *random);
void roam_places_reset(struct roam_places *l);
/* Counts one CONNECT. False: too many. Without memory nobody is refused. */
bool roam_places_arrive(struct roam_places *l, roam_time now, const roam_addr *address);
void roam_places_fail(struct roam_places *l, roam_time now, const roam_addr *address);
bool roam_places_blocked(const struct roam_places *l, roam_time now, const roam_addr *address); /* by failures */

#endif
