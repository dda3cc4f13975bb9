/* events.c - what the broker has to tell its owner. The queue is bounded: an owner who does not poll loses the oldest,
 * counted. What an event points to is held by count until the call after the one that polled it. */
#include "broker/broker.h"

#include <string.h>

static void drop_told(struct roam_told *told) {
  roam_blob_unref(told->id);
  roam_blob_unref(told->text);
}

void roam_broker_forget_told(roam_broker *b) {
  struct roam_told told;
  while (roam_ring_pop(&b->told, &told)) drop_told(&told);
}

void roam_broker_forget_events(roam_broker *b) {
  struct roam_told told;
  while (roam_ring_pop(&b->events, &told)) drop_told(&told);
  roam_broker_forget_told(b);
  roam_ring_reset(&b->events);
  roam_ring_reset(&b->told);
}

roam_event *roam_broker_tell(roam_broker *b, roam_event_kind kind, roam_blob *id, const char *text) {
  struct roam_told oldest;
  if (roam_ring_full(&b->events) && roam_ring_pop(&b->events, &oldest)) {
    drop_told(&oldest);
    b->stats.events_dropped++;
  }
  struct roam_told *told = roam_ring_add(&b->events);
  if (!told) { /* without memory there is nobody to tell: the event is written and thrown away */
    b->stats.events_dropped++;
    b->lost = (struct roam_told){0};
    return &b->lost.ev;
  }
  told->id = roam_blob_ref(id);
  if (text) told->text = roam_blob_new(text, strlen(text) + 1);
  told->ev = (roam_event){.kind = kind, .reason = -1, .at = b->now};
  if (id) told->ev.id = (roam_bytes){roam_blob_data(id), roam_blob_len(id)};
  if (told->text) told->ev.text = (const char *)roam_blob_data(told->text);
  return &told->ev;
}

size_t roam_broker_poll(roam_broker *b, roam_event ev[], size_t n) {
  size_t count = 0;
  struct roam_told told;
  roam_broker_forget_told(b);
  while (count < n && roam_ring_count(&b->events) > 0) {
    struct roam_told *first = roam_ring_peek(&b->events);
    if ((first->id || first->text) && roam_ring_push(&b->told, first) != 0) break; /* no memory: later */
    roam_ring_pop(&b->events, &told);
    ev[count++] = told.ev;
  }
  return count;
}

const char *roam_id_text(const roam_blob *id, char text[ROAM_ID_TEXT_MAX]) {
  roam_blob *blob = (roam_blob *)(uintptr_t)id;
  size_t len = id ? roam_blob_len(id) : 0, cut = len < ROAM_ID_TEXT_MAX - 4 ? len : ROAM_ID_TEXT_MAX - 4;
  for (size_t i = 0; i < cut; i++) {
    uint8_t c = roam_blob_data(blob)[i];
    text[i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
  }
  memcpy(text + cut, cut < len ? "..." : "", cut < len ? 4 : 1);
  return text;
}
