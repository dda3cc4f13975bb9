/* quic_write.c - from lanes to datagrams: packets are written back to back into the endpoint's arena and become trains, as
 * long as path, ECN and size agree. Refuses to allocate; a packet is only begun when there is a unit for it, for it cannot
 * be taken back. */
#include "transport/quic.h"

enum {
  TRAIN_SEGMENTS_MAX = 64,
  TRAIN_BYTES_MAX = 65000,
  VIEWS = 16,
  UNPACED_BYTES = 10 * 1200
};
#define PACE_STEP_NS ROAM_MS
#define PROBE_PTOS 3 /* after which a packet is acknowledged or lost */

bool roam_quic_tx_has_room(const struct roam_quic_tx *tx, size_t datagram_bytes_max) {
  return tx->n < tx->max && tx->cap - tx->used >= datagram_bytes_max;
}

/* The control lane before all; of the others the one that has sent the least by its weight, the longest there among equals.
 */
static struct roam_quic_lane *next_sendable(const struct roam_quic_conn *c) {
  struct roam_quic_lane *best = NULL;
  if (c->control && roam_quic_lane_sendable(c->control)) return c->control;
  ROAM_LIST_EACH(&c->lanes, node) {
    struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    if (roam_quic_lane_sendable(l) && (!best || l->turn < best->turn)) best = l;
  }
  return best;
}

/* Pacing is ours: new data waits until what was sent has had its share of the round trip, a quarter faster than the window
 * allows. A burst of an initial window is allowed at any time (RFC 9002 section 7.7), and nothing is counted while no more
 * than that is under way. The library's own pacer knows no such burst: after the two padded packets of a path's validation
 * it would hold back data for a quarter of a round trip. It stays off as long as it is not told when packets went out.
 * Who waits, waits for a millisecond's worth: no timer is finer, and a train costs less than its packets one by one.
 * BBR is the exception: its rate is not its window's, only the library knows it, and without it half of what it sends would
 * stand in a queue. */
static void pace(struct roam_quic_conn *c, const ngtcp2_conn_info *info, size_t sent) {
  roam_time now = roam_quic_of(c)->now;
  if (roam_quic_of(c)->o.congestion == ROAM_CONGESTION_BBR) return;
  if (info->bytes_in_flight <= UNPACED_BYTES || info->cwnd == 0) return;
  if (c->paced_until < now) c->paced_until = now;
  c->paced_until += sent * (info->smoothed_rtt / 5 * 4) / info->cwnd;
  c->pace_ahead_ns = UNPACED_BYTES * (info->smoothed_rtt / 5 * 4) / info->cwnd;
  if (c->pace_ahead_ns < PACE_STEP_NS) c->pace_ahead_ns = PACE_STEP_NS;
}

static roam_time sends_again_at(const struct roam_quic_conn *c) {
  uint64_t ahead = c->paced ? c->pace_ahead_ns - PACE_STEP_NS : c->pace_ahead_ns;
  return c->paced_until > ahead ? c->paced_until - ahead : 0;
}

static bool is_paced(const struct roam_quic_conn *c) { return sends_again_at(c) > roam_quic_of(c)->now; }

/* Offers the lane's bytes to the packet in the making; the result is the library's. */
static ngtcp2_ssize offer(struct roam_quic_conn *c, struct roam_quic_lane *l, ngtcp2_path *path, ngtcp2_pkt_info *info,
                          uint8_t *dest, size_t cap) {
  roam_bytes views[VIEWS];
  ngtcp2_vec vec[VIEWS];
  size_t len;
  ngtcp2_ssize taken = -1;
  size_t count = roam_sendq_unsent(&l->tx, views, VIEWS, &len);
  for (size_t i = 0; i < count; i++) vec[i] = (ngtcp2_vec){(uint8_t *)(uintptr_t)views[i].base, views[i].len};
  bool fin = l->fin && len == l->tx.written - l->tx.sent;
  uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE | (fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
  ngtcp2_ssize n =
      ngtcp2_conn_writev_stream(c->nc, path, info, dest, cap, &taken, flags, l->stream, vec, count, roam_quic_of(c)->now);
  if (taken > 0) {
    roam_sendq_advance(&l->tx, (size_t)taken);
    c->stream_out += (uint64_t)taken;
    roam_quic_mtu_carries(c, ROAM_CARRIED_STREAM, l->number, l->tx.sent);
    roam_quic_lane_charge(l, (size_t)taken);
  }
  if (taken >= 0 && fin && (size_t)taken == len) l->fin_sent = true;
  return n;
}

static ngtcp2_ssize finish_packet(struct roam_quic_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *dest,
                                  size_t cap) {
  return ngtcp2_conn_writev_stream(c->nc, path, info, dest, cap, NULL, 0, -1, NULL, 0, roam_quic_of(c)->now);
}

/* One packet: > 0 its length, 0 nothing may go now, < 0 the connection is broken. */
static ngtcp2_ssize write_packet(struct roam_quic_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *dest,
                                 size_t cap) {
  struct roam_quic_lane *only = NULL;
  bool alone = roam_quic_of(c)->o.one_lane_per_packet;
  for (;;) {
    struct roam_quic_lane *l = is_paced(c) ? NULL : next_sendable(c);
    bool datagram = roam_quic_datagram_waits(c) && !is_paced(c) && (!l || l != c->control);
    if (datagram) {
      ngtcp2_ssize n = roam_quic_datagram_offer(c, path, info, dest, cap);
      if (n != NGTCP2_ERR_WRITE_MORE) return n;
      continue;
    }
    if (!l || (only && l != only)) return finish_packet(c, path, info, dest, cap);
    ngtcp2_ssize n = offer(c, l, path, info, dest, cap);
    switch (n) {
      case NGTCP2_ERR_WRITE_MORE:
        if (alone) only = l;
        break;
      case NGTCP2_ERR_STREAM_DATA_BLOCKED: l->blocked = true; break;
      case NGTCP2_ERR_STREAM_SHUT_WR:
      case NGTCP2_ERR_STREAM_NOT_FOUND:
        l->dead_out = true; /* the peer asked us to stop */
        break;
      default: return n;
    }
  }
}

static void append(struct roam_quic_tx *tx, size_t len, const ngtcp2_path *path, uint8_t ecn) {
  roam_addr local = roam_quic_addr_of(&path->local), remote = roam_quic_addr_of(&path->remote);
  uint32_t handle = (uint32_t)(uintptr_t)path->user_data;
  roam_wire *u = tx->segments > 0 ? &tx->out[tx->n - 1] : NULL;
  size_t first = u ? (u->segment ? u->segment : u->len) : 0;
  bool joins = u && len <= first && u->ecn == ecn && u->handle == handle && tx->segments < TRAIN_SEGMENTS_MAX &&
               u->len + len <= TRAIN_BYTES_MAX && roam_addr_equal(&u->local, &local) &&
               roam_addr_equal(&u->remote, &remote);
  if (joins) {
    u->segment = (uint16_t)first;
    u->len += len;
    tx->segments = len < first ? 0 : tx->segments + 1;
  } else {
    tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                                   .ecn = ecn,
                                   .handle = handle,
                                   .local = local,
                                   .remote = remote,
                                   .data = tx->base + tx->used,
                                   .len = len};
    tx->segments = 1;
  }
  tx->used += len;
}

static void unblock_lanes(struct roam_quic_conn *c) {
  ROAM_LIST_EACH(&c->lanes, node) ROAM_CONTAINER(node, struct roam_quic_lane, node)->blocked = false;
}

/* There is no call for "PING now"; a keep-alive of 1 ns is one. Nothing was written when the last packet was of this very
 * nanosecond: then it is tried again a little later. */
static void begin_ping(struct roam_quic_conn *c) {
  if (c->ping) ngtcp2_conn_set_keep_alive_timeout(c->nc, 1);
}

static void end_ping(struct roam_quic_conn *c, bool written) {
  struct roam_quic *q = roam_quic_of(c);
  if (!c->ping) return;
  roam_quic_conn_set_ping(c);
  c->ping = false;
  c->ping_at = written ? ROAM_NEVER : q->now + ROAM_MS;
}

static uint64_t in_flight(const struct roam_quic_conn *c) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  return info.bytes_in_flight;
}

/* A client's sign of a dead path is that nothing is answered. Packets larger than the path is known to take are probes of
 * its size: that they are lost says nothing. The library does not tell which are under way, so as many bytes as have been
 * sent in probes lately may be theirs; what they hide comes up with the next packet of another kind, a time-out's at the
 * latest. */
static void note_unanswered(struct roam_quic_conn *c, uint64_t before, size_t probes) {
  if (c->unanswered_since != ROAM_NEVER && probes == 0) return;
  roam_time now = roam_quic_of(c)->now;
  uint64_t flying = in_flight(c);
  if (probes > 0) c->probes_gone_at = now + PROBE_PTOS * ngtcp2_conn_get_pto(c->nc);
  c->probes_bytes = flying == 0 || now >= c->probes_gone_at ? 0 : c->probes_bytes + probes;
  if (c->unanswered_since == ROAM_NEVER && (flying > before + probes || flying > c->probes_bytes))
    c->unanswered_since = now;
}

/* A silence that our sending ends is what a NAT's mapping had to live through. */
static void note_sent(struct roam_quic_conn *c) {
  roam_time now = roam_quic_of(c)->now, last = c->sent_at > c->heard_at ? c->sent_at : c->heard_at;
  if (roam_quic_of(c)->o.congestion == ROAM_CONGESTION_BBR) ngtcp2_conn_update_pkt_tx_time(c->nc, now);
  if (!c->server && c->ping_ns > 0 && c->sent_at > 0 && now - last >= c->ping_ns / 4 * 3) {
    c->silences++;
    c->silence_ns = now - last;
  }
  c->sent_at = now;
}

roam_time roam_quic_conn_paced_until(const struct roam_quic_conn *c) {
  bool waits = is_paced(c) && (next_sendable(c) || roam_quic_datagram_waits(c));
  return waits ? sends_again_at(c) : ROAM_NEVER;
}

/* New keys after so many bytes, when that is asked for; while the last update is under way the library refuses. */
static void renew_keys(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  if (!q->o.key_update_bytes || !c->confirmed || c->bytes_out - c->rekeyed_at < q->o.key_update_bytes) return;
  if (ngtcp2_conn_initiate_key_update(c->nc, q->now) == 0) c->rekeyed_at = c->bytes_out;
}

/* What went wrong in TLS without ending the call: GnuTLS may take the failure of a function of ngtcp2's (no memory) for one
 * that passes, and the next call would find its state half made. */
static ngtcp2_ssize quiet_failure(struct roam_quic_conn *c) {
  int error = ngtcp2_conn_get_tls_error(c->nc);
  return error == 0 || c->completed ? 0 : error == NGTCP2_ERR_NOMEM ? NGTCP2_ERR_NOMEM : NGTCP2_ERR_CRYPTO;
}

bool roam_quic_conn_write(struct roam_quic_conn *c, struct roam_quic_tx *tx) {
  struct roam_quic *q = roam_quic_of(c);
  if (!c->nc) return true;
  size_t sent = 0, probes = 0, quantum = ngtcp2_conn_get_send_quantum(c->nc);
  uint64_t flying = c->server ? 0 : in_flight(c);
  bool done = false;
  ngtcp2_conn_info before;
  c->paced = c->paced && is_paced(c);
  unblock_lanes(c);
  begin_ping(c);
  tx->segments = 0;
  while (sent < quantum && roam_quic_tx_has_room(tx, q->o.datagram_bytes_max)) {
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info info = {0};
    ngtcp2_path_storage_zero(&ps);
    size_t known = ngtcp2_conn_get_path_max_tx_udp_payload_size(c->nc);
    ngtcp2_ssize n = quiet_failure(c);
    if (n == 0) n = write_packet(c, &ps.path, &info, tx->base + tx->used, c->mtu.cap);
    if (n < 0) {
      roam_quic_conn_fail(c, (int)n);
      return true;
    }
    done = n == 0;
    if (done) break;
    roam_quic_qlog_datagram(c->qlog, q->now, true, (roam_bytes){tx->base + tx->used, (size_t)n});
    append(tx, (size_t)n, &ps.path, info.ecn);
    if (sent == 0) ngtcp2_conn_get_conn_info(c->nc, &before);
    else before.bytes_in_flight += (size_t)n;
    pace(c, &before, (size_t)n);
    sent += (size_t)n;
    probes += (size_t)n > known ? (size_t)n : 0;
    c->udp_out++;
    roam_quic_mtu_sent(c, (size_t)n);
  }
  tx->segments = 0;
  c->paced = is_paced(c);
  c->bytes_out += sent;
  if (sent > 0) note_sent(c);
  if (!c->server) note_unanswered(c, flying, probes);
  if (!c->completed) c->handshake_out += sent;
  renew_keys(c);
  end_ping(c, sent > 0);
  roam_quic_conn_settle(c);
  return done;
}
