/* memory_test.c - making a run, its recorder and its handles while the n-th allocation fails, for every n: refused in words
 * or whole, and nothing leaks. Only what these layers ask for themselves fails; the client has its own test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/base/failing_memory.h"

#include "load/hist.c"
#include "load/options.c"
#include "load/router.c"
#include "load/worker.c"
#include "record/read.c"
#include "record/write.c"

#include "base/rng.h"

enum {
  MOST = 200
};

/* True once n is beyond what is allocated. */
static bool makes_a_run(long at) {
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  roam_load_row rows[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
  for (size_t i = 0; i < 3; i++) {
    roam_client_options_init(&rows[i].publisher);
    roam_client_options_init(&rows[i].subscriber);
    rows[i].publisher.url = rows[i].subscriber.url = "mqtt://127.0.0.1:1883";
  }
  roam_rc rc = 0;
  const char *why = NULL;
  memory_fail_at = at;
  roam_load *l = roam_load_new(NULL, rows, 3, NULL, &rng.random, &rc, &why);
  memory_fail_at = 0;
  if (!l) {
    assert_int_equal(rc, ROAM_E_MEMORY);
    assert_non_null(why);
    return false;
  }
  assert_int_equal(rc, 0);
  roam_load_free(l);
  return true;
}

static bool routes(long at) {
  struct roam_router r;
  uint32_t made = 0;
  roam_router_init(&r, 1000, NULL);
  memory_fail_at = at;
  for (uint32_t i = 0; i < 100; i++) {
    roam_wire unit = {.kind = ROAM_WIRE_BIND, .handle = 5};
    roam_rc rc = roam_router_out(&r, i, &unit);
    assert_true(rc == 0 || rc == ROAM_E_MEMORY);
    made += rc == 0;
    /* What could not be made is not there; what was made is found. */
    roam_wire in = {.kind = ROAM_WIRE_BOUND, .handle = unit.handle};
    uint32_t member = UINT32_MAX;
    if (rc == 0) assert_int_equal(roam_router_in(&r, &in, &member), 0);
    if (rc == 0) assert_int_equal(member, i);
  }
  memory_fail_at = 0;
  roam_router_reset(&r);
  return made == 100;
}

static bool records(long at) {
  memory_fail_at = at;
  roam_recorder *r = roam_recorder_new(4096);
  roam_rc rc = r ? roam_recorder_put(r, 1, "kind", 0, NULL, 0) : 0;
  roam_record_reader *reader = r ? roam_record_reader_new(roam_recorder_bytes(r)) : NULL;
  memory_fail_at = 0;
  bool whole = reader && rc == 0;
  if (r) assert_int_equal(roam_recorder_dropped(r), rc != 0);
  roam_record_reader_free(reader);
  roam_recorder_free(r);
  return whole;
}

static void try_all(bool (*act)(long)) {
  long at = 1;
  while (at < MOST && !act(at)) at++;
  assert_in_range(at, 2, MOST - 1);
}

static void a_run_is_whole_or_refused(void **state) {
  (void)state;
  try_all(makes_a_run);
}

static void handles_are_whole_or_refused(void **state) {
  (void)state;
  for (long at = 1; at < 40; at++) (void)routes(at);
  assert_true(routes(0));
}

static void recordings_are_whole_or_refused(void **state) {
  (void)state;
  try_all(records);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_run_is_whole_or_refused),
      cmocka_unit_test(handles_are_whole_or_refused),
      cmocka_unit_test(recordings_are_whole_or_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
