/* setup.h - the bench of setting up connections. Takes the words after its name and returns the exit code. */
#ifndef ROAM_BENCH_SETUP_H
#define ROAM_BENCH_SETUP_H

int bench_setup(int argc, char **argv);

#endif
