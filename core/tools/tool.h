/* tool.h - what every command of the program shares: its entry, its exit codes, how it complains and how it reads files.
 *
 * Commands see the public headers and this folder, nothing else. stdout carries data, stderr everything said to people. */
#ifndef ROAM_TOOL_H
#define ROAM_TOOL_H

#include <roamqtt/base.h>
#include <stdio.h>

/* One per command; argv[0] is the command's name. Returns the exit code. */
int cmd_broker(int argc, char **argv);
int cmd_pub(int argc, char **argv);
int cmd_sub(int argc, char **argv);
int cmd_nat(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_packet(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* Name, number, meaning: `roamqtt help` and the guide print this table. Numbers are never reused. */
#define ROAM_EXIT_MAP(X)                                                                                                   \
  X(OK, 0, "success")                                                                                                      \
  X(USAGE, 1, "wrong usage: an option, a file or a combination that cannot be")                                            \
  X(CONNECT, 2, "cannot resolve, connect or listen")                                                                       \
  X(TLS, 3, "TLS: certificate, verification or ALPN")                                                                      \
  X(REFUSED, 4, "the server refused the connection (its reason is printed)")                                               \
  X(LOST, 5, "the connection was lost")                                                                                    \
  X(SUBSCRIBE, 6, "a subscription was refused")                                                                            \
  X(PUBLISH, 7, "a publish was refused")                                                                                   \
  X(TIMEOUT, 27, "the time given with -W was over")                                                                        \
  X(THRESHOLD, 99, "an expectation or threshold was not met")                                                              \
  X(INTERRUPTED, 130, "interrupted (SIGINT)")

enum {
#define X(name, number, text) ROAM_EXIT_##name = number,
  ROAM_EXIT_MAP(X)
#undef X
};

/* The exit code for a library error: what a command returns when that error ends it. */
int roam_exit_of(roam_rc rc);

/* "roamqtt nat: <sentence>\n" on stderr; returns code, so that a command can return it. */
int roam_tool_fail(const char *command, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for usage errors, with a line that names --help; returns ROAM_EXIT_USAGE. */
int roam_tool_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* May this stream be coloured? A terminal, and NO_COLOR is unset or empty. */
bool roam_tool_colour(FILE *stream);

#define ROAM_WHY_MAX 512

/* A whole file, at most max bytes, in memory of the caller's (free(*bytes)), with a NUL behind it. "-" is stdin. On failure
 * why is a sentence with the file's name and the cause, and the result ROAM_E_IO, ROAM_E_PERMISSION, ROAM_E_NOT_FOUND,
 * ROAM_E_TOO_LARGE or ROAM_E_MEMORY. */
roam_rc roam_file_read(const char *path, size_t max, uint8_t **bytes, size_t *len, char why[ROAM_WHY_MAX]);
/* Writes a whole file by way of a temporary neighbour, so that nobody sees half of it. */
roam_rc roam_file_write(const char *path, const void *bytes, size_t len, unsigned mode, char why[ROAM_WHY_MAX]);

/* Blocks SIGINT and SIGTERM and returns a descriptor that becomes readable when one comes (for roam_loop_add_fd); SIGPIPE
 * is ignored from then on. -1: see errno. Call it before any thread starts. */
int roam_tool_signals(void);
/* The same for one signal more (SIGHUP). */
int roam_tool_signals_and(int another);
/* Which signal has come; 0 = none. Does not wait. */
int roam_tool_signal_take(int fd);

#endif
