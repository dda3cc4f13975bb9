/* udp.c - UDP sockets in batches: ECN, true local addresses, trains. Refuses to queue and to know what datagrams mean.
 *
 * Theory of operation. A unit may be a train: len bytes cut every segment bytes. With GSO one message of sendmmsg carries a
 * whole train and the kernel (or the card) cuts it; without, each piece is a message of its own. fill_batch turns the units
 * behind a cursor into messages, the kernel takes some of them, and the cursor advances over just those; so a train may be
 * half gone when the socket is full, and the same cursor continues it later.
 *
 * The kernel refuses trains in two ways. EIO, ENOPROTOOPT and EOPNOTSUPP say that this device or kernel has no GSO: it is
 * off for the socket from then on. EINVAL may say the same, or that one segment is larger than the interface takes; then
 * this train is cut, and only when its first piece goes through was GSO to blame.
 *
 * Path MTU discovery is ours (the transport probes), so sockets set DF and ignore the kernel's opinion of the path. What is
 * too large even for the interface gives EMSGSIZE and is dropped: a probe that is lost.
 *
 * The true local address: a connected or bound socket has one; a wildcard socket learns it from packet info with each
 * datagram, and answers leave from the unit's local address by the same means. */
#include "net/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/ifaddr.h"
#include "net/sockaddr.h"

enum {
  CONTROL_BYTES = 128,     /* packet info 40, traffic class 24, segment size 24, rounded up */
  TRAIN_SEGMENTS_MAX = 64, /* UDP_MAX_SEGMENTS of the older kernels */
  TRAIN_BYTES_MAX = 65535 - 40 - 8
};

struct roam_udp_io {
  size_t batch;
  uint8_t *slots;
  struct mmsghdr msgs[ROAM_UDP_BATCH_MAX];
  struct iovec iov[ROAM_UDP_BATCH_MAX];
  union roam_sockaddr names[ROAM_UDP_BATCH_MAX];
  _Alignas(struct cmsghdr) uint8_t control[ROAM_UDP_BATCH_MAX][CONTROL_BYTES];
};

struct roam_udp_io *roam_udp_io_new(size_t batch) {
  struct roam_udp_io *io = calloc(1, sizeof *io);
  if (!io) return NULL;
  io->batch = batch == 0 || batch > ROAM_UDP_BATCH_MAX ? ROAM_UDP_BATCH_MAX : batch;
  io->slots = malloc((size_t)ROAM_UDP_BATCH_MAX * ROAM_UDP_BUFFER_BYTES);
  if (!io->slots) {
    free(io);
    return NULL;
  }
  return io;
}

void roam_udp_io_free(struct roam_udp_io *io) {
  if (!io) return;
  free(io->slots);
  free(io);
}

uint8_t *roam_udp_io_slot(struct roam_udp_io *io, size_t slot) { return io->slots + slot * ROAM_UDP_BUFFER_BYTES; }

/* ---- opening --------------------------------------------------------------------------------------------------------- */

static bool set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static void set_buffers(int fd, uint32_t bytes) {
  int value = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;
  if (!set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, value)) (void)set_option(fd, SOL_SOCKET, SO_RCVBUF, value);
  if (!set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, value)) (void)set_option(fd, SOL_SOCKET, SO_SNDBUF, value);
}

/* Each of these improves the socket; none is a condition, since old kernels and sandboxes lack some. */
static void set_options(struct roam_udp *u, int family, const struct roam_udp_options *options) {
  if (family == 6) {
    (void)set_option(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    (void)set_option(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    (void)set_option(u->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    (void)set_option(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  } else {
    (void)set_option(u->fd, IPPROTO_IP, IP_PKTINFO, 1);
    (void)set_option(u->fd, IPPROTO_IP, IP_RECVTOS, 1);
    (void)set_option(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  }
  set_buffers(u->fd, options->buffer_bytes);
  u->gro = options->gro && set_option(u->fd, SOL_UDP, UDP_GRO, 1);
  u->gso = options->gso && set_option(u->fd, SOL_UDP, UDP_SEGMENT, 0); /* 0 changes nothing: does the kernel know it? */
}

static int bind_and_connect(int fd, const roam_addr *local, const roam_addr *remote) {
  union roam_sockaddr sa;
  socklen_t len = roam_sockaddr_from(local, &sa);
  if (bind(fd, &sa.any, len) != 0) return errno;
  if (remote->family == 0) return 0;
  len = roam_sockaddr_from(remote, &sa);
  return connect(fd, &sa.any, len) == 0 ? 0 : errno;
}

int roam_udp_open(struct roam_udp *u, const roam_addr *local, const roam_addr *remote, const char *interface,
                  const struct roam_udp_options *options) {
  *u = (struct roam_udp){.fd = -1};
  if (local->family != 0 && remote->family != 0 && local->family != remote->family) return EAFNOSUPPORT;
  roam_addr from = *local;
  if (from.family == 0) from.family = remote->family == 6 ? 6 : 4;
  u->fd = socket(from.family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (u->fd < 0) return errno;
  set_options(u, from.family, options);
  int error = interface ? roam_ifaddr_tie(u->fd, interface, from.family, &from) : 0;
  if (error == 0) error = roam_share_before(u->fd, SOCK_DGRAM, &from, &options->sharing);
  if (error == 0) error = bind_and_connect(u->fd, &from, remote);
  if (error != 0) {
    roam_udp_close(u);
    return error;
  }
  u->steers = options->sharing.steer && roam_share_steer(u->fd, options->sharing.sockets);
  u->local = roam_socket_local(u->fd);
  u->remote = *remote;
  return 0;
}

int roam_udp_adopt(struct roam_udp *u, int given, const struct roam_udp_options *options) {
  int type = 0, only = 0;
  socklen_t type_len = sizeof type, only_len = sizeof only;
  *u = (struct roam_udp){.fd = -1};
  if (getsockopt(given, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0) return errno;
  roam_addr local = roam_socket_local(given);
  if (type != SOCK_DGRAM || local.family == 0 || local.port == 0) return EINVAL;
  bool dual = local.family == 6 && roam_addr_is_any(&local) &&
              getsockopt(given, IPPROTO_IPV6, IPV6_V6ONLY, &only, &only_len) == 0 && !only;
  if (dual) return EAFNOSUPPORT;
  int flags = fcntl(given, F_GETFL);
  if (flags < 0 || fcntl(given, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(given, F_SETFD, FD_CLOEXEC) != 0) return errno;
  u->fd = given;
  u->local = local;
  set_options(u, local.family, options);
  return 0;
}

void roam_udp_close(struct roam_udp *u) {
  if (u->fd >= 0) close(u->fd);
  u->fd = -1;
}

/* ---- receiving ------------------------------------------------------------------------------------------------------- */

static int read_int(const struct cmsghdr *c) {
  int value = 0;
  memcpy(&value, CMSG_DATA(c), sizeof value);
  return value;
}

static void read_control(struct msghdr *msg, roam_wire *out) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      out->ecn = *CMSG_DATA(c) & 3;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      out->ecn = (uint8_t)(read_int(c) & 3);
    } else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
      int segment = read_int(c);
      if (segment > 0 && (size_t)segment < out->len) out->segment = (uint16_t)segment;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      memcpy(out->local.ip, &info.ipi_addr, 4);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      memcpy(out->local.ip, &info.ipi6_addr, 16);
      out->local.scope = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
    }
  }
}

int roam_udp_recv(struct roam_udp *u, struct roam_udp_io *io, size_t slot, roam_wire out[], size_t max) {
  size_t n = max < io->batch ? max : io->batch;
  if (n > ROAM_UDP_BATCH_MAX - slot) n = ROAM_UDP_BATCH_MAX - slot;
  for (size_t i = 0; i < n; i++) {
    io->iov[i] = (struct iovec){roam_udp_io_slot(io, slot + i), ROAM_UDP_BUFFER_BYTES};
    io->msgs[i].msg_hdr = (struct msghdr){.msg_name = &io->names[i],
                                          .msg_namelen = sizeof io->names[i],
                                          .msg_iov = &io->iov[i],
                                          .msg_iovlen = 1,
                                          .msg_control = io->control[i],
                                          .msg_controllen = CONTROL_BYTES};
  }
  int got;
  do {
    got = recvmmsg(u->fd, io->msgs, (unsigned)n, 0, NULL);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
  for (int i = 0; i < got; i++) {
    out[i] = (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                         .local = u->local,
                         .data = io->iov[i].iov_base,
                         .len = io->msgs[i].msg_len,
                         .remote = roam_sockaddr_to(&io->names[i])};
    read_control(&io->msgs[i].msg_hdr, &out[i]);
  }
  return got;
}

/* ---- sending --------------------------------------------------------------------------------------------------------- */

/* How many bytes of the unit, from offset on, go into one message. */
static size_t piece_bytes(const roam_wire *unit, size_t offset, bool whole) {
  size_t rest = unit->len - offset;
  if (unit->segment == 0 || rest <= unit->segment) return rest;
  if (!whole) return unit->segment;
  size_t segments = TRAIN_BYTES_MAX / unit->segment;
  if (segments > TRAIN_SEGMENTS_MAX) segments = TRAIN_SEGMENTS_MAX;
  if (segments == 0) segments = 1;
  return rest < segments * unit->segment ? rest : segments * unit->segment;
}

static void put_control(struct msghdr *msg, int level, int type, const void *value, size_t len) {
  struct cmsghdr *c = (struct cmsghdr *)(void *)((uint8_t *)msg->msg_control + msg->msg_controllen);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(len);
  memcpy(CMSG_DATA(c), value, len);
  msg->msg_controllen += CMSG_SPACE(len);
}

static void put_source(struct msghdr *msg, const roam_addr *local) {
  if (local->family == 6) {
    struct in6_pktinfo info = {.ipi6_ifindex = local->scope};
    memcpy(&info.ipi6_addr, local->ip, 16);
    put_control(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  } else {
    struct in_pktinfo info = {0};
    memcpy(&info.ipi_spec_dst, local->ip, 4);
    put_control(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  }
}

static void fill_message(const struct roam_udp *u, struct roam_udp_io *io, size_t i, const roam_wire *unit, size_t offset,
                         size_t len) {
  struct msghdr *msg = &io->msgs[i].msg_hdr;
  io->iov[i] = (struct iovec){(void *)(uintptr_t)(unit->data + offset), len};
  *msg = (struct msghdr){.msg_iov = &io->iov[i], .msg_iovlen = 1, .msg_control = io->control[i]};
  if (u->remote.family == 0) {
    msg->msg_name = &io->names[i];
    msg->msg_namelen = roam_sockaddr_from(&unit->remote, &io->names[i]);
  }
  if (roam_addr_is_any(&u->local) && !roam_addr_is_any(&unit->local) && unit->local.family == u->local.family)
    put_source(msg, &unit->local);
  if (unit->ecn != 0) {
    int ecn = unit->ecn & 3;
    bool six = u->local.family == 6;
    put_control(msg, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, &ecn, sizeof ecn);
  }
  if (unit->segment != 0 && len > unit->segment)
    put_control(msg, SOL_UDP, UDP_SEGMENT, &unit->segment, sizeof unit->segment);
  if (msg->msg_controllen == 0) msg->msg_control = NULL;
}

static void advance(struct roam_udp_cursor *at, const roam_wire *unit, size_t bytes) {
  at->offset += bytes;
  if (at->offset < unit->len) return;
  *at = (struct roam_udp_cursor){.unit = at->unit + 1};
}

/* Messages for the units from the cursor on; how many. A unit of another family than the socket's ends the batch, or is
 * refused by the kernel when it comes first. */
static size_t fill_batch(const struct roam_udp *u, struct roam_udp_io *io, const roam_wire units[], size_t n,
                         struct roam_udp_cursor at) {
  size_t count = 0;
  while (count < io->batch && at.unit < n) {
    const roam_wire *unit = &units[at.unit];
    size_t len = piece_bytes(unit, at.offset, u->gso && !at.cut);
    fill_message(u, io, count++, unit, at.offset, len);
    advance(&at, unit, len);
  }
  return count;
}

static uint64_t count_datagrams(const roam_wire *unit, size_t bytes) {
  return unit->segment == 0 || bytes == 0 ? 1 : (bytes + unit->segment - 1) / unit->segment;
}

static void pass(struct roam_udp *u, struct roam_udp_io *io, const roam_wire units[], size_t messages,
                 struct roam_udp_cursor *at, struct roam_udp_sent *sent) {
  for (size_t i = 0; i < messages; i++) {
    const roam_wire *unit = &units[at->unit];
    size_t len = io->iov[i].iov_len;
    if (at->cut && at->offset == 0) u->gso = false; /* the piece went, the train did not: GSO is to blame */
    sent->datagrams += count_datagrams(unit, len);
    sent->bytes += len;
    advance(at, unit, len);
  }
}

/* The first message was refused: EAGAIN is for the caller, what only a train suffers from is tried again in pieces, what is
 * too large is skipped, all else drops the unit and is the caller's to report. Returns 0 to go on. */
static int take_refusal(struct roam_udp *u, struct roam_udp_io *io, const roam_wire units[], struct roam_udp_cursor *at,
                        int error) {
  const roam_wire *unit = &units[at->unit];
  size_t len = io->iov[0].iov_len;
  bool train = unit->segment != 0 && len > unit->segment;
  if (error == EAGAIN || error == EWOULDBLOCK) return EAGAIN;
  if (train && (error == EIO || error == ENOPROTOOPT || error == EOPNOTSUPP)) {
    u->gso = false;
    return 0;
  }
  if (train && (error == EINVAL || error == EMSGSIZE)) {
    at->cut = true;
    return 0;
  }
  if (error == EMSGSIZE || error == ENOBUFS) {
    advance(at, unit, len);
    return 0;
  }
  *at = (struct roam_udp_cursor){.unit = at->unit + 1};
  return error == EINVAL ? EADDRNOTAVAIL : error; /* what Linux says when the source address has gone */
}

int roam_udp_send(struct roam_udp *u, struct roam_udp_io *io, const roam_wire units[], size_t n, struct roam_udp_cursor *at,
                  struct roam_udp_sent *sent) {
  while (at->unit < n) {
    size_t count = fill_batch(u, io, units, n, *at);
    int done = sendmmsg(u->fd, io->msgs, (unsigned)count, MSG_NOSIGNAL);
    sent->calls++;
    if (done > 0) {
      pass(u, io, units, (size_t)done, at, sent);
      continue;
    }
    int error = done == 0 ? EAGAIN : errno;
    if (error == EINTR) continue;
    error = take_refusal(u, io, units, at, error);
    if (error != 0) return error;
  }
  return 0;
}
