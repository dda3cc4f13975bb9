/* setup.c - `roamqtt-bench setup`: what it costs to be connected, from the first packet to CONNACK: QUIC with a full
 * handshake, with a ticket, with a ticket and early data; TLS over TCP to our broker and to mosquitto. One at a time, and
 * 16 at once.
 *
 * Every connection verifies the certificate (Ed25519), says CONNECT, gets CONNACK and is closed in good order; the broker's
 * processor time is that of all this. On loopback there is no round trip to save: what early data is for, the simulated
 * world shows (tests/sim/first_flight_test.c). Here it is about work. */
#include "setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <roamqtt/client.h>
#include <roamqtt/loop.h>

#include "subject.h"
#include "table.h"

#define AT_ONCE_MAX 16
#define STATE_MAX 65536
#define PATIENCE (30 * ROAM_S)

struct bench;

struct visitor {
  struct bench *b;
  roam_client *client;
  roam_time began;
  bool over;
};

struct bench {
  roam_loop *loop;
  char url[96];
  roam_bytes ca;
  bool early, remember;
  uint8_t state[STATE_MAX];
  size_t state_len;
  struct visitor visitors[AT_ONCE_MAX];
  uint64_t *times;
  size_t count, wanted, begun;
  uint64_t resumed, early_taken;
  const char *trouble;
};

static void keep_state(struct bench *b, roam_client *c) {
  roam_bytes state = roam_client_saved(c);
  if (!b->remember || state.len == 0 || state.len > sizeof b->state) return;
  memcpy(b->state, state.base, state.len);
  b->state_len = state.len;
}

static void take_events(void *context, const roam_event ev[], size_t n) {
  struct visitor *v = context;
  struct bench *b = v->b;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_STATE) keep_state(b, v->client);
    if (ev[i].kind == ROAM_EV_CLOSED) v->over = true;
    if (ev[i].kind == ROAM_EV_CLOSED && ev[i].rc != 0) b->trouble = roam_strerror(ev[i].rc);
    if (ev[i].kind != ROAM_EV_CONNECTED) continue;
    roam_client_stats stats = roam_client_get_stats(v->client);
    b->resumed += stats.resumed;
    b->early_taken += stats.early_accepted;
    if (b->count < b->wanted) b->times[b->count++] = ev[i].at - v->began;
    /* The ticket follows the CONNACK: a first visit stays for it. */
    if (!b->remember) roam_client_close(v->client, roam_loop_now(b->loop), ROAM_REASON_SUCCESS);
  }
}

static bool begin(struct bench *b, struct visitor *v) {
  roam_client_options o;
  roam_client_options_init(&o);
  o.url = b->url;
  o.tls.ca = b->ca;
  o.tls.wall_unix_s = roam_wall_unix_s();
  o.state = (roam_bytes){b->state, b->state_len};
  o.early_data = b->early;
  o.tell_state = b->remember;
  o.reconnect = false;
  o.roam = false;
  *v = (struct visitor){.b = b, .client = roam_client_new(&o, roam_random_system(), NULL)};
  if (!v->client) return false;
  v->began = roam_loop_now(b->loop);
  b->begun++;
  return roam_client_start(v->client, v->began) == 0 &&
         roam_loop_add(b->loop, roam_client_machine(v->client), take_events, v) == 0;
}

static void end(struct bench *b, struct visitor *v) {
  if (!v->client) return;
  roam_loop_remove(b->loop, roam_client_machine(v->client));
  roam_client_free(v->client);
  v->client = NULL;
}

/* So many connections, at most at_once of them at the same time. */
static bool visit(struct bench *b, size_t wanted, size_t at_once) {
  roam_time until = roam_loop_now(b->loop) + PATIENCE;
  b->wanted = wanted;
  b->count = b->begun = 0;
  b->resumed = b->early_taken = 0;
  b->trouble = NULL;
  for (;;) {
    size_t busy = 0;
    for (size_t i = 0; i < at_once; i++) {
      struct visitor *v = &b->visitors[i];
      if (v->client && v->over) end(b, v);
      if (!v->client && b->begun < wanted && !begin(b, v)) return false;
      busy += v->client != NULL;
    }
    if (busy == 0 || b->trouble || roam_loop_now(b->loop) > until) break;
    if (roam_loop_step(b->loop, 50 * ROAM_MS) < 0) return false;
  }
  for (size_t i = 0; i < AT_ONCE_MAX; i++) end(b, &b->visitors[i]);
  return b->count == wanted;
}

/* One visit that stays until it has its ticket. */
static bool get_ticket(struct bench *b) {
  roam_time until = roam_loop_now(b->loop) + 5 * ROAM_S;
  b->remember = true;
  b->wanted = 1;
  b->count = b->begun = b->state_len = 0;
  bool good = begin(b, &b->visitors[0]);
  while (good && b->state_len == 0 && roam_loop_now(b->loop) < until) good = roam_loop_step(b->loop, 20 * ROAM_MS) >= 0;
  for (int i = 0; good && i < 5; i++) good = roam_loop_step(b->loop, 20 * ROAM_MS) >= 0;
  keep_state(b, b->visitors[0].client);
  end(b, &b->visitors[0]);
  b->remember = false;
  return good && b->state_len > 0;
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static bool row(struct bench *b, const struct subject *s, const char *name, size_t n, size_t at_once) {
  uint64_t cpu = subject_cpu_ns(s);
  roam_time began = roam_loop_now(b->loop);
  bool good = visit(b, n, at_once);
  double seconds = (double)(roam_loop_now(b->loop) - began) / 1e9;
  if (!good) {
    printf("%-34s %3zu at once  failed: %s\n", name, at_once, b->trouble ? b->trouble : "not all arrived");
    return false;
  }
  double each = (double)(subject_cpu_ns(s) - cpu) / 1e3 / (double)n;
  qsort(b->times, n, sizeof *b->times, by_size);
  printf("%-34s %3zu at once  p50 %6.2f ms  p99 %6.2f ms  %6.0f /s  broker %5.0f us each", name, at_once,
         (double)b->times[n / 2] / 1e6, (double)b->times[n * 99 / 100] / 1e6, (double)n / seconds, each);
  if (b->resumed) printf("  resumed %llu", (unsigned long long)b->resumed);
  if (b->early_taken) printf("  early %llu", (unsigned long long)b->early_taken);
  putchar('\n');
  fflush(stdout);
  return true;
}

static bool both(struct bench *b, const struct subject *s, const char *name, size_t n) {
  bool alone = row(b, s, name, n, 1), at_once = row(b, s, name, n, AT_ONCE_MAX);
  return alone && at_once;
}

static bool measure_ours(struct bench *b, const struct subject *s, size_t n) {
  snprintf(b->url, sizeof b->url, "mqtt-quic://127.0.0.1:%u", s->quic);
  b->state_len = 0;
  bool good = both(b, s, "QUIC, full handshake", n);
  good &= get_ticket(b);
  b->early = false;
  good &= both(b, s, "QUIC, resumed", n);
  b->early = true;
  good &= both(b, s, "QUIC, early data", n);
  b->state_len = 0;
  if (!s->tls) return good; /* a broker that says no such listener */
  snprintf(b->url, sizeof b->url, "mqtts://127.0.0.1:%u", s->tls);
  return both(b, s, "TLS, full handshake", n) && good;
}

static bool run(struct bench *b, const char *folder, size_t n) {
  struct subject s;
  const char *why;
  char ca_path[512];
  FILE *ca = NULL;
  static char pem[16384];
  static const char *const with_tls[] = {"--tls", "127.0.0.1:0", NULL};
  if (!subject_start_roamqtt_with(&s, folder, with_tls, &why)) {
    fprintf(stderr, "roamqtt-bench setup: %s\n", why);
    return false;
  }
  snprintf(ca_path, sizeof ca_path, "%s/roamqtt/ca.pem", folder);
  ca = fopen(ca_path, "r");
  b->ca = (roam_bytes){(const uint8_t *)pem, ca ? fread(pem, 1, sizeof pem, ca) : 0};
  if (ca) fclose(ca);
  bool good = measure_ours(b, &s, n);
  subject_stop(&s);
  roam_identity id;
  if (roam_identity_make(&id, "mosquitto", "127.0.0.1", roam_wall_unix_s(), 2, false) != 0) return false;
  if (subject_start_mosquitto_tls(&s, folder, id.certificate, id.key, &why)) {
    b->ca = (roam_bytes){(const uint8_t *)id.ca_certificate, strlen(id.ca_certificate)};
    snprintf(b->url, sizeof b->url, "mqtts://127.0.0.1:%u", s.tls);
    good &= both(b, &s, "mosquitto over TLS, full handshake", n);
    subject_stop(&s);
  } else {
    printf("mosquitto over TLS: %s\n", why);
  }
  roam_identity_clear(&id);
  return good;
}

int bench_setup(int argc, char **argv) {
  size_t n = 400;
  char folder[] = "/tmp/roamqtt-bench-XXXXXX", command[64];
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) n = 100;
    else {
      fputs(
          "Usage: roamqtt-bench setup [--quick]\n  connections from the first packet to CONNACK, 400 (100) for each row\n",
          stderr);
      return 2;
    }
  }
  static struct bench b;
  roam_loop_options lo;
  roam_loop_options_init(&lo);
  b = (struct bench){.loop = roam_loop_new(&lo), .early = true, .times = calloc(n, sizeof *b.times)};
  bool good = b.loop && b.times && mkdtemp(folder) != NULL;
  if (good) {
    table_machine(stdout);
    good = run(&b, folder, n);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    good &= system(command) == 0;
  }
  roam_loop_free(b.loop);
  free(b.times);
  return good ? 0 : 1;
}
