/* A loop on its own thread: the ring, its bounds, the lock. */
#include "unit/loop/toy.h"

#include <poll.h>
#include <pthread.h>

enum {
  EVENTS = 100000
};

static void wait_for(roam_thread *thread) {
  struct pollfd wait = {.fd = roam_thread_fd(thread), .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 20000), 1);
}

/* Takes `want` events, in order, sleeping on the descriptor only. */
static void take_all(roam_thread *thread, uint64_t want, uint64_t expected_tag) {
  uint64_t got = 0;
  while (got < want) {
    wait_for(thread);
    roam_event ev;
    uint64_t tag;
    while (roam_thread_take(thread, &ev, &tag) == 1) {
      assert_int_equal(ev.kind, ROAM_EV_WRITABLE);
      assert_int_equal(ev.token, got);
      assert_int_equal(tag, expected_tag);
      got++;
    }
  }
  assert_int_equal(got, want);
}

static void run_events(uint32_t ring_events, size_t ring_bytes) {
  roam_thread_options o;
  roam_thread_options_init(&o);
  o.ring_events = ring_events;
  o.ring_bytes = ring_bytes;
  roam_thread *thread = roam_thread_new(&o);
  assert_non_null(thread);
  struct toy *toy = toy_new();
  (void)roam_thread_lock(thread);
  assert_int_equal(roam_thread_add(thread, toy_machine(toy), 42), 0);
  toy->events_left = EVENTS;
  roam_thread_unlock(thread);
  take_all(thread, EVENTS, 42);
  (void)roam_thread_lock(thread);
  assert_int_equal(toy->events_left, 0);
  assert_int_equal(roam_thread_remove(thread, toy_machine(toy)), 0);
  assert_int_equal(roam_thread_remove(thread, toy_machine(toy)), ROAM_E_NOT_FOUND);
  roam_thread_unlock(thread);
  roam_thread_free(thread);
  toy_free(toy);
}

static void many_events_pass_a_large_ring(void **state) {
  (void)state;
  run_events(65536, (size_t)64 << 20);
}

static void many_events_pass_a_small_ring(void **state) {
  (void)state;
  run_events(100, (size_t)64 << 20);
}

static void many_events_pass_a_ring_of_few_bytes(void **state) {
  (void)state;
  run_events(65536, 60000);
}

/* Nobody takes: the machine keeps what the ring has no room for. */
static void full_ring_stops_the_polling(void **state) {
  (void)state;
  roam_thread_options o;
  roam_thread_options_init(&o);
  o.ring_events = 1000;
  roam_thread *thread = roam_thread_new(&o);
  assert_non_null(thread);
  struct toy *toy = toy_new();
  (void)roam_thread_lock(thread);
  assert_int_equal(roam_thread_add(thread, toy_machine(toy), 1), 0);
  toy->events_left = EVENTS;
  roam_thread_unlock(thread);
  wait_for(thread);
  uint64_t drains = 0;
  for (bool full = false; !full;) { /* until turns go by with the ring full */
    (void)roam_thread_lock(thread);
    full = toy->events_made >= 1000 && toy->drains > drains + 10;
    if (toy->events_made < 1000) drains = toy->drains;
    roam_thread_unlock(thread);
  }
  (void)roam_thread_lock(thread);
  assert_int_equal(toy->events_made, 1000);
  roam_thread_unlock(thread);
  take_all(thread, EVENTS, 1);
  roam_thread_free(thread);
  toy_free(toy);
}

struct hammer {
  roam_thread *thread;
  struct toy *toy;
  int rounds;
  roam_time last;
  bool backwards;
};

static void *strike(void *argument) {
  struct hammer *h = argument;
  for (int i = 0; i < h->rounds; i++) {
    roam_time now = roam_thread_lock(h->thread);
    if (now < h->last) h->backwards = true;
    h->last = now;
    h->toy->events_left++;
    roam_thread_unlock(h->thread);
  }
  return NULL;
}

/* The loop is never idle (its machine always has something more to send), and still others get in; every command's event
 * arrives. */
static size_t restless_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  (void)self;
  (void)now;
  out[0] = (roam_wire){.kind = ROAM_WIRE_UNBIND, .handle = 9};
  return n > 0;
}

static void lock_is_fair_to_outsiders(void **state) {
  (void)state;
  roam_machine_ops ops = toy_ops;
  ops.drain = restless_drain;
  roam_thread *thread = roam_thread_new(NULL);
  assert_non_null(thread);
  struct toy *toy = toy_new();
  (void)roam_thread_lock(thread);
  assert_int_equal(roam_thread_add(thread, (roam_machine){&ops, toy, NULL}, 5), 0);
  roam_thread_unlock(thread);
  struct hammer hammers[2];
  pthread_t threads[2];
  for (size_t i = 0; i < 2; i++) {
    hammers[i] = (struct hammer){.thread = thread, .toy = toy, .rounds = 200};
    assert_int_equal(pthread_create(&threads[i], NULL, strike, &hammers[i]), 0);
  }
  take_all(thread, 400, 5);
  for (size_t i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
    assert_false(hammers[i].backwards);
  }
  roam_thread_free(thread);
  toy_free(toy);
}

/* Commands given while the thread sleeps go out without anything else happening. */
static void unlock_wakes_the_loop(void **state) {
  (void)state;
  roam_thread *thread = roam_thread_new(NULL);
  assert_non_null(thread);
  struct toy *toy = toy_new();
  (void)roam_thread_lock(thread);
  assert_int_equal(roam_thread_add(thread, toy_machine(toy), 5), 0);
  roam_thread_unlock(thread);
  struct hammer h = {.thread = thread, .toy = toy, .rounds = 1};
  for (uint64_t i = 0; i < 2000; i++) {
    strike(&h);
    wait_for(thread);
    roam_event ev;
    uint64_t tag;
    assert_int_equal(roam_thread_take(thread, &ev, &tag), 1);
    assert_int_equal(ev.token, i);
    assert_int_equal(roam_thread_take(thread, &ev, &tag), 0);
  }
  roam_thread_free(thread);
  toy_free(toy);
}

/* Two machines in the thread exchange datagrams; the host only watches. */
static void sockets_work_on_the_thread(void **state) {
  (void)state;
  roam_thread *thread = roam_thread_new(NULL);
  assert_non_null(thread);
  struct toy *server = toy_new(), *client = toy_new();
  server->echo = true;
  (void)roam_thread_lock(thread);
  assert_int_equal(roam_thread_add(thread, toy_machine(server), 1), 0);
  assert_int_equal(roam_thread_add(thread, toy_machine(client), 2), 0);
  toy_put(server, ROAM_WIRE_BIND, 1)->local = toy_addr("127.0.0.1");
  roam_thread_unlock(thread);
  int stage = 0;
  for (int i = 0; i < 10000000 && stage < 3; i++) {
    (void)roam_thread_lock(thread);
    if (stage == 0 && server->seen_count > 0) {
      toy_put(client, ROAM_WIRE_BIND, 1)->remote = server->seen[0].unit.local;
      roam_wire *unit = toy_put(client, ROAM_WIRE_DATAGRAM, 1);
      unit->data = (const uint8_t *)"abc";
      unit->len = 3;
      stage = 1;
    }
    if (stage == 1 && client->datagrams_in == 1) stage = 3;
    roam_thread_unlock(thread);
  }
  assert_int_equal(stage, 3);
  roam_thread_free(thread);
  toy_free(server);
  toy_free(client);
}

static void bad_options_are_refused(void **state) {
  (void)state;
  roam_thread_options o;
  roam_thread_options_init(&o);
  o.ring_events = 0;
  assert_null(roam_thread_new(&o));
  roam_thread_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(many_events_pass_a_large_ring),
      cmocka_unit_test(many_events_pass_a_small_ring),
      cmocka_unit_test(many_events_pass_a_ring_of_few_bytes),
      cmocka_unit_test(full_ring_stops_the_polling),
      cmocka_unit_test(lock_is_fair_to_outsiders),
      cmocka_unit_test(unlock_wakes_the_loop),
      cmocka_unit_test(sockets_work_on_the_thread),
      cmocka_unit_test(bad_options_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
