/* record_test.c - recordings: what is written is read back, and whatever else a file holds is refused without harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

#include <roamqtt/record.h>

#define TEXT(s) ((roam_bytes){(const uint8_t *)(s), sizeof(s) - 1})

static void writes_and_reads_back(void **state) {
  (void)state;
  const roam_field fields[] = {{"n", ROAM_FIELD_UINT, UINT64_MAX, {0}},
                               {"delta", ROAM_FIELD_INT, (uint64_t)-5, {0}},
                               {"least", ROAM_FIELD_INT, UINT64_C(1) << 63, {0}},
                               {"up", ROAM_FIELD_BOOL, 1, {0}},
                               {"name", ROAM_FIELD_TEXT, 0, TEXT("caf\xc3\xa9")},
                               {"raw", ROAM_FIELD_BYTES, 0, TEXT("\x00\xff\x80")},
                               {"empty", ROAM_FIELD_TEXT, 0, {0}},
                               {"seven", ROAM_FIELD_INT, 7, {0}}};
  roam_recorder *r = roam_recorder_new(4096);
  assert_non_null(r);
  roam_recorder_start(r, 1000);
  assert_int_equal(roam_recorder_put(r, 1250, "delivered", 3, fields, 8), 0);
  assert_int_equal(roam_recorder_put(r, 10, "done", ROAM_RECORD_NO_ROW, NULL, 0), 0);
  roam_record_reader *reader = roam_record_reader_new(roam_recorder_bytes(r));
  assert_non_null(reader);
  roam_record record;
  assert_int_equal(roam_record_next(reader, &record), 1);
  assert_int_equal(record.at, 250);
  assert_string_equal(record.kind, "delivered");
  assert_int_equal(record.row, 3);
  assert_int_equal(record.fields_len, 8);
  assert_true(roam_record_field(&record, "n")->number == UINT64_MAX);
  assert_true((int64_t)roam_record_field(&record, "delta")->number == -5);
  assert_int_equal(roam_record_field(&record, "delta")->type, ROAM_FIELD_INT);
  assert_true((int64_t)roam_record_field(&record, "least")->number == INT64_MIN);
  assert_int_equal(roam_record_field(&record, "up")->type, ROAM_FIELD_BOOL);
  assert_int_equal(roam_record_field(&record, "up")->number, 1);
  assert_int_equal(roam_record_field(&record, "name")->bytes.len, 5);
  assert_memory_equal(roam_record_field(&record, "raw")->bytes.base, "\x00\xff\x80", 3);
  assert_int_equal(roam_record_field(&record, "empty")->bytes.len, 0);
  assert_int_equal(roam_record_field(&record, "seven")->number, 7);
  assert_null(roam_record_field(&record, "nobody"));
  assert_int_equal(roam_record_next(reader, &record), 1);
  assert_int_equal(record.at, 0);
  assert_int_equal(record.row, ROAM_RECORD_NO_ROW);
  assert_int_equal(roam_record_next(reader, &record), 0);
  assert_int_equal(roam_record_next(reader, &record), 0);
  roam_record_reader_free(reader);
  roam_recorder_free(r);
}

/* The encoding of RFC 8949, so that other programs read our files. */
static void writes_the_shortest_form(void **state) {
  (void)state;
  const roam_field f = {"n", ROAM_FIELD_UINT, 24, {0}};
  roam_recorder *r = roam_recorder_new(4096);
  assert_non_null(r);
  assert_int_equal(roam_recorder_put(r, 5, "a", ROAM_RECORD_NO_ROW, &f, 1), 0);
  roam_bytes b = roam_recorder_bytes(r);
  assert_int_equal(b.len, 10);
  assert_memory_equal(b.base, "\x84\x00\x61\x61\xf6\xa1\x61\x6e\x18\x18", 10);
  roam_recorder_free(r);
}

static void keeps_its_bound_and_counts(void **state) {
  (void)state;
  const roam_field f = {"n", ROAM_FIELD_UINT, 1, {0}};
  roam_recorder *r = roam_recorder_new(200);
  assert_non_null(r);
  size_t taken = 0;
  while (roam_recorder_put(r, 1, "tick", 0, &f, 1) == 0) taken++;
  assert_in_range(taken, 3, 20);
  assert_int_equal(roam_recorder_put(r, 1, "tick", 0, &f, 1), ROAM_E_LIMIT);
  assert_int_equal(roam_recorder_dropped(r), 2);
  assert_true(roam_recorder_bytes(r).len <= 200);
  roam_recorder_take(r, roam_recorder_bytes(r).len);
  assert_int_equal(roam_recorder_put(r, 1, "tick", 0, &f, 1), 0);
  roam_recorder_take(r, 100000);
  assert_int_equal(roam_recorder_bytes(r).len, 0);
  roam_recorder_free(r);
}

static void refuses_what_cannot_be_read(void **state) {
  (void)state;
  roam_field many[ROAM_RECORD_FIELDS_MAX + 1];
  for (size_t i = 0; i <= ROAM_RECORD_FIELDS_MAX; i++) many[i] = (roam_field){"x", ROAM_FIELD_UINT, i, {0}};
  const roam_field bad_text = {"x", ROAM_FIELD_TEXT, 0, TEXT("\xff")};
  const roam_field bad_name = {"", ROAM_FIELD_UINT, 0, {0}};
  const roam_field long_name = {"123456789012345678901234567890123456789012345678", ROAM_FIELD_UINT, 0, {0}};
  roam_recorder *r = roam_recorder_new(4096);
  assert_non_null(r);
  assert_int_equal(roam_recorder_put(r, 1, "k", 0, many, ROAM_RECORD_FIELDS_MAX + 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_recorder_put(r, 1, "k", 0, many, ROAM_RECORD_FIELDS_MAX), 0);
  assert_int_equal(roam_recorder_put(r, 1, "k", 0, &bad_text, 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_recorder_put(r, 1, "k", 0, &bad_name, 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_recorder_put(r, 1, "k", 0, &long_name, 1), ROAM_E_ARGUMENT);
  assert_int_equal(roam_recorder_put(r, 1, "", 0, NULL, 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_recorder_put(r, 1, "123456789012345678901234", 0, NULL, 0), ROAM_E_ARGUMENT);
  assert_int_equal(roam_recorder_dropped(r), 0);
  roam_recorder_free(r);
}

static int read_all(roam_bytes bytes, size_t *count) {
  roam_record_reader *reader = roam_record_reader_new(bytes);
  assert_non_null(reader);
  roam_record record;
  int got;
  *count = 0;
  while ((got = roam_record_next(reader, &record)) == 1) {
    ++*count;
    for (size_t i = 0; i < record.fields_len; i++) assert_true(strlen(record.fields[i].name) < ROAM_RECORD_NAME_MAX);
  }
  if (got < 0) assert_int_equal(roam_record_next(reader, &record), got);
  roam_record_reader_free(reader);
  return got;
}

static const struct {
  const char *name, *bytes;
  size_t len;
} bad[] = {
#define BAD(name, s)                                                                                                       \
  { name, s, sizeof(s) - 1 }
    BAD("a bare number", "\x01"),
    BAD("three elements", "\x83\x00\x61\x61\xf6"),
    BAD("five elements", "\x85\x00\x61\x61\xf6\xa0\x00"),
    BAD("an array left open", "\x9f\x00\x61\x61\xf6\xa0\xff"),
    BAD("a map left open", "\x84\x00\x61\x61\xf6\xbf\xff"),
    BAD("kind left open", "\x84\x00\x7f\x61\x61\xff\xf6\xa0"),
    BAD("kind as bytes", "\x84\x00\x41\x61\xf6\xa0"),
    BAD("kind empty", "\x84\x00\x60\xf6\xa0"),
    BAD("kind too long", "\x84\x00\x78\x18"
                         "aaaaaaaaaaaaaaaaaaaaaaaa"
                         "\xf6\xa0"),
    BAD("kind with a NUL", "\x84\x00\x62\x61\x00\xf6\xa0"),
    BAD("time negative", "\x84\x20\x61\x61\xf6\xa0"),
    BAD("row too large", "\x84\x00\x61\x61\x1a\xff\xff\xff\xff\xa0"),
    BAD("row as text", "\x84\x00\x61\x61\x61\x61\xa0"),
    BAD("33 fields", "\x84\x00\x61\x61\xf6\xb8\x21"),
    BAD("2^64-1 fields", "\x84\x00\x61\x61\xf6\xbb\xff\xff\xff\xff\xff\xff\xff\xff"),
    BAD("a string of 2^64-1 bytes", "\x84\x00\x7b\xff\xff\xff\xff\xff\xff\xff\xff"),
    BAD("a string of 2^63 bytes", "\x84\x00\x7b\x80\x00\x00\x00\x00\x00\x00\x00"),
    BAD("a name as a number", "\x84\x00\x61\x61\xf6\xa1\x01\x01"),
    BAD("a value that is an array", "\x84\x00\x61\x61\xf6\xa1\x61\x61\x81\x01"),
    BAD("a value that is a float", "\x84\x00\x61\x61\xf6\xa1\x61\x61\xf9\x3c\x00"),
    BAD("a value that is null", "\x84\x00\x61\x61\xf6\xa1\x61\x61\xf6"),
    BAD("a value with a tag", "\x84\x00\x61\x61\xf6\xa1\x61\x61\xc1\x01"),
    BAD("a number below int64", "\x84\x00\x61\x61\xf6\xa1\x61\x61\x3b\xff\xff\xff\xff\xff\xff\xff\xff"),
    BAD("text that is not UTF-8", "\x84\x00\x61\x61\xf6\xa1\x61\x61\x61\xff"),
    BAD("a surrogate", "\x84\x00\x61\x61\xf6\xa1\x61\x61\x63\xed\xa0\x80"),
    BAD("an overlong slash", "\x84\x00\x61\x61\xf6\xa1\x61\x61\x62\xc0\xaf"),
    BAD("reserved information", "\x84\x00\x61\x61\xf6\xa1\x61\x61\x1c"),
    BAD("a break alone", "\xff"),
#undef BAD
};

static void refuses_bad_input(void **state) {
  (void)state;
  size_t count;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (read_all((roam_bytes){(const uint8_t *)bad[i].bytes, bad[i].len}, &count) != ROAM_E_MALFORMED || count) {
      fail_msg("taken: %s", bad[i].name);
    }
  }
}

static roam_recorder *write_sample(void) {
  const roam_field fields[] = {{"n", ROAM_FIELD_UINT, 70000, {0}},
                               {"late", ROAM_FIELD_INT, (uint64_t)-300, {0}},
                               {"address", ROAM_FIELD_TEXT, 0, TEXT("127.0.10.200:40000")},
                               {"raw", ROAM_FIELD_BYTES, 0, TEXT("\x01\x02")},
                               {"up", ROAM_FIELD_BOOL, 0, {0}}};
  roam_recorder *r = roam_recorder_new(65536);
  assert_non_null(r);
  for (uint32_t i = 0; i < 20; i++) {
    assert_int_equal(
        roam_recorder_put(r, 1 + (UINT64_C(1) << i * 3), "sample", i % 3 ? i : ROAM_RECORD_NO_ROW, fields, i % 6), 0);
  }
  return r;
}

/* Each cut is copied to a block of its own size, so that a sanitizer sees a read beyond it. */
static void refuses_every_truncation(void **state) {
  (void)state;
  roam_recorder *r = write_sample();
  roam_bytes all = roam_recorder_bytes(r);
  size_t whole = 0, count;
  assert_int_equal(read_all(all, &count), 0);
  assert_int_equal(count, 20);
  for (size_t len = 0; len < all.len; len++) {
    uint8_t *cut = malloc(len ? len : 1);
    memcpy(cut, all.base, len);
    int got = read_all((roam_bytes){cut, len}, &count);
    assert_true(got == 0 || got == ROAM_E_MALFORMED);
    if (got == 0) whole++;
    assert_true(count < 20);
    free(cut);
  }
  assert_int_equal(whole, 20);
  roam_recorder_free(r);
}

static void survives_mutation(void **state) {
  (void)state;
  struct roam_rng rng;
  roam_rng_init(&rng, 20);
  roam_recorder *r = write_sample();
  roam_bytes all = roam_recorder_bytes(r);
  uint8_t *copy = malloc(all.len);
  size_t count, refused = 0;
  for (size_t round = 0; round < 20000; round++) {
    memcpy(copy, all.base, all.len);
    uint64_t changes = 1 + roam_random_below(&rng.random, 8);
    while (changes--) copy[roam_random_below(&rng.random, all.len)] = (uint8_t)roam_rng_next(&rng);
    refused += read_all((roam_bytes){copy, all.len}, &count) != 0;
    assert_true(count <= all.len / 6);
  }
  assert_in_range(refused, 1000, 20000);
  free(copy);
  roam_recorder_free(r);
}

static const struct {
  const char *in, *out;
} json[] = {
    {"", "\"\""},
    {"plain", "\"plain\""},
    {"a\"b\\c", "\"a\\\"b\\\\c\""},
    {"\n\r\t\x01\x7f", "\"\\n\\r\\t\\u0001\\u007f\""},
    {"caf\xc3\xa9 \xf0\x9f\x98\x80", "\"caf\xc3\xa9 \xf0\x9f\x98\x80\""},
    {"\xff\xc3", "\"\\ufffd\\ufffd\""},
    {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xc2\x9b\xe2\x80\xae", "\"\\u009b\\u202e\""},
};

static void writes_json_strings(void **state) {
  (void)state;
  char out[64];
  for (size_t i = 0; i < sizeof json / sizeof json[0]; i++) {
    roam_bytes in = {(const uint8_t *)json[i].in, strlen(json[i].in)};
    size_t len = strlen(json[i].out);
    assert_int_equal(roam_json_string(out, sizeof out, in), len);
    assert_string_equal(out, json[i].out);
    assert_int_equal(roam_json_string(out, len + 1, in), len);
    assert_int_equal(roam_json_string(out, len, in), 0);
    assert_int_equal(roam_json_string(NULL, 0, in), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(writes_and_reads_back),      cmocka_unit_test(writes_the_shortest_form),
      cmocka_unit_test(keeps_its_bound_and_counts), cmocka_unit_test(refuses_what_cannot_be_read),
      cmocka_unit_test(refuses_bad_input),          cmocka_unit_test(refuses_every_truncation),
      cmocka_unit_test(survives_mutation),          cmocka_unit_test(writes_json_strings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
