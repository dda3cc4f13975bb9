/* tcp.c - the contract of transport.h over byte connections that the edge keeps: LISTEN, ACCEPT, OPEN, DATA, CREDIT, CLOSE;
 * plain, or through filters (filter.h): TLS, WebSocket, WebSocket over TLS.
 *
 * One lane, number 0, which is the connection: ending or resetting the lane ends the connection. Bytes in are bounded by
 * the credit given to the edge, bytes out by lane_tx_bytes until the edge has taken them. Events are flags on the conn and
 * become roam_te in poll, so their number is bounded by the number of conns. Refuses to know TLS, framing and reconnecting.
 *
 * With filters, what arrives goes up through them at once: nothing they make of it is longer than it was, but for the end
 * of a record begun earlier (FILTER_SLACK). What is written waits as it is in tx, which is what `room` counts, and is
 * encoded into wire only when the edge takes bytes; what filters send on their own (handshakes, pongs) is bounded by
 * WIRE_MAX.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/trace.h"
#include "base/map.h"
#include "transport/error.h"
#include "transport/filter.h"
#include "transport/sendq.h"
#include "transport/transport.h"

#define FLUSH_NS (3 * ROAM_S)
enum {
  LISTENERS_MAX = 64,
  HANDLES = 1 << 24,
  INTERFACE_MAX = 32,
  PIECES_PER_DRAIN = 16,
  NAME_BYTES_MAX = 108,   /* of a Unix socket's path, as in sockaddr_un */
  ENCODE_AT_ONCE = 16384, /* one TLS record, one frame */
  WIRE_AHEAD = 65536,     /* encoded and not yet drained */
  WIRE_MAX = 262144,      /* the same with what filters say unasked; beyond it the peer does not read its answers */
  FILTER_SLACK = 65536,
  TLS_COST = 32768 /* a GnuTLS session and a record that is not whole */
};

enum {
  HAS_ACCEPTED = 1,
  HAS_OPENED = 2,
  HAS_READABLE = 4,
  HAS_WRITABLE = 8,
  HAS_FIN = 16,
  HAS_LEARNED = 32,
  HAS_CLOSED = 64
};

enum tcp_state {
  TCP_OPENING,
  TCP_GREETING, /* connected; the filters' handshakes are under way */
  TCP_OPEN,
  TCP_FLUSHING,
  TCP_CLOSED
};

/* Listeners and connections are found by handle in one table; the first member tells which it is. */
enum tcp_kind {
  TCP_LISTENER,
  TCP_CONN
};

struct tcp_listener {
  enum tcp_kind kind;
  struct roam_list node; /* endpoint.listeners */
  uint32_t handle;
  roam_addr local;
  roam_te_kind event; /* LISTENING, LISTEN_FAILED or NONE: to be polled */
  roam_rc rc;
  char text[ROAM_CONN_TEXT_MAX];
  bool asked;                /* LISTEN has been drained */
  bool closing;              /* CLOSE is to be drained, then it is freed */
  bool failed;               /* freed once polled */
  char name[NAME_BYTES_MAX]; /* or empty: local counts */
};

struct tcp_conn {
  roam_conn conn; /* first */
  enum tcp_kind kind;
  struct roam_list all, active, eventful; /* nodes in the endpoint's lists */
  struct roam_heap_node timer;            /* connect or flush timeout */
  enum tcp_state state;
  uint32_t handle;
  roam_addr local, remote;
  char *name;     /* dialled: of the interface, or the path of a Unix socket; or NULL */
  uint8_t events; /* HAS_... */
  bool to_open, to_close, released, starved, by_peer;
  uint8_t close_how;
  roam_rc rc;
  uint64_t code;
  uint64_t bytes_in, bytes_out;
  uint64_t tx_credit; /* what the edge will still take */
  uint64_t rx_credit; /* what the edge may still send */
  struct roam_sendq tx;
  struct roam_buf rx;
  struct roam_layer *bottom, *top; /* NULL: none */
  struct roam_sendq wire;          /* with filters: what goes out, encoded */
  roam_rc ending_rc;               /* FLUSHING: what the end will be told as */
  bool accepted, said_goodbye;
  char text[ROAM_CONN_TEXT_MAX];
};

struct tcp {
  roam_transport transport; /* first */
  roam_transport_options o;
  roam_time now;
  uint32_t handle_next; /* offset from handle_first */
  uint64_t number_next;
  uint32_t conns;
  struct roam_map64 handles;
  struct roam_list listeners, all, active, eventful;
  struct roam_heap timers;
  size_t rx_max;
  roam_transport_kind kind;
  uint32_t greeting; /* accepted conns in TCP_GREETING */
  struct roam_tls_endpoint tls;
  struct roam_ws_endpoint ws;
  uint8_t scratch[ENCODE_AT_ONCE];
};

static bool is_secure(const struct tcp *t) { return t->kind == ROAM_TRANSPORT_TLS || t->kind == ROAM_TRANSPORT_WSS; }

static bool is_web(const struct tcp *t) { return t->kind == ROAM_TRANSPORT_WS || t->kind == ROAM_TRANSPORT_WSS; }

static struct tcp *of_transport(const roam_transport *t) { return (struct tcp *)(uintptr_t)t; }

static struct tcp_conn *of_conn(const roam_conn *c) { return (struct tcp_conn *)(uintptr_t)c; }

static void enter(struct tcp *t, roam_time now) {
  if (now > t->now) t->now = now;
}

static void activate(struct tcp *t, struct tcp_conn *c) {
  if (roam_list_empty(&c->active)) roam_list_push_back(&t->active, &c->active);
}

static void announce(struct tcp *t, struct tcp_conn *c, uint8_t event) {
  if (c->released) return;
  c->events |= event;
  if (roam_list_empty(&c->eventful)) roam_list_push_back(&t->eventful, &c->eventful);
}

/* ---- handles --------------------------------------------------------------------------------------------------------- */

static bool take_handle(struct tcp *t, void *owner, uint32_t *handle) {
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

static struct tcp_conn *conn_by_handle(const struct tcp *t, uint32_t handle) {
  enum tcp_kind *kind = roam_map64_get(&t->handles, handle);
  return kind && *kind == TCP_CONN ? ROAM_CONTAINER(kind, struct tcp_conn, kind) : NULL;
}

static struct tcp_listener *listener_by_handle(const struct tcp *t, uint32_t handle) {
  enum tcp_kind *kind = roam_map64_get(&t->handles, handle);
  return kind && *kind == TCP_LISTENER ? ROAM_CONTAINER(kind, struct tcp_listener, kind) : NULL;
}

/* ---- filters --------------------------------------------------------------------------------------------------------- */

static struct tcp *endpoint_of(const struct tcp_conn *c) { return of_transport(c->conn.transport); }

static roam_rc to_lane(void *context, roam_bytes bytes) {
  struct tcp_conn *c = context;
  roam_rc rc = roam_buf_put(&c->rx, bytes.base, bytes.len);
  if (rc != 0) snprintf(c->text, sizeof c->text, "no room for arrived bytes: %s", roam_strerror(rc));
  return rc;
}

static roam_rc to_wire(void *context, roam_bytes bytes) {
  struct tcp_conn *c = context;
  roam_slice slice = {.base = bytes.base, .len = bytes.len};
  if (roam_sendq_held(&c->wire) + bytes.len > WIRE_MAX) {
    snprintf(c->text, sizeof c->text, "the peer asks for answers and does not read them");
    return ROAM_E_LIMIT;
  }
  activate(endpoint_of(c), c);
  return roam_sendq_put(&c->wire, &slice, 1);
}

static void free_filters(struct tcp_conn *c) {
  for (struct roam_layer *f = c->bottom, *above; f; f = above) {
    above = f->above;
    f->ops->free(f);
  }
  c->bottom = c->top = NULL;
}

static bool put_on_top(struct tcp *t, struct tcp_conn *c, struct roam_layer *f) {
  if (!f) return false;
  f->conn = c;
  f->to_lane = to_lane;
  f->to_wire = to_wire;
  f->now = &t->now;
  f->text = c->text;
  f->below = c->top;
  if (c->top) c->top->above = f;
  else c->bottom = f;
  c->top = f;
  return true;
}

/* server_name: a client's, or NULL. */
static bool make_filters(struct tcp *t, struct tcp_conn *c, bool server, const char *server_name) {
  char ip[ROAM_ADDR_TEXT_MAX], host[320];
  roam_addr bare = c->remote;
  bare.port = 0;
  const char *name = server_name && *server_name ? server_name : roam_addr_format(&bare, ip);
  if (is_secure(t) && !put_on_top(t, c, roam_tls_filter_new(&t->tls, server, server ? NULL : name, &t->now))) return false;
  if (!is_web(t)) return true;
  bool v6 = strchr(name, ':') != NULL, usual = c->remote.port == (is_secure(t) ? 443 : 80);
  snprintf(host, sizeof host, usual ? "%s%.250s%s" : "%s%.250s%s:%u", v6 ? "[" : "", name, v6 ? "]" : "", c->remote.port);
  return put_on_top(t, c, roam_ws_filter_new(&t->ws, server, host));
}

/* What was written, turned into what goes out, as much as the edge takes soon. */
static roam_rc encode(struct tcp *t, struct tcp_conn *c) {
  roam_bytes views[PIECES_PER_DRAIN];
  size_t len;
  while (roam_sendq_has_unsent(&c->tx)) {
    uint64_t waiting = c->wire.written - c->wire.sent;
    if (waiting >= WIRE_AHEAD || waiting >= c->tx_credit) return 0;
    size_t count = roam_sendq_unsent(&c->tx, views, PIECES_PER_DRAIN, &len), used = 0;
    roam_bytes piece = {t->scratch, 0};
    if (views[0].len >= ENCODE_AT_ONCE) {
      piece = (roam_bytes){views[0].base, ENCODE_AT_ONCE};
      used = ENCODE_AT_ONCE;
    } else {
      for (size_t i = 0; i < count && used < ENCODE_AT_ONCE; i++) {
        size_t take = views[i].len < ENCODE_AT_ONCE - used ? views[i].len : ENCODE_AT_ONCE - used;
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

static void say_goodbye(struct tcp_conn *c) {
  if (c->said_goodbye) return;
  c->said_goodbye = true;
  for (struct roam_layer *f = c->top; f; f = f->below)
    if (f->open) f->ops->end(f, c->code);
}

/* ---- the life of a conn ---------------------------------------------------------------------------------------------- */

static struct tcp_conn *make_conn(struct tcp *t, const roam_addr *local, const roam_addr *remote) {
  struct tcp_conn *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->conn.transport = &t->transport;
  c->conn.number = ++t->number_next;
  c->kind = TCP_CONN;
  c->local = *local;
  c->remote = *remote;
  c->tx_credit = c->rx_credit = ROAM_CREDIT_START;
  roam_sendq_init(&c->tx);
  roam_sendq_init(&c->wire);
  roam_buf_init(&c->rx, t->rx_max + (t->kind == ROAM_TRANSPORT_TCP ? 0 : FILTER_SLACK));
  roam_list_init(&c->active);
  roam_list_init(&c->eventful);
  roam_list_push_back(&t->all, &c->all);
  t->conns++;
  return c;
}

static void leave_greeting(struct tcp *t, const struct tcp_conn *c) {
  if (c->state == TCP_GREETING && c->accepted) t->greeting--;
}

static void free_conn(struct tcp *t, struct tcp_conn *c) {
  leave_greeting(t, c);
  free_filters(c);
  roam_heap_remove(&t->timers, &c->timer);
  roam_list_remove(&c->all);
  roam_list_remove(&c->active);
  roam_list_remove(&c->eventful);
  if (c->handle) roam_map64_remove(&t->handles, c->handle);
  roam_sendq_reset(&c->tx);
  roam_sendq_reset(&c->wire);
  roam_buf_reset(&c->rx);
  t->conns--;
  free(c->name);
  free(c);
}

/* The one way into TCP_CLOSED. to_close: the edge must still be told. */
static void end_conn(struct tcp *t, struct tcp_conn *c, roam_rc rc, bool to_close, uint8_t how) {
  if (c->state == TCP_CLOSED) return;
  leave_greeting(t, c);
  c->state = TCP_CLOSED;
  c->rc = rc;
  if (c->to_open) to_close = false; /* the edge has never heard of it */
  c->to_open = false;
  roam_heap_remove(&t->timers, &c->timer);
  roam_sendq_reset(&c->tx);
  roam_sendq_reset(&c->wire);
  if (to_close) {
    c->to_close = true;
    c->close_how = how;
    activate(t, c);
  } else {
    roam_map64_remove(&t->handles, c->handle);
    c->handle = 0;
  }
  c->events &= (uint8_t)~HAS_WRITABLE;
  announce(t, c, HAS_CLOSED);
}

/* Into TCP_FLUSHING: what is on its way out goes out, then the end is told. */
static void start_flushing(struct tcp *t, struct tcp_conn *c, roam_rc rc) {
  leave_greeting(t, c);
  c->state = TCP_FLUSHING;
  c->ending_rc = rc;
  activate(t, c);
  if (roam_heap_set(&t->timers, &c->timer, t->now + FLUSH_NS) != 0) end_conn(t, c, rc, true, ROAM_CLOSE_RESET);
}

/* A filter gave up, with a sentence; what it had to say to the peer stands in wire. */
static void fail_filter(struct tcp *t, struct tcp_conn *c, roam_rc rc) {
  c->said_goodbye = true;
  roam_sendq_reset(&c->tx);
  if (rc == ROAM_E_LIMIT || rc == ROAM_E_MEMORY) end_conn(t, c, rc, true, ROAM_CLOSE_RESET);
  else start_flushing(t, c, rc);
}

static void start_open(struct tcp *t, struct tcp_conn *c) {
  leave_greeting(t, c);
  c->state = TCP_OPEN;
  roam_heap_remove(&t->timers, &c->timer);
  announce(t, c, HAS_OPENED);
  activate(t, c); /* a first grant above the start credit */
}

/* Connected. Plain connections are open with that; for others the time for the handshake began when they were made. */
static void start_greeting(struct tcp *t, struct tcp_conn *c) {
  if (!c->bottom) {
    start_open(t, c);
    return;
  }
  c->state = TCP_GREETING;
  if (c->accepted) {
    t->greeting++;
    if (roam_heap_set(&t->timers, &c->timer, t->now + t->o.connect_timeout_ns) != 0) {
      end_conn(t, c, ROAM_E_MEMORY, true, ROAM_CLOSE_RESET);
      return;
    }
  }
  activate(t, c);
  roam_rc rc = c->bottom->ops->start(c->bottom);
  if (rc != 0) fail_filter(t, c, rc);
}

/* ---- feed ------------------------------------------------------------------------------------------------------------ */

static void feed_accept(struct tcp *t, const roam_wire *u) {
  struct tcp_listener *l = listener_by_handle(t, u->parent);
  if (!l || roam_map64_get(&t->handles, u->handle)) return;
  struct tcp_conn *c = make_conn(t, &u->local, &u->remote);
  if (!c) return;
  if (roam_map64_put(&t->handles, u->handle, &c->kind) != 0) {
    free_conn(t, c);
    return;
  }
  c->handle = u->handle;
  c->accepted = true;
  const char *bound = t->conns > t->o.conns_max            ? "conns_max"
                      : t->greeting >= t->o.handshakes_max ? "handshakes_max"
                      : !make_filters(t, c, true, NULL)    ? "memory"
                                                           : NULL;
  if (bound || l->closing) {
    t->transport.refused++;
    roam_trace(&t->o.log, t->now, REFUSED, .transport = roam_transport_name(t->kind),
               .bound = bound ? bound : "the end of the listener");
    c->released = true;
    end_conn(t, c, ROAM_E_LIMIT, true, ROAM_CLOSE_RESET);
    return;
  }
  announce(t, c, HAS_ACCEPTED);
  start_greeting(t, c);
}

static bool has_ended(const struct tcp_conn *c) {
  for (const struct roam_layer *f = c->bottom; f; f = f->above)
    if (f->ended) return true;
  return false;
}

/* The peer said goodbye in a filter's words: so do we. */
static void end_by_peer(struct tcp *t, struct tcp_conn *c) {
  roam_rc rc = c->state == TCP_GREETING ? ROAM_E_PEER_CLOSED : 0;
  c->by_peer = true;
  if (c->state == TCP_OPEN) announce(t, c, HAS_FIN);
  roam_sendq_reset(&c->tx);
  say_goodbye(c);
  start_flushing(t, c, rc);
}

static void feed_filters(struct tcp *t, struct tcp_conn *c, const roam_wire *u) {
  size_t before = roam_buf_len(&c->rx);
  activate(t, c); /* credit, and perhaps an answer */
  roam_rc rc = c->bottom->ops->in(c->bottom, (roam_bytes){u->data, u->len});
  if (c->bottom->news) announce(t, c, HAS_LEARNED);
  c->bottom->news = false;
  if (c->state == TCP_CLOSED) return;
  if (rc == 0 && c->state == TCP_GREETING && c->top->open) start_open(t, c);
  if (c->state == TCP_OPEN && roam_buf_len(&c->rx) > before) announce(t, c, HAS_READABLE);
  if (rc != 0) fail_filter(t, c, rc);
  else if (has_ended(c)) end_by_peer(t, c);
}

static void feed_data(struct tcp *t, struct tcp_conn *c, const roam_wire *u) {
  if (c->state == TCP_CLOSED || c->state == TCP_FLUSHING || u->len == 0) return;
  roam_rc rc = 0;
  if (u->len > c->rx_credit) rc = ROAM_E_INTERNAL;
  else if (!c->bottom) rc = roam_buf_put(&c->rx, u->data, u->len);
  if (rc != 0) {
    snprintf(c->text, sizeof c->text,
             rc == ROAM_E_MEMORY ? "out of memory for arrived bytes" : "the edge sent more than it may");
    end_conn(t, c, rc, true, ROAM_CLOSE_RESET);
    return;
  }
  c->rx_credit -= u->len;
  c->bytes_in += u->len;
  if (c->bottom) {
    feed_filters(t, c, u);
    return;
  }
  if (c->rx_credit == 0) activate(t, c); /* is there more to give? */
  announce(t, c, HAS_READABLE);
}

static roam_rc explain_errno(struct tcp_conn *c, int error, const char *doing) {
  char at_path[NAME_BYTES_MAX + 32];
  snprintf(at_path, sizeof at_path, "%s %s", doing, c->name ? c->name : "the peer");
  return roam_error_from_errno(error, c->remote.family == 0 ? at_path : doing, &c->remote, c->text);
}

static void feed_close(struct tcp *t, struct tcp_conn *c, int error) {
  bool was_open = c->state == TCP_OPEN;
  if (c->state == TCP_CLOSED) {
    c->to_close = false; /* both ended it; the handle is free already */
    roam_map64_remove(&t->handles, c->handle);
    c->handle = 0;
    activate(t, c);
    return;
  }
  bool greeting = c->state == TCP_GREETING, flushing = c->state == TCP_FLUSHING;
  c->by_peer = !flushing || c->by_peer;
  roam_rc rc = 0;
  if (flushing && (c->ending_rc != 0 || c->bottom)) rc = c->ending_rc; /* its cause is older than this */
  else if (error == 0 && greeting) {
    rc = ROAM_E_PEER_CLOSED;
    snprintf(c->text, sizeof c->text, "the peer closed the connection during the %s handshake",
             c->bottom->open ? c->top->ops->name : c->bottom->ops->name);
  } else if (error == 0 && c->state == TCP_OPENING) rc = ROAM_E_PEER_CLOSED;
  else if (error != 0) rc = explain_errno(c, error, was_open || greeting ? "connection with" : "connecting to");
  if (greeting && error == ECONNRESET) {
    size_t used = strlen(c->text);
    snprintf(c->text + used, sizeof c->text - used, " during the %s handshake; is this a port for it?",
             c->bottom->open ? c->top->ops->name : c->bottom->ops->name);
  }
  if (was_open && error == 0) announce(t, c, HAS_FIN);
  end_conn(t, c, rc, false, 0);
}

static void feed_bound(struct tcp *t, struct tcp_listener *l, const roam_wire *u) {
  if (l->event != ROAM_TE_NONE || l->closing || l->failed) return;
  l->local = u->local;
  l->event = ROAM_TE_LISTENING;
  (void)t;
}

static void feed_failed(struct tcp *t, const roam_wire *u) {
  struct tcp_listener *l = listener_by_handle(t, u->handle);
  struct tcp_conn *c = conn_by_handle(t, u->handle);
  if (l) {
    l->rc = roam_error_from_errno(u->error, "listening on", &l->local, l->text);
    l->event = ROAM_TE_LISTEN_FAILED;
    l->failed = true;
    roam_map64_remove(&t->handles, l->handle);
  } else if (c) {
    feed_close(t, c, u->error ? u->error : EIO);
  }
}

static void feed_unit(struct tcp *t, const roam_wire *u) {
  struct tcp_conn *c = conn_by_handle(t, u->handle);
  struct tcp_listener *l;
  switch (u->kind) {
    case ROAM_WIRE_ACCEPT: feed_accept(t, u); break;
    case ROAM_WIRE_FAILED: feed_failed(t, u); break;
    case ROAM_WIRE_BOUND:
      l = listener_by_handle(t, u->handle);
      if (l) feed_bound(t, l, u);
      break;
    case ROAM_WIRE_OPENED:
      if (!c || c->state != TCP_OPENING) break;
      c->local = u->local;
      start_greeting(t, c);
      break;
    case ROAM_WIRE_DATA:
      if (c) feed_data(t, c, u);
      break;
    case ROAM_WIRE_CREDIT:
      if (!c) break;
      c->tx_credit += u->credit;
      activate(t, c);
      break;
    case ROAM_WIRE_CLOSE:
      if (c) feed_close(t, c, u->error);
      break;
    default: break;
  }
}

/* Drained pieces live until the next call, so they are let go at its beginning. */
static void settle(struct tcp *t, struct tcp_conn *c) {
  roam_sendq_ack(&c->wire, c->wire.sent);
  if (c->tx.acked == c->tx.sent) return;
  roam_sendq_ack(&c->tx, c->tx.sent);
  if (c->starved && roam_sendq_held(&c->tx) <= t->o.lane_tx_bytes / 2) {
    c->starved = false;
    announce(t, c, HAS_WRITABLE);
  }
}

static void tcp_feed(roam_transport *base, roam_time now, const roam_wire in[], size_t n) {
  struct tcp *t = of_transport(base);
  enter(t, now);
  for (size_t i = 0; i < n; i++) feed_unit(t, &in[i]);
}

static void tcp_tick(roam_transport *base, roam_time now) {
  struct tcp *t = of_transport(base);
  enter(t, now);
  for (;;) {
    struct roam_heap_node *node = roam_heap_first(&t->timers);
    if (!node || node->at > t->now) return;
    struct tcp_conn *c = ROAM_CONTAINER(node, struct tcp_conn, timer);
    roam_heap_remove(&t->timers, node);
    if (c->state == TCP_OPENING) {
      char where[ROAM_ADDR_TEXT_MAX];
      snprintf(c->text, sizeof c->text, "no answer over TCP from %s", roam_addr_format(&c->remote, where));
      end_conn(t, c, ROAM_E_TIMEOUT, true, ROAM_CLOSE_RESET);
    } else if (c->state == TCP_GREETING) {
      snprintf(c->text, sizeof c->text, "the %s handshake was not done in time",
               c->bottom->open ? c->top->ops->name : c->bottom->ops->name);
      end_conn(t, c, ROAM_E_TIMEOUT, true, ROAM_CLOSE_RESET);
    } else {
      end_conn(t, c, c->ending_rc, true, ROAM_CLOSE_FLUSH);
    }
  }
}

/* ---- drain ----------------------------------------------------------------------------------------------------------- */

static void drain_listeners(struct tcp *t, roam_wire out[], size_t n, size_t *used) {
  ROAM_LIST_EACH(&t->listeners, node) {
    if (*used == n) return;
    struct tcp_listener *l = ROAM_CONTAINER(node, struct tcp_listener, node);
    if (!l->asked && !l->closing) {
      out[(*used)++] = (roam_wire){
          .kind = ROAM_WIRE_LISTEN, .handle = l->handle, .local = l->local, .name = l->name[0] ? l->name : NULL};
      if (t->o.workers > 1 && !l->name[0]) {
        out[*used - 1].parent = t->o.workers;
        out[*used - 1].how = t->o.worker == 0 ? ROAM_BIND_FIRST : ROAM_BIND_NEXT;
      }
      l->asked = true;
    }
    if (!l->closing) continue;
    if (l->asked && !l->failed) out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = l->handle};
    roam_map64_remove(&t->handles, l->handle);
    roam_list_remove(&l->node);
    free(l);
  }
}

/* Credit goes back in steps of a quarter, so that not every message costs a unit; or as much as there is when the edge has
 * none left, for the owner may hold most of the window with a packet whose end has yet to come. */
static void drain_credit(struct tcp *t, struct tcp_conn *c, roam_wire out[], size_t n, size_t *used) {
  uint64_t taken = roam_buf_len(&c->rx) + c->rx_credit, grant = taken < t->rx_max ? t->rx_max - taken : 0;
  bool worth = grant >= t->rx_max / 4 || (grant > 0 && c->rx_credit == 0);
  if ((c->state != TCP_OPEN && c->state != TCP_GREETING) || !worth || *used == n) return;
  out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = c->handle, .credit = grant};
  c->rx_credit += grant;
}

static void drain_data(struct tcp_conn *c, roam_wire out[], size_t n, size_t *used) {
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

static void drain_close(struct tcp *t, struct tcp_conn *c, roam_wire out[], size_t *used) {
  out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = c->handle, .how = c->close_how};
  c->to_close = false;
  roam_map64_remove(&t->handles, c->handle);
  c->handle = 0;
}

/* Encodes what was written; with all of it out, and the end wanted, the goodbye. False: the conn has ended instead. */
static bool prepare_wire(struct tcp *t, struct tcp_conn *c) {
  if (!c->bottom || (c->state != TCP_OPEN && c->state != TCP_FLUSHING)) return true;
  roam_rc rc = encode(t, c);
  if (rc != 0) {
    end_conn(t, c, rc, true, ROAM_CLOSE_RESET);
    return false;
  }
  if (c->tx.acked != c->tx.sent) settle(t, c); /* encoded bytes are copies */
  if (c->state == TCP_FLUSHING && !roam_sendq_has_unsent(&c->tx)) say_goodbye(c);
  return true;
}

static bool has_unsent(const struct tcp_conn *c) {
  return roam_sendq_has_unsent(&c->tx) || roam_sendq_has_unsent(&c->wire);
}

static bool has_lent(const struct tcp_conn *c) { return c->tx.acked != c->tx.sent || c->wire.acked != c->wire.sent; }

/* True when the conn has nothing more to say now. */
static bool drain_conn(struct tcp *t, struct tcp_conn *c, roam_wire out[], size_t n, size_t *used) {
  settle(t, c);
  if (c->to_open && *used < n) {
    out[(*used)++] =
        (roam_wire){.kind = ROAM_WIRE_OPEN, .handle = c->handle, .local = c->local, .remote = c->remote, .name = c->name};
    c->to_open = false;
  }
  if (prepare_wire(t, c) && c->state != TCP_OPENING && c->state != TCP_CLOSED) {
    drain_credit(t, c, out, n, used);
    drain_data(c, out, n, used);
  }
  if (*used == n) return false;
  if (c->state == TCP_FLUSHING && !has_unsent(c)) {
    if (has_lent(c)) return false; /* the pieces just drained live on until the next call; close then */
    end_conn(t, c, c->ending_rc, true, ROAM_CLOSE_FLUSH);
  }
  if (c->to_close) drain_close(t, c, out, used);
  return !has_lent(c);
}

static size_t tcp_drain(roam_transport *base, roam_time now, roam_wire out[], size_t n) {
  struct tcp *t = of_transport(base);
  size_t used = 0;
  enter(t, now);
  drain_listeners(t, out, n, &used);
  ROAM_LIST_EACH(&t->active, node) {
    struct tcp_conn *c = ROAM_CONTAINER(node, struct tcp_conn, active);
    if (!drain_conn(t, c, out, n, &used)) {
      if (used == n) break;
      continue;
    }
    roam_list_remove(&c->active);
    if (c->released && c->state == TCP_CLOSED && !c->to_close) free_conn(t, c);
  }
  return used;
}

/* ---- poll ------------------------------------------------------------------------------------------------------------ */

static size_t poll_listeners(struct tcp *t, roam_te ev[], size_t n) {
  size_t used = 0;
  ROAM_LIST_EACH(&t->listeners, node) {
    struct tcp_listener *l = ROAM_CONTAINER(node, struct tcp_listener, node);
    if (l->event == ROAM_TE_NONE || used == n) continue;
    ev[used++] = (roam_te){
        .kind = l->event, .listener = l->handle, .local = l->local, .rc = l->rc, .text = l->failed ? l->text : NULL};
    l->event = ROAM_TE_NONE;
    if (l->failed) l->closing = true; /* freed by the next drain: the text lives until then */
  }
  return used;
}

static roam_te_kind kind_of(uint8_t event) {
  switch (event) {
    case HAS_ACCEPTED: return ROAM_TE_ACCEPTED;
    case HAS_OPENED: return ROAM_TE_OPENED;
    case HAS_READABLE: return ROAM_TE_READABLE;
    case HAS_WRITABLE: return ROAM_TE_WRITABLE;
    case HAS_FIN: return ROAM_TE_LANE_FIN;
    case HAS_LEARNED: return ROAM_TE_LEARNED;
    default: return ROAM_TE_CLOSED;
  }
}

static void fill_event(const struct tcp_conn *c, roam_te_kind kind, roam_te *ev) {
  *ev = (roam_te){.kind = kind, .conn = (roam_conn *)(uintptr_t)&c->conn, .local = c->local, .remote = c->remote};
  if (kind != ROAM_TE_CLOSED) return;
  ev->rc = c->rc;
  ev->code = c->code;
  ev->by_peer = c->by_peer;
  ev->text = c->text[0] ? c->text : NULL;
}

static size_t tcp_poll(roam_transport *base, roam_te ev[], size_t n) {
  struct tcp *t = of_transport(base);
  size_t used = poll_listeners(t, ev, n);
  while (used < n && !roam_list_empty(&t->eventful)) {
    struct tcp_conn *c = ROAM_CONTAINER(t->eventful.next, struct tcp_conn, eventful);
    for (uint8_t bit = HAS_ACCEPTED; bit <= HAS_CLOSED && used < n; bit = (uint8_t)(bit << 1)) {
      if (!(c->events & bit)) continue;
      c->events &= (uint8_t)~bit;
      fill_event(c, kind_of(bit), &ev[used++]);
    }
    if (!c->events) roam_list_remove(&c->eventful);
  }
  return used;
}

static roam_time tcp_deadline(const roam_transport *base) {
  const struct tcp *t = of_transport(base);
  if (!roam_list_empty(&t->active)) return t->now;
  return roam_heap_deadline(&t->timers);
}

/* ---- commands -------------------------------------------------------------------------------------------------------- */

static roam_rc add_listener(struct tcp *t, const roam_addr *local, const char *name, uint32_t *listener) {
  if (is_secure(t) && !t->tls.trust.credentials->has_certificate) return ROAM_E_CERTIFICATE;
  if (strlen(name) >= NAME_BYTES_MAX) return ROAM_E_ARGUMENT;
  size_t count = 0;
  ROAM_LIST_EACH(&t->listeners, node) count++;
  if (count >= LISTENERS_MAX) return ROAM_E_LIMIT;
  struct tcp_listener *l = calloc(1, sizeof *l);
  if (!l) return ROAM_E_MEMORY;
  l->kind = TCP_LISTENER;
  if (local) l->local = *local;
  snprintf(l->name, sizeof l->name, "%s", name);
  if (!take_handle(t, &l->kind, &l->handle)) {
    free(l);
    return ROAM_E_MEMORY;
  }
  roam_list_push_back(&t->listeners, &l->node);
  *listener = l->handle;
  return 0;
}

static roam_rc tcp_listen(roam_transport *base, roam_time now, const roam_addr *local, uint32_t *listener) {
  enter(of_transport(base), now);
  return add_listener(of_transport(base), local, "", listener);
}

static roam_rc tcp_listen_name(roam_transport *base, roam_time now, const char *name, const roam_addr *local,
                               uint32_t *listener) {
  enter(of_transport(base), now);
  return *name ? add_listener(of_transport(base), local, name, listener) : ROAM_E_ARGUMENT;
}

static void tcp_unlisten(roam_transport *base, roam_time now, uint32_t listener) {
  struct tcp *t = of_transport(base);
  enter(t, now);
  struct tcp_listener *l = listener_by_handle(t, listener);
  if (l) l->closing = true;
}

static roam_rc tcp_dial(roam_transport *base, roam_time now, const roam_addr *remote, const roam_addr *local,
                        const char *interface, const char *server_name, void *user, roam_conn **out) {
  struct tcp *t = of_transport(base);
  roam_addr any = {0};
  enter(t, now);
  bool path = interface && interface[0] == '/';
  if (path != (remote->family == 0) || (!path && remote->port == 0)) return ROAM_E_ARGUMENT;
  if (interface && strlen(interface) >= (path ? NAME_BYTES_MAX : INTERFACE_MAX)) return ROAM_E_ARGUMENT;
  if (t->conns >= t->o.conns_max) return ROAM_E_LIMIT;
  struct tcp_conn *c = make_conn(t, local ? local : &any, remote);
  if (!c) return ROAM_E_MEMORY;
  if (interface) c->name = strdup(interface);
  if ((interface && !c->name) || !make_filters(t, c, false, server_name) || !take_handle(t, &c->kind, &c->handle) ||
      roam_heap_set(&t->timers, &c->timer, t->now + t->o.connect_timeout_ns) != 0) {
    free_conn(t, c);
    return ROAM_E_MEMORY;
  }
  c->conn.user = user;
  c->to_open = true;
  activate(t, c);
  *out = &c->conn;
  return 0;
}

static roam_rc tcp_resume(roam_conn *conn, const roam_resume *r) {
  struct tcp_conn *c = of_conn(conn);
  if (!c->bottom || !c->bottom->ops->resume) return ROAM_E_UNSUPPORTED;
  if (c->accepted || c->state != TCP_OPENING) return ROAM_E_STATE;
  if (r->session.len > 0) (void)c->bottom->ops->resume(c->bottom, r->session); /* a damaged one is none */
  return 0;
}

static roam_resume tcp_learned(const roam_conn *conn) {
  const struct roam_layer *f = of_conn(conn)->bottom;
  return f && f->ops->learned ? f->ops->learned(f) : (roam_resume){0};
}

static roam_conn_info tcp_info(const roam_conn *conn) {
  const struct tcp_conn *c = of_conn(conn);
  const struct roam_layer *f = c->bottom;
  return (roam_conn_info){.local = c->local,
                          .remote = c->remote,
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
  return lane == 0 ? roam_buf_view(&of_conn(conn)->rx) : (roam_bytes){0};
}

static void tcp_consume(roam_conn *conn, roam_time now, uint32_t lane, size_t n) {
  struct tcp_conn *c = of_conn(conn);
  struct tcp *t = of_transport(conn->transport);
  enter(t, now);
  if (lane != 0) return;
  if (n > roam_buf_len(&c->rx)) n = roam_buf_len(&c->rx);
  roam_buf_take(&c->rx, n);
  if (c->state == TCP_OPEN) activate(t, c);
}

static size_t tcp_room(const roam_conn *conn, uint32_t lane) {
  struct tcp_conn *c = of_conn(conn);
  const struct tcp *t = of_transport(conn->transport);
  if (lane != 0 || c->state != TCP_OPEN) return 0;
  uint64_t held = c->tx.written - c->tx.sent;
  if (held >= t->o.lane_tx_bytes) c->starved = true;
  return held >= t->o.lane_tx_bytes ? 0 : t->o.lane_tx_bytes - (size_t)held;
}

static roam_rc tcp_write(roam_conn *conn, roam_time now, uint32_t lane, const roam_slice slices[], size_t n) {
  struct tcp_conn *c = of_conn(conn);
  struct tcp *t = of_transport(conn->transport);
  enter(t, now);
  if (lane != 0) return ROAM_E_NOT_FOUND;
  if (c->state == TCP_CLOSED || c->state == TCP_FLUSHING) return ROAM_E_CLOSED;
  if (c->state != TCP_OPEN) return ROAM_E_STATE;
  size_t len = 0;
  for (size_t i = 0; i < n; i++) len += slices[i].len;
  if (len > tcp_room(conn, lane)) {
    c->starved = true;
    return ROAM_E_BLOCKED;
  }
  roam_rc rc = roam_sendq_put(&c->tx, slices, n);
  if (rc == 0) activate(t, c);
  return rc;
}

static void tcp_close(roam_conn *conn, roam_time now, uint64_t code, bool flush) {
  struct tcp_conn *c = of_conn(conn);
  struct tcp *t = of_transport(conn->transport);
  enter(t, now);
  if (c->state == TCP_CLOSED || c->state == TCP_FLUSHING) return;
  c->code = code;
  /* An orderly end when nothing is owed to the peer: a reset would also destroy what it has not read yet. */
  bool clean = c->state == TCP_OPEN && !has_unsent(c) && roam_buf_len(&c->rx) == 0;
  if (c->state == TCP_OPEN && (flush || (clean && c->bottom))) start_flushing(t, c, 0);
  else end_conn(t, c, 0, true, clean ? ROAM_CLOSE_FLUSH : ROAM_CLOSE_RESET);
}

static void tcp_lane_fin(roam_conn *conn, roam_time now, uint32_t lane) {
  if (lane == 0) tcp_close(conn, now, 0, true);
}

static void tcp_lane_reset(roam_conn *conn, roam_time now, uint32_t lane, uint64_t code) {
  struct tcp_conn *c = of_conn(conn);
  struct tcp *t = of_transport(conn->transport);
  enter(t, now);
  if (lane != 0 || c->state == TCP_CLOSED) return;
  c->code = code;
  end_conn(t, c, 0, true, ROAM_CLOSE_RESET);
}

static void tcp_release(roam_conn *conn) {
  struct tcp_conn *c = of_conn(conn);
  struct tcp *t = of_transport(conn->transport);
  c->released = true;
  c->events = 0;
  roam_list_remove(&c->eventful);
  end_conn(t, c, 0, true, ROAM_CLOSE_RESET); /* harmless when closed already, as it should be */
  if (c->to_close) activate(t, c);
  else free_conn(t, c);
}

static roam_rc tcp_migrate(roam_conn *conn, roam_time now, const roam_addr *local, const char *interface,
                           roam_migrate_how how) {
  (void)conn, (void)now, (void)local, (void)interface, (void)how;
  return ROAM_E_UNSUPPORTED;
}

static void tcp_ping(roam_conn *conn, roam_time now) {
  (void)conn;
  enter(of_transport(conn->transport), now);
}

static roam_rc tcp_certify(roam_transport *base, const roam_tls_config *config, const char **why) {
  struct tcp *t = of_transport(base);
  return is_secure(t) ? roam_trust_replace(&t->tls.trust, config, why) : ROAM_E_UNSUPPORTED;
}

/* What the edge has taken and not written yet counts, too: it lies in its buffers. */
static roam_conn_cost tcp_memory(const roam_conn *conn) {
  const struct tcp_conn *c = of_conn(conn);
  size_t base = sizeof *c + (is_secure(of_transport(conn->transport)) ? TLS_COST : 0);
  size_t bytes = base + c->rx.cap + (size_t)roam_sendq_held(&c->tx) + (size_t)roam_sendq_held(&c->wire);
  if (c->tx_credit < ROAM_CREDIT_START) bytes += ROAM_CREDIT_START - (size_t)c->tx_credit;
  return (roam_conn_cost){bytes, base};
}

static const char *tcp_subject(const roam_conn *conn) {
  for (const struct roam_layer *f = of_conn(conn)->bottom; f; f = f->above)
    if (f->ops->subject) return f->ops->subject(f);
  return NULL;
}

static uint32_t tcp_handshakes(const roam_transport *base) { return of_transport(base)->greeting; }

static bool tcp_owns(const roam_transport *base, const roam_wire *unit) {
  const struct tcp *t = of_transport(base);
  return roam_map64_get(&t->handles, unit->kind == ROAM_WIRE_ACCEPT ? unit->parent : unit->handle) != NULL;
}

static void tcp_free(roam_transport *base) {
  struct tcp *t = of_transport(base);
  ROAM_LIST_EACH(&t->all, node) free_conn(t, ROAM_CONTAINER(node, struct tcp_conn, all));
  ROAM_LIST_EACH(&t->listeners, node) free(ROAM_CONTAINER(node, struct tcp_listener, node));
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

static void init_tables(struct tcp *t) {
  roam_map64_init(&t->handles, (size_t)t->o.conns_max * 2 + LISTENERS_MAX, NULL);
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
  struct tcp *t = calloc(1, sizeof *t);
  *rc = t ? 0 : ROAM_E_MEMORY;
  if (!t) return NULL;
  t->kind = kind;
  t->transport.ops = &ops_of[kind - ROAM_TRANSPORT_TCP];
  t->o = *o;
  t->now = o->now;
  t->rx_max = o->lane_rx_bytes > ROAM_CREDIT_START ? o->lane_rx_bytes : ROAM_CREDIT_START;
  init_tables(t);
  if (is_secure(t)) *rc = roam_tls_endpoint_init(&t->tls, o, is_web(t) ? "http/1.1" : "mqtt", why);
  if (*rc == 0 && is_web(t)) *rc = roam_ws_endpoint_init(&t->ws, o, why);
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
