/* workers_memory_test.c - two workers' day with the n-th allocation failing, for every n: nothing crashes and nothing
 * leaks, also of letters that were never read. */
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_nth_allocation_fails)};
  return cmocka_run_group_tests_name("workers_memory", tests, NULL, NULL);
}
