/* loss.h - the bench of memory at full rate under loss. Takes the words after its name and returns the exit code. */
#ifndef ROAM_BENCH_LOSS_H
#define ROAM_BENCH_LOSS_H

int bench_loss(int argc, char **argv);

#endif
