/* dial.h - what pub and sub share: the options that say where and how to connect, and the turn of the loop around one
 * client. */
#ifndef ROAM_DIAL_H
#define ROAM_DIAL_H

#include "keep.h"
#include "options.h"
#include "tell.h"

#include <roamqtt/client.h>
#include <roamqtt/loop.h>

#define ROAM_DIAL_OPTS_MAX 80
#define ROAM_DIAL_MOVES_MAX 64
#define ROAM_DIAL_URL_MAX 512

/* As given on the command line; roam_dial_options_init sets the defaults. */
typedef struct roam_dial_options {
  const char *unix_path, *url, *host, *id, *user, *password, *version, *ca_file, *certificate_file, *key_file, *server_name;
  const char *will_topic, *will_payload;
  const char *lanes;
  bool flows, datagrams, bare_control;
  uint64_t inflight_max; /* 0: the client's default; 20 before MQTT 5, where no server says what it can take */
  uint64_t port, keep_alive_s, expiry_s, will_qos, will_delay_s;
  uint64_t timeout_ns, connect_timeout_ns, give_up_ns;
  uint64_t receive_maximum, topic_alias_maximum, maximum_packet_size;
  bool payload_format_check;
  const char *interfaces;
  uint64_t fallback_port, ping_ns;
  bool fallback, stay;
  bool quic, tls, ws, keep_session, insecure, will_retain, debug, quiet;
  roam_addr local;
  roam_opt_list moves;
  const char *auth_method;
  const char *fallback_url;
  const char *state_file, *keylog_file, *qlog_folder, *congestion;
  uint64_t key_update_bytes, datagram_bytes_max;
  bool no_early_data;
  const char *log_format;
  bool json;
} roam_dial_options;

/* Move at `after` (counted from the first CONNACK) to an address, or to an interface. */
typedef struct roam_dial_move {
  uint64_t after_ns;
  roam_addr local;
  const char *interface;
  bool immediate; /* the old network is dead: nothing is asked first */
  char where[64];
} roam_dial_move;

typedef struct roam_dial roam_dial;

typedef struct roam_dial_ops {
  /* After the first CONNACK only; the client itself keeps subscriptions and messages over reconnects. */
  void (*connected)(void *context, roam_time now);
  /* Every event, after the turn has dealt with its own part of it. */
  void (*event)(void *context, roam_time now, const roam_event *ev);
  /* Before each wait once connected: do what can be done; returns when to be called again at the latest. */
  roam_time (*work)(void *context, roam_time now);
} roam_dial_ops;

struct roam_dial {
  const char *command;
  roam_dial_options o;
  size_t queue_bytes_min;      /* the client's queue takes at least that much; 0 = the default */
  char url[ROAM_DIAL_URL_MAX]; /* scheme://host:port */
  bool quic, secure;
  char topic[ROAM_DIAL_URL_MAX]; /* what stood behind it, or "" */
  const roam_dial_ops *ops;
  void *context;
  roam_client *client;
  roam_loop *loop;
  int signals;
  roam_keep_tap tap;
  roam_dial_move moves[ROAM_DIAL_MOVES_MAX];
  size_t moves_len;
  uint64_t moves_done; /* bit i: move i has been asked for */
  roam_time started, connected_at, lost_since, closing_at;
  bool connected, over;
  int code;
};

/* Writes the shared rows of the option table behind the command's own; returns how many. */
size_t roam_dial_options_init(roam_dial_options *o, roam_opt rows[ROAM_DIAL_OPTS_MAX]);
int roam_dial_lanes(const char *word); /* a roam_lanes_strategy, -1: no such word */
/* Checks the options and settles url and topic. operand: a URL given as an operand, or NULL. 0 or an exit code, said. */
int roam_dial_settle(roam_dial *l, const char *operand);
/* Connects and runs until it is over; returns the exit code, said. */
int roam_dial_run(roam_dial *l, const roam_dial_ops *ops, void *context);
/* Ends the run: flush, DISCONNECT, close. The first code that is not 0 counts. */
void roam_dial_finish(roam_dial *l, roam_time now, int code);
/* A note for people on stderr, unless --quiet. */
void roam_dial_note(const roam_dial *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ROAM_EXPLAIN_MAX 768

/* One sentence with cause and remedy for why url could not be reached. */
void roam_explain_connect(char out[ROAM_EXPLAIN_MAX], const char *url, roam_rc rc, int reason, const char *text);

#endif
