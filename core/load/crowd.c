/* crowd.c - many clients driven as one machine. Knows handles and deadlines; what the clients are for is its owner's
 * business, and so are their events. A turn costs what happened in it and not the number of clients. */
#include "load/crowd.h"

#include <stdlib.h>

#define FEED_BATCH 64
#define SOCKETS_MAX 4 /* of each client on average */

roam_rc roam_crowd_init(struct roam_crowd *c, uint32_t n, roam_random *random) {
  *c = (struct roam_crowd){.len = n};
  roam_list_init(&c->touched);
  roam_list_init(&c->dry);
  roam_router_init(&c->router, n * SOCKETS_MAX, random);
  roam_heap_init(&c->due, n);
  c->members = calloc(n, sizeof *c->members);
  if (!c->members || roam_heap_reserve(&c->due, n) != 0) return ROAM_E_MEMORY;
  for (uint32_t i = 0; i < n; i++) {
    c->members[i].index = i;
    roam_list_init(&c->members[i].place);
  }
  return 0;
}

void roam_crowd_reset(struct roam_crowd *c) {
  roam_heap_reset(&c->due);
  for (uint32_t i = 0; c->members && i < c->len; i++) roam_client_free(c->members[i].client);
  roam_router_reset(&c->router);
  free(c->members);
  c->members = NULL;
  c->len = 0;
}

void roam_crowd_enter(struct roam_crowd *c, roam_time now) {
  if (now > c->now) c->now = now;
}

static void move_to(struct roam_list *head, struct roam_crowd_member *m) {
  roam_list_remove(&m->place);
  roam_list_push_back(head, &m->place);
}

void roam_crowd_touch(struct roam_crowd *c, uint32_t index) { move_to(&c->touched, &c->members[index]); }

static void give_batch(struct roam_crowd *c, struct roam_crowd_member *m, const roam_wire batch[], size_t *n) {
  if (*n == 0) return;
  roam_client_feed(m->client, c->now, batch, *n);
  move_to(&c->touched, m);
  *n = 0;
}

static void give_all(struct roam_crowd *c, const roam_wire *unit) {
  for (uint32_t i = 0; i < c->len; i++) {
    roam_client_feed(c->members[i].client, c->now, unit, 1);
    roam_crowd_touch(c, i);
  }
}

/* Units that follow each other and belong to the same client reach it as one batch. */
void roam_crowd_feed(struct roam_crowd *c, const roam_wire in[], size_t n) {
  roam_wire batch[FEED_BATCH];
  size_t used = 0;
  struct roam_crowd_member *owner = NULL;
  for (size_t i = 0; i < n; i++) {
    roam_wire unit = in[i];
    uint32_t index;
    if (unit.kind == ROAM_WIRE_ADDR || unit.kind == ROAM_WIRE_WAKE) {
      give_batch(c, owner, batch, &used);
      give_all(c, &unit);
      continue;
    }
    if (roam_router_in(&c->router, &unit, &index)) continue;
    if (owner != &c->members[index] || used == FEED_BATCH) give_batch(c, owner, batch, &used);
    owner = &c->members[index];
    batch[used++] = unit;
  }
  give_batch(c, owner, batch, &used);
}

void roam_crowd_tick(struct roam_crowd *c) {
  struct roam_heap_node *first;
  while ((first = roam_heap_first(&c->due)) && first->at <= c->now) {
    struct roam_crowd_member *m = ROAM_CONTAINER(first, struct roam_crowd_member, due);
    roam_heap_remove(&c->due, first);
    roam_client_tick(m->client, c->now);
    move_to(&c->touched, m);
  }
}

/* Gives the units their outer handles; those that are nobody's any more fall out. */
static size_t route(struct roam_crowd *c, uint32_t index, roam_wire out[], size_t n) {
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    roam_wire unit = out[i];
    roam_rc rc = roam_router_out(&c->router, index, &unit);
    if (rc == 0) out[kept++] = unit;
    else if (rc != ROAM_E_NOT_FOUND && c->rc == 0) c->rc = rc;
  }
  return kept;
}

size_t roam_crowd_drain(struct roam_crowd *c, roam_wire out[], size_t n) {
  size_t used = 0;
  ROAM_LIST_EACH(&c->touched, place) {
    struct roam_crowd_member *m = ROAM_CONTAINER(place, struct roam_crowd_member, place);
    if (used == n) break;
    size_t got = roam_client_drain(m->client, c->now, out + used, n - used);
    if (got == 0) move_to(&c->dry, m);
    used += route(c, m->index, out + used, got);
  }
  return used;
}

bool roam_crowd_next_dry(struct roam_crowd *c, uint32_t *index) {
  struct roam_list *first = roam_list_pop_front(&c->dry);
  if (!first) return false;
  struct roam_crowd_member *m = ROAM_CONTAINER(first, struct roam_crowd_member, place);
  *index = m->index;
  (void)roam_heap_set(&c->due, &m->due, roam_client_deadline(m->client)); /* reserved: cannot fail */
  return true;
}

roam_time roam_crowd_deadline(const struct roam_crowd *c) {
  bool busy = !roam_list_empty(&c->touched) || !roam_list_empty(&c->dry);
  return busy ? c->now : roam_heap_deadline(&c->due);
}
