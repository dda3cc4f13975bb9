/* sim.h - a world: hosts, hops between them and virtual time. The machines in it are the real ones.
 *
 * next = the earliest deadline of all hosts and hops; now = next; deliver, tick, drain until quiet; ties by insertion
 * order. Nothing here reads a clock, opens a socket or draws a number that does not come from the seed, so a seed is a
 * whole run.
 *
 * Topology: a star. Every interface of every host reaches every other through its own chain of hops:
 *   host A -> A's hops outward -> the network -> B's hops inward (in reverse) -> host B.
 * TCP in a world is a model (ordered bytes with the chain's delay and rate, dead after a NAT rebinding): it exists to
 * compare behaviour, not as evidence about TCP. */
#ifndef ROAMQTT_SIM_H
#define ROAMQTT_SIM_H

#include <roamqtt/event.h>
#include <roamqtt/hop.h>
#include <roamqtt/store.h>
#include <roamqtt/wire.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct roam_world roam_world;
typedef struct roam_host roam_host;

typedef struct roam_world_options {
  size_t size;
  uint64_t seed;          /* 1 */
  uint64_t steps_max;     /* 50000000 for one run; reaching it ends the run with ROAM_E_LIMIT */
  size_t trace_bytes_max; /* 64 MiB; beyond it lines are counted but not kept */
  bool trace_datagrams;   /* true: a line for each datagram sent, delivered or dropped */
} roam_world_options;

ROAM_API void roam_world_options_init(roam_world_options *o);
ROAM_API roam_world *roam_world_new(const roam_world_options *o); /* NULL = defaults; returns NULL: no memory */
/* Frees the world, its hosts and all hops given to it; machines belong to their owners and go first or after. */
ROAM_API void roam_world_free(roam_world *world);
ROAM_API roam_time roam_world_now(const roam_world *world); /* starts at 1 s */
ROAM_API roam_random *roam_world_random(roam_world *world); /* for the objects that live in it */

/* A host by name ("broker"); the name is copied, at most 31 bytes, and stands in the trace. */
ROAM_API roam_host *roam_world_host(roam_world *world, const char *name);
/* Gives the host an address through an interface ("wlan0"); the first is its default. ROAM_E_LIMIT beyond 8. */
ROAM_API roam_rc roam_host_address(roam_host *host, const char *interface, const roam_addr *address);
/* Appends a hop to the chain of an address, host side first. The world owns the hop from now on. The same hop may stand in
 * the chains of several addresses (hosts behind one NAT): the chains meet there and share what is appended further outward.
 * ROAM_E_ARGUMENT: not this host's address, or the chain would become a ring. After any error the hop is the caller's. */
ROAM_API roam_rc roam_host_hop(roam_host *host, const roam_addr *address, roam_hop *hop);
/* Takes an address up or down; the machines on the host are told (ADDR) when tell is set. */
ROAM_API roam_rc roam_host_set_up(roam_host *host, const roam_addr *address, bool up, bool tell);
/* Tells the machines on the host that it was suspended for so long (WAKE); time itself is the world's. */
ROAM_API void roam_host_wake(roam_host *host, uint64_t slept_ns);
/* A name that RESOLVE answers, in this world. */
ROAM_API roam_rc roam_world_name(roam_world *world, const char *name, const roam_addr *address);
/* TCP connections whose path goes through this host's address die as they do when a NAT forgets them: the far half hangs,
 * the near half is reset at its next byte. For hosts without a NAT hop: behind one, roam_world_rebind() is enough. */
ROAM_API void roam_host_forget_tcp(roam_host *host, const roam_addr *address);
/* roam_nat_rebind at the world's now, with a line in the trace. Modelled TCP dies of it: its segments meet no mapping. nat
 * is a NAT hop of this world and address of its family, else ROAM_E_ARGUMENT. */
ROAM_API roam_rc roam_world_rebind(roam_world *world, roam_hop *nat, const roam_addr *address);

/* Runs a machine on a host. Its events go to sink when given (borrowed for the call), else the owner polls. */
typedef void (*roam_world_sink)(void *context, const roam_event ev[], size_t n);
ROAM_API roam_rc roam_host_run(roam_host *host, roam_machine machine, roam_world_sink sink, void *context);
/* Machines of one host that send each other MAIL, each by the seat of the other (wire.h). Their UDP sockets may share an
 * address, and are chosen as the kernel would. drop: as roam_post_new's. ROAM_E_NOT_FOUND. */
ROAM_API roam_rc roam_host_seat(roam_host *host, roam_machine machine, uint32_t seat,
                                void (*drop)(const uint8_t *data, size_t len));
/* 0: it is there at once. Else each unit of MAIL takes a time drawn up to this. */
ROAM_API void roam_host_mail_latency(roam_host *host, uint64_t most_ns);
/* Takes a machine off its host: its sockets vanish without a word, as at a process's death. */
ROAM_API roam_rc roam_host_stop(roam_host *host, roam_machine machine);

/* A disk for a machine that has a store (broker.h): its STORE units are written in virtual time. What is on it outlives the
 * machine: stop one, make another with the same store. image: a store in memory (roam_store_memory), the disk's from now
 * on. Free it with roam_store_free, before the world. NULL: no memory, or no image. */
typedef struct roam_disk_options {
  size_t size;
  uint64_t write_ns; /* 2 ms: the most until a batch is in the system's cache */
  uint64_t sync_ns;  /* 5 ms: and on the disk */
  bool sync;         /* true: a commit waits for it */
} roam_disk_options;
ROAM_API void roam_disk_options_init(roam_disk_options *o);
ROAM_API roam_store *roam_world_disk(roam_world *world, roam_store *image, const roam_disk_options *o);
/* Loses what was not synced, but for a random piece of it, torn at its end. Stop the machine first. */
ROAM_API roam_rc roam_disk_power_cut(roam_store *disk);
/* The step at which the next commit fails. */
typedef enum roam_disk_failure {
  ROAM_DISK_SOUND,
  ROAM_DISK_FULL,  /* before anything is written: ROAM_E_NO_SPACE, and well the next time */
  ROAM_DISK_WRITE, /* in the middle: ROAM_E_IO */
  ROAM_DISK_SYNC   /* written, not synced: ROAM_E_IO */
} roam_disk_failure;
ROAM_API roam_rc roam_disk_fail_next(roam_store *disk, roam_disk_failure how);

/* Calls fn at a virtual time; ties run in the order they were given. At most 65536 wait at once. */
ROAM_API roam_rc roam_world_at(roam_world *world, roam_time when, void (*fn)(void *context), void *context);

/* Runs until virtual time reaches `until`, or everything is quiet for ever. Call it after commands given to a machine, too:
 * it drains first. ROAM_E_LIMIT: steps_max reached. */
ROAM_API roam_rc roam_world_run(roam_world *world, roam_time until);

/* The trace: text, one line per event: "<ns> <what> ..."; valid until the next call on the world. */
ROAM_API roam_bytes roam_world_trace(const roam_world *world);
ROAM_API uint64_t roam_world_trace_hash(const roam_world *world); /* over every line, kept or not */
/* A log whose events stand in the trace, with their fields: "<ns> log <host> CLIENT_MOVED client=c from=... to=...". For
 * the options of a machine that runs on this host; it lives as long as the world. */
ROAM_API roam_log roam_host_log(roam_host *host, roam_level level);
/* Adds a line of the owner's own ("publish 17"), stamped with virtual time. */
ROAM_API void roam_world_note(roam_world *world, const char *text);

#ifdef __cplusplus
}
#endif
#endif
