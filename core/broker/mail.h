/* mail.h - one broker of several workers: what it has to say to the others and they to it (docs/design/workers.md). NULL in
 * a broker that is alone.
 *
 *   mail.c        letters in and out, leave to send, the barrier
 *   mail_route.c  filters and groups of others, messages, retained messages
 *   mail_claim.c  whose is a client id: homes and claims
 *   mail_command.c  the owner's commands for clients that are elsewhere
 *   mail_move.c   sessions on their way from one worker to another */
#ifndef ROAM_BROKER_MAIL_H
#define ROAM_BROKER_MAIL_H

#include <roamqtt/broker.h>

#include "base/list.h"
#include "base/map.h"
#include "base/ring.h"
#include "broker/topics.h"

struct roam_peer;
struct roam_record;
struct roam_move;

#define ROAM_WORKERS_MAX 64u
#define ROAM_WORKER_SHIFT 40 /* a session's number has the worker above this bit, so does a group's */
#define ROAM_PEER_SHIFT 48   /* a peer's number likewise */
#define ROAM_WORKER_OF(number) ((uint32_t)((number) >> ROAM_WORKER_SHIFT) & 0xff)

enum roam_letter_kind {
  ROAM_LETTER_LEAVE, /* number: so many more letters may be sent here */
  ROAM_LETTER_SYNC,  /* number: an epoch; ACK follows when all before it has been read */
  ROAM_LETTER_ACK,
  ROAM_LETTER_FILTER_ADDED, /* text; group: the worker that owns its groups, or ROAM_ORDINARY */
  ROAM_LETTER_FILTER_GONE,
  ROAM_LETTER_MEMBER_PUT, /* text ("$share/..."), number: of the session, how, flag: it is connected */
  ROAM_LETTER_MEMBER_GONE,
  ROAM_LETTER_PUBLISH,  /* message; number: of the publisher's session; stamp: when it is retained */
  ROAM_LETTER_DELIVER,  /* message, how, text: subscription identifiers; number: of the session; flag: by its ghost */
  ROAM_LETTER_AGAIN,    /* message, group; number: the member that does not get it, 0 = chosen anew */
  ROAM_LETTER_CLAIM,    /* text: a client id; user */
  ROAM_LETTER_FREE,     /* text: it is yours, and there is no session */
  ROAM_LETTER_RELEASE,  /* text, user: give it to `worker` */
  ROAM_LETTER_MOVE,     /* text, move; reason: why not, and move is NULL */
  ROAM_LETTER_HANDED,   /* text; reason: not; the home may serve the next claim */
  ROAM_LETTER_GONE,     /* text: its session is over here */
  ROAM_LETTER_SWAP,     /* number: of the session before; worker: from where it came */
  ROAM_LETTER_SWAPPED,  /* number: likewise; what the sender sends from now on it sends to the new place */
  ROAM_LETTER_MARK,     /* number: likewise; the ghost has got all from the sender */
  ROAM_LETTER_DONE,     /* number: likewise; the ghost has forwarded all from `worker` */
  ROAM_LETTER_DATAGRAM, /* text: struct roam_stray and the bytes */
  ROAM_LETTER_FIGURES,  /* text: of $SYS */
  ROAM_LETTER_ROUND,    /* number; flag: dirty; retain: nothing to write (durable_cut.c) */
  ROAM_LETTER_COMMAND,  /* group: a roam_command; text: a client id; user: a filter; qos, reason; flag: its home sends it */
  ROAM_LETTER_ADMIT,    /* number: of the peer; reason; text: struct admitted and what it tells of */
  ROAM_LETTER_FAILED    /* the sender's store has failed, so ours has */
};

/* The owner's, for a client that is elsewhere. */
enum roam_command {
  ROAM_COMMAND_KICK,
  ROAM_COMMAND_ASSIGN,
  ROAM_COMMAND_WITHDRAW
};

#define ROAM_ORDINARY UINT64_MAX

/* Who holds a letter holds a count of what it points to. */
struct roam_letter {
  uint8_t kind, worker, reason;
  bool flag, datagram, retain; /* DELIVER: how */
  uint8_t qos;                 /* likewise */
  uint32_t lane;
  uint64_t number, group, stamp;
  roam_message message;
  roam_blob *text, *user;
  struct roam_move *move;
  struct roam_subscription how;
};

/* To and from one other worker. */
struct roam_mail_box {
  struct roam_ring out; /* struct roam_letter */
  size_t out_bytes;     /* of the messages in it */
  uint32_t under_way;   /* sent, and leave for more has not come */
  uint32_t read;        /* since we gave leave last */
  uint64_t acked;
  uint64_t owed;               /* SYNC that was read, and ACK has not been said */
  uint64_t round, held_by;     /* ROUND: of the last that came; of the last that went, behind which nothing goes yet */
  bool dirty[2], empty[2];     /* what came with it, by its lowest bit */
  struct roam_letter *sending; /* the unit that has been drained */
  roam_blob *figures;          /* worker 0: as reported last */
};

struct roam_mail {
  uint32_t self, n;
  struct roam_hash_key key;
  struct roam_mail_box *boxes; /* n; that of self is not used */
  struct roam_ring acks;       /* none yet */
  uint64_t epoch, committed;
  bool dirty;                 /* something was said that the open epoch's answers wait for */
  bool closing;               /* nothing is said any more */
  uint64_t clock;             /* of stamps */
  struct roam_topics others;  /* filter -> who wants its messages */
  struct roam_topics shares;  /* groups that are ours, members of all workers */
  uint32_t origin;            /* of the message being routed */
  struct roam_map tombstones; /* topic -> struct tombstone */
  struct roam_list tombs;     /* likewise, oldest first */
  struct roam_map homes;      /* client id -> struct roam_home */
  struct roam_list home_list;
  struct roam_map claims; /* client id -> struct roam_claim */
  struct roam_list claim_list;
  struct roam_list late;    /* struct roam_late: to be given away when this turn is over */
  struct roam_list ended;   /* records whose session is over: their home is told unless another has begun */
  struct roam_map64 ghosts; /* number of a session that has left -> struct roam_ghost */
  struct roam_list ghost_list;
  struct roam_map64 arrivals; /* number it had before -> record, while it moves */
  uint64_t letters_out, letters_in;
  uint64_t rounds_done; /* ROUND: that many have been said by all */
  size_t spare;         /* letters for which each box has room that nobody may ask for */
  uint64_t missed;      /* workers, bit by bit: something that their letters asked for could not be done */
  uint64_t said;        /* letters that change what the reader may write down */
};

/* ---- mail.c ---- */
roam_rc roam_mail_init(roam_broker *b, const roam_broker_options *o);
void roam_mail_close(roam_broker *b); /* from now on nothing is said: the tables are being freed */
void roam_mail_reset(roam_broker *b);
uint32_t roam_mail_home(const struct roam_mail *m, const void *name, size_t len); /* whose is a name */
/* Takes the letter's counts over, also when it fails for want of memory. */
roam_rc roam_mail_post(roam_broker *b, uint32_t to, const struct roam_letter *letter);
/* Room for n letters to each, made now. may: for what can be refused; can: for what must be. */
bool roam_mail_may(const roam_broker *b, size_t n);
bool roam_mail_can(const roam_broker *b, size_t n);
bool roam_mail_can_close(const roam_broker *b);       /* nothing waits that belongs before SYNC or ROUND */
void roam_mail_fail(roam_broker *b);                  /* a promise made here is broken: sessions end, or the store fails */
void roam_mail_missed(roam_broker *b, uint32_t from); /* one that was made there */
void roam_letter_drop(struct roam_letter *letter);
void roam_mail_feed(roam_broker *b, const roam_wire *unit);
size_t roam_mail_drain(roam_broker *b, roam_wire out[], size_t n);
bool roam_mail_waits(const roam_broker *b); /* a drain would give something */
/* The gate of the barrier: as durable_gate.c's. With a store that is the gate, for its commits are barriers. */
bool roam_mail_gates(const roam_broker *b);
uint64_t roam_mail_epoch(const roam_broker *b, uint64_t changes_before);
void roam_mail_enter(roam_broker *b, struct roam_peer *p);
void roam_mail_leave(roam_broker *b, struct roam_peer *p);
bool roam_mail_stalled(const roam_broker *b);
bool roam_mail_is_long(const roam_broker *b, uint32_t to); /* its box: what may be lost should be */

/* ---- mail_route.c ---- */
void roam_mail_flush(roam_broker *b); /* what has changed in the tables becomes letters */
roam_rc roam_mail_route(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched);
void roam_mail_again(roam_broker *b, const roam_message *message, uint64_t group); /* a group's, and its member is gone */
void roam_mail_take_message(roam_broker *b, uint32_t from, struct roam_letter *letter);
void roam_mail_take_filter(roam_broker *b, uint32_t from, const struct roam_letter *letter);
void roam_mail_take_member(roam_broker *b, uint32_t from, const struct roam_letter *letter);
void roam_mail_expired(roam_broker *b, roam_bytes topic, uint64_t stamp); /* a retained message */
void roam_mail_bury(roam_broker *b);                                      /* tombstones whose barrier is over */
void roam_mail_tombs_free(roam_broker *b);

/* ---- mail_claim.c ---- */
/* CONNECT of an id that may be elsewhere. False: it is here or nowhere. True: roam_connect_claimed follows, or the peer has
 * been refused. */
bool roam_mail_claim(roam_broker *b, struct roam_peer *p, const roam_packet *connect);
void roam_mail_unclaim(struct roam_peer *p);           /* it does not wait any more */
roam_rc roam_mail_own(roam_broker *b, roam_bytes id);  /* an id that this worker, its home, has made up */
void roam_mail_settled(roam_broker *b, roam_bytes id); /* CONNECT has been handled, whatever came of it */
void roam_mail_session_over(roam_broker *b, struct roam_record *r);
void roam_mail_record_gone(roam_broker *b, struct roam_record *r); /* it is being freed */
bool roam_mail_tell_ended(roam_broker *b);
void roam_mail_release(roam_broker *b, struct roam_record *r, uint32_t to, roam_blob *user); /* gives it away */
/* A client id that is owed to `to`, and given away when this turn is over. NULL: no memory. */
struct roam_late {
  struct roam_list node;
  roam_blob *id, *user;
  uint32_t to;
};
struct roam_late *roam_mail_late_new(roam_blob *id, uint32_t to, roam_blob *user);
void roam_mail_late_free(struct roam_late *l);
void roam_mail_release_later(roam_broker *b, struct roam_late *l);
void roam_mail_take_claim(roam_broker *b, uint32_t from, struct roam_letter *letter);
void roam_mail_claims_free(roam_broker *b);
/* From a store: a client id that is at home here, and where its session is. ROAM_E_STATE: it is known already. */
roam_rc roam_mail_note_home(roam_broker *b, roam_bytes id, uint32_t worker);

uint32_t roam_mail_whereabouts(const roam_broker *b, roam_bytes id); /* at its home; UINT32_MAX: nowhere */

/* ---- mail_command.c ---- */
/* To where the client is. ROAM_E_NOT_FOUND: nowhere, as far as is known here; 0 only says that it is on its way. */
roam_rc roam_mail_command(roam_broker *b, enum roam_command command, const char *client_id, roam_bytes filter, uint8_t how);
roam_rc roam_mail_admit(roam_broker *b, uint64_t peer, const roam_admission *admission);
void roam_mail_take_command(roam_broker *b, const struct roam_letter *letter);

/* ---- mail_move.c ---- */
/* Takes it out to be sent, its connection ended. 0, or the ROAM_REASON_... why not. */
uint8_t roam_move_out(roam_broker *b, struct roam_record *r, uint32_t to, struct roam_move **out);
struct roam_record *roam_move_in(roam_broker *b, struct roam_move *move, uint32_t from); /* NULL: no memory, it is lost */
void roam_move_free(struct roam_move *move);
bool roam_move_then(struct roam_record *r, uint32_t to,
                    roam_blob *user); /* when it has arrived, give it away; false: no memory */
/* A message for a session that is on its way: is it to be delivered now? */
bool roam_move_admits(roam_broker *b, struct roam_record *r, const struct roam_letter *as);
/* A match of a session that is not here: forwarded if it has left just now. */
void roam_ghost_forward(roam_broker *b, uint64_t session, const struct roam_letter *as);
void roam_mail_take_swap(roam_broker *b, uint32_t from, const struct roam_letter *letter);
void roam_move_over(roam_broker *b, struct roam_record *r); /* the session ends on its way */
void roam_ghosts_free(roam_broker *b);

#endif
