/* transport.h - the contract between those who speak MQTT (client, broker) and those who move bytes (QUIC, TCP, later TLS
 * and WS).
 *
 * A roam_transport is an endpoint: all connections of one kind that one machine has. Its verbs are the machine's; its owner
 * hands it the wire units that are its own (roam_transport_owns) and sends on what it drains. A roam_conn is one
 * connection; it carries lanes, ordered byte streams (one on TCP, number 0; one or more on QUIC, the control lane 0 being
 * the client's first bidirectional stream). The transport never knows what the bytes mean, nor when to migrate.
 *
 * Life of a conn: dial or ROAM_TE_ACCEPTED -> ROAM_TE_OPENED (handshake done) -> ... -> ROAM_TE_CLOSED (exactly once, also
 * after a local close, also when dialling failed) -> roam_conn_release by the owner. After ROAM_TE_CLOSED every call on it
 * is a harmless no-op, and unread bytes may still be read (peek/consume) until it is released. An accepted conn that never
 * gets OPENED is reported too (CLOSED with its cause), so that refusals can be counted.
 *
 * A lane's number says who opened it and which way it goes: ROAM_LANE_OF_SERVER and ROAM_LANE_ONE_WAY, beside the n-th of
 * its kind. One-way lanes are only read here: nothing can be written to them.
 *
 * Lanes: roam_conn_room bytes may be written; roam_conn_write takes all of it or returns ROAM_E_BLOCKED and takes nothing.
 * ROAM_TE_WRITABLE comes when room has come back after a BLOCKED or after room was 0. Bytes arrived are read in place with
 * peek and returned with consume, which gives flow-control credit back; what is not consumed stays and holds the credit.
 * The lane holds a contiguous view: offer more comes as ROAM_TE_READABLE. The rx buffer is bounded by the window, not by
 * good will.
 */
#ifndef ROAM_TRANSPORT_H
#define ROAM_TRANSPORT_H

#include <roamqtt/event.h>
#include <roamqtt/mqtt.h> /* roam_slice only */
#include <roamqtt/tap.h>
#include <roamqtt/tls.h>
#include <roamqtt/wire.h>

typedef struct roam_transport roam_transport;
typedef struct roam_conn roam_conn;

/* In the number of a lane. */
#define ROAM_LANE_OF_SERVER UINT32_C(0x40000000) /* the server has opened it */
#define ROAM_LANE_ONE_WAY UINT32_C(0x80000000)   /* unidirectional */

typedef enum roam_te_kind {
  ROAM_TE_NONE,
  ROAM_TE_LISTENING, /* listener: u.listener; local = its true address */
  ROAM_TE_LISTEN_FAILED,
  ROAM_TE_ACCEPTED,    /* a new conn from a peer (QUIC: its first valid Initial; not yet OPENED) */
  ROAM_TE_OPENED,      /* the handshake is done: lanes may be used. Server: the control lane may already be readable */
  ROAM_TE_LANE_OPENED, /* lane: opened by the peer */
  ROAM_TE_READABLE,    /* lane */
  ROAM_TE_WRITABLE,    /* lane */
  ROAM_TE_LANE_FIN,    /* lane: the peer ended its half; all its bytes have been announced */
  ROAM_TE_LANE_RESET,  /* lane, code: the peer aborted it */
  ROAM_TE_PATH_PROBING,
  ROAM_TE_PATH_MIGRATED, /* client: migrate is done: old_local -> local */
  ROAM_TE_PATH_FAILED,   /* client: rc */
  ROAM_TE_PEER_MOVED,    /* server: old_remote -> remote */
  ROAM_TE_CLOSED,        /* rc, code, text; by_peer */
  ROAM_TE_EARLY,         /* client, before OPENED: the control lane may be written; its bytes leave in the first flight */
  ROAM_TE_LEARNED,       /* client: roam_conn_learned has something for the next visit */
  ROAM_TE_PEER_PROVED,   /* QUIC server: the address it has now is the peer's: the handshake or the path's check is done */
  ROAM_TE_DATAGRAM       /* one or more have arrived: roam_conn_datagram_peek */
} roam_te_kind;

typedef struct roam_te {
  roam_te_kind kind;
  roam_conn *conn; /* NULL for listener events */
  uint32_t lane;
  uint32_t listener;
  roam_rc rc;    /* CLOSED: 0 = orderly (local close, or peer's with code 0) */
  uint64_t code; /* application or transport error code, LANE_RESET: stream error code */
  bool by_peer;
  const char *text; /* a sentence, lives until the conn is released; or NULL */
  roam_addr local, remote, old_local, old_remote;
  uint64_t validation_ns;
  uint64_t gap_ns; /* PATH_MIGRATED: the longest time without a datagram around the move */
} roam_te;

typedef enum roam_migrate_how {
  ROAM_MIGRATE_PROBE,
  ROAM_MIGRATE_IMMEDIATE
} roam_migrate_how;

typedef struct roam_conn_info {
  roam_addr local, remote;
  uint64_t rtt_ns, cwnd_bytes, bytes_in_flight;
  uint64_t bytes_in, bytes_out;
  uint32_t migrations; /* client: completed; server: address changes seen */
  bool retried, resumed, early_data_accepted;
  roam_time unanswered_since; /* QUIC: since when something that must be acknowledged is not, ROAM_NEVER = nothing is */
  roam_time heard_at;         /* the last datagram or bytes of the peer's; 0 = none yet */
  uint64_t pto_ns;            /* QUIC: the probe time-out now */
  uint64_t ping_ns;           /* QUIC: the ping in force, 0 = off */
  uint32_t rebinds;    /* QUIC client: how often the server told that it had validated an address we did not move to */
  uint32_t silences;   /* QUIC client: how often a silence of at least three quarters of a ping ended with our sending */
  uint64_t silence_ns; /* the last of them */
  uint32_t paths_validated, paths_failed;           /* QUIC: since the beginning */
  bool early_data_rejected;                         /* it was sent and had to be sent again */
  uint32_t key_updates;                             /* by either side */
  uint64_t udp_in, udp_out;                         /* datagrams */
  uint64_t handshake_bytes_in, handshake_bytes_out; /* until the handshake was done; part of bytes_in, bytes_out */
  uint64_t stream_bytes_out; /* of lanes, each byte once; the rest of bytes_out is overhead and repetition */
  uint64_t packets_lost;     /* 0 with ngtcp2 before 1.16, which does not tell */
  uint64_t min_rtt_ns;
  size_t datagram_bytes;   /* QUIC: the largest that is sent on the path as it is now */
  uint32_t datagram_falls; /* QUIC: how often large ones were lost on a path that had carried them */
  uint64_t frames_in, frames_out,
      frames_dropped; /* DATAGRAM frames; dropped, both ways: for want of room, or too large for a new path */
  bool proved; /* server: it has answered where it says it is: the handshake is done, or its token was made for that address
                */
} roam_conn_info;

typedef struct roam_transport_options {
  roam_random *random;
  roam_log log;
  roam_time now;               /* the owner's first now; pairs with tls.wall_unix_s */
  uint32_t handle_first;       /* handles this transport may choose: [handle_first, handle_first + 2^24) */
  roam_tls_config tls;         /* copied */
  const char *alpn;            /* "mqtt"; several: separated by spaces, the best first */
  uint64_t connect_timeout_ns; /* 10 s: from dial or first packet to OPENED */
  uint64_t idle_timeout_ns;    /* QUIC max_idle_timeout: 60 s; 0 = none */
  uint64_t ping_ns;            /* QUIC: PING after so long without a packet; 0 = off. Clients 15 s */
  uint64_t initial_rtt_ns;     /* 100 ms */
  size_t lane_tx_bytes;        /* 262144: written and not yet acknowledged (QUIC) or taken by the edge (TCP), per lane */
  size_t lane_rx_bytes;    /* 262144: window of a lane; twice what the owner takes only whole, for credit comes in halves */
  size_t conn_rx_bytes;    /* 1 MiB: window of a connection */
  uint32_t lanes_max;      /* 16: lanes the peer may have open */
  uint32_t conns_max;      /* 10240 */
  uint32_t handshakes_max; /* 1024 accepted conns not yet OPENED; beyond it QUIC answers with Retry, then drops */
  bool retry;              /* QUIC server: always demand an address token */
  bool follow_paths;       /* true. false: a server drops datagrams from a new address (a broken broker, for controls) */
  size_t datagram_bytes_max; /* 8952, 1200 to 65487: largest UDP payload sent once the path is known to carry it */
  bool one_lane_per_packet;  /* false: a packet is filled from all lanes; true: what is lost with it is one lane's */
  uint32_t datagrams_max;    /* 0: DATAGRAM frames are not negotiated; else so many wait each way, later ones are dropped */
  uint8_t secret[32]; /* server: for reset tokens and address tokens; all zero = drawn from random (not restart-proof) */
  bool early_data;    /* true. server: accept early data; client: send it when resumed with leave to */
  uint64_t replay_window_ns;  /* 6 h: server, how old early data may be; seen ones are kept for as long */
  uint32_t replay_keys_max;   /* 65536 of them; when full, early data is refused */
  roam_congestion congestion; /* CUBIC */
  uint64_t key_update_bytes;  /* 1 GiB: sent with one key before the next; 0 = as the library does, at 2^23 packets */
  roam_addr preferred[2];     /* server: where clients should go after the handshake, IPv4 and IPv6; family 0 = none */
  bool follow_preferred;      /* true: a client does */
  roam_tap tap;
  const char *ws_path;    /* NULL = "/mqtt". WebSocket: the path served or asked for; copied */
  const char *ws_origins; /* WebSocket server: web origins let in, separated by spaces, "*" = any; NULL = those of the host
                             that the request names, and clients that send no Origin; copied */
  uint32_t server_lanes_max;  /* 0: QUIC client: lanes the server may have open */
  uint32_t one_way_lanes_max; /* 0: QUIC: one-way lanes the peer may have open */
  /* Server: one of several workers on the same addresses (docs/design/workers.md). */
  uint32_t workers; /* 1 */
  uint32_t worker;  /* 0: which one; connection ids carry it */
  bool encrypt_ids; /* false: under a key made of secret */
} roam_transport_options;

void roam_transport_options_init(roam_transport_options *o);

/* NULL with *rc: ROAM_E_MEMORY, ROAM_E_CERTIFICATE (text in *why: which PEM is bad), ROAM_E_OPTION. why is static or NULL.
 */
roam_transport *roam_quic_new(const roam_transport_options *o, roam_rc *rc, const char **why);
roam_transport *roam_tcp_new(const roam_transport_options *o, roam_rc *rc, const char **why);
/* TLS and WSS; the server side needs a certificate before it listens. */
roam_transport *roam_tls_new(const roam_transport_options *o, roam_rc *rc, const char **why);
/* WebSocket over TCP, or over TLS when secure. */
roam_transport *roam_ws_new(const roam_transport_options *o, bool secure, roam_rc *rc, const char **why);
/* The one of these that moves bytes this way; ROAM_E_UNSUPPORTED for a kind that is none. */
roam_transport *roam_transport_new(roam_transport_kind kind, const roam_transport_options *o, roam_rc *rc,
                                   const char **why);

/* Of a QUIC endpoint, since it was made. */
typedef struct roam_quic_totals {
  uint64_t retries_sent, resets_sent;  /* stateless answers */
  uint64_t resumed, early_accepted;    /* server: handshakes */
  uint64_t early_repeated, early_full; /* early data refused: seen before; too many to remember */
  uint64_t early_elsewhere;            /* and: another worker keeps the record */
  uint64_t direct;                     /* several workers: datagrams with an id of ours that reached us at once */
} roam_quic_totals;
roam_quic_totals roam_quic_get_totals(const roam_transport *t);
/* A datagram whose id names another worker, with its addresses; the caller's count. NULL: there is none. */
roam_blob *roam_quic_take_stray(roam_transport *t, uint32_t *worker);
/* One of ours that another worker has taken, in that form. */
void roam_quic_adopt(roam_transport *t, roam_time now, roam_bytes stray);

/* ---- the endpoint ---- */
#define ROAM_TRANSPORT_SECRET_BYTES 32                                           /* of roam_transport_options.secret */
roam_rc roam_transport_secret_make(uint8_t secret[ROAM_TRANSPORT_SECRET_BYTES]); /* one to be kept; ROAM_E_TLS */
void roam_transport_free(roam_transport *t); /* with all conns, without a word to the peers */
roam_transport_kind roam_transport_get_kind(const roam_transport *t);
/* Is this inward unit for this transport? (By handle; an ACCEPT by its parent.) ADDR and WAKE are for all. */
bool roam_transport_owns(const roam_transport *t, const roam_wire *unit);
void roam_transport_feed(roam_transport *t, roam_time now, const roam_wire in[], size_t n);
void roam_transport_tick(roam_transport *t, roam_time now);
size_t roam_transport_drain(roam_transport *t, roam_time now, roam_wire out[], size_t n);
size_t roam_transport_poll(roam_transport *t, roam_te ev[], size_t n);
roam_time roam_transport_deadline(const roam_transport *t);
/* Asks for a listener; LISTENING or LISTEN_FAILED follows with the same number. */
roam_rc roam_transport_listen(roam_transport *t, roam_time now, const roam_addr *local, uint32_t *listener);
/* The same for a listener that is no IP address: a path is a Unix socket, "fd:3" a listening socket the process was given.
 * local: what the owner knows of its address, or NULL. ROAM_E_UNSUPPORTED: QUIC with a path. QUIC's "fd:3" is a bound
 * datagram socket. */
roam_rc roam_transport_listen_name(roam_transport *t, roam_time now, const char *name, const roam_addr *local,
                                   uint32_t *listener);
void roam_transport_unlisten(roam_transport *t, roam_time now, uint32_t listener);
/* Starts a connection. local: any part may be 0. interface: or NULL; a path, with remote 0: over TCP's Unix socket.
 * server_name: for SNI and the certificate check. user: the owner's. */
roam_rc roam_transport_dial(roam_transport *t, roam_time now, const roam_addr *remote, const roam_addr *local,
                            const char *interface, const char *server_name, void *user, roam_conn **out);
/* Other certificates and trust for new connections; those that are there keep theirs. After a failure (*why: which PEM is
 * bad) the old ones stay. ROAM_E_UNSUPPORTED: this transport has none. */
roam_rc roam_transport_certify(roam_transport *t, const roam_tls_config *config, const char **why);
/* Accepted connections that were turned away at conns_max or handshakes_max, and handshakes under way. */
uint64_t roam_transport_refused(const roam_transport *t);
uint32_t roam_transport_handshakes(const roam_transport *t);

/* ---- a connection ---- */
void *roam_conn_user(const roam_conn *c);
void roam_conn_set_user(roam_conn *c, void *user);
roam_transport *roam_conn_transport(const roam_conn *c);
roam_conn_info roam_conn_get_info(const roam_conn *c);
uint64_t roam_conn_number(const roam_conn *c); /* unique within the transport, for logs */
/* The name in the peer's verified certificate: its common name, or the whole subject when it has none. NULL: it showed
 * none, or nobody asked. Valid until the conn is released; known from OPENED on. */
const char *roam_conn_subject(const roam_conn *c);
/* QUIC: a new bidirectional lane; a client's first is 0 and is opened by dial. ROAM_E_UNSUPPORTED on TCP, ROAM_E_LIMIT: the
 * peer grants no more now. */
roam_rc roam_conn_lane_open(roam_conn *c, roam_time now, uint32_t *lane);
roam_bytes roam_conn_peek(const roam_conn *c, uint32_t lane);
void roam_conn_consume(roam_conn *c, roam_time now, uint32_t lane, size_t n);
size_t roam_conn_room(const roam_conn *c, uint32_t lane);
/* Slices without hold are copied; those with hold are kept by count until acknowledged (short ones are copied too). */
roam_rc roam_conn_write(roam_conn *c, roam_time now, uint32_t lane, const roam_slice slices[], size_t n);
void roam_conn_lane_fin(roam_conn *c, roam_time now, uint32_t lane);
void roam_conn_lane_reset(roam_conn *c, roam_time now, uint32_t lane, uint64_t code);
/* Lanes that have something to send share the packets by weight (1 to 256, 16 at first); the control lane goes before all.
 */
void roam_conn_lane_weight(roam_conn *c, uint32_t lane, uint32_t weight);
/* Bytes written to lanes other than 0 that the peer has not acknowledged, and datagrams that have not left. */
uint64_t roam_conn_lanes_held(const roam_conn *c);
/* What the connection costs, in bytes: what has arrived and is not consumed, what was written and is not gone, and the
 * machinery, of which GnuTLS's part is an estimate. base: what one that does nothing costs. */
typedef struct roam_conn_cost {
  size_t bytes, base;
} roam_conn_cost;
roam_conn_cost roam_conn_memory(const roam_conn *c);
/* Unreliable datagrams (RFC 9221), QUIC only. Room: the largest that may be written now, 0 when they are not negotiated or
 * too many wait. Write: ROAM_E_BLOCKED (too many wait), ROAM_E_TOO_LARGE (for the peer or the path: use a lane),
 * ROAM_E_UNSUPPORTED (not negotiated), ROAM_E_ARGUMENT (empty: ngtcp2 1.11 cannot). One that has become too large for the
 * path before it could leave is dropped and counted. */
size_t roam_conn_datagram_room(const roam_conn *c);
roam_rc roam_conn_datagram_write(roam_conn *c, roam_time now, roam_bytes datagram);
/* The oldest that has arrived, until popped or the connection is released: *some false, none. It may be empty. */
roam_bytes roam_conn_datagram_peek(const roam_conn *c, bool *some);
void roam_conn_datagram_pop(roam_conn *c);
/* Which of the protocols (ALPN) the connection speaks; "" before ROAM_TE_OPENED and where there is none. From ROAM_TE_EARLY
 * on it is what early data speaks; when the ticket turns out to be void, another may be chosen by ROAM_TE_OPENED. */
const char *roam_conn_alpn(const roam_conn *c);
/* Ends the connection: what was written to the control lane is delivered first, as far as the peer takes it within 3 s
 * (flush), or dropped. code: the application error code (0 = fine). */
void roam_conn_close(roam_conn *c, roam_time now, uint64_t code, bool flush);
/* After ROAM_TE_CLOSED. */
void roam_conn_release(roam_conn *c);
/* Client: move to another local address (port 0: a new one is taken anyway) or interface. Answered by PATH_MIGRATED or
 * PATH_FAILED. ROAM_E_UNSUPPORTED on TCP; ROAM_E_STATE before the handshake is confirmed (try again: it is moments away).
 */
roam_rc roam_conn_migrate(roam_conn *c, roam_time now, const roam_addr *local, const char *interface, roam_migrate_how how);
/* Client: send something non-probing at once (the network may have changed). */
void roam_conn_ping(roam_conn *c, roam_time now);
/* PING after so long without a packet from now on, 0 = off. Nothing on TCP. */
void roam_conn_set_ping(roam_conn *c, roam_time now, uint64_t ping_ns);

/* What a client may know of a server from earlier connections; every part may be empty. */
typedef struct roam_resume {
  roam_bytes session, params; /* a ticket and the transport parameters that go with it */
  roam_bytes token;           /* proves our address without a Retry; used once */
  uint64_t rtt_ns;            /* 0: not known */
  uint32_t lifetime_s;        /* learned: of the ticket, from its arrival on */
  bool early_data;            /* given: send early data */
  const char *alpn;           /* the protocol that the ticket was got with: early data speaks it, and no other is offered
                                 then. NULL: not known, no early data unless we speak only one */
} roam_resume;
/* Client, after dial and before anything else: copied. ROAM_E_UNSUPPORTED without TLS, ROAM_E_STATE later.
 * TLS over TCP takes the ticket alone. */
roam_rc roam_conn_resume(roam_conn *c, const roam_resume *r);
/* Client: what this connection has learned so far. The views live until the next call on the transport. */
roam_resume roam_conn_learned(const roam_conn *c);
/* SHA-256 over everything that decides whether a ticket got with one configuration may be used with another: protocol,
 * name, trust anchors, insecure, our own certificate. */
roam_rc roam_tls_fingerprint(const roam_tls_config *tls, const char *alpn, const char *server_name, uint8_t out[32]);

/* ---- for implementations ---- */
typedef struct roam_transport_ops {
  roam_transport_kind kind;
  void (*free)(roam_transport *t);
  bool (*owns)(const roam_transport *t, const roam_wire *unit);
  void (*feed)(roam_transport *t, roam_time now, const roam_wire in[], size_t n);
  void (*tick)(roam_transport *t, roam_time now);
  size_t (*drain)(roam_transport *t, roam_time now, roam_wire out[], size_t n);
  size_t (*poll)(roam_transport *t, roam_te ev[], size_t n);
  roam_time (*deadline)(const roam_transport *t);
  roam_rc (*listen)(roam_transport *t, roam_time now, const roam_addr *local, uint32_t *listener);
  void (*unlisten)(roam_transport *t, roam_time now, uint32_t listener);
  roam_rc (*dial)(roam_transport *t, roam_time now, const roam_addr *remote, const roam_addr *local, const char *interface,
                  const char *server_name, void *user, roam_conn **out);
  roam_conn_info (*info)(const roam_conn *c);
  roam_rc (*lane_open)(roam_conn *c, roam_time now, uint32_t *lane);
  roam_bytes (*peek)(const roam_conn *c, uint32_t lane);
  void (*consume)(roam_conn *c, roam_time now, uint32_t lane, size_t n);
  size_t (*room)(const roam_conn *c, uint32_t lane);
  roam_rc (*write)(roam_conn *c, roam_time now, uint32_t lane, const roam_slice slices[], size_t n);
  void (*lane_fin)(roam_conn *c, roam_time now, uint32_t lane);
  void (*lane_reset)(roam_conn *c, roam_time now, uint32_t lane, uint64_t code);
  void (*close)(roam_conn *c, roam_time now, uint64_t code, bool flush);
  void (*release)(roam_conn *c);
  roam_rc (*migrate)(roam_conn *c, roam_time now, const roam_addr *local, const char *interface, roam_migrate_how how);
  void (*ping)(roam_conn *c, roam_time now);
  void (*set_ping)(roam_conn *c, roam_time now, uint64_t ping_ns); /* NULL: has no pings */
  roam_rc (*resume)(roam_conn *c, const roam_resume *r);           /* NULL: nothing is ever resumed; learned likewise */
  roam_resume (*learned)(const roam_conn *c);
  /* NULL where there is none of it: */
  void (*lane_weight)(roam_conn *c, uint32_t lane, uint32_t weight);
  size_t (*datagram_room)(const roam_conn *c);
  roam_rc (*datagram_write)(roam_conn *c, roam_time now, roam_bytes datagram);
  roam_bytes (*datagram_peek)(const roam_conn *c, bool *some);
  void (*datagram_pop)(roam_conn *c);
  const char *(*alpn)(const roam_conn *c);
  uint64_t (*lanes_held)(const roam_conn *c);
  /* may be NULL */
  roam_rc (*listen_name)(roam_transport *t, roam_time now, const char *name, const roam_addr *local, uint32_t *listener);
  roam_rc (*certify)(roam_transport *t, const roam_tls_config *config, const char **why);
  const char *(*subject)(const roam_conn *c);
  uint32_t (*handshakes)(const roam_transport *t);
  roam_conn_cost (*memory)(const roam_conn *c);
} roam_transport_ops;

struct roam_transport { /* first member of every implementation's own struct */
  const roam_transport_ops *ops;
  uint64_t refused; /* accepted conns turned away at a bound */
};
struct roam_conn { /* likewise */
  roam_transport *transport;
  void *user;
  uint64_t number;
};

#endif
