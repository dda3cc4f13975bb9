/* quic_endpoint.c - many connections on one port: handles and connection ids find whose a datagram is, lists tell who has something to
 * say or to send, a heap tells who is due. Implements the doors of transport.h. Bounded by conns_max; refuses to know what a
 * connection does with its packets. */
#include "transport/quic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"

enum {
  LISTENERS_MAX = 64,
  HANDLES = 1 << 24,
  CIDS_PER_CONN = 12,
  CLOSINGS_MAX = 1024,
  TX_BYTES = 256 * 1024,
  DATAGRAM_MIN = 1200,
  DATAGRAM_MAX = 1472, /* closing packets are kept in as much */
};
#define SAY_AGAIN_NS (50 * ROAM_MS)

static struct roam_quic *of_transport(const roam_transport *t) {
  return (struct roam_quic *)(uintptr_t)t;
}

static struct roam_quic_conn *of_conn(const roam_conn *c) {
  return (struct roam_quic_conn *)(uintptr_t)c;
}

static void enter(struct roam_quic *q, roam_time now) {
  if (now > q->now) q->now = now;
}

static void enter_conn(roam_conn *conn, roam_time now) {
  enter(of_transport(conn->transport), now);
}

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

const struct roam_quic_token *roam_quic_token_take(struct roam_quic *q, const roam_addr *remote, struct roam_quic_token *copy) {
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

/* ---- what outlives a connection ---------------------------------------------------------------------------------------- */

static void free_closing(struct roam_quic *q, struct roam_quic_closing *g) {
  ROAM_LIST_EACH(&g->cids, node) {
    struct roam_quic_cid *cid = ROAM_CONTAINER(node, struct roam_quic_cid, node);
    roam_quic_cid_remove(q, cid->bytes, cid->len);
  }
  if (g->handle) roam_map64_remove(&q->handles, g->handle);
  if (g->listener) roam_quic_listener_leave(q, g->listener);
  roam_heap_remove(&q->closing_timers, &g->timer);
  roam_list_remove(&g->node);
  roam_list_remove(&g->send);
  q->closings_count--;
  free(g);
}

/* Its time is up. A client's still has a socket to give back, which is told at the next drain. */
static void end_closing(struct roam_quic *q, struct roam_quic_closing *g) {
  roam_heap_remove(&q->closing_timers, &g->timer);
  if (!g->handle) {
    free_closing(q, g);
    return;
  }
  g->over = true;
  if (roam_list_empty(&g->send)) roam_list_push_back(&q->closings_to_send, &g->send);
}

static void evict_closing(struct roam_quic *q) {
  ROAM_LIST_EACH(&q->closings, node) {
    struct roam_quic_closing *g = ROAM_CONTAINER(node, struct roam_quic_closing, node);
    if (g->over) continue;
    end_closing(q, g);
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
  if (q->closings_count >= CLOSINGS_MAX) evict_closing(q);
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
static void repeat_closing(struct roam_quic *q, struct roam_quic_closing *g) {
  if (g->len == 0 || q->now < g->said + SAY_AGAIN_NS) return;
  if (roam_list_empty(&g->send)) roam_list_push_back(&q->closings_to_send, &g->send);
}

static void drain_closings(struct roam_quic *q, struct roam_quic_tx *tx) {
  ROAM_LIST_EACH(&q->closings_to_send, node) {
    struct roam_quic_closing *g = ROAM_CONTAINER(node, struct roam_quic_closing, send);
    if (tx->n == tx->max) return;
    if (g->over) {
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_UNBIND, .handle = g->handle};
      free_closing(q, g);
      continue;
    }
    tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_DATAGRAM, .handle = g->listener ? g->listener->handle : g->handle,
                                   .local = g->local, .remote = g->remote, .data = g->packet, .len = g->len};
    g->said = q->now;
    roam_list_remove(node);
  }
}

/* ---- listeners -------------------------------------------------------------------------------------------------------- */

void roam_quic_listener_leave(struct roam_quic *q, struct roam_quic_listener *l) {
  (void)q;
  l->users--; /* the next drain unbinds a closing one without users */
}

static void free_listener(struct roam_quic *q, struct roam_quic_listener *l) {
  roam_map64_remove(&q->handles, l->handle);
  roam_list_remove(&l->node);
  free(l);
}

static void drain_listeners(struct roam_quic *q, struct roam_quic_tx *tx) {
  ROAM_LIST_EACH(&q->listeners, node) {
    struct roam_quic_listener *l = ROAM_CONTAINER(node, struct roam_quic_listener, node);
    if (tx->n == tx->max) return;
    if (!l->asked && !l->closing) {
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_BIND, .handle = l->handle, .local = l->local};
      l->asked = true;
    }
    if (!l->closing || l->users > 0 || l->event != ROAM_TE_NONE) continue;
    if (l->asked && !l->failed) {
      if (tx->n == tx->max) return;
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_UNBIND, .handle = l->handle};
    }
    free_listener(q, l);
  }
}

static roam_rc quic_listen(roam_transport *t, roam_time now, const roam_addr *local, uint32_t *listener) {
  struct roam_quic *q = of_transport(t);
  enter(q, now);
  size_t count = 0;
  ROAM_LIST_EACH(&q->listeners, node) count++;
  if (count >= LISTENERS_MAX) return ROAM_E_LIMIT;
  if (!q->tls.has_certificate) return ROAM_E_CERTIFICATE;
  struct roam_quic_listener *l = calloc(1, sizeof *l);
  if (!l) return ROAM_E_MEMORY;
  l->kind = ROAM_QUIC_LISTENER;
  l->local = *local;
  if (!roam_quic_take_handle(q, &l->kind, &l->handle)) {
    free(l);
    return ROAM_E_MEMORY;
  }
  roam_list_push_back(&q->listeners, &l->node);
  *listener = l->handle;
  return 0;
}

static void quic_unlisten(roam_transport *t, roam_time now, uint32_t listener) {
  struct roam_quic *q = of_transport(t);
  enter(q, now);
  enum roam_quic_kind *kind = roam_map64_get(&q->handles, listener);
  if (!kind || *kind != ROAM_QUIC_LISTENER) return;
  struct roam_quic_listener *l = ROAM_CONTAINER(kind, struct roam_quic_listener, kind);
  l->closing = true;
  l->event = ROAM_TE_NONE;
}

/* ---- feed ------------------------------------------------------------------------------------------------------------- */

static void feed_listener(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const uint8_t *data,
                          size_t len) {
  ngtcp2_version_cid vc;
  ngtcp2_path_storage ps;
  int rv = ngtcp2_pkt_decode_version_cid(&vc, data, len, ROAM_QUIC_CID_BYTES);
  struct roam_quic_cid *cid = rv == 0 ? roam_map_get(&q->cids, vc.dcid, vc.dcidlen) : NULL;
  if (!cid) {
    roam_quic_accept(q, l, unit, data, len);
  } else if (cid->closing) {
    repeat_closing(q, cid->closing);
  } else {
    struct roam_quic_conn *c = cid->conn;
    roam_quic_path_from(&ps, unit->local.family ? &unit->local : &l->local, &unit->remote, l->handle);
    rv = roam_quic_conn_read(c, &ps.path, unit->ecn, data, len);
    if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) roam_quic_conn_fail(c, rv);
  }
}

static void feed_path(struct roam_quic_path *p, const roam_wire *unit, const uint8_t *data, size_t len) {
  struct roam_quic_conn *c = p->conn;
  ngtcp2_path_storage ps;
  if (p->state != ROAM_PATH_CURRENT && p->state != ROAM_PATH_VALIDATING && p->state != ROAM_PATH_RETIRING) return;
  roam_quic_path_from(&ps, &p->local, unit->remote.family ? &unit->remote : &c->remote, p->handle);
  int rv = roam_quic_conn_read(c, &ps.path, unit->ecn, data, len);
  if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) roam_quic_conn_fail(c, rv);
}

static void feed_datagram(struct roam_quic *q, enum roam_quic_kind *kind, const roam_wire *unit) {
  size_t step = unit->segment ? unit->segment : unit->len;
  for (size_t at = 0; at < unit->len; at += step) { /* an empty datagram is not even looked at */
    size_t len = unit->len - at < step ? unit->len - at : step;
    const uint8_t *data = unit->data + at;
    if (*kind == ROAM_QUIC_LISTENER) feed_listener(q, ROAM_CONTAINER(kind, struct roam_quic_listener, kind), unit, data, len);
    else if (*kind == ROAM_QUIC_PATH) feed_path(ROAM_CONTAINER(kind, struct roam_quic_path, kind), unit, data, len);
    else repeat_closing(q, ROAM_CONTAINER(kind, struct roam_quic_closing, kind));
    kind = roam_map64_get(&q->handles, unit->handle); /* the path may have become a closing meanwhile */
    if (!kind) return;
  }
}

static void feed_bound(enum roam_quic_kind *kind, const roam_wire *unit) {
  if (*kind == ROAM_QUIC_PATH) {
    roam_quic_path_bound(ROAM_CONTAINER(kind, struct roam_quic_path, kind), &unit->local);
  } else if (*kind == ROAM_QUIC_LISTENER) {
    struct roam_quic_listener *l = ROAM_CONTAINER(kind, struct roam_quic_listener, kind);
    if (l->bound || l->closing) return;
    l->bound = true;
    l->local = unit->local;
    l->event = ROAM_TE_LISTENING;
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

/* This machine's network refused a datagram. Before the handshake is done that is an answer; later it may be a network on its way
 * out, which loss detection and the owner's policy deal with. */
static void feed_sendfail(enum roam_quic_kind *kind, const roam_wire *unit) {
  if (*kind != ROAM_QUIC_PATH) return;
  struct roam_quic_conn *c = ROAM_CONTAINER(kind, struct roam_quic_path, kind)->conn;
  char text[ROAM_CONN_TEXT_MAX];
  if (c->state != ROAM_QUIC_HANDSHAKE || c->heard) return;
  roam_rc rc = roam_error_from_errno(unit->error, "connecting over UDP to", &c->remote, text);
  if (rc == ROAM_E_CONN_REFUSED || rc == ROAM_E_UNREACHABLE || rc == ROAM_E_PERMISSION) roam_quic_conn_end(c, rc, text, NULL);
}

static void feed_unit(struct roam_quic *q, const roam_wire *unit) {
  enum roam_quic_kind *kind = roam_map64_get(&q->handles, unit->handle);
  if (!kind) return;
  switch (unit->kind) {
  case ROAM_WIRE_DATAGRAM: feed_datagram(q, kind, unit); break;
  case ROAM_WIRE_BOUND: feed_bound(kind, unit); break;
  case ROAM_WIRE_FAILED: feed_failed(kind, unit); break;
  case ROAM_WIRE_SENDFAIL: feed_sendfail(kind, unit); break;
  default: break;
  }
}

static void quic_feed(roam_transport *t, roam_time now, const roam_wire in[], size_t n) {
  struct roam_quic *q = of_transport(t);
  enter(q, now);
  for (size_t i = 0; i < n; i++) feed_unit(q, &in[i]);
}

static void quic_tick(roam_transport *t, roam_time now) {
  struct roam_quic *q = of_transport(t);
  enter(q, now);
  while (roam_heap_deadline(&q->timers) <= q->now) {
    struct roam_heap_node *node = roam_heap_first(&q->timers);
    roam_heap_remove(&q->timers, node); /* armed again when it has been drained */
    roam_quic_conn_expire(ROAM_CONTAINER(node, struct roam_quic_conn, timer));
  }
  while (roam_heap_deadline(&q->closing_timers) <= q->now)
    end_closing(q, ROAM_CONTAINER(roam_heap_first(&q->closing_timers), struct roam_quic_closing, timer));
}

static roam_time quic_deadline(const roam_transport *t) {
  const struct roam_quic *q = of_transport(t);
  bool waiting = !roam_list_empty(&q->active) || !roam_list_empty(&q->closings_to_send);
  if (waiting || q->stateless_sent < q->stateless_count) return q->now;
  roam_time a = roam_heap_deadline(&q->timers), b = roam_heap_deadline(&q->closing_timers);
  return a < b ? a : b;
}

/* ---- drain ------------------------------------------------------------------------------------------------------------ */

/* False: out is full, or its burst is over while it has more to send. */
static bool drain_conn(struct roam_quic_conn *c, struct roam_quic_tx *tx) {
  roam_quic_path_drain(c, tx, false);
  bool done = roam_quic_conn_write(c, tx);
  roam_quic_path_drain(c, tx, true);
  roam_quic_conn_arm(c);
  return done && roam_quic_path_drained(c);
}

static size_t quic_drain(roam_transport *t, roam_time now, roam_wire out[], size_t n) {
  struct roam_quic *q = of_transport(t);
  struct roam_quic_tx *tx = &q->tx;
  enter(q, now);
  *tx = (struct roam_quic_tx){.base = tx->base, .cap = TX_BYTES, .out = out, .max = n};
  drain_listeners(q, tx);
  if (!roam_quic_stateless_drain(q, tx)) return tx->n;
  ROAM_LIST_EACH(&q->active, node) {
    struct roam_quic_conn *c = ROAM_CONTAINER(node, struct roam_quic_conn, active);
    if (!roam_quic_tx_has_room(tx, q->o.datagram_bytes_max)) break;
    roam_list_remove(node);
    if (!drain_conn(c, tx)) roam_quic_activate(q, c);
    else if (c->released && c->state == ROAM_QUIC_CLOSED) roam_quic_conn_free(c);
  }
  drain_closings(q, tx);
  return tx->n;
}

/* ---- poll ------------------------------------------------------------------------------------------------------------- */

static size_t poll_listeners(struct roam_quic *q, roam_te ev[], size_t n) {
  size_t used = 0;
  ROAM_LIST_EACH(&q->listeners, node) {
    struct roam_quic_listener *l = ROAM_CONTAINER(node, struct roam_quic_listener, node);
    if (l->event == ROAM_TE_NONE || used == n) continue;
    ev[used++] = (roam_te){.kind = l->event, .listener = l->handle, .local = l->local, .rc = l->rc,
                           .text = l->failed ? l->text : NULL};
    l->event = ROAM_TE_NONE;
    if (l->failed) l->closing = true; /* freed by the next drain: the text lives until then */
  }
  return used;
}

struct events {
  roam_te *ev;
  size_t n, max;
};

static roam_te *add_event(struct events *e, const struct roam_quic_conn *c, roam_te_kind kind) {
  roam_te *ev = &e->ev[e->n++];
  *ev = (roam_te){.kind = kind, .conn = (roam_conn *)(uintptr_t)&c->conn, .local = c->local, .remote = c->remote};
  return ev;
}

static void poll_paths(struct roam_quic_conn *c, struct events *e) {
  uint32_t told = 0;
  while (told < c->path_events_count && e->n < e->max) {
    const struct roam_quic_path_event *p = &c->path_events[told++];
    roam_te *ev = add_event(e, c, p->kind);
    ev->rc = p->rc;
    ev->text = p->text;
    ev->local = p->local;
    ev->remote = p->remote;
    ev->old_local = p->old_local;
    ev->old_remote = p->old_remote;
    ev->validation_ns = p->validation_ns;
  }
  c->path_events_count -= told;
  memmove(c->path_events, c->path_events + told, c->path_events_count * sizeof c->path_events[0]);
}

static void poll_lane(struct roam_quic_lane *l, struct events *e) {
  static const struct {
    uint8_t bit;
    roam_te_kind kind;
  } order[] = {{LANE_HAS_OPENED, ROAM_TE_LANE_OPENED}, {LANE_HAS_READABLE, ROAM_TE_READABLE},
               {LANE_HAS_WRITABLE, ROAM_TE_WRITABLE},  {LANE_HAS_FIN, ROAM_TE_LANE_FIN},
               {LANE_HAS_RESET, ROAM_TE_LANE_RESET}};
  for (size_t i = 0; i < sizeof order / sizeof order[0] && e->n < e->max; i++) {
    if (!(l->events & order[i].bit)) continue;
    l->events &= (uint8_t)~order[i].bit;
    roam_te *ev = add_event(e, l->conn, order[i].kind);
    ev->lane = l->number;
    ev->code = order[i].bit == LANE_HAS_RESET ? l->code : 0;
  }
  roam_quic_lane_settle(l);
}

static void poll_closed(const struct roam_quic_conn *c, struct events *e) {
  roam_te *ev = add_event(e, c, ROAM_TE_CLOSED);
  ev->rc = c->rc;
  ev->code = c->code;
  ev->by_peer = c->by_peer;
  ev->text = c->text[0] ? c->text : NULL;
}

/* True when all was told. */
static bool poll_conn(struct roam_quic_conn *c, struct events *e) {
  static const struct {
    uint8_t bit;
    roam_te_kind kind;
  } order[] = {{CONN_HAS_ACCEPTED, ROAM_TE_ACCEPTED}, {CONN_HAS_OPENED, ROAM_TE_OPENED}};
  for (size_t i = 0; i < 2 && e->n < e->max; i++) {
    if (!(c->events & order[i].bit)) continue;
    c->events &= (uint8_t)~order[i].bit;
    add_event(e, c, order[i].kind);
  }
  poll_paths(c, e);
  ROAM_LIST_EACH(&c->lanes, node) poll_lane(ROAM_CONTAINER(node, struct roam_quic_lane, node), e);
  if (e->n == e->max) return false;
  if (c->events & CONN_HAS_CLOSED) {
    c->events = 0;
    poll_closed(c, e);
  }
  return true;
}

static size_t quic_poll(roam_transport *t, roam_te ev[], size_t n) {
  struct roam_quic *q = of_transport(t);
  struct events e = {.ev = ev, .n = poll_listeners(q, ev, n), .max = n};
  while (e.n < e.max && !roam_list_empty(&q->eventful)) {
    struct roam_quic_conn *c = ROAM_CONTAINER(q->eventful.next, struct roam_quic_conn, eventful);
    if (!poll_conn(c, &e)) break;
    roam_list_remove(&c->eventful);
  }
  return e.n;
}

/* ---- commands --------------------------------------------------------------------------------------------------------- */

static roam_rc quic_dial(roam_transport *t, roam_time now, const roam_addr *remote, const roam_addr *local,
                         const char *interface, const char *server_name, void *user, roam_conn **out) {
  struct roam_quic *q = of_transport(t);
  char ip[ROAM_ADDR_TEXT_MAX];
  roam_addr bare = *remote;
  enter(q, now);
  if (remote->family == 0 || remote->port == 0) return ROAM_E_ARGUMENT;
  if (local && local->family && local->family != remote->family) return ROAM_E_ARGUMENT;
  if (interface && strlen(interface) >= ROAM_QUIC_INTERFACE_MAX) return ROAM_E_ARGUMENT;
  if (server_name && strlen(server_name) >= ROAM_SERVER_NAME_MAX) return ROAM_E_ARGUMENT;
  if (q->conns >= q->o.conns_max) return ROAM_E_LIMIT;
  struct roam_quic_conn *c = roam_quic_conn_new(q, false);
  if (!c) return ROAM_E_MEMORY;
  c->remote = *remote;
  c->conn.user = user;
  bare.port = 0;
  snprintf(c->tls.name, sizeof c->tls.name, "%s", server_name && *server_name ? server_name : roam_addr_format(&bare, ip));
  if (!roam_quic_path_first(c, local, interface)) {
    roam_quic_conn_free(c);
    return ROAM_E_MEMORY;
  }
  *out = &c->conn;
  return 0;
}

static roam_conn_info quic_info(const roam_conn *conn) {
  const struct roam_quic_conn *c = of_conn(conn);
  roam_conn_info info = {.local = c->local, .remote = c->remote, .bytes_in = c->bytes_in, .bytes_out = c->bytes_out,
                         .migrations = c->migrations, .retried = c->retried};
  if (!c->nc) return info;
  ngtcp2_conn_info theirs;
  ngtcp2_conn_get_conn_info(c->nc, &theirs);
  info.rtt_ns = theirs.smoothed_rtt;
  info.cwnd_bytes = theirs.cwnd;
  info.bytes_in_flight = theirs.bytes_in_flight;
  return info;
}

static roam_rc quic_lane_open(roam_conn *conn, roam_time now, uint32_t *lane) {
  struct roam_quic_conn *c = of_conn(conn);
  int64_t stream;
  enter_conn(conn, now);
  if (c->server) return ROAM_E_UNSUPPORTED;
  if (c->state == ROAM_QUIC_CLOSED || c->state == ROAM_QUIC_FLUSHING) return ROAM_E_CLOSED;
  if (c->state != ROAM_QUIC_OPEN) return ROAM_E_STATE;
  if (ngtcp2_conn_get_streams_bidi_left(c->nc) == 0) return ROAM_E_LIMIT;
  struct roam_quic_lane *l = roam_quic_lane_new(c, 0);
  if (!l) return ROAM_E_MEMORY;
  int rv = ngtcp2_conn_open_bidi_stream(c->nc, &stream, l);
  if (rv != 0) {
    roam_quic_lane_free(l);
    return rv == NGTCP2_ERR_NOMEM ? ROAM_E_MEMORY : ROAM_E_LIMIT;
  }
  l->stream = stream;
  l->number = (uint32_t)(stream / 4);
  l->open = true;
  *lane = l->number;
  return 0;
}

static roam_bytes quic_peek(const roam_conn *conn, uint32_t lane) {
  const struct roam_quic_lane *l = roam_quic_lane_find(of_conn(conn), lane);
  return l ? roam_buf_view(&l->rx) : (roam_bytes){0};
}

static void quic_consume(roam_conn *conn, roam_time now, uint32_t lane, size_t n) {
  struct roam_quic_lane *l = roam_quic_lane_find(of_conn(conn), lane);
  enter_conn(conn, now);
  if (l) roam_quic_lane_consume(l, n);
}

static size_t quic_room(const roam_conn *conn, uint32_t lane) {
  struct roam_quic_conn *c = of_conn(conn);
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  return l && c->state == ROAM_QUIC_OPEN ? roam_quic_lane_room(l) : 0;
}

static roam_rc quic_write(roam_conn *conn, roam_time now, uint32_t lane, const roam_slice slices[], size_t n) {
  struct roam_quic_conn *c = of_conn(conn);
  enter_conn(conn, now);
  if (c->state == ROAM_QUIC_CLOSED || c->state == ROAM_QUIC_FLUSHING) return ROAM_E_CLOSED;
  if (c->state != ROAM_QUIC_OPEN) return ROAM_E_STATE;
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  if (!l) return ROAM_E_NOT_FOUND;
  roam_rc rc = roam_quic_lane_write(l, slices, n);
  if (rc == 0) roam_quic_activate(roam_quic_of(c), c);
  return rc;
}

static void quic_lane_fin(roam_conn *conn, roam_time now, uint32_t lane) {
  struct roam_quic_conn *c = of_conn(conn);
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  enter_conn(conn, now);
  if (!l || c->state != ROAM_QUIC_OPEN) return;
  roam_quic_lane_fin(l);
  roam_quic_activate(roam_quic_of(c), c);
}

static void quic_lane_reset(roam_conn *conn, roam_time now, uint32_t lane, uint64_t code) {
  struct roam_quic_conn *c = of_conn(conn);
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  enter_conn(conn, now);
  if (!l || c->state != ROAM_QUIC_OPEN) return;
  roam_quic_lane_reset(l, code);
  roam_quic_activate(roam_quic_of(c), c);
}

static void quic_close(roam_conn *conn, roam_time now, uint64_t code, bool flush) {
  enter_conn(conn, now);
  roam_quic_conn_close(of_conn(conn), code, flush);
}

static void quic_release(roam_conn *conn) {
  struct roam_quic_conn *c = of_conn(conn);
  roam_quic_conn_close(c, c->code, false); /* harmless when closed already, as it should be */
  c->released = true;
  roam_list_remove(&c->eventful);
  if (roam_quic_path_drained(c)) roam_quic_conn_free(c);
}

static roam_rc quic_migrate(roam_conn *conn, roam_time now, const roam_addr *local, const char *interface,
                            roam_migrate_how how) {
  enter_conn(conn, now);
  return roam_quic_path_migrate(of_conn(conn), local, interface, how == ROAM_MIGRATE_IMMEDIATE);
}

static void quic_ping(roam_conn *conn, roam_time now) {
  struct roam_quic_conn *c = of_conn(conn);
  enter_conn(conn, now);
  if (c->state != ROAM_QUIC_OPEN && c->state != ROAM_QUIC_FLUSHING) return;
  c->ping = true;
  roam_quic_activate(roam_quic_of(c), c);
}

static bool quic_owns(const roam_transport *t, const roam_wire *unit) {
  const struct roam_quic *q = of_transport(t);
  return unit->kind != ROAM_WIRE_ACCEPT && roam_map64_get(&q->handles, unit->handle) != NULL;
}

static void quic_free(roam_transport *t) {
  struct roam_quic *q = of_transport(t);
  ROAM_LIST_EACH(&q->all, node) roam_quic_conn_free(ROAM_CONTAINER(node, struct roam_quic_conn, all));
  ROAM_LIST_EACH(&q->closings, node) free_closing(q, ROAM_CONTAINER(node, struct roam_quic_closing, node));
  ROAM_LIST_EACH(&q->listeners, node) free_listener(q, ROAM_CONTAINER(node, struct roam_quic_listener, node));
  roam_quic_tls_reset(&q->tls);
  roam_map_reset(&q->cids);
  roam_map64_reset(&q->handles);
  roam_heap_reset(&q->timers);
  roam_heap_reset(&q->closing_timers);
  free(q->stateless);
  free(q->tx.base);
  free(q);
}

static const roam_transport_ops quic_ops = {
    .kind = ROAM_TRANSPORT_QUIC,
    .free = quic_free,
    .owns = quic_owns,
    .feed = quic_feed,
    .tick = quic_tick,
    .drain = quic_drain,
    .poll = quic_poll,
    .deadline = quic_deadline,
    .listen = quic_listen,
    .unlisten = quic_unlisten,
    .dial = quic_dial,
    .info = quic_info,
    .lane_open = quic_lane_open,
    .peek = quic_peek,
    .consume = quic_consume,
    .room = quic_room,
    .write = quic_write,
    .lane_fin = quic_lane_fin,
    .lane_reset = quic_lane_reset,
    .close = quic_close,
    .release = quic_release,
    .migrate = quic_migrate,
    .ping = quic_ping,
};

static const char *find_bad_option(const roam_transport_options *o) {
  if (!o->random) return "random is missing";
  if (o->handle_first == 0) return "handle_first must not be 0";
  if (o->conns_max == 0 || o->handshakes_max == 0 || o->lanes_max == 0) return "conns_max, handshakes_max, lanes_max: not 0";
  if (o->lane_tx_bytes == 0 || o->lane_rx_bytes == 0) return "lane_tx_bytes, lane_rx_bytes: not 0";
  if (o->conn_rx_bytes < o->lane_rx_bytes) return "conn_rx_bytes must be at least lane_rx_bytes";
  if (o->datagram_bytes_max < DATAGRAM_MIN || o->datagram_bytes_max > DATAGRAM_MAX) return "datagram_bytes_max: 1200 to 1472";
  if (o->initial_rtt_ns == 0 || o->connect_timeout_ns == 0) return "initial_rtt_ns, connect_timeout_ns: not 0";
  return NULL;
}

static void init_tables(struct roam_quic *q) {
  size_t conns = q->o.conns_max, closings = CLOSINGS_MAX;
  roam_map_init(&q->cids, (conns + closings) * CIDS_PER_CONN, q->o.random);
  roam_map64_init(&q->handles, conns * ROAM_QUIC_PATHS + closings + LISTENERS_MAX, NULL);
  roam_heap_init(&q->timers, q->o.conns_max + 1);
  roam_heap_init(&q->closing_timers, CLOSINGS_MAX + 1);
  roam_list_init(&q->listeners);
  roam_list_init(&q->all);
  roam_list_init(&q->active);
  roam_list_init(&q->eventful);
  roam_list_init(&q->closings);
  roam_list_init(&q->closings_to_send);
}

roam_transport *roam_quic_new(const roam_transport_options *o, roam_rc *rc, const char **why) {
  static const uint8_t no_secret[sizeof o->secret] = {0};
  *rc = ROAM_E_OPTION;
  *why = find_bad_option(o);
  if (*why) return NULL;
  *rc = ROAM_E_MEMORY;
  struct roam_quic *q = calloc(1, sizeof *q);
  if (!q) return NULL;
  q->transport.ops = &quic_ops;
  q->o = *o;
  q->now = o->now;
  init_tables(q);
  if (memcmp(o->secret, no_secret, sizeof no_secret) == 0) roam_random_fill(o->random, q->o.secret, sizeof q->o.secret);
  q->tx.base = malloc(TX_BYTES);
  if (q->tx.base) *rc = roam_quic_tls_init(&q->tls, o, why);
  q->o.tls = (roam_tls_config){0}; /* borrowed for this call only */
  if (*rc == 0) return &q->transport;
  quic_free(&q->transport);
  return NULL;
}
