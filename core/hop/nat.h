/* nat.h - what the simulated world must know of a NAT hop beyond the public calls. */
#ifndef ROAM_HOP_NAT_H
#define ROAM_HOP_NAT_H

#include <roamqtt/hop.h>

/* The public address of a NAT hop, NULL for every other hop. */
const roam_addr *roam_nat_address(const roam_hop *hop);

#endif
