/* summary.h - a recording of the experiment as figures: the one place from which table, plot and JSON are made, so that
 * they cannot disagree and `roamqtt report` makes them again. */
#ifndef ROAM_SUMMARY_H
#define ROAM_SUMMARY_H

#include "tool.h"

#include <roamqtt/load.h>
#include <roamqtt/record.h>

#define ROAM_SUMMARY_ROWS_MAX 16
#define ROAM_SUMMARY_CHANGES_MAX 64
#define ROAM_SUMMARY_BINS_MAX 8192
#define ROAM_SUMMARY_TEXT_MAX 64
#define ROAM_SUMMARY_CHECKS_MAX 16

typedef struct roam_summary_row {
  char name[ROAM_SUMMARY_TEXT_MAX];
  uint64_t published, received, lost, duplicated, corrupt, refused;
  uint64_t gap_ns, reconnects, migrations, connects;
  uint64_t latency_p50_ns, latency_p99_ns, latency_max_ns;
  uint64_t gap_bound_ns;                    /* 2 RTT, two publish intervals and 50 ms; 0 where none is expected */
  char addresses[3][ROAM_SUMMARY_TEXT_MAX]; /* at the broker: before, during, after; "-" where unknown */
  uint64_t after_change; /* deliveries of messages planned for later than an interval after the first change */
  uint32_t *bins;        /* deliveries in each bin since the start */
} roam_summary_row;

typedef struct roam_summary_change {
  uint64_t at_ns; /* since the start of the schedule */
  char from[ROAM_SUMMARY_TEXT_MAX], to[ROAM_SUMMARY_TEXT_MAX];
} roam_summary_change;

/* One expectation of the experiment: a sentence and whether it came true. */
typedef struct roam_summary_check {
  char sentence[320];
  bool met;
} roam_summary_check;

typedef struct roam_summary {
  char version[ROAM_SUMMARY_TEXT_MAX];
  uint64_t rate_per_s, count, payload_bytes, qos, last_ns, settle_ns;
  uint64_t duration_ns, rtt_ns, rebind_ns, return_ns; /* ROAM_NEVER: never */
  bool follow_paths, interrupted, complete;           /* complete: the run came to its end */
  uint64_t dropped;                                   /* items the recording has no room for */
  char home[ROAM_SUMMARY_TEXT_MAX], away[ROAM_SUMMARY_TEXT_MAX];
  roam_summary_row rows[ROAM_SUMMARY_ROWS_MAX];
  size_t rows_len;
  roam_summary_change changes[ROAM_SUMMARY_CHANGES_MAX];
  size_t changes_len;
  uint64_t bin_ns;
  size_t bins_len;
  roam_summary_check checks[ROAM_SUMMARY_CHECKS_MAX];
  size_t checks_len;
} roam_summary;

/* NULL: why says what is wrong with the recording. */
roam_summary *roam_summary_read(roam_bytes recording, char why[ROAM_WHY_MAX]);
void roam_summary_free(roam_summary *s);

/* The first expectation that did not come true, or NULL. */
const roam_summary_check *roam_summary_failed(const roam_summary *s);
/* The table with its notes and the verdict. */
void roam_summary_print(const roam_summary *s, FILE *to);
/* Every number of the table and more, as one JSON object. */
void roam_summary_print_json(const roam_summary *s, FILE *to);
/* The same into memory of the caller's (free). NULL: out of memory. */
char *roam_summary_text(const roam_summary *s, bool json, size_t *len);

/* Writes what the options of demo and report ask for: json ("-" is stdout; NULL: none), plot (NULL: none; its .png and
 * .svg), and the table to stdout, or to stderr when stdout has the JSON. Returns the exit code; names the files on stderr.
 */
int roam_summary_deliver(const roam_summary *s, const char *command, const char *json, const char *plot);

/* "12.3" for 12345678 ns: milliseconds with one place, rounded to the nearest. */
const char *roam_ms_text(uint64_t ns, char text[32]);

#endif
