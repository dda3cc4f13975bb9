/* saved_test.c - what a client keeps of servers: whose it is, how long it is good, who gives way, and that foreign bytes
 * are only nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/saved.h"

#define WALL INT64_C(1800000000)

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

static struct roam_saved_key key_of(const char *host, uint16_t port, uint8_t print) {
  struct roam_saved_key key = {.host = host, .port = port};
  memset(key.print, print, sizeof key.print);
  return key;
}

static struct roam_saved_time at(uint64_t seconds) {
  return (struct roam_saved_time){(1 + seconds) * ROAM_S, WALL + (int64_t)seconds};
}

static void learn(struct roam_saved *s, const struct roam_saved_key *key, uint64_t when_s, const char *session) {
  struct roam_saved_time t = at(when_s);
  roam_resume r = {.session = text(session),
                   .params = text("params"),
                   .token = text("token"),
                   .lifetime_s = 3600,
                   .rtt_ns = 70 * ROAM_MS};
  roam_saved_learn(s, key, &t, &r);
}

static roam_resume offer(struct roam_saved *s, const struct roam_saved_key *key, uint64_t when_s) {
  struct roam_saved_time t = at(when_s);
  roam_resume r;
  roam_saved_offer(s, key, &t, &r);
  return r;
}

static bool is(roam_bytes b, const char *t) { return b.len == strlen(t) && memcmp(b.base, t, b.len) == 0; }

static void belongs_to_host_port_and_print(void **state) {
  struct roam_saved s = {0};
  struct roam_saved_key key = key_of("a.test", 14567, 1);
  struct roam_saved_key others[] = {key_of("b.test", 14567, 1), key_of("a.test", 14568, 1), key_of("a.test", 14567, 2),
                                    key_of("", 14567, 1)};
  (void)state;
  learn(&s, &key, 0, "ticket");
  assert_true(s.changed);
  roam_resume r = offer(&s, &key, 10);
  assert_true(is(r.session, "ticket") && is(r.params, "params") && is(r.token, "token"));
  assert_int_equal(r.rtt_ns, 70 * ROAM_MS);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    r = offer(&s, &others[i], 10);
    assert_true(r.session.len == 0 && r.token.len == 0 && r.rtt_ns == 0);
  }
  roam_saved_reset(&s);
}

/* The ticket goes a minute before its time; what has no such end stays. */
static void a_ticket_has_its_time(void **state) {
  struct roam_saved s = {0};
  struct roam_saved_key key = key_of("a.test", 14567, 1);
  (void)state;
  learn(&s, &key, 0, "ticket");
  assert_true(is(offer(&s, &key, 3600 - 61).session, "ticket"));
  s.changed = false;
  roam_resume r = offer(&s, &key, 3600 - 59);
  assert_true(r.session.len == 0 && r.params.len == 0);
  assert_true(is(r.token, "token") && r.rtt_ns == 70 * ROAM_MS);
  assert_true(s.changed);
  assert_true(offer(&s, &key, 0).session.len == 0); /* it is gone */
  roam_saved_reset(&s);
}

/* Learned again without a ticket: the old one is still good, the round-trip time is the new one. */
static void what_is_not_learned_anew_stays(void **state) {
  struct roam_saved s = {0};
  struct roam_saved_key key = key_of("a.test", 14567, 1);
  struct roam_saved_time t = at(5);
  roam_resume less = {.rtt_ns = 20 * ROAM_MS};
  (void)state;
  learn(&s, &key, 0, "ticket");
  s.changed = false;
  roam_saved_learn(&s, &key, &t, &less);
  assert_false(s.changed); /* for that alone nobody writes a file */
  roam_resume r = offer(&s, &key, 10);
  assert_true(is(r.session, "ticket") && is(r.token, "token"));
  assert_int_equal(r.rtt_ns, 20 * ROAM_MS);
  roam_saved_reset(&s);
}

static void the_one_not_used_longest_gives_way(void **state) {
  struct roam_saved s = {0};
  char host[16];
  (void)state;
  for (unsigned i = 0; i < ROAM_SAVED_MAX; i++) {
    snprintf(host, sizeof host, "h%u", i);
    struct roam_saved_key key = key_of(host, 1, 1);
    learn(&s, &key, 0, host);
  }
  struct roam_saved_key first = key_of("h0", 1, 1), second = key_of("h1", 1, 1), more = key_of("more", 1, 1);
  assert_true(is(offer(&s, &first, 1).session, "h0")); /* in use again */
  learn(&s, &more, 1, "more");
  assert_true(is(offer(&s, &first, 2).session, "h0"));
  assert_true(is(offer(&s, &more, 2).session, "more"));
  assert_int_equal(offer(&s, &second, 2).session.len, 0);
  roam_saved_reset(&s);
}

/* To another run, whose clock begins anew: only the time of day tells how old a ticket is. */
static void survives_as_bytes(void **state) {
  struct roam_saved s = {0}, again = {0};
  struct roam_saved_key a = key_of("a.test", 14567, 1), b = key_of("2001:db8::1", 2, 9);
  (void)state;
  learn(&s, &a, 0, "first");
  learn(&s, &b, 0, "second");
  roam_bytes bytes = roam_saved_encode(&s);
  assert_true(bytes.len > 0);
  assert_true(roam_saved_load(&again, bytes));
  struct roam_saved_time t = {.now = ROAM_S, .unix_s = WALL + 60};
  roam_resume r;
  roam_saved_offer(&again, &a, &t, &r);
  assert_true(is(r.session, "first") && is(r.params, "params") && is(r.token, "token") && r.rtt_ns == 70 * ROAM_MS);
  t.unix_s = WALL + 3600;
  roam_saved_offer(&again, &b, &t, &r);
  assert_true(r.session.len == 0 && is(r.token, "token"));
  roam_saved_reset(&again);
  assert_true(roam_saved_load(&again, bytes));
  t.unix_s = 0; /* nobody knows the time of day: no ticket of another run is taken */
  roam_saved_offer(&again, &a, &t, &r);
  assert_int_equal(r.session.len, 0);
  roam_saved_reset(&again);
  roam_saved_reset(&s);
}

static void foreign_bytes_are_nothing(void **state) {
  struct roam_saved s = {0}, again = {0};
  struct roam_saved_key key = key_of("a.test", 14567, 1);
  (void)state;
  assert_false(roam_saved_load(&again, (roam_bytes){0}));
  assert_false(roam_saved_load(&again, text("not at all")));
  learn(&s, &key, 0, "ticket");
  roam_bytes bytes = roam_saved_encode(&s);
  uint8_t *copy = malloc(bytes.len);
  for (size_t i = 0; i < bytes.len; i++) {
    memcpy(copy, bytes.base, bytes.len);
    copy[i] ^= 0x80;
    (void)roam_saved_load(&again, (roam_bytes){copy, bytes.len});
    roam_saved_reset(&again);
    uint8_t *cut = malloc(i ? i : 1); /* so that a byte too far is seen */
    memcpy(cut, bytes.base, i);
    (void)roam_saved_load(&again, (roam_bytes){cut, i});
    roam_saved_reset(&again);
    free(cut);
  }
  free(copy);
  roam_saved_reset(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(belongs_to_host_port_and_print),
      cmocka_unit_test(a_ticket_has_its_time),
      cmocka_unit_test(what_is_not_learned_anew_stays),
      cmocka_unit_test(the_one_not_used_longest_gives_way),
      cmocka_unit_test(survives_as_bytes),
      cmocka_unit_test(foreign_bytes_are_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
