/* flow.c - the stream headers of MQTT-next (flow.h), read and written. It knows no stream and keeps nothing. */
#include "mqtt/flow.h"

static bool read_number(roam_bytes *rest, uint64_t *out) {
  if (rest->len == 0) {
    return false;
  }
  size_t len = (size_t)1 << (rest->base[0] >> 6);
  if (rest->len < len) {
    return false;
  }
  uint64_t value = rest->base[0] & 0x3f;
  for (size_t i = 1; i < len; i++) {
    value = value << 8 | rest->base[i];
  }
  *rest = (roam_bytes){rest->base + len, rest->len - len};
  *out = value;
  return true;
}

static bool read_byte(roam_bytes *rest, uint8_t *out) {
  if (rest->len == 0) {
    return false;
  }
  *out = rest->base[0];
  *rest = (roam_bytes){rest->base + 1, rest->len - 1};
  return true;
}

static bool skip_optional(roam_bytes *rest) {
  uint8_t len;
  while (read_byte(rest, &len)) {
    if (len == 0) {
      return true;
    }
    if (rest->len < len) {
      return false;
    }
    *rest = (roam_bytes){rest->base + len, rest->len - len};
  }
  return false;
}

static bool read_fields(roam_bytes *rest, struct roam_flow_header *h) {
  if (!read_number(rest, &h->type)) {
    return false;
  }
  if (h->type < ROAM_FLOW_CONTROL || h->type > ROAM_FLOW_USER) {
    return true;
  }
  if (!read_number(rest, &h->id)) {
    return false;
  }
  if (h->type == ROAM_FLOW_USER) {
    return true;
  }
  if (h->type != ROAM_FLOW_CONTROL && !read_number(rest, &h->expire_s)) {
    return false;
  }
  if (!read_byte(rest, &h->flags)) {
    return false;
  }
  return !(h->flags & ROAM_FLOW_OPTIONAL_HEADERS) || h->type == ROAM_FLOW_CONTROL || skip_optional(rest);
}

int roam_flow_read(roam_bytes bytes, struct roam_flow_header *out, size_t *used) {
  roam_bytes rest = bytes;
  *out = (struct roam_flow_header){0};
  *used = 0;
  if (!read_fields(&rest, out)) {
    return bytes.len > ROAM_FLOW_HEADER_LIMIT ? ROAM_E_MALFORMED : 0;
  }
  *used = bytes.len - rest.len;
  return *used > ROAM_FLOW_HEADER_LIMIT ? ROAM_E_MALFORMED : 1; /* as it would be had it come in pieces */
}

static uint8_t *write_number(uint8_t *at, uint64_t value) {
  int log = value < 64 ? 0 : value < 16384 ? 1 : value < 1u << 30 ? 2 : 3;
  size_t len = (size_t)1 << log;
  for (size_t i = len; i-- > 0; value >>= 8) {
    at[i] = (uint8_t)value;
  }
  at[0] = (uint8_t)(at[0] | log << 6);
  return at + len;
}

size_t roam_flow_write(const struct roam_flow_header *header, uint8_t out[ROAM_FLOW_HEADER_MAX]) {
  uint8_t *at = write_number(out, header->type);
  at = write_number(at, header->id);
  if (header->type != ROAM_FLOW_CONTROL) {
    at = write_number(at, header->expire_s);
  }
  *at++ = header->flags;
  return (size_t)(at - out);
}

bool roam_flow_is_grease(uint64_t type) { return type >= 0x21 && (type - 0x21) % 0x1f == 0; }

bool roam_flow_keeps_state(uint64_t code) {
  return code == ROAM_FLOW_NO_ERROR || code == ROAM_FLOW_INCOMPLETE_PACKET || code == ROAM_FLOW_OPEN_IDLE ||
         code == ROAM_FLOW_PACKET_CANCELLED;
}

bool roam_flow_discards(uint64_t code) {
  return code >= ROAM_FLOW_NO_STATE && code <= ROAM_FLOW_NO_STATE_TOO && !roam_flow_keeps_state(code);
}
