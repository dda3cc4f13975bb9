/* memory_test.c - a broker's day with the n-th allocation failing, for every n: nothing crashes, nothing leaks, what was
 * acknowledged to a publisher reaches a session that is still there, and whoever comes afterwards is served. Only what the
 * broker's own functions ask for fails. The allocator is replaced by counting fronts for glibc's own, which a sanitizer's
 * would not allow: there it runs once, without failures. */
#include <roamqtt/broker.h>

#include "unit/failing_malloc.h"

#define roam_broker_feed(b, now, in, n) (armed = true, roam_broker_feed(b, now, in, n), armed = false)
#define roam_broker_tick(b, now) (armed = true, roam_broker_tick(b, now), armed = false)
#define roam_broker_drain(b, now, out, n) ARMED(roam_broker_drain(b, now, out, n))
#define roam_broker_poll(b, ev, n) ARMED(roam_broker_poll(b, ev, n))

#include "rig.h"

#define MESSAGES 6

struct day {
  struct rig rig;
  bool acked[MESSAGES]; /* to the publisher, without complaint, while a session wanted it */
  int received[MESSAGES];
  bool subscribed, renewed, pubrec; /* renewed: the subscriber's session is not the first one any more */
};

/* Reads what came on both links. */
static void read_publisher(struct day *d, struct link *pub, int number) {
  roam_packet p;
  roam_fault fault;
  while (roam_reader_next(pub->reader, &p, &fault) == 1) {
    bool ack = (p.type == ROAM_PUBACK || p.type == ROAM_PUBREC) && p.reason == 0;
    if (ack && d->subscribed) d->acked[number] = true;
    d->pubrec |= p.type == ROAM_PUBREC;
  }
}

static void read_subscriber(struct day *d, struct link *sub) {
  roam_packet p;
  roam_fault fault;
  while (roam_reader_next(sub->reader, &p, &fault) == 1) {
    if (p.type == ROAM_SUBACK && p.packet_id == 1) d->subscribed = p.codes.base[0] < 0x80;
    if (p.type == ROAM_CONNACK && p.reason == 0) d->renewed |= d->subscribed && !p.session_present;
    if (p.type != ROAM_PUBLISH) continue;
    if (p.topic.len == 1) d->received[p.payload.base[0] - '0']++;
    if (p.qos == 1) rig_ack(&d->rig, sub, ROAM_PUBACK, p.packet_id);
    if (p.qos == 2) rig_ack(&d->rig, sub, ROAM_PUBREC, p.packet_id);
  }
}

static struct link *come(struct day *d, const char *id) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct link *l = rig_open(&d->rig, 5);
  roam_packet connect = rig_connect_packet(id, false);
  roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 100);
  connect.props = (roam_bytes){bytes, props.len};
  connect.connect.has_will = true;
  connect.connect.will_topic = text("will");
  connect.connect.will_payload = text("gone");
  rig_send(&d->rig, l, &connect);
  return l;
}

static void publish(struct day *d, struct link *pub, int number, uint8_t qos) {
  char payload[2] = {(char)('0' + number), 0};
  uint16_t id = rig_publish(&d->rig, pub, "t", payload, qos, true);
  d->pubrec = false;
  read_publisher(d, pub, number);
  if (d->pubrec) rig_ack(&d->rig, pub, ROAM_PUBREL, id);
  read_publisher(d, pub, number);
}

static void subscribe(struct day *d, struct link *l, uint16_t packet_id, const char *filter) {
  uint8_t filters[32];
  size_t len = 0;
  roam_filter_put(filters, sizeof filters, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text(filter), .qos = 2});
  rig_send(&d->rig, l, &(roam_packet){.type = ROAM_SUBSCRIBE, .packet_id = packet_id, .filters = {filters, len}});
}

static void spend(struct day *d) {
  struct link *pub = come(d, "pub"), *sub = come(d, "sub");
  read_publisher(d, pub, 0);
  subscribe(d, sub, 2, "$share/g/x/y");
  subscribe(d, sub, 1, "t");
  read_subscriber(d, sub);
  publish(d, pub, 0, 1);
  publish(d, pub, 1, 2);
  read_subscriber(d, sub);
  if (sub->open) rig_hang_up(&d->rig, sub, ECONNRESET);
  for (int i = 2; i < MESSAGES; i++) publish(d, pub, i, (uint8_t)(i % 2 + 1));
  sub = come(d, "sub");
  read_subscriber(d, sub);
  subscribe(d, sub, 3, "#");
  read_subscriber(d, sub);
  if (pub->open) rig_hang_up(&d->rig, pub, ECONNRESET); /* its will */
  rig_wait(&d->rig, ROAM_S);
}

static void assert_served(struct day *d) {
  struct link *a = rig_join(&d->rig, "a", 5, true, 0), *b = rig_join(&d->rig, "b", 4, true, 0);
  rig_subscribe(&d->rig, a, "fine", 1);
  rig_publish(&d->rig, b, "fine", "yes", 1, false);
  rig_expect(b, ROAM_PUBACK);
  rig_expect_message(a, "fine", "yes", 1);
}

/* True: an allocation failed on the way. */
static bool live_once(long n) {
  long before = live;
  struct day *d = calloc(1, sizeof *d);
  rig_begin(&d->rig, NULL);
  fail_at = n;
  spend(d);
  bool failed = fail_at == 0;
  fail_at = 0;
  read_subscriber(d, come(d, "sub")); /* what memory kept from it the time before */
  for (int i = 0; i < MESSAGES && !d->renewed; i++)
    if (d->acked[i] && d->received[i] == 0) fail_msg("allocation %ld: message %d was acknowledged and is lost", n, i);
  if (n == 0) assert_true(!d->renewed && d->acked[5] && d->received[5] == 2 && d->received[0] == 1);
  assert_served(d);
  rig_end(&d->rig);
  free(d);
  if (live != before) fail_msg("allocation %ld: %ld blocks leaked", n, live - before);
  return failed && n > 0;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  live_once(0);
  long n = 1;
  while (CAN_FAIL && live_once(n)) n++;
  print_message("%ld allocations failed, one at a time\n", n - 1);
  assert_true(!CAN_FAIL || n > 50);
}

static void making_one(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  long before = live;
  bool failed = CAN_FAIL;
  for (long n = 1; failed; n++) {
    roam_rc rc;
    fail_at = n;
    roam_broker *b = ARMED(roam_broker_new(NULL, ROAM_S, &rng.random, &rc));
    failed = fail_at == 0;
    fail_at = 0;
    assert_int_equal(b == NULL, failed);
    if (failed) assert_int_equal(rc, ROAM_E_MEMORY);
    roam_broker_free(b);
    assert_int_equal(live, before);
  }
}

/* ---- with a store ---- */

static roam_broker_options with_store(roam_store *store) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.store = store;
  o.tls.wall_unix_s = 1700000000;
  return o;
}

/* A day with failures, and another broker on what it has left: what was acknowledged is there. */
static bool live_kept(long n, roam_store *store) {
  long before = live;
  struct day *d = calloc(1, sizeof *d);
  roam_broker_options o = with_store(store);
  rig_begin(&d->rig, &o);
  fail_at = n;
  spend(d);
  bool failed = fail_at == 0;
  fail_at = 0;
  rig_end(&d->rig);
  rig_begin(&d->rig, &o);
  read_subscriber(d, come(d, "sub"));
  for (int i = 0; i < MESSAGES && !d->renewed; i++)
    if (d->acked[i] && d->received[i] == 0) fail_msg("allocation %ld: message %d was acknowledged and is lost", n, i);
  if (n == 0) assert_true(!d->renewed && d->acked[5] && d->received[0] == 1);
  assert_served(d);
  rig_end(&d->rig);
  free(d);
  if (n > 0) roam_store_free(store);
  long kept = n > 0 ? before - live : 0; /* the store's own are given back, too */
  if (kept < 0) fail_msg("allocation %ld: %ld blocks leaked", n, -kept);
  return failed && n > 0;
}

static void every_allocation_may_fail_with_a_store(void **state) {
  (void)state;
  roam_store *store = roam_store_memory();
  live_kept(0, store);
  roam_store_free(store);
  long n = 1;
  while (CAN_FAIL && live_kept(n, roam_store_memory())) n++;
  print_message("%ld allocations failed, one at a time\n", n - 1);
  assert_true(!CAN_FAIL || n > 100);
}

/* A broker that cannot be loaded for want of memory is none, and leaves the store as it is. */
static void loading_one(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  roam_store *store = roam_store_memory();
  live_kept(0, store);
  roam_broker_options o = with_store(store);
  long before = live;
  bool failed = CAN_FAIL;
  for (long n = 1; failed; n++) {
    roam_rc rc;
    fail_at = n;
    roam_broker *b = ARMED(roam_broker_new(&o, ROAM_S, &rng.random, &rc));
    failed = fail_at == 0;
    fail_at = 0;
    if (failed && b == NULL) assert_int_equal(rc, ROAM_E_MEMORY);
    if (!failed) assert_non_null(b);
    roam_broker_free(b);
    if (live != before) fail_msg("allocation %ld: %ld blocks leaked", n, live - before);
  }
  roam_store_free(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(making_one), cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(every_allocation_may_fail_with_a_store),
                                     cmocka_unit_test(loading_one)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
