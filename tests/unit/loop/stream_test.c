/* TCP through the loop: two toy machines on loopback. */
#include "unit/loop/toy.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Stands before the kernel's. */
static bool out_of_descriptors;
static int accepts_refused;

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags) {
  if (out_of_descriptors) {
    accepts_refused++;
    errno = EMFILE;
    return -1;
  }
  return (int)syscall(SYS_accept4, fd, addr, len, flags);
}

struct pair {
  roam_loop *loop;
  struct toy *server, *client;
  uint32_t accepted; /* the server's handle of the connection */
};

static void open_listener(struct pair *p, uint32_t sockets_max) {
  roam_loop_options o;
  roam_loop_options_init(&o);
  o.sockets_max = sockets_max;
  p->loop = roam_loop_new(&o);
  assert_non_null(p->loop);
  p->server = toy_new();
  p->client = toy_new();
  assert_int_equal(roam_loop_add(p->loop, toy_machine(p->server), NULL, NULL), 0);
  assert_int_equal(roam_loop_add(p->loop, toy_machine(p->client), NULL, NULL), 0);
  toy_put(p->server, ROAM_WIRE_LISTEN, 1)->local = toy_addr("127.0.0.1");
  TOY_UNTIL(p->loop, p->server->seen_count == 1);
  assert_int_equal(p->server->seen[0].unit.kind, ROAM_WIRE_BOUND);
}

static void open_pair(struct pair *p) {
  open_listener(p, 100);
  roam_wire *open = toy_put(p->client, ROAM_WIRE_OPEN, 5);
  open->remote = p->server->seen[0].unit.local;
  open->local = toy_addr("127.0.10.3");
  TOY_UNTIL(p->loop, p->server->seen_count == 2 && p->client->seen_count == 1);
  const roam_wire *accept = &p->server->seen[1].unit, *opened = &p->client->seen[0].unit;
  assert_int_equal(accept->kind, ROAM_WIRE_ACCEPT);
  assert_int_equal(accept->parent, 1);
  assert_true((accept->handle & ROAM_HANDLE_EDGE) != 0);
  assert_int_equal(opened->kind, ROAM_WIRE_OPENED);
  assert_int_equal(opened->handle, 5);
  assert_true(roam_addr_equal(&accept->remote, &opened->local));
  assert_true(roam_addr_equal(&accept->local, &opened->remote));
  roam_addr from = toy_addr("127.0.10.3");
  assert_true(roam_addr_same_ip(&opened->local, &from));
  p->accepted = accept->handle;
}

static void close_pair(struct pair *p) {
  roam_loop_free(p->loop);
  toy_free(p->server);
  toy_free(p->client);
}

static void put_data(struct toy *t, uint32_t handle, const uint8_t *bytes, size_t len) {
  roam_wire *unit = toy_put(t, ROAM_WIRE_DATA, handle);
  unit->data = bytes;
  unit->len = len;
}

static uint64_t sum_credit(const struct toy *t) {
  uint64_t sum = 0;
  for (size_t i = 0; i < t->seen_count; i++) sum += t->seen[i].unit.kind == ROAM_WIRE_CREDIT ? t->seen[i].unit.credit : 0;
  return sum;
}

enum {
  PATTERN = 251 * 64
};
static uint8_t pattern[PATTERN + ROAM_CREDIT_START];

/* Sends up to `total` pattern bytes as far as credit allows; the new position. */
static uint64_t pump(struct pair *p, uint64_t at, uint64_t total) {
  uint64_t allowed = ROAM_CREDIT_START + sum_credit(p->client);
  uint64_t n = (allowed < total ? allowed : total) - at;
  if (n > ROAM_CREDIT_START) n = ROAM_CREDIT_START;
  if (n > 0 && p->client->out_count == 0) {
    size_t half = (size_t)n / 2; /* two pieces, to be sent with one call */
    put_data(p->client, 5, pattern + at % 251, half);
    put_data(p->client, 5, pattern + (at + half) % 251, (size_t)n - half);
    return at + n;
  }
  return at;
}

/* 12 MB with a receiver that gives credit only when it has nothing left, and first not at all: the sender stops at its
 * bound, and everything arrives in order afterwards. */
static void back_pressure_bounds_the_sender(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (uint8_t)(i % 251);
  p.server->check_pattern = true;
  const uint64_t total = 12 << 20;
  uint64_t at = 0, before;
  do {
    before = at;
    for (int i = 0; i < 5; i++) {
      at = pump(&p, at, total);
      TOY_QUIET(p.loop);
    }
  } while (at > before);
  assert_true(at < total);
  assert_int_equal(p.server->bytes_in, ROAM_CREDIT_START);
  assert_true(at - ROAM_CREDIT_START <= sum_credit(p.client));
  uint64_t granted = ROAM_CREDIT_START;
  for (int i = 0; i < 20000 && p.server->bytes_in < total; i++) {
    assert_null(toy_find(p.client, ROAM_WIRE_CLOSE, 0));
    if (p.server->bytes_in == granted) {
      roam_wire *credit = toy_put(p.server, ROAM_WIRE_CREDIT, p.accepted);
      credit->credit = 100000;
      granted += 100000;
    }
    at = pump(&p, at, total);
    assert_true(roam_loop_step(p.loop, 10 * ROAM_MS) >= 0);
    assert_true(p.server->bytes_in <= granted);
  }
  assert_int_equal(p.server->bytes_in, total);
  assert_false(p.server->wrong);
  close_pair(&p);
}

static void sending_beyond_credit_ends_the_connection(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  put_data(p.client, 5, pattern, ROAM_CREDIT_START);
  put_data(p.client, 5, pattern, 1);
  TOY_UNTIL(p.loop, toy_find(p.client, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(toy_find(p.client, ROAM_WIRE_CLOSE, 0)->unit.error, ENOBUFS);
  close_pair(&p);
}

static void flush_sends_all_then_ends_orderly(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  put_data(p.client, 5, pattern, ROAM_CREDIT_START);
  toy_put(p.client, ROAM_WIRE_CLOSE, 5)->how = ROAM_CLOSE_FLUSH;
  TOY_UNTIL(p.loop, toy_find(p.server, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(p.server->bytes_in, ROAM_CREDIT_START);
  assert_int_equal(toy_find(p.server, ROAM_WIRE_CLOSE, 0)->unit.error, 0);
  assert_null(toy_find(p.client, ROAM_WIRE_CLOSE, 0)); /* who closes is not told */
  close_pair(&p);
}

static void removed_machine_is_flushed(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  put_data(p.client, 5, pattern, 1000);
  assert_int_equal(roam_loop_remove(p.loop, toy_machine(p.client)), 0);
  assert_int_equal(roam_loop_remove(p.loop, toy_machine(p.client)), ROAM_E_NOT_FOUND);
  TOY_UNTIL(p.loop, toy_find(p.server, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(p.server->bytes_in, 1000);
  close_pair(&p);
}

static void reset_is_seen_as_reset(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  toy_put(p.client, ROAM_WIRE_CLOSE, 5)->how = ROAM_CLOSE_RESET;
  TOY_UNTIL(p.loop, toy_find(p.server, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(toy_find(p.server, ROAM_WIRE_CLOSE, 0)->unit.error, ECONNRESET);
  put_data(p.server, p.accepted, pattern, 10); /* an old handle: nothing happens */
  TOY_QUIET(p.loop);
  assert_int_equal(toy_count(p.server, ROAM_WIRE_CLOSE), 1);
  close_pair(&p);
}

/* The hung half neither answers nor ends; its handle is free at once. */
static void hang_is_silent(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  toy_put(p.server, ROAM_WIRE_CLOSE, p.accepted)->how = ROAM_CLOSE_HANG;
  TOY_QUIET(p.loop);
  size_t seen = p.server->seen_count;
  put_data(p.client, 5, pattern, 1000);
  TOY_QUIET(p.loop);
  assert_int_equal(p.server->seen_count, seen);
  assert_null(toy_find(p.client, ROAM_WIRE_CLOSE, 0));
  toy_put(p.client, ROAM_WIRE_CLOSE, 5)->how = ROAM_CLOSE_RESET;
  TOY_QUIET(p.loop);
  assert_int_equal(p.server->seen_count, seen);
  toy_put(p.client, ROAM_WIRE_OPEN, 5)->remote = p.server->seen[0].unit.local;
  TOY_UNTIL(p.loop, toy_count(p.client, ROAM_WIRE_OPENED) == 2);
  close_pair(&p);
}

static void refused_and_impossible_opens_fail(void **state) {
  (void)state;
  struct pair p;
  open_listener(&p, 100);
  roam_addr gone = p.server->seen[0].unit.local;
  toy_put(p.server, ROAM_WIRE_CLOSE, 1);
  TOY_QUIET(p.loop);
  toy_put(p.client, ROAM_WIRE_OPEN, 1)->remote = gone;
  TOY_UNTIL(p.loop, p.client->seen_count == 1);
  assert_int_equal(p.client->seen[0].unit.kind, ROAM_WIRE_FAILED);
  assert_int_equal(p.client->seen[0].unit.error, ECONNREFUSED);
  roam_wire *open = toy_put(p.client, ROAM_WIRE_OPEN, 1);
  open->remote = gone;
  open->local = toy_addr("192.0.2.9");
  TOY_UNTIL(p.loop, p.client->seen_count == 2);
  assert_int_equal(p.client->seen[1].unit.error, EADDRNOTAVAIL);
  toy_put(p.client, ROAM_WIRE_OPEN, 1);
  TOY_UNTIL(p.loop, p.client->seen_count == 3);
  assert_int_equal(p.client->seen[2].unit.error, EAFNOSUPPORT);
  close_pair(&p);
}

static void listener_in_use_fails(void **state) {
  (void)state;
  struct pair p;
  open_listener(&p, 100);
  toy_put(p.client, ROAM_WIRE_LISTEN, 3)->local = p.server->seen[0].unit.local;
  TOY_UNTIL(p.loop, p.client->seen_count == 1);
  assert_int_equal(p.client->seen[0].unit.kind, ROAM_WIRE_FAILED);
  assert_int_equal(p.client->seen[0].unit.error, EADDRINUSE);
  close_pair(&p);
}

static struct toy_seen *find_error(struct toy *t, int error) {
  for (size_t i = 0; i < t->seen_count; i++) {
    if (t->seen[i].unit.error == error) return &t->seen[i];
  }
  return NULL;
}

/* sockets_max 4: listener, one pair, then one end of a second pair; its other end is refused with a reset, which may be
 * seen before or after the connection is. */
static void accepting_stops_at_the_bound(void **state) {
  (void)state;
  struct pair p;
  open_listener(&p, 4);
  toy_put(p.client, ROAM_WIRE_OPEN, 0)->remote = p.server->seen[0].unit.local;
  TOY_UNTIL(p.loop, toy_count(p.client, ROAM_WIRE_OPENED) == 1 && toy_count(p.server, ROAM_WIRE_ACCEPT) == 1);
  toy_put(p.client, ROAM_WIRE_OPEN, 1)->remote = p.server->seen[0].unit.local;
  TOY_UNTIL(p.loop, find_error(p.client, ECONNRESET));
  assert_int_equal(find_error(p.client, ECONNRESET)->unit.handle, 1);
  assert_int_equal(toy_count(p.server, ROAM_WIRE_ACCEPT), 1);
  toy_put(p.client, ROAM_WIRE_OPEN, 8)->remote = p.server->seen[0].unit.local;
  toy_put(p.client, ROAM_WIRE_OPEN, 9)->remote = p.server->seen[0].unit.local;
  TOY_UNTIL(p.loop, find_error(p.client, EMFILE));
  assert_int_equal(find_error(p.client, EMFILE)->unit.handle, 9);
  close_pair(&p);
}

/* Without credit the end is told only when every byte before it has been. */
static void end_waits_for_unread_bytes(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  put_data(p.client, 5, pattern, ROAM_CREDIT_START);
  TOY_UNTIL(p.loop, p.server->bytes_in == ROAM_CREDIT_START);
  TOY_QUIET(p.loop);
  put_data(p.client, 5, pattern, 10);
  toy_put(p.client, ROAM_WIRE_CLOSE, 5);
  TOY_QUIET(p.loop);
  assert_null(toy_find(p.server, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(roam_loop_step(p.loop, 20 * ROAM_MS), 0); /* and does not spin */
  toy_put(p.server, ROAM_WIRE_CREDIT, p.accepted)->credit = 10;
  TOY_UNTIL(p.loop, toy_find(p.server, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(p.server->bytes_in, ROAM_CREDIT_START + 10);
  close_pair(&p);
}

/* No descriptor is left: the listener pauses, does not spin, and goes on when there are some again. */
static void accepting_pauses_without_descriptors(void **state) {
  (void)state;
  struct pair p;
  open_listener(&p, 100);
  toy_put(p.client, ROAM_WIRE_OPEN, 0)->remote = p.server->seen[0].unit.local;
  TOY_UNTIL(p.loop, toy_count(p.server, ROAM_WIRE_ACCEPT) == 1);
  toy_put(p.client, ROAM_WIRE_OPEN, 1)->remote = p.server->seen[0].unit.local;
  out_of_descriptors = true;
  TOY_UNTIL(p.loop, toy_count(p.client, ROAM_WIRE_OPENED) == 2);
  TOY_QUIET(p.loop);
  assert_true(accepts_refused >= 1 && accepts_refused < 50); /* spinning would be thousands */
  assert_true(roam_loop_timeout(p.loop) != ROAM_NEVER);
  out_of_descriptors = false;
  TOY_UNTIL(p.loop, toy_count(p.server, ROAM_WIRE_ACCEPT) == 2);
  close_pair(&p);
}

static void orderly_end_lets_the_last_bytes_out(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p);
  put_data(p.server, p.accepted, pattern, 100);
  toy_put(p.server, ROAM_WIRE_CLOSE, p.accepted)->how = ROAM_CLOSE_FLUSH;
  TOY_UNTIL(p.loop, toy_find(p.client, ROAM_WIRE_CLOSE, 0));
  assert_int_equal(p.client->bytes_in, 100);
  assert_int_equal(toy_find(p.client, ROAM_WIRE_CLOSE, 0)->unit.error, 0);
  close_pair(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(back_pressure_bounds_the_sender),
      cmocka_unit_test(sending_beyond_credit_ends_the_connection),
      cmocka_unit_test(flush_sends_all_then_ends_orderly),
      cmocka_unit_test(removed_machine_is_flushed),
      cmocka_unit_test(reset_is_seen_as_reset),
      cmocka_unit_test(hang_is_silent),
      cmocka_unit_test(refused_and_impossible_opens_fail),
      cmocka_unit_test(listener_in_use_fails),
      cmocka_unit_test(accepting_stops_at_the_bound),
      cmocka_unit_test(accepting_pauses_without_descriptors),
      cmocka_unit_test(end_waits_for_unread_bytes),
      cmocka_unit_test(orderly_end_lets_the_last_bytes_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
