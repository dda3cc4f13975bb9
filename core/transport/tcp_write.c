/* tcp_write.c - what goes out of a byte connection: OPEN, CREDIT for what was read, DATA as far as the edge takes it,
 * encoded by the filters only then, CLOSE. Pieces drained live until the next drain. Refuses to wait: a timer that runs out
 * is tcp_conn.c's. */
#include <string.h>

#include "transport/tcp.h"

enum {
  PIECES_PER_DRAIN = 16,
  WIRE_AHEAD = 65536 /* encoded and not yet drained */
};

/* Drained pieces live until the next call, so they are let go at its beginning. */
static void settle(struct roam_tcp *t, struct roam_tcp_conn *c) {
  roam_sendq_ack(&c->wire, c->wire.sent);
  if (c->tx.acked == c->tx.sent) return;
  roam_sendq_ack(&c->tx, c->tx.sent);
  if (c->starved && roam_sendq_held(&c->tx) <= t->o.lane_tx_bytes / 2) {
    c->starved = false;
    roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_WRITABLE);
  }
}

/* What was written, turned into what goes out, as much as the edge takes soon. */
static roam_rc encode(struct roam_tcp *t, struct roam_tcp_conn *c) {
  roam_bytes views[PIECES_PER_DRAIN];
  size_t len;
  while (roam_sendq_has_unsent(&c->tx)) {
    uint64_t waiting = c->wire.written - c->wire.sent;
    if (waiting >= WIRE_AHEAD || waiting >= c->tx_credit) return 0;
    size_t count = roam_sendq_unsent(&c->tx, views, PIECES_PER_DRAIN, &len), used = 0;
    roam_bytes piece = {t->scratch, 0};
    if (views[0].len >= ROAM_TCP_ENCODE_AT_ONCE) {
      piece = (roam_bytes){views[0].base, ROAM_TCP_ENCODE_AT_ONCE};
      used = ROAM_TCP_ENCODE_AT_ONCE;
    } else {
      for (size_t i = 0; i < count && used < ROAM_TCP_ENCODE_AT_ONCE; i++) {
        size_t take = views[i].len < ROAM_TCP_ENCODE_AT_ONCE - used ? views[i].len : ROAM_TCP_ENCODE_AT_ONCE - used;
        memcpy(t->scratch + used, views[i].base, take);
        used += take;
      }
      piece.len = used;
    }
    roam_rc rc = c->top->ops->out(c->top, piece);
    if (rc != 0) return rc;
    roam_sendq_advance(&c->tx, used);
  }
  return 0;
}

/* Credit goes back in steps of a quarter, so that not every message costs a unit; or as much as there is when the edge has
 * none left, for the owner may hold most of the window with a packet whose end has yet to come. */
static void drain_credit(struct roam_tcp *t, struct roam_tcp_conn *c, roam_wire out[], size_t n, size_t *used) {
  uint64_t taken = roam_buf_len(&c->rx) + c->rx_credit, grant = taken < t->rx_max ? t->rx_max - taken : 0;
  bool worth = grant >= t->rx_max / 4 || (grant > 0 && c->rx_credit == 0);
  if ((c->state != ROAM_TCP_OPEN && c->state != ROAM_TCP_GREETING) || !worth || *used == n) return;
  out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = c->handle, .credit = grant};
  c->rx_credit += grant;
}

static void drain_data(struct roam_tcp_conn *c, roam_wire out[], size_t n, size_t *used) {
  roam_bytes views[PIECES_PER_DRAIN];
  struct roam_sendq *q = c->bottom ? &c->wire : &c->tx;
  while (*used < n && c->tx_credit > 0 && roam_sendq_has_unsent(q)) {
    size_t want = n - *used < PIECES_PER_DRAIN ? n - *used : PIECES_PER_DRAIN, len;
    size_t count = roam_sendq_unsent(q, views, want, &len);
    for (size_t i = 0; i < count && c->tx_credit > 0; i++) {
      size_t take = views[i].len < c->tx_credit ? views[i].len : (size_t)c->tx_credit;
      out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_DATA, .handle = c->handle, .data = views[i].base, .len = take};
      c->tx_credit -= take;
      c->bytes_out += take;
      roam_sendq_advance(q, take);
    }
  }
}

static void drain_close(struct roam_tcp *t, struct roam_tcp_conn *c, roam_wire out[], size_t *used) {
  out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = c->handle, .how = c->close_how};
  c->to_close = false;
  roam_map64_remove(&t->handles, c->handle);
  c->handle = 0;
}

/* Encodes what was written; with all of it out, and the end wanted, the goodbye. False: the conn has ended instead. */
static bool prepare_wire(struct roam_tcp *t, struct roam_tcp_conn *c) {
  if (!c->bottom || (c->state != ROAM_TCP_OPEN && c->state != ROAM_TCP_FLUSHING)) return true;
  roam_rc rc = encode(t, c);
  if (rc != 0) {
    roam_tcp_conn_end(t, c, rc, true, ROAM_CLOSE_RESET);
    return false;
  }
  if (c->tx.acked != c->tx.sent) settle(t, c); /* encoded bytes are copies */
  if (c->state == ROAM_TCP_FLUSHING && !roam_sendq_has_unsent(&c->tx)) roam_tcp_filters_end(c);
  return true;
}

bool roam_tcp_conn_has_unsent(const struct roam_tcp_conn *c) {
  return roam_sendq_has_unsent(&c->tx) || roam_sendq_has_unsent(&c->wire);
}

static bool has_lent(const struct roam_tcp_conn *c) { return c->tx.acked != c->tx.sent || c->wire.acked != c->wire.sent; }

/* True when the conn has nothing more to say now. */
bool roam_tcp_conn_drain(struct roam_tcp *t, struct roam_tcp_conn *c, roam_wire out[], size_t n, size_t *used) {
  settle(t, c);
  if (c->to_open && *used < n) {
    out[(*used)++] =
        (roam_wire){.kind = ROAM_WIRE_OPEN, .handle = c->handle, .local = c->local, .remote = c->remote, .name = c->name};
    c->to_open = false;
  }
  if (prepare_wire(t, c) && c->state != ROAM_TCP_OPENING && c->state != ROAM_TCP_CLOSED) {
    drain_credit(t, c, out, n, used);
    drain_data(c, out, n, used);
  }
  if (*used == n) return false;
  if (c->state == ROAM_TCP_FLUSHING && !roam_tcp_conn_has_unsent(c)) {
    if (has_lent(c)) return false; /* the pieces just drained live on until the next call; close then */
    roam_tcp_conn_end(t, c, c->ending_rc, true, ROAM_CLOSE_FLUSH);
  }
  if (c->to_close) drain_close(t, c, out, used);
  return !has_lent(c);
}
