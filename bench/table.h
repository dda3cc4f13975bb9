/* table.h - what was measured, as a table for people and as JSON for tools. */
#ifndef ROAM_BENCH_TABLE_H
#define ROAM_BENCH_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SUBJECTS_MAX 8

/* One broker in one cell. */
struct result {
  bool ran, valid;
  double rate;   /* messages delivered a second */
  double cpu_us; /* of the broker for each of them */
  double p50_us, p99_us;
  uint64_t counted, lost; /* lost: datagrams, over the whole run */
  char text[200];         /* why not valid */
};

struct cell {
  const char *topology;
  uint32_t topics, receivers, window;
  uint32_t payload_bytes;
  uint8_t qos;
  struct result results[SUBJECTS_MAX];
};

struct table {
  const char *kind;
  const char *const *names; /* of the subjects; the first is what the others are compared with */
  size_t subjects;
};

void table_machine(FILE *out);
void table_head(const struct table *t, FILE *out);
void table_row(const struct table *t, const struct cell *c, FILE *out);
bool table_json(const struct table *t, const struct cell cells[], size_t n, const char *path);

#endif
