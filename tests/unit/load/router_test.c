/* router_test.c - handles of many clients: two may use the same number, and each gets back its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/router.h"

static uint32_t out(struct roam_router *r, uint32_t member, int kind, uint32_t handle) {
  roam_wire unit = {.kind = (uint8_t)kind, .handle = handle};
  return roam_router_out(r, member, &unit) == 0 ? unit.handle : 0;
}

/* member * 1000 + inner handle, or -1. */
static int in(struct roam_router *r, int kind, uint32_t handle) {
  roam_wire unit = {.kind = (uint8_t)kind, .handle = handle};
  uint32_t member;
  return roam_router_in(r, &unit, &member) == 0 ? (int)(member * 1000 + unit.handle) : -1;
}

static void keeps_clients_apart(void **state) {
  (void)state;
  struct roam_router r;
  roam_router_init(&r, 64, NULL);
  uint32_t a = out(&r, 1, ROAM_WIRE_BIND, 7), b = out(&r, 2, ROAM_WIRE_OPEN, 7);
  assert_int_not_equal(a, 0);
  assert_int_not_equal(b, 0);
  assert_int_not_equal(a, b);
  assert_int_equal(out(&r, 1, ROAM_WIRE_DATAGRAM, 7), a);
  assert_int_equal(out(&r, 2, ROAM_WIRE_DATA, 7), b);
  assert_int_equal(in(&r, ROAM_WIRE_BOUND, a), 1007);
  assert_int_equal(in(&r, ROAM_WIRE_DATAGRAM, a), 1007);
  assert_int_equal(in(&r, ROAM_WIRE_DATA, b), 2007);
  assert_int_equal(out(&r, 3, ROAM_WIRE_DATAGRAM, 7), 0);
  assert_int_equal(in(&r, ROAM_WIRE_DATA, 0), -1);
  assert_int_equal(in(&r, ROAM_WIRE_DATA, 99), -1);
  assert_int_equal(in(&r, ROAM_WIRE_DATA, ROAM_HANDLE_EDGE | 1), -1);
  assert_int_equal(out(&r, 1, ROAM_WIRE_DATA, ROAM_HANDLE_EDGE | 1), 0);
  roam_router_reset(&r);
}

static void a_question_is_not_a_socket(void **state) {
  (void)state;
  struct roam_router r;
  roam_router_init(&r, 64, NULL);
  uint32_t question = out(&r, 0, ROAM_WIRE_RESOLVE, 1), socket = out(&r, 0, ROAM_WIRE_BIND, 1);
  assert_int_not_equal(question, socket);
  assert_int_equal(in(&r, ROAM_WIRE_RESOLVED, question), 1);
  assert_int_equal(in(&r, ROAM_WIRE_RESOLVED, question), -1);
  assert_int_equal(in(&r, ROAM_WIRE_BOUND, socket), 1);
  roam_router_reset(&r);
}

static const struct {
  const char *name;
  int kind;
  bool outward;
} ends[] = {
    {"UNBIND", ROAM_WIRE_UNBIND, true},
    {"CLOSE sent", ROAM_WIRE_CLOSE, true},
    {"CLOSE received", ROAM_WIRE_CLOSE, false},
    {"FAILED", ROAM_WIRE_FAILED, false},
};

static void a_handle_ends(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    struct roam_router r;
    roam_router_init(&r, 64, NULL);
    uint32_t a = out(&r, 4, ROAM_WIRE_OPEN, 3);
    if (ends[i].outward) assert_int_equal(out(&r, 4, ends[i].kind, 3), a);
    else assert_int_equal(in(&r, ends[i].kind, a), 4003);
    assert_int_equal(in(&r, ROAM_WIRE_DATA, a), -1);
    assert_int_equal(out(&r, 4, ROAM_WIRE_DATA, 3), 0);
    assert_int_not_equal(out(&r, 4, ROAM_WIRE_OPEN, 3), 0);
    roam_router_reset(&r);
  }
}

static void is_bounded_and_reuses(void **state) {
  (void)state;
  struct roam_router r;
  roam_router_init(&r, 20, NULL);
  for (uint32_t i = 0; i < 20; i++) assert_int_not_equal(out(&r, i, ROAM_WIRE_BIND, 1), 0);
  roam_wire unit = {.kind = ROAM_WIRE_BIND, .handle = 1};
  assert_int_equal(roam_router_out(&r, 20, &unit), ROAM_E_LIMIT);
  for (uint32_t round = 0; round < 1000; round++) {
    uint32_t member = round % 20;
    assert_int_not_equal(out(&r, member, ROAM_WIRE_UNBIND, round / 20 + 1), 0);
    assert_int_not_equal(out(&r, member, ROAM_WIRE_BIND, round / 20 + 2), 0);
  }
  roam_router_reset(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_clients_apart),
      cmocka_unit_test(a_question_is_not_a_socket),
      cmocka_unit_test(a_handle_ends),
      cmocka_unit_test(is_bounded_and_reuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
