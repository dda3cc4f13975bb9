/* mqtt_suite.c - the world, the peers and the words of mqtt_suite.h. It judges nothing: what is right is said in the tests.
 */
#include "conformance/mqtt_suite.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/transport_suite.h"

enum {
  PROPS_BYTES = 8192,
  FILTERS_BYTES = 8192,
  PACKET_BYTES = 1 << 20
};

/* ---- words -> packet ---------------------------------------------------------------------------------------------------
 */

struct words {
  roam_packet packet;
  roam_props props, will_props;
  uint8_t prop_bytes[PROPS_BYTES], will_bytes[PROPS_BYTES], filters[FILTERS_BYTES], codes[64];
  size_t filters_len, codes_len;
  roam_filter filter; /* being gathered */
  bool has_filter;
  char text[LINE_MAX_BYTES], *next; /* decoded values lie here */
  uint8_t *payload;
};

static roam_bytes decode_value(const char *value) {
  char *out = strdup(value);
  size_t n = 0;
  assert_non_null(out);
  for (const char *s = value; *s; s++) {
    unsigned byte;
    if (*s == '%' && sscanf(s + 1, "%2x", &byte) == 1) {
      out[n++] = (char)byte;
      s += 2;
    } else {
      out[n++] = *s;
    }
  }
  roam_bytes bytes = {(const uint8_t *)value, n}; /* decoding never grows, so it goes back where it came from */
  memcpy((char *)(uintptr_t)value, out, n);
  free(out);
  return bytes;
}

static unsigned number_of(const char *value) { return (unsigned)strtoul(value, NULL, 10); }
static uint8_t hex_of(const char *value) { return (uint8_t)strtoul(value, NULL, 16); }

static int prop_by_name(const char *name) {
  for (int id = 1; id < 64; id++)
    if (roam_prop_name(id) && strcmp(roam_prop_name(id), name) == 0) return id;
  fail_msg("no property is called %s", name);
  return 0;
}

static bool is_number(int id) {
  uint8_t bytes[16];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  return id != ROAM_PROP_USER_PROPERTY && roam_props_put_bytes(&props, id, (roam_bytes){(const uint8_t *)"x", 1}) != 0;
}

static void put_prop(roam_props *props, const char *name, char *value) {
  int id = prop_by_name(name);
  roam_rc rc;
  char *colon = strchr(value, ':');
  if (id == ROAM_PROP_USER_PROPERTY) {
    assert_non_null(colon);
    *colon = '\0';
    rc = roam_props_put_user(props, decode_value(value), decode_value(colon + 1));
  } else if (is_number(id)) {
    rc = roam_props_put_number(props, id, (uint32_t)strtoul(value, NULL, 10));
  } else {
    rc = roam_props_put_bytes(props, id, decode_value(value));
  }
  if (rc != 0) fail_msg("property %s=%s cannot be written: %s", name, value, roam_strerror(rc));
}

static void flush_filter(struct words *w) {
  if (!w->has_filter) return;
  roam_rc rc = roam_filter_put(w->filters, sizeof w->filters, &w->filters_len, w->packet.type, &w->filter);
  assert_int_equal(rc, 0);
  w->has_filter = false;
}

static void put_codes(struct words *w, char *value) {
  for (char *s = strtok(value, "."); s; s = strtok(NULL, ".")) w->codes[w->codes_len++] = hex_of(s);
}

static void fill_payload(struct words *w, size_t n) {
  w->payload = malloc(n + 1);
  assert_non_null(w->payload);
  memset(w->payload, 'x', n);
  w->packet.payload = (roam_bytes){w->payload, n};
}

static bool put_connect_field(roam_packet *p, const char *key, char *value) {
  if (strcmp(key, "id") == 0) p->connect.client_id = decode_value(value);
  else if (strcmp(key, "v") == 0) p->version = (uint8_t)number_of(value);
  else if (strcmp(key, "clean") == 0) p->connect.clean_start = number_of(value) != 0;
  else if (strcmp(key, "keep") == 0) p->connect.keep_alive_s = (uint16_t)number_of(value);
  else if (strcmp(key, "user") == 0) p->connect.has_user_name = true, p->connect.user_name = decode_value(value);
  else if (strcmp(key, "pass") == 0) p->connect.has_password = true, p->connect.password = decode_value(value);
  else if (strcmp(key, "will") == 0) p->connect.has_will = true, p->connect.will_topic = decode_value(value);
  else if (strcmp(key, "willq") == 0) p->connect.will_qos = (uint8_t)number_of(value);
  else if (strcmp(key, "willr") == 0) p->connect.will_retain = number_of(value) != 0;
  else if (strcmp(key, "willmsg") == 0) p->connect.will_payload = decode_value(value);
  else return false;
  return true;
}

static bool put_filter_field(struct words *w, const char *key, char *value) {
  if (strcmp(key, "f") == 0) {
    flush_filter(w);
    w->filter = (roam_filter){.filter = decode_value(value)};
    w->has_filter = true;
  } else if (strcmp(key, "q") == 0) w->filter.qos = (uint8_t)number_of(value);
  else if (strcmp(key, "nl") == 0) w->filter.no_local = number_of(value) != 0;
  else if (strcmp(key, "rap") == 0) w->filter.retain_as_published = number_of(value) != 0;
  else if (strcmp(key, "rh") == 0) w->filter.retain_handling = (uint8_t)number_of(value);
  else return false;
  return true;
}

static bool put_field(struct words *w, const char *key, char *value) {
  roam_packet *p = &w->packet;
  bool list = p->type == ROAM_SUBSCRIBE || p->type == ROAM_UNSUBSCRIBE;
  if (p->type == ROAM_CONNECT && put_connect_field(p, key, value)) return true;
  if (list && put_filter_field(w, key, value)) return true;
  if (strcmp(key, "id") == 0) p->packet_id = (uint16_t)number_of(value);
  else if (strcmp(key, "t") == 0) p->topic = decode_value(value);
  else if (strcmp(key, "q") == 0) p->qos = (uint8_t)number_of(value);
  else if (strcmp(key, "r") == 0) p->retain = number_of(value) != 0;
  else if (strcmp(key, "d") == 0) p->dup = number_of(value) != 0;
  else if (strcmp(key, "") == 0) p->payload = decode_value(value);
  else if (strcmp(key, "size") == 0) fill_payload(w, number_of(value));
  else if (strcmp(key, "rc") == 0) p->reason = hex_of(value);
  else if (strcmp(key, "sp") == 0) p->session_present = number_of(value) != 0;
  else if (strcmp(key, "codes") == 0) put_codes(w, value);
  else return false;
  return true;
}

static int type_by_name(const char *name) {
  for (int type = ROAM_CONNECT; type <= ROAM_AUTH; type++)
    if (strcmp(roam_packet_name(type), name) == 0) return type;
  fail_msg("no packet is called %s", name);
  return 0;
}

static void read_word(struct words *w, char *word) {
  char *equals = strchr(word, '=');
  if (!equals) fail_msg("a word without '=': %s", word);
  *equals = '\0';
  if (put_field(w, word, equals + 1)) return;
  if (strncmp(word, "will.", 5) == 0) put_prop(&w->will_props, word + 5, equals + 1);
  else put_prop(&w->props, word, equals + 1);
}

/* The packet's bytes: allocated, for the caller to free. */
static uint8_t *write_words(const char *line, uint8_t version, uint8_t *said_version, size_t *len) {
  struct words *w = calloc(1, sizeof *w);
  uint8_t *out = malloc(PACKET_BYTES);
  char *save;
  assert_true(w && out && strlen(line) < sizeof w->text);
  strcpy(w->text, line);
  w->props = (roam_props){.base = w->prop_bytes, .cap = PROPS_BYTES};
  w->will_props = (roam_props){.base = w->will_bytes, .cap = PROPS_BYTES};
  char *word = strtok_r(w->text, " ", &save);
  w->packet.type = (uint8_t)type_by_name(word);
  w->packet.version = version;
  w->packet.connect.clean_start = true;
  while ((word = strtok_r(NULL, " ", &save))) read_word(w, word);
  flush_filter(w);
  w->packet.props = (roam_bytes){w->prop_bytes, w->props.len};
  w->packet.connect.will_props = (roam_bytes){w->will_bytes, w->will_props.len};
  w->packet.filters = (roam_bytes){w->filters, w->filters_len};
  w->packet.codes = (roam_bytes){w->codes, w->codes_len};
  *said_version = w->packet.version;
  roam_rc rc = roam_packet_write(&w->packet, out, PACKET_BYTES, len);
  if (rc != 0) fail_msg("cannot be written (%s): %s", roam_strerror(rc), line);
  free(w->payload);
  free(w);
  return out;
}

/* ---- packet -> words ---------------------------------------------------------------------------------------------------
 */

struct line {
  char text[LINE_MAX_BYTES];
  size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *l, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(l->text + l->len, sizeof l->text - l->len, format, args);
  va_end(args);
  l->len = l->len + (size_t)n < sizeof l->text ? l->len + (size_t)n : sizeof l->text - 1;
}

static void put_bytes(struct line *l, const char *key, roam_bytes b) {
  put(l, " %s=", key);
  for (size_t i = 0; i < b.len && i < 256; i++) {
    bool plain = isgraph(b.base[i]) && b.base[i] != '%' && b.base[i] < 0x80;
    put(l, plain ? "%c" : "%%%02X", b.base[i]);
  }
}

static void put_props(struct line *l, const char *prefix, roam_bytes props) {
  roam_prop prop;
  while (roam_prop_next(&props, &prop) == 1) {
    char key[64];
    snprintf(key, sizeof key, "%s%s", prefix, roam_prop_name(prop.id));
    if (is_number(prop.id)) {
      put(l, " %s=%u", key, prop.number);
      continue;
    }
    put_bytes(l, key, prop.bytes);
    if (prop.id != ROAM_PROP_USER_PROPERTY) continue;
    struct line value = {.len = 0};
    put_bytes(&value, "", prop.value);
    put(l, ":%s", value.text + 2);
  }
}

static void put_connect(struct line *l, const roam_packet *p) {
  put(l, " v=%u clean=%d keep=%u", p->version, p->connect.clean_start, p->connect.keep_alive_s);
  put_bytes(l, "id", p->connect.client_id);
  if (p->connect.has_user_name) put_bytes(l, "user", p->connect.user_name);
  if (p->connect.has_password) put_bytes(l, "pass", p->connect.password);
  if (!p->connect.has_will) return;
  put_bytes(l, "will", p->connect.will_topic);
  put(l, " willq=%u willr=%d", p->connect.will_qos, p->connect.will_retain);
  put_bytes(l, "willmsg", p->connect.will_payload);
  put_props(l, "will.", p->connect.will_props);
}

static void put_filters(struct line *l, const roam_packet *p) {
  roam_bytes rest = p->filters;
  roam_filter f;
  while (roam_filter_next(&rest, p->type, &f) == 1) {
    put_bytes(l, "f", f.filter);
    if (p->type == ROAM_SUBSCRIBE)
      put(l, " q=%u nl=%d rap=%d rh=%u", f.qos, f.no_local, f.retain_as_published, f.retain_handling);
  }
}

static void put_packet(struct line *l, const roam_packet *p) {
  bool answer = p->type == ROAM_CONNACK || p->type == ROAM_DISCONNECT || p->type == ROAM_AUTH ||
                (p->type >= ROAM_PUBACK && p->type <= ROAM_PUBCOMP);
  put(l, "%s", roam_packet_name(p->type));
  if (p->packet_id) put(l, " id=%u", p->packet_id);
  if (answer) put(l, " rc=%02X", p->reason);
  if (p->type == ROAM_CONNACK) put(l, " sp=%d", p->session_present);
  if (p->type == ROAM_CONNECT) put_connect(l, p);
  if (p->type == ROAM_PUBLISH) {
    put(l, " q=%u d=%d r=%d", p->qos, p->dup, p->retain);
    put_bytes(l, "t", p->topic);
    put_bytes(l, "", p->payload);
    put(l, " size=%zu", p->payload.len);
  }
  if (p->type == ROAM_SUBSCRIBE || p->type == ROAM_UNSUBSCRIBE) put_filters(l, p);
  for (size_t i = 0; i < p->codes.len; i++) put(l, "%s%02X", i ? "." : " codes=", p->codes.base[i]);
  put_props(l, "", p->props);
}

/* ---- comparing ---------------------------------------------------------------------------------------------------------
 */

/* Whether the line has this word; with prefix, a word that begins so and goes on with '=' or ends. */
static bool has_word(const char *line, const char *word, bool prefix) {
  size_t n = strlen(word);
  for (const char *at = line; (at = strstr(at, word)); at++) {
    bool begins = at == line || at[-1] == ' ';
    if (begins && (at[n] == ' ' || at[n] == '\0' || (prefix && at[n] == '='))) return true;
  }
  return false;
}

static void compare(const char *who, const char *got, const char *expected) {
  char words[LINE_MAX_BYTES], *save;
  assert_true(strlen(expected) < sizeof words);
  strcpy(words, expected);
  for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
    bool fine = word[0] == '!' ? !has_word(got, word + 1, true) : has_word(got, word, false);
    if (!fine) fail_msg("%s: expected %s in\n  %s\nbut got\n  %s", who, word, expected, got);
  }
}

/* ---- the world ---------------------------------------------------------------------------------------------------------
 */

static void run_for(struct setting *in, uint64_t ns) {
  assert_int_equal(roam_world_run(in->world, roam_world_now(in->world) + ns), 0);
}

static void hear(struct peer *p, const roam_packet *packet, size_t size) {
  struct line line = {.len = 0};
  if (p->heard_n == HEARD_MAX) fail_msg("%s hears more than %d packets", p->name, HEARD_MAX);
  put_packet(&line, packet);
  p->ids[p->heard_n] = packet->packet_id;
  p->sizes[p->heard_n] = size;
  p->heard[p->heard_n++] = strdup(line.text);
}

static void listen_to(struct peer *p) {
  roam_packet packet;
  roam_fault fault;
  size_t used;
  if (!p->conn || p->deaf) return;
  for (;;) {
    roam_bytes bytes = roam_conn_peek(p->conn, 0);
    if (bytes.len == 0) return;
    roam_rc rc = roam_packet_read(bytes, p->version, PACKET_BYTES, p->from_server, &packet, &used, &fault);
    if (rc != 0) fail_msg("%s hears what is not MQTT: %s", p->name, fault.text);
    if (used == 0) return;
    if (packet.type == ROAM_CONNECT) p->version = packet.version;
    hear(p, &packet, used);
    roam_conn_consume(p->conn, roam_world_now(p->in->world), 0, used);
  }
}

static void note_end(struct side *s, const roam_te *ev) {
  struct setting *in = s->context;
  bool end = ev->kind == ROAM_TE_CLOSED || ev->kind == ROAM_TE_LANE_FIN || ev->kind == ROAM_TE_LANE_RESET;
  for (size_t i = 0; i < in->peers_n && end; i++)
    if (in->peers[i].conn == ev->conn && in->peers[i].closed_at == 0) in->peers[i].closed_at = s->now;
}

static void read_events(struct setting *in);

static void settle(struct setting *in, uint64_t ns) {
  do {
    uint64_t step = ns < 100 * ROAM_MS ? ns : 100 * ROAM_MS;
    run_for(in, step);
    for (size_t i = 0; i < in->peers_n; i++) listen_to(&in->peers[i]);
    read_events(in);
    ns -= step;
  } while (ns > 0);
}

void pass(struct setting *in, uint64_t ns) { settle(in, ns); }

static roam_host *make_host(struct setting *in, const char *name, const char *ip) {
  roam_addr addr;
  roam_delay_options d;
  roam_host *host = roam_world_host(in->world, name);
  roam_delay_options_init(&d);
  d.delay_ns = 2 * ROAM_MS;
  assert_non_null(host);
  assert_int_equal(roam_addr_parse(ip, &addr), 0);
  assert_int_equal(roam_host_address(host, "eth0", &addr), 0);
  assert_int_equal(roam_host_hop(host, &addr, roam_delay_new(&d, roam_world_random(in->world))), 0);
  return host;
}

static struct side *make_side(struct setting *in, bool listener, roam_host *host) {
  roam_transport_options o;
  suite_options_fill(&o, listener, roam_world_random(in->world), roam_world_now(in->world));
  o.idle_timeout_ns = 0;
  struct side *s = suite_side_new(in->kind, &o);
  s->on_event = note_end;
  s->context = in;
  assert_int_equal(roam_host_run(host, side_machine(s), NULL, NULL), 0);
  return s;
}

static roam_addr address_of(const char *text) {
  roam_addr addr;
  assert_int_equal(roam_addr_parse(text, &addr), 0);
  return addr;
}

/* ---- the broker's side of the world ---- */

static void start_broker(struct setting *in) {
  roam_addr local = address_of("10.0.0.1:1883");
  roam_rc rc;
  in->broker_host = make_host(in, "broker", "10.0.0.1");
  in->broker = roam_broker_new(&in->options, roam_world_now(in->world), roam_world_random(in->world), &rc);
  if (!in->broker) fail_msg("no broker: %s", roam_strerror(rc));
  assert_int_equal(roam_broker_listen(in->broker, roam_world_now(in->world), in->kind, &local, NULL), 0);
  assert_int_equal(roam_host_run(in->broker_host, roam_broker_machine(in->broker), NULL, NULL), 0);
  run_for(in, ROAM_MS);
}

static struct peer *new_peer(struct setting *in) {
  assert_true(in->peers_n < PEERS_MAX);
  struct peer *p = &in->peers[in->peers_n++];
  snprintf(p->name, sizeof p->name, "peer %zu", in->peers_n);
  p->in = in;
  p->version = ROAM_MQTT_5;
  return p;
}

static struct peer *dial(struct setting *in) {
  char ip[16];
  roam_addr remote = address_of("10.0.0.1:1883"), local = {0};
  if (!in->broker) start_broker(in);
  struct peer *p = new_peer(in);
  snprintf(ip, sizeof ip, "10.0.1.%zu", in->peers_n);
  p->side = make_side(in, false, make_host(in, p->name, ip));
  p->from_server = true;
  roam_rc rc =
      roam_transport_dial(p->side->t, roam_world_now(in->world), &remote, &local, NULL, "localhost", NULL, &p->conn);
  assert_int_equal(rc, 0);
  for (int i = 0; i < 50 && p->side->open_conns == 0; i++) run_for(in, 20 * ROAM_MS);
  return p;
}

struct peer *knock(struct setting *in) {
  struct peer *p = dial(in);
  assert_int_equal(p->side->open_conns, 1);
  return p;
}

void turned_away(struct setting *in) {
  struct peer *p = dial(in);
  run_for(in, ROAM_S);
  if (p->side->open_conns == 1 && p->closed_at == 0) fail_msg("the connection was let in");
}

struct peer *join(struct setting *in, const char *words) {
  struct peer *p = knock(in);
  say(p, "CONNECT %s", words);
  expect(p, "CONNACK rc=00");
  return p;
}

void refused(struct setting *in, const char *connect, const char *connack) {
  struct peer *p = knock(in);
  say(p, "CONNECT %s", connect);
  expect_end(p, "CONNACK sp=0 %s", connack);
}

/* ---- the client's side of the world ---- */

struct peer *next_connection(struct setting *in) {
  for (int i = 0; i < 600 && side_count(in->server, ROAM_TE_ACCEPTED, NULL) <= in->served; i++) settle(in, 100 * ROAM_MS);
  if (side_count(in->server, ROAM_TE_ACCEPTED, NULL) <= in->served) fail_msg("the client did not connect again");
  struct peer *p = new_peer(in);
  p->side = in->server;
  p->conn = in->server->conn;
  p->version = 0; /* until its CONNECT */
  in->served++;
  settle(in, 500 * ROAM_MS);
  return p;
}

struct peer *serve(struct setting *in) {
  roam_addr local = address_of("10.0.0.1:1883");
  uint32_t listener;
  roam_rc rc;
  in->server = make_side(in, true, make_host(in, "server", "10.0.0.1"));
  assert_int_equal(roam_transport_listen(in->server->t, roam_world_now(in->world), &local, &listener), 0);
  run_for(in, ROAM_MS);
  in->client = roam_client_new(&in->client_options, roam_world_random(in->world), &rc);
  if (!in->client) fail_msg("no client: %s", roam_client_option_error(&in->client_options));
  roam_host *host = make_host(in, "client", "10.0.2.1");
  assert_int_equal(roam_host_run(host, roam_client_machine(in->client), NULL, NULL), 0);
  assert_int_equal(roam_client_start(in->client, roam_world_now(in->world)), 0);
  return next_connection(in);
}

struct peer *welcome(struct setting *in, const char *connack) {
  struct peer *p = serve(in);
  expect(p, "CONNECT");
  say(p, "CONNACK %s", connack);
  expect_event(in, "CONNECTED");
  return p;
}

static void put_event(struct line *l, const roam_event *e) {
  put(l, "%s rc=%s reason=%02X", roam_event_name(e->kind), e->rc ? roam_error_name(e->rc) : "0",
      (unsigned)(e->reason & 0xFF));
  if (e->token) put(l, " token=%u", (unsigned)e->token);
  if (e->kind == ROAM_EV_CONNECTED) put(l, " sp=%d", e->u.link.session_present);
  if (e->kind == ROAM_EV_SUBSCRIBED || e->kind == ROAM_EV_UNSUBSCRIBED) {
    for (size_t i = 0; i < e->u.ack.codes.len; i++) put(l, "%s%02X", i ? "." : " codes=", e->u.ack.codes.base[i]);
  }
  if (e->kind == ROAM_EV_DISCONNECTED) put(l, " retry=%d", e->u.link.retry_ns != 0);
  if (e->kind != ROAM_EV_MESSAGE) return;
  put(l, " q=%u d=%d r=%d", e->u.message.qos, e->u.message.dup, e->u.message.retain);
  put_bytes(l, "t", e->u.message.topic);
  put_bytes(l, "", e->u.message.payload);
  put_props(l, "", e->u.message.props);
}

static void read_events(struct setting *in) {
  roam_event ev[32];
  size_t n;
  while (in->client && (n = roam_client_poll(in->client, ev, 32)) > 0) {
    for (size_t i = 0; i < n; i++) {
      struct line line = {.len = 0};
      assert_true(in->events_n < EVENTS_MAX);
      put_event(&line, &ev[i]);
      in->events[in->events_n++] = strdup(line.text);
    }
  }
}

void expect_event(struct setting *in, const char *words) {
  if (in->events_expected == in->events_n) settle(in, 200 * ROAM_MS);
  if (in->events_expected == in->events_n) fail_msg("the client says nothing; expected\n  %s", words);
  compare("client", in->events[in->events_expected++], words);
}

void expect_no_event(struct setting *in) {
  settle(in, 200 * ROAM_MS);
  if (in->events_expected < in->events_n) fail_msg("unexpected event\n  %s", in->events[in->events_expected]);
}

void publish(struct setting *in, const char *topic, const char *payload, unsigned qos, bool retain) {
  roam_client_message m = {.topic = {(const uint8_t *)topic, strlen(topic)},
                           .payload = {(const uint8_t *)payload, strlen(payload)},
                           .qos = (uint8_t)qos,
                           .retain = retain};
  assert_int_equal(roam_client_publish(in->client, roam_world_now(in->world), &m, NULL), 0);
  settle(in, 100 * ROAM_MS);
}

void subscribe(struct setting *in, const char *filter, unsigned qos) {
  roam_filter f = {.filter = {(const uint8_t *)filter, strlen(filter)}, .qos = (uint8_t)qos};
  assert_int_equal(roam_client_subscribe(in->client, roam_world_now(in->world), &f, 1, NULL), 0);
  settle(in, 100 * ROAM_MS);
}

/* ---- saying and expecting ----------------------------------------------------------------------------------------------
 */

static void send_bytes(struct peer *p, const uint8_t *bytes, size_t len) {
  while (len > 0) {
    size_t room = roam_conn_room(p->conn, 0), n = room < len ? room : len;
    if (p->closed_at) break;
    roam_slice slice = {bytes, n, NULL};
    if (n > 0) assert_int_equal(roam_conn_write(p->conn, roam_world_now(p->in->world), 0, &slice, 1), 0);
    bytes += n;
    len -= n;
    settle(p->in, 100 * ROAM_MS);
  }
}

void say(struct peer *p, const char *words, ...) {
  char lines[LINE_MAX_BYTES], *rest = lines;
  uint8_t *bytes = malloc(PACKET_BYTES), version;
  size_t len = 0, n;
  va_list args;
  assert_non_null(bytes);
  va_start(args, words);
  vsnprintf(lines, sizeof lines, words, args);
  va_end(args);
  for (char *line = rest; line; line = rest) {
    rest = strstr(line, " | ");
    if (rest) *rest = '\0', rest += 3;
    uint8_t *one = write_words(line, p->version ? p->version : ROAM_MQTT_5, &version, &n);
    assert_true(len + n <= PACKET_BYTES);
    memcpy(bytes + len, one, n);
    len += n;
    free(one);
    if (strncmp(line, "CONNECT ", 8) == 0) p->version = version;
  }
  send_bytes(p, bytes, len);
  free(bytes);
}

static size_t put_length(uint8_t *out, size_t n) {
  size_t used = 0;
  do {
    out[used++] = (uint8_t)((n & 127) | (n > 127 ? 128 : 0));
    n >>= 7;
  } while (n > 0);
  return used;
}

void say_bytes(struct peer *p, const char *text) {
  uint8_t body[1024], out[1032];
  size_t n = 0, head = 0;
  bool counted = false, quoted = false;
  for (const char *s = text; *s; s++) {
    assert_true(n < sizeof body);
    if (*s == '\'') quoted = !quoted;
    else if (quoted) body[n++] = (uint8_t)*s;
    else if (*s == ':') counted = true, out[head++] = body[--n];
    else if (*s != ' ') {
      unsigned byte;
      assert_int_equal(sscanf(s++, "%2x", &byte), 1);
      body[n++] = (uint8_t)byte;
    }
  }
  if (counted) head += put_length(out + head, n);
  memcpy(out + head, body, n);
  send_bytes(p, out, head + n);
}

static const char *expect_line(struct peer *p, const char *words) {
  if (p->expected_n == p->heard_n) settle(p->in, 300 * ROAM_MS);
  if (p->expected_n == p->heard_n)
    fail_msg("%s hears nothing%s; expected\n  %s", p->name, p->closed_at ? ", and is closed" : "", words);
  compare(p->name, p->heard[p->expected_n], words);
  return p->heard[p->expected_n++];
}

const char *expect(struct peer *p, const char *words, ...) {
  char line[LINE_MAX_BYTES];
  va_list args;
  va_start(args, words);
  vsnprintf(line, sizeof line, words, args);
  va_end(args);
  return expect_line(p, line);
}

static void expect_silence(struct peer *p) {
  settle(p->in, 300 * ROAM_MS);
  if (p->expected_n < p->heard_n) fail_msg("%s hears what was not expected\n  %s", p->name, p->heard[p->expected_n]);
}

void expect_nothing(struct peer *p) {
  expect_silence(p);
  if (p->closed_at) fail_msg("%s: the connection was closed", p->name);
}

void expect_closed(struct peer *p) {
  expect_silence(p);
  if (!p->closed_at) fail_msg("%s: the connection is still open", p->name);
}

void expect_end(struct peer *p, const char *words, ...) {
  char line[LINE_MAX_BYTES];
  va_list args;
  va_start(args, words);
  vsnprintf(line, sizeof line, words, args);
  va_end(args);
  expect_line(p, line);
  expect_closed(p);
}

uint16_t last_id(const struct peer *p) {
  assert_true(p->expected_n > 0);
  return p->ids[p->expected_n - 1];
}

size_t last_size(const struct peer *p) {
  assert_true(p->expected_n > 0);
  return p->sizes[p->expected_n - 1];
}

void stay_deaf(struct peer *p, bool on) {
  p->deaf = on;
  settle(p->in, 100 * ROAM_MS);
}

void hang_up(struct peer *p) {
  roam_conn_close(p->conn, roam_world_now(p->in->world), 0, false);
  settle(p->in, 100 * ROAM_MS);
}

/* ---- running -----------------------------------------------------------------------------------------------------------
 */

static int begin(void **state) {
  struct setting *in = calloc(1, sizeof *in);
  roam_transport_options o;
  assert_non_null(in);
  in->kind = *(const roam_transport_kind *)*state;
  in->world = roam_world_new(NULL);
  assert_non_null(in->world);
  suite_options_fill(&o, true, roam_world_random(in->world), roam_world_now(in->world));
  roam_broker_options_init(&in->options);
  in->options.tls = o.tls;
  in->options.anonymous_beyond_loopback = true;
  suite_options_fill(&o, false, roam_world_random(in->world), roam_world_now(in->world));
  roam_client_options_init(&in->client_options);
  snprintf(in->url, sizeof in->url, "%s://10.0.0.1:1883", in->kind == ROAM_TRANSPORT_QUIC ? "mqtt-quic" : "mqtt");
  in->client_options.url = in->url;
  in->client_options.client_id = "c";
  in->client_options.tls = o.tls;
  *state = in;
  return 0;
}

static int end(void **state) {
  struct setting *in = *state;
  for (size_t i = 0; i < in->peers_n; i++) {
    struct peer *p = &in->peers[i];
    for (size_t k = 0; k < p->heard_n; k++) free(p->heard[k]);
    if (p->side != in->server) suite_side_free(p->side);
  }
  for (size_t i = 0; i < in->events_n; i++) free(in->events[i]);
  if (in->server) suite_side_free(in->server);
  if (in->client) roam_client_free(in->client);
  if (in->broker) roam_broker_free(in->broker);
  roam_world_free(in->world);
  free(in);
  return 0;
}

int mqtt_suite_run(const char *group, const struct CMUnitTest *tests, size_t n) {
  static roam_transport_kind kinds[] = {ROAM_TRANSPORT_TCP, ROAM_TRANSPORT_QUIC};
  struct CMUnitTest *all = calloc(2 * n, sizeof *all);
  char(*names)[160] = calloc(2 * n, sizeof *names);
  if (!all || !names) return 1;
  for (size_t i = 0; i < 2 * n; i++) {
    snprintf(names[i], sizeof names[i], "%s over %s", tests[i / 2].name, roam_transport_name(kinds[i % 2]));
    all[i] = (struct CMUnitTest){names[i], tests[i / 2].test_func, begin, end, &kinds[i % 2]};
  }
  const char *only = getenv("ROAM_TEST"); /* "name over *", for tests/mutants */
  if (only) cmocka_set_test_filter(only);
  int failed = _cmocka_run_group_tests(group, all, 2 * n, NULL, NULL);
  free(names);
  free(all);
  return failed;
}
