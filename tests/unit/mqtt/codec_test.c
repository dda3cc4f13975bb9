/* codec_test.c - the vectors, each used to decode, to encode, cut everywhere, and with every bit turned. */
#include "unit/mqtt/vectors.h"

static struct vectors vectors;

static roam_rc read_from(const struct vector *v, const uint8_t *bytes, size_t len, bool from_server, roam_packet *p,
                         size_t *used, roam_fault *fault) {
  return roam_packet_read((roam_bytes){bytes, len}, v->version, VECTOR_PACKET_MAX, from_server, p, used, fault);
}

/* 0 or 1 for a vector of one side; for one of both sides the loop runs over both. */
static int first_side(const struct vector *v) { return v->from == 's'; }
static int last_side(const struct vector *v) { return v->from == 's' || v->from == 'b'; }

/* ---- meaning ---- */

static size_t count_props(roam_bytes props) {
  size_t n = 0;
  roam_prop prop;
  while (roam_prop_next(&props, &prop) == 1) {
    n++;
  }
  return n;
}

static size_t count_filters(const roam_packet *p, roam_filter *first) {
  size_t n = 0;
  roam_bytes rest = p->filters;
  roam_filter filter;
  while (roam_filter_next(&rest, p->type, &filter) == 1) {
    if (n++ == 0) {
      *first = filter;
    }
  }
  return n;
}

static void expect_bytes(const struct vector *v, roam_bytes got, const char *want) {
  if (got.len != strlen(want) || (got.len > 0 && memcmp(got.base, want, got.len) != 0)) {
    fail_msg("%s: %.*s is not %s", v->name, (int)got.len, (const char *)got.base, want);
  }
}

static void expect_hex(const struct vector *v, roam_bytes got, const char *want) {
  char hex[65] = "";
  for (size_t i = 0; i < got.len && i < 32; i++) {
    snprintf(hex + 2 * i, 3, "%02x", got.base[i]);
  }
  if (strcmp(hex, want) != 0) {
    fail_msg("%s: %s is not %s", v->name, hex, want);
  }
}

static bool expect_text_field(const struct vector *v, const roam_packet *p, const char *key, const char *value) {
  const struct {
    const char *key;
    roam_bytes bytes;
  } fields[] = {
      {"topic", p->topic},
      {"payload", p->payload},
      {"client", p->connect.client_id},
      {"will_topic", p->connect.will_topic},
      {"will_payload", p->connect.will_payload},
      {"user", p->connect.user_name},
      {"password", p->connect.password},
  };
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    if (strcmp(fields[i].key, key) == 0) {
      expect_bytes(v, fields[i].bytes, value);
      return true;
    }
  }
  return false;
}

static void expect_number_field(const struct vector *v, const roam_packet *p, const char *key, const char *value) {
  roam_filter first = {0};
  const struct {
    const char *key;
    unsigned long number;
  } fields[] = {
      {"version", p->version},
      {"qos", p->qos},
      {"dup", p->dup},
      {"retain", p->retain},
      {"id", p->packet_id},
      {"reason", p->reason},
      {"session", p->session_present},
      {"clean", p->connect.clean_start},
      {"keepalive", p->connect.keep_alive_s},
      {"will_qos", p->connect.will_qos},
      {"will_retain", p->connect.will_retain},
      {"props", count_props(p->props)},
      {"will_props", count_props(p->connect.will_props)},
      {"filters", count_filters(p, &first)},
  };
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    if (strcmp(fields[i].key, key) == 0) {
      if (fields[i].number != strtoul(value, NULL, 0)) {
        fail_msg("%s: %s is %lu, not %s", v->name, key, fields[i].number, value);
      }
      return;
    }
  }
  fail_msg("%s: what is %s?", v->name, key);
}

static void expect_meaning(const struct vector *v, const roam_packet *p) {
  char copy[512], *save = NULL;
  snprintf(copy, sizeof copy, "%s", v->meaning);
  char *word = strtok_r(copy, " ", &save);
  assert_string_equal(roam_packet_name(p->type), word);
  while ((word = strtok_r(NULL, " ", &save)) != NULL) {
    char *value = strchr(word, '=');
    if (value == NULL) {
      continue;
    }
    *value++ = 0;
    roam_filter first = {0};
    if (strcmp(word, "codes") == 0) {
      expect_hex(v, p->codes, value);
    } else if (strcmp(word, "filter") == 0) {
      assert_true(count_filters(p, &first) > 0);
      expect_bytes(v, first.filter, value);
    } else if (!expect_text_field(v, p, word, value)) {
      expect_number_field(v, p, word, value);
    }
  }
}

/* ---- tests ---- */

static void good_ones_are_read(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    for (int side = first_side(v); v->good && side <= last_side(v); side++) {
      roam_packet p;
      roam_fault fault = {0};
      size_t used;
      roam_rc rv = read_from(v, v->bytes, v->len, side == 1, &p, &used, &fault);
      if (rv != 0 || used != v->len) {
        fail_msg("%s: %d, %zu of %zu bytes, %s", v->name, rv, used, v->len, fault.text != NULL ? fault.text : "-");
      }
      expect_meaning(v, &p);
    }
  }
}

static void good_ones_are_written_back(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    roam_packet p;
    roam_fault fault;
    size_t used, len;
    if (!v->good || !v->canonical) {
      continue;
    }
    assert_int_equal(read_from(v, v->bytes, v->len, first_side(v) == 1, &p, &used, &fault), 0);
    if (roam_packet_size(&p) != v->len) {
      fail_msg("%s: size %zu is not %zu", v->name, roam_packet_size(&p), v->len);
    }
    uint8_t *out = malloc(v->len);
    assert_int_equal(roam_packet_write(&p, out, v->len - 1, &len), ROAM_E_LIMIT);
    if (roam_packet_write(&p, out, v->len, &len) != 0) {
      fail_msg("%s: not written", v->name);
    }
    assert_int_equal(len, v->len);
    assert_memory_equal(out, v->bytes, v->len);
    free(out);
  }
}

static void bad_ones_are_refused_with_their_reason(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    for (int side = first_side(v); !v->good && side <= last_side(v); side++) {
      roam_packet p;
      roam_fault fault = {0};
      size_t used;
      roam_rc rv = read_from(v, v->bytes, v->len, side == 1, &p, &used, &fault);
      if (rv >= 0 || fault.rc != rv || fault.reason != v->reason || fault.text == NULL || used != 0) {
        fail_msg("%s: %d, reason 0x%02x, %s", v->name, rv, fault.reason, fault.text != NULL ? fault.text : "-");
      }
    }
  }
}

/* Every prefix of a good packet asks for more; a bad one is refused at the byte that condemns it and from there on. */
static void every_truncation(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    for (size_t len = 0; len < v->len; len++) {
      roam_packet p;
      roam_fault fault = {0};
      size_t used = 1;
      uint8_t *bytes = copy_exact(v->bytes, len);
      roam_rc rv = read_from(v, bytes, len, first_side(v) == 1, &p, &used, &fault);
      free(bytes);
      assert_int_equal(used, 0);
      bool condemned = !v->good && v->early > 0 && len >= v->early;
      if ((rv < 0) != condemned || (condemned && fault.reason != v->reason)) {
        fail_msg("%s cut to %zu bytes: %d, reason 0x%02x", v->name, len, rv, fault.reason);
      }
    }
  }
}

/* With a bit turned or the body shortened, what is still accepted can be written and says the same when read again. */
static void check_accepted(const struct vector *v, const roam_packet *p, bool from_server) {
  uint8_t out[VECTOR_MAX + 16];
  size_t len, used;
  roam_packet again;
  roam_fault fault;
  if (roam_packet_write(p, out, sizeof out, &len) != 0) {
    fail_msg("%s: accepted but cannot be written", v->name);
  }
  uint8_t version = p->type == ROAM_CONNECT ? 0 : v->version;
  roam_rc rv = roam_packet_read((roam_bytes){out, len}, version, VECTOR_PACKET_MAX, from_server, &again, &used, &fault);
  assert_int_equal(rv, 0);
  assert_int_equal(used, len);
  assert_int_equal(again.type, p->type);
  assert_int_equal(again.packet_id, p->packet_id);
  assert_int_equal(again.reason, p->reason);
  assert_int_equal(again.topic.len, p->topic.len);
  assert_int_equal(again.payload.len, p->payload.len);
  assert_int_equal(again.props.len, p->props.len);
  assert_int_equal(again.filters.len, p->filters.len);
}

static void try_changed(const struct vector *v, const uint8_t *bytes, size_t len) {
  for (int from_server = 0; from_server <= 1; from_server++) {
    roam_packet p;
    roam_fault fault = {0};
    size_t used;
    roam_rc rv = read_from(v, bytes, len, from_server == 1, &p, &used, &fault);
    assert_true(used <= len);
    if (rv < 0) {
      assert_true(fault.text != NULL && fault.reason >= 0x80 && used == 0);
    } else if (used > 0) {
      check_accepted(v, &p, from_server == 1);
    }
  }
}

static void every_bit_turned(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    for (size_t bit = 0; bit < 8 * v->len; bit++) {
      uint8_t *bytes = copy_exact(v->bytes, v->len);
      bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
      try_changed(v, bytes, v->len);
      free(bytes);
    }
  }
}

/* The body cut short, with a remaining length that agrees: never a step beyond the end. */
static void every_body_shortened(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    if (v->len < 2 || v->len > 129 || v->bytes[1] >= 0x80) {
      continue;
    }
    for (size_t body = 0; body + 2 < v->len; body++) {
      uint8_t *bytes = copy_exact(v->bytes, body + 2);
      bytes[1] = (uint8_t)body;
      try_changed(v, bytes, body + 2);
      free(bytes);
    }
  }
}

/* ---- the reader ---- */

static int read_chunks(const struct vector *v, size_t cut, roam_packet *p, roam_fault *fault, roam_reader **reader) {
  *reader = roam_reader_new(first_side(v) == 1, v->version, VECTOR_PACKET_MAX);
  assert_non_null(*reader);
  int rv = 0;
  size_t at = 0;
  while (rv == 0 && at < v->len) {
    size_t step = cut == 0 ? 1 : at == 0 ? cut : v->len - at;
    assert_int_equal(roam_reader_feed(*reader, v->bytes + at, step), 0);
    at += step;
    rv = roam_reader_next(*reader, p, fault);
  }
  return rv;
}

/* Split in two at every byte, and byte by byte (cut 0). */
static void every_split(void **state) {
  (void)state;
  for (size_t i = 0; i < vectors.len; i++) {
    const struct vector *v = &vectors.list[i];
    for (size_t cut = 0; cut <= v->len; cut++) {
      roam_packet p;
      roam_fault fault = {0};
      roam_reader *reader;
      int rv = read_chunks(v, cut, &p, &fault, &reader);
      if (v->good) {
        assert_int_equal(rv, 1);
        expect_meaning(v, &p);
        assert_int_equal(roam_reader_next(reader, &p, &fault), 0);
      } else {
        assert_true(rv < 0);
        assert_int_equal(fault.reason, v->reason);
        assert_int_equal(roam_reader_next(reader, &p, &fault), rv);
        assert_int_equal(roam_reader_feed(reader, "x", 1), ROAM_E_CLOSED);
      }
      roam_reader_free(reader);
    }
  }
}

static void reader_is_bounded_and_takes_the_version_from_connect(void **state) {
  (void)state;
  static const uint8_t connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0};
  static const uint8_t publish[] = {0x30, 5, 0, 1, 'a', 0, 'x'};
  roam_reader *reader = roam_reader_new(false, 0, 64);
  assert_non_null(reader);
  roam_packet p;
  roam_fault fault;
  assert_int_equal(roam_reader_feed(reader, connect, sizeof connect), 0);
  assert_int_equal(roam_reader_feed(reader, publish, sizeof publish), 0);
  assert_int_equal(roam_reader_next(reader, &p, &fault), 1);
  assert_int_equal(p.type, ROAM_CONNECT);
  assert_int_equal(roam_reader_next(reader, &p, &fault), 1);
  assert_int_equal(p.type, ROAM_PUBLISH);
  assert_int_equal(p.payload.len, 1);
  size_t fed = 0;
  while (roam_reader_feed(reader, publish, sizeof publish) == 0) {
    fed++;
    assert_true(fed < 100);
  }
  assert_int_equal(roam_reader_feed(reader, publish, sizeof publish), ROAM_E_BLOCKED);
  for (size_t i = 0; i < fed; i++) {
    assert_int_equal(roam_reader_next(reader, &p, &fault), 1);
  }
  assert_int_equal(roam_reader_next(reader, &p, &fault), 0);
  assert_int_equal(roam_reader_feed(reader, publish, sizeof publish), 0);
  roam_reader_free(reader);
  roam_reader_free(NULL);
}

/* ---- what cannot be written ---- */

static void bad_fields_are_not_written(void **state) {
  (void)state;
  static const uint8_t big[70000];
  static const uint8_t good_filter[] = {0, 1, 'a', 0}, bad_filter[] = {0, 2, 'a', '#', 0};
  const roam_bytes a = {(const uint8_t *)"a", 1}, plus = {(const uint8_t *)"+", 1}, long_text = {big, sizeof big};
  const struct {
    const char *name;
    roam_packet packet;
  } cases[] = {
      {"type 0", {.version = 4}},
      {"type 16", {.type = 16, .version = 4}},
      {"version 6", {.type = ROAM_PINGREQ, .version = 6}},
      {"qos 3", {.type = ROAM_PUBLISH, .version = 4, .qos = 3, .packet_id = 1, .topic = a}},
      {"dup qos 0", {.type = ROAM_PUBLISH, .version = 4, .dup = true, .topic = a}},
      {"id 0", {.type = ROAM_PUBLISH, .version = 4, .qos = 1, .topic = a}},
      {"wildcard", {.type = ROAM_PUBLISH, .version = 4, .topic = plus}},
      {"no topic", {.type = ROAM_PUBLISH, .version = 5}},
      {"long topic", {.type = ROAM_PUBLISH, .version = 5, .topic = long_text}},
      {"long client id", {.type = ROAM_CONNECT, .version = 5, .connect = {.client_id = long_text}}},
      {"foreign property", {.type = ROAM_PUBLISH, .version = 5, .topic = a, .props = {(const uint8_t *)"\x24\x01", 2}}},
      {"no filter", {.type = ROAM_SUBSCRIBE, .version = 5, .packet_id = 1}},
      {"bad filter", {.type = ROAM_SUBSCRIBE, .version = 4, .packet_id = 1, .filters = {bad_filter, sizeof bad_filter}}},
      {"subscribe id 0", {.type = ROAM_SUBSCRIBE, .version = 4, .filters = {good_filter, sizeof good_filter}}},
      {"no code", {.type = ROAM_SUBACK, .version = 4, .packet_id = 1}},
      {"auth in 3.1.1", {.type = ROAM_AUTH, .version = 4}},
      {"auth without method", {.type = ROAM_AUTH, .version = 5, .reason = ROAM_REASON_REAUTHENTICATE}},
      {"password alone in 3.1.1", {.type = ROAM_CONNECT, .version = 4, .connect = {.client_id = a, .has_password = true}}},
      {"will qos without will", {.type = ROAM_CONNECT, .version = 4, .connect = {.client_id = a, .will_qos = 1}}},
  };
  uint8_t out[256];
  size_t len;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (roam_packet_write(&cases[i].packet, out, sizeof out, &len) != ROAM_E_ARGUMENT) {
      fail_msg("%s was written", cases[i].name);
    }
  }
}

static void reasons_translate_both_ways(void **state) {
  (void)state;
  for (uint8_t code = 0; code <= 5; code++) {
    assert_int_equal(roam_reason_to_v3(roam_reason_from_v3(code)), code);
  }
  assert_int_equal(roam_reason_from_v3(6), -1);
  assert_int_equal(roam_reason_to_v3(ROAM_REASON_QUOTA_EXCEEDED), 3);
  assert_string_equal(roam_reason_text(ROAM_REASON_KEEP_ALIVE_TIMEOUT), "keep alive timeout");
  assert_string_equal(roam_reason_text(0x77), "unknown reason");
  assert_string_equal(roam_packet_name(ROAM_AUTH), "AUTH");
  assert_string_equal(roam_packet_name(0), "?");
}

static int read_vectors(void **state) {
  (void)state;
  vectors = vectors_read();
  return 0;
}

static int free_vectors(void **state) {
  (void)state;
  free(vectors.list);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_ones_are_read),
      cmocka_unit_test(good_ones_are_written_back),
      cmocka_unit_test(bad_ones_are_refused_with_their_reason),
      cmocka_unit_test(every_truncation),
      cmocka_unit_test(every_bit_turned),
      cmocka_unit_test(every_body_shortened),
      cmocka_unit_test(every_split),
      cmocka_unit_test(reader_is_bounded_and_takes_the_version_from_connect),
      cmocka_unit_test(bad_fields_are_not_written),
      cmocka_unit_test(reasons_translate_both_ways),
  };
  return cmocka_run_group_tests(tests, read_vectors, free_vectors);
}
