/* write.c - events into a CBOR sequence in memory. Bounded: what does not fit is dropped whole and counted, never cut.
 *
 * Every number and length is written in its shortest form and every array and map with its length, so that the same events
 * give the same bytes. It refuses text that is not UTF-8, because a reader would refuse the whole item. */
#include "base/buf.h"
#include "base/text.h"

#include <roamqtt/record.h>

#include <cbor.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MAX 9 /* bytes of the longest CBOR head */

struct roam_recorder {
  struct roam_buf waiting;
  roam_time start; /* 0: not known yet */
  uint64_t dropped;
};

roam_recorder *roam_recorder_new(size_t bytes_max) {
  roam_recorder *r = calloc(1, sizeof *r);
  if (r) roam_buf_init(&r->waiting, bytes_max);
  return r;
}

void roam_recorder_free(roam_recorder *r) {
  if (!r) return;
  roam_buf_reset(&r->waiting);
  free(r);
}

void roam_recorder_start(roam_recorder *r, roam_time start) { r->start = start; }

static roam_bytes text_of(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static bool is_number(roam_field_type type) {
  return type == ROAM_FIELD_UINT || type == ROAM_FIELD_INT || type == ROAM_FIELD_BOOL;
}

/* 0 and *size, the most bytes the item can take; ROAM_E_ARGUMENT when a reader would not take it. */
static roam_rc check_item(const char *kind, const roam_field fields[], size_t n, size_t *size) {
  roam_bytes name = text_of(kind);
  if (name.len == 0 || name.len >= sizeof((roam_record *)0)->kind || !roam_text_valid(name)) return ROAM_E_ARGUMENT;
  if (n > ROAM_RECORD_FIELDS_MAX) return ROAM_E_ARGUMENT;
  *size = 5 * HEAD_MAX + name.len;
  for (size_t i = 0; i < n; i++) {
    const roam_field *f = &fields[i];
    name = text_of(f->name);
    if (name.len == 0 || name.len >= ROAM_RECORD_NAME_MAX || !roam_text_valid(name)) return ROAM_E_ARGUMENT;
    if ((unsigned)f->type > ROAM_FIELD_BOOL || (f->type == ROAM_FIELD_TEXT && !roam_text_valid(f->bytes)))
      return ROAM_E_ARGUMENT;
    size_t room = is_number(f->type) ? 0 : f->bytes.len;
    if (room > SIZE_MAX / 2 - *size) return ROAM_E_LIMIT;
    *size += 2 * HEAD_MAX + name.len + room;
  }
  return 0;
}

static size_t put_bytes(uint8_t *at, roam_bytes bytes) {
  if (bytes.len) memcpy(at, bytes.base, bytes.len);
  return bytes.len;
}

static size_t put_text(uint8_t *at, roam_bytes text) {
  size_t head = cbor_encode_string_start(text.len, at, HEAD_MAX);
  return head + put_bytes(at + head, text);
}

static size_t put_value(uint8_t *at, const roam_field *f) {
  size_t head;
  switch (f->type) {
    case ROAM_FIELD_UINT: return cbor_encode_uint(f->number, at, HEAD_MAX);
    case ROAM_FIELD_INT:
      return (int64_t)f->number < 0 ? cbor_encode_negint(~f->number, at, HEAD_MAX)
                                    : cbor_encode_uint(f->number, at, HEAD_MAX);
    case ROAM_FIELD_BOOL: return cbor_encode_bool(f->number != 0, at, HEAD_MAX);
    case ROAM_FIELD_TEXT: return put_text(at, f->bytes);
    default: head = cbor_encode_bytestring_start(f->bytes.len, at, HEAD_MAX); return head + put_bytes(at + head, f->bytes);
  }
}

static size_t put_item(uint8_t *at, roam_time when, const char *kind, uint32_t row, const roam_field fields[], size_t n) {
  size_t used = cbor_encode_array_start(4, at, HEAD_MAX);
  used += cbor_encode_uint(when, at + used, HEAD_MAX);
  used += put_text(at + used, text_of(kind));
  used += row == ROAM_RECORD_NO_ROW ? cbor_encode_null(at + used, HEAD_MAX) : cbor_encode_uint(row, at + used, HEAD_MAX);
  used += cbor_encode_map_start(n, at + used, HEAD_MAX);
  for (size_t i = 0; i < n; i++) {
    used += put_text(at + used, text_of(fields[i].name));
    used += put_value(at + used, &fields[i]);
  }
  return used;
}

static roam_rc reserve(roam_recorder *r, size_t size, uint8_t **at) {
  if (size > roam_buf_room(&r->waiting)) return ROAM_E_LIMIT;
  *at = roam_buf_reserve(&r->waiting, size);
  return *at ? 0 : ROAM_E_MEMORY;
}

roam_rc roam_recorder_put(roam_recorder *r, roam_time now, const char *kind, uint32_t row, const roam_field fields[],
                          size_t n) {
  size_t size;
  uint8_t *at;
  roam_rc rc = check_item(kind, fields, n, &size);
  if (rc == ROAM_E_ARGUMENT) return rc;
  if (rc == 0) rc = reserve(r, size, &at);
  if (rc) {
    r->dropped++;
    return rc;
  }
  if (r->start == 0) r->start = now;
  roam_buf_commit(&r->waiting, put_item(at, now > r->start ? now - r->start : 0, kind, row, fields, n));
  return 0;
}

roam_bytes roam_recorder_bytes(const roam_recorder *r) { return roam_buf_view(&r->waiting); }

void roam_recorder_take(roam_recorder *r, size_t n) {
  size_t waiting = roam_buf_len(&r->waiting);
  roam_buf_take(&r->waiting, n < waiting ? n : waiting);
}

uint64_t roam_recorder_dropped(const roam_recorder *r) { return r->dropped; }
