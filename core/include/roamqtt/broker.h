/* broker.h - an embedded MQTT broker: QUIC, TCP, TLS and WebSocket listeners, routing, retained messages, wills, persistent
 * sessions in memory or in a store, and for each client the address it has now, those it had, and how often it moved.
 *
 * Pointers inside events live until the next call on the broker that is not a getter. One thread at a time. */
#ifndef ROAMQTT_BROKER_H
#define ROAMQTT_BROKER_H

#include <roamqtt/auth.h>
#include <roamqtt/event.h>
#include <roamqtt/mqtt.h>
#include <roamqtt/store.h>
#include <roamqtt/tap.h>
#include <roamqtt/tls.h>
#include <roamqtt/wire.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct roam_broker roam_broker;

typedef struct roam_broker_options {
  size_t size;
  roam_tls_config tls;            /* certificate and key are required before a QUIC, TLS or WSS listener */
  bool anonymous_beyond_loopback; /* false: a listener that others can reach is refused while there is no authentication */
  bool follow_paths;              /* true; false makes a broker that ignores new addresses, for negative controls */
  bool retry;                     /* false: QUIC clients prove their address by Retry only under load */

  uint32_t connections_max;      /* 10240 */
  uint32_t handshakes_max;       /* 1024 */
  uint64_t connect_timeout_ns;   /* 10 s from the connection's first packet to CONNECT */
  uint32_t sessions_max;         /* 100000, connected or not */
  uint32_t session_expiry_max_s; /* 604800: longer wishes are cut (and told) */
  uint32_t subscriptions_max;    /* 1024 for each session */
  uint32_t topic_levels_max;     /* 64 */
  uint32_t retained_max;         /* 100000 messages */
  size_t retained_bytes_max;     /* 256 MiB */
  uint16_t receive_maximum;      /* 1024 */
  uint16_t topic_alias_maximum;  /* 16 */
  uint32_t maximum_packet_size;  /* 1 MiB */
  uint32_t queue_messages_max;   /* 10000 for each session */
  size_t queue_bytes_max;        /* 16 MiB for each session */
  roam_overflow
      overflow; /* REFUSE: the session at its bound is ended (0x97), logged and counted; or drop_oldest, drop_newest */
  uint16_t server_keep_alive; /* seconds; 0: the client's own; else the longest allowed */
  uint64_t idle_timeout_ns; /* 0: QUIC max_idle_timeout, none of ours; a silent client stays for 1.5 times its Keep Alive */
  uint32_t address_history_max; /* 16 kept for each client */
  roam_log log;
  uint8_t maximum_qos;       /* 2: subscriptions are granted no more; a PUBLISH above it ends the connection (0x9B) */
  bool retain_available;     /* true; false: a PUBLISH that asks for it ends the connection (0x9A) */
  uint32_t sys_interval_s;   /* 10: how often $SYS topics are published; 0: never */
  bool payload_format_check; /* false; true: a payload that is not the UTF-8 it says it is gets 0x99 (QoS 0: dropped) */
  const char *response_information; /* NULL: none; else what clients that ask for Response Information are told */
  uint32_t lanes_max;     /* 63: data streams one QUIC connection may have open, at most 63; 0 = only the control stream */
  uint32_t datagrams_max; /* 2048: QUIC datagrams that may wait each way, for each connection; 0 = none are negotiated */
  bool flows; /* true: clients that ask for it (ALPN MQTT-next) get flows, which outlive their streams; needs lanes_max */
  bool one_lane_per_packet; /* false: packets are filled from all streams of a connection; true: each from one only */
  uint64_t
      silent_max_ns; /* 1 h: QUIC: how long a client with Keep Alive 0 may be silent, its answers to our pings included */

  const char *ws_path;    /* NULL: "/mqtt"; where WebSocket clients ask */
  const char *ws_origins; /* NULL: web pages of the host that the request names, and clients that are no browser. Else web
                             origins separated by spaces ("https://app.example"), "*" for any */
  roam_store *store;      /* NULL: nothing survives a restart. Borrowed for the broker's life; needs tls.wall_unix_s */
  size_t store_pending_bytes_max; /* 8 MiB changed and not committed; above it no client is read */
  uint64_t store_timeout_ns;      /* 30 s for one commit; then the store counts as failed */
  uint32_t request_rate_max;      /* 20000000: PUBLISH, SUBSCRIBE and UNSUBSCRIBE of one client in a second; more ends its
                                     connection (0x96) */
  size_t queued_bytes_max;   /* 1 GiB: the queues of all sessions together. Beyond it a session that is behind by 64 KiB or
                                more counts as at its own bound (overflow) */
  roam_bytes passwords;      /* a password file's contents (auth.h); base NULL: none. Whoever has a user name is checked */
  roam_bytes acl;            /* an access list's contents (auth.h); base NULL: everybody may everything */
  bool allow_anonymous;      /* false: with passwords, decide or subject_as_user_name everybody must say who they are; true:
                                not on loopback, and with anonymous_beyond_loopback nowhere */
  bool subject_as_user_name; /* false: true makes the name in a verified client certificate the user name */
  bool decide;               /* false: true asks you (ROAM_EV_AUTH) about all whom passwords do not name */
  uint32_t auth_waiting_max; /* 1024 clients not decided yet; more are refused with 0x89 */
  uint32_t auth_failures_max; /* 10 failed logins a minute from one address (IPv6: 64 bits), then 0x9F; 0: no limit */
  uint32_t connect_rate_max;  /* 0: no limit; else CONNECTs a second from one address, then 0x9F */

  roam_bytes secret; /* 32 bytes that outlive a restart, so that tickets, address tokens and stateless resets do; empty:
                        drawn, and a restarted broker is a stranger. Keep it like a key */
  bool early_data;   /* true: take QUIC's early data (once; never what is older than this broker's start) */
  uint64_t replay_window_ns;  /* 6 h: how old early data may be; first flights seen are remembered for as long */
  uint32_t replay_keys_max;   /* 65536 first flights; when full, early data is refused and sent again */
  uint64_t initial_rtt_ns;    /* 100 ms: QUIC */
  roam_congestion congestion; /* ROAM_CONGESTION_CUBIC; QUIC */
  uint64_t key_update_bytes;  /* 1 GiB: QUIC, sent with one key before the next; 0 = the library's choice */
  roam_addr preferred_ipv4, preferred_ipv6; /* none: where QUIC clients should go after the handshake; listen there too */
  roam_tap tap;                             /* none */
  uint32_t address_connections_max; /* 0: no limit; else connections at once from one address (IPv6: 64 bits), proved ones.
                                       Who moves to where there are that many is ended there with 0x97 */
  size_t client_memory_max; /* 32 MiB that one connection may hold (0x97); its session's queue takes what it leaves, and is
                               at its bound there. At least twice maximum_packet_size and 256 KiB */
  size_t
      memory_max; /* 2 GiB that all connections and queues may hold, half of it safe from the other kind. Then whoever
                     holds the most is ended (0x97), new connections are refused, and queues are as at queued_bytes_max */
  /* NULL: none. MQTT-next: topic filters separated by spaces, in which "%c" is the client id and "%u" the user name. Each
   * client that speaks it is subscribed to them by the broker, on server flows (roam_broker_assign). A name with
   * '/', '+' or '#' in it gets none. */
  const char *assigned;
  uint8_t assigned_qos; /* 1 */
  /* One of several workers, brokers that are one to their clients: each on a thread of its own, all with the same options,
   * and MAIL units carried from one to the other (loop.h: roam_post). secret is needed. A store is the same
   * object for all (roam_broker_secret has a secret that outlives a restart). Limits that are not for one client, message
   * or topic are divided. docs/design/workers.md */
  uint32_t workers; /* 1, at most 64 */
  uint32_t worker;  /* 0: which of them this is */
  bool encrypt_ids; /* false: the worker in QUIC connection ids is hidden by the secret; datagrams of clients that moved
                       then take the way over another worker */
  uint32_t datagram_bytes_max; /* 8952, from 1200 to 65487: QUIC, the largest UDP payload sent where the path carries it */
} roam_broker_options;

ROAM_API void roam_broker_options_init(roam_broker_options *o);
/* Why these options would be refused, as a sentence with the remedy; NULL when they are fine. Static storage. */
ROAM_API const char *roam_broker_option_error(const roam_broker_options *o);
/* NULL with *rc (may be NULL): ROAM_E_OPTION, ROAM_E_CERTIFICATE, ROAM_E_MEMORY; ROAM_E_DAMAGED, ROAM_E_NEWER, ROAM_E_IO,
 * ROAM_E_LIMIT: the store cannot be loaded, the log says why. Everything in o but the store is copied. `now` pairs
 * with tls.wall_unix_s. */
ROAM_API roam_broker *roam_broker_new(const roam_broker_options *o, roam_time now, roam_random *random, roam_rc *rc);
/* For several workers with a store: the secret that it keeps for tickets, reset and address tokens, to be given to all of
 * them; drawn and written first if it has none. Before any worker is made. why: a sentence, on failure. */
ROAM_API roam_rc roam_broker_secret(roam_store *store, uint8_t secret[32], char why[ROAM_STORE_WHY_MAX]);
ROAM_API void roam_broker_free(roam_broker *b); /* at once; roam_broker_stop first for manners */

/* The five verbs. */
ROAM_API void roam_broker_feed(roam_broker *b, roam_time now, const roam_wire in[], size_t n);
ROAM_API void roam_broker_tick(roam_broker *b, roam_time now);
ROAM_API size_t roam_broker_drain(roam_broker *b, roam_time now, roam_wire out[], size_t n);
ROAM_API size_t roam_broker_poll(roam_broker *b, roam_event ev[],
                                 size_t n); /* at most 4096 wait; older ones are dropped and counted */
ROAM_API roam_time roam_broker_deadline(const roam_broker *b);
ROAM_API roam_machine roam_broker_machine(roam_broker *b);

/* Commands. */

/* ROAM_EV_LISTENING (with the true address) or ROAM_EV_LISTEN_FAILED follows, token = *listener. ROAM_E_PERMISSION: beyond
 * loopback without authentication and without anonymous_beyond_loopback. ROAM_E_CERTIFICATE: QUIC, TLS or WSS
 * without certificate and key. */
ROAM_API roam_rc roam_broker_listen(roam_broker *b, roam_time now, roam_transport_kind transport, const roam_addr *local,
                                    uint64_t *listener);
/* The same for a listener that is no IP address. name: the path of a Unix socket (a stale file there is replaced; whoever
 * may open it counts as local), or "fd:3", a socket already listening (QUIC: bound) that the process was given. local: its
 * address, where it has one, for the check above; or NULL. ROAM_E_UNSUPPORTED: QUIC has no Unix sockets. */
ROAM_API roam_rc roam_broker_listen_name(roam_broker *b, roam_time now, roam_transport_kind transport, const char *name,
                                         const roam_addr *local, uint64_t *listener);
/* Other certificate, key and CA, for new connections; those that are there keep theirs. ROAM_E_CERTIFICATE: *why (may be
 * NULL) says which PEM is bad, and the old ones stay. A broker made without a certificate cannot get one later. */
ROAM_API roam_rc roam_broker_set_certificate(roam_broker *b, const roam_tls_config *tls, const char **why);
/* What of these options can change while it runs: connect_timeout_ns, session_expiry_max_s, receive_maximum,
 * topic_alias_maximum, queue_messages_max, queue_bytes_max, overflow, the longest keep alive, and the log's level. They
 * hold for what begins from now on. ROAM_E_OPTION: see roam_broker_option_error; nothing has changed then. */
ROAM_API roam_rc roam_broker_reconfigure(roam_broker *b, const roam_broker_options *o);
/* Publishes from within, as a client would. */
ROAM_API roam_rc roam_broker_publish(roam_broker *b, roam_time now, roam_bytes topic, roam_bytes payload, uint8_t qos,
                                     bool retain);
/* Answers ROAM_EV_AUTH, now or later (connect_timeout_ns runs on). */
typedef struct roam_admission {
  uint8_t reason;        /* 0: come in; 0x18: another round, data goes out in AUTH; from 0x80 on: refused */
  roam_bytes data;       /* Authentication Data; only where there is a method */
  const char *user_name; /* who it is; NULL: as CONNECT says */
  const char *text;      /* refused: why, as Reason String, at most 255 bytes; NULL: the reason's own words */
} roam_admission;
#define ROAM_ADMISSION_TEXT_MAX 255
/* All is copied. ROAM_E_NOT_FOUND: nobody with that number waits for you (any more): forget it. ROAM_E_ARGUMENT: a reason
 * that is none of these or does not fit CONNACK, data without a method, text or user_name that is too long or no UTF-8. */
ROAM_API roam_rc roam_broker_admit(roam_broker *b, roam_time now, uint64_t peer, const roam_admission *admission);
/* Replaces the passwords: clients whose user is gone or has another hash are disconnected with 0x87. ROAM_E_STATE: the
 * broker was made without; ROAM_E_OPTION: *fault (may be NULL) says why, and nothing has changed. */
ROAM_API roam_rc roam_broker_set_passwords(roam_broker *b, roam_time now, roam_bytes file, roam_access_fault *fault);
/* Replaces the access list: it counts for every publish, delivery and SUBSCRIBE from now on; subscriptions stay and bring
 * what may still be read. ROAM_E_OPTION as above. */
ROAM_API roam_rc roam_broker_set_acl(roam_broker *b, roam_time now, roam_bytes file, roam_access_fault *fault);
/* Commands by client id or peer. Several workers: any of them may be told, and passes it on to the one that has the client;
 * then 0 says that it is on its way, and what cannot be known here is not said. */
/* Disconnects a client by id with a reason (0x98 ADMINISTRATIVE_ACTION is usual). ROAM_E_NOT_FOUND. */
ROAM_API roam_rc roam_broker_kick(roam_broker *b, roam_time now, const char *client_id, uint8_t reason);
/* MQTT-next: subscribes a session to a filter on a flow of the broker's own, which it opens as soon as the client is there,
 * speaks flows and grants a stream; the messages wait until then and travel nowhere else. It lasts as long as the session.
 * ROAM_E_NOT_FOUND: no session of that client id; ROAM_E_ARGUMENT: the filter or QoS is none, or shared; ROAM_E_LIMIT:
 * subscriptions_max, or 63 lanes. */
ROAM_API roam_rc roam_broker_assign(roam_broker *b, roam_time now, const char *client_id, const char *filter, uint8_t qos);
/* Takes it back: the flow is ended when what it has has been said. ROAM_E_NOT_FOUND. */
ROAM_API roam_rc roam_broker_withdraw(roam_broker *b, roam_time now, const char *client_id, const char *filter);
/* Sends everybody to another server, evenly spread over that time: DISCONNECT with reason 0x9C (use another server) or 0x9D
 * (server moved) and the Server Reference ("host[:port]"); who connects meanwhile is told the same in CONNACK.
 * ROAM_EV_DRAINED follows when nobody is left. ROAM_E_ARGUMENT: another reason, or no reference of 1 to 255 bytes of UTF-8.
 */
ROAM_API roam_rc roam_broker_send_away(roam_broker *b, roam_time now, uint8_t reason, const char *server_reference,
                                       uint64_t spread_ns);
/* DISCONNECT 0x8B to all, flush, close listeners; quiet when roam_broker_get_stats().connections is 0, at most 3 s later.
 */
ROAM_API void roam_broker_stop(roam_broker *b, roam_time now);

/* Snapshots (getters). */

typedef struct roam_peer_info {
  char client_id[128]; /* cut at 127 bytes, NUL-terminated */
  bool connected;
  roam_transport_kind transport;
  uint8_t version;
  roam_addr ip_address;      /* the current one (address and port) */
  roam_addr connect_address; /* the one of its last CONNECT */
  uint32_t moves;            /* address changes without a new CONNECT, over the session's life */
  uint32_t connects;         /* CONNECT packets handled for this client id */
  uint64_t connected_at;     /* roam_time */
  uint32_t subscriptions, inflight, queued;
  uint64_t messages_in, messages_out, dropped;
  uint64_t rtt_ns; /* QUIC */
  uint16_t keep_alive_s;
  uint32_t lanes;      /* data streams open now */
  char user_name[128]; /* as authenticated, cut at 127 bytes; empty: none */
  /* QUIC, of the present connection */
  bool resumed, early_data;
  uint32_t key_updates;
  uint64_t cwnd_bytes, bytes_in_flight, min_rtt_ns;
  uint64_t bytes_in, bytes_out, udp_in, udp_out;
  uint64_t handshake_bytes_in, handshake_bytes_out; /* part of bytes_in, bytes_out */
  uint64_t stream_bytes_out;                        /* each byte once; the rest of bytes_out is overhead and repetition */
  uint64_t packets_lost;                            /* 0 with ngtcp2 before 1.16 */
  size_t memory_bytes;                              /* what its connection holds */
  size_t queued_bytes;                              /* and its session's queue */
} roam_peer_info;

/* Fills out with clients in order of first connection, from the offset-th on; returns how many. */
ROAM_API size_t roam_broker_clients(const roam_broker *b, size_t offset, roam_peer_info out[], size_t n);
ROAM_API roam_rc roam_broker_client(const roam_broker *b, const char *client_id,
                                    roam_peer_info *out); /* ROAM_E_NOT_FOUND */

typedef struct roam_address_change {
  roam_time at;
  roam_addr address;
  bool by_connect; /* true: a CONNECT came from it; false: the connection moved to it */
} roam_address_change;
/* Oldest first, at most address_history_max; returns how many. */
ROAM_API size_t roam_broker_history(const roam_broker *b, const char *client_id, roam_address_change out[], size_t n);

/* The broker's figures, one line each: type, name, how those of several workers become one (SUM; ANY; SAME: all have it, it
 * counts once), meaning. */
#define ROAM_BROKER_STATS_MAP(X)                                                                                           \
  X(uint32_t, connections, SUM, "connections there are")                                                                   \
  X(uint32_t, sessions, SUM, "sessions there are, connected or not")                                                       \
  X(uint32_t, subscriptions, SUM, "subscriptions there are")                                                               \
  X(uint32_t, retained, SAME, "retained messages, without $SYS")                                                           \
  X(uint32_t, listeners, SAME, "addresses listened on")                                                                    \
  X(uint64_t, connects_accepted, SUM, "CONNECTs let in")                                                                   \
  X(uint64_t, connects_refused, SUM, "CONNECTs turned away")                                                               \
  X(uint64_t, handshakes_failed, SUM, "handshakes that came to nothing")                                                   \
  X(uint64_t, moves, SUM, "peers that changed their address")                                                              \
  X(uint64_t, messages_in, SUM, "PUBLISHes taken")                                                                         \
  X(uint64_t, messages_out, SUM, "PUBLISHes sent")                                                                         \
  X(uint64_t, messages_dropped, SUM, "messages that a full queue, their expiry or a limit has dropped")                    \
  X(uint64_t, bytes_in, SUM, "of MQTT, arrived")                                                                           \
  X(uint64_t, bytes_out, SUM, "of MQTT, sent")                                                                             \
  X(uint64_t, packets_malformed, SUM, "packets that are no MQTT")                                                          \
  X(uint64_t, sessions_overflowed, SUM, "sessions ended because their queue was full")                                     \
  X(uint64_t, sessions_taken_over, SUM, "connections ended by another with their client id")                               \
  X(uint64_t, events_dropped, SUM, "events the owner did not fetch in time")                                               \
  X(uint64_t, lanes_refused, SUM, "data streams that clients opened beyond lanes_max")                                     \
  X(uint64_t, lanes_opened, SUM, "data streams served")                                                                    \
  X(uint64_t, lanes_failed, SUM, "data streams aborted for an error or a full queue")                                      \
  X(uint64_t, datagrams_in, SUM, "packets of MQTT that came as datagrams")                                                 \
  X(uint64_t, datagrams_out, SUM, "packets of MQTT that left as datagrams")                                                \
  X(uint64_t, datagrams_ignored, SUM, "datagrams that are empty, not MQTT, or a packet that may not travel so")            \
  X(uint64_t, moves_port, SUM, "of moves: only the port was new, which a NAT does")                                        \
  X(uint64_t, moves_validated, SUM, "paths proved, of connections that are gone")                                          \
  X(uint64_t, moves_unvalidated, SUM, "paths not answered, of connections that are gone")                                  \
  X(uint64_t, drained, SUM, "clients sent to another server")                                                              \
  X(uint64_t, connections_refused, SUM,                                                                                    \
    "turned away at connections_max or handshakes_max before they became a connection")                                    \
  X(uint32_t, handshakes, SUM, "TLS, QUIC and WebSocket handshakes under way")                                             \
  X(uint64_t, store_commits, SUM, "batches that the store has taken")                                                      \
  X(size_t, store_pending_bytes, SUM, "changed and not committed yet; with a store, stop when this is 0, too")             \
  X(bool, store_failed, ANY, "for good: clients are refused until a restart")                                              \
  X(uint64_t, rates_exceeded, SUM, "connections ended at request_rate_max")                                                \
  X(size_t, queued_bytes, SUM, "of all sessions' queues")                                                                  \
  X(uint64_t, auth_failures, SUM, "wrong or missing credentials")                                                          \
  X(uint64_t, connects_limited, SUM, "refused for their address's rate or failures")                                       \
  X(uint64_t, acl_denied, SUM, "publishes, deliveries and subscriptions the access list does not allow")                   \
  X(uint64_t, handshakes_resumed, SUM, "QUIC handshakes with a ticket")                                                    \
  X(uint64_t, early_accepted, SUM, "QUIC handshakes whose early data was taken")                                           \
  X(uint64_t, early_repeated, SUM, "first flights seen before: refused as early data")                                     \
  X(uint64_t, early_full, SUM, "refused because replay_keys_max were remembered")                                          \
  X(uint64_t, retries_sent, SUM, "QUIC Retry packets")                                                                     \
  X(uint64_t, resets_sent, SUM, "QUIC stateless resets")                                                                   \
  X(uint64_t, addresses_limited, SUM, "connections refused or ended at address_connections_max")                           \
  X(size_t, memory_bytes, SUM, "what connections hold, beside queued_bytes")                                               \
  X(uint64_t, memory_limited, SUM, "connections refused or ended at client_memory_max or memory_max")                      \
  X(uint64_t, server_flows_opened, SUM, "streams of MQTT-next that the broker opened")                                     \
  X(uint64_t, server_flows_refused, SUM, "flows of the broker's own that a client did not want or broke")                  \
  X(uint64_t, datagrams_direct, SUM, "several workers: QUIC datagrams that arrived where their connection is")             \
  X(uint64_t, datagrams_forwarded, SUM, "several workers: that went on to another")                                        \
  X(uint64_t, datagrams_adopted, SUM, "several workers: that came from one")                                               \
  X(uint64_t, early_elsewhere, SUM, "early data refused because another worker keeps the record of its first flights")     \
  X(uint64_t, letters_in, SUM, "letters from other workers")                                                               \
  X(uint64_t, letters_out, SUM, "letters to other workers")

typedef struct roam_broker_stats {
#define X(type, name, how, meaning) type name;
  ROAM_BROKER_STATS_MAP(X)
#undef X
} roam_broker_stats;
ROAM_API roam_broker_stats roam_broker_get_stats(const roam_broker *b);
/* Adds those of another worker. */
ROAM_API void roam_broker_stats_add(roam_broker_stats *sum, const roam_broker_stats *other);
/* What a MAIL unit that will never be fed holds is given back. */
ROAM_API void roam_broker_mail_drop(const uint8_t *data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
