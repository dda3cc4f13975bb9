/* relay.c - the live NAT box: its doors, its own two sockets, its commands. UDP is in relay_udp.c, TCP in relay_tcp.c. It
 * knows wire units only: whether the network under it is real is the edge's affair. */
#include "hop/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/trace.h"

enum {
  EVENTS_MAX = 1024,
  BINDS_MAX = 16,
  REFUSED_MAX = 4096
};

/* ---- small words for the other two files ---- */

uint32_t roam_relay_handle(struct roam_relay *r) {
  uint32_t handle;
  do {
    handle = r->handle_next;
    r->handle_next = handle + 1 < ROAM_HANDLE_EDGE ? handle + 1 : RELAY_FIRST_FREE;
  } while (roam_map64_get(&r->handles, handle));
  return handle;
}

void roam_relay_tell(struct roam_relay *r, const roam_event *ev) {
  roam_event stamped = *ev;
  stamped.at = r->now;
  (void)roam_ring_push(&r->events, &stamped); /* an owner that does not poll misses the newest */
}

roam_rc roam_relay_errno(int error) {
  switch (error) {
    case EADDRINUSE: return ROAM_E_ADDRESS_IN_USE;
    case EADDRNOTAVAIL: return ROAM_E_ADDRESS_NOT_AVAILABLE;
    case EACCES:
    case EPERM: return ROAM_E_PERMISSION;
    case ENETUNREACH:
    case EHOSTUNREACH: return ROAM_E_UNREACHABLE;
    default: return ROAM_E_IO;
  }
}

/* ---- the inside sockets ---- */

static void tell_listening(struct roam_relay *r, roam_event_kind kind, int error, bool udp, const char *text) {
  roam_event ev = {.kind = kind, .rc = error ? roam_relay_errno(error) : 0, .reason = -1, .text = text};
  ev.u.link.local = r->inside.family ? r->inside : r->o.inside;
  ev.u.link.transport = udp ? ROAM_TRANSPORT_QUIC : ROAM_TRANSPORT_TCP;
  roam_relay_tell(r, &ev);
}

static void inside_bound(struct roam_relay *r, const roam_wire *unit) {
  r->inside = unit->local;
  if (unit->handle == RELAY_UDP && r->o.tcp) r->want_listen = true;
  tell_listening(r, ROAM_EV_LISTENING, 0, unit->handle == RELAY_UDP, NULL);
}

static void inside_failed(struct roam_relay *r, const roam_wire *unit) {
  bool udp = unit->handle == RELAY_UDP;
  if (!udp && r->o.udp && r->o.inside.port == 0 && unit->error == EADDRINUSE && r->binds_left > 0) {
    /* The port drawn for UDP is taken for TCP: draw another for both. */
    r->binds_left--;
    r->inside = (roam_addr){0};
    r->want_unbind = r->want_bind = true;
    return;
  }
  tell_listening(r, ROAM_EV_LISTEN_FAILED, unit->error, udp,
                 "the relay cannot take its inside address; choose another address or port");
}

static bool emit_inside(struct roam_relay *r, struct relay_out *out) {
  if (r->want_unbind && !relay_unit(out, ROAM_WIRE_UNBIND, RELAY_UDP)) return false;
  r->want_unbind = false;
  if (r->want_bind) {
    roam_wire *unit = relay_unit(out, ROAM_WIRE_BIND, RELAY_UDP);
    if (!unit) return false;
    unit->local = r->o.inside;
    r->want_bind = false;
  }
  if (r->want_listen) {
    roam_wire *unit = relay_unit(out, ROAM_WIRE_LISTEN, RELAY_TCP);
    if (!unit) return false;
    unit->local = r->inside.family ? r->inside : r->o.inside;
    r->want_listen = false;
  }
  return true;
}

/* ---- the verbs ---- */

/* Every door begins here: what was lent to the caller comes back. */
static void enter(struct roam_relay *r, roam_time now) {
  if (now > r->now) r->now = now;
  roam_relay_udp_settle(r);
  roam_relay_tcp_settle(r);
}

static void run(struct roam_relay *r) {
  for (struct roam_nat_mapping *m; (m = roam_nat_table_expired(&r->table, r->now)) != NULL;) {
    if (m->proto == ROAM_NAT_UDP) roam_relay_udp_forget(r, m);
    else roam_relay_tcp_forget(r, m);
  }
  roam_relay_udp_run(r);
  roam_relay_tcp_run(r);
}

static void feed_flow(struct roam_relay *r, struct relay_flow *flow, const roam_wire *unit) {
  switch (unit->kind) {
    case ROAM_WIRE_DATAGRAM: roam_relay_udp_from_server(r, flow, unit); break;
    case ROAM_WIRE_BOUND: roam_relay_udp_bound(r, flow, &unit->local); break;
    case ROAM_WIRE_FAILED: roam_relay_udp_failed(r, flow, unit->error); break;
    case ROAM_WIRE_SENDFAIL: r->stats.lost[ROAM_OUT]++; break;
    default: break;
  }
}

/* dir: the direction in which this half sends. */
static void feed_half(struct roam_relay *r, struct relay_conn *c, roam_dir dir, const roam_wire *unit) {
  switch (unit->kind) {
    case ROAM_WIRE_OPENED: roam_relay_tcp_opened(r, c, unit); break;
    case ROAM_WIRE_FAILED: roam_relay_tcp_failed(r, c); break;
    case ROAM_WIRE_DATA: roam_relay_tcp_data(r, c, dir, unit); break;
    case ROAM_WIRE_CREDIT: roam_relay_tcp_credit(r, c, !dir, unit->credit); break;
    case ROAM_WIRE_CLOSE: roam_relay_tcp_closed(r, c, dir, unit->error); break;
    default: break;
  }
}

static void feed_inside(struct roam_relay *r, const roam_wire *unit) {
  switch (unit->kind) {
    case ROAM_WIRE_DATAGRAM: roam_relay_udp_from_client(r, unit); break;
    case ROAM_WIRE_BOUND: inside_bound(r, unit); break;
    case ROAM_WIRE_FAILED: inside_failed(r, unit); break;
    default: break;
  }
}

static void feed_unit(struct roam_relay *r, const roam_wire *unit) {
  if (unit->kind == ROAM_WIRE_ACCEPT) {
    if (!roam_map64_get(&r->handles, unit->handle)) roam_relay_tcp_accept(r, unit);
    return;
  }
  if (unit->handle == RELAY_UDP || unit->handle == RELAY_TCP) {
    feed_inside(r, unit);
    return;
  }
  struct relay_ref *ref = roam_map64_get(&r->handles, unit->handle);
  if (!ref) return; /* given back while the unit was on its way */
  switch (ref->kind) {
    case RELAY_FLOW: feed_flow(r, ref->owner, unit); break;
    case RELAY_CLIENT_HALF: feed_half(r, ref->owner, ROAM_OUT, unit); break;
    case RELAY_SERVER_HALF: feed_half(r, ref->owner, ROAM_IN, unit); break;
    case RELAY_HUNG:
      if (unit->kind == ROAM_WIRE_CLOSE) roam_relay_tcp_hung_closed(r, ref->owner);
      break;
  }
}

static void feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  struct roam_relay *r = self;
  enter(r, now);
  for (size_t i = 0; i < n; i++) feed_unit(r, &in[i]);
  run(r);
}

static void tick(void *self, roam_time now) {
  enter(self, now);
  run(self);
}

static size_t drain(void *self, roam_time now, roam_wire units[], size_t n) {
  struct roam_relay *r = self;
  struct relay_out out = {units, 0, n};
  enter(r, now);
  if (!emit_inside(r, &out)) return out.n;
  roam_relay_tcp_drain(r, &out);
  roam_relay_udp_drain(r, &out);
  return out.n;
}

static size_t poll_events(void *self, roam_event ev[], size_t n) {
  struct roam_relay *r = self;
  size_t got = 0;
  while (got < n && roam_ring_pop(&r->events, &ev[got])) got++;
  return got;
}

static roam_time deadline(const void *self) {
  const struct roam_relay *r = self;
  roam_time at[] = {roam_nat_table_deadline(&r->table), roam_relay_udp_deadline(r), roam_relay_tcp_deadline(r)};
  roam_time first = at[0];
  for (int i = 1; i < 3; i++) first = at[i] < first ? at[i] : first;
  return first;
}

roam_machine roam_relay_machine(roam_relay *relay) {
  static const roam_machine_ops ops = {feed, tick, drain, poll_events, deadline};
  return (roam_machine){&ops, relay, relay->random};
}

/* ---- life ---- */

void roam_relay_options_init(roam_relay_options *o) {
  *o = (roam_relay_options){.size = sizeof *o,
                            .udp = true,
                            .tcp = true,
                            .filtering = ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT,
                            .idle_udp_ns = 120 * ROAM_S,
                            .idle_tcp_ns = 7440 * ROAM_S,
                            .mappings_max = 1024,
                            .hanging_max = 256,
                            .tcp_buffer_bytes = 262144};
}

/* An hour is longer than any path, and sums of delays stay far from ROAM_NEVER. */
static uint64_t sane_delay(uint64_t ns) { return ns < 3600 * ROAM_S ? ns : 3600 * ROAM_S; }

static bool is_sound(const roam_relay_options *o) {
  const uint32_t most = UINT32_C(1) << 20;
  return o->inside.family != 0 && o->server.family != 0 && o->server.port != 0 && o->address.family == o->server.family &&
         (o->udp || o->tcp) && o->mappings_max > 0 && o->mappings_max <= most && o->hanging_max > 0 &&
         o->hanging_max <= most && o->tcp_buffer_bytes >= 1024 && o->tcp_buffer_bytes <= (size_t)1 << 30 &&
         o->idle_udp_ns > 0 && o->idle_tcp_ns > 0;
}

static bool make_hops(struct roam_relay *r) {
  roam_loss_options loss;
  roam_loss_options_init(&loss);
  loss.loss_ppm = r->o.loss_ppm;
  loss.mtu = 0; /* the real sockets have theirs */
  roam_queue_options queue;
  roam_queue_options_init(&queue);
  queue.rate_bytes_s = r->o.rate_bytes_s;
  roam_delay_options delay;
  roam_delay_options_init(&delay);
  delay.delay_ns = r->o.delay_ns;
  delay.jitter_ns = r->o.jitter_ns;
  r->hops[RELAY_LOSS] = roam_loss_new(&loss, r->random);
  r->hops[RELAY_QUEUE] = roam_queue_new(&queue);
  r->hops[RELAY_DELAY] = roam_delay_new(&delay, r->random);
  return r->hops[RELAY_LOSS] && r->hops[RELAY_QUEUE] && r->hops[RELAY_DELAY];
}

static void init_table(struct roam_relay *r) {
  roam_nat_options o;
  roam_nat_options_init(&o);
  o.filtering = r->o.filtering;
  o.idle_udp_ns = r->o.idle_udp_ns;
  o.idle_tcp_ns = r->o.idle_tcp_ns;
  o.mappings_max = r->o.mappings_max;
  roam_nat_table_init(&r->table, &o, r->random);
}

static void init_tables(struct roam_relay *r) {
  uint32_t conns_max = r->o.mappings_max + r->o.hanging_max;
  init_table(r);
  roam_map64_init(&r->handles, 2 * (size_t)conns_max + r->o.mappings_max + r->o.hanging_max + 16, r->random);
  roam_heap_init(&r->timers, conns_max);
  roam_ring_init(&r->events, sizeof(roam_event), EVENTS_MAX);
  roam_ring_init(&r->refused, sizeof(uint32_t), REFUSED_MAX);
  struct roam_list *lists[] = {&r->flows_dirty, &r->flows_gone, &r->conns, &r->conns_dirty,
                               &r->conns_lent,  &r->conns_gone, &r->hung,  &r->hung_dirty};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) roam_list_init(lists[i]);
  roam_fifo_init(&r->to_clients);
  roam_fifo_init(&r->lent);
}

roam_relay *roam_relay_new(const roam_relay_options *o, roam_random *random) {
  struct roam_relay *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  roam_relay_options_init(&r->o);
  if (o) memcpy(&r->o, o, roam_hop_option_size(o->size, sizeof r->o));
  if (!is_sound(&r->o)) {
    free(r);
    return NULL;
  }
  r->random = random;
  r->o.delay_ns = sane_delay(r->o.delay_ns);
  r->o.jitter_ns = sane_delay(r->o.jitter_ns);
  r->o.address.port = 0;
  r->handle_next = RELAY_FIRST_FREE;
  r->binds_left = BINDS_MAX;
  r->want_bind = r->o.udp;
  r->want_listen = r->o.tcp && !r->o.udp;
  init_tables(r);
  if (make_hops(r)) return r;
  roam_relay_free(r);
  return NULL;
}

void roam_relay_free(roam_relay *r) {
  if (!r) return;
  for (struct roam_nat_mapping *m; (m = roam_nat_table_pop(&r->table)) != NULL;) {
    if (m->proto == ROAM_NAT_UDP) roam_relay_udp_forget(r, m);
    else roam_relay_tcp_forget(r, m);
  }
  /* Flows that wait for their UNBIND to be drained wait no longer. */
  for (struct roam_list *node; (node = roam_list_pop_front(&r->flows_dirty)) != NULL;) {
    roam_list_push_back(&r->flows_gone, node);
  }
  roam_relay_udp_settle(r);
  roam_relay_tcp_free(r);
  roam_fifo_free(&r->to_clients);
  for (int i = 0; i < RELAY_HOPS; i++) roam_hop_free(r->hops[i]);
  roam_nat_table_reset(&r->table);
  roam_map64_reset(&r->handles);
  roam_ring_reset(&r->events);
  free(r);
}

/* ---- commands and getters ---- */

roam_rc roam_relay_rebind(roam_relay *r, roam_time now, const roam_addr *address) {
  if (!address || address->family != r->o.server.family) return ROAM_E_ARGUMENT;
  enter(r, now);
  roam_event ev = {.kind = ROAM_EV_NAT_REBOUND, .reason = -1, .u.path = {.old_local = r->o.address}};
  for (struct roam_nat_mapping *m; (m = roam_nat_table_pop(&r->table)) != NULL;) {
    if (m->proto == ROAM_NAT_UDP) roam_relay_udp_forget(r, m);
    else roam_relay_tcp_forget(r, m);
  }
  r->o.address = roam_addr_with_port(*address, 0);
  r->stats.rebinds++;
  ev.u.path.local = r->o.address;
  roam_relay_tell(r, &ev);
  char text[ROAM_ADDR_TEXT_MAX];
  roam_trace(&r->o.log, r->now, RELAY_REBOUND, .address = roam_addr_format(&r->o.address, text));
  return 0;
}

void roam_relay_set_delay(roam_relay *r, uint64_t delay_ns, uint64_t jitter_ns) {
  r->o.delay_ns = sane_delay(delay_ns);
  r->o.jitter_ns = sane_delay(jitter_ns);
  roam_delay_set(r->hops[RELAY_DELAY], r->o.delay_ns, r->o.jitter_ns);
}

void roam_relay_set_loss(roam_relay *r, uint32_t loss_ppm) { roam_loss_set(r->hops[RELAY_LOSS], loss_ppm); }

void roam_relay_set_rate(roam_relay *r, uint64_t rate_bytes_s) {
  roam_queue_set_rate(r->hops[RELAY_QUEUE], rate_bytes_s);
  r->o.rate_bytes_s = rate_bytes_s;
}

void roam_relay_set_down(roam_relay *r, bool down) {
  roam_loss_set_down(r->hops[RELAY_LOSS], down);
  r->down = down;
}

roam_addr roam_relay_inside(const roam_relay *r) { return r->inside.family ? r->inside : r->o.inside; }

roam_addr roam_relay_address(const roam_relay *r) { return r->o.address; }

roam_relay_stats roam_relay_get_stats(const roam_relay *r) {
  roam_relay_stats s = r->stats;
  for (int dir = 0; dir < 2; dir++) s.lost[dir] = roam_relay_udp_dropped(r, dir);
  s.hanging = r->hung_count;
  return s;
}
