/* addr.h - addresses as the layers below the public headers use them: built from parts, hashed, ordered. */
#ifndef ROAM_BASE_ADDR_H
#define ROAM_BASE_ADDR_H

#include <roamqtt/base.h>

/* ip is 4 bytes for family 4, 16 for family 6, in network byte order; ignored for family 0. Unused bytes become zero. */
roam_addr roam_addr_from_parts(uint8_t family, const void *ip, uint16_t port, uint32_t scope);
uint64_t roam_addr_hash(const roam_addr *addr, uint64_t seed);
/* <0, 0, >0: family, address, scope, port. */
int roam_addr_compare(const roam_addr *a, const roam_addr *b);

static inline roam_addr roam_addr_with_port(roam_addr addr, uint16_t port) {
  addr.port = port;
  return addr;
}

#endif
