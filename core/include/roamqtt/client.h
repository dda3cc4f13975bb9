/* client.h - one MQTT session over one transport at a time, kept alive while the network under it changes.
 *
 * A client lives through disconnects, reconnects and migrations; it ends with roam_client_close or a fatal reason
 * (ROAM_EV_CLOSED). Three words, used the same way everywhere: rebind (a NAT gave us another public address: nothing to
 * do), migrate (we moved to another local address, same connection), resume (a new connection, the same session).
 *
 * What ends it although `reconnect` is on: a CONNACK or DISCONNECT that an unchanged client would meet again (credentials,
 * client id, version, banned, not authorized, server moved), session taken over (0x8E), and before the first CONNACK a
 * certificate that is not acceptable, a server without MQTT, or an answer that is not MQTT. Everything else is tried again.
 *
 * Events must be polled: messages that are not keep their bytes, and with them the server's flow-control credit; at 1024
 * waiting events nothing more is read. A connection's end is told after all that was said before it, so an application that
 * does not poll is not reconnected either.
 *
 * Pointers inside events live until the next call on the client that is not a getter. One thread at a time. */
#ifndef ROAMQTT_CLIENT_H
#define ROAMQTT_CLIENT_H

#include <roamqtt/event.h>
#include <roamqtt/mqtt.h>
#include <roamqtt/tap.h>
#include <roamqtt/tls.h>
#include <roamqtt/wire.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct roam_client roam_client;

/* Which data streams a client opens beside its control stream. QUIC only; elsewhere all are one. In none of them does QoS
 * 2, or a subscription of a session that outlives its connection, leave the control stream unless a lane is named. */
typedef enum roam_lanes_strategy {
  ROAM_LANES_ONE,        /* everything on the control stream, but for lanes named in a call */
  ROAM_LANES_PER_TOPIC,  /* one for each topic published to, and for the first filter of each subscribe */
  ROAM_LANES_PER_QOS,    /* one for QoS 0, one for QoS 1 */
  ROAM_LANES_SPLIT,      /* one for publishing, one for subscriptions */
  ROAM_LANES_PER_MESSAGE /* a new one for each message: no order among them */
} roam_lanes_strategy;
#define ROAM_LANE_CONTROL UINT32_MAX /* the control stream, by name */

typedef struct roam_client_options {
  size_t size;
  const char *url;       /* required: mqtt-quic://host[:14567] (or quic://), mqtts://host[:8883], mqtt://host[:1883],
                            wss://host[:443][/path], ws://host[:80][/path] (path: /mqtt); IPv6 in brackets */
  const char *client_id; /* NULL: "roam-" and 16 random letters */
  const char *user_name; /* NULL: none */
  roam_bytes password;   /* empty: none */
  uint8_t version;       /* 5; or 4 (3.1.1), 3 (3.1) */
  bool clean_start; /* true. With version 5 and a session expiry it is meant for the first connection of this object: later
                       ones resume. 3.1.1 has one flag for both, which is always as given here */
  uint32_t session_expiry_s; /* 0; a client with clean_start false wants more. UINT32_MAX: for ever */
  uint16_t keep_alive_s;     /* 60 */
  const char *will_topic;    /* NULL: no will */
  roam_bytes will_payload;
  uint8_t will_qos;
  bool will_retain;
  uint32_t will_delay_s; /* 0 */

  roam_tls_config tls; /* QUIC, TLS, WSS: wall_unix_s (the time of day at roam_client_start) must be set unless insecure */
  const char *server_name; /* NULL: the URL's host */
  roam_addr local;         /* any part may be 0 */
  const char *interface;   /* NULL: the routing table's choice */

  bool reconnect;              /* true */
  uint64_t reconnect_min_ns;   /* 200 ms; doubles with each attempt, jitter of a half */
  uint64_t reconnect_max_ns;   /* 30 s */
  uint64_t connect_timeout_ns; /* 10 s, for resolving the name and then for each of its addresses, from the first packet to
                                  CONNACK */
  uint64_t idle_timeout_ns; /* 0: twice keep_alive_s, at least 60 s (10 min without Keep Alive): QUIC's max_idle_timeout */
  uint64_t ping_ns;         /* 15 s: QUIC PING after so long without a packet; 0 = off */
  bool offline_queue;       /* true: publishes without a connection wait; false: ROAM_E_STATE */
  bool manual_ack;          /* false: acknowledged once polled; true: roam_client_ack */

  uint16_t receive_maximum;     /* 1024 */
  uint16_t send_window_max;     /* 1024 */
  uint32_t maximum_packet_size; /* 1 MiB */
  uint32_t queue_messages_max;  /* 10000 */
  size_t queue_bytes_max;       /* 16 MiB */
  uint32_t subscriptions_max;   /* 1024 */
  roam_log log;

  bool roam; /* true: moves by itself when the network it stands on goes, fails or is worse than another (QUIC; not while
                `local` or `interface` pin it) */
  const char *interfaces;    /* NULL: wired, wireless, others, cellular. Else the order of preference, cheapest first:
                                "wlan0, wwan0:metered, ppp*:cost=50"; unlisted ones come after, metered ones last */
  uint64_t roam_settle_ns;   /* 2 s: a better network is taken when it has stayed up so long; doubles each time it flaps */
  uint64_t ping_min_ns;      /* 0: a third of ping_ns; the ping interval is learned between these two */
  uint64_t ping_max_ns;      /* 0: one and two thirds of ping_ns. Both equal to ping_ns: nothing is learned */
  roam_lanes_strategy lanes; /* ROAM_LANES_ONE */
  uint32_t lanes_max;        /* 32 data streams, at most 63; 0 = none, whatever is asked for */
  bool one_lane_per_packet;  /* false: packets are filled from all streams; true: a lost packet holds up one stream only */
  bool datagrams;            /* true: QUIC datagrams are negotiated; they are used only where asked for */
  const char *datagram_filter; /* NULL; QoS 0 publishes to topics that match go in datagrams, as if each had asked for it */
  uint16_t topic_alias_maximum; /* 16: topic aliases the server may use; 0 = none */
  bool payload_format_check;    /* false; true: a payload that is not the UTF-8 it says it is is refused with 0x99 (QoS 0:
                                   dropped), and not published either */
  bool request_response_information; /* false; true: ask for it, roam_client_response_information has the answer */
  roam_bytes connect_props;          /* 5.0: more properties of CONNECT, encoded (USER_PROPERTY) */
  roam_bytes will_props;             /* 5.0: more properties of the will, encoded (CONTENT_TYPE, USER_PROPERTY...) */
  bool fallback;              /* false; true: when QUIC does not get through, TLS to the same host; and back when it does */
  uint16_t fallback_port;     /* 8883 */
  uint64_t fallback_delay_ns; /* 300 ms: QUIC's head start before TLS, and an address's before the next */
  uint64_t resume_after_ns;   /* 3 s: not answered for so long, a new connection is tried beside the old one; 0 = never */
  uint32_t redirects_max; /* 4: Server References followed until a connection has lasted 60 s; 0 = such a server is final */
  bool flows; /* false. true: MQTT-next is spoken with servers that speak it: lanes are flows, whose subscriptions and
                 messages in flight outlive their streams and, with session_expiry_s, the connection. With other servers as
                 without */
  uint32_t flow_expire_s;  /* 300: how long the server keeps a flow without a stream */
  const char *auth_method; /* NULL: user_name and password, if any, go out as they are. "SCRAM-SHA-256" with both: they do
                              not, and the server proves that it knows them too. Others: ROAM_EV_AUTH and roam_client_auth.
                              Needs version 5 */
  roam_bytes auth_data;    /* of another method's CONNECT; empty: none */
  roam_bytes state; /* what roam_client_saved gave in an earlier run; what is foreign, damaged or expired is ignored */
  bool tell_state;  /* false. true: ROAM_EV_STATE whenever there is something new to save */
  bool early_data;  /* true: QUIC, with a ticket: CONNECT, new SUBSCRIBEs and messages that are safe_to_repeat leave
                       in the first flight */
  uint64_t initial_rtt_ns;    /* 100 ms: QUIC, of a server not met before */
  roam_congestion congestion; /* ROAM_CONGESTION_CUBIC; QUIC */
  uint64_t key_update_bytes;  /* 1 GiB: QUIC, sent with one key before the next; 0 = the library's choice */
  bool follow_preferred;      /* true: QUIC, go to the address the server prefers */
  roam_tap tap;               /* none */
  uint32_t server_flows_max;  /* 16: MQTT-next: flows the server may open, with what it has subscribed us to; together with
                                 lanes_max at most 63. 0: none are welcome */
  const char *fallback_url;   /* NULL: TLS at the url's host, fallback_port. Else mqtts://host[:8883] or
                                 wss://host[:443][/path]; its certificate is for that host, or for server_name */
  bool bare_control; /* false. true: with flows, CONNECT comes first on the control stream, without a flow header: for
                        servers on mqtt-lib (mqttv5), which know none there */
  uint32_t datagram_bytes_max; /* 8952, from 1200 to 65487: QUIC, the largest UDP payload sent where the path carries it */
} roam_client_options;

ROAM_API void roam_client_options_init(roam_client_options *o);
/* NULL with *rc (may be NULL): ROAM_E_OPTION (roam_client_option_error tells which and the remedy), ROAM_E_CERTIFICATE,
 * ROAM_E_MEMORY. Everything in o is copied. */
ROAM_API roam_client *roam_client_new(const roam_client_options *o, roam_random *random, roam_rc *rc);
/* Why these options would be refused, as a sentence naming the option and the remedy; NULL when they are fine. Static
 * storage. */
ROAM_API const char *roam_client_option_error(const roam_client_options *o);
ROAM_API void
roam_client_free(roam_client *c); /* at once and without a word to the server; roam_client_close first for manners */

/* The five verbs. */
ROAM_API void roam_client_feed(roam_client *c, roam_time now, const roam_wire in[], size_t n);
ROAM_API void roam_client_tick(roam_client *c, roam_time now);
ROAM_API size_t roam_client_drain(roam_client *c, roam_time now, roam_wire out[], size_t n);
ROAM_API size_t roam_client_poll(roam_client *c, roam_event ev[], size_t n);
ROAM_API roam_time roam_client_deadline(const roam_client *c);
ROAM_API roam_machine roam_client_machine(roam_client *c);

/* Commands. All return ROAM_E_CLOSED after ROAM_EV_CLOSED. *token (may be NULL) names the command in the event that answers
 * it. */

/* Begins; ROAM_EV_CONNECTED follows, or DISCONNECTED and further attempts, or CLOSED. ROAM_E_STATE: already begun. */
ROAM_API roam_rc roam_client_start(roam_client *c, roam_time now);

typedef struct roam_client_message {
  roam_bytes topic, payload;
  roam_bytes props; /* 5.0: encoded (roam_props_put) */
  uint8_t qos;
  bool retain;
  bool datagram; /* QoS 0: in a QUIC datagram if the server takes it and it fits, else as without */
  uint32_t
      lane; /* 0: as the strategy says; ROAM_LANE_CONTROL; else the lane of that number, which is the application's own */
  bool safe_to_repeat; /* false. true: may leave in QUIC's early data, which an attacker may play again elsewhere */
} roam_client_message;
/* Topic, payload and props are copied once. ROAM_EV_PUBLISHED follows for QoS 1 and 2; its rc is not 0 when the server
 * refused the message (ROAM_E_REFUSED, reason) or it was dropped (expired: ROAM_E_TIMEOUT, too large: ROAM_E_TOO_LARGE).
 * ROAM_E_BLOCKED: the queue is full, try again after ROAM_EV_WRITABLE. ROAM_E_STATE: not connected and no offline_queue.
 * ROAM_E_ARGUMENT: topic, QoS, or payload_format_check. ROAM_E_TOO_LARGE. */
ROAM_API roam_rc roam_client_publish(roam_client *c, roam_time now, const roam_client_message *m, uint64_t *token);
/* The subscription is kept and made again whenever the server has lost the session. ROAM_EV_SUBSCRIBED follows.
 * ROAM_E_LIMIT: subscriptions_max. ROAM_E_ARGUMENT: not a topic filter, or identifiers that differ within one call. */
ROAM_API roam_rc roam_client_subscribe(roam_client *c, roam_time now, const roam_filter *filters, size_t n,
                                       uint64_t *token);
/* An unsubscribe goes on the lane of its first filter's subscription: filters of different lanes want a call each. */
ROAM_API roam_rc roam_client_unsubscribe(roam_client *c, roam_time now, const roam_filter *filters, size_t n,
                                         uint64_t *token);
/* How subscribing differs from the strategy's way. */
typedef struct roam_client_subscribe_how {
  uint32_t lane; /* as in roam_client_message. Deliveries come on the lane of the subscription, in its order */
  bool datagram; /* QoS 0 deliveries may come in datagrams: the server is asked by a User Property, which others ignore */
} roam_client_subscribe_how;
ROAM_API roam_rc roam_client_subscribe_how_to(roam_client *c, roam_time now, const roam_filter *filters, size_t n,
                                              const roam_client_subscribe_how *how, uint64_t *token);
/* Lanes that have something to send at once share the packets by weight, 1 to 256, 16 at first; the control stream goes
 * before all. lane: one of the application's own. ROAM_E_ARGUMENT: no such weight; ROAM_E_LIMIT: no lane of its own is to
 * be had. */
ROAM_API roam_rc roam_client_lane_weight(roam_client *c, roam_time now, uint32_t lane, uint32_t weight);
/* With manual_ack: the message of that event is dealt with. */
ROAM_API roam_rc roam_client_ack(roam_client *c, roam_time now, uint32_t lane, uint16_t packet_id);
/* Answers ROAM_EV_AUTH with reason 0x18; data goes out in AUTH. ROAM_E_STATE: nothing was asked (any more). */
ROAM_API roam_rc roam_client_auth(roam_client *c, roam_time now, roam_bytes data);
/* Authenticates anew while connected (section 4.12.1), as auth_method says; data is what another method begins with.
 * ROAM_EV_AUTH with reason 0 follows, or more rounds, or the server ends the connection. ROAM_E_STATE: not connected, no
 * auth_method, or one is under way. */
ROAM_API roam_rc roam_client_reauthenticate(roam_client *c, roam_time now, roam_bytes data);
/* Move to another local address (its port may be 0) or interface; one of them given. immediate false: both networks are
 * alive, the new path is validated first and nothing is interrupted; true: the old one is dead or dying. PATH_MIGRATED or
 * PATH_FAILED follows. On TCP: ROAM_E_UNSUPPORTED. Not connected: the address is used from the next connection on, which is
 * tried soon, and there is no PATH event; an attempt under way begins anew when immediate, else the connection moves once
 * it is there. */
ROAM_API roam_rc roam_client_migrate(roam_client *c, roam_time now, const roam_addr *local, const char *interface,
                                     bool immediate);
/* The application says that the network may have changed: something non-probing goes out at once. */
ROAM_API roam_rc roam_client_hint(roam_client *c, roam_time now);
/* Sends what is queued (as far as it goes within 3 s), DISCONNECT with the reason, and closes. ROAM_EV_CLOSED with rc 0
 * follows. */
ROAM_API roam_rc roam_client_close(roam_client *c, roam_time now, uint8_t reason);

/* Getters. */
typedef enum roam_client_state {
  ROAM_CLIENT_NEW,
  ROAM_CLIENT_CONNECTING,
  ROAM_CLIENT_CONNECTED,
  ROAM_CLIENT_WAITING,
  ROAM_CLIENT_CLOSING,
  ROAM_CLIENT_CLOSED
} roam_client_state;
ROAM_API roam_client_state roam_client_get_state(const roam_client *c);
ROAM_API const char *roam_client_id(const roam_client *c); /* the one in force, also when the server assigned it */

/* What the server answered to request_response_information, usually the beginning of topics to be answered on; NULL:
 * nothing. Lives until the next non-getter. */
ROAM_API const char *roam_client_response_information(const roam_client *c);

typedef struct roam_client_error_info {
  roam_rc rc;
  int reason;       /* MQTT reason code, -1 none */
  uint64_t code;    /* QUIC or TLS code, 0 none */
  const char *text; /* "connect mqtt-quic://broker:14567: certificate expired"; lives until the next non-getter */
} roam_client_error_info;
ROAM_API roam_client_error_info roam_client_error(const roam_client *c); /* the last trouble */

typedef struct roam_client_stats {
  roam_addr local, remote;
  roam_transport_kind transport;
  uint64_t rtt_ns, cwnd_bytes;
  uint64_t bytes_in, bytes_out;
  uint64_t messages_in, messages_out, dropped;
  uint32_t connects, migrations, migrations_failed;
  uint32_t inflight, queued;
  uint32_t probes, probes_failed;         /* moves with both networks alive, by result */
  uint32_t immediates, immediates_failed; /* moves from a network that was going */
  uint32_t moves_by_policy;               /* of all those begun, the client's own decision */
  uint32_t rebinds;                       /* a NAT gave us another public address */
  uint32_t troubles, hints;               /* silences and refusals noticed; signs of a changed network */
  uint64_t ping_ns;                       /* the interval in force */
  uint32_t lanes;                         /* data streams open now */
  bool flows;                             /* MQTT-next is spoken on this connection */
  uint64_t datagrams_in, datagrams_out;
  uint32_t redirects;                      /* Server References followed */
  uint32_t fallbacks, climbs;              /* from QUIC to TLS, and back */
  uint32_t early_accepted, early_rejected; /* connections with early data, by the server's verdict */
  uint32_t resumed;                        /* handshakes with a ticket that was taken */
  uint32_t key_updates;
  uint64_t min_rtt_ns;
  uint64_t udp_in, udp_out;                         /* datagrams on the wire */
  uint64_t handshake_bytes_in, handshake_bytes_out; /* part of bytes_in, bytes_out */
  uint64_t stream_bytes_out;                        /* each byte once; the rest of bytes_out is overhead and repetition */
  uint64_t packets_lost;                            /* 0 with ngtcp2 before 1.16 */
  uint32_t server_flows;                            /* MQTT-next: of the server's, open now */
} roam_client_stats;
ROAM_API roam_client_stats roam_client_get_stats(const roam_client *c);

/* What to keep between runs (tickets, address tokens, round-trip times; no message, no password), for options.state.
 * Whoever has it can resume our connections: mode 0600. ROAM_EV_STATE tells of changes, with tell_state. Empty: nothing
 * yet. Lives until the next call on the client. */
ROAM_API roam_bytes roam_client_saved(roam_client *c);

/* URL reading, for tools: splits into transport, host and port. ROAM_E_OPTION: unknown scheme or bad port. host needs len
 * bytes. */
ROAM_API roam_rc roam_url_parse(const char *url, roam_transport_kind *transport, char *host, size_t len, uint16_t *port);

#ifdef __cplusplus
}
#endif
#endif
