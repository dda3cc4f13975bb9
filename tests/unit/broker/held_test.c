/* held_test.c - what connections may hold: each, with its queue, and all together; over TCP. Over
 * QUIC: lanes_test.c. */
#include "unit/broker/rig.h"

#define PACKET 65536u
#define LEAST (2 * PACKET + 262144u) /* the smallest client_memory_max with such packets */

static roam_broker_options options(size_t client, size_t all) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.maximum_packet_size = PACKET;
  o.client_memory_max = client;
  o.memory_max = all;
  o.sys_interval_s = 0;
  return o;
}

static void publish_bytes(struct rig *rig, struct link *l, const char *topic, size_t len, uint8_t qos) {
  char *payload = calloc(1, len + 1);
  assert_non_null(payload);
  memset(payload, 'x', len);
  rig_publish(rig, l, topic, payload, qos, false);
  if (qos > 0) rig_expect(l, ROAM_PUBACK);
  free(payload);
}

/* A client that reads nothing more and has subscribed to its own name. */
static struct link *stall(struct rig *rig, const char *id) {
  struct link *l = rig_join(rig, id, ROAM_MQTT_5, true, 100);
  rig_subscribe(rig, l, id, 1);
  l->stalled = true;
  return l;
}

static roam_peer_info info_of(const struct rig *rig, const char *id) {
  roam_peer_info info;
  assert_int_equal(roam_broker_client(rig->broker, id, &info), 0);
  return info;
}

static void what_is_held_is_counted(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options(LEAST, 1u << 30);
  rig_begin(&rig, &o);
  struct link *pub = rig_join(&rig, "pub", ROAM_MQTT_5, true, 0);
  size_t idle = info_of(&rig, "pub").memory_bytes;
  assert_in_range(idle, 500, 20000);
  stall(&rig, "sub");
  for (int i = 0; i < 10; i++) publish_bytes(&rig, pub, "sub", 10000, 1);
  roam_peer_info sub = info_of(&rig, "sub");
  assert_in_range(sub.memory_bytes, 200000, 220000); /* on its way, and kept until it is acknowledged */
  assert_int_equal(sub.queued_bytes, 0);
  roam_broker_stats stats = roam_broker_get_stats(rig.broker);
  assert_in_range(stats.memory_bytes, sub.memory_bytes, sub.memory_bytes + 40000);
  uint8_t half[] = {0x30, 0xe0, 0xd4, 0x03, 0, 1, 't'}; /* of 60000 bytes */
  rig_send_raw(&rig, pub, half, sizeof half);
  uint8_t body[30000] = {0};
  rig_send_raw(&rig, pub, body, sizeof body);
  assert_in_range(info_of(&rig, "pub").memory_bytes, idle + 30000, idle + 70000);
  assert_int_equal(stats.memory_limited, 0);
  rig_end(&rig);
}

/* One that reads nothing: its connection is ended before it holds more, or its session when the rest is full, too. */
static void who_reads_nothing_is_bounded(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options(640000, 1u << 30);
  rig_begin(&rig, &o);
  struct link *pub = rig_join(&rig, "pub", ROAM_MQTT_5, true, 0);
  stall(&rig, "sub");
  int sent = 0;
  for (; info_of(&rig, "sub").connected && sent < 200; sent++) {
    publish_bytes(&rig, pub, "sub", 10000, 1);
    roam_peer_info sub = info_of(&rig, "sub");
    assert_in_range(sub.memory_bytes, 0, 640000 + 20000);
    assert_in_range(sub.memory_bytes + sub.queued_bytes, 0, 640000 + 320000 + 20000);
  }
  assert_in_range(sent, 30, 100);
  assert_int_equal(rig_event(&rig, ROAM_EV_PEER_DISCONNECTED, "sub")->reason, ROAM_REASON_QUOTA_EXCEEDED);
  roam_broker_stats stats = roam_broker_get_stats(rig.broker);
  assert_true(stats.memory_limited + stats.sessions_overflowed > 0);
  assert_true(pub->open);
  rig_end(&rig);
}

/* Whoever holds the most goes, and the others stay. */
static void the_one_that_holds_most_is_ended(void **state) {
  (void)state;
  struct rig rig;
  char id[8];
  roam_broker_options o = options(LEAST, 1 << 20);
  rig_begin(&rig, &o);
  struct link *pub = rig_join(&rig, "pub", ROAM_MQTT_5, true, 0);
  for (int i = 0; i < 8; i++) {
    snprintf(id, sizeof id, "hog%d", i);
    stall(&rig, id);
  }
  for (int round = 0; round < 24; round++) {
    for (int i = 0; i < 8; i++) {
      snprintf(id, sizeof id, "hog%d", i);
      publish_bytes(&rig, pub, id, i == 3 ? 20000 : 5000, 0);
    }
    rig_wait(&rig, 200 * ROAM_MS);
    roam_broker_stats stats = roam_broker_get_stats(rig.broker);
    assert_in_range(stats.memory_bytes + stats.queued_bytes, 0, (1 << 20) + 200000);
    if (stats.memory_limited == 1) assert_false(info_of(&rig, "hog3").connected);
  }
  roam_broker_stats stats = roam_broker_get_stats(rig.broker);
  assert_in_range(stats.memory_limited, 1, 7);
  assert_true(pub->open);
  assert_int_equal(rig_event(&rig, ROAM_EV_PEER_DISCONNECTED, "hog3")->reason, ROAM_REASON_QUOTA_EXCEEDED);
  rig_end(&rig);
}

/* All are modest, and there are too many of them: no more come in, until some have left. */
static void a_full_house_lets_nobody_in(void **state) {
  (void)state;
  struct rig rig;
  char id[16];
  roam_broker_options o = options(LEAST, LEAST);
  rig_begin(&rig, &o);
  struct link *pub = rig_join(&rig, "pub", ROAM_MQTT_5, true, 0), *last = NULL;
  int in = 0;
  for (; in < 30 && roam_broker_get_stats(rig.broker).memory_bytes <= LEAST; in++) {
    snprintf(id, sizeof id, "sub%d", in);
    last = stall(&rig, id);
    publish_bytes(&rig, pub, id, 45000, 0);
  }
  assert_in_range(in, 7, 20);
  assert_true(last->open);
  struct link *late = rig_open(&rig, ROAM_MQTT_5);
  assert_false(late->open);
  assert_int_equal(rig_event(&rig, ROAM_EV_PEER_REFUSED, "")->rc, ROAM_E_LIMIT);
  assert_true(roam_broker_get_stats(rig.broker).memory_limited > 0);
  for (size_t i = 1; i < 4; i++) rig_hang_up(&rig, &rig.links[i], 0);
  assert_true(rig_open(&rig, ROAM_MQTT_5)->open);
  rig_end(&rig);
}

/* Reads everything and acknowledges nothing: what waits for it stops being sent, and stays within the bound. */
static void who_never_acknowledges_is_bounded(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o = options(640000, 1u << 30);
  rig_begin(&rig, &o);
  struct link *pub = rig_join(&rig, "pub", ROAM_MQTT_5, true, 0), *sub = rig_join(&rig, "sub", ROAM_MQTT_5, true, 100);
  rig_subscribe(&rig, sub, "sub", 1);
  int sent = 0, got = 0;
  roam_packet p;
  roam_fault fault;
  for (; roam_broker_get_stats(rig.broker).sessions_overflowed == 0 && sent < 100; sent++) {
    publish_bytes(&rig, pub, "sub", 10000, 1);
    while (roam_reader_next(sub->reader, &p, &fault) == 1) got += p.type == ROAM_PUBLISH;
    assert_in_range(info_of(&rig, "sub").memory_bytes + info_of(&rig, "sub").queued_bytes, 0, 680000);
  }
  assert_in_range(got, 25, 32); /* half of client_memory_max */
  assert_in_range(sent, 55, 66);
  rig_end(&rig);
}

static void bounds_are_checked(void **state) {
  (void)state;
  roam_broker_options o = options(LEAST, LEAST);
  assert_null(roam_broker_option_error(&o));
  o.client_memory_max = LEAST - 1;
  assert_non_null(strstr(roam_broker_option_error(&o), "client_memory_max is too small"));
  o = options(LEAST, LEAST - 1);
  assert_non_null(strstr(roam_broker_option_error(&o), "memory_max is below"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_held_is_counted),           cmocka_unit_test(who_reads_nothing_is_bounded),
      cmocka_unit_test(the_one_that_holds_most_is_ended),  cmocka_unit_test(a_full_house_lets_nobody_in),
      cmocka_unit_test(who_never_acknowledges_is_bounded), cmocka_unit_test(bounds_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
