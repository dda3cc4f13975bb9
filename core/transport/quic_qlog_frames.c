/* quic_qlog_frames.c - see quic_qlog_frames.h. One table says which words of ngtcp2's lines become which fields of the
 * frames in draft-ietf-quic-qlog-quic-events. Refuses to pass on a peer's text: numbers and hexadecimal digits only. */
#include "transport/quic_qlog_frames.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  WORD_BYTES = 40,
  HEX_MAX = 40,
  FIELDS_MAX = 4
};

enum how {
  NUMBER,
  BRACKETED, /* a word and then the number in brackets */
  TRUTH,
  HEX,
  TOKEN /* of a token only the length is told: it is worth something to whoever has it */
};

struct field {
  const char *theirs, *name;
  enum how how;
};

static const struct {
  const char *word;
  struct field fields[FIELDS_MAX];
} known[] = {
    {"STREAM",
     {{" id=", "stream_id", NUMBER}, {" offset=", "offset", NUMBER}, {" len=", "length", NUMBER}, {" fin=", "fin", TRUTH}}},
    {"CRYPTO", {{" offset=", "offset", NUMBER}, {" len=", "length", NUMBER}}},
    {"PADDING", {{" len=", "payload_length", NUMBER}}},
    {"PING", {{0}}},
    {"HANDSHAKE_DONE", {{0}}},
    {"RESET_STREAM",
     {{" id=", "stream_id", NUMBER},
      {" app_error_code=", "error_code", BRACKETED},
      {" final_size=", "final_size", NUMBER}}},
    {"STOP_SENDING", {{" id=", "stream_id", NUMBER}, {" app_error_code=", "error_code", BRACKETED}}},
    {"MAX_DATA", {{" max_data=", "maximum", NUMBER}}},
    {"MAX_STREAM_DATA", {{" id=", "stream_id", NUMBER}, {" max_stream_data=", "maximum", NUMBER}}},
    {"MAX_STREAMS", {{" max_streams=", "maximum", NUMBER}}},
    {"DATA_BLOCKED", {{" offset=", "limit", NUMBER}}},
    {"STREAM_DATA_BLOCKED", {{" id=", "stream_id", NUMBER}, {" offset=", "limit", NUMBER}}},
    {"STREAMS_BLOCKED", {{" max_streams=", "limit", NUMBER}}},
    {"NEW_CONNECTION_ID",
     {{" seq=", "sequence_number", NUMBER},
      {" retire_prior_to=", "retire_prior_to", NUMBER},
      {" cid=", "connection_id", HEX}}},
    {"RETIRE_CONNECTION_ID", {{" seq=", "sequence_number", NUMBER}}},
    {"PATH_CHALLENGE", {{" data=", "data", HEX}}},
    {"PATH_RESPONSE", {{" data=", "data", HEX}}},
    {"NEW_TOKEN", {{" len=", "token", TOKEN}}},
    {"CONNECTION_CLOSE", {{" error_code=", "raw_error_code", BRACKETED}}},
    {"DATAGRAM", {{" len=", "length", NUMBER}}},
};

void roam_qlog_frames_clear(struct roam_qlog_frames *f) {
  f->len = 0;
  f->in_ack = false;
  f->text[0] = 0;
}

bool roam_qlog_number(const char *line, const char *key, uint64_t *out) {
  const char *at = strstr(line, key);
  if (!at) return false;
  char *end;
  *out = strtoull(at + strlen(key), &end, 0);
  return end != at + strlen(key);
}

/* False: no room; what stood before stands. */
__attribute__((format(printf, 2, 3))) static bool add(struct roam_qlog_frames *f, const char *format, ...) {
  size_t room = sizeof f->text - f->len;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(f->text + f->len, room, format, args);
  va_end(args);
  bool fits = n >= 0 && (size_t)n < room;
  if (fits) f->len += (size_t)n;
  else f->text[f->len] = 0;
  return fits;
}

static bool add_hex(struct roam_qlog_frames *f, const char *name, const char *at) {
  if (strncmp(at, "0x", 2) == 0) at += 2;
  size_t n = strspn(at, "0123456789abcdef");
  return n <= HEX_MAX && add(f, ",\"%s\":\"%.*s\"", name, (int)n, at);
}

static bool add_field(struct roam_qlog_frames *f, const struct field *field, const char *line) {
  uint64_t value = 0;
  const char *at = strstr(line, field->theirs);
  if (!at) return false;
  at += strlen(field->theirs);
  if (field->how == HEX) return add_hex(f, field->name, at);
  if (field->how == BRACKETED) at = strchr(at, '(') ? strchr(at, '(') + 1 : at;
  value = strtoull(at, NULL, 0);
  if (field->how == TRUTH) return value == 0 || add(f, ",\"%s\":true", field->name);
  if (field->how == TOKEN) return add(f, ",\"%s\":{\"length\":%" PRIu64 "}", field->name, value);
  return add(f, ",\"%s\":%" PRIu64, field->name, value);
}

/* What the frame's code says beyond its name. */
static bool add_by_code(struct roam_qlog_frames *f, uint64_t code) {
  switch (code) {
    case 0x12:
    case 0x16: return add(f, ",\"stream_type\":\"bidirectional\"");
    case 0x13:
    case 0x17: return add(f, ",\"stream_type\":\"unidirectional\"");
    case 0x1c: return add(f, ",\"error_space\":\"transport\"");
    case 0x1d: return add(f, ",\"error_space\":\"application\"");
    default: return true;
  }
}

static bool add_known(struct roam_qlog_frames *f, const struct field fields[FIELDS_MAX], const char *word, uint64_t code,
                      const char *line) {
  char lower[WORD_BYTES];
  size_t n = 0;
  for (; word[n]; n++) lower[n] = word[n] >= 'A' && word[n] <= 'Z' ? (char)(word[n] + 32) : word[n];
  lower[n] = 0;
  if (!add(f, "%s{\"frame_type\":\"%s\"", f->len > 0 ? "," : "", lower) || !add_by_code(f, code)) return false;
  for (size_t i = 0; i < FIELDS_MAX && fields[i].theirs; i++)
    if (!add_field(f, &fields[i], line)) return false;
  return add(f, "}");
}

/* An ACK comes as one line with its largest number and its delay, and one line for each range. */
static bool add_ack(struct roam_qlog_frames *f, const char *line) {
  uint64_t high = 0, low = 0;
  const char *dots = strstr(line, "..");
  if (!roam_qlog_number(line, " range=[", &high) || !dots) {
    f->ack_delay = 0;
    roam_qlog_number(line, " ack_delay=", &f->ack_delay);
    f->in_ack = false;
    return true;
  }
  low = strtoull(dots + 2, NULL, 10);
  if (low > high) return false;
  if (!f->in_ack)
    return f->in_ack =
               add(f, "%s{\"frame_type\":\"ack\",\"ack_delay\":%" PRIu64 ",\"acked_ranges\":[[%" PRIu64 ",%" PRIu64 "]]}",
                   f->len > 0 ? "," : "", f->ack_delay, low, high);
  f->len -= 2; /* "]}" */
  if (add(f, ",[%" PRIu64 ",%" PRIu64 "]]}", low, high)) return true;
  memcpy(f->text + f->len, "]}", 3);
  f->len += 2;
  return true;
}

void roam_qlog_frames_add(struct roam_qlog_frames *f, const char *line) {
  char word[WORD_BYTES];
  const char *at = strchr(line, ' ');
  at = at ? strchr(at + 1, ' ') : NULL;
  if (!at) return;
  size_t n = strcspn(++at, "("), before = f->len;
  if (n == 0 || n >= sizeof word || strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != n || at[n] != '(') return;
  memcpy(word, at, n);
  word[n] = 0;
  bool good = false;
  uint64_t code = strtoull(at + n + 1, NULL, 0);
  if (strncmp(word, "ACK", 3) == 0) {
    good = add_ack(f, at);
  } else {
    f->in_ack = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
      if (strcmp(word, known[i].word) == 0) good = add_known(f, known[i].fields, word, code, at);
  }
  if (good) return;
  f->len = before;
  f->text[before] = 0;
}
