/* quic.h - what the files of the QUIC transport know of each other. Private to them.
 *
 * Theory of operation. The doors (quic_doors.c) are the only way in. An endpoint (quic_endpoint.c) owns sockets by handle,
 * a table from connection ids to connections, the list of connections that may have something to send (active), the list of
 * those that have something to tell (eventful) and a heap of deadlines. A connection (quic_conn.c) wraps one ngtcp2_conn:
 * datagrams go in through roam_quic_conn_read, packets come out through roam_quic_conn_write into the endpoint's arena, and
 * the library's callbacks only set flags and append bytes; what they ask for is done after the library has returned
 * (settle). Lanes (quic_lane.c) hold the bytes of streams both ways. Paths (quic_path.c) are a client's sockets and its
 * moves between them.
 *
 * Events are not queued: they are flags on connections and lanes, turned into roam_te by poll in a fixed order. So their
 * number is bounded by what exists, and many small arrivals cost one event.
 *
 * When a connection ends, its ngtcp2_conn goes at once; what must remain for three PTO (its ids, and the closing packet to
 * be said again to a peer that still sends) moves into a `closing` that belongs to the endpoint, so that the owner may
 * release the conn. */
#ifndef ROAM_TRANSPORT_QUIC_H
#define ROAM_TRANSPORT_QUIC_H

#include <ngtcp2/ngtcp2.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "transport/error.h"
#include "transport/quic_ids.h"
#include "transport/quic_qlog.h"
#include "transport/quic_tls.h"
#include "transport/sendq.h"
#include "transport/transport.h"

enum {
  ROAM_QUIC_PATHS = 4, /* of a client: current, candidate, two retiring */
  ROAM_QUIC_INTERFACE_MAX = 32,
  ROAM_QUIC_PATH_EVENTS = 4,
  ROAM_QUIC_TOKENS = 8, /* address tokens a client endpoint remembers */
  ROAM_QUIC_TOKEN_MAX = 256,
  ROAM_QUIC_CLOSINGS_MAX = 1024,
  ROAM_QUIC_TX_BYTES = 256 * 1024, /* the arena of an endpoint */
  ROAM_QUIC_SAFE_BYTES = 1200,     /* a UDP payload that every path of QUIC carries */
  ROAM_QUIC_PROBES_MAX = 8,
  ROAM_QUIC_WEIGHT = 16,
  ROAM_QUIC_WEIGHT_MAX = 256,
};

struct roam_quic;
struct roam_quic_conn;

/* What a handle may stand for. The first member of each such struct. */
enum roam_quic_kind {
  ROAM_QUIC_LISTENER,
  ROAM_QUIC_PATH,
  ROAM_QUIC_CLOSING
};

struct roam_quic_listener {
  enum roam_quic_kind kind;
  struct roam_list node; /* endpoint.listeners */
  uint32_t handle;
  roam_addr local;
  roam_te_kind event; /* LISTENING, LISTEN_FAILED or NONE: to be polled */
  roam_rc rc;
  uint32_t users; /* conns and closings that send through it */
  bool asked;     /* BIND has been drained */
  bool bound;
  bool closing; /* no new conns; UNBIND when the last user is gone */
  bool failed;  /* freed after its event was polled */
  char text[ROAM_CONN_TEXT_MAX];
  char name[16]; /* "fd:3", or empty */
};

enum roam_quic_path_state {
  ROAM_PATH_FREE,
  ROAM_PATH_BINDING,    /* BIND asked for */
  ROAM_PATH_WAITING,    /* bound; no spare connection id yet */
  ROAM_PATH_VALIDATING, /* handed to ngtcp2 */
  ROAM_PATH_CURRENT,
  ROAM_PATH_RETIRING, /* still read from, until */
  ROAM_PATH_UNBINDING /* UNBIND to be drained */
};

/* A client's socket. */
struct roam_quic_path {
  enum roam_quic_kind kind;
  enum roam_quic_path_state state;
  struct roam_quic_conn *conn;
  uint32_t handle;
  bool to_bind; /* BIND is to be drained */
  bool immediate;
  uint8_t tries;
  roam_time at;      /* WAITING: try again; RETIRING: unbind */
  roam_time started; /* VALIDATING: since */
  uint64_t gap_ns;   /* VALIDATING: the longest time without a datagram since the last one before it */
  roam_addr local, old_local;
  roam_addr remote; /* family 0: the connection's */
  char interface[ROAM_QUIC_INTERFACE_MAX];
};

struct roam_quic_path_event {
  roam_te_kind kind;
  roam_rc rc;
  const char *text; /* static */
  roam_addr local, remote, old_local, old_remote;
  uint64_t validation_ns, gap_ns;
};

enum {
  LANE_HAS_OPENED = 1,
  LANE_HAS_READABLE = 2,
  LANE_HAS_WRITABLE = 4,
  LANE_HAS_FIN = 8,
  LANE_HAS_RESET = 16
};

struct roam_quic_lane {
  struct roam_list node; /* conn.lanes, in the order of turns to send */
  struct roam_quic_conn *conn;
  int64_t stream;
  uint32_t number;
  uint8_t events; /* LANE_HAS_... */
  bool open;      /* ngtcp2 knows the stream */
  bool blocked;   /* by flow control, in this burst */
  bool starved;   /* the owner waits for WRITABLE */
  bool fin, fin_sent;
  bool dead_out;     /* nothing can be sent any more */
  bool peer_done;    /* FIN or reset arrived */
  bool reset_wanted; /* answer the peer's reset with our own, once out of the callback */
  bool reset_known;  /* told, or our own doing */
  uint64_t code;     /* of the reset */
  uint64_t turn;     /* what it has sent, in bytes by weight: the lane with the least goes next */
  uint32_t weight;
  struct roam_sendq tx;
  struct roam_buf rx;
};

/* A connection id of ours; key and value of the endpoint's table. */
struct roam_quic_cid {
  struct roam_list node;       /* conn.cids or closing.cids */
  struct roam_quic_conn *conn; /* one of the two */
  struct roam_quic_closing *closing;
  uint8_t len, bytes[NGTCP2_MAX_CIDLEN];
};

struct roam_quic_closing {
  enum roam_quic_kind kind;
  struct roam_heap_node timer; /* endpoint.closing_timers */
  struct roam_list node;       /* endpoint.closings, oldest first */
  struct roam_list send;       /* endpoint.closings_to_send */
  struct roam_list cids;
  struct roam_quic_listener *listener; /* server */
  uint32_t handle;                     /* client: its own socket */
  bool over;                           /* client: only UNBIND is left to be drained */
  roam_addr local, remote;
  roam_time said; /* when the packet was last sent */
  size_t len;
  uint8_t packet[]; /* len may be 0: only silence is kept */
};

enum roam_quic_state {
  ROAM_QUIC_BINDING,
  ROAM_QUIC_HANDSHAKE,
  ROAM_QUIC_OPEN,
  ROAM_QUIC_FLUSHING,
  ROAM_QUIC_CLOSED
};
enum {
  CONN_HAS_ACCEPTED = 1,
  CONN_HAS_OPENED = 2,
  CONN_HAS_CLOSED = 4,
  CONN_HAS_EARLY = 8,
  CONN_HAS_LEARNED = 16,
  CONN_HAS_DATAGRAM = 32,
  CONN_HAS_PROVED = 64
};

/* A client's: what it knew before and what it learned (quic_resume.c). */
struct roam_quic_visit {
  roam_blob *session, *params, *token;
  roam_blob *new_session, *new_params, *new_token;
  uint64_t rtt_ns;
  uint32_t lifetime_s;
  bool used;        /* the ticket is part of the handshake under way */
  bool early;       /* and early data with it */
  const char *alpn; /* which that speaks; lives as long as the endpoint */
};

enum roam_quic_carried {
  ROAM_CARRIED_NOTHING,
  ROAM_CARRIED_STREAM,
  ROAM_CARRIED_FRAME
};

/* quic_mtu.c. Of the large packets under way one is watched, while doubt_at is not ROAM_NEVER. */
struct roam_quic_mtu {
  size_t cap; /* no packet is larger, whatever the library believes */
  roam_time doubt_at, raise_at;
  uint64_t raise_ns, mark;
  uint64_t sent; /* bytes, on this path */
  uint32_t lane, falls;
  bool learns;                            /* a size that is heard is one to send */
  enum roam_quic_carried filled, watched; /* the packet in the making; the one that is watched */
};

struct roam_quic_conn {
  roam_conn conn; /* first */
  struct roam_list all, active, eventful;
  struct roam_heap_node timer;
  enum roam_quic_state state;
  bool server, released, by_peer;
  bool completed, confirmed;     /* the handshake */
  bool token_good;               /* server: the first datagram proved where it comes from */
  bool stateless_reset, counted; /* counted: among the endpoint's handshakes */
  bool heard;                    /* at least one packet was understood */
  bool ping;                     /* send something non-probing at once */
  bool token_due;                /* server: give the client an address token */
  bool resets_wanted;            /* some lane's reset is to be answered */
  bool retried;
  bool early; /* client: early data may be written; server: some has arrived, lanes may be used */
  bool resumed, early_accepted, early_rejected;
  bool tls_done;          /* server: the TLS session has been given back */
  bool preferred_settled; /* client: the server's preferred address has been looked at */
  uint8_t events;         /* CONN_HAS_... */
  ngtcp2_conn *nc;
  struct roam_quic_session tls;
  struct roam_list cids;
  struct roam_list lanes;
  struct roam_quic_lane *control;
  uint32_t lanes_count;
  uint64_t held;                         /* bytes in the send queues of data lanes */
  uint64_t turn;                         /* of the lane that went last: a lane that comes new begins there */
  struct roam_ring frames_rx, frames_tx; /* DATAGRAM frames: roam_blob * */
  uint64_t frames_in, frames_out, frames_dropped;
  size_t frames_bytes;                          /* of those in frames_rx and frames_tx */
  const char *alpn;                             /* once open */
  struct roam_quic_listener *listener;          /* server */
  struct roam_quic_path paths[ROAM_QUIC_PATHS]; /* client */
  struct roam_quic_path_event path_events[ROAM_QUIC_PATH_EVENTS];
  uint32_t path_events_count;
  roam_addr local, remote; /* the current path */
  roam_time connect_by, flush_by, ping_at;
  roam_time brisk_at; /* short keep-alive after an address change: when it becomes longer; ROAM_NEVER = not now */
  uint64_t brisk_ns;
  roam_rc rc, callback_rc;
  uint64_t code;
  uint64_t bytes_in, bytes_out;
  uint32_t migrations;
  uint32_t rebinds, tokens_seen, paths_validated, paths_failed;
  uint64_t ping_ns; /* 0 = off */
  uint32_t silences;
  uint64_t silence_ns;
  roam_time sent_at;
  roam_time paced_until;      /* new data waits */
  uint64_t pace_ahead_ns;     /* but so much may be sent before */
  bool paced;                 /* and has begun to wait */
  roam_time heard_at;         /* the last datagram that was understood */
  roam_time unanswered_since; /* something that must be acknowledged is under way since, or since we last heard */
  uint64_t probes_bytes;      /* of what is under way, at most that much is of packets that try how large they may be */
  roam_time probes_gone_at;
  roam_time token_at; /* client: the first token's; those that come with it belong to the handshake, too */
  roam_time moved_at; /* client: the last own move's end; what the server validates soon after is that move */
  char *server_name;  /* client */
  char text[ROAM_CONN_TEXT_MAX];
  struct roam_quic_visit *visit; /* client, or NULL */
  struct roam_quic_qlog *qlog;   /* or NULL */
  uint64_t udp_in, udp_out, handshake_in, handshake_out, stream_out;
  uint64_t rekeyed_at; /* bytes_out then */
  uint32_t key_updates;
  struct roam_quic_mtu mtu;
  ngtcp2_mem memory;      /* counts into */
  uint64_t library_bytes; /* what the library holds for this connection */
};

struct roam_quic_token {
  roam_addr remote;
  uint16_t len;
  uint8_t bytes[ROAM_QUIC_TOKEN_MAX];
};

struct roam_quic_stateless; /* an answer that belongs to no connection */

/* Where packets are written: the arena and the caller's units. */
struct roam_quic_tx {
  uint8_t *base;
  size_t used, cap;
  roam_wire *out;
  size_t n, max;
  size_t segments; /* of the last unit; 0 = it takes no more */
};

struct roam_quic {
  roam_transport transport; /* first */
  roam_transport_options o;
  roam_time now;
  uint32_t handle_next;
  uint64_t number_next;
  uint32_t conns, handshakes, closings_count;
  struct roam_map cids;
  struct roam_map64 handles;
  struct roam_list listeners, all, active, eventful, closings, closings_to_send;
  struct roam_heap timers, closing_timers;
  struct roam_quic_tls tls;
  struct roam_quic_tx tx;
  struct roam_quic_stateless *stateless;
  size_t stateless_count, stateless_sent;
  roam_quic_totals totals;
  struct roam_quic_token tokens[ROAM_QUIC_TOKENS];
  uint32_t token_next;
  struct roam_quic_ids ids;
  struct roam_list strays; /* of other workers: quic_stray.c */
  uint32_t strays_count;
  uint16_t probes[ROAM_QUIC_PROBES_MAX]; /* sizes of packets that a path is tried with */
  size_t probes_len;
};

static inline struct roam_quic *roam_quic_of(const struct roam_quic_conn *c) {
  return (struct roam_quic *)(uintptr_t)c->conn.transport;
}

/* ---- quic_mtu.c ---- */
void roam_quic_mtu_prepare(struct roam_quic *q); /* once its options are known */
void roam_quic_mtu_settings(const struct roam_quic *q, ngtcp2_settings *settings);
void roam_quic_mtu_begin(struct roam_quic_conn *c);                         /* a connection, or another path */
void roam_quic_mtu_follow(struct roam_quic_conn *c, const roam_addr *from); /* a server, to where its client is now */
void roam_quic_mtu_heard(struct roam_quic_conn *c, const ngtcp2_path *path, size_t len);
size_t roam_quic_mtu_now(const struct roam_quic_conn *c); /* bytes of the largest datagram that may go */
void roam_quic_mtu_expire(struct roam_quic_conn *c);      /* its time has come */
roam_time roam_quic_mtu_deadline(const struct roam_quic_conn *c);
/* What the packet in the making carries: a lane's bytes up to mark, or DATAGRAM frame number mark. Then: it is written. */
void roam_quic_mtu_carries(struct roam_quic_conn *c, enum roam_quic_carried what, uint32_t lane, uint64_t mark);
void roam_quic_mtu_sent(struct roam_quic_conn *c, size_t len);
void roam_quic_mtu_lane_acked(struct roam_quic_conn *c, uint32_t lane, uint64_t offset);
void roam_quic_mtu_frame_settled(struct roam_quic_conn *c, uint64_t frame, bool acked);

/* ---- quic_memory.c ---- */
enum {
  ROAM_QUIC_BASE_COST = 64 << 10, /* a connection that does nothing, and some more */
  ROAM_QUIC_TLS_COST = 12 << 10,  /* a GnuTLS session, measured */
  ROAM_QUIC_FRAME_COST = 64       /* of one that waits, besides its bytes */
};
void roam_quic_memory_init(struct roam_quic_conn *c);
size_t roam_quic_memory(const struct roam_quic_conn *c);

/* ---- quic_addr.c ---- */
void roam_quic_path_from(ngtcp2_path_storage *ps, const roam_addr *local, const roam_addr *remote, uint32_t handle);
roam_addr roam_quic_addr_of(const ngtcp2_addr *addr);
bool roam_quic_addr_is(const ngtcp2_addr *addr, const roam_addr *other);

/* ---- quic_endpoint.c ---- */
bool roam_quic_take_handle(struct roam_quic *q, void *owner, uint32_t *handle);
void roam_quic_activate(struct roam_quic *q, struct roam_quic_conn *c);
void roam_quic_announce(struct roam_quic *q, struct roam_quic_conn *c); /* it has events */
roam_rc roam_quic_cid_add(struct roam_quic *q, struct roam_quic_conn *c, const uint8_t *bytes, size_t len);
void roam_quic_cid_remove(struct roam_quic *q, const uint8_t *bytes, size_t len);
void roam_quic_listener_leave(struct roam_quic_listener *l); /* one user less */
void roam_quic_listener_free(struct roam_quic *q, struct roam_quic_listener *l);
void roam_quic_feed(struct roam_quic *q, const roam_wire in[], size_t n);
void roam_quic_tick(struct roam_quic *q);
size_t roam_quic_drain(struct roam_quic *q, roam_wire out[], size_t n);
roam_time roam_quic_deadline(const struct roam_quic *q);
const struct roam_quic_token *roam_quic_token_take(struct roam_quic *q, const roam_addr *remote,
                                                   struct roam_quic_token *copy);
void roam_quic_token_put(struct roam_quic *q, const roam_addr *remote, const uint8_t *token, size_t len);

void roam_quic_feed_stranger(struct roam_quic *q, struct roam_quic_listener *l,
                             const roam_wire *unit); /* one that another worker has taken */

/* ---- quic_stray.c ---- */
/* True: it belongs to another worker, and waits for roam_quic_stray_pop. */
bool roam_quic_stray_put(struct roam_quic *q, const struct roam_quic_listener *l, const roam_wire *unit,
                         const ngtcp2_version_cid *vc, const uint8_t *data, size_t len);
roam_blob *roam_quic_stray_pop(struct roam_quic *q, uint32_t *worker);
void roam_quic_stray_take(struct roam_quic *q, roam_bytes bytes);

/* ---- quic_closing.c ---- */
/* Takes over the conn's ids (and a client's current socket) for a while. packet may be empty. Failing is harmless. */
void roam_quic_closing_keep(struct roam_quic *q, struct roam_quic_conn *c, roam_time until, roam_bytes packet);
void roam_quic_closing_repeat(struct roam_quic *q, struct roam_quic_closing *g); /* its peer still sends */
void roam_quic_closing_end(struct roam_quic *q, struct roam_quic_closing *g);    /* its time is up */
void roam_quic_closing_drain(struct roam_quic *q, struct roam_quic_tx *tx);
void roam_quic_closing_free(struct roam_quic *q, struct roam_quic_closing *g);

/* ---- quic_accept.c ---- */
/* A datagram on a listener's port that belongs to no connection. */
void roam_quic_accept(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const uint8_t *data,
                      size_t len);
/* Emits what is to be said to strangers; false when out is full. */
bool roam_quic_stateless_drain(struct roam_quic *q, struct roam_quic_tx *tx);
uint64_t
roam_quic_token_time(const struct roam_quic *q); /* for address tokens: survives restarts when the wall time is known */

/* ---- quic_conn.c ---- */
struct roam_quic_conn *roam_quic_conn_new(struct roam_quic *q, bool server);
void roam_quic_conn_free(struct roam_quic_conn *c);
/* Client, once its socket is bound. */
void roam_quic_conn_start_client(struct roam_quic_conn *c, struct roam_quic_path *path);
struct roam_quic_birth { /* what the first Initial said */
  const ngtcp2_pkt_hd *hd;
  const ngtcp2_cid *original, *retry; /* retry: NULL without a Retry */
  roam_bytes token;
  ngtcp2_token_type token_type;
};
roam_rc roam_quic_conn_start_server(struct roam_quic_conn *c, struct roam_quic_listener *l, const ngtcp2_path *path,
                                    const struct roam_quic_birth *birth);
/* 0, or the library's error; NGTCP2_ERR_RETRY and _DROP_CONN are the caller's, for all others the conn has been ended. */
int roam_quic_conn_read(struct roam_quic_conn *c, const ngtcp2_path *path, uint8_t ecn, const uint8_t *data, size_t len);
void roam_quic_conn_expire(struct roam_quic_conn *c);
void roam_quic_conn_settle(struct roam_quic_conn *c); /* does what the callbacks asked for */
void roam_quic_conn_arm(struct roam_quic_conn *c);    /* deadline -> heap */
/* Ends it with this meaning; text is kept when NULL. ccerr: what to tell the peer, or NULL for nothing. */
void roam_quic_conn_end(struct roam_quic_conn *c, roam_rc rc, const char *text, const ngtcp2_ccerr *ccerr);
void roam_quic_conn_fail(struct roam_quic_conn *c, int liberr); /* ends it as the library's error says */
void roam_quic_conn_close(struct roam_quic_conn *c, uint64_t code, bool flush);
void roam_quic_conn_path_event(struct roam_quic_conn *c, const struct roam_quic_path_event *e);
void roam_quic_conn_set_ping(struct roam_quic_conn *c); /* the keep-alive that is right now */
/* Pings often for a while: after an address change what was lost on the way must not wait for the next data. */
void roam_quic_conn_be_brisk(struct roam_quic_conn *c);
void roam_quic_conn_proved(struct roam_quic_conn *c); /* a server: the peer is where it says */

void roam_quic_conn_drop(struct roam_quic_conn *c);         /* the libraries' halves */
void roam_quic_conn_open_control(struct roam_quic_conn *c); /* client: its stream, when there is leave */
/* May its lanes be used? */
static inline bool roam_quic_conn_usable(const struct roam_quic_conn *c) {
  return c->state == ROAM_QUIC_OPEN || (c->state == ROAM_QUIC_HANDSHAKE && c->early);
}

/* ---- quic_resume.c ---- */
roam_rc roam_quic_conn_resume(struct roam_quic_conn *c, const roam_resume *r);
roam_resume roam_quic_conn_learned(const struct roam_quic_conn *c);
bool roam_quic_visit_early(const struct roam_quic_conn *c); /* is early data wanted? */
void roam_quic_visit_settings(const struct roam_quic_conn *c, ngtcp2_settings *settings);
void roam_quic_visit_begin(struct roam_quic_conn *c);    /* the TLS session is there, nothing is written yet */
int roam_quic_visit_completed(struct roam_quic_conn *c); /* client: was early data taken? An error of the library's */
bool roam_quic_visit_retry(struct roam_quic_conn *c, int liberr); /* begun once more without the ticket? */
void roam_quic_visit_ticket(struct roam_quic_conn *c);            /* one has arrived */
void roam_quic_visit_token(struct roam_quic_conn *c, const uint8_t *token, size_t len);
void roam_quic_visit_free(struct roam_quic_conn *c);

/* ---- quic_write.c ---- */
/* Writes what may go now. True when there is no more for the moment. */
bool roam_quic_conn_write(struct roam_quic_conn *c, struct roam_quic_tx *tx);
roam_time roam_quic_conn_paced_until(const struct roam_quic_conn *c); /* ROAM_NEVER: nothing waits */
/* One more unit may be written, with room for a datagram. */
bool roam_quic_tx_has_room(const struct roam_quic_tx *tx, size_t datagram_bytes_max);

/* ---- quic_callbacks.c ---- */
void roam_quic_callbacks_fill(ngtcp2_callbacks *callbacks, bool server);
void roam_quic_settings_fill(const struct roam_quic *q, ngtcp2_settings *settings, ngtcp2_transport_params *params,
                             bool server);
/* When the endpoint has a sink for it. original: the first connection id the client chose. */
void roam_quic_qlog_attach(struct roam_quic_conn *c, ngtcp2_settings *settings, const ngtcp2_cid *original);

/* ---- quic_lane.c ---- */
struct roam_quic_lane *roam_quic_lane_new(struct roam_quic_conn *c, int64_t stream);
uint32_t roam_quic_lane_number(int64_t stream);
void roam_quic_lane_free(struct roam_quic_lane *l);
struct roam_quic_lane *roam_quic_lane_find(const struct roam_quic_conn *c, uint32_t number);
void roam_quic_lane_tell(struct roam_quic_lane *l, uint8_t event);
/* Frees it when nobody needs it any more: closed, read out and told. */
void roam_quic_lane_settle(struct roam_quic_lane *l);
roam_rc roam_quic_lane_take(struct roam_quic_lane *l, const uint8_t *data, size_t len, bool fin); /* arrived */
void roam_quic_lane_acked(struct roam_quic_lane *l, uint64_t offset);
void roam_quic_lane_peer_reset(struct roam_quic_lane *l, uint64_t code);
/* reset: it was aborted by one side, with this code. */
void roam_quic_lane_stream_closed(struct roam_quic_lane *l, bool reset, uint64_t code);
bool roam_quic_lane_sendable(const struct roam_quic_lane *l);
void roam_quic_lane_consume(struct roam_quic_lane *l, size_t n);
size_t roam_quic_lane_room(struct roam_quic_lane *l);
roam_rc roam_quic_lane_write(struct roam_quic_lane *l, const roam_slice slices[], size_t n);
void roam_quic_lane_fin(struct roam_quic_lane *l);
void roam_quic_lane_reset(struct roam_quic_lane *l, uint64_t code);

void roam_quic_lane_weight(struct roam_quic_lane *l, uint32_t weight);
/* So much of it has gone into a packet. */
void roam_quic_lane_charge(struct roam_quic_lane *l, size_t bytes);

/* ---- quic_datagram.c ---- */
uint64_t roam_quic_datagram_frame_max(const struct roam_quic *q); /* for the transport parameters */
void roam_quic_datagrams_init(struct roam_quic_conn *c);
void roam_quic_datagrams_reset(struct roam_quic_conn *c);
void roam_quic_datagrams_forget_out(struct roam_quic_conn *c);
void roam_quic_datagram_take(struct roam_quic_conn *c, const uint8_t *data, size_t len);
roam_bytes roam_quic_datagram_peek(const struct roam_quic_conn *c, bool *some);
void roam_quic_datagram_pop(struct roam_quic_conn *c);
size_t roam_quic_datagram_room(const struct roam_quic_conn *c);
roam_rc roam_quic_datagram_put(struct roam_quic_conn *c, roam_bytes datagram);
bool roam_quic_datagram_waits(const struct roam_quic_conn *c);
/* Offers the first to the packet in the making; the library's result, or WRITE_MORE when there was none. */
ngtcp2_ssize roam_quic_datagram_offer(struct roam_quic_conn *c, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *dest,
                                      size_t cap);

/* ---- quic_path.c ---- */
struct roam_quic_path *roam_quic_path_first(struct roam_quic_conn *c, const roam_addr *local, const char *interface);
roam_rc roam_quic_path_migrate(struct roam_quic_conn *c, const roam_addr *local, const char *interface, bool immediate);
void roam_quic_path_prefer(struct roam_quic_conn *c); /* to the server's preferred address, if it has one */
void roam_quic_path_bound(struct roam_quic_path *p, const roam_addr *local);
void roam_quic_path_failed(struct roam_quic_path *p, int error);
void roam_quic_path_validated(struct roam_quic_conn *c, const ngtcp2_path *path, ngtcp2_path_validation_result result);
void roam_quic_path_heard(struct roam_quic_conn *c); /* a datagram came: what gap did it end? */
bool roam_quic_path_moving(const struct roam_quic_conn *c);
void roam_quic_path_tick(struct roam_quic_conn *c);
roam_time roam_quic_path_deadline(const struct roam_quic_conn *c);
void roam_quic_path_drain(struct roam_quic_conn *c, struct roam_quic_tx *tx, bool last); /* BIND first, UNBIND last */
bool roam_quic_path_drained(const struct roam_quic_conn *c);
/* The conn has ended: all sockets it still has are to be unbound. */
void roam_quic_path_end(struct roam_quic_conn *c);
struct roam_quic_path *roam_quic_path_current(struct roam_quic_conn *c);

#endif
