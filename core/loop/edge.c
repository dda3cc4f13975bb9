/* edge.c - one machine's handles: which socket a unit goes to, and the inbox by which units come back. Refuses to know what
 * the bytes mean; what a unit of each kind does is in datagram.c and stream.c.
 *
 * The inbox serves one machine at a time and holds one batch. Outside a drain, adding to a full inbox feeds it first. In a
 * drain that must not happen, because drained units die with the next call on the machine; there it cannot, because the
 * inbox is empty before a batch is carried out and each unit gives at most one answer. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/trace.h"
#include "loop/driver.h"
#include "net/tcp.h"

/* ---- inbox ----------------------------------------------------------------------------------------------------------- */

void roam_inbox_flush(struct roam_loop *loop) {
  struct roam_inbox *in = &loop->inbox;
  if (in->n == 0) return;
  size_t n = in->n;
  in->n = 0;
  in->edge->machine.ops->feed(in->edge->machine.self, loop->now, in->units, n);
}

size_t roam_inbox_open(struct roam_loop *loop, struct roam_edge *edge) {
  struct roam_inbox *in = &loop->inbox;
  if (in->edge != edge || in->n == ROAM_UDP_BATCH_MAX) roam_inbox_flush(loop);
  in->edge = edge;
  return in->n;
}

roam_wire *roam_inbox_add(struct roam_loop *loop, struct roam_edge *edge, roam_wire_kind kind, uint32_t handle) {
  roam_wire *unit = &loop->inbox.units[roam_inbox_open(loop, edge)];
  loop->inbox.n++;
  *unit = (roam_wire){.kind = (uint8_t)kind, .handle = handle};
  return unit;
}

/* ---- ports ----------------------------------------------------------------------------------------------------------- */

bool roam_port_has_room(const struct roam_loop *loop) { return loop->sockets < loop->options.sockets_max; }

struct roam_port *roam_port_new(struct roam_loop *loop, struct roam_edge *edge, enum roam_port_kind kind, int fd,
                                uint32_t handle) {
  bool counted = kind != ROAM_PORT_FOREIGN;
  if (counted && !roam_port_has_room(loop)) return NULL;
  struct roam_port *port = calloc(1, sizeof *port);
  if (!port) return NULL;
  if (edge && roam_map64_put(&edge->table, handle, port) != 0) {
    free(port);
    return NULL;
  }
  port->edge = edge;
  port->kind = kind;
  port->fd = fd;
  port->handle = handle;
  roam_list_push_back(edge ? &edge->ports : &loop->foreigns, &port->node);
  if (counted) loop->sockets++;
  return port;
}

void roam_port_watch(struct roam_loop *loop, struct roam_port *port, uint32_t events) {
  if (roam_poller_watch(&loop->poller, port->fd, port, port->watched, events) == 0) port->watched = events;
  else roam_trace(&loop->options.log, loop->now, EPOLL_REFUSED, .fd = (uint64_t)port->fd, .error = (uint64_t)errno);
}

void roam_port_release(struct roam_port *port) {
  if (port->edge && roam_map64_get(&port->edge->table, port->handle) == port)
    roam_map64_remove(&port->edge->table, port->handle);
}

void roam_port_bury(struct roam_loop *loop, struct roam_port *port, bool reset) {
  if (port->fd < 0) return;
  roam_port_release(port);
  roam_port_watch(loop, port, 0);
  if (port->kind == ROAM_PORT_STREAM) roam_buf_reset(&port->u.stream.out);
  if (port->kind != ROAM_PORT_FOREIGN) {
    loop->sockets--;
    if (reset) roam_tcp_reset(port->fd);
    else close(port->fd);
    if (port->path) unlink(port->path);
    free(port->path);
    port->path = NULL;
  }
  port->fd = -1;
  port->edge = NULL;
  roam_heap_remove(&loop->timers, &port->timer);
  roam_list_remove(&port->node);
  roam_list_push_back(&loop->grave, &port->node);
}

void roam_grave_empty(struct roam_loop *loop) {
  for (struct roam_list *node = roam_list_pop_front(&loop->grave); node; node = roam_list_pop_front(&loop->grave))
    free(ROAM_CONTAINER(node, struct roam_port, node));
}

/* ---- the edge -------------------------------------------------------------------------------------------------------- */

static void wake(void *context) { roam_loop_wake(context); }

struct roam_edge *roam_edge_new(struct roam_loop *loop, roam_machine machine) {
  struct roam_edge *edge = calloc(1, sizeof *edge);
  if (!edge) return NULL;
  if (machine.store) {
    edge->writer = roam_writer_new(machine.store);
    if (!edge->writer) {
      free(edge);
      return NULL;
    }
    roam_writer_sit(edge->writer, 0, wake, loop);
  }
  edge->loop = loop;
  edge->machine = machine;
  edge->serial = ++loop->serial;
  roam_map64_init(&edge->table, loop->options.sockets_max, roam_random_system());
  roam_list_init(&edge->ports);
  return edge;
}

static void drop_writer(struct roam_edge *edge) {
  if (!edge->writer) return;
  if (edge->post) roam_post_give_back(edge->post, edge->seat, edge->writer);
  else roam_writer_free(edge->writer);
  edge->writer = NULL;
}

roam_rc roam_edge_seat(struct roam_edge *edge, roam_post *post, uint32_t seat) {
  drop_writer(edge);
  edge->post = post;
  edge->seat = seat;
  if (edge->machine.store) {
    edge->writer = roam_post_writer(post, seat, edge->machine.store, wake, edge->loop);
    if (!edge->writer) return ROAM_E_MEMORY;
  }
  roam_post_sit(post, seat, edge->loop);
  return 0;
}

void roam_edge_free(struct roam_edge *edge) {
  struct roam_loop *loop = edge->loop;
  ROAM_LIST_EACH(&edge->ports, node) {
    struct roam_port *port = ROAM_CONTAINER(node, struct roam_port, node);
    if (port->kind == ROAM_PORT_UDP) roam_datagram_close(loop, port);
    else if (port->kind == ROAM_PORT_STREAM && port->u.stream.state != ROAM_STREAM_HUNG)
      roam_stream_close(loop, port, ROAM_CLOSE_FLUSH);
    if (port->fd < 0) continue;
    if (port->kind != ROAM_PORT_STREAM || port->u.stream.state != ROAM_STREAM_CLOSING) {
      roam_port_bury(loop, port, false);
      continue;
    }
    port->edge = NULL;
    roam_list_remove(node);
    roam_list_push_back(&loop->orphans, node);
  }
  if (loop->inbox.edge == edge) {
    loop->inbox.edge = NULL;
    loop->inbox.n = 0;
  }
  drop_writer(edge);
  if (edge->post) roam_post_sit(edge->post, edge->seat, NULL);
  roam_map64_reset(&edge->table);
  roam_list_remove(&edge->node);
  free(edge);
}

static void resolve(struct roam_edge *edge, const roam_wire *unit) {
  struct roam_loop *loop = edge->loop;
  if (!loop->resolver) loop->resolver = roam_resolver_new(wake, loop);
  if (loop->resolver && unit->name &&
      roam_resolver_ask(loop->resolver, edge->serial, unit->handle, unit->name, unit->local.port) == 0)
    return;
  roam_trace(&loop->options.log, loop->now, NOT_LOOKED_UP, .host = unit->name);
  roam_inbox_add(loop, edge, ROAM_WIRE_RESOLVED, unit->handle);
}

static void store(struct roam_edge *edge, const roam_wire *unit) {
  roam_rc rc = ROAM_E_UNSUPPORTED;
  if (edge->writer)
    rc = roam_writer_put(edge->writer, edge->seat, unit->handle, unit->credit, (roam_bytes){unit->data, unit->len});
  if (rc == 0) return;
  roam_wire *failed = roam_inbox_add(edge->loop, edge, ROAM_WIRE_STORED, 0);
  failed->credit = unit->credit;
  failed->error = rc;
}

/* Whether a new socket may have this handle; the machine is told when not. */
static bool admit(struct roam_edge *edge, const roam_wire *unit) {
  int error = 0;
  if ((unit->handle & ROAM_HANDLE_EDGE) != 0) error = EINVAL;
  else if (roam_map64_get(&edge->table, unit->handle)) error = EEXIST;
  else if (!roam_port_has_room(edge->loop)) error = EMFILE;
  if (error != 0) roam_inbox_add(edge->loop, edge, ROAM_WIRE_FAILED, unit->handle)->error = error;
  return error == 0;
}

static void carry_for_port(struct roam_edge *edge, struct roam_port *port, const roam_wire units[], size_t n) {
  struct roam_loop *loop = edge->loop;
  bool stream = port->kind == ROAM_PORT_STREAM;
  switch (units->kind) {
    case ROAM_WIRE_DATAGRAM:
      if (port->kind == ROAM_PORT_UDP) roam_datagram_send(loop, port, units, n);
      break;
    case ROAM_WIRE_UNBIND:
      if (port->kind == ROAM_PORT_UDP) roam_datagram_close(loop, port);
      break;
    case ROAM_WIRE_DATA:
      if (stream) roam_stream_send(loop, port, units, n);
      break;
    case ROAM_WIRE_CREDIT:
      if (stream) roam_stream_credit(loop, port, units->credit);
      break;
    case ROAM_WIRE_CLOSE:
      if (stream) roam_stream_close(loop, port, units->how);
      else if (port->kind == ROAM_PORT_LISTENER) roam_port_bury(loop, port, false);
      break;
    default: break;
  }
}

static void carry(struct roam_edge *edge, const roam_wire units[], size_t n) {
  switch (units->kind) {
    case ROAM_WIRE_BIND:
      if (admit(edge, units)) roam_datagram_bind(edge, units);
      return;
    case ROAM_WIRE_LISTEN:
      if (admit(edge, units)) roam_stream_listen(edge, units);
      return;
    case ROAM_WIRE_OPEN:
      if (admit(edge, units)) roam_stream_open(edge, units);
      return;
    case ROAM_WIRE_RESOLVE: resolve(edge, units); return;
    case ROAM_WIRE_STORE: store(edge, units); return;
    case ROAM_WIRE_MAIL:
      if (edge->post) roam_post_put(edge->post, edge->seat, units);
      return;
    default: break;
  }
  struct roam_port *port = roam_map64_get(&edge->table, units->handle);
  if (port) carry_for_port(edge, port, units, n); /* none: it ended while the machine did not know yet */
}

/* How many units from the first on are bytes or datagrams for one handle, to be sent together. */
static size_t run_length(const roam_wire units[], size_t n) {
  size_t run = 1;
  if (units->kind != ROAM_WIRE_DATAGRAM && units->kind != ROAM_WIRE_DATA) return 1;
  while (run < n && units[run].kind == units->kind && units[run].handle == units->handle) run++;
  return run;
}

void roam_edge_carry(struct roam_edge *edge, const roam_wire units[], size_t n) {
  ROAM_ASSERT(edge->loop->inbox.n == 0 && n <= ROAM_UDP_BATCH_MAX);
  for (size_t i = 0, run; i < n; i += run) {
    run = run_length(units + i, n - i);
    carry(edge, units + i, run);
  }
}
