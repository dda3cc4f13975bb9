/* takeover_test.c - a session that is taken over: by a stranger it is lost for good, by a late CONNECT of our own it is
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/stage.h"

struct story {
  roam_world *world;
  roam_host *phone, *desk, *server;
  roam_hop *loss, *delay;
  roam_identity identity;
  roam_broker *broker;
  roam_client *client, *stranger;
  unsigned connects, taken_over, closed;
};

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    s->connects += ev[i].kind == ROAM_EV_CONNECTED;
    s->taken_over += ev[i].kind == ROAM_EV_DISCONNECTED && ev[i].reason == ROAM_REASON_SESSION_TAKEN_OVER;
    s->closed += ev[i].kind == ROAM_EV_CLOSED;
  }
}

static roam_host *add_host(struct story *s, const char *name, const char *at) {
  roam_addr a = stage_addr(at);
  roam_host *host = roam_world_host(s->world, name);
  assert_int_equal(roam_host_address(host, "eth0", &a), 0);
  return host;
}

static roam_client *start(struct story *s, roam_host *host) {
  roam_client_options o = stage_client_options(&s->identity, "mqtt://192.0.2.1", "phone");
  o.session_expiry_s = 600;
  o.connect_timeout_ns = ROAM_S;
  return stage_client(s->world, host, &o, "t", on_client, s);
}

static struct story *story_new(void) {
  struct story *s = calloc(1, sizeof *s);
  roam_addr home = stage_addr("192.0.2.1"), wlan = stage_addr("198.51.100.7"), eth = stage_addr("192.0.2.7");
  s->world = roam_world_new(NULL);
  s->server = add_host(s, "server", "192.0.2.1");
  s->phone = roam_world_host(s->world, "phone");
  s->desk = add_host(s, "desk", "192.0.2.8");
  assert_int_equal(roam_host_address(s->phone, "wlan0", &wlan), 0); /* the route; the second attempt goes the other way */
  assert_int_equal(roam_host_address(s->phone, "eth0", &eth), 0);
  assert_int_equal(roam_host_hop(s->phone, &wlan, s->loss = stage_loss(s->world, 0)), 0);
  assert_int_equal(roam_host_hop(s->phone, &wlan, s->delay = stage_delay(s->world, 20 * ROAM_MS, 0)), 0);
  assert_int_equal(roam_identity_make(&s->identity, "story", "192.0.2.1", STAGE_WALL, 30, false), 0);
  roam_broker_options o = stage_broker_options(&s->identity);
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), NULL);
  stage_listen(s->world, s->broker, &home, ROAM_TRANSPORT_TCP, 1883);
  roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL);
  return s;
}

static void story_free(struct story *s) {
  roam_client_free(s->client);
  roam_client_free(s->stranger);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void until(struct story *s, uint64_t ms) { assert_int_equal(roam_world_run(s->world, ms * ROAM_MS), 0); }

/* The first CONNECT is a second and a half under way, and the wlan takes nothing more after it, so the broker does not
 * learn that its connection was given up. The next, over the other network, has been in use for long when that CONNECT
 * comes. */
static void arrive_late(struct story *s) {
  s->client = start(s, s->phone);
  until(s, 1030);
  roam_delay_set(s->delay, 1500 * ROAM_MS, 0);
  until(s, 1100);
  roam_loss_set_down(s->loss, true);
  assert_int_equal(s->connects, 0);
  until(s, 2500);
  assert_int_equal(s->connects, 1);
  assert_int_equal(s->taken_over, 0);
}

static void a_late_connect_of_our_own_is_answered_by_another(void **state) {
  (void)state;
  struct story *s = story_new();
  arrive_late(s);
  until(s, 20000);
  assert_int_equal(s->taken_over, 1);
  assert_int_equal(s->connects, 2);
  assert_int_equal(s->closed, 0);
  assert_int_equal(roam_client_get_state(s->client), ROAM_CLIENT_CONNECTED);
  story_free(s);
}

/* Once: two that fight over a client id would disturb each other for ever. */
static void a_stranger_ends_it_all_the_same(void **state) {
  (void)state;
  struct story *s = story_new();
  arrive_late(s);
  until(s, 6000);
  assert_int_equal(s->connects, 2);
  s->stranger = start(s, s->desk);
  until(s, 20000);
  assert_int_equal(roam_client_get_state(s->client), ROAM_CLIENT_CLOSED);
  assert_int_equal(roam_client_get_state(s->stranger), ROAM_CLIENT_CONNECTED);
  story_free(s);
}

static void a_stranger_ends_it_at_once(void **state) {
  (void)state;
  struct story *s = story_new();
  s->client = start(s, s->phone);
  until(s, 2000);
  s->stranger = start(s, s->desk);
  until(s, 20000);
  assert_int_equal(roam_client_get_state(s->client), ROAM_CLIENT_CLOSED);
  assert_int_equal(roam_client_get_state(s->stranger), ROAM_CLIENT_CONNECTED);
  story_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_late_connect_of_our_own_is_answered_by_another),
      cmocka_unit_test(a_stranger_ends_it_all_the_same),
      cmocka_unit_test(a_stranger_ends_it_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
