/* store_suite.c - see store_suite.h. The publishers keep the books of what was acknowledged, the subscribers of what came;
 * one of them is away the whole time and gets everything at the end, after one more restart. */
#include "sim/store_suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/stage.h"

#define BEGIN (3 * ROAM_S)
#define FAULTS_UNTIL (11 * ROAM_S)
#define OFFERED_UNTIL (12 * ROAM_S)
#define QUIET_AT (75 * ROAM_S)
#define END (140 * ROAM_S)
enum {
  KINDS = 3, /* 0: QoS 1, 1: QoS 2, 2: retained QoS 1 */
  MOST = 400,
  READERS = 2, /* 0: always there, 1: away until the end */
  WORKERS = 4, /* at most */
  FAULTS_MAX = 5
};

enum fault_kind {
  FAULT_KILL,
  FAULT_POWER,
  FAULT_FULL,
  FAULT_WRITE,
  FAULT_SYNC,
  FAULT_KINDS
};

struct scene;

struct fault {
  struct scene *scene;
  enum fault_kind kind;
};

struct reader {
  struct scene *scene;
  unsigned number;
  roam_client *client;
  uint16_t got[KINDS][MOST];
  uint32_t wills, connects;
};

struct scene {
  struct roam_rng chance;
  bool quic;
  roam_world *world;
  roam_store *disk;
  roam_host *server, *hosts[4];
  roam_addr at[4], home;
  roam_identity identity;
  roam_broker *brokers[WORKERS];
  uint32_t workers; /* running now; 0: none */
  bool several;     /* their number is drawn at each start */
  uint8_t secret[32];
  roam_client *publisher, *mortal, *newcomer;
  struct reader readers[READERS];
  uint32_t offered[KINDS];
  uint64_t tokens[KINDS][MOST];
  bool acked[KINDS][MOST];
  struct fault faults[FAULTS_MAX];
  bool dead; /* the broker, until its restart */
  int64_t retained;
  bool retained_will;
  uint32_t publisher_connects;
  struct store_coverage seen;
  char complaint[256];
};

static uint32_t draw(struct scene *s, uint32_t below) { return stage_draw(&s->chance, below); }

static void complain(struct scene *s, const char *what, unsigned kind, uint64_t number) {
  if (s->complaint[0] == '\0') snprintf(s->complaint, sizeof s->complaint, "%s (kind %u, %" PRIu64 ")", what, kind, number);
}

/* ---- what clients say ---- */

static bool read_number(const roam_event_message *m, unsigned *kind, uint32_t *number) {
  *kind = m->topic.len == 2 && m->topic.base[0] == 't' ? (unsigned)(m->topic.base[1] - '0') : KINDS;
  *number = stage_number(m);
  return *kind < KINDS;
}

static void take_message(struct reader *r, const roam_event_message *m) {
  struct scene *s = r->scene;
  unsigned kind;
  uint32_t number;
  if (m->topic.len == 1 && m->topic.base[0] == 'w') {
    r->wills++;
    return;
  }
  if (!read_number(m, &kind, &number) || number >= s->offered[kind]) {
    complain(s, "something came that nobody sent", kind, number);
    return;
  }
  s->seen.delivered++;
  if (r->got[kind][number]++ == 0) return;
  s->seen.repeated++;
  if (kind == 1) complain(s, r->number ? "QoS 2 came twice to the one away" : "QoS 2 came twice", kind, number);
}

static void on_reader(void *context, const roam_event ev[], size_t n) {
  struct reader *r = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) take_message(r, &ev[i].u.message);
    if (ev[i].kind == ROAM_EV_CONNECTED && r->connects++ > 0 && !ev[i].u.link.session_present)
      complain(r->scene, "a subscriber's session was forgotten", r->number, r->connects);
    if (ev[i].kind == ROAM_EV_CLOSED && ev[i].rc != 0) complain(r->scene, "a subscriber gave up", r->number, 0);
  }
}

static void on_publisher(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_CONNECTED && s->publisher_connects++ > 0 && !ev[i].u.link.session_present)
      complain(s, "the publisher's session was forgotten", 0, s->publisher_connects);
    if (ev[i].kind == ROAM_EV_CLOSED) complain(s, "the publisher gave up", 0, 0);
    if (ev[i].kind != ROAM_EV_PUBLISHED || ev[i].rc != 0) continue;
    for (unsigned kind = 0; kind < KINDS; kind++)
      for (uint32_t k = 0; k < s->offered[kind]; k++)
        if (s->tokens[kind][k] == ev[i].token) s->acked[kind][k] = true;
    s->seen.acknowledged++;
  }
}

static void on_newcomer(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  unsigned kind;
  uint32_t number;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind != ROAM_EV_MESSAGE) continue;
    if (ev[i].u.message.topic.base[0] == 'w') s->retained_will = true;
    else if (read_number(&ev[i].u.message, &kind, &number) && kind == 2) s->retained = number;
  }
}

/* ---- the broker ---- */

static void kill_broker(struct scene *s);

static void restart(void *context);

static void give_up(void *context) {
  struct scene *s = context;
  bool failed = false;
  for (uint32_t i = 0; i < s->workers; i++) failed |= roam_broker_get_stats(s->brokers[i]).store_failed;
  if (!failed) return;
  kill_broker(s);
  roam_world_at(s->world, roam_world_now(s->world) + (1 + draw(s, 500)) * ROAM_MS, restart, s);
}

/* A program around a broker ends when its store has failed, and something starts it again. */
static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++)
    if (ev[i].kind == ROAM_EV_STORE_FAILED && ev[i].rc != ROAM_E_NO_SPACE)
      roam_world_at(s->world, roam_world_now(s->world) + 10 * ROAM_MS, give_up, s);
}

static roam_broker *start_worker(struct scene *s, uint32_t worker, uint32_t workers) {
  roam_broker_options o = stage_broker_options(&s->identity);
  o.tls.wall_unix_s += (int64_t)(roam_world_now(s->world) / ROAM_S);
  o.idle_timeout_ns = 10 * ROAM_S;
  o.store = s->disk;
  o.workers = workers;
  o.worker = worker;
  if (workers > 1) o.secret = (roam_bytes){s->secret, sizeof s->secret};
  roam_rc rc;
  roam_broker *broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), &rc);
  if (!broker) complain(s, roam_strerror(rc), worker, workers);
  return broker;
}

/* Whoever connects falls to a worker by chance. */
static void listen_all(struct scene *s) {
  for (uint32_t i = 0; i < s->workers; i++) {
    stage_listen(s->world, s->brokers[i], &s->home, ROAM_TRANSPORT_TCP, 1883);
    if (s->quic) stage_listen(s->world, s->brokers[i], &s->home, ROAM_TRANSPORT_QUIC, 14567);
  }
}

static void start_broker(struct scene *s) {
  uint32_t n = s->several ? 1 + draw(s, WORKERS) : 1;
  for (size_t i = 0; s->several && i < sizeof s->secret; i++) s->secret[i] = (uint8_t)draw(s, 256);
  for (uint32_t i = 0; i < n; i++)
    if (!(s->brokers[i] = start_worker(s, i, n))) return;
  s->workers = n;
  s->seen.workers += n;
  for (uint32_t i = 0; i < n; i++) {
    roam_host_run(s->server, roam_broker_machine(s->brokers[i]), on_broker, s);
    if (n > 1) roam_host_seat(s->server, roam_broker_machine(s->brokers[i]), i, roam_broker_mail_drop);
  }
  listen_all(s);
}

static void restart(void *context) {
  struct scene *s = context;
  if (s->workers > 0) return;
  s->seen.restarts++;
  start_broker(s);
}

static void kill_broker(struct scene *s) {
  if (s->workers == 0) return;
  roam_host_forget_tcp(s->server, &s->home);
  for (uint32_t i = 0; i < s->workers; i++) {
    s->seen.commits += roam_broker_get_stats(s->brokers[i]).store_commits;
    s->seen.letters += roam_broker_get_stats(s->brokers[i]).letters_in;
    roam_host_stop(s->server, roam_broker_machine(s->brokers[i]));
  }
  for (uint32_t i = 0; i < s->workers; i++) {
    roam_broker_free(s->brokers[i]);
    s->brokers[i] = NULL;
  }
  s->workers = 0;
}

static void strike(void *context) {
  struct fault *f = context;
  struct scene *s = f->scene;
  if (s->workers == 0) return;
  switch (f->kind) {
    case FAULT_KILL:
    case FAULT_POWER:
      kill_broker(s);
      if (f->kind == FAULT_POWER) roam_disk_power_cut(s->disk);
      if (f->kind == FAULT_POWER) s->seen.power_cuts++;
      else s->seen.kills++;
      roam_world_at(s->world, roam_world_now(s->world) + (1 + draw(s, 1500)) * ROAM_MS, restart, s);
      break;
    case FAULT_FULL:
      roam_disk_fail_next(s->disk, ROAM_DISK_FULL);
      s->seen.full++;
      break;
    case FAULT_WRITE:
      roam_disk_fail_next(s->disk, ROAM_DISK_WRITE);
      s->seen.write_failures++;
      break;
    case FAULT_SYNC:
      roam_disk_fail_next(s->disk, ROAM_DISK_SYNC);
      s->seen.sync_failures++;
      break;
    case FAULT_KINDS: break;
  }
}

/* ---- the world ---- */

static void build(struct scene *s, uint64_t seed, bool keep_trace) {
  static const char *const names[] = {"publisher", "reader", "away", "mortal"};
  char text[ROAM_ADDR_TEXT_MAX];
  roam_world_options o;
  roam_disk_options d;
  roam_world_options_init(&o);
  roam_disk_options_init(&d);
  o.seed = seed;
  o.trace_datagrams = keep_trace; /* most of the time of a scene */
  s->world = roam_world_new(&o);
  d.write_ns = (1 + draw(s, 20)) * ROAM_MS;
  d.sync_ns = (1 + draw(s, 60)) * ROAM_MS;
  s->disk = roam_world_disk(s->world, roam_store_memory(), &d);
  s->home = stage_addr("192.0.2.1");
  s->server = roam_world_host(s->world, "broker");
  roam_host_address(s->server, "eth0", &s->home);
  if (s->several) roam_host_mail_latency(s->server, 1 + draw(s, 2) * draw(s, 2000) * ROAM_US);
  uint64_t delay = (1 + draw(s, 20)) * ROAM_MS;
  for (unsigned i = 0; i < 4; i++) {
    snprintf(text, sizeof text, "198.51.100.%u", 10 + i);
    s->at[i] = stage_addr(text);
    s->hosts[i] = roam_world_host(s->world, names[i]);
    roam_host_address(s->hosts[i], "eth0", &s->at[i]);
    roam_host_hop(s->hosts[i], &s->at[i], stage_delay(s->world, delay, 0));
  }
}

static roam_client_options options_of(struct scene *s, const char *id) {
  const char *url = s->quic ? "mqtt-quic://192.0.2.1" : "mqtt://192.0.2.1";
  roam_client_options o = stage_client_options(&s->identity, url, id);
  o.clean_start = false;
  o.session_expiry_s = 3600;
  o.keep_alive_s = 8;
  o.idle_timeout_ns = 10 * ROAM_S;
  o.ping_ns = 2 * ROAM_S;
  o.connect_timeout_ns = 3 * ROAM_S;
  o.reconnect_max_ns = 2 * ROAM_S;
  return o;
}

static void start_reader(struct scene *s, unsigned i) {
  struct reader *r = &s->readers[i];
  roam_client_options o = options_of(s, i == 0 ? "reader" : "away");
  r->client = stage_client(s->world, s->hosts[1 + i], &o, NULL, on_reader, r);
}

static void stop_client(roam_client **c, roam_host *host) {
  roam_host_stop(host, roam_client_machine(*c));
  roam_client_free(*c);
  *c = NULL;
}

static void start_all(struct scene *s) {
  roam_filter all = {.filter = stage_bytes("#"), .qos = 2};
  for (unsigned i = 0; i < READERS; i++) {
    s->readers[i] = (struct reader){.scene = s, .number = i};
    start_reader(s, i);
    roam_client_subscribe(s->readers[i].client, roam_world_now(s->world), &all, 1, NULL);
  }
  roam_client_options o = options_of(s, "publisher");
  s->publisher = stage_client(s->world, s->hosts[0], &o, NULL, on_publisher, s);
  o = options_of(s, "mortal");
  o.will_topic = "w";
  o.will_payload = stage_bytes("gone");
  o.will_qos = (uint8_t)(1 + draw(s, 2));
  o.will_retain = true;
  o.will_delay_s = draw(s, 10);
  s->mortal = stage_client(s->world, s->hosts[3], &o, NULL, stage_ignore, s);
  roam_world_run(s->world, BEGIN);
  roam_client_close(s->readers[1].client, roam_world_now(s->world), 0);
  roam_world_run(s->world, BEGIN + 500 * ROAM_MS);
  stop_client(&s->readers[1].client, s->hosts[2]);
}

static void offer(void *context) {
  struct scene *s = context;
  roam_time now = roam_world_now(s->world);
  for (unsigned kind = 0; kind < KINDS; kind++) {
    if (s->offered[kind] == MOST || draw(s, 3) == 0) continue;
    char name[3] = {'t', (char)('0' + kind), '\0'}, text[16];
    uint32_t number = s->offered[kind];
    snprintf(text, sizeof text, "%" PRIu32, number);
    roam_client_message m = {
        .topic = stage_bytes(name), .payload = stage_bytes(text), .qos = kind == 1 ? 2 : 1, .retain = kind == 2};
    if (roam_client_publish(s->publisher, now, &m, &s->tokens[kind][number]) == 0) s->offered[kind]++;
  }
  if (now < OFFERED_UNTIL) roam_world_at(s->world, now + (10 + draw(s, 60)) * ROAM_MS, offer, s);
}

static void die(void *context) {
  struct scene *s = context;
  if (s->mortal) stop_client(&s->mortal, s->hosts[3]);
}

static void plan(struct scene *s) {
  unsigned n = 1 + draw(s, FAULTS_MAX);
  for (unsigned i = 0; i < n; i++) {
    s->faults[i] = (struct fault){s, (enum fault_kind)(draw(s, 3) ? draw(s, 2) : draw(s, FAULT_KINDS))};
    roam_time at = BEGIN + ROAM_S + (roam_time)draw(s, 7000000) * ROAM_US;
    roam_world_at(s->world, at < FAULTS_UNTIL ? at : FAULTS_UNTIL, strike, &s->faults[i]);
  }
  roam_world_at(s->world, BEGIN + ROAM_S + (roam_time)draw(s, 7000) * ROAM_MS, die, s);
}

/* ---- the end ---- */

static roam_rc count_key(void *context, roam_bytes key, roam_bytes record) {
  uint32_t *left = context;
  (void)record;
  bool message = key.len > 0 && key.base[0] == 'm', delivery = key.len > 9 && key.base[0] == 's' && key.base[9] != 'f';
  *left += message || delivery;
  return 0;
}

static void check_deliveries(struct scene *s) {
  for (unsigned i = 0; i < READERS; i++) {
    struct reader *r = &s->readers[i];
    for (unsigned kind = 0; kind < KINDS; kind++)
      for (uint32_t k = 0; k < s->offered[kind]; k++)
        if (s->acked[kind][k] && r->got[kind][k] == 0)
          complain(s, i ? "acknowledged and lost to the one away" : "acknowledged and lost", kind, k);
    if (r->wills == 0) complain(s, "the will was lost", i, 0);
    s->seen.wills += r->wills;
  }
}

static void check_retained(struct scene *s) {
  int64_t last = -1;
  for (uint32_t k = 0; k < s->offered[2]; k++)
    if (s->acked[2][k]) last = k;
  if (s->retained < last) complain(s, "the retained message is an old one, or none", 2, (uint64_t)last);
  if (!s->retained_will) complain(s, "the retained will was lost", 0, 0);
}

static void check_end(struct scene *s) {
  char why[ROAM_STORE_WHY_MAX];
  uint32_t left = 0;
  roam_client_stats stats = roam_client_get_stats(s->publisher);
  if (stats.inflight > 0 || stats.queued > 0) complain(s, "something is still in flight", 0, stats.inflight);
  check_deliveries(s);
  check_retained(s);
  kill_broker(s);
  s->disk->ops->scan(s->disk, count_key, &left, why);
  if (left > 0) complain(s, "messages are left in the store that nobody waits for", 0, left);
}

static void play(struct scene *s) {
  start_broker(s);
  start_all(s);
  plan(s);
  roam_world_at(s->world, roam_world_now(s->world) + 1, offer, s);
  if (roam_world_run(s->world, QUIET_AT) != 0) complain(s, "the world did not come to rest", 0, 0);
  kill_broker(s);
  if (draw(s, 2)) roam_disk_power_cut(s->disk); /* acknowledgements have had time to be true */
  start_broker(s);
  start_reader(s, 1);
  roam_client_options o = options_of(s, "newcomer");
  o.clean_start = true;
  o.session_expiry_s = 0;
  s->newcomer = stage_client(s->world, s->hosts[3], &o, NULL, on_newcomer, s);
  roam_filter all = {.filter = stage_bytes("#"), .qos = 1};
  roam_client_subscribe(s->newcomer, roam_world_now(s->world), &all, 1, NULL);
  if (roam_world_run(s->world, END) != 0) complain(s, "the world did not come to rest", 0, 1);
  check_end(s);
}

struct store_result store_scene_run(uint64_t seed, bool several, bool keep_trace, struct store_coverage *coverage) {
  struct store_result result = {.complaint = ""};
  struct scene *s = calloc(1, sizeof *s);
  if (s == NULL || roam_identity_make(&s->identity, "scene", "192.0.2.1", STAGE_WALL, 30, false) != 0) abort();
  roam_rng_init(&s->chance, seed);
  s->quic = draw(s, 8) == 0;
  s->several = several;
  s->retained = -1;
  build(s, seed, keep_trace);
  play(s);
  memcpy(result.complaint, s->complaint, sizeof result.complaint);
  if (keep_trace) result.trace = stage_keep_trace(s->world);
  s->seen.scenes = 1;
  s->seen.quic = s->quic;
  if (coverage != NULL) stage_add_counts(coverage, &s->seen, sizeof s->seen);
  roam_client_free(s->publisher);
  roam_client_free(s->mortal);
  roam_client_free(s->newcomer);
  for (unsigned i = 0; i < READERS; i++) roam_client_free(s->readers[i].client);
  kill_broker(s);
  roam_world_free(s->world);
  roam_store_free(s->disk);
  roam_identity_clear(&s->identity);
  free(s);
  return result;
}
