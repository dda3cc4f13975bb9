/* tell.c - lines about what happens as JSON. What a field may hold is not known here: the core's list says it
 * (docs/guide/logs.md). */
#include "tell.h"

#include <roamqtt/record.h>
#include <string.h>
#include <time.h>

void roam_tell_json_begin(FILE *out, const char *event) {
  struct timespec now;
  struct tm parts;
  char text[32];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &parts);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  fprintf(out, "{\"time\":\"%s.%03ldZ\",\"event\":\"%s\"", text, now.tv_nsec / 1000000, event);
}

void roam_tell_json_log(FILE *out, roam_level level, const char *line, const char *name, const roam_log_field fields[],
                        size_t n) {
  char body[ROAM_JSON_LOG_MAX];
  roam_json_log(body, sizeof body, level, line, name, fields, n);
  flockfile(out); /* workers write, too */
  roam_tell_json_begin(out, "log");
  fprintf(out, ",%s}\n", body);
  funlockfile(out);
}

bool roam_tell_format(const char *word, bool *json) {
  *json = strcmp(word, "json") == 0;
  return *json || strcmp(word, "text") == 0;
}
