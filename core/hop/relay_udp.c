/* relay_udp.c - the relay's UDP: a socket for each mapping, and the pure hops in between.
 *
 * The NAT stands next to the server: OUT a datagram passes loss, queue and delay and then finds or makes its mapping; IN it
 * is filtered on arrival and then passes the same hops. So a rebind loses nothing that was still on its way to the NAT, and
 * what had passed it inward still arrives. On its way out a parcel's dst holds the address the client sent to, from which
 * it must be answered; the server is the same for all. */
#include <stdlib.h>

#include "base/addr.h"
#include "base/trace.h"
#include "hop/relay.h"

enum {
  READY_MAX = 4096,
  TO_CLIENTS_MAX = 65536
};

/* Invariant: in handles under `handle`; mapping is NULL once forgotten, then only UNBIND is left to be drained. */
struct relay_flow {
  struct relay_ref ref;
  struct roam_list dirty;
  struct roam_nat_mapping *mapping;
  uint32_t handle;
  roam_addr via, local; /* the inside address the client uses; the public address once bound */
  bool asked, bound;    /* BIND drained; BOUND fed */
  struct roam_fifo ready;
};

static void mark_dirty(struct roam_relay *r, struct relay_flow *flow) {
  roam_list_remove(&flow->dirty);
  roam_list_push_back(&r->flows_dirty, &flow->dirty);
}

static void drop(struct roam_relay *r, roam_dir dir, roam_parcel *parcel) {
  r->stats.lost[dir]++;
  roam_parcel_free(parcel);
}

static struct relay_flow *new_flow(struct roam_relay *r, const roam_parcel *parcel) {
  struct roam_nat_mapping *m = roam_nat_table_add(&r->table, r->now, ROAM_NAT_UDP, &parcel->src, &r->o.server, false);
  if (!m) return NULL;
  struct relay_flow *flow = calloc(1, sizeof *flow);
  if (!flow) goto fail;
  *flow = (struct relay_flow){.ref = {RELAY_FLOW, flow}, .mapping = m, .handle = roam_relay_handle(r)};
  if (roam_map64_put(&r->handles, flow->handle, &flow->ref) != 0) goto fail;
  m->owner = flow;
  roam_list_init(&flow->dirty);
  roam_fifo_init(&flow->ready);
  mark_dirty(r, flow);
  r->stats.udp_mappings++;
  return flow;
fail:
  free(flow);
  roam_nat_table_remove(&r->table, m);
  roam_nat_mapping_free(m);
  return NULL;
}

static void arrive_at_nat(struct roam_relay *r, roam_parcel *parcel) {
  struct roam_nat_mapping *m = roam_nat_table_find(&r->table, ROAM_NAT_UDP, &parcel->src, &r->o.server);
  struct relay_flow *flow = m ? m->owner : new_flow(r, parcel);
  if (!flow || flow->ready.count >= READY_MAX) {
    drop(r, ROAM_OUT, parcel);
    return;
  }
  roam_nat_table_sent(&r->table, r->now, flow->mapping, &r->o.server);
  flow->via = parcel->dst;
  roam_fifo_push(&flow->ready, parcel);
  if (flow->bound) mark_dirty(r, flow);
}

static void arrive_at_client(struct roam_relay *r, roam_parcel *parcel) {
  if (r->to_clients.count >= TO_CLIENTS_MAX) drop(r, ROAM_IN, parcel);
  else roam_fifo_push(&r->to_clients, parcel);
}

void roam_relay_udp_run(struct roam_relay *r) {
  for (int i = 0; i < RELAY_HOPS; i++) {
    roam_dir dir;
    for (roam_parcel *p; (p = roam_hop_take(r->hops[i], r->now, &dir)) != NULL;) {
      if (i + 1 < RELAY_HOPS) roam_hop_put(r->hops[i + 1], r->now, dir, p);
      else if (r->down) drop(r, dir, p);
      else if (dir == ROAM_OUT) arrive_at_nat(r, p);
      else arrive_at_client(r, p);
    }
  }
}

/* Cuts a train and sends each datagram on its way. */
static void send_on(struct roam_relay *r, roam_dir dir, const roam_wire *unit, const roam_addr *src, const roam_addr *dst) {
  size_t step = unit->segment > 0 ? unit->segment : unit->len, at = 0;
  do {
    size_t len = unit->len - at < step ? unit->len - at : step;
    roam_parcel *parcel = roam_parcel_new(len > 0 ? unit->data + at : NULL, len);
    at += len;
    if (!parcel) {
      r->stats.lost[dir]++;
      continue;
    }
    parcel->src = *src;
    parcel->dst = *dst;
    parcel->proto = 17;
    parcel->ecn = unit->ecn;
    roam_hop_put(r->hops[RELAY_LOSS], r->now, dir, parcel);
  } while (at < unit->len);
}

void roam_relay_udp_from_client(struct roam_relay *r, const roam_wire *unit) {
  send_on(r, ROAM_OUT, unit, &unit->remote, &unit->local);
}

void roam_relay_udp_from_server(struct roam_relay *r, struct relay_flow *flow, const roam_wire *unit) {
  if (!flow->mapping || !roam_nat_table_admit(&r->table, r->now, flow->mapping, &unit->remote)) {
    r->stats.lost[ROAM_IN]++;
    return;
  }
  send_on(r, ROAM_IN, unit, &flow->via, &flow->mapping->inside);
}

void roam_relay_udp_bound(struct roam_relay *r, struct relay_flow *flow, const roam_addr *local) {
  if (!flow->mapping) return;
  flow->local = *local;
  flow->bound = true;
  mark_dirty(r, flow);
  roam_event ev = {.kind = ROAM_EV_NAT_MAPPED, .reason = -1, .u.path = {.local = *local, .remote = flow->mapping->inside}};
  roam_relay_tell(r, &ev);
}

/* Gives up the handle; the memory goes at the next settling, because drained units may point into the flow's parcels. */
static void let_go(struct roam_relay *r, struct relay_flow *flow) {
  roam_map64_remove(&r->handles, flow->handle);
  roam_list_remove(&flow->dirty);
  roam_list_push_back(&r->flows_gone, &flow->dirty);
}

void roam_relay_udp_forget(struct roam_relay *r, struct roam_nat_mapping *m) {
  struct relay_flow *flow = m->owner;
  roam_nat_mapping_free(m);
  flow->mapping = NULL;
  r->stats.udp_mappings--;
  r->stats.lost[ROAM_OUT] += flow->ready.count;
  roam_fifo_free(&flow->ready);
  if (flow->asked) mark_dirty(r, flow);
  else let_go(r, flow);
}

void roam_relay_udp_failed(struct roam_relay *r, struct relay_flow *flow, int error) {
  roam_trace(&r->o.log, r->now, RELAY_NOT_BOUND, .why = roam_strerror(roam_relay_errno(error)));
  flow->asked = false;
  if (!flow->mapping) {
    let_go(r, flow);
    return;
  }
  roam_nat_table_remove(&r->table, flow->mapping);
  roam_relay_udp_forget(r, flow->mapping);
}

roam_time roam_relay_udp_deadline(const struct roam_relay *r) {
  roam_time first = ROAM_NEVER;
  for (int i = 0; i < RELAY_HOPS; i++) {
    roam_time at = roam_hop_deadline(r->hops[i]);
    if (at < first) first = at;
  }
  return first;
}

static bool emit_parcel(struct roam_relay *r, struct relay_out *out, uint32_t handle, struct roam_fifo *from,
                        roam_dir dir) {
  roam_wire *unit = relay_unit(out, ROAM_WIRE_DATAGRAM, handle);
  if (!unit) return false;
  roam_parcel *parcel = roam_fifo_pop(from);
  unit->ecn = parcel->ecn;
  unit->local = parcel->src;
  unit->remote = parcel->dst;
  unit->data = parcel->data;
  unit->len = parcel->len;
  r->stats.datagrams[dir]++;
  r->stats.bytes[dir] += parcel->len;
  roam_fifo_push(&r->lent, parcel);
  return true;
}

static bool emit_bind(struct roam_relay *r, struct relay_out *out, struct relay_flow *flow) {
  roam_wire *unit = relay_unit(out, ROAM_WIRE_BIND, flow->handle);
  if (!unit) return false;
  unit->local = roam_addr_with_port(r->o.address, 0);
  /* A socket that knows its one remote would filter by itself; others must be let through to be judged here. */
  if (r->o.filtering == ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT) unit->remote = r->o.server;
  flow->asked = true;
  return true;
}

/* False when the array was full before all was said. */
static bool emit_flow(struct roam_relay *r, struct relay_out *out, struct relay_flow *flow) {
  if (!flow->mapping) {
    if (!relay_unit(out, ROAM_WIRE_UNBIND, flow->handle)) return false;
    let_go(r, flow);
    return true;
  }
  if (!flow->asked && !emit_bind(r, out, flow)) return false;
  while (flow->bound && flow->ready.head) {
    flow->ready.head->src = flow->local;
    flow->ready.head->dst = r->o.server;
    if (!emit_parcel(r, out, flow->handle, &flow->ready, ROAM_OUT)) return false;
  }
  return true;
}

void roam_relay_udp_drain(struct roam_relay *r, struct relay_out *out) {
  for (struct roam_list *node; (node = roam_list_first(&r->flows_dirty)) != NULL;) {
    if (!emit_flow(r, out, ROAM_CONTAINER(node, struct relay_flow, dirty))) return;
    if (roam_list_first(&r->flows_dirty) == node) roam_list_remove(node);
  }
  while (r->to_clients.head && emit_parcel(r, out, RELAY_UDP, &r->to_clients, ROAM_IN)) continue;
}

void roam_relay_udp_settle(struct roam_relay *r) {
  roam_fifo_free(&r->lent);
  for (struct roam_list *node; (node = roam_list_pop_front(&r->flows_gone)) != NULL;) {
    struct relay_flow *flow = ROAM_CONTAINER(node, struct relay_flow, dirty);
    roam_fifo_free(&flow->ready);
    free(flow);
  }
}

uint64_t roam_relay_udp_dropped(const struct roam_relay *r, roam_dir dir) {
  uint64_t dropped = r->stats.lost[dir];
  for (int i = 0; i < RELAY_HOPS; i++) dropped += roam_hop_get_stats(r->hops[i]).dropped[dir];
  return dropped;
}
