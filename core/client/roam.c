/* roam.c - policy: when trouble is fatal, how long to wait, when to migrate. The mechanisms are elsewhere: dialling and
 * leaving in link.c, paths in the transport.
 *
 * Three situations, three words. Rebind: a NAT gave us another public address; nothing is decided here, the transport's
 * next packet tells the server. Migrate: the application names another local address; the connection moves. Resume: the
 * connection is lost; a new one continues the session.
 *
 * What is fatal, that is, ends the client although `reconnect` is on:
 *  - what would be answered the same way for ever: a CONNACK that blames our credentials, identity, version or options; a
 * DISCONNECT for want of authorization or because the server has moved;
 *  - session taken over (0x8E): somebody else has our client id, and two that fight over it would disturb each other for
 * ever. Not so just after we left a connection for dead: its CONNECT may have arrived late;
 *  - before the first CONNACK of this client only: a certificate that is not acceptable, a server that does not speak MQTT
 * over QUIC, answers that are not MQTT. Later the same signs mean a captive portal or a broker being replaced: we wait.
 * Everything else is tried again, after a back-off that doubles from reconnect_min_ns to reconnect_max_ns, less a random
 * part of up to a half so that a thousand clients do not return in one moment. A connection that lived 1 s starts it
 * afresh; one that did not counts as one more failure, so that a server that accepts and closes is not hammered. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"

/* Reasons in CONNACK or DISCONNECT that an unchanged client meets again. */
static bool reason_is_final(int reason) {
  switch (reason) {
    case ROAM_REASON_UNSUPPORTED_VERSION:
    case ROAM_REASON_CLIENT_ID_NOT_VALID:
    case ROAM_REASON_BAD_USER_NAME_OR_PASSWORD:
    case ROAM_REASON_NOT_AUTHORIZED:
    case ROAM_REASON_BANNED:
    case ROAM_REASON_BAD_AUTHENTICATION_METHOD:
    case ROAM_REASON_SESSION_TAKEN_OVER:
    case ROAM_REASON_USE_ANOTHER_SERVER:
    case ROAM_REASON_SERVER_MOVED: return true;
    default: return false;
  }
}

/* Reasons that in a CONNACK can only mean our CONNECT, which will be the same next time. */
static bool connect_is_at_fault(int reason) {
  switch (reason) {
    case ROAM_REASON_MALFORMED_PACKET:
    case ROAM_REASON_PROTOCOL_ERROR:
    case ROAM_REASON_TOPIC_NAME_INVALID:
    case ROAM_REASON_PACKET_TOO_LARGE:
    case ROAM_REASON_PAYLOAD_FORMAT_INVALID:
    case ROAM_REASON_RETAIN_NOT_SUPPORTED:
    case ROAM_REASON_QOS_NOT_SUPPORTED: return true;
    default: return false;
  }
}

/* Errors that may be of one address and not of the next. */
static bool address_is_at_fault(roam_rc rc) {
  switch (rc) {
    case ROAM_E_CONN_REFUSED:
    case ROAM_E_TIMEOUT:
    case ROAM_E_UNREACHABLE:
    case ROAM_E_LOST:
    case ROAM_E_ADDRESS_NOT_AVAILABLE:
    case ROAM_E_IO:
    case ROAM_E_PERMISSION: return true;
    default: return false;
  }
}

enum roam_verdict roam_policy_judge(const struct roam_cause *cause, bool ever_connected, bool greeted) {
  if (reason_is_final(cause->reason) && !cause->own) return ROAM_VERDICT_GIVE_UP;
  if (cause->connack && connect_is_at_fault(cause->reason)) return ROAM_VERDICT_GIVE_UP;
  if (cause->rc == ROAM_E_VERSION || cause->rc == ROAM_E_OPTION || cause->rc == ROAM_E_ARGUMENT)
    return ROAM_VERDICT_GIVE_UP;
  bool strange = cause->rc == ROAM_E_CERTIFICATE || cause->rc == ROAM_E_ALPN || cause->rc == ROAM_E_MALFORMED ||
                 cause->rc == ROAM_E_PROTOCOL || cause->rc == ROAM_E_AUTHENTICATION;
  if (strange && !ever_connected) return ROAM_VERDICT_GIVE_UP;
  if (!greeted && address_is_at_fault(cause->rc)) return ROAM_VERDICT_NEXT_ADDRESS;
  return ROAM_VERDICT_RETRY;
}

uint64_t roam_policy_backoff(uint64_t min_ns, uint64_t max_ns, uint32_t attempt, uint64_t chance) {
  uint64_t wait = min_ns;
  for (uint32_t i = 1; i < attempt && wait < max_ns; i++) wait = wait > max_ns / 2 ? max_ns : wait * 2;
  if (wait > max_ns) wait = max_ns;
  uint64_t half = wait / 2;
  return wait - (half > 0 ? chance % (half + 1) : 0);
}

/* ---- the end of a connection or an attempt ---- */

static void fill_link(const roam_client *c, roam_event_link *link) {
  link->local = c->link.local;
  link->remote = c->link.remote;
  link->transport = (uint8_t)c->kind;
  link->version = c->o.version;
  link->attempt = c->attempt.number;
}

void roam_policy_tell_disconnected(roam_client *c, uint64_t retry_ns) {
  struct roam_entry *e = roam_client_event(c, ROAM_EV_DISCONNECTED);
  if (!e) return;
  e->ev.rc = c->error.rc;
  e->ev.reason = c->error.reason;
  fill_link(c, &e->ev.u.link);
  e->ev.u.link.retry_ns = retry_ns;
  roam_events_keep_text(e, c->error_text, roam_strerror(c->error.rc));
}

void roam_policy_close(roam_client *c, roam_rc rc) {
  roam_session_info left = roam_session_get_info(c->session);
  roam_client_set_phase(c, ROAM_PHASE_CLOSED);
  roam_fallback_cancel(c);
  struct roam_entry *e = roam_client_event(c, ROAM_EV_CLOSED);
  if (!e) return;
  e->ev.rc = rc;
  fill_link(c, &e->ev.u.link);
  if (rc != 0) {
    e->ev.reason = c->error.reason;
    roam_events_keep_text(e, c->error_text, roam_strerror(rc));
  } else if (left.queued + left.inflight > 0) {
    char text[96];
    snprintf(text, sizeof text, "closed; %u messages were not acknowledged", (unsigned)(left.queued + left.inflight));
    roam_events_keep_text(e, text, "closed; some messages were not acknowledged");
  }
}

void roam_policy_after(roam_client *c, bool was_connected) {
  if (roam_client_wants_out(c)) {
    roam_policy_close(c, 0);
    return;
  }
  if (c->o.reconnect && roam_redirect_follow(c, was_connected)) {
    uint64_t soon = 1 + roam_random_below(c->random, c->o.reconnect_min_ns);
    roam_policy_tell_disconnected(c, soon);
    c->attempt.number = 0;
    c->retry_at = c->now + soon;
    roam_client_set_phase(c, ROAM_PHASE_WAITING);
    return;
  }
  bool final = !c->o.reconnect || roam_policy_judge(&c->error, c->ever_connected, was_connected) == ROAM_VERDICT_GIVE_UP;
  if (final) {
    if (was_connected) roam_policy_tell_disconnected(c, 0);
    roam_policy_close(c, c->error.rc);
    return;
  }
  if (was_connected && c->now - c->link.connected_at >= ROAM_CLIENT_STEADY_NS) c->attempt.number = 0;
  uint64_t wait = roam_policy_backoff(c->o.reconnect_min_ns, c->o.reconnect_max_ns, c->attempt.number + was_connected,
                                      roam_random_u64(c->random));
  if (wait == 0) wait = 1;
  roam_policy_tell_disconnected(c, wait);
  c->retry_at = c->now + wait;
  roam_client_set_phase(c, ROAM_PHASE_WAITING);
}

/* ---- migration ---- */

static struct roam_entry *tell_path(roam_client *c, roam_event_kind kind) {
  struct roam_entry *e = roam_client_event(c, kind);
  if (!e) return NULL;
  e->ev.u.path.local = c->link.local;
  e->ev.u.path.remote = c->link.remote;
  e->ev.u.path.old_local = c->link.local;
  e->ev.u.path.old_remote = c->link.remote;
  return e;
}

static void count_move(roam_client *c, roam_migrate_how how, bool done) {
  roam_client_stats *s = &c->past;
  if (done) s->migrations++;
  else s->migrations_failed++;
  if (how == ROAM_MIGRATE_PROBE && done) s->probes++;
  else if (how == ROAM_MIGRATE_PROBE) s->probes_failed++;
  else if (done) s->immediates++;
  else s->immediates_failed++;
}

/* One line for each path event. */
static void log_path(const roam_client *c, const char *what, const roam_addr *from, const roam_addr *to, const char *why) {
  char a[ROAM_ADDR_TEXT_MAX], b[ROAM_ADDR_TEXT_MAX];
  roam_trace(&c->o.log, c->now, PATH_CHANGED, .client = c->id, .what = what, .from = roam_addr_format(from, a),
             .to = roam_addr_format(to, b), .why = why);
}

/* Later connections start where we moved to, from a port of the system's choice. */
static void adopt_local(roam_client *c) {
  c->local = c->move.local;
  c->local.port = 0;
  memcpy(c->interface, c->move.interface, sizeof c->interface);
}

void roam_policy_move_lost(roam_client *c, roam_rc rc, const char *text) {
  if (c->move.stage == ROAM_MOVE_NONE) return;
  c->move.stage = ROAM_MOVE_NONE;
  count_move(c, c->move.how, false);
  log_path(c, "failed", &c->link.local, &c->move.local, text);
  roam_wander_moved(c, rc, &c->move.local, false);
  struct roam_entry *e = tell_path(c, ROAM_EV_PATH_FAILED);
  if (!e) return;
  e->ev.u.path.local = c->move.local;
  e->ev.rc = rc;
  roam_events_keep_text(e, text, roam_strerror(rc));
}

/* The transport refuses while the handshake is not confirmed (ROAM_E_STATE) and while it has no free socket for one move
 * more (ROAM_E_LIMIT); both pass within a round trip or two, so the wish is kept and tried again. */
void roam_policy_move(roam_client *c) {
  struct roam_move *m = &c->move;
  if (m->stage != ROAM_MOVE_WANTED || !c->link.conn || c->link.ended || c->link.leaving) return;
  if (c->phase < ROAM_PHASE_CONNECTED) {
    m->retry_at = ROAM_NEVER; /* CONNACK calls again */
    return;
  }
  roam_rc rc = roam_conn_migrate(c->link.conn, c->now, &m->local, m->interface[0] ? m->interface : NULL, m->how);
  if (rc == 0) {
    m->stage = ROAM_MOVE_STARTED;
    return;
  }
  bool passing = rc == ROAM_E_STATE || rc == ROAM_E_LIMIT;
  if (passing && c->now < m->give_up_at) {
    m->retry_at = c->now + ROAM_CLIENT_MIGRATE_RETRY_NS;
    return;
  }
  roam_policy_move_lost(c, rc, passing ? "the server gave no leave to migrate within 3 s" : roam_strerror(rc));
}

void roam_policy_move_done(roam_client *c, const roam_te *te) {
  roam_event_kind kind = te->kind == ROAM_TE_PATH_PROBING    ? ROAM_EV_PATH_PROBING
                         : te->kind == ROAM_TE_PATH_MIGRATED ? ROAM_EV_PATH_MIGRATED
                                                             : ROAM_EV_PATH_FAILED;
  bool replaced = kind == ROAM_EV_PATH_FAILED && te->rc == ROAM_E_STATE; /* by the move that is under way now */
  struct roam_move done = c->move;
  if (kind != ROAM_EV_PATH_PROBING && !replaced && c->move.stage == ROAM_MOVE_STARTED) c->move.stage = ROAM_MOVE_NONE;
  if (kind == ROAM_EV_PATH_MIGRATED) {
    adopt_local(c);
    c->link.local = te->local;
    count_move(c, done.how, true);
    roam_wander_moved(c, 0, &te->local, !done.by_policy);
  }
  if (kind == ROAM_EV_PATH_PROBING && done.how == ROAM_MIGRATE_IMMEDIATE) c->link.local = te->local;
  if (kind == ROAM_EV_PATH_FAILED) {
    count_move(c, done.how, false);
    if (!replaced) roam_wander_moved(c, te->rc ? te->rc : ROAM_E_PATH, &te->local, false);
  }
  log_path(c,
           kind == ROAM_EV_PATH_PROBING    ? "probing"
           : kind == ROAM_EV_PATH_MIGRATED ? "moved"
                                           : "failed",
           &te->old_local, &te->local, te->text ? te->text : done.why);
  struct roam_entry *e = roam_client_event(c, kind);
  if (!e) return;
  e->ev.rc = te->rc;
  e->ev.u.path = (roam_event_path){te->local, te->remote, te->old_local, te->old_remote, te->validation_ns, te->gap_ns};
  const char *text = te->text ? te->text : done.why;
  if (text) roam_events_keep_text(e, text, roam_strerror(te->rc));
}

roam_rc roam_client_migrate(roam_client *c, roam_time now, const roam_addr *local, const char *interface, bool immediate) {
  if (now > c->now) c->now = now;
  if (c->phase == ROAM_PHASE_CLOSED || roam_client_wants_out(c)) return ROAM_E_CLOSED;
  bool named = interface && *interface;
  if ((!local || local->family == 0) && !named) return ROAM_E_ARGUMENT;
  if (named && strlen(interface) >= ROAM_CLIENT_INTERFACE_MAX) return ROAM_E_ARGUMENT;
  if (c->link.conn && c->kind != ROAM_TRANSPORT_QUIC) return ROAM_E_UNSUPPORTED;
  if (c->move.stage == ROAM_MOVE_WANTED) roam_policy_move_lost(c, ROAM_E_STATE, "replaced by a newer move");
  struct roam_move *m = &c->move;
  *m = (struct roam_move){.stage = ROAM_MOVE_WANTED, .how = immediate ? ROAM_MIGRATE_IMMEDIATE : ROAM_MIGRATE_PROBE};
  if (local) m->local = *local;
  if (named) memcpy(m->interface, interface, strlen(interface));
  m->give_up_at = c->now + ROAM_CLIENT_MIGRATE_PATIENCE_NS;
  if (!c->link.conn || immediate) adopt_local(c);
  roam_wander_choose(c, local && local->family ? local : NULL, interface);
  if (c->link.conn && immediate && c->phase < ROAM_PHASE_CONNECTED) {
    /* Nothing is worth moving yet, and what is under way starts from a dead address: begin anew. */
    m->stage = ROAM_MOVE_NONE;
    c->redial = true;
    roam_link_leave(c, false);
    return 0;
  }
  if (!c->link.conn) {
    m->stage = ROAM_MOVE_NONE;
    roam_policy_hint(c);
    return 0;
  }
  roam_policy_move(c);
  return 0;
}

/* ---- signs of a changed network ---- */

/* Something non-probing goes out at once; and who waits waits no longer, though never less than reconnect_min_ns between
 * the beginnings of two attempts. */
void roam_policy_hint(roam_client *c) {
  c->past.hints++;
  roam_fallback_hint(c);
  if (c->phase == ROAM_PHASE_WAITING) {
    roam_time soonest = c->attempt.began + c->o.reconnect_min_ns;
    if (soonest < c->now) soonest = c->now;
    if (soonest < c->retry_at) c->retry_at = soonest;
  }
  if (!c->link.conn || c->link.ended || c->link.leaving) return;
  if (c->kind == ROAM_TRANSPORT_QUIC) roam_conn_ping(c->link.conn, c->now);
  else if (c->phase == ROAM_PHASE_CONNECTED) roam_session_ping(c->session, c->now);
}
