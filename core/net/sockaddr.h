/* sockaddr.h - roam_addr to and from the kernel's socket addresses. Refuses to know any other family than IPv4 and IPv6. */
#ifndef ROAM_NET_SOCKADDR_H
#define ROAM_NET_SOCKADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <roamqtt/base.h>

/* Room for either family; sockaddr_storage is four times as large and there is one per datagram of a batch. */
union roam_sockaddr {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* Fills *out and returns its length; family 0 is taken as IPv4 "any". */
socklen_t roam_sockaddr_from(const roam_addr *addr, union roam_sockaddr *out);
/* The address in a socket address; family 0 when it is of another kind. */
roam_addr roam_sockaddr_to(const union roam_sockaddr *sa);
/* The local address of a socket, the remote one; family 0 when there is none. */
roam_addr roam_socket_local(int fd);
roam_addr roam_socket_remote(int fd);

#endif
