/* broker_limits.c - the broker's limits: name, field, range and a line of help, once. What happens at each is in
 * docs/guide/limits.md. Refuses to judge how limits go together: roam_broker_option_error does. */
#include "broker_limits.h"

#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(roam_broker_options, name), sizeof((roam_broker_options *)0)->name
#define COUNT_MAX UINT32_MAX

static const struct limit {
  roam_opt row;
  size_t offset, width;
} limits[] = {
    {{"connections-max", 0, ROAM_OPT_UINT, "N", "connections at once (10240)", NULL, 1, 1 << 22}, FIELD(connections_max)},
    {{"handshakes-max", 0, ROAM_OPT_UINT, "N", "QUIC, TLS and WebSocket handshakes at once (1024)", NULL, 1, COUNT_MAX},
     FIELD(handshakes_max)},
    {{"sessions-max", 0, ROAM_OPT_UINT, "N", "sessions, connected or not (100000)", NULL, 1, COUNT_MAX},
     FIELD(sessions_max)},
    {{"session-expiry-max", 0, ROAM_OPT_UINT, "SECONDS", "longest a session is kept (604800)", NULL, 0, COUNT_MAX},
     FIELD(session_expiry_max_s)},
    {{"subscriptions-max", 0, ROAM_OPT_UINT, "N", "subscriptions of each session (1024)", NULL, 1, COUNT_MAX},
     FIELD(subscriptions_max)},
    {{"topic-levels-max", 0, ROAM_OPT_UINT, "N", "levels of a topic or filter (64)", NULL, 1, 1024},
     FIELD(topic_levels_max)},
    {{"retained-max", 0, ROAM_OPT_UINT, "N", "retained messages (100000)", NULL, 0, COUNT_MAX}, FIELD(retained_max)},
    {{"retained-bytes-max", 0, ROAM_OPT_BYTES, "SIZE", "bytes of them (256M)", NULL, 0, SIZE_MAX},
     FIELD(retained_bytes_max)},
    {{"receive-maximum", 0, ROAM_OPT_UINT, "N", "QoS 1 and 2 messages a client may have in flight (1024)", NULL, 1, 65535},
     FIELD(receive_maximum)},
    {{"topic-alias-maximum", 0, ROAM_OPT_UINT, "N", "topic aliases a client may use (16)", NULL, 0, 65535},
     FIELD(topic_alias_maximum)},
    {{"maximum-packet-size", 0, ROAM_OPT_BYTES, "SIZE", "largest packet taken (1M)", NULL, 64, 268435460},
     FIELD(maximum_packet_size)},
    {{"queue-messages-max", 0, ROAM_OPT_UINT, "N", "messages waiting for each session (10000)", NULL, 1, COUNT_MAX},
     FIELD(queue_messages_max)},
    {{"queue-bytes-max", 0, ROAM_OPT_BYTES, "SIZE", "bytes of them (16M)", NULL, 1, SIZE_MAX}, FIELD(queue_bytes_max)},
    {{"queued-bytes-max", 0, ROAM_OPT_BYTES, "SIZE", "bytes waiting for all sessions together (1G)", NULL, 1, SIZE_MAX},
     FIELD(queued_bytes_max)},
    {{"client-memory-max", 0, ROAM_OPT_BYTES, "SIZE", "what a connection and its queue may hold (32M)", NULL, 1, SIZE_MAX},
     FIELD(client_memory_max)},
    {{"memory-max", 0, ROAM_OPT_BYTES, "SIZE", "what all connections and queues may hold (2G)", NULL, 1, SIZE_MAX},
     FIELD(memory_max)},
    {{"request-rate-max", 0, ROAM_OPT_UINT, "N", "requests of a client in a second (20000000)", NULL, 1, COUNT_MAX},
     FIELD(request_rate_max)},
    {{"server-keep-alive", 0, ROAM_OPT_UINT, "SECONDS", "longest keep alive a client may have (0: its own)", NULL, 0,
      65535},
     FIELD(server_keep_alive)},
    {{"maximum-qos", 0, ROAM_OPT_UINT, "QOS", "highest QoS granted and taken (2)", NULL, 0, 2}, FIELD(maximum_qos)},
    {{"assigned-qos", 0, ROAM_OPT_UINT, "QOS", "QoS of what --assigned subscribes to (1)", NULL, 0, 2},
     FIELD(assigned_qos)},
    {{"retain-available", 0, ROAM_OPT_UINT, "0|1", "whether messages may be retained (1)", NULL, 0, 1},
     FIELD(retain_available)},
    {{"connect-timeout", 0, ROAM_OPT_DURATION, "TIME", "from the first packet to CONNECT (10s)", NULL, ROAM_MS, 0},
     FIELD(connect_timeout_ns)},
    {{"idle-timeout", 0, ROAM_OPT_DURATION, "TIME", "QUIC connections end when silent so long (1.5 x keep alive)", NULL, 0,
      0},
     FIELD(idle_timeout_ns)},
    {{"address-history-max", 0, ROAM_OPT_UINT, "N", "past addresses kept for each client (16)", NULL, 1, 65535},
     FIELD(address_history_max)},
    {{"sys-interval", 0, ROAM_OPT_UINT, "SECONDS", "how often $SYS topics are published (10; 0: never)", NULL, 0,
      COUNT_MAX},
     FIELD(sys_interval_s)},
    {{"login-failures-max", 0, ROAM_OPT_UINT, "N", "failed logins a minute from one address (10; 0: any)", NULL, 0,
      COUNT_MAX},
     FIELD(auth_failures_max)},
    {{"connect-rate-max", 0, ROAM_OPT_UINT, "N", "connects a second from one address (0: any)", NULL, 0, COUNT_MAX},
     FIELD(connect_rate_max)},
    {{"address-connections-max", 0, ROAM_OPT_UINT, "N", "connections at once from one address (0: any)", NULL, 0,
      COUNT_MAX},
     FIELD(address_connections_max)},
    {{"auth-waiting-max", 0, ROAM_OPT_UINT, "N", "clients whose login is being decided (1024)", NULL, 1, COUNT_MAX},
     FIELD(auth_waiting_max)},
    {{"silent-max", 0, ROAM_OPT_DURATION, "TIME", "QUIC clients without keep alive end when silent so long (1h)", NULL,
      ROAM_MS, 0},
     FIELD(silent_max_ns)},
    {{"store-pending-bytes-max", 0, ROAM_OPT_BYTES, "SIZE", "changed and not written yet, then no client is read (8M)",
      NULL, 1, SIZE_MAX},
     FIELD(store_pending_bytes_max)},
    {{"store-timeout", 0, ROAM_OPT_DURATION, "TIME", "for one commit, then the store counts as failed (30s)", NULL, ROAM_MS,
      0},
     FIELD(store_timeout_ns)},
};

#define LIMITS (sizeof limits / sizeof limits[0])

/* Fields are unsigned integers and one bool, in this machine's own order of bytes. */
static uint64_t read_field(const roam_broker_options *o, const struct limit *l) {
  const uint8_t *at = (const uint8_t *)o + l->offset;
  uint16_t two;
  uint32_t four;
  uint64_t eight;
  switch (l->width) {
    case 1: return *at;
    case 2: return memcpy(&two, at, 2), two;
    case 4: return memcpy(&four, at, 4), four;
    default: return memcpy(&eight, at, 8), eight;
  }
}

static void write_field(roam_broker_options *o, const struct limit *l, uint64_t value) {
  uint8_t *at = (uint8_t *)o + l->offset;
  uint16_t two = (uint16_t)value;
  uint32_t four = (uint32_t)value;
  switch (l->width) {
    case 1: *at = (uint8_t)value; break;
    case 2: memcpy(at, &two, 2); break;
    case 4: memcpy(at, &four, 4); break;
    default: memcpy(at, &value, 8); break;
  }
}

size_t roam_limits_init(roam_limits *l, roam_opt rows[ROAM_LIMITS_OPTS_MAX]) {
  _Static_assert(LIMITS <= ROAM_LIMITS_MAX, "values hold all limits");
  roam_broker_options defaults;
  size_t n = 0;
  roam_broker_options_init(&defaults);
  *l = (roam_limits){0};
  rows[n++] = (roam_opt){.kind = ROAM_OPT_HEADING, .help = "Limits (docs/guide/limits.md says what happens at each)"};
  for (size_t i = 0; i < LIMITS; i++) {
    l->values[i] = read_field(&defaults, &limits[i]);
    rows[n] = limits[i].row;
    rows[n++].to = &l->values[i];
  }
  rows[n++] = (roam_opt){"overflow",  0, ROAM_OPT_STRING, "HOW", "a full queue: refuse, drop_oldest, drop_newest (refuse)",
                         &l->overflow};
  rows[n++] = (roam_opt){"payload-format-check",  0, ROAM_OPT_FLAG, NULL, "refuse payloads that are not the UTF-8 they say",
                         &l->payload_format_check};
  rows[n++] = (roam_opt){"response-information",  0, ROAM_OPT_STRING, "TEXT", "what clients that ask for it are told",
                         &l->response_information};
  for (size_t i = 0; i < LIMITS; i++) { /* the name it has elsewhere */
    if (strcmp(limits[i].row.name, "login-failures-max") != 0) continue;
    rows[n] = (roam_opt){"auth-failures-max", 0, ROAM_OPT_UINT, "N", NULL, &l->values[i], 0, COUNT_MAX, false};
    n++;
  }
  return n;
}

const char *roam_limits_fill(const roam_limits *l, roam_broker_options *o, const char **value) {
  static const char *const words[] = {"refuse", "drop_oldest", "drop_newest"};
  for (size_t i = 0; i < LIMITS; i++) write_field(o, &limits[i], l->values[i]);
  o->payload_format_check = l->payload_format_check;
  o->response_information = l->response_information;
  *value = l->overflow;
  if (!l->overflow) return NULL;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(l->overflow, words[i]) != 0) continue;
    o->overflow = (roam_overflow)i;
    return NULL;
  }
  return "--overflow: expected refuse, drop_oldest or drop_newest";
}
