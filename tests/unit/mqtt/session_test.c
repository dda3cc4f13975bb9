/* session_test.c - a client session and a server session, glued together: what arrives, what is answered, what survives. */
#include "unit/mqtt/pair.h"

static const roam_bytes none = {NULL, 0};

static void start(struct pair *p, uint8_t version) {
  roam_session_options client, server;
  roam_session_options_init(&client, ROAM_ROLE_CLIENT);
  roam_session_options_init(&server, ROAM_ROLE_SERVER);
  client.version = version;
  pair_init(p, &client, &server);
}

static void each_version_and_qos_arrives_once(void **state) {
  (void)state;
  static const uint8_t versions[] = {3, 4, 5};
  for (size_t v = 0; v < 3; v++) {
    struct pair p;
    start(&p, versions[v]);
    pair_connect(&p, false);
    pair_pump(&p);
    assert_int_equal(find_kind(&p.client, ROAM_SE_CONNACK, 0)->reason, 0);
    for (uint8_t qos = 0; qos <= 2; qos++) {
      assert_int_equal(publish(&p, &p.client, "to/server", "up", qos, 10u + qos), 0);
      assert_int_equal(publish(&p, &p.server, "to/client", "down", qos, 20u + qos), 0);
    }
    pair_pump(&p);
    for (uint8_t qos = 0; qos <= 2; qos++) {
      const struct seen *up = find_kind(&p.server, ROAM_SE_MESSAGE, qos), *down = find_kind(&p.client, ROAM_SE_MESSAGE, qos);
      assert_int_equal(up->qos, qos);
      assert_string_equal(up->topic, "to/server");
      assert_string_equal(up->payload, "up");
      assert_int_equal(down->qos, qos);
      assert_string_equal(down->topic, "to/client");
      assert_string_equal(down->payload, "down");
    }
    assert_int_equal(count_kind(&p.server, ROAM_SE_MESSAGE), 3);
    assert_int_equal(count_kind(&p.client, ROAM_SE_MESSAGE), 3);
    assert_int_equal(count_kind(&p.client, ROAM_SE_DONE), 3);
    assert_int_equal(count_kind(&p.server, ROAM_SE_DONE), 3);
    assert_int_equal(count_kind(&p.client, ROAM_SE_FAULT) + count_kind(&p.server, ROAM_SE_FAULT), 0);
    assert_true(roam_session_get_info(p.client.session).drained);
    assert_true(roam_session_get_info(p.server.session).drained);
    pair_reset(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_version_and_qos_arrives_once),
  };
  (void)none;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
