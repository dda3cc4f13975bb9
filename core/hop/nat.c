/* nat.c - a NAT as a hop: rewrites the source of what goes out and the destination of what comes in. It refuses what no
 * mapping or filter allows, and never looks into a datagram.
 *
 * Theory of operation. OUT: the source (inside address and port) is looked up; when there is no mapping one is made, with a
 * public port by the port rule. The mapping is refreshed and the remote remembered for filtering; the source becomes the
 * public address and port. IN: the destination must be the public address, the port that of a live mapping, and the source
 * one that the filtering behaviour admits; the destination becomes the inside address. Everything else is dropped.
 *
 * Time: a mapping lives while now < last use + idle time. Outbound use always refreshes; inbound only with refresh_in (RFC
 * 4787 section 4.3, REQ-6) and always for TCP, whose sessions RFC 5382 times by any segment. Mappings are swept lazily,
 * before each parcel, so a NAT has no deadline of its own and never wakes anybody.
 *
 * Rebind: all mappings go and the public address changes. UDP from inside simply gets a new mapping. TCP does not: only a
 * SYN may make a mapping, any other segment is answered with RST towards the inside, which is what a client sees of a
 * flushed NAT after its stray segment has reached the server. What the server sends meets no mapping and vanishes.
 *
 * Hairpin (section 6): a parcel from inside to the public address is translated twice and turned around: it comes out in
 * the IN direction with the sender's public address as its source. */
#include "hop/nat.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "hop/hop.h"
#include "hop/nat_table.h"

struct nat {
  roam_hop hop;
  struct roam_nat_table table;
  struct roam_fifo line[2];
};

void roam_nat_options_init(roam_nat_options *o) {
  *o = (roam_nat_options){.size = sizeof *o,
                          .filtering = ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT,
                          .port_first = 40000,
                          .port_last = 59999,
                          .idle_udp_ns = 120 * ROAM_S,
                          .idle_tcp_ns = 7440 * ROAM_S,
                          .hairpin = true,
                          .mappings_max = 65536};
}

static void sweep(struct nat *n) {
  for (;;) {
    struct roam_nat_mapping *m = roam_nat_table_expired(&n->table, n->hop.now);
    if (!m) return;
    roam_nat_mapping_free(m);
  }
}

static uint8_t proto_of(const roam_parcel *parcel) { return parcel->proto == 6 ? ROAM_NAT_TCP : ROAM_NAT_UDP; }

/* Turns a segment that has no mapping into the reset its sender gets. */
static void answer_reset(struct nat *n, roam_parcel *parcel) {
  roam_addr from = parcel->src;
  parcel->src = parcel->dst;
  parcel->dst = from;
  parcel->len = 0;
  parcel->flags = ROAM_PARCEL_RST;
  n->hop.stats.dropped[ROAM_OUT]++;
  roam_fifo_push(&n->line[ROAM_IN], parcel);
}

static void put_in(struct nat *n, roam_dir from, roam_parcel *parcel) {
  struct roam_nat_mapping *m = NULL;
  if (roam_addr_same_ip(&parcel->dst, &n->table.o.address)) {
    m = roam_nat_table_by_port(&n->table, proto_of(parcel), parcel->dst.port);
  }
  if (!m || !roam_nat_table_admit(&n->table, n->hop.now, m, &parcel->src)) {
    roam_hop_drop(&n->hop, from, parcel);
    return;
  }
  parcel->dst = m->inside;
  roam_fifo_push(&n->line[ROAM_IN], parcel);
}

static void put_out(struct nat *n, roam_parcel *parcel) {
  bool turns = roam_addr_same_ip(&parcel->dst, &n->table.o.address);
  uint8_t proto = proto_of(parcel);
  struct roam_nat_mapping *m = roam_nat_table_find(&n->table, proto, &parcel->src, &parcel->dst);
  if (!m && proto == ROAM_NAT_TCP && !(parcel->flags & ROAM_PARCEL_SYN)) {
    if (parcel->flags & ROAM_PARCEL_RST) roam_hop_drop(&n->hop, ROAM_OUT, parcel);
    else answer_reset(n, parcel);
    return;
  }
  if (!m && !(turns && !n->table.o.hairpin)) {
    m = roam_nat_table_add(&n->table, n->hop.now, proto, &parcel->src, &parcel->dst, true);
  }
  if (!m || (turns && !n->table.o.hairpin)) {
    roam_hop_drop(&n->hop, ROAM_OUT, parcel);
    return;
  }
  roam_nat_table_sent(&n->table, n->hop.now, m, &parcel->dst);
  parcel->src = roam_addr_with_port(n->table.o.address, m->port);
  if (turns) put_in(n, ROAM_OUT, parcel);
  else roam_fifo_push(&n->line[ROAM_OUT], parcel);
}

static void put(roam_hop *hop, roam_dir dir, roam_parcel *parcel) {
  struct nat *n = (struct nat *)hop;
  sweep(n);
  parcel->due = hop->now;
  if (dir == ROAM_OUT) put_out(n, parcel);
  else put_in(n, ROAM_IN, parcel);
}

static roam_parcel *take(roam_hop *hop, roam_dir *dir) {
  struct nat *n = (struct nat *)hop;
  *dir = n->line[ROAM_OUT].head ? ROAM_OUT : ROAM_IN;
  return roam_fifo_pop(&n->line[*dir]);
}

static roam_time deadline(const roam_hop *hop) {
  const struct nat *n = (const struct nat *)hop;
  return n->line[ROAM_OUT].head || n->line[ROAM_IN].head ? hop->now : ROAM_NEVER;
}

static void free_nat(roam_hop *hop) {
  struct nat *n = (struct nat *)hop;
  for (int dir = 0; dir < 2; dir++) roam_fifo_free(&n->line[dir]);
  roam_nat_table_reset(&n->table);
  free(n);
}

static const struct roam_hop_ops nat_ops = {put, take, deadline, free_nat};

static bool is_sound(const roam_nat_options *o, const roam_random *random) {
  return (o->address.family == 4 || o->address.family == 6) && o->mappings_max > 0 && o->port_first > 0 &&
         o->port_last >= o->port_first && o->idle_udp_ns > 0 && o->idle_tcp_ns > 0 &&
         (random || o->ports != ROAM_NAT_PORT_RANDOM);
}

roam_hop *roam_nat_new(const roam_nat_options *o, roam_random *random) {
  roam_nat_options own;
  roam_nat_options_init(&own);
  if (o) memcpy(&own, o, roam_hop_option_size(o->size, sizeof own));
  if (!is_sound(&own, random)) return NULL;
  struct nat *n = calloc(1, sizeof *n);
  if (!n) return NULL;
  own.address.port = 0;
  n->hop = (roam_hop){.ops = &nat_ops, .random = random};
  roam_nat_table_init(&n->table, &own, random);
  for (int dir = 0; dir < 2; dir++) roam_fifo_init(&n->line[dir]);
  return &n->hop;
}

void roam_nat_rebind(roam_hop *nat, roam_time now, const roam_addr *address) {
  struct nat *n = (struct nat *)nat;
  if (now > nat->now) nat->now = now;
  for (struct roam_nat_mapping *m = roam_nat_table_pop(&n->table); m; m = roam_nat_table_pop(&n->table)) {
    roam_nat_mapping_free(m);
  }
  n->table.o.address = roam_addr_with_port(*address, 0);
}

size_t roam_nat_mappings(const roam_hop *nat) {
  const struct nat *n = (const struct nat *)nat;
  size_t live = 0;
  for (int p = 0; p < ROAM_NAT_PROTOS; p++) {
    ROAM_LIST_EACH(&n->table.live[p], node) {
      live += ROAM_CONTAINER(node, struct roam_nat_mapping, node)->expires > nat->now;
    }
  }
  return live;
}

const roam_addr *roam_nat_address(const roam_hop *hop) {
  return hop->ops == &nat_ops ? &((const struct nat *)hop)->table.o.address : NULL;
}
