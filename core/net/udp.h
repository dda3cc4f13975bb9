/* udp.h - UDP sockets in batches: ECN, true local addresses, trains. Refuses to queue and to know what datagrams mean.
 *
 * All functions return 0 or a positive errno unless said otherwise. */
#ifndef ROAM_NET_UDP_H
#define ROAM_NET_UDP_H

#include <roamqtt/wire.h>

#include "net/share.h"

enum {
  ROAM_UDP_BATCH_MAX = 64,      /* units per system call */
  ROAM_UDP_BUFFER_BYTES = 65536 /* of each receive slot: no datagram or train is longer */
};

struct roam_udp {
  int fd;
  roam_addr local;  /* true, with port; the address part is "any" for a wildcard bind */
  roam_addr remote; /* family 0: not connected */
  bool gso, gro;    /* gso goes off when the kernel refuses a train */
  bool steers;      /* as its sharing asked */
};

struct roam_udp_options {
  uint32_t buffer_bytes; /* SO_RCVBUF and SO_SNDBUF */
  bool gso, gro;
  struct roam_sharing sharing;
};

/* What recvmmsg and sendmmsg need, allocated once and shared by all sockets of a thread. */
struct roam_udp_io;
struct roam_udp_io *roam_udp_io_new(size_t batch); /* batch: at most ROAM_UDP_BATCH_MAX; NULL: no memory */
void roam_udp_io_free(struct roam_udp_io *io);
uint8_t *roam_udp_io_slot(struct roam_udp_io *io, size_t slot); /* ROAM_UDP_BUFFER_BYTES for other use between receives */

/* Opens, binds and, when remote has a family, connects, so that u->local is the address that packets really bear. An IPv6
 * socket is IPv6 only; who wants both families binds twice. */
int roam_udp_open(struct roam_udp *u, const roam_addr *local, const roam_addr *remote, const char *interface,
                  const struct roam_udp_options *options);
/* Takes over a bound socket that somebody else made. EINVAL: it is no such thing; EAFNOSUPPORT: one of IPv6 that takes IPv4
 * too, whose addresses would be neither. Then it stays the caller's. */
int roam_udp_adopt(struct roam_udp *u, int given, const struct roam_udp_options *options);
void roam_udp_close(struct roam_udp *u);

/* Receives at most max datagrams or trains into the slots from `slot` on and describes them in out[]: handle is left 0.
 * Returns how many, 0 for none, or a negative errno: the error of an earlier datagram on a connected socket. */
int roam_udp_recv(struct roam_udp *u, struct roam_udp_io *io, size_t slot, roam_wire out[], size_t max);

/* Where a send stands: everything before (unit, offset) is with the kernel or was dropped. */
struct roam_udp_cursor {
  size_t unit, offset;
  bool cut; /* the train at hand goes out piece by piece */
};

struct roam_udp_sent {
  uint64_t calls, datagrams, bytes;
};

/* Sends units from the cursor on. 0: all n are gone; EAGAIN: the socket is full, call again with the same cursor when it is
 * writable; else the unit before the cursor was refused with this errno and is dropped: report it and call again. Units too
 * large for the path are dropped without a word, as a network would. */
int roam_udp_send(struct roam_udp *u, struct roam_udp_io *io, const roam_wire units[], size_t n, struct roam_udp_cursor *at,
                  struct roam_udp_sent *sent);

#endif
