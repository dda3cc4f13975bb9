/* durable_test.c - what is written down comes back, and nothing is said before it is. */
#include "broker/durable.h"
#include "rig.h"

#define WALL INT64_C(1700000000)

static roam_broker_options options(roam_store *store, int64_t wall) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.store = store;
  o.tls.wall_unix_s = wall;
  return o;
}

static void begin_at(struct rig *rig, roam_store *store, int64_t wall) {
  roam_broker_options o = options(store, wall);
  rig_begin(rig, &o);
}

/* The process dies and another begins, so many seconds later. */
static void restart(struct rig *rig, int64_t wall) {
  roam_store *store = rig->store;
  rig_end(rig);
  begin_at(rig, store, wall);
}

static void sleep_disk(struct rig *rig) { rig->disk_asleep = true; }

static void wake_disk(struct rig *rig) {
  rig->disk_asleep = false;
  if (rig->batch) rig_write(rig);
  rig_run(rig);
}

static struct link *join(struct rig *rig, const char *id, bool *present) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct link *l = rig_open(rig, ROAM_MQTT_5);
  roam_packet connect = rig_connect_packet(id, false);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 1000), 0);
  connect.props = (roam_bytes){bytes, props.len};
  roam_packet connack = rig_greet(rig, l, &connect);
  if (present) *present = connack.session_present;
  return l;
}

/* ---- what waits ---- */

static void answers_wait(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  sleep_disk(&rig);
  struct link *l = rig_open(&rig, 4);
  roam_packet connect = rig_connect_packet("x", false);
  rig_send(&rig, l, &connect);
  rig_expect_nothing(l);
  wake_disk(&rig);
  rig_expect(l, ROAM_CONNACK);
  sleep_disk(&rig);
  uint8_t filter[16];
  size_t len = 0;
  assert_int_equal(
      roam_filter_put(filter, sizeof filter, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("t"), .qos = 2}), 0);
  rig_send(&rig, l, &(roam_packet){.type = ROAM_SUBSCRIBE, .packet_id = 1, .filters = {filter, len}});
  rig_send(&rig, l, &(roam_packet){.type = ROAM_PINGREQ});
  rig_expect(l, ROAM_PINGRESP); /* a slow disk is not a dead broker */
  rig_expect_nothing(l);
  wake_disk(&rig);
  rig_expect(l, ROAM_SUBACK);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0);
  sleep_disk(&rig);
  rig_publish(&rig, pub, "t", "one", 1, false);
  rig_publish(&rig, pub, "nobody", "two", 1, false);
  rig_publish(&rig, pub, "t", "three", 2, false);
  rig_publish(&rig, pub, "t", "kept", 0, false);
  rig_expect_nothing(pub);
  rig_expect_message(l, "t", "one", 1); /* at least once needs no promise */
  rig_expect_nothing(l);                /* exactly once does, and nothing overtakes it */
  wake_disk(&rig);
  rig_expect(pub, ROAM_PUBACK);
  rig_expect(pub, ROAM_PUBACK);
  rig_expect(pub, ROAM_PUBREC);
  rig_expect_message(l, "t", "three", 2);
  rig_expect_message(l, "t", "kept", 0);
  rig_end(&rig);
  roam_store_free(store);
}

/* Whoever asks for nothing that lasts neither waits nor writes. */
static void clean_sessions_cost_nothing(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  rig_wait(&rig, ROAM_MS);
  size_t before = rig.batches;
  sleep_disk(&rig);
  struct link *sub = rig_join(&rig, "sub", 5, true, 0), *pub = rig_join(&rig, "pub", 4, true, 0);
  rig_subscribe(&rig, sub, "#", 2);
  rig_publish(&rig, pub, "t", "one", 1, false);
  rig_expect(pub, ROAM_PUBACK);
  rig_publish(&rig, pub, "t", "two", 2, false);
  rig_ack(&rig, pub, ROAM_PUBREL, rig_expect(pub, ROAM_PUBREC).packet_id);
  rig_expect(pub, ROAM_PUBCOMP);
  rig_expect_message(sub, "t", "one", 1);
  rig_expect_message(sub, "t", "two", 2);
  assert_int_equal(rig.batches, before);
  rig_end(&rig);
  roam_store_free(store);
}

static void keeping_up_leaves_nothing(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *sub = join(&rig, "sub", NULL), *pub = rig_join(&rig, "pub", 4, true, 0);
  rig_subscribe(&rig, sub, "t", 1);
  sleep_disk(&rig);
  rig_publish(&rig, pub, "t", "first", 1, false); /* being written from now on */
  rig_publish(&rig, pub, "t", "second", 1, false);
  rig_ack(&rig, sub, ROAM_PUBACK, rig_expect(sub, ROAM_PUBLISH).packet_id);
  rig_ack(&rig, sub, ROAM_PUBACK, rig_expect(sub, ROAM_PUBLISH).packet_id);
  wake_disk(&rig);
  rig_expect(pub, ROAM_PUBACK);
  rig_expect(pub, ROAM_PUBACK);
  assert_int_equal(rig_records(store, 'm', 0), 0);
  assert_int_equal(rig_records(store, 's', 'q'), 0);
  rig_end(&rig);
  roam_store_free(store);
}

/* ---- what comes back ---- */

static void sessions_come_back(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *sub = join(&rig, "sub", NULL), *pub = rig_join(&rig, "pub", 5, true, 0);
  rig_subscribe_as(&rig, sub, &(roam_filter){.filter = text("t/+"), .qos = 2, .retain_as_published = true}, 77);
  rig_subscribe(&rig, sub, "u", 1);
  rig_hang_up(&rig, sub, ECONNRESET);
  for (int i = 0; i < 3; i++) {
    char payload[] = {(char)('a' + i), 0};
    rig_publish(&rig, pub, "t/x", payload, 1, false);
    rig_expect(pub, ROAM_PUBACK);
  }
  restart(&rig, WALL + 10);
  bool present;
  sub = join(&rig, "sub", &present);
  assert_true(present);
  roam_packet first = rig_expect_message(sub, "t/x", "a", 1);
  roam_prop id;
  assert_int_equal(roam_prop_find(first.props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, &id), 1);
  assert_int_equal(id.number, 77);
  rig_expect_message(sub, "t/x", "b", 1);
  rig_expect_message(sub, "t/x", "c", 1);
  pub = rig_join(&rig, "pub", 5, true, 0);
  rig_publish(&rig, pub, "u", "new", 1, false);
  rig_expect_message(sub, "u", "new", 1);
  assert_int_equal(roam_broker_get_stats(rig.broker).subscriptions, 2);
  rig_end(&rig);
  roam_store_free(store);
}

/* Each half of an exchange, both ways, goes on where it was. */
static void exactly_once_goes_on(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *sub = join(&rig, "sub", NULL), *pub = join(&rig, "pub", NULL);
  rig_subscribe(&rig, sub, "t", 2);
  uint16_t sent = rig_publish(&rig, pub, "t", "one", 2, false);
  rig_expect(pub, ROAM_PUBREC);
  rig_publish(&rig, pub, "t", "two", 2, false);
  rig_expect(pub, ROAM_PUBREC);
  uint16_t one = rig_expect_message(sub, "t", "one", 2).packet_id;
  uint16_t two = rig_expect_message(sub, "t", "two", 2).packet_id;
  rig_ack(&rig, sub, ROAM_PUBREC, one);
  rig_expect(sub, ROAM_PUBREL);
  assert_int_equal(rig_records(store, 'm', 0), 1); /* the first message may be forgotten */
  restart(&rig, WALL);
  bool present;
  sub = join(&rig, "sub", &present);
  assert_true(present);
  assert_int_equal(rig_expect(sub, ROAM_PUBREL).packet_id, one);
  roam_packet again = rig_expect_message(sub, "t", "two", 2);
  assert_true(again.dup && again.packet_id == two);
  pub = join(&rig, "pub", &present);
  assert_true(present);
  rig_send(&rig, pub,
           &(roam_packet){
               .type = ROAM_PUBLISH, .qos = 2, .dup = true, .packet_id = sent, .topic = text("t"), .payload = text("one")});
  assert_int_equal(rig_expect(pub, ROAM_PUBREC).reason, 0);
  rig_expect_nothing(sub); /* it had been routed */
  rig_ack(&rig, pub, ROAM_PUBREL, sent);
  assert_int_equal(rig_expect(pub, ROAM_PUBCOMP).reason, 0);
  rig_ack(&rig, sub, ROAM_PUBCOMP, one);
  rig_ack(&rig, sub, ROAM_PUBREC, two);
  rig_expect(sub, ROAM_PUBREL);
  rig_ack(&rig, sub, ROAM_PUBCOMP, two);
  assert_int_equal(rig_records(store, 'm', 0), 0);
  assert_int_equal(rig_records(store, 's', 'q'), 0);
  assert_int_equal(rig_records(store, 's', 'p'), 0);
  assert_int_equal(rig_records(store, 's', 'r'), 1); /* the second of the publisher's */
  rig_end(&rig);
  roam_store_free(store);
}

static void one_message_for_all(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0), *subs[3];
  for (int i = 0; i < 3; i++) {
    char id[] = {'s', (char)('0' + i), 0};
    subs[i] = join(&rig, id, NULL);
    rig_subscribe(&rig, subs[i], "t", 1);
    rig_hang_up(&rig, subs[i], ECONNRESET);
  }
  rig_publish(&rig, pub, "t", "shared", 1, false);
  rig_expect(pub, ROAM_PUBACK);
  assert_int_equal(rig_records(store, 'm', 0), 1);
  assert_int_equal(rig_records(store, 's', 'q'), 3);
  restart(&rig, WALL);
  for (int i = 0; i < 3; i++) {
    char id[] = {'s', (char)('0' + i), 0};
    subs[i] = join(&rig, id, NULL);
    rig_ack(&rig, subs[i], ROAM_PUBACK, rig_expect_message(subs[i], "t", "shared", 1).packet_id);
    assert_int_equal(rig_records(store, 'm', 0), i < 2);
  }
  rig_end(&rig);
  roam_store_free(store);
}

static void publish_expiring(struct rig *rig, struct link *l, const char *topic, uint32_t seconds, bool retain) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, seconds), 0);
  rig_send(rig, l,
           &(roam_packet){.type = ROAM_PUBLISH,
                          .qos = 1,
                          .retain = retain,
                          .packet_id = ++l->next_id,
                          .topic = text(topic),
                          .payload = text("short"),
                          .props = {bytes, props.len}});
  rig_expect(l, ROAM_PUBACK);
}

/* Retained messages come back, are replaced and removed; time goes on while nobody runs. */
static void retained_come_back(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0);
  const char *const said[][2] = {{"a", "1"}, {"b", "2"}, {"c", "3"}, {"a", "4"}, {"b", ""}};
  for (size_t i = 0; i < 5; i++) {
    rig_publish(&rig, pub, said[i][0], said[i][1], 1, true);
    rig_expect(pub, ROAM_PUBACK);
  }
  publish_expiring(&rig, pub, "d", 30, true);
  publish_expiring(&rig, pub, "e", 3000, true);
  restart(&rig, WALL + 60);
  struct link *sub = rig_join(&rig, "sub", 5, true, 0);
  rig_subscribe(&rig, sub, "#", 1);
  rig_expect_message(sub, "a", "4", 1);
  rig_expect_message(sub, "c", "3", 1);
  roam_packet e = rig_expect_message(sub, "e", "short", 1);
  roam_prop left;
  assert_int_equal(roam_prop_find(e.props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, &left), 1);
  assert_int_equal(left.number, 2940);
  rig_expect_nothing(sub);
  assert_int_equal(rig_records(store, 't', 0), 3);
  rig_wait(&rig, 2941 * ROAM_S);
  assert_int_equal(rig_records(store, 't', 0), 2);
  rig_end(&rig);
  roam_store_free(store);
}

static struct link *join_with_will(struct rig *rig, const char *id, uint32_t delay_s) {
  uint8_t bytes[8], will[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes}, of_will = {.base = will, .cap = sizeof will};
  struct link *l = rig_open(rig, ROAM_MQTT_5);
  roam_packet connect = rig_connect_packet(id, false);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 1000), 0);
  assert_int_equal(roam_props_put_number(&of_will, ROAM_PROP_WILL_DELAY_INTERVAL, delay_s), 0);
  connect.props = (roam_bytes){bytes, props.len};
  connect.connect.has_will = true;
  connect.connect.will_topic = text("w");
  connect.connect.will_payload = text(id);
  connect.connect.will_props = (roam_bytes){will, of_will.len};
  connect.connect.will_qos = 1;
  rig_greet(rig, l, &connect);
  return l;
}

static void wills_come_back(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *sub = join(&rig, "sub", NULL);
  rig_subscribe(&rig, sub, "w", 1);
  join_with_will(&rig, "connected", 20);
  struct link *gone = join_with_will(&rig, "waiting", 100), *orderly = join_with_will(&rig, "orderly", 0);
  rig_send(&rig, orderly, &(roam_packet){.type = ROAM_DISCONNECT});
  rig_hang_up(&rig, gone, ECONNRESET);
  assert_int_equal(rig_records(store, 's', 'w'), 2);
  restart(&rig, WALL + 70);
  sub = join(&rig, "sub", NULL);
  rig_wait(&rig, 19 * ROAM_S);
  rig_expect_nothing(sub);
  rig_wait(&rig, 2 * ROAM_S);
  rig_ack(&rig, sub, ROAM_PUBACK, rig_expect_message(sub, "w", "connected", 1).packet_id);
  rig_wait(&rig, 10 * ROAM_S); /* 101 s after it had gone */
  rig_ack(&rig, sub, ROAM_PUBACK, rig_expect_message(sub, "w", "waiting", 1).packet_id);
  assert_int_equal(rig_records(store, 's', 'w'), 0);
  restart(&rig, WALL + 200);
  sub = join(&rig, "sub", NULL);
  rig_wait(&rig, 200 * ROAM_S);
  rig_expect_nothing(sub);
  rig_end(&rig);
  roam_store_free(store);
}

static void expiry_goes_on(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *l = join(&rig, "gone", NULL);
  rig_hang_up(&rig, l, ECONNRESET);
  join(&rig, "connected", NULL);
  restart(&rig, WALL + 900);
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 2);
  rig_wait(&rig, 101 * ROAM_S);
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 1);
  rig_wait(&rig, 900 * ROAM_S); /* that one was connected until the restart */
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 0);
  assert_int_equal(rig_records(store, 's', 0), 0);
  rig_end(&rig);
  roam_store_free(store);
}

static void what_ends_is_gone(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *l = join(&rig, "x", NULL), *pub = rig_join(&rig, "pub", 5, true, 0);
  rig_subscribe(&rig, l, "t", 1);
  rig_hang_up(&rig, l, ECONNRESET);
  rig_publish(&rig, pub, "t", "queued", 1, false);
  rig_expect(pub, ROAM_PUBACK);
  l = rig_join(&rig, "x", 5, true, 0); /* a clean start ends it */
  rig_wait(&rig, ROAM_MS);
  assert_int_equal(rig_records(store, 's', 0), 0);
  assert_int_equal(rig_records(store, 'm', 0), 0);
  rig_hang_up(&rig, l, ECONNRESET);
  restart(&rig, WALL);
  bool present;
  join(&rig, "x", &present);
  assert_false(present);
  rig_end(&rig);
  roam_store_free(store);
}

/* What a member of a shared subscription did not get goes to another, and is written down as that one's. */
static void shared_go_to_the_heir(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0), *a = join(&rig, "a", NULL), *b = join(&rig, "b", NULL);
  rig_subscribe(&rig, a, "$share/g/t", 2);
  rig_subscribe(&rig, b, "$share/g/t", 2);
  rig_subscribe(&rig, a, "own", 1);
  rig_hang_up(&rig, b, ECONNRESET);
  rig_publish(&rig, pub, "t", "for a", 1, false); /* who is there */
  rig_publish(&rig, pub, "own", "of a", 1, false);
  rig_expect(pub, ROAM_PUBACK);
  rig_expect(pub, ROAM_PUBACK);
  rig_expect_message(a, "t", "for a", 1);
  rig_hang_up(&rig, a, ECONNRESET);
  assert_int_equal(rig_records(store, 's', 'q'), 2);
  a = rig_join(&rig, "a", 5, true, 0); /* ends its session */
  rig_wait(&rig, ROAM_MS);
  assert_int_equal(rig_records(store, 's', 'q'), 1);
  assert_int_equal(rig_records(store, 'm', 0), 1);
  restart(&rig, WALL);
  b = join(&rig, "b", NULL);
  rig_ack(&rig, b, ROAM_PUBACK, rig_expect_message(b, "t", "for a", 1).packet_id);
  assert_int_equal(rig_records(store, 'm', 0), 0);
  rig_end(&rig);
  roam_store_free(store);
}

/* A session that was kept and is resumed with no expiry: it goes on until its connection ends, and the store knows it no
 * more. */
static void kept_no_longer(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *l = join(&rig, "x", NULL), *pub = rig_join(&rig, "pub", 5, true, 0);
  rig_subscribe(&rig, l, "t", 2);
  rig_subscribe(&rig, l, "$share/g/u", 1);
  rig_hang_up(&rig, l, ECONNRESET);
  for (int i = 0; i < 3; i++) rig_publish(&rig, pub, i < 2 ? "t" : "u", "queued", 2, false);
  for (int i = 0; i < 3; i++) rig_expect(pub, ROAM_PUBREC);
  l = rig_join(&rig, "x", 5, false, 0);
  rig_wait(&rig, ROAM_MS);
  assert_int_equal(rig_records(store, 's', 0), 0);
  assert_int_equal(rig_records(store, 'm', 0), 0);
  uint16_t id = rig_expect_message(l, "t", "queued", 2).packet_id;
  rig_ack(&rig, l, ROAM_PUBREC, id);
  rig_expect_message(l, "t", "queued", 2);
  rig_expect_message(l, "u", "queued", 1);
  rig_expect(l, ROAM_PUBREL);
  rig_ack(&rig, l, ROAM_PUBCOMP, id);
  rig_hang_up(&rig, l, ECONNRESET);
  restart(&rig, WALL);
  bool present;
  join(&rig, "x", &present);
  assert_false(present);
  rig_end(&rig);
  roam_store_free(store);
}

/* ---- when the disk fails ---- */

static void full_is_tried_again(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *sub = join(&rig, "sub", NULL), *pub = rig_join(&rig, "pub", 5, true, 0);
  rig_subscribe(&rig, sub, "t", 1);
  rig_hang_up(&rig, sub, ECONNRESET);
  rig.disk_error = ROAM_E_NO_SPACE;
  rig_publish(&rig, pub, "t", "one", 1, false);
  rig_wait(&rig, 5 * ROAM_S);
  rig_expect_nothing(pub);
  assert_int_equal(rig_event(&rig, ROAM_EV_STORE_FAILED, "")->rc, ROAM_E_NO_SPACE);
  assert_null(rig_event(&rig, ROAM_EV_STORE_RECOVERED, ""));
  size_t tries = rig.batches;
  rig.disk_error = 0;
  rig_wait(&rig, ROAM_S);
  assert_int_equal(rig.batches, tries + 1);
  rig_expect(pub, ROAM_PUBACK);
  assert_non_null(rig_event(&rig, ROAM_EV_STORE_RECOVERED, ""));
  assert_int_equal(rig_records(store, 's', 'q'), 1);
  rig_end(&rig);
  roam_store_free(store);
}

static void other_failures_are_final(void **state) {
  (void)state;
  const roam_rc failures[] = {ROAM_E_IO, ROAM_E_DAMAGED, ROAM_E_READ_ONLY, ROAM_E_MEMORY};
  for (size_t i = 0; i < 4; i++) {
    struct rig rig;
    roam_store *store = roam_store_memory();
    begin_at(&rig, store, WALL);
    struct link *sub = join(&rig, "sub", NULL), *pub = rig_join(&rig, "pub", 5, true, 0);
    rig_subscribe(&rig, sub, "t", 1);
    rig.disk_error = failures[i];
    rig_publish(&rig, pub, "t", "one", 1, false);
    assert_int_equal(rig_expect(pub, ROAM_DISCONNECT).reason, ROAM_REASON_IMPLEMENTATION_SPECIFIC);
    rig_expect(sub, ROAM_PUBLISH);
    rig_expect(sub, ROAM_DISCONNECT);
    assert_int_equal(rig_event(&rig, ROAM_EV_STORE_FAILED, "")->rc, failures[i]);
    assert_true(roam_broker_get_stats(rig.broker).store_failed);
    struct link *late = rig_open(&rig, 5);
    roam_packet connect = rig_connect_packet("late", true);
    assert_int_equal(rig_greet(&rig, late, &connect).reason, ROAM_REASON_SERVER_UNAVAILABLE);
    rig_wait(&rig, 100 * ROAM_S);
    rig_end(&rig);
    roam_store_free(store);
  }
}

static void silence_is_a_failure(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *l = join(&rig, "x", NULL);
  sleep_disk(&rig);
  rig_subscribe(&rig, rig_join(&rig, "clean", 5, true, 0), "t", 0);
  rig_publish(&rig, l, "t", "kept", 1, true);
  rig_wait(&rig, 29 * ROAM_S);
  assert_null(rig_event(&rig, ROAM_EV_STORE_FAILED, ""));
  rig_wait(&rig, 2 * ROAM_S);
  assert_int_equal(rig_event(&rig, ROAM_EV_STORE_FAILED, "")->rc, ROAM_E_TIMEOUT);
  rig_end(&rig);
  roam_store_free(store);
}

/* Above the bound nobody is read; afterwards all that was held back is. */
static void too_much_is_not_read(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  roam_broker_options o = options(store, WALL);
  o.store_pending_bytes_max = 2000;
  rig_begin(&rig, &o);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0);
  sleep_disk(&rig);
  for (int i = 0; i < 100; i++) {
    char topic[16];
    snprintf(topic, sizeof topic, "t/%d", i);
    rig_publish(&rig, pub, topic, "some forty bytes of a retained message..", 1, true);
  }
  assert_in_range(roam_broker_get_stats(rig.broker).retained, 10, 60);
  assert_in_range(roam_broker_get_stats(rig.broker).store_pending_bytes, 2000, 2200);
  rig_expect_nothing(pub);
  wake_disk(&rig);
  rig_wait(&rig, ROAM_MS);
  for (int i = 0; i < 100; i++) rig_expect(pub, ROAM_PUBACK);
  assert_int_equal(rig_records(store, 't', 0), 100);
  rig_end(&rig);
  roam_store_free(store);
}

/* ---- what cannot be loaded ---- */

static void put(struct roam_batch *b, const void *key, size_t key_len, const void *record, size_t len) {
  uint8_t *at = roam_batch_add(b, ROAM_STORE_PUT, (roam_bytes){key, key_len}, len);
  assert_non_null(at);
  if (len > 0) memcpy(at, record, len);
}

#define SESSION "s\0\0\0\0\0\0\0\1"
#define MESSAGE "m\0\0\0\0\0\0\0\1"
#define OLD_SESSION "\5\0\0\0\11\0\0\0\0\0\0\0\0x" /* of layout 1, which had no user */
#define GOOD_SESSION "\5\0\0\0\11\0\0\0\0\0\0\0\0\1\0\5alicex"
#define GOOD_FLOW "\160\0\0\0\74\0\0\0\0\0\0\0\0\0\0"
#define GOOD_MESSAGE "\377\377\377\377\377\377\377\377\0\0\0\0\1\0\0\1\0\0\0\0tpayload"

static void damaged(void **state) {
  (void)state;
  static const struct {
    const char *name, *key;
    size_t key_len;
    const char *record;
    size_t len;
    roam_rc rc;
  } cases[] = {
      {"nothing is wrong", MESSAGE, 9, GOOD_MESSAGE, 28, 0},
      {"a later layout", "f", 1, "\0\0\0\3", 4, ROAM_E_NEWER},
      {"a layout that never was", "f", 1, "\0\0\0\0", 4, ROAM_E_DAMAGED},
      {"a version that is none", "f", 1, "\0", 1, ROAM_E_DAMAGED},
      {"an unknown kind", "z", 1, "", 0, ROAM_E_DAMAGED},
      {"a message cut short", MESSAGE, 9, GOOD_MESSAGE, 19, ROAM_E_DAMAGED},
      {"a message whose topic is longer than it", MESSAGE, 9, "\0\0\0\0\0\0\0\0\0\0\0\0\1\0\377\377\0\0\0\0t", 21,
       ROAM_E_DAMAGED},
      {"a message with a wildcard topic", MESSAGE, 9, "\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\1\0\0\0\0#", 21, ROAM_E_DAMAGED},
      {"a session cut short", SESSION, 9, GOOD_SESSION, 15, ROAM_E_DAMAGED},
      {"a session whose user is longer than it", SESSION, 9, GOOD_SESSION, 20, ROAM_E_DAMAGED},
      {"a session without an id", SESSION, 9, GOOD_SESSION, 21, ROAM_E_DAMAGED},
      {"a session of an older layout", SESSION, 9, OLD_SESSION, 14, ROAM_E_DAMAGED},
      {"a session without a number", "s\0\0", 3, GOOD_SESSION, 22, ROAM_E_DAMAGED},
      {"a session's part without it", "s\0\0\0\0\0\0\0\2r\0\1", 12, "", 0, ROAM_E_DAMAGED},
      {"an unknown part", SESSION "z", 10, "", 0, ROAM_E_DAMAGED},
      {"a subscription with QoS 3", SESSION "ft", 11, "\3\0\0\0\0\0", 6, ROAM_E_DAMAGED},
      {"a subscription to no filter", SESSION "fa#", 12, "\1\0\0\0\0\0", 6, ROAM_E_DAMAGED},
      {"a delivery of nothing", SESSION "q\0\0\0\0\0\0\0\1", 18, "\0\0\0\0\0\0\0\7\1\0", 10, ROAM_E_DAMAGED},
      {"a delivery with QoS 0", SESSION "q\0\0\0\0\0\0\0\1", 18, "\0\0\0\0\0\0\0\1\0\0", 10, ROAM_E_DAMAGED},
      {"progress of an unknown kind", SESSION "p\0\0\0\0\0\0\0\1", 18, "\7\0\1", 3, ROAM_E_DAMAGED},
      {"a received identifier of 0", SESSION "r\0\0", 12, "", 0, ROAM_E_DAMAGED},
      {"a received identifier of a byte", SESSION "r\1", 11, "", 0, ROAM_E_DAMAGED},
      {"a will cut short", SESSION "w", 10, "\0", 1, ROAM_E_DAMAGED},
      {"a flow cut short", SESSION "F\0\0\0\0\0\0\0\2", 18, GOOD_FLOW, 14, ROAM_E_DAMAGED},
      {"a client's flow with a filter", SESSION "F\0\0\0\0\0\0\0\2", 18, GOOD_FLOW "t", 16, ROAM_E_DAMAGED},
      {"the control flow", SESSION "F\0\0\0\0\0\0\0\0", 18, GOOD_FLOW, 15, ROAM_E_DAMAGED},
      {"a server's flow without a filter", SESSION "F\0\0\0\0\0\0\0\1", 18, GOOD_FLOW, 15, ROAM_E_DAMAGED},
      {"a server's flow to no filter", SESSION "F\0\0\0\0\0\0\0\1", 18, GOOD_FLOW "a#", 17, ROAM_E_DAMAGED},
      {"a flow", SESSION "F\0\0\0\0\0\0\0\2", 18, GOOD_FLOW, 15, 0},
      {"a subscription of no flow", SESSION "G\0\0\0\0\0\0\0\2t", 19, "\1\0\0\0\0\0", 6, ROAM_E_DAMAGED},
      {"a received identifier of no flow", SESSION "H\0\0\0\0\0\0\0\2\0\1", 20, "", 0, ROAM_E_DAMAGED},
      {"a delivery of no flow", SESSION "q\0\0\0\0\0\0\0\1", 18, "\0\0\0\0\0\0\0\1\1\2\0\0\0\0\0\0\0\2", 18,
       ROAM_E_DAMAGED},
      {"a delivery whose flow is cut", SESSION "q\0\0\0\0\0\0\0\1", 18, "\0\0\0\0\0\0\0\1\1\2\0\0", 12, ROAM_E_DAMAGED},
      {"a retained message of another topic", "tother", 6, GOOD_MESSAGE, 28, ROAM_E_DAMAGED},
  };
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_store *store = roam_store_memory();
    struct roam_batch b = {0};
    char why[ROAM_STORE_WHY_MAX];
    put(&b, "f", 1, "\0\0\0\2", 4);
    put(&b, SESSION, 9, GOOD_SESSION, 22);
    put(&b, cases[i].key, cases[i].key_len, cases[i].record, cases[i].len);
    assert_int_equal(store->ops->commit(store, (roam_bytes){b.base, b.len}, why), 0);
    roam_batch_reset(&b);
    roam_broker_options o = options(store, WALL);
    roam_rc rc = 0;
    roam_broker *broker = roam_broker_new(&o, ROAM_S, &rng.random, &rc);
    if (rc != cases[i].rc || (broker == NULL) != (rc != 0)) fail_msg("%s: %s", cases[i].name, roam_error_name(rc));
    roam_broker_free(broker);
    roam_store_free(store);
  }
}

/* A store without its first record is somebody else's. */
static void not_a_brokers(void **state) {
  (void)state;
  struct roam_rng rng;
  struct roam_batch b = {0};
  char why[ROAM_STORE_WHY_MAX];
  roam_rng_init(&rng, 1);
  roam_store *store = roam_store_memory();
  put(&b, SESSION, 9, GOOD_SESSION, 22);
  assert_int_equal(store->ops->commit(store, (roam_bytes){b.base, b.len}, why), 0);
  roam_batch_reset(&b);
  roam_broker_options o = options(store, WALL);
  roam_rc rc;
  assert_null(roam_broker_new(&o, ROAM_S, &rng.random, &rc));
  assert_int_equal(rc, ROAM_E_DAMAGED);
  o.tls.wall_unix_s = 0;
  assert_non_null(strstr(roam_broker_option_error(&o), "wall_unix_s"));
  roam_store_free(store);
}

/* ---- whose a session is ---- */

/* "secret", for both */
#define HASH                                                                                                               \
  "$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/Uz4ecVxcRbxCbzkA==\n"

static void begin_with_users(struct rig *rig, roam_store *store) {
  roam_broker_options o = options(store, WALL);
  o.passwords = text("alice:" HASH "bob:" HASH);
  o.acl = text("user alice\ntopic readwrite t\nuser bob\ntopic write t\n");
  rig_begin(rig, &o);
}

static uint8_t login(struct rig *rig, const char *id, const char *user, struct link **out, bool *present) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct link *l = rig_open(rig, ROAM_MQTT_5);
  roam_packet c = rig_connect_packet(id, false);
  c.connect.has_user_name = c.connect.has_password = true;
  c.connect.user_name = text(user);
  c.connect.password = text("secret");
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 1000), 0);
  c.props = (roam_bytes){bytes, props.len};
  rig_send(rig, l, &c);
  rig_wait(rig, ROAM_MS);
  roam_packet connack = rig_expect(l, ROAM_CONNACK);
  *out = l;
  *present = connack.session_present;
  return connack.reason;
}

/* Also what may reach it while nobody is there: the access list asks whose it is. */
static void a_session_stays_its_users(void **state) {
  (void)state;
  struct rig rig;
  struct link *alice, *bob;
  bool present;
  roam_peer_info info;
  roam_store *store = roam_store_memory();
  begin_with_users(&rig, store);
  assert_int_equal(login(&rig, "x", "alice", &alice, &present), 0);
  rig_subscribe(&rig, alice, "t", 1);
  rig_end(&rig);
  begin_with_users(&rig, store);
  assert_int_equal(roam_broker_client(rig.broker, "x", &info), 0);
  assert_string_equal(info.user_name, "alice");
  assert_int_equal(login(&rig, "y", "bob", &bob, &present), 0);
  rig_publish(&rig, bob, "t", "for alice", 1, false);
  rig_expect(bob, ROAM_PUBACK);
  assert_int_equal(login(&rig, "x", "bob", &bob, &present), ROAM_REASON_NOT_AUTHORIZED);
  assert_int_equal(login(&rig, "x", "alice", &alice, &present), 0);
  assert_true(present);
  rig_expect_message(alice, "t", "for alice", 1);
  rig_end(&rig);
  roam_store_free(store);
}

/* Begun on a broker that asked nobody: passwords that come later lock out no one. */
static void a_session_of_nobody_is_free(void **state) {
  (void)state;
  struct rig rig;
  struct link *l;
  bool present;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  join(&rig, "x", NULL);
  rig_end(&rig);
  begin_with_users(&rig, store);
  assert_int_equal(login(&rig, "x", "bob", &l, &present), 0);
  assert_true(present);
  rig_end(&rig);
  begin_with_users(&rig, store);
  assert_int_equal(login(&rig, "x", "alice", &l, &present), ROAM_REASON_NOT_AUTHORIZED);
  rig_end(&rig);
  roam_store_free(store);
}

static roam_rc read_layout(void *context, roam_bytes key, roam_bytes record) {
  if (key.len == 1 && key.base[0] == 'f') *(uint32_t *)context = (uint32_t)roam_number_read(record);
  return 0;
}

/* One session that is gone and one that was connected when the process ended. */
static void an_older_layout_is_taken_over(void **state) {
  (void)state;
  struct rig rig;
  struct link *l;
  bool present;
  struct roam_batch b = {0};
  uint32_t layout = 0;
  uint64_t gone = (uint64_t)WALL * 1000 - 1000;
  uint8_t record[14] = OLD_SESSION;
  char why[ROAM_STORE_WHY_MAX];
  roam_store *store = roam_store_memory();
  put(&b, "f", 1, "\0\0\0\1", 4);
  put(&b, SESSION, 9, OLD_SESSION, 14);
  record[13] = 'y';
  roam_number_write(record + 5, gone, 8);
  put(&b, "s\0\0\0\0\0\0\0\2", 9, record, 14);
  put(&b, "s\0\0\0\0\0\0\0\2ft", 11, "\1\0\0\0\0\0", 6);
  assert_int_equal(store->ops->commit(store, (roam_bytes){b.base, b.len}, why), 0);
  roam_batch_reset(&b);
  for (int i = 0; i < 2; i++) { /* the second time it is today's */
    begin_with_users(&rig, store);
    rig_wait(&rig, ROAM_MS);
    assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 2);
    assert_int_equal(roam_broker_get_stats(rig.broker).subscriptions, 1);
    rig_end(&rig);
    assert_int_equal(store->ops->scan(store, read_layout, &layout, why), 0);
    assert_int_equal(layout, 2);
  }
  begin_with_users(&rig, store);
  assert_int_equal(login(&rig, "x", "alice", &l, &present), 0);
  assert_true(present);
  rig_end(&rig);
  begin_at(&rig, store, WALL + 8); /* y went a second before WALL and had nine */
  rig_wait(&rig, ROAM_MS);
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 1);
  rig_end(&rig);
  roam_store_free(store);
}

/* Bounds that became less than what is there are said, not met by forgetting. */
static void bounds(void **state) {
  (void)state;
  struct rig rig;
  roam_store *store = roam_store_memory();
  begin_at(&rig, store, WALL);
  struct link *l = join(&rig, "a", NULL);
  join(&rig, "b", NULL);
  rig_publish(&rig, l, "r/1", "x", 1, true);
  rig_publish(&rig, l, "r/2", "x", 1, true);
  rig_end(&rig);
  for (int i = 0; i < 2; i++) {
    roam_broker_options o = options(store, WALL);
    roam_rc rc = 0;
    if (i == 0) o.sessions_max = 1;
    else o.retained_max = 1;
    roam_broker *b = roam_broker_new(&o, ROAM_S, &rig.rng.random, &rc);
    assert_null(b);
    assert_int_equal(rc, ROAM_E_LIMIT);
  }
  roam_store_free(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_wait),
      cmocka_unit_test(clean_sessions_cost_nothing),
      cmocka_unit_test(keeping_up_leaves_nothing),
      cmocka_unit_test(sessions_come_back),
      cmocka_unit_test(exactly_once_goes_on),
      cmocka_unit_test(one_message_for_all),
      cmocka_unit_test(retained_come_back),
      cmocka_unit_test(wills_come_back),
      cmocka_unit_test(expiry_goes_on),
      cmocka_unit_test(what_ends_is_gone),
      cmocka_unit_test(shared_go_to_the_heir),
      cmocka_unit_test(kept_no_longer),
      cmocka_unit_test(full_is_tried_again),
      cmocka_unit_test(other_failures_are_final),
      cmocka_unit_test(silence_is_a_failure),
      cmocka_unit_test(too_much_is_not_read),
      cmocka_unit_test(damaged),
      cmocka_unit_test(not_a_brokers),
      cmocka_unit_test(bounds),
      cmocka_unit_test(a_session_stays_its_users),
      cmocka_unit_test(a_session_of_nobody_is_free),
      cmocka_unit_test(an_older_layout_is_taken_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
