/* cmd_sub.c - `roamqtt sub`: prints what arrives, payload bytes untouched, one message a line. Address changes and
 * reconnects are told on stderr and cost the output nothing. */
#include "format.h"
#include "dial.h"

#include <errno.h>
#include <string.h>

struct sub {
  roam_dial dial;
  roam_opt_list topics, without;
  const char *format;
  bool verbose, no_newline, no_retained;
  uint64_t qos, count, seen;
};

static roam_bytes bytes_of(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static bool is_wanted(const struct sub *s, const roam_event_message *m) {
  if (s->no_retained && m->retain) return false;
  for (size_t i = 0; i < s->without.len; i++)
    if (roam_topic_matches(bytes_of(s->without.at[i]), m->topic)) return false;
  return true;
}

static void print_message(const struct sub *s, const roam_event_message *m) {
  roam_format_print(stdout, s->format ? s->format : s->verbose ? "%t %p" : "%p", m);
  if (!s->no_newline) putchar('\n');
}

static void on_message(struct sub *s, roam_time now, const roam_event_message *m) {
  if (s->dial.closing_at || !is_wanted(s, m)) return;
  print_message(s, m);
  if (s->count && ++s->seen == s->count) roam_dial_finish(&s->dial, now, ROAM_EXIT_OK);
}

/* The codes stand in the order of the filters. */
static void on_subscribed(struct sub *s, roam_time now, const roam_event *ev) {
  roam_bytes codes = ev->u.ack.codes;
  for (size_t i = 0; i < codes.len && i < s->topics.len; i++) {
    if (codes.base[i] < 0x80) continue;
    roam_dial_finish(&s->dial, now,
                     roam_tool_fail("sub", ROAM_EXIT_SUBSCRIBE, "the server refused the subscription to %s: %s (0x%02x)",
                                    s->topics.at[i], roam_reason_text(codes.base[i]), codes.base[i]));
    return;
  }
  if (s->dial.o.debug) roam_dial_note(&s->dial, "subscribed");
}

static void on_event(void *context, roam_time now, const roam_event *ev) {
  struct sub *s = context;
  if (ev->kind == ROAM_EV_MESSAGE) on_message(s, now, &ev->u.message);
  else if (ev->kind == ROAM_EV_SUBSCRIBED) on_subscribed(s, now, ev);
}

static void on_connected(void *context, roam_time now) {
  struct sub *s = context;
  roam_filter filters[ROAM_OPT_LIST_MAX];
  for (size_t i = 0; i < s->topics.len; i++)
    filters[i] = (roam_filter){
        .filter = bytes_of(s->topics.at[i]), .qos = (uint8_t)s->qos, .retain_handling = s->no_retained ? 2 : 0};
  roam_rc rc = roam_client_subscribe_how_to(s->dial.client, now, filters, s->topics.len,
                                            &(roam_client_subscribe_how){.datagram = s->dial.o.datagrams}, NULL);
  if (rc)
    roam_dial_finish(&s->dial, now, roam_tool_fail("sub", ROAM_EXIT_SUBSCRIBE, "cannot subscribe: %s", roam_strerror(rc)));
}

/* One flush a turn. A reader that went away (`| head`) ends the program without a word. */
static roam_time work(void *context, roam_time now) {
  struct sub *s = context;
  if (fflush(stdout) == 0 && !ferror(stdout)) return ROAM_NEVER;
  if (errno == EPIPE) roam_dial_finish(&s->dial, now, ROAM_EXIT_OK);
  else
    roam_dial_finish(&s->dial, now, roam_tool_fail("sub", ROAM_EXIT_USAGE, "cannot write to stdout: %s", strerror(errno)));
  return ROAM_NEVER;
}

static int settle(struct sub *s, int operands, char **argv) {
  if (operands > 1) return roam_tool_usage("sub", "one URL at most; '%s' is left over", argv[2]);
  int code = roam_dial_settle(&s->dial, operands ? argv[1] : NULL);
  if (code) return code;
  if (s->dial.topic[0] && s->topics.len < ROAM_OPT_LIST_MAX) s->topics.at[s->topics.len++] = s->dial.topic;
  if (!s->topics.len)
    return roam_tool_usage("sub", "say what to subscribe to: -t FILTER, or a filter behind the host in the URL");
  for (size_t i = 0; i < s->topics.len; i++) {
    if (!roam_topic_filter_valid(bytes_of(s->topics.at[i])))
      return roam_tool_usage("sub", "-t: '%s' is not a topic filter; # stands last and + and # fill a level",
                             s->topics.at[i]);
  }
  const char *wrong = s->format ? roam_format_error(s->format) : NULL;
  return wrong ? roam_tool_usage("sub", "%s", wrong) : 0;
}

int cmd_sub(int argc, char **argv) {
  static const roam_dial_ops ops = {on_connected, on_event, work};
  struct sub s = {.dial = {.command = "sub"}};
  roam_opt rows[ROAM_DIAL_OPTS_MAX + 16] = {
      {.kind = ROAM_OPT_HEADING, .help = "What"},
      {"topic", 't', ROAM_OPT_LIST, "FILTER", "what to subscribe to (repeatable; or behind the host in the URL)",
       &s.topics},
      {"filter-out", 'T', ROAM_OPT_LIST, "FILTER", "do not print messages on these topics (repeatable)", &s.without},
      {"qos", 'q', ROAM_OPT_UINT, "QOS", "highest QoS wanted: 0, 1 or 2 (0)", &s.qos, 0, 2},
      {NULL, 'C', ROAM_OPT_UINT, "N", "end after so many messages", &s.count, 1, 0},
      {"verbose", 'v', ROAM_OPT_FLAG, NULL, "print the topic before the payload", &s.verbose},
      {NULL, 'F', ROAM_OPT_STRING, "FORMAT", "print like this: %t %p %x %l %q %r %m %d %%", &s.format},
      {NULL, 'N', ROAM_OPT_FLAG, NULL, "no newline behind each message", &s.no_newline},
      {NULL, 'R', ROAM_OPT_FLAG, NULL, "no messages that were retained before", &s.no_retained},
  };
  size_t own = 9, len = own + roam_dial_options_init(&s.dial.o, rows + own);
  const roam_opts opts = {"sub",
                          "[options] [URL]",
                          "Subscribes to topics of an MQTT server over QUIC or TCP and prints what arrives.",
                          "Examples:\n  roamqtt sub mqtt-quic://localhost/room/# -v --cafile ca.pem\n"
                          "  roamqtt sub -h localhost -t count -q 1 -C 1000\n"
                          "A lost connection is made again for ever, or as long as --give-up-after says.",
                          rows,
                          len};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  code = settle(&s, rest - 1, argv);
  if (!code) code = roam_dial_run(&s.dial, &ops, &s);
  fflush(stdout);
  return code;
}
