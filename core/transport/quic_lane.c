/* quic_lane.c - the bytes of one QUIC stream, both ways. Lane n is the client's n-th bidirectional stream at both ends; for
 * the other kinds of stream a lane's number has a bit more (transport.h).
 *
 * Out: a sendq, whose bytes ngtcp2 points into until they are acknowledged or the stream is closed, be it reset meanwhile
 * or not. In: one linear buffer that never holds more than the window given to the peer; reading it gives the window back.
 * A lane lives until its stream is closed, its bytes are read and its events told; only then may the peer open another. It
 * refuses to know who sends when (quic_conn.c) and what the bytes mean. */
#include <stdlib.h>

#include "transport/quic.h"

enum {
  STREAM_OF_SERVER = 1, /* RFC 9000 section 2.1 */
  STREAM_ONE_WAY = 2
};

uint32_t roam_quic_lane_number(int64_t stream) {
  uint32_t number = (uint32_t)(stream / 4);
  if (stream & STREAM_OF_SERVER) number |= ROAM_LANE_OF_SERVER;
  if (stream & STREAM_ONE_WAY) number |= ROAM_LANE_ONE_WAY;
  return number;
}

struct roam_quic_lane *roam_quic_lane_new(struct roam_quic_conn *c, int64_t stream) {
  struct roam_quic_lane *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->conn = c;
  l->stream = stream;
  l->number = roam_quic_lane_number(stream);
  l->dead_out = (stream & STREAM_ONE_WAY) != 0; /* ours are never opened */
  l->weight = ROAM_QUIC_WEIGHT;
  roam_sendq_init(&l->tx);
  roam_buf_init(&l->rx, roam_quic_of(c)->o.lane_rx_bytes);
  roam_list_push_back(&c->lanes, &l->node);
  c->lanes_count++;
  return l;
}

/* What data lanes hold together is bounded too (roam_quic_lane_room). */
static void drop_sent(struct roam_quic_lane *l) {
  if (l->number != 0) l->conn->held -= roam_sendq_held(&l->tx);
  roam_sendq_reset(&l->tx);
}

void roam_quic_lane_free(struct roam_quic_lane *l) {
  roam_list_remove(&l->node);
  l->conn->lanes_count--;
  if (l->conn->control == l) l->conn->control = NULL;
  drop_sent(l);
  roam_buf_reset(&l->rx);
  free(l);
}

struct roam_quic_lane *roam_quic_lane_find(const struct roam_quic_conn *c, uint32_t number) {
  if (number == 0) return c->control;
  ROAM_LIST_EACH(&c->lanes, node) {
    struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    if (l->number == number) return l;
  }
  return NULL;
}

void roam_quic_lane_tell(struct roam_quic_lane *l, uint8_t event) {
  l->events |= event;
  roam_quic_announce(roam_quic_of(l->conn), l->conn);
}

void roam_quic_lane_settle(struct roam_quic_lane *l) {
  struct roam_quic_conn *c = l->conn;
  if (l->number == 0 || l->open || l->events || roam_buf_len(&l->rx) > 0) return;
  bool theirs = ((l->stream & STREAM_OF_SERVER) != 0) != c->server, one_way = (l->stream & STREAM_ONE_WAY) != 0;
  roam_quic_lane_free(l);
  if (!c->nc || !theirs) return;
  if (one_way) ngtcp2_conn_extend_max_streams_uni(c->nc, 1);
  else ngtcp2_conn_extend_max_streams_bidi(c->nc, 1);
}

/* ---- what the peer did ----------------------------------------------------------------------------------------------- */

roam_rc roam_quic_lane_take(struct roam_quic_lane *l, const uint8_t *data, size_t len, bool fin) {
  roam_rc rc = len > 0 ? roam_buf_put(&l->rx, data, len) : 0;
  if (rc != 0) return rc;
  if (len > 0) roam_quic_lane_tell(l, LANE_HAS_READABLE);
  if (!fin || l->peer_done) return 0;
  l->peer_done = true;
  roam_quic_lane_tell(l, LANE_HAS_FIN);
  return 0;
}

void roam_quic_lane_acked(struct roam_quic_lane *l, uint64_t offset) {
  uint64_t before = roam_sendq_held(&l->tx);
  roam_sendq_ack(&l->tx, offset);
  if (l->number != 0) l->conn->held -= before - roam_sendq_held(&l->tx);
  if (!l->starved || roam_sendq_held(&l->tx) > roam_quic_of(l->conn)->o.lane_tx_bytes / 2) return;
  l->starved = false;
  roam_quic_lane_tell(l, LANE_HAS_WRITABLE);
}

void roam_quic_lane_peer_reset(struct roam_quic_lane *l, uint64_t code) {
  if (l->reset_known) return;
  l->reset_known = true;
  l->code = code;
  l->peer_done = true;
  l->reset_wanted = true;
  l->conn->resets_wanted = true;
  roam_quic_lane_tell(l, LANE_HAS_RESET);
}

/* Only now does the library point into the send queue no more. When the peer had asked us to stop and was done itself, its
 * reason comes with this; what it had still said (a DISCONNECT with its own reason) has been heard before. */
void roam_quic_lane_stream_closed(struct roam_quic_lane *l, bool reset, uint64_t code) {
  l->open = false;
  l->dead_out = true;
  l->reset_wanted = false;
  drop_sent(l);
  if (!reset || l->reset_known) return;
  l->reset_known = true;
  l->code = code;
  roam_quic_lane_tell(l, LANE_HAS_RESET);
}

/* ---- what the owner does --------------------------------------------------------------------------------------------- */

bool roam_quic_lane_sendable(const struct roam_quic_lane *l) {
  if (!l->open || l->dead_out || l->blocked) return false;
  return roam_sendq_has_unsent(&l->tx) || (l->fin && !l->fin_sent);
}

void roam_quic_lane_consume(struct roam_quic_lane *l, size_t n) {
  struct roam_quic_conn *c = l->conn;
  if (n > roam_buf_len(&l->rx)) n = roam_buf_len(&l->rx);
  roam_buf_take(&l->rx, n);
  if (c->nc && n > 0) {
    ngtcp2_conn_extend_max_offset(c->nc, n);
    if (l->open) ngtcp2_conn_extend_max_stream_offset(c->nc, l->stream, n);
    roam_quic_activate(roam_quic_of(c), c);
  }
  roam_quic_lane_settle(l);
}

/* Data lanes share four times what one may hold; beyond that each still gets a little, so that none stands still. */
size_t roam_quic_lane_room(struct roam_quic_lane *l) {
  size_t max = roam_quic_of(l->conn)->o.lane_tx_bytes;
  if (l->number != 0 && l->conn->held >= 4 * max) max = max / 16 + 1;
  if (l->dead_out || l->fin) return 0;
  uint64_t held = roam_sendq_held(&l->tx);
  if (held >= max) l->starved = true;
  return held >= max ? 0 : max - (size_t)held;
}

roam_rc roam_quic_lane_write(struct roam_quic_lane *l, const roam_slice slices[], size_t n) {
  size_t len = 0;
  if (l->dead_out || l->fin) return ROAM_E_CLOSED;
  for (size_t i = 0; i < n; i++) len += slices[i].len;
  if (len > roam_quic_lane_room(l)) {
    l->starved = true;
    return ROAM_E_BLOCKED;
  }
  roam_rc rc = roam_sendq_put(&l->tx, slices, n);
  if (rc == 0 && l->number != 0) l->conn->held += len;
  return rc;
}

void roam_quic_lane_weight(struct roam_quic_lane *l, uint32_t weight) {
  l->weight = weight == 0 ? 1 : weight > ROAM_QUIC_WEIGHT_MAX ? ROAM_QUIC_WEIGHT_MAX : weight;
}

/* A lane that was idle comes in where the others are: it neither owes nor is owed. */
void roam_quic_lane_charge(struct roam_quic_lane *l, size_t bytes) {
  struct roam_quic_conn *c = l->conn;
  if (l->turn < c->turn) l->turn = c->turn;
  c->turn = l->turn;
  l->turn += (uint64_t)bytes * ROAM_QUIC_WEIGHT_MAX / l->weight;
}

void roam_quic_lane_fin(struct roam_quic_lane *l) { l->fin = true; }

void roam_quic_lane_reset(struct roam_quic_lane *l, uint64_t code) {
  l->dead_out = true;
  l->reset_known = true;
  if (l->open && l->conn->nc && (l->stream & STREAM_ONE_WAY))
    ngtcp2_conn_shutdown_stream_read(l->conn->nc, 0, l->stream, code);
  else if (l->open && l->conn->nc) ngtcp2_conn_shutdown_stream(l->conn->nc, 0, l->stream, code);
  roam_quic_lane_consume(l, roam_buf_len(&l->rx)); /* nobody will read it; the window must come back */
}
