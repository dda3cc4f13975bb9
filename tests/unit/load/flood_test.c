/* flood_test.c - making a flood: what cannot be is refused in a sentence, and while the n-th allocation fails it is whole
 * or not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/base/failing_memory.h"

#include "load/crowd.c"
#include "load/flood.c"
#include "load/flood_topic.c"
#include "load/hist.c"
#include "load/router.c"

enum {
  MOST = 200
};

static void fill_client(roam_client_options *o) {
  roam_client_options_init(o);
  o->url = "mqtt://127.0.0.1:1883";
}

static void options_are_checked(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_client_options client;
  roam_rng_init(&rng, 1);
  fill_client(&client);
  static const struct {
    const char *name;
    uint32_t topics, receivers, payload_bytes, window;
    uint8_t qos;
    uint64_t messages;
    bool datagrams;
  } bad[] = {
      {"topics", 0, 1, 64, 1, 0, 1},
      {"topics", 1025, 1, 64, 1, 0, 1},
      {"receivers", 1, 0, 64, 1, 0, 1},
      {"receivers", 1024, 64, 64, 1, 0, 1},
      {"receivers", 1, UINT32_MAX, 64, 1, 0, 1},
      {"payload_bytes", 1, 1, 15, 1, 0, 1},
      {"payload_bytes", 1, 1, 1048577, 1, 0, 1},
      {"window", 1, 1, 64, 0, 0, 1},
      {"window", 1, 1, 64, 65537, 0, 1},
      {"qos", 1, 1, 64, 1, 3, 1},
      {"messages", 1, 1, 64, 1, 0, 0},
      {"datagrams", 1, 1, 64, 1, 1, 1, true},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    roam_flood_options o;
    roam_rc rc = 0;
    const char *why = NULL;
    roam_flood_options_init(&o);
    o.topics = bad[i].topics;
    o.receivers = bad[i].receivers;
    o.payload_bytes = bad[i].payload_bytes;
    o.window = bad[i].window;
    o.qos = bad[i].qos;
    o.messages = bad[i].messages;
    o.datagrams = bad[i].datagrams;
    assert_null(roam_flood_new(&o, &client, &rng.random, &rc, &why));
    assert_int_equal(rc, ROAM_E_OPTION);
    assert_memory_equal(why, bad[i].name, strlen(bad[i].name));
  }
}

static void a_bad_client_is_named(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_client_options client;
  roam_rc rc = 0;
  const char *why = NULL;
  roam_rng_init(&rng, 1);
  roam_client_options_init(&client);
  assert_null(roam_flood_new(NULL, &client, &rng.random, &rc, &why));
  assert_int_equal(rc, ROAM_E_OPTION);
  assert_memory_equal(why, "url", 3);
}

/* True once n is beyond what is allocated. */
static bool makes_a_flood(long at) {
  struct roam_rng rng;
  roam_flood_options o;
  roam_client_options client;
  roam_rc rc = 0;
  const char *why = NULL;
  roam_rng_init(&rng, 1);
  roam_flood_options_init(&o);
  fill_client(&client);
  o.topics = 2;
  memory_fail_at = at;
  roam_flood *f = roam_flood_new(&o, &client, &rng.random, &rc, &why);
  memory_fail_at = 0;
  if (!f) {
    assert_int_equal(rc, ROAM_E_MEMORY);
    assert_non_null(why);
    return false;
  }
  assert_int_equal(rc, 0);
  assert_int_equal(roam_flood_get_stage(f), ROAM_FLOOD_NEW);
  roam_flood_free(f);
  return true;
}

static void a_flood_is_whole_or_refused(void **state) {
  (void)state;
  long at = 1;
  while (at < MOST && !makes_a_flood(at)) at++;
  assert_in_range(at, 2, MOST - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(options_are_checked),
      cmocka_unit_test(a_bad_client_is_named),
      cmocka_unit_test(a_flood_is_whole_or_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
