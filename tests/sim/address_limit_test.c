/* address_limit_test.c - how many connections an address may have, when clients move: over QUIC, in a world with two
 * networks of one public address each. A client that moves to where there are too many is ended there, keeps its session,
 * and comes back from where there is room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#define CLIENTS 3

struct story {
  roam_world *world;
  roam_hop *home_nat, *cafe_nat;
  roam_identity identity;
  roam_broker *broker;
  roam_client *clients[CLIENTS];
  size_t clients_len;
  int messages;                                  /* that clients got */
  int connected, refused, moved, ended, resumed; /* by the broker */
  int reason;                                    /* of the last end */
};

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    s->connected += ev[i].kind == ROAM_EV_PEER_CONNECTED;
    s->resumed += ev[i].kind == ROAM_EV_PEER_CONNECTED && ev[i].u.link.session_present;
    s->refused += ev[i].kind == ROAM_EV_PEER_REFUSED;
    s->moved += ev[i].kind == ROAM_EV_PEER_MOVED;
    if (ev[i].kind != ROAM_EV_PEER_DISCONNECTED) continue;
    s->ended++;
    s->reason = ev[i].reason;
  }
}

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) s->messages += ev[i].kind == ROAM_EV_MESSAGE;
}

static roam_hop *nat(const char *address) {
  roam_nat_options o;
  roam_nat_options_init(&o);
  o.address = stage_addr(address);
  return roam_nat_new(&o, NULL);
}

static void attach(roam_world *world, roam_host *host, const char *interface, const char *address, roam_hop *behind) {
  roam_addr a = stage_addr(address);
  assert_int_equal(roam_host_address(host, interface, &a), 0);
  assert_int_equal(roam_host_hop(host, &a, stage_delay(world, 20 * ROAM_MS, 0)), 0);
  if (behind) assert_int_equal(roam_host_hop(host, &a, behind), 0);
}

static void start_broker(struct story *s, uint32_t max) {
  roam_rc rc;
  uint64_t listener;
  roam_addr quic = stage_addr("192.0.2.1:14567");
  roam_host *server = roam_world_host(s->world, "server");
  attach(s->world, server, "eth0", "192.0.2.1", NULL);
  roam_broker_options o = stage_broker_options(&s->identity);
  o.address_connections_max = max;
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), &rc);
  assert_non_null(s->broker);
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_QUIC, &quic, &listener), 0);
  assert_int_equal(roam_host_run(server, roam_broker_machine(s->broker), on_broker, s), 0);
}

static roam_client *start_client(struct story *s, roam_host *host, const char *id) {
  roam_rc rc;
  roam_client_options o = stage_client_options(&s->identity, "mqtt-quic://broker.test", id);
  o.session_expiry_s = 600;
  roam_client *c = roam_client_new(&o, roam_world_random(s->world), &rc);
  assert_non_null(c);
  assert_int_equal(roam_client_start(c, roam_world_now(s->world)), 0);
  assert_int_equal(roam_host_run(host, roam_client_machine(c), on_client, s), 0);
  return s->clients[s->clients_len++] = c;
}

/* A host in one of the networks, with a client. */
static roam_client *start_host(struct story *s, const char *name, const char *address, roam_hop *behind) {
  roam_host *host = roam_world_host(s->world, name);
  attach(s->world, host, "eth0", address, behind);
  return start_client(s, host, name);
}

/* And one that has both: at home first. */
static roam_client *start_phone(struct story *s) {
  roam_host *phone = roam_world_host(s->world, "phone");
  attach(s->world, phone, "wlan0", "10.0.0.2", s->home_nat);
  attach(s->world, phone, "wlan1", "10.1.0.2", s->cafe_nat);
  return start_client(s, phone, "phone");
}

static struct story *story_new(uint32_t max) {
  struct story *s = calloc(1, sizeof *s);
  assert_non_null(s);
  s->world = roam_world_new(NULL);
  s->home_nat = nat("203.0.113.200");
  s->cafe_nat = nat("203.0.113.210");
  roam_addr at = stage_addr("192.0.2.1");
  assert_int_equal(roam_world_name(s->world, "broker.test", &at), 0);
  assert_int_equal(roam_identity_make(&s->identity, "story", "broker.test", STAGE_WALL, 30, false), 0);
  start_broker(s, max);
  return s;
}

static void story_free(struct story *s) {
  for (size_t i = 0; i < s->clients_len; i++) roam_client_free(s->clients[i]);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void until(struct story *s, uint64_t ms) { assert_int_equal(roam_world_run(s->world, ms * ROAM_MS), 0); }

static void migrate(struct story *s, roam_client *c, const char *to) {
  roam_addr local = stage_addr(to);
  assert_int_equal(roam_client_migrate(c, roam_world_now(s->world), &local, NULL, true), 0);
}

static bool is_connected(const struct story *s, const char *id) {
  roam_peer_info info;
  assert_int_equal(roam_broker_client(s->broker, id, &info), 0);
  return info.connected;
}

static void moving_where_there_is_no_room(void **state) {
  (void)state;
  struct story *s = story_new(1);
  roam_client *phone = start_phone(s);
  start_host(s, "neighbour", "10.1.0.3", s->cafe_nat);
  roam_filter filter = {.filter = stage_bytes("t"), .qos = 1};
  assert_int_equal(roam_client_subscribe(phone, roam_world_now(s->world), &filter, 1, NULL), 0);
  until(s, 3000);
  assert_int_equal(s->connected, 2);
  migrate(s, phone, "10.1.0.2");
  until(s, 3200); /* it will try again where it is, and then elsewhere */
  assert_int_equal(s->moved, 1);
  assert_int_equal(s->ended, 1);
  assert_int_equal(s->reason, ROAM_REASON_QUOTA_EXCEEDED);
  assert_int_equal(roam_client_error(phone).reason, ROAM_REASON_QUOTA_EXCEEDED); /* and it has been told */
  assert_false(is_connected(s, "phone"));
  assert_true(is_connected(s, "neighbour"));
  assert_int_equal(roam_broker_get_stats(s->broker).addresses_limited, 1);
  assert_int_equal(roam_broker_publish(s->broker, roam_world_now(s->world), stage_bytes("t"), stage_bytes("x"), 1, false),
                   0);
  until(s, 60000); /* it comes back from home, and nothing is lost */
  assert_true(is_connected(s, "phone"));
  assert_int_equal(s->resumed, 1);
  assert_int_equal(s->messages, 1);
  story_free(s);
}

static void who_moves_away_leaves_its_place(void **state) {
  (void)state;
  struct story *s = story_new(1);
  roam_client *phone = start_phone(s);
  until(s, 3000);
  migrate(s, phone, "10.1.0.2");
  until(s, 4000);
  assert_int_equal(s->moved, 1);
  assert_int_equal(s->ended, 0);
  start_host(s, "late", "10.1.0.3", s->cafe_nat); /* the phone's is the only place there */
  until(s, 6000);
  assert_int_equal(s->connected, 1);
  assert_true(s->refused > 0);
  assert_true(roam_broker_get_stats(s->broker).addresses_limited > 0);
  start_host(s, "heir", "10.0.0.3", s->home_nat);
  until(s, 8000);
  assert_true(is_connected(s, "heir"));
  assert_true(is_connected(s, "phone"));
  story_free(s);
}

/* The same address with another port is the same place, and a limit of two has room for two. */
static void a_rebinding_is_no_arrival(void **state) {
  (void)state;
  struct story *s = story_new(2);
  roam_client *phone = start_phone(s);
  roam_addr same = stage_addr("203.0.113.210");
  start_host(s, "neighbour", "10.1.0.3", s->cafe_nat);
  until(s, 3000);
  migrate(s, phone, "10.1.0.2");
  until(s, 5000);
  for (int i = 1; i <= 3; i++) {
    assert_int_equal(roam_world_rebind(s->world, s->cafe_nat, &same), 0);
    until(s, 5000 + (uint64_t)i * 40000);
  }
  assert_true(s->moved >= 3);
  assert_int_equal(s->ended, 0);
  assert_int_equal(roam_broker_get_stats(s->broker).addresses_limited, 0);
  story_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(moving_where_there_is_no_room),
                                     cmocka_unit_test(who_moves_away_leaves_its_place),
                                     cmocka_unit_test(a_rebinding_is_no_arrival)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
