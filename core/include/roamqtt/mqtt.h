/* mqtt.h - MQTT 3.1, 3.1.1 and 5.0 alone: packets <-> bytes, a reader over any chunking, and the session machine for both
 * roles. Knows no address, no transport and no file. Sections named are of MQTT 5.0 unless they say 3.1.1. */
#ifndef ROAMQTT_MQTT_H
#define ROAMQTT_MQTT_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- packets --------------------------------------------------------------------------------------------------------- */

/* Section 2.1.2, table 2-1. */
typedef enum roam_packet_type {
  ROAM_CONNECT = 1,
  ROAM_CONNACK,
  ROAM_PUBLISH,
  ROAM_PUBACK,
  ROAM_PUBREC,
  ROAM_PUBREL,
  ROAM_PUBCOMP,
  ROAM_SUBSCRIBE,
  ROAM_SUBACK,
  ROAM_UNSUBSCRIBE,
  ROAM_UNSUBACK,
  ROAM_PINGREQ,
  ROAM_PINGRESP,
  ROAM_DISCONNECT,
  ROAM_AUTH
} roam_packet_type;

ROAM_API const char *roam_packet_name(int type); /* "PUBLISH" */

/* Protocol versions as they stand in CONNECT. */
enum {
  ROAM_MQTT_31 = 3,
  ROAM_MQTT_311 = 4,
  ROAM_MQTT_5 = 5
};

/* Section 2.4: name, number, text. */
#define ROAM_REASON_MAP(X)                                                                                                 \
  X(SUCCESS, 0x00, "success")                                                                                              \
  X(GRANTED_QOS_1, 0x01, "granted QoS 1")                                                                                  \
  X(GRANTED_QOS_2, 0x02, "granted QoS 2")                                                                                  \
  X(DISCONNECT_WITH_WILL, 0x04, "disconnect with will message")                                                            \
  X(NO_MATCHING_SUBSCRIBERS, 0x10, "no matching subscribers")                                                              \
  X(NO_SUBSCRIPTION_EXISTED, 0x11, "no subscription existed")                                                              \
  X(CONTINUE_AUTHENTICATION, 0x18, "continue authentication")                                                              \
  X(REAUTHENTICATE, 0x19, "re-authenticate")                                                                               \
  X(UNSPECIFIED, 0x80, "unspecified error")                                                                                \
  X(MALFORMED_PACKET, 0x81, "malformed packet")                                                                            \
  X(PROTOCOL_ERROR, 0x82, "protocol error")                                                                                \
  X(IMPLEMENTATION_SPECIFIC, 0x83, "implementation specific error")                                                        \
  X(UNSUPPORTED_VERSION, 0x84, "unsupported protocol version")                                                             \
  X(CLIENT_ID_NOT_VALID, 0x85, "client identifier not valid")                                                              \
  X(BAD_USER_NAME_OR_PASSWORD, 0x86, "bad user name or password")                                                          \
  X(NOT_AUTHORIZED, 0x87, "not authorized")                                                                                \
  X(SERVER_UNAVAILABLE, 0x88, "server unavailable")                                                                        \
  X(SERVER_BUSY, 0x89, "server busy")                                                                                      \
  X(BANNED, 0x8A, "banned")                                                                                                \
  X(SERVER_SHUTTING_DOWN, 0x8B, "server shutting down")                                                                    \
  X(BAD_AUTHENTICATION_METHOD, 0x8C, "bad authentication method")                                                          \
  X(KEEP_ALIVE_TIMEOUT, 0x8D, "keep alive timeout")                                                                        \
  X(SESSION_TAKEN_OVER, 0x8E, "session taken over")                                                                        \
  X(TOPIC_FILTER_INVALID, 0x8F, "topic filter invalid")                                                                    \
  X(TOPIC_NAME_INVALID, 0x90, "topic name invalid")                                                                        \
  X(PACKET_ID_IN_USE, 0x91, "packet identifier in use")                                                                    \
  X(PACKET_ID_NOT_FOUND, 0x92, "packet identifier not found")                                                              \
  X(RECEIVE_MAXIMUM_EXCEEDED, 0x93, "receive maximum exceeded")                                                            \
  X(TOPIC_ALIAS_INVALID, 0x94, "topic alias invalid")                                                                      \
  X(PACKET_TOO_LARGE, 0x95, "packet too large")                                                                            \
  X(MESSAGE_RATE_TOO_HIGH, 0x96, "message rate too high")                                                                  \
  X(QUOTA_EXCEEDED, 0x97, "quota exceeded")                                                                                \
  X(ADMINISTRATIVE_ACTION, 0x98, "administrative action")                                                                  \
  X(PAYLOAD_FORMAT_INVALID, 0x99, "payload format invalid")                                                                \
  X(RETAIN_NOT_SUPPORTED, 0x9A, "retain not supported")                                                                    \
  X(QOS_NOT_SUPPORTED, 0x9B, "QoS not supported")                                                                          \
  X(USE_ANOTHER_SERVER, 0x9C, "use another server")                                                                        \
  X(SERVER_MOVED, 0x9D, "server moved")                                                                                    \
  X(SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 0x9E, "shared subscriptions not supported")                                        \
  X(CONNECTION_RATE_EXCEEDED, 0x9F, "connection rate exceeded")                                                            \
  X(MAXIMUM_CONNECT_TIME, 0xA0, "maximum connect time")                                                                    \
  X(SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, 0xA1, "subscription identifiers not supported")                                \
  X(WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, 0xA2, "wildcard subscriptions not supported")

enum {
#define X(name, number, text) ROAM_REASON_##name = number,
  ROAM_REASON_MAP(X)
#undef X
};
ROAM_API const char *roam_reason_text(int reason);
/* The return code that 3.1.1 (section 3.2.2.3) uses in CONNACK for a 5.0 reason, and back. */
ROAM_API uint8_t roam_reason_to_v3(int reason);
ROAM_API int roam_reason_from_v3(uint8_t code);

/* Section 2.2.2.2, table 2-4. */
#define ROAM_PROP_MAP(X)                                                                                                   \
  X(PAYLOAD_FORMAT_INDICATOR, 0x01)                                                                                        \
  X(MESSAGE_EXPIRY_INTERVAL, 0x02)                                                                                         \
  X(CONTENT_TYPE, 0x03)                                                                                                    \
  X(RESPONSE_TOPIC, 0x08)                                                                                                  \
  X(CORRELATION_DATA, 0x09)                                                                                                \
  X(SUBSCRIPTION_IDENTIFIER, 0x0B)                                                                                         \
  X(SESSION_EXPIRY_INTERVAL, 0x11)                                                                                         \
  X(ASSIGNED_CLIENT_IDENTIFIER, 0x12)                                                                                      \
  X(SERVER_KEEP_ALIVE, 0x13)                                                                                               \
  X(AUTHENTICATION_METHOD, 0x15)                                                                                           \
  X(AUTHENTICATION_DATA, 0x16)                                                                                             \
  X(REQUEST_PROBLEM_INFORMATION, 0x17)                                                                                     \
  X(WILL_DELAY_INTERVAL, 0x18)                                                                                             \
  X(REQUEST_RESPONSE_INFORMATION, 0x19)                                                                                    \
  X(RESPONSE_INFORMATION, 0x1A)                                                                                            \
  X(SERVER_REFERENCE, 0x1C)                                                                                                \
  X(REASON_STRING, 0x1F)                                                                                                   \
  X(RECEIVE_MAXIMUM, 0x21)                                                                                                 \
  X(TOPIC_ALIAS_MAXIMUM, 0x22)                                                                                             \
  X(TOPIC_ALIAS, 0x23)                                                                                                     \
  X(MAXIMUM_QOS, 0x24)                                                                                                     \
  X(RETAIN_AVAILABLE, 0x25)                                                                                                \
  X(USER_PROPERTY, 0x26)                                                                                                   \
  X(MAXIMUM_PACKET_SIZE, 0x27)                                                                                             \
  X(WILDCARD_SUBSCRIPTION_AVAILABLE, 0x28)                                                                                 \
  X(SUBSCRIPTION_IDENTIFIER_AVAILABLE, 0x29)                                                                               \
  X(SHARED_SUBSCRIPTION_AVAILABLE, 0x2A)

typedef enum roam_prop_id {
#define X(name, number) ROAM_PROP_##name = number,
  ROAM_PROP_MAP(X)
#undef X
} roam_prop_id;

/* One property. Which member counts follows from the id: number for the integer kinds, bytes for strings and binary data,
 * bytes (the name) and value for USER_PROPERTY. */
typedef struct roam_prop {
  uint8_t id;
  uint32_t number;
  roam_bytes bytes, value;
} roam_prop;

ROAM_API const char *roam_prop_name(int id); /* "CONTENT_TYPE"; NULL for an unknown id */
/* Walks encoded properties (as packets and events carry them: without the length): 1 = *out is set and *rest advanced,
 * 0 = at the end, ROAM_E_MALFORMED. */
ROAM_API int roam_prop_next(roam_bytes *rest, roam_prop *out);
/* The first property with that id: 1 and *out, or 0. */
ROAM_API int roam_prop_find(roam_bytes props, int id, roam_prop *out);

/* Builds encoded properties in the caller's memory; ROAM_E_LIMIT when it is full, ROAM_E_ARGUMENT for an unknown id or a
 * value the id cannot carry. */
typedef struct roam_props {
  uint8_t *base;
  size_t len, cap;
} roam_props;
ROAM_API roam_rc roam_props_put(roam_props *props, const roam_prop *prop);
ROAM_API roam_rc roam_props_put_number(roam_props *props, int id, uint32_t number);
ROAM_API roam_rc roam_props_put_bytes(roam_props *props, int id, roam_bytes bytes);
ROAM_API roam_rc roam_props_put_user(roam_props *props, roam_bytes name, roam_bytes value);

/* A decoded packet: views into the bytes it was read from. One struct for all types; the comment names who uses a field. */
typedef struct roam_packet {
  uint8_t type;         /* roam_packet_type */
  uint8_t version;      /* CONNECT: what it says; else the connection's */
  uint8_t qos;          /* PUBLISH */
  bool dup, retain;     /* PUBLISH */
  bool session_present; /* CONNACK */
  uint8_t reason;       /* CONNACK, PUBACK.., DISCONNECT, AUTH; in 3.1.1 CONNACK translated from its return code */
  uint16_t packet_id;
  roam_bytes props;          /* 5.0: encoded, without length, checked */
  roam_bytes topic, payload; /* PUBLISH */
  roam_bytes filters;        /* SUBSCRIBE, UNSUBSCRIBE: checked list for roam_filter_next */
  roam_bytes codes;          /* SUBACK, UNSUBACK */
  struct {                   /* CONNECT */
    bool clean_start, has_will, has_user_name, has_password, will_retain;
    uint8_t will_qos;
    uint16_t keep_alive_s;
    roam_bytes client_id, will_props, will_topic, will_payload, user_name, password;
  } connect;
} roam_packet;

/* What a bad packet is answered with. */
typedef struct roam_fault {
  roam_rc rc;       /* ROAM_E_MALFORMED, ROAM_E_PROTOCOL, ROAM_E_TOO_LARGE, ROAM_E_VERSION */
  uint8_t reason;   /* the 5.0 reason code the specification names */
  const char *text; /* a sentence: "PUBLISH topic name contains a wildcard"; static storage */
} roam_fault;

/* Reads one packet off the front of bytes. version: the connection's (0 while only CONNECT may come); max: the largest
 * packet accepted, in bytes. from_server tells who sent it, so that the wrong side's packets are refused. 0 and *used > 0:
 * *out is set. 0 and *used == 0: more bytes are needed. Negative: *fault says why; the connection is over. */
ROAM_API roam_rc roam_packet_read(roam_bytes bytes, uint8_t version, uint32_t max, bool from_server, roam_packet *out,
                                  size_t *used, roam_fault *fault);
/* How many bytes the packet takes when written for packet->version, 0 when it cannot be (too large, bad field). */
ROAM_API size_t roam_packet_size(const roam_packet *packet);
/* Writes it: ROAM_E_LIMIT when cap is too small, ROAM_E_ARGUMENT when a field cannot be encoded. */
ROAM_API roam_rc roam_packet_write(const roam_packet *packet, uint8_t *out, size_t cap, size_t *len);

/* One entry of a SUBSCRIBE or UNSUBSCRIBE list. */
typedef struct roam_filter {
  roam_bytes filter;
  uint8_t qos; /* SUBSCRIBE */
  bool no_local, retain_as_published;
  uint8_t retain_handling; /* 0, 1, 2 */
  uint32_t identifier; /* roam_client_subscribe alone: Subscription Identifier, 0 = none; in a packet it is a property */
} roam_filter;
/* 1 = *out set, 0 = end, ROAM_E_MALFORMED. type: ROAM_SUBSCRIBE or ROAM_UNSUBSCRIBE. */
ROAM_API int roam_filter_next(roam_bytes *rest, int type, roam_filter *out);
/* Appends one entry to memory of the caller's: ROAM_E_LIMIT when full. */
ROAM_API roam_rc roam_filter_put(uint8_t *out, size_t cap, size_t *len, int type, const roam_filter *filter);

/* Section 4.7: may this be published to; may this be subscribed to ("$share/name/filter" too); does the filter match the
 * topic
 * ("$" rule included; of a shared filter, the part behind the name). */
ROAM_API bool roam_topic_valid(roam_bytes topic);
ROAM_API bool roam_topic_filter_valid(roam_bytes filter);
ROAM_API bool roam_topic_matches(roam_bytes filter, roam_bytes topic);
/* Section 1.5.4: well-formed UTF-8 without U+0000 and surrogates. */
ROAM_API bool roam_utf8_valid(roam_bytes text);

/* A reader for those who have only chunks: keeps what is incomplete. */
typedef struct roam_reader roam_reader;
ROAM_API roam_reader *roam_reader_new(bool from_server, uint8_t version, uint32_t max);
ROAM_API void roam_reader_free(roam_reader *reader);
ROAM_API roam_rc roam_reader_feed(roam_reader *reader, const void *bytes, size_t len);
/* 1 = *out set (views live until the next call), 0 = feed more, negative: *fault, for ever. A CONNECT sets the version. */
ROAM_API int roam_reader_next(roam_reader *reader, roam_packet *out, roam_fault *fault);

/* ---- the session machine --------------------------------------------------------------------------------------------- */

/* One side of one MQTT session. It outlives connections: attach when a connection can carry packets, detach when it is
 * gone. What survives (subscriptions are the owner's; ids in flight, the queue) is kept; the rest is reset whole. Packets
 * travel on lanes, ordered byte streams (one, number 0, on TCP); state in flight is keyed by (flow, packet id), flow 0
 * being the control lane's. */
typedef struct roam_session roam_session;

typedef enum roam_role {
  ROAM_ROLE_CLIENT,
  ROAM_ROLE_SERVER
} roam_role;
typedef enum roam_overflow {
  ROAM_OVERFLOW_REFUSE,
  ROAM_OVERFLOW_DROP_OLDEST,
  ROAM_OVERFLOW_DROP_NEWEST
} roam_overflow;

typedef struct roam_session_options {
  size_t size;
  roam_role role;
  uint8_t version;               /* 5; a server's is set by roam_session_accept */
  uint16_t receive_maximum;      /* 1024: QoS 1 and 2 messages we let the peer have in flight (section 3.1.2.11.3) */
  uint16_t send_window_max;      /* 1024: most we keep in flight ourselves, whatever the peer allows */
  uint16_t topic_alias_maximum;  /* 16: aliases we accept */
  uint16_t topic_alias_send_max; /* 16: aliases we use, as far as the peer accepts them */
  uint32_t maximum_packet_size;  /* 1 MiB: largest packet accepted */
  uint32_t queue_messages_max;   /* 10000 waiting for window or connection */
  size_t queue_bytes_max;        /* 16 MiB of them */
  roam_overflow overflow;        /* REFUSE: roam_session_publish returns ROAM_E_BLOCKED (client) or ROAM_E_LIMIT (server) */
  bool queue_qos0_offline;       /* false: QoS 0 without a connection is dropped and counted */
  uint32_t events_max;           /* 1024 events may wait to be polled; feed stops taking bytes at the bound */
  bool manual_ack;               /* false for clients: QoS 1/2 are acknowledged when the message event has been polled */
  bool reason_strings;           /* false; true: errors are told in words too, where the peer wants them and they fit */
  size_t inflight_bytes_max;     /* 16 MiB of messages sent and not acknowledged, on each lane; one may always be */
} roam_session_options;

ROAM_API void roam_session_options_init(roam_session_options *o, roam_role role);
ROAM_API roam_session *roam_session_new(const roam_session_options *o);
ROAM_API void roam_session_free(roam_session *s);

/* A message on its way out: topic, properties and payload lie in one shared blob, so that ten thousand subscribers cost one
 * copy. The views point into blob. */
typedef struct roam_message {
  roam_blob *blob;
  roam_bytes topic, props, payload; /* props: encoded, without TOPIC_ALIAS and SUBSCRIPTION_IDENTIFIER */
  roam_time expires;                /* ROAM_NEVER, or when Message Expiry Interval runs out */
  uint8_t qos;
  bool retain;
} roam_message;
/* Copies the three parts into one new blob (count 1, the caller's), without TOPIC_ALIAS and SUBSCRIPTION_IDENTIFIER, so
 * that a received packet's props may be given as they are. MESSAGE_EXPIRY_INTERVAL in props sets expires from now.
 * ROAM_E_MEMORY; ROAM_E_ARGUMENT: topic not publishable, properties not those of a PUBLISH. */
ROAM_API roam_rc roam_message_make(roam_message *out, roam_time now, roam_bytes topic, roam_bytes props, roam_bytes payload,
                                   uint8_t qos, bool retain);

/* What a session tells its owner. */
typedef enum roam_session_event_kind {
  ROAM_SE_NONE,
  ROAM_SE_CONNACK,   /* client: packet = the CONNACK; session_present, reason */
  ROAM_SE_MESSAGE,   /* PUBLISH arrived: packet; QoS 2 duplicates are not reported. Answer with roam_session_ack */
  ROAM_SE_DONE,      /* our publish `token` is finished: packet.reason */
  ROAM_SE_DROPPED,   /* our publish `token` was dropped: packet.reason = QUOTA_EXCEEDED (overflow), IMPLEMENTATION_SPECIFIC
                        (expired),   PACKET_TOO_LARGE, QOS_NOT_SUPPORTED, RETAIN_NOT_SUPPORTED (the server's limits),
                        SERVER_UNAVAILABLE (QoS 0   without a connection), UNSPECIFIED (session cleared). QoS 0 only when
                        report_qos0 was set */
  ROAM_SE_SUBSCRIBE, /* server: packet.filters; answer with roam_session_suback */
  ROAM_SE_SUBACK,    /* client: token, packet.codes */
  ROAM_SE_UNSUBSCRIBE, /* server: answer with roam_session_unsuback */
  ROAM_SE_UNSUBACK,    /* client: token, packet.codes */
  ROAM_SE_DISCONNECT,  /* the peer sent DISCONNECT: packet.reason, packet.props */
  ROAM_SE_AUTH,        /* packet.reason, packet.props */
  ROAM_SE_WRITABLE,    /* after ROAM_E_BLOCKED: there is room again */
  ROAM_SE_FAULT, /* the session must leave this connection: fault; a DISCONNECT (5.0) has been queued where it may be sent
                  */
  ROAM_SE_LANE_FAULT, /* lane (not 0) must be given up: fault; nothing is read from it or sent on it any more. The owner
                         resets it and calls roam_session_lane_end; all other lanes go on */
  ROAM_SE_CHANGED     /* journal, lane 0: something that outlives connections changed, by packet.type. ROAM_PUBLISH: `token`
                         (QoS 2) has got packet.packet_id; ROAM_PUBREL: the peer has `token`, its message may be forgotten,
                         packet.packet_id not yet; ROAM_PUBCOMP: the peer's QoS 2 packet.packet_id is free again */
} roam_session_event_kind;

typedef struct roam_session_event {
  roam_session_event_kind kind;
  uint32_t lane;
  uint64_t token;
  roam_packet packet;
  roam_fault fault;
} roam_session_event;

/* A piece of output: hold is NULL (bytes live until the next call on the session) or a blob the bytes lie in, of which the
 * taker must take its own count if it keeps the pointer. */
typedef struct roam_slice {
  const uint8_t *base;
  size_t len;
  roam_blob *hold;
} roam_slice;

/* Client: a connection can carry packets; queues CONNECT. props, will...: as in packet->connect; in 5.0 the session adds
 * RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM and MAXIMUM_PACKET_SIZE itself. Resets `live`. The version is the
 * options'. Subscribe and publish may follow at once; they are sent after CONNACK. */
ROAM_API roam_rc roam_session_connect(roam_session *s, roam_time now, const roam_packet *connect);
/* Client, right after roam_session_connect: do not wait for CONNACK with new SUBSCRIBEs and with the messages at the front
 * of the queue that are safe_to_repeat (at most 16). For QUIC's early data, which may be played again by others. */
ROAM_API void roam_session_early(roam_session *s);
/* Server: takes a CONNECT (already read and admitted by the owner) and queues the CONNACK. connack->reason must be 0; its
 * props are the owner's; the session adds RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM and MAXIMUM_PACKET_SIZE. keep_alive_s is the
 * one in force (Server Keep Alive or the client's). What was in flight is sent again (DUP) when session_present. */
ROAM_API roam_rc roam_session_accept(roam_session *s, roam_time now, const roam_packet *connect, const roam_packet *connack,
                                     uint16_t keep_alive_s);
/* The connection is gone. What is in flight stays for the next one; QoS 0 is dropped unless queue_qos0_offline. When the
 * next CONNACK says that the server has no session, what was in flight is published anew, ahead of the queue (an owner who
 * does not want that calls roam_session_clear before). */
ROAM_API void roam_session_detach(roam_session *s, roam_time now);
/* Forgets all that was kept (a new session began). Tokens in flight come out as ROAM_SE_DROPPED. */
ROAM_API void roam_session_clear(roam_session *s, roam_time now);
ROAM_API bool roam_session_attached(const roam_session *s);

/* Bytes of a lane, in order, from the start of a packet. *used tells how many were taken: whole packets only; offer the
 * rest again with more behind it, or after polling when events_max was reached. Never fails: trouble is a ROAM_SE_FAULT
 * event. Nothing is copied: the events have views into these bytes, which must stay where they are until those events have
 * been polled and used. So: feed, poll until 0, and only then give the *used bytes back to the lane. */
ROAM_API void roam_session_feed(roam_session *s, roam_time now, uint32_t lane, roam_bytes bytes, size_t *used);
ROAM_API void roam_session_tick(roam_session *s, roam_time now);
/* Fills slices with what goes out on a lane, at most `room` bytes and n slices; never half a packet unless the packet alone
 * is larger than room, then as much as fits with the rest next. What was returned is taken as sent. */
ROAM_API size_t roam_session_drain(roam_session *s, roam_time now, uint32_t lane, size_t room, roam_slice out[], size_t n);
/* Oldest first; views live until the next non-getter call. */
ROAM_API size_t roam_session_poll(roam_session *s, roam_session_event ev[], size_t n);
ROAM_API roam_time roam_session_deadline(const roam_session *s);

/* Sends or queues a message (one blob count is taken for as long as needed). token comes back in ROAM_SE_DONE for QoS 1 and
 * 2 (and for QoS 0 when token_qos0 is set in flags: once handed to the lane). sub_ids: encoded SUBSCRIPTION_IDENTIFIER
 * properties to add, or empty. qos is min'd by the caller. ROAM_E_BLOCKED, ROAM_E_LIMIT as `overflow` says;
 * ROAM_E_TOO_LARGE for the peer. */
typedef struct roam_publish_how {
  uint8_t qos;
  bool retain;
  bool report_qos0;
  uint32_t lane;
  roam_bytes sub_ids;
  bool safe_to_repeat; /* client: may leave before CONNACK after roam_session_early */
} roam_publish_how;
ROAM_API roam_rc roam_session_publish(roam_session *s, roam_time now, const roam_message *message,
                                      const roam_publish_how *how, uint64_t token);
/* Acknowledges a message that ROAM_SE_MESSAGE reported (QoS 1: PUBACK, QoS 2: PUBREC). reason >= 0x80 refuses it. */
ROAM_API roam_rc roam_session_ack(roam_session *s, roam_time now, uint32_t lane, uint16_t packet_id, uint8_t reason);
/* Client. filters: an encoded list (roam_filter_put). Kept until attached; ROAM_E_BLOCKED when 1024 wait. */
ROAM_API roam_rc roam_session_subscribe(roam_session *s, roam_time now, roam_bytes filters, roam_bytes props,
                                        uint64_t token);
ROAM_API roam_rc roam_session_unsubscribe(roam_session *s, roam_time now, roam_bytes filters, roam_bytes props,
                                          uint64_t token);
/* Server: the answers, one code per filter. */
ROAM_API roam_rc roam_session_suback(roam_session *s, roam_time now, uint32_t lane, uint16_t packet_id, roam_bytes codes,
                                     roam_bytes props);
ROAM_API roam_rc roam_session_unsuback(roam_session *s, roam_time now, uint32_t lane, uint16_t packet_id, roam_bytes codes,
                                       roam_bytes props);
/* Queues a DISCONNECT; nothing goes out after it. With a reason below 0x80 what waits and may be sent goes first, with an
 * error it goes at once. A 3.1.1 server has none to send and the call only ends output. ROAM_E_STATE: not attached, or over
 * already. */
ROAM_API roam_rc roam_session_disconnect(roam_session *s, roam_time now, uint8_t reason, roam_bytes props);
ROAM_API roam_rc roam_session_auth(roam_session *s, roam_time now, uint8_t reason, roam_bytes props);
/* Server, at the end of a session: takes out, oldest first, a message with a token that this session was to get and that
 * another may get instead: one never sent, or one of QoS 1 without its PUBACK, but none of QoS 2 that was begun (section
 * 4.8.2). One blob count goes to the caller. False: there is none left. */
ROAM_API bool roam_session_reclaim(roam_session *s, roam_message *out, uint64_t *token);
/* Client: send a PINGREQ now (a sign of life is wanted). Without any packet for half the Keep Alive (at least 5 s) after a
 * PINGREQ, the session faults with ROAM_E_TIMEOUT, 0x8D; a server's does so 1.5 Keep Alive after the last packet. */
ROAM_API void roam_session_ping(roam_session *s, roam_time now);

typedef struct roam_session_info {
  uint32_t inflight, inflight_max; /* our unacknowledged QoS 1 and 2 */
  uint32_t queued;
  size_t queued_bytes;
  uint32_t awaiting_rel; /* QoS 2 received, PUBREL not yet */
  uint64_t dropped;
  uint64_t packets_in, packets_out, messages_in, messages_out;
  uint16_t keep_alive_s;
  uint8_t version;
  uint32_t peer_maximum_packet_size;
  bool drained;          /* nothing waits to be sent or acknowledged */
  size_t inflight_bytes; /* of inflight */
  uint32_t events;       /* not polled yet */
} roam_session_info;
ROAM_API roam_session_info roam_session_get_info(const roam_session *s);
/* The two of these that are asked for with every message: returns queued_bytes. */
ROAM_API size_t roam_session_weigh(const roam_session *s, size_t *inflight_bytes);

/* ---- lanes other than 0 ---------------------------------------------------------------------------------------------- */

/* A lane comes into being with its first use (feed, publish, subscribe_on), at most 64 of them. */

/* As roam_session_subscribe and roam_session_unsubscribe, on a lane. */
ROAM_API roam_rc roam_session_subscribe_on(roam_session *s, roam_time now, uint32_t lane, roam_bytes filters,
                                           roam_bytes props, uint64_t token);
ROAM_API roam_rc roam_session_unsubscribe_on(roam_session *s, roam_time now, uint32_t lane, roam_bytes filters,
                                             roam_bytes props, uint64_t token);

/* What becomes of a lane whose stream is gone. Poll the session's events first: their views die with the stream. */
typedef enum roam_lane_end {
  ROAM_LANE_DROP,  /* all is forgotten, the lane too; ROAM_SE_DROPPED (UNSPECIFIED) for each message's token; the owner
                      asks its requests again, or not */
  ROAM_LANE_AGAIN, /* a new stream follows, of which the peer knows nothing: QoS 1 in flight and requests are sent again, in
                      their order and ahead of the queue; QoS 2 that may have arrived is ROAM_SE_DROPPED (UNSPECIFIED), that
                      with a PUBREC is ROAM_SE_DONE */
  ROAM_LANE_RESUME, /* a new stream follows, and the peer knows the state: as after a resumed connection */
  ROAM_LANE_MERGE,  /* as AGAIN, but on lane 0, behind what waits there; the lane is forgotten, requests as with DROP */
  ROAM_LANE_EMPTY   /* as DROP, but the lane stays, with its rules and the aliases that are to last */
} roam_lane_end;
ROAM_API void roam_session_lane_end(roam_session *s, roam_time now, uint32_t lane, roam_lane_end how);

/* One message for each stream: after one PUBLISH a lane sends no other until roam_session_lane_end (AGAIN, RESUME). */
ROAM_API roam_rc roam_session_lane_single(roam_session *s, roam_time now, uint32_t lane, bool single);

/* What is otherwise on a lane of MQTT-next, until the lane is dropped; a sum of these. */
typedef enum roam_lane_rule {
  ROAM_LANE_OF_ASSIGNED = 1, /* a server's flow: SUBSCRIBE, UNSUBSCRIBE and their answers are a fault */
  ROAM_LANE_INWARD = 2,      /* one-way: anything but a PUBLISH of QoS 0 is a fault, for no answer could travel */
  ROAM_LANE_JOURNAL = 4,     /* roam_session_journal counts for it as for lane 0 */
  ROAM_LANE_ALIASES = 8      /* the peer's topic aliases outlive the stream and the connection (RESUME) */
} roam_lane_rule;
ROAM_API roam_rc roam_session_lane_rules(roam_session *s, roam_time now, uint32_t lane, unsigned rules);

/* The rules of MQTT-next: PINGREQ is answered on every lane. Else it is taken as a sign of life, and answered on lane 0
 * only. */
ROAM_API void roam_session_set_flows(roam_session *s, bool flows);

typedef struct roam_session_lane_info {
  bool exists, over; /* over: a fault has been told */
  bool begun;        /* a single lane: its message has begun to leave */
  bool unsent;       /* answers or a part of a packet wait to be drained */
  uint32_t inflight; /* exchanges without their last answer, requests included */
  uint32_t unacked;  /* the peer's messages that are not acknowledged */
  uint32_t queued;
} roam_session_lane_info;
ROAM_API roam_session_lane_info roam_session_get_lane(const roam_session *s, uint32_t lane);

/* A datagram: one packet, from before its first byte to its end. Only PUBLISH, SUBSCRIBE, UNSUBSCRIBE and their answers
 * travel so, none with a topic alias; QoS 0 alone when plain is set. It counts as lane 0's. ROAM_E_BLOCKED: full as feed
 * would be. Everything else negative means that it was ignored. */
ROAM_API roam_rc roam_session_feed_datagram(roam_session *s, roam_time now, roam_bytes datagram, bool plain);
/* Encodes a QoS 0 PUBLISH for a datagram, and counts it as sent. ROAM_E_TOO_LARGE: more than cap; ROAM_E_STATE: not up. */
ROAM_API roam_rc roam_session_write_datagram(roam_session *s, roam_time now, const roam_message *message,
                                             const roam_publish_how *how, uint8_t *out, size_t cap, size_t *len);
/* ---- a session whose owner writes down what it keeps ----------------------------------------------------------------- */

/* Answers (CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) given from now on leave, in order, only when
 * roam_session_release has been told of this epoch; 0: at once. Epochs only grow. */
ROAM_API void roam_session_hold(roam_session *s, uint64_t epoch);
/* The epochs begin anew: the session, which has no connection, has another owner. */
ROAM_API void roam_session_regate(roam_session *s);
/* Everything up to this epoch is written down. */
ROAM_API void roam_session_release(roam_session *s, uint64_t committed);
ROAM_API bool roam_session_held(const roam_session *s); /* something waits for an epoch */
/* On: ROAM_SE_CHANGED is told, and an outgoing QoS 2 PUBLISH waits, too, with its packet identifier chosen. */
ROAM_API void roam_session_journal(roam_session *s, bool on);

/* What was kept, given back to a new session, oldest first. */
typedef enum roam_past_kind {
  ROAM_PAST_QUEUED,   /* message, how, token: not sent, or sent with QoS 1 */
  ROAM_PAST_SENT,     /* the same and packet_id: QoS 2, perhaps sent */
  ROAM_PAST_RELEASED, /* token, packet_id: PUBREC has come */
  ROAM_PAST_RECEIVED  /* packet_id: of the peer's, QoS 2, answered with PUBREC */
} roam_past_kind;
typedef struct roam_past {
  roam_past_kind kind;
  uint16_t packet_id;
  uint64_t token;
  const roam_message *message;
  roam_publish_how how;
} roam_past;
/* The queue's bounds do not count here. ROAM_E_ARGUMENT: a packet identifier twice or 0; ROAM_E_MEMORY, ROAM_E_LIMIT. */
ROAM_API roam_rc roam_session_restore(roam_session *s, const roam_past *past);

#ifdef __cplusplus
}
#endif
#endif
