/* The send queue against a plain array: random puts, sends and acknowledgements, and bytes that never move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "transport/sendq.h"

enum {
  TOTAL = 400000
};

static uint8_t model[TOTAL];
static const uint8_t *where[TOTAL]; /* the address each byte was handed out at */

static void put_some(struct roam_sendq *q, struct roam_rng *rng) {
  roam_slice slices[4];
  roam_blob *blobs[4] = {0};
  size_t n = 1 + (size_t)roam_random_below(&rng->random, 4), at = (size_t)q->written;
  for (size_t i = 0; i < n; i++) {
    size_t len = (size_t)roam_random_below(&rng->random, roam_random_below(&rng->random, 3) ? 700 : 9000);
    if (at + len > TOTAL) len = TOTAL - at;
    roam_random_fill(&rng->random, model + at, len);
    blobs[i] = roam_random_below(&rng->random, 2) ? roam_blob_new(model + at, len) : NULL;
    slices[i] = (roam_slice){blobs[i] ? roam_blob_data(blobs[i]) : model + at, len, blobs[i]};
    at += len;
  }
  assert_int_equal(roam_sendq_put(q, slices, n), 0);
  for (size_t i = 0; i < n; i++) roam_blob_unref(blobs[i]);
  assert_int_equal(q->written, at);
}

/* What is unsent is what was put, and a byte seen before is where it was. Returns how much was seen. */
static size_t look(const struct roam_sendq *q) {
  roam_bytes views[5];
  size_t len, sum = 0, n = roam_sendq_unsent(q, views, 5, &len);
  for (size_t i = 0; i < n; i++) {
    size_t at = (size_t)q->sent + sum;
    assert_memory_equal(views[i].base, model + at, views[i].len);
    for (size_t k = 0; k < views[i].len; k++) {
      assert_true(!where[at + k] || where[at + k] == views[i].base + k);
      where[at + k] = views[i].base + k;
    }
    sum += views[i].len;
  }
  assert_int_equal(sum, len);
  assert_int_equal(len > 0, roam_sendq_has_unsent(q));
  return len;
}

static void against_a_model(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    struct roam_sendq q;
    struct roam_rng rng;
    roam_rng_init(&rng, seed);
    roam_sendq_init(&q);
    memset(where, 0, sizeof where);
    while (q.acked < TOTAL) {
      if (q.written < TOTAL && roam_random_below(&rng.random, 2)) put_some(&q, &rng);
      roam_sendq_advance(&q, (size_t)roam_random_below(&rng.random, look(&q) + 1));
      /* what was sent and not acknowledged is still the same bytes at the same place */
      for (uint64_t at = q.acked; at < q.sent; at += 97) assert_int_equal(*where[at], model[at]);
      if (roam_random_below(&rng.random, 2))
        roam_sendq_ack(&q, q.acked + roam_random_below(&rng.random, q.sent - q.acked + 1));
    }
    assert_int_equal(roam_sendq_held(&q), 0);
    roam_sendq_reset(&q);
  }
}

static void a_reset_queue_takes_late_acknowledgements(void **state) {
  (void)state;
  struct roam_sendq q;
  roam_slice slice = {(const uint8_t *)"hello", 5, NULL};
  roam_sendq_init(&q);
  assert_int_equal(roam_sendq_put(&q, &slice, 1), 0);
  roam_sendq_advance(&q, 5);
  roam_sendq_reset(&q);
  roam_sendq_ack(&q, 5);
  assert_int_equal(roam_sendq_held(&q), 0);
  assert_false(roam_sendq_has_unsent(&q));
  roam_sendq_reset(&q);
}

static void a_held_blob_is_counted_until_acknowledged(void **state) {
  (void)state;
  struct roam_sendq q;
  roam_blob *blob = roam_blob_new(NULL, 2000);
  assert_non_null(blob);
  memset(roam_blob_data(blob), 7, 2000);
  roam_slice slice = {roam_blob_data(blob), 2000, blob};
  roam_bytes view;
  size_t len;
  roam_sendq_init(&q);
  assert_int_equal(roam_sendq_put(&q, &slice, 1), 0);
  const uint8_t *data = roam_blob_data(blob);
  roam_blob_unref(blob); /* ours is gone; the queue's keeps it alive */
  assert_int_equal(roam_sendq_unsent(&q, &view, 1, &len), 1);
  assert_ptr_equal(view.base, data); /* not a copy */
  assert_int_equal(view.base[1999], 7);
  roam_sendq_advance(&q, 2000);
  roam_sendq_ack(&q, 2000);
  roam_sendq_reset(&q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(against_a_model),
      cmocka_unit_test(a_reset_queue_takes_late_acknowledgements),
      cmocka_unit_test(a_held_blob_is_counted_until_acknowledged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
