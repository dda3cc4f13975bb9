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
  (void)t;
  fprintf(out, "%-8s %3s %5s %6s  %-20s %9s %6s %8s %6s %9s %9s\n", "topology", "QoS", "bytes", "window", "", "msg/s",
          "ratio", "CPU us", "CPU x", "p50 us", "p99 us");
}

static void print_result(const struct result *r, const struct result *first, FILE *out) {
  bool comparable = r != first && first->ran && first->valid && first->rate > 0 && first->cpu_us > 0;
  fprintf(out, " %9.0f", r->rate);
  if (comparable) fprintf(out, " %6.2f", r->rate / first->rate);
  else fprintf(out, " %6s", "");
  fprintf(out, " %8.2f", r->cpu_us);
  if (comparable && r->cpu_us > 0) fprintf(out, " %6.2f", first->cpu_us / r->cpu_us);
  else fprintf(out, " %6s", "");
  fprintf(out, " %9.0f %9.0f", r->p50_us, r->p99_us);
  if (r->lost) fprintf(out, "  %llu lost", (unsigned long long)r->lost);
  fprintf(out, "%s%s\n", r->valid ? "" : "  NOT VALID: ", r->valid ? "" : r->text);
}

/* The cell is named once, before the first of its results. */
void table_row(const struct table *t, const struct cell *c, FILE *out) {
  bool named = false;
  for (size_t i = 0; i < t->subjects; i++) {
    if (!c->results[i].ran) continue;
    if (named) fprintf(out, "%-8s %3s %5s %6s", "", "", "", "");
    else fprintf(out, "%-8s %3u %5u %6u", c->topology, c->qos, c->payload_bytes, c->window);
    named = true;
    fprintf(out, "  %-20s", t->names[i]);
    print_result(&c->results[i], &c->results[0], out);
  }
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
  fprintf(out, "\"latency_p50_us\": %.1f, \"latency_p99_us\": %.1f, \"lost\": %llu, \"text\": \"", r->p50_us, r->p99_us,
          (unsigned long long)r->lost);
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
