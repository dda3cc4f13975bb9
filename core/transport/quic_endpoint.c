/* quic_endpoint.c - many connections on one port: handles and connection ids find whose a datagram is, the active list
 * tells who may have something to send, a heap tells who is due. Refuses to know what a connection does with its packets.
 */
#include "transport/quic.h"

#include <stdlib.h>
#include <string.h>

#include "base/trace.h"

enum {
  HANDLES = 1 << 24
};

void roam_quic_activate(struct roam_quic *q, struct roam_quic_conn *c) {
  if (roam_list_empty(&c->active)) roam_list_push_back(&q->active, &c->active);
}

void roam_quic_announce(struct roam_quic *q, struct roam_quic_conn *c) {
  if (!c->released && roam_list_empty(&c->eventful)) roam_list_push_back(&q->eventful, &c->eventful);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

bool roam_quic_take_handle(struct roam_quic *q, void *owner, uint32_t *handle) {
  for (uint32_t tries = 0; tries < 64; tries++) {
    uint32_t h = q->o.handle_first + q->handle_next;
    q->handle_next = (q->handle_next + 1) % HANDLES;
    if (roam_map64_get(&q->handles, h)) continue;
    if (roam_map64_put(&q->handles, h, owner) != 0) return false;
    *handle = h;
    return true;
  }
  return false;
}

roam_rc roam_quic_cid_add(struct roam_quic *q, struct roam_quic_conn *c, const uint8_t *bytes, size_t len) {
  struct roam_quic_cid *cid = calloc(1, sizeof *cid);
  if (!cid) return ROAM_E_MEMORY;
  cid->conn = c;
  cid->len = (uint8_t)len;
  memcpy(cid->bytes, bytes, len);
  roam_rc rc = roam_map_put(&q->cids, cid->bytes, len, cid);
  if (rc != 0) free(cid);
  else roam_list_push_back(&c->cids, &cid->node);
  return rc;
}

void roam_quic_cid_remove(struct roam_quic *q, const uint8_t *bytes, size_t len) {
  struct roam_quic_cid *cid = roam_map_remove(&q->cids, bytes, len);
  if (!cid) return;
  roam_list_remove(&cid->node);
  free(cid);
}

const struct roam_quic_token *roam_quic_token_take(struct roam_quic *q, const roam_addr *remote,
                                                   struct roam_quic_token *copy) {
  for (size_t i = 0; i < ROAM_QUIC_TOKENS; i++) {
    struct roam_quic_token *t = &q->tokens[i];
    if (t->len == 0 || !roam_addr_equal(&t->remote, remote)) continue;
    *copy = *t;
    t->len = 0; /* each is used once */
    return copy;
  }
  return NULL;
}

void roam_quic_token_put(struct roam_quic *q, const roam_addr *remote, const uint8_t *token, size_t len) {
  if (len == 0 || len > ROAM_QUIC_TOKEN_MAX) return;
  struct roam_quic_token *t = &q->tokens[q->token_next++ % ROAM_QUIC_TOKENS];
  t->remote = *remote;
  t->len = (uint16_t)len;
  memcpy(t->bytes, token, len);
}

/* ---- listeners --------------------------------------------------------------------------------------------------------
 */

void roam_quic_listener_leave(struct roam_quic_listener *l) {
  l->users--; /* the next drain unbinds a closing one without users */
}

void roam_quic_listener_free(struct roam_quic *q, struct roam_quic_listener *l) {
  roam_map64_remove(&q->handles, l->handle);
  roam_list_remove(&l->node);
  free(l);
}

static void drain_listeners(struct roam_quic *q, struct roam_quic_tx *tx) {
  ROAM_LIST_EACH(&q->listeners, node) {
    struct roam_quic_listener *l = ROAM_CONTAINER(node, struct roam_quic_listener, node);
    if (tx->n == tx->max) return;
    if (!l->asked && !l->closing) {
      tx->out[tx->n++] =
          (roam_wire){.kind = ROAM_WIRE_BIND, .handle = l->handle, .local = l->local, .name = l->name[0] ? l->name : NULL};
      if (q->ids.workers > 1) {
        tx->out[tx->n - 1].parent = q->ids.workers;
        tx->out[tx->n - 1].how = q->ids.worker == 0 ? ROAM_BIND_FIRST : ROAM_BIND_NEXT;
        tx->out[tx->n - 1].up = !q->o.encrypt_ids;
      }
      l->asked = true;
    }
    if (!l->closing || l->users > 0 || l->event != ROAM_TE_NONE) continue;
    if (l->asked && !l->failed) {
      if (tx->n == tx->max) return;
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_UNBIND, .handle = l->handle};
    }
    roam_quic_listener_free(q, l);
  }
}

/* ---- feed -------------------------------------------------------------------------------------------------------------
 */

static void feed_listener(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const uint8_t *data,
                          size_t len, bool adopted) {
  ngtcp2_version_cid vc;
  ngtcp2_path_storage ps;
  int rv = ngtcp2_pkt_decode_version_cid(&vc, data, len, q->ids.len);
  struct roam_quic_cid *cid = rv == 0 ? roam_map_get(&q->cids, vc.dcid, vc.dcidlen) : NULL;
  if (!adopted && cid && q->ids.workers > 1 && (data[0] & 0x80) == 0) q->totals.direct++;
  if (!cid && rv == 0 && !adopted && roam_quic_stray_put(q, l, unit, &vc, data, len)) return;
  if (!cid) {
    roam_quic_accept(q, l, unit, data, len);
  } else if (cid->closing) {
    roam_quic_closing_repeat(q, cid->closing);
  } else {
    struct roam_quic_conn *c = cid->conn;
    roam_quic_path_from(&ps, unit->local.family ? &unit->local : &l->local, &unit->remote, l->handle);
    rv = roam_quic_conn_read(c, &ps.path, unit->ecn, data, len);
    if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) roam_quic_conn_fail(c, rv);
  }
}

void roam_quic_feed_stranger(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit) {
  feed_listener(q, l, unit, unit->data, unit->len, true);
}

static void feed_path(struct roam_quic_path *p, const roam_wire *unit, const uint8_t *data, size_t len) {
  struct roam_quic_conn *c = p->conn;
  ngtcp2_path_storage ps;
  if (p->state != ROAM_PATH_CURRENT && p->state != ROAM_PATH_VALIDATING && p->state != ROAM_PATH_RETIRING) return;
  roam_quic_path_from(&ps, &p->local,
                      unit->remote.family ? &unit->remote
                      : p->remote.family  ? &p->remote
                                          : &c->remote,
                      p->handle);
  int rv = roam_quic_conn_read(c, &ps.path, unit->ecn, data, len);
  if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) roam_quic_conn_fail(c, rv);
}

static void feed_datagram(struct roam_quic *q, enum roam_quic_kind *kind, const roam_wire *unit) {
  size_t step = unit->segment ? unit->segment : unit->len;
  for (size_t at = 0; at < unit->len; at += step) { /* an empty datagram is not even looked at */
    size_t len = unit->len - at < step ? unit->len - at : step;
    const uint8_t *data = unit->data + at;
    if (*kind == ROAM_QUIC_LISTENER)
      feed_listener(q, ROAM_CONTAINER(kind, struct roam_quic_listener, kind), unit, data, len, false);
    else if (*kind == ROAM_QUIC_PATH) feed_path(ROAM_CONTAINER(kind, struct roam_quic_path, kind), unit, data, len);
    else roam_quic_closing_repeat(q, ROAM_CONTAINER(kind, struct roam_quic_closing, kind));
    kind = roam_map64_get(&q->handles, unit->handle); /* the path may have become a closing meanwhile */
    if (!kind) return;
  }
}

static void feed_bound(struct roam_quic *q, enum roam_quic_kind *kind, const roam_wire *unit) {
  if (*kind == ROAM_QUIC_PATH) {
    roam_quic_path_bound(ROAM_CONTAINER(kind, struct roam_quic_path, kind), &unit->local);
  } else if (*kind == ROAM_QUIC_LISTENER) {
    struct roam_quic_listener *l = ROAM_CONTAINER(kind, struct roam_quic_listener, kind);
    char text[ROAM_ADDR_TEXT_MAX];
    if (l->bound || l->closing) return;
    l->bound = true;
    l->local = unit->local;
    l->event = ROAM_TE_LISTENING;
    if (q->ids.workers > 1 && !q->o.encrypt_ids && !unit->up)
      roam_trace(&q->o.log, q->now, QUIC_NOT_STEERED, .address = roam_addr_format(&l->local, text));
  }
}

static void feed_failed(enum roam_quic_kind *kind, const roam_wire *unit) {
  if (*kind == ROAM_QUIC_PATH) {
    roam_quic_path_failed(ROAM_CONTAINER(kind, struct roam_quic_path, kind), unit->error);
  } else if (*kind == ROAM_QUIC_LISTENER) {
    struct roam_quic_listener *l = ROAM_CONTAINER(kind, struct roam_quic_listener, kind);
    if (l->bound) return;
    l->rc = roam_error_from_errno(unit->error, "listening on", &l->local, l->text);
    l->failed = true;
    if (!l->closing) l->event = ROAM_TE_LISTEN_FAILED;
  }
}

/* This machine's network refused a datagram. Before the handshake is done that is an answer; later it may be a network on
 * its way out, which loss detection and the owner's policy deal with. */
static void feed_sendfail(enum roam_quic_kind *kind, const roam_wire *unit) {
  if (*kind != ROAM_QUIC_PATH) return;
  struct roam_quic_conn *c = ROAM_CONTAINER(kind, struct roam_quic_path, kind)->conn;
  char text[ROAM_CONN_TEXT_MAX];
  if (c->state != ROAM_QUIC_HANDSHAKE || c->heard) return;
  roam_rc rc = roam_error_from_errno(unit->error, "connecting over UDP to", &c->remote, text);
  if (rc == ROAM_E_CONN_REFUSED || rc == ROAM_E_UNREACHABLE || rc == ROAM_E_PERMISSION)
    roam_quic_conn_end(c, rc, text, NULL);
}

static void feed_unit(struct roam_quic *q, const roam_wire *unit) {
  enum roam_quic_kind *kind = roam_map64_get(&q->handles, unit->handle);
  if (!kind) return;
  switch (unit->kind) {
    case ROAM_WIRE_DATAGRAM: feed_datagram(q, kind, unit); break;
    case ROAM_WIRE_BOUND: feed_bound(q, kind, unit); break;
    case ROAM_WIRE_FAILED: feed_failed(kind, unit); break;
    case ROAM_WIRE_SENDFAIL: feed_sendfail(kind, unit); break;
    default: break;
  }
}

void roam_quic_feed(struct roam_quic *q, const roam_wire in[], size_t n) {
  for (size_t i = 0; i < n; i++) feed_unit(q, &in[i]);
}

void roam_quic_tick(struct roam_quic *q) {
  while (roam_heap_deadline(&q->timers) <= q->now) {
    struct roam_heap_node *node = roam_heap_first(&q->timers);
    roam_heap_remove(&q->timers, node); /* armed again when it has been drained */
    roam_quic_conn_expire(ROAM_CONTAINER(node, struct roam_quic_conn, timer));
  }
  while (roam_heap_deadline(&q->closing_timers) <= q->now)
    roam_quic_closing_end(q, ROAM_CONTAINER(roam_heap_first(&q->closing_timers), struct roam_quic_closing, timer));
}

roam_time roam_quic_deadline(const struct roam_quic *q) {
  bool waiting = !roam_list_empty(&q->active) || !roam_list_empty(&q->closings_to_send);
  if (waiting || q->stateless_sent < q->stateless_count) return q->now;
  roam_time a = roam_heap_deadline(&q->timers), b = roam_heap_deadline(&q->closing_timers);
  return a < b ? a : b;
}

/* ---- drain ------------------------------------------------------------------------------------------------------------
 */

/* False: out is full, or its burst is over while it has more to send. */
static bool drain_conn(struct roam_quic_conn *c, struct roam_quic_tx *tx) {
  roam_quic_path_drain(c, tx, false);
  bool done = roam_quic_conn_write(c, tx);
  roam_quic_path_drain(c, tx, true);
  roam_quic_conn_arm(c);
  return done && roam_quic_path_drained(c);
}

size_t roam_quic_drain(struct roam_quic *q, roam_wire out[], size_t n) {
  struct roam_quic_tx *tx = &q->tx;
  *tx = (struct roam_quic_tx){.base = tx->base, .cap = ROAM_QUIC_TX_BYTES, .out = out, .max = n};
  drain_listeners(q, tx);
  if (!roam_quic_stateless_drain(q, tx)) return tx->n;
  ROAM_LIST_EACH(&q->active, node) {
    struct roam_quic_conn *c = ROAM_CONTAINER(node, struct roam_quic_conn, active);
    if (!roam_quic_tx_has_room(tx, q->o.datagram_bytes_max)) break;
    roam_list_remove(node);
    if (!drain_conn(c, tx)) roam_quic_activate(q, c);
    else if (c->released && c->state == ROAM_QUIC_CLOSED) roam_quic_conn_free(c);
  }
  roam_quic_closing_drain(q, tx);
  return tx->n;
}
