/* idle.h - the bench of idle connections. */
#ifndef ROAM_BENCH_IDLE_H
#define ROAM_BENCH_IDLE_H

/* The words after `idle`; returns the exit code. */
int bench_idle(int argc, char **argv);

#endif
