/* flood_test.c - a flood in the world, with the real clients and broker: complete over TCP and QUIC at every QoS, pairs and
 * fan-out; and a run that cannot be complete says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/broker.h>
#include <roamqtt/load.h>
#include <roamqtt/sim.h>

#define WALL 1700000000

struct stage {
  roam_world *world;
  roam_host *lab, *server;
  roam_identity identity;
  roam_broker *broker;
  roam_flood *flood;
  roam_addr here, there;
  uint32_t dones;
  roam_rc done_rc;
};

static void ignore(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

static void hear(void *context, const roam_event ev[], size_t n) {
  struct stage *s = context;
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(ev[i].kind, ROAM_EV_LOAD_DONE);
    s->dones++;
    s->done_rc = ev[i].rc;
  }
}

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static void start_broker(struct stage *s) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.tls = (roam_tls_config){.certificate = str(s->identity.certificate), .key = str(s->identity.key), .wall_unix_s = WALL};
  o.anonymous_beyond_loopback = true;
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), NULL);
  assert_non_null(s->broker);
  roam_addr quic = s->there, tcp = s->there;
  quic.port = 14567;
  tcp.port = 1883;
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_QUIC, &quic, NULL), 0);
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_TCP, &tcp, NULL), 0);
  assert_int_equal(roam_host_run(s->server, roam_broker_machine(s->broker), ignore, NULL), 0);
}

static struct stage *stage_new(bool with_broker) {
  struct stage *s = calloc(1, sizeof *s);
  s->world = roam_world_new(NULL);
  assert_int_equal(roam_addr_parse("10.0.0.2", &s->here), 0);
  assert_int_equal(roam_addr_parse("192.0.2.1", &s->there), 0);
  assert_int_equal(roam_identity_make(&s->identity, "flood", "192.0.2.1", WALL, 30, false), 0);
  s->lab = roam_world_host(s->world, "lab");
  s->server = roam_world_host(s->world, "server");
  assert_int_equal(roam_host_address(s->lab, "eth0", &s->here), 0);
  assert_int_equal(roam_host_address(s->server, "eth0", &s->there), 0);
  roam_delay_options delay;
  roam_delay_options_init(&delay);
  delay.delay_ns = ROAM_MS;
  assert_int_equal(roam_host_hop(s->lab, &s->here, roam_delay_new(&delay, roam_world_random(s->world))), 0);
  if (with_broker) start_broker(s);
  return s;
}

static void stage_free(struct stage *s) {
  roam_flood_free(s->flood);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_identity_clear(&s->identity);
  free(s);
}

static void run(struct stage *s, bool quic, const roam_flood_options *o, roam_flood_report *report) {
  roam_client_options c;
  const char *why = "";
  roam_client_options_init(&c);
  c.url = quic ? "mqtt-quic://192.0.2.1" : "mqtt://192.0.2.1";
  c.tls = (roam_tls_config){.ca = str(s->identity.ca_certificate), .wall_unix_s = WALL};
  c.reconnect = false;
  s->flood = roam_flood_new(o, &c, roam_world_random(s->world), NULL, &why);
  if (!s->flood) fail_msg("%s", why);
  assert_int_equal(roam_host_run(s->lab, roam_flood_machine(s->flood), hear, s), 0);
  assert_int_equal(roam_flood_start(s->flood, roam_world_now(s->world)), 0);
  roam_world_run(s->world, roam_world_now(s->world) + 120 * ROAM_S);
  assert_int_equal(roam_flood_get_stage(s->flood), ROAM_FLOOD_OVER);
  assert_int_equal(s->dones, 1);
  roam_flood_get_report(s->flood, report);
}

static roam_flood_options small(uint8_t qos, uint32_t topics, uint32_t receivers) {
  roam_flood_options o;
  roam_flood_options_init(&o);
  o.qos = qos;
  o.topics = topics;
  o.receivers = receivers;
  o.window = 32;
  o.messages = 500;
  o.warmup_ns = 5 * ROAM_MS;
  return o;
}

static void complete(bool quic) {
  static const struct {
    const char *name;
    uint32_t topics, receivers, bytes;
  } shapes[] = {{"one to one", 1, 1, 64}, {"pairs", 3, 1, 64}, {"fan-out", 1, 7, 64}, {"large", 1, 2, 5000}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (uint8_t qos = 0; qos <= 2; qos++) {
      struct stage *s = stage_new(true);
      roam_flood_options o = small(qos, shapes[i].topics, shapes[i].receivers);
      o.payload_bytes = shapes[i].bytes;
      roam_flood_report r;
      run(s, quic, &o, &r);
      if (!r.valid) fail_msg("%s, QoS %u: %s", shapes[i].name, qos, r.text);
      assert_int_equal(r.published, 500 * shapes[i].topics);
      assert_true(r.counted > 0 && r.counted <= r.published * shapes[i].receivers);
      assert_true(r.counted_ns > 0 && r.latency_p50_ns >= ROAM_MS && r.latency_max_ns >= r.latency_p99_ns);
      assert_int_equal(r.lost + r.duplicated + r.disordered + r.corrupt, 0);
      stage_free(s);
    }
  }
}

static void complete_over_tcp(void **state) {
  (void)state;
  complete(false);
}

static void complete_over_quic(void **state) {
  (void)state;
  complete(true);
}

static void ends_with_its_time(void **state) {
  (void)state;
  struct stage *s = stage_new(true);
  roam_flood_options o = small(0, 1, 1);
  roam_flood_report r;
  o.messages = UINT64_MAX;
  o.warmup_ns = 20 * ROAM_MS;
  o.duration_ns = 100 * ROAM_MS;
  run(s, false, &o, &r);
  assert_true(r.valid);
  assert_true(r.counted_ns >= 100 * ROAM_MS && r.counted_ns < 110 * ROAM_MS);
  assert_true(r.counted < r.published);
  stage_free(s);
}

static void without_a_broker_it_says_so(void **state) {
  (void)state;
  struct stage *s = stage_new(false);
  roam_flood_options o = small(0, 1, 1);
  roam_flood_report r;
  run(s, false, &o, &r);
  assert_false(r.valid);
  assert_int_equal(r.counted, 0);
  assert_int_not_equal(s->done_rc, 0);
  assert_true(strlen(r.text) > 0);
  stage_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(complete_over_tcp),
      cmocka_unit_test(complete_over_quic),
      cmocka_unit_test(ends_with_its_time),
      cmocka_unit_test(without_a_broker_it_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
