/* nat_table.c - mappings, filters, ports and their expiry in the words of RFC 4787. Time comes from the caller. */
#include "hop/nat_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/rng.h"

void roam_nat_table_init(struct roam_nat_table *t, const roam_nat_options *o, roam_random *random) {
  *t = (struct roam_nat_table){.o = *o, .random = random};
  roam_map_init(&t->by_inside, o->mappings_max, random);
  roam_map64_init(&t->by_port, o->mappings_max, random);
  for (int p = 0; p < ROAM_NAT_PROTOS; p++) {
    roam_list_init(&t->live[p]);
    t->port_next[p] = o->port_first;
  }
}

void roam_nat_table_reset(struct roam_nat_table *t) {
  for (struct roam_nat_mapping *m = roam_nat_table_pop(t); m; m = roam_nat_table_pop(t)) roam_nat_mapping_free(m);
  roam_map_reset(&t->by_inside);
  roam_map64_reset(&t->by_port);
}

/* As much of a remote as a behaviour looks at. */
static roam_addr relevant_part(roam_nat_behaviour behaviour, const roam_addr *remote) {
  if (behaviour == ROAM_NAT_ENDPOINT_INDEPENDENT) return (roam_addr){0};
  return behaviour == ROAM_NAT_ADDRESS_DEPENDENT ? roam_addr_with_port(*remote, 0) : *remote;
}

static void write_key(uint8_t *key, uint8_t proto, const roam_addr *inside, const roam_addr *remote) {
  key[0] = proto;
  memcpy(key + 1, inside, sizeof *inside);
  memcpy(key + 1 + sizeof *inside, remote, sizeof *remote);
}

static uint64_t port_key(uint8_t proto, uint16_t port) { return (uint64_t)proto << 16 | port; }

struct roam_nat_mapping *roam_nat_table_find(struct roam_nat_table *t, uint8_t proto, const roam_addr *inside,
                                             const roam_addr *remote) {
  uint8_t key[sizeof((struct roam_nat_mapping *)0)->key];
  roam_addr part = relevant_part(t->o.mapping, remote);
  write_key(key, proto, inside, &part);
  return roam_map_get(&t->by_inside, key, sizeof key);
}

struct roam_nat_mapping *roam_nat_table_by_port(struct roam_nat_table *t, uint8_t proto, uint16_t port) {
  return roam_map64_get(&t->by_port, port_key(proto, port));
}

/* The first free port of the range from `from` on, going round once; 0 when all are taken. */
static uint16_t free_port_from(struct roam_nat_table *t, uint8_t proto, uint16_t from) {
  uint32_t range = (uint32_t)t->o.port_last - t->o.port_first + 1;
  for (uint32_t i = 0; i < range; i++) {
    uint16_t port = (uint16_t)(t->o.port_first + (from - t->o.port_first + i) % range);
    if (!roam_nat_table_by_port(t, proto, port)) return port;
  }
  return 0;
}

static uint16_t choose_port(struct roam_nat_table *t, uint8_t proto, uint16_t inside_port) {
  uint32_t range = (uint32_t)t->o.port_last - t->o.port_first + 1;
  bool preserve = t->o.ports == ROAM_NAT_PORT_PRESERVE && inside_port != 0;
  if (preserve && !roam_nat_table_by_port(t, proto, inside_port)) return inside_port;
  if (t->ports_used[proto] >= range) return 0; /* no search through a range that is known to be full */
  if (t->o.ports == ROAM_NAT_PORT_RANDOM) {
    return free_port_from(t, proto, (uint16_t)(t->o.port_first + roam_random_below(t->random, range)));
  }
  uint16_t port = free_port_from(t, proto, t->port_next[proto]);
  if (port != 0) t->port_next[proto] = port == t->o.port_last ? t->o.port_first : (uint16_t)(port + 1);
  return port;
}

static bool in_range(const struct roam_nat_table *t, uint16_t port) {
  return port >= t->o.port_first && port <= t->o.port_last;
}

static bool take_port(struct roam_nat_table *t, struct roam_nat_mapping *m) {
  uint16_t port = choose_port(t, m->proto, m->inside.port);
  if (port == 0 || roam_map64_put(&t->by_port, port_key(m->proto, port), m) != 0) return false;
  m->port = port;
  t->ports_used[m->proto] += in_range(t, port);
  return true;
}

static uint64_t idle_ns(const struct roam_nat_table *t, uint8_t proto) {
  return proto == ROAM_NAT_TCP ? t->o.idle_tcp_ns : t->o.idle_udp_ns;
}

static void refresh(struct roam_nat_table *t, roam_time now, struct roam_nat_mapping *m) {
  uint64_t idle = idle_ns(t, m->proto);
  m->expires = idle < ROAM_NEVER - now ? now + idle : ROAM_NEVER;
  roam_list_remove(&m->node);
  roam_list_push_back(&t->live[m->proto], &m->node);
}

struct roam_nat_mapping *roam_nat_table_add(struct roam_nat_table *t, roam_time now, uint8_t proto, const roam_addr *inside,
                                            const roam_addr *remote, bool with_port) {
  if (t->count >= t->o.mappings_max) return NULL;
  struct roam_nat_mapping *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->inside = *inside;
  m->proto = proto;
  m->key_remote = relevant_part(t->o.mapping, remote);
  write_key(m->key, proto, inside, &m->key_remote);
  roam_list_init(&m->node);
  if (roam_map_put(&t->by_inside, m->key, sizeof m->key, m) != 0) {
    free(m);
    return NULL;
  }
  if (with_port && !take_port(t, m)) {
    roam_map_remove(&t->by_inside, m->key, sizeof m->key);
    free(m);
    return NULL;
  }
  t->count++;
  refresh(t, now, m);
  return m;
}

static struct roam_nat_filter *find_filter(struct roam_nat_mapping *m, const roam_addr *part) {
  for (size_t i = 0; i < m->filters_len; i++) {
    if (roam_addr_equal(&m->filters[i].remote, part)) return &m->filters[i];
  }
  return NULL;
}

/* A place for one more remote: a new one, or that of the remote longest not sent to. NULL: no memory. */
static struct roam_nat_filter *new_filter(struct roam_nat_mapping *m) {
  if (m->filters_len < m->filters_cap) return &m->filters[m->filters_len++];
  if (m->filters_len < ROAM_NAT_FILTERS_MAX) {
    size_t cap = m->filters_cap == 0 ? 1 : m->filters_cap * 2;
    struct roam_nat_filter *filters = realloc(m->filters, cap * sizeof *filters);
    if (!filters) return NULL;
    m->filters = filters;
    m->filters_cap = cap;
    return &m->filters[m->filters_len++];
  }
  struct roam_nat_filter *oldest = &m->filters[0];
  for (size_t i = 1; i < m->filters_len; i++) {
    if (m->filters[i].expires < oldest->expires) oldest = &m->filters[i];
  }
  return oldest;
}

void roam_nat_table_sent(struct roam_nat_table *t, roam_time now, struct roam_nat_mapping *m, const roam_addr *remote) {
  refresh(t, now, m);
  if (t->o.filtering == ROAM_NAT_ENDPOINT_INDEPENDENT) return;
  roam_addr part = relevant_part(t->o.filtering, remote);
  struct roam_nat_filter *f = find_filter(m, &part);
  if (!f) f = new_filter(m);
  if (f) *f = (struct roam_nat_filter){part, m->expires};
}

bool roam_nat_table_admit(struct roam_nat_table *t, roam_time now, struct roam_nat_mapping *m, const roam_addr *remote) {
  struct roam_nat_filter *f = NULL;
  if (t->o.filtering != ROAM_NAT_ENDPOINT_INDEPENDENT) {
    roam_addr part = relevant_part(t->o.filtering, remote);
    f = find_filter(m, &part);
    if (!f || f->expires <= now) return false;
  }
  if (t->o.refresh_in || m->proto == ROAM_NAT_TCP) {
    refresh(t, now, m);
    if (f) f->expires = m->expires;
  }
  return true;
}

void roam_nat_table_remove(struct roam_nat_table *t, struct roam_nat_mapping *m) {
  roam_map_remove(&t->by_inside, m->key, sizeof m->key);
  if (m->port != 0) {
    roam_map64_remove(&t->by_port, port_key(m->proto, m->port));
    t->ports_used[m->proto] -= in_range(t, m->port);
  }
  roam_list_remove(&m->node);
  t->count--;
}

void roam_nat_mapping_free(struct roam_nat_mapping *m) {
  if (!m) return;
  free(m->filters);
  free(m);
}

static struct roam_nat_mapping *first_of(const struct roam_nat_table *t, int proto) {
  struct roam_list *node = roam_list_first(&t->live[proto]);
  return node ? ROAM_CONTAINER(node, struct roam_nat_mapping, node) : NULL;
}

struct roam_nat_mapping *roam_nat_table_expired(struct roam_nat_table *t, roam_time now) {
  for (int p = 0; p < ROAM_NAT_PROTOS; p++) {
    struct roam_nat_mapping *m = first_of(t, p);
    if (!m || m->expires > now) continue;
    roam_nat_table_remove(t, m);
    return m;
  }
  return NULL;
}

struct roam_nat_mapping *roam_nat_table_pop(struct roam_nat_table *t) {
  for (int p = 0; p < ROAM_NAT_PROTOS; p++) {
    struct roam_nat_mapping *m = first_of(t, p);
    if (!m) continue;
    roam_nat_table_remove(t, m);
    return m;
  }
  return NULL;
}

roam_time roam_nat_table_deadline(const struct roam_nat_table *t) {
  roam_time earliest = ROAM_NEVER;
  for (int p = 0; p < ROAM_NAT_PROTOS; p++) {
    struct roam_nat_mapping *m = first_of(t, p);
    if (m && m->expires < earliest) earliest = m->expires;
  }
  return earliest;
}
