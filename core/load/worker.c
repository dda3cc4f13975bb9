/* worker.c - payloads that prove themselves, and the count of what came. Knows neither clients nor the recording. */
#include "load/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

roam_rc roam_worker_init(struct roam_worker *w, const char *name, uint32_t run, const struct roam_plan *plan) {
  *w = (struct roam_worker){.window_ns = roam_plan_offset(plan, plan->count - 1)};
  snprintf(w->name, sizeof w->name, "%s", name);
  snprintf(w->topic, sizeof w->topic, "roamqtt/load/%08x/%s", run, name);
  w->seen = calloc(1, (size_t)(plan->count / 8 + 1));
  w->latency = roam_hist_new();
  return w->seen && w->latency ? 0 : ROAM_E_MEMORY;
}

void roam_worker_reset(struct roam_worker *w) {
  free(w->seen);
  roam_hist_free(w->latency);
  w->seen = NULL;
  w->latency = NULL;
}

static void put_u64(uint8_t *at, uint64_t value) {
  for (int i = 7; i >= 0; i--, value >>= 8) at[i] = (uint8_t)value;
}

static uint64_t get_u64(const uint8_t *at) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value = value << 8 | at[i];
  return value;
}

static uint8_t fill_byte(uint64_t k, size_t place) { return (uint8_t)(k * 31 + place); }

void roam_payload_fill(uint8_t *payload, size_t len, const struct roam_plan *plan, uint64_t k) {
  put_u64(payload, k);
  put_u64(payload + 8, roam_plan_offset(plan, k));
  for (size_t i = ROAM_WORKER_HEADER; i < len; i++) payload[i] = fill_byte(k, i);
}

bool roam_payload_check(roam_bytes payload, size_t len, const struct roam_plan *plan, uint64_t *k) {
  if (payload.len != len || len < ROAM_WORKER_HEADER) return false;
  *k = get_u64(payload.base);
  if (*k >= plan->count || get_u64(payload.base + 8) != roam_plan_offset(plan, *k)) return false;
  for (size_t i = ROAM_WORKER_HEADER; i < len; i++)
    if (payload.base[i] != fill_byte(*k, i)) return false;
  return true;
}

/* A pause ends with this delivery. What lies behind the last offered message belongs to no pause. */
static void end_pause(struct roam_worker *w, uint64_t at_ns) {
  if (at_ns > w->window_ns) at_ns = w->window_ns;
  if (at_ns <= w->last_ns) return;
  if (at_ns - w->last_ns > w->gap_ns) w->gap_ns = at_ns - w->last_ns;
  w->last_ns = at_ns;
}

enum roam_delivery roam_worker_deliver(struct roam_worker *w, const struct roam_plan *plan, size_t payload_len,
                                       roam_bytes payload, uint64_t at_ns, uint64_t *k, uint64_t *latency_ns) {
  if (!roam_payload_check(payload, payload_len, plan, k)) {
    w->corrupt++;
    return ROAM_DELIVERY_CORRUPT;
  }
  uint64_t intended = roam_plan_offset(plan, *k);
  uint8_t bit = (uint8_t)(1u << (*k & 7)), *byte = &w->seen[*k / 8];
  *latency_ns = at_ns > intended ? at_ns - intended : 0;
  if (*byte & bit) {
    w->duplicated++;
    return ROAM_DELIVERY_AGAIN;
  }
  *byte |= bit;
  w->received++;
  w->received_second++;
  roam_hist_add(w->latency, *latency_ns);
  end_pause(w, at_ns);
  return ROAM_DELIVERY_FIRST;
}

void roam_worker_report(const struct roam_worker *w, uint64_t now_ns, roam_load_report *out) {
  uint64_t upto = now_ns < w->window_ns ? now_ns : w->window_ns;
  uint64_t open = upto > w->last_ns ? upto - w->last_ns : 0;
  *out = (roam_load_report){.published = w->published,
                            .received = w->received,
                            .lost = w->published - w->received,
                            .duplicated = w->duplicated,
                            .gap_ns = open > w->gap_ns ? open : w->gap_ns,
                            .reconnects = w->reconnects,
                            .migrations = w->migrations,
                            .latency_p50_ns = roam_hist_quantile(w->latency, 500000),
                            .latency_p99_ns = roam_hist_quantile(w->latency, 990000),
                            .latency_max_ns = roam_hist_max(w->latency),
                            .refused = w->refused,
                            .corrupt = w->corrupt};
}
