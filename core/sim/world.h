/* world.h - the state of a simulated world, shared by world.c (time, hops, routes), host.c (the edge of its machines),
 * mail.c, pipe.c (the model of TCP), disk.c and trace.c. */
#ifndef ROAM_SIM_WORLD_H
#define ROAM_SIM_WORLD_H

#include <roamqtt/sim.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/ring.h"
#include "base/rng.h"
#include "hop/hop.h"

enum {
  SIM_NAME_MAX = 32,
  SIM_IFACES_MAX = 8,
  SIM_INBOX_MAX = 65536,
  SIM_TIMERS_MAX = 1 << 20,
  SIM_CALLS_MAX = 65536,
  SIM_PORTS_MAX = 65536, /* sockets of one machine */
  SIM_EPHEMERAL_FIRST = 49152
};

/* Something that wants to be woken. */
struct sim_timer {
  struct roam_heap_node node;
  void (*fire)(struct roam_world *world, struct sim_timer *timer);
};

/* A hop's place in the tree: `outer` is the next towards the network, NULL for the outermost. A NAT shared by several hosts
 * is one place in which their chains meet. */
struct sim_hop {
  roam_hop *hop;
  struct sim_hop *outer;
  struct roam_list node; /* world->hops */
  struct sim_timer timer;
  uint32_t number;
};

struct sim_iface {
  struct roam_host *host;
  char name[SIM_NAME_MAX];
  roam_addr address; /* port 0: also the key in world->ifaces */
  bool up, told;
  struct sim_hop *first;
};

/* What waits to be fed to a machine, with whatever its pointers need. */
struct sim_unit {
  roam_wire wire;
  roam_parcel *parcel; /* owned */
  void *memory;        /* owned */
};

enum sim_port_kind {
  SIM_UDP,
  SIM_LISTENER,
  SIM_PIPE
};

/* A handle of a machine: a UDP socket, a listener or one end of a pipe (struct sim_pipe begins with this). Invariant: in
 * machine->handles under `handle`, in machine->ports, and, when not a pipe, in its host's list for its port number. */
struct sim_port {
  enum sim_port_kind kind;
  uint32_t handle;
  struct sim_machine *machine;
  roam_addr local;
  struct roam_list node; /* machine->ports */
  struct sim_port *same; /* the next with this protocol and port number on the host */
  uint32_t sharers;      /* UDP: how many sockets its address is for; 0: it has it alone */
  bool steer;            /* wire.h: ROAM_STEER_SHORT */
};

struct sim_machine {
  roam_machine machine;
  roam_world_sink sink;
  void *context;
  struct roam_host *host;
  struct roam_list node, touched; /* host->machines; world->touched */
  struct sim_timer timer;
  struct roam_ring inbox; /* struct sim_unit */
  struct roam_map64 handles;
  struct roam_list ports, writes; /* writes: of disk.c */
  uint32_t edge_next;
  bool gone; /* stopped: freed when nobody stands in it */
  bool seated;
  uint32_t seat; /* among the machines of its host that send each other MAIL */
  void (*drop)(const uint8_t *data, size_t len);
  struct roam_list letters; /* of mail.c: on their way to it */
  roam_time mail_at;        /* when what it has sent last arrives */
};

struct roam_host {
  struct roam_world *world;
  char name[SIM_NAME_MAX];
  struct roam_list node; /* world->hosts */
  struct sim_iface ifaces[SIM_IFACES_MAX];
  size_t ifaces_len;
  struct roam_list machines;
  struct roam_map64 ports; /* protocol and port number -> first struct sim_port */
  struct roam_map pipes;   /* local and remote address -> struct sim_pipe */
  struct roam_list pipe_list;
  uint16_t port_next;
  uint64_t mail_ns; /* the most that MAIL takes */
};

struct sim_trace {
  uint8_t *base;
  size_t len, cap, max;
  uint64_t hash, lines;
  bool full;
};

struct roam_world {
  roam_world_options o;
  struct roam_rng rng;
  roam_time now;
  uint64_t steps;
  roam_rc failed; /* memory ran out somewhere inside: the run ends and says so */
  struct roam_heap timers;
  struct roam_list hosts, hops, touched, graveyard, names;
  struct roam_map ifaces;    /* address without port -> struct sim_iface */
  struct roam_fifo segments; /* TCP parcels that have arrived */
  uint32_t hops_count, calls_count;
  struct sim_trace trace;
};

/* world.c */
void roam_sim_timer_set(struct roam_world *w, struct sim_timer *timer, roam_time at);
struct sim_iface *roam_sim_iface(const struct roam_world *w, const roam_addr *address); /* by IP; NULL: none */
void roam_sim_send(struct roam_world *w, struct sim_iface *from, roam_parcel *parcel);  /* out of a host; owns the parcel */
size_t roam_sim_resolve(const struct roam_world *w, const char *name, uint16_t port, roam_addr *out, size_t max);

/* host.c */
void roam_sim_deliver(struct roam_world *w, struct sim_iface *to, roam_parcel *parcel); /* into a host; owns the parcel */
void roam_sim_touch(struct sim_machine *m);
void roam_sim_touch_all(struct roam_world *w);
void roam_sim_machine_turn(struct sim_machine *m);
void roam_sim_machine_free(struct sim_machine *m);
/* Puts a unit into the inbox, which owns parcel and memory from now on, also when it is full. */
void roam_sim_feed(struct sim_machine *m, const roam_wire *unit, roam_parcel *parcel, void *memory);
/* Whether somebody has it who does not share. */
bool roam_sim_port_taken(const struct roam_host *h, int proto, const roam_addr *local, const roam_wire *unit);
/* Of those that share, the x-th, or by where it comes from. */
struct sim_port *roam_sim_port_choose(struct sim_port *first, const roam_addr *from, uint32_t x);
struct sim_port *roam_sim_port_find(const struct roam_host *h, int proto, const roam_addr *local);
/* The interface that `local` (may be none), `name` (may be NULL) and the remote's family ask for; NULL and *error: none. */
struct sim_iface *roam_sim_iface_choose(struct roam_host *h, const roam_addr *local, const char *name, uint8_t family,
                                        int *error);
uint16_t roam_sim_port_draw(struct roam_host *h, int proto);             /* a free ephemeral port, 0: none */
roam_rc roam_sim_port_add(struct sim_machine *m, struct sim_port *port); /* into the machine's tables */
void roam_sim_port_remove(struct sim_port *port);

/* pipe.c */
void roam_sim_pipe_listen(struct sim_machine *m, const roam_wire *unit);
void roam_sim_pipe_open(struct sim_machine *m, const roam_wire *unit);
void roam_sim_pipe_unit(struct sim_machine *m, struct sim_port *port, const roam_wire *unit); /* DATA, CLOSE, CREDIT */
void roam_sim_pipe_segment(struct roam_world *w, struct sim_iface *to, roam_parcel *parcel);
void roam_sim_pipe_abandon(struct sim_port *port); /* its machine is gone: it vanishes without a word */
void roam_sim_pipe_forget(struct roam_host *h, const struct sim_iface *iface);
void roam_sim_pipe_free_all(struct roam_host *h);

struct sim_machine *roam_sim_machine_find(struct roam_host *h, const roam_machine *machine);

/* mail.c */
void roam_sim_mail_send(struct sim_machine *m, const roam_wire *unit);
void roam_sim_mail_abandon(struct sim_machine *m); /* it is gone */

/* disk.c */
void roam_sim_disk_write(struct sim_machine *m, const roam_wire *unit); /* STORE */
void roam_sim_disk_abandon(struct sim_machine *m);                      /* its machine is gone */

/* trace.c */
void roam_sim_trace_parcel(struct roam_world *w, const char *what, const char *host, const roam_parcel *parcel);
void roam_sim_trace_addr(struct roam_world *w, const char *what, const char *host, const roam_addr *a, const roam_addr *b);
void roam_sim_trace_text(struct roam_world *w, const char *what, const char *host, const char *text);
void roam_sim_trace_event(struct roam_world *w, const char *host, const roam_event *ev);

#endif
