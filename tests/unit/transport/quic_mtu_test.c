/* quic_mtu_test.c - packets as large as the path takes: found upward by probes, and downward when what is large vanishes,
 * whether the path has changed or the same path has become narrow. */
#include "pair.h"

struct path {
  size_t max;               /* larger datagrams vanish */
  uint64_t large, vanished; /* of more than 1200 bytes */
  size_t largest;           /* that came through */
  roam_addr seen_as;        /* a NAT: where the client seems to be; family 0: it is where it is */
  roam_addr inside;
};

static bool carry(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  struct path *path = g->context;
  (void)bytes;
  size_t each = u->segment ? u->segment : *len;
  if (each > path->max) {
    path->vanished++;
    return false;
  }
  path->large += each > 1200;
  if (each > path->largest) path->largest = each;
  if (path->seen_as.family && u->local.ip[3] != 1) {
    path->inside = u->local;
    u->local = path->seen_as;
  }
  return true;
}

static bool bring_inside(struct glue *g, roam_wire *u, uint8_t *bytes, size_t *len) {
  const struct path *path = g->context;
  (void)bytes, (void)len;
  if (path->seen_as.family && roam_addr_equal(&u->remote, &path->seen_as)) u->remote = path->inside;
  return true;
}

static struct pair *pair_over(struct path *path, const struct pair_how *how) {
  struct pair *p = pair_new(how);
  p->g->context = path;
  p->g->out = carry;
  p->g->in = bring_inside;
  p->g->trains = false;
  pair_connect(p);
  glue_run(p->g, 5 * ROAM_S);
  return p;
}

static void close_pair(struct pair *p) {
  p->g->out = p->g->in = NULL;
  pair_free(p);
}

/* Sends len bytes and returns how long it took until all were there; in order, for it is a stream. */
static roam_time time_of(struct pair *p, struct side *from, size_t len) {
  static uint8_t block[1000];
  bool up = from == p->client;
  struct side *to = up ? p->server : p->client;
  roam_conn *out = up ? p->conn : p->server->conn, *in = up ? p->server->conn : p->conn;
  roam_time begin = p->g->now;
  size_t sent = 0, got = 0;
  while (got < len) {
    while (sent < len && roam_conn_room(out, 0) >= sizeof block && pair_send(from, out, block, sizeof block))
      sent += sizeof block;
    glue_run(p->g, 10 * ROAM_MS);
    roam_bytes bytes = roam_conn_peek(in, 0);
    got += bytes.len;
    if (bytes.len > 0) roam_conn_consume(in, to->now, 0, bytes.len);
    if (p->g->now - begin > 60 * ROAM_S) fail_msg("%zu of %zu bytes after a minute", got, len);
  }
  return p->g->now - begin;
}

/* So much that jumbo sizes are tried, and the time that takes. */
static void pour_both(struct pair *p) {
  for (int i = 0; i < 40; i++) {
    if (i == 0 || roam_conn_get_info(p->conn).cwnd_bytes < 72000) time_of(p, p->client, 100000);
    if (i == 0 || roam_conn_get_info(p->server->conn).cwnd_bytes < 72000) time_of(p, p->server, 100000);
  }
  time_of(p, p->client, 5000);
  time_of(p, p->server, 5000);
  glue_run(p->g, 5 * ROAM_S);
}

static void packets_grow_to_what_the_path_takes(void **state) {
  static const struct {
    size_t path, now;
  } cases[] = {{1200, 1200}, {1300, 1232}, {1440, 1406}, {1472, 1452}, {8900, 1452}, {8972, 8952}, {65507, 8952}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct path path = {.max = cases[i].path};
    struct pair *p = pair_over(&path, NULL);
    size_t idle = cases[i].now < 1452 ? cases[i].now : 1452;
    assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, idle); /* nobody who has nothing to say tries more */
    assert_true(path.largest <= 1452);
    uint64_t before = path.vanished;
    glue_run(p->g, 10 * ROAM_S);
    assert_int_equal(path.vanished, before);
    pour_both(p);
    assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, cases[i].now);
    assert_int_equal(roam_conn_get_info(p->server->conn).datagram_bytes, cases[i].now);
    time_of(p, p->client, 100000);
    assert_int_equal(path.largest, cases[i].now);
    assert_true(path.vanished <= 2 * 3 * 3); /* both sides; three of each size that is too large, at most three sizes */
    assert_int_equal(roam_conn_get_info(p->conn).datagram_falls, 0);
    close_pair(p);
  }
}

static void of_ordinary_size(roam_transport_options *o) { o->datagram_bytes_max = 1452; }
static void of_any_size(roam_transport_options *o) { o->datagram_bytes_max = 65487; }
static void of_odd_size(roam_transport_options *o) { o->datagram_bytes_max = 5000; }

static void the_option_is_the_bound(void **state) {
  (void)state;
  struct path path = {.max = 65507};
  struct pair *p = pair_over(&path, &(struct pair_how){.client = of_ordinary_size, .server = of_any_size});
  pour_both(p);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, 1452);
  assert_int_equal(roam_conn_get_info(p->server->conn).datagram_bytes, 65487);
  time_of(p, p->client, 1000000);
  path.largest = 0;
  time_of(p, p->server, 3000000);
  assert_int_equal(path.largest, 65487);
  close_pair(p);
  p = pair_over(&path, &(struct pair_how){.client = of_odd_size});
  pour_both(p);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, 5000);
  close_pair(p);
}

/* Both directions at once, and the round trip is 50 ms. */
static void a_path_that_becomes_narrow_is_noticed(void **state) {
  static const size_t narrow[] = {1472, 1300, 1200};
  (void)state;
  for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++) {
    struct path path = {.max = 8972};
    struct pair *p = pair_over(&path, NULL);
    pour_both(p);
    roam_time before = time_of(p, p->server, 100000);
    path.max = narrow[i];
    path.largest = 0;
    roam_time after = time_of(p, p->client, 100000), back = time_of(p, p->server, 100000);
    print_message("path of %zu: 100 kB in %.0f ms, then %.0f and %.0f\n", narrow[i], (double)before / 1e6,
                  (double)after / 1e6, (double)back / 1e6);
    assert_true(after < 2 * ROAM_S && back < 2 * ROAM_S);
    assert_true(path.largest <= 1200);
    assert_int_equal(roam_conn_get_info(p->conn).datagram_falls, 1);
    assert_int_equal(roam_conn_get_info(p->server->conn).datagram_falls, 1);
    assert_int_equal(side_count(p->client, ROAM_TE_CLOSED, NULL), 0);
    close_pair(p);
  }
}

static void large_packets_are_tried_again(void **state) {
  (void)state;
  struct path path = {.max = 8972};
  struct pair *p = pair_over(&path, NULL);
  pour_both(p);
  path.max = 1300;
  time_of(p, p->client, 100000);
  glue_run(p->g, 61 * ROAM_S);
  time_of(p, p->client, 100000);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_falls, 2); /* in vain */
  path.max = 8972;
  glue_run(p->g, 61 * ROAM_S);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, 1200); /* twice as long now */
  glue_run(p->g, 61 * ROAM_S);
  pour_both(p);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, 8952);
  time_of(p, p->client, 100000);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_falls, 2);
  close_pair(p);
}

/* Frames are not sent again, so nothing of the library's would ever be smaller. */
static void with_frames(roam_transport_options *o) { o->datagrams_max = 64; }

static void frames_notice_it_too(void **state) {
  static const uint8_t bytes[5000];
  (void)state;
  struct path path = {.max = 8972};
  struct pair *p = pair_over(&path, &(struct pair_how){.client = with_frames, .server = with_frames});
  pour_both(p);
  assert_true(roam_conn_datagram_room(p->conn) > 8000);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(roam_conn_datagram_write(p->conn, p->g->now, (roam_bytes){bytes, 5000}), 0);
    glue_run(p->g, 10 * ROAM_MS);
  }
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_get_info(p->server->conn).frames_in, 10);
  path.max = 1472;
  for (int i = 0; i < 100; i++) {
    if (roam_conn_datagram_room(p->conn) >= 5000)
      assert_int_equal(roam_conn_datagram_write(p->conn, p->g->now, (roam_bytes){bytes, 5000}), 0);
    glue_run(p->g, 10 * ROAM_MS);
  }
  size_t room = roam_conn_datagram_room(p->conn);
  assert_true(room > 1100 && room < 1200);
  assert_int_equal(roam_conn_get_info(p->conn).datagram_falls, 1);
  uint64_t before = roam_conn_get_info(p->server->conn).frames_in;
  assert_int_equal(roam_conn_datagram_write(p->conn, p->g->now, (roam_bytes){bytes, room}), 0);
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_get_info(p->server->conn).frames_in, before + 1);
  close_pair(p);
}

/* A NAT gives the client another address, and the way there is narrow: the server must not go on as it did. */
static void a_rebinding_to_a_narrow_path(void **state) {
  (void)state;
  for (int other = 0; other < 2; other++) {
    struct path path = {.max = 8972};
    assert_int_equal(roam_addr_parse("192.0.2.1:50000", &path.seen_as), 0);
    struct pair *p = pair_over(&path, NULL);
    pour_both(p);
    assert_int_equal(roam_addr_parse(other ? "192.0.2.2:50001" : "192.0.2.1:50001", &path.seen_as), 0);
    path.max = 1300;
    assert_true(pair_send(p->client, p->conn, "!", 1));
    glue_run(p->g, 10 * ROAM_MS);
    roam_time took = time_of(p, p->server, 100000);
    print_message("rebound to a path of 1300 (%s): 100 kB in %.0f ms, %u falls\n", other ? "other address" : "other port",
                  (double)took / 1e6, roam_conn_get_info(p->server->conn).datagram_falls);
    assert_true(took < (other ? 400 : 1200) * ROAM_MS);
    time_of(p, p->client, 100000);
    close_pair(p);
  }
}

/* Behind the other address are wide paths, too: the client's packets say so. */
static void a_rebinding_to_a_wide_path(void **state) {
  (void)state;
  struct path path = {.max = 8972};
  assert_int_equal(roam_addr_parse("192.0.2.1:50000", &path.seen_as), 0);
  struct pair *p = pair_over(&path, NULL);
  pour_both(p);
  assert_int_equal(roam_addr_parse("192.0.2.2:50001", &path.seen_as), 0);
  assert_true(pair_send(p->client, p->conn, "!", 1));
  glue_run(p->g, 10 * ROAM_MS);
  glue_run(p->g, ROAM_S);
  assert_int_equal(roam_conn_get_info(p->server->conn).datagram_bytes, 1200);
  time_of(p, p->client, 100000);
  assert_int_equal(roam_conn_get_info(p->server->conn).datagram_bytes, 8952);
  assert_int_equal(roam_conn_get_info(p->server->conn).datagram_falls, 0);
  close_pair(p);
}

/* A move by command begins at 1200 and is widened by probes of its own. */
static void a_move_to_a_narrow_path_and_back(void **state) {
  (void)state;
  for (int at_once = 0; at_once < 2; at_once++) {
    roam_migrate_how how = at_once ? ROAM_MIGRATE_IMMEDIATE : ROAM_MIGRATE_PROBE;
    struct path path = {.max = 8972};
    struct pair *p = pair_over(&path, NULL);
    pour_both(p);
    path.max = 1472;
    assert_int_equal(roam_conn_migrate(p->conn, p->g->now, NULL, NULL, how), 0);
    roam_time took = time_of(p, p->server, 100000);
    print_message("moved to a path of 1472 (%s): 100 kB in %.0f ms\n", at_once ? "at once" : "by probe",
                  (double)took / 1e6);
    assert_true(took < 2 * ROAM_S);
    time_of(p, p->client, 100000);
    glue_run(p->g, 3 * ROAM_S);
    assert_true(roam_conn_get_info(p->conn).datagram_bytes <= 1452);
    path.max = 8972;
    assert_int_equal(roam_conn_migrate(p->conn, p->g->now, NULL, NULL, how), 0);
    glue_run(p->g, 5 * ROAM_S);
    pour_both(p);
    assert_int_equal(roam_conn_get_info(p->conn).datagram_bytes, 8952);
    assert_int_equal(roam_conn_get_info(p->server->conn).datagram_bytes, 8952);
    close_pair(p);
  }
}

/* Loss is not a narrow path, as long as something gets through in time. */
static void loss_is_not_taken_for_it(void **state) {
  (void)state;
  struct path path = {.max = 8972};
  struct pair *p = pair_over(&path, NULL);
  pour_both(p);
  p->g->loss_ppm = 20000;
  for (int i = 0; i < 20; i++) time_of(p, p->client, 100000);
  print_message("2 %% loss: %u falls\n", roam_conn_get_info(p->conn).datagram_falls);
  assert_true(roam_conn_get_info(p->conn).datagram_falls <= 2);
  close_pair(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(packets_grow_to_what_the_path_takes),
      cmocka_unit_test(the_option_is_the_bound),
      cmocka_unit_test(a_path_that_becomes_narrow_is_noticed),
      cmocka_unit_test(large_packets_are_tried_again),
      cmocka_unit_test(frames_notice_it_too),
      cmocka_unit_test(a_rebinding_to_a_narrow_path),
      cmocka_unit_test(a_rebinding_to_a_wide_path),
      cmocka_unit_test(a_move_to_a_narrow_path_and_back),
      cmocka_unit_test(loss_is_not_taken_for_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
