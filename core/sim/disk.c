/* disk.c - a disk in a world: a store whose writes take time and whose two ends differ. The death of a process loses what
 * was not written and leaves what was being written torn; a power cut loses what was not synced, too, but for a random
 * piece of it. It is a log of batches, each with its length and a checksum; reading it ends at the first that does not fit.
 *
 * Theory of operation. A STORE unit becomes a job: after the write's latency its bytes are in the log (the system's cache),
 * after the sync's they are safe, and then STORED is fed. Before each commit the disk may be told to fail at one of the
 * steps. A commit of several machines is one job, written when the last part is there; if one of them dies before the
 * answer, the process of all has died. What is asked of it between (scan) is answered from an image, a store in memory,
 * made anew from the log. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "sim/world.h"

enum {
  HEAD = 12, /* length, checksum */
  TORN_MAX = 512
};

struct sim_disk {
  roam_store store;
  roam_world *world;
  roam_store *image;
  roam_disk_options o;
  uint8_t *log;
  size_t len, cap, synced;
  roam_disk_failure next;
  struct roam_list gathering; /* struct sim_write: parts of a commit whose others are not there yet */
};

enum stage {
  STAGE_WRITE,
  STAGE_SYNC,
  STAGE_ANSWER
};

struct sim_write {
  struct roam_list node; /* machine->writes */
  struct sim_timer timer;
  struct sim_machine *machine;
  struct sim_disk *disk;
  enum stage stage;
  uint64_t epoch;
  uint32_t missing;             /* parts, while it is gathering */
  struct sim_write *whole;      /* of several parts: the first, which is written for all; that one itself */
  struct roam_list part, parts; /* part: in the whole's parts, or the disk's gathering */
  roam_rc rc;
  size_t len;
  uint8_t *batch;
};

/* ---- the log ---- */

static bool append(struct sim_disk *d, const void *bytes, size_t n) {
  if (d->cap - d->len < n) {
    size_t cap = d->cap ? d->cap : 4096;
    while (cap - d->len < n) cap *= 2;
    uint8_t *grown = realloc(d->log, cap);
    if (!grown) return false;
    d->log = grown;
    d->cap = cap;
  }
  if (n > 0) memcpy(d->log + d->len, bytes, n);
  d->len += n;
  return true;
}

static void write_head(uint8_t head[HEAD], const uint8_t *batch, size_t len) {
  uint64_t sum = roam_hash_bytes(roam_hash_key_draw(NULL), batch, len);
  for (int i = 0; i < 4; i++) head[i] = (uint8_t)(len >> (24 - 8 * i));
  for (int i = 0; i < 8; i++) head[4 + i] = (uint8_t)(sum >> (56 - 8 * i));
}

/* The batch that begins at `at`; its end, 0: none, or torn. */
static size_t next_batch(const struct sim_disk *d, size_t at, roam_bytes *out) {
  uint8_t head[HEAD];
  if (d->len - at < HEAD) return 0;
  const uint8_t *p = d->log + at;
  size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
  if (len > d->len - at - HEAD) return 0;
  write_head(head, p + HEAD, len);
  if (memcmp(head, p, HEAD) != 0) return 0;
  *out = (roam_bytes){p + HEAD, len};
  return at + HEAD + len;
}

/* A piece of a batch, as a process or a machine that dies in the middle leaves it. */
static void tear(struct sim_disk *d, const struct sim_write *w) {
  uint8_t head[HEAD];
  size_t whole = HEAD + w->len, keep = (size_t)roam_random_below(&d->world->rng.random, whole);
  write_head(head, w->batch, w->len);
  append(d, head, keep < HEAD ? keep : HEAD);
  if (keep > HEAD) append(d, w->batch, keep - HEAD);
}

/* ---- the store ---- */

static roam_rc disk_scan(void *self, roam_store_visit visit, void *context, char why[ROAM_STORE_WHY_MAX]) {
  struct sim_disk *d = self;
  static const uint8_t all[] = {ROAM_STORE_DROP_ALL, 0, 0, 0, 0, 0, 0, 0, 0};
  size_t at = 0;
  roam_bytes batch;
  roam_rc rc = d->image->ops->commit(d->image, (roam_bytes){all, sizeof all}, why);
  for (size_t end; rc == 0 && (end = next_batch(d, at, &batch)) > 0; at = end)
    rc = d->image->ops->commit(d->image, batch, why);
  if (rc != 0) return rc;
  d->len = at; /* what is torn is cut off */
  d->synced = d->len;
  return d->image->ops->scan(d->image, visit, context, why);
}

static roam_rc disk_commit(void *self, roam_bytes batch, char why[ROAM_STORE_WHY_MAX]) {
  struct sim_disk *d = self;
  uint8_t head[HEAD];
  (void)why;
  write_head(head, batch.base, batch.len);
  return append(d, head, HEAD) && append(d, batch.base, batch.len) ? 0 : ROAM_E_MEMORY;
}

static roam_rc disk_sync(void *self, char why[ROAM_STORE_WHY_MAX]) {
  struct sim_disk *d = self;
  (void)why;
  d->synced = d->len;
  return 0;
}

static void disk_free(void *self) {
  struct sim_disk *d = self;
  d->image->ops->free(d->image);
  free(d->log);
  free(d);
}

static const roam_store_ops disk_ops = {disk_scan, disk_commit, disk_sync, disk_free};

void roam_disk_options_init(roam_disk_options *o) {
  *o = (roam_disk_options){.size = sizeof *o, .write_ns = 2 * ROAM_MS, .sync_ns = 5 * ROAM_MS, .sync = true};
}

roam_store *roam_world_disk(roam_world *world, roam_store *image, const roam_disk_options *o) {
  struct sim_disk *d = image ? calloc(1, sizeof *d) : NULL;
  if (!d) return NULL;
  roam_disk_options_init(&d->o);
  if (o) memcpy(&d->o, o, o->size < sizeof d->o ? o->size : sizeof d->o);
  d->store.ops = &disk_ops;
  roam_list_init(&d->gathering);
  d->world = world;
  d->image = image;
  return &d->store;
}

static struct sim_disk *disk_of(roam_store *store) {
  return store && store->ops == &disk_ops ? (struct sim_disk *)(void *)store : NULL;
}

roam_rc roam_disk_fail_next(roam_store *store, roam_disk_failure how) {
  struct sim_disk *d = disk_of(store);
  if (!d) return ROAM_E_ARGUMENT;
  d->next = how;
  return 0;
}

roam_rc roam_disk_power_cut(roam_store *store) {
  struct sim_disk *d = disk_of(store);
  if (!d) return ROAM_E_ARGUMENT;
  roam_random *random = &d->world->rng.random;
  size_t loose = d->len - d->synced, kept = (size_t)roam_random_below(random, loose + 1);
  d->len = d->synced + kept;
  size_t last = kept < TORN_MAX ? kept : TORN_MAX;
  for (size_t i = 0; i < last && roam_random_below(random, 2) == 0; i++) /* its last sector may hold anything */
    d->log[d->len - 1 - i] = (uint8_t)roam_random_u64(random);
  roam_sim_trace_text(d->world, "disk", "power", "cut");
  return 0;
}

/* ---- jobs ---- */

static roam_time latency(const struct sim_disk *d, uint64_t most) {
  return d->world->now + 1 + roam_random_below(&d->world->rng.random, most);
}

static void free_part(struct sim_write *w) {
  roam_heap_remove(&w->disk->world->timers, &w->timer.node);
  roam_list_remove(&w->node);
  roam_list_remove(&w->part);
  free(w->batch);
  free(w);
}

/* With all its parts. */
static void free_write(struct sim_write *w) {
  struct roam_list *node;
  while ((node = roam_list_first(&w->parts)) != NULL) free_part(ROAM_CONTAINER(node, struct sim_write, part));
  free_part(w);
}

static void answer_part(const struct sim_write *w, roam_rc rc) {
  static const char *const why = "the modelled disk has failed";
  roam_wire unit = {.kind = ROAM_WIRE_STORED, .credit = w->epoch, .error = rc, .name = rc != 0 ? why : NULL};
  roam_sim_feed(w->machine, &unit, NULL, NULL);
}

static void answer(struct sim_write *w) {
  answer_part(w, w->rc);
  ROAM_LIST_EACH(&w->parts, node) answer_part(ROAM_CONTAINER(node, struct sim_write, part), w->rc);
  free_write(w);
}

/* Fails here, if it is to. */
static bool write_now(struct sim_write *w) {
  struct sim_disk *d = w->disk;
  roam_disk_failure how = d->next;
  char why[ROAM_STORE_WHY_MAX];
  d->next = ROAM_DISK_SOUND;
  if (how == ROAM_DISK_FULL) w->rc = ROAM_E_NO_SPACE;
  if (how == ROAM_DISK_WRITE) {
    w->rc = ROAM_E_IO;
    tear(d, w);
  }
  if (w->rc == 0) w->rc = disk_commit(d, (roam_bytes){w->batch, w->len}, why);
  if (how == ROAM_DISK_SYNC) w->rc = ROAM_E_IO; /* written, but nobody knows whether it stays */
  return w->rc == 0;
}

static void fire_write(struct roam_world *world, struct sim_timer *timer) {
  struct sim_write *w = ROAM_CONTAINER(timer, struct sim_write, timer);
  if (w->stage == STAGE_WRITE && write_now(w) && w->disk->o.sync) {
    w->stage = STAGE_SYNC;
    roam_sim_timer_set(world, timer, latency(w->disk, w->disk->o.sync_ns));
    return;
  }
  if (w->stage == STAGE_SYNC) w->disk->synced = w->disk->len;
  answer(w);
}

static struct sim_write *make_write(struct sim_machine *m, struct sim_disk *d, const roam_wire *unit) {
  struct sim_write *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  *w = (struct sim_write){.timer = {.fire = fire_write}, .machine = m, .disk = d, .epoch = unit->credit, .len = unit->len};
  w->batch = malloc(unit->len + 1);
  if (!w->batch) {
    free(w);
    return NULL;
  }
  if (unit->len > 0) memcpy(w->batch, unit->data, unit->len);
  roam_list_init(&w->part);
  roam_list_init(&w->parts);
  w->whole = w;
  roam_list_push_back(&m->writes, &w->node);
  return w;
}

/* Puts a part to the others. What is to be written now; NULL: some are missing yet, or memory for it is. */
static struct sim_write *gather(struct sim_disk *d, struct sim_write *w, uint32_t parts) {
  ROAM_LIST_EACH(&d->gathering, node) {
    struct sim_write *whole = ROAM_CONTAINER(node, struct sim_write, part);
    if (whole->epoch != w->epoch || whole->machine->host != w->machine->host) continue;
    uint8_t *grown = realloc(whole->batch, whole->len + w->len + 1);
    if (!grown) {
      d->world->failed = ROAM_E_MEMORY;
      return NULL;
    }
    if (w->len > 0) memcpy(grown + whole->len, w->batch, w->len);
    whole->batch = grown;
    whole->len += w->len;
    w->whole = whole;
    roam_list_push_back(&whole->parts, &w->part);
    if (--whole->missing > 0) return NULL;
    roam_list_remove(&whole->part);
    return whole;
  }
  w->missing = parts - 1;
  roam_list_push_back(&d->gathering, &w->part);
  return NULL;
}

void roam_sim_disk_write(struct sim_machine *m, const roam_wire *unit) {
  struct sim_disk *d = disk_of(m->machine.store);
  struct sim_write *w = d ? make_write(m, d, unit) : NULL;
  if (!w) {
    roam_wire failed = {.kind = ROAM_WIRE_STORED, .credit = unit->credit, .error = d ? ROAM_E_MEMORY : ROAM_E_UNSUPPORTED};
    roam_sim_feed(m, &failed, NULL, NULL);
    return;
  }
  if (unit->handle > 1) w = gather(d, w, unit->handle);
  if (w) roam_sim_timer_set(d->world, &w->timer, latency(d, d->o.write_ns));
}

/* The process has died. */
void roam_sim_disk_abandon(struct sim_machine *m) {
  for (struct roam_list *node; (node = roam_list_first(&m->writes)) != NULL;) {
    struct sim_write *w = ROAM_CONTAINER(node, struct sim_write, node)->whole;
    bool begun = w->missing == 0;
    if (begun && w->stage == STAGE_WRITE && roam_random_below(&w->disk->world->rng.random, 2) == 0) tear(w->disk, w);
    free_write(w);
  }
}
