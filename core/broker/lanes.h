/* lanes.h - the data streams of a connection, beside its control stream. */
#ifndef ROAM_BROKER_LANES_H
#define ROAM_BROKER_LANES_H

#include <roamqtt/mqtt.h>

#include "transport/transport.h"

struct roam_broker;
struct roam_peer;
struct roam_record;

#define ROAM_LANES_PER_PEER 63u /* what a session has beside lane 0 */
/* Who subscribes is a lane of a session: its number of 48 bits, and the lane's above. */
#define ROAM_SUBSCRIBER_BITS 48
#define ROAM_SUBSCRIBER(number, lane) ((uint64_t)(lane) << ROAM_SUBSCRIBER_BITS | (number))
#define ROAM_SUBSCRIBER_SESSION(subscriber) ((subscriber) & ((UINT64_C(1) << ROAM_SUBSCRIBER_BITS) - 1))
#define ROAM_SUBSCRIBER_LANE(subscriber) ((uint32_t)((subscriber) >> ROAM_SUBSCRIBER_BITS))

/* A stream that the peer has opened. slot is its lane in the session, 0 = not known yet (the flow's header is awaited). */
struct roam_peer_lane {
  uint32_t stream, slot;
  bool fin;            /* the peer has ended its half */
  bool gone;           /* it was aborted, by the peer */
  bool failed;         /* to be aborted by us, with code */
  bool ended;          /* our half has been ended too */
  bool ours, finished; /* opened by us; our half has been ended first */
  uint8_t end;         /* failed: enum roam_flow_end */
  uint64_t code;
  roam_time header_by; /* the flow's header must be here by then */
};

/* What the transport says of a stream other than 0. */
void roam_lanes_opened(struct roam_broker *b, struct roam_peer *p, uint32_t stream);
void roam_lanes_ended(struct roam_broker *b, struct roam_peer *p, const roam_te *te);
/* Reads, writes and ends lanes. True: more may be read at once. The peer may have left when it returns. */
bool roam_lanes_visit(struct roam_broker *b, struct roam_peer *p);
/* The session has given a lane up. */
void roam_lanes_fault(struct roam_broker *b, struct roam_peer *p, uint32_t slot, const roam_fault *fault);
/* Gives a lane up with this code. how: enum roam_flow_end. rc 0: nothing to complain about. */
void roam_lanes_abort(struct roam_broker *b, struct roam_peer *p, struct roam_peer_lane *l, int how, uint8_t code,
                      roam_rc rc, const char *text);
struct roam_peer_lane *roam_lanes_by_slot(const struct roam_peer *p, uint32_t slot);
uint32_t roam_lanes_free_slot(const struct roam_record *r); /* 0: none */
bool roam_lanes_reserve(struct roam_peer *p);               /* room for one more in its table */
void roam_lanes_forget_slot(struct roam_broker *b, struct roam_record *r, uint32_t slot);
void roam_lanes_due(struct roam_broker *b, struct roam_peer *p); /* flows whose header has not come in time */
roam_time roam_lanes_deadline(const struct roam_peer *p);
/* May a request that came on this lane still be served? */
bool roam_lanes_alive(const struct roam_peer *p, uint32_t slot);
/* The session's queue is full: the data lane that holds most of it is given up at once. False: it is the control lane. */
bool roam_lanes_sacrifice(struct roam_broker *b, struct roam_record *r);
/* The connection is gone, or the session joins another: what depends on streams ends with them. */
void roam_lanes_left(struct roam_broker *b, struct roam_record *r, struct roam_peer *p);
void roam_lanes_free(struct roam_peer *p);
uint32_t roam_lanes_count(const struct roam_peer *p);
uint32_t roam_lanes_subscriptions(const struct roam_broker *b, uint64_t number); /* of all lanes of a session */

/* Datagrams that have arrived. True: there may be more. */
bool roam_lanes_read_datagrams(struct roam_broker *b, struct roam_peer *p);
/* Sends a QoS 0 message in a datagram; false: it does not fit, or the peer takes none, or too many wait. */
bool roam_lanes_write_datagram(struct roam_broker *b, struct roam_peer *p, const roam_message *message,
                               const roam_publish_how *how);

#endif
