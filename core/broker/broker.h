/* broker.h - the broker's inside, shared by the files of this folder and by nobody else.
 *
 *   broker.c     making, the five verbs, commands, listeners
 *   options.c    defaults, checks
 *   events.c     events waiting to be polled
 *   peer.c       one connection: the pump between transport and session, its time-outs and its end
 *   lanes.c      the data streams of a connection, and its datagrams
 *   flows.c      MQTT-next: what of a data stream outlives it
 *   push.c       MQTT-next: flows of the broker's own, with the subscriptions it assigns
 *   connect.c    CONNECT: who may come in, and what CONNACK says
 *   requests.c   what an admitted peer asks for: PUBLISH, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT
 *   sessions.c   client id -> session; how long it lives, what becomes of its will
 *   route.c      message -> topics -> sessions; retained messages for new subscriptions
 *   sys.c        what the broker says about itself under $SYS
 *   access*.c    who may come in and what they may do there (access.h); limits.c counts for each address
 *   topics.c share.c tree.c retain.c will.c history.c   tables that know neither peers nor sessions
 *   durable.c durable_flows.c durable_gate.c durable_load.c records.c   what is written to a store, and what waits for it
 *   durable_cut.c one commit of several workers
 *   held.c       what connections hold, and who is ended when it is too much
 *   snapshot.c   getters
 *   drain.c      sending everybody to another server
 *   mail*.c      one of several workers: what crosses between them (mail.h)
 *
 * The seam: a peer gives route.c a message and the number of its session; topics.c answers with numbers of sessions. */
#ifndef ROAM_BROKER_H
#define ROAM_BROKER_H

#include <roamqtt/broker.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/ring.h"
#include "base/trace.h"
#include "broker/access.h"
#include "broker/durable.h"
#include "broker/flows.h"
#include "broker/history.h"
#include "broker/lanes.h"
#include "broker/mail.h"
#include "broker/retain.h"
#include "broker/sys.h"
#include "broker/topics.h"
#include "broker/will.h"
#include "transport/transport.h"

#define ROAM_BROKER_EVENTS_MAX 4096u
#define ROAM_BROKER_REMEMBERED_MAX 4096u /* clients without a session whose history is kept */
#define ROAM_BROKER_CLIENT_ID_MAX 1024u  /* bytes */
#define ROAM_BROKER_RESPONSE_MAX 1024u   /* bytes of Response Information */
#define ROAM_BROKER_TRANSPORTS 5u
#define ROAM_BROKER_FLUSH_NS (3 * ROAM_S)
#define ROAM_ID_TEXT_MAX 132

struct roam_peer;

/* A client id we know. Invariant: peer is set only while session is; without a session it is only remembered, in
 * `remembered`. */
struct roam_record {
  struct roam_list order, remembered, doomed;
  roam_blob *id;
  uint64_t number; /* of its session, new with each */
  roam_session *session;
  struct roam_peer *peer;
  struct roam_heap_node expiry;
  uint32_t expiry_s; /* Session Expiry Interval in force */
  struct roam_will will;
  struct roam_list replays; /* struct replay of route.c */
  struct roam_history history;
  struct roam_flows flows;
  roam_time connected_at;
  uint64_t past_in, past_out, past_dropped; /* of sessions that are gone */
  size_t queued_seen;                       /* bytes of its queue that count in the broker's queued_bytes */
  size_t queued_left;                       /* what the last attempt to send has left; all of it without a connection */
  size_t inflight_seen;                     /* bytes sent and not acknowledged */
  uint16_t keep_alive_s;
  uint8_t version, transport;       /* of the last connection */
  bool kept, will_kept;             /* written to the store: the session, its will */
  struct roam_list kept_deliveries; /* struct roam_kept_delivery */
  bool user_known;                  /* its user is known, or that it is nobody's; false: nobody was asked */
  uint32_t acl_number;              /* whose lines of the access list count */
  roam_blob *user;                  /* who was authenticated; NULL: nobody */
  struct roam_list ended;           /* mail.ended */
  bool owned;                       /* several workers: its home says that it is here */
  struct roam_arrival *move;        /* it came from another worker, and the others are still learning of it; or NULL */
};

enum roam_peer_state {
  ROAM_PEER_NEW,      /* QUIC handshake under way */
  ROAM_PEER_GREETING, /* CONNECT awaited */
  ROAM_PEER_UP,
  ROAM_PEER_PARTING, /* its session is gone; the DISCONNECT waits for room */
  ROAM_PEER_LEFT     /* closed by us; the transport has yet to say so */
};

/* Why a connection ended. */
struct roam_end {
  roam_rc rc;
  int reason; /* MQTT, -1 = none */
  const char *text;
};

/* One connection. */
struct roam_peer {
  struct roam_list all, dirty;
  struct roam_heap_node timer; /* CONNECT's time-out; then when the session wants a tick, or earlier */
  roam_conn *conn;
  uint64_t number;
  enum roam_peer_state state;
  struct roam_record *record; /* UP */
  roam_session *session;      /* the record's, while UP; its own while PARTING */
  roam_addr local, remote;
  bool reading;             /* its session has events that are being handled */
  bool fin, closed, failed; /* the lane's end; the transport's; a write of ours went wrong */
  struct roam_end end;      /* what the transport said */
  roam_time counted_from;   /* requests since then, at most a second ago */
  uint32_t requests;
  struct roam_peer_lane *lanes; /* data streams; lanes_len of them */
  uint32_t lanes_len, lanes_cap;
  bool datagrams;                             /* some have arrived */
  roam_time silent_at;                        /* Keep Alive 0: looked at then, whether anything came */
  uint64_t silent_bytes;                      /* what had come by the last look */
  struct roam_list held;                      /* durable.held: waits for the store */
  bool flows;                                 /* it speaks MQTT-next */
  bool greeted;                               /* and the control stream's header has been read */
  bool push_due;                              /* there are flows of ours without a stream */
  uint64_t close_code;                        /* of a level 0 error */
  uint64_t flow_refusals[ROAM_FLOW_REFUSALS]; /* recovered, and there was nothing */
  uint32_t flow_refusals_len;
  struct roam_waiting *waiting; /* access_exchange.c: one that is not over */
  roam_blob *user, *method;     /* who has been authenticated, and how (5.0); NULL: nobody, without a method */
  uint64_t stamp;               /* of the line in the password file; 0: it was not that */
  size_t held_bytes;            /* what the connection costs, as last counted */
  roam_blob *denied;            /* the owner's words to it; `end.text` may point there */
  roam_addr proved;             /* remote, or before while it is not known whether that is the client's */
  struct roam_place *place;     /* whose connection it counts as; NULL: nobody's (yet) */
  roam_time arrives_at;      /* it has moved: then at the latest it counts elsewhere; ROAM_NEVER: it counts where it is */
  bool known;                /* its address is its own, or once was: access_place.c */
  bool confined;             /* it is nobody, and may be that on loopback only */
  bool owing;                /* its CONNECT came before that, and is charged when it is */
  struct roam_list claiming; /* struct roam_claim.peers */
  roam_blob *claim_connect;  /* while it does: its CONNECT */
};

/* An event and what its pointers lead into. */
struct roam_told {
  roam_event ev;
  roam_blob *id, *text;
};

struct roam_listener {
  struct roam_list node;
  uint64_t number;
  roam_transport *transport;
  uint32_t handle;
  bool listening;
};

/* Everybody is sent to another server (drain.c). */
#define ROAM_DRAIN_PROPS_MAX 272
struct roam_drain {
  bool active, done;
  uint8_t reason;
  char reference[256];
  roam_time next_at;
  uint64_t step_ns;
  uint32_t asked;
};

struct roam_broker {
  roam_broker_options o;
  roam_random *random;
  roam_time now;
  roam_transport *transports[ROAM_BROKER_TRANSPORTS]; /* by kind - 1; NULL: needs a certificate and there is none */
  bool stopping;
  bool busy; /* the pump stopped at its bound */

  struct roam_list peers, dirty; /* dirty: touched since the last pump */
  struct roam_heap timers;       /* of peers */
  uint32_t peers_count;
  uint64_t peer_next;
  size_t held_bytes;  /* of all connections, as last counted */
  roam_time swept_at; /* held.c looked at all of them then */

  struct roam_map ids;        /* client id -> record */
  struct roam_map64 sessions; /* number -> record */
  struct roam_list order, remembered, doomed;
  struct roam_heap expiries, wills;
  struct roam_heap flows; /* those without a stream, by the end of their time */
  uint32_t flows_count;
  uint32_t sessions_count, remembered_count;
  uint64_t session_next;

  struct roam_topics topics;
  struct roam_retained_set retained;
  uint8_t *sub_ids; /* being encoded */
  size_t sub_ids_cap;
  bool retain_warned;

  struct roam_list listeners;
  struct roam_ring events; /* struct roam_told */
  struct roam_ring told;   /* polled: what they point to goes with the next call */
  struct roam_told lost;   /* where an event goes that cannot be stored */
  roam_broker_stats stats;
  size_t queued_bytes;             /* of all sessions' queues, as last counted */
  uint64_t past_out, past_dropped; /* of sessions that are gone */
  struct roam_drain drain;
  struct roam_sys sys;
  char *response_information; /* NULL: none */
  struct roam_durable durable;
  struct roam_access access;
  struct roam_mail *mail; /* NULL: the only worker */
};

/* broker.c */
void roam_broker_settle(roam_broker *b);               /* the pump: until nothing moves */
void roam_broker_enter(roam_broker *b, roam_time now); /* at the door of every command */

#define ROAM_KICKED "disconnected by the administrator"

/* options.c */
roam_broker_options roam_broker_options_read(const roam_broker_options *o);
void roam_options_divide(roam_broker_options *o); /* limits of all workers become this one's */

/* events.c */
roam_event *roam_broker_tell(roam_broker *b, roam_event_kind kind, roam_blob *id, const char *text); /* never NULL */
void roam_broker_forget_told(roam_broker *b);
void roam_broker_forget_events(roam_broker *b);
const char *roam_id_text(const roam_blob *id, char text[ROAM_ID_TEXT_MAX]); /* for logs: cut, nothing unprintable */

/* peer.c */
void roam_peer_on_event(roam_broker *b, const roam_te *te);
void roam_peer_visit(roam_broker *b, struct roam_peer *p);
void roam_peer_mark(roam_broker *b, struct roam_peer *p);
void roam_peer_leave(roam_broker *b, struct roam_peer *p, struct roam_end end, bool flush);
void roam_peer_say(roam_broker *b, struct roam_peer *p, uint8_t reason, const char *text); /* DISCONNECT, then leave */
void roam_peer_say_with(roam_broker *b, struct roam_peer *p, uint8_t reason, roam_bytes props, const char *text);
void roam_peer_mind_silence(roam_broker *b, struct roam_peer *p); /* admitted with Keep Alive 0 */
void roam_peer_part(roam_broker *b, struct roam_peer *p, roam_session *session,
                    struct roam_end end);                /* takes the session over */
void roam_peer_due(roam_broker *b, struct roam_peer *p); /* its timer has run out */
void roam_peer_arm(roam_broker *b, struct roam_peer *p); /* sees that the timer is not later than it must be */
void roam_peer_free(roam_broker *b, struct roam_peer *p);
void roam_peer_take_events(roam_broker *b, struct roam_peer *p);
/* What the session has for a lane goes out on a stream, as far as there is room. */
roam_rc roam_peer_write(roam_broker *b, struct roam_peer *p, uint32_t stream, uint32_t lane);

/* held.c */
bool roam_held_enter(roam_broker *b, struct roam_peer *p); /* false: no more connections, it counts nothing */
void roam_held_check(roam_broker *b, struct roam_peer *p); /* counts it; it, or another, may have left afterwards */
void roam_held_forget(roam_broker *b, struct roam_peer *p);
bool roam_held_is_short(const roam_broker *b); /* for queues: whoever is behind is at its bound */
bool roam_held_queue_is_full(const roam_broker *b, const struct roam_record *r); /* with what its connection holds */

/* connect.c */
void roam_connect_read(roam_broker *b, struct roam_peer *p);
/* What access_exchange.c has found out about a CONNECT that waited: 0 lets it in. */
void roam_connect_decided(roam_broker *b, struct roam_peer *p, const roam_packet *c, uint8_t reason, const char *text);

/* Its client id is this worker's now, with the session if there is one. reason: 0, or why it is not. */
void roam_connect_claimed(roam_broker *b, struct roam_peer *p, const roam_packet *connect, uint8_t reason);

/* access.c */
static inline bool roam_access_may(roam_broker *b, const struct roam_record *r, roam_bytes what,
                                   enum roam_acl_access access) {
  return !b->access.acl || roam_access_check(b, r, what, access);
}

/* drain.c */
void roam_drain_tick(roam_broker *b);
roam_time roam_drain_deadline(const roam_broker *b);
roam_bytes roam_drain_props(const roam_broker *b, uint8_t space[ROAM_DRAIN_PROPS_MAX]);

/* requests.c */
void roam_request_take(roam_broker *b, struct roam_peer *p, const roam_session_event *ev);

/* sessions.c */
struct roam_record *roam_sessions_find(const roam_broker *b, const void *id, size_t len);
struct roam_record *roam_sessions_by_number(const roam_broker *b, uint64_t number);
/* The session for a CONNECT: the one that is there, or a new one. *present tells which. ROAM_E_LIMIT: sessions_max. */
roam_rc roam_sessions_open(roam_broker *b, roam_bytes id, bool clean_start, struct roam_record **out, bool *present);
/* A session from the store, nobody connected. number 0: a new one. */
roam_rc roam_sessions_restore(roam_broker *b, roam_bytes id, uint64_t number, struct roam_record **out);
void roam_sessions_joined(roam_broker *b, struct roam_record *r, struct roam_peer *p, struct roam_will *will);
void roam_sessions_left(roam_broker *b, struct roam_record *r);
/* For a session that moves to another worker: the record without its place in any table; and back, with a new number. */
void roam_sessions_detach(roam_broker *b, struct roam_record *r);
roam_rc roam_sessions_attach(roam_broker *b, struct roam_record *r);
void roam_sessions_free_record(struct roam_record *r); /* a detached one */
void roam_sessions_end(roam_broker *b, struct roam_record *r);
void roam_sessions_doom(roam_broker *b, struct roam_record *r); /* its queue has overflowed: ended when the batch is done */
bool roam_sessions_bury(roam_broker *b);
void roam_sessions_tick(roam_broker *b);
void roam_sessions_free(roam_broker *b);

void roam_sessions_count_queue(roam_broker *b, struct roam_record *r); /* into queued_bytes */

/* route.c */
/* Hands a message to everybody it concerns. from: the publisher's session, 0 = none. */
roam_rc roam_route(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched);
/* The same without other workers, and without what is retained. *matched is added to. */
roam_rc roam_route_here(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched);
roam_rc roam_route_keep(roam_broker *b, const roam_message *message); /* retains it, or removes what was; 0: it is so now */
void roam_route_deliver(roam_broker *b, struct roam_record *r, const struct roam_letter *letter);
void roam_route_hand_over(roam_broker *b, roam_session *session); /* of a session that has ended */
roam_rc roam_replay_begin(roam_broker *b, struct roam_record *r, uint32_t lane, roam_bytes filter,
                          const struct roam_subscription *how);
/* Takes the first one out, to be begun elsewhere; the filter is the caller's. False: there is none. */
bool roam_replay_take(struct roam_record *r, uint32_t *lane, roam_blob **filter, struct roam_subscription *how);
void roam_replay_end(struct roam_record *r, int lane, const roam_bytes *filter); /* lane -1: all; filter NULL: all */
bool roam_replay_step(roam_broker *b, struct roam_record *r);                    /* true: something was queued */

#endif
