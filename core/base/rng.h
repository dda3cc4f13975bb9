/* rng.h - what a source of chance is, and the seeded one. Not for keys: TLS draws its own. */
#ifndef ROAM_BASE_RNG_H
#define ROAM_BASE_RNG_H

#include <roamqtt/base.h>

struct roam_random {
  void (*fill)(struct roam_random *self, void *out, size_t n);
  bool simulated; /* repeats with its seed: a loop on real sockets refuses objects made with it */
};

static inline void roam_random_fill(roam_random *random, void *out, size_t n) { random->fill(random, out, n); }
uint64_t roam_random_u64(roam_random *random);
uint64_t roam_random_below(roam_random *random, uint64_t n); /* uniform in [0, n); 0 when n is 0 */
bool roam_random_ppm(roam_random *random, uint32_t ppm);     /* true ppm times in a million; always draws */

/* The seeded source: xoshiro256**. The same seed gives the same bytes everywhere. */
struct roam_rng {
  roam_random random; /* first: &rng.random is the source */
  uint64_t state[4];
};

void roam_rng_init(struct roam_rng *rng, uint64_t seed);
uint64_t roam_rng_next(struct roam_rng *rng);

#endif
