/* fallback_test.c - networks that block UDP, from the start or later, in virtual time: TLS takes over within the stated
 * bounds, QUIC when it gets through again, the session goes on, and the plaintext listener that is there is never used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

struct story {
  roam_world *world;
  roam_host *phone, *server;
  roam_hop *loss[2];
  roam_identity identity;
  roam_broker *broker;
  roam_client *client;
  roam_addr wlan, cell, home;
  unsigned connects, disconnects, transports, published, delivered, wills;
  roam_time connected_at;
  char why[160];
  uint8_t transport;
  bool present, plaintext;
  const char *url;
  uint8_t state[16384]; /* what the client wants kept */
  size_t state_len;
  unsigned heard[256]; /* messages by their first byte */
  unsigned refused;    /* early data */
  const char *fallback_url;
};

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_CONNECTED) {
      s->connects++;
      s->connected_at = ev[i].at;
      s->transport = ev[i].u.link.transport;
      s->present = ev[i].u.link.session_present;
    }
    if (ev[i].kind == ROAM_EV_DISCONNECTED) s->disconnects++;
    if (ev[i].kind == ROAM_EV_TRANSPORT) {
      s->transports++;
      snprintf(s->why, sizeof s->why, "%s", ev[i].text);
    }
    if (ev[i].kind == ROAM_EV_STATE) {
      roam_bytes state = roam_client_saved(s->client);
      assert_true(state.len <= sizeof s->state);
      memcpy(s->state, state.base, state.len);
      s->state_len = state.len;
    }
    if (ev[i].kind == ROAM_EV_EARLY_DATA) s->refused += ev[i].rc != 0;
    if (ev[i].kind == ROAM_EV_MESSAGE && ev[i].u.message.payload.len > 0) s->heard[ev[i].u.message.payload.base[0]]++;
    if (ev[i].kind == ROAM_EV_MESSAGE && ev[i].u.message.topic.len == 1) s->delivered++;
    if (ev[i].kind == ROAM_EV_MESSAGE && ev[i].u.message.topic.len == 4) s->wills++;
  }
}

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++)
    if (ev[i].kind == ROAM_EV_PEER_CONNECTED) s->plaintext |= ev[i].u.link.transport == ROAM_TRANSPORT_TCP;
}

static void build_network(struct story *s) {
  static const char *const names[] = {"wlan0", "wwan0"};
  s->phone = roam_world_host(s->world, "phone");
  s->server = roam_world_host(s->world, "server");
  const roam_addr *addrs[] = {&s->wlan, &s->cell};
  roam_host_address(s->server, "eth0", &s->home);
  for (int i = 0; i < 2; i++) {
    roam_host_address(s->phone, names[i], addrs[i]);
    roam_host_hop(s->phone, addrs[i], stage_delay(s->world, 20 * ROAM_MS, 0));
    roam_host_hop(s->phone, addrs[i], s->loss[i] = stage_loss(s->world, 0));
  }
}

static void start_broker(struct story *s) {
  static const struct {
    roam_transport_kind kind;
    uint16_t port;
  } listeners[] = {{ROAM_TRANSPORT_QUIC, 14567}, {ROAM_TRANSPORT_TLS, 8883}, {ROAM_TRANSPORT_TCP, 1883}};
  roam_broker_options o = stage_broker_options(&s->identity);
  roam_time now = roam_world_now(s->world);
  s->broker = roam_broker_new(&o, now, roam_world_random(s->world), NULL);
  for (size_t i = 0; i < 3; i++) stage_listen(s->world, s->broker, &s->home, listeners[i].kind, listeners[i].port);
  roam_host_run(s->server, roam_broker_machine(s->broker), on_broker, s);
}

static void start_client(struct story *s, bool fallback) {
  const char *url = s->url ? s->url : "mqtt-quic://192.0.2.1";
  roam_client_options o = stage_client_options(&s->identity, url, "phone");
  o.fallback_url = s->fallback_url;
  if (!s->fallback_url) o.server_name = "broker.test";
  o.session_expiry_s = 600;
  o.fallback = fallback;
  o.will_topic = "will";
  o.will_payload = stage_bytes("gone");
  o.clean_start = false;
  o.tell_state = true;
  o.state = (roam_bytes){s->state, s->state_len};
  s->client = roam_client_new(&o, roam_world_random(s->world), NULL);
  assert_non_null(s->client);
  roam_filter filters[] = {{.filter = stage_bytes("t"), .qos = 2}, {.filter = stage_bytes("will"), .qos = 1}};
  roam_client_subscribe(s->client, roam_world_now(s->world), filters, 2, NULL);
  roam_client_start(s->client, roam_world_now(s->world));
  roam_host_run(s->phone, roam_client_machine(s->client), on_client, s);
}

static void stop_client(struct story *s) {
  roam_host_stop(s->phone, roam_client_machine(s->client));
  roam_client_free(s->client);
}

static void block(struct story *s, bool blocked) {
  for (int i = 0; i < 2; i++) roam_loss_block_udp(s->loss[i], blocked);
}

static void until(struct story *s, uint64_t ms) { assert_int_equal(roam_world_run(s->world, ms * ROAM_MS), 0); }

/* The client publishes to itself. */
static void publish(struct story *s) {
  roam_client_message m = {.topic = stage_bytes("t"), .payload = stage_bytes("x"), .qos = 2};
  assert_int_equal(roam_client_publish(s->client, roam_world_now(s->world), &m, NULL), 0);
  s->published++;
}

static struct story *story_new(bool fallback, bool blocked) {
  struct story *s = calloc(1, sizeof *s);
  roam_world_options o;
  roam_world_options_init(&o);
  o.trace_datagrams = false;
  s->world = roam_world_new(&o);
  s->wlan = stage_addr("10.0.0.2");
  s->cell = stage_addr("198.51.100.9");
  s->home = stage_addr("192.0.2.1");
  assert_int_equal(roam_identity_make(&s->identity, "story", "broker.test,gate.test", STAGE_WALL, 30, false), 0);
  build_network(s);
  block(s, blocked);
  start_broker(s);
  start_client(s, fallback);
  return s;
}

static void story_free(struct story *s) {
  assert_false(s->plaintext);
  roam_client_free(s->client);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void quic_wins_where_it_gets_through(void **state) {
  (void)state;
  struct story *s = story_new(true, false);
  until(s, 60000);
  assert_int_equal(s->connects, 1);
  assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC);
  assert_string_equal(s->why, "over quic: asked first");
  story_free(s);
}

/* Two addresses, the first of nobody: the second is tried a head start later, not a time-out later. */
static void addresses_race(void **state) {
  (void)state;
  struct story *s = story_new(false, false);
  roam_addr nobody = stage_addr("192.0.2.77");
  stop_client(s);
  assert_int_equal(roam_world_name(s->world, "broker.test", &nobody), 0);
  assert_int_equal(roam_world_name(s->world, "broker.test", &s->home), 0);
  s->url = "mqtt-quic://broker.test";
  start_client(s, false);
  until(s, 1000 + 300 + 3 * 40);
  assert_int_equal(s->connects, 1);
  assert_string_equal(s->why, "over quic: another address was faster");
  story_free(s);
}

static void tls_after_the_head_start(void **state) {
  (void)state;
  struct story *s = story_new(true, true);
  until(s, 1299);
  assert_int_equal(s->connects, 0);
  until(s, 1000 + 300 + 4 * 40); /* the head start; TCP, TLS and CONNECT take three round trips */
  assert_int_equal(s->connects, 1);
  assert_int_equal(s->transport, ROAM_TRANSPORT_TLS);
  assert_string_equal(s->why, "over tls: QUIC had not answered in time");
  publish(s);
  until(s, 5000);
  assert_int_equal(s->delivered, 1);
  /* It is tried again, less and less often, and taken when it is there. */
  until(s, 60000);
  assert_int_equal(s->connects, 1);
  block(s, false);
  until(s, 600000);
  assert_int_equal(s->connects, 2);
  assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC);
  assert_true(s->present);
  assert_string_equal(s->why, "over quic: UDP gets through again");
  publish(s);
  until(s, 610000);
  assert_int_equal(s->delivered, 2);
  assert_int_equal(s->wills, 0); /* it took its leave of TLS */
  roam_client_stats stats = roam_client_get_stats(s->client);
  assert_int_equal(stats.fallbacks, 1);
  assert_int_equal(stats.climbs, 1);
  story_free(s);
}

static void a_black_hole_later(void **state) {
  (void)state;
  struct story *s = story_new(true, false);
  until(s, 5000);
  assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC);
  block(s, true);
  publish(s);
  /* Not answered for 3 s, the head start, and three round trips and some. */
  until(s, 5000 + 3000 + 300 + 5 * 40);
  assert_int_equal(s->connects, 2);
  assert_int_equal(s->transport, ROAM_TRANSPORT_TLS);
  assert_true(s->present);
  until(s, 20000);
  assert_int_equal(s->delivered, 1);
  block(s, false);
  assert_int_equal(roam_client_hint(s->client, roam_world_now(s->world)), 0); /* a sign: QUIC is tried at once */
  until(s, 21000);
  assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC);
  assert_int_equal(s->connects, 3);
  assert_int_equal(roam_client_get_stats(s->client).resumed, 1); /* by the ticket of the first */
  assert_int_equal(roam_client_get_stats(s->client).early_accepted, 0);
  assert_int_equal(s->disconnects, 2);
  publish(s);
  until(s, 22000);
  assert_int_equal(s->delivered, 2);
  story_free(s);
}

static void where_udp_was_blocked_tls_comes_first(void **state) {
  (void)state;
  struct story *s = story_new(true, true);
  until(s, 4000);
  assert_int_equal(s->transport, ROAM_TRANSPORT_TLS);
  assert_int_equal(roam_broker_kick(s->broker, roam_world_now(s->world), "phone", 0x98), 0);
  until(s, 6000);
  assert_int_equal(s->connects, 2);
  assert_int_equal(s->transport, ROAM_TRANSPORT_TLS);
  assert_string_equal(s->why, "over tls: UDP was blocked here a while ago");
  assert_true(s->connected_at <=
              (4000 + 20 + 200 + 4 * 40) * ROAM_MS); /* back-off and round trips, no head start for QUIC */
  story_free(s);
}

static void never_without_leave(void **state) {
  (void)state;
  struct story *s = story_new(false, true);
  until(s, 60000);
  assert_int_equal(s->connects, 0);
  block(s, false);
  until(s, 120000);
  assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC);
  story_free(s);
}

/* Everything is dark, TLS too: the old connection is kept as long as nothing better is there, and is the first to answer.
 */
static void darkness_is_no_reason_to_give_up(void **state) {
  (void)state;
  struct story *s = story_new(true, false);
  until(s, 5000);
  for (int i = 0; i < 2; i++) roam_loss_set_down(s->loss[i], true);
  publish(s);
  until(s, 25000);
  assert_int_equal(s->disconnects, 0);
  for (int i = 0; i < 2; i++) roam_loss_set_down(s->loss[i], false);
  until(s, 30000);
  assert_int_equal(s->delivered, 1);
  assert_true(s->connects <= 2);
  story_free(s);
}

/* WebSocket at another name and address: what many a network lets out where it lets out nothing else. */
static void tls_may_be_elsewhere(void **state) {
  (void)state;
  struct story *s = story_new(true, true);
  roam_addr gate = stage_addr("192.0.2.9");
  stop_client(s);
  roam_host_address(s->server, "eth1", &gate);
  stage_listen(s->world, s->broker, &gate, ROAM_TRANSPORT_WSS, 443);
  assert_int_equal(roam_world_name(s->world, "broker.test", &s->home), 0);
  assert_int_equal(roam_world_name(s->world, "gate.test", &gate), 0);
  s->url = "mqtt-quic://broker.test";
  s->fallback_url = "wss://gate.test";
  start_client(s, true);
  until(s, 1000 + 300 + 5 * 40 + 10);
  assert_int_equal(s->transport, ROAM_TRANSPORT_WSS);
  assert_string_equal(s->why, "over wss: QUIC had not answered in time");
  roam_client_stats stats = roam_client_get_stats(s->client);
  assert_true(roam_addr_same_ip(&stats.remote, &gate));
  publish(s);
  until(s, 5000);
  assert_int_equal(s->delivered, 1);
  assert_int_equal(roam_broker_kick(s->broker, roam_world_now(s->world), "phone", 0x98), 0);
  until(s, 6000); /* where UDP was blocked a while ago, without a head start */
  assert_int_equal(s->transport, ROAM_TRANSPORT_WSS);
  assert_true(s->connected_at <= (5000 + 20 + 200 + 6 * 40) * ROAM_MS);
  block(s, false);
  assert_int_equal(roam_client_hint(s->client, roam_world_now(s->world)), 0);
  until(s, 7000); /* QUIC is where it was */
  assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC);
  assert_true(s->present);
  stats = roam_client_get_stats(s->client);
  assert_true(roam_addr_same_ip(&stats.remote, &s->home));
  block(s, true);
  publish(s);
  until(s, 7000 + 3000 + 300 + 7 * 40);
  assert_int_equal(s->transport, ROAM_TRANSPORT_WSS);
  until(s, 15000);
  assert_int_equal(s->delivered, 2);
  story_free(s);
}

static void say(struct story *s, const char *what, uint8_t qos, bool safe) {
  roam_client_message m = {.topic = stage_bytes("t"), .payload = stage_bytes(what), .qos = qos, .safe_to_repeat = safe};
  assert_int_equal(roam_client_publish(s->client, roam_world_now(s->world), &m, NULL), 0);
}

static void unblock(void *context) { block(context, false); }
static void block_now(void *context) { block(context, true); }

/* A ticket, and UDP that is blocked meanwhile: CONNECT and what may be repeated went out early and were never heard, or
 * were heard while the answers were lost. TLS wins, and everything is there: QoS 2 once, QoS 1 at least once. */
static void early_data_into_a_black_hole(void **state) {
  (void)state;
  for (int heard = 0; heard < 2; heard++) {
    struct story *s = story_new(true, false);
    until(s, 3000);
    assert_true(s->state_len > 0);
    stop_client(s);
    until(s, 200000); /* the broker gives it up */
    for (int i = 0; i < 2; i++)
      roam_host_hop(s->phone, i ? &s->cell : &s->wlan, stage_delay(s->world, 5 * ROAM_MS, 0)); /* behind the block */
    block(s, !heard);
    roam_time now = roam_world_now(s->world);
    uint64_t before = roam_broker_get_stats(s->broker).early_accepted;
    start_client(s, true);
    say(s, "a", 1, true);
    say(s, "b", 2, false);
    say(s, "c", 1, false);
    if (heard) roam_world_at(s->world, now + 22 * ROAM_MS, block_now, s); /* the first flight is through, no answer is */
    until(s, 200000 + 300 + 4 * 50 + 50);
    assert_int_equal(roam_broker_get_stats(s->broker).early_accepted - before, heard);
    assert_int_equal(s->transport, ROAM_TRANSPORT_TLS);
    assert_true(s->present);
    until(s, 210000);
    assert_int_equal(s->connects, 2);
    assert_int_equal(s->heard['b'], 1);
    assert_int_equal(s->heard['c'], 1);
    assert_true(s->heard['a'] >= 1 && s->heard['a'] <= 1u + (unsigned)heard);
    roam_client_stats stats = roam_client_get_stats(s->client);
    assert_true(stats.inflight == 0 && stats.queued == 0);
    roam_world_at(s->world, roam_world_now(s->world) + ROAM_S, unblock, s);
    until(s, 600000);
    assert_int_equal(s->transport, ROAM_TRANSPORT_QUIC); /* it climbs, with its ticket and nothing early */
    stats = roam_client_get_stats(s->client);
    assert_int_equal(stats.resumed, 1);
    assert_int_equal(stats.early_accepted, 0);
    assert_int_equal(s->refused, 0);
    story_free(s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quic_wins_where_it_gets_through),
      cmocka_unit_test(addresses_race),
      cmocka_unit_test(tls_after_the_head_start),
      cmocka_unit_test(a_black_hole_later),
      cmocka_unit_test(where_udp_was_blocked_tls_comes_first),
      cmocka_unit_test(never_without_leave),
      cmocka_unit_test(darkness_is_no_reason_to_give_up),
      cmocka_unit_test(early_data_into_a_black_hole),
      cmocka_unit_test(tls_may_be_elsewhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
