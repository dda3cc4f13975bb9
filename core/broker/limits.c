/* limits.c - accounts of addresses. It knows no connection and refuses nobody itself.
 *
 * An account is one point in time for each limit: up to there it is spent. A CONNECT moves it on by the time that one costs
 * (a second over the limit), and an account that reaches further than the whole span ahead of now is empty. So the burst is
 * the limit itself, and what was spent comes back evenly. An IPv6 address counts as its network of 64 bits: whoever has one
 * has all of it.
 *
 * Connections are counted beside that. An account with one does not wear out: it is given back when the last is gone. */
#include "broker/limits.h"

#include <stdlib.h>
#include <string.h>

#define RATE_SPAN ROAM_S
#define FAILURE_SPAN (60 * ROAM_S)
#define KEY_LEN 17
#define CONNECTIONS_MAX (1u << 22) /* what a broker may have, each from elsewhere */

struct roam_place {
  struct roam_list recent; /* or busy, while there are connections */
  uint32_t connections;
  uint8_t key[KEY_LEN];
  roam_time rate_until, failures_until;
};

static void make_key(const roam_addr *address, uint8_t key[KEY_LEN]) {
  memset(key, 0, KEY_LEN);
  key[0] = address->family;
  memcpy(key + 1, address->ip, address->family == 4 ? 4 : 8);
}

static struct roam_place *find(const struct roam_places *l, const roam_addr *address) {
  uint8_t key[KEY_LEN];
  make_key(address, key);
  return roam_map_get(&l->places, key, sizeof key);
}

static void drop(struct roam_places *l, struct roam_place *place) {
  roam_map_remove(&l->places, place->key, sizeof place->key);
  roam_list_remove(&place->recent);
  if (place->connections == 0) l->count--;
  free(place);
}

static struct roam_place *open_place(struct roam_places *l, const roam_addr *address) {
  struct roam_place *place = find(l, address);
  if (place) {
    roam_list_remove(&place->recent);
    roam_list_push_back(place->connections > 0 ? &l->busy : &l->recent, &place->recent);
    return place;
  }
  if (l->count >= ROAM_LIMITS_ADDRESSES_MAX) drop(l, ROAM_CONTAINER(l->recent.next, struct roam_place, recent));
  place = calloc(1, sizeof *place);
  if (!place) return NULL;
  make_key(address, place->key);
  if (roam_map_put(&l->places, place->key, sizeof place->key, place) != 0) {
    free(place);
    return NULL;
  }
  roam_list_push_back(&l->recent, &place->recent);
  l->count++;
  return place;
}

static bool is_empty(roam_time until, roam_time now, roam_time span, uint32_t max) {
  return until > now && until - now > span - span / max;
}

static void spend(roam_time *until, roam_time now, roam_time span, uint32_t max) {
  *until = (*until > now ? *until : now) + span / max;
}

void roam_places_init(struct roam_places *l, uint32_t rate_max, uint32_t failures_max, roam_random *random) {
  *l = (struct roam_places){.rate_max = rate_max, .failures_max = failures_max};
  roam_map_init(&l->places, ROAM_LIMITS_ADDRESSES_MAX + CONNECTIONS_MAX, random);
  roam_list_init(&l->recent);
  roam_list_init(&l->busy);
}

void roam_places_reset(struct roam_places *l) {
  while (!roam_list_empty(&l->recent)) drop(l, ROAM_CONTAINER(l->recent.next, struct roam_place, recent));
  while (!roam_list_empty(&l->busy)) drop(l, ROAM_CONTAINER(l->busy.next, struct roam_place, recent));
  roam_map_reset(&l->places);
}

bool roam_places_arrive(struct roam_places *l, roam_time now, const roam_addr *address) {
  struct roam_place *place = l->rate_max > 0 ? open_place(l, address) : NULL;
  if (!place) return true;
  if (is_empty(place->rate_until, now, RATE_SPAN, l->rate_max)) return false;
  spend(&place->rate_until, now, RATE_SPAN, l->rate_max);
  return true;
}

void roam_places_fail(struct roam_places *l, roam_time now, const roam_addr *address) {
  struct roam_place *place = l->failures_max > 0 ? open_place(l, address) : NULL;
  if (place && !is_empty(place->failures_until, now, FAILURE_SPAN, l->failures_max))
    spend(&place->failures_until, now, FAILURE_SPAN, l->failures_max);
}

bool roam_places_blocked(const struct roam_places *l, roam_time now, const roam_addr *address) {
  const struct roam_place *place = l->failures_max > 0 ? find(l, address) : NULL;
  return place && is_empty(place->failures_until, now, FAILURE_SPAN, l->failures_max);
}

bool roam_places_spent(const struct roam_places *l, roam_time now, const roam_addr *address) {
  const struct roam_place *place = l->rate_max > 0 ? find(l, address) : NULL;
  return (place && is_empty(place->rate_until, now, RATE_SPAN, l->rate_max)) || roam_places_blocked(l, now, address);
}

bool roam_places_enter(struct roam_places *l, const roam_addr *address, struct roam_place **out) {
  *out = NULL;
  if (address->family == 0) return true; /* a Unix socket: whoever may open it */
  struct roam_place *place = open_place(l, address);
  if (!place) return true;
  if (l->connections_max > 0 && place->connections >= l->connections_max) return false;
  if (place->connections++ == 0) {
    roam_list_remove(&place->recent);
    roam_list_push_back(&l->busy, &place->recent);
    l->count--;
  }
  *out = place;
  return true;
}

bool roam_places_full(const struct roam_places *l, const roam_addr *address) {
  const struct roam_place *place = l->connections_max > 0 ? find(l, address) : NULL;
  return place && place->connections >= l->connections_max;
}

void roam_places_leave(struct roam_places *l, struct roam_place *place) {
  if (!place || --place->connections > 0) return;
  roam_list_remove(&place->recent);
  roam_list_push_back(&l->recent, &place->recent);
  l->count++;
  if (place->rate_until == 0 && place->failures_until == 0) drop(l, place);
  if (l->count > ROAM_LIMITS_ADDRESSES_MAX) drop(l, ROAM_CONTAINER(l->recent.next, struct roam_place, recent));
}

bool roam_place_is_of(const struct roam_place *place, const roam_addr *address) {
  uint8_t key[KEY_LEN];
  make_key(address, key);
  return memcmp(place->key, key, sizeof key) == 0;
}
