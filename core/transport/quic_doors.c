/* quic_doors.c - the doors of transport.h for QUIC: options, events, commands. Each keeps the time and hands on; flags
 * become events here and nowhere else. Refuses to touch packets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "transport/quic.h"

enum {
  LISTENERS_MAX = 64,
  CIDS_PER_CONN = 12,
  DATAGRAM_MIN = 1200,
  DATAGRAM_MAX = 65487, /* of a loopback's 65535, with IPv6 */
};

static struct roam_quic *of_transport(const roam_transport *t) { return (struct roam_quic *)(uintptr_t)t; }

static struct roam_quic_conn *of_conn(const roam_conn *c) { return (struct roam_quic_conn *)(uintptr_t)c; }

static void enter(struct roam_quic *q, roam_time now) {
  if (now > q->now) q->now = now;
}

static void enter_conn(roam_conn *conn, roam_time now) { enter(of_transport(conn->transport), now); }

/* ---- poll -------------------------------------------------------------------------------------------------------------
 */

static size_t poll_listeners(struct roam_quic *q, roam_te ev[], size_t n) {
  size_t used = 0;
  ROAM_LIST_EACH(&q->listeners, node) {
    struct roam_quic_listener *l = ROAM_CONTAINER(node, struct roam_quic_listener, node);
    if (l->event == ROAM_TE_NONE || used == n) continue;
    ev[used++] = (roam_te){
        .kind = l->event, .listener = l->handle, .local = l->local, .rc = l->rc, .text = l->failed ? l->text : NULL};
    l->event = ROAM_TE_NONE;
    if (l->failed) l->closing = true; /* freed by the next drain: the text lives until then */
  }
  return used;
}

struct events {
  roam_te *ev;
  size_t n, max;
};

static roam_te *add_event(struct events *e, const struct roam_quic_conn *c, roam_te_kind kind) {
  roam_te *ev = &e->ev[e->n++];
  *ev = (roam_te){.kind = kind, .conn = (roam_conn *)(uintptr_t)&c->conn, .local = c->local, .remote = c->remote};
  return ev;
}

static void poll_paths(struct roam_quic_conn *c, struct events *e) {
  uint32_t told = 0;
  while (told < c->path_events_count && e->n < e->max) {
    const struct roam_quic_path_event *p = &c->path_events[told++];
    roam_te *ev = add_event(e, c, p->kind);
    ev->rc = p->rc;
    ev->text = p->text;
    ev->local = p->local;
    ev->remote = p->remote;
    ev->old_local = p->old_local;
    ev->old_remote = p->old_remote;
    ev->validation_ns = p->validation_ns;
    ev->gap_ns = p->gap_ns;
  }
  c->path_events_count -= told;
  memmove(c->path_events, c->path_events + told, c->path_events_count * sizeof c->path_events[0]);
}

static void poll_lane(struct roam_quic_lane *l, struct events *e) {
  static const struct {
    uint8_t bit;
    roam_te_kind kind;
  } order[] = {{LANE_HAS_OPENED, ROAM_TE_LANE_OPENED},
               {LANE_HAS_READABLE, ROAM_TE_READABLE},
               {LANE_HAS_WRITABLE, ROAM_TE_WRITABLE},
               {LANE_HAS_FIN, ROAM_TE_LANE_FIN},
               {LANE_HAS_RESET, ROAM_TE_LANE_RESET}};
  for (size_t i = 0; i < sizeof order / sizeof order[0] && e->n < e->max; i++) {
    if (!(l->events & order[i].bit)) continue;
    l->events &= (uint8_t)~order[i].bit;
    roam_te *ev = add_event(e, l->conn, order[i].kind);
    ev->lane = l->number;
    ev->code = order[i].bit == LANE_HAS_RESET ? l->code : 0;
  }
  roam_quic_lane_settle(l);
}

static void poll_closed(const struct roam_quic_conn *c, struct events *e) {
  roam_te *ev = add_event(e, c, ROAM_TE_CLOSED);
  ev->rc = c->rc;
  ev->code = c->code;
  ev->by_peer = c->by_peer;
  ev->text = c->text[0] ? c->text : NULL;
}

/* True when all was told. */
static bool poll_conn(struct roam_quic_conn *c, struct events *e) {
  static const struct {
    uint8_t bit;
    roam_te_kind kind;
  } order[] = {{CONN_HAS_ACCEPTED, ROAM_TE_ACCEPTED},
               {CONN_HAS_EARLY, ROAM_TE_EARLY},
               {CONN_HAS_OPENED, ROAM_TE_OPENED},
               {CONN_HAS_LEARNED, ROAM_TE_LEARNED}};
  for (size_t i = 0; i < sizeof order / sizeof order[0] && e->n < e->max; i++) {
    if (!(c->events & order[i].bit)) continue;
    c->events &= (uint8_t)~order[i].bit;
    add_event(e, c, order[i].kind);
  }
  poll_paths(c, e);
  if ((c->events & CONN_HAS_PROVED) && e->n < e->max) {
    c->events &= (uint8_t)~CONN_HAS_PROVED;
    add_event(e, c, ROAM_TE_PEER_PROVED);
  }
  if ((c->events & CONN_HAS_DATAGRAM) && e->n < e->max) {
    c->events &= (uint8_t)~CONN_HAS_DATAGRAM;
    add_event(e, c, ROAM_TE_DATAGRAM);
  }
  ROAM_LIST_EACH(&c->lanes, node) poll_lane(ROAM_CONTAINER(node, struct roam_quic_lane, node), e);
  if (e->n == e->max) return false;
  if (c->events & CONN_HAS_CLOSED) {
    c->events = 0;
    poll_closed(c, e);
  }
  return true;
}

static size_t quic_poll(roam_transport *t, roam_te ev[], size_t n) {
  struct roam_quic *q = of_transport(t);
  struct events e = {.ev = ev, .n = poll_listeners(q, ev, n), .max = n};
  while (e.n < e.max && !roam_list_empty(&q->eventful)) {
    struct roam_quic_conn *c = ROAM_CONTAINER(q->eventful.next, struct roam_quic_conn, eventful);
    if (!poll_conn(c, &e)) break;
    roam_list_remove(&c->eventful);
  }
  return e.n;
}

/* ---- commands ---------------------------------------------------------------------------------------------------------
 */

static void quic_feed(roam_transport *t, roam_time now, const roam_wire in[], size_t n) {
  enter(of_transport(t), now);
  roam_quic_feed(of_transport(t), in, n);
}

static void quic_tick(roam_transport *t, roam_time now) {
  enter(of_transport(t), now);
  roam_quic_tick(of_transport(t));
}

static size_t quic_drain(roam_transport *t, roam_time now, roam_wire out[], size_t n) {
  enter(of_transport(t), now);
  return roam_quic_drain(of_transport(t), out, n);
}

static roam_time quic_deadline(const roam_transport *t) { return roam_quic_deadline(of_transport(t)); }

static roam_rc add_listener(struct roam_quic *q, const roam_addr *local, const char *name, uint32_t *listener) {
  size_t count = 0;
  ROAM_LIST_EACH(&q->listeners, node) count++;
  if (count >= LISTENERS_MAX) return ROAM_E_LIMIT;
  if (!q->tls.trust.credentials->has_certificate) return ROAM_E_CERTIFICATE;
  struct roam_quic_listener *l = calloc(1, sizeof *l);
  if (!l) return ROAM_E_MEMORY;
  l->kind = ROAM_QUIC_LISTENER;
  if (local) l->local = *local;
  snprintf(l->name, sizeof l->name, "%s", name);
  if (!roam_quic_take_handle(q, &l->kind, &l->handle)) {
    free(l);
    return ROAM_E_MEMORY;
  }
  roam_list_push_back(&q->listeners, &l->node);
  *listener = l->handle;
  return 0;
}

static roam_rc quic_listen(roam_transport *t, roam_time now, const roam_addr *local, uint32_t *listener) {
  enter(of_transport(t), now);
  return add_listener(of_transport(t), local, "", listener);
}

static roam_rc quic_listen_name(roam_transport *t, roam_time now, const char *name, const roam_addr *local,
                                uint32_t *listener) {
  enter(of_transport(t), now);
  if (strncmp(name, "fd:", 3) != 0) return ROAM_E_UNSUPPORTED;
  if (strlen(name) >= sizeof((struct roam_quic_listener *)0)->name) return ROAM_E_ARGUMENT;
  return add_listener(of_transport(t), local, name, listener);
}

static void quic_unlisten(roam_transport *t, roam_time now, uint32_t listener) {
  struct roam_quic *q = of_transport(t);
  enter(q, now);
  enum roam_quic_kind *kind = roam_map64_get(&q->handles, listener);
  if (!kind || *kind != ROAM_QUIC_LISTENER) return;
  struct roam_quic_listener *l = ROAM_CONTAINER(kind, struct roam_quic_listener, kind);
  l->closing = true;
  l->event = ROAM_TE_NONE;
}

static roam_rc quic_dial(roam_transport *t, roam_time now, const roam_addr *remote, const roam_addr *local,
                         const char *interface, const char *server_name, void *user, roam_conn **out) {
  struct roam_quic *q = of_transport(t);
  char ip[ROAM_ADDR_TEXT_MAX];
  roam_addr bare = *remote;
  enter(q, now);
  if (remote->family == 0 || remote->port == 0) return ROAM_E_ARGUMENT;
  if (local && local->family && local->family != remote->family) return ROAM_E_ARGUMENT;
  if (interface && strlen(interface) >= ROAM_QUIC_INTERFACE_MAX) return ROAM_E_ARGUMENT;
  if (server_name && strlen(server_name) >= ROAM_SERVER_NAME_MAX) return ROAM_E_ARGUMENT;
  if (q->conns >= q->o.conns_max) return ROAM_E_LIMIT;
  struct roam_quic_conn *c = roam_quic_conn_new(q, false);
  if (!c) return ROAM_E_MEMORY;
  c->remote = *remote;
  c->conn.user = user;
  bare.port = 0;
  c->server_name = strdup(server_name && *server_name ? server_name : roam_addr_format(&bare, ip));
  if (!c->server_name || !roam_quic_path_first(c, local, interface)) {
    roam_quic_conn_free(c);
    return ROAM_E_MEMORY;
  }
  *out = &c->conn;
  return 0;
}

static roam_conn_info quic_info(const roam_conn *conn) {
  const struct roam_quic_conn *c = of_conn(conn);
  roam_conn_info info = {.local = c->local,
                         .remote = c->remote,
                         .bytes_in = c->bytes_in,
                         .bytes_out = c->bytes_out,
                         .migrations = c->migrations,
                         .retried = c->retried,
                         .unanswered_since = c->unanswered_since,
                         .heard_at = c->heard_at,
                         .ping_ns = c->ping_ns,
                         .rebinds = c->rebinds,
                         .silences = c->silences,
                         .silence_ns = c->silence_ns,
                         .paths_validated = c->paths_validated,
                         .paths_failed = c->paths_failed,
                         .resumed = c->resumed,
                         .early_data_accepted = c->early_accepted,
                         .early_data_rejected = c->early_rejected,
                         .key_updates = c->key_updates,
                         .udp_in = c->udp_in,
                         .udp_out = c->udp_out,
                         .handshake_bytes_in = c->handshake_in,
                         .handshake_bytes_out = c->handshake_out,
                         .stream_bytes_out = c->stream_out,
                         .frames_in = c->frames_in,
                         .frames_out = c->frames_out,
                         .frames_dropped = c->frames_dropped,
                         .datagram_bytes = c->nc ? roam_quic_mtu_now(c) : 0,
                         .datagram_falls = c->mtu.falls,
                         .proved = c->completed || c->token_good};
  if (!c->nc) return info;
  ngtcp2_conn_info theirs;
  ngtcp2_conn_get_conn_info(c->nc, &theirs);
  info.rtt_ns = theirs.smoothed_rtt;
  info.cwnd_bytes = theirs.cwnd;
  info.bytes_in_flight = theirs.bytes_in_flight;
  info.pto_ns = ngtcp2_conn_get_pto(c->nc);
  info.min_rtt_ns = theirs.min_rtt == UINT64_MAX ? 0 : theirs.min_rtt;
#if NGTCP2_VERSION_NUM >= 0x011000
  info.packets_lost = theirs.pkt_lost;
#endif
  return info;
}

static roam_rc quic_lane_open(roam_conn *conn, roam_time now, uint32_t *lane) {
  struct roam_quic_conn *c = of_conn(conn);
  int64_t stream;
  enter_conn(conn, now);
  if (c->state == ROAM_QUIC_CLOSED || c->state == ROAM_QUIC_FLUSHING) return ROAM_E_CLOSED;
  if (c->state != ROAM_QUIC_OPEN) return ROAM_E_STATE;
  if (ngtcp2_conn_get_streams_bidi_left(c->nc) == 0) return ROAM_E_LIMIT;
  struct roam_quic_lane *l = roam_quic_lane_new(c, 0);
  if (!l) return ROAM_E_MEMORY;
  int rv = ngtcp2_conn_open_bidi_stream(c->nc, &stream, l);
  if (rv != 0) {
    roam_quic_lane_free(l);
    return rv == NGTCP2_ERR_NOMEM ? ROAM_E_MEMORY : ROAM_E_LIMIT;
  }
  l->stream = stream;
  l->number = roam_quic_lane_number(stream);
  l->open = true;
  *lane = l->number;
  return 0;
}

static roam_bytes quic_peek(const roam_conn *conn, uint32_t lane) {
  const struct roam_quic_lane *l = roam_quic_lane_find(of_conn(conn), lane);
  return l ? roam_buf_view(&l->rx) : (roam_bytes){0};
}

static void quic_consume(roam_conn *conn, roam_time now, uint32_t lane, size_t n) {
  struct roam_quic_lane *l = roam_quic_lane_find(of_conn(conn), lane);
  enter_conn(conn, now);
  if (l) roam_quic_lane_consume(l, n);
}

static size_t quic_room(const roam_conn *conn, uint32_t lane) {
  struct roam_quic_conn *c = of_conn(conn);
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  return l && roam_quic_conn_usable(c) ? roam_quic_lane_room(l) : 0;
}

static roam_rc quic_write(roam_conn *conn, roam_time now, uint32_t lane, const roam_slice slices[], size_t n) {
  struct roam_quic_conn *c = of_conn(conn);
  enter_conn(conn, now);
  if (c->state == ROAM_QUIC_CLOSED || c->state == ROAM_QUIC_FLUSHING) return ROAM_E_CLOSED;
  if (!roam_quic_conn_usable(c)) return ROAM_E_STATE;
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  if (!l) return ROAM_E_NOT_FOUND;
  roam_rc rc = roam_quic_lane_write(l, slices, n);
  if (rc == 0) roam_quic_activate(roam_quic_of(c), c);
  return rc;
}

static void quic_lane_fin(roam_conn *conn, roam_time now, uint32_t lane) {
  struct roam_quic_conn *c = of_conn(conn);
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  enter_conn(conn, now);
  if (!l || !roam_quic_conn_usable(c)) return;
  roam_quic_lane_fin(l);
  roam_quic_activate(roam_quic_of(c), c);
}

static void quic_lane_reset(roam_conn *conn, roam_time now, uint32_t lane, uint64_t code) {
  struct roam_quic_conn *c = of_conn(conn);
  struct roam_quic_lane *l = roam_quic_lane_find(c, lane);
  enter_conn(conn, now);
  if (!l || !roam_quic_conn_usable(c)) return;
  roam_quic_lane_reset(l, code);
  roam_quic_activate(roam_quic_of(c), c);
}

static void quic_close(roam_conn *conn, roam_time now, uint64_t code, bool flush) {
  enter_conn(conn, now);
  roam_quic_conn_close(of_conn(conn), code, flush);
}

static void quic_release(roam_conn *conn) {
  struct roam_quic_conn *c = of_conn(conn);
  roam_quic_conn_close(c, c->code, false); /* harmless when closed already, as it should be */
  c->released = true;
  roam_list_remove(&c->eventful);
  if (roam_quic_path_drained(c)) roam_quic_conn_free(c);
}

static roam_rc quic_migrate(roam_conn *conn, roam_time now, const roam_addr *local, const char *interface,
                            roam_migrate_how how) {
  enter_conn(conn, now);
  return roam_quic_path_migrate(of_conn(conn), local, interface, how == ROAM_MIGRATE_IMMEDIATE);
}

static void quic_ping(roam_conn *conn, roam_time now) {
  struct roam_quic_conn *c = of_conn(conn);
  enter_conn(conn, now);
  if (c->state != ROAM_QUIC_OPEN && c->state != ROAM_QUIC_FLUSHING) return;
  c->ping = true;
  roam_quic_activate(roam_quic_of(c), c);
}

static void quic_set_ping(roam_conn *conn, roam_time now, uint64_t ping_ns) {
  struct roam_quic_conn *c = of_conn(conn);
  enter_conn(conn, now);
  c->ping_ns = ping_ns;
  if (!c->nc) return;
  roam_quic_conn_set_ping(c);
  roam_quic_activate(roam_quic_of(c), c); /* its deadline changes */
}
roam_quic_totals roam_quic_get_totals(const roam_transport *t) {
  const struct roam_quic *q = of_transport(t);
  roam_quic_totals totals = q->totals;
  totals.early_repeated = q->tls.replay.repeated;
  totals.early_full = q->tls.replay.full;
  totals.early_elsewhere = q->tls.replay.elsewhere;
  return totals;
}

roam_blob *roam_quic_take_stray(roam_transport *t, uint32_t *worker) {
  return roam_quic_stray_pop(of_transport(t), worker);
}

void roam_quic_adopt(roam_transport *t, roam_time now, roam_bytes stray) {
  struct roam_quic *q = of_transport(t);
  if (now > q->now) q->now = now;
  roam_quic_stray_take(q, stray);
}

static roam_rc quic_resume(roam_conn *conn, const roam_resume *r) { return roam_quic_conn_resume(of_conn(conn), r); }

static roam_resume quic_learned(const roam_conn *conn) { return roam_quic_conn_learned(of_conn(conn)); }

static void quic_lane_weight(roam_conn *conn, uint32_t lane, uint32_t weight) {
  struct roam_quic_lane *l = roam_quic_lane_find(of_conn(conn), lane);
  if (l) roam_quic_lane_weight(l, weight);
}

static size_t quic_datagram_room(const roam_conn *conn) { return roam_quic_datagram_room(of_conn(conn)); }

static roam_rc quic_datagram_write(roam_conn *conn, roam_time now, roam_bytes datagram) {
  enter_conn(conn, now);
  return roam_quic_datagram_put(of_conn(conn), datagram);
}

static roam_bytes quic_datagram_peek(const roam_conn *conn, bool *some) {
  return roam_quic_datagram_peek(of_conn(conn), some);
}

static void quic_datagram_pop(roam_conn *conn) { roam_quic_datagram_pop(of_conn(conn)); }

static const char *quic_alpn(const roam_conn *conn) { return of_conn(conn)->alpn ? of_conn(conn)->alpn : ""; }

static uint64_t quic_lanes_held(const roam_conn *conn) {
  const struct roam_quic_conn *c = of_conn(conn);
  uint64_t held = 0;
  ROAM_LIST_EACH(&c->lanes, node) {
    const struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    if (l->number != 0 && !l->dead_out) held += roam_sendq_held(&l->tx);
  }
  return held + roam_ring_count(&c->frames_tx);
}

static roam_conn_cost quic_memory(const roam_conn *conn) {
  return (roam_conn_cost){roam_quic_memory(of_conn(conn)), ROAM_QUIC_BASE_COST};
}

static bool quic_owns(const roam_transport *t, const roam_wire *unit) {
  const struct roam_quic *q = of_transport(t);
  return unit->kind != ROAM_WIRE_ACCEPT && roam_map64_get(&q->handles, unit->handle) != NULL;
}

static void quic_free(roam_transport *t) {
  struct roam_quic *q = of_transport(t);
  ROAM_LIST_EACH(&q->all, node) roam_quic_conn_free(ROAM_CONTAINER(node, struct roam_quic_conn, all));
  ROAM_LIST_EACH(&q->closings, node) roam_quic_closing_free(q, ROAM_CONTAINER(node, struct roam_quic_closing, node));
  ROAM_LIST_EACH(&q->listeners, node) roam_quic_listener_free(q, ROAM_CONTAINER(node, struct roam_quic_listener, node));
  uint32_t worker;
  for (roam_blob *stray; (stray = roam_quic_stray_pop(q, &worker)) != NULL;) roam_blob_unref(stray);
  roam_quic_ids_reset(&q->ids);
  roam_quic_tls_reset(&q->tls);
  roam_map_reset(&q->cids);
  roam_map64_reset(&q->handles);
  roam_heap_reset(&q->timers);
  roam_heap_reset(&q->closing_timers);
  free(q->stateless);
  free(q->tx.base);
  free(q);
}

static roam_rc quic_certify(roam_transport *base, const roam_tls_config *config, const char **why) {
  return roam_trust_replace(&of_transport(base)->tls.trust, config, why);
}

static const char *quic_subject(const roam_conn *conn) {
  const struct roam_quic_conn *c = of_conn(conn);
  return c->tls.subject;
}

static uint32_t quic_handshakes(const roam_transport *base) { return (uint32_t)of_transport(base)->handshakes; }

static const roam_transport_ops quic_ops = {
    .kind = ROAM_TRANSPORT_QUIC,
    .free = quic_free,
    .owns = quic_owns,
    .feed = quic_feed,
    .tick = quic_tick,
    .drain = quic_drain,
    .poll = quic_poll,
    .deadline = quic_deadline,
    .listen = quic_listen,
    .unlisten = quic_unlisten,
    .dial = quic_dial,
    .info = quic_info,
    .lane_open = quic_lane_open,
    .peek = quic_peek,
    .consume = quic_consume,
    .room = quic_room,
    .write = quic_write,
    .lane_fin = quic_lane_fin,
    .lane_reset = quic_lane_reset,
    .close = quic_close,
    .release = quic_release,
    .migrate = quic_migrate,
    .ping = quic_ping,
    .set_ping = quic_set_ping,
    .resume = quic_resume,
    .learned = quic_learned,
    .lane_weight = quic_lane_weight,
    .datagram_room = quic_datagram_room,
    .datagram_write = quic_datagram_write,
    .datagram_peek = quic_datagram_peek,
    .datagram_pop = quic_datagram_pop,
    .alpn = quic_alpn,
    .lanes_held = quic_lanes_held,
    .certify = quic_certify,
    .subject = quic_subject,
    .handshakes = quic_handshakes,
    .listen_name = quic_listen_name,
    .memory = quic_memory,
};

static const char *find_bad_option(const roam_transport_options *o) {
  if (!o->random) return "random is missing";
  if (o->handle_first == 0) return "handle_first must not be 0";
  if (o->conns_max == 0 || o->handshakes_max == 0 || o->lanes_max == 0)
    return "conns_max, handshakes_max, lanes_max: not 0";
  if (o->lane_tx_bytes == 0 || o->lane_rx_bytes == 0) return "lane_tx_bytes, lane_rx_bytes: not 0";
  if (o->conn_rx_bytes < o->lane_rx_bytes) return "conn_rx_bytes must be at least lane_rx_bytes";
  if (o->datagram_bytes_max < DATAGRAM_MIN || o->datagram_bytes_max > DATAGRAM_MAX)
    return "datagram_bytes_max: 1200 to 65487";
  if (o->initial_rtt_ns == 0 || o->connect_timeout_ns == 0) return "initial_rtt_ns, connect_timeout_ns: not 0";
  if ((unsigned)o->congestion > ROAM_CONGESTION_BBR) return "congestion: cubic, reno or bbr";
  if (o->early_data && (o->replay_window_ns == 0 || o->replay_keys_max == 0))
    return "replay_window_ns, replay_keys_max: not 0, or early_data false";
  return NULL;
}

static void init_tables(struct roam_quic *q) {
  size_t conns = q->o.conns_max, closings = ROAM_QUIC_CLOSINGS_MAX;
  roam_map_init(&q->cids, (conns + closings) * CIDS_PER_CONN, q->o.random);
  roam_map64_init(&q->handles, conns * ROAM_QUIC_PATHS + closings + LISTENERS_MAX, NULL);
  roam_heap_init(&q->timers, q->o.conns_max + 1);
  roam_heap_init(&q->closing_timers, ROAM_QUIC_CLOSINGS_MAX + 1);
  roam_list_init(&q->listeners);
  roam_list_init(&q->all);
  roam_list_init(&q->active);
  roam_list_init(&q->eventful);
  roam_list_init(&q->closings);
  roam_list_init(&q->closings_to_send);
  roam_list_init(&q->strays);
}

roam_transport *roam_quic_new(const roam_transport_options *o, roam_rc *rc, const char **why) {
  static const uint8_t no_secret[sizeof o->secret] = {0};
  *rc = ROAM_E_OPTION;
  *why = find_bad_option(o);
  if (*why) return NULL;
  *rc = ROAM_E_MEMORY;
  struct roam_quic *q = calloc(1, sizeof *q);
  if (!q) return NULL;
  q->transport.ops = &quic_ops;
  q->o = *o;
  q->now = o->now;
  init_tables(q);
  roam_quic_mtu_prepare(q);
  if (memcmp(o->secret, no_secret, sizeof no_secret) == 0) roam_random_fill(o->random, q->o.secret, sizeof q->o.secret);
  q->tx.base = malloc(ROAM_QUIC_TX_BYTES);
  if (q->tx.base) *rc = roam_quic_tls_init(&q->tls, o, &q->now, why);
  q->o.tls = (roam_tls_config){0}; /* borrowed for this call only */
  if (*rc == 0) *rc = roam_quic_ids_init(&q->ids, o, q->o.secret);
  if (*rc == 0) return &q->transport;
  quic_free(&q->transport);
  return NULL;
}
