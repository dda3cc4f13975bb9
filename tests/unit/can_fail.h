/* can_fail.h - CAN_FAIL is 1 where a test may replace the allocator by its own: with glibc, and not under a sanitizer,
 * which has one. */
#ifndef ROAM_TESTS_CAN_FAIL_H
#define ROAM_TESTS_CAN_FAIL_H

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FAIL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CAN_FAIL 0
#endif
#endif
#ifndef CAN_FAIL
#if defined(__GLIBC__)
#define CAN_FAIL 1
#else
#define CAN_FAIL 0
#endif
#endif

#endif
