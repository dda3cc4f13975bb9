/* UDP sockets alone: batches, trains, the cursor. Trains and failures end to end are in loop/datagram_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/udp.h"

static const struct roam_udp_options plain = {.buffer_bytes = 1 << 20};
static const struct roam_udp_options trains = {.buffer_bytes = 1 << 20, .gso = true, .gro = true};

struct ends {
  struct roam_udp from, to;
  struct roam_udp_io *io;
};

static roam_addr addr(const char *text) {
  roam_addr out;
  assert_int_equal(roam_addr_parse(text, &out), 0);
  return out;
}

static void open_ends(struct ends *e, const struct roam_udp_options *o, size_t batch) {
  roam_addr none = {0}, loopback = addr("127.0.0.1");
  e->io = roam_udp_io_new(batch);
  assert_non_null(e->io);
  assert_int_equal(roam_udp_open(&e->to, &loopback, &none, NULL, o), 0);
  assert_int_equal(roam_udp_open(&e->from, &none, &e->to.local, NULL, o), 0);
}

static void close_ends(struct ends *e) {
  roam_udp_close(&e->from);
  roam_udp_close(&e->to);
  roam_udp_io_free(e->io);
}

static size_t receive(struct ends *e, roam_wire out[], size_t want) {
  size_t got = 0;
  while (got < want) {
    struct pollfd wait = {.fd = e->to.fd, .events = POLLIN};
    if (poll(&wait, 1, 5000) != 1) break;
    int n = roam_udp_recv(&e->to, e->io, got, out + got, ROAM_UDP_BATCH_MAX - got);
    assert_true(n >= 0);
    got += (size_t)n;
  }
  return got;
}

static void a_batch_is_one_call(void **state) {
  (void)state;
  static const struct { size_t batch, calls; } cases[] = {{64, 1}, {8, 5}, {1, 40}};
  for (size_t c = 0; c < 3; c++) {
    struct ends e;
    open_ends(&e, &plain, cases[c].batch);
    uint8_t bytes[40];
    roam_wire units[40], got[ROAM_UDP_BATCH_MAX];
    for (size_t i = 0; i < 40; i++) {
      bytes[i] = (uint8_t)i;
      units[i] = (roam_wire){.kind = ROAM_WIRE_DATAGRAM, .data = &bytes[i], .len = 1, .ecn = (uint8_t)(i % 4)};
    }
    struct roam_udp_cursor at = {0};
    struct roam_udp_sent sent = {0};
    assert_int_equal(roam_udp_send(&e.from, e.io, units, 40, &at, &sent), 0);
    assert_int_equal(sent.calls, cases[c].calls);
    assert_int_equal(sent.datagrams, 40);
    assert_int_equal(at.unit, 40);
    assert_int_equal(receive(&e, got, 40), 40);
    for (size_t i = 0; i < 40; i++) {
      assert_int_equal(*got[i].data, i);
      assert_int_equal(got[i].ecn, i % 4);
      assert_true(roam_addr_equal(&got[i].remote, &e.from.local));
    }
    close_ends(&e);
  }
}

static void empty_datagrams_pass(void **state) {
  (void)state;
  struct ends e;
  open_ends(&e, &trains, 64);
  roam_wire units[2] = {{.kind = ROAM_WIRE_DATAGRAM}, {.kind = ROAM_WIRE_DATAGRAM, .segment = 100}},
            got[ROAM_UDP_BATCH_MAX];
  struct roam_udp_cursor at = {0};
  struct roam_udp_sent sent = {0};
  assert_int_equal(roam_udp_send(&e.from, e.io, units, 2, &at, &sent), 0);
  assert_int_equal(receive(&e, got, 2), 2);
  assert_int_equal(got[0].len + got[1].len, 0);
  close_ends(&e);
}

/* More than one train's worth: 100 segments and a rest do not fit 64, nor 65 507 bytes. */
static void long_trains_are_divided(void **state) {
  (void)state;
  static const struct {
    uint16_t segment;
    size_t len;
  } cases[] = {{100, 10050}, {1400, 65536}, {40000, 100000}};
  static uint8_t bytes[100000];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i % 251);
  for (size_t c = 0; c < 6; c++) {
    struct ends e;
    open_ends(&e, c < 3 ? &trains : &plain, 64);
    size_t len = cases[c % 3].len, segment = cases[c % 3].segment, done = 0, count = 0;
    roam_wire unit = {.kind = ROAM_WIRE_DATAGRAM, .data = bytes, .len = len, .segment = (uint16_t)segment};
    struct roam_udp_cursor at = {0};
    struct roam_udp_sent sent = {0};
    assert_int_equal(roam_udp_send(&e.from, e.io, &unit, 1, &at, &sent), 0);
    assert_int_equal(sent.datagrams, (len + segment - 1) / segment);
    while (done < len) {
      roam_wire got[ROAM_UDP_BATCH_MAX];
      size_t n = receive(&e, got, 1);
      assert_true(n >= 1);
      for (size_t i = 0; i < n; i++) {
        assert_memory_equal(got[i].data, bytes + done, got[i].len);
        done += got[i].len;
        size_t one = got[i].segment ? got[i].segment : got[i].len;
        assert_true(one == segment || done == len);
        count += (got[i].len + one - 1) / one;
      }
    }
    assert_int_equal(done, len);
    assert_int_equal(count, sent.datagrams);
    close_ends(&e);
  }
}

static void families_do_not_mix(void **state) {
  (void)state;
  struct roam_udp u;
  roam_addr four = addr("127.0.0.1"), six = addr("[::1]:9"), none = {0}, any = addr("::");
  assert_int_equal(roam_udp_open(&u, &four, &six, NULL, &plain), EAFNOSUPPORT);
  assert_int_equal(u.fd, -1);
  assert_int_equal(roam_udp_open(&u, &any, &none, NULL, &plain), 0);
  struct roam_udp other;
  roam_addr same = {.family = 4, .port = u.local.port};
  assert_int_equal(roam_udp_open(&other, &same, &none, NULL, &plain), 0); /* "::" leaves IPv4 to others */
  roam_udp_close(&other);
  roam_udp_close(&u);
}

static void a_given_socket_is_taken_over(void **state) {
  (void)state;
  struct roam_udp mine, taken;
  roam_addr none = {0}, loopback = addr("127.0.0.1");
  assert_int_equal(roam_udp_open(&mine, &loopback, &none, NULL, &plain), 0);
  int flags = fcntl(mine.fd, F_GETFL);
  assert_int_equal(fcntl(mine.fd, F_SETFL, flags & ~O_NONBLOCK), 0);
  assert_int_equal(roam_udp_adopt(&taken, mine.fd, &plain), 0);
  assert_int_equal(taken.fd, mine.fd);
  assert_true(roam_addr_equal(&taken.local, &mine.local));
  assert_true(fcntl(taken.fd, F_GETFL) & O_NONBLOCK);
  roam_udp_close(&taken);
  int stream = socket(AF_INET, SOCK_STREAM, 0), unbound = socket(AF_INET, SOCK_DGRAM, 0);
  assert_int_equal(roam_udp_adopt(&taken, stream, &plain), EINVAL);
  assert_int_equal(roam_udp_adopt(&taken, unbound, &plain), EINVAL);
  assert_int_equal(roam_udp_adopt(&taken, 9999, &plain), EBADF);
  close(stream);
  close(unbound);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_batch_is_one_call),          cmocka_unit_test(empty_datagrams_pass),
      cmocka_unit_test(long_trains_are_divided),      cmocka_unit_test(families_do_not_mix),
      cmocka_unit_test(a_given_socket_is_taken_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
