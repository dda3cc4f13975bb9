/* format.h - how sub prints a message: mosquitto's % letters. */
#ifndef ROAM_FORMAT_H
#define ROAM_FORMAT_H

#include <roamqtt/event.h>
#include <stdio.h>

/* NULL when the format can be printed; else a sentence. Static storage. */
const char *roam_format_error(const char *format);
/* Prints the message as format says; bytes as they are. */
void roam_format_print(FILE *out, const char *format, const roam_event_message *m);

#endif
