/* quic_resume_test.c - the second visit: tickets, early data taken once and by nobody's successor, a fresh start when the
 * ticket is no good, address tokens, the round-trip time, keys updated under way. */
#include "pair.h"

#include <gnutls/gnutls.h>
#include <roamqtt/tap.h>
#include <time.h>

static const uint8_t secret_of_tests[32] = "what a broker keeps in a file...";

struct kept {
  uint8_t session[2048], params[256], token[256];
  roam_resume r;
};

static void keep(roam_bytes *view, uint8_t *space, size_t cap, roam_bytes from) {
  if (from.len == 0) return;
  assert_true(from.len <= cap);
  memcpy(space, from.base, from.len);
  *view = (roam_bytes){space, from.len};
}

static void learn(struct pair *p, struct kept *k) {
  roam_resume r = roam_conn_learned(p->conn);
  keep(&k->r.session, k->session, sizeof k->session, r.session);
  keep(&k->r.params, k->params, sizeof k->params, r.params);
  keep(&k->r.token, k->token, sizeof k->token, r.token);
  k->r.lifetime_s = r.lifetime_s;
  k->r.early_data = true;
}

static void with_secret(roam_transport_options *o) { memcpy(o->secret, secret_of_tests, sizeof o->secret); }

static void hello_early(struct side *s, const roam_te *te) {
  if (te->kind == ROAM_TE_EARLY) assert_true(pair_send(s, te->conn, "hello", 5));
}

/* A first visit, so that there is a ticket. */
static struct pair *visit(struct kept *k, const struct pair_how *how) {
  struct pair *p = pair_new(how);
  pair_connect(p);
  glue_run(p->g, ROAM_S);
  assert_true(side_count(p->client, ROAM_TE_LEARNED, p->conn) >= 1);
  assert_false(roam_conn_get_info(p->conn).resumed);
  *k = (struct kept){0};
  learn(p, k);
  assert_true(k->r.session.len > 0 && k->r.params.len > 0 && k->r.token.len > 0);
  assert_int_equal(k->r.lifetime_s, 6 * 3600);
  return p;
}

static void welcome(struct side *s, const roam_te *te) {
  if (te->kind == ROAM_TE_READABLE) assert_true(pair_send(s, te->conn, "welcome", 7));
}

static roam_conn *dial_again(struct pair *p, const struct kept *k) {
  p->client->on_event = hello_early;
  roam_conn *conn = pair_dial(p, "localhost");
  assert_int_equal(roam_conn_resume(conn, &k->r), 0);
  return conn;
}

static void hang_up(struct pair *p) {
  roam_conn_close(p->conn, p->g->now, 0, false);
  roam_conn_release(p->conn);
  glue_run(p->g, 2 * ROAM_S);
}

static void restart_server(struct pair *p) {
  roam_transport_free(p->server->t);
  p->server->conn = NULL;
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (p->g->socket[i].used && p->g->socket[i].node == 0) p->g->socket[i].used = false;
  roam_rc rc;
  const char *why;
  p->server_options.now = p->g->now;
  p->server_options.tls.wall_unix_s = PAIR_WALL + (int64_t)(p->g->now / ROAM_S);
  p->server->t = roam_quic_new(&p->server_options, &rc, &why);
  assert_non_null(p->server->t);
  p->server->log_count = 0;
  pair_listen(p);
}

static void early_data_is_taken_and_answered_in_one_round_trip(void **state) {
  struct kept k;
  struct pair *p = visit(&k, NULL);
  (void)state;
  hang_up(p);
  p->server->on_event = welcome; /* at once, as a broker does */
  roam_conn *conn = dial_again(p, &k);
  roam_time began = p->g->now;
  glue_run_until(p->g, began + PAIR_DELAY, NULL, NULL);
  roam_conn *there = p->server->conn;
  pair_expect(p->server, there, "hello", 5); /* half a round trip */
  assert_true(side_count(p->server, ROAM_TE_OPENED, there) >= 1);
  p->server->on_event = NULL;
  glue_run_until(p->g, began + 2 * PAIR_DELAY, NULL, NULL);
  pair_expect(p->client, conn, "welcome", 7); /* a whole one */
  glue_run(p->g, ROAM_S);
  roam_conn_info info = roam_conn_get_info(conn), other = roam_conn_get_info(there);
  assert_true(info.resumed && info.early_data_accepted && !info.early_data_rejected);
  assert_true(other.resumed && other.early_data_accepted);
  assert_int_equal(side_count(p->client, ROAM_TE_EARLY, conn), 1);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 2);
  assert_true(pair_send(p->client, conn, "more", 4)); /* the lane goes on where it was */
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, there, "more", 4);
  pair_free(p);
}

/* ---- a first flight recorded and played again ---- */

struct recording {
  size_t count, from;
  size_t len[16];
  uint8_t bytes[16][1500];
  bool on;
  uint16_t port;
};

static bool record(struct glue *g, roam_wire *unit, uint8_t *bytes, size_t *len) {
  struct recording *r = g->context;
  if (!r->on || unit->local.port == 14567) return true;
  assert_true(r->count < 16 && *len <= 1500);
  memcpy(r->bytes[r->count], bytes, *len);
  r->len[r->count++] = *len;
  return true;
}

static void play(struct pair *p, const struct recording *r) {
  struct glue_socket *s = glue_socket_at(p->g, &p->server_addr);
  roam_addr stranger;
  assert_non_null(s);
  assert_int_equal(roam_addr_parse("10.0.0.66:666", &stranger), 0);
  for (size_t i = 0; i < r->count; i++) {
    roam_wire u = {.kind = ROAM_WIRE_DATAGRAM,
                   .handle = s->handle,
                   .local = p->server_addr,
                   .remote = stranger,
                   .data = r->bytes[i],
                   .len = r->len[i]};
    glue_put(p->g, p->g->now, 0, &u);
  }
  glue_run(p->g, 15 * ROAM_S);
}

static void a_recorded_first_flight_is_worth_nothing(void **state) {
  struct kept k;
  static struct recording r;
  struct pair *p = visit(&k, &(struct pair_how){.server = with_secret});
  (void)state;
  hang_up(p);
  r = (struct recording){.on = true};
  p->g->trains = false;
  p->g->context = &r;
  p->g->out = record;
  dial_again(p, &k);
  glue_settle(p->g);
  r.on = false;
  assert_true(r.count > 0);
  glue_run(p->g, ROAM_S);
  assert_true(roam_conn_get_info(p->conn).early_data_accepted);
  pair_expect(p->server, p->server->conn, "hello", 5);
  size_t readable = side_count(p->server, ROAM_TE_READABLE, NULL), opened = side_count(p->server, ROAM_TE_OPENED, NULL);
  size_t accepted = side_count(p->server, ROAM_TE_ACCEPTED, NULL);
  play(p, &r);
  assert_int_equal(side_count(p->server, ROAM_TE_ACCEPTED, NULL), accepted + 1); /* it is an attempt */
  assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), opened);         /* and no more */
  assert_int_equal(side_count(p->server, ROAM_TE_READABLE, NULL), readable);
  restart_server(p);
  play(p, &r);
  assert_int_equal(side_count(p->server, ROAM_TE_ACCEPTED, NULL), 1);
  assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), 0);
  assert_int_equal(side_count(p->server, ROAM_TE_READABLE, NULL), 0);
  p->g->out = NULL;
  pair_free(p);
}

static void a_restarted_server_takes_the_ticket_but_no_early_data(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.server = with_secret});
  (void)state;
  hang_up(p);
  restart_server(p);
  roam_conn *conn = dial_again(p, &k);
  roam_time began = p->g->now;
  glue_run_until(p->g, began + PAIR_DELAY, NULL, NULL);
  assert_non_null(p->server->conn);
  assert_int_equal(roam_conn_peek(p->server->conn, 0).len, 0);
  glue_run_until(p->g, began + 3 * PAIR_DELAY, NULL, NULL);
  pair_expect(p->server, p->server->conn, "hello", 5); /* sent again by itself: one and a half */
  glue_run(p->g, ROAM_S);
  roam_conn_info info = roam_conn_get_info(conn);
  assert_true(info.resumed && info.early_data_rejected && !info.early_data_accepted);
  assert_true(pair_send(p->client, conn, "more", 4));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "more", 4);
  pair_free(p);
}

static void another_secret_means_a_full_handshake(void **state) {
  struct kept k;
  struct pair *p = visit(&k, NULL);
  (void)state;
  hang_up(p);
  restart_server(p);
  roam_conn *conn = dial_again(p, &k);
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "hello", 5);
  roam_conn_info info = roam_conn_get_info(conn);
  assert_true(!info.resumed && info.early_data_rejected);
  pair_free(p);
}

static void no_early_data(roam_transport_options *o) { o->early_data = false; }

static void a_server_may_refuse_early_data_altogether(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.server = no_early_data});
  (void)state;
  hang_up(p);
  roam_conn *conn = dial_again(p, &k);
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "hello", 5);
  assert_true(roam_conn_get_info(conn).resumed);
  assert_true(roam_conn_get_info(conn).early_data_rejected);
  pair_free(p);
}

static void two_keys(roam_transport_options *o) { o->replay_keys_max = 2; }

static void a_full_table_refuses_and_forgets_nothing(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.server = two_keys});
  (void)state;
  for (int i = 0; i < 4; i++) {
    hang_up(p);
    roam_conn *conn = dial_again(p, &k);
    glue_run(p->g, ROAM_S);
    assert_int_equal(roam_conn_get_info(conn).early_data_accepted, i < 2);
    pair_expect(p->server, p->server->conn, "hello", 5);
  }
  pair_free(p);
}

static void second_of_two(roam_transport_options *o) {
  o->workers = 2;
  o->worker = 1;
}

/* The record of first flights is divided: there is no time to ask the other worker, so what is his is sent again. */
static void a_worker_refuses_what_another_remembers(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.server = second_of_two});
  unsigned taken = 0, tries = 24;
  (void)state;
  for (unsigned i = 0; i < tries; i++) {
    hang_up(p);
    roam_conn *conn = dial_again(p, &k);
    glue_run(p->g, ROAM_S);
    taken += roam_conn_get_info(conn).early_data_accepted;
    pair_expect(p->server, p->server->conn, "hello", 5);
  }
  roam_quic_totals totals = roam_quic_get_totals(p->server->t);
  assert_int_equal(taken + totals.early_elsewhere, tries);
  assert_true(taken > 0 && taken < tries); /* by chance not: once in 8 million runs */
  pair_free(p);
}

static void a_damaged_ticket_is_not_used(void **state) {
  struct kept k;
  struct pair *p = visit(&k, NULL);
  (void)state;
  hang_up(p);
  size_t opened = 1, len = k.r.session.len;
  for (size_t at = 0; at < len; at += len / 40, opened++) {
    k.session[at] ^= 0x55;
    roam_conn *conn = dial_again(p, &k);
    glue_run(p->g, 2 * ROAM_S);
    if (side_count(p->client, ROAM_TE_OPENED, NULL) != opened + 1)
      fail_msg("byte %zu: %s", at, side_last(p->client, ROAM_TE_CLOSED)->text);
    assert_false(roam_conn_get_info(conn).resumed); /* GnuTLS would believe it, and may crash */
    k.session[at] ^= 0x55;
    hang_up(p);
  }
  k.r.session.len = 3; /* not even the form of one */
  dial_again(p, &k);
  glue_run(p->g, ROAM_S);
  assert_true(side_count(p->client, ROAM_TE_OPENED, NULL) == opened + 1);
  pair_free(p);
}

/* GnuTLS ages tickets by a clock of its own, which only its tests can set. */
void _gnutls_global_set_gettime_function(void (*function)(struct timespec *t));

static void now_of_the_system(struct timespec *t) { clock_gettime(CLOCK_REALTIME, t); }

static void seven_hours_on(struct timespec *t) {
  now_of_the_system(t);
  t->tv_sec += 7 * 3600;
}

/* GnuTLS fails its own handshake over such a ticket; the owner, who should have dropped it, sees a connection. */
static unsigned fresh_starts;
static void count_fresh_starts(void *context, roam_time at, roam_level level, const char *line) {
  (void)context, (void)at, (void)level;
  if (strstr(line, "again without it")) fresh_starts++;
}
static void logging(roam_transport_options *o) { o->log = (roam_log){count_fresh_starts, NULL, ROAM_LOG_NOTICE}; }

static void an_expired_ticket_costs_a_fresh_start(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.client = logging});
  (void)state;
  hang_up(p);
  _gnutls_global_set_gettime_function(seven_hours_on);
  roam_conn *conn = dial_again(p, &k);
  glue_run(p->g, ROAM_S);
  _gnutls_global_set_gettime_function(now_of_the_system);
  assert_int_equal(fresh_starts, 1);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 2);
  pair_expect(p->server, p->server->conn, "hello", 5);
  roam_conn_info info = roam_conn_get_info(conn);
  assert_true(!info.resumed && info.early_data_rejected && !info.early_data_accepted);
  assert_int_equal(side_count(p->client, ROAM_TE_EARLY, conn), 1);
  pair_free(p);
}

static time_t hours_on;

static void some_hours_on(struct timespec *t) {
  now_of_the_system(t);
  t->tv_sec += hours_on * 3600;
}

/* GnuTLS forgets by default after 10 s, and then refuses everybody whose ticket is older than the window that began last:
 * with many clients most early data is refused. */
static void many_clients_early_data_is_taken_for_hours(void **state) {
  struct kept k[3];
  struct pair *p = visit(&k[0], &(struct pair_how){.server = with_secret});
  (void)state;
  hang_up(p);
  for (int i = 1; i < 3; i++) {
    pair_connect(p);
    glue_run(p->g, ROAM_S);
    k[i] = (struct kept){0};
    learn(p, &k[i]);
    hang_up(p);
  }
  for (int i = 0; i < 3; i++) {
    hours_on = 1 + 2 * i;
    _gnutls_global_set_gettime_function(some_hours_on);
    roam_conn *conn = dial_again(p, &k[i]);
    glue_run(p->g, ROAM_S);
    roam_conn_info info = roam_conn_get_info(conn);
    _gnutls_global_set_gettime_function(now_of_the_system);
    assert_true(info.resumed && info.early_data_accepted && !info.early_data_rejected);
    hang_up(p);
  }
  pair_free(p);
}

static void always_retry(roam_transport_options *o) {
  o->retry = true;
  with_secret(o);
}

static void an_address_token_saves_the_retry(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.server = always_retry});
  (void)state;
  assert_true(roam_conn_get_info(p->conn).retried);
  hang_up(p);
  restart_server(p); /* also across a restart */
  k.r.session.len = 0;
  roam_transport_free(p->client->t); /* the new client process knows only what was given */
  roam_rc rc;
  const char *why;
  p->client_options.now = p->g->now;
  p->client->t = roam_quic_new(&p->client_options, &rc, &why);
  assert_non_null(p->client->t);
  roam_conn *conn = dial_again(p, &k);
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, conn) > 0, 1);
  assert_false(roam_conn_get_info(conn).retried);
  pair_free(p);
}

static void early_data_survives_a_retry(void **state) {
  struct kept k;
  struct pair *p = visit(&k, &(struct pair_how){.server = always_retry});
  (void)state;
  hang_up(p);
  k.r.token.len = 0;
  roam_transport_free(p->client->t);
  roam_rc rc;
  const char *why;
  p->client_options.now = p->g->now;
  p->client->t = roam_quic_new(&p->client_options, &rc, &why);
  assert_non_null(p->client->t);
  roam_conn *conn = dial_again(p, &k);
  roam_time began = p->g->now;
  glue_run_until(p->g, began + 3 * PAIR_DELAY, NULL, NULL);
  pair_expect(p->server, p->server->conn, "hello", 5); /* one round trip more */
  glue_run(p->g, ROAM_S);
  assert_true(roam_conn_get_info(conn).retried && roam_conn_get_info(conn).early_data_accepted);
  pair_free(p);
}

static void a_known_round_trip_time_sets_the_first_timer(void **state) {
  (void)state;
  for (int known = 0; known < 2; known++) {
    struct pair *p = pair_new(NULL);
    roam_conn *conn = pair_dial(p, "localhost");
    roam_resume r = {.rtt_ns = known ? 150 * ROAM_MS : 0};
    p->g->out = NULL;
    p->g->loss_ppm = 1000000;
    assert_int_equal(roam_conn_resume(conn, &r), 0);
    glue_settle(p->g);
    uint64_t before = roam_conn_get_info(conn).udp_out;
    glue_run(p->g, 400 * ROAM_MS); /* three times 100 ms against three times 300 ms */
    uint64_t more = roam_conn_get_info(conn).udp_out - before;
    if (known) assert_int_equal(more, 0);
    else assert_true(more > 0);
    pair_free(p);
  }
}

static void fingerprints_tell_what_counts(void **state) {
  uint8_t a[32], b[32];
  roam_tls_config tls = {.ca = pair_text("one")};
  (void)state;
  assert_int_equal(roam_tls_fingerprint(&tls, "mqtt", "host", a), 0);
  assert_int_equal(roam_tls_fingerprint(&tls, "mqtt", "host", b), 0);
  assert_memory_equal(a, b, 32);
  tls.insecure = true;
  assert_int_equal(roam_tls_fingerprint(&tls, "mqtt", "host", b), 0);
  assert_memory_not_equal(a, b, 32);
  tls = (roam_tls_config){.certificate = pair_text("one")};
  assert_int_equal(roam_tls_fingerprint(&tls, "mqtt", "host", b), 0);
  assert_memory_not_equal(a, b, 32);
  tls = (roam_tls_config){.ca = pair_text("one")};
  assert_int_equal(roam_tls_fingerprint(&tls, "mqtt", "other", b), 0);
  assert_memory_not_equal(a, b, 32);
  assert_int_equal(roam_tls_fingerprint(&tls, "mqtt-next", "host", b), 0);
  assert_memory_not_equal(a, b, 32);
}

/* ---- what an address that has not proved itself can cause ---- */

static uint64_t bytes_in, bytes_out;
static bool only_the_first(struct glue *g, roam_wire *unit, uint8_t *bytes, size_t *len) {
  (void)g, (void)bytes;
  if (unit->local.port == 14567) {
    bytes_out += *len;
    return false;
  }
  if (bytes_in > 0) return false;
  bytes_in += *len;
  return true;
}

static void nobody_is_made_to_amplify(void **state) {
  (void)state;
  for (int early = 0; early < 2; early++) {
    struct kept k;
    struct pair *p = visit(&k, NULL);
    hang_up(p);
    p->g->trains = false;
    p->g->out = only_the_first;
    bytes_in = bytes_out = 0;
    k.r.token.len = 0;
    if (!early) k.r.session.len = 0;
    roam_transport_free(p->client->t); /* with its tokens */
    roam_rc rc;
    const char *why;
    p->client_options.now = p->g->now;
    p->client->t = roam_quic_new(&p->client_options, &rc, &why);
    assert_non_null(p->client->t);
    p->server->on_event = early ? welcome : NULL;
    dial_again(p, &k);
    glue_run(p->g, 15 * ROAM_S); /* the server repeats itself until it gives up */
    assert_true(bytes_in >= 1200 && bytes_out > 0);
    assert_true(bytes_out <= 3 * bytes_in);
    p->g->out = NULL;
    pair_free(p);
  }
}

/* ---- keys ---- */

static void small_keys(roam_transport_options *o) { o->key_update_bytes = 20000; }
static void key_log(void *context, const char *line) {
  unsigned *seen = context;
  static const char *const labels[] = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_HANDSHAKE_TRAFFIC_SECRET ",
                                       "CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
  for (unsigned i = 0; i < 4; i++)
    if (strncmp(line, labels[i], strlen(labels[i])) == 0) *seen |= 1u << i;
  assert_null(strchr(line, '\n'));
}
static unsigned secrets_seen;
static void tapped(roam_transport_options *o) {
  o->tap.keylog = key_log;
  o->tap.context = &secrets_seen;
}

static void keys_are_updated_under_way(void **state) {
  static uint8_t block[8000];
  (void)state;
  struct pair *p = pair_new(&(struct pair_how){.client = small_keys});
  pair_connect(p);
  for (int i = 0; i < 30; i++) {
    memset(block, i, sizeof block);
    assert_true(pair_send(p->client, p->conn, block, sizeof block));
    glue_run(p->g, 200 * ROAM_MS);
    pair_expect(p->server, p->server->conn, block, sizeof block);
    assert_true(pair_send(p->server, p->server->conn, block, 100));
    glue_run(p->g, 200 * ROAM_MS);
    pair_expect(p->client, p->conn, block, 100);
  }
  assert_true(roam_conn_get_info(p->conn).key_updates >= 8);
  assert_true(roam_conn_get_info(p->server->conn).key_updates >= 8);
  pair_free(p);
}

static void the_key_log_has_every_secret(void **state) {
  (void)state;
  secrets_seen = 0;
  struct pair *p = pair_new(&(struct pair_how){.client = tapped});
  pair_connect(p);
  assert_int_equal(secrets_seen, 15);
  pair_free(p);
}

static void every_congestion_control_carries_data(void **state) {
  static uint8_t block[60000];
  (void)state;
  for (int cc = ROAM_CONGESTION_CUBIC; cc <= ROAM_CONGESTION_BBR; cc++) {
    roam_congestion parsed;
    assert_int_equal(roam_congestion_parse(roam_congestion_name(cc), &parsed), 0);
    assert_int_equal(parsed, cc);
    struct pair *p = pair_new(NULL);
    roam_rc rc;
    const char *why;
    roam_transport_free(p->client->t);
    p->client_options.congestion = parsed;
    p->client->t = roam_quic_new(&p->client_options, &rc, &why);
    assert_non_null(p->client->t);
    pair_connect(p);
    memset(block, cc + 1, sizeof block);
    assert_true(pair_send(p->client, p->conn, block, sizeof block));
    glue_run(p->g, 3 * ROAM_S);
    pair_expect(p->server, p->server->conn, block, sizeof block);
    roam_conn_info info = roam_conn_get_info(p->conn);
    assert_int_equal(info.stream_bytes_out, sizeof block);
    assert_true(info.handshake_bytes_out >= 1200 && info.handshake_bytes_out < info.bytes_out);
    assert_true(info.udp_out >= sizeof block / 8952);
    pair_free(p);
  }
  assert_int_equal(roam_congestion_parse("vegas", &(roam_congestion){0}), ROAM_E_OPTION);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(early_data_is_taken_and_answered_in_one_round_trip),
      cmocka_unit_test(a_recorded_first_flight_is_worth_nothing),
      cmocka_unit_test(a_restarted_server_takes_the_ticket_but_no_early_data),
      cmocka_unit_test(another_secret_means_a_full_handshake),
      cmocka_unit_test(a_server_may_refuse_early_data_altogether),
      cmocka_unit_test(a_full_table_refuses_and_forgets_nothing),
      cmocka_unit_test(a_worker_refuses_what_another_remembers),
      cmocka_unit_test(a_damaged_ticket_is_not_used),
      cmocka_unit_test(an_expired_ticket_costs_a_fresh_start),
      cmocka_unit_test(many_clients_early_data_is_taken_for_hours),
      cmocka_unit_test(an_address_token_saves_the_retry),
      cmocka_unit_test(early_data_survives_a_retry),
      cmocka_unit_test(a_known_round_trip_time_sets_the_first_timer),
      cmocka_unit_test(fingerprints_tell_what_counts),
      cmocka_unit_test(nobody_is_made_to_amplify),
      cmocka_unit_test(keys_are_updated_under_way),
      cmocka_unit_test(the_key_log_has_every_secret),
      cmocka_unit_test(every_congestion_control_carries_data),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
