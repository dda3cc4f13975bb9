/* load_test.c - a load run in the world: what it reports is what it recorded, an address change costs QUIC nothing and TCP
 * everything, and the same seed gives the same recording to the byte. Clients and broker are the real ones; every link
 * takes 10 ms each way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/stage.h"

#define ROWS_MAX 64

struct stage {
  roam_world *world;
  roam_host *lab, *server;
  roam_hop *nat;
  roam_identity identity;
  roam_broker *broker;
  roam_recorder *recorder;
  roam_load *load;
  roam_addr inside, direct, home;
  uint64_t rate_published[ROWS_MAX], rate_received[ROWS_MAX]; /* summed up from RATE events */
  uint32_t dones;
  roam_rc done_rc;
  char done_text[200];
};

static void hear_load(void *context, const roam_event ev[], size_t n) {
  struct stage *s = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_RATE) {
      s->rate_published[ev[i].u.rate.row] += ev[i].u.rate.published;
      s->rate_received[ev[i].u.rate.row] += ev[i].u.rate.received;
    }
    if (ev[i].kind != ROAM_EV_LOAD_DONE) continue;
    s->dones++;
    s->done_rc = ev[i].rc;
    snprintf(s->done_text, sizeof s->done_text, "%s", ev[i].text ? ev[i].text : "");
  }
}

static void build_network(struct stage *s) {
  s->inside = stage_addr("10.0.0.2");
  s->direct = stage_addr("198.51.100.9");
  s->home = stage_addr("192.0.2.1");
  s->lab = roam_world_host(s->world, "lab");
  s->server = roam_world_host(s->world, "server");
  assert_int_equal(roam_host_address(s->lab, "eth0", &s->direct), 0);
  assert_int_equal(roam_host_address(s->lab, "wlan0", &s->inside), 0);
  assert_int_equal(roam_host_address(s->server, "eth0", &s->home), 0);
  roam_nat_options no;
  roam_nat_options_init(&no);
  no.address = stage_addr("203.0.113.200");
  s->nat = roam_nat_new(&no, NULL);
  uint64_t jitter_ns = ROAM_MS; /* drawn from the seed, so that another seed is another run */
  assert_int_equal(roam_host_hop(s->lab, &s->inside, stage_delay(s->world, 10 * ROAM_MS, jitter_ns)), 0);
  assert_int_equal(roam_host_hop(s->lab, &s->inside, s->nat), 0);
  assert_int_equal(roam_host_hop(s->lab, &s->direct, stage_delay(s->world, 10 * ROAM_MS, jitter_ns)), 0);
}

static void start_broker(struct stage *s) {
  roam_broker_options o = stage_broker_options(&s->identity);
  roam_time now = roam_world_now(s->world);
  s->broker = roam_broker_new(&o, now, roam_world_random(s->world), NULL);
  assert_non_null(s->broker);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_QUIC, 14567);
  stage_listen(s->world, s->broker, &s->home, ROAM_TRANSPORT_TCP, 1883);
  assert_int_equal(roam_host_run(s->server, roam_broker_machine(s->broker), stage_ignore, NULL), 0);
}

static struct stage *stage_new(uint64_t seed, bool with_broker) {
  struct stage *s = calloc(1, sizeof *s);
  roam_world_options o;
  roam_world_options_init(&o);
  o.seed = seed;
  s->world = roam_world_new(&o);
  assert_int_equal(roam_identity_make(&s->identity, "load", "192.0.2.1", STAGE_WALL, 30, false), 0);
  build_network(s);
  if (with_broker) start_broker(s);
  s->recorder = roam_recorder_new(1 << 24);
  return s;
}

static void stage_free(struct stage *s) {
  roam_load_free(s->load);
  roam_broker_free(s->broker);
  roam_world_free(s->world);
  roam_recorder_free(s->recorder);
  roam_identity_clear(&s->identity);
  free(s);
}

static void fill_client(const struct stage *s, roam_client_options *o, bool quic, bool publisher) {
  roam_client_options_init(o);
  o->url = quic ? "mqtt-quic://192.0.2.1:14567" : "mqtt://192.0.2.1:1883";
  o->tls = (roam_tls_config){.ca = stage_bytes(s->identity.ca_certificate), .wall_unix_s = STAGE_WALL};
  o->local = publisher ? s->inside : s->direct;
  o->clean_start = !quic;
  o->session_expiry_s = quic ? 300 : 0;
  o->reconnect = quic;
  o->offline_queue = quic;
}

/* The first half of the rows speaks QUIC, the other TCP without reconnect. */
static void start_load(struct stage *s, const roam_load_options *o, size_t n) {
  static char names[ROWS_MAX][32];
  roam_load_row rows[ROWS_MAX];
  roam_rc rc = 0;
  const char *why = NULL;
  for (size_t i = 0; i < n; i++) {
    bool quic = i < (n + 1) / 2;
    snprintf(names[i], sizeof names[i], "%s-%zu", quic ? "quic" : "tcp", i);
    rows[i].name = names[i];
    fill_client(s, &rows[i].publisher, quic, true);
    fill_client(s, &rows[i].subscriber, quic, false);
  }
  s->load = roam_load_new(o, rows, n, s->recorder, roam_world_random(s->world), &rc, &why);
  if (!s->load) fail_msg("%s", why);
  assert_int_equal(roam_host_run(s->lab, roam_load_machine(s->load), hear_load, s), 0);
  assert_int_equal(roam_load_start(s->load, roam_world_now(s->world)), 0);
}

static roam_load_options options(uint32_t rate, uint64_t duration_ns) {
  roam_load_options o;
  roam_load_options_init(&o);
  o.rate_per_s = rate;
  o.duration_ns = duration_ns;
  return o;
}

static void run_to_the_end(struct stage *s) {
  for (int i = 0; i < 1000 && !roam_load_over(s->load); i++) {
    assert_int_equal(roam_world_run(s->world, roam_world_now(s->world) + 100 * ROAM_MS), 0);
  }
  assert_true(roam_load_over(s->load));
}

static void run_well(struct stage *s) {
  const char *text;
  run_to_the_end(s);
  if (roam_load_error(s->load, &text)) fail_msg("%s", text);
}

static roam_load_report report_of(const struct stage *s, size_t row) {
  roam_load_report r;
  assert_int_equal(roam_load_get_report(s->load, row, &r), 0);
  return r;
}

struct recount {
  uint64_t offered[ROWS_MAX], delivered[ROWS_MAX], duplicates[ROWS_MAX], connected[ROWS_MAX], dones;
};

static struct recount recount(const struct stage *s) {
  struct recount c = {0};
  roam_record_reader *reader = roam_record_reader_new(roam_recorder_bytes(s->recorder));
  roam_record r;
  int got;
  while ((got = roam_record_next(reader, &r)) == 1) {
    if (strcmp(r.kind, "done") == 0) c.dones++;
    if (r.row >= ROWS_MAX) continue;
    c.offered[r.row] += strcmp(r.kind, "offered") == 0;
    c.delivered[r.row] += strcmp(r.kind, "delivered") == 0;
    c.duplicates[r.row] += strcmp(r.kind, "duplicate") == 0;
    c.connected[r.row] += strcmp(r.kind, "connected") == 0;
  }
  assert_int_equal(got, 0);
  assert_int_equal(roam_recorder_dropped(s->recorder), 0);
  roam_record_reader_free(reader);
  return c;
}

static void reports_what_it_recorded(void **state) {
  (void)state;
  struct stage *s = stage_new(1, true);
  roam_load_options o = options(50, 3 * ROAM_S);
  start_load(s, &o, 2);
  run_well(s);
  struct recount c = recount(s);
  for (size_t i = 0; i < 2; i++) {
    roam_load_report r = report_of(s, i);
    assert_int_equal(r.published, 150);
    assert_int_equal(r.received, 150);
    assert_int_equal(r.lost + r.duplicated + r.corrupt + r.refused + r.reconnects, 0);
    assert_int_equal(c.offered[i], 150);
    assert_int_equal(c.delivered[i], 150);
    assert_int_equal(c.connected[i], 2);
    assert_int_equal(s->rate_published[i], 150);
    assert_int_equal(s->rate_received[i], 150);
    /* 10 ms from the lab and 10 ms back, each with its jitter; the first delivery ends a pause, too. */
    assert_in_range(r.latency_p50_ns, 20 * ROAM_MS, 22 * ROAM_MS);
    assert_in_range(r.gap_ns, 20 * ROAM_MS, 42 * ROAM_MS);
  }
  assert_int_equal(c.dones, 1);
  assert_int_equal(s->dones, 1);
  stage_free(s);
}

struct rebinding {
  struct stage *s;
  const char *to;
};

static void rebind(void *context) {
  struct rebinding *r = context;
  roam_addr to = stage_addr(r->to);
  assert_int_equal(roam_world_rebind(r->s->world, r->s->nat, &to), 0);
}

static void run_through_rebinds(struct stage *s, size_t rows) {
  struct rebinding away = {s, "203.0.113.203"}, back = {s, "203.0.113.200"};
  roam_load_options o = options(50, 4 * ROAM_S);
  start_load(s, &o, rows);
  assert_int_equal(roam_world_at(s->world, 2 * ROAM_S, rebind, &away), 0);
  assert_int_equal(roam_world_at(s->world, 4 * ROAM_S, rebind, &back), 0);
  run_well(s);
}

static void a_rebind_costs_quic_nothing_and_tcp_the_rest(void **state) {
  (void)state;
  struct stage *s = stage_new(2, true);
  run_through_rebinds(s, 2);
  roam_load_report quic = report_of(s, 0), tcp = report_of(s, 1);
  assert_int_equal(quic.published, 200);
  assert_int_equal(quic.lost, 0);
  assert_int_equal(quic.duplicated, 0);
  assert_int_equal(quic.reconnects, 0);
  /* 2 RTT, two intervals and 50 ms, the bound the experiment is judged by. */
  assert_in_range(quic.gap_ns, 20 * ROAM_MS, (40 + 40 + 50) * ROAM_MS);
  assert_int_equal(tcp.published, 200);
  assert_in_range(tcp.lost, 140, 170);
  assert_true(tcp.gap_ns > 2 * ROAM_S);
  roam_peer_info peer;
  assert_int_equal(roam_broker_client(s->broker, "quic-0-pub", &peer), 0);
  assert_int_equal(peer.moves, 2);
  assert_int_equal(peer.connects, 1);
  stage_free(s);
}

static void the_same_seed_gives_the_same_recording(void **state) {
  (void)state;
  struct stage *a = stage_new(3, true), *b = stage_new(3, true), *other = stage_new(4, true);
  run_through_rebinds(a, 6);
  run_through_rebinds(b, 6);
  run_through_rebinds(other, 6);
  roam_bytes first = roam_recorder_bytes(a->recorder), second = roam_recorder_bytes(b->recorder);
  assert_int_equal(first.len, second.len);
  assert_memory_equal(first.base, second.base, first.len);
  assert_true(roam_world_trace_hash(a->world) == roam_world_trace_hash(b->world));
  assert_true(roam_world_trace_hash(a->world) != roam_world_trace_hash(other->world));
  stage_free(a);
  stage_free(b);
  stage_free(other);
}

static void many_rows_do_not_disturb_each_other(void **state) {
  (void)state;
  struct stage *s = stage_new(5, true);
  roam_load_options o = options(20, 2 * ROAM_S);
  o.payload_bytes = 3000;
  o.qos = 2;
  start_load(s, &o, 40);
  run_well(s);
  for (size_t i = 0; i < 40; i++) {
    roam_load_report r = report_of(s, i);
    assert_int_equal(r.received, 40);
    assert_int_equal(r.lost + r.duplicated + r.corrupt + r.refused + r.reconnects, 0);
  }
  roam_load_report none;
  assert_int_equal(roam_load_get_report(s->load, 40, &none), ROAM_E_NOT_FOUND);
  assert_null(roam_load_publisher(s->load, 40));
  stage_free(s);
}

static void without_a_broker_it_says_who_is_missing(void **state) {
  (void)state;
  struct stage *s = stage_new(6, false);
  roam_load_options o = options(50, ROAM_S);
  o.connect_wait_ns = 2 * ROAM_S;
  start_load(s, &o, 1);
  run_to_the_end(s);
  const char *text;
  assert_int_not_equal(roam_load_error(s->load, &text), 0);
  assert_non_null(strstr(text, "quic-0: the publisher"));
  assert_int_equal(s->dones, 1);
  assert_int_equal(s->done_rc, roam_load_error(s->load, NULL));
  assert_string_equal(s->done_text, text);
  assert_int_equal(report_of(s, 0).published, 0);
  stage_free(s);
}

static void bad_options_are_refused_in_words(void **state) {
  (void)state;
  struct stage *s = stage_new(7, false);
  roam_load_row row = {.name = "row"};
  fill_client(s, &row.publisher, true, true);
  fill_client(s, &row.subscriber, true, false);
  static const struct {
    const char *word;
    uint32_t rate, payload;
    uint64_t duration_ns;
    uint8_t qos;
    const char *name;
  } cases[] = {{"rate_per_s", 0, 64, ROAM_S, 1, "row"},
               {"rate_per_s", 1000000, 64, 101 * ROAM_S, 1, "row"},
               {"payload_bytes", 50, 15, ROAM_S, 1, "row"},
               {"duration_ns", 50, 64, 0, 1, "row"},
               {"qos", 50, 64, ROAM_S, 3, "row"},
               {"name", 50, 64, ROAM_S, 1, "a/b"},
               {"name", 50, 64, ROAM_S, 1, ""}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_load_options o = options(cases[i].rate, cases[i].duration_ns);
    o.payload_bytes = cases[i].payload;
    o.qos = cases[i].qos;
    row.name = cases[i].name;
    roam_rc rc = 0;
    const char *why = "";
    assert_null(roam_load_new(&o, &row, 1, NULL, roam_world_random(s->world), &rc, &why));
    assert_int_equal(rc, ROAM_E_OPTION);
    if (!strstr(why, cases[i].word)) fail_msg("case %zu: %s", i, why);
  }
  roam_rc rc = 0;
  const char *why = "";
  row.name = "row";
  row.subscriber.url = "nonsense";
  assert_null(roam_load_new(NULL, &row, 1, NULL, roam_world_random(s->world), &rc, &why));
  assert_int_equal(rc, ROAM_E_OPTION);
  assert_non_null(strstr(why, "url"));
  stage_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reports_what_it_recorded),
      cmocka_unit_test(a_rebind_costs_quic_nothing_and_tcp_the_rest),
      cmocka_unit_test(the_same_seed_gives_the_same_recording),
      cmocka_unit_test(many_rows_do_not_disturb_each_other),
      cmocka_unit_test(without_a_broker_it_says_who_is_missing),
      cmocka_unit_test(bad_options_are_refused_in_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
