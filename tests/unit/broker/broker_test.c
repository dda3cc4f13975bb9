/* broker_test.c - a broker and raw byte clients over its TCP wire units: connecting and being refused, the three qualities,
 * what malformed packets do and to whom, overflow, bounds, stopping. */
#include "rig.h"

/* ---- connecting ---- */

static void connack_tells_what_is_true(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  uint8_t bytes[16];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  roam_prop prop;
  roam_broker_options_init(&o);
  o.session_expiry_max_s = 100;
  o.server_keep_alive = 30;
  o.receive_maximum = 7;
  rig_begin(&rig, &o);
  struct link *l = rig_open(&rig, ROAM_MQTT_5);
  roam_packet connect = rig_connect_packet("", true);
  connect.connect.keep_alive_s = 60;
  assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, UINT32_MAX), 0);
  connect.props = (roam_bytes){bytes, props.len};
  roam_packet connack = rig_greet(&rig, l, &connect);
  assert_int_equal(connack.reason, 0);
  assert_false(connack.session_present);
  assert_int_equal(roam_prop_find(connack.props, ROAM_PROP_ASSIGNED_CLIENT_IDENTIFIER, &prop), 1);
  assert_int_equal(prop.bytes.len, 21);
  static const struct {
    int id;
    uint32_t number;
  } cases[] = {{ROAM_PROP_SESSION_EXPIRY_INTERVAL, 100},
               {ROAM_PROP_SERVER_KEEP_ALIVE, 30},
               {ROAM_PROP_RECEIVE_MAXIMUM, 7},
               {ROAM_PROP_RETAIN_AVAILABLE, 1},
               {ROAM_PROP_WILDCARD_SUBSCRIPTION_AVAILABLE, 1},
               {ROAM_PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 1},
               {ROAM_PROP_SHARED_SUBSCRIPTION_AVAILABLE, 1},
               {ROAM_PROP_MAXIMUM_PACKET_SIZE, 1u << 20}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(roam_prop_find(connack.props, cases[i].id, &prop), 1);
    assert_int_equal(prop.number, cases[i].number);
  }
  assert_int_equal(roam_prop_find(connack.props, ROAM_PROP_MAXIMUM_QOS, &prop), 0);
  rig_end(&rig);
}

static void refusals(void **state) {
  static const struct {
    const char *name;
    uint8_t version;
    const char *id;
    bool clean;
    uint8_t reason;
  } cases[] = {
      {"3.1.1 empty id, clean", 4, "", true, 0},
      {"3.1.1 empty id, not clean", 4, "", false, ROAM_REASON_CLIENT_ID_NOT_VALID},
      {"3.1 empty id", 3, "", true, ROAM_REASON_CLIENT_ID_NOT_VALID},
      {"3.1", 3, "x", true, 0},
      {"5.0 empty id, not clean", 5, "", false, 0},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig rig;
    rig_begin(&rig, NULL);
    struct link *l = rig_open(&rig, cases[i].version);
    roam_packet connect = rig_connect_packet(cases[i].id, cases[i].clean);
    roam_packet connack = rig_greet(&rig, l, &connect);
    if (connack.reason != cases[i].reason) fail_msg("%s: reason %02x", cases[i].name, connack.reason);
    assert_int_equal(l->open, cases[i].reason == 0);
    assert_int_equal(roam_broker_get_stats(rig.broker).connects_refused, cases[i].reason != 0);
    assert_int_equal(rig_event(&rig, ROAM_EV_PEER_REFUSED, "") != NULL, cases[i].reason != 0);
    rig_end(&rig);
  }
}

static void first_packets(void **state) {
  static const struct {
    const char *name, *bytes;
    size_t len;
    const char *answer;
    size_t answer_len;
  } cases[] = {
      {"version 6", "\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01x", 15, "\x20\x02\x00\x01", 4},
      {"not MQTT", "GET / HTTP/1.1\r\n\r\n", 18, "", 0},
      {"PUBLISH first", "\x30\x03\x00\x01x", 5, "", 0},
      {"PINGREQ first", "\xc0\x00", 2, "", 0},
      {"reserved flag", "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01x", 15, "", 0},
      {"endless length", "\x10\xff\xff\xff\xff\xff", 6, "", 0},
      {"name cut short", "\x10\x03\x00\x04M", 5, "", 0},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct rig rig;
    rig_begin(&rig, NULL);
    struct link *l = rig_open(&rig, ROAM_MQTT_311);
    rig_send_raw(&rig, l, cases[i].bytes, cases[i].len);
    if (l->open) fail_msg("%s: still open", cases[i].name);
    assert_int_equal(l->received, cases[i].answer_len);
    assert_int_equal(roam_broker_get_stats(rig.broker).connects_refused, 1);
    assert_int_equal(roam_broker_get_stats(rig.broker).connections, 0);
    rig_end(&rig);
  }
}

static void connect_byte_by_byte(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *l = rig_open(&rig, ROAM_MQTT_311);
  static const uint8_t bytes[] = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x\xc0\x00";
  for (size_t i = 0; i < 17; i++) rig_send_raw(&rig, l, bytes + i, 1);
  assert_int_equal(rig_expect(l, ROAM_CONNACK).reason, 0);
  rig_expect(l, ROAM_PINGRESP);
  rig_end(&rig);
}

static void no_connect_in_time(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *silent = rig_open(&rig, ROAM_MQTT_5);
  rig_wait(&rig, 10 * ROAM_S - 1);
  assert_true(silent->open);
  rig_wait(&rig, 1);
  assert_false(silent->open);
  assert_int_equal(rig_event(&rig, ROAM_EV_PEER_REFUSED, "")->rc, ROAM_E_TIMEOUT);
  rig_end(&rig);
}

static void listeners(void **state) {
  (void)state;
  struct rig rig;
  roam_addr any, beyond;
  uint64_t number;
  rig_begin(&rig, NULL);
  roam_addr_parse("0.0.0.0:1883", &any);
  roam_addr_parse("192.0.2.1:1883", &beyond);
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, ROAM_TRANSPORT_TCP, &any, &number), ROAM_E_PERMISSION);
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, ROAM_TRANSPORT_TCP, &beyond, &number), ROAM_E_PERMISSION);
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, (roam_transport_kind)9, &any, &number),
                   ROAM_E_UNSUPPORTED);
  roam_addr_parse("127.0.0.1:14567", &any);
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, ROAM_TRANSPORT_QUIC, &any, &number), ROAM_E_CERTIFICATE);
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, ROAM_TRANSPORT_TLS, &any, &number), ROAM_E_CERTIFICATE);
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, ROAM_TRANSPORT_WSS, &any, &number), ROAM_E_CERTIFICATE);
  any.port = 1884;
  assert_int_equal(roam_broker_listen(rig.broker, rig.now, ROAM_TRANSPORT_TCP, &any, &number), 0);
  rig_run(&rig);
  roam_wire failed = {.kind = ROAM_WIRE_FAILED, .handle = rig.listener, .error = EADDRINUSE};
  roam_broker_feed(rig.broker, rig.now, &failed, 1);
  rig_run(&rig);
  const roam_event *ev = rig_event(&rig, ROAM_EV_LISTEN_FAILED, "");
  assert_non_null(ev);
  assert_int_equal(ev->rc, ROAM_E_ADDRESS_IN_USE);
  assert_true(ev->token == number);
  assert_int_equal(roam_broker_get_stats(rig.broker).listeners, 1);
  rig_end(&rig);
}

/* ---- messages ---- */

static void qos_0_1_2(void **state) {
  (void)state;
  static const uint8_t versions[] = {3, 4, 5};
  for (size_t v = 0; v < 3; v++) {
    struct rig rig;
    rig_begin(&rig, NULL);
    struct link *pub = rig_join(&rig, "pub", versions[v], true, 0), *sub = rig_join(&rig, "sub", versions[v], true, 0);
    rig_subscribe(&rig, sub, "t/#", 2);
    rig_publish(&rig, pub, "t/0", "zero", 0, false);
    rig_expect_message(sub, "t/0", "zero", 0);
    uint16_t id = rig_publish(&rig, pub, "t/1", "one", 1, false);
    assert_int_equal(rig_expect(pub, ROAM_PUBACK).packet_id, id);
    rig_ack(&rig, sub, ROAM_PUBACK, rig_expect_message(sub, "t/1", "one", 1).packet_id);
    id = rig_publish(&rig, pub, "t/2", "two", 2, false);
    assert_int_equal(rig_expect(pub, ROAM_PUBREC).packet_id, id);
    rig_ack(&rig, pub, ROAM_PUBREL, id);
    assert_int_equal(rig_expect(pub, ROAM_PUBCOMP).packet_id, id);
    uint16_t out = rig_expect_message(sub, "t/2", "two", 2).packet_id;
    rig_ack(&rig, sub, ROAM_PUBREC, out);
    assert_int_equal(rig_expect(sub, ROAM_PUBREL).packet_id, out);
    rig_ack(&rig, sub, ROAM_PUBCOMP, out);
    rig_expect_nothing(sub);
    roam_peer_info info;
    assert_int_equal(roam_broker_client(rig.broker, "sub", &info), 0);
    assert_int_equal(info.inflight, 0);
    assert_int_equal(info.messages_out, 3);
    assert_int_equal(info.subscriptions, 1);
    assert_int_equal(roam_broker_get_stats(rig.broker).messages_in, 3);
    assert_int_equal(roam_broker_get_stats(rig.broker).messages_out, 3);
    rig_end(&rig);
  }
}

static void quality_is_the_lesser(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0), *sub = rig_join(&rig, "sub", 5, true, 0);
  rig_subscribe(&rig, sub, "a", 0);
  rig_subscribe(&rig, sub, "b", 1);
  rig_publish(&rig, pub, "a", "x", 2, false);
  rig_expect_message(sub, "a", "x", 0);
  rig_publish(&rig, pub, "b", "x", 2, false);
  rig_expect_message(sub, "b", "x", 1);
  rig_publish(&rig, pub, "b", "x", 0, false);
  rig_expect_message(sub, "b", "x", 0);
  rig_end(&rig);
}

static void nobody_listens(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *five = rig_join(&rig, "five", 5, true, 0), *three = rig_join(&rig, "three", 4, true, 0);
  rig_publish(&rig, five, "a", "x", 1, false);
  assert_int_equal(rig_expect(five, ROAM_PUBACK).reason, ROAM_REASON_NO_MATCHING_SUBSCRIBERS);
  uint16_t id = rig_publish(&rig, five, "a", "x", 2, false);
  assert_int_equal(rig_expect(five, ROAM_PUBREC).reason, ROAM_REASON_NO_MATCHING_SUBSCRIBERS);
  rig_ack(&rig, five, ROAM_PUBREL, id);
  assert_int_equal(rig_expect(five, ROAM_PUBCOMP).reason, 0);
  rig_publish(&rig, three, "a", "x", 1, false);
  assert_int_equal(rig_expect(three, ROAM_PUBACK).reason, 0);
  rig_end(&rig);
}

static void subscription_options(void **state) {
  (void)state;
  struct rig rig;
  roam_prop prop;
  rig_begin(&rig, NULL);
  struct link *a = rig_join(&rig, "a", 5, true, 0), *b = rig_join(&rig, "b", 5, true, 0);
  assert_int_equal(rig_subscribe_as(&rig, a, &(roam_filter){.filter = text("t/#"), .qos = 1, .no_local = true}, 5), 1);
  assert_int_equal(
      rig_subscribe_as(&rig, a,
                       &(roam_filter){.filter = text("t/x"), .qos = 2, .no_local = true, .retain_as_published = true}, 6),
      2);
  rig_publish(&rig, a, "t/x", "own", 0, false);
  rig_expect_nothing(a);
  rig_publish(&rig, b, "t/x", "other", 0, true);
  roam_packet p = rig_expect_message(a, "t/x", "other", 0);
  assert_true(p.retain);
  uint32_t sum = 0;
  for (roam_bytes rest = p.props; roam_prop_next(&rest, &prop) == 1;)
    if (prop.id == ROAM_PROP_SUBSCRIPTION_IDENTIFIER) sum += prop.number;
  assert_int_equal(sum, 11);
  rig_expect_nothing(a); /* once */
  rig_publish(&rig, b, "t/y", "plain", 0, true);
  assert_false(rig_expect_message(a, "t/y", "plain", 0).retain);
  rig_end(&rig);
}

static void unsubscribe(void **state) {
  (void)state;
  struct rig rig;
  uint8_t filters[32];
  size_t len = 0;
  rig_begin(&rig, NULL);
  struct link *l = rig_join(&rig, "a", 5, true, 0);
  rig_subscribe(&rig, l, "t", 0);
  roam_filter_put(filters, sizeof filters, &len, ROAM_UNSUBSCRIBE, &(roam_filter){.filter = text("t")});
  roam_filter_put(filters, sizeof filters, &len, ROAM_UNSUBSCRIBE, &(roam_filter){.filter = text("u")});
  rig_send(&rig, l, &(roam_packet){.type = ROAM_UNSUBSCRIBE, .packet_id = 9, .filters = {filters, len}});
  roam_packet p = rig_expect(l, ROAM_UNSUBACK);
  assert_int_equal(p.packet_id, 9);
  assert_int_equal(p.codes.len, 2);
  assert_int_equal(p.codes.base[0], 0);
  assert_int_equal(p.codes.base[1], ROAM_REASON_NO_SUBSCRIPTION_EXISTED);
  rig_publish(&rig, l, "t", "x", 0, false);
  rig_expect_nothing(l);
  struct link *old = rig_join(&rig, "b", 4, true, 0);
  rig_send(&rig, old, &(roam_packet){.type = ROAM_UNSUBSCRIBE, .packet_id = 3, .filters = {filters, len}});
  assert_int_equal(rig_expect(old, ROAM_UNSUBACK).packet_id, 3);
  rig_end(&rig);
}

static void subscribing_at_the_bounds(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.subscriptions_max = 2;
  o.topic_levels_max = 3;
  rig_begin(&rig, &o);
  struct link *l = rig_join(&rig, "a", 5, true, 0), *old = rig_join(&rig, "b", 4, true, 0);
  rig_subscribe(&rig, l, "1", 0);
  rig_subscribe(&rig, l, "2", 0);
  assert_int_equal(rig_subscribe_as(&rig, l, &(roam_filter){.filter = text("3")}, 0), ROAM_REASON_QUOTA_EXCEEDED);
  assert_int_equal(rig_subscribe_as(&rig, old, &(roam_filter){.filter = text("1/2/3/4")}, 0), 0x80);
  assert_int_equal(rig_subscribe_as(&rig, l, &(roam_filter){.filter = text("$share/g/1/2/3/4")}, 0),
                   ROAM_REASON_TOPIC_FILTER_INVALID);
  rig_publish(&rig, l, "1/2/3/4", "x", 1, true);
  assert_int_equal(rig_expect(l, ROAM_PUBACK).reason, ROAM_REASON_TOPIC_NAME_INVALID);
  assert_int_equal(roam_broker_get_stats(rig.broker).retained, 0);
  rig_end(&rig);
}

static void retained_messages(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *pub = rig_join(&rig, "pub", 5, true, 0), *sub = rig_join(&rig, "sub", 5, true, 0);
  rig_publish(&rig, pub, "r/1", "one", 1, true);
  rig_publish(&rig, pub, "r/2", "two", 0, true);
  roam_filter f = {.filter = text("r/+"), .qos = 1};
  assert_int_equal(rig_subscribe_as(&rig, sub, &f, 3), 1);
  roam_packet p = rig_expect_message(sub, "r/1", "one", 1);
  assert_true(p.retain);
  roam_prop prop;
  assert_int_equal(roam_prop_find(p.props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, &prop), 1);
  assert_int_equal(prop.number, 3);
  assert_true(rig_expect_message(sub, "r/2", "two", 0).retain);
  f.retain_handling = 1; /* not again */
  rig_subscribe_as(&rig, sub, &f, 0);
  rig_expect_nothing(sub);
  f.retain_handling = 0;
  rig_subscribe_as(&rig, sub, &f, 0);
  rig_expect(sub, ROAM_PUBLISH);
  rig_expect(sub, ROAM_PUBLISH);
  f.filter = text("r/2");
  f.retain_handling = 2;
  rig_subscribe_as(&rig, sub, &f, 0);
  rig_expect_nothing(sub);
  f.filter = text("r/1");
  f.retain_handling = 1;
  rig_subscribe_as(&rig, sub, &f, 0);
  rig_expect_message(sub, "r/1", "one", 1);
  f.filter = text("$share/g/r/1");
  f.retain_handling = 0;
  rig_subscribe_as(&rig, sub, &f, 0);
  rig_expect_nothing(sub);
  assert_int_equal(roam_broker_get_stats(rig.broker).retained, 2);
  rig_publish(&rig, pub, "r/1", "", 0, true);
  assert_int_equal(roam_broker_get_stats(rig.broker).retained, 1);
  rig_end(&rig);
}

/* Many more than the queue holds: they come in pieces, all of them, and the session lives. */
static void many_retained_messages(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.queue_messages_max = 20;
  rig_begin(&rig, &o);
  for (int i = 0; i < 3000; i++) {
    char topic[32];
    snprintf(topic, sizeof topic, "r/%d", i);
    assert_int_equal(roam_broker_publish(rig.broker, rig.now, text(topic), text("x"), 1, true), 0);
  }
  struct link *sub = rig_join(&rig, "sub", 5, true, 0);
  rig_subscribe(&rig, sub, "#", 1);
  size_t count = 0;
  roam_packet p;
  roam_fault fault;
  while (roam_reader_next(sub->reader, &p, &fault) == 1) {
    assert_int_equal(p.type, ROAM_PUBLISH);
    rig_ack(&rig, sub, ROAM_PUBACK, p.packet_id);
    count++;
  }
  assert_int_equal(count, 3000);
  assert_true(sub->open);
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions_overflowed, 0);
  rig_end(&rig);
}

/* ---- bad peers ---- */

static void malformed_packets_harm_only_their_sender(void **state) {
  static const struct {
    const char *name, *bytes;
    size_t len;
    uint8_t reason; /* of the DISCONNECT in 5.0; 0: none expected */
  } cases[] = {
      {"type 0", "\x00\x00", 2, 0x81},
      {"second CONNECT", "\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01x", 16, 0x82},
      {"CONNACK from a client", "\x20\x03\x00\x00\x00", 5, 0x82},
      {"SUBACK from a client", "\x90\x04\x00\x01\x00\x00", 6, 0x82},
      {"QoS 3", "\x36\x06\x00\x01t\x00\x01\x00", 8, 0x81},
      {"wildcard in a topic", "\x30\x04\x00\x01#\x00", 6, 0x90},
      {"topic not UTF-8", "\x30\x05\x00\x02\xc0\x80\x00", 7, 0x81},
      {"topic cut short", "\x30\x03\x00\x09t", 5, 0x81},
      {"packet id 0", "\x32\x06\x00\x01t\x00\x00\x00", 8, 0x82},
      {"unknown property", "\x30\x06\x00\x01t\x02\x7f\x00", 8, 0x81},
      {"alias 0", "\x30\x07\x00\x01t\x03\x23\x00\x00", 9, 0x94},
      {"alias above the maximum", "\x30\x07\x00\x01t\x03\x23\xff\xff", 9, 0x94},
      {"alias never set", "\x30\x06\x00\x00\x03\x23\x00\x01", 8, 0x82},
      {"SUBSCRIBE without filters", "\x82\x03\x00\x01\x00", 5, 0x82},
      {"SUBSCRIBE flags", "\x80\x07\x00\x01\x00\x00\x01t\x00", 9, 0x81},
      {"SUBSCRIBE reserved option bits", "\x82\x07\x00\x01\x00\x00\x01t\xc0", 9, 0x81},
      {"No Local on a shared subscription", "\x82\x10\x00\x01\x00\x00\x0a$share/g/t\x04", 18, 0x82},
      {"length of five bytes", "\x30\xff\xff\xff\xff\x7f", 6, 0x81},
      {"too large", "\x30\xff\xff\xff\x7f", 5, 0x95},
      {"PINGREQ with a body", "\xc0\x01x", 3, 0x81},
      {"AUTH", "\xf0\x02\x18\x00", 4, 0x82},
      {"DISCONNECT begins an expiry", "\xe0\x07\x00\x05\x11\x00\x00\x00\x05", 9, 0},
  };
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *sub = rig_join(&rig, "healthy-sub", 5, true, 0), *pub = rig_join(&rig, "healthy-pub", 5, true, 0);
  rig_subscribe(&rig, sub, "h", 1);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct link *bad = rig_join(&rig, "bad", 5, true, 0);
    rig_send_raw(&rig, bad, cases[i].bytes, cases[i].len);
    if (bad->open) fail_msg("%s: still open", cases[i].name);
    roam_packet p = cases[i].reason ? rig_expect(bad, ROAM_DISCONNECT) : (roam_packet){0};
    if (p.reason != cases[i].reason) fail_msg("%s: reason %02x, expected %02x", cases[i].name, p.reason, cases[i].reason);
    rig_hang_up(&rig, bad, 0);
    rig_publish(&rig, pub, "h", cases[i].name, 1, false);
    assert_int_equal(rig_expect(pub, ROAM_PUBACK).reason, 0);
    rig_ack(&rig, sub, ROAM_PUBACK, rig_expect_message(sub, "h", cases[i].name, 1).packet_id);
    assert_int_equal(roam_broker_get_stats(rig.broker).connections, 2);
  }
  assert_true(roam_broker_get_stats(rig.broker).packets_malformed > 15);
  rig_end(&rig);
}

/* Random bytes, and packets with random bytes changed, from many peers; a healthy pair goes on. */
static void noise(void **state) {
  (void)state;
  struct rig rig;
  uint8_t bytes[300];
  rig_begin(&rig, NULL);
  struct link *sub = rig_join(&rig, "healthy-sub", 5, true, 0), *pub = rig_join(&rig, "healthy-pub", 5, true, 0);
  rig_subscribe(&rig, sub, "h", 1);
  size_t healthy = rig.links_len;
  for (int turn = 0; turn < 2000; turn++) {
    for (; rig.links_len > healthy; rig.links_len--) {
      struct link *last = &rig.links[rig.links_len - 1];
      if (last->open) rig_hang_up(&rig, last, ECONNRESET);
      roam_reader_free(last->reader);
    }
    static const char session[] =
        "\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01x\x82\x07\x00\x01\x00\x00\x01t\x01\x32\x07\x00\x01t\x00\x01\x00y"
        "\x62\x02\x00\x01\xc0\x00\x34\x07\x00\x01t\x00\x02\x00z\x62\x02\x00\x02\xa2\x06\x00\x02\x00\x00\x01t\xe0\x00";
    size_t len = sizeof session - 1;
    memcpy(bytes, session, len);
    for (uint64_t n = 1 + roam_random_below(&rig.rng.random, 3); n > 0; n--)
      bytes[roam_random_below(&rig.rng.random, len)] = (uint8_t)roam_random_u64(&rig.rng.random);
    struct link *bad = rig_open(&rig, 5);
    roam_reader_free(bad->reader);
    bad->reader = NULL;
    rig_send_raw(&rig, bad, bytes, len);
    if (turn % 100) continue;
    rig_publish(&rig, pub, "h", "x", 1, false);
    assert_int_equal(rig_expect(pub, ROAM_PUBACK).reason, 0);
    roam_packet p;
    do { /* a mutant may have said something about "h" too */
      p = rig_expect(sub, ROAM_PUBLISH);
      if (p.qos) rig_ack(&rig, sub, ROAM_PUBACK, p.packet_id);
    } while (p.payload.len != 1 || p.payload.base[0] != 'x');
  }
  rig_end(&rig);
}

/* ---- overflow ---- */

static void fill(struct rig *rig, int n, uint8_t qos) {
  static char payload[1001];
  memset(payload, 'p', 1000);
  for (int i = 0; i < n; i++) {
    for (int at = 5, left = i; at >= 0; at--, left /= 10) payload[at] = (char)('0' + left % 10);
    assert_int_equal(
        roam_broker_publish(rig->broker, rig->now, text("t"), (roam_bytes){(uint8_t *)payload, 1000}, qos, false), 0);
    rig_run(rig);
  }
}

static void a_slow_subscriber_is_ended(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.queue_messages_max = 50;
  o.receive_maximum = 10;
  rig_begin(&rig, &o);
  struct link *slow = rig_join(&rig, "slow", 5, true, 1000), *fine = rig_join(&rig, "fine", 5, true, 0);
  rig_subscribe(&rig, slow, "t", 1);
  rig_subscribe(&rig, fine, "t", 0);
  fill(&rig, 50 + 1024, 1); /* what may be in flight, and the queue */
  assert_true(slow->open);
  fill(&rig, 1, 1);
  assert_false(slow->open);
  assert_int_equal(roam_broker_get_stats(rig.broker).sessions_overflowed, 1);
  const roam_event *ev = rig_event(&rig, ROAM_EV_PEER_DISCONNECTED, "slow");
  assert_non_null(ev);
  assert_int_equal(ev->reason, ROAM_REASON_QUOTA_EXCEEDED);
  roam_packet p;
  roam_fault fault;
  uint8_t last = 0, reason = 0;
  while (roam_reader_next(slow->reader, &p, &fault) == 1) {
    last = p.type;
    reason = p.reason;
  }
  assert_int_equal(last, ROAM_DISCONNECT);
  assert_int_equal(reason, ROAM_REASON_QUOTA_EXCEEDED);
  assert_true(fine->open);
  struct link *again = rig_open(&rig, 5);
  roam_packet connect = rig_connect_packet("slow", false);
  assert_false(rig_greet(&rig, again, &connect).session_present);
  rig_end(&rig);
}

/* Its lane is full as well: the DISCONNECT waits for room, at most 3 s. */
static void a_stalled_subscriber_is_ended(void **state) {
  (void)state;
  for (int wakes = 0; wakes < 2; wakes++) {
    struct rig rig;
    roam_broker_options o;
    roam_broker_options_init(&o);
    o.queue_messages_max = 50;
    rig_begin(&rig, &o);
    struct link *slow = rig_join(&rig, "slow", 5, true, 1000);
    rig_subscribe(&rig, slow, "t", 1);
    slow->stalled = true;
    fill(&rig, 50 + 600, 1);
    assert_int_equal(roam_broker_get_stats(rig.broker).sessions_overflowed, 1);
    assert_int_equal(roam_broker_get_stats(rig.broker).sessions, 0);
    assert_true(slow->open);
    assert_int_equal(roam_broker_get_stats(rig.broker).connections, 1);
    if (wakes) {
      slow->stalled = false;
      roam_wire credit = {.kind = ROAM_WIRE_CREDIT, .handle = slow->handle, .credit = slow->received};
      roam_broker_feed(rig.broker, rig.now, &credit, 1);
      rig_run(&rig);
      assert_false(slow->open);
      roam_packet p;
      roam_fault fault;
      uint8_t last = 0;
      while (roam_reader_next(slow->reader, &p, &fault) == 1) last = p.type;
      assert_int_equal(last, ROAM_DISCONNECT);
    } else {
      rig_wait(&rig, 6 * ROAM_S);
      assert_false(slow->open);
    }
    rig_wait(&rig, 6 * ROAM_S);
    assert_int_equal(roam_broker_get_stats(rig.broker).connections, 0);
    rig_end(&rig);
  }
}

static void qos_0_is_dropped_instead(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.queue_messages_max = 50;
  rig_begin(&rig, &o);
  struct link *slow = rig_join(&rig, "slow", 5, true, 0);
  rig_subscribe(&rig, slow, "t", 0);
  slow->stalled = true;
  fill(&rig, 1000, 0);
  assert_true(slow->open);
  roam_peer_info info;
  assert_int_equal(roam_broker_client(rig.broker, "slow", &info), 0);
  assert_int_equal(info.queued, 50);
  assert_true(info.dropped > 300);
  assert_int_equal(info.dropped, roam_broker_get_stats(rig.broker).messages_dropped);
  rig_end(&rig);
}

static void policies_that_drop(void **state) {
  (void)state;
  for (int newest = 0; newest < 2; newest++) {
    struct rig rig;
    roam_broker_options o;
    roam_broker_options_init(&o);
    o.queue_messages_max = 10;
    o.overflow = newest ? ROAM_OVERFLOW_DROP_NEWEST : ROAM_OVERFLOW_DROP_OLDEST;
    rig_begin(&rig, &o);
    struct link *l = rig_join(&rig, "sub", 5, false, 1000);
    rig_subscribe(&rig, l, "t", 1);
    rig_hang_up(&rig, l, ECONNRESET);
    fill(&rig, 5000, 1);
    roam_peer_info info;
    assert_int_equal(roam_broker_client(rig.broker, "sub", &info), 0);
    assert_int_equal(info.queued, 10);
    assert_int_equal(info.dropped, 4990);
    assert_int_equal(roam_broker_get_stats(rig.broker).sessions_overflowed, 0);
    l = rig_join(&rig, "sub", 5, false, 1000);
    for (int i = newest ? 0 : 4990; i < (newest ? 10 : 5000); i++) {
      roam_packet p = rig_expect(l, ROAM_PUBLISH);
      char number[7] = {0};
      memcpy(number, p.payload.base, 6);
      assert_int_equal(atoi(number), i);
    }
    rig_expect_nothing(l);
    rig_end(&rig);
  }
}

/* ---- bounds and ends ---- */

static void bounds(void **state) {
  (void)state;
  struct rig rig;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.connections_max = 3;
  o.sessions_max = 2;
  rig_begin(&rig, &o);
  struct link *a = rig_join(&rig, "a", 5, true, 0);
  rig_join(&rig, "b", 5, true, 0);
  struct link *c = rig_open(&rig, 5);
  roam_packet connect = rig_connect_packet("c", true);
  assert_int_equal(rig_greet(&rig, c, &connect).reason, ROAM_REASON_QUOTA_EXCEEDED);
  rig_hang_up(&rig, c, 0);
  rig_open(&rig, 5);
  struct link *fourth = rig_open(&rig, 5);
  assert_false(fourth->open);
  rig_send(&rig, a, &(roam_packet){.type = ROAM_DISCONNECT});
  rig_hang_up(&rig, a, 0);
  rig_join(&rig, "c", 5, true, 0);
  rig_end(&rig);
}

static void stopping(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *five = rig_join(&rig, "five", 5, true, 0), *three = rig_join(&rig, "three", 4, true, 0),
              *mute = rig_open(&rig, 5);
  roam_broker_stop(rig.broker, rig.now);
  rig_run(&rig);
  assert_int_equal(rig_expect(five, ROAM_DISCONNECT).reason, ROAM_REASON_SERVER_SHUTTING_DOWN);
  rig_expect_nothing(three);
  assert_false(five->open || three->open || mute->open);
  rig_wait(&rig, 3 * ROAM_S);
  assert_int_equal(roam_broker_get_stats(rig.broker).connections, 0);
  assert_int_equal(roam_broker_get_stats(rig.broker).listeners, 0);
  assert_int_equal(roam_broker_publish(rig.broker, rig.now, text("t"), text("x"), 0, false), ROAM_E_CLOSED);
  rig_end(&rig);
}

static void kicking(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  struct link *l = rig_join(&rig, "a", 5, true, 0);
  assert_int_equal(roam_broker_kick(rig.broker, rig.now, "b", 0x98), ROAM_E_NOT_FOUND);
  assert_int_equal(roam_broker_kick(rig.broker, rig.now, "a", 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_kick(rig.broker, rig.now, "a", 0x98), 0);
  rig_run(&rig);
  assert_int_equal(rig_expect(l, ROAM_DISCONNECT).reason, 0x98);
  assert_false(l->open);
  assert_int_equal(roam_broker_kick(rig.broker, rig.now, "a", 0x98), ROAM_E_NOT_FOUND);
  rig_end(&rig);
}

static void options(void **state) {
  (void)state;
  roam_broker_options o;
  struct roam_rng rng;
  roam_rc rc;
  roam_rng_init(&rng, 1);
  roam_broker_options_init(&o);
  assert_null(roam_broker_option_error(&o));
  o.tls.certificate = text("x");
  assert_non_null(strstr(roam_broker_option_error(&o), "tls.key"));
  assert_null(roam_broker_new(&o, 1, &rng.random, &rc));
  assert_int_equal(rc, ROAM_E_OPTION);
  o.tls.key = text("y");
  assert_null(roam_broker_new(&o, 1, &rng.random, &rc));
  assert_int_equal(rc, ROAM_E_CERTIFICATE);
  roam_broker_options_init(&o);
  o.receive_maximum = 0;
  assert_non_null(strstr(roam_broker_option_error(&o), "receive_maximum"));
  assert_null(roam_broker_new(NULL, 1, NULL, &rc));
}

/* An owner who does not poll loses the oldest, counted. */
static void events_nobody_polls(void **state) {
  (void)state;
  struct rig rig;
  rig_begin(&rig, NULL);
  roam_event ev[8];
  uint32_t refused = 5000;
  for (uint32_t i = 0; i < refused; i++) {
    roam_wire in[2] = {{.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | 77, .parent = rig.listener},
                       {.kind = ROAM_WIRE_CLOSE, .handle = ROAM_HANDLE_EDGE | 77}};
    roam_broker_feed(rig.broker, rig.now, in, 2);
  }
  assert_int_equal(roam_broker_get_stats(rig.broker).connects_refused, refused);
  assert_int_equal(roam_broker_get_stats(rig.broker).events_dropped, refused - 4096);
  assert_int_equal(roam_broker_poll(rig.broker, ev, 8), 8);
  assert_int_equal(ev[7].kind, ROAM_EV_PEER_REFUSED);
  rig_end(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connack_tells_what_is_true),
      cmocka_unit_test(refusals),
      cmocka_unit_test(first_packets),
      cmocka_unit_test(connect_byte_by_byte),
      cmocka_unit_test(no_connect_in_time),
      cmocka_unit_test(listeners),
      cmocka_unit_test(qos_0_1_2),
      cmocka_unit_test(quality_is_the_lesser),
      cmocka_unit_test(nobody_listens),
      cmocka_unit_test(subscription_options),
      cmocka_unit_test(unsubscribe),
      cmocka_unit_test(subscribing_at_the_bounds),
      cmocka_unit_test(retained_messages),
      cmocka_unit_test(many_retained_messages),
      cmocka_unit_test(malformed_packets_harm_only_their_sender),
      cmocka_unit_test(noise),
      cmocka_unit_test(a_slow_subscriber_is_ended),
      cmocka_unit_test(a_stalled_subscriber_is_ended),
      cmocka_unit_test(qos_0_is_dropped_instead),
      cmocka_unit_test(policies_that_drop),
      cmocka_unit_test(bounds),
      cmocka_unit_test(stopping),
      cmocka_unit_test(kicking),
      cmocka_unit_test(options),
      cmocka_unit_test(events_nobody_polls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
