/* lanes.h - the client's data streams: which lane a packet takes, and the streams that carry them; and those that a server
 * opens (pushed.c). */
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
  uint32_t weight; /* 0: as it comes */
  bool known;      /* MQTT-next: the server may have its flow's state */
  roam_time opened_at;
  bool theirs;     /* for flows of the server's; what follows is of one */
  uint64_t pushed; /* its number, 0: none now */
  uint8_t flags;   /* of its header */
  uint32_t expire_s;
  roam_time expire_at; /* without a stream; ROAM_NEVER */
};

#define ROAM_CLIENT_PENDING 32
#define ROAM_CLIENT_REFUSALS 16

/* A stream of the server's whose header is awaited. */
struct roam_client_pending {
  uint32_t stream;
  roam_time header_by;
  bool fin, gone; /* the server has ended its half; has given it up */
};

struct roam_lanes {
  struct roam_client_lane *slots; /* lane n is slots[n - 1] */
  uint32_t len, cap;
  uint32_t opened;                     /* streams, on this connection */
  struct roam_client_pending *pending; /* ROAM_CLIENT_PENDING of them, made when first needed */
  uint32_t pending_len;
  uint64_t refusals[ROAM_CLIENT_REFUSALS]; /* server flows recovered on this connection, of which there was nothing */
  uint32_t refusals_len;
};

struct roam_client_choice {
  bool subscribes;
  roam_bytes topic; /* or filter */
  uint8_t qos;
  uint32_t lane; /* the application's wish */
};

/* The lane of the session for this; made when new. 0 = the control lane, also when there cannot be another. */
uint32_t roam_lanes_choose(roam_client *c, const struct roam_client_choice *what);
roam_rc roam_lanes_weigh(roam_client *c, uint32_t lane, uint32_t weight); /* lane: the application's */
/* Opens, reads, writes and ends the streams. True: something moved. */
bool roam_lanes_pump(roam_client *c);
void roam_lanes_on_event(roam_client *c, const roam_te *te); /* the end of a stream other than 0 */
void roam_lanes_on_fault(roam_client *c, uint32_t lane, const roam_fault *fault);
void roam_lanes_settle_polled(roam_client *c); /* bytes nobody needs any more go back */
/* CONNACK has come. True: what the server knew of data lanes it may still know, flow by flow. */
bool roam_lanes_connected(roam_client *c, bool session_present);
/* MQTT-next: the first bytes of a stream; lane 0 is the control stream. */
roam_rc roam_lanes_write_header(roam_client *c, uint32_t lane);
void roam_lanes_detached(roam_client *c); /* the connection is over; the session is still attached */
void roam_lanes_reset(struct roam_lanes *lanes);
uint32_t roam_lanes_open(const roam_client *c); /* how many streams */

/* shared by lanes.c and pushed.c */
struct roam_client_lane *roam_lanes_at(const roam_client *c, uint32_t lane); /* NULL: lane 0, or none */
struct roam_client_lane *roam_lanes_new(roam_client *c);                     /* the last one; NULL: no memory */
roam_bytes roam_lanes_unread(const roam_client *c, const struct roam_client_lane *l);
bool roam_lanes_read(roam_client *c, uint32_t lane); /* true: something moved */
bool roam_lanes_write(roam_client *c, uint32_t lane);
bool roam_lanes_may_end(const roam_client *c, uint32_t lane); /* does nobody need its bytes any more? */
void roam_lanes_forget_stream(struct roam_client_lane *l);
void roam_lanes_tell_lost(roam_client *c, uint32_t lane, const struct roam_client_lane *l, uint64_t unsettled);
bool roam_lanes_outlive_connection(const roam_client *c);

/* pushed.c: the server's flows (MQTT-next) */
uint32_t roam_pushed_max(const roam_client *c); /* how many it may have */
void roam_pushed_opened(roam_client *c, uint32_t stream);
bool roam_pushed_on_event(roam_client *c, const roam_te *te); /* false: not of a stream whose header is awaited */
bool roam_pushed_pump(roam_client *c);
void roam_pushed_detached(roam_client *c);
void roam_pushed_lost(roam_client *c); /* the session, or MQTT-next, is no more */
void roam_pushed_tick(roam_client *c);
roam_time roam_pushed_deadline(const roam_client *c);
uint32_t roam_pushed_count(const roam_client *c); /* with a stream */

#endif
