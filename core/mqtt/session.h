/* session.h - the inside of the session machine, shared by the files of this folder and by nobody else. session.c has the
 * theory of operation. */
#ifndef ROAM_MQTT_SESSION_H
#define ROAM_MQTT_SESSION_H

#include "base/buf.h"
#include "base/map.h"
#include "base/ring.h"
#include "mqtt/packet.h"

#define ROAM_LANES_MAX 64u        /* lanes one session can have */
#define ROAM_SUBSCRIBES_MAX 1024u /* SUBSCRIBE and UNSUBSCRIBE not answered yet */
#define ROAM_WINDOW_MAX 30000u    /* half of the packet identifiers, less those of SUBSCRIBE */
#define ROAM_OUT_MAX 65536u       /* bytes of answers waiting on a lane, above which feed takes no more */
#define ROAM_COPY_MAX 256u        /* payloads up to this are copied behind their header */
#define ROAM_PONGS_MAX 16u        /* PINGRESP that can wait beside answers held back */
#define ROAM_SCRATCH_MIN 1024u
#define ROAM_SCRATCH_MAX 16384u
#define ROAM_EARLY_MAX 16u /* messages before CONNACK, when the server's Receive Maximum is not known yet */
#define ROAM_PINGRESP_MIN (5 * ROAM_S)

/* ---- what waits to be sent, and what waits to be acknowledged ---- */

/* One message on its way out. The views lie in blob, of which one count is held. Short encoded subscription identifiers are
 * kept in place, long ones in a blob of their own. */
struct roam_outgoing {
  roam_blob *blob, *sub_blob;
  const uint8_t *topic, *props, *payload;
  roam_time expires;
  uint64_t token;
  uint32_t props_len, payload_len, sub_ids_len;
  uint16_t topic_len;
  uint8_t qos;
  bool retain, report;
  bool safe; /* may go before CONNACK */
  uint8_t sub_ids[8];
};

roam_rc roam_outgoing_init(struct roam_outgoing *m, const roam_message *message, const roam_publish_how *how,
                           uint64_t token);
void roam_outgoing_reset(struct roam_outgoing *m);
roam_bytes roam_outgoing_sub_ids(const struct roam_outgoing *m);
size_t roam_outgoing_bytes(const struct roam_outgoing *m);

enum roam_exchange_state {
  ROAM_EXCHANGE_PUBACK = 1, /* QoS 1 sent */
  ROAM_EXCHANGE_PUBREC,     /* QoS 2 sent */
  ROAM_EXCHANGE_PUBCOMP,    /* PUBREL sent; the message itself is forgotten */
  ROAM_EXCHANGE_SUBACK,     /* message.blob is the whole encoded packet */
  ROAM_EXCHANGE_UNSUBACK
};

/* Something of ours that has a packet identifier and is not answered yet. prev and next are packet identifiers, 0 = none.
 */
struct roam_exchange {
  struct roam_outgoing message;
  uint16_t packet_id; /* 0: the slot is free */
  uint16_t prev, next;
  uint8_t state;
  uint8_t reason; /* of PUBREC, told when all is done */
  bool counted;   /* takes one of the peer's Receive Maximum on this connection */
  bool sent;      /* once on any connection: the next time is a duplicate */
  uint64_t epoch; /* it may go out when this is committed */
  bool early;     /* on this connection, before CONNACK */
  uint32_t held;  /* of its message, in inflight.bytes */
};

/* Exchanges by packet identifier and in the order they began. An exchange lies in slot (packet_id mod cap); identifiers are
 * chosen so that no two share a slot, which stays true when cap doubles. */
struct roam_inflight {
  struct roam_exchange *slots;
  uint32_t cap, count, subscribes;
  uint16_t first, last, last_id;
  size_t bytes; /* of messages that are kept until they are answered */
};

void roam_inflight_reset(struct roam_inflight *f);
struct roam_exchange *roam_inflight_add(struct roam_inflight *f); /* at the end; NULL: memory or identifiers are out */
struct roam_exchange *roam_inflight_add_as(struct roam_inflight *f, uint16_t packet_id); /* NULL: in use, or no memory */
struct roam_exchange *roam_inflight_find(const struct roam_inflight *f, uint16_t packet_id);
/* Its message counts from now on, until it is taken out or let go. */
void roam_inflight_hold(struct roam_inflight *f, struct roam_exchange *x);
void roam_inflight_let_go(struct roam_inflight *f, struct roam_exchange *x);
/* Takes it out; its message is the caller's to reset. */
void roam_inflight_remove(struct roam_inflight *f, struct roam_exchange *x);

/* ---- topic aliases ---- */

struct roam_aliases {
  roam_blob **topics; /* topics[alias - 1], NULL = not set */
  uint16_t count;     /* size of the array */
};

void roam_aliases_reset(struct roam_aliases *a);
/* Sets one of 1..max; *old is the topic it had (to be given back when no event refers to it any more). */
roam_rc roam_aliases_set(struct roam_aliases *a, uint16_t alias, uint16_t max, roam_bytes topic, roam_blob **old);
roam_bytes roam_aliases_get(const struct roam_aliases *a, uint16_t alias);
uint16_t roam_aliases_find(const struct roam_aliases *a, roam_bytes topic); /* 0: none */
uint16_t roam_aliases_vacant(const struct roam_aliases *a, uint16_t max); /* the first of 1..max that is not set, 0: none */

/* ---- lanes ---- */

enum {
  ROAM_RECEIVED_REPORTED = 1,
  ROAM_RECEIVED_ACKED = 2
};

/* A PUBLISH of the peer's that waits for its PUBACK or PUBREC. They leave in the order of this ring (section 4.6). */
struct roam_unacked {
  uint16_t packet_id;
  uint8_t qos, reason;
  bool answered;
};

/* Answers from `begin` on (counted in bytes since the lane's start) wait for an epoch; both only grow along the ring. */
struct roam_mark {
  uint64_t begin, epoch;
};

/* A packet of which a part has been handed out: what is left of its head, then of its body in blob. */
struct roam_partial {
  uint8_t *head;
  size_t head_len, head_at;
  const uint8_t *body;
  size_t body_len, body_at;
  roam_blob *blob;
};

/* One lane and the flow it carries. kept survives connections, live is reset whole with each. */
struct roam_lane {
  uint32_t number;
  struct roam_lane_kept {
    struct roam_inflight inflight;
    struct roam_ring queue; /* struct roam_outgoing */
    /* QoS 2 packet identifiers of the peer's between PUBLISH and PUBREL -> epoch << 2 | ROAM_RECEIVED_... */
    struct roam_map64 received;
    uint32_t awaiting_rel; /* of received: acknowledged, PUBREL awaited */
    bool single;           /* one message for each stream */
    uint8_t rules;         /* roam_lane_rule */
  } kept;
  struct roam_lane_live {
    struct roam_buf out;    /* whole small packets: answers, CONNECT, AUTH */
    size_t taken;           /* bytes of out handed out in this call; they are dropped in the next */
    size_t split;           /* bytes that are left of the packet at the front of out, when a part of it is gone */
    struct roam_ring marks; /* struct roam_mark */
    uint64_t put, gone;     /* bytes of answers, ever */
    uint32_t pongs;         /* PINGRESP that overtake what waits */
    struct roam_partial partial;
    struct roam_ring unacked; /* struct roam_unacked */
    struct roam_aliases alias_in, alias_out;
    uint32_t send_open;    /* our exchanges that are counted */
    uint32_t receive_open; /* the peer's, likewise */
    uint16_t cursor;       /* the next exchange to be sent (again), 0 = all are */
    bool over;             /* given up after a fault; lane 0 never is */
    bool begun;            /* a single lane has sent its message */
  } live;
};

/* ---- the session ---- */

enum roam_link {
  ROAM_LINK_NONE,
  ROAM_LINK_CONNECTING,
  ROAM_LINK_UP,
  ROAM_LINK_OVER
};
enum roam_goodbye {
  ROAM_GOODBYE_NONE,
  ROAM_GOODBYE_ORDERLY,
  ROAM_GOODBYE_HURRIED
};

/* A session event, small; poll spreads it out. */
struct roam_tiding {
  uint8_t kind, type, qos, reason;
  bool dup, retain, session_present;
  uint16_t packet_id;
  uint32_t lane;
  roam_rc rc;
  uint64_t token;
  const char *text;
  roam_bytes props, first, payload; /* first: topic, filters or codes */
};

struct roam_session {
  roam_session_options o;
  roam_time now;
  uint8_t version;
  bool blocked;   /* a command was refused for want of room */
  bool starved;   /* an event could not be stored */
  uint32_t epoch; /* counts connections */
  uint32_t queued, awaiting_rel;
  size_t queued_bytes;
  bool journal;             /* the owner writes down what is kept */
  uint64_t hold, committed; /* epochs: of answers given now; reached */
  uint64_t dropped, packets_in, packets_out, messages_in, messages_out;
  struct roam_lane **lanes;
  uint32_t lanes_len;
  bool flows;                      /* MQTT-next */
  struct roam_ring events;         /* struct roam_tiding */
  struct roam_tiding spare_tiding; /* where an event goes that cannot be stored */
  struct roam_ring parting_events; /* roam_blob *: views of events may lie in them; given back when no event is left */
  struct roam_ring parting_slices; /* roam_blob *: views of slices lie in them; given back in the next call */
  uint8_t *scratch;                /* headers of drained packets */
  size_t scratch_len, scratch_cap, scratch_want;
  struct roam_session_live {
    enum roam_link link;
    enum roam_goodbye goodbye;
    roam_blob *farewell; /* the DISCONNECT packet; NULL: none is sent */
    bool clean_start, ping_waits;
    bool early; /* client: what may be repeated goes before CONNACK */
    uint16_t early_sent;
    uint16_t keep_alive_s;
    roam_time last_in, last_out, ping_at;
    uint32_t peer_packet_max;
    uint16_t peer_receive_max, peer_alias_max;
    uint8_t peer_qos_max;
    bool peer_retains;
    bool peer_expires;       /* server: CONNECT had a Session Expiry Interval above 0 */
    bool peer_wants_reasons; /* Request Problem Information */
  } live;
};

/* session.c */
void roam_session_enter(roam_session *s, roam_time now);
struct roam_lane *roam_session_lane(roam_session *s, uint32_t number); /* made when new; NULL: too many, or memory */
struct roam_lane *roam_session_find_lane(const roam_session *s, uint32_t number); /* NULL: there is none */
void roam_lane_free(struct roam_lane *lane);
struct roam_tiding *roam_session_tell(roam_session *s, roam_session_event_kind kind, uint32_t lane);
void roam_session_tell_end(roam_session *s, const struct roam_outgoing *m, uint32_t lane, bool done, uint8_t reason);
/* Appends a packet to a lane's answers. */
roam_rc roam_session_put(roam_session *s, struct roam_lane *lane, const roam_packet *packet);
void roam_session_put_ack(roam_session *s, struct roam_lane *lane, uint8_t type, uint16_t packet_id, uint8_t reason);

void roam_session_slim(roam_session *s); /* gives back what a busy time has left behind */

/* on_disconnect.c */
void roam_session_end(roam_session *s); /* nothing more is read, nothing but the rest of a begun packet is sent */
void roam_session_fail(roam_session *s, uint32_t lane, roam_rc rc, uint8_t reason, const char *text);
void roam_session_on_disconnect(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_on_auth(roam_session *s, struct roam_lane *lane, const roam_packet *p);

/* on_connect.c */
void roam_session_on_connack(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_lane_live_reset(struct roam_lane *lane);
/* The peer knows nothing any more: what it may not have seen goes to the front of the queue. unsettled: QoS 2 that it may
 * have seen is dropped instead. */
void roam_lane_lose_exchanges(roam_session *s, struct roam_lane *lane, bool unsettled);
void roam_lane_part_aliases(roam_session *s, struct roam_lane *lane);   /* events may have views of them */
void roam_lane_forget_aliases(roam_session *s, struct roam_lane *lane); /* also those that were to last */
static inline bool roam_lane_is_journalled(const struct roam_session *s, const struct roam_lane *lane) {
  return s->journal && (lane->number == 0 || (lane->kept.rules & ROAM_LANE_JOURNAL) != 0);
}
static inline bool roam_lane_keeps_aliases(const struct roam_lane *lane) {
  return (lane->kept.rules & ROAM_LANE_ALIASES) != 0;
}
void roam_session_live_reset(roam_session *s);
void roam_session_forget(roam_session *s, struct roam_lane *lane);
void roam_session_dispatch(roam_session *s, struct roam_lane *lane, const roam_packet *p);
bool roam_session_clogged(const roam_session *s, const struct roam_lane *lane);

/* on_publish.c */
void roam_session_on_publish(roam_session *s, struct roam_lane *lane, const roam_packet *p);

/* on_ack.c */
void roam_session_on_puback(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_on_pubrec(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_on_pubrel(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_on_pubcomp(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_answer(roam_session *s, struct roam_lane *lane, uint16_t packet_id, uint8_t reason);
void roam_session_flush_acks(roam_session *s, struct roam_lane *lane);
void roam_session_finish(roam_session *s, struct roam_lane *lane, struct roam_exchange *x, uint8_t reason);
uint32_t roam_received_get(const struct roam_lane *lane, uint16_t packet_id);
roam_rc roam_received_put(struct roam_lane *lane, uint16_t packet_id, uint32_t epoch, uint32_t state);

/* lane.c */
const char *roam_lane_objection(const struct roam_lane *lane, const roam_packet *p); /* its rules'; NULL: none */
void roam_lane_fail(roam_session *s, struct roam_lane *lane, uint32_t number, roam_rc rc, uint8_t reason,
                    const char *text); /* lane NULL: there could be none of that number */

/* on_subscribe.c */
void roam_session_on_subscribe(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_on_suback(roam_session *s, struct roam_lane *lane, const roam_packet *p);

/* queue.c */
roam_rc roam_queue_put(roam_session *s, struct roam_lane *lane, struct roam_outgoing *m);
void roam_queue_drop_front(roam_session *s, struct roam_lane *lane, uint8_t reason);
void roam_queue_pop(roam_session *s, struct roam_lane *lane, struct roam_outgoing *out);
void roam_queue_drop_qos0(roam_session *s, struct roam_lane *lane);
void roam_queue_check_writable(roam_session *s);

/* kept.c */
bool roam_gate_close(roam_session *s, struct roam_lane *lane);  /* before an answer is put; false: no memory */
size_t roam_gate_open(roam_session *s, struct roam_lane *lane); /* bytes of answers that may go now */
bool roam_gate_bars_opening(roam_session *s);                   /* CONNACK itself waits */
void roam_session_tell_changed(roam_session *s, uint32_t lane, uint8_t type, uint64_t token, uint16_t packet_id);

/* keepalive.c */
void roam_keepalive_tick(roam_session *s);
roam_time roam_keepalive_deadline(const roam_session *s);
void roam_session_on_pingreq(roam_session *s, struct roam_lane *lane, const roam_packet *p);
void roam_session_on_pingresp(roam_session *s, struct roam_lane *lane, const roam_packet *p);

/* kept.c: all that is kept, each lane's oldest first, as roam_session_restore would take it; QoS 0 in the queue, too. */
typedef void (*roam_session_visit)(void *context, const roam_past *past);
void roam_session_look(const roam_session *s, roam_session_visit visit, void *context);

#endif
