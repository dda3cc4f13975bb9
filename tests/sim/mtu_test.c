/* mtu_test.c - client and broker whole, on paths of different width: jumbo frames at home, Ethernet outside. Moves from the
 * one to the other and back, by command and because the network has gone, and a path that becomes narrow under a
 * connection. Nothing is lost or doubled, and it goes on in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#define JUMBO 9000
#define ETHERNET 1500
#define BURST 40 /* messages, of */
#define BYTES 5000

struct scene {
  roam_world *world;
  roam_host *server, *phone;
  roam_addr wlan, cell;
  roam_hop *at_home, *outside;
  roam_identity id;
  roam_broker *broker;
  roam_client *client;
  uint32_t sent, came, acknowledged, moved;
  roam_time last; /* the newest of those three */
};

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct scene *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) {
      assert_int_equal(stage_number(&ev[i].u.message), s->came++); /* in order, each once */
      assert_int_equal(ev[i].u.message.payload.len, BYTES);
    } else if (ev[i].kind == ROAM_EV_PUBLISHED) {
      assert_int_equal(ev[i].rc, 0);
      s->acknowledged++;
    } else if (ev[i].kind == ROAM_EV_PATH_MIGRATED) {
      s->moved++;
      continue;
    } else {
      assert_true(ev[i].kind != ROAM_EV_DISCONNECTED);
      continue;
    }
    s->last = ev[i].at;
  }
}

static roam_hop *add_network(struct scene *s, const char *interface, const roam_addr *addr, uint32_t mtu) {
  roam_loss_options o;
  roam_loss_options_init(&o);
  o.mtu = mtu;
  roam_hop *width = roam_loss_new(&o, roam_world_random(s->world));
  roam_host_address(s->phone, interface, addr);
  roam_host_hop(s->phone, addr, width);
  roam_host_hop(s->phone, addr, stage_delay(s->world, 10 * ROAM_MS, 0));
  return width;
}

static void run_for(struct scene *s, uint64_t ns) {
  assert_int_equal(roam_world_run(s->world, roam_world_now(s->world) + ns), 0);
}

static void open_scene(struct scene *s) {
  roam_world_options wo;
  roam_world_options_init(&wo);
  wo.trace_datagrams = false;
  *s = (struct scene){.wlan = stage_addr("10.0.0.2"), .cell = stage_addr("10.1.0.2")};
  s->world = roam_world_new(&wo);
  s->server = roam_world_host(s->world, "broker");
  s->phone = roam_world_host(s->world, "phone");
  roam_addr home = stage_addr("192.0.2.1");
  roam_host_address(s->server, "eth0", &home);
  s->at_home = add_network(s, "wlan0", &s->wlan, JUMBO);
  s->outside = add_network(s, "wwan0", &s->cell, ETHERNET);
  assert_int_equal(roam_identity_make(&s->id, "mtu", "192.0.2.1", STAGE_WALL, 30, false), 0);
  roam_broker_options bo = stage_broker_options(&s->id);
  s->broker = roam_broker_new(&bo, roam_world_now(s->world), roam_world_random(s->world), NULL);
  stage_listen(s->world, s->broker, &home, ROAM_TRANSPORT_QUIC, 14567);
  roam_host_run(s->server, roam_broker_machine(s->broker), NULL, NULL);
  roam_client_options o = stage_client_options(&s->id, "mqtt-quic://192.0.2.1", "wide");
  o.interfaces = "wlan0, wwan0";
  s->client = stage_client(s->world, s->phone, &o, "echo", on_client, s);
  run_for(s, 3 * ROAM_S);
}

static void close_scene(struct scene *s) {
  roam_world_free(s->world);
  roam_client_free(s->client);
  roam_broker_free(s->broker);
  roam_identity_clear(&s->id);
}

/* To the broker and back; how long until all is there. */
static uint64_t echo(struct scene *s) {
  static uint8_t payload[BYTES];
  roam_time begin = roam_world_now(s->world);
  for (int i = 0; i < BURST; i++) {
    snprintf((char *)payload, 16, "%u", s->sent++);
    roam_client_message m = {.topic = stage_bytes("echo"), .payload = {payload, BYTES}, .qos = 1};
    assert_int_equal(roam_client_publish(s->client, begin, &m, NULL), 0);
  }
  for (int i = 0; i < 100 && (s->came < s->sent || s->acknowledged < s->sent); i++) run_for(s, 100 * ROAM_MS);
  assert_int_equal(s->came, s->sent);
  assert_int_equal(s->acknowledged, s->sent);
  return s->last - begin;
}

/* How many bytes a datagram of the client's has now, by what an echo needs of them. */
static uint64_t width(struct scene *s) {
  roam_client_stats before = roam_client_get_stats(s->client);
  echo(s);
  roam_client_stats after = roam_client_get_stats(s->client);
  return (after.bytes_out - before.bytes_out) / (after.udp_out - before.udp_out);
}

static void moves_between_wide_and_narrow(void **state) {
  (void)state;
  struct scene s;
  open_scene(&s);
  uint64_t usual = echo(&s);
  assert_true(width(&s) > 2000); /* acknowledgements included */
  for (int at_once = 0; at_once < 2; at_once++) {
    roam_time now = roam_world_now(s.world);
    uint32_t moved = s.moved;
    assert_int_equal(roam_client_migrate(s.client, now, &s.cell, NULL, at_once), 0);
    uint64_t first = echo(&s);
    run_for(&s, 3 * ROAM_S);
    assert_int_equal(s.moved, moved + 1);
    uint64_t then = echo(&s);
    print_message("to a narrow path %s: %.0f ms, then %.0f (%.0f on the wide one)\n", at_once ? "at once" : "by probe",
                  (double)first / 1e6, (double)then / 1e6, (double)usual / 1e6);
    assert_true(first < ROAM_S && then < ROAM_S);
    assert_true(width(&s) <= ETHERNET);
    assert_int_equal(roam_client_migrate(s.client, roam_world_now(s.world), &s.wlan, NULL, at_once), 0);
    run_for(&s, 3 * ROAM_S);
    echo(&s);
    assert_int_equal(s.moved, moved + 2);
    assert_true(width(&s) > 2000);
  }
  close_scene(&s);
}

/* In the middle of a burst, without a word. */
static void the_wide_network_goes(void **state) {
  (void)state;
  struct scene s;
  open_scene(&s);
  uint64_t usual = echo(&s);
  assert_int_equal(roam_host_set_up(s.phone, &s.wlan, false, true), 0);
  uint64_t took = echo(&s);
  print_message("the wide network goes: %.0f ms (%.0f)\n", (double)took / 1e6, (double)usual / 1e6);
  assert_true(took < ROAM_S);
  assert_true(width(&s) <= ETHERNET);
  assert_int_equal(roam_host_set_up(s.phone, &s.wlan, true, true), 0);
  run_for(&s, 10 * ROAM_S);
  echo(&s);
  assert_true(width(&s) > 2000);
  close_scene(&s);
}

static void a_path_becomes_narrow(void **state) {
  (void)state;
  struct scene s;
  open_scene(&s);
  uint64_t usual = echo(&s);
  for (uint32_t mtu = ETHERNET; mtu >= 1280; mtu -= 220) {
    roam_loss_set_mtu(s.at_home, mtu);
    uint64_t took = echo(&s);
    print_message("the path's MTU becomes %u: %.0f ms (%.0f)\n", mtu, (double)took / 1e6, (double)usual / 1e6);
    assert_true(took < 2 * ROAM_S);
    assert_true(width(&s) <= 1200);
  }
  roam_loss_set_mtu(s.at_home, JUMBO);
  run_for(&s, 130 * ROAM_S); /* a minute, or two */
  echo(&s);
  assert_true(width(&s) > 2000);
  close_scene(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(moves_between_wide_and_narrow),
      cmocka_unit_test(the_wide_network_goes),
      cmocka_unit_test(a_path_becomes_narrow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
