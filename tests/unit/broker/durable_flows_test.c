/* durable_flows_test.c - flows over a restart of the broker: what is in flight, subscribed and queued on each comes back,
 * keyed by (flow, packet id), against a bare QUIC connection. */
#include "flow_speak.h"

static roam_store *store;

static void on_disk(roam_broker_options *o) { o->store = store; }

static void assigned_on_disk(roam_broker_options *o) {
  o->store = store;
  o->assigned = "cmd/%c";
  o->assigned_qos = 2;
}

static struct glue *begin(void (*change)(roam_broker_options *o)) {
  store = roam_store_memory();
  return flows_new_with(change);
}

static void end(struct glue *g) {
  glue_free(g);
  roam_store_free(store);
}

static void come_back(struct glue *g, uint64_t after_s) {
  break_off(g);
  restart_broker(g, after_s);
  dial_again(g);
}

static void repeat_qos2(struct glue *g, uint32_t lane, const char *topic, uint16_t id) {
  write_packet(
      g, lane,
      &(roam_packet){.type = ROAM_PUBLISH, .version = 5, .qos = 2, .dup = true, .packet_id = id, .topic = str(topic)});
}

static void flows_come_back(void **state) {
  (void)state;
  struct glue *g = begin(on_disk);
  uint32_t a = open_flow(g, 2, 60, ROAM_FLOW_CLEAN | BOTH), b = open_flow(g, 4, 60, ROAM_FLOW_CLEAN | BOTH);
  subscribe(g, a, 1, "t", 2);
  expect_on(g, a, ROAM_SUBACK, 1);
  publish(g, a, "q", 2, 5); /* the same identifier on three flows */
  publish(g, b, "q", 2, 5);
  publish(g, 0, "t", 2, 5);
  expect_on(g, a, ROAM_PUBREC, 5);
  expect_on(g, b, ROAM_PUBREC, 5);
  expect_on(g, 0, ROAM_PUBREC, 5);
  expect_on(g, a, ROAM_PUBLISH, 1);
  acknowledge(g, a, ROAM_PUBREC, 1);
  expect_on(g, a, ROAM_PUBREL, 1);
  publish(g, 0, "t", 1, 6); /* stays queued or in flight */
  expect_on(g, 0, ROAM_PUBACK, 6);
  expect_on(g, a, ROAM_PUBLISH, 2);
  acknowledge(g, b, ROAM_PUBREL, 5);
  expect_on(g, b, ROAM_PUBCOMP, 5);
  come_back(g, 10);
  assert_int_equal(subscriptions(g), 1);
  a = open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  b = open_flow(g, 4, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->resets, 0);
  expect_on(g, a, ROAM_PUBREL, 1); /* its message was received */
  roam_packet again = expect_on(g, a, ROAM_PUBLISH, 2);
  assert_int_equal(again.qos, 1);
  uint64_t before = roam_broker_get_stats(g->broker).messages_in;
  repeat_qos2(g, a, "q", 5);
  expect_on(g, a, ROAM_PUBREC, 5);
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, before); /* known on this flow */
  publish(g, b, "q", 2, 5);                                               /* and released on that */
  expect_on(g, b, ROAM_PUBREC, 5);
  assert_int_equal(roam_broker_get_stats(g->broker).messages_in, before + 1);
  acknowledge(g, a, ROAM_PUBCOMP, 1);
  publish(g, 0, "t", 1, 8); /* the subscription is alive */
  expect_on(g, 0, ROAM_PUBACK, 8);
  expect_on(g, a, ROAM_PUBLISH, 3);
  end(g);
}

static void they_expire_while_the_broker_is_down(void **state) {
  (void)state;
  for (int late = 0; late < 2; late++) {
    struct glue *g = begin(on_disk);
    uint32_t a = open_flow(g, 2, 60, ROAM_FLOW_CLEAN | BOTH);
    subscribe(g, a, 1, "t", 1);
    expect_on(g, a, ROAM_SUBACK, 1);
    break_off(g);
    run(g, 40 * ROAM_S);
    roam_broker_free(g->broker);
    g->broker = NULL;
    roam_broker_options o;
    roam_rc rc;
    uint64_t listener;
    roam_broker_options_init(&o);
    o.store = store;
    o.tls = (roam_tls_config){.certificate = str(g->identity.certificate),
                              .key = str(g->identity.key),
                              .wall_unix_s = WALL + 45 + (late ? 30 : 0)};
    g->broker = roam_broker_new(&o, g->now, &g->rng.random, &rc);
    assert_non_null(g->broker);
    assert_int_equal(roam_broker_listen(g->broker, g->now, ROAM_TRANSPORT_QUIC, &g->server, &listener), 0);
    run(g, ROAM_S);
    assert_int_equal(subscriptions(g), late ? 0 : 1);
    dial_again(g);
    open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
    assert_int_equal(g->resets, late);
    if (late) assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
    end(g);
  }
}

static void what_ends_is_struck_from_the_store(void **state) {
  (void)state;
  struct glue *g = begin(on_disk);
  uint32_t a = open_flow(g, 2, 60, ROAM_FLOW_CLEAN | BOTH);
  uint32_t b = open_flow(g, 4, 60, ROAM_FLOW_CLEAN); /* nothing of it persists */
  for (int i = 0; i < 2; i++) {
    subscribe(g, i ? b : a, 1, i ? "b" : "a", 2);
    expect_on(g, i ? b : a, ROAM_SUBACK, 1);
    publish(g, i ? b : a, "other", 2, 7);
    expect_on(g, i ? b : a, ROAM_PUBREC, 7);
    publish(g, 0, i ? "b" : "a", 1, 7);
    expect_on(g, 0, ROAM_PUBACK, 7);
    expect_on(g, i ? b : a, ROAM_PUBLISH, 1);
  }
  unsubscribe(g, a, 2, "a");
  expect_on(g, a, ROAM_UNSUBACK, 2);
  acknowledge(g, a, ROAM_PUBACK, 1);
  acknowledge(g, a, ROAM_PUBREL, 7);
  expect_on(g, a, ROAM_PUBCOMP, 7);
  roam_conn_lane_fin(g->conn, g->now, a);
  run(g, ROAM_S);
  come_back(g, 1);
  assert_int_equal(subscriptions(g), 0);
  open_flow(g, 2, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->reset_code, ROAM_FLOW_NO_STATE);
  open_flow(g, 4, 60, BOTH | ROAM_FLOW_ABORT_IF_NO_STATE);
  assert_int_equal(g->resets, 2);
  end(g);
}

static roam_rc count_one(void *context, roam_bytes key, roam_bytes record) {
  uint32_t *count = context;
  (void)record;
  *count += key.base[0] == 's' || key.base[0] == 'm';
  return 0;
}

static void nothing_is_left_when_the_session_ends(void **state) {
  (void)state;
  struct glue *g = begin(assigned_on_disk);
  uint32_t a = open_flow(g, 2, 60, ROAM_FLOW_CLEAN | BOTH), count = 0;
  char why[ROAM_STORE_WHY_MAX];
  subscribe(g, a, 1, "#", 2);
  expect_on(g, a, ROAM_SUBACK, 1);
  publish(g, a, "cmd/bare", 2, 7);
  expect_on(g, a, ROAM_PUBREC, 7);
  assert_int_equal(store->ops->scan(store, count_one, &count, why), 0);
  assert_true(count >= 7); /* session, two flows, two filters, two deliveries, message, identifier */
  static const uint8_t bye[] = {0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0}; /* Session Expiry Interval 0 */
  write_raw(g, 0, bye, sizeof bye);
  run(g, ROAM_S);
  count = 0;
  assert_int_equal(store->ops->scan(store, count_one, &count, why), 0);
  assert_int_equal(count, 0);
  end(g);
}

static void server_flows_come_back(void **state) {
  (void)state;
  struct glue *g = begin(assigned_on_disk);
  uint32_t a = g->opened_by_broker[0];
  expect_header(g, a, 1, ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_CLEAN);
  publish(g, 0, "cmd/bare", 2, 1);
  expect_on(g, 0, ROAM_PUBREC, 1);
  expect_on(g, a, ROAM_PUBLISH, 1);
  acknowledge(g, a, ROAM_PUBREC, 1);
  expect_on(g, a, ROAM_PUBREL, 1);
  publish_acked(g, 0, "cmd/bare", 2);
  expect_on(g, a, ROAM_PUBLISH, 2);
  come_back(g, 10);
  assert_int_equal(g->opened_count, 2);
  uint32_t b = g->opened_by_broker[1];
  expect_header(g, b, 1, ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_ABORT_IF_NO_STATE);
  expect_on(g, b, ROAM_PUBREL, 1);
  assert_int_equal(expect_on(g, b, ROAM_PUBLISH, 2).qos, 1);
  assert_int_equal(subscriptions(g), 1);
  end(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(flows_come_back),
      cmocka_unit_test(they_expire_while_the_broker_is_down),
      cmocka_unit_test(what_ends_is_struck_from_the_store),
      cmocka_unit_test(nothing_is_left_when_the_session_ends),
      cmocka_unit_test(server_flows_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
