/* session_test.c - a client session and a server session, glued together: what arrives, in which order, within which
 * windows, and what either says to a peer that breaks the rules. */
#include "unit/mqtt/pair.h"

static const roam_bytes none = {NULL, 0};

static void options(roam_session_options *client, roam_session_options *server, uint8_t version) {
  roam_session_options_init(client, ROAM_ROLE_CLIENT);
  roam_session_options_init(server, ROAM_ROLE_SERVER);
  client->version = version;
}

static void start(struct pair *p, uint8_t version) {
  roam_session_options client, server;
  options(&client, &server, version);
  pair_init(p, &client, &server);
}

static void start_connected(struct pair *p, uint8_t version) {
  start(p, version);
  pair_connect(p, false);
  pair_pump(p);
}

/* Bytes as a peer might send them, past its own session. */
static void inject(struct pair *p, struct side *side, const void *bytes, size_t len) {
  pipe_append(&side->in, bytes, len);
  side_read(p, side);
  side_poll(p, side);
}

#define INJECT(pair, side, ...) inject(pair, side, (const uint8_t[]){__VA_ARGS__}, sizeof(const uint8_t[]){__VA_ARGS__})

static void expect_fault(struct pair *p, struct side *side, uint8_t reason) {
  assert_int_equal(find_kind(side, ROAM_SE_FAULT, 0)->reason, reason);
  assert_int_equal(count_kind(side, ROAM_SE_FAULT), 1);
  assert_int_equal(roam_session_deadline(side->session), ROAM_NEVER);
  (void)p;
}

/* What that side sends now is exactly this. */
static void expect_sent(struct pair *p, struct side *from, const void *bytes, size_t len) {
  struct side to = {0};
  side_write(p, from, &to);
  assert_int_equal(to.in.len, len);
  if (len > 0) {
    assert_memory_equal(to.in.bytes, bytes, len);
  }
  free(to.in.bytes);
}

#define EXPECT_SENT(pair, side, ...)                                                                                       \
  expect_sent(pair, side, (const uint8_t[]){__VA_ARGS__}, sizeof(const uint8_t[]){__VA_ARGS__})

/* ---- the good days ---- */

static void each_version_and_qos_arrives_once(void **state) {
  (void)state;
  static const uint8_t versions[] = {3, 4, 5};
  for (size_t v = 0; v < 3; v++) {
    struct pair p;
    start_connected(&p, versions[v]);
    assert_int_equal(find_kind(&p.client, ROAM_SE_CONNACK, 0)->reason, 0);
    for (uint8_t qos = 0; qos <= 2; qos++) {
      assert_int_equal(publish(&p, &p.client, "to/server", "up", qos, 10u + qos), 0);
      assert_int_equal(publish(&p, &p.server, "to/client", "down", qos, 20u + qos), 0);
    }
    pair_pump(&p);
    for (uint8_t qos = 0; qos <= 2; qos++) {
      const struct seen *up = find_kind(&p.server, ROAM_SE_MESSAGE, qos),
                        *down = find_kind(&p.client, ROAM_SE_MESSAGE, qos);
      assert_int_equal(up->qos, qos);
      assert_string_equal(up->topic, "to/server");
      assert_string_equal(up->payload, "up");
      assert_int_equal(down->qos, qos);
      assert_string_equal(down->topic, "to/client");
      assert_string_equal(down->payload, "down");
    }
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 3);
    assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 3);
    assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 3);
    assert_int_equal(count_kind(&p.server, ROAM_SE_DONE), 3);
    assert_int_equal(count_kind(&p.client, ROAM_SE_FAULT) + count_kind(&p.server, ROAM_SE_FAULT), 0);
    assert_true(roam_session_get_info(p.client.session).drained);
    assert_true(roam_session_get_info(p.server.session).drained);
    pair_reset(&p);
  }
}

static void talk(struct pair *p, size_t room) {
  static char large[5000];
  memset(large, 'L', sizeof large);
  pair_connect(p, false); /* here the test itself reads CONNECT, in one piece */
  p->room = room;
  uint8_t filters[32];
  size_t len = 0;
  roam_filter_put(filters, sizeof filters, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("a/#"), .qos = 2});
  assert_int_equal(roam_session_subscribe(p->client.session, p->now, (roam_bytes){filters, len}, none, 100), 0);
  for (uint64_t i = 0; i < 12; i++) {
    size_t size = i % 4 == 3 ? sizeof large : i % 4 == 2 ? 257 : i % 4 == 1 ? 256 : 0;
    uint8_t qos = (uint8_t)(i % 3);
    roam_bytes payload = {(const uint8_t *)large, size};
    assert_int_equal(publish_bytes(p, &p->client, i % 2 ? "even/topic" : "odd/topic", none, payload, qos, i), 0);
    assert_int_equal(publish_bytes(p, &p->server, i % 2 ? "even/topic" : "odd/topic", none, payload, qos, i), 0);
  }
  pair_pump(p);
  assert_int_equal(roam_session_disconnect(p->client.session, p->now, 0, none), 0);
  pair_pump(p);
}

/* The log without what the cutting may rightly change: how events of one side interleave with DONE. */
static void expect_same_log(const struct side *a, const struct side *b) {
  for (int kind = ROAM_SE_CONNACK; kind <= ROAM_SE_FAULT; kind++) {
    size_t n = count_kind(a, (roam_session_event_kind)kind);
    assert_int_equal(count_kind(b, (roam_session_event_kind)kind), n);
    for (size_t i = 0; i < n; i++) {
      const struct seen *x = find_kind(a, (roam_session_event_kind)kind, i),
                        *y = find_kind(b, (roam_session_event_kind)kind, i);
      assert_int_equal(x->token, y->token);
      assert_int_equal(x->qos, y->qos);
      assert_int_equal(x->reason, y->reason);
      assert_string_equal(x->topic, y->topic);
      assert_int_equal(x->payload_len, y->payload_len);
      assert_string_equal(x->payload, y->payload);
    }
  }
}

/* Any chunks in, any room and number of slices out: the same story. */
static void cutting_is_invisible(void **state) {
  (void)state;
  static const size_t chunks[] = {0, 1, 7}, rooms[] = {65536, 3, 100, 300}, slices[] = {32, 1, 2};
  struct pair whole;
  start(&whole, 5);
  talk(&whole, 65536);
  assert_int_equal(count_kind(&whole.server, ROAM_SE_MESSAGE), 12);
  assert_int_equal(count_kind(&whole.client, ROAM_SE_MESSAGE), 12);
  assert_int_equal(count_kind(&whole.server, ROAM_SE_DISCONNECT), 1);
  for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
    for (size_t r = 0; r < sizeof rooms / sizeof rooms[0]; r++) {
      for (size_t n = 0; n < sizeof slices / sizeof slices[0]; n++) {
        struct pair p;
        start(&p, 5);
        p.chunk = chunks[c];
        p.slices = slices[n];
        talk(&p, rooms[r]);
        expect_same_log(&p.client, &whole.client);
        expect_same_log(&p.server, &whole.server);
        pair_reset(&p);
      }
    }
  }
  pair_reset(&whole);
}

/* With less room than any packet has bytes, every packet is cut, and the bytes are the same. */
static void tiny_room_cuts_packets(void **state) {
  (void)state;
  for (size_t room = 1; room <= 40; room++) {
    struct pair p;
    start_connected(&p, 5);
    p.room = room;
    for (uint64_t i = 0; i < 6; i++) {
      assert_int_equal(publish(&p, &p.client, "some/topic", i % 2 ? "payload" : "", (uint8_t)(i % 3), i), 0);
    }
    pair_pump(&p);
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 6);
    assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 6);
    pair_reset(&p);
  }
}

/* Consecutive small packets are one slice; a large payload is a slice of the message's own blob. */
static void slices_are_few_and_copies_are_none(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  roam_slice out[8];
  for (uint64_t i = 0; i < 10; i++) {
    publish(&p, &p.client, "t", "small", 1, i);
  }
  assert_int_equal(roam_session_drain(p.client.session, p.now, 0, 65536, out, 8), 1);
  assert_null(out[0].hold);
  roam_message m;
  static uint8_t large[1000];
  assert_int_equal(roam_message_make(&m, p.now, text("t"), none, (roam_bytes){large, sizeof large}, 0, false), 0);
  assert_int_equal(roam_session_publish(p.client.session, p.now, &m, &(roam_publish_how){.qos = 0}, 1), 0);
  assert_int_equal(roam_session_drain(p.client.session, p.now, 0, 65536, out, 8), 2);
  assert_ptr_equal(out[1].hold, m.blob);
  assert_ptr_equal(out[1].base, m.payload.base);
  roam_blob_unref(m.blob);
  assert_int_equal(out[1].base[999], 0); /* still there: it lives until the next call */
  assert_int_equal(roam_session_drain(p.client.session, p.now, 0, 65536, out, 8), 0);
  pair_reset(&p);
}

static void before_connack_everything_waits(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  uint8_t filters[32];
  size_t len = 0;
  roam_filter_put(filters, sizeof filters, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("a"), .qos = 1});
  assert_int_equal(roam_session_subscribe(p.client.session, p.now, (roam_bytes){filters, len}, none, 1), 0);
  assert_int_equal(publish(&p, &p.client, "t", "x", 1, 2), 0);
  pair_connect(&p, false);
  assert_int_equal(publish(&p, &p.client, "t", "y", 0, 3), 0);
  assert_false(side_write(&p, &p.client, &p.server));
  assert_int_equal(roam_session_get_info(p.client.session).queued, 2);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_SUBSCRIBE), 1);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 2);
  assert_int_equal(find_kind(&p.client, ROAM_SE_SUBACK, 0)->token, 1);
  assert_int_equal(find_kind(&p.client, ROAM_SE_SUBACK, 0)->codes[0], 1);
  pair_reset(&p);
}

static void subscribe_and_unsubscribe(void **state) {
  (void)state;
  static const uint8_t versions[] = {3, 4, 5};
  for (size_t v = 0; v < 3; v++) {
    struct pair p;
    start_connected(&p, versions[v]);
    uint8_t list[64];
    size_t len = 0;
    roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("a/+"), .qos = 2});
    roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("b"), .qos = 0});
    assert_int_equal(roam_session_subscribe(p.client.session, p.now, (roam_bytes){list, len}, none, 7), 0);
    pair_pump(&p);
    const struct seen *suback = find_kind(&p.client, ROAM_SE_SUBACK, 0);
    assert_int_equal(suback->token, 7);
    assert_int_equal(suback->codes_len, 2);
    assert_int_equal(suback->codes[0], 2);
    len = 0;
    roam_filter_put(list, sizeof list, &len, ROAM_UNSUBSCRIBE, &(roam_filter){.filter = text("a/+")});
    assert_int_equal(roam_session_unsubscribe(p.client.session, p.now, (roam_bytes){list, len}, none, 8), 0);
    pair_pump(&p);
    assert_int_equal(find_kind(&p.client, ROAM_SE_UNSUBACK, 0)->token, 8);
    assert_int_equal(roam_session_subscribe(p.client.session, p.now, none, none, 9), ROAM_E_ARGUMENT);
    assert_int_equal(roam_session_subscribe(p.server.session, p.now, (roam_bytes){list, len}, none, 9), ROAM_E_STATE);
    assert_true(roam_session_get_info(p.client.session).drained);
    pair_reset(&p);
  }
}

static void at_most_1024_requests_wait(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4);
  uint8_t list[8];
  size_t len = 0;
  roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("a")});
  for (int i = 0; i < 1024; i++) {
    assert_int_equal(roam_session_subscribe(p.client.session, p.now, (roam_bytes){list, len}, none, 1), 0);
  }
  assert_int_equal(roam_session_subscribe(p.client.session, p.now, (roam_bytes){list, len}, none, 1), ROAM_E_BLOCKED);
  pair_connect(&p, false);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_SUBACK), 1024);
  assert_int_equal(count_kind(&p.client, ROAM_SE_WRITABLE), 1);
  pair_reset(&p);
}

/* ---- windows and order ---- */

static void peer_receive_maximum_is_our_window(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 5);
  server.receive_maximum = 3;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  p.server.no_acks = true;
  for (uint64_t i = 1; i <= 5; i++) {
    assert_int_equal(publish(&p, &p.client, "t", "x", 1 + i % 2, i), 0);
  }
  assert_int_equal(publish(&p, &p.client, "t", "last", 0, 6), 0);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 3);
  assert_int_equal(roam_session_get_info(p.client.session).inflight, 3);
  assert_int_equal(roam_session_get_info(p.client.session).inflight_max, 3);
  assert_int_equal(roam_session_get_info(p.client.session).queued, 3);
  assert_int_equal(roam_session_ack(p.server.session, p.now, 0, find_kind(&p.server, ROAM_SE_MESSAGE, 0)->packet_id, 0), 0);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 4);
  for (size_t i = 1; i < 5; i++) {
    assert_int_equal(roam_session_ack(p.server.session, p.now, 0, find_kind(&p.server, ROAM_SE_MESSAGE, i)->packet_id, 0),
                     0);
    pair_pump(&p);
  }
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 6);
  assert_string_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 5)->payload, "last"); /* QoS 0 has not overtaken */
  assert_true(roam_session_get_info(p.client.session).drained);
  pair_reset(&p);
}

static void own_window_is_kept_whatever_the_peer_allows(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 4);
  client.send_window_max = 2;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  p.server.no_acks = true;
  for (uint64_t i = 0; i < 5; i++) {
    publish(&p, &p.client, "t", "x", 2, i);
  }
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 2);
  pair_reset(&p);
}

static void peer_above_receive_maximum_is_a_fault(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 5);
  server.receive_maximum = 2;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  pair_pump(&p);
  p.server.no_acks = true;
  INJECT(&p, &p.server, 0x32, 6, 0, 1, 't', 0, 1, 0);
  INJECT(&p, &p.server, 0x34, 6, 0, 1, 't', 0, 2, 0);
  assert_int_equal(count_kind(&p.server, ROAM_SE_FAULT), 0);
  INJECT(&p, &p.server, 0x32, 6, 0, 1, 't', 0, 3, 0);
  expect_fault(&p, &p.server, ROAM_REASON_RECEIVE_MAXIMUM_EXCEEDED);
  EXPECT_SENT(&p, &p.server, 0xE0, 1, 0x93);
  expect_sent(&p, &p.server, NULL, 0);
  pair_reset(&p);
}

/* QoS 2 takes its part of Receive Maximum until PUBCOMP. */
static void quota_comes_back_with_pubcomp(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 5);
  server.receive_maximum = 1;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  pair_pump(&p);
  for (uint8_t i = 1; i <= 3; i++) {
    INJECT(&p, &p.server, 0x34, 6, 0, 1, 't', 0, i, 0);
    EXPECT_SENT(&p, &p.server, 0x50, 2, 0, i);
    INJECT(&p, &p.server, 0x62, 2, 0, i);
    EXPECT_SENT(&p, &p.server, 0x70, 2, 0, i);
  }
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 3);
  INJECT(&p, &p.server, 0x34, 6, 0, 1, 't', 0, 9, 0);
  INJECT(&p, &p.server, 0x34, 6, 0, 1, 't', 0, 10, 0); /* 9 is not released yet */
  expect_fault(&p, &p.server, ROAM_REASON_RECEIVE_MAXIMUM_EXCEEDED);
  pair_reset(&p);
}

static void acks_leave_in_the_order_of_receipt(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  p.server.no_acks = true;
  INJECT(&p, &p.server, 0x32, 6, 0, 1, 't', 0, 1, 0, 0x34, 6, 0, 1, 't', 0, 2, 0, 0x32, 6, 0, 1, 't', 0, 3, 0);
  roam_session_ack(p.server.session, p.now, 0, 3, 0);
  roam_session_ack(p.server.session, p.now, 0, 2, ROAM_REASON_NO_MATCHING_SUBSCRIBERS);
  expect_sent(&p, &p.server, NULL, 0);
  roam_session_ack(p.server.session, p.now, 0, 1, ROAM_REASON_NOT_AUTHORIZED);
  EXPECT_SENT(&p, &p.server, 0x40, 3, 0, 1, 0x87, 0x50, 3, 0, 2, 0x10, 0x40, 2, 0, 3);
  pair_reset(&p);
}

/* Without Receive Maximum (3.1.1) a peer is held back by not being read. */
static void unacknowledged_messages_stop_the_reading_in_311(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 4);
  server.receive_maximum = 4;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  p.server.no_acks = true;
  for (uint64_t i = 0; i < 10; i++) {
    publish(&p, &p.client, "t", "x", 1, i);
  }
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 4);
  assert_true(p.server.in.len > 0);
  for (size_t i = 0; i < 10; i++) {
    roam_session_ack(p.server.session, p.now, 0, find_kind(&p.server, ROAM_SE_MESSAGE, i)->packet_id, 0);
    pair_pump(&p);
  }
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 10);
  pair_reset(&p);
}

static void events_not_polled_stop_the_reading(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 5);
  server.events_max = 5;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  pair_pump(&p);
  p.server.no_poll = true;
  for (uint64_t i = 0; i < 12; i++) {
    publish(&p, &p.client, "t", "x", 0, i);
  }
  side_write(&p, &p.client, &p.server);
  size_t before = p.server.in.len, used;
  roam_session_feed(p.server.session, p.now, 0, (roam_bytes){p.server.in.bytes, before}, &used);
  assert_true(used > 0 && used < before);
  p.server.no_poll = false;
  side_poll(&p, &p.server);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 5);
  pipe_take(&p.server.in, used);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 12);
  pair_reset(&p);
}

/* A peer that asks and never listens is not read any more, and costs no more memory. */
static void answers_not_taken_stop_the_reading(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  static uint8_t pings[65536 * 2];
  for (size_t i = 0; i < sizeof pings; i += 2) {
    pings[i] = 0xC0;
  }
  size_t used, total = 0;
  do {
    roam_session_feed(p.server.session, p.now, 0, (roam_bytes){pings, sizeof pings}, &used);
    total += used;
    assert_true(total < 1u << 20);
  } while (used > 0);
  roam_slice out;
  assert_int_equal(roam_session_drain(p.server.session, p.now, 0, 1u << 20, &out, 1), 1);
  assert_int_equal(out.len, total);
  roam_session_feed(p.server.session, p.now, 0, (roam_bytes){pings, sizeof pings}, &used);
  assert_true(used > 0);
  pair_reset(&p);
}

static void packet_ids_wrap_and_skip_those_in_use(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 4);
  p.client.log_len = p.server.log_len = 0;
  p.server.no_acks = true;
  publish(&p, &p.client, "t", "held", 1, 0);
  pair_pump(&p);
  uint16_t held = find_kind(&p.server, ROAM_SE_MESSAGE, 0)->packet_id;
  assert_int_equal(held, 1);
  /* answered past the queue of acknowledgements, which would wait for the first */
  for (uint32_t i = 1; i <= 70000; i++) {
    publish(&p, &p.client, "t", "x", 1, i);
    struct side to = {0};
    side_write(&p, &p.client, &to);
    assert_int_equal(to.in.bytes[0], 0x32);
    uint16_t id = (uint16_t)(to.in.bytes[5] << 8 | to.in.bytes[6]);
    assert_true(id != 0 && id != held);
    const uint8_t puback[] = {0x40, 2, (uint8_t)(id >> 8), (uint8_t)id};
    free(to.in.bytes);
    p.client.log_len = 0;
    inject(&p, &p.client, puback, sizeof puback);
    assert_int_equal(find_kind(&p.client, ROAM_SE_DONE, 0)->token, i);
  }
  assert_int_equal(roam_session_get_info(p.client.session).inflight, 1);
  pair_reset(&p);
}

/* ---- answers that do not fit ---- */

static void unknown_identifiers(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  INJECT(&p, &p.client, 0x40, 2, 0, 9);
  INJECT(&p, &p.client, 0x70, 2, 0, 9);
  expect_sent(&p, &p.client, NULL, 0);
  INJECT(&p, &p.client, 0x50, 2, 0, 9);
  EXPECT_SENT(&p, &p.client, 0x62, 3, 0, 9, 0x92);
  INJECT(&p, &p.client, 0x62, 2, 0, 9);
  EXPECT_SENT(&p, &p.client, 0x70, 3, 0, 9, 0x92);
  INJECT(&p, &p.client, 0x50, 3, 0, 9, 0x80);
  INJECT(&p, &p.client, 0x90, 4, 0, 9, 0, 0);
  expect_sent(&p, &p.client, NULL, 0);
  assert_int_equal(count_kind(&p.client, ROAM_SE_FAULT), 0);
  assert_int_equal(roam_session_ack(p.server.session, p.now, 0, 9, 0), 0);
  expect_sent(&p, &p.server, NULL, 0);
  pair_reset(&p);
}

static void unknown_identifiers_in_311(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 4);
  INJECT(&p, &p.client, 0x50, 2, 0, 9);
  EXPECT_SENT(&p, &p.client, 0x62, 2, 0, 9);
  INJECT(&p, &p.client, 0x62, 2, 0, 9);
  EXPECT_SENT(&p, &p.client, 0x70, 2, 0, 9);
  pair_reset(&p);
}

static void refusing_pubrec_ends_the_exchange(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  p.server.no_acks = true;
  publish(&p, &p.client, "t", "x", 2, 5);
  pair_pump(&p);
  roam_session_ack(p.server.session, p.now, 0, 1, ROAM_REASON_QUOTA_EXCEEDED);
  pair_pump(&p);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DONE, 0)->reason, ROAM_REASON_QUOTA_EXCEEDED);
  assert_true(roam_session_get_info(p.client.session).drained);
  assert_int_equal(roam_session_get_info(p.server.session).awaiting_rel, 0);
  pair_reset(&p);
}

static void answers_of_another_kind_are_faults(void **state) {
  (void)state;
  static const uint8_t wrong[][6] = {{0x40, 2, 0, 1}, {0x70, 2, 0, 1}, {0x90, 4, 0, 1, 0, 0}}; /* to a QoS 2 PUBLISH */
  for (size_t i = 0; i < 3; i++) {
    struct pair p;
    start_connected(&p, 5);
    p.server.no_acks = true;
    publish(&p, &p.client, "t", "x", 2, 5);
    pair_pump(&p);
    inject(&p, &p.client, wrong[i], wrong[i][1] + 2u);
    expect_fault(&p, &p.client, ROAM_REASON_PROTOCOL_ERROR);
    EXPECT_SENT(&p, &p.client, 0xE0, 1, 0x82);
    pair_reset(&p);
  }
}

/* What another may get instead, oldest first: not what has no token, nor what was begun at QoS 2. */
static void unfinished_messages_can_be_taken_back(void **state) {
  (void)state;
  struct pair p;
  roam_session_options client, server;
  options(&client, &server, 5);
  client.receive_maximum = 3;
  client.manual_ack = true;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  static const char *const payloads[] = {"sent 1", "sent 2", "plain", "queued 1", "queued plain", "queued 2"};
  static const uint8_t qos[] = {1, 2, 1, 1, 1, 2};
  static const uint64_t tokens[] = {11, 12, 0, 13, 0, 14};
  for (size_t i = 0; i < 6; i++) assert_int_equal(publish(&p, &p.server, "t", payloads[i], qos[i], tokens[i]), 0);
  pair_pump(&p);
  pair_cut(&p);
  static const uint64_t expected[] = {11, 13, 14};
  roam_message m;
  uint64_t token;
  for (size_t i = 0; i < 3; i++) {
    assert_true(roam_session_reclaim(p.server.session, &m, &token));
    assert_int_equal(token, expected[i]);
    assert_int_equal(m.qos, token == 14 ? 2 : 1);
    roam_blob_unref(m.blob);
  }
  assert_false(roam_session_reclaim(p.server.session, &m, &token));
  assert_int_equal(roam_session_get_info(p.server.session).queued, 0);
  pair_reset(&p);
}

static void pubrel_before_pubrec_is_a_fault(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  p.server.no_acks = true;
  INJECT(&p, &p.server, 0x34, 6, 0, 1, 't', 0, 1, 0, 0x62, 2, 0, 1);
  expect_fault(&p, &p.server, ROAM_REASON_PROTOCOL_ERROR);
  pair_reset(&p);
}

static void duplicates_are_answered_only_after_the_owner(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 4);
  p.server.no_acks = true;
  INJECT(&p, &p.server, 0x34, 5, 0, 1, 't', 0, 1);
  INJECT(&p, &p.server, 0x3C, 5, 0, 1, 't', 0, 1);
  expect_sent(&p, &p.server, NULL, 0);
  roam_session_ack(p.server.session, p.now, 0, 1, 0);
  EXPECT_SENT(&p, &p.server, 0x50, 2, 0, 1);
  INJECT(&p, &p.server, 0x3C, 5, 0, 1, 't', 0, 1);
  EXPECT_SENT(&p, &p.server, 0x50, 2, 0, 1);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
  INJECT(&p, &p.server, 0x62, 2, 0, 1, 0x34, 5, 0, 1, 't', 0, 1); /* released: the identifier is new again */
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 2);
  pair_reset(&p);
}

static void suback_with_the_wrong_number_of_codes_is_a_fault(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  uint8_t list[8];
  size_t len = 0;
  roam_filter_put(list, sizeof list, &len, ROAM_SUBSCRIBE, &(roam_filter){.filter = text("a")});
  roam_session_subscribe(p.client.session, p.now, (roam_bytes){list, len}, none, 1);
  side_write(&p, &p.client, &p.server);
  INJECT(&p, &p.client, 0x90, 5, 0, 1, 0, 0, 0);
  expect_fault(&p, &p.client, ROAM_REASON_PROTOCOL_ERROR);
  pair_reset(&p);
}

/* ---- connecting and parting ---- */

static void connack_refuses(void **state) {
  (void)state;
  struct pair p;
  start(&p, 4);
  assert_int_equal(roam_session_connect(p.client.session, p.now, &p.connect), 0);
  assert_int_equal(roam_session_connect(p.client.session, p.now, &p.connect), ROAM_E_STATE);
  side_write(&p, &p.client, &p.server);
  publish(&p, &p.client, "t", "x", 1, 1);
  INJECT(&p, &p.client, 0x20, 2, 0, 5);
  assert_int_equal(find_kind(&p.client, ROAM_SE_CONNACK, 0)->reason, ROAM_REASON_NOT_AUTHORIZED);
  expect_sent(&p, &p.client, NULL, 0);
  pair_reset(&p);
}

static void out_of_turn_packets_are_faults(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint8_t bytes[8];
    size_t len;
    bool clean, connected;
  } cases[] = {
      {"PUBLISH before CONNACK", {0x30, 4, 0, 1, 't', 0}, 6, true, false},
      {"PINGRESP before CONNACK", {0xD0, 0}, 2, true, false},
      {"second CONNACK", {0x20, 3, 0, 0, 0}, 5, true, true},
      {"session after clean start", {0x20, 3, 1, 0, 0}, 5, true, false},
      {"CONNECT to a client", {0x10, 0}, 2, true, true},
      {"SUBSCRIBE to a client", {0x82, 0}, 2, true, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct pair p;
    start(&p, 5);
    p.connect.connect.clean_start = cases[i].clean;
    roam_session_connect(p.client.session, p.now, &p.connect);
    side_write(&p, &p.client, &p.server);
    if (cases[i].connected) {
      INJECT(&p, &p.client, 0x20, 3, 0, 0, 0);
    }
    inject(&p, &p.client, cases[i].bytes, cases[i].len);
    expect_fault(&p, &p.client, ROAM_REASON_PROTOCOL_ERROR);
    EXPECT_SENT(&p, &p.client, 0xE0, 1, 0x82);
    pair_reset(&p);
  }
}

static void second_connect_is_a_fault(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 4);
  INJECT(&p, &p.server, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c');
  expect_fault(&p, &p.server, ROAM_REASON_PROTOCOL_ERROR);
  expect_sent(&p, &p.server, NULL, 0); /* 3.1.1 has no DISCONNECT for servers */
  pair_reset(&p);
}

static void malformed_bytes_end_it_and_harm_nothing_kept(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  p.client.mute = true;
  publish(&p, &p.server, "t", "kept", 1, 1);
  INJECT(&p, &p.server, 0x36, 0);
  expect_fault(&p, &p.server, ROAM_REASON_MALFORMED_PACKET);
  EXPECT_SENT(&p, &p.server, 0xE0, 1, 0x81);
  INJECT(&p, &p.server, 0x30, 4, 0, 1, 't', 0); /* nothing after it is read */
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 0);
  pair_cut(&p);
  p.client.mute = false;
  pair_connect(&p, true);
  pair_pump(&p);
  assert_string_equal(find_kind(&p.client, ROAM_SE_MESSAGE, 0)->payload, "kept");
  pair_reset(&p);
}

static void too_large_is_refused_by_its_header(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 5);
  server.maximum_packet_size = 100;
  struct pair p;
  pair_init(&p, &client, &server);
  pair_connect(&p, false);
  pair_pump(&p);
  INJECT(&p, &p.server, 0x30, 99);
  expect_fault(&p, &p.server, ROAM_REASON_PACKET_TOO_LARGE);
  EXPECT_SENT(&p, &p.server, 0xE0, 1, 0x95);
  pair_reset(&p);
}

static void disconnect_follows_what_was_published(void **state) {
  (void)state;
  static const uint8_t versions[] = {4, 5};
  for (size_t v = 0; v < 2; v++) {
    struct pair p;
    start_connected(&p, versions[v]);
    publish(&p, &p.client, "t", "first", 0, 1);
    assert_int_equal(roam_session_disconnect(p.client.session, p.now, 0, none), 0);
    pair_pump(&p);
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
    assert_int_equal(find_kind(&p.server, ROAM_SE_DISCONNECT, 0)->reason, 0);
    publish(&p, &p.client, "t", "late", 1, 2);
    assert_int_equal(roam_session_disconnect(p.client.session, p.now, 0, none), ROAM_E_STATE);
    pair_pump(&p);
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
    pair_reset(&p);
  }
}

/* Cut short before its CONNECT has left, a client says nothing at all; once it has begun to leave, DISCONNECT follows it.
 */
static void nothing_comes_before_connect(void **state) {
  (void)state;
  static const uint8_t versions[] = {4, 5};
  for (size_t v = 0; v < 2; v++) {
    struct pair p;
    start(&p, versions[v]);
    assert_int_equal(roam_session_connect(p.client.session, p.now, &p.connect), 0);
    assert_int_equal(roam_session_disconnect(p.client.session, p.now, 0, none), 0); /* on second thoughts, at once */
    assert_int_equal(roam_session_disconnect(p.client.session, p.now, ROAM_REASON_UNSPECIFIED, none), 0);
    side_write(&p, &p.client, &p.server);
    assert_int_equal(p.server.in.len, 0);
    pair_cut(&p);
    roam_slice slice;
    assert_int_equal(roam_session_connect(p.client.session, p.now, &p.connect), 0);
    assert_int_equal(roam_session_drain(p.client.session, p.now, 0, 3, &slice, 1), 1);
    pipe_append(&p.server.in, slice.base, slice.len);
    assert_int_equal(roam_session_disconnect(p.client.session, p.now, ROAM_REASON_UNSPECIFIED, none), 0);
    side_write(&p, &p.client, &p.server);
    assert_true(p.server.in.len > 16);
    assert_int_equal(p.server.in.bytes[0], 0x10);
    size_t connect = 2u + p.server.in.bytes[1];
    assert_int_equal(p.server.in.bytes[connect], 0xE0);
    pair_reset(&p);
  }
}

/* CONNECT and a broken packet in one go: the server's CONNACK comes before its DISCONNECT, and nothing between. */
static void connack_comes_before_disconnect(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  pair_connect(&p, false);
  const uint8_t ping_and_rubbish[] = {0xC0, 0, 0x00, 0};
  size_t used;
  roam_session_feed(p.server.session, p.now, 0, (roam_bytes){ping_and_rubbish, 4}, &used);
  side_poll(&p, &p.server);
  expect_fault(&p, &p.server, ROAM_REASON_MALFORMED_PACKET);
  side_write(&p, &p.server, &p.client);
  assert_int_equal(p.client.in.bytes[0], 0x20);
  size_t connack = 2u + p.client.in.bytes[1];
  assert_int_equal(p.client.in.len, connack + 3);
  assert_int_equal(p.client.in.bytes[connack], 0xE0);
  pair_reset(&p);
}

static void disconnect_with_an_error_is_not_kept_waiting(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  publish(&p, &p.server, "t", "x", 0, 1);
  uint8_t memory[32];
  roam_props props = {memory, 0, sizeof memory};
  roam_props_put_bytes(&props, ROAM_PROP_REASON_STRING, text("go"));
  assert_int_equal(roam_session_disconnect(p.server.session, p.now, 0x03, none), ROAM_E_ARGUMENT);
  assert_int_equal(
      roam_session_disconnect(p.server.session, p.now, ROAM_REASON_SESSION_TAKEN_OVER, (roam_bytes){memory, props.len}), 0);
  EXPECT_SENT(&p, &p.server, 0xE0, 7, 0x8E, 5, 0x1F, 0, 2, 'g', 'o');
  expect_sent(&p, &p.server, NULL, 0);
  pair_reset(&p);
}

/* A packet cut by a small room is finished before the farewell. */
static void a_begun_packet_is_finished_before_the_farewell(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  roam_slice out[4];
  publish(&p, &p.server, "topic", "payload", 0, 1);
  publish(&p, &p.server, "topic", "never sent", 0, 2);
  assert_int_equal(roam_session_drain(p.server.session, p.now, 0, 5, out, 4), 1);
  pipe_append(&p.client.in, out[0].base, out[0].len);
  roam_session_disconnect(p.server.session, p.now, ROAM_REASON_SERVER_SHUTTING_DOWN, none);
  pair_pump(&p);
  assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 1);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DISCONNECT, 0)->reason, ROAM_REASON_SERVER_SHUTTING_DOWN);
  pair_reset(&p);
}

/* Answers are cut only when a single one is larger than the room, and a cut one is finished whatever comes. */
static void answers_are_cut_between_packets(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  roam_slice out[4];
  INJECT(&p, &p.server, 0x32, 6, 0, 1, 't', 0, 1, 0, 0x32, 6, 0, 1, 't', 0, 2, 0, 0x32, 6, 0, 1, 't', 0, 3, 0);
  INJECT(&p, &p.server, 0x32, 6, 0, 1, 't', 0, 4, 0);
  assert_int_equal(roam_session_drain(p.server.session, p.now, 0, 3, out, 4), 1);
  assert_int_equal(out[0].len, 3);
  assert_int_equal(roam_session_drain(p.server.session, p.now, 0, 7, out, 4), 1);
  assert_int_equal(out[0].len, 5); /* the rest of the first and the whole second */
  assert_int_equal(out[0].base[1], 0x40);
  assert_int_equal(roam_session_drain(p.server.session, p.now, 0, 2, out, 4), 1);
  roam_session_disconnect(p.server.session, p.now, ROAM_REASON_SERVER_BUSY, none);
  EXPECT_SENT(&p, &p.server, 0, 3, 0xE0, 1, 0x89);
  pair_reset(&p);
}

static void a_311_server_ends_without_a_packet(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 4);
  assert_int_equal(roam_session_disconnect(p.server.session, p.now, ROAM_REASON_SESSION_TAKEN_OVER, none), 0);
  expect_sent(&p, &p.server, NULL, 0);
  publish(&p, &p.server, "t", "x", 1, 1);
  expect_sent(&p, &p.server, NULL, 0);
  pair_reset(&p);
}

static void limits_of_the_server_are_kept(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  uint8_t memory[32];
  roam_props props = {memory, 0, sizeof memory};
  roam_props_put_number(&props, ROAM_PROP_MAXIMUM_QOS, 1);
  roam_props_put_number(&props, ROAM_PROP_RETAIN_AVAILABLE, 0);
  p.connack.props = (roam_bytes){memory, props.len};
  pair_connect(&p, false);
  pair_pump(&p);
  publish(&p, &p.client, "t", "x", 2, 1);
  roam_message m;
  assert_int_equal(roam_message_make(&m, p.now, text("t"), none, none, 1, true), 0);
  roam_session_publish(p.client.session, p.now, &m, &(roam_publish_how){.qos = 1, .retain = true}, 2);
  roam_blob_unref(m.blob);
  publish(&p, &p.client, "t", "x", 1, 3);
  pair_pump(&p);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 0)->reason, ROAM_REASON_QOS_NOT_SUPPORTED);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 1)->reason, ROAM_REASON_RETAIN_NOT_SUPPORTED);
  assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 1);
  pair_reset(&p);
}

static void packets_too_large_for_the_peer_are_not_sent(void **state) {
  (void)state;
  roam_session_options client, server;
  options(&client, &server, 5);
  server.maximum_packet_size = 64;
  struct pair p;
  pair_init(&p, &client, &server);
  static const uint8_t payload[64];
  publish_bytes(&p, &p.client, "t", none, (roam_bytes){payload, 64}, 1, 1); /* before the limit is known */
  pair_connect(&p, false);
  pair_pump(&p);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 0)->reason, ROAM_REASON_PACKET_TOO_LARGE);
  assert_int_equal(publish_bytes(&p, &p.client, "t", none, (roam_bytes){payload, 64}, 1, 2), ROAM_E_TOO_LARGE);
  /* 2 header, 3 topic, 2 identifier, 1 property length: 56 just fit */
  publish_bytes(&p, &p.client, "t", none, (roam_bytes){payload, 57}, 1, 3);
  publish_bytes(&p, &p.client, "t", none, (roam_bytes){payload, 56}, 1, 4);
  pair_pump(&p);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DROPPED, 1)->token, 3);
  assert_int_equal(find_kind(&p.server, ROAM_SE_MESSAGE, 0)->payload_len, 56);
  assert_int_equal(count_kind(&p.server, ROAM_SE_FAULT), 0);
  assert_int_equal(roam_session_get_info(p.client.session).peer_maximum_packet_size, 64);
  pair_reset(&p);
}

static void auth_passes_both_ways(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  uint8_t memory[32];
  roam_props props = {memory, 0, sizeof memory};
  roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_METHOD, text("m"));
  assert_int_equal(roam_session_auth(p.client.session, p.now, ROAM_REASON_REAUTHENTICATE, (roam_bytes){memory, props.len}),
                   0);
  assert_int_equal(roam_session_auth(p.server.session, p.now, ROAM_REASON_SUCCESS, (roam_bytes){memory, props.len}), 0);
  pair_pump(&p);
  assert_int_equal(find_kind(&p.server, ROAM_SE_AUTH, 0)->reason, ROAM_REASON_REAUTHENTICATE);
  assert_int_equal(find_kind(&p.client, ROAM_SE_AUTH, 0)->reason, 0);
  pair_reset(&p);
}

static void every_verb_is_harmless_when_detached(void **state) {
  (void)state;
  struct pair p;
  start(&p, 5);
  for (int i = 0; i < 2; i++) {
    struct side *side = i == 0 ? &p.client : &p.server;
    roam_slice out;
    roam_session_event ev;
    size_t used;
    assert_false(roam_session_attached(side->session));
    roam_session_feed(side->session, p.now, 0, text("anything"), &used);
    assert_int_equal(used, 8);
    roam_session_tick(side->session, p.now);
    roam_session_detach(side->session, p.now);
    roam_session_ping(side->session, p.now);
    assert_int_equal(roam_session_drain(side->session, p.now, 0, 100, &out, 1), 0);
    assert_int_equal(roam_session_poll(side->session, &ev, 1), 0);
    assert_int_equal(roam_session_deadline(side->session), ROAM_NEVER);
    assert_int_equal(roam_session_disconnect(side->session, p.now, 0, none), ROAM_E_STATE);
    assert_int_equal(roam_session_auth(side->session, p.now, 0, none), ROAM_E_STATE);
    assert_int_equal(roam_session_ack(side->session, p.now, 0, 1, 0), 0);
    assert_int_equal(roam_session_suback(side->session, p.now, 0, 1, none, none), ROAM_E_STATE);
    roam_session_clear(side->session, p.now);
    assert_true(roam_session_get_info(side->session).drained);
  }
  roam_session_free(NULL);
  pair_reset(&p);
}

/* Lanes are separate flows: the same identifier is two exchanges. */
static void lanes_have_their_own_identifiers(void **state) {
  (void)state;
  struct pair p;
  start_connected(&p, 5);
  roam_slice out[4];
  for (uint32_t lane = 0; lane < 3; lane++) {
    roam_message m;
    assert_int_equal(roam_message_make(&m, p.now, text("t"), none, none, 1, false), 0);
    assert_int_equal(roam_session_publish(p.client.session, p.now, &m, &(roam_publish_how){.qos = 1, .lane = lane}, lane),
                     0);
    roam_blob_unref(m.blob);
  }
  for (uint32_t lane = 0; lane < 3; lane++) {
    assert_int_equal(roam_session_drain(p.client.session, p.now, lane, 1000, out, 4), 1);
    assert_int_equal(out[0].base[0], 0x32);
    assert_int_equal(out[0].base[6], 1);
  }
  size_t used;
  const uint8_t puback[] = {0x40, 2, 0, 1}, disconnect[] = {0xE0, 0};
  roam_session_feed(p.client.session, p.now, 2, (roam_bytes){puback, 4}, &used);
  side_poll(&p, &p.client);
  assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 1);
  assert_int_equal(find_kind(&p.client, ROAM_SE_DONE, 0)->token, 2);
  roam_session_feed(p.client.session, p.now, 2, (roam_bytes){disconnect, 2}, &used);
  side_poll(&p, &p.client);
  assert_int_equal(find_kind(&p.client, ROAM_SE_LANE_FAULT, 0)->reason, ROAM_REASON_PROTOCOL_ERROR);
  assert_int_equal(count_kind(&p.client, ROAM_SE_FAULT), 0); /* the session goes on */
  assert_true(roam_session_get_lane(p.client.session, 2).over);
  assert_false(roam_session_get_lane(p.client.session, 1).over);
  pair_reset(&p);
}

static void bad_options_make_no_session(void **state) {
  (void)state;
  roam_session_options o;
  roam_session_options_init(&o, ROAM_ROLE_CLIENT);
  o.version = 6;
  assert_null(roam_session_new(&o));
  roam_session_options_init(&o, ROAM_ROLE_CLIENT);
  o.receive_maximum = 0;
  assert_null(roam_session_new(&o));
  roam_session *s = roam_session_new(NULL);
  assert_non_null(s);
  roam_session_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_version_and_qos_arrives_once),
      cmocka_unit_test(cutting_is_invisible),
      cmocka_unit_test(tiny_room_cuts_packets),
      cmocka_unit_test(slices_are_few_and_copies_are_none),
      cmocka_unit_test(before_connack_everything_waits),
      cmocka_unit_test(subscribe_and_unsubscribe),
      cmocka_unit_test(at_most_1024_requests_wait),
      cmocka_unit_test(peer_receive_maximum_is_our_window),
      cmocka_unit_test(own_window_is_kept_whatever_the_peer_allows),
      cmocka_unit_test(peer_above_receive_maximum_is_a_fault),
      cmocka_unit_test(quota_comes_back_with_pubcomp),
      cmocka_unit_test(acks_leave_in_the_order_of_receipt),
      cmocka_unit_test(unacknowledged_messages_stop_the_reading_in_311),
      cmocka_unit_test(events_not_polled_stop_the_reading),
      cmocka_unit_test(answers_not_taken_stop_the_reading),
      cmocka_unit_test(packet_ids_wrap_and_skip_those_in_use),
      cmocka_unit_test(unknown_identifiers),
      cmocka_unit_test(unknown_identifiers_in_311),
      cmocka_unit_test(refusing_pubrec_ends_the_exchange),
      cmocka_unit_test(answers_of_another_kind_are_faults),
      cmocka_unit_test(unfinished_messages_can_be_taken_back),
      cmocka_unit_test(pubrel_before_pubrec_is_a_fault),
      cmocka_unit_test(duplicates_are_answered_only_after_the_owner),
      cmocka_unit_test(suback_with_the_wrong_number_of_codes_is_a_fault),
      cmocka_unit_test(connack_refuses),
      cmocka_unit_test(out_of_turn_packets_are_faults),
      cmocka_unit_test(second_connect_is_a_fault),
      cmocka_unit_test(malformed_bytes_end_it_and_harm_nothing_kept),
      cmocka_unit_test(too_large_is_refused_by_its_header),
      cmocka_unit_test(disconnect_follows_what_was_published),
      cmocka_unit_test(nothing_comes_before_connect),
      cmocka_unit_test(connack_comes_before_disconnect),
      cmocka_unit_test(disconnect_with_an_error_is_not_kept_waiting),
      cmocka_unit_test(a_begun_packet_is_finished_before_the_farewell),
      cmocka_unit_test(answers_are_cut_between_packets),
      cmocka_unit_test(a_311_server_ends_without_a_packet),
      cmocka_unit_test(limits_of_the_server_are_kept),
      cmocka_unit_test(packets_too_large_for_the_peer_are_not_sent),
      cmocka_unit_test(auth_passes_both_ways),
      cmocka_unit_test(every_verb_is_harmless_when_detached),
      cmocka_unit_test(lanes_have_their_own_identifiers),
      cmocka_unit_test(bad_options_make_no_session),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
