/* quic_mtu.c - how large a packet may be: which sizes are tried on a path, and what is done when one that took large
 * packets does not any more. Refuses to split and to send anything itself.
 *
 * Theory of operation. Every path begins with packets of 1200 bytes. The library probes upward (RFC 8899) with the sizes
 * given here: first those of ordinary paths, and only where the largest of them gets through, those of jumbo frames and of
 * the loopback. A lost probe is no sign of congestion and is tried three times; one that this machine's interface does not
 * take never leaves it. Jumbo sizes are for who has much to send: they are tried after 64 KiB on a path, where the round
 * trip is short or the window wide. For a probe takes its part of the window until it is given up; the
 * library keeps a buffer as large as the largest packet that it has read, for each connection; and a thousand clients that
 * move are not to fill a link with probes. A probe larger than the room it is given waits.
 *
 * The library never looks down: when the same path takes less than before (a route has changed, a tunnel has come between),
 * whatever is large vanishes, and so do the probes of its time-outs, which are large, too. So of the packets above 1200
 * bytes one is watched: what it carries must be acknowledged within three PTO. If it is not, packets are 1200 bytes until
 * the path changes, or until a minute has gone by and large ones are tried again, at last every ten minutes (RFC 8899's
 * PMTU_RAISE_TIMER). A ping goes out at once: its acknowledgement tells the library what is lost. A mere outage looks the
 * same and costs a minute of smaller packets. */
#include "base/trace.h"
#include "transport/quic.h"

enum {
  ORDINARY_BYTES = 1452, /* no probe is larger at first */
  MUCH_BYTES = 65536,
  WIDE_WINDOW_BYTES = 8 * 8952
};
#define SHORT_RTT_NS (5 * ROAM_MS)
#define DOUBT_PTOS 3
#define RAISE_FIRST_NS (60 * ROAM_S)
#define RAISE_LAST_NS (600 * ROAM_S)

/* Ethernet, a tunnel in it, the least that IPv6 carries; jumbo frames of 9000 bytes, an older and a newer loopback. */
static const uint16_t sizes[] = {1452, 1406, 1232, 8952, 16336, 65487};

void roam_quic_mtu_prepare(struct roam_quic *q) {
  size_t n = 0;
  bool named = false;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    if (sizes[i] > q->o.datagram_bytes_max) continue;
    q->probes[n++] = sizes[i];
    named |= sizes[i] == q->o.datagram_bytes_max;
  }
  if (!named) q->probes[n++] = (uint16_t)q->o.datagram_bytes_max;
  q->probes_len = n;
}

void roam_quic_mtu_settings(const struct roam_quic *q, ngtcp2_settings *settings) {
  settings->max_tx_udp_payload_size = q->o.datagram_bytes_max;
  settings->pmtud_probes = q->probes;
  settings->pmtud_probeslen = q->probes_len;
}

static size_t begin_with(const struct roam_quic_conn *c) {
  size_t max = roam_quic_of(c)->o.datagram_bytes_max;
  return max < ORDINARY_BYTES ? max : ORDINARY_BYTES;
}

void roam_quic_mtu_begin(struct roam_quic_conn *c) {
  c->mtu =
      (struct roam_quic_mtu){.cap = begin_with(c), .doubt_at = ROAM_NEVER, .raise_at = ROAM_NEVER, .falls = c->mtu.falls};
}

/* A server that follows its client to another address: the library goes on with the size of the old path when the client
 * has not moved by itself. What comes from there says what the way there takes. Behind another port of the same address is
 * most likely the same path. */
void roam_quic_mtu_follow(struct roam_quic_conn *c, const roam_addr *from) {
  roam_quic_mtu_begin(c);
  if (roam_addr_same_ip(from, &c->remote)) return;
  c->mtu.cap = ROAM_QUIC_SAFE_BYTES;
  c->mtu.learns = true;
  c->mtu.raise_at = roam_quic_of(c)->now + RAISE_FIRST_NS;
}

void roam_quic_mtu_heard(struct roam_quic_conn *c, const ngtcp2_path *path, size_t len) {
  size_t max = roam_quic_of(c)->o.datagram_bytes_max;
  if (!c->mtu.learns || len <= c->mtu.cap || !c->nc || !roam_quic_addr_is(&path->remote, &c->remote)) return;
  c->mtu.cap = len < max ? len : max;
}

size_t roam_quic_mtu_now(const struct roam_quic_conn *c) {
  size_t path = ngtcp2_conn_get_path_max_tx_udp_payload_size(c->nc);
  return path < c->mtu.cap ? path : c->mtu.cap;
}

/* ---- the packet that is watched -------------------------------------------------------------------------------------- */

void roam_quic_mtu_carries(struct roam_quic_conn *c, enum roam_quic_carried what, uint32_t lane, uint64_t mark) {
  if (c->mtu.watched != ROAM_CARRIED_NOTHING) return;
  c->mtu.filled = what;
  c->mtu.lane = lane;
  c->mtu.mark = mark;
}

/* What the library repeats is nothing that was offered: then any progress of a lane that waits for one will do. */
static enum roam_quic_carried watch_repetition(struct roam_quic_conn *c) {
  ROAM_LIST_EACH(&c->lanes, node) {
    const struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    if (l->dead_out || l->tx.sent == l->tx.acked) continue;
    c->mtu.lane = l->number;
    c->mtu.mark = l->tx.acked + 1;
    return ROAM_CARRIED_STREAM;
  }
  return ROAM_CARRIED_NOTHING;
}

static bool may_be_jumbo(const struct roam_quic_conn *c) {
  size_t max = roam_quic_of(c)->o.datagram_bytes_max;
  ngtcp2_conn_info info;
  if (c->mtu.cap == max || c->mtu.sent < MUCH_BYTES || c->mtu.raise_at != ROAM_NEVER) return false;
  ngtcp2_conn_get_conn_info(c->nc, &info);
  return info.min_rtt <= SHORT_RTT_NS || info.cwnd >= WIDE_WINDOW_BYTES;
}

void roam_quic_mtu_sent(struct roam_quic_conn *c, size_t len) {
  struct roam_quic_mtu *m = &c->mtu;
  enum roam_quic_carried filled = m->filled;
  m->filled = ROAM_CARRIED_NOTHING;
  m->sent += len;
  if (may_be_jumbo(c)) m->cap = roam_quic_of(c)->o.datagram_bytes_max;
  if (len <= ROAM_QUIC_SAFE_BYTES || m->watched != ROAM_CARRIED_NOTHING) return;
  m->watched = filled != ROAM_CARRIED_NOTHING ? filled : watch_repetition(c);
  if (m->watched == ROAM_CARRIED_NOTHING) return;
  if (m->doubt_at == ROAM_NEVER) m->doubt_at = roam_quic_of(c)->now + DOUBT_PTOS * ngtcp2_conn_get_pto(c->nc);
}

static void trust(struct roam_quic_mtu *m) {
  m->watched = ROAM_CARRIED_NOTHING;
  m->doubt_at = ROAM_NEVER;
}

void roam_quic_mtu_lane_acked(struct roam_quic_conn *c, uint32_t lane, uint64_t offset) {
  struct roam_quic_mtu *m = &c->mtu;
  if (m->watched == ROAM_CARRIED_STREAM && m->lane == lane && offset >= m->mark) trust(m);
}

void roam_quic_mtu_frame_settled(struct roam_quic_conn *c, uint64_t frame, bool acked) {
  struct roam_quic_mtu *m = &c->mtu;
  if (m->watched != ROAM_CARRIED_FRAME || m->mark != frame) return;
  if (acked) trust(m);
  else m->watched = ROAM_CARRIED_NOTHING; /* the next large one is watched, and the doubt goes on */
}

/* ---- down, and up again ---------------------------------------------------------------------------------------------- */

/* A stream that has gone says nothing about the path. */
static bool is_moot(const struct roam_quic_conn *c) {
  if (c->mtu.watched != ROAM_CARRIED_STREAM) return false;
  const struct roam_quic_lane *l = roam_quic_lane_find(c, c->mtu.lane);
  return !l || l->dead_out;
}

static void fall(struct roam_quic_conn *c) {
  struct roam_quic_mtu *m = &c->mtu;
  bool moot = is_moot(c);
  trust(m);
  if (moot || m->cap == ROAM_QUIC_SAFE_BYTES) return;
  m->learns = false;
  m->cap = ROAM_QUIC_SAFE_BYTES;
  m->raise_ns = m->raise_ns == 0 ? RAISE_FIRST_NS : 2 * m->raise_ns < RAISE_LAST_NS ? 2 * m->raise_ns : RAISE_LAST_NS;
  m->raise_at = roam_quic_of(c)->now + m->raise_ns;
  m->falls++;
  c->ping = true;
  roam_trace(&roam_quic_of(c)->o.log, roam_quic_of(c)->now, QUIC_SHRUNK, .connection = c->conn.number,
             .bytes = ROAM_QUIC_SAFE_BYTES);
}

void roam_quic_mtu_expire(struct roam_quic_conn *c) {
  struct roam_quic_mtu *m = &c->mtu;
  roam_time now = roam_quic_of(c)->now;
  if (now >= m->doubt_at) fall(c);
  if (now >= m->raise_at) {
    m->raise_at = ROAM_NEVER;
    m->learns = false;
    m->sent = 0;
    m->cap = begin_with(c);
  }
}

roam_time roam_quic_mtu_deadline(const struct roam_quic_conn *c) {
  return c->mtu.doubt_at < c->mtu.raise_at ? c->mtu.doubt_at : c->mtu.raise_at;
}
