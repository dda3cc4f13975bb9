/* own_malloc.h - included before every unit test (-include): what a test asks for itself is never refused; only the
 * library's requests are (see starve.c). */
#ifndef TESTS_STARVE_OWN_MALLOC_H
#define TESTS_STARVE_OWN_MALLOC_H

#include <stdlib.h>
#include <string.h>

/* ld's names for what --wrap has put starve.c in front of. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);

#define malloc(size) __real_malloc(size)
#define calloc(n, size) __real_calloc(n, size)
#define realloc(block, size) __real_realloc(block, size)
#undef strdup
#undef strndup
#define strdup(text) __real_strdup(text)
#define strndup(text, n) __real_strndup(text, n)

#endif
