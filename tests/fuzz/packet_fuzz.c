/* packet_fuzz.c - any bytes as packets of any version, from either side. What is accepted can be written and read back the
 * same; a reader given the same bytes in any chunks says the same. Input: how (version and side), how to cut, the bytes. */
#include "fuzz.h"

#include <roamqtt/mqtt.h>

#define PACKET_MAX 4096u

struct source {
  bool from_server;
  uint8_t version;
  uint32_t cut;
};

static void check_same(const roam_packet *a, const roam_packet *b) {
  FUZZ_CHECK(a->type == b->type && a->version == b->version && a->qos == b->qos && a->dup == b->dup);
  FUZZ_CHECK(a->retain == b->retain && a->session_present == b->session_present && a->reason == b->reason);
  FUZZ_CHECK(a->packet_id == b->packet_id && fuzz_same(a->props, b->props) && fuzz_same(a->topic, b->topic));
  FUZZ_CHECK(fuzz_same(a->payload, b->payload) && fuzz_same(a->filters, b->filters) && fuzz_same(a->codes, b->codes));
  FUZZ_CHECK(a->connect.clean_start == b->connect.clean_start && a->connect.has_will == b->connect.has_will);
  FUZZ_CHECK(a->connect.has_user_name == b->connect.has_user_name && a->connect.has_password == b->connect.has_password);
  FUZZ_CHECK(a->connect.will_retain == b->connect.will_retain && a->connect.will_qos == b->connect.will_qos);
  FUZZ_CHECK(a->connect.keep_alive_s == b->connect.keep_alive_s && fuzz_same(a->connect.client_id, b->connect.client_id));
  FUZZ_CHECK(fuzz_same(a->connect.will_props, b->connect.will_props));
  FUZZ_CHECK(fuzz_same(a->connect.will_topic, b->connect.will_topic));
  FUZZ_CHECK(fuzz_same(a->connect.will_payload, b->connect.will_payload));
  FUZZ_CHECK(fuzz_same(a->connect.user_name, b->connect.user_name));
  FUZZ_CHECK(fuzz_same(a->connect.password, b->connect.password));
}

static void check_filters(const roam_packet *p) {
  uint8_t out[PACKET_MAX];
  size_t len = 0;
  roam_bytes rest = p->filters;
  roam_filter filter;
  int rv;
  while ((rv = roam_filter_next(&rest, p->type, &filter)) == 1) {
    FUZZ_CHECK(roam_topic_filter_valid(filter.filter));
    FUZZ_CHECK(roam_filter_put(out, sizeof out, &len, p->type, &filter) == 0);
  }
  FUZZ_CHECK(rv == 0 && fuzz_same(p->filters, (roam_bytes){out, len}));
}

/* Decoded, encoded, decoded: the same, and never longer than it came. */
static void check_round_trip(const roam_packet *p, size_t used, bool from_server) {
  size_t size = roam_packet_size(p), len = 0, again_used = 0;
  roam_packet again;
  roam_fault fault;
  FUZZ_CHECK(size > 0 && size <= used);
  uint8_t *out = malloc(size);
  FUZZ_CHECK(out != NULL);
  FUZZ_CHECK(roam_packet_write(p, out, size - 1, &len) == ROAM_E_LIMIT);
  FUZZ_CHECK(roam_packet_write(p, out, size, &len) == 0 && len == size);
  uint8_t version = p->type == ROAM_CONNECT ? 0 : p->version;
  FUZZ_CHECK(roam_packet_read((roam_bytes){out, len}, version, PACKET_MAX, from_server, &again, &again_used, &fault) == 0);
  FUZZ_CHECK(again_used == len);
  check_same(p, &again);
  free(out);
}

static void check_packet(const roam_packet *p, size_t used, bool from_server) {
  if (p->type == ROAM_SUBSCRIBE || p->type == ROAM_UNSUBSCRIBE) check_filters(p);
  check_round_trip(p, used, from_server);
}

/* What remains after a bad packet is condemned for ever, with the same fault. */
static void check_reader_over(roam_reader *reader, const roam_fault *first) {
  roam_packet p;
  roam_fault fault = {0};
  FUZZ_CHECK(roam_reader_feed(reader, "x", 1) == ROAM_E_CLOSED);
  FUZZ_CHECK(roam_reader_next(reader, &p, &fault) == first->rc && fault.reason == first->reason);
}

/* Feeds until the reader has a packet or a fault, or the bytes are used up. */
static int read_next(roam_reader *reader, struct source *source, struct tape *bytes, roam_packet *p, roam_fault *fault) {
  int rv = roam_reader_next(reader, p, fault);
  while (rv == 0 && tape_left(bytes) > 0) {
    size_t step = source->cut == 0 ? tape_left(bytes) : 1 + fuzz_next(&source->cut) % 40;
    roam_bytes chunk = tape_take(bytes, step);
    uint8_t *copy = fuzz_copy(chunk);
    roam_rc fed = roam_reader_feed(reader, copy, chunk.len);
    free(copy);
    FUZZ_CHECK(fed == 0);
    rv = roam_reader_next(reader, p, fault);
  }
  return rv;
}

static bool check_against_reader(roam_reader *reader, struct source *source, struct tape *bytes, int want,
                                 const roam_packet *p, const roam_fault *expected) {
  roam_packet got;
  roam_fault fault = {0};
  int rv = read_next(reader, source, bytes, &got, &fault);
  FUZZ_CHECK(rv == want);
  if (rv == 1) check_same(p, &got);
  if (rv < 0) {
    FUZZ_CHECK(fault.reason == expected->reason && fault.text == expected->text);
    check_reader_over(reader, expected);
  }
  return rv == 1;
}

static void run(struct source source, roam_bytes all) {
  uint8_t *copy = fuzz_copy(all);
  roam_bytes rest = {copy, all.len};
  struct tape chunks = {all.base, all.base + all.len};
  uint8_t version = source.version;
  roam_reader *reader = roam_reader_new(source.from_server, version, PACKET_MAX);
  FUZZ_CHECK(reader != NULL);
  for (bool more = true; more;) {
    roam_packet p;
    roam_fault fault = {0};
    size_t used = 0;
    roam_rc rc = roam_packet_read(rest, version, PACKET_MAX, source.from_server, &p, &used, &fault);
    FUZZ_CHECK(used <= rest.len &&
               (rc == 0 || (used == 0 && fault.rc == rc && fault.reason >= 0x80 && fault.text != NULL)));
    if (used > 0) check_packet(&p, used, source.from_server);
    more = check_against_reader(reader, &source, &chunks, rc < 0 ? rc : used > 0, &p, &fault);
    if (used > 0 && p.type == ROAM_CONNECT) version = p.version;
    rest = (roam_bytes){rest.base + used, rest.len - used};
  }
  roam_reader_free(reader);
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint8_t versions[4] = {0, 3, 4, 5};
  struct tape tape = {data, data + size};
  uint8_t how = tape_u8(&tape);
  struct source source = {(how & 4) != 0, versions[how & 3], tape_u8(&tape)};
  if (size <= PACKET_MAX) run(source, tape_take(&tape, tape_left(&tape)));
  return 0;
}
