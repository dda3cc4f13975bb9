/* glue.h - a broker glued in memory to a bare QUIC connection that speaks what the test writes. */
#ifndef TESTS_UNIT_BROKER_GLUE_H
#define TESTS_UNIT_BROKER_GLUE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/broker.h>
#include <roamqtt/store.h>

#include "base/rng.h"
#include "transport/transport.h"

#define WALL 1700000000
#define GLUE_GRANT 4 /* lanes the broker may open */

struct glue {
  struct roam_rng rng;
  roam_identity identity;
  roam_broker *broker;
  roam_transport *quic;
  roam_conn *conn;
  roam_time now;
  uint32_t client_handle, server_handle;
  roam_addr client, server; /* client: as the broker sees it; the test moves it */
  bool opened, closed;
  uint64_t fins; /* bits: lanes the broker has ended */
  int resets;
  uint32_t reset_lane;
  uint64_t reset_code, close_code;
  uint8_t reason; /* of the packet expected last */
  bool deaf;      /* nothing reaches the client */
  bool certified; /* the broker wants certificates: the client has one, of device-7 */
  roam_identity client_identity;
  roam_event last[64]; /* by kind */
  int counts[64];
  void (*change)(roam_broker_options *o);
  roam_store *store; /* change has set it; the test's to free */
  uint32_t opened_by_broker[16];
  int opened_count;
};

static inline roam_bytes str(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static inline roam_addr addr(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

static inline void take_from_broker(struct glue *g, const roam_wire *u) {
  roam_wire in = {.kind = u->kind,
                  .handle = g->client_handle,
                  .remote = g->server,
                  .data = u->data,
                  .len = u->len,
                  .segment = u->segment,
                  .ecn = u->ecn};
  if (u->kind == ROAM_WIRE_BIND) {
    g->server_handle = u->handle;
    roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = g->server};
    roam_broker_feed(g->broker, g->now, &bound, 1);
  } else if (u->kind == ROAM_WIRE_STORE) {
    char why[ROAM_STORE_WHY_MAX];
    roam_wire stored = {.kind = ROAM_WIRE_STORED, .credit = u->credit};
    assert_int_equal(g->store->ops->commit(g->store, (roam_bytes){u->data, u->len}, why), 0);
    roam_broker_feed(g->broker, g->now, &stored, 1);
  } else if (u->kind == ROAM_WIRE_DATAGRAM && g->client_handle && !g->deaf && roam_addr_equal(&u->remote, &g->client)) {
    in.local = addr("127.0.0.2:5000");
    roam_transport_feed(g->quic, g->now, &in, 1);
  }
}

static inline void take_from_client(struct glue *g, const roam_wire *u) {
  if (u->kind == ROAM_WIRE_BIND) {
    g->client_handle = u->handle;
    roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = addr("127.0.0.2:5000")};
    roam_transport_feed(g->quic, g->now, &bound, 1);
  } else if (u->kind == ROAM_WIRE_DATAGRAM) {
    roam_wire in = {.kind = u->kind,
                    .handle = g->server_handle,
                    .local = g->server,
                    .remote = g->client,
                    .data = u->data,
                    .len = u->len,
                    .segment = u->segment,
                    .ecn = u->ecn};
    roam_broker_feed(g->broker, g->now, &in, 1);
  }
}

static inline void take_events(struct glue *g) {
  roam_te te;
  roam_event ev;
  while (roam_transport_poll(g->quic, &te, 1) == 1) {
    g->opened |= te.kind == ROAM_TE_OPENED;
    g->closed |= te.kind == ROAM_TE_CLOSED;
    if (te.kind == ROAM_TE_CLOSED) g->close_code = te.code;
    if (te.kind == ROAM_TE_LANE_FIN && te.lane < 64) g->fins |= UINT64_C(1) << te.lane;
    if (te.kind == ROAM_TE_LANE_OPENED && g->opened_count < 16) g->opened_by_broker[g->opened_count++] = te.lane;
    if (te.kind == ROAM_TE_LANE_FIN && te.lane & ROAM_LANE_OF_SERVER)
      g->fins |= UINT64_C(1) << (32 + (te.lane & 31)); /* the broker's, above the client's */
    if (te.kind != ROAM_TE_LANE_RESET) continue;
    g->resets++;
    g->reset_lane = te.lane;
    g->reset_code = te.code;
  }
  while (roam_broker_poll(g->broker, &ev, 1) == 1) {
    g->last[ev.kind] = ev;
    g->counts[ev.kind]++;
  }
}

static inline void settle(struct glue *g) {
  roam_wire out;
  bool moved = true;
  while (moved) {
    moved = false;
    while (roam_broker_drain(g->broker, g->now, &out, 1) == 1) {
      take_from_broker(g, &out);
      moved = true;
    }
    while (roam_transport_drain(g->quic, g->now, &out, 1) == 1) {
      take_from_client(g, &out);
      moved = true;
    }
    take_events(g);
  }
}

static inline void run(struct glue *g, uint64_t ns) {
  roam_time until = g->now + ns;
  settle(g);
  for (int turns = 0;; turns++) {
    roam_time due = roam_broker_deadline(g->broker), other = roam_transport_deadline(g->quic);
    assert_true(turns < 100000);
    if (other < due) due = other;
    if (due > until) break;
    if (due > g->now) g->now = due;
    roam_broker_tick(g->broker, g->now);
    roam_transport_tick(g->quic, g->now);
    settle(g);
  }
  g->now = until;
}

static inline void write_packet(struct glue *g, uint32_t lane, const roam_packet *p) {
  uint8_t bytes[256];
  size_t len;
  assert_int_equal(roam_packet_write(p, bytes, sizeof bytes, &len), 0);
  roam_slice slice = {.base = bytes, .len = len};
  assert_int_equal(roam_conn_write(g->conn, g->now, lane, &slice, 1), 0);
  run(g, 100 * ROAM_MS);
}

static inline void expect(struct glue *g, int type) {
  roam_packet p;
  roam_fault fault;
  size_t used = 0;
  assert_int_equal(roam_packet_read(roam_conn_peek(g->conn, 0), 5, 1u << 20, true, &p, &used, &fault), 0);
  assert_true(used > 0);
  assert_int_equal(p.type, type);
  g->reason = p.reason;
  roam_conn_consume(g->conn, g->now, 0, used);
}

static inline void make_broker(struct glue *g, void (*change)(roam_broker_options *o)) {
  roam_broker_options o;
  roam_rc rc;
  uint64_t listener;
  roam_broker_options_init(&o);
  o.tls.certificate = str(g->identity.certificate);
  o.tls.key = str(g->identity.key);
  o.tls.wall_unix_s = WALL;
  if (change) change(&o);
  g->store = o.store;
  g->certified = o.tls.require_client_certificate;
  if (g->certified) o.tls.ca = str(g->identity.ca_certificate);
  g->broker = roam_broker_new(&o, g->now, &g->rng.random, &rc);
  assert_non_null(g->broker);
  assert_int_equal(roam_broker_listen(g->broker, g->now, ROAM_TRANSPORT_QUIC, &g->server, &listener), 0);
}

static inline void make_client(struct glue *g, const char *alpn) {
  roam_transport_options t;
  roam_rc rc;
  const char *why;
  roam_transport_options_init(&t);
  t.random = &g->rng.random;
  t.now = g->now;
  t.handle_first = 1;
  t.alpn = alpn;
  t.datagrams_max = 64;
  t.server_lanes_max = GLUE_GRANT;
  t.tls.ca = str(g->identity.ca_certificate);
  t.tls.wall_unix_s = WALL;
  if (g->certified) {
    roam_identity *mine = &g->client_identity;
    roam_bytes ca = str(g->identity.ca_certificate), ca_key = str(g->identity.ca_key);
    assert_int_equal(roam_identity_issue(mine, ca, ca_key, "device-7", "device-7", WALL, 1, true), 0);
    t.tls.certificate = str(mine->certificate);
    t.tls.key = str(mine->key);
  }
  g->quic = roam_quic_new(&t, &rc, &why);
  assert_non_null(g->quic);
  assert_int_equal(roam_transport_dial(g->quic, g->now, &g->server, NULL, NULL, "localhost", g, &g->conn), 0);
}

/* Up to the open connection; nothing has been said on it. change: may be NULL. */
static inline struct glue *glue_open(void (*change)(roam_broker_options *o), const char *alpn) {
  struct glue *g = calloc(1, sizeof *g);
  assert_non_null(g);
  roam_rng_init(&g->rng, 1);
  g->now = ROAM_S;
  g->client = addr("127.0.0.2:5000");
  g->server = addr("127.0.0.1:14567");
  assert_int_equal(roam_identity_make(&g->identity, "glue", "localhost", WALL, 1, false), 0);
  g->change = change;
  make_broker(g, change);
  make_client(g, alpn);
  run(g, ROAM_S);
  assert_true(g->opened);
  assert_int_equal(g->counts[ROAM_EV_LISTENING], 1);
  return g;
}

static inline void glue_greet(struct glue *g) {
  write_packet(g, 0,
               &(roam_packet){.type = ROAM_CONNECT,
                              .version = 5,
                              .connect = {.client_id = str("bare"),
                                          .clean_start = true,
                                          .has_will = true,
                                          .will_retain = true,
                                          .will_topic = str("will"),
                                          .will_payload = str("gone")}});
  expect(g, ROAM_CONNACK);
}

static inline struct glue *glue_new(void) {
  struct glue *g = glue_open(NULL, "mqtt");
  glue_greet(g);
  return g;
}

static inline void glue_free(struct glue *g) {
  if (g->closed) roam_conn_release(g->conn);
  roam_transport_free(g->quic);
  roam_broker_free(g->broker);
  roam_identity_clear(&g->identity);
  roam_identity_clear(&g->client_identity);
  free(g);
}

#endif
