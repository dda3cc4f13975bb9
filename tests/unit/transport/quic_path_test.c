/* Addresses that change under a QUIC connection: a NAT that rebinds, and a client that moves by command. */
#include "unit/transport/pair.h"

#include "transport/quic.h"

/* A NAT between the client (10.0.0.x) and the rest: source addresses become its public one, with the port kept. */
struct nat {
  roam_addr public_ip;
  bool block_private; /* datagrams from this inside address vanish (a dead network) */
  roam_addr blocked;
};

static bool is_client(const roam_addr *a) { return a->ip[0] == 10 && a->ip[3] != 1; }

static bool nat_out(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  struct nat *nat = g->context;
  (void)bytes, (void)len;
  if (nat->block_private && (roam_addr_same_ip(&u->local, &nat->blocked) || roam_addr_same_ip(&u->remote, &nat->blocked)))
    return false;
  if (nat->public_ip.family && is_client(&u->local)) {
    u->local = nat->public_ip;
    u->local.port = 50000;
  }
  return true;
}

/* Only the current mapping leads back inside. */
static roam_addr nat_inside;

static bool nat_in(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  struct nat *nat = g->context;
  (void)bytes, (void)len;
  if (!nat->public_ip.family || u->remote.ip[0] != 192) return true;
  if (!roam_addr_same_ip(&u->remote, &nat->public_ip)) return false;
  u->remote = nat_inside;
  return true;
}

/* The client speaks first, as in MQTT: only then does the server have a stream to answer on. */
static void connect_and_greet(struct pair *p) {
  pair_connect(p);
  assert_true(pair_send(p->client, p->conn, "!", 1));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "!", 1);
}

struct ticker { /* the server sends a byte every 10 ms; the client notes the longest gap between arrivals */
  struct pair *p;
  roam_time next, last, longest;
  uint64_t sent, got;
};

static void tick_for(struct ticker *t, uint64_t ns) {
  struct glue *g = t->p->g;
  roam_time end = g->now + ns;
  while (g->now < end) {
    glue_run(g, 10 * ROAM_MS);
    t->sent += pair_send(t->p->server, t->p->server->conn, "x", 1);
    roam_bytes got = roam_conn_peek(t->p->conn, 0);
    if (got.len == 0) continue;
    if (t->last && g->now - t->last > t->longest) t->longest = g->now - t->last;
    t->last = g->now;
    t->got += got.len;
    roam_conn_consume(t->p->conn, g->now, 0, got.len);
  }
}

static struct pair *pair_behind_nat(struct nat *nat) {
  struct pair *p = pair_new(NULL);
  roam_addr_parse("192.0.2.200", &nat->public_ip);
  p->g->context = nat;
  p->g->out = nat_out;
  p->g->in = nat_in;
  roam_addr_parse("10.0.0.2:40000", &nat_inside);
  connect_and_greet(p);
  return p;
}

static void a_rebinding_nat_does_not_stop_the_flow(void **state) {
  (void)state;
  struct nat nat = {0};
  struct pair *p = pair_behind_nat(&nat);
  struct ticker t = {.p = p};
  assert_int_equal(roam_conn_get_info(p->server->conn).remote.ip[3], 200);
  tick_for(&t, ROAM_S);
  roam_addr_parse("192.0.2.203", &nat.public_ip);
  roam_conn_ping(p->conn, p->g->now);
  tick_for(&t, ROAM_S);
  assert_int_equal(side_count(p->server, ROAM_TE_PEER_MOVED, NULL), 1);
  const roam_te *moved = side_last(p->server, ROAM_TE_PEER_MOVED);
  assert_int_equal(moved->old_remote.ip[3], 200);
  assert_int_equal(moved->remote.ip[3], 203);
  assert_int_equal(roam_conn_get_info(p->server->conn).remote.ip[3], 203);
  assert_true(t.longest <= 2 * 2 * PAIR_DELAY + 70 * ROAM_MS);
  roam_addr_parse("192.0.2.200", &nat.public_ip); /* and back */
  roam_conn_ping(p->conn, p->g->now);
  tick_for(&t, 3 * ROAM_S);
  assert_int_equal(side_count(p->server, ROAM_TE_PEER_MOVED, NULL), 2);
  assert_int_equal(side_last(p->server, ROAM_TE_PEER_MOVED)->remote.ip[3], 200);
  glue_run(p->g, ROAM_S);
  tick_for(&t, 20 * ROAM_MS);
  assert_true(t.got + 5 >= t.sent);
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL) + side_count(p->server, ROAM_TE_CLOSED, NULL), 0);
  pair_free(p);
}

/* Back within the round trip: the server has sent to the other address, and nothing else makes it look again. */
static void a_quick_flip_back_loses_nothing_for_long(void **state) {
  (void)state;
  struct nat nat = {0};
  struct pair *p = pair_behind_nat(&nat);
  roam_addr_parse("192.0.2.203", &nat.public_ip);
  roam_conn_ping(p->conn, p->g->now);
  glue_run(p->g, PAIR_DELAY + ROAM_MS); /* the server hears the new address */
  assert_true(pair_send(p->server, p->server->conn, "to the other address", 20));
  glue_settle(p->g);
  roam_addr_parse("192.0.2.200", &nat.public_ip);
  roam_conn_ping(p->conn, p->g->now);
  glue_run(p->g, 2 * ROAM_S); /* the server sends nothing new */
  pair_expect(p->client, p->conn, "to the other address", 20);
  pair_free(p);
}

/* One datagram seems to come from elsewhere (spoofed, or a flash of another network): the server follows, finds nobody
 * there and goes back. What it had sent there is not timed by the library any more; only its own pings find it missing
 * (measure 5). */
static bool spoof_one(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  int *left = g->context;
  (void)bytes, (void)len;
  if (*left > 0 && is_client(&u->local)) {
    --*left;
    u->local = (roam_addr){.family = 4, .port = 999, .ip = {10, 0, 0, 99}};
  }
  return true;
}

static void a_spoofed_address_delays_but_does_not_lose(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  int left = 0;
  p->g->context = &left;
  p->g->out = spoof_one;
  connect_and_greet(p);
  left = 1;
  roam_conn_ping(p->conn, p->g->now);
  glue_run(p->g, PAIR_DELAY + ROAM_MS);
  assert_int_equal(roam_conn_get_info(p->server->conn).remote.ip[3], 99);
  assert_true(pair_send(p->server, p->server->conn, "to nobody", 9));
  glue_run(p->g, 4 * ROAM_S); /* the client, too, is silent */
  assert_int_equal(roam_conn_get_info(p->server->conn).remote.ip[3], 2);
  assert_int_equal(side_count(p->server, ROAM_TE_PEER_MOVED, NULL), 2);
  pair_expect(p->client, p->conn, "to nobody", 9);
  pair_free(p);
}

static void no_follow(roam_transport_options *o) { o->follow_paths = false; }

static void a_broker_told_not_to_follow_loses_its_client(void **state) {
  (void)state;
  struct pair_how how = {.server = no_follow};
  struct nat nat = {0};
  struct pair *p = pair_new(&how);
  roam_addr_parse("192.0.2.200", &nat.public_ip);
  p->g->context = &nat;
  p->g->out = nat_out;
  p->g->in = nat_in;
  roam_addr_parse("10.0.0.2:40000", &nat_inside);
  connect_and_greet(p);
  roam_addr_parse("192.0.2.203", &nat.public_ip);
  assert_true(pair_send(p->client, p->conn, "lost", 4));
  glue_run(p->g, 5 * ROAM_S);
  assert_int_equal(roam_conn_peek(p->server->conn, 0).len, 0);
  assert_int_equal(side_count(p->server, ROAM_TE_PEER_MOVED, NULL), 0);
  pair_free(p);
}

static roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static void move(struct pair *p, const char *to, roam_migrate_how how, size_t nth) {
  roam_addr local = addr(to);
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &local, NULL, how), 0);
  struct ticker t = {.p = p};
  tick_for(&t, ROAM_S);
  assert_true(side_count(p->client, ROAM_TE_PATH_PROBING, NULL) >= nth);
  assert_int_equal(side_count(p->client, ROAM_TE_PATH_MIGRATED, NULL), nth);
  assert_int_equal(side_count(p->server, ROAM_TE_PEER_MOVED, NULL), nth);
  const roam_te *here = side_last(p->client, ROAM_TE_PATH_MIGRATED), *there = side_last(p->server, ROAM_TE_PEER_MOVED);
  assert_true(roam_addr_same_ip(&here->local, &local));
  assert_true(roam_addr_equal(&here->local, &there->remote));
  assert_true(roam_addr_equal(&here->old_local, &there->old_remote));
  assert_true(here->validation_ns >= 2 * PAIR_DELAY);
  assert_int_equal(roam_conn_get_info(p->conn).migrations, nth);
  assert_true(t.longest <= 60 * ROAM_MS);
  assert_true(t.got > 90);
}

static size_t sockets_of(struct pair *p, int node) {
  size_t count = 0;
  for (size_t i = 0; i < GLUE_SOCKETS; i++) count += p->g->socket[i].used && p->g->socket[i].node == node;
  return count;
}

static void moves_there_and_back(struct pair *p, roam_migrate_how how) {
  connect_and_greet(p);
  roam_addr before = roam_conn_get_info(p->conn).local;
  move(p, "10.0.0.3", how, 1);
  move(p, "10.0.0.2", how, 2);
  assert_true(roam_conn_get_info(p->conn).local.port != before.port); /* a new port, always */
  move(p, "10.0.0.3", how, 3);
  move(p, "10.0.0.2", how, 4);
  glue_run(p->g, 2 * ROAM_S);
  assert_int_equal(sockets_of(p, 1), 1); /* the old ones are given back */
  pair_free(p);
}

static void probing_moves_there_and_back(void **state) {
  (void)state;
  moves_there_and_back(pair_new(NULL), ROAM_MIGRATE_PROBE);
}

static void immediate_moves_there_and_back(void **state) {
  (void)state;
  moves_there_and_back(pair_new(NULL), ROAM_MIGRATE_IMMEDIATE);
}

/* The old network is dead when the client moves: two round trips, as the notes have measured. */
static void an_immediate_move_off_a_dead_network(void **state) {
  (void)state;
  struct nat nat = {0};
  struct pair *p = pair_new(NULL);
  p->g->context = &nat;
  p->g->out = nat_out;
  connect_and_greet(p);
  struct ticker t = {.p = p};
  tick_for(&t, ROAM_S);
  nat.blocked = addr("10.0.0.2");
  nat.block_private = true;
  roam_addr local = addr("10.0.0.3");
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &local, NULL, ROAM_MIGRATE_IMMEDIATE), 0);
  tick_for(&t, ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_PATH_MIGRATED, NULL), 1);
  assert_true(t.longest <= 4 * PAIR_DELAY + 50 * ROAM_MS);
  pair_free(p);
}

static void a_probe_into_a_black_hole_fails_and_harms_nothing(void **state) {
  (void)state;
  struct nat nat = {0};
  struct pair *p = pair_new(NULL);
  p->g->context = &nat;
  p->g->out = nat_out;
  connect_and_greet(p);
  nat.blocked = addr("10.0.0.9");
  nat.block_private = true;
  roam_addr local = addr("10.0.0.9");
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &local, NULL, ROAM_MIGRATE_PROBE), 0);
  struct ticker t = {.p = p};
  tick_for(&t, 3 * ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_PATH_FAILED, NULL), 1);
  assert_int_equal(side_last(p->client, ROAM_TE_PATH_FAILED)->rc, ROAM_E_PATH);
  assert_true(t.longest <= 60 * ROAM_MS);
  assert_int_equal(sockets_of(p, 1), 1);
  move(p, "10.0.0.3", ROAM_MIGRATE_PROBE, 1);
  pair_free(p);
}

static void moving_is_refused_when_it_cannot_be(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  roam_addr local = addr("10.0.0.3"), six = addr("::1");
  pair_dial(p, "localhost");
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &local, NULL, ROAM_MIGRATE_PROBE), ROAM_E_STATE);
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &six, NULL, ROAM_MIGRATE_PROBE), ROAM_E_ARGUMENT);
  assert_int_equal(roam_conn_migrate(p->server->conn, p->g->now, &local, NULL, ROAM_MIGRATE_PROBE), ROAM_E_UNSUPPORTED);
  pair_free(p);
}

/* Far more moves than connection ids: each waits for its turn, the last wins, nothing breaks. */
static void a_burst_of_moves_ends_where_the_last_said(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  connect_and_greet(p);
  const char *places[] = {"10.0.0.3", "10.0.0.4"};
  for (int i = 0; i < 31; i++) {
    roam_addr local = addr(places[i % 2]);
    roam_rc rc = roam_conn_migrate(p->conn, p->g->now, &local, NULL, i % 3 ? ROAM_MIGRATE_IMMEDIATE : ROAM_MIGRATE_PROBE);
    assert_true(rc == 0 || rc == ROAM_E_LIMIT);
    glue_run(p->g, (uint64_t)(i * 7 % 60) * ROAM_MS);
  }
  roam_addr last = addr("10.0.0.7");
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &last, NULL, ROAM_MIGRATE_PROBE), 0);
  struct ticker t = {.p = p};
  tick_for(&t, 4 * ROAM_S);
  roam_addr here = roam_conn_get_info(p->conn).local;
  assert_true(roam_addr_same_ip(&here, &last));
  assert_true(t.got > 300);
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  assert_int_equal(sockets_of(p, 1), 1);
  pair_free(p);
}

/* A NAT rebinding and soon after a move: kills the connection unless the client's id is empty. */
static void a_rebinding_and_then_a_move(void **state) {
  (void)state;
  struct nat nat = {0};
  struct pair *p = pair_behind_nat(&nat);
  struct ticker t = {.p = p};
  tick_for(&t, ROAM_S);
  roam_addr_parse("192.0.2.203", &nat.public_ip);
  roam_conn_ping(p->conn, p->g->now);
  tick_for(&t, 200 * ROAM_MS);
  roam_addr local = addr("11.0.0.3"); /* a network without the NAT */
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &local, NULL, ROAM_MIGRATE_IMMEDIATE), 0);
  tick_for(&t, 3 * ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL) + side_count(p->server, ROAM_TE_CLOSED, NULL), 0);
  assert_int_equal(side_count(p->server, ROAM_TE_PEER_MOVED, NULL), 2);
  glue_run(p->g, ROAM_S);
  tick_for(&t, 20 * ROAM_MS);
  assert_true(t.got + 5 >= t.sent);
  pair_free(p);
}

/* To another network and back, sooner than the server has made up its mind about the first move: with a new port each time
 * nothing pauses. (To the old port it would, for seconds.) */
static void a_return_costs_nothing_however_soon(void **state) {
  static const uint64_t after_ms[] = {20, 120, 1000, 4000};
  (void)state;
  for (size_t i = 0; i < sizeof after_ms / sizeof after_ms[0]; i++) {
    struct pair *p = pair_new(NULL);
    struct ticker t = {.p = p};
    roam_addr there = addr("10.0.0.3"), back = addr("10.0.0.2");
    connect_and_greet(p);
    tick_for(&t, ROAM_S);
    assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &there, NULL, ROAM_MIGRATE_PROBE), 0);
    tick_for(&t, after_ms[i] * ROAM_MS);
    assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &back, NULL, ROAM_MIGRATE_PROBE), 0);
    tick_for(&t, 5 * ROAM_S);
    roam_addr here = roam_conn_get_info(p->conn).local;
    assert_true(roam_addr_same_ip(&here, &back));
    assert_true(t.longest <= 30 * ROAM_MS);
    assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL) + side_count(p->server, ROAM_TE_CLOSED, NULL), 0);
    pair_free(p);
  }
}

/* A NAT that changes its mind twice. */
static void two_rebindings_in_a_row(void **state) {
  static const uint64_t apart_ms[] = {20, 100, 1000};
  (void)state;
  for (size_t i = 0; i < sizeof apart_ms / sizeof apart_ms[0]; i++) {
    struct nat nat = {0};
    struct pair *p = pair_behind_nat(&nat);
    struct ticker t = {.p = p};
    tick_for(&t, ROAM_S);
    nat.public_ip = addr("192.0.2.203");
    roam_conn_ping(p->conn, p->g->now);
    tick_for(&t, apart_ms[i] * ROAM_MS);
    nat.public_ip = addr("192.0.2.204");
    roam_conn_ping(p->conn, p->g->now);
    tick_for(&t, 3 * ROAM_S);
    roam_addr there = roam_conn_get_info(p->server->conn).remote;
    assert_int_equal(there.ip[3], 204);
    assert_true(t.longest <= (2 * 2 * PAIR_DELAY + 70 * ROAM_MS) + (apart_ms[i] < 200 ? apart_ms[i] * ROAM_MS : 0));
    glue_run(p->g, ROAM_S);
    tick_for(&t, 20 * ROAM_MS);
    assert_true(t.got + 5 >= t.sent);
    pair_free(p);
  }
}

/* A round trip far longer than the first guess (600 ms, 100 ms): the validation waits for it. */
static void a_long_way_is_validated_too(void **state) {
  (void)state;
  for (int how = 0; how < 2; how++) {
    struct pair *p = pair_new(NULL);
    struct ticker t = {.p = p};
    roam_addr there = addr("10.0.0.3");
    p->g->delay_ns = 300 * ROAM_MS;
    pair_dial(p, "localhost");
    glue_run(p->g, 3 * ROAM_S);
    assert_true(pair_send(p->client, p->conn, "!", 1));
    glue_run(p->g, ROAM_S);
    pair_expect(p->server, p->server->conn, "!", 1);
    tick_for(&t, 4 * ROAM_S);
    t.longest = 0; /* of the beginning */
    assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &there, NULL, how ? ROAM_MIGRATE_IMMEDIATE : ROAM_MIGRATE_PROBE),
                     0);
    tick_for(&t, 6 * ROAM_S);
    assert_int_equal(side_count(p->client, ROAM_TE_PATH_MIGRATED, NULL), 1);
    assert_int_equal(side_count(p->client, ROAM_TE_PATH_FAILED, NULL), 0);
    assert_int_equal(side_last(p->client, ROAM_TE_PATH_MIGRATED)->validation_ns / ROAM_MS, 600);
    assert_true(t.longest <= 900 * ROAM_MS); /* the server's guess is short: it takes for lost what is only far */
    glue_run(p->g, 2 * ROAM_S);
    tick_for(&t, 20 * ROAM_MS);
    assert_true(t.got + 70 >= t.sent);
    pair_free(p);
  }
}

static struct roam_quic_conn *inside(roam_conn *c) { return (struct roam_quic_conn *)c; }

static void give_token(struct pair *p) {
  inside(p->server->conn)->token_due = true;
  roam_conn_ping(p->server->conn, p->g->now);
  glue_run(p->g, 150 * ROAM_MS);
}

/* Servers on quinn give two with the handshake, which is no NAT's doing; a later one that we did not move for is. */
static void tokens_that_come_together_tell_of_no_nat(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  glue_run(p->g, 4 * ROAM_S); /* beyond the time that an own move would excuse */
  pair_dial(p, "localhost");
  for (int i = 0; i < 100 && (!p->conn || inside(p->conn)->tokens_seen == 0); i++) glue_run(p->g, 10 * ROAM_MS);
  give_token(p);
  assert_int_equal(inside(p->conn)->tokens_seen, 2);
  assert_int_equal(roam_conn_get_info(p->conn).rebinds, 0);
  glue_run(p->g, 4 * ROAM_S);
  give_token(p);
  assert_int_equal(inside(p->conn)->tokens_seen, 3);
  assert_int_equal(roam_conn_get_info(p->conn).rebinds, 1);
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_rebinding_nat_does_not_stop_the_flow),
      cmocka_unit_test(a_quick_flip_back_loses_nothing_for_long),
      cmocka_unit_test(a_spoofed_address_delays_but_does_not_lose),
      cmocka_unit_test(a_broker_told_not_to_follow_loses_its_client),
      cmocka_unit_test(probing_moves_there_and_back),
      cmocka_unit_test(immediate_moves_there_and_back),
      cmocka_unit_test(an_immediate_move_off_a_dead_network),
      cmocka_unit_test(a_probe_into_a_black_hole_fails_and_harms_nothing),
      cmocka_unit_test(moving_is_refused_when_it_cannot_be),
      cmocka_unit_test(a_burst_of_moves_ends_where_the_last_said),
      cmocka_unit_test(a_rebinding_and_then_a_move),
      cmocka_unit_test(a_return_costs_nothing_however_soon),
      cmocka_unit_test(two_rebindings_in_a_row),
      cmocka_unit_test(a_long_way_is_validated_too),
      cmocka_unit_test(tokens_that_come_together_tell_of_no_nat),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
