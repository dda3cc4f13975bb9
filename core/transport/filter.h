/* filter.h - what may stand between the bytes of a TCP connection and its lane: TLS, WebSocket, or the second on top of the
 * first. tcp*.c own connections, sockets' handles, credit and time; a filter turns bytes into other bytes, both ways, at
 * once and completely, and keeps only what belongs to an unfinished record or frame.
 *
 * Life of a filter: start (all below it is open) -> it calls roam_layer_opened, perhaps much later -> in and out ->
 * `ended` (the peer said goodbye in this filter's own words) or an error. An error's sentence goes to text, what the peer
 * should still hear has been sent down before it is returned, and after it only free may be called. */
#ifndef ROAM_TRANSPORT_FILTER_H
#define ROAM_TRANSPORT_FILTER_H

#include "transport/transport.h"
#include "transport/trust.h"

struct roam_layer;

typedef struct roam_layer_ops {
  const char *name; /* for sentences: "TLS" */
  roam_rc (*start)(struct roam_layer *f);
  roam_rc (*in)(struct roam_layer *f, roam_bytes bytes);
  roam_rc (*out)(struct roam_layer *f, roam_bytes bytes); /* once it is open */
  void (*end)(struct roam_layer *f, uint64_t code);       /* says goodbye; may be called again */
  const char *(*subject)(const struct roam_layer *f);     /* or NULL */
  void (*free)(struct roam_layer *f);
  /* or NULL: a client's tickets */
  bool (*resume)(struct roam_layer *f, roam_bytes ticket); /* before start; false: it is damaged */
  roam_resume (*learned)(const struct roam_layer *f);
  bool (*resumed)(const struct roam_layer *f);
} roam_layer_ops;

/* First member of each filter's own struct. */
struct roam_layer {
  const roam_layer_ops *ops;
  struct roam_layer *above, *below; /* NULL: the lane; the wire */
  void *conn;                       /* for the two */
  roam_rc (*to_lane)(void *conn, roam_bytes bytes);
  roam_rc (*to_wire)(void *conn, roam_bytes bytes);
  const roam_time *now;
  char *text; /* ROAM_CONN_TEXT_MAX */
  bool server, open, ended;
  bool news; /* learned has something new; whoever looks clears it */
};

static inline roam_rc roam_layer_up(struct roam_layer *f, roam_bytes bytes) {
  return f->above ? f->above->ops->in(f->above, bytes) : f->to_lane(f->conn, bytes);
}

static inline roam_rc roam_layer_down(struct roam_layer *f, roam_bytes bytes) {
  return f->below ? f->below->ops->out(f->below, bytes) : f->to_wire(f->conn, bytes);
}

static inline roam_rc roam_layer_opened(struct roam_layer *f) {
  f->open = true;
  return f->above ? f->above->ops->start(f->above) : 0;
}

/* ---- tls.c ---- */

/* What all connections of an endpoint share. */
struct roam_tls_endpoint {
  struct roam_trust trust;
  gnutls_priority_t priority;
  const char *alpn;          /* static; offered and chosen, never demanded */
  gnutls_datum_t ticket_key; /* server; empty: no tickets */
};

roam_rc roam_tls_endpoint_init(struct roam_tls_endpoint *e, const roam_transport_options *o, const char *alpn,
                               const char **why);
void roam_tls_endpoint_reset(struct roam_tls_endpoint *e);
/* name: a client: of the server, for SNI and the check. NULL: no memory. */
struct roam_layer *roam_tls_filter_new(struct roam_tls_endpoint *e, bool server, const char *name, const roam_time *now);

/* ---- ws.c ---- */

struct roam_ws_endpoint {
  char *path, *origins; /* origins NULL: see roam_transport_options */
  roam_random *random;
};

roam_rc roam_ws_endpoint_init(struct roam_ws_endpoint *e, const roam_transport_options *o, const char **why);
void roam_ws_endpoint_reset(struct roam_ws_endpoint *e);
/* host: a client: "name" or "name:port", for the request. */
struct roam_layer *roam_ws_filter_new(struct roam_ws_endpoint *e, bool server, const char *host);

#endif
