/* options.c - the broker's options: defaults, what is wrong with them, and reading those of a caller built with another
 * version. Refuses to mend them: what is wrong is named, with the remedy. */
#include "broker/broker.h"

#include <string.h>

#define MEMORY_LEAST 262144u
#define MOST UINT64_MAX

void roam_broker_options_init(roam_broker_options *o) {
  *o = (roam_broker_options){
      .size = sizeof *o,
      .follow_paths = true,
      .connections_max = 10240,
      .handshakes_max = 1024,
      .connect_timeout_ns = 10 * ROAM_S,
      .sessions_max = 100000,
      .session_expiry_max_s = 604800,
      .subscriptions_max = 1024,
      .topic_levels_max = 64,
      .retained_max = 100000,
      .retained_bytes_max = (size_t)256 << 20,
      .receive_maximum = 1024,
      .topic_alias_maximum = 16,
      .maximum_packet_size = 1u << 20,
      .queue_messages_max = 10000,
      .queue_bytes_max = (size_t)16 << 20,
      .overflow = ROAM_OVERFLOW_REFUSE,
      .address_history_max = 16,
      .silent_max_ns = 3600 * ROAM_S,
      .maximum_qos = 2,
      .request_rate_max = 20000000,
      .queued_bytes_max = (size_t)1 << 30,
      .retain_available = true,
      .sys_interval_s = 10,
      .lanes_max = ROAM_LANES_PER_PEER,
      .datagrams_max = 2048,
      .store_pending_bytes_max = (size_t)8 << 20,
      .store_timeout_ns = 30 * ROAM_S,
      .flows = true,
      .auth_waiting_max = 1024,
      .auth_failures_max = 10,
      .early_data = true,
      .replay_window_ns = 6 * 3600 * ROAM_S,
      .replay_keys_max = 65536,
      .initial_rtt_ns = 100 * ROAM_MS,
      .key_update_bytes = (uint64_t)1 << 30,
      .datagram_bytes_max = 8952,
      .client_memory_max = (size_t)32 << 20,
      .memory_max = (size_t)1 << 31,
      .assigned_qos = 1,
      .workers = 1,
  };
}

roam_broker_options roam_broker_options_read(const roam_broker_options *o) {
  roam_broker_options read;
  roam_broker_options_init(&read);
  if (o) memcpy(&read, o, o->size < sizeof read ? o->size : sizeof read);
  read.size = sizeof read;
  return read;
}

static uint32_t share_of(uint32_t all, uint32_t workers) { return all / workers + (all % workers != 0); }

void roam_options_divide(roam_broker_options *o) {
  uint32_t n = o->workers;
  if (n <= 1) return;
  uint32_t *const limits[] = {&o->connections_max,  &o->handshakes_max,         &o->sessions_max,
                              &o->auth_waiting_max, &o->auth_failures_max,      &o->connect_rate_max,
                              &o->replay_keys_max,  &o->address_connections_max};
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) *limits[i] = share_of(*limits[i], n);
  o->queued_bytes_max = o->queued_bytes_max / n + (o->queued_bytes_max % n != 0);
  o->memory_max = o->memory_max / n + (o->memory_max % n != 0);
  if (o->memory_max < o->client_memory_max) o->memory_max = o->client_memory_max; /* one client must fit */
}

roam_rc roam_broker_reconfigure(roam_broker *b, const roam_broker_options *given) {
  roam_broker_options o = roam_broker_options_read(given);
  if (roam_broker_option_error(&o)) return ROAM_E_OPTION;
  o.workers = b->o.workers;
  roam_options_divide(&o);
  b->o.connect_timeout_ns = o.connect_timeout_ns;
  b->o.session_expiry_max_s = o.session_expiry_max_s;
  b->o.receive_maximum = o.receive_maximum;
  b->o.topic_alias_maximum = o.topic_alias_maximum;
  b->o.queue_messages_max = o.queue_messages_max;
  b->o.queue_bytes_max = o.queue_bytes_max;
  b->o.overflow = o.overflow;
  b->o.request_rate_max = o.request_rate_max;
  b->o.queued_bytes_max = o.queued_bytes_max;
  b->o.client_memory_max = o.client_memory_max;
  b->o.memory_max = o.memory_max;
  b->o.server_keep_alive = o.server_keep_alive;
  b->o.log.level = o.log.level;
  roam_access_reconfigure(b, &o);
  return 0;
}

static const char *find_tls_error(const roam_tls_config *tls) {
  if (tls->certificate.len > 0 && tls->key.len == 0) return "tls.certificate without tls.key: give both or neither";
  if (tls->key.len > 0 && tls->certificate.len == 0) return "tls.key without tls.certificate: give both or neither";
  if ((tls->require_client_certificate || tls->request_client_certificate) && tls->ca.len == 0)
    return "tls.require_client_certificate and tls.request_client_certificate need tls.ca to verify them against";
  return NULL;
}

/* In CONNACK, which must stay small enough for any client. */
static bool is_text(const char *text) {
  size_t len = text ? strlen(text) : 0;
  return len <= ROAM_BROKER_RESPONSE_MAX && (len == 0 || roam_utf8_valid((roam_bytes){(const uint8_t *)text, len}));
}

static const char *find_access_error(const roam_broker_options *o) {
  const char *error = find_tls_error(&o->tls);
  if (error) return error;
  if (o->subject_as_user_name && !o->tls.require_client_certificate && !o->tls.request_client_certificate)
    return "subject_as_user_name needs tls.require_client_certificate or tls.request_client_certificate";
  if (o->passwords.base && roam_passwords_check(o->passwords, NULL) == ROAM_E_OPTION)
    return "passwords: not a password file; roam_passwords_check names the line";
  if (o->acl.base && roam_acl_check(o->acl, NULL) == ROAM_E_OPTION)
    return "acl: not an access list; roam_acl_check names the line";
  return NULL;
}

/* Numbers that must lie between two others. */
static const char *find_bound_error(const roam_broker_options *o) {
  const struct {
    uint64_t value, least, most;
    const char *text;
  } bounds[] = {
      {o->connections_max, 1, MOST, "connections_max is 0: allow at least one connection"},
      {o->connections_max, 0, 1u << 22, "connections_max is above 4194304: choose less"},
      {o->handshakes_max, 1, MOST, "handshakes_max is 0: allow at least one handshake at a time"},
      {o->connect_timeout_ns, 1, MOST, "connect_timeout_ns is 0: clients need time for their CONNECT, 10 s is usual"},
      {o->sessions_max, 1, MOST, "sessions_max is 0: allow at least one session"},
      {o->subscriptions_max, 1, MOST, "subscriptions_max is 0: allow at least one for each session"},
      {o->topic_levels_max, 1, 1024, "topic_levels_max must be from 1 to 1024"},
      {o->receive_maximum, 1, MOST, "receive_maximum is 0: MQTT forbids it, 1 is the least"},
      {o->maximum_packet_size, 64, 268435460, "maximum_packet_size must be from 64 bytes to 256 MiB"},
      {o->queue_messages_max, 1, MOST, "queue_messages_max is 0: a session must be able to hold one message"},
      {o->queue_bytes_max, 1, MOST, "queue_bytes_max is 0: a session must be able to hold one message"},
      {o->request_rate_max, 1, MOST, "request_rate_max is 0: allow at least one request a second"},
      {o->queued_bytes_max, 1, MOST, "queued_bytes_max is 0: the sessions must be able to hold something"},
      {o->client_memory_max, 2 * (uint64_t)o->maximum_packet_size + MEMORY_LEAST, MOST,
       "client_memory_max is too small: at least twice maximum_packet_size and 256 KiB"},
      {o->memory_max, o->client_memory_max, MOST,
       "memory_max is below client_memory_max: a client could never have that much"},
      {(unsigned)o->overflow, 0, ROAM_OVERFLOW_DROP_NEWEST, "overflow must be refuse, drop_oldest or drop_newest"},
      {o->silent_max_ns, 1, MOST, "silent_max_ns is 0: how long may a client with Keep Alive 0 be silent? 1 h is usual"},
      {o->maximum_qos, 0, 2, "maximum_qos must be 0, 1 or 2"},
      {o->lanes_max, 0, ROAM_LANES_PER_PEER, "lanes_max is above 63: choose less, 0 serves the control stream alone"},
      {o->datagrams_max, 0, 65536, "datagrams_max is above 65536: choose less, 0 does without datagrams"},
      {o->initial_rtt_ns, ROAM_MS, 10 * ROAM_S, "initial_rtt_ns must be from 1 ms to 10 s; 100 ms is usual"},
      {(unsigned)o->congestion, 0, ROAM_CONGESTION_BBR, "congestion must be cubic, reno or bbr"},
      {o->datagram_bytes_max, 1200, 65487,
       "datagram_bytes_max must be from 1200 to 65487; 1452 for Ethernet alone, 8952 is usual"},
      {o->address_history_max, 1, MOST, "address_history_max is 0: keep at least the current address"},
      {o->workers, 1, ROAM_WORKERS_MAX, "workers must be from 1 to 64"},
      {o->worker, 0, (uint64_t)o->workers - 1, "worker must be less than workers: they are numbered from 0"},
      {o->store_pending_bytes_max, 1, MOST, "store_pending_bytes_max is 0: nothing could ever be written"},
      {o->assigned_qos, 0, 2, "assigned_qos must be 0, 1 or 2"},
      {o->store_timeout_ns, 1, MOST, "store_timeout_ns is 0: disks need time, 30 s is usual"},
      {o->auth_waiting_max, 1, MOST, "auth_waiting_max is 0: allow at least one client to be asked at a time"},
  };
  for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
    if (bounds[i].value < bounds[i].least || bounds[i].value > bounds[i].most) return bounds[i].text;
  return NULL;
}

static bool is_place(const roam_addr *a, uint8_t family) { return a->family == 0 || (a->family == family && a->port != 0); }

/* What one option says of another, and what is no number. */
static const char *find_relation_error(const roam_broker_options *o) {
  bool crew = o->workers > 1;
  if (!is_text(o->response_information))
    return "response_information must be UTF-8 of at most 1024 bytes, or NULL for none";
  if (o->secret.len != 0 && o->secret.len != 32) return "secret must be 32 bytes, or empty for one that is drawn";
  if (o->early_data && (o->replay_window_ns == 0 || o->replay_keys_max == 0))
    return "replay_window_ns and replay_keys_max must not be 0 with early_data; switch early_data off instead";
  if (!is_place(&o->preferred_ipv4, 4) || !is_place(&o->preferred_ipv6, 6))
    return "preferred_ipv4 and preferred_ipv6 must have their family and a port";
  if (o->store && o->tls.wall_unix_s <= 0) return "a store needs tls.wall_unix_s: expiry goes on while the broker is down";
  if (crew && o->secret.len == 0) return "workers above 1 need the same secret (32 bytes) for all of them";
  if (crew && (uint64_t)o->sessions_max * 2 > ROAM_TREE_NODES_MAX)
    return "sessions_max is above 8388608 with several workers: choose less";
  if (o->assigned && (!o->flows || o->lanes_max == 0)) return "assigned needs flows and lanes_max: MQTT-next carries it";
  if (o->assigned && !roam_utf8_valid((roam_bytes){(const uint8_t *)o->assigned, strlen(o->assigned)}))
    return "assigned: topic filters in UTF-8, separated by spaces";
  return NULL;
}

const char *roam_broker_option_error(const roam_broker_options *given) {
  roam_broker_options o = roam_broker_options_read(given);
  const char *error = find_bound_error(&o);
  if (!error) error = find_relation_error(&o);
  return error ? error : find_access_error(&o);
}
