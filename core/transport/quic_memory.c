/* quic_memory.c - what ngtcp2 takes for one connection, counted: packets it waits for an acknowledgement of, and pieces of
 * streams whose beginning has not arrived. Each allocation has its length in front of it. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "transport/quic.h"

union head {
  size_t len;
  max_align_t align;
};

static void *take(size_t len, bool zeroed, void *context) {
  struct roam_quic_conn *c = context;
  if (len > SIZE_MAX - sizeof(union head)) return NULL;
  union head *h = zeroed ? calloc(1, sizeof *h + len) : malloc(sizeof *h + len);
  if (!h) return NULL;
  h->len = len;
  c->library_bytes += len;
  return h + 1;
}

static void *count_malloc(size_t len, void *context) { return take(len, false, context); }

static void *count_calloc(size_t n, size_t len, void *context) {
  size_t all;
  return __builtin_mul_overflow(n, len, &all) ? NULL : take(all, true, context);
}

static void count_free(void *memory, void *context) {
  struct roam_quic_conn *c = context;
  if (!memory) return;
  union head *h = (union head *)memory - 1;
  c->library_bytes -= h->len;
  free(h);
}

static void *count_realloc(void *memory, size_t len, void *context) {
  struct roam_quic_conn *c = context;
  if (!memory) return take(len, false, context);
  if (len > SIZE_MAX - sizeof(union head)) return NULL;
  union head *h = (union head *)memory - 1;
  size_t before = h->len;
  h = realloc(h, sizeof *h + len);
  if (!h) return NULL;
  h->len = len;
  c->library_bytes += len - before;
  return h + 1;
}

void roam_quic_memory_init(struct roam_quic_conn *c) {
  c->memory = (ngtcp2_mem){
      .user_data = c, .malloc = count_malloc, .free = count_free, .calloc = count_calloc, .realloc = count_realloc};
}

/* What waits in queues of ours. */
size_t roam_quic_memory(const struct roam_quic_conn *c) {
  size_t frames = roam_ring_count(&c->frames_rx) + roam_ring_count(&c->frames_tx);
  size_t bytes = sizeof *c + (size_t)c->library_bytes + (size_t)c->held + frames * ROAM_QUIC_FRAME_COST + c->frames_bytes;
  if (c->tls.handle) bytes += ROAM_QUIC_TLS_COST;
  ROAM_LIST_EACH(&c->lanes, node) {
    const struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    bytes += sizeof *l + l->rx.cap;
    if (l->number == 0) bytes += (size_t)roam_sendq_held(&l->tx);
  }
  return bytes;
}
