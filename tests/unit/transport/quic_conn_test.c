/* One QUIC connection: the handshake, bytes through loss, both address families, and a peer that stops listening. */
#include "transport/quic.h"
#include "unit/transport/pair.h"

static void handshake_and_bytes_both_ways(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  assert_true(pair_send(p->client, p->conn, "hello", 5));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "hello", 5);
  assert_true(pair_send(p->server, p->server->conn, "welcome", 7));
  glue_run(p->g, ROAM_S);
  pair_expect(p->client, p->conn, "welcome", 7);
  pair_free(p);
}

/* One datagram in ten is lost, in either direction, from the first on: all arrives, in order, once. */
static void bytes_arrive_through_loss(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct pair_how how = {.seed = seed};
    struct pair *p = pair_new(&how);
    p->g->loss_ppm = 100000;
    pair_dial(p, "localhost");
    glue_run(p->g, 5 * ROAM_S);
    uint64_t sent = 0, got = 0;
    uint8_t bytes[1000];
    for (int i = 0; i < 20000 && got < 300000; i++) {
      for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (uint8_t)((sent + k) * 7 + ((sent + k) >> 8));
      if (sent < 300000 && pair_send(p->client, p->conn, bytes, sizeof bytes)) sent += sizeof bytes;
      glue_run(p->g, 5 * ROAM_MS);
      assert_non_null(p->server->conn);
      roam_bytes view = roam_conn_peek(p->server->conn, 0);
      for (size_t k = 0; k < view.len; k++) assert_int_equal(view.base[k], (uint8_t)((got + k) * 7 + ((got + k) >> 8)));
      got += view.len;
      roam_conn_consume(p->server->conn, p->g->now, 0, view.len);
    }
    assert_int_equal(got, 300000);
    pair_free(p);
  }
}

/* A second listener of the other family: each datagram leaves by the socket its path belongs to. */
static void both_families_side_by_side(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  roam_addr there, here;
  uint32_t listener;
  assert_int_equal(roam_addr_parse("[fd00::1]:14567", &there), 0);
  assert_int_equal(roam_addr_parse("fd00::2", &here), 0);
  assert_int_equal(roam_transport_listen(p->server->t, p->g->now, &there, &listener), 0);
  glue_settle(p->g);
  pair_connect(p);
  roam_conn *old = p->server->conn;
  assert_int_equal(roam_transport_dial(p->client->t, p->g->now, &p->server_addr, &here, NULL, "localhost", NULL, &p->conn),
                   ROAM_E_ARGUMENT);
  assert_int_equal(roam_transport_dial(p->client->t, p->g->now, &there, &here, NULL, "localhost", NULL, &p->conn), 0);
  glue_run(p->g, ROAM_S);
  assert_int_equal(side_count(p->client, ROAM_TE_OPENED, p->conn), 1);
  assert_true(pair_send(p->client, p->conn, "six", 3));
  glue_run(p->g, ROAM_S);
  assert_ptr_not_equal(p->server->conn, old);
  pair_expect(p->server, p->server->conn, "six", 3);
  assert_int_equal(roam_conn_get_info(p->server->conn).remote.family, 6);
  assert_int_equal(roam_conn_get_info(old).remote.family, 4);
  pair_free(p);
}

/* A broker that wants no more bytes and still says why: what it said must be heard before anything else. */
static void who_stops_listening_is_still_heard(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  assert_true(pair_send(p->client, p->conn, "x", 1));
  glue_run(p->g, ROAM_S);
  struct roam_quic_conn *server = (struct roam_quic_conn *)p->server->conn;
  assert_int_equal(ngtcp2_conn_shutdown_stream_read(server->nc, 0, 0, 0x8e), 0);
  assert_true(pair_send(p->server, p->server->conn, "taken over", 10));
  glue_run(p->g, ROAM_S);
  pair_expect(p->client, p->conn, "taken over", 10);
  pair_send(p->client, p->conn, "y", 1); /* goes nowhere, and with it comes to light that nothing will */
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_room(p->conn, 0), 0);
  assert_false(pair_send(p->client, p->conn, "z", 1));
  const roam_te *reset = side_last(p->client, ROAM_TE_LANE_RESET);
  assert_non_null(reset);
  assert_int_equal(reset->code, 0x8e);
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
  pair_free(p);
}

/* Lanes aborted from either end with much under way and datagrams lost: bytes handed over stay in place until the library
 * has let go (the sanitizer watches), and the connection goes on. */
static void read_all(struct pair *p, uint32_t last) {
  for (uint32_t lane = 1; lane <= last; lane++) {
    roam_conn_consume(p->server->conn, p->g->now, lane, SIZE_MAX);
    roam_conn_consume(p->conn, p->g->now, lane, SIZE_MAX);
  }
}

static void resets_while_much_is_under_way(void **state) {
  (void)state;
  static uint8_t bytes[60000];
  struct pair *p = pair_new(NULL);
  roam_slice slice = {bytes, sizeof bytes, NULL};
  pair_connect(p);
  p->g->loss_ppm = 100000;
  for (int i = 0; i < 120; i++) {
    uint32_t lane;
    roam_rc rc = roam_conn_lane_open(p->conn, p->g->now, &lane);
    if (rc == ROAM_E_LIMIT) {
      glue_run(p->g, ROAM_S);
      continue;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(roam_conn_write(p->conn, p->g->now, lane, &slice, 1), 0);
    glue_run(p->g, (uint64_t)(i % 11) * 12 * ROAM_MS);
    roam_conn_write(p->server->conn, p->g->now, lane, &slice, 1);
    glue_run(p->g, (uint64_t)(i % 5) * 20 * ROAM_MS);
    roam_conn_lane_reset(i % 2 ? p->conn : p->server->conn, p->g->now, lane, (uint64_t)i);
    if (i % 3 == 0) roam_conn_lane_reset(i % 2 ? p->server->conn : p->conn, p->g->now, lane, (uint64_t)i);
    read_all(p, lane);
  }
  p->g->loss_ppm = 0;
  glue_run(p->g, 10 * ROAM_S);
  read_all(p, 200);
  for (uint32_t lane = 1; lane < 200; lane++)
    roam_conn_lane_reset(p->conn, p->g->now, lane, 0); /* some had no other end yet */
  assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL) + side_count(p->server, ROAM_TE_CLOSED, NULL), 0);
  for (int i = 0; i < 30; i++) { /* the windows have all come back */
    assert_true(pair_send(p->client, p->conn, bytes, sizeof bytes));
    glue_run(p->g, ROAM_S);
    pair_expect(p->server, p->server->conn, bytes, sizeof bytes);
  }
  assert_true(((struct roam_quic_conn *)p->conn)->lanes_count <= 2);
  assert_true(((struct roam_quic_conn *)p->server->conn)->lanes_count <= 2);
  pair_free(p);
}

/* The clock of a driver may stumble; the library below asserts on it. */
static void time_going_backwards_is_no_time(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  roam_transport_tick(p->client->t, 5);
  roam_conn_ping(p->conn, 0);
  roam_wire out[4];
  while (roam_transport_drain(p->client->t, 17, out, 4) > 0) continue;
  assert_true(pair_send(p->client, p->conn, "still", 5));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "still", 5);
  pair_free(p);
}

/* A driver with room for one unit at a time loses nothing. */
static void a_narrow_drain_is_enough(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  static uint8_t bytes[100000];
  pair_connect(p);
  assert_true(pair_send(p->client, p->conn, bytes, sizeof bytes));
  for (int i = 0; i < 400; i++) {
    roam_wire one;
    while (roam_transport_drain(p->client->t, p->g->now, &one, 1) > 0) glue_take(p->g, 1, &one);
    glue_run(p->g, 5 * ROAM_MS);
  }
  assert_int_equal(roam_conn_peek(p->server->conn, 0).len, sizeof bytes);
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(handshake_and_bytes_both_ways),  cmocka_unit_test(bytes_arrive_through_loss),
      cmocka_unit_test(both_families_side_by_side),     cmocka_unit_test(who_stops_listening_is_still_heard),
      cmocka_unit_test(resets_while_much_is_under_way), cmocka_unit_test(time_going_backwards_is_no_time),
      cmocka_unit_test(a_narrow_drain_is_enough),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
