/* scene_suite.h - one seed, one scene: a phone with two networks and a desk, a broker, faults drawn from the seed.
 *
 * The phone publishes 20 messages a second on each of two topics, the desk collects. In the first part every kind of fault
 * may strike; then the network heals, and the scene must recover: everybody connected, everything accepted delivered. */
#ifndef ROAM_TESTS_SCENE_SUITE_H
#define ROAM_TESTS_SCENE_SUITE_H

#include <roamqtt/roamqtt.h>

/* How often each thing happened, over all scenes of a run. */
struct scene_coverage {
  uint64_t scenes, rebinds, probes, immediates, blackouts, lossy, hints;
  uint64_t migrated, failed, resumed, published, delivered, repeated;
};

struct scene_result {
  char complaint[256]; /* "" = all is well */
  uint64_t hash;       /* of the trace */
  char *trace;         /* NUL-terminated; the caller frees it */
};

/* Runs the whole scene of a seed. keep_trace: copy the text of the trace into the result. */
struct scene_result scene_run(uint64_t seed, bool keep_trace, struct scene_coverage *coverage);

#endif
