/* workers_memory_test.c - two workers' day with the n-th allocation failing, for every n: nothing crashes and nothing
 * leaks, also of letters that were never read; and what was asked is answered truly, or the connection is at its end. */
#include <roamqtt/broker.h>

#include "broker/broker.h"
#include "unit/failing_malloc.h"

#define roam_broker_feed(b, now, in, n) (armed = true, roam_broker_feed(b, now, in, n), armed = false)
#define roam_broker_tick(b, now) (armed = true, roam_broker_tick(b, now), armed = false)
#define roam_broker_drain(b, now, out, n) ARMED(roam_broker_drain(b, now, out, n))
#define roam_broker_poll(b, ev, n) ARMED(roam_broker_poll(b, ev, n))

#include "workers.h"

static struct office o;

static struct link *come(uint32_t worker, const char *id, bool clean) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct link *l = rig_open(&o.rigs[worker], 5);
  roam_packet connect = rig_connect_packet(id, clean);
  roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 100);
  connect.props = (roam_bytes){bytes, props.len};
  connect.connect.has_will = true;
  connect.connect.will_topic = text("t/will");
  connect.connect.will_payload = text("gone");
  rig_send(&o.rigs[worker], l, &connect);
  return l;
}

static void ask_for(uint32_t worker, struct link *l, const char *filter) {
  uint8_t filters[64];
  size_t len = 0;
  roam_filter f = {.filter = text(filter), .qos = 2};
  roam_filter_put(filters, sizeof filters, &len, ROAM_SUBSCRIBE, &f);
  rig_send(&o.rigs[worker], l,
           &(roam_packet){.type = ROAM_SUBSCRIBE, .packet_id = ++l->next_id, .filters = {filters, len}});
}

static void spend(void) {
  struct link *pub = come(0, "pub", true), *sub = come(1, "sub", false), *other = come(0, "other", true);
  ask_for(1, sub, "t/#");
  ask_for(1, sub, "$share/g/s");
  ask_for(0, other, "$share/g/s");
  for (int i = 0; i < 4; i++) {
    rig_publish(&o.rigs[0], pub, "t/1", "x", 1, i % 2 == 0);
    rig_publish(&o.rigs[0], pub, "s", "x", 1, false);
  }
  o.held = true; /* one hop with everything under way */
  struct link *again = come(0, "sub", false);
  rig_publish(&o.rigs[0], pub, "t/2", "x", 1, true);
  rig_publish(&o.rigs[0], pub, "t/1", "", 1, true);
  for (int i = 0; i < 12; i++) deliver_some();
  o.held = false;
  settle_all();
  if (again->open) rig_hang_up(&o.rigs[0], again, ECONNRESET);
  come(1, "sub", true);
  office_wait(&o, ROAM_S);
}

static void the_nth_allocation_fails(void **state) {
  (void)state;
  long most = 0, before = live;
  fail_at = 0;
  asked = 0;
  office_begin(&o, 2, 1, NULL);
  spend();
  office_end(&o);
  most = asked;
  assert_int_equal(live, before);
  for (long n = 1; CAN_FAIL && n <= most; n++) {
    office_begin(&o, 2, 1, NULL);
    fail_at = n;
    spend();
    fail_at = 0;
    o.held = true; /* and it ends with letters on their way */
    come(1, "pub", false);
    office_end(&o);
    if (live != before) fail_msg("allocation %ld of %ld: %ld blocks are left", n, most, live - before);
  }
}

struct heard {
  int pubacks, subacks, refused, messages;
};

static struct heard hear(struct link *l) {
  struct heard h = {0};
  roam_packet p;
  roam_fault fault;
  while (roam_reader_next(l->reader, &p, &fault) == 1) {
    h.pubacks += p.type == ROAM_PUBACK;
    h.subacks += p.type == ROAM_SUBACK;
    h.refused += (p.type == ROAM_PUBACK && p.reason >= 0x80) || (p.type == ROAM_SUBACK && p.codes.base[0] >= 0x80);
    h.messages += p.type == ROAM_PUBLISH;
  }
  return h;
}

/* What one client asks while an allocation fails, with the memory there again afterwards: each request has its answer, and
 * what was said to be well has reached who is still there. False: none has failed any more. */
static bool ask_with(long n, const char *topic, bool retain, bool subscribe) {
  office_begin(&o, 3, (uint64_t)n, NULL);
  struct link *pub = rig_join(&o.rigs[0], "pub", 5, true, 0), *sub = rig_join(&o.rigs[1], "sub", 5, true, 0);
  struct link *member = rig_join(&o.rigs[2], "member", 5, true, 0);
  rig_subscribe(&o.rigs[1], sub, "t/#", 1);
  rig_subscribe(&o.rigs[2], member, "$share/g/s/#", 1);
  fail_at = n;
  if (subscribe) ask_for(0, pub, topic);
  else rig_publish(&o.rigs[0], pub, topic, "x", 1, retain);
  bool failed = fail_at == 0;
  fail_at = 0;
  office_wait(&o, ROAM_S);
  struct heard asked_for = hear(pub), there = hear(sub), share = hear(member);
  if (pub->open) assert_int_equal(asked_for.pubacks + asked_for.subacks, 1);
  if (pub->open && asked_for.refused == 0 && !subscribe) {
    if (topic[0] == 't' && sub->open) assert_int_equal(there.messages, 1);
    if (topic[0] == 's' && member->open) assert_int_equal(share.messages, 1);
    for (uint32_t i = 0; retain && i < 3; i++) assert_int_equal(o.rigs[i].broker->retained.count, 1);
  }
  if (pub->open && asked_for.refused == 0 && subscribe) {
    struct link *other = rig_join(&o.rigs[2], "other", 5, true, 0);
    rig_publish(&o.rigs[2], other, "t/2", "x", 1, false);
    rig_publish(&o.rigs[2], other, "new/2", "x", 1, false);
    assert_int_equal(hear(pub).messages, 1);
  }
  office_end(&o);
  return failed;
}

static void answers_are_true(void **state) {
  (void)state;
  static const struct {
    const char *topic;
    bool retain, subscribe;
  } requests[] = {{"t/1", false, false},
                  {"t/1", true, false},
                  {"s/1", false, false},
                  {"new/#", false, true},
                  {"$share/h/new/+", false, true}};
  for (size_t k = 0; CAN_FAIL && k < sizeof requests / sizeof requests[0]; k++) {
    long n = 1;
    while (ask_with(n, requests[k].topic, requests[k].retain, requests[k].subscribe)) n++;
    assert_true(n > 3);
  }
}

/* A take-over with the n-th allocation failing: whoever comes next has the session, or learns that it is gone. */
static void ids_are_never_stuck(void **state) {
  (void)state;
  bool failed = true;
  for (long n = 1; CAN_FAIL && failed; n++) {
    office_begin(&o, 3, (uint64_t)n, NULL);
    struct link *first = come(0, "sub", false);
    ask_for(0, first, "t/#");
    fail_at = n;
    struct link *second = come(1, "sub", false);
    failed = fail_at == 0;
    fail_at = 0;
    office_wait(&o, ROAM_S);
    (void)second;
    for (uint32_t i = 0; i < 3; i++) {
      roam_packet p;
      roam_fault fault;
      struct link *l = come(i, "sub", false);
      office_wait(&o, ROAM_S);
      assert_int_equal(roam_reader_next(l->reader, &p, &fault), 1);
      assert_int_equal(p.type, ROAM_CONNACK);
      assert_int_equal(p.reason, 0);
    }
    office_end(&o);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_nth_allocation_fails), cmocka_unit_test(answers_are_true),
                                     cmocka_unit_test(ids_are_never_stuck)};
  return cmocka_run_group_tests_name("workers_memory", tests, NULL, NULL);
}
