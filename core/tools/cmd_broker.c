/* cmd_broker.c - `roamqtt broker`: the embedded broker on real sockets, with a line for every client that comes, goes or
 * moves. Without options it is for first steps: loopback only, with a certificate of its own making. */
#include "cmd_broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (1 << 20)
#define ROAM_BROKER_OPTS_MAX 96
#define STOP_WAIT (4 * ROAM_S)

static void take_events(void *context, const roam_event ev[], size_t n) {
  struct roam_broker_run *b = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_LISTENING || ev[i].kind == ROAM_EV_LISTEN_FAILED) roam_listeners_event(b, &ev[i]);
    else roam_tell_event(b, &ev[i]);
  }
}

static roam_time take_signal(void *context, roam_time now) {
  struct roam_broker_run *b = context;
  if (!roam_tool_signal_take(b->signals)) return ROAM_NEVER;
  if (b->stopping_at) b->over = true;
  else roam_broker_stop(b->broker, now);
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
    bool quiet = roam_broker_get_stats(b->broker).connections == 0;
    if (quiet || roam_loop_now(b->loop) - b->stopping_at > STOP_WAIT) b->over = true;
  }
}

/* ---- setting up ------------------------------------------------------------------------------------------------------ */

static int read_pem(const char *option, const char *path, uint8_t **at, roam_bytes *out) {
  char why[ROAM_WHY_MAX];
  size_t len;
  if (!path) return 0;
  if (roam_file_read(path, PEM_MAX, at, &len, why)) return roam_tool_usage("broker", "%s: %s", option, why);
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

static int settle_tls(struct roam_broker_run *b, roam_tls_config *tls) {
  tls->wall_unix_s = roam_wall_unix_s();
  tls->require_client_certificate = b->require_client;
  if (!b->certificate_file != !b->key_file) return roam_tool_usage("broker", "--cert and --key: give both or neither");
  if (b->require_client && !b->ca_file)
    return roam_tool_usage("broker", "--require-client-certificate: --ca FILE says whose");
  int code = read_pem("--cert", b->certificate_file, &b->certificate, &tls->certificate);
  if (!code) code = read_pem("--key", b->key_file, &b->key, &tls->key);
  if (!code) code = read_pem("--ca", b->ca_file, &b->ca, &tls->ca);
  return !code && !b->certificate_file && roam_listeners_quic(b) ? make_throwaway(b, tls) : code;
}

static int fill_options(const struct roam_broker_run *b, roam_broker_options *o) {
  o->anonymous_beyond_loopback = b->anonymous;
  o->retry = b->retry;
  o->follow_paths = !b->stay;
  o->log = (roam_log){roam_tell_log, NULL, b->debug ? ROAM_LOG_DEBUG : b->quiet ? ROAM_LOG_ERROR : ROAM_LOG_WARNING};
  return roam_limits_fill(&b->limits, o);
}

static int settle_preferred(const struct roam_broker_run *b, roam_broker_options *o) {
  for (size_t i = 0; i < b->preferred.len; i++) {
    roam_addr addr;
    if (roam_addr_parse(b->preferred.at[i], &addr) || addr.port == 0)
      return roam_tool_usage("broker", "--preferred: an address and port, such as 192.0.2.1:14567, got '%s'",
                             b->preferred.at[i]);
    *(addr.family == 4 ? &o->preferred_ipv4 : &o->preferred_ipv6) = addr;
  }
  return 0;
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
  if (b->congestion && roam_congestion_parse(b->congestion, &o->congestion))
    return roam_tool_usage("broker", "--congestion: cubic, reno or bbr, got '%s'", b->congestion);
  if (!roam_keep_tap_open(&b->tap, b->keylog_file, b->qlog_folder, &o->tap, why))
    return roam_tool_usage("broker", "%s", why);
  o->early_data = !b->no_early_data;
  int code = settle_secret(b, o);
  return code ? code : settle_preferred(b, o);
}

static int make_broker(struct roam_broker_run *b, const roam_broker_options *o, roam_time now) {
  roam_rc rc = 0;
  const char *wrong = roam_broker_option_error(o);
  if (wrong) return roam_tool_usage("broker", "%s", wrong);
  b->broker = roam_broker_new(o, now, roam_random_system(), &rc);
  if (b->broker) return 0;
  if (rc == ROAM_E_CERTIFICATE || rc == ROAM_E_TLS) {
    return roam_tool_fail("broker", ROAM_EXIT_TLS,
                          "--cert %s, --key %s: not a PEM certificate and its key; do they belong together?",
                          b->certificate_file ? b->certificate_file : "(own)", b->key_file ? b->key_file : "(own)");
  }
  return roam_tool_fail("broker", ROAM_EXIT_USAGE, "cannot start: %s", roam_strerror(rc));
}

static int set_up(struct roam_broker_run *b) {
  roam_broker_options o;
  roam_loop_options lo;
  roam_broker_options_init(&o);
  roam_loop_options_init(&lo);
  b->colour = roam_tool_colour(stderr);
  b->signals = roam_tool_signals();
  b->loop = roam_loop_new(&lo);
  if (b->signals < 0 || !b->loop) return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  int code = roam_listeners_settle(b);
  if (!code) code = settle_tls(b, &o.tls);
  if (!code) code = fill_options(b, &o);
  if (!code) code = settle_quic(b, &o);
  roam_time now = roam_loop_now(b->loop);
  if (!code) code = make_broker(b, &o, now);
  if (code) return code;
  roam_rc rc = roam_loop_add(b->loop, roam_broker_machine(b->broker), take_events, b);
  if (!rc) rc = roam_loop_add_fd(b->loop, b->signals, take_signal, b);
  if (rc) return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "cannot start: %s", roam_strerror(rc));
  return roam_listeners_open(b, now);
}

static void tear_down(struct roam_broker_run *b) {
  roam_loop_free(b->loop);
  roam_broker_free(b->broker);
  roam_keep_tap_close(&b->tap);
  roam_identity_clear(&b->identity);
  free(b->certificate);
  free(b->key);
  free(b->ca);
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

int cmd_broker(int argc, char **argv) {
  struct roam_broker_run b = {0};
  roam_opt rows[ROAM_BROKER_OPTS_MAX];
  const roam_opt own[] = {
      {.kind = ROAM_OPT_HEADING, .help = "Listeners (none given: loopback, TCP 1883 and QUIC 14567)"},
      {"tcp", 0, ROAM_OPT_LIST, "ADDR", "MQTT over TCP here, such as 127.0.0.1:1883 (repeatable)", &b.tcp},
      {"quic", 0, ROAM_OPT_LIST, "ADDR", "MQTT over QUIC here, such as 127.0.0.1:14567 (repeatable)", &b.quic},
      {"allow-anonymous", 0, ROAM_OPT_FLAG, NULL, "needed beyond loopback: anybody may connect", &b.anonymous},
      {.kind = ROAM_OPT_HEADING, .help = "Certificates (none given: a throw-away CA in the state folder)"},
      {"cert", 0, ROAM_OPT_STRING, "FILE", "the server's certificate chain, PEM", &b.certificate_file},
      {"key", 0, ROAM_OPT_STRING, "FILE", "and its key, PEM", &b.key_file},
      {"ca", 0, ROAM_OPT_STRING, "FILE", "CA that client certificates are checked against, PEM", &b.ca_file},
      {"require-client-certificate", 0, ROAM_OPT_FLAG, NULL, "QUIC clients without one are refused", &b.require_client},
      {.kind = ROAM_OPT_HEADING, .help = "Behaviour"},
      {"retry", 0, ROAM_OPT_FLAG, NULL, "QUIC clients always prove their address first", &b.retry},
      {"secret", 0, ROAM_OPT_STRING, "FILE",
       "32 bytes, made on first use: QUIC tickets and resets outlive a restart (the state folder's)", &b.secret_file},
      {"no-early-data", 0, ROAM_OPT_FLAG, NULL, "QUIC: take nothing before the handshake is done", &b.no_early_data},
      {"preferred", 0, ROAM_OPT_LIST, "ADDR", "QUIC: where clients should go after the handshake (listen there too)",
       &b.preferred},
      {"congestion", 0, ROAM_OPT_STRING, "NAME", "QUIC: cubic, reno or bbr (cubic)", &b.congestion},
      {"keylog", 0, ROAM_OPT_STRING, "FILE", "QUIC: append secrets for tshark and Wireshark (whoever has them can read)",
       &b.keylog_file},
      {"qlog", 0, ROAM_OPT_STRING, "DIR", "QUIC: a qlog of each connection there, for qvis", &b.qlog_folder},
      {"ignore-moves", 0, ROAM_OPT_FLAG, NULL, "do not follow clients to new addresses (for experiments)", &b.stay},
      {"quiet", 'q', ROAM_OPT_FLAG, NULL, "no lines about clients", &b.quiet},
      {"debug", 'd', ROAM_OPT_FLAG, NULL, "many lines", &b.debug},
      {"tls", 0, ROAM_OPT_LATER},
      {"ws", 0, ROAM_OPT_LATER},
      {"store", 0, ROAM_OPT_LATER},
      {"config", 0, ROAM_OPT_LATER},
  };
  _Static_assert(sizeof own / sizeof own[0] + ROAM_LIMITS_OPTS_MAX <= ROAM_BROKER_OPTS_MAX, "rows hold all options");
  memcpy(rows, own, sizeof own);
  size_t rows_len = sizeof own / sizeof own[0];
  rows_len += roam_limits_init(&b.limits, rows + rows_len);
  const roam_opts opts = {
      "broker",
      "[options]",
      "An MQTT broker over QUIC and TCP that follows its clients from address to address.",
      "It prints where it listens and then `ready` on stdout, a line for each client on stderr; SIGINT and SIGTERM\n"
      "stop it in good order with exit code 0.",
      rows,
      rows_len};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest > 1) return roam_tool_usage("broker", "takes options only; '%s' is left over", argv[1]);
  return run(&b);
}
