/* log.c - formats a log line on the stack. Control characters become '?', so that what a peer sent cannot forge lines. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum {
  LINE_MAX_BYTES = 512
};

void roam_log_line(const roam_log *log, roam_time now, roam_level level, const char *format, ...) {
  if (!roam_log_enabled(log, level)) return;
  char line[LINE_MAX_BYTES];
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (n < 0) return;
  for (char *p = line; *p; p++) {
    if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
  }
  log->write(log->context, now, level, line);
}
