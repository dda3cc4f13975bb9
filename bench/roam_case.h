/* roam_case.h - one row of the roaming table: a subscriber, a broker that publishes to it at a steady pace, and one thing
 * that happens to the network between them. Measured is the longest pause in delivery.
 *
 * In the world the links, the NAT and the time are simulated and the answer is exact; on sockets the relay is the NAT and
 * gives the round trip, everything on loopback in one process. */
#ifndef ROAM_BENCH_ROAM_CASE_H
#define ROAM_BENCH_ROAM_CASE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum roam_case_kind {
  CASE_STEADY,      /* nothing happens */
  CASE_REBIND,      /* the NAT changes its public address while data flows */
  CASE_PROBE,       /* migrate by command, both networks alive */
  CASE_IMMEDIATE,   /* migrate at once, both networks alive */
  CASE_DEAD_LINK,   /* the network in use goes down, the machine knows: the client moves by itself */
  CASE_RETURN,      /* back by command to the network it came from */
  CASE_AUTO_RETURN, /* the preferred network comes back: the client moves by itself */
  CASE_SILENT,      /* the NAT rebinds a subscriber that hears nothing; a message comes right after */
  CASE_SILENT_SIGN, /* the same, and the machine wakes from suspend, or an address changes */
  CASE_TCP_REBIND,  /* the same as REBIND over TCP, with reconnect: for comparison */
  CASE_KINDS
} roam_case_kind;

struct roam_case {
  roam_case_kind kind;
  uint64_t rtt_ns, interval_ns;
  bool sockets;
  unsigned phases; /* repeated with the event at so many points within an interval; the worst counts */
};

struct roam_case_result {
  bool ran, ok;         /* ok: within the bound, nothing lost, no reconnect */
  uint64_t gap_ns;      /* the worst */
  uint64_t bound_ns;    /* what the issue allows; 0 = nothing is promised */
  uint64_t lower_ns;    /* what no protocol can beat */
  double lower_rtts;
  unsigned lost, reconnects;
  char text[160];
};

const char *roam_case_name(roam_case_kind kind);
bool roam_case_on_sockets(roam_case_kind kind); /* can it be done without a second interface? */
void roam_case_run(const struct roam_case *c, struct roam_case_result *r);

#endif
