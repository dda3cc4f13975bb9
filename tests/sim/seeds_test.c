/* seeds_test.c - scenes drawn from seeds: with all faults on nothing wrong may be delivered; once they stop everything must
 * recover.
 *
 * ROAM_SEEDS: how many (50). ROAM_SEED_FIRST: the first (1). ROAM_SEED: this one alone, with its trace on standard output.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/scene_suite.h"

static uint64_t number_from(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void print_coverage(const struct scene_coverage *c) {
  printf("scenes %" PRIu64 ": rebinds %" PRIu64 ", probes %" PRIu64 ", immediate migrations %" PRIu64 ", blackouts %" PRIu64
         ", lossy %" PRIu64 ", hints %" PRIu64 "; migrated %" PRIu64 ", failed %" PRIu64 ", resumed %" PRIu64
         "; published %" PRIu64 ", delivered %" PRIu64 " (repeated %" PRIu64 ")\n",
         c->scenes, c->rebinds, c->probes, c->immediates, c->blackouts, c->lossy, c->hints, c->migrated, c->failed,
         c->resumed, c->published, c->delivered, c->repeated);
}

static void every_scene_recovers(void **state) {
  (void)state;
  struct scene_coverage coverage = {0};
  uint64_t first = number_from("ROAM_SEED_FIRST", 1), count = number_from("ROAM_SEEDS", 50);
  unsigned failures = 0;
  for (uint64_t seed = first; seed < first + count; seed++) {
    struct scene_result r = scene_run(seed, false, &coverage);
    if (r.complaint[0] == '\0') continue;
    failures++;
    printf("seed=%" PRIu64 " %s; again: ROAM_SEED=%" PRIu64 " sim_seeds_test\n", seed, r.complaint, seed);
  }
  print_coverage(&coverage);
  assert_int_equal(failures, 0);
  assert_true(coverage.delivered > 0);
}

int main(void) {
  if (getenv("ROAM_SEED") != NULL) {
    struct scene_result r = scene_run(number_from("ROAM_SEED", 1), true, NULL);
    printf("%s%s\n", r.trace, r.complaint[0] ? r.complaint : "all is well");
    free(r.trace);
    return r.complaint[0] != '\0';
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_scene_recovers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
