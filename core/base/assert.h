/* assert.h - what must hold inside the library. Misuse by the application is returned as an error instead, never asserted.
 */
#ifndef ROAM_BASE_ASSERT_H
#define ROAM_BASE_ASSERT_H

#ifdef ROAM_ASSERTS
/* Ends the process; a debugger's back-trace shows the expression, file and line as arguments. */
_Noreturn void roam_assert_fail(const char *expression, const char *file, int line);
#define ROAM_ASSERT(x) ((x) ? (void)0 : roam_assert_fail(#x, __FILE__, __LINE__))
#else
#define ROAM_ASSERT(x) ((void)sizeof(!(x)))
#endif

#endif
