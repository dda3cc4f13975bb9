/* starve.c - linked to every unit test: any of them can be run once for each request for memory it makes, with that one
 * refused. tests/starve.py is the driver; without ROAM_STARVE nothing here does anything.
 *
 * Requests are those of the library's own code (ld's --wrap) and, under the address sanitizer, of the libraries named in
 * ROAM_STARVE_LIBRARIES. Each test of a program runs in a process of its own, the pilot. Where a point is to be tried the
 * pilot forks: in the child the request is refused and the test goes on from there, to its end or to the first assertion
 * that does not hold, which is allowed: an operation may fail without memory. A crash, a sanitizer's finding, a leak, a
 * failed ROAM_ASSERT and a test that does not end are findings; so is an assertion of a library, unless its own request was
 * refused. Leaks are looked for where the test stopped, with its stack still standing: what nobody can reach then is lost.
 *
 * Programs that share something with their children that is no memory (sockets, threads, files), built with STARVE_AGAIN,
 * are run from their beginning for each point.
 *
 *   ROAM_STARVE            try every n-th point, drawn by the seed; 1: all
 *   ROAM_STARVE_SEED       which of them
 *   ROAM_STARVE_BUDGET     milliseconds for one test (0: none). When they are used up, points whose chain of calls was
 * tried already are left out (all but the first occurrence; of a sample all) ROAM_STARVE_TEST       this test only
 *   ROAM_STARVE_POINT      this point only, with its output
 *   ROAM_STARVE_PART       "2/8": the third of eight runs that share the points, for tests that mostly wait
 *   ROAM_STARVE_LIBRARIES  also refuse requests of libraries whose file names contain one of these words (a:b:c) */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <execinfo.h>

#if defined(__SANITIZE_ADDRESS__)
#define STARVE_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#define BLIND __attribute__((no_sanitize("address", "undefined")))
#else
#define STARVE_ASAN 0
#define BLIND
#endif
#ifndef STARVE_AGAIN
#define STARVE_AGAIN 0
#endif
#define VISIBLE __attribute__((visibility("default")))

enum {
  FRAMES = 24,
  POINTS_MAX = 1 << 20,
  SEEN_SLOTS = 1 << 16,
  LIBRARIES_MAX = 32,
  FINDINGS_MAX = 8, /* of a test; what is wrong in one place is often wrong at many points */
  CHILD_SECONDS = 120,
  EXIT_PASSED = 70, /* of a child */
  EXIT_REFUSED,
  EXIT_CLEAN, /* the point was not reached: all had their turn */
  EXIT_LEAK,
  EXIT_ABORT,
  EXIT_SEGV,
  EXIT_ENDED, /* a library ended the process by an assertion of its own, after a refusal of its own request */
  EXIT_ASAN = 99
};

/* Shared by all processes of a run. */
struct shared {
  atomic_long points, tried, passed, refused, ended, findings, chains;
  long asked;                  /* by the test, up to now */
  uint64_t hashes[POINTS_MAX]; /* of the chain of calls at each point; STARVE_AGAIN */
  long failed_at;
  size_t frames_len;
  uintptr_t frames[FRAMES]; /* of the request that was refused */
};

static struct {
  long every, budget_ms, point;
  long part, parts;
  uint64_t seed;
  const char *test, *libraries;
} plan;
static struct shared *shared;
static struct { uintptr_t from, to; } libraries[LIBRARIES_MAX];
static size_t libraries_len;
static atomic_bool armed;   /* a test runs: requests count */
static bool of_library;     /* what is refused */
static bool is_child;       /* something has been refused here, or is going to be */
static bool is_pilot;       /* forks at points */
static atomic_long counted; /* requests since the test began */
static long fail_at;        /* STARVE_AGAIN: the one that is refused */
static uint64_t seen[SEEN_SLOTS];
static int output = -1, terminal = -1; /* a child's words; the real standard output */
static const char *test_name = "";
static struct timespec begun;
static pid_t pilot_pid;

/* ---- the chain of calls ---------------------------------------------------------------------------------------------- */

extern char __executable_start, etext;

BLIND static bool in_program(uintptr_t pc) { return pc >= (uintptr_t)&__executable_start && pc < (uintptr_t)&etext; }

static uintptr_t stack_end(void) {
  static _Thread_local uintptr_t end;
  pthread_attr_t attr;
  void *base;
  size_t size;
  if (end == 0 && pthread_getattr_np(pthread_self(), &attr) == 0) {
    if (pthread_attr_getstack(&attr, &base, &size) == 0) end = (uintptr_t)base + size;
    pthread_attr_destroy(&attr);
  }
  return end;
}

/* By frame pointers, as fast as it must be. */
BLIND static size_t walk_program(uintptr_t frames[FRAMES]) {
  uintptr_t *frame = __builtin_frame_address(0), end = stack_end();
  size_t n = 0;
  while (n < FRAMES && (uintptr_t)frame + 2 * sizeof *frame <= end && ((uintptr_t)frame & 7) == 0) {
    if (in_program(frame[1])) frames[n++] = frame[1];
    uintptr_t *next = (uintptr_t *)frame[0]; // NOLINT
    if (next <= frame) break;
    frame = next;
  }
  return n;
}

/* Libraries are built without frame pointers. */
static size_t walk_library(uintptr_t frames[FRAMES]) {
  void *pcs[FRAMES + 4];
  int all = backtrace(pcs, FRAMES + 4), n = 0;
  for (int i = 4; i < all; i++) frames[n++] = (uintptr_t)pcs[i];
  return (size_t)(n > 0 ? n : 0);
}

/* Where a piece of code lies is drawn anew for each process. */
static uint64_t place_of(uintptr_t pc) {
  if (in_program(pc)) return pc - (uintptr_t)&__executable_start;
  for (size_t i = 0; i < libraries_len; i++)
    if (pc >= libraries[i].from && pc < libraries[i].to) return pc - libraries[i].from + ((uint64_t)(i + 1) << 40);
  return 0;
}

static uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
  return h * UINT64_C(0xff51afd7ed558ccd);
}

static uint64_t hash_of(const uintptr_t *frames, size_t n) {
  uint64_t h = 1;
  for (size_t i = 0; i < n; i++)
    if (place_of(frames[i]) != 0) h = mix(h, place_of(frames[i]));
  return h | 1;
}

/* True for the first time it is asked. */
static bool is_new(uint64_t hash) {
  size_t i = hash % SEEN_SLOTS;
  for (size_t tries = 0; tries < SEEN_SLOTS && seen[i] != 0; tries++, i = (i + 1) % SEEN_SLOTS)
    if (seen[i] == hash) return false;
  seen[i] = hash;
  return true;
}

/* ---- which points ---------------------------------------------------------------------------------------------------- */

static bool has_time(void) {
  struct timespec now;
  if (plan.budget_ms == 0) return true;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < plan.budget_ms;
}

static bool is_wanted(long n, uint64_t hash) {
  if (plan.point > 0) return n == plan.point;
  bool fresh = is_new(hash);
  shared->chains += fresh && plan.part == 0;
  if (plan.parts > 1 && hash / 13 % (uint64_t)plan.parts != (uint64_t)plan.part) return false;
  if (plan.every == 1) return fresh || has_time();
  return mix(mix(plan.seed, hash), (uint64_t)n) / 7 % (uint64_t)plan.every == 0 && has_time();
}

/* ---- children -------------------------------------------------------------------------------------------------------- */

static void leave(int code) {
  fflush(NULL);
  _exit(code);
}

static int leaks(void) {
#if STARVE_ASAN
  return __lsan_do_recoverable_leak_check();
#else
  return 0;
#endif
}

/* The test goes on without what it asked for and stumbles itself, or in a function of C's library that it calls: no better
 * than an assertion. In the library: a finding. */
static bool is_in_test(void) {
#if STARVE_ASAN
  char file[1024] = "";
  void *pcs[32];
  int n = backtrace(pcs, 32), i = 2; /* this function and on_fault */
  while (i < n && !in_program((uintptr_t)pcs[i])) i++;
  if (i < n) __sanitizer_symbolize_pc(pcs[i], "%s", file, sizeof file);
  return strstr(file, "/tests/") != NULL;
#else
  return false;
#endif
}

static void on_fault(int number, siginfo_t *info, void *context) {
  (void)context;
  if (number == SIGSEGV && (uintptr_t)info->si_addr < 65536 && is_in_test()) leave(leaks() ? EXIT_LEAK : EXIT_REFUSED);
  dprintf(2, "signal %d, address %p\n", number, info->si_addr);
#if STARVE_ASAN
  __sanitizer_print_stack_trace();
#endif
  leave(EXIT_SEGV);
}

static void become_child(void) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  is_child = true;
  is_pilot = false;
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigaction(faults[i], &action, NULL);
  alarm(CHILD_SECONDS);
  if (plan.point > 0) dup2(terminal, 1), dup2(terminal, 2);
  else dup2(output, 1), dup2(output, 2);
}

static void show_output(void) {
  char bytes[4096];
  ssize_t n;
  lseek(output, 0, SEEK_SET);
  while ((n = read(output, bytes, sizeof bytes)) > 0)
    if (write(terminal, bytes, (size_t)n) < 0) break;
}

static void show_point(long n, int status) {
  dprintf(terminal, "\n---- %s, point %ld: ", test_name, n);
  if (WIFSIGNALED(status)) dprintf(terminal, WTERMSIG(status) == SIGALRM ? "does not end" : "signal %d", WTERMSIG(status));
  else if (WEXITSTATUS(status) == EXIT_LEAK) dprintf(terminal, "leaks");
  else if (WEXITSTATUS(status) == EXIT_ABORT) dprintf(terminal, "aborts");
  else if (WEXITSTATUS(status) == EXIT_SEGV) dprintf(terminal, "crashes");
  else if (WEXITSTATUS(status) == EXIT_ASAN) dprintf(terminal, "a sanitizer's finding");
  else dprintf(terminal, "exit code %d", WEXITSTATUS(status));
  dprintf(terminal, "; refused was\n");
#if STARVE_ASAN
  for (size_t i = 0; i < shared->frames_len && i < 16; i++) {
    char text[1024] = "";
    __sanitizer_symbolize_pc((void *)(shared->frames[i] - 1), "    %f %S", text, sizeof text); // NOLINT
    dprintf(terminal, "%s\n", text);
  }
#endif
}

static void judge(long n, int status) {
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  shared->tried++;
  if (code == EXIT_PASSED) shared->passed++;
  else if (code == EXIT_REFUSED) shared->refused++;
  else if (code == EXIT_ENDED) shared->ended++;
  else if (code == EXIT_CLEAN) shared->tried--; /* another way was taken: threads */
  else if (shared->findings++ < FINDINGS_MAX) {
    show_point(n, status);
    if (plan.point == 0) show_output();
  }
}

static void wait_for(pid_t pid, long n) {
  int status;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  judge(n, status);
}

static pid_t fork_child(void) {
  fflush(NULL);
  if (ftruncate(output, 0) != 0 || lseek(output, 0, SEEK_SET) != 0) return -1;
  pid_t pid = fork();
  if (pid == 0) become_child();
  return pid;
}

/* ---- requests -------------------------------------------------------------------------------------------------------- */

static void note_refusal(const uintptr_t *frames, size_t n, bool library) {
  of_library = library;
  shared->frames_len = n;
  memcpy(shared->frames, frames, n * sizeof *frames);
}

__attribute__((noinline)) static bool refuses(bool library) {
  if (!atomic_load_explicit(&armed, memory_order_relaxed)) return false;
  uintptr_t frames[FRAMES];
  long n = ++counted;
  if (is_child) {
    if (n != fail_at) return false;
    note_refusal(frames, library ? walk_library(frames) : walk_program(frames), library);
    return true;
  }
  size_t len = library ? walk_library(frames) : walk_program(frames);
  shared->asked = n;
  if (!is_pilot) { /* the first run of STARVE_AGAIN */
    if (n < POINTS_MAX) shared->hashes[n] = hash_of(frames, len);
    return false;
  }
  if (gettid() != pilot_pid || !is_wanted(n, hash_of(frames, len))) return false;
  armed = false;
  note_refusal(frames, len, library);
  pid_t pid = fork_child();
  if (pid > 0) wait_for(pid, n);
  armed = true;
  return pid == 0;
}

static bool starves(bool library) {
  if (!refuses(library)) return false;
  errno = ENOMEM;
  return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
FILE *__real_open_memstream(char **at, size_t *len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
FILE *__wrap_open_memstream(char **at, size_t *len);

#if STARVE_ASAN
/* In front of the sanitizer's own, for the libraries. */
void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t n, size_t size);
void *__interceptor_realloc(void *block, size_t size);
#define BELOW(name) __interceptor_##name

BLIND static bool is_library(uintptr_t caller) {
  if (libraries_len == 0 || !atomic_load_explicit(&armed, memory_order_relaxed)) return false;
  for (size_t i = 0; i < libraries_len; i++)
    if (caller >= libraries[i].from && caller < libraries[i].to) return true;
  return false;
}

#define OF_LIBRARY() is_library((uintptr_t)__builtin_return_address(0))
VISIBLE void *malloc(size_t size) { return OF_LIBRARY() && starves(true) ? NULL : BELOW(malloc)(size); }
VISIBLE void *calloc(size_t n, size_t size) { return OF_LIBRARY() && starves(true) ? NULL : BELOW(calloc)(n, size); }
VISIBLE void *realloc(void *block, size_t size) {
  return OF_LIBRARY() && starves(true) ? NULL : BELOW(realloc)(block, size);
}
#else
#define BELOW(name) __real_##name
#endif

void *__wrap_malloc(size_t size) { return starves(false) ? NULL : BELOW(malloc)(size); }
void *__wrap_calloc(size_t n, size_t size) { return starves(false) ? NULL : BELOW(calloc)(n, size); }
void *__wrap_realloc(void *block, size_t size) { return starves(false) ? NULL : BELOW(realloc)(block, size); }
char *__wrap_strdup(const char *text) { return starves(false) ? NULL : __real_strdup(text); }
char *__wrap_strndup(const char *text, size_t n) { return starves(false) ? NULL : __real_strndup(text, n); }
FILE *__wrap_open_memstream(char **at, size_t *len) { return starves(false) ? NULL : __real_open_memstream(at, len); }

static int find_library(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size;
  (void)unused;
  char words[256], *rest = words, *word;
  snprintf(words, sizeof words, "%s", plan.libraries);
  while ((word = strsep(&rest, ":")) != NULL) {
    if (*word == 0 || strstr(info->dlpi_name, word) == NULL) continue;
    for (int i = 0; i < info->dlpi_phnum && libraries_len < LIBRARIES_MAX; i++) {
      const ElfW(Phdr) *p = &info->dlpi_phdr[i];
      if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
      libraries[libraries_len].from = info->dlpi_addr + p->p_vaddr;
      libraries[libraries_len++].to = info->dlpi_addr + p->p_vaddr + p->p_memsz;
    }
    break;
  }
  return 0;
}

/* ---- what ends a test ------------------------------------------------------------------------------------------------ */

/* cmocka's own, which every assertion ends in; the test's stack still stands. */
VISIBLE void _fail(const char *const file, const int line) {
  if (is_child) {
    armed = false;
    fprintf(stderr, "%s:%d: not so\n", file, line);
    leave(leaks() ? EXIT_LEAK : EXIT_REFUSED);
  }
  void (*otherwise)(const char *, int) = (void (*)(const char *, int))dlsym(RTLD_NEXT, "_fail");
  otherwise(file, line);
}

void __real_abort(void) __attribute__((noreturn));
void __wrap_abort(void) __attribute__((noreturn));

void __wrap_abort(void) {
#if STARVE_ASAN
  if (is_child) __sanitizer_print_stack_trace();
#endif
  if (is_child) leave(EXIT_ABORT);
  __real_abort();
}

/* A library's assertion. ngtcp2 has some that do not hold when it gets no memory; that cannot be mended here. */
void __assert_fail(const char *what, const char *file, unsigned line, const char *function);
VISIBLE void __assert_fail(const char *what, const char *file, unsigned line, const char *function) {
  if (is_child) {
    dprintf(2, "%s:%u: %s: %s\n", file, line, function, what);
#if STARVE_ASAN
    if (!of_library) __sanitizer_print_stack_trace();
#endif
    leave(of_library ? EXIT_ENDED : EXIT_ABORT);
  }
  void (*otherwise)(const char *, const char *, unsigned, const char *) =
      (void (*)(const char *, const char *, unsigned, const char *))dlsym(RTLD_NEXT, "__assert_fail");
  otherwise(what, file, line, function);
  _exit(EXIT_ABORT);
}

#if STARVE_ASAN
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
VISIBLE const char *__ubsan_default_options(void) { return "exitcode=99:print_stacktrace=1"; }
VISIBLE const char *__asan_default_options(void) { return "exitcode=99:allocator_may_return_null=1"; }
#endif

/* ---- the run --------------------------------------------------------------------------------------------------------- */

static const struct CMUnitTest *inner;

static int starved_setup(void **state) {
  counted = 0;
  armed = true;
  return inner->setup_func != NULL ? inner->setup_func(state) : 0;
}

static void starved_test(void **state) { inner->test_func(state); }

static int starved_teardown(void **state) {
  int rc = inner->teardown_func != NULL ? inner->teardown_func(state) : 0;
  armed = false;
  return rc;
}

int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                   CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                   CMFixtureFunction teardown);

struct group {
  const char *name;
  CMFixtureFunction setup, teardown;
};

static int run_one(const struct group *g, const struct CMUnitTest *test) {
  struct CMUnitTest outer = {test->name, starved_test, starved_setup, starved_teardown, test->initial_state};
  inner = test;
  return __real__cmocka_run_group_tests(g->name, &outer, 1, g->setup, g->teardown);
}

static void be_child(const struct group *g, const struct CMUnitTest *test) {
  int failed = run_one(g, test);
  armed = false;
  if (leaks()) leave(EXIT_LEAK);
  if (failed != 0) leave(EXIT_REFUSED);
  leave(counted < fail_at ? EXIT_CLEAN : EXIT_PASSED);
}

/* Runs the test as it is; at points it forks, and what returns here may be such a child. */
static void be_pilot(const struct group *g, const struct CMUnitTest *test) {
  int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(nothing, 1);
  dup2(nothing, 2);
  is_pilot = !STARVE_AGAIN;
  pilot_pid = getpid();
  int failed = run_one(g, test);
  if (is_child) {
    armed = false;
    leave(leaks() ? EXIT_LEAK : failed != 0 ? EXIT_REFUSED : EXIT_PASSED);
  }
  leave(failed == 0 ? 0 : 1);
}

static void run_again_and_again(const struct group *g, const struct CMUnitTest *test) {
  for (long n = 1; n <= shared->asked && n < POINTS_MAX; n++) {
    if (!is_wanted(n, shared->hashes[n])) continue;
    shared->frames_len = 0;
    pid_t pid = fork_child();
    if (pid == 0) {
      fail_at = n;
      be_child(g, test);
    }
    if (pid > 0) wait_for(pid, n);
  }
}

static void starve_test(const struct group *g, const struct CMUnitTest *test) {
  int status;
  test_name = test->name;
  shared->asked = 0;
  memset(seen, 0, sizeof seen);
  clock_gettime(CLOCK_MONOTONIC, &begun);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) be_pilot(g, test);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    dprintf(terminal, "\n---- %s: fails without any refusal (status %x)\n", test->name, (unsigned)status);
    shared->findings++;
    return;
  }
  if (STARVE_AGAIN) run_again_and_again(g, test);
  if (plan.part == 0) shared->points += shared->asked;
}

static bool read_plan(void) {
  const char *every = getenv("ROAM_STARVE"), *seed = getenv("ROAM_STARVE_SEED"), *budget = getenv("ROAM_STARVE_BUDGET");
  const char *point = getenv("ROAM_STARVE_POINT");
  const char *part = getenv("ROAM_STARVE_PART");
  if (every == NULL) return false;
  if (part == NULL || sscanf(part, "%ld/%ld", &plan.part, &plan.parts) != 2) plan.parts = 1;
  plan.every = atol(every) > 0 ? atol(every) : 1;
  plan.seed = seed != NULL ? strtoull(seed, NULL, 10) : 1;
  plan.budget_ms = budget != NULL ? atol(budget) : 0;
  plan.test = getenv("ROAM_STARVE_TEST");
  plan.point = point != NULL ? atol(point) : 0;
  plan.libraries = getenv("ROAM_STARVE_LIBRARIES");
  if (plan.libraries != NULL) dl_iterate_phdr(find_library, NULL);
  void *pcs[4];
#if STARVE_ASAN
  __lsan_disable(); /* the loader's */
#endif
  backtrace(pcs, 4); /* its first call loads a library */
#if STARVE_ASAN
  __lsan_enable();
#endif
  return true;
}

int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                   CMFixtureFunction teardown) {
  struct group g = {name, setup, teardown};
  if (!read_plan()) return __real__cmocka_run_group_tests(name, tests, n, setup, teardown);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  output = memfd_create("output", MFD_CLOEXEC);
  terminal = fcntl(1, F_DUPFD_CLOEXEC, 3);
  if (shared == MAP_FAILED || output < 0 || terminal < 0) return 1;
  for (size_t i = 0; i < n; i++)
    if (plan.test == NULL || strcmp(plan.test, tests[i].name) == 0) starve_test(&g, &tests[i]);
  printf("starved: points %ld chains %ld tried %ld passed %ld refused %ld ended %ld findings %ld\n", shared->points,
         shared->chains, shared->tried, shared->passed, shared->refused, shared->ended, shared->findings);
  return shared->findings != 0;
}
