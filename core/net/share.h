/* share.h - several sockets on one address (SO_REUSEPORT). */
#ifndef ROAM_NET_SHARE_H
#define ROAM_NET_SHARE_H

#include <roamqtt/base.h>

/* How a socket shares its address; all zero: it does not. */
struct roam_sharing {
  uint32_t sockets; /* how many there will be */
  bool first;       /* nobody else may be there yet */
  bool steer;       /* UDP: see ROAM_STEER_SHORT in wire.h */
};

/* Before bind: 0, or an errno. For the first it looks whether somebody is there, whom the kernel would let us join. */
int roam_share_before(int fd, int type, const roam_addr *local, const struct roam_sharing *sharing);
/* After bind, UDP. False: the kernel would not; it spreads by addresses then. */
bool roam_share_steer(int fd, uint32_t sockets);

#endif
