/* tcp_conn.c - the life of a byte connection: opening, greeting (the filters' handshakes), open, flushing, closed; and what
 * arrives for it. Whatever ends it goes through one door. Refuses to send: tcp_write.c does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "transport/error.h"
#include "transport/tcp.h"

#define FLUSH_NS (3 * ROAM_S)

void roam_tcp_conn_announce(struct roam_tcp *t, struct roam_tcp_conn *c, uint8_t event) {
  if (c->released) return;
  c->events |= event;
  if (roam_list_empty(&c->eventful)) roam_list_push_back(&t->eventful, &c->eventful);
}

struct roam_tcp_conn *roam_tcp_conn_new(struct roam_tcp *t, const roam_addr *local, const roam_addr *remote) {
  struct roam_tcp_conn *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->conn.transport = &t->transport;
  c->conn.number = ++t->number_next;
  c->kind = ROAM_TCP_IS_CONN;
  c->local = *local;
  c->remote = *remote;
  c->tx_credit = c->rx_credit = ROAM_CREDIT_START;
  roam_sendq_init(&c->tx);
  roam_sendq_init(&c->wire);
  roam_buf_init(&c->rx, t->rx_max + (t->kind == ROAM_TRANSPORT_TCP ? 0 : ROAM_TCP_FILTER_SLACK));
  roam_list_init(&c->active);
  roam_list_init(&c->eventful);
  roam_list_push_back(&t->all, &c->all);
  t->conns++;
  return c;
}

static void leave_greeting(struct roam_tcp *t, const struct roam_tcp_conn *c) {
  if (c->state == ROAM_TCP_GREETING && c->accepted) t->greeting--;
}

void roam_tcp_conn_free(struct roam_tcp *t, struct roam_tcp_conn *c) {
  leave_greeting(t, c);
  roam_tcp_filters_free(c);
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

/* The one way into ROAM_TCP_CLOSED. to_close: the edge must still be told. */
void roam_tcp_conn_end(struct roam_tcp *t, struct roam_tcp_conn *c, roam_rc rc, bool to_close, uint8_t how) {
  if (c->state == ROAM_TCP_CLOSED) return;
  leave_greeting(t, c);
  c->state = ROAM_TCP_CLOSED;
  c->rc = rc;
  if (c->to_open) to_close = false; /* the edge has never heard of it */
  c->to_open = false;
  roam_heap_remove(&t->timers, &c->timer);
  roam_sendq_reset(&c->tx);
  roam_sendq_reset(&c->wire);
  if (to_close) {
    c->to_close = true;
    c->close_how = how;
    roam_tcp_activate(t, c);
  } else {
    roam_map64_remove(&t->handles, c->handle);
    c->handle = 0;
  }
  c->events &= (uint8_t)~ROAM_TCP_HAS_WRITABLE;
  roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_CLOSED);
}

/* Into ROAM_TCP_FLUSHING: what is on its way out goes out, then the end is told. */
void roam_tcp_conn_flush(struct roam_tcp *t, struct roam_tcp_conn *c, roam_rc rc) {
  leave_greeting(t, c);
  c->state = ROAM_TCP_FLUSHING;
  c->ending_rc = rc;
  roam_tcp_activate(t, c);
  if (roam_heap_set(&t->timers, &c->timer, t->now + FLUSH_NS) != 0) roam_tcp_conn_end(t, c, rc, true, ROAM_CLOSE_RESET);
}

/* A filter gave up, with a sentence; what it had to say to the peer stands in wire. */
static void fail_filter(struct roam_tcp *t, struct roam_tcp_conn *c, roam_rc rc) {
  c->said_goodbye = true;
  roam_sendq_reset(&c->tx);
  if (rc == ROAM_E_LIMIT || rc == ROAM_E_MEMORY) roam_tcp_conn_end(t, c, rc, true, ROAM_CLOSE_RESET);
  else roam_tcp_conn_flush(t, c, rc);
}

static void start_open(struct roam_tcp *t, struct roam_tcp_conn *c) {
  leave_greeting(t, c);
  c->state = ROAM_TCP_OPEN;
  roam_heap_remove(&t->timers, &c->timer);
  roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_OPENED);
  roam_tcp_activate(t, c); /* a first grant above the start credit */
}

/* Connected. Plain connections are open with that; for others the time for the handshake began when they were made. */
void roam_tcp_conn_greet(struct roam_tcp *t, struct roam_tcp_conn *c) {
  if (!c->bottom) {
    start_open(t, c);
    return;
  }
  c->state = ROAM_TCP_GREETING;
  if (c->accepted) {
    t->greeting++;
    if (roam_heap_set(&t->timers, &c->timer, t->now + t->o.connect_timeout_ns) != 0) {
      roam_tcp_conn_end(t, c, ROAM_E_MEMORY, true, ROAM_CLOSE_RESET);
      return;
    }
  }
  roam_tcp_activate(t, c);
  roam_rc rc = c->bottom->ops->start(c->bottom);
  if (rc != 0) fail_filter(t, c, rc);
}

/* ---- what arrives ---- */

/* Without memory for a connection the edge must still close it, or its descriptor stays open as long as the peer likes. */
static void do_not_keep(struct roam_tcp *t, uint32_t handle) {
  t->transport.refused++;
  if (t->unkept_len < ROAM_TCP_UNKEPT_MAX) t->unkept[t->unkept_len++] = handle;
}

void roam_tcp_unkept_drain(struct roam_tcp *t, roam_wire out[], size_t n, size_t *used) {
  while (t->unkept_len > 0 && *used < n)
    out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = t->unkept[--t->unkept_len], .how = ROAM_CLOSE_RESET};
}

static struct roam_tcp_conn *make_accepted(struct roam_tcp *t, const roam_wire *u) {
  struct roam_tcp_conn *c = roam_tcp_conn_new(t, &u->local, &u->remote);
  if (!c) return NULL;
  if (roam_map64_put(&t->handles, u->handle, &c->kind) != 0) {
    roam_tcp_conn_free(t, c);
    return NULL;
  }
  c->handle = u->handle;
  c->accepted = true;
  return c;
}

void roam_tcp_conn_accept(struct roam_tcp *t, const roam_wire *u) {
  struct roam_tcp_listener *l = roam_tcp_listener_find(t, u->parent);
  if (!l || roam_map64_get(&t->handles, u->handle)) return;
  struct roam_tcp_conn *c = make_accepted(t, u);
  if (!c) {
    do_not_keep(t, u->handle);
    return;
  }
  const char *bound = t->conns > t->o.conns_max                  ? "conns_max"
                      : t->greeting >= t->o.handshakes_max       ? "handshakes_max"
                      : !roam_tcp_filters_make(t, c, true, NULL) ? "memory"
                                                                 : NULL;
  if (bound || l->closing) {
    t->transport.refused++;
    roam_trace(&t->o.log, t->now, REFUSED, .transport = roam_transport_name(t->kind),
               .bound = bound ? bound : "the end of the listener");
    c->released = true;
    roam_tcp_conn_end(t, c, ROAM_E_LIMIT, true, ROAM_CLOSE_RESET);
    return;
  }
  roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_ACCEPTED);
  roam_tcp_conn_greet(t, c);
}

/* The peer said goodbye in a filter's words: so do we. */
static void end_by_peer(struct roam_tcp *t, struct roam_tcp_conn *c) {
  roam_rc rc = c->state == ROAM_TCP_GREETING ? ROAM_E_PEER_CLOSED : 0;
  c->by_peer = true;
  if (c->state == ROAM_TCP_OPEN) roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_FIN);
  roam_sendq_reset(&c->tx);
  roam_tcp_filters_end(c);
  roam_tcp_conn_flush(t, c, rc);
}

static void feed_filters(struct roam_tcp *t, struct roam_tcp_conn *c, const roam_wire *u) {
  size_t before = roam_buf_len(&c->rx);
  roam_tcp_activate(t, c); /* credit, and perhaps an answer */
  roam_rc rc = c->bottom->ops->in(c->bottom, (roam_bytes){u->data, u->len});
  if (c->bottom->news) roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_LEARNED);
  c->bottom->news = false;
  if (c->state == ROAM_TCP_CLOSED) return;
  if (rc == 0 && c->state == ROAM_TCP_GREETING && c->top->open) start_open(t, c);
  if (c->state == ROAM_TCP_OPEN && roam_buf_len(&c->rx) > before) roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_READABLE);
  if (rc != 0) fail_filter(t, c, rc);
  else if (roam_tcp_filters_ended(c)) end_by_peer(t, c);
}

void roam_tcp_conn_take(struct roam_tcp *t, struct roam_tcp_conn *c, const roam_wire *u) {
  if (c->state == ROAM_TCP_CLOSED || c->state == ROAM_TCP_FLUSHING || u->len == 0) return;
  roam_rc rc = 0;
  if (u->len > c->rx_credit) rc = ROAM_E_INTERNAL;
  else if (!c->bottom) rc = roam_buf_put(&c->rx, u->data, u->len);
  if (rc != 0) {
    snprintf(c->text, sizeof c->text,
             rc == ROAM_E_MEMORY ? "out of memory for arrived bytes" : "the edge sent more than it may");
    roam_tcp_conn_end(t, c, rc, true, ROAM_CLOSE_RESET);
    return;
  }
  c->rx_credit -= u->len;
  c->bytes_in += u->len;
  if (c->bottom) {
    feed_filters(t, c, u);
    return;
  }
  if (c->rx_credit == 0) roam_tcp_activate(t, c); /* is there more to give? */
  roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_READABLE);
}

static roam_rc explain_errno(struct roam_tcp_conn *c, int error, const char *doing) {
  char at_path[ROAM_TCP_NAME_BYTES_MAX + 32];
  snprintf(at_path, sizeof at_path, "%s %s", doing, c->name ? c->name : "the peer");
  return roam_error_from_errno(error, c->remote.family == 0 ? at_path : doing, &c->remote, c->text);
}

void roam_tcp_conn_closed(struct roam_tcp *t, struct roam_tcp_conn *c, int error) {
  bool was_open = c->state == ROAM_TCP_OPEN;
  if (c->state == ROAM_TCP_CLOSED) {
    c->to_close = false; /* both ended it; the handle is free already */
    roam_map64_remove(&t->handles, c->handle);
    c->handle = 0;
    roam_tcp_activate(t, c);
    return;
  }
  bool greeting = c->state == ROAM_TCP_GREETING, flushing = c->state == ROAM_TCP_FLUSHING;
  c->by_peer = !flushing || c->by_peer;
  roam_rc rc = 0;
  if (flushing && (c->ending_rc != 0 || c->bottom)) rc = c->ending_rc; /* its cause is older than this */
  else if (error == 0 && greeting) {
    rc = ROAM_E_PEER_CLOSED;
    snprintf(c->text, sizeof c->text, "the peer closed the connection during the %s handshake",
             c->bottom->open ? c->top->ops->name : c->bottom->ops->name);
  } else if (error == 0 && c->state == ROAM_TCP_OPENING) rc = ROAM_E_PEER_CLOSED;
  else if (error != 0) rc = explain_errno(c, error, was_open || greeting ? "connection with" : "connecting to");
  if (greeting && error == ECONNRESET) {
    size_t used = strlen(c->text);
    snprintf(c->text + used, sizeof c->text - used, " during the %s handshake; is this a port for it?",
             c->bottom->open ? c->top->ops->name : c->bottom->ops->name);
  }
  if (was_open && error == 0) roam_tcp_conn_announce(t, c, ROAM_TCP_HAS_FIN);
  roam_tcp_conn_end(t, c, rc, false, 0);
}

void roam_tcp_conn_expire(struct roam_tcp *t, struct roam_tcp_conn *c) {
  if (c->state == ROAM_TCP_OPENING) {
    char where[ROAM_ADDR_TEXT_MAX];
    snprintf(c->text, sizeof c->text, "no answer over TCP from %s", roam_addr_format(&c->remote, where));
    roam_tcp_conn_end(t, c, ROAM_E_TIMEOUT, true, ROAM_CLOSE_RESET);
  } else if (c->state == ROAM_TCP_GREETING) {
    snprintf(c->text, sizeof c->text, "the %s handshake was not done in time",
             c->bottom->open ? c->top->ops->name : c->bottom->ops->name);
    roam_tcp_conn_end(t, c, ROAM_E_TIMEOUT, true, ROAM_CLOSE_RESET);
  } else {
    roam_tcp_conn_end(t, c, c->ending_rc, true, ROAM_CLOSE_FLUSH);
  }
}
