/* buf.h - a growable queue of bytes told its maximum at init: put at the back, take from the front, unread part contiguous.
 *
 * Invariant: head + len <= cap; unread bytes are base[head .. head + len); len <= max. */
#ifndef ROAM_BASE_BUF_H
#define ROAM_BASE_BUF_H

#include <roamqtt/base.h>

struct roam_buf {
  uint8_t *base;
  size_t head; /* where the unread part begins */
  size_t len;  /* unread bytes */
  size_t cap;  /* allocated */
  size_t max;  /* the most unread bytes it will hold */
};

/* No memory is taken before the first put. */
void roam_buf_init(struct roam_buf *b, size_t max);
/* Empties it and gives its memory back; it may be used again. */
void roam_buf_reset(struct roam_buf *b);
/* Unread part; valid until the next put, reserve or take. */
roam_bytes roam_buf_view(const struct roam_buf *b);
/* Appends a copy. ROAM_E_LIMIT: it would hold more than max; ROAM_E_MEMORY. Then nothing has changed. */
roam_rc roam_buf_put(struct roam_buf *b, const void *bytes, size_t n);
/* Room for n bytes behind the unread part, to be filled and then committed (n or fewer). NULL: above max (n >
 * roam_buf_room) or no memory. */
uint8_t *roam_buf_reserve(struct roam_buf *b, size_t n);
void roam_buf_commit(struct roam_buf *b, size_t n);
/* Drops n bytes from the front. Memory of a large buffer is given back when it becomes empty. */
void roam_buf_take(struct roam_buf *b, size_t n);

static inline size_t roam_buf_len(const struct roam_buf *b) { return b->len; }
static inline size_t roam_buf_room(const struct roam_buf *b) { return b->max - b->len; }

#endif
