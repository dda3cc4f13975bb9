/* pipe.c - TCP as a model: ordered bytes through the same hops as datagrams, so that delay, rate, loss and NAT apply. It
 * exists to compare behaviour, and is no evidence about TCP: it has no selective acknowledgement, no delayed
 * acknowledgement, no TIME-WAIT, and its ends close both ways at once.
 *
 * Theory of operation. Each end of a connection is a struct sim_pipe; a segment is a parcel (protocol 6) with a small
 * header in its data: type, sequence number, acknowledgement, and how far the receiver's machine will take bytes (its
 * CREDIT, so the window is exactly what the machine has granted). SYN and SYNACK are repeated until answered. Bytes are
 * sent while both that window and a congestion window (slow start, halved on loss) allow; what comes out of order is thrown
 * away; three equal acknowledgements or a timer make the sender go back to the first unacknowledged byte. FIN takes one
 * number after the last byte. Both ends are found by their address pair as their own host sees it, so a NAT in between just
 * works, and one that has forgotten answers with a reset (see nat.c) while the other side's segments vanish: its end hangs
 * until it gives up.
 *
 * A segment for nobody is answered with a reset, as a kernel does. An end whose machine has gone vanishes without a word.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "sim/world.h"

enum {
  TCP = 6,
  MSS = 1400,
  HEADER = 40,
  TRIES_MAX = 15,
  SYN_TRIES_MAX = 6,
  DUPLICATES = 3
};
#define FIRST_RTO (UINT64_C(1000) * ROAM_MS)
#define LEAST_RTO (UINT64_C(200) * ROAM_MS)
#define MOST_RTO (UINT64_C(60) * ROAM_S)

enum type {
  SYN = 1,
  SYNACK,
  DATA,
  ACK,
  FIN,
  PROBE
};

struct segment {
  uint8_t type;
  uint64_t seq, ack, edge;
};

enum state {
  SYN_SENT,
  SYN_RECEIVED,
  OPEN,
  CLOSING,
  HUNG
};

/* One end. Invariant: in host->pipes under (local, remote); port.machine is NULL once its machine has let go of it
 * (CLOSING, HUNG). Numbers count bytes from 0; una <= next <= una + out.len (+ 1 for FIN). */
struct sim_pipe {
  struct sim_port port; /* first */
  roam_addr key[2];     /* local, remote */
  struct roam_host *host;
  struct roam_list node; /* host->pipe_list */
  struct sim_timer timer;
  enum state state;
  struct roam_buf out;         /* bytes from una on */
  uint64_t una, next, highest; /* acknowledged; next to send; one past the highest sent */
  uint64_t peer_edge;          /* the peer takes bytes below this */
  uint64_t cwnd, ssthresh;
  uint64_t got, edge;            /* received in order; what our machine takes */
  uint64_t acked_untold;         /* acknowledged bytes for which no CREDIT was given yet */
  uint64_t srtt, rto, timed_seq; /* timed_seq: an acknowledgement from here on gives a round trip; 0 = none */
  roam_time timed_at;
  uint32_t tries, duplicates;
  uint32_t parent;               /* SYN_RECEIVED: the listener's handle */
  uint64_t fin_seq;              /* FIN's number once sent */
  bool fin, fin_sent, forgotten; /* fin: FIN follows the last byte */
};

static struct roam_world *world_of(const struct sim_pipe *p) { return p->host->world; }

/* ---- segments ---- */

static void write_u64(uint8_t *to, uint64_t v) {
  for (int i = 0; i < 8; i++) to[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t read_u64(const uint8_t *from) {
  uint64_t v = 0;
  for (int i = 0; i < 8; i++) v |= (uint64_t)from[i] << (8 * i);
  return v;
}

static roam_parcel *make_segment(const struct segment *s, const uint8_t *bytes, size_t n) {
  roam_parcel *parcel = roam_parcel_new(NULL, HEADER + n);
  if (!parcel) return NULL;
  memset(parcel->data, 0, HEADER);
  parcel->data[0] = s->type;
  write_u64(parcel->data + 8, s->seq);
  write_u64(parcel->data + 16, s->ack);
  write_u64(parcel->data + 24, s->edge);
  if (n > 0) memcpy(parcel->data + HEADER, bytes, n);
  parcel->proto = TCP;
  parcel->flags = s->type == SYN ? ROAM_PARCEL_SYN : 0;
  return parcel;
}

static bool read_segment(const roam_parcel *parcel, struct segment *s) {
  if (parcel->len < HEADER) return false;
  *s = (struct segment){parcel->data[0], read_u64(parcel->data + 8), read_u64(parcel->data + 16),
                        read_u64(parcel->data + 24)};
  return true;
}

static void send_parcel(struct roam_host *h, const roam_addr *src, const roam_addr *dst, roam_parcel *parcel) {
  if (!parcel) {
    h->world->failed = ROAM_E_MEMORY;
    return;
  }
  parcel->src = *src;
  parcel->dst = *dst;
  struct sim_iface *iface = roam_sim_iface(h->world, src);
  if (iface && iface->up) roam_sim_send(h->world, iface, parcel);
  else roam_parcel_free(parcel);
}

static void send_segment(struct sim_pipe *p, uint8_t type, uint64_t seq, const uint8_t *bytes, size_t n) {
  struct segment s = {type, seq, p->got, p->edge};
  if (p->forgotten) return; /* the far half hears nothing any more */
  send_parcel(p->host, &p->key[0], &p->key[1], make_segment(&s, bytes, n));
}

static void send_reset(struct roam_host *h, const roam_addr *local, const roam_addr *remote) {
  struct segment s = {.type = ACK};
  roam_parcel *parcel = make_segment(&s, NULL, 0);
  if (parcel) parcel->flags = ROAM_PARCEL_RST;
  send_parcel(h, local, remote, parcel);
}

/* ---- life of an end ---- */

static void fire_pipe(struct roam_world *w, struct sim_timer *timer);

static struct sim_pipe *new_pipe(struct sim_machine *m, uint32_t handle, const roam_addr *local, const roam_addr *remote) {
  struct roam_host *h = m->host;
  struct sim_pipe *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  *p = (struct sim_pipe){.port = {.kind = SIM_PIPE, .handle = handle, .local = *local},
                         .key = {*local, *remote},
                         .host = h,
                         .timer = {.fire = fire_pipe},
                         .cwnd = 10 * MSS,
                         .ssthresh = UINT64_MAX,
                         .edge = ROAM_CREDIT_START,
                         .rto = FIRST_RTO};
  roam_buf_init(&p->out, 4 * ROAM_CREDIT_START);
  if (roam_map_get(&h->pipes, p->key, sizeof p->key) || roam_map_put(&h->pipes, p->key, sizeof p->key, p) != 0) {
    free(p);
    return NULL;
  }
  if (roam_sim_port_add(m, &p->port) != 0) {
    roam_map_remove(&h->pipes, p->key, sizeof p->key);
    free(p);
    return NULL;
  }
  roam_list_push_back(&h->pipe_list, &p->node);
  return p;
}

static void detach(struct sim_pipe *p) {
  if (!p->port.machine) return;
  roam_sim_port_remove(&p->port);
  p->port.machine = NULL;
}

static void end_pipe(struct sim_pipe *p) {
  detach(p);
  roam_heap_remove(&world_of(p)->timers, &p->timer.node);
  roam_map_remove(&p->host->pipes, p->key, sizeof p->key);
  roam_list_remove(&p->node);
  roam_buf_reset(&p->out);
  free(p);
}

static void tell(struct sim_pipe *p, uint8_t kind, int error, uint64_t credit) {
  if (!p->port.machine) return;
  roam_wire unit = {.kind = kind,
                    .handle = p->port.handle,
                    .parent = p->parent,
                    .error = error,
                    .local = p->key[0],
                    .remote = p->key[1],
                    .credit = credit};
  roam_sim_feed(p->port.machine, &unit, NULL, NULL);
}

/* Stays in the table without a machine, so that what the far half sends is not even answered with a reset. */
static void fall_mute(struct sim_pipe *p) {
  detach(p);
  p->state = HUNG;
  roam_sim_timer_set(world_of(p), &p->timer, ROAM_NEVER);
}

/* The machine learns that it is over; the end goes, or stays mute where a NAT has forgotten it. */
static void end_with(struct sim_pipe *p, int error) {
  bool opening = p->state == SYN_SENT;
  roam_sim_trace_addr(world_of(p), error ? "reset" : "closed", p->host->name, &p->key[0], &p->key[1]);
  if (p->state != SYN_RECEIVED) tell(p, opening ? ROAM_WIRE_FAILED : ROAM_WIRE_CLOSE, error, 0);
  if (p->forgotten) fall_mute(p);
  else end_pipe(p);
}

/* ---- sending ---- */

static uint64_t end_of_bytes(const struct sim_pipe *p) { return p->una + roam_buf_len(&p->out); }

static void set_timer(struct sim_pipe *p) {
  bool waits = p->state == SYN_SENT || p->state == SYN_RECEIVED || p->highest > p->una ||
               (p->next < end_of_bytes(p) && p->next >= p->peer_edge);
  roam_sim_timer_set(world_of(p), &p->timer, waits && p->state != HUNG ? world_of(p)->now + p->rto : ROAM_NEVER);
}

static void send_next(struct sim_pipe *p) {
  uint64_t all = end_of_bytes(p), window = p->una + p->cwnd;
  uint64_t limit = p->peer_edge < window ? p->peer_edge : window;
  while (p->next < all && p->next < limit) {
    uint64_t n = all - p->next < MSS ? all - p->next : MSS;
    if (n > limit - p->next) n = limit - p->next;
    if (p->timed_seq == 0 && p->next >= p->highest) {
      p->timed_seq = p->next + n;
      p->timed_at = world_of(p)->now;
    }
    send_segment(p, DATA, p->next, roam_buf_view(&p->out).base + (p->next - p->una), (size_t)n);
    p->next += n;
    if (p->next > p->highest) p->highest = p->next;
  }
  if (p->fin && p->next == all) {
    p->fin_sent = true;
    p->fin_seq = all;
    send_segment(p, FIN, p->next++, NULL, 0);
    if (p->next > p->highest) p->highest = p->next;
  }
}

/* Sends what may be sent; begins the timer when it is not running. */
static void push(struct sim_pipe *p) {
  if (p->state != OPEN && p->state != CLOSING) return;
  send_next(p);
  if (p->timer.node.index == 0) set_timer(p);
}

static void go_back(struct sim_pipe *p) {
  uint64_t half = (p->highest - p->una) / 2;
  p->ssthresh = half > 2 * MSS ? half : 2 * MSS;
  p->next = p->una;
  p->timed_seq = 0; /* whose acknowledgement it would be is not known */
  p->duplicates = 0;
}

static void fire_pipe(struct roam_world *w, struct sim_timer *timer) {
  struct sim_pipe *p = ROAM_CONTAINER(timer, struct sim_pipe, timer);
  (void)w;
  bool opening = p->state == SYN_SENT || p->state == SYN_RECEIVED;
  if (++p->tries > (opening ? SYN_TRIES_MAX : TRIES_MAX)) {
    end_with(p, ETIMEDOUT);
    return;
  }
  p->rto = p->rto * 2 < MOST_RTO ? p->rto * 2 : MOST_RTO;
  if (opening) {
    send_segment(p, p->state == SYN_SENT ? SYN : SYNACK, 0, NULL, 0);
  } else if (p->highest > p->una) {
    go_back(p);
    p->cwnd = MSS;
    send_next(p);
  } else {
    send_segment(p, PROBE, p->next, NULL, 0); /* is the window still shut? */
  }
  set_timer(p);
}

/* ---- receiving ---- */

static void take_sample(struct sim_pipe *p) {
  uint64_t rtt = world_of(p)->now - p->timed_at;
  p->srtt = p->srtt == 0 ? rtt : (7 * p->srtt + rtt) / 8;
  p->timed_seq = 0;
}

static void grow_window(struct sim_pipe *p, uint64_t acked) {
  if (p->cwnd < p->ssthresh) p->cwnd += acked;
  else p->cwnd += MSS * acked / p->cwnd;
  if (p->cwnd > UINT64_C(1) << 30) p->cwnd = UINT64_C(1) << 30;
}

static void give_credit(struct sim_pipe *p, uint64_t bytes) {
  p->acked_untold += bytes;
  if (p->acked_untold == 0 || (p->acked_untold < ROAM_CREDIT_START / 8 && roam_buf_len(&p->out) > 0)) return;
  tell(p, ROAM_WIRE_CREDIT, 0, p->acked_untold);
  p->acked_untold = 0;
}

static void take_ack(struct sim_pipe *p, const struct segment *s) {
  bool wider = s->edge > p->peer_edge;
  if (wider) p->peer_edge = s->edge;
  if (s->ack > p->highest) return;
  if (p->highest == p->una) p->tries = 0; /* the peer is there, only its window is shut */
  if (s->ack > p->una) {
    uint64_t bytes = s->ack - p->una, held = roam_buf_len(&p->out);
    if (bytes > held) bytes = held; /* the rest is FIN */
    roam_buf_take(&p->out, (size_t)bytes);
    p->una = s->ack;
    if (p->next < p->una) p->next = p->una;
    p->tries = p->duplicates = 0;
    if (p->timed_seq != 0 && s->ack >= p->timed_seq) take_sample(p);
    p->rto = p->srtt == 0 ? FIRST_RTO : 2 * p->srtt + LEAST_RTO;
    grow_window(p, bytes);
    give_credit(p, bytes);
    set_timer(p);
  } else if (p->highest > p->una && !wider && s->type == ACK && ++p->duplicates == DUPLICATES) {
    go_back(p);
    p->cwnd = p->ssthresh;
  }
}

static void become_open(struct sim_pipe *p) {
  bool accepting = p->state == SYN_RECEIVED;
  p->state = OPEN;
  p->tries = 0;
  p->rto = FIRST_RTO;
  roam_sim_trace_addr(world_of(p), accepting ? "accept" : "open", p->host->name, &p->key[0], &p->key[1]);
  tell(p, accepting ? ROAM_WIRE_ACCEPT : ROAM_WIRE_OPENED, 0, 0);
  set_timer(p);
}

/* Keeps the parcel when its bytes go to the machine; true then. */
static bool take_bytes(struct sim_pipe *p, const struct segment *s, roam_parcel *parcel) {
  size_t len = parcel->len - HEADER;
  if (s->type != DATA) return false;
  bool fits = s->seq <= p->got && s->seq + len > p->got && p->state == OPEN && s->seq + len <= p->edge &&
              !roam_ring_full(&p->port.machine->inbox);
  if (!fits) {
    send_segment(p, ACK, p->next, NULL, 0);
    return false;
  }
  size_t skip = (size_t)(p->got - s->seq);
  p->got = s->seq + len;
  roam_wire unit = {
      .kind = ROAM_WIRE_DATA, .handle = p->port.handle, .data = parcel->data + HEADER + skip, .len = len - skip};
  roam_sim_feed(p->port.machine, &unit, parcel, NULL);
  send_segment(p, ACK, p->next, NULL, 0);
  return true;
}

/* True when the end is over. */
static bool take_fin(struct sim_pipe *p, const struct segment *s) {
  if (s->type != FIN || s->seq > p->got) return false;
  if (s->seq == p->got) p->got++;
  send_segment(p, ACK, p->next, NULL, 0);
  if (p->state != OPEN) return false; /* both close at once: ours is still to be acknowledged */
  end_with(p, 0);
  return true;
}

static bool is_flushed(const struct sim_pipe *p) { return p->fin_sent && p->una > p->fin_seq; }

/* Keeps the parcel when it returns true. */
static bool take_segment(struct sim_pipe *p, const struct segment *s, roam_parcel *parcel) {
  if (p->state == SYN_SENT) {
    if (s->type != SYNACK) return false;
    p->peer_edge = s->edge;
    become_open(p);
    send_segment(p, ACK, p->next, NULL, 0);
    push(p);
    return false;
  }
  if (s->type == SYN || s->type == SYNACK) { /* said before: the answer was lost */
    send_segment(p, s->type == SYN ? SYNACK : ACK, p->next, NULL, 0);
    return false;
  }
  if (p->state == SYN_RECEIVED) become_open(p);
  take_ack(p, s);
  bool kept = take_bytes(p, s, parcel);
  if (s->type == PROBE) send_segment(p, ACK, p->next, NULL, 0);
  if (take_fin(p, s)) return kept;
  if (is_flushed(p)) end_pipe(p);
  else push(p);
  return kept;
}

/* A SYN for a listener makes an end; false: nobody listens. */
static bool accept_syn(struct roam_host *h, const struct segment *s, const roam_parcel *parcel) {
  struct sim_port *listener = roam_sim_port_find(h, TCP, &parcel->dst);
  if (!listener || listener->kind != SIM_LISTENER) return false;
  if (listener->sharers > 1) listener = roam_sim_port_choose(listener, &parcel->src, UINT32_MAX);
  struct sim_machine *m = listener->machine;
  while (roam_map64_get(&m->handles, m->edge_next)) m->edge_next = (m->edge_next + 1) | ROAM_HANDLE_EDGE;
  struct sim_pipe *p = new_pipe(m, m->edge_next, &parcel->dst, &parcel->src);
  if (!p) return true; /* no room: as if the SYN were lost */
  m->edge_next = (m->edge_next + 1) | ROAM_HANDLE_EDGE;
  p->state = SYN_RECEIVED;
  p->parent = listener->handle;
  p->peer_edge = s->edge;
  send_segment(p, SYNACK, 0, NULL, 0);
  set_timer(p);
  return true;
}

static void take_reset(struct sim_pipe *p) {
  if (p->state == CLOSING) end_pipe(p);
  else end_with(p, p->state == SYN_SENT ? ECONNREFUSED : ECONNRESET);
}

void roam_sim_pipe_segment(struct roam_world *w, struct sim_iface *to, roam_parcel *parcel) {
  struct roam_host *h = to->host;
  roam_addr key[2] = {parcel->dst, parcel->src};
  struct sim_pipe *p = roam_map_get(&h->pipes, key, sizeof key);
  struct segment s;
  bool kept = false;
  roam_sim_trace_parcel(w, "recv", h->name, parcel);
  if (p && (p->forgotten || p->state == HUNG)) {
    /* silence */
  } else if (parcel->flags & ROAM_PARCEL_RST) {
    if (p) take_reset(p);
  } else if (!read_segment(parcel, &s)) {
    /* nothing of ours */
  } else if (p) {
    kept = take_segment(p, &s, parcel);
  } else if (s.type != SYN || !accept_syn(h, &s, parcel)) {
    send_reset(h, &key[0], &key[1]);
  }
  if (!kept) roam_parcel_free(parcel);
}

/* ---- what machines ask ---- */

static void fail(struct sim_machine *m, const roam_wire *unit, int error) {
  roam_wire failed = {.kind = ROAM_WIRE_FAILED, .handle = unit->handle, .error = error};
  roam_sim_feed(m, &failed, NULL, NULL);
}

void roam_sim_pipe_listen(struct sim_machine *m, const roam_wire *unit) {
  struct roam_host *h = m->host;
  roam_addr local = unit->local;
  int error = 0;
  if (!roam_addr_is_any(&local) && !roam_sim_iface_choose(h, &local, NULL, 0, &error)) {
    fail(m, unit, EADDRNOTAVAIL);
    return;
  }
  if (local.port == 0) local.port = roam_sim_port_draw(h, TCP);
  bool taken = roam_sim_port_taken(h, TCP, &local, unit);
  struct sim_port *port = taken || local.port == 0 ? NULL : calloc(1, sizeof *port);
  if (port)
    *port = (struct sim_port){.kind = SIM_LISTENER, .handle = unit->handle, .local = local, .sharers = unit->parent};
  if (!port || roam_map64_get(&m->handles, unit->handle) || roam_sim_port_add(m, port) != 0) {
    free(port);
    fail(m, unit, EADDRINUSE);
    return;
  }
  roam_sim_trace_addr(h->world, "listen", h->name, &local, NULL);
  roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = unit->handle, .local = local};
  roam_sim_feed(m, &bound, NULL, NULL);
}

/* An ephemeral port that is free towards this remote. */
static bool draw_local(struct roam_host *h, roam_addr *local, const roam_addr *remote) {
  for (int i = 0; i < 1024; i++) {
    roam_addr key[2] = {roam_addr_with_port(*local, roam_sim_port_draw(h, TCP)), *remote};
    if (key[0].port == 0) return false;
    if (roam_map_get(&h->pipes, key, sizeof key)) continue;
    *local = key[0];
    return true;
  }
  return false;
}

void roam_sim_pipe_open(struct sim_machine *m, const roam_wire *unit) {
  struct roam_host *h = m->host;
  int error = 0;
  if (unit->remote.family == 0) { /* no host here has Unix sockets */
    fail(m, unit, ENOENT);
    return;
  }
  struct sim_iface *iface = roam_sim_iface_choose(h, &unit->local, unit->name, unit->remote.family, &error);
  if (!iface) {
    fail(m, unit, error);
    return;
  }
  roam_addr local = roam_addr_with_port(iface->address, unit->local.port);
  struct sim_pipe *p = NULL;
  bool has_port = local.port != 0 || draw_local(h, &local, &unit->remote);
  if (has_port && !roam_map64_get(&m->handles, unit->handle)) p = new_pipe(m, unit->handle, &local, &unit->remote);
  if (!p) {
    fail(m, unit, has_port ? EADDRINUSE : EADDRNOTAVAIL);
    return;
  }
  p->state = SYN_SENT;
  send_segment(p, SYN, 0, NULL, 0);
  set_timer(p);
}

static void take_data(struct sim_pipe *p, const roam_wire *unit) {
  if (unit->len == 0) return;
  if (p->forgotten) {
    end_with(p, ECONNRESET);
    return;
  }
  roam_rc rc = roam_buf_put(&p->out, unit->data, unit->len);
  if (rc == 0) push(p);
  else end_with(p, rc == ROAM_E_MEMORY ? ENOBUFS : EPIPE); /* beyond all credit */
}

static void close_pipe(struct sim_pipe *p, uint8_t how) {
  static const char *const words[] = {"close", "abort", "hang"};
  roam_sim_trace_addr(world_of(p), words[how <= ROAM_CLOSE_HANG ? how : ROAM_CLOSE_RESET], p->host->name, &p->key[0],
                      &p->key[1]);
  if (how == ROAM_CLOSE_HANG) { /* the machine keeps the handle, to close it for good later */
    p->state = HUNG;
    roam_sim_timer_set(world_of(p), &p->timer, ROAM_NEVER);
  } else if (how == ROAM_CLOSE_FLUSH && p->state == OPEN && !p->forgotten) {
    detach(p);
    p->state = CLOSING;
    p->fin = true;
    push(p);
  } else if (p->forgotten) {
    fall_mute(p);
  } else {
    if (p->state != SYN_SENT) send_reset(p->host, &p->key[0], &p->key[1]);
    end_pipe(p);
  }
}

static void close_listener(struct sim_port *port) {
  roam_sim_trace_addr(port->machine->host->world, "unlisten", port->machine->host->name, &port->local, NULL);
  roam_sim_port_remove(port);
  free(port);
}

void roam_sim_pipe_unit(struct sim_machine *m, struct sim_port *port, const roam_wire *unit) {
  (void)m;
  if (port->kind == SIM_LISTENER) {
    if (unit->kind == ROAM_WIRE_CLOSE) close_listener(port);
    return;
  }
  struct sim_pipe *p = ROAM_CONTAINER(port, struct sim_pipe, port);
  if (unit->kind == ROAM_WIRE_CLOSE) {
    close_pipe(p, unit->how);
  } else if (p->state == HUNG) {
    return;
  } else if (unit->kind == ROAM_WIRE_DATA) {
    take_data(p, unit);
  } else if (unit->credit > 0) {
    p->edge = unit->credit < UINT64_MAX - p->edge ? p->edge + unit->credit : UINT64_MAX;
    if (p->state == OPEN) send_segment(p, ACK, p->next, NULL, 0);
  }
}

void roam_sim_pipe_abandon(struct sim_port *port) { end_pipe(ROAM_CONTAINER(port, struct sim_pipe, port)); }

void roam_sim_pipe_forget(struct roam_host *h, const struct sim_iface *iface) {
  ROAM_LIST_EACH(&h->pipe_list, node) {
    struct sim_pipe *p = ROAM_CONTAINER(node, struct sim_pipe, node);
    if (roam_addr_same_ip(&p->key[0], &iface->address)) p->forgotten = true;
  }
}

void roam_sim_pipe_free_all(struct roam_host *h) {
  for (struct roam_list *node; (node = roam_list_first(&h->pipe_list)) != NULL;) {
    end_pipe(ROAM_CONTAINER(node, struct sim_pipe, node));
  }
}
