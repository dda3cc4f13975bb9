/* access.c - who may come in and what they may do there. It routes nothing, and it stores no password.
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
#include "auth/scram.h"
#include "base/assert.h"
#include "base/rng.h"
#include "broker/broker.h"
#include "mqtt/packet.h"

#include <stdlib.h>
#include <string.h>

#define PROOF_MIN_NS ROAM_S

/* ---- making ---- */

static roam_bytes bytes_of(roam_blob *blob) {
  return blob ? (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)} : (roam_bytes){0};
}

static void find_lines(const roam_broker *b, struct roam_record *r) {
  if (b->access.acl) r->acl_number = roam_acl_find(b->access.acl, bytes_of(r->user));
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

/* ---- one exchange ---- */

static struct roam_waiting *begin_waiting(roam_broker *b, struct roam_peer *p, roam_bytes connect) {
  struct roam_access *a = &b->access;
  if (a->waiting_count >= b->o.auth_waiting_max || connect.len > ROAM_ACCESS_BYTES_MAX - a->waiting_bytes) return NULL;
  struct roam_waiting *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->connect = connect.len > 0 ? roam_blob_new(connect.base, connect.len) : NULL;
  if (connect.len > 0 && !w->connect) {
    free(w);
    return NULL;
  }
  w->peer = p;
  w->again = connect.len == 0;
  w->began = p->proved;
  roam_list_init(&w->job);
  roam_list_push_back(&a->waiting, &w->node);
  a->waiting_count++;
  a->waiting_bytes += connect.len;
  p->waiting = w;
  return w;
}

void roam_access_forget(roam_broker *b, struct roam_peer *p) {
  struct roam_waiting *w = p->waiting;
  if (!w) return;
  p->waiting = NULL;
  b->access.waiting_count--;
  if (w->connect) b->access.waiting_bytes -= roam_blob_len(w->connect);
  roam_list_remove(&w->node);
  roam_list_remove(&w->job);
  roam_password_check_end(&w->check);
  if (w->scram) explicit_bzero(w->scram, sizeof *w->scram);
  free(w->scram);
  roam_blob_unref(w->connect);
  roam_blob_unref(w->data);
  free(w->props);
  free(w);
}

void roam_access_gone(roam_broker *b, struct roam_peer *p) {
  roam_places_leave(&b->access.limits, p->place);
  roam_blob_unref(p->user);
  roam_blob_unref(p->method);
  roam_blob_unref(p->denied);
}

static bool set_user(struct roam_peer *p, const void *name, size_t len) {
  roam_blob_unref(p->user);
  p->user = roam_blob_new(name, len);
  return p->user != NULL;
}

static bool read_connect(const roam_broker *b, const struct roam_waiting *w, roam_packet *out) {
  roam_fault fault;
  size_t used;
  return roam_packet_read(bytes_of(w->connect), 0, b->o.maximum_packet_size, false, out, &used, &fault) == 0 && used > 0;
}

/* The end of an exchange, good (reason 0) or bad. The peer's, not yet this file's memory of it, may be gone afterwards. */
static void settle(roam_broker *b, struct roam_waiting *w, uint8_t reason, const char *text) {
  struct roam_peer *p = w->peer;
  if (reason != 0 && w->again) {
    roam_peer_say(b, p, reason, text);
  } else if (!w->again) {
    roam_packet connect;
    bool whole = read_connect(b, w, &connect); /* as it was the first time */
    ROAM_ASSERT(whole);
    (void)whole;
    roam_connect_decided(b, p, &connect, reason, text);
  }
  if (p->claim_connect) { /* CONNACK needs what is known of it */
    roam_list_remove(&w->job);
    w->stage = ROAM_WAITING_PLACE;
    return;
  }
  roam_access_forget(b, p);
  roam_peer_mark(b, p);
}

/* Somebody has tried and is not who they say. */
static void fail(roam_broker *b, struct roam_waiting *w, uint8_t reason, const char *text) {
  struct roam_peer *p = w->peer;
  if (w->again && reason == ROAM_REASON_BAD_USER_NAME_OR_PASSWORD) reason = ROAM_REASON_NOT_AUTHORIZED; /* table 3-13 */
  b->stats.auth_failures++;
  roam_places_fail(&b->access.limits, b->now, &p->proved);
  if (!roam_addr_same_ip(&w->began, &p->proved)) roam_places_fail(&b->access.limits, b->now, &w->began);
  settle(b, w, reason, text);
}

/* ---- AUTH out ---- */

static roam_bytes make_props(const struct roam_peer *p, roam_bytes first, roam_bytes data, uint8_t **memory) {
  size_t cap = first.len + roam_blob_len(p->method) + data.len + 8;
  roam_props props = {.base = malloc(cap), .cap = cap};
  *memory = props.base;
  if (!props.base) return (roam_bytes){0};
  if (first.len > 0) memcpy(props.base, first.base, first.len);
  props.len = first.len;
  roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_METHOD, bytes_of(p->method));
  if (data.len > 0) roam_props_put_bytes(&props, ROAM_PROP_AUTHENTICATION_DATA, data);
  return (roam_bytes){props.base, props.len};
}

roam_bytes roam_access_props(struct roam_peer *p, roam_bytes props) {
  if (!p->method || !p->waiting) return props;
  free(p->waiting->props);
  return make_props(p, props, bytes_of(p->waiting->data), &p->waiting->props);
}

static roam_rc write_early(roam_broker *b, struct roam_peer *p, const roam_packet *packet) {
  size_t size = roam_packet_size(packet), len;
  uint8_t *bytes = size > 0 ? malloc(size) : NULL;
  roam_rc rc = bytes ? roam_packet_write(packet, bytes, size, &len) : ROAM_E_MEMORY;
  if (rc == 0) {
    roam_slice slice = {.base = bytes, .len = len};
    rc = roam_conn_write(p->conn, b->now, 0, &slice, 1);
    b->stats.bytes_out += rc == 0 ? len : 0;
  }
  free(bytes);
  return rc;
}

static roam_rc send_auth(roam_broker *b, struct roam_waiting *w, uint8_t reason, roam_bytes data) {
  struct roam_peer *p = w->peer;
  uint8_t *memory;
  roam_packet auth = {.type = ROAM_AUTH, .version = ROAM_MQTT_5, .reason = reason};
  if (data.len > UINT16_MAX) return ROAM_E_ARGUMENT;
  auth.props = make_props(p, (roam_bytes){0}, data, &memory);
  roam_rc rc = !memory    ? ROAM_E_MEMORY
               : w->again ? roam_session_auth(p->session, b->now, reason, auth.props)
                          : write_early(b, p, &auth);
  free(memory);
  roam_peer_mark(b, p);
  return rc;
}

/* Another round: what was answered went out, the peer's turn. */
static void ask_peer(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  w->stage = ROAM_WAITING_PEER;
  if (send_auth(b, w, ROAM_REASON_CONTINUE_AUTHENTICATION, data) != 0)
    settle(b, w, ROAM_REASON_UNSPECIFIED, "AUTH cannot be sent");
}

static void succeed(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  if (w->again) {
    if (send_auth(b, w, ROAM_REASON_SUCCESS, data) != 0) {
      settle(b, w, ROAM_REASON_UNSPECIFIED, "AUTH cannot be sent");
      return;
    }
  } else if (data.len > 0 && !(w->data = roam_blob_new(data.base, data.len))) {
    settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  settle(b, w, 0, NULL);
}

/* ---- SCRAM-SHA-256 ---- */

static bool is_scram(const struct roam_access *a, roam_bytes method) {
  return a->passwords && method.len == strlen(ROAM_SCRAM_METHOD) && roam_bytes_begin(method, ROAM_SCRAM_METHOD);
}

static void take_scram_first(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  char nonce[ROAM_SCRAM_NONCE_LEN + 1];
  w->scram = malloc(sizeof *w->scram);
  if (!w->scram || !roam_scram_nonce(b->random, nonce)) {
    settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  roam_rc rc = roam_scram_server_first(w->scram, data, b->access.passwords, nonce);
  if (rc == 0) ask_peer(b, w, roam_bytes_make(w->scram->reply.text, w->scram->reply.len));
  else if (rc == ROAM_E_UNSUPPORTED)
    fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: channel binding and other users' names are not supported");
  else fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: Authentication Data is no client-first-message");
}

static void take_scram_final(roam_broker *b, struct roam_waiting *w, roam_bytes data) {
  struct roam_peer *p = w->peer;
  struct roam_scram_server *s = w->scram;
  roam_rc rc = roam_scram_server_final(s, data);
  if (rc == ROAM_E_MALFORMED) {
    fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: Authentication Data is no client-final-message");
  } else if (rc != 0) {
    fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "SCRAM-SHA-256: bad user name or password");
  } else if (w->again && !roam_bytes_same(bytes_of(p->user), roam_bytes_make(s->user, s->user_len))) {
    fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "re-authentication with another user name; begin a new connection for that");
  } else if (!set_user(p, s->user, s->user_len)) {
    settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
  } else {
    p->stamp = s->line.stamp;
    succeed(b, w, roam_bytes_make(s->reply.text, s->reply.len));
  }
}

/* ---- the owner ---- */

/* One blob holds all that the event points to. */
static roam_bytes keep(roam_blob *blob, size_t *at, roam_bytes bytes) {
  if (!bytes.base) return bytes; /* not given */
  roam_bytes kept = {roam_blob_data(blob) + *at, bytes.len};
  if (bytes.len > 0) memcpy(roam_blob_data(blob) + *at, bytes.base, bytes.len);
  *at += bytes.len;
  return kept;
}

static bool tell_owner(roam_broker *b, struct roam_waiting *w, const roam_packet *c, roam_bytes id, roam_bytes data) {
  struct roam_peer *p = w->peer;
  roam_bytes method = bytes_of(p->method);
  size_t at = 0, len = id.len + method.len + data.len;
  if (c) len += c->connect.user_name.len + c->connect.password.len;
  roam_blob *blob = roam_blob_new(NULL, len + 1);
  if (!blob) return false;
  roam_event *ev = roam_broker_tell(b, ROAM_EV_AUTH, blob, NULL);
  ev->peer = p->number;
  ev->id = keep(blob, &at, id);
  ev->u.auth = (roam_event_auth){.remote = p->remote, .round = w->round, .again = w->again};
  ev->u.auth.method = keep(blob, &at, method);
  ev->u.auth.data = keep(blob, &at, data);
  if (c && c->connect.has_user_name) ev->u.auth.user_name = keep(blob, &at, c->connect.user_name);
  if (c && c->connect.has_password) ev->u.auth.password = keep(blob, &at, c->connect.password);
  roam_blob_unref(blob);
  w->stage = ROAM_WAITING_OWNER;
  return true;
}

static void ask_owner(roam_broker *b, struct roam_waiting *w, const roam_packet *c, roam_bytes data) {
  roam_bytes id = c ? c->connect.client_id : w->peer->record ? bytes_of(w->peer->record->id) : (roam_bytes){0};
  if (!tell_owner(b, w, c, id, data)) settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
}

static struct roam_waiting *find_asked(const roam_broker *b, uint64_t peer) {
  ROAM_LIST_EACH(&b->access.waiting, node) {
    struct roam_waiting *w = ROAM_CONTAINER(node, struct roam_waiting, node);
    if (w->peer->number == peer && w->stage == ROAM_WAITING_OWNER) return w;
  }
  return NULL;
}

/* The name the owner gives, or what CONNECT says and the owner has agreed to. */
static bool adopt_user(const roam_broker *b, struct roam_waiting *w, const char *name) {
  roam_packet c;
  if (name) return set_user(w->peer, name, strlen(name));
  if (w->again || !read_connect(b, w, &c) || !c.connect.has_user_name) return true;
  return set_user(w->peer, c.connect.user_name.base, c.connect.user_name.len);
}

/* The owner's words, kept for as long as the peer: they are its end's text, too. Without memory, the reason's own. */
static const char *keep_words(struct roam_peer *p, uint8_t reason, const char *text) {
  if (!text) return roam_reason_text(reason);
  roam_blob_unref(p->denied);
  p->denied = roam_blob_new(text, strlen(text) + 1);
  return p->denied ? (const char *)roam_blob_data(p->denied) : roam_reason_text(reason);
}

static bool is_sentence(const char *text) {
  size_t len = text ? strlen(text) : 0;
  return len <= ROAM_ADMISSION_TEXT_MAX && roam_utf8_valid(roam_bytes_make(text, len));
}

roam_rc roam_broker_admit(roam_broker *b, roam_time now, uint64_t peer, const roam_admission *admission) {
  if (now > b->now) b->now = now;
  roam_broker_forget_told(b);
  struct roam_waiting *w = find_asked(b, peer);
  if (!w) return ROAM_E_NOT_FOUND;
  uint8_t reason = admission->reason;
  bool more = reason == ROAM_REASON_CONTINUE_AUTHENTICATION;
  if ((more || admission->data.len > 0) && !w->peer->method) return ROAM_E_ARGUMENT;
  if ((reason != 0 && !more && reason < 0x80) || admission->data.len > UINT16_MAX) return ROAM_E_ARGUMENT;
  if (reason >= 0x80 && !roam_reason_fits(reason, ROAM_CONNACK)) return ROAM_E_ARGUMENT;
  if (admission->user_name && !roam_utf8_valid(roam_bytes_make(admission->user_name, strlen(admission->user_name))))
    return ROAM_E_ARGUMENT;
  if (!is_sentence(admission->text)) return ROAM_E_ARGUMENT;
  if (more) ask_peer(b, w, admission->data);
  else if (reason != 0) fail(b, w, reason, keep_words(w->peer, reason, admission->text));
  else if (adopt_user(b, w, admission->user_name)) succeed(b, w, admission->data);
  else settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
  roam_broker_settle(b);
  return 0;
}

/* ---- CONNECT ---- */

static bool answer(uint8_t reason, const char *text, uint8_t *out, const char **out_text) {
  *out = reason;
  *out_text = text;
  return false;
}

#define ANSWER(number, words) return answer(number, words, reason, text)

static bool may_be_nameless(const roam_broker *b, const struct roam_peer *p) {
  if (!roam_access_is_configured(b)) return true; /* listeners have been asked about already */
  return b->o.allow_anonymous && (roam_addr_is_loopback(&p->local) || b->o.anonymous_beyond_loopback);
}

/* The name in a certificate that its authority vouches for. */
static bool take_subject(const roam_broker *b, struct roam_peer *p, bool *memory) {
  const char *name = b->o.subject_as_user_name ? roam_conn_subject(p->conn) : NULL;
  *memory = !name || set_user(p, name, strlen(name));
  return name != NULL;
}

static bool begin_check(roam_broker *b, struct roam_peer *p, const roam_packet *c, const struct roam_password *line,
                        roam_bytes bytes) {
  struct roam_password decoy;
  struct roam_waiting *w = begin_waiting(b, p, bytes);
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
  struct roam_waiting *w = p->method ? begin_waiting(b, p, bytes) : NULL;
  if (!w) return false;
  if (scram) take_scram_first(b, w, data.bytes);
  else ask_owner(b, w, c, data.bytes);
  return true;
}

#define BUSY ANSWER(ROAM_REASON_SERVER_BUSY, "too many clients wait for authentication; try again")

static bool ask_method(roam_broker *b, struct roam_peer *p, const roam_packet *c, roam_bytes bytes, roam_bytes method,
                       uint8_t *reason, const char **text) {
  bool scram = is_scram(&b->access, method);
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
  bool memory, late = roam_places_blocked(&a->limits, b->now, &p->proved);
  if (!roam_places_arrive(&a->limits, b->now, &p->proved) || late) {
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
    struct roam_waiting *w = begin_waiting(b, p, bytes);
    if (!w) BUSY;
    ask_owner(b, w, c, (roam_bytes){0});
    return true;
  }
  if (may_be_nameless(b, p) && !named) ANSWER(0, NULL);
  b->stats.auth_failures++;
  ANSWER(ROAM_REASON_NOT_AUTHORIZED, b->access.passwords ? "this broker wants a user name and a password"
                                                         : "this broker wants a client certificate with a common name");
}

/* ---- a peer that is not decided ---- */

static void take_auth(roam_broker *b, struct roam_waiting *w, const roam_packet *auth) {
  roam_prop data = {0}, method = {0};
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_METHOD, &method);
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_DATA, &data);
  if (!roam_bytes_same(method.bytes, bytes_of(w->peer->method))) {
    settle(b, w, ROAM_REASON_PROTOCOL_ERROR, "AUTH names another method than CONNECT");
    return;
  }
  if (auth->reason != ROAM_REASON_CONTINUE_AUTHENTICATION) {
    settle(b, w, ROAM_REASON_PROTOCOL_ERROR, "AUTH in the middle of an exchange says 0x18");
    return;
  }
  w->round++;
  if (w->scram) take_scram_final(b, w, data.bytes);
  else ask_owner(b, w, NULL, data.bytes);
}

/* Section 3.1.2.11.9: nothing but AUTH and DISCONNECT may come now. */
void roam_access_read(roam_broker *b, struct roam_peer *p) {
  struct roam_waiting *w = p->waiting;
  roam_packet packet;
  roam_fault fault;
  size_t used = 0;
  roam_bytes bytes = roam_conn_peek(p->conn, 0);
  if (w->stage != ROAM_WAITING_PEER || bytes.len == 0) return;
  if (roam_packet_read(bytes, ROAM_MQTT_5, b->o.maximum_packet_size, false, &packet, &used, &fault) != 0) {
    b->stats.packets_malformed++;
    settle(b, w, fault.reason, fault.text);
    return;
  }
  if (used == 0) return;
  if (packet.type == ROAM_AUTH) take_auth(b, w, &packet);
  else if (packet.type == ROAM_DISCONNECT) roam_peer_leave(b, p, (struct roam_end){0, packet.reason, NULL}, false);
  else settle(b, w, ROAM_REASON_PROTOCOL_ERROR, "only AUTH and DISCONNECT may come during authentication");
  roam_conn_consume(p->conn, b->now, 0, used);
  b->stats.bytes_in += used;
  roam_peer_mark(b, p);
}

void roam_access_again(roam_broker *b, struct roam_peer *p, const roam_packet *auth) {
  roam_prop method = {0}, data = {0};
  struct roam_waiting *w = p->waiting;
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_METHOD, &method);
  roam_prop_find(auth->props, ROAM_PROP_AUTHENTICATION_DATA, &data);
  if (!p->method) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "AUTH without an authentication method in CONNECT");
  } else if (w && w->stage == ROAM_WAITING_PEER) {
    take_auth(b, w, auth);
  } else if (w) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "AUTH before the last one was answered");
  } else if (auth->reason != ROAM_REASON_REAUTHENTICATE) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "AUTH that begins an exchange says 0x19");
  } else if (!roam_bytes_same(method.bytes, bytes_of(p->method))) {
    roam_peer_say(b, p, ROAM_REASON_PROTOCOL_ERROR, "re-authentication with another method than in CONNECT");
  } else if (!(w = begin_waiting(b, p, (roam_bytes){0}))) {
    roam_peer_say(b, p, ROAM_REASON_SERVER_BUSY, "too many clients wait for authentication");
  } else if (is_scram(&b->access, method.bytes)) {
    take_scram_first(b, w, data.bytes);
  } else {
    ask_owner(b, w, NULL, data.bytes);
  }
}

/* ---- which address a connection counts for ---- */

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
  if (p->place && roam_place_is_of(p->place, &p->remote)) return;
  uint64_t pto_ns = roam_conn_get_info(p->conn).pto_ns;
  p->arrives_at = b->now + (pto_ns > PROOF_MIN_NS / 4 ? 4 * pto_ns : PROOF_MIN_NS);
}

static void turn_away(roam_broker *b, struct roam_peer *p, const char *text) {
  if (p->state == ROAM_PEER_UP) roam_peer_say(b, p, ROAM_REASON_QUOTA_EXCEEDED, text);
  else if (p->waiting) settle(b, p->waiting, ROAM_REASON_QUOTA_EXCEEDED, text);
  else roam_peer_leave(b, p, (struct roam_end){ROAM_E_LIMIT, -1, text}, false);
}

void roam_access_settle_move(roam_broker *b, struct roam_peer *p) {
  if (b->now < p->arrives_at || p->state == ROAM_PEER_LEFT) return;
  p->arrives_at = ROAM_NEVER;
  if (p->state == ROAM_PEER_NEW || p->state == ROAM_PEER_PARTING) return;
  roam_places_leave(&b->access.limits, p->place);
  p->place = NULL;
  if (!roam_access_arrived(b, p)) {
    turn_away(b, p, "too many connections from the address it has moved to");
    return;
  }
  roam_places_arrive(&b->access.limits, b->now, &p->proved);
  if (!p->waiting || p->waiting->again || !roam_places_blocked(&b->access.limits, b->now, &p->proved)) return;
  b->stats.connects_limited++;
  settle(b, p->waiting, ROAM_REASON_CONNECTION_RATE_EXCEEDED, "moved to an address with too many failed logins");
}

void roam_access_proved(roam_broker *b, struct roam_peer *p) {
  if (p->arrives_at != ROAM_NEVER) p->arrives_at = b->now;
  else if (!roam_access_arrived(b, p)) turn_away(b, p, ROAM_ACCESS_CROWDED);
}

/* ---- time ---- */

void roam_access_overdue(roam_broker *b, struct roam_peer *p) {
  struct roam_waiting *w = p->waiting;
  if (w->stage == ROAM_WAITING_PEER) fail(b, w, ROAM_REASON_NOT_AUTHORIZED, "no AUTH within connect_timeout_ns");
  else if (w->stage == ROAM_WAITING_OWNER)
    settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, "nobody has decided within connect_timeout_ns");
  else settle(b, w, ROAM_REASON_SERVER_BUSY, "too many passwords to check; try again");
}

static void end_check(roam_broker *b, struct roam_waiting *w) {
  roam_packet c;
  roam_list_remove(&w->job);
  bool good = roam_password_check_end(&w->check) && w->stamp != 0;
  if (!good) {
    fail(b, w, ROAM_REASON_BAD_USER_NAME_OR_PASSWORD, "bad user name or password");
    return;
  }
  if (!read_connect(b, w, &c) || !set_user(w->peer, c.connect.user_name.base, c.connect.user_name.len)) {
    settle(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
    return;
  }
  w->peer->stamp = w->stamp;
  settle(b, w, 0, NULL);
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

/* ---- what they may ---- */

bool roam_access_check(roam_broker *b, const struct roam_record *r, roam_bytes what, enum roam_acl_access access) {
  struct roam_acl_who who = {.number = r->acl_number, .user_name = bytes_of(r->user), .client_id = bytes_of(r->id)};
  bool may = roam_acl_may(b->access.acl, &who, what, access);
  if (!may) b->stats.acl_denied++;
  return may;
}

uint8_t roam_access_objection(const roam_broker *b, const struct roam_peer *p, const struct roam_record *r,
                              const roam_packet *c, roam_bytes id, const char **text) {
  const struct roam_acl *acl = b->access.acl;
  if (r && r->session && r->user_known && roam_access_is_configured(b) &&
      !roam_bytes_same(bytes_of(r->user), bytes_of(p->user))) {
    *text = "the session with this client identifier belongs to another user";
    return ROAM_REASON_NOT_AUTHORIZED;
  }
  if (!acl || !c->connect.has_will) return 0;
  struct roam_acl_who who = {roam_acl_find(acl, bytes_of(p->user)), bytes_of(p->user), id};
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
    const struct roam_password *line = roam_passwords_find(b->access.passwords, bytes_of(p->user));
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
