/* world_rig.h - the suite's rig in a simulated world: two hosts, 10 ms apart, virtual time. */
#ifndef WORLD_RIG_H
#define WORLD_RIG_H

#include <roamqtt/sim.h>

#include "conformance/transport_suite.h"

struct world_rig {
  struct rig rig; /* first */
  roam_world *world;
  roam_host *dialer, *listener;
  roam_addr listener_ip;
};

static inline bool world_rig_run(struct rig *r, uint64_t max_ns, bool (*done)(void *), void *context) {
  struct world_rig *me = (struct world_rig *)r;
  roam_time end = roam_world_now(me->world) + max_ns;
  bool held = false;
  while (!(held = done(context)) && roam_world_now(me->world) < end)
    if (roam_world_run(me->world, roam_world_now(me->world) + 5 * ROAM_MS) != 0) abort();
  r->dialer->now = r->listener->now = roam_world_now(me->world);
  return held;
}

static inline void world_rig_end(struct rig *r) {
  struct world_rig *me = (struct world_rig *)r;
  roam_world_free(me->world);
  suite_side_free(r->dialer);
  suite_side_free(r->listener);
  free(me);
}

static inline void world_rig_kill(struct rig *r) {
  roam_host_stop(((struct world_rig *)r)->listener, side_machine(r->listener));
}

static inline void world_rig_silence(struct rig *r) {
  struct world_rig *me = (struct world_rig *)r;
  roam_host_set_up(me->listener, &me->listener_ip, false, false);
}

static inline roam_host *world_rig_host(struct world_rig *me, const char *name, const char *ip, roam_addr *addr) {
  roam_host *host = roam_world_host(me->world, name);
  roam_addr_parse(ip, addr);
  roam_delay_options d;
  roam_delay_options_init(&d);
  d.delay_ns = 5 * ROAM_MS;
  if (roam_host_address(host, "eth0", addr) != 0 ||
      roam_host_hop(host, addr, roam_delay_new(&d, roam_world_random(me->world))) != 0)
    abort();
  return host;
}

static inline struct rig *world_rig_begin(roam_transport_kind kind, const struct rig_how *how) {
  struct world_rig *me = calloc(1, sizeof *me);
  roam_transport_options o;
  roam_addr dialer_ip;
  me->world = roam_world_new(NULL);
  if (!me->world) abort();
  me->rig = (struct rig){.kind = kind,
                         .run = world_rig_run,
                         .end = world_rig_end,
                         .kill_listener = world_rig_kill,
                         .go_silent = world_rig_silence,
                         .no_icmp = true};
  me->listener = world_rig_host(me, "listener", "10.0.0.1", &me->listener_ip);
  me->dialer = world_rig_host(me, "dialer", "10.0.0.2", &dialer_ip);
  me->rig.address = me->listener_ip;
  suite_options_fill(&o, true, roam_world_random(me->world), roam_world_now(me->world));
  if (how && how->listener) how->listener(&o);
  me->rig.listener = suite_side_new(kind, &o);
  suite_options_fill(&o, false, roam_world_random(me->world), roam_world_now(me->world));
  if (how && how->dialer) how->dialer(&o);
  me->rig.dialer = suite_side_new(kind, &o);
  if (roam_host_run(me->listener, side_machine(me->rig.listener), NULL, NULL) != 0) abort();
  if (roam_host_run(me->dialer, side_machine(me->rig.dialer), NULL, NULL) != 0) abort();
  return &me->rig;
}

#endif
