/* stream.c - a machine's TCP connections and listeners. Refuses to hold more than ROAM_CREDIT_START bytes for a peer that
 * does not read, and to read more than the machine has said it will take.
 *
 * A connection without credit to read is watched for its end only. When the end comes with bytes still unread before it,
 * the connection leaves the poll set until there is credit again: epoll would go on reporting the end, and spin.
 *
 * Closing with a flush frees the machine's handle at once. The connection lives on without it until its bytes are out and
 * the peer has closed too, or until LINGER_NS passed without a byte going out. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "loop/driver.h"
#include "net/sockaddr.h"
#include "net/tcp.h"

#define LINGER_NS (5 * ROAM_S)
#define PAUSE_NS (500 * ROAM_MS)

enum {
  ACCEPTS_PER_TURN = 16,
  PIECES_MAX = 64,
  CREDIT_STEP = ROAM_CREDIT_START / 4 /* credit is given back in no smaller portions: each is a unit to feed */
};

static void watch_stream(struct roam_loop *loop, struct roam_port *port) {
  const struct roam_stream *s = &port->u.stream;
  uint32_t wanted = roam_buf_len(&s->out) > 0 ? EPOLLOUT : 0;
  if (s->state == ROAM_STREAM_OPENING) wanted = EPOLLOUT;
  else if (s->state == ROAM_STREAM_HUNG) wanted = 0;
  else if (s->state == ROAM_STREAM_CLOSING || s->in_credit > 0) wanted |= EPOLLIN;
  else if (!s->deaf) wanted |= EPOLLRDHUP;
  roam_port_watch(loop, port, wanted);
}

static void init_stream(struct roam_port *port, enum roam_stream_state state) {
  struct roam_stream *s = &port->u.stream;
  s->state = state;
  s->in_credit = s->out_credit = ROAM_CREDIT_START;
  roam_buf_init(&s->out, ROAM_CREDIT_START);
}

/* ---- closing --------------------------------------------------------------------------------------------------------- */

static void linger(struct roam_loop *loop, struct roam_port *port) {
  if (roam_heap_set(&loop->timers, &port->timer, loop->now + LINGER_NS) != 0) roam_port_bury(loop, port, false);
}

/* The machine is out of it; FIN follows the last pending byte. */
static void begin_closing(struct roam_loop *loop, struct roam_port *port) {
  struct roam_stream *s = &port->u.stream;
  roam_port_release(port);
  s->state = ROAM_STREAM_CLOSING;
  if (roam_buf_len(&s->out) == 0) {
    roam_tcp_finish(port->fd);
    s->finished = true;
  }
  linger(loop, port);
  if (port->fd >= 0) watch_stream(loop, port);
}

void roam_stream_close(struct roam_loop *loop, struct roam_port *port, int how) {
  struct roam_stream *s = &port->u.stream;
  if (how == ROAM_CLOSE_HANG) { /* the handle stays taken, until a RESET names it again */
    roam_buf_reset(&s->out);
    s->state = ROAM_STREAM_HUNG;
    watch_stream(loop, port);
  } else if (how == ROAM_CLOSE_RESET || s->state == ROAM_STREAM_OPENING) {
    roam_port_bury(loop, port, true);
  } else if (s->state == ROAM_STREAM_OPEN) {
    begin_closing(loop, port);
  }
}

/* The connection broke. */
static void end_stream(struct roam_loop *loop, struct roam_port *port, int error) {
  enum roam_stream_state state = port->u.stream.state;
  if (port->edge && state == ROAM_STREAM_OPENING)
    roam_inbox_add(loop, port->edge, ROAM_WIRE_FAILED, port->handle)->error = error;
  else if (port->edge && state == ROAM_STREAM_OPEN)
    roam_inbox_add(loop, port->edge, ROAM_WIRE_CLOSE, port->handle)->error = error;
  roam_port_bury(loop, port, false);
}

void roam_stream_due(struct roam_loop *loop, struct roam_port *port) {
  if (port->kind == ROAM_PORT_LISTENER) {
    port->paused = false;
    roam_port_watch(loop, port, EPOLLIN);
    return;
  }
  roam_port_bury(loop, port, roam_buf_len(&port->u.stream.out) > 0);
}

/* ---- out ------------------------------------------------------------------------------------------------------------- */

static void give_credit(struct roam_loop *loop, struct roam_port *port, size_t left) {
  struct roam_stream *s = &port->u.stream;
  s->out_done += left;
  if (s->state != ROAM_STREAM_OPEN || !port->edge || s->out_done < CREDIT_STEP) return;
  roam_inbox_add(loop, port->edge, ROAM_WIRE_CREDIT, port->handle)->credit = s->out_done;
  s->out_credit += s->out_done;
  s->out_done = 0;
}

static size_t gather(const roam_wire units[], size_t n, struct iovec pieces[]) {
  size_t total = 0;
  for (size_t i = 0; i < n; i++) {
    pieces[i] = (struct iovec){(void *)(uintptr_t)units[i].data, units[i].len};
    total += units[i].len;
  }
  return total;
}

/* Keeps what follows the first `done` bytes of the pieces. */
static roam_rc keep_rest(struct roam_buf *out, const struct iovec pieces[], size_t n, size_t done) {
  for (size_t i = 0; i < n; i++) {
    size_t skip = done < pieces[i].iov_len ? done : pieces[i].iov_len;
    done -= skip;
    if (skip == pieces[i].iov_len) continue;
    roam_rc rc = roam_buf_put(out, (const uint8_t *)pieces[i].iov_base + skip, pieces[i].iov_len - skip);
    if (rc != 0) return rc;
  }
  return 0;
}

void roam_stream_send(struct roam_loop *loop, struct roam_port *port, const roam_wire units[], size_t n) {
  struct roam_stream *s = &port->u.stream;
  struct iovec pieces[PIECES_MAX];
  size_t total = gather(units, n, pieces), done = 0;
  if (total > s->out_credit) {
    roam_trace(&loop->options.log, loop->now, CREDIT_EXCEEDED, .bytes = total, .credit = s->out_credit);
    end_stream(loop, port, ENOBUFS);
    return;
  }
  s->out_credit -= total;
  if (s->state == ROAM_STREAM_OPEN && roam_buf_len(&s->out) == 0 && total > 0) {
    ssize_t sent = roam_tcp_write(port->fd, pieces, n);
    loop->stats.send_calls++;
    if (sent < 0 && sent != -EAGAIN) {
      end_stream(loop, port, (int)-sent);
      return;
    }
    if (sent > 0) done = (size_t)sent;
  }
  loop->stats.bytes_out += done;
  if (done < total && keep_rest(&s->out, pieces, n, done) != 0) {
    end_stream(loop, port, ENOMEM);
    return;
  }
  give_credit(loop, port, done);
  watch_stream(loop, port);
}

/* Writes what is pending; false when the connection broke and is gone. */
static bool write_pending(struct roam_loop *loop, struct roam_port *port) {
  struct roam_stream *s = &port->u.stream;
  while (roam_buf_len(&s->out) > 0) {
    roam_bytes view = roam_buf_view(&s->out);
    struct iovec piece = {(void *)(uintptr_t)view.base, view.len};
    ssize_t sent = roam_tcp_write(port->fd, &piece, 1);
    loop->stats.send_calls++;
    if (sent == -EAGAIN) return true;
    if (sent < 0) {
      end_stream(loop, port, (int)-sent);
      return false;
    }
    loop->stats.bytes_out += (uint64_t)sent;
    roam_buf_take(&s->out, (size_t)sent);
    give_credit(loop, port, (size_t)sent);
    if (s->state == ROAM_STREAM_CLOSING) linger(loop, port);
  }
  if (s->state == ROAM_STREAM_CLOSING && !s->finished) {
    roam_tcp_finish(port->fd);
    s->finished = true;
  }
  return true;
}

/* ---- in -------------------------------------------------------------------------------------------------------------- */

void roam_stream_credit(struct roam_loop *loop, struct roam_port *port, uint64_t bytes) {
  uint64_t *credit = &port->u.stream.in_credit;
  *credit = bytes > UINT64_MAX - *credit ? UINT64_MAX : *credit + bytes;
  port->u.stream.deaf = false;
  watch_stream(loop, port);
}

static void end_orderly(struct roam_loop *loop, struct roam_port *port) {
  roam_inbox_add(loop, port->edge, ROAM_WIRE_CLOSE, port->handle);
  begin_closing(loop, port);
}

/* The peer has ended; without credit, that is news only when nothing lies unread before it. */
static void look_for_end(struct roam_loop *loop, struct roam_port *port) {
  ssize_t got = roam_tcp_peek(port->fd);
  if (got == 0) {
    end_orderly(loop, port);
  } else if (got < 0 && got != -EAGAIN) {
    end_stream(loop, port, (int)-got);
  } else {
    port->u.stream.deaf = true;
    watch_stream(loop, port);
  }
}

static void read_stream(struct roam_loop *loop, struct roam_port *port) {
  struct roam_stream *s = &port->u.stream;
  size_t slot = roam_inbox_open(loop, port->edge), max = ROAM_UDP_BUFFER_BYTES;
  uint8_t *bytes = roam_udp_io_slot(loop->io, slot);
  ssize_t got = roam_tcp_read(port->fd, bytes, s->in_credit < max ? (size_t)s->in_credit : max);
  loop->stats.recv_calls++;
  if (got == -EAGAIN) return;
  if (got < 0) {
    end_stream(loop, port, (int)-got);
  } else if (got == 0) {
    end_orderly(loop, port);
  } else {
    roam_wire *unit = roam_inbox_add(loop, port->edge, ROAM_WIRE_DATA, port->handle);
    unit->data = bytes;
    unit->len = (size_t)got;
    s->in_credit -= (uint64_t)got;
    loop->stats.bytes_in += (uint64_t)got;
    if (s->in_credit == 0) watch_stream(loop, port);
  }
}

/* Closing: what still comes is read only so that our close does not turn into a reset. */
static void drop_input(struct roam_loop *loop, struct roam_port *port) {
  uint8_t waste[4096];
  for (int i = 0; i < 16; i++) {
    ssize_t got = roam_tcp_read(port->fd, waste, sizeof waste);
    if (got > 0) continue;
    bool over = got == 0 ? port->u.stream.finished : got != -EAGAIN;
    if (over) roam_port_bury(loop, port, false);
    else if (got == 0) roam_port_watch(loop, port, EPOLLOUT); /* nothing more to read, something left to write */
    return;
  }
}

static void finish_opening(struct roam_loop *loop, struct roam_port *port) {
  int error = roam_tcp_error(port->fd);
  if (error != 0) {
    end_stream(loop, port, error);
    return;
  }
  port->u.stream.state = ROAM_STREAM_OPEN;
  roam_wire *unit = roam_inbox_add(loop, port->edge, ROAM_WIRE_OPENED, port->handle);
  unit->local = roam_socket_local(port->fd);
  unit->remote = roam_socket_remote(port->fd);
  watch_stream(loop, port);
}

void roam_stream_ready(struct roam_loop *loop, struct roam_port *port, uint32_t events) {
  struct roam_stream *s = &port->u.stream;
  if (s->state == ROAM_STREAM_OPENING) {
    finish_opening(loop, port);
    return;
  }
  bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  if ((events & EPOLLOUT) != 0 || (broken && roam_buf_len(&s->out) > 0)) {
    if (!write_pending(loop, port)) return;
    if (roam_buf_len(&s->out) == 0) watch_stream(loop, port);
  }
  if ((events & (EPOLLIN | EPOLLRDHUP)) == 0 && !broken) return;
  if (s->state == ROAM_STREAM_CLOSING) drop_input(loop, port);
  else if (s->state == ROAM_STREAM_OPEN && s->in_credit > 0) read_stream(loop, port);
  else if (s->state == ROAM_STREAM_OPEN) look_for_end(loop, port);
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */

static void fail(struct roam_edge *edge, const roam_wire *unit, int error) {
  roam_wire *failed = roam_inbox_add(edge->loop, edge, ROAM_WIRE_FAILED, unit->handle);
  failed->error = error;
  failed->local = unit->local;
  failed->remote = unit->remote;
}

void roam_stream_open(struct roam_edge *edge, const roam_wire *unit) {
  bool path = unit->remote.family == 0 && unit->name && unit->name[0] == '/';
  int fd,
      error = path ? roam_unix_connect(unit->name, &fd) : roam_tcp_connect(&unit->local, &unit->remote, unit->name, &fd);
  if (error != 0) {
    fail(edge, unit, error);
    return;
  }
  struct roam_port *port = roam_port_new(edge->loop, edge, ROAM_PORT_STREAM, fd, unit->handle);
  if (!port) {
    roam_tcp_close(fd);
    fail(edge, unit, ENOMEM);
    return;
  }
  init_stream(port, ROAM_STREAM_OPENING);
  watch_stream(edge->loop, port);
}

bool roam_fd_given(const char *name, int *fd) {
  char *end;
  if (strncmp(name, "fd:", 3) != 0 || name[3] < '0' || name[3] > '9') return false;
  long number = strtol(name + 3, &end, 10);
  *fd = number <= INT_MAX ? (int)number : -1;
  return *end == 0;
}

static int listen_somewhere(struct roam_edge *edge, const roam_wire *unit, int *fd, roam_addr *bound) {
  int given;
  *bound = (roam_addr){0};
  struct roam_sharing sharing = {.sockets = unit->parent, .first = unit->how != 0};
  if (!unit->name) return roam_tcp_listen(&unit->local, &sharing, fd, bound);
  if (roam_fd_given(unit->name, &given)) return roam_tcp_adopt(given, fd, bound);
  return roam_unix_listen(unit->name, edge->loop->options.unix_mode, fd);
}

void roam_stream_listen(struct roam_edge *edge, const roam_wire *unit) {
  int fd;
  roam_addr bound;
  int error = listen_somewhere(edge, unit, &fd, &bound);
  if (error != 0) {
    fail(edge, unit, error);
    return;
  }
  struct roam_port *port = roam_port_new(edge->loop, edge, ROAM_PORT_LISTENER, fd, unit->handle);
  if (!port) {
    roam_tcp_close(fd);
    fail(edge, unit, ENOMEM);
    return;
  }
  if (unit->name && strncmp(unit->name, "fd:", 3) != 0) port->path = strdup(unit->name);
  roam_port_watch(edge->loop, port, EPOLLIN);
  roam_inbox_add(edge->loop, edge, ROAM_WIRE_BOUND, unit->handle)->local = bound;
}

static uint32_t choose_handle(struct roam_edge *edge) {
  uint32_t handle;
  do {
    handle = ROAM_HANDLE_EDGE | edge->next_handle++;
  } while (roam_map64_get(&edge->table, handle));
  return handle;
}

static void admit_stream(struct roam_loop *loop, struct roam_port *listener, int fd, const roam_addr *local,
                         const roam_addr *remote) {
  struct roam_edge *edge = listener->edge;
  struct roam_port *port = roam_port_new(loop, edge, ROAM_PORT_STREAM, fd, choose_handle(edge));
  if (!port) {
    roam_trace(&loop->options.log, loop->now, SOCKETS_MAX, .max = loop->options.sockets_max);
    roam_tcp_reset(fd);
    return;
  }
  init_stream(port, ROAM_STREAM_OPEN);
  roam_wire *unit = roam_inbox_add(loop, edge, ROAM_WIRE_ACCEPT, port->handle);
  unit->parent = listener->handle;
  unit->local = *local;
  unit->remote = *remote;
  watch_stream(loop, port);
}

/* Out of descriptors or memory: the waiting connection stays in the backlog, and asking again at once would spin. */
static void pause_listener(struct roam_loop *loop, struct roam_port *port, int error) {
  roam_trace(&loop->options.log, loop->now, ACCEPT_PAUSED, .ms = PAUSE_NS / ROAM_MS, .error = (uint64_t)error);
  if (roam_heap_set(&loop->timers, &port->timer, loop->now + PAUSE_NS) != 0) return;
  port->paused = true;
  roam_port_watch(loop, port, 0);
}

void roam_listener_ready(struct roam_loop *loop, struct roam_port *port) {
  for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
    int fd;
    roam_addr local, remote;
    int error = roam_tcp_accept(port->fd, &fd, &local, &remote);
    if (error == EAGAIN) return;
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
      pause_listener(loop, port, error);
      return;
    }
    if (error == 0) admit_stream(loop, port, fd, &local, &remote);
  }
}
