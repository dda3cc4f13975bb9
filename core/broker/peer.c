/* peer.c - one connection: from the transport's events to its end, and the one place where its bytes change layer.
 *
 * Theory of operation
 *
 * Whatever concerns a peer (bytes, room, a message routed to it, its timer) only marks it. roam_peer_visit is the pump:
 * lane -> session, session's events -> requests.c, retained messages -> queue, session -> lane, and then the end, if there
 * is one. It is called for each marked peer after the batch that marked them, so many small packets and acknowledgements
 * leave together.
 *
 * The session's events are taken one at a time: each has views that the next call on the session may end. Bytes are
 * consumed when all their events have been handled, so what a client sends faster than we route stays in its own
 * flow-control window.
 *
 * A lane is read to its end before the connection's end counts: a DISCONNECT may stand there. An end without DISCONNECT is
 * abnormal, whatever code the transport was closed with.
 *
 * Data streams are lanes.c's; the pump calls it behind the control stream, which goes first. */
#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

#include "mqtt/flow.h"
#include <string.h>

#define SLICES 64
#define CODE_ORDERLY 0 /* QUIC application error codes */
#define CODE_ABNORMAL 1

/* ---- life ---- */

void roam_peer_mark(roam_broker *b, struct roam_peer *p) {
  if (roam_list_empty(&p->dirty)) roam_list_push_back(&b->dirty, &p->dirty);
}

static void refuse_conn(roam_broker *b, roam_conn *conn, const roam_te *te, roam_rc rc, const char *text) {
  b->stats.connects_refused++;
  roam_event *ev = roam_broker_tell(b, ROAM_EV_PEER_REFUSED, NULL, text);
  ev->rc = rc;
  ev->u.link = (roam_event_link){
      .local = te->local, .remote = te->remote, .transport = (uint8_t)roam_transport_get_kind(roam_conn_transport(conn))};
  roam_conn_set_user(conn, NULL);
  roam_conn_close(conn, b->now, CODE_ABNORMAL, false);
}

static bool is_quic(const roam_conn *conn) {
  return roam_transport_get_kind(roam_conn_transport(conn)) == ROAM_TRANSPORT_QUIC;
}

static void accept_conn(roam_broker *b, const roam_te *te) {
  if (b->stopping || b->peers_count >= b->o.connections_max) {
    refuse_conn(b, te->conn, te, ROAM_E_LIMIT, b->stopping ? "the broker is stopping" : "connections_max is reached");
    return;
  }
  struct roam_peer *p = calloc(1, sizeof *p);
  if (!p || roam_heap_set(&b->timers, &p->timer, b->now + b->o.connect_timeout_ns) != 0) {
    free(p);
    refuse_conn(b, te->conn, te, ROAM_E_MEMORY, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  p->conn = te->conn;
  p->remote = te->remote;
  p->known = !is_quic(te->conn);
  if (!is_quic(te->conn) && !roam_access_arrived(b, p)) {
    roam_heap_remove(&b->timers, &p->timer);
    free(p);
    refuse_conn(b, te->conn, te, ROAM_E_LIMIT, ROAM_ACCESS_CROWDED);
    return;
  }
  p->proved = te->remote;
  if (!roam_held_enter(b, p)) {
    roam_access_gone(b, p);
    roam_heap_remove(&b->timers, &p->timer);
    free(p);
    refuse_conn(b, te->conn, te, ROAM_E_LIMIT, "memory_max is reached");
    return;
  }
  p->number = ++b->peer_next;
  p->local = te->local;
  p->end.reason = -1;
  p->silent_at = p->arrives_at = ROAM_NEVER;
  roam_list_init(&p->dirty);
  roam_list_init(&p->held);
  roam_list_init(&p->claiming);
  roam_list_push_back(&b->peers, &p->all);
  b->peers_count++;
  roam_conn_set_user(te->conn, p);
}

void roam_peer_free(roam_broker *b, struct roam_peer *p) {
  roam_mail_unclaim(p);
  roam_access_forget(b, p);
  roam_access_gone(b, p);
  roam_held_forget(b, p);
  roam_heap_remove(&b->timers, &p->timer);
  roam_list_remove(&p->all);
  roam_list_remove(&p->dirty);
  roam_list_remove(&p->held);
  if (!p->record) roam_session_free(p->session);
  roam_lanes_free(p);
  b->peers_count--;
  free(p);
}

/* ---- what the transport says ---- */

static void move(roam_broker *b, struct roam_peer *p, const roam_te *te) {
  char id[ROAM_ID_TEXT_MAX], from[ROAM_ADDR_TEXT_MAX], to[ROAM_ADDR_TEXT_MAX];
  roam_addr old = p->remote;
  p->remote = te->remote;
  p->local = te->local;
  roam_access_moved(b, p);
  if (!p->record) return;
  roam_history_moved(&p->record->history, b->now, &te->remote);
  b->stats.moves++;
  b->stats.moves_port += roam_addr_same_ip(&old, &te->remote);
  roam_trace(&b->o.log, b->now, CLIENT_MOVED, .client = roam_id_text(p->record->id, id),
             .from = roam_addr_format(&old, from), .to = roam_addr_format(&te->remote, to));
  roam_event *ev = roam_broker_tell(b, ROAM_EV_PEER_MOVED, p->record->id, NULL);
  ev->peer = p->number;
  ev->u.path = (roam_event_path){.local = te->local,
                                 .remote = te->remote,
                                 .old_local = te->old_local,
                                 .old_remote = old,
                                 .validation_ns = te->validation_ns};
}

static void note_closed(struct roam_peer *p, const roam_te *te) {
  p->closed = true;
  p->end.rc = te->rc != 0 ? te->rc : te->by_peer ? ROAM_E_PEER_CLOSED : 0;
  p->end.text = te->text;
}

void roam_peer_on_event(roam_broker *b, const roam_te *te) {
  struct roam_peer *p = roam_conn_user(te->conn);
  if (te->kind == ROAM_TE_ACCEPTED) {
    accept_conn(b, te);
    return;
  }
  if (!p) {
    if (te->kind == ROAM_TE_CLOSED) roam_conn_release(te->conn);
    return;
  }
  switch (te->kind) {
    case ROAM_TE_OPENED:
      if (p->state == ROAM_PEER_NEW) p->state = ROAM_PEER_GREETING;
      p->flows = strcmp(roam_conn_alpn(p->conn), ROAM_ALPN_FLOWS) == 0;
      if (!roam_access_fits(b, p)) roam_peer_leave(b, p, (struct roam_end){ROAM_E_LIMIT, -1, ROAM_ACCESS_CROWDED}, false);
      break;
    case ROAM_TE_PEER_PROVED: roam_access_proved(b, p); break;
    case ROAM_TE_LANE_OPENED: roam_lanes_opened(b, p, te->lane); break;
    case ROAM_TE_DATAGRAM: p->datagrams = true; break;
    case ROAM_TE_LANE_FIN:
    case ROAM_TE_LANE_RESET:
      p->fin |= te->lane == 0;
      roam_lanes_ended(b, p, te);
      break;
    case ROAM_TE_PEER_MOVED: move(b, p, te); break;
    case ROAM_TE_CLOSED: note_closed(p, te); break;
    default: break;
  }
  roam_peer_mark(b, p);
}

/* ---- the pump ---- */

roam_rc roam_peer_write(roam_broker *b, struct roam_peer *p, uint32_t stream, uint32_t lane) {
  for (;;) {
    roam_slice slices[SLICES];
    size_t room = roam_conn_room(p->conn, stream);
    size_t n = room > 0 ? roam_session_drain(p->session, b->now, lane, room, slices, SLICES) : 0;
    if (n == 0) return 0;
    roam_rc rc = roam_conn_write(p->conn, b->now, stream, slices, n);
    if (rc != 0) return rc;
    for (size_t i = 0; i < n; i++) b->stats.bytes_out += slices[i].len;
  }
}

/* What the session counts as sent and was not, only a new connection can mend. */
static void write_lane(roam_broker *b, struct roam_peer *p) {
  if (!p->session || p->closed || p->failed) return;
  p->failed = roam_peer_write(b, p, 0, 0) != 0;
}

void roam_peer_take_events(roam_broker *b, struct roam_peer *p) {
  roam_session_event ev;
  p->reading = true;
  while (p->state == ROAM_PEER_UP && roam_session_poll(p->session, &ev, 1) == 1) roam_request_take(b, p, &ev);
  p->reading = false;
}

/* True: more may be read at once. */
static bool read_lane(roam_broker *b, struct roam_peer *p) {
  roam_bytes bytes = roam_conn_peek(p->conn, 0);
  size_t used = 0;
  if (bytes.len > 0) roam_session_feed(p->session, b->now, 0, bytes, &used);
  roam_peer_take_events(b, p);
  if (used > 0) roam_conn_consume(p->conn, b->now, 0, used);
  b->stats.bytes_in += used;
  return used > 0 && used < bytes.len;
}

static void release(roam_broker *b, struct roam_peer *p) {
  roam_conn *conn = p->conn;
  roam_conn_info info = roam_conn_get_info(conn);
  b->stats.moves_validated += info.paths_validated;
  b->stats.moves_unvalidated += info.paths_failed;
  roam_peer_free(b, p);
  roam_conn_release(conn);
}

/* What is not over yet and must be. False: the peer is gone. */
static bool settle(roam_broker *b, struct roam_peer *p) {
  if (p->failed && p->state == ROAM_PEER_UP)
    roam_peer_leave(b, p, (struct roam_end){ROAM_E_MEMORY, -1, "no memory to send with"}, false);
  bool over = p->closed || p->fin;
  if (over && p->state != ROAM_PEER_LEFT) {
    struct roam_end end = p->end;
    if (p->flows && !p->closed && roam_conn_peek(p->conn, 0).len > 0) p->close_code = ROAM_FLOWS_PROTOCOL; /* level 0 */
    if (end.rc == 0) end.rc = ROAM_E_PEER_CLOSED;
    roam_peer_leave(b, p, end, false);
  }
  if (p->state == ROAM_PEER_PARTING && (p->failed || roam_session_get_info(p->session).drained))
    roam_peer_leave(b, p, p->end, !p->failed);
  if (!p->closed) return true;
  release(b, p);
  return false;
}

void roam_peer_visit(roam_broker *b, struct roam_peer *p) {
  bool more = false;
  roam_list_remove(&p->dirty);
  roam_access_settle_move(b, p);
  bool served = (p->state == ROAM_PEER_UP || p->state == ROAM_PEER_GREETING) && !p->failed;
  bool stalled = served && roam_durable_stalled(b);
  if (p->state == ROAM_PEER_GREETING && !stalled) roam_connect_read(b, p);
  roam_durable_enter(b, p);
  if (p->state == ROAM_PEER_UP && p->datagrams && !stalled) more = roam_lanes_read_datagrams(b, p);
  if (p->state == ROAM_PEER_UP && !stalled) more |= read_lane(b, p); /* a DISCONNECT may stand there */
  do {
    roam_durable_enter(b, p);
    write_lane(b, p);
    if (p->state == ROAM_PEER_UP && p->push_due) roam_push_open(b, p);
    if (p->state == ROAM_PEER_UP && p->lanes_len > 0) more |= roam_lanes_visit(b, p);
    roam_peer_take_events(b, p); /* writing may end in a fault */
  } while (p->state == ROAM_PEER_UP && !p->failed && roam_replay_step(b, p->record));
  if (more && p->state == ROAM_PEER_UP) {
    roam_peer_mark(b, p); /* its end, if there is one, waits behind what is still to be read */
    return;
  }
  if (p->record) {
    roam_sessions_count_queue(b, p->record);
    p->record->queued_left = p->record->queued_seen;
  }
  roam_held_check(b, p);
  roam_durable_leave(b, p);
  if (stalled) { /* what it still has to say is read when the disk has caught up */
    roam_durable_wait(b, p);
    roam_peer_arm(b, p);
    return;
  }
  if (settle(b, p)) roam_peer_arm(b, p);
}

/* ---- time ---- */

static roam_time timer_of(const struct roam_peer *p) { return p->timer.index != 0 ? p->timer.at : ROAM_NEVER; }

/* The timer may be early: then it finds nothing to do and is set again. So packets need not touch the heap. */
void roam_peer_arm(roam_broker *b, struct roam_peer *p) {
  if (p->state != ROAM_PEER_UP) return;
  roam_time due = roam_session_deadline(p->session), lanes = roam_lanes_deadline(p);
  if (p->silent_at < due) due = p->silent_at;
  if (p->arrives_at < due) due = p->arrives_at;
  if (lanes < due) due = lanes;
  if (due < timer_of(p) && roam_heap_set(&b->timers, &p->timer, due) != 0) p->failed = true;
}

/* A client with Keep Alive 0 has promised nothing (section 3.1.2.10); over
 * QUIC our own pings tell whether it is there. Over TCP nothing does, and nothing ends it. */
void roam_peer_mind_silence(roam_broker *b, struct roam_peer *p) {
  if (!is_quic(p->conn)) return;
  p->silent_bytes = roam_conn_get_info(p->conn).bytes_in;
  p->silent_at = b->now + b->o.silent_max_ns;
}

static void look_for_silence(roam_broker *b, struct roam_peer *p) {
  if (b->now < p->silent_at) return;
  uint64_t bytes = roam_conn_get_info(p->conn).bytes_in;
  if (bytes == p->silent_bytes)
    roam_peer_leave(b, p, (struct roam_end){ROAM_E_TIMEOUT, -1, "nothing heard for silent_max_ns"}, false);
  else roam_peer_mind_silence(b, p);
}

void roam_peer_due(roam_broker *b, struct roam_peer *p) {
  roam_heap_remove(&b->timers, &p->timer);
  switch (p->state) {
    case ROAM_PEER_NEW:
    case ROAM_PEER_GREETING:
      if (p->claim_connect) {
        roam_peer_leave(b, p, (struct roam_end){ROAM_E_TIMEOUT, -1, "no other worker has answered in time"}, false);
        break;
      }
      if (p->waiting) {
        roam_access_overdue(b, p);
        break;
      }
      roam_peer_leave(b, p, (struct roam_end){ROAM_E_TIMEOUT, -1, "no CONNECT within connect_timeout_ns"}, false);
      break;
    case ROAM_PEER_UP:
      roam_session_tick(p->session, b->now);
      look_for_silence(b, p);
      roam_lanes_due(b, p);
      break;
    case ROAM_PEER_PARTING: roam_peer_leave(b, p, p->end, false); break;
    case ROAM_PEER_LEFT: break;
  }
  roam_peer_mark(b, p);
}

/* ---- the end ---- */

static void tell_left(roam_broker *b, struct roam_peer *p, struct roam_end end) {
  char id[ROAM_ID_TEXT_MAX], from[ROAM_ADDR_TEXT_MAX];
  bool known = p->record != NULL;
  roam_event *ev =
      roam_broker_tell(b, known ? ROAM_EV_PEER_DISCONNECTED : ROAM_EV_PEER_REFUSED, known ? p->record->id : NULL, end.text);
  ev->rc = end.rc;
  ev->reason = end.reason;
  ev->peer = p->number;
  ev->u.link = (roam_event_link){.local = p->local,
                                 .remote = p->remote,
                                 .transport = (uint8_t)roam_transport_get_kind(roam_conn_transport(p->conn)),
                                 .version = known ? p->record->version : 0};
  const char *why = end.text         ? end.text
                    : end.reason > 0 ? roam_reason_text(end.reason)
                    : end.rc         ? roam_strerror(end.rc)
                                     : "goodbye";
  if (known)
    roam_trace(&b->o.log, b->now, CLIENT_DISCONNECTED, .client = roam_id_text(p->record->id, id),
               .address = roam_addr_format(&p->remote, from), .why = why);
  else roam_trace(&b->o.log, b->now, CONNECTION_REFUSED, .address = roam_addr_format(&p->remote, from), .why = why);
}

static void count_refused(roam_broker *b, const struct roam_peer *p) {
  if (p->state == ROAM_PEER_NEW) b->stats.handshakes_failed++;
  else if (p->state == ROAM_PEER_GREETING) b->stats.connects_refused++;
}

void roam_peer_leave(roam_broker *b, struct roam_peer *p, struct roam_end end, bool flush) {
  if (p->state == ROAM_PEER_LEFT) return;
  roam_mail_unclaim(p);
  roam_access_forget(b, p);
  if (flush) write_lane(b, p);
  count_refused(b, p);
  if (p->state != ROAM_PEER_PARTING) tell_left(b, p, end);
  struct roam_record *r = p->record;
  if (r) roam_lanes_left(b, r, p);
  p->record = NULL;
  if (!r) roam_session_free(p->session);
  p->session = NULL;
  p->state = ROAM_PEER_LEFT;
  roam_held_forget(b, p);
  roam_heap_remove(&b->timers, &p->timer);
  uint64_t code = end.rc == 0 || end.reason > 0 ? CODE_ORDERLY : CODE_ABNORMAL;
  roam_conn_close(p->conn, b->now, p->close_code ? p->close_code : code, flush);
  roam_peer_mark(b, p);
  if (r) roam_sessions_left(b, r);
}

static void say_goodbye(const roam_broker *b, roam_session *session, uint8_t reason, const char *text) {
  uint8_t space[256];
  roam_props props = {.base = space, .cap = sizeof space};
  roam_bytes words = {(const uint8_t *)text, text ? strlen(text) : 0};
  if (words.len > 0) roam_props_put_bytes(&props, ROAM_PROP_REASON_STRING, words); /* what does not fit is left out */
  roam_session_disconnect(session, b->now, reason, (roam_bytes){props.base, props.len});
}

void roam_peer_say(roam_broker *b, struct roam_peer *p, uint8_t reason, const char *text) {
  say_goodbye(b, p->session, reason, text);
  roam_peer_leave(b, p, (struct roam_end){ROAM_E_REFUSED, reason, text}, true);
}

void roam_peer_say_with(roam_broker *b, struct roam_peer *p, uint8_t reason, roam_bytes props, const char *text) {
  roam_session_disconnect(p->session, b->now, reason, props);
  roam_peer_leave(b, p, (struct roam_end){ROAM_E_REFUSED, reason, text}, true);
}

void roam_peer_part(roam_broker *b, struct roam_peer *p, roam_session *session, struct roam_end end) {
  tell_left(b, p, end);
  p->record = NULL;
  p->lanes_len = 0; /* their streams end with the connection */
  p->session = session;
  p->end = end;
  p->state = ROAM_PEER_PARTING;
  roam_session_clear(session, b->now);
  say_goodbye(b, session, (uint8_t)end.reason, end.text);
  if (roam_heap_set(&b->timers, &p->timer, b->now + ROAM_BROKER_FLUSH_NS) != 0) p->failed = true;
  roam_peer_mark(b, p);
}
