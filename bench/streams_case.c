/* streams_case.c - see streams_case.h. The world makes it exact: the same case gives the same figures everywhere. */
#include "streams_case.h"

#include <stdlib.h>
#include <string.h>

#include <roamqtt/roamqtt.h>

#include "streams_metrics.h"

#define WALL INT64_C(1800000000)

struct bench {
  const struct streams_case *c;
  roam_world *world;
  roam_client *publisher, *subscriber;
  struct streams_sample *samples;
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
    struct streams_sample *s = &b->samples[b->len++];
    s->received = ev[i].at;
    s->topic = (uint32_t)(ev[i].u.message.topic.base[1] - '0');
    memcpy(&s->sent, ev[i].u.message.payload.base, sizeof s->sent);
  }
}

static void on_nothing(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

static void send_next(void *context) {
  struct bench *b = context;
  uint8_t payload[STREAMS_PAYLOAD] = {0};
  char topic[3] = {'t', (char)('0' + b->sent % STREAMS_TOPICS), 0};
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
  for (int i = 0; i < STREAMS_TOPICS; i++) {
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

void streams_case_run(const struct streams_case *c, struct streams_result *r) {
  struct bench b = {.c = c, .cap = (size_t)(c->duration_ns / ROAM_S * c->rate)};
  *r = (struct streams_result){0};
  b.samples = calloc(b.cap + 1, sizeof *b.samples);
  if (!b.samples) abort();
  play(&b);
  r->sent = b.sent;
  r->received = (uint32_t)b.len;
  bool all = c->mapping != STREAMS_DATAGRAM || c->loss_ppm == 0;
  r->ok = b.subscribed == STREAMS_TOPICS && r->sent == b.cap && (all ? r->received == r->sent : r->received > r->sent / 2);
  streams_judge(&(struct streams_samples){b.samples, b.len}, r);
  free(b.samples);
}
