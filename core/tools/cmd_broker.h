/* cmd_broker.h - the running broker of `roamqtt broker`, shared by the files that make it: cmd_broker.c (start, stop,
 * reload), broker_options.c, broker_certificates.c, broker_access.c (files), broker_listen.c (listeners), broker_crew.c
 * (workers) and broker_tell.c (lines for people). */
#ifndef ROAM_CMD_BROKER_H
#define ROAM_CMD_BROKER_H

#include "broker_crew.h"
#include "broker_limits.h"
#include "config.h"
#include "identity.h"
#include "keep.h"
#include "options.h"
#include "tell.h"

#include <roamqtt/broker.h>
#include <roamqtt/loop.h>

#define ROAM_LISTENERS_MAX 32

struct roam_listener {
  roam_transport_kind transport;
  roam_addr addr;
  uint64_t number;
  bool optional;     /* a default that this machine may lack */
  bool shared;       /* optional, and another listener may have taken it already */
  bool local;        /* a Unix socket */
  char name[108];    /* path or "fd:3", see roam_broker_listen_name; or empty */
  const char *given; /* the value it comes from; or NULL */
  bool open;
};

struct roam_broker_run {
  bool asked_help;
  /* as given */
  int argc;
  char **argv;
  const char *config_path, *check_path;
  roam_opt_list tcp, quic, tls, ws, wss, unix_paths;
  roam_opt_list certificate_files, key_files; /* of the same number belong together; the first are the default */
  const char *ca_file, *ws_path, *ws_origins, *log_level, *log_format, *drain_to;
  bool anonymous, require_client, request_client, retry, stay, quiet, debug, drain_for_good;
  uint64_t unix_mode, drain_over_ns;
  roam_limits limits;
  const char *store_path, *store_sync;
  const char *secret_file, *keylog_file, *qlog_folder, *congestion;
  uint64_t key_update_bytes, datagram_bytes_max;
  roam_opt_list preferred;
  bool no_early_data;
  const char *assigned;
  /* as made */
  uint8_t secret[32];
  roam_keep_tap tap;
  roam_config config;
  roam_level level;
  bool json;
  struct roam_listener listeners[ROAM_LISTENERS_MAX];
  size_t listeners_len, settled;
  uint8_t *certificate, *key, *ca, *more; /* more: certificate, key, certificate, key... */
  size_t more_len;
  roam_identity identity;
  bool throwaway;
  char ca_path[ROAM_PATH_MAX];
  roam_broker *broker;
  roam_loop *loop;
  roam_store *store;
  roam_store_sync sync;
  int signals;
  roam_time stopping_at, trimmed_at;
  unsigned departures; /* since trimmed_at */
  bool over, colour;
  int code;
  /* access: as given, then as read */
  const char *password_file, *acl_file;
  bool subject_as_user;
  uint8_t *passwords, *acl;
  uint64_t workers; /* 0: as if 1 */
  bool encrypt_ids;
  struct roam_crew crew;
};

/* What a worker tells: a loop's sink. */
void roam_broker_take_events(void *context, const roam_event ev[], size_t n);

/* File and command line into what is "as given". 0 or an exit code, said. */
int roam_broker_options_take(struct roam_broker_run *b);
/* Everything that can be judged without opening anything: into o, whose PEM lies in b. */
int roam_broker_options_settle(struct roam_broker_run *b, roam_broker_options *o);

/* Reads --cert, --key and --ca; or makes a certificate for the names this machine has. 0 or an exit code, said. */
int roam_certificates_read(struct roam_broker_run *b, roam_tls_config *tls);
int roam_certificates_make(struct roam_broker_run *b, roam_tls_config *tls);

/* A complaint about something that may stand in the configuration file: then with file and line. ROAM_EXIT_USAGE. */
int roam_broker_complain_of(const struct roam_broker_run *b, const char *sentence);
/* A complaint about a value, with the line of the file it stands on, if it does. ROAM_EXIT_USAGE. */
int roam_broker_complain(const struct roam_broker_run *b, const char *value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads --password-file and --acl-file into the options, which borrow them. 0 or an exit code, said. */
int roam_files_read(struct roam_broker_run *b, roam_broker_options *o);
/* What has been read and checked, to the running broker. */
void roam_files_hand_over(struct roam_broker_run *b, const roam_broker_options *o);
void roam_files_free(struct roam_broker_run *b);

/* Reads --tcp and the others, or the defaults, into listeners. 0 or an exit code, said. */
int roam_listeners_settle(struct roam_broker_run *b);
/* Does one of them need a certificate? */
bool roam_listeners_secure(const struct roam_broker_run *b);
int roam_listeners_open(struct roam_broker_run *b, roam_time now);
/* Would the broker that was made take them? Opens nothing. */
int roam_listeners_check(struct roam_broker_run *b);
/* ROAM_EV_LISTENING and ROAM_EV_LISTEN_FAILED; the last one prints what to try and "ready". */
void roam_listeners_event(struct roam_broker_run *b, const roam_event *ev);
void roam_listeners_refused(struct roam_broker_run *b, const roam_event *ev); /* another worker's LISTEN_FAILED */
void roam_listeners_ready(struct roam_broker_run *b);

/* One line on stderr about a client that came, went or moved. */
void roam_tell_event(const struct roam_broker_run *b, const roam_event *ev);
void roam_tell_farewell(const struct roam_broker_run *b);
/* A line of the tool's own, and the sink of the broker's log (roam_log.record; context: the run). */
void roam_tell_line(const struct roam_broker_run *b, roam_level level, const char *line);
void roam_tell_log(void *context, roam_time at, roam_level level, const char *line, const char *name,
                   const roam_log_field fields[], size_t n);
/* For the loops, which are there before the level is known. */
roam_log roam_tell_loop_log(struct roam_broker_run *b);

#endif
