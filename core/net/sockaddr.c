/* sockaddr.c - roam_addr to and from the kernel's socket addresses. Refuses to know any other family than IPv4 and IPv6. */
#include "net/sockaddr.h"

#include <arpa/inet.h>
#include <string.h>

socklen_t roam_sockaddr_from(const roam_addr *addr, union roam_sockaddr *out) {
  memset(out, 0, sizeof *out);
  if (addr->family == 6) {
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(addr->port);
    out->v6.sin6_scope_id = addr->scope;
    memcpy(&out->v6.sin6_addr, addr->ip, 16);
    return sizeof out->v6;
  }
  out->v4.sin_family = AF_INET;
  out->v4.sin_port = htons(addr->port);
  memcpy(&out->v4.sin_addr, addr->ip, 4);
  return sizeof out->v4;
}

roam_addr roam_sockaddr_to(const union roam_sockaddr *sa) {
  roam_addr addr = {0};
  if (sa->any.sa_family == AF_INET) {
    addr.family = 4;
    addr.port = ntohs(sa->v4.sin_port);
    memcpy(addr.ip, &sa->v4.sin_addr, 4);
  } else if (sa->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&sa->v6.sin6_addr)) {
    addr.family = 4; /* of a dual-stack socket */
    addr.port = ntohs(sa->v6.sin6_port);
    memcpy(addr.ip, sa->v6.sin6_addr.s6_addr + 12, 4);
  } else if (sa->any.sa_family == AF_INET6) {
    addr.family = 6;
    addr.port = ntohs(sa->v6.sin6_port);
    addr.scope = sa->v6.sin6_scope_id;
    memcpy(addr.ip, &sa->v6.sin6_addr, 16);
  }
  return addr;
}

roam_addr roam_socket_local(int fd) {
  union roam_sockaddr sa = {0};
  socklen_t len = sizeof sa;
  if (getsockname(fd, &sa.any, &len) != 0) return (roam_addr){0};
  return roam_sockaddr_to(&sa);
}

roam_addr roam_socket_remote(int fd) {
  union roam_sockaddr sa = {0};
  socklen_t len = sizeof sa;
  if (getpeername(fd, &sa.any, &len) != 0) return (roam_addr){0};
  return roam_sockaddr_to(&sa);
}
