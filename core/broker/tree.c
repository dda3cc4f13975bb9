/* tree.c - a tree of topic levels. All nodes are in one hash table keyed by (parent's id, name), so that a node with a
 * hundred thousand children is as quick as one with two; the lists of children are for walks, whose order must not depend
 * on a hash. */
#include "broker/tree.h"

#include <stdlib.h>
#include <string.h>

#define ID_BYTES sizeof(uint64_t)
#define LEVEL_MAX 65535u /* an MQTT string */

static struct roam_tree_node *make_node(struct roam_tree *tree, const uint8_t *key, size_t key_len) {
  struct roam_tree_node *node = calloc(1, sizeof *node + key_len);
  if (!node) return NULL;
  roam_list_init(&node->children);
  roam_list_init(&node->sibling);
  node->id = tree->next_id++;
  node->key_len = key_len;
  if (key_len > 0) memcpy(node->key, key, key_len);
  return node;
}

roam_rc roam_tree_init(struct roam_tree *tree, uint32_t levels_max, size_t nodes_max, roam_random *random) {
  *tree = (struct roam_tree){.next_id = 1, .levels_max = levels_max};
  roam_map_init(&tree->nodes, nodes_max, random);
  tree->scratch = malloc(ID_BYTES + LEVEL_MAX);
  tree->root = make_node(tree, NULL, 0);
  if (tree->scratch && tree->root) return 0;
  roam_tree_reset(tree);
  return ROAM_E_MEMORY;
}

/* Walks down to a leaf and up again, without recursion. */
void roam_tree_reset(struct roam_tree *tree) {
  struct roam_tree_node *node = tree->root;
  while (node) {
    struct roam_list *first = roam_list_first(&node->children);
    if (first) {
      node = ROAM_CONTAINER(first, struct roam_tree_node, sibling);
      continue;
    }
    struct roam_tree_node *parent = node->parent;
    roam_list_remove(&node->sibling);
    free(node);
    node = parent;
  }
  roam_map_reset(&tree->nodes);
  free(tree->scratch);
  tree->root = NULL;
  tree->scratch = NULL;
}

bool roam_tree_level(roam_bytes *rest, bool *rest_valid, roam_bytes *level) {
  if (!*rest_valid) return false;
  const uint8_t *slash = rest->len > 0 ? memchr(rest->base, '/', rest->len) : NULL;
  if (!slash) {
    *level = *rest;
    *rest_valid = false;
    return true;
  }
  *level = (roam_bytes){rest->base, (size_t)(slash - rest->base)};
  *rest = (roam_bytes){slash + 1, rest->len - level->len - 1};
  return true;
}

uint32_t roam_tree_levels(roam_bytes path) {
  uint32_t levels = 1;
  for (size_t i = 0; i < path.len; i++) levels += path.base[i] == '/';
  return levels;
}

static size_t make_key(const struct roam_tree *tree, const struct roam_tree_node *parent, roam_bytes level) {
  memcpy(tree->scratch, &parent->id, ID_BYTES);
  if (level.len > 0) memcpy(tree->scratch + ID_BYTES, level.base, level.len);
  return ID_BYTES + level.len;
}

struct roam_tree_node *roam_tree_child(const struct roam_tree *tree, const struct roam_tree_node *node, roam_bytes level) {
  if (level.len > LEVEL_MAX || roam_list_empty(&node->children)) return NULL;
  return roam_map_get(&tree->nodes, tree->scratch, make_key(tree, node, level));
}

struct roam_tree_node *roam_tree_find(const struct roam_tree *tree, roam_bytes path) {
  struct roam_tree_node *node = tree->root;
  roam_bytes level;
  bool more = true;
  while (node && roam_tree_level(&path, &more, &level)) node = roam_tree_child(tree, node, level);
  return node;
}

static struct roam_tree_node **wildcard_slot(struct roam_tree_node *parent, roam_bytes level) {
  if (level.len != 1) return NULL;
  return level.base[0] == '+' ? &parent->plus : level.base[0] == '#' ? &parent->hash : NULL;
}

static roam_rc add_child(struct roam_tree *tree, struct roam_tree_node *parent, roam_bytes level,
                         struct roam_tree_node **out) {
  struct roam_tree_node *node = make_node(tree, tree->scratch, make_key(tree, parent, level));
  if (!node) return ROAM_E_MEMORY;
  roam_rc rc = roam_map_put(&tree->nodes, node->key, node->key_len, node);
  if (rc != 0) {
    free(node);
    return rc;
  }
  node->parent = parent;
  roam_list_push_back(&parent->children, &node->sibling);
  struct roam_tree_node **slot = wildcard_slot(parent, level);
  if (slot) *slot = node;
  *out = node;
  return 0;
}

roam_rc roam_tree_add(struct roam_tree *tree, roam_bytes path, struct roam_tree_node **out) {
  if (path.len > LEVEL_MAX || roam_tree_levels(path) > tree->levels_max) return ROAM_E_LIMIT;
  struct roam_tree_node *node = tree->root;
  roam_bytes level;
  bool more = true;
  while (roam_tree_level(&path, &more, &level)) {
    struct roam_tree_node *child = roam_tree_child(tree, node, level);
    roam_rc rc = child ? 0 : add_child(tree, node, level, &child);
    if (rc != 0) {
      roam_tree_prune(tree, node);
      return rc;
    }
    node = child;
  }
  *out = node;
  return 0;
}

void roam_tree_prune(struct roam_tree *tree, struct roam_tree_node *node) {
  while (node->parent && !node->value && roam_list_empty(&node->children)) {
    struct roam_tree_node *parent = node->parent;
    struct roam_tree_node **slot = wildcard_slot(parent, roam_tree_name(node));
    if (slot) *slot = NULL;
    roam_map_remove(&tree->nodes, node->key, node->key_len);
    roam_list_remove(&node->sibling);
    free(node);
    node = parent;
  }
}

roam_bytes roam_tree_name(const struct roam_tree_node *node) {
  return node->parent ? (roam_bytes){node->key + ID_BYTES, node->key_len - ID_BYTES} : (roam_bytes){0};
}

size_t roam_tree_path_len(const struct roam_tree_node *node) {
  size_t len = 0;
  for (; node->parent; node = node->parent) len += roam_tree_name(node).len + (node->parent->parent != NULL);
  return len;
}

void roam_tree_path(const struct roam_tree_node *node, uint8_t *path) {
  uint8_t *end = path + roam_tree_path_len(node);
  for (; node->parent; node = node->parent) {
    roam_bytes name = roam_tree_name(node);
    end -= name.len;
    if (name.len > 0) memcpy(end, name.base, name.len);
    if (node->parent->parent) *--end = '/';
  }
}
