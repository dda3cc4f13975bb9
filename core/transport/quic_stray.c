/* quic_stray.c - datagrams that reached one worker and belong to another: their ids say so. Bounded: what is too much is
 * lost, as it would be in a full socket. A datagram that has been adopted is not sent on again. */
#include <stdlib.h>
#include <string.h>

#include "transport/quic.h"

#define STRAYS_MAX 1024u

/* How it travels: this, then the bytes. */
struct stray {
  roam_addr listener, local, remote;
  uint8_t ecn;
};

struct waiting {
  struct roam_list node;
  uint32_t worker;
  roam_blob *bytes;
};

bool roam_quic_stray_put(struct roam_quic *q, const struct roam_quic_listener *l, const roam_wire *unit,
                         const ngtcp2_version_cid *vc, const uint8_t *data, size_t len) {
  if (q->ids.workers <= 1 || (data[0] & 0x80) != 0) return false;
  uint32_t worker = roam_quic_ids_worker(&q->ids, vc->dcid, vc->dcidlen);
  if (worker == UINT32_MAX || worker == q->ids.worker) return false;
  if (q->strays_count >= STRAYS_MAX) return true;
  struct waiting *w = calloc(1, sizeof *w);
  struct stray stray = {.listener = l->local, .local = unit->local, .remote = unit->remote, .ecn = unit->ecn};
  if (w) w->bytes = roam_blob_new(NULL, sizeof stray + len);
  if (!w || !w->bytes) {
    free(w);
    return true;
  }
  memcpy(roam_blob_data(w->bytes), &stray, sizeof stray);
  memcpy(roam_blob_data(w->bytes) + sizeof stray, data, len);
  w->worker = worker;
  roam_list_push_back(&q->strays, &w->node);
  q->strays_count++;
  return true;
}

roam_blob *roam_quic_stray_pop(struct roam_quic *q, uint32_t *worker) {
  struct roam_list *first = roam_list_pop_front(&q->strays);
  if (!first) return NULL;
  struct waiting *w = ROAM_CONTAINER(first, struct waiting, node);
  roam_blob *bytes = w->bytes;
  *worker = w->worker;
  q->strays_count--;
  free(w);
  return bytes;
}

void roam_quic_stray_take(struct roam_quic *q, roam_bytes bytes) {
  struct stray stray;
  if (bytes.len <= sizeof stray) return;
  memcpy(&stray, bytes.base, sizeof stray);
  roam_wire unit = {.kind = ROAM_WIRE_DATAGRAM,
                    .local = stray.local,
                    .remote = stray.remote,
                    .ecn = stray.ecn,
                    .data = bytes.base + sizeof stray,
                    .len = bytes.len - sizeof stray};
  ROAM_LIST_EACH(&q->listeners, node) {
    struct roam_quic_listener *l = ROAM_CONTAINER(node, struct roam_quic_listener, node);
    if (!l->bound || !roam_addr_equal(&l->local, &stray.listener)) continue;
    roam_quic_feed_stranger(q, l, &unit);
    return;
  }
}
