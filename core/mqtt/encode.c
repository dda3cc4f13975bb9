/* encode.c - packets to bytes. Lays the fields out, then reads the result back with the decoder: what we would refuse to
 * read we refuse to write, and the rules stand in one place. No allocation. The session writes its PUBLISH headers and
 * short acknowledgements itself; everything else passes here. */
#include "mqtt/packet.h"

#include <string.h>

typedef struct writer {
  uint8_t *at;
} writer;

static void put_u8(writer *w, uint8_t value) { *w->at++ = value; }

static void put_u16(writer *w, uint16_t value) {
  roam_put_u16(w->at, value);
  w->at += 2;
}

static void put_raw(writer *w, roam_bytes bytes) {
  if (bytes.len > 0) {
    memcpy(w->at, bytes.base, bytes.len);
    w->at += bytes.len;
  }
}

static void put_block(writer *w, roam_bytes bytes) {
  put_u16(w, (uint16_t)bytes.len);
  put_raw(w, bytes);
}

static void put_props(writer *w, roam_bytes props) {
  w->at += roam_varint_write(w->at, (uint32_t)props.len);
  put_raw(w, props);
}

static size_t size_props(const roam_packet *p, roam_bytes props) {
  return p->version < ROAM_MQTT_5 ? 0 : roam_varint_size((uint32_t)props.len) + props.len;
}

static bool has_long_field(const roam_packet *p) {
  const roam_bytes *blocks[] = {
      &p->topic,           &p->connect.client_id, &p->connect.will_topic, &p->connect.will_payload, &p->connect.user_name,
      &p->connect.password};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
    if (blocks[i]->len > ROAM_STRING_MAX) {
      return true;
    }
  }
  const roam_bytes *rests[] = {&p->props, &p->connect.will_props, &p->payload, &p->filters, &p->codes};
  for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
    if (rests[i]->len > ROAM_REMAINING_MAX) {
      return true;
    }
  }
  return false;
}

static size_t size_connect(const roam_packet *p) {
  size_t size = (p->version == ROAM_MQTT_31 ? 8 : 6) + 4 + size_props(p, p->props) + 2 + p->connect.client_id.len;
  if (p->connect.has_will) {
    size += size_props(p, p->connect.will_props) + 4 + p->connect.will_topic.len + p->connect.will_payload.len;
  }
  if (p->connect.has_user_name) {
    size += 2 + p->connect.user_name.len;
  }
  if (p->connect.has_password) {
    size += 2 + p->connect.password.len;
  }
  return size;
}

/* Packets that may leave out a trailing reason and property list: how many of the two are needed. */
static size_t size_reason(const roam_packet *p) {
  if (p->version < ROAM_MQTT_5 || (p->reason == 0 && p->props.len == 0)) {
    return 0;
  }
  return p->props.len == 0 && p->type != ROAM_AUTH ? 1 : 1 + size_props(p, p->props);
}

static size_t size_body(const roam_packet *p) {
  switch (p->type) {
    case ROAM_CONNECT: return size_connect(p);
    case ROAM_CONNACK: return 2 + size_props(p, p->props);
    case ROAM_PUBLISH: return 2 + p->topic.len + (p->qos > 0 ? 2 : 0) + size_props(p, p->props) + p->payload.len;
    case ROAM_PUBACK:
    case ROAM_PUBREC:
    case ROAM_PUBREL:
    case ROAM_PUBCOMP: return 2 + size_reason(p);
    case ROAM_SUBSCRIBE:
    case ROAM_UNSUBSCRIBE: return 2 + size_props(p, p->props) + p->filters.len;
    case ROAM_SUBACK:
    case ROAM_UNSUBACK:
      return 2 + size_props(p, p->props) + (p->type == ROAM_UNSUBACK && p->version < ROAM_MQTT_5 ? 0 : p->codes.len);
    default: return size_reason(p);
  }
}

/* Can the fields be laid out at all? 0 when not. */
static size_t measure_body(const roam_packet *p) {
  bool versioned = p->version == ROAM_MQTT_31 || p->version == ROAM_MQTT_311 || p->version == ROAM_MQTT_5;
  if (roam_packet_rule_get(p->type) == NULL || !versioned || p->qos > 2 || p->connect.will_qos > 2 || has_long_field(p)) {
    return SIZE_MAX;
  }
  size_t size = size_body(p);
  return size <= ROAM_REMAINING_MAX ? size : SIZE_MAX;
}

size_t roam_packet_size(const roam_packet *packet) {
  size_t body = measure_body(packet);
  return body == SIZE_MAX ? 0 : 1 + roam_varint_size((uint32_t)body) + body;
}

static void write_connect(writer *w, const roam_packet *p) {
  const char *name = p->version == ROAM_MQTT_31 ? "MQIsdp" : "MQTT";
  put_block(w, roam_bytes_make(name, strlen(name)));
  put_u8(w, p->version);
  put_u8(w, (uint8_t)(p->connect.clean_start << 1 | p->connect.has_will << 2 | p->connect.will_qos << 3 |
                      p->connect.will_retain << 5 | p->connect.has_password << 6 | p->connect.has_user_name << 7));
  put_u16(w, p->connect.keep_alive_s);
  if (p->version == ROAM_MQTT_5) {
    put_props(w, p->props);
  }
  put_block(w, p->connect.client_id);
  if (p->connect.has_will) {
    if (p->version == ROAM_MQTT_5) {
      put_props(w, p->connect.will_props);
    }
    put_block(w, p->connect.will_topic);
    put_block(w, p->connect.will_payload);
  }
  if (p->connect.has_user_name) {
    put_block(w, p->connect.user_name);
  }
  if (p->connect.has_password) {
    put_block(w, p->connect.password);
  }
}

static void write_reason(writer *w, const roam_packet *p) {
  size_t size = size_reason(p);
  if (size >= 1) {
    put_u8(w, p->reason);
  }
  if (size >= 2) {
    put_props(w, p->props);
  }
}

static void write_body(writer *w, const roam_packet *p) {
  bool v5 = p->version == ROAM_MQTT_5;
  switch (p->type) {
    case ROAM_CONNECT: write_connect(w, p); return;
    case ROAM_CONNACK:
      put_u8(w, p->session_present);
      put_u8(w, v5 ? p->reason : roam_reason_to_v3(p->reason));
      break;
    case ROAM_PUBLISH:
      put_block(w, p->topic);
      if (p->qos > 0) {
        put_u16(w, p->packet_id);
      }
      break;
    case ROAM_SUBSCRIBE:
    case ROAM_UNSUBSCRIBE:
    case ROAM_SUBACK:
    case ROAM_UNSUBACK: put_u16(w, p->packet_id); break;
    case ROAM_PUBACK:
    case ROAM_PUBREC:
    case ROAM_PUBREL:
    case ROAM_PUBCOMP:
      put_u16(w, p->packet_id);
      write_reason(w, p);
      return;
    default: write_reason(w, p); return;
  }
  if (v5) {
    put_props(w, p->props);
  }
  put_raw(w, p->type == ROAM_PUBLISH                                      ? p->payload
             : p->type == ROAM_SUBSCRIBE || p->type == ROAM_UNSUBSCRIBE   ? p->filters
             : p->type == ROAM_SUBACK || (p->type == ROAM_UNSUBACK && v5) ? p->codes
                                                                          : (roam_bytes){NULL, 0});
}

static uint8_t make_first_byte(const roam_packet *p) {
  const roam_packet_rule *rule = roam_packet_rule_get(p->type);
  uint8_t flags = rule->flags >= 0 ? (uint8_t)rule->flags : (uint8_t)(p->dup << 3 | p->qos << 1 | p->retain);
  return (uint8_t)(p->type << 4 | flags);
}

/* A packet both sides may send is good when either may send it so. */
static bool is_readable(const roam_packet *p, roam_bytes bytes) {
  const roam_packet_rule *rule = roam_packet_rule_get(p->type);
  uint8_t version = p->type == ROAM_CONNECT ? 0 : p->version;
  roam_packet back;
  roam_fault fault;
  size_t used;
  for (int from_server = 0; from_server <= 1; from_server++) {
    if ((rule->senders & (from_server ? ROAM_FROM_SERVER : ROAM_FROM_CLIENT)) != 0 &&
        roam_packet_read(bytes, version, UINT32_MAX, from_server, &back, &used, &fault) == 0 && used == bytes.len) {
      return true;
    }
  }
  return false;
}

roam_rc roam_packet_write(const roam_packet *packet, uint8_t *out, size_t cap, size_t *len) {
  size_t body = measure_body(packet);
  size_t size = roam_packet_size(packet);
  *len = 0;
  if (size == 0) {
    return ROAM_E_ARGUMENT;
  }
  if (size > cap) {
    return ROAM_E_LIMIT;
  }
  writer w = {out};
  put_u8(&w, make_first_byte(packet));
  w.at += roam_varint_write(w.at, (uint32_t)body);
  write_body(&w, packet);
  if (!is_readable(packet, (roam_bytes){out, size})) {
    return ROAM_E_ARGUMENT;
  }
  *len = size;
  return 0;
}

roam_rc roam_filter_put(uint8_t *out, size_t cap, size_t *len, int type, const roam_filter *filter) {
  size_t size = 2 + filter->filter.len + (type == ROAM_SUBSCRIBE ? 1 : 0);
  if (!roam_topic_filter_valid(filter->filter) || filter->qos > 2 || filter->retain_handling > 2) {
    return ROAM_E_ARGUMENT;
  }
  if (*len > cap || cap - *len < size) {
    return ROAM_E_LIMIT;
  }
  writer w = {out + *len};
  put_block(&w, filter->filter);
  if (type == ROAM_SUBSCRIBE) {
    put_u8(&w, (uint8_t)(filter->qos | filter->no_local << 2 | filter->retain_as_published << 3 |
                         filter->retain_handling << 4));
  }
  *len += size;
  return 0;
}
