/* flow.h - the header at the beginning of each stream of MQTT-next, and its error codes. Numbers in it are QUIC's
 * variable-length integers (RFC 9000 section 16), not MQTT's. */
#ifndef ROAM_MQTT_FLOW_H
#define ROAM_MQTT_FLOW_H

#include <roamqtt/mqtt.h>

#define ROAM_ALPN_FLOWS "MQTT-next"
#define ROAM_FLOW_HEADER_MAX 32u    /* what we write */
#define ROAM_FLOW_HEADER_LIMIT 512u /* what we read before we call it no header */

enum {
  ROAM_FLOW_CONTROL = 0x11,
  ROAM_FLOW_CLIENT = 0x12,
  ROAM_FLOW_SERVER = 0x13,
  ROAM_FLOW_USER = 0x14
};

/* Flags, the least significant bit first, as the one deployed implementation has them. */
enum {
  ROAM_FLOW_CLEAN = 0x01,
  ROAM_FLOW_ABORT_IF_NO_STATE = 0x02,
  ROAM_FLOW_ERR_TOLERANCE = 0x0c,
  ROAM_FLOW_PERSISTENT_QOS = 0x10,
  ROAM_FLOW_PERSISTENT_ALIAS = 0x20,
  ROAM_FLOW_PERSISTENT_SUBSCRIPTIONS = 0x40,
  ROAM_FLOW_OPTIONAL_HEADERS = 0x80,
  ROAM_FLOW_PERSISTENCE = 0x70
};

/* With RESET_STREAM and STOP_SENDING. */
enum {
  ROAM_FLOW_NO_ERROR = 0x00,
  ROAM_FLOW_NO_STATE = 0xB3,
  ROAM_FLOW_NOT_OWNER = 0xB4,
  ROAM_FLOW_STREAM_TYPE = 0xB5,
  ROAM_FLOW_BAD_ID = 0xB6,
  ROAM_FLOW_ALIAS_REFUSED = 0xB7,
  ROAM_FLOW_SUBSCRIPTIONS_REFUSED = 0xB8,
  ROAM_FLOW_BAD_OPTIONAL_HEADER = 0xB9,
  ROAM_FLOW_INCOMPLETE_PACKET = 0xBA,
  ROAM_FLOW_OPEN_IDLE = 0xBB,
  ROAM_FLOW_CANCELLED = 0xBC, /* level 1: the state is discarded */
  ROAM_FLOW_PACKET_CANCELLED = 0xBD,
  ROAM_FLOW_REFUSED = 0xBE,
  ROAM_FLOW_DISCARD = 0xBF,
  ROAM_FLOW_PUSH_NOT_WELCOME = 0xC0,
  ROAM_FLOW_NO_STATE_TOO = 0xC1 /* the draft has that name twice; we say the first */
};

#define ROAM_FLOW_CONNECTION_GONE UINT64_MAX /* no code: not the stream was aborted, the connection is gone */

/* With CONNECTION_CLOSE: level 0. */
enum {
  ROAM_FLOWS_UNSPECIFIED = 0xB2,
  ROAM_FLOWS_TOO_MANY_RECOVERIES = 0xB3,
  ROAM_FLOWS_PROTOCOL = 0xB4
};

struct roam_flow_header {
  uint64_t type, id, expire_s;
  uint8_t flags;
};

/* 1: *out and *used are set; 0: more bytes are needed; ROAM_E_MALFORMED: it can be none (longer than
 * ROAM_FLOW_HEADER_LIMIT). For a type that is not one of the four only `type` is set. Optional headers (a length byte each,
 * and that many bytes; a length of 0 ends them) are skipped: none is defined. */
int roam_flow_read(roam_bytes bytes, struct roam_flow_header *out, size_t *used);
size_t roam_flow_write(const struct roam_flow_header *header, uint8_t out[ROAM_FLOW_HEADER_MAX]);
bool roam_flow_is_grease(uint64_t type); /* reserved so that nobody relies on unknown types being refused */
/* Does the owner find its state again after a stream was aborted with this code? (levels 2 and 1) */
bool roam_flow_keeps_state(uint64_t code);
/* Is it level 1, after which nobody keeps any? A code that nobody has defined is not. */
bool roam_flow_discards(uint64_t code);

#endif
