/* streams.c - `roamqtt-bench streams`: what a lost packet does to the topics it did not carry,
 * for each way of mapping messages to streams. In the simulated world: exact, and the same everywhere. On the kernel, where
 * namespaces are allowed: TCP, and QUIC to compare it with. */
#include "streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <roamqtt/base.h>

#include "streams_case.h"
#include "streams_kernel.h"

struct plan {
  unsigned long seconds;
  const char *path;
  bool world, kernel;
  int loss_percent; /* below 0: all */
  FILE *json;
  bool first, ok;
};

static void print_row(const char *name, const struct streams_case *c, const struct streams_result *r) {
  printf("%-17s %4.0f %% %8.1f %8.1f %8.1f %8.2f %8.2f %8.1f %9.2f %7u %9u %s\n", name, c->loss_ppm / 1e4, r->p50_ms,
         r->p95_ms, r->p99_ms, r->spread_ms, r->spread_p95_ms, r->spread_max_ms, r->isolation, r->spikes,
         r->sent - r->received, r->ok ? "" : "INCOMPLETE");
  fflush(stdout);
}

static void put_json(struct plan *p, const char *where, const char *name, const struct streams_case *c,
                     const struct streams_result *r) {
  if (!p->json) return;
  fprintf(p->json,
          "%s\n  {\"where\": \"%s\", \"mapping\": \"%s\", \"loss_percent\": %.1f, \"p50_ms\": %.3f, \"p95_ms\": %.3f, "
          "\"p99_ms\": %.3f, \"spread_ms\": %.3f, \"spread_p95_ms\": %.3f, \"spread_max_ms\": %.3f, \"isolation\": %.3f, "
          "\"spikes\": %u, \"sent\": %u, \"received\": %u, \"dropped\": %u, \"ok\": %s}",
          p->first ? "[" : ",", where, name, c->loss_ppm / 1e4, r->p50_ms, r->p95_ms, r->p99_ms, r->spread_ms,
          r->spread_p95_ms, r->spread_max_ms, r->isolation, r->spikes, r->sent, r->received, r->dropped,
          r->ok ? "true" : "false");
  p->first = false;
}

static const uint32_t losses_ppm[] = {0, 10000, 20000, 50000};

static void head(const char *where) {
  printf("\n%s: 8 topics, 500 messages/s in all, 256 B, QoS 0, RTT 25 ms, loss and delay at the broker\n\n", where);
  printf("%-17s %6s %8s %8s %8s %8s %8s %8s %9s %7s %9s\n", "mapping", "loss", "p50 ms", "p95 ms", "p99 ms", "spread",
         "p95", "max", "isolation", "spikes", "lost");
}

static bool is_wanted(const struct plan *p, uint32_t loss_ppm) {
  return p->loss_percent < 0 || loss_ppm == (uint32_t)p->loss_percent * 10000;
}

static struct streams_case make_case(const struct plan *p, streams_mapping mapping, uint32_t loss_ppm) {
  return (struct streams_case){.mapping = mapping,
                               .loss_ppm = loss_ppm,
                               .rtt_ns = 25 * ROAM_MS,
                               .duration_ns = p->seconds * ROAM_S,
                               .rate = 500,
                               .seed = 1};
}

static void keep(struct plan *p, const char *where, const char *name, const struct streams_case *c,
                 const struct streams_result *r) {
  print_row(name, c, r);
  put_json(p, where, name, c, r);
  p->ok &= r->ok;
}

static void show_world(struct plan *p) {
  head("in the simulated world");
  for (int mapping = 0; mapping < STREAMS_MAPPINGS; mapping++)
    for (size_t i = 0; i < sizeof losses_ppm / sizeof losses_ppm[0]; i++) {
      if (!is_wanted(p, losses_ppm[i])) continue;
      struct streams_case c = make_case(p, (streams_mapping)mapping, losses_ppm[i]);
      struct streams_result r;
      streams_case_run(&c, &r);
      keep(p, "world", streams_mapping_name(c.mapping), &c, &r);
    }
}

/* The rows that only a kernel can give, and one of ours to hold against its row from the world. */
static void show_kernel(struct plan *p) {
  static const struct {
    const char *name;
    streams_mapping mapping;
    bool tcp;
  } rows[] = {
      {"TCP", STREAMS_ONE, true}, {"QUIC, one stream", STREAMS_ONE, false}, {"QUIC, per topic", STREAMS_PER_TOPIC, false}};
  char congestion[16] = "";
  const char *why = NULL;
  head("on the kernel, two network namespaces and our wire between them");
  for (size_t k = 0; k < sizeof rows / sizeof *rows && !why; k++)
    for (size_t i = 0; i < sizeof losses_ppm / sizeof losses_ppm[0] && !why; i++) {
      if (!is_wanted(p, losses_ppm[i])) continue;
      struct streams_case c = make_case(p, rows[k].mapping, losses_ppm[i]);
      struct streams_result r;
      if (streams_kernel_run(&c, rows[k].tcp, &r, congestion, &why)) {
        why = NULL;
        keep(p, "kernel", rows[k].name, &c, &r);
      }
    }
  if (why) printf("skipped: %s\n", why);
  if (congestion[0])
    printf("\nTCP with %s, the system's buffers and TCP_NODELAY; the wire's losses are drawn from one seed.\n", congestion);
}

static int usage(void) {
  fprintf(stderr, "usage: roamqtt-bench streams [--seconds 1..3600] [--json FILE] [--world | --kernel] [--loss 0|1|2|5]\n");
  return 2;
}

static int read_words(struct plan *p, int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) p->path = argv[++i];
    else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) p->seconds = strtoul(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--loss") == 0 && i + 1 < argc) p->loss_percent = atoi(argv[++i]);
    else if (strcmp(argv[i], "--world") == 0) p->kernel = false;
    else if (strcmp(argv[i], "--kernel") == 0) p->world = false;
    else return usage();
  }
  bool known = p->loss_percent < 0;
  for (size_t i = 0; i < sizeof losses_ppm / sizeof losses_ppm[0]; i++) known |= is_wanted(p, losses_ppm[i]);
  return known && p->seconds > 0 && p->seconds <= 3600 && (p->world || p->kernel) ? 0 : usage();
}

int streams_bench_main(int argc, char **argv) {
  struct plan p = {.seconds = 60, .world = true, .kernel = true, .loss_percent = -1, .first = true, .ok = true};
  if (read_words(&p, argc, argv) != 0) return 2;
  p.json = p.path ? fopen(p.path, "w") : NULL;
  if (p.path && !p.json) {
    perror(p.path);
    return 2;
  }
  if (p.world) show_world(&p);
  if (p.kernel) show_kernel(&p);
  printf(
      "\nisolation: the share of spikes (more than twice the median of the 50 before on the topic) with one of another "
      "topic\n"
      "within 10 ms; 1 = every stall hits all topics. Published (Rust, quinn, on a kernel): per topic 0.73 at 1 %%, and "
      "at 5 %%\n"
      "p95 99 ms, p99 183 ms; one stream 0.98. No TCP figure comes from the world, and its rows are not the kernel's.\n");
  if (p.json) {
    fprintf(p.json, "%s]\n", p.first ? "[" : "\n");
    fclose(p.json);
  }
  return p.ok ? 0 : 1;
}
