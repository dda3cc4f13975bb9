/* trace.c - from an event and its fields to a line, on the stack. What a peer has written can neither begin a line nor move
 * a cursor nor hide what stands behind it: hostile characters and what is not UTF-8 become '?', and a line ends with "..."
 * where it is cut. JSON is made by whoever wants it (roam_json_log). */
#include "base/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum {
  LINE_BYTES = 512,
  TEXT,
  NUMBER,
  HEX
};

struct field {
  const char *name;
  int kind;
};

#define F(kind, name) {#name, kind},
#define X(name, level, text, fields) static const struct field fields_##name[] = {fields};
#include "base/trace.def"
#undef X
#undef F

#define F(kind, name)
static const struct event {
  const char *name, *text;
  roam_level level;
  const struct field *fields;
  unsigned fields_len;
} events[] = {
#define X(name, level, text, fields)                                                                                       \
  {#name, text, ROAM_LOG_##level, fields_##name, sizeof fields_##name / sizeof fields_##name[0]},
#include "base/trace.def"
#undef X
};
#undef F

/* Once full, nothing more is put: what is there is a beginning. */
struct line {
  char text[LINE_BYTES];
  size_t len;
  bool full;
};

static void put_char(struct line *l, const uint8_t *at, size_t len) {
  l->full = l->full || len > sizeof l->text - sizeof "..." - l->len;
  if (l->full) return;
  memcpy(l->text + l->len, at, len);
  l->len += len;
}

static void put(struct line *l, const char *text, size_t len) {
  roam_bytes rest = {(const uint8_t *)text, len};
  while (rest.len > 0 && !l->full) {
    uint32_t c;
    size_t n = roam_text_char(rest, &c);
    if (n == 0 || roam_text_hostile(c)) put_char(l, (const uint8_t *)"?", 1);
    else put_char(l, rest.base, n);
    rest.base += n ? n : 1;
    rest.len -= n ? n : 1;
  }
}

static void put_field(struct line *l, int kind, const roam_log_field *f) {
  char digits[24];
  if (kind == TEXT) {
    if (f->text) put(l, f->text, strnlen(f->text, LINE_BYTES));
    return;
  }
  snprintf(digits, sizeof digits, kind == HEX ? "0x%02" PRIX64 : "%" PRIu64, f->number);
  put(l, digits, strlen(digits));
}

static unsigned find(const struct event *e, const char *name, size_t len) {
  unsigned i = 0;
  while (i < e->fields_len && (strlen(e->fields[i].name) != len || memcmp(e->fields[i].name, name, len) != 0)) i++;
  return i;
}

/* Behind a '[': has the part up to its ']' a field, and nothing in it? Then what is behind that, else NULL. */
static const char *skip_optional(const struct event *e, const roam_log_field fields[], const char *at) {
  const char *end = strchr(at, ']'), *brace = strchr(at, '{');
  if (!end || !brace || brace > end) return NULL;
  unsigned i = find(e, brace + 1, strcspn(brace + 1, "}"));
  return i < e->fields_len && e->fields[i].kind == TEXT && !fields[i].text ? end + 1 : NULL;
}

static void render(const struct event *e, const roam_log_field fields[], struct line *l) {
  const char *after;
  for (const char *at = e->text; *at;) {
    size_t plain = strcspn(at, "{[]");
    put(l, at, plain);
    at += plain;
    if (*at == '{') {
      size_t len = strcspn(at + 1, "}");
      unsigned i = find(e, at + 1, len);
      if (i < e->fields_len) put_field(l, e->fields[i].kind, &fields[i]);
      at += len + (at[len + 1] ? 2 : 1);
    } else if (*at == '[' && (after = skip_optional(e, fields, at + 1))) {
      at = after;
    } else if (*at) {
      at++;
    }
  }
  memcpy(l->text + l->len, l->full ? "..." : "", l->full ? 4 : 1);
}

void roam_trace_write(const roam_log *log, roam_time now, roam_trace_event event, const void *values) {
  const struct event *e = &events[event];
  roam_log_field fields[ROAM_LOG_FIELDS_MAX];
  struct line l = {.len = 0};
  for (unsigned i = 0; i < e->fields_len; i++) {
    const uint8_t *at = (const uint8_t *)values + 8 * i;
    fields[i] = (roam_log_field){.name = e->fields[i].name};
    if (e->fields[i].kind == TEXT) memcpy(&fields[i].text, at, sizeof fields[i].text);
    else memcpy(&fields[i].number, at, sizeof fields[i].number);
    fields[i].is_number = e->fields[i].kind != TEXT;
  }
  render(e, fields, &l);
  if (log->record) log->record(log->context, now, e->level, l.text, e->name, fields, e->fields_len);
  else log->write(log->context, now, e->level, l.text);
}

roam_trace_info roam_trace_describe(unsigned event) {
  if (event >= ROAM_TRACE_EVENTS) return (roam_trace_info){.name = NULL};
  const struct event *e = &events[event];
  roam_trace_info info = {.name = e->name, .text = e->text, .level = e->level, .fields_len = e->fields_len};
  for (unsigned i = 0; i < e->fields_len && i < ROAM_LOG_FIELDS_MAX; i++) info.fields[i] = e->fields[i].name;
  return info;
}
