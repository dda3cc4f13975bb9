/* varint.c - the variable byte integer of section 1.5.5, in its one shortest form. */
#include "mqtt/packet.h"

size_t roam_varint_size(uint32_t value) {
  if (value > ROAM_REMAINING_MAX) {
    return 0;
  }
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

size_t roam_varint_write(uint8_t *out, uint32_t value) {
  size_t n = 0;
  do {
    uint8_t byte = value & 0x7F;
    value >>= 7;
    out[n++] = value != 0 ? byte | 0x80 : byte;
  } while (value != 0);
  return n;
}

int roam_varint_read(const uint8_t *bytes, size_t len, uint32_t *value) {
  uint32_t sum = 0;
  for (int i = 0; i < 4; i++) {
    if ((size_t)i >= len) {
      return 0;
    }
    sum |= (uint32_t)(bytes[i] & 0x7F) << (7 * i);
    if ((bytes[i] & 0x80) == 0) {
      if (i > 0 && bytes[i] == 0) {
        return -1;
      }
      *value = sum;
      return i + 1;
    }
  }
  return -1;
}
