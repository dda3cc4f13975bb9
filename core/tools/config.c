/* config.c - see config.h. Knows lines and leaves names and values to the option table. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

static char *trim(char *text) {
  text += strspn(text, " \t\r");
  size_t len = strlen(text);
  while (len > 0 && strchr(" \t\r", text[len - 1])) text[--len] = 0;
  return text;
}

/* "value" in quotes keeps its spaces and may begin with #. */
static char *unquote(char *value) {
  size_t len = strlen(value);
  if (len < 2 || value[0] != '"' || value[len - 1] != '"') return value;
  value[len - 1] = 0;
  return value + 1;
}

static int read_line(roam_config *c, const roam_opts *opts, char *line, unsigned number) {
  char where[512];
  roam_opts here = *opts;
  line = trim(line);
  if (!*line || *line == '#') return 0;
  snprintf(where, sizeof where, "%.100s: %.300s:%u", opts->command, c->path, number);
  here.command = where;
  char *equals = strchr(line, '='), *value = NULL;
  if (equals) {
    *equals = 0;
    value = unquote(trim(equals + 1));
  }
  char *name = trim(line);
  if (*name == '[') return roam_tool_usage(where, "there are no sections; write `name = value`, such as `tls = [::]:8883`");
  if (!equals && strpbrk(name, " \t")) return roam_tool_usage(where, "expected `name = value`, got '%.80s'", name);
  if (strcmp(name, "config") == 0 || strcmp(name, "check") == 0)
    return roam_tool_usage(where, "%s stands on the command line only", name);
  int code = roam_opts_set(&here, name, value);
  const roam_opt *o = code ? NULL : roam_opts_named(opts, name);
  if (o && o - opts->at < ROAM_CONFIG_ROWS_MAX) c->lines[o - opts->at] = number;
  return code;
}

int roam_config_read(roam_config *c, const roam_opts *opts, const char *path) {
  char why[ROAM_WHY_MAX];
  size_t len;
  *c = (roam_config){.path = path};
  if (roam_file_read(path, ROAM_CONFIG_BYTES_MAX, &c->text, &len, why))
    return roam_tool_usage(opts->command, "--config: %s", why);
  if (memchr(c->text, 0, len)) return roam_tool_usage(opts->command, "--config: %s is not a text file", path);
  c->raw = malloc(len + 1);
  if (!c->raw) return roam_tool_fail(opts->command, ROAM_EXIT_LOST, "--config: no memory for %s", path);
  memcpy(c->raw, c->text, len);
  c->len = len;
  unsigned number = 0;
  for (char *line = (char *)c->text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    int code = read_line(c, opts, line, ++number);
    if (code) return code;
  }
  return 0;
}

unsigned roam_config_line(const roam_config *c, const roam_opts *opts, const char *sentence) {
  const roam_opt *o = roam_opts_named(opts, sentence);
  return o && o - opts->at < ROAM_CONFIG_ROWS_MAX ? c->lines[o - opts->at] : 0;
}

unsigned roam_config_line_at(const roam_config *c, const char *value) {
  uintptr_t at = (uintptr_t)value, begin = (uintptr_t)c->text;
  unsigned line = 1;
  if (!c->raw || !value || at < begin || at >= begin + c->len) return 0;
  for (size_t i = 0; i < at - begin; i++) line += c->raw[i] == '\n';
  return line;
}

void roam_config_clear(roam_config *c) {
  free(c->text);
  free(c->raw);
  c->text = c->raw = NULL;
}
