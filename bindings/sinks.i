/* sinks.i - where the lines of a client or a broker go: its log, QUIC's secrets, qlogs. All of it is written to descriptors, on the
 * thread that drives the object; nothing of a script is called from there. The context of a sink is the numbers of its descriptors, so
 * there is nothing to free. */
%{
#include <fcntl.h>
#include <roamqtt/record.h>
#include <stdio.h>
#include <unistd.h>

#define QLOG_NAME_MAX 96
#define HALF (sizeof(uintptr_t) * 4)

static int log_of(void *context) { return (int)(intptr_t)context; }
static void *pair_of(int keylog_fd, int qlog_fd) {
  return (void *)((uintptr_t)(unsigned)(keylog_fd + 1) | (uintptr_t)(unsigned)(qlog_fd + 1) << HALF);
}
static int keylog_of(void *context) { return (int)((uintptr_t)context & (((uintptr_t)1 << HALF) - 1)) - 1; }
static int qlog_of(void *context) { return (int)((uintptr_t)context >> HALF) - 1; }

static void write_log(void *context, roam_time at, roam_level level, const char *line) {
  static const char *const words[] = {"error", "warning", "notice", "info", "debug"};
  dprintf(log_of(context), "%llu.%06llu %s: %s\n", (unsigned long long)(at / 1000000000u),
          (unsigned long long)(at / 1000u % 1000000u), (unsigned)level < 5 ? words[level] : "?", line);
}

/* The same as JSON: "at" is in seconds of the object's own clock. */
static void record_log(void *context, roam_time at, roam_level level, const char *line, const char *name, const roam_log_field fields[],
                       size_t n) {
  char body[ROAM_JSON_LOG_MAX];
  roam_json_log(body, sizeof body, level, line, name, fields, n);
  dprintf(log_of(context), "{\"at\":%llu.%06llu,\"event\":\"log\",%s}\n", (unsigned long long)(at / 1000000000u),
          (unsigned long long)(at / 1000u % 1000000u), body);
}

static void write_keylog(void *context, const char *line) { dprintf(keylog_of(context), "%s\n", line); }

/* One file a connection, opened for each piece: connections come and go, and a sink keeps nothing. */
static void write_qlog(void *context, const char *name, roam_bytes text, bool last) {
  char file[QLOG_NAME_MAX];
  int n = snprintf(file, sizeof file, "%s.sqlog", name);
  if (last || n < 0 || (size_t)n >= sizeof file)
    return;
  int fd = openat(qlog_of(context), file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
  while (fd >= 0 && text.len > 0) {
    ssize_t written = write(fd, text.base, text.len);
    if (written <= 0)
      break;
    text.base += written;
    text.len -= (size_t)written;
  }
  if (fd >= 0)
    close(fd);
}

static void put_sinks(roam_log *log, roam_tap *tap, int log_fd, int level, bool json, int keylog_fd, int qlog_fd) {
  if (log_fd >= 0)
    *log = (roam_log){.write = json ? NULL : write_log, .record = json ? record_log : NULL, .context = (void *)(intptr_t)log_fd,
                      .level = (roam_level)level};
  *tap = (roam_tap){.keylog = keylog_fd >= 0 ? write_keylog : NULL, .qlog = qlog_fd >= 0 ? write_qlog : NULL,
                    .context = pair_of(keylog_fd, qlog_fd)};
}
%}
%inline %{
/* Descriptors of files, and of the folder for qlogs; -1: none. They stay open as long as the object lives. */
static void client_sinks(roam_client_options *o, int log_fd, int level, bool json, int keylog_fd, int qlog_fd) {
  put_sinks(&o->log, &o->tap, log_fd, level, json, keylog_fd, qlog_fd);
}
static void broker_sinks(roam_broker_options *o, int log_fd, int level, bool json, int keylog_fd, int qlog_fd) {
  put_sinks(&o->log, &o->tap, log_fd, level, json, keylog_fd, qlog_fd);
}
%}
