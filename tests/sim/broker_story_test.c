/* broker_story_test.c - the broker's view of a client that moves, over QUIC with the real client: address A -> B -> A in
 * the snapshot, the history, the events and the counters, and nothing lost on the way. And of one that dies without a word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#define MESSAGES 400

struct story {
  roam_world *world;
  roam_host *server, *device, *watcher;
  roam_hop *nat;
  roam_identity identity;
  roam_broker *broker;
  roam_client *publisher, *subscriber;
  int published, received[MESSAGES];
  char will[8];
  int moved, connected, disconnected;
  roam_event_path last_move;
};

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    bool publisher = ev[i].id.len == 9 && memcmp(ev[i].id.base, "publisher", 9) == 0;
    if (!publisher) continue;
    s->connected += ev[i].kind == ROAM_EV_PEER_CONNECTED;
    s->disconnected += ev[i].kind == ROAM_EV_PEER_DISCONNECTED;
    if (ev[i].kind != ROAM_EV_PEER_MOVED) continue;
    s->moved++;
    s->last_move = ev[i].u.path;
  }
}

static void on_publisher(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind != ROAM_EV_MESSAGE) continue;
    char text[8] = {0};
    memcpy(text, ev[i].u.message.payload.base, ev[i].u.message.payload.len < 7 ? ev[i].u.message.payload.len : 7);
    int number = atoi(text);
    if (ev[i].u.message.topic.len == 4) strcpy(s->will, text);
    else if (number >= 0 && number < MESSAGES) s->received[number]++;
  }
}

static void publish(void *context) {
  struct story *s = context;
  char text[8];
  snprintf(text, sizeof text, "%d", s->published++);
  roam_client_message m = {.topic = stage_bytes("t"), .payload = stage_bytes(text), .qos = 1};
  assert_int_equal(roam_client_publish(s->publisher, roam_world_now(s->world), &m, NULL), 0);
}

static roam_host *add_host(struct story *s, const char *name, const char *address, roam_hop *nat) {
  roam_host *host = roam_world_host(s->world, name);
  roam_addr a = stage_addr(address);
  assert_int_equal(roam_host_address(host, "eth0", &a), 0);
  assert_int_equal(roam_host_hop(host, &a, stage_delay(s->world, 20 * ROAM_MS, 0)), 0);
  if (nat) assert_int_equal(roam_host_hop(host, &a, nat), 0);
  return host;
}

static void start_broker(struct story *s, bool follow_paths) {
  roam_rc rc;
  uint64_t listener;
  roam_addr quic = stage_addr("192.0.2.1:14567");
  roam_broker_options o = stage_broker_options(&s->identity);
  o.follow_paths = follow_paths;
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), &rc);
  assert_non_null(s->broker);
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_QUIC, &quic, &listener), 0);
  assert_int_equal(roam_host_run(s->server, roam_broker_machine(s->broker), on_broker, s), 0);
}

static roam_client *start_client(struct story *s, roam_host *host, const char *id, roam_world_sink sink) {
  roam_rc rc;
  roam_client_options o = stage_client_options(&s->identity, "mqtt-quic://broker.test", id);
  o.will_topic = "will";
  o.will_payload = stage_bytes("gone");
  roam_client *c = roam_client_new(&o, roam_world_random(s->world), &rc);
  assert_non_null(c);
  assert_int_equal(roam_client_start(c, roam_world_now(s->world)), 0);
  assert_int_equal(roam_host_run(host, roam_client_machine(c), sink, s), 0);
  return c;
}

static struct story *story_new(bool follow_paths) {
  struct story *s = calloc(1, sizeof *s);
  roam_nat_options o;
  roam_addr home = stage_addr("192.0.2.1");
  assert_non_null(s);
  s->world = roam_world_new(NULL);
  assert_int_equal(roam_identity_make(&s->identity, "story", "broker.test", STAGE_WALL, 30, false), 0);
  roam_nat_options_init(&o);
  o.address = stage_addr("203.0.113.200");
  s->nat = roam_nat_new(&o, NULL);
  s->server = add_host(s, "server", "192.0.2.1", NULL);
  s->device = add_host(s, "device", "10.0.0.2", s->nat);
  s->watcher = add_host(s, "watcher", "198.51.100.9", NULL);
  assert_int_equal(roam_world_name(s->world, "broker.test", &home), 0);
  start_broker(s, follow_paths);
  s->publisher = start_client(s, s->device, "publisher", on_publisher);
  s->subscriber = start_client(s, s->watcher, "subscriber", on_subscriber);
  roam_filter all[] = {{.filter = stage_bytes("t"), .qos = 1}, {.filter = stage_bytes("will"), .qos = 1}};
  assert_int_equal(roam_client_subscribe(s->subscriber, roam_world_now(s->world), all, 2, NULL), 0);
  for (int i = 0; i < MESSAGES; i++)
    assert_int_equal(roam_world_at(s->world, 2 * ROAM_S + (roam_time)i * 20 * ROAM_MS, publish, s), 0);
  return s;
}

static void story_free(struct story *s) {
  roam_client_free(s->publisher);
  roam_client_free(s->subscriber);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void until(struct story *s, uint64_t ms) { assert_int_equal(roam_world_run(s->world, ms * ROAM_MS), 0); }

static roam_peer_info snapshot(const struct story *s) {
  roam_peer_info info;
  assert_int_equal(roam_broker_client(s->broker, "publisher", &info), 0);
  return info;
}

static bool is_at(const struct story *s, const char *ip) {
  roam_addr expected = stage_addr(ip), now = snapshot(s).ip_address;
  return roam_addr_same_ip(&now, &expected);
}

static void rebind(struct story *s, const char *address) {
  roam_addr a = stage_addr(address);
  assert_int_equal(roam_world_rebind(s->world, s->nat, &a), 0);
}

static void there_and_back(void **state) {
  (void)state;
  struct story *s = story_new(true);
  roam_addr a = stage_addr("203.0.113.200"), b = stage_addr("203.0.113.203");
  until(s, 4000);
  assert_true(is_at(s, "203.0.113.200"));
  assert_true(snapshot(s).rtt_ns >= 80 * ROAM_MS && snapshot(s).rtt_ns < 120 * ROAM_MS);
  rebind(s, "203.0.113.203");
  until(s, 6000);
  roam_peer_info info = snapshot(s);
  assert_true(roam_addr_same_ip(&info.ip_address, &b));
  assert_true(roam_addr_same_ip(&info.connect_address, &a));
  assert_int_equal(info.moves, 1);
  assert_true(roam_addr_same_ip(&s->last_move.old_remote, &a) && roam_addr_same_ip(&s->last_move.remote, &b));
  rebind(s, "203.0.113.200");
  until(s, 14000);
  info = snapshot(s);
  assert_true(roam_addr_same_ip(&info.ip_address, &a));
  assert_int_equal(info.moves, 2);
  assert_int_equal(info.connects, 1);
  assert_true(info.connected);
  roam_address_change history[8];
  assert_int_equal(roam_broker_history(s->broker, "publisher", history, 8), 3);
  assert_true(history[0].by_connect && !history[1].by_connect && !history[2].by_connect);
  assert_true(roam_addr_same_ip(&history[0].address, &a) && roam_addr_same_ip(&history[1].address, &b) &&
              roam_addr_same_ip(&history[2].address, &a));
  assert_int_equal(s->moved, 2);
  assert_int_equal(s->connected, 1);
  assert_int_equal(s->disconnected, 0);
  assert_int_equal(roam_broker_get_stats(s->broker).moves, 2);
  assert_int_equal(s->will[0], 0);
  for (int i = 0; i < MESSAGES; i++) assert_int_equal(s->received[i], 1);
  story_free(s);
}

/* The negative control: a broker that ignores new addresses loses the client. */
static void a_broker_that_does_not_follow(void **state) {
  (void)state;
  struct story *s = story_new(false);
  until(s, 4000);
  rebind(s, "203.0.113.203");
  until(s, 100000);
  roam_address_change history[8];
  assert_int_equal(s->moved, 0);
  assert_true(snapshot(s).connects > 1);
  assert_int_equal(snapshot(s).moves, 0);
  assert_true(roam_broker_history(s->broker, "publisher", history, 8) > 1);
  assert_true(history[1].by_connect);
  story_free(s);
}

/* A client that vanishes is noticed, and its will published, at the latest when its Keep Alive says so. */
static void a_client_dies_without_a_word(void **state) {
  (void)state;
  struct story *s = story_new(true);
  until(s, 10500);
  assert_int_equal(roam_host_stop(s->device, roam_client_machine(s->publisher)), 0);
  until(s, 40000);
  assert_true(snapshot(s).connected);
  until(s, 110000);
  assert_false(snapshot(s).connected);
  assert_string_equal(s->will, "gone");
  assert_int_equal(s->disconnected, 1);
  assert_int_equal(roam_broker_get_stats(s->broker).connections, 1);
  story_free(s);
}

static void stopping_in_a_world(void **state) {
  (void)state;
  struct story *s = story_new(true);
  until(s, 4000);
  roam_broker_stop(s->broker, roam_world_now(s->world));
  until(s, 7500);
  assert_int_equal(roam_broker_get_stats(s->broker).connections, 0);
  assert_int_equal(roam_client_error(s->subscriber).reason, ROAM_REASON_SERVER_SHUTTING_DOWN);
  story_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(a_broker_that_does_not_follow),
                                     cmocka_unit_test(a_client_dies_without_a_word), cmocka_unit_test(stopping_in_a_world)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
