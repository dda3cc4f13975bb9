/* broker_listen.c - where the broker listens: reads the addresses, opens them, says what is wrong with one, and when all
 * are open what to try. Refuses to be the broker's judge: whether an address may be listened on, the library says. */
#include "cmd_broker.h"
#include "systemd.h"

#include <string.h>

static const struct kind {
  const char *word; /* option, and name of a socket from systemd */
  roam_transport_kind transport;
  uint16_t port;
} kinds[] = {{"tcp", ROAM_TRANSPORT_TCP, 1883},
             {"quic", ROAM_TRANSPORT_QUIC, 14567},
             {"tls", ROAM_TRANSPORT_TLS, 8883},
             {"ws", ROAM_TRANSPORT_WS, 8083},
             {"wss", ROAM_TRANSPORT_WSS, 8084}};

static const struct kind *kind_of(roam_transport_kind transport) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (kinds[i].transport == transport) return &kinds[i];
  return &kinds[0];
}

static const char *describe(const struct roam_listener *l, char text[ROAM_ADDR_TEXT_MAX]) {
  return l->name[0] ? l->name : roam_addr_format(&l->addr, text);
}

/* Port 0 can be asked for ("any free one"); a missing port means the usual one. */
static bool says_port(const char *text) {
  const char *bracket = strchr(text, ']'), *colon = strchr(bracket ? bracket : text, ':');
  return colon && !strchr(colon + 1, ':');
}

static struct roam_listener *add(struct roam_broker_run *b, const char *word, const char *given) {
  if (b->listeners_len == ROAM_LISTENERS_MAX) {
    roam_broker_complain(b, given, "--%s: at most %d listeners", word, ROAM_LISTENERS_MAX);
    return NULL;
  }
  return &b->listeners[b->listeners_len++];
}

static int add_listeners(struct roam_broker_run *b, const roam_opt_list *list, const struct kind *kind) {
  for (size_t i = 0; i < list->len; i++) {
    struct roam_listener *l = add(b, kind->word, list->at[i]);
    if (!l) return ROAM_EXIT_USAGE;
    *l = (struct roam_listener){.transport = kind->transport, .given = list->at[i]};
    if (!roam_text_addr(list->at[i], &l->addr)) {
      return roam_broker_complain(b, list->at[i], "--%s: expected an address such as 127.0.0.1:%d or [::1]:%d, got '%s'",
                                  kind->word, kind->port, kind->port, list->at[i]);
    }
    if (!says_port(list->at[i])) l->addr.port = kind->port;
    /* TCP's [::] takes IPv4 too; for QUIC it is a second socket. */
    if (kind->transport != ROAM_TRANSPORT_QUIC || l->addr.family != 6 || !roam_addr_is_any(&l->addr) || !l->addr.port)
      continue;
    struct roam_listener *also = add(b, kind->word, list->at[i]);
    if (!also) return ROAM_EXIT_USAGE;
    *also = (struct roam_listener){.transport = kind->transport,
                                   .addr = {.family = 4, .port = l->addr.port},
                                   .optional = true,
                                   .shared = true,
                                   .given = list->at[i]};
  }
  return 0;
}

static int add_paths(struct roam_broker_run *b) {
  for (size_t i = 0; i < b->unix_paths.len; i++) {
    struct roam_listener *l = add(b, "unix", b->unix_paths.at[i]);
    if (!l) return ROAM_EXIT_USAGE;
    *l = (struct roam_listener){.transport = ROAM_TRANSPORT_TCP, .local = true, .given = b->unix_paths.at[i]};
    if (strlen(b->unix_paths.at[i]) >= sizeof l->name || strncmp(b->unix_paths.at[i], "fd:", 3) == 0)
      return roam_broker_complain(b, b->unix_paths.at[i], "--unix: expected a path of at most 107 bytes, got '%s'",
                                  b->unix_paths.at[i]);
    snprintf(l->name, sizeof l->name, "%s", b->unix_paths.at[i]);
  }
  return 0;
}

/* Streams are MQTT over TCP unless their name says otherwise; datagrams are QUIC. */
static const struct kind *kind_of_given(const roam_systemd_socket *given) {
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    if (strcmp(given->name, kinds[k].word) == 0) return &kinds[k];
  return given->datagram ? &kinds[1] : &kinds[0];
}

static const char *find_objection(const roam_systemd_socket *given, bool quic) {
  if (!given->stream && !given->datagram) return "is neither a listening stream nor a bound datagram socket";
  if (given->stream && quic) return "is a stream, and QUIC needs ListenDatagram=";
  if (given->datagram && !quic) return "is a datagram socket, which only QUIC can use: FileDescriptorName=quic";
  if (given->datagram && given->dual)
    return "takes IPv4 too, which QUIC cannot use: BindIPv6Only=ipv6-only, and one for IPv4";
  return NULL;
}

static int add_given(struct roam_broker_run *b) {
  roam_systemd_socket given[ROAM_SYSTEMD_SOCKETS_MAX];
  size_t n = roam_systemd_sockets(given);
  for (size_t i = 0; i < n; i++) {
    const struct kind *kind = kind_of_given(&given[i]);
    const char *wrong = find_objection(&given[i], kind->transport == ROAM_TRANSPORT_QUIC);
    if (wrong) return roam_tool_usage("broker", "systemd's socket %d ('%s') %s", given[i].fd, given[i].name, wrong);
    struct roam_listener *l = add(b, kind->word, NULL);
    if (!l) return ROAM_EXIT_USAGE;
    *l = (struct roam_listener){.transport = kind->transport, .addr = given[i].addr, .local = given[i].local};
    snprintf(l->name, sizeof l->name, "fd:%d", given[i].fd);
  }
  return 0;
}

static int add_defaults(struct roam_broker_run *b) {
  static const char *const v4[] = {"127.0.0.1:1883", "127.0.0.1:14567"}, *const v6[] = {"[::1]:1883", "[::1]:14567"};
  for (size_t i = 0; i < 4; i++) {
    struct roam_listener *l = &b->listeners[b->listeners_len++];
    *l = (struct roam_listener){.transport = kinds[i % 2].transport, .optional = i >= 2};
    if (!roam_text_addr(i < 2 ? v4[i % 2] : v6[i % 2], &l->addr)) return ROAM_EXIT_USAGE;
  }
  return 0;
}

int roam_listeners_settle(struct roam_broker_run *b) {
  const roam_opt_list *const lists[] = {&b->tcp, &b->quic, &b->tls, &b->ws, &b->wss};
  int code = 0;
  b->listeners_len = 0;
  for (size_t i = 0; i < sizeof lists / sizeof lists[0] && !code; i++) code = add_listeners(b, lists[i], &kinds[i]);
  if (!code) code = add_paths(b);
  if (!code) code = add_given(b);
  return code || b->listeners_len ? code : add_defaults(b);
}

bool roam_listeners_secure(const struct roam_broker_run *b) {
  for (size_t i = 0; i < b->listeners_len; i++)
    if (b->listeners[i].transport != ROAM_TRANSPORT_TCP && b->listeners[i].transport != ROAM_TRANSPORT_WS) return true;
  return false;
}

static int refuse_listener(const struct roam_broker_run *b, const struct roam_listener *l, roam_rc rc) {
  char text[ROAM_ADDR_TEXT_MAX];
  const char *word = l->name[0] == 'f' ? "systemd socket" : l->name[0] ? "--unix" : NULL, *at = describe(l, text);
  char option[16];
  snprintf(option, sizeof option, "--%s", kind_of(l->transport)->word);
  if (!word) word = option;
  switch (rc) {
    case ROAM_E_ADDRESS_IN_USE:
      return roam_tool_fail("broker", ROAM_EXIT_CONNECT,
                            l->name[0] ? "%s %s: another process listens there, or it is a file that is no socket; stop "
                                         "that one, or choose another path here"
                                       : "%s %s: the port is in use by another program; stop that one, or choose another "
                                         "port here",
                            word, at);
    case ROAM_E_ADDRESS_NOT_AVAILABLE:
      return roam_tool_fail("broker", ROAM_EXIT_CONNECT,
                            "%s %s: this machine has no such address (`ip address` lists them)", word, at);
    case ROAM_E_PERMISSION:
      if (l->name[0] == '/' || l->local)
        return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "%s %s: no permission to make a socket there", word, at);
      if (l->addr.port && l->addr.port < 1024 && roam_addr_is_loopback(&l->addr)) {
        return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "%s %s: ports below 1024 need root; choose a higher one", word,
                              at);
      }
      return roam_broker_complain(b, l->given,
                                  "%s %s: others can reach this address and nobody has to log in; give --password-file, or "
                                  "say --allow-anonymous if that is meant",
                                  word, at);
    default: return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "%s %s: %s", word, at, roam_strerror(rc));
  }
}

static roam_rc open_one(struct roam_broker_run *b, struct roam_listener *l, roam_time now) {
  if (!l->name[0]) return roam_broker_listen(b->broker, now, l->transport, &l->addr, &l->number);
  return roam_broker_listen_name(b->broker, now, l->transport, l->name, l->local ? NULL : &l->addr, &l->number);
}

int roam_listeners_open(struct roam_broker_run *b, roam_time now) {
  for (size_t i = 0; i < b->listeners_len; i++) {
    roam_rc rc = open_one(b, &b->listeners[i], now);
    if (rc) return refuse_listener(b, &b->listeners[i], rc);
  }
  return 0;
}

/* Without a certificate one would be made at the start. */
int roam_listeners_check(struct roam_broker_run *b) {
  for (size_t i = 0; i < b->listeners_len; i++) {
    roam_rc rc = open_one(b, &b->listeners[i], ROAM_S);
    if (rc && (rc != ROAM_E_CERTIFICATE || b->certificate_files.len > 0)) return refuse_listener(b, &b->listeners[i], rc);
  }
  return 0;
}

void roam_listeners_ready(struct roam_broker_run *b) {
  for (size_t i = 0; i < b->listeners_len; i++) {
    const struct roam_listener *l = &b->listeners[i];
    if (l->transport != ROAM_TRANSPORT_QUIC || !l->addr.port || !b->throwaway) continue;
    printf("throw-away CA: %s\n", b->ca_path);
    printf("try:  roamqtt sub -L 'mqtt-quic://localhost:%u/#' -v --cafile '%s'\n", l->addr.port, b->ca_path);
    printf("and:  roamqtt pub -L mqtt-quic://localhost:%u/hello -m world --cafile '%s'\n", l->addr.port, b->ca_path);
    break;
  }
  printf("ready; Ctrl-C stops\n");
  fflush(stdout);
  roam_systemd_tell("READY=1\nSTATUS=listening");
}

static struct roam_listener *find(struct roam_broker_run *b, uint64_t number) {
  for (size_t i = 0; i < b->listeners_len; i++)
    if (b->listeners[i].number == number) return &b->listeners[i];
  return NULL;
}

static void on_listening(struct roam_broker_run *b, const roam_event *ev) {
  char at[ROAM_ADDR_TEXT_MAX];
  struct roam_listener *l = find(b, ev->token);
  if (l) l->open = true;
  if (l && ev->u.link.local.family) l->addr = ev->u.link.local;
  bool path = l && l->name[0] && !ev->u.link.local.family;
  printf("listening %s %s\n", path ? "unix" : roam_transport_name(ev->u.link.transport),
         path ? l->name : roam_addr_format(&ev->u.link.local, at));
  b->settled++;
}

static void on_listen_failed(struct roam_broker_run *b, const roam_event *ev) {
  struct roam_listener *l = find(b, ev->token);
  b->settled++;
  if (!l || (l->optional && (l->shared || ev->rc != ROAM_E_ADDRESS_IN_USE))) return;
  if (!b->code) b->code = refuse_listener(b, l, ev->rc);
  b->over = true;
}

void roam_listeners_event(struct roam_broker_run *b, const roam_event *ev) {
  if (ev->kind == ROAM_EV_LISTENING) on_listening(b, ev);
  else on_listen_failed(b, ev);
  if (b->settled == b->listeners_len && !b->over && !roam_crew_listen(b)) roam_listeners_ready(b);
}

void roam_listeners_refused(struct roam_broker_run *b, const roam_event *ev) {
  char at[ROAM_ADDR_TEXT_MAX];
  if (!b->code)
    b->code = roam_tool_fail("broker", ROAM_EXIT_CONNECT, "--workers: a second socket at %s is refused: %s",
                             roam_addr_format(&ev->u.link.local, at), ev->text ? ev->text : roam_strerror(ev->rc));
  b->over = true;
}
