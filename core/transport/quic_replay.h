/* quic_replay.h - which first flights have been seen. A server takes early data only once: GnuTLS names each attempt by its
 * binder, and this table remembers the names for as long as the window in which an attempt may arrive.
 *
 * Bounded: when it is full, early data is refused (the connection goes on without it) and nothing is forgotten early. */
#ifndef ROAM_TRANSPORT_QUIC_REPLAY_H
#define ROAM_TRANSPORT_QUIC_REPLAY_H

#include <gnutls/gnutls.h>

#include "base/list.h"
#include "base/map.h"

struct roam_replay {
  gnutls_anti_replay_t handle;
  struct roam_map seen;               /* binder -> struct seen */
  struct roam_list order;             /* of struct seen, the first to go first */
  uint64_t keep_ns;                   /* the window and some, for clocks that are set back */
  const roam_time *now;               /* the endpoint's */
  uint32_t workers, worker;           /* above 1: this is one part of the record, by hash */
  uint64_t repeated, full, elsewhere; /* refused */
};

/* What is older than this call is refused from then on: a restarted server knows nothing of what its predecessor saw. */
roam_rc roam_replay_init(struct roam_replay *r, uint64_t window_ns, uint32_t keys_max, roam_random *random,
                         const roam_time *now);
void roam_replay_reset(struct roam_replay *r);

#endif
