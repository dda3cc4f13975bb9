/* tcp.h - TCP sockets, never blocking. Refuses to queue: what the kernel does not take stays with the caller.
 *
 * All return 0 or a positive errno unless said otherwise. */
#ifndef ROAM_NET_TCP_H
#define ROAM_NET_TCP_H

#include <sys/types.h>
#include <sys/uio.h>

#include <roamqtt/base.h>

#include "net/share.h"

/* A listener at local (family 0: IPv4) in *fd, its true address in *bound. At [::] it takes IPv4 too, unless the
 * port is taken there; another IPv6 listener takes IPv6 only. sharing: one of several on that address, among which the
 * kernel spreads connections; NULL: alone. */
int roam_tcp_listen(const roam_addr *local, const struct roam_sharing *sharing, int *fd, roam_addr *bound);
/* A listener on a Unix socket with these permissions. A file there that no process listens on any more is replaced; any
 * other gives EADDRINUSE. */
int roam_unix_listen(const char *path, unsigned mode, int *fd);
/* Takes over a descriptor that somebody else made and that listens already; EINVAL: it is no such thing. */
int roam_tcp_adopt(int given, int *fd, roam_addr *bound);
/* The next waiting connection. EAGAIN: none. */
int roam_tcp_accept(int listener, int *fd, roam_addr *local, roam_addr *remote);
/* Begins a connection to remote from local (family 0: any) over an interface (NULL: any). 0: writable tells when it is made
 * or has failed, roam_tcp_error says which. */
int roam_tcp_connect(const roam_addr *local, const roam_addr *remote, const char *interface, int *fd);
/* The same to a Unix socket; EAGAIN: too many wait there. */
int roam_unix_connect(const char *path, int *fd);
/* The error that a socket keeps, 0 for none; reading it clears it. */
int roam_tcp_error(int fd);
/* Bytes read or written, 0 at the end of the stream (read only), or a negative errno, -EAGAIN when nothing can be done now.
 */
ssize_t roam_tcp_read(int fd, void *bytes, size_t max);
/* Like a read of one byte that leaves it there. */
ssize_t roam_tcp_peek(int fd);
ssize_t roam_tcp_write(int fd, const struct iovec pieces[], size_t n);
/* Sends FIN after what the kernel holds. */
void roam_tcp_finish(int fd);
void roam_tcp_close(int fd);
/* Closes with a reset; what the kernel holds is dropped. */
void roam_tcp_reset(int fd);

#endif
