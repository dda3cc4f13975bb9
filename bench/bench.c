/* bench.c - `roamqtt-bench KIND ...`: which bench is meant. Measures nothing. */
#include <stdio.h>
#include <string.h>

#include "idle.h"
#include "loss.h"
#include "setup.h"
#include "rates.h"
#include "roam.h"
#include "store.h"
#include "streams.h"

static const struct kind {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *meaning;
} kinds[] = {
    {"mqtt", bench_mqtt, "messages a second over TCP, beside Debian's mosquitto"},
    {"quic", bench_quic, "the same over TCP, TLS and QUIC: one stream, a stream for each topic, datagrams"},
    {"roam", roam_bench_main, "how long delivery pauses when the network changes"},
    {"store", bench_store, "acknowledged QoS 1 messages a second with a durable store, beside mosquitto's persistence"},
    {"streams", streams_bench_main,
     "head-of-line blocking by mapping to streams: in the world, and TCP and QUIC on the kernel"},
    {"setup", bench_setup, "connections from the first packet to CONNACK: full, resumed, early data; TLS beside mosquitto"},
    {"loss", bench_loss, "memory of broker, sender and receiver at full rate on a path that loses packets"},
    {"idle", bench_idle, "memory of each idle QUIC connection; all of them moved to other addresses"},
};

static int usage(void) {
  fprintf(stderr, "Usage: roamqtt-bench [KIND] [options]; KIND --help lists its options\n");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) fprintf(stderr, "  %-6s %s\n", kinds[i].name, kinds[i].meaning);
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 2 || argv[1][0] == '-')
    return argc > 1 && strcmp(argv[1], "--help") == 0 ? usage() : bench_mqtt(argc - 1, argv + 1);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(argv[1], kinds[i].name) == 0) return kinds[i].run(argc - 2, argv + 2);
  return usage();
}
