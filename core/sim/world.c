/* world.c - virtual time, the hops between hosts, and the ways through them. It refuses to know what a machine is for.
 *
 * Theory of operation. Whatever wants to happen later - a hop with a parcel in it, a machine with a deadline, a call the
 * owner has asked for, the timer of a modelled TCP connection - is a timer in one heap, ordered by time and, at the same
 * time, by when it was set. A run repeats: fire all timers that are due; then give each touched machine one turn (feed what
 * has arrived, tick, drain, poll); when nothing is due and nobody is touched, go on to the next timer's time. So all that
 * arrives at one instant is fed as one batch, and every machine is drained once for it, as a loop on sockets would do.
 *
 * The network is a tree of hops. An interface knows the first hop of its chain, each hop the next outward; chains that
 * share a NAT meet there. Outward a parcel follows the chain to its end, the network. The network finds the chain of the
 * destination: that of the interface with this address, or that of the NAT whose public address it is. Inward the way at
 * each place is found from the destination, which a NAT on the way has turned into an inside address by then. Hosts behind
 * one NAT reach each other by its public address only (hairpin). A host's own addresses are reached without any hop.
 *
 * Nothing depends on object addresses: lists and the heap are in order of insertion, hash tables are never walked. */
#include "sim/world.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "hop/nat.h"

struct call {
  struct sim_timer timer;
  void (*fn)(void *context);
  void *context;
};

struct name {
  struct roam_list node; /* world->names */
  roam_addr address;
  char text[];
};

/* ---- timers ---- */

void roam_sim_timer_set(struct roam_world *w, struct sim_timer *timer, roam_time at) {
  if (at < w->now) at = w->now;
  roam_rc rc = roam_heap_set(&w->timers, &timer->node, at);
  if (rc != 0) w->failed = rc;
}

static void fire_call(struct roam_world *w, struct sim_timer *timer) {
  struct call *c = ROAM_CONTAINER(timer, struct call, timer);
  void (*fn)(void *context) = c->fn;
  void *context = c->context;
  w->calls_count--;
  free(c);
  fn(context);
  roam_sim_touch_all(w); /* it may have given commands to any machine */
}

roam_rc roam_world_at(roam_world *w, roam_time when, void (*fn)(void *context), void *context) {
  if (!fn) return ROAM_E_ARGUMENT;
  if (w->calls_count >= SIM_CALLS_MAX) return ROAM_E_LIMIT;
  if (when == ROAM_NEVER) return 0;
  struct call *c = calloc(1, sizeof *c);
  if (!c) return ROAM_E_MEMORY;
  *c = (struct call){.timer = {.fire = fire_call}, .fn = fn, .context = context};
  roam_rc rc = roam_heap_set(&w->timers, &c->timer.node, when < w->now ? w->now : when);
  if (rc != 0) {
    free(c);
    return rc;
  }
  w->calls_count++;
  return 0;
}

/* ---- hops and routes ---- */

struct sim_iface *roam_sim_iface(const struct roam_world *w, const roam_addr *address) {
  roam_addr key = roam_addr_with_port(*address, 0);
  return roam_map_get(&w->ifaces, &key, sizeof key);
}

static void discard(struct roam_world *w, const char *why, roam_parcel *parcel) {
  roam_sim_trace_parcel(w, "drop", why, parcel);
  roam_parcel_free(parcel);
}

static struct sim_hop *outermost(struct sim_hop *h) {
  while (h && h->outer) h = h->outer;
  return h;
}

/* The last place before `h` on the way from the interface outward; *found tells whether h is on that way at all. */
static struct sim_hop *inner_of(const struct sim_iface *iface, const struct sim_hop *h, bool *found) {
  struct sim_hop *before = NULL, *at = iface->first;
  while (at && at != h) {
    before = at;
    at = at->outer;
  }
  *found = at != NULL;
  return before;
}

static struct sim_hop *nat_with_address(const struct roam_world *w, const roam_addr *address) {
  ROAM_LIST_EACH(&w->hops, node) {
    struct sim_hop *h = ROAM_CONTAINER(node, struct sim_hop, node);
    const roam_addr *public = roam_nat_address(h->hop);
    if (public && roam_addr_same_ip(public, address)) return h;
  }
  return NULL;
}

static void pass(struct roam_world *w, struct sim_hop *h, roam_dir dir, roam_parcel *parcel);

static void enter_network(struct roam_world *w, roam_parcel *parcel) {
  struct sim_iface *iface = roam_sim_iface(w, &parcel->dst);
  struct sim_hop *h = outermost(iface ? iface->first : nat_with_address(w, &parcel->dst));
  if (h) pass(w, h, ROAM_IN, parcel);
  else if (iface) roam_sim_deliver(w, iface, parcel);
  else discard(w, "noroute", parcel);
}

static void go_inward(struct roam_world *w, struct sim_hop *h, roam_parcel *parcel) {
  struct sim_iface *iface = roam_sim_iface(w, &parcel->dst);
  struct sim_hop *nat = iface ? NULL : nat_with_address(w, &parcel->dst);
  bool found = false;
  struct sim_hop *inner = NULL;
  if (iface) {
    inner = inner_of(iface, h, &found);
  } else if (nat) {
    struct sim_iface from = {.first = nat};
    inner = inner_of(&from, h, &found);
  }
  if (!found) discard(w, "noroute", parcel);
  else if (inner) pass(w, inner, ROAM_IN, parcel);
  else roam_sim_deliver(w, iface, parcel);
}

/* Moves on whatever comes out of a hop now. */
static void pump(struct roam_world *w, struct sim_hop *h) {
  roam_dir dir;
  for (roam_parcel *p; (p = roam_hop_take(h->hop, w->now, &dir)) != NULL;) {
    if (dir == ROAM_IN) go_inward(w, h, p);
    else if (h->outer) pass(w, h->outer, ROAM_OUT, p);
    else enter_network(w, p);
  }
  roam_sim_timer_set(w, &h->timer, roam_hop_deadline(h->hop));
}

static void pass(struct roam_world *w, struct sim_hop *h, roam_dir dir, roam_parcel *parcel) {
  /* A hop frees what it drops, so what the trace will say must be known before. */
  roam_parcel copy = {.src = parcel->src, .dst = parcel->dst, .proto = parcel->proto, .len = parcel->len};
  roam_hop_stats before = roam_hop_get_stats(h->hop);
  roam_hop_put(h->hop, w->now, dir, parcel);
  roam_hop_stats after = roam_hop_get_stats(h->hop);
  if (after.dropped[0] + after.dropped[1] != before.dropped[0] + before.dropped[1]) {
    roam_sim_trace_parcel(w, "drop", "hop", &copy);
  }
  pump(w, h);
}

static void fire_hop(struct roam_world *w, struct sim_timer *timer) {
  pump(w, ROAM_CONTAINER(timer, struct sim_hop, timer));
}

void roam_sim_send(struct roam_world *w, struct sim_iface *from, roam_parcel *parcel) {
  roam_sim_trace_parcel(w, "send", from->host->name, parcel);
  struct sim_iface *to = roam_sim_iface(w, &parcel->dst);
  if (to && to->host == from->host) roam_sim_deliver(w, to, parcel);
  else if (from->first) pass(w, from->first, ROAM_OUT, parcel);
  else enter_network(w, parcel);
}

static struct sim_hop *place_of(const struct roam_world *w, const roam_hop *hop) {
  ROAM_LIST_EACH(&w->hops, node) {
    struct sim_hop *h = ROAM_CONTAINER(node, struct sim_hop, node);
    if (h->hop == hop) return h;
  }
  return NULL;
}

static struct sim_hop *new_place(struct roam_world *w, roam_hop *hop) {
  struct sim_hop *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  *h = (struct sim_hop){.hop = hop, .timer = {.fire = fire_hop}, .number = ++w->hops_count};
  roam_list_push_back(&w->hops, &h->node);
  return h;
}

roam_rc roam_host_hop(roam_host *host, const roam_addr *address, roam_hop *hop) {
  struct roam_world *w = host->world;
  struct sim_iface *iface = address ? roam_sim_iface(w, address) : NULL;
  if (!hop || !iface || iface->host != host) return ROAM_E_ARGUMENT;
  struct sim_hop *h = place_of(w, hop), *last = outermost(iface->first);
  bool found = false;
  if (h) inner_of(iface, h, &found);
  if (found || (h && outermost(h) == last && last)) return ROAM_E_ARGUMENT; /* would make a ring */
  if (!h) h = new_place(w, hop);
  if (!h) return ROAM_E_MEMORY;
  if (last) last->outer = h;
  else iface->first = h;
  return 0;
}

roam_rc roam_world_rebind(roam_world *w, roam_hop *nat, const roam_addr *address) {
  if (!nat || !address || !roam_nat_address(nat) || !place_of(w, nat)) return ROAM_E_ARGUMENT;
  roam_addr old = *roam_nat_address(nat);
  if (address->family != old.family) return ROAM_E_ARGUMENT;
  /* TCP dies of it by itself: its segments meet no mapping (see nat.c). */
  roam_nat_rebind(nat, w->now, address);
  roam_sim_trace_addr(w, "rebind", "nat", &old, roam_nat_address(nat));
  return 0;
}

/* ---- names ---- */

roam_rc roam_world_name(roam_world *w, const char *name, const roam_addr *address) {
  if (!name || !*name || strlen(name) > 255 || !address || address->family == 0) return ROAM_E_ARGUMENT;
  struct name *n = malloc(sizeof *n + strlen(name) + 1);
  if (!n) return ROAM_E_MEMORY;
  n->address = *address;
  memcpy(n->text, name, strlen(name) + 1);
  roam_list_push_back(&w->names, &n->node);
  return 0;
}

size_t roam_sim_resolve(const struct roam_world *w, const char *name, uint16_t port, roam_addr *out, size_t max) {
  size_t n = 0;
  if (max > 0 && roam_addr_parse(name, out) == 0) {
    out->port = port;
    return 1;
  }
  ROAM_LIST_EACH(&w->names, node) {
    const struct name *known = ROAM_CONTAINER(node, struct name, node);
    if (n < max && strcmp(known->text, name) == 0) out[n++] = roam_addr_with_port(known->address, port);
  }
  return n;
}

/* ---- running ---- */

static bool fire_next(struct roam_world *w, roam_time until) {
  struct roam_heap_node *n = roam_heap_first(&w->timers);
  if (!n || n->at > until) return false;
  struct sim_timer *timer = ROAM_CONTAINER(n, struct sim_timer, node);
  if (n->at > w->now) w->now = n->at;
  roam_heap_remove(&w->timers, n);
  timer->fire(w, timer);
  return true;
}

static bool hand_over_segment(struct roam_world *w) {
  roam_parcel *parcel = roam_fifo_pop(&w->segments);
  if (!parcel) return false;
  roam_sim_pipe_segment(w, roam_sim_iface(w, &parcel->dst), parcel);
  return true;
}

static void bury(struct roam_world *w) {
  for (struct roam_list *node; (node = roam_list_pop_front(&w->graveyard)) != NULL;) {
    roam_sim_machine_free(ROAM_CONTAINER(node, struct sim_machine, node));
  }
}

roam_rc roam_world_run(roam_world *w, roam_time until) {
  w->steps = 0;
  roam_sim_touch_all(w);
  while (w->failed == 0) {
    if (++w->steps > w->o.steps_max) return ROAM_E_LIMIT;
    if (hand_over_segment(w) || fire_next(w, w->now)) continue;
    struct roam_list *node = roam_list_pop_front(&w->touched);
    if (node) roam_sim_machine_turn(ROAM_CONTAINER(node, struct sim_machine, touched));
    else if (!fire_next(w, until)) break;
    bury(w);
  }
  if (until != ROAM_NEVER && until > w->now) w->now = until;
  roam_rc rc = w->failed;
  w->failed = 0;
  return rc;
}

/* ---- life ---- */

void roam_world_options_init(roam_world_options *o) {
  *o = (roam_world_options){
      .size = sizeof *o, .seed = 1, .steps_max = 50000000, .trace_bytes_max = (size_t)64 << 20, .trace_datagrams = true};
}

roam_world *roam_world_new(const roam_world_options *o) {
  struct roam_world *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  roam_world_options_init(&w->o);
  if (o) memcpy(&w->o, o, o->size < sizeof w->o ? o->size : sizeof w->o);
  w->now = ROAM_S;
  roam_rng_init(&w->rng, w->o.seed);
  roam_heap_init(&w->timers, SIM_TIMERS_MAX);
  roam_map_init(&w->ifaces, SIM_TIMERS_MAX, NULL);
  roam_fifo_init(&w->segments);
  w->trace = (struct sim_trace){.max = w->o.trace_bytes_max, .hash = UINT64_C(0xcbf29ce484222325)};
  struct roam_list *lists[] = {&w->hosts, &w->hops, &w->touched, &w->graveyard, &w->names};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) roam_list_init(lists[i]);
  return w;
}

static void free_host(struct roam_host *h) {
  for (struct roam_list *node; (node = roam_list_pop_front(&h->machines)) != NULL;) {
    roam_sim_machine_free(ROAM_CONTAINER(node, struct sim_machine, node));
  }
  roam_sim_pipe_free_all(h);
  roam_map64_reset(&h->ports);
  roam_map_reset(&h->pipes);
  free(h);
}

void roam_world_free(roam_world *w) {
  if (!w) return;
  bury(w);
  for (struct roam_list *node; (node = roam_list_pop_front(&w->hosts)) != NULL;) {
    free_host(ROAM_CONTAINER(node, struct roam_host, node));
  }
  for (struct roam_list *node; (node = roam_list_pop_front(&w->hops)) != NULL;) {
    struct sim_hop *h = ROAM_CONTAINER(node, struct sim_hop, node);
    roam_heap_remove(&w->timers, &h->timer.node);
    roam_hop_free(h->hop);
    free(h);
  }
  for (struct roam_list *node; (node = roam_list_pop_front(&w->names)) != NULL;) {
    free(ROAM_CONTAINER(node, struct name, node));
  }
  /* Only calls are left. */
  for (struct roam_heap_node *n; (n = roam_heap_first(&w->timers)) != NULL;) {
    roam_heap_remove(&w->timers, n);
    free(ROAM_CONTAINER(ROAM_CONTAINER(n, struct sim_timer, node), struct call, timer));
  }
  roam_heap_reset(&w->timers);
  roam_fifo_free(&w->segments);
  roam_map_reset(&w->ifaces);
  free(w->trace.base);
  free(w);
}

roam_time roam_world_now(const roam_world *w) { return w->now; }

roam_random *roam_world_random(roam_world *w) { return &w->rng.random; }
