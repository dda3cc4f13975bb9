/* events.c - the queue between pump and application (events.h). It knows nothing of why an event was made, and never drops
 * one that was promised a slot. */
#include "client/events.h"

#include <stdlib.h>
#include <string.h>

#include "base/blob.h"

static struct roam_entry *entry_at(const struct roam_events *q, size_t i) {
  size_t slot = q->head + i;
  return &q->slots[slot < q->cap ? slot : slot - q->cap];
}

/* The views an event carries; a kind without any has none. */
static size_t views_of(roam_event *ev, roam_bytes *views[3]) {
  if (ev->kind == ROAM_EV_MESSAGE) {
    views[0] = &ev->u.message.topic;
    views[1] = &ev->u.message.payload;
    views[2] = &ev->u.message.props;
    return 3;
  }
  if (ev->kind == ROAM_EV_AUTH) {
    views[0] = &ev->u.auth.method;
    views[1] = &ev->u.auth.data;
    return 2;
  }
  if (ev->kind == ROAM_EV_SUBSCRIBED || ev->kind == ROAM_EV_UNSUBSCRIBED || ev->kind == ROAM_EV_PUBLISHED) {
    views[0] = &ev->u.ack.codes;
    views[1] = &ev->u.ack.props;
    return 2;
  }
  return 0;
}

static bool lies_in(roam_bytes whole, roam_bytes part) {
  uintptr_t from = (uintptr_t)whole.base, at = (uintptr_t)part.base;
  return part.len > 0 && at >= from && at - from <= whole.len && part.len <= whole.len - (at - from);
}

static bool needs_lane(const struct roam_entry *e) {
  for (int i = 0; i < 3; i++)
    if (e->offset[i] != ROAM_NOT_IN_LANE) return true;
  return false;
}

roam_rc roam_events_reserve(struct roam_events *q, size_t n) {
  size_t want = q->count + n + ROAM_EVENTS_MARGIN;
  if (want <= q->cap) return 0;
  size_t cap = q->cap > 0 ? q->cap : 2 * ROAM_EVENTS_MARGIN;
  while (cap < want) cap *= 2;
  struct roam_entry *slots = malloc(cap * sizeof *slots);
  if (!slots) return ROAM_E_MEMORY;
  for (size_t i = 0; i < q->count; i++) slots[i] = *entry_at(q, i);
  free(q->slots);
  q->slots = slots;
  q->cap = cap;
  q->head = 0;
  return 0;
}

struct roam_entry *roam_events_add(struct roam_events *q) {
  if (q->count == q->cap) return NULL;
  struct roam_entry *e = entry_at(q, q->count++);
  memset(e, 0, sizeof *e);
  e->ev.reason = -1;
  for (int i = 0; i < 3; i++) e->offset[i] = ROAM_NOT_IN_LANE;
  return e;
}

/* A topic that an alias stands for, and nothing else outside the lane: one copy for all messages in a row. */
static roam_rc keep_topic(struct roam_events *q, struct roam_entry *e, roam_bytes *topic) {
  roam_blob *known = q->topic;
  if (!known || roam_blob_len(known) != topic->len || memcmp(roam_blob_data(known), topic->base, topic->len) != 0) {
    roam_blob_unref(known);
    known = q->topic = roam_blob_new(topic->base, topic->len);
    roam_blob_stay(known);
  }
  e->hold = roam_blob_ref(known);
  *topic = e->hold ? (roam_bytes){roam_blob_data(e->hold), topic->len} : (roam_bytes){0};
  return e->hold ? 0 : ROAM_E_MEMORY;
}

roam_rc roam_events_keep_views(struct roam_events *q, struct roam_entry *e, uint32_t number,
                               const struct roam_lane_view *lane) {
  roam_bytes *views[3];
  size_t n = views_of(&e->ev, views), strangers = 0;
  for (size_t i = 0; i < n; i++) {
    if (lies_in(lane->bytes, *views[i])) e->offset[i] = lane->first + (uint64_t)(views[i]->base - lane->bytes.base);
    else strangers += views[i]->len;
  }
  e->lane = number;
  if (needs_lane(e)) {
    q->refs++;
    q->refs_of[number]++;
  }
  if (strangers == 0) return 0;
  if (e->ev.kind == ROAM_EV_MESSAGE && e->offset[0] == ROAM_NOT_IN_LANE && strangers == views[0]->len)
    return keep_topic(q, e, views[0]);
  e->hold = roam_blob_new(NULL, strangers);
  size_t used = 0;
  for (size_t i = 0; i < n; i++) {
    if (e->offset[i] != ROAM_NOT_IN_LANE || views[i]->len == 0) continue;
    if (!e->hold) {
      *views[i] = (roam_bytes){0};
      continue;
    }
    uint8_t *copy = roam_blob_data(e->hold) + used;
    memcpy(copy, views[i]->base, views[i]->len);
    used += views[i]->len;
    views[i]->base = copy;
  }
  return e->hold ? 0 : ROAM_E_MEMORY;
}

void roam_events_keep_text(struct roam_entry *e, const char *text, const char *otherwise) {
  e->hold = roam_blob_new(text, strlen(text) + 1);
  e->ev.text = e->hold ? (const char *)roam_blob_data(e->hold) : otherwise;
}

static void place_views(const struct roam_entry *e, roam_event *ev, const struct roam_lane_view *lane) {
  roam_bytes *views[3];
  size_t v = views_of(ev, views);
  for (size_t i = 0; i < v; i++)
    if (e->offset[i] != ROAM_NOT_IN_LANE) views[i]->base = lane->bytes.base + (e->offset[i] - lane->first);
}

size_t roam_events_poll(struct roam_events *q, roam_event ev[], size_t n, const struct roam_lane_views *lanes) {
  size_t done = 0;
  struct roam_lane_view lane = {0};
  uint32_t number = UINT32_MAX; /* whose view that is */
  for (; done < n && q->polled < q->count; done++, q->polled++) {
    struct roam_entry *e = entry_at(q, q->polled);
    ev[done] = e->ev;
    if (!needs_lane(e)) continue;
    if (e->lane != number) lane = lanes->of(lanes->owner, number = e->lane);
    place_views(e, &ev[done], &lane);
  }
  return done;
}

const struct roam_entry *roam_events_release(struct roam_events *q) {
  if (q->polled == 0) return NULL;
  struct roam_entry *e = entry_at(q, 0);
  if (needs_lane(e)) {
    q->refs--;
    q->refs_of[e->lane]--;
  }
  roam_blob_unref(e->hold);
  e->hold = NULL;
  q->head = q->head + 1 < q->cap ? q->head + 1 : 0;
  q->count--;
  q->polled--;
  return e;
}

uint64_t roam_events_lane_floor(const struct roam_events *q, uint32_t lane, uint64_t end) {
  for (size_t i = 0; q->refs_of[lane] > 0 && i < q->count; i++) {
    const struct roam_entry *e = entry_at(q, i);
    if (e->lane != lane || !needs_lane(e)) continue;
    uint64_t floor = ROAM_NOT_IN_LANE;
    for (int v = 0; v < 3; v++)
      if (e->offset[v] < floor) floor = e->offset[v];
    return floor;
  }
  return end;
}

void roam_events_reset(struct roam_events *q) {
  for (size_t i = 0; i < q->count; i++) roam_blob_unref(entry_at(q, i)->hold);
  roam_blob_unref(q->topic);
  free(q->slots);
  *q = (struct roam_events){0};
}
