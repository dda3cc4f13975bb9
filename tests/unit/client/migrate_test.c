/* migrate_test.c - a client over real QUIC (ngtcp2, GnuTLS) in memory and virtual time: rebind, migrate, resume, and what
 * can go wrong on the way. The server is a transport and a session; between them 25 ms each way and a NAT that can be told
 * to forget. */
#include "rig.h"

#include "transport/transport.h"

#define DELAY (25 * ROAM_MS)
#define WALL 1700000000
#define FLIGHT_MAX 4096

struct datagram {
  roam_time due;
  bool to_client;
  uint32_t handle; /* to the client */
  roam_addr local, remote;
  size_t len;
  uint8_t bytes[9000];
};

struct mapping {
  roam_addr inside;
  uint16_t port;
};

struct net {
  struct rig *r; /* its client, its logs */
  roam_identity identity;
  roam_transport *t;
  roam_conn *conn;
  uint32_t listener;
  roam_addr sockets[64]; /* of the client, by handle & 63 */
  bool bound[64];
  uint16_t port_next, public_next;
  roam_addr public_address;
  struct mapping map[64];
  size_t map_len;
  struct datagram *flight[FLIGHT_MAX];
  size_t flight_len;
  bool dead_lan; /* what goes through the NAT is lost */
  uint32_t refuse_bind;
};

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void put_flight(struct net *n, bool to_client, uint32_t handle, roam_addr local, roam_addr remote,
                       const uint8_t *bytes, size_t len) {
  assert_true(len <= 9000 && n->flight_len < FLIGHT_MAX);
  struct datagram *d = calloc(1, sizeof *d);
  *d = (struct datagram){n->r->now + DELAY, to_client, handle, local, remote, len, {0}};
  memcpy(d->bytes, bytes, len);
  n->flight[n->flight_len++] = d;
}

/* 10.0.0.0/24 is behind the NAT, everything else is public. */
static bool behind_nat(const roam_addr *a) { return a->ip[0] == 10; }

static roam_addr translate(struct net *n, const roam_addr *inside) {
  if (!behind_nat(inside)) return *inside;
  roam_addr out = n->public_address;
  for (size_t i = 0; i < n->map_len; i++)
    if (roam_addr_equal(&n->map[i].inside, inside)) {
      out.port = n->map[i].port;
      return out;
    }
  out.port = n->public_next++;
  n->map[n->map_len++] = (struct mapping){*inside, out.port};
  return out;
}

static void client_unit(struct net *n, const roam_wire *u) {
  uint32_t slot = u->handle & 63;
  if (u->kind == ROAM_WIRE_BIND) {
    if (n->refuse_bind > 0 && u->local.family) {
      n->refuse_bind--;
      rig_feed(n->r, (roam_wire){.kind = ROAM_WIRE_FAILED, .handle = u->handle, .error = EADDRNOTAVAIL});
      return;
    }
    roam_addr local = u->local.family ? u->local : addr("10.0.0.2");
    if (local.port == 0) local.port = n->port_next++;
    n->sockets[slot] = local;
    n->bound[slot] = true;
    rig_feed(n->r, (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = local});
  } else if (u->kind == ROAM_WIRE_UNBIND) {
    n->bound[slot] = false;
  } else if (u->kind == ROAM_WIRE_DATAGRAM) {
    size_t step = u->segment ? u->segment : u->len;
    if (n->dead_lan && behind_nat(&n->sockets[slot])) return;
    for (size_t at = 0; at < u->len; at += step)
      put_flight(n, false, 0, u->remote, translate(n, &n->sockets[slot]), u->data + at,
                 u->len - at < step ? u->len - at : step);
  }
}

static void server_unit(struct net *n, const roam_wire *u) {
  if (u->kind == ROAM_WIRE_BIND) {
    roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = u->local};
    n->listener = u->handle;
    roam_transport_feed(n->t, n->r->now, &bound, 1);
    return;
  }
  if (u->kind != ROAM_WIRE_DATAGRAM) return;
  size_t step = u->segment ? u->segment : u->len;
  for (size_t at = 0; at < u->len; at += step) {
    roam_addr to = u->remote;
    bool found = !roam_addr_same_ip(&to, &n->public_address) && to.ip[0] != 203;
    for (size_t i = 0; i < n->map_len && !found; i++)
      if (roam_addr_same_ip(&to, &n->public_address) && n->map[i].port == to.port) {
        to = n->map[i].inside;
        found = !n->dead_lan;
        break;
      }
    for (uint32_t s = 0; s < 64 && found; s++)
      if (n->bound[s] && roam_addr_equal(&n->sockets[s], &to)) {
        put_flight(n, true, s, to, u->local, u->data + at, u->len - at < step ? u->len - at : step);
        break;
      }
  }
}

static void server_te(struct net *n, const roam_te *te) {
  char a[ROAM_ADDR_TEXT_MAX];
  if (te->kind == ROAM_TE_ACCEPTED) {
    n->conn = te->conn;
    n->r->connected = false;
    n->r->in_len = 0;
  }
  if (te->kind == ROAM_TE_PEER_MOVED) note(n->r->seen, "MOVED %s\n", roam_addr_format(&te->remote, a));
  if (te->kind == ROAM_TE_CLOSED) {
    note(n->r->seen, "GONE %s\n", te->rc ? roam_error_name(te->rc) : "ok");
    roam_session_detach(n->r->server, n->r->now);
    roam_conn_release(te->conn);
    if (te->conn == n->conn) n->conn = NULL;
  }
}

static bool server_talk(struct net *n) {
  struct rig *r = n->r;
  roam_te te[16];
  size_t k, got = 0;
  while ((k = roam_transport_poll(n->t, te, 16)) > 0)
    for (size_t i = 0; i < k; i++) server_te(n, &te[i]);
  if (!n->conn) return false;
  roam_bytes view = roam_conn_peek(n->conn, 0);
  got = view.len;
  if (got > 0) memcpy(r->in + r->in_len, view.base, view.len);
  r->in_len += view.len;
  roam_conn_consume(n->conn, r->now, 0, view.len);
  rig_server(r);
  if (r->out_len > 0) {
    roam_slice slice = {r->out, r->out_len, NULL};
    assert_int_equal(roam_conn_write(n->conn, r->now, 0, &slice, 1), 0);
    r->out_len = 0;
  }
  return got > 0;
}

static bool land(struct net *n) {
  for (size_t i = 0; i < n->flight_len; i++) {
    struct datagram *d = n->flight[i];
    if (d->due > n->r->now) continue;
    memmove(&n->flight[i], &n->flight[i + 1], (--n->flight_len - i) * sizeof n->flight[0]);
    roam_wire u = {.kind = ROAM_WIRE_DATAGRAM, .local = d->local, .remote = d->remote, .data = d->bytes, .len = d->len};
    if (d->to_client) {
      u.handle = (UINT32_C(1) << 24) + d->handle; /* the test has fewer than 64 sockets */
      if (n->bound[d->handle & 63]) rig_feed(n->r, u);
    } else {
      u.handle = n->listener;
      roam_transport_feed(n->t, n->r->now, &u, 1);
    }
    free(d);
    return true;
  }
  return false;
}

static void settle(struct net *n) {
  struct rig *r = n->r;
  for (bool moved = true; moved;) {
    roam_wire out[8];
    size_t k;
    moved = land(n);
    while ((k = roam_client_drain(r->c, r->now, out, 8)) > 0)
      for (size_t i = 0; i < k; i++) client_unit(n, &out[i]);
    rig_poll(r, 10000);
    moved |= server_talk(n);
    while ((k = roam_transport_drain(n->t, r->now, out, 8)) > 0)
      for (size_t i = 0; i < k; i++) server_unit(n, &out[i]);
    if (roam_client_deadline(r->c) <= r->now) {
      roam_client_tick(r->c, r->now);
      moved = true;
    }
    if (roam_transport_deadline(n->t) <= r->now) {
      roam_transport_tick(n->t, r->now);
      moved = true;
    }
  }
}

static roam_time next_time(struct net *n) {
  roam_time at = roam_client_deadline(n->r->c), server = roam_transport_deadline(n->t);
  if (server < at) at = server;
  for (size_t i = 0; i < n->flight_len; i++)
    if (n->flight[i]->due < at) at = n->flight[i]->due;
  return at;
}

static void run(struct net *n, uint64_t ns) {
  roam_time until = n->r->now + ns;
  settle(n);
  for (int i = 0; next_time(n) <= until; i++) {
    assert_true(i < 1000000);
    n->r->now = next_time(n);
    settle(n);
  }
  n->r->now = until;
}

static void rebind(struct net *n, const char *address) {
  n->public_address = addr(address);
  n->map_len = 0;
}

static struct net *net_new(const char *url, void (*tweak)(roam_client_options *o)) {
  struct net *n = calloc(1, sizeof *n);
  assert_int_equal(roam_identity_make(&n->identity, "test", "broker.test,192.0.2.1", WALL, 30, false), 0);
  roam_client_options o = rig_options();
  o.url = url;
  o.session_expiry_s = 300;
  o.tls.ca = str(n->identity.ca_certificate);
  o.tls.wall_unix_s = WALL;
  if (tweak) tweak(&o);
  n->r = rig_new(&o);
  n->port_next = 50000;
  n->public_next = 40000;
  n->public_address = addr("203.0.113.200");
  roam_transport_options to;
  roam_transport_options_init(&to);
  to.random = &n->r->rng.random;
  to.now = n->r->now;
  to.handle_first = 1;
  to.tls.certificate = str(n->identity.certificate);
  to.tls.key = str(n->identity.key);
  to.tls.wall_unix_s = WALL;
  roam_rc rc;
  const char *why;
  n->t = roam_quic_new(&to, &rc, &why);
  assert_non_null(n->t);
  roam_addr local = addr("192.0.2.1:14567");
  uint32_t listener;
  assert_int_equal(roam_transport_listen(n->t, n->r->now, &local, &listener), 0);
  return n;
}

static struct net *net_connected(void) {
  struct net *n = net_new("mqtt-quic://192.0.2.1", NULL);
  assert_int_equal(roam_client_start(n->r->c, n->r->now), 0);
  run(n, ROAM_S);
  EXPECT(n->r->log, "CONNECTED quic v5 new\n");
  n->r->seen[0] = 0;
  return n;
}

static void net_free(struct net *n) {
  rig_free(n->r);
  roam_transport_free(n->t);
  roam_identity_clear(&n->identity);
  while (n->flight_len > 0) free(n->flight[--n->flight_len]);
  free(n);
}

static void publishes(struct net *n, const char *payload) {
  assert_int_equal(rig_publish(n->r, "t", payload, 1), 0);
  run(n, ROAM_S);
}

/* ---- */

static void rebind_and_return(void **state) {
  (void)state;
  struct net *n = net_connected();
  publishes(n, "1");
  rebind(n, "203.0.113.203");
  publishes(n, "2");
  rebind(n, "203.0.113.200");
  publishes(n, "3");
  EXPECT(n->r->seen,
         "PUBLISH t=1 q1\nMOVED 203.0.113.203:40001\nPUBLISH t=2 q1\nMOVED 203.0.113.200:40002\nPUBLISH t=3 q1\n");
  EXPECT(n->r->log, "PUBLISHED 1 ok 0\nPUBLISHED 2 ok 0\nPUBLISHED 3 ok 0\n");
  assert_int_equal(roam_client_get_stats(n->r->c).connects, 1);
  net_free(n);
}

static void a_silent_client_is_found_again_by_its_pings(void **state) {
  (void)state;
  struct net *n = net_connected();
  assert_int_equal(rig_subscribe(n->r, "#", 1), 0);
  run(n, ROAM_S);
  n->r->log[0] = n->r->seen[0] = 0;
  rebind(n, "203.0.113.203");
  run(n, 16 * ROAM_S);
  rig_push(n->r, "down", str("hi"), 1);
  run(n, ROAM_S);
  EXPECT(n->r->log, "MESSAGE down=hi q1\n");
  EXPECT(n->r->seen, "MOVED 203.0.113.203:40001\nDONE 7\n");
  rebind(n, "203.0.113.204");
  assert_int_equal(roam_client_hint(n->r->c, n->r->now), 0); /* at once, not with the next ping */
  run(n, 200 * ROAM_MS);
  EXPECT(n->r->seen, "MOVED 203.0.113.204:40002\n");
  net_free(n);
}

static void migrate_there_and_back(void **state) {
  (void)state;
  static const char *const expected[] = {
      "PATH_PROBING\nPUBLISHED 1 ok 0\nPATH_MIGRATED\nPATH_PROBING\nPUBLISHED 2 ok 0\nPATH_MIGRATED\n",
      "PATH_PROBING\nPATH_MIGRATED\nPUBLISHED 1 ok 0\nPATH_PROBING\nPUBLISHED 2 ok 0\nPATH_MIGRATED\n"};
  for (int immediate = 0; immediate < 2; immediate++) {
    struct net *n = net_connected();
    roam_addr cell = addr("198.51.100.9"), wifi = addr("10.0.0.2");
    if (immediate) n->dead_lan = true;
    assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &cell, NULL, immediate), 0);
    publishes(n, "1");
    assert_true(roam_addr_same_ip(&cell, &(roam_addr){.family = 4, .ip = {198, 51, 100, 9}}));
    roam_addr local = roam_client_get_stats(n->r->c).local;
    assert_true(roam_addr_same_ip(&local, &cell));
    n->dead_lan = false;
    assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &wifi, NULL, immediate), 0);
    publishes(n, "2");
    assert_non_null(strstr(n->r->seen, "MOVED 198.51.100.9:50001\n"));
    assert_non_null(strstr(n->r->seen, "MOVED 203.0.113.200:40001\n"));
    EXPECT(n->r->log, expected[immediate]);
    roam_client_stats stats = roam_client_get_stats(n->r->c);
    assert_int_equal(stats.migrations, 2);
    assert_int_equal(stats.migrations_failed, 0);
    assert_int_equal(stats.connects, 1);
    assert_int_equal(n->r->publishes, 2);
    net_free(n);
  }
}

static void a_migration_that_fails(void **state) {
  (void)state;
  struct net *n = net_connected();
  roam_addr none = addr("198.51.100.77");
  n->refuse_bind = 1;
  assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &none, NULL, false), 0);
  run(n, ROAM_S);
  assert_memory_equal(n->r->log, "PATH_FAILED ROAM_E_ADDRESS_NOT_AVAILABLE: ", 42);
  n->r->log[0] = 0;
  publishes(n, "still here");
  EXPECT(n->r->log, "PUBLISHED 1 ok 0\n");
  assert_int_equal(roam_client_get_stats(n->r->c).migrations_failed, 1);
  net_free(n);
}

static void a_newer_migration_replaces_the_older(void **state) {
  (void)state;
  struct net *n = net_connected();
  roam_addr one = addr("198.51.100.1"), two = addr("198.51.100.2");
  assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &one, NULL, false), 0);
  assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &two, NULL, false), 0);
  run(n, 2 * ROAM_S);
  EXPECT(n->r->log, "PATH_FAILED ROAM_E_STATE: replaced by a newer move\nPATH_PROBING\nPATH_MIGRATED\n");
  roam_addr local = roam_client_get_stats(n->r->c).local;
  assert_true(roam_addr_same_ip(&local, &two));
  net_free(n);
}

static void a_migration_asked_for_while_connecting(void **state) {
  (void)state;
  struct net *n = net_new("mqtt-quic://192.0.2.1", NULL);
  roam_addr cell = addr("198.51.100.9");
  assert_int_equal(roam_client_start(n->r->c, n->r->now), 0);
  run(n, 30 * ROAM_MS);
  assert_int_equal(roam_client_get_state(n->r->c), ROAM_CLIENT_CONNECTING);
  assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &cell, NULL, false), 0);
  run(n, 2 * ROAM_S);
  EXPECT(n->r->log, "CONNECTED quic v5 new\nPATH_PROBING\nPATH_MIGRATED\n");
  net_free(n);
}

static void an_outage_and_a_new_network(void **state) {
  (void)state;
  struct net *n = net_connected();
  publishes(n, "1");
  n->dead_lan = true;
  run(n, 100 * ROAM_S); /* idle time-out, then attempts into the void */
  static const char begin[] = "PUBLISHED 1 ok 0\nPATH_TROUBLE\n"
                              "DISCONNECTED ROAM_E_TIMEOUT retry: connection to mqtt-quic://192.0.2.1:14567 lost: ";
  assert_memory_equal(n->r->log, begin, sizeof begin - 1);
  assert_int_equal(rig_publish(n->r, "t", "2", 1), 0);
  roam_addr cell = addr("198.51.100.9");
  n->r->log[0] = n->r->seen[0] = 0;
  n->r->present = true;
  assert_int_equal(roam_client_migrate(n->r->c, n->r->now, &cell, NULL, true), 0);
  run(n, ROAM_S);
  EXPECT(n->r->log, "EARLY_DATA\nCONNECTED quic v5 resumed\nPUBLISHED 2 ok 0\n");
  net_free(n);
}

static void closes_cleanly(void **state) {
  (void)state;
  struct net *n = net_connected();
  assert_int_equal(rig_publish(n->r, "t", "last", 1), 0);
  assert_int_equal(roam_client_close(n->r->c, n->r->now, 0), 0);
  run(n, 5 * ROAM_S);
  EXPECT(n->r->seen, "PUBLISH t=last q1\nDISCONNECT 00\nGONE ok\n");
  EXPECT(n->r->log, "PUBLISHED 1 ok 0\nCLOSED ok\n");
  for (uint32_t i = 0; i < 64; i++) assert_false(n->bound[i]); /* every socket is given back */
  net_free(n);
}

static void wrong_name(roam_client_options *o) { o->server_name = "another.test"; }
static void no_ca(roam_client_options *o) { o->tls.ca = (roam_bytes){0}; }
static void too_late(roam_client_options *o) { o->tls.wall_unix_s = WALL + 40 * 86400; }

static void certificates_are_checked_and_fatal(void **state) {
  (void)state;
  static const struct {
    const char *name;
    void (*tweak)(roam_client_options *o);
  } cases[] = {{"wrong name", wrong_name}, {"unknown authority", no_ca}, {"expired", too_late}};
  for (size_t i = 0; i < 3; i++) {
    struct net *n = net_new("mqtt-quic://192.0.2.1", cases[i].tweak);
    assert_int_equal(roam_client_start(n->r->c, n->r->now), 0);
    run(n, 5 * ROAM_S);
    print_message("%s: %s", cases[i].name, n->r->log);
    assert_memory_equal(n->r->log, "CLOSED ROAM_E_CERTIFICATE: connect mqtt-quic://192.0.2.1:14567: ", 64);
    net_free(n);
  }
}

static void bad_pem_is_told_at_once(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.url = "mqtt-quic://h";
  o.tls.wall_unix_s = WALL;
  o.tls.ca = str("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  roam_rc rc = 0;
  assert_null(roam_client_new(&o, &rng.random, &rc));
  assert_int_equal(rc, ROAM_E_CERTIFICATE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rebind_and_return),
      cmocka_unit_test(a_silent_client_is_found_again_by_its_pings),
      cmocka_unit_test(migrate_there_and_back),
      cmocka_unit_test(a_migration_that_fails),
      cmocka_unit_test(a_newer_migration_replaces_the_older),
      cmocka_unit_test(a_migration_asked_for_while_connecting),
      cmocka_unit_test(an_outage_and_a_new_network),
      cmocka_unit_test(closes_cleanly),
      cmocka_unit_test(certificates_are_checked_and_fatal),
      cmocka_unit_test(bad_pem_is_told_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
