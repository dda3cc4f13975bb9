/* quic_path.c - a client's sockets and its moves between them: mechanism only, the policy is the owner's.
 *
 * Theory of operation. A client connection has one socket per path, so a datagram's handle tells its path and the
 * connection needs no id of its own. A move is:
 *
 *   migrate -> BINDING (BIND drained) -> BOUND -> handed to ngtcp2 -> VALIDATING -> CURRENT; the old one RETIRING ->
 * UNBINDING
 *
 * Every move takes a new socket with a new local port, also back to an interface left before: returning to an address and
 * port the server still remembers makes it hesitate for seconds. PROBE keeps sending on the old path until the new one has
 * answered (both networks alive). IMMEDIATE sends on the new path from now on (the old one is dead or dying); when its
 * validation fails the connection is left on it, and the owner must move again. The library needs a spare connection id of
 * the server's for each move. Without one the move waits a round trip and tries again, a bounded number of times (WAITING).
 * The old socket is read for one PTO more: what the server sent before it noticed is still accepted. Then it is unbound.
 * A newer move replaces one under way: PATH_FAILED tells so for the older.
 * It refuses to choose addresses, to move a server, and to move before the handshake is confirmed. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "transport/quic.h"

enum {
  TRIES_MAX = 10
};
#define RETRY_MIN_NS (20 * ROAM_MS)

struct roam_quic_path *roam_quic_path_current(struct roam_quic_conn *c) {
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) {
    struct roam_quic_path *p = &c->paths[i];
    bool bound = p->state == ROAM_PATH_CURRENT || p->state == ROAM_PATH_VALIDATING || p->state == ROAM_PATH_RETIRING;
    if (bound && roam_addr_equal(&p->local, &c->local)) return p;
  }
  return NULL;
}

static const roam_addr *remote_of(const struct roam_quic_path *p) {
  return p->remote.family ? &p->remote : &p->conn->remote;
}

static void tell(struct roam_quic_path *p, roam_te_kind kind, roam_rc rc, const char *text, uint64_t validation_ns) {
  struct roam_quic_conn *c = p->conn;
  roam_quic_conn_path_event(c, &(struct roam_quic_path_event){.kind = kind,
                                                              .rc = rc,
                                                              .text = text,
                                                              .local = p->local,
                                                              .remote = *remote_of(p),
                                                              .old_local = p->old_local,
                                                              .old_remote = c->remote,
                                                              .validation_ns = validation_ns,
                                                              .gap_ns = p->gap_ns});
}

static void free_path(struct roam_quic_path *p) {
  roam_map64_remove(&roam_quic_of(p->conn)->handles, p->handle);
  p->state = ROAM_PATH_FREE;
}

static void unbind(struct roam_quic_path *p) {
  if (p->state == ROAM_PATH_FREE) return;
  if (p->to_bind) free_path(p); /* the edge has never heard of it */
  else p->state = ROAM_PATH_UNBINDING;
  roam_quic_activate(roam_quic_of(p->conn), p->conn);
}

static void retire(struct roam_quic_path *p, roam_time at) {
  p->state = ROAM_PATH_RETIRING;
  p->at = at;
}

static struct roam_quic_path *take_slot(struct roam_quic_conn *c) {
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++)
    if (c->paths[i].state == ROAM_PATH_FREE) return &c->paths[i];
  return NULL;
}

static struct roam_quic_path *begin(struct roam_quic_conn *c, const roam_addr *local, const char *interface) {
  struct roam_quic *q = roam_quic_of(c);
  struct roam_quic_path *p = take_slot(c);
  if (!p) return NULL;
  memset(p, 0, sizeof *p);
  p->kind = ROAM_QUIC_PATH;
  p->conn = c;
  if (local) p->local = *local;
  if (interface) snprintf(p->interface, sizeof p->interface, "%s", interface);
  if (!roam_quic_take_handle(q, &p->kind, &p->handle)) return NULL;
  p->state = ROAM_PATH_BINDING;
  p->to_bind = true;
  roam_quic_activate(q, c);
  return p;
}

struct roam_quic_path *roam_quic_path_first(struct roam_quic_conn *c, const roam_addr *local, const char *interface) {
  return begin(c, local, interface);
}

/* A path under way gives way to a newer one. One that data already goes out on stays until the newer has taken over. */
static void replace(struct roam_quic_path *p) {
  bool under_way = p->state == ROAM_PATH_BINDING || p->state == ROAM_PATH_WAITING || p->state == ROAM_PATH_VALIDATING;
  if (!under_way) return;
  bool carries = p->state == ROAM_PATH_VALIDATING && p->immediate;
  tell(p, ROAM_TE_PATH_FAILED, ROAM_E_STATE, "replaced by a newer move", 0);
  if (carries) p->state = ROAM_PATH_CURRENT;
  else unbind(p);
}

roam_rc roam_quic_path_migrate(struct roam_quic_conn *c, const roam_addr *local, const char *interface, bool immediate) {
  if (c->state == ROAM_QUIC_CLOSED || c->state == ROAM_QUIC_FLUSHING) return ROAM_E_CLOSED;
  if (c->server) return ROAM_E_UNSUPPORTED;
  if (c->state != ROAM_QUIC_OPEN || !c->confirmed) return ROAM_E_STATE;
  if (local && local->family && local->family != c->remote.family) return ROAM_E_ARGUMENT;
  if (interface && strlen(interface) >= ROAM_QUIC_INTERFACE_MAX) return ROAM_E_ARGUMENT;
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) replace(&c->paths[i]);
  roam_addr fresh = local ? *local : (roam_addr){0};
  fresh.port = 0;
  struct roam_quic_path *p = begin(c, &fresh, interface);
  if (!p) return ROAM_E_LIMIT; /* moves faster than sockets can be given back; a moment later there is room */
  p->immediate = immediate;
  p->old_local = c->local;
  return 0;
}

/* By an ordinary probe from a new port: the server's other address is one more place to be validated. The parameter has
 * been checked by the library; whether anybody is there, the validation tells. */
void roam_quic_path_prefer(struct roam_quic_conn *c) {
  const ngtcp2_transport_params *params = ngtcp2_conn_get_remote_transport_params(c->nc);
  c->preferred_settled = true;
  if (!roam_quic_of(c)->o.follow_preferred || !params || !params->preferred_addr_present) return;
  const ngtcp2_preferred_addr *pref = &params->preferred_addr;
  roam_addr to = {.family = c->remote.family};
  if (to.family == 4 && pref->ipv4_present) {
    to.port = ntohs(pref->ipv4.sin_port);
    memcpy(to.ip, &pref->ipv4.sin_addr, 4);
  } else if (to.family == 6 && pref->ipv6_present) {
    to.port = ntohs(pref->ipv6.sin6_port);
    memcpy(to.ip, &pref->ipv6.sin6_addr, 16);
  }
  if (to.port == 0 || roam_addr_equal(&to, &c->remote)) return;
  struct roam_quic_path *p = begin(c, NULL, NULL);
  if (!p) return;
  p->remote = to;
  p->old_local = c->local;
}

static void give_up(struct roam_quic_path *p, roam_rc rc, const char *text) {
  tell(p, ROAM_TE_PATH_FAILED, rc, text, 0);
  unbind(p);
}

static void wait_for_id(struct roam_quic_path *p) {
  ngtcp2_conn_info info;
  if (++p->tries > TRIES_MAX) {
    give_up(p, ROAM_E_LIMIT, "the server gives out no further connection id");
    return;
  }
  ngtcp2_conn_get_conn_info(p->conn->nc, &info);
  p->state = ROAM_PATH_WAITING;
  p->at = roam_quic_of(p->conn)->now + (info.smoothed_rtt > RETRY_MIN_NS ? info.smoothed_rtt : RETRY_MIN_NS);
}

/* Data goes out on an immediate path from now on, so the one before it is only read from. */
static void retire_others(struct roam_quic_path *kept) {
  struct roam_quic_conn *c = kept->conn;
  roam_time at = roam_quic_of(c)->now + ngtcp2_conn_get_pto(c->nc);
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++)
    if (&c->paths[i] != kept && c->paths[i].state == ROAM_PATH_CURRENT) retire(&c->paths[i], at);
}

static void hand_over(struct roam_quic_path *p) {
  struct roam_quic_conn *c = p->conn;
  struct roam_quic *q = roam_quic_of(c);
  ngtcp2_path_storage ps;
  roam_quic_path_from(&ps, &p->local, remote_of(p), p->handle);
  int rv = p->immediate ? ngtcp2_conn_initiate_immediate_migration(c->nc, &ps.path, q->now)
                        : ngtcp2_conn_initiate_migration(c->nc, &ps.path, q->now);
  if (rv == NGTCP2_ERR_CONN_ID_BLOCKED) {
    wait_for_id(p);
    return;
  }
  if (rv != 0) {
    give_up(p, rv == NGTCP2_ERR_NOMEM ? ROAM_E_MEMORY : ROAM_E_PATH, "the connection cannot move there now");
    return;
  }
  p->old_local = c->local;
  p->state = ROAM_PATH_VALIDATING;
  p->started = q->now;
  tell(p, ROAM_TE_PATH_PROBING, 0, NULL, 0);
  if (p->immediate) retire_others(p);
  roam_quic_conn_settle(c);
  roam_quic_activate(q, c);
}

void roam_quic_path_bound(struct roam_quic_path *p, const roam_addr *local) {
  struct roam_quic_conn *c = p->conn;
  if (p->state != ROAM_PATH_BINDING || p->to_bind) return;
  p->local = *local;
  if (c->state == ROAM_QUIC_BINDING) {
    p->state = ROAM_PATH_CURRENT;
    roam_quic_conn_start_client(c, p);
  } else if (c->nc) {
    hand_over(p);
  }
}

void roam_quic_path_failed(struct roam_quic_path *p, int error) {
  struct roam_quic_conn *c = p->conn;
  if (p->state != ROAM_PATH_BINDING || p->to_bind) return;
  char text[ROAM_CONN_TEXT_MAX];
  const roam_addr *addr = p->local.family ? &p->local : &c->remote;
  roam_rc rc = roam_error_from_errno(error, p->local.family ? "using" : "reaching", addr, text);
  free_path(p);
  if (c->state == ROAM_QUIC_BINDING) roam_quic_conn_end(c, rc, text, NULL);
  else tell(p, ROAM_TE_PATH_FAILED, rc, roam_strerror(rc), 0);
}

void roam_quic_path_heard(struct roam_quic_conn *c) {
  roam_time now = roam_quic_of(c)->now;
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) {
    struct roam_quic_path *p = &c->paths[i];
    if (p->state == ROAM_PATH_VALIDATING && now - c->heard_at > p->gap_ns) p->gap_ns = now - c->heard_at;
  }
}

bool roam_quic_path_moving(const struct roam_quic_conn *c) {
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++)
    if (c->paths[i].state == ROAM_PATH_VALIDATING) return true;
  return false;
}

void roam_quic_path_validated(struct roam_quic_conn *c, const ngtcp2_path *path, ngtcp2_path_validation_result result) {
  struct roam_quic *q = roam_quic_of(c);
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) {
    struct roam_quic_path *p = &c->paths[i];
    if (p->state != ROAM_PATH_VALIDATING || !roam_quic_addr_is(&path->local, &p->local)) continue;
    if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS) {
      p->state = ROAM_PATH_CURRENT;
      retire_others(p);
      c->migrations++;
      c->moved_at = q->now;
      if (q->now - c->heard_at > p->gap_ns) p->gap_ns = q->now - c->heard_at;
      tell(p, ROAM_TE_PATH_MIGRATED, 0, NULL, q->now - p->started);
    } else if (p->immediate) {
      p->state = ROAM_PATH_CURRENT; /* the library stays on it, dead or not */
      tell(p, ROAM_TE_PATH_FAILED, ROAM_E_PATH, "no answer on the new path", 0);
    } else {
      give_up(p, ROAM_E_PATH, "no answer on the new path");
    }
    return;
  }
}

void roam_quic_path_tick(struct roam_quic_conn *c) {
  roam_time now = roam_quic_of(c)->now;
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) {
    struct roam_quic_path *p = &c->paths[i];
    if (p->state == ROAM_PATH_RETIRING && now >= p->at) unbind(p);
    else if (p->state == ROAM_PATH_WAITING && now >= p->at && c->nc) hand_over(p);
  }
}

roam_time roam_quic_path_deadline(const struct roam_quic_conn *c) {
  roam_time at = ROAM_NEVER;
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) {
    const struct roam_quic_path *p = &c->paths[i];
    if ((p->state == ROAM_PATH_RETIRING || p->state == ROAM_PATH_WAITING) && p->at < at) at = p->at;
  }
  return at;
}

void roam_quic_path_drain(struct roam_quic_conn *c, struct roam_quic_tx *tx, bool last) {
  for (size_t i = 0; i < ROAM_QUIC_PATHS && tx->n < tx->max; i++) {
    struct roam_quic_path *p = &c->paths[i];
    if (!last && p->state == ROAM_PATH_BINDING && p->to_bind) {
      p->to_bind = false;
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_BIND,
                                     .handle = p->handle,
                                     .local = p->local,
                                     .remote = *remote_of(p),
                                     .name = p->interface[0] ? p->interface : NULL};
    } else if (last && p->state == ROAM_PATH_UNBINDING) {
      tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_UNBIND, .handle = p->handle};
      free_path(p);
    }
  }
}

bool roam_quic_path_drained(const struct roam_quic_conn *c) {
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) {
    const struct roam_quic_path *p = &c->paths[i];
    if (p->state == ROAM_PATH_UNBINDING || (p->state == ROAM_PATH_BINDING && p->to_bind)) return false;
  }
  return true;
}

void roam_quic_path_end(struct roam_quic_conn *c) {
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++) unbind(&c->paths[i]);
}
