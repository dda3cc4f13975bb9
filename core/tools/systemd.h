/* systemd.h - the two things a service tells and is told under systemd, by hand: sockets it was given (LISTEN_FDS) and how
 * it is doing (NOTIFY_SOCKET). Without systemd both do nothing. */
#ifndef ROAM_SYSTEMD_H
#define ROAM_SYSTEMD_H

#include <roamqtt/base.h>

enum {
  ROAM_SYSTEMD_SOCKETS_MAX = 32
};

typedef struct roam_systemd_socket {
  int fd;
  char name[32];  /* FileDescriptorName= of the unit, or "" */
  bool stream;    /* listening */
  bool datagram;  /* bound, of IPv4 or IPv6 */
  bool dual;      /* it is of IPv6 and takes IPv4 too */
  bool local;     /* a Unix socket */
  roam_addr addr; /* of the others */
} roam_systemd_socket;

/* The sockets this process was given; how many. Takes the variables out of the environment. */
size_t roam_systemd_sockets(roam_systemd_socket out[ROAM_SYSTEMD_SOCKETS_MAX]);
/* "READY=1", "RELOADING=1", "STOPPING=1", "STATUS=..."; several stand on lines of their own. */
void roam_systemd_tell(const char *state);

#endif
