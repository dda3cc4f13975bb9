/* buf.c - the byte queue. The read bytes at the front are moved away only when room is wanted and they are at least half of
 * what is unread, so that each byte is moved at most a constant number of times. */
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
  SMALLEST = 256,
  KEEP_WHEN_EMPTY = 65536
};

void roam_buf_init(struct roam_buf *b, size_t max) {
  ROAM_ASSERT(max <= SIZE_MAX / 4);
  *b = (struct roam_buf){.max = max};
}

void roam_buf_reset(struct roam_buf *b) {
  free(b->base);
  roam_buf_init(b, b->max);
}

roam_bytes roam_buf_view(const struct roam_buf *b) { return (roam_bytes){b->len > 0 ? b->base + b->head : NULL, b->len}; }

static void compact(struct roam_buf *b) {
  if (b->head > 0 && b->len > 0) memmove(b->base, b->base + b->head, b->len);
  b->head = 0;
}

/* Half as much again as max: what is unread fits with as much in front of it as reserve tolerates. */
static bool grow(struct roam_buf *b, size_t need) {
  size_t most = b->max + b->max / 2 + SMALLEST, cap = b->cap < SMALLEST ? SMALLEST : b->cap;
  while (cap < need) cap *= 2;
  if (cap > most) cap = most;
  uint8_t *base = realloc(b->base, cap);
  if (!base) return false;
  b->base = base;
  b->cap = cap;
  return true;
}

uint8_t *roam_buf_reserve(struct roam_buf *b, size_t n) {
  if (n > roam_buf_room(b)) return NULL;
  if (b->base && b->cap - b->head - b->len >= n) return b->base + b->head + b->len;
  if (b->head >= b->len / 2) compact(b);
  size_t need = b->head + b->len + n;
  if ((need > b->cap || !b->base) && !grow(b, need)) return NULL;
  return b->base + b->head + b->len;
}

void roam_buf_commit(struct roam_buf *b, size_t n) {
  ROAM_ASSERT(n <= b->cap - b->head - b->len && n <= roam_buf_room(b));
  b->len += n;
}

roam_rc roam_buf_put(struct roam_buf *b, const void *bytes, size_t n) {
  if (n == 0) return 0;
  if (n > roam_buf_room(b)) return ROAM_E_LIMIT;
  uint8_t *to = roam_buf_reserve(b, n);
  if (!to) return ROAM_E_MEMORY;
  memcpy(to, bytes, n);
  b->len += n;
  return 0;
}

void roam_buf_take(struct roam_buf *b, size_t n) {
  ROAM_ASSERT(n <= b->len);
  b->head += n;
  b->len -= n;
  if (b->len > 0) return;
  b->head = 0;
  if (b->cap > KEEP_WHEN_EMPTY) roam_buf_reset(b);
}
