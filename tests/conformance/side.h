/* side.h - one side of a test: a transport, what it has told, and a roam_machine so that a glue, a loop or a world can
 * drive it. */
#ifndef SIDE_H
#define SIDE_H

#include <roamqtt/wire.h>
#include <stdlib.h>
#include <string.h>

#include "transport/transport.h"

enum {
  SIDE_EVENTS = 4096
};

struct side;
typedef void (*side_handler)(struct side *s, const roam_te *ev);

struct side {
  roam_transport *t;
  roam_random *random;
  roam_time now;
  side_handler on_event; /* may give commands; after the record below was made */
  void *context;
  roam_te log[SIDE_EVENTS]; /* text points into texts */
  char texts[SIDE_EVENTS][128];
  size_t log_count;
  roam_conn *conn; /* the last dialled or accepted */
  uint32_t open_conns;
};

static inline void side_pump(struct side *s) {
  roam_te ev[32];
  size_t n;
  while ((n = roam_transport_poll(s->t, ev, 32)) > 0) {
    for (size_t i = 0; i < n; i++) {
      size_t at = s->log_count % SIDE_EVENTS;
      s->log[at] = ev[i];
      s->log[at].text = s->texts[at];
      s->texts[at][0] = '\0';
      if (ev[i].text) strncat(s->texts[at], ev[i].text, sizeof s->texts[at] - 1);
      s->log_count++;
      if (ev[i].kind == ROAM_TE_ACCEPTED) s->conn = ev[i].conn;
      if (ev[i].kind == ROAM_TE_OPENED) s->open_conns++;
      if (s->on_event) s->on_event(s, &ev[i]);
    }
  }
}

static inline void side_feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  struct side *s = self;
  s->now = now;
  roam_transport_feed(s->t, now, in, n);
  side_pump(s);
}

static inline void side_tick(void *self, roam_time now) {
  struct side *s = self;
  s->now = now;
  roam_transport_tick(s->t, now);
  side_pump(s);
}

static inline size_t side_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  struct side *s = self;
  s->now = now;
  side_pump(s);
  return roam_transport_drain(s->t, now, out, n);
}

static inline size_t side_poll(void *self, struct roam_event ev[], size_t n) {
  (void)ev, (void)n;
  side_pump(self);
  return 0;
}

static inline roam_time side_deadline(const void *self) {
  const struct side *s = self;
  return roam_transport_deadline(s->t);
}

static inline roam_machine side_machine(struct side *s) {
  static const roam_machine_ops ops = {side_feed, side_tick, side_drain, side_poll, side_deadline};
  return (roam_machine){&ops, s, s->random};
}

/* How often this kind was told, of the conn when it is not NULL. */
static inline size_t side_count(const struct side *s, roam_te_kind kind, const roam_conn *conn) {
  size_t count = 0;
  for (size_t i = 0; i < s->log_count && i < SIDE_EVENTS; i++)
    if (s->log[i].kind == kind && (!conn || s->log[i].conn == conn)) count++;
  return count;
}

/* The last of this kind, or NULL. */
static inline const roam_te *side_last(const struct side *s, roam_te_kind kind) {
  for (size_t i = s->log_count < SIDE_EVENTS ? s->log_count : SIDE_EVENTS; i > 0; i--)
    if (s->log[i - 1].kind == kind) return &s->log[i - 1];
  return NULL;
}

#endif
