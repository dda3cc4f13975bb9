/* pair.h - a client and a server endpoint glued in memory, with certificates, for the tests of the QUIC transport. */
#ifndef PAIR_H
#define PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conformance/glue.h"
#include "conformance/side.h"

#define PAIR_WALL INT64_C(1750000000)
#define PAIR_DELAY (25 * ROAM_MS)

struct pair_how { /* what differs from the usual; zero = usual */
  void (*server)(roam_transport_options *o);
  void (*client)(roam_transport_options *o);
  const char *names; /* of the server's certificate */
  uint64_t seed;
  roam_transport_kind kind; /* 0: QUIC */
};

struct pair {
  struct glue *g;
  struct side *client, *server;
  struct roam_rng client_rng, server_rng;
  roam_identity id;
  roam_transport_options client_options, server_options;
  roam_addr server_addr;
  roam_conn *conn;
  uint32_t listener;
};

static inline roam_bytes pair_text(const char *text) {
  return (roam_bytes){(const uint8_t *)text, text ? strlen(text) : 0};
}

static inline struct side *pair_side(roam_transport_kind kind, const roam_transport_options *o, roam_random *random) {
  struct side *s = calloc(1, sizeof *s);
  roam_rc rc;
  const char *why;
  s->random = random;
  s->t = roam_transport_new(kind ? kind : ROAM_TRANSPORT_QUIC, o, &rc, &why);
  if (!s->t) fail_msg("roam_transport_new: %s %s", roam_strerror(rc), why ? why : "");
  return s;
}

static inline void pair_listen(struct pair *p) {
  assert_int_equal(roam_addr_parse("10.0.0.1:14567", &p->server_addr), 0);
  assert_int_equal(roam_transport_listen(p->server->t, p->g->now, &p->server_addr, &p->listener), 0);
  glue_settle(p->g);
  assert_int_equal(side_count(p->server, ROAM_TE_LISTENING, NULL), 1);
}

static inline struct pair *pair_new(const struct pair_how *how) {
  static const struct pair_how usual;
  struct pair *p = calloc(1, sizeof *p);
  if (!how) how = &usual;
  uint64_t seed = how->seed ? how->seed : 1;
  p->g = glue_new(seed, PAIR_DELAY);
  roam_rng_init(&p->client_rng, seed * 3 + 1);
  roam_rng_init(&p->server_rng, seed * 3 + 2);
  assert_int_equal(roam_identity_make(&p->id, "test", how->names ? how->names : "localhost,10.0.0.1", PAIR_WALL, 30, false),
                   0);
  roam_transport_options_init(&p->client_options);
  roam_transport_options_init(&p->server_options);
  p->client_options.random = &p->client_rng.random;
  p->client_options.tls.ca = pair_text(p->id.ca_certificate);
  p->client_options.tls.wall_unix_s = PAIR_WALL;
  p->server_options.random = &p->server_rng.random;
  p->server_options.tls.certificate = pair_text(p->id.certificate);
  p->server_options.tls.key = pair_text(p->id.key);
  p->server_options.tls.wall_unix_s = PAIR_WALL;
  p->server_options.ping_ns = 0;
  if (how->client) how->client(&p->client_options);
  if (how->server) how->server(&p->server_options);
  p->client = pair_side(how->kind, &p->client_options, p->client_options.random);
  p->server = pair_side(how->kind, &p->server_options, p->server_options.random);
  glue_add(p->g, side_machine(p->server), "10.0.0.1");
  glue_add(p->g, side_machine(p->client), "10.0.0.2");
  pair_listen(p);
  return p;
}

static inline void pair_free(struct pair *p) {
  roam_transport_free(p->client->t);
  roam_transport_free(p->server->t);
  free(p->client);
  free(p->server);
  roam_identity_clear(&p->id);
  glue_free(p->g);
  free(p);
}

static inline roam_conn *pair_dial(struct pair *p, const char *name) {
  roam_conn *conn = NULL;
  assert_int_equal(roam_transport_dial(p->client->t, p->g->now, &p->server_addr, NULL, NULL, name, NULL, &conn), 0);
  p->conn = conn;
  return conn;
}

/* Dials, and both sides are open. */
static inline void pair_connect(struct pair *p) {
  size_t before = side_count(p->server, ROAM_TE_OPENED, NULL), ours = side_count(p->client, ROAM_TE_OPENED, NULL);
  pair_dial(p, "localhost"); /* may stand where one that is gone stood: an event's pointer does not tell them apart */
  glue_run(p->g, ROAM_S);
  if (side_count(p->client, ROAM_TE_OPENED, NULL) != ours + 1) {
    const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
    fail_msg("not opened: %s", closed ? closed->text : "-");
  }
  assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), before + 1);
}

static inline bool pair_send(struct side *s, roam_conn *conn, const void *bytes, size_t len) {
  roam_slice slice = {bytes, len, NULL};
  (void)s;
  return roam_conn_write(conn, s->now, 0, &slice, 1) == 0;
}

static inline void pair_expect(struct side *s, roam_conn *conn, const void *bytes, size_t len) {
  assert_non_null(conn);
  roam_bytes got = roam_conn_peek(conn, 0);
  assert_int_equal(got.len, len);
  assert_memory_equal(got.base, bytes, len);
  roam_conn_consume(conn, s->now, 0, len);
}

#endif
