/* relay_tcp.c - the relay's TCP: two connections joined, with the delay, the rate and the death that a NAT gives them.
 *
 * Theory of operation. Bytes fed for one half are held in order and get a time when they come out at the other; when it has
 * come they may be drained, as far as the other half's credit goes. Credit is given to a half only as its bytes leave, so
 * no direction holds more than its buffer. A relay ends TCP, so a client is accepted before the server is asked; to be fair
 * to the delay, OPEN waits one way, and the client's first bytes wait for the handshake's round trip besides.
 *
 * A forgotten connection (rebind, or its mapping expired): the server's half hangs, open and silent, until too many do. The
 * client's half goes on until its next bytes reach the NAT, and one way later it is reset. What had passed the NAT inward
 * still arrives. While the relay is down nothing is released; what was held comes out when it is up again.
 *
 * Ends travel as bytes do: a CLOSE of one half closes the other after everything before it has come out. A half that is
 * gone has handle 0. A connection with neither half nor anything to say about one is freed at the next settling. */
#include <stdlib.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/rng.h"
#include "hop/relay.h"

enum {
  MARKS_MAX = 4096,
  PIECE_BYTES = 16384
};

struct mark {
  size_t len;
  roam_time due;
};

/* One direction. Invariant: lent <= due <= bytes.len; marks cover the bytes behind the first `due`, their times never fall.
 */
struct way {
  struct roam_buf bytes;
  struct roam_ring marks;
  size_t due, lent;
  roam_time last_due;
  uint64_t room;    /* DATA the receiving half will still take */
  uint64_t granted; /* DATA the sending half may still send */
  bool ending, ended;
  uint8_t how; /* once ended: how to close the receiving half */
  roam_time end_at;
};

/* A server half whose NAT has forgotten it. */
struct hung {
  struct relay_ref ref;
  struct roam_list node;  /* r->hung once CLOSE hang is drained */
  struct roam_list dirty; /* r->hung_dirty */
  uint32_t handle;
  bool hangs, gives_up;
};

struct relay_conn {
  struct relay_ref client_ref, server_ref;
  struct roam_list node, dirty, lent; /* r->conns or r->conns_gone; r->conns_dirty; r->conns_lent */
  struct roam_heap_node timer;
  struct roam_nat_mapping *mapping; /* NULL once forgotten or over */
  struct hung *hung;                /* kept ready, so that forgetting cannot fail */
  roam_addr remote;                 /* the client */
  uint32_t client, server;
  roam_time open_at, bytes_from;         /* when to ask the server; when the client's first bytes may come out */
  bool asking, asked, opened, forgotten; /* asking: the time for OPEN has come; asked: it is drained */
  struct way way[2];                     /* by roam_dir */
};

static void mark_dirty(struct roam_relay *r, struct relay_conn *c) {
  roam_list_remove(&c->dirty);
  roam_list_push_back(&r->conns_dirty, &c->dirty);
}

/* ---- beginning and end of a connection ---- */

static void init_way(struct way *w, size_t buffer_bytes) {
  roam_buf_init(&w->bytes, buffer_bytes);
  roam_ring_init(&w->marks, sizeof(struct mark), MARKS_MAX);
  w->room = w->granted = ROAM_CREDIT_START;
}

static void free_conn(struct relay_conn *c) {
  for (int dir = 0; dir < 2; dir++) {
    roam_buf_reset(&c->way[dir].bytes);
    roam_ring_reset(&c->way[dir].marks);
  }
  free(c->hung);
  free(c);
}

/* A buffer takes at least what a half may send before it gets the first credit. */
static size_t buffer_bytes(const struct roam_relay *r) {
  return r->o.tcp_buffer_bytes > ROAM_CREDIT_START ? r->o.tcp_buffer_bytes : ROAM_CREDIT_START;
}

static struct relay_conn *new_conn(struct roam_relay *r, const roam_wire *unit) {
  struct relay_conn *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  *c = (struct relay_conn){.client_ref = {RELAY_CLIENT_HALF, c},
                           .server_ref = {RELAY_SERVER_HALF, c},
                           .hung = calloc(1, sizeof *c->hung),
                           .remote = unit->remote,
                           .client = unit->handle,
                           .server = roam_relay_handle(r),
                           .open_at = r->now + r->o.delay_ns,
                           .bytes_from = r->now + 3 * r->o.delay_ns};
  for (int dir = 0; dir < 2; dir++) init_way(&c->way[dir], buffer_bytes(r));
  roam_list_init(&c->node);
  roam_list_init(&c->dirty);
  roam_list_init(&c->lent);
  return c;
}

/* True when the connection is in all tables; when not, it is in none. */
static bool register_conn(struct roam_relay *r, struct relay_conn *c) {
  if (!c->hung || roam_nat_table_find(&r->table, ROAM_NAT_TCP, &c->remote, &r->o.server)) return false;
  if (roam_heap_reserve(&r->timers, r->conns_count + 1) != 0) return false; /* so that set_timer cannot fail */
  if (roam_heap_set(&r->timers, &c->timer, c->open_at) != 0) return false;
  c->mapping = roam_nat_table_add(&r->table, r->now, ROAM_NAT_TCP, &c->remote, &r->o.server, false);
  if (c->mapping && roam_map64_put(&r->handles, c->client, &c->client_ref) == 0) {
    if (roam_map64_put(&r->handles, c->server, &c->server_ref) == 0) return true;
    roam_map64_remove(&r->handles, c->client);
  }
  if (c->mapping) {
    roam_nat_table_remove(&r->table, c->mapping);
    roam_nat_mapping_free(c->mapping);
  }
  roam_heap_remove(&r->timers, &c->timer);
  return false;
}

void roam_relay_tcp_accept(struct roam_relay *r, const roam_wire *unit) {
  struct relay_conn *c = new_conn(r, unit);
  if (!c || !register_conn(r, c)) {
    if (c) free_conn(c);
    /* An edge feeds at most 64 units between two drains; a ring this long is never full. */
    (void)roam_ring_push(&r->refused, &unit->handle);
    return;
  }
  c->mapping->owner = c;
  roam_nat_table_sent(&r->table, r->now, c->mapping, &r->o.server);
  roam_list_push_back(&r->conns, &c->node);
  r->conns_count++;
  r->stats.tcp_mappings++;
  mark_dirty(r, c);
}

static void drop_mapping(struct roam_relay *r, struct relay_conn *c) {
  if (!c->mapping) return;
  roam_nat_table_remove(&r->table, c->mapping);
  roam_nat_mapping_free(c->mapping);
  c->mapping = NULL;
  r->stats.tcp_mappings--;
}

static void end_if_over(struct roam_relay *r, struct relay_conn *c) {
  if (c->client != 0 || c->server != 0) return;
  drop_mapping(r, c);
  roam_heap_remove(&r->timers, &c->timer);
  roam_list_remove(&c->dirty);
  roam_list_remove(&c->node);
  r->conns_count--;
  roam_list_push_back(&r->conns_gone, &c->node);
}

static void lose_half(struct roam_relay *r, struct relay_conn *c, uint32_t *half) {
  if (*half != 0) roam_map64_remove(&r->handles, *half);
  *half = 0;
  end_if_over(r, c);
}

/* Bytes that will never come out any more. Those lent stay until the settling. */
static void discard(struct way *w) {
  roam_ring_reset(&w->marks);
  w->due = w->lent;
}

/* ---- time ---- */

static roam_time transit_end(struct roam_relay *r, roam_dir dir, size_t len) {
  if (r->busy_until[dir] < r->now) r->busy_until[dir] = r->now;
  uint64_t rate = r->o.rate_bytes_s;
  if (rate > 0) r->busy_until[dir] += ((uint64_t)len * ROAM_S + rate - 1) / rate;
  uint64_t drawn = r->random ? roam_random_below(r->random, r->o.jitter_ns + 1) : 0;
  return r->busy_until[dir] + r->o.delay_ns + drawn;
}

/* False: no memory. */
static bool add_mark(struct way *w, size_t len, roam_time due) {
  struct mark *last = roam_ring_at(&w->marks, roam_ring_count(&w->marks) - 1);
  if (last && (last->due == due || roam_ring_full(&w->marks))) {
    last->len += len;
    last->due = due;
    return true;
  }
  return roam_ring_push(&w->marks, &(struct mark){len, due}) == 0;
}

static roam_time due_time(struct roam_relay *r, struct relay_conn *c, roam_dir dir, size_t len) {
  struct way *w = &c->way[dir];
  roam_time due = transit_end(r, dir, len);
  if (dir == ROAM_OUT && due < c->bytes_from) due = c->bytes_from;
  if (due < w->last_due) due = w->last_due;
  return w->last_due = due;
}

static void set_timer(struct roam_relay *r, struct relay_conn *c) {
  roam_time first = c->asking || c->forgotten || c->server == 0 ? ROAM_NEVER : c->open_at;
  for (int dir = 0; dir < 2; dir++) {
    const struct way *w = &c->way[dir];
    const struct mark *m = roam_ring_peek(&w->marks);
    roam_time at = m ? m->due : w->ending && !w->ended ? w->end_at : ROAM_NEVER;
    if (at < first) first = at;
  }
  /* Reserved when the connection was made: cannot fail. */
  roam_rc rc = roam_heap_set(&r->timers, &c->timer, first);
  ROAM_ASSERT(rc == 0);
  (void)rc;
}

static void end_way(struct roam_relay *r, struct relay_conn *c, roam_dir dir, uint8_t how) {
  struct way *w = &c->way[dir];
  if (w->ending) return;
  w->ending = true;
  w->how = how;
  w->end_at = due_time(r, c, dir, 0);
  set_timer(r, c);
}

/* The client's bytes met a NAT that has no mapping for them. */
static void answer_reset(struct roam_relay *r, struct relay_conn *c) {
  discard(&c->way[ROAM_OUT]);
  if (c->way[ROAM_IN].ending) return;
  end_way(r, c, ROAM_IN, ROAM_CLOSE_RESET);
  r->stats.resets++;
  roam_event ev = {.kind = ROAM_EV_NAT_RESET, .reason = -1, .u.path = {.local = r->o.address, .remote = c->remote}};
  roam_relay_tell(r, &ev);
}

static void advance_way(struct roam_relay *r, struct relay_conn *c, roam_dir dir) {
  struct way *w = &c->way[dir];
  for (struct mark *m; (m = roam_ring_peek(&w->marks)) && m->due <= r->now;) {
    if (dir == ROAM_OUT && c->forgotten) {
      answer_reset(r, c);
      return;
    }
    w->due += m->len;
    roam_ring_pop(&w->marks, NULL);
    if (dir == ROAM_OUT && c->mapping) roam_nat_table_sent(&r->table, r->now, c->mapping, &r->o.server);
  }
  if (w->ending && roam_ring_count(&w->marks) == 0 && w->end_at <= r->now) w->ended = true;
}

void roam_relay_tcp_run(struct roam_relay *r) {
  if (r->down) return;
  for (struct roam_heap_node *n; (n = roam_heap_first(&r->timers)) && n->at <= r->now;) {
    struct relay_conn *c = ROAM_CONTAINER(n, struct relay_conn, timer);
    if (c->open_at <= r->now && !c->forgotten) c->asking = true;
    advance_way(r, c, ROAM_OUT);
    advance_way(r, c, ROAM_IN);
    set_timer(r, c);
    mark_dirty(r, c);
  }
}

roam_time roam_relay_tcp_deadline(const struct roam_relay *r) {
  return r->down ? ROAM_NEVER : roam_heap_deadline(&r->timers);
}

/* ---- what the edge says ---- */

void roam_relay_tcp_opened(struct roam_relay *r, struct relay_conn *c, const roam_wire *unit) {
  c->opened = true;
  mark_dirty(r, c);
  if (!c->mapping) return;
  roam_event ev = {.kind = ROAM_EV_NAT_MAPPED, .reason = -1, .u.path = {.local = unit->local, .remote = c->remote}};
  roam_relay_tell(r, &ev);
}

void roam_relay_tcp_failed(struct roam_relay *r, struct relay_conn *c) { roam_relay_tcp_closed(r, c, ROAM_IN, 1); }

static void break_both(struct roam_relay *r, struct relay_conn *c) {
  for (int dir = 0; dir < 2; dir++) {
    discard(&c->way[dir]);
    c->way[dir].ending = c->way[dir].ended = true;
    c->way[dir].how = ROAM_CLOSE_RESET;
  }
  set_timer(r, c);
  mark_dirty(r, c);
}

static bool hold_bytes(struct roam_relay *r, struct relay_conn *c, roam_dir dir, const roam_wire *unit) {
  struct way *w = &c->way[dir];
  if (unit->len > w->granted || roam_buf_put(&w->bytes, unit->data, unit->len) != 0) return false;
  w->granted -= unit->len;
  /* Small pieces, so that a slow link lets the first bytes out before the last are in. */
  for (size_t left = unit->len; left > 0;) {
    size_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
    if (!add_mark(w, piece, due_time(r, c, dir, piece))) return false;
    left -= piece;
  }
  return true;
}

void roam_relay_tcp_data(struct roam_relay *r, struct relay_conn *c, roam_dir dir, const roam_wire *unit) {
  bool nobody = dir == ROAM_OUT ? c->server == 0 && !c->forgotten : c->client == 0;
  if (nobody || c->way[dir].ending || c->way[!dir].ended) return;
  if (dir == ROAM_IN && c->mapping) roam_nat_table_admit(&r->table, r->now, c->mapping, &r->o.server);
  if (hold_bytes(r, c, dir, unit)) set_timer(r, c);
  else break_both(r, c);
}

void roam_relay_tcp_credit(struct roam_relay *r, struct relay_conn *c, roam_dir dir, uint64_t credit) {
  struct way *w = &c->way[dir];
  w->room = credit < UINT64_MAX - w->room ? w->room + credit : UINT64_MAX;
  mark_dirty(r, c);
}

void roam_relay_tcp_closed(struct roam_relay *r, struct relay_conn *c, roam_dir dir, int error) {
  discard(&c->way[!dir]);
  lose_half(r, c, dir == ROAM_OUT ? &c->client : &c->server);
  if (c->client == 0 && c->server == 0) return;
  end_way(r, c, dir, error == 0 ? ROAM_CLOSE_FLUSH : ROAM_CLOSE_RESET);
  set_timer(r, c);
}

/* ---- forgetting ---- */

void roam_relay_tcp_hung_closed(struct roam_relay *r, void *hung) {
  struct hung *h = hung;
  roam_map64_remove(&r->handles, h->handle);
  if (h->hangs) r->hung_count--;
  roam_list_remove(&h->node);
  roam_list_remove(&h->dirty);
  free(h);
}

static void hang_server(struct roam_relay *r, struct relay_conn *c) {
  struct hung *h = c->hung;
  *h = (struct hung){.ref = {RELAY_HUNG, h}, .handle = c->server};
  roam_list_init(&h->node);
  roam_list_init(&h->dirty);
  roam_list_push_back(&r->hung_dirty, &h->dirty);
  roam_rc rc = roam_map64_put(&r->handles, h->handle, &h->ref); /* replaces: needs no memory */
  ROAM_ASSERT(rc == 0);
  (void)rc;
  c->hung = NULL;
  c->server = 0;
}

void roam_relay_tcp_forget(struct roam_relay *r, struct roam_nat_mapping *m) {
  struct relay_conn *c = m->owner;
  roam_nat_mapping_free(m);
  r->stats.tcp_mappings--;
  c->mapping = NULL;
  c->forgotten = true;
  c->way[ROAM_OUT].due = c->way[ROAM_OUT].lent;
  if (c->server != 0 && c->opened) {
    hang_server(r, c);
    end_if_over(r, c);
  } else if (c->asked && c->server != 0) {
    break_both(r, c);
  } else {
    lose_half(r, c, &c->server);
  }
  if (c->client == 0 && c->server == 0) return;
  set_timer(r, c);
  mark_dirty(r, c);
}

/* ---- what is drained ---- */

static bool emit_open(struct roam_relay *r, struct relay_out *out, struct relay_conn *c) {
  if (!c->asking || c->asked || c->server == 0) return true;
  roam_wire *unit = relay_unit(out, ROAM_WIRE_OPEN, c->server);
  if (!unit) return false;
  unit->local = roam_addr_with_port(r->o.address, 0);
  unit->remote = r->o.server;
  c->asked = true;
  return true;
}

static uint32_t receiver(const struct relay_conn *c, roam_dir dir) {
  return dir == ROAM_OUT ? (c->opened ? c->server : 0) : c->client;
}

static bool emit_data(struct roam_relay *r, struct relay_out *out, struct relay_conn *c, roam_dir dir) {
  struct way *w = &c->way[dir];
  uint32_t handle = receiver(c, dir);
  size_t len = w->due - w->lent < w->room ? w->due - w->lent : (size_t)w->room;
  if (handle == 0 || len == 0) return true;
  roam_wire *unit = relay_unit(out, ROAM_WIRE_DATA, handle);
  if (!unit) return false;
  unit->data = roam_buf_view(&w->bytes).base + w->lent;
  unit->len = len;
  w->lent += len;
  w->room -= len;
  r->stats.bytes[dir] += len;
  roam_list_remove(&c->lent);
  roam_list_push_back(&r->conns_lent, &c->lent);
  return true;
}

static bool emit_credit(struct roam_relay *r, struct relay_out *out, struct relay_conn *c, roam_dir dir) {
  struct way *w = &c->way[dir];
  uint32_t handle = receiver(c, !dir); /* who sends in this direction receives in the other */
  size_t all = r->o.tcp_buffer_bytes;
  uint64_t taken = roam_buf_len(&w->bytes) - w->lent + w->granted;
  if (handle == 0 || w->ending || taken >= all || all - taken < all / 4) return true;
  roam_wire *unit = relay_unit(out, ROAM_WIRE_CREDIT, handle);
  if (!unit) return false;
  unit->credit = all - taken;
  w->granted += unit->credit;
  return true;
}

static bool emit_close(struct roam_relay *r, struct relay_out *out, struct relay_conn *c, roam_dir dir) {
  struct way *w = &c->way[dir];
  uint32_t *half = dir == ROAM_OUT ? &c->server : &c->client;
  if (!w->ended || *half == 0) return true;
  bool resets = w->how == ROAM_CLOSE_RESET;
  if (!resets && (receiver(c, dir) == 0 || roam_buf_len(&w->bytes) > w->lent)) return true;
  if (dir == ROAM_IN || c->asked) { /* what was never opened needs no closing */
    roam_wire *unit = relay_unit(out, ROAM_WIRE_CLOSE, *half);
    if (!unit) return false;
    unit->how = w->how;
  }
  lose_half(r, c, half);
  return true;
}

/* False when the array was full before all was said. */
static bool emit_conn(struct roam_relay *r, struct relay_out *out, struct relay_conn *c) {
  if (!emit_open(r, out, c)) return false;
  for (int dir = 0; dir < 2; dir++) {
    if (!emit_data(r, out, c, dir) || !emit_credit(r, out, c, dir) || !emit_close(r, out, c, dir)) return false;
  }
  return true;
}

static bool emit_hung(struct roam_relay *r, struct relay_out *out, struct hung *h) {
  roam_wire *unit = relay_unit(out, ROAM_WIRE_CLOSE, h->handle);
  if (!unit) return false;
  unit->how = h->gives_up ? ROAM_CLOSE_RESET : ROAM_CLOSE_HANG;
  if (h->gives_up) {
    roam_relay_tcp_hung_closed(r, h);
    return true;
  }
  h->hangs = true;
  roam_list_remove(&h->dirty);
  roam_list_push_back(&r->hung, &h->node);
  if (++r->hung_count <= r->o.hanging_max) return true;
  struct hung *oldest = ROAM_CONTAINER(roam_list_first(&r->hung), struct hung, node);
  roam_list_remove(&oldest->node);
  oldest->gives_up = true;
  roam_list_push_front(&r->hung_dirty, &oldest->dirty);
  return true;
}

void roam_relay_tcp_drain(struct roam_relay *r, struct relay_out *out) {
  uint32_t handle;
  while (roam_ring_count(&r->refused) > 0) {
    roam_wire *unit = relay_unit(out, ROAM_WIRE_CLOSE, 0);
    if (!unit) return;
    roam_ring_pop(&r->refused, &handle);
    unit->handle = handle;
    unit->how = ROAM_CLOSE_RESET;
  }
  for (struct roam_list *node; (node = roam_list_first(&r->hung_dirty)) != NULL;) {
    if (!emit_hung(r, out, ROAM_CONTAINER(node, struct hung, dirty))) return;
  }
  for (struct roam_list *node; (node = roam_list_first(&r->conns_dirty)) != NULL;) {
    if (!emit_conn(r, out, ROAM_CONTAINER(node, struct relay_conn, dirty))) return;
    roam_list_remove(node);
  }
}

void roam_relay_tcp_settle(struct roam_relay *r) {
  for (struct roam_list *node; (node = roam_list_pop_front(&r->conns_lent)) != NULL;) {
    struct relay_conn *c = ROAM_CONTAINER(node, struct relay_conn, lent);
    for (int dir = 0; dir < 2; dir++) {
      struct way *w = &c->way[dir];
      roam_buf_take(&w->bytes, w->lent);
      w->due -= w->lent;
      w->lent = 0;
    }
    if (c->client != 0 || c->server != 0) mark_dirty(r, c);
  }
  for (struct roam_list *node; (node = roam_list_pop_front(&r->conns_gone)) != NULL;) {
    free_conn(ROAM_CONTAINER(node, struct relay_conn, node));
  }
}

void roam_relay_tcp_free(struct roam_relay *r) {
  roam_relay_tcp_settle(r);
  roam_heap_reset(&r->timers);
  ROAM_LIST_EACH(&r->conns, node) free_conn(ROAM_CONTAINER(node, struct relay_conn, node));
  ROAM_LIST_EACH(&r->hung, node) free(ROAM_CONTAINER(node, struct hung, node));
  ROAM_LIST_EACH(&r->hung_dirty, node) free(ROAM_CONTAINER(node, struct hung, dirty));
  roam_ring_reset(&r->refused);
}
