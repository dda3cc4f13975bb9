/* failing_memory.h - malloc, calloc and realloc that refuse the n-th request, for the sources included after this header. A
 * test includes the sources it wants to see fail; the archive's copies are then not linked. */
#ifndef TEST_FAILING_MEMORY_H
#define TEST_FAILING_MEMORY_H

#include <stdbool.h>
#include <stdlib.h>

static long memory_fail_at; /* counts down; the request that brings it to 0 fails; below 0: none */
static bool memory_failed;

static inline bool memory_refuses(void) {
  if (memory_fail_at <= 0 || --memory_fail_at > 0) return false;
  memory_failed = true;
  return true;
}
static inline void *failing_malloc(size_t n) { return memory_refuses() ? NULL : malloc(n); }
static inline void *failing_calloc(size_t n, size_t size) { return memory_refuses() ? NULL : calloc(n, size); }
static inline void *failing_realloc(void *p, size_t n) { return memory_refuses() ? NULL : realloc(p, n); }

#undef malloc /* starve/own_malloc.h */
#undef calloc
#undef realloc
#define malloc failing_malloc
#define calloc failing_calloc
#define realloc failing_realloc

#endif
