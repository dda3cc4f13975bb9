/* broker_tell.c - what the broker's clients do, a line each, for people. Client ids and topics are somebody else's bytes:
 * nothing that moves a cursor gets out. */
#include "cmd_broker.h"

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

void roam_tell_log(void *context, roam_time at, roam_level level, const char *line) {
  (void)context;
  (void)at;
  stamp(stderr);
  fprintf(stderr, "%s%s\n", level == ROAM_LOG_ERROR ? "error: " : level == ROAM_LOG_WARNING ? "warning: " : "", line);
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

void roam_tell_event(const struct roam_broker_run *b, const roam_event *ev) {
  char id[160], from[ROAM_ADDR_TEXT_MAX];
  const roam_event_link *link = &ev->u.link;
  if (b->quiet) return;
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

void roam_tell_farewell(const struct roam_broker_run *b) {
  roam_broker_stats s = roam_broker_get_stats(b->broker);
  if (b->quiet || b->code) return;
  stamp(stderr);
  fprintf(stderr, "stopped: %llu connects, %llu moves, %llu messages in, %llu out\n",
          (unsigned long long)s.connects_accepted, (unsigned long long)s.moves, (unsigned long long)s.messages_in,
          (unsigned long long)s.messages_out);
}
