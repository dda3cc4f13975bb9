/* Deep copies: whatever an event points to outlives its source until the next take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <poll.h>

#include "loop/event_ring.h"

static bool is_readable(int fd) {
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  return poll(&wait, 1, 0) == 1;
}

static roam_bytes view(char *scratch, size_t at, size_t len) { return (roam_bytes){(uint8_t *)scratch + at, len}; }

static void assert_bytes(roam_bytes got, const char *want) {
  assert_int_equal(got.len, strlen(want));
  assert_memory_equal(got.base, want, got.len);
}

static int take(struct roam_event_ring *ring, roam_event *ev, uint64_t *tag) {
  bool wake;
  int got = roam_event_ring_take(ring, ev, tag, &wake);
  assert_false(wake);
  return got;
}

static void every_union_member_is_copied(void **state) {
  (void)state;
  struct roam_event_ring ring;
  assert_int_equal(roam_event_ring_init(&ring, 100, 1 << 20), 0);
  char scratch[64] = "topicpayloadpropscodesclientid", text[] = "why";
  roam_event in[4] = {
      {.kind = ROAM_EV_MESSAGE, .u.message = {view(scratch, 0, 5), view(scratch, 5, 7), view(scratch, 12, 5), .qos = 2}},
      {.kind = ROAM_EV_SUBSCRIBED, .token = 9, .u.ack = {view(scratch, 17, 5), view(scratch, 12, 5)}},
      {.kind = ROAM_EV_PEER_MOVED,
       .id = view(scratch, 22, 8),
       .u.path = {.validation_ns = 77, .remote = {.family = 4, .port = 5}}},
      {.kind = ROAM_EV_CLOSED, .rc = ROAM_E_TIMEOUT, .text = text},
  };
  roam_event_ring_put(&ring, 3, in, 4);
  memset(scratch, 'x', sizeof scratch);
  memset(text, 'x', sizeof text);
  roam_event ev;
  uint64_t tag;
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_int_equal(tag, 3);
  assert_bytes(ev.u.message.topic, "topic");
  assert_bytes(ev.u.message.payload, "payload");
  assert_bytes(ev.u.message.props, "props");
  assert_int_equal(ev.u.message.qos, 2);
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_bytes(ev.u.ack.codes, "codes");
  assert_bytes(ev.u.ack.props, "props");
  assert_int_equal(ev.token, 9);
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_bytes(ev.id, "clientid");
  assert_int_equal(ev.u.path.validation_ns, 77);
  assert_int_equal(ev.u.path.remote.port, 5);
  assert_null(ev.text);
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_string_equal(ev.text, "why");
  assert_int_equal(ev.rc, ROAM_E_TIMEOUT);
  assert_int_equal(take(&ring, &ev, &tag), 0);
  roam_event_ring_reset(&ring);
}

static void descriptor_tells_of_empty_to_non_empty(void **state) {
  (void)state;
  struct roam_event_ring ring;
  assert_int_equal(roam_event_ring_init(&ring, 100, 1 << 20), 0);
  roam_event in = {.kind = ROAM_EV_WRITABLE}, ev;
  uint64_t tag;
  assert_false(is_readable(ring.fd));
  roam_event_ring_put(&ring, 1, &in, 1);
  roam_event_ring_put(&ring, 2, &in, 1);
  assert_true(is_readable(ring.fd));
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_int_equal(tag, 2);
  roam_event_ring_put(&ring, 3, &in, 1); /* before the reader found it empty: still signalled */
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_true(is_readable(ring.fd));
  assert_int_equal(take(&ring, &ev, &tag), 0);
  assert_false(is_readable(ring.fd));
  roam_event_ring_put(&ring, 4, &in, 1);
  assert_true(is_readable(ring.fd));
  roam_event_ring_reset(&ring);
}

static void room_shrinks_and_the_producer_is_woken(void **state) {
  (void)state;
  struct roam_event_ring ring;
  assert_int_equal(roam_event_ring_init(&ring, 10, 1 << 20), 0);
  roam_event in[10] = {{.kind = ROAM_EV_WRITABLE}}, ev;
  uint64_t tag;
  bool wake = false;
  assert_int_equal(roam_event_ring_room(&ring), 10);
  roam_event_ring_put(&ring, 1, in, 6);
  assert_int_equal(roam_event_ring_room(&ring), 4);
  roam_event_ring_put(&ring, 1, in, 4);
  assert_int_equal(roam_event_ring_room(&ring), 0);
  int taken = 0;
  while (!wake && roam_event_ring_take(&ring, &ev, &tag, &wake) == 1) taken++;
  assert_true(wake);
  assert_int_equal(taken, 7); /* the first block is given back with the first take behind it */
  assert_int_equal(roam_event_ring_room(&ring), 6);
  roam_event_ring_reset(&ring);
}

static void bytes_bound_the_ring_too(void **state) {
  (void)state;
  struct roam_event_ring ring;
  assert_int_equal(roam_event_ring_init(&ring, 1000, 40000), 0);
  assert_int_equal(roam_event_ring_room(&ring), 3);
  static uint8_t payload[50000];
  roam_event in = {.kind = ROAM_EV_MESSAGE, .u.message.payload = {payload, sizeof payload}}, ev;
  roam_event_ring_put(&ring, 1, &in, 1);
  assert_int_equal(roam_event_ring_room(&ring), 0);
  uint64_t tag;
  bool wake;
  assert_int_equal(roam_event_ring_take(&ring, &ev, &tag, &wake), 1);
  assert_int_equal(ev.u.message.payload.len, sizeof payload);
  assert_int_equal(roam_event_ring_take(&ring, &ev, &tag, &wake), 0);
  assert_true(wake);
  assert_int_equal(roam_event_ring_room(&ring), 3);
  roam_event_ring_reset(&ring);
}

/* No memory for a batch: the reader is told, once, after what came before. */
static void lost_events_are_told(void **state) {
  (void)state;
  struct roam_event_ring ring;
  assert_int_equal(roam_event_ring_init(&ring, 10, 1 << 20), 0);
  roam_event in = {.kind = ROAM_EV_MESSAGE}, ev;
  uint64_t tag;
  roam_event_ring_put(&ring, 1, &in, 1);
  ring.lost = true;
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_int_equal(ev.kind, ROAM_EV_MESSAGE);
  assert_int_equal(take(&ring, &ev, &tag), 1);
  assert_int_equal(ev.kind, ROAM_EV_NONE);
  assert_int_equal(ev.rc, ROAM_E_MEMORY);
  assert_int_equal(take(&ring, &ev, &tag), 0);
  roam_event_ring_reset(&ring);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_union_member_is_copied),
      cmocka_unit_test(descriptor_tells_of_empty_to_non_empty),
      cmocka_unit_test(room_shrinks_and_the_producer_is_woken),
      cmocka_unit_test(bytes_bound_the_ring_too),
      cmocka_unit_test(lost_events_are_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
