/* rng.c - xoshiro256** after Blackman and Vigna, its state spread from the seed by splitmix64. Refuses to seed itself,
 * and to serve for keys. */
#include "base/rng.h"

#include "base/list.h"

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

uint64_t roam_rng_next(struct roam_rng *rng) {
  uint64_t *s = rng->state, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

/* Little endian whatever the machine. The rest of a word is thrown away, so that each call begins at a whole one. */
static void fill(roam_random *self, void *out, size_t n) {
  struct roam_rng *rng = ROAM_CONTAINER(self, struct roam_rng, random);
  uint8_t *p = out;
  while (n > 0) {
    uint64_t word = roam_rng_next(rng);
    for (int i = 0; i < 8 && n > 0; i++, n--, word >>= 8) *p++ = (uint8_t)word;
  }
}

void roam_rng_init(struct roam_rng *rng, uint64_t seed) {
  rng->random = (roam_random){fill, true};
  for (int i = 0; i < 4; i++) {
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    rng->state[i] = z ^ z >> 31;
  }
}

uint64_t roam_random_u64(roam_random *random) {
  uint8_t b[8];
  uint64_t word = 0;
  random->fill(random, b, sizeof b);
  for (int i = 0; i < 8; i++) word |= (uint64_t)b[i] << (8 * i);
  return word;
}

uint64_t roam_random_below(roam_random *random, uint64_t n) {
  uint64_t word = roam_random_u64(random);
  if (n < 2) return 0;
  /* The lowest 2^64 mod n values are drawn again, so that every remainder is as likely. */
  uint64_t uneven = (UINT64_MAX - n + 1) % n;
  while (word < uneven) word = roam_random_u64(random);
  return word % n;
}

bool roam_random_ppm(roam_random *random, uint32_t ppm) { return roam_random_below(random, 1000000) < ppm; }
