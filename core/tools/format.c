/* format.c - mosquitto_sub's -F, as far as a message itself knows the answer. Payloads are bytes and stay bytes. */
#include "format.h"

#include <string.h>

static const char letters[] = "%tpqrlmdxX";
static const char escapes[] = "\\ntr0ae";

const char *roam_format_error(const char *format) {
  for (; *format; format++) {
    if (*format == '%' && (!format[1] || !strchr(letters, *++format)))
      return "-F: expected %t topic, %p payload, %x or %X payload in hex, %l its length, %q QoS, %r retain, %m packet id, "
             "%d duplicate, or %%";
    if (*format == '\\' && (!format[1] || !strchr(escapes, *++format)))
      return "-F: expected \\n, \\t, \\r, \\0, \\a, \\e or \\\\";
  }
  return NULL;
}

static void put_bytes(FILE *out, roam_bytes bytes) {
  if (bytes.len) fwrite(bytes.base, 1, bytes.len, out);
}

static void put_hex(FILE *out, roam_bytes bytes, const char *digits) {
  for (size_t i = 0; i < bytes.len; i++) {
    fputc(digits[bytes.base[i] >> 4], out);
    fputc(digits[bytes.base[i] & 15], out);
  }
}

static void put_letter(FILE *out, char letter, const roam_event_message *m) {
  switch (letter) {
    case 't': put_bytes(out, m->topic); break;
    case 'p': put_bytes(out, m->payload); break;
    case 'x': put_hex(out, m->payload, "0123456789abcdef"); break;
    case 'X': put_hex(out, m->payload, "0123456789ABCDEF"); break;
    case 'l': fprintf(out, "%zu", m->payload.len); break;
    case 'q': fprintf(out, "%u", m->qos); break;
    case 'r': fputc(m->retain ? '1' : '0', out); break;
    case 'd': fputc(m->dup ? '1' : '0', out); break;
    case 'm': fprintf(out, "%u", m->packet_id); break;
    default: fputc(letter, out);
  }
}

static void put_escape(FILE *out, char letter) {
  static const char meant[] = "\\\n\t\r\0\a\033";
  fputc(meant[strchr(escapes, letter) - escapes], out);
}

void roam_format_print(FILE *out, const char *format, const roam_event_message *m) {
  for (; *format; format++) {
    if (*format == '%') put_letter(out, *++format, m);
    else if (*format == '\\') put_escape(out, *++format);
    else fputc(*format, out);
  }
}
