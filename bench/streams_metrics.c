/* streams_metrics.c - the figures of one row, as "Evaluating Stream Mapping Strategies for MQTT over QUIC" (2026) works
 * them out. Knows nothing of where the samples come from. */
#include "streams_metrics.h"

#include <stdlib.h>
#include <string.h>

#define MEDIAN_OF 50
#define NEAR_NS (10 * ROAM_MS)
#define WINDOW_NS (100 * ROAM_MS)

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double latency_ms(const struct streams_sample *s) { return (double)(s->received - s->sent) / 1e6; }

static double quantile(const double sorted[], size_t n, double q) {
  return n == 0 ? 0 : sorted[(size_t)(q * (double)(n - 1) + 0.5)];
}

static void find_latencies(const struct streams_samples *b, struct streams_result *r) {
  double *all = malloc((b->len + 1) * sizeof *all);
  if (!all) abort();
  for (size_t i = 0; i < b->len; i++) all[i] = latency_ms(&b->at[i]);
  qsort(all, b->len, sizeof *all, compare);
  r->p50_ms = quantile(all, b->len, 0.5);
  r->p95_ms = quantile(all, b->len, 0.95);
  r->p99_ms = quantile(all, b->len, 0.99);
  free(all);
}

/* Largest minus smallest mean of a window's topics; negative: some topic has no message in it. */
static double spread_of(const struct streams_sample s[], size_t n) {
  double sum[STREAMS_TOPICS] = {0}, least = 1e18, most = 0;
  unsigned count[STREAMS_TOPICS] = {0};
  for (size_t i = 0; i < n; i++) {
    sum[s[i].topic] += latency_ms(&s[i]);
    count[s[i].topic]++;
  }
  for (int t = 0; t < STREAMS_TOPICS; t++) {
    if (count[t] == 0) return -1;
    double mean = sum[t] / count[t];
    if (mean < least) least = mean;
    if (mean > most) most = mean;
  }
  return most - least;
}

static void find_spread(const struct streams_samples *b, struct streams_result *r) {
  double *spreads = malloc((b->len + 1) * sizeof *spreads), sum = 0;
  size_t count = 0;
  if (!spreads) abort();
  for (size_t i = 0, n; i < b->len; i += n) {
    roam_time window = b->at[i].received / WINDOW_NS;
    for (n = 1; i + n < b->len && b->at[i + n].received / WINDOW_NS == window; n++) continue;
    double spread = spread_of(&b->at[i], n);
    if (spread >= 0) sum += spreads[count++] = spread;
  }
  qsort(spreads, count, sizeof *spreads, compare);
  r->spread_ms = count ? sum / (double)count : 0;
  r->spread_p95_ms = quantile(spreads, count, 0.95);
  r->spread_max_ms = count ? spreads[count - 1] : 0;
  free(spreads);
}

static void mark_spikes(struct streams_samples *b) {
  double last[STREAMS_TOPICS][MEDIAN_OF], sorted[MEDIAN_OF];
  size_t count[STREAMS_TOPICS] = {0};
  for (size_t i = 0; i < b->len; i++) {
    struct streams_sample *s = &b->at[i];
    size_t n = count[s->topic]++;
    if (n >= MEDIAN_OF) {
      memcpy(sorted, last[s->topic], sizeof sorted);
      qsort(sorted, MEDIAN_OF, sizeof *sorted, compare);
      s->spike = latency_ms(s) > sorted[MEDIAN_OF / 2 - 1] + sorted[MEDIAN_OF / 2]; /* twice the median */
    }
    last[s->topic][n % MEDIAN_OF] = latency_ms(s);
  }
}

static bool has_company(const struct streams_samples *b, size_t at) {
  const struct streams_sample *s = &b->at[at];
  for (size_t i = at; i-- > 0 && s->received - b->at[i].received <= NEAR_NS;)
    if (b->at[i].spike && b->at[i].topic != s->topic) return true;
  for (size_t i = at + 1; i < b->len && b->at[i].received - s->received <= NEAR_NS; i++)
    if (b->at[i].spike && b->at[i].topic != s->topic) return true;
  return false;
}

static void find_isolation(struct streams_samples *b, struct streams_result *r) {
  uint32_t together = 0;
  mark_spikes(b);
  for (size_t i = 0; i < b->len; i++) {
    if (!b->at[i].spike) continue;
    r->spikes++;
    together += has_company(b, i);
  }
  r->isolation = r->spikes ? (double)together / (double)r->spikes : 0;
}

void streams_judge(struct streams_samples *b, struct streams_result *r) {
  find_latencies(b, r);
  find_spread(b, r);
  find_isolation(b, r);
}
