/* cmd_packet.c - `roamqtt packet`: MQTT packets from hexadecimal digits, told field by field. It judges as a peer would,
 * packet by packet; what depends on the course of a connection (identifiers in use, aliases, windows) it cannot know. */
#include "options.h"

#include <roamqtt/mqtt.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX ((size_t)64 << 20)
#define DUMP_ROW 16

/* ---- reading hexadecimal digits ---- */

static int hex_digit(int c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Digits in place into bytes; white space, ':', ',' and "0x" may stand between bytes. NULL, or where it goes wrong. */
static const char *read_hex(const char *text, uint8_t *out, size_t *len) {
  *len = 0;
  while (*text) {
    if (isspace((unsigned char)*text) || *text == ':' || *text == ',') {
      text++;
    } else if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
      text += 2;
    } else {
      int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
      if (low < 0) return text;
      out[(*len)++] = (uint8_t)(high << 4 | low);
      text += 2;
    }
  }
  return NULL;
}

/* ---- printing ---- */

/* Control characters, those of two bytes (U+0080 to U+009F) too, would disturb a terminal. */
static size_t count_control(const uint8_t *at, size_t left) {
  if (at[0] < 0x20 || at[0] == 0x7F) return 1;
  return left > 1 && at[0] == 0xC2 && at[1] < 0xA0 ? 2 : 0;
}

/* Text in quotes. */
static void print_text(roam_bytes text) {
  putchar('"');
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.base[i];
    size_t control = count_control(text.base + i, text.len - i);
    if (c == '"' || c == '\\') printf("\\%c", c);
    else if (control == 1) printf("\\x%02x", c);
    else if (control == 2) printf("\\u%04x", (unsigned)text.base[++i]);
    else putchar(c);
  }
  putchar('"');
}

static void print_text_field(const char *name, roam_bytes text) {
  printf("  %-16s ", name);
  print_text(text);
  putchar('\n');
}

static void print_number_field(const char *name, unsigned number) { printf("  %-16s %u\n", name, number); }

static void print_flag_field(const char *name, bool flag) { printf("  %-16s %s\n", name, flag ? "yes" : "no"); }

static void print_reason_field(const char *name, uint8_t reason) {
  printf("  %-16s 0x%02x %s\n", name, reason, roam_reason_text(reason));
}

static void print_dump_row(const uint8_t *row, size_t len, size_t at) {
  printf("    %06zx ", at);
  for (size_t i = 0; i < DUMP_ROW; i++) {
    if (i < len) printf(" %02x", row[i]);
    else printf("   ");
  }
  printf("  ");
  for (size_t i = 0; i < len; i++) putchar(row[i] >= 0x20 && row[i] < 0x7F ? row[i] : '.');
  putchar('\n');
}

static void print_dump_field(const char *name, roam_bytes bytes) {
  printf("  %-16s %zu byte%s\n", name, bytes.len, bytes.len == 1 ? "" : "s");
  for (size_t at = 0; at < bytes.len; at += DUMP_ROW)
    print_dump_row(bytes.base + at, bytes.len - at < DUMP_ROW ? bytes.len - at : DUMP_ROW, at);
}

static void print_prop(const roam_prop *p) {
  printf("    %-34s ", roam_prop_name(p->id));
  if (p->id == ROAM_PROP_USER_PROPERTY) {
    print_text(p->bytes);
    printf(" = ");
    print_text(p->value);
  } else if (p->id == ROAM_PROP_CORRELATION_DATA || p->id == ROAM_PROP_AUTHENTICATION_DATA) {
    for (size_t i = 0; i < p->bytes.len; i++) printf("%02x", p->bytes.base[i]);
  } else if (p->bytes.base) {
    print_text(p->bytes);
  } else {
    printf("%u", (unsigned)p->number);
  }
  putchar('\n');
}

static void print_props_field(const char *name, roam_bytes props) {
  roam_prop p;
  if (props.len == 0) return;
  printf("  %s\n", name);
  while (roam_prop_next(&props, &p) == 1) print_prop(&p);
}

static void print_connect(const roam_packet *p) {
  print_text_field("client id", p->connect.client_id);
  print_flag_field(p->version == ROAM_MQTT_5 ? "clean start" : "clean session", p->connect.clean_start);
  print_number_field("keep alive", p->connect.keep_alive_s);
  if (p->connect.has_user_name) print_text_field("user name", p->connect.user_name);
  if (p->connect.has_password) printf("  %-16s %zu bytes, not shown\n", "password", p->connect.password.len);
  if (!p->connect.has_will) return;
  print_text_field("will topic", p->connect.will_topic);
  print_number_field("will QoS", p->connect.will_qos);
  print_flag_field("will retain", p->connect.will_retain);
  print_props_field("will properties", p->connect.will_props);
  print_dump_field("will payload", p->connect.will_payload);
}

static void print_publish(const roam_packet *p) {
  print_text_field("topic", p->topic);
  print_number_field("QoS", p->qos);
  if (p->dup) print_flag_field("DUP", true);
  print_flag_field("retain", p->retain);
}

static void print_filters(const roam_packet *p) {
  roam_bytes rest = p->filters;
  roam_filter f;
  while (roam_filter_next(&rest, p->type, &f) == 1) {
    printf("  %-16s ", "filter");
    print_text(f.filter);
    if (p->type == ROAM_SUBSCRIBE) printf(" QoS %u", (unsigned)f.qos);
    if (f.no_local) printf(", no local");
    if (f.retain_as_published) printf(", retain as published");
    if (f.retain_handling) printf(", retain handling %u", (unsigned)f.retain_handling);
    putchar('\n');
  }
}

/* In 3.1.1 the codes of SUBACK are the QoS granted, or 0x80. */
static void print_codes(const roam_packet *p) {
  for (size_t i = 0; i < p->codes.len; i++) {
    uint8_t code = p->codes.base[i];
    if (code < 3 && p->type == ROAM_SUBACK) printf("  %-16s 0x%02x granted QoS %u\n", "code", code, (unsigned)code);
    else print_reason_field("code", code);
  }
}

static bool has_reason(const roam_packet *p) {
  bool answers = p->type >= ROAM_PUBACK && p->type <= ROAM_PUBCOMP;
  bool ends = p->type == ROAM_DISCONNECT || p->type == ROAM_AUTH;
  return p->type == ROAM_CONNACK || (p->version == ROAM_MQTT_5 && (answers || ends));
}

static const char *version_text(int version) {
  return version == ROAM_MQTT_5 ? "MQTT 5.0" : version == ROAM_MQTT_311 ? "MQTT 3.1.1" : "MQTT 3.1";
}

static void print_packet(const roam_packet *p, size_t at, size_t used) {
  printf("%s, %s, %zu bytes", roam_packet_name(p->type), version_text(p->version), used);
  if (at > 0) printf(", at %zu", at);
  putchar('\n');
  if (p->packet_id) print_number_field("packet id", p->packet_id);
  if (p->type == ROAM_CONNACK) print_flag_field("session present", p->session_present);
  if (has_reason(p)) print_reason_field("reason", p->reason);
  if (p->type == ROAM_CONNECT) print_connect(p);
  if (p->type == ROAM_PUBLISH) print_publish(p);
  print_filters(p);
  print_codes(p);
  print_props_field("properties", p->props);
  if (p->type == ROAM_PUBLISH) print_dump_field("payload", p->payload);
}

/* ---- the command ---- */

struct how {
  uint64_t version;
  bool from_server;
};

/* Bad from a client, good from a server? */
static bool is_of_other_side(roam_bytes bytes, uint8_t version, const struct how *how) {
  roam_packet p;
  roam_fault fault;
  size_t used = 0;
  return !how->from_server && roam_packet_read(bytes, version, UINT32_MAX, true, &p, &used, &fault) == 0 && used > 0;
}

/* A CONNECT is read as the first packet, and what follows it in its version. */
static int tell(roam_bytes bytes, const struct how *how) {
  uint8_t version = (uint8_t)how->version;
  for (size_t at = 0; at < bytes.len;) {
    roam_packet p;
    roam_fault fault;
    size_t used = 0;
    roam_bytes rest = {bytes.base + at, bytes.len - at};
    uint8_t known = rest.base[0] >> 4 == ROAM_CONNECT ? 0 : version;
    if (roam_packet_read(rest, known, UINT32_MAX, how->from_server, &p, &used, &fault) != 0) {
      fflush(stdout);
      const char *hint = is_of_other_side(rest, known, how) ? "; --from-server, when a server sent it" : "";
      return roam_tool_fail("packet", ROAM_EXIT_USAGE, "at byte %zu: %s: %s (reason 0x%02x, %s)%s", at,
                            roam_error_name(fault.rc), fault.text, fault.reason, roam_reason_text(fault.reason), hint);
    }
    if (used == 0) {
      fflush(stdout);
      return roam_tool_fail("packet", ROAM_EXIT_USAGE, "at byte %zu: the packet is cut short after %zu byte%s", at,
                            rest.len, rest.len == 1 ? "" : "s");
    }
    print_packet(&p, at, used);
    if (p.type == ROAM_CONNECT) version = p.version;
    at += used;
  }
  return ROAM_EXIT_OK;
}

static int tell_hex(const char *text, const struct how *how) {
  uint8_t *bytes = malloc(strlen(text) / 2 + 1); /* exactly enough for the digits, so that sanitizers watch the end */
  size_t len;
  if (!bytes) return roam_tool_fail("packet", ROAM_EXIT_USAGE, "out of memory");
  const char *wrong = read_hex(text, bytes, &len);
  int code = wrong      ? roam_tool_usage("packet", "'%.8s' is not pairs of hexadecimal digits", wrong)
             : len == 0 ? roam_tool_usage("packet", "no bytes; write them as hexadecimal digits, such as c000")
                        : tell((roam_bytes){bytes, len}, how);
  free(bytes);
  return code;
}

static int tell_input(const struct how *how) {
  char why[ROAM_WHY_MAX];
  uint8_t *text;
  size_t len;
  if (roam_file_read("-", INPUT_MAX, &text, &len, why)) return roam_tool_fail("packet", ROAM_EXIT_USAGE, "%s", why);
  int code = tell_hex((const char *)text, how);
  free(text);
  return code;
}

/* The operands as one line: "30 05" and 3005 and 30 05 are the same. */
static int tell_operands(int argc, char **argv, const struct how *how) {
  size_t cap = 1;
  for (int i = 1; i < argc; i++) cap += strlen(argv[i]) + 1;
  char *line = calloc(1, cap);
  if (!line) return roam_tool_fail("packet", ROAM_EXIT_USAGE, "out of memory");
  for (int i = 1; i < argc; i++) strcat(strcat(line, argv[i]), " ");
  int code = tell_hex(line, how);
  free(line);
  return code;
}

int cmd_packet(int argc, char **argv) {
  struct how how = {.version = ROAM_MQTT_5};
  const roam_opt rows[] = {
      {"mqtt-version", 0, ROAM_OPT_UINT, "VERSION", "of the connection: 3 (3.1), 4 (3.1.1) or 5 (5); CONNECT says its own",
       &how.version, ROAM_MQTT_31, ROAM_MQTT_5},
      {"from-server", 0, ROAM_OPT_FLAG, NULL, "a server sent them, not a client", &how.from_server},
  };
  const roam_opts opts = {
      "packet",
      "[options] HEX...",
      "Tells what MQTT packets say, field by field; - reads the digits from stdin. Exit code 1: a packet is bad.",
      "Example:\n  roamqtt packet --mqtt-version 4 30 07 00 03 61 2f 62 68 69",
      rows,
      sizeof rows / sizeof rows[0]};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest == 1) return roam_tool_usage("packet", "give the bytes as hexadecimal digits, or - to read them from stdin");
  return rest == 2 && strcmp(argv[1], "-") == 0 ? tell_input(&how) : tell_operands(rest, argv, &how);
}
