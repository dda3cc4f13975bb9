/* sessions_test.c - how long a session lives and who may have it: take-over, expiry, offline queue, keep-alive, and what
 * the snapshots tell of it. */
#include "rig.h"

static void disconnect(struct rig *rig, struct link *l, uint8_t reason) {
  rig_send(rig, l, &(roam_packet){.type = ROAM_DISCONNECT, .reason = reason});
  rig_hang_up(rig, l, 0);
}

static bool present(struct rig *rig, const char *id, uint8_t version, bool clean, struct link **out) {
  struct link *l = rig_open(rig, version);
  roam_packet connect = rig_connect_packet(id, clean);
  roam_packet connack = rig_greet(rig, l, &connect);
  assert_int_equal(connack.reason, 0);
  if (out) *out = l;
  return connack.session_present;
}

static void take_over(void **state) {
  (void)state;
  for (uint8_t version = 4; version <= 5; version++) {
    struct rig rig;
    rig_begin(&rig, NULL);
    struct link *first = rig_join(&rig, "x", version, false, 100);
    rig_subscribe(&rig, first, "t", 1);
    struct link *second;
    assert_true(present(&rig, "x", version, false, &second));
    if (version == 5) assert_int_equal(rig_expect(first, ROAM_DISCONNECT).reason, ROAM_REASON_SESSION_TAKEN_OVER);
    rig_expect_nothing(first);
    assert_false(first->open);
    rig_publish(&rig, second, "t", "mine", 0, false);
    rig_expect_message(second, "t", "mine", 0);
    roam_broker_stats stats = roam_broker_get_stats(rig.broker);
    assert_int_equal(stats.sessions_taken_over, 1);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(rig_event(&rig, ROAM_EV_PEER_DISCONNECTED, "x")->reason, ROAM_REASON_SESSION_TAKEN_OVER);
    rig_end(&rig);
  }
}

/* What was in flight and what was queued comes in order, the first with DUP. */
static void offline_queue(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *pub = rig_join(&rig, "pub", 4, true, 0), *sub = rig_join(&rig, "sub", 4, false, 0);
  rig_subscribe(&rig, sub, "t/#", 2);
  rig_publish(&rig, pub, "t", "in flight", 1, false);
  rig_expect_message(sub, "t", "in flight", 1);
  rig_hang_up(&rig, sub, ECONNRESET);
  rig_publish(&rig, pub, "t", "zero", 0, false);
  rig_publish(&rig, pub, "t", "one", 1, false);
  rig_publish(&rig, pub, "t", "two", 2, false);
  roam_peer_info info;
  assert_int_equal(roam_broker_client(rig.broker, "sub", &info), 0);
  assert_false(info.connected);
  assert_int_equal(info.queued, 2);
  assert_int_equal(info.inflight, 1);
  assert_true(present(&rig, "sub", 4, false, &sub));
  assert_true(rig_expect_message(sub, "t", "in flight", 1).dup);
  assert_false(rig_expect_message(sub, "t", "one", 1).dup);
  rig_expect_message(sub, "t", "two", 2);
  rig_expect_nothing(sub);
  disconnect(&rig, sub, 0);
  assert_false(present(&rig, "sub", 4, true, &sub)); /* a clean start forgets it all */
  rig_expect_nothing(sub);
  rig_publish(&rig, pub, "t", "x", 0, false);
  rig_expect_nothing(sub);
  rig_end(&rig);
}

static void expiry(void **state) {
  static const struct {
    const char *name;
    uint8_t version;
    bool clean;
    uint32_t expiry_s, wait_s;
    bool present;
  } cases[] = {
      {"5.0, none", 5, false, 0, 0, false},
      {"5.0, in time", 5, false, 10, 9, true},
      {"5.0, too late", 5, false, 10, 10, false},
      {"5.0, never is cut to the maximum", 5, false, UINT32_MAX, 999, true},
      {"5.0, the maximum", 5, false, UINT32_MAX, 1000, false},
      {"5.0, clean start with an interval", 5, true, 10, 9, true},
      {"3.1.1", 4, false, 0, 999, true},
      {"3.1.1, the maximum", 4, false, 0, 1000, false},
      {"3.1.1, clean", 4, true, 0, 0, false},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig rig;
    roam_broker_options o;
    roam_broker_options_init(&o);
    o.session_expiry_max_s = 1000;
    rig_begin(&rig, &o);
    struct link *l = rig_join(&rig, "x", cases[i].version, cases[i].clean, cases[i].expiry_s);
    rig_subscribe(&rig, l, "t", 1);
    disconnect(&rig, l, 0);
    rig_wait(&rig, cases[i].wait_s * ROAM_S);
    assert_int_equal(roam_broker_get_stats(rig.broker).sessions, cases[i].present);
    assert_int_equal(roam_broker_get_stats(rig.broker).subscriptions, cases[i].present);
    if (present(&rig, "x", cases[i].version, false, NULL) != cases[i].present) fail_msg("%s", cases[i].name);
    rig_end(&rig);
  }
}

/* While it is connected nothing expires; DISCONNECT may change the interval. */
static void expiry_while_connected(void **state) {
  (void)state;
  struct rig rig;
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  rig_begin(&rig, NULL);
  struct link *l = rig_join(&rig, "x", 5, false, 10);
  rig_wait(&rig, 1000 * ROAM_S);
  assert_true(l->open);
  roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 50);
  rig_send(&rig, l, &(roam_packet){.type = ROAM_DISCONNECT, .props = {bytes, props.len}});
  rig_wait(&rig, 49 * ROAM_S);
  assert_true(present(&rig, "x", 5, false, &l)); /* and now the interval is 0 */
  disconnect(&rig, l, 0);
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 0);
  rig_end(&rig);
}

/* A QoS 2 message that came again after a reconnect is routed once. */
static void exactly_once_over_connections(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *sub = rig_join(&rig, "sub", 5, true, 0), *pub = rig_join(&rig, "pub", 5, false, 100);
  rig_subscribe(&rig, sub, "t", 0);
  uint16_t id = rig_publish(&rig, pub, "t", "once", 2, false);
  rig_hang_up(&rig, pub, ECONNRESET);
  assert_true(present(&rig, "pub", 5, false, &pub));
  rig_send(&rig, pub,
           &(roam_packet){
               .type = ROAM_PUBLISH, .qos = 2, .dup = true, .packet_id = id, .topic = text("t"), .payload = text("once")});
  assert_int_equal(rig_expect(pub, ROAM_PUBREC).packet_id, id);
  rig_ack(&rig, pub, ROAM_PUBREL, id);
  rig_expect(pub, ROAM_PUBCOMP);
  rig_expect_message(sub, "t", "once", 0);
  rig_expect_nothing(sub);
  rig_end(&rig);
}

static void keep_alive(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *l = rig_open(&rig, 5);
  roam_packet connect = rig_connect_packet("x", true);
  connect.connect.keep_alive_s = 10;
  rig_greet(&rig, l, &connect);
  for (int i = 0; i < 10; i++) {
    rig_wait(&rig, 14 * ROAM_S);
    rig_send(&rig, l, &(roam_packet){.type = ROAM_PINGREQ});
    rig_expect(l, ROAM_PINGRESP);
  }
  rig_wait(&rig, 15 * ROAM_S - 1);
  assert_true(l->open);
  rig_wait(&rig, 1);
  assert_false(l->open);
  assert_int_equal(rig_expect(l, ROAM_DISCONNECT).reason, ROAM_REASON_KEEP_ALIVE_TIMEOUT);
  assert_int_equal(rig_event(&rig, ROAM_EV_PEER_DISCONNECTED, "x")->rc, ROAM_E_TIMEOUT);
  rig_end(&rig);
}

/* ---- wills ---- */

static struct link *join_with_will(struct rig *rig, uint8_t version, bool clean, uint32_t expiry_s, uint32_t delay_s) {
  uint8_t bytes[8], will[16];
  roam_props props = {.base = bytes, .cap = sizeof bytes}, will_props = {.base = will, .cap = sizeof will};
  struct link *l = rig_open(rig, version);
  roam_packet connect = rig_connect_packet("w", clean);
  connect.connect.has_will = true;
  connect.connect.will_qos = 1;
  connect.connect.will_retain = true;
  connect.connect.keep_alive_s = 10;
  connect.connect.will_topic = text("will");
  connect.connect.will_payload = text("gone");
  if (version == 5) {
    if (expiry_s) roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, expiry_s);
    if (delay_s) roam_props_put_number(&will_props, ROAM_PROP_WILL_DELAY_INTERVAL, delay_s);
    roam_props_put_number(&will_props, ROAM_PROP_PAYLOAD_FORMAT_INDICATOR, 1);
    connect.props = (roam_bytes){bytes, props.len};
    connect.connect.will_props = (roam_bytes){will, will_props.len};
  }
  assert_int_equal(rig_greet(rig, l, &connect).reason, 0);
  return l;
}

enum how_it_ends {
  DISCONNECT_0,
  DISCONNECT_4,
  FIN,
  RESET,
  SILENCE,
  BAD_PACKET,
  KICKED
};

static void end_it(struct rig *rig, struct link *l, enum how_it_ends how) {
  switch (how) {
    case DISCONNECT_0: disconnect(rig, l, 0); break;
    case DISCONNECT_4: disconnect(rig, l, l->version == 5 ? ROAM_REASON_DISCONNECT_WITH_WILL : 0); break;
    case FIN: rig_hang_up(rig, l, 0); break;
    case RESET: rig_hang_up(rig, l, ECONNRESET); break;
    case SILENCE: rig_wait(rig, 15 * ROAM_S); break;
    case BAD_PACKET: rig_send_raw(rig, l, "\x00\x00", 2); break;
    case KICKED:
      roam_broker_kick(rig->broker, rig->now, "w", 0x98);
      rig_run(rig);
      break;
  }
}

static void wills(void **state) {
  static const struct {
    const char *name;
    uint8_t version;
    enum how_it_ends how;
    uint32_t expiry_s, delay_s, after_s; /* after_s: when it is published; 1000: never */
  } cases[] = {
      {"5.0 goodbye", 5, DISCONNECT_0, 100, 0, 1000},
      {"3.1.1 goodbye", 4, DISCONNECT_0, 0, 0, 1000},
      {"5.0 goodbye, delayed will", 5, DISCONNECT_0, 100, 5, 1000},
      {"5.0 goodbye with will", 5, DISCONNECT_4, 100, 0, 0},
      {"5.0 goodbye with delayed will", 5, DISCONNECT_4, 100, 5, 5},
      {"FIN", 5, FIN, 100, 0, 0},
      {"3.1.1 FIN", 4, FIN, 0, 0, 0},
      {"reset", 5, RESET, 100, 0, 0},
      {"reset, delayed", 5, RESET, 100, 30, 30},
      {"the session ends first", 5, RESET, 20, 30, 20},
      {"there is no session to wait for", 5, RESET, 0, 30, 0},
      {"silence", 5, SILENCE, 100, 0, 0},
      {"silence, delayed", 5, SILENCE, 100, 7, 7},
      {"malformed packet", 5, BAD_PACKET, 100, 0, 0},
      {"kicked", 5, KICKED, 100, 0, 0},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig rig;
    rig_begin(&rig, NULL);
    struct link *sub = rig_join(&rig, "sub", 5, true, 0);
    rig_subscribe(&rig, sub, "will", 1);
    struct link *l = join_with_will(&rig, cases[i].version, false, cases[i].expiry_s, cases[i].delay_s);
    end_it(&rig, l, cases[i].how);
    uint32_t after = cases[i].after_s;
    if (after > 0) {
      rig_wait(&rig, (after < 1000 ? after : 200) * ROAM_S - 1);
      rig_expect_nothing(sub);
      rig_wait(&rig, 1);
    }
    if (after < 1000) {
      roam_packet p = rig_expect_message(sub, "will", "gone", 1);
      roam_prop prop;
      assert_int_equal(roam_prop_find(p.props, ROAM_PROP_PAYLOAD_FORMAT_INDICATOR, &prop), cases[i].version == 5);
    }
    rig_wait(&rig, 300 * ROAM_S);
    rig_expect_nothing(sub); /* once */
    if (roam_broker_get_stats(rig.broker).retained != (after < 1000)) fail_msg("%s", cases[i].name);
    rig_end(&rig);
  }
}

/* A new connection to the session drops a will that waits; a clean start ends the session and so publishes it. */
static void wills_and_new_connections(void **state) {
  static const struct {
    const char *name;
    uint32_t delay_s;
    bool alive, clean, published; /* alive: taken over */
  } cases[] = {
      {"resumed within the delay", 30, false, false, false}, {"clean start within the delay", 30, false, true, true},
      {"taken over, delayed", 30, true, false, false},       {"taken over, at once", 0, true, false, true},
      {"taken over by a clean start", 30, true, true, true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig rig;
    rig_begin(&rig, NULL);
    struct link *sub = rig_join(&rig, "sub", 5, true, 0), *l = join_with_will(&rig, 5, false, 100, cases[i].delay_s);
    rig_subscribe(&rig, sub, "will", 1);
    if (!cases[i].alive) rig_hang_up(&rig, l, ECONNRESET);
    rig_wait(&rig, ROAM_S);
    rig_join(&rig, "w", 5, cases[i].clean, 100);
    rig_wait(&rig, 500 * ROAM_S);
    roam_packet p;
    roam_fault fault;
    if (roam_reader_next(sub->reader, &p, &fault) != cases[i].published) fail_msg("%s", cases[i].name);
    rig_end(&rig);
  }
}

/* ---- snapshots ---- */

static void snapshots(void **state) {
  (void)state;
  struct rig rig;
  roam_peer_info info[4];
  roam_address_change history[4];
  rig_begin(&rig, NULL);
  struct link *first = rig_join(&rig, "first", 5, false, 100);
  rig_join(&rig, "second", 4, true, 0);
  assert_int_equal(roam_broker_clients(rig.broker, 0, info, 4), 2);
  assert_string_equal(info[0].client_id, "first");
  assert_string_equal(info[1].client_id, "second");
  assert_int_equal(info[0].version, 5);
  assert_int_equal(info[1].transport, ROAM_TRANSPORT_TCP);
  assert_int_equal(roam_broker_clients(rig.broker, 1, info, 1), 1);
  assert_string_equal(info[0].client_id, "second");
  assert_int_equal(roam_broker_clients(rig.broker, 2, info, 1), 0);
  rig_hang_up(&rig, first, ECONNRESET);
  rig_wait(&rig, ROAM_S);
  rig_join(&rig, "first", 5, false, 100);
  assert_int_equal(roam_broker_client(rig.broker, "first", &info[0]), 0);
  assert_true(info[0].connected);
  assert_int_equal(info[0].connects, 2);
  assert_int_equal(info[0].moves, 0);
  assert_int_equal(info[0].ip_address.port, 40003);
  assert_int_equal(roam_broker_history(rig.broker, "first", history, 4), 2);
  assert_int_equal(history[0].address.port, 40001);
  assert_true(history[1].by_connect && history[1].at == history[0].at + ROAM_S);
  assert_int_equal(roam_broker_client(rig.broker, "third", &info[0]), ROAM_E_NOT_FOUND);
  assert_int_equal(roam_broker_history(rig.broker, "third", history, 4), 0);
  rig_end(&rig);
}

/* Clients without a session are remembered, the last 4096 of them. */
static void remembered(void **state) {
  (void)state;
  struct rig rig;
  roam_peer_info info;
  rig_begin(&rig, NULL);
  for (int i = 0; i < 4100; i++) {
    char id[16];
    snprintf(id, sizeof id, "client-%d", i);
    disconnect(&rig, rig_join(&rig, id, 5, true, 0), 0);
    roam_reader_free(rig.links[--rig.links_len].reader);
  }
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 0);
  assert_int_equal(roam_broker_client(rig.broker, "client-3", &info), ROAM_E_NOT_FOUND);
  assert_int_equal(roam_broker_client(rig.broker, "client-4", &info), 0);
  assert_int_equal(info.connects, 1);
  rig_join(&rig, "client-4", 5, true, 0);
  assert_int_equal(roam_broker_client(rig.broker, "client-4", &info), 0);
  assert_int_equal(info.connects, 2);
  rig_end(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(take_over),
      cmocka_unit_test(offline_queue),
      cmocka_unit_test(expiry),
      cmocka_unit_test(expiry_while_connected),
      cmocka_unit_test(exactly_once_over_connections),
      cmocka_unit_test(keep_alive),
      cmocka_unit_test(wills),
      cmocka_unit_test(wills_and_new_connections),
      cmocka_unit_test(snapshots),
      cmocka_unit_test(remembered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
