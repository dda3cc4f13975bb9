/* wander.c - roaming by itself: what a client sees of its networks becomes pings and moves. Which network is best and how
 * often to ping is decided in networks.c and ping.c; how a move is made, in roam.c and the transport.
 *
 * Theory of operation. Four kinds of signs, from sure to vague:
 *  - the address we stand on is gone (ADDR), or the machine refuses to send from it (SENDFAIL): the best other network is
 *    taken at once, without asking whether it works (immediate), and the next when it does not;
 *  - silence: what must be acknowledged is not for two probe time-outs. Something non-probing goes out (a NAT may have
 *    rebound us), and a probe time-out later the best other network is probed; the old path stays in use until it answers;
 *  - a better network is there and has settled: it is probed and taken; so is the preferred one when it returns;
 *  - something changed (any other ADDR, WAKE, the application's hint): something non-probing goes out at once.
 * One move at a time. A network that failed is left alone for a while; when all have failed, they are tried again as their
 * whiles end, for as long as the connection lives.
 *
 * What the application chose by roam_client_migrate counts as the best while it is up. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "client/client.h"

#define SILENT_MIN_NS (100 * ROAM_MS)
#define PING_AGAIN_NS (1 * ROAM_S)
#define JUDGE_NS (3 * ROAM_S) /* after a silence: a token for a new address would have come by then */

bool roam_wander_init(roam_client *c) {
  struct roam_wander *w = &c->wander;
  w->on = c->o.roam && c->o.local.family == 0 && !c->o.interface;
  w->judge_at = ROAM_NEVER;
  roam_ping_init(&w->ping, c->o.ping_ns, c->o.ping_min_ns, c->o.ping_max_ns);
  return roam_networks_init(&w->networks, c->o.interfaces, c->o.roam_settle_ns);
}

/* ---- what is seen ---- */

static bool is_usable(const roam_client *c) {
  return c->link.conn && c->kind == ROAM_TRANSPORT_QUIC && c->phase == ROAM_PHASE_CONNECTED && !c->link.ended &&
         !c->link.leaving;
}

static bool may_move(const roam_client *c) {
  return c->wander.on && is_usable(c) && !roam_addr_is_loopback(&c->link.remote);
}

/* Errors of this machine's own network, not of the server's. */
static bool is_network_error(int error) {
  return error == ENETUNREACH || error == ENETDOWN || error == EADDRNOTAVAIL || error == EHOSTUNREACH || error == ENODEV ||
         error == EINVAL;
}

static void tell_trouble(roam_client *c, roam_rc rc, const char *text) {
  c->past.troubles++;
  roam_trace(&c->o.log, c->now, PATH_TROUBLE, .client = c->id, .why = text);
  struct roam_entry *e = roam_client_event(c, ROAM_EV_PATH_TROUBLE);
  if (!e) return;
  e->ev.rc = rc;
  e->ev.u.path = (roam_event_path){
      .local = c->link.local, .remote = c->link.remote, .old_local = c->link.local, .old_remote = c->link.remote};
  roam_events_keep_text(e, text, "path in trouble");
}

static void lose(roam_client *c, roam_rc rc, const char *text) {
  if (c->wander.lost) return;
  c->wander.lost = true;
  c->wander.lost_at = c->now;
  tell_trouble(c, rc, text);
}

static void feed_addr(roam_client *c, const roam_wire *unit) {
  struct roam_wander *w = &c->wander;
  struct roam_network *n = roam_networks_note(&w->networks, c->now, unit->name, &unit->local, unit->up);
  if (n) {
    char text[ROAM_ADDR_TEXT_MAX];
    roam_trace(&c->o.log, c->now, NETWORK, .client = c->id, .interface = n->name,
               .address = roam_addr_format(&n->addr, text), .state = n->up ? "up" : "down");
    if (!n->up && roam_addr_same_ip(&n->addr, &w->chosen)) w->chosen = (roam_addr){0};
    bool target = c->move.stage != ROAM_MOVE_NONE && c->move.by_policy && roam_addr_same_ip(&n->addr, &c->move.local);
    if (!n->up && target) c->move.stage = ROAM_MOVE_NONE; /* a newer move replaces it */
    bool bytes = w->on && c->link.greeted && c->link.conn && !c->link.ended && c->kind != ROAM_TRANSPORT_QUIC;
    if (!n->up && bytes && roam_addr_same_ip(&n->addr, &c->link.local)) { /* TCP cannot move */
      roam_link_blame(c, ROAM_E_UNREACHABLE, -1, 0, "the address is gone");
      roam_link_leave(c, false);
    }
    if (is_usable(c) && roam_addr_same_ip(&n->addr, &c->link.local)) {
      if (!n->up) lose(c, ROAM_E_UNREACHABLE, "the address is gone");
      else w->lost = false;
    }
  }
  if (n || unit->local.family == 0) roam_policy_hint(c);
}

void roam_wander_feed(roam_client *c, const roam_wire *unit) {
  switch (unit->kind) {
    case ROAM_WIRE_ADDR: feed_addr(c, unit); break;
    case ROAM_WIRE_WAKE: roam_policy_hint(c); break;
    case ROAM_WIRE_SENDFAIL:
      if (is_usable(c) && is_network_error(unit->error) && roam_addr_same_ip(&unit->local, &c->link.local))
        lose(c, ROAM_E_UNREACHABLE, "the network refuses to send");
      break;
    default: break;
  }
}

/* ---- where to begin ---- */

/* With a list of preferences its best is where to begin; without, the routing table decides. Each second attempt goes by
 * the other way, for the first may lead nowhere. */
void roam_wander_start(roam_client *c) {
  struct roam_wander *w = &c->wander;
  if (!w->on || w->networks.count == 0 || roam_client_is_local(c)) return;
  if (c->attempt.count > 0 && roam_addr_is_loopback(&c->attempt.addrs[0])) return; /* no network leads there */
  const struct roam_network *chosen = w->chosen.family ? roam_networks_at(&w->networks, &w->chosen) : NULL;
  bool listed = w->networks.wishes_count > 0, other = c->attempt.number % 2 == 0;
  const struct roam_network *n = NULL;
  if (chosen && chosen->up && !other) n = chosen;
  else if (listed != other) n = roam_networks_best(&w->networks, c->now, 0, NULL, true);
  if (!n && !chosen && !other && (w->chosen.family || w->named))
    return; /* the application's word, of what we know nothing of */
  c->local = n ? n->addr : (roam_addr){0};
  memset(c->interface, 0, sizeof c->interface);
  if (n) memcpy(c->interface, n->name, strlen(n->name));
}

void roam_wander_choose(roam_client *c, const roam_addr *local, const char *interface) {
  struct roam_wander *w = &c->wander;
  w->chosen = local ? roam_addr_with_port(*local, 0) : (roam_addr){0};
  w->named = interface && *interface;
  for (size_t i = 0; w->named && !local && i < w->networks.count; i++) {
    const struct roam_network *n = &w->networks.list[i];
    if (n->up && strcmp(n->name, interface) == 0) w->chosen = n->addr;
  }
}

/* ---- pings ---- */

static struct roam_ping *ping_of(roam_client *c) {
  struct roam_network *n = roam_networks_at(&c->wander.networks, &c->link.local);
  if (!n) return &c->wander.ping;
  if (!n->ping_known) {
    roam_ping_init(&n->ping, c->o.ping_ns, c->o.ping_min_ns, c->o.ping_max_ns);
    n->ping_known = true;
  }
  return &n->ping;
}

static void set_ping(roam_client *c) {
  if (c->o.ping_ns > 0) roam_conn_set_ping(c->link.conn, c->now, ping_of(c)->interval_ns);
}

static void learn_ping(roam_client *c, const roam_conn_info *info) {
  struct roam_wander *w = &c->wander;
  bool rebound = info->rebinds != w->rebinds;
  if (rebound) {
    c->past.rebinds += info->rebinds - w->rebinds;
    w->rebinds = info->rebinds;
    roam_trace(&c->o.log, c->now, NAT_REBOUND, .client = c->id);
  }
  if (w->judge_at != ROAM_NEVER && (rebound || c->now >= w->judge_at)) {
    w->judge_at = ROAM_NEVER;
    if (roam_ping_learn(ping_of(c), w->silence_ns, rebound)) {
      set_ping(c);
      roam_trace(&c->o.log, c->now, PING_LEARNED, .client = c->id, .ms = ping_of(c)->interval_ns / ROAM_MS);
    }
  }
  if (info->silences == w->silences) return;
  w->silences = info->silences;
  w->silence_ns = info->silence_ns;
  w->judge_at = c->now + JUDGE_NS;
}

/* ---- silence ---- */

static uint64_t patience(const roam_conn_info *info) { return info->pto_ns > SILENT_MIN_NS ? info->pto_ns : SILENT_MIN_NS; }

/* When the silence gets to the next stage; ROAM_NEVER: there is none, or no further stage. */
static roam_time silence_due(const struct roam_wander *w, const roam_conn_info *info) {
  if (info->unanswered_since == ROAM_NEVER) return ROAM_NEVER;
  uint8_t stage = info->unanswered_since == w->unanswered_since ? w->stage : 0;
  if (stage == 0) return info->unanswered_since + 2 * patience(info);
  return stage == 1 ? w->stage_at + patience(info) : ROAM_NEVER;
}

static void mind_silence(roam_client *c, const roam_conn_info *info) {
  struct roam_wander *w = &c->wander;
  if (info->unanswered_since != w->unanswered_since) { /* an answer came */
    w->stage = 0;
    w->unanswered_since = info->unanswered_since;
  }
  const struct roam_network *here = roam_networks_at(&w->networks, &info->local);
  if (w->lost && info->heard_at > w->lost_at && !(here && !here->up)) w->lost = false;
  if (c->now < silence_due(w, info)) return;
  if (w->stage == 0) {
    roam_conn_ping(c->link.conn, c->now);
    tell_trouble(c, ROAM_E_TIMEOUT, "nothing is answered");
  }
  w->stage++;
  w->stage_at = c->now;
  w->ping_at = c->now + PING_AGAIN_NS;
}

/* As long as it lasts, something that makes a NAT's mapping anew goes out every second: the library's own probes double
 * their distance, and would leave a healed network unnoticed for as long as it had been broken. */
static void ping_again(roam_client *c) {
  struct roam_wander *w = &c->wander;
  if (w->stage == 0 || c->now < w->ping_at) return;
  roam_conn_ping(c->link.conn, c->now);
  w->ping_at = c->now + PING_AGAIN_NS;
}

/* ---- moving ---- */

static void start_move(roam_client *c, const struct roam_network *to, roam_migrate_how how, const char *why) {
  struct roam_move *m = &c->move;
  *m = (struct roam_move){.stage = ROAM_MOVE_WANTED, .how = how, .local = to->addr, .by_policy = true, .why = why};
  memcpy(m->interface, to->name, strlen(to->name));
  m->give_up_at = c->now + ROAM_CLIENT_MIGRATE_PATIENCE_NS;
  c->past.moves_by_policy++;
  roam_policy_move(c);
}

static bool in_need(const roam_client *c, const struct roam_network *here) {
  return c->wander.lost || c->wander.stage >= 2 || (here && !here->up);
}

static void consider(roam_client *c, const roam_conn_info *info) {
  struct roam_wander *w = &c->wander;
  struct roam_network *here = roam_networks_at(&w->networks, &info->local);
  bool need = in_need(c, here), content = w->chosen.family && roam_addr_same_ip(&w->chosen, &info->local);
  if (c->move.stage != ROAM_MOVE_NONE || (!need && content)) return;
  const struct roam_network *best = roam_networks_best(&w->networks, c->now, info->remote.family, here, need);
  if (!best) return;
  if (!need) start_move(c, best, ROAM_MIGRATE_PROBE, "a better network");
  else if (w->lost) start_move(c, best, ROAM_MIGRATE_IMMEDIATE, "the network in use is gone");
  else start_move(c, best, ROAM_MIGRATE_PROBE, "nothing is answered");
}

void roam_wander_connected(roam_client *c) {
  struct roam_wander *w = &c->wander;
  w->lost = false;
  w->stage = 0;
  w->unanswered_since = ROAM_NEVER;
  w->rebinds = w->silences = 0;
  w->judge_at = ROAM_NEVER;
  if (c->kind == ROAM_TRANSPORT_QUIC) set_ping(c);
}

void roam_wander_moved(roam_client *c, roam_rc rc, const roam_addr *local, bool chosen) {
  struct roam_wander *w = &c->wander;
  struct roam_network *n = roam_networks_at(&w->networks, local);
  if (rc != 0) {
    if (n) roam_networks_failed(n, c->now);
    return;
  }
  if (n) roam_networks_worked(n);
  if (chosen) w->chosen = roam_addr_with_port(*local, 0);
  w->lost = n && !n->up;
  w->stage = 0;
  w->unanswered_since = ROAM_NEVER;
  set_ping(c);
}

void roam_wander_look(roam_client *c) {
  if (!is_usable(c)) return;
  roam_conn_info info = roam_conn_get_info(c->link.conn);
  learn_ping(c, &info);
  mind_silence(c, &info);
  ping_again(c);
  if (may_move(c)) consider(c, &info);
}

roam_time roam_wander_deadline(const roam_client *c) {
  const struct roam_wander *w = &c->wander;
  if (!is_usable(c)) return ROAM_NEVER;
  roam_conn_info info = roam_conn_get_info(c->link.conn);
  roam_time at = silence_due(w, &info);
  if (w->judge_at < at) at = w->judge_at;
  if (w->stage > 0 && info.unanswered_since == w->unanswered_since && w->ping_at < at) at = w->ping_at;
  if (!may_move(c) || c->move.stage != ROAM_MOVE_NONE) return at;
  struct roam_networks *networks = (struct roam_networks *)(uintptr_t)&w->networks; /* only looked at */
  const struct roam_network *here = roam_networks_at(networks, &info.local);
  bool need = in_need(c, here), content = w->chosen.family && roam_addr_same_ip(&w->chosen, &info.local);
  if (!need && content) return at;
  roam_time due = roam_networks_due(networks, c->now, info.remote.family, here, need);
  return due < at ? due : at;
}
