/* roam_scene_suite.c - see roam_scene_suite.h. Safety is checked with each delivery, liveness at the end. */
#include "sim/roam_scene_suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <roamqtt/roamqtt.h>

#include "sim/stage.h"

#define BEGIN (2 * ROAM_S)
#define FAULTS_UNTIL (32 * ROAM_S)
#define OFFERED_UNTIL (33 * ROAM_S)
#define HEALED_BY (180 * ROAM_S)
enum {
  PER_TOPIC = 700,
  EVENTS_MAX = 20,
  INTERVAL_MS = 50
};

enum event_kind {
  EVENT_REBIND,
  EVENT_PROBE,
  EVENT_IMMEDIATE,
  EVENT_RETURN,
  EVENT_DOWN_TOLD,
  EVENT_DOWN_UNTOLD,
  EVENT_BLACKOUT,
  EVENT_LOSS,
  EVENT_BLOCK,
  EVENT_WAKE,
  EVENT_HINT,
  EVENT_KINDS
};

struct scene;

struct event {
  struct scene *scene;
  enum event_kind kind;
  roam_time at, until;
  uint32_t detail;
};

struct link {
  roam_addr addr;
  roam_hop *loss;
  int down, dark, blocked; /* events that keep it so */
};

struct scene {
  struct roam_rng chance; /* the schedule's own */
  uint8_t qos;
  roam_world *world;
  roam_host *server, *phone, *desk;
  roam_hop *nat;
  struct link links[2]; /* wlan, cell */
  roam_addr home, desk_addr;
  roam_identity identity;
  roam_broker *broker;
  roam_client *roamer, *fixed;
  struct event events[EVENTS_MAX];
  size_t events_len;
  struct stage_ledger ledgers[2];
  struct roam_scene_coverage seen;
  uint32_t loss_ppm;
  char complaint[256];
};

static uint32_t draw(struct scene *s, uint32_t below) { return stage_draw(&s->chance, below); }

static void complain(struct scene *s, const char *what, unsigned topic, uint64_t number) {
  if (s->complaint[0] == '\0')
    snprintf(s->complaint, sizeof s->complaint, "%s (topic %c, %" PRIu64 ")", what, topic ? 'd' : 'u', number);
}

/* ---- what the two clients say ---------------------------------------------------------------------------------------- */

static void take_delivery(struct scene *s, unsigned topic, const roam_event_message *m) {
  uint32_t number = stage_number(m);
  bool again;
  const char *wrong = stage_deliver(&s->ledgers[topic], number, s->qos, &again);
  if (wrong) complain(s, wrong, topic, number);
  s->seen.delivered++;
  s->seen.repeated += again;
}

static void on_roamer(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) take_delivery(s, 1, &ev[i].u.message);
    if (ev[i].kind == ROAM_EV_CLOSED) complain(s, ev[i].text ? ev[i].text : "the phone gave up", 0, 0);
  }
}

static void on_fixed(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) take_delivery(s, 0, &ev[i].u.message);
    if (ev[i].kind == ROAM_EV_CLOSED) complain(s, ev[i].text ? ev[i].text : "the desk gave up", 0, 0);
  }
}

/* ---- the world ------------------------------------------------------------------------------------------------------- */

static void add_link(struct scene *s, int i, const char *name, const char *text, uint64_t one_way_ns, uint64_t jitter_ns) {
  struct link *l = &s->links[i];
  l->addr = stage_addr(text);
  roam_host_address(s->phone, name, &l->addr);
  roam_host_hop(s->phone, &l->addr, stage_delay(s->world, one_way_ns, jitter_ns));
  roam_host_hop(s->phone, &l->addr, l->loss = stage_loss(s->world, 0));
}

static void build_world(struct scene *s, uint64_t seed) {
  roam_world_options o;
  roam_world_options_init(&o);
  o.seed = seed;
  s->world = roam_world_new(&o);
  s->home = stage_addr("192.0.2.1");
  s->desk_addr = stage_addr("192.0.2.50");
  s->server = roam_world_host(s->world, "broker");
  s->phone = roam_world_host(s->world, "phone");
  s->desk = roam_world_host(s->world, "desk");
  roam_host_address(s->server, "eth0", &s->home);
  roam_host_address(s->desk, "eth0", &s->desk_addr);
  uint64_t one_way = (1 + draw(s, 100)) * ROAM_MS, jitter = draw(s, 4) == 0 ? draw(s, 10) * ROAM_MS : 0;
  s->loss_ppm = draw(s, 2) == 0 ? draw(s, 30000) : 0;
  add_link(s, 0, "wlan0", "10.0.0.2", one_way, jitter);
  add_link(s, 1, "wwan0", "198.51.100.9", 2 * one_way, 0);
  roam_host_hop(s->phone, &s->links[0].addr, s->nat = stage_nat(s->world, stage_draw_filtering(&s->chance), 0));
}

static void start_broker(struct scene *s) {
  roam_broker_options o = stage_broker_options(&s->identity);
  roam_time now = roam_world_now(s->world);
  s->broker = roam_broker_new(&o, now, roam_world_random(s->world), NULL);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_QUIC, 14567);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_TLS, 8883);
  roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL);
}

static roam_client *start_client(struct scene *s, const char *id, roam_host *host, const char *filter,
                                 roam_world_sink sink) {
  roam_client_options o = stage_client_options(&s->identity, "mqtt-quic://192.0.2.1", id);
  o.clean_start = false;
  o.session_expiry_s = 3600;
  o.keep_alive_s = 20;
  o.ping_ns = 5 * ROAM_S;
  o.connect_timeout_ns = 3 * ROAM_S;
  o.reconnect_max_ns = 4 * ROAM_S;
  o.interfaces = "wlan0, wwan0:metered";
  o.fallback = true;
  return stage_client(s->world, host, &o, filter, sink, s);
}

/* ---- what happens ---------------------------------------------------------------------------------------------------- */

static struct link *link_of(const struct event *e) { return &e->scene->links[e->detail % 2]; }

static void apply(struct scene *s, struct link *l, bool tell) {
  (void)roam_host_set_up(s->phone, &l->addr, l->down == 0, tell);
  roam_loss_set_down(l->loss, l->dark > 0);
  roam_loss_block_udp(l->loss, l->blocked > 0);
}

static void end_event(void *context) {
  struct event *e = context;
  struct link *l = link_of(e);
  switch (e->kind) {
    case EVENT_DOWN_TOLD:
    case EVENT_DOWN_UNTOLD: l->down--; break;
    case EVENT_BLACKOUT: l->dark--; break;
    case EVENT_BLOCK:
      l[0].blocked--;
      if (e->detail & 8) e->scene->links[1 - e->detail % 2].blocked--;
      apply(e->scene, &e->scene->links[1 - e->detail % 2], false);
      break;
    case EVENT_LOSS: roam_loss_set(l->loss, e->scene->loss_ppm); break;
    default: break;
  }
  apply(e->scene, l, true);
}

static void strike(void *context) {
  struct event *e = context;
  struct scene *s = e->scene;
  struct link *l = link_of(e);
  roam_time now = roam_world_now(s->world);
  char text[ROAM_ADDR_TEXT_MAX];
  switch (e->kind) {
    case EVENT_REBIND: {
      snprintf(text, sizeof text, "203.0.113.%u", 200 + e->detail % 5);
      roam_addr to = stage_addr(text);
      roam_world_rebind(s->world, s->nat, &to);
      s->seen.rebinds++;
      break;
    }
    case EVENT_PROBE: s->seen.probes_asked += roam_client_migrate(s->roamer, now, &l->addr, NULL, false) == 0; break;
    case EVENT_IMMEDIATE: s->seen.immediates_asked += roam_client_migrate(s->roamer, now, &l->addr, NULL, true) == 0; break;
    case EVENT_RETURN:
      s->seen.returns_asked += roam_client_migrate(s->roamer, now, NULL, "wlan0", e->detail & 4) == 0;
      break;
    case EVENT_DOWN_TOLD:
    case EVENT_DOWN_UNTOLD: l->down++; break;
    case EVENT_BLACKOUT: l->dark++; break;
    case EVENT_BLOCK: /* one network, or both */
      l[0].blocked++;
      if (e->detail & 8) s->links[1 - e->detail % 2].blocked++;
      apply(s, &s->links[1 - e->detail % 2], false);
      break;
    case EVENT_LOSS: roam_loss_set(l->loss, 100000 + e->detail * 300); break;
    case EVENT_WAKE:
      roam_host_wake(s->phone, (1 + e->detail) * ROAM_S);
      s->seen.wakes++;
      break;
    case EVENT_HINT: s->seen.hints += roam_client_hint(s->roamer, now) == 0; break;
    default: break;
  }
  s->seen.downs_told += e->kind == EVENT_DOWN_TOLD;
  s->seen.downs_untold += e->kind == EVENT_DOWN_UNTOLD;
  s->seen.blackouts += e->kind == EVENT_BLACKOUT;
  s->seen.losses += e->kind == EVENT_LOSS;
  s->seen.blocks += e->kind == EVENT_BLOCK;
  if (e->kind == EVENT_DOWN_TOLD || e->kind == EVENT_DOWN_UNTOLD || e->kind == EVENT_BLACKOUT || e->kind == EVENT_BLOCK)
    apply(s, l, e->kind == EVENT_DOWN_TOLD);
  if (e->until > now) roam_world_at(s->world, e->until, end_event, e);
}

static void plan(struct scene *s) {
  s->events_len = 2 + draw(s, EVENTS_MAX - 2);
  for (size_t i = 0; i < s->events_len; i++) {
    struct event *e = &s->events[i];
    *e = (struct event){.scene = s, .kind = (enum event_kind)draw(s, EVENT_KINDS), .detail = draw(s, 1000)};
    e->at = BEGIN + ROAM_S + draw(s, 28000) * ROAM_MS;
    bool lasts = e->kind >= EVENT_DOWN_TOLD && e->kind <= EVENT_BLOCK;
    if (lasts) e->until = e->at + (50 + draw(s, draw(s, 3) == 0 ? 20000 : 3000)) * ROAM_MS;
    if (e->until > FAULTS_UNTIL) e->until = FAULTS_UNTIL;
    if (e->at < FAULTS_UNTIL) roam_world_at(s->world, e->at, strike, e);
  }
}

static void offer(void *context) {
  struct scene *s = context;
  roam_time now = roam_world_now(s->world), next = now + INTERVAL_MS * ROAM_MS;
  s->seen.published += stage_offer(&s->ledgers[0], s->roamer, now, "u", s->qos);
  s->seen.published += stage_offer(&s->ledgers[1], s->fixed, now, "d", s->qos);
  if (next < OFFERED_UNTIL) roam_world_at(s->world, next, offer, s);
}

/* Whatever still holds, ends: both networks work again. */
static void heal(struct scene *s) {
  for (int i = 0; i < 2; i++) {
    struct link *l = &s->links[i];
    l->down = l->dark = l->blocked = 0;
    roam_loss_set(l->loss, 0);
    apply(s, l, true);
  }
}

static void check_end(struct scene *s) {
  if (roam_client_get_state(s->roamer) != ROAM_CLIENT_CONNECTED) complain(s, "the phone is not connected at the end", 0, 0);
  if (roam_client_get_state(s->fixed) != ROAM_CLIENT_CONNECTED) complain(s, "the desk is not connected at the end", 0, 0);
  for (unsigned topic = 0; topic < 2; topic++) {
    int64_t missing = stage_missing(&s->ledgers[topic]);
    if (missing >= 0) complain(s, "accepted and never delivered", topic, (uint64_t)missing);
  }
  roam_client_stats stats = roam_client_get_stats(s->roamer);
  if (stats.inflight > 0 || stats.queued > 0) complain(s, "something is still in flight", 0, stats.inflight);
  s->seen.probed = stats.probes;
  s->seen.immediate = stats.immediates;
  s->seen.failed = stats.probes_failed + stats.immediates_failed;
  s->seen.fallen_back = stats.fallbacks;
  s->seen.climbed = stats.climbs;
  if (stats.transport != ROAM_TRANSPORT_QUIC) complain(s, "the phone is not back on QUIC at the end", 0, 0);
  s->seen.resumed = stats.connects > 0 ? stats.connects - 1 : 0;
}

static void play(struct scene *s) {
  s->fixed = start_client(s, "desk", s->desk, "u", on_fixed);
  s->roamer = start_client(s, "phone", s->phone, "d", on_roamer);
  roam_world_run(s->world, BEGIN); /* the first connection and its subscription are not what is tried here */
  for (int i = 0; i < 2; i++) roam_loss_set(s->links[i].loss, s->loss_ppm);
  plan(s);
  roam_world_at(s->world, BEGIN + 1, offer, s);
  if (roam_world_run(s->world, FAULTS_UNTIL) != 0) complain(s, "the world did not come to rest", 0, 0);
  heal(s);
  if (roam_world_run(s->world, HEALED_BY) != 0) complain(s, "the world did not come to rest", 0, 1);
  check_end(s);
}

struct roam_scene_result roam_scene_run(uint64_t seed, int print_trace, struct roam_scene_coverage *coverage) {
  struct roam_scene_result result = {.complaint = ""};
  struct scene *s = calloc(1, sizeof *s);
  if (s == NULL || roam_identity_make(&s->identity, "scene", "192.0.2.1", STAGE_WALL, 30, false) != 0) abort();
  roam_rng_init(&s->chance, seed);
  s->qos = (uint8_t)(1 + draw(s, 2));
  for (unsigned i = 0; i < 2; i++) s->ledgers[i] = (struct stage_ledger){.most = PER_TOPIC, .highest = -1};
  build_world(s, seed);
  start_broker(s);
  play(s);
  memcpy(result.complaint, s->complaint, sizeof result.complaint);
  roam_bytes trace = roam_world_trace(s->world);
  if (print_trace) fwrite(trace.base, 1, trace.len, stdout);
  s->seen.scenes = 1;
  if (coverage != NULL) stage_add_counts(coverage, &s->seen, sizeof s->seen);
  roam_client_free(s->roamer);
  roam_client_free(s->fixed);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
  return result;
}
