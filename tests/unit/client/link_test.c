/* link_test.c - attempts and connections: connecting, refusals, names and addresses, time-outs, ends and their order. */
#include "rig.h"
#include "client/client.h"

static void connects_and_says_who_it_is(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.user_name = "u";
  o.password = str("secret");
  o.will_topic = "gone";
  o.will_payload = str("me");
  o.will_qos = 1;
  o.will_retain = true;
  o.will_delay_s = 9;
  o.session_expiry_s = 60;
  o.keep_alive_s = 30;
  o.receive_maximum = 5;
  o.maximum_packet_size = 4096;
  struct rig *r = rig_new(&o);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_NEW);
  rig_start(r);
  EXPECT(r->units, "OPEN 192.0.2.1:1883\n");
  EXPECT(r->seen,
         "CONNECT v5 me clean ka=30 expiry=60 rm=5 mps=4096 tam=16 user=u pass=secret will=gone=me q1 retain delay=9\n");
  EXPECT(r->log, "CONNECTED tcp v5 new\n");
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  assert_int_equal(roam_client_start(r->c, r->now), ROAM_E_STATE);
  roam_client_stats stats = roam_client_get_stats(r->c);
  assert_int_equal(stats.connects, 1);
  assert_int_equal(stats.remote.port, 1883);
  assert_int_equal(stats.local.port, 40000);
  assert_true(stats.bytes_out > 0 && stats.bytes_in > 0);
  rig_free(r);
}

static void connects_with_311(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.version = 4;
  o.client_id = NULL;
  struct rig *r = rig_new(&o);
  rig_start(r);
  assert_memory_equal(r->seen, "CONNECT v4 roam-", 16);
  assert_int_equal(strlen(roam_client_id(r->c)), 21);
  assert_non_null(strstr(r->seen, roam_client_id(r->c)));
  EXPECT(r->log, "CONNECTED tcp v4 new\n");
  rig_free(r);
}

static void adopts_the_assigned_id(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.client_id = "";
  struct rig *r = rig_new(&o);
  static const uint8_t props[] = {0x12, 0, 3, 'a', 'b', 'c'};
  r->props = props;
  r->props_len = sizeof props;
  rig_start(r);
  assert_string_equal(roam_client_id(r->c), "abc");
  rig_free(r);
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint8_t reason, version;
    bool final;
    const char *text;
  } cases[] = {
      {"not authorized", 0x87, 5, true, "connect mqtt://192.0.2.1:1883: refused: not authorized (0x87)"},
      {"credentials", 0x86, 5, true, "connect mqtt://192.0.2.1:1883: refused: bad user name or password (0x86)"},
      {"credentials, 3.1.1", 0x86, 4, true, "connect mqtt://192.0.2.1:1883: refused: bad user name or password (0x86)"},
      {"client id", 0x85, 5, true, "connect mqtt://192.0.2.1:1883: refused: client identifier not valid (0x85)"},
      {"version", 0x84, 5, true, "connect mqtt://192.0.2.1:1883: refused: unsupported protocol version (0x84)"},
      {"banned", 0x8A, 5, true, "connect mqtt://192.0.2.1:1883: refused: banned (0x8A)"},
      {"will too large", 0x95, 5, true, "connect mqtt://192.0.2.1:1883: refused: packet too large (0x95)"},
      {"busy", 0x89, 5, false, "connect mqtt://192.0.2.1:1883: refused: server busy (0x89)"},
      {"unavailable, 3.1.1", 0x88, 4, false, "connect mqtt://192.0.2.1:1883: refused: server unavailable (0x88)"},
      {"quota", 0x97, 5, false, "connect mqtt://192.0.2.1:1883: refused: quota exceeded (0x97)"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    print_message("%s\n", cases[i].name);
    roam_client_options o = rig_options();
    o.version = cases[i].version;
    struct rig *r = rig_new(&o);
    r->refuse = cases[i].reason;
    rig_start(r);
    char expected[256];
    snprintf(expected, sizeof expected,
             cases[i].final ? "CLOSED ROAM_E_REFUSED: %s\n" : "DISCONNECTED ROAM_E_REFUSED retry: %s\n", cases[i].text);
    EXPECT(r->log, expected);
    assert_int_equal(roam_client_error(r->c).reason, cases[i].reason);
    assert_int_equal(roam_client_error(r->c).rc, ROAM_E_REFUSED);
    assert_string_equal(roam_client_error(r->c).text, cases[i].text);
    assert_int_equal(roam_client_get_state(r->c), cases[i].final ? ROAM_CLIENT_CLOSED : ROAM_CLIENT_WAITING);
    rig_free(r);
  }
}

static void refusal_quotes_the_server(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  static const uint8_t props[] = {0x1F, 0, 6, 'n', 'o', '\n', 0x7f, 'w', '!'};
  r->props = props;
  r->props_len = sizeof props;
  r->refuse = 0x87;
  rig_start(r);
  EXPECT(r->log, "CLOSED ROAM_E_REFUSED: connect mqtt://192.0.2.1:1883: refused: not authorized (0x87): no??w!\n");
  rig_free(r);
}

static void name_is_resolved_and_addresses_are_tried_in_order(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.url = "mqtt://broker.example:2883";
  struct rig *r = rig_new(&o);
  roam_addr_parse("2001:db8::1", &r->answers[0]);
  roam_addr_parse("192.0.2.7", &r->answers[1]);
  roam_addr_parse("192.0.2.8", &r->answers[2]);
  r->answers_len = 3;
  r->errors_first = 2;
  rig_start(r);
  EXPECT(r->units, "RESOLVE broker.example 2883\nOPEN [2001:db8::1]:2883\nOPEN 192.0.2.7:2883\nOPEN 192.0.2.8:2883\n");
  EXPECT(r->log, "CONNECTED tcp v5 new\n");
  rig_free(r);
}

static void addresses_of_another_family_than_local_are_skipped(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.url = "mqtt://broker.example";
  roam_addr_parse("198.51.100.9", &o.local);
  struct rig *r = rig_new(&o);
  roam_addr_parse("2001:db8::1", &r->answers[0]);
  roam_addr_parse("192.0.2.7", &r->answers[1]);
  r->answers_len = 2;
  rig_start(r);
  EXPECT(r->units, "RESOLVE broker.example 1883\nOPEN 192.0.2.7:1883\n");
  r->answers_len = 1;
  rig_break(r, ECONNRESET);
  rig_settle(r);
  r->log[0] = 0;
  rig_run(r, r->now + r->retry_ns);
  EXPECT(r->log,
         "DISCONNECTED ROAM_E_UNREACHABLE retry: connect mqtt://broker.example:1883: none of its addresses is of the "
         "family of the local address\n");
  rig_free(r);
}

static void unknown_name(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.url = "mqtt://nowhere.example";
  o.reconnect = false;
  struct rig *r = rig_new(&o);
  rig_start(r);
  EXPECT(r->log, "CLOSED ROAM_E_RESOLVE: connect mqtt://nowhere.example:1883: name nowhere.example cannot be resolved\n");
  rig_free(r);
}

static void resolving_has_a_time_limit_and_late_answers_are_ignored(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.url = "mqtt://slow.example";
  struct rig *r = rig_new(&o);
  r->resolve_silent = true;
  rig_start(r);
  rig_run(r, 11 * ROAM_S);
  EXPECT(r->log,
         "DISCONNECTED ROAM_E_TIMEOUT retry: connect mqtt://slow.example:1883: timed out: the name was not resolved "
         "within 10 s\n");
  roam_addr_parse("192.0.2.7", &r->answers[0]);
  rig_feed(r, (roam_wire){.kind = ROAM_WIRE_RESOLVED, .handle = 1, .addrs = r->answers, .addrs_len = 1});
  rig_settle(r);
  assert_null(strstr(r->units, "OPEN"));
  rig_free(r);
}

static void silence(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.reconnect = false;
  o.connect_timeout_ns = 2 * ROAM_S;
  struct rig *r = rig_new(&o);
  r->open_silent = true;
  rig_start(r);
  rig_run(r, 4 * ROAM_S);
  assert_memory_equal(r->log, "CLOSED ROAM_E_TIMEOUT: connect mqtt://192.0.2.1:1883: no answer", 63);
  rig_free(r);

  r = rig_new(&o);
  r->mute = true;
  rig_start(r);
  rig_run(r, 4 * ROAM_S);
  EXPECT(r->log,
         "CLOSED ROAM_E_TIMEOUT: connect mqtt://192.0.2.1:1883: timed out: connected, but no CONNACK came within 2 s\n");
  EXPECT(r->units, "OPEN 192.0.2.1:1883\nCLOSE reset\n"); /* no late CONNECT is to follow */
  rig_free(r);
}

static void refused_port_is_retried_unless_told_not_to(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  r->errors_first = 3;
  rig_start(r);
  rig_run(r, 5 * ROAM_S);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  EXPECT(r->units, "OPEN 192.0.2.1:1883\nOPEN 192.0.2.1:1883\nOPEN 192.0.2.1:1883\nOPEN 192.0.2.1:1883\n");
  rig_free(r);

  o.reconnect = false;
  r = rig_new(&o);
  r->open_error = ECONNREFUSED;
  rig_start(r);
  assert_memory_equal(r->log, "CLOSED ROAM_E_CONN_REFUSED: connect mqtt://192.0.2.1:1883: ", 59);
  rig_free(r);
}

static void a_server_that_speaks_something_else_is_fatal_at_first(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_new(&o);
  r->mute = true;
  rig_start(r);
  rig_send(r, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
  rig_settle(r);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CLOSED);
  assert_memory_equal(r->log, "CLOSED ROAM_E_MALFORMED: connect mqtt://192.0.2.1:1883: ", 55);
  rig_free(r);
}

static void disconnect_reason_outlives_the_close_behind_it(void **state) {
  (void)state;
  static const struct {
    uint8_t reason;
    const char *log;
  } cases[] = {
      {0x8B, "DISCONNECTED ROAM_E_PEER_CLOSED retry: connection to mqtt://192.0.2.1:1883 lost: disconnected by the server: "
             "server shutting down (0x8B)\n"},
      {0x8E,
       "DISCONNECTED ROAM_E_PEER_CLOSED final: connection to mqtt://192.0.2.1:1883 lost: disconnected by the server: "
       "session taken over (0x8E)\n"
       "CLOSED ROAM_E_PEER_CLOSED: connection to mqtt://192.0.2.1:1883 lost: disconnected by the server: session taken "
       "over (0x8E)\n"},
  };
  for (size_t i = 0; i < 2; i++) {
    roam_client_options o = rig_options();
    struct rig *r = rig_connected(&o);
    uint8_t bytes[4] = {0xE0, 1, cases[i].reason};
    roam_wire units[2] = {{.kind = ROAM_WIRE_DATA, .handle = r->handle, .data = bytes, .len = 3},
                          {.kind = ROAM_WIRE_CLOSE, .handle = r->handle, .error = ECONNRESET}};
    r->handle = 0;
    roam_client_feed(r->c, r->now, units, 2); /* in one batch, as an edge would hand them over */
    rig_settle(r);
    EXPECT(r->log, cases[i].log);
    assert_int_equal(roam_client_error(r->c).reason, cases[i].reason);
    rig_free(r);
  }
}

static void an_end_without_a_word(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  rig_break(r, 0);
  rig_settle(r);
  EXPECT(r->log, "DISCONNECTED ROAM_E_PEER_CLOSED retry: connection to mqtt://192.0.2.1:1883 lost: closed by the peer\n");
  rig_free(r);

  r = rig_connected(&o);
  rig_break(r, ECONNRESET);
  rig_settle(r);
  assert_non_null(strstr(r->log, "connection to mqtt://192.0.2.1:1883 lost: "));
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_WAITING);
  rig_free(r);
}

static void malformed_bytes_later_are_not_fatal(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  struct rig *r = rig_connected(&o);
  rig_send(r, "\x00\x00", 2);
  rig_settle(r);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_WAITING);
  assert_non_null(strstr(r->seen, "DISCONNECT 8"));
  rig_run(r, r->now + ROAM_S);
  assert_int_equal(roam_client_get_state(r->c), ROAM_CLIENT_CONNECTED);
  rig_free(r);
}

static void keep_alive_finds_a_dead_server(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.keep_alive_s = 10;
  struct rig *r = rig_connected(&o);
  rig_run(r, 60 * ROAM_S);
  EXPECT(r->log, ""); /* pings are answered */
  r->mute = true;
  rig_run(r, 80 * ROAM_S);
  assert_memory_equal(r->log, "DISCONNECTED ROAM_E_TIMEOUT retry: connection to", 48);
  rig_free(r);
}

static void no_server_sends_us_to_a_local_socket(void **state) {
  (void)state;
  static const struct {
    const char *reference;
    bool followed;
  } cases[] = {{"unix:///run/other.sock", false}, {"unix:///run/other.sock 192.0.2.9", true}, {"192.0.2.9:1883", true}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_client_options o = rig_options();
    struct rig *r = rig_new(&o);
    uint8_t props[64];
    size_t len = strlen(cases[i].reference);
    props[0] = ROAM_PROP_SERVER_REFERENCE;
    props[1] = 0;
    props[2] = (uint8_t)len;
    memcpy(props + 3, cases[i].reference, len);
    roam_redirect_hear(r->c, ROAM_REASON_SERVER_MOVED, (roam_bytes){props, 3 + len});
    assert_int_equal(r->c->redirect.pending, cases[i].followed);
    rig_free(r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connects_and_says_who_it_is),
      cmocka_unit_test(connects_with_311),
      cmocka_unit_test(adopts_the_assigned_id),
      cmocka_unit_test(refusals),
      cmocka_unit_test(refusal_quotes_the_server),
      cmocka_unit_test(name_is_resolved_and_addresses_are_tried_in_order),
      cmocka_unit_test(addresses_of_another_family_than_local_are_skipped),
      cmocka_unit_test(unknown_name),
      cmocka_unit_test(resolving_has_a_time_limit_and_late_answers_are_ignored),
      cmocka_unit_test(silence),
      cmocka_unit_test(refused_port_is_retried_unless_told_not_to),
      cmocka_unit_test(a_server_that_speaks_something_else_is_fatal_at_first),
      cmocka_unit_test(disconnect_reason_outlives_the_close_behind_it),
      cmocka_unit_test(an_end_without_a_word),
      cmocka_unit_test(malformed_bytes_later_are_not_fatal),
      cmocka_unit_test(keep_alive_finds_a_dead_server),
      cmocka_unit_test(no_server_sends_us_to_a_local_socket),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
