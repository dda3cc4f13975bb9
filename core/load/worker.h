/* worker.h - one row: what its publisher offers, and what its subscriber's side makes of each delivery.
 *
 * Invariant: received counts the bits of seen; last_ns <= window_ns; gap_ns is the longest pause that has ended by last_ns.
 * All times are measured from the start of the schedule. */
#ifndef ROAM_LOAD_WORKER_H
#define ROAM_LOAD_WORKER_H

#include "load/plan.h"

#include <roamqtt/load.h>

#define ROAM_WORKER_HEADER 16 /* bytes of a payload before its fill */
#define ROAM_WORKER_NAME_MAX 48

struct roam_worker {
  char name[ROAM_WORKER_NAME_MAX];
  char topic[ROAM_WORKER_NAME_MAX + 32];
  uint8_t *seen; /* a bit for each message */
  uint64_t published, refused, received, duplicated, corrupt;
  uint64_t published_second, received_second; /* since the last RATE event */
  uint64_t window_ns;                         /* when the last message is offered */
  uint64_t last_ns, gap_ns;
  uint64_t reconnects, migrations;
  roam_hist *latency;
};

enum roam_delivery {
  ROAM_DELIVERY_FIRST,
  ROAM_DELIVERY_AGAIN,
  ROAM_DELIVERY_CORRUPT
};

roam_rc roam_worker_init(struct roam_worker *w, const char *name, uint32_t run, const struct roam_plan *plan);
void roam_worker_reset(struct roam_worker *w);

/* Message k as it must look: its number, its intended time after the start, and fill that depends on both place and number.
 */
void roam_payload_fill(uint8_t *payload, size_t len, const struct roam_plan *plan, uint64_t k);
/* Its number, or false when a byte of it is not as above. */
bool roam_payload_check(roam_bytes payload, size_t len, const struct roam_plan *plan, uint64_t *k);

/* A delivery at at_ns after the start; *k and *latency_ns are set unless it is corrupt. */
enum roam_delivery roam_worker_deliver(struct roam_worker *w, const struct roam_plan *plan, size_t payload_len,
                                       roam_bytes payload, uint64_t at_ns, uint64_t *k, uint64_t *latency_ns);
/* Figures as of now_ns after the start. */
void roam_worker_report(const struct roam_worker *w, uint64_t now_ns, roam_load_report *out);

#endif
