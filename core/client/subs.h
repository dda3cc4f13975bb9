/* subs.h - what the application wants to be subscribed to, apart from what the server knows of it.
 *
 * A filter is `kept` from its SUBACK on and is asked for again whenever the server says it has no session of ours. A
 * command is `pending` from its call until its SUBACK or UNSUBACK; once given to the session, the session sees to it that a
 * request without an answer is sent again on the next connection. Both are bounded: kept filters and those of pending
 * commands together by subscriptions_max, pending commands by 1024. */
#ifndef ROAM_CLIENT_SUBS_H
#define ROAM_CLIENT_SUBS_H

#include <roamqtt/mqtt.h>

#include "base/list.h"

#define ROAM_SUBS_PENDING_MAX 1024

struct roam_sub;
struct roam_subs_command;

struct roam_subs {
  struct roam_list kept;    /* of struct roam_sub, oldest first */
  struct roam_list pending; /* of struct roam_subs_command, oldest first */
  uint32_t kept_count, pending_count, pending_filters, max;
  struct roam_list *renew; /* no filter before this one is to be asked for again; &kept: none at all */
  bool unsent;             /* some pending command is not with the session */
  uint8_t version;
};

void roam_subs_init(struct roam_subs *s, uint32_t max, uint8_t version);
void roam_subs_reset(struct roam_subs *s);
/* On which lane a subscription is, and how its messages may come. */
struct roam_subs_how {
  uint32_t lane;
  bool datagram;
};
/* type: ROAM_SUBSCRIBE or ROAM_UNSUBSCRIBE. ROAM_E_ARGUMENT, ROAM_E_LIMIT, ROAM_E_BLOCKED (1024 pending), ROAM_E_MEMORY. */
roam_rc roam_subs_want(struct roam_subs *s, int type, const roam_filter *filters, size_t n, struct roam_subs_how how,
                       uint64_t token);
/* The lane of a filter's newest subscription, kept or pending; 0 when there is none. */
uint32_t roam_subs_lane_of(const struct roam_subs *s, roam_bytes filter);
/* The server has forgotten what was subscribed to on that lane: it is asked for again, there or (merged) on lane 0;
 * requests without an answer likewise when merged, else they are still with the session. */
void roam_subs_lane_lost(struct roam_subs *s, uint32_t lane, bool merged);
/* A connection was accepted: everything kept is asked for again when the session is new, else what was on data lanes,
 * unless these are flows that the server may still know. */
void roam_subs_connected(struct roam_subs *s, bool session_present, bool flows);
/* A command the session will never take (its packet is too large for the server). */
struct roam_subs_failure {
  int type; /* 0: none */
  uint64_t token;
  roam_rc rc;
};
/* Gives the session what it takes, up to the first failure, whose command is forgotten; true: something went. */
bool roam_subs_send(struct roam_subs *s, roam_session *session, roam_time now, struct roam_subs_failure *failure);
/* Before CONNACK: commands to subscribe, up to the first that is something else. True: something went. */
bool roam_subs_send_early(struct roam_subs *s, roam_session *session, roam_time now);
/* SUBACK or UNSUBACK came. False: not one of the application's commands (a renewal has token 0). */
bool roam_subs_answered(struct roam_subs *s, uint64_t token, roam_bytes codes);

#endif
