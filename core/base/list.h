/* list.h - an intrusive, circular, doubly linked list. The head is a node too; a node in no list points to itself. */
#ifndef ROAM_BASE_LIST_H
#define ROAM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct roam_list {
  struct roam_list *prev, *next;
};

/* The struct that has `member` at `pointer`. */
#define ROAM_CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
/* Walks forward; the body may remove `node`, but nothing after it. */
#define ROAM_LIST_EACH(head, node)                                                                                         \
  for (struct roam_list *node = (head)->next, *node##_next = node->next; node != (head);                                   \
       node = node##_next, node##_next = node->next)

static inline void roam_list_init(struct roam_list *l) { l->prev = l->next = l; }
static inline bool roam_list_empty(const struct roam_list *head) { return head->next == head; }
static inline void roam_list_insert_before(struct roam_list *at, struct roam_list *node) {
  node->prev = at->prev;
  node->next = at;
  at->prev->next = node;
  at->prev = node;
}
static inline void roam_list_push_back(struct roam_list *head, struct roam_list *node) {
  roam_list_insert_before(head, node);
}
static inline void roam_list_push_front(struct roam_list *head, struct roam_list *node) {
  roam_list_insert_before(head->next, node);
}
/* Harmless for an initialised node that is in no list. */
static inline void roam_list_remove(struct roam_list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  roam_list_init(node);
}
static inline struct roam_list *roam_list_first(const struct roam_list *head) {
  return head->next == head ? NULL : head->next;
}
static inline struct roam_list *roam_list_pop_front(struct roam_list *head) {
  struct roam_list *node = roam_list_first(head);
  if (node) roam_list_remove(node);
  return node;
}

#endif
