/* tcp.h - what the files of the TCP transport know of each other: its endpoint, its listeners, its connections. Private to
 * them.
 *
 * Theory of operation. An endpoint (tcp.c) owns handles, which stand for a listener or a connection, and the lists of
 * connections: all, those that may have something to send (active), those that have something to tell (eventful). A
 * connection (tcp_conn.c) has one lane, number 0, which is the connection: ending or resetting the lane ends the
 * connection. Bytes in are bounded by the credit given to the edge, bytes out by lane_tx_bytes until the edge has taken
 * them (tcp_write.c). Events are flags on the conn and become roam_te in poll, so their number is bounded by the number of
 * conns.
 *
 * With filters (tcp_filters.c; filter.h says what they are), what arrives goes up through them at once: nothing they make
 * of it is longer than it was, but for the end of a record begun earlier (FILTER_SLACK). What is written waits as it is in
 * tx, which is what `room` counts, and is encoded into wire only when the edge takes bytes; what filters send on their own
 * (handshakes, pongs) is bounded (WIRE_MAX in tcp_filters.c). */
#ifndef ROAM_TRANSPORT_TCP_H
#define ROAM_TRANSPORT_TCP_H

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "transport/filter.h"
#include "transport/sendq.h"
#include "transport/transport.h"

enum {
  ROAM_TCP_LISTENERS_MAX = 64,
  ROAM_TCP_INTERFACE_MAX = 32,
  ROAM_TCP_NAME_BYTES_MAX = 108,   /* of a Unix socket's path, as in sockaddr_un */
  ROAM_TCP_ENCODE_AT_ONCE = 16384, /* one TLS record, one frame */
  ROAM_TCP_FILTER_SLACK = 65536,
  ROAM_TCP_UNKEPT_MAX = 64 /* an edge feeds no more units at once */
};

/* What a connection has to tell. */
enum {
  ROAM_TCP_HAS_ACCEPTED = 1,
  ROAM_TCP_HAS_OPENED = 2,
  ROAM_TCP_HAS_READABLE = 4,
  ROAM_TCP_HAS_WRITABLE = 8,
  ROAM_TCP_HAS_FIN = 16,
  ROAM_TCP_HAS_LEARNED = 32,
  ROAM_TCP_HAS_CLOSED = 64
};

enum roam_tcp_state {
  ROAM_TCP_OPENING,
  ROAM_TCP_GREETING, /* connected; the filters' handshakes are under way */
  ROAM_TCP_OPEN,
  ROAM_TCP_FLUSHING,
  ROAM_TCP_CLOSED
};

/* Listeners and connections are found by handle in one table; the first member tells which it is. */
enum roam_tcp_kind {
  ROAM_TCP_IS_LISTENER,
  ROAM_TCP_IS_CONN
};

struct roam_tcp_listener {
  enum roam_tcp_kind kind;
  struct roam_list node; /* endpoint.listeners */
  uint32_t handle;
  roam_addr local;
  roam_te_kind event; /* LISTENING, LISTEN_FAILED or NONE: to be polled */
  roam_rc rc;
  char text[ROAM_CONN_TEXT_MAX];
  bool asked;                         /* LISTEN has been drained */
  bool closing;                       /* CLOSE is to be drained, then it is freed */
  bool failed;                        /* freed once polled */
  char name[ROAM_TCP_NAME_BYTES_MAX]; /* or empty: local counts */
};

struct roam_tcp_conn {
  roam_conn conn; /* first */
  enum roam_tcp_kind kind;
  struct roam_list all, active, eventful; /* nodes in the endpoint's lists */
  struct roam_heap_node timer;            /* connect or flush timeout */
  enum roam_tcp_state state;
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

struct roam_tcp {
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
  uint32_t greeting;                    /* accepted conns in ROAM_TCP_GREETING */
  uint32_t unkept[ROAM_TCP_UNKEPT_MAX]; /* handles of accepted connections for which there was no memory: to be closed */
  size_t unkept_len;
  struct roam_tls_endpoint tls;
  struct roam_ws_endpoint ws;
  uint8_t scratch[ROAM_TCP_ENCODE_AT_ONCE];
};

static inline bool roam_tcp_is_secure(const struct roam_tcp *t) {
  return t->kind == ROAM_TRANSPORT_TLS || t->kind == ROAM_TRANSPORT_WSS;
}

static inline bool roam_tcp_is_web(const struct roam_tcp *t) {
  return t->kind == ROAM_TRANSPORT_WS || t->kind == ROAM_TRANSPORT_WSS;
}

static inline struct roam_tcp *roam_tcp_of(const roam_transport *t) { return (struct roam_tcp *)(uintptr_t)t; }

static inline struct roam_tcp_conn *roam_tcp_conn_of(const roam_conn *c) { return (struct roam_tcp_conn *)(uintptr_t)c; }

static inline void roam_tcp_activate(struct roam_tcp *t, struct roam_tcp_conn *c) {
  if (roam_list_empty(&c->active)) roam_list_push_back(&t->active, &c->active);
}

/* tcp.c: a handle that stands for owner, whose first tells its kind. */
bool roam_tcp_handle_take(struct roam_tcp *t, void *owner, uint32_t *handle);

/* tcp_listener.c */
struct roam_tcp_listener *roam_tcp_listener_find(const struct roam_tcp *t, uint32_t handle);
roam_rc roam_tcp_listener_add(struct roam_tcp *t, const roam_addr *local, const char *name, uint32_t *listener);
void roam_tcp_listener_bound(struct roam_tcp_listener *l, const roam_wire *u);
void roam_tcp_listener_failed(struct roam_tcp *t, struct roam_tcp_listener *l, int error);
void roam_tcp_listeners_drain(struct roam_tcp *t, roam_wire out[], size_t n, size_t *used);
size_t roam_tcp_listeners_poll(struct roam_tcp *t, roam_te ev[], size_t n);
void roam_tcp_listeners_free(struct roam_tcp *t);

/* tcp_conn.c */
struct roam_tcp_conn *roam_tcp_conn_new(struct roam_tcp *t, const roam_addr *local, const roam_addr *remote);
void roam_tcp_conn_free(struct roam_tcp *t, struct roam_tcp_conn *c);
void roam_tcp_conn_announce(struct roam_tcp *t, struct roam_tcp_conn *c, uint8_t event);
/* The one way into ROAM_TCP_CLOSED. to_close: the edge must still be told. */
void roam_tcp_conn_end(struct roam_tcp *t, struct roam_tcp_conn *c, roam_rc rc, bool to_close, uint8_t how);
/* Into ROAM_TCP_FLUSHING: what is on its way out goes out, then the end is told. */
void roam_tcp_conn_flush(struct roam_tcp *t, struct roam_tcp_conn *c, roam_rc rc);
/* Connected: the handshakes of the filters begin; without any it is open. */
void roam_tcp_conn_greet(struct roam_tcp *t, struct roam_tcp_conn *c);
void roam_tcp_conn_accept(struct roam_tcp *t, const roam_wire *u);
void roam_tcp_unkept_drain(struct roam_tcp *t, roam_wire out[], size_t n, size_t *used);
void roam_tcp_conn_take(struct roam_tcp *t, struct roam_tcp_conn *c, const roam_wire *u); /* bytes */
void roam_tcp_conn_closed(struct roam_tcp *t, struct roam_tcp_conn *c, int error);        /* by the edge */
void roam_tcp_conn_expire(struct roam_tcp *t, struct roam_tcp_conn *c);                   /* its timer */

/* tcp_write.c: what goes out of a connection. True when it has nothing more to say now. */
bool roam_tcp_conn_drain(struct roam_tcp *t, struct roam_tcp_conn *c, roam_wire out[], size_t n, size_t *used);
bool roam_tcp_conn_has_unsent(const struct roam_tcp_conn *c);

/* tcp_filters.c. server_name: a client's, or NULL. False: no memory. */
bool roam_tcp_filters_make(struct roam_tcp *t, struct roam_tcp_conn *c, bool server, const char *server_name);
void roam_tcp_filters_free(struct roam_tcp_conn *c);
void roam_tcp_filters_end(struct roam_tcp_conn *c);         /* says goodbye, once */
bool roam_tcp_filters_ended(const struct roam_tcp_conn *c); /* the peer has */

#endif
