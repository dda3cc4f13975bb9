/* sys.c - the broker's own figures as retained messages under $SYS/broker, every sys_interval_s; the names are those that
 * mosquitto made usual, and what is ours beside them. They go the way of every other message, at QoS 0: a session that is
 * away must not fill its queue with them. What has not changed is not said again; a new subscriber finds it retained.
 *
 * A load is a rate per minute, averaged over 1, 5 and 15 minutes by a filter of first order in whole numbers. Refuses to be
 * published to by clients. */
#include "broker/sys.h"

#include "base/version.h"
#include "broker/broker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "$SYS/broker/"
#define TOPIC_MAX 64

static const char *const figure_names[ROAM_SYS_FIGURES] = {
#define X(name, topic, value) topic,
    ROAM_SYS_FIGURE_MAP(X)
#undef X
};

/* A load's name, and the figure it is the rate of. */
static const struct {
  const char *name;
  uint8_t figure;
} loads[ROAM_SYS_LOADS] = {
    {"messages/received", ROAM_SYS_MESSAGES_RECEIVED},
    {"messages/sent", ROAM_SYS_MESSAGES_SENT},
    {"bytes/received", ROAM_SYS_BYTES_RECEIVED},
    {"bytes/sent", ROAM_SYS_BYTES_SENT},
    {"connections", ROAM_SYS_CONNECTIONS},
    {"moves", ROAM_SYS_MOVES},
};

static const struct {
  const char *name;
  uint32_t seconds;
} windows[ROAM_SYS_WINDOWS] = {{"1min", 60}, {"5min", 300}, {"15min", 900}};

bool roam_sys_owns(roam_bytes topic) {
  static const char own[] = "$SYS";
  size_t len = sizeof own - 1;
  return topic.len >= len && memcmp(topic.base, own, len) == 0 && (topic.len == len || topic.base[len] == '/');
}

/* What the other workers have reported last; what all of them have counts once. */
static void add_others(const roam_broker *b, uint64_t figures[ROAM_SYS_FIGURES]) {
  for (uint32_t w = 0; b->mail && w < b->mail->n; w++) {
    const roam_blob *report = b->mail->boxes[w].figures;
    uint64_t theirs[ROAM_SYS_FIGURES];
    if (!report || roam_blob_len(report) != sizeof theirs) continue;
    memcpy(theirs, roam_blob_data(b->mail->boxes[w].figures), sizeof theirs);
    for (size_t i = 0; i < ROAM_SYS_FIGURES; i++)
      if (i != ROAM_SYS_CLIENTS_MAXIMUM && i != ROAM_SYS_RETAINED) figures[i] += theirs[i];
  }
}

static void collect(roam_broker *b, uint64_t out[ROAM_SYS_FIGURES]) {
  roam_broker_stats s = roam_broker_get_stats(b);
  uint32_t connected = 0;
  ROAM_LIST_EACH(&b->order, node) connected += ROAM_CONTAINER(node, struct roam_record, order)->peer != NULL;
  uint64_t figures[ROAM_SYS_FIGURES] = {
#define X(name, topic, value) value,
      ROAM_SYS_FIGURE_MAP(X)
#undef X
  };
  add_others(b, figures);
  if (figures[ROAM_SYS_CLIENTS_CONNECTED] > b->sys.connected_most)
    b->sys.connected_most = (uint32_t)figures[ROAM_SYS_CLIENTS_CONNECTED];
  figures[ROAM_SYS_CLIENTS_MAXIMUM] = b->sys.connected_most;
  memcpy(out, figures, sizeof figures);
}

/* Worker 0 says it for all. */
static void report(roam_broker *b, const uint64_t figures[ROAM_SYS_FIGURES]) {
  roam_blob *text = roam_blob_new(figures, ROAM_SYS_FIGURES * sizeof figures[0]);
  if (text) roam_mail_post(b, 0, &(struct roam_letter){.kind = ROAM_LETTER_FIGURES, .text = text});
}

/* Without memory a figure is said the next time. */
static bool say(roam_broker *b, const char *name, const char *text) {
  char topic[TOPIC_MAX];
  roam_message message;
  size_t matched;
  int len = snprintf(topic, sizeof topic, PREFIX "%s", name);
  roam_bytes payload = {(const uint8_t *)text, strlen(text)};
  if (roam_message_make(&message, b->now, (roam_bytes){(const uint8_t *)topic, (size_t)len}, (roam_bytes){0}, payload, 0,
                        true) != 0)
    return false;
  roam_rc rc = roam_route(b, &message, 0, &matched);
  roam_blob_unref(message.blob);
  return rc == 0;
}

static void say_figures(roam_broker *b, const uint64_t now[ROAM_SYS_FIGURES]) {
  char text[32];
  for (size_t i = 0; i < ROAM_SYS_FIGURES; i++) {
    if (b->sys.said && now[i] == b->sys.figures[i]) continue;
    snprintf(text, sizeof text, "%" PRIu64, now[i]);
    say(b, figure_names[i], text);
  }
}

/* Thousandths, so that a message in an hour still shows; weights in seconds, so that no product comes near 64 bits. */
static void advance_loads(struct roam_sys *sys, const uint64_t now[ROAM_SYS_FIGURES], roam_time elapsed) {
  uint64_t elapsed_ms = elapsed / ROAM_MS, elapsed_s = (elapsed + ROAM_S / 2) / ROAM_S;
  if (elapsed_ms == 0) return;
  for (size_t i = 0; i < ROAM_SYS_LOADS; i++) {
    uint64_t before = sys->figures[loads[i].figure], is = now[loads[i].figure];
    uint64_t more = is > before ? is - before : 0; /* a session between two workers is counted by neither */
    uint64_t rate = more * 60000 / elapsed_ms * 1000;
    for (size_t w = 0; w < ROAM_SYS_WINDOWS; w++) {
      uint64_t window = windows[w].seconds;
      sys->load[i][w] = (sys->load[i][w] * window + rate * elapsed_s) / (window + elapsed_s);
    }
  }
}

static void say_loads(roam_broker *b) {
  char name[TOPIC_MAX - sizeof PREFIX], text[32];
  for (size_t i = 0; i < ROAM_SYS_LOADS; i++) {
    for (size_t w = 0; w < ROAM_SYS_WINDOWS; w++) {
      uint64_t hundredths = b->sys.load[i][w] / 10;
      if (b->sys.said && hundredths == b->sys.load_said[i][w]) continue;
      snprintf(name, sizeof name, "load/%s/%s", loads[i].name, windows[w].name);
      snprintf(text, sizeof text, "%" PRIu64 ".%02u", hundredths / 100, (unsigned)(hundredths % 100));
      if (say(b, name, text)) b->sys.load_said[i][w] = hundredths;
    }
  }
}

void roam_sys_begin(struct roam_broker *b) {
  b->sys = (struct roam_sys){.began = b->now, .last = b->now, .due = b->o.sys_interval_s > 0 ? b->now : ROAM_NEVER};
}

void roam_sys_tick(struct roam_broker *b) {
  struct roam_sys *sys = &b->sys;
  uint64_t now[ROAM_SYS_FIGURES];
  char text[48];
  if (sys->due > b->now || b->stopping) return;
  collect(b, now);
  if (b->mail && b->mail->self != 0) {
    report(b, now);
    sys->due = b->now + b->o.sys_interval_s * ROAM_S;
    return;
  }
  advance_loads(sys, now, b->now - sys->last);
  snprintf(text, sizeof text, "roamqtt %s", roam_version());
  if (!sys->said) say(b, "version", text);
  snprintf(text, sizeof text, "%" PRIu64 " seconds", (b->now - sys->began) / ROAM_S);
  say(b, "uptime", text);
  say_figures(b, now);
  say_loads(b);
  memcpy(sys->figures, now, sizeof now);
  sys->said = true;
  sys->last = b->now;
  sys->due = b->now + b->o.sys_interval_s * ROAM_S;
}
