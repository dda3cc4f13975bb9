/* congestion_test.c - cubic, reno and bbr in the world, over a bottleneck and over loss, client and broker whole: each
 * delivers everything, and what is sent is paced as its controller says, not in bursts of a window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#define MESSAGES 4000
#define MESSAGE_BYTES 1000
#define RATE_BYTES_S 500000
#define RTT (50 * ROAM_MS)
#define BDP_BYTES (RATE_BYTES_S / 20) /* of this rate and round trip */

struct run {
  roam_congestion congestion;
  uint32_t loss_ppm;
  uint64_t queue_bytes;
  /* found */
  unsigned acknowledged, arrived;
  roam_time began, ended;
  uint64_t rtt_most, rtt_sum, rtt_count;
  roam_client *client;
  roam_world *world;
};

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct run *r = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind != ROAM_EV_PUBLISHED) continue;
    assert_int_equal(ev[i].rc, 0);
    if (++r->acknowledged == MESSAGES) r->ended = ev[i].at;
    if (r->acknowledged <= MESSAGES / 2) continue; /* what it is like when it has found its pace */
    uint64_t rtt = roam_client_get_stats(r->client).rtt_ns;
    r->rtt_sum += rtt;
    r->rtt_count++;
    if (rtt > r->rtt_most) r->rtt_most = rtt;
  }
}

static roam_hop *bottleneck(uint64_t queue_bytes) {
  roam_queue_options q;
  roam_queue_options_init(&q);
  q.rate_bytes_s = RATE_BYTES_S;
  q.queue_bytes_max = queue_bytes;
  return roam_queue_new(&q);
}

static void run(struct run *r) {
  roam_world_options wo;
  roam_world_options_init(&wo);
  wo.trace_datagrams = false;
  r->world = roam_world_new(&wo);
  roam_host *server = roam_world_host(r->world, "broker"), *phone = roam_world_host(r->world, "phone");
  roam_addr home = stage_addr("192.0.2.1"), wlan = stage_addr("10.0.0.2");
  roam_host_address(server, "eth0", &home);
  roam_host_address(phone, "wlan0", &wlan);
  roam_host_hop(phone, &wlan, bottleneck(r->queue_bytes));
  roam_host_hop(phone, &wlan, stage_delay(r->world, RTT / 2, 0));
  roam_host_hop(phone, &wlan, stage_loss(r->world, r->loss_ppm));
  roam_identity id;
  assert_int_equal(roam_identity_make(&id, "pace", "192.0.2.1", STAGE_WALL, 30, false), 0);
  roam_broker_options bo = stage_broker_options(&id);
  bo.congestion = r->congestion;
  roam_time now = roam_world_now(r->world);
  roam_broker *broker = roam_broker_new(&bo, now, roam_world_random(r->world), NULL);
  home.port = 14567;
  assert_int_equal(roam_broker_listen(broker, now, ROAM_TRANSPORT_QUIC, &home, NULL), 0);
  roam_host_run(server, roam_broker_machine(broker), NULL, NULL);
  roam_client_options o = stage_client_options(&id, "mqtt-quic://192.0.2.1", NULL);
  o.congestion = r->congestion;
  r->client = roam_client_new(&o, roam_world_random(r->world), NULL);
  static uint8_t payload[MESSAGE_BYTES];
  roam_client_message m = {.topic = stage_bytes("t"), .payload = {payload, sizeof payload}, .qos = 1};
  for (int i = 0; i < MESSAGES; i++) assert_int_equal(roam_client_publish(r->client, now, &m, NULL), 0);
  assert_int_equal(roam_client_start(r->client, now), 0);
  roam_host_run(phone, roam_client_machine(r->client), on_client, r);
  r->began = now;
  for (int s = 2; s < 300 && r->ended == 0; s++) assert_int_equal(roam_world_run(r->world, (roam_time)s * ROAM_S), 0);
  print_message("%-5s loss %u ppm: %u messages in %.2f s, rtt mean %.1f, most %.1f ms\n",
                roam_congestion_name(r->congestion), r->loss_ppm, r->acknowledged, (double)(r->ended - r->began) / 1e9,
                (double)r->rtt_sum / (double)r->rtt_count / 1e6, (double)r->rtt_most / 1e6);
  assert_int_equal(r->acknowledged, MESSAGES);
  assert_int_equal(roam_broker_get_stats(broker).messages_in, MESSAGES);
  roam_world_free(r->world);
  roam_client_free(r->client);
  roam_broker_free(broker);
  roam_identity_clear(&id);
}

/* The rate is used, whichever counts the packets. */
static void each_delivers_over_a_bottleneck(void **state) {
  (void)state;
  for (int cc = ROAM_CONGESTION_CUBIC; cc <= ROAM_CONGESTION_BBR; cc++) {
    struct run r = {.congestion = (roam_congestion)cc, .queue_bytes = 2 * BDP_BYTES};
    run(&r);
    uint64_t least = (uint64_t)MESSAGES * MESSAGE_BYTES * ROAM_S / RATE_BYTES_S;
    assert_true(r.ended - r.began > least);
    assert_true(r.ended - r.began < least + least / 4);
  }
}

/* One packet in a hundred is lost, which is no sign of a full queue. BBR knows that; the others slow down and arrive. */
static void each_delivers_over_loss(void **state) {
  (void)state;
  struct run r[3];
  for (int cc = ROAM_CONGESTION_CUBIC; cc <= ROAM_CONGESTION_BBR; cc++) {
    r[cc] = (struct run){.congestion = (roam_congestion)cc, .queue_bytes = 2 * BDP_BYTES, .loss_ppm = 10000};
    run(&r[cc]);
  }
  uint64_t bbr = r[ROAM_CONGESTION_BBR].ended - r[ROAM_CONGESTION_BBR].began;
  assert_true(bbr < r[ROAM_CONGESTION_CUBIC].ended - r[ROAM_CONGESTION_CUBIC].began);
  assert_true(bbr < r[ROAM_CONGESTION_RENO].ended - r[ROAM_CONGESTION_RENO].began);
}

/* A buffer of four windows: cubic and reno fill it, as they must. BBR sends at the rate that it has measured, so that
 * hardly anything stands there; sent by its window, which is twice of what is needed, it would double the round trip. */
static void bbr_keeps_its_rate(void **state) {
  (void)state;
  struct run bbr = {.congestion = ROAM_CONGESTION_BBR, .queue_bytes = 4 * BDP_BYTES}, cubic = bbr;
  cubic.congestion = ROAM_CONGESTION_CUBIC;
  run(&bbr);
  run(&cubic);
  assert_true(bbr.rtt_sum / bbr.rtt_count < RTT + RTT / 2);
  assert_true(cubic.rtt_sum / cubic.rtt_count > 2 * RTT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_delivers_over_a_bottleneck),
      cmocka_unit_test(each_delivers_over_loss),
      cmocka_unit_test(bbr_keeps_its_rate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
