/* topics.c - the routing table: subscriptions in a tree of topic levels, and the question who gets a message.
 *
 * A match walks the tree along the topic's levels, at each level into the child of that name and into "+"; "#" is taken on
 * the way. The walk visits only nodes that exist, each at most once. Overlapping subscriptions of one session become one
 * delivery (section 3.3.4): its place in the result is noted at the subscriber, stamped with the number of the match, so
 * nothing is searched or cleared. Shared subscriptions are deliveries of their own (section 4.8.2). Refuses to know
 * sessions other than by number. */
#include "broker/topics.h"

#include "base/assert.h"
#include "broker/lanes.h"

#include <stdlib.h>
#include <string.h>

roam_rc roam_topics_init(struct roam_topics *t, uint32_t levels_max, uint32_t per_session_max, uint32_t sessions_max,
                         roam_random *random) {
  *t = (struct roam_topics){.per_session_max = per_session_max, .table = 1};
  roam_list_init(&t->all);
  roam_ring_init(&t->changes, sizeof(struct roam_topics_change), ROAM_TREE_NODES_MAX);
  roam_map64_init(&t->subscribers, sessions_max, NULL);
  roam_map64_init(&t->groups, ROAM_TREE_NODES_MAX, NULL);
  return roam_tree_init(&t->tree, levels_max, ROAM_TREE_NODES_MAX, random);
}

/* ---- subscribers ---- */

static struct roam_subscriber *find_subscriber(const struct roam_topics *t, uint64_t session) {
  return roam_map64_get(&t->subscribers, session);
}

static roam_rc get_subscriber(struct roam_topics *t, uint64_t session, struct roam_subscriber **out) {
  *out = find_subscriber(t, session);
  if (*out) return 0;
  struct roam_subscriber *s = calloc(1, sizeof *s);
  if (!s) return ROAM_E_MEMORY;
  s->session = session;
  s->connected = true; /* who subscribes is here */
  roam_list_init(&s->subs);
  roam_rc rc = roam_map64_put(&t->subscribers, session, s);
  if (rc != 0) {
    free(s);
    return rc;
  }
  roam_list_push_back(&t->all, &s->node);
  *out = s;
  return 0;
}

static void prune_subscriber(struct roam_topics *t, struct roam_subscriber *s) {
  if (s->count > 0) return;
  roam_map64_remove(&t->subscribers, s->session);
  roam_list_remove(&s->node);
  free(s);
}

/* ---- what a node has ---- */

static roam_rc get_subs(struct roam_tree_node *node, struct roam_topic_subs **out) {
  *out = node->value;
  if (*out) return 0;
  struct roam_topic_subs *subs = calloc(1, sizeof *subs);
  if (!subs) return ROAM_E_MEMORY;
  roam_list_init(&subs->subs);
  roam_list_init(&subs->groups);
  roam_map64_init(&subs->index, ROAM_TREE_NODES_MAX, NULL);
  node->value = *out = subs;
  return 0;
}

static void prune_subs(struct roam_topics *t, struct roam_tree_node *node) {
  struct roam_topic_subs *subs = node->value;
  if (subs && subs->count == 0) {
    ROAM_ASSERT(roam_list_empty(&subs->groups));
    roam_map64_reset(&subs->index);
    free(subs);
    node->value = NULL;
  }
  roam_tree_prune(&t->tree, node);
}

static struct roam_topic_sub *find_sub(const struct roam_topic_subs *subs, uint64_t session, roam_bytes group) {
  if (group.len == 0) return roam_map64_get(&subs->index, session);
  struct roam_share_group *g = roam_share_find(subs, group);
  return g ? roam_map64_get(&g->index, session) : NULL;
}

static void prune_group(struct roam_topics *t, struct roam_share_group *group) {
  uint64_t number = group ? group->number : 0;
  if (group && roam_share_prune(group)) roam_map64_remove(&t->groups, number);
}

static roam_rc make_group(struct roam_topics *t, struct roam_topic_subs *subs, roam_bytes name,
                          struct roam_share_group **out) {
  struct roam_share_group *group = roam_share_add(subs, name);
  if (!group) return ROAM_E_MEMORY;
  group->number = ++t->group_next;
  roam_rc rc = roam_map64_put(&t->groups, group->number, group);
  if (rc == 0) *out = group;
  else roam_share_prune(group);
  return rc;
}

/* ---- what others must know ---- */

void roam_topics_watch(struct roam_topics *t) {
  t->watched = true;
  t->table++;
}

bool roam_topics_take_change(struct roam_topics *t, struct roam_topics_change *out) {
  return roam_ring_pop(&t->changes, out);
}

static roam_blob *write_filter(roam_bytes group, const struct roam_tree_node *at) {
  static const char prefix[] = "$share/";
  size_t path_len = roam_tree_path_len(at), skip = group.len > 0 ? sizeof prefix - 1 + group.len + 1 : 0;
  roam_blob *blob = roam_blob_new(NULL, skip + path_len);
  if (!blob) return NULL;
  uint8_t *to = roam_blob_data(blob);
  if (skip > 0) {
    memcpy(to, prefix, sizeof prefix - 1);
    memcpy(to + sizeof prefix - 1, group.base, group.len);
    to[skip - 1] = '/';
  }
  roam_tree_path(at, to + skip);
  return blob;
}

roam_blob *roam_topics_filter_of(const struct roam_topic_sub *sub) {
  roam_bytes group = {0};
  if (sub->group) group = (roam_bytes){sub->group->name, sub->group->name_len};
  return write_filter(group, sub->at);
}

static roam_rc note(struct roam_topics *t, uint8_t kind, const struct roam_topic_sub *sub) {
  bool member = kind == ROAM_MEMBER_PUT || kind == ROAM_MEMBER_GONE;
  struct roam_topics_change change = {.kind = kind};
  change.filter = member ? roam_topics_filter_of(sub) : write_filter((roam_bytes){0}, sub->at);
  if (member) {
    change.connected = sub->subscriber->connected;
    change.session = sub->subscriber->session;
    change.how = sub->how;
  }
  roam_rc rc = change.filter ? roam_ring_push(&t->changes, &change) : ROAM_E_MEMORY;
  if (rc != 0) roam_blob_unref(change.filter);
  return rc;
}

/* The only one of its kind at its filter. */
static bool is_alone(const struct roam_topic_sub *sub) {
  const struct roam_topic_subs *subs = sub->at->value;
  return sub->group ? subs->groups_count == 1 && sub->group->index.count == 1 : subs->index.count == 1;
}

static roam_rc note_added(struct roam_topics *t, const struct roam_topic_sub *sub) {
  if (!t->watched) return 0;
  roam_rc rc = is_alone(sub) ? note(t, sub->group ? ROAM_GROUPS_ADDED : ROAM_FILTER_ADDED, sub) : 0;
  return rc == 0 && sub->group ? note(t, ROAM_MEMBER_PUT, sub) : rc;
}

/* What is not noted for want of memory, others go on sending: more than they must, never less. */
static void note_dropped(struct roam_topics *t, const struct roam_topic_sub *sub) {
  if (!t->watched) return;
  if (sub->group) (void)note(t, ROAM_MEMBER_GONE, sub);
  if (is_alone(sub)) (void)note(t, sub->group ? ROAM_GROUPS_GONE : ROAM_FILTER_GONE, sub);
}

/* Its node and its subscriber stay. */
static void unlink_sub(struct roam_topics *t, struct roam_topic_sub *sub) {
  struct roam_subscriber *s = sub->subscriber;
  struct roam_topic_subs *subs = sub->at->value;
  t->table++;
  roam_list_remove(&sub->here);
  roam_list_remove(&sub->mine);
  roam_map64_remove(sub->group ? &sub->group->index : &subs->index, s->session);
  prune_group(t, sub->group);
  subs->count--;
  s->count--;
  t->count--;
  free(sub);
}

static void drop_sub(struct roam_topics *t, struct roam_topic_sub *sub) {
  struct roam_subscriber *s = sub->subscriber;
  struct roam_tree_node *at = sub->at;
  unlink_sub(t, sub);
  prune_subs(t, at);
  prune_subscriber(t, s);
}

/* ---- subscribe ---- */

static void drop_told(struct roam_topics *t, struct roam_topic_sub *sub) {
  note_dropped(t, sub);
  drop_sub(t, sub);
}

static roam_rc add_sub(struct roam_topics *t, struct roam_topic_subs *subs, struct roam_tree_node *node, roam_bytes group,
                       struct roam_subscriber *s, const struct roam_subscription *how) {
  struct roam_topic_sub *sub = calloc(1, sizeof *sub);
  if (!sub) return ROAM_E_MEMORY;
  t->table++;
  *sub = (struct roam_topic_sub){.subscriber = s, .at = node, .how = *how};
  roam_list_init(&sub->here);
  roam_rc rc = 0;
  if (group.len > 0) {
    sub->group = roam_share_find(subs, group);
    if (!sub->group && subs->groups_count >= ROAM_SHARE_GROUPS_MAX) rc = ROAM_E_LIMIT;
    if (!sub->group && rc == 0) rc = make_group(t, subs, group, &sub->group);
    if (rc == 0) rc = roam_map64_put(&sub->group->index, s->session, sub);
  } else {
    rc = roam_map64_put(&subs->index, s->session, sub);
  }
  if (rc != 0) {
    prune_group(t, sub->group);
    free(sub);
    return rc;
  }
  if (sub->group) roam_share_place(sub);
  else roam_list_push_back(&subs->subs, &sub->here);
  roam_list_push_back(&s->subs, &sub->mine);
  subs->count++;
  s->count++;
  t->count++;
  rc = note_added(t, sub);
  if (rc != 0) unlink_sub(t, sub);
  return rc;
}

static roam_rc replace(struct roam_topics *t, struct roam_topic_sub *sub, const struct roam_subscription *how) {
  sub->how = *how;
  t->table++;
  return t->watched && sub->group ? note(t, ROAM_MEMBER_PUT, sub) : 0;
}

roam_rc roam_topics_subscribe(struct roam_topics *t, uint64_t session, roam_bytes filter,
                              const struct roam_subscription *sub, bool *existed) {
  struct roam_share_name name = roam_share_split(filter);
  struct roam_subscriber *s;
  struct roam_tree_node *node;
  struct roam_topic_subs *subs;
  *existed = false;
  roam_rc rc = get_subscriber(t, session, &s);
  if (rc != 0) return rc;
  rc = roam_tree_add(&t->tree, name.filter, &node);
  if (rc == 0) {
    rc = get_subs(node, &subs);
    struct roam_topic_sub *old = rc == 0 ? find_sub(subs, session, name.group) : NULL;
    if (old) {
      *existed = true;
      return replace(t, old, sub);
    }
    if (rc == 0 && s->count >= t->per_session_max) rc = ROAM_E_LIMIT;
    if (rc == 0) rc = add_sub(t, subs, node, name.group, s, sub);
    if (rc != 0) prune_subs(t, node);
  }
  prune_subscriber(t, s);
  return rc;
}

bool roam_topics_unsubscribe(struct roam_topics *t, uint64_t session, roam_bytes filter) {
  struct roam_share_name name = roam_share_split(filter);
  struct roam_tree_node *node = roam_tree_find(&t->tree, name.filter);
  struct roam_topic_sub *sub = node && node->value ? find_sub(node->value, session, name.group) : NULL;
  if (!sub) return false;
  drop_told(t, sub);
  return true;
}

void roam_topics_forget(struct roam_topics *t, uint64_t session) {
  struct roam_subscriber *s = find_subscriber(t, session);
  for (uint32_t left = s ? s->count : 0; left > 0; left--) /* the last one takes the subscriber along */
    drop_told(t, ROAM_CONTAINER(s->subs.next, struct roam_topic_sub, mine));
}

uint32_t roam_topics_of(const struct roam_topics *t, uint64_t session) {
  const struct roam_subscriber *s = find_subscriber(t, session);
  return s ? s->count : 0;
}

void roam_topics_connected(struct roam_topics *t, uint64_t session, bool connected) {
  struct roam_subscriber *s = find_subscriber(t, session);
  if (!s || s->connected == connected) return;
  s->connected = connected;
  ROAM_LIST_EACH(&s->subs, node) {
    struct roam_topic_sub *sub = ROAM_CONTAINER(node, struct roam_topic_sub, mine);
    if (sub->group) roam_share_place(sub);
    if (sub->group && t->watched) (void)note(t, ROAM_MEMBER_PUT, sub); /* without memory it is asked too often */
  }
}

void roam_topics_reset(struct roam_topics *t) {
  struct roam_topics_change change;
  t->watched = false;
  while (roam_ring_pop(&t->changes, &change)) roam_blob_unref(change.filter);
  if (t->changes.element > 0) roam_ring_reset(&t->changes); /* else it has never been made */
  while (!roam_list_empty(&t->all))
    roam_topics_forget(t, ROAM_CONTAINER(t->all.next, struct roam_subscriber, node)->session);
  roam_tree_reset(&t->tree);
  roam_map64_reset(&t->subscribers);
  roam_map64_reset(&t->groups);
  free(t->matches.items);
  free(t->matches.ids);
  t->matches = (struct roam_matches){0};
  t->last.changes = 0;
}

/* ---- match ---- */

struct search {
  struct roam_topics *t;
  uint64_t from;
  roam_rc rc;
  bool turns; /* of a group's members: the next match of the topic is another */
};

static void *grow(void *old, size_t *cap, size_t element) {
  size_t want = *cap ? *cap * 2 : 16;
  void *grown = realloc(old, want * element);
  if (grown) *cap = want;
  return grown;
}

static struct roam_match *add_match(struct search *x, const struct roam_topic_sub *sub) {
  struct roam_matches *m = &x->t->matches;
  if (m->len == m->cap) {
    void *grown = grow(m->items, &m->cap, sizeof *m->items);
    if (!grown) return NULL;
    m->items = grown;
  }
  m->items[m->len] = (struct roam_match){
      .session = sub->subscriber->session, .shared = sub->group != NULL, .group = sub->group ? sub->group->number : 0};
  return &m->items[m->len++];
}

static roam_rc add_id(struct search *x, struct roam_match *match, uint32_t identifier) {
  struct roam_matches *m = &x->t->matches;
  if (identifier == 0) return 0;
  if (m->ids_len == m->ids_cap) {
    void *grown = grow(m->ids, &m->ids_cap, sizeof *m->ids);
    if (!grown) return ROAM_E_MEMORY;
    m->ids = grown;
  }
  m->ids[m->ids_len++] = (struct roam_match_id){.identifier = identifier, .next = match->first_id};
  match->first_id = (uint32_t)m->ids_len;
  return 0;
}

static void take_sub(struct search *x, const struct roam_topic_sub *sub) {
  struct roam_subscriber *s = sub->subscriber;
  if (x->rc != 0 || (sub->how.no_local && x->from != 0 && ROAM_SUBSCRIBER_SESSION(s->session) == x->from)) return;
  struct roam_match *match;
  if (!sub->group && s->epoch == x->t->epoch) {
    match = &x->t->matches.items[s->match];
  } else {
    match = add_match(x, sub);
    if (!match) {
      x->rc = ROAM_E_MEMORY;
      return;
    }
    if (!sub->group) {
      s->epoch = x->t->epoch;
      s->match = x->t->matches.len - 1;
    }
  }
  if (sub->how.qos > match->qos) match->qos = sub->how.qos;
  match->retain_as_published |= sub->how.retain_as_published;
  match->datagram |= sub->how.datagram;
  x->rc = add_id(x, match, sub->how.identifier);
}

static void take_node(struct search *x, const struct roam_tree_node *node) {
  if (!node || !node->value) return;
  struct roam_topic_subs *subs = node->value;
  ROAM_LIST_EACH(&subs->subs, here) take_sub(x, ROAM_CONTAINER(here, struct roam_topic_sub, here));
  if (x->t->watched) return;
  x->turns |= !roam_list_empty(&subs->groups);
  ROAM_LIST_EACH(&subs->groups, group) {
    struct roam_topic_sub *member = roam_share_next(ROAM_CONTAINER(group, struct roam_share_group, node));
    if (member) take_sub(x, member);
  }
}

/* node stands for what is before rest. Its depth is bounded by the tree's levels_max. */
static void walk(struct search *x, const struct roam_tree_node *node, roam_bytes rest, bool more, bool wild) {
  roam_bytes level;
  x->t->visits++;
  if (wild) take_node(x, node->hash); /* "a/#" matches "a" too */
  if (!roam_tree_level(&rest, &more, &level)) {
    take_node(x, node);
    return;
  }
  const struct roam_tree_node *same = roam_tree_child(&x->t->tree, node, level);
  if (same) walk(x, same, rest, more, true);
  if (wild && node->plus) walk(x, node->plus, rest, more, true);
}

bool roam_topics_share_again(const struct roam_topics *t, uint64_t group, uint64_t *session,
                             struct roam_subscription *how) {
  struct roam_share_group *g = roam_map64_get(&t->groups, group);
  struct roam_topic_sub *member = g ? roam_share_next(g) : NULL;
  if (!member) return false;
  *session = member->subscriber->session;
  *how = member->how;
  return true;
}

static bool is_topic(const struct roam_topics_last *last, roam_bytes topic) {
  return last->len == topic.len && topic.len > 0 && memcmp(last->topic, topic.base, topic.len) == 0;
}

bool roam_topics_is_last(const struct roam_topics *t, roam_bytes topic, uint64_t from) {
  return t->last.changes == t->table && t->last.from == from && is_topic(&t->last, topic);
}

static void remember(const struct search *x, roam_bytes topic) {
  struct roam_topics_last *last = &x->t->last;
  bool lasts = x->rc == 0 && !x->turns && topic.len <= sizeof last->topic;
  last->changes = lasts ? x->t->table : 0;
  last->from = x->from;
  last->len = lasts ? topic.len : 0;
  if (last->len > 0) memcpy(last->topic, topic.base, topic.len);
}

roam_rc roam_topics_match(struct roam_topics *t, roam_bytes topic, uint64_t from, const struct roam_matches **out) {
  struct search x = {.t = t, .from = from};
  *out = &t->matches;
  if (roam_topics_is_last(t, topic, from)) return 0;
  t->epoch++;
  t->matches.len = t->matches.ids_len = 0;
  t->visits = 0;
  walk(&x, t->tree.root, topic, true, topic.len > 0 && topic.base[0] != '$');
  remember(&x, topic);
  return x.rc;
}
