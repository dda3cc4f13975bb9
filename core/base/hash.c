/* hash.c - SipHash-1-3 after Aumasson and Bernstein: one round per word, three at the end. Keyed, so that nobody can
 * choose names that collide; refuses to be a signature. */
#include "base/hash.h"

#include <string.h>

#include "base/rng.h"

struct sip {
  uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

/* Inlined by force: the state must stay in registers, or a lookup costs several times what it should. */
#define SIP_INLINE static inline __attribute__((always_inline))

SIP_INLINE void round_once(struct sip *s) {
  s->v0 += s->v1;
  s->v1 = rotate(s->v1, 13) ^ s->v0;
  s->v0 = rotate(s->v0, 32);
  s->v2 += s->v3;
  s->v3 = rotate(s->v3, 16) ^ s->v2;
  s->v0 += s->v3;
  s->v3 = rotate(s->v3, 21) ^ s->v0;
  s->v2 += s->v1;
  s->v1 = rotate(s->v1, 17) ^ s->v2;
  s->v2 = rotate(s->v2, 32);
}

static struct sip begin(struct roam_hash_key key) {
  struct sip s = {key.k0 ^ UINT64_C(0x736f6d6570736575), key.k1 ^ UINT64_C(0x646f72616e646f6d),
                  key.k0 ^ UINT64_C(0x6c7967656e657261), key.k1 ^ UINT64_C(0x7465646279746573)};
  return s;
}

SIP_INLINE void absorb(struct sip *s, uint64_t word) {
  s->v3 ^= word;
  round_once(s);
  s->v0 ^= word;
}

SIP_INLINE uint64_t finish(struct sip *s, uint64_t last) {
  absorb(s, last);
  s->v2 ^= 0xff;
  round_once(s);
  round_once(s);
  round_once(s);
  return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Little endian whatever the machine, so that a hash is the same everywhere. */
SIP_INLINE uint64_t load(const uint8_t *p, size_t n) {
  uint64_t word = 0;
  for (size_t i = 0; i < n; i++) word |= (uint64_t)p[i] << (8 * i);
  return word;
}

SIP_INLINE uint64_t load_word(const uint8_t *p) {
  return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
         (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56; /* compilers make one load of it */
}

struct roam_hash_key roam_hash_key_draw(roam_random *random) {
  struct roam_hash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
  if (random) {
    key.k0 = roam_random_u64(random);
    key.k1 = roam_random_u64(random);
  }
  return key;
}

uint64_t roam_hash_bytes(struct roam_hash_key key, const void *bytes, size_t len) {
  struct sip s = begin(key);
  const uint8_t *p = bytes;
  size_t left = len;
  for (; left >= 8; left -= 8, p += 8) absorb(&s, load_word(p));
  return finish(&s, (uint64_t)len << 56 | load(p, left));
}

uint64_t roam_hash_u64(struct roam_hash_key key, uint64_t value) {
  struct sip s = begin(key);
  absorb(&s, value);
  return finish(&s, UINT64_C(8) << 56);
}
