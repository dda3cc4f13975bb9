/* options.c - the client's options: defaults, a sentence for each that cannot be, and the copy the client keeps. Every
 * sentence names the option and the remedy. */
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "mqtt/packet.h"

void roam_client_options_init(roam_client_options *o) {
  *o = (roam_client_options){
      .size = sizeof *o,
      .version = ROAM_MQTT_5,
      .clean_start = true,
      .keep_alive_s = 60,
      .reconnect = true,
      .reconnect_min_ns = 200 * ROAM_MS,
      .reconnect_max_ns = 30 * ROAM_S,
      .connect_timeout_ns = 10 * ROAM_S,
      .redirects_max = 4,
      .fallback_port = 8883,
      .fallback_delay_ns = 300 * ROAM_MS,
      .resume_after_ns = 3 * ROAM_S,
      .ping_ns = 15 * ROAM_S,
      .offline_queue = true,
      .receive_maximum = 1024,
      .send_window_max = 1024,
      .maximum_packet_size = 1 << 20,
      .queue_messages_max = 10000,
      .queue_bytes_max = 16 << 20,
      .subscriptions_max = 1024,
      .lanes_max = 32,
      .flow_expire_s = 300,
      .datagrams = true,
      .topic_alias_maximum = 16,
      .log = {.level = ROAM_LOG_NOTICE},
      .roam = true,
      .roam_settle_ns = 2 * ROAM_S,
      .early_data = true,
      .initial_rtt_ns = 100 * ROAM_MS,
      .key_update_bytes = (uint64_t)1 << 30,
      .datagram_bytes_max = 8952,
      .follow_preferred = true,
      .server_flows_max = 16,
  };
}

/* Options as this version knows them: what an older caller's struct lacks has its default, what a newer one's has beyond is
 * not read. */
roam_client_options roam_client_options_read(const roam_client_options *o) {
  roam_client_options known;
  roam_client_options_init(&known);
  if (o) memcpy(&known, o, o->size < sizeof known ? o->size : sizeof known);
  known.size = sizeof known;
  return known;
}

/* The server keeps a silent client for 1.5 times its Keep Alive; an idle timeout of ours must not end the connection
 * earlier. */
uint64_t roam_client_idle_timeout(const roam_client_options *o) {
  if (o->idle_timeout_ns > 0) return o->idle_timeout_ns == UINT64_MAX ? 0 : o->idle_timeout_ns;
  if (o->keep_alive_s == 0) return 600 * ROAM_S;
  return o->keep_alive_s > 30 ? 2 * (uint64_t)o->keep_alive_s * ROAM_S : 60 * ROAM_S;
}

static bool text_ok(const char *text) {
  size_t len = strlen(text);
  return len <= 65535 && roam_utf8_valid((roam_bytes){(const uint8_t *)text, len});
}

static const char *check_url(const roam_client_options *o) {
  if (!o->url) return "url: required, for example mqtt-quic://broker:14567 or mqtt://broker:1883";
  roam_transport_kind kind;
  char host[ROAM_CLIENT_HOST_MAX];
  uint16_t port;
  if (roam_url_parse(o->url, &kind, host, sizeof host, &port) != 0)
    return "url: not scheme://host[:port]; use mqtt-quic://host[:14567], mqtts://host[:8883], mqtt://host[:1883], "
           "wss://host[:443][/path], ws://host[:80][/path] or unix:///path/of/socket, IPv6 in brackets, no user name or "
           "password in it";
  roam_addr literal;
  if (host[0] == '/' && (o->local.family != 0 || o->interface)) return "local, interface: a Unix socket has neither";
  if (roam_addr_parse(host, &literal) == 0 && o->local.family != 0 && o->local.family != literal.family)
    return "local: not of the same family as the address in url; give both as IPv4 or both as IPv6";
  return NULL;
}

static const char *check_identity(const roam_client_options *o) {
  if (o->version < ROAM_MQTT_31 || o->version > ROAM_MQTT_5) return "version: 5, 4 (MQTT 3.1.1) or 3 (MQTT 3.1)";
  if (o->client_id && !text_ok(o->client_id))
    return "client_id: at most 65535 bytes of UTF-8; leave it NULL for a random one";
  if (o->client_id && !*o->client_id && o->version < ROAM_MQTT_5 && (!o->clean_start || o->version == ROAM_MQTT_31))
    return "client_id: an empty one needs version 5, or version 4 with clean_start; name it or leave it NULL";
  if (o->client_id && o->version == ROAM_MQTT_31 && strlen(o->client_id) > 23)
    return "client_id: MQTT 3.1 allows 23 characters; use a shorter one or version 4";
  if (o->user_name && !text_ok(o->user_name)) return "user_name: at most 65535 bytes of UTF-8";
  if (o->password.len > 65535) return "password: at most 65535 bytes";
  if (o->password.len > 0 && !o->user_name && o->version < ROAM_MQTT_5)
    return "password: version 4 and 3 need a user_name with it";
  if (o->session_expiry_s > 0 && o->version < ROAM_MQTT_5)
    return "session_expiry_s: needs version 5; with version 4 a kept session is asked for by clean_start false";
  return NULL;
}

static const char *check_auth(const roam_client_options *o) {
  if (!o->auth_method) return o->auth_data.len > 0 ? "auth_data: needs auth_method" : NULL;
  if (o->version < ROAM_MQTT_5) return "auth_method: needs version 5";
  if (!*o->auth_method || !text_ok(o->auth_method)) return "auth_method: 1 to 65535 bytes of UTF-8";
  if (o->auth_data.len > 65535) return "auth_data: at most 65535 bytes";
  if (roam_auth_is_own(o) && (!*o->user_name || strlen(o->user_name) > 256))
    return "user_name: 1 to 256 bytes with SCRAM-SHA-256";
  return NULL;
}

static const char *check_will(const roam_client_options *o) {
  if (!o->will_topic) {
    if (o->will_payload.len > 0 || o->will_qos || o->will_retain || o->will_delay_s)
      return "will_topic: the other will_ options need it";
    return NULL;
  }
  if (!roam_topic_valid((roam_bytes){(const uint8_t *)o->will_topic, strlen(o->will_topic)}))
    return "will_topic: a topic to publish to, without + and #, 1 to 65535 bytes of UTF-8";
  if (o->will_payload.len > 65535) return "will_payload: at most 65535 bytes";
  if (o->will_qos > 2) return "will_qos: 0, 1 or 2";
  if (o->will_delay_s && o->version < ROAM_MQTT_5) return "will_delay_s: needs version 5";
  return NULL;
}

static const char *check_props(const roam_client_options *o) {
  roam_fault fault;
  if (o->version < ROAM_MQTT_5 && (o->connect_props.len > 0 || o->will_props.len > 0 || o->request_response_information))
    return "connect_props, will_props, request_response_information: need version 5";
  if (o->will_props.len > 0 && !o->will_topic) return "will_props: needs will_topic";
  if (roam_props_check(o->connect_props, ROAM_IN(ROAM_CONNECT), &fault) != 0)
    return "connect_props: not properties of a CONNECT; encode them with roam_props_put";
  if (roam_props_check(o->will_props, ROAM_IN_WILL, &fault) != 0)
    return "will_props: not properties of a will; encode them with roam_props_put";
  if (o->payload_format_check && !roam_payload_fits(o->will_props, o->will_payload))
    return "will_payload: not the UTF-8 that will_props say it is";
  return roam_talk_props_error(o);
}

static const char *check_network(const roam_client_options *o) {
  if (roam_client_secure(o->url) && !o->tls.insecure && o->tls.wall_unix_s == 0)
    return "tls.wall_unix_s: the time of day, without which no certificate can be checked; set it, or say insecure";
  if ((o->tls.certificate.len > 0) != (o->tls.key.len > 0)) return "tls.certificate and tls.key: give both or neither";
  if (o->server_name && (!*o->server_name || strlen(o->server_name) > 253))
    return "server_name: 1 to 253 characters, or NULL for the url's host";
  if (o->local.family != 0 && o->local.family != 4 && o->local.family != 6) return "local: family 4, 6, or 0 for any";
  if (o->interface && (!*o->interface || strlen(o->interface) >= ROAM_CLIENT_INTERFACE_MAX))
    return "interface: a name of 1 to 15 characters, or NULL for the routing table's choice";
  return NULL;
}

static const char *check_roaming(const roam_client_options *o) {
  struct roam_networks networks;
  if (o->fallback && strncasecmp(o->url, "mqtt-quic:", 10) != 0 && strncasecmp(o->url, "quic:", 5) != 0)
    return "fallback: from QUIC to TLS; use a mqtt-quic:// url";
  if (o->fallback_url) {
    roam_transport_kind kind;
    char host[ROAM_CLIENT_HOST_MAX];
    uint16_t port;
    if (roam_url_parse(o->fallback_url, &kind, host, sizeof host, &port) != 0 ||
        (kind != ROAM_TRANSPORT_TLS && kind != ROAM_TRANSPORT_WSS))
      return "fallback_url: mqtts://host[:port] or wss://host[:port][/path]; never to plaintext";
    if (!o->fallback) return "fallback_url: says where to fall back to; set fallback as well";
  }
  if (o->fallback && o->fallback_port == 0) return "fallback_port: 1 to 65535; 8883 is usual";
  if (!roam_networks_init(&networks, o->interfaces, 0))
    return "interfaces: at most 16 names with commas between, each with :metered or :cost=N behind it if you like, "
           "for example \"wlan0, wwan0:metered, ppp*\"";
  if (o->ping_min_ns > 0 && o->ping_max_ns > 0 && o->ping_min_ns > o->ping_max_ns)
    return "ping_min_ns: not more than ping_max_ns";
  uint64_t idle_ns = roam_client_idle_timeout(o);
  if (o->ping_max_ns > 0 && idle_ns > 0 && o->ping_max_ns >= idle_ns)
    return "ping_max_ns: less than idle_timeout_ns, better a third of it";
  return NULL;
}

static const char *check_times(const roam_client_options *o) {
  if (o->reconnect_min_ns == 0) return "reconnect_min_ns: more than 0, or set reconnect to false";
  if (o->reconnect_max_ns < o->reconnect_min_ns) return "reconnect_max_ns: not less than reconnect_min_ns";
  if (o->connect_timeout_ns == 0) return "connect_timeout_ns: more than 0; 10 s is usual";
  if (o->initial_rtt_ns < ROAM_MS || o->initial_rtt_ns > 10 * ROAM_S)
    return "initial_rtt_ns: 1 ms to 10 s; 100 ms is usual";
  if ((unsigned)o->congestion > ROAM_CONGESTION_BBR) return "congestion: cubic, reno or bbr";
  if (o->datagram_bytes_max < 1200 || o->datagram_bytes_max > 65487)
    return "datagram_bytes_max: 1200 to 65487; 1452 for Ethernet alone, 8952 is usual";
  if (roam_client_idle_timeout(o) > 0 && o->ping_ns && o->ping_ns >= roam_client_idle_timeout(o))
    return "ping_ns: less than idle_timeout_ns, better a third of it; or 0 for no PING";
  return NULL;
}

static const char *check_bounds(const roam_client_options *o) {
  if (o->receive_maximum == 0) return "receive_maximum: 1 to 65535";
  if (o->send_window_max == 0) return "send_window_max: 1 to 65535";
  if (o->maximum_packet_size < 128 || o->maximum_packet_size > 268435460)
    return "maximum_packet_size: 128 to 268435460 bytes";
  if ((unsigned)o->lanes > ROAM_LANES_PER_MESSAGE) return "lanes: one of the ROAM_LANES_ strategies";
  if (o->server_flows_max > ROAM_CLIENT_LANES_MAX) return "server_flows_max: at most 63; 0 when none are welcome";
  if (o->lanes_max > ROAM_CLIENT_LANES_MAX) return "lanes_max: at most 63; 0 for no data streams";
  if (o->datagram_filter &&
      (!text_ok(o->datagram_filter) ||
       !roam_topic_filter_valid((roam_bytes){(const uint8_t *)o->datagram_filter, strlen(o->datagram_filter)})))
    return "datagram_filter: a topic filter, or NULL for none";
  if (o->queue_messages_max == 0) return "queue_messages_max: at least 1";
  if (o->queue_bytes_max == 0) return "queue_bytes_max: at least 1";
  if (o->subscriptions_max == 0) return "subscriptions_max: at least 1";
  return NULL;
}

const char *roam_client_option_error(const roam_client_options *options) {
  if (!options) return "url: required, for example mqtt-quic://broker:14567 or mqtt://broker:1883";
  if (options->size == 0) return "size: not set; call roam_client_options_init first";
  roam_client_options o = roam_client_options_read(options);
  const char *error = check_url(&o);
  if (!error) error = check_identity(&o);
  if (!error) error = check_auth(&o);
  if (!error) error = check_will(&o);
  if (!error) error = check_props(&o);
  if (!error) error = check_network(&o);
  if (!error) error = check_times(&o);
  if (!error) error = check_bounds(&o);
  if (!error) error = check_roaming(&o);
  return error;
}

/* ---- the copy: one block for all strings, filled in a second pass ---- */

struct arena {
  uint8_t *base; /* NULL: only count */
  size_t len;
};

static void keep_bytes(struct arena *a, roam_bytes *bytes) {
  if (bytes->len > 0 && a->base) bytes->base = memcpy(a->base + a->len, bytes->base, bytes->len);
  if (bytes->len == 0) bytes->base = NULL;
  a->len += bytes->len;
}

static void keep_string(struct arena *a, const char **text) {
  if (!*text) return;
  size_t len = strlen(*text) + 1;
  if (a->base) *text = memcpy(a->base + a->len, *text, len);
  a->len += len;
}

static void keep_all(struct arena *a, roam_client_options *o) {
  keep_string(a, &o->url);
  keep_string(a, &o->client_id);
  keep_string(a, &o->user_name);
  keep_string(a, &o->will_topic);
  keep_string(a, &o->server_name);
  keep_string(a, &o->interface);
  keep_string(a, &o->interfaces);
  keep_string(a, &o->fallback_url);
  keep_bytes(a, &o->password);
  keep_bytes(a, &o->will_payload);
  keep_bytes(a, &o->connect_props);
  keep_bytes(a, &o->will_props);
  keep_bytes(a, &o->tls.ca);
  keep_bytes(a, &o->tls.certificate);
  keep_bytes(a, &o->tls.key);
  keep_string(a, &o->auth_method);
  keep_bytes(a, &o->auth_data);
}

roam_rc roam_client_options_copy(roam_client *c, const roam_client_options *from) {
  roam_client_options o = roam_client_options_read(from), counted = o;
  struct arena a = {0};
  keep_all(&a, &counted);
  a.base = malloc(a.len);
  if (!a.base) return ROAM_E_MEMORY;
  c->arena = a.base;
  c->arena_len = a.len;
  a.len = 0;
  keep_all(&a, &o);
  c->o = o;
  c->o.state = (roam_bytes){0}; /* read once, when the client is made */
  return 0;
}
