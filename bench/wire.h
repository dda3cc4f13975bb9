/* wire.h - two network namespaces of this process's own making and the wire between them: real kernels at both ends, and
 * our delay and loss hops in user space between. What TCP does is then the kernel's doing; what the path does is a hop's,
 * the same as in the world.
 *
 *   near (10.99.0.2) === TUN === hops === TUN === far (10.99.0.1)
 *
 * Needs the right to make network namespaces and /dev/net/tun. Nothing outside the namespaces is touched or reached, and
 * they end with the processes in them. */
#ifndef ROAM_BENCH_WIRE_H
#define ROAM_BENCH_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_FAR "10.99.0.1"
#define WIRE_NEAR "10.99.0.2"

struct wire_options {
  uint64_t delay_ns; /* one way */
  uint32_t loss_ppm; /* each way, from the time wire_lossy says so */
  uint64_t seed;
};

struct wire_stats {
  uint64_t passed[2], dropped[2]; /* towards far, towards near */
  char congestion[16];            /* what the kernel's TCP uses in the namespaces */
};

/* Both ends are functions in processes of their own; `shared` is memory that both and the caller see. An end returns its
 * exit code: near's return ends the run, and far is ended then. */
typedef int (*wire_end)(void *shared);

/* False: *why (static storage) says what is not allowed here, or which end failed. */
bool wire_run(const struct wire_options *o, wire_end far, wire_end near, void *shared, volatile bool *lossy,
              uint64_t limit_ns, struct wire_stats *stats, const char **why);

#endif
