/* load.c - a run as one machine made of many clients.
 *
 * Theory of operation. The run's members are whole clients, each a machine with its own handles. A unit that comes in goes
 * to the member that owns its handle (router.c); ADDR and WAKE go to all. Whoever was fed, ticked or commanded is
 * *touched*: drained until it gives nothing more, then heard (its events taken, which may touch it or others again), then
 * its deadline goes into a heap. So a turn costs what happened in it and not the number of clients.
 *
 * Time is worked off in order at the door of feed and tick (advance): messages are offered when they are due by the plan,
 * and a second's figures are closed before anything that belongs to the next one is counted. A driver that comes late
 * changes when things happen, not how they are counted: a message belongs to the second for which it was planned, a
 * delivery to the one in which it came.
 *
 * The run ends settle_ns after the last offered message, not earlier: what is lost is known only then. */
#include "load/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FEED_BATCH 64
#define OFFERS_PER_TURN 4096
#define SETTLE_ROUNDS 16

static void enter(roam_load *l, roam_time now) {
  if (now > l->now) l->now = now;
}

static void move_to(struct roam_list *head, struct roam_member *m) {
  roam_list_remove(&m->place);
  roam_list_push_back(head, &m->place);
}

void roam_load_touch(roam_load *l, struct roam_member *m) { move_to(&l->touched, m); }

/* ---- the course of a run -----------------------------------------------------------------------------------------------
 */

static void finish(roam_load *l) {
  roam_event event = {.kind = ROAM_EV_LOAD_DONE, .rc = l->rc, .reason = -1};
  l->state = ROAM_LOAD_OVER;
  roam_load_note(l, "done", ROAM_RECORD_NO_ROW, NULL, 0);
  roam_load_tell(l, &event, l->rc ? l->why : NULL);
}

void roam_load_fail(roam_load *l, roam_rc rc, const char *format, ...) {
  va_list args;
  if (l->state == ROAM_LOAD_OVER) return;
  va_start(args, format);
  vsnprintf(l->why, sizeof l->why, format, args);
  va_end(args);
  l->rc = rc;
  finish(l);
}

static void begin(roam_load *l) {
  l->state = ROAM_LOAD_RUNNING;
  l->started = l->now;
  l->end = l->started + roam_plan_offset(&l->plan, l->plan.count - 1) + l->o.settle_ns;
  roam_load_note_start(l);
}

/* Names the first client that is not there, with its own last trouble. */
static void give_up(roam_load *l) {
  for (size_t i = 0; i < l->members_len; i++) {
    const struct roam_member *m = &l->members[i];
    if (m->ready) continue;
    roam_client_error_info error = roam_client_error(m->client);
    roam_load_fail(l, error.rc ? error.rc : ROAM_E_TIMEOUT, "%s: the %s is not %s after %llu ms%s%s", m->worker->name,
                   m->publisher ? "publisher" : "subscriber", m->publisher || !m->connects ? "connected" : "subscribed",
                   (unsigned long long)(l->o.connect_wait_ns / ROAM_MS), error.rc && error.text ? ": " : "",
                   error.rc && error.text ? error.text : "");
    return;
  }
}

static void offer(roam_load *l, uint32_t row) {
  struct roam_member *m = &l->members[2 * row];
  struct roam_worker *w = m->worker;
  roam_payload_fill(l->payload, l->o.payload_bytes, &l->plan, l->next);
  const roam_client_message message = {
      .topic = {(const uint8_t *)w->topic, strlen(w->topic)}, .payload = {l->payload, l->o.payload_bytes}, .qos = l->o.qos};
  roam_rc rc = roam_client_publish(m->client, l->now, &message, NULL);
  const roam_field fields[] = {{"n", ROAM_FIELD_UINT, l->next, {0}}, {"rc", ROAM_FIELD_INT, (uint64_t)(int64_t)rc, {0}}};
  w->published++;
  w->published_second++;
  if (rc) w->refused++;
  roam_load_note(l, "offered", row, fields, rc ? 2 : 1);
  roam_load_touch(l, m);
}

static roam_time next_offer(const roam_load *l) {
  return l->next < l->plan.count ? l->started + roam_plan_offset(&l->plan, l->next) : ROAM_NEVER;
}

static roam_time next_second(const roam_load *l) {
  roam_time at = l->started + (l->second + UINT64_C(1)) * ROAM_S;
  return at < l->end ? at : l->end;
}

static void close_second(roam_load *l) {
  bool last = next_second(l) == l->end;
  for (uint32_t i = 0; i < l->workers_len; i++) roam_load_note_rate(l, i);
  l->second++;
  if (last) finish(l);
}

static void advance(roam_load *l) {
  if (l->state == ROAM_LOAD_CONNECTING && l->now >= l->begun + l->o.connect_wait_ns) give_up(l);
  for (size_t budget = OFFERS_PER_TURN; l->state == ROAM_LOAD_RUNNING && budget; budget--) {
    roam_time at = next_offer(l), second = next_second(l);
    if ((at < second ? at : second) > l->now) break;
    if (second <= at) {
      close_second(l);
      continue;
    }
    for (uint32_t i = 0; i < l->workers_len; i++) offer(l, i);
    l->next++;
  }
}

static roam_time course_deadline(const roam_load *l) {
  if (l->state == ROAM_LOAD_CONNECTING) return l->begun + l->o.connect_wait_ns;
  if (l->state != ROAM_LOAD_RUNNING) return ROAM_NEVER;
  roam_time at = next_offer(l), second = next_second(l);
  return at < second ? at : second;
}

roam_rc roam_load_start(roam_load *l, roam_time now) {
  if (l->state != ROAM_LOAD_NEW) return ROAM_E_STATE;
  enter(l, now);
  l->state = ROAM_LOAD_CONNECTING;
  l->begun = l->now;
  roam_load_note_rows(l);
  for (size_t i = 0; i < l->members_len; i++) {
    roam_rc rc = roam_client_start(l->members[i].client, l->now);
    if (rc) return rc;
    roam_load_touch(l, &l->members[i]);
  }
  return 0;
}

/* ---- the five verbs ----------------------------------------------------------------------------------------------------
 */

static void hear_touched(roam_load *l) {
  ROAM_LIST_EACH(&l->touched, place)(void) roam_load_hear(l, ROAM_CONTAINER(place, struct roam_member, place));
  if (l->state != ROAM_LOAD_CONNECTING || l->ready < l->members_len) return;
  begin(l);
  advance(l);
}

static void give_batch(roam_load *l, struct roam_member *m, roam_wire batch[], size_t *n) {
  if (*n == 0) return;
  roam_client_feed(m->client, l->now, batch, *n);
  roam_load_touch(l, m);
  *n = 0;
}

static void give_all(roam_load *l, const roam_wire *unit) {
  for (size_t i = 0; i < l->members_len; i++) {
    roam_client_feed(l->members[i].client, l->now, unit, 1);
    roam_load_touch(l, &l->members[i]);
  }
}

/* Units that follow each other and belong to the same client reach it as one batch. */
static void feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  roam_load *l = self;
  roam_wire batch[FEED_BATCH];
  size_t used = 0;
  struct roam_member *owner = NULL;
  enter(l, now);
  advance(l);
  for (size_t i = 0; i < n; i++) {
    roam_wire unit = in[i];
    uint32_t index;
    if (unit.kind == ROAM_WIRE_ADDR || unit.kind == ROAM_WIRE_WAKE) {
      give_batch(l, owner, batch, &used);
      give_all(l, &unit);
      continue;
    }
    if (roam_router_in(&l->router, &unit, &index)) continue;
    if (owner != &l->members[index] || used == FEED_BATCH) give_batch(l, owner, batch, &used);
    owner = &l->members[index];
    batch[used++] = unit;
  }
  give_batch(l, owner, batch, &used);
  hear_touched(l);
}

static void tick(void *self, roam_time now) {
  roam_load *l = self;
  struct roam_heap_node *first;
  enter(l, now);
  advance(l);
  while ((first = roam_heap_first(&l->due)) && first->at <= l->now) {
    struct roam_member *m = ROAM_CONTAINER(first, struct roam_member, due);
    roam_heap_remove(&l->due, first);
    roam_client_tick(m->client, l->now);
    roam_load_touch(l, m);
  }
  hear_touched(l);
}

/* Gives the units their outer handles; those that are nobody's any more fall out. */
static size_t route(roam_load *l, const struct roam_member *m, roam_wire out[], size_t n) {
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    roam_wire unit = out[i];
    roam_rc rc = roam_router_out(&l->router, m->index, &unit);
    if (rc == 0) out[kept++] = unit;
    else if (rc != ROAM_E_NOT_FOUND)
      roam_load_fail(l, rc, "%s: no room for another socket: %s", m->worker->name, roam_strerror(rc));
  }
  return kept;
}

static size_t drain_touched(roam_load *l, roam_wire out[], size_t n) {
  size_t used = 0;
  ROAM_LIST_EACH(&l->touched, place) {
    struct roam_member *m = ROAM_CONTAINER(place, struct roam_member, place);
    if (used == n) break;
    size_t got = roam_client_drain(m->client, l->now, out + used, n - used);
    if (got == 0) move_to(&l->dry, m);
    used += route(l, m, out + used, got);
  }
  return used;
}

/* Hears those that have nothing more to send; true when that gave somebody something to do. */
static bool settle(roam_load *l) {
  while (!roam_list_empty(&l->dry)) {
    struct roam_member *m = ROAM_CONTAINER(l->dry.next, struct roam_member, place);
    roam_list_remove(&m->place);
    if (roam_load_hear(l, m)) roam_load_touch(l, m);
    else (void)roam_heap_set(&l->due, &m->due, roam_client_deadline(m->client)); /* reserved: cannot fail */
  }
  return !roam_list_empty(&l->touched);
}

static size_t drain(void *self, roam_time now, roam_wire out[], size_t n) {
  roam_load *l = self;
  enter(l, now);
  for (size_t round = 0; round < SETTLE_ROUNDS && n > 0; round++) {
    size_t used = drain_touched(l, out, n);
    if (used > 0) return used;
    if (roam_list_empty(&l->touched) && !settle(l)) break;
  }
  return 0;
}

static size_t poll_events(void *self, roam_event ev[], size_t n) {
  roam_load *l = self;
  size_t used = 0;
  for (; used < n && used < ROAM_LOAD_POLL_MAX && roam_ring_pop(&l->events, &l->polled[used]); used++) {
    struct roam_load_event *e = &l->polled[used];
    ev[used] = e->event;
    if (e->text[0]) ev[used].text = e->text;
  }
  return used;
}

static roam_time deadline(const void *self) {
  const roam_load *l = self;
  if (!roam_list_empty(&l->touched) || !roam_list_empty(&l->dry)) return l->now;
  roam_time course = course_deadline(l), due = roam_heap_deadline(&l->due);
  return course < due ? course : due;
}

roam_machine roam_load_machine(roam_load *l) {
  static const roam_machine_ops ops = {feed, tick, drain, poll_events, deadline};
  return (roam_machine){&ops, l, l->random};
}
