/* cmd_broker.h - the running broker of `roamqtt broker`, shared by the three files that make it: cmd_broker.c (options,
 * start, stop), broker_listen.c (listeners) and broker_tell.c (lines for people). */
#ifndef ROAM_CMD_BROKER_H
#define ROAM_CMD_BROKER_H

#include "broker_limits.h"
#include "identity.h"
#include "keep.h"
#include "options.h"

#include <roamqtt/broker.h>
#include <roamqtt/loop.h>

#define ROAM_LISTENERS_MAX 32

struct roam_listener {
  roam_transport_kind transport;
  roam_addr addr;
  uint64_t number;
  bool optional; /* a default that this machine may lack */
};

struct roam_broker_run {
  /* as given */
  roam_opt_list tcp, quic;
  const char *certificate_file, *key_file, *ca_file;
  bool anonymous, require_client, retry, stay, quiet, debug;
  roam_limits limits;
  const char *secret_file, *keylog_file, *qlog_folder, *congestion;
  roam_opt_list preferred;
  bool no_early_data;
  /* as made */
  uint8_t secret[32];
  roam_keep_tap tap;
  struct roam_listener listeners[ROAM_LISTENERS_MAX];
  size_t listeners_len, settled;
  uint8_t *certificate, *key, *ca;
  roam_identity identity;
  bool throwaway;
  char ca_path[ROAM_PATH_MAX];
  roam_broker *broker;
  roam_loop *loop;
  int signals;
  roam_time stopping_at;
  bool over, colour;
  int code;
};

/* Reads --tcp and --quic, or the defaults, into listeners. 0 or an exit code, said. */
int roam_listeners_settle(struct roam_broker_run *b);
/* Does one of them need a certificate? */
bool roam_listeners_quic(const struct roam_broker_run *b);
int roam_listeners_open(struct roam_broker_run *b, roam_time now);
/* ROAM_EV_LISTENING and ROAM_EV_LISTEN_FAILED; the last one prints what to try and "ready". */
void roam_listeners_event(struct roam_broker_run *b, const roam_event *ev);

/* One line on stderr about a client that came, went or moved. */
void roam_tell_event(const struct roam_broker_run *b, const roam_event *ev);
void roam_tell_farewell(const struct roam_broker_run *b);
/* A roam_log sink. */
void roam_tell_log(void *context, roam_time at, roam_level level, const char *line);

#endif
