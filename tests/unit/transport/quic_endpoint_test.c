/* Many connections on one port: strangers, tokens, bounds, versions, resets, trains. */
#include "transport/quic.h"
#include "unit/transport/pair.h"

static struct roam_quic *endpoint(struct side *s) { return (struct roam_quic *)s->t; }

static struct roam_quic_conn *inside(roam_conn *c) { return (struct roam_quic_conn *)c; }

/* ---- address tokens ----------------------------------------------------------------------------------------------------
 */

static void demand_retry(roam_transport_options *o) { o->retry = true; }

static void retry_once_and_then_a_token_saves_it(void **state) {
  (void)state;
  struct pair_how how = {.server = demand_retry};
  struct pair *p = pair_new(&how);
  roam_time before = p->g->now;
  pair_connect(p);
  assert_true(roam_conn_get_info(p->conn).retried);
  assert_true(roam_conn_get_info(p->server->conn).retried);
  (void)before;
  pair_connect(p);
  assert_false(roam_conn_get_info(p->conn).retried); /* NEW_TOKEN */
  pair_connect(p);
  assert_false(roam_conn_get_info(p->conn).retried); /* and each connection brings the next one */
  pair_free(p);
}

/* A token of another server (another secret) counts as none. */
static void a_foreign_token_is_no_token(void **state) {
  (void)state;
  struct pair_how how = {.server = demand_retry};
  struct pair *p = pair_new(&how);
  pair_connect(p);
  memset(endpoint(p->server)->o.secret, 0x55, 32);
  pair_connect(p);
  assert_true(roam_conn_get_info(p->conn).retried);
  pair_free(p);
}

static bool spoil_token(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  (void)g, (void)u;
  /* the token of a Retry: before the 16 bytes of its tag */
  if ((bytes[0] & 0xf0) == 0xf0 && *len > 60 && *len < 400) return false;
  return true;
}

static void a_lost_retry_is_asked_for_again(void **state) {
  (void)state;
  struct pair_how how = {.server = demand_retry};
  struct pair *p = pair_new(&how);
  p->g->out = spoil_token;
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 0);
  p->g->out = NULL;
  glue_run(p->g, 4 * ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 1);
  pair_free(p);
}

/* ---- versions ----------------------------------------------------------------------------------------------------------
 */

struct catcher {
  roam_wire last;
  uint8_t bytes[1500];
  size_t len, count;
};

static bool catch (struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  struct catcher *c = g->context;
  c->last = *u;
  c->len = *len;
  memcpy(c->bytes, bytes, *len < sizeof c->bytes ? *len : sizeof c->bytes);
  c->count++;
  return true;
}

static void feed_stranger(struct pair *p, const uint8_t *bytes, size_t len) {
  roam_wire u = {.kind = ROAM_WIRE_DATAGRAM, .handle = p->listener, .local = p->server_addr, .data = bytes, .len = len};
  roam_addr_parse("10.0.0.77:7777", &u.remote);
  roam_transport_feed(p->server->t, p->g->now, &u, 1);
  glue_settle(p->g);
}

static void an_unknown_version_is_answered_with_ours(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  struct catcher c = {0};
  p->g->context = &c;
  p->g->out = catch;
  uint8_t bytes[1200] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9};
  feed_stranger(p, bytes, 1199);
  assert_int_equal(c.count, 0); /* too short to be answered */
  feed_stranger(p, bytes, 1200);
  assert_int_equal(c.count, 1);
  assert_true(c.bytes[0] & 0x80);
  assert_memory_equal(c.bytes + 1, "\0\0\0\0", 4);
  assert_memory_equal(c.bytes + 5, "\4\x9\x9\x9\x9", 5); /* ids swapped */
  bool ours = false;
  for (size_t i = 5 + 5 + 9; i + 4 <= c.len; i += 4) ours |= memcmp(c.bytes + i, "\0\0\0\1", 4) == 0;
  assert_true(ours);
  pair_free(p);
}

static bool speak_future(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  (void)g;
  if (u->remote.port == 14567 && (bytes[0] & 0x80)) memcpy(bytes + 1, "\x1a\x2a\x3a\x4a", 4); /* to the server */
  if (u->local.port == 14567 && (bytes[0] & 0x80) && memcmp(bytes + 1, "\0\0\0\0", 4) == 0) {
    size_t at = 5;
    at += 1 + (size_t)bytes[at];
    at += 1 + (size_t)bytes[at];
    for (; at + 4 <= *len; at += 4) memcpy(bytes + at, "\x1a\x2a\x3a\x4a", 4);
  }
  return true;
}

static void a_server_without_our_version(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  p->g->out = speak_future;
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->rc, ROAM_E_VERSION);
  pair_free(p);
}

/* ---- stateless reset ---------------------------------------------------------------------------------------------------
 */

static void keep_secret(roam_transport_options *o) { memset(o->secret, 0x77, sizeof o->secret); }

static void a_restarted_server_says_it_does_not_know_us(void **state) {
  (void)state;
  struct pair_how how = {.server = keep_secret};
  struct pair *p = pair_new(&how);
  roam_rc rc;
  const char *why;
  pair_connect(p);
  glue_run(p->g, ROAM_S);
  roam_transport_free(p->server->t);
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (p->g->socket[i].node == 0) p->g->socket[i].used = false;
  p->server_options.now = p->g->now;
  p->server->t = roam_quic_new(&p->server_options, &rc, &why);
  assert_non_null(p->server->t);
  p->server->log_count = 0;
  pair_listen(p);
  assert_true(pair_send(p->client, p->conn, "are you there? please answer me with something", 46));
  glue_run(p->g, 2 * ROAM_S);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->rc, ROAM_E_LOST);
  assert_true(closed->by_peer);
  assert_non_null(strstr(closed->text, "restarted"));
  assert_int_equal(side_count(p->server, ROAM_TE_ACCEPTED, NULL), 0);
  pair_free(p);
}

static void a_reset_is_shorter_than_what_it_answers(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  struct catcher c = {0};
  p->g->context = &c;
  p->g->out = catch;
  uint8_t bytes[100];
  memset(bytes, 0x5a, sizeof bytes); /* a short header of no connection */
  for (size_t len = 1; len < sizeof bytes; len++) {
    c.count = 0;
    feed_stranger(p, bytes, len);
    if (len < 22) assert_int_equal(c.count, 0);
    else assert_true(c.count == 1 && c.len < len && c.len >= 21);
  }
  pair_free(p);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------------
 */

static void few_handshakes(roam_transport_options *o) { o->handshakes_max = 4; }

/* Of the server's answers only Retry arrives, so handshakes hang. */
static bool only_retry(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  (void)g, (void)len;
  return u->local.port != 14567 || (bytes[0] & 0xf0) == 0xf0;
}

static void handshakes_are_bounded(void **state) {
  (void)state;
  struct pair_how how = {.server = few_handshakes};
  struct pair *p = pair_new(&how);
  roam_conn *conns[8];
  p->g->out = only_retry;
  for (int i = 0; i < 8; i++) {
    conns[i] = pair_dial(p, "localhost");
    glue_run(p->g, 200 * ROAM_MS);
    assert_true(endpoint(p->server)->handshakes <= 4);
    bool retried = ngtcp2_conn_after_retry(inside(conns[i])->nc) != 0;
    assert_int_equal(retried, i >= 2 && i < 4); /* free, by token, dropped */
  }
  assert_int_equal(side_count(p->server, ROAM_TE_ACCEPTED, NULL), 4);
  glue_run(p->g, 30 * ROAM_S);
  assert_int_equal(endpoint(p->server)->handshakes, 0); /* all timed out on both sides, each told once */
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 8);
  assert_int_equal(side_count(p->server, ROAM_TE_CLOSED, NULL), side_count(p->server, ROAM_TE_ACCEPTED, NULL));
  assert_int_equal(side_last(p->server, ROAM_TE_CLOSED)->rc, ROAM_E_TIMEOUT);
  p->g->out = NULL;
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, p->conn), 1);
  pair_free(p);
}

static void two_conns(roam_transport_options *o) { o->conns_max = 2; }

static void the_third_of_two_is_told_at_once(void **state) {
  (void)state;
  struct pair_how how = {.server = two_conns};
  struct pair *p = pair_new(&how);
  pair_connect(p);
  pair_connect(p);
  pair_dial(p, "localhost");
  glue_run(p->g, 200 * ROAM_MS);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->rc, ROAM_E_REFUSED);
  assert_int_equal(closed->code, NGTCP2_CONNECTION_REFUSED);
  pair_free(p);
}

static void three_lanes(roam_transport_options *o) { o->lanes_max = 3; }

static roam_rc write_lane(struct side *s, roam_conn *c, uint32_t lane, const char *text) {
  roam_slice slice = {(const uint8_t *)text, strlen(text), NULL};
  return roam_conn_write(c, s->now, lane, &slice, 1);
}

static void lanes_are_bounded_and_come_back(void **state) {
  (void)state;
  struct pair_how how = {.server = three_lanes};
  struct pair *p = pair_new(&how);
  uint32_t a, b, c;
  pair_connect(p);
  roam_conn *here = p->conn, *there = p->server->conn;
  assert_int_equal(roam_conn_lane_open(here, p->g->now, &a), 0);
  assert_int_equal(roam_conn_lane_open(here, p->g->now, &b), 0);
  assert_int_equal(a, 1);
  assert_int_equal(b, 2);
  assert_int_equal(roam_conn_lane_open(here, p->g->now, &c), ROAM_E_LIMIT);
  assert_int_equal(roam_conn_lane_open(there, p->g->now, &c), ROAM_E_LIMIT); /* a client grants none */
  assert_int_equal(write_lane(p->client, here, a, "first"), 0);
  assert_int_equal(write_lane(p->client, here, b, "second"), 0);
  roam_conn_lane_fin(here, p->g->now, a);
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->server, ROAM_TE_LANE_OPENED, NULL), 2);
  assert_int_equal(roam_conn_peek(there, a).len, 5);
  assert_int_equal(roam_conn_peek(there, b).len, 6);
  roam_conn_lane_fin(there, p->g->now, a); /* both halves are done, but it is not read yet */
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_lane_open(here, p->g->now, &c), ROAM_E_LIMIT);
  roam_conn_consume(there, p->g->now, a, 5);
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_lane_open(here, p->g->now, &c), 0);
  assert_int_equal(c, 3);
  roam_conn_lane_reset(here, p->g->now, b, 9);
  glue_run(p->g, ROAM_S);
  const roam_te *reset = side_last(p->server, ROAM_TE_LANE_RESET);
  assert_non_null(reset);
  assert_int_equal(reset->lane, b);
  assert_int_equal(reset->code, 9);
  assert_int_equal(side_count(p->server, ROAM_TE_CLOSED, NULL), 0); /* a lane's failure is its own */
  assert_int_equal(write_lane(p->client, here, 0, "control"), 0);
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, there, "control", 7);
  pair_free(p);
}

static void two_from_the_server(roam_transport_options *o) { o->server_lanes_max = 2; }

static void a_server_opens_lanes_as_the_client_grants(void **state) {
  (void)state;
  struct pair_how how = {.client = two_from_the_server};
  struct pair *p = pair_new(&how);
  uint32_t a, b, c;
  pair_connect(p);
  roam_conn *here = p->conn, *there = p->server->conn;
  assert_int_equal(roam_conn_lane_open(there, p->g->now, &a), 0);
  assert_int_equal(roam_conn_lane_open(there, p->g->now, &b), 0);
  assert_int_equal(a, ROAM_LANE_OF_SERVER);
  assert_int_equal(b, ROAM_LANE_OF_SERVER | 1);
  assert_int_equal(roam_conn_lane_open(there, p->g->now, &c), ROAM_E_LIMIT);
  assert_int_equal(write_lane(p->server, there, a, "hello"), 0);
  assert_int_equal(write_lane(p->server, there, b, "again"), 0);
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_LANE_OPENED, NULL), 2);
  assert_int_equal(roam_conn_peek(here, 0).len, 0); /* the control lane is another */
  assert_int_equal(roam_conn_peek(here, a).len, 5);
  assert_int_equal(write_lane(p->client, here, a, "answer"), 0);
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_peek(there, a).len, 6);
  roam_conn_consume(there, p->g->now, a, 6);
  roam_conn_consume(here, p->g->now, a, 5);
  roam_conn_lane_fin(there, p->g->now, a);
  roam_conn_lane_fin(here, p->g->now, a);
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_lane_open(there, p->g->now, &c), 0); /* one over, one more */
  assert_int_equal(c, ROAM_LANE_OF_SERVER | 2);
  roam_conn_lane_reset(here, p->g->now, b, 7);
  glue_run(p->g, ROAM_S);
  const roam_te *reset = side_last(p->server, ROAM_TE_LANE_RESET);
  assert_non_null(reset);
  assert_int_equal(reset->lane, b);
  assert_int_equal(reset->code, 7);
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  pair_free(p);
}

/* Thousands of lanes one after another: nothing is kept of those that are over. */
static void lanes_leave_nothing_behind(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  for (int i = 0; i < 300; i++) {
    uint32_t lane;
    assert_int_equal(roam_conn_lane_open(p->conn, p->g->now, &lane), 0);
    assert_int_equal(write_lane(p->client, p->conn, lane, "message"), 0);
    roam_conn_lane_fin(p->conn, p->g->now, lane);
    glue_run(p->g, 60 * ROAM_MS);
    assert_int_equal(roam_conn_peek(p->server->conn, lane).len, 7);
    roam_conn_consume(p->server->conn, p->g->now, lane, 7);
    if (i % 2) roam_conn_lane_fin(p->server->conn, p->g->now, lane);
    else roam_conn_lane_reset(p->server->conn, p->g->now, lane, 3);
    glue_run(p->g, 60 * ROAM_MS);
  }
  glue_run(p->g, ROAM_S);
  assert_true(inside(p->conn)->lanes_count <= 2);
  assert_true(inside(p->server->conn)->lanes_count <= 2);
  pair_free(p);
}

/* ---- the end -----------------------------------------------------------------------------------------------------------
 */

static bool lose_to_client(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  (void)g, (void)bytes, (void)len;
  return u->local.port != 14567;
}

/* The closing packet is lost, the server's conn is released: the client's next packet is answered all the same. */
static void last_words_are_said_again(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  p->g->out = lose_to_client;
  roam_conn_close(p->server->conn, p->g->now, 0x42, false);
  glue_run(p->g, 10 * ROAM_MS);
  roam_conn_release(p->server->conn);
  p->server->conn = NULL;
  p->g->out = NULL;
  glue_run(p->g, 60 * ROAM_MS);
  assert_true(pair_send(p->client, p->conn, "x", 1));
  glue_run(p->g, 200 * ROAM_MS);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->code, 0x42);
  glue_run(p->g, 10 * ROAM_S);
  assert_int_equal(endpoint(p->server)->closings_count, 0); /* not for ever */
  assert_int_equal(endpoint(p->server)->cids.count, 0);
  pair_free(p);
}

static void short_idle(roam_transport_options *o) {
  o->idle_timeout_ns = 5 * ROAM_S;
  o->ping_ns = 0;
}

static void long_silence_ends_it_and_pings_prevent_that(void **state) {
  (void)state;
  struct pair_how how = {.server = short_idle, .client = short_idle};
  struct pair *p = pair_new(&how);
  pair_connect(p);
  for (int i = 0; i < 5; i++) {
    glue_run(p->g, 4 * ROAM_S);
    roam_conn_ping(p->conn, p->g->now);
  }
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  glue_run(p->g, 10 * ROAM_S);
  assert_int_equal(side_last(p->client, ROAM_TE_CLOSED)->rc, ROAM_E_TIMEOUT);
  assert_int_equal(side_last(p->server, ROAM_TE_CLOSED)->rc, ROAM_E_TIMEOUT);
  pair_free(p);
}

static void regular_pings_keep_it_open(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  glue_run(p->g, 600 * ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  assert_true(p->g->datagrams < 400);
  pair_free(p);
}

/* ---- speed by design
 * ----------------------------------------------------------------------------------------------------- */

static void of_ordinary_size(roam_transport_options *o) { o->datagram_bytes_max = 1452; }

static void bulk_goes_out_in_trains_and_full_packets(void **state) {
  (void)state;
  struct pair *p = pair_new(&(struct pair_how){.client = of_ordinary_size});
  static uint8_t bytes[200000];
  pair_connect(p);
  uint64_t units = p->g->unit_units, datagrams = p->g->datagrams;
  for (int i = 0; i < 50; i++) {
    for (size_t at = 0; at < sizeof bytes; at += 100) pair_send(p->client, p->conn, bytes + at, 100);
    glue_run(p->g, 100 * ROAM_MS);
    roam_bytes got = roam_conn_peek(p->server->conn, 0);
    roam_conn_consume(p->server->conn, p->g->now, 0, got.len);
  }
  uint64_t sent = roam_conn_get_info(p->conn).bytes_out;
  assert_true(sent > 5000000);
  units = p->g->unit_units - units;
  datagrams = p->g->datagrams - datagrams;
  assert_true(sent / datagrams > 700); /* acknowledgements included */
  assert_true(datagrams > 2 * units);
  pair_free(p);
}

static void the_same_seed_gives_the_same_traffic(void **state) {
  (void)state;
  uint64_t first[3] = {0};
  for (int run = 0; run < 3; run++) {
    struct pair_how how = {.seed = run == 2 ? 77 : 5};
    struct pair *p = pair_new(&how);
    p->g->loss_ppm = 20000;
    pair_connect(p);
    for (int i = 0; i < 100; i++) {
      pair_send(p->client, p->conn, "0123456789", 10);
      glue_run(p->g, 7 * ROAM_MS);
    }
    uint64_t now[3] = {p->g->datagrams, p->g->bytes, p->g->turns};
    if (run == 0) memcpy(first, now, sizeof now);
    if (run == 1) assert_memory_equal(first, now, sizeof now);
    pair_free(p);
  }
}

static void all_parameters(roam_transport_options *o) {
  assert_int_equal(roam_addr_parse("10.0.0.9:15000", &o->preferred[0]), 0);
  assert_int_equal(roam_addr_parse("[2001:db8::9]:15000", &o->preferred[1]), 0);
  o->idle_timeout_ns = 3600 * ROAM_S;
  o->lane_rx_bytes = o->conn_rx_bytes = UINT64_C(1) << 40;
  o->datagrams_max = 16;
  o->retry = true; /* one more connection id among them */
}

static void stay(roam_transport_options *o) { o->follow_preferred = false; }

/* The library encodes them into 256 bytes: there is room for all that we ever say. */
static void all_transport_parameters_fit(void **state) {
  (void)state;
  struct pair *p = pair_new(&(struct pair_how){.server = all_parameters, .client = stay});
  pair_connect(p);
  const ngtcp2_transport_params *params = ngtcp2_conn_get_remote_transport_params(inside(p->conn)->nc);
  assert_true(params->preferred_addr_present && params->preferred_addr.ipv4_present && params->preferred_addr.ipv6_present);
  assert_true(params->retry_scid_present && params->stateless_reset_token_present && params->original_dcid_present);
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(retry_once_and_then_a_token_saves_it),
      cmocka_unit_test(a_foreign_token_is_no_token),
      cmocka_unit_test(a_lost_retry_is_asked_for_again),
      cmocka_unit_test(an_unknown_version_is_answered_with_ours),
      cmocka_unit_test(a_server_without_our_version),
      cmocka_unit_test(a_restarted_server_says_it_does_not_know_us),
      cmocka_unit_test(a_reset_is_shorter_than_what_it_answers),
      cmocka_unit_test(handshakes_are_bounded),
      cmocka_unit_test(the_third_of_two_is_told_at_once),
      cmocka_unit_test(lanes_are_bounded_and_come_back),
      cmocka_unit_test(a_server_opens_lanes_as_the_client_grants),
      cmocka_unit_test(lanes_leave_nothing_behind),
      cmocka_unit_test(last_words_are_said_again),
      cmocka_unit_test(long_silence_ends_it_and_pings_prevent_that),
      cmocka_unit_test(regular_pings_keep_it_open),
      cmocka_unit_test(bulk_goes_out_in_trains_and_full_packets),
      cmocka_unit_test(the_same_seed_gives_the_same_traffic),
      cmocka_unit_test(all_transport_parameters_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
