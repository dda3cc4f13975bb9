/* lanes.h - the client's data streams: which lane a packet takes, and the streams that carry them. */
#ifndef ROAM_CLIENT_LANES_H
#define ROAM_CLIENT_LANES_H

#include <roamqtt/client.h>

#include "transport/transport.h"

#define ROAM_CLIENT_LANES_MAX 63u /* what a session has beside lane 0 */

/* A lane of the session and the stream under it. It is there from its first use on; the stream comes and goes. */
struct roam_client_lane {
  uint64_t key;
  uint32_t stream;
  uint8_t failures; /* streams in a row that lived less than a second */
  bool single;      /* one message for each stream */
  bool open;        /* there is a stream */
  bool fin, gone;   /* the server has ended its half; it or the session has given the stream up */
  bool merged;      /* no stream is to be had on this connection: the control stream carries it */
  uint64_t consumed, fed, code;
  uint64_t flow; /* MQTT-next: the number of its flow */
  roam_time opened_at;
};

struct roam_lanes {
  struct roam_client_lane *slots; /* lane n is slots[n - 1] */
  uint32_t len, cap;
  uint32_t opened; /* streams, on this connection */
};

struct roam_client_choice {
  bool subscribes;
  roam_bytes topic; /* or filter */
  uint8_t qos;
  uint32_t lane; /* the application's wish */
};

/* The lane of the session for this; made when new. 0 = the control lane, also when there cannot be another. */
uint32_t roam_lanes_choose(roam_client *c, const struct roam_client_choice *what);
/* Opens, reads, writes and ends the streams. True: something moved. */
bool roam_lanes_pump(roam_client *c);
void roam_lanes_on_event(roam_client *c, const roam_te *te); /* the end of a stream other than 0 */
void roam_lanes_on_fault(roam_client *c, uint32_t lane, const roam_fault *fault);
void roam_lanes_settle_polled(roam_client *c); /* bytes nobody needs any more go back */
void roam_lanes_detached(roam_client *c);      /* the connection is over; the session is still attached */
void roam_lanes_reset(struct roam_lanes *lanes);
uint32_t roam_lanes_open(const roam_client *c); /* how many streams */

#endif
