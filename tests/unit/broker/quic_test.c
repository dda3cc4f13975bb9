/* quic_test.c - a broker glued in memory to a bare QUIC connection that speaks what the test writes: a close without
 * DISCONNECT is abnormal whatever its code, a new address is followed and told. Data streams: lanes_test.c. */
#include "glue.h"

/* how: close with code 0, the lane's end, DISCONNECT */
static void ends(void **state) {
  (void)state;
  for (int how = 0; how < 3; how++) {
    struct glue *g = glue_new();
    if (how == 0) roam_conn_close(g->conn, g->now, 0, true);
    if (how == 1) roam_conn_lane_fin(g->conn, g->now, 0);
    if (how == 2) write_packet(g, 0, &(roam_packet){.type = ROAM_DISCONNECT, .version = 5});
    run(g, 5 * ROAM_S);
    assert_true(g->closed);
    assert_int_equal(g->counts[ROAM_EV_PEER_DISCONNECTED], 1);
    assert_int_equal(roam_broker_get_stats(g->broker).retained, how != 2); /* the will */
    assert_int_equal(roam_broker_get_stats(g->broker).connections, 0);
    if (how != 2) assert_int_equal(g->last[ROAM_EV_PEER_DISCONNECTED].rc, ROAM_E_PEER_CLOSED);
    else assert_int_equal(g->last[ROAM_EV_PEER_DISCONNECTED].reason, 0);
    glue_free(g);
  }
}

static void a_new_address_is_followed(void **state) {
  (void)state;
  struct glue *g = glue_new();
  roam_addr before = g->client;
  roam_peer_info info;
  g->client = addr("127.0.0.3:6000");
  write_packet(g, 0, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  run(g, ROAM_S);
  expect(g, ROAM_PINGRESP);
  assert_int_equal(g->counts[ROAM_EV_PEER_MOVED], 1);
  assert_true(roam_addr_equal(&g->last[ROAM_EV_PEER_MOVED].u.path.old_remote, &before));
  assert_true(roam_addr_equal(&g->last[ROAM_EV_PEER_MOVED].u.path.remote, &g->client));
  assert_int_equal(roam_broker_client(g->broker, "bare", &info), 0);
  assert_true(roam_addr_equal(&info.ip_address, &g->client));
  assert_true(roam_addr_equal(&info.connect_address, &before));
  assert_int_equal(info.moves, 1);
  glue_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ends), cmocka_unit_test(a_new_address_is_followed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
