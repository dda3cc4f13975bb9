/* roam.c - `roamqtt-bench roam [world|sockets] [--json FILE]`: how long delivery pauses when the network changes, each
 * event beside what no protocol can beat and what we promise.
 *
 * In the world every row is exact and repeatable, and tests/sim/roam_bounds_test.c holds us to it. On sockets the relay
 * gives the round trip and 30 ms more are allowed for the machine. */
#include "roam.h"

#include <stdio.h>
#include <string.h>

#include <roamqtt/base.h>

#include "roam_case.h"

#define INTERVAL_NS (10 * ROAM_MS)

static double ms(uint64_t ns) { return (double)ns / 1e6; }

static void print_head(const char *where) {
  printf("\n%s: a broker publishes every %.0f ms to one subscriber; the longest pause in delivery, ms\n\n", where,
         ms(INTERVAL_NS));
  printf("%-20s %5s %10s %9s %9s %10s %5s %10s  %s\n", "event", "RTT", "gap", "gap/RTT", "least", "promised", "lost",
         "reconnects", "");
}

static void print_row(const struct roam_case *c, const struct roam_case_result *r) {
  char promised[16] = "-";
  if (r->bound_ns > 0) snprintf(promised, sizeof promised, "%.1f", ms(r->bound_ns));
  printf("%-20s %5.0f %10.1f %9.2f %9.1f %10s %5u %10u  %s%s\n", roam_case_name(c->kind), ms(c->rtt_ns), ms(r->gap_ns),
         (double)r->gap_ns / (double)c->rtt_ns, ms(r->lower_ns), promised, r->lost, r->reconnects,
         !r->ok         ? "EXCEEDED "
         : !r->bound_ns ? "for comparison"
                        : "ok",
         r->text);
  fflush(stdout);
}

static void put_json(FILE *json, bool *first, const struct roam_case *c, const struct roam_case_result *r) {
  if (!json) return;
  fprintf(json,
          "%s\n  {\"where\": \"%s\", \"event\": \"%s\", \"rtt_ms\": %.1f, \"gap_ms\": %.3f, \"least_ms\": %.3f, "
          "\"promised_ms\": %.3f, \"lost\": %u, \"reconnects\": %u, \"ok\": %s}",
          *first ? "[" : ",", c->sockets ? "sockets" : "world", roam_case_name(c->kind), ms(c->rtt_ns), ms(r->gap_ns),
          ms(r->lower_ns), ms(r->bound_ns), r->lost, r->reconnects, r->ok ? "true" : "false");
  *first = false;
}

static bool run_table(bool sockets, FILE *json, bool *first) {
  static const unsigned rtts_ms[] = {20, 50, 200};
  bool ok = true;
  print_head(sockets ? "on sockets, through the relay" : "in the simulated world");
  for (size_t i = 0; i < sizeof rtts_ms / sizeof rtts_ms[0]; i++)
    for (int kind = 0; kind < CASE_KINDS; kind++) {
      if (sockets && !roam_case_on_sockets((roam_case_kind)kind)) continue;
      struct roam_case c = {.kind = (roam_case_kind)kind,
                            .rtt_ns = rtts_ms[i] * ROAM_MS,
                            .interval_ns = INTERVAL_NS,
                            .sockets = sockets,
                            .phases = sockets ? 1 : 8};
      struct roam_case_result r;
      roam_case_run(&c, &r);
      print_row(&c, &r);
      put_json(json, first, &c, &r);
      ok &= r.ok;
    }
  return ok;
}

int roam_bench_main(int argc, char **argv) {
  const char *where = NULL, *path = NULL;
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      path = argv[++i];
    } else if (!where && (strcmp(argv[i], "world") == 0 || strcmp(argv[i], "sockets") == 0)) {
      where = argv[i];
    } else {
      fprintf(stderr, "usage: roamqtt-bench roam [world|sockets] [--json FILE]\n");
      return 2;
    }
  }
  FILE *json = path ? fopen(path, "w") : NULL;
  bool first = true, ok = true;
  if (path && !json) {
    perror(path);
    return 2;
  }
  if (!where || strcmp(where, "world") == 0) ok &= run_table(false, json, &first);
  if (!where || strcmp(where, "sockets") == 0) ok &= run_table(true, json, &first);
  if (json) {
    fprintf(json, "\n]\n");
    fclose(json);
  }
  return ok ? 0 : 1;
}
