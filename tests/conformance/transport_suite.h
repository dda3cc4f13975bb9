/* transport_suite.h - one suite of cases for every transport and every edge. A rig makes the two sides, moves their units
 * and time. */
#ifndef TRANSPORT_SUITE_H
#define TRANSPORT_SUITE_H

#include "conformance/side.h"

struct rig_how { /* what a case wants different; NULL = usual */
  void (*dialer)(roam_transport_options *o);
  void (*listener)(roam_transport_options *o);
};

struct rig {
  roam_transport_kind kind;
  struct side *dialer, *listener;
  roam_addr address; /* the listener's, once it listens; port 0 before means: any */
  /* Lets things happen until the condition holds (true) or that much time of the rig has passed (false). */
  bool (*run)(struct rig *r, uint64_t max_ns, bool (*done)(void *context), void *context);
  void (*end)(struct rig *r);
  /* The listener's process dies without a word. */
  void (*kill_listener)(struct rig *r);
  /* From now on nothing that is sent arrives; NULL when this rig cannot. */
  void (*go_silent)(struct rig *r);
  bool no_icmp; /* a datagram to nobody is answered by nothing */
};

/* Makes both sides; the suite listens and dials. */
typedef struct rig *(*rig_begin)(roam_transport_kind kind, const struct rig_how *how);

/* Runs all cases; returns the number that failed. label goes in front of their names. */
int transport_suite_run(const char *label, roam_transport_kind kind, rig_begin begin);

/* What rigs share: options with an identity for localhost and 127.0.0.1, and sides made of them. */
struct suite_identity;
const struct suite_identity *suite_identity_get(void);
void suite_options_fill(roam_transport_options *o, bool listener, roam_random *random, roam_time now);
struct side *suite_side_new(roam_transport_kind kind, const roam_transport_options *o);
void suite_side_free(struct side *s);

#endif
