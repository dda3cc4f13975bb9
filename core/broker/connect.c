/* connect.c - CONNECT: what makes one acceptable, whose session it gets, and what CONNACK says (sections 3.1 and 3.2). Who
 * it comes from, access_ask.c finds out, at once or later. */
#include "broker/broker.h"

#include "base/rng.h"
#include "mqtt/packet.h"

#include <string.h>

#define ASSIGNED_ID_LEN 21 /* "roam-" and 16 digits */
#define CONNACK_PROPS_MAX (64 + ROAM_BROKER_RESPONSE_MAX)
#define REASON_TEXT_MAX 128

/* ---- refusing ---- */

struct refusal {
  uint8_t version, reason;
  uint32_t packet_max; /* what the client takes */
  const char *text;
};

static roam_bytes text_bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static void write_connack(roam_broker *b, struct roam_peer *p, const struct refusal *r) {
  uint8_t bytes[16 + REASON_TEXT_MAX + ROAM_DRAIN_PROPS_MAX], space[3 + REASON_TEXT_MAX], reference[ROAM_DRAIN_PROPS_MAX];
  size_t len;
  roam_props props = {.base = space, .cap = sizeof space};
  roam_packet connack = {.type = ROAM_CONNACK, .version = r->version, .reason = r->reason};
  if (r->version == ROAM_MQTT_5 && roam_props_put_bytes(&props, ROAM_PROP_REASON_STRING, text_bytes(r->text)) == 0)
    connack.props = (roam_bytes){space, props.len};
  if (r->version == ROAM_MQTT_5 && b->drain.active && r->reason == b->drain.reason)
    connack.props = roam_drain_props(b, reference);
  if (roam_packet_size(&connack) > r->packet_max) connack.props = (roam_bytes){0};
  if (roam_packet_write(&connack, bytes, sizeof bytes, &len) != 0) return;
  roam_slice slice = {.base = bytes, .len = len};
  if (roam_conn_write(p->conn, b->now, 0, &slice, 1) == 0) b->stats.bytes_out += len;
}

static void refuse(roam_broker *b, struct roam_peer *p, const roam_packet *c, uint8_t reason, const char *text) {
  uint32_t packet_max = roam_props_number(c->props, ROAM_PROP_MAXIMUM_PACKET_SIZE, UINT32_MAX);
  write_connack(b, p, &(struct refusal){c->version, reason, packet_max, text});
  roam_peer_leave(b, p, (struct roam_end){ROAM_E_REFUSED, reason, text}, true);
}

/* What is no CONNECT gets no answer: whoever sent it may not speak MQTT. An unknown version is answered in the words
 * of 3.1.1, which all can read. */
static void refuse_fault(roam_broker *b, struct roam_peer *p, const roam_fault *fault) {
  if (fault->rc == ROAM_E_VERSION) {
    refuse(b, p, &(roam_packet){.version = ROAM_MQTT_311}, ROAM_REASON_UNSUPPORTED_VERSION, fault->text);
    return;
  }
  b->stats.packets_malformed++;
  roam_peer_leave(b, p, (struct roam_end){fault->rc, fault->reason, fault->text}, false);
}

/* ---- judging ---- */

struct verdict {
  uint8_t reason; /* 0: come in */
  const char *text;
};

/* Sections 3.2.2.3.4 and 3.2.2.3.5: what a PUBLISH may not ask for, a will may not either. 3.1.1 has no words for most. */
static struct verdict judge_will(const roam_broker *b, const roam_packet *c) {
  bool v5 = c->version == ROAM_MQTT_5;
  if (c->connect.will_qos > b->o.maximum_qos)
    return (struct verdict){v5 ? ROAM_REASON_QOS_NOT_SUPPORTED : ROAM_REASON_SERVER_UNAVAILABLE,
                            "the will's QoS is above maximum_qos"};
  if (c->connect.will_retain && !b->o.retain_available)
    return (struct verdict){v5 ? ROAM_REASON_RETAIN_NOT_SUPPORTED : ROAM_REASON_SERVER_UNAVAILABLE,
                            "retained messages are not available, the will is to be one"};
  if (roam_sys_owns(c->connect.will_topic))
    return (struct verdict){ROAM_REASON_NOT_AUTHORIZED, "topics under $SYS are the server's own"};
  if (b->o.payload_format_check && !roam_payload_fits(c->connect.will_props, c->connect.will_payload))
    return (struct verdict){ROAM_REASON_PAYLOAD_FORMAT_INVALID, "the will's payload is not the UTF-8 it says it is"};
  return (struct verdict){0};
}

static struct verdict judge(const roam_broker *b, const roam_packet *c) {
  bool v5 = c->version == ROAM_MQTT_5;
  if (b->durable.failed)
    return (struct verdict){ROAM_REASON_SERVER_UNAVAILABLE, "the store has failed, nothing can be promised"};
  if (b->stopping)
    return (struct verdict){v5 ? ROAM_REASON_SERVER_SHUTTING_DOWN : ROAM_REASON_SERVER_UNAVAILABLE,
                            "the broker is stopping"};
  if (b->drain.active)
    return (struct verdict){v5 ? b->drain.reason : ROAM_REASON_SERVER_UNAVAILABLE, "sent to another server"};
  if (c->connect.client_id.len > ROAM_BROKER_CLIENT_ID_MAX)
    return (struct verdict){ROAM_REASON_CLIENT_ID_NOT_VALID, "client identifier longer than 1024 bytes"};
  if (c->connect.client_id.len == 0 && (c->version == ROAM_MQTT_31 || (!v5 && !c->connect.clean_start)))
    return (struct verdict){ROAM_REASON_CLIENT_ID_NOT_VALID, "an empty client identifier needs a clean session (3.1.1)"};
  return c->connect.has_will ? judge_will(b, c) : (struct verdict){0};
}

static roam_bytes assign_id(roam_broker *b, char id[ASSIGNED_ID_LEN + 1]) {
  static const char digits[] = "0123456789abcdef";
  memcpy(id, "roam-", 5);
  do {
    uint64_t chance = roam_random_u64(b->random);
    for (size_t i = 5; i < ASSIGNED_ID_LEN; i++, chance >>= 4) id[i] = digits[chance & 15];
  } while (roam_sessions_find(b, id, ASSIGNED_ID_LEN) ||
           (b->mail && roam_mail_home(b->mail, id, ASSIGNED_ID_LEN) != b->mail->self));
  return (roam_bytes){(const uint8_t *)id, ASSIGNED_ID_LEN};
}

static uint32_t wanted_expiry(const roam_broker *b, const roam_packet *c) {
  roam_prop wish = {0};
  if (c->version != ROAM_MQTT_5) return c->connect.clean_start ? 0 : b->o.session_expiry_max_s;
  roam_prop_find(c->props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, &wish);
  return wish.number;
}

/* Before 5.0 a client cannot be told of another Keep Alive, so its own holds. */
static uint16_t settle_keep_alive(const roam_broker *b, const roam_packet *c) {
  uint16_t wish = c->connect.keep_alive_s, longest = b->o.server_keep_alive;
  return c->version == ROAM_MQTT_5 && longest != 0 && (wish == 0 || wish > longest) ? longest : wish;
}

/* ---- accepting ---- */

struct terms {
  roam_bytes id;
  bool assigned;
  uint32_t expiry_s;
  uint16_t keep_alive_s;
};

static struct terms settle_terms(roam_broker *b, const roam_packet *c, char assigned[ASSIGNED_ID_LEN + 1]) {
  struct terms t = {.id = c->connect.client_id, .assigned = c->connect.client_id.len == 0};
  if (t.assigned) t.id = assign_id(b, assigned);
  uint32_t wish = wanted_expiry(b, c);
  t.expiry_s = wish < b->o.session_expiry_max_s ? wish : b->o.session_expiry_max_s;
  t.keep_alive_s = settle_keep_alive(b, c);
  return t;
}

static roam_bytes make_props(const roam_broker *b, const roam_packet *c, const struct terms *t,
                             uint8_t bytes[CONNACK_PROPS_MAX]) {
  static const uint8_t available[] = {ROAM_PROP_WILDCARD_SUBSCRIPTION_AVAILABLE,
                                      ROAM_PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE, ROAM_PROP_SHARED_SUBSCRIPTION_AVAILABLE};
  roam_props props = {.base = bytes, .cap = CONNACK_PROPS_MAX};
  if (c->version != ROAM_MQTT_5) return (roam_bytes){0};
  if (t->assigned) roam_props_put_bytes(&props, ROAM_PROP_ASSIGNED_CLIENT_IDENTIFIER, t->id);
  if (t->expiry_s != wanted_expiry(b, c)) roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, t->expiry_s);
  if (t->keep_alive_s != c->connect.keep_alive_s)
    roam_props_put_number(&props, ROAM_PROP_SERVER_KEEP_ALIVE, t->keep_alive_s);
  if (b->o.maximum_qos < 2) roam_props_put_number(&props, ROAM_PROP_MAXIMUM_QOS, b->o.maximum_qos);
  roam_props_put_number(&props, ROAM_PROP_RETAIN_AVAILABLE, b->o.retain_available);
  for (size_t i = 0; i < sizeof available; i++) roam_props_put_number(&props, available[i], 1);
  if (b->response_information && roam_props_number(c->props, ROAM_PROP_REQUEST_RESPONSE_INFORMATION, 0) == 1)
    roam_props_put_bytes(&props, ROAM_PROP_RESPONSE_INFORMATION, text_bytes(b->response_information));
  return (roam_bytes){bytes, props.len};
}

static void tell_joined(roam_broker *b, struct roam_peer *p, bool present) {
  struct roam_record *r = p->record;
  char id[ROAM_ID_TEXT_MAX], from[ROAM_ADDR_TEXT_MAX];
  roam_event *ev = roam_broker_tell(b, ROAM_EV_PEER_CONNECTED, r->id, NULL);
  ev->peer = p->number;
  ev->reason = 0;
  ev->u.link = (roam_event_link){
      .local = p->local, .remote = p->remote, .transport = r->transport, .version = r->version, .session_present = present};
  roam_trace(&b->o.log, b->now, CLIENT_CONNECTED, .client = roam_id_text(r->id, id),
             .address = roam_addr_format(&p->remote, from), .transport = roam_transport_name(r->transport),
             .session = present ? "resumed" : NULL);
}

static void join(roam_broker *b, struct roam_peer *p, struct roam_record *r, const roam_packet *c, const struct terms *t,
                 struct roam_will *will) {
  p->state = ROAM_PEER_UP;
  p->record = r;
  p->session = r->session;
  roam_session_set_flows(p->session, p->flows);
  roam_heap_remove(&b->timers, &p->timer);
  roam_sessions_joined(b, r, p, will);
  roam_access_joined(b, p, r);
  r->expiry_s = t->expiry_s;
  r->keep_alive_s = t->keep_alive_s;
  r->version = c->version;
  r->transport = (uint8_t)roam_transport_get_kind(roam_conn_transport(p->conn));
  r->connected_at = b->now;
  if (t->keep_alive_s == 0) roam_peer_mind_silence(b, p);
  roam_history_connected(&r->history, b->now, &p->remote);
  roam_durable_session(b, r);
  roam_push_joined(b, p);
  b->stats.connects_accepted++;
}

static void take_over(roam_broker *b, const struct terms *t) {
  struct roam_record *r = roam_sessions_find(b, t->id.base, t->id.len);
  if (!r || !r->peer) return;
  b->stats.sessions_taken_over++;
  roam_peer_say(b, r->peer, ROAM_REASON_SESSION_TAKEN_OVER, "another connection has taken over the session");
}

/* Whoever it is, access.c has no doubt about it. */
static void let_in(roam_broker *b, struct roam_peer *p, const roam_packet *c) {
  char assigned[ASSIGNED_ID_LEN + 1];
  uint8_t bytes[CONNACK_PROPS_MAX];
  struct roam_will will = {0};
  struct roam_record *r = NULL;
  bool present = false;
  struct terms t = settle_terms(b, c, assigned);
  struct verdict verdict = {0};
  verdict.reason = roam_access_objection(b, p, roam_sessions_find(b, t.id.base, t.id.len), c, t.id, &verdict.text);
  if (verdict.reason == 0 && c->connect.has_will && roam_will_arm(&will, c) != 0)
    verdict = (struct verdict){ROAM_REASON_SERVER_UNAVAILABLE, "no memory for the will"};
  if (verdict.reason != 0) {
    refuse(b, p, c, verdict.reason, verdict.text);
    return;
  }
  uint64_t before = b->durable.changes;
  take_over(b, &t);
  roam_rc rc = t.assigned && b->mail ? roam_mail_own(b, t.id) : 0;
  if (rc == 0) rc = roam_sessions_open(b, t.id, c->connect.clean_start, &r, &present);
  roam_packet connack = {
      .type = ROAM_CONNACK, .version = c->version, .session_present = present, .props = make_props(b, c, &t, bytes)};
  connack.props = roam_access_props(p, connack.props);
  if (rc != 0) {
    roam_blob_unref(will.blob);
    refuse(b, p, c, rc == ROAM_E_LIMIT ? ROAM_REASON_QUOTA_EXCEEDED : ROAM_REASON_SERVER_UNAVAILABLE,
           rc == ROAM_E_LIMIT ? "sessions_max is reached" : roam_strerror(rc));
    return;
  }
  bool keep = roam_durable_keeps(b, t.expiry_s);
  roam_session_hold(r->session, keep ? b->durable.epoch : roam_mail_gates(b) ? 0 : roam_durable_epoch(b, before));
  if (!roam_mail_gates(b)) roam_session_release(r->session, b->durable.committed);
  rc = roam_session_accept(r->session, b->now, c, &connack, t.keep_alive_s);
  if (rc != 0) {
    roam_blob_unref(will.blob);
    if (!present) roam_sessions_end(b, r);
    roam_peer_leave(b, p, (struct roam_end){rc, -1, "CONNACK does not fit what the client takes"}, false);
    return;
  }
  join(b, p, r, c, &t, &will);
  tell_joined(b, p, present);
}

/* Where is its session? It may take a moment to learn (mail_claim.c). */
static void find_place(roam_broker *b, struct roam_peer *p, const roam_packet *c) {
  if (!b->mail) {
    let_in(b, p, c);
    return;
  }
  /* The packet may go with its peer, when that is refused. */
  roam_blob *id = roam_blob_new(c->connect.client_id.base, c->connect.client_id.len);
  if (!id) {
    roam_connect_claimed(b, p, c, ROAM_REASON_SERVER_UNAVAILABLE);
    return;
  }
  if (!roam_mail_claim(b, p, c)) {
    let_in(b, p, c);
    roam_mail_settled(b, (roam_bytes){roam_blob_data(id), roam_blob_len(id)});
  }
  roam_blob_unref(id);
}

void roam_connect_claimed(roam_broker *b, struct roam_peer *p, const roam_packet *c, uint8_t reason) {
  struct verdict verdict = {reason, reason == ROAM_REASON_NOT_AUTHORIZED
                                        ? "the session with this client identifier belongs to another user"
                                        : "another worker has the session and cannot send it"};
  if (reason == 0) verdict = judge(b, c);
  if (verdict.reason == 0) let_in(b, p, c);
  else refuse(b, p, c, verdict.reason, verdict.text);
  roam_access_forget(b, p);
  roam_peer_mark(b, p);
}

void roam_connect_decided(roam_broker *b, struct roam_peer *p, const roam_packet *c, uint8_t reason, const char *text) {
  struct verdict verdict = {reason, text};
  if (reason == 0) verdict = judge(b, c); /* it may be too late */
  if (verdict.reason == 0) find_place(b, p, c);
  else refuse(b, p, c, verdict.reason, verdict.text);
}

static void admit(roam_broker *b, struct roam_peer *p, const roam_packet *c, roam_bytes bytes) {
  struct verdict verdict = judge(b, c);
  if (verdict.reason == 0 && roam_access_ask(b, p, c, bytes, &verdict.reason, &verdict.text)) return;
  if (verdict.reason == 0) find_place(b, p, c);
  else refuse(b, p, c, verdict.reason, verdict.text);
}

void roam_connect_read(roam_broker *b, struct roam_peer *p) {
  if (p->claim_connect) return; /* what it says meanwhile waits in its window */
  if (p->waiting) {
    roam_access_read(b, p);
    return;
  }
  roam_packet connect;
  roam_fault fault;
  size_t used = 0;
  if (!roam_access_may_ask(b, p)) return;
  if (p->flows && !roam_flows_greet(b, p)) return;
  roam_bytes bytes = roam_conn_peek(p->conn, 0);
  if (bytes.len == 0) return;
  roam_rc rc = roam_packet_read(bytes, 0, b->o.maximum_packet_size, false, &connect, &used, &fault);
  if (rc != 0) {
    refuse_fault(b, p, &fault);
  } else if (used > 0) {
    admit(b, p, &connect, (roam_bytes){bytes.base, used});
    roam_conn_consume(p->conn, b->now, 0, used);
    b->stats.bytes_in += used;
  }
}
