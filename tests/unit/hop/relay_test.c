/* relay_test.c - the live box driven by hand-made wire units: set-up, UDP, TCP, rebinding, back-pressure, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <roamqtt/event.h>
#include <roamqtt/hop.h>

#include "base/rng.h"

enum {
  CLIENT_A = ROAM_HANDLE_EDGE | 1,
  CLIENT_B = ROAM_HANDLE_EDGE | 2,
  UNITS_MAX = 64,
  BYTES_MAX = 1 << 20
};

/* The edge: keeps what was drained, with the bytes copied. */
struct rig {
  roam_relay *relay;
  roam_machine m;
  roam_time now;
  roam_wire out[UNITS_MAX];
  size_t n;
  uint8_t *bytes;
  size_t bytes_len;
  struct roam_rng rng;
};

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void drain(struct rig *g) {
  roam_wire unit;
  g->n = g->bytes_len = 0;
  while (g->m.ops->drain(g->m.self, g->now, &unit, 1) == 1) {
    assert_true(g->n < UNITS_MAX && g->bytes_len + unit.len <= BYTES_MAX);
    if (unit.len > 0) memcpy(g->bytes + g->bytes_len, unit.data, unit.len);
    unit.data = g->bytes + g->bytes_len;
    g->bytes_len += unit.len;
    g->out[g->n++] = unit;
  }
}

static void feed(struct rig *g, roam_wire unit) {
  g->m.ops->feed(g->m.self, g->now, &unit, 1);
  drain(g);
}

static void tick_at(struct rig *g, roam_time when) {
  g->now = when;
  g->m.ops->tick(g->m.self, when);
  drain(g);
}

static roam_event next_event(struct rig *g) {
  roam_event ev = {.kind = ROAM_EV_NONE};
  g->m.ops->poll(g->m.self, &ev, 1);
  return ev;
}

static void begin(struct rig *g, roam_relay_options *o) {
  *g = (struct rig){.now = ROAM_S, .bytes = malloc(BYTES_MAX)};
  roam_rng_init(&g->rng, 1);
  if (o->inside.family == 0) o->inside = addr("127.0.10.1:0");
  o->server = addr("127.0.0.1:14567");
  o->address = addr("127.0.10.200");
  g->relay = roam_relay_new(o, &g->rng.random);
  assert_non_null(g->relay);
  g->m = roam_relay_machine(g->relay);
}

/* Sets up both inside sockets at port 7000. */
static void begin_bound(struct rig *g, roam_relay_options *o) {
  begin(g, o);
  drain(g);
  roam_addr inside = addr("127.0.10.1:7000");
  if (o->udp) feed(g, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = 1, .local = inside});
  if (o->tcp) feed(g, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = 2, .local = inside});
  while (next_event(g).kind != ROAM_EV_NONE) continue;
}

static void end(struct rig *g) {
  roam_relay_free(g->relay);
  free(g->bytes);
}

static roam_relay_options options(void) {
  roam_relay_options o;
  roam_relay_options_init(&o);
  return o;
}

static roam_wire datagram(uint32_t handle, const char *local, const char *remote, const char *text) {
  return (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                     .handle = handle,
                     .local = addr(local),
                     .remote = addr(remote),
                     .data = (const uint8_t *)text,
                     .len = strlen(text)};
}

static roam_wire data(uint32_t handle, const void *bytes, size_t len) {
  return (roam_wire){.kind = ROAM_WIRE_DATA, .handle = handle, .data = bytes, .len = len};
}

/* ---- set-up ---- */

static void listens_on_the_port_udp_got(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin(&g, &o);
  drain(&g);
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_BIND);
  assert_int_equal(g.out[0].handle, 1);
  assert_int_equal(roam_relay_inside(g.relay).port, 0);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = 1, .local = addr("127.0.10.1:7000")});
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_LISTEN);
  assert_int_equal(g.out[0].local.port, 7000);
  /* Taken for TCP: another port is drawn for both. */
  feed(&g, (roam_wire){.kind = ROAM_WIRE_FAILED, .handle = 2, .error = EADDRINUSE});
  assert_int_equal(g.n, 2);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_UNBIND);
  assert_int_equal(g.out[1].kind, ROAM_WIRE_BIND);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = 1, .local = addr("127.0.10.1:7001")});
  assert_int_equal(g.out[0].local.port, 7001);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = 2, .local = addr("127.0.10.1:7001")});
  assert_int_equal(roam_relay_inside(g.relay).port, 7001);
  assert_int_equal(next_event(&g).kind, ROAM_EV_LISTENING);
  end(&g);
}

static void tells_a_taken_address(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  o.inside = addr("127.0.10.1:7000");
  begin(&g, &o);
  drain(&g);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_FAILED, .handle = 1, .error = EADDRINUSE});
  roam_event ev = next_event(&g);
  assert_int_equal(ev.kind, ROAM_EV_LISTEN_FAILED);
  assert_int_equal(ev.rc, ROAM_E_ADDRESS_IN_USE);
  assert_int_equal(ev.u.link.local.port, 7000);
  end(&g);
}

static void refuses_bad_options(void **state) {
  (void)state;
  roam_relay_options good = options(), o;
  good.inside = addr("127.0.0.1:0");
  good.server = addr("127.0.0.1:1");
  good.address = addr("127.0.0.1");
  for (int i = 0; i < 6; i++) {
    o = good;
    if (i == 0) o.server = (roam_addr){0};
    if (i == 1) o.address = addr("::1");
    if (i == 2) o.inside = (roam_addr){0};
    if (i == 3) o.udp = o.tcp = false;
    if (i == 4) o.mappings_max = 0;
    if (i == 5) o.tcp_buffer_bytes = 0;
    assert_null(roam_relay_new(&o, NULL));
  }
  roam_relay *r = roam_relay_new(&good, NULL);
  assert_non_null(r);
  roam_relay_free(r);
}

/* ---- UDP ---- */

/* The first datagram of a client makes a mapping; returns its handle. */
static uint32_t map_client(struct rig *g, const char *client, const char *public) {
  feed(g, datagram(1, "127.0.10.1:7000", client, "hello"));
  assert_int_equal(g->n, 1);
  assert_int_equal(g->out[0].kind, ROAM_WIRE_BIND);
  uint32_t handle = g->out[0].handle;
  assert_true(handle < ROAM_HANDLE_EDGE);
  assert_int_equal(g->out[0].local.port, 0);
  assert_int_equal(g->out[0].remote.port, 14567);
  feed(g, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = handle, .local = addr(public)});
  assert_int_equal(g->n, 1);
  assert_int_equal(g->out[0].kind, ROAM_WIRE_DATAGRAM);
  assert_int_equal(g->out[0].handle, handle);
  assert_memory_equal(g->out[0].data, "hello", 5);
  return handle;
}

static void carries_datagrams_both_ways(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t a = map_client(&g, "127.0.0.5:111", "127.0.10.200:5001");
  uint32_t b = map_client(&g, "127.0.0.6:222", "127.0.10.200:5002");
  roam_event ev = next_event(&g);
  assert_int_equal(ev.kind, ROAM_EV_NAT_MAPPED);
  assert_int_equal(ev.u.path.local.port, 5001);
  assert_int_equal(ev.u.path.remote.port, 111);
  assert_true(a != b);
  feed(&g, datagram(b, "127.0.10.200:5002", "127.0.0.1:14567", "back"));
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].handle, 1);
  assert_int_equal(g.out[0].remote.port, 222);
  assert_int_equal(g.out[0].local.port, 7000);
  /* Somebody else is filtered. */
  feed(&g, datagram(b, "127.0.10.200:5002", "127.0.0.1:999", "evil"));
  assert_int_equal(g.n, 0);
  assert_int_equal(roam_relay_get_stats(g.relay).lost[ROAM_IN], 1);
  assert_int_equal(roam_relay_get_stats(g.relay).udp_mappings, 2);
  end(&g);
}

static void cuts_trains(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t a = map_client(&g, "127.0.0.5:111", "127.0.10.200:5001");
  roam_wire train = datagram(1, "127.0.10.1:7000", "127.0.0.5:111", "aaaabbbbcc");
  train.segment = 4;
  train.ecn = 2;
  feed(&g, train);
  assert_int_equal(g.n, 3);
  static const char *const want[] = {"aaaa", "bbbb", "cc"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(g.out[i].handle, a);
    assert_int_equal(g.out[i].len, strlen(want[i]));
    assert_memory_equal(g.out[i].data, want[i], strlen(want[i]));
    assert_int_equal(g.out[i].ecn, 2);
  }
  end(&g);
}

static void rebinds_udp(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t a = map_client(&g, "127.0.0.5:111", "127.0.10.200:5001");
  next_event(&g);
  roam_addr other = addr("127.0.10.203"), wrong = addr("::1");
  assert_int_equal(roam_relay_rebind(g.relay, g.now, &wrong), ROAM_E_ARGUMENT);
  assert_int_equal(roam_relay_rebind(g.relay, g.now, &other), 0);
  drain(&g);
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_UNBIND);
  assert_int_equal(g.out[0].handle, a);
  roam_event ev = next_event(&g);
  assert_int_equal(ev.kind, ROAM_EV_NAT_REBOUND);
  assert_true(roam_addr_equal(&ev.u.path.local, &other));
  assert_int_equal(ev.u.path.old_local.ip[3], 200);
  feed(&g, datagram(a, "127.0.10.200:5001", "127.0.0.1:14567", "late")); /* meets nobody */
  assert_int_equal(g.n, 0);
  uint32_t again = map_client(&g, "127.0.0.5:111", "127.0.10.203:6001");
  assert_true(again != a);
  end(&g);
}

static void delays_and_drops_udp(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  o.delay_ns = 25 * ROAM_MS;
  begin_bound(&g, &o);
  feed(&g, datagram(1, "127.0.10.1:7000", "127.0.0.5:111", "hello"));
  assert_int_equal(g.n, 0);
  assert_int_equal(g.m.ops->deadline(g.m.self), ROAM_S + 25 * ROAM_MS);
  tick_at(&g, ROAM_S + 25 * ROAM_MS - 1);
  assert_int_equal(g.n, 0);
  tick_at(&g, ROAM_S + 25 * ROAM_MS);
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_BIND);
  roam_relay_set_down(g.relay, true);
  feed(&g, datagram(1, "127.0.10.1:7000", "127.0.0.5:111", "lost"));
  roam_relay_set_down(g.relay, false);
  roam_relay_set_loss(g.relay, 1000000);
  feed(&g, datagram(1, "127.0.10.1:7000", "127.0.0.5:111", "lost"));
  tick_at(&g, 2 * ROAM_S);
  assert_int_equal(g.n, 0);
  assert_int_equal(roam_relay_get_stats(g.relay).lost[ROAM_OUT], 2);
  end(&g);
}

static void forgets_idle_and_bounds_mappings(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  o.mappings_max = 1;
  o.idle_udp_ns = 30 * ROAM_S;
  begin_bound(&g, &o);
  uint32_t a = map_client(&g, "127.0.0.5:111", "127.0.10.200:5001");
  feed(&g, datagram(1, "127.0.10.1:7000", "127.0.0.6:222", "too many"));
  assert_int_equal(g.n, 0);
  assert_int_equal(g.m.ops->deadline(g.m.self), 31 * ROAM_S);
  tick_at(&g, 31 * ROAM_S);
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_UNBIND);
  assert_int_equal(g.out[0].handle, a);
  map_client(&g, "127.0.0.6:222", "127.0.10.200:5002");
  end(&g);
}

static void bears_a_failed_bind(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  feed(&g, datagram(1, "127.0.10.1:7000", "127.0.0.5:111", "hello"));
  feed(&g, (roam_wire){.kind = ROAM_WIRE_FAILED, .handle = g.out[0].handle, .error = EADDRNOTAVAIL});
  assert_int_equal(g.n, 0);
  assert_int_equal(roam_relay_get_stats(g.relay).udp_mappings, 0);
  map_client(&g, "127.0.0.5:111", "127.0.10.200:5001"); /* the next datagram tries again */
  end(&g);
}

/* ---- TCP ---- */

/* Accepts a client and opens its server half; returns that handle. */
static uint32_t join(struct rig *g, uint32_t client, const char *remote) {
  feed(g, (roam_wire){.kind = ROAM_WIRE_ACCEPT,
                      .handle = client,
                      .parent = 2,
                      .local = addr("127.0.10.1:7000"),
                      .remote = addr(remote)});
  assert_int_equal(g->n, 1);
  assert_int_equal(g->out[0].kind, ROAM_WIRE_OPEN);
  uint32_t server = g->out[0].handle;
  assert_int_equal(g->out[0].remote.port, 14567);
  assert_int_equal(g->out[0].local.ip[3], roam_relay_address(g->relay).ip[3]);
  feed(g, (roam_wire){.kind = ROAM_WIRE_OPENED, .handle = server, .local = addr("127.0.10.200:5555")});
  assert_int_equal(g->n, 0);
  return server;
}

static void carries_bytes_both_ways(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t server = join(&g, CLIENT_A, "127.0.0.5:111");
  feed(&g, data(CLIENT_A, "ping", 4));
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].handle, server);
  assert_memory_equal(g.out[0].data, "ping", 4);
  feed(&g, data(server, "pong!", 5));
  assert_int_equal(g.out[0].handle, CLIENT_A);
  assert_memory_equal(g.out[0].data, "pong!", 5);
  /* An orderly end follows the bytes. */
  roam_wire both[] = {data(CLIENT_A, "bye", 3), {.kind = ROAM_WIRE_CLOSE, .handle = CLIENT_A}};
  g.m.ops->feed(g.m.self, g.now, both, 2);
  drain(&g);
  assert_int_equal(g.n, 2);
  assert_memory_equal(g.out[0].data, "bye", 3);
  assert_int_equal(g.out[1].kind, ROAM_WIRE_CLOSE);
  assert_int_equal(g.out[1].handle, server);
  assert_int_equal(g.out[1].how, ROAM_CLOSE_FLUSH);
  assert_int_equal(roam_relay_get_stats(g.relay).tcp_mappings, 0);
  end(&g);
}

static void holds_early_bytes_until_opened(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = CLIENT_A, .remote = addr("127.0.0.5:111")});
  uint32_t server = g.out[0].handle;
  feed(&g, data(CLIENT_A, "early", 5));
  assert_int_equal(g.n, 0);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_OPENED, .handle = server});
  assert_int_equal(g.n, 1);
  assert_memory_equal(g.out[0].data, "early", 5);
  end(&g);
}

static void resets_when_the_server_refuses(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = CLIENT_A, .remote = addr("127.0.0.5:111")});
  feed(&g, (roam_wire){.kind = ROAM_WIRE_FAILED, .handle = g.out[0].handle, .error = ECONNREFUSED});
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_CLOSE);
  assert_int_equal(g.out[0].handle, CLIENT_A);
  assert_int_equal(g.out[0].how, ROAM_CLOSE_RESET);
  end(&g);
}

static void rebinds_tcp(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t server = join(&g, CLIENT_A, "127.0.0.5:111");
  next_event(&g);
  roam_addr other = addr("127.0.10.203");
  assert_int_equal(roam_relay_rebind(g.relay, g.now, &other), 0);
  drain(&g);
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_CLOSE);
  assert_int_equal(g.out[0].handle, server);
  assert_int_equal(g.out[0].how, ROAM_CLOSE_HANG);
  assert_int_equal(roam_relay_get_stats(g.relay).hanging, 1);
  tick_at(&g, 100 * ROAM_S); /* the client's half stays open as long as it is silent */
  assert_int_equal(g.n, 0);
  feed(&g, data(CLIENT_A, "x", 1));
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_CLOSE);
  assert_int_equal(g.out[0].handle, CLIENT_A);
  assert_int_equal(g.out[0].how, ROAM_CLOSE_RESET);
  assert_int_equal(next_event(&g).kind, ROAM_EV_NAT_REBOUND);
  roam_event ev = next_event(&g);
  assert_int_equal(ev.kind, ROAM_EV_NAT_RESET);
  assert_int_equal(ev.u.path.remote.port, 111);
  assert_int_equal(roam_relay_get_stats(g.relay).resets, 1);
  join(&g, CLIENT_B, "127.0.0.5:112"); /* a new connection comes from the new address */
  end(&g);
}

static void really_closes_the_oldest_hanging(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  o.hanging_max = 1;
  begin_bound(&g, &o);
  roam_addr other = addr("127.0.10.203");
  uint32_t first = join(&g, CLIENT_A, "127.0.0.5:111");
  roam_relay_rebind(g.relay, g.now, &other);
  drain(&g);
  uint32_t second = join(&g, CLIENT_B, "127.0.0.5:112");
  roam_relay_rebind(g.relay, g.now, &other);
  drain(&g);
  assert_int_equal(g.n, 2);
  assert_int_equal(g.out[0].handle, second);
  assert_int_equal(g.out[0].how, ROAM_CLOSE_HANG);
  assert_int_equal(g.out[1].handle, first);
  assert_int_equal(g.out[1].how, ROAM_CLOSE_RESET);
  assert_int_equal(roam_relay_get_stats(g.relay).hanging, 1);
  end(&g);
}

static void keeps_delay_and_rate_for_bytes(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  o.delay_ns = 10 * ROAM_MS;
  o.rate_bytes_s = 1000000;
  begin_bound(&g, &o);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = CLIENT_A, .remote = addr("127.0.0.5:111")});
  assert_int_equal(g.n, 0);
  tick_at(&g, ROAM_S + 10 * ROAM_MS); /* the SYN has come through */
  assert_int_equal(g.out[0].kind, ROAM_WIRE_OPEN);
  uint32_t server = g.out[0].handle;
  feed(&g, (roam_wire){.kind = ROAM_WIRE_OPENED, .handle = server});
  g.now = 2 * ROAM_S;
  static uint8_t big[32768];
  feed(&g, data(CLIENT_A, big, sizeof big));
  assert_int_equal(g.n, 0);
  tick_at(&g, 2 * ROAM_S + 16384 * ROAM_US + 10 * ROAM_MS);
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].len, 16384);
  assert_int_equal(g.m.ops->deadline(g.m.self), 2 * ROAM_S + 32768 * ROAM_US + 10 * ROAM_MS);
  tick_at(&g, 2 * ROAM_S + 32768 * ROAM_US + 10 * ROAM_MS);
  assert_int_equal(g.out[0].len, 16384);
  end(&g);
}

static void stalls_while_down(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t server = join(&g, CLIENT_A, "127.0.0.5:111");
  roam_relay_set_down(g.relay, true);
  feed(&g, data(CLIENT_A, "held", 4));
  assert_int_equal(g.n, 0);
  feed(&g, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = CLIENT_B, .remote = addr("127.0.0.5:112")});
  assert_int_equal(g.n, 0);
  roam_relay_set_down(g.relay, false);
  tick_at(&g, g.now);
  assert_int_equal(g.n, 2);
  assert_int_equal(g.out[0].handle, server);
  assert_int_equal(g.out[0].len, 4);
  assert_int_equal(g.out[1].kind, ROAM_WIRE_OPEN);
  end(&g);
}

static void pushes_back(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  begin_bound(&g, &o);
  uint32_t server = join(&g, CLIENT_A, "127.0.0.5:111");
  static uint8_t chunk[65536];
  size_t sent = 0, credit = 0;
  /* All that the client may send at first goes to the server, whose own first credit is then used up. */
  for (int i = 0; i < 4; i++) {
    feed(&g, data(CLIENT_A, chunk, sizeof chunk));
    for (size_t k = 0; k < g.n; k++) {
      if (g.out[k].kind == ROAM_WIRE_DATA) sent += g.out[k].len;
      if (g.out[k].kind == ROAM_WIRE_CREDIT) credit += g.out[k].credit;
    }
  }
  assert_int_equal(sent, ROAM_CREDIT_START);
  assert_int_equal(credit, ROAM_CREDIT_START);
  /* The server takes nothing more: the client's new credit fills the buffer and no more is given. */
  for (int i = 0; i < 4; i++) {
    feed(&g, data(CLIENT_A, chunk, sizeof chunk));
    assert_int_equal(g.n, 0);
  }
  feed(&g, (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = server, .credit = 100000});
  assert_int_equal(g.n, 2);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_DATA);
  assert_int_equal(g.out[0].len, 100000);
  assert_int_equal(g.out[1].kind, ROAM_WIRE_CREDIT);
  assert_int_equal(g.out[1].handle, CLIENT_A);
  assert_int_equal(g.out[1].credit, 100000);
  /* Who sends more than it was allowed is cut off. */
  for (int i = 0; i < 2; i++) feed(&g, data(CLIENT_A, chunk, sizeof chunk));
  assert_int_equal(g.n, 2);
  assert_int_equal(g.out[0].how, ROAM_CLOSE_RESET);
  assert_int_equal(g.out[1].how, ROAM_CLOSE_RESET);
  end(&g);
}

static void resets_clients_beyond_the_bound(void **state) {
  (void)state;
  struct rig g;
  roam_relay_options o = options();
  o.mappings_max = 1;
  begin_bound(&g, &o);
  join(&g, CLIENT_A, "127.0.0.5:111");
  feed(&g, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = CLIENT_B, .remote = addr("127.0.0.5:112")});
  assert_int_equal(g.n, 1);
  assert_int_equal(g.out[0].kind, ROAM_WIRE_CLOSE);
  assert_int_equal(g.out[0].handle, CLIENT_B);
  assert_int_equal(g.out[0].how, ROAM_CLOSE_RESET);
  end(&g);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(listens_on_the_port_udp_got),
                                     cmocka_unit_test(tells_a_taken_address),
                                     cmocka_unit_test(refuses_bad_options),
                                     cmocka_unit_test(carries_datagrams_both_ways),
                                     cmocka_unit_test(cuts_trains),
                                     cmocka_unit_test(rebinds_udp),
                                     cmocka_unit_test(delays_and_drops_udp),
                                     cmocka_unit_test(forgets_idle_and_bounds_mappings),
                                     cmocka_unit_test(bears_a_failed_bind),
                                     cmocka_unit_test(carries_bytes_both_ways),
                                     cmocka_unit_test(holds_early_bytes_until_opened),
                                     cmocka_unit_test(resets_when_the_server_refuses),
                                     cmocka_unit_test(rebinds_tcp),
                                     cmocka_unit_test(really_closes_the_oldest_hanging),
                                     cmocka_unit_test(keeps_delay_and_rate_for_bytes),
                                     cmocka_unit_test(stalls_while_down),
                                     cmocka_unit_test(pushes_back),
                                     cmocka_unit_test(resets_clients_beyond_the_bound)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
