/* driver.h - the loop as its own files see it: the loop, the machines in it, their sockets. */
#ifndef ROAM_LOOP_DRIVER_H
#define ROAM_LOOP_DRIVER_H

#include <roamqtt/loop.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "loop/epoll.h"
#include "loop/post.h"
#include "loop/resolve.h"
#include "loop/writer.h"
#include "net/udp.h"

enum {
  ROAM_POLL_MAX = 512
}; /* events asked of a machine at once */

enum roam_port_kind {
  ROAM_PORT_UDP,
  ROAM_PORT_LISTENER,
  ROAM_PORT_STREAM,
  ROAM_PORT_FOREIGN
};

enum roam_stream_state {
  ROAM_STREAM_OPENING, /* connect is under way */
  ROAM_STREAM_OPEN,
  ROAM_STREAM_CLOSING, /* the machine has let go of it: what is pending goes out, what comes in is dropped */
  ROAM_STREAM_HUNG     /* open for the peer, dead for us */
};

/* A TCP connection. Invariant: out_credit + bytes in out + out_done == ROAM_CREDIT_START, so out never outgrows it. */
struct roam_stream {
  enum roam_stream_state state;
  struct roam_buf out; /* what the kernel did not take */
  uint64_t out_credit; /* bytes the machine may still hand over */
  uint64_t out_done;   /* bytes that left since the last CREDIT to the machine */
  uint64_t in_credit;  /* bytes the machine will still take */
  bool finished;       /* FIN is sent */
  bool deaf;           /* no credit to read, and known to have unread bytes before its end: not watched */
};

struct roam_foreign {
  roam_loop_foreign fn;
  void *context;
};

/* One descriptor in the poll set. Its memory outlives its descriptor until the end of the turn, because events that are
 * already collected point to it. */
struct roam_port {
  struct roam_list node;       /* in its edge's ports, the loop's orphans or the loop's grave */
  struct roam_heap_node timer; /* lingering, paused, or a foreign one's deadline */
  struct roam_edge *edge;      /* NULL: a machine no longer stands behind it */
  enum roam_port_kind kind;
  int fd; /* -1: buried */
  uint32_t handle;
  uint32_t watched; /* epoll interest now */
  bool paused;      /* listener: not accepting until the timer */
  char *path;       /* listener: of its Unix socket, removed with it; or NULL */
  union {
    struct {
      struct roam_udp socket;
      struct roam_list held; /* what the socket did not take, in order */
    } udp;
    struct roam_stream stream;
    struct roam_foreign foreign;
  } u;
};

/* A machine and its handles. */
struct roam_edge {
  struct roam_list node;
  struct roam_loop *loop;
  roam_machine machine;
  roam_loop_sink sink;
  void *context;
  size_t (*room)(void *context); /* how many events the sink takes now; NULL: any number */
  uint32_t serial;               /* never used again, for answers that come late */
  uint32_t next_handle;
  struct roam_map64 table; /* handle -> port */
  struct roam_list ports;
  bool networks_told;         /* the addresses there are */
  uint32_t blocked;           /* UDP ports holding back units: the machine is not drained while there is one */
  struct roam_writer *writer; /* NULL: the machine has no store */
  roam_post *post;            /* NULL: it gets no mail */
  uint32_t seat;
};

/* Units on their way into one machine; unit i may use receive slot i for its bytes. */
struct roam_inbox {
  struct roam_edge *edge;
  size_t n;
  roam_wire units[ROAM_UDP_BATCH_MAX];
};

struct roam_loop {
  roam_loop_options options;
  struct roam_udp_io *io;
  struct roam_resolver *resolver;      /* NULL before the first question */
  struct roam_networks_seen *networks; /* NULL: not watched */
  roam_time now;
  uint64_t suspended; /* boot time ahead of monotonic time when last seen */
  uint32_t edges_count, sockets, serial;
  bool restless; /* the last turn ended by its bound, not by quiet */
  int ready;     /* events collected and not handled */
  struct roam_heap timers;
  struct roam_list edges, orphans, foreigns, grave;
  struct roam_udp_sent sent;
  roam_loop_stats stats;
  struct roam_inbox inbox;
  struct roam_poller poller;
  roam_wire out[ROAM_UDP_BATCH_MAX];
  roam_event events[ROAM_POLL_MAX];
};

/* ---- driver.c: a turn in three parts, so that a thread can hold its lock around all but the wait ---- */

/* Like roam_loop_add; room may be NULL. */
roam_rc roam_loop_add_gated(struct roam_loop *loop, roam_machine machine, roam_loop_sink sink, size_t (*room)(void *),
                            void *context);
void *roam_loop_context(struct roam_loop *loop, roam_machine machine); /* NULL: not there */
bool roam_loop_settle(struct roam_loop *loop); /* ticks, drains, polls until quiet; whether anything moved */
/* Sets the timer and says how long the wait may be, at most max_wait_ns. */
uint64_t roam_loop_prepare(struct roam_loop *loop, uint64_t max_wait_ns);
int roam_loop_wait(struct roam_loop *loop, uint64_t wait_ns); /* 0 or ROAM_E_IO */
bool roam_loop_handle(struct roam_loop *loop);                /* feeds what the wait found, calls whose time has come */

/* ---- edge.c: handles, the inbox, what is common to ports ---- */

struct roam_edge *roam_edge_new(struct roam_loop *loop, roam_machine machine);
/* Closes all handles, flushing connections; frees the edge. */
void roam_edge_free(struct roam_edge *edge);
/* Gives it its seat. ROAM_E_MEMORY: and it has no writer now. */
roam_rc roam_edge_seat(struct roam_edge *edge, roam_post *post, uint32_t seat);
/* Carries out drained units; answers are in the inbox afterwards, at most one per unit. */
void roam_edge_carry(struct roam_edge *edge, const roam_wire units[], size_t n);

/* Makes room in the inbox for a unit of this edge, feeding what stands in the way; the slot's number. */
size_t roam_inbox_open(struct roam_loop *loop, struct roam_edge *edge);
/* A unit for this edge's machine, zeroed but for kind and handle. */
roam_wire *roam_inbox_add(struct roam_loop *loop, struct roam_edge *edge, roam_wire_kind kind, uint32_t handle);
void roam_inbox_flush(struct roam_loop *loop);

/* A port for fd that belongs to edge (NULL: foreign) under handle; NULL: no memory or bound reached, fd is the caller's. */
struct roam_port *roam_port_new(struct roam_loop *loop, struct roam_edge *edge, enum roam_port_kind kind, int fd,
                                uint32_t handle);
bool roam_port_has_room(const struct roam_loop *loop);
/* Watches for these epoll events. */
void roam_port_watch(struct roam_loop *loop, struct roam_port *port, uint32_t events);
/* Takes the handle out of its edge's table: the machine may use it again. */
void roam_port_release(struct roam_port *port);
/* Takes it out of the poll set and the tables and closes it (with a reset if asked); its memory is freed with the grave. */
void roam_port_bury(struct roam_loop *loop, struct roam_port *port, bool reset);
void roam_grave_empty(struct roam_loop *loop);

/* ---- networks.c ---- */

void roam_networks_open(struct roam_loop *loop); /* failing is harmless: changes go unnoticed */
void roam_networks_close(struct roam_loop *loop);
void roam_networks_greet(struct roam_edge *edge); /* tells a new machine what there is */

/* ---- datagram.c ---- */

void roam_datagram_bind(struct roam_edge *edge, const roam_wire *unit);
void roam_datagram_send(struct roam_loop *loop, struct roam_port *port, const roam_wire units[], size_t n);
void roam_datagram_ready(struct roam_loop *loop, struct roam_port *port, uint32_t events);
/* A last attempt for what is held, then closes. */
void roam_datagram_close(struct roam_loop *loop, struct roam_port *port);

/* ---- stream.c ---- */

void roam_stream_listen(struct roam_edge *edge, const roam_wire *unit);
bool roam_fd_given(const char *name, int *fd); /* reads "fd:3" */
void roam_stream_open(struct roam_edge *edge, const roam_wire *unit);
void roam_stream_send(struct roam_loop *loop, struct roam_port *port, const roam_wire units[], size_t n);
void roam_stream_credit(struct roam_loop *loop, struct roam_port *port, uint64_t bytes);
void roam_stream_close(struct roam_loop *loop, struct roam_port *port, int how);
void roam_stream_ready(struct roam_loop *loop, struct roam_port *port, uint32_t events);
void roam_listener_ready(struct roam_loop *loop, struct roam_port *port);
void roam_stream_due(struct roam_loop *loop, struct roam_port *port); /* lingered long enough, or a pause is over */

#endif
