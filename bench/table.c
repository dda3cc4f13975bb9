/* table.c - prints results; works nothing out but ratios. */
#include "table.h"

#include <string.h>
#include <unistd.h>

static void find_processor(char name[128]) {
  char line[256];
  FILE *file = fopen("/proc/cpuinfo", "r");
  snprintf(name, 128, "unknown processor");
  while (file && fgets(line, sizeof line, file)) {
    const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
    if (!colon) continue;
    snprintf(name, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    break;
  }
  if (file) fclose(file);
}

void table_machine(FILE *out) {
  char name[128];
  double load = -1;
  find_processor(name);
  FILE *file = fopen("/proc/loadavg", "r");
  if (file && fscanf(file, "%lf", &load) != 1) load = -1;
  if (file) fclose(file);
  fprintf(out, "machine: %s, %ld processors, load %.1f before; loopback; load and broker in separate processes\n", name,
          sysconf(_SC_NPROCESSORS_ONLN), load);
}

void table_head(const struct table *t, FILE *out) {
  fprintf(out, "%-9s %3s %5s %6s", "", "", "", "");
  for (size_t i = 0; i < t->subjects; i++) fprintf(out, " | %-29s", t->names[i]);
  fprintf(out, "\n%-9s %3s %5s %6s", "topology", "QoS", "bytes", "window");
  for (size_t i = 0; i < t->subjects; i++)
    fprintf(out, " | %9s %8s %s", "msg/s", "CPU us", i == 0 ? "           " : "ratio  CPU x");
  fputc('\n', out);
}

static void print_result(const struct result *r, const struct result *first, FILE *out) {
  if (!r->ran) {
    fprintf(out, " | %-29s", "-");
    return;
  }
  fprintf(out, " | %9.0f %8.2f", r->rate, r->cpu_us);
  bool comparable = r != first && first->ran && first->valid && first->rate > 0 && first->cpu_us > 0;
  if (comparable) fprintf(out, " %5.2f %5.2f", r->rate / first->rate, r->cpu_us > 0 ? first->cpu_us / r->cpu_us : 0);
  else fprintf(out, " %11s", "");
}

void table_row(const struct table *t, const struct cell *c, FILE *out) {
  fprintf(out, "%-9s %3u %5u %6u", c->topology, c->qos, c->payload_bytes, c->window);
  for (size_t i = 0; i < t->subjects; i++) print_result(&c->results[i], &c->results[0], out);
  fputc('\n', out);
  for (size_t i = 0; i < t->subjects; i++)
    if (c->results[i].ran && !c->results[i].valid)
      fprintf(out, "          %s: NOT VALID: %s\n", t->names[i], c->results[i].text);
}

static void write_text(FILE *out, const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text >= ' ' && *text != '"' && *text != '\\') fputc(*text, out);
}

static void write_result(FILE *out, const char *name, const struct result *r) {
  fprintf(out, "\"%s\": ", name);
  if (!r->ran) {
    fputs("null", out);
    return;
  }
  fprintf(out, "{\"valid\": %s, \"messages_per_s\": %.0f, \"cpu_us_per_message\": %.3f, ", r->valid ? "true" : "false",
          r->rate, r->cpu_us);
  fprintf(out, "\"latency_p50_us\": %.1f, \"latency_p99_us\": %.1f, \"text\": \"", r->p50_us, r->p99_us);
  write_text(out, r->text);
  fputs("\"}", out);
}

bool table_json(const struct table *t, const struct cell cells[], size_t n, const char *path) {
  char name[128];
  FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
  if (!out) return false;
  find_processor(name);
  fprintf(out, "{\"kind\": \"%s\", \"processor\": \"", t->kind);
  write_text(out, name);
  fprintf(out, "\", \"processors\": %ld, \"rows\": [", sysconf(_SC_NPROCESSORS_ONLN));
  for (size_t i = 0; i < n; i++) {
    const struct cell *c = &cells[i];
    fprintf(out, "%s\n {\"topology\": \"%s\", \"qos\": %u, \"payload_bytes\": %u, \"window\": %u, ", i ? "," : "",
            c->topology, c->qos, c->payload_bytes, c->window);
    for (size_t k = 0; k < t->subjects; k++) {
      if (k) fputs(", ", out);
      write_result(out, t->names[k], &c->results[k]);
    }
    fputc('}', out);
  }
  fputs("\n]}\n", out);
  return out == stdout ? fflush(out) == 0 : fclose(out) == 0;
}
