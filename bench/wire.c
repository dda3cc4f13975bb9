/* wire.c - see wire.h. The parent is the wire; each end is a child in a namespace of its own, which opens its TUN device
 * there and hands the descriptor up. */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <roamqtt/hop.h>
#include <roamqtt/sim.h>

#define PACKET_MAX 2048
#define DEVICE_MTU 1500
#define DEVICE_QUEUE 10000 /* packets: what is lost is to be lost by the hop */
#define SLACK_NS 1000

enum {
  FAR,
  NEAR,
  ENDS
};

struct end {
  pid_t pid;
  int up; /* socket to the child */
  int tun;
};

struct wire {
  struct end ends[ENDS];
  roam_hop *loss, *delay;
  roam_world *chance; /* made for its seeded numbers alone */
};

static char reason[160];

static bool fail(const char *what) {
  snprintf(reason, sizeof reason, "%s: %s", what, strerror(errno));
  return false;
}

static roam_time now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (roam_time)t.tv_sec * ROAM_S + (roam_time)t.tv_nsec;
}

/* ---- in a child: its namespace -----------------------------------------------------------------------------------------
 */

static bool set_address(int s, struct ifreq *r, unsigned long request, const char *address) {
  struct sockaddr_in *in = (struct sockaddr_in *)&r->ifr_addr;
  *in = (struct sockaddr_in){.sin_family = AF_INET};
  return inet_pton(AF_INET, address, &in->sin_addr) == 1 && ioctl(s, request, r) == 0;
}

static bool set_up(int s, struct ifreq *r) {
  if (ioctl(s, SIOCGIFFLAGS, r) != 0) return false;
  r->ifr_flags |= IFF_UP;
  return ioctl(s, SIOCSIFFLAGS, r) == 0;
}

static bool configure(const char *device, const char *address) {
  struct ifreq r = {0}, lo = {0};
  int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (s < 0) return false;
  snprintf(lo.ifr_name, sizeof lo.ifr_name, "lo");
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", device);
  bool good =
      set_up(s, &lo) && set_address(s, &r, SIOCSIFADDR, address) && set_address(s, &r, SIOCSIFNETMASK, "255.255.255.0");
  r.ifr_mtu = DEVICE_MTU;
  good = good && ioctl(s, SIOCSIFMTU, &r) == 0;
  r.ifr_qlen = DEVICE_QUEUE;
  good = good && ioctl(s, SIOCSIFTXQLEN, &r) == 0 && set_up(s, &r);
  close(s);
  return good;
}

static int open_tun(const char *device) {
  struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  snprintf(r.ifr_name, sizeof r.ifr_name, "%s", device);
  if (fd >= 0 && ioctl(fd, TUNSETIFF, &r) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

/* As in the published measurement, by a route of its own: the system-wide choice may not be ours to make. */
static bool prefer_cubic(const char *device, const char *address) {
  char command[192];
  snprintf(command, sizeof command,
           "ip route change 10.99.0.0/24 dev %s proto kernel scope link src %s congctl cubic >/dev/null 2>&1", device,
           address);
  return system(command) == 0;
}

static void read_congestion(char out[16]) {
  ssize_t n = -1;
  int fd = open("/proc/sys/net/ipv4/tcp_congestion_control", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) n = read(fd, out, 15);
  if (fd >= 0) close(fd);
  out[n > 0 ? n : 0] = 0;
  out[strcspn(out, "\n")] = 0;
}

/* What a child says once: how its set-up went, and with it the descriptor when it went well. */
struct greeting {
  int error;
  char what[64], congestion[16];
};

static bool send_greeting(int up, const struct greeting *g, int fd) {
  struct iovec vec = {(void *)(uintptr_t)g, sizeof *g};
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {.bytes = {0}};
  struct msghdr m = {.msg_iov = &vec, .msg_iovlen = 1};
  if (fd >= 0) {
    m.msg_control = control.bytes;
    m.msg_controllen = sizeof control.bytes;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  return sendmsg(up, &m, MSG_NOSIGNAL) == (ssize_t)sizeof *g;
}

static bool read_greeting(int up, struct greeting *g, int *fd) {
  struct iovec vec = {g, sizeof *g};
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr m = {
      .msg_iov = &vec, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  *fd = -1;
  *g = (struct greeting){.error = ECHILD, .what = "a process for the namespace"};
  ssize_t n = recvmsg(up, &m, MSG_CMSG_CLOEXEC);
  struct cmsghdr *c = n == (ssize_t)sizeof *g ? CMSG_FIRSTHDR(&m) : NULL;
  if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(c), sizeof *fd);
  return *fd >= 0;
}

static int make_end(int which, struct greeting *g) {
  const char *device = which == FAR ? "roamfar" : "roamnear";
  snprintf(g->what, sizeof g->what, "a network namespace (unshare)");
  if (unshare(CLONE_NEWNET) != 0) return -1;
  snprintf(g->what, sizeof g->what, "/dev/net/tun");
  int fd = open_tun(device);
  if (fd < 0) return -1;
  snprintf(g->what, sizeof g->what, "configuring %s", device);
  if (!configure(device, which == FAR ? WIRE_FAR : WIRE_NEAR)) return -1;
  if (prefer_cubic(device, which == FAR ? WIRE_FAR : WIRE_NEAR)) snprintf(g->congestion, sizeof g->congestion, "cubic");
  else read_congestion(g->congestion); /* no `ip`, or no such module: what is in force is told */
  return fd;
}

static void become_end(int which, int up, pid_t parent, wire_end run, void *shared) {
  struct greeting g = {0};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  int fd = make_end(which, &g);
  g.error = fd < 0 ? errno : 0;
  char go;
  if (!send_greeting(up, &g, fd) || fd < 0) _exit(1);
  close(fd);
  if (read(up, &go, 1) != 1) _exit(1); /* both ends are there */
  int code = run(shared);
  fflush(NULL);
  _exit(code);
}

/* ---- in the parent: the wire -------------------------------------------------------------------------------------------
 */

static bool start_end(struct wire *w, int which, wire_end run, void *shared) {
  int pair[2];
  pid_t parent = getpid();
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return fail("socketpair");
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    close(pair[0]);
    become_end(which, pair[1], parent, run, shared);
  }
  close(pair[1]);
  w->ends[which].up = pair[0];
  w->ends[which].pid = pid;
  return pid > 0 || fail("fork");
}

static bool greet(struct wire *w, struct wire_stats *stats) {
  struct greeting g;
  for (int i = 0; i < ENDS; i++) {
    if (!read_greeting(w->ends[i].up, &g, &w->ends[i].tun)) {
      errno = g.error;
      return fail(g.what);
    }
    memcpy(stats->congestion, g.congestion, sizeof stats->congestion);
  }
  for (int i = 0; i < ENDS; i++)
    if (write(w->ends[i].up, "g", 1) != 1) return fail("an end of the wire");
  return true;
}

/* What an end's kernel sent goes into the hops; IPv4 alone, for the rest is the kernel's own chatter. */
static void take_packets(struct wire *w, int from) {
  uint8_t packet[PACKET_MAX];
  roam_dir dir = from == NEAR ? ROAM_OUT : ROAM_IN;
  ssize_t n;
  while ((n = read(w->ends[from].tun, packet, sizeof packet)) > 0) {
    if (n < 20 || packet[0] >> 4 != 4) continue;
    roam_parcel *parcel = roam_parcel_new(packet, (size_t)n);
    if (!parcel) continue;
    parcel->proto = packet[9];
    roam_hop_put(w->loss, now(), dir, parcel);
  }
}

static void give_packets(struct wire *w) {
  roam_dir dir;
  roam_parcel *parcel;
  roam_time at = now();
  while ((parcel = roam_hop_take(w->loss, at, &dir))) roam_hop_put(w->delay, at, dir, parcel);
  while ((parcel = roam_hop_take(w->delay, at, &dir))) {
    ssize_t n = write(w->ends[dir == ROAM_OUT ? FAR : NEAR].tun, parcel->data, parcel->len);
    (void)n; /* a device whose queue is full drops, as one does */
    roam_parcel_free(parcel);
  }
}

static void wait_for_work(const struct wire *w) {
  struct pollfd fds[ENDS] = {{w->ends[FAR].tun, POLLIN, 0}, {w->ends[NEAR].tun, POLLIN, 0}};
  roam_time due = roam_hop_deadline(w->delay), at = now();
  uint64_t wait = due <= at ? 0 : due - at < 10 * ROAM_MS ? due - at : 10 * ROAM_MS;
  struct timespec t = {.tv_sec = 0, .tv_nsec = (long)wait};
  (void)ppoll(fds, ENDS, &t, NULL);
}

/* True once the end is over; its code in *code. */
static bool is_over(struct end *e, int *code) {
  int status;
  if (e->pid <= 0) return true;
  if (waitpid(e->pid, &status, WNOHANG) != e->pid) return false;
  e->pid = 0;
  *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return true;
}

static bool carry(struct wire *w, const struct wire_options *o, const volatile bool *lossy, uint64_t limit_ns) {
  roam_time end = now() + limit_ns;
  bool losing = false;
  int code = 0;
  while (!is_over(&w->ends[NEAR], &code)) {
    if (*lossy != losing) roam_loss_set(w->loss, (losing = *lossy) ? o->loss_ppm : 0);
    wait_for_work(w);
    take_packets(w, FAR);
    take_packets(w, NEAR);
    give_packets(w);
    int far = 0;
    if (is_over(&w->ends[FAR], &far)) {
      snprintf(reason, sizeof reason, "the far end ended early with %d", far);
      return false;
    }
    if (now() > end) {
      snprintf(reason, sizeof reason, "the near end did not come to an end in time");
      return false;
    }
  }
  if (code != 0) snprintf(reason, sizeof reason, "the near end failed with %d", code);
  return code == 0;
}

static bool make_hops(struct wire *w, const struct wire_options *o) {
  roam_delay_options d;
  roam_loss_options l;
  roam_world_options world;
  roam_world_options_init(&world);
  roam_delay_options_init(&d);
  roam_loss_options_init(&l);
  d.delay_ns = o->delay_ns;
  l.mtu = 0; /* a parcel is a whole packet here; the devices keep it within theirs */
  world.seed = o->seed;
  w->chance = roam_world_new(&world);
  if (!w->chance) return false;
  w->loss = roam_loss_new(&l, roam_world_random(w->chance));
  w->delay = roam_delay_new(&d, roam_world_random(w->chance));
  return w->loss && w->delay;
}

static void clear(struct wire *w) {
  for (int i = 0; i < ENDS; i++) {
    struct end *e = &w->ends[i];
    if (e->pid > 0) {
      kill(e->pid, SIGKILL);
      waitpid(e->pid, NULL, 0);
    }
    if (e->up >= 0) close(e->up);
    if (e->tun >= 0) close(e->tun);
  }
  roam_hop_free(w->loss);
  roam_hop_free(w->delay);
  roam_world_free(w->chance);
}

bool wire_run(const struct wire_options *o, wire_end far, wire_end near, void *shared, volatile bool *lossy,
              uint64_t limit_ns, struct wire_stats *stats, const char **why) {
  struct wire w = {.ends = {{.up = -1, .tun = -1}, {.up = -1, .tun = -1}}};
  *stats = (struct wire_stats){0};
  *why = reason;
  errno = ENOMEM;
  prctl(PR_SET_TIMERSLACK, SLACK_NS);
  bool good = make_hops(&w, o) || fail("the hops");
  good = good && start_end(&w, FAR, far, shared) && start_end(&w, NEAR, near, shared) && greet(&w, stats);
  good = good && carry(&w, o, lossy, limit_ns);
  if (w.delay) memcpy(stats->passed, roam_hop_get_stats(w.delay).passed, sizeof stats->passed);
  if (w.loss) memcpy(stats->dropped, roam_hop_get_stats(w.loss).dropped, sizeof stats->dropped);
  clear(&w);
  return good;
}
