/* memory_test.c - the relay when memory runs out: datagrams and connections are lost, nothing leaks, nothing else breaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/base/failing_memory.h"

/* The layer as one source, with the names its files keep to themselves told apart. */
#include "hop/hop.c"
#define put put_loss
#define take take_loss
#define deadline deadline_loss
#include "hop/loss.c"
#undef put
#undef take
#undef deadline
#define put put_delay
#define take take_delay
#define deadline deadline_delay
#define due_time due_time_delay
#include "hop/delay.c"
#undef put
#undef take
#undef deadline
#undef due_time
#include "hop/nat_table.c"
#define mark_dirty mark_flow_dirty
#include "hop/relay_udp.c"
#undef mark_dirty
#include "hop/relay_tcp.c"
#include "hop/relay.c"

#include "base/rng.h"

static roam_addr addr_of(const char *text) {
  roam_addr a;
  assert_int_equal(roam_addr_parse(text, &a), 0);
  return a;
}

/* A driver that answers BIND and OPEN. */
static void turn(roam_machine m, roam_time now, roam_wire unit) {
  roam_wire out[64], answers[64];
  size_t n = 0;
  m.ops->feed(m.self, now, &unit, 1);
  for (size_t got; (got = m.ops->drain(m.self, now, out, 64)) > 0;) {
    for (size_t i = 0; i < got && n < 64; i++) {
      bool bind = out[i].kind == ROAM_WIRE_BIND || out[i].kind == ROAM_WIRE_LISTEN;
      if (bind)
        answers[n++] = (roam_wire){.kind = ROAM_WIRE_BOUND, .handle = out[i].handle, .local = addr_of("127.0.0.1:7000")};
      if (out[i].kind == ROAM_WIRE_OPEN) answers[n++] = (roam_wire){.kind = ROAM_WIRE_OPENED, .handle = out[i].handle};
    }
  }
  for (size_t i = 0; i < n; i++) turn(m, now, answers[i]);
}

static void fails_somewhere(long at) {
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  roam_relay_options o;
  roam_relay_options_init(&o);
  o.inside = addr_of("127.0.0.1:7000");
  o.server = addr_of("127.0.0.2:1");
  o.address = addr_of("127.0.0.3");
  memory_fail_at = at;
  roam_relay *r = roam_relay_new(&o, &rng.random);
  if (!r) return;
  roam_machine m = roam_relay_machine(r);
  m.ops->tick(m.self, 1);
  for (uint32_t i = 1; i < 12; i++) {
    roam_addr client = addr_of("127.0.0.9:1000");
    client.port = (uint16_t)(client.port + i);
    turn(m, i,
         (roam_wire){.kind = ROAM_WIRE_DATAGRAM, .handle = 1, .remote = client, .data = (const uint8_t *)"udp", .len = 3});
    turn(m, i, (roam_wire){.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | i, .parent = 2, .remote = client});
    turn(m, i,
         (roam_wire){.kind = ROAM_WIRE_DATA, .handle = ROAM_HANDLE_EDGE | i, .data = (const uint8_t *)"tcp", .len = 3});
    if (i == 6) roam_relay_rebind(r, i, &o.address);
  }
  memory_fail_at = 0;
  roam_addr late = addr_of("127.0.0.10:5"); /* a newcomer is served again */
  uint64_t before = roam_relay_get_stats(r).datagrams[ROAM_OUT];
  turn(m, 20,
       (roam_wire){.kind = ROAM_WIRE_DATAGRAM, .handle = 1, .remote = late, .data = (const uint8_t *)"new", .len = 3});
  assert_int_equal(roam_relay_get_stats(r).datagrams[ROAM_OUT], before + 1);
  roam_relay_free(r);
}

static void survives_every_failure(void **state) {
  (void)state;
  long at = 1;
  do {
    memory_failed = false;
    fails_somewhere(at);
  } while (memory_failed && ++at < 10000);
  memory_fail_at = 0;
  assert_in_range(at, 50, 9999);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(survives_every_failure)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
