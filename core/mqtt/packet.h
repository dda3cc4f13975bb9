/* packet.h - what the files of the codec share: the two tables, the variable byte integer, and small helpers for faults.
 * Nothing here allocates or keeps state. */
#ifndef ROAM_MQTT_PACKET_H
#define ROAM_MQTT_PACKET_H

#include <roamqtt/mqtt.h>

#define ROAM_REMAINING_MAX UINT32_C(268435455) /* section 1.5.5: the largest variable byte integer */
#define ROAM_STRING_MAX 65535u

enum {
  ROAM_FROM_CLIENT = 1,
  ROAM_FROM_SERVER = 2
};

/* A row of packet.def. Index 0 of the bounds is for 3.1 and 3.1.1, index 1 for 5.0; least > most: no such packet there. */
typedef struct roam_packet_rule {
  const char *name;
  uint8_t senders;
  int8_t flags;
  uint32_t least[2], most[2];
} roam_packet_rule;

/* NULL for a type that does not exist. */
const roam_packet_rule *roam_packet_rule_get(int type);

/* Fills *fault and returns rc. */
roam_rc roam_fault_set(roam_fault *fault, roam_rc rc, uint8_t reason, const char *text);
roam_rc roam_fault_malformed(roam_fault *fault, const char *text);
roam_rc roam_fault_protocol(roam_fault *fault, const char *text);

size_t roam_varint_size(uint32_t value); /* 1..4; 0 when it is too large */
size_t roam_varint_write(uint8_t *out, uint32_t value);
/* Bytes taken; 0: more are needed; -1: longer than four bytes, or longer than the value needs. */
int roam_varint_read(const uint8_t *bytes, size_t len, uint32_t *value);

/* Where properties stand: a packet type's bit, or the will's. */
#define ROAM_IN(type) (UINT32_C(1) << (type))
#define ROAM_IN_WILL UINT32_C(1)

/* Are these properties legal in that place: known, allowed, not repeated, in range? */
roam_rc roam_props_check(roam_bytes props, uint32_t place, roam_fault *fault);

/* All that most messages have: nothing, or a topic alias and nothing else. They are asked for several properties each. */
static inline bool roam_props_alias_alone(roam_bytes props) {
  return props.len == 3 && props.base[0] == ROAM_PROP_TOPIC_ALIAS;
}

/* A number property's value, or otherwise when it is absent. */
uint32_t roam_props_number(roam_bytes props, int id, uint32_t otherwise);

/* Does a reason code exist, and may this packet carry it? Success codes (below 0x80) change the meaning and must fit the
 * packet; any known failure is taken in any packet, because treating it as the failure it is harms nobody. */
bool roam_reason_fits(uint8_t reason, int type);
/* Is the payload what its Payload Format Indicator says (section 3.3.2.3.2)? Without one, anything is. */
bool roam_payload_fits(roam_bytes props, roam_bytes payload);

/* roam_packet_read, but what CONNECT alone has (half of the struct) is left as it was in any other packet. */
roam_rc roam_packet_take(roam_bytes bytes, uint8_t version, uint32_t max, bool from_server, roam_packet *out, size_t *used,
                         roam_fault *fault);
/* roam_message_make for a PUBLISH that has been read, so that nothing of it is to be checked again. */
roam_rc roam_message_take(roam_message *out, roam_time now, const roam_packet *publish);

static inline roam_bytes roam_bytes_make(const void *base, size_t len) { return (roam_bytes){(const uint8_t *)base, len}; }

static inline void roam_put_u16(uint8_t *out, uint16_t value) {
  out[0] = (uint8_t)(value >> 8);
  out[1] = (uint8_t)value;
}

static inline void roam_put_u32(uint8_t *out, uint32_t value) {
  roam_put_u16(out, (uint16_t)(value >> 16));
  roam_put_u16(out + 2, (uint16_t)value);
}

static inline uint16_t roam_get_u16(const uint8_t *in) { return (uint16_t)(in[0] << 8 | in[1]); }

#endif
