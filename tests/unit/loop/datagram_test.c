/* UDP through the loop: two toy machines on loopback. */
#include "unit/loop/toy.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's refusals cannot be had on loopback by asking for them, so this stands between: the call number refuse_at and
 * refuse_count - 1 after it fail with refuse_with; 0 never. With partial set, each call takes one message at most. */
static struct {
  int call, refuse_at, refuse_count, refuse_with;
  bool partial, trains_only;
} kernel;

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags) {
  kernel.call++;
  bool due =
      kernel.refuse_at > 0 && kernel.call >= kernel.refuse_at && kernel.call < kernel.refuse_at + kernel.refuse_count;
  bool train = msgs->msg_hdr.msg_iov->iov_len > 1200;
  if (due && (train || !kernel.trains_only)) {
    errno = kernel.refuse_with;
    return -1;
  }
  return (int)syscall(SYS_sendmmsg, fd, msgs, kernel.partial ? 1 : n, flags);
}

static int reset_kernel(void **state) {
  (void)state;
  memset(&kernel, 0, sizeof kernel);
  return 0;
}

struct pair {
  roam_loop *loop;
  struct toy *server, *client;
  roam_addr at; /* the server's true address */
};

static void open_pair(struct pair *p, const char *server, const char *target, bool gso) {
  roam_loop_options o;
  roam_loop_options_init(&o);
  o.gso = o.gro = gso;
  p->loop = roam_loop_new(&o);
  assert_non_null(p->loop);
  p->server = toy_new();
  p->client = toy_new();
  assert_int_equal(roam_loop_add(p->loop, toy_machine(p->server), NULL, NULL), 0);
  assert_int_equal(roam_loop_add(p->loop, toy_machine(p->client), NULL, NULL), 0);
  toy_put(p->server, ROAM_WIRE_BIND, 1)->local = toy_addr(server);
  TOY_UNTIL(p->loop, p->server->seen_count == 1);
  assert_int_equal(p->server->seen[0].unit.kind, ROAM_WIRE_BOUND);
  p->at = toy_addr(target);
  p->at.port = p->server->seen[0].unit.local.port;
  assert_true(p->at.port != 0);
}

static void connect_client(struct pair *p) {
  toy_put(p->client, ROAM_WIRE_BIND, 7)->remote = p->at;
  TOY_UNTIL(p->loop, p->client->seen_count == 1);
  assert_int_equal(p->client->seen[0].unit.kind, ROAM_WIRE_BOUND);
}

static void close_pair(struct pair *p) {
  roam_loop_free(p->loop);
  toy_free(p->server);
  toy_free(p->client);
}

static void send_bytes(struct pair *p, const uint8_t *bytes, size_t len, uint16_t segment, uint8_t ecn) {
  roam_wire *unit = toy_put(p->client, ROAM_WIRE_DATAGRAM, 7);
  unit->remote = p->at;
  unit->data = bytes;
  unit->len = len;
  unit->segment = segment;
  unit->ecn = ecn;
}

static void echo_gives_true_addresses(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  connect_client(&p);
  roam_addr client = p.client->seen[0].unit.local;
  assert_true(roam_addr_is_loopback(&client) && client.port != 0);
  p.server->echo = true;
  send_bytes(&p, (const uint8_t *)"hello", 5, 0, 2);
  TOY_UNTIL(p.loop, p.client->datagrams_in == 1);
  const roam_wire *in = &p.server->seen[1].unit, *back = &p.client->seen[1].unit;
  assert_true(roam_addr_equal(&in->local, &p.at));
  assert_true(roam_addr_equal(&in->remote, &client));
  assert_int_equal(in->handle, 1);
  assert_int_equal(in->ecn, 2);
  assert_int_equal(in->len, 5);
  assert_int_equal(back->handle, 7);
  assert_true(roam_addr_equal(&back->remote, &p.at));
  assert_int_equal(back->ecn, 2);
  close_pair(&p);
}

static void echo_over_ipv6(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "::", "::1", true);
  connect_client(&p);
  p.server->echo = true;
  send_bytes(&p, (const uint8_t *)"six", 3, 0, 1);
  TOY_UNTIL(p.loop, p.client->datagrams_in == 1);
  assert_true(roam_addr_equal(&p.server->seen[1].unit.local, &p.at));
  assert_int_equal(p.client->seen[1].unit.ecn, 1);
  close_pair(&p);
}

/* A train of 40 pieces with a short last one, there and back: all bytes come in order, with and without GSO. */
static void pass_train(bool gso) {
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", gso);
  connect_client(&p);
  p.server->echo = true;
  static uint8_t bytes[39 * 1200 + 77];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i % 251);
  p.client->check_pattern = p.server->check_pattern = true;
  send_bytes(&p, bytes, sizeof bytes, 1200, 0);
  TOY_UNTIL(p.loop, p.client->bytes_in == sizeof bytes);
  assert_int_equal(p.client->datagrams_in, 40);
  assert_int_equal(p.server->datagrams_in, 40);
  assert_false(p.client->wrong || p.server->wrong);
  roam_loop_stats stats = roam_loop_get_stats(p.loop);
  assert_int_equal(stats.datagrams_out, 80);
  assert_int_equal(stats.datagrams_in, 80);
  assert_int_equal(stats.bytes_out, 2 * sizeof bytes);
  if (!gso) assert_false(stats.gso || stats.gro);
  if (!gso) assert_int_equal(toy_count(p.server, ROAM_WIRE_DATAGRAM), 40);
  if (stats.gso) assert_true(stats.send_calls <= 4);
  close_pair(&p);
}

static void train_with_gso(void **state) {
  (void)state;
  pass_train(true);
}

static void train_without_gso(void **state) {
  (void)state;
  pass_train(false);
}

static void wildcard_bind_answers_from_the_address_asked(void **state) {
  (void)state;
  static const char *const targets[] = {"127.0.0.1", "127.0.10.2"};
  for (size_t i = 0; i < 2; i++) {
    struct pair p;
    open_pair(&p, "0.0.0.0", targets[i], true);
    connect_client(&p); /* a connected client would never see an answer from another address */
    p.server->echo = true;
    send_bytes(&p, (const uint8_t *)"x", 1, 0, 0);
    TOY_UNTIL(p.loop, p.client->datagrams_in == 1);
    assert_true(roam_addr_equal(&p.server->seen[1].unit.local, &p.at));
    close_pair(&p);
  }
}

static void bound_local_address_is_used(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  roam_wire *bind = toy_put(p.client, ROAM_WIRE_BIND, 7);
  bind->remote = p.at;
  bind->local = toy_addr("127.0.10.9");
  bind->name = "lo";
  TOY_UNTIL(p.loop, p.client->seen_count == 1);
  roam_addr expected = toy_addr("127.0.10.9");
  assert_true(roam_addr_same_ip(&p.client->seen[0].unit.local, &expected));
  send_bytes(&p, (const uint8_t *)"x", 1, 0, 0);
  TOY_UNTIL(p.loop, p.server->datagrams_in == 1);
  assert_true(roam_addr_equal(&p.server->seen[1].unit.remote, &p.client->seen[0].unit.local));
  close_pair(&p);
}

static void bind_failures_name_their_errno(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  toy_put(p.client, ROAM_WIRE_BIND, 1)->local = p.at;
  roam_wire *nowhere = toy_put(p.client, ROAM_WIRE_BIND, 2);
  nowhere->local = toy_addr("192.0.2.77");
  toy_put(p.client, ROAM_WIRE_BIND, 3)->name = "no-such-if0";
  toy_put(p.client, ROAM_WIRE_BIND, ROAM_HANDLE_EDGE | 4);
  toy_put(p.client, ROAM_WIRE_BIND, 5);
  toy_put(p.client, ROAM_WIRE_BIND, 5);
  TOY_UNTIL(p.loop, p.client->seen_count == 6);
  static const int errors[] = {EADDRINUSE, EADDRNOTAVAIL, ENODEV, EINVAL, 0, EEXIST};
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(p.client->seen[i].unit.kind, errors[i] == 0 ? ROAM_WIRE_BOUND : ROAM_WIRE_FAILED);
    assert_int_equal(p.client->seen[i].unit.error, errors[i]);
  }
  close_pair(&p);
}

static void nobody_there_is_a_send_failure(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  connect_client(&p);
  toy_put(p.server, ROAM_WIRE_UNBIND, 1);
  TOY_QUIET(p.loop);
  send_bytes(&p, (const uint8_t *)"x", 1, 0, 0);
  TOY_UNTIL(p.loop, toy_find(p.client, ROAM_WIRE_SENDFAIL, 0));
  const roam_wire *fail = &toy_find(p.client, ROAM_WIRE_SENDFAIL, 0)->unit;
  assert_int_equal(fail->error, ECONNREFUSED);
  assert_int_equal(fail->handle, 7);
  assert_true(roam_addr_equal(&fail->remote, &p.at));
  assert_true(roam_addr_equal(&fail->local, &p.client->seen[0].unit.local));
  close_pair(&p);
}

static void too_large_is_dropped_and_others_go_on(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  connect_client(&p);
  static uint8_t big[65530];
  send_bytes(&p, (const uint8_t *)"a", 1, 0, 0);
  send_bytes(&p, big, sizeof big, 0, 0);
  send_bytes(&p, (const uint8_t *)"b", 1, 0, 0);
  TOY_UNTIL(p.loop, p.server->datagrams_in == 2);
  TOY_QUIET(p.loop);
  assert_int_equal(p.server->bytes_in, 2);
  assert_int_equal(p.server->seen[2].first, 'b');
  assert_null(toy_find(p.client, ROAM_WIRE_SENDFAIL, 0));
  close_pair(&p);
}

/* The socket is full in the middle of 200 datagrams: nothing is lost or reordered, and the machine is not drained
 * meanwhile. */
static void full_socket_holds_and_continues(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", false);
  connect_client(&p);
  static uint8_t bytes[200][100];
  for (size_t i = 0; i < 200; i++) {
    memset(bytes[i], (int)i, sizeof bytes[i]);
    send_bytes(&p, bytes[i], sizeof bytes[i], 0, 0);
  }
  kernel.partial = true;
  kernel.refuse_with = EAGAIN;
  kernel.refuse_at = kernel.call + 11;
  kernel.refuse_count = 3;
  uint64_t drains = p.client->drains;
  assert_int_equal(roam_loop_step(p.loop, 0), 1);
  assert_int_equal(p.client->drains, drains + 1); /* a batch of 64 of which 10 went */
  TOY_UNTIL(p.loop, p.server->datagrams_in == 200);
  for (size_t i = 0; i < 200; i++) assert_int_equal(p.server->seen[1 + i].first, i);
  assert_int_equal(roam_loop_get_stats(p.loop).datagrams_out, 200);
  close_pair(&p);
}

static void held_units_survive_the_turn_but_not_the_socket(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  connect_client(&p);
  kernel.refuse_with = EAGAIN;
  kernel.refuse_at = kernel.call + 1;
  kernel.refuse_count = 1000;
  send_bytes(&p, (const uint8_t *)"x", 1, 0, 0);
  toy_put(p.client, ROAM_WIRE_UNBIND, 7);
  toy_put(p.client, ROAM_WIRE_BIND, 7)->remote = p.at;
  TOY_UNTIL(p.loop, toy_count(p.client, ROAM_WIRE_BOUND) == 2);
  kernel.refuse_at = 0;
  send_bytes(&p, (const uint8_t *)"y", 1, 0, 0);
  TOY_UNTIL(p.loop, p.server->datagrams_in == 1);
  assert_int_equal(toy_find(p.server, ROAM_WIRE_DATAGRAM, 0)->first, 'y');
  close_pair(&p);
}

/* A kernel without GSO: the train goes out in pieces, and later ones are not offered whole. */
static void refused_train_is_cut(void **state) {
  (void)state;
  static const int errors[] = {EIO, EINVAL, ENOPROTOOPT};
  static uint8_t bytes[10 * 1200];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i % 251);
  for (size_t i = 0; i < 3; i++) {
    struct pair p;
    open_pair(&p, "127.0.0.1", "127.0.0.1", true);
    connect_client(&p);
    if (!roam_loop_get_stats(p.loop).gso) skip();
    p.server->check_pattern = true;
    kernel.trains_only = true;
    kernel.refuse_with = errors[i];
    kernel.refuse_at = kernel.call + 1;
    kernel.refuse_count = 1;
    send_bytes(&p, bytes, sizeof bytes, 1200, 0);
    TOY_UNTIL(p.loop, p.server->bytes_in == sizeof bytes);
    assert_int_equal(p.server->datagrams_in, 10);
    assert_false(p.server->wrong);
    assert_false(roam_loop_get_stats(p.loop).gso);
    assert_null(toy_find(p.client, ROAM_WIRE_SENDFAIL, 0));
    close_pair(&p);
  }
}

/* Pieces larger than the interface takes are no reason to give up GSO. */
static void too_large_train_keeps_gso(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  connect_client(&p);
  if (!roam_loop_get_stats(p.loop).gso) skip();
  static uint8_t bytes[3 * 1200];
  kernel.refuse_with = EMSGSIZE;
  kernel.refuse_at = kernel.call + 1;
  kernel.refuse_count = 4; /* the train, then each of its pieces */
  send_bytes(&p, bytes, sizeof bytes, 1200, 0);
  send_bytes(&p, (const uint8_t *)"b", 1, 0, 0);
  TOY_UNTIL(p.loop, p.server->datagrams_in == 1);
  assert_int_equal(p.server->seen[1].first, 'b');
  assert_true(roam_loop_get_stats(p.loop).gso);
  close_pair(&p);
}

static void unreachable_is_reported_once_per_unit(void **state) {
  (void)state;
  struct pair p;
  open_pair(&p, "127.0.0.1", "127.0.0.1", true);
  connect_client(&p);
  kernel.refuse_with = ENETUNREACH;
  kernel.refuse_at = kernel.call + 1;
  kernel.refuse_count = 64;
  for (size_t i = 0; i < 64; i++) send_bytes(&p, (const uint8_t *)"x", 1, 0, 0);
  TOY_UNTIL(p.loop, toy_count(p.client, ROAM_WIRE_SENDFAIL) == 64);
  assert_int_equal(toy_find(p.client, ROAM_WIRE_SENDFAIL, 0)->unit.error, ENETUNREACH);
  TOY_QUIET(p.loop);
  assert_int_equal(p.server->datagrams_in, 0);
  close_pair(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(echo_gives_true_addresses),
      cmocka_unit_test(echo_over_ipv6),
      cmocka_unit_test(train_with_gso),
      cmocka_unit_test(train_without_gso),
      cmocka_unit_test(wildcard_bind_answers_from_the_address_asked),
      cmocka_unit_test(bound_local_address_is_used),
      cmocka_unit_test(bind_failures_name_their_errno),
      cmocka_unit_test(nobody_there_is_a_send_failure),
      cmocka_unit_test(too_large_is_dropped_and_others_go_on),
      cmocka_unit_test_setup(full_socket_holds_and_continues, reset_kernel),
      cmocka_unit_test_setup(held_units_survive_the_turn_but_not_the_socket, reset_kernel),
      cmocka_unit_test_setup(refused_train_is_cut, reset_kernel),
      cmocka_unit_test_setup(too_large_train_keeps_gso, reset_kernel),
      cmocka_unit_test_setup(unreachable_is_reported_once_per_unit, reset_kernel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
