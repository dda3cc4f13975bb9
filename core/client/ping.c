/* ping.c - see ping.h. Refuses to send anything. */
#include "client/ping.h"

#define CALM_TO_GROW 3
#define CALM_TO_FORGET 20
#define CLOSE_NS UINT64_C(1000000000) /* near enough: no more trying between safe and broken */

static uint64_t clamp(const struct roam_ping *p, uint64_t ns) {
  return ns < p->min_ns ? p->min_ns : ns > p->max_ns ? p->max_ns : ns;
}

void roam_ping_init(struct roam_ping *p, uint64_t start_ns, uint64_t min_ns, uint64_t max_ns) {
  *p = (struct roam_ping){.min_ns = min_ns ? min_ns : start_ns / 3, .max_ns = max_ns ? max_ns : start_ns + start_ns / 3 * 2};
  if (p->min_ns > start_ns) p->min_ns = start_ns;
  if (p->max_ns < start_ns) p->max_ns = start_ns;
  p->interval_ns = start_ns;
}

static uint64_t grown(const struct roam_ping *p) {
  uint64_t next = p->interval_ns + p->interval_ns / 4;
  if (p->broken_ns == 0) return next;
  uint64_t low = p->safe_ns > p->interval_ns ? p->safe_ns : p->interval_ns;
  if (low + CLOSE_NS >= p->broken_ns) return p->interval_ns;
  uint64_t middle = low + (p->broken_ns - low) / 2;
  return middle < next ? middle : next;
}

static void learn_rebound(struct roam_ping *p, uint64_t silence_ns) {
  if (p->broken_ns == 0 || silence_ns < p->broken_ns) p->broken_ns = silence_ns;
  if (p->safe_ns >= p->broken_ns) p->safe_ns = 0; /* it is not the NAT that it was */
  p->calm = 0;
  uint64_t half = p->broken_ns / 2;
  p->interval_ns = clamp(p, p->safe_ns > half ? p->safe_ns : half);
}

static void learn_calm(struct roam_ping *p, uint64_t silence_ns) {
  if (silence_ns > p->safe_ns) p->safe_ns = silence_ns;
  if (p->broken_ns > 0 && p->safe_ns >= p->broken_ns) p->broken_ns = 0;
  if (++p->calm >= CALM_TO_FORGET) p->broken_ns = 0;
  if (p->calm < CALM_TO_GROW) return;
  uint64_t next = clamp(p, grown(p));
  if (next > p->interval_ns) p->calm = 0;
  p->interval_ns = next > p->interval_ns ? next : p->interval_ns;
}

bool roam_ping_learn(struct roam_ping *p, uint64_t silence_ns, bool rebound) {
  uint64_t before = p->interval_ns;
  if (before == 0) return false;
  if (rebound) learn_rebound(p, silence_ns);
  else learn_calm(p, silence_ns);
  return p->interval_ns != before;
}
