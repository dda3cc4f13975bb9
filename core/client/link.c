/* link.c - one attempt and the connection it makes: resolve, dial, hear what the transport says, leave, end. Whether there
 * will be another attempt is decided in roam.c; what the bytes say, in talk.c.
 *
 * A connection's end has a fixed order, so that nothing the server said is lost: first all bytes that have arrived are
 * given to the session (a DISCONNECT with its reason may be among them, also when the transport has long reported the end),
 * then the application polls the messages whose bytes lie in the lane, and only then is the connection released and the end
 * told. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "client/client.h"
#include "mqtt/flow.h"

#define WINDOW_MIN 262144  /* of a lane */
#define DATAGRAMS_MAX 2048 /* waiting, each way: small ones come by the dozen in a packet, and packets by the batch */

void roam_link_blame(roam_client *c, roam_rc rc, int reason, uint64_t code, const char *format, ...) {
  struct roam_cause *cause = &c->link.cause;
  if (cause->rc != 0) return;
  *cause = (struct roam_cause){.rc = rc, .reason = reason, .code = code};
  va_list args;
  va_start(args, format);
  vsnprintf(cause->text, sizeof cause->text, format, args);
  va_end(args);
}

/* The cause becomes the client's last trouble, in the words of the phase it happened in. */
void roam_link_remember_trouble(roam_client *c, bool was_connected) {
  c->error = c->link.cause;
  const char *cause = c->error.text[0] ? c->error.text : roam_strerror(c->error.rc);
  if (was_connected) {
    snprintf(c->error_text, sizeof c->error_text, "connection to %s lost: %s", c->url, cause);
    roam_trace(&c->o.log, c->now, CONNECTION_LOST, .client = c->id, .url = c->url, .why = cause);
  } else {
    snprintf(c->error_text, sizeof c->error_text, "connect %s: %s", c->url, cause);
    roam_trace(&c->o.log, c->now, CONNECT_FAILED, .client = c->id, .url = c->url, .why = cause);
  }
}

static void fail_attempt(roam_client *c) {
  roam_link_remember_trouble(c, false);
  roam_policy_after(c, false);
}

/* ---- dialling ---- */

/* The session takes whole packets, so a lane must be able to hold the largest; twice, because ngtcp2 tells of new credit
 * only when half of the window is free. */
size_t roam_link_window(const roam_client *c) {
  size_t want = 2 * (size_t)c->o.maximum_packet_size + 16384;
  return want > WINDOW_MIN ? want : WINDOW_MIN;
}

static bool wants_flows(const roam_client *c) { return c->o.flows && c->o.lanes_max > 0; }

/* What is offered: the highest that both speak is taken. */
static const char *alpn_of(const roam_client *c) { return wants_flows(c) ? ROAM_ALPN_FLOWS " mqtt" : "mqtt"; }

roam_transport *roam_link_transport_new(const roam_client *c, roam_transport_kind kind, roam_rc *rc, const char **why) {
  roam_transport_options o;
  roam_transport_options_init(&o);
  o.random = c->random;
  o.log = c->o.log;
  o.now = c->now;
  o.handle_first = ROAM_CLIENT_TRANSPORT_FIRST * (kind == c->home_kind ? 1 : 2);
  o.tls = c->o.tls;
  o.connect_timeout_ns = c->o.connect_timeout_ns;
  o.idle_timeout_ns = roam_client_idle_timeout(&c->o);
  o.ping_ns = c->o.ping_ns;
  o.lane_rx_bytes = roam_link_window(c);
  if (o.conn_rx_bytes < o.lane_rx_bytes) o.conn_rx_bytes = o.lane_rx_bytes;
  if (c->o.lanes_max > 0) o.conn_rx_bytes = 2 * o.lane_rx_bytes; /* a stream that is not consumed leaves the others room */
  o.datagrams_max = c->o.datagrams ? DATAGRAMS_MAX : 0;
  o.one_lane_per_packet = c->o.one_lane_per_packet;
  o.alpn = alpn_of(c);
  o.early_data = c->o.early_data;
  o.initial_rtt_ns = c->o.initial_rtt_ns;
  o.congestion = c->o.congestion;
  o.datagram_bytes_max = c->o.datagram_bytes_max;
  o.key_update_bytes = c->o.key_update_bytes;
  o.follow_preferred = c->o.follow_preferred;
  o.tap = c->o.tap;
  o.lanes_max = 1; /* the least: of the server's, for which it stands, a client has none */
  o.server_lanes_max = o.one_way_lanes_max = roam_pushed_max(c);
  o.ws_path = roam_client_path(kind == c->home_kind || !c->o.fallback_url ? c->o.url : c->o.fallback_url);
  return roam_transport_new(kind, &o, rc, why);
}

/* ---- what is remembered ---- */

static const char *name_of_server(const roam_client *c, roam_transport_kind kind) {
  return c->o.server_name ? c->o.server_name : roam_fallback_host(c, kind);
}

static bool key_of(const roam_client *c, roam_transport_kind kind, struct roam_saved_key *key, struct roam_saved_time *t) {
  bool quic = kind == ROAM_TRANSPORT_QUIC, tls = kind == ROAM_TRANSPORT_TLS || kind == ROAM_TRANSPORT_WSS;
  *key = (struct roam_saved_key){.host = c->host, .port = c->port};
  int64_t began = c->o.tls.wall_unix_s;
  *t = (struct roam_saved_time){c->now, began ? began + (int64_t)((c->now - c->started_at) / ROAM_S) : 0};
  const char *protocol = quic ? alpn_of(c) : kind == ROAM_TRANSPORT_WSS ? "mqtt over wss" : "mqtt over TLS";
  return (quic || tls) && roam_tls_fingerprint(&c->o.tls, protocol, name_of_server(c, kind), key->print) == 0;
}

void roam_link_resume(roam_client *c, roam_conn *conn, roam_transport_kind kind, bool early) {
  struct roam_saved_key key;
  struct roam_saved_time t;
  roam_resume known;
  if (!key_of(c, kind, &key, &t)) return;
  roam_saved_offer(&c->saved, &key, &t, &known);
  /* What the first flight speaks is what the ticket is of. One for less than we want to speak must not keep us there. */
  bool best = known.alpn && strcmp(known.alpn, wants_flows(c) ? ROAM_ALPN_FLOWS : "mqtt") == 0;
  known.early_data = early && c->o.early_data && best;
  (void)roam_conn_resume(conn, &known);                               /* without memory it is a first visit */
  if (kind != ROAM_TRANSPORT_QUIC) roam_saved_spend(&c->saved, &key); /* and if it was no good, the next try has none */
}

void roam_link_remember(roam_client *c) {
  struct roam_saved_key key;
  struct roam_saved_time t;
  if (!c->link.conn || !key_of(c, c->kind, &key, &t)) return;
  roam_resume learned = roam_conn_learned(c->link.conn);
  learned.rtt_ns = roam_conn_get_info(c->link.conn).rtt_ns;
  roam_saved_learn(&c->saved, &key, &t, &learned);
  if (!c->saved.changed || !c->o.tell_state) return;
  c->saved.changed = false;
  (void)roam_client_event(c, ROAM_EV_STATE);
}

static bool fits_local(const roam_client *c, const roam_addr *addr) {
  return c->local.family == 0 || c->local.family == addr->family;
}

/* The next address of the attempt; when none is left, the attempt has failed for the last cause. */
static void dial_next(roam_client *c) {
  struct roam_attempt *a = &c->attempt;
  uint32_t number = c->link.number + 1;
  if (a->next == 0) {
    roam_wander_start(c);
    c->kind = roam_fallback_choose(c);
    roam_client_describe_url(c);
  }
  while (a->next < a->count) {
    roam_addr at = roam_addr_with_port(a->addrs[a->next++], roam_fallback_port(c)), *addr = &at;
    struct roam_cause before = c->link.cause;
    c->link = (struct roam_link){.number = number, .local = c->local, .remote = *addr};
    if (!fits_local(c, addr)) {
      c->link.cause = before;
      roam_link_blame(c, ROAM_E_UNREACHABLE, -1, 0, "none of its addresses is of the family of the local address");
      continue;
    }
    roam_fallback_cancel(c);
    const char *interface = roam_client_is_local(c) ? c->host : c->interface[0] ? c->interface : NULL;
    roam_rc rc = roam_transport_dial(c->kind == c->home_kind ? c->transport : c->second, c->now, addr, &c->local, interface,
                                     name_of_server(c, c->kind), c, &c->link.conn);
    if (rc == 0) {
      roam_link_resume(c, c->link.conn, c->kind, true);
      a->dialled = c->now;
      a->deadline = c->now + c->o.connect_timeout_ns;
      roam_client_set_phase(c, ROAM_PHASE_DIALLING);
      return;
    }
    c->link.conn = NULL;
    roam_link_blame(c, rc, -1, 0, "%s", roam_strerror(rc));
  }
  fail_attempt(c);
}

uint32_t roam_link_question(roam_client *c) {
  c->questions = c->questions + 1 < ROAM_CLIENT_TRANSPORT_FIRST ? c->questions + 1 : ROAM_CLIENT_QUESTION_FIRST;
  return c->questions;
}

void roam_link_begin(roam_client *c) {
  struct roam_attempt *a = &c->attempt;
  a->number++;
  a->began = c->now;
  a->deadline = c->now + c->o.connect_timeout_ns;
  a->next = a->count = 0;
  c->link = (struct roam_link){.number = c->link.number};
  roam_fallback_ask(c);
  bool local = roam_client_is_local(c);
  if (local) a->addrs[0] = (roam_addr){0};
  if (local || roam_addr_parse(c->host, &a->addrs[0]) == 0) {
    a->addrs[0].port = c->port;
    a->count = 1;
    dial_next(c);
    return;
  }
  a->question = roam_link_question(c);
  a->question_due = true;
  roam_client_set_phase(c, ROAM_PHASE_RESOLVING);
}

void roam_link_resolved(roam_client *c, const roam_wire *unit) {
  struct roam_attempt *a = &c->attempt;
  if (roam_fallback_resolved(c, unit)) return;
  if (c->phase != ROAM_PHASE_RESOLVING || unit->handle != a->question || a->question_due) return;
  size_t n = unit->kind == ROAM_WIRE_RESOLVED ? unit->addrs_len : 0;
  for (size_t i = 0; i < n && a->count < ROAM_CLIENT_ADDRS_MAX; i++) {
    if (unit->addrs[i].family != 4 && unit->addrs[i].family != 6) continue;
    a->addrs[a->count] = unit->addrs[i];
    a->addrs[a->count++].port = c->port;
  }
  if (a->count == 0) roam_link_blame(c, ROAM_E_RESOLVE, -1, 0, "name %s cannot be resolved", c->host);
  dial_next(c);
}

/* ---- what the transport says ---- */

static void tell_early(roam_client *c) {
  bool taken = roam_conn_get_info(c->link.conn).early_data_accepted;
  if (taken) c->past.early_accepted++;
  else c->past.early_rejected++;
  struct roam_entry *e = roam_client_event(c, ROAM_EV_EARLY_DATA);
  if (e) e->ev.rc = taken ? 0 : ROAM_E_REFUSED;
}

/* The ticket was void, and the server speaks other than the first flight did: what has been written is not in its
 * language. */
static bool speaks_other(const roam_client *c) {
  return (strcmp(roam_conn_alpn(c->link.conn), ROAM_ALPN_FLOWS) == 0) != c->link.flows;
}

static void begin_without_ticket(roam_client *c) {
  struct roam_saved_key key;
  struct roam_saved_time t;
  if (key_of(c, c->kind, &key, &t)) roam_saved_drop_ticket(&c->saved, &key);
  tell_early(c);
  c->redial = true;
  roam_link_leave(c, false);
}

/* Also for early data: what is written now leaves in the first flight. Until the handshake is done the link is still being
 * dialled, and a fallback may overtake it. */
void roam_link_opened(roam_client *c, const roam_te *te) {
  bool early = te->kind == ROAM_TE_EARLY;
  if (c->phase == ROAM_PHASE_DIALLING && !early && c->link.early && speaks_other(c)) {
    begin_without_ticket(c);
    return;
  }
  if (c->phase == ROAM_PHASE_DIALLING && !early && c->link.early && te->conn == c->link.conn) {
    c->link.local = te->local;
    c->link.remote = te->remote;
    roam_client_set_phase(c, ROAM_PHASE_GREETING);
    tell_early(c);
    return;
  }
  if (c->phase != ROAM_PHASE_DIALLING) return;
  c->link.local = te->local;
  c->link.remote = te->remote;
  if (roam_session_attached(c->session)) roam_session_detach(c->session, c->now); /* early data of one that was overtaken */
  c->link.flows = strcmp(roam_conn_alpn(c->link.conn), ROAM_ALPN_FLOWS) == 0;
  roam_session_set_flows(c->session, c->link.flows);
  roam_rc rc = c->link.flows && !c->o.bare_control ? roam_lanes_write_header(c, 0) : 0;
  if (rc == 0) rc = roam_talk_greet(c);
  c->link.early = early && rc == 0;
  if (c->link.early) {
    roam_session_early(c->session);
    return;
  }
  if (rc == 0) {
    roam_client_set_phase(c, ROAM_PHASE_GREETING);
    return;
  }
  roam_link_blame(c, rc, -1, 0, "%s", roam_strerror(rc));
  roam_link_leave(c, false);
}

static void on_closed(roam_client *c, const roam_te *te) {
  c->link.ended = true;
  c->link.fin = true;
  if (c->link.leaving) return;
  /* The server's own words, if any are still unread, come before what the transport makes of them. */
  c->link.pending_end =
      (struct roam_cause){.rc = te->rc != 0 ? te->rc : ROAM_E_PEER_CLOSED, .reason = -1, .code = te->code};
  const char *text = te->text ? te->text : roam_strerror(c->link.pending_end.rc);
  snprintf(c->link.pending_end.text, sizeof c->link.pending_end.text, "%s", text);
}

/* Servers abort the control stream with the MQTT reason as its code (taken over, kicked). */
static void on_reset(roam_client *c, const roam_te *te) {
  c->link.fin = true;
  if (c->link.pending_end.rc != 0) return;
  bool reason = te->code >= 0x80 && te->code <= 0xff;
  c->link.pending_end =
      (struct roam_cause){.rc = ROAM_E_PEER_CLOSED, .reason = reason ? (int)te->code : -1, .code = te->code};
  snprintf(c->link.pending_end.text, sizeof c->link.pending_end.text, "the server aborted the stream: %s (0x%02x)",
           reason ? roam_reason_text((int)te->code) : "code", (unsigned)te->code);
}

void roam_link_on_event(roam_client *c, const roam_te *te) {
  if (!te->conn) return;
  if (te->conn != c->link.conn) {
    roam_fallback_event(c, te);
    return;
  }
  switch (te->kind) {
    case ROAM_TE_EARLY:
    case ROAM_TE_OPENED: roam_link_opened(c, te); break;
    case ROAM_TE_LEARNED: roam_link_remember(c); break;
    case ROAM_TE_LANE_OPENED: roam_pushed_opened(c, te->lane); break;
    case ROAM_TE_LANE_FIN:
      if (te->lane == 0) c->link.fin = true;
      else roam_lanes_on_event(c, te);
      break;
    case ROAM_TE_LANE_RESET:
      if (te->lane == 0) on_reset(c, te);
      else roam_lanes_on_event(c, te);
      break;
    case ROAM_TE_PATH_PROBING:
    case ROAM_TE_PATH_MIGRATED:
    case ROAM_TE_PATH_FAILED: roam_policy_move_done(c, te); break;
    case ROAM_TE_CLOSED: on_closed(c, te); break;
    default: /* READABLE, WRITABLE: the pump looks anyway */ break;
  }
}

/* ---- leaving and the end ---- */

/* Not answered and left for dead. TCP is reset: otherwise a CONNECT that is still to arrive would be repeated by the kernel
 * long after, and take the session over from the connection that has replaced this one. */
static void abandon(roam_client *c) {
  c->left_at = c->now;
  if (c->kind != ROAM_TRANSPORT_QUIC) roam_conn_lane_reset(c->link.conn, c->now, 0, 0);
}

/* A CONNECT that was under way when we left may still arrive, once: who takes us over is then most likely ourselves. */
static bool taken_over_by_ourselves(roam_client *c) {
  if (c->link.cause.reason != ROAM_REASON_SESSION_TAKEN_OVER || c->left_at == 0) return false;
  bool own = c->now - c->left_at <= c->o.connect_timeout_ns;
  c->left_at = 0;
  return own;
}

void roam_link_leave(roam_client *c, bool flush) {
  struct roam_link *l = &c->link;
  if (!l->conn || l->leaving) return;
  l->leaving = true;
  int reason = l->cause.reason;
  if (!flush && l->cause.rc == ROAM_E_TIMEOUT && !l->ended) abandon(c);
  uint64_t code = !l->cause.connack && reason > 0 ? (uint64_t)reason : 0;
  if (!l->ended) roam_conn_close(l->conn, c->now, l->close_code ? l->close_code : code, flush);
}

void roam_link_overdue(roam_client *c) {
  const char *what = c->phase == ROAM_PHASE_RESOLVING  ? "the name was not resolved"
                     : c->phase == ROAM_PHASE_DIALLING ? "no answer"
                                                       : "connected, but no CONNACK came";
  unsigned seconds = (unsigned)((c->o.connect_timeout_ns + ROAM_S / 2) / ROAM_S);
  roam_link_blame(c, ROAM_E_TIMEOUT, -1, 0, "timed out: %s within %u s", what, seconds);
  if (c->phase == ROAM_PHASE_RESOLVING) fail_attempt(c);
  else roam_link_leave(c, false);
}

static void add_up(roam_client *c) {
  roam_conn_info info = roam_conn_get_info(c->link.conn);
  c->past.bytes_in += info.bytes_in;
  c->past.bytes_out += info.bytes_out;
  c->past.resumed += info.resumed;
  c->past.key_updates += info.key_updates;
  c->past.udp_in += info.udp_in;
  c->past.udp_out += info.udp_out;
  c->past.handshake_bytes_in += info.handshake_bytes_in;
  c->past.handshake_bytes_out += info.handshake_bytes_out;
  c->past.stream_bytes_out += info.stream_bytes_out;
  c->past.packets_lost += info.packets_lost;
}

void roam_link_finish(roam_client *c) {
  struct roam_link *l = &c->link;
  bool greeted = l->greeted;
  if (l->cause.rc == 0) l->cause = l->pending_end;
  if (l->cause.rc == 0) roam_link_blame(c, ROAM_E_LOST, -1, 0, "%s", roam_strerror(ROAM_E_LOST));
  l->cause.own = taken_over_by_ourselves(c);
  add_up(c);
  if (greeted) roam_lanes_detached(c); /* an attempt that came to nothing has opened none */
  if (greeted) roam_link_remember(c);
  roam_session_detach(c->session, c->now);
  roam_conn_release(l->conn);
  l->conn = NULL;
  roam_policy_move_lost(c, l->cause.rc, "the connection ended first");
  if (roam_client_wants_out(c)) {
    roam_policy_close(c, 0);
    return;
  }
  if (!c->redial && roam_fallback_finish(c, greeted)) return;
  if (c->redial) {
    c->redial = false;
    c->attempt.number--;
    roam_link_begin(c);
    return;
  }
  enum roam_verdict verdict = roam_policy_judge(&l->cause, c->ever_connected, greeted);
  if (verdict == ROAM_VERDICT_NEXT_ADDRESS && c->attempt.next < c->attempt.count) {
    dial_next(c);
    return;
  }
  roam_link_remember_trouble(c, greeted);
  roam_policy_after(c, greeted);
}
