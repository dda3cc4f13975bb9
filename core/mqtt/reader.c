/* reader.c - packets out of chunks of any size, for those who have no lane that keeps bytes together. It holds at most one
 * incomplete packet plus the last chunk, and reads in place. After a fault it says the same fault for ever. */
#include "mqtt/packet.h"

#include <stdlib.h>
#include <string.h>

/* bytes[start..end) is unread. A packet that was handed out lies before start and stays until the next call. */
struct roam_reader {
  bool from_server;
  uint8_t version;
  uint32_t max;
  uint8_t *bytes;
  size_t start, end, cap;
  roam_fault fault; /* rc != 0: for ever */
};

roam_reader *roam_reader_new(bool from_server, uint8_t version, uint32_t max) {
  roam_reader *r = calloc(1, sizeof *r);
  if (r != NULL) {
    r->from_server = from_server;
    r->version = version;
    r->max = max;
  }
  return r;
}

void roam_reader_free(roam_reader *r) {
  if (r != NULL) {
    free(r->bytes);
    free(r);
  }
}

static roam_rc make_room(roam_reader *r, size_t len) {
  size_t kept = r->end - r->start;
  if (r->start > 0) {
    memmove(r->bytes, r->bytes + r->start, kept);
    r->start = 0;
    r->end = kept;
  }
  if (r->cap - kept >= len) {
    return 0;
  }
  size_t cap = r->cap < 128 ? 256 : 2 * r->cap;
  if (cap < kept + len) {
    cap = kept + len;
  }
  uint8_t *bytes = realloc(r->bytes, cap);
  if (bytes == NULL) {
    return ROAM_E_MEMORY;
  }
  r->bytes = bytes;
  r->cap = cap;
  return 0;
}

roam_rc roam_reader_feed(roam_reader *r, const void *bytes, size_t len) {
  if (r->fault.rc != 0) {
    return ROAM_E_CLOSED;
  }
  if (len == 0) {
    return 0;
  }
  if (r->end - r->start > (size_t)r->max) {
    return ROAM_E_BLOCKED;
  }
  roam_rc rv = make_room(r, len);
  if (rv != 0) {
    return rv;
  }
  memcpy(r->bytes + r->end, bytes, len);
  r->end += len;
  return 0;
}

int roam_reader_next(roam_reader *r, roam_packet *out, roam_fault *fault) {
  size_t used = 0;
  if (r->fault.rc == 0 && r->end > r->start) {
    roam_bytes unread = {r->bytes + r->start, r->end - r->start};
    roam_packet_read(unread, r->version, r->max, r->from_server, out, &used, &r->fault);
  }
  if (r->fault.rc != 0) {
    *fault = r->fault;
    return r->fault.rc;
  }
  if (used == 0) {
    return 0;
  }
  if (out->type == ROAM_CONNECT) {
    r->version = out->version;
  }
  r->start += used;
  return 1;
}
