/* memory_test.c - the life of two endpoints with the n-th allocation of ours failing, for every n: nothing crashes, nothing
 * leaks, and whatever ended is told. Only what this program's own code asks for fails (its address tells); what the
 * libraries below do without memory is theirs. Under a sanitizer the allocator is its own: there the life runs once,
 * without failures. */
#include <errno.h>
#include <stdlib.h>

#include "unit/can_fail.h"
#include "unit/transport/pair.h"

static bool armed;   /* a function of the transport is running */
static long fail_at; /* which of its allocations from now fails; 0 = none */
static long live;    /* blocks of ours not given back */

#if CAN_FAIL
extern char __executable_start, etext;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

enum {
  SLOTS = 1 << 17
};
static const void *ours[SLOTS]; /* blocks asked for by this program while armed; open addressing, tombstones are 1 */

static size_t slot_of(const void *block) { return (size_t)((uintptr_t)block >> 4) * 2654435761u % SLOTS; }

static void note(const void *block) {
  size_t i = slot_of(block);
  while ((uintptr_t)ours[i] > 1) i = (i + 1) % SLOTS;
  ours[i] = block;
  live++;
}

static void forget(const void *block) {
  for (size_t i = slot_of(block); ours[i]; i = (i + 1) % SLOTS) {
    if (ours[i] != block) continue;
    ours[i] = (const void *)1;
    live--;
    return;
  }
}

static bool counts(const void *caller) {
  return armed && (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

static bool refuses(bool counted) {
  if (!counted || fail_at == 0 || --fail_at > 0) return false;
  errno = ENOMEM;
  return true;
}

void *malloc(size_t size) {
  bool counted = counts(__builtin_return_address(0));
  void *block = refuses(counted) ? NULL : __libc_malloc(size);
  if (block && counted) note(block);
  return block;
}

void *calloc(size_t n, size_t size) {
  bool counted = counts(__builtin_return_address(0));
  void *block = refuses(counted) ? NULL : __libc_calloc(n, size);
  if (block && counted) note(block);
  return block;
}

void *realloc(void *old, size_t size) {
  bool counted = counts(__builtin_return_address(0));
  if (refuses(counted)) return NULL;
  if (old) forget(old);
  void *block = __libc_realloc(old, size);
  if (block && counted) note(block);
  return block;
}

void free(void *block) {
  if (block) forget(block);
  __libc_free(block);
}
#endif

/* ---- a life ------------------------------------------------------------------------------------------------------------
 */

static void armed_feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  armed = true;
  side_feed(self, now, in, n);
  armed = false;
}

static void armed_tick(void *self, roam_time now) {
  armed = true;
  side_tick(self, now);
  armed = false;
}

static size_t armed_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  armed = true;
  size_t used = side_drain(self, now, out, n);
  armed = false;
  return used;
}

static const roam_machine_ops armed_ops = {armed_feed, armed_tick, armed_drain, side_poll, side_deadline};

#define ARMED(call)                                                                                                        \
  __extension__({                                                                                                          \
    armed = true;                                                                                                          \
    __typeof__(call) value = call;                                                                                         \
    armed = false;                                                                                                         \
    value;                                                                                                                 \
  })

struct life {
  roam_identity id;
  struct glue *g;
  struct side *client, *server;
  struct roam_rng client_rng, server_rng;
  roam_transport_kind kind;
};

static void release_closed(struct side *s, const roam_te *ev) {
  (void)s;
  if (ev->kind != ROAM_TE_CLOSED) return;
  if (s->conn == ev->conn) s->conn = NULL;
  roam_conn_release(ev->conn);
}

static struct side *make_side(struct life *l, bool server) {
  roam_transport_options o;
  roam_rc rc;
  const char *why;
  roam_transport_options_init(&o);
  o.random = server ? &l->server_rng.random : &l->client_rng.random;
  o.tls.wall_unix_s = PAIR_WALL;
  o.tls.ca = server ? (roam_bytes){0} : pair_text(l->id.ca_certificate);
  o.tls.certificate = server ? pair_text(l->id.certificate) : (roam_bytes){0};
  o.tls.key = server ? pair_text(l->id.key) : (roam_bytes){0};
  struct side *s = calloc(1, sizeof *s);
  s->on_event = release_closed;
  s->t = l->kind == ROAM_TRANSPORT_QUIC ? ARMED(roam_quic_new(&o, &rc, &why)) : ARMED(roam_tcp_new(&o, &rc, &why));
  if (!s->t) assert_int_equal(rc, ROAM_E_MEMORY);
  return s;
}

static void talk(struct life *l, const roam_addr *at) {
  uint32_t listener, lane;
  roam_addr local;
  roam_conn *conn = NULL;
  uint8_t bytes[30000] = {0};
  roam_blob *blob = roam_blob_new(bytes, sizeof bytes);
  roam_slice slices[] = {{bytes, 300, NULL}, {roam_blob_data(blob), sizeof bytes, blob}, {bytes, 9000, NULL}};
  if (ARMED(roam_transport_listen(l->server->t, l->g->now, at, &listener)) != 0) goto out;
  glue_run(l->g, 10 * ROAM_MS);
  if (ARMED(roam_transport_dial(l->client->t, l->g->now, at, NULL, NULL, "localhost", NULL, &conn)) != 0) goto out;
  l->client->conn = conn;
  glue_run(l->g, ROAM_S);
  for (int i = 0; i < 3 && l->client->conn; i++) {
    ARMED(roam_conn_write(conn, l->g->now, 0, slices, 3));
    if (l->client->conn && ARMED(roam_conn_lane_open(conn, l->g->now, &lane)) == 0)
      ARMED(roam_conn_write(conn, l->g->now, lane, slices, 1));
    glue_run(l->g, 300 * ROAM_MS);
    roam_conn *there = l->server->conn;
    if (there) {
      armed = true;
      roam_conn_consume(there, l->g->now, 0, roam_conn_peek(there, 0).len);
      roam_conn_write(there, l->g->now, 0, slices, 1);
      armed = false;
    }
    roam_addr_parse(i % 2 ? "10.0.0.2" : "10.0.0.3", &local);
    if (l->client->conn) ARMED(roam_conn_migrate(conn, l->g->now, &local, NULL, ROAM_MIGRATE_PROBE));
    glue_run(l->g, 500 * ROAM_MS);
  }
  if (l->client->conn) {
    armed = true;
    roam_conn_close(conn, l->g->now, 0, true);
    armed = false;
  }
  glue_run(l->g, 100 * ROAM_S);
out:
  roam_blob_unref(blob);
}

/* True when the failure never came: all allocations have had their turn. */
static bool live_once(const roam_identity *id, roam_transport_kind kind, long n, size_t *opened) {
  struct life l = {.id = *id, .kind = kind};
  roam_addr at;
  roam_addr_parse("10.0.0.1:14567", &at);
  roam_rng_init(&l.client_rng, 1);
  roam_rng_init(&l.server_rng, 2);
  fail_at = n;
  l.g = glue_new(3, 5 * ROAM_MS);
  l.client = make_side(&l, false);
  l.server = make_side(&l, true);
  if (l.client->t && l.server->t) {
    glue_add(l.g, (roam_machine){&armed_ops, l.server, NULL}, "10.0.0.1");
    glue_add(l.g, (roam_machine){&armed_ops, l.client, NULL}, "10.0.0.2");
    talk(&l, &at);
  }
  *opened = side_count(l.client, ROAM_TE_OPENED, NULL) + side_count(l.server, ROAM_TE_OPENED, NULL);
  if (l.client->t) roam_transport_free(l.client->t);
  if (l.server->t) roam_transport_free(l.server->t);
  free(l.client);
  free(l.server);
  glue_free(l.g);
  bool came = n > 0 && fail_at == 0;
  fail_at = 0;
  return !came;
}

static void every_allocation_may_fail(roam_transport_kind kind) {
  roam_identity id;
  size_t opened;
  assert_int_equal(roam_identity_make(&id, "test", "localhost", PAIR_WALL, 30, false), 0);
  assert_true(live_once(&id, kind, 0, &opened));
  assert_int_equal(opened, 2);
  for (long n = 1; CAN_FAIL; n++) {
    long before = live;
    bool over = live_once(&id, kind, n, &opened);
    if (live != before) fail_msg("allocation %ld: %ld blocks lost", n, live - before);
    if (!over) continue;
    assert_true(n > 10);
    break;
  }
  assert_true(live_once(&id, kind, 0, &opened));
  assert_int_equal(opened, 2);
  roam_identity_clear(&id);
}

static void quic(void **state) {
  (void)state;
  every_allocation_may_fail(ROAM_TRANSPORT_QUIC);
}

static void tcp(void **state) {
  (void)state;
  every_allocation_may_fail(ROAM_TRANSPORT_TCP);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(tcp), cmocka_unit_test(quic)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
