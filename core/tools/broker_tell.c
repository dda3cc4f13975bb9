/* broker_tell.c - what the broker's clients do, a line each: text for people, or JSON for tools, whose "event" is a name of
 * ROAM_EVENT_MAP or "log"; with "log", "name" and the fields are those of docs/guide/logs.md. Client ids and topics are
 * somebody else's bytes: nothing that moves a cursor gets out. */
#include "cmd_broker.h"

#include <roamqtt/record.h>
#include <string.h>

#include <time.h>

static const char *printable(roam_bytes bytes, char text[160]) {
  size_t n = 0;
  for (size_t i = 0; i < bytes.len && n < 150; i++)
    text[n++] = bytes.base[i] < 0x20 || bytes.base[i] == 0x7f ? '?' : (char)bytes.base[i];
  if (bytes.len > 150) n += (size_t)snprintf(text + n, 160 - n, "...");
  text[n] = 0;
  return text;
}

static void stamp(FILE *out) {
  struct timespec now;
  struct tm parts;
  clock_gettime(CLOCK_REALTIME, &now);
  localtime_r(&now.tv_sec, &parts);
  fprintf(out, "%02d:%02d:%02d.%03ld ", parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000000);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------ */

static void json_text(FILE *out, const char *name, roam_bytes text) {
  char quoted[4096];
  if (text.len > 600) text.len = 600;
  roam_json_string(quoted, sizeof quoted, text);
  fprintf(out, ",\"%s\":%s", name, quoted);
}

static void json_string(FILE *out, const char *name, const char *text) {
  json_text(out, name, (roam_bytes){(const uint8_t *)text, strlen(text)});
}

static void json_addr(FILE *out, const char *name, const roam_addr *addr) {
  char text[ROAM_ADDR_TEXT_MAX];
  if (addr->family) json_string(out, name, roam_addr_format(addr, text));
}

static void json_event(FILE *out, const roam_event *ev) {
  roam_tell_json_begin(out, roam_event_name((int)ev->kind));
  if (ev->id.len) json_text(out, "client", ev->id);
  if (ev->peer) fprintf(out, ",\"connection\":%llu", (unsigned long long)ev->peer);
  if (ev->kind == ROAM_EV_PEER_MOVED) {
    json_addr(out, "address", &ev->u.path.remote);
    json_addr(out, "old_address", &ev->u.path.old_remote);
    fprintf(out, ",\"validation_ns\":%llu", (unsigned long long)ev->u.path.validation_ns);
  } else {
    json_addr(out, "address", &ev->u.link.remote);
    json_addr(out, "local", &ev->u.link.local);
    if (ev->u.link.transport) json_string(out, "transport", roam_transport_name(ev->u.link.transport));
    if (ev->u.link.version) fprintf(out, ",\"version\":%u", ev->u.link.version);
    if (ev->kind == ROAM_EV_PEER_CONNECTED)
      fprintf(out, ",\"session_present\":%s", ev->u.link.session_present ? "true" : "false");
  }
  if (ev->rc) json_string(out, "error", roam_error_name(ev->rc));
  if (ev->reason >= 0 && ev->kind != ROAM_EV_PEER_CONNECTED && ev->kind != ROAM_EV_PEER_MOVED)
    fprintf(out, ",\"reason\":%d", ev->reason);
  if (ev->text) json_string(out, "text", ev->text);
  fputs("}\n", out);
}

/* ---- lines ----------------------------------------------------------------------------------------------------------- */

void roam_tell_line(const struct roam_broker_run *b, roam_level level, const char *line) {
  roam_tell_log((void *)(uintptr_t)b, 0, level, line, NULL, NULL, 0);
}

void roam_tell_log(void *context, roam_time at, roam_level level, const char *line, const char *name,
                   const roam_log_field fields[], size_t n) {
  const struct roam_broker_run *b = context;
  (void)at;
  if (b->json) {
    roam_tell_json_log(stderr, level, line, name, fields, n);
    return;
  }
  flockfile(stderr); /* workers write, too */
  stamp(stderr);
  fprintf(stderr, "%s%s\n", level == ROAM_LOG_ERROR ? "error: " : level == ROAM_LOG_WARNING ? "warning: " : "", line);
  funlockfile(stderr);
}

static void tell_loop(void *context, roam_time at, roam_level level, const char *line, const char *name,
                      const roam_log_field fields[], size_t n) {
  const struct roam_broker_run *b = context;
  if (level <= b->level) roam_tell_log(context, at, level, line, name, fields, n);
}

roam_log roam_tell_loop_log(struct roam_broker_run *b) {
  return (roam_log){.context = b, .level = ROAM_LOG_DEBUG, .record = tell_loop};
}

static void tell_moved(const struct roam_broker_run *b, const roam_event *ev) {
  char id[160], old[ROAM_ADDR_TEXT_MAX], new[ROAM_ADDR_TEXT_MAX];
  stamp(stderr);
  fprintf(stderr, "%sclient %s moved %s -> %s%s\n", b->colour ? "\033[1;36m" : "", printable(ev->id, id),
          roam_addr_format(&ev->u.path.old_remote, old), roam_addr_format(&ev->u.path.remote, new),
          b->colour ? "\033[0m" : "");
}

static const char *why_of(const roam_event *ev) {
  if (ev->text) return ev->text;
  if (ev->reason > 0) return roam_reason_text(ev->reason);
  return ev->rc ? roam_strerror(ev->rc) : "it said goodbye";
}

static void tell_text(const struct roam_broker_run *b, const roam_event *ev) {
  char id[160], from[ROAM_ADDR_TEXT_MAX];
  const roam_event_link *link = &ev->u.link;
  switch (ev->kind) {
    case ROAM_EV_PEER_CONNECTED:
      stamp(stderr);
      fprintf(stderr, "client %s connected from %s over %s, MQTT %s%s\n", printable(ev->id, id),
              roam_addr_format(&link->remote, from), roam_transport_name(link->transport),
              link->version == 5   ? "5.0"
              : link->version == 4 ? "3.1.1"
                                   : "3.1",
              link->session_present ? ", session resumed" : "");
      break;
    case ROAM_EV_PEER_DISCONNECTED:
      stamp(stderr);
      fprintf(stderr, "client %s disconnected: %s\n", printable(ev->id, id), why_of(ev));
      break;
    case ROAM_EV_PEER_REFUSED:
      stamp(stderr);
      fprintf(stderr, "refused %s: %s\n", roam_addr_format(&link->remote, from), why_of(ev));
      break;
    case ROAM_EV_PEER_MOVED: tell_moved(b, ev); break;
    default: break;
  }
}

void roam_tell_event(const struct roam_broker_run *b, const roam_event *ev) {
  if (b->quiet) return;
  flockfile(stderr);
  if (b->json) json_event(stderr, ev);
  else tell_text(b, ev);
  funlockfile(stderr);
}

void roam_tell_farewell(const struct roam_broker_run *b) {
  roam_broker_stats s = roam_crew_stats(b);
  char line[160];
  if (b->quiet || b->code) return;
  snprintf(line, sizeof line, "stopped: %llu connects, %llu moves, %llu messages in, %llu out",
           (unsigned long long)s.connects_accepted, (unsigned long long)s.moves, (unsigned long long)s.messages_in,
           (unsigned long long)s.messages_out);
  roam_tell_line(b, ROAM_LOG_NOTICE, line);
}
