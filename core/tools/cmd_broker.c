/* cmd_broker.c - `roamqtt broker`: the embedded broker on real sockets, with a line for every client that comes, goes or
 * moves. Without options it is for first steps: loopback only, with a certificate of its own making. */
#include "cmd_broker.h"

#include "systemd.h"

#include <errno.h>
#include <stdarg.h>
#ifdef __linux__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (1 << 20)
#define OWN_ROWS_MAX 32 /* in each half of the table */
#define ROAM_BROKER_OPTS_MAX (2 * OWN_ROWS_MAX + ROAM_LIMITS_OPTS_MAX)
#define CROWD 256
#define STOP_WAIT (4 * ROAM_S)

static void reload(struct roam_broker_run *b);

/* What a crowd needed goes back to the system when it has left; the allocator by itself keeps it. */
static void give_back_memory(struct roam_broker_run *b) {
  roam_time now = roam_loop_now(b->loop);
  if (b->departures < CROWD || now - b->trimmed_at < ROAM_S) return;
  b->departures = 0;
  b->trimmed_at = now;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void roam_broker_take_events(void *context, const roam_event ev[], size_t n) {
  struct roam_broker_run *b = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_STORE_FAILED && ev[i].rc != ROAM_E_NO_SPACE) {
      b->code = roam_tool_fail("broker", ROAM_EXIT_LOST, "%s; nothing acknowledged is lost", ev[i].text);
      b->over = true;
    }
    if (ev[i].kind == ROAM_EV_PEER_DISCONNECTED || ev[i].kind == ROAM_EV_PEER_REFUSED) b->departures++;
    if (ev[i].kind == ROAM_EV_LISTENING || ev[i].kind == ROAM_EV_LISTEN_FAILED) roam_listeners_event(b, &ev[i]);
    else roam_tell_event(b, &ev[i]);
  }
  if (b->departures >= CROWD) give_back_memory(b);
}

static roam_rc send_away(roam_broker *broker, roam_time now, void *context) {
  const struct roam_broker_run *b = context;
  uint8_t reason = b->drain_for_good ? ROAM_REASON_SERVER_MOVED : ROAM_REASON_USE_ANOTHER_SERVER;
  uint64_t over_ns = b->drain_over_ns ? b->drain_over_ns : 30 * ROAM_S;
  return roam_broker_send_away(broker, now, reason, b->drain_to, over_ns);
}

static roam_rc stop(roam_broker *broker, roam_time now, void *context) {
  (void)context;
  roam_broker_stop(broker, now);
  return 0;
}

static void drain(struct roam_broker_run *b) {
  if (!b->drain_to) roam_tell_line(b, ROAM_LOG_WARNING, "SIGUSR1: where to? start with --drain-to host[:port]");
  else if (roam_crew_each(b, send_away, b) == 0) roam_tell_line(b, ROAM_LOG_NOTICE, "sending all clients away");
}

static roam_time take_signal(void *context, roam_time now) {
  struct roam_broker_run *b = context;
  int number = roam_tool_signal_take(b->signals);
  if (!number) return ROAM_NEVER;
  if (number == SIGHUP) {
    if (!b->stopping_at) reload(b);
    return ROAM_NEVER;
  }
  if (number == SIGUSR1) {
    drain(b);
    return ROAM_NEVER;
  }
  if (!b->stopping_at) roam_systemd_tell("STOPPING=1");
  if (b->stopping_at) b->over = true;
  else roam_crew_each(b, stop, NULL);
  b->stopping_at = now;
  return ROAM_NEVER;
}

static void turn(struct roam_broker_run *b) {
  while (!b->over) {
    uint64_t wait = b->stopping_at ? 20 * ROAM_MS : ROAM_NEVER;
    if (roam_loop_step(b->loop, wait) < 0) {
      b->code = roam_tool_fail("broker", ROAM_EXIT_LOST, "the event loop failed: %s", strerror(errno));
      return;
    }
    if (!b->stopping_at) continue;
    roam_broker_stats stats = roam_crew_stats(b);
    bool quiet = stats.connections == 0 && stats.store_pending_bytes == 0;
    if (quiet || roam_loop_now(b->loop) - b->stopping_at > STOP_WAIT) b->over = true;
  }
}

/* ---- setting up ------------------------------------------------------------------------------------------------------ */

/* A complaint about something that may stand in the configuration file: then with file and line. */
static int complain(const struct roam_broker_run *b, const char *sentence) {
  unsigned line = b->config.path ? b->line_of(b, sentence) : 0;
  if (line) return roam_tool_usage("broker", "%s:%u: %s", b->config.path, line, sentence);
  return roam_tool_usage("broker", "%s", sentence);
}

int roam_broker_complain(const struct roam_broker_run *b, const char *value, const char *format, ...) {
  char sentence[1024];
  unsigned line = roam_config_line_at(&b->config, value);
  va_list args;
  va_start(args, format);
  vsnprintf(sentence, sizeof sentence, format, args);
  va_end(args);
  if (line) return roam_tool_usage("broker", "%s:%u: %s", b->config.path, line, sentence);
  return roam_tool_usage("broker", "%s", sentence);
}

static int read_pem(const struct roam_broker_run *b, const char *option, const char *path, uint8_t **at, roam_bytes *out) {
  char why[ROAM_WHY_MAX];
  size_t len;
  if (!path) return 0;
  free(*at);
  *at = NULL;
  if (roam_file_read(path, PEM_MAX, at, &len, why)) return roam_broker_complain(b, path, "%s: %s", option, why);
  *out = (roam_bytes){*at, len};
  return 0;
}

static void list_names(const struct roam_broker_run *b, char names[1024]) {
  char host[256] = "", at[ROAM_ADDR_TEXT_MAX];
  size_t n = (size_t)snprintf(names, 1024, "localhost,127.0.0.1,::1");
  if (gethostname(host, sizeof host - 1) == 0 && host[0] && strcmp(host, "localhost") != 0 &&
      strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(host)) {
    n += (size_t)snprintf(names + n, 1024 - n, ",%s", host);
  }
  for (size_t i = 0; i < b->listeners_len && n < 900; i++) {
    roam_addr bare = b->listeners[i].addr;
    bare.port = 0;
    if (roam_addr_is_any(&bare)) continue;
    roam_addr_format(&bare, at);
    if (!strstr(names, at)) n += (size_t)snprintf(names + n, 1024 - n, ",%s", at);
  }
}

static int make_throwaway(struct roam_broker_run *b, roam_tls_config *tls) {
  char names[1024], why[ROAM_WHY_MAX];
  list_names(b, names);
  if (roam_identity_throwaway(&b->identity, names, tls->wall_unix_s, b->ca_path, why)) {
    return roam_tool_fail("broker", ROAM_EXIT_TLS, "%s", why);
  }
  b->throwaway = true;
  tls->certificate = (roam_bytes){(const uint8_t *)b->identity.certificate, strlen(b->identity.certificate)};
  tls->key = (roam_bytes){(const uint8_t *)b->identity.key, strlen(b->identity.key)};
  return 0;
}

/* One certificate and its key. They are judged here, where their names are known. */
static int read_pair(struct roam_broker_run *b, size_t i, roam_tls_config *pair) {
  const char *cert = b->certificate_files.at[i], *key = b->key_files.at[i];
  int code = read_pem(b, "--cert", cert, &b->certificate, &pair->certificate);
  if (!code) code = read_pem(b, "--key", key, &b->key, &pair->key);
  const char *wrong = code ? NULL : roam_tls_config_error(pair);
  if (wrong) code = roam_broker_complain(b, cert, "--cert %s, --key %s: %s", cert, key, wrong);
  return wrong ? ROAM_EXIT_TLS : code;
}

static bool add_more(struct roam_broker_run *b, roam_bytes pem) {
  uint8_t *grown = realloc(b->more, b->more_len + pem.len + 1);
  if (!grown) return false;
  b->more = grown;
  memcpy(b->more + b->more_len, pem.base, pem.len);
  b->more_len += pem.len;
  b->more[b->more_len++] = '\n';
  return true;
}

static int complain_of_pairs(const struct roam_broker_run *b) {
  const roam_opt_list *most = b->certificate_files.len > b->key_files.len ? &b->certificate_files : &b->key_files;
  return roam_broker_complain(b, most->at[most->len - 1],
                              "--cert and --key: give both or neither, a key for each certificate, in the same order");
}

/* The first pair is the default; it is read last, so that it stays in b. */
static int read_pairs(struct roam_broker_run *b, roam_tls_config *tls) {
  if (b->certificate_files.len != b->key_files.len) return complain_of_pairs(b);
  for (size_t k = 1, n = b->certificate_files.len; k <= n; k++) {
    roam_tls_config pair = {0};
    int code = read_pair(b, k % n, &pair);
    if (code) return code;
    if (k == n) {
      tls->certificate = pair.certificate;
      tls->key = pair.key;
    } else if (!add_more(b, pair.certificate) || !add_more(b, pair.key)) {
      return roam_tool_fail("broker", ROAM_EXIT_LOST, "no memory for certificates");
    }
  }
  tls->more = (roam_bytes){b->more, b->more_len};
  return 0;
}

static int settle_tls(struct roam_broker_run *b, roam_tls_config *tls) {
  tls->wall_unix_s = roam_wall_unix_s();
  tls->require_client_certificate = b->require_client;
  tls->request_client_certificate = b->request_client;
  if (b->require_client && !b->ca_file) return complain(b, "--require-client-certificate: --ca FILE says whose");
  if (b->request_client && !b->ca_file) return complain(b, "--request-client-certificate: --ca FILE says whose");
  int code = read_pairs(b, tls);
  if (!code) code = read_pem(b, "--ca", b->ca_file, &b->ca, &tls->ca);
  const char *wrong = code ? NULL : roam_tls_config_error(&(roam_tls_config){.ca = tls->ca});
  if (wrong) code = roam_broker_complain(b, b->ca_file, "--ca %s: %s", b->ca_file, wrong);
  return wrong ? ROAM_EXIT_TLS : code;
}

static int fill_options(struct roam_broker_run *b, roam_broker_options *o) {
  o->anonymous_beyond_loopback = b->anonymous;
  o->retry = b->retry;
  o->follow_paths = !b->stay;
  o->ws_path = b->ws_path;
  o->ws_origins = b->ws_origins;
  o->log = (roam_log){.context = b, .level = b->level, .record = roam_tell_log};
  const char *value, *wrong = roam_limits_fill(&b->limits, o, &value);
  return wrong ? roam_broker_complain(b, value, "%s, got '%s'", wrong, value) : 0;
}

static int find_word(const struct roam_broker_run *b, const char *option, const char *value, const char *const words[],
                     size_t n, size_t *found) {
  char sentence[256];
  size_t used = (size_t)snprintf(sentence, sizeof sentence, "--%s: expected one of", option);
  for (size_t i = 0; i < n; i++) {
    if (strcmp(value, words[i]) == 0) {
      *found = i;
      return 0;
    }
    used += (size_t)snprintf(sentence + used, sizeof sentence - used, " %s", words[i]);
  }
  snprintf(sentence + used, sizeof sentence - used, ", got '%.80s'", value);
  return roam_broker_complain(b, value, "%s", sentence);
}

/* Options whose values are words. */
static int settle_words(struct roam_broker_run *b) {
  static const char *const levels[] = {"error", "warning", "notice", "info", "debug"}, *const formats[] = {"text", "json"},
                           *const syncs[] = {"always", "interval", "off"};
  size_t at = 0;
  b->level = b->debug ? ROAM_LOG_DEBUG : b->quiet ? ROAM_LOG_ERROR : ROAM_LOG_WARNING;
  int code = b->log_level ? find_word(b, "log-level", b->log_level, levels, 5, &at) : 0;
  if (!code && b->log_level) b->level = (roam_level)at;
  at = 0;
  if (!code && b->log_format) code = find_word(b, "log-format", b->log_format, formats, 2, &at);
  b->json = at == 1;
  if (!code && b->ws_path && b->ws_path[0] != '/')
    code = roam_broker_complain(b, b->ws_path, "--ws-path: expected a path such as /mqtt, got '%s'", b->ws_path);
  if (!code && b->store_sync && !b->store_path) code = complain(b, "--store-sync: --store FILE says what to sync");
  at = 0;
  if (!code && b->store_sync) code = find_word(b, "store-sync", b->store_sync, syncs, 3, &at);
  b->sync = (roam_store_sync)at;
  return code;
}

static int settle_preferred(const struct roam_broker_run *b, roam_broker_options *o) {
  for (size_t i = 0; i < b->preferred.len; i++) {
    roam_addr addr;
    if (roam_addr_parse(b->preferred.at[i], &addr) || addr.port == 0)
      return roam_broker_complain(
          b, b->preferred.at[i], "--preferred: an address and port, such as 192.0.2.1:14567, got '%s'", b->preferred.at[i]);
    *(addr.family == 4 ? &o->preferred_ipv4 : &o->preferred_ipv6) = addr;
  }
  o->key_update_bytes = b->key_update_bytes;
  o->datagram_bytes_max = (uint32_t)b->datagram_bytes_max;
  if (b->congestion && roam_congestion_parse(b->congestion, &o->congestion))
    return roam_broker_complain(b, b->congestion, "--congestion: cubic, reno or bbr, got '%s'", b->congestion);
  return 0;
}

/* Everything that can be judged without opening anything: into o, whose PEM lies in b. */
static int settle(struct roam_broker_run *b, roam_broker_options *o) {
  roam_broker_options_init(o);
  int code = roam_listeners_settle(b);
  if (!code) code = settle_words(b);
  if (!code) code = settle_tls(b, &o->tls);
  if (!code) code = settle_preferred(b, o);
  o->assigned = b->assigned;
  if (!code) code = fill_options(b, o);
  if (!code) code = roam_files_read(b, o);
  if (!code) code = roam_crew_settle(b, o);
  const char *wrong = code ? NULL : roam_broker_option_error(o);
  return wrong ? complain(b, wrong) : code;
}

/* Without --secret, next to the throw-away CA when that is used, else none. */
static int settle_secret(struct roam_broker_run *b, roam_broker_options *o) {
  char path[ROAM_PATH_MAX + 8], why[ROAM_WHY_MAX];
  const char *file = b->secret_file;
  if (!file && b->throwaway) {
    const char *slash = strrchr(b->ca_path, '/');
    snprintf(path, sizeof path, "%.*s/secret", slash ? (int)(slash - b->ca_path) : 0, b->ca_path);
    file = path;
  }
  if (!file) return 0;
  if (!roam_keep_secret(file, b->secret, why)) return roam_tool_usage("broker", "--secret: %s", why);
  o->secret = (roam_bytes){b->secret, sizeof b->secret};
  return 0;
}

static int settle_quic(struct roam_broker_run *b, roam_broker_options *o) {
  char why[ROAM_WHY_MAX];
  if (!roam_keep_tap_open(&b->tap, b->keylog_file, b->qlog_folder, &o->tap, why))
    return roam_tool_usage("broker", "%s", why);
  o->early_data = !b->no_early_data;
  return settle_secret(b, o);
}

static int open_store(struct roam_broker_run *b, roam_broker_options *o) {
  char why[ROAM_STORE_WHY_MAX];
  roam_store_options so;
  roam_store_options_init(&so);
  if (!b->store_path) return 0;
  so.sync = b->sync;
  o->store = b->store = roam_store_open(b->store_path, &so, NULL, why);
  if (!b->store) return roam_tool_fail("broker", ROAM_EXIT_LOST, "%s", why);
  if (b->crew.n == 1) return 0; /* --secret replaces it */
  roam_rc rc = roam_broker_secret(b->store, b->secret, why);
  return rc ? roam_tool_fail("broker", ROAM_EXIT_LOST, "the store cannot be used: %s", why[0] ? why : roam_strerror(rc))
            : 0;
}

static int make_broker(struct roam_broker_run *b, const roam_broker_options *o, roam_time now) {
  roam_rc rc = 0;
  b->broker = roam_broker_new(o, now, roam_random_system(), &rc);
  return b->broker ? 0 : roam_tool_fail("broker", ROAM_EXIT_USAGE, "cannot start: %s", roam_strerror(rc));
}

/* ---- a configuration to look at, or to take over --------------------------------------------------------------------- */

static void clear_files(struct roam_broker_run *b) {
  roam_config_clear(&b->config);
  free(b->certificate);
  free(b->key);
  free(b->ca);
  free(b->more);
}

static int check(struct roam_broker_run *b) {
  roam_broker_options o;
  int code = settle(b, &o);
  o.log = (roam_log){.level = b->level};
  if (!code) code = make_broker(b, &o, ROAM_S);
  if (!code) code = roam_listeners_check(b);
  roam_broker_free(b->broker);
  if (!code) printf("%s: fine\n", b->check_path);
  roam_files_free(b);
  clear_files(b);
  return code;
}

struct fresh {
  roam_broker_options *options;
  const char *why;
};

static roam_rc set_certificate(roam_broker *broker, roam_time now, void *context) {
  struct fresh *f = context;
  (void)now;
  return roam_broker_set_certificate(broker, &f->options->tls, &f->why);
}

static roam_rc reconfigure(roam_broker *broker, roam_time now, void *context) {
  struct fresh *f = context;
  (void)now;
  return roam_broker_reconfigure(broker, f->options);
}

/* SIGHUP: what the file and the command line say now. A mistake leaves everything as it was. */
static void reload(struct roam_broker_run *b) {
  struct roam_broker_run fresh = {.argc = b->argc, .argv = b->argv, .read = b->read, .line_of = b->line_of};
  roam_broker_options o;
  struct fresh f = {.options = &o};
  roam_systemd_tell("RELOADING=1");
  int code = b->read(&fresh);
  if (!code) code = settle(&fresh, &o);
  if (!code && o.workers != b->crew.n)
    roam_tell_line(b, ROAM_LOG_WARNING, "--workers: another number counts after a restart");
  roam_rc rc = 0;
  if (!code && o.tls.certificate.len > 0) rc = roam_crew_each(b, set_certificate, &f);
  if (!code && rc) code = roam_tool_fail("broker", 1, "--cert: %s", f.why ? f.why : roam_strerror(rc));
  if (!code && roam_crew_each(b, reconfigure, &f)) code = 1;
  if (!code) roam_files_hand_over(b, &o);
  if (!code) {
    roam_crew_hold(b);
    b->level = fresh.level;
    b->json = fresh.json;
    b->quiet = fresh.quiet;
    roam_crew_go_on(b);
  }
  roam_tell_line(b, ROAM_LOG_NOTICE, code ? "not reloaded: see above; everything stays as it was" : "reloaded");
  clear_files(&fresh);
  roam_files_free(&fresh);
  roam_systemd_tell("READY=1");
}

static int join_loop(struct roam_broker_run *b) {
  roam_rc rc = roam_loop_add(b->loop, roam_broker_machine(b->broker), roam_broker_take_events, b);
  if (!rc) rc = roam_loop_add_fd(b->loop, b->signals, take_signal, b);
  return rc ? roam_tool_fail("broker", ROAM_EXIT_CONNECT, "cannot start: %s", roam_strerror(rc)) : 0;
}

static int set_up(struct roam_broker_run *b) {
  roam_broker_options o;
  roam_loop_options lo;
  roam_loop_options_init(&lo);
  lo.unix_mode = (uint32_t)b->unix_mode;
  lo.log = roam_tell_loop_log(b);
  b->colour = roam_tool_colour(stderr);
  b->signals = roam_tool_signals_and(SIGHUP);
  b->loop = roam_loop_new(&lo);
  if (b->signals < 0 || !b->loop) return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  int code = settle(b, &o);
  if (!code && b->certificate_files.len == 0 && roam_listeners_secure(b)) code = make_throwaway(b, &o.tls);
  if (!code) code = open_store(b, &o);
  if (!code) code = settle_quic(b, &o);
  roam_time now = roam_loop_now(b->loop);
  if (!code) code = make_broker(b, &o, now);
  if (!code) code = join_loop(b);
  if (!code) code = roam_crew_start(b, &o, now);
  roam_files_free(b);
  return code ? code : roam_listeners_open(b, now);
}

static void tear_down(struct roam_broker_run *b) {
  roam_loop_free(b->loop);
  roam_crew_stop(b);
  roam_broker_free(b->broker);
  roam_post_free(b->crew.post);
  roam_store_free(b->store);
  roam_keep_tap_close(&b->tap);
  roam_identity_clear(&b->identity);
  clear_files(b);
  if (b->signals > 0) close(b->signals);
}

static int run(struct roam_broker_run *b) {
  int code = set_up(b);
  if (!code) {
    turn(b);
    code = b->code;
    roam_tell_farewell(b);
  }
  tear_down(b);
  return code;
}

/* ---- options --------------------------------------------------------------------------------------------------------- */

/* The one table behind the command line, the file and --help, in two parts and the limits'. Its defaults and names are
 * those of roam_broker_options; some have an older or shorter second name. */
static size_t fill_entrances(struct roam_broker_run *b, roam_opt rows[]) {
  const roam_opt own[] = {
      {.kind = ROAM_OPT_HEADING, .help = "Configuration"},
      {"config", 0, ROAM_OPT_STRING, "FILE", "options from a file, `name = value` a line; SIGHUP reads it again",
       &b->config_path},
      {"check", 0, ROAM_OPT_STRING, "FILE", "judge such a file, say line and remedy, and end", &b->check_path},
      {.kind = ROAM_OPT_HEADING, .help = "Listeners, each repeatable (none given: loopback, TCP 1883 and QUIC 14567)"},
      {"tcp", 0, ROAM_OPT_LIST, "ADDR", "MQTT over TCP here, such as 127.0.0.1:1883", &b->tcp},
      {"quic", 0, ROAM_OPT_LIST, "ADDR", "MQTT over QUIC here, such as 127.0.0.1:14567", &b->quic},
      {"tls", 0, ROAM_OPT_LIST, "ADDR", "MQTT over TLS here, such as [::]:8883 (IPv6 and IPv4)", &b->tls},
      {"ws", 0, ROAM_OPT_LIST, "ADDR", "MQTT over WebSocket here (8083)", &b->ws},
      {"wss", 0, ROAM_OPT_LIST, "ADDR", "MQTT over WebSocket and TLS here (8084)", &b->wss},
      {"unix", 0, ROAM_OPT_LIST, "PATH", "MQTT over a Unix socket here", &b->unix_paths},
      {"unix-mode", 0, ROAM_OPT_UINT, "MODE", "its permissions as a decimal number (432, which is 0660)", &b->unix_mode, 1,
       511},
      {"ws-path", 0, ROAM_OPT_STRING, "PATH", "where WebSocket clients ask (/mqtt)", &b->ws_path},
      {"ws-origins", 0, ROAM_OPT_STRING, "LIST", "web pages let in: 'https://a.example https://b.example', '*' (own host)",
       &b->ws_origins},
      {"allow-anonymous", 0, ROAM_OPT_FLAG, NULL, "anybody may connect, beyond loopback too", &b->anonymous},
      {"anonymous-beyond-loopback", 0, ROAM_OPT_FLAG, NULL, NULL, &b->anonymous},
      {.kind = ROAM_OPT_HEADING, .help = "Access (no file given: loopback is open to anybody)"},
      {"password-file", 0, ROAM_OPT_STRING, "FILE", "users and hashes, by roamqtt passwd or mosquitto_passwd",
       &b->password_file},
      {"acl-file", 0, ROAM_OPT_STRING, "FILE", "who may read and write which topics, in mosquitto's syntax", &b->acl_file},
      {"use-subject-as-username", 0, ROAM_OPT_FLAG, NULL, "a client certificate's common name is the user name",
       &b->subject_as_user},
      {.kind = ROAM_OPT_HEADING, .help = "Certificates (none given: a throw-away CA in the state folder)"},
      {"cert", 0, ROAM_OPT_LIST, "FILE", "the server's certificate chain, PEM; again for more, chosen by the name in them",
       &b->certificate_files},
      {"key", 0, ROAM_OPT_LIST, "FILE", "and its key, PEM; as often, in the same order", &b->key_files},
      {"ca", 0, ROAM_OPT_STRING, "FILE", "CA that client certificates are checked against, PEM", &b->ca_file},
      {"require-client-certificate", 0, ROAM_OPT_FLAG, NULL, "QUIC and TLS clients without one are refused",
       &b->require_client},
      {"request-client-certificate", 0, ROAM_OPT_FLAG, NULL, "they are asked for one, and may have none",
       &b->request_client},
  };
  _Static_assert(sizeof own / sizeof own[0] <= OWN_ROWS_MAX, "rows hold all options");
  memcpy(rows, own, sizeof own);
  return sizeof own / sizeof own[0];
}

static size_t fill_behaviour(struct roam_broker_run *b, roam_opt rows[]) {
  const roam_opt own[] = {
      {.kind = ROAM_OPT_HEADING, .help = "Durability (without --store a restart forgets everything)"},
      {"store", 0, ROAM_OPT_STRING, "FILE", "keep sessions, messages and wills in this SQLite file", &b->store_path},
      {"store-sync", 0, ROAM_OPT_STRING, "WHEN", "force it onto the disk: always, interval (1 s) or off (always)",
       &b->store_sync},
      {.kind = ROAM_OPT_HEADING, .help = "Behaviour"},
      {"workers", 0, ROAM_OPT_UINT, "N", "serve with so many threads (1)", &b->workers, 1, ROAM_CREW_MAX},
      {"encrypt-ids", 0, ROAM_OPT_FLAG, NULL, "QUIC: hide the worker in connection ids", &b->encrypt_ids},
      {"drain-to", 0, ROAM_OPT_STRING, "SERVER", "SIGUSR1 sends all clients there (host[:port]), for as long as this runs",
       &b->drain_to},
      {"drain-over", 0, ROAM_OPT_DURATION, "TIME", "evenly spread over that time (30s)", &b->drain_over_ns, 0, 0},
      {"drain-for-good", 0, ROAM_OPT_FLAG, NULL, "and tells them that the server has moved", &b->drain_for_good},
      {"retry", 0, ROAM_OPT_FLAG, NULL, "QUIC clients always prove their address first", &b->retry},
      {"secret", 0, ROAM_OPT_STRING, "FILE",
       "32 bytes, made on first use: QUIC tickets and resets outlive a restart (the state folder's)", &b->secret_file},
      {"assigned", 0, ROAM_OPT_STRING, "FILTERS",
       "MQTT-next: clients are subscribed to these on flows of the broker's; %c is the client id, %u the user",
       &b->assigned},
      {"no-early-data", 0, ROAM_OPT_FLAG, NULL, "QUIC: take nothing before the handshake is done", &b->no_early_data},
      {"preferred", 0, ROAM_OPT_LIST, "ADDR", "QUIC: where clients should go after the handshake (listen there too)",
       &b->preferred},
      {"congestion", 0, ROAM_OPT_STRING, "NAME", "QUIC: cubic, reno or bbr (cubic)", &b->congestion},
      {"datagram-bytes", 0, ROAM_OPT_UINT, "N", "QUIC: largest UDP payload, where the path carries it (8952)",
       &b->datagram_bytes_max, 1200, 65487},
      {"key-update", 0, ROAM_OPT_BYTES, "SIZE", "QUIC: new keys after so much sent (1G; 0: the library's choice)",
       &b->key_update_bytes},
      {"keylog", 0, ROAM_OPT_STRING, "FILE", "QUIC: append secrets for tshark and Wireshark (whoever has them can read)",
       &b->keylog_file},
      {"qlog", 0, ROAM_OPT_STRING, "DIR", "QUIC: a qlog of each connection there, for qvis", &b->qlog_folder},
      {"ignore-moves", 0, ROAM_OPT_FLAG, NULL, "do not follow clients to new addresses (for experiments)", &b->stay},
      {"log-level", 0, ROAM_OPT_STRING, "LEVEL", "error, warning, notice, info or debug (warning)", &b->log_level},
      {"log-format", 0, ROAM_OPT_STRING, "FORMAT", "text, or json: an object a line, with fields (text)", &b->log_format},
      {"quiet", 'q', ROAM_OPT_FLAG, NULL, "no lines about clients", &b->quiet},
      {"debug", 'd', ROAM_OPT_FLAG, NULL, "many lines", &b->debug},
  };
  _Static_assert(sizeof own / sizeof own[0] <= OWN_ROWS_MAX, "rows hold all options");
  memcpy(rows, own, sizeof own);
  return sizeof own / sizeof own[0];
}

static size_t fill_rows(struct roam_broker_run *b, roam_opt rows[ROAM_BROKER_OPTS_MAX]) {
  _Static_assert(ROAM_BROKER_OPTS_MAX <= ROAM_CONFIG_ROWS_MAX, "a line number for each");
  size_t n = fill_entrances(b, rows);
  n += fill_behaviour(b, rows + n);
  return n + roam_limits_init(&b->limits, rows + n);
}

/* Certificates on the command line count instead of the file's, not beside them. */
static void drop_first(roam_opt_list *list, size_t n) {
  list->len -= n;
  memmove(list->at, list->at + n, list->len * sizeof list->at[0]);
}

/* With sentence: the line of the file that it is about, instead of reading. */
static int walk_options(struct roam_broker_run *run, const char *sentence, unsigned *line) {
  struct roam_broker_run b = *run;
  roam_opt rows[ROAM_BROKER_OPTS_MAX];
  size_t rows_len = fill_rows(&b, rows);
  const roam_opts opts = {
      "broker",
      "[options]",
      "An MQTT broker over QUIC, TCP, TLS and WebSocket that follows its clients from address to address.",
      "It prints where it listens and then `ready` on stdout, a line for each client on stderr; SIGINT and SIGTERM\n"
      "stop it in good order with exit code 0; SIGHUP reads certificates, --config, bounds and log level again.",
      rows,
      rows_len};
  int rest = 1, code = 0;
  if (sentence) {
    *line = roam_config_line(&b.config, &opts, sentence);
    return 0;
  }
  /* The command line is read twice: for the file's name, and to have the last word. */
  struct roam_broker_run defaults = b;
  char **words = calloc((size_t)b.argc + 1, sizeof *words);
  if (!words) return ROAM_EXIT_LOST;
  memcpy(words, b.argv, (size_t)b.argc * sizeof *words);
  bool go_on = roam_opts_read(&opts, b.argc, words, &rest, &code);
  if (go_on && rest > 1) code = roam_tool_usage("broker", "takes options only; '%s' is left over", words[1]);
  const char *file = b.check_path ? b.check_path : b.config_path;
  if (go_on && !code && file) {
    b = defaults;
    code = roam_config_read(&b.config, &opts, file);
    memcpy(words, b.argv, (size_t)b.argc * sizeof *words);
    size_t certs = b.certificate_files.len, keys = b.key_files.len;
    if (!code) go_on = roam_opts_read(&opts, b.argc, words, &rest, &code);
    if (b.certificate_files.len > certs) drop_first(&b.certificate_files, certs);
    if (b.key_files.len > keys) drop_first(&b.key_files, keys);
  }
  free(words);
  *run = b;
  run->asked_help = !go_on && !code;
  return code;
}

static int read_options(struct roam_broker_run *b) {
  b->unix_mode = 0660;
  b->key_update_bytes = UINT64_C(1) << 30;
  b->datagram_bytes_max = 8952;
  return walk_options(b, NULL, NULL);
}

static unsigned find_line(const struct roam_broker_run *b, const char *sentence) {
  struct roam_broker_run copy = *b;
  unsigned line = 0;
  walk_options(&copy, sentence, &line);
  return line;
}

int cmd_broker(int argc, char **argv) {
  struct roam_broker_run b = {.argc = argc, .argv = argv, .read = read_options, .line_of = find_line};
  int code = read_options(&b);
  if (code || b.asked_help) {
    clear_files(&b);
    return code;
  }
  return b.check_path ? check(&b) : run(&b);
}
