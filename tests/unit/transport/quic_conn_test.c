/* Two QUIC endpoints glued in memory: handshake, bytes both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/transport/pair.h"

static void handshake_and_bytes_both_ways(void **state) {
  (void)state;
  struct pair *p = pair_new(NULL);
  pair_connect(p);
  assert_true(pair_send(p->client, p->conn, "hello", 5));
  glue_run(p->g, ROAM_S);
  pair_expect(p->server, p->server->conn, "hello", 5);
  assert_true(pair_send(p->server, p->server->conn, "welcome", 7));
  glue_run(p->g, ROAM_S);
  pair_expect(p->client, p->conn, "welcome", 7);
  pair_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(handshake_and_bytes_both_ways)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
