/* history.c - where a client has been. The list is bounded; the counts are not, they are only numbers. When memory is out
 * the list misses an entry, the counts and the current address do not. */
#include "broker/history.h"

void roam_history_init(struct roam_history *h, uint32_t max) {
  *h = (struct roam_history){0};
  roam_ring_init(&h->changes, sizeof(roam_address_change), max);
}

void roam_history_reset(struct roam_history *h) { roam_ring_reset(&h->changes); }

static void add_change(struct roam_history *h, roam_time at, const roam_addr *address, bool by_connect) {
  roam_address_change change = {.at = at, .address = *address, .by_connect = by_connect};
  h->now = *address;
  if (roam_ring_full(&h->changes)) roam_ring_pop(&h->changes, NULL);
  roam_ring_push(&h->changes, &change);
}

void roam_history_connected(struct roam_history *h, roam_time at, const roam_addr *address) {
  h->connects++;
  h->at_connect = *address;
  add_change(h, at, address, true);
}

void roam_history_moved(struct roam_history *h, roam_time at, const roam_addr *address) {
  h->moves++;
  add_change(h, at, address, false);
}

size_t roam_history_read(const struct roam_history *h, roam_address_change out[], size_t n) {
  size_t count = roam_ring_count(&h->changes) < n ? roam_ring_count(&h->changes) : n;
  for (size_t i = 0; i < count; i++) out[i] = *(roam_address_change *)roam_ring_at(&h->changes, i);
  return count;
}
