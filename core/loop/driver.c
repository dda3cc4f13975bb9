/* driver.c - the loop: waits, feeds machines what arrived, ticks those whose time has come, and drains and polls all of
 * them until nothing moves. Refuses to know what a machine is for.
 *
 * Theory of operation. A turn has three parts. settle: tick who is due, drain every machine until it gives nothing (or a
 * socket of it is full), hand its events to its sink, and repeat, since a sink may give commands to other machines; at most
 * ROUNDS times, after which the loop is restless and the next wait does not wait. wait: arm the timer for the earliest
 * deadline and sleep in epoll; this part touches the poller only, so that a thread can do it without its lock. handle: turn
 * events into wire units in the inbox, feed them in batches, call foreign descriptors that are due.
 *
 * roam_loop_step is settle, wait, handle, settle. Commands given between two steps therefore go out before the wait.
 *
 * Events collected by a wait point to ports, which anybody may close before handle comes to them. A closed port is buried:
 * its descriptor is gone at once, its memory only when the events have been handled. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "base/trace.h"
#include "loop/driver.h"

#define SUSPENDED_MIN_NS ROAM_S

enum {
  ROUNDS = 8,           /* of settling before others get the processor */
  DRAINS_PER_ROUND = 8, /* batches of one machine before the next machine's turn */
  POLLS_PER_ROUND = 4
};

/* ---- time ------------------------------------------------------------------------------------------------------------ */

static uint64_t read_clock(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * ROAM_S + (uint64_t)t.tv_nsec;
}

static void refresh(struct roam_loop *loop) {
  roam_time now = read_clock(CLOCK_BOOTTIME);
  if (now > loop->now) loop->now = now;
}

roam_time roam_loop_now(const roam_loop *loop) {
  (void)loop;
  return read_clock(CLOCK_BOOTTIME);
}

/* Boot time runs on while the machine is suspended, monotonic time does not. */
static uint64_t read_suspended(void) {
  uint64_t monotonic = read_clock(CLOCK_MONOTONIC), boot = read_clock(CLOCK_BOOTTIME);
  return boot > monotonic ? boot - monotonic : 0;
}

static void notice_suspension(struct roam_loop *loop) {
  uint64_t before = loop->suspended, now = read_suspended();
  if (now < before + SUSPENDED_MIN_NS) {
    if (now < before) loop->suspended = now;
    return;
  }
  now = read_suspended(); /* a thread stopped between two clocks looks the same, but not twice */
  if (now < before + SUSPENDED_MIN_NS) return;
  loop->suspended = now;
  ROAM_LIST_EACH(&loop->edges, node)
  roam_inbox_add(loop, ROAM_CONTAINER(node, struct roam_edge, node), ROAM_WIRE_WAKE, 0)->credit = now - before;
  roam_inbox_flush(loop);
}

/* ---- making and ending ----------------------------------------------------------------------------------------------- */

void roam_loop_options_init(roam_loop_options *o) {
  *o = (roam_loop_options){.size = sizeof *o,
                           .machines_max = 64,
                           .sockets_max = 65536,
                           .datagram_batch = ROAM_UDP_BATCH_MAX,
                           .socket_buffer_bytes = 4194304,
                           .gso = true,
                           .gro = true,
                           .watch_networks = true,
                           .unix_mode = 0660};
}

static bool read_options(roam_loop_options *out, const roam_loop_options *given) {
  roam_loop_options_init(out);
  if (given) memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
  return out->machines_max > 0 && out->sockets_max > 0 && out->datagram_batch > 0 &&
         out->datagram_batch <= ROAM_UDP_BATCH_MAX && out->socket_buffer_bytes > 0;
}

static void init_lists(struct roam_loop *loop) {
  struct roam_list *lists[] = {&loop->edges, &loop->orphans, &loop->foreigns, &loop->grave};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) roam_list_init(lists[i]);
}

roam_loop *roam_loop_new(const roam_loop_options *o) {
  struct roam_loop *loop = calloc(1, sizeof *loop);
  if (!loop) {
    errno = ENOMEM;
    return NULL;
  }
  if (!read_options(&loop->options, o)) {
    free(loop);
    errno = EINVAL;
    return NULL;
  }
  loop->io = roam_udp_io_new(loop->options.datagram_batch);
  int error = loop->io ? roam_poller_open(&loop->poller) : ENOMEM;
  if (error != 0) {
    roam_udp_io_free(loop->io);
    free(loop);
    errno = error;
    return NULL;
  }
  init_lists(loop);
  roam_heap_init(&loop->timers, UINT32_MAX / 4);
  loop->stats.gso = loop->options.gso;
  loop->stats.gro = loop->options.gro;
  loop->suspended = read_suspended();
  refresh(loop);
  if (loop->options.watch_networks) roam_networks_open(loop);
  return loop;
}

static void bury_all(struct roam_loop *loop, struct roam_list *ports) {
  ROAM_LIST_EACH(ports, node) roam_port_bury(loop, ROAM_CONTAINER(node, struct roam_port, node), false);
}

void roam_loop_free(roam_loop *loop) {
  if (!loop) return;
  roam_resolver_free(loop->resolver);
  roam_networks_close(loop);
  ROAM_LIST_EACH(&loop->edges, node) roam_edge_free(ROAM_CONTAINER(node, struct roam_edge, node));
  bury_all(loop, &loop->orphans);
  bury_all(loop, &loop->foreigns);
  roam_grave_empty(loop);
  roam_heap_reset(&loop->timers);
  roam_poller_close(&loop->poller);
  roam_udp_io_free(loop->io);
  free(loop);
}

/* ---- machines -------------------------------------------------------------------------------------------------------- */

static struct roam_edge *find_edge(const struct roam_loop *loop, const void *self) {
  ROAM_LIST_EACH(&loop->edges, node) {
    struct roam_edge *edge = ROAM_CONTAINER(node, struct roam_edge, node);
    if (edge->machine.self == self) return edge;
  }
  return NULL;
}

roam_rc roam_loop_add_gated(struct roam_loop *loop, roam_machine machine, roam_loop_sink sink, size_t (*room)(void *),
                            void *context) {
  if (!machine.ops || (machine.random && machine.random->simulated)) return ROAM_E_ARGUMENT;
  if (find_edge(loop, machine.self)) return ROAM_E_STATE;
  if (loop->edges_count >= loop->options.machines_max) return ROAM_E_LIMIT;
  struct roam_edge *edge = roam_edge_new(loop, machine);
  if (!edge) return ROAM_E_MEMORY;
  edge->sink = sink;
  edge->room = room;
  edge->context = context;
  roam_list_push_back(&loop->edges, &edge->node);
  loop->edges_count++;
  return 0;
}

roam_rc roam_loop_add(roam_loop *loop, roam_machine machine, roam_loop_sink sink, void *context) {
  return roam_loop_add_gated(loop, machine, sink, NULL, context);
}

roam_rc roam_loop_seat(roam_loop *loop, roam_machine machine, roam_post *post, uint32_t seat) {
  struct roam_edge *edge = find_edge(loop, machine.self);
  if (!edge) return ROAM_E_NOT_FOUND;
  if (!post || seat >= roam_post_seats(post)) return ROAM_E_ARGUMENT;
  return edge->post ? ROAM_E_STATE : roam_edge_seat(edge, post, seat);
}

void *roam_loop_context(struct roam_loop *loop, roam_machine machine) {
  struct roam_edge *edge = find_edge(loop, machine.self);
  return edge ? edge->context : NULL;
}

/* ---- settle ---------------------------------------------------------------------------------------------------------- */

static bool drain_edge(struct roam_edge *edge) {
  struct roam_loop *loop = edge->loop;
  roam_inbox_flush(loop);
  bool moved = false;
  for (int i = 0; i < DRAINS_PER_ROUND && edge->blocked == 0; i++) {
    size_t n = edge->machine.ops->drain(edge->machine.self, loop->now, loop->out, loop->options.datagram_batch);
    if (n == 0) break;
    moved = true;
    roam_edge_carry(edge, loop->out, n);
    roam_inbox_flush(loop);
  }
  return moved;
}

static bool poll_edge(struct roam_edge *edge) {
  struct roam_loop *loop = edge->loop;
  bool moved = false;
  if (!edge->sink) return false;
  for (int i = 0; i < POLLS_PER_ROUND; i++) {
    size_t max = edge->room ? edge->room(edge->context) : ROAM_POLL_MAX;
    if (max == 0) break;
    if (max > ROAM_POLL_MAX) max = ROAM_POLL_MAX;
    size_t n = edge->machine.ops->poll(edge->machine.self, loop->events, max);
    if (n == 0) break;
    moved = true;
    edge->sink(edge->context, loop->events, n);
    if (n < max) break;
  }
  return moved;
}

/* A machine that is not drained may be due for ever, so once it has been ticked its past deadline does not count. */
static roam_time edge_deadline(const struct roam_edge *edge) {
  roam_time at = edge->machine.ops->deadline(edge->machine.self);
  return edge->blocked > 0 && at <= edge->loop->now ? ROAM_NEVER : at;
}

static bool visit(struct roam_edge *edge) {
  struct roam_loop *loop = edge->loop;
  refresh(loop);
  roam_networks_greet(edge);
  if (edge->machine.ops->deadline(edge->machine.self) <= loop->now) edge->machine.ops->tick(edge->machine.self, loop->now);
  bool moved = drain_edge(edge);
  return poll_edge(edge) || moved;
}

bool roam_loop_settle(struct roam_loop *loop) {
  bool any = false, moved = true;
  for (int i = 0; i < ROUNDS && moved; i++) {
    moved = false;
    ROAM_LIST_EACH(&loop->edges, node) moved |= visit(ROAM_CONTAINER(node, struct roam_edge, node));
    any |= moved;
  }
  loop->restless = moved;
  return any;
}

roam_rc roam_loop_remove(roam_loop *loop, roam_machine machine) {
  struct roam_edge *edge = find_edge(loop, machine.self);
  if (!edge) return ROAM_E_NOT_FOUND;
  refresh(loop);
  drain_edge(edge);
  loop->edges_count--;
  roam_edge_free(edge);
  return 0;
}

/* ---- foreign descriptors --------------------------------------------------------------------------------------------- */

static struct roam_port *find_foreign(const struct roam_loop *loop, int fd) {
  ROAM_LIST_EACH(&loop->foreigns, node) {
    struct roam_port *port = ROAM_CONTAINER(node, struct roam_port, node);
    if (port->fd == fd) return port;
  }
  return NULL;
}

roam_rc roam_loop_add_fd(roam_loop *loop, int fd, roam_loop_foreign fn, void *context) {
  if (fd < 0 || !fn) return ROAM_E_ARGUMENT;
  if (find_foreign(loop, fd)) return ROAM_E_STATE;
  struct roam_port *port = roam_port_new(loop, NULL, ROAM_PORT_FOREIGN, fd, 0);
  if (!port) return ROAM_E_MEMORY;
  port->u.foreign = (struct roam_foreign){fn, context};
  refresh(loop);
  if (roam_heap_set(&loop->timers, &port->timer, loop->now) != 0) {
    roam_port_bury(loop, port, false);
    return ROAM_E_MEMORY;
  }
  roam_port_watch(loop, port, EPOLLIN);
  if (port->watched != 0) return 0;
  roam_port_bury(loop, port, false);
  return ROAM_E_IO;
}

roam_rc roam_loop_remove_fd(roam_loop *loop, int fd) {
  struct roam_port *port = find_foreign(loop, fd);
  if (!port) return ROAM_E_NOT_FOUND;
  roam_port_bury(loop, port, false);
  return 0;
}

/* Foreign code may give commands and remove machines, so nothing may be left in the inbox. */
static void call_foreign(struct roam_loop *loop, struct roam_port *port) {
  roam_inbox_flush(loop);
  roam_time at = port->u.foreign.fn(port->u.foreign.context, loop->now);
  if (port->fd >= 0) (void)roam_heap_set(&loop->timers, &port->timer, at); /* its place exists or it will be readable */
}

/* ---- wait and handle ------------------------------------------------------------------------------------------------- */

static roam_time loop_deadline(const struct roam_loop *loop) {
  roam_time at = roam_heap_deadline(&loop->timers);
  ROAM_LIST_EACH(&loop->edges, node) {
    roam_time edge = edge_deadline(ROAM_CONTAINER(node, struct roam_edge, node));
    if (edge < at) at = edge;
  }
  return at;
}

uint64_t roam_loop_prepare(struct roam_loop *loop, uint64_t max_wait_ns) {
  roam_time at = loop_deadline(loop);
  roam_poller_arm(&loop->poller, at);
  refresh(loop);
  return loop->restless || at <= loop->now ? 0 : max_wait_ns;
}

int roam_loop_wait(struct roam_loop *loop, uint64_t wait_ns) {
  loop->ready = roam_poller_wait(&loop->poller, wait_ns);
  if (loop->ready >= 0) return 0;
  loop->ready = 0;
  return ROAM_E_IO;
}

static void handle_event(struct roam_loop *loop, struct roam_port *port, uint32_t events) {
  switch (port->kind) {
    case ROAM_PORT_UDP: roam_datagram_ready(loop, port, events); break;
    case ROAM_PORT_LISTENER: roam_listener_ready(loop, port); break;
    case ROAM_PORT_STREAM: roam_stream_ready(loop, port, events); break;
    case ROAM_PORT_FOREIGN: call_foreign(loop, port); break;
  }
}

static bool handle_timers(struct roam_loop *loop) {
  bool any = false;
  for (uint32_t i = loop->timers.count; i > 0 && roam_heap_deadline(&loop->timers) <= loop->now; i--) {
    struct roam_port *port = ROAM_CONTAINER(roam_heap_first(&loop->timers), struct roam_port, timer);
    roam_heap_remove(&loop->timers, &port->timer);
    if (port->kind == ROAM_PORT_FOREIGN) call_foreign(loop, port);
    else roam_stream_due(loop, port);
    any = true;
  }
  return any;
}

static bool handle_answers(struct roam_loop *loop) {
  if (!loop->resolver) return false;
  bool any = false;
  for (struct roam_answer *a; (a = roam_resolver_take(loop->resolver)) != NULL; free(a)) {
    any = true;
    ROAM_LIST_EACH(&loop->edges, node) {
      struct roam_edge *edge = ROAM_CONTAINER(node, struct roam_edge, node);
      if (edge->serial != a->asker) continue;
      roam_wire *unit = roam_inbox_add(loop, edge, ROAM_WIRE_RESOLVED, a->handle);
      unit->name = a->name;
      unit->addrs = a->addrs;
      unit->addrs_len = a->n;
      roam_inbox_flush(loop);
    }
  }
  return any;
}

static bool handle_written(struct roam_loop *loop) {
  struct roam_written written;
  bool any = false;
  ROAM_LIST_EACH(&loop->edges, node) {
    struct roam_edge *edge = ROAM_CONTAINER(node, struct roam_edge, node);
    while (edge->writer && roam_writer_take(edge->writer, edge->seat, &written)) {
      roam_wire *unit = roam_inbox_add(loop, edge, ROAM_WIRE_STORED, 0);
      unit->credit = written.epoch;
      unit->error = written.rc;
      unit->name = written.rc != 0 ? written.why : NULL;
      roam_inbox_flush(loop);
      any = true;
    }
  }
  return any;
}

static bool handle_mail(struct roam_loop *loop) {
  bool any = false;
  ROAM_LIST_EACH(&loop->edges, node) {
    struct roam_edge *edge = ROAM_CONTAINER(node, struct roam_edge, node);
    roam_wire unit;
    if (!edge->post) continue;
    roam_post_fetch(edge->post, edge->seat);
    while (roam_post_next(edge->post, edge->seat, &unit)) {
      *roam_inbox_add(loop, edge, ROAM_WIRE_MAIL, unit.handle) = unit;
      any = true;
    }
    roam_inbox_flush(loop);
  }
  return any;
}

bool roam_loop_handle(struct roam_loop *loop) {
  bool any = false;
  refresh(loop);
  loop->stats.turns++;
  notice_suspension(loop);
  for (int i = 0; i < loop->ready; i++) {
    struct roam_port *port = loop->poller.ready[i].data.ptr;
    if (!port || port->fd < 0) continue;
    handle_event(loop, port, loop->poller.ready[i].events);
    any = true;
  }
  loop->ready = 0;
  roam_inbox_flush(loop);
  any |= handle_answers(loop);
  any |= handle_written(loop);
  any |= handle_mail(loop);
  any |= handle_timers(loop);
  roam_grave_empty(loop);
  return any;
}

int roam_loop_step(roam_loop *loop, uint64_t max_wait_ns) {
  bool any = roam_loop_settle(loop);
  int rc = roam_loop_wait(loop, roam_loop_prepare(loop, any ? 0 : max_wait_ns));
  if (rc != 0) return rc;
  any |= roam_loop_handle(loop);
  any |= roam_loop_settle(loop);
  (void)roam_loop_prepare(loop, 0); /* a host may now sleep on the descriptor alone */
  if (loop->restless) roam_loop_wake(loop);
  return any;
}

/* ---- for hosts ------------------------------------------------------------------------------------------------------- */

int roam_loop_fd(const roam_loop *loop) { return loop->poller.epfd; }

uint64_t roam_loop_timeout(const roam_loop *loop) {
  roam_time at = loop_deadline(loop), now = roam_loop_now(loop);
  if (loop->restless || at <= now) return 0;
  return at == ROAM_NEVER ? ROAM_NEVER : at - now;
}

void roam_loop_wake(roam_loop *loop) { roam_poller_ring(&loop->poller); }

roam_loop_stats roam_loop_get_stats(const roam_loop *loop) {
  roam_loop_stats stats = loop->stats;
  stats.send_calls += loop->sent.calls;
  stats.datagrams_out = loop->sent.datagrams;
  stats.bytes_out += loop->sent.bytes;
  return stats;
}
