/* topics.h - who has subscribed to what. Sessions are numbers here (with the lane in the upper bits: lanes.h): this is the
 * routing side of the seam, and nothing in it points to a connection, a session or a message. */
#ifndef ROAM_BROKER_TOPICS_H
#define ROAM_BROKER_TOPICS_H

#include <roamqtt/mqtt.h>

#include "base/ring.h"
#include "broker/tree.h"

struct roam_subscription {
  uint8_t qos;
  bool no_local, retain_as_published;
  uint32_t identifier; /* 0: none */
  bool datagram;       /* QoS 0 deliveries may go in datagrams */
};

/* One delivery. Subscription identifiers are a chain through roam_matches.ids, newest first; 0 ends it. */
struct roam_match {
  uint64_t session;
  uint8_t qos;
  bool retain_as_published, shared, datagram;
  uint32_t first_id; /* index + 1 */
  uint64_t group;    /* shared: number of the group, for roam_topics_share_again */
};

struct roam_match_id {
  uint32_t identifier, next;
};

/* What other workers must know of a table's changes, when it is watched. FILTER: the first ordinary subscription at a
 * filter came, the last one went. GROUPS: the same of "$share" groups at a filter. MEMBER: a session's membership of a
 * group, with `filter` as it was asked for. */
enum roam_topics_change_kind {
  ROAM_FILTER_ADDED,
  ROAM_FILTER_GONE,
  ROAM_GROUPS_ADDED,
  ROAM_GROUPS_GONE,
  ROAM_MEMBER_PUT,
  ROAM_MEMBER_GONE
};

struct roam_topics_change {
  uint8_t kind; /* enum roam_topics_change_kind */
  bool connected;
  uint64_t session;
  struct roam_subscription how;
  roam_blob *filter; /* the taker's count */
};

/* Reused from message to message. */
struct roam_matches {
  struct roam_match *items;
  struct roam_match_id *ids;
  size_t len, cap, ids_len, ids_cap;
};

#define ROAM_TOPICS_LAST_MAX 256u

/* Whose matches those are that stand in roam_topics.matches: messages of one topic come in rows. */
struct roam_topics_last {
  uint64_t from, changes; /* of roam_topics then; 0: nothing is remembered */
  size_t len;
  uint8_t topic[ROAM_TOPICS_LAST_MAX];
};

struct roam_topics {
  struct roam_tree tree;         /* value: struct roam_topic_subs */
  struct roam_map64 subscribers; /* session -> struct roam_subscriber */
  struct roam_list all;          /* of subscribers */
  struct roam_map64 groups;      /* number -> struct roam_share_group */
  uint64_t group_next;
  uint32_t per_session_max, count;
  uint64_t epoch;  /* counts matches */
  uint32_t visits; /* nodes the last match has been at: a matter of the topic's levels, not of how many subscribe */
  struct roam_matches matches;
  struct roam_topics_last last;
  uint64_t table; /* counts changes of the table; from 1 */
  bool watched;   /* changes are noted; groups are kept for the record only, somebody else chooses their members */
  struct roam_ring changes; /* struct roam_topics_change */
};

roam_rc roam_topics_init(struct roam_topics *t, uint32_t levels_max, uint32_t per_session_max, uint32_t sessions_max,
                         roam_random *random);
void roam_topics_reset(struct roam_topics *t);
/* Adds or replaces. filter must be valid; "$share/<name>/" is understood. ROAM_E_LIMIT: too many for this session, or too
 * deep. */
roam_rc roam_topics_subscribe(struct roam_topics *t, uint64_t session, roam_bytes filter,
                              const struct roam_subscription *sub, bool *existed);
bool roam_topics_unsubscribe(struct roam_topics *t, uint64_t session, roam_bytes filter); /* false: there was none */
void roam_topics_forget(struct roam_topics *t, uint64_t session);
uint32_t roam_topics_of(const struct roam_topics *t, uint64_t session); /* how many it has */
/* Shared subscriptions prefer members that are connected. */
void roam_topics_connected(struct roam_topics *t, uint64_t session, bool connected);
/* Everybody who gets a message: one delivery for each session, at the highest quality, and one for each group. from: the
 * session it comes from, 0 = none (for no_local). The result lives until the next call. ROAM_E_MEMORY. */
roam_rc roam_topics_match(struct roam_topics *t, roam_bytes topic, uint64_t from, const struct roam_matches **out);

/* A message of a group's that nobody got after all: whose turn is it? False: the group has no member any more. */
bool roam_topics_share_again(const struct roam_topics *t, uint64_t group, uint64_t *session, struct roam_subscription *how);

/* Was the last match of this topic, and of this session's? Then its levels have been counted. */
bool roam_topics_is_last(const struct roam_topics *t, roam_bytes topic, uint64_t from);

void roam_topics_watch(struct roam_topics *t); /* notes changes from now on; matches pass groups over */
bool roam_topics_take_change(struct roam_topics *t, struct roam_topics_change *out);

/* "$share/<name>/<filter>" taken apart; group is empty for other filters. */
struct roam_share_name {
  roam_bytes group, filter;
};
struct roam_share_name roam_share_split(roam_bytes filter);

/* ---- shared by topics.c and share.c ---- */

struct roam_subscriber {
  struct roam_list node; /* topics.all */
  struct roam_list subs; /* struct roam_topic_sub.mine */
  uint64_t session, epoch;
  size_t match; /* its place in the result, when epoch is the current one */
  uint32_t count;
  bool connected;
};

/* One subscription. group NULL: an ordinary one, in its node's list; else in one of the group's two. */
struct roam_topic_sub {
  struct roam_list here, mine;
  struct roam_subscriber *subscriber;
  struct roam_tree_node *at;
  struct roam_share_group *group;
  struct roam_subscription how;
};

#define ROAM_SHARE_GROUPS_MAX 1024u /* "$share" names at one filter: each costs every message to it a delivery */

/* What a tree node has. */
struct roam_topic_subs {
  struct roam_list subs;   /* roam_topic_sub.here, ordinary ones */
  struct roam_list groups; /* roam_share_group.node */
  uint32_t groups_count;
  uint32_t count;          /* of both kinds */
  struct roam_map64 index; /* session -> ordinary subscription */
};

/* One "$share" name at one filter. Members take turns within each list. */
struct roam_share_group {
  struct roam_list node, present, absent;
  struct roam_topic_subs *of;
  uint64_t number;         /* never used again */
  struct roam_map64 index; /* session -> member */
  size_t name_len;
  uint8_t name[];
};

/* The filter as it was subscribed to, "$share/" included. NULL: no memory. */
roam_blob *roam_topics_filter_of(const struct roam_topic_sub *sub);
struct roam_share_group *roam_share_find(const struct roam_topic_subs *subs, roam_bytes name);
struct roam_share_group *roam_share_add(struct roam_topic_subs *subs, roam_bytes name); /* NULL: no memory */
bool roam_share_prune(struct roam_share_group *group);                  /* true: it had no members and is freed */
void roam_share_place(struct roam_topic_sub *member);                   /* into the list that fits */
struct roam_topic_sub *roam_share_next(struct roam_share_group *group); /* whose turn it is */

#endif
