/* dial_options.c - the options by which pub and sub are told where and how to connect, checked before anything is opened.
 * Refuses to read payloads and topics: those are the commands' own. */
#include "dial.h"

#include <string.h>
#include <strings.h>

static size_t fill_place(roam_dial_options *o, roam_opt rows[]) {
  const roam_opt all[] = {
      {.kind = ROAM_OPT_HEADING, .help = "Where"},
      {"url", 'L', ROAM_OPT_STRING, "URL", "mqtt-quic://host[:14567][/topic], mqtts://, mqtt://, wss://host[/path], ws://",
       &o->url},
      {"host", 'h', ROAM_OPT_STRING, "HOST", "host instead of a URL (localhost)", &o->host},
      {"port", 'p', ROAM_OPT_UINT, "PORT", "its port (1883, with --quic 14567, with --tls 8883)", &o->port, 1, 65535},
      {"quic", 0, ROAM_OPT_FLAG, NULL, "with -h: QUIC instead of TCP", &o->quic},
      {"tls", 0, ROAM_OPT_FLAG, NULL, "with -h: TLS over TCP", &o->tls},
      {"ws", 0, ROAM_OPT_FLAG, NULL, "with -h: WebSocket (port 80, with --tls 443), path /mqtt", &o->ws},
      {"unix", 0, ROAM_OPT_STRING, "PATH", "a broker's Unix socket, as unix://PATH is", &o->unix_path},
      {"bind", 'A', ROAM_OPT_ADDRESS, "ADDR", "local address to connect from", &o->local},
      {"migrate-at", 0, ROAM_OPT_LIST, "TIME=ADDR",
       "QUIC: move there so long after connecting (repeatable; or =interface; ,now: unasked)", &o->moves},
      {"interfaces", 0, ROAM_OPT_STRING, "LIST",
       "QUIC: roam by itself, in this order: 'wlan0, wwan0:metered, ppp*:cost=50'", &o->interfaces},
      {"stay", 0, ROAM_OPT_FLAG, NULL, "QUIC: do not roam by itself", &o->stay},
      {"fallback", 0, ROAM_OPT_FLAG, NULL, "QUIC: when UDP does not get through, TLS to the same host (and back)",
       &o->fallback},
      {"fallback-url", 0, ROAM_OPT_STRING, "URL", "and that elsewhere: mqtts://host[:port] or wss://host[:port][/path]",
       &o->fallback_url},
      {"fallback-port", 0, ROAM_OPT_UINT, "PORT", "its port (8883)", &o->fallback_port, 1, 65535},
      {"ping", 0, ROAM_OPT_SECONDS, "TIME", "QUIC: PING after so long without a packet (15s)", &o->ping_ns, ROAM_MS, 0},
      {.kind = ROAM_OPT_HEADING, .help = "Who"},
      {"id", 'i', ROAM_OPT_STRING, "ID", "client id (roam- and random letters)", &o->id},
      {"username", 'u', ROAM_OPT_STRING, "NAME", "user name", &o->user},
      {"pw", 'P', ROAM_OPT_STRING, "WORD", "password", &o->password},
      {"auth-method", 0, ROAM_OPT_STRING, "NAME", "SCRAM-SHA-256: the password itself never travels (with -u and -P)",
       &o->auth_method},
      {"cafile", 0, ROAM_OPT_STRING, "FILE", "PEM file of the CA to trust (the system's)", &o->ca_file},
      {"cert", 0, ROAM_OPT_STRING, "FILE", "this client's certificate, PEM", &o->certificate_file},
      {"key", 0, ROAM_OPT_STRING, "FILE", "and its key, PEM", &o->key_file},
      {"server-name", 0, ROAM_OPT_STRING, "NAME", "expect this name in the certificate (the URL's host)", &o->server_name},
      {"insecure", 0, ROAM_OPT_FLAG, NULL, "do not verify the server's certificate", &o->insecure},
      {.kind = ROAM_OPT_HEADING, .help = "QUIC streams"},
      {"lanes", 0, ROAM_OPT_STRING, "HOW", "data streams: one, per-topic, per-qos, split or per-message (one)", &o->lanes},
      {"flows", 0, ROAM_OPT_FLAG, NULL, "MQTT-next, where the server speaks it: streams that can be recovered", &o->flows},
      {"bare-control", 0, ROAM_OPT_FLAG, NULL, "with --flows: no header on the control stream (mqttv5's broker)",
       &o->bare_control},
      {"datagrams", 0, ROAM_OPT_FLAG, NULL, "QoS 0 in QUIC datagrams, where they are taken and it fits", &o->datagrams},
  };
  _Static_assert(sizeof all / sizeof all[0] <= ROAM_DIAL_OPTS_MAX / 2, "rows hold both halves");
  memcpy(rows, all, sizeof all);
  return sizeof all / sizeof all[0];
}

static size_t fill_manner(roam_dial_options *o, roam_opt rows[]) {
  const roam_opt all[] = {
      {.kind = ROAM_OPT_HEADING, .help = "How"},
      {"protocol-version", 'V', ROAM_OPT_STRING, "VERSION", "5, 311 or 31 (5); also mqttv5, mqttv311, mqttv31",
       &o->version},
      {"keepalive", 'k', ROAM_OPT_UINT, "SECONDS", "MQTT keep alive (60)", &o->keep_alive_s, 0, 65535},
      {"disable-clean-session", 'c', ROAM_OPT_FLAG, NULL, "keep the session after this program ends (needs -i)",
       &o->keep_session},
      {"session-expiry-interval", 'x', ROAM_OPT_UINT, "SECONDS", "how long the server keeps it (with -c: for ever)",
       &o->expiry_s, 0, UINT32_MAX},
      {NULL, 'W', ROAM_OPT_SECONDS, "TIME", "stop after that long, with exit code 27", &o->timeout_ns, 1, 0},
      {"connect-timeout", 0, ROAM_OPT_SECONDS, "TIME", "give up connecting after that long (10s)", &o->connect_timeout_ns,
       ROAM_MS, 0},
      {"give-up-after", 0, ROAM_OPT_SECONDS, "TIME", "give up, with exit code 5, when a lost connection is not back",
       &o->give_up_ns},
      {"will-topic", 0, ROAM_OPT_STRING, "TOPIC", "the server publishes this when the client vanishes", &o->will_topic},
      {"will-payload", 0, ROAM_OPT_STRING, "TEXT", "its payload", &o->will_payload},
      {"will-qos", 0, ROAM_OPT_UINT, "QOS", "its QoS (0)", &o->will_qos, 0, 2},
      {"will-retain", 0, ROAM_OPT_FLAG, NULL, "retained", &o->will_retain},
      {"will-delay", 0, ROAM_OPT_UINT, "SECONDS", "so long after the connection ended (0)", &o->will_delay_s, 0,
       UINT32_MAX},
      {"receive-maximum", 0, ROAM_OPT_UINT, "N", "QoS 1 and 2 messages the server may have in flight (1024)",
       &o->receive_maximum, 1, 65535},
      {"topic-alias-maximum", 0, ROAM_OPT_UINT, "N", "topic aliases the server may use (16)", &o->topic_alias_maximum, 0,
       65535},
      {"maximum-packet-size", 0, ROAM_OPT_BYTES, "SIZE", "largest packet taken (1M)", &o->maximum_packet_size, 128,
       268435460},
      {"payload-format-check", 0, ROAM_OPT_FLAG, NULL, "refuse payloads that are not the UTF-8 they say",
       &o->payload_format_check},
      {"state", 0, ROAM_OPT_STRING, "FILE", "QUIC: keep tickets there, so that the next run connects in its first flight",
       &o->state_file},
      {"no-early-data", 0, ROAM_OPT_FLAG, NULL, "QUIC: send nothing before the handshake is done", &o->no_early_data},
      {"congestion", 0, ROAM_OPT_STRING, "NAME", "QUIC: cubic, reno or bbr (cubic)", &o->congestion},
      {"datagram-bytes", 0, ROAM_OPT_UINT, "N", "QUIC: largest UDP payload, where the path carries it (8952)",
       &o->datagram_bytes_max, 1200, 65487},
      {"key-update", 0, ROAM_OPT_BYTES, "SIZE", "QUIC: new keys after so much sent (1G; 0: the library's choice)",
       &o->key_update_bytes},
      {"keylog", 0, ROAM_OPT_STRING, "FILE", "QUIC: append secrets for tshark and Wireshark (whoever has them can read)",
       &o->keylog_file},
      {"qlog", 0, ROAM_OPT_STRING, "DIR", "QUIC: a qlog of each connection there, for qvis", &o->qlog_folder},
      {"debug", 'd', ROAM_OPT_FLAG, NULL, "tell on stderr what happens", &o->debug},
      {"log-format", 0, ROAM_OPT_STRING, "FORMAT", "of what is told: text, or json: an object a line, with fields (text)",
       &o->log_format},
      {"quiet", 0, ROAM_OPT_FLAG, NULL, "say nothing but errors", &o->quiet},
  };
  _Static_assert(sizeof all / sizeof all[0] <= ROAM_DIAL_OPTS_MAX / 2, "rows hold both halves");
  memcpy(rows, all, sizeof all);
  return sizeof all / sizeof all[0];
}

size_t roam_dial_options_init(roam_dial_options *o, roam_opt rows[ROAM_DIAL_OPTS_MAX]) {
  *o = (roam_dial_options){.keep_alive_s = 60,
                           .connect_timeout_ns = 10 * ROAM_S,
                           .give_up_ns = ROAM_NEVER,
                           .receive_maximum = 1024,
                           .topic_alias_maximum = 16,
                           .maximum_packet_size = 1 << 20,
                           .key_update_bytes = UINT64_C(1) << 30,
                           .datagram_bytes_max = 8952};
  size_t n = fill_place(o, rows);
  return n + fill_manner(o, rows + n);
}

/* "mqtt://host:1883/a/b": the part up to the path into l->url, the path without its slash into l->topic. */
static int split_url(roam_dial *l, const char *url) {
  const char *host = strstr(url, "://"), *path = host ? strchr(host + 3, '/') : NULL;
  bool local = strncasecmp(url, "unix:", 5) == 0;
  if (local || strncasecmp(url, "ws:", 3) == 0 || strncasecmp(url, "wss:", 4) == 0) path = NULL; /* it is no topic */
  size_t len = path ? (size_t)(path - url) : strlen(url);
  if (!host) {
    return roam_tool_usage(
        l->command,
        "'%s' is not a URL; write mqtt-quic://host[:14567][/topic] or mqtt://host[:1883][/topic] (or mqtts, wss, ws)", url);
  }
  if (!local && memchr(url, '@', len)) {
    return roam_tool_usage(l->command, "a URL carries no user name or password here; give them with -u and -P");
  }
  if (len >= sizeof l->url || (path && strlen(path) > sizeof l->topic)) {
    return roam_tool_usage(l->command, "the URL is too long; give the topic with -t");
  }
  memcpy(l->url, url, len);
  l->url[len] = 0;
  snprintf(l->topic, sizeof l->topic, "%s", path ? path + 1 : "");
  return 0;
}

static int compose_unix(roam_dial *l) {
  const roam_dial_options *o = &l->o;
  if (o->host || o->port || o->quic || o->tls || o->ws)
    return roam_tool_usage(l->command, "--unix stands alone: leave -h, -p, --quic, --tls and --ws out");
  if (o->unix_path[0] != '/')
    return roam_tool_usage(l->command, "--unix: expected a path from the root on, such as /run/mqtt.sock, got '%s'",
                           o->unix_path);
  int n = snprintf(l->url, sizeof l->url, "unix://%s", o->unix_path);
  if (n < 0 || (size_t)n >= sizeof l->url) return roam_tool_usage(l->command, "--unix: too long");
  return 0;
}

static int compose_url(roam_dial *l) {
  const roam_dial_options *o = &l->o;
  if (o->unix_path) return compose_unix(l);
  const char *host = o->host ? o->host : "localhost";
  bool bare_v6 = strchr(host, ':') && host[0] != '[';
  if (o->quic && (o->tls || o->ws)) return roam_tool_usage(l->command, "--quic stands alone: it has TLS in it already");
  const char *scheme = o->quic ? "mqtt-quic" : o->ws ? (o->tls ? "wss" : "ws") : o->tls ? "mqtts" : "mqtt";
  uint64_t usual = o->quic ? 14567 : o->ws ? (o->tls ? 443 : 80) : o->tls ? 8883 : 1883;
  int n = snprintf(l->url, sizeof l->url, "%s://%s%s%s:%u", scheme, bare_v6 ? "[" : "", host, bare_v6 ? "]" : "",
                   (unsigned)(o->port ? o->port : usual));
  if (n < 0 || (size_t)n >= sizeof l->url) return roam_tool_usage(l->command, "--host: too long");
  return 0;
}

static int settle_url(roam_dial *l, const char *operand) {
  const roam_dial_options *o = &l->o;
  const char *url = o->url ? o->url : operand;
  if (o->url && operand) return roam_tool_usage(l->command, "give one URL: -L %s or %s", o->url, operand);
  if (!url) return compose_url(l);
  if (o->host || o->port || o->quic || o->tls || o->ws || o->unix_path) {
    return roam_tool_usage(l->command, "a URL says host, port and transport; leave -h, -p, --quic, --tls and --ws out");
  }
  return split_url(l, url);
}

/* "5s=127.0.0.2" */
static int settle_moves(roam_dial *l) {
  const roam_opt_list *list = &l->o.moves;
  for (size_t i = 0; i < list->len; i++) {
    roam_dial_move *move = &l->moves[l->moves_len];
    char time[32];
    const char *equals = strchr(list->at[i], '=');
    size_t len = equals ? (size_t)(equals - list->at[i]) : 0;
    if (l->moves_len == ROAM_DIAL_MOVES_MAX) {
      return roam_tool_usage(l->command, "--migrate-at: given more than %d times", ROAM_DIAL_MOVES_MAX);
    }
    snprintf(time, sizeof time, "%.*s", (int)len, list->at[i]);
    if (!equals || len >= sizeof time || !equals[1] || !roam_text_duration(time, &move->after_ns)) {
      return roam_tool_usage(l->command, "--migrate-at: expected TIME=ADDR such as 5s=127.0.0.2, got '%s'", list->at[i]);
    }
    size_t where_len = strlen(equals + 1);
    move->immediate = where_len > 4 && strcmp(equals + 1 + where_len - 4, ",now") == 0;
    if (move->immediate) where_len -= 4;
    snprintf(move->where, sizeof move->where, "%.*s", (int)where_len, equals + 1);
    if (roam_addr_parse(move->where, &move->local)) move->interface = move->where;
    l->moves_len++;
  }
  if (l->moves_len && !l->quic) {
    return roam_tool_usage(l->command, "--migrate-at: TCP cannot move; use a mqtt-quic:// URL or --quic");
  }
  return 0;
}

int roam_dial_lanes(const char *word) {
  static const char *const words[] = {"one", "per-topic", "per-qos", "split", "per-message"};
  for (int i = 0; i < 5; i++)
    if (!strcmp(word, words[i])) return i;
  return -1;
}

static int check_words(roam_dial *l) {
  const roam_dial_options *o = &l->o;
  if (o->log_format && !roam_tell_format(o->log_format, &l->o.json))
    return roam_tool_usage(l->command, "--log-format: text or json, got '%s'", o->log_format);
  if (!l->secure && (o->ca_file || o->certificate_file || o->insecure)) {
    return roam_tool_usage(l->command, "--cafile, --cert and --insecure need QUIC or TLS: a mqtt-quic://, mqtts:// or "
                                       "wss:// URL, or --quic or --tls");
  }
  if (!l->quic && (o->lanes || o->flows || o->datagrams))
    return roam_tool_usage(l->command, "--lanes, --flows and --datagrams need QUIC: --quic or a mqtt-quic:// URL");
  if (o->lanes && roam_dial_lanes(o->lanes) < 0)
    return roam_tool_usage(l->command, "--lanes: one, per-topic, per-qos, split or per-message, not '%s'", o->lanes);
  if (o->auth_method && (strcmp(o->auth_method, "SCRAM-SHA-256") != 0 || !o->user || !o->password || !*o->password))
    return roam_tool_usage(l->command, "--auth-method: SCRAM-SHA-256 is known, and needs -u and -P");
  if (!o->certificate_file != !o->key_file) return roam_tool_usage(l->command, "--cert and --key: give both or neither");
  if (o->keep_session && !o->id)
    return roam_tool_usage(l->command, "-c keeps the session of a client id; give one with -i");
  return 0;
}

static int settle_transport(roam_dial *l) {
  roam_transport_kind transport;
  char host[ROAM_DIAL_URL_MAX];
  uint16_t port;
  if (roam_url_parse(l->url, &transport, host, sizeof host, &port)) {
    return roam_tool_usage(
        l->command,
        "'%s' is not scheme://host[:port]; mqtt-quic://, mqtts://, mqtt://, wss://, ws:// and unix:///path "
        "are known, IPv6 stands in brackets",
        l->url);
  }
  l->quic = transport == ROAM_TRANSPORT_QUIC;
  l->secure = transport != ROAM_TRANSPORT_TCP && transport != ROAM_TRANSPORT_WS;
  return 0;
}

int roam_dial_settle(roam_dial *l, const char *operand) {
  int code = settle_url(l, operand);
  if (!code) code = settle_transport(l);
  if (!code) code = settle_moves(l);
  return code ? code : check_words(l);
}
