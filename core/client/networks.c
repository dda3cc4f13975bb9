/* networks.c - see networks.h. Refuses to know connections: who stands where is told by the caller. */
#include "client/networks.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

#define FLAP_NS (60 * ROAM_S) /* up for less than that: a flap */
#define SETTLE_MAX_NS (60 * ROAM_S)
#define FAILED_NS (2 * ROAM_S)
#define FAILED_MAX_NS (60 * ROAM_S)
#define BLOCKED_NS (60 * ROAM_S)
#define BLOCKED_MAX_NS (600 * ROAM_S)
#define COST_UNLISTED 100u

/* ---- wishes ---- */

static bool read_attribute(struct roam_network_wish *w, const char *text, size_t len) {
  if (len == 7 && memcmp(text, "metered", 7) == 0) {
    w->metered = true;
    return true;
  }
  if (len < 6 || len > 11 || memcmp(text, "cost=", 5) != 0) return false;
  uint32_t cost = 0;
  for (size_t i = 5; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    cost = cost * 10 + (uint32_t)(text[i] - '0');
  }
  w->cost = cost;
  return cost < 1000000;
}

static bool read_wish(struct roam_network_wish *w, const char *text, size_t len) {
  const char *colon = memchr(text, ':', len);
  size_t name = colon ? (size_t)(colon - text) : len;
  if (name > 0 && text[name - 1] == '*') {
    w->prefix = true;
    name--;
  }
  if ((name == 0 && !w->prefix) || name >= sizeof w->name) return false;
  memcpy(w->name, text, name);
  while (colon) {
    const char *from = colon + 1, *end = text + len;
    colon = memchr(from, ':', (size_t)(end - from));
    if (!read_attribute(w, from, (size_t)((colon ? colon : end) - from))) return false;
  }
  return true;
}

bool roam_networks_init(struct roam_networks *n, const char *wishes, uint64_t settle_ns) {
  memset(n, 0, sizeof *n);
  n->settle_ns = settle_ns;
  for (const char *at = wishes ? wishes : ""; *at;) {
    size_t len = strcspn(at, ",");
    const char *from = at;
    at += len + (at[len] == ',');
    while (len > 0 && *from == ' ') from++, len--;
    while (len > 0 && from[len - 1] == ' ') len--;
    if (n->wishes_count == ROAM_NETWORKS_MAX) return false;
    struct roam_network_wish *w = &n->wishes[n->wishes_count];
    w->cost = (uint32_t)n->wishes_count;
    if (!read_wish(w, from, len)) return false;
    n->wishes_count++;
  }
  return true;
}

static bool starts(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

static uint32_t cost_by_name(const char *name) {
  static const struct {
    const char *prefix;
    uint32_t cost;
  } known[] = {{"docker", ROAM_NETWORK_NEVER},
               {"br-", ROAM_NETWORK_NEVER},
               {"veth", ROAM_NETWORK_NEVER},
               {"virbr", ROAM_NETWORK_NEVER},
               {"lo", ROAM_NETWORK_NEVER},
               {"eth", 0},
               {"en", 0},
               {"wl", 10},
               {"ww", 30},
               {"rmnet", 30},
               {"ppp", 30},
               {"cell", 30}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (starts(name, known[i].prefix))
      return known[i].cost == ROAM_NETWORK_NEVER ? ROAM_NETWORK_NEVER : COST_UNLISTED + known[i].cost;
  return COST_UNLISTED + 20;
}

static uint32_t cost_of(const struct roam_networks *n, const char *name) {
  for (size_t i = 0; i < n->wishes_count; i++) {
    const struct roam_network_wish *w = &n->wishes[i];
    if (w->prefix ? !starts(name, w->name) : strcmp(name, w->name) != 0) continue;
    return w->cost + (w->metered ? ROAM_NETWORK_METERED_COST : 0);
  }
  return cost_by_name(name);
}

/* ---- facts ---- */

struct roam_network *roam_networks_at(struct roam_networks *n, const roam_addr *addr) {
  for (size_t i = 0; i < n->count; i++)
    if (roam_addr_same_ip(&n->list[i].addr, addr)) return &n->list[i];
  return NULL;
}

/* A free place, or that of the network that has been down the longest. */
static struct roam_network *take_place(struct roam_networks *n) {
  struct roam_network *oldest = NULL;
  if (n->count < ROAM_NETWORKS_MAX) return &n->list[n->count++];
  for (size_t i = 0; i < n->count; i++)
    if (!n->list[i].up && (!oldest || n->list[i].down_at < oldest->down_at)) oldest = &n->list[i];
  return oldest;
}

static struct roam_network *enter(struct roam_networks *n, roam_time now, const char *name, const roam_addr *addr) {
  struct roam_network *w = take_place(n);
  if (!w) return NULL;
  *w = (struct roam_network){.addr = *addr, .up = true, .up_at = now};
  w->addr.port = 0;
  strncpy(w->name, name, sizeof w->name - 1);
  w->cost = cost_of(n, w->name);
  return w;
}

/* Of this link alone: nothing that is worth roaming to can be reached from it. */
static bool is_link_local(const roam_addr *a) { return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80; }

struct roam_network *roam_networks_note(struct roam_networks *n, roam_time now, const char *name, const roam_addr *addr,
                                        bool up) {
  if (!name || addr->family == 0 || roam_addr_is_loopback(addr) || is_link_local(addr)) return NULL;
  struct roam_network *w = roam_networks_at(n, addr);
  if (!w) return up ? enter(n, now, name, addr) : NULL;
  if (w->up == up) return NULL;
  w->up = up;
  if (up) {
    w->up_at = now;
    w->retry_at = 0;
    w->failures = 0;
  } else {
    w->flaps = now - w->up_at < FLAP_NS ? w->flaps + 1 : 0;
    w->down_at = now;
  }
  return w;
}

static uint64_t doubled(uint64_t base, uint32_t times, uint64_t most) {
  while (times-- > 0 && base < most) base *= 2;
  return base < most ? base : most;
}

void roam_networks_failed(struct roam_network *w, roam_time now) {
  w->retry_at = now + doubled(FAILED_NS, w->failures, FAILED_MAX_NS);
  if (w->failures < 32) w->failures++;
}

void roam_networks_worked(struct roam_network *w) {
  w->failures = 0;
  w->retry_at = 0;
}

/* The while doubles only when it has passed: a sign of a changed network has us try before, often several times in a row.
 */
void roam_networks_udp_blocked(struct roam_network *w, roam_time now) {
  if (now >= w->udp_blocked_next) {
    w->udp_blocked_ns = w->udp_blocked_ns ? doubled(w->udp_blocked_ns, 1, BLOCKED_MAX_NS) : BLOCKED_NS;
    w->udp_blocked_next = now + w->udp_blocked_ns;
  }
  w->udp_blocked_until = now + w->udp_blocked_ns;
}

void roam_networks_udp_works(struct roam_network *w) {
  w->udp_blocked_until = w->udp_blocked_next = 0;
  w->udp_blocked_ns = 0;
}

/* ---- choice ---- */

/* From when on it may be chosen without need. The first flap counts: it has just shown what it is like. */
static roam_time settled_at(const struct roam_networks *n, const struct roam_network *w) {
  roam_time at = w->up_at + doubled(n->settle_ns, w->flaps, SETTLE_MAX_NS);
  return at > w->retry_at ? at : w->retry_at;
}

static bool eligible(const struct roam_network *w, uint8_t family, const struct roam_network *current, bool urgent) {
  if (w == current || !w->up || w->cost == ROAM_NETWORK_NEVER || (family && w->addr.family != family)) return false;
  return urgent || (current && w->cost < current->cost);
}

struct roam_network *roam_networks_best(struct roam_networks *n, roam_time now, uint8_t family,
                                        const struct roam_network *current, bool urgent) {
  struct roam_network *best = NULL;
  for (size_t i = 0; i < n->count; i++) {
    struct roam_network *w = &n->list[i];
    if (!eligible(w, family, current, urgent)) continue;
    if (now < (urgent ? w->retry_at : settled_at(n, w))) continue;
    if (!best || w->cost < best->cost) best = w;
  }
  return best;
}

roam_time roam_networks_due(const struct roam_networks *n, roam_time now, uint8_t family,
                            const struct roam_network *current, bool urgent) {
  roam_time due = ROAM_NEVER;
  for (size_t i = 0; i < n->count; i++) {
    const struct roam_network *w = &n->list[i];
    if (!eligible(w, family, current, urgent)) continue;
    roam_time at = urgent ? w->retry_at : settled_at(n, w);
    if (at < due) due = at;
  }
  return due < now ? now : due;
}
