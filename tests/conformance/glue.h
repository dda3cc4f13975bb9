/* glue.h - machines glued together in memory, in virtual time: an edge that owns sockets and connections which exist only
 * here. No layer above transport is needed, so a transport can be tried before a simulator exists. One header because unit
 * tests are one file. */
#ifndef GLUE_H
#define GLUE_H

#include <errno.h>
#include <roamqtt/wire.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum {
  GLUE_NODES = 4,
  GLUE_SOCKETS = 4096,
  GLUE_PIPES = 2048,
  GLUE_BATCH = 64
};

struct glue_flight { /* something under way to a socket or a pipe's end */
  struct glue_flight *next;
  roam_time at;
  int node; /* -1: looked up by address on arrival */
  roam_wire unit;
  size_t len;
  uint8_t bytes[];
};

struct glue_socket {
  int node;
  uint32_t handle;
  roam_addr local, remote;
  bool used;
};

struct glue_end { /* of a byte connection */
  int node;
  uint32_t handle;
  bool gone;
  uint64_t credit; /* bytes its machine will still take */
};

struct glue_pipe {
  bool used;
  struct glue_end end[2];
  roam_addr addr[2];
};

struct glue;
/* What happens to a datagram on its way out of a socket: false = lost. May change addresses and bytes. */
typedef bool (*glue_hook)(struct glue *g, roam_wire *unit, uint8_t *bytes, size_t *len);

struct glue {
  roam_time now;
  roam_machine machine[GLUE_NODES];
  roam_addr ip[GLUE_NODES];
  int nodes;
  uint64_t delay_ns; /* one way */
  uint32_t loss_ppm;
  bool refuse;       /* a datagram to nobody comes back as SENDFAIL */
  bool silent_tcp;   /* OPEN is never answered */
  bool trains;       /* deliver trains whole */
  glue_hook out, in; /* after leaving the socket; before the address is looked up */
  void *context;
  struct roam_rng rng;
  struct glue_flight *flights;
  struct glue_socket socket[GLUE_SOCKETS];
  struct glue_pipe pipe[GLUE_PIPES];
  uint16_t port_next;
  uint32_t edge_next;
  uint64_t datagrams, units, bytes, turns;
  uint64_t unit_units; /* DATAGRAM units seen, trains counted once */
};

static inline struct glue *glue_new(uint64_t seed, uint64_t delay_ns) {
  struct glue *g = calloc(1, sizeof *g);
  if (!g) abort();
  g->now = ROAM_S;
  g->delay_ns = delay_ns;
  g->port_next = 40000;
  g->trains = true;
  roam_rng_init(&g->rng, seed);
  return g;
}

static inline void glue_free(struct glue *g) {
  while (g->flights) {
    struct glue_flight *f = g->flights;
    g->flights = f->next;
    free(f);
  }
  free(g);
}

static inline int glue_add(struct glue *g, roam_machine m, const char *ip) {
  if (g->nodes == GLUE_NODES || roam_addr_parse(ip, &g->ip[g->nodes]) != 0) abort();
  g->machine[g->nodes] = m;
  return g->nodes++;
}

static inline struct glue_flight *glue_put(struct glue *g, roam_time at, int node, const roam_wire *unit) {
  struct glue_flight *f = malloc(sizeof *f + unit->len), **where = &g->flights;
  if (!f) abort();
  f->at = at;
  f->node = node;
  f->unit = *unit;
  f->len = unit->len;
  if (unit->len) memcpy(f->bytes, unit->data, unit->len);
  while (*where && (*where)->at <= at) where = &(*where)->next;
  f->next = *where;
  *where = f;
  return f;
}

static inline struct glue_socket *glue_socket_of(struct glue *g, int node, uint32_t handle) {
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (g->socket[i].used && g->socket[i].node == node && g->socket[i].handle == handle) return &g->socket[i];
  return NULL;
}

static inline struct glue_socket *glue_socket_at(struct glue *g, const roam_addr *addr) {
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (g->socket[i].used && roam_addr_equal(&g->socket[i].local, addr)) return &g->socket[i];
  return NULL;
}

static inline void glue_bind(struct glue *g, int node, const roam_wire *u, bool listen) {
  roam_wire answer = {.kind = ROAM_WIRE_BOUND, .handle = u->handle, .local = u->local, .remote = u->remote};
  if (roam_addr_is_any(&answer.local)) {
    uint16_t port = answer.local.port;
    answer.local = g->ip[node];
    answer.local.port = port;
  }
  if (answer.local.port == 0) answer.local.port = g->port_next++;
  struct glue_socket *slot = NULL;
  for (size_t i = 0; i < GLUE_SOCKETS && !slot; i++)
    if (!g->socket[i].used) slot = &g->socket[i];
  if (!slot || glue_socket_at(g, &answer.local)) {
    answer.kind = ROAM_WIRE_FAILED;
    answer.error = slot ? EADDRINUSE : EMFILE;
  } else {
    *slot = (struct glue_socket){node, u->handle, answer.local, listen ? (roam_addr){0} : u->remote, true};
  }
  glue_put(g, g->now, node, &answer);
}

static inline void glue_datagram(struct glue *g, int node, const roam_wire *u) {
  struct glue_socket *s = glue_socket_of(g, node, u->handle);
  size_t step = u->segment && !g->trains ? u->segment : u->len;
  g->unit_units++;
  if (!s) return;
  if (g->out || g->loss_ppm) step = u->segment ? u->segment : u->len;
  for (size_t at = 0; at < u->len; at += step) {
    size_t len = u->len - at < step ? u->len - at : step;
    roam_wire one = *u;
    one.data = u->data + at;
    one.len = len;
    one.segment = u->segment && len > u->segment ? u->segment : 0;
    one.parent = u->handle; /* the sender's, for SENDFAIL */
    one.error = node;
    g->datagrams += one.segment ? (len + one.segment - 1) / one.segment : 1;
    g->bytes += len;
    if (g->loss_ppm && roam_random_ppm(&g->rng.random, g->loss_ppm)) continue;
    struct glue_flight *f = glue_put(g, g->now + g->delay_ns, -1, &one);
    if (g->out && !g->out(g, &f->unit, f->bytes, &f->len)) f->len = 0, f->unit.len = 0;
  }
}

static inline struct glue_pipe *glue_pipe_of(struct glue *g, int node, uint32_t handle, int *end) {
  for (size_t i = 0; i < GLUE_PIPES; i++) {
    for (*end = 0; *end < 2; ++*end) {
      struct glue_end *e = &g->pipe[i].end[*end];
      if (g->pipe[i].used && !e->gone && e->node == node && e->handle == handle) return &g->pipe[i];
    }
  }
  return NULL;
}

static inline void glue_open(struct glue *g, int node, const roam_wire *u) {
  roam_wire answer = {.kind = ROAM_WIRE_OPENED, .handle = u->handle, .local = u->local, .remote = u->remote};
  struct glue_socket *l = glue_socket_at(g, &u->remote);
  if (g->silent_tcp) return;
  if (roam_addr_is_any(&answer.local)) answer.local = g->ip[node];
  if (answer.local.port == 0) answer.local.port = g->port_next++;
  if (!l) {
    answer.kind = ROAM_WIRE_FAILED;
    answer.error = ECONNREFUSED;
    glue_put(g, g->now + 2 * g->delay_ns, node, &answer);
    return;
  }
  for (size_t i = 0; i < GLUE_PIPES; i++) {
    struct glue_pipe *p = &g->pipe[i];
    if (p->used) continue;
    uint32_t handle = ROAM_HANDLE_EDGE | ++g->edge_next;
    *p = (struct glue_pipe){true,
                            {{node, u->handle, false, ROAM_CREDIT_START}, {l->node, handle, false, ROAM_CREDIT_START}},
                            {answer.local, u->remote}};
    roam_wire accept = {
        .kind = ROAM_WIRE_ACCEPT, .handle = handle, .parent = l->handle, .local = u->remote, .remote = answer.local};
    glue_put(g, g->now + g->delay_ns, l->node, &accept);
    glue_put(g, g->now + 2 * g->delay_ns, node, &answer);
    return;
  }
  abort();
}

static inline void glue_to_peer(struct glue *g, int node, const roam_wire *u) {
  int end;
  struct glue_pipe *p = glue_pipe_of(g, node, u->handle, &end);
  if (!p) return;
  struct glue_end *peer = &p->end[1 - end];
  roam_wire there = *u;
  there.handle = peer->handle;
  if (u->kind == ROAM_WIRE_CLOSE) {
    p->end[end].gone = true;
    if (u->how == ROAM_CLOSE_HANG) return;
    there.error = u->how == ROAM_CLOSE_RESET ? ECONNRESET : 0;
  }
  if (!peer->gone) glue_put(g, g->now + g->delay_ns, peer->node, &there);
}

static inline void glue_credit(struct glue *g, int node, const roam_wire *u) {
  int end;
  struct glue_pipe *p = glue_pipe_of(g, node, u->handle, &end);
  if (p) p->end[end].credit += u->credit;
}

static inline void glue_unbind(struct glue *g, int node, uint32_t handle) {
  struct glue_socket *s = glue_socket_of(g, node, handle);
  if (s) s->used = false;
}

static inline void glue_take(struct glue *g, int node, const roam_wire *u) {
  int end;
  g->units++;
  switch (u->kind) {
    case ROAM_WIRE_DATAGRAM: glue_datagram(g, node, u); break;
    case ROAM_WIRE_BIND: glue_bind(g, node, u, false); break;
    case ROAM_WIRE_LISTEN: glue_bind(g, node, u, true); break;
    case ROAM_WIRE_UNBIND: glue_unbind(g, node, u->handle); break;
    case ROAM_WIRE_OPEN: glue_open(g, node, u); break;
    case ROAM_WIRE_CREDIT: glue_credit(g, node, u); break;
    case ROAM_WIRE_CLOSE:
      if (glue_pipe_of(g, node, u->handle, &end)) glue_to_peer(g, node, u);
      else glue_unbind(g, node, u->handle);
      break;
    case ROAM_WIRE_DATA: glue_to_peer(g, node, u); break;
    default: break;
  }
}

static inline void glue_feed(struct glue *g, int node, const roam_wire *u) {
  g->machine[node].ops->feed(g->machine[node].self, g->now, u, 1);
}

static inline void glue_arrive_datagram(struct glue *g, struct glue_flight *f) {
  if (f->len == 0 && g->out) return; /* lost by the hook */
  if (g->in && !g->in(g, &f->unit, f->bytes, &f->len)) return;
  struct glue_socket *s = glue_socket_at(g, &f->unit.remote);
  int sender = f->unit.error;
  if (s && s->remote.family && !roam_addr_equal(&s->remote, &f->unit.local)) s = NULL; /* connected elsewhere */
  if (!s) {
    roam_wire fail = {.kind = ROAM_WIRE_SENDFAIL,
                      .handle = f->unit.parent,
                      .local = f->unit.local,
                      .remote = f->unit.remote,
                      .error = ECONNREFUSED};
    if (g->refuse && glue_socket_of(g, sender, f->unit.parent)) glue_feed(g, sender, &fail);
    return;
  }
  roam_wire u = f->unit;
  u.handle = s->handle;
  u.local = f->unit.remote;
  u.remote = f->unit.local;
  u.data = f->bytes;
  u.len = f->len;
  u.parent = 0;
  u.error = 0;
  glue_feed(g, s->node, &u);
}

/* Bytes arrive only as far as the machine gave credit; the rest waits, and everything behind it. */
static inline bool glue_arrive_data(struct glue *g, struct glue_flight *f) {
  int end;
  struct glue_pipe *p = glue_pipe_of(g, f->node, f->unit.handle, &end);
  if (!p) return true;
  struct glue_end *me = &p->end[end], *peer = &p->end[1 - end];
  size_t done = (size_t)(f->unit.data - f->bytes), n = f->len - done;
  if (n > me->credit) n = (size_t)me->credit;
  if (n == 0) return f->len == done;
  me->credit -= n;
  roam_wire u = f->unit;
  u.data = f->bytes + done;
  u.len = n;
  f->unit.data += n;
  glue_feed(g, f->node, &u);
  roam_wire credit = {.kind = ROAM_WIRE_CREDIT, .handle = peer->handle, .credit = n};
  if (!peer->gone) glue_put(g, g->now, peer->node, &credit);
  return done + n == f->len;
}

static inline bool glue_arrive(struct glue *g, struct glue_flight *f) {
  int end;
  if (f->unit.data) f->unit.data = f->unit.data >= f->bytes && f->unit.data <= f->bytes + f->len ? f->unit.data : f->bytes;
  if (f->node < 0) {
    glue_arrive_datagram(g, f);
    return true;
  }
  if (f->unit.kind == ROAM_WIRE_DATA) return glue_arrive_data(g, f);
  if (f->unit.kind == ROAM_WIRE_CLOSE) {
    struct glue_pipe *p = glue_pipe_of(g, f->node, f->unit.handle, &end);
    for (struct glue_flight *w = g->flights; w; w = w->next) /* bytes before it first */
      if (w != f && w->node == f->node && w->unit.handle == f->unit.handle && w->unit.kind == ROAM_WIRE_DATA &&
          w->at <= f->at)
        return false;
    if (!p) return true;
    p->end[end].gone = true;
    if (p->end[1 - end].gone) p->used = false;
  }
  glue_feed(g, f->node, &f->unit);
  return true;
}

/* Delivers what is due once; true when anything was. What is stuck behind back-pressure stays. */
static inline bool glue_deliver(struct glue *g) {
  bool any = false;
  struct glue_flight **where = &g->flights;
  while (*where && (*where)->at <= g->now) {
    struct glue_flight *f = *where;
    bool blocked = false;
    if (f->unit.kind == ROAM_WIRE_DATA)
      for (struct glue_flight *w = g->flights; w != f; w = w->next)
        blocked |= w->node == f->node && w->unit.handle == f->unit.handle && w->unit.kind == ROAM_WIRE_DATA;
    if (!blocked && glue_arrive(g, f)) {
      for (where = &g->flights; *where != f; where = &(*where)->next) continue;
      *where = f->next;
      free(f);
      any = true;
      where = &g->flights;
      continue;
    }
    for (where = &g->flights; *where != f; where = &(*where)->next) continue;
    where = &f->next;
  }
  return any;
}

static inline bool glue_drain(struct glue *g, int node) {
  roam_wire out[GLUE_BATCH];
  roam_machine *m = &g->machine[node];
  size_t n, total = 0;
  while ((n = m->ops->drain(m->self, g->now, out, GLUE_BATCH)) > 0) {
    total += n;
    for (size_t i = 0; i < n; i++) glue_take(g, node, &out[i]);
  }
  m->ops->poll(m->self, NULL, 0);
  return total > 0;
}

/* One turn at the current time until nothing more happens at it. */
static inline void glue_settle(struct glue *g) {
  for (int guard = 0; guard < 100000; guard++) {
    bool any = glue_deliver(g);
    for (int i = 0; i < g->nodes; i++) {
      if (g->machine[i].ops->deadline(g->machine[i].self) <= g->now) g->machine[i].ops->tick(g->machine[i].self, g->now);
      any |= glue_drain(g, i);
    }
    g->turns++;
    if (!any) return;
  }
  fprintf(stderr, "glue: never quiet at %llu\n", (unsigned long long)g->now);
  abort();
}

static inline roam_time glue_next(const struct glue *g) {
  roam_time next = ROAM_NEVER;
  for (const struct glue_flight *f = g->flights; f; f = f->next)
    if (f->at > g->now && f->at < next) next = f->at;
  for (int i = 0; i < g->nodes; i++) {
    roam_time at = g->machine[i].ops->deadline(g->machine[i].self);
    if (at < next) next = at;
  }
  return next;
}

/* Runs until then, or until the condition holds; true when it holds. */
static inline bool glue_run_until(struct glue *g, roam_time until, bool (*done)(void *), void *context) {
  for (;;) {
    glue_settle(g);
    if (done && done(context)) return true;
    roam_time next = glue_next(g);
    if (next > until) break;
    g->now = next > g->now ? next : g->now + 1; /* a deadline that stays in the past must not stop time */
  }
  if (until > g->now) g->now = until;
  glue_settle(g);
  return done && done(context);
}

static inline void glue_run(struct glue *g, uint64_t ns) { glue_run_until(g, g->now + ns, NULL, NULL); }

#endif
