/* ifaddr.h - which addresses this machine's interfaces have now. Refuses to watch for changes. */
#ifndef ROAM_NET_IFADDR_H
#define ROAM_NET_IFADDR_H

#include <net/if.h>

#include <roamqtt/base.h>

struct roam_ifaddr {
  char name[IF_NAMESIZE];
  roam_addr addr; /* port 0 */
  bool up, loopback; /* up: and with a carrier, and not tentative */
};

/* The IPv4 and IPv6 addresses of all interfaces into out, at most max; how many there are, or a negative errno. */
int roam_ifaddr_list(struct roam_ifaddr out[], size_t max);
/* An address of the interface in this family (4 or 6), global before link-local. 0, ENODEV without such an interface,
 * EADDRNOTAVAIL when it has no such address. */
int roam_ifaddr_find(const char *name, int family, roam_addr *out);
/* Ties a socket to an interface: SO_BINDTODEVICE where permitted, else the interface's address is put into *local when
 * that names none. 0 or an errno. */
int roam_ifaddr_tie(int fd, const char *name, int family, roam_addr *local);

#endif
