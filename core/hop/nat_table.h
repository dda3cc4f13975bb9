/* nat_table.h - the mappings of a NAT: who may be reached from outside, by whom, and for how long. Used by the simulated
 * NAT and by the live relay, so that both forget and filter alike. It neither changes addresses in parcels nor moves any.
 */
#ifndef ROAM_HOP_NAT_TABLE_H
#define ROAM_HOP_NAT_TABLE_H

#include <roamqtt/hop.h>

#include "base/list.h"
#include "base/map.h"

enum {
  ROAM_NAT_UDP,
  ROAM_NAT_TCP,
  ROAM_NAT_PROTOS,
  ROAM_NAT_FILTERS_MAX = 64
};

/* A remote the inside host has sent to through a mapping, and until when that counts. */
struct roam_nat_filter {
  roam_addr remote; /* without the port when filtering by address alone */
  roam_time expires;
};

/* One inside address and port (and, where mapping depends on it, one remote) and the public port it uses. */
struct roam_nat_mapping {
  struct roam_list node; /* table->live[proto], the next to expire first */
  roam_addr inside;
  roam_addr key_remote; /* as much of the remote as the mapping behaviour looks at */
  uint8_t key[1 + 2 * sizeof(roam_addr)];
  uint8_t proto; /* ROAM_NAT_UDP or ROAM_NAT_TCP */
  uint16_t port; /* public port; 0 when the owner's sockets have it */
  roam_time expires;
  struct roam_nat_filter *filters;
  size_t filters_len, filters_cap;
  void *owner; /* whatever the table's user hangs on it */
};

/* Invariant: each live mapping is in by_inside, in live[its proto], and in by_port when it has a port. As a protocol has
 * one idle time, the order of refreshing is the order of expiry. */
struct roam_nat_table {
  roam_nat_options o;
  roam_random *random;
  struct roam_map by_inside;
  struct roam_map64 by_port;
  struct roam_list live[ROAM_NAT_PROTOS];
  uint32_t count, ports_used[ROAM_NAT_PROTOS];
  uint16_t port_next[ROAM_NAT_PROTOS];
};

void roam_nat_table_init(struct roam_nat_table *t, const roam_nat_options *o, roam_random *random);
void roam_nat_table_reset(struct roam_nat_table *t); /* frees all mappings */

/* The live mapping for what inside sends to remote, or NULL. */
struct roam_nat_mapping *roam_nat_table_find(struct roam_nat_table *t, uint8_t proto, const roam_addr *inside,
                                             const roam_addr *remote);
/* A new one, with a public port when with_port is set. NULL: mappings_max, no free port, or no memory. */
struct roam_nat_mapping *roam_nat_table_add(struct roam_nat_table *t, roam_time now, uint8_t proto, const roam_addr *inside,
                                            const roam_addr *remote, bool with_port);
/* The mapping that owns a public port, or NULL. */
struct roam_nat_mapping *roam_nat_table_by_port(struct roam_nat_table *t, uint8_t proto, uint16_t port);
/* Inside sent to remote: the mapping lives on, and remote may answer. */
void roam_nat_table_sent(struct roam_nat_table *t, roam_time now, struct roam_nat_mapping *m, const roam_addr *remote);
/* May remote send in? When it may and inbound traffic counts (always for TCP), the mapping lives on. */
bool roam_nat_table_admit(struct roam_nat_table *t, roam_time now, struct roam_nat_mapping *m, const roam_addr *remote);
/* Takes out and returns one mapping whose time is over, for its owner to free; NULL: none. Call it before all others. */
struct roam_nat_mapping *roam_nat_table_expired(struct roam_nat_table *t, roam_time now);
/* Takes out and returns any one mapping (the next to expire, UDP first); NULL: empty. */
struct roam_nat_mapping *roam_nat_table_pop(struct roam_nat_table *t);
void roam_nat_table_remove(struct roam_nat_table *t, struct roam_nat_mapping *m);
void roam_nat_mapping_free(struct roam_nat_mapping *m);
roam_time roam_nat_table_deadline(const struct roam_nat_table *t);

#endif
