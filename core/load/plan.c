/* plan.c - the schedule as arithmetic on whole numbers: no message drifts, whatever the rate. Knows no clock and no client.
 */
#include "load/plan.h"

uint64_t roam_plan_count(uint32_t rate_per_s, uint64_t duration_ns) {
  uint64_t whole, part = (duration_ns % ROAM_S * rate_per_s + ROAM_S - 1) / ROAM_S;
  if (__builtin_mul_overflow(duration_ns / ROAM_S, rate_per_s, &whole)) return UINT64_MAX;
  return __builtin_add_overflow(whole, part, &whole) ? UINT64_MAX : whole;
}

uint64_t roam_plan_offset(const struct roam_plan *plan, uint64_t k) {
  return k / plan->rate_per_s * ROAM_S + k % plan->rate_per_s * ROAM_S / plan->rate_per_s;
}
