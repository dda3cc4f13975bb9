/* url_test.c - URLs: schemes, hosts, ports, and what is not one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <roamqtt/client.h>
#include <string.h>

static void good(void **state) {
  (void)state;
  static const struct {
    const char *url;
    roam_transport_kind kind;
    const char *host;
    uint16_t port;
  } cases[] = {
      {"mqtt-quic://broker", ROAM_TRANSPORT_QUIC, "broker", 14567},
      {"quic://broker", ROAM_TRANSPORT_QUIC, "broker", 14567},
      {"MQTT-QUIC://Broker.Example:1", ROAM_TRANSPORT_QUIC, "Broker.Example", 1},
      {"mqtt://10.0.0.1", ROAM_TRANSPORT_TCP, "10.0.0.1", 1883},
      {"tcp://h:65535", ROAM_TRANSPORT_TCP, "h", 65535},
      {"mqtt://h/", ROAM_TRANSPORT_TCP, "h", 1883},
      {"mqtt://h:5/", ROAM_TRANSPORT_TCP, "h", 5},
      {"mqtt-quic://[::1]", ROAM_TRANSPORT_QUIC, "::1", 14567},
      {"mqtt://[fe80::1%3]:99", ROAM_TRANSPORT_TCP, "fe80::1%3", 99},
      {"mqtts://h", ROAM_TRANSPORT_TLS, "h", 8883},
      {"ws://h/mqtt", ROAM_TRANSPORT_WS, "h", 80},
      {"unix:///run/mqtt.sock", ROAM_TRANSPORT_TCP, "/run/mqtt.sock", 0},
      {"UNIX:///tmp/a b@c", ROAM_TRANSPORT_TCP, "/tmp/a b@c", 0},
      {"wss://h:8084/mqtt", ROAM_TRANSPORT_WSS, "h", 8084},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_transport_kind kind;
    char host[64];
    uint16_t port;
    print_message("%s\n", cases[i].url);
    assert_int_equal(roam_url_parse(cases[i].url, &kind, host, sizeof host, &port), 0);
    assert_int_equal(kind, cases[i].kind);
    assert_string_equal(host, cases[i].host);
    assert_int_equal(port, cases[i].port);
  }
}

static void bad(void **state) {
  (void)state;
  static const char *const cases[] = {
      "",
      "broker",
      "broker:1883",
      "http://h",
      "mqtt:/h",
      "mqtt://",
      "mqtt://:1",
      "mqtt://h:",
      "mqtt://h:0",
      "mqtt://h:65536",
      "mqtt://h:99999999",
      "mqtt://h:1x",
      "mqtt://h:-1",
      "mqtt://u@h",
      "mqtt://u:p@h",
      "mqtt://h/topic",
      "mqtt://h?x",
      "mqtt://h#x",
      "mqtt://a b",
      "mqtt://::1",
      "mqtt://[::1",
      "mqtt://[h]",
      "unix://",
      "unix:///",
      "unix://host/path",
      "unix:/run/x",
      "unix:///a\nb",
      "unix:///a/path/that/is/longer/than/the/buffer/of/this/test/or/so/it/is/hoped/to/be",
      "mqtt://[1.2.3.4]",
      "mqtt://[]:1",
      "mqtt://[::1]x",
      "://h",
      "mqtt://h\n",
      "mqtt://a-host-name-that-is-longer-than-the-room-given-for-it-by-the-caller",
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_transport_kind kind;
    char host[64];
    uint16_t port;
    print_message("%s\n", cases[i]);
    assert_int_equal(roam_url_parse(cases[i], &kind, host, sizeof host, &port), ROAM_E_OPTION);
  }
  assert_int_equal(roam_url_parse(NULL, NULL, NULL, 0, NULL), ROAM_E_OPTION);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(bad)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
