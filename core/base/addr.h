/* addr.h - what the layers do with addresses beyond base.h. */
#ifndef ROAM_BASE_ADDR_H
#define ROAM_BASE_ADDR_H

#include <roamqtt/base.h>

static inline roam_addr roam_addr_with_port(roam_addr addr, uint16_t port) {
  addr.port = port;
  return addr;
}

#endif
