/* loop_rig.h - the suite's rig over real sockets on loopback, driven by a loop in real time. */
#ifndef LOOP_RIG_H
#define LOOP_RIG_H

#include <roamqtt/loop.h>

#include "conformance/transport_suite.h"

struct loop_rig {
  struct rig rig; /* first */
  roam_loop *loop;
};

static inline bool loop_rig_run(struct rig *r, uint64_t max_ns, bool (*done)(void *), void *context) {
  struct loop_rig *me = (struct loop_rig *)r;
  roam_time end = roam_loop_now(me->loop) + max_ns;
  bool held = false;
  while (!(held = done(context)) && roam_loop_now(me->loop) < end)
    if (roam_loop_step(me->loop, 20 * ROAM_MS) < 0) abort();
  r->dialer->now = r->listener->now = roam_loop_now(me->loop);
  return held;
}

static inline void loop_rig_end(struct rig *r) {
  struct loop_rig *me = (struct loop_rig *)r;
  roam_loop_free(me->loop);
  suite_side_free(r->dialer);
  suite_side_free(r->listener);
  free(me);
}

static inline void loop_rig_kill(struct rig *r) {
  roam_loop_remove(((struct loop_rig *)r)->loop, side_machine(r->listener));
}

static inline struct rig *loop_rig_begin(roam_transport_kind kind, const struct rig_how *how) {
  struct loop_rig *me = calloc(1, sizeof *me);
  roam_transport_options o;
  me->loop = roam_loop_new(NULL);
  if (!me->loop) abort();
  me->rig = (struct rig){.kind = kind, .run = loop_rig_run, .end = loop_rig_end, .kill_listener = loop_rig_kill};
  roam_addr_parse("127.0.0.1", &me->rig.address);
  suite_options_fill(&o, true, roam_random_system(), roam_loop_now(me->loop));
  if (how && how->listener) how->listener(&o);
  me->rig.listener = suite_side_new(kind, &o);
  suite_options_fill(&o, false, roam_random_system(), roam_loop_now(me->loop));
  if (how && how->dialer) how->dialer(&o);
  me->rig.dialer = suite_side_new(kind, &o);
  if (roam_loop_add(me->loop, side_machine(me->rig.listener), NULL, NULL) != 0) abort();
  if (roam_loop_add(me->loop, side_machine(me->rig.dialer), NULL, NULL) != 0) abort();
  return &me->rig;
}

#endif
