/* streams_case.c - see streams_case.h. The world makes it exact: the same case gives the same figures everywhere. */
#include "streams_case.h"

#include <stdlib.h>
#include <string.h>

#include <roamqtt/roamqtt.h>

#define WALL INT64_C(1800000000)
#define TOPICS 8
#define PAYLOAD 256
#define MEDIAN_OF 50
#define NEAR_NS (10 * ROAM_MS)
#define WINDOW_NS (100 * ROAM_MS)

struct sample {
  roam_time sent, received;
  uint32_t topic;
  bool spike;
};

struct bench {
  const struct streams_case *c;
  roam_world *world;
  roam_client *publisher, *subscriber;
  struct sample *samples;
  size_t len, cap;
  uint32_t sent, subscribed;
};

const char *streams_mapping_name(streams_mapping mapping) {
  static const char *const names[] = {"one stream", "per topic", "per topic, alone", "per message", "datagram"};
  return mapping < STREAMS_MAPPINGS ? names[mapping] : "?";
}

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

/* ---- the machines ------------------------------------------------------------------------------------------------------
 */

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  struct bench *b = context;
  for (size_t i = 0; i < n; i++) {
    b->subscribed += ev[i].kind == ROAM_EV_SUBSCRIBED && ev[i].rc == 0;
    if (ev[i].kind != ROAM_EV_MESSAGE || b->len == b->cap) continue;
    struct sample *s = &b->samples[b->len++];
    s->received = ev[i].at;
    s->topic = (uint32_t)(ev[i].u.message.topic.base[1] - '0');
    memcpy(&s->sent, ev[i].u.message.payload.base, sizeof s->sent);
  }
}

static void on_nothing(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

static void send_next(void *context) {
  struct bench *b = context;
  uint8_t payload[PAYLOAD] = {0};
  char topic[3] = {'t', (char)('0' + b->sent % TOPICS), 0};
  roam_time now = roam_world_now(b->world);
  memcpy(payload, &now, sizeof now);
  roam_client_message m = {
      .topic = str(topic), .payload = {payload, sizeof payload}, .datagram = b->c->mapping == STREAMS_DATAGRAM};
  if (roam_client_publish(b->publisher, now, &m, NULL) == 0) b->sent++;
  if (b->sent < b->cap) roam_world_at(b->world, now + ROAM_S / b->c->rate, send_next, b);
}

/* ---- the world ---------------------------------------------------------------------------------------------------------
 */

static roam_client *start_client(struct bench *b, roam_host *host, const roam_identity *identity, const char *id,
                                 roam_world_sink sink) {
  roam_client_options o;
  roam_client_options_init(&o);
  o.url = "mqtt-quic://192.0.2.1:14567";
  o.client_id = id;
  o.tls.ca = str(identity->ca_certificate);
  o.tls.wall_unix_s = WALL;
  o.server_name = "localhost";
  if (b->c->mapping == STREAMS_PER_TOPIC || b->c->mapping == STREAMS_PER_TOPIC_ALONE) o.lanes = ROAM_LANES_PER_TOPIC;
  if (b->c->mapping == STREAMS_PER_MESSAGE) o.lanes = ROAM_LANES_PER_MESSAGE;
  o.one_lane_per_packet = b->c->mapping == STREAMS_PER_TOPIC_ALONE;
  o.lanes_max = 63;
  roam_client *c = roam_client_new(&o, roam_world_random(b->world), NULL);
  if (!c || roam_client_start(c, roam_world_now(b->world)) != 0) abort();
  roam_host_run(host, roam_client_machine(c), sink, b);
  return c;
}

static roam_broker *start_broker(struct bench *b, roam_host *host, const roam_identity *identity, const roam_addr *at) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.tls.certificate = str(identity->certificate);
  o.tls.key = str(identity->key);
  o.tls.wall_unix_s = WALL;
  o.anonymous_beyond_loopback = true;
  o.one_lane_per_packet = b->c->mapping == STREAMS_PER_TOPIC_ALONE;
  roam_broker *broker = roam_broker_new(&o, roam_world_now(b->world), roam_world_random(b->world), NULL);
  if (!broker || roam_broker_listen(broker, roam_world_now(b->world), ROAM_TRANSPORT_QUIC, at, NULL) != 0) abort();
  roam_host_run(host, roam_broker_machine(broker), on_nothing, b);
  return broker;
}

static roam_host *add_host(struct bench *b, const char *name, const char *address) {
  roam_addr at;
  roam_host *host = roam_world_host(b->world, name);
  if (roam_addr_parse(address, &at) != 0) abort();
  roam_host_address(host, "eth0", &at);
  return host;
}

/* Delay and loss stand at the broker, for both directions and both clients. */
static roam_hop *add_link(struct bench *b, roam_host *server, const roam_addr *at) {
  roam_delay_options d;
  roam_loss_options l;
  roam_delay_options_init(&d);
  roam_loss_options_init(&l);
  d.delay_ns = b->c->rtt_ns / 2;
  roam_hop *loss = roam_loss_new(&l, roam_world_random(b->world));
  roam_host_hop(server, at, roam_delay_new(&d, roam_world_random(b->world)));
  roam_host_hop(server, at, loss);
  return loss;
}

static void subscribe(struct bench *b) {
  roam_client_subscribe_how how = {.datagram = b->c->mapping == STREAMS_DATAGRAM};
  for (int i = 0; i < TOPICS; i++) {
    char topic[3] = {'t', (char)('0' + i), 0};
    roam_filter f = {.filter = str(topic)};
    if (roam_client_subscribe_how_to(b->subscriber, roam_world_now(b->world), &f, 1, &how, NULL) != 0) abort();
  }
}

static void play(struct bench *b) {
  roam_world_options o;
  roam_identity identity;
  roam_addr at, bare;
  roam_world_options_init(&o);
  o.seed = b->c->seed;
  o.trace_datagrams = false;
  b->world = roam_world_new(&o);
  if (!b->world || roam_identity_make(&identity, "bench", "localhost", WALL, 1, false) != 0) abort();
  if (roam_addr_parse("192.0.2.1:14567", &at) != 0) abort();
  bare = at;
  bare.port = 0;
  roam_host *server = add_host(b, "broker", "192.0.2.1");
  roam_hop *loss = add_link(b, server, &bare);
  roam_broker *broker = start_broker(b, server, &identity, &at);
  b->publisher = start_client(b, add_host(b, "publisher", "192.0.2.10"), &identity, "publisher", on_nothing);
  b->subscriber = start_client(b, add_host(b, "subscriber", "192.0.2.11"), &identity, "subscriber", on_subscriber);
  roam_world_run(b->world, roam_world_now(b->world) + ROAM_S);
  subscribe(b);
  roam_world_run(b->world, roam_world_now(b->world) + ROAM_S);
  roam_loss_set(loss, b->c->loss_ppm);
  roam_world_at(b->world, roam_world_now(b->world), send_next, b);
  roam_world_run(b->world, roam_world_now(b->world) + b->c->duration_ns + 10 * ROAM_S);
  roam_world_free(b->world);
  roam_client_free(b->publisher);
  roam_client_free(b->subscriber);
  roam_broker_free(broker);
  roam_identity_clear(&identity);
}

/* ---- the figures -------------------------------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double latency_ms(const struct sample *s) { return (double)(s->received - s->sent) / 1e6; }

static double quantile(const double sorted[], size_t n, double q) {
  return n == 0 ? 0 : sorted[(size_t)(q * (double)(n - 1) + 0.5)];
}

static void find_latencies(const struct bench *b, struct streams_result *r) {
  double *all = malloc((b->len + 1) * sizeof *all);
  if (!all) abort();
  for (size_t i = 0; i < b->len; i++) all[i] = latency_ms(&b->samples[i]);
  qsort(all, b->len, sizeof *all, compare);
  r->p50_ms = quantile(all, b->len, 0.5);
  r->p95_ms = quantile(all, b->len, 0.95);
  r->p99_ms = quantile(all, b->len, 0.99);
  free(all);
}

/* Largest minus smallest mean of a window's topics; negative: some topic has no message in it. */
static double spread_of(const struct sample s[], size_t n) {
  double sum[TOPICS] = {0}, least = 1e18, most = 0;
  unsigned count[TOPICS] = {0};
  for (size_t i = 0; i < n; i++) {
    sum[s[i].topic] += latency_ms(&s[i]);
    count[s[i].topic]++;
  }
  for (int t = 0; t < TOPICS; t++) {
    if (count[t] == 0) return -1;
    double mean = sum[t] / count[t];
    if (mean < least) least = mean;
    if (mean > most) most = mean;
  }
  return most - least;
}

static void find_spread(const struct bench *b, struct streams_result *r) {
  double *spreads = malloc((b->len + 1) * sizeof *spreads), sum = 0;
  size_t count = 0;
  if (!spreads) abort();
  for (size_t i = 0, n; i < b->len; i += n) {
    roam_time window = b->samples[i].received / WINDOW_NS;
    for (n = 1; i + n < b->len && b->samples[i + n].received / WINDOW_NS == window; n++) continue;
    double spread = spread_of(&b->samples[i], n);
    if (spread >= 0) sum += spreads[count++] = spread;
  }
  qsort(spreads, count, sizeof *spreads, compare);
  r->spread_ms = count ? sum / (double)count : 0;
  r->spread_p95_ms = quantile(spreads, count, 0.95);
  r->spread_max_ms = count ? spreads[count - 1] : 0;
  free(spreads);
}

static void mark_spikes(struct bench *b) {
  double last[TOPICS][MEDIAN_OF], sorted[MEDIAN_OF];
  size_t count[TOPICS] = {0};
  for (size_t i = 0; i < b->len; i++) {
    struct sample *s = &b->samples[i];
    size_t n = count[s->topic]++;
    if (n >= MEDIAN_OF) {
      memcpy(sorted, last[s->topic], sizeof sorted);
      qsort(sorted, MEDIAN_OF, sizeof *sorted, compare);
      s->spike = latency_ms(s) > sorted[MEDIAN_OF / 2 - 1] + sorted[MEDIAN_OF / 2]; /* twice the median */
    }
    last[s->topic][n % MEDIAN_OF] = latency_ms(s);
  }
}

static bool has_company(const struct bench *b, size_t at) {
  const struct sample *s = &b->samples[at];
  for (size_t i = at; i-- > 0 && s->received - b->samples[i].received <= NEAR_NS;)
    if (b->samples[i].spike && b->samples[i].topic != s->topic) return true;
  for (size_t i = at + 1; i < b->len && b->samples[i].received - s->received <= NEAR_NS; i++)
    if (b->samples[i].spike && b->samples[i].topic != s->topic) return true;
  return false;
}

static void find_isolation(struct bench *b, struct streams_result *r) {
  uint32_t together = 0;
  mark_spikes(b);
  for (size_t i = 0; i < b->len; i++) {
    if (!b->samples[i].spike) continue;
    r->spikes++;
    together += has_company(b, i);
  }
  r->isolation = r->spikes ? (double)together / (double)r->spikes : 0;
}

void streams_case_run(const struct streams_case *c, struct streams_result *r) {
  struct bench b = {.c = c, .cap = (size_t)(c->duration_ns / ROAM_S * c->rate)};
  *r = (struct streams_result){0};
  b.samples = calloc(b.cap + 1, sizeof *b.samples);
  if (!b.samples) abort();
  play(&b);
  r->sent = b.sent;
  r->received = (uint32_t)b.len;
  bool all = c->mapping != STREAMS_DATAGRAM || c->loss_ppm == 0;
  r->ok = b.subscribed == TOPICS && r->sent == b.cap && (all ? r->received == r->sent : r->received > r->sent / 2);
  find_latencies(&b, r);
  find_spread(&b, r);
  find_isolation(&b, r);
  free(b.samples);
}
