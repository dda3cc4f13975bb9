/* tcp.c - the contract of transport.h over byte connections that the edge keeps: LISTEN, ACCEPT, OPEN, DATA, CREDIT, CLOSE;
 * plain, or through filters (filter.h): TLS, WebSocket, WebSocket over TLS. The endpoint and the doors: tcp.h says what the
 * other files do. Refuses to know TLS, framing and reconnecting. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport/tcp.h"

enum {
  HANDLES = 1 << 24,
  TLS_COST = 32768 /* a GnuTLS session and a record that is not whole */
};

static void enter(struct roam_tcp *t, roam_time now) {
  if (now > t->now) t->now = now;
}

/* ---- handles ---- */

bool roam_tcp_handle_take(struct roam_tcp *t, void *owner, uint32_t *handle) {
  for (uint32_t tries = 0; tries < 64; tries++) {
    uint32_t h = t->o.handle_first + t->handle_next;
    t->handle_next = (t->handle_next + 1) % HANDLES;
    if (roam_map64_get(&t->handles, h)) continue;
    if (roam_map64_put(&t->handles, h, owner) != 0) return false;
    *handle = h;
    return true;
  }
  return false;
}

static struct roam_tcp_conn *conn_by_handle(const struct roam_tcp *t, uint32_t handle) {
  enum roam_tcp_kind *kind = roam_map64_get(&t->handles, handle);
  return kind && *kind == ROAM_TCP_IS_CONN ? ROAM_CONTAINER(kind, struct roam_tcp_conn, kind) : NULL;
}

/* ---- feed, tick ---- */

static void feed_failed(struct roam_tcp *t, const roam_wire *u) {
  struct roam_tcp_listener *l = roam_tcp_listener_find(t, u->handle);
  struct roam_tcp_conn *c = conn_by_handle(t, u->handle);
  if (l) roam_tcp_listener_failed(t, l, u->error);
  else if (c) roam_tcp_conn_closed(t, c, u->error ? u->error : EIO);
}

static void feed_unit(struct roam_tcp *t, const roam_wire *u) {
  struct roam_tcp_conn *c = conn_by_handle(t, u->handle);
  struct roam_tcp_listener *l;
  switch (u->kind) {
    case ROAM_WIRE_ACCEPT: roam_tcp_conn_accept(t, u); break;
    case ROAM_WIRE_FAILED: feed_failed(t, u); break;
    case ROAM_WIRE_BOUND:
      l = roam_tcp_listener_find(t, u->handle);
      if (l) roam_tcp_listener_bound(l, u);
      break;
    case ROAM_WIRE_OPENED:
      if (!c || c->state != ROAM_TCP_OPENING) break;
      c->local = u->local;
      roam_tcp_conn_greet(t, c);
      break;
    case ROAM_WIRE_DATA:
      if (c) roam_tcp_conn_take(t, c, u);
      break;
    case ROAM_WIRE_CREDIT:
      if (!c) break;
      c->tx_credit += u->credit;
      roam_tcp_activate(t, c);
      break;
    case ROAM_WIRE_CLOSE:
      if (c) roam_tcp_conn_closed(t, c, u->error);
      break;
    default: break;
  }
}

static void tcp_feed(roam_transport *base, roam_time now, const roam_wire in[], size_t n) {
  struct roam_tcp *t = roam_tcp_of(base);
  enter(t, now);
  for (size_t i = 0; i < n; i++) feed_unit(t, &in[i]);
}

static void tcp_tick(roam_transport *base, roam_time now) {
  struct roam_tcp *t = roam_tcp_of(base);
  enter(t, now);
  for (;;) {
    struct roam_heap_node *node = roam_heap_first(&t->timers);
    if (!node || node->at > t->now) return;
    roam_heap_remove(&t->timers, node);
    roam_tcp_conn_expire(t, ROAM_CONTAINER(node, struct roam_tcp_conn, timer));
  }
}

/* ---- drain, poll ---- */

static size_t tcp_drain(roam_transport *base, roam_time now, roam_wire out[], size_t n) {
  struct roam_tcp *t = roam_tcp_of(base);
  size_t used = 0;
  enter(t, now);
  roam_tcp_listeners_drain(t, out, n, &used);
  roam_tcp_unkept_drain(t, out, n, &used);
  ROAM_LIST_EACH(&t->active, node) {
    struct roam_tcp_conn *c = ROAM_CONTAINER(node, struct roam_tcp_conn, active);
    if (!roam_tcp_conn_drain(t, c, out, n, &used)) {
      if (used == n) break;
      continue;
    }
    roam_list_remove(&c->active);
    if (c->released && c->state == ROAM_TCP_CLOSED && !c->to_close) roam_tcp_conn_free(t, c);
  }
  return used;
}

static roam_te_kind kind_of(uint8_t event) {
  switch (event) {
    case ROAM_TCP_HAS_ACCEPTED: return ROAM_TE_ACCEPTED;
    case ROAM_TCP_HAS_OPENED: return ROAM_TE_OPENED;
    case ROAM_TCP_HAS_READABLE: return ROAM_TE_READABLE;
    case ROAM_TCP_HAS_WRITABLE: return ROAM_TE_WRITABLE;
    case ROAM_TCP_HAS_FIN: return ROAM_TE_LANE_FIN;
    case ROAM_TCP_HAS_LEARNED: return ROAM_TE_LEARNED;
    default: return ROAM_TE_CLOSED;
  }
}

static void fill_event(const struct roam_tcp_conn *c, roam_te_kind kind, roam_te *ev) {
  *ev = (roam_te){.kind = kind, .conn = (roam_conn *)(uintptr_t)&c->conn, .local = c->local, .remote = c->remote};
  if (kind != ROAM_TE_CLOSED) return;
  ev->rc = c->rc;
  ev->code = c->code;
  ev->by_peer = c->by_peer;
  ev->text = c->text[0] ? c->text : NULL;
}

static size_t tcp_poll(roam_transport *base, roam_te ev[], size_t n) {
  struct roam_tcp *t = roam_tcp_of(base);
  size_t used = roam_tcp_listeners_poll(t, ev, n);
  while (used < n && !roam_list_empty(&t->eventful)) {
    struct roam_tcp_conn *c = ROAM_CONTAINER(t->eventful.next, struct roam_tcp_conn, eventful);
    for (uint8_t bit = ROAM_TCP_HAS_ACCEPTED; bit <= ROAM_TCP_HAS_CLOSED && used < n; bit = (uint8_t)(bit << 1)) {
      if (!(c->events & bit)) continue;
      c->events &= (uint8_t)~bit;
      fill_event(c, kind_of(bit), &ev[used++]);
    }
    if (!c->events) roam_list_remove(&c->eventful);
  }
  return used;
}

static roam_time tcp_deadline(const roam_transport *base) {
  const struct roam_tcp *t = roam_tcp_of(base);
  if (!roam_list_empty(&t->active) || t->unkept_len > 0) return t->now;
  return roam_heap_deadline(&t->timers);
}

/* ---- commands to the endpoint ---- */

static roam_rc tcp_listen(roam_transport *base, roam_time now, const roam_addr *local, uint32_t *listener) {
  enter(roam_tcp_of(base), now);
  return roam_tcp_listener_add(roam_tcp_of(base), local, "", listener);
}

static roam_rc tcp_listen_name(roam_transport *base, roam_time now, const char *name, const roam_addr *local,
                               uint32_t *listener) {
  enter(roam_tcp_of(base), now);
  return *name ? roam_tcp_listener_add(roam_tcp_of(base), local, name, listener) : ROAM_E_ARGUMENT;
}

static void tcp_unlisten(roam_transport *base, roam_time now, uint32_t listener) {
  struct roam_tcp *t = roam_tcp_of(base);
  enter(t, now);
  struct roam_tcp_listener *l = roam_tcp_listener_find(t, listener);
  if (l) l->closing = true;
}

static roam_rc tcp_dial(roam_transport *base, roam_time now, const roam_addr *remote, const roam_addr *local,
                        const char *interface, const char *server_name, void *user, roam_conn **out) {
  struct roam_tcp *t = roam_tcp_of(base);
  roam_addr any = {0};
  enter(t, now);
  bool path = interface && interface[0] == '/';
  if (path != (remote->family == 0) || (!path && remote->port == 0)) return ROAM_E_ARGUMENT;
  if (interface && strlen(interface) >= (path ? ROAM_TCP_NAME_BYTES_MAX : ROAM_TCP_INTERFACE_MAX)) return ROAM_E_ARGUMENT;
  if (t->conns >= t->o.conns_max) return ROAM_E_LIMIT;
  struct roam_tcp_conn *c = roam_tcp_conn_new(t, local ? local : &any, remote);
  if (!c) return ROAM_E_MEMORY;
  if (interface) c->name = strdup(interface);
  if ((interface && !c->name) || !roam_tcp_filters_make(t, c, false, server_name) ||
      !roam_tcp_handle_take(t, &c->kind, &c->handle) ||
      roam_heap_set(&t->timers, &c->timer, t->now + t->o.connect_timeout_ns) != 0) {
    roam_tcp_conn_free(t, c);
    return ROAM_E_MEMORY;
  }
  c->conn.user = user;
  c->to_open = true;
  roam_tcp_activate(t, c);
  *out = &c->conn;
  return 0;
}

static roam_rc tcp_certify(roam_transport *base, const roam_tls_config *config, const char **why) {
  struct roam_tcp *t = roam_tcp_of(base);
  return roam_tcp_is_secure(t) ? roam_trust_replace(&t->tls.trust, config, why) : ROAM_E_UNSUPPORTED;
}

static uint32_t tcp_handshakes(const roam_transport *base) { return roam_tcp_of(base)->greeting; }

static bool tcp_owns(const roam_transport *base, const roam_wire *unit) {
  const struct roam_tcp *t = roam_tcp_of(base);
  return roam_map64_get(&t->handles, unit->kind == ROAM_WIRE_ACCEPT ? unit->parent : unit->handle) != NULL;
}

/* ---- commands to a connection ---- */

static roam_rc tcp_resume(roam_conn *conn, const roam_resume *r) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  if (!c->bottom || !c->bottom->ops->resume) return ROAM_E_UNSUPPORTED;
  if (c->accepted || c->state != ROAM_TCP_OPENING) return ROAM_E_STATE;
  if (r->session.len > 0) (void)c->bottom->ops->resume(c->bottom, r->session); /* a damaged one is none */
  return 0;
}

static roam_resume tcp_learned(const roam_conn *conn) {
  const struct roam_layer *f = roam_tcp_conn_of(conn)->bottom;
  return f && f->ops->learned ? f->ops->learned(f) : (roam_resume){0};
}

static roam_conn_info tcp_info(const roam_conn *conn) {
  const struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  const struct roam_layer *f = c->bottom;
  return (roam_conn_info){.local = c->local,
                          .remote = c->remote,
                          .proved = true,
                          .resumed = f && f->ops->resumed && f->ops->resumed(f),
                          .bytes_in = c->bytes_in,
                          .bytes_out = c->bytes_out,
                          .bytes_in_flight = roam_sendq_held(&c->tx) + roam_sendq_held(&c->wire)};
}

static roam_rc tcp_lane_open(roam_conn *conn, roam_time now, uint32_t *lane) {
  (void)conn, (void)now, (void)lane;
  return ROAM_E_UNSUPPORTED;
}

static roam_bytes tcp_peek(const roam_conn *conn, uint32_t lane) {
  return lane == 0 ? roam_buf_view(&roam_tcp_conn_of(conn)->rx) : (roam_bytes){0};
}

static void tcp_consume(roam_conn *conn, roam_time now, uint32_t lane, size_t n) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  struct roam_tcp *t = roam_tcp_of(conn->transport);
  enter(t, now);
  if (lane != 0) return;
  if (n > roam_buf_len(&c->rx)) n = roam_buf_len(&c->rx);
  roam_buf_take(&c->rx, n);
  if (c->state == ROAM_TCP_OPEN) roam_tcp_activate(t, c);
}

static size_t tcp_room(const roam_conn *conn, uint32_t lane) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  const struct roam_tcp *t = roam_tcp_of(conn->transport);
  if (lane != 0 || c->state != ROAM_TCP_OPEN) return 0;
  uint64_t held = c->tx.written - c->tx.sent;
  if (held >= t->o.lane_tx_bytes) c->starved = true;
  return held >= t->o.lane_tx_bytes ? 0 : t->o.lane_tx_bytes - (size_t)held;
}

static roam_rc tcp_write(roam_conn *conn, roam_time now, uint32_t lane, const roam_slice slices[], size_t n) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  struct roam_tcp *t = roam_tcp_of(conn->transport);
  enter(t, now);
  if (lane != 0) return ROAM_E_NOT_FOUND;
  if (c->state == ROAM_TCP_CLOSED || c->state == ROAM_TCP_FLUSHING) return ROAM_E_CLOSED;
  if (c->state != ROAM_TCP_OPEN) return ROAM_E_STATE;
  size_t len = 0;
  for (size_t i = 0; i < n; i++) len += slices[i].len;
  if (len > tcp_room(conn, lane)) {
    c->starved = true;
    return ROAM_E_BLOCKED;
  }
  roam_rc rc = roam_sendq_put(&c->tx, slices, n);
  if (rc == 0) roam_tcp_activate(t, c);
  return rc;
}

static void tcp_close(roam_conn *conn, roam_time now, uint64_t code, bool flush) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  struct roam_tcp *t = roam_tcp_of(conn->transport);
  enter(t, now);
  if (c->state == ROAM_TCP_CLOSED || c->state == ROAM_TCP_FLUSHING) return;
  c->code = code;
  /* An orderly end when nothing is owed to the peer: a reset would also destroy what it has not read yet. */
  bool clean = c->state == ROAM_TCP_OPEN && !roam_tcp_conn_has_unsent(c) && roam_buf_len(&c->rx) == 0;
  if (c->state == ROAM_TCP_OPEN && (flush || (clean && c->bottom))) roam_tcp_conn_flush(t, c, 0);
  else roam_tcp_conn_end(t, c, 0, true, clean ? ROAM_CLOSE_FLUSH : ROAM_CLOSE_RESET);
}

static void tcp_lane_fin(roam_conn *conn, roam_time now, uint32_t lane) {
  if (lane == 0) tcp_close(conn, now, 0, true);
}

static void tcp_lane_reset(roam_conn *conn, roam_time now, uint32_t lane, uint64_t code) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  struct roam_tcp *t = roam_tcp_of(conn->transport);
  enter(t, now);
  if (lane != 0 || c->state == ROAM_TCP_CLOSED) return;
  c->code = code;
  roam_tcp_conn_end(t, c, 0, true, ROAM_CLOSE_RESET);
}

static void tcp_release(roam_conn *conn) {
  struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  struct roam_tcp *t = roam_tcp_of(conn->transport);
  c->released = true;
  c->events = 0;
  roam_list_remove(&c->eventful);
  roam_tcp_conn_end(t, c, 0, true, ROAM_CLOSE_RESET); /* harmless when closed already, as it should be */
  if (c->to_close) roam_tcp_activate(t, c);
  else roam_tcp_conn_free(t, c);
}

static roam_rc tcp_migrate(roam_conn *conn, roam_time now, const roam_addr *local, const char *interface,
                           roam_migrate_how how) {
  (void)conn, (void)now, (void)local, (void)interface, (void)how;
  return ROAM_E_UNSUPPORTED;
}

static void tcp_ping(roam_conn *conn, roam_time now) {
  (void)conn;
  enter(roam_tcp_of(conn->transport), now);
}

/* What the edge has taken and not written yet counts, too: it lies in its buffers. */
static roam_conn_cost tcp_memory(const roam_conn *conn) {
  const struct roam_tcp_conn *c = roam_tcp_conn_of(conn);
  size_t base = sizeof *c + (roam_tcp_is_secure(roam_tcp_of(conn->transport)) ? TLS_COST : 0);
  size_t bytes = base + c->rx.cap + (size_t)roam_sendq_held(&c->tx) + (size_t)roam_sendq_held(&c->wire);
  if (c->tx_credit < ROAM_CREDIT_START) bytes += ROAM_CREDIT_START - (size_t)c->tx_credit;
  return (roam_conn_cost){bytes, base};
}

static const char *tcp_subject(const roam_conn *conn) {
  for (const struct roam_layer *f = roam_tcp_conn_of(conn)->bottom; f; f = f->above)
    if (f->ops->subject) return f->ops->subject(f);
  return NULL;
}

/* ---- making ---- */

static void tcp_free(roam_transport *base) {
  struct roam_tcp *t = roam_tcp_of(base);
  ROAM_LIST_EACH(&t->all, node) roam_tcp_conn_free(t, ROAM_CONTAINER(node, struct roam_tcp_conn, all));
  roam_tcp_listeners_free(t);
  roam_map64_reset(&t->handles);
  roam_heap_reset(&t->timers);
  roam_tls_endpoint_reset(&t->tls);
  roam_ws_endpoint_reset(&t->ws);
  free(t);
}

#define OPS(which)                                                                                                         \
  {                                                                                                                        \
    .kind = which, .free = tcp_free, .owns = tcp_owns, .feed = tcp_feed, .tick = tcp_tick, .drain = tcp_drain,             \
    .poll = tcp_poll, .deadline = tcp_deadline, .listen = tcp_listen, .unlisten = tcp_unlisten, .dial = tcp_dial,          \
    .info = tcp_info, .lane_open = tcp_lane_open, .peek = tcp_peek, .consume = tcp_consume, .room = tcp_room,              \
    .write = tcp_write, .lane_fin = tcp_lane_fin, .lane_reset = tcp_lane_reset, .close = tcp_close,                        \
    .release = tcp_release, .migrate = tcp_migrate, .ping = tcp_ping, .listen_name = tcp_listen_name,                      \
    .certify = tcp_certify, .subject = tcp_subject, .handshakes = tcp_handshakes, .memory = tcp_memory,                    \
    .resume = tcp_resume, .learned = tcp_learned                                                                           \
  }

static const roam_transport_ops ops_of[] = {OPS(ROAM_TRANSPORT_TCP), OPS(ROAM_TRANSPORT_TLS), OPS(ROAM_TRANSPORT_WS),
                                            OPS(ROAM_TRANSPORT_WSS)};

static void init_tables(struct roam_tcp *t) {
  roam_map64_init(&t->handles, (size_t)t->o.conns_max * 2 + ROAM_TCP_LISTENERS_MAX, NULL);
  roam_heap_init(&t->timers, t->o.conns_max + 1);
  roam_list_init(&t->listeners);
  roam_list_init(&t->all);
  roam_list_init(&t->active);
  roam_list_init(&t->eventful);
}

static roam_transport *make(roam_transport_kind kind, const roam_transport_options *o, roam_rc *rc, const char **why) {
  *why = NULL;
  *rc = ROAM_E_OPTION;
  if (o->lane_tx_bytes == 0 || o->conns_max == 0 || o->handle_first == 0) {
    *why = "lane_tx_bytes, conns_max and handle_first must not be 0";
    return NULL;
  }
  struct roam_tcp *t = calloc(1, sizeof *t);
  *rc = t ? 0 : ROAM_E_MEMORY;
  if (!t) return NULL;
  t->kind = kind;
  t->transport.ops = &ops_of[kind - ROAM_TRANSPORT_TCP];
  t->o = *o;
  t->now = o->now;
  t->rx_max = o->lane_rx_bytes > ROAM_CREDIT_START ? o->lane_rx_bytes : ROAM_CREDIT_START;
  init_tables(t);
  if (roam_tcp_is_secure(t)) *rc = roam_tls_endpoint_init(&t->tls, o, roam_tcp_is_web(t) ? "http/1.1" : "mqtt", why);
  if (*rc == 0 && roam_tcp_is_web(t)) *rc = roam_ws_endpoint_init(&t->ws, o, why);
  t->o.tls = (roam_tls_config){0}; /* these are borrowed for this call only */
  t->o.ws_path = t->o.ws_origins = NULL;
  if (*rc == 0) return &t->transport;
  tcp_free(&t->transport);
  return NULL;
}

roam_transport *roam_tcp_new(const roam_transport_options *o, roam_rc *rc, const char **why) {
  return make(ROAM_TRANSPORT_TCP, o, rc, why);
}

roam_transport *roam_tls_new(const roam_transport_options *o, roam_rc *rc, const char **why) {
  return make(ROAM_TRANSPORT_TLS, o, rc, why);
}

roam_transport *roam_ws_new(const roam_transport_options *o, bool secure, roam_rc *rc, const char **why) {
  return make(secure ? ROAM_TRANSPORT_WSS : ROAM_TRANSPORT_WS, o, rc, why);
}
