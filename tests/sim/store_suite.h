/* store_suite.h - one seed, one broker with a disk that dies at random moments: by kill -9, by a power cut, or because its
 * disk fails at some step. Clients go on publishing QoS 1, QoS 2 and retained messages, one of them dies with a will.
 *
 * Nothing that was acknowledged may be lost, no QoS 2 message come twice, no session be forgotten. */
#ifndef ROAM_TESTS_STORE_SUITE_H
#define ROAM_TESTS_STORE_SUITE_H

#include <roamqtt/roamqtt.h>

struct store_coverage {
  uint64_t scenes, kills, power_cuts, full, write_failures, sync_failures, restarts, quic;
  uint64_t acknowledged, delivered, repeated, wills, commits;
  uint64_t workers, letters; /* of all starts together */
};

struct store_result {
  char complaint[256]; /* "" = all is well */
  char *trace;         /* NUL-terminated; the caller frees it */
};

/* several: the number of workers is drawn at each start, 1 to 4. */
struct store_result store_scene_run(uint64_t seed, bool several, bool keep_trace, struct store_coverage *coverage);

#endif
