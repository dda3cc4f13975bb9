/* quic_ids_test.c - connection ids in the form of QUIC-LB: whose they are, who can see it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "transport/quic_ids.h"

static struct roam_rng rng;
static const uint8_t secret[32] = {1, 2, 3};

static void make(struct roam_quic_ids *ids, uint32_t workers, uint32_t worker, bool encrypted, const uint8_t key[32]) {
  roam_transport_options o;
  roam_transport_options_init(&o);
  o.random = &rng.random;
  o.workers = workers;
  o.worker = worker;
  o.encrypt_ids = encrypted;
  assert_int_equal(roam_quic_ids_init(ids, &o, key), 0);
}

static void everybody_knows_whose_an_id_is(void **state) {
  (void)state;
  for (int encrypted = 0; encrypted <= 1; encrypted++) {
    for (uint32_t worker = 0; worker < 64; worker++) {
      struct roam_quic_ids own, other;
      uint8_t id[ROAM_QUIC_ID_MAX];
      make(&own, 64, worker, encrypted, secret);
      make(&other, 64, 63 - worker, encrypted, secret);
      assert_int_equal(own.len, encrypted ? 17 : 16);
      roam_quic_ids_make(&own, id);
      assert_int_equal(id[0] & 0xe0, 0); /* configuration 0 */
      if (!encrypted) assert_int_equal(id[1], worker);
      assert_int_equal(roam_quic_ids_worker(&other, id, own.len), worker);
      assert_int_equal(roam_quic_ids_worker(&own, id, own.len), worker);
      assert_true(roam_quic_ids_worker(&own, id, own.len - 1) == UINT32_MAX);
      id[0] |= 0xe0; /* the draft's mark of an id that cannot be routed */
      assert_true(roam_quic_ids_worker(&own, id, own.len) == UINT32_MAX);
      roam_quic_ids_reset(&own);
      roam_quic_ids_reset(&other);
    }
  }
}

/* Without the key the octet of the worker says nothing: over many ids of one worker it takes all values. */
static void nobody_else_sees_it(void **state) {
  (void)state;
  struct roam_quic_ids ids, stranger;
  static const uint8_t another[32] = {9};
  bool seen[256] = {0};
  int different = 0, right = 0;
  make(&ids, 2, 1, true, secret);
  make(&stranger, 2, 0, true, another);
  for (int i = 0; i < 4096; i++) {
    uint8_t id[ROAM_QUIC_ID_MAX];
    roam_quic_ids_make(&ids, id);
    different += !seen[id[1]];
    seen[id[1]] = true;
    right += roam_quic_ids_worker(&stranger, id, ids.len) == 1;
  }
  assert_int_equal(different, 256);
  assert_true(right < 64); /* 1 in 256 by chance */
  roam_quic_ids_reset(&ids);
  roam_quic_ids_reset(&stranger);
}

/* With one worker nothing is changed: 16 octets of chance. */
static void alone_an_id_is_all_chance(void **state) {
  (void)state;
  struct roam_quic_ids ids;
  struct roam_rng same;
  uint8_t id[ROAM_QUIC_ID_MAX], chance[16];
  roam_rng_init(&rng, 7);
  roam_rng_init(&same, 7);
  make(&ids, 1, 0, true, secret);
  assert_int_equal(ids.len, 16);
  roam_quic_ids_make(&ids, id);
  roam_random_fill(&same.random, chance, sizeof chance);
  assert_memory_equal(id, chance, sizeof chance);
  assert_true(roam_quic_ids_worker(&ids, id, ids.len) == UINT32_MAX);
  roam_quic_ids_reset(&ids);
}

/* AES-128 of a known block, so that a load balancer that has the key finds what we hid. */
static void it_is_the_draft_s_single_pass(void **state) {
  (void)state;
  struct roam_quic_ids ids;
  uint8_t id[ROAM_QUIC_ID_MAX], again[ROAM_QUIC_ID_MAX];
  make(&ids, 4, 3, true, secret);
  roam_rng_init(&rng, 3);
  roam_quic_ids_make(&ids, id);
  roam_rng_init(&rng, 3);
  roam_quic_ids_make(&ids, again); /* one block, no chaining: the same nonce gives the same id */
  assert_memory_equal(id, again, ids.len);
  roam_quic_ids_reset(&ids);
}

int main(void) {
  roam_rng_init(&rng, 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everybody_knows_whose_an_id_is),
      cmocka_unit_test(nobody_else_sees_it),
      cmocka_unit_test(alone_an_id_is_all_chance),
      cmocka_unit_test(it_is_the_draft_s_single_pass),
  };
  return cmocka_run_group_tests_name("quic_ids", tests, NULL, NULL);
}
