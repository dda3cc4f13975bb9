/* memory_test.c - a whole conversation with the n-th allocation failing, for every n: nothing crashes, nothing leaks, and
 * when memory is back the same two sessions go on. The allocator is replaced by counting fronts for glibc's own, which a
 * sanitizer's would not allow: there the conversation runs once, without failures. */
#include "unit/failing_malloc.h"
#include "unit/mqtt/pair.h"

/* The test's own memory must not fail: everything it needs is static. */
struct tape {
  uint8_t bytes[65536];
  size_t len;
};

static struct tape to_server, to_client;

/* Every command may say that memory is out, and nothing else. */
static void allow(roam_rc rv) {
  if (rv != 0 && rv != ROAM_E_MEMORY && rv != ROAM_E_STATE) {
    fail_msg("unexpected %d", rv);
  }
}

static void write_side(roam_session *s, struct tape *tape) {
  roam_slice out[4];
  size_t n;
  for (int turns = 0; turns < 100 && (n = roam_session_drain(s, T0, 0, 3000, out, 4)) > 0; turns++) {
    for (size_t i = 0; i < n; i++) {
      assert_true(tape->len + out[i].len <= sizeof tape->bytes);
      memcpy(tape->bytes + tape->len, out[i].base, out[i].len);
      tape->len += out[i].len;
    }
  }
}

static void answer(roam_session *s, const roam_session_event *e) {
  static const uint8_t code[] = {0};
  if (e->kind == ROAM_SE_SUBSCRIBE) {
    allow(roam_session_suback(s, T0, e->lane, e->packet.packet_id, (roam_bytes){code, 1}, (roam_bytes){NULL, 0}));
  } else if (e->kind == ROAM_SE_MESSAGE && e->packet.qos > 0) {
    allow(roam_session_ack(s, T0, e->lane, e->packet.packet_id, 0));
  }
}

static void read_side(roam_session *s, struct tape *tape, bool server, size_t *messages) {
  roam_session_event ev[64];
  size_t used, n;
  roam_session_feed(s, T0, 0, (roam_bytes){tape->bytes, tape->len}, &used);
  while ((n = roam_session_poll(s, ev, 64)) > 0) {
    for (size_t i = 0; i < n; i++) {
      *messages += ev[i].kind == ROAM_SE_MESSAGE;
    }
    for (size_t i = 0; server && i < n; i++) {
      answer(s, &ev[i]);
    }
  }
  memmove(tape->bytes, tape->bytes + used, tape->len - used);
  tape->len -= used;
}

static void say(roam_session *s, const char *topic, size_t len, uint8_t qos) {
  static uint8_t payload[4000];
  uint8_t ids[16];
  roam_props sub_ids = {ids, 0, sizeof ids};
  for (uint32_t i = 1; i <= 3; i++) {
    roam_props_put_number(&sub_ids, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, 200 * i);
  }
  roam_message m;
  roam_rc rv = roam_message_make(&m, T0, text(topic), (roam_bytes){NULL, 0}, (roam_bytes){payload, len}, qos, false);
  allow(rv);
  if (rv == 0) {
    allow(roam_session_publish(s, T0, &m, &(roam_publish_how){.qos = qos, .sub_ids = {ids, sub_ids.len}}, 1));
    roam_blob_unref(m.blob);
  }
}

static bool join(roam_session *client, roam_session *server, bool present) {
  roam_packet connect = {.type = ROAM_CONNECT, .connect = {.client_id = text("c")}}, got;
  roam_packet connack = {.type = ROAM_CONNACK, .session_present = present};
  roam_fault fault;
  size_t used = 0;
  to_server.len = to_client.len = 0;
  roam_rc rv = roam_session_connect(client, T0, &connect);
  allow(rv);
  write_side(client, &to_server);
  if (rv != 0 ||
      roam_packet_read((roam_bytes){to_server.bytes, to_server.len}, 0, 65536, false, &got, &used, &fault) != 0 ||
      used == 0) {
    return false;
  }
  rv = roam_session_accept(server, T0, &got, &connack, 0);
  allow(rv);
  to_server.len = 0;
  return rv == 0;
}

static void exchange(roam_session *client, roam_session *server, size_t *messages) {
  for (int turn = 0; turn < 10; turn++) {
    write_side(client, &to_server);
    read_side(server, &to_server, true, messages);
    write_side(server, &to_client);
    read_side(client, &to_client, false, messages);
  }
}

static void converse(roam_session *client, roam_session *server, size_t *messages) {
  static const uint8_t filter[] = {0, 1, 'a', 0};
  if (join(client, server, false)) {
    allow(roam_session_subscribe(client, T0, (roam_bytes){filter, 4}, (roam_bytes){NULL, 0}, 1));
    for (int i = 0; i < 12; i++) {
      say(server, i % 2 ? "topic/odd" : "topic/even", i % 4 == 0 ? 4000 : i % 4 == 1 ? 300 : 10, (uint8_t)(i % 3));
    }
    exchange(client, server, messages);
    allow(roam_session_disconnect(client, T0, 0, (roam_bytes){NULL, 0}));
    exchange(client, server, messages);
  }
  roam_session_detach(client, T0);
  roam_session_detach(server, T0);
}

/* Returns whether the failure was reached. */
static bool run(long nth) {
  long before = live;
  size_t messages = 0;
  fail_at = nth;
  roam_session_options options;
  roam_session_options_init(&options, ROAM_ROLE_CLIENT);
  options.queue_qos0_offline = true;
  roam_session *client = roam_session_new(&options);
  roam_session_options_init(&options, ROAM_ROLE_SERVER);
  roam_session *server = roam_session_new(&options);
  if (client != NULL && server != NULL) {
    converse(client, server, &messages);
    bool reached = nth > 0 && fail_at == 0;
    fail_at = 0;
    if (reached) { /* memory is back, and both are as good as new */
      messages = 0;
      converse(client, server, &messages);
    }
    assert_int_equal(messages, 12);
    fail_at = reached ? 0 : nth;
  }
  roam_session_free(client);
  roam_session_free(server);
  bool reached = nth > 0 && fail_at == 0;
  fail_at = 0;
  assert_int_equal(live, before);
  return reached;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  run(0);
  if (!CAN_FAIL) {
    return;
  }
  long n = 1;
  while (run(n)) {
    n++;
    assert_true(n < 10000);
  }
  assert_true(n > 50);
}

/* On the path of messages nothing is allocated once the tables have grown: only the message itself is. */
static void no_allocation_per_message(void **state) {
  (void)state;
  size_t messages = 0;
  roam_session_options options;
  roam_session_options_init(&options, ROAM_ROLE_CLIENT);
  roam_session *client = roam_session_new(&options);
  roam_session_options_init(&options, ROAM_ROLE_SERVER);
  roam_session *server = roam_session_new(&options);
  roam_message m;
  assert_int_equal(roam_message_make(&m, T0, text("topic"), (roam_bytes){NULL, 0}, text("payload"), 2, false), 0);
  assert_true(join(client, server, false));
  exchange(client, server, &messages);
  long before = 0;
  for (int round = 0; round < 20; round++) {
    before = round == 10 ? asked : before;
    for (int i = 0; i < 50; i++) {
      assert_int_equal(roam_session_publish(server, T0, &m, &(roam_publish_how){.qos = (uint8_t)(i % 3)}, 1), 0);
    }
    exchange(client, server, &messages);
  }
  assert_int_equal(messages, 1000);
  assert_int_equal(asked, before);
  roam_blob_unref(m.blob);
  roam_session_free(client);
  roam_session_free(server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(no_allocation_per_message),
  };
  armed = true; /* the sessions are all there is: everything counts */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
