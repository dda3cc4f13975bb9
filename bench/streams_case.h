/* streams_case.h - one row of the table: a publisher with 8 topics, a broker behind a lossy link, one subscriber, in the
 * world.
 *
 * Measured as the literature does (Evaluating Stream Mapping Strategies for MQTT over QUIC, 2026): from topic, time of
 * sending and time of receipt of each message, the latency, the inter-topic spread and the spike isolation. */
#ifndef ROAM_BENCH_STREAMS_CASE_H
#define ROAM_BENCH_STREAMS_CASE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum streams_mapping {
  STREAMS_ONE,
  STREAMS_PER_TOPIC,
  STREAMS_PER_TOPIC_ALONE, /* one stream in each packet */
  STREAMS_PER_MESSAGE,     /* towards the broker; deliveries come on one stream, as the rules of ALPN mqtt have it */
  STREAMS_DATAGRAM,
  STREAMS_MAPPINGS
} streams_mapping;

struct streams_case {
  streams_mapping mapping;
  uint32_t loss_ppm;
  uint64_t rtt_ns, duration_ns;
  uint32_t rate; /* messages a second, over all topics */
  uint64_t seed;
};

struct streams_result {
  bool ok; /* everything was delivered (datagrams: everything that was not lost on the way) */
  uint32_t sent, received;
  double p50_ms, p95_ms, p99_ms;
  double spread_ms, spread_p95_ms, spread_max_ms; /* over windows of 100 ms in which all topics had a message */
  double isolation; /* share of spikes with one of another topic within 10 ms; 0 without any */
  uint32_t spikes;
  uint32_t dropped; /* on the kernel: packets the path lost */
};

const char *streams_mapping_name(streams_mapping mapping);
void streams_case_run(const struct streams_case *c, struct streams_result *r);

#endif
