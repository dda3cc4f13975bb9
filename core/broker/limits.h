/* limits.h - how often an address may do something: CONNECTs a second, failed logins a minute. */
#ifndef ROAM_BROKER_LIMITS_H
#define ROAM_BROKER_LIMITS_H

#include <roamqtt/base.h>

#include "base/list.h"
#include "base/map.h"

#define ROAM_LIMITS_ADDRESSES_MAX 65536u

/* Addresses with something on their account, the least recently seen first. Beyond the bound that one is forgotten. */
struct roam_limits {
  struct roam_map places; /* struct roam_place */
  struct roam_list recent;
  uint32_t count, rate_max, failures_max; /* a second; a minute; 0 = no limit */
};

void roam_limits_init(struct roam_limits *l, uint32_t rate_max, uint32_t failures_max, roam_random *random);
void roam_limits_reset(struct roam_limits *l);
/* Counts one CONNECT. False: too many. Without memory nobody is refused. */
bool roam_limits_arrive(struct roam_limits *l, roam_time now, const roam_addr *address);
void roam_limits_fail(struct roam_limits *l, roam_time now, const roam_addr *address);
bool roam_limits_blocked(const struct roam_limits *l, roam_time now, const roam_addr *address); /* by failures */

#endif
