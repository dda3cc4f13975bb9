/* netwatch.h - is told by the kernel when links, addresses or default routes change. Refuses to say what they are now: that is
 * ifaddr.h, asked after a change. */
#ifndef ROAM_NET_NETWATCH_H
#define ROAM_NET_NETWATCH_H

#include <stddef.h>

enum {
  ROAM_NETWATCH_ADDRESSES = 1, /* a link or an address changed, or the kernel had too much to tell */
  ROAM_NETWATCH_ROUTES = 2     /* a default route came or went */
};

int roam_netwatch_open(void); /* a descriptor, readable when there is news; or a negative errno */
int roam_netwatch_read(int fd); /* all news there are, as bits of the above; 0: none */
/* The same for the bytes of one message batch, for tests: whatever they are, nothing beyond len is read. */
int roam_netwatch_parse(const void *bytes, size_t len);

#endif
