/* tcp.c - TCP sockets, never blocking. Refuses to queue: what the kernel does not take stays with the caller. */
#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/ifaddr.h"
#include "net/sockaddr.h"

enum {
  BACKLOG = 1024,
  /* Bytes the kernel holds beyond what the peer's window lets out. Without it the kernel takes megabytes for each peer that
   * does not read, outside of every bound of ours, and a thousand of them cost a second of copying. */
  UNSENT_MAX = 131072
};

static void set_flag(int fd, int level, int name) {
  int on = 1;
  (void)setsockopt(fd, level, name, &on, sizeof on); /* each is an improvement, none a condition */
}

static void set_up(int fd) {
  int unsent = UNSENT_MAX;
  set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

static int open_socket(int family, int *fd) {
  *fd = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return *fd < 0 ? errno : 0;
}

/* Closes the socket of a failed attempt and gives the errno that made it fail. */
static int give_up(int *fd, int error) {
  close(*fd);
  *fd = -1;
  return error;
}

static int listen_with(const roam_addr *local, bool dual, const struct roam_sharing *sharing, int *fd, roam_addr *bound) {
  int error = open_socket(local->family, fd), off = 0;
  if (error != 0) return error;
  set_flag(*fd, SOL_SOCKET, SO_REUSEADDR);
  if (local->family == 6 && !dual) set_flag(*fd, IPPROTO_IPV6, IPV6_V6ONLY);
  if (dual) (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  error = roam_share_before(*fd, SOCK_STREAM, local, sharing);
  if (error != 0) return give_up(fd, error);
  union roam_sockaddr sa;
  socklen_t len = roam_sockaddr_from(local, &sa);
  if (bind(*fd, &sa.any, len) != 0 || listen(*fd, BACKLOG) != 0) return give_up(fd, errno);
  *bound = roam_socket_local(*fd);
  return 0;
}

int roam_tcp_listen(const roam_addr *local, const struct roam_sharing *sharing, int *fd, roam_addr *bound) {
  bool dual = local->family == 6 && roam_addr_is_any(local);
  int error = listen_with(local, dual, sharing, fd, bound);
  return error == EADDRINUSE && dual ? listen_with(local, false, sharing, fd, bound) : error;
}

/* Nobody accepts there any more: the process that made the file has died without removing it. */
static bool is_stale(const struct sockaddr_un *at) {
  struct stat st;
  if (lstat(at->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool refused = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
  close(fd);
  return refused;
}

int roam_unix_listen(const char *path, unsigned mode, int *fd) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof at.sun_path) return ENAMETOOLONG;
  memcpy(at.sun_path, path, strlen(path) + 1);
  *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*fd < 0) return errno;
  (void)fchmod(*fd, (mode_t)mode); /* Linux gives the file these, less the umask, from its first moment on */
  if (bind(*fd, (const struct sockaddr *)&at, sizeof at) != 0) {
    int error = errno;
    if (error != EADDRINUSE || !is_stale(&at)) return give_up(fd, error);
    (void)unlink(path);
    if (bind(*fd, (const struct sockaddr *)&at, sizeof at) != 0) return give_up(fd, errno);
  }
  if (chmod(path, (mode_t)mode) != 0 || listen(*fd, BACKLOG) != 0) return give_up(fd, errno);
  return 0;
}

int roam_unix_connect(const char *path, int *fd) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  *fd = -1;
  if (strlen(path) >= sizeof at.sun_path) return ENAMETOOLONG;
  memcpy(at.sun_path, path, strlen(path) + 1);
  *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*fd < 0) return errno;
  return connect(*fd, (const struct sockaddr *)&at, sizeof at) == 0 ? 0 : give_up(fd, errno);
}

int roam_tcp_adopt(int given, int *fd, roam_addr *bound) {
  int listens = 0, type = 0;
  socklen_t len = sizeof listens, type_len = sizeof type;
  if (getsockopt(given, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0) return errno;
  if (getsockopt(given, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0) return errno;
  if (!listens || type != SOCK_STREAM) return EINVAL;
  int flags = fcntl(given, F_GETFL);
  if (flags < 0 || fcntl(given, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(given, F_SETFD, FD_CLOEXEC) != 0) return errno;
  *fd = given;
  *bound = roam_socket_local(given);
  return 0;
}

int roam_tcp_accept(int listener, int *fd, roam_addr *local, roam_addr *remote) {
  union roam_sockaddr sa;
  socklen_t len = sizeof sa;
  *fd = accept4(listener, &sa.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (*fd < 0) return errno == EWOULDBLOCK ? EAGAIN : errno;
  set_up(*fd);
  *remote = roam_sockaddr_to(&sa);
  *local = roam_socket_local(*fd);
  return 0;
}

int roam_tcp_connect(const roam_addr *local, const roam_addr *remote, const char *interface, int *fd) {
  *fd = -1;
  if (remote->family == 0 || (local->family != 0 && local->family != remote->family)) return EAFNOSUPPORT;
  int error = open_socket(remote->family, fd);
  if (error != 0) return error;
  set_up(*fd);
  roam_addr from = *local;
  if (interface != NULL && (error = roam_ifaddr_tie(*fd, interface, remote->family, &from)) != 0) return give_up(fd, error);
  union roam_sockaddr sa;
  if (from.family != 0) {
    if (from.port == 0)
      set_flag(*fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT); /* or 28 000 connections per address would be the end */
    socklen_t from_len = roam_sockaddr_from(&from, &sa);
    if (bind(*fd, &sa.any, from_len) != 0) return give_up(fd, errno);
  }
  socklen_t len = roam_sockaddr_from(remote, &sa);
  if (connect(*fd, &sa.any, len) != 0 && errno != EINPROGRESS && errno != EINTR) return give_up(fd, errno);
  return 0;
}

int roam_tcp_error(int fd) {
  int error = 0;
  socklen_t len = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

static ssize_t receive(int fd, void *bytes, size_t max, int flags) {
  ssize_t n;
  do {
    n = recv(fd, bytes, max, flags);
  } while (n < 0 && errno == EINTR);
  return n >= 0 ? n : -errno;
}

ssize_t roam_tcp_read(int fd, void *bytes, size_t max) { return receive(fd, bytes, max, 0); }

ssize_t roam_tcp_peek(int fd) {
  uint8_t byte;
  return receive(fd, &byte, 1, MSG_PEEK);
}

ssize_t roam_tcp_write(int fd, const struct iovec pieces[], size_t n) {
  struct msghdr msg = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = n};
  ssize_t done;
  do {
    done = sendmsg(fd, &msg, MSG_NOSIGNAL);
  } while (done < 0 && errno == EINTR);
  return done >= 0 ? done : -errno;
}

void roam_tcp_finish(int fd) { (void)shutdown(fd, SHUT_WR); }

void roam_tcp_close(int fd) { close(fd); }

void roam_tcp_reset(int fd) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}
