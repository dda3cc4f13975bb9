/* TLS over a byte connection, with QUIC beside it where both must agree: whose certificate is let in, who a client is, and
 * certificates that are replaced while connections live. */
#include "unit/transport/pair.h"

#define DAY INT64_C(86400)

static const roam_transport_kind secure_kinds[] = {ROAM_TRANSPORT_TLS, ROAM_TRANSPORT_WSS, ROAM_TRANSPORT_QUIC};
#define EACH_KIND(kind)                                                                                                    \
  for (size_t each_ = 0; each_ < 3; each_++)                                                                               \
    for (roam_transport_kind kind = secure_kinds[each_], *once_ = &kind; once_; once_ = NULL)

/* ---- the server's certificate ---------------------------------------------------------------------------------------- */

struct outcome {
  const char *name, *names, *dial;
  int64_t age; /* days before today that it was made; valid for 30 */
  bool other_ca, insecure, no_wall;
  const char *text; /* NULL: let in */
};

static const struct outcome outcomes[] = {
    {"right name", "localhost", "localhost", 0, false, false, false, NULL},
    {"right address", "10.0.0.1", NULL, 0, false, false, false, NULL},
    {"wrong name", "broker.example", "localhost", 0, false, false, false,
     "certificate of broker.example is not for localhost"},
    {"unknown authority", "localhost", "localhost", 0, true, false, false, "certificate signed by an unknown authority"},
    {"expired", "localhost", "localhost", 60, false, false, false, "certificate expired"},
    {"not yet valid", "localhost", "localhost", -60, false, false, false, "certificate not yet valid"},
    {"time unknown", "localhost", "localhost", 0, false, false, true, "time of day is unknown"},
    {"insecure, said by name", "broker.example", "localhost", 60, true, true, true, NULL},
};

static const struct outcome *current;
static roam_identity authority, leaf, stranger;

static void set_server(roam_transport_options *o) {
  o->tls.certificate = pair_text(leaf.certificate);
  o->tls.key = pair_text(leaf.key);
}

static void set_client(roam_transport_options *o) {
  o->tls.ca = pair_text(current->other_ca ? stranger.ca_certificate : authority.ca_certificate);
  o->tls.insecure = current->insecure;
  if (current->no_wall) o->tls.wall_unix_s = 0;
}

static void check_outcome(roam_transport_kind kind, const struct outcome *o) {
  current = o;
  assert_int_equal(roam_identity_make(&authority, "authority", "unused", PAIR_WALL, 30, false), 0);
  assert_int_equal(roam_identity_issue(&leaf, pair_text(authority.ca_certificate), pair_text(authority.ca_key), "leaf",
                                       o->names, PAIR_WALL - o->age * DAY, 30, false),
                   0);
  struct pair_how how = {.server = set_server, .client = set_client, .kind = kind};
  struct pair *p = pair_new(&how);
  pair_dial(p, o->dial);
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED), *theirs = side_last(p->server, ROAM_TE_CLOSED);
  if (!o->text) {
    if (closed) fail_msg("%s: %s", o->name, closed->text);
    assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 1);
    assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), 1);
  } else {
    if (!closed) fail_msg("%s: let in", o->name);
    if (closed->rc != ROAM_E_CERTIFICATE || !strstr(closed->text, o->text)) fail_msg("%s: %s", o->name, closed->text);
    assert_int_equal(side_count(p->client, ROAM_TE_OPENED, NULL), 0);
    assert_non_null(theirs);
    assert_int_equal(theirs->rc, ROAM_E_CERTIFICATE); /* it heard the alert */
  }
  pair_free(p);
  roam_identity_clear(&authority);
  roam_identity_clear(&leaf);
}

static void servers_certificates(void **state) {
  (void)state;
  assert_int_equal(roam_identity_make(&stranger, "stranger", "localhost", PAIR_WALL, 30, false), 0);
  EACH_KIND(kind)
  for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) check_outcome(kind, &outcomes[i]);
  roam_identity_clear(&stranger);
}

/* ---- the client's certificate ---------------------------------------------------------------------------------------- */

static roam_identity clients, others;
static bool only_requested;

static void ask_client(roam_transport_options *o) {
  o->tls.require_client_certificate = !only_requested;
  o->tls.request_client_certificate = only_requested;
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

/* subject: let in, with this name or ("") none; else the two sentences of the refusal. */
static void check_client(roam_transport_kind kind, void (*show)(roam_transport_options *), const char *subject,
                         const char *server_text, const char *client_text) {
  struct pair_how how = {.server = ask_client, .client = show, .kind = kind};
  struct pair *p = pair_new(&how);
  pair_dial(p, "localhost");
  glue_run(p->g, ROAM_S);
  const roam_te *server = side_last(p->server, ROAM_TE_CLOSED), *client = side_last(p->client, ROAM_TE_CLOSED);
  if (subject) {
    assert_null(server);
    assert_null(client);
    assert_non_null(p->server->conn);
    const char *name = roam_conn_subject(p->server->conn);
    assert_string_equal(name ? name : "", subject);
    assert_string_equal(roam_conn_subject(p->conn), "test"); /* the other way round, too */
  } else {
    assert_int_equal(side_count(p->server, ROAM_TE_OPENED, NULL), 0);
    assert_non_null(server);
    assert_int_equal(server->rc, ROAM_E_CERTIFICATE);
    if (!strstr(server->text, server_text)) fail_msg("server: %s", server->text);
    assert_non_null(client);
    assert_int_equal(client->rc, ROAM_E_CERTIFICATE);
    if (!strstr(client->text, client_text)) fail_msg("client: %s", client->text);
  }
  pair_free(p);
}

static void clients_certificates(void **state) {
  (void)state;
  assert_int_equal(roam_identity_make(&clients, "device 1", "device-1", PAIR_WALL, 30, true), 0);
  assert_int_equal(roam_identity_make(&others, "device 1", "device-1", PAIR_WALL, 30, true), 0);
  EACH_KIND(kind) {
    only_requested = false;
    check_client(kind, show_right, "device 1", NULL, NULL);
    check_client(kind, NULL, NULL, "the client has no certificate", "demands a client certificate");
    check_client(kind, show_other, NULL, "unknown authority", "did not accept our certificate");
    only_requested = true;
    check_client(kind, show_right, "device 1", NULL, NULL);
    check_client(kind, NULL, "", NULL, NULL);
    check_client(kind, show_other, NULL, "unknown authority", "did not accept our certificate");
  }
  roam_identity_clear(&others);
  roam_identity_clear(&clients);
}

/* ---- replaced while it runs ------------------------------------------------------------------------------------------ */

static void new_certificates_are_for_new_connections(void **state) {
  (void)state;
  EACH_KIND(kind) {
    const char *why = NULL;
    struct pair_how how = {.kind = kind};
    struct pair *p = pair_new(&how);
    pair_connect(p);
    roam_conn *before = p->conn, *accepted = p->server->conn;
    assert_int_equal(roam_identity_make(&others, "new", "localhost", PAIR_WALL, 30, false), 0);
    roam_tls_config config = {.certificate = pair_text(others.certificate), .key = pair_text("nonsense")};
    assert_int_equal(roam_transport_certify(p->server->t, &config, &why), ROAM_E_CERTIFICATE);
    assert_non_null(strstr(why, "key is not a PEM private key"));
    pair_connect(p); /* the old ones are still there */
    config.key = pair_text(others.key);
    assert_int_equal(roam_transport_certify(p->server->t, &config, &why), 0);
    pair_dial(p, "localhost");
    glue_run(p->g, ROAM_S);
    assert_non_null(strstr(side_last(p->client, ROAM_TE_CLOSED)->text, "unknown authority"));
    assert_true(pair_send(p->client, before, "still", 5)); /* and so are their connections */
    glue_run(p->g, ROAM_S);
    pair_expect(p->server, accepted, "still", 5);
    pair_free(p);
    roam_identity_clear(&others);
  }
}

/* ---- several, by name ------------------------------------------------------------------------------------------------ */

static char bundle[8192];

/* certificate, key, certificate, key... as more wants them. */
static void add_to_bundle(const char *names) {
  roam_identity made;
  size_t len = strlen(bundle);
  assert_int_equal(roam_identity_issue(&made, pair_text(authority.ca_certificate), pair_text(authority.ca_key), names,
                                       names, PAIR_WALL, 30, false),
                   0);
  len += (size_t)snprintf(bundle + len, sizeof bundle - len, "%s%s", made.certificate, made.key);
  assert_true(len < sizeof bundle);
  roam_identity_clear(&made);
}

static void set_several(roam_transport_options *o) {
  set_server(o);
  o->tls.more = pair_text(bundle);
}

static void trust_authority(roam_transport_options *o) { o->tls.ca = pair_text(authority.ca_certificate); }

/* Is the certificate shown to who asks for this name one of that name? text: of the refusal, when it is not. */
static void expect_certificate(struct pair *p, const char *name, const char *text) {
  pair_dial(p, name);
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  bool refused = closed && closed->conn == p->conn;
  if (refused != (text != NULL)) fail_msg("%s: %s", name ? name : "no name", refused ? closed->text : "let in");
  if (refused && !strstr(closed->text, text)) fail_msg("%s: %s", name ? name : "no name", closed->text);
}

static void the_name_asked_for_chooses(void **state) {
  (void)state;
  EACH_KIND(kind) {
    const char *why = NULL;
    bundle[0] = 0;
    assert_int_equal(roam_identity_make(&authority, "authority", "unused", PAIR_WALL, 30, false), 0);
    assert_int_equal(roam_identity_issue(&leaf, pair_text(authority.ca_certificate), pair_text(authority.ca_key), "leaf",
                                         "localhost,10.0.0.1", PAIR_WALL, 30, false),
                     0);
    add_to_bundle("a.test");
    add_to_bundle("*.b.test,b.test");
    struct pair_how how = {.server = set_several, .client = trust_authority, .kind = kind};
    struct pair *p = pair_new(&how);
    expect_certificate(p, "localhost", NULL);
    expect_certificate(p, "a.test", NULL);
    expect_certificate(p, "A.TEST", NULL);
    expect_certificate(p, "x.b.test", NULL);
    expect_certificate(p, "b.test", NULL);
    expect_certificate(p, NULL, NULL); /* an address is no name: the first */
    expect_certificate(p, "c.test", "certificate of localhost is not for c.test");
    roam_tls_config config = {
        .certificate = pair_text(leaf.certificate), .key = pair_text(leaf.key), .more = pair_text(leaf.certificate)};
    assert_int_equal(roam_transport_certify(p->server->t, &config, &why), ROAM_E_CERTIFICATE);
    assert_string_equal(why, "more: its last certificate has no key behind it");
    expect_certificate(p, "a.test", NULL); /* nothing has changed */
    bundle[0] = 0;
    add_to_bundle("c.test");
    config.more = pair_text(bundle);
    assert_int_equal(roam_transport_certify(p->server->t, &config, &why), 0);
    expect_certificate(p, "c.test", NULL);
    expect_certificate(p, "a.test", "certificate of localhost is not for a.test");
    pair_free(p);
    roam_identity_clear(&authority);
    roam_identity_clear(&leaf);
  }
}

static void what_is_wrong_with_certificates_is_said(void **state) {
  (void)state;
  assert_int_equal(roam_identity_make(&leaf, "authority", "localhost", PAIR_WALL, 30, false), 0);
  assert_int_equal(roam_identity_make(&others, "authority", "localhost", PAIR_WALL, 30, false), 0);
  char mixed[4096], twice[4096];
  roam_bytes certificate = pair_text(leaf.certificate), key = pair_text(leaf.key), ca = pair_text(leaf.ca_certificate);
  snprintf(mixed, sizeof mixed, "%s%s", others.certificate, leaf.key);
  snprintf(twice, sizeof twice, "%s%s%s", others.key, others.certificate, others.key);
  const struct {
    roam_tls_config config;
    const char *text;
  } cases[] = {
      {{.certificate = certificate, .key = key, .ca = ca}, NULL},
      {{.ca = ca}, NULL},
      {{.insecure = false}, NULL},
      {{.certificate = certificate}, "without its key"},
      {{.key = key}, "without its certificate"},
      {{.certificate = key, .key = key}, "not a PEM certificate"},
      {{.certificate = certificate, .key = certificate}, "not a PEM private key"},
      {{.certificate = certificate, .key = pair_text(others.key)}, "does not belong to"},
      {{.certificate = certificate, .key = key, .ca = key}, "the CA holds no"},
      {{.certificate = certificate, .key = key, .require_client_certificate = true}, "no CA to check them"},
      {{.certificate = certificate, .key = key, .more = pair_text(mixed)}, "does not belong to"},
      {{.certificate = certificate, .key = key, .more = pair_text(twice)}, "not a PEM certificate"},
      {{.more = pair_text(mixed)}, "the first certificate belongs to"},
      {{.certificate = certificate, .key = key, .more = pair_text("no PEM at all")}, "holds no PEM"},
      {{.certificate = certificate, .key = key, .more = pair_text("-----BEGIN CERTIFICATE-----\nAAAA")}, "holds no PEM"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *error = roam_tls_config_error(&cases[i].config);
    if ((error != NULL) != (cases[i].text != NULL) || (error && !strstr(error, cases[i].text)))
      fail_msg("case %zu: %s", i, error ? error : "fine");
  }
  roam_identity_clear(&leaf);
  roam_identity_clear(&others);
}

/* ---- tickets --------------------------------------------------------------------------------------------------------- */

static const uint8_t secret_of_tests[32] = "what a broker keeps in a file...";

static void with_secret(roam_transport_options *o) { memcpy(o->secret, secret_of_tests, sizeof o->secret); }

static void ask_with_secret(roam_transport_options *o) {
  with_secret(o);
  ask_client(o);
  o->tls.require_client_certificate = false;
  o->tls.request_client_certificate = true;
}

struct visit {
  uint8_t bytes[4096];
  roam_resume r;
};

static void take_ticket(struct pair *p, struct visit *v) {
  roam_resume learned = roam_conn_learned(p->conn);
  *v = (struct visit){0};
  assert_true(learned.session.len < sizeof v->bytes);
  if (learned.session.len > 0) memcpy(v->bytes, learned.session.base, learned.session.len);
  v->r = (roam_resume){.session = {v->bytes, learned.session.len}, .lifetime_s = learned.lifetime_s};
}

/* Was the connection made with this ticket resumed? Both sides must agree. */
static bool resumes(struct pair *p, const struct visit *v) {
  pair_dial(p, "localhost");
  assert_int_equal(roam_conn_resume(p->conn, &v->r), 0);
  glue_run(p->g, ROAM_S);
  const roam_te *closed = side_last(p->client, ROAM_TE_CLOSED);
  if (closed && closed->conn == p->conn) fail_msg("%s", closed->text ? closed->text : "closed");
  assert_non_null(p->server->conn);
  bool resumed = roam_conn_get_info(p->conn).resumed;
  assert_int_equal(roam_conn_get_info(p->server->conn).resumed, resumed);
  assert_true(pair_send(p->client, p->conn, "after", 5));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "after", 5);
  return resumed;
}

static void the_second_visit_is_resumed(void **state) {
  (void)state;
  static const roam_transport_kind kinds[] = {ROAM_TRANSPORT_TLS, ROAM_TRANSPORT_WSS};
  for (size_t i = 0; i < 2; i++) {
    struct visit v, none = {0};
    struct pair_how how = {.kind = kinds[i], .server = with_secret};
    struct pair *p = pair_new(&how);
    assert_false(resumes(p, &none));
    assert_true(side_count(p->client, ROAM_TE_LEARNED, p->conn) >= 1);
    take_ticket(p, &v);
    assert_true(v.r.session.len > 0);
    assert_int_equal(v.r.lifetime_s, 6 * 3600);
    assert_true(resumes(p, &v));
    take_ticket(p, &v); /* each visit brings the next ticket */
    pair_free(p);
    p = pair_new(&how); /* the server has been started anew, with its secret */
    assert_true(resumes(p, &v));
    v.bytes[5] ^= 1;
    assert_false(resumes(p, &v)); /* a damaged ticket is none */
    take_ticket(p, &v);
    pair_free(p);
    how.server = NULL; /* another secret */
    p = pair_new(&how);
    assert_false(resumes(p, &v));
    pair_free(p);
  }
}

static void who_asks_for_certificates_gives_no_tickets(void **state) {
  (void)state;
  assert_int_equal(roam_identity_make(&clients, "device 1", "device-1", PAIR_WALL, 30, true), 0);
  struct visit none = {0};
  struct pair_how how = {.kind = ROAM_TRANSPORT_TLS, .server = ask_with_secret, .client = show_right};
  struct pair *p = pair_new(&how);
  assert_false(resumes(p, &none));
  assert_int_equal(side_count(p->client, ROAM_TE_LEARNED, NULL), 0);
  assert_string_equal(roam_conn_subject(p->server->conn), "device 1");
  pair_free(p);
  roam_identity_clear(&clients);
}

/* ---- strangers ------------------------------------------------------------------------------------------------------- */

static void what_is_not_tls_is_told(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *text;
  } cases[] = {
      {"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04"
       "abcd",
       "is not TLS"},
      {"GET /mqtt HTTP/1.1\r\n\r\n", "is not TLS"},
  };
  for (size_t i = 0; i < 2; i++) {
    struct pair_how how = {.kind = ROAM_TRANSPORT_TLS};
    struct pair *p = pair_new(&how);
    roam_wire in[] = {
        {.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | 77, .parent = p->listener},
        {.kind = ROAM_WIRE_DATA, .handle = ROAM_HANDLE_EDGE | 77, .data = (const uint8_t *)cases[i].bytes, .len = 18}};
    side_feed(p->server, p->g->now, in, 2);
    roam_wire out[8];
    while (side_drain(p->server, p->g->now, out, 8) > 0) {
    }
    side_poll(p->server, NULL, 0);
    const roam_te *closed = side_last(p->server, ROAM_TE_CLOSED);
    assert_non_null(closed);
    assert_int_equal(closed->rc, ROAM_E_TLS);
    if (!strstr(closed->text, cases[i].text)) fail_msg("%s", closed->text);
    assert_int_equal(roam_transport_handshakes(p->server->t), 0);
    pair_free(p);
  }
}

static void one_handshake(roam_transport_options *o) {
  o->handshakes_max = 1;
  o->connect_timeout_ns = 2 * ROAM_S;
}

static void half_open_handshakes_are_bounded_and_end(void **state) {
  (void)state;
  struct pair_how how = {.kind = ROAM_TRANSPORT_TLS, .server = one_handshake};
  struct pair *p = pair_new(&how);
  roam_wire in[2];
  for (uint32_t i = 0; i < 2; i++)
    in[i] = (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | (80 + i), .parent = p->listener};
  side_feed(p->server, p->g->now, in, 2);
  assert_int_equal(roam_transport_handshakes(p->server->t), 1);
  assert_int_equal(roam_transport_refused(p->server->t), 1);
  assert_int_equal(side_count(p->server, ROAM_TE_ACCEPTED, NULL), 1);
  side_tick(p->server, p->g->now + 3 * ROAM_S);
  const roam_te *closed = side_last(p->server, ROAM_TE_CLOSED);
  assert_int_equal(closed->rc, ROAM_E_TIMEOUT);
  assert_non_null(strstr(closed->text, "TLS handshake was not done in time"));
  assert_int_equal(roam_transport_handshakes(p->server->t), 0);
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(servers_certificates),
      cmocka_unit_test(clients_certificates),
      cmocka_unit_test(new_certificates_are_for_new_connections),
      cmocka_unit_test(the_name_asked_for_chooses),
      cmocka_unit_test(what_is_wrong_with_certificates_is_said),
      cmocka_unit_test(the_second_visit_is_resumed),
      cmocka_unit_test(who_asks_for_certificates_gives_no_tickets),
      cmocka_unit_test(what_is_not_tls_is_told),
      cmocka_unit_test(half_open_handshakes_are_bounded_and_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
