/* router.c - handles of many clients in one machine's range. Looks at kinds and handles, never at what a unit carries. */
#include "load/router.h"

#include <stdlib.h>

void roam_router_init(struct roam_router *r, uint32_t slots_max, roam_random *random) {
  *r = (struct roam_router){.max = slots_max};
  roam_ring_init(&r->unused, sizeof(uint32_t), slots_max);
  roam_map64_init(&r->by_key, slots_max, random);
}

void roam_router_reset(struct roam_router *r) {
  free(r->slots);
  r->slots = NULL;
  r->count = r->cap = 0;
  roam_ring_reset(&r->unused);
  roam_map64_reset(&r->by_key);
}

/* Sockets and questions to the resolver are numbered apart by whoever asks; never 0. */
static uint64_t key_of(uint32_t member, uint32_t inner, bool question) {
  return (uint64_t)(member + 1) << 32 | (question ? UINT64_C(1) << 31 : 0) | inner;
}

static uint32_t place_of(const struct roam_router *r, uint64_t key) {
  return (uint32_t)(uintptr_t)roam_map64_get(&r->by_key, key);
}

static roam_rc grow(struct roam_router *r) {
  if (r->cap == r->max) return ROAM_E_LIMIT;
  uint32_t cap = r->cap ? r->cap * 2 : 16;
  if (cap > r->max) cap = r->max;
  struct roam_router_slot *slots = realloc(r->slots, cap * sizeof *slots);
  if (!slots) return ROAM_E_MEMORY;
  r->slots = slots;
  r->cap = cap;
  return 0;
}

/* A slot that was not used for the longest time, so that a late unit for its last owner does not meet a new one. */
static roam_rc take_slot(struct roam_router *r, uint32_t *place) {
  if (r->count == r->cap && roam_ring_count(&r->unused) > 0) {
    roam_ring_pop(&r->unused, place);
    return 0;
  }
  roam_rc rc = r->count == r->cap ? grow(r) : 0;
  if (rc == 0) *place = r->count++;
  return rc;
}

static void release(struct roam_router *r, uint32_t place) {
  roam_map64_remove(&r->by_key, r->slots[place].key);
  r->slots[place].key = 0;
  /* Without memory for the note the slot is merely not used again. */
  (void)roam_ring_push(&r->unused, &place);
}

static roam_rc make(struct roam_router *r, uint32_t member, uint32_t inner, uint64_t key, uint32_t *outer) {
  uint32_t place;
  *outer = place_of(r, key);
  if (*outer) return 0;
  roam_rc rc = take_slot(r, &place);
  if (rc) return rc;
  r->slots[place] = (struct roam_router_slot){key, member, inner};
  rc = roam_map64_put(&r->by_key, key, (void *)(uintptr_t)(place + 1));
  if (rc) {
    r->slots[place].key = 0;
    (void)roam_ring_push(&r->unused, &place);
    return rc;
  }
  *outer = place + 1;
  return 0;
}

roam_rc roam_router_out(struct roam_router *r, uint32_t member, roam_wire *unit) {
  bool question = unit->kind == ROAM_WIRE_RESOLVE;
  if (unit->handle & ROAM_HANDLE_EDGE) return ROAM_E_NOT_FOUND;
  uint64_t key = key_of(member, unit->handle, question);
  uint32_t outer = place_of(r, key);
  switch (unit->kind) {
    case ROAM_WIRE_BIND:
    case ROAM_WIRE_OPEN:
    case ROAM_WIRE_RESOLVE: {
      roam_rc rc = make(r, member, unit->handle, key, &outer);
      if (rc) return rc;
      break;
    }
    case ROAM_WIRE_UNBIND:
    case ROAM_WIRE_CLOSE:
      if (outer && (unit->kind == ROAM_WIRE_UNBIND || unit->how != ROAM_CLOSE_HANG)) release(r, outer - 1);
      break;
    case ROAM_WIRE_DATAGRAM:
    case ROAM_WIRE_DATA:
    case ROAM_WIRE_CREDIT: break;
    default: return ROAM_E_NOT_FOUND;
  }
  if (!outer) return ROAM_E_NOT_FOUND;
  unit->handle = outer;
  return 0;
}

roam_rc roam_router_in(struct roam_router *r, roam_wire *unit, uint32_t *member) {
  uint32_t place = unit->handle - 1;
  if (unit->handle == 0 || place >= r->count || !r->slots[place].key) return ROAM_E_NOT_FOUND;
  *member = r->slots[place].member;
  unit->handle = r->slots[place].inner;
  if (unit->kind == ROAM_WIRE_FAILED || unit->kind == ROAM_WIRE_CLOSE || unit->kind == ROAM_WIRE_RESOLVED)
    release(r, place);
  return 0;
}
