/* broker_listen.c - where the broker listens: reads the addresses, opens them, says what is wrong with one, and when all
 * are open what to try. */
#include "cmd_broker.h"

#include <string.h>

static const char *transport_word(roam_transport_kind kind) { return kind == ROAM_TRANSPORT_QUIC ? "quic" : "tcp"; }

/* Port 0 can be asked for ("any free one"); a missing port means the usual one. */
static bool says_port(const char *text) {
  const char *bracket = strchr(text, ']'), *colon = strchr(bracket ? bracket : text, ':');
  return colon && !strchr(colon + 1, ':');
}

static int add_listeners(struct roam_broker_run *b, const roam_opt_list *list, roam_transport_kind transport) {
  const char *word = transport_word(transport);
  for (size_t i = 0; i < list->len; i++) {
    struct roam_listener l = {.transport = transport};
    if (b->listeners_len == ROAM_LISTENERS_MAX)
      return roam_tool_usage("broker", "--%s: at most %d listeners", word, ROAM_LISTENERS_MAX);
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

int roam_listeners_settle(struct roam_broker_run *b) {
  int code = add_listeners(b, &b->tcp, ROAM_TRANSPORT_TCP);
  if (!code) code = add_listeners(b, &b->quic, ROAM_TRANSPORT_QUIC);
  if (code || b->listeners_len) return code;
  static const char *const v4[] = {"127.0.0.1:1883", "127.0.0.1:14567"}, *const v6[] = {"[::1]:1883", "[::1]:14567"};
  static const roam_transport_kind kinds[] = {ROAM_TRANSPORT_TCP, ROAM_TRANSPORT_QUIC};
  for (size_t i = 0; i < 4; i++) {
    struct roam_listener *l = &b->listeners[b->listeners_len++];
    *l = (struct roam_listener){.transport = kinds[i % 2], .optional = i >= 2};
    if (!roam_text_addr(i < 2 ? v4[i % 2] : v6[i % 2], &l->addr)) return ROAM_EXIT_USAGE;
  }
  return 0;
}

bool roam_listeners_quic(const struct roam_broker_run *b) {
  for (size_t i = 0; i < b->listeners_len; i++)
    if (b->listeners[i].transport == ROAM_TRANSPORT_QUIC) return true;
  return false;
}

static int refuse_listener(const struct roam_broker_run *b, const struct roam_listener *l, roam_rc rc) {
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
      return roam_tool_usage(
          "broker",
          "--%s %s: others can reach this address and nobody has to log in; give --password-file, or say "
          "--allow-anonymous if that is meant",
          word, at);
    default: return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "--%s %s: %s", word, at, roam_strerror(rc));
  }
}

int roam_listeners_open(struct roam_broker_run *b, roam_time now) {
  for (size_t i = 0; i < b->listeners_len; i++) {
    struct roam_listener *l = &b->listeners[i];
    roam_rc rc = roam_broker_listen(b->broker, now, l->transport, &l->addr, &l->number);
    if (rc) return refuse_listener(b, l, rc);
  }
  return 0;
}

static void print_hints(const struct roam_broker_run *b) {
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
}

static void on_listening(struct roam_broker_run *b, const roam_event *ev) {
  char at[ROAM_ADDR_TEXT_MAX];
  for (size_t i = 0; i < b->listeners_len; i++)
    if (b->listeners[i].number == ev->token) b->listeners[i].addr = ev->u.link.local;
  printf("listening %s %s\n", roam_transport_name(ev->u.link.transport), roam_addr_format(&ev->u.link.local, at));
  b->settled++;
}

static void on_listen_failed(struct roam_broker_run *b, const roam_event *ev) {
  b->settled++;
  for (size_t i = 0; i < b->listeners_len; i++) {
    if (b->listeners[i].number != ev->token) continue;
    if (b->listeners[i].optional && ev->rc != ROAM_E_ADDRESS_IN_USE) return;
    if (!b->code) b->code = refuse_listener(b, &b->listeners[i], ev->rc);
    b->over = true;
    return;
  }
}

void roam_listeners_event(struct roam_broker_run *b, const roam_event *ev) {
  if (ev->kind == ROAM_EV_LISTENING) on_listening(b, ev);
  else on_listen_failed(b, ev);
  if (b->settled == b->listeners_len && !b->over) print_hints(b);
}
