/* share.c - several sockets on one address, and the classic BPF program that chooses among those of UDP. Needs no
 * privilege. Refuses to know what the bytes it looks at mean. */
#include "net/share.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <roamqtt/wire.h>

#include "net/sockaddr.h"

static void set_flag(int fd, int level, int name) {
  int on = 1;
  (void)setsockopt(fd, level, name, &on, sizeof on);
}

/* Any process of ours could join a group; one that is there already is not this broker. */
static int look(int type, const roam_addr *local) {
  union roam_sockaddr sa;
  bool six = local->family == 6;
  if (local->port == 0) return 0;
  int fd = socket(six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  if (type == SOCK_STREAM) set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
  if (six) set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
  socklen_t len = roam_sockaddr_from(local, &sa);
  int error = bind(fd, &sa.any, len) != 0 ? errno : 0;
  if (error == 0 && type == SOCK_STREAM && listen(fd, 1) != 0) error = errno;
  close(fd);
  return error;
}

int roam_share_before(int fd, int type, const roam_addr *local, const struct roam_sharing *sharing) {
  int on = 1;
  if (!sharing || sharing->sockets <= 1) return 0;
  int error = sharing->first ? look(type, local) : 0;
  if (error != 0) return error;
  return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 ? 0 : errno;
}

bool roam_share_steer(int fd, uint32_t sockets) {
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 2, 0),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ROAM_STEER_SHORT),
      BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ROAM_STEER_LONG),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, sockets),
      BPF_STMT(BPF_RET | BPF_A, 0), /* a datagram that is too short has ended the program with 0 */
  };
  struct sock_fprog all;
  memset(&all, 0, sizeof all); /* the kernel is given the padding, too */
  all.len = sizeof program / sizeof program[0];
  all.filter = program;
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &all, sizeof all) == 0;
}
