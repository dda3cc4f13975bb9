/* roam_case.c - see roam_case.h. The rig is either a world or a loop; what is done with it is the same. */
#include "roam_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <roamqtt/roamqtt.h>

#define WALL INT64_C(1700000000)
#define MESSAGES_MAX 8192
#define WARM_NS (1500 * ROAM_MS)
#define AFTER_NS (3 * ROAM_S)

struct rig {
  const struct roam_case *c;
  roam_world *world;
  roam_loop *loop;
  roam_host *phone, *server;
  roam_hop *nat;
  roam_relay *relay;
  roam_identity identity;
  roam_broker *broker;
  roam_client *client;
  roam_addr wlan, cell, home, entry; /* entry: what the client dials */
  uint16_t port;
  bool subscribed, connected;
  uint32_t connects;
  uint32_t sent, got;
  uint8_t seen[MESSAGES_MAX];
  roam_time last_at, from; /* of a delivery; measured from */
  uint64_t gap_ns;
  char *text;
};

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static roam_addr addr(const char *text) {
  roam_addr a = {0};
  if (roam_addr_parse(text, &a) != 0) abort();
  return a;
}

static void complain(struct rig *r, const char *what) {
  if (!r->text[0]) snprintf(r->text, 160, "%s", what);
}

/* ---- time ------------------------------------------------------------------------------------------------------------ */

static roam_time now(const struct rig *r) { return r->world ? roam_world_now(r->world) : roam_loop_now(r->loop); }

static void run(struct rig *r, roam_time until) {
  if (r->world) {
    if (roam_world_run(r->world, until) != 0) complain(r, "the world did not come to rest");
    return;
  }
  for (roam_time at = now(r); at < until; at = now(r))
    if (roam_loop_step(r->loop, until - at) < 0) {
      complain(r, "the loop failed");
      return;
    }
}

/* ---- what is heard --------------------------------------------------------------------------------------------------- */

static void take(struct rig *r, const roam_event *ev) {
  char text[16] = "";
  size_t len = ev->u.message.payload.len < 15 ? ev->u.message.payload.len : 15;
  memcpy(text, ev->u.message.payload.base, len);
  unsigned long number = strtoul(text, NULL, 10);
  if (number >= MESSAGES_MAX || r->seen[number]++ > 0) return;
  roam_time at = now(r);
  r->got++;
  roam_time since = r->last_at > r->from ? r->last_at : r->from;
  if (r->from > 0 && at > since && at - since > r->gap_ns) r->gap_ns = at - since;
  r->last_at = at;
}

static void on_client(void *context, const roam_event ev[], size_t n) {
  struct rig *r = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_MESSAGE) take(r, &ev[i]);
    if (ev[i].kind == ROAM_EV_SUBSCRIBED) r->subscribed = true;
    if (ev[i].kind == ROAM_EV_CONNECTED) r->connects++;
    if (ev[i].kind == ROAM_EV_PATH_FAILED && ev[i].rc != ROAM_E_STATE) complain(r, "a path failed");
    if (ev[i].kind == ROAM_EV_CLOSED) complain(r, ev[i].text ? ev[i].text : "the client gave up");
  }
}

static void on_broker(void *context, const roam_event ev[], size_t n) {
  struct rig *r = context;
  for (size_t i = 0; i < n; i++)
    if (ev[i].kind == ROAM_EV_LISTENING) r->port = ev[i].u.link.local.port;
}

static void ignore(void *context, const roam_event ev[], size_t n) { (void)context, (void)ev, (void)n; }

/* ---- building -------------------------------------------------------------------------------------------------------- */

static roam_random *random_of(struct rig *r) { return r->world ? roam_world_random(r->world) : roam_random_system(); }

static void add_machine(struct rig *r, roam_host *host, roam_machine m, roam_loop_sink sink) {
  roam_rc rc = r->world ? roam_host_run(host, m, sink, r) : roam_loop_add(r->loop, m, sink, r);
  if (rc != 0) complain(r, "a machine was refused");
}

static roam_hop *make_delay(uint64_t one_way_ns) {
  roam_delay_options o;
  roam_delay_options_init(&o);
  o.delay_ns = one_way_ns;
  return roam_delay_new(&o, NULL);
}

static void build_world(struct rig *r) {
  roam_world_options o;
  roam_world_options_init(&o);
  o.trace_datagrams = false;
  r->world = roam_world_new(&o);
  r->phone = roam_world_host(r->world, "phone");
  r->server = roam_world_host(r->world, "server");
  r->wlan = addr("10.0.0.2");
  r->cell = addr("198.51.100.9");
  r->home = r->entry = addr("192.0.2.1");
  roam_host_address(r->phone, "wlan0", &r->wlan);
  roam_host_address(r->phone, "wwan0", &r->cell);
  roam_host_address(r->server, "eth0", &r->home);
  roam_nat_options n;
  roam_nat_options_init(&n);
  n.address = addr("203.0.113.200");
  r->nat = roam_nat_new(&n, NULL);
  roam_host_hop(r->phone, &r->wlan, make_delay(r->c->rtt_ns / 2));
  roam_host_hop(r->phone, &r->wlan, r->nat);
  roam_host_hop(r->phone, &r->cell, make_delay(r->c->rtt_ns / 2));
}

static void build_broker(struct rig *r) {
  roam_broker_options o;
  roam_broker_options_init(&o);
  o.tls.certificate = str(r->identity.certificate);
  o.tls.key = str(r->identity.key);
  o.tls.wall_unix_s = WALL;
  o.anonymous_beyond_loopback = r->world != NULL;
  r->broker = roam_broker_new(&o, now(r), random_of(r), NULL);
  bool tcp = r->c->kind == CASE_TCP_REBIND;
  roam_addr at = r->home;
  at.port = r->world ? 14567 : 0;
  roam_broker_listen(r->broker, now(r), tcp ? ROAM_TRANSPORT_TCP : ROAM_TRANSPORT_QUIC, &at, NULL);
  add_machine(r, r->server, roam_broker_machine(r->broker), on_broker);
  for (int i = 0; i < 100 && r->port == 0; i++) run(r, now(r) + ROAM_MS);
}

/* The relay is the NAT: inside 127.0.0.1, outside 127.0.1.1 and, rebound, 127.0.1.2. */
static void build_relay(struct rig *r) {
  roam_relay_options o;
  roam_relay_options_init(&o);
  o.inside = addr("127.0.0.1");
  o.server = r->home;
  o.server.port = r->port;
  o.address = addr("127.0.1.1");
  o.delay_ns = r->c->rtt_ns / 2;
  r->relay = roam_relay_new(&o, roam_random_system());
  add_machine(r, NULL, roam_relay_machine(r->relay), ignore);
  for (int i = 0; i < 100 && roam_relay_inside(r->relay).port == 0; i++) run(r, now(r) + ROAM_MS);
  r->entry = roam_relay_inside(r->relay);
}

static void build_client(struct rig *r) {
  char url[80], at[ROAM_ADDR_TEXT_MAX];
  roam_client_options o;
  roam_client_options_init(&o);
  r->entry.port = r->world ? r->port : r->entry.port;
  snprintf(url, sizeof url, "%s://%s", r->c->kind == CASE_TCP_REBIND ? "mqtt" : "mqtt-quic",
           roam_addr_format(&r->entry, at));
  o.url = url;
  o.client_id = "phone";
  o.session_expiry_s = 600;
  o.server_name = "broker.test";
  o.tls.ca = str(r->identity.ca_certificate);
  o.tls.wall_unix_s = WALL;
  o.interfaces = "wlan0, wwan0:metered";
  if (r->c->sockets) o.ping_ns = o.ping_max_ns = 2 * ROAM_S; /* nobody wants to wait for 15 s */
  r->client = roam_client_new(&o, random_of(r), NULL);
  roam_filter all = {.filter = str("t"), .qos = 1};
  roam_client_subscribe(r->client, now(r), &all, 1, NULL);
  roam_client_start(r->client, now(r));
  add_machine(r, r->phone, roam_client_machine(r->client), on_client);
}

static bool build(struct rig *r, const struct roam_case *c, char *text) {
  *r = (struct rig){.c = c, .text = text};
  if (roam_identity_make(&r->identity, "roam", "broker.test", WALL, 30, false) != 0) return false;
  if (c->sockets) {
    r->loop = roam_loop_new(NULL);
    r->home = addr("127.0.0.1");
    r->wlan = addr("127.0.0.1");
    r->cell = addr("127.0.0.2");
  } else {
    build_world(r);
  }
  build_broker(r);
  if (c->sockets) build_relay(r);
  build_client(r);
  roam_time until = now(r) + 10 * ROAM_S;
  while (!r->subscribed && now(r) < until) run(r, now(r) + 10 * ROAM_MS);
  if (!r->subscribed) complain(r, "no connection");
  return r->subscribed;
}

static void demolish(struct rig *r) {
  roam_loop_free(r->loop);
  roam_client_free(r->client);
  roam_relay_free(r->relay);
  roam_broker_free(r->broker);
  if (r->world) roam_world_free(r->world);
  roam_identity_clear(&r->identity);
}

/* ---- what happens ---------------------------------------------------------------------------------------------------- */

static void publish(struct rig *r) {
  char text[16];
  if (r->sent == MESSAGES_MAX) return;
  snprintf(text, sizeof text, "%u", (unsigned)r->sent++);
  if (roam_broker_publish(r->broker, now(r), str("t"), str(text), 1, false) != 0) complain(r, "a publish was refused");
}

/* Publishes at its pace until then. */
static void flow(struct rig *r, roam_time *next, roam_time until) {
  while (*next < until) {
    run(r, *next);
    publish(r);
    *next += r->c->interval_ns;
  }
  run(r, until);
}

static void rebind(struct rig *r) {
  roam_addr to = addr(r->world ? "203.0.113.203" : "127.0.1.2");
  roam_rc rc = r->world ? roam_world_rebind(r->world, r->nat, &to) : roam_relay_rebind(r->relay, now(r), &to);
  if (rc != 0) complain(r, "no rebind");
}

static void migrate(struct rig *r, const roam_addr *to, bool immediate) {
  if (roam_client_migrate(r->client, now(r), to, NULL, immediate) != 0) complain(r, "migrate was refused");
}

/* What comes before that which is measured. */
static void prepare(struct rig *r, roam_time *next) {
  roam_case_kind kind = r->c->kind;
  if (kind == CASE_RETURN) migrate(r, &r->cell, false);
  if (kind == CASE_AUTO_RETURN) roam_host_set_up(r->phone, &r->wlan, false, true);
  flow(r, next, now(r) + WARM_NS);
  if (kind == CASE_AUTO_RETURN)
    roam_host_set_up(r->phone, &r->wlan, true, true); /* the move itself comes 2 s or 4 s later */
}

static void strike(struct rig *r) {
  switch (r->c->kind) {
    case CASE_REBIND:
    case CASE_SILENT:
    case CASE_TCP_REBIND: rebind(r); break;
    case CASE_SILENT_SIGN:
      rebind(r);
      if (r->world) roam_host_wake(r->phone, 60 * ROAM_S);
      else roam_client_hint(r->client, now(r));
      break;
    case CASE_PROBE: migrate(r, &r->cell, false); break;
    case CASE_IMMEDIATE: migrate(r, &r->cell, true); break;
    case CASE_DEAD_LINK: roam_host_set_up(r->phone, &r->wlan, false, true); break;
    case CASE_RETURN: migrate(r, &r->wlan, false); break;
    default: break;
  }
}

static bool is_silent(roam_case_kind kind) { return kind == CASE_SILENT || kind == CASE_SILENT_SIGN; }

/* Silence: soon after the last packet, the worst moment, for the next ping is far away, the NAT rebinds and a message
 * comes. */
static void play_silent(struct rig *r, uint64_t offset_ns) {
  uint64_t ping_ns = roam_client_get_stats(r->client).ping_ns;
  run(r, now(r) + 500 * ROAM_MS + offset_ns);
  strike(r);
  r->from = now(r);
  publish(r);
  run(r, now(r) + ping_ns + AFTER_NS);
}

static void play(struct rig *r, uint64_t offset_ns) {
  if (is_silent(r->c->kind)) {
    play_silent(r, offset_ns);
    return;
  }
  roam_time next = now(r);
  flow(r, &next, now(r) + WARM_NS);
  prepare(r, &next);
  flow(r, &next, next + offset_ns);
  r->from = now(r);
  strike(r);
  flow(r, &next, now(r) + (r->c->kind == CASE_AUTO_RETURN ? 2 : 1) * AFTER_NS);
  r->from = 0;
  run(r, now(r) + AFTER_NS);
}

static void check_moved(struct rig *r) {
  roam_client_stats stats = roam_client_get_stats(r->client);
  roam_case_kind kind = r->c->kind;
  bool to_wlan = kind == CASE_RETURN || kind == CASE_AUTO_RETURN;
  bool to_cell = kind == CASE_PROBE || kind == CASE_IMMEDIATE || kind == CASE_DEAD_LINK;
  if (to_wlan && !(roam_addr_same_ip(&stats.local, &r->wlan) && stats.migrations == 2)) complain(r, "it did not return");
  if (to_cell && !(roam_addr_same_ip(&stats.local, &r->cell) && stats.migrations == 1)) complain(r, "it did not move");
}

/* ---- the row --------------------------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  double lower_rtts;
  bool sockets;
} rows[CASE_KINDS] = {
    [CASE_STEADY] = {"steady", 0, true},
    [CASE_REBIND] = {"rebind", 1, true},
    [CASE_PROBE] = {"probe", 0, true},
    [CASE_IMMEDIATE] = {"immediate", 0, true},
    [CASE_DEAD_LINK] = {"dead link", 1, false},
    [CASE_RETURN] = {"return", 0, true},
    [CASE_AUTO_RETURN] = {"return by itself", 0, false},
    [CASE_SILENT] = {"silent subscriber", 1, true},
    [CASE_SILENT_SIGN] = {"silent, with a sign", 1, true},
    [CASE_TCP_REBIND] = {"rebind, TCP", 1, true},
};

const char *roam_case_name(roam_case_kind kind) { return rows[kind].name; }

bool roam_case_on_sockets(roam_case_kind kind) { return rows[kind].sockets; }

static uint64_t ping_of(const struct roam_case *c) { return c->sockets ? 2 * ROAM_S : 15 * ROAM_S; }

static void fill_bounds(const struct roam_case *c, struct roam_case_result *r) {
  uint64_t slack = 10 * ROAM_MS + (c->sockets ? 30 * ROAM_MS : 0), interval = c->interval_ns;
  r->lower_rtts = rows[c->kind].lower_rtts;
  r->lower_ns = (uint64_t)(r->lower_rtts * (double)c->rtt_ns) + (is_silent(c->kind) ? 0 : interval);
  switch (c->kind) {
    case CASE_REBIND:
    case CASE_DEAD_LINK: r->bound_ns = 2 * c->rtt_ns + interval + slack; break;
    case CASE_SILENT: r->bound_ns = ping_of(c) + 2 * c->rtt_ns + slack; break;
    case CASE_SILENT_SIGN: r->bound_ns = 2 * c->rtt_ns + slack; break;
    case CASE_TCP_REBIND: r->bound_ns = 0; break;
    default: r->bound_ns = 2 * interval + (c->sockets ? 30 * ROAM_MS : 0); break;
  }
}

static bool run_once(const struct roam_case *c, uint64_t offset_ns, struct roam_case_result *out) {
  struct rig *r = calloc(1, sizeof *r);
  if (!r) return false;
  bool built = build(r, c, out->text);
  if (built) play(r, offset_ns);
  if (built) check_moved(r);
  if (r->gap_ns > out->gap_ns) out->gap_ns = r->gap_ns;
  out->lost += r->sent - r->got;
  out->reconnects += r->connects > 0 ? r->connects - 1 : 0;
  demolish(r);
  free(r);
  return built;
}

void roam_case_run(const struct roam_case *c, struct roam_case_result *r) {
  *r = (struct roam_case_result){.ran = true};
  fill_bounds(c, r);
  unsigned phases = c->phases > 0 ? c->phases : 1;
  for (unsigned i = 0; i < phases && r->ran; i++) r->ran = run_once(c, c->interval_ns * i / phases, r);
  bool bounded = r->bound_ns > 0;
  r->ok = r->ran && !r->text[0] && r->lost == 0 && (!bounded || (r->gap_ns <= r->bound_ns && r->reconnects == 0));
}
