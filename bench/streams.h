/* streams.h - `roamqtt-bench streams`: head-of-line blocking by how messages are mapped to streams. */
#ifndef ROAM_BENCH_STREAMS_H
#define ROAM_BENCH_STREAMS_H

/* The arguments behind "streams"; returns the exit code: 1 when a message was lost that may not be. */
int streams_bench_main(int argc, char **argv);

#endif
