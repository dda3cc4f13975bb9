/* access_ask.c - CONNECT: who is let in at once, who is turned away at once, and who waits for what; and the passwords that
 * are being checked, a slice of each in turn. Refuses to know what comes of the answer: connect.c does. */
#include "broker/access.h"
#include "broker/broker.h"
#include "mqtt/packet.h"

#include <string.h>

static bool answer(uint8_t reason, const char *text, uint8_t *out, const char **out_text) {
  *out = reason;
  *out_text = text;
  return false;
}

#define ANSWER(number, words) return answer(number, words, reason, text)

static bool may_be_nameless(const roam_broker *b, const struct roam_peer *p) {
  return (b->o.allow_anonymous || !roam_access_is_configured(b)) &&
         (b->o.anonymous_beyond_loopback || roam_access_is_near(p));
}

/* The name in a certificate that its authority vouches for. */
static bool take_subject(const roam_broker *b, struct roam_peer *p, bool *memory) {
  const char *name = b->o.subject_as_user_name ? roam_conn_subject(p->conn) : NULL;
  *memory = !name || roam_access_set_user(p, name, strlen(name));
  return name != NULL;
}

static bool begin_check(roam_broker *b, struct roam_peer *p, const roam_packet *c, const struct roam_password *line,
                        roam_bytes bytes) {
  struct roam_password decoy;
  struct roam_waiting *w = roam_exchange_begin(b, p, bytes);
  if (!w) return false;
  w->stamp = line ? line->stamp : 0;
  if (!line) roam_passwords_decoy(b->access.passwords, c->connect.user_name, &decoy);
  if (roam_password_check_begin(&w->check, line ? line : &decoy, c->connect.password) != 0) {
    roam_access_forget(b, p);
    return false;
  }
  w->stage = ROAM_WAITING_HASH;
  roam_list_push_back(&b->access.jobs, &w->job);
  return true;
}

static bool begin_exchange(roam_broker *b, struct roam_peer *p, const roam_packet *c, roam_bytes bytes, bool scram) {
  roam_prop method, data = {0};
  roam_prop_find(c->props, ROAM_PROP_AUTHENTICATION_METHOD, &method);
  roam_prop_find(c->props, ROAM_PROP_AUTHENTICATION_DATA, &data);
  p->method = roam_blob_new(method.bytes.base, method.bytes.len);
  struct roam_waiting *w = p->method ? roam_exchange_begin(b, p, bytes) : NULL;
  if (!w) return false;
  if (scram) roam_exchange_scram(b, w, data.bytes);
  else roam_exchange_ask_owner(b, w, c, data.bytes);
  return true;
}

#define BUSY ANSWER(ROAM_REASON_SERVER_BUSY, "too many clients wait for authentication; try again")

static bool ask_method(roam_broker *b, struct roam_peer *p, const roam_packet *c, roam_bytes bytes, roam_bytes method,
                       uint8_t *reason, const char **text) {
  bool scram = roam_access_is_scram(&b->access, method);
  if (!scram && !b->o.decide) {
    ANSWER(ROAM_REASON_BAD_AUTHENTICATION_METHOD, b->access.passwords
                                                      ? "the authentication method is not SCRAM-SHA-256, the one there is"
                                                      : "no authentication method is supported");
  }
  if (method.len == 0 || method.len > ROAM_ACCESS_METHOD_MAX)
    ANSWER(ROAM_REASON_BAD_AUTHENTICATION_METHOD, "the authentication method's name must have from 1 to 256 bytes");
  if (!begin_exchange(b, p, c, bytes, scram)) BUSY;
  return true;
}

bool roam_access_ask(roam_broker *b, struct roam_peer *p, const roam_packet *c, roam_bytes bytes, uint8_t *reason,
                     const char **text) {
  struct roam_access *a = &b->access;
  roam_prop method;
  const roam_addr *account = roam_access_account(p);
  bool memory, late = roam_places_blocked(&a->limits, b->now, account);
  p->owing = !p->known;
  if (!roam_places_arrive(&a->limits, b->now, account) || late) {
    b->stats.connects_limited++;
    ANSWER(ROAM_REASON_CONNECTION_RATE_EXCEEDED, late ? "too many failed logins from this address; wait a minute"
                                                      : "too many connections a second from this address; wait a little");
  }
  if (c->version == ROAM_MQTT_5 && roam_prop_find(c->props, ROAM_PROP_AUTHENTICATION_METHOD, &method) == 1)
    return ask_method(b, p, c, bytes, method.bytes, reason, text);
  if (take_subject(b, p, &memory)) {
    if (!memory) ANSWER(ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    ANSWER(0, NULL);
  }
  bool named = c->connect.has_user_name && roam_access_is_configured(b);
  const struct roam_password *line = named && a->passwords ? roam_passwords_find(a->passwords, c->connect.user_name) : NULL;
  if (named && a->passwords && (line || !b->o.decide)) {
    if (!begin_check(b, p, c, line, bytes)) BUSY;
    return true;
  }
  if (b->o.decide && (named || !may_be_nameless(b, p))) {
    struct roam_waiting *w = roam_exchange_begin(b, p, bytes);
    if (!w) BUSY;
    roam_exchange_ask_owner(b, w, c, (roam_bytes){0});
    return true;
  }
  if (may_be_nameless(b, p) && !named) {
    p->confined = !b->o.anonymous_beyond_loopback;
    ANSWER(0, NULL);
  }
  b->stats.auth_failures++;
  ANSWER(ROAM_REASON_NOT_AUTHORIZED, b->access.passwords ? "this broker wants a user name and a password"
                                     : !roam_access_is_configured(b)
                                         ? "who is not on loopback must log in here"
                                         : "this broker wants a client certificate with a common name");
}

/* ---- passwords that are being checked ---- */

static void end_check(roam_broker *b, struct roam_waiting *w) {
  roam_packet c;
  roam_list_remove(&w->job);
  bool good = roam_password_check_end(&w->check) && w->stamp != 0;
  if (!good) {
    roam_exchange_fail(b, w, ROAM_REASON_BAD_USER_NAME_OR_PASSWORD, "bad user name or password");
    return;
  }
  if (!roam_exchange_connect(b, w, &c) ||
      !roam_access_set_user(w->peer, c.connect.user_name.base, c.connect.user_name.len)) {
    roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  w->peer->stamp = w->stamp;
  roam_exchange_end(b, w, 0, NULL);
}

void roam_access_tick(roam_broker *b) {
  struct roam_list *first;
  for (uint32_t left = ROAM_ACCESS_BUDGET; left > 0 && (first = roam_list_first(&b->access.jobs));) {
    struct roam_waiting *w = ROAM_CONTAINER(first, struct roam_waiting, job);
    uint32_t slice = left < ROAM_ACCESS_SLICE ? left : ROAM_ACCESS_SLICE, budget = slice;
    bool done = roam_password_check_step(&w->check, &budget);
    left -= budget < slice ? slice - budget : 1; /* what costs nothing is not for nothing */
    roam_list_remove(&w->job);
    if (done) end_check(b, w);
    else roam_list_push_back(&b->access.jobs, &w->job);
  }
}

bool roam_access_is_busy(const roam_broker *b) { return !roam_list_empty(&b->access.jobs); }
