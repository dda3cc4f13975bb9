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

/* A flow of a session. While a stream carries it, it does not expire. filter: the flow is ours (push.c), and lasts as long
 * as the session. */
struct roam_flow {
  struct roam_heap_node due; /* broker.flows */
  struct roam_record *record;
  uint64_t id;
  uint32_t slot; /* its lane in the session */
  uint32_t expire_s;
  uint8_t flags;
  bool kept; /* written to the store */
  bool one_way;
  roam_blob *filter; /* NULL: the client's */
  roam_time opened_at;
  uint32_t tries; /* streams in a row that did not live */
  uint8_t qos;
  bool by_option, wanted; /* assigned by the option, which still says so */
  bool opened;            /* the client may have its state */
  bool refused;           /* not on this connection */
  bool ending;            /* withdrawn: it ends when all is said */
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
void roam_flows_lost(struct roam_broker *b, struct roam_record *r, uint32_t slot, enum roam_flow_end how, uint64_t code);
struct roam_flow *roam_flows_by_id(const struct roam_record *r, uint64_t id);
struct roam_flow *roam_flows_add(struct roam_broker *b, struct roam_record *r, uint64_t id, roam_rc *rc);
void roam_flows_discard(struct roam_broker *b, struct roam_flow *flow); /* it and all that is its own */
unsigned roam_flow_rules(const struct roam_flow *flow);                 /* roam_lane_rule, for its lane */
struct roam_flow *roam_flows_by_slot(const struct roam_record *r, uint32_t slot);
void roam_flows_tick(struct roam_broker *b);
void roam_flows_forget(struct roam_broker *b, struct roam_record *r); /* the session has ended */

/* push.c: the broker's own flows */
void roam_push_joined(struct roam_broker *b, struct roam_peer *p); /* somebody has joined the session */
void roam_push_open(struct roam_broker *b, struct roam_peer *p);   /* streams for those without one */
roam_rc roam_push_assign(struct roam_broker *b, struct roam_record *r, roam_bytes filter, uint8_t qos); /* LIMIT, MEMORY */
roam_rc roam_push_withdraw(struct roam_broker *b, struct roam_record *r, roam_bytes filter);            /* NOT_FOUND */
void roam_push_lost(struct roam_broker *b, struct roam_flow *flow, enum roam_flow_end how, uint64_t code);
bool roam_push_settle(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l); /* false: the peer left */

#endif
