/* determinism_test.c - the same seed gives the same trace (time, path, size, event), byte for byte: twice in one process,
 * and in two. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim/scene_suite.h"

enum {
  SEEDS = 6
};

static void twice_in_one_process(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    struct scene_result a = scene_run(seed, true, NULL), b = scene_run(seed, true, NULL);
    assert_true(strlen(a.trace) > 10000);
    assert_string_equal(a.trace, b.trace);
    assert_true(a.hash == b.hash);
    free(a.trace);
    free(b.trace);
  }
}

static void once_more_in_another_process(void **state) {
  (void)state;
  char self[512], command[640];
  ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(len > 0);
  self[len] = '\0';
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    struct scene_result here = scene_run(seed, true, NULL);
    snprintf(command, sizeof command, "ROAM_SCENE_SEED=%" PRIu64 " '%s'", seed, self);
    FILE *there = popen(command, "r");
    assert_non_null(there);
    size_t size = strlen(here.trace);
    char *text = calloc(1, size + 2);
    size_t got = fread(text, 1, size + 1, there);
    assert_int_equal(pclose(there), 0);
    assert_int_equal(got, size);
    assert_string_equal(text, here.trace);
    free(text);
    free(here.trace);
  }
}

static void another_seed_is_another_story(void **state) {
  (void)state;
  assert_true(scene_run(1, false, NULL).hash != scene_run(2, false, NULL).hash);
}

static int print_trace(uint64_t seed) {
  struct scene_result r = scene_run(seed, true, NULL);
  fputs(r.trace, stdout);
  free(r.trace);
  return 0;
}

int main(void) {
  const char *seed = getenv("ROAM_SCENE_SEED");
  if (seed != NULL) return print_trace(strtoull(seed, NULL, 10));
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(twice_in_one_process),
      cmocka_unit_test(once_more_in_another_process),
      cmocka_unit_test(another_seed_is_another_story),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
