/* toy.h - a machine whose outgoing units a test writes down beforehand and whose incoming ones it reads afterwards. */
#ifndef ROAM_TEST_TOY_H
#define ROAM_TEST_TOY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <roamqtt/loop.h>

enum {
  TOY_OUT_MAX = 1024,
  TOY_SEEN_MAX = 8192
};

struct toy_seen {
  roam_wire unit; /* pointers are not valid */
  uint8_t first, last;
};

struct toy {
  roam_wire out[TOY_OUT_MAX];
  size_t out_head, out_count;
  struct toy_seen seen[TOY_SEEN_MAX];
  size_t seen_count;
  uint64_t bytes_in, datagrams_in, ticks, drains, feeds, addresses;
  bool echo;          /* datagrams go back where they came from */
  bool check_pattern; /* DATA must be the bytes 0, 1, .. 250, 0, .. of the whole stream */
  bool wrong;
  roam_time at; /* deadline; set to never by the tick */
  uint8_t *copies[TOY_OUT_MAX];
  uint64_t events_left, events_made;
};

static inline roam_wire *toy_put(struct toy *t, roam_wire_kind kind, uint32_t handle) {
  assert_true(t->out_count < TOY_OUT_MAX);
  roam_wire *unit = &t->out[t->out_count++];
  *unit = (roam_wire){.kind = (uint8_t)kind, .handle = handle};
  return unit;
}

static inline void toy_echo(struct toy *t, const roam_wire *in) {
  if (t->out_count == TOY_OUT_MAX) return;
  size_t i = t->out_count++;
  t->copies[i] = malloc(in->len + 1);
  memcpy(t->copies[i], in->data, in->len);
  t->out[i] = *in;
  t->out[i].data = t->copies[i];
}

static inline void toy_feed(void *self, roam_time now, const roam_wire in[], size_t n) {
  struct toy *t = self;
  (void)now;
  t->feeds++;
  for (size_t i = 0; i < n; i++) {
    if (in[i].kind == ROAM_WIRE_ADDR) { /* whatever this machine has */
      t->addresses++;
      continue;
    }
    bool bytes = in[i].kind == ROAM_WIRE_DATA || in[i].kind == ROAM_WIRE_DATAGRAM;
    for (size_t k = 0; bytes && t->check_pattern && k < in[i].len; k++)
      t->wrong |= in[i].data[k] != (t->bytes_in + k) % 251;
    if (bytes) t->bytes_in += in[i].len;
    if (in[i].kind == ROAM_WIRE_DATAGRAM)
      t->datagrams_in += in[i].segment == 0 ? 1 : (in[i].len + in[i].segment - 1) / in[i].segment;
    if (t->seen_count < TOY_SEEN_MAX) {
      struct toy_seen *seen = &t->seen[t->seen_count++];
      seen->unit = in[i];
      if (bytes && in[i].len > 0) {
        seen->first = in[i].data[0];
        seen->last = in[i].data[in[i].len - 1];
      }
    }
    if (t->echo && in[i].kind == ROAM_WIRE_DATAGRAM) toy_echo(t, &in[i]);
  }
}

static inline void toy_tick(void *self, roam_time now) {
  struct toy *t = self;
  t->ticks++;
  if (now >= t->at) t->at = ROAM_NEVER;
}

static inline size_t toy_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  struct toy *t = self;
  (void)now;
  t->drains++;
  size_t i = 0;
  while (i < n && t->out_head < t->out_count) out[i++] = t->out[t->out_head++];
  if (i == 0) {
    for (size_t k = 0; k < t->out_count; k++) {
      free(t->copies[k]);
      t->copies[k] = NULL;
    }
    t->out_head = t->out_count = 0;
  }
  return i;
}

static inline size_t toy_poll(void *self, struct roam_event ev[], size_t n) {
  struct toy *t = self;
  size_t i = 0;
  for (; i < n && t->events_left > 0; i++, t->events_left--)
    ev[i] = (roam_event){.kind = ROAM_EV_WRITABLE, .token = t->events_made++};
  return i;
}

static inline roam_time toy_deadline(const void *self) { return ((const struct toy *)self)->at; }

static const roam_machine_ops toy_ops = {toy_feed, toy_tick, toy_drain, toy_poll, toy_deadline};

static inline struct toy *toy_new(void) {
  struct toy *t = calloc(1, sizeof *t);
  assert_non_null(t);
  t->at = ROAM_NEVER;
  return t;
}

static inline void toy_free(struct toy *t) {
  for (size_t k = 0; k < TOY_OUT_MAX; k++) free(t->copies[k]);
  free(t);
}

static inline roam_machine toy_machine(struct toy *t) { return (roam_machine){&toy_ops, t, NULL}; }

/* The first unit of this kind from number `from` on, or NULL. */
static inline struct toy_seen *toy_find(struct toy *t, roam_wire_kind kind, size_t from) {
  for (size_t i = from; i < t->seen_count; i++) {
    if (t->seen[i].unit.kind == kind) return &t->seen[i];
  }
  return NULL;
}

static inline size_t toy_count(const struct toy *t, roam_wire_kind kind) {
  size_t n = 0;
  for (size_t i = 0; i < t->seen_count; i++) n += t->seen[i].unit.kind == kind;
  return n;
}

static inline roam_addr toy_addr(const char *text) {
  roam_addr addr;
  assert_int_equal(roam_addr_parse(text, &addr), 0);
  return addr;
}

/* Steps until the condition holds; a bound in turns, each of which waits at most 10 ms, so a failure ends. */
#define TOY_UNTIL(loop, condition)                                                                                         \
  do {                                                                                                                     \
    for (int toy_turn = 0; toy_turn < 2000 && !(condition); toy_turn++)                                                    \
      assert_true(roam_loop_step(loop, 10 * ROAM_MS) >= 0);                                                                \
    assert_true(condition);                                                                                                \
  } while (0)
/* Steps until nothing happens any more. */
#define TOY_QUIET(loop)                                                                                                    \
  do {                                                                                                                     \
    for (int toy_turn = 0; toy_turn < 2000 && roam_loop_step(loop, 20 * ROAM_MS) == 1; toy_turn++) continue;               \
  } while (0)

#endif
