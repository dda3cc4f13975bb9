/* workers_durable_test.c - several workers with one store: what is acknowledged is committed on all of them, a commit is
 * whole, sessions keep what is theirs when they move, and another number of workers finds everything. */
#include "workers.h"

#define WALL INT64_C(1700000000)

static struct office o;
static roam_store *store;

static void with_store(roam_broker_options *options) {
  options->store = store;
  options->tls.wall_unix_s = WALL;
}

static void begin(uint32_t n, uint64_t seed) { office_begin(&o, n, seed, with_store); }

static void restart(uint32_t n) {
  office_end(&o);
  begin(n, 1);
}

static void wake_disk(void) {
  o.asleep = false;
  if (o.parts_len == o.n) office_write(&o);
  settle_all();
}

static struct link *resume(uint32_t worker, const char *id) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct link *l = rig_open(&o.rigs[worker], ROAM_MQTT_5);
  roam_packet connect = rig_connect_packet(id, false);
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 1000), 0);
  connect.props = (roam_bytes){bytes, props.len};
  assert_true(rig_greet(&o.rigs[worker], l, &connect).session_present);
  return l;
}

static void acknowledgements_wait_for_the_commit_of_all(void **state) {
  (void)state;
  begin(3, 1);
  struct link *sub = rig_join(&o.rigs[1], "sub", 5, true, 1000), *pub = rig_join(&o.rigs[0], "pub", 5, true, 0);
  rig_subscribe(&o.rigs[1], sub, "t", 1);
  rig_hang_up(&o.rigs[1], sub, 0);
  o.asleep = true;
  rig_publish(&o.rigs[0], pub, "t", "one", 1, false);
  rig_expect_nothing(pub); /* it is on its way to worker 1's disk */
  rig_publish(&o.rigs[0], pub, "r", "kept", 1, true);
  rig_expect_nothing(pub);
  wake_disk();
  rig_expect(pub, ROAM_PUBACK);
  rig_expect(pub, ROAM_PUBACK);
  assert_int_equal(rig_records(store, 'm', 0), 1);
  assert_int_equal(rig_records(store, 't', 0), 1);
  restart(3);
  rig_expect_message(resume(2, "sub"), "t", "one", 1);
  for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->retained.count, 1);
  office_end(&o);
}

/* The process dies while parts of a commit are missing, at each moment: either the publisher's identifier and the
 * subscriber's delivery are there, or neither is. */
static void a_commit_is_whole(void **state) {
  (void)state;
  uint32_t lost = 0, there = 0;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    roam_store_free(store);
    store = roam_store_memory();
    begin(3, seed);
    struct link *sub = rig_join(&o.rigs[1], "sub", 5, true, 1000), *pub = rig_join(&o.rigs[0], "pub", 5, true, 1000);
    rig_subscribe(&o.rigs[1], sub, "t", 2);
    rig_hang_up(&o.rigs[1], sub, 0);
    o.held = true;
    rig_publish(&o.rigs[0], pub, "t", "one", 2, false);
    for (uint64_t k = 0; k < seed; k++) deliver_some();
    restart(3);
    uint32_t deliveries = rig_records(store, 's', 'q'), identifiers = rig_records(store, 's', 'r');
    assert_int_equal(deliveries, identifiers);
    lost += deliveries == 0;
    there += deliveries == 1;
    pub = resume(0, "pub"); /* it says it again, for it has heard nothing, or something that is lost */
    rig_send(&o.rigs[0], pub,
             &(roam_packet){
                 .type = ROAM_PUBLISH, .qos = 2, .dup = true, .packet_id = 1, .topic = text("t"), .payload = text("one")});
    rig_expect(pub, ROAM_PUBREC);
    rig_ack(&o.rigs[0], pub, ROAM_PUBREL, 1);
    rig_expect(pub, ROAM_PUBCOMP);
    sub = resume(2, "sub");
    rig_expect_message(sub, "t", "one", 2);
    rig_expect_nothing(sub);
    office_end(&o);
  }
  assert_true(lost > 5 && there > 5);
}

/* Queued, under way in each state, received, a will: all of it moves, is written under its new number, and nothing is left
 * under the old one; also when the process dies at any moment of it. */
static void a_session_that_moves_is_written_anew(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    roam_store_free(store);
    store = roam_store_memory();
    begin(3, seed);
    struct link *pub = rig_join(&o.rigs[1], "pub", 5, true, 0), *first = rig_join(&o.rigs[0], "c", 5, true, 1000);
    rig_subscribe(&o.rigs[0], first, "q/#", 2);
    rig_publish(&o.rigs[1], pub, "q/1", "released", 2, false);
    uint16_t released = rig_expect_message(first, "q/1", "released", 2).packet_id;
    rig_ack(&o.rigs[0], first, ROAM_PUBREC, released);
    rig_expect(first, ROAM_PUBREL);
    rig_publish(&o.rigs[1], pub, "q/2", "sent", 2, false);
    uint16_t sent = rig_expect_message(first, "q/2", "sent", 2).packet_id;
    rig_publish(&o.rigs[0], first, "x", "mine", 2, false);
    uint16_t own = first->next_id;
    rig_hang_up(&o.rigs[0], first, ECONNRESET);
    rig_publish(&o.rigs[1], pub, "q/3", "queued", 1, false);
    rig_publish(&o.rigs[1], pub, "q/4", "queued too", 2, false);
    o.held = true;
    struct link *second = rig_open(&o.rigs[2], 5);
    roam_packet connect = rig_connect_packet("c", false);
    uint8_t bytes[8];
    roam_props props = {.base = bytes, .cap = sizeof bytes};
    assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 1000), 0);
    connect.props = (roam_bytes){bytes, props.len};
    rig_send(&o.rigs[2], second, &connect);
    for (uint64_t k = 0; k < seed * 2; k++) deliver_some();
    restart(3);
    assert_int_equal(rig_records(store, 's', 0), 1);
    assert_int_equal(rig_records(store, 's', 'f'), 1);
    assert_int_equal(rig_records(store, 's', 'q'), 4);
    uint32_t progress = rig_records(store, 's', 'p'); /* what is queued at QoS 2 may have got its identifier there */
    assert_true(progress == 2 || progress == 3);
    assert_int_equal(rig_records(store, 's', 'r'), 1);
    assert_int_equal(rig_records(store, 'm', 0), 3);
    second = resume((uint32_t)(seed % 3), "c");
    assert_int_equal(rig_expect(second, ROAM_PUBREL).packet_id, released);
    assert_int_equal(rig_expect_message(second, "q/2", "sent", 2).packet_id, sent);
    if (progress == 3) rig_expect_message(second, "q/4", "queued too", 2); /* what has an identifier goes first */
    rig_expect_message(second, "q/3", "queued", 1);
    if (progress == 2) rig_expect_message(second, "q/4", "queued too", 2);
    rig_expect_nothing(second);
    rig_ack(&o.rigs[seed % 3], second, ROAM_PUBREL, own);
    assert_int_equal(rig_expect(second, ROAM_PUBCOMP).reason, 0);
    office_end(&o);
  }
}

/* Takes and answers all that comes at QoS 1, or only what has this payload. */
static void answer_all(uint32_t worker, struct link *l, const char *only) {
  roam_packet p;
  roam_fault fault;
  while (roam_reader_next(l->reader, &p, &fault) == 1)
    if (p.type == ROAM_PUBLISH &&
        (!only || (p.payload.len == strlen(only) && memcmp(p.payload.base, only, p.payload.len) == 0)))
      rig_ack(&o.rigs[worker], l, ROAM_PUBACK, p.packet_id);
}

/* Messages for many sessions, and other numbers of workers one after the other: each session has them once, and when all
 * are answered nothing is left. */
static void another_number_of_workers_finds_everything(void **state) {
  (void)state;
  static const uint32_t numbers[] = {1, 4, 2, 3, 3, 1, 4};
  char id[8];
  begin(2, 1);
  struct link *pub = rig_join(&o.rigs[0], "pub", 5, true, 0);
  for (uint32_t i = 0; i < 12; i++) {
    snprintf(id, sizeof id, "s%u", (unsigned)i);
    struct link *l = rig_join(&o.rigs[i % 2], id, 5, true, 1000);
    rig_subscribe(&o.rigs[i % 2], l, "t/#", 1);
    rig_subscribe(&o.rigs[i % 2], l, i % 3 ? "$share/g/w" : "none", 1);
    rig_hang_up(&o.rigs[i % 2], l, 0);
  }
  rig_publish(&o.rigs[0], pub, "t/1", "all", 1, false);
  rig_publish(&o.rigs[0], pub, "t/2", "kept", 1, true);
  rig_publish(&o.rigs[0], pub, "w", "one of them", 1, false);
  for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
    restart(numbers[k]);
    size_t sessions = 0;
    for (uint32_t i = 0; i < numbers[k]; i++) {
      sessions += o.rigs[i].broker->sessions_count;
      assert_int_equal(o.rigs[i].broker->retained.count, 1);
    }
    assert_int_equal(sessions, 12);
    assert_int_equal(rig_records(store, 's', 0), 12);
    assert_int_equal(rig_records(store, 's', 'f'), 24);
    assert_int_equal(rig_records(store, 's', 'q'), 25);
    assert_int_equal(rig_records(store, 't', 0), 1);
    assert_true(rig_records(store, 'm', 0) >= 3 && rig_records(store, 'm', 0) <= 25);
    pub = rig_join(&o.rigs[0], "pub", 5, true, 0); /* they are found where they are now */
    rig_publish(&o.rigs[0], pub, "t/1", "more", 1, false);
    assert_int_equal(rig_expect(pub, ROAM_PUBACK).reason, 0);
    assert_int_equal(rig_records(store, 's', 'q'), 37);
    for (uint32_t i = 0; i < 12; i++) { /* and where they are looked for, which is elsewhere */
      snprintf(id, sizeof id, "s%u", (unsigned)i);
      uint32_t at = (i + (uint32_t)k) % numbers[k];
      struct link *l = resume(at, id);
      answer_all(at, l, "more");
      rig_hang_up(&o.rigs[at], l, 0);
    }
    assert_int_equal(rig_records(store, 's', 'q'), 25);
  }
  for (uint32_t i = 0; i < 12; i++) {
    snprintf(id, sizeof id, "s%u", (unsigned)i);
    answer_all(i % 4, resume(i % 4, id), NULL);
  }
  assert_int_equal(rig_records(store, 's', 'q'), 0);
  assert_int_equal(rig_records(store, 'm', 0), 0);
  office_end(&o);
}

static void writers_everywhere_leave_one_truth(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 30; seed++) {
    roam_store_free(store);
    store = roam_store_memory();
    begin(3, seed);
    struct link *pubs[3];
    char id[8];
    for (uint32_t i = 0; i < 3; i++) {
      snprintf(id, sizeof id, "p%u", (unsigned)i);
      pubs[i] = rig_join(&o.rigs[i], id, 5, true, 0);
    }
    o.held = true;
    for (int k = 0; k < 60; k++) {
      uint64_t chance = roam_random_u64(&o.rng.random);
      char payload[16], topic[8];
      snprintf(payload, sizeof payload, "%d", k);
      snprintf(topic, sizeof topic, "t%u", (unsigned)(chance >> 8) % 2);
      uint32_t who = (uint32_t)(chance % 3);
      rig_publish(&o.rigs[who], pubs[who], topic, chance >> 16 & 1 ? payload : "", 0, true);
      for (uint64_t left = chance >> 20 & 3; left > 0; left--) deliver_some();
    }
    o.held = false;
    settle_all();
    char before[2][16] = {"", ""};
    for (int t = 0; t < 2; t++) {
      const roam_message *m = roam_retain_get(&o.rigs[0].broker->retained, text(t ? "t1" : "t0"));
      if (m) memcpy(before[t], m->payload.base, m->payload.len);
    }
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(o.rigs[i].broker->mail->tombstones.count, 0);
    restart(2);
    for (int t = 0; t < 2; t++)
      for (uint32_t i = 0; i < 2; i++) {
        const roam_message *m = roam_retain_get(&o.rigs[i].broker->retained, text(t ? "t1" : "t0"));
        assert_int_equal(m != NULL, before[t][0] != 0);
        if (m) assert_memory_equal(m->payload.base, before[t], m->payload.len);
      }
    office_end(&o);
  }
}

static void a_full_disk_holds_all_and_a_broken_one_ends_all(void **state) {
  (void)state;
  begin(3, 1);
  struct link *pub = rig_join(&o.rigs[2], "pub", 5, true, 1000), *sub = rig_join(&o.rigs[0], "sub", 5, true, 1000);
  rig_subscribe(&o.rigs[0], sub, "t", 1);
  rig_hang_up(&o.rigs[0], sub, 0);
  o.disk_error = ROAM_E_NO_SPACE;
  rig_publish(&o.rigs[2], pub, "t", "one", 1, false);
  for (uint32_t i = 0; i < 3; i++) assert_non_null(rig_event(&o.rigs[i], ROAM_EV_STORE_FAILED, ""));
  office_wait(&o, 3 * ROAM_S);
  rig_expect_nothing(pub);
  o.disk_error = 0;
  office_wait(&o, 2 * ROAM_S);
  rig_expect(pub, ROAM_PUBACK);
  assert_int_equal(rig_records(store, 's', 'q'), 1);
  o.disk_error = ROAM_E_IO;
  rig_publish(&o.rigs[2], pub, "t", "two", 1, false);
  assert_int_equal(rig_expect(pub, ROAM_DISCONNECT).reason, ROAM_REASON_IMPLEMENTATION_SPECIFIC);
  for (uint32_t i = 0; i < 3; i++) {
    assert_true(roam_broker_get_stats(o.rigs[i].broker).store_failed);
    struct link *late = rig_open(&o.rigs[i], 5);
    roam_packet connect = rig_connect_packet("late", true);
    assert_int_equal(rig_greet(&o.rigs[i], late, &connect).reason, ROAM_REASON_SERVER_UNAVAILABLE);
  }
  office_end(&o);
}

static void set_timeout(roam_broker_options *options) {
  with_store(options);
  options->store_timeout_ns = 5 * ROAM_S;
}

/* One that does not answer any more ends the store for all, as a disk would. */
static void a_worker_that_hangs_is_noticed(void **state) {
  (void)state;
  office_begin(&o, 3, 1, set_timeout);
  struct link *pub = rig_join(&o.rigs[0], "pub", 5, true, 1000);
  o.held = true;
  rig_publish(&o.rigs[0], pub, "t", "one", 1, true);
  while (deliver_one(0, 1) || deliver_one(1, 0)) continue;
  rig_expect_nothing(pub);
  for (uint32_t i = 0; i < 2; i++) rig_wait(&o.rigs[i], 6 * ROAM_S);
  assert_int_equal(rig_expect(pub, ROAM_DISCONNECT).reason, ROAM_REASON_IMPLEMENTATION_SPECIFIC);
  assert_true(roam_broker_get_stats(o.rigs[1].broker).store_failed);
  while (deliver_some()) continue;
  assert_true(roam_broker_get_stats(o.rigs[2].broker).store_failed);
  office_end(&o);
}

static void a_secret_outlives_a_restart(void **state) {
  (void)state;
  uint8_t one[32], two[32];
  char why[ROAM_STORE_WHY_MAX];
  assert_int_equal(roam_broker_secret(store, one, why), 0);
  begin(2, 1); /* and it is a store like any other */
  office_end(&o);
  assert_int_equal(roam_broker_secret(store, two, why), 0);
  assert_memory_equal(one, two, sizeof one);
}

static int set_up(void **state) {
  (void)state;
  store = roam_store_memory();
  return store == NULL;
}

static int tear_down(void **state) {
  (void)state;
  roam_store_free(store);
  store = NULL;
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(acknowledgements_wait_for_the_commit_of_all, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_commit_is_whole, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_session_that_moves_is_written_anew, set_up, tear_down),
      cmocka_unit_test_setup_teardown(another_number_of_workers_finds_everything, set_up, tear_down),
      cmocka_unit_test_setup_teardown(writers_everywhere_leave_one_truth, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_full_disk_holds_all_and_a_broken_one_ends_all, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_worker_that_hangs_is_noticed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_secret_outlives_a_restart, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("workers with a store", tests, NULL, NULL);
}
