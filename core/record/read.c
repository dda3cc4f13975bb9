/* read.c - a CBOR sequence back into events. The file may come from anybody.
 *
 * libcbor's streaming decoder reads one head or string at a time and allocates nothing; this file knows what may stand
 * where, so depth is two and never more. It refuses whatever roam_recorder_put does not write: lengths left open, tags,
 * floats, nesting, other lengths than four, more fields than a record holds, text that is not UTF-8. After a refusal the
 * reader stays where it is: each further call refuses again. */
#include "base/text.h"

#include <roamqtt/record.h>

#include <cbor.h>
#include <stdlib.h>
#include <string.h>

struct roam_record_reader {
  roam_bytes rest;
  char names[ROAM_RECORD_FIELDS_MAX][ROAM_RECORD_NAME_MAX];
};

enum token_kind {
  OTHER,
  UINT,
  NEGATIVE,
  BYTES,
  TEXT,
  ARRAY,
  MAP,
  EMPTY,
  BOOLEAN
};

struct token {
  enum token_kind kind;
  uint64_t number; /* value, or length of ARRAY and MAP; NEGATIVE: -1 - value */
  roam_bytes bytes;
};

static void on_uint8(void *to, uint8_t v) { *(struct token *)to = (struct token){UINT, v, {0}}; }
static void on_uint16(void *to, uint16_t v) { *(struct token *)to = (struct token){UINT, v, {0}}; }
static void on_uint32(void *to, uint32_t v) { *(struct token *)to = (struct token){UINT, v, {0}}; }
static void on_uint64(void *to, uint64_t v) { *(struct token *)to = (struct token){UINT, v, {0}}; }
static void on_negint8(void *to, uint8_t v) { *(struct token *)to = (struct token){NEGATIVE, v, {0}}; }
static void on_negint16(void *to, uint16_t v) { *(struct token *)to = (struct token){NEGATIVE, v, {0}}; }
static void on_negint32(void *to, uint32_t v) { *(struct token *)to = (struct token){NEGATIVE, v, {0}}; }
static void on_negint64(void *to, uint64_t v) { *(struct token *)to = (struct token){NEGATIVE, v, {0}}; }
static void on_bytes(void *to, cbor_data at, size_t len) { *(struct token *)to = (struct token){BYTES, 0, {at, len}}; }
static void on_text(void *to, cbor_data at, size_t len) { *(struct token *)to = (struct token){TEXT, 0, {at, len}}; }
static void on_array(void *to, size_t len) { *(struct token *)to = (struct token){ARRAY, len, {0}}; }
static void on_map(void *to, size_t len) { *(struct token *)to = (struct token){MAP, len, {0}}; }
static void on_null(void *to) { *(struct token *)to = (struct token){EMPTY, 0, {0}}; }
static void on_boolean(void *to, bool v) { *(struct token *)to = (struct token){BOOLEAN, v, {0}}; }

/* What no event holds is left to callbacks that do nothing, so that the token stays OTHER. */
static struct cbor_callbacks make_callbacks(void) {
  struct cbor_callbacks c = cbor_empty_callbacks;
  c.uint8 = on_uint8;
  c.uint16 = on_uint16;
  c.uint32 = on_uint32;
  c.uint64 = on_uint64;
  c.negint8 = on_negint8;
  c.negint16 = on_negint16;
  c.negint32 = on_negint32;
  c.negint64 = on_negint64;
  c.byte_string = on_bytes;
  c.string = on_text;
  c.array_start = on_array;
  c.map_start = on_map;
  c.null = on_null;
  c.boolean = on_boolean;
  return c;
}

roam_record_reader *roam_record_reader_new(roam_bytes bytes) {
  roam_record_reader *r = calloc(1, sizeof *r);
  if (r) r->rest = bytes;
  return r;
}

void roam_record_reader_free(roam_record_reader *r) { free(r); }

/* The next token in *out, *rest advanced; false when there is none of that kind. */
static bool take_token(const struct cbor_callbacks *callbacks, roam_bytes *rest, struct token *out) {
  *out = (struct token){OTHER, 0, {0}};
  if (rest->len == 0) return false;
  struct cbor_decoder_result result = cbor_stream_decode(rest->base, rest->len, callbacks, out);
  if (result.status != CBOR_DECODER_FINISHED || result.read > rest->len) return false;
  rest->base += result.read;
  rest->len -= result.read;
  return out->kind != OTHER;
}

static bool take(const struct cbor_callbacks *callbacks, roam_bytes *rest, enum token_kind kind, struct token *out) {
  return take_token(callbacks, rest, out) && out->kind == kind;
}

/* Short text into a C string of cap bytes: no NUL inside, not empty. */
static bool copy_text(const struct token *t, char *to, size_t cap) {
  if (t->bytes.len == 0 || t->bytes.len >= cap || memchr(t->bytes.base, 0, t->bytes.len) || !roam_text_valid(t->bytes))
    return false;
  memcpy(to, t->bytes.base, t->bytes.len);
  to[t->bytes.len] = 0;
  return true;
}

static bool set_value(roam_field *f, const struct token *t) {
  f->number = t->number;
  f->bytes = t->bytes;
  switch (t->kind) {
    case UINT: f->type = ROAM_FIELD_UINT; return true;
    case NEGATIVE:
      f->type = ROAM_FIELD_INT;
      f->number = ~t->number;
      return t->number <= INT64_MAX;
    case BOOLEAN: f->type = ROAM_FIELD_BOOL; return true;
    case BYTES: f->type = ROAM_FIELD_BYTES; return true;
    case TEXT: f->type = ROAM_FIELD_TEXT; return roam_text_valid(t->bytes);
    default: return false;
  }
}

static bool take_field(roam_record_reader *r, const struct cbor_callbacks *callbacks, roam_bytes *rest, size_t i,
                       roam_field *f) {
  struct token t;
  if (!take(callbacks, rest, TEXT, &t) || !copy_text(&t, r->names[i], sizeof r->names[i])) return false;
  f->name = r->names[i];
  return take_token(callbacks, rest, &t) && set_value(f, &t);
}

static bool take_row(const struct cbor_callbacks *callbacks, roam_bytes *rest, uint32_t *row) {
  struct token t;
  *row = ROAM_RECORD_NO_ROW;
  if (!take_token(callbacks, rest, &t)) return false;
  if (t.kind == EMPTY) return true;
  if (t.kind != UINT || t.number >= ROAM_RECORD_NO_ROW) return false;
  *row = (uint32_t)t.number;
  return true;
}

static bool take_item(roam_record_reader *r, roam_bytes *rest, roam_record *out) {
  struct cbor_callbacks callbacks = make_callbacks();
  struct token t;
  if (!take(&callbacks, rest, ARRAY, &t) || t.number != 4) return false;
  if (!take(&callbacks, rest, UINT, &t)) return false;
  out->at = t.number;
  if (!take(&callbacks, rest, TEXT, &t) || !copy_text(&t, out->kind, sizeof out->kind)) return false;
  if (!take_row(&callbacks, rest, &out->row)) return false;
  if (!take(&callbacks, rest, MAP, &t) || t.number > ROAM_RECORD_FIELDS_MAX) return false;
  out->fields_len = (size_t)t.number;
  for (size_t i = 0; i < out->fields_len; i++)
    if (!take_field(r, &callbacks, rest, i, &out->fields[i])) return false;
  return true;
}

int roam_record_next(roam_record_reader *r, roam_record *out) {
  roam_bytes rest = r->rest;
  out->fields_len = 0;
  if (rest.len == 0) return 0;
  if (!take_item(r, &rest, out)) {
    out->fields_len = 0;
    return ROAM_E_MALFORMED;
  }
  r->rest = rest;
  return 1;
}

const roam_field *roam_record_field(const roam_record *record, const char *name) {
  for (size_t i = 0; i < record->fields_len; i++)
    if (strcmp(record->fields[i].name, name) == 0) return &record->fields[i];
  return NULL;
}
