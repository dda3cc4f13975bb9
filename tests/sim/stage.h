/* stage.h - what the stories and schedules of the simulated world are built of: addresses, links with delay and loss, a
 * NAT, a broker that listens, clients that trust it, ledgers of what was sent and came. What happens on the stage is each
 * test's own. */
#ifndef ROAM_TESTS_SIM_STAGE_H
#define ROAM_TESTS_SIM_STAGE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <roamqtt/roamqtt.h>

#include "base/rng.h"

#define STAGE_WALL INT64_C(1800000000) /* unix time at the beginning, within the certificates' days */

static inline roam_bytes stage_bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static inline roam_addr stage_addr(const char *text) {
  roam_addr a;
  if (roam_addr_parse(text, &a) != 0) abort();
  return a;
}

static inline void stage_ignore(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

static inline uint32_t stage_draw(struct roam_rng *chance, uint32_t below) {
  return (uint32_t)roam_random_below(&chance->random, below);
}

/* ---- networks ---- */

static inline roam_hop *stage_delay(roam_world *world, uint64_t one_way_ns, uint64_t jitter_ns) {
  roam_delay_options o;
  roam_delay_options_init(&o);
  o.delay_ns = one_way_ns;
  o.jitter_ns = jitter_ns;
  return roam_delay_new(&o, roam_world_random(world));
}

static inline roam_hop *stage_loss(roam_world *world, uint32_t ppm) {
  roam_loss_options o;
  roam_loss_options_init(&o);
  o.loss_ppm = ppm;
  return roam_loss_new(&o, roam_world_random(world));
}

static inline roam_nat_behaviour stage_draw_filtering(struct roam_rng *chance) {
  static const roam_nat_behaviour kinds[] = {ROAM_NAT_ENDPOINT_INDEPENDENT, ROAM_NAT_ADDRESS_DEPENDENT,
                                             ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT};
  return kinds[stage_draw(chance, 3)];
}

static inline roam_hop *stage_nat(roam_world *world, roam_nat_behaviour filtering, uint64_t idle_udp_ns) {
  roam_nat_options o;
  roam_nat_options_init(&o);
  o.address = stage_addr("203.0.113.200");
  o.filtering = filtering;
  if (idle_udp_ns > 0) o.idle_udp_ns = idle_udp_ns;
  return roam_nat_new(&o, roam_world_random(world));
}

/* ---- machines ---- */

static inline roam_broker_options stage_broker_options(const roam_identity *identity) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.tls.certificate = stage_bytes(identity->certificate);
  o.tls.key = stage_bytes(identity->key);
  o.tls.wall_unix_s = STAGE_WALL;
  o.anonymous_beyond_loopback = true;
  return o;
}

static inline void stage_listen(const roam_world *world, roam_broker *broker, const roam_addr *home,
                                roam_transport_kind kind, uint16_t port) {
  roam_addr at = *home;
  at.port = port;
  if (roam_broker_listen(broker, roam_world_now(world), kind, &at, NULL) != 0) abort();
}

static inline roam_client_options stage_client_options(const roam_identity *identity, const char *url, const char *id) {
  roam_client_options o;
  roam_client_options_init(&o);
  o.url = url;
  o.client_id = id;
  o.tls.ca = stage_bytes(identity->ca_certificate);
  o.tls.wall_unix_s = STAGE_WALL;
  return o;
}

/* Starts it on the host; filter: what it subscribes to from the beginning, or NULL. */
static inline roam_client *stage_client(roam_world *world, roam_host *host, const roam_client_options *o,
                                        const char *filter, roam_world_sink sink, void *context) {
  roam_time now = roam_world_now(world);
  roam_client *c = roam_client_new(o, roam_world_random(world), NULL);
  if (!c) abort();
  roam_filter f = {.filter = stage_bytes(filter ? filter : ""), .qos = 2};
  if (filter) roam_client_subscribe(c, now, &f, 1, NULL);
  roam_client_start(c, now);
  roam_host_run(host, roam_client_machine(c), sink, context);
  return c;
}

/* ---- what was sent and what came ---- */

/* Messages of one topic carry their number as text, from 0. */
struct stage_ledger {
  uint32_t offered, most;
  uint8_t accepted[1024]; /* the client took it */
  uint16_t delivered[1024];
  int64_t highest; /* first deliveries must come in order; -1 = none came */
};

static inline uint32_t stage_number(const roam_event_message *m) {
  char text[16] = "";
  memcpy(text, m->payload.base, m->payload.len < 15 ? m->payload.len : 15);
  return (uint32_t)strtoul(text, NULL, 10);
}

/* Offers the next; false when there are no more. */
static inline bool stage_offer(struct stage_ledger *l, roam_client *from, roam_time now, const char *topic, uint8_t qos) {
  char text[16];
  if (l->offered == l->most) return false;
  snprintf(text, sizeof text, "%u", (unsigned)l->offered);
  roam_client_message m = {.topic = stage_bytes(topic), .payload = stage_bytes(text), .qos = qos};
  l->accepted[l->offered++] = roam_client_publish(from, now, &m, NULL) == 0;
  return true;
}

/* What is wrong with this delivery, or NULL; *again: it came before. */
static inline const char *stage_deliver(struct stage_ledger *l, uint32_t number, uint8_t qos, bool *again) {
  *again = false;
  if (number >= l->offered) return "something was delivered that nobody sent";
  *again = l->delivered[number]++ > 0;
  if (*again) return qos == 2 ? "QoS 2 came twice" : qos == 0 ? "QoS 0 came twice" : NULL;
  if ((int64_t)number < l->highest) return "first deliveries are out of order";
  l->highest = number;
  return NULL;
}

/* The first that was accepted and never came, or -1. */
static inline int64_t stage_missing(const struct stage_ledger *l) {
  for (uint32_t i = 0; i < l->offered; i++)
    if (l->accepted[i] && l->delivered[i] == 0) return i;
  return -1;
}

/* ---- results ---- */

/* Adds one schedule's counts, a struct of nothing but uint64_t, to those of the run. */
static inline void stage_add_counts(void *to, const void *from, size_t size) {
  uint64_t *t = to;
  const uint64_t *f = from;
  for (size_t i = 0; i < size / sizeof *t; i++) t[i] += f[i];
}

/* The trace as text that outlives the world; NULL when memory is out. */
static inline char *stage_keep_trace(const roam_world *world) {
  roam_bytes trace = roam_world_trace(world);
  char *text = malloc(trace.len + 1);
  if (!text) return NULL;
  memcpy(text, trace.base, trace.len);
  text[trace.len] = '\0';
  return text;
}

#endif
