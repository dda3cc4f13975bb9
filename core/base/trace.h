/* trace.h - reporting an event of trace.def, the one way to a log: roam_trace(log, now, CLIENT_MOVED, .client = id, .from =
 * a, .to = b). The compiler checks the fields; they are evaluated only when the log wants that level, one test for a log
 * that does not. A field that is not named is NULL or 0. Nothing is allocated. */
#ifndef ROAM_BASE_TRACE_H
#define ROAM_BASE_TRACE_H

#include <roamqtt/base.h>

typedef enum roam_trace_event {
#define F(kind, name)
#define X(name, level, text, fields) ROAM_TRACE_##name,
#include "base/trace.def"
#undef X
  ROAM_TRACE_EVENTS
} roam_trace_event;

enum {
#define X(name, level, text, fields) ROAM_TRACE_LEVEL_##name = ROAM_LOG_##level,
#include "base/trace.def"
#undef X
#undef F
};

/* Each field takes eight bytes, so that trace.c finds it by its number. */
#define ROAM_TRACE_TYPE_TEXT const char *
#define ROAM_TRACE_TYPE_NUMBER uint64_t
#define ROAM_TRACE_TYPE_HEX uint64_t
#define F(kind, name) _Alignas(8) ROAM_TRACE_TYPE_##kind name;
#define X(name, level, text, fields)                                                                                       \
  struct roam_trace_##name {                                                                                               \
    fields                                                                                                                 \
  };                                                                                                                       \
  _Static_assert(sizeof(struct roam_trace_##name) <= 8 * ROAM_LOG_FIELDS_MAX, "too many fields: " #name);
#include "base/trace.def"
#undef X
#undef F

static inline bool roam_trace_wanted(const roam_log *log, int level) {
  return (log->write || log->record) && level <= (int)log->level;
}

#define roam_trace(log_, now_, name_, ...)                                                                                 \
  do {                                                                                                                     \
    if (roam_trace_wanted(log_, ROAM_TRACE_LEVEL_##name_)) {                                                               \
      struct roam_trace_##name_ trace_fields_ = {__VA_ARGS__};                                                             \
      roam_trace_write(log_, now_, ROAM_TRACE_##name_, &trace_fields_);                                                    \
    }                                                                                                                      \
  } while (0)

/* fields: the event's own struct. */
void roam_trace_write(const roam_log *log, roam_time now, roam_trace_event event, const void *fields);

/* The list itself, for tests and documents. Behind the last event: name NULL. */
typedef struct roam_trace_info {
  const char *name, *text;
  roam_level level;
  const char *fields[ROAM_LOG_FIELDS_MAX];
  unsigned fields_len;
} roam_trace_info;
roam_trace_info roam_trace_describe(unsigned event);

#endif
