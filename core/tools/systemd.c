/* systemd.c - see systemd.h. */
#include "systemd.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FIRST 3 /* SD_LISTEN_FDS_START */

static void describe(roam_systemd_socket *s) {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
  } sa = {0};
  socklen_t len = sizeof sa, size = sizeof(int);
  int listens = 0;
  if (getsockopt(s->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) return;
  s->stream = listens != 0;
  if (getsockname(s->fd, &sa.any, &len) != 0) return;
  int type = 0, only = 1;
  size = sizeof type;
  bool datagram = getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
  size = sizeof only;
  if (sa.any.sa_family == AF_INET6) (void)getsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size);
  s->local = sa.any.sa_family == AF_UNIX;
  if (sa.any.sa_family == AF_INET) {
    s->addr = (roam_addr){.family = 4, .port = ntohs(sa.v4.sin_port)};
    memcpy(s->addr.ip, &sa.v4.sin_addr, 4);
  } else if (sa.any.sa_family == AF_INET6) {
    s->addr = (roam_addr){.family = 6, .port = ntohs(sa.v6.sin6_port), .scope = sa.v6.sin6_scope_id};
    memcpy(s->addr.ip, &sa.v6.sin6_addr, 16);
    s->dual = !only && roam_addr_is_any(&s->addr);
  }
  s->datagram = datagram && s->addr.port != 0;
}

static long number_of(const char *variable) {
  const char *text = getenv(variable);
  char *end;
  long value = text ? strtol(text, &end, 10) : 0;
  return text && *text && *end == 0 ? value : 0;
}

size_t roam_systemd_sockets(roam_systemd_socket out[ROAM_SYSTEMD_SOCKETS_MAX]) {
  long count = number_of("LISTEN_FDS");
  const char *names = getenv("LISTEN_FDNAMES");
  if (number_of("LISTEN_PID") != (long)getpid() || count < 0) count = 0;
  if (count > ROAM_SYSTEMD_SOCKETS_MAX) count = ROAM_SYSTEMD_SOCKETS_MAX;
  for (long i = 0; i < count; i++) {
    size_t len = names ? strcspn(names, ":") : 0;
    out[i] = (roam_systemd_socket){.fd = FIRST + (int)i};
    snprintf(out[i].name, sizeof out[i].name, "%.*s", (int)(len < 31 ? len : 31), names ? names : "");
    if (names) names += names[len] ? len + 1 : len;
    describe(&out[i]);
  }
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
  unsetenv("LISTEN_FDNAMES");
  return (size_t)count;
}

void roam_systemd_tell(const char *state) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  char text[512];
  if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path) return;
  size_t len = strlen(path);
  memcpy(to.sun_path, path, len);
  if (path[0] == '@') to.sun_path[0] = 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int n = strncmp(state, "RELOADING=1", 11) == 0
              ? snprintf(text, sizeof text, "%s\nMONOTONIC_USEC=%llu", state,
                         (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000)
              : snprintf(text, sizeof text, "%s", state);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (n > 0 && (size_t)n < sizeof text)
    (void)sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&to,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
  close(fd);
}
