/* The system's chance: never the same twice, not even across a fork or between threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <roamqtt/loop.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"

static void draws_differ(void **state) {
  (void)state;
  uint64_t seen[200];
  for (size_t i = 0; i < 200; i++) {
    seen[i] = roam_random_u64(roam_random_system());
    for (size_t k = 0; k < i; k++) assert_true(seen[k] != seen[i]);
  }
  uint8_t large[2][1000];
  roam_random_fill(roam_random_system(), large[0], 1000);
  roam_random_fill(roam_random_system(), large[1], 1000);
  assert_memory_not_equal(large[0], large[1], 1000);
  assert_false(roam_random_system()->simulated);
}

static void a_fork_draws_its_own(void **state) {
  (void)state;
  int ends[2];
  uint64_t ours, theirs;
  (void)roam_random_u64(roam_random_system()); /* the pool is full of bytes both would have */
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    uint64_t drawn = roam_random_u64(roam_random_system());
    _exit(write(ends[1], &drawn, sizeof drawn) == sizeof drawn ? 0 : 1);
  }
  ours = roam_random_u64(roam_random_system());
  assert_int_equal(read(ends[0], &theirs, sizeof theirs), sizeof theirs);
  assert_true(ours != theirs);
  assert_int_equal(waitpid(child, NULL, 0), child);
  close(ends[0]);
  close(ends[1]);
}

static void *draw(void *out) {
  roam_random_fill(roam_random_system(), out, 16);
  return NULL;
}

static void threads_draw_their_own(void **state) {
  (void)state;
  uint8_t drawn[4][16];
  pthread_t threads[4];
  for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, draw, drawn[i]), 0);
  for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  for (size_t i = 1; i < 4; i++) assert_memory_not_equal(drawn[0], drawn[i], 16);
}

static void wall_clock_is_of_this_century(void **state) {
  (void)state;
  assert_true(roam_wall_unix_s() > 1700000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(draws_differ),
      cmocka_unit_test(a_fork_draws_its_own),
      cmocka_unit_test(threads_draw_their_own),
      cmocka_unit_test(wall_clock_is_of_this_century),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
