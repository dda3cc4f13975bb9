/* roam_scene_suite.h - one seed, one schedule of what networks do to a roaming phone: rebinds, migrations by command, returns,
 * interfaces that go and come (told or not), blackouts, loss, UDP blocked, suspends. The phone decides where it stands. */
#ifndef ROAM_TESTS_ROAM_SCENE_SUITE_H
#define ROAM_TESTS_ROAM_SCENE_SUITE_H

#include <stdint.h>

/* How often each thing happened, over all schedules of a run. */
struct roam_scene_coverage {
  uint64_t scenes;
  uint64_t rebinds, probes_asked, immediates_asked, returns_asked, downs_told, downs_untold, blackouts, losses, blocks, wakes,
      hints; /* events */
  uint64_t probed, immediate, failed, resumed, fallen_back, climbed; /* outcomes */
  uint64_t published, delivered, repeated;
};

/* "" when all was well, else what was not. */
struct roam_scene_result {
  char complaint[256];
};

struct roam_scene_result roam_scene_run(uint64_t seed, int print_trace, struct roam_scene_coverage *coverage);

#endif
