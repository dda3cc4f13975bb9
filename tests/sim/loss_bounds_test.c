/* loss_bounds_test.c - full rate over a path that loses packets: publisher, broker and subscriber hold a bounded number of
 * bytes, however long it lasts, and what was taken arrives. The minute of it on sockets is `roamqtt-bench loss`. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#if defined(__SANITIZE_ADDRESS__)
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc packages leave the header out */
#endif

#define RUN_NS (4 * ROAM_S)
#define EACH_TURN 1000 /* publishes tried in a millisecond: far more than the path carries */

enum {
  PAYLOAD = 256,
  MIB = 1 << 20,
  /* 10000 messages in the publisher's queue are 4 MiB, the broker's for the subscriber 16 MiB at most; the rest are
   * windows, parcels of the world under way, tables. Without back-pressure a second of this is more. */
  BYTES_MAX = 32 * MIB,
  GROWTH_MAX = 2 * MIB
};

struct stage {
  roam_world *world;
  roam_host *server;
  roam_addr home;
  roam_identity identity;
  roam_broker *broker;
  roam_client *publisher, *subscriber;
  uint8_t qos;
  bool publishing;
  uint64_t sent, blocked, received;
  size_t queued_max;
};

/* What malloc has given away and not got back. */
static size_t allocated(void) {
#if defined(__SANITIZE_ADDRESS__)
  return __sanitizer_get_current_allocated_bytes();
#else
  struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
#endif
}

/* ---- the machines ------------------------------------------------------------------------------------------------------
 */

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  struct stage *s = context;
  for (size_t i = 0; i < n; i++) s->received += ev[i].kind == ROAM_EV_MESSAGE && ev[i].u.message.payload.len == PAYLOAD;
}

static void publish_all(void *context) {
  struct stage *s = context;
  static const uint8_t payload[PAYLOAD];
  roam_time now = roam_world_now(s->world);
  roam_client_message m = {.topic = stage_bytes("full/rate"), .payload = {payload, PAYLOAD}, .qos = s->qos};
  for (int i = 0; i < EACH_TURN; i++) {
    if (roam_client_publish(s->publisher, now, &m, NULL) != 0) {
      s->blocked++;
      break;
    }
    s->sent++;
  }
  if (s->publishing) roam_world_at(s->world, now + ROAM_MS, publish_all, s);
}

static roam_client *start_client(struct stage *s, const char *id, const char *address, roam_world_sink sink) {
  roam_addr at = stage_addr(address);
  roam_host *host = roam_world_host(s->world, id);
  assert_int_equal(roam_host_address(host, "eth0", &at), 0);
  roam_client_options o = stage_client_options(&s->identity, "mqtt-quic://192.0.2.1", id);
  roam_client *c = roam_client_new(&o, roam_world_random(s->world), NULL);
  assert_non_null(c);
  assert_int_equal(roam_client_start(c, roam_world_now(s->world)), 0);
  assert_int_equal(roam_host_run(host, roam_client_machine(c), sink, s), 0);
  return c;
}

static void start_broker(struct stage *s) {
  roam_addr at = stage_addr("192.0.2.1:14567");
  roam_broker_options o = stage_broker_options(&s->identity);
  s->broker = roam_broker_new(&o, roam_world_now(s->world), roam_world_random(s->world), NULL);
  assert_non_null(s->broker);
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_QUIC, &at, NULL), 0);
  assert_int_equal(roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL), 0);
}

/* 10 ms each way, at the broker: both clients' packets pass it in both directions. */
static roam_hop *add_path(struct stage *s) {
  roam_hop *loss = stage_loss(s->world, 0);
  assert_int_equal(roam_host_hop(s->server, &s->home, stage_delay(s->world, 10 * ROAM_MS, 0)), 0);
  assert_int_equal(roam_host_hop(s->server, &s->home, loss), 0);
  return loss;
}

static void run_for(struct stage *s, uint64_t ns) {
  assert_int_equal(roam_world_run(s->world, roam_world_now(s->world) + ns), 0);
}

/* The most that was allocated at any of the moments looked at, over what there was before the flood. */
static size_t watch(struct stage *s, uint64_t ns, size_t before) {
  size_t most = 0;
  for (uint64_t at = 0; at < ns; at += 20 * ROAM_MS) {
    run_for(s, 20 * ROAM_MS);
    size_t queued = roam_broker_get_stats(s->broker).queued_bytes, now = allocated();
    if (queued > s->queued_max) s->queued_max = queued;
    if (now > before && now - before > most) most = now - before;
  }
  return most;
}

static void flood(uint8_t qos) {
  struct stage s = {.qos = qos, .publishing = true};
  roam_world_options o;
  roam_world_options_init(&o);
  o.trace_datagrams = false;
  s.world = roam_world_new(&o);
  s.home = stage_addr("192.0.2.1");
  s.server = roam_world_host(s.world, "server");
  assert_int_equal(roam_host_address(s.server, "eth0", &s.home), 0);
  assert_int_equal(roam_identity_make(&s.identity, "loss", "192.0.2.1", STAGE_WALL, 30, false), 0);
  roam_hop *loss = add_path(&s);
  start_broker(&s);
  s.publisher = start_client(&s, "publisher", "192.0.2.10", stage_ignore);
  s.subscriber = start_client(&s, "subscriber", "192.0.2.11", on_subscriber);
  run_for(&s, ROAM_S);
  roam_filter f = {.filter = stage_bytes("full/rate"), .qos = qos};
  assert_int_equal(roam_client_subscribe(s.subscriber, roam_world_now(s.world), &f, 1, NULL), 0);
  run_for(&s, ROAM_S);
  roam_loss_set(loss, 10000);

  size_t before = allocated();
  roam_world_at(s.world, roam_world_now(s.world), publish_all, &s);
  size_t first = watch(&s, RUN_NS / 2, before), second = watch(&s, RUN_NS / 2, before);
  s.publishing = false;
  print_message(
      "QoS %u: %llu taken, %llu times told to wait, %llu received; most allocated %.1f, then %.1f MiB; broker's queue "
      "%.2f MiB\n",
      qos, (unsigned long long)s.sent, (unsigned long long)s.blocked, (unsigned long long)s.received, (double)first / MIB,
      (double)second / MIB, (double)s.queued_max / MIB);
  assert_true(s.blocked > 100); /* it was the full rate */
  assert_true(s.received > 1000);
  assert_true(roam_hop_get_stats(loss).dropped[ROAM_OUT] > 0 && roam_hop_get_stats(loss).dropped[ROAM_IN] > 0);
  assert_true(first < BYTES_MAX && second < BYTES_MAX);
  assert_true(second < first + GROWTH_MAX);
  run_for(&s, 20 * ROAM_S); /* nothing that was taken is lost: the broker's queues did not run over */
  assert_int_equal(s.received, s.sent);
  assert_int_equal(roam_broker_get_stats(s.broker).messages_dropped, 0);

  roam_world_free(s.world);
  roam_client_free(s.publisher);
  roam_client_free(s.subscriber);
  roam_broker_free(s.broker);
  roam_identity_clear(&s.identity);
}

static void at_most_once(void **state) {
  (void)state;
  flood(0);
}

static void at_least_once(void **state) {
  (void)state;
  flood(1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(at_most_once), cmocka_unit_test(at_least_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
