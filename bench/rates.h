/* rates.h - the benches of messages per second. Each takes the words after its name and returns the exit code. */
#ifndef ROAM_BENCH_RATES_H
#define ROAM_BENCH_RATES_H

int bench_mqtt(int argc, char **argv);
int bench_quic(int argc, char **argv);

#endif
