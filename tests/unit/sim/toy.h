/* toy.h - a small machine for the tests of the world: it sends what it is told, echoes when asked to, and remembers what it
 * saw. */
#ifndef TEST_TOY_H
#define TEST_TOY_H

#include <roamqtt/event.h>
#include <roamqtt/sim.h>
#include <stdlib.h>
#include <string.h>

enum {
  TOY_UNITS = 64,
  TOY_BYTES = 1 << 16
};

struct toy {
  roam_time now, deadline;
  roam_wire out[TOY_UNITS]; /* what will be drained */
  size_t out_n;
  uint8_t echo_bytes[TOY_UNITS][2048];
  bool echo;         /* datagrams and bytes go back where they came from */
  bool greedy;       /* takes bytes without granting credit anew */
  unsigned seen[32]; /* units fed, by kind */
  unsigned feeds, ticks, drains;
  roam_wire last[32]; /* the last of each kind; data not kept */
  roam_time last_at[32];
  uint8_t bytes[TOY_BYTES]; /* the last TOY_BYTES fed as DATA, or the last datagram */
  size_t bytes_n;
  uint64_t bytes_total, sum; /* all DATA bytes; order-dependent sum of them */
  unsigned events;           /* how many events to report */
};

static inline roam_wire *toy_say(struct toy *t, roam_wire unit) {
  if (t->out_n == TOY_UNITS) abort();
  t->out[t->out_n] = unit;
  return &t->out[t->out_n++];
}

static inline void toy_return(struct toy *t, const roam_wire *in) {
  roam_wire back = *in;
  if (t->out_n == TOY_UNITS || in->len > sizeof t->echo_bytes[0]) abort();
  memcpy(t->echo_bytes[t->out_n], in->data, in->len);
  back.data = t->echo_bytes[t->out_n];
  toy_say(t, back);
}

static inline void toy_take_bytes(struct toy *t, const roam_wire *in) {
  for (size_t i = 0; i < in->len; i++) t->sum = t->sum * 31 + in->data[i];
  t->bytes_total += in->len;
  t->bytes_n = in->len < TOY_BYTES ? in->len : TOY_BYTES;
  memcpy(t->bytes, in->data, t->bytes_n);
}

static inline void toy_feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  struct toy *t = self;
  t->now = now;
  t->feeds++;
  for (size_t i = 0; i < n; i++) {
    t->seen[in[i].kind]++;
    t->last[in[i].kind] = in[i];
    t->last_at[in[i].kind] = now;
    bool carries = in[i].kind == ROAM_WIRE_DATAGRAM || in[i].kind == ROAM_WIRE_DATA;
    if (carries && in[i].len > 0) toy_take_bytes(t, &in[i]);
    if (carries && t->echo) toy_return(t, &in[i]);
    if (in[i].kind == ROAM_WIRE_DATA && !t->greedy) {
      toy_say(t, (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = in[i].handle, .credit = in[i].len});
    }
  }
}

static inline void toy_tick(void *self, roam_time now) {
  struct toy *t = self;
  t->now = now;
  t->ticks++;
  if (t->deadline <= now) t->deadline = ROAM_NEVER;
}

static inline size_t toy_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  struct toy *t = self;
  t->now = now;
  t->drains++;
  if (t->out_n == 0) return 0;
  if (n < t->out_n) abort();
  memcpy(out, t->out, t->out_n * sizeof *out);
  n = t->out_n;
  t->out_n = 0;
  return n;
}

static inline size_t toy_poll(void *self, roam_event ev[], size_t n) {
  struct toy *t = self;
  size_t got = 0;
  for (; t->events > 0 && got < n; t->events--)
    ev[got++] = (roam_event){.kind = ROAM_EV_PUBLISHED, .token = t->events, .at = t->now};
  return got;
}

static inline roam_time toy_deadline(const void *self) { return ((const struct toy *)self)->deadline; }

static inline struct toy *toy_new(void) {
  struct toy *t = calloc(1, sizeof *t);
  t->deadline = ROAM_NEVER;
  return t;
}

static inline roam_machine toy_machine(struct toy *t) {
  static const roam_machine_ops ops = {toy_feed, toy_tick, toy_drain, toy_poll, toy_deadline};
  return (roam_machine){&ops, t, NULL};
}

#endif
