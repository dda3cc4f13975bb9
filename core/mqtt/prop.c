/* prop.c - properties (section 2.2.2): walking, checking against the table, building. Strings are checked for UTF-8 here,
 * so that what has been read once can be trusted. */
#include "mqtt/packet.h"

#include <string.h>

typedef enum wire_type {
  NONE,
  BYTE,
  TWO,
  FOUR,
  VARINT,
  UTF8,
  BINARY,
  PAIR
} wire_type;
typedef enum range {
  ANY,
  BOOL,
  NONZERO,
  ALIAS,
  TOPIC
} range;

typedef struct prop_rule {
  const char *name;
  uint8_t type, range;
  uint32_t allowed, repeats;
} prop_rule;

#define IN(packet) ROAM_IN(ROAM_##packet)
#define IN_WILL ROAM_IN_WILL
#define IN_ANSWERS                                                                                                         \
  (IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK) | IN(DISCONNECT) | IN(AUTH))
#define IN_ALL UINT32_MAX
#define PROP(name, type, range, allowed, repeats) [ROAM_PROP_##name] = {#name, type, range, allowed, repeats},

static const prop_rule rules[] = {
#include "mqtt/prop.def"
};

static const prop_rule *find_rule(int id) {
  if (id < 0 || id >= (int)(sizeof rules / sizeof rules[0]) || rules[id].type == NONE) {
    return NULL;
  }
  return &rules[id];
}

const char *roam_prop_name(int id) {
  const prop_rule *rule = find_rule(id);
  return rule != NULL ? rule->name : NULL;
}

/* How many bytes a value takes at p, of n that are there; 0: cut short or not UTF-8. Numbers, not a struct, go to and fro:
 * a struct through memory costs more here than all the rest, and each PUBLISH is walked several times. */

static inline size_t take_fixed(const uint8_t *p, size_t n, size_t size, uint32_t *number) {
  uint32_t value = 0;
  if (n < size) {
    return 0;
  }
  for (size_t i = 0; i < size; i++) {
    value = value << 8 | p[i];
  }
  *number = value;
  return size;
}

static size_t take_block(const uint8_t *p, size_t n, bool utf8, roam_bytes *out) {
  uint32_t len;
  if (take_fixed(p, n, 2, &len) == 0 || n - 2 < len) {
    return 0;
  }
  *out = (roam_bytes){p + 2, len};
  return utf8 && !roam_utf8_valid(*out) ? 0 : 2 + (size_t)len;
}

static size_t take_varint(const uint8_t *p, size_t n, uint32_t *number) {
  int used = roam_varint_read(p, n, number);
  return used > 0 ? (size_t)used : 0;
}

static size_t take_pair(const uint8_t *p, size_t n, roam_prop *out) {
  size_t name = take_block(p, n, true, &out->bytes);
  size_t value = name > 0 ? take_block(p + name, n - name, true, &out->value) : 0;
  return value > 0 ? name + value : 0;
}

static inline size_t take_value(const uint8_t *p, size_t n, uint8_t type, roam_prop *out) {
  switch (type) {
    case BYTE: return take_fixed(p, n, 1, &out->number);
    case TWO: return take_fixed(p, n, 2, &out->number);
    case FOUR: return take_fixed(p, n, 4, &out->number);
    case VARINT: return take_varint(p, n, &out->number);
    case UTF8:
    case BINARY: return take_block(p, n, type == UTF8, &out->bytes);
    default: return take_pair(p, n, out);
  }
}

int roam_prop_next(roam_bytes *rest, roam_prop *out) {
  const uint8_t *p = rest->base;
  size_t n = rest->len;
  if (n == 0) {
    return 0;
  }
  /* every identifier in use is below 128, so its variable byte integer is one byte */
  const prop_rule *rule = find_rule(p[0]);
  if (rule == NULL) {
    return ROAM_E_MALFORMED;
  }
  *out = (roam_prop){.id = p[0]};
  size_t used = take_value(p + 1, n - 1, rule->type, out);
  if (used == 0) {
    return ROAM_E_MALFORMED;
  }
  rest->base = p + 1 + used;
  rest->len = n - 1 - used;
  return 1;
}

int roam_prop_find(roam_bytes props, int id, roam_prop *out) {
  roam_prop prop;
  if (props.len == 0 || (id != ROAM_PROP_TOPIC_ALIAS && roam_props_alias_alone(props))) {
    return 0;
  }
  while (roam_prop_next(&props, &prop) == 1) {
    if (prop.id == id) {
      *out = prop;
      return 1;
    }
  }
  return 0;
}

uint32_t roam_props_number(roam_bytes props, int id, uint32_t otherwise) {
  roam_prop prop;
  return roam_prop_find(props, id, &prop) == 1 ? prop.number : otherwise;
}

static bool is_in_range(const prop_rule *rule, const roam_prop *prop) {
  switch (rule->range) {
    case BOOL: return prop->number <= 1;
    case NONZERO:
    case ALIAS: return prop->number != 0;
    case TOPIC: return roam_topic_valid(prop->bytes);
    default: return true;
  }
}

roam_rc roam_props_check(roam_bytes props, uint32_t place, roam_fault *fault) {
  uint64_t seen = 0;
  roam_prop prop;
  int rv;
  bool plain = props.len == 0 || (roam_props_alias_alone(props) && place == ROAM_IN(ROAM_PUBLISH));
  if (plain && (props.len == 0 || roam_get_u16(props.base + 1) != 0)) {
    return 0;
  }
  while ((rv = roam_prop_next(&props, &prop)) == 1) {
    const prop_rule *rule = find_rule(prop.id);
    if ((rule->allowed & place) == 0) {
      return roam_fault_malformed(fault, "a property is not allowed in this packet");
    }
    if ((seen >> prop.id & 1) != 0 && (rule->repeats & place) == 0) {
      return roam_fault_protocol(fault, "a property comes more than once");
    }
    seen |= UINT64_C(1) << prop.id;
    if (is_in_range(rule, &prop)) {
      continue;
    }
    if (rule->range == ALIAS) {
      return roam_fault_set(fault, ROAM_E_PROTOCOL, ROAM_REASON_TOPIC_ALIAS_INVALID, "topic alias 0");
    }
    return roam_fault_protocol(fault, "a property's value is out of range");
  }
  return rv == 0 ? 0 : roam_fault_malformed(fault, "a property is unknown, cut short or not UTF-8");
}

/* Unlike a string's, the text of a payload may have U+0000 (section 3.3.2.3.2 asks for well-formed UTF-8 only). */
bool roam_payload_fits(roam_bytes props, roam_bytes payload) {
  if (roam_props_number(props, ROAM_PROP_PAYLOAD_FORMAT_INDICATOR, 0) == 0) {
    return true;
  }
  while (payload.len > 0) {
    const uint8_t *null = memchr(payload.base, 0, payload.len);
    size_t len = null != NULL ? (size_t)(null - payload.base) : payload.len;
    if (!roam_utf8_valid((roam_bytes){payload.base, len})) {
      return false;
    }
    size_t skip = null != NULL ? len + 1 : len;
    payload = (roam_bytes){payload.base + skip, payload.len - skip};
  }
  return true;
}

/* ---- building ---- */

static bool fits_type(const prop_rule *rule, const roam_prop *prop) {
  switch (rule->type) {
    case BYTE: return prop->number <= UINT8_MAX;
    case TWO: return prop->number <= UINT16_MAX;
    case FOUR: return true;
    case VARINT: return prop->number <= ROAM_REMAINING_MAX;
    case BINARY: return prop->bytes.len <= ROAM_STRING_MAX;
    case UTF8: return prop->bytes.len <= ROAM_STRING_MAX && roam_utf8_valid(prop->bytes);
    default:
      return prop->bytes.len <= ROAM_STRING_MAX && prop->value.len <= ROAM_STRING_MAX && roam_utf8_valid(prop->bytes) &&
             roam_utf8_valid(prop->value);
  }
}

static size_t measure_value(const prop_rule *rule, const roam_prop *prop) {
  switch (rule->type) {
    case BYTE: return 1;
    case TWO: return 2;
    case FOUR: return 4;
    case VARINT: return roam_varint_size(prop->number);
    case PAIR: return 4 + prop->bytes.len + prop->value.len;
    default: return 2 + prop->bytes.len;
  }
}

static uint8_t *put_block(uint8_t *out, roam_bytes bytes) {
  roam_put_u16(out, (uint16_t)bytes.len);
  if (bytes.len > 0) {
    memcpy(out + 2, bytes.base, bytes.len);
  }
  return out + 2 + bytes.len;
}

static void put_value(uint8_t *out, const prop_rule *rule, const roam_prop *prop) {
  switch (rule->type) {
    case BYTE: *out = (uint8_t)prop->number; return;
    case TWO: roam_put_u16(out, (uint16_t)prop->number); return;
    case FOUR: roam_put_u32(out, prop->number); return;
    case VARINT: roam_varint_write(out, prop->number); return;
    case PAIR: put_block(put_block(out, prop->bytes), prop->value); return;
    default: put_block(out, prop->bytes); return;
  }
}

roam_rc roam_props_put(roam_props *props, const roam_prop *prop) {
  const prop_rule *rule = find_rule(prop->id);
  if (rule == NULL || !fits_type(rule, prop) || !is_in_range(rule, prop)) {
    return ROAM_E_ARGUMENT;
  }
  size_t need = 1 + measure_value(rule, prop);
  if (props->len > props->cap || props->cap - props->len < need) {
    return ROAM_E_LIMIT;
  }
  props->base[props->len] = prop->id;
  put_value(props->base + props->len + 1, rule, prop);
  props->len += need;
  return 0;
}

roam_rc roam_props_put_number(roam_props *props, int id, uint32_t number) {
  const prop_rule *rule = find_rule(id);
  if (rule == NULL || rule->type > VARINT) {
    return ROAM_E_ARGUMENT;
  }
  return roam_props_put(props, &(roam_prop){.id = (uint8_t)id, .number = number});
}

roam_rc roam_props_put_bytes(roam_props *props, int id, roam_bytes bytes) {
  const prop_rule *rule = find_rule(id);
  if (rule == NULL || (rule->type != UTF8 && rule->type != BINARY)) {
    return ROAM_E_ARGUMENT;
  }
  return roam_props_put(props, &(roam_prop){.id = (uint8_t)id, .bytes = bytes});
}

roam_rc roam_props_put_user(roam_props *props, roam_bytes name, roam_bytes value) {
  return roam_props_put(props, &(roam_prop){.id = ROAM_PROP_USER_PROPERTY, .bytes = name, .value = value});
}
