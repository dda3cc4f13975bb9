/* quic_replay.c - see quic_replay.h. GnuTLS checks the age of a ticket against its window and asks here whether the attempt
 * is new; it takes every negative answer as a refusal. Refuses to forget before time. */
#include "transport/quic_replay.h"

#include <stdlib.h>
#include <string.h>

#define ALLOWANCE_NS (600 * ROAM_S)

struct seen {
  struct roam_list node;
  roam_time until;
  size_t len;
  uint8_t key[];
};

static void forget(struct roam_replay *r, struct seen *s) {
  roam_map_remove(&r->seen, s->key, s->len);
  roam_list_remove(&s->node);
  free(s);
}

static void forget_old(struct roam_replay *r) {
  ROAM_LIST_EACH(&r->order, node) {
    struct seen *s = ROAM_CONTAINER(node, struct seen, node);
    if (s->until > *r->now) return;
    forget(r, s);
  }
}

static int add(void *context, time_t expires, const gnutls_datum_t *key, const gnutls_datum_t *data) {
  struct roam_replay *r = context;
  (void)expires, (void)data; /* the machine's clock is not ours */
  static const struct roam_hash_key plain = {0};
  if (r->workers > 1 && roam_hash_bytes(plain, key->data, key->size) % r->workers != r->worker) {
    r->elsewhere++; /* there is no time to ask */
    return GNUTLS_E_DB_ERROR;
  }
  forget_old(r);
  if (roam_map_get(&r->seen, key->data, key->size)) {
    r->repeated++;
    return GNUTLS_E_DB_ENTRY_EXISTS;
  }
  struct seen *s = malloc(sizeof *s + key->size);
  if (!s) return GNUTLS_E_MEMORY_ERROR;
  roam_list_init(&s->node);
  s->until = *r->now + r->keep_ns;
  s->len = key->size;
  memcpy(s->key, key->data, key->size);
  if (roam_map_put(&r->seen, s->key, s->len, s) != 0) {
    r->full++;
    free(s);
    return GNUTLS_E_DB_ERROR;
  }
  roam_list_push_back(&r->order, &s->node);
  return 0;
}

roam_rc roam_replay_init(struct roam_replay *r, uint64_t window_ns, uint32_t keys_max, roam_random *random,
                         const roam_time *now) {
  uint64_t window_ms = window_ns / ROAM_MS;
  roam_list_init(&r->order);
  roam_map_init(&r->seen, keys_max, random);
  r->keep_ns = window_ns + ALLOWANCE_NS;
  r->now = now;
  if (gnutls_anti_replay_init(&r->handle) < 0) return ROAM_E_MEMORY;
  gnutls_anti_replay_set_window(r->handle, window_ms > UINT32_MAX ? UINT32_MAX : (unsigned)window_ms);
  gnutls_anti_replay_set_add_function(r->handle, add);
  gnutls_anti_replay_set_ptr(r->handle, r);
  return 0;
}

void roam_replay_reset(struct roam_replay *r) {
  if (r->handle) {
    ROAM_LIST_EACH(&r->order, node) forget(r, ROAM_CONTAINER(node, struct seen, node));
    gnutls_anti_replay_deinit(r->handle);
  }
  roam_map_reset(&r->seen);
  r->handle = NULL;
}
