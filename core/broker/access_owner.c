/* access_owner.c - the owner's part in an exchange: ROAM_EV_AUTH, and roam_broker_admit as the answer. Refuses to wait for
 * it: CONNECT's time-out runs on. */
#include "broker/access.h"
#include "broker/broker.h"
#include "mqtt/packet.h"

#include <string.h>

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
  roam_bytes method = roam_access_bytes(p->method);
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

void roam_exchange_ask_owner(roam_broker *b, struct roam_waiting *w, const roam_packet *c, roam_bytes data) {
  roam_bytes id = c ? c->connect.client_id : w->peer->record ? roam_access_bytes(w->peer->record->id) : (roam_bytes){0};
  if (!tell_owner(b, w, c, id, data)) roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
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
  if (name) return roam_access_set_user(w->peer, name, strlen(name));
  if (w->again || !roam_exchange_connect(b, w, &c) || !c.connect.has_user_name) return true;
  return roam_access_set_user(w->peer, c.connect.user_name.base, c.connect.user_name.len);
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

roam_rc roam_access_admit(roam_broker *b, uint64_t peer, const roam_admission *admission) {
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
  if (more) roam_exchange_ask(b, w, admission->data);
  else if (reason != 0) roam_exchange_fail(b, w, reason, keep_words(w->peer, reason, admission->text));
  else if (adopt_user(b, w, admission->user_name)) roam_exchange_succeed(b, w, admission->data);
  else roam_exchange_end(b, w, ROAM_REASON_SERVER_UNAVAILABLE, roam_strerror(ROAM_E_MEMORY));
  return 0;
}

roam_rc roam_broker_admit(roam_broker *b, roam_time now, uint64_t peer, const roam_admission *admission) {
  roam_broker_enter(b, now);
  bool elsewhere = b->mail && peer >> ROAM_PEER_SHIFT != b->mail->self;
  roam_rc rc = elsewhere ? roam_mail_admit(b, peer, admission) : roam_access_admit(b, peer, admission);
  roam_broker_settle(b);
  return rc;
}
