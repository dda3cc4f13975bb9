/* loopback_test.c - who may be nobody: anonymous clients that were let in on loopback and move, over QUIC. The machine they
 * share with the broker is a world of two hosts whose addresses are 127.0.0.0/8 and one that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

/* alice's is "secret". */
static const char passwords[] =
    "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
    "Uz4ecVxcRbxCbzkA==\n";

struct story {
  roam_world *world;
  roam_identity identity;
  roam_broker *broker;
  roam_client *client;
  int connected, moved, ended, refused; /* by the broker */
  int reason;                           /* of the last end or refusal */
};

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct story *s = context;
  for (size_t i = 0; i < n; i++) {
    s->connected += ev[i].kind == ROAM_EV_PEER_CONNECTED;
    s->moved += ev[i].kind == ROAM_EV_PEER_MOVED;
    s->ended += ev[i].kind == ROAM_EV_PEER_DISCONNECTED;
    s->refused += ev[i].kind == ROAM_EV_PEER_REFUSED;
    if (ev[i].kind == ROAM_EV_PEER_DISCONNECTED || ev[i].kind == ROAM_EV_PEER_REFUSED) s->reason = ev[i].reason;
  }
}

static void attach(struct story *s, roam_host *host, const char *interface, const char *address) {
  roam_addr a = stage_addr(address);
  assert_int_equal(roam_host_address(host, interface, &a), 0);
  assert_int_equal(roam_host_hop(host, &a, stage_delay(s->world, ROAM_MS, 0)), 0);
}

static void start_broker(struct story *s, void (*change)(roam_broker_options *o), const char *at) {
  roam_rc rc;
  roam_host *host = roam_world_host(s->world, "broker");
  roam_addr here = stage_addr("127.0.0.1"), listen = stage_addr(at);
  attach(s, host, "lo", "127.0.0.1");
  roam_world_name(s->world, "localhost", &here);
  roam_broker_options o = stage_broker_options(&s->identity);
  o.anonymous_beyond_loopback = false;
  o.log = roam_host_log(host, ROAM_LOG_NOTICE);
  if (change) change(&o);
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), &rc);
  assert_non_null(s->broker);
  stage_listen(s->world, s->broker, &listen, ROAM_TRANSPORT_QUIC, 14567);
  assert_int_equal(roam_host_run(host, roam_broker_machine(s->broker), on_broker, s), 0);
}

static struct story *story_new(void (*change)(roam_broker_options *o), const char *at, const char *password) {
  struct story *s = calloc(1, sizeof *s);
  roam_rc rc;
  assert_non_null(s);
  s->world = roam_world_new(NULL);
  assert_int_equal(roam_identity_make(&s->identity, "story", "localhost", STAGE_WALL, 30, false), 0);
  start_broker(s, change, at);
  roam_host *host = roam_world_host(s->world, "app");
  attach(s, host, "lo", "127.0.0.2");
  attach(s, host, "lo1", "127.0.0.3");
  attach(s, host, "eth0", "192.0.2.9");
  roam_client_options o = stage_client_options(&s->identity, "mqtt-quic://localhost", "app");
  o.session_expiry_s = 600;
  o.local = stage_addr("127.0.0.2");
  if (password) {
    o.user_name = "alice";
    o.password = stage_bytes(password);
  }
  s->client = roam_client_new(&o, roam_world_random(s->world), &rc);
  assert_non_null(s->client);
  assert_int_equal(roam_client_start(s->client, roam_world_now(s->world)), 0);
  assert_int_equal(roam_host_run(host, roam_client_machine(s->client), stage_ignore, NULL), 0);
  assert_int_equal(roam_world_run(s->world, roam_world_now(s->world) + 2 * ROAM_S), 0);
  assert_int_equal(s->connected, 1);
  return s;
}

static void story_free(struct story *s) {
  roam_client_free(s->client);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void migrate(struct story *s, const char *to) {
  roam_addr local = stage_addr(to);
  roam_time now = roam_world_now(s->world);
  assert_int_equal(roam_client_migrate(s->client, now, &local, NULL, true), 0);
  assert_int_equal(roam_world_run(s->world, now + 5 * ROAM_S), 0);
  assert_int_equal(s->moved, 1);
}

static bool trace_has(const struct story *s, const char *text) {
  roam_bytes trace = roam_world_trace(s->world);
  return memmem(trace.base, trace.len, text, strlen(text)) != NULL;
}

static void with_passwords(roam_broker_options *o) {
  o->passwords = stage_bytes(passwords);
  o->allow_anonymous = true;
}

static void for_everybody(roam_broker_options *o) { o->anonymous_beyond_loopback = true; }

static const struct {
  const char *name;
  void (*change)(roam_broker_options *o);
  const char *at, *password, *to;
  bool stays;
} cases[] = {
    {"nobody is asked, and it leaves", NULL, "127.0.0.1", NULL, "192.0.2.9", false},
    {"nobody is asked, and it stays within", NULL, "127.0.0.1", NULL, "127.0.0.3", true},
    {"the nameless are let in on loopback", with_passwords, "0.0.0.0", NULL, "192.0.2.9", false},
    {"one of them stays within", with_passwords, "0.0.0.0", NULL, "127.0.0.3", true},
    {"who has logged in goes anywhere", with_passwords, "0.0.0.0", "secret", "192.0.2.9", true},
    {"anybody may be nobody anywhere", for_everybody, "0.0.0.0", NULL, "192.0.2.9", true},
};

static void nobody_stays_on_loopback(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct story *s = story_new(cases[i].change, cases[i].at, cases[i].password);
    roam_peer_info info;
    migrate(s, cases[i].to);
    assert_int_equal(roam_broker_client(s->broker, "app", &info), 0); /* its session is kept */
    bool told = trace_has(s, " log broker ANONYMOUS_MOVED client=app address=192.0.2.9:");
    if (info.connected != cases[i].stays || told == cases[i].stays || s->ended != !cases[i].stays)
      fail_msg("%s", cases[i].name);
    if (!cases[i].stays) { /* and from there it does not come back either */
      assert_int_equal(s->reason, ROAM_REASON_NOT_AUTHORIZED);
      assert_true(s->connected == 1);
    }
    story_free(s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_stays_on_loopback)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
