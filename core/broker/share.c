/* share.c - shared subscriptions (section 4.8.2): groups by name at a filter, and whose turn it is. A connected member is
 * always preferred; within the connected, and within the others when nobody is, turns go round. Refuses to weigh members by
 * load. */
#include "broker/topics.h"

#include <stdlib.h>
#include <string.h>

struct roam_share_name roam_share_split(roam_bytes filter) {
  static const char prefix[] = "$share/";
  size_t skip = sizeof prefix - 1;
  struct roam_share_name plain = {.filter = filter};
  if (filter.len <= skip || memcmp(filter.base, prefix, skip) != 0) return plain;
  const uint8_t *name = filter.base + skip;
  const uint8_t *slash = memchr(name, '/', filter.len - skip);
  if (!slash || slash == name) return plain;
  size_t name_len = (size_t)(slash - name);
  return (struct roam_share_name){.group = {name, name_len}, .filter = {slash + 1, filter.len - skip - name_len - 1}};
}

struct roam_share_group *roam_share_find(const struct roam_topic_subs *subs, roam_bytes name) {
  ROAM_LIST_EACH(&subs->groups, node) {
    struct roam_share_group *group = ROAM_CONTAINER(node, struct roam_share_group, node);
    if (group->name_len == name.len && memcmp(group->name, name.base, name.len) == 0) return group;
  }
  return NULL;
}

struct roam_share_group *roam_share_add(struct roam_topic_subs *subs, roam_bytes name) {
  struct roam_share_group *group = calloc(1, sizeof *group + name.len);
  if (!group) return NULL;
  roam_list_init(&group->present);
  roam_list_init(&group->absent);
  roam_map64_init(&group->index, ROAM_TREE_NODES_MAX, NULL);
  group->name_len = name.len;
  group->of = subs;
  memcpy(group->name, name.base, name.len);
  roam_list_push_back(&subs->groups, &group->node);
  subs->groups_count++;
  return group;
}

bool roam_share_prune(struct roam_share_group *group) {
  if (!roam_list_empty(&group->present) || !roam_list_empty(&group->absent)) return false;
  roam_list_remove(&group->node);
  group->of->groups_count--;
  roam_map64_reset(&group->index);
  free(group);
  return true;
}

void roam_share_place(struct roam_topic_sub *member) {
  struct roam_share_group *group = member->group;
  roam_list_remove(&member->here);
  roam_list_push_back(member->subscriber->connected ? &group->present : &group->absent, &member->here);
}

struct roam_topic_sub *roam_share_next(struct roam_share_group *group) {
  struct roam_list *turn = roam_list_empty(&group->present) ? &group->absent : &group->present;
  struct roam_list *first = roam_list_pop_front(turn);
  if (!first) return NULL;
  roam_list_push_back(turn, first);
  return ROAM_CONTAINER(first, struct roam_topic_sub, here);
}
