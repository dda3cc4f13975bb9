/* fallback.c - more than one connection at a time, for as short as can be: QUIC and TLS race to connect, a connection that
 * is not answered any more is raced by a new one, and from TLS the client climbs back to QUIC.
 *
 * Theory of operation. Beside the link there may be two rivals, connections of which only the handshake is done: number 0
 * of the URL's transport, number 1 of TLS. The first that is open wins and becomes the link, with the same client id and
 * the same session. Nothing is given up before something better is at hand:
 *  - connecting: the first address is dialled over QUIC, the next fallback_delay_ns later, and so on (RFC 8305); TLS starts
 * fallback_delay_ns later, or at once when QUIC is refused; the loser is closed. Where UDP is known to be blocked, TLS
 * comes first and QUIC is tried later;
 *  - not answered for resume_after_ns: a new QUIC connection and, a little later, TLS are tried beside the old connection,
 * over the networks there are in turn. An answer on the old one ends them, otherwise the first that opens takes over;
 *  - over TLS: now and then, less often each time, and at every sign of a changed network, QUIC is tried; when it opens the
 *    client takes its leave (DISCONNECT 0, so that no Will is published) and goes on over QUIC.
 * Where TLS won, UDP is remembered as blocked for that network for a while (networks.c). TLS may have a host of its own,
 * and WebSocket in it (fallback_url); then it never comes first, but at once where UDP is blocked. It refuses plaintext. */
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "client/client.h"

#define RIVAL_PATIENCE_NS (3 * ROAM_S) /* then it is given up and tried anew, by another way */
#define RIVAL_AGAIN_NS (1 * ROAM_S)

enum {
  SAME = ROAM_RIVAL_SAME,
  TLS = ROAM_RIVAL_TLS
};

static roam_transport_kind kind_of(const roam_client *c, int i) { return i == SAME ? c->home_kind : c->fallback.kind; }

static roam_transport *transport_of(const roam_client *c, int i) { return i == SAME ? c->transport : c->second; }

static uint16_t port_of(const roam_client *c, roam_transport_kind kind) {
  return kind == c->home_kind ? c->port : c->fallback.port;
}

const char *roam_fallback_host(const roam_client *c, roam_transport_kind kind) {
  return kind == c->home_kind || !c->fallback.host[0] ? c->host : c->fallback.host;
}

uint16_t roam_fallback_port(const roam_client *c) { return port_of(c, c->kind); }

roam_rc roam_fallback_init(roam_client *c) {
  struct roam_fallback *f = &c->fallback;
  f->on = c->o.fallback && c->home_kind == ROAM_TRANSPORT_QUIC;
  f->winner = -1;
  f->rivals[SAME].at = f->rivals[TLS].at = ROAM_NEVER;
  f->kind = ROAM_TRANSPORT_TLS;
  f->port = c->o.fallback_port;
  if (!f->on || !c->o.fallback_url) return 0;
  return roam_url_parse(c->o.fallback_url, &f->kind, f->host, sizeof f->host, &f->port);
}

/* ---- where its host is ---- */

void roam_fallback_ask(roam_client *c) {
  struct roam_fallback *f = &c->fallback;
  if (!f->host[0]) return;
  if (roam_addr_parse(f->host, &f->addrs[0]) == 0) {
    f->count = 1;
    return;
  }
  f->question = roam_link_question(c);
  f->question_due = true;
}

/* Where nothing is found, what was found before still stands. */
bool roam_fallback_resolved(roam_client *c, const roam_wire *unit) {
  struct roam_fallback *f = &c->fallback;
  if (f->question == 0 || unit->handle != f->question || f->question_due) return false;
  size_t n = unit->kind == ROAM_WIRE_RESOLVED ? unit->addrs_len : 0, count = 0;
  for (size_t i = 0; i < n && count < ROAM_CLIENT_ADDRS_MAX; i++)
    if (unit->addrs[i].family == 4 || unit->addrs[i].family == 6) f->addrs[count++] = unit->addrs[i];
  f->question = 0;
  f->next = 0;
  if (count > 0) f->count = count;
  return true;
}

/* ---- the memory of networks ---- */

static struct roam_network *network_of(roam_client *c, const roam_addr *local) {
  struct roam_network *n = local->family ? roam_networks_at(&c->wander.networks, local) : NULL;
  if (!n) n = roam_networks_best(&c->wander.networks, c->now, 0, NULL, true);
  return n ? n : &c->fallback.anywhere;
}

roam_transport_kind roam_fallback_choose(roam_client *c) {
  if (!c->fallback.on || !c->second) return c->home_kind;
  bool blocked = network_of(c, &c->local)->udp_blocked_until > c->now && !c->fallback.host[0];
  c->fallback.why = blocked ? "UDP was blocked here a while ago" : "asked first";
  return blocked ? c->fallback.kind : c->home_kind;
}

/* ---- rivals ---- */

static void drop(roam_client *c, int i) {
  struct roam_rival *r = &c->fallback.rivals[i];
  if (r->conn) {
    roam_conn_set_user(r->conn, NULL);
    roam_conn_close(r->conn, c->now, 0, false); /* released when its end is told */
  }
  r->conn = NULL;
  r->open = false;
  if (c->fallback.winner == i) c->fallback.winner = -1;
}

void roam_fallback_cancel(roam_client *c) {
  for (int i = 0; i < 2; i++) {
    drop(c, i);
    c->fallback.rivals[i].at = ROAM_NEVER;
    c->fallback.rivals[i].tries = 0;
  }
}

/* Where a rival starts from: where the link stands, and each second time by the best other way. */
static const struct roam_network *way_of(roam_client *c, const struct roam_rival *r, uint8_t family) {
  struct roam_networks *networks = &c->wander.networks;
  struct roam_network *here = roam_networks_at(networks, &c->link.local), *other;
  other = roam_networks_best(networks, c->now, family, here, true);
  if (!here || !here->up || here->addr.family != family) return other;
  return r->tries % 2 && other ? other : here;
}

static void start(roam_client *c, int i, const roam_addr *host) {
  struct roam_fallback *f = &c->fallback;
  struct roam_rival *r = &f->rivals[i];
  if (i == TLS && f->count > 0) host = &f->addrs[f->next++ % f->count];
  if (i == SAME && f->host[0] && c->kind != c->home_kind && c->attempt.count > 0) /* the link is another host's */
    host = &c->attempt.addrs[r->tries % c->attempt.count];
  const struct roam_network *n = c->wander.on && !roam_addr_is_loopback(host) ? way_of(c, r, host->family) : NULL;
  roam_addr remote = roam_addr_with_port(*host, port_of(c, kind_of(c, i)));
  roam_addr local = n ? n->addr : c->wander.on ? (roam_addr){0} : c->local;
  const char *interface = n ? n->name : c->interface;
  r->tries++;
  r->at = ROAM_NEVER;
  r->give_up_at = c->now + RIVAL_PATIENCE_NS;
  roam_rc rc = roam_transport_dial(transport_of(c, i), c->now, &remote, &local,
                                   *interface && !(c->wander.on && !n) ? interface : NULL,
                                   c->o.server_name ? c->o.server_name : roam_fallback_host(c, kind_of(c, i)), c, &r->conn);
  if (rc == 0) {
    /* A ticket saves work. No early data: the CONNECT is the winner's, and is not said twice. */
    roam_link_resume(c, r->conn, kind_of(c, i), false);
    return;
  }
  r->conn = NULL;
  r->at = c->now + RIVAL_AGAIN_NS;
}

/* The rival becomes the link. It may still be dialling. */
static void adopt(roam_client *c, int i) {
  struct roam_rival *r = &c->fallback.rivals[i];
  bool open = r->open;
  roam_te te = {.kind = ROAM_TE_OPENED, .conn = r->conn};
  roam_conn_info info = roam_conn_get_info(r->conn);
  te.local = info.local;
  te.remote = info.remote;
  c->link = (struct roam_link){.number = c->link.number + 1, .conn = r->conn, .local = info.local, .remote = info.remote};
  c->kind = kind_of(c, i);
  roam_client_describe_url(c);
  r->conn = NULL;
  r->open = false;
  c->fallback.winner = -1;
  roam_fallback_cancel(c);
  c->attempt.dialled = c->now;
  c->attempt.deadline = c->now + c->o.connect_timeout_ns;
  roam_client_set_phase(c, ROAM_PHASE_DIALLING);
  if (!open) return;
  roam_link_opened(c, &te);
  roam_link_remember(c); /* what it learned while it was a rival */
}

/* ---- what happens to rivals ---- */

static void note_win(roam_client *c, int i, bool climb) {
  struct roam_network *n = network_of(c, &c->link.local);
  if (i == TLS) {
    roam_networks_udp_blocked(n, c->now);
    c->past.fallbacks++;
  } else if (climb) {
    roam_networks_udp_works(n);
    c->past.climbs++;
  }
}

/* Somebody better is there: the connection in use is left for it. */
static void take_over(roam_client *c, int i) {
  struct roam_fallback *f = &c->fallback;
  bool climb = i == SAME && c->kind != c->home_kind;
  f->winner = i;
  note_win(c, i, climb);
  if (climb) {
    f->why = "UDP gets through again";
    roam_link_blame(c, ROAM_E_CLOSED, -1, 0, "left for QUIC: %s", f->why);
    roam_session_disconnect(c->session, c->now, 0, (roam_bytes){0});
    c->link.leave_due = true;
    return;
  }
  f->why =
      i == TLS ? "QUIC was not answered any more, TLS was" : "the old connection was not answered any more, a new one was";
  roam_link_blame(c, ROAM_E_TIMEOUT, -1, 0, "%s", f->why);
  roam_link_leave(c, false);
}

static void on_open(roam_client *c, int i) {
  struct roam_fallback *f = &c->fallback;
  f->rivals[i].open = true;
  if (f->winner >= 0) return;
  if (c->phase == ROAM_PHASE_CONNECTED && c->link.conn && !c->link.leaving) {
    take_over(c, i);
    return;
  }
  if (c->phase != ROAM_PHASE_DIALLING || !c->link.conn) return; /* the link is greeting: let it */
  roam_conn_set_user(c->link.conn, NULL);
  roam_conn_close(c->link.conn, c->now, 0, false);
  c->link.conn = NULL;
  note_win(c, i, false);
  f->why = i == TLS ? "QUIC had not answered in time" : "another address was faster";
  adopt(c, i);
}

static void on_end(roam_client *c, int i) {
  struct roam_rival *r = &c->fallback.rivals[i];
  roam_conn_release(r->conn);
  r->conn = NULL;
  r->open = false;
  if (c->fallback.winner == i) c->fallback.winner = -1;
  r->at = c->now + RIVAL_AGAIN_NS;
}

void roam_fallback_event(roam_client *c, const roam_te *te) {
  for (int i = 0; i < 2; i++) {
    if (c->fallback.rivals[i].conn != te->conn) continue;
    if (te->kind == ROAM_TE_OPENED) on_open(c, i);
    else if (te->kind == ROAM_TE_CLOSED) on_end(c, i);
    return;
  }
  if (te->kind == ROAM_TE_CLOSED) roam_conn_release(te->conn); /* one that lost its race */
}

/* ---- the end of the link ---- */

bool roam_fallback_finish(roam_client *c, bool greeted) {
  struct roam_fallback *f = &c->fallback;
  if (f->winner >= 0 && f->rivals[f->winner].open) {
    roam_link_remember_trouble(c, greeted);
    if (greeted) roam_policy_tell_disconnected(c, 1);
    adopt(c, f->winner);
    return true;
  }
  f->winner = -1;
  if (!greeted && f->rivals[SAME].conn) { /* the next address has been under way for a while */
    adopt(c, SAME);
    return true;
  }
  bool may = f->on && c->second && (!f->host[0] || f->count > 0) && !greeted && c->kind == c->home_kind &&
             c->attempt.next > 0 && roam_policy_judge(&c->link.cause, c->ever_connected, false) != ROAM_VERDICT_GIVE_UP;
  if (may && !f->rivals[TLS].conn && f->rivals[TLS].tries == 0) start(c, TLS, &c->attempt.addrs[c->attempt.next - 1]);
  if (!may || !f->rivals[TLS].conn) {
    roam_fallback_cancel(c);
    return false;
  }
  f->why = "QUIC was refused or not answered";
  note_win(c, TLS, false);
  adopt(c, TLS);
  return true;
}

/* ---- when rivals are wanted ---- */

static bool has_network(const roam_client *c) {
  const struct roam_networks *n = &c->wander.networks;
  for (size_t i = 0; i < n->count; i++)
    if (n->list[i].up) return true;
  return !c->wander.on || n->count == 0;
}

/* When this rival is to start, or ROAM_NEVER; *any: some rival is wanted at all. */
static roam_time wanted_at(roam_client *c, int i, bool *any) {
  const struct roam_link *l = &c->link;
  bool has_tls = c->fallback.on && c->second && (!c->fallback.host[0] || c->fallback.count > 0);
  *any = false;
  if (!l->conn || l->ended || l->leaving || roam_client_wants_out(c)) return ROAM_NEVER;
  if (c->phase == ROAM_PHASE_DIALLING) {
    bool race = c->kind == c->home_kind && c->kind == ROAM_TRANSPORT_QUIC;
    *any = race && (i == TLS ? has_tls : c->attempt.next < c->attempt.count);
    bool at_once = i == TLS && c->fallback.host[0] && network_of(c, &c->local)->udp_blocked_until > c->now;
    return *any ? c->attempt.dialled + (at_once ? 0 : c->o.fallback_delay_ns) : ROAM_NEVER;
  }
  if (c->phase != ROAM_PHASE_CONNECTED || l->leave_due) return ROAM_NEVER;
  if (c->kind != c->home_kind) {
    *any = true;
    return i == SAME ? network_of(c, &l->local)->udp_blocked_until : ROAM_NEVER;
  }
  if (c->kind != ROAM_TRANSPORT_QUIC || c->o.resume_after_ns == 0 || !has_network(c)) return ROAM_NEVER;
  roam_time since = roam_conn_get_info(l->conn).unanswered_since;
  if (since == ROAM_NEVER || (i == TLS && !has_tls)) return ROAM_NEVER;
  roam_time at = since + c->o.resume_after_ns;
  *any = c->now >= at;
  return i == TLS ? at + c->o.fallback_delay_ns : at;
}

static roam_time later(roam_time a, roam_time b) { return a > b ? a : b; }

static roam_time start_at(roam_client *c, int i, bool *any) {
  const struct roam_rival *r = &c->fallback.rivals[i];
  roam_time at = wanted_at(c, i, any);
  if (c->phase == ROAM_PHASE_DIALLING && i == TLS && r->tries > 0) return ROAM_NEVER; /* once for each address */
  return at == ROAM_NEVER || r->at == ROAM_NEVER ? at : later(at, r->at);
}

static void look_after(roam_client *c, int i) {
  struct roam_rival *r = &c->fallback.rivals[i];
  bool any, climbing = c->phase == ROAM_PHASE_CONNECTED && c->kind != c->home_kind;
  roam_time at = start_at(c, i, &any);
  if (!any && c->fallback.winner < 0 && (r->conn || r->tries > 0) && c->phase == ROAM_PHASE_CONNECTED) {
    drop(c, i); /* an answer came on the old one */
    r->tries = 0;
    r->at = ROAM_NEVER;
    return;
  }
  if (r->conn && !r->open && c->phase == ROAM_PHASE_CONNECTED && c->now >= r->give_up_at) {
    drop(c, i);
    r->at = c->now;
    if (climbing) roam_networks_udp_blocked(network_of(c, &c->link.local), c->now);
    at = start_at(c, i, &any);
  }
  if (r->conn || at == ROAM_NEVER || c->now < at || c->fallback.winner >= 0) return;
  if (c->phase != ROAM_PHASE_DIALLING) start(c, i, &c->link.remote);
  else if (i == TLS) start(c, i, &c->attempt.addrs[c->attempt.next - 1]);
  else start(c, i, &c->attempt.addrs[c->attempt.next++]);
}

void roam_fallback_look(roam_client *c) {
  for (int i = 0; i < 2; i++) look_after(c, i);
}

roam_time roam_fallback_deadline(const roam_client *client) {
  roam_client *c = (roam_client *)(uintptr_t)client; /* only looked at */
  roam_time due = ROAM_NEVER;
  for (int i = 0; i < 2; i++) {
    const struct roam_rival *r = &c->fallback.rivals[i];
    bool any;
    roam_time at = start_at(c, i, &any);
    if (r->conn) at = r->open || c->phase != ROAM_PHASE_CONNECTED ? ROAM_NEVER : r->give_up_at;
    if (c->fallback.winner < 0 && at < due) due = at;
  }
  return due;
}

/* ---- words ---- */

void roam_fallback_connected(roam_client *c) {
  struct roam_fallback *f = &c->fallback;
  char text[160];
  if (c->kind == c->home_kind) roam_networks_udp_works(network_of(c, &c->link.local));
  if (!f->on && !f->why) return;
  const char *name = roam_transport_name(c->kind), *why = f->why ? f->why : "asked first";
  snprintf(text, sizeof text, "over %s: %s", name, why);
  f->why = NULL;
  roam_trace(&c->o.log, c->now, TRANSPORT_CHANGED, .client = c->id, .transport = name, .why = why);
  struct roam_entry *e = roam_client_event(c, ROAM_EV_TRANSPORT);
  if (!e) return;
  e->ev.u.link = (roam_event_link){
      .local = c->link.local, .remote = c->link.remote, .transport = (uint8_t)c->kind, .version = c->o.version};
  roam_events_keep_text(e, text, "another transport");
}

void roam_fallback_hint(roam_client *c) {
  if (c->kind == c->home_kind || c->phase != ROAM_PHASE_CONNECTED) return;
  struct roam_network *n = network_of(c, &c->link.local);
  if (n->udp_blocked_until > c->now) n->udp_blocked_until = c->now;
}
