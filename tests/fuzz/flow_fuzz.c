/* flow_fuzz.c - the header of MQTT-next's streams. A cut header asks for more, the whole one is read the same whatever
 * stands behind it, and what was read is written and read again as the same. */
#include "fuzz.h"

#include "mqtt/flow.h"

static int read_exact(roam_bytes bytes, struct roam_flow_header *h, size_t *used) {
  uint8_t *copy = fuzz_copy(bytes);
  int got = roam_flow_read((roam_bytes){copy, bytes.len}, h, used);
  free(copy);
  return got;
}

static bool is_written(uint64_t type) { return type >= ROAM_FLOW_CONTROL && type <= ROAM_FLOW_SERVER; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct roam_flow_header h = {0}, again = {0};
  size_t used = 0, used_again = 0;
  if (size > 4096) return 0;
  int got = read_exact((roam_bytes){data, size}, &h, &used);
  FUZZ_CHECK(got == 1 || got == 0 || got == ROAM_E_MALFORMED);
  if (got == 0) FUZZ_CHECK(size <= ROAM_FLOW_HEADER_LIMIT);
  if (got != 1) return 0;
  FUZZ_CHECK(used <= size && used <= ROAM_FLOW_HEADER_LIMIT);
  for (size_t cut = 0; cut < used; cut++) FUZZ_CHECK(read_exact((roam_bytes){data, cut}, &again, &used_again) == 0);
  (void)roam_flow_is_grease(h.type);
  (void)roam_flow_keeps_state(h.id);
  if (!is_written(h.type)) return 0;
  uint8_t out[ROAM_FLOW_HEADER_MAX];
  h.flags &= (uint8_t)~ROAM_FLOW_OPTIONAL_HEADERS;
  size_t len = roam_flow_write(&h, out);
  FUZZ_CHECK(len > 0 && len <= sizeof out);
  FUZZ_CHECK(read_exact((roam_bytes){out, len}, &again, &used_again) == 1 && used_again == len);
  FUZZ_CHECK(h.type == again.type && h.id == again.id && h.flags == again.flags && h.expire_s == again.expire_s);
  return 0;
}
