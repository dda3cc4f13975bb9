/* cmd_broker.c - `roamqtt broker`: the embedded broker on real sockets, with a line for every client that comes, goes or
 * moves. Without options it is for first steps: loopback only, with a certificate of its own making. */
#include "identity.h"
#include "options.h"

#include <roamqtt/broker.h>
#include <roamqtt/loop.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PEM_MAX (1 << 20)
#define LISTENERS_MAX 32
#define STOP_WAIT (4 * ROAM_S)

struct listener {
  roam_transport_kind transport;
  roam_addr addr;
  uint64_t number;
  bool optional; /* a default that this machine may lack */
};

struct broker {
  /* as given */
  roam_opt_list tcp, quic;
  const char *certificate_file, *key_file, *ca_file;
  bool anonymous, require_client, retry, stay, quiet, debug;
  uint64_t connections_max, packet_max, expiry_max_s, queue_max, keep_alive_max_s;
  /* as made */
  struct listener listeners[LISTENERS_MAX];
  size_t listeners_len, settled, listening;
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

/* ---- lines for people ------------------------------------------------------------------------------------------------ */

/* Client ids and topics are somebody else's bytes: nothing that moves a cursor gets out. */
static const char *printable(roam_bytes bytes, char text[160]) {
  size_t n = 0;
  for (size_t i = 0; i < bytes.len && n < 150; i++)
    text[n++] = bytes.base[i] < 0x20 || bytes.base[i] == 0x7f ? '?' : (char)bytes.base[i];
  if (bytes.len > 150) n += (size_t)snprintf(text + n, 160 - n, "...");
  text[n] = 0;
  return text;
}

static void stamp(FILE *out) {
  struct timespec now;
  struct tm parts;
  clock_gettime(CLOCK_REALTIME, &now);
  localtime_r(&now.tv_sec, &parts);
  fprintf(out, "%02d:%02d:%02d.%03ld ", parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000000);
}

static void write_log(void *context, roam_time at, roam_level level, const char *line) {
  (void)context;
  (void)at;
  stamp(stderr);
  fprintf(stderr, "%s%s\n", level == ROAM_LOG_ERROR ? "error: " : level == ROAM_LOG_WARNING ? "warning: " : "", line);
}

static void tell_moved(const struct broker *b, const roam_event *ev) {
  char id[160], old[ROAM_ADDR_TEXT_MAX], new[ROAM_ADDR_TEXT_MAX];
  stamp(stderr);
  fprintf(stderr, "%sclient %s moved %s -> %s%s\n", b->colour ? "\033[1;36m" : "", printable(ev->id, id),
          roam_addr_format(&ev->u.path.old_remote, old), roam_addr_format(&ev->u.path.remote, new),
          b->colour ? "\033[0m" : "");
}

static const char *why_of(const roam_event *ev) {
  if (ev->text) return ev->text;
  if (ev->reason > 0) return roam_reason_text(ev->reason);
  return ev->rc ? roam_strerror(ev->rc) : "it said goodbye";
}

static void tell(const struct broker *b, const roam_event *ev) {
  char id[160], from[ROAM_ADDR_TEXT_MAX];
  const roam_event_link *link = &ev->u.link;
  if (b->quiet) return;
  switch (ev->kind) {
    case ROAM_EV_PEER_CONNECTED:
      stamp(stderr);
      fprintf(stderr, "client %s connected from %s over %s, MQTT %s%s\n", printable(ev->id, id),
              roam_addr_format(&link->remote, from), roam_transport_name(link->transport),
              link->version == 5   ? "5.0"
              : link->version == 4 ? "3.1.1"
                                   : "3.1",
              link->session_present ? ", session resumed" : "");
      break;
    case ROAM_EV_PEER_DISCONNECTED:
      stamp(stderr);
      fprintf(stderr, "client %s disconnected: %s\n", printable(ev->id, id), why_of(ev));
      break;
    case ROAM_EV_PEER_REFUSED:
      stamp(stderr);
      fprintf(stderr, "refused %s: %s\n", roam_addr_format(&link->remote, from), why_of(ev));
      break;
    case ROAM_EV_PEER_MOVED: tell_moved(b, ev); break;
    default: break;
  }
}

/* ---- listeners ------------------------------------------------------------------------------------------------------- */

static const char *transport_word(roam_transport_kind kind) { return kind == ROAM_TRANSPORT_QUIC ? "quic" : "tcp"; }

/* Port 0 can be asked for ("any free one"); a missing port means the usual one. */
static bool says_port(const char *text) {
  const char *bracket = strchr(text, ']'), *colon = strchr(bracket ? bracket : text, ':');
  return colon && !strchr(colon + 1, ':');
}

static int add_listeners(struct broker *b, const roam_opt_list *list, roam_transport_kind transport) {
  const char *word = transport_word(transport);
  for (size_t i = 0; i < list->len; i++) {
    struct listener l = {.transport = transport};
    if (b->listeners_len == LISTENERS_MAX)
      return roam_tool_usage("broker", "--%s: at most %d listeners", word, LISTENERS_MAX);
    if (!roam_text_addr(list->at[i], &l.addr)) {
      return roam_tool_usage("broker", "--%s: expected an address such as 127.0.0.1:%d or [::1]:%d, got '%s'", word,
                             transport == ROAM_TRANSPORT_QUIC ? 14567 : 1883,
                             transport == ROAM_TRANSPORT_QUIC ? 14567 : 1883, list->at[i]);
    }
    if (!says_port(list->at[i])) l.addr.port = transport == ROAM_TRANSPORT_QUIC ? 14567 : 1883;
    b->listeners[b->listeners_len++] = l;
  }
  return 0;
}

static int settle_listeners(struct broker *b) {
  int code = add_listeners(b, &b->tcp, ROAM_TRANSPORT_TCP);
  if (!code) code = add_listeners(b, &b->quic, ROAM_TRANSPORT_QUIC);
  if (code || b->listeners_len) return code;
  static const char *const v4[] = {"127.0.0.1:1883", "127.0.0.1:14567"}, *const v6[] = {"[::1]:1883", "[::1]:14567"};
  static const roam_transport_kind kinds[] = {ROAM_TRANSPORT_TCP, ROAM_TRANSPORT_QUIC};
  for (size_t i = 0; i < 4; i++) {
    struct listener *l = &b->listeners[b->listeners_len++];
    *l = (struct listener){.transport = kinds[i % 2], .optional = i >= 2};
    if (!roam_text_addr(i < 2 ? v4[i % 2] : v6[i % 2], &l->addr)) return ROAM_EXIT_USAGE;
  }
  return 0;
}

static bool needs_identity(const struct broker *b) {
  for (size_t i = 0; i < b->listeners_len; i++)
    if (b->listeners[i].transport == ROAM_TRANSPORT_QUIC) return true;
  return false;
}

static int refuse_listener(const struct broker *b, const struct listener *l, roam_rc rc) {
  char at[ROAM_ADDR_TEXT_MAX];
  const char *word = transport_word(l->transport);
  roam_addr_format(&l->addr, at);
  (void)b;
  switch (rc) {
    case ROAM_E_ADDRESS_IN_USE:
      return roam_tool_fail("broker", ROAM_EXIT_CONNECT,
                            "--%s %s: the port is in use by another program; stop that one, or choose another port here",
                            word, at);
    case ROAM_E_ADDRESS_NOT_AVAILABLE:
      return roam_tool_fail("broker", ROAM_EXIT_CONNECT,
                            "--%s %s: this machine has no such address (`ip address` lists them)", word, at);
    case ROAM_E_PERMISSION:
      if (l->addr.port && l->addr.port < 1024 && roam_addr_is_loopback(&l->addr)) {
        return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "--%s %s: ports below 1024 need root; choose a higher one", word,
                              at);
      }
      return roam_tool_usage("broker",
                             "--%s %s: others can reach this address and nobody has to log in; say --allow-anonymous if "
                             "that is meant",
                             word, at);
    default: return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "--%s %s: %s", word, at, roam_strerror(rc));
  }
}

static int open_listeners(struct broker *b, roam_time now) {
  for (size_t i = 0; i < b->listeners_len; i++) {
    struct listener *l = &b->listeners[i];
    roam_rc rc = roam_broker_listen(b->broker, now, l->transport, &l->addr, &l->number);
    if (rc) return refuse_listener(b, l, rc);
  }
  return 0;
}

/* ---- ready ----------------------------------------------------------------------------------------------------------- */

static void print_hints(const struct broker *b) {
  for (size_t i = 0; i < b->listeners_len; i++) {
    const struct listener *l = &b->listeners[i];
    if (l->transport != ROAM_TRANSPORT_QUIC || !l->addr.port || !b->throwaway) continue;
    printf("throw-away CA: %s\n", b->ca_path);
    printf("try:  roamqtt sub -L 'mqtt-quic://localhost:%u/#' -v --cafile '%s'\n", l->addr.port, b->ca_path);
    printf("and:  roamqtt pub -L mqtt-quic://localhost:%u/hello -m world --cafile '%s'\n", l->addr.port, b->ca_path);
    break;
  }
  printf("ready; Ctrl-C stops\n");
  fflush(stdout);
}

static void on_listening(struct broker *b, const roam_event *ev) {
  char at[ROAM_ADDR_TEXT_MAX];
  for (size_t i = 0; i < b->listeners_len; i++)
    if (b->listeners[i].number == ev->token) b->listeners[i].addr = ev->u.link.local;
  printf("listening %s %s\n", roam_transport_name(ev->u.link.transport), roam_addr_format(&ev->u.link.local, at));
  b->settled++;
  b->listening++;
}

static void on_listen_failed(struct broker *b, const roam_event *ev) {
  b->settled++;
  for (size_t i = 0; i < b->listeners_len; i++) {
    if (b->listeners[i].number != ev->token) continue;
    if (b->listeners[i].optional && ev->rc != ROAM_E_ADDRESS_IN_USE) return;
    if (!b->code) b->code = refuse_listener(b, &b->listeners[i], ev->rc);
    b->over = true;
    return;
  }
}

static void take_events(void *context, const roam_event ev[], size_t n) {
  struct broker *b = context;
  size_t before = b->settled;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_LISTENING) on_listening(b, &ev[i]);
    else if (ev[i].kind == ROAM_EV_LISTEN_FAILED) on_listen_failed(b, &ev[i]);
    else tell(b, &ev[i]);
  }
  if (before < b->settled && b->settled == b->listeners_len && !b->over) print_hints(b);
}

/* ---- running --------------------------------------------------------------------------------------------------------- */

static roam_time take_signal(void *context, roam_time now) {
  struct broker *b = context;
  if (!roam_tool_signal_take(b->signals)) return ROAM_NEVER;
  if (b->stopping_at) b->over = true;
  else roam_broker_stop(b->broker, now);
  b->stopping_at = now;
  return ROAM_NEVER;
}

static void turn(struct broker *b) {
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

static void tell_farewell(const struct broker *b) {
  roam_broker_stats s = roam_broker_get_stats(b->broker);
  if (b->quiet || b->code) return;
  stamp(stderr);
  fprintf(stderr, "stopped: %llu connects, %llu moves, %llu messages in, %llu out\n",
          (unsigned long long)s.connects_accepted, (unsigned long long)s.moves, (unsigned long long)s.messages_in,
          (unsigned long long)s.messages_out);
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

static void list_names(const struct broker *b, char names[1024]) {
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

static int make_throwaway(struct broker *b, roam_tls_config *tls) {
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

static int settle_tls(struct broker *b, roam_tls_config *tls) {
  tls->wall_unix_s = roam_wall_unix_s();
  tls->require_client_certificate = b->require_client;
  if (!b->certificate_file != !b->key_file) return roam_tool_usage("broker", "--cert and --key: give both or neither");
  if (b->require_client && !b->ca_file)
    return roam_tool_usage("broker", "--require-client-certificate: --ca FILE says whose");
  int code = read_pem("--cert", b->certificate_file, &b->certificate, &tls->certificate);
  if (!code) code = read_pem("--key", b->key_file, &b->key, &tls->key);
  if (!code) code = read_pem("--ca", b->ca_file, &b->ca, &tls->ca);
  return !code && !b->certificate_file && needs_identity(b) ? make_throwaway(b, tls) : code;
}

static void fill_options(const struct broker *b, roam_broker_options *o) {
  o->anonymous_beyond_loopback = b->anonymous;
  o->retry = b->retry;
  o->follow_paths = !b->stay;
  if (b->connections_max) o->connections_max = (uint32_t)b->connections_max;
  if (b->packet_max) o->maximum_packet_size = (uint32_t)b->packet_max;
  if (b->expiry_max_s) o->session_expiry_max_s = (uint32_t)b->expiry_max_s;
  if (b->queue_max) o->queue_messages_max = (uint32_t)b->queue_max;
  o->server_keep_alive_s = (uint16_t)b->keep_alive_max_s;
  o->log = (roam_log){write_log, NULL, b->debug ? ROAM_LOG_DEBUG : b->quiet ? ROAM_LOG_ERROR : ROAM_LOG_WARNING};
}

static int make_broker(struct broker *b, const roam_broker_options *o, roam_time now) {
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

static int set_up(struct broker *b) {
  roam_broker_options o;
  roam_loop_options lo;
  roam_broker_options_init(&o);
  roam_loop_options_init(&lo);
  b->colour = roam_tool_colour(stderr);
  b->signals = roam_tool_signals();
  b->loop = roam_loop_new(&lo);
  if (b->signals < 0 || !b->loop) return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  int code = settle_listeners(b);
  if (!code) code = settle_tls(b, &o.tls);
  fill_options(b, &o);
  roam_time now = roam_loop_now(b->loop);
  if (!code) code = make_broker(b, &o, now);
  if (code) return code;
  roam_rc rc = roam_loop_add(b->loop, roam_broker_machine(b->broker), take_events, b);
  if (!rc) rc = roam_loop_add_fd(b->loop, b->signals, take_signal, b);
  if (rc) return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "cannot start: %s", roam_strerror(rc));
  return open_listeners(b, now);
}

static void tear_down(struct broker *b) {
  roam_loop_free(b->loop);
  roam_broker_free(b->broker);
  roam_identity_clear(&b->identity);
  free(b->certificate);
  free(b->key);
  free(b->ca);
  if (b->signals > 0) close(b->signals);
}

static int run(struct broker *b) {
  int code = set_up(b);
  if (!code) {
    turn(b);
    code = b->code;
    tell_farewell(b);
  }
  tear_down(b);
  return code;
}

int cmd_broker(int argc, char **argv) {
  struct broker b = {0};
  const roam_opt rows[] = {
      {.kind = ROAM_OPT_HEADING, .help = "Listeners (none given: loopback, TCP 1883 and QUIC 14567)"},
      {"tcp", 0, ROAM_OPT_LIST, "ADDR", "MQTT over TCP here, such as 127.0.0.1:1883 (repeatable)", &b.tcp},
      {"quic", 0, ROAM_OPT_LIST, "ADDR", "MQTT over QUIC here, such as 127.0.0.1:14567 (repeatable)", &b.quic},
      {"allow-anonymous", 0, ROAM_OPT_FLAG, NULL, "needed beyond loopback: anybody may connect", &b.anonymous},
      {.kind = ROAM_OPT_HEADING, .help = "Certificates (none given: a throw-away CA in the state folder)"},
      {"cert", 0, ROAM_OPT_STRING, "FILE", "the server's certificate chain, PEM", &b.certificate_file},
      {"key", 0, ROAM_OPT_STRING, "FILE", "and its key, PEM", &b.key_file},
      {"ca", 0, ROAM_OPT_STRING, "FILE", "CA that client certificates are checked against, PEM", &b.ca_file},
      {"require-client-certificate", 0, ROAM_OPT_FLAG, NULL, "QUIC clients without one are refused", &b.require_client},
      {.kind = ROAM_OPT_HEADING, .help = "Bounds"},
      {"connections-max", 0, ROAM_OPT_UINT, "N", "clients at once (10240)", &b.connections_max, 1, UINT32_MAX},
      {"packet-max", 0, ROAM_OPT_BYTES, "SIZE", "largest MQTT packet (1M)", &b.packet_max, 128, 268435460},
      {"queue-max", 0, ROAM_OPT_UINT, "N", "messages waiting for each session (10000)", &b.queue_max, 1, UINT32_MAX},
      {"session-expiry-max", 0, ROAM_OPT_UINT, "SECONDS", "longest a session is kept (604800)", &b.expiry_max_s, 1,
       UINT32_MAX},
      {"keep-alive-max", 0, ROAM_OPT_UINT, "SECONDS", "longest keep alive a client may have (its own)", &b.keep_alive_max_s,
       1, 65535},
      {.kind = ROAM_OPT_HEADING, .help = "Behaviour"},
      {"retry", 0, ROAM_OPT_FLAG, NULL, "QUIC clients always prove their address first", &b.retry},
      {"ignore-moves", 0, ROAM_OPT_FLAG, NULL, "do not follow clients to new addresses (for experiments)", &b.stay},
      {"quiet", 'q', ROAM_OPT_FLAG, NULL, "no lines about clients", &b.quiet},
      {"debug", 'd', ROAM_OPT_FLAG, NULL, "many lines", &b.debug},
      {"tls", 0, ROAM_OPT_LATER},
      {"ws", 0, ROAM_OPT_LATER},
      {"store", 0, ROAM_OPT_LATER},
      {"config", 0, ROAM_OPT_LATER},
  };
  const roam_opts opts = {
      "broker",
      "[options]",
      "An MQTT broker over QUIC and TCP that follows its clients from address to address.",
      "It prints where it listens and then `ready` on stdout, a line for each client on stderr; SIGINT and SIGTERM\n"
      "stop it in good order with exit code 0.",
      rows,
      sizeof rows / sizeof rows[0]};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest > 1) return roam_tool_usage("broker", "takes options only; '%s' is left over", argv[1]);
  return run(&b);
}
