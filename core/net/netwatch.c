/* netwatch.c - see netwatch.h. rtnetlink groups need no privilege. */
#include "net/netwatch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int roam_netwatch_open(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  struct sockaddr_nl local = {.nl_family = AF_NETLINK,
                              .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                                           RTMGRP_IPV6_ROUTE};
  if (bind(fd, (struct sockaddr *)&local, sizeof local) == 0) return fd;
  int error = errno;
  close(fd);
  return -error;
}

static int read_message(const struct nlmsghdr *header, const uint8_t *body, size_t len) {
  struct rtmsg route;
  switch (header->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWADDR:
    case RTM_DELADDR: return ROAM_NETWATCH_ADDRESSES;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (len < sizeof route) return 0;
      memcpy(&route, body, sizeof route);
      return route.rtm_dst_len == 0 && route.rtm_table != RT_TABLE_LOCAL ? ROAM_NETWATCH_ROUTES : 0;
    default: return 0;
  }
}

int roam_netwatch_parse(const void *bytes, size_t len) {
  const uint8_t *at = bytes;
  int news = 0;
  struct nlmsghdr header;
  while (len >= sizeof header) {
    memcpy(&header, at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > len) break;
    news |= read_message(&header, at + sizeof header, header.nlmsg_len - sizeof header);
    size_t step = NLMSG_ALIGN((size_t)header.nlmsg_len);
    if (step > len) break;
    at += step;
    len -= step;
  }
  return news;
}

int roam_netwatch_read(int fd) {
  uint8_t bytes[16384];
  int news = 0;
  for (int i = 0; i < 64; i++) {
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == ENOBUFS ? news | ROAM_NETWATCH_ADDRESSES | ROAM_NETWATCH_ROUTES : news;
    if (n == 0) break;
    news |= roam_netwatch_parse(bytes, (size_t)n);
  }
  return news;
}
