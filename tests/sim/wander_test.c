/* wander_test.c - a client that roams by itself, in virtual time: what it sees of its networks and what it makes of it.
 * Also the broker's half: it keeps who is silent, and sends away whom it is told to, and the client goes there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

enum {
  SERVERS = 2,
  CLIENTS = 5
};

struct server {
  roam_host *host;
  roam_addr addr;
  roam_broker *broker;
  unsigned connected, disconnected, drained;
  roam_time last_disconnect, first_disconnect;
};

struct story {
  roam_world *world;
  roam_host *phone;
  roam_hop *nat, *loss[2];
  roam_addr wlan, cell;
  roam_identity identity;
  struct server servers[SERVERS];
  roam_client *clients[CLIENTS];
  roam_client_options o;
  unsigned delivered, moved, failed, troubles, connects, redirects;
  roam_time delivered_at, moved_at;
  roam_event_path path;
  char why[160];
  roam_rc closed;
};

/* What the brokers of the next story are told beyond the usual; and the lines about paths that it writes. */
static uint64_t silent_max_ns;
static unsigned client_lines, broker_lines;
static char last_line[256];

static void take_line(void *context, roam_time at, roam_level level, const char *line) {
  (void)context, (void)at, (void)level;
  bool ours = strstr(line, ": path ") != NULL, theirs = !ours && strstr(line, " moved ");
  client_lines += ours;
  broker_lines += theirs;
  if (theirs) snprintf(last_line, sizeof last_line, "%s", line);
}

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) {
      s->delivered++;
      s->delivered_at = ev[i].at;
    }
    if (ev[i].kind == ROAM_EV_PATH_MIGRATED) {
      s->moved++;
      s->moved_at = ev[i].at;
      s->path = ev[i].u.path;
      snprintf(s->why, sizeof s->why, "%s", ev[i].text ? ev[i].text : "");
    }
    s->failed += ev[i].kind == ROAM_EV_PATH_FAILED;
    s->troubles += ev[i].kind == ROAM_EV_PATH_TROUBLE;
    s->connects += ev[i].kind == ROAM_EV_CONNECTED;
    s->redirects += ev[i].kind == ROAM_EV_REDIRECTED;
    if (ev[i].kind == ROAM_EV_CLOSED) s->closed = ev[i].rc;
  }
}

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct server *server = context;
  for (size_t i = 0; i < n; i++) {
    server->connected += ev[i].kind == ROAM_EV_PEER_CONNECTED;
    if (ev[i].kind == ROAM_EV_PEER_DISCONNECTED) {
      if (server->disconnected++ == 0) server->first_disconnect = ev[i].at;
      server->last_disconnect = ev[i].at;
    }
    if (ev[i].kind == ROAM_EV_DRAINED) server->drained += (unsigned)ev[i].token;
  }
}

static void add_server(struct story *s, int i) {
  static const char *const names[] = {"one.test", "two.test"}, *const addrs[] = {"192.0.2.1", "192.0.2.2"};
  struct server *server = &s->servers[i];
  server->host = roam_world_host(s->world, names[i]);
  server->addr = stage_addr(addrs[i]);
  roam_host_address(server->host, "eth0", &server->addr);
  roam_world_name(s->world, names[i], &server->addr);
  roam_broker_options o = stage_broker_options(&s->identity);
  if (silent_max_ns) o.silent_max_ns = silent_max_ns;
  o.log = (roam_log){take_line, NULL, ROAM_LOG_NOTICE};
  roam_time now = roam_world_now(s->world);
  server->broker = roam_broker_new(&o, now, roam_world_random(s->world), NULL);
  stage_listen(s->world, server->broker, &server->addr, ROAM_TRANSPORT_QUIC, 14567);
  roam_host_run(server->host, roam_broker_machine(server->broker), on_broker, server);
}

static void add_link(struct story *s, int i, const char *name, const roam_addr *a) {
  roam_host_address(s->phone, name, a);
  roam_host_hop(s->phone, a, stage_delay(s->world, 20 * ROAM_MS, 0));
  roam_host_hop(s->phone, a, s->loss[i] = stage_loss(s->world, 0));
}

static struct story *story_new(uint64_t nat_idle_ns) {
  struct story *s = calloc(1, sizeof *s);
  roam_world_options o;
  roam_world_options_init(&o);
  o.trace_datagrams = false;
  s->world = roam_world_new(&o);
  s->phone = roam_world_host(s->world, "phone");
  s->wlan = stage_addr("10.0.0.2");
  s->cell = stage_addr("198.51.100.9");
  add_link(s, 0, "wlan0", &s->wlan);
  add_link(s, 1, "wwan0", &s->cell);
  roam_host_hop(s->phone, &s->wlan, s->nat = stage_nat(s->world, ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT, nat_idle_ns));
  assert_int_equal(roam_identity_make(&s->identity, "story", "one.test,two.test", STAGE_WALL, 30, false), 0);
  for (int i = 0; i < SERVERS; i++) add_server(s, i);
  s->o = stage_client_options(&s->identity, "mqtt-quic://one.test", NULL);
  s->o.session_expiry_s = 600;
  return s;
}

static void start(struct story *s, int i) {
  char id[16];
  snprintf(id, sizeof id, "phone-%d", i);
  s->o.client_id = id;
  s->clients[i] = stage_client(s->world, s->phone, &s->o, "t", on_client, s);
}

static void story_free(struct story *s) {
  for (int i = 0; i < CLIENTS; i++) roam_client_free(s->clients[i]);
  for (int i = 0; i < SERVERS; i++) roam_broker_free(s->servers[i].broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void until(struct story *s, uint64_t ms) { assert_int_equal(roam_world_run(s->world, ms * ROAM_MS), 0); }

/* One client on its wlan, connected for three seconds. */
static struct story *story_begun(void) {
  struct story *s = story_new(0);
  start(s, 0);
  until(s, 3000);
  return s;
}

/* Neither network carries anything, and nobody is told. */
static void go_dark(struct story *s, bool dark) {
  for (int i = 0; i < 2; i++) roam_loss_set_down(s->loss[i], dark);
}

static void publish(struct story *s) {
  assert_int_equal(
      roam_broker_publish(s->servers[0].broker, roam_world_now(s->world), stage_bytes("t"), stage_bytes("x"), 1, false), 0);
}

static void set_up(struct story *s, const roam_addr *a, bool up, bool tell) {
  assert_int_equal(roam_host_set_up(s->phone, a, up, tell), 0);
}

static bool stands_on(struct story *s, const roam_addr *a) {
  roam_addr local = roam_client_get_stats(s->clients[0]).local;
  return roam_addr_same_ip(&local, a);
}

/* ---- the client ------------------------------------------------------------------------------------------------------ */

static void leaves_what_is_gone_and_returns(void **state) {
  (void)state;
  struct story *s = story_begun();
  assert_true(stands_on(s, &s->wlan));
  set_up(s, &s->wlan, false, true);
  until(s, 3041);
  assert_int_equal(s->moved, 1);
  assert_true(stands_on(s, &s->cell));
  assert_string_equal(s->why, "the network in use is gone");
  assert_true(s->path.validation_ns == 40 * ROAM_MS);
  assert_true(s->path.gap_ns >= 40 * ROAM_MS);
  assert_true(roam_addr_same_ip(&s->path.old_local, &s->wlan) && roam_addr_same_ip(&s->path.local, &s->cell));
  until(s, 10000);
  set_up(s, &s->wlan, true, true);
  until(s, 13999); /* it flapped once: 4 s to settle */
  assert_int_equal(s->moved, 1);
  until(s, 14100);
  assert_int_equal(s->moved, 2);
  assert_string_equal(s->why, "a better network");
  assert_true(stands_on(s, &s->wlan));
  roam_client_stats stats = roam_client_get_stats(s->clients[0]);
  assert_int_equal(stats.immediates, 1);
  assert_int_equal(stats.probes, 1);
  assert_int_equal(stats.moves_by_policy, 2);
  assert_int_equal(stats.connects, 1);
  story_free(s);
}

static void does_not_thrash(void **state) {
  (void)state;
  struct story *s = story_begun();
  for (uint64_t ms = 3000; ms < 63000; ms += 3000) { /* up for 1.5 s, down for 1.5 s */
    set_up(s, &s->wlan, false, true);
    until(s, ms + 1500);
    set_up(s, &s->wlan, true, true);
    until(s, ms + 3000);
    publish(s);
  }
  until(s, 64000);
  assert_int_equal(s->moved, 1); /* away, and not back as long as it flaps */
  assert_int_equal(s->delivered, 20);
  until(s, 180000);
  assert_int_equal(s->moved, 2);
  assert_int_equal(s->connects, 1);
  story_free(s);
}

/* Nobody tells: only what is not acknowledged does. */
static void notices_silence(void **state) {
  (void)state;
  struct story *s = story_begun();
  roam_loss_set_down(s->loss[0], true);
  roam_client_message m = {.topic = stage_bytes("u"), .payload = stage_bytes("x"), .qos = 1};
  assert_int_equal(roam_client_publish(s->clients[0], roam_world_now(s->world), &m, NULL), 0);
  until(s, 4000);
  assert_int_equal(s->troubles, 1);
  assert_int_equal(s->moved, 1);
  assert_string_equal(s->why, "nothing is answered");
  assert_true(s->moved_at < 3600 * ROAM_MS); /* three probe time-outs and a round trip */
  assert_true(stands_on(s, &s->cell));
  until(s, 5000);
  assert_int_equal(roam_client_get_stats(s->clients[0]).inflight, 0);
  /* As long as it says that it is up it is tried again, from time to time, and found dead. */
  until(s, 120000);
  assert_true(s->failed >= 2 && s->failed <= 8);
  assert_true(stands_on(s, &s->cell));
  story_free(s);
}

static void stays_where_the_application_put_it(void **state) {
  (void)state;
  struct story *s = story_begun();
  assert_int_equal(roam_client_migrate(s->clients[0], roam_world_now(s->world), NULL, "wwan0", false), 0);
  until(s, 60000);
  assert_int_equal(s->moved, 1); /* wlan0 would be cheaper */
  assert_true(stands_on(s, &s->cell));
  set_up(s, &s->cell, false, true);
  until(s, 61000);
  assert_true(stands_on(s, &s->wlan));
  set_up(s, &s->cell, true, true);
  until(s, 120000);
  assert_int_equal(s->moved, 2); /* its word counted for as long as that network lived */
  story_free(s);
}

static void does_not_roam_when_pinned_or_told_not_to(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    struct story *s = story_new(0);
    if (i == 0) s->o.roam = false;
    else s->o.interface = "wlan0";
    start(s, 0);
    until(s, 3000);
    set_up(s, &s->wlan, false, true);
    until(s, 8000);
    assert_int_equal(s->moved, 0);
    set_up(s, &s->wlan, true, true);
    until(s, 12000);
    assert_int_equal(roam_client_get_state(s->clients[0]), ROAM_CLIENT_CONNECTED);
    story_free(s);
  }
}

/* With an order of preference the first of it is where the connection begins. */
static void begins_where_it_is_best(void **state) {
  (void)state;
  struct story *s = story_new(0);
  s->o.interfaces = "wwan0, wlan0";
  start(s, 0);
  until(s, 20000);
  assert_true(stands_on(s, &s->cell));
  assert_int_equal(s->moved, 0);
  story_free(s);
}

static void learns_how_long_the_nat_remembers(void **state) {
  (void)state;
  struct story *s = story_new(11 * ROAM_S);
  s->o.ping_ns = 15 * ROAM_S;
  s->o.keep_alive_s = 600;
  s->o.interfaces = "wlan0";
  start(s, 0);
  until(s, 600000);
  roam_client_stats stats = roam_client_get_stats(s->clients[0]);
  assert_true(stats.rebinds > 0);
  assert_true(stats.ping_ns < 11 * ROAM_S && stats.ping_ns >= 5 * ROAM_S);
  uint32_t rebinds = stats.rebinds;
  until(s, 1200000);
  stats = roam_client_get_stats(s->clients[0]);
  assert_true(stats.rebinds - rebinds <= 3); /* it tries a longer one now and then */
  publish(s);
  until(s, 1215000);
  assert_int_equal(s->delivered, 1);
  assert_int_equal(s->connects, 1);
  story_free(s);
}

/* ---- the broker ------------------------------------------------------------------------------------------------------ */

static void keeps_who_is_silent(void **state) {
  (void)state;
  struct story *s = story_new(0);
  s->o.keep_alive_s = 60;
  s->o.ping_ns = 15 * ROAM_S;
  s->o.roam = false;
  s->o.resume_after_ns = 0;
  start(s, 0);
  until(s, 3000);
  go_dark(s, true);
  publish(s);
  until(s, 80000); /* far beyond the first failed send, and 1.5 times 60 s are not over */
  assert_int_equal(s->servers[0].disconnected, 0);
  go_dark(s, false);
  until(s, 83000);
  assert_int_equal(s->delivered, 1);
  assert_int_equal(s->connects, 1);
  /* Dark for good: 1.5 times the Keep Alive after the last packet, and the session keeps the data. */
  go_dark(s, true);
  publish(s);
  until(s, 83000 + 60000);
  assert_int_equal(s->servers[0].disconnected, 0);
  until(s, 83000 + 91000);
  assert_int_equal(s->servers[0].disconnected, 1);
  go_dark(s, false);
  until(s, 260000);
  assert_int_equal(s->connects, 2);
  assert_int_equal(s->delivered, 2);
  story_free(s);
}

/* Nobody has said how long it may be silent: a bound of ours does, and the session keeps what waits for it. */
static void keeps_who_has_no_keep_alive_for_so_long(void **state) {
  (void)state;
  silent_max_ns = 100 * ROAM_S;
  struct story *s = story_new(0);
  silent_max_ns = 0;
  s->o.keep_alive_s = 0;
  s->o.roam = false;
  s->o.resume_after_ns = 0;
  start(s, 0);
  until(s, 3000);
  go_dark(s, true);
  publish(s);
  until(s, 100000);
  assert_int_equal(s->servers[0].disconnected, 0);
  until(s, 210000); /* it is looked at once in that time */
  assert_int_equal(s->servers[0].disconnected, 1);
  go_dark(s, false);
  until(s, 300000);
  assert_int_equal(s->connects, 2);
  assert_int_equal(s->delivered, 1);
  story_free(s);
}

/* Nobody says that the network is gone; that it takes nothing any more is sign enough. */
static void a_refused_send_is_a_sign(void **state) {
  (void)state;
  struct story *s = story_begun();
  roam_loss_set_down(s->loss[0], true);
  roam_wire refusal = {.kind = ROAM_WIRE_SENDFAIL, .local = s->wlan, .remote = s->servers[0].addr, .error = EPERM};
  roam_client_feed(s->clients[0], roam_world_now(s->world), &refusal, 1); /* a firewall's; no sign of the network's end */
  until(s, 3010);
  assert_int_equal(s->moved, 0);
  refusal.error = ENETUNREACH;
  roam_client_feed(s->clients[0], roam_world_now(s->world), &refusal, 1);
  until(s, 3010 + 40 + 1);
  assert_int_equal(s->moved, 1);
  assert_string_equal(s->why, "the network in use is gone");
  assert_true(stands_on(s, &s->cell));
  publish(s);
  until(s, 3500);
  assert_int_equal(s->delivered, 1);
  assert_int_equal(s->connects, 1);
  story_free(s);
}

/* A line for each, on either side, with both addresses. */
static void each_path_event_is_one_line(void **state) {
  (void)state;
  struct story *s = story_new(0);
  s->o.log = (roam_log){take_line, NULL, ROAM_LOG_NOTICE};
  start(s, 0);
  until(s, 3000);
  client_lines = broker_lines = 0;
  roam_client_migrate(s->clients[0], roam_world_now(s->world), &s->cell, NULL, false);
  until(s, 4000);
  assert_int_equal(s->moved, 1);
  assert_int_equal(client_lines, 2); /* probing, moved */
  assert_int_equal(broker_lines, 1);
  assert_non_null(strstr(last_line, "client phone-0 moved 203.0.113.200:"));
  assert_non_null(strstr(last_line, " -> 198.51.100.9:"));
  story_free(s);
}

/* The lines of the trace that begin "<ns> log <host> ", without that, ports of the world's choice as '*'. */
static void read_log(const struct story *s, const char *host, char *out, size_t cap) {
  roam_bytes trace = roam_world_trace(s->world);
  const char *at = (const char *)trace.base, *end = at + trace.len, *next;
  char mark[64];
  size_t used = 0, len = (size_t)snprintf(mark, sizeof mark, " log %s ", host);
  for (; at < end; at = next) {
    const char *line_end = memchr(at, '\n', (size_t)(end - at)), *rest = memchr(at, ' ', (size_t)(line_end - at));
    next = line_end + 1;
    if ((size_t)(line_end - rest) < len || memcmp(rest, mark, len) != 0) continue;
    for (rest += len; rest <= line_end && used + 2 < cap;) {
      out[used++] = *rest;
      if (*rest++ != ':' || *rest < '1' || *rest > '9') continue;
      while (*rest >= '0' && *rest <= '9') rest++;
      out[used++] = '*';
    }
  }
  out[used] = 0;
}

/* A story told by the events of the logs: what either side says about one move. */
static void a_move_as_the_logs_tell_it(void **state) {
  (void)state;
  char lines[4096];
  struct story *s = story_new(0);
  s->o.log = roam_host_log(s->phone, ROAM_LOG_INFO);
  start(s, 0);
  until(s, 3000);
  roam_client_migrate(s->clients[0], roam_world_now(s->world), &s->cell, NULL, false);
  until(s, 4000);
  read_log(s, "phone", lines, sizeof lines);
  assert_string_equal(lines, "PHASE client=phone-0 from=new to=resolving\n"
                             "NETWORK client=phone-0 interface=wlan0 address=10.0.0.2 state=up\n"
                             "NETWORK client=phone-0 interface=wwan0 address=198.51.100.9 state=up\n"
                             "PHASE client=phone-0 from=resolving to=dialling\n"
                             "PHASE client=phone-0 from=dialling to=greeting\n"
                             "PHASE client=phone-0 from=greeting to=connected\n"
                             "PATH_CHANGED client=phone-0 what=probing from=10.0.0.2:* to=198.51.100.9:*\n"
                             "PATH_CHANGED client=phone-0 what=moved from=10.0.0.2:* to=198.51.100.9:*\n");
  story_free(s);
}

static void sends_away_evenly_and_they_go(void **state) {
  (void)state;
  struct story *s = story_new(0);
  for (int i = 0; i < CLIENTS; i++) start(s, i);
  until(s, 3000);
  assert_int_equal(s->servers[0].connected, CLIENTS);
  roam_broker *b = s->servers[0].broker;
  roam_time now = roam_world_now(s->world);
  assert_int_equal(roam_broker_send_away(b, now, 0x98, "two.test", 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_send_away(b, now, 0x9C, "", 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_send_away(b, now, 0x9C, NULL, 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_send_away(b, now, 0x9C, "two.test:14567", 10 * ROAM_S), 0);
  until(s, 3100);
  assert_int_equal(s->servers[0].disconnected, 1);
  until(s, 8100);
  assert_int_equal(s->servers[0].disconnected, 3);
  until(s, 15000);
  assert_int_equal(s->servers[0].disconnected, CLIENTS);
  assert_true(s->servers[0].last_disconnect - s->servers[0].first_disconnect == 8 * ROAM_S);
  assert_int_equal(s->servers[0].drained, CLIENTS);
  assert_int_equal(s->servers[1].connected, CLIENTS);
  assert_int_equal(s->redirects, CLIENTS);
  assert_int_equal(roam_broker_get_stats(b).drained, CLIENTS);
  story_free(s);
}

/* Each sends to the other: nobody plays ball for ever. */
static void follows_only_so_often(void **state) {
  (void)state;
  struct story *s = story_begun();
  roam_time now = roam_world_now(s->world);
  roam_broker_send_away(s->servers[0].broker, now, 0x9C, "two.test", 0);
  roam_broker_send_away(s->servers[1].broker, now, 0x9C, "one.test", 0);
  until(s, 60000);
  assert_int_equal(s->redirects, 4);
  assert_int_equal(s->closed, ROAM_E_REFUSED);
  story_free(s);
}

/* The server for now is not there: home again. */
static void goes_home_when_the_other_is_not_there(void **state) {
  (void)state;
  struct story *s = story_new(0);
  s->o.connect_timeout_ns = 2 * ROAM_S;
  start(s, 0);
  until(s, 3000);
  roam_broker_send_away(s->servers[0].broker, roam_world_now(s->world), 0x9C, "two.test:9", 0);
  until(s, 3500);
  assert_int_equal(s->redirects, 1);
  until(s, 30000); /* home sends it away again, as often as is followed */
  assert_true(s->redirects >= 2 && s->redirects <= 4);
  story_free(s);
}

/* The first name is nobody's address, the second no name, the third a server: it is reached without going home between. */
static void tries_every_name_of_a_reference(void **state) {
  (void)state;
  struct story *s = story_new(0);
  s->o.connect_timeout_ns = 2 * ROAM_S;
  start(s, 0);
  until(s, 3000);
  roam_broker_send_away(s->servers[0].broker, roam_world_now(s->world), 0x9C,
                        "192.0.2.77:9  mqtt://two.test not/a/name two.test:14567 one.test", 0);
  until(s, 7000);
  assert_int_equal(s->servers[1].connected, 1);
  assert_int_equal(s->servers[0].connected, 1);
  assert_int_equal(s->redirects, 2); /* each name that was tried is told */
  assert_int_equal(roam_client_get_stats(s->clients[0]).redirects, 1);
  story_free(s);
}

/* For good, and none of them is there yet: they are tried in turn until one is. */
static void a_server_that_moved_is_looked_for(void **state) {
  (void)state;
  struct story *s = story_new(0);
  s->o.connect_timeout_ns = ROAM_S;
  start(s, 0);
  until(s, 3000);
  roam_broker_send_away(s->servers[0].broker, roam_world_now(s->world), 0x9D, "192.0.2.77 two.test:15000", 0);
  until(s, 9000);
  assert_int_equal(s->servers[1].connected, 0);
  stage_listen(s->world, s->servers[1].broker, &s->servers[1].addr, ROAM_TRANSPORT_QUIC, 15000);
  until(s, 30000);
  assert_int_equal(s->servers[1].connected, 1);
  assert_int_equal(s->servers[0].connected, 1); /* never home */
  story_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(leaves_what_is_gone_and_returns),
      cmocka_unit_test(does_not_thrash),
      cmocka_unit_test(notices_silence),
      cmocka_unit_test(stays_where_the_application_put_it),
      cmocka_unit_test(does_not_roam_when_pinned_or_told_not_to),
      cmocka_unit_test(begins_where_it_is_best),
      cmocka_unit_test(learns_how_long_the_nat_remembers),
      cmocka_unit_test(keeps_who_is_silent),
      cmocka_unit_test(keeps_who_has_no_keep_alive_for_so_long),
      cmocka_unit_test(a_refused_send_is_a_sign),
      cmocka_unit_test(each_path_event_is_one_line),
      cmocka_unit_test(a_move_as_the_logs_tell_it),
      cmocka_unit_test(sends_away_evenly_and_they_go),
      cmocka_unit_test(follows_only_so_often),
      cmocka_unit_test(goes_home_when_the_other_is_not_there),
      cmocka_unit_test(tries_every_name_of_a_reference),
      cmocka_unit_test(a_server_that_moved_is_looked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
