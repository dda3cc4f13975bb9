/* writer_test.c - a machine's batches reach its store in order, on another thread, and what became of them comes back. */
#include "loop/driver.h"
#include "toy.h"

#include <pthread.h>

struct spy {
  roam_store store;
  pthread_mutex_t mutex;
  pthread_cond_t freed;
  bool blocked;
  roam_rc fail, sync_fail;
  uint32_t commits, syncs;
  uint8_t firsts[64];
  pthread_t thread;
};

static roam_rc spy_scan(void *self, roam_store_visit visit, void *context, char why[ROAM_STORE_WHY_MAX]) {
  (void)self, (void)visit, (void)context, (void)why;
  return 0;
}

static roam_rc spy_commit(void *self, roam_bytes batch, char why[ROAM_STORE_WHY_MAX]) {
  struct spy *s = self;
  pthread_mutex_lock(&s->mutex);
  while (s->blocked) pthread_cond_wait(&s->freed, &s->mutex);
  s->thread = pthread_self();
  if (s->commits < 64) s->firsts[s->commits] = batch.base[0];
  s->commits++;
  roam_rc rc = s->fail;
  pthread_mutex_unlock(&s->mutex);
  if (rc != 0) strcpy(why, "the spy says no");
  return rc;
}

static roam_rc spy_sync(void *self, char why[ROAM_STORE_WHY_MAX]) {
  struct spy *s = self;
  pthread_mutex_lock(&s->mutex);
  s->syncs++;
  roam_rc rc = s->sync_fail;
  pthread_mutex_unlock(&s->mutex);
  if (rc != 0) strcpy(why, "the spy cannot sync");
  return rc;
}

static void spy_free(void *self) { (void)self; }

static void spy_init(struct spy *s, uint64_t interval_ns) {
  static const roam_store_ops ops = {spy_scan, spy_commit, spy_sync, spy_free};
  *s = (struct spy){.store = {&ops, interval_ns}};
  pthread_mutex_init(&s->mutex, NULL);
  pthread_cond_init(&s->freed, NULL);
}

static void spy_release(struct spy *s) {
  pthread_mutex_lock(&s->mutex);
  s->blocked = false;
  pthread_cond_broadcast(&s->freed);
  pthread_mutex_unlock(&s->mutex);
}

static void put(struct toy *t, uint64_t epoch, uint8_t *first) {
  roam_wire *unit = toy_put(t, ROAM_WIRE_STORE, 0);
  unit->credit = epoch;
  unit->data = first;
  unit->len = 1;
}

static roam_loop *run(struct toy *t, struct spy *s) {
  roam_loop *loop = roam_loop_new(NULL);
  roam_machine machine = toy_machine(t);
  machine.store = &s->store;
  assert_non_null(loop);
  assert_int_equal(roam_loop_add(loop, machine, NULL, NULL), 0);
  return loop;
}

static void in_order(void **state) {
  (void)state;
  struct spy spy;
  struct toy *t = toy_new();
  uint8_t bytes[5] = {10, 11, 12, 13, 14};
  spy_init(&spy, 0);
  roam_loop *loop = run(t, &spy);
  for (uint64_t i = 0; i < 5; i++) put(t, i + 1, &bytes[i]);
  TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 5);
  size_t at = 0;
  for (uint64_t i = 0; i < 5; i++) {
    struct toy_seen *seen = toy_find(t, ROAM_WIRE_STORED, at);
    at = (size_t)(seen - t->seen) + 1;
    assert_true(seen->unit.credit == i + 1 && seen->unit.error == 0);
    assert_int_equal(spy.firsts[i], 10 + i);
  }
  assert_false(pthread_equal(spy.thread, pthread_self()));
  assert_int_equal(spy.syncs, 0);
  roam_loop_free(loop);
  toy_free(t);
}

/* The loop goes on while the disk is asleep; too many batches at once are refused; all that was taken is finished. */
static void nobody_waits(void **state) {
  (void)state;
  struct spy spy;
  struct toy *t = toy_new();
  uint8_t byte = 1;
  spy_init(&spy, 0);
  spy.blocked = true;
  roam_loop *loop = run(t, &spy);
  for (uint64_t i = 0; i < 70; i++) put(t, i + 1, &byte);
  TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 6);
  assert_int_equal(toy_find(t, ROAM_WIRE_STORED, 0)->unit.error, ROAM_E_LIMIT);
  spy_release(&spy);
  roam_machine machine = toy_machine(t);
  assert_int_equal(roam_loop_remove(loop, machine), 0);
  assert_int_equal(spy.commits, 64);
  roam_loop_free(loop);
  toy_free(t);
}

static void failures_come_back(void **state) {
  (void)state;
  struct spy spy;
  struct toy *t = toy_new();
  uint8_t byte = 1;
  spy_init(&spy, 0);
  spy.fail = ROAM_E_NO_SPACE;
  roam_loop *loop = run(t, &spy);
  put(t, 1, &byte);
  TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 1);
  assert_int_equal(toy_find(t, ROAM_WIRE_STORED, 0)->unit.error, ROAM_E_NO_SPACE);
  roam_loop_free(loop);
  toy_free(t);
}

static uint32_t count_syncs(struct spy *s) {
  pthread_mutex_lock(&s->mutex);
  uint32_t n = s->syncs;
  pthread_mutex_unlock(&s->mutex);
  return n;
}

/* Once in the interval, and at the end what is left. */
static void syncs(void **state) {
  (void)state;
  const uint64_t intervals[] = {ROAM_MS, 3600 * ROAM_S};
  for (int i = 0; i < 2; i++) {
    struct spy spy;
    struct toy *t = toy_new();
    uint8_t byte = 1;
    spy_init(&spy, intervals[i]);
    roam_loop *loop = run(t, &spy);
    put(t, 1, &byte);
    TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 1);
    if (i == 0) TOY_UNTIL(loop, count_syncs(&spy) > 0);
    else assert_int_equal(count_syncs(&spy), 0);
    roam_loop_free(loop);
    assert_int_equal(spy.syncs, 1);
    toy_free(t);
  }
}

/* Never again after it has failed, not even when the disk has room again. */
static void a_failed_sync_is_final(void **state) {
  (void)state;
  struct spy spy;
  struct toy *t = toy_new();
  uint8_t byte = 1;
  spy_init(&spy, ROAM_MS);
  spy.sync_fail = ROAM_E_NO_SPACE;
  roam_loop *loop = run(t, &spy);
  put(t, 1, &byte);
  TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 1);
  assert_int_equal(toy_find(t, ROAM_WIRE_STORED, 0)->unit.error, 0);
  TOY_UNTIL(loop, count_syncs(&spy) == 1);
  put(t, 2, &byte);
  TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 2);
  struct toy_seen *second = toy_find(t, ROAM_WIRE_STORED, (size_t)(toy_find(t, ROAM_WIRE_STORED, 0) - t->seen) + 1);
  assert_int_equal(second->unit.error, ROAM_E_IO);
  roam_loop_free(loop);
  toy_free(t);
}

static void without_a_store(void **state) {
  (void)state;
  struct toy *t = toy_new();
  uint8_t byte = 1;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  assert_int_equal(roam_loop_add(loop, toy_machine(t), NULL, NULL), 0);
  put(t, 7, &byte);
  TOY_UNTIL(loop, toy_count(t, ROAM_WIRE_STORED) == 1);
  assert_int_equal(toy_find(t, ROAM_WIRE_STORED, 0)->unit.error, ROAM_E_UNSUPPORTED);
  roam_loop_free(loop);
  toy_free(t);
}

/* Two machines, one store: nothing is written before both parts are there, and both hear of it. */
static void parts_are_one_commit(void **state) {
  (void)state;
  struct spy spy, other;
  struct toy *toys[3] = {toy_new(), toy_new(), toy_new()};
  uint8_t bytes[4] = {1, 2, 3, 4};
  spy_init(&spy, 0);
  spy_init(&other, 0);
  roam_post *post = roam_post_new(3, NULL);
  roam_loop *loops[3];
  for (uint32_t i = 0; i < 3; i++) {
    loops[i] = run(toys[i], i < 2 ? &spy : &other);
    roam_machine machine = toy_machine(toys[i]);
    machine.store = i < 2 ? &spy.store : &other.store;
    assert_int_equal(roam_loop_seat(loops[i], machine, post, i), i < 2 ? 0 : ROAM_E_MEMORY);
    assert_int_equal(roam_loop_seat(loops[0], toy_machine(toys[0]), post, 2), ROAM_E_STATE);
  }
  for (uint32_t i = 0; i < 2; i++) {
    put(toys[i], 7, &bytes[i]);
    toys[i]->out[toys[i]->out_count - 1].handle = 2;
    for (int k = 0; k < 20; k++) roam_loop_step(loops[i], ROAM_MS);
    if (i == 0) assert_int_equal(spy.commits, 0);
  }
  for (uint32_t i = 0; i < 2; i++) {
    TOY_UNTIL(loops[i], toy_count(toys[i], ROAM_WIRE_STORED) == 1);
    assert_true(toy_find(toys[i], ROAM_WIRE_STORED, 0)->unit.credit == 7);
  }
  assert_int_equal(spy.commits, 1);
  put(toys[0], 8, &bytes[2]); /* the other one goes before its part has come */
  toys[0]->out[toys[0]->out_count - 1].handle = 2;
  roam_loop_step(loops[0], ROAM_MS);
  for (uint32_t i = 0; i < 3; i++) roam_loop_free(loops[i]);
  assert_int_equal(spy.commits, 1);
  roam_post_free(post);
  for (uint32_t i = 0; i < 3; i++) toy_free(toys[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parts_are_one_commit), cmocka_unit_test(in_order), cmocka_unit_test(nobody_waits),
      cmocka_unit_test(failures_come_back),   cmocka_unit_test(syncs),    cmocka_unit_test(a_failed_sync_is_final),
      cmocka_unit_test(without_a_store),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
