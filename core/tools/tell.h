/* tell.h - lines about what happens, on stderr: JSON objects for tools, and the sink of a log that writes them. */
#ifndef ROAM_TELL_H
#define ROAM_TELL_H

#include <roamqtt/base.h>
#include <stdio.h>

/* {"time":"...","event":"<event>" without its end. */
void roam_tell_json_begin(FILE *out, const char *event);
/* A line of a log as an object of its own, with its newline, in one piece; name NULL: without fields. */
void roam_tell_json_log(FILE *out, roam_level level, const char *line, const char *name, const roam_log_field fields[],
                        size_t n);
/* "text" or "json"; false: neither. */
bool roam_tell_format(const char *word, bool *json);

#endif
