/* load.h - a load run as one machine made of many clients: a schedule, its workers, and figures that can be checked.
 *
 * A run has rows; each row is one publisher and one subscriber of a topic of its own. The schedule is open loop: message k
 * of a row is offered at start + k / rate, connection up or not. Each payload carries its number and its intended send
 * time, so that the subscriber's side counts loss, duplicates and gaps by itself. Everything that happens goes into a
 * recording when one is given. */
#ifndef ROAMQTT_LOAD_H
#define ROAMQTT_LOAD_H

#include <roamqtt/client.h>
#include <roamqtt/record.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct roam_load roam_load;

typedef struct roam_load_row {
  const char *name;               /* "quic-passive": 1 to 47 letters, digits, '-', '_', '.' */
  roam_client_options publisher;  /* its client_id is the row's name + "-pub" when NULL */
  roam_client_options subscriber; /* likewise "-sub" */
} roam_load_row;

typedef struct roam_load_options {
  size_t size;
  uint32_t rate_per_s;      /* 50; 1..1000000; with the duration at most 100000000 messages for each row */
  uint64_t duration_ns;     /* 20 s */
  uint64_t settle_ns;       /* 3 s after the last offered message, then the run is over */
  uint64_t connect_wait_ns; /* 10 s: the schedule starts when all are connected and subscribed, or then fails */
  uint32_t payload_bytes;   /* 64; 16..1048576 */
  uint8_t qos;              /* 1; 0..2 */
  roam_log log;
} roam_load_options;
ROAM_API void roam_load_options_init(roam_load_options *o);

/* n: 1..4096. recorder: may be NULL; borrowed for the run's life. NULL with *rc (may be NULL): as roam_client_new; *why
 * (may be NULL) a sentence, static storage.
 *
 * What it records, time and row as in record.h: row {name, topic, publisher, subscriber}, start {rate_per_s, count,
 * payload_bytes, qos, last_ns, settle_ns}, offered {n, rc}, delivered {n, latency_ns}, duplicate {n}, corrupt {}, connected
 * and disconnected and closed {side, ...}, path-probing and path-migrated and path-failed {side, local, old_local, ...},
 * rate {second, published, received}, done {}. */
ROAM_API roam_load *roam_load_new(const roam_load_options *o, const roam_load_row rows[], size_t n, roam_recorder *recorder,
                                  roam_random *random, roam_rc *rc, const char **why);
ROAM_API void roam_load_free(roam_load *l);
/* Its events: RATE for each row and second; LOAD_DONE (rc and text when it could not start); and CONNECTED, DISCONNECTED,
 * CLOSED and PATH_... of the clients, with the row's name as id and token 0 for the publisher, 1 for the subscriber. At
 * most 4096 wait; beyond it the oldest are dropped. */
ROAM_API roam_machine roam_load_machine(roam_load *l);
ROAM_API roam_rc roam_load_start(roam_load *l, roam_time now);
/* The publisher of a row, for commands such as migrate; only between the driver's turns. NULL: no such row. */
ROAM_API roam_client *roam_load_publisher(roam_load *l, size_t row);
ROAM_API bool roam_load_running(const roam_load *l); /* the schedule has started and the run is not over */
ROAM_API bool roam_load_over(const roam_load *l);
ROAM_API roam_rc roam_load_error(const roam_load *l, const char **text); /* why it could not start */
ROAM_API roam_time roam_load_started(const roam_load *l);                /* when message 0 was offered; 0 before */

typedef struct roam_load_report {
  uint64_t published;  /* offered by the schedule */
  uint64_t received;   /* distinct */
  uint64_t lost;       /* published - received, at the end of settle */
  uint64_t duplicated; /* deliveries beyond the first */
  uint64_t gap_ns; /* longest time between two deliveries from the first to the last offered message; the ends count too */
  uint64_t reconnects; /* of both clients, beyond the first connect */
  uint64_t migrations;
  uint64_t latency_p50_ns, latency_p99_ns, latency_max_ns; /* from the intended send time to the first delivery */
  uint64_t refused; /* of published: the client could not take it (no connection and no queue, or a full one) */
  uint64_t corrupt; /* deliveries whose length, number, time or fill is not what was sent; not in received */
} roam_load_report;
ROAM_API roam_rc roam_load_get_report(const roam_load *l, size_t row, roam_load_report *out);

/* A log-linear histogram (2 significant digits, 1 ns to 584 years), mergeable. */
typedef struct roam_hist roam_hist;
ROAM_API roam_hist *roam_hist_new(void);
ROAM_API void roam_hist_free(roam_hist *h);
ROAM_API void roam_hist_add(roam_hist *h, uint64_t value);
ROAM_API void roam_hist_merge(roam_hist *into, const roam_hist *from);
ROAM_API uint64_t roam_hist_count(const roam_hist *h);
ROAM_API uint64_t roam_hist_quantile(const roam_hist *h, uint32_t ppm); /* 990000 = p99; 0 when empty */
ROAM_API uint64_t roam_hist_max(const roam_hist *h);

/* ---- a flood: how many messages get through ---------------------------------------------------------------------------
 */

/* A closed loop for throughput: each topic has one publisher and its receivers, all in this one machine. A publisher may be
 * `window` messages ahead of its slowest receiver, so that nothing piles up where it could be dropped; each receiver checks
 * number, order and every byte. After the warm-up messages are counted for duration_ns; then publishing ends and what is
 * under way must still arrive. */
typedef struct roam_flood roam_flood;

typedef struct roam_flood_options {
  size_t size;
  uint32_t topics;          /* 1; 1..1024 */
  uint32_t receivers;       /* 1; of each topic; topics * (1 + receivers) at most 65536 */
  uint32_t payload_bytes;   /* 64; 16..1048576 */
  uint8_t qos;              /* 0; 0..2 */
  uint32_t window;          /* 512; 1..65536 */
  uint32_t connecting_max;  /* 64: clients that connect at the same time */
  uint64_t messages;        /* UINT64_MAX: of each topic; publishing ends with them at the latest */
  uint64_t warmup_ns;       /* 500 ms */
  uint64_t duration_ns;     /* 3 s */
  uint64_t settle_ns;       /* 10 s: what has not arrived by then after the last message is lost */
  uint64_t connect_wait_ns; /* 60 s */
  bool datagrams; /* false; true: QoS 0 in QUIC datagrams both ways. What is lost or late is then only counted, and
                     publishing goes on past it */
} roam_flood_options;
ROAM_API void roam_flood_options_init(roam_flood_options *o);

/* client: what all clients have in common; their ids are made. NULL with *rc and *why (each may be NULL) as roam_load_new.
 */
ROAM_API roam_flood *roam_flood_new(const roam_flood_options *o, const roam_client_options *client, roam_random *random,
                                    roam_rc *rc, const char **why);
ROAM_API void roam_flood_free(roam_flood *f);
/* Its only event is LOAD_DONE (rc and text when the run is not valid). */
ROAM_API roam_machine roam_flood_machine(roam_flood *f);
ROAM_API roam_rc roam_flood_start(roam_flood *f, roam_time now);

typedef enum roam_flood_stage {
  ROAM_FLOOD_NEW,
  ROAM_FLOOD_CONNECTING,
  ROAM_FLOOD_WARMING,
  ROAM_FLOOD_COUNTING,
  ROAM_FLOOD_SETTLING,
  ROAM_FLOOD_OVER
} roam_flood_stage;
ROAM_API roam_flood_stage roam_flood_get_stage(const roam_flood *f);

typedef struct roam_flood_report {
  bool valid;
  const char *text;                                        /* why not; lives as long as the flood */
  uint64_t published;                                      /* from the start to the end */
  uint64_t counted;                                        /* deliveries while counting */
  uint64_t counted_ns;                                     /* how long that was */
  uint64_t lost, duplicated, disordered, corrupt;          /* deliveries, over the whole run */
  uint64_t latency_p50_ns, latency_p99_ns, latency_max_ns; /* of what was counted, from publish to the receiver */
} roam_flood_report;
ROAM_API void roam_flood_get_report(const roam_flood *f, roam_flood_report *out);

/* ---- idle connections: held, then all moved
 * ------------------------------------------------------------------------------
 */

/* Many clients that say nothing: they connect a few at a time and are held. On command all of them migrate to other local
 * addresses, spread evenly over move_over_ns; each then publishes one QoS 1 message, and only its acknowledgement counts as
 * arrived. QUIC only. */
typedef struct roam_hold roam_hold;

typedef struct roam_hold_options {
  size_t size;
  uint32_t clients;         /* 1000; 1..65536 */
  uint32_t connecting_max;  /* 64: clients that connect at the same time */
  uint64_t connect_wait_ns; /* 120 s */
  uint64_t move_over_ns;    /* 10 s: the last client is told to move that long after the first */
  uint64_t settle_ns;       /* 10 s: what is not acknowledged from its new address by then has not arrived */
} roam_hold_options;
ROAM_API void roam_hold_options_init(roam_hold_options *o);

/* client: what all have in common; their ids are made, and reconnect is off: a connection that ends is lost. NULL with *rc
 * and *why (each may be NULL) as roam_load_new. */
ROAM_API roam_hold *roam_hold_new(const roam_hold_options *o, const roam_client_options *client, roam_random *random,
                                  roam_rc *rc, const char **why);
ROAM_API void roam_hold_free(roam_hold *h);
/* Its only event is LOAD_DONE (rc and text when a client was lost). */
ROAM_API roam_machine roam_hold_machine(roam_hold *h);
ROAM_API roam_rc roam_hold_start(roam_hold *h, roam_time now);

typedef enum roam_hold_stage {
  ROAM_HOLD_NEW,
  ROAM_HOLD_CONNECTING,
  ROAM_HOLD_HELD,
  ROAM_HOLD_MOVING,
  ROAM_HOLD_OVER
} roam_hold_stage;
ROAM_API roam_hold_stage roam_hold_get_stage(const roam_hold *h);
/* Everybody moves: client i to to[i mod n], ports of the system's choice. n: 1..256. immediate as in roam_client_migrate.
 * ROAM_E_STATE: not HELD. May be given again once all have arrived and the stage is HELD again. ROAM_E_ARGUMENT: n. */
ROAM_API roam_rc roam_hold_move(roam_hold *h, roam_time now, const roam_addr to[], size_t n, bool immediate);
/* Ends the run: LOAD_DONE follows. */
ROAM_API void roam_hold_finish(roam_hold *h, roam_time now);

typedef struct roam_hold_report {
  const char *text;          /* the first thing that went wrong, or ""; lives as long as the hold */
  uint32_t connected;        /* connections there are */
  uint32_t lost;             /* connections that ended by themselves */
  uint32_t arrived, missing; /* of the last move: acknowledged from the new address; not within settle_ns */
  uint32_t failed;           /* migrations that could not be made, over all moves */
  uint64_t move_p50_ns, move_p99_ns, move_max_ns; /* from the command to the acknowledgement, over all moves */
} roam_hold_report;
ROAM_API void roam_hold_get_report(const roam_hold *h, roam_hold_report *out);

#ifdef __cplusplus
}
#endif
#endif
