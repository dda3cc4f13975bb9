/* ping.h - how often to ping, learned from how long a NAT's mapping lives. Pure arithmetic.
 *
 * What is seen of a NAT: a silence of so long ended with our ping, and afterwards the server told that our address had
 * changed, or it did not. The interval grows by a quarter after three silences survived, until a silence was not; then the
 * truth lies between the longest survived and the shortest not, and the interval closes in on it from below. What was not
 * survived is forgotten after twenty that were: perhaps it was not the silence's fault. Bounded by min_ns and max_ns. */
#ifndef ROAM_CLIENT_PING_H
#define ROAM_CLIENT_PING_H

#include <stdbool.h>
#include <stdint.h>

struct roam_ping {
  uint64_t interval_ns, min_ns, max_ns; /* interval 0: no pings, nothing is learned */
  uint64_t safe_ns, broken_ns;          /* longest silence survived, shortest not; 0 = none yet */
  uint32_t calm;                        /* silences survived in a row at this interval */
};

/* min_ns, max_ns: 0 = a third of start_ns, and one and two thirds of it. */
void roam_ping_init(struct roam_ping *p, uint64_t start_ns, uint64_t min_ns, uint64_t max_ns);
/* A silence of so long is over; rebound: the mapping had not lived through it. True when the interval has changed. */
bool roam_ping_learn(struct roam_ping *p, uint64_t silence_ns, bool rebound);

#endif
