/* loss.c - `roamqtt-bench loss`: publishers that publish as fast as they are let, a path that loses packets, subscribers
 * that cannot keep up: what do broker, sender and receiver hold after a minute of it?
 *
 * Four processes on loopback: the broker with its default limits, the live relay that delays and loses, one with all
 * publishers, one with all subscribers. Nothing passes or fails by a time; what counts is the resident memory the system
 * says each had at its peak, the queues, and whether either still grew in the second half. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <roamqtt/roamqtt.h>

#include "loss.h"
#include "subject.h"
#include "table.h"

#define PAIRS 4
#define PAYLOAD 256
#define TURN_MAX 2048 /* publishes of one client between two turns of its loop */
#define PATIENCE_S 30
#define GROWTH_BYTES ((uint64_t)8 << 20) /* in the second half: noise of the allocator, not a trend */

enum {
  BROKER,
  RELAY,
  SENDER,
  RECEIVER,
  PROCESSES
};

static const char *const names[PROCESSES] = {"broker", "relay", "sender", "receiver"};

struct plan {
  unsigned long seconds;
  uint32_t loss_ppm;
  uint64_t delay_ns;
};

struct row {
  const char *name;
  uint8_t qos;
  roam_lanes_strategy lanes;
  bool datagrams;
};

/* Memory that all processes see. */
struct shared {
  struct plan plan;
  struct row row;
  char certificate[16384], key[16384], ca[16384];
  volatile uint16_t broker_port, relay_port;
  volatile uint32_t connected, subscribed;
  volatile bool go, stop;
  volatile uint64_t sent, received, blocked, damaged;
  volatile uint64_t dropped, queued_bytes, queued_bytes_max; /* the broker's */
  volatile uint64_t lost_packets;
};

static struct shared *shared;

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

/* ---- broker and relay --------------------------------------------------------------------------------------------------
 */

static void on_broker(void *context, const roam_event ev[], size_t n) {
  (void)context;
  for (size_t i = 0; i < n; i++)
    if (ev[i].kind == ROAM_EV_LISTENING) shared->broker_port = ev[i].u.link.local.port;
}

static int run_broker(void) {
  roam_broker_options o;
  roam_addr at;
  roam_broker_options_init(&o);
  o.tls.certificate = str(shared->certificate);
  o.tls.key = str(shared->key);
  o.tls.wall_unix_s = roam_wall_unix_s();
  roam_loop *loop = roam_loop_new(NULL);
  roam_broker *b = loop ? roam_broker_new(&o, roam_loop_now(loop), roam_random_system(), NULL) : NULL;
  if (!b || roam_addr_parse("127.0.0.1:0", &at) != 0 || roam_loop_add(loop, roam_broker_machine(b), on_broker, NULL) != 0 ||
      roam_broker_listen(b, roam_loop_now(loop), ROAM_TRANSPORT_QUIC, &at, NULL) != 0)
    return 2;
  while (roam_loop_step(loop, 100 * ROAM_MS) >= 0) {
    roam_broker_stats s = roam_broker_get_stats(b);
    shared->dropped = s.messages_dropped;
    shared->queued_bytes = s.queued_bytes;
    if (s.queued_bytes > shared->queued_bytes_max) shared->queued_bytes_max = s.queued_bytes;
  }
  return 3;
}

static void on_relay(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

static int run_relay(void) {
  roam_relay_options o;
  roam_relay_options_init(&o);
  o.tcp = false;
  o.delay_ns = shared->plan.delay_ns;
  if (roam_addr_parse("127.0.0.1:0", &o.inside) != 0 || roam_addr_parse("127.0.0.1", &o.server) != 0) return 2;
  o.server.port = shared->broker_port;
  if (roam_addr_parse("127.0.0.1", &o.address) != 0) return 2;
  roam_loop *loop = roam_loop_new(NULL);
  roam_relay *r = loop ? roam_relay_new(&o, roam_random_system()) : NULL;
  if (!r || roam_loop_add(loop, roam_relay_machine(r), on_relay, NULL) != 0) return 3;
  for (bool losing = false; roam_loop_step(loop, 20 * ROAM_MS) >= 0;) {
    roam_relay_stats s = roam_relay_get_stats(r);
    shared->relay_port = roam_relay_inside(r).port;
    shared->lost_packets = s.lost[0] + s.lost[1];
    if (!losing && shared->go) roam_relay_set_loss(r, shared->plan.loss_ppm);
    losing = shared->go;
  }
  return 4;
}

/* ---- clients -----------------------------------------------------------------------------------------------------------
 */

static void on_publisher(void *context, const roam_event ev[], size_t n) {
  (void)context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_CONNECTED) shared->connected++;
    if (ev[i].kind == ROAM_EV_DISCONNECTED) fprintf(stderr, "bench: a publisher: %s\n", ev[i].text ? ev[i].text : "lost");
  }
}

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  roam_loop *loop = context;
  (void)loop;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_SUBSCRIBED && ev[i].rc == 0) shared->subscribed++;
    if (ev[i].kind == ROAM_EV_DISCONNECTED) fprintf(stderr, "bench: a subscriber: %s\n", ev[i].text ? ev[i].text : "lost");
    if (ev[i].kind != ROAM_EV_MESSAGE) continue;
    const roam_bytes *p = &ev[i].u.message.payload;
    bool whole = p->len == PAYLOAD && p->base[8] == p->base[0] && p->base[PAYLOAD - 1] == p->base[0];
    if (whole) shared->received++;
    else shared->damaged++;
  }
}

static roam_client *start_client(roam_loop *loop, roam_loop_sink sink, const char *kind, int i) {
  roam_client_options o;
  char url[64], id[32];
  roam_client_options_init(&o);
  snprintf(url, sizeof url, "mqtt-quic://127.0.0.1:%u", shared->relay_port);
  snprintf(id, sizeof id, "%s-%d", kind, i);
  o.url = url;
  o.client_id = id;
  o.tls.ca = str(shared->ca);
  o.tls.wall_unix_s = roam_wall_unix_s();
  o.server_name = "localhost";
  o.lanes = shared->row.lanes;
  o.connect_timeout_ns = PATIENCE_S * ROAM_S;
  roam_client *c = roam_client_new(&o, roam_random_system(), NULL);
  if (!c || roam_loop_add(loop, roam_client_machine(c), sink, loop) != 0 || roam_client_start(c, roam_loop_now(loop)) != 0)
    return NULL;
  return c;
}

/* As much as the client takes: its queue is what says "enough". */
static void publish_some(roam_loop *loop, roam_client *c, int i) {
  uint8_t payload[PAYLOAD];
  char topic[8];
  snprintf(topic, sizeof topic, "l/%d", i);
  roam_client_message m = {
      .topic = str(topic), .payload = {payload, sizeof payload}, .qos = shared->row.qos, .datagram = shared->row.datagrams};
  roam_time now = roam_loop_now(loop);
  for (int k = 0; k < TURN_MAX; k++) {
    memset(payload, (int)(shared->sent & 0xff), sizeof payload);
    if (roam_client_publish(c, now, &m, NULL) != 0) {
      shared->blocked++;
      return;
    }
    shared->sent++;
  }
}

static int run_sender(void) {
  roam_client *clients[PAIRS];
  roam_loop *loop = roam_loop_new(NULL);
  if (!loop) return 2;
  for (int i = 0; i < PAIRS; i++)
    if (!(clients[i] = start_client(loop, on_publisher, "sender", i))) return 3;
  while (roam_loop_step(loop, shared->go ? ROAM_MS : 20 * ROAM_MS) >= 0)
    for (int i = 0; i < PAIRS && shared->go && !shared->stop; i++) publish_some(loop, clients[i], i);
  return 4;
}

static int run_receiver(void) {
  roam_loop *loop = roam_loop_new(NULL);
  if (!loop) return 2;
  for (int i = 0; i < PAIRS; i++) {
    char topic[8];
    snprintf(topic, sizeof topic, "l/%d", i);
    roam_filter f = {.filter = str(topic), .qos = shared->row.qos};
    roam_client_subscribe_how how = {.datagram = shared->row.datagrams};
    roam_client *c = start_client(loop, on_subscriber, "receiver", i);
    if (!c || roam_client_subscribe_how_to(c, roam_loop_now(loop), &f, 1, &how, NULL) != 0) return 3;
  }
  while (roam_loop_step(loop, 100 * ROAM_MS) >= 0) continue;
  return 4;
}

/* ---- the parent --------------------------------------------------------------------------------------------------------
 */

struct rig {
  struct subject processes[PROCESSES];
  uint64_t idle[PROCESSES], half[PROCESSES], end[PROCESSES], peak[PROCESSES];
};

static bool start_process(struct rig *g, int which) {
  static int (*const runs[PROCESSES])(void) = {run_broker, run_relay, run_sender, run_receiver};
  pid_t parent = getpid();
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    _exit(runs[which]());
  }
  g->processes[which].pid = pid > 0 ? pid : 0;
  return pid > 0;
}

static void rest(void) { nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); }

static bool await(const volatile uint32_t *value, uint32_t want) {
  for (int i = 0; i < PATIENCE_S * 50 && *value < want; i++) rest();
  return *value >= want;
}

static bool await_port(const volatile uint16_t *port) {
  for (int i = 0; i < PATIENCE_S * 50 && *port == 0; i++) rest();
  return *port != 0;
}

static void note(const struct rig *g, uint64_t into[PROCESSES]) {
  for (int i = 0; i < PROCESSES; i++) into[i] = subject_resident_bytes(&g->processes[i]);
}

static bool start_all(struct rig *g) {
  return start_process(g, BROKER) && await_port(&shared->broker_port) && start_process(g, RELAY) &&
         await_port(&shared->relay_port) && start_process(g, RECEIVER) && await(&shared->subscribed, PAIRS) &&
         start_process(g, SENDER) && await(&shared->connected, PAIRS);
}

static bool still_there(const struct rig *g) {
  for (int i = 0; i < PROCESSES; i++)
    if (waitpid(g->processes[i].pid, NULL, WNOHANG) != 0) {
      fprintf(stderr, "bench: the %s is gone\n", names[i]);
      return false;
    }
  return true;
}

static bool let_run(struct rig *g) {
  note(g, g->idle);
  shared->go = true;
  for (unsigned long i = 0; i < shared->plan.seconds * 50; i++) {
    rest();
    if (i == shared->plan.seconds * 25) note(g, g->half);
  }
  note(g, g->end);
  bool good = still_there(g);
  for (int i = 0; i < PROCESSES; i++) g->peak[i] = subject_peak_bytes(&g->processes[i]);
  shared->stop = true;
  return good;
}

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

static bool tell(const struct rig *g) {
  double seconds = (double)shared->plan.seconds;
  bool good = shared->received > 0 && shared->damaged == 0;
  printf("%-18s QoS %u  sent %8.0f/s  received %8.0f/s  dropped by the broker %8.0f/s  packets lost %llu\n",
         shared->row.name, shared->row.qos, (double)shared->sent / seconds, (double)shared->received / seconds,
         (double)shared->dropped / seconds, (unsigned long long)shared->lost_packets);
  printf("  broker's queues: most %.1f MiB, now %.1f MiB\n", mib(shared->queued_bytes_max), mib(shared->queued_bytes));
  for (int i = 0; i < PROCESSES; i++) {
    bool grows = i != RELAY && g->end[i] > g->half[i] + GROWTH_BYTES;
    printf("  %-9s idle %6.1f MiB  half-way %6.1f  end %6.1f  peak %6.1f%s\n", names[i], mib(g->idle[i]), mib(g->half[i]),
           mib(g->end[i]), mib(g->peak[i]), grows ? "  STILL GROWS" : "");
    good &= !grows;
  }
  fflush(stdout);
  return good;
}

static bool run_row(const struct plan *plan, const struct row *row) {
  struct rig g = {0};
  roam_identity id;
  memset(shared, 0, sizeof *shared);
  shared->plan = *plan;
  shared->row = *row;
  if (roam_identity_make(&id, "bench", "localhost", roam_wall_unix_s(), 1, false) != 0) return false;
  snprintf(shared->certificate, sizeof shared->certificate, "%s", id.certificate);
  snprintf(shared->key, sizeof shared->key, "%s", id.key);
  snprintf(shared->ca, sizeof shared->ca, "%s", id.ca_certificate);
  roam_identity_clear(&id);
  bool good = start_all(&g);
  if (!good) fprintf(stderr, "bench: %s: not everybody is there in time\n", row->name);
  good = good && let_run(&g) && tell(&g);
  for (int i = 0; i < PROCESSES; i++) subject_stop(&g.processes[i]);
  return good;
}

static int usage(void) {
  fprintf(stderr,
          "Usage: roamqtt-bench loss [--quick] [--seconds N] [--percent N]\n"
          "  4 publishers at full rate, 4 subscribers, 10 ms each way, 1 %% loss, 60 s (--quick: 5 s) for each row\n");
  return 2;
}

int bench_loss(int argc, char **argv) {
  static const struct row rows[] = {{"one stream", 0, ROAM_LANES_ONE, false},
                                    {"one stream", 1, ROAM_LANES_ONE, false},
                                    {"per topic", 0, ROAM_LANES_PER_TOPIC, false},
                                    {"datagrams", 0, ROAM_LANES_ONE, true}};
  struct plan plan = {.seconds = 60, .loss_ppm = 10000, .delay_ns = 10 * ROAM_MS};
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) plan.seconds = 5;
    else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) plan.seconds = strtoul(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--percent") == 0 && i + 1 < argc)
      plan.loss_ppm = (uint32_t)strtoul(argv[++i], NULL, 10) * 10000;
    else return usage();
  }
  if (plan.seconds < 2 || plan.seconds > 3600 || plan.loss_ppm > 500000) return usage();
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  table_machine(stdout);
  printf("%d publishers, %d subscribers, %d B, %.0f ms each way, %.0f %% loss each way, %lu s for each row\n", PAIRS, PAIRS,
         PAYLOAD, (double)plan.delay_ns / 1e6, plan.loss_ppm / 1e4, plan.seconds);
  bool good = true;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) good &= run_row(&plan, &rows[i]);
  return good ? 0 : 1;
}
