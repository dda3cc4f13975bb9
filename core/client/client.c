/* client.c - making a client, the five verbs, getters, and the one setter of its state. What the verbs set in motion is in
 * the files that client.h lists.
 *
 * Theory of operation. A verb enters (now is stored; what the application has polled is acknowledged and its bytes are
 * given back), does its part (feed: the transport gets its units, a RESOLVED ends the question; tick: timers), and pumps.
 * Drain pumps too, because commands only queue, and then lets the transport write. Poll hands out events and never pumps:
 * what it hands out lives until the next verb or command.
 *
 *   NEW -> RESOLVING -> DIALLING -> GREETING -> CONNECTED -> WAITING -> (RESOLVING or DIALLING) ...
 *                                                CONNECTED -> CLOSING -> CLOSED, and from everywhere CLOSED for a fatal
 * reason
 *
 * One timer each: attempt.deadline (resolving, then each address from dial to CONNACK), retry_at (WAITING), close_at
 * (closing), move.retry_at (a migration that must wait), and those of transport and session. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

#include <stdio.h>

static const char *const phase_names[] = {"new",       "resolving", "dialling", "greeting",
                                          "connected", "closing",   "waiting",  "closed"};

void roam_client_set_phase(roam_client *c, enum roam_phase phase) {
  if (phase == c->phase) return;
  roam_trace(&c->o.log, c->now, PHASE, .client = c->id, .from = phase_names[c->phase], .to = phase_names[phase]);
  c->phase = phase;
}

struct roam_entry *roam_client_event(roam_client *c, roam_event_kind kind) {
  bool bounded = roam_events_waiting(&c->events) < ROAM_EVENTS_MAX + 2 * ROAM_EVENTS_BATCH;
  bool essential = kind == ROAM_EV_CLOSED || kind == ROAM_EV_DISCONNECTED;
  if (bounded || essential) (void)roam_events_reserve(&c->events, 1); /* else from the margin */
  struct roam_entry *e = bounded || essential ? roam_events_add(&c->events) : NULL;
  if (!e) {
    c->events_lost++;
    roam_trace(&c->o.log, c->now, EVENT_LOST, .client = c->id, .lost = roam_event_name(kind));
    return NULL;
  }
  e->ev.kind = kind;
  e->ev.at = c->now;
  return e;
}

/* ---- making ---- */

static char *make_id(roam_random *random) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
  char id[] = "roam-xxxxxxxxxxxxxxxx";
  for (size_t i = 5; i < sizeof id - 1; i++) id[i] = letters[roam_random_below(random, 26)];
  return strdup(id);
}

static roam_session *make_session(const roam_client_options *o) {
  roam_session_options so;
  roam_session_options_init(&so, ROAM_ROLE_CLIENT);
  so.version = o->version;
  so.receive_maximum = o->receive_maximum;
  so.send_window_max = o->send_window_max;
  so.maximum_packet_size = o->maximum_packet_size;
  so.topic_alias_maximum = o->topic_alias_maximum;
  so.queue_messages_max = o->queue_messages_max;
  so.queue_bytes_max = o->queue_bytes_max;
  so.overflow = ROAM_OVERFLOW_REFUSE;
  so.queue_qos0_offline = o->offline_queue;
  so.events_max = ROAM_EVENTS_BATCH;
  so.reason_strings = true;
  so.manual_ack = true; /* acknowledged once the application has polled, which only the client sees */
  return roam_session_new(&so);
}

/* PEM that was given is tried at once, so that a mistake shows here and not when the first connection is made. */
static roam_rc try_certificates(const roam_client *c) {
  const roam_tls_config *tls = &c->o.tls;
  if (!roam_client_secure(c->o.url) || (tls->ca.len == 0 && tls->certificate.len == 0)) return 0;
  roam_rc rc = 0;
  const char *why = NULL;
  roam_transport_free(roam_link_transport_new(c, c->kind, &rc, &why));
  return rc;
}

void roam_client_describe_url(roam_client *c) {
  static const char *const schemes[] = {"?", "mqtt-quic", "mqtt", "mqtts", "ws", "wss"};
  const char *scheme = schemes[c->kind];
  if (roam_client_is_local(c)) {
    snprintf(c->url, sizeof c->url, "unix://%s", c->host);
    return;
  }
  const char *host = roam_fallback_host(c, c->kind);
  bool bracketed = strchr(host, ':') != NULL;
  snprintf(c->url, sizeof c->url, bracketed ? "%s://[%s]:%u" : "%s://%s:%u", scheme, host, roam_fallback_port(c));
}

static roam_rc fill(roam_client *c, const roam_client_options *o, roam_random *random) {
  c->random = random;
  c->close_at = ROAM_NEVER;
  roam_rc rc = roam_client_options_copy(c, o);
  if (rc != 0) return rc;
  rc = roam_url_parse(c->o.url, &c->kind, c->host, sizeof c->host, &c->port);
  if (rc != 0) return rc;
  c->home_kind = c->kind;
  roam_client_describe_url(c);
  if (o->size >= offsetof(roam_client_options, state) + sizeof o->state && o->state.len > 0 &&
      !roam_saved_load(&c->saved, o->state))
    roam_trace(&c->o.log, c->now, STATE_UNREADABLE, .url = c->url);
  c->local = c->o.local;
  if (c->o.interface) memcpy(c->interface, c->o.interface, strlen(c->o.interface));
  roam_subs_init(&c->subs, c->o.subscriptions_max, c->o.version);
  c->id = c->o.client_id ? strdup(c->o.client_id) : make_id(random);
  c->session = make_session(&c->o);
  if (!roam_wander_init(c)) return ROAM_E_OPTION;
  roam_fallback_init(c);
  if (!c->id || !c->session || roam_events_reserve(&c->events, 1) != 0) return ROAM_E_MEMORY;
  return try_certificates(c);
}

roam_client *roam_client_new(const roam_client_options *o, roam_random *random, roam_rc *rc) {
  roam_rc ignored;
  if (!rc) rc = &ignored;
  *rc = !random ? ROAM_E_ARGUMENT : roam_client_option_error(o) ? ROAM_E_OPTION : 0;
  if (*rc != 0) return NULL;
  roam_client *c = calloc(1, sizeof *c);
  *rc = c ? fill(c, o, random) : ROAM_E_MEMORY;
  if (*rc == 0) return c;
  roam_client_free(c);
  return NULL;
}

void roam_client_free(roam_client *c) {
  if (!c) return;
  roam_events_reset(&c->events);
  if (c->session) roam_session_free(c->session);
  roam_transport_free(c->transport);
  roam_transport_free(c->second);
  roam_lanes_reset(&c->lanes);
  roam_saved_reset(&c->saved);
  if (c->arena && c->subs.kept.next) roam_subs_reset(&c->subs);
  roam_auth_free(c);
  if (c->arena) explicit_bzero(c->arena, c->arena_len); /* password and key */
  free(c->arena);
  free(c->id);
  free(c->response_information);
  free(c);
}

/* ---- the five verbs ---- */

static void enter(roam_client *c, roam_time now) {
  if (now > c->now) c->now = now;
  c->more = false;
  roam_client_settle_polled(c);
}

/* The transport gets its units in runs, as they came. */
static void feed_transport(roam_client *c, roam_transport *t, const roam_wire in[], size_t n) {
  size_t from = 0;
  for (size_t i = 0; i <= n; i++) {
    if (i < n && roam_transport_owns(t, &in[i])) continue;
    if (i > from) roam_transport_feed(t, c->now, in + from, i - from);
    from = i + 1;
  }
}

/* Roaming by itself and rivals; what they begin or end may have events of its own. */
static void look_around(roam_client *c) {
  roam_wander_look(c);
  roam_fallback_look(c);
}

void roam_client_feed(roam_client *c, roam_time now, const roam_wire in[], size_t n) {
  enter(c, now);
  for (size_t i = 0; i < n; i++) {
    roam_wander_feed(c, &in[i]);
    if (in[i].kind == ROAM_WIRE_RESOLVED || (in[i].kind == ROAM_WIRE_FAILED && in[i].handle < ROAM_CLIENT_TRANSPORT_FIRST))
      roam_link_resolved(c, &in[i]);
  }
  if (c->transport) feed_transport(c, c->transport, in, n);
  if (c->second) feed_transport(c, c->second, in, n);
  if (c->phase == ROAM_PHASE_CLOSED) return;
  roam_client_pump(c);
  look_around(c);
}

static bool attempting(const roam_client *c) {
  return c->phase >= ROAM_PHASE_RESOLVING && c->phase <= ROAM_PHASE_GREETING && !c->link.leaving;
}

/* Reconnecting waits for an application that does not poll: each attempt makes events. */
static bool may_retry(const roam_client *c) {
  return c->phase == ROAM_PHASE_WAITING && roam_events_waiting(&c->events) < ROAM_EVENTS_MAX;
}

static bool own_pings(const roam_client *c) { return c->link.greeted && c->link.conn && c->now < c->pings_own_until; }

static roam_time own_ping_due(const roam_client *c) {
  uint16_t keep_alive_s = roam_session_get_info(c->session).keep_alive_s;
  return keep_alive_s ? c->pinged_at + (roam_time)keep_alive_s * ROAM_S : ROAM_NEVER;
}

/* The session's timers, or what stands for them while bytes are held back (pump.c). */
static void tick_session(roam_client *c) {
  if (!own_pings(c)) {
    roam_session_tick(c->session, c->now);
    return;
  }
  if (c->now < own_ping_due(c)) return;
  c->pinged_at = c->now;
  roam_session_ping(c->session, c->now);
}

static void tick_timers(roam_client *c) {
  if (attempting(c) && c->now >= c->attempt.deadline) roam_link_overdue(c);
  if (attempting(c) && c->now >= c->close_at) {
    if (c->link.conn) roam_link_leave(c, false);
    else roam_policy_close(c, 0);
  }
  if (may_retry(c) && c->now >= c->retry_at) roam_link_begin(c);
  if (c->move.stage == ROAM_MOVE_WANTED && c->now >= c->move.retry_at) roam_policy_move(c);
}

void roam_client_tick(roam_client *c, roam_time now) {
  enter(c, now);
  if (c->transport) roam_transport_tick(c->transport, c->now);
  if (c->second) roam_transport_tick(c->second, c->now);
  if (c->phase == ROAM_PHASE_CLOSED) return;
  roam_client_pump(c); /* what has arrived may be the sign of life that a timer misses */
  tick_session(c);
  tick_timers(c);
  roam_pushed_tick(c);
  roam_client_pump(c);
  look_around(c);
}

static void ask(roam_wire *out, uint32_t question, const char *host, uint16_t port) {
  *out = (roam_wire){.kind = ROAM_WIRE_RESOLVE, .handle = question, .name = host};
  out->local.port = port;
}

static size_t drain_questions(roam_client *c, roam_wire out[], size_t n) {
  struct roam_fallback *f = &c->fallback;
  size_t k = 0;
  if (c->attempt.question_due && k < n) {
    c->attempt.question_due = false;
    if (c->phase == ROAM_PHASE_RESOLVING) ask(&out[k++], c->attempt.question, c->host, c->port);
  }
  if (f->question_due && k < n) {
    f->question_due = false;
    ask(&out[k++], f->question, f->host, f->port);
  }
  return k;
}

static size_t drain_transports(roam_client *c, roam_wire out[], size_t n) {
  size_t k = roam_transport_drain(c->transport, c->now, out, n);
  return c->second && k < n ? k + roam_transport_drain(c->second, c->now, out + k, n - k) : k;
}

size_t roam_client_drain(roam_client *c, roam_time now, roam_wire out[], size_t n) {
  enter(c, now);
  if (c->phase != ROAM_PHASE_CLOSED) roam_client_pump(c);
  size_t k = drain_questions(c, out, n);
  if (!c->transport) return k;
  k += drain_transports(c, out + k, n - k);
  /* Writing may end a connection. No unit is out yet whose bytes another drain could move. */
  if (k == 0 && c->phase != ROAM_PHASE_CLOSED && roam_client_pump(c)) k = drain_transports(c, out, n);
  return k;
}

static struct roam_lane_view view_of(const void *owner, uint32_t lane) { return roam_client_lane_view(owner, lane); }

size_t roam_client_poll(roam_client *c, roam_event ev[], size_t n) {
  struct roam_lane_views lanes = {view_of, c};
  size_t done = roam_events_poll(&c->events, ev, n, &lanes);
  c->more = n > 0 && done == n && roam_events_waiting(&c->events) > 0;
  for (size_t i = 0; i < done; i++)
    if (ev[i].kind == ROAM_EV_MESSAGE && ev[i].u.message.qos > 0 && !c->o.manual_ack) c->ack_due = true;
  return done;
}

static roam_time earlier(roam_time a, roam_time b) { return a < b ? a : b; }

roam_time roam_client_deadline(const roam_client *c) {
  roam_time at = c->transport ? roam_transport_deadline(c->transport) : ROAM_NEVER;
  if (c->second) at = earlier(at, roam_transport_deadline(c->second));
  if (c->more) return c->now;
  if (c->phase == ROAM_PHASE_CLOSED) return at;
  if (roam_client_wants_turn(c)) return c->now;
  at = earlier(at, own_pings(c) ? earlier(c->pings_own_until, own_ping_due(c)) : roam_session_deadline(c->session));
  if (attempting(c)) at = earlier(at, c->attempt.deadline);
  if (may_retry(c)) at = earlier(at, c->retry_at);
  if (roam_client_wants_out(c) && !c->link.leaving) at = earlier(at, c->close_at);
  if (c->move.stage == ROAM_MOVE_WANTED) at = earlier(at, c->move.retry_at);
  at = earlier(at, roam_fallback_deadline(c));
  at = earlier(at, roam_pushed_deadline(c));
  return earlier(at, roam_wander_deadline(c));
}

static void machine_feed(void *self, roam_time now, const roam_wire in[], size_t n) { roam_client_feed(self, now, in, n); }
static void machine_tick(void *self, roam_time now) { roam_client_tick(self, now); }
static size_t machine_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  return roam_client_drain(self, now, out, n);
}
static size_t machine_poll(void *self, roam_event ev[], size_t n) { return roam_client_poll(self, ev, n); }
static roam_time machine_deadline(const void *self) { return roam_client_deadline(self); }

roam_machine roam_client_machine(roam_client *c) {
  static const roam_machine_ops ops = {machine_feed, machine_tick, machine_drain, machine_poll, machine_deadline};
  return (roam_machine){&ops, c, c->random};
}

/* ---- getters ---- */

roam_bytes roam_client_saved(roam_client *c) { return roam_saved_encode(&c->saved); }

roam_client_state roam_client_get_state(const roam_client *c) {
  if (c->phase == ROAM_PHASE_CLOSED) return ROAM_CLIENT_CLOSED;
  if (roam_client_wants_out(c)) return ROAM_CLIENT_CLOSING;
  switch (c->phase) {
    case ROAM_PHASE_NEW: return ROAM_CLIENT_NEW;
    case ROAM_PHASE_CONNECTED: return ROAM_CLIENT_CONNECTED;
    case ROAM_PHASE_WAITING: return ROAM_CLIENT_WAITING;
    default: return ROAM_CLIENT_CONNECTING;
  }
}

const char *roam_client_id(const roam_client *c) { return c->id; }

const char *roam_client_response_information(const roam_client *c) { return c->response_information; }

roam_client_error_info roam_client_error(const roam_client *c) {
  if (c->error.rc == 0) return (roam_client_error_info){.reason = -1, .text = "no trouble so far"};
  return (roam_client_error_info){c->error.rc, c->error.reason, c->error.code, c->error_text};
}

roam_client_stats roam_client_get_stats(const roam_client *c) {
  roam_client_stats stats = c->past;
  roam_session_info session = roam_session_get_info(c->session);
  stats.transport = c->kind;
  stats.local = c->link.local;
  stats.remote = c->link.remote;
  stats.messages_in = session.messages_in;
  stats.messages_out = session.messages_out;
  stats.dropped += session.dropped;
  stats.inflight = session.inflight;
  stats.queued = session.queued;
  stats.lanes = roam_lanes_open(c);
  stats.flows = c->link.conn && c->link.flows;
  stats.server_flows = roam_pushed_count(c);
  stats.datagrams_in = c->datagrams_in;
  stats.datagrams_out = c->datagrams_out;
  if (!c->link.conn) return stats;
  roam_conn_info conn = roam_conn_get_info(c->link.conn);
  stats.local = conn.local;
  stats.remote = conn.remote;
  stats.rtt_ns = conn.rtt_ns;
  stats.cwnd_bytes = conn.cwnd_bytes;
  stats.bytes_in += conn.bytes_in;
  stats.bytes_out += conn.bytes_out;
  stats.ping_ns = conn.ping_ns;
  stats.min_rtt_ns = conn.min_rtt_ns;
  stats.resumed += conn.resumed;
  stats.key_updates += conn.key_updates;
  stats.udp_in += conn.udp_in;
  stats.udp_out += conn.udp_out;
  stats.handshake_bytes_in += conn.handshake_bytes_in;
  stats.handshake_bytes_out += conn.handshake_bytes_out;
  stats.stream_bytes_out += conn.stream_bytes_out;
  stats.packets_lost += conn.packets_lost;
  return stats;
}
