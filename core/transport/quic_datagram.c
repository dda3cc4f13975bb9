/* quic_datagram.c - DATAGRAM frames (RFC 9221) of a connection: a bounded queue each way. What does not fit into a queue is
 * refused (out) or dropped and counted (in); nothing is ever sent again.
 *
 * The library (1.11) asserts when it writes an empty datagram, so none is taken; an empty one that arrives is harmless. It
 * refuses one that is larger than the peer takes, and one that fits no packet of the path waits for ever: such a one, which
 * was taken when the path was wider, is dropped when its turn comes. */
#include <stdlib.h>
#include <string.h>

#include "transport/quic.h"

enum {
  FRAME_HEAD = 3,    /* type, length */
  PACKET_HEAD = 5,   /* flags, packet number */
  PACKET_TAIL = 16,  /* AEAD */
  FRAME_MAX = 65535, /* what we say we take: whatever a packet can hold */
};

uint64_t roam_quic_datagram_frame_max(const struct roam_quic *q) { return q->o.datagrams_max > 0 ? FRAME_MAX : 0; }

void roam_quic_datagrams_init(struct roam_quic_conn *c) {
  size_t max = roam_quic_of(c)->o.datagrams_max;
  roam_ring_init(&c->frames_rx, sizeof(roam_blob *), max);
  roam_ring_init(&c->frames_tx, sizeof(roam_blob *), max);
}

static bool forget_first(struct roam_quic_conn *c, struct roam_ring *ring) {
  roam_blob *blob;
  if (!roam_ring_pop(ring, &blob)) return false;
  c->frames_bytes -= roam_blob_len(blob);
  roam_blob_unref(blob);
  return true;
}

static void empty(struct roam_quic_conn *c, struct roam_ring *ring) {
  while (forget_first(c, ring)) continue;
  roam_ring_reset(ring);
}

void roam_quic_datagrams_reset(struct roam_quic_conn *c) {
  empty(c, &c->frames_rx);
  empty(c, &c->frames_tx);
}

void roam_quic_datagrams_forget_out(struct roam_quic_conn *c) { empty(c, &c->frames_tx); }

/* ---- in -------------------------------------------------------------------------------------------------------------- */

void roam_quic_datagram_take(struct roam_quic_conn *c, const uint8_t *data, size_t len) {
  roam_blob *blob = roam_ring_full(&c->frames_rx) ? NULL : roam_blob_new(len > 0 ? data : NULL, len);
  if (!blob || roam_ring_push(&c->frames_rx, &blob) != 0) {
    roam_blob_unref(blob);
    c->frames_dropped++;
    return;
  }
  c->frames_bytes += len;
  c->frames_in++;
  c->events |= CONN_HAS_DATAGRAM;
  roam_quic_announce(roam_quic_of(c), c);
}

roam_bytes roam_quic_datagram_peek(const struct roam_quic_conn *c, bool *some) {
  roam_blob **first = roam_ring_peek(&c->frames_rx);
  *some = first != NULL;
  return first ? (roam_bytes){roam_blob_data(*first), roam_blob_len(*first)} : (roam_bytes){0};
}

void roam_quic_datagram_pop(struct roam_quic_conn *c) { forget_first(c, &c->frames_rx); }

/* ---- out ------------------------------------------------------------------------------------------------------------- */

/* The largest that fits a packet of the path as it is now, and the peer. */
static size_t size_max(const struct roam_quic_conn *c) {
  const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(c->nc);
  if (!peer || peer->max_datagram_frame_size <= FRAME_HEAD) return 0;
  size_t udp = roam_quic_mtu_now(c);
  size_t overhead = PACKET_HEAD + ngtcp2_conn_get_dcid(c->nc)->datalen + FRAME_HEAD + PACKET_TAIL;
  size_t path = udp > overhead ? udp - overhead : 0;
  return peer->max_datagram_frame_size - FRAME_HEAD < path ? (size_t)peer->max_datagram_frame_size - FRAME_HEAD : path;
}

size_t roam_quic_datagram_room(const struct roam_quic_conn *c) {
  bool ready = c->nc && c->state == ROAM_QUIC_OPEN && roam_quic_of(c)->o.datagrams_max > 0;
  return ready && !roam_ring_full(&c->frames_tx) ? size_max(c) : 0;
}

roam_rc roam_quic_datagram_put(struct roam_quic_conn *c, roam_bytes datagram) {
  if (datagram.len == 0) return ROAM_E_ARGUMENT;
  if (!c->nc || c->state != ROAM_QUIC_OPEN) return ROAM_E_STATE;
  size_t max = roam_quic_of(c)->o.datagrams_max > 0 ? size_max(c) : 0;
  if (max == 0) return ROAM_E_UNSUPPORTED;
  if (datagram.len > max) return ROAM_E_TOO_LARGE;
  if (roam_ring_full(&c->frames_tx)) return ROAM_E_BLOCKED;
  roam_blob *blob = roam_blob_new(datagram.base, datagram.len);
  roam_rc rc = blob ? roam_ring_push(&c->frames_tx, &blob) : ROAM_E_MEMORY;
  if (rc != 0) {
    roam_blob_unref(blob);
    return rc;
  }
  c->frames_bytes += datagram.len;
  roam_quic_activate(roam_quic_of(c), c);
  return 0;
}

bool roam_quic_datagram_waits(const struct roam_quic_conn *c) { return roam_ring_count(&c->frames_tx) > 0; }

/* Those that no packet can carry any more. */
static void drop_too_large(struct roam_quic_conn *c) {
  roam_blob **first;
  size_t max = size_max(c);
  while ((first = roam_ring_peek(&c->frames_tx)) && roam_blob_len(*first) > max) {
    forget_first(c, &c->frames_tx);
    c->frames_dropped++;
  }
}

ngtcp2_ssize roam_quic_datagram_offer(struct roam_quic_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *dest,
                                      size_t cap) {
  drop_too_large(c);
  roam_blob **first = roam_ring_peek(&c->frames_tx);
  if (!first) return NGTCP2_ERR_WRITE_MORE; /* nothing was added: the caller looks for something else */
  ngtcp2_vec vec = {roam_blob_data(*first), roam_blob_len(*first)};
  int accepted = 0;
  ngtcp2_ssize n = ngtcp2_conn_writev_datagram(c->nc, path, info, dest, cap, &accepted, NGTCP2_WRITE_DATAGRAM_FLAG_MORE,
                                               c->frames_out + 1, &vec, 1, roam_quic_of(c)->now);
  if (accepted) {
    c->frames_out++;
    roam_quic_mtu_carries(c, ROAM_CARRIED_FRAME, 0, c->frames_out);
    forget_first(c, &c->frames_tx);
  } else if (n == NGTCP2_ERR_INVALID_ARGUMENT || n == NGTCP2_ERR_INVALID_STATE) {
    forget_first(c, &c->frames_tx);
    c->frames_dropped++;
    return NGTCP2_ERR_WRITE_MORE;
  }
  return n;
}
