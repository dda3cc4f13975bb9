/* streams_kernel.c - a row of the table on the kernel: broker and clients in two namespaces, the path of wire.h between.
 * The only place a figure for TCP comes from. */
#include "streams_kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <roamqtt/roamqtt.h>

#include "streams_metrics.h"
#include "wire.h"

#define PATIENCE_NS (20 * ROAM_S)
#define SETTLE_NS (10 * ROAM_S)

/* What both ends and the wire see. */
struct shared {
  struct streams_case c;
  bool tcp;
  volatile bool ready, lossy;
  char certificate[16384], key[16384], ca[16384];
  uint32_t sent, cap;
  size_t len;
  char text[160];
  struct streams_sample samples[];
};

/* In the near end. */
struct near {
  struct shared *s;
  roam_loop *loop;
  roam_client *publisher, *subscriber;
  uint32_t connected, subscribed;
};

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

/* ---- far: the broker --------------------------------------------------------------------------------------------------
 */

static void on_broker(void *context, const roam_event ev[], size_t n) {
  uint32_t *listening = context;
  for (size_t i = 0; i < n; i++) *listening += ev[i].kind == ROAM_EV_LISTENING;
}

static int run_broker(void *shared) {
  struct shared *s = shared;
  roam_broker_options o;
  roam_addr quic, tcp;
  uint32_t listening = 0;
  roam_broker_options_init(&o);
  o.tls.certificate = str(s->certificate);
  o.tls.key = str(s->key);
  o.tls.wall_unix_s = roam_wall_unix_s();
  o.anonymous_beyond_loopback = true; /* nobody is here but us */
  roam_loop *loop = roam_loop_new(NULL);
  roam_broker *b = loop ? roam_broker_new(&o, roam_loop_now(loop), roam_random_system(), NULL) : NULL;
  if (!b || roam_addr_parse(WIRE_FAR ":14567", &quic) != 0 || roam_addr_parse(WIRE_FAR ":1883", &tcp) != 0) return 2;
  if (roam_loop_add(loop, roam_broker_machine(b), on_broker, &listening) != 0 ||
      roam_broker_listen(b, roam_loop_now(loop), ROAM_TRANSPORT_QUIC, &quic, NULL) != 0 ||
      roam_broker_listen(b, roam_loop_now(loop), ROAM_TRANSPORT_TCP, &tcp, NULL) != 0)
    return 3;
  while (roam_loop_step(loop, 100 * ROAM_MS) >= 0) s->ready = listening == 2;
  return 4;
}

/* ---- near: publisher and subscriber ------------------------------------------------------------------------------------
 */

static void take(struct near *e, const roam_event *ev) {
  struct shared *s = e->s;
  if (s->len == s->cap || ev->u.message.payload.len != STREAMS_PAYLOAD || ev->u.message.topic.len != 2) return;
  uint32_t topic = (uint32_t)(ev->u.message.topic.base[1] - '0');
  if (topic >= STREAMS_TOPICS) return;
  struct streams_sample *sample = &s->samples[s->len++];
  *sample = (struct streams_sample){.received = roam_loop_now(e->loop), .topic = topic};
  memcpy(&sample->sent, ev->u.message.payload.base, sizeof sample->sent);
}

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct near *e = context;
  for (size_t i = 0; i < n; i++) {
    e->connected += ev[i].kind == ROAM_EV_CONNECTED;
    e->subscribed += ev[i].kind == ROAM_EV_SUBSCRIBED && ev[i].rc == 0;
    if (ev[i].kind == ROAM_EV_MESSAGE) take(e, &ev[i]);
    if ((ev[i].kind == ROAM_EV_DISCONNECTED || ev[i].kind == ROAM_EV_CLOSED) && ev[i].text && !e->s->text[0])
      snprintf(e->s->text, sizeof e->s->text, "%s", ev[i].text);
  }
}

static roam_client *start_client(struct near *e, const char *id) {
  roam_client_options o;
  roam_client_options_init(&o);
  o.url = e->s->tcp ? "mqtt://" WIRE_FAR ":1883" : "mqtt-quic://" WIRE_FAR ":14567";
  o.client_id = id;
  o.tls.ca = str(e->s->ca);
  o.tls.wall_unix_s = roam_wall_unix_s();
  o.server_name = "localhost";
  if (e->s->c.mapping == STREAMS_PER_TOPIC) o.lanes = ROAM_LANES_PER_TOPIC;
  o.lanes_max = 63;
  roam_client *c = roam_client_new(&o, roam_random_system(), NULL);
  if (!c || roam_loop_add(e->loop, roam_client_machine(c), on_client, e) != 0 ||
      roam_client_start(c, roam_loop_now(e->loop)) != 0)
    return NULL;
  return c;
}

/* True once *counter has come to that. */
static bool await(struct near *e, const uint32_t *counter, uint32_t want) {
  roam_time end = roam_loop_now(e->loop) + PATIENCE_NS;
  while (*counter < want && roam_loop_now(e->loop) < end && roam_loop_step(e->loop, 50 * ROAM_MS) >= 0) continue;
  return *counter >= want;
}

static bool await_broker(struct near *e) {
  roam_time end = roam_loop_now(e->loop) + PATIENCE_NS;
  while (!e->s->ready && roam_loop_now(e->loop) < end && roam_loop_step(e->loop, 50 * ROAM_MS) >= 0) continue;
  return e->s->ready;
}

static bool subscribe(struct near *e) {
  for (int i = 0; i < STREAMS_TOPICS; i++) {
    char topic[3] = {'t', (char)('0' + i), 0};
    roam_filter f = {.filter = str(topic)};
    if (roam_client_subscribe(e->subscriber, roam_loop_now(e->loop), &f, 1, NULL) != 0) return false;
  }
  return await(e, &e->subscribed, STREAMS_TOPICS);
}

static void send_next(struct near *e, roam_time at) {
  struct shared *s = e->s;
  uint8_t payload[STREAMS_PAYLOAD] = {0};
  char topic[3] = {'t', (char)('0' + s->sent % STREAMS_TOPICS), 0};
  memcpy(payload, &at, sizeof at);
  roam_client_message m = {.topic = str(topic), .payload = {payload, sizeof payload}};
  if (roam_client_publish(e->publisher, roam_loop_now(e->loop), &m, NULL) == 0) s->sent++;
}

/* An open loop: each message is sent, and its latency counted, from the time it was due. */
static void publish_all(struct near *e) {
  struct shared *s = e->s;
  roam_time start = roam_loop_now(e->loop), end = start + s->c.duration_ns + SETTLE_NS;
  for (roam_time at; (at = roam_loop_now(e->loop)) < end && s->len < s->cap;) {
    roam_time due = start + s->sent * ROAM_S / s->c.rate;
    if (s->sent < s->cap && due <= at) {
      send_next(e, due);
      continue;
    }
    uint64_t wait = s->sent < s->cap ? due - at : 20 * ROAM_MS;
    if (roam_loop_step(e->loop, wait) < 0) return;
  }
}

static int run_clients(void *shared) {
  struct near e = {.s = shared};
  e.loop = roam_loop_new(NULL);
  if (!e.loop || !await_broker(&e)) return 2;
  e.publisher = start_client(&e, "publisher");
  e.subscriber = start_client(&e, "subscriber");
  if (!e.publisher || !e.subscriber) return 3;
  if (!await(&e, &e.connected, 2)) return 4;
  if (!subscribe(&e)) return 5;
  e.s->lossy = true;
  publish_all(&e);
  return 0;
}

/* ---- the row -----------------------------------------------------------------------------------------------------------
 */

static struct shared *make_shared(const struct streams_case *c, bool tcp, size_t *bytes) {
  roam_identity id;
  uint32_t cap = (uint32_t)(c->duration_ns / ROAM_S * c->rate);
  *bytes = sizeof(struct shared) + cap * sizeof(struct streams_sample);
  struct shared *s = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (s == MAP_FAILED) return NULL;
  s->c = *c;
  s->tcp = tcp;
  s->cap = cap;
  if (roam_identity_make(&id, "bench", "localhost", roam_wall_unix_s(), 1, false) != 0) {
    munmap(s, *bytes);
    return NULL;
  }
  snprintf(s->certificate, sizeof s->certificate, "%s", id.certificate);
  snprintf(s->key, sizeof s->key, "%s", id.key);
  snprintf(s->ca, sizeof s->ca, "%s", id.ca_certificate);
  roam_identity_clear(&id);
  return s;
}

bool streams_kernel_run(const struct streams_case *c, bool tcp, struct streams_result *r, char congestion[16],
                        const char **why) {
  static char text[400];
  struct wire_options o = {.delay_ns = c->rtt_ns / 2, .loss_ppm = c->loss_ppm, .seed = c->seed};
  struct wire_stats stats;
  size_t bytes;
  struct shared *s = make_shared(c, tcp, &bytes);
  *r = (struct streams_result){0};
  *why = "no memory, or no certificate";
  if (!s) return false;
  bool good =
      wire_run(&o, run_broker, run_clients, s, &s->lossy, c->duration_ns + SETTLE_NS + 3 * PATIENCE_NS, &stats, why);
  memcpy(congestion, stats.congestion, sizeof stats.congestion);
  if (!good && s->text[0]) {
    snprintf(text, sizeof text, "%s (%s)", *why, s->text);
    *why = text;
  }
  r->sent = s->sent;
  r->received = (uint32_t)s->len;
  r->dropped = (uint32_t)(stats.dropped[0] + stats.dropped[1]);
  r->ok = good && s->sent == s->cap && s->len == s->cap;
  streams_judge(&(struct streams_samples){s->samples, s->len}, r);
  munmap(s, bytes);
  return good;
}
