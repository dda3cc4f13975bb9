/* quic_stray_test.c - datagrams that belong to another worker: which do, how many are kept, and that none is sent on twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "transport/quic_ids.h"

#define WALL INT64_C(1750000000)

static struct roam_rng rng;
static roam_identity identity;

struct endpoint {
  roam_transport *t;
  uint32_t handle;
  roam_addr local;
};

static roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static struct endpoint make(uint32_t worker, bool encrypted) {
  struct endpoint e = {0};
  roam_transport_options o;
  roam_rc rc;
  const char *why;
  uint32_t listener;
  roam_wire out;
  roam_transport_options_init(&o);
  o.random = &rng.random;
  o.workers = 3;
  o.worker = worker;
  o.encrypt_ids = encrypted;
  memset(o.secret, 9, sizeof o.secret);
  o.tls.certificate = text(identity.certificate);
  o.tls.key = text(identity.key);
  o.tls.wall_unix_s = WALL;
  e.t = roam_quic_new(&o, &rc, &why);
  assert_non_null(e.t);
  assert_int_equal(roam_addr_parse("127.0.0.1:14567", &e.local), 0);
  assert_int_equal(roam_transport_listen(e.t, ROAM_S, &e.local, &listener), 0);
  assert_int_equal(roam_transport_drain(e.t, ROAM_S, &out, 1), 1);
  assert_int_equal(out.kind, ROAM_WIRE_BIND);
  assert_int_equal(out.parent, 3);
  assert_int_equal(out.how, worker == 0 ? ROAM_BIND_FIRST : ROAM_BIND_NEXT);
  assert_int_equal(out.up, !encrypted);
  e.handle = out.handle;
  roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = e.handle, .local = e.local, .up = out.up};
  roam_transport_feed(e.t, ROAM_S, &bound, 1);
  return e;
}

/* A short header with an id of that worker's, and noise. */
static size_t write_datagram(uint8_t bytes[64], uint32_t worker, bool encrypted) {
  struct roam_quic_ids ids;
  uint8_t secret[32];
  roam_transport_options o;
  roam_transport_options_init(&o);
  o.random = &rng.random;
  o.workers = 3;
  o.worker = worker;
  o.encrypt_ids = encrypted;
  memset(secret, 9, sizeof secret);
  roam_random_fill(&rng.random, bytes, 64);
  bytes[0] = 0x40;
  assert_int_equal(roam_quic_ids_init(&ids, &o, secret), 0);
  roam_quic_ids_make(&ids, bytes + 1);
  roam_quic_ids_reset(&ids);
  return 64;
}

static void feed(struct endpoint *e, const uint8_t *bytes, size_t len) {
  roam_wire unit = {
      .kind = ROAM_WIRE_DATAGRAM, .handle = e->handle, .local = e->local, .data = bytes, .len = len, .ecn = 2};
  assert_int_equal(roam_addr_parse("127.0.0.9:4000", &unit.remote), 0);
  roam_transport_feed(e->t, ROAM_S, &unit, 1);
}

static void an_id_leads_to_its_worker(void **state) {
  (void)state;
  for (int encrypted = 0; encrypted <= 1; encrypted++) {
    struct endpoint here = make(0, encrypted), there = make(2, encrypted);
    uint8_t bytes[64];
    uint32_t worker = 99;
    feed(&here, bytes, write_datagram(bytes, 0, encrypted)); /* ours, and unknown: nobody else's affair */
    assert_null(roam_quic_take_stray(here.t, &worker));
    feed(&here, bytes, write_datagram(bytes, 2, encrypted));
    roam_blob *stray = roam_quic_take_stray(here.t, &worker);
    assert_non_null(stray);
    assert_int_equal(worker, 2);
    assert_null(roam_quic_take_stray(here.t, &worker));
    /* The other one answers it as its own, and from its own socket. What it is not, it does not send on. */
    roam_wire out;
    roam_bytes view = {roam_blob_data(stray), roam_blob_len(stray)};
    roam_quic_adopt(there.t, ROAM_S, view);
    assert_int_equal(roam_transport_drain(there.t, ROAM_S, &out, 1), 1);
    assert_int_equal(out.kind, ROAM_WIRE_DATAGRAM); /* a stateless reset */
    assert_int_equal(out.handle, there.handle);
    assert_int_equal(out.remote.port, 4000);
    struct endpoint third = make(1, encrypted);
    roam_quic_adopt(third.t, ROAM_S, view);
    assert_null(roam_quic_take_stray(third.t, &worker));
    for (size_t len = 0; len < view.len; len += 7) roam_quic_adopt(third.t, ROAM_S, (roam_bytes){view.base, len}); /* cut */
    roam_blob_unref(stray);
    roam_transport_free(here.t);
    roam_transport_free(there.t);
    roam_transport_free(third.t);
  }
}

static void a_flood_is_bounded(void **state) {
  (void)state;
  struct endpoint e = make(0, false);
  uint32_t worker;
  unsigned kept = 0;
  for (unsigned i = 0; i < 5000; i++) {
    uint8_t bytes[64];
    feed(&e, bytes, write_datagram(bytes, 1, false));
  }
  for (roam_blob *stray; kept < 512 && (stray = roam_quic_take_stray(e.t, &worker)) != NULL; kept++) roam_blob_unref(stray);
  assert_int_equal(kept, 512); /* the rest goes with the endpoint */
  roam_transport_free(e.t);
  e = make(0, false);
  for (unsigned i = 0; i < 5000; i++) {
    uint8_t bytes[64];
    feed(&e, bytes, write_datagram(bytes, 1, false));
  }
  for (roam_blob *stray; (stray = roam_quic_take_stray(e.t, &worker)) != NULL; kept++) roam_blob_unref(stray);
  assert_int_equal(kept, 512 + 1024);
  roam_transport_free(e.t);
}

static int set_up(void **state) {
  (void)state;
  roam_rng_init(&rng, 1);
  return roam_identity_make(&identity, "strays", "localhost", WALL, 1, false);
}

static int tear_down(void **state) {
  (void)state;
  roam_identity_clear(&identity);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_id_leads_to_its_worker),
      cmocka_unit_test(a_flood_is_bounded),
  };
  return cmocka_run_group_tests_name("quic_stray", tests, set_up, tear_down);
}
