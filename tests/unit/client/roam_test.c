/* roam_test.c - the policy on its own: what is fatal and when, and the back-off. */
#include "rig.h"

#include "client/client.h"

static void what_is_fatal(void **state) {
  (void)state;
  enum {
    RETRY = ROAM_VERDICT_RETRY,
    NEXT = ROAM_VERDICT_NEXT_ADDRESS,
    GIVE_UP = ROAM_VERDICT_GIVE_UP
  };
  static const struct {
    const char *name;
    roam_rc rc;
    int reason;
    bool connack, ever, greeted;
    int verdict;
    bool own;
  } cases[] = {
      {"port closed", ROAM_E_CONN_REFUSED, -1, false, false, false, NEXT},
      {"no answer", ROAM_E_TIMEOUT, -1, false, true, false, NEXT},
      {"connection lost", ROAM_E_LOST, -1, false, true, true, RETRY},
      {"keep alive ran out", ROAM_E_TIMEOUT, ROAM_REASON_KEEP_ALIVE_TIMEOUT, false, true, true, RETRY},
      {"name unknown", ROAM_E_RESOLVE, -1, false, false, false, RETRY},
      {"certificate at first", ROAM_E_CERTIFICATE, -1, false, false, false, GIVE_UP},
      {"certificate later", ROAM_E_CERTIFICATE, -1, false, true, false, RETRY},
      {"ALPN at first", ROAM_E_ALPN, -1, false, false, false, GIVE_UP},
      {"ALPN later", ROAM_E_ALPN, -1, false, true, false, RETRY},
      {"QUIC version", ROAM_E_VERSION, -1, false, true, false, GIVE_UP},
      {"TLS", ROAM_E_TLS, -1, false, false, false, RETRY},
      {"memory", ROAM_E_MEMORY, -1, false, false, false, RETRY},
      {"taken over", ROAM_E_PEER_CLOSED, ROAM_REASON_SESSION_TAKEN_OVER, false, true, true, GIVE_UP},
      {"taken over by ourselves", ROAM_E_PEER_CLOSED, ROAM_REASON_SESSION_TAKEN_OVER, false, true, true, RETRY, true},
      {"kicked", ROAM_E_PEER_CLOSED, ROAM_REASON_ADMINISTRATIVE_ACTION, false, true, true, RETRY},
      {"shutting down", ROAM_E_PEER_CLOSED, ROAM_REASON_SERVER_SHUTTING_DOWN, false, true, true, RETRY},
      {"authorization withdrawn", ROAM_E_PEER_CLOSED, ROAM_REASON_NOT_AUTHORIZED, false, true, true, GIVE_UP},
      {"moved", ROAM_E_PEER_CLOSED, ROAM_REASON_SERVER_MOVED, false, true, true, GIVE_UP},
      {"CONNECT too large", ROAM_E_REFUSED, ROAM_REASON_PACKET_TOO_LARGE, true, true, false, GIVE_UP},
      {"a message too large", ROAM_E_PEER_CLOSED, ROAM_REASON_PACKET_TOO_LARGE, false, true, true, RETRY},
      {"busy", ROAM_E_REFUSED, ROAM_REASON_SERVER_BUSY, true, false, false, RETRY},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct roam_cause cause = {
        .rc = cases[i].rc, .reason = cases[i].reason, .connack = cases[i].connack, .own = cases[i].own};
    print_message("%s\n", cases[i].name);
    assert_int_equal(roam_policy_judge(&cause, cases[i].ever, cases[i].greeted), cases[i].verdict);
  }
}

static void back_off(void **state) {
  (void)state;
  static const struct {
    uint32_t attempt;
    uint64_t most;
  } cases[] = {{0, 200}, {1, 200}, {2, 400}, {3, 800}, {8, 25600}, {9, 30000}, {10, 30000}, {UINT32_MAX, 30000}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t most = cases[i].most * ROAM_MS;
    assert_true(roam_policy_backoff(200 * ROAM_MS, 30 * ROAM_S, cases[i].attempt, 0) == most);
    assert_true(roam_policy_backoff(200 * ROAM_MS, 30 * ROAM_S, cases[i].attempt, most / 2) == most - most / 2);
    for (uint64_t chance = 1; chance < 1000; chance++) {
      uint64_t wait = roam_policy_backoff(200 * ROAM_MS, 30 * ROAM_S, cases[i].attempt, chance * 0x9E3779B97F4A7C15u);
      assert_true(wait >= most / 2 && wait <= most);
    }
  }
  assert_true(roam_policy_backoff(1, 1, 5, 12345) <= 1);
  assert_true(roam_policy_backoff(UINT64_MAX / 2 + 5, UINT64_MAX - 1, 3, 0) == UINT64_MAX - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_fatal), cmocka_unit_test(back_off)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
