/* limits.h - how often an address may do something: CONNECTs a second, failed logins a minute, and how many connections it
 * has. */
#ifndef ROAM_BROKER_LIMITS_H
#define ROAM_BROKER_LIMITS_H

#include <roamqtt/base.h>

#include "base/list.h"
#include "base/map.h"

#define ROAM_LIMITS_ADDRESSES_MAX 65536u

/* Addresses with something on their account, the least recently seen first. Beyond the bound that one is forgotten. Those
 * with a connection are not among these; their owner bounds them. */
struct roam_places {
  struct roam_map places; /* struct roam_place */
  struct roam_list recent, busy;
  uint32_t count, rate_max, failures_max; /* of recent; a second; a minute; 0 = no limit */
  uint32_t connections_max;               /* at once; 0 = no limit */
};

void roam_places_init(struct roam_places *l, uint32_t rate_max, uint32_t failures_max, roam_random *random);
void roam_places_reset(struct roam_places *l);
/* Counts one CONNECT. False: too many. Without memory nobody is refused. */
bool roam_places_arrive(struct roam_places *l, roam_time now, const roam_addr *address);
void roam_places_fail(struct roam_places *l, roam_time now, const roam_addr *address);
bool roam_places_blocked(const struct roam_places *l, roam_time now, const roam_addr *address); /* by failures */
bool roam_places_spent(const struct roam_places *l, roam_time now, const roam_addr *address);   /* no CONNECT now */

/* Which account a connection counts on; with none it counts nowhere. */
struct roam_place;
/* A connection more: false, too many. Without memory, and without an address, *out is NULL and nobody is refused. */
bool roam_places_enter(struct roam_places *l, const roam_addr *address, struct roam_place **out);
bool roam_places_full(const struct roam_places *l, const roam_addr *address); /* would one more be too many? */
void roam_places_leave(struct roam_places *l, struct roam_place *place);      /* NULL: nothing */
bool roam_place_is_of(const struct roam_place *place, const roam_addr *address);

#endif
