/* streams_metrics.h - what was received when, and what that says about streams. */
#ifndef ROAM_BENCH_STREAMS_METRICS_H
#define ROAM_BENCH_STREAMS_METRICS_H

#include <stddef.h>

#include <roamqtt/base.h>

#include "streams_case.h"

#define STREAMS_TOPICS 8
#define STREAMS_PAYLOAD 256

struct streams_sample {
  roam_time sent, received;
  uint32_t topic; /* below STREAMS_TOPICS */
  bool spike;
};

/* In order of receipt. */
struct streams_samples {
  struct streams_sample *at;
  size_t len;
};

/* Fills in latencies, spread, isolation and spikes. */
void streams_judge(struct streams_samples *samples, struct streams_result *r);

#endif
