/* history.h - the addresses a client had, and how often it moved. */
#ifndef ROAM_BROKER_HISTORY_H
#define ROAM_BROKER_HISTORY_H

#include <roamqtt/broker.h>

#include "base/ring.h"

struct roam_history {
  struct roam_ring changes; /* roam_address_change, oldest first */
  uint32_t moves, connects;
  roam_addr now, at_connect;
};

void roam_history_init(struct roam_history *h, uint32_t max);
void roam_history_reset(struct roam_history *h);
void roam_history_connected(struct roam_history *h, roam_time at, const roam_addr *address);
void roam_history_moved(struct roam_history *h, roam_time at, const roam_addr *address);
size_t roam_history_read(const struct roam_history *h, roam_address_change out[], size_t n); /* oldest first */

#endif
