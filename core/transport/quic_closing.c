/* quic_closing.c - what outlives a connection: its ids, so that late packets are not strangers', and its last words, said
 * again to a peer that has not heard them. For three PTO, in a bounded list; the oldest gives way. Refuses to bring
 * anything back to life. */
#include <stdlib.h>
#include <string.h>

#include "transport/quic.h"

#define SAY_AGAIN_NS (50 * ROAM_MS)

void roam_quic_closing_free(struct roam_quic *q, struct roam_quic_closing *g) {
  ROAM_LIST_EACH(&g->cids, node) {
    struct roam_quic_cid *cid = ROAM_CONTAINER(node, struct roam_quic_cid, node);
    roam_quic_cid_remove(q, cid->bytes, cid->len);
  }
  if (g->handle) roam_map64_remove(&q->handles, g->handle);
  if (g->listener) roam_quic_listener_leave(g->listener);
  roam_heap_remove(&q->closing_timers, &g->timer);
  roam_list_remove(&g->node);
  roam_list_remove(&g->send);
  q->closings_count--;
  free(g);
}

/* Its time is up. A client's still has a socket to give back, which is told at the next drain. */
void roam_quic_closing_end(struct roam_quic *q, struct roam_quic_closing *g) {
  roam_heap_remove(&q->closing_timers, &g->timer);
  if (!g->handle) {
    roam_quic_closing_free(q, g);
    return;
  }
  g->over = true;
  if (roam_list_empty(&g->send)) roam_list_push_back(&q->closings_to_send, &g->send);
}

static void evict_closing(struct roam_quic *q) {
  ROAM_LIST_EACH(&q->closings, node) {
    struct roam_quic_closing *g = ROAM_CONTAINER(node, struct roam_quic_closing, node);
    if (g->over) continue;
    roam_quic_closing_end(q, g);
    return;
  }
}

static void move_cids(struct roam_quic_conn *c, struct roam_quic_closing *g) {
  ROAM_LIST_EACH(&c->cids, node) {
    struct roam_quic_cid *cid = ROAM_CONTAINER(node, struct roam_quic_cid, node);
    roam_list_remove(node);
    roam_list_push_back(&g->cids, node);
    cid->conn = NULL;
    cid->closing = g;
  }
}

void roam_quic_closing_keep(struct roam_quic *q, struct roam_quic_conn *c, roam_time until, roam_bytes packet) {
  struct roam_quic_path *path = c->server ? NULL : roam_quic_path_current(c);
  if (!c->server && (!path || packet.len == 0)) return; /* a client that has nothing more to say needs no socket */
  if (q->closings_count >= ROAM_QUIC_CLOSINGS_MAX) evict_closing(q);
  struct roam_quic_closing *g = calloc(1, sizeof *g + packet.len);
  if (!g) return;
  g->kind = ROAM_QUIC_CLOSING;
  g->local = c->local;
  g->remote = c->remote;
  g->len = packet.len;
  if (packet.len > 0) memcpy(g->packet, packet.base, packet.len);
  roam_list_init(&g->cids);
  roam_list_init(&g->send);
  if (roam_heap_set(&q->closing_timers, &g->timer, until) != 0) {
    free(g);
    return;
  }
  roam_list_push_back(&q->closings, &g->node);
  q->closings_count++;
  move_cids(c, g);
  g->listener = c->listener;
  if (g->listener) g->listener->users++;
  if (path) {
    g->handle = path->handle;
    path->state = ROAM_PATH_FREE;
    roam_map64_put(&q->handles, g->handle, &g->kind); /* replaces in place */
  }
  if (g->len > 0) roam_list_push_back(&q->closings_to_send, &g->send);
}

/* The peer has not heard our last words: say them again, but not for each of its packets. */
void roam_quic_closing_repeat(struct roam_quic *q, struct roam_quic_closing *g) {
  if (g->len == 0 || q->now < g->said + SAY_AGAIN_NS) return;
  if (roam_list_empty(&g->send)) roam_list_push_back(&q->closings_to_send, &g->send);
}

void roam_quic_closing_drain(struct roam_quic *q, struct roam_quic_tx *tx) {
  ROAM_LIST_EACH(&q->closings_to_send, node) {
    struct roam_quic_closing *g = ROAM_CONTAINER(node, struct roam_quic_closing, send);
    if (tx->n == tx->max) return;
    if (g->over) {
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_UNBIND, .handle = g->handle};
      roam_quic_closing_free(q, g);
      continue;
    }
    tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                                   .handle = g->listener ? g->listener->handle : g->handle,
                                   .local = g->local,
                                   .remote = g->remote,
                                   .data = g->packet,
                                   .len = g->len};
    g->said = q->now;
    roam_list_remove(node);
  }
}
