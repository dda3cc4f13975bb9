/* workers.h - several workers in one thread, and the mail between them: delivered at once, or held and delivered in an
 * order that a seed draws (only two units from one worker to another keep theirs). */
#ifndef TESTS_UNIT_BROKER_WORKERS_H
#define TESTS_UNIT_BROKER_WORKERS_H

#include "rig.h"

#include "base/ring.h"
#include "broker/broker.h"

#define WORKERS_MAX 4u

struct unit {
  uint8_t *data;
  size_t len;
};

struct office {
  struct rig rigs[WORKERS_MAX];
  uint32_t n;
  struct roam_ring mail[WORKERS_MAX][WORKERS_MAX]; /* struct unit, from and to */
  bool held, busy;
  struct roam_rng rng;
  uint64_t delivered;
  /* With a store: parts of the commit that is under way, how many are there, whether the disk writes. */
  struct unit parts[WORKERS_MAX];
  uint32_t parts_len;
  uint64_t commit;
  bool asleep;
  roam_rc disk_error;     /* of the next commits */
  size_t commits, writes; /* writes: tried */
};

static struct office *the_office;

static uint32_t number_of(const struct rig *rig) { return (uint32_t)(rig - the_office->rigs); }

static void take_mail(struct rig *rig, const roam_wire *unit) {
  struct unit copy = {malloc(unit->len), unit->len};
  assert_non_null(copy.data);
  assert_true(unit->handle < the_office->n && unit->handle != number_of(rig));
  memcpy(copy.data, unit->data, unit->len);
  assert_int_equal(roam_ring_push(&the_office->mail[number_of(rig)][unit->handle], &copy), 0);
}

/* All parts are there: one batch, as whoever drives workers does it. */
static inline void office_write(struct office *o) {
  size_t len = 0, at = 0;
  char why[ROAM_STORE_WHY_MAX] = "the office says no";
  for (uint32_t i = 0; i < o->n; i++) len += o->parts[i].len;
  uint8_t *all = malloc(len + 1);
  assert_non_null(all);
  for (uint32_t i = 0; i < o->n; i++) {
    memcpy(all + at, o->parts[i].data, o->parts[i].len);
    at += o->parts[i].len;
    free(o->parts[i].data);
    o->parts[i] = (struct unit){0};
  }
  roam_store *store = o->rigs[0].store;
  roam_rc rc = o->disk_error ? o->disk_error : store->ops->commit(store, (roam_bytes){all, len}, why);
  free(all);
  o->parts_len = 0;
  o->writes++;
  o->commits += rc == 0;
  roam_wire stored = {.kind = ROAM_WIRE_STORED, .credit = o->commit, .error = rc, .name = rc ? why : NULL};
  for (uint32_t i = 0; i < o->n; i++) roam_broker_feed(o->rigs[i].broker, o->rigs[i].now, &stored, 1);
}

static inline void take_part(struct rig *rig, const roam_wire *unit) {
  struct office *o = the_office;
  struct unit *part = &o->parts[number_of(rig)];
  assert_null(part->data);
  assert_int_equal(unit->handle, o->n);
  assert_true(o->parts_len == 0 || unit->credit == o->commit); /* one at a time, and all in the same */
  o->commit = unit->credit;
  *part = (struct unit){malloc(unit->len + 1), unit->len};
  assert_non_null(part->data);
  if (unit->len > 0) memcpy(part->data, unit->data, unit->len);
  if (++o->parts_len == o->n && !o->asleep) office_write(o);
}

static bool deliver_one(uint32_t from, uint32_t to) {
  struct office *o = the_office;
  struct unit unit;
  if (!roam_ring_pop(&o->mail[from][to], &unit)) return false;
  roam_wire in = {.kind = ROAM_WIRE_MAIL, .handle = from, .data = unit.data, .len = unit.len};
  roam_broker_feed(o->rigs[to].broker, o->rigs[to].now, &in, 1);
  o->delivered++;
  free(unit.data);
  rig_run(&o->rigs[to]);
  return true;
}

/* One unit of a pair drawn by chance. False: there is none at all. */
static bool deliver_some(void) {
  struct office *o = the_office;
  uint32_t pairs = o->n * o->n;
  uint32_t first = (uint32_t)(roam_random_u64(&o->rng.random) % pairs);
  for (uint32_t i = 0; i < pairs; i++) {
    uint32_t at = (first + i) % pairs;
    if (deliver_one(at / o->n, at % o->n)) return true;
  }
  return false;
}

static void settle_all(void) {
  struct office *o = the_office;
  if (o->busy) return;
  o->busy = true;
  for (size_t writes = o->writes + 1; writes != o->writes || deliver_some();) {
    writes = o->writes;
    while (deliver_some()) continue;
    for (uint32_t i = 0; i < o->n; i++) rig_run(&o->rigs[i]);
  }
  o->busy = false;
}

static void after(struct rig *rig) {
  (void)rig;
  if (!the_office->held) settle_all();
}

static inline void office_begin(struct office *o, uint32_t n, uint64_t seed, void (*change)(roam_broker_options *)) {
  static const uint8_t secret[32] = {7};
  memset(o, 0, sizeof *o);
  the_office = o;
  o->n = n;
  o->held = true;
  roam_rng_init(&o->rng, seed);
  for (uint32_t i = 0; i < n; i++) {
    roam_broker_options options;
    roam_broker_options_init(&options);
    options.workers = n;
    options.worker = i;
    options.secret = (roam_bytes){secret, sizeof secret};
    options.sys_interval_s = 0;
    if (change) change(&options);
    for (uint32_t k = 0; k < n; k++) roam_ring_init(&o->mail[i][k], sizeof(struct unit), 1u << 20);
    rig_begin_as(&o->rigs[i], &options, take_mail, n > 1 && options.store ? take_part : NULL);
    o->rigs[i].after = after;
  }
  o->held = false;
  settle_all();
}

/* Whatever was under way is lost: this is also how a process dies. */
static inline void office_end(struct office *o) {
  for (uint32_t i = 0; i < o->n; i++) free(o->parts[i].data);
  for (uint32_t i = 0; i < o->n; i++) rig_end(&o->rigs[i]);
  for (uint32_t i = 0; i < o->n * o->n; i++) {
    struct unit unit;
    while (roam_ring_pop(&o->mail[i / o->n][i % o->n], &unit)) {
      roam_broker_mail_drop(unit.data, unit.len);
      free(unit.data);
    }
    roam_ring_reset(&o->mail[i / o->n][i % o->n]);
  }
}

static inline void office_wait(struct office *o, uint64_t ns) {
  for (uint32_t i = 0; i < o->n; i++) rig_wait(&o->rigs[i], ns);
  settle_all();
}

/* How many ids have a home, and how many sessions there are. */
static inline size_t count_homes(const struct office *o) {
  size_t count = 0;
  for (uint32_t i = 0; i < o->n; i++) count += o->rigs[i].broker->mail->homes.count;
  return count;
}

static inline size_t count_sessions(const struct office *o) {
  size_t count = 0;
  for (uint32_t i = 0; i < o->n; i++) count += o->rigs[i].broker->sessions_count;
  return count;
}

#endif
