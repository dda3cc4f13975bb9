/* decode.c - bytes to packets, strictly: one pass, no copy, no allocation. A packet that comes out has been checked whole
 * (lengths, flags, UTF-8, properties, ranges), so that nobody after this file needs to. What depends on the course of a
 * connection (aliases, windows, packet identifiers in use) is the session's to judge. A packet whose first bytes already
 * condemn it is refused before its body has arrived. */
#include "mqtt/packet.h"

#include <stddef.h>
#include <string.h>

/* What is left of a packet's body. */
typedef struct cursor {
  const uint8_t *at, *end;
} cursor;

typedef struct header {
  uint8_t type, flags;
  uint32_t remaining;
  size_t len;
} header;

static size_t count_left(const cursor *c) { return (size_t)(c->end - c->at); }

static bool take_u8(cursor *c, uint8_t *out) {
  if (count_left(c) < 1) {
    return false;
  }
  *out = *c->at++;
  return true;
}

static bool take_u16(cursor *c, uint16_t *out) {
  if (count_left(c) < 2) {
    return false;
  }
  *out = roam_get_u16(c->at);
  c->at += 2;
  return true;
}

static bool take_block(cursor *c, roam_bytes *out) {
  uint16_t len;
  if (!take_u16(c, &len) || count_left(c) < len) {
    return false;
  }
  *out = (roam_bytes){c->at, len};
  c->at += len;
  return true;
}

static bool take_text(cursor *c, roam_bytes *out) { return take_block(c, out) && roam_utf8_valid(*out); }

static roam_bytes take_rest(cursor *c) {
  roam_bytes rest = {c->at, count_left(c)};
  c->at = c->end;
  return rest;
}

static roam_rc read_props(cursor *c, uint32_t place, roam_bytes *out, roam_fault *fault) {
  uint32_t len;
  int used = roam_varint_read(c->at, count_left(c), &len);
  if (used <= 0 || count_left(c) - (size_t)used < len) {
    return roam_fault_malformed(fault, "property length does not fit the packet");
  }
  *out = (roam_bytes){c->at + used, len};
  c->at += (size_t)used + len;
  return roam_props_check(*out, place, fault);
}

static roam_rc read_end(const cursor *c, roam_fault *fault) {
  return c->at == c->end ? 0 : roam_fault_malformed(fault, "bytes after the end of the packet's fields");
}

static roam_rc read_packet_id(cursor *c, roam_packet *p, roam_fault *fault) {
  if (!take_u16(c, &p->packet_id)) {
    return roam_fault_malformed(fault, "packet identifier is cut short");
  }
  return p->packet_id != 0 ? 0 : roam_fault_protocol(fault, "packet identifier 0");
}

/* ---- CONNECT ---- */

static roam_rc read_protocol(cursor *c, roam_packet *p, roam_fault *fault) {
  roam_bytes name;
  uint8_t level;
  if (!take_text(c, &name) || !take_u8(c, &level)) {
    return roam_fault_malformed(fault, "CONNECT protocol name is cut short");
  }
  bool mqtt = name.len == 4 && memcmp(name.base, "MQTT", 4) == 0;
  bool isdp = name.len == 6 && memcmp(name.base, "MQIsdp", 6) == 0;
  p->version = level;
  if (!mqtt && !isdp) {
    return roam_fault_set(fault, ROAM_E_PROTOCOL, ROAM_REASON_UNSUPPORTED_VERSION, "CONNECT protocol name is not MQTT");
  }
  if (mqtt ? level != ROAM_MQTT_311 && level != ROAM_MQTT_5 : level != ROAM_MQTT_31) {
    return roam_fault_set(fault, ROAM_E_VERSION, ROAM_REASON_UNSUPPORTED_VERSION,
                          "CONNECT protocol version is not 3, 4 or 5");
  }
  return 0;
}

static roam_rc read_connect_flags(cursor *c, roam_packet *p, roam_fault *fault) {
  uint8_t flags;
  if (!take_u8(c, &flags) || !take_u16(c, &p->connect.keep_alive_s)) {
    return roam_fault_malformed(fault, "CONNECT is cut short");
  }
  p->connect.clean_start = (flags & 0x02) != 0;
  p->connect.has_will = (flags & 0x04) != 0;
  p->connect.will_qos = flags >> 3 & 3;
  p->connect.will_retain = (flags & 0x20) != 0;
  p->connect.has_password = (flags & 0x40) != 0;
  p->connect.has_user_name = (flags & 0x80) != 0;
  if ((flags & 0x01) != 0) {
    return roam_fault_malformed(fault, "CONNECT reserved flag is set");
  }
  if (p->connect.will_qos == 3 || (!p->connect.has_will && (p->connect.will_qos != 0 || p->connect.will_retain))) {
    return roam_fault_malformed(fault, "CONNECT will flags contradict each other");
  }
  if (p->version < ROAM_MQTT_5 && p->connect.has_password && !p->connect.has_user_name) {
    return roam_fault_malformed(fault, "CONNECT has a password but no user name");
  }
  return 0;
}

static roam_rc read_will(cursor *c, roam_packet *p, roam_fault *fault) {
  if (p->version == ROAM_MQTT_5) {
    roam_rc rv = read_props(c, ROAM_IN_WILL, &p->connect.will_props, fault);
    if (rv != 0) {
      return rv;
    }
  }
  if (!take_text(c, &p->connect.will_topic) || !take_block(c, &p->connect.will_payload)) {
    return roam_fault_malformed(fault, "CONNECT will is cut short or not UTF-8");
  }
  if (!roam_topic_valid(p->connect.will_topic)) {
    return roam_fault_set(fault, ROAM_E_PROTOCOL, ROAM_REASON_TOPIC_NAME_INVALID,
                          "CONNECT will topic is empty or has a wildcard");
  }
  return 0;
}

/* Section 3.1.2.11.10: data for a method that was not named. */
static roam_rc check_authentication(roam_bytes props, roam_fault *fault) {
  roam_prop prop;
  if (roam_prop_find(props, ROAM_PROP_AUTHENTICATION_DATA, &prop) == 1 &&
      roam_prop_find(props, ROAM_PROP_AUTHENTICATION_METHOD, &prop) == 0) {
    return roam_fault_protocol(fault, "authentication data without a method");
  }
  return 0;
}

static roam_rc read_connect(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)from_server;
  roam_rc rv = read_protocol(c, p, fault);
  if (rv == 0) {
    rv = read_connect_flags(c, p, fault);
  }
  if (rv == 0 && p->version == ROAM_MQTT_5) {
    rv = read_props(c, ROAM_IN(ROAM_CONNECT), &p->props, fault);
    if (rv == 0) {
      rv = check_authentication(p->props, fault);
    }
  }
  if (rv == 0 && !take_text(c, &p->connect.client_id)) {
    rv = roam_fault_malformed(fault, "CONNECT client identifier is cut short or not UTF-8");
  }
  if (rv == 0 && p->connect.has_will) {
    rv = read_will(c, p, fault);
  }
  if (rv == 0 && p->connect.has_user_name && !take_text(c, &p->connect.user_name)) {
    rv = roam_fault_malformed(fault, "CONNECT user name is cut short or not UTF-8");
  }
  if (rv == 0 && p->connect.has_password && !take_block(c, &p->connect.password)) {
    rv = roam_fault_malformed(fault, "CONNECT password is cut short");
  }
  return rv != 0 ? rv : read_end(c, fault);
}

static roam_rc read_connack(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)from_server;
  uint8_t flags = 0, code = 0;
  if (!take_u8(c, &flags) || !take_u8(c, &code)) {
    return roam_fault_malformed(fault, "CONNACK is cut short");
  }
  if ((flags & 0xFE) != 0) {
    return roam_fault_malformed(fault, "CONNACK reserved flags are set");
  }
  p->session_present = (flags & 1) != 0;
  p->reason = code;
  if (p->version < ROAM_MQTT_5) {
    int reason = roam_reason_from_v3(code);
    if (reason < 0) {
      return roam_fault_malformed(fault, "CONNACK return code is unknown");
    }
    p->reason = (uint8_t)reason;
  } else {
    if (!roam_reason_fits(code, ROAM_CONNACK)) {
      return roam_fault_malformed(fault, "CONNACK reason code is unknown");
    }
    roam_rc rv = read_props(c, ROAM_IN(ROAM_CONNACK), &p->props, fault);
    if (rv != 0) {
      return rv;
    }
  }
  if (p->session_present && p->reason != 0) {
    return roam_fault_protocol(fault, "CONNACK refuses but says that a session is present");
  }
  return read_end(c, fault);
}

/* ---- PUBLISH and its answers ---- */

static roam_rc check_publish_topic(const roam_packet *p, roam_fault *fault) {
  roam_prop alias;
  if (p->topic.len == 0 && p->version == ROAM_MQTT_5) {
    return roam_prop_find(p->props, ROAM_PROP_TOPIC_ALIAS, &alias) == 1
               ? 0
               : roam_fault_protocol(fault, "PUBLISH has neither topic name nor topic alias");
  }
  if (!roam_topic_valid(p->topic)) {
    return roam_fault_set(fault, ROAM_E_PROTOCOL, ROAM_REASON_TOPIC_NAME_INVALID,
                          "PUBLISH topic name is empty or contains a wildcard");
  }
  return 0;
}

static roam_rc read_publish(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  roam_prop prop;
  if (!take_text(c, &p->topic)) {
    return roam_fault_malformed(fault, "PUBLISH topic name is cut short or not UTF-8");
  }
  roam_rc rv = p->qos > 0 ? read_packet_id(c, p, fault) : 0;
  if (rv == 0 && p->version == ROAM_MQTT_5) {
    rv = read_props(c, ROAM_IN(ROAM_PUBLISH), &p->props, fault);
  }
  if (rv == 0) {
    rv = check_publish_topic(p, fault);
  }
  if (rv == 0 && !from_server && roam_prop_find(p->props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, &prop) == 1) {
    rv = roam_fault_protocol(fault, "PUBLISH of a client has a subscription identifier");
  }
  p->payload = take_rest(c);
  return rv;
}

static roam_rc read_reason(cursor *c, roam_packet *p, roam_fault *fault) {
  if (!take_u8(c, &p->reason)) {
    return roam_fault_malformed(fault, "reason code is missing");
  }
  return roam_reason_fits(p->reason, p->type) ? 0 : roam_fault_malformed(fault, "reason code does not fit the packet");
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP: in 5.0 the reason and the properties may be left out (section 3.4.2). */
static roam_rc read_ack(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)from_server;
  roam_rc rv = read_packet_id(c, p, fault);
  if (rv == 0 && count_left(c) > 0) {
    rv = read_reason(c, p, fault);
  }
  if (rv == 0 && count_left(c) > 0) {
    rv = read_props(c, ROAM_IN(p->type), &p->props, fault);
  }
  return rv != 0 ? rv : read_end(c, fault);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE and their answers ---- */

static bool take_filter(roam_bytes *rest, int type, roam_filter *out, uint8_t *options) {
  cursor c = {rest->base, rest->base + rest->len};
  *out = (roam_filter){0};
  *options = 0;
  if (!take_block(&c, &out->filter) || (type == ROAM_SUBSCRIBE && !take_u8(&c, options))) {
    return false;
  }
  out->qos = *options & 3;
  out->no_local = (*options & 0x04) != 0;
  out->retain_as_published = (*options & 0x08) != 0;
  out->retain_handling = *options >> 4 & 3;
  *rest = take_rest(&c);
  return true;
}

int roam_filter_next(roam_bytes *rest, int type, roam_filter *out) {
  uint8_t options;
  if (rest->len == 0) {
    return 0;
  }
  return take_filter(rest, type, out, &options) ? 1 : ROAM_E_MALFORMED;
}

static bool is_shared(roam_bytes filter) { return filter.len > 7 && memcmp(filter.base, "$share/", 7) == 0; }

static roam_rc check_filter(const roam_filter *f, uint8_t options, uint8_t version, roam_fault *fault) {
  if (!roam_utf8_valid(f->filter)) {
    return roam_fault_malformed(fault, "topic filter is not UTF-8");
  }
  if (!roam_topic_filter_valid(f->filter)) {
    return roam_fault_set(fault, ROAM_E_PROTOCOL, ROAM_REASON_TOPIC_FILTER_INVALID, "topic filter is not well formed");
  }
  if ((options & (version == ROAM_MQTT_5 ? 0xC0 : 0xFC)) != 0) {
    return roam_fault_malformed(fault, "SUBSCRIBE reserved option bits are set");
  }
  if (f->qos == 3 || f->retain_handling == 3) {
    return roam_fault_protocol(fault, "SUBSCRIBE options ask for QoS 3 or retain handling 3");
  }
  if (f->no_local && is_shared(f->filter)) {
    return roam_fault_protocol(fault, "SUBSCRIBE asks for no local on a shared subscription");
  }
  return 0;
}

static roam_rc read_subscribe(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)from_server;
  roam_rc rv = read_packet_id(c, p, fault);
  if (rv == 0 && p->version == ROAM_MQTT_5) {
    rv = read_props(c, ROAM_IN(p->type), &p->props, fault);
  }
  if (rv != 0) {
    return rv;
  }
  p->filters = take_rest(c);
  if (p->filters.len == 0) {
    return roam_fault_protocol(fault, "no topic filter in the packet");
  }
  roam_bytes rest = p->filters;
  while (rest.len > 0) {
    roam_filter filter;
    uint8_t options;
    if (!take_filter(&rest, p->type, &filter, &options)) {
      return roam_fault_malformed(fault, "topic filter is cut short");
    }
    rv = check_filter(&filter, options, p->version, fault);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static roam_rc read_suback(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)from_server;
  roam_rc rv = read_packet_id(c, p, fault);
  if (rv == 0 && p->version == ROAM_MQTT_5) {
    rv = read_props(c, ROAM_IN(p->type), &p->props, fault);
  }
  if (rv != 0) {
    return rv;
  }
  p->codes = take_rest(c);
  if (p->codes.len == 0 && !(p->type == ROAM_UNSUBACK && p->version < ROAM_MQTT_5)) {
    return roam_fault_protocol(fault, "no reason code in the packet");
  }
  for (size_t i = 0; i < p->codes.len; i++) {
    uint8_t code = p->codes.base[i];
    bool good = p->version == ROAM_MQTT_5 ? roam_reason_fits(code, p->type) : code <= 2 || code == ROAM_REASON_UNSPECIFIED;
    if (!good) {
      return roam_fault_malformed(fault, "reason code does not fit the packet");
    }
  }
  return 0;
}

/* ---- the rest ---- */

static roam_rc read_ping(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)p;
  (void)from_server;
  return read_end(c, fault);
}

static roam_rc read_disconnect(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  roam_prop prop;
  if (from_server && p->version < ROAM_MQTT_5) {
    return roam_fault_protocol(fault, "DISCONNECT from a 3.1.1 server");
  }
  roam_rc rv = count_left(c) > 0 ? read_reason(c, p, fault) : 0;
  if (rv == 0 && count_left(c) > 0) {
    rv = read_props(c, ROAM_IN(ROAM_DISCONNECT), &p->props, fault);
  }
  if (rv == 0 && from_server && roam_prop_find(p->props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, &prop) == 1) {
    rv = roam_fault_protocol(fault, "DISCONNECT of a server has a session expiry interval");
  }
  return rv != 0 ? rv : read_end(c, fault);
}

static roam_rc read_auth(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  (void)from_server;
  roam_prop prop;
  if (count_left(c) == 0) {
    return 0;
  }
  roam_rc rv = read_reason(c, p, fault);
  if (rv == 0) {
    rv = read_props(c, ROAM_IN(ROAM_AUTH), &p->props, fault);
  }
  if (rv == 0 && roam_prop_find(p->props, ROAM_PROP_AUTHENTICATION_METHOD, &prop) == 0) {
    rv = roam_fault_protocol(fault, "AUTH without an authentication method");
  }
  return rv != 0 ? rv : read_end(c, fault);
}

static roam_rc read_body(cursor *c, roam_packet *p, bool from_server, roam_fault *fault) {
  static roam_rc (*const readers[16])(cursor *, roam_packet *, bool, roam_fault *) = {
      [ROAM_CONNECT] = read_connect, [ROAM_CONNACK] = read_connack,
      [ROAM_PUBLISH] = read_publish, [ROAM_PUBACK] = read_ack,
      [ROAM_PUBREC] = read_ack,      [ROAM_PUBREL] = read_ack,
      [ROAM_PUBCOMP] = read_ack,     [ROAM_SUBSCRIBE] = read_subscribe,
      [ROAM_SUBACK] = read_suback,   [ROAM_UNSUBSCRIBE] = read_subscribe,
      [ROAM_UNSUBACK] = read_suback, [ROAM_PINGREQ] = read_ping,
      [ROAM_PINGRESP] = read_ping,   [ROAM_DISCONNECT] = read_disconnect,
      [ROAM_AUTH] = read_auth,
  };
  return readers[p->type](c, p, from_server, fault);
}

/* ---- the fixed header ---- */

static roam_rc check_first_byte(const header *h, uint8_t version, bool from_server, roam_fault *fault) {
  const roam_packet_rule *rule = roam_packet_rule_get(h->type);
  if (rule == NULL) {
    return roam_fault_malformed(fault, "packet type 0 is reserved");
  }
  if ((rule->senders & (from_server ? ROAM_FROM_SERVER : ROAM_FROM_CLIENT)) == 0) {
    return roam_fault_protocol(fault, "a packet that this side may not send");
  }
  if (version == 0 && h->type != ROAM_CONNECT) {
    return roam_fault_protocol(fault, "the first packet is not CONNECT");
  }
  if (version != 0 && h->type == ROAM_CONNECT) {
    return roam_fault_protocol(fault, "a second CONNECT");
  }
  if (rule->flags >= 0 && h->flags != rule->flags) {
    return roam_fault_malformed(fault, "flags of the first byte are not those of the packet type");
  }
  if (h->type == ROAM_PUBLISH && (h->flags & 6) == 6) {
    return roam_fault_malformed(fault, "PUBLISH has QoS 3");
  }
  if (h->type == ROAM_PUBLISH && (h->flags & 0xE) == 8) {
    return roam_fault_malformed(fault, "PUBLISH has DUP set with QoS 0");
  }
  return 0;
}

/* Lengths no body can mend. */
static roam_rc check_remaining(const header *h, uint8_t version, uint32_t max, roam_fault *fault) {
  const roam_packet_rule *rule = roam_packet_rule_get(h->type);
  int column = version == ROAM_MQTT_5 ? 1 : 0;
  if (rule->least[column] == ROAM_REMAINING_MAX) {
    return roam_fault_malformed(fault, "AUTH does not exist before MQTT 5.0");
  }
  if (h->remaining < rule->least[column]) {
    return roam_fault_malformed(fault, "packet is shorter than its type can be");
  }
  if (h->remaining > rule->most[column]) {
    return roam_fault_malformed(fault, "packet is longer than its type can be");
  }
  if (h->len + h->remaining > max) {
    return roam_fault_set(fault, ROAM_E_TOO_LARGE, ROAM_REASON_PACKET_TOO_LARGE,
                          "packet is larger than the agreed maximum");
  }
  return 0;
}

/* h->len stays 0 while the header is not complete. */
static roam_rc read_header(roam_bytes bytes, uint8_t version, uint32_t max, bool from_server, header *h,
                           roam_fault *fault) {
  *h = (header){0};
  if (bytes.len == 0) {
    return 0;
  }
  h->type = bytes.base[0] >> 4;
  h->flags = bytes.base[0] & 0xF;
  roam_rc rv = check_first_byte(h, version, from_server, fault);
  if (rv != 0) {
    return rv;
  }
  int used = roam_varint_read(bytes.base + 1, bytes.len - 1, &h->remaining);
  if (used < 0) {
    return roam_fault_malformed(fault, "remaining length is not a variable byte integer");
  }
  if (used == 0) {
    return 0;
  }
  h->len = 1 + (size_t)used;
  return check_remaining(h, version, max, fault);
}

roam_rc roam_packet_take(roam_bytes bytes, uint8_t version, uint32_t max, bool from_server, roam_packet *out, size_t *used,
                         roam_fault *fault) {
  header h;
  *used = 0;
  roam_rc rv = read_header(bytes, version, max, from_server, &h, fault);
  if (rv != 0 || h.len == 0 || bytes.len - h.len < h.remaining) {
    return rv;
  }
  memset(out, 0, h.type == ROAM_CONNECT ? sizeof *out : offsetof(roam_packet, connect));
  out->type = h.type;
  out->version = version;
  if (h.type == ROAM_PUBLISH) {
    out->dup = (h.flags & 8) != 0;
    out->qos = h.flags >> 1 & 3;
    out->retain = (h.flags & 1) != 0;
  }
  cursor c = {bytes.base + h.len, bytes.base + h.len + h.remaining};
  rv = read_body(&c, out, from_server, fault);
  if (rv == 0) {
    *used = h.len + h.remaining;
  }
  return rv;
}

roam_rc roam_packet_read(roam_bytes bytes, uint8_t version, uint32_t max, bool from_server, roam_packet *out, size_t *used,
                         roam_fault *fault) {
  memset(&out->connect, 0, sizeof out->connect);
  return roam_packet_take(bytes, version, max, from_server, out, used, fault);
}
