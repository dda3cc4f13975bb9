/* glue_rig.h - the suite's rig over the glue: in memory, in virtual time. */
#ifndef GLUE_RIG_H
#define GLUE_RIG_H

#include "conformance/glue.h"
#include "conformance/transport_suite.h"

struct glue_rig {
  struct rig rig; /* first */
  struct glue *g;
  struct roam_rng dialer_rng, listener_rng;
  bool silent;
};

static inline bool glue_rig_run(struct rig *r, uint64_t max_ns, bool (*done)(void *), void *context) {
  struct glue_rig *me = (struct glue_rig *)r;
  bool held = glue_run_until(me->g, me->g->now + max_ns, done, context);
  r->dialer->now = r->listener->now = me->g->now;
  return held;
}

static inline void glue_rig_end(struct rig *r) {
  struct glue_rig *me = (struct glue_rig *)r;
  suite_side_free(r->dialer);
  suite_side_free(r->listener);
  glue_free(me->g);
  free(me);
}

static inline bool glue_rig_swallow(struct glue *g, roam_wire *unit, uint8_t *bytes, size_t *len) {
  (void)g, (void)unit, (void)bytes, (void)len;
  return false;
}

static inline void glue_rig_silence(struct rig *r) {
  struct glue *g = ((struct glue_rig *)r)->g;
  g->out = glue_rig_swallow;
  g->silent_tcp = true;
}

/* Node 0 is the listener's: its sockets vanish; its byte connections are reset, as a kernel does for a process that died.
 */
static inline void glue_rig_kill(struct rig *r) {
  struct glue *g = ((struct glue_rig *)r)->g;
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (g->socket[i].node == 0) g->socket[i].used = false;
  for (size_t i = 0; i < GLUE_PIPES; i++)
    for (int end = 0; end < 2; end++)
      if (g->pipe[i].used && g->pipe[i].end[end].node == 0)
        glue_to_peer(g, 0,
                     &(roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = g->pipe[i].end[end].handle, .how = ROAM_CLOSE_RESET});
}

static inline struct rig *glue_rig_begin(roam_transport_kind kind, const struct rig_how *how) {
  struct glue_rig *me = calloc(1, sizeof *me);
  roam_transport_options o;
  me->g = glue_new(7, 10 * ROAM_MS);
  me->g->refuse = true;
  roam_rng_init(&me->dialer_rng, 1);
  roam_rng_init(&me->listener_rng, 2);
  me->rig = (struct rig){.kind = kind,
                         .run = glue_rig_run,
                         .end = glue_rig_end,
                         .kill_listener = glue_rig_kill,
                         .go_silent = glue_rig_silence};
  roam_addr_parse("10.0.0.1", &me->rig.address);
  suite_options_fill(&o, true, &me->listener_rng.random, me->g->now);
  if (how && how->listener) how->listener(&o);
  me->rig.listener = suite_side_new(kind, &o);
  suite_options_fill(&o, false, &me->dialer_rng.random, me->g->now);
  if (how && how->dialer) how->dialer(&o);
  me->rig.dialer = suite_side_new(kind, &o);
  glue_add(me->g, side_machine(me->rig.listener), "10.0.0.1");
  glue_add(me->g, side_machine(me->rig.dialer), "10.0.0.2");
  return &me->rig;
}

#endif
