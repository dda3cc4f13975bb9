/* quic_access_test.c - access over QUIC: a verified certificate's subject as user name, limits that follow a client from
 * address to address. */
#include "glue.h"

/* "secret" and "pencil" are alice's and user's passwords. */
static const char passwords[] =
    "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
    "Uz4ecVxcRbxCbzkA==\n"
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";

static void by_certificate(roam_broker_options *o) { o->tls.require_client_certificate = o->subject_as_user_name = true; }

static void by_password(roam_broker_options *o) {
  o->passwords = str(passwords);
  o->auth_failures_max = 1;
}

static void a_verified_subject_is_the_user_name(void **state) {
  (void)state;
  struct glue *g = glue_open(by_certificate, "mqtt");
  roam_peer_info info;
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT,
                              .version = 5,
                              .connect = {.client_id = str("dev"),
                                          .clean_start = true,
                                          .has_user_name = true,
                                          .user_name = str("somebody else")}});
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, 0);
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

static void redial_after_goodbye(struct glue *g, const char *from) {
  write_packet(g, 0, &(roam_packet){.type = ROAM_DISCONNECT, .version = 5});
  redial(g, from);
}

static void limits_follow_a_client_that_moves(void **state) {
  (void)state;
  struct glue *g = glue_open(by_password, "mqtt");
  say_scram(g, ROAM_CONNECT, "n,,n=user,r=abc");
  expect(g, ROAM_AUTH);
  assert_int_equal(g->reason, ROAM_REASON_CONTINUE_AUTHENTICATION);
  g->client = addr("127.0.0.3:6000"); /* fails here, and began at .2: both are charged */
  roam_conn_ping(g->conn, g->now);
  run(g, ROAM_S);
  say_scram(g, ROAM_AUTH, "c=biws,r=wrong");
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, ROAM_REASON_NOT_AUTHORIZED);
  redial(g, "127.0.0.2:5000");
  login(g);
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  redial(g, "127.0.0.3:5000");
  login(g);
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  redial(g, "127.0.0.4:5000"); /* may try, and is refused where it moves to */
  say_scram(g, ROAM_CONNECT, "n,,n=user,r=abc");
  expect(g, ROAM_AUTH);
  assert_int_equal(g->reason, ROAM_REASON_CONTINUE_AUTHENTICATION);
  g->client = addr("127.0.0.3:7000");
  roam_conn_ping(g->conn, g->now);
  run(g, ROAM_S);
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  assert_int_equal(roam_broker_get_stats(g->broker).connects_limited, 3);
  redial(g, "127.0.0.4:5000");
  login(g);
  roam_broker_tick(g->broker, g->now);
  run(g, 100 * ROAM_MS);
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, 0);
  glue_free(g);
}

static void lie_about_the_sender(struct glue *g, const char *from) {
  g->deaf = true; /* what goes there reaches nobody */
  g->client = addr(from);
}

/* Whoever writes another's address into a datagram costs that one nothing. */
static void an_address_that_does_not_answer_is_not_charged(void **state) {
  (void)state;
  struct glue *g = glue_open(by_password, "mqtt");
  say_scram(g, ROAM_CONNECT, "n,,n=user,r=abc");
  expect(g, ROAM_AUTH);
  lie_about_the_sender(g, "127.0.0.3:6000");
  say_scram(g, ROAM_AUTH, "c=biws,r=wrong");
  assert_int_equal(roam_broker_get_stats(g->broker).auth_failures, 1);
  g->deaf = false;
  g->client = addr("127.0.0.2:5000");
  roam_conn_ping(g->conn, g->now);
  run(g, 10 * ROAM_S);
  assert_true(g->closed);
  redial(g, "127.0.0.3:5000");
  login(g);
  roam_broker_tick(g->broker, g->now);
  run(g, 100 * ROAM_MS);
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, 0);
  redial_after_goodbye(g, "127.0.0.2:5000"); /* where it was is charged */
  login(g);
  expect(g, ROAM_CONNACK);
  assert_int_equal(g->reason, ROAM_REASON_CONNECTION_RATE_EXCEEDED);
  glue_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_verified_subject_is_the_user_name),
                                     cmocka_unit_test(limits_follow_a_client_that_moves),
                                     cmocka_unit_test(an_address_that_does_not_answer_is_not_charged)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
