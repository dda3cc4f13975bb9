/* The loop itself: machines in and out, deadlines, sinks, foreign descriptors, names. */
#include "unit/loop/toy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/rng.h"

static void simulated_chance_is_refused(void **state) {
  (void)state;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  struct toy *toy = toy_new();
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  rng.random.simulated = true;
  roam_machine machine = toy_machine(toy);
  machine.random = &rng.random;
  assert_int_equal(roam_loop_add(loop, machine, NULL, NULL), ROAM_E_ARGUMENT);
  machine.random = roam_random_system();
  assert_int_equal(roam_loop_add(loop, machine, NULL, NULL), 0);
  assert_int_equal(roam_loop_add(loop, machine, NULL, NULL), ROAM_E_STATE);
  roam_loop_free(loop);
  toy_free(toy);
}

static void machines_are_bounded(void **state) {
  (void)state;
  roam_loop_options o;
  roam_loop_options_init(&o);
  o.machines_max = 1;
  roam_loop *loop = roam_loop_new(&o);
  assert_non_null(loop);
  struct toy *a = toy_new(), *b = toy_new();
  assert_int_equal(roam_loop_add(loop, toy_machine(a), NULL, NULL), 0);
  assert_int_equal(roam_loop_add(loop, toy_machine(b), NULL, NULL), ROAM_E_LIMIT);
  assert_int_equal(roam_loop_remove(loop, toy_machine(a)), 0);
  assert_int_equal(roam_loop_add(loop, toy_machine(b), NULL, NULL), 0);
  roam_loop_free(loop);
  toy_free(a);
  toy_free(b);
}

static void bad_options_are_refused(void **state) {
  (void)state;
  roam_loop_options o;
  roam_loop_options_init(&o);
  o.datagram_batch = 65;
  assert_null(roam_loop_new(&o));
  assert_int_equal(errno, EINVAL);
  roam_loop_options_init(&o);
  o.machines_max = 0;
  assert_null(roam_loop_new(&o));
}

static void deadline_ticks_and_shows_on_the_descriptor(void **state) {
  (void)state;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  struct toy *toy = toy_new();
  assert_int_equal(roam_loop_add(loop, toy_machine(toy), NULL, NULL), 0);
  assert_int_equal(roam_loop_step(loop, 0), 0);
  assert_int_equal(toy->ticks, 0);
  assert_true(roam_loop_timeout(loop) == ROAM_NEVER);
  toy->at = roam_loop_now(loop) + 20 * ROAM_MS;
  assert_true(roam_loop_timeout(loop) <= 20 * ROAM_MS);
  assert_int_equal(roam_loop_step(loop, 0), 0);
  struct pollfd wait = {.fd = roam_loop_fd(loop), .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 10000), 1);
  for (int i = 0; i < 100 && toy->ticks == 0; i++) roam_loop_step(loop, ROAM_MS);
  assert_int_equal(toy->ticks, 1);
  assert_true(roam_loop_timeout(loop) == ROAM_NEVER);
  assert_int_equal(poll(&wait, 1, 0), 0);
  roam_loop_free(loop);
  toy_free(toy);
}

struct chain {
  struct toy *next;
  size_t events, batches;
};

static void pass_on(void *context, const roam_event ev[], size_t n) {
  struct chain *chain = context;
  (void)ev;
  chain->events += n;
  chain->batches++;
  if (chain->next) chain->next->events_left += n;
}

/* A sink that gives commands to another machine: they are carried out in the same step. */
static void events_go_to_sinks_in_batches(void **state) {
  (void)state;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  struct toy *a = toy_new(), *b = toy_new();
  struct chain second = {0}, first = {.next = b};
  assert_int_equal(roam_loop_add(loop, toy_machine(b), pass_on, &second), 0);
  assert_int_equal(roam_loop_add(loop, toy_machine(a), pass_on, &first), 0);
  a->events_left = 1000;
  assert_int_equal(roam_loop_step(loop, 0), 1);
  assert_int_equal(first.events, 1000);
  assert_int_equal(first.batches, 2);
  assert_int_equal(second.events, 1000);
  roam_loop_free(loop);
  toy_free(a);
  toy_free(b);
}

static void wake_ends_a_wait(void **state) {
  (void)state;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  roam_loop_wake(loop);
  assert_int_equal(roam_loop_step(loop, ROAM_NEVER), 0); /* would never return */
  struct pollfd wait = {.fd = roam_loop_fd(loop), .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 0), 0);
  roam_loop_wake(loop);
  assert_int_equal(poll(&wait, 1, 0), 1);
  roam_loop_free(loop);
}

struct foreign {
  roam_loop *loop;
  int fd, calls, bytes;
  roam_time next;
  bool leave;
};

static roam_time foreign_step(void *context, roam_time now) {
  struct foreign *f = context;
  char bytes[16];
  assert_true(now > 0);
  f->calls++;
  ssize_t got = read(f->fd, bytes, sizeof bytes);
  if (got > 0) f->bytes += (int)got;
  if (f->leave) assert_int_equal(roam_loop_remove_fd(f->loop, f->fd), 0);
  return f->next;
}

static void foreign_descriptors_are_called(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  struct foreign f = {.loop = loop, .fd = ends[0], .next = ROAM_NEVER};
  assert_int_equal(roam_loop_add_fd(loop, ends[0], foreign_step, &f), 0);
  assert_int_equal(roam_loop_add_fd(loop, ends[0], foreign_step, &f), ROAM_E_STATE);
  TOY_UNTIL(loop, f.calls == 1); /* once at first, to learn its time */
  assert_int_equal(roam_loop_step(loop, 0), 0);
  assert_int_equal(f.calls, 1);
  f.next = roam_loop_now(loop) + 5 * ROAM_MS;
  assert_int_equal(write(ends[1], "abc", 3), 3);
  TOY_UNTIL(loop, f.bytes == 3);
  f.next = ROAM_NEVER;
  TOY_UNTIL(loop, f.calls == 3);
  f.leave = true;
  assert_int_equal(write(ends[1], "d", 1), 1);
  TOY_UNTIL(loop, f.bytes == 4);
  assert_int_equal(roam_loop_remove_fd(loop, ends[0]), ROAM_E_NOT_FOUND);
  assert_int_equal(write(ends[1], "e", 1), 1);
  assert_int_equal(roam_loop_step(loop, 0), 0);
  assert_int_equal(f.bytes, 4);
  roam_loop_free(loop);
  close(ends[0]);
  close(ends[1]);
}

static void names_are_resolved(void **state) {
  (void)state;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  struct toy *toy = toy_new();
  assert_int_equal(roam_loop_add(loop, toy_machine(toy), NULL, NULL), 0);
  static const char *const names[] = {"localhost", "127.0.10.7", "broker.invalid", "::1"};
  for (uint32_t i = 0; i < 4; i++) {
    roam_wire *unit = toy_put(toy, ROAM_WIRE_RESOLVE, 100 + i);
    unit->name = names[i];
    unit->local.port = 1883;
  }
  TOY_UNTIL(loop, toy_count(toy, ROAM_WIRE_RESOLVED) == 4);
  for (uint32_t i = 0; i < 4; i++) assert_int_equal(toy->seen[i].unit.handle, 100 + i);
  assert_true(toy->seen[0].unit.addrs_len >= 1);
  assert_int_equal(toy->seen[1].unit.addrs_len, 1);
  assert_int_equal(toy->seen[2].unit.addrs_len, 0);
  assert_int_equal(toy->seen[3].unit.addrs_len, 1);
  roam_loop_free(loop);
  toy_free(toy);
}

/* More questions than the resolver takes: every one is answered, the surplus with nothing. */
static void questions_are_bounded(void **state) {
  (void)state;
  roam_loop *loop = roam_loop_new(NULL);
  assert_non_null(loop);
  struct toy *toy = toy_new();
  assert_int_equal(roam_loop_add(loop, toy_machine(toy), NULL, NULL), 0);
  for (uint32_t i = 0; i < 600; i++) toy_put(toy, ROAM_WIRE_RESOLVE, i)->name = "127.0.0.1";
  TOY_UNTIL(loop, toy_count(toy, ROAM_WIRE_RESOLVED) == 600);
  size_t known = 0;
  for (size_t i = 0; i < 600; i++) known += toy->seen[i].unit.addrs_len == 1;
  assert_true(known >= 256);
  toy_put(toy, ROAM_WIRE_RESOLVE, 1)->name = "127.0.0.1";
  assert_int_equal(roam_loop_remove(loop, toy_machine(toy)), 0); /* the answer finds nobody */
  for (int i = 0; i < 5; i++) assert_true(roam_loop_step(loop, 10 * ROAM_MS) >= 0);
  roam_loop_free(loop);
  toy_free(toy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(simulated_chance_is_refused),    cmocka_unit_test(machines_are_bounded),
      cmocka_unit_test(bad_options_are_refused),        cmocka_unit_test(deadline_ticks_and_shows_on_the_descriptor),
      cmocka_unit_test(events_go_to_sinks_in_batches),  cmocka_unit_test(wake_ends_a_wait),
      cmocka_unit_test(foreign_descriptors_are_called), cmocka_unit_test(names_are_resolved),
      cmocka_unit_test(questions_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
