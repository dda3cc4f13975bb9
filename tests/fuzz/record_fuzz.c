/* record_fuzz.c - recordings and saved state as CBOR sequences. Whatever the reader takes the recorder writes, and what it
 * wrote is read again as the same. */
#include "fuzz.h"

#include <roamqtt/record.h>

static void compare(const roam_record *a, const roam_record *b) {
  FUZZ_CHECK(a->at == b->at && strcmp(a->kind, b->kind) == 0 && a->row == b->row && a->fields_len == b->fields_len);
  for (size_t i = 0; i < a->fields_len; i++) {
    const roam_field *x = &a->fields[i], *y = &b->fields[i];
    FUZZ_CHECK(strcmp(x->name, y->name) == 0 && x->type == y->type);
    if (x->type == ROAM_FIELD_TEXT || x->type == ROAM_FIELD_BYTES) FUZZ_CHECK(fuzz_same(x->bytes, y->bytes));
    else FUZZ_CHECK(x->number == y->number);
  }
}

static void check_item(const roam_record *r) {
  FUZZ_CHECK(r->fields_len <= ROAM_RECORD_FIELDS_MAX && r->kind[0] != 0 && memchr(r->kind, 0, sizeof r->kind) != NULL);
  for (size_t i = 0; i < r->fields_len; i++) {
    char json[256];
    const roam_field *f = &r->fields[i];
    FUZZ_CHECK(strlen(f->name) > 0 && strlen(f->name) < ROAM_RECORD_NAME_MAX);
    FUZZ_CHECK(roam_record_field(r, f->name) != NULL);
    if (f->type == ROAM_FIELD_TEXT || f->type == ROAM_FIELD_BYTES) {
      size_t n = roam_json_string(json, sizeof json, f->bytes);
      FUZZ_CHECK(n < sizeof json && (n == 0 || (json[0] == '"' && json[n - 1] == '"' && json[n] == 0)));
    }
  }
}

/* Times are written as differences from the start, which is not 0. */
static void write_again(const roam_record *r) {
  roam_record again;
  if (r->at == UINT64_MAX) return;
  roam_recorder *recorder = roam_recorder_new(1u << 20);
  FUZZ_CHECK(recorder != NULL);
  roam_recorder_start(recorder, 1);
  FUZZ_CHECK(roam_recorder_put(recorder, r->at + 1, r->kind, r->row, r->fields, r->fields_len) == 0);
  roam_record_reader *reader = roam_record_reader_new(roam_recorder_bytes(recorder));
  FUZZ_CHECK(reader != NULL && roam_record_next(reader, &again) == 1);
  compare(r, &again);
  FUZZ_CHECK(roam_record_next(reader, &again) == 0);
  roam_record_reader_free(reader);
  roam_recorder_free(recorder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  roam_record record;
  int got;
  if (size > 65536) return 0;
  roam_bytes bytes = {data, size};
  uint8_t *copy = fuzz_copy(bytes);
  roam_record_reader *reader = roam_record_reader_new((roam_bytes){copy, size});
  FUZZ_CHECK(reader != NULL);
  size_t items = 0;
  while ((got = roam_record_next(reader, &record)) == 1) {
    check_item(&record);
    write_again(&record);
    FUZZ_CHECK(++items <= size);
  }
  FUZZ_CHECK(got == 0 || got == ROAM_E_MALFORMED);
  FUZZ_CHECK(roam_record_next(reader, &record) == got); /* it stays where it is */
  roam_record_reader_free(reader);
  free(copy);
  return 0;
}
