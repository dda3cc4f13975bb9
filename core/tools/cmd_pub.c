/* cmd_pub.c - `roamqtt pub`: publishes one message, a file, or each line of stdin, and ends when the server has all of it.
 * It reads no faster than the client takes: a full queue stops stdin. */
#include "dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD_MAX ((size_t)256 << 20)
#define LINE_MAX_BYTES ((size_t)4 << 20)

struct pub {
  roam_dial dial;
  const char *topic, *message, *file;
  bool whole_stdin, lines, null, retain;
  uint64_t qos, repeat, delay_ns;
  uint8_t *payload; /* the one message, or the buffer of lines */
  size_t len, used; /* lines: bytes in the buffer, and how many of them are dealt with */
  size_t cap;
  uint64_t left; /* how often the one message is still to be published */
  roam_time next;
  bool blocked, eof, watching, pollable;
  uint64_t sent, done; /* QoS 1 and 2: publishes given to the client, and finished ones */
};

static int complain_publish(struct pub *p, roam_rc rc) {
  if (rc == ROAM_E_ARGUMENT) {
    return roam_tool_usage("pub", "-t: '%s' is not a topic to publish to; it has 1 to 65535 bytes of UTF-8 and no + or #",
                           p->topic);
  }
  return roam_tool_fail("pub", ROAM_EXIT_PUBLISH, "cannot publish to %s: %s", p->topic, roam_strerror(rc));
}

/* True: taken. */
static bool publish(struct pub *p, roam_time now, const uint8_t *bytes, size_t len) {
  roam_client_message m = {.topic = {(const uint8_t *)p->topic, strlen(p->topic)},
                           .payload = {bytes, len},
                           .qos = (uint8_t)p->qos,
                           .retain = p->retain};
  roam_rc rc = roam_client_publish(p->dial.client, now, &m, NULL);
  if (rc == 0) {
    if (p->qos) p->sent++;
    return true;
  }
  p->blocked = rc == ROAM_E_BLOCKED;
  if (!p->blocked) roam_dial_finish(&p->dial, now, complain_publish(p, rc));
  return false;
}

static roam_time repeat_message(struct pub *p, roam_time now) {
  while (p->left && !p->blocked && !p->dial.closing_at) {
    if (p->next > now) return p->next;
    if (!publish(p, now, p->payload, p->len)) break;
    p->left--;
    p->next = now + p->delay_ns;
  }
  return ROAM_NEVER;
}

/* ---- lines of stdin -------------------------------------------------------------------------------------------------- */

/* Publishes every whole line in the buffer, and at the end of stdin the last one without a newline too. */
static void publish_lines(struct pub *p, roam_time now) {
  while (!p->blocked && !p->dial.closing_at && p->used < p->len) {
    const uint8_t *line = p->payload + p->used, *end = memchr(line, '\n', p->len - p->used);
    size_t len = end ? (size_t)(end - line) : p->len - p->used;
    if (!end && !p->eof) break;
    if (!publish(p, now, line, len)) return;
    p->used += len + (end != NULL);
  }
}

static void read_some(struct pub *p, roam_time now) {
  memmove(p->payload, p->payload + p->used, p->len - p->used);
  p->len -= p->used;
  p->used = 0;
  if (p->len == p->cap) {
    roam_dial_finish(&p->dial, now,
                     roam_tool_usage("pub", "-l: a line is longer than %zu bytes; use -s for large payloads", p->cap));
    return;
  }
  ssize_t n = read(STDIN_FILENO, p->payload + p->len, p->cap - p->len);
  if (n > 0) p->len += (size_t)n;
  else if (n == 0) p->eof = true;
  else if (errno != EAGAIN && errno != EINTR)
    roam_dial_finish(&p->dial, now, roam_tool_fail("pub", ROAM_EXIT_USAGE, "cannot read stdin: %s", strerror(errno)));
}

static roam_time on_stdin(void *context, roam_time now) {
  struct pub *p = context;
  read_some(p, now);
  publish_lines(p, now);
  return ROAM_NEVER;
}

/* Stdin is in the loop only while its lines can be taken; what cannot be polled (a file) is read right here. */
static void watch_stdin(struct pub *p, bool wanted) {
  if (wanted == p->watching || !p->pollable) return;
  if (!wanted) {
    roam_loop_remove_fd(p->dial.loop, STDIN_FILENO);
  } else if (roam_loop_add_fd(p->dial.loop, STDIN_FILENO, on_stdin, p)) {
    p->pollable = false;
    return;
  }
  p->watching = wanted;
}

static void send_lines(struct pub *p, roam_time now) {
  publish_lines(p, now);
  watch_stdin(p, !p->blocked && !p->eof);
  while (!p->pollable && !p->blocked && !p->eof && !p->dial.closing_at) {
    read_some(p, now);
    publish_lines(p, now);
  }
}

/* ---- the three calls of the turn
 * ----------------------------------------------------------------------------------------- */

static bool is_done(const struct pub *p) {
  if (p->lines ? !p->eof || p->used < p->len : p->left > 0) return false;
  if (p->qos) return p->done >= p->sent;
  roam_client_stats stats = roam_client_get_stats(p->dial.client);
  return stats.queued == 0;
}

static roam_time work(void *context, roam_time now) {
  struct pub *p = context;
  roam_time next = ROAM_NEVER;
  if (p->lines) send_lines(p, now);
  else next = repeat_message(p, now);
  if (!p->dial.closing_at && p->dial.connected && is_done(p)) roam_dial_finish(&p->dial, now, ROAM_EXIT_OK);
  return next;
}

static void on_connected(void *context, roam_time now) { ((struct pub *)context)->next = now; }

static void on_event(void *context, roam_time now, const roam_event *ev) {
  struct pub *p = context;
  if (ev->kind == ROAM_EV_WRITABLE) p->blocked = false;
  if (ev->kind != ROAM_EV_PUBLISHED) return;
  p->done++;
  if (ev->reason >= 0x80 || ev->rc) {
    roam_dial_finish(&p->dial, now,
                     roam_tool_fail("pub", ROAM_EXIT_PUBLISH, "the server refused a publish to %s: %s", p->topic,
                                    ev->reason >= 0x80 ? roam_reason_text(ev->reason) : roam_strerror(ev->rc)));
  }
}

/* ---- setting up ------------------------------------------------------------------------------------------------------ */

static int take_payload(struct pub *p) {
  char why[ROAM_WHY_MAX];
  int sources = !!p->message + !!p->file + p->whole_stdin + p->lines + p->null;
  if (sources != 1) return roam_tool_usage("pub", "say what to publish with one of -m TEXT, -f FILE, -s, -l and -n");
  p->left = p->repeat;
  if (p->lines) {
    p->cap = LINE_MAX_BYTES;
    p->payload = malloc(p->cap);
    return p->payload ? 0 : roam_tool_fail("pub", ROAM_EXIT_USAGE, "out of memory");
  }
  if (p->file || p->whole_stdin) {
    roam_rc rc = roam_file_read(p->file ? p->file : "-", PAYLOAD_MAX, &p->payload, &p->len, why);
    return rc ? roam_tool_usage("pub", "%s: %s", p->file ? "-f" : "-s", why) : 0;
  }
  p->len = p->message ? strlen(p->message) : 0;
  p->payload = malloc(p->len + 1);
  if (!p->payload) return roam_tool_fail("pub", ROAM_EXIT_USAGE, "out of memory");
  if (p->len) memcpy(p->payload, p->message, p->len);
  return 0;
}

static int settle(struct pub *p, int operands, char **argv) {
  if (operands > 1) return roam_tool_usage("pub", "one URL at most; '%s' is left over", argv[2]);
  int code = roam_dial_settle(&p->dial, operands ? argv[1] : NULL);
  if (code) return code;
  if (p->topic && p->dial.topic[0]) return roam_tool_usage("pub", "the topic stands in the URL and in -t; give it once");
  if (!p->topic) p->topic = p->dial.topic;
  if (!p->topic[0]) return roam_tool_usage("pub", "say where to publish: -t TOPIC, or a topic behind the host in the URL");
  if (!roam_topic_valid((roam_bytes){(const uint8_t *)p->topic, strlen(p->topic)}))
    return complain_publish(p, ROAM_E_ARGUMENT);
  return take_payload(p);
}

int cmd_pub(int argc, char **argv) {
  static const roam_dial_ops ops = {on_connected, on_event, work};
  struct pub p = {.dial = {.command = "pub"}, .repeat = 1, .pollable = true};
  roam_opt rows[ROAM_DIAL_OPTS_MAX + 16] = {
      {.kind = ROAM_OPT_HEADING, .help = "What"},
      {"topic", 't', ROAM_OPT_STRING, "TOPIC", "where to publish (or behind the host in the URL)", &p.topic},
      {"message", 'm', ROAM_OPT_STRING, "TEXT", "publish this text", &p.message},
      {"file", 'f', ROAM_OPT_STRING, "FILE", "publish a file as one message", &p.file},
      {"stdin-file", 's', ROAM_OPT_FLAG, NULL, "publish stdin as one message", &p.whole_stdin},
      {"stdin-line", 'l', ROAM_OPT_FLAG, NULL, "publish each line of stdin", &p.lines},
      {"null-message", 'n', ROAM_OPT_FLAG, NULL, "publish an empty message", &p.null},
      {"qos", 'q', ROAM_OPT_UINT, "QOS", "0, 1 or 2 (0)", &p.qos, 0, 2},
      {"retain", 'r', ROAM_OPT_FLAG, NULL, "the server keeps the message for later subscribers", &p.retain},
      {"max-inflight", 'M', ROAM_OPT_UINT, "N", "unacknowledged QoS 1 and 2 messages at once (1024; before MQTT 5: 20)",
       &p.dial.o.inflight_max, 1, 65535},
      {"repeat", 0, ROAM_OPT_UINT, "N", "publish the message so often (1)", &p.repeat, 1, 0},
      {"repeat-delay", 0, ROAM_OPT_SECONDS, "TIME", "with so much time between (0)", &p.delay_ns, 0, 0},
  };
  size_t own = 12, len = own + roam_dial_options_init(&p.dial.o, rows + own);
  p.dial.o.give_up_ns = 30 * ROAM_S;
  const roam_opts opts = {"pub",
                          "[options] [URL]",
                          "Publishes to an MQTT server over QUIC or TCP and ends when it has everything.",
                          "Examples:\n  roamqtt pub mqtt-quic://localhost/room/t -m 21.5 --cafile ca.pem -q 1\n"
                          "  seq 1000 | roamqtt pub -h localhost -t count -l -q 1\n"
                          "A lost connection is made again; after 30 s without one (--give-up-after) the exit code is 5.",
                          rows,
                          len};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  code = settle(&p, rest - 1, argv);
  p.dial.queue_bytes_min = p.len + (1 << 20);
  if (!code) code = roam_dial_run(&p.dial, &ops, &p);
  free(p.payload);
  return code;
}
