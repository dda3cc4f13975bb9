/* subject.c - starts and stops brokers and reads their processor time. Measures nothing else. */
#include "subject.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096

static int free_port(uint16_t *port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int rc = bind(fd, (struct sockaddr *)&at, len);
  if (rc == 0) rc = getsockname(fd, (struct sockaddr *)&at, &len);
  *port = ntohs(at.sin_port);
  close(fd);
  return rc;
}

/* In the child: ends with its parent, and never returns. */
static void become(char *const argv[], int out, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  dup2(out, 1);
  dup2(out, 2);
  execvp(argv[0], argv);
  _exit(127);
}

static bool spawn(struct subject *s, char *const argv[], int out) {
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) become(argv, out, parent);
  s->pid = pid > 0 ? pid : 0;
  return pid > 0;
}

/* Reads what the broker prints until it says that it is ready. */
static bool read_ports(struct subject *s, FILE *from) {
  char line[512];
  unsigned port;
  while (fgets(line, sizeof line, from)) {
    if (sscanf(line, "listening tcp 127.0.0.1:%u", &port) == 1) s->tcp = (uint16_t)port;
    else if (sscanf(line, "listening quic 127.0.0.1:%u", &port) == 1) s->quic = (uint16_t)port;
    else if (sscanf(line, "listening tls 127.0.0.1:%u", &port) == 1) s->tls = (uint16_t)port;
    else if (strncmp(line, "ready", 5) == 0) return s->tcp && s->quic;
    else if (strncmp(line, "t", 1) != 0 && strncmp(line, "a", 1) != 0) fputs(line, stderr);
  }
  return false;
}

bool subject_start_roamqtt(struct subject *s, const char *folder, const char **why) {
  return subject_start_roamqtt_with(s, folder, NULL, why);
}

bool subject_start_roamqtt_with(struct subject *s, const char *folder, const char *const more[], const char **why) {
  char self[PATH_BYTES] = "", program[PATH_BYTES + 16];
  int ends[2];
  *s = (struct subject){0};
  *why = "build/roamqtt broker did not start; try it by hand";
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0 || pipe2(ends, O_CLOEXEC) != 0) return false;
  char *slash = strrchr(self, '/');
  if (slash) *slash = 0;
  snprintf(program, sizeof program, "%s/roamqtt", self);
  setenv("XDG_STATE_HOME", folder, 1);
  char *argv[20] = {program,  "broker",      "--quiet",           "--tcp", "127.0.0.1:0",
                    "--quic", "127.0.0.1:0", "--connections-max", "20000", NULL};
  for (size_t i = 0; more && more[i] && i < 10; i++) argv[9 + i] = (char *)(uintptr_t)more[i];
  bool good = spawn(s, argv, ends[1]);
  close(ends[1]);
  FILE *from = fdopen(ends[0], "r");
  good = good && from && read_ports(s, from);
  /* The pipe stays open: a broker that says something more must not die of it. */
  if (!good) subject_stop(s);
  return good;
}

static bool write_configuration(const char *path, uint16_t port, const char *more) {
  FILE *file = fopen(path, "w");
  if (!file) return false;
  fprintf(file,
          "user root\nlistener %u 127.0.0.1\nallow_anonymous true\nmax_connections -1\nlog_dest none\n"
          "max_inflight_messages 1000\n%s",
          port, more);
  return fclose(file) == 0;
}

static bool answers(uint16_t port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool good = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
  close(fd);
  return good;
}

static bool await(const struct subject *s) {
  const struct timespec moment = {.tv_nsec = 20000000};
  for (int i = 0; i < 250; i++) {
    if (answers(s->tcp)) return true;
    if (waitpid(s->pid, NULL, WNOHANG) != 0) return false;
    nanosleep(&moment, NULL);
  }
  return false;
}

bool subject_start_mosquitto(struct subject *s, const char *folder, const char **why) {
  return subject_start_mosquitto_with(s, folder, "max_queued_messages 10000\n", why);
}

bool subject_start_mosquitto_with(struct subject *s, const char *folder, const char *more, const char **why) {
  char path[PATH_BYTES];
  const char *program = access("/usr/sbin/mosquitto", X_OK) == 0 ? "/usr/sbin/mosquitto" : "mosquitto";
  *s = (struct subject){0};
  *why = "mosquitto is not here; apt-get install mosquitto";
  snprintf(path, sizeof path, "%s/mosquitto.conf", folder);
  if (free_port(&s->tcp) != 0 || !write_configuration(path, s->tcp, more)) return false;
  int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  char *argv[] = {(char *)(uintptr_t)program, "-c", path, NULL};
  bool good = nowhere >= 0 && spawn(s, argv, nowhere) && await(s);
  if (nowhere >= 0) close(nowhere);
  if (!good) subject_stop(s);
  return good;
}

static bool write_text(const char *folder, const char *name, const char *text) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  if (!file) return false;
  bool good = fputs(text, file) >= 0;
  return (fclose(file) == 0) & good;
}

bool subject_start_mosquitto_tls(struct subject *s, const char *folder, const char *certificate, const char *key,
                                 const char **why) {
  char path[PATH_BYTES], text[3 * PATH_BYTES];
  const char *program = access("/usr/sbin/mosquitto", X_OK) == 0 ? "/usr/sbin/mosquitto" : "mosquitto";
  *s = (struct subject){0};
  *why = "mosquitto is not here; apt-get install mosquitto";
  if (free_port(&s->tls) != 0) return false;
  s->tcp = s->tls; /* where await knocks */
  snprintf(text, sizeof text,
           "user root\nlistener %u 127.0.0.1\nallow_anonymous true\nmax_connections -1\nlog_dest none\n"
           "certfile %s/server.pem\nkeyfile %s/server-key.pem\n",
           s->tls, folder, folder);
  snprintf(path, sizeof path, "%s/mosquitto.conf", folder);
  if (!write_text(folder, "server.pem", certificate) || !write_text(folder, "server-key.pem", key) ||
      !write_text(folder, "mosquitto.conf", text))
    return false;
  int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  char *argv[] = {(char *)(uintptr_t)program, "-c", path, NULL};
  bool good = nowhere >= 0 && spawn(s, argv, nowhere) && await(s);
  if (nowhere >= 0) close(nowhere);
  if (!good) subject_stop(s);
  return good;
}

bool subject_start_mosquitto_both(struct subject *s, const char *folder, const char *certificate, const char *key,
                                  const char **why) {
  char text[3 * PATH_BYTES];
  uint16_t tls;
  *why = "cannot write mosquitto's certificate";
  if (free_port(&tls) != 0 || !write_text(folder, "server.pem", certificate) || !write_text(folder, "server-key.pem", key))
    return false;
  snprintf(text, sizeof text,
           "max_queued_messages 10000\nlistener %u 127.0.0.1\nmax_connections -1\ncertfile %s/server.pem\n"
           "keyfile %s/server-key.pem\n",
           tls, folder, folder);
  bool good = subject_start_mosquitto_with(s, folder, text, why);
  s->tls = tls;
  return good;
}

void subject_stop(struct subject *s) {
  if (s->pid <= 0) return;
  kill(s->pid, SIGKILL); /* nothing it keeps is wanted */
  waitpid(s->pid, NULL, 0);
  s->pid = 0;
}

uint64_t subject_cpu_ns(const struct subject *s) {
  char path[64], text[1024];
  unsigned long long user = 0, system = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)s->pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[n] = 0;
  const char *at = strrchr(text, ')'); /* the name before it may contain anything */
  if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2) return 0;
  return (user + system) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t subject_resident_bytes(const struct subject *s) {
  char path[64];
  unsigned long long pages = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", (int)s->pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  if (fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
  fclose(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t subject_peak_bytes(const struct subject *s) {
  char path[64], line[256];
  unsigned long long kib = 0;
  snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %llu kB", &kib) == 1) break;
  if (file) fclose(file);
  return kib * 1024;
}
