/* networks.h - the networks this machine has, and which of them a client should stand on. Pure: facts and times go in, a
 * choice comes out; nothing here moves anything.
 *
 * A network is an address of an interface. Its cost comes from the application's list ("wlan0, wwan0:metered,
 * ppp*:cost=50") or, unlisted, from what its name says: wired before wireless before cellular; bridges and tunnels of
 * containers never. Hysteresis: a better network is taken only after it has stayed up for a while, and the while doubles
 * each time it flaps; one that a move failed on is left alone for a while that doubles with each failure. A network in
 * trouble is left at once for the best that is up, settled or not. */
#ifndef ROAM_CLIENT_NETWORKS_H
#define ROAM_CLIENT_NETWORKS_H

#include <roamqtt/base.h>

#include "client/ping.h"

#define ROAM_NETWORKS_MAX 16
#define ROAM_NETWORK_NAME_MAX 16
#define ROAM_NETWORK_METERED_COST 1000u /* added: a metered network only when no other works */
#define ROAM_NETWORK_NEVER UINT32_MAX

struct roam_network_wish {
  char name[ROAM_NETWORK_NAME_MAX];
  bool prefix; /* the name ended in '*' */
  bool metered;
  uint32_t cost;
};

struct roam_network {
  char name[ROAM_NETWORK_NAME_MAX];
  roam_addr addr; /* port 0 */
  bool up;
  uint32_t cost;
  roam_time up_at, down_at;
  uint32_t flaps;
  roam_time retry_at; /* no move to it earlier */
  uint32_t failures;
  struct roam_ping ping; /* what has been learned of its NAT */
  bool ping_known;
  roam_time udp_blocked_until; /* UDP did not get through here; 0 = nothing known */
  roam_time udp_blocked_next;  /* when a further failure doubles the while */
  uint64_t udp_blocked_ns;     /* the while */
};

struct roam_networks {
  struct roam_network list[ROAM_NETWORKS_MAX];
  size_t count;
  struct roam_network_wish wishes[ROAM_NETWORKS_MAX];
  size_t wishes_count;
  uint64_t settle_ns;
};

/* False: the text is not such a list. NULL or "" is an empty one. */
bool roam_networks_init(struct roam_networks *n, const char *wishes, uint64_t settle_ns);
/* An address came or went. Returns its network when that is news, else NULL. */
struct roam_network *roam_networks_note(struct roam_networks *n, roam_time now, const char *name, const roam_addr *addr,
                                        bool up);
struct roam_network *roam_networks_at(struct roam_networks *n, const roam_addr *addr);
/* The best network of the family (0: any) that is up, other than `current` (NULL: none). urgent: whatever may work now;
 * otherwise only one that is better than current and has settled. NULL: none. */
struct roam_network *roam_networks_best(struct roam_networks *n, roam_time now, uint8_t family,
                                        const struct roam_network *current, bool urgent);
/* When the answer of best() may change without news. */
roam_time roam_networks_due(const struct roam_networks *n, roam_time now, uint8_t family,
                            const struct roam_network *current, bool urgent);
void roam_networks_failed(struct roam_network *network, roam_time now);
void roam_networks_worked(struct roam_network *network);
/* UDP does not get through there: remembered for 60 s, doubled each time, at most 10 min. */
void roam_networks_udp_blocked(struct roam_network *network, roam_time now);
void roam_networks_udp_works(struct roam_network *network);

#endif
