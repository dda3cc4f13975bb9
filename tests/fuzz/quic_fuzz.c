/* quic_fuzz.c - datagrams into a QUIC server endpoint: first flights of a real client, recorded at the start, whole, cut,
 * turned and from anywhere; any bytes at all; Initial packets sealed here with any frames, or with the ClientHello changed;
 * and between an honest client and that server, datagrams lost, doubled, turned and moved. Afterwards another honest client
 * must be served.
 *
 * Input: operations of two bytes and what they need. */
#include "fuzz.h"
#include "quic_seal.h"

#include "base/rng.h"
#include "transport/transport.h"

#define WALL INT64_C(1750000000)
#define DATAGRAM_MAX 1500u
#define FLIGHT_MAX 96u
#define RECORDED_MAX 8u
#define OPERATIONS_MAX 60
#define TURNS_MAX 4000

struct datagram {
  roam_addr from;
  size_t len;
  uint8_t bytes[DATAGRAM_MAX];
};

struct flight {
  struct datagram at[FLIGHT_MAX];
  size_t len;
};

struct endpoint {
  roam_transport *t;
  struct roam_rng rng;
  roam_addr addr;
  uint32_t handle;
  uint16_t ports; /* how many it has bound */
  roam_conn *conn;
  bool opened;
  struct flight in;
};

struct rig {
  struct tape tape;
  roam_time now;
  struct endpoint server, client, other;
  uint32_t number; /* of sealed packets */
};

/* What is made once: certificates, and the first flights of a client. */
static roam_identity identity;
static struct flight recorded;
static uint8_t hello[SEAL_FRAMES_MAX];
static size_t hello_len;
static struct seal seals[2];

/* Every run draws the same numbers, in TLS too. */
static struct roam_rng tls_rng;
__attribute__((visibility("default"))) int gnutls_rnd(gnutls_rnd_level_t level, void *data, size_t len) {
  (void)level;
  roam_random_fill(&tls_rng.random, data, len);
  return 0;
}

static roam_addr address(unsigned last, uint16_t port) {
  roam_addr a = {.family = 4, .port = port, .ip = {10, 0, 0, (uint8_t)last}};
  return a;
}

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

/* What the library says of a peer's bytes is JSON in our hands: one record, no control characters in it. */
static void look_at_qlog(void *context, const char *name, roam_bytes record, bool last) {
  (void)context, (void)name;
  if (last) return;
  FUZZ_CHECK(record.len > 3 && record.base[0] == 0x1e && record.base[1] == '{' && record.base[record.len - 2] == '}');
  for (size_t i = 1; i + 1 < record.len; i++) FUZZ_CHECK(record.base[i] >= ' ' && record.base[i] < 0x7f);
}

static void endpoint_init(struct endpoint *e, roam_time now, roam_addr addr, bool server) {
  roam_transport_options o;
  roam_rc rc;
  const char *why;
  roam_rng_init(&e->rng, addr.ip[3]);
  roam_transport_options_init(&o);
  o.random = &e->rng.random;
  o.now = now;
  o.handle_first = 1;
  o.tls.wall_unix_s = WALL;
  o.tap.qlog = look_at_qlog;
  if (server) {
    o.tls.certificate = text(identity.certificate);
    o.tls.key = text(identity.key);
    o.ping_ns = 0;
  } else {
    o.tls.ca = text(identity.ca_certificate);
  }
  e->addr = addr;
  e->t = roam_quic_new(&o, &rc, &why);
  FUZZ_CHECK(e->t != NULL);
}

/* ---- events ---- */

static void touch(roam_conn *conn, roam_time now, uint32_t lane) {
  roam_bytes view = roam_conn_peek(conn, lane);
  static volatile uint8_t sink;
  for (size_t i = 0; i < view.len; i++) sink = view.base[i];
  (void)sink;
  roam_conn_consume(conn, now, lane, view.len);
}

static void on_event(struct rig *r, struct endpoint *e, const roam_te *ev) {
  switch (ev->kind) {
    case ROAM_TE_ACCEPTED: e->conn = ev->conn; break;
    case ROAM_TE_OPENED:
      e->conn = ev->conn;
      e->opened = true;
      break;
    case ROAM_TE_READABLE: touch(ev->conn, r->now, ev->lane); break;
    case ROAM_TE_CLOSED:
      if (e->conn == ev->conn) e->conn = NULL;
      roam_conn_release(ev->conn);
      break;
    default: break;
  }
}

static void poll_endpoint(struct rig *r, struct endpoint *e) {
  roam_te ev[16];
  size_t n;
  while ((n = roam_transport_poll(e->t, ev, 16)) > 0)
    for (size_t i = 0; i < n; i++) on_event(r, e, &ev[i]);
}

/* ---- moving datagrams ---- */

static void post(struct flight *to, const roam_addr *from, roam_bytes bytes) {
  if (to->len == FLIGHT_MAX || bytes.len > DATAGRAM_MAX) return;
  struct datagram *d = &to->at[to->len++];
  d->from = *from;
  d->len = bytes.len;
  memcpy(d->bytes, bytes.base, bytes.len);
}

static void post_train(struct flight *to, const roam_addr *from, const roam_wire *unit) {
  size_t step = unit->segment > 0 ? unit->segment : unit->len;
  for (size_t at = 0; at < unit->len; at += step)
    post(to, from, (roam_bytes){unit->data + at, step < unit->len - at ? step : unit->len - at});
}

static void bind(struct rig *r, struct endpoint *e, uint32_t handle) {
  e->handle = handle;
  if (e->addr.port != 14567) e->addr.port = (uint16_t)(40000 + e->ports++);
  roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = handle, .local = e->addr};
  roam_transport_feed(e->t, r->now, &bound, 1);
  poll_endpoint(r, e);
}

static bool drain(struct rig *r, struct endpoint *e, struct flight *to) {
  roam_wire out[16];
  uint32_t bind_handles[16];
  size_t n, binds = 0;
  bool moved = false;
  for (int turns = 0; (n = roam_transport_drain(e->t, r->now, out, 16)) > 0; turns++) {
    FUZZ_CHECK(turns < TURNS_MAX && n <= 16);
    binds = 0;
    for (size_t i = 0; i < n; i++) {
      if (out[i].kind == ROAM_WIRE_DATAGRAM) post_train(to, &e->addr, &out[i]);
      if (out[i].kind == ROAM_WIRE_BIND) bind_handles[binds++] = out[i].handle;
    }
    for (size_t i = 0; i < binds; i++) bind(r, e, bind_handles[i]);
    moved = true;
  }
  return moved;
}

/* The datagram comes in a copy of its own size. */
static void feed(struct rig *r, struct endpoint *e, const roam_addr *from, roam_bytes bytes) {
  uint8_t *copy = fuzz_copy(bytes);
  roam_wire unit = {
      .kind = ROAM_WIRE_DATAGRAM, .handle = e->handle, .local = e->addr, .remote = *from, .data = copy, .len = bytes.len};
  roam_transport_feed(e->t, r->now, &unit, 1);
  poll_endpoint(r, e);
  free(copy);
}

static void take(struct flight *f, size_t n) {
  memmove(f->at, f->at + n, (f->len - n) * sizeof f->at[0]);
  f->len -= n;
}

static void feed_first(struct rig *r, struct endpoint *e) {
  struct datagram d = e->in.at[0];
  take(&e->in, 1);
  feed(r, e, &d.from, (roam_bytes){d.bytes, d.len});
}

/* What the server sends goes to the client only when it was meant for it. */
static void pump(struct rig *r, struct endpoint *client, int rounds) {
  while (rounds-- > 0) {
    drain(r, client, &r->server.in);
    while (r->server.in.len > 0) feed_first(r, &r->server);
    drain(r, &r->server, &client->in);
    while (client->in.len > 0) feed_first(r, client);
    r->now += 10 * ROAM_MS;
    roam_transport_tick(client->t, r->now);
    roam_transport_tick(r->server.t, r->now);
    poll_endpoint(r, client);
    poll_endpoint(r, &r->server);
  }
}

static void dial(struct rig *r, struct endpoint *e) {
  if (e->conn != NULL) return;
  e->opened = false;
  FUZZ_CHECK(roam_transport_dial(e->t, r->now, &r->server.addr, NULL, NULL, "localhost", NULL, &e->conn) == 0);
  drain(r, e, &r->server.in);
}

/* ---- operations ---- */

static roam_addr source(uint8_t op) { return address(2u + (op >> 4 & 3), (uint16_t)(50000 + (op >> 6))); }

static void feed_recorded(struct rig *r, uint8_t op, uint8_t how) {
  struct datagram d = recorded.at[how % recorded.len];
  roam_addr from = source(op);
  if ((op & 15) == 1) d.len = tape_u16(&r->tape) % (d.len + 1);
  for (int edits = (op & 15) == 2 ? 1 + (how >> 6) : 0; edits > 0 && d.len > 0; edits--) {
    size_t at = tape_u16(&r->tape) % d.len;
    d.bytes[at] ^= tape_u8(&r->tape);
  }
  feed(r, &r->server, &from, (roam_bytes){d.bytes, d.len});
}

static void feed_sealed(struct rig *r, uint8_t op, roam_bytes frames) {
  uint8_t datagram[SEAL_DATAGRAM];
  roam_addr from = source(op);
  seal_initial(&seals[op >> 7], r->number++, frames, datagram);
  feed(r, &r->server, &from, (roam_bytes){datagram, sizeof datagram});
}

/* The part [at, at + len) of a ClientHello as a CRYPTO frame. */
static void feed_hello_part(struct rig *r, uint8_t op, const uint8_t *bytes, size_t at, size_t len) {
  uint8_t frames[SEAL_FRAMES_MAX] = {0x06, (uint8_t)(0x40 | at >> 8), (uint8_t)at, (uint8_t)(0x40 | len >> 8),
                                     (uint8_t)len};
  memcpy(frames + 5, bytes + at, len);
  feed_sealed(r, op, (roam_bytes){frames, 5 + len});
}

/* With bytes turned and one stretch cut out, in one packet or two, in either order. */
static void feed_hello(struct rig *r, uint8_t op, uint8_t how) {
  uint8_t copy[SEAL_FRAMES_MAX];
  size_t len = hello_len;
  memcpy(copy, hello, len);
  for (int edits = how & 7; edits > 0; edits--) {
    size_t at = tape_u16(&r->tape) % len;
    copy[at] ^= tape_u8(&r->tape);
  }
  if ((how & 0x20) != 0) {
    size_t at = tape_u16(&r->tape) % len, cut = tape_u8(&r->tape);
    cut = cut < len - at ? cut : len - at - 1;
    memmove(copy + at, copy + at + cut, len - at - cut);
    len -= cut;
  }
  size_t half = (how & 0x40) != 0 ? len / 2 : 0;
  if ((how & 0x80) == 0 && half > 0) feed_hello_part(r, op, copy, 0, half);
  feed_hello_part(r, op, copy, half, len - half);
  if ((how & 0x80) != 0 && half > 0) feed_hello_part(r, op, copy, 0, half);
}

/* Hands over the next datagram between the honest two, with a fate. */
static void deliver(struct rig *r, struct endpoint *to, uint8_t op, uint8_t how) {
  if (to->in.len == 0) return;
  size_t which = how % to->in.len;
  struct datagram d = to->in.at[which];
  if ((op >> 4 & 3) != 2) { /* 2: stays, so that it comes again */
    memmove(to->in.at + which, to->in.at + which + 1, (to->in.len - which - 1) * sizeof d);
    to->in.len--;
  }
  if ((op >> 4 & 3) == 1) return;
  if ((op >> 4 & 3) == 3) {
    size_t at = tape_u16(&r->tape) % d.len;
    d.bytes[at] ^= tape_u8(&r->tape);
  }
  if ((op & 0x80) != 0) d.from.port++;
  feed(r, to, &d.from, (roam_bytes){d.bytes, d.len});
}

static void pass_time(struct rig *r, uint8_t how) {
  r->now += how >= 0x80 ? (how & 0x7F) * ROAM_S : how * ROAM_MS;
  roam_transport_tick(r->server.t, r->now);
  roam_transport_tick(r->client.t, r->now);
  poll_endpoint(r, &r->server);
  poll_endpoint(r, &r->client);
}

static void command(struct rig *r, struct endpoint *e, uint8_t op, uint8_t how) {
  static const uint8_t bytes[4096];
  roam_slice slice = {bytes, (size_t)how * 16, NULL};
  uint32_t lane = how & 3;
  if (e->conn == NULL) return;
  switch (op >> 4 & 7) {
    case 0:
    case 1: roam_conn_write(e->conn, r->now, op >> 4 & 1, &slice, 1); break;
    case 2:
      if (e != &r->server) roam_conn_lane_open(e->conn, r->now, &lane);
      break;
    case 3: roam_conn_lane_fin(e->conn, r->now, lane); break;
    case 4: roam_conn_lane_reset(e->conn, r->now, lane, how); break;
    case 5: roam_conn_close(e->conn, r->now, how, (how & 1) != 0); break;
    case 6:
      if (e != &r->server)
        roam_conn_migrate(e->conn, r->now, NULL, NULL, how & 1 ? ROAM_MIGRATE_PROBE : ROAM_MIGRATE_IMMEDIATE);
      break;
    default:
      if (e != &r->server) roam_conn_ping(e->conn, r->now);
  }
}

static void operate(struct rig *r) {
  uint8_t op = tape_u8(&r->tape), how = tape_u8(&r->tape);
  roam_addr from = source(op);
  switch (op & 15) {
    case 0:
    case 1:
    case 2: feed_recorded(r, op, how); break;
    case 3: feed(r, &r->server, &from, tape_take(&r->tape, how)); break;
    case 4: feed_sealed(r, op, tape_take(&r->tape, how)); break;
    case 5: feed_hello(r, op, how); break;
    case 6: pass_time(r, how); break;
    case 7: dial(r, &r->client); break;
    case 8: deliver(r, &r->server, op, how); break;
    case 9: deliver(r, &r->client, op, how); break;
    case 10: pump(r, &r->client, 1 + how % 16); break;
    case 11: command(r, &r->client, op, how); break;
    case 12: command(r, &r->server, op, how); break;
    default: break;
  }
  drain(r, &r->client, &r->server.in);
  drain(r, &r->server, &r->client.in);
}

/* Whatever has happened: somebody new is served. */
static void expect_serving(struct rig *r) {
  r->server.in.len = 0;
  drain(r, &r->server, &r->other.in);
  r->other.in.len = 0;
  dial(r, &r->other);
  pump(r, &r->other, 100);
  FUZZ_CHECK(r->other.opened);
}

/* ---- the rig ---- */

static struct rig *rig_new(struct tape tape) {
  struct rig *r = calloc(1, sizeof *r);
  uint32_t listener;
  FUZZ_CHECK(r != NULL);
  roam_rng_init(&tls_rng, 7);
  r->tape = tape;
  r->now = ROAM_S;
  endpoint_init(&r->server, r->now, address(1, 14567), true);
  endpoint_init(&r->client, r->now, address(2, 0), false);
  endpoint_init(&r->other, r->now, address(9, 0), false);
  FUZZ_CHECK(roam_transport_listen(r->server.t, r->now, &r->server.addr, &listener) == 0);
  drain(r, &r->server, &r->client.in);
  return r;
}

static void rig_free(struct rig *r) {
  roam_transport_free(r->server.t);
  roam_transport_free(r->client.t);
  roam_transport_free(r->other.t);
  free(r);
}

/* First flights of clients that get no answer: the first, and what follows when time goes by. */
static void record(void) {
  uint8_t frames[2048];
  struct rig *r = rig_new((struct tape){NULL, NULL});
  dial(r, &r->client);
  for (int i = 0; i < 4; i++) {
    pass_time(r, 0x80 | 1);
    drain(r, &r->client, &r->server.in);
  }
  recorded = r->server.in;
  if (recorded.len > RECORDED_MAX) recorded.len = RECORDED_MAX;
  FUZZ_CHECK(recorded.len > 0);
  size_t len = seal_unseal((roam_bytes){recorded.at[0].bytes, recorded.at[0].len}, frames, sizeof frames);
  const uint8_t *at = frames + 1;
  FUZZ_CHECK(len > 8 && frames[0] == 0x06 && seal_varint(&at) == 0);
  hello_len = seal_varint(&at);
  FUZZ_CHECK(hello_len > 100 && hello_len <= SEAL_FRAMES_MAX - 5);
  memcpy(hello, at, hello_len);
  rig_free(r);
}

static void prepare(void) {
  static bool done;
  if (done) return;
  done = true;
  roam_rng_init(&tls_rng, 5);
  FUZZ_CHECK(roam_identity_make(&identity, "fuzz", "localhost", WALL, 30, false) == 0);
  seal_init(&seals[0], (const uint8_t *)"fuzzing0", 8);
  seal_init(&seals[1], (const uint8_t *)"another connection", 18);
  record();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  struct rig *r = rig_new((struct tape){data, data + size});
  for (int i = 0; i < OPERATIONS_MAX && tape_left(&r->tape) > 0; i++) operate(r);
  expect_serving(r);
  rig_free(r);
  return 0;
}
