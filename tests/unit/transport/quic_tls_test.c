/* Certificates and protocol names: who is let in, and what the others are told. */
#include "unit/transport/pair.h"

#define DAY INT64_C(86400)

struct outcome {
  const char *name;
  const char *names;        /* of the server's certificate */
  int64_t ca_age, leaf_age; /* days before today that they were made; valid for 30 */
  const char *dial;         /* NULL: by address */
  bool other_ca, no_ca, insecure, no_wall;
  roam_rc rc;
  const char *text;
};

static const struct outcome outcomes[] = {
    {"right name", "localhost", 0, 0, "localhost", false, false, false, false, 0, NULL},
    {"right address", "10.0.0.1", 0, 0, NULL, false, false, false, false, 0, NULL},
    {"one of many names", "a.example,b.example,localhost", 0, 0, "localhost", false, false, false, false, 0, NULL},
    {"wrong name", "broker.example", 0, 0, "localhost", false, false, false, false, ROAM_E_CERTIFICATE,
     "certificate of broker.example is not for localhost"},
    {"wrong address", "10.0.0.9", 0, 0, NULL, false, false, false, false, ROAM_E_CERTIFICATE,
     "certificate of 10.0.0.9 is not for 10.0.0.1"},
    {"unknown authority", "localhost", 0, 0, "localhost", true, false, false, false, ROAM_E_CERTIFICATE,
     "certificate signed by an unknown authority"},
    {"the system's authorities only", "localhost", 0, 0, "localhost", false, true, false, false, ROAM_E_CERTIFICATE,
     "certificate signed by an unknown authority"},
    {"expired", "localhost", 0, 60, "localhost", false, false, false, false, ROAM_E_CERTIFICATE, "certificate expired"},
    {"not yet valid", "localhost", 0, -60, "localhost", false, false, false, false, ROAM_E_CERTIFICATE,
     "certificate not yet valid"},
    {"expired authority", "localhost", 60, 0, "localhost", false, false, false, false, ROAM_E_CERTIFICATE,
     "certificate of the authority expired"},
    {"authority not yet valid", "localhost", -60, 0, "localhost", false, false, false, false, ROAM_E_CERTIFICATE,
     "certificate of the authority not yet valid"},
    {"time unknown", "localhost", 0, 0, "localhost", false, false, false, true, ROAM_E_CERTIFICATE,
     "time of day is unknown"},
    {"insecure, said by name", "broker.example", 60, 60, "localhost", true, false, true, true, 0, NULL},
};

static roam_identity issue(const struct outcome *o, roam_identity *ca) {
  roam_identity leaf;
  assert_int_equal(roam_identity_make(ca, "authority", "unused", PAIR_WALL - o->ca_age * DAY, 30, false), 0);
  assert_int_equal(roam_identity_issue(&leaf, pair_text(ca->ca_certificate), pair_text(ca->ca_key), "leaf", o->names,
                                       PAIR_WALL - o->leaf_age * DAY, 30, false),
                   0);
  return leaf;
}

static const struct outcome *current;
static roam_identity current_ca, current_leaf;

static void set_server(roam_transport_options *o) {
  o->tls.certificate = pair_text(current_leaf.certificate);
  o->tls.key = pair_text(current_leaf.key);
}

static void set_client(roam_transport_options *o) {
  if (!current->other_ca) o->tls.ca = pair_text(current_ca.ca_certificate);
  if (current->no_ca) o->tls.ca = (roam_bytes){0};
  o->tls.insecure = current->insecure;
  if (current->no_wall) o->tls.wall_unix_s = 0;
}

static void check_outcome(const struct outcome *o) {
  current = o;
  current_leaf = issue(o, &current_ca);
  struct pair_how how = {.server = set_server, .client = set_client};
  struct pair *p = pair_new(&how);
  pair_dial(p, o->dial);
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  if (o->rc == 0) {
    if (closed) fail_msg("%s: %s", o->name, closed->text);
    assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 1);
  } else {
    if (!closed) fail_msg("%s: let in", o->name);
    if (closed->rc != o->rc || !strstr(closed->text, o->text)) fail_msg("%s: %d %s", o->name, closed->rc, closed->text);
    assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 0);
    const roam_te *theirs = side_last(p->server, ROAM_TE_CLOSED);
    assert_non_null(theirs);
    assert_int_equal(theirs->rc, ROAM_E_CERTIFICATE);
    assert_true(theirs->by_peer);
  }
  pair_free(p);
  roam_identity_clear(&current_ca);
  roam_identity_clear(&current_leaf);
}

static void servers_certificates(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) check_outcome(&outcomes[i]);
}

/* A certificate that is good when the endpoint is made and no longer when it dials, days of its own time later. */
static void validity_follows_the_endpoints_own_time(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  roam_conn_close(p->conn, p->g->now, 0, false); /* a month of its pings would say nothing */
  roam_conn_release(p->conn);
  glue_run(p->g, 31 * 86400 * ROAM_S);
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  assert_string_equal(side_last(p->client, ROAM_TE_CLOSED)->text, "certificate expired");
  pair_free(p);
}

/* ---- the client's certificate ---------------------------------------------------------------------------------------- */

static roam_identity clients, others;

static void require_client(roam_transport_options *o) {
  o->tls.require_client_certificate = true;
  o->tls.ca = pair_text(clients.ca_certificate);
}

static void show_right(roam_transport_options *o) {
  o->tls.certificate = pair_text(clients.certificate);
  o->tls.key = pair_text(clients.key);
}

static void show_other(roam_transport_options *o) {
  o->tls.certificate = pair_text(others.certificate);
  o->tls.key = pair_text(others.key);
}

static void check_client(void (*show)(roam_transport_options *), roam_rc server_rc, const char *server_text,
                         const char *client_text) {
  struct pair_how how = {.server = require_client, .client = show};
  struct pair *p = pair_new(&how);
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  const roam_te *server = side_last(p->server, ROAM_TE_CLOSED), *client = side_last(p->client, ROAM_TE_CLOSED);
  if (server_rc == 0) {
    assert_null(server);
    assert_null(client);
    assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), 1);
  } else {
    assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), 0);
    assert_non_null(server);
    assert_int_equal(server->rc, server_rc);
    if (!strstr(server->text, server_text)) fail_msg("server: %s", server->text);
    assert_non_null(client);
    assert_int_equal(client->rc, ROAM_E_CERTIFICATE);
    assert_true(client->by_peer);
    if (!strstr(client->text, client_text)) fail_msg("client: %s", client->text);
  }
  pair_free(p);
}

static void clients_certificates(void **state) {
  (void)state;
  assert_int_equal(roam_identity_make(&clients, "device", "device-1", PAIR_WALL, 30, true), 0);
  assert_int_equal(roam_identity_make(&others, "device", "device-1", PAIR_WALL, 30, true), 0);
  check_client(show_right, 0, NULL, NULL);
  check_client(NULL, ROAM_E_CERTIFICATE, "the client has no certificate", "demands a client certificate");
  check_client(show_other, ROAM_E_CERTIFICATE, "unknown authority", "did not accept our certificate");
  roam_identity_clear(&others);
  roam_identity_clear(&clients);
  /* one for servers is none for clients */
  assert_int_equal(roam_identity_make(&clients, "server", "device-1", PAIR_WALL, 30, false), 0);
  check_client(show_right, ROAM_E_CERTIFICATE, "not one for clients", "did not accept our certificate");
  roam_identity_clear(&clients);
}

/* ---- protocol names -------------------------------------------------------------------------------------------------- */

static void speak_other(roam_transport_options *o) { o->alpn = "other"; }

static void check_alpn(const struct pair_how *how) {
  struct pair *p = pair_new(how);
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  const roam_te *client = side_last(p->client, ROAM_TE_CLOSED), *server = side_last(p->server, ROAM_TE_CLOSED);
  assert_non_null(client);
  assert_int_equal(client->rc, ROAM_E_ALPN);
  assert_int_equal(client->code, 0x178);
  assert_non_null(strstr(client->text, "the server speaks QUIC but not MQTT"));
  assert_non_null(server);
  assert_int_equal(server->rc, ROAM_E_ALPN);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL) + side_count(p->server, ROAM_TE_OPENED, NULL), 0);
  pair_free(p);
}

static void another_protocol_is_told_apart(void **state) {
  (void)state;
  check_alpn(&(struct pair_how){.server = speak_other});
  check_alpn(&(struct pair_how){.client = speak_other});
}

/* ---- options --------------------------------------------------------------------------------------------------------- */

static void unusable_pem_is_named(void **state) {
  (void)state;
  roam_identity a, b;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  assert_int_equal(roam_identity_make(&a, "a", "localhost", PAIR_WALL, 30, false), 0);
  assert_int_equal(roam_identity_make(&b, "b", "localhost", PAIR_WALL, 30, false), 0);
  const struct {
    const char *ca, *certificate, *key, *why;
    bool require;
  } cases[] = {
      {NULL, "nonsense", a.key, "certificate is not a PEM certificate", false},
      {NULL, a.certificate, "nonsense", "key is not a PEM private key", false},
      {NULL, a.certificate, b.key, "key does not belong to the certificate", false},
      {NULL, a.certificate, NULL, "without its key", false},
      {NULL, NULL, a.key, "without its certificate", false},
      {"nonsense", NULL, NULL, "the CA holds no PEM certificate", false},
      {NULL, a.certificate, a.key, "no CA to check them against", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_transport_options o;
    roam_rc rc = 0;
    const char *why = NULL;
    roam_transport_options_init(&o);
    o.random = &rng.random;
    o.tls.ca = pair_text(cases[i].ca);
    o.tls.certificate = pair_text(cases[i].certificate);
    o.tls.key = pair_text(cases[i].key);
    o.tls.require_client_certificate = cases[i].require;
    if (roam_quic_new(&o, &rc, &why)) fail_msg("case %zu", i);
    assert_int_equal(rc, ROAM_E_CERTIFICATE);
    if (!why || !strstr(why, cases[i].why)) fail_msg("case %zu: %s", i, why ? why : "-");
  }
  roam_identity_clear(&a);
  roam_identity_clear(&b);
}

static void unusable_options_are_named(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  for (int i = 0; i < 8; i++) {
    roam_transport_options o;
    roam_rc rc = 0;
    const char *why = NULL;
    roam_transport_options_init(&o);
    o.random = i == 0 ? NULL : &rng.random;
    if (i == 1) o.alpn = "";
    if (i == 2) o.lanes_max = 0;
    if (i == 3) o.datagram_bytes_max = 1100;
    if (i == 4) o.datagram_bytes_max = 65488;
    if (i == 5) o.conn_rx_bytes = 1;
    if (i == 6) o.handle_first = 0;
    if (i == 7) o.alpn = "a protocol name that is too long to be one";
    assert_null(roam_quic_new(&o, &rc, &why));
    assert_int_equal(rc, ROAM_E_OPTION);
    assert_non_null(why);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(servers_certificates),  cmocka_unit_test(validity_follows_the_endpoints_own_time),
      cmocka_unit_test(clients_certificates),  cmocka_unit_test(another_protocol_is_told_apart),
      cmocka_unit_test(unusable_pem_is_named), cmocka_unit_test(unusable_options_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
