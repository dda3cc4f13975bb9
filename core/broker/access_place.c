/* access_place.c - which address a connection counts for, and when it may not be there. limits.c counts. Refuses to charge
 * an address that has not answered. */
#include "broker/access.h"
#include "broker/broker.h"

#define PROOF_MIN_NS ROAM_S

/* Early data comes with an address that nobody has proved: whoever has a ticket can send a CONNECT in anybody's name. So it
 * costs that address nothing until the handshake is done. Till then all such CONNECTs have one account in common, with
 * the limits of an address; when that is spent, they wait for the handshake. */
static const roam_addr nobodys = {.family = UINT8_MAX};

const roam_addr *roam_access_account(const struct roam_peer *p) { return p->known ? &p->proved : &nobodys; }

bool roam_access_may_ask(roam_broker *b, struct roam_peer *p) {
  const struct roam_places *l = &b->access.limits;
  if (!p->known) p->known = roam_conn_get_info(p->conn).proved;
  return p->known || !(roam_places_spent(l, b->now, &p->proved) || roam_places_spent(l, b->now, &nobodys));
}

/* It is where it said, and pays. */
static void settle_debt(roam_broker *b, struct roam_peer *p) {
  struct roam_places *l = &b->access.limits;
  p->owing = false;
  bool late = p->waiting && roam_places_blocked(l, b->now, &p->proved), may = roam_places_arrive(l, b->now, &p->proved);
  if (may && !late) return;
  const char *text = may ? "too many failed logins from this address; wait a minute"
                         : "too many connections a second from this address; wait a little";
  b->stats.connects_limited++;
  if (p->state == ROAM_PEER_UP) roam_peer_say(b, p, ROAM_REASON_CONNECTION_RATE_EXCEEDED, text);
  else if (p->waiting) roam_exchange_end(b, p->waiting, ROAM_REASON_CONNECTION_RATE_EXCEEDED, text);
}

static bool is_near(const roam_addr *a) { return a->family == 0 || roam_addr_is_loopback(a); }

bool roam_access_is_near(const struct roam_peer *p) { return is_near(&p->local) && is_near(&p->remote); }

bool roam_access_arrived(roam_broker *b, struct roam_peer *p) {
  if (p->place) return true;
  p->proved = p->remote;
  bool may = roam_places_enter(&b->access.limits, &p->remote, &p->place);
  b->stats.addresses_limited += !may;
  return may;
}

bool roam_access_fits(roam_broker *b, const struct roam_peer *p) {
  bool fits = p->place || !roam_places_full(&b->access.limits, &p->remote);
  b->stats.addresses_limited += !fits;
  return fits;
}

/* Anybody can write any sender into a datagram, so an address that has not answered yet is charged nothing. Where the path
 * turns out to be nobody's the transport returns to the old one, within three probe time-outs. An address that it knows
 * from before it may not ask again. */
void roam_access_moved(roam_broker *b, struct roam_peer *p) {
  p->arrives_at = ROAM_NEVER;
  if ((!p->confined || roam_access_is_near(p)) && p->place && roam_place_is_of(p->place, &p->remote)) return;
  uint64_t pto_ns = roam_conn_get_info(p->conn).pto_ns;
  p->arrives_at = b->now + (pto_ns > PROOF_MIN_NS / 4 ? 4 * pto_ns : PROOF_MIN_NS);
}

static void turn_away(roam_broker *b, struct roam_peer *p, uint8_t reason, const char *text) {
  if (p->state == ROAM_PEER_UP) roam_peer_say(b, p, reason, text);
  else if (p->waiting) roam_exchange_end(b, p->waiting, reason, text);
  else
    roam_peer_leave(
        b, p, (struct roam_end){reason == ROAM_REASON_QUOTA_EXCEEDED ? ROAM_E_LIMIT : ROAM_E_PERMISSION, -1, text}, false);
}

/* Who is nobody was let in because it was on this machine. It may say who it is from where it is now. */
static void leave_loopback(roam_broker *b, struct roam_peer *p) {
  char id[ROAM_ID_TEXT_MAX], at[ROAM_ADDR_TEXT_MAX];
  roam_trace(&b->o.log, b->now, ANONYMOUS_MOVED, .client = roam_id_text(p->record ? p->record->id : NULL, id),
             .address = roam_addr_format(&p->remote, at));
  turn_away(b, p, ROAM_REASON_NOT_AUTHORIZED,
            "anonymous clients are served on loopback only, and this one has moved beyond it");
}

void roam_access_settle_move(roam_broker *b, struct roam_peer *p) {
  if (b->now < p->arrives_at || p->state == ROAM_PEER_LEFT) return;
  p->arrives_at = ROAM_NEVER;
  if (p->state == ROAM_PEER_NEW || p->state == ROAM_PEER_PARTING) return;
  if (p->confined && !roam_access_is_near(p)) {
    leave_loopback(b, p);
    return;
  }
  roam_places_leave(&b->access.limits, p->place);
  p->place = NULL;
  if (!roam_access_arrived(b, p)) {
    turn_away(b, p, ROAM_REASON_QUOTA_EXCEEDED, "too many connections from the address it has moved to");
    return;
  }
  roam_places_arrive(&b->access.limits, b->now, &p->proved);
  if (!p->waiting || p->waiting->again || !roam_places_blocked(&b->access.limits, b->now, &p->proved)) return;
  b->stats.connects_limited++;
  roam_exchange_end(b, p->waiting, ROAM_REASON_CONNECTION_RATE_EXCEEDED, "moved to an address with too many failed logins");
}

void roam_access_proved(roam_broker *b, struct roam_peer *p) {
  p->known = true;
  if (p->owing) settle_debt(b, p);
  if (p->state == ROAM_PEER_PARTING || p->state == ROAM_PEER_LEFT) return;
  if (p->arrives_at != ROAM_NEVER) p->arrives_at = b->now;
  else if (!roam_access_arrived(b, p)) turn_away(b, p, ROAM_REASON_QUOTA_EXCEEDED, ROAM_ACCESS_CROWDED);
}
