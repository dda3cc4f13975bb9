/* store.h - the bench of durability. Takes the words after its name and returns the exit code. */
#ifndef ROAM_BENCH_STORE_H
#define ROAM_BENCH_STORE_H

int bench_store(int argc, char **argv);

#endif
