/* retain.c - retained messages in a tree of topic levels.
 *
 * A search by filter may find everything there is, and its finds go into one subscriber's bounded queue. So a search goes
 * in pieces. Children stand in ascending order of their ids and an id is never used again; therefore the path of ids to the
 * last find is a complete bookmark: a resumed walk passes over whatever stands before it, whether or not the find itself
 * still exists. */
#include "broker/retain.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

struct roam_retained {
  struct roam_heap_node due;
  struct roam_tree_node *at;
  roam_message message;
  uint64_t stamp;
  bool own;
};

roam_rc roam_retain_init(struct roam_retained_set *r, uint32_t levels_max, uint32_t max, size_t bytes_max,
                         roam_random *random) {
  *r = (struct roam_retained_set){.max = max, .bytes_max = bytes_max};
  roam_heap_init(&r->due, (size_t)max + ROAM_SYS_TOPICS_MAX);
  return roam_tree_init(&r->tree, levels_max, ROAM_TREE_NODES_MAX, random);
}

static void drop_retained(struct roam_retained_set *r, struct roam_retained *kept) {
  struct roam_tree_node *node = kept->at;
  roam_heap_remove(&r->due, &kept->due);
  r->count--;
  r->bytes -= roam_blob_len(kept->message.blob);
  if (kept->own) {
    r->own--;
    r->own_bytes -= roam_blob_len(kept->message.blob);
  }
  roam_blob_unref(kept->message.blob);
  free(kept);
  node->value = NULL;
  roam_tree_prune(&r->tree, node);
}

static void drop_below(struct roam_retained_set *r, struct roam_tree_node *node) {
  while (!roam_list_empty(&node->children)) {
    struct roam_tree_node *child = ROAM_CONTAINER(node->children.next, struct roam_tree_node, sibling);
    while (!roam_list_empty(&child->children)) child = ROAM_CONTAINER(child->children.next, struct roam_tree_node, sibling);
    drop_retained(r, child->value); /* a leaf has one; it takes its empty ancestors along */
  }
}

void roam_retain_reset(struct roam_retained_set *r) {
  if (r->tree.root) drop_below(r, r->tree.root);
  roam_tree_reset(&r->tree);
  roam_heap_reset(&r->due);
}

static roam_rc add_retained(struct roam_retained_set *r, const roam_message *message, struct roam_tree_node *node) {
  struct roam_retained *kept = calloc(1, sizeof *kept);
  if (!kept) return ROAM_E_MEMORY;
  kept->at = node;
  kept->stamp = r->stamp;
  kept->message = *message;
  roam_rc rc = roam_heap_set(&r->due, &kept->due, message->expires);
  if (rc != 0) {
    free(kept);
    return rc;
  }
  roam_blob_ref(message->blob);
  node->value = kept;
  r->count++;
  r->bytes += roam_blob_len(message->blob);
  kept->own = roam_sys_owns(message->topic);
  if (kept->own) {
    r->own++;
    r->own_bytes += roam_blob_len(message->blob);
  }
  return 0;
}

static bool has_room(const struct roam_retained_set *r, const roam_message *message) {
  size_t len = roam_blob_len(message->blob);
  if (roam_sys_owns(message->topic)) return r->own < ROAM_SYS_TOPICS_MAX;
  return r->count - r->own < r->max && len <= r->bytes_max && r->bytes - r->own_bytes <= r->bytes_max - len;
}

roam_rc roam_retain_put(struct roam_retained_set *r, const roam_message *message) {
  struct roam_tree_node *node = roam_tree_find(&r->tree, message->topic);
  if (node && node->value) drop_retained(r, node->value);
  if (message->payload.len == 0) return 0;
  if (!has_room(r, message)) return ROAM_E_LIMIT;
  roam_rc rc = roam_tree_add(&r->tree, message->topic, &node);
  if (rc == 0) {
    rc = add_retained(r, message, node);
    if (rc != 0) roam_tree_prune(&r->tree, node);
  }
  return rc;
}

const roam_message *roam_retain_get(const struct roam_retained_set *r, roam_bytes topic) {
  const struct roam_tree_node *node = roam_tree_find(&r->tree, topic);
  const struct roam_retained *kept = node ? node->value : NULL;
  return kept ? &kept->message : NULL;
}

uint64_t roam_retain_stamp(const struct roam_retained_set *r, roam_bytes topic) {
  const struct roam_tree_node *node = roam_tree_find(&r->tree, topic);
  const struct roam_retained *kept = node ? node->value : NULL;
  return kept ? kept->stamp : 0;
}

const roam_message *roam_retain_due(const struct roam_retained_set *r, roam_time now) {
  struct roam_heap_node *first = roam_heap_first(&r->due);
  return first && first->at <= now ? &ROAM_CONTAINER(first, struct roam_retained, due)->message : NULL;
}

void roam_retain_drop_due(struct roam_retained_set *r) {
  drop_retained(r, ROAM_CONTAINER(roam_heap_first(&r->due), struct roam_retained, due));
}

/* ---- search ---- */

roam_rc roam_retain_open(const struct roam_retained_set *r, roam_bytes filter, struct roam_retain_cursor *out) {
  *out = (struct roam_retain_cursor){.filter = malloc(filter.len + 1), .filter_len = filter.len};
  out->path = calloc(3 * (size_t)r->tree.levels_max, sizeof *out->path); /* bookmark, where the walk is, where it found */
  if (!out->filter || !out->path) {
    roam_retain_close(out);
    return ROAM_E_MEMORY;
  }
  memcpy(out->filter, filter.base, filter.len);
  return 0;
}

void roam_retain_close(struct roam_retain_cursor *cursor) {
  free(cursor->filter);
  free(cursor->path);
  *cursor = (struct roam_retain_cursor){.over = true};
}

struct search {
  const struct roam_tree *tree;
  const uint64_t *bookmark; /* ids on the way to the last find of the step before */
  uint64_t *here, *last;    /* to where the walk is; to the last find of this step */
  uint32_t bookmark_len, last_len;
  const roam_message **out;
  size_t n, count, bytes, bytes_max;
};

static bool is_full(const struct search *x) { return x->count == x->n || x->bytes >= x->bytes_max; }

/* Where the walk is. following: the way here is the beginning of the bookmark. */
struct place {
  const struct roam_tree_node *node;
  uint32_t depth;
  bool following;
};

static void walk(struct search *x, struct place at, roam_bytes rest, bool more);

/* What lies on the way to the bookmark has been reported before it. */
static void report(struct search *x, struct place at) {
  const struct roam_retained *kept = at.node->value;
  if (!kept || at.following || is_full(x)) return;
  x->out[x->count++] = &kept->message;
  x->bytes += roam_blob_len(kept->message.blob);
  memcpy(x->last, x->here, at.depth * sizeof *x->last);
  x->last_len = at.depth;
}

static void walk_child(struct search *x, struct place at, const struct roam_tree_node *child, roam_bytes rest, bool more) {
  struct place below = {.node = child, .depth = at.depth + 1};
  if (at.following && at.depth < x->bookmark_len) {
    if (child->id < x->bookmark[at.depth]) return;
    below.following = child->id == x->bookmark[at.depth];
  }
  x->here[at.depth] = child->id;
  walk(x, below, rest, more);
}

/* A wildcard in the first level does not stand for names that begin with "$" (section 4.7.2). */
static bool is_hidden(struct place at, const struct roam_tree_node *child) {
  roam_bytes name = roam_tree_name(child);
  return at.depth == 0 && name.len > 0 && name.base[0] == '$';
}

static void walk_children(struct search *x, struct place at, roam_bytes rest, bool more) {
  ROAM_LIST_EACH(&at.node->children, sibling) {
    const struct roam_tree_node *child = ROAM_CONTAINER(sibling, struct roam_tree_node, sibling);
    if (is_full(x)) return;
    if (!is_hidden(at, child)) walk_child(x, at, child, rest, more);
  }
}

static void walk(struct search *x, struct place at, roam_bytes rest, bool more) {
  static const uint8_t all[] = "#";
  roam_bytes level;
  if (!roam_tree_level(&rest, &more, &level)) {
    report(x, at);
  } else if (level.len == 1 && level.base[0] == '#') {
    report(x, at); /* "a/#" finds "a" too */
    walk_children(x, at, (roam_bytes){all, 1}, true);
  } else if (level.len == 1 && level.base[0] == '+') {
    walk_children(x, at, rest, more);
  } else {
    const struct roam_tree_node *child = roam_tree_child(x->tree, at.node, level);
    if (child) walk_child(x, at, child, rest, more);
  }
}

size_t roam_retain_next(const struct roam_retained_set *r, struct roam_retain_cursor *cursor, const roam_message *out[],
                        size_t n, size_t bytes_max) {
  if (cursor->over || n == 0 || bytes_max == 0) return 0;
  uint32_t levels = r->tree.levels_max;
  struct search x = {.tree = &r->tree,
                     .bookmark = cursor->path,
                     .bookmark_len = cursor->path_len,
                     .here = cursor->path + levels,
                     .last = cursor->path + 2 * levels,
                     .out = out,
                     .n = n,
                     .bytes_max = bytes_max};
  walk(&x, (struct place){.node = r->tree.root, .following = true}, (roam_bytes){cursor->filter, cursor->filter_len}, true);
  cursor->over = !is_full(&x);
  if (x.count > 0) {
    memcpy(cursor->path, x.last, x.last_len * sizeof *x.last);
    cursor->path_len = x.last_len;
  }
  return x.count;
}
