/* client.h - the client's inside, shared by the files of this folder and by nobody else.
 *
 * One client owns at most one transport, one connection of it and one session. The session outlives connections; what
 * dies with one is in struct roam_link and is reset whole. The files:
 *   client.c   making, the five verbs, getters; the one setter of the state
 *   command.c  what the application may ask for
 *   options.c  defaults, checks, copies
 *   url.c      reading URLs
 *   link.c     one attempt and one connection: resolve, dial, transport events, leaving, the end
 *   talk.c     what the session says: CONNACK, messages, answers, faults; and the CONNECT we send
 *   auth.c     enhanced authentication: SCRAM-SHA-256, and methods of the application's
 *   pump.c     the one place where bytes change layer
 *   lanes.c    data streams: which lane a packet takes, and the streams that carry them
 *   pushed.c    MQTT-next: the flows that a server opens
 *   roam.c     policy: what is fatal, how long to wait, when to migrate
 *   wander.c   roaming by itself: what is seen of the networks becomes pings and moves
 *   networks.c ping.c   the pure part of it: which network is best; how often to ping
 *   fallback.c more than one connection for a while: QUIC and TLS race, a dead connection is raced by a new one
 *   redirect.c following a Server Reference
 *   subs.c     subscriptions as wanted by the application
 *   events.c   events waiting to be polled
 */
#ifndef ROAM_CLIENT_H
#define ROAM_CLIENT_H

#include <roamqtt/client.h>

#include "base/rng.h"
#include "base/trace.h"
#include "client/events.h"
#include "client/networks.h"
#include "client/lanes.h"
#include "client/saved.h"
#include "client/subs.h"
#include "transport/transport.h"

#define ROAM_CLIENT_ADDRS_MAX 16
#define ROAM_CLIENT_HOST_MAX 256
#define ROAM_CLIENT_INTERFACE_MAX 16
#define ROAM_CLIENT_REFERENCE_MAX 1024 /* bytes of a Server Reference; names beyond are not tried */
#define ROAM_CLIENT_TEXT_MAX 640
#define ROAM_CLIENT_QUESTION_FIRST UINT32_C(1) /* handles of RESOLVE: up to the transport's first */
#define ROAM_CLIENT_TRANSPORT_FIRST UINT32_C(0x01000000)
#define ROAM_CLIENT_CLOSE_NS (3 * ROAM_S)  /* what roam_client_close waits for the queue */
#define ROAM_CLIENT_STEADY_NS (1 * ROAM_S) /* a connection that lived so long starts the back-off afresh */
#define ROAM_CLIENT_MIGRATE_RETRY_NS (20 * ROAM_MS)
#define ROAM_CLIENT_MIGRATE_PATIENCE_NS (3 * ROAM_S)

/* url.c: does this URL's transport check certificates? */
bool roam_client_secure(const char *url);
#define ROAM_UNIX_PATH_MAX 108u                       /* with its NUL, as in sockaddr_un */
#define roam_client_is_local(c) ((c)->host[0] == '/') /* a Unix socket: no addresses, no networks */
/* The path of a ws:// or wss:// URL, "/mqtt" when it has none; NULL for the others. */
const char *roam_client_path(const char *url);

enum roam_phase {
  ROAM_PHASE_NEW,
  ROAM_PHASE_RESOLVING, /* a RESOLVE is under way */
  ROAM_PHASE_DIALLING,  /* the transport is connecting */
  ROAM_PHASE_GREETING,  /* CONNECT sent, CONNACK awaited */
  ROAM_PHASE_CONNECTED,
  ROAM_PHASE_CLOSING, /* connected, and the application wants out */
  ROAM_PHASE_WAITING, /* until the next attempt */
  ROAM_PHASE_CLOSED
};

/* Why a connection or an attempt ended. The first cause wins: what follows it is a consequence. */
struct roam_cause {
  roam_rc rc; /* 0: none yet */
  int reason; /* MQTT, -1 */
  uint64_t code;
  bool connack; /* the server refused our CONNECT */
  bool own;     /* what took the session over was most likely a late CONNECT of ours */
  char text[256];
};

/* One attempt: the addresses to try and the time it has. */
struct roam_attempt {
  roam_addr addrs[ROAM_CLIENT_ADDRS_MAX];
  size_t count, next;
  uint32_t question; /* handle of the RESOLVE under way, 0 = none */
  bool question_due; /* it is still to be drained */
  uint32_t number;   /* attempts since the last steady connection, this one included */
  roam_time began, dialled, deadline;
};

/* What dies with a connection. */
struct roam_link {
  roam_conn *conn;
  uint32_t number;     /* of the connections of this client, from 1 */
  uint64_t consumed;   /* bytes given back to the control lane */
  uint64_t fed;        /* bytes given to the session; consumed <= fed */
  bool greeted;        /* CONNACK accepted */
  bool early;          /* CONNECT was written before the handshake was done */
  bool fin;            /* the server ended its half of the control lane */
  bool ended;          /* ROAM_TE_CLOSED came */
  bool leaving;        /* we closed it: nothing is read any more */
  bool full;           /* bytes wait because the application does not poll */
  bool clogged;        /* bytes wait because the session takes none: too many answers owed or not taken */
  bool flows;          /* MQTT-next is spoken */
  bool leave_due;      /* a farewell is in the session: leave once it has been written */
  uint64_t close_code; /* of a level 0 error of MQTT-next, else 0 */
  uint8_t maximum_qos;
  bool retain_available;
  roam_addr local, remote;
  roam_time connected_at;
  struct roam_cause cause;
  struct roam_cause pending_end; /* what the transport said of the end; it counts when nothing read before it says why */
};

/* A migrate command that is not done. */
struct roam_move {
  enum {
    ROAM_MOVE_NONE,
    ROAM_MOVE_WANTED,
    ROAM_MOVE_STARTED
  } stage;
  roam_addr local;
  char interface[ROAM_CLIENT_INTERFACE_MAX];
  roam_migrate_how how;
  roam_time retry_at, give_up_at;
  bool by_policy;  /* the client's own decision */
  const char *why; /* static, or NULL */
};

/* A connection of which only the handshake is done, to take over when the link fails or is worse (fallback.c). */
enum {
  ROAM_RIVAL_SAME, /* of the URL's transport */
  ROAM_RIVAL_TLS
};
struct roam_rival {
  roam_conn *conn; /* NULL: none */
  bool open;
  uint32_t tries;
  roam_time at, give_up_at; /* not before; no longer than */
};
struct roam_fallback {
  bool on;
  int winner; /* the rival for which the link is being left, -1 = none */
  struct roam_rival rivals[2];
  struct roam_network anywhere; /* what is known of UDP where networks are not known */
  roam_transport_kind kind;     /* what the second rival speaks: TLS or WSS */
  uint16_t port;
  char host[ROAM_CLIENT_HOST_MAX]; /* of its own; "": the URL's */
  roam_addr addrs[ROAM_CLIENT_ADDRS_MAX];
  size_t count, next; /* of that host's; tried in turn */
  uint32_t question;  /* as in an attempt */
  bool question_due;
  const char *why; /* static: why the transport in use is it; NULL once told */
};

/* Where a server has sent us (redirect.c). */
struct roam_redirect {
  bool pending, for_good;
  bool away; /* at another server for now; home is where to go when it fails */
  uint32_t count;
  char host[ROAM_CLIENT_HOST_MAX], home[ROAM_CLIENT_HOST_MAX];
  uint16_t port, home_port;
  size_t at; /* in list: behind the name that was taken last */
  char list[ROAM_CLIENT_REFERENCE_MAX];
};

/* Roaming by itself (wander.c). */
struct roam_wander {
  bool on; /* may move: the option is set and no local address or interface pins us */
  struct roam_networks networks;
  struct roam_ping ping; /* where the network is not known */
  roam_addr chosen;      /* the application moved us here: as good as the best while it is up. Family 0: none */
  bool named;            /* the application named an interface */
  roam_time lost_at;
  bool lost;     /* the network we stand on is gone or refuses to send */
  uint8_t stage; /* of a silence: 0 none, 1 noticed and pinged, 2 nowhere to go */
  roam_time stage_at, unanswered_since, ping_at;
  uint32_t link;              /* the connection that the following belongs to */
  uint32_t rebinds, silences; /* seen so far */
  roam_time judge_at;         /* a silence of ours ended: by then the server has told of a new address, or there is none */
  uint64_t silence_ns;
};

struct roam_scram_client;

struct roam_client_auth {
  struct roam_scram_client *scram; /* made when needed; what it has derived outlives connections */
  bool asked, again;
};

struct roam_client {
  roam_client_options o; /* its pointers lead into arena */
  uint8_t *arena;
  size_t arena_len;
  roam_random *random;
  roam_time now;
  enum roam_phase phase;

  roam_transport_kind kind, home_kind; /* in use or being tried; the URL's */
  char host[ROAM_CLIENT_HOST_MAX];
  char url[ROAM_CLIENT_HOST_MAX + 32]; /* as it stands in texts: with its port */
  uint16_t port;
  char *id;                   /* client id in force */
  char *response_information; /* of the last CONNACK; NULL: none */
  roam_addr local;            /* where connections start from; migrations change it */
  char interface[ROAM_CLIENT_INTERFACE_MAX];

  uint32_t questions;                 /* the last handle of a RESOLVE */
  roam_transport *transport, *second; /* the URL's; TLS to fall back to, or NULL */
  roam_session *session;
  struct roam_attempt attempt;
  struct roam_link link;
  struct roam_move move;
  struct roam_wander wander;
  struct roam_redirect redirect;
  struct roam_fallback fallback;
  roam_time retry_at;   /* WAITING */
  roam_time left_at;    /* when the last connection that was not answered was left for dead; 0 = never */
  roam_time started_at; /* pairs with o.tls.wall_unix_s */
  roam_time close_at;   /* closing: patience ends; ROAM_NEVER before roam_client_close */
  uint8_t close_reason;
  bool ever_connected;    /* a CONNACK accepted once: later connections resume, and trouble is rarely fatal */
  uint32_t session_since; /* number of the connection with which the present session began */
  bool redial;            /* the attempt under way starts from an address that is no more */
  bool busy;              /* the pump stopped at its bound */
  bool awaiting_writable; /* a subscribe returned BLOCKED */

  struct roam_events events;
  struct roam_subs subs;
  struct roam_lanes lanes;
  uint64_t datagrams_in, datagrams_out;
  struct roam_saved saved;
  uint64_t token;            /* the last one given */
  bool more;                 /* the last poll filled its array and left something: it wants another turn */
  bool ack_due;              /* a polled message wants its acknowledgement: the next call must come at once */
  roam_time pings_own_until; /* while bytes are held back and a while after, the session's keep-alive stands still */
  roam_time pinged_at;

  struct roam_cause error; /* the last trouble */
  char error_text[ROAM_CLIENT_TEXT_MAX];
  roam_client_stats past; /* sums over connections that are gone */
  uint64_t events_lost;
  struct roam_client_auth auth;
};

/* client.c */
void roam_client_describe_url(roam_client *c);
void roam_client_set_phase(roam_client *c, enum roam_phase phase);
/* A new event of that kind, stamped; NULL only when memory is out and the margin used up (counted). */
struct roam_entry *roam_client_event(roam_client *c, roam_event_kind kind);
static inline bool roam_client_wants_out(const roam_client *c) { return c->close_at != ROAM_NEVER; }

/* options.c */
roam_client_options roam_client_options_read(const roam_client_options *o);
roam_rc roam_client_options_copy(roam_client *c, const roam_client_options *from);

uint64_t roam_client_idle_timeout(const roam_client_options *o); /* 0 = none */

/* link.c */
void roam_link_begin(roam_client *c);
void roam_link_resolved(roam_client *c, const roam_wire *unit);
uint32_t roam_link_question(roam_client *c); /* a handle for a RESOLVE */
void roam_link_on_event(roam_client *c, const roam_te *te);
__attribute__((format(printf, 5, 6))) void roam_link_blame(roam_client *c, roam_rc rc, int reason, uint64_t code,
                                                           const char *format, ...);
/* Ends the connection; flush: what the session has queued is written first. */
void roam_link_leave(roam_client *c, bool flush);
void roam_link_overdue(roam_client *c);        /* the attempt's time is up */
void roam_link_finish(roam_client *c);         /* the connection is over and read to its end */
size_t roam_link_window(const roam_client *c); /* bytes a lane may hold unread */
roam_transport *roam_link_transport_new(const roam_client *c, roam_transport_kind kind, roam_rc *rc, const char **why);
void roam_link_opened(roam_client *c, const roam_te *te); /* the handshake is done: CONNECT goes out */
void roam_link_remember_trouble(roam_client *c, bool was_connected);

void roam_link_remember(roam_client *c); /* the connection has learned something for the next */
/* A connection that has just been dialled is told what is known of the server, if it is a QUIC one. early: early data, too.
 */
void roam_link_resume(roam_client *c, roam_conn *conn, roam_transport_kind kind, bool early);

/* talk.c */
roam_rc roam_talk_greet(roam_client *c);
const char *roam_talk_props_error(const roam_client_options *o); /* for options.c */
void roam_talk_on_event(roam_client *c, const roam_session_event *se, const struct roam_lane_view *lane);

/* auth.c */
bool roam_auth_is_own(const roam_client_options *o); /* is it ours to do, without the application? */
void roam_auth_free(roam_client *c);
/* For CONNECT: what goes with the method, the bytes its properties take, and the properties. */
roam_rc roam_auth_begin(roam_client *c, roam_bytes *data);
size_t roam_auth_room(const roam_client *c, roam_bytes data);
void roam_auth_put(const roam_client *c, roam_props *props, roam_bytes data);
void roam_auth_on_packet(roam_client *c, const roam_packet *p, const struct roam_lane_view *lane);
/* A CONNACK that lets us in. False: not from whom it must be; the connection is being left. */
bool roam_auth_on_connack(roam_client *c, const roam_packet *p, const struct roam_lane_view *lane);

/* pump.c */
bool roam_client_pump(roam_client *c);          /* true: something moved */
void roam_client_settle_polled(roam_client *c); /* what has been polled is acknowledged and its bytes are given back */
struct roam_lane_view roam_client_lane_view(const roam_client *c, uint32_t lane);
bool roam_client_wants_turn(const roam_client *c); /* is there something to do now that nobody outside will trigger? */

/* roam.c */
enum roam_verdict {
  ROAM_VERDICT_RETRY,
  ROAM_VERDICT_NEXT_ADDRESS,
  ROAM_VERDICT_GIVE_UP
};
enum roam_verdict roam_policy_judge(const struct roam_cause *cause, bool ever_connected, bool greeted);
uint64_t roam_policy_backoff(uint64_t min_ns, uint64_t max_ns, uint32_t attempt, uint64_t chance);
void roam_policy_after(roam_client *c, bool was_connected); /* after an attempt or connection ended for c->error */
void roam_policy_tell_disconnected(roam_client *c, uint64_t retry_ns);
void roam_policy_close(roam_client *c, roam_rc rc); /* for good; c->error says why unless rc is 0 */
void roam_policy_move(roam_client *c);              /* starts or retries the migration wanted */
void roam_policy_move_done(roam_client *c, const roam_te *te);
void roam_policy_move_lost(roam_client *c, roam_rc rc, const char *text);
void roam_policy_hint(roam_client *c); /* the network may have changed */

/* fallback.c */
roam_rc roam_fallback_init(roam_client *c);
uint16_t roam_fallback_port(const roam_client *c); /* of the transport in use */
const char *roam_fallback_host(const roam_client *c, roam_transport_kind kind);
void roam_fallback_ask(roam_client *c); /* where its host is */
/* True: it was the answer to that. */
bool roam_fallback_resolved(roam_client *c, const roam_wire *unit);
roam_transport_kind roam_fallback_choose(roam_client *c);    /* what an attempt begins with */
void roam_fallback_event(roam_client *c, const roam_te *te); /* of a connection that is not the link */
/* The link has ended: true when a rival has become the link. */
bool roam_fallback_finish(roam_client *c, bool greeted);
void roam_fallback_connected(roam_client *c);
void roam_fallback_hint(roam_client *c); /* the network may have changed */
void roam_fallback_cancel(roam_client *c);
void roam_fallback_look(roam_client *c);
roam_time roam_fallback_deadline(const roam_client *c);

/* redirect.c */
void roam_redirect_hear(roam_client *c, int reason, roam_bytes props); /* of a CONNACK or DISCONNECT */
/* After an attempt or connection: true when the next goes to another server, at once. */
bool roam_redirect_follow(roam_client *c, bool was_connected);

/* wander.c */
bool roam_wander_init(roam_client *c);                        /* false: the option `interfaces` is not a list */
void roam_wander_feed(roam_client *c, const roam_wire *unit); /* ADDR, WAKE, SENDFAIL */
void roam_wander_start(roam_client *c);                       /* where the next attempt begins */
void roam_wander_choose(roam_client *c, const roam_addr *local, const char *interface); /* the application's word */
void roam_wander_connected(roam_client *c);
void roam_wander_moved(roam_client *c, roam_rc rc, const roam_addr *local, bool chosen); /* a move is over */
void roam_wander_look(roam_client *c);                                                   /* is there something to do? */
roam_time roam_wander_deadline(const roam_client *c);

#endif
