/* failing_malloc.h - counting fronts for glibc's allocator, of which the n-th call fails. For one program: include it once.
 */
#ifndef ROAM_TESTS_FAILING_MALLOC_H
#define ROAM_TESTS_FAILING_MALLOC_H

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "unit/can_fail.h"

static bool armed;                         /* what is being tested is running: only its allocations count and fail */
static long fail_at;                       /* which of them from now fails; 0 = none */
static long asked __attribute__((unused)); /* how many there were */
static long live;                          /* blocks not given back, the test's own too */

#if CAN_FAIL
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

static bool refuses(void) {
  asked += armed;
  if (!armed || fail_at == 0 || --fail_at > 0) return false;
  errno = ENOMEM;
  return true;
}

void *malloc(size_t size) {
  void *block = refuses() ? NULL : __libc_malloc(size);
  live += block != NULL;
  return block;
}

void *calloc(size_t n, size_t size) {
  void *block = refuses() ? NULL : __libc_calloc(n, size);
  live += block != NULL;
  return block;
}

void *realloc(void *old, size_t size) {
  void *block = refuses() ? NULL : __libc_realloc(old, size);
  live += old == NULL && block != NULL;
  return block;
}

void free(void *block) {
  live -= block != NULL;
  __libc_free(block);
}

/* glibc's own would go past the fronts. */
char *strndup(const char *text, size_t n) {
  size_t len = strnlen(text, n);
  char *copy = malloc(len + 1);
  if (copy != NULL) {
    memcpy(copy, text, len);
    copy[len] = 0;
  }
  return copy;
}

char *strdup(const char *text) { return strndup(text, strlen(text)); }
#endif

/* The value of a call, with failures armed while it runs. */
#define ARMED(call)                                                                                                        \
  __extension__({                                                                                                          \
    armed = true;                                                                                                          \
    __typeof__(call) value = call;                                                                                         \
    armed = false;                                                                                                         \
    value;                                                                                                                 \
  })

#endif
