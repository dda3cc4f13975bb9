/* roam_seeds_test.c - random schedules of what networks do to a phone: the session survives or resumes, QoS 1 at least once,
 * QoS 2 exactly once, order kept, and once the network heals the phone is connected and everything has arrived.
 *
 * ROAM_SEEDS: how many (60). ROAM_SEED_FIRST: the first (1). ROAM_SEED: this one alone, with its trace on standard output. With
 * 1000 or more each kind of event and each outcome must have come up at least 50 times. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/roam_scene_suite.h"

static uint64_t number_from(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static unsigned print_coverage(const struct roam_scene_coverage *c) {
  const struct {
    const char *name;
    uint64_t count;
  } rows[] = {
      {"rebinds", c->rebinds},       {"probes by command", c->probes_asked}, {"immediates by command", c->immediates_asked},
      {"returns", c->returns_asked}, {"interfaces down, told", c->downs_told}, {"interfaces down, untold", c->downs_untold},
      {"blackouts", c->blackouts},   {"loss", c->losses},                    {"UDP blocked", c->blocks},
      {"wakes", c->wakes},
      {"hints", c->hints},           {"-> probed", c->probed},               {"-> immediate", c->immediate},
      {"-> failed", c->failed},      {"-> resumed", c->resumed},
      {"-> fallen back", c->fallen_back}, {"-> climbed back", c->climbed},
  };
  unsigned rare = 0;
  printf("schedules %" PRIu64 ", published %" PRIu64 ", delivered %" PRIu64 " (repeated %" PRIu64 ")\n", c->scenes,
         c->published, c->delivered, c->repeated);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    printf("  %-26s %6" PRIu64 "\n", rows[i].name, rows[i].count);
    rare += rows[i].count < 50;
  }
  return rare;
}

static void every_schedule_recovers(void **state) {
  (void)state;
  struct roam_scene_coverage coverage = {0};
  uint64_t first = number_from("ROAM_SEED_FIRST", 1), count = number_from("ROAM_SEEDS", 60);
  unsigned failures = 0;
  for (uint64_t seed = first; seed < first + count; seed++) {
    struct roam_scene_result r = roam_scene_run(seed, 0, &coverage);
    if (r.complaint[0] == '\0') continue;
    failures++;
    printf("seed=%" PRIu64 " %s; again: ROAM_SEED=%" PRIu64 " sim_roam_seeds_test\n", seed, r.complaint, seed);
  }
  unsigned rare = print_coverage(&coverage);
  assert_int_equal(failures, 0);
  assert_true(coverage.delivered > 0);
  if (count >= 1000) assert_int_equal(rare, 0);
}

int main(void) {
  if (getenv("ROAM_SEED") != NULL) {
    struct roam_scene_result r = roam_scene_run(number_from("ROAM_SEED", 1), 1, NULL);
    printf("%s\n", r.complaint[0] ? r.complaint : "all is well");
    return r.complaint[0] != '\0';
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_schedule_recovers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
