/* event.h - everything a client or a broker tells its owner, as one small tagged struct.
 *
 * Pointers inside an event are valid until the next call on the same object that is not a getter. */
#ifndef ROAMQTT_EVENT_H
#define ROAMQTT_EVENT_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name, number, which part of the union is set, meaning */
#define ROAM_EVENT_MAP(X)                                                                                                  \
  X(NONE, 0, "nothing")                                                                                                    \
  X(CONNECTED, 1, "client: CONNACK arrived (u.link: session_present, reason, local, remote, transport)")                   \
  X(DISCONNECTED, 2,                                                                                                       \
    "client: the connection ended (u.link: rc, reason, retry_ns); the session goes on if retry_ns is set")                 \
  X(CLOSED, 3, "client: for good; rc and text say why")                                                                    \
  X(MESSAGE, 4, "client: a PUBLISH arrived (u.message)")                                                                   \
  X(PUBLISHED, 5, "client: the publish with this token is done (u.ack: reason)")                                           \
  X(SUBSCRIBED, 6, "client: SUBACK for this token (u.ack: codes)")                                                         \
  X(UNSUBSCRIBED, 7, "client: UNSUBACK for this token (u.ack: codes)")                                                     \
  X(WRITABLE, 8, "client: what returned ROAM_E_BLOCKED may be tried again")                                                \
  X(PATH_PROBING, 9, "client: a new path is being validated (u.path)")                                                     \
  X(PATH_MIGRATED, 10, "client: the connection moved (u.path: old, new, validation_ns, gap_ns)")                           \
  X(PATH_FAILED, 11, "client: a path could not be used (u.path, rc)")                                                      \
  X(EARLY_DATA, 12,                                                                                                        \
    "client: the server's verdict on early data (rc 0: taken; ROAM_E_REFUSED: sent again after the handshake)")            \
  X(STATE, 13, "client: what should be kept between runs has changed: roam_client_saved")                                  \
  X(TRANSPORT, 16, "client: another transport won or took over; text says why (u.link)")                                   \
  X(PATH_TROUBLE, 17, "client: nothing is answered, or the network refuses to send (u.path; text)")                        \
  X(REDIRECTED, 18, "client: the server sent us to another (text: where and why; reason)")                                 \
  X(DRAINED, 19, "broker: everybody has been asked to leave (token: how many)")                                            \
  X(LISTENING, 20, "broker: a listener is bound (u.link: local, transport; token: listener)")                              \
  X(LISTEN_FAILED, 21, "broker: a listener could not be bound (rc, u.link: local)")                                        \
  X(PEER_CONNECTED, 22, "broker: a client's CONNECT was accepted (u.link)")                                                \
  X(PEER_DISCONNECTED, 23, "broker: a client's connection ended (u.link: rc, reason)")                                     \
  X(PEER_MOVED, 24, "broker: a client's address changed (u.path: old_remote, remote)")                                     \
  X(PEER_REFUSED, 25, "broker: a CONNECT or handshake was refused (u.link: rc, reason, remote)")                           \
  X(AUTH, 26,                                                                                                              \
    "broker: a CONNECT or an AUTH waits for roam_broker_admit (u.auth); client: AUTH of its own method (u.auth, reason)")  \
  X(STORE_FAILED, 35, "broker: the store cannot be written (rc, text); ROAM_E_NO_SPACE: it is tried again, else for good") \
  X(STORE_RECOVERED, 36, "broker: the store can be written again")                                                         \
  X(NAT_REBOUND, 40, "relay: mappings were flushed and the public address changed (u.path: old_local, local)")             \
  X(NAT_RESET, 41, "relay: a TCP client without a mapping was reset (u.path: remote)")                                     \
  X(NAT_MAPPED, 42, "relay: a new mapping (u.path: remote = inside, local = public)")                                      \
  X(LANE_LOST, 43,                                                                                                         \
    "client: a data stream was lost (u.lane; rc, reason); what it carried goes on another, or is unsettled")               \
  X(PEER_LANE_LOST, 44, "broker: a client's data stream was aborted (u.lane; rc, reason); the client goes on")             \
  X(RATE, 60, "load: one second of one row (u.rate)")                                                                      \
  X(LOAD_DONE, 61, "load: the run is over")

typedef enum roam_event_kind {
#define X(name, number, text) ROAM_EV_##name = number,
  ROAM_EVENT_MAP(X)
#undef X
} roam_event_kind;

/* "CONNECTED" for ROAM_EV_CONNECTED; "?" for others. Static storage. */
ROAM_API const char *roam_event_name(int kind);

typedef enum roam_transport_kind {
  ROAM_TRANSPORT_QUIC = 1,
  ROAM_TRANSPORT_TCP = 2,
  ROAM_TRANSPORT_TLS = 3,
  ROAM_TRANSPORT_WS = 4,
  ROAM_TRANSPORT_WSS = 5
} roam_transport_kind;

ROAM_API const char *roam_transport_name(int kind); /* "quic", "tcp", ... */

typedef struct roam_event_link {
  roam_addr local, remote;
  uint64_t retry_ns; /* DISCONNECTED: the next attempt is that far away; 0 = none will be made */
  uint32_t attempt;  /* which attempt since the last success */
  uint8_t transport; /* roam_transport_kind */
  uint8_t version;   /* MQTT: 3, 4, 5 */
  bool session_present;
} roam_event_link;

typedef struct roam_event_message {
  roam_bytes topic, payload;
  roam_bytes props; /* encoded properties without their length (5.0), read with roam_prop_next */
  uint32_t lane;
  uint16_t packet_id; /* 0 for QoS 0 */
  uint8_t qos;
  bool retain, dup;
} roam_event_message;

typedef struct roam_event_ack {
  roam_bytes codes; /* SUBSCRIBED, UNSUBSCRIBED: one reason code per filter */
  roam_bytes props;
} roam_event_ack;

typedef struct roam_event_path {
  roam_addr local, remote;         /* now */
  roam_addr old_local, old_remote; /* before */
  uint64_t validation_ns;          /* from the first PATH_CHALLENGE to the answer */
  uint64_t gap_ns; /* PATH_MIGRATED: the longest time without a datagram from the server, from the last before the
                      move to the first after it */
} roam_event_path;

/* Broker: what somebody says who is not admitted yet (id: the client id), or wants to be authenticated anew. Client: what
 * the server says in its AUTH or CONNACK. Views with base NULL: not given. */
typedef struct roam_event_auth {
  roam_bytes user_name, password; /* broker, first round */
  roam_bytes method, data;        /* 5.0 */
  roam_addr remote;
  uint16_t round; /* broker: 0 = CONNECT, or the AUTH that begins again */
  bool again;     /* re-authentication */
} roam_event_auth;

typedef struct roam_event_lane {
  uint32_t lane;   /* of the session */
  uint32_t stream; /* the n-th of its kind on this connection; with 0x40000000 the server has opened it, with 0x80000000 it
                      is one-way */
  uint64_t code;   /* with which it was aborted */
  uint64_t flow;   /* MQTT-next: its number, else 0 */
  uint32_t unsettled; /* client: QoS 2 messages that may or may not have arrived; PUBLISHED with rc LOST names each */
} roam_event_lane;

typedef struct roam_event_rate {
  uint32_t row;
  uint32_t second;
  uint64_t published, received;
} roam_event_rate;

typedef struct roam_event {
  roam_event_kind kind;
  roam_rc rc;       /* ROAM_E_... where the kind says so */
  int reason;       /* MQTT reason code, -1 = none */
  uint64_t token;   /* of the command this answers */
  uint64_t peer;    /* broker: number of the connection */
  roam_time at;     /* the object's now */
  roam_bytes id;    /* broker: client id; relay and load: name of the row */
  const char *text; /* a sentence for people, or NULL */
  union {
    roam_event_link link;
    roam_event_message message;
    roam_event_ack ack;
    roam_event_path path;
    roam_event_rate rate;
    roam_event_auth auth;
    roam_event_lane lane;
  } u;
} roam_event;

#ifdef __cplusplus
}
#endif
#endif
