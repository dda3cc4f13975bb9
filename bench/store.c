/* store.c - `roamqtt-bench store`: how many QoS 1 messages a second are acknowledged when they are kept, by each policy of
 * our store, without one, and by mosquitto with its persistence.
 *
 * Twenty publishers keep a window of messages unacknowledged. In one scene their one subscriber, with a session that
 * outlives connections, is there and reads; in the other it is away, so every message is really written; it comes at the
 * end and must get them all. What is promised with an acknowledgement differs, and stands in the table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <roamqtt/client.h>
#include <roamqtt/loop.h>

#include "store.h"
#include "subject.h"
#include "table.h"

#define PUBLISHERS 20
#define PAYLOAD 64
#define PATIENCE (120 * ROAM_S)
#define TMPFS 0x01021994

struct subject_kind {
  const char *name, *promise;
  const char *sync;      /* ours: --store-sync; "" = without a store; NULL: mosquitto */
  const char *mosquitto; /* more lines of its configuration */
};

static const struct subject_kind kinds[] = {
    {"mosquitto", "nothing until its snapshot, by default each 30 min", NULL, ""},
    {"mosquitto 1 s", "survives kill -9 but for the last second", NULL, "autosave_interval 1\n"},
    {"memory", "nothing", "", NULL},
    {"always", "survives kill -9 and a power cut", "always", NULL},
    {"interval", "survives kill -9; a power cut but for the last second", "interval", NULL},
    {"off", "survives kill -9", "off", NULL},
};
#define KINDS (sizeof kinds / sizeof *kinds)

struct run;

struct publisher {
  struct run *run;
  roam_client *client;
  roam_time sent_at[256]; /* a ring: acknowledgements come in order */
  uint32_t head, tail;
};

struct run {
  const struct subject_kind *kind;
  bool away;
  uint64_t total, window;
  const char *workers;
  roam_loop *loop;
  struct publisher publishers[PUBLISHERS];
  roam_client *subscriber;
  uint64_t published, acked, received;
  bool subscribed, closed, failed;
  uint32_t connected;
  roam_time began, ended;
  uint32_t *latency_us;
};

/* ---- clients ---- */

static void publish_more(struct publisher *p) {
  static uint8_t payload[PAYLOAD];
  struct run *r = p->run;
  while (p->tail - p->head < r->window && r->published < r->total) {
    roam_time now = roam_loop_now(r->loop);
    roam_client_message m = {.topic = {(const uint8_t *)"bench/store", 11}, .payload = {payload, PAYLOAD}, .qos = 1};
    if (roam_client_publish(p->client, now, &m, NULL) != 0) return;
    p->sent_at[p->tail++ % 256] = now;
    r->published++;
  }
}

static void on_publisher(void *context, const roam_event ev[], size_t n) {
  struct publisher *p = context;
  struct run *r = p->run;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_CONNECTED) r->connected++;
    if (ev[i].kind == ROAM_EV_CLOSED) r->failed = true;
    if (ev[i].kind != ROAM_EV_PUBLISHED) continue;
    r->failed |= ev[i].rc != 0;
    r->latency_us[r->acked++] = (uint32_t)((roam_loop_now(r->loop) - p->sent_at[p->head++ % 256]) / 1000);
    if (r->acked == r->total) r->ended = roam_loop_now(r->loop);
  }
  if (r->began) publish_more(p);
}

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  struct run *r = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) r->received++;
    if (ev[i].kind == ROAM_EV_SUBSCRIBED) r->subscribed = true;
    if (ev[i].kind == ROAM_EV_CLOSED) r->closed = true;
  }
}

static roam_client *start_client(struct run *r, const struct subject *s, const char *id, roam_loop_sink sink,
                                 void *context) {
  roam_client_options o;
  char url[64];
  roam_client_options_init(&o);
  snprintf(url, sizeof url, "mqtt://127.0.0.1:%u", s->tcp);
  o.url = url;
  o.client_id = id;
  if (sink == on_subscriber) {
    o.clean_start = false;
    o.session_expiry_s = 3600;
  }
  roam_client *c = roam_client_new(&o, roam_random_system(), NULL);
  if (!c || roam_loop_add(r->loop, roam_client_machine(c), sink, context) != 0 ||
      roam_client_start(c, roam_loop_now(r->loop)) != 0)
    r->failed = true;
  return c;
}

static void end_client(struct run *r, roam_client **c) {
  if (!*c) return;
  roam_loop_remove(r->loop, roam_client_machine(*c));
  roam_client_free(*c);
  *c = NULL;
}

static bool wait_for(struct run *r, const bool *flag, const uint64_t *count, uint64_t want) {
  roam_time until = roam_loop_now(r->loop) + PATIENCE;
  while (!r->failed && (flag ? !*flag : *count < want)) {
    if (roam_loop_step(r->loop, 100 * ROAM_MS) < 0 || roam_loop_now(r->loop) > until) r->failed = true;
  }
  return !r->failed;
}

/* ---- one run ---- */

static void prepare(struct run *r, const struct subject *s) {
  roam_filter filter = {.filter = {(const uint8_t *)"bench/store", 11}, .qos = 1};
  r->subscriber = start_client(r, s, "bench-subscriber", on_subscriber, r);
  if (r->failed) return;
  roam_client_subscribe(r->subscriber, roam_loop_now(r->loop), &filter, 1, NULL);
  if (!wait_for(r, &r->subscribed, NULL, 0) || !r->away) return;
  roam_client_close(r->subscriber, roam_loop_now(r->loop), 0);
  wait_for(r, &r->closed, NULL, 0);
  end_client(r, &r->subscriber);
}

static void publish_all(struct run *r, const struct subject *s, uint64_t *cpu_ns) {
  char id[32];
  for (unsigned i = 0; i < PUBLISHERS && !r->failed; i++) {
    snprintf(id, sizeof id, "bench-publisher-%u", i);
    r->publishers[i].run = r;
    r->publishers[i].client = start_client(r, s, id, on_publisher, &r->publishers[i]);
  }
  while (r->connected < PUBLISHERS && !r->failed)
    if (roam_loop_step(r->loop, 100 * ROAM_MS) < 0) r->failed = true;
  if (r->failed) return;
  uint64_t before = subject_cpu_ns(s);
  r->began = roam_loop_now(r->loop);
  for (unsigned i = 0; i < PUBLISHERS; i++) publish_more(&r->publishers[i]);
  wait_for(r, NULL, &r->acked, r->total);
  *cpu_ns = subject_cpu_ns(s) - before;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void report(const struct run *r, uint64_t cpu_ns) {
  double seconds = (double)(r->ended - r->began) / 1e9;
  qsort(r->latency_us, r->acked, sizeof *r->latency_us, by_value);
  printf("%-14s %-6s %10.0f %8.1f %9.2f %9.2f   %s\n", r->kind->name, r->away ? "away" : "there",
         (double)r->acked / seconds, (double)cpu_ns / 1e3 / (double)r->acked, r->latency_us[r->acked / 2] / 1e3,
         r->latency_us[r->acked - 1 - r->acked / 100] / 1e3, r->kind->promise);
  fflush(stdout);
}

static bool start(struct subject *s, const struct run *r, const char *folder, const char **why) {
  const struct subject_kind *k = r->kind;
  char path[4200], lines[4400];
  snprintf(path, sizeof path, "%s/store.db", folder);
  const char *more[] = {
      "--queue-messages-max", "10000000", "--queue-bytes-max", "1G", "--workers", r->workers, "--store", path,
      "--store-sync",         k->sync,    NULL};
  if (k->sync && !k->sync[0]) more[6] = NULL;
  snprintf(lines, sizeof lines, "max_queued_messages 0\npersistence true\npersistence_location %s/\n%s", folder,
           k->mosquitto ? k->mosquitto : "");
  return k->sync ? subject_start_roamqtt_with(s, folder, more, why) : subject_start_mosquitto_with(s, folder, lines, why);
}

static void clean(const char *folder) {
  static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm", "mosquitto.db", "mosquitto.db.new"};
  char path[4200];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
}

static bool measure(const struct run *as, const char *folder) {
  static struct run r;
  const struct subject_kind *k = as->kind;
  uint64_t total = as->total;
  bool away = as->away;
  struct subject s;
  const char *why = "";
  uint64_t cpu_ns = 0;
  r = *as;
  r.loop = roam_loop_new(NULL);
  r.latency_us = calloc(total, sizeof *r.latency_us);
  if (!start(&s, &r, folder, &why)) {
    printf("%-14s left out: %s\n", k->name, why);
    roam_loop_free(r.loop);
    free(r.latency_us);
    return k->sync == NULL;
  }
  prepare(&r, &s);
  if (!r.failed) publish_all(&r, &s, &cpu_ns);
  if (away && !r.failed) r.subscriber = start_client(&r, &s, "bench-subscriber", on_subscriber, &r);
  wait_for(&r, NULL, &r.received, total);
  for (unsigned i = 0; i < PUBLISHERS; i++) end_client(&r, &r.publishers[i].client);
  end_client(&r, &r.subscriber);
  subject_stop(&s);
  if (!r.failed) report(&r, cpu_ns);
  else
    printf("%-14s %-6s not valid: %llu of %llu acknowledged, %llu came\n", k->name, away ? "away" : "there",
           (unsigned long long)r.acked, (unsigned long long)total, (unsigned long long)r.received);
  clean(folder);
  roam_loop_free(r.loop);
  free(r.latency_us);
  return !r.failed;
}

/* ---- all ---- */

static int usage(void) {
  fprintf(stderr, "Usage: roamqtt-bench store [--quick] [--messages N] [--window N] [--folder DIR] [--workers N]\n"
                  "  20 publishers with N messages each unacknowledged (64); 40000 messages of 64 bytes a run.\n"
                  "  DIR is where the stores are: on the disk that is meant (default: here).\n"
                  "  More than one worker: of ours alone, for mosquitto has none.\n");
  return 2;
}

static void tell_disk(const char *folder) {
  struct statfs fs;
  if (statfs(folder, &fs) == 0 && fs.f_type == TMPFS)
    printf("%s is in memory: fsync costs nothing there, --folder DIR chooses a disk\n", folder);
}

int bench_store(int argc, char **argv) {
  uint64_t messages = 40000, window = 64;
  const char *workers = "1";
  const char *at = ".";
  char folder[4096];
  bool good = true;
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) messages = 4000;
    else if (strcmp(argv[i], "--messages") == 0 && i + 1 < argc) messages = strtoull(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--window") == 0 && i + 1 < argc) window = strtoull(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--workers") == 0 && i + 1 < argc) workers = argv[++i];
    else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc) at = argv[++i];
    else return usage();
  }
  if (messages < 100 || messages > 10000000 || window < 1 || window > 256) return usage();
  snprintf(folder, sizeof folder, "%s/roamqtt-bench-XXXXXX", at);
  if (!mkdtemp(folder)) {
    fprintf(stderr, "bench: cannot make a folder in %s: %s\n", at, strerror(errno));
    return 1;
  }
  table_machine(stdout);
  tell_disk(folder);
  printf("%-14s %-6s %10s %8s %9s %9s   %s\n", "store", "reader", "acks/s", "CPU us", "p50 ms", "p99 ms",
         "what an acknowledgement promises");
  for (int away = 0; away < 2; away++)
    for (size_t i = 0; i < KINDS; i++) {
      struct run as = {.kind = &kinds[i], .away = away, .total = messages, .window = window, .workers = workers};
      if (kinds[i].sync || strcmp(workers, "1") == 0) good &= measure(&as, folder);
    }
  printf("acks/s: QoS 1 messages of %d bytes acknowledged a second, %d publishers, %llu on their way each; there: the\n"
         "subscriber reads along; away: all is kept for it, and it got every message afterwards.\n",
         PAYLOAD, PUBLISHERS, (unsigned long long)window);
  char command[4200];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0) fprintf(stderr, "bench: %s is left behind\n", folder);
  return good ? 0 : 1;
}
