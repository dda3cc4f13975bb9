/* memory_test.c - a client's whole life with the n-th allocation failing, for every n: nothing crashes, nothing leaks,
 * nothing acknowledged is lost, and the life goes on to its end. Only what the client's own functions ask for fails. The
 * allocator is replaced by counting fronts for glibc's own, which a sanitizer's would not allow: there it runs once,
 * without failures. */
#include <roamqtt/client.h>

#include "unit/failing_malloc.h"

#define roam_client_feed(c, now, in, n) (armed = true, roam_client_feed(c, now, in, n), armed = false)
#define roam_client_tick(c, now) (armed = true, roam_client_tick(c, now), armed = false)
#define roam_client_drain(c, now, out, n) ARMED(roam_client_drain(c, now, out, n))
#define roam_client_poll(c, ev, n) ARMED(roam_client_poll(c, ev, n))
#define roam_client_start(c, now) ARMED(roam_client_start(c, now))
#define roam_client_publish(c, now, m, token) ARMED(roam_client_publish(c, now, m, token))
#define roam_client_subscribe(c, now, f, n, token) ARMED(roam_client_subscribe(c, now, f, n, token))
#define roam_client_unsubscribe(c, now, f, n, token) ARMED(roam_client_unsubscribe(c, now, f, n, token))
#define roam_client_close(c, now, reason) ARMED(roam_client_close(c, now, reason))

#include "rig.h"

/* Every command may say that memory is out, and nothing else; then it is given again. */
#define INSIST(call)                                                                                                       \
  do {                                                                                                                     \
    roam_rc rc_ = (call);                                                                                                  \
    if (rc_ != 0) assert_int_equal(rc_, ROAM_E_MEMORY);                                                                    \
    if (rc_ != 0) rc_ = (call);                                                                                            \
    assert_int_equal(rc_, 0);                                                                                              \
  } while (0)

static roam_client *make(struct rig *r) {
  roam_client_options o = rig_options();
  o.url = "mqtt://broker.example";
  o.client_id = NULL;
  o.session_expiry_s = 100;
  roam_rc rc;
  for (int i = 0; i < 2; i++) {
    roam_client *c = ARMED(roam_client_new(&o, &r->rng.random, &rc));
    if (c) return c;
    assert_int_equal(rc, ROAM_E_MEMORY);
  }
  fail_msg("two failures of one");
  return NULL;
}

/* True: an allocation failed on the way. */
static bool live_once(long n) {
  long before = live;
  struct rig *r = calloc(1, sizeof *r);
  roam_rng_init(&r->rng, 1);
  r->now = ROAM_S;
  roam_session_options so;
  roam_session_options_init(&so, ROAM_ROLE_SERVER);
  r->server = roam_session_new(&so);
  r->answers_len = 1;
  roam_addr_parse("192.0.2.1", &r->answers[0]);

  fail_at = n;
  r->c = make(r);
  INSIST(roam_client_start(r->c, r->now));
  rig_run(r, r->now + 20 * ROAM_S);
  INSIST(rig_subscribe(r, "a/#", 1));
  INSIST(rig_publish(r, "t", "one", 1));
  INSIST(rig_publish(r, "t", "two", 2));
  rig_run(r, r->now + 20 * ROAM_S);
  rig_push(r, "a/b", str("down"), 1);
  rig_push(r, "a/c", str("down"), 2);
  r->present = true;
  rig_run(r, r->now + 20 * ROAM_S);
  rig_break(r, ECONNRESET);
  r->present = false; /* subscriptions are made again */
  INSIST(rig_publish(r, "t", "three", 1));
  rig_run(r, r->now + 20 * ROAM_S);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  r->present = true;
  rig_push(r, "a/b", str("down"), 1);
  rig_run(r, r->now + 20 * ROAM_S);
  INSIST(roam_client_close(r->c, r->now, 0));
  rig_run(r, r->now + 20 * ROAM_S);
  bool failed = fail_at == 0;
  fail_at = 0;
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CLOSED);
  for (const char *const *p = (const char *const[]){"t=one", "t=two", "t=three", NULL}; *p; p++)
    assert_non_null(strstr(r->seen, *p));
  assert_true(r->messages >= 3);
  rig_free(r);
  assert_int_equal(live, before);
  return failed && n > 0;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  live_once(0);
  long n = 1;
  while (CAN_FAIL && live_once(n)) n++;
  print_message("%ld allocations failed, one at a time\n", n - 1);
  assert_true(!CAN_FAIL || n > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
