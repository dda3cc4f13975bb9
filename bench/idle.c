/* idle.c - `roamqtt-bench idle`: what an idle QUIC connection costs our broker, and whether it keeps all of them when all
 * move to new addresses.
 *
 * Two load processes hold the clients; the broker is a third process, whose resident memory is read from the system before
 * the first client and while all are held: heap, allocator's overhead and whatever else it needed for them. Nothing here
 * passes or fails by a time, only by a connection that was lost or did not arrive. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <roamqtt/load.h>
#include <roamqtt/loop.h>

#include "idle.h"
#include "subject.h"
#include "table.h"

#define PROCESSES 2
#define CLIENTS_DEFAULT 10000
#define SOCKETS_EACH 2 /* while it moves */
#define SPARE_FILES 64
#define ADDRESSES 8

/* One load process, as its parent sees it. */
struct herd {
  pid_t pid;
  int command, answer; /* 'm' goes down; a report comes up after connecting and after each move */
};

struct idle {
  uint32_t clients;
  unsigned moves;
  bool quick;
  struct subject broker;
  struct herd herds[PROCESSES];
};

/* ---- in a load process ----------------------------------------------------------------------------------------------- */

static void fill_addresses(roam_addr to[ADDRESSES], unsigned move) {
  char text[32];
  for (unsigned i = 0; i < ADDRESSES; i++) {
    snprintf(text, sizeof text, "127.0.%u.%u", 20 + move % 100, 1 + i);
    (void)roam_addr_parse(text, &to[i]);
  }
}

static void answer(int fd, const roam_hold *h) {
  roam_hold_report report;
  roam_hold_get_report(h, &report);
  if (report.text[0]) fprintf(stderr, "bench: %s\n", report.text);
  report.text = NULL;
  if (write(fd, &report, sizeof report) != (ssize_t)sizeof report) _exit(1);
}

static bool told_to_move(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  char c;
  if (poll(&p, 1, 0) != 1) return false;
  if (read(fd, &c, 1) != 1) _exit(0); /* the parent is done with us */
  return true;
}

static void work(roam_loop *loop, roam_hold *h, int command, int up) {
  roam_hold_stage last = ROAM_HOLD_CONNECTING;
  roam_addr to[ADDRESSES];
  for (unsigned move = 0;;) {
    if (roam_loop_step(loop, 50 * ROAM_MS) < 0) _exit(1);
    roam_hold_stage stage = roam_hold_get_stage(h);
    if (stage == ROAM_HOLD_HELD && last != ROAM_HOLD_HELD) answer(up, h);
    last = stage;
    if (stage != ROAM_HOLD_HELD || !told_to_move(command)) continue;
    fill_addresses(to, move++);
    if (roam_hold_move(h, roam_loop_now(loop), to, ADDRESSES, false) != 0) _exit(1);
    last = ROAM_HOLD_MOVING;
  }
}

static void become_herd(const struct idle *b, int command, int up) {
  char url[64];
  const char *why = "no memory";
  roam_client_options c;
  roam_hold_options o;
  roam_hold_options_init(&o);
  o.clients = b->clients / PROCESSES;
  o.connect_wait_ns = 300 * ROAM_S;
  if (b->quick) o.move_over_ns = ROAM_S;
  roam_client_options_init(&c);
  snprintf(url, sizeof url, "mqtt-quic://127.0.0.1:%u", b->broker.quic);
  c.url = url;
  c.tls.insecure = true; /* a broker of our own, started a moment ago */
  c.connect_timeout_ns = 60 * ROAM_S;
  roam_loop *loop = roam_loop_new(NULL);
  roam_hold *h = loop ? roam_hold_new(&o, &c, roam_random_system(), NULL, &why) : NULL;
  if (!h || roam_loop_add(loop, roam_hold_machine(h), NULL, NULL) != 0 || roam_hold_start(h, roam_loop_now(loop)) != 0) {
    fprintf(stderr, "bench: %s\n", why);
    _exit(1);
  }
  work(loop, h, command, up);
}

/* ---- in the parent --------------------------------------------------------------------------------------------------- */

static bool start_herd(struct idle *b, struct herd *herd) {
  int down[2], up[2];
  pid_t parent = getpid();
  if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) return false;
  herd->command = down[1];
  herd->answer = up[0];
  herd->pid = fork();
  if (herd->pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(down[1]);
    become_herd(b, down[0], up[1]);
  }
  close(down[0]);
  close(up[1]);
  return herd->pid > 0;
}

/* What all load processes answer, added up; the worst where a sum makes no sense. */
static bool gather(const struct idle *b, roam_hold_report *sum) {
  *sum = (roam_hold_report){0};
  for (size_t i = 0; i < PROCESSES; i++) {
    roam_hold_report r;
    if (read(b->herds[i].answer, &r, sizeof r) != (ssize_t)sizeof r) return false;
    sum->connected += r.connected;
    sum->lost += r.lost;
    sum->arrived += r.arrived;
    sum->missing += r.missing;
    sum->failed += r.failed;
    if (r.move_p50_ns > sum->move_p50_ns) sum->move_p50_ns = r.move_p50_ns;
    if (r.move_p99_ns > sum->move_p99_ns) sum->move_p99_ns = r.move_p99_ns;
    if (r.move_max_ns > sum->move_max_ns) sum->move_max_ns = r.move_max_ns;
  }
  return true;
}

static void tell_memory(const struct idle *b, const char *when, uint64_t before, uint32_t connected) {
  uint64_t now = subject_resident_bytes(&b->broker);
  uint64_t each = connected > 0 && now > before ? (now - before) / connected : 0;
  printf("%-22s %6u connections  broker %7.1f MiB resident, %5.1f KiB for each connection\n", when, connected,
         (double)now / 1048576, (double)each / 1024);
  fflush(stdout);
}

static bool move_all(const struct idle *b, roam_hold_report *r) {
  for (size_t i = 0; i < PROCESSES; i++)
    if (write(b->herds[i].command, "m", 1) != 1) return false;
  return gather(b, r);
}

static bool measure(struct idle *b, uint64_t before) {
  roam_hold_report r;
  if (!gather(b, &r)) return false;
  tell_memory(b, "held", before, r.connected);
  bool good = r.connected == b->clients;
  for (unsigned move = 0; move < b->moves; move++) {
    if (!move_all(b, &r)) return false;
    printf(
        "moved to new addresses %6u arrived, %u lost, %u missing, %u migrations failed; p50 %.1f ms, p99 %.1f ms, longest "
        "%.1f ms\n",
        r.arrived, r.lost, r.missing, r.failed, (double)r.move_p50_ns / 1e6, (double)r.move_p99_ns / 1e6,
        (double)r.move_max_ns / 1e6);
    tell_memory(b, "held there", before, r.connected);
    good &= r.lost == 0 && r.missing == 0 && r.arrived == b->clients;
  }
  return good;
}

/* As many as the descriptor limit allows, said when it is fewer. */
static void fit(struct idle *b) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
  uint64_t most = limit.rlim_cur > SPARE_FILES ? (limit.rlim_cur - SPARE_FILES) / SOCKETS_EACH * PROCESSES : PROCESSES;
  if (b->clients <= most) return;
  printf("only %u clients: %llu descriptors are allowed here (ulimit -n)\n", (unsigned)most,
         (unsigned long long)limit.rlim_cur);
  b->clients = (uint32_t)most;
}

static void stop(struct idle *b) {
  for (size_t i = 0; i < PROCESSES; i++)
    if (b->herds[i].pid > 0) {
      kill(b->herds[i].pid, SIGKILL);
      waitpid(b->herds[i].pid, NULL, 0);
    }
  subject_stop(&b->broker);
}

static int usage(void) {
  fprintf(stderr,
          "Usage: roamqtt-bench idle [--quick] [--clients N] [--moves N]\n"
          "  holds N (10000) idle QUIC connections from two processes, tells what each costs the broker, then moves\n"
          "  all of them to other addresses within 10 s, N (2) times\n");
  return 2;
}

int bench_idle(int argc, char **argv) {
  struct idle b = {.clients = CLIENTS_DEFAULT, .moves = 2};
  char folder[] = "/tmp/roamqtt-bench-XXXXXX", command[64];
  const char *why = "cannot make a folder";
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) b.quick = true, b.clients = 1000;
    else if (strcmp(argv[i], "--clients") == 0 && i + 1 < argc) b.clients = (uint32_t)strtoul(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--moves") == 0 && i + 1 < argc) b.moves = (unsigned)strtoul(argv[++i], NULL, 10);
    else return usage();
  }
  b.clients -= b.clients % PROCESSES;
  if (b.clients == 0 || b.clients > 100000) return usage();
  table_machine(stdout);
  fit(&b);
  bool good = mkdtemp(folder) && subject_start_roamqtt(&b.broker, folder, &why);
  uint64_t before = good ? subject_resident_bytes(&b.broker) : 0;
  for (size_t i = 0; good && i < PROCESSES; i++) good = start_herd(&b, &b.herds[i]);
  if (!good) fprintf(stderr, "bench: %s\n", why);
  good = good && measure(&b, before);
  stop(&b);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) fprintf(stderr, "bench: %s is left behind\n", folder);
  if (!good) fprintf(stderr, "bench: not all connections were kept\n");
  return good ? 0 : 1;
}
