/* relay.h - the state of the live box, shared by its three files: relay.c (doors, set-up), relay_udp.c, relay_tcp.c. */
#ifndef ROAM_HOP_RELAY_H
#define ROAM_HOP_RELAY_H

#include <roamqtt/event.h>
#include <roamqtt/hop.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/ring.h"
#include "hop/hop.h"
#include "hop/nat_table.h"

/* The relay's own sockets; all other handles come from relay->handle_next. */
enum {
  RELAY_UDP = 1,
  RELAY_TCP = 2,
  RELAY_FIRST_FREE = 3
};
enum {
  RELAY_LOSS,
  RELAY_QUEUE,
  RELAY_DELAY,
  RELAY_HOPS
};

/* What a handle names, and what waits to be drained for it. `dirty` hangs in relay->dirty while there is something. */
enum relay_kind {
  RELAY_FLOW,
  RELAY_CLIENT_HALF,
  RELAY_SERVER_HALF,
  RELAY_HUNG
};
struct relay_ref {
  enum relay_kind kind;
  void *owner;
};

struct relay_flow; /* relay_udp.c: a UDP mapping and its socket */
struct relay_conn; /* relay_tcp.c: a TCP connection and its two halves */

/* Where the next units for the edge go. */
struct relay_out {
  roam_wire *at;
  size_t n, max;
};

static inline roam_wire *relay_unit(struct relay_out *out, roam_wire_kind kind, uint32_t handle) {
  if (out->n == out->max) return NULL;
  roam_wire *unit = &out->at[out->n++];
  *unit = (roam_wire){.kind = (uint8_t)kind, .handle = handle};
  return unit;
}

/* Invariant: every handle the relay or the edge has chosen and not given back is in `handles`. Nothing is ever added while
 * draining, so draining cannot fail for memory. */
struct roam_relay {
  roam_relay_options o;
  roam_random *random;
  roam_time now;
  roam_addr inside;   /* true address once bound */
  uint8_t binds_left; /* how often a taken port may be drawn again */
  bool want_unbind, want_bind, want_listen, down;
  uint32_t handle_next;
  struct roam_map64 handles;
  struct roam_nat_table table;
  struct roam_ring events; /* roam_event */
  /* UDP */
  roam_hop *hops[RELAY_HOPS];
  struct roam_list flows_dirty, flows_gone;
  struct roam_fifo to_clients, lent;
  /* TCP */
  struct roam_heap timers;
  struct roam_list conns, conns_dirty, conns_lent, conns_gone, hung, hung_dirty;
  struct roam_ring refused; /* uint32_t handles to be reset */
  roam_time busy_until[2];  /* when the modelled link has sent all TCP bytes before */
  uint32_t conns_count, hung_count;
  roam_relay_stats stats;
};

uint32_t roam_relay_handle(struct roam_relay *r); /* a free one */
void roam_relay_tell(struct roam_relay *r, const roam_event *ev);
roam_rc roam_relay_errno(int error); /* an edge's errno as an error of ours */

/* relay_udp.c */
void roam_relay_udp_from_client(struct roam_relay *r, const roam_wire *unit);
void roam_relay_udp_from_server(struct roam_relay *r, struct relay_flow *flow, const roam_wire *unit);
void roam_relay_udp_bound(struct roam_relay *r, struct relay_flow *flow, const roam_addr *local);
void roam_relay_udp_failed(struct roam_relay *r, struct relay_flow *flow, int error);
void roam_relay_udp_forget(struct roam_relay *r,
                           struct roam_nat_mapping *m); /* taken out of the table already; freed here */
void roam_relay_udp_run(struct roam_relay *r);
roam_time roam_relay_udp_deadline(const struct roam_relay *r);
void roam_relay_udp_drain(struct roam_relay *r, struct relay_out *out);
void roam_relay_udp_settle(struct roam_relay *r);
uint64_t roam_relay_udp_dropped(const struct roam_relay *r, roam_dir dir);

/* relay_tcp.c */
void roam_relay_tcp_accept(struct roam_relay *r, const roam_wire *unit);
void roam_relay_tcp_opened(struct roam_relay *r, struct relay_conn *c, const roam_wire *unit);
void roam_relay_tcp_failed(struct roam_relay *r, struct relay_conn *c);
void roam_relay_tcp_data(struct roam_relay *r, struct relay_conn *c, roam_dir dir, const roam_wire *unit);
void roam_relay_tcp_credit(struct roam_relay *r, struct relay_conn *c, roam_dir dir, uint64_t credit);
void roam_relay_tcp_closed(struct roam_relay *r, struct relay_conn *c, roam_dir dir, int error);
void roam_relay_tcp_hung_closed(struct roam_relay *r, void *hung);
void roam_relay_tcp_forget(struct roam_relay *r, struct roam_nat_mapping *m); /* as above */
void roam_relay_tcp_run(struct roam_relay *r);
roam_time roam_relay_tcp_deadline(const struct roam_relay *r);
void roam_relay_tcp_drain(struct roam_relay *r, struct relay_out *out);
void roam_relay_tcp_settle(struct roam_relay *r);
void roam_relay_tcp_free(struct roam_relay *r);

#endif
