/* streams_kernel.h - a row of the table on the kernel's own TCP and UDP. */
#ifndef ROAM_BENCH_STREAMS_KERNEL_H
#define ROAM_BENCH_STREAMS_KERNEL_H

#include "streams_case.h"

/* mapping: ONE or PER_TOPIC; tcp: over TCP, where all is one. False: *why says what is not allowed here or went wrong. */
bool streams_kernel_run(const struct streams_case *c, bool tcp, struct streams_result *r, char congestion[16],
                        const char **why);

#endif
