/* store_seeds_test.c - brokers with a disk, killed at random moments: what they acknowledged is there.
 *
 * ROAM_SEEDS: how many (100). ROAM_SEED_FIRST: the first (1). ROAM_SEED: this one alone, with its trace on standard output;
 * ROAM_SEVERAL with it: with several workers.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/store_suite.h"

static uint64_t number_from(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void print_coverage(const struct store_coverage *c) {
  printf("scenes %" PRIu64 " (quic %" PRIu64 "): kills %" PRIu64 ", power cuts %" PRIu64 ", disk full %" PRIu64
         ", failed writes %" PRIu64 ", failed syncs %" PRIu64 "; restarts %" PRIu64 ", commits %" PRIu64
         ", workers %" PRIu64 ", letters %" PRIu64 "; acknowledged %" PRIu64 ", delivered %" PRIu64 " (repeated %" PRIu64
         "), wills %" PRIu64 "\n",
         c->scenes, c->quic, c->kills, c->power_cuts, c->full, c->write_failures, c->sync_failures, c->restarts, c->commits,
         c->workers, c->letters, c->acknowledged, c->delivered, c->repeated, c->wills);
}

static void run(bool several) {
  struct store_coverage coverage = {0};
  uint64_t first = number_from("ROAM_SEED_FIRST", 1), count = number_from("ROAM_SEEDS", 100);
  unsigned failures = 0;
  for (uint64_t seed = first; seed < first + count; seed++) {
    struct store_result r = store_scene_run(seed, several, false, &coverage);
    if (r.complaint[0] == '\0') continue;
    failures++;
    printf("seed=%" PRIu64 " %s; again: %sROAM_SEED=%" PRIu64 " sim_store_seeds_test\n", seed, r.complaint,
           several ? "ROAM_SEVERAL=1 " : "", seed);
  }
  print_coverage(&coverage);
  assert_int_equal(failures, 0);
  assert_true(coverage.acknowledged > 0 && coverage.delivered > 0 && coverage.kills > 0 && coverage.power_cuts > 0);
  assert_true(!several || (coverage.letters > 0 && coverage.workers > coverage.restarts));
}

static void nothing_acknowledged_is_lost(void **state) {
  (void)state;
  run(false);
}

/* One to four of them, and another number after each restart. */
static void nor_is_it_with_several_workers(void **state) {
  (void)state;
  run(true);
}

int main(void) {
  if (getenv("ROAM_SEED") != NULL) {
    struct store_result r = store_scene_run(number_from("ROAM_SEED", 1), getenv("ROAM_SEVERAL") != NULL, true, NULL);
    printf("%s%s\n", r.trace, r.complaint[0] ? r.complaint : "all is well");
    free(r.trace);
    return r.complaint[0] != '\0';
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_acknowledged_is_lost),
                                     cmocka_unit_test(nor_is_it_with_several_workers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
