/* broker_options.c - the options of `roamqtt broker`: the one table behind the command line, the file and --help, how both
 * are read, and what can be judged without opening anything. Refuses to act on them. */
#include "cmd_broker.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define OWN_ROWS_MAX 32 /* in each half of the table */
#define ROAM_BROKER_OPTS_MAX (2 * OWN_ROWS_MAX + ROAM_LIMITS_OPTS_MAX)

/* ---- the table ---- */

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

int roam_broker_options_take(struct roam_broker_run *b) {
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

/* ---- complaints ---- */

int roam_broker_complain_of(const struct roam_broker_run *b, const char *sentence) {
  unsigned line = b->config.path ? find_line(b, sentence) : 0;
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

/* ---- what they mean ---- */

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
  if (!code && b->store_sync && !b->store_path)
    code = roam_broker_complain_of(b, "--store-sync: --store FILE says what to sync");
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

/* Everything that can be judged without opening anything: into o, whose PEM lies in b. */
int roam_broker_options_settle(struct roam_broker_run *b, roam_broker_options *o) {
  roam_broker_options_init(o);
  int code = roam_listeners_settle(b);
  if (!code) code = settle_words(b);
  if (!code) code = roam_certificates_read(b, &o->tls);
  if (!code) code = settle_preferred(b, o);
  o->assigned = b->assigned;
  if (!code) code = fill_options(b, o);
  if (!code) code = roam_files_read(b, o);
  if (!code) code = roam_crew_settle(b, o);
  const char *wrong = code ? NULL : roam_broker_option_error(o);
  return wrong ? roam_broker_complain_of(b, wrong) : code;
}
