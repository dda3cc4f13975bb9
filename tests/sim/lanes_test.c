/* lanes_test.c - our client and our broker in the world, over data streams and datagrams: every strategy delivers
 * everything in the order it promises, over loss, over a migration and over the end of a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

enum {
  TOPICS = 4,
  NUMBERS = 500
};

struct stage {
  roam_world *world;
  roam_host *server, *left, *right;
  roam_hop *loss[2];
  roam_addr home, left_addr, right_addr;
  roam_identity identity;
  roam_broker *broker;
  roam_client *publisher, *subscriber;
  uint16_t seen[TOPICS][NUMBERS];
  int64_t highest[TOPICS];
  uint32_t received, disorder, published, lost, lanes_lost, connects, subscribed, peer_lanes_lost;
  uint64_t lanes_used; /* bits: lanes on which messages came */
  bool publisher_closed, subscriber_closed;
};

static void on_publisher(void *context, const roam_event ev[], size_t n) {
  struct stage *s = context;
  for (size_t i = 0; i < n; i++) {
    s->published += ev[i].kind == ROAM_EV_PUBLISHED && ev[i].rc == 0;
    s->lost += ev[i].kind == ROAM_EV_PUBLISHED && ev[i].rc != 0;
    s->lanes_lost += ev[i].kind == ROAM_EV_LANE_LOST;
    s->connects += ev[i].kind == ROAM_EV_CONNECTED;
    s->publisher_closed |= ev[i].kind == ROAM_EV_CLOSED;
  }
}

static void take_message(struct stage *s, const roam_event_message *m) {
  char text[16] = "";
  unsigned topic = (unsigned)(m->topic.base[m->topic.len - 1] - '0');
  memcpy(text, m->payload.base, m->payload.len < 15 ? m->payload.len : 15);
  uint32_t number = (uint32_t)strtoul(text, NULL, 10);
  assert_true(topic < TOPICS && number < NUMBERS);
  s->received++;
  s->seen[topic][number]++;
  if (m->lane < 64) s->lanes_used |= UINT64_C(1) << m->lane;
  if ((int64_t)number < s->highest[topic]) s->disorder++;
  else s->highest[topic] = number;
}

static void on_subscriber(void *context, const roam_event ev[], size_t n) {
  struct stage *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) take_message(s, &ev[i].u.message);
    s->subscribed += ev[i].kind == ROAM_EV_SUBSCRIBED && ev[i].rc == 0;
    s->subscriber_closed |= ev[i].kind == ROAM_EV_CLOSED;
  }
}

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct stage *s = context;
  for (size_t i = 0; i < n; i++) s->peer_lanes_lost += ev[i].kind == ROAM_EV_PEER_LANE_LOST;
}

/* ---- setting -----------------------------------------------------------------------------------------------------------
 */

static void add_hops(struct stage *s, roam_host *host, const roam_addr *at, int side, uint32_t loss_ppm) {
  roam_host_hop(host, at, stage_delay(s->world, 10 * ROAM_MS, 0));
  roam_host_hop(host, at, s->loss[side] = stage_loss(s->world, loss_ppm));
}

struct how {
  uint64_t seed;
  uint32_t loss_ppm;
  void (*broker)(roam_broker_options *o);
  void (*publisher)(roam_client_options *o);
  void (*subscriber)(roam_client_options *o);
};

static roam_client *start_client(struct stage *s, roam_host *host, const char *id, roam_world_sink sink,
                                 void (*change)(roam_client_options *o)) {
  roam_client_options o = stage_client_options(&s->identity, "mqtt-quic://192.0.2.1:14567", id);
  o.server_name = "localhost";
  o.reconnect_max_ns = ROAM_S;
  if (change) change(&o);
  roam_client *c = roam_client_new(&o, roam_world_random(s->world), NULL);
  assert_non_null(c);
  assert_int_equal(roam_client_start(c, roam_world_now(s->world)), 0);
  roam_host_run(host, roam_client_machine(c), sink, s);
  return c;
}

static struct stage *stage_new(const struct how *how) {
  struct stage *s = calloc(1, sizeof *s);
  roam_world_options o;
  assert_non_null(s);
  roam_world_options_init(&o);
  o.seed = how->seed ? how->seed : 1;
  s->world = roam_world_new(&o);
  s->home = stage_addr("192.0.2.1:14567");
  s->left_addr = stage_addr("192.0.2.10");
  s->right_addr = stage_addr("192.0.2.11");
  roam_addr bare = s->home;
  bare.port = 0;
  s->server = roam_world_host(s->world, "broker");
  s->left = roam_world_host(s->world, "left");
  s->right = roam_world_host(s->world, "right");
  roam_host_address(s->server, "eth0", &bare);
  roam_host_address(s->left, "eth0", &s->left_addr);
  roam_host_address(s->right, "eth0", &s->right_addr);
  add_hops(s, s->left, &s->left_addr, 0, how->loss_ppm);
  add_hops(s, s->right, &s->right_addr, 1, how->loss_ppm);
  assert_int_equal(roam_identity_make(&s->identity, "world", "localhost", STAGE_WALL, 1, false), 0);
  roam_broker_options b = stage_broker_options(&s->identity);
  if (how->broker) how->broker(&b);
  s->broker = roam_broker_new(&b, roam_world_now(s->world), roam_world_random(s->world), NULL);
  assert_non_null(s->broker);
  assert_int_equal(roam_broker_listen(s->broker, roam_world_now(s->world), ROAM_TRANSPORT_QUIC, &s->home, NULL), 0);
  roam_host_run(s->server, roam_broker_machine(s->broker), on_broker, s);
  s->publisher = start_client(s, s->left, "publisher", on_publisher, how->publisher);
  s->subscriber = start_client(s, s->right, "subscriber", on_subscriber, how->subscriber);
  return s;
}

static void stage_free(struct stage *s) {
  roam_world_free(s->world);
  roam_client_free(s->publisher);
  roam_client_free(s->subscriber);
  roam_broker_free(s->broker);
  roam_identity_clear(&s->identity);
  free(s);
}

static void run(struct stage *s, uint64_t ns) { roam_world_run(s->world, roam_world_now(s->world) + ns); }

static void subscribe(struct stage *s, uint8_t qos, const roam_client_subscribe_how *how) {
  for (int i = 0; i < TOPICS; i++) {
    char topic[8];
    snprintf(topic, sizeof topic, "t/%d", i);
    roam_filter f = {.filter = stage_bytes(topic), .qos = qos};
    assert_int_equal(roam_client_subscribe_how_to(s->subscriber, roam_world_now(s->world), &f, 1, how, NULL), 0);
  }
  run(s, 2 * ROAM_S);
  assert_int_equal(s->subscribed, TOPICS);
}

struct wish {
  uint8_t qos;
  bool datagram;
  uint32_t lane;
  int from, to;
};

static void publish(struct stage *s, const struct wish *w) {
  for (int n = w->from; n < w->to; n++) {
    for (int i = 0; i < TOPICS; i++) {
      char topic[8], payload[16];
      snprintf(topic, sizeof topic, "t/%d", i);
      snprintf(payload, sizeof payload, "%d", n);
      roam_client_message m = {.topic = stage_bytes(topic),
                               .payload = stage_bytes(payload),
                               .qos = w->qos,
                               .datagram = w->datagram,
                               .lane = w->lane};
      assert_int_equal(roam_client_publish(s->publisher, roam_world_now(s->world), &m, NULL), 0);
    }
    run(s, 5 * ROAM_MS);
  }
}

static uint32_t count_missing(const struct stage *s, int from, int to) {
  uint32_t missing = 0;
  for (int i = 0; i < TOPICS; i++)
    for (int n = from; n < to; n++) missing += s->seen[i][n] == 0;
  return missing;
}

/* ---- strategies --------------------------------------------------------------------------------------------------------
 */

static void one(roam_client_options *o) { o->lanes = ROAM_LANES_ONE; }
static void per_topic(roam_client_options *o) { o->lanes = ROAM_LANES_PER_TOPIC; }
static void per_qos(roam_client_options *o) { o->lanes = ROAM_LANES_PER_QOS; }
static void split(roam_client_options *o) { o->lanes = ROAM_LANES_SPLIT; }
static void per_message(roam_client_options *o) { o->lanes = ROAM_LANES_PER_MESSAGE; }
static void two_shared(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_TOPIC;
  o->lanes_max = 2;
}
static void alone(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_TOPIC;
  o->one_lane_per_packet = true;
}

static void every_strategy_delivers_everything(void **state) {
  (void)state;
  static const struct {
    const char *name;
    void (*change)(roam_client_options *o);
    uint8_t qos;
    uint32_t loss_ppm;
    uint64_t lanes; /* on which messages come */
    bool ordered;
  } cases[] = {
      {"one", one, 0, 0, 1, true},
      {"per topic", per_topic, 0, 20000, 0x1e, true},
      {"per topic, QoS 1", per_topic, 1, 20000, 0x1e, true},
      {"per topic, QoS 2 stays", per_topic, 2, 20000, 0x1e, true},
      {"per topic, two lanes", two_shared, 1, 20000, 0x6, true},
      {"per QoS", per_qos, 1, 20000, 0x2, true},
      {"split", split, 1, 20000, 0x2, true},
      {"per message", per_message, 0, 20000, 1, false},
      {"per message, QoS 1", per_message, 1, 20000, 1, false},
      {"one stream for each packet", alone, 1, 20000, 0x1e, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct stage *s = stage_new(&(struct how){
        .seed = i + 1, .loss_ppm = cases[i].loss_ppm, .publisher = cases[i].change, .subscriber = cases[i].change});
    run(s, 2 * ROAM_S);
    subscribe(s, cases[i].qos, NULL);
    publish(s, &(struct wish){.qos = cases[i].qos, .to = 100});
    run(s, 10 * ROAM_S);
    if (s->received != 400 || s->lanes_used != cases[i].lanes) print_error("case: %s\n", cases[i].name);
    assert_int_equal(s->received, 400);
    assert_int_equal(count_missing(s, 0, 100), 0);
    assert_int_equal(s->lanes_used, cases[i].lanes);
    if (cases[i].ordered) assert_int_equal(s->disorder, 0);
    assert_int_equal(s->published, cases[i].qos > 0 ? 400 : 0);
    assert_int_equal(s->lost + s->lanes_lost + s->peer_lanes_lost, 0);
    bool data = cases[i].change != one;
    assert_true((roam_broker_get_stats(s->broker).lanes_opened > 0) == data);
    stage_free(s);
  }
}

/* A stream for each message: the one that is lost holds up no other. */
static void single_messages_overtake(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 3, .loss_ppm = 30000, .publisher = per_message});
  run(s, 2 * ROAM_S);
  roam_loss_set(s->loss[1], 0);
  subscribe(s, 0, NULL);
  publish(s, &(struct wish){.to = 300});
  run(s, 5 * ROAM_S);
  assert_int_equal(s->received, 1200);
  assert_true(s->disorder > 0);
  assert_true(roam_broker_get_stats(s->broker).lanes_opened >= 1200);
  roam_client_stats stats = roam_client_get_stats(s->publisher);
  assert_int_equal(stats.lanes, 0);
  stage_free(s);
}

static void named_lanes_are_the_applications_own(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){0});
  run(s, ROAM_S);
  subscribe(s, 2, &(roam_client_subscribe_how){.lane = 9});
  publish(s, &(struct wish){.qos = 2, .lane = 5, .to = 20});
  publish(s, &(struct wish){.qos = 1, .lane = ROAM_LANE_CONTROL, .from = 20, .to = 40});
  run(s, ROAM_S);
  assert_int_equal(s->received, 160);
  assert_int_equal(s->published, 160);
  assert_int_equal(s->lanes_used, 2);
  assert_int_equal(roam_broker_get_stats(s->broker).lanes_opened, 2);
  assert_int_equal(roam_client_get_stats(s->publisher).lanes, 1);
  roam_filter f = {.filter = stage_bytes("t/0")}; /* goes where the subscription is */
  assert_int_equal(roam_client_unsubscribe(s->subscriber, roam_world_now(s->world), &f, 1, NULL), 0);
  run(s, ROAM_S);
  assert_int_equal(roam_broker_get_stats(s->broker).subscriptions, TOPICS - 1);
  stage_free(s);
}

static void for_an_hour(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_TOPIC;
  o->session_expiry_s = 3600;
}

static void what_must_last_stays_on_the_control_stream(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.publisher = per_topic, .subscriber = for_an_hour});
  run(s, ROAM_S);
  subscribe(s, 2, NULL);
  publish(s, &(struct wish){.qos = 2, .to = 10});
  run(s, ROAM_S);
  assert_int_equal(s->received, 40);
  assert_int_equal(s->lanes_used, 1);
  assert_int_equal(roam_broker_get_stats(s->broker).lanes_opened, 0);
  stage_free(s);
}

static void few_may_wait(roam_broker_options *o) { o->queue_messages_max = 5; }

static void never_done(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_TOPIC;
  o->manual_ack = true;
  o->receive_maximum = 1;
}

/* The message that does not fit belongs to the stream that gives way: it goes with it, and the session stays. */
static void a_full_stream_does_not_end_the_session(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.broker = few_may_wait, .subscriber = never_done});
  roam_peer_info info;
  run(s, ROAM_S);
  subscribe(s, 1, NULL);
  for (int n = 0; n < 20; n++)
    assert_int_equal(
        roam_broker_publish(s->broker, roam_world_now(s->world), stage_bytes("t/0"), stage_bytes("0"), 1, false), 0);
  run(s, ROAM_S);
  roam_broker_stats stats = roam_broker_get_stats(s->broker);
  assert_int_equal(stats.sessions_overflowed, 0);
  assert_int_equal(stats.lanes_failed, 1);
  assert_int_equal(s->peer_lanes_lost, 1);
  assert_int_equal(roam_broker_client(s->broker, "subscriber", &info), 0);
  assert_true(info.connected && info.connects == 1);
  assert_int_equal(info.subscriptions, TOPICS); /* made again on another stream */
  stage_free(s);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------------
 */

static void a_lost_connection_loses_no_qos_1(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 5, .publisher = per_topic, .subscriber = per_topic});
  run(s, ROAM_S);
  subscribe(s, 1, NULL);
  publish(s, &(struct wish){.qos = 1, .to = 50});
  roam_loss_set_down(s->loss[0], true);
  publish(s, &(struct wish){.qos = 1, .from = 50, .to = 60});
  run(s, 100 * ROAM_S); /* beyond every time-out */
  roam_loss_set_down(s->loss[0], false);
  publish(s, &(struct wish){.qos = 1, .from = 60, .to = 80});
  run(s, 60 * ROAM_S);
  assert_int_equal(s->connects, 2);
  assert_int_equal(count_missing(s, 0, 80), 0);
  assert_int_equal(s->published, 320);
  assert_int_equal(s->lost, 0);
  stage_free(s);
}

static void a_subscriber_comes_back_to_its_lanes(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 6, .publisher = per_topic, .subscriber = per_topic});
  run(s, ROAM_S);
  subscribe(s, 1, NULL);
  assert_int_equal(roam_broker_kick(s->broker, roam_world_now(s->world), "subscriber", ROAM_REASON_SERVER_BUSY), 0);
  run(s, 10 * ROAM_S);
  assert_int_equal(roam_broker_get_stats(s->broker).subscriptions, TOPICS);
  publish(s, &(struct wish){.qos = 1, .to = 20});
  run(s, ROAM_S);
  assert_int_equal(count_missing(s, 0, 20), 0);
  assert_int_equal(s->lanes_used, 0x1e);
  stage_free(s);
}

static void short_streams(roam_broker_options *o) { o->lanes_max = 2; }

/* The server grants fewer streams than the strategy asks for: the rest goes on the control stream, and nothing is lost. */
static void too_few_streams_merge(void **state) {
  (void)state;
  struct stage *s =
      stage_new(&(struct how){.seed = 7, .broker = short_streams, .publisher = per_topic, .subscriber = per_topic});
  run(s, ROAM_S);
  subscribe(s, 1, NULL);
  publish(s, &(struct wish){.qos = 1, .to = 50});
  run(s, 2 * ROAM_S);
  assert_int_equal(s->received, 200);
  assert_int_equal(s->disorder, 0);
  assert_int_equal(s->lanes_used, 0x7);
  assert_int_equal(roam_client_get_stats(s->publisher).lanes, 2);
  stage_free(s);
}

static void no_streams(roam_broker_options *o) { o->lanes_max = 0; }

static void no_streams_at_all(void **state) {
  (void)state;
  struct stage *s =
      stage_new(&(struct how){.seed = 8, .broker = no_streams, .publisher = per_message, .subscriber = per_topic});
  run(s, ROAM_S);
  subscribe(s, 1, NULL);
  publish(s, &(struct wish){.qos = 1, .to = 20});
  run(s, 2 * ROAM_S);
  assert_int_equal(s->received, 80);
  assert_int_equal(s->lanes_used, 1);
  stage_free(s);
}

static void closing_brings_everything_first(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 9, .loss_ppm = 100000, .publisher = per_message, .subscriber = one});
  run(s, 5 * ROAM_S);
  roam_loss_set(s->loss[1], 0);
  subscribe(s, 0, NULL);
  for (int n = 0; n < 20; n++) {
    for (int i = 0; i < TOPICS; i++) {
      char topic[8], payload[16];
      snprintf(topic, sizeof topic, "t/%d", i);
      snprintf(payload, sizeof payload, "%d", n);
      roam_client_message m = {.topic = stage_bytes(topic), .payload = stage_bytes(payload)};
      assert_int_equal(roam_client_publish(s->publisher, roam_world_now(s->world), &m, NULL), 0);
    }
  }
  roam_client_close(s->publisher, roam_world_now(s->world), 0);
  run(s, 10 * ROAM_S);
  assert_true(s->publisher_closed);
  assert_int_equal(s->received, 80);
  stage_free(s);
}

/* ---- back-pressure ------------------------------------------------------------------------------------------------------
 */

static void by_hand(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_TOPIC;
  o->manual_ack = true;
  o->receive_maximum = 10;
}

/* An application that acknowledges nothing of what comes on one lane: the others have their own windows. */
struct picky {
  struct stage *s;
  uint32_t held;
};

static void on_picky(void *context, const roam_event ev[], size_t n) {
  struct picky *p = context;
  on_subscriber(p->s, ev, n);
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind != ROAM_EV_MESSAGE) continue;
    const roam_event_message *m = &ev[i].u.message;
    if (m->topic.base[2] == '0') p->held++;
    else roam_client_ack(p->s->subscriber, roam_world_now(p->s->world), m->lane, m->packet_id);
  }
}

static void an_unacknowledged_lane_stalls_no_other(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 10, .publisher = one, .subscriber = by_hand});
  struct picky picky = {.s = s};
  roam_host_stop(s->right, roam_client_machine(s->subscriber));
  roam_client_free(s->subscriber);
  s->subscriber = start_client(s, s->right, "picky", on_subscriber, by_hand);
  roam_host_stop(s->right, roam_client_machine(s->subscriber));
  roam_host_run(s->right, roam_client_machine(s->subscriber), on_picky, &picky);
  run(s, ROAM_S);
  subscribe(s, 1, NULL);
  publish(s, &(struct wish){.qos = 1, .to = 200});
  run(s, 5 * ROAM_S);
  assert_int_equal(picky.held, 10);
  assert_int_equal(s->received, 10 + 3 * 200);
  stage_free(s);
}

static void slow_link(roam_client_options *o) { o->queue_messages_max = 100000; }

/* Two lanes with more to say than the link takes: what has arrived so far stands in the ratio of their weights. */
static void weights_share_the_link(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 14, .publisher = slow_link});
  roam_queue_options q;
  roam_queue_options_init(&q);
  q.rate_bytes_s = 50000;
  roam_host_hop(s->left, &s->left_addr, roam_queue_new(&q));
  run(s, ROAM_S);
  subscribe(s, 0, NULL);
  roam_time now = roam_world_now(s->world);
  assert_int_equal(roam_client_lane_weight(s->publisher, now, 1, 64), 0);
  assert_int_equal(roam_client_lane_weight(s->publisher, now, 2, 16), 0);
  assert_int_equal(roam_client_lane_weight(s->publisher, now, 2, 257), ROAM_E_ARGUMENT);
  assert_int_equal(roam_client_lane_weight(s->publisher, now, ROAM_LANE_CONTROL, 5), ROAM_E_ARGUMENT);
  static uint8_t payload[1000];
  for (int n = 0; n < 400; n++) {
    for (uint32_t lane = 1; lane <= 2; lane++) {
      char topic[8];
      snprintf(topic, sizeof topic, "t/%u", lane);
      snprintf((char *)payload, sizeof payload, "%d", n);
      roam_client_message m = {.topic = stage_bytes(topic), .payload = {payload, sizeof payload}, .lane = lane};
      assert_int_equal(roam_client_publish(s->publisher, now, &m, NULL), 0);
    }
  }
  run(s, 6 * ROAM_S);
  double heavy = (double)(s->highest[1] + 1), light = (double)(s->highest[2] + 1);
  assert_true(heavy > 100 && heavy < 400);
  assert_true(heavy / light > 3 && heavy / light < 5);
  run(s, 60 * ROAM_S);
  assert_int_equal(s->received, 800);
  stage_free(s);
}

/* ---- datagrams ----------------------------------------------------------------------------------------------------------
 */

static void datagrams_end_to_end(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 11});
  run(s, ROAM_S);
  subscribe(s, 0, &(roam_client_subscribe_how){.datagram = true});
  publish(s, &(struct wish){.datagram = true, .to = 100});
  run(s, ROAM_S);
  assert_int_equal(s->received, 400);
  assert_int_equal(roam_client_get_stats(s->publisher).datagrams_out, 400);
  assert_int_equal(roam_client_get_stats(s->subscriber).datagrams_in, 400);
  assert_int_equal(roam_broker_get_stats(s->broker).datagrams_in, 400);
  assert_int_equal(roam_broker_get_stats(s->broker).datagrams_out, 400);
  roam_loss_set(s->loss[0], 100000);
  publish(s, &(struct wish){.datagram = true, .from = 100, .to = 200});
  run(s, 5 * ROAM_S);
  uint32_t missing = count_missing(s, 100, 200);
  assert_true(missing > 10 && missing < 120); /* what is lost stays lost, and holds up nothing */
  assert_int_equal(s->disorder, 0);
  stage_free(s);
}

static void no_datagrams(roam_broker_options *o) { o->datagrams_max = 0; }

static void filtered(roam_client_options *o) { o->datagram_filter = "t/1"; }

static void datagrams_fall_back_to_streams(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 12, .broker = no_datagrams});
  run(s, ROAM_S);
  subscribe(s, 0, &(roam_client_subscribe_how){.datagram = true});
  publish(s, &(struct wish){.datagram = true, .to = 10});
  run(s, ROAM_S);
  assert_int_equal(s->received, 40);
  assert_int_equal(roam_client_get_stats(s->publisher).datagrams_out, 0);
  stage_free(s);

  s = stage_new(&(struct how){.seed = 13, .publisher = filtered});
  run(s, ROAM_S);
  subscribe(s, 0, NULL);
  publish(s, &(struct wish){.to = 10});
  publish(s, &(struct wish){.qos = 1, .datagram = true, .from = 10, .to = 20}); /* never in a datagram */
  static uint8_t large[5000];
  memcpy(large, "20", 3);
  roam_client_message m = {.topic = stage_bytes("t/1"), .payload = {large, sizeof large}, .datagram = true};
  assert_int_equal(roam_client_publish(s->publisher, roam_world_now(s->world), &m, NULL), 0); /* nor does this fit */
  run(s, ROAM_S);
  assert_int_equal(roam_client_get_stats(s->publisher).datagrams_out, 10);
  assert_int_equal(roam_broker_get_stats(s->broker).messages_in, 81);
  stage_free(s);
}

/* ---- flows --------------------------------------------------------------------------------------------------------------
 */

static void flows(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_TOPIC;
  o->flows = true;
  o->session_expiry_s = 3600;
}

static void no_flows(roam_broker_options *o) { o->flows = false; }

static void flows_carry_what_must_last(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 20, .loss_ppm = 10000, .publisher = flows, .subscriber = flows});
  run(s, 2 * ROAM_S);
  assert_true(roam_client_get_stats(s->publisher).flows);
  subscribe(s, 2, NULL);
  publish(s, &(struct wish){.qos = 2, .to = 50});
  run(s, 5 * ROAM_S);
  assert_int_equal(s->received, 200);
  assert_int_equal(s->disorder, 0);
  assert_int_equal(s->lanes_used, 0x1e);
  assert_int_equal(s->published, 200);
  stage_free(s);
}

/* Both connections break, each with messages under way on flows: QoS 2 comes exactly once all the same. */
static void flows_outlive_connections(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 21, .publisher = flows, .subscriber = flows});
  run(s, 2 * ROAM_S);
  subscribe(s, 2, NULL);
  publish(s, &(struct wish){.qos = 2, .to = 50});
  roam_loss_set_down(s->loss[0], true);
  publish(s, &(struct wish){.qos = 2, .from = 50, .to = 55});
  run(s, 100 * ROAM_S);
  roam_loss_set_down(s->loss[0], false);
  publish(s, &(struct wish){.qos = 2, .from = 55, .to = 100});
  roam_loss_set_down(s->loss[1], true);
  publish(s, &(struct wish){.qos = 2, .from = 100, .to = 120});
  run(s, 100 * ROAM_S);
  roam_loss_set_down(s->loss[1], false);
  run(s, 60 * ROAM_S);
  assert_int_equal(s->connects, 2);
  assert_int_equal(count_missing(s, 0, 120), 0);
  assert_int_equal(s->received, 4 * 120); /* none twice */
  assert_int_equal(s->published, 4 * 120);
  assert_int_equal(s->lost, 0);
  assert_int_equal(roam_broker_get_stats(s->broker).subscriptions, TOPICS);
  stage_free(s);
}

static void short_flows(roam_client_options *o) {
  flows(o);
  o->flow_expire_s = 5;
}

/* The server has let the flows go: they begin anew, and are subscribed to again. */
static void expired_flows_begin_anew(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 22, .publisher = one, .subscriber = short_flows});
  run(s, 2 * ROAM_S);
  subscribe(s, 1, NULL);
  roam_loss_set_down(s->loss[1], true);
  run(s, 100 * ROAM_S);
  assert_int_equal(roam_broker_get_stats(s->broker).subscriptions, 0);
  roam_loss_set_down(s->loss[1], false);
  run(s, 20 * ROAM_S);
  assert_int_equal(roam_broker_get_stats(s->broker).subscriptions, TOPICS);
  publish(s, &(struct wish){.qos = 1, .to = 20});
  run(s, ROAM_S);
  assert_int_equal(count_missing(s, 0, 20), 0);
  stage_free(s);
}

static void without_flows_at_the_server(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 23, .broker = no_flows, .publisher = flows, .subscriber = flows});
  run(s, 2 * ROAM_S);
  assert_false(roam_client_get_stats(s->publisher).flows);
  subscribe(s, 2, NULL);
  publish(s, &(struct wish){.qos = 2, .to = 20});
  run(s, 2 * ROAM_S);
  assert_int_equal(s->received, 80);
  assert_int_equal(s->lanes_used, 1); /* by the rules of the simple mode */
  stage_free(s);
}

static void flows_per_message(roam_client_options *o) {
  o->lanes = ROAM_LANES_PER_MESSAGE;
  o->flows = true;
}

static void flows_of_single_messages(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 24, .loss_ppm = 20000, .publisher = flows_per_message});
  run(s, 3 * ROAM_S);
  subscribe(s, 1, NULL);
  publish(s, &(struct wish){.qos = 1, .to = 100});
  run(s, 5 * ROAM_S);
  assert_int_equal(s->received, 400);
  assert_true(roam_broker_get_stats(s->broker).lanes_opened >= 400);
  assert_int_equal(s->lost + s->lanes_lost + s->peer_lanes_lost, 0);
  stage_free(s);
}

static void assigned(roam_broker_options *o) {
  o->assigned = "t/+";
  o->assigned_qos = 2;
}

/* What the broker subscribes the subscriber to comes on a flow of the broker's, in order, over loss. */
static void server_flows_carry_what_is_assigned(void **state) {
  (void)state;
  struct stage *s =
      stage_new(&(struct how){.seed = 25, .loss_ppm = 20000, .broker = assigned, .publisher = one, .subscriber = flows});
  run(s, 3 * ROAM_S);
  assert_int_equal(roam_client_get_stats(s->subscriber).server_flows, 1);
  publish(s, &(struct wish){.qos = 2, .to = 50});
  publish(s, &(struct wish){.qos = 0, .from = 50, .to = 100});
  run(s, 5 * ROAM_S);
  assert_int_equal(s->received, 400);
  assert_int_equal(s->disorder, 0);
  assert_int_equal(s->lanes_used, 2);
  assert_int_equal(s->lanes_lost + s->peer_lanes_lost, 0);
  assert_int_equal(roam_broker_get_stats(s->broker).lanes_opened, 0); /* none by the client */
  stage_free(s);
}

/* The subscriber's connection breaks with QoS 2 under way on the broker's flow: it comes exactly once all the same. */
static void server_flows_outlive_connections(void **state) {
  (void)state;
  struct stage *s = stage_new(&(struct how){.seed = 26, .broker = assigned, .publisher = one, .subscriber = flows});
  run(s, 2 * ROAM_S);
  for (int round = 0; round < 3; round++) {
    int from = 40 * round;
    publish(s, &(struct wish){.qos = 2, .from = from, .to = from + 20});
    roam_loss_set_down(s->loss[1], true);
    publish(s, &(struct wish){.qos = 2, .from = from + 20, .to = from + 40});
    run(s, 100 * ROAM_S);
    roam_loss_set_down(s->loss[1], false);
    run(s, 30 * ROAM_S);
  }
  assert_int_equal(count_missing(s, 0, 120), 0);
  assert_int_equal(s->received, 4 * 120);
  assert_int_equal(s->published, 4 * 120);
  assert_int_equal(roam_broker_get_stats(s->broker).server_flows_opened, 4);
  stage_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_strategy_delivers_everything),
      cmocka_unit_test(single_messages_overtake),
      cmocka_unit_test(named_lanes_are_the_applications_own),
      cmocka_unit_test(what_must_last_stays_on_the_control_stream),
      cmocka_unit_test(a_full_stream_does_not_end_the_session),
      cmocka_unit_test(a_lost_connection_loses_no_qos_1),
      cmocka_unit_test(a_subscriber_comes_back_to_its_lanes),
      cmocka_unit_test(too_few_streams_merge),
      cmocka_unit_test(no_streams_at_all),
      cmocka_unit_test(closing_brings_everything_first),
      cmocka_unit_test(an_unacknowledged_lane_stalls_no_other),
      cmocka_unit_test(weights_share_the_link),
      cmocka_unit_test(datagrams_end_to_end),
      cmocka_unit_test(datagrams_fall_back_to_streams),
      cmocka_unit_test(flows_carry_what_must_last),
      cmocka_unit_test(flows_outlive_connections),
      cmocka_unit_test(expired_flows_begin_anew),
      cmocka_unit_test(without_flows_at_the_server),
      cmocka_unit_test(flows_of_single_messages),
      cmocka_unit_test(server_flows_carry_what_is_assigned),
      cmocka_unit_test(server_flows_outlive_connections),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
