/* hold.c - many idle clients: connected, held, then all moved to other addresses, in order to see what an idle connection
 * costs and whether a broker keeps them all.
 *
 * Theory of operation. Clients begin a few at a time, as in a flood. A move is a schedule: client k of n is told at
 * start + k * move_over / n. Told, it migrates; there, it publishes one message, and its acknowledgement closes its part.
 * A migration that is refused for want of a spare connection id is tried again by the client itself.
 *
 * It refuses to reconnect anybody: a connection that ends is lost and stays so. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <roamqtt/load.h>

#include "base/rng.h"
#include "load/crowd.h"

#define EVENTS 16
#define SETTLE_ROUNDS 16
#define CLIENTS_MAX 65536u
#define ADDRESSES_MAX 256u

enum place {
  PLACE_NONE, /* not connected */
  PLACE_HELD,
  PLACE_MOVING,   /* told to migrate */
  PLACE_SPEAKING, /* there; its message is not acknowledged */
  PLACE_LOST
};

struct held {
  enum place place;
  roam_time told; /* to move */
};

struct roam_hold {
  roam_hold_options o;
  struct roam_crowd crowd;
  struct held *held;
  roam_random *random;
  roam_hist *took;
  roam_hold_stage stage;
  roam_time since; /* the stage began */
  uint32_t started, connected, lost, failed;
  uint32_t moved; /* clients told, lost ones included */
  uint32_t arrived;
  roam_addr to[ADDRESSES_MAX];
  size_t to_len;
  bool immediate, told;
  roam_rc rc;
  char why[192];
};

void roam_hold_options_init(roam_hold_options *o) {
  *o = (roam_hold_options){.size = sizeof *o,
                           .clients = 1000,
                           .connecting_max = 64,
                           .connect_wait_ns = 120 * ROAM_S,
                           .move_over_ns = 10 * ROAM_S,
                           .settle_ns = 10 * ROAM_S};
}

static const char *option_error(const roam_hold_options *o) {
  if (o->clients == 0 || o->clients > CLIENTS_MAX) return "clients: give 1 to 65536";
  if (o->connecting_max == 0) return "connecting_max: give at least 1";
  return NULL;
}

/* ---- making ---------------------------------------------------------------------------------------------------------- */

static roam_rc make_clients(roam_hold *h, const roam_client_options *common) {
  roam_client_options o = *common;
  uint32_t run = (uint32_t)roam_random_u64(h->random);
  roam_rc rc = 0;
  char id[32];
  o.client_id = id;
  o.reconnect = false;
  for (uint32_t i = 0; i < h->o.clients && rc == 0; i++) {
    snprintf(id, sizeof id, "hold-%08" PRIx32 "-%" PRIu32, run, i);
    h->crowd.members[i].client = roam_client_new(&o, h->random, &rc);
  }
  return rc;
}

static roam_rc fill_hold(roam_hold *h, const roam_client_options *common) {
  h->held = calloc(h->o.clients, sizeof *h->held);
  h->took = roam_hist_new();
  if (!h->held || !h->took) return ROAM_E_MEMORY;
  roam_rc rc = roam_crowd_init(&h->crowd, h->o.clients, h->random);
  return rc ? rc : make_clients(h, common);
}

roam_hold *roam_hold_new(const roam_hold_options *given, const roam_client_options *client, roam_random *random,
                         roam_rc *rc, const char **why) {
  roam_rc ignored;
  const char *unread;
  roam_hold_options o;
  rc = rc ? rc : &ignored;
  why = why ? why : &unread;
  roam_hold_options_init(&o);
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  *rc = ROAM_E_OPTION;
  *why = option_error(&o);
  if (*why) return NULL;
  roam_hold *h = calloc(1, sizeof *h);
  *rc = ROAM_E_MEMORY;
  *why = roam_strerror(*rc);
  if (!h) return NULL;
  h->o = o;
  h->random = random;
  *rc = fill_hold(h, client);
  if (*rc == 0) return h;
  const char *wrong = *rc == ROAM_E_OPTION ? roam_client_option_error(client) : NULL;
  *why = wrong ? wrong : roam_strerror(*rc);
  roam_hold_free(h);
  return NULL;
}

void roam_hold_free(roam_hold *h) {
  if (!h) return;
  roam_crowd_reset(&h->crowd);
  roam_hist_free(h->took);
  free(h->held);
  free(h);
}

/* ---- the course ------------------------------------------------------------------------------------------------------ */

static void enter_stage(roam_hold *h, roam_hold_stage stage) {
  h->stage = stage;
  h->since = h->crowd.now;
}

static void blame(roam_hold *h, roam_rc rc, uint32_t i, const char *text) {
  if (h->rc != 0) return;
  h->rc = rc ? rc : ROAM_E_LOST;
  snprintf(h->why, sizeof h->why, "client %" PRIu32 ": %s", i, text ? text : roam_strerror(h->rc));
}

static void lose(roam_hold *h, uint32_t i, roam_rc rc, const char *text) {
  struct held *x = &h->held[i];
  if (x->place == PLACE_LOST) return;
  if (x->place != PLACE_NONE) h->connected--;
  x->place = PLACE_LOST;
  h->lost++;
  blame(h, rc, i, text);
}

static roam_time next_move(const roam_hold *h) { return h->since + h->o.move_over_ns / h->o.clients * h->moved; }

static void tell(roam_hold *h, uint32_t i) {
  struct held *x = &h->held[i];
  if (x->place != PLACE_HELD) return;
  roam_rc rc = roam_client_migrate(h->crowd.members[i].client, h->crowd.now, &h->to[i % h->to_len], NULL, h->immediate);
  roam_crowd_touch(&h->crowd, i);
  if (rc != 0) {
    h->failed++;
    blame(h, rc, i, "cannot migrate");
    return;
  }
  x->place = PLACE_MOVING;
  x->told = h->crowd.now;
}

static bool all_arrived(const roam_hold *h) { return h->moved == h->o.clients && h->arrived >= h->connected; }

static roam_time stage_end(const roam_hold *h) {
  if (h->stage == ROAM_HOLD_CONNECTING) return h->since + h->o.connect_wait_ns;
  if (h->stage != ROAM_HOLD_MOVING) return ROAM_NEVER;
  return h->moved < h->o.clients ? next_move(h) : h->since + h->o.move_over_ns + h->o.settle_ns;
}

static void advance(roam_hold *h) {
  bool due = stage_end(h) <= h->crowd.now;
  if (h->crowd.rc != 0) blame(h, h->crowd.rc, 0, "no room for another socket");
  switch (h->stage) {
    case ROAM_HOLD_CONNECTING:
      if (h->connected + h->lost == h->o.clients || due) enter_stage(h, ROAM_HOLD_HELD);
      break;
    case ROAM_HOLD_MOVING:
      while (h->moved < h->o.clients && next_move(h) <= h->crowd.now) tell(h, h->moved++);
      if (all_arrived(h) || (h->moved == h->o.clients && stage_end(h) <= h->crowd.now)) enter_stage(h, ROAM_HOLD_HELD);
      break;
    default: break;
  }
}

static void start_some(roam_hold *h) {
  while (h->stage == ROAM_HOLD_CONNECTING && h->started < h->o.clients &&
         h->started - h->connected - h->lost < h->o.connecting_max) {
    uint32_t i = h->started++;
    roam_rc rc = roam_client_start(h->crowd.members[i].client, h->crowd.now);
    if (rc != 0) lose(h, i, rc, NULL);
    roam_crowd_touch(&h->crowd, i);
  }
}

roam_rc roam_hold_start(roam_hold *h, roam_time now) {
  if (h->stage != ROAM_HOLD_NEW) return ROAM_E_STATE;
  roam_crowd_enter(&h->crowd, now);
  enter_stage(h, ROAM_HOLD_CONNECTING);
  start_some(h);
  return 0;
}

roam_rc roam_hold_move(roam_hold *h, roam_time now, const roam_addr to[], size_t n, bool immediate) {
  if (n == 0 || n > ADDRESSES_MAX) return ROAM_E_ARGUMENT;
  if (h->stage != ROAM_HOLD_HELD) return ROAM_E_STATE;
  memcpy(h->to, to, n * sizeof *to);
  h->to_len = n;
  h->immediate = immediate;
  h->moved = h->arrived = 0;
  roam_crowd_enter(&h->crowd, now);
  enter_stage(h, ROAM_HOLD_MOVING);
  advance(h);
  return 0;
}

void roam_hold_finish(roam_hold *h, roam_time now) {
  roam_crowd_enter(&h->crowd, now);
  enter_stage(h, ROAM_HOLD_OVER);
}

/* ---- what the clients say -------------------------------------------------------------------------------------------- */

static void hear_connected(roam_hold *h, struct held *x) {
  if (x->place != PLACE_NONE) return;
  x->place = PLACE_HELD;
  h->connected++;
}

static void hear_published(roam_hold *h, uint32_t i, const roam_event *ev) {
  struct held *x = &h->held[i];
  if (x->place != PLACE_SPEAKING) return;
  x->place = PLACE_HELD;
  if (ev->rc != 0) {
    blame(h, ev->rc, i, ev->text);
    return;
  }
  h->arrived++;
  roam_hist_add(h->took, h->crowd.now - x->told);
}

/* True: it has moved and is to say so. */
static bool hear_event(roam_hold *h, uint32_t i, const roam_event *ev) {
  struct held *x = &h->held[i];
  switch (ev->kind) {
    case ROAM_EV_CONNECTED: hear_connected(h, x); return false;
    case ROAM_EV_PUBLISHED: hear_published(h, i, ev); return false;
    case ROAM_EV_DISCONNECTED:
    case ROAM_EV_CLOSED:
      if (h->stage != ROAM_HOLD_OVER) lose(h, i, ev->rc, ev->text);
      return false;
    case ROAM_EV_PATH_FAILED:
      h->failed++;
      blame(h, ev->rc, i, ev->text);
      if (x->place == PLACE_MOVING) x->place = PLACE_HELD;
      return false;
    case ROAM_EV_PATH_MIGRATED: return x->place == PLACE_MOVING;
    default: return false;
  }
}

static void speak(roam_hold *h, uint32_t i) {
  static const roam_client_message arrived = {.topic = {(const uint8_t *)"hold/arrived", 12}, .qos = 1};
  roam_rc rc = roam_client_publish(h->crowd.members[i].client, h->crowd.now, &arrived, NULL);
  h->held[i].place = rc == 0 ? PLACE_SPEAKING : PLACE_HELD;
  if (rc != 0) blame(h, rc, i, "cannot publish");
}

static bool hear(roam_hold *h, uint32_t i) {
  roam_client *client = h->crowd.members[i].client;
  roam_event events[EVENTS];
  bool there = false;
  size_t n, heard = 0;
  do {
    n = roam_client_poll(client, events, EVENTS);
    for (size_t k = 0; k < n; k++) there |= hear_event(h, i, &events[k]);
    heard += n;
  } while (n == EVENTS);
  if (there) speak(h, i);
  return heard > 0;
}

/* ---- the five verbs -------------------------------------------------------------------------------------------------- */

static void feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  roam_hold *h = self;
  roam_crowd_enter(&h->crowd, now);
  roam_crowd_feed(&h->crowd, in, n);
}

static void tick(void *self, roam_time now) {
  roam_hold *h = self;
  roam_crowd_enter(&h->crowd, now);
  roam_crowd_tick(&h->crowd);
  advance(h);
}

static void hear_dry(roam_hold *h) {
  uint32_t i;
  while (roam_crowd_next_dry(&h->crowd, &i))
    if (hear(h, i)) roam_crowd_touch(&h->crowd, i);
  advance(h);
  start_some(h);
}

static size_t drain(void *self, roam_time now, roam_wire out[], size_t n) {
  roam_hold *h = self;
  roam_crowd_enter(&h->crowd, now);
  for (size_t round = 0; round < SETTLE_ROUNDS && n > 0; round++) {
    size_t used = roam_crowd_drain(&h->crowd, out, n);
    if (used > 0) return used;
    if (!roam_list_empty(&h->crowd.touched)) continue;
    if (roam_list_empty(&h->crowd.dry)) break;
    hear_dry(h);
  }
  return 0;
}

static size_t poll_events(void *self, roam_event ev[], size_t n) {
  roam_hold *h = self;
  if (h->stage != ROAM_HOLD_OVER || h->told || n == 0) return 0;
  h->told = true;
  ev[0] = (roam_event){.kind = ROAM_EV_LOAD_DONE, .rc = h->rc, .reason = -1, .at = h->crowd.now};
  if (h->rc != 0) ev[0].text = h->why;
  return 1;
}

static roam_time deadline(const void *self) {
  const roam_hold *h = self;
  roam_time crowd = roam_crowd_deadline(&h->crowd), course = stage_end(h);
  return crowd < course ? crowd : course;
}

roam_machine roam_hold_machine(roam_hold *h) {
  static const roam_machine_ops ops = {feed, tick, drain, poll_events, deadline};
  return (roam_machine){&ops, h, h->random};
}

/* ---- getters --------------------------------------------------------------------------------------------------------- */

roam_hold_stage roam_hold_get_stage(const roam_hold *h) { return h->stage; }

void roam_hold_get_report(const roam_hold *h, roam_hold_report *out) {
  *out = (roam_hold_report){.text = h->why,
                            .connected = h->connected,
                            .lost = h->lost,
                            .arrived = h->arrived,
                            .missing = h->moved > 0 ? h->o.clients - h->arrived : 0,
                            .failed = h->failed,
                            .move_p50_ns = roam_hist_quantile(h->took, 500000),
                            .move_p99_ns = roam_hist_quantile(h->took, 990000),
                            .move_max_ns = roam_hist_max(h->took)};
}
