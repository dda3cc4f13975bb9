/* host.c - a host: interfaces, machines, and the edge that answers their units as a kernel and a loop would. Ephemeral
 * ports go up one by one from 49152, so that they are the same in every run. It refuses what a kernel would: a port in use,
 * an address that is not there. TCP is in pipe.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/assert.h"
#include "sim/world.h"

enum {
  UDP = 17,
  FEED_BATCH = 64,
  DRAIN_BATCH = 64,
  POLL_BATCH = 512,
  RESOLVED_MAX = 16
};

/* ---- hosts and interfaces ---- */

static void copy_name(char out[SIM_NAME_MAX], const char *name) {
  size_t len = strlen(name);
  if (len >= SIM_NAME_MAX) len = SIM_NAME_MAX - 1;
  memcpy(out, name, len);
  out[len] = 0;
}

roam_host *roam_world_host(roam_world *w, const char *name) {
  struct roam_host *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  h->world = w;
  copy_name(h->name, name ? name : "host");
  h->port_next = SIM_EPHEMERAL_FIRST;
  roam_list_init(&h->machines);
  roam_list_init(&h->pipe_list);
  roam_map64_init(&h->ports, 2 * 65536, NULL);
  roam_map_init(&h->pipes, SIM_TIMERS_MAX, NULL);
  roam_list_push_back(&w->hosts, &h->node);
  return h;
}

roam_rc roam_host_address(roam_host *h, const char *interface, const roam_addr *address) {
  if (!address || roam_addr_is_any(address) || !interface || !*interface) return ROAM_E_ARGUMENT;
  if (h->ifaces_len >= SIM_IFACES_MAX) return ROAM_E_LIMIT;
  if (roam_sim_iface(h->world, address)) return ROAM_E_ADDRESS_IN_USE;
  struct sim_iface *iface = &h->ifaces[h->ifaces_len];
  *iface = (struct sim_iface){.host = h, .address = roam_addr_with_port(*address, 0), .up = true};
  copy_name(iface->name, interface);
  roam_rc rc = roam_map_put(&h->world->ifaces, &iface->address, sizeof iface->address, iface);
  if (rc == 0) h->ifaces_len++;
  return rc;
}

/* A loop tells its machines of the addresses there are when they come in, and of each change. */
static void tell_address(struct sim_machine *m, struct sim_iface *iface, bool up) {
  roam_wire unit = {.kind = ROAM_WIRE_ADDR, .up = up, .local = iface->address, .name = iface->name};
  roam_sim_feed(m, &unit, NULL, NULL);
}

void roam_host_wake(roam_host *h, uint64_t slept_ns) {
  roam_wire unit = {.kind = ROAM_WIRE_WAKE, .credit = slept_ns};
  roam_sim_trace_text(h->world, "wake", h->name, "");
  ROAM_LIST_EACH(&h->machines, node) roam_sim_feed(ROAM_CONTAINER(node, struct sim_machine, node), &unit, NULL, NULL);
}

roam_rc roam_host_set_up(roam_host *h, const roam_addr *address, bool up, bool tell) {
  struct sim_iface *iface = address ? roam_sim_iface(h->world, address) : NULL;
  if (!iface || iface->host != h) return ROAM_E_ARGUMENT;
  iface->up = up;
  iface->told = tell;
  roam_sim_trace_addr(h->world, up ? "up" : "down", h->name, &iface->address, NULL);
  if (!tell) return 0;
  ROAM_LIST_EACH(&h->machines, node) tell_address(ROAM_CONTAINER(node, struct sim_machine, node), iface, up);
  return 0;
}

void roam_host_forget_tcp(roam_host *h, const roam_addr *address) {
  struct sim_iface *iface = address ? roam_sim_iface(h->world, address) : NULL;
  if (iface && iface->host == h) roam_sim_pipe_forget(h, iface);
}

struct sim_iface *roam_sim_iface_choose(struct roam_host *h, const roam_addr *local, const char *name, uint8_t family,
                                        int *error) {
  bool by_address = !roam_addr_is_any(local);
  uint8_t wanted = family ? family : local->family;
  *error = by_address || name ? EADDRNOTAVAIL : ENETUNREACH;
  for (size_t i = 0; i < h->ifaces_len; i++) {
    struct sim_iface *iface = &h->ifaces[i];
    bool usable = iface->up || !iface->told; /* a host that was not told believes in its interface */
    if (!usable || (wanted && iface->address.family != wanted)) continue;
    if (by_address && !roam_addr_same_ip(&iface->address, local)) continue;
    if (name && *name && strcmp(iface->name, name) != 0) continue;
    *error = 0;
    return iface;
  }
  return NULL;
}

/* ---- ports ---- */

static uint64_t port_key(int proto, uint16_t port) { return (uint64_t)proto << 16 | port; }

static int proto_of(const struct sim_port *port) { return port->kind == SIM_UDP ? UDP : 6; }

struct sim_port *roam_sim_port_find(const struct roam_host *h, int proto, const roam_addr *local) {
  struct sim_port *any = NULL;
  for (struct sim_port *p = roam_map64_get(&h->ports, port_key(proto, local->port)); p; p = p->same) {
    if (roam_addr_same_ip(&p->local, local)) return p;
    if (roam_addr_is_any(&p->local) && (p->local.family == 0 || p->local.family == local->family)) any = p;
  }
  return any;
}

uint16_t roam_sim_port_draw(struct roam_host *h, int proto) {
  for (int i = 0; i < 65536 - SIM_EPHEMERAL_FIRST; i++) {
    uint16_t port = h->port_next;
    h->port_next = port == 65535 ? SIM_EPHEMERAL_FIRST : (uint16_t)(port + 1);
    if (!roam_map64_get(&h->ports, port_key(proto, port))) return port;
  }
  return 0;
}

/* Two sockets of a protocol may share a port number when neither's address covers the other's. */
bool roam_sim_port_taken(const struct roam_host *h, int proto, const roam_addr *local, const roam_wire *unit) {
  for (struct sim_port *p = roam_map64_get(&h->ports, port_key(proto, local->port)); p; p = p->same) {
    bool shared = unit->parent > 1 && p->sharers == unit->parent && unit->how != ROAM_BIND_FIRST;
    if (shared && roam_addr_equal(&p->local, local)) continue;
    if (roam_addr_is_any(&p->local) || roam_addr_is_any(local) || roam_addr_same_ip(&p->local, local)) return true;
  }
  return false;
}

roam_rc roam_sim_port_add(struct sim_machine *m, struct sim_port *port) {
  struct roam_host *h = m->host;
  roam_list_init(&port->node);
  port->machine = m;
  roam_rc rc = roam_map64_put(&m->handles, port->handle, port);
  if (rc != 0) return rc;
  if (port->kind != SIM_PIPE) {
    uint64_t key = port_key(proto_of(port), port->local.port);
    port->same = roam_map64_get(&h->ports, key);
    rc = roam_map64_put(&h->ports, key, port);
    if (rc != 0) {
      roam_map64_remove(&m->handles, port->handle);
      return rc;
    }
  }
  roam_list_push_back(&m->ports, &port->node);
  return 0;
}

void roam_sim_port_remove(struct sim_port *port) {
  struct sim_machine *m = port->machine;
  roam_map64_remove(&m->handles, port->handle);
  roam_list_remove(&port->node);
  if (port->kind == SIM_PIPE) return;
  uint64_t key = port_key(proto_of(port), port->local.port);
  struct sim_port *first = roam_map64_get(&m->host->ports, key);
  if (first == port && !port->same) {
    roam_map64_remove(&m->host->ports, key);
  } else if (first == port) {
    roam_rc rc = roam_map64_put(&m->host->ports, key, port->same); /* replaces: needs no memory */
    ROAM_ASSERT(rc == 0);
    (void)rc;
  } else {
    while (first->same != port) first = first->same;
    first->same = port->same;
  }
}

/* ---- the inbox ---- */

void roam_sim_touch(struct sim_machine *m) {
  if (roam_list_empty(&m->touched)) roam_list_push_back(&m->host->world->touched, &m->touched);
}

void roam_sim_touch_all(struct roam_world *w) {
  ROAM_LIST_EACH(&w->hosts, host) {
    struct roam_host *h = ROAM_CONTAINER(host, struct roam_host, node);
    ROAM_LIST_EACH(&h->machines, node) roam_sim_touch(ROAM_CONTAINER(node, struct sim_machine, node));
  }
}

void roam_sim_feed(struct sim_machine *m, const roam_wire *unit, roam_parcel *parcel, void *memory) {
  struct sim_unit entry = {*unit, parcel, memory};
  if (!m->gone && roam_ring_push(&m->inbox, &entry) == 0) {
    roam_sim_touch(m);
    return;
  }
  roam_parcel_free(parcel);
  free(memory);
}

static void feed_failed(struct sim_machine *m, uint32_t handle, int error) {
  roam_wire unit = {.kind = ROAM_WIRE_FAILED, .handle = handle, .error = error};
  roam_sim_feed(m, &unit, NULL, NULL);
}

/* Which of the sockets on one address: as the kernel would, by where it comes from. Those that bound last stand first. */
struct sim_port *roam_sim_port_choose(struct sim_port *first, const roam_addr *from, uint32_t x) {
  uint32_t count = 0;
  for (struct sim_port *p = first; p; p = p->same) count += roam_addr_equal(&p->local, &first->local);
  if (x >= count) x = (uint32_t)(roam_hash_bytes((struct roam_hash_key){0}, from, sizeof *from) % count);
  for (struct sim_port *p = first; p; p = p->same)
    if (roam_addr_equal(&p->local, &first->local) && --count == x) return p;
  return first;
}

/* The same for a datagram, for which the octet counts first. */
static struct sim_port *choose_sharer(struct sim_port *first, const roam_parcel *parcel) {
  size_t at = parcel->len > 0 && (parcel->data[0] & 0x80) ? ROAM_STEER_LONG : ROAM_STEER_SHORT;
  uint32_t x = first->steer ? (parcel->len > at ? parcel->data[at] : 0) % first->sharers : UINT32_MAX;
  return roam_sim_port_choose(first, &parcel->src, x);
}

void roam_sim_deliver(struct roam_world *w, struct sim_iface *to, roam_parcel *parcel) {
  struct sim_port *port = NULL;
  const char *why = "down";
  if (to->up && parcel->proto == 6) {
    roam_fifo_push(&w->segments, parcel); /* not at once: an answer must not reach who is still sending */
    return;
  }
  if (to->up) {
    port = roam_sim_port_find(to->host, UDP, &parcel->dst);
    if (port && port->sharers > 1) port = choose_sharer(port, parcel);
    why = !port ? "noport" : roam_ring_full(&port->machine->inbox) ? "full" : NULL;
  }
  if (why) {
    roam_sim_trace_parcel(w, "drop", why, parcel);
    roam_parcel_free(parcel);
    return;
  }
  roam_sim_trace_parcel(w, "recv", to->host->name, parcel);
  roam_wire unit = {.kind = ROAM_WIRE_DATAGRAM,
                    .handle = port->handle,
                    .ecn = parcel->ecn,
                    .local = parcel->dst,
                    .remote = parcel->src,
                    .data = parcel->data,
                    .len = parcel->len};
  roam_sim_feed(port->machine, &unit, parcel, NULL);
}

/* ---- what a machine asks of its edge ---- */

/* The local address a BIND asks for, with a port; returns 0 or an errno. */
static int choose_local(struct roam_host *h, const roam_wire *unit, roam_addr *local) {
  int error = 0;
  *local = unit->local;
  bool wildcard = local->family != 0 && roam_addr_is_any(local) && unit->remote.family == 0 && !unit->name;
  if (!wildcard) {
    struct sim_iface *iface = roam_sim_iface_choose(h, &unit->local, unit->name, unit->remote.family, &error);
    if (!iface) return error;
    *local = roam_addr_with_port(iface->address, unit->local.port);
  }
  if (local->port == 0) local->port = roam_sim_port_draw(h, UDP);
  return local->port == 0 || roam_sim_port_taken(h, UDP, local, unit) ? EADDRINUSE : 0;
}

static void bind_socket(struct sim_machine *m, const roam_wire *unit) {
  struct roam_host *h = m->host;
  roam_addr local;
  int error = choose_local(h, unit, &local);
  if (error == 0 && roam_map64_get(&m->handles, unit->handle)) error = EINVAL;
  struct sim_port *port = error == 0 ? calloc(1, sizeof *port) : NULL;
  if (port)
    *port = (struct sim_port){
        .kind = SIM_UDP, .handle = unit->handle, .local = local, .sharers = unit->parent, .steer = unit->up};
  if (!port || roam_sim_port_add(m, port) != 0) {
    free(port);
    roam_sim_trace_addr(h->world, "bindfail", h->name, &unit->local, NULL);
    feed_failed(m, unit->handle, error ? error : ENOBUFS);
    return;
  }
  roam_sim_trace_addr(h->world, "bind", h->name, &local, NULL);
  roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = unit->handle, .local = local, .up = unit->up};
  roam_sim_feed(m, &bound, NULL, NULL);
}

static void close_socket(struct sim_port *port) {
  struct roam_host *h = port->machine->host;
  roam_sim_trace_addr(h->world, "unbind", h->name, &port->local, NULL);
  roam_sim_port_remove(port);
  free(port);
}

static void fail_send(struct sim_machine *m, const roam_wire *unit, const roam_addr *local) {
  roam_wire fail = {
      .kind = ROAM_WIRE_SENDFAIL, .handle = unit->handle, .local = *local, .remote = unit->remote, .error = ENETUNREACH};
  roam_sim_feed(m, &fail, NULL, NULL);
}

/* The interface a socket's datagram leaves by, and its source address; NULL: none. Down ones too: they swallow or refuse.
 */
static struct sim_iface *source_of(const struct sim_port *port, const roam_wire *unit, roam_addr *src) {
  const roam_addr *asked = !roam_addr_is_any(&port->local) ? &port->local : &unit->local;
  struct sim_iface *iface = NULL;
  int error;
  if (!roam_addr_is_any(asked)) iface = roam_sim_iface(port->machine->host->world, asked);
  else iface = roam_sim_iface_choose(port->machine->host, &(roam_addr){0}, NULL, unit->remote.family, &error);
  if (!iface || iface->host != port->machine->host) return NULL;
  *src = roam_addr_with_port(iface->address, port->local.port);
  return iface;
}

static void send_datagrams(struct sim_machine *m, struct sim_port *port, const roam_wire *unit) {
  roam_addr src = port->local;
  struct sim_iface *iface = source_of(port, unit, &src);
  if (!iface || !iface->up || iface->address.family != unit->remote.family) {
    if (!iface || iface->told) fail_send(m, unit, &src);
    return;
  }
  size_t step = unit->segment > 0 ? unit->segment : unit->len, at = 0;
  do { /* a train is cut; an empty datagram is one, too */
    size_t len = unit->len - at < step ? unit->len - at : step;
    roam_parcel *parcel = roam_parcel_new(len > 0 ? unit->data + at : NULL, len);
    at += len;
    if (!parcel) {
      m->host->world->failed = ROAM_E_MEMORY;
      continue;
    }
    parcel->src = src;
    parcel->dst = unit->remote;
    parcel->proto = UDP;
    parcel->ecn = unit->ecn;
    roam_sim_send(m->host->world, iface, parcel);
  } while (at < unit->len);
}

static void answer_resolve(struct sim_machine *m, const roam_wire *unit) {
  roam_addr *addrs = calloc(RESOLVED_MAX, sizeof *addrs);
  roam_wire answer = {.kind = ROAM_WIRE_RESOLVED, .handle = unit->handle, .addrs = addrs};
  if (addrs && unit->name) {
    answer.addrs_len = roam_sim_resolve(m->host->world, unit->name, unit->local.port, addrs, RESOLVED_MAX);
  }
  roam_sim_trace_text(m->host->world, "resolve", m->host->name, unit->name ? unit->name : "");
  roam_sim_feed(m, &answer, NULL, addrs);
}

static void carry_out(struct sim_machine *m, const roam_wire *unit) {
  struct sim_port *port = roam_map64_get(&m->handles, unit->handle);
  switch (unit->kind) {
    case ROAM_WIRE_DATAGRAM:
      if (port && port->kind == SIM_UDP) send_datagrams(m, port, unit);
      break;
    case ROAM_WIRE_BIND: bind_socket(m, unit); break;
    case ROAM_WIRE_UNBIND:
      if (port && port->kind == SIM_UDP) close_socket(port);
      break;
    case ROAM_WIRE_RESOLVE: answer_resolve(m, unit); break;
    case ROAM_WIRE_STORE: roam_sim_disk_write(m, unit); break;
    case ROAM_WIRE_MAIL: roam_sim_mail_send(m, unit); break;
    case ROAM_WIRE_LISTEN: roam_sim_pipe_listen(m, unit); break;
    case ROAM_WIRE_OPEN: roam_sim_pipe_open(m, unit); break;
    case ROAM_WIRE_DATA:
    case ROAM_WIRE_CLOSE:
    case ROAM_WIRE_CREDIT:
      if (port && port->kind != SIM_UDP) roam_sim_pipe_unit(m, port, unit);
      break;
    default: break;
  }
}

/* ---- machines ---- */

static void feed_inbox(struct sim_machine *m, roam_time now) {
  struct sim_unit units[FEED_BATCH];
  roam_wire wires[FEED_BATCH];
  size_t n = 0;
  while (n < FEED_BATCH && roam_ring_pop(&m->inbox, &units[n])) {
    wires[n] = units[n].wire;
    n++;
  }
  if (n == 0) return;
  m->machine.ops->feed(m->machine.self, now, wires, n);
  for (size_t i = 0; i < n; i++) {
    roam_parcel_free(units[i].parcel);
    free(units[i].memory);
  }
}

static void drain(struct sim_machine *m, roam_time now) {
  roam_wire units[DRAIN_BATCH];
  for (size_t n; !m->gone && (n = m->machine.ops->drain(m->machine.self, now, units, DRAIN_BATCH)) > 0;) {
    for (size_t i = 0; i < n; i++) carry_out(m, &units[i]);
    m->host->world->steps++;
    if (m->host->world->steps > m->host->world->o.steps_max) return;
  }
}

/* True when there were events: then commands may have been given to any machine. */
static bool poll_events(struct sim_machine *m) {
  roam_event events[POLL_BATCH];
  bool any = false;
  if (!m->sink) return false;
  for (size_t n; !m->gone && (n = m->machine.ops->poll(m->machine.self, events, POLL_BATCH)) > 0;) {
    any = true;
    for (size_t i = 0; i < n; i++) roam_sim_trace_event(m->host->world, m->host->name, &events[i]);
    m->sink(m->context, events, n);
    if (++m->host->world->steps > m->host->world->o.steps_max) break;
  }
  return any;
}

void roam_sim_machine_turn(struct sim_machine *m) {
  struct roam_world *w = m->host->world;
  const roam_machine_ops *ops = m->machine.ops;
  feed_inbox(m, w->now);
  if (!m->gone && ops->deadline(m->machine.self) <= w->now) ops->tick(m->machine.self, w->now);
  drain(m, w->now);
  if (!m->gone && poll_events(m)) roam_sim_touch_all(w);
  if (m->gone) return;
  if (roam_ring_count(&m->inbox) > 0) roam_sim_touch(m);
  roam_sim_timer_set(w, &m->timer, ops->deadline(m->machine.self));
}

static void fire_machine(struct roam_world *w, struct sim_timer *timer) {
  (void)w;
  roam_sim_touch(ROAM_CONTAINER(timer, struct sim_machine, timer));
}

struct sim_machine *roam_sim_machine_find(struct roam_host *h, const roam_machine *machine) {
  ROAM_LIST_EACH(&h->machines, node) {
    struct sim_machine *m = ROAM_CONTAINER(node, struct sim_machine, node);
    if (m->machine.self == machine->self && m->machine.ops == machine->ops) return m;
  }
  return NULL;
}

roam_rc roam_host_run(roam_host *h, roam_machine machine, roam_world_sink sink, void *context) {
  if (!machine.ops) return ROAM_E_ARGUMENT;
  if (roam_sim_machine_find(h, &machine)) return ROAM_E_STATE;
  struct sim_machine *m = calloc(1, sizeof *m);
  if (!m) return ROAM_E_MEMORY;
  *m = (struct sim_machine){.machine = machine,
                            .sink = sink,
                            .context = context,
                            .host = h,
                            .timer = {.fire = fire_machine},
                            .edge_next = ROAM_HANDLE_EDGE + 1};
  roam_ring_init(&m->inbox, sizeof(struct sim_unit), SIM_INBOX_MAX);
  roam_map64_init(&m->handles, SIM_PORTS_MAX, NULL);
  roam_list_init(&m->ports);
  roam_list_init(&m->writes);
  roam_list_init(&m->letters);
  roam_list_init(&m->touched);
  roam_list_push_back(&h->machines, &m->node);
  roam_sim_trace_text(h->world, "run", h->name, "machine");
  for (size_t i = 0; i < h->ifaces_len; i++)
    if (h->ifaces[i].up || !h->ifaces[i].told) tell_address(m, &h->ifaces[i], true);
  roam_sim_touch(m);
  return 0;
}

static void take_down(struct sim_machine *m) {
  roam_sim_disk_abandon(m);
  roam_sim_mail_abandon(m);
  for (struct roam_list *node; (node = roam_list_first(&m->ports)) != NULL;) {
    struct sim_port *port = ROAM_CONTAINER(node, struct sim_port, node);
    if (port->kind == SIM_PIPE) {
      roam_sim_pipe_abandon(port);
    } else {
      roam_sim_port_remove(port);
      free(port);
    }
  }
  roam_heap_remove(&m->host->world->timers, &m->timer.node);
  roam_list_remove(&m->touched);
}

roam_rc roam_host_stop(roam_host *h, roam_machine machine) {
  struct sim_machine *m = roam_sim_machine_find(h, &machine);
  if (!m) return ROAM_E_NOT_FOUND;
  roam_sim_trace_text(h->world, "stop", h->name, "machine");
  take_down(m);
  m->gone = true;
  roam_list_remove(&m->node);
  roam_list_push_back(&h->world->graveyard, &m->node);
  return 0;
}

void roam_sim_machine_free(struct sim_machine *m) {
  take_down(m);
  struct sim_unit unit;
  while (roam_ring_pop(&m->inbox, &unit)) {
    if (unit.wire.kind == ROAM_WIRE_MAIL && m->drop) m->drop(unit.wire.data, unit.wire.len);
    roam_parcel_free(unit.parcel);
    free(unit.memory);
  }
  roam_ring_reset(&m->inbox);
  roam_map64_reset(&m->handles);
  free(m);
}
