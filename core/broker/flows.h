/* flows.h - MQTT-next as the broker speaks it: flows of a session, which outlive the streams under them. */
#ifndef ROAM_BROKER_FLOWS_H
#define ROAM_BROKER_FLOWS_H

#include <roamqtt/mqtt.h>

#include "base/heap.h"

struct roam_broker;
struct roam_peer;
struct roam_peer_lane;
struct roam_record;

#define ROAM_FLOW_REFUSALS 16 /* flow ids without state that are remembered for each connection */

/* A flow of a session. While a stream carries it, it does not expire. */
struct roam_flow {
  struct roam_heap_node due; /* broker.flows */
  struct roam_record *record;
  uint64_t id;
  uint32_t slot; /* its lane in the session */
  uint32_t expire_s;
  uint8_t flags;
};

struct roam_flows {
  struct roam_flow **list;
  uint32_t len, cap;
};

/* The control stream's header. False: it is not there yet, or the connection has been ended. */
bool roam_flows_greet(struct roam_broker *b, struct roam_peer *p);
/* The header of a data stream. False: it is not there yet, or the lane has been given up. */
bool roam_flows_open(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l);
/* A stream has ended: gracefully, with its state discarded (level 1), or to be recovered (level 2). */
enum roam_flow_end {
  ROAM_FLOW_END_GRACEFUL,
  ROAM_FLOW_END_DISCARD,
  ROAM_FLOW_END_KEEP
};
void roam_flows_lost(struct roam_broker *b, struct roam_record *r, uint32_t slot, enum roam_flow_end how);
struct roam_flow *roam_flows_by_slot(const struct roam_record *r, uint32_t slot);
void roam_flows_tick(struct roam_broker *b);
void roam_flows_forget(struct roam_broker *b, struct roam_record *r); /* the session has ended */

#endif
