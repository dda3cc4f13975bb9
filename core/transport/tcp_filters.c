/* tcp_filters.c - the filters of one connection (filter.h), from the wire up: none, TLS, WebSocket, WebSocket over TLS.
 * What they send unasked is bounded here. Refuses to decide what becomes of a connection whose filter gave up. */
#include <stdio.h>
#include <string.h>

#include "transport/tcp.h"

#define WIRE_MAX                                                                                                           \
  262144u /* encoded and not yet drained, with what filters say unasked; beyond it the peer does not read                  \
           */

static roam_rc to_lane(void *context, roam_bytes bytes) {
  struct roam_tcp_conn *c = context;
  roam_rc rc = roam_buf_put(&c->rx, bytes.base, bytes.len);
  if (rc != 0) snprintf(c->text, sizeof c->text, "no room for arrived bytes: %s", roam_strerror(rc));
  return rc;
}

static roam_rc to_wire(void *context, roam_bytes bytes) {
  struct roam_tcp_conn *c = context;
  roam_slice slice = {.base = bytes.base, .len = bytes.len};
  if (roam_sendq_held(&c->wire) + bytes.len > WIRE_MAX) {
    snprintf(c->text, sizeof c->text, "the peer asks for answers and does not read them");
    return ROAM_E_LIMIT;
  }
  roam_tcp_activate(roam_tcp_of(c->conn.transport), c);
  return roam_sendq_put(&c->wire, &slice, 1);
}

void roam_tcp_filters_free(struct roam_tcp_conn *c) {
  for (struct roam_layer *f = c->bottom, *above; f; f = above) {
    above = f->above;
    f->ops->free(f);
  }
  c->bottom = c->top = NULL;
}

static bool put_on_top(struct roam_tcp *t, struct roam_tcp_conn *c, struct roam_layer *f) {
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
bool roam_tcp_filters_make(struct roam_tcp *t, struct roam_tcp_conn *c, bool server, const char *server_name) {
  char ip[ROAM_ADDR_TEXT_MAX], host[320];
  roam_addr bare = c->remote;
  bare.port = 0;
  const char *name = server_name && *server_name ? server_name : roam_addr_format(&bare, ip);
  if (roam_tcp_is_secure(t) && !put_on_top(t, c, roam_tls_filter_new(&t->tls, server, server ? NULL : name, &t->now)))
    return false;
  if (!roam_tcp_is_web(t)) return true;
  bool v6 = strchr(name, ':') != NULL, usual = c->remote.port == (roam_tcp_is_secure(t) ? 443 : 80);
  snprintf(host, sizeof host, usual ? "%s%.250s%s" : "%s%.250s%s:%u", v6 ? "[" : "", name, v6 ? "]" : "", c->remote.port);
  return put_on_top(t, c, roam_ws_filter_new(&t->ws, server, host));
}

void roam_tcp_filters_end(struct roam_tcp_conn *c) {
  if (c->said_goodbye) return;
  c->said_goodbye = true;
  for (struct roam_layer *f = c->top; f; f = f->below)
    if (f->open) f->ops->end(f, c->code);
}

bool roam_tcp_filters_ended(const struct roam_tcp_conn *c) {
  for (const struct roam_layer *f = c->bottom; f; f = f->above)
    if (f->ended) return true;
  return false;
}
