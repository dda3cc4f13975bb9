/* ifaddr.c - which addresses this machine's interfaces have now. Refuses to watch for changes. */
#include "net/ifaddr.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <stdio.h>
#include <string.h>

#include "net/sockaddr.h"

static bool is_link_local(const roam_addr *addr) {
  return addr->family == 6 && addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;
}

/* IPv6 addresses that the kernel still tries out, or found to be another's, cannot be bound. getifaddrs does not tell. */
static bool is_tentative(const roam_addr *addr) {
  char line[128], text[33];
  unsigned flags, ignored[3];
  bool tentative = false;
  if (addr->family != 6) return false;
  for (int i = 0; i < 16; i++) snprintf(text + 2 * (size_t)i, 3, "%02x", addr->ip[i]);
  FILE *f = fopen("/proc/net/if_inet6", "re");
  if (!f) return false;
  while (!tentative && fgets(line, sizeof line, f))
    tentative = strncmp(line, text, 32) == 0 &&
                sscanf(line + 32, "%x %x %x %x", &ignored[0], &ignored[1], &ignored[2], &flags) == 4 &&
                (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0;
  fclose(f);
  return tentative;
}

static bool read_entry(const struct ifaddrs *from, struct roam_ifaddr *out) {
  if (from->ifa_addr == NULL) return false;
  union roam_sockaddr sa;
  memset(&sa, 0, sizeof sa);
  if (from->ifa_addr->sa_family == AF_INET) memcpy(&sa.v4, from->ifa_addr, sizeof sa.v4);
  else if (from->ifa_addr->sa_family == AF_INET6) memcpy(&sa.v6, from->ifa_addr, sizeof sa.v6);
  else return false;
  *out = (struct roam_ifaddr){.addr = roam_sockaddr_to(&sa),
                              .up = (from->ifa_flags & IFF_UP) != 0 && (from->ifa_flags & IFF_RUNNING) != 0,
                              .loopback = (from->ifa_flags & IFF_LOOPBACK) != 0};
  if (out->up && is_tentative(&out->addr)) out->up = false;
  strncpy(out->name, from->ifa_name, sizeof out->name - 1);
  return true;
}

int roam_ifaddr_list(struct roam_ifaddr out[], size_t max) {
  struct ifaddrs *all;
  if (getifaddrs(&all) != 0) return -errno;
  size_t n = 0;
  for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
    struct roam_ifaddr entry;
    if (!read_entry(i, &entry)) continue;
    if (n < max) out[n] = entry;
    n++;
  }
  freeifaddrs(all);
  return (int)n;
}

int roam_ifaddr_find(const char *name, int family, roam_addr *out) {
  struct ifaddrs *all;
  if (getifaddrs(&all) != 0) return errno;
  bool seen = false, found = false;
  for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
    if (strcmp(i->ifa_name, name) != 0) continue;
    seen = true;
    struct roam_ifaddr entry;
    if (!read_entry(i, &entry) || entry.addr.family != family || (found && !is_link_local(out))) continue;
    *out = entry.addr;
    found = true;
  }
  freeifaddrs(all);
  return found ? 0 : seen ? EADDRNOTAVAIL : ENODEV;
}

int roam_ifaddr_tie(int fd, const char *name, int family, roam_addr *local) {
  if (if_nametoindex(name) == 0) return ENODEV;
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) == 0) return 0;
  if (errno != EPERM && errno != EACCES && errno != ENOPROTOOPT) return errno;
  if (!roam_addr_is_any(local)) return 0; /* the caller's own address names the interface as well as we could */
  uint16_t port = local->port;
  int error = roam_ifaddr_find(name, family, local);
  local->port = port;
  return error;
}
