/* What a hostile or broken peer sends: each of these has ended a process or starved a server built without the checks. */
#include <gnutls/gnutls.h>

#include "transport/quic.h"
#include "unit/transport/pair.h"

static struct roam_quic_conn *inside(roam_conn *c) { return (struct roam_quic_conn *)c; }

/* The server's end of the client's connection: others may be accepted around it. */
static roam_conn *other_end(struct pair *p) {
  roam_addr local = roam_conn_get_info(p->conn).local;
  roam_conn *found = NULL;
  for (size_t i = 0; i < p->server->log_count; i++) {
    const roam_te *ev = &p->server->log[i];
    if (ev->kind == ROAM_TE_ACCEPTED && roam_addr_equal(&ev->remote, &local)) found = ev->conn;
  }
  assert_non_null(found);
  return found;
}

/* Another, honest client is served before and after. */
static void expect_still_serving(struct pair *p) {
  pair_dial(p, "localhost");
  glue_run(p->g, 3 * ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, p->conn), 1);
  assert_true(pair_send(p->client, p->conn, "honest", 6));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, other_end(p), "honest", 6);
}

/* Dials and stops when the ClientHello has not been made yet. */
static roam_conn *dial_and_hold(struct pair *p) {
  roam_wire out[4], bound;
  roam_conn *c = pair_dial(p, "localhost");
  assert_int_equal(roam_transport_drain(p->client->t, p->g->now, out, 4), 1);
  assert_int_equal(out[0].kind, ROAM_WIRE_BIND);
  glue_take(p->g, 1, &out[0]);
  bound =
      (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = out[0].handle, .local = glue_socket_of(p->g, 1, out[0].handle)->local};
  roam_transport_feed(p->client->t, p->g->now, &bound, 1);
  assert_non_null(inside(c)->tls.handle);
  return c;
}

/* ---- 1: a ClientHello without transport parameters
 * ----------------------------------------------------------------------- */

static size_t strip_extension(uint8_t *hello, size_t len, unsigned type) {
  size_t at = 4 + 2 + 32;
  at += 1 + hello[at];
  at += 2 + ((size_t)hello[at] << 8 | hello[at + 1]);
  at += 1 + hello[at];
  size_t list = at;
  at += 2;
  while (at + 4 <= len) {
    size_t ext = 4 + ((size_t)hello[at + 2] << 8 | hello[at + 3]);
    if (((unsigned)hello[at] << 8 | hello[at + 1]) == type) {
      memmove(hello + at, hello + at + ext, len - at - ext);
      len -= ext;
      size_t exts = ((size_t)hello[list] << 8 | hello[list + 1]) - ext;
      hello[list] = (uint8_t)(exts >> 8), hello[list + 1] = (uint8_t)exts;
      hello[2] = (uint8_t)((len - 4) >> 8), hello[3] = (uint8_t)(len - 4);
      return len;
    }
    at += ext;
  }
  fail_msg("no extension %u in the ClientHello", type);
  return len;
}

static unsigned stripped; /* extension */

static int submit_stripped(gnutls_session_t session, gnutls_record_encryption_level_t level,
                           gnutls_handshake_description_t type, const void *data, size_t len) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(session);
  uint8_t copy[4096];
  (void)level;
  if (type != GNUTLS_HANDSHAKE_CLIENT_HELLO || len > sizeof copy) return 0;
  memcpy(copy, data, len);
  len = strip_extension(copy, len, stripped);
  return ngtcp2_conn_submit_crypto_data(ref->get_conn(ref), NGTCP2_ENCRYPTION_LEVEL_INITIAL, copy, len);
}

static void a_hello_without_transport_parameters(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  roam_conn *c = dial_and_hold(p);
  stripped = 0x39;
  gnutls_handshake_set_read_function(inside(c)->tls.handle, submit_stripped);
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->server, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->rc, ROAM_E_PROTOCOL);
  assert_int_equal(closed->code, 0x100 + 109);
  assert_int_equal(side_last(p->client, ROAM_TE_CLOSED)->code, 0x100 + 109);
  expect_still_serving(p);
  pair_free(p);
}

/* ---- 2: TLS messages after the handshake
 * --------------------------------------------------------------------------------- */

static const uint8_t tls_key_update[] = {24, 0, 0, 1, 0};

static void submit(roam_conn *c, const void *bytes, size_t len) {
  assert_int_equal(ngtcp2_conn_submit_crypto_data(inside(c)->nc, NGTCP2_ENCRYPTION_LEVEL_1RTT, bytes, len), 0);
}

static void a_tls_key_update_to_a_server(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  submit(p->conn, tls_key_update, sizeof tls_key_update);
  roam_conn_ping(p->conn, p->g->now);
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->server, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->code, 0x100 + 10);
  assert_int_equal(side_last(p->client, ROAM_TE_CLOSED)->code, 0x100 + 10);
  expect_still_serving(p);
  pair_free(p);
}

static void a_tls_key_update_to_a_client(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  submit(p->server->conn, tls_key_update, sizeof tls_key_update);
  assert_true(pair_send(p->client, p->conn, "x", 1));
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_last(p->client, ROAM_TE_CLOSED)->code, 0x100 + 10);
  pair_free(p);
}

/* A ticket is what may come, whole or in pieces; hidden behind it a KeyUpdate is seen too. */
static void a_ticket_passes_and_what_hides_behind_it_does_not(void **state) {
  static const uint8_t ticket[] = {4, 0,  0, 25, 0, 0, 0x0e, 0x10, 1, 2, 3, 4, 2, 0, 1,
                                   0, 10, 9, 8,  7, 6, 5,    4,    3, 2, 1, 0, 0, 0};
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  for (size_t cut = 1; cut < sizeof ticket; cut += 9) {
    submit(p->server->conn, ticket, cut);
    assert_true(pair_send(p->client, p->conn, "x", 1));
    glue_run(p->g, 200 * ROAM_MS);
    submit(p->server->conn, ticket + cut, sizeof ticket - cut);
    assert_true(pair_send(p->client, p->conn, "x", 1));
    glue_run(p->g, 200 * ROAM_MS);
    assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  }
  uint8_t both[sizeof ticket + sizeof tls_key_update];
  memcpy(both, ticket, sizeof ticket);
  memcpy(both + sizeof ticket, tls_key_update, sizeof tls_key_update);
  submit(p->server->conn, both, sizeof both);
  assert_true(pair_send(p->client, p->conn, "x", 1));
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_last(p->client, ROAM_TE_CLOSED)->code, 0x100 + 10);
  pair_free(p);
}

/* ---- 3: no protocol name at all
 * -------------------------------------------------------------------------------------------- */

static void a_client_without_alpn(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  roam_conn *c = dial_and_hold(p);
  stripped = 16;
  gnutls_handshake_set_read_function(inside(c)->tls.handle, submit_stripped);
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), 0);
  assert_int_equal(side_last(p->server, ROAM_TE_CLOSED)->rc, ROAM_E_ALPN);
  assert_int_equal(side_last(p->client, ROAM_TE_CLOSED)->code, 0x178);
  expect_still_serving(p);
  pair_free(p);
}

/* ---- 4: nothing, and a hello out of order
 * ---------------------------------------------------------------------------------- */

static void empty_datagrams(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  roam_wire empty = {.kind = ROAM_WIRE_DATAGRAM, .handle = p->listener, .data = (const uint8_t *)"", .len = 0};
  assert_int_equal(roam_addr_parse("10.0.0.9:9", &empty.remote), 0);
  roam_transport_feed(p->server->t, p->g->now, &empty, 1);
  empty.segment = 1200;
  roam_transport_feed(p->server->t, p->g->now, &empty, 1);
  empty.handle = inside(p->conn)->paths[0].handle;
  roam_transport_feed(p->client->t, p->g->now, &empty, 1);
  expect_still_serving(p);
  pair_free(p);
}

static bool drop_first(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  int *left = g->context;
  (void)u, (void)bytes, (void)len;
  return --*left != 0;
}

static void a_hello_in_two_parts_the_second_first(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  roam_conn *c = dial_and_hold(p);
  /* A group with a key share of 1 kB makes the hello longer than a packet. */
  assert_int_equal(gnutls_priority_set_direct(inside(c)->tls.handle,
                                              "NORMAL:-VERS-ALL:+VERS-TLS1.3:%DISABLE_TLS13_COMPAT_MODE:-GROUP-ALL"
                                              ":+GROUP-FFDHE8192:+GROUP-X25519",
                                              NULL),
                   0);
  int left = 1;
  p->g->context = &left;
  p->g->out = drop_first;
  glue_run(p->g, 2 * ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, c), 1);
  assert_true(roam_conn_get_info(c).retried);
  pair_free(p);
}

/* ---- noise -------------------------------------------------------------------------------------------------------------
 */

static void random_datagrams_do_no_harm(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  struct roam_rng rng;
  pair_connect(p);
  roam_rng_init(&rng, 99);
  for (int i = 0; i < 20000; i++) {
    uint8_t bytes[1500];
    size_t len = 1 + (size_t)roam_random_below(&rng.random, sizeof bytes);
    roam_random_fill(&rng.random, bytes, len);
    if (i % 3 == 0) bytes[0] |= 0xc0;
    if (i % 3 == 0 && len > 6) memcpy(bytes + 1, "\0\0\0\1\x08", 5);
    roam_wire u = {.kind = ROAM_WIRE_DATAGRAM,
                   .handle = p->listener,
                   .data = bytes,
                   .len = len,
                   .segment = (uint16_t)(i % 7 == 0 ? len / 3 : 0)};
    roam_addr_parse("10.0.0.9:9", &u.remote);
    roam_transport_feed(p->server->t, p->g->now, &u, 1);
    u.handle = inside(p->conn)->paths[0].handle;
    u.remote = p->server_addr;
    roam_transport_feed(p->client->t, p->g->now, &u, 1);
    if (i % 100 == 0) glue_run(p->g, ROAM_MS);
  }
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  expect_still_serving(p);
  pair_free(p);
}

struct noise {
  struct roam_rng rng;
  bool on;
};

static bool mutate(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  struct noise *n = g->context;
  (void)u;
  if (!n->on || *len == 0 || roam_random_below(&n->rng.random, 3)) return true;
  switch (roam_random_below(&n->rng.random, 4)) {
    case 0: bytes[roam_random_below(&n->rng.random, *len)] ^= (uint8_t)(1u << roam_random_below(&n->rng.random, 8)); break;
    case 1: *len = (size_t)roam_random_below(&n->rng.random, *len) + 1; break;
    case 2:
      bytes[roam_random_below(&n->rng.random, *len < 40 ? *len : 40)] = (uint8_t)roam_random_u64(&n->rng.random);
      break;
    default: return false;
  }
  return true;
}

/* Real handshakes and real bytes with every third datagram broken: many runs, then an honest client. */
static void mutated_datagrams_harm_only_their_connection(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  struct noise noise = {.on = true};
  roam_rng_init(&noise.rng, 5);
  p->g->context = &noise;
  p->g->out = mutate;
  for (int i = 0; i < 60; i++) {
    pair_dial(p, "localhost");
    glue_run(p->g, ROAM_S);
    char bytes[3000];
    memset(bytes, i, sizeof bytes);
    pair_send(p->client, p->conn, bytes, sizeof bytes);
    glue_run(p->g, ROAM_S);
  }
  assert_true(side_count(p->client, ROAM_TE_OPENED, NULL) > 30); /* broken datagrams are lost ones */
  noise.on = false;
  expect_still_serving(p);
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hello_without_transport_parameters),
      cmocka_unit_test(a_tls_key_update_to_a_server),
      cmocka_unit_test(a_tls_key_update_to_a_client),
      cmocka_unit_test(a_ticket_passes_and_what_hides_behind_it_does_not),
      cmocka_unit_test(a_client_without_alpn),
      cmocka_unit_test(empty_datagrams),
      cmocka_unit_test(a_hello_in_two_parts_the_second_first),
      cmocka_unit_test(random_datagrams_do_no_harm),
      cmocka_unit_test(mutated_datagrams_harm_only_their_connection),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
