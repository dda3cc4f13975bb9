/* access.c - who may come in and what they may do there: the password file and the access list, and what they say about one
 * who is known. access_ask.c lets a CONNECT in, access_exchange.c and access_owner.c find out who it is, access_place.c
 * counts addresses. It routes nothing, and it stores no password.
 *
 * Theory of operation
 *
 * A CONNECT is decided at once (no authentication, a client certificate, an address that may not try again), or it waits:
 * for its password's hash, which is made in slices from tick to tick so that everybody else is served meanwhile; for the
 * owner's roam_broker_admit; or for the next AUTH of its exchange. What waits is a struct roam_waiting with a copy of the
 * CONNECT, bounded in count and bytes, and CONNECT's time-out runs on. connect.c does what comes of it.
 *
 * A user name counts only when somebody has vouched for it: the password file, a certificate's authority, or the owner.
 * Without any of these all are nameless for the access list. A user nobody knows is checked like one who is known, against
 * a hash that nothing fits.
 *
 * Failures are charged to the address they come from, and to the one the CONNECT came from when the client has moved since:
 * moving leaves no clean record behind, and a client that moves to an address with too many failures is refused there. A
 * connection counts for the address it is at; one that moves to where there are too many is ended there (its session is
 * not), for else two addresses were enough for any number. All this waits until the new address has proved to be the
 * client's. */
#include "broker/access.h"

#include "auth/lines.h"
#include "base/rng.h"
#include "broker/broker.h"

#include <string.h>

static void find_lines(const roam_broker *b, struct roam_record *r) {
  if (b->access.acl) r->acl_number = roam_acl_find(b->access.acl, roam_access_bytes(r->user));
}

/* Who is read anew is replaced whole: a file with a bad line changes nothing. */
static roam_rc read_passwords(roam_broker *b, roam_bytes file, roam_access_fault *fault) {
  roam_rc rc;
  struct roam_passwords *fresh = roam_passwords_new(file, b->random, fault, &rc);
  if (!fresh) return rc;
  roam_passwords_free(b->access.passwords);
  b->access.passwords = fresh;
  return 0;
}

static roam_rc read_acl(roam_broker *b, roam_bytes file, roam_access_fault *fault) {
  roam_rc rc;
  struct roam_acl *fresh = roam_acl_new(file, fault, &rc);
  if (!fresh) return rc;
  roam_acl_free(b->access.acl);
  b->access.acl = fresh;
  return 0;
}

roam_rc roam_access_init(roam_broker *b, const roam_broker_options *o) {
  roam_access_fault fault;
  roam_list_init(&b->access.waiting);
  roam_list_init(&b->access.jobs);
  roam_places_init(&b->access.limits, 0, 0, b->random);
  roam_access_reconfigure(b, o);
  roam_rc rc = o->passwords.base ? read_passwords(b, o->passwords, &fault) : 0;
  if (rc == 0 && o->acl.base) rc = read_acl(b, o->acl, &fault);
  ROAM_LIST_EACH(&b->order, node) find_lines(b, ROAM_CONTAINER(node, struct roam_record, order)); /* from the store */
  return rc;
}

void roam_access_reconfigure(roam_broker *b, const roam_broker_options *o) {
  b->o.auth_waiting_max = o->auth_waiting_max;
  b->access.limits.rate_max = o->connect_rate_max;
  b->access.limits.failures_max = o->auth_failures_max;
  b->access.limits.connections_max = o->address_connections_max;
}

void roam_access_reset(roam_broker *b) {
  roam_passwords_free(b->access.passwords);
  roam_acl_free(b->access.acl);
  if (b->access.limits.recent.next) roam_places_reset(&b->access.limits);
}

bool roam_access_is_configured(const roam_broker *b) {
  return b->access.passwords || b->o.decide || b->o.subject_as_user_name;
}

void roam_access_gone(roam_broker *b, struct roam_peer *p) {
  roam_places_leave(&b->access.limits, p->place);
  roam_blob_unref(p->user);
  roam_blob_unref(p->method);
  roam_blob_unref(p->denied);
}

bool roam_access_set_user(struct roam_peer *p, const void *name, size_t len) {
  roam_blob_unref(p->user);
  p->user = roam_blob_new(name, len);
  return p->user != NULL;
}

/* ---- what they may ---- */

bool roam_access_check(roam_broker *b, const struct roam_record *r, roam_bytes what, enum roam_acl_access access) {
  struct roam_acl_who who = {
      .number = r->acl_number, .user_name = roam_access_bytes(r->user), .client_id = roam_access_bytes(r->id)};
  bool may = roam_acl_may(b->access.acl, &who, what, access);
  if (!may) b->stats.acl_denied++;
  return may;
}

uint8_t roam_access_objection(const roam_broker *b, const struct roam_peer *p, const struct roam_record *r,
                              const roam_packet *c, roam_bytes id, const char **text) {
  const struct roam_acl *acl = b->access.acl;
  if (r && r->session && r->user_known && roam_access_is_configured(b) &&
      !roam_bytes_same(roam_access_bytes(r->user), roam_access_bytes(p->user))) {
    *text = "the session with this client identifier belongs to another user";
    return ROAM_REASON_NOT_AUTHORIZED;
  }
  if (!acl || !c->connect.has_will) return 0;
  struct roam_acl_who who = {roam_acl_find(acl, roam_access_bytes(p->user)), roam_access_bytes(p->user), id};
  if (roam_acl_may(acl, &who, c->connect.will_topic, ROAM_ACL_WRITE)) return 0;
  *text = "the access list does not let this client publish its will";
  return ROAM_REASON_NOT_AUTHORIZED;
}

void roam_access_joined(roam_broker *b, struct roam_peer *p, struct roam_record *r) {
  roam_blob_unref(r->user);
  r->user = roam_blob_ref(p->user);
  r->user_known = roam_access_is_configured(b); /* else nobody was asked, and whoever comes later may have it */
  find_lines(b, r);
}

void roam_access_adopted(roam_broker *b, struct roam_record *r) { find_lines(b, r); }

/* ---- files read anew ---- */

roam_rc roam_broker_set_passwords(roam_broker *b, roam_time now, roam_bytes file, roam_access_fault *fault) {
  roam_access_fault ignored;
  if (now > b->now) b->now = now;
  roam_broker_forget_told(b);
  if (!b->access.passwords) return ROAM_E_STATE;
  roam_rc rc = read_passwords(b, file, fault ? fault : &ignored);
  if (rc != 0) return rc;
  ROAM_LIST_EACH(&b->peers, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, all);
    if (p->state != ROAM_PEER_UP || p->stamp == 0) continue;
    const struct roam_password *line = roam_passwords_find(b->access.passwords, roam_access_bytes(p->user));
    if (!line || line->stamp != p->stamp)
      roam_peer_say(b, p, ROAM_REASON_NOT_AUTHORIZED, "its user name or password has been taken away or changed");
  }
  roam_broker_settle(b);
  return 0;
}

roam_rc roam_broker_set_acl(roam_broker *b, roam_time now, roam_bytes file, roam_access_fault *fault) {
  roam_access_fault ignored;
  if (now > b->now) b->now = now;
  roam_broker_forget_told(b);
  roam_rc rc = read_acl(b, file, fault ? fault : &ignored);
  if (rc != 0) return rc;
  ROAM_LIST_EACH(&b->order, node) find_lines(b, ROAM_CONTAINER(node, struct roam_record, order));
  return 0;
}
