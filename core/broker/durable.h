/* durable.h - what the broker writes down, and when an answer may leave. durable.c has the theory, durable_load.c reads it
 * all back, durable_flows.c does both for flows, durable_cut.c has what is different with several workers. Without a store
 * every function here returns at once. */
#ifndef ROAM_BROKER_DURABLE_H
#define ROAM_BROKER_DURABLE_H

#include <roamqtt/broker.h>

#include "base/batch.h"
#include "base/list.h"
#include "broker/records.h"
#include "broker/topics.h"

struct roam_peer;
struct roam_record;
struct roam_letter;

/* A message that is written down; count: deliveries that refer to it. */
struct roam_kept_message {
  uint64_t number, epoch; /* in whose batch it was put */
  size_t at;              /* where in that */
  uint32_t count;
};

/* One delivery of it; its address is the token the session knows it by. Deliveries that are not written down have a group's
 * number and a set lowest bit for a token, or 0. */
struct roam_kept_delivery {
  struct roam_list node; /* record.kept_deliveries */
  uint64_t sequence, epoch;
  size_t at;
  struct roam_kept_message *message; /* NULL: PUBREC has come, or it is not written down any more */
  bool progress;                     /* its packet identifier is written down, too */
  uint64_t group;                    /* the shared subscription it came by, 0 = none */
};

struct roam_secret {
  struct roam_list node;
  roam_blob *name, *bytes;
};

/* One commit of several workers, see durable_cut.c. */
struct roam_cut {
  struct roam_batch batch;
  uint64_t round, done;    /* what we have said last; the last that all have said */
  uint64_t said;           /* mail.said at that moment */
  uint64_t epoch;          /* of the last change in batch */
  bool dirty[2], empty[2]; /* what we said, by the round's lowest bit */
  bool under_way;          /* no peer is read */
  bool ready;              /* it is one: to be written as soon as the one before is */
  bool opened;             /* the first is over: all know what the others have loaded */
  roam_time begun_at;
};

/* Invariant: `sealed` is being written while `writing`, and makes sealed_epoch true; what is in `open` has epoch `epoch`.
 * One worker: sealed_epoch is the one before. Several: `cut` lies between them, what of this worker belongs to the next
 * commit of all of them (durable_cut.c). */
struct roam_durable {
  roam_store *store;
  bool on; /* there is a store, and it has not failed */
  bool failed;
  bool writing, sent; /* sent: its unit has been drained */
  bool starved;       /* no memory for a change */
  bool full;          /* the disk was, at the last try */
  roam_time start, sealed_at, retry_at;
  uint64_t wall_start_ms;
  struct roam_batch open, sealed;
  uint64_t epoch, committed;
  uint64_t changes, commits;
  uint64_t message_next, sequence_next;
  struct roam_kept_message *routed; /* of the message that is being handed out */
  const roam_message *routing;
  struct roam_list held;                /* peers that wait for an epoch, or for room */
  struct roam_list secrets;             /* struct roam_secret */
  uint64_t sealed_epoch, sealed_number; /* the latter is what the commit is called outside */
  struct roam_cut cut;
};

/* durable.c: life */
void roam_durable_init(roam_broker *b);
void roam_durable_stop(roam_broker *b); /* nothing is written any more */
void roam_durable_reset(roam_broker *b);
/* durable_load.c: reads the store into the broker's tables. */
roam_rc roam_durable_load(roam_broker *b);

/* durable.c: what changed */
bool roam_durable_keeps(const roam_broker *b, uint32_t expiry_s); /* would a session with this expiry be written down? */
void roam_durable_session(roam_broker *b, struct roam_record *r); /* it and its will, as they are now */
void roam_durable_will(roam_broker *b, struct roam_record *r);    /* the latter alone, of a kept session */
void roam_durable_forget(roam_broker *b, struct roam_record *r);  /* its session is over, its tokens have been used */
void roam_durable_subscribed(roam_broker *b, struct roam_record *r, roam_bytes filter, const struct roam_subscription *sub);
void roam_durable_unsubscribed(roam_broker *b, struct roam_record *r, roam_bytes filter);
void roam_durable_received(roam_broker *b, struct roam_record *r, uint32_t lane, uint16_t packet_id);
/* The token to hand a message to a session with. */
uint64_t roam_durable_delivery(roam_broker *b, struct roam_record *r, const roam_message *message,
                               const roam_publish_how *how, uint64_t group);
uint64_t roam_durable_group(uint64_t token); /* the one it was made with; while the session's deliveries are there */
void roam_durable_delivered(roam_broker *b, struct roam_record *r, uint64_t token); /* or never will be */
void roam_durable_routed(roam_broker *b);                                           /* the message is handed out */
void roam_durable_note(roam_broker *b, struct roam_record *r, const roam_session_event *ev);
void roam_durable_retained(roam_broker *b, const roam_message *message, bool kept);

uint8_t *roam_durable_add(roam_broker *b, int what, roam_bytes key, size_t record_len); /* for durable_flows.c */

/* durable_flows.c */
struct roam_flow;
void roam_durable_flow(roam_broker *b, struct roam_flow *flow);        /* as it is now */
void roam_durable_flow_drop(roam_broker *b, struct roam_flow *flow);   /* it is over */
void roam_durable_flow_forget(roam_broker *b, struct roam_flow *flow); /* it begins anew: all it had is gone */
void roam_durable_flow_subscribed(roam_broker *b, const struct roam_flow *flow, roam_bytes filter,
                                  const struct roam_subscription *sub);
void roam_durable_flow_unsubscribed(roam_broker *b, const struct roam_flow *flow, roam_bytes filter);
struct roam_key roam_durable_received_key(const struct roam_record *r, uint32_t lane, uint16_t packet_id);
/* Is what happens on this lane written down? *id: of its flow, 0 = control. */
bool roam_durable_lane_lasts(const struct roam_record *r, uint32_t lane, uint64_t *id);
/* From the store; ROAM_E_DAMAGED. key: without what all of the session begin with. anew: it is written again, for the
 * session has another number now. */
roam_rc roam_durable_load_flow(roam_broker *b, struct roam_record *r, roam_bytes id, roam_bytes record, bool anew);
roam_rc roam_durable_load_flow_filter(roam_broker *b, struct roam_record *r, roam_bytes key, roam_bytes record, bool anew);
roam_rc roam_durable_load_flow_received(roam_broker *b, struct roam_record *r, roam_bytes key, bool anew);
/* What is left of that many seconds since then (wall, 0: since now). */
roam_time roam_durable_left(const roam_broker *b, uint64_t gone_at_ms, uint32_t seconds);

/* Secrets that outlive a restart, for tickets, reset and address tokens. Empty: there is none of that name. */
roam_bytes roam_durable_secret(const roam_broker *b, const char *name);
roam_rc roam_durable_set_secret(roam_broker *b, const char *name, roam_bytes bytes);

/* durable_gate.c: when answers leave */
uint64_t roam_durable_epoch(const roam_broker *b, uint64_t changes_before); /* what depends on changes since; 0: nothing */
void roam_durable_enter(roam_broker *b, struct roam_peer *p);               /* before its session is used */
void roam_durable_leave(roam_broker *b, struct roam_peer *p); /* after it was drained: notes whether it waits */
bool roam_durable_stalled(const roam_broker *b);              /* too much waits for the disk: read nobody */
void roam_durable_wait(roam_broker *b, struct roam_peer *p);
void roam_durable_wake(roam_broker *b);                  /* who waits is looked at again */
bool roam_durable_drain(roam_broker *b, roam_wire *out); /* true: *out is a batch to be written */
void roam_durable_stored(roam_broker *b, const roam_wire *unit);
void roam_durable_tick(roam_broker *b);
roam_time roam_durable_deadline(const roam_broker *b);

/* durable_cut.c: several workers */
void roam_cut_begin(roam_broker *b);            /* the first: nobody is read before it is over */
void roam_cut_step(roam_broker *b);             /* as far as it goes */
bool roam_cut_is_awaited(const roam_broker *b); /* the first: the others do not know yet what we have loaded */
bool roam_cut_waits(const roam_broker *b);      /* a step would do something */
bool roam_cut_idle(const roam_broker *b);       /* there is nothing to be made true */
void roam_cut_take(roam_broker *b, uint32_t from, const struct roam_letter *letter);
void roam_cut_end(roam_broker *b);              /* the store has failed here */
bool roam_durable_shares(const roam_broker *b); /* there is a store, and several workers have it */
void roam_durable_fail(roam_broker *b, roam_rc rc, const char *why);

/* A session on its way to another worker: what is written of it under its number goes, and comes back under the new one. */
void roam_durable_depart(roam_broker *b, struct roam_record *r);
void roam_durable_arrive(roam_broker *b, struct roam_record *r); /* all but subscriptions */
/* One delivery of such a session. message NULL: made here; else shared through *message by those who have the same. */
void roam_durable_adopt(roam_broker *b, struct roam_record *r, struct roam_kept_delivery *q, const roam_past *past,
                        struct roam_kept_message **message);

static inline uint64_t roam_wall_ms(const struct roam_durable *d, roam_time at) {
  return at == ROAM_NEVER ? UINT64_MAX : d->wall_start_ms + (at - d->start) / ROAM_MS;
}
/* When that is on the broker's clock; what is past is now. */
static inline roam_time roam_time_of_wall(const struct roam_durable *d, uint64_t wall_ms) {
  if (wall_ms == UINT64_MAX) return ROAM_NEVER;
  return wall_ms > d->wall_start_ms ? d->start + (wall_ms - d->wall_start_ms) * ROAM_MS : d->start;
}

#endif
