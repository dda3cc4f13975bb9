/* text.h - UTF-8 as logs, recordings and JSON need it: decode one character, check a whole text, and which characters would
 * change what a reader sees of a line. */
#ifndef ROAM_BASE_TEXT_H
#define ROAM_BASE_TEXT_H

#include <roamqtt/base.h>

/* How many bytes the character at the front of text takes (1..4), with its number in *out; 0 when they are not UTF-8 (cut,
 * overlong, a surrogate, beyond U+10FFFF) or text is empty. */
size_t roam_text_char(roam_bytes text, uint32_t *out);
bool roam_text_valid(roam_bytes text);

/* Control characters, line and paragraph separators, and what turns the direction of writing. */
bool roam_text_hostile(uint32_t c);

#endif
