/* flood.c - a closed loop of publishers and receivers that finds out how many messages get through.
 *
 * Theory of operation. Clients begin a few at a time; when all are connected and subscribed the publishers fill their
 * windows, and from then on arrivals make room. A publisher is refilled when a quarter of its window is free, so that
 * messages leave in batches. The stages follow each other by time; publishing ends with the counting, and the run is over
 * when everything published has come to every receiver, or settle_ns later. Client i < topics publishes topic i; the
 * receivers follow, those of one topic together.
 *
 * It refuses to count what it has not checked: one message out of order, twice (but for QoS 1), damaged or missing makes
 * the run invalid. */
#include "load/flood.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "load/crowd.h"

#define EVENTS 64
#define SETTLE_ROUNDS 16
#define CLIENTS_MAX 65536u
#define STALLED_NS (200 * ROAM_MS) /* datagrams: what has not arrived by then after the last that did will not */

struct roam_flood {
  roam_flood_options o;
  struct roam_crowd crowd;
  struct roam_flood_topic *topics;
  uint64_t *expected; /* of each receiver */
  uint32_t *seen;     /* of all topics */
  uint8_t *payload, *pattern;
  roam_random *random;
  roam_hist *latency;
  roam_flood_stage stage;
  uint32_t started, ready;
  roam_time since;   /* the stage began */
  roam_time arrived; /* the last delivery */
  uint64_t delivered, lost, duplicated, disordered, corrupt;
  uint64_t delivered_before, counted, counted_ns;
  bool told;
  roam_rc rc;
  char why[192];
};

void roam_flood_options_init(roam_flood_options *o) {
  *o = (roam_flood_options){.size = sizeof *o,
                            .topics = 1,
                            .receivers = 1,
                            .payload_bytes = 64,
                            .window = 512,
                            .connecting_max = 64,
                            .messages = UINT64_MAX,
                            .warmup_ns = 500 * ROAM_MS,
                            .duration_ns = 3 * ROAM_S,
                            .settle_ns = 10 * ROAM_S,
                            .connect_wait_ns = 60 * ROAM_S};
}

static const char *option_error(const roam_flood_options *o) {
  if (o->topics == 0 || o->topics > 1024) return "topics: give 1 to 1024";
  if (o->receivers == 0 || o->receivers >= CLIENTS_MAX || (uint64_t)o->topics * (1 + o->receivers) > CLIENTS_MAX)
    return "receivers: give at least 1, and no more than 65536 clients in all";
  if (o->payload_bytes < ROAM_FLOOD_HEADER || o->payload_bytes > 1048576) return "payload_bytes: give 16 to 1048576";
  if (o->qos > 2) return "qos: give 0, 1 or 2";
  if (o->datagrams && o->qos > 0) return "datagrams: QoS 0 only";
  if (o->window == 0 || o->window > 65536) return "window: give 1 to 65536";
  if (o->messages == 0) return "messages: give at least 1";
  if (o->connecting_max == 0 || o->duration_ns == 0) return "connecting_max and duration_ns: give at least 1";
  return NULL;
}

/* ---- making ---------------------------------------------------------------------------------------------------------- */

static roam_rc make_client(roam_flood *f, uint32_t i, const roam_client_options *common, uint32_t run) {
  char id[32];
  roam_rc rc = 0;
  roam_client_options o = *common;
  snprintf(id, sizeof id, "flood-%08" PRIx32 "-%" PRIu32, run, i);
  o.client_id = id;
  f->crowd.members[i].client = roam_client_new(&o, f->random, &rc);
  return rc;
}

static roam_rc make_clients(roam_flood *f, const roam_client_options *common) {
  uint32_t n = f->o.topics * (1 + f->o.receivers), run = (uint32_t)roam_random_u64(f->random);
  roam_rc rc = 0;
  for (uint32_t i = 0; i < n && rc == 0; i++) rc = make_client(f, i, common, run);
  for (uint32_t i = 0; i < f->o.topics; i++) {
    struct roam_flood_topic *t = &f->topics[i];
    t->name_len = (size_t)snprintf(t->name, sizeof t->name, "flood/%08" PRIx32 "/%" PRIu32, run, i);
    t->seen = f->seen + (size_t)i * f->o.window;
  }
  return rc;
}

static roam_rc fill_flood(roam_flood *f, const roam_client_options *common) {
  const roam_flood_options *o = &f->o;
  f->topics = calloc(o->topics, sizeof *f->topics);
  f->expected = calloc((size_t)o->topics * o->receivers, sizeof *f->expected);
  f->seen = calloc((size_t)o->topics * o->window, sizeof *f->seen);
  f->payload = malloc(o->payload_bytes);
  f->pattern = malloc((size_t)o->payload_bytes + 256);
  f->latency = roam_hist_new();
  if (!f->topics || !f->expected || !f->seen || !f->payload || !f->pattern || !f->latency) return ROAM_E_MEMORY;
  roam_flood_pattern(f->pattern, o->payload_bytes);
  return make_clients(f, common);
}

roam_flood *roam_flood_new(const roam_flood_options *given, const roam_client_options *client, roam_random *random,
                           roam_rc *rc, const char **why) {
  roam_rc ignored;
  const char *unread;
  roam_flood_options o;
  rc = rc ? rc : &ignored;
  why = why ? why : &unread;
  roam_flood_options_init(&o);
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  *rc = ROAM_E_OPTION;
  *why = option_error(&o);
  if (*why) return NULL;
  *rc = ROAM_E_MEMORY;
  *why = roam_strerror(*rc);
  roam_flood *f = calloc(1, sizeof *f);
  if (!f) return NULL;
  f->o = o;
  f->random = random;
  *rc = roam_crowd_init(&f->crowd, o.topics * (1 + o.receivers), random);
  if (*rc == 0) *rc = fill_flood(f, client);
  if (*rc == 0) return f;
  const char *wrong = *rc == ROAM_E_OPTION ? roam_client_option_error(client) : NULL;
  *why = wrong ? wrong : roam_strerror(*rc);
  roam_flood_free(f);
  return NULL;
}

void roam_flood_free(roam_flood *f) {
  if (!f) return;
  roam_crowd_reset(&f->crowd);
  roam_hist_free(f->latency);
  free(f->topics);
  free(f->expected);
  free(f->seen);
  free(f->payload);
  free(f->pattern);
  free(f);
}

/* ---- the course ------------------------------------------------------------------------------------------------------ */

static void enter_stage(roam_flood *f, roam_flood_stage stage) {
  f->stage = stage;
  f->since = f->crowd.now;
}

__attribute__((format(printf, 3, 4))) static void blame(roam_flood *f, roam_rc rc, const char *format, ...) {
  va_list args;
  if (f->rc != 0) return;
  f->rc = rc;
  va_start(args, format);
  vsnprintf(f->why, sizeof f->why, format, args);
  va_end(args);
}

static void give_up(roam_flood *f, roam_rc rc, const char *text) {
  blame(f, rc, "%s", text);
  enter_stage(f, ROAM_FLOOD_OVER);
}

static void judge(roam_flood *f) {
  uint64_t due = 0;
  for (uint32_t i = 0; i < f->o.topics; i++) due += f->topics[i].next * f->o.receivers;
  f->lost = due - f->delivered;
  bool all = f->o.datagrams || (!f->lost && !f->disordered);
  bool good = all && !f->corrupt && (!f->duplicated || f->o.qos == 1);
  if (!good)
    blame(f, ROAM_E_LOST, "%" PRIu64 " lost, %" PRIu64 " twice, %" PRIu64 " out of order, %" PRIu64 " damaged", f->lost,
          f->duplicated, f->disordered, f->corrupt);
  enter_stage(f, ROAM_FLOOD_OVER);
}

static bool all_here(const roam_flood *f) {
  for (uint32_t i = 0; i < f->o.topics; i++)
    if (f->topics[i].base < f->topics[i].next) return false;
  return true;
}

static bool all_published(const roam_flood *f) {
  for (uint32_t i = 0; i < f->o.topics; i++)
    if (f->topics[i].next < f->o.messages) return false;
  return true;
}

static void stop_counting(roam_flood *f) {
  f->counted = f->delivered - f->delivered_before;
  f->counted_ns = f->crowd.now - f->since;
  enter_stage(f, ROAM_FLOOD_SETTLING);
}

static roam_time stage_end(const roam_flood *f) {
  switch (f->stage) {
    case ROAM_FLOOD_CONNECTING: return f->since + f->o.connect_wait_ns;
    case ROAM_FLOOD_WARMING: return f->since + f->o.warmup_ns;
    case ROAM_FLOOD_COUNTING: return f->since + f->o.duration_ns;
    case ROAM_FLOOD_SETTLING: return f->since + f->o.settle_ns;
    default: return ROAM_NEVER;
  }
}

static void begin(roam_flood *f) {
  f->arrived = f->crowd.now;
  enter_stage(f, ROAM_FLOOD_WARMING);
}

static bool is_stalled(const roam_flood *f) {
  bool publishing = f->stage == ROAM_FLOOD_WARMING || f->stage == ROAM_FLOOD_COUNTING;
  return f->o.datagrams && publishing && f->crowd.now - f->arrived >= STALLED_NS;
}

/* Datagrams: the last ones of a window were lost, and no later one says so. */
static void go_on(roam_flood *f) {
  for (uint32_t i = 0; i < f->o.topics; i++)
    roam_flood_skip(&f->topics[i], f->o.window, f->o.receivers, &f->expected[(size_t)i * f->o.receivers]);
  f->arrived = f->crowd.now;
}

static void advance(roam_flood *f) {
  if (is_stalled(f)) go_on(f);
  bool due = stage_end(f) <= f->crowd.now;
  if (f->crowd.rc != 0 && f->stage != ROAM_FLOOD_OVER) give_up(f, f->crowd.rc, "no room for another socket");
  if (f->stage == ROAM_FLOOD_CONNECTING && f->ready == f->crowd.len) begin(f);
  else if (f->stage == ROAM_FLOOD_CONNECTING && due) give_up(f, ROAM_E_TIMEOUT, "not all clients are connected in time");
  if (f->stage == ROAM_FLOOD_WARMING && stage_end(f) <= f->crowd.now) {
    f->delivered_before = f->delivered;
    enter_stage(f, ROAM_FLOOD_COUNTING);
  }
  if (f->stage == ROAM_FLOOD_COUNTING && (stage_end(f) <= f->crowd.now || (all_published(f) && all_here(f))))
    stop_counting(f);
  if (f->stage == ROAM_FLOOD_SETTLING && (all_here(f) || stage_end(f) <= f->crowd.now)) judge(f);
}

static void start_some(roam_flood *f) {
  while (f->stage == ROAM_FLOOD_CONNECTING && f->started < f->crowd.len && f->started - f->ready < f->o.connecting_max) {
    roam_rc rc = roam_client_start(f->crowd.members[f->started].client, f->crowd.now);
    if (rc != 0) give_up(f, rc, roam_strerror(rc));
    roam_crowd_touch(&f->crowd, f->started++);
  }
}

roam_rc roam_flood_start(roam_flood *f, roam_time now) {
  if (f->stage != ROAM_FLOOD_NEW) return ROAM_E_STATE;
  roam_crowd_enter(&f->crowd, now);
  enter_stage(f, ROAM_FLOOD_CONNECTING);
  start_some(f);
  return f->rc;
}

/* ---- publishing ------------------------------------------------------------------------------------------------------ */

static void publish(roam_flood *f, uint32_t i) {
  struct roam_flood_topic *t = &f->topics[i];
  uint64_t room = f->o.window - (t->next - t->base), end = t->next + room;
  if (room < (f->o.window + 3) / 4 || t->next >= f->o.messages) return;
  if (end > f->o.messages) end = f->o.messages;
  const roam_client_message message = {.topic = {(const uint8_t *)t->name, t->name_len},
                                       .payload = {f->payload, f->o.payload_bytes},
                                       .qos = f->o.qos,
                                       .datagram = f->o.datagrams};
  for (; t->next < end; t->next++) {
    roam_flood_fill(f->payload, f->o.payload_bytes, f->pattern, t->next, f->crowd.now);
    if (roam_client_publish(f->crowd.members[i].client, f->crowd.now, &message, NULL) != 0) break; /* tried again later */
  }
  roam_crowd_touch(&f->crowd, i);
}

static void publish_all(roam_flood *f) {
  if (f->stage != ROAM_FLOOD_WARMING && f->stage != ROAM_FLOOD_COUNTING) return;
  for (uint32_t i = 0; i < f->o.topics; i++) publish(f, i);
}

/* ---- what the clients say -------------------------------------------------------------------------------------------- */

static void hear_message(roam_flood *f, uint32_t receiver, const roam_event *ev) {
  struct roam_flood_topic *t = &f->topics[receiver / f->o.receivers];
  uint64_t k;
  roam_time at;
  bool whole = roam_flood_check(ev->u.message.payload, f->o.payload_bytes, f->pattern, &k, &at);
  enum roam_flood_verdict v = ROAM_FLOOD_CORRUPT;
  if (whole) v = roam_flood_take(t, f->o.window, f->o.receivers, &f->expected[receiver], k, f->o.datagrams);
  f->arrived = f->crowd.now;
  if (v == ROAM_FLOOD_AGAIN && f->o.datagrams) v = ROAM_FLOOD_DISORDERED; /* late: QUIC takes no packet twice */
  if (v == ROAM_FLOOD_CORRUPT) f->corrupt++;
  else if (v == ROAM_FLOOD_AGAIN) f->duplicated++;
  else f->delivered++;
  if (v == ROAM_FLOOD_DISORDERED) f->disordered++;
  if (v == ROAM_FLOOD_GOOD && f->stage == ROAM_FLOOD_COUNTING) roam_hist_add(f->latency, f->crowd.now - at);
}

static void hear_subscribed(roam_flood *f, const roam_event *ev) {
  if (ev->rc != 0) give_up(f, ROAM_E_REFUSED, "a subscription was refused");
  else f->ready++;
}

/* Commands that follow from events are given after all of a batch are read: a command ends the life of their pointers. */
static bool hear_event(roam_flood *f, uint32_t i, const roam_event *ev) {
  switch (ev->kind) {
    case ROAM_EV_MESSAGE:
      if (i >= f->o.topics) hear_message(f, i - f->o.topics, ev);
      return false;
    case ROAM_EV_CONNECTED:
      if (f->stage != ROAM_FLOOD_CONNECTING) return false;
      if (i < f->o.topics) f->ready++;
      return i >= f->o.topics;
    case ROAM_EV_SUBSCRIBED: hear_subscribed(f, ev); return false;
    case ROAM_EV_DISCONNECTED:
      if (f->stage == ROAM_FLOOD_CONNECTING) return false;
      blame(f, ev->rc ? ev->rc : ROAM_E_LOST, "client %" PRIu32 " lost its connection: %s", i, ev->text ? ev->text : "");
      return false;
    case ROAM_EV_CLOSED: give_up(f, ev->rc ? ev->rc : ROAM_E_LOST, ev->text ? ev->text : "a client ended"); return false;
    default: return false;
  }
}

static bool hear(roam_flood *f, uint32_t i) {
  roam_client *client = f->crowd.members[i].client;
  roam_event events[EVENTS];
  bool subscribe = false;
  size_t n, heard = 0;
  do {
    n = roam_client_poll(client, events, EVENTS);
    for (size_t k = 0; k < n; k++) subscribe |= hear_event(f, i, &events[k]);
    heard += n;
  } while (n == EVENTS);
  if (subscribe) {
    const struct roam_flood_topic *t = &f->topics[(i - f->o.topics) / f->o.receivers];
    const roam_filter filter = {.filter = {(const uint8_t *)t->name, t->name_len}, .qos = f->o.qos};
    const roam_client_subscribe_how how = {.datagram = f->o.datagrams};
    roam_rc rc = roam_client_subscribe_how_to(client, f->crowd.now, &filter, 1, &how, NULL);
    if (rc != 0) give_up(f, rc, roam_strerror(rc));
  }
  return heard > 0;
}

/* ---- the five verbs -------------------------------------------------------------------------------------------------- */

static void feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  roam_flood *f = self;
  roam_crowd_enter(&f->crowd, now);
  roam_crowd_feed(&f->crowd, in, n);
}

static void tick(void *self, roam_time now) {
  roam_flood *f = self;
  roam_crowd_enter(&f->crowd, now);
  roam_crowd_tick(&f->crowd);
  advance(f);
}

/* Acknowledgements follow what was heard, and messages the room that made. */
static void hear_dry(roam_flood *f) {
  uint32_t i;
  while (roam_crowd_next_dry(&f->crowd, &i))
    if (hear(f, i)) roam_crowd_touch(&f->crowd, i);
  advance(f);
  start_some(f);
  publish_all(f);
}

static size_t drain(void *self, roam_time now, roam_wire out[], size_t n) {
  roam_flood *f = self;
  roam_crowd_enter(&f->crowd, now);
  for (size_t round = 0; round < SETTLE_ROUNDS && n > 0; round++) {
    size_t used = roam_crowd_drain(&f->crowd, out, n);
    if (used > 0) return used;
    if (!roam_list_empty(&f->crowd.touched)) continue;
    if (roam_list_empty(&f->crowd.dry)) break;
    hear_dry(f);
  }
  return 0;
}

static size_t poll_events(void *self, roam_event ev[], size_t n) {
  roam_flood *f = self;
  if (f->stage != ROAM_FLOOD_OVER || f->told || n == 0) return 0;
  f->told = true;
  ev[0] = (roam_event){.kind = ROAM_EV_LOAD_DONE, .rc = f->rc, .reason = -1, .at = f->crowd.now};
  if (f->rc != 0) ev[0].text = f->why;
  return 1;
}

static roam_time deadline(const void *self) {
  const roam_flood *f = self;
  roam_time crowd = roam_crowd_deadline(&f->crowd), course = stage_end(f);
  bool waits = f->o.datagrams && (f->stage == ROAM_FLOOD_WARMING || f->stage == ROAM_FLOOD_COUNTING);
  if (waits && f->arrived + STALLED_NS < course) course = f->arrived + STALLED_NS;
  return crowd < course ? crowd : course;
}

roam_machine roam_flood_machine(roam_flood *f) {
  static const roam_machine_ops ops = {feed, tick, drain, poll_events, deadline};
  return (roam_machine){&ops, f, f->random};
}

/* ---- getters --------------------------------------------------------------------------------------------------------- */

roam_flood_stage roam_flood_get_stage(const roam_flood *f) { return f->stage; }

void roam_flood_get_report(const roam_flood *f, roam_flood_report *out) {
  *out = (roam_flood_report){.valid = f->stage == ROAM_FLOOD_OVER && f->rc == 0,
                             .text = f->why,
                             .counted = f->counted,
                             .counted_ns = f->counted_ns,
                             .lost = f->lost,
                             .duplicated = f->duplicated,
                             .disordered = f->disordered,
                             .corrupt = f->corrupt,
                             .latency_p50_ns = roam_hist_quantile(f->latency, 500000),
                             .latency_p99_ns = roam_hist_quantile(f->latency, 990000),
                             .latency_max_ns = roam_hist_max(f->latency)};
  for (uint32_t i = 0; i < f->o.topics; i++) out->published += f->topics[i].next;
}
