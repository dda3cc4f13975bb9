/* scene_suite.c - see scene_suite.h. Safety is checked with each delivery, liveness at the end. */
#include "sim/scene_suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/stage.h"

#define FAULTS_UNTIL (21 * ROAM_S)
#define OFFERED_UNTIL (22 * ROAM_S)
#define HEALED_BY (120 * ROAM_S)
enum {
  TOPICS = 2,
  PER_TOPIC = 420,
  FAULTS_MAX = 16,
  INTERVAL_MS = 50
};

struct scene;

enum fault_kind {
  FAULT_REBIND,
  FAULT_PROBE,
  FAULT_IMMEDIATE,
  FAULT_BLACKOUT,
  FAULT_HINT,
  FAULT_KINDS
};

struct fault {
  struct scene *scene;
  enum fault_kind kind;
  roam_time at, until;
  uint32_t detail;
};

struct scene {
  struct roam_rng chance; /* the schedule's own, so that the machines' draws do not shift it */
  uint8_t qos;
  bool tcp;
  roam_world *world;
  roam_host *server, *phone, *desk;
  roam_hop *nat, *loss[2];
  roam_addr home, wlan, cell, desk_addr;
  roam_identity identity;
  roam_broker *broker;
  roam_client *publisher, *subscriber;
  struct fault faults[FAULTS_MAX];
  size_t faults_len;
  struct stage_ledger ledgers[TOPICS];
  struct scene_coverage seen;
  uint32_t connects;
  char complaint[256];
};

static uint32_t draw(struct scene *s, uint32_t below) { return stage_draw(&s->chance, below); }

static void complain(struct scene *s, const char *what, unsigned topic, uint64_t number) {
  if (s->complaint[0] == '\0')
    snprintf(s->complaint, sizeof s->complaint, "%s (topic %u, %" PRIu64 ")", what, topic, number);
}

/* ---- what the two clients say ---------------------------------------------------------------------------------------- */

static void take_delivery(struct scene *s, const roam_event_message *m) {
  unsigned topic = m->topic.len == 2 ? (unsigned)(m->topic.base[1] - '0') : TOPICS;
  uint32_t number = stage_number(m);
  bool again = false;
  const char *wrong = topic < TOPICS ? stage_deliver(&s->ledgers[topic], number, s->qos, &again) : "an unknown topic came";
  if (wrong) complain(s, wrong, topic, number);
  s->seen.delivered++;
  s->seen.repeated += again;
}

static void on_publisher(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_CONNECTED) s->seen.resumed += s->connects++ > 0;
    if (ev[i].kind == ROAM_EV_PATH_MIGRATED) s->seen.migrated++;
    if (ev[i].kind == ROAM_EV_PATH_FAILED) s->seen.failed++;
    if (ev[i].kind == ROAM_EV_CLOSED) complain(s, ev[i].text ? ev[i].text : "the publisher gave up", 0, 0);
  }
}

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) take_delivery(s, &ev[i].u.message);
    if (ev[i].kind == ROAM_EV_CLOSED) complain(s, ev[i].text ? ev[i].text : "the subscriber gave up", 0, 0);
  }
}

/* ---- the world --------------------------------------------------------------------------------------------------------
 */

static void build_world(struct scene *s, uint64_t seed) {
  roam_world_options o;
  roam_world_options_init(&o);
  o.seed = seed;
  s->world = roam_world_new(&o);
  s->home = stage_addr("192.0.2.1");
  s->wlan = stage_addr("10.0.0.2");
  s->cell = stage_addr("198.51.100.9");
  s->desk_addr = stage_addr("192.0.2.50");
  s->server = roam_world_host(s->world, "broker");
  s->phone = roam_world_host(s->world, "phone");
  s->desk = roam_world_host(s->world, "desk");
  roam_host_address(s->server, "eth0", &s->home);
  roam_host_address(s->phone, "wlan0", &s->wlan);
  roam_host_address(s->phone, "wwan0", &s->cell);
  roam_host_address(s->desk, "eth0", &s->desk_addr);
  uint64_t one_way = (1 + draw(s, 100)) * ROAM_MS, jitter = draw(s, 4) == 0 ? draw(s, 10) * ROAM_MS : 0;
  uint32_t loss = draw(s, 2) == 0 ? draw(s, 30000) : 0;
  s->seen.lossy += loss > 0;
  s->nat = stage_nat(s->world, stage_draw_filtering(&s->chance), 0);
  roam_host_hop(s->phone, &s->wlan, stage_delay(s->world, one_way, jitter));
  roam_host_hop(s->phone, &s->wlan, s->loss[0] = stage_loss(s->world, loss));
  roam_host_hop(s->phone, &s->wlan, s->nat);
  roam_host_hop(s->phone, &s->cell, stage_delay(s->world, 2 * one_way, 0));
  roam_host_hop(s->phone, &s->cell, s->loss[1] = stage_loss(s->world, loss));
}

static void start_broker(struct scene *s) {
  roam_broker_options o = stage_broker_options(&s->identity);
  o.idle_timeout_ns = 10 * ROAM_S;
  roam_time now = roam_world_now(s->world);
  s->broker = roam_broker_new(&o, now, roam_world_random(s->world), NULL);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_QUIC, 14567);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_TCP, 1883);
  roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL);
}

static roam_client *start_client(struct scene *s, const char *id, roam_host *host, const roam_addr *local,
                                 roam_world_sink sink) {
  const char *url = s->tcp ? "mqtt://192.0.2.1" : "mqtt-quic://192.0.2.1";
  roam_client_options o = stage_client_options(&s->identity, url, id);
  o.clean_start = false;
  o.session_expiry_s = 3600;
  o.keep_alive_s = 8;
  o.idle_timeout_ns = 10 * ROAM_S;
  o.ping_ns = 2 * ROAM_S;
  o.connect_timeout_ns = 3 * ROAM_S;
  o.reconnect_max_ns = 4 * ROAM_S;
  o.local = *local;
  return stage_client(s->world, host, &o, NULL, sink, s);
}

/* ---- what happens -----------------------------------------------------------------------------------------------------
 */

static void end_blackout(void *context) {
  struct fault *f = context;
  roam_loss_set_down(f->scene->loss[f->detail % 2], false);
}

static void strike(void *context) {
  struct fault *f = context;
  struct scene *s = f->scene;
  roam_time now = roam_world_now(s->world);
  char text[ROAM_ADDR_TEXT_MAX];
  roam_addr to = f->detail % 2 ? s->cell : s->wlan;
  switch (f->kind) {
    case FAULT_REBIND:
      snprintf(text, sizeof text, "203.0.113.%u", 200 + f->detail % 5);
      to = stage_addr(text);
      roam_world_rebind(s->world, s->nat, &to);
      s->seen.rebinds++;
      break;
    case FAULT_PROBE:
    case FAULT_IMMEDIATE:
      if (roam_client_migrate(s->publisher, now, &to, NULL, f->kind == FAULT_IMMEDIATE) != 0) break;
      if (f->kind == FAULT_PROBE) s->seen.probes++;
      else s->seen.immediates++;
      break;
    case FAULT_BLACKOUT:
      roam_loss_set_down(s->loss[f->detail % 2], true);
      roam_world_at(s->world, f->until, end_blackout, f);
      s->seen.blackouts++;
      break;
    case FAULT_HINT:
      if (roam_client_hint(s->publisher, now) == 0) s->seen.hints++;
      break;
    case FAULT_KINDS: break;
  }
}

static void plan_faults(struct scene *s) {
  s->faults_len = 1 + draw(s, FAULTS_MAX - 1);
  for (size_t i = 0; i < s->faults_len; i++) {
    struct fault *f = &s->faults[i];
    *f = (struct fault){.scene = s, .kind = (enum fault_kind)draw(s, FAULT_KINDS), .detail = draw(s, 1000)};
    f->at = ROAM_S + draw(s, 20000) * ROAM_MS;
    f->until = f->at + (50 + draw(s, draw(s, 4) == 0 ? 15000 : 2000)) * ROAM_MS;
    if (f->until > FAULTS_UNTIL) f->until = FAULTS_UNTIL;
    if (f->at < FAULTS_UNTIL) roam_world_at(s->world, f->at, strike, f);
  }
}

static void offer(void *context) {
  struct scene *s = context;
  roam_time now = roam_world_now(s->world);
  for (unsigned topic = 0; topic < TOPICS; topic++) {
    char name[3] = {'t', (char)('0' + topic), '\0'};
    if (!stage_offer(&s->ledgers[topic], s->publisher, now, name, s->qos)) return;
    s->seen.published++;
  }
  if (now < OFFERED_UNTIL) roam_world_at(s->world, now + INTERVAL_MS * ROAM_MS, offer, s);
}

/* Faults have stopped: the phone may stand on a network that still works or not; both work now. */
static void heal(struct scene *s) {
  for (int i = 0; i < 2; i++) {
    roam_loss_set_down(s->loss[i], false);
    roam_loss_set(s->loss[i], 0);
  }
}

static void check_end(struct scene *s) {
  if (roam_client_get_state(s->publisher) != ROAM_CLIENT_CONNECTED)
    complain(s, "the publisher is not connected at the end", 0, 0);
  if (roam_client_get_state(s->subscriber) != ROAM_CLIENT_CONNECTED)
    complain(s, "the subscriber is not connected at the end", 0, 0);
  for (unsigned topic = 0; topic < TOPICS && s->qos > 0; topic++) {
    int64_t missing = stage_missing(&s->ledgers[topic]);
    if (missing >= 0) complain(s, "accepted and never delivered", topic, (uint64_t)missing);
  }
  roam_client_stats stats = roam_client_get_stats(s->publisher);
  if (s->qos > 0 && (stats.inflight > 0 || stats.queued > 0))
    complain(s, "something is still in flight", 0, stats.inflight);
}

static void play(struct scene *s) {
  s->subscriber = start_client(s, "desk", s->desk, &s->desk_addr, on_subscriber);
  roam_filter all = {.filter = stage_bytes("#"), .qos = 2};
  roam_client_subscribe(s->subscriber, roam_world_now(s->world), &all, 1, NULL);
  roam_world_run(s->world, 2 * ROAM_S);
  s->publisher = start_client(s, "phone", s->phone, &s->wlan, on_publisher);
  plan_faults(s);
  roam_world_at(s->world, roam_world_now(s->world) + 1, offer, s);
  if (roam_world_run(s->world, FAULTS_UNTIL) != 0) complain(s, "the world did not come to rest", 0, 0);
  heal(s);
  if (roam_world_run(s->world, HEALED_BY) != 0) complain(s, "the world did not come to rest", 0, 1);
  check_end(s);
}

struct scene_result scene_run(uint64_t seed, bool keep_trace, struct scene_coverage *coverage) {
  struct scene_result result = {.complaint = ""};
  struct scene *s = calloc(1, sizeof *s);
  if (s == NULL || roam_identity_make(&s->identity, "scene", "192.0.2.1", STAGE_WALL, 30, false) != 0) abort();
  roam_rng_init(&s->chance, seed);
  s->qos = (uint8_t)draw(s, 3);
  s->tcp = draw(s, 5) == 0;
  for (unsigned i = 0; i < TOPICS; i++) s->ledgers[i] = (struct stage_ledger){.most = PER_TOPIC, .highest = -1};
  build_world(s, seed);
  start_broker(s);
  play(s);
  memcpy(result.complaint, s->complaint, sizeof result.complaint);
  result.hash = roam_world_trace_hash(s->world);
  if (keep_trace) result.trace = stage_keep_trace(s->world);
  s->seen.scenes = 1;
  if (coverage != NULL) stage_add_counts(coverage, &s->seen, sizeof s->seen);
  roam_client_free(s->publisher);
  roam_client_free(s->subscriber);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
  return result;
}
