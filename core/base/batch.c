/* batch.c - changes as bytes: appended by one who knows what they mean, read by stores that do not. Refuses to know what
 * a key or a record is. */
#include "base/batch.h"

#include <stdlib.h>
#include <string.h>

enum {
  HEAD = 9,
  SMALLEST = 4096,
  KEEP_WHEN_EMPTY = 1 << 20
};

static void put_u32(uint8_t *to, size_t value) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static size_t get_u32(const uint8_t *from) {
  return (size_t)from[0] << 24 | (size_t)from[1] << 16 | (size_t)from[2] << 8 | from[3];
}

static bool reserve(struct roam_batch *b, size_t more) {
  if (b->cap - b->len >= more) return true;
  size_t cap = b->cap > SMALLEST ? b->cap : SMALLEST;
  while (cap - b->len < more) cap *= 2;
  uint8_t *grown = realloc(b->base, cap);
  if (!grown) return false;
  b->base = grown;
  b->cap = cap;
  return true;
}

uint8_t *roam_batch_add(struct roam_batch *b, int what, roam_bytes key, size_t record_len) {
  if (key.len > UINT32_MAX || record_len > UINT32_MAX || !reserve(b, HEAD + key.len + record_len)) return NULL;
  uint8_t *at = b->base + b->len;
  at[0] = (uint8_t)what;
  put_u32(at + 1, key.len);
  put_u32(at + 5, record_len);
  memcpy(at + HEAD, key.base, key.len);
  b->last = b->len;
  b->len += HEAD + key.len + record_len;
  return at + HEAD + key.len;
}

bool roam_batch_append(struct roam_batch *b, struct roam_batch *more) {
  if (b->len == 0) {
    struct roam_batch empty = *b;
    *b = *more;
    *more = empty;
  } else {
    if (!reserve(b, more->len)) return false;
    if (more->len > 0) memcpy(b->base + b->len, more->base, more->len);
    b->len += more->len;
  }
  roam_batch_clear(more);
  return true;
}

void roam_batch_strike(struct roam_batch *b, size_t at) { b->base[at] = 0; }

void roam_batch_clear(struct roam_batch *b) {
  if (b->cap > KEEP_WHEN_EMPTY) roam_batch_reset(b);
  b->len = b->last = 0;
}

void roam_batch_reset(struct roam_batch *b) {
  free(b->base);
  *b = (struct roam_batch){0};
}

int roam_store_next(roam_bytes *rest, roam_store_change *out) {
  while (rest->len > 0) {
    if (rest->len < HEAD) return ROAM_E_MALFORMED;
    size_t key = get_u32(rest->base + 1), record = get_u32(rest->base + 5), left = rest->len - HEAD;
    if (key > left || record > left - key || rest->base[0] > ROAM_STORE_DROP_ALL) return ROAM_E_MALFORMED;
    const uint8_t *at = rest->base + HEAD;
    *out = (roam_store_change){.what = rest->base[0], .key = {at, key}, .record = {at + key, record}};
    *rest = (roam_bytes){at + key + record, left - key - record};
    if (out->what != 0) return 1;
  }
  return 0;
}
