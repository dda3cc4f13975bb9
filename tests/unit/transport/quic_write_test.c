/* quic_write_test.c - how packets leave: spread over the round trip as their window allows, a small burst at any time. */
#include "pair.h"

enum {
  BUCKETS = 10, /* of a millisecond */
  BURST_BYTES = 10 * 1200
};

struct pace {
  struct pair *p;
  roam_time at; /* of the newest bucket, in milliseconds */
  uint64_t bucket[BUCKETS], sum;
  uint64_t cwnd_most, burst_most; /* the most in BUCKETS milliseconds while the window was large */
  double worst;                   /* the same as a share of what may leave in that time */
};

/* In ten of fifty milliseconds a fifth of the window, a quarter more, and the burst that is always allowed. */
static uint64_t allowed(uint64_t cwnd) { return cwnd / 5 * 5 / 4 + BURST_BYTES + 2 * 1452; }

static bool note(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  struct pace *c = g->context;
  roam_time now = g->now / ROAM_MS;
  (void)bytes;
  if (u->local.port == 14567) return true;
  for (; c->at < now; c->at++) {
    c->sum -= c->bucket[(c->at + 1) % BUCKETS];
    c->bucket[(c->at + 1) % BUCKETS] = 0;
  }
  c->bucket[now % BUCKETS] += *len;
  c->sum += *len;
  uint64_t cwnd = roam_conn_get_info(c->p->conn).cwnd_bytes;
  double share = (double)c->sum / (double)allowed(cwnd);
  if (cwnd > c->cwnd_most) c->cwnd_most = cwnd;
  if (cwnd < 80000) return true;
  if (c->sum > c->burst_most) c->burst_most = c->sum;
  if (share > c->worst) c->worst = share;
  return true;
}

static void fill(struct pair *p) {
  static uint8_t block[4096];
  while (roam_conn_room(p->conn, 0) >= sizeof block && pair_send(p->client, p->conn, block, sizeof block)) {
  }
}

static bool pour(void *context) {
  struct pair *p = context;
  fill(p);
  roam_bytes got = roam_conn_peek(p->server->conn, 0);
  if (got.len > 0) roam_conn_consume(p->server->conn, p->g->now, 0, got.len);
  return false;
}

static void is_spread(roam_congestion congestion) {
  struct pair *p = pair_new(NULL);
  struct pace c = {.p = p};
  roam_rc rc;
  const char *why;
  roam_transport_free(p->client->t);
  p->client_options.congestion = congestion;
  p->client_options.datagram_bytes_max = 1452; /* what is allowed is counted in packets of this size */
  p->client->t = roam_quic_new(&p->client_options, &rc, &why);
  assert_non_null(p->client->t);
  pair_connect(p);
  c.at = p->g->now / ROAM_MS;
  p->g->context = &c;
  p->g->out = note;
  for (int i = 0; i < 100; i++) {
    fill(p);
    glue_run_until(p->g, p->g->now + 20 * ROAM_MS, pour, p);
  }
  print_message("%s: window to %llu, at most %llu in 10 ms, %.2f of what may\n", roam_congestion_name(congestion),
                (unsigned long long)c.cwnd_most, (unsigned long long)c.burst_most, c.worst);
  assert_true(c.cwnd_most > 150000); /* or nothing was tried */
  assert_true(c.worst < 1.0);
  p->g->out = NULL;
  pair_free(p);
}

static void a_window_is_spread_over_its_round_trip(void **state) {
  (void)state;
  is_spread(ROAM_CONGESTION_CUBIC);
  is_spread(ROAM_CONGESTION_RENO);
}

/* What is small leaves whole, at once: a round trip is not spent on pacing it. */
static void a_burst_is_allowed_at_any_time(void **state) {
  static uint8_t block[10000];
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  for (int i = 0; i < 3; i++) {
    assert_true(pair_send(p->client, p->conn, block, sizeof block));
    glue_run(p->g, PAIR_DELAY);
    pair_expect(p->server, p->server->conn, block, sizeof block);
    glue_run(p->g, ROAM_S);
  }
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_window_is_spread_over_its_round_trip),
      cmocka_unit_test(a_burst_is_allowed_at_any_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
