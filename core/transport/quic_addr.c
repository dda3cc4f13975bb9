/* quic_addr.c - roam_addr to and from the socket addresses ngtcp2 wants. Refuses to open one. */
#include <arpa/inet.h>
#include <string.h>

#include "transport/quic.h"

static ngtcp2_socklen to_sockaddr(const roam_addr *a, ngtcp2_sockaddr_union *out) {
  memset(out, 0, sizeof *out);
  if (a->family == 6) {
    out->in6.sin6_family = AF_INET6;
    out->in6.sin6_port = htons(a->port);
    out->in6.sin6_scope_id = a->scope;
    memcpy(&out->in6.sin6_addr, a->ip, 16);
    return sizeof out->in6;
  }
  out->in.sin_family = AF_INET;
  out->in.sin_port = htons(a->port);
  memcpy(&out->in.sin_addr, a->ip, 4);
  return sizeof out->in;
}

void roam_quic_path_from(ngtcp2_path_storage *ps, const roam_addr *local, const roam_addr *remote, uint32_t handle) {
  ps->path.local.addr = &ps->local_addrbuf.sa;
  ps->path.remote.addr = &ps->remote_addrbuf.sa;
  ps->path.local.addrlen = to_sockaddr(local, &ps->local_addrbuf);
  ps->path.remote.addrlen = to_sockaddr(remote, &ps->remote_addrbuf);
  ps->path.user_data = (void *)(uintptr_t)handle;
}

roam_addr roam_quic_addr_of(const ngtcp2_addr *addr) {
  roam_addr out = {0};
  if (addr->addrlen == 0) return out;
  if (addr->addr->sa_family == AF_INET6) {
    const ngtcp2_sockaddr_in6 *in6 = (const void *)addr->addr;
    out.family = 6;
    out.port = ntohs(in6->sin6_port);
    out.scope = in6->sin6_scope_id;
    memcpy(out.ip, &in6->sin6_addr, 16);
  } else {
    const ngtcp2_sockaddr_in *in = (const void *)addr->addr;
    out.family = 4;
    out.port = ntohs(in->sin_port);
    memcpy(out.ip, &in->sin_addr, 4);
  }
  return out;
}

bool roam_quic_addr_is(const ngtcp2_addr *addr, const roam_addr *other) {
  roam_addr mine = roam_quic_addr_of(addr);
  mine.scope = other->scope; /* ngtcp2 does not tell zones apart either */
  return roam_addr_equal(&mine, other);
}
