/* tool.c - complaints, exit codes, files and signals for all commands. Refuses to know what a command does. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

int roam_exit_of(roam_rc rc) {
  switch (rc) {
    case 0: return ROAM_EXIT_OK;
    case ROAM_E_TLS:
    case ROAM_E_CERTIFICATE:
    case ROAM_E_ALPN: return ROAM_EXIT_TLS;
    case ROAM_E_REFUSED:
    case ROAM_E_AUTHENTICATION:
    case ROAM_E_VERSION: return ROAM_EXIT_REFUSED;
    case ROAM_E_CONN_REFUSED:
    case ROAM_E_TIMEOUT:
    case ROAM_E_UNREACHABLE:
    case ROAM_E_RESOLVE:
    case ROAM_E_ADDRESS_IN_USE:
    case ROAM_E_ADDRESS_NOT_AVAILABLE:
    case ROAM_E_PERMISSION: return ROAM_EXIT_CONNECT;
    case ROAM_E_ARGUMENT:
    case ROAM_E_OPTION:
    case ROAM_E_UNSUPPORTED: return ROAM_EXIT_USAGE;
    default: return ROAM_EXIT_LOST;
  }
}

static void complain(const char *command, const char *format, va_list args) {
  fprintf(stderr, "roamqtt %s: ", command);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
}

int roam_tool_fail(const char *command, int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  complain(command, format, args);
  va_end(args);
  return code;
}

int roam_tool_usage(const char *command, const char *format, ...) {
  va_list args;
  va_start(args, format);
  complain(command, format, args);
  va_end(args);
  fprintf(stderr, "See: roamqtt %.*s --help\n", (int)strcspn(command, ":"), command);
  return ROAM_EXIT_USAGE;
}

bool roam_tool_colour(FILE *stream) {
  const char *off = getenv("NO_COLOR"), *term = getenv("TERM");
  if (off && *off) return false;
  if (term && strcmp(term, "dumb") == 0) return false;
  return isatty(fileno(stream)) == 1;
}

static roam_rc explain_errno(const char *verb, const char *path, int error, char why[ROAM_WHY_MAX]) {
  snprintf(why, ROAM_WHY_MAX, "cannot %s %s: %s", verb, path, strerror(error));
  if (error == ENOENT) return ROAM_E_NOT_FOUND;
  if (error == EACCES || error == EPERM) return ROAM_E_PERMISSION;
  return error == ENOMEM ? ROAM_E_MEMORY : ROAM_E_IO;
}

/* Reads to the end or to one byte beyond max, whichever comes first. The buffer always has room for a NUL. */
static roam_rc read_all(int fd, size_t max, uint8_t **bytes, size_t *len, int *error) {
  size_t cap = 65536 < max + 2 ? 65536 : max + 2, used = 0;
  uint8_t *at = malloc(cap);
  if (!at) return ROAM_E_MEMORY;
  for (;;) {
    ssize_t n = read(fd, at + used, cap - 1 - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      *error = errno;
      free(at);
      return ROAM_E_IO;
    }
    used += (size_t)n;
    if (n == 0 || used > max) break;
    if (used + 1 < cap) continue;
    size_t more = cap <= (max + 2) / 2 ? cap * 2 : max + 2;
    uint8_t *bigger = realloc(at, more);
    if (!bigger) {
      free(at);
      return ROAM_E_MEMORY;
    }
    at = bigger;
    cap = more;
  }
  at[used] = 0;
  *bytes = at;
  *len = used;
  return 0;
}

roam_rc roam_file_read(const char *path, size_t max, uint8_t **bytes, size_t *len, char why[ROAM_WHY_MAX]) {
  bool standard = strcmp(path, "-") == 0;
  int error = 0, fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return explain_errno("read", path, errno, why);
  roam_rc rc = read_all(fd, max, bytes, len, &error);
  if (!standard) close(fd);
  if (rc == ROAM_E_IO) return explain_errno("read", path, error, why);
  if (rc) return explain_errno("read", path, ENOMEM, why);
  if (*len <= max) return 0;
  free(*bytes);
  *bytes = NULL;
  snprintf(why, ROAM_WHY_MAX, "%s is larger than %zu bytes", path, max);
  return ROAM_E_TOO_LARGE;
}

static int write_all(int fd, const uint8_t *bytes, size_t len) {
  while (len) {
    ssize_t n = write(fd, bytes, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes += n;
    len -= (size_t)n;
  }
  return 0;
}

roam_rc roam_file_write(const char *path, const void *bytes, size_t len, unsigned mode, char why[ROAM_WHY_MAX]) {
  char temporary[4096];
  if ((size_t)snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >= sizeof temporary) {
    return explain_errno("write", path, ENAMETOOLONG, why);
  }
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
  if (fd < 0) return explain_errno("write", path, errno, why);
  int error = write_all(fd, bytes, len);
  if (close(fd) && !error) error = errno;
  if (!error && rename(temporary, path)) error = errno;
  if (!error) return 0;
  unlink(temporary);
  return explain_errno("write", path, error, why);
}

int roam_tool_signals(void) { return roam_tool_signals_and(0); }

int roam_tool_signals_and(int another) {
  sigset_t set;
  sigemptyset(&set);
  if (another) sigaddset(&set, another);
  if (another) sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  signal(SIGPIPE, SIG_IGN);
  if (sigprocmask(SIG_BLOCK, &set, NULL)) return -1;
  return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int roam_tool_signal_take(int fd) {
  struct signalfd_siginfo info;
  if (read(fd, &info, sizeof info) != (ssize_t)sizeof info) return 0;
  return (int)info.ssi_signo;
}
