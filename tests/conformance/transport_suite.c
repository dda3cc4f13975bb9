/* transport_suite.c - the cases. Each must hold for QUIC, TCP, TLS and WebSocket alike; where they differ by nature the
 * case says so. */
#include "conformance/transport_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/rng.h"

#define WAIT (20 * ROAM_S)
#define WALL INT64_C(1750000000)
enum {
  FLOWS = 512,
  STEP = 3000
};

/* ---- shared by the rigs ------------------------------------------------------------------------------------------------
 */

static roam_identity suite_id; /* made once: the sides only borrow it */

static roam_bytes text_bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

void suite_options_fill(roam_transport_options *o, bool listener, roam_random *random, roam_time now) {
  if (!suite_id.certificate)
    assert_int_equal(roam_identity_make(&suite_id, "suite", "localhost,127.0.0.1,10.0.0.1", WALL, 30, false), 0);
  roam_transport_options_init(o);
  o->random = random;
  o->now = now;
  o->tls.wall_unix_s = WALL;
  if (listener) {
    o->tls.certificate = text_bytes(suite_id.certificate);
    o->tls.key = text_bytes(suite_id.key);
    o->ping_ns = 0;
  } else {
    o->tls.ca = text_bytes(suite_id.ca_certificate);
  }
}

struct side *suite_side_new(roam_transport_kind kind, const roam_transport_options *o) {
  roam_rc rc;
  const char *why;
  struct side *s = calloc(1, sizeof *s);
  s->random = o->random;
  s->now = o->now;
  s->t = roam_transport_new(kind, o, &rc, &why);
  if (!s->t) fail_msg("no transport: %s (%s)", roam_strerror(rc), why ? why : "-");
  return s;
}

void suite_side_free(struct side *s) {
  if (s->t) roam_transport_free(s->t);
  free(s);
}

/* ---- what a connection does in a case ----------------------------------------------------------------------------------
 */

struct flow {
  roam_conn *conn;
  struct side *side;
  uint64_t to_send, sent, received;
  bool hold_reading, use_blobs, opened, fin, reset, closed, close_at_end;
  unsigned closed_count;
  roam_rc rc;
  uint64_t code;
  bool by_peer;
  bool corrupt;
};

struct suite {
  roam_transport_kind kind;
  rig_begin begin;
  struct rig *rig;
  struct flow flows[FLOWS]; /* dialled from the front, accepted from the back */
  size_t dialled, accepted;
  struct flow accept_as; /* how accepted ones behave */
  uint32_t listener;
};

static uint8_t pattern(uint64_t at) { return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16)); }

static void pump_out(struct flow *f) {
  uint8_t bytes[STEP];
  while (f->opened && !f->closed && f->sent < f->to_send) {
    size_t n = roam_conn_room(f->conn, 0);
    if (n > sizeof bytes) n = sizeof bytes;
    if (n > f->to_send - f->sent) n = (size_t)(f->to_send - f->sent);
    if (n == 0) return;
    for (size_t i = 0; i < n; i++) bytes[i] = pattern(f->sent + i);
    roam_blob *blob = f->use_blobs ? roam_blob_new(bytes, n) : NULL;
    roam_slice slice = {blob ? roam_blob_data(blob) : bytes, n, blob};
    roam_rc rc = roam_conn_write(f->conn, f->side->now, 0, &slice, 1);
    roam_blob_unref(blob);
    if (rc == ROAM_E_BLOCKED) return;
    assert_int_equal(rc, 0);
    f->sent += n;
  }
  if (!f->close_at_end || f->closed || f->sent < f->to_send) return;
  f->close_at_end = false;
  roam_conn_close(f->conn, f->side->now, 0, true);
}

static void pump_in(struct flow *f) {
  if (f->hold_reading) return;
  roam_bytes got = roam_conn_peek(f->conn, 0);
  for (size_t i = 0; i < got.len; i++) f->corrupt |= got.base[i] != pattern(f->received + i);
  f->received += got.len;
  if (got.len) roam_conn_consume(f->conn, f->side->now, 0, got.len);
}

static void on_event(struct side *side, const roam_te *ev) {
  struct suite *s = side->context;
  if (!ev->conn) return;
  if (ev->kind == ROAM_TE_ACCEPTED) {
    struct flow *accepted = &s->flows[FLOWS - 1 - s->accepted++];
    *accepted = s->accept_as;
    accepted->conn = ev->conn;
    accepted->side = side;
    roam_conn_set_user(ev->conn, accepted);
  }
  struct flow *f = roam_conn_user(ev->conn);
  if (!f) return;
  switch (ev->kind) {
    case ROAM_TE_OPENED: f->opened = true; break;
    case ROAM_TE_LANE_FIN: f->fin = true; break;
    case ROAM_TE_LANE_RESET: f->reset = true; break;
    case ROAM_TE_CLOSED:
      f->closed = true;
      f->closed_count++;
      f->rc = ev->rc;
      f->code = ev->code;
      f->by_peer = ev->by_peer;
      break;
    default: break;
  }
  pump_in(f);
  pump_out(f);
}

static struct suite *begin(void **state, const struct rig_how *how) {
  struct suite *s = *state;
  s->rig = s->begin(s->kind, how);
  s->dialled = s->accepted = 0;
  memset(&s->accept_as, 0, sizeof s->accept_as);
  memset(s->flows, 0, sizeof s->flows);
  s->rig->dialer->on_event = s->rig->listener->on_event = on_event;
  s->rig->dialer->context = s->rig->listener->context = s;
  return s;
}

static bool listens(void *context) {
  struct suite *s = context;
  return side_count(s->rig->listener, ROAM_TE_LISTENING, NULL) > 0;
}

static void listen(struct suite *s) {
  assert_int_equal(roam_transport_listen(s->rig->listener->t, s->rig->listener->now, &s->rig->address, &s->listener), 0);
  assert_true(s->rig->run(s->rig, WAIT, listens, s));
  s->rig->address = side_last(s->rig->listener, ROAM_TE_LISTENING)->local;
}

static struct flow *dial(struct suite *s, uint64_t to_send) {
  struct flow *f = &s->flows[s->dialled++];
  f->side = s->rig->dialer;
  f->to_send = to_send;
  assert_int_equal(
      roam_transport_dial(s->rig->dialer->t, s->rig->dialer->now, &s->rig->address, NULL, NULL, "localhost", f, &f->conn),
      0);
  return f;
}

static struct flow *accepted(struct suite *s, size_t i) { return &s->flows[FLOWS - 1 - i]; }

static bool all_open(void *context) {
  struct suite *s = context;
  for (size_t i = 0; i < s->dialled; i++)
    if (!s->flows[i].opened) return false;
  for (size_t i = 0; i < s->accepted; i++)
    if (!accepted(s, i)->opened) return false;
  return s->accepted == s->dialled;
}

static struct flow *connect_one(struct suite *s, uint64_t to_send) {
  listen(s);
  struct flow *f = dial(s, to_send);
  assert_true(s->rig->run(s->rig, WAIT, all_open, s));
  return f;
}

static bool first_closed(void *context) {
  struct suite *s = context;
  return s->flows[0].closed;
}

static bool all_closed(void *context) {
  struct suite *s = context;
  for (size_t i = 0; i < s->dialled; i++)
    if (!s->flows[i].closed) return false;
  for (size_t i = 0; i < s->accepted; i++)
    if (!accepted(s, i)->closed) return false;
  return true;
}

static bool never(void *context) {
  (void)context;
  return false;
}

static void end(struct suite *s) {
  for (size_t i = 0; i < FLOWS; i++) {
    assert_true(s->flows[i].closed_count <= 1);
    assert_false(s->flows[i].corrupt);
  }
  s->rig->end(s->rig);
  s->rig = NULL;
}

/* ---- cases -------------------------------------------------------------------------------------------------------------
 */

static bool first_has_its_answer(void *context) {
  struct suite *s = context;
  return s->accepted > 0 && s->flows[0].received == 700 && accepted(s, 0)->received == 500;
}

static void open_and_exchange_both_ways(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.to_send = 700;
  struct flow *f = connect_one(s, 500);
  pump_out(f);
  assert_true(s->rig->run(s->rig, WAIT, first_has_its_answer, s));
  roam_conn_info here = roam_conn_get_info(f->conn), there = roam_conn_get_info(accepted(s, 0)->conn);
  assert_true(roam_addr_equal(&here.local, &there.remote));
  assert_true(roam_addr_equal(&here.remote, &s->rig->address));
  assert_true(here.bytes_out >= 500 && there.bytes_out >= 700);
  assert_true(roam_conn_transport(f->conn) == s->rig->dialer->t);
  end(s);
}

/* Credit counts what is on the wire: what stands above a filter may be a record more or less. */
static size_t slack_of(roam_transport_kind kind) {
  return kind == ROAM_TRANSPORT_QUIC || kind == ROAM_TRANSPORT_TCP ? 0 : 2 * 16640;
}

enum {
  LARGE = 3000000,
  ROOM_MAX = 262144
};

static bool large_has_arrived(void *context) {
  struct suite *s = context;
  return s->accepted > 0 && s->flows[0].received == LARGE && accepted(s, 0)->received == LARGE;
}

static void large_data_both_ways_with_back_pressure(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.to_send = LARGE;
  s->accept_as.use_blobs = true;
  struct flow *f = connect_one(s, LARGE);
  assert_true(roam_conn_room(f->conn, 0) <= ROOM_MAX); /* what a kernel has taken already is no longer ours */
  assert_true(s->rig->run(s->rig, 4 * WAIT, large_has_arrived, s));
  end(s);
}

static bool writer_is_stuck(void *context) {
  struct suite *s = context;
  return s->accepted > 0 && roam_conn_peek(accepted(s, 0)->conn, 0).len >= ROAM_CREDIT_START - slack_of(s->kind);
}

static bool all_arrived_at_listener(void *context) {
  struct suite *s = context;
  return accepted(s, 0)->received == s->flows[0].to_send;
}

static void unread_bytes_hold_the_credit(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.hold_reading = true;
  uint64_t more = s->kind != ROAM_TRANSPORT_QUIC ? 24000000 : LARGE; /* than kernels keep for TCP */
  connect_one(s, more);
  assert_true(s->rig->run(s->rig, WAIT, writer_is_stuck, s));
  s->rig->run(s->rig, ROAM_S / 2, never, NULL);
  struct flow *reader = accepted(s, 0);
  size_t slack = slack_of(s->kind);
  assert_in_range(roam_conn_peek(reader->conn, 0).len, ROAM_CREDIT_START - slack, ROAM_CREDIT_START + slack);
  uint64_t stuck_at = s->flows[0].sent;
  s->rig->run(s->rig, ROAM_S / 2, never, NULL);
  assert_int_equal(s->flows[0].sent, stuck_at);
  assert_true(stuck_at < more);
  reader->hold_reading = false;
  pump_in(reader);
  assert_true(s->rig->run(s->rig, 4 * WAIT, all_arrived_at_listener, s));
  end(s);
}

static void write_takes_all_or_nothing(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.hold_reading = true;
  struct flow *f = connect_one(s, 0);
  static uint8_t bytes[262144 + 1];
  roam_slice slices[] = {{bytes, 200000, NULL}, {bytes, 62145, NULL}};
  size_t room = roam_conn_room(f->conn, 0);
  assert_int_equal(roam_conn_write(f->conn, s->rig->dialer->now, 0, slices, 2), ROAM_E_BLOCKED);
  assert_int_equal(roam_conn_room(f->conn, 0), room);
  assert_int_equal(roam_conn_write(f->conn, s->rig->dialer->now, 0, slices, 1), 0);
  assert_int_equal(roam_conn_room(f->conn, 0), room - 200000);
  assert_int_equal(roam_conn_write(f->conn, s->rig->dialer->now, 77, slices, 1), ROAM_E_NOT_FOUND);
  end(s);
}

static bool listener_saw_fin(void *context) {
  struct suite *s = context;
  return s->accepted > 0 && accepted(s, 0)->fin;
}

static void fin_comes_after_all_bytes(void **state) {
  struct suite *s = begin(state, NULL);
  struct flow *f = connect_one(s, 10000);
  pump_out(f);
  roam_conn_lane_fin(f->conn, s->rig->dialer->now, 0);
  assert_true(s->rig->run(s->rig, WAIT, listener_saw_fin, s));
  assert_int_equal(accepted(s, 0)->received, 10000);
  uint8_t byte = 0;
  roam_slice slice = {&byte, 1, NULL};
  assert_int_equal(roam_conn_write(f->conn, s->rig->dialer->now, 0, &slice, 1), ROAM_E_CLOSED);
  end(s);
}

static bool listener_saw_reset(void *context) {
  struct suite *s = context;
  return s->accepted > 0 && (accepted(s, 0)->reset || accepted(s, 0)->closed);
}

static void reset_is_told(void **state) {
  struct suite *s = begin(state, NULL);
  struct flow *f = connect_one(s, 100);
  roam_conn_lane_reset(f->conn, s->rig->dialer->now, 0, 0x8e);
  assert_true(s->rig->run(s->rig, WAIT, listener_saw_reset, s));
  if (s->kind == ROAM_TRANSPORT_QUIC) {
    assert_int_equal(side_last(s->rig->listener, ROAM_TE_LANE_RESET)->code, 0x8e);
    assert_false(accepted(s, 0)->closed);
  } else {
    assert_int_equal(accepted(s, 0)->rc, ROAM_E_LOST); /* on TCP the lane is the connection */
  }
  end(s);
}

static void close_with_flush_delivers_first(void **state) {
  struct suite *s = begin(state, NULL);
  s->flows[0].close_at_end = true;
  struct flow *f = connect_one(s, 200000);
  assert_true(s->rig->run(s->rig, WAIT, all_closed, s));
  struct flow *peer = accepted(s, 0);
  assert_int_equal(peer->received, 200000);
  assert_int_equal(f->rc, 0);
  assert_int_equal(peer->rc, 0);
  assert_true(peer->by_peer);
  assert_false(f->by_peer && s->kind == ROAM_TRANSPORT_QUIC);
  end(s);
}

static void close_tells_its_code(void **state) {
  struct suite *s = begin(state, NULL);
  connect_one(s, 0);
  struct flow *peer = accepted(s, 0);
  roam_conn_close(peer->conn, s->rig->listener->now, 7, true);
  assert_true(s->rig->run(s->rig, WAIT, all_closed, s));
  assert_int_equal(peer->rc, 0);
  assert_true(s->flows[0].by_peer);
  if (s->kind == ROAM_TRANSPORT_QUIC) {
    assert_int_equal(s->flows[0].code, 7);
    assert_int_equal(s->flows[0].rc, ROAM_E_PEER_CLOSED);
  }
  end(s);
}

static void bytes_stay_readable_after_the_end(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.hold_reading = true;
  s->flows[0].close_at_end = true;
  connect_one(s, 50000);
  assert_true(s->rig->run(s->rig, WAIT, all_closed, s));
  struct flow *peer = accepted(s, 0);
  assert_int_equal(roam_conn_peek(peer->conn, 0).len, 50000);
  peer->hold_reading = false;
  pump_in(peer);
  assert_int_equal(peer->received, 50000);
  end(s);
}

static void calls_after_the_end_are_harmless(void **state) {
  struct suite *s = begin(state, NULL);
  struct flow *f = connect_one(s, 0);
  roam_time now = s->rig->dialer->now;
  uint8_t byte = 0;
  roam_slice slice = {&byte, 1, NULL};
  uint32_t lane;
  roam_conn_close(f->conn, now, 0, false);
  roam_conn_close(f->conn, now, 9, true);
  assert_true(s->rig->run(s->rig, WAIT, all_closed, s));
  assert_int_equal(roam_conn_write(f->conn, now, 0, &slice, 1), ROAM_E_CLOSED);
  assert_int_equal(roam_conn_room(f->conn, 0), 0);
  assert_true(roam_conn_lane_open(f->conn, now, &lane) < 0);
  assert_true(roam_conn_migrate(f->conn, now, NULL, NULL, ROAM_MIGRATE_PROBE) < 0);
  roam_conn_consume(f->conn, now, 0, 10);
  roam_conn_lane_fin(f->conn, now, 0);
  roam_conn_lane_reset(f->conn, now, 0, 1);
  roam_conn_ping(f->conn, now);
  roam_conn_close(f->conn, now, 1, false);
  (void)roam_conn_get_info(f->conn);
  s->rig->run(s->rig, ROAM_S / 4, never, NULL);
  roam_conn_release(f->conn);
  roam_conn_release(accepted(s, 0)->conn);
  s->rig->run(s->rig, ROAM_S / 4, never, NULL);
  end(s);
}

static void nothing_listens_is_refused(void **state) {
  struct suite *s = begin(state, NULL);
  s->rig->address.port = 59;
  struct flow *f = dial(s, 0);
  assert_true(s->rig->run(s->rig, WAIT, first_closed, s));
  bool told = s->kind != ROAM_TRANSPORT_QUIC || !s->rig->no_icmp;
  assert_int_equal(f->rc, told ? ROAM_E_CONN_REFUSED : ROAM_E_TIMEOUT);
  assert_false(f->opened);
  assert_non_null(strstr(side_last(s->rig->dialer, ROAM_TE_CLOSED)->text, told ? "nothing listens" : "no answer over"));
  roam_conn_release(f->conn);
  end(s);
}

static void shorten_connect_timeout(roam_transport_options *o) { o->connect_timeout_ns = 2 * ROAM_S; }

static void silence_is_a_timeout(void **state) {
  struct rig_how how = {shorten_connect_timeout, NULL};
  struct suite *s = begin(state, &how);
  if (!s->rig->go_silent) {
    end(s);
    skip();
  }
  listen(s);
  s->rig->go_silent(s->rig);
  roam_time before = s->rig->dialer->now;
  struct flow *f = dial(s, 0);
  assert_true(s->rig->run(s->rig, WAIT, first_closed, s));
  assert_int_equal(f->rc, ROAM_E_TIMEOUT);
  assert_true(s->rig->dialer->now - before >= 2 * ROAM_S);
  assert_non_null(strstr(side_last(s->rig->dialer, ROAM_TE_CLOSED)->text, "no answer over"));
  end(s);
}

static void shorten_idle(roam_transport_options *o) {
  o->idle_timeout_ns = 2 * ROAM_S;
  o->ping_ns = 500 * ROAM_MS;
}

static void a_dead_peer_is_noticed(void **state) {
  struct rig_how how = {shorten_idle, NULL};
  struct suite *s = begin(state, &how);
  struct flow *f = connect_one(s, 0);
  s->rig->kill_listener(s->rig);
  f->to_send = 10; /* TCP notices when it writes */
  pump_out(f);
  assert_true(s->rig->run(s->rig, WAIT, first_closed, s));
  assert_true(f->rc == ROAM_E_TIMEOUT || f->rc == ROAM_E_LOST || s->kind != ROAM_TRANSPORT_QUIC);
  end(s);
}

enum {
  MANY = 60
};

static bool many_are_done(void *context) {
  struct suite *s = context;
  if (s->accepted < MANY) return false;
  for (size_t i = 0; i < MANY; i++)
    if (s->flows[i].received != 5000 || accepted(s, i)->received != 4000) return false;
  return true;
}

static void many_connections_at_once(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.to_send = 5000;
  listen(s);
  for (size_t i = 0; i < MANY; i++) dial(s, 4000);
  assert_true(s->rig->run(s->rig, 4 * WAIT, many_are_done, s));
  for (size_t i = 0; i < MANY; i++) {
    for (size_t k = 0; k < i; k++) assert_true(roam_conn_number(s->flows[i].conn) != roam_conn_number(s->flows[k].conn));
    roam_conn_close(s->flows[i].conn, s->rig->dialer->now, 0, true);
  }
  assert_true(s->rig->run(s->rig, WAIT, all_closed, s));
  for (size_t i = 0; i < MANY; i++) {
    roam_conn_release(s->flows[i].conn);
    roam_conn_release(accepted(s, i)->conn);
  }
  end(s);
}

static bool listener_lost_it(void *context) {
  struct suite *s = context;
  return s->accepted > 0 && accepted(s, 0)->closed;
}

static void release_while_busy(void **state) {
  struct suite *s = begin(state, NULL);
  s->accept_as.to_send = LARGE;
  struct flow *f = connect_one(s, LARGE);
  s->rig->run(s->rig, 20 * ROAM_MS, never, NULL);
  roam_conn_set_user(f->conn, NULL);
  roam_conn_release(f->conn);
  assert_true(s->rig->run(s->rig, WAIT, listener_lost_it, s));
  roam_conn_release(accepted(s, 0)->conn);
  end(s);
}

static void release_before_anything_happened(void **state) {
  struct suite *s = begin(state, NULL);
  listen(s);
  struct flow *f = dial(s, 0);
  roam_conn_set_user(f->conn, NULL);
  roam_conn_release(f->conn);
  s->rig->run(s->rig, ROAM_S / 4, never, NULL);
  assert_int_equal(side_count(s->rig->dialer, ROAM_TE_CLOSED, NULL), 0);
  end(s);
}

static void close_before_open_is_told_once(void **state) {
  struct suite *s = begin(state, NULL);
  listen(s);
  struct flow *f = dial(s, 0);
  uint8_t byte = 0;
  roam_slice slice = {&byte, 1, NULL};
  assert_int_equal(roam_conn_write(f->conn, s->rig->dialer->now, 0, &slice, 1), ROAM_E_STATE);
  roam_conn_close(f->conn, s->rig->dialer->now, 0, true);
  assert_true(s->rig->run(s->rig, WAIT, first_closed, s));
  assert_int_equal(f->rc, 0);
  s->rig->run(s->rig, ROAM_S / 4, never, NULL);
  end(s);
}

static bool listen_failed(void *context) {
  struct suite *s = context;
  return side_count(s->rig->listener, ROAM_TE_LISTEN_FAILED, NULL) > 0;
}

static void an_address_in_use_is_told(void **state) {
  struct suite *s = begin(state, NULL);
  uint32_t second;
  listen(s);
  assert_int_equal(roam_transport_listen(s->rig->listener->t, s->rig->listener->now, &s->rig->address, &second), 0);
  assert_true(s->rig->run(s->rig, WAIT, listen_failed, s));
  const roam_te *ev = side_last(s->rig->listener, ROAM_TE_LISTEN_FAILED);
  assert_int_equal(ev->listener, second);
  assert_int_equal(ev->rc, ROAM_E_ADDRESS_IN_USE);
  assert_non_null(strstr(ev->text, "already in use"));
  end(s);
}

static bool second_closed(void *context) {
  struct suite *s = context;
  return s->flows[1].closed;
}

static void unlisten_keeps_who_is_there(void **state) {
  struct rig_how how = {shorten_connect_timeout, NULL};
  struct suite *s = begin(state, &how);
  s->accept_as.to_send = 700;
  struct flow *f = connect_one(s, 0);
  roam_transport_unlisten(s->rig->listener->t, s->rig->listener->now, s->listener);
  s->rig->run(s->rig, ROAM_S / 4, never, NULL);
  struct flow *late = dial(s, 0);
  assert_true(s->rig->run(s->rig, WAIT, second_closed, s));
  assert_true(late->rc == ROAM_E_CONN_REFUSED || late->rc == ROAM_E_TIMEOUT);
  f->to_send = 500;
  pump_out(f);
  assert_true(s->rig->run(s->rig, WAIT, first_has_its_answer, s));
  end(s);
}

static void two_dial_at_most(roam_transport_options *o) { o->conns_max = 2; }

static bool two_of_three(void *context) {
  struct suite *s = context;
  return s->flows[0].opened && s->flows[1].opened && s->flows[2].closed;
}

static void conns_max_refuses_the_rest(void **state) {
  struct rig_how how = {NULL, two_dial_at_most};
  struct suite *s = begin(state, &how);
  listen(s);
  dial(s, 0);
  dial(s, 0);
  s->rig->run(s->rig, ROAM_S / 4, never, NULL);
  struct flow *third = dial(s, 0);
  assert_true(s->rig->run(s->rig, WAIT, two_of_three, s));
  assert_true(third->rc == ROAM_E_REFUSED || third->rc == ROAM_E_LOST || third->rc == 0);
  assert_int_equal(s->accepted, 2);
  end(s);
}

static void bad_arguments_are_refused(void **state) {
  struct suite *s = begin(state, NULL);
  roam_conn *conn = NULL;
  roam_addr none = {0};
  char long_name[400];
  memset(long_name, 'x', sizeof long_name);
  long_name[sizeof long_name - 1] = '\0';
  roam_transport *t = s->rig->dialer->t;
  assert_int_equal(roam_transport_dial(t, s->rig->dialer->now, &none, NULL, NULL, NULL, NULL, &conn), ROAM_E_ARGUMENT);
  assert_int_equal(roam_transport_dial(t, s->rig->dialer->now, &s->rig->address, NULL, long_name, NULL, NULL, &conn),
                   ROAM_E_ARGUMENT);
  end(s);
}

#define CASE(function)                                                                                                     \
  { #function, function, NULL, NULL, &suite }

int transport_suite_run(const char *label, roam_transport_kind kind, rig_begin begin_rig) {
  static struct suite suite;
  suite = (struct suite){.kind = kind, .begin = begin_rig};
  const struct CMUnitTest tests[] = {
      CASE(open_and_exchange_both_ways),
      CASE(large_data_both_ways_with_back_pressure),
      CASE(unread_bytes_hold_the_credit),
      CASE(write_takes_all_or_nothing),
      CASE(fin_comes_after_all_bytes),
      CASE(reset_is_told),
      CASE(close_with_flush_delivers_first),
      CASE(close_tells_its_code),
      CASE(bytes_stay_readable_after_the_end),
      CASE(calls_after_the_end_are_harmless),
      CASE(nothing_listens_is_refused),
      CASE(silence_is_a_timeout),
      CASE(a_dead_peer_is_noticed),
      CASE(many_connections_at_once),
      CASE(release_while_busy),
      CASE(release_before_anything_happened),
      CASE(close_before_open_is_told_once),
      CASE(an_address_in_use_is_told),
      CASE(unlisten_keeps_who_is_there),
      CASE(conns_max_refuses_the_rest),
      CASE(bad_arguments_are_refused),
  };
  int failed = cmocka_run_group_tests_name(label, tests, NULL, NULL);
  roam_identity_clear(&suite_id);
  return failed;
}
