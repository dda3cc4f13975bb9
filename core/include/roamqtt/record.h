/* record.h - recordings: a CBOR sequence (RFC 8742) of everything that happened in an experiment, from which tables and
 * plots are made.
 *
 * Each item is an array [time_ns, kind, row, {name: value, ...}]: time from the start of the recording, kind and names
 * text, row an integer or null, values integers, text, byte strings or booleans. The layer does not know what an event
 * means. */
#ifndef ROAMQTT_RECORD_H
#define ROAMQTT_RECORD_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum roam_field_type {
  ROAM_FIELD_UINT,
  ROAM_FIELD_INT,
  ROAM_FIELD_TEXT,
  ROAM_FIELD_BYTES,
  ROAM_FIELD_BOOL
} roam_field_type;

typedef struct roam_field {
  const char *name; /* NUL-terminated, 1 to 47 bytes; when read: valid until the next read on the same reader */
  roam_field_type type;
  uint64_t number;  /* UINT, BOOL; INT: two's complement (one that is not negative is read back as UINT) */
  roam_bytes bytes; /* TEXT (UTF-8), BYTES */
} roam_field;

#define ROAM_RECORD_FIELDS_MAX 32
#define ROAM_RECORD_NAME_MAX 48 /* of a field, with its NUL */
#define ROAM_RECORD_NO_ROW UINT32_MAX

typedef struct roam_record {
  roam_time at; /* since the recording's start */
  char kind[24];
  uint32_t row; /* ROAM_RECORD_NO_ROW: none */
  size_t fields_len;
  roam_field fields[ROAM_RECORD_FIELDS_MAX];
} roam_record;

/* Writes into memory; the owner takes the bytes out and puts them where it likes. */
typedef struct roam_recorder roam_recorder;
ROAM_API roam_recorder *roam_recorder_new(size_t bytes_max); /* at most so many bytes wait to be taken */
ROAM_API void roam_recorder_free(roam_recorder *r);
/* Times are measured from start; without this call, from the first item. */
ROAM_API void roam_recorder_start(roam_recorder *r, roam_time start);
/* kind: 1 to 23 bytes. ROAM_E_LIMIT (bytes_max reached) and ROAM_E_MEMORY: the item is dropped and counted.
 * ROAM_E_ARGUMENT: a name too long, too many fields, or text that is not UTF-8. */
ROAM_API roam_rc roam_recorder_put(roam_recorder *r, roam_time now, const char *kind, uint32_t row,
                                   const roam_field fields[], size_t n);
ROAM_API roam_bytes roam_recorder_bytes(const roam_recorder *r); /* what waits; valid until put or take */
ROAM_API void roam_recorder_take(roam_recorder *r, size_t n);    /* the first n of it have been dealt with */
ROAM_API uint64_t roam_recorder_dropped(const roam_recorder *r);

/* Reads item by item: 1 = *out set and *rest advanced, 0 = at the end, ROAM_E_MALFORMED (also: cut in the middle). */
typedef struct roam_record_reader roam_record_reader;
ROAM_API roam_record_reader *roam_record_reader_new(roam_bytes bytes); /* borrowed for the reader's life */
ROAM_API void roam_record_reader_free(roam_record_reader *r);
ROAM_API int roam_record_next(roam_record_reader *r, roam_record *out);
/* The field with that name, or NULL. */
ROAM_API const roam_field *roam_record_field(const roam_record *record, const char *name);

/* For tools: writes text as a JSON string literal with quotes and a NUL; bytes that are not UTF-8 become U+FFFD. Returns
 * the length without the NUL, 0 when cap is too small. */
ROAM_API size_t roam_json_string(char *out, size_t cap, roam_bytes text);
/* For sinks of a log: writes "level":"notice","text":"...","name":"CLIENT_MOVED","client":"x" and so on, to stand in an
 * object beside a time of your own; a field that is NULL becomes null, one beyond ROAM_JSON_LOG_TEXT_MAX bytes is cut. name
 * NULL: a line of your own, without fields. Returns the length without the NUL, 0 when cap is too small: ROAM_JSON_LOG_MAX
 * never is. */
#define ROAM_JSON_LOG_TEXT_MAX 256
#define ROAM_JSON_LOG_MAX 16384
ROAM_API size_t roam_json_log(char *out, size_t cap, roam_level level, const char *line, const char *name,
                              const roam_log_field fields[], size_t n);

#ifdef __cplusplus
}
#endif
#endif
