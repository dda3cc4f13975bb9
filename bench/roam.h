/* roam.h - `roamqtt-bench roam`: the roaming table, in the world and on sockets. */
#ifndef ROAM_BENCH_ROAM_H
#define ROAM_BENCH_ROAM_H

/* The arguments behind "roam"; returns the exit code: 1 when a bound was exceeded, a message lost or a connection made anew. */
int roam_bench_main(int argc, char **argv);

#endif
