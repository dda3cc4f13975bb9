/* push_test.c - server data flows as the broker opens them, against a bare QUIC connection: what it assigns, where that
 * travels, how a flow is recovered, refused, withdrawn, and what only its owner may do. */
#include "flow_speak.h"

#define RECOVER (ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_ABORT_IF_NO_STATE)
#define CLEAN (ROAM_FLOW_PERSISTENT_QOS | ROAM_FLOW_CLEAN)

static void two(roam_broker_options *o) { o->assigned = "cmd/%c all"; }

static struct glue *begin(void (*change)(roam_broker_options *o), uint32_t *lane) {
  struct glue *g = flows_new_with(change);
  assert_true(g->opened_count >= 1);
  *lane = g->opened_by_broker[0];
  assert_int_equal(*lane, ROAM_LANE_OF_SERVER);
  return g;
}

static void one(roam_broker_options *o) { o->assigned = "cmd/%c"; }

/* With one topic, whose flow has begun as it should. */
static struct glue *begin_clean(uint32_t *lane) {
  struct glue *g = begin(one, lane);
  expect_header(g, *lane, 1, CLEAN);
  return g;
}

static void what_is_assigned_travels_on_its_own_flow(void **state) {
  (void)state;
  uint32_t a, b;
  struct glue *g = begin(two, &a);
  assert_int_equal(g->opened_count, 2);
  b = g->opened_by_broker[1];
  struct roam_flow_header h = expect_header(g, a, 1, CLEAN);
  assert_int_equal(h.expire_s, 3600); /* as long as the session */
  expect_header(g, b, 3, CLEAN);
  publish(g, 0, "cmd/bare", 1, 1);
  publish(g, 0, "all", 1, 2);
  publish(g, 0, "cmd/other", 1, 3);
  for (uint16_t id = 1; id <= 3; id++) expect_on(g, 0, ROAM_PUBACK, id);
  expect_on(g, a, ROAM_PUBLISH, 1); /* identifiers are each flow's own */
  expect_on(g, b, ROAM_PUBLISH, 1);
  expect_quiet(g, 0);
  acknowledge(g, a, ROAM_PUBACK, 1);
  acknowledge(g, b, ROAM_PUBACK, 1);
  assert_int_equal(roam_broker_get_stats(g->broker).server_flows_opened, 2);
  expect_alive(g);
  glue_free(g);
}

static void what_may_travel_on_a_server_flow(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin_clean(&a);
  publish(g, a, "nobody", 2, 9); /* PUBLISH and its answers go either way on every flow */
  expect_on(g, a, ROAM_PUBREC, 9);
  acknowledge(g, a, ROAM_PUBREL, 9);
  expect_on(g, a, ROAM_PUBCOMP, 9);
  write_packet(g, a, &(roam_packet){.type = ROAM_PINGREQ, .version = 5});
  expect_on(g, a, ROAM_PINGRESP, 0);
  assert_int_equal(g->resets, 0);
  subscribe(g, a, 1, "t", 0); /* but nobody subscribes there */
  assert_int_equal(g->reset_lane, a);
  assert_int_equal(g->reset_code, ROAM_FLOW_CANCELLED);
  assert_int_equal(subscriptions(g), 1); /* the broker's, which it opens anew */
  assert_int_equal(g->opened_count, 2);
  expect_header(g, g->opened_by_broker[1], 1, CLEAN);
  expect_alive(g);
  glue_free(g);
}

static void a_lost_stream_is_recovered(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin_clean(&a);
  run(g, 2 * ROAM_S);
  publish_acked(g, 0, "cmd/bare", 1);
  expect_on(g, a, ROAM_PUBLISH, 1);
  roam_conn_lane_reset(g->conn, g->now, a, ROAM_FLOW_PACKET_CANCELLED); /* level 2 */
  run(g, ROAM_S);
  assert_int_equal(g->opened_count, 2);
  uint32_t b = g->opened_by_broker[1];
  expect_header(g, b, 1, RECOVER);
  assert_true(expect_on(g, b, ROAM_PUBLISH, 1).dup);
  acknowledge(g, b, ROAM_PUBACK, 1);
  reconnect(g, ROAM_S);
  assert_int_equal(g->opened_count, 3);
  expect_header(g, g->opened_by_broker[2], 1, RECOVER);
  expect_quiet(g, g->opened_by_broker[2]);
  glue_free(g);
}

static void what_is_assigned_waits_while_nobody_is_there(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin_clean(&a);
  break_off(g);
  assert_int_equal(roam_broker_publish(g->broker, g->now, str("cmd/bare"), str("later"), 1, false), 0);
  run(g, ROAM_S);
  dial_again(g);
  expect_header(g, g->opened_by_broker[1], 1, RECOVER);
  expect_on(g, g->opened_by_broker[1], ROAM_PUBLISH, 1);
  glue_free(g);
}

static void a_client_without_state_gets_a_clean_beginning(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin_clean(&a);
  publish_acked(g, 0, "cmd/bare", 1);
  expect_on(g, a, ROAM_PUBLISH, 1);
  reconnect(g, ROAM_S);
  uint32_t b = g->opened_by_broker[1];
  expect_header(g, b, 1, RECOVER);
  roam_conn_lane_reset(g->conn, g->now, b, ROAM_FLOW_NO_STATE);
  run(g, ROAM_S);
  assert_int_equal(g->opened_count, 3);
  uint32_t c = g->opened_by_broker[2];
  expect_header(g, c, 1, CLEAN);                      /* recovering again would be level 0 */
  assert_false(expect_on(g, c, ROAM_PUBLISH, 2).dup); /* what it may not have seen, as new */
  assert_false(g->closed);
  glue_free(g);
}

static void a_client_that_wants_none_is_left_alone(void **state) {
  (void)state;
  static const uint8_t codes[] = {ROAM_FLOW_PUSH_NOT_WELCOME, ROAM_FLOW_REFUSED};
  for (size_t i = 0; i < sizeof codes; i++) {
    uint32_t a;
    struct glue *g = begin_clean(&a);
    roam_conn_lane_reset(g->conn, g->now, a, codes[i]);
    run(g, 5 * ROAM_S);
    assert_int_equal(g->opened_count, 1);
    assert_int_equal(subscriptions(g), 0); /* nothing piles up for it */
    assert_int_equal(roam_broker_get_stats(g->broker).server_flows_refused, 1);
    reconnect(g, ROAM_S);
    assert_int_equal(g->opened_count, 2); /* it is asked again */
    expect_header(g, g->opened_by_broker[1], 1, CLEAN);
    assert_int_equal(subscriptions(g), 1);
    glue_free(g);
  }
}

static void streams_that_do_not_live_are_given_up(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin(one, &a);
  for (int i = 0; i < 5; i++) {
    roam_conn_lane_reset(g->conn, g->now, g->opened_by_broker[g->opened_count - 1], ROAM_FLOW_BAD_ID);
    run(g, 100 * ROAM_MS);
  }
  assert_int_equal(g->opened_count, 3);
  assert_int_equal(subscriptions(g), 0);
  expect_alive(g);
  glue_free(g);
}

static void only_the_owner_ends_a_flow(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin(one, &a);
  roam_conn_lane_fin(g->conn, g->now, a);
  expect_closed(g, ROAM_FLOWS_PROTOCOL);
  glue_free(g);
}

static void a_withdrawn_flow_ends_gracefully(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin_clean(&a);
  publish_acked(g, 0, "cmd/bare", 1);
  assert_int_equal(roam_broker_withdraw(g->broker, g->now, "bare", "cmd/none"), ROAM_E_NOT_FOUND);
  assert_int_equal(roam_broker_withdraw(g->broker, g->now, "bare", "cmd/bare"), 0);
  run(g, ROAM_S);
  assert_int_equal(g->fins, 0); /* its message is not acknowledged yet */
  expect_on(g, a, ROAM_PUBLISH, 1);
  acknowledge(g, a, ROAM_PUBACK, 1);
  assert_int_equal(g->fins, UINT64_C(1) << 32);
  publish_acked(g, 0, "cmd/bare", 2);
  expect_quiet(g, a);
  roam_conn_lane_fin(g->conn, g->now, a);
  run(g, ROAM_S);
  expect_alive(g);
  assert_int_equal(subscriptions(g), 0);
  assert_int_equal(g->opened_count, 1);
  glue_free(g);
}

static void assigned_while_it_runs(void **state) {
  (void)state;
  struct glue *g = flows_new();
  assert_int_equal(g->opened_count, 0);
  assert_int_equal(roam_broker_assign(g->broker, g->now, "nobody", "t", 1), ROAM_E_NOT_FOUND);
  assert_int_equal(roam_broker_assign(g->broker, g->now, "bare", "a#", 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_assign(g->broker, g->now, "bare", "t", 3), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_assign(g->broker, g->now, "bare", "$share/g/t", 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_broker_publish(g->broker, g->now, str("t/1"), str("kept"), 1, true), 0);
  for (int i = 0; i < 2; i++) assert_int_equal(roam_broker_assign(g->broker, g->now, "bare", "t/+", 2), 0);
  run(g, ROAM_S);
  assert_int_equal(g->opened_count, 1);
  uint32_t a = g->opened_by_broker[0];
  expect_header(g, a, 1, CLEAN);
  assert_true(expect_on(g, a, ROAM_PUBLISH, 1).retain);
  publish(g, 0, "t/2", 2, 7);
  expect_on(g, 0, ROAM_PUBREC, 7);
  assert_int_equal(expect_on(g, a, ROAM_PUBLISH, 2).qos, 2);
  reconnect(g, ROAM_S); /* what the option does not say, the session keeps */
  assert_int_equal(g->opened_count, 2);
  glue_free(g);
}

/* The client grants GLUE_GRANT streams. What finds none waits for one and goes nowhere else. */
static void many(roam_broker_options *o) { o->assigned = "1 2 3 4 5 6"; }

static void what_finds_no_stream_waits(void **state) {
  (void)state;
  uint32_t a;
  struct glue *g = begin(many, &a);
  assert_int_equal(g->opened_count, GLUE_GRANT);
  publish_acked(g, 0, "6", 1);
  for (int i = 0; i < GLUE_GRANT; i++) {
    expect_header(g, g->opened_by_broker[i], 2 * (uint64_t)i + 1, CLEAN);
    expect_quiet(g, g->opened_by_broker[i]);
  }
  expect_quiet(g, 0);
  assert_int_equal(roam_broker_withdraw(g->broker, g->now, "bare", "1"), 0);
  assert_int_equal(roam_broker_withdraw(g->broker, g->now, "bare", "2"), 0);
  run(g, ROAM_S);
  for (int i = 0; i < 2; i++) roam_conn_lane_fin(g->conn, g->now, g->opened_by_broker[i]);
  run(g, ROAM_S);
  assert_int_equal(g->opened_count, 6);
  for (int i = 4; i < 6; i++) {
    roam_bytes bytes = roam_conn_peek(g->conn, g->opened_by_broker[i]);
    struct roam_flow_header h;
    size_t used;
    assert_int_equal(roam_flow_read(bytes, &h, &used), 1);
    assert_true(h.id == 9 || h.id == 11);
    if (h.id != 11) continue;
    roam_conn_consume(g->conn, g->now, g->opened_by_broker[i], used);
    expect_on(g, g->opened_by_broker[i], ROAM_PUBLISH, 1);
  }
  glue_free(g);
}

static void without_flows_nothing_is_pushed(void **state) {
  (void)state;
  struct glue *g = glue_open(two, "mqtt");
  glue_greet(g);
  assert_int_equal(g->opened_count, 0);
  assert_int_equal(subscriptions(g), 0);
  glue_free(g);
}

/* Client identifiers that could be filters get nothing. */
static void names_are_names(void **state) {
  (void)state;
  static const char *const ids[] = {"#", "a/b", "+"};
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    struct glue *g = glue_open(one, "MQTT-next");
    write_header(g, 0, ROAM_FLOW_CONTROL, 0, 0, 0);
    write_packet(g, 0, &(roam_packet){.type = ROAM_CONNECT, .version = 5, .connect = {.client_id = str(ids[i])}});
    expect_on(g, 0, ROAM_CONNACK, 0);
    run(g, ROAM_S);
    assert_int_equal(g->opened_count, 0);
    glue_free(g);
  }
}

static void options_are_checked(void **state) {
  (void)state;
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.assigned = "t";
  assert_null(roam_broker_option_error(&o));
  o.assigned_qos = 3;
  assert_non_null(roam_broker_option_error(&o));
  o.assigned_qos = 1;
  o.flows = false;
  assert_non_null(roam_broker_option_error(&o));
  o.flows = true;
  o.assigned = "\xff";
  assert_non_null(roam_broker_option_error(&o));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_assigned_travels_on_its_own_flow),
      cmocka_unit_test(what_may_travel_on_a_server_flow),
      cmocka_unit_test(a_lost_stream_is_recovered),
      cmocka_unit_test(what_is_assigned_waits_while_nobody_is_there),
      cmocka_unit_test(a_client_without_state_gets_a_clean_beginning),
      cmocka_unit_test(a_client_that_wants_none_is_left_alone),
      cmocka_unit_test(streams_that_do_not_live_are_given_up),
      cmocka_unit_test(only_the_owner_ends_a_flow),
      cmocka_unit_test(a_withdrawn_flow_ends_gracefully),
      cmocka_unit_test(assigned_while_it_runs),
      cmocka_unit_test(what_finds_no_stream_waits),
      cmocka_unit_test(without_flows_nothing_is_pushed),
      cmocka_unit_test(names_are_names),
      cmocka_unit_test(options_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
