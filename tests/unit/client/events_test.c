/* events_test.c - the queue on its own: order over growth and wrap, views as offsets of a lane that moves, what it holds
 * back. */
#include "rig.h"

#include "client/events.h"

static struct roam_entry *add(struct roam_events *q, roam_event_kind kind, uint64_t token) {
  assert_int_equal(roam_events_reserve(q, 1), 0);
  struct roam_entry *e = roam_events_add(q);
  assert_non_null(e);
  e->ev.kind = kind;
  e->ev.token = token;
  return e;
}

static struct roam_lane_view view_of(const void *owner, uint32_t lane) {
  (void)lane;
  return *(const struct roam_lane_view *)owner;
}

/* Every lane is this one; lives to the end of the calling expression. */
#define views_of_one(lane) (&(struct roam_lane_views){view_of, (lane)})

static void order_over_growth_and_wrap(void **state) {
  (void)state;
  struct roam_events q = {0};
  struct roam_lane_view none = {0};
  uint64_t in = 0, out = 0;
  for (int round = 0; round < 200; round++) {
    for (int i = 0; i < round % 23; i++) add(&q, ROAM_EV_WRITABLE, in++);
    roam_event ev[7];
    size_t n = roam_events_poll(&q, ev, 7, views_of_one(&none));
    for (size_t i = 0; i < n; i++) assert_int_equal(ev[i].token, out++);
    const struct roam_entry *e;
    while ((e = roam_events_release(&q)) != NULL) assert_true(e->ev.token < out);
    assert_int_equal(roam_events_waiting(&q), in - out);
  }
  roam_events_reset(&q);
}

static void the_margin_serves_without_memory(void **state) {
  (void)state;
  struct roam_events q = {0};
  assert_null(roam_events_add(&q));
  assert_int_equal(roam_events_reserve(&q, 1), 0);
  size_t n = 0;
  while (roam_events_add(&q)) n++;
  assert_true(n >= ROAM_EVENTS_MARGIN + 1);
  roam_events_reset(&q);
}

static void message(struct roam_events *q, const struct roam_lane_view *lane, size_t at, roam_bytes topic) {
  struct roam_entry *e = add(q, ROAM_EV_MESSAGE, 0);
  e->ev.u.message.topic = topic;
  e->ev.u.message.payload = (roam_bytes){lane->bytes.base + at, 2};
  assert_int_equal(roam_events_keep_views(q, e, 0, lane), 0);
}

static void views_follow_the_lane(void **state) {
  (void)state;
  struct roam_events q = {0};
  char first[] = "..aabbcc", elsewhere[] = "topic";
  struct roam_lane_view lane = {.bytes = {(uint8_t *)first, 8}, .first = 100};
  message(&q, &lane, 2, str(elsewhere)); /* the topic does not lie in the lane */
  message(&q, &lane, 4, (roam_bytes){(uint8_t *)first, 2});
  message(&q, &lane, 6, (roam_bytes){0});
  memset(elsewhere, 'x', 5);
  assert_int_equal(roam_events_lane_floor(&q, 0, 108), 102);

  char moved[] = "aabbcc"; /* two bytes were given back and the rest has moved */
  lane = (struct roam_lane_view){.bytes = {(uint8_t *)moved, 6}, .first = 102};
  memset(first, 'x', 8);
  roam_event ev[3];
  assert_int_equal(roam_events_poll(&q, ev, 1, views_of_one(&lane)), 1);
  assert_memory_equal(ev[0].u.message.payload.base, "aa", 2);
  assert_memory_equal(ev[0].u.message.topic.base, "topic", 5);
  assert_non_null(roam_events_release(&q));
  assert_null(roam_events_release(&q)); /* not polled yet */
  assert_int_equal(q.refs, 2);
  assert_int_equal(roam_events_lane_floor(&q, 0, 108), 100); /* its topic starts there */
  roam_events_reset(&q);

  struct roam_events empty = {0};
  assert_int_equal(roam_events_lane_floor(&empty, 0, 108), 108);
}

static void texts_are_kept(void **state) {
  (void)state;
  struct roam_events q = {0};
  char text[] = "why";
  roam_events_keep_text(add(&q, ROAM_EV_CLOSED, 0), text, "otherwise");
  memset(text, 'x', 3);
  struct roam_lane_view none = {0};
  roam_event ev[1];
  roam_events_poll(&q, ev, 1, views_of_one(&none));
  assert_string_equal(ev[0].text, "why");
  roam_events_reset(&q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(order_over_growth_and_wrap),
      cmocka_unit_test(the_margin_serves_without_memory),
      cmocka_unit_test(views_follow_the_lane),
      cmocka_unit_test(texts_are_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
