/* subject.h - a broker under measurement: a process of its own, on loopback ports of its own. */
#ifndef ROAM_BENCH_SUBJECT_H
#define ROAM_BENCH_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct subject {
  pid_t pid; /* 0: not running */
  uint16_t tcp, quic, tls;
};

/* folder: where it may write. False: *why says what was wrong, static storage. */
bool subject_start_roamqtt(struct subject *s, const char *folder, const char **why);
bool subject_start_mosquitto(struct subject *s, const char *folder, const char **why);
/* The same with up to 8 more words, NULL at the end; with more lines of configuration. */
bool subject_start_roamqtt_with(struct subject *s, const char *folder, const char *const more[], const char **why);
bool subject_start_mosquitto_with(struct subject *s, const char *folder, const char *more, const char **why);
/* With a listener for TLS alone; PEM. */
bool subject_start_mosquitto_tls(struct subject *s, const char *folder, const char *certificate, const char *key,
                                 const char **why);
/* One process with both, so that TCP and TLS are the same broker. */
bool subject_start_mosquitto_both(struct subject *s, const char *folder, const char *certificate, const char *key,
                                  const char **why);
void subject_stop(struct subject *s);
/* Processor time used so far, user and system; 0 when it has ended. */
uint64_t subject_cpu_ns(const struct subject *s);
/* Memory it holds now; 0 when it has ended. */
uint64_t subject_resident_bytes(const struct subject *s);
/* The most it ever held. */
uint64_t subject_peak_bytes(const struct subject *s);

#endif
