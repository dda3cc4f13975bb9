/* sendq.c - see sendq.h. Refuses to know how large it may get (its lane asks before it puts) and what acknowledging means.
 */
#include "transport/sendq.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
  CHUNK_MIN = 512, /* all that a lane needs which says little: an idle connection must not hold pages */
  CHUNK_MAX = 4096,
  COPY_BELOW = 512, /* a shorter slice costs less to copy than to count and to gather */
  PIECES_MAX = 1 << 20
};

struct roam_sendq_chunk {
  uint32_t refs; /* pieces in it */
  size_t used, cap;
  uint8_t bytes[];
};

struct piece {
  const uint8_t *base;
  size_t len;
  roam_blob *hold;                /* or */
  struct roam_sendq_chunk *chunk; /* exactly one is set */
};

void roam_sendq_init(struct roam_sendq *q) {
  memset(q, 0, sizeof *q);
  roam_ring_init(&q->pieces, sizeof(struct piece), PIECES_MAX);
}

static void release_piece(struct roam_sendq *q, const struct piece *p) {
  if (p->hold) roam_blob_unref(p->hold);
  if (!p->chunk || --p->chunk->refs > 0) return;
  if (p->chunk == q->tail) q->tail->used = 0;
  else free(p->chunk);
}

void roam_sendq_reset(struct roam_sendq *q) {
  struct piece p;
  while (roam_ring_pop(&q->pieces, &p)) release_piece(q, &p);
  free(q->tail);
  q->tail = NULL;
  roam_ring_reset(&q->pieces);
  q->next_piece = q->next_offset = 0;
  q->acked = q->sent = q->written; /* a late acknowledgement finds nothing to do */
}

/* As much again as waits already, so that a busy lane gets large chunks and a quiet one a small one. */
static size_t chunk_bytes(uint64_t held, size_t want) {
  size_t cap = held < CHUNK_MIN ? CHUNK_MIN : held > CHUNK_MAX ? CHUNK_MAX : (size_t)held;
  return want > cap ? want : cap;
}

static struct roam_sendq_chunk *make_chunk(size_t cap) {
  struct roam_sendq_chunk *chunk = malloc(sizeof *chunk + cap);
  if (!chunk) return NULL;
  chunk->refs = 0;
  chunk->used = 0;
  chunk->cap = cap;
  return chunk;
}

/* A tail no piece points into belongs to nobody else and is freed when replaced. */
static bool ensure_tail(struct roam_sendq *q, size_t want) {
  if (q->tail && q->tail->used < q->tail->cap) return true;
  struct roam_sendq_chunk *chunk = make_chunk(chunk_bytes(roam_sendq_held(q), want));
  if (!chunk) return false;
  if (q->tail && q->tail->refs == 0) free(q->tail);
  q->tail = chunk;
  return true;
}

static struct piece *last_piece(struct roam_sendq *q) {
  size_t count = roam_ring_count(&q->pieces);
  return count > 0 ? roam_ring_at(&q->pieces, count - 1) : NULL;
}

static bool put_held(struct roam_sendq *q, const roam_slice *s) {
  struct piece p = {.base = s->base, .len = s->len, .hold = s->hold};
  if (roam_ring_push(&q->pieces, &p) != 0) return false;
  roam_blob_ref(s->hold);
  q->written += s->len;
  return true;
}

static bool put_copy(struct roam_sendq *q, const uint8_t *base, size_t len) {
  while (len > 0) {
    if (!ensure_tail(q, len)) return false;
    size_t n = q->tail->cap - q->tail->used;
    if (n > len) n = len;
    uint8_t *to = q->tail->bytes + q->tail->used;
    struct piece *last = last_piece(q);
    if (last && last->chunk == q->tail && last->base + last->len == to) {
      last->len += n;
    } else {
      struct piece p = {.base = to, .len = n, .chunk = q->tail};
      if (roam_ring_push(&q->pieces, &p) != 0) return false;
      q->tail->refs++;
    }
    memcpy(to, base, n);
    q->tail->used += n;
    q->written += n;
    base += n;
    len -= n;
  }
  return true;
}

/* Takes back what was put last until `written` is the given offset again. */
static void unput(struct roam_sendq *q, uint64_t written) {
  while (q->written > written) {
    struct piece *last = last_piece(q);
    size_t n = last->len;
    if (n > q->written - written) n = (size_t)(q->written - written);
    q->written -= n;
    last->len -= n;
    if (last->chunk && last->chunk == q->tail) q->tail->used -= n;
    if (last->len > 0) continue;
    struct piece gone = *last;
    q->pieces.count--;
    release_piece(q, &gone);
  }
}

roam_rc roam_sendq_put(struct roam_sendq *q, const roam_slice slices[], size_t n) {
  uint64_t before = q->written;
  for (size_t i = 0; i < n; i++) {
    const roam_slice *s = &slices[i];
    if (s->len == 0) continue;
    bool ok = s->hold && s->len >= COPY_BELOW ? put_held(q, s) : put_copy(q, s->base, s->len);
    if (!ok) {
      unput(q, before);
      return ROAM_E_MEMORY;
    }
  }
  return 0;
}

size_t roam_sendq_unsent(const struct roam_sendq *q, roam_bytes out[], size_t n, size_t *len) {
  size_t count = 0, skip = q->next_offset;
  *len = 0;
  for (size_t i = q->next_piece; count < n && i < roam_ring_count(&q->pieces); i++, skip = 0) {
    const struct piece *p = roam_ring_at(&q->pieces, i);
    if (p->len == skip) continue;
    out[count].base = p->base + skip;
    out[count].len = p->len - skip;
    *len += out[count++].len;
  }
  return count;
}

void roam_sendq_advance(struct roam_sendq *q, size_t len) {
  ROAM_ASSERT(len <= q->written - q->sent);
  q->sent += len;
  while (len > 0) {
    const struct piece *p = roam_ring_at(&q->pieces, q->next_piece);
    size_t n = p->len - q->next_offset;
    if (len < n) {
      q->next_offset += len;
      return;
    }
    len -= n;
    /* The last piece may still grow, so the cursor waits at its end instead of behind it. */
    if (q->next_piece + 1 == roam_ring_count(&q->pieces)) {
      q->next_offset = p->len;
      return;
    }
    q->next_piece++;
    q->next_offset = 0;
  }
}

void roam_sendq_rewind(struct roam_sendq *q) {
  ROAM_ASSERT(q->acked == 0 || q->acked == q->written);
  q->sent = q->acked;
  q->next_piece = q->next_offset = 0;
}

void roam_sendq_ack(struct roam_sendq *q, uint64_t offset) {
  if (offset > q->sent) offset = q->sent;
  while (q->acked < offset) {
    struct piece *p = roam_ring_peek(&q->pieces);
    if (offset - q->acked < p->len) {
      size_t n = (size_t)(offset - q->acked);
      p->base += n;
      p->len -= n;
      if (q->next_piece == 0) q->next_offset -= n;
      q->acked = offset;
      return;
    }
    q->acked += p->len;
    struct piece gone;
    roam_ring_pop(&q->pieces, &gone);
    if (q->next_piece > 0) q->next_piece--;
    else q->next_offset = 0;
    release_piece(q, &gone);
  }
}
