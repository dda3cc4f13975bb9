/* wire.h - what crosses the outer edge of a machine, and the five verbs that drive one.
 *
 * The rules of the shape, for every object with these verbs:
 *  1. Change, then drain. Feed a whole batch, or tick, or give commands; then drain until it returns 0 (or the edge's
 * credit is used up), poll, and read the deadline.
 *  2. `now` enters at the door. A now before the stored one is taken as the stored one. Nobody inside reads a clock.
 *  3. tick before its time is harmless; late is legal.
 *  4. No call back into the object from inside it.
 *  5. Chunking is invisible: any split of the same bytes of a connection gives the same events.
 *  6. Back-pressure is a value: ROAM_E_BLOCKED from a command, CREDIT on the wire. Never an unbounded queue.
 *  7. Same inputs, same outputs.
 *
 * Pointers in drained units and polled events live until the next call on the same object that is not a getter. Inputs are
 * borrowed for the call. A unit once drained belongs to the edge, which copies what it cannot send at once and sends it
 * before anything drained later. */
#ifndef ROAMQTT_WIRE_H
#define ROAMQTT_WIRE_H

#include <roamqtt/base.h>
#include <roamqtt/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Handles name sockets and byte connections within one machine. The machine chooses those of BIND, LISTEN and OPEN (below
 * ROAM_HANDLE_EDGE); the edge chooses those of ACCEPT (ROAM_HANDLE_EDGE set). A handle is free again after UNBIND or CLOSE
 * has been drained, or FAILED or CLOSE been fed. */
#define ROAM_HANDLE_EDGE UINT32_C(0x80000000)

/* direction: > out of the machine, < into it */
#define ROAM_WIRE_MAP(X)                                                                                                   \
  X(DATAGRAM) /* <> handle, local, remote, data/len, ecn, segment: a datagram, or a train cut every `segment` bytes */     \
  X(BIND)     /* >  handle, local (any part may be 0), remote (0 for a server), name (interface or NULL): a UDP socket;    \
                 or name "fd:3": a bound one we were given;                                                                \
                 parent: how many share the address (0: nobody); how: ROAM_BIND_FIRST; up: see ROAM_STEER_SHORT */         \
  X(UNBIND)   /* >  handle */                                                                                              \
  X(BOUND)    /* <  handle, local: the true local address and port of a BIND or LISTEN; up: it steers as asked */          \
  X(FAILED)   /* <  handle, error: BIND, LISTEN or OPEN did not succeed (errno) */                                         \
  X(RESOLVE)  /* >  handle (of the question), name, local.port = port */                                                   \
  X(RESOLVED) /* <  handle, addrs/addrs_len; 0 of them: the name is unknown */                                             \
  X(LISTEN)   /* >  handle, local: a TCP listener, parent and how as BIND; or name: a Unix socket's path, or "fd:3", a     \
                 listening socket we were given */                                                                         \
  X(ACCEPT)   /* <  handle (edge's), parent (the listener), local, remote */                                               \
  X(OPEN)     /* >  handle, local (0 = any), remote, name (interface or NULL): a TCP connection; remote 0: name is the     \
                 path of a Unix socket */                                                                                  \
  X(OPENED)   /* <  handle, local, remote */                                                                               \
  X(DATA)     /* <> handle, data/len: bytes of a connection, in order */                                                   \
  X(CLOSE)    /* <> handle, how (>) or error (<): end of a connection or listener */                                       \
  X(CREDIT)   /* <> handle, credit: bytes of DATA, above all granted before, that the sender of this unit will take */     \
  X(SENDFAIL) /* <  handle, local, remote, error: a datagram was refused by this machine's own network */                  \
  X(ADDR)     /* <  local, name, up: an interface's address came or went */                                                \
  X(WAKE)     /* <  credit: the machine was suspended for so many ns */                                                    \
  X(MAIL)     /* <> data/len from or to another worker; handle: which */                                                   \
  X(STORE)    /* >  credit: epoch; data/len: a batch for its store; handle: 0, or of how many parts */                     \
  X(STORED)   /* <  credit: epoch; error: 0, it is committed, or the roam_rc it failed with; name: why, or NULL */

typedef enum roam_wire_kind {
#define X(name) ROAM_WIRE_##name,
  ROAM_WIRE_MAP(X)
#undef X
} roam_wire_kind;

/* Of several that share an address, BIND.how and LISTEN.how. */
enum {
  ROAM_BIND_NEXT = 0,
  ROAM_BIND_FIRST = 1 /* it fails when somebody is there already */
};

/* A BIND with up set, and parent workers on one address, the n-th to bind being number n - 1: a datagram goes to number x
 * mod parent, x being its third byte, or its eighth when the highest bit of the first is set. That is the octet of the
 * worker in QUIC's short and long headers. Without up the kernel spreads by addresses. */
#define ROAM_STEER_SHORT 2
#define ROAM_STEER_LONG 7

/* MAIL: handle is the worker the unit is for, or comes from; data are opaque. Who carries it keeps the order of two units
 * from one worker to another.
 *
 * STORE with a handle above 1: the batch is one of so many parts of the epoch, each from another worker with the same
 * store. They are committed together when all are there, whole or not at all, and each worker gets its STORED. After one
 * that failed with ROAM_E_NO_SPACE all of them hand in the same parts again. */

/* How an outgoing CLOSE ends a connection. */
enum {
  ROAM_CLOSE_FLUSH = 0, /* send what is queued, then FIN, and close when the peer has closed too or soon after */
  ROAM_CLOSE_RESET = 1, /* drop what is queued and reset */
  ROAM_CLOSE_HANG = 2   /* stop reading and writing but leave the connection open and silent (a NAT that forgot); the handle
                         * stays taken until a second CLOSE, with ROAM_CLOSE_RESET, ends it */
};

typedef struct roam_wire {
  uint8_t kind;     /* roam_wire_kind */
  uint8_t ecn;      /* DATAGRAM: 0..3 */
  uint8_t how;      /* CLOSE outward: ROAM_CLOSE_... */
  uint8_t up;       /* ADDR */
  uint16_t segment; /* DATAGRAM: 0 = one datagram, else cut every so many bytes */
  uint16_t zero;
  uint32_t handle;
  uint32_t parent; /* ACCEPT */
  int32_t error;   /* FAILED, CLOSE inward (0 = orderly end), SENDFAIL: an errno */
  roam_addr local, remote;
  const uint8_t *data; /* DATAGRAM, DATA, MAIL, STORE */
  size_t len;
  const char *name;       /* RESOLVE: host name; BIND, OPEN: interface or NULL; ADDR: interface; LISTEN: see there */
  const roam_addr *addrs; /* RESOLVED */
  size_t addrs_len;
  uint64_t credit; /* CREDIT, WAKE, STORE, STORED */
} roam_wire;

/* A connection may send this much DATA in either direction before the first CREDIT. */
#define ROAM_CREDIT_START 262144

struct roam_event; /* event.h */

/* The five verbs as a table, so that a loop or a world can drive a client, a broker, a relay or a load run alike. */
typedef struct roam_machine_ops {
  void (*feed)(void *self, roam_time now, const roam_wire in[], size_t n);
  void (*tick)(void *self, roam_time now);
  size_t (*drain)(void *self, roam_time now, roam_wire out[], size_t n);
  size_t (*poll)(void *self, struct roam_event *ev, size_t n);
  roam_time (*deadline)(const void *self);
} roam_machine_ops;

/* random: the source the object was made with, or NULL when it draws nothing; a loop refuses a simulated one. */
typedef struct roam_machine {
  const roam_machine_ops *ops;
  void *self;
  const roam_random *random;
  roam_store *store; /* where its STORE units are written (store.h), NULL: it has none */
} roam_machine;

#ifdef __cplusplus
}
#endif
#endif
