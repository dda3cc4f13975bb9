/* datagram.c - a machine's UDP sockets. Refuses to drop what a full socket has not taken, and to hold more than one drain
 * of it: while a socket holds something back its machine is not drained. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop/driver.h"

/* Copies of units that a socket did not take, with their bytes behind them in one block. */
struct held {
  struct roam_list node;
  struct roam_udp_cursor at;
  size_t n;
  roam_wire units[];
};

void roam_datagram_bind(struct roam_edge *edge, const roam_wire *unit) {
  struct roam_loop *loop = edge->loop;
  struct roam_udp_options options = {
      .buffer_bytes = loop->options.socket_buffer_bytes, .gso = loop->stats.gso, .gro = loop->options.gro};
  options.sharing = (struct roam_sharing){.sockets = unit->parent, .first = unit->how != 0, .steer = unit->up};
  struct roam_udp socket;
  int given, error = unit->name && roam_fd_given(unit->name, &given)
                         ? roam_udp_adopt(&socket, given, &options)
                         : roam_udp_open(&socket, &unit->local, &unit->remote, unit->name, &options);
  struct roam_port *port = NULL;
  if (error == 0) {
    port = roam_port_new(loop, edge, ROAM_PORT_UDP, socket.fd, unit->handle);
    if (!port) {
      roam_udp_close(&socket);
      error = ENOMEM;
    }
  }
  if (!port) {
    roam_wire *failed = roam_inbox_add(loop, edge, ROAM_WIRE_FAILED, unit->handle);
    failed->error = error;
    failed->local = unit->local;
    return;
  }
  port->u.udp.socket = socket;
  roam_list_init(&port->u.udp.held);
  roam_port_watch(loop, port, EPOLLIN);
  loop->stats.gro = loop->options.gro && socket.gro;
  if (!socket.gso) loop->stats.gso = false;
  roam_wire *bound = roam_inbox_add(loop, edge, ROAM_WIRE_BOUND, unit->handle);
  bound->local = socket.local;
  bound->up = socket.steers;
}

/* ---- sending --------------------------------------------------------------------------------------------------------- */

static struct held *copy_rest(const roam_wire units[], size_t n, struct roam_udp_cursor at) {
  size_t count = n - at.unit, bytes = 0;
  for (size_t i = at.unit; i < n; i++) bytes += units[i].len;
  struct held *h = malloc(sizeof *h + count * sizeof h->units[0] + bytes);
  if (!h) return NULL;
  h->at = (struct roam_udp_cursor){.offset = at.offset, .cut = at.cut};
  h->n = count;
  uint8_t *to = (uint8_t *)&h->units[count];
  for (size_t i = 0; i < count; i++) {
    h->units[i] = units[at.unit + i];
    if (h->units[i].len > 0) memcpy(to, h->units[i].data, h->units[i].len);
    h->units[i].data = to;
    to += h->units[i].len;
  }
  return h;
}

static void hold(struct roam_loop *loop, struct roam_port *port, const roam_wire units[], size_t n,
                 struct roam_udp_cursor at) {
  struct held *h = copy_rest(units, n, at);
  if (!h) return; /* without memory this is one more lossy network */
  if (roam_list_empty(&port->u.udp.held)) {
    port->edge->blocked++;
    roam_port_watch(loop, port, EPOLLIN | EPOLLOUT);
  }
  roam_list_push_back(&port->u.udp.held, &h->node);
}

static void report(struct roam_loop *loop, struct roam_port *port, const roam_addr *local, const roam_addr *remote,
                   int error) {
  roam_wire *unit = roam_inbox_add(loop, port->edge, ROAM_WIRE_SENDFAIL, port->handle);
  unit->local = *local;
  if (roam_addr_is_any(local)) unit->local = port->u.udp.socket.local;
  unit->remote = port->u.udp.socket.remote.family != 0 ? port->u.udp.socket.remote : *remote;
  unit->error = error;
}

/* 0 when all units are gone, EAGAIN when the socket is full. */
static int send_units(struct roam_loop *loop, struct roam_port *port, const roam_wire units[], size_t n,
                      struct roam_udp_cursor *at) {
  for (;;) {
    int error = roam_udp_send(&port->u.udp.socket, loop->io, units, n, at, &loop->sent);
    if (!port->u.udp.socket.gso) loop->stats.gso = false;
    if (error == 0 || error == EAGAIN) return error;
    const roam_wire *lost = &units[at->unit - 1];
    report(loop, port, &lost->local, &lost->remote, error);
  }
}

void roam_datagram_send(struct roam_loop *loop, struct roam_port *port, const roam_wire units[], size_t n) {
  struct roam_udp_cursor at = {0};
  if (!roam_list_empty(&port->u.udp.held) || send_units(loop, port, units, n, &at) == EAGAIN)
    hold(loop, port, units, n, at);
}

static void send_held(struct roam_loop *loop, struct roam_port *port) {
  struct roam_list *list = &port->u.udp.held, *node;
  while ((node = roam_list_first(list)) != NULL) {
    struct held *h = ROAM_CONTAINER(node, struct held, node);
    if (send_units(loop, port, h->units, h->n, &h->at) == EAGAIN) return;
    roam_list_remove(node);
    free(h);
  }
  port->edge->blocked--;
  roam_port_watch(loop, port, EPOLLIN);
}

void roam_datagram_close(struct roam_loop *loop, struct roam_port *port) {
  struct roam_list *list = &port->u.udp.held, *node;
  if (!roam_list_empty(list)) port->edge->blocked--;
  bool full = false;
  while ((node = roam_list_pop_front(list)) != NULL) {
    struct held *h = ROAM_CONTAINER(node, struct held, node);
    for (int error = EINTR; !full && error != 0; full = error == EAGAIN)
      error = roam_udp_send(&port->u.udp.socket, loop->io, h->units, h->n, &h->at, &loop->sent);
    free(h);
  }
  roam_port_bury(loop, port, false);
}

/* ---- receiving ------------------------------------------------------------------------------------------------------- */

static void count_received(struct roam_loop *loop, const roam_wire *unit) {
  loop->stats.datagrams_in += unit->segment == 0 ? 1 : (unit->len + unit->segment - 1) / unit->segment;
  loop->stats.bytes_in += unit->len;
}

static void receive(struct roam_loop *loop, struct roam_port *port) {
  size_t slot = roam_inbox_open(loop, port->edge);
  roam_wire *units = &loop->inbox.units[slot];
  int got = roam_udp_recv(&port->u.udp.socket, loop->io, slot, units, ROAM_UDP_BATCH_MAX - slot);
  loop->stats.recv_calls++;
  if (got < 0) {
    report(loop, port, &port->u.udp.socket.local, &port->u.udp.socket.remote, -got);
    return;
  }
  for (int i = 0; i < got; i++) {
    units[i].handle = port->handle;
    count_received(loop, &units[i]);
  }
  loop->inbox.n += (size_t)got;
}

void roam_datagram_ready(struct roam_loop *loop, struct roam_port *port, uint32_t events) {
  if ((events & EPOLLOUT) != 0 && !roam_list_empty(&port->u.udp.held)) send_held(loop, port);
  if ((events & (EPOLLIN | EPOLLERR)) != 0) receive(loop, port);
}
