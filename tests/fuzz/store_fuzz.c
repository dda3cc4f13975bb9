/* store_fuzz.c - rows of a store that a broker loads when it starts: the file may have been anybody's. The input is a
 * list of rows: length of the key, length of the record, and both. A broker that takes them runs for a while, what it
 * then commits is applied, and a second broker must take that again. */
#include "fuzz.h"

#include <roamqtt/broker.h>
#include <roamqtt/store.h>

#include "base/batch.h"
#include "base/rng.h"
#include "broker/records.h"

#define WALL 1700000000
#define TURNS 12

static void put(roam_store *store, roam_bytes key, roam_bytes record) {
  struct roam_batch b = {0};
  char why[ROAM_STORE_WHY_MAX] = "";
  uint8_t *at = roam_batch_add(&b, ROAM_STORE_PUT, key, record.len);
  FUZZ_CHECK(at != NULL);
  if (record.len > 0) memcpy(at, record.base, record.len);
  FUZZ_CHECK(store->ops->commit(store, (roam_bytes){b.base, b.len}, why) == 0);
  roam_batch_reset(&b);
}

static void fill(roam_store *store, struct tape *tape) {
  static const uint8_t version[] = {ROAM_KEY_VERSION}, number[] = {0, 0, 0, ROAM_RECORDS_VERSION};
  bool versioned = tape_u8(tape) & 1;
  if (versioned) put(store, (roam_bytes){version, 1}, (roam_bytes){number, 4});
  for (int i = 0; i < 200 && tape_left(tape) > 0; i++) {
    size_t key = tape_u8(tape), record = tape_u8(tape);
    roam_bytes k = tape_take(tape, key), r = tape_take(tape, record);
    if (k.len > 0) put(store, k, r);
  }
}

static roam_broker *start(roam_store *store, roam_random *random, roam_time now, roam_rc *rc) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.tls.wall_unix_s = WALL + (int64_t)(now / ROAM_S);
  o.store = store;
  o.sessions_max = 50;
  o.retained_max = 50;
  return roam_broker_new(&o, now, random, rc);
}

static void run(roam_broker *b, roam_store *store, roam_time *now) {
  const roam_machine m = roam_broker_machine(b);
  for (int i = 0; i < TURNS; i++) {
    roam_wire out[16];
    roam_event events[16];
    size_t n;
    while ((n = m.ops->drain(m.self, *now, out, 16)) > 0) {
      for (size_t k = 0; k < n; k++) {
        char why[ROAM_STORE_WHY_MAX] = "";
        if (out[k].kind != ROAM_WIRE_STORE) continue;
        roam_rc rc = store->ops->commit(store, (roam_bytes){out[k].data, out[k].len}, why);
        FUZZ_CHECK(rc == 0);
        roam_wire back = {.kind = ROAM_WIRE_STORED, .credit = out[k].credit};
        m.ops->feed(m.self, *now, &back, 1);
      }
    }
    while (m.ops->poll(m.self, events, 16) > 0) {
    }
    roam_time next = m.ops->deadline(m.self);
    *now = next == ROAM_NEVER || next > *now + 3600 * ROAM_S ? *now + 3600 * ROAM_S : next > *now ? next : *now + 1;
    m.ops->tick(m.self, *now);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tape tape = {data, data + size};
  struct roam_rng rng;
  roam_rc rc = 0;
  roam_time now = ROAM_S;
  if (size > 8192) return 0;
  roam_rng_init(&rng, 1);
  roam_store *store = roam_store_memory();
  FUZZ_CHECK(store != NULL);
  fill(store, &tape);
  roam_broker *b = start(store, &rng.random, now, &rc);
  if (!b) FUZZ_CHECK(rc == ROAM_E_DAMAGED || rc == ROAM_E_NEWER || rc == ROAM_E_LIMIT || rc == ROAM_E_ARGUMENT);
  if (b) {
    run(b, store, &now);
    roam_broker_free(b);
    b = start(store, &rng.random, now, &rc);
    FUZZ_CHECK(b != NULL);
    roam_broker_free(b);
  }
  roam_store_free(store);
  return 0;
}
