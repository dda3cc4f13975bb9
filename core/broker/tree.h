/* tree.h - topic names and filters as a tree of levels, with one value at a node. Shared by subscriptions and retained
 * messages. */
#ifndef ROAM_BROKER_TREE_H
#define ROAM_BROKER_TREE_H

#include "base/list.h"
#include "base/map.h"

#define ROAM_TREE_NODES_MAX (1u << 24) /* in one tree, whatever the options allow each session */

/* Invariant: a node has a value or children, or is the root; children stand in ascending order of id. */
struct roam_tree_node {
  struct roam_tree_node *parent;      /* NULL: the root, or a node that has been taken out */
  struct roam_tree_node *plus, *hash; /* the children "+" and "#", when they exist */
  struct roam_list children, sibling;
  uint64_t id; /* never used again */
  void *value;
  size_t key_len;
  uint8_t key[]; /* parent's id, then this level's name */
};

struct roam_tree {
  struct roam_map nodes; /* key -> node, all but the root */
  struct roam_tree_node *root;
  uint64_t next_id;
  uint32_t levels_max;
  uint8_t *scratch; /* a key being looked up */
};

/* nodes_max bounds the whole tree. ROAM_E_MEMORY. */
roam_rc roam_tree_init(struct roam_tree *tree, uint32_t levels_max, size_t nodes_max, roam_random *random);
void roam_tree_reset(struct roam_tree *tree); /* values are the owner's */
/* Splits the first level off; false at the end. "a/" has two levels. Begin with *rest_valid true. */
bool roam_tree_level(roam_bytes *rest, bool *rest_valid, roam_bytes *level);
uint32_t roam_tree_levels(roam_bytes path); /* how many levels it has */
struct roam_tree_node *roam_tree_child(const struct roam_tree *tree, const struct roam_tree_node *node, roam_bytes level);
struct roam_tree_node *roam_tree_find(const struct roam_tree *tree, roam_bytes path); /* NULL: not there */
/* The node of a path, made when new. A new one must get a value or be pruned. ROAM_E_LIMIT: too deep, or too many nodes. */
roam_rc roam_tree_add(struct roam_tree *tree, roam_bytes path, struct roam_tree_node **out);
void roam_tree_prune(struct roam_tree *tree,
                     struct roam_tree_node *node); /* takes out what has neither value nor children */
roam_bytes roam_tree_name(const struct roam_tree_node *node);
size_t roam_tree_path_len(const struct roam_tree_node *node);
void roam_tree_path(const struct roam_tree_node *node, uint8_t *path); /* roam_tree_path_len bytes */

#endif
