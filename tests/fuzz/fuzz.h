/* fuzz.h - what every fuzzer shares: the input as a tape that is read field by field, exact copies, and a check that stops
 * the program. An input that says nothing more gives zeros, so that every input is a whole program. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <roamqtt/base.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The door that libFuzzer and replay.c call. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says what was expected, and stops in a way that a fuzzer takes for a finding. */
#define FUZZ_CHECK(what)                                                                                                   \
  do {                                                                                                                     \
    if (!(what)) {                                                                                                         \
      fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #what);                                     \
      abort();                                                                                                             \
    }                                                                                                                      \
  } while (0)

struct tape {
  const uint8_t *at, *end;
};

static inline size_t tape_left(const struct tape *t) { return (size_t)(t->end - t->at); }

static inline uint8_t tape_u8(struct tape *t) { return t->at < t->end ? *t->at++ : 0; }

static inline uint16_t tape_u16(struct tape *t) {
  uint8_t high = tape_u8(t);
  return (uint16_t)(high << 8 | tape_u8(t));
}

static inline roam_bytes tape_take(struct tape *t, size_t len) {
  roam_bytes out = {t->at, len < tape_left(t) ? len : tape_left(t)};
  t->at += out.len;
  return out;
}

/* A copy of exactly that size, so that a sanitizer sees the first byte read too far; the caller frees it. */
static inline uint8_t *fuzz_copy(roam_bytes bytes) {
  uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);
  FUZZ_CHECK(copy != NULL);
  if (bytes.len > 0) memcpy(copy, bytes.base, bytes.len);
  return copy;
}

static inline bool fuzz_same(roam_bytes a, roam_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

/* A small generator for what the input does not need to say byte by byte (where chunks end). */
static inline uint32_t fuzz_next(uint32_t *state) {
  *state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
  return *state >> 8;
}

#endif
