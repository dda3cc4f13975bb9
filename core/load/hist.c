/* hist.c - a log-linear histogram of 64-bit values: exact below 256, within 1 % above. Fixed memory, no floating point.
 *
 * A value of b bits, b > 8, lies in octave e = b - 8 and falls into one of the octave's 128 cells by its leading 8 bits,
 * whose first is always 1. Values below 256 are octave 0 and have a cell each. */
#include <roamqtt/load.h>

#include <stdlib.h>

#define CELLS (56 * 128 + 256)

struct roam_hist {
  uint64_t count, max;
  uint64_t cells[CELLS];
};

static size_t cell_of(uint64_t value) {
  int octave = value < 256 ? 0 : 56 - __builtin_clzll(value);
  return (size_t)octave * 128 + (size_t)(value >> octave);
}

/* The largest value that falls into the cell. */
static uint64_t cell_top(size_t cell) {
  if (cell < 256) return cell;
  unsigned octave = (unsigned)(cell / 128 - 1);
  uint64_t lead = cell % 128 + 128;
  return (lead << octave) + ((UINT64_C(1) << octave) - 1);
}

roam_hist *roam_hist_new(void) { return calloc(1, sizeof(roam_hist)); }

void roam_hist_free(roam_hist *h) { free(h); }

void roam_hist_add(roam_hist *h, uint64_t value) {
  h->cells[cell_of(value)]++;
  h->count++;
  if (value > h->max) h->max = value;
}

void roam_hist_merge(roam_hist *into, const roam_hist *from) {
  for (size_t i = 0; i < CELLS; i++) into->cells[i] += from->cells[i];
  into->count += from->count;
  if (from->max > into->max) into->max = from->max;
}

uint64_t roam_hist_count(const roam_hist *h) { return h->count; }

uint64_t roam_hist_max(const roam_hist *h) { return h->max; }

uint64_t roam_hist_quantile(const roam_hist *h, uint32_t ppm) {
  if (ppm > 1000000) ppm = 1000000;
  uint64_t rank = h->count / 1000000 * ppm + (h->count % 1000000 * ppm + 999999) / 1000000;
  if (rank == 0) rank = 1;
  uint64_t passed = 0;
  for (size_t i = 0; i < CELLS && h->count; i++) {
    passed += h->cells[i];
    if (passed >= rank) return cell_top(i) < h->max ? cell_top(i) : h->max;
  }
  return 0;
}
