/* options_test.c - every option that cannot be names itself and the remedy; defaults are fine; older and newer structs are
 * read. */
#include "rig.h"

#include <stddef.h>

#define BAD(field, value)                                                                                                  \
  static void bad_##field(roam_client_options *o) { o->field = value; }

static uint8_t huge[65536];

BAD(url, NULL)
BAD(version, 6)
BAD(client_id, "\xff")
BAD(user_name, "\xc0")
BAD(session_expiry_s, 5)
BAD(will_qos, 1)
BAD(will_topic, "a/#")
BAD(reconnect_min_ns, 0)
BAD(reconnect_max_ns, 1)
BAD(connect_timeout_ns, 0)
BAD(ping_ns, 120 * ROAM_S)
BAD(ping_max_ns, 120 * ROAM_S)
BAD(interfaces, "wlan0:free")
BAD(fallback_port, 0; o->fallback = true; o->url = "mqtt-quic://h"; o->tls.insecure = true)
BAD(fallback_url, "mqtt://h"; o->fallback = true; o->url = "mqtt-quic://h"; o->tls.insecure = true)
BAD(fallback, true; o->url = "mqtt://h")
BAD(receive_maximum, 0)
BAD(send_window_max, 0)
BAD(maximum_packet_size, 10)
BAD(queue_messages_max, 0)
BAD(queue_bytes_max, 0)
BAD(subscriptions_max, 0)
BAD(interface, "an-interface-name-too-long")
BAD(server_name, "")
BAD(size, 0)

static void bad_scheme(roam_client_options *o) { o->url = "http://h"; }
static void timeless_tls(roam_client_options *o) { o->url = "mqtts://h"; }
static void timeless_wss(roam_client_options *o) { o->url = "wss://h/mqtt"; }
static void empty_id(roam_client_options *o) {
  o->client_id = "";
  o->version = 4;
  o->clean_start = false;
}
static void long_id(roam_client_options *o) {
  o->client_id = "123456789012345678901234";
  o->version = 3;
}
static void long_password(roam_client_options *o) { o->password = (roam_bytes){huge, sizeof huge}; }
static void lonely_password(roam_client_options *o) {
  o->password = str("x");
  o->version = 4;
}
static void expiry_in_311(roam_client_options *o) {
  bad_session_expiry_s(o);
  o->version = 4;
}
static void will_payload(roam_client_options *o) { o->will_payload = str("x"); }
static void long_will(roam_client_options *o) {
  o->will_topic = "a";
  o->will_payload = (roam_bytes){huge, sizeof huge};
}
static void will_qos(roam_client_options *o) {
  o->will_topic = "a";
  o->will_qos = 3;
}
static void will_delay(roam_client_options *o) {
  o->will_topic = "a";
  o->will_delay_s = 3;
  o->version = 4;
}
static void no_time(roam_client_options *o) { o->url = "quic://h"; }
static void half_identity(roam_client_options *o) { o->tls.certificate = str("x"); }
static void families(roam_client_options *o) {
  o->url = "mqtt://[::1]";
  o->local.family = 4;
}
static void family(roam_client_options *o) { o->local.family = 5; }

static void each_names_itself(void **state) {
  (void)state;
  static const struct {
    const char *option;
    void (*spoil)(roam_client_options *o);
  } cases[] = {
      {"url:", bad_url},
      {"url:", bad_scheme},
      {"tls.wall_unix_s:", timeless_tls},
      {"tls.wall_unix_s:", timeless_wss},
      {"version:", bad_version},
      {"client_id:", bad_client_id},
      {"client_id:", empty_id},
      {"client_id:", long_id},
      {"user_name:", bad_user_name},
      {"password:", long_password},
      {"password:", lonely_password},
      {"session_expiry_s:", expiry_in_311},
      {"will_topic:", bad_will_qos},
      {"will_topic:", will_payload},
      {"will_topic:", bad_will_topic},
      {"will_payload:", long_will},
      {"will_qos:", will_qos},
      {"will_delay_s:", will_delay},
      {"tls.wall_unix_s:", no_time},
      {"tls.certificate and tls.key:", half_identity},
      {"local:", families},
      {"local:", family},
      {"interface:", bad_interface},
      {"server_name:", bad_server_name},
      {"reconnect_min_ns:", bad_reconnect_min_ns},
      {"reconnect_max_ns:", bad_reconnect_max_ns},
      {"connect_timeout_ns:", bad_connect_timeout_ns},
      {"ping_ns:", bad_ping_ns},
      {"ping_max_ns:", bad_ping_max_ns},
      {"interfaces:", bad_interfaces},
      {"fallback_port:", bad_fallback_port},
      {"fallback_url:", bad_fallback_url},
      {"fallback:", bad_fallback},
      {"receive_maximum:", bad_receive_maximum},
      {"send_window_max:", bad_send_window_max},
      {"maximum_packet_size:", bad_maximum_packet_size},
      {"queue_messages_max:", bad_queue_messages_max},
      {"queue_bytes_max:", bad_queue_bytes_max},
      {"subscriptions_max:", bad_subscriptions_max},
      {"size:", bad_size},
  };
  struct roam_rng rng;
  roam_rng_init(&rng, 1);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    roam_client_options o = rig_options();
    cases[i].spoil(&o);
    const char *error = roam_client_option_error(&o);
    print_message("%s %s\n", cases[i].option, error ? error : "accepted");
    assert_non_null(error);
    assert_memory_equal(error, cases[i].option, strlen(cases[i].option));
    roam_rc rc = 0;
    assert_null(roam_client_new(&o, &rng.random, &rc));
    assert_int_equal(rc, ROAM_E_OPTION);
  }
  assert_non_null(roam_client_option_error(NULL));
  assert_null(roam_client_new(NULL, &rng.random, NULL));
}

static void defaults_are_fine(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  assert_null(roam_client_option_error(&o));
  o.url = "quic://h";
  o.tls.insecure = true;
  assert_null(roam_client_option_error(&o));
  o.tls.insecure = false;
  o.tls.wall_unix_s = 1;
  assert_null(roam_client_option_error(&o));
  roam_rc rc;
  assert_null(roam_client_new(&o, NULL, &rc));
  assert_int_equal(rc, ROAM_E_ARGUMENT);
}

static void an_older_struct_gets_defaults_for_what_it_lacks(void **state) {
  (void)state;
  roam_client_options o = rig_options();
  o.size = offsetof(roam_client_options, receive_maximum);
  o.receive_maximum = 0; /* not read */
  assert_null(roam_client_option_error(&o));
  struct rig *r = rig_new(&o);
  rig_start(r);
  assert_non_null(strstr(r->seen, "rm=1024"));
  rig_free(r);
}

static void a_newer_struct_is_read_as_far_as_known(void **state) {
  (void)state;
  struct {
    roam_client_options o;
    uint64_t from_the_future;
  } newer = {.o = rig_options(), .from_the_future = 7};
  newer.o.size = sizeof newer;
  assert_null(roam_client_option_error(&newer.o));
}

static void everything_is_copied(void **state) {
  (void)state;
  char url[] = "mqtt://192.0.2.1", id[] = "copied", user[] = "user", password[] = "pass", will[] = "will";
  roam_client_options o = rig_options();
  o.url = url;
  o.client_id = id;
  o.user_name = user;
  o.password = (roam_bytes){(uint8_t *)password, 4};
  o.will_topic = will;
  struct rig *r = rig_new(&o);
  memset(url, 'x', sizeof url - 1);
  memset(id, 'x', sizeof id - 1);
  memset(user, 'x', sizeof user - 1);
  memset(password, 'x', sizeof password - 1);
  memset(will, 'x', sizeof will - 1);
  rig_start(r);
  assert_non_null(strstr(r->seen, "v5 copied clean"));
  assert_non_null(strstr(r->seen, "user=user pass=pass will=will="));
  rig_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_names_itself),
      cmocka_unit_test(defaults_are_fine),
      cmocka_unit_test(an_older_struct_gets_defaults_for_what_it_lacks),
      cmocka_unit_test(a_newer_struct_is_read_as_far_as_known),
      cmocka_unit_test(everything_is_copied),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
