/* rates.c - `roamqtt-bench mqtt|quic`: the same load against our broker and Debian's mosquitto, one cell after the other,
 * in all the ways that are to be compared.
 *
 * Each cell is measured with one broker right after the other, so that whatever else runs on the machine meets all of them;
 * what counts is the ratio in a row. Nothing here passes or fails by a time: only a run that lost, doubled or damaged a
 * message is reported as not valid, and makes the exit code 1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <roamqtt/load.h>
#include <roamqtt/loop.h>

#include "rates.h"
#include "subject.h"
#include "table.h"

#define CELLS_MAX 64
#define FILES_WANTED 20000
#define DATAGRAM_WINDOW 2048 /* more at once would find no room where they wait, and nobody sends them again */

struct topology {
  const char *name;
  uint32_t topics, receivers, window;
  bool large; /* left out when short of time */
};

/* Wide enough for mosquitto's best: with a narrow window it waits for its receivers, and the ratio flatters. */
static const struct topology topologies[] = {
    {"1-1", 1, 1, 4096, false},
    {"10-10", 10, 1, 1024, false},
    {"1-100", 1, 100, 256, false},
    {"1-10000", 1, 10000, 8, true},
};

enum {
  MOSQUITTO,
  OURS,
  SUBJECTS
};

/* A way for messages to go: whose broker, over what, mapped to streams how. The first of a list is what the others are
 * compared with. */
struct way {
  const char *name, *scheme;
  int subject;
  roam_lanes_strategy lanes;
  bool datagrams; /* QoS 0 alone has them */
};

static const struct way ways_mqtt[] = {
    {"mosquitto tcp", "mqtt", MOSQUITTO, ROAM_LANES_ONE, false},
    {"roamqtt tcp", "mqtt", OURS, ROAM_LANES_ONE, false},
};
static const struct way ways_quic[] = {
    {"mosquitto tcp", "mqtt", MOSQUITTO, ROAM_LANES_ONE, false},
    {"mosquitto tls", "mqtts", MOSQUITTO, ROAM_LANES_ONE, false},
    {"roamqtt tcp", "mqtt", OURS, ROAM_LANES_ONE, false},
    {"roamqtt tls", "mqtts", OURS, ROAM_LANES_ONE, false},
    {"roamqtt one stream", "mqtt-quic", OURS, ROAM_LANES_ONE, false},
    {"roamqtt per topic", "mqtt-quic", OURS, ROAM_LANES_PER_TOPIC, false},
    {"roamqtt datagrams", "mqtt-quic", OURS, ROAM_LANES_ONE, true},
};

struct bench {
  const char *kind, *json, *only, *way; /* only: this cell; way: besides the first, those whose name has it */
  bool quick, quic;
  const struct way *ways;
  uint64_t seconds, window; /* 0: the table's own */
  struct subject subjects[SUBJECTS];
  struct table table;
  struct cell cells[CELLS_MAX];
  size_t cells_len;
  bool bad;
};

/* ---- one run --------------------------------------------------------------------------------------------------------- */

static void fill_options(const struct bench *b, const struct cell *c, const struct way *way, roam_flood_options *o) {
  roam_flood_options_init(o);
  o->topics = c->topics;
  o->receivers = c->receivers;
  o->payload_bytes = c->payload_bytes;
  o->qos = c->qos;
  o->window = way->datagrams && c->window > DATAGRAM_WINDOW ? DATAGRAM_WINDOW : c->window;
  o->datagrams = way->datagrams;
  o->duration_ns = b->seconds ? b->seconds * ROAM_S : b->quick ? ROAM_S : 3 * ROAM_S;
  o->warmup_ns = b->quick ? 300 * ROAM_MS : 700 * ROAM_MS;
}

static void fill_client(const struct bench *b, const struct way *way, char url[64], roam_client_options *o) {
  const struct subject *s = &b->subjects[way->subject];
  uint16_t port = strcmp(way->scheme, "mqtt") == 0 ? s->tcp : strcmp(way->scheme, "mqtts") == 0 ? s->tls : s->quic;
  roam_client_options_init(o);
  snprintf(url, 64, "%s://127.0.0.1:%u", way->scheme, port);
  o->url = url;
  o->tls.insecure = true; /* a broker of our own, started a moment ago */
  o->lanes = way->lanes;
  o->reconnect = false;
  o->connect_timeout_ns = 30 * ROAM_S;
}

static void keep_result(const roam_flood *f, uint64_t cpu_ns, struct result *r) {
  roam_flood_report report;
  roam_flood_get_report(f, &report);
  r->ran = true;
  r->valid = report.valid && report.counted > 0;
  r->counted = report.counted;
  r->lost = report.lost;
  if (!r->valid) snprintf(r->text, sizeof r->text, "%s", report.text[0] ? report.text : "nothing was delivered");
  if (report.counted == 0) return;
  r->rate = (double)report.counted * 1e9 / (double)report.counted_ns;
  r->cpu_us = (double)cpu_ns / 1e3 / (double)report.counted;
  r->p50_us = (double)report.latency_p50_ns / 1e3;
  r->p99_us = (double)report.latency_p99_ns / 1e3;
}

static void run_loop(roam_loop *loop, roam_flood *f, const struct subject *s, uint64_t *cpu_ns) {
  uint64_t before = 0, after = 0;
  roam_flood_stage last = ROAM_FLOOD_NEW;
  while (last != ROAM_FLOOD_OVER && roam_loop_step(loop, 100 * ROAM_MS) >= 0) {
    roam_flood_stage stage = roam_flood_get_stage(f);
    if (stage >= ROAM_FLOOD_COUNTING && last < ROAM_FLOOD_COUNTING) before = subject_cpu_ns(s);
    if (stage >= ROAM_FLOOD_SETTLING && last < ROAM_FLOOD_SETTLING) after = subject_cpu_ns(s);
    last = stage;
  }
  *cpu_ns = after > before ? after - before : 0;
}

static void measure(struct bench *b, struct cell *c, size_t i) {
  const struct way *way = &b->ways[i];
  struct result *r = &c->results[i];
  roam_flood_options o;
  roam_client_options client;
  char url[64];
  const char *why = "no memory";
  uint64_t cpu_ns;
  fill_options(b, c, way, &o);
  fill_client(b, way, url, &client);
  roam_loop *loop = roam_loop_new(NULL);
  roam_flood *f = loop ? roam_flood_new(&o, &client, roam_random_system(), NULL, &why) : NULL;
  if (f && roam_loop_add(loop, roam_flood_machine(f), NULL, NULL) == 0 && roam_flood_start(f, roam_loop_now(loop)) == 0) {
    run_loop(loop, f, &b->subjects[way->subject], &cpu_ns);
    keep_result(f, cpu_ns, r);
  } else {
    r->ran = true;
    snprintf(r->text, sizeof r->text, "%s", why ? why : "cannot start");
  }
  roam_loop_free(loop);
  roam_flood_free(f);
  b->bad |= !r->valid && way->subject == OURS; /* another's faults are told, and are not ours */
}

/* ---- the matrix ------------------------------------------------------------------------------------------------------ */

/* Whole parts: "1-1" does not mean 1-100. */
static bool is_wanted(const char *name, const char *only) {
  size_t len = strlen(only);
  return strncmp(name, only, len) == 0 && (name[len] == 0 || name[len] == '/');
}

static bool is_way_wanted(const struct bench *b, size_t i, uint8_t qos) {
  const struct way *way = &b->ways[i];
  if (b->subjects[way->subject].pid == 0 || (way->datagrams && qos > 0)) return false;
  return i == 0 || !b->way || strstr(way->name, b->way);
}

static void run_cell(struct bench *b, const struct topology *t, uint8_t qos, uint32_t bytes) {
  char name[64];
  struct cell *c = &b->cells[b->cells_len];
  *c = (struct cell){t->name, t->topics, t->receivers, t->window, bytes, qos};
  snprintf(name, sizeof name, "%s/%u/%u", t->name, qos, bytes);
  if (b->window) c->window = (uint32_t)b->window;
  if (b->only && !is_wanted(name, b->only)) return;
  for (size_t i = 0; i < b->table.subjects; i++)
    if (is_way_wanted(b, i, qos)) measure(b, c, i);
  table_row(&b->table, c, stdout);
  fflush(stdout);
  b->cells_len++;
}

static void run_matrix(struct bench *b) {
  static const uint32_t sizes[] = {64, 1024};
  for (size_t i = 0; i < sizeof topologies / sizeof *topologies; i++) {
    if (topologies[i].large && (b->quick || b->quic)) continue;
    for (size_t k = 0; k < 2; k++)
      for (uint8_t qos = 0; qos <= 2; qos++) run_cell(b, &topologies[i], qos, sizes[k]);
  }
}

/* ---- setting up ------------------------------------------------------------------------------------------------------ */

static void raise_files(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FILES_WANTED)
    fprintf(stderr, "bench: only %llu descriptors are allowed here; 1-10000 will not be valid (ulimit -n)\n",
            (unsigned long long)limit.rlim_cur);
}

static bool start_mosquitto(struct bench *b, const char *folder, const char **why) {
  roam_identity id;
  if (!b->quic) return subject_start_mosquitto(&b->subjects[MOSQUITTO], folder, why);
  *why = "no certificate for it";
  if (roam_identity_make(&id, "mosquitto", "127.0.0.1", roam_wall_unix_s(), 2, false) != 0) return false;
  bool good = subject_start_mosquitto_both(&b->subjects[MOSQUITTO], folder, id.certificate, id.key, why);
  roam_identity_clear(&id);
  return good;
}

static bool start_all(struct bench *b, const char *folder) {
  static const char *const tls[] = {"--tls", "127.0.0.1:0", NULL};
  const char *why;
  if (!start_mosquitto(b, folder, &why)) printf("mosquitto is left out: %s\n", why);
  if (subject_start_roamqtt_with(&b->subjects[OURS], folder, b->quic ? tls : NULL, &why)) return true;
  fprintf(stderr, "bench: %s\n", why);
  return false;
}

/* The names as the table wants them. */
static void name_ways(struct bench *b, const char *names[SUBJECTS_MAX]) {
  size_t n = b->quic ? sizeof ways_quic / sizeof *ways_quic : sizeof ways_mqtt / sizeof *ways_mqtt;
  b->ways = b->quic ? ways_quic : ways_mqtt;
  for (size_t i = 0; i < n; i++) names[i] = b->ways[i].name;
  b->table = (struct table){b->kind, names, n};
}

static int run(struct bench *b) {
  const char *names[SUBJECTS_MAX];
  char folder[] = "/tmp/roamqtt-bench-XXXXXX", command[64];
  name_ways(b, names);
  raise_files();
  if (!mkdtemp(folder)) {
    fprintf(stderr, "bench: cannot make a folder: %s\n", strerror(errno));
    return 1;
  }
  table_machine(stdout);
  printf("mosquitto as Debian ships it, but for max_connections, max_inflight_messages 1000, max_queued_messages 10000\n");
  bool good = start_all(b, folder);
  if (good) {
    table_head(&b->table, stdout);
    run_matrix(b);
    printf(
        "ratio: messages a second against mosquitto over TCP; CPU us: processor time of the broker for a message; CPU x:\n"
        "how many times less that is. window: messages a publisher may be ahead of its slowest receiver. All rows are\n"
        "complete, in order and byte for byte right unless they say otherwise; of datagrams some may be lost.\n");
  }
  for (size_t i = 0; i < SUBJECTS; i++) subject_stop(&b->subjects[i]);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) fprintf(stderr, "bench: %s is left behind\n", folder);
  if (good && b->json && !table_json(&b->table, b->cells, b->cells_len, b->json)) {
    fprintf(stderr, "bench: cannot write %s: %s\n", b->json, strerror(errno));
    return 1;
  }
  return good && !b->bad ? 0 : 1;
}

static int usage(void) {
  fprintf(stderr, "Usage: roamqtt-bench mqtt|quic [--quick] [--json FILE] [--only TOPOLOGY[/QOS[/BYTES]]] [--seconds N]\n"
                  "                               [--way WORDS] [--window MESSAGES]\n"
                  "  mqtt  our broker and Debian's mosquitto over TCP: QoS 0 to 2, 64 and 1024 bytes, 1-1 to 1-10000\n"
                  "  quic  up to 1-100 beside TLS and QUIC: one stream, a stream for each topic, datagrams (QoS 0)\n");
  return 2;
}

static int read_words(struct bench *b, int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) b->quick = true;
    else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) b->json = argv[++i];
    else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) b->only = argv[++i];
    else if (strcmp(argv[i], "--way") == 0 && i + 1 < argc) b->way = argv[++i];
    else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) b->seconds = strtoull(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--window") == 0 && i + 1 < argc) b->window = strtoull(argv[++i], NULL, 10);
    else return usage();
  }
  return 0;
}

int bench_mqtt(int argc, char **argv) {
  static struct bench b = {.kind = "mqtt"};
  return read_words(&b, argc, argv) == 0 ? run(&b) : 2;
}

int bench_quic(int argc, char **argv) {
  static struct bench b = {.kind = "quic", .quic = true};
  return read_words(&b, argc, argv) == 0 ? run(&b) : 2;
}
