/* assert.c - the end of a process whose state is not what the code believes. It writes nothing: a library owns no stream.
 */
#include "base/assert.h"

#include <stdlib.h>

_Noreturn void roam_assert_fail(const char *expression, const char *file, int line);

_Noreturn void roam_assert_fail(const char *expression, const char *file, int line) {
  /* Volatile copies stay visible in a core file even in an optimised build. */
  const char *volatile seen_expression = expression;
  const char *volatile seen_file = file;
  volatile int seen_line = line;
  (void)seen_expression;
  (void)seen_file;
  (void)seen_line;
  abort();
}
