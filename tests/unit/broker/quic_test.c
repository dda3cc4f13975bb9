/* quic_test.c - a broker glued in memory to a bare QUIC connection that speaks what the test writes: data streams are
 * refused and nothing else, a close without DISCONNECT is abnormal whatever its code, a new address is followed and told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/broker.h>

#include "base/rng.h"
#include "transport/transport.h"

#define WALL 1700000000

/* "secret" and "pencil" are alice's and user's passwords. */
static const char passwords[] =
    "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
    "Uz4ecVxcRbxCbzkA==\n"
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";

/* What a test wants otherwise than the others. */
struct how {
  bool certified; /* the client has a certificate, of device-7, and is who it says */
  bool passwords; /* one failure a minute and address */
};

struct glue {
  struct how how;
  roam_identity client_identity;
  struct roam_rng rng;
  roam_identity identity;
  roam_broker *broker;
  roam_transport *quic;
  roam_conn *conn;
  roam_time now;
  uint32_t client_handle, server_handle;
  roam_addr client, server; /* client: as the broker sees it; the test moves it */
  bool opened, closed;
  uint32_t reset_lane;
  uint64_t reset_code;
  roam_event last[64]; /* by kind */
  int counts[64];
};

static roam_bytes str(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void take_from_broker(struct glue *g, const roam_wire *u) {
  roam_wire in = {.kind = u->kind,
                  .handle = g->client_handle,
                  .remote = g->server,
                  .data = u->data,
                  .len = u->len,
                  .segment = u->segment,
                  .ecn = u->ecn};
  if (u->kind == ROAM_WIRE_BIND) {
    g->server_handle = u->handle;
    roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = g->server};
    roam_broker_feed(g->broker, g->now, &bound, 1);
  } else if (u->kind == ROAM_WIRE_DATAGRAM && g->client_handle && roam_addr_equal(&u->remote, &g->client)) {
    in.local = addr("127.0.0.2:5000");
    roam_transport_feed(g->quic, g->now, &in, 1);
  }
}

static void take_from_client(struct glue *g, const roam_wire *u) {
  if (u->kind == ROAM_WIRE_BIND) {
    g->client_handle = u->handle;
    roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = addr("127.0.0.2:5000")};
    roam_transport_feed(g->quic, g->now, &bound, 1);
  } else if (u->kind == ROAM_WIRE_DATAGRAM) {
    roam_wire in = {.kind = u->kind,
                    .handle = g->server_handle,
                    .local = g->server,
                    .remote = g->client,
                    .data = u->data,
                    .len = u->len,
                    .segment = u->segment,
                    .ecn = u->ecn};
    roam_broker_feed(g->broker, g->now, &in, 1);
  }
}

static void take_events(struct glue *g) {
  roam_te te;
  roam_event ev;
  while (roam_transport_poll(g->quic, &te, 1) == 1) {
    g->opened |= te.kind == ROAM_TE_OPENED;
    g->closed |= te.kind == ROAM_TE_CLOSED;
    if (te.kind != ROAM_TE_LANE_RESET) continue;
    g->reset_lane = te.lane;
    g->reset_code = te.code;
  }
  while (roam_broker_poll(g->broker, &ev, 1) == 1) {
    g->last[ev.kind] = ev;
    g->counts[ev.kind]++;
  }
}

static void settle(struct glue *g) {
  roam_wire out;
  bool moved = true;
  while (moved) {
    moved = false;
    while (roam_broker_drain(g->broker, g->now, &out, 1) == 1) {
      take_from_broker(g, &out);
      moved = true;
    }
    while (roam_transport_drain(g->quic, g->now, &out, 1) == 1) {
      take_from_client(g, &out);
      moved = true;
    }
    take_events(g);
  }
}

static void run(struct glue *g, uint64_t ns) {
  roam_time until = g->now + ns;
  settle(g);
  for (int turns = 0;; turns++) {
    roam_time due = roam_broker_deadline(g->broker), other = roam_transport_deadline(g->quic);
    assert_true(turns < 100000);
    if (other < due) due = other;
    if (due > until) break;
    if (due > g->now) g->now = due;
    roam_broker_tick(g->broker, g->now);
    roam_transport_tick(g->quic, g->now);
    settle(g);
  }
  g->now = until;
}

static void write_packet(struct glue *g, uint32_t lane, const roam_packet *p) {
  uint8_t bytes[256];
  size_t len;
  assert_int_equal(roam_packet_write(p, bytes, sizeof bytes, &len), 0);
  roam_slice slice = {.base = bytes, .len = len};
  assert_int_equal(roam_conn_write(g->conn, g->now, lane, &slice, 1), 0);
  run(g, 100 * ROAM_MS);
}

static uint8_t expect(struct glue *g, int type) {
  roam_packet p;
  roam_fault fault;
  size_t used = 0;
  assert_int_equal(roam_packet_read(roam_conn_peek(g->conn, 0), 5, 1u << 20, true, &p, &used, &fault), 0);
  assert_true(used > 0);
  assert_int_equal(p.type, type);
  roam_conn_consume(g->conn, g->now, 0, used);
  return p.reason;
}

static void make_broker(struct glue *g) {
  roam_broker_options o;
  roam_rc rc;
  uint64_t listener;
  roam_broker_options_init(&o);
  o.tls.certificate = str(g->identity.certificate);
  o.tls.key = str(g->identity.key);
  o.tls.wall_unix_s = WALL;
  o.tls.require_client_certificate = o.subject_as_user_name = g->how.certified;
  if (g->how.certified) o.tls.ca = str(g->identity.ca_certificate);
  if (g->how.passwords) o.passwords = str(passwords);
  o.auth_failures_max = 1;
  g->broker = roam_broker_new(&o, g->now, &g->rng.random, &rc);
  assert_non_null(g->broker);
  assert_int_equal(roam_broker_listen(g->broker, g->now, ROAM_TRANSPORT_QUIC, &g->server, &listener), 0);
}

static void make_client(struct glue *g) {
  roam_transport_options t;
  roam_rc rc;
  const char *why;
  roam_transport_options_init(&t);
  t.random = &g->rng.random;
  t.now = g->now;
  t.handle_first = 1;
  t.tls.ca = str(g->identity.ca_certificate);
  t.tls.wall_unix_s = WALL;
  if (g->how.certified) {
    t.tls.certificate = str(g->client_identity.certificate);
    t.tls.key = str(g->client_identity.key);
  }
  g->quic = roam_quic_new(&t, &rc, &why);
  assert_non_null(g->quic);
  assert_int_equal(roam_transport_dial(g->quic, g->now, &g->server, NULL, NULL, "localhost", g, &g->conn), 0);
}

static struct glue *glue_open(struct how how) {
  struct glue *g = calloc(1, sizeof *g);
  assert_non_null(g);
  g->how = how;
  roam_rng_init(&g->rng, 1);
  g->now = ROAM_S;
  g->client = addr("127.0.0.2:5000");
  g->server = addr("127.0.0.1:14567");
  assert_int_equal(roam_identity_make(&g->identity, "glue", "localhost", WALL, 1, false), 0);
  assert_int_equal(roam_identity_issue(&g->client_identity, str(g->identity.ca_certificate), str(g->identity.ca_key),
                                       "device-7", "device-7", WALL, 1, true),
                   0);
  make_broker(g);
  make_client(g);
  run(g, ROAM_S);
  assert_true(g->opened);
  assert_int_equal(g->counts[ROAM_EV_LISTENING], 1);
  return g;
}

static struct glue *glue_new(void) {
  struct glue *g = glue_open((struct how){0});
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT,
                              .version = 5,
                              .connect = {.client_id = str("bare"),
                                          .clean_start = true,
                                          .has_will = true,
                                          .will_retain = true,
                                          .will_topic = str("will"),
                                          .will_payload = str("gone")}});
  expect(g, ROAM_CONNACK);
  return g;
}

static void glue_free(struct glue *g) {
  if (g->closed) roam_conn_release(g->conn);
  roam_transport_free(g->quic);
  roam_broker_free(g->broker);
  roam_identity_clear(&g->identity);
  roam_identity_clear(&g->client_identity);
  free(g);
}

static void data_streams_are_refused(void **state) {
  (void)state;
  struct glue *g = glue_new();
  uint32_t lane;
  for (int i = 0; i < 3; i++) {
    assert_int_equal(roam_conn_lane_open(g->conn, g->now, &lane), 0);
    write_packet(g, lane, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
    run(g, ROAM_S);
    assert_int_equal(g->reset_lane, lane);
    assert_int_equal(g->reset_code, 0x80);
    assert_int_equal(roam_broker_get_stats(g->broker).lanes_refused, i + 1);
    write_packet(g, 0, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
    expect(g, ROAM_PINGRESP);
  }
  assert_false(g->closed);
  assert_int_equal(g->counts[ROAM_EV_PEER_DISCONNECTED], 0);
  glue_free(g);
}

/* how: close with code 0, the lane's end, DISCONNECT */
static void ends(void **state) {
  (void)state;
  for (int how = 0; how < 3; how++) {
    struct glue *g = glue_new();
    if (how == 0) roam_conn_close(g->conn, g->now, 0, true);
    if (how == 1) roam_conn_lane_fin(g->conn, g->now, 0);
    if (how == 2) write_packet(g, 0, &(roam_packet){.type = ROAM_DISCONNECT, .version = 5});
    run(g, 5 * ROAM_S);
    assert_true(g->closed);
    assert_int_equal(g->counts[ROAM_EV_PEER_DISCONNECTED], 1);
    assert_int_equal(roam_broker_get_stats(g->broker).retained, how != 2); /* the will */
    assert_int_equal(roam_broker_get_stats(g->broker).connections, 0);
    if (how != 2) assert_int_equal(g->last[ROAM_EV_PEER_DISCONNECTED].rc, ROAM_E_PEER_CLOSED);
    else assert_int_equal(g->last[ROAM_EV_PEER_DISCONNECTED].reason, 0);
    glue_free(g);
  }
}

static void a_new_address_is_followed(void **state) {
  (void)state;
  struct glue *g = glue_new();
  roam_addr before = g->client;
  roam_peer_info info;
  g->client = addr("127.0.0.3:6000");
  write_packet(g, 0, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  run(g, ROAM_S);
  expect(g, ROAM_PINGRESP);
  assert_int_equal(g->counts[ROAM_EV_PEER_MOVED], 1);
  assert_true(roam_addr_equal(&g->last[ROAM_EV_PEER_MOVED].u.path.old_remote, &before));
  assert_true(roam_addr_equal(&g->last[ROAM_EV_PEER_MOVED].u.path.remote, &g->client));
  assert_int_equal(roam_broker_client(g->broker, "bare", &info), 0);
  assert_true(roam_addr_equal(&info.ip_address, &g->client));
  assert_true(roam_addr_equal(&info.connect_address, &before));
  assert_int_equal(info.moves, 1);
  glue_free(g);
}

/* ---- access ---- */

static void a_verified_subject_is_the_user_name(void **state) {
  (void)state;
  struct glue *g = glue_open((struct how){.certified = true});
  roam_peer_info info;
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT,
                              .version = 5,
                              .connect = {.client_id = str("dev"),
                                          .clean_start = true,
                                          .has_user_name = true,
                                          .user_name = str("somebody else")}});
  assert_int_equal(expect(g, ROAM_CONNACK), 0);
  assert_int_equal(roam_broker_client(g->broker, "dev", &info), 0);
  assert_string_equal(info.user_name, "device-7");
  glue_free(g);
}

static void redial(struct glue *g, const char *from) {
  run(g, 5 * ROAM_S);
  assert_true(g->closed);
  roam_conn_release(g->conn);
  g->opened = g->closed = false;
  g->client = addr(from);
  assert_int_equal(roam_transport_dial(g->quic, g->now, &g->server, NULL, NULL, "localhost", g, &g->conn), 0);
  run(g, ROAM_S);
  assert_true(g->opened);
}

/* The first message of SCRAM-SHA-256 in CONNECT; a packet of AUTH with what cannot be a proof. */
static void say_scram(struct glue *g, int type, const char *data) {
  uint8_t bytes[128];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_METHOD, str("SCRAM-SHA-256")), 0);
  assert_int_equal(roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_DATA, str(data)), 0);
  write_packet(g, 0,
               &(roam_packet){.type = (uint8_t)type,
                              .version = 5,
                              .reason = type == ROAM_AUTH ? ROAM_REASON_CONTINUE_AUTHENTICATION : 0,
                              .props = {bytes, props.len},
                              .connect = {.client_id = str("x"), .clean_start = true}});
}

static void login(struct glue *g) {
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT,
                              .version = 5,
                              .connect = {.client_id = str("x"),
                                          .clean_start = true,
                                          .has_user_name = true,
                                          .has_password = true,
                                          .user_name = str("alice"),
                                          .password = str("secret")}});
}

static void limits_follow_a_client_that_moves(void **state) {
  (void)state;
  struct glue *g = glue_open((struct how){.passwords = true});
  say_scram(g, ROAM_CONNECT, "n,,n=user,r=abc");
  assert_int_equal(expect(g, ROAM_AUTH), ROAM_REASON_CONTINUE_AUTHENTICATION);
  g->client = addr("127.0.0.3:6000"); /* fails here, and began at .2: both are charged */
  say_scram(g, ROAM_AUTH, "c=biws,r=wrong");
  assert_int_equal(expect(g, ROAM_CONNACK), ROAM_REASON_NOT_AUTHORIZED);
  redial(g, "127.0.0.2:5000");
  login(g);
  assert_int_equal(expect(g, ROAM_CONNACK), ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  redial(g, "127.0.0.3:5000");
  login(g);
  assert_int_equal(expect(g, ROAM_CONNACK), ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  redial(g, "127.0.0.4:5000"); /* may try, and is refused where it moves to */
  say_scram(g, ROAM_CONNECT, "n,,n=user,r=abc");
  assert_int_equal(expect(g, ROAM_AUTH), ROAM_REASON_CONTINUE_AUTHENTICATION);
  g->client = addr("127.0.0.3:7000");
  roam_conn_ping(g->conn, g->now);
  run(g, ROAM_S);
  assert_int_equal(expect(g, ROAM_CONNACK), ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  assert_int_equal(roam_broker_get_stats(g->broker).connects_limited, 3);
  redial(g, "127.0.0.4:5000");
  login(g);
  roam_broker_tick(g->broker, g->now);
  run(g, 100 * ROAM_MS);
  assert_int_equal(expect(g, ROAM_CONNACK), 0);
  glue_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(data_streams_are_refused), cmocka_unit_test(ends), cmocka_unit_test(a_new_address_is_followed),
      cmocka_unit_test(a_verified_subject_is_the_user_name), cmocka_unit_test(limits_follow_a_client_that_moves)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
