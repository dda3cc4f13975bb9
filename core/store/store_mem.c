/* store_mem.c - a store in memory: a sorted array. For tests, and for a broker made anew within one process. Refuses to
 * outlive its object. */
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
  size_t key_len, record_len;
  uint8_t bytes[]; /* key, record */
};

struct memory {
  roam_store store;
  struct item **items;
  size_t count, cap;
};

static int compare(const struct item *a, roam_bytes key) {
  size_t least = a->key_len < key.len ? a->key_len : key.len;
  int order = least > 0 ? memcmp(a->bytes, key.base, least) : 0;
  return order ? order : (a->key_len > key.len) - (a->key_len < key.len);
}

/* The first that is not before key. */
static size_t seek(const struct memory *m, roam_bytes key) {
  size_t low = 0, high = m->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (compare(m->items[middle], key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

static bool is_at(const struct memory *m, size_t at, roam_bytes key) {
  return at < m->count && compare(m->items[at], key) == 0;
}

static void drop(struct memory *m, size_t at, size_t n) {
  for (size_t i = 0; i < n; i++) free(m->items[at + i]);
  if (m->count > at + n) memmove(m->items + at, m->items + at + n, (m->count - at - n) * sizeof *m->items);
  m->count -= n;
}

static struct item *make_item(const roam_store_change *c) {
  struct item *item = malloc(sizeof *item + c->key.len + c->record.len);
  if (!item) return NULL;
  item->key_len = c->key.len;
  item->record_len = c->record.len;
  if (c->key.len > 0) memcpy(item->bytes, c->key.base, c->key.len);
  if (c->record.len > 0) memcpy(item->bytes + c->key.len, c->record.base, c->record.len);
  return item;
}

/* Room has been made. */
static void put(struct memory *m, struct item *item, roam_bytes key) {
  size_t at = seek(m, key);
  if (is_at(m, at, key)) {
    free(m->items[at]);
  } else {
    memmove(m->items + at + 1, m->items + at, (m->count - at) * sizeof *m->items);
    m->count++;
  }
  m->items[at] = item;
}

static void drop_all(struct memory *m, roam_bytes prefix) {
  size_t at = seek(m, prefix), n = 0;
  while (at + n < m->count && m->items[at + n]->key_len >= prefix.len &&
         memcmp(m->items[at + n]->bytes, prefix.base, prefix.len) == 0)
    n++;
  drop(m, at, n);
}

/* All memory is taken before anything is changed. */
static roam_rc prepare(struct memory *m, roam_bytes batch, struct item ***made, size_t *n) {
  roam_store_change c;
  size_t puts = 0;
  int more;
  for (roam_bytes rest = batch; (more = roam_store_next(&rest, &c)) == 1;) puts += c.what == ROAM_STORE_PUT;
  if (more < 0) return more;
  *made = calloc(puts + 1, sizeof **made);
  struct item **grown = *made ? realloc(m->items, (m->count + puts + 1) * sizeof *grown) : NULL;
  if (!grown) return ROAM_E_MEMORY;
  m->items = grown;
  for (roam_bytes rest = batch; roam_store_next(&rest, &c) == 1;) {
    if (c.what != ROAM_STORE_PUT) continue;
    (*made)[*n] = make_item(&c);
    if (!(*made)[*n]) return ROAM_E_MEMORY;
    (*n)++;
  }
  return 0;
}

static roam_rc mem_commit(void *self, roam_bytes batch, char why[ROAM_STORE_WHY_MAX]) {
  struct memory *m = self;
  struct item **made = NULL;
  size_t n = 0, used = 0;
  roam_store_change c;
  roam_rc rc = prepare(m, batch, &made, &n);
  while (rc == 0 && roam_store_next(&batch, &c) == 1) {
    size_t at = seek(m, c.key);
    if (c.what == ROAM_STORE_PUT) put(m, made[used++], c.key);
    else if (c.what == ROAM_STORE_DROP_ALL) drop_all(m, c.key);
    else if (is_at(m, at, c.key)) drop(m, at, 1);
  }
  for (size_t i = used; i < n; i++) free(made[i]);
  free(made);
  if (rc != 0) snprintf(why, ROAM_STORE_WHY_MAX, "%s", roam_strerror(rc));
  return rc;
}

static roam_rc mem_scan(void *self, roam_store_visit visit, void *context, char why[ROAM_STORE_WHY_MAX]) {
  struct memory *m = self;
  (void)why;
  roam_rc rc = 0;
  for (size_t i = 0; i < m->count && rc == 0; i++) {
    const struct item *item = m->items[i];
    rc = visit(context, (roam_bytes){item->bytes, item->key_len},
               (roam_bytes){item->bytes + item->key_len, item->record_len});
  }
  return rc;
}

static roam_rc mem_sync(void *self, char why[ROAM_STORE_WHY_MAX]) {
  (void)self;
  (void)why;
  return 0;
}

static void mem_free(void *self) {
  struct memory *m = self;
  drop(m, 0, m->count);
  free(m->items);
  free(m);
}

roam_store *roam_store_memory(void) {
  static const roam_store_ops ops = {mem_scan, mem_commit, mem_sync, mem_free};
  struct memory *m = calloc(1, sizeof *m);
  if (m) m->store.ops = &ops;
  return m ? &m->store : NULL;
}
