/* first_flight_test.c - in the world: after how many round trips the broker has the first byte of MQTT and the client its
 * CONNACK, for a first visit, a resumed one and one with early data, with and without Retry, at several distances. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#define STRANGERS 3

struct trip {
  roam_world *world;
  roam_host *server, *phone;
  roam_identity identity;
  roam_broker *broker;
  roam_client *client;
  uint8_t state[16384];
  size_t state_len;
  roam_time began, first_byte, connack;
  unsigned taken;
  uint32_t handshakes_max; /* 0: as usual */
  roam_host *elsewhere;    /* where half handshakes come from */
  roam_hop *lost;
  roam_client *strangers[STRANGERS];
};

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct trip *t = context;
  for (size_t i = 0; i < n; i++)
    if (ev[i].kind == ROAM_EV_PEER_CONNECTED) t->first_byte = ev[i].at;
}

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct trip *t = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_CONNECTED) t->connack = ev[i].at;
    if (ev[i].kind == ROAM_EV_EARLY_DATA) t->taken += ev[i].rc == 0;
    if (ev[i].kind != ROAM_EV_STATE) continue;
    roam_bytes state = roam_client_saved(t->client);
    assert_true(state.len <= sizeof t->state);
    memcpy(t->state, state.base, state.len);
    t->state_len = state.len;
  }
}

static void open_world(struct trip *t, uint64_t half_rtt_ns, bool retry) {
  roam_addr home = stage_addr("192.0.2.1"), wlan = stage_addr("10.0.0.2");
  *t = (struct trip){.world = roam_world_new(NULL), .handshakes_max = t->handshakes_max};
  t->server = roam_world_host(t->world, "broker");
  t->phone = roam_world_host(t->world, "phone");
  roam_host_address(t->server, "eth0", &home);
  roam_host_address(t->phone, "wlan0", &wlan);
  roam_host_hop(t->phone, &wlan, stage_delay(t->world, half_rtt_ns, 0));
  assert_int_equal(roam_identity_make(&t->identity, "trip", "192.0.2.1", STAGE_WALL, 30, false), 0);
  roam_broker_options o = stage_broker_options(&t->identity);
  o.retry = retry;
  if (t->handshakes_max) o.handshakes_max = t->handshakes_max;
  t->broker = roam_broker_new(&o, roam_world_now(t->world), roam_world_random(t->world), NULL);
  home.port = 14567;
  roam_broker_listen(t->broker, roam_world_now(t->world), ROAM_TRANSPORT_QUIC, &home, NULL);
  roam_host_run(t->server, roam_broker_machine(t->broker), on_broker, t);
  roam_world_run(t->world, 2 * ROAM_S);
}

static void close_world(struct trip *t) {
  roam_world_free(t->world);
  roam_broker_free(t->broker);
  roam_identity_clear(&t->identity);
}

static void visit(struct trip *t, bool early, bool forget) {
  roam_client_options o = stage_client_options(&t->identity, "mqtt-quic://192.0.2.1", "phone");
  o.tls.wall_unix_s += (int64_t)(roam_world_now(t->world) / ROAM_S);
  o.early_data = early;
  if (!forget) o.state = (roam_bytes){t->state, t->state_len};
  o.tell_state = true;
  t->client = roam_client_new(&o, roam_world_random(t->world), NULL);
  t->began = roam_world_now(t->world);
  t->first_byte = t->connack = 0;
  t->taken = 0;
  assert_int_equal(roam_client_start(t->client, t->began), 0);
  roam_host_run(t->phone, roam_client_machine(t->client), on_client, t);
  roam_world_run(t->world, t->began + 3 * ROAM_S);
  roam_client_stats stats = roam_client_get_stats(t->client);
  assert_int_equal(stats.early_accepted, t->taken);
  roam_host_stop(t->phone, roam_client_machine(t->client)); /* a process's death */
  roam_client_free(t->client);
  roam_world_run(t->world, t->began + 200 * ROAM_S); /* the broker gives it up */
}

/* In halves of a round trip, exactly: virtual time adds nothing. */
static void expect(const struct trip *t, uint64_t half_rtt_ns, unsigned first_byte, unsigned connack) {
  assert_int_equal(t->first_byte - t->began, first_byte * half_rtt_ns);
  assert_int_equal(t->connack - t->began, connack * half_rtt_ns);
}

static void round_trips_to_the_first_byte_and_to_connack(void **state) {
  static const uint64_t rtts_ms[] = {20, 50, 200};
  (void)state;
  for (size_t i = 0; i < sizeof rtts_ms / sizeof rtts_ms[0]; i++) {
    uint64_t half = rtts_ms[i] * ROAM_MS / 2;
    struct trip t = {0};
    open_world(&t, half, false);
    visit(&t, true, true);
    expect(&t, half, 3, 4); /* 1.5 and 2 */
    visit(&t, false, false);
    expect(&t, half, 3, 4); /* a ticket alone saves work, not time */
    visit(&t, true, false);
    expect(&t, half, 1, 2); /* 0.5 and 1 */
    assert_int_equal(t.taken, 1);
    close_world(&t);
  }
}

static void with_retry_a_round_trip_more_until_there_is_a_token(void **state) {
  uint64_t half = 25 * ROAM_MS;
  struct trip t = {0};
  (void)state;
  open_world(&t, half, true);
  visit(&t, true, true);
  expect(&t, half, 5, 6);
  visit(&t, true, false); /* ticket and token */
  expect(&t, half, 1, 2);
  assert_int_equal(t.taken, 1);
  close_world(&t);
}

/* So many first flights from where no answer ever arrives. */
static void besiege(struct trip *t, uint64_t half_rtt_ns) {
  roam_addr at = stage_addr("10.9.9.9");
  roam_client_options o = stage_client_options(&t->identity, "mqtt-quic://192.0.2.1", NULL);
  roam_time now = roam_world_now(t->world);
  if (!t->elsewhere) {
    t->elsewhere = roam_world_host(t->world, "elsewhere");
    roam_host_address(t->elsewhere, "eth0", &at);
    roam_host_hop(t->elsewhere, &at, stage_delay(t->world, half_rtt_ns, 0));
    t->lost = stage_loss(t->world, 0);
    roam_host_hop(t->elsewhere, &at, t->lost);
  }
  roam_loss_set_down(t->lost, false);
  for (int i = 0; i < STRANGERS; i++) {
    t->strangers[i] = roam_client_new(&o, roam_world_random(t->world), NULL);
    assert_int_equal(roam_client_start(t->strangers[i], now), 0);
    roam_host_run(t->elsewhere, roam_client_machine(t->strangers[i]), NULL, NULL);
  }
  roam_world_run(t->world, now + half_rtt_ns + ROAM_MS);
  roam_loss_set_down(t->lost, true);
  assert_int_equal(roam_broker_get_stats(t->broker).handshakes, STRANGERS);
}

static void relieve(struct trip *t) {
  for (int i = 0; i < STRANGERS; i++) {
    roam_host_stop(t->elsewhere, roam_client_machine(t->strangers[i]));
    roam_client_free(t->strangers[i]);
  }
  assert_int_equal(roam_broker_get_stats(t->broker).handshakes, 0); /* their time is up */
}

/* Half of the handshakes that there may be hang: from now on an address must be proved first, unless a token does. */
static void under_load_strangers_prove_their_address(void **state) {
  uint64_t half = 25 * ROAM_MS;
  struct trip t = {.handshakes_max = 2 * STRANGERS};
  (void)state;
  open_world(&t, half, false);
  visit(&t, true, true);
  expect(&t, half, 3, 4);
  assert_int_equal(roam_broker_get_stats(t.broker).retries_sent, 0);
  besiege(&t, half);
  visit(&t, true, true);
  expect(&t, half, 5, 6);
  assert_int_equal(roam_broker_get_stats(t.broker).retries_sent, 1);
  relieve(&t);
  besiege(&t, half);
  visit(&t, true, false);
  expect(&t, half, 1, 2); /* known from before: no Retry, and early data as ever */
  assert_int_equal(t.taken, 1);
  assert_int_equal(roam_broker_get_stats(t.broker).retries_sent, 1);
  relieve(&t);
  visit(&t, false, true); /* the siege is over */
  expect(&t, half, 3, 4);
  assert_int_equal(roam_broker_get_stats(t.broker).retries_sent, 1);
  close_world(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trips_to_the_first_byte_and_to_connack),
      cmocka_unit_test(with_retry_a_round_trip_more_until_there_is_a_token),
      cmocka_unit_test(under_load_strangers_prove_their_address),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
