/* early_test.c - the first flight, client and broker whole: how many round trips until the broker has the first byte and
 * the client its CONNACK, with and without early data; what leaves early and what does not; state carried to another run;
 * and a first flight recorded and played again, to the same broker and to its successor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <roamqtt/broker.h>
#include <roamqtt/client.h>

#include "conformance/glue.h"

#define WALL INT64_C(1800000000)
#define HALF_RTT (25 * ROAM_MS)
#define RTT (2 * HALF_RTT)

static const uint8_t secret[32] = "a secret of thirty-two bytes, .";

struct play {
  struct glue *g;
  struct roam_rng broker_rng, client_rng;
  roam_identity id;
  roam_broker_options bo;
  roam_broker *broker;
  roam_client *client;
  int broker_node, client_node;
  uint8_t state[65536];
  size_t state_len;
  bool flows; /* clients ask for MQTT-next */
  /* heard since begin() */
  roam_time began, connected_at, peer_at, subscribed_at;
  unsigned early, taken, refused, peers, states, messages, closed;
  /* the client's datagrams bear 10.0.0.8; mute: and what is sent there is lost */
  bool posing, mute;
  /* the recorder */
  bool recording;
  size_t flights;
  size_t flight_len[16];
  uint8_t flight[16][1500];
};

static roam_bytes str(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static void hear_client(struct play *p, const roam_event *ev) {
  switch (ev->kind) {
    case ROAM_EV_CONNECTED: p->connected_at = ev->at; break;
    case ROAM_EV_EARLY_DATA:
      p->early++;
      if (ev->rc == 0) p->taken++;
      else p->refused++;
      break;
    case ROAM_EV_STATE: {
      roam_bytes b = roam_client_saved(p->client);
      assert_true(b.len > 0 && b.len <= sizeof p->state);
      memcpy(p->state, b.base, b.len);
      p->state_len = b.len;
      p->states++;
      break;
    }
    case ROAM_EV_MESSAGE: p->messages++; break;
    case ROAM_EV_CLOSED: p->closed++; break;
    default: break;
  }
}

static bool hear(void *context) {
  struct play *p = context;
  roam_event ev[16];
  size_t n;
  while (p->client && (n = roam_client_poll(p->client, ev, 16)) > 0)
    for (size_t i = 0; i < n; i++) hear_client(p, &ev[i]);
  while ((n = roam_broker_poll(p->broker, ev, 16)) > 0)
    for (size_t i = 0; i < n; i++)
      if (ev[i].kind == ROAM_EV_PEER_CONNECTED) {
        p->peers++;
        p->peer_at = ev[i].at;
      }
  if (!p->subscribed_at && roam_broker_get_stats(p->broker).subscriptions > 0) p->subscribed_at = p->g->now;
  return false;
}

static void run(struct play *p, uint64_t ns) { glue_run_until(p->g, p->g->now + ns, hear, p); }

static const roam_addr own = {.family = 4, .ip = {10, 0, 0, 2}}, borrowed = {.family = 4, .ip = {10, 0, 0, 8}};

static bool pass_on(struct glue *g, roam_wire *unit, uint8_t *bytes, size_t *len) {
  const struct play *p = g->context;
  (void)bytes, (void)len;
  if (!roam_addr_same_ip(&unit->remote, &borrowed)) return true;
  memcpy(unit->remote.ip, own.ip, 4);
  return !p->mute;
}

static bool record(struct glue *g, roam_wire *unit, uint8_t *bytes, size_t *len) {
  struct play *p = g->context;
  if (p->posing && roam_addr_same_ip(&unit->local, &own)) memcpy(unit->local.ip, borrowed.ip, 4);
  if (!p->recording || unit->local.port == 14567) return true;
  assert_true(p->flights < 16 && *len <= 1500);
  memcpy(p->flight[p->flights], bytes, *len);
  p->flight_len[p->flights++] = *len;
  return true;
}

static void make_broker(struct play *p) {
  roam_rc rc;
  roam_addr local;
  uint64_t listener;
  p->bo.tls.wall_unix_s = WALL + (int64_t)(p->g->now / ROAM_S);
  p->broker = roam_broker_new(&p->bo, p->g->now, &p->broker_rng.random, &rc);
  assert_non_null(p->broker);
  assert_int_equal(roam_addr_parse("10.0.0.1:14567", &local), 0);
  p->g->machine[p->broker_node] = roam_broker_machine(p->broker);
  assert_int_equal(roam_broker_listen(p->broker, p->g->now, ROAM_TRANSPORT_QUIC, &local, &listener), 0);
  run(p, ROAM_MS);
}

static void restart_broker(struct play *p) {
  roam_broker_free(p->broker);
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (p->g->socket[i].node == p->broker_node) p->g->socket[i].used = false;
  make_broker(p);
}

static struct play *play_new(void (*change)(roam_broker_options *o)) {
  struct play *p = calloc(1, sizeof *p);
  p->g = glue_new(1, HALF_RTT);
  p->g->trains = false;
  p->g->context = p;
  p->g->out = record;
  p->g->in = pass_on;
  roam_rng_init(&p->broker_rng, 7);
  roam_rng_init(&p->client_rng, 8);
  assert_int_equal(roam_identity_make(&p->id, "early", "10.0.0.1", WALL, 30, false), 0);
  roam_broker_options_init(&p->bo);
  p->bo.anonymous_beyond_loopback = true;
  p->bo.tls.certificate = str(p->id.certificate);
  p->bo.tls.key = str(p->id.key);
  p->bo.secret = (roam_bytes){secret, 32};
  if (change) change(&p->bo);
  roam_rc rc;
  p->bo.tls.wall_unix_s = WALL;
  p->broker = roam_broker_new(&p->bo, p->g->now, &p->broker_rng.random, &rc);
  assert_non_null(p->broker);
  p->broker_node = glue_add(p->g, roam_broker_machine(p->broker), "10.0.0.1");
  roam_broker_free(p->broker);
  make_broker(p);
  p->client_node = -1;
  return p;
}

static void play_free(struct play *p) {
  roam_client_free(p->client);
  roam_broker_free(p->broker);
  roam_identity_clear(&p->id);
  glue_free(p->g);
  free(p);
}

static roam_client_options usual(struct play *p) {
  roam_client_options o;
  roam_client_options_init(&o);
  o.url = "mqtt-quic://10.0.0.1";
  o.client_id = "phone";
  o.tls.ca = str(p->id.ca_certificate);
  o.tls.wall_unix_s = WALL + (int64_t)(p->g->now / ROAM_S);
  o.state = (roam_bytes){p->state, p->state_len};
  o.tell_state = true;
  o.session_expiry_s = 3600;
  o.flows = p->flows;
  return o;
}

/* A new process: what it knows is in p->state. o NULL: as usual. */
static void make_client(struct play *p, const roam_client_options *o) {
  roam_client_options as_usual = usual(p);
  roam_rc rc;
  p->client = roam_client_new(o ? o : &as_usual, &p->client_rng.random, &rc);
  assert_non_null(p->client);
  if (p->client_node < 0) p->client_node = glue_add(p->g, roam_client_machine(p->client), "10.0.0.2");
  else p->g->machine[p->client_node] = roam_client_machine(p->client);
  p->began = p->g->now;
  p->connected_at = p->peer_at = p->subscribed_at = 0;
  p->early = p->taken = p->refused = p->peers = p->messages = 0;
}

static void nothing_fed(void *self, roam_time now, const roam_wire in[], size_t n) {
  (void)self, (void)now, (void)in, (void)n;
}
static void nothing_ticks(void *self, roam_time now) { (void)self, (void)now; }
static size_t nothing_drains(void *self, roam_time now, roam_wire out[], size_t n) {
  (void)self, (void)now, (void)out, (void)n;
  return 0;
}
static size_t nothing_said(void *self, roam_event ev[], size_t n) {
  (void)self, (void)ev, (void)n;
  return 0;
}
static roam_time never(const void *self) {
  (void)self;
  return ROAM_NEVER;
}
static const roam_machine_ops nobody = {nothing_fed, nothing_ticks, nothing_drains, nothing_said, never};

/* Its process dies. */
static void kill_client(struct play *p) {
  roam_client_free(p->client);
  p->client = NULL;
  p->g->machine[p->client_node] = (roam_machine){&nobody, NULL, NULL};
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (p->g->socket[i].node == p->client_node) p->g->socket[i].used = false;
}

static void start(struct play *p) { assert_int_equal(roam_client_start(p->client, p->g->now), 0); }

static void arrive(struct play *p, const roam_client_options *o) {
  make_client(p, o);
  start(p);
}

static void first_visit(struct play *p) {
  arrive(p, NULL);
  run(p, ROAM_S);
  assert_int_equal(p->early, 0);
  assert_int_equal(p->peer_at - p->began, 3 * HALF_RTT); /* first byte after 1.5 round trips */
  assert_int_equal(p->connected_at - p->began, 2 * RTT);
  assert_true(p->states > 0 && p->state_len > 0);
  kill_client(p);
}

static void round_trips(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  first_visit(p);
  arrive(p, NULL);
  run(p, ROAM_S);
  assert_int_equal(p->peer_at - p->began, HALF_RTT);
  assert_int_equal(p->connected_at - p->began, RTT);
  assert_int_equal(p->taken, 1);
  roam_client_stats stats = roam_client_get_stats(p->client);
  assert_true(stats.early_accepted == 1 && stats.early_rejected == 0 && stats.resumed == 1);
  roam_peer_info info;
  assert_int_equal(roam_broker_client(p->broker, "phone", &info), 0);
  assert_true(info.early_data && info.resumed);
  assert_int_equal(roam_broker_get_stats(p->broker).early_accepted, 1);
  kill_client(p);
  roam_client_options o = usual(p);
  o.early_data = false; /* resumed only */
  arrive(p, &o);
  run(p, ROAM_S);
  assert_int_equal(p->early, 0);
  assert_int_equal(p->peer_at - p->began, 3 * HALF_RTT);
  assert_int_equal(p->connected_at - p->began, 2 * RTT);
  assert_int_equal(roam_client_get_stats(p->client).resumed, 1);
  play_free(p);
}

/* One client, whose connection is lost: it is back after one round trip, by the ticket it got from that very connection. */
static void a_lost_connection_resumes_early(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  arrive(p, NULL);
  run(p, 2 * ROAM_S);
  assert_int_equal(p->early, 0);
  assert_int_equal(roam_broker_kick(p->broker, p->g->now, "phone", 0x8B), 0);
  p->peers = 0;
  p->connected_at = 0;
  run(p, 2 * ROAM_S);
  assert_int_equal(p->taken, 1);
  assert_int_equal(p->peers, 1);
  assert_int_equal(p->connected_at - p->peer_at, HALF_RTT); /* it was heard half a round trip before it heard */
  roam_client_stats stats = roam_client_get_stats(p->client);
  assert_true(stats.early_accepted == 1 && stats.resumed == 1);
  play_free(p);
}

static void only_what_may_be_repeated_goes_early(void **state) {
  struct play *p = play_new(NULL);
  roam_filter filter = {.filter = str("in/#"), .qos = 1};
  (void)state;
  first_visit(p);
  make_client(p, NULL);
  roam_client_message safe = {.topic = str("in/a"), .payload = str("1"), .qos = 1, .safe_to_repeat = true};
  roam_client_message other = {.topic = str("in/b"), .payload = str("2"), .qos = 1};
  roam_client_message behind = {.topic = str("in/c"), .payload = str("3"), .qos = 0, .safe_to_repeat = true};
  start(p);
  assert_int_equal(roam_client_subscribe(p->client, p->g->now, &filter, 1, NULL), 0);
  assert_int_equal(roam_client_publish(p->client, p->g->now, &safe, NULL), 0);
  assert_int_equal(roam_client_publish(p->client, p->g->now, &other, NULL), 0);
  assert_int_equal(roam_client_publish(p->client, p->g->now, &behind, NULL), 0);
  run(p, HALF_RTT);
  assert_int_equal(p->subscribed_at - p->began, HALF_RTT);
  assert_int_equal(roam_broker_get_stats(p->broker).messages_in, 1);
  run(p, HALF_RTT);
  assert_int_equal(p->messages, 1); /* our own, back after one round trip */
  run(p, HALF_RTT);
  assert_int_equal(roam_broker_get_stats(p->broker).messages_in, 3);
  run(p, 2 * ROAM_S);
  assert_int_equal(p->messages, 3); /* none twice */
  roam_client_stats stats = roam_client_get_stats(p->client);
  assert_true(stats.inflight == 0 && stats.queued == 0 && stats.messages_out == 3);
  assert_int_equal(roam_broker_get_stats(p->broker).subscriptions, 1);
  play_free(p);
}

static void what_was_rejected_is_sent_again_by_itself(void **state) {
  struct play *p = play_new(NULL);
  roam_filter filter = {.filter = str("in/#"), .qos = 1};
  (void)state;
  first_visit(p);
  restart_broker(p);
  make_client(p, NULL);
  roam_client_message safe = {.topic = str("in/a"), .payload = str("1"), .qos = 1, .safe_to_repeat = true};
  start(p);
  assert_int_equal(roam_client_subscribe(p->client, p->g->now, &filter, 1, NULL), 0);
  assert_int_equal(roam_client_publish(p->client, p->g->now, &safe, NULL), 0);
  run(p, ROAM_S);
  assert_int_equal(p->refused, 1);
  assert_int_equal(p->peer_at - p->began, 3 * HALF_RTT);
  assert_int_equal(p->connected_at - p->began, 2 * RTT);
  assert_int_equal(p->messages, 1);
  assert_int_equal(roam_broker_get_stats(p->broker).messages_in, 1);
  assert_int_equal(roam_broker_get_stats(p->broker).handshakes_resumed, 1); /* the ticket itself is good */
  play_free(p);
}

/* The header of the control flow, CONNECT, SUBSCRIBE on that flow and what is safe: early, as in the other mode. Other
 * flows wait for CONNACK. */
static void flows_speak_early_too(void **state) {
  struct play *p = play_new(NULL);
  roam_filter filter = {.filter = str("in/#"), .qos = 1};
  (void)state;
  p->flows = true;
  first_visit(p);
  make_client(p, NULL);
  roam_client_message safe = {.topic = str("in/a"), .payload = str("1"), .qos = 1, .safe_to_repeat = true};
  roam_client_message elsewhere = {.topic = str("in/b"), .payload = str("2"), .qos = 1, .safe_to_repeat = true, .lane = 1};
  start(p);
  assert_int_equal(roam_client_subscribe(p->client, p->g->now, &filter, 1, NULL), 0);
  assert_int_equal(roam_client_publish(p->client, p->g->now, &safe, NULL), 0);
  assert_int_equal(roam_client_publish(p->client, p->g->now, &elsewhere, NULL), 0);
  run(p, HALF_RTT);
  assert_int_equal(p->peer_at - p->began, HALF_RTT);
  assert_int_equal(p->subscribed_at - p->began, HALF_RTT);
  assert_int_equal(roam_broker_get_stats(p->broker).messages_in, 1);
  run(p, ROAM_S);
  assert_int_equal(p->connected_at - p->began, RTT);
  assert_int_equal(p->taken, 1);
  assert_int_equal(p->messages, 2);
  assert_true(roam_client_get_stats(p->client).flows);
  assert_int_equal(roam_broker_get_stats(p->broker).lanes_opened, 1);
  play_free(p);
}

/* A ticket of the lower mode would hold us there: it is resumed, but nothing is said before the mode is known. */
static void a_ticket_of_the_lower_mode_holds_nobody_there(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  p->flows = true;
  p->bo.flows = false;
  restart_broker(p);
  first_visit(p);
  p->bo.flows = true;
  restart_broker(p);
  for (unsigned visit = 0; visit < 2; visit++) {
    arrive(p, NULL);
    run(p, ROAM_S);
    assert_int_equal(p->taken, visit);
    roam_client_stats stats = roam_client_get_stats(p->client);
    assert_true(stats.flows && stats.resumed == 1);
    kill_client(p);
  }
  play_free(p);
}

/* The server has been told to speak the lower mode only: what was said early is not in its language, and is said anew. */
static void a_server_that_has_unlearned_flows(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  p->flows = true;
  first_visit(p);
  p->bo.flows = false;
  restart_broker(p);
  for (unsigned visit = 0; visit < 2; visit++) {
    make_client(p, NULL);
    roam_client_message safe = {.topic = str("in/a"), .payload = str("1"), .qos = 1, .safe_to_repeat = true};
    start(p);
    assert_int_equal(roam_client_publish(p->client, p->g->now, &safe, NULL), 0);
    run(p, 2 * ROAM_S);
    assert_true(p->connected_at != 0);
    assert_int_equal(p->refused, visit == 0 ? 1 : 0); /* the second knows */
    assert_false(roam_client_get_stats(p->client).flows);
    assert_int_equal(roam_client_get_stats(p->client).inflight, 0);
    kill_client(p);
  }
  assert_int_equal(roam_broker_get_stats(p->broker).messages_in, 2);
  assert_int_equal(roam_broker_get_stats(p->broker).packets_malformed, 0);
  play_free(p);
}

static void tickets_belong_to_trust_and_time(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  first_visit(p);
  roam_client_options o = usual(p);
  o.server_name = "10.0.0.1"; /* the same name: the same trust */
  arrive(p, &o);
  run(p, ROAM_S);
  assert_int_equal(p->taken, 1);
  kill_client(p);
  o = usual(p);
  o.tls.insecure = true;
  arrive(p, &o);
  run(p, ROAM_S);
  assert_int_equal(p->early, 0);
  assert_int_equal(roam_client_get_stats(p->client).resumed, 0);
  kill_client(p);
  for (int visit = 0; visit < 2; visit++) { /* another offer of protocols: another ticket */
    o = usual(p);
    o.flows = true;
    arrive(p, &o);
    run(p, ROAM_S);
    assert_true(p->connected_at != 0);
    assert_int_equal(p->taken, visit);
    assert_int_equal(roam_client_get_stats(p->client).resumed, visit);
    kill_client(p);
  }
  o = usual(p);
  o.tls.wall_unix_s += 6 * 3600; /* hours later: dropped unused */
  arrive(p, &o);
  run(p, ROAM_S);
  assert_int_equal(p->early, 0);
  assert_true(p->connected_at != 0);
  assert_int_equal(roam_client_get_stats(p->client).resumed, 0);
  play_free(p);
}

static void damaged_state_is_only_a_first_visit(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  first_visit(p);
  uint8_t kept[sizeof p->state];
  size_t len = p->state_len;
  memcpy(kept, p->state, len);
  for (size_t at = 0; at < len; at += 1 + len / 60) {
    memcpy(p->state, kept, len);
    p->state_len = at % 3 == 0 ? at : len;
    if (at % 3 != 0) p->state[at] ^= 0xff;
    roam_client_options o = usual(p);
    o.tell_state = false;
    arrive(p, &o);
    run(p, ROAM_S);
    assert_true(p->connected_at != 0);
    kill_client(p);
    run(p, ROAM_MS);
  }
  play_free(p);
}

/* ---- played again ---- */

static void play_again(struct play *p) {
  struct glue_socket *s = NULL;
  roam_addr stranger;
  for (size_t i = 0; i < GLUE_SOCKETS; i++)
    if (p->g->socket[i].used && p->g->socket[i].node == p->broker_node) s = &p->g->socket[i];
  assert_non_null(s);
  assert_int_equal(roam_addr_parse("10.0.0.66:666", &stranger), 0);
  for (size_t i = 0; i < p->flights; i++) {
    roam_wire u = {.kind = ROAM_WIRE_DATAGRAM,
                   .handle = s->handle,
                   .local = s->local,
                   .remote = stranger,
                   .data = p->flight[i],
                   .len = p->flight_len[i]};
    glue_put(p->g, p->g->now, p->broker_node, &u);
  }
  run(p, 15 * ROAM_S);
}

static void a_first_flight_played_again_does_nothing(void **state) {
  struct play *p = play_new(NULL);
  roam_filter filter = {.filter = str("in/#"), .qos = 1};
  (void)state;
  first_visit(p);
  arrive(p, NULL);
  assert_int_equal(roam_client_subscribe(p->client, p->g->now, &filter, 1, NULL), 0);
  p->recording = true;
  glue_settle(p->g);
  p->recording = false;
  assert_true(p->flights > 0);
  run(p, ROAM_S);
  assert_int_equal(p->taken, 1); /* the recording has CONNECT and SUBSCRIBE in it */
  roam_broker_stats before = roam_broker_get_stats(p->broker), after;
  assert_int_equal(before.subscriptions, 1);
  play_again(p); /* while the true client is there */
  after = roam_broker_get_stats(p->broker);
  assert_int_equal(after.connects_accepted, before.connects_accepted);
  assert_int_equal(after.sessions_taken_over, before.sessions_taken_over);
  assert_int_equal(after.connects_refused, before.connects_refused);
  assert_int_equal(after.subscriptions, 1);
  assert_int_equal(after.early_repeated, before.early_repeated + 1);
  assert_int_equal(after.early_accepted, before.early_accepted);
  assert_int_equal(roam_client_get_state(p->client), ROAM_CLIENT_CONNECTED);
  kill_client(p);
  run(p, 120 * ROAM_S);
  before = roam_broker_get_stats(p->broker);
  play_again(p); /* when it is gone */
  after = roam_broker_get_stats(p->broker);
  assert_int_equal(after.connects_accepted, before.connects_accepted);
  assert_int_equal(after.early_accepted, before.early_accepted);
  restart_broker(p); /* the same secret, an empty table */
  play_again(p);
  after = roam_broker_get_stats(p->broker);
  assert_int_equal(after.connects_accepted, 0);
  assert_int_equal(after.sessions, 0);
  assert_int_equal(after.subscriptions, 0);
  assert_int_equal(after.early_accepted, 0);
  play_free(p);
}

/* ---- whose address is it? ---- */

/* alice's is "secret". */
static const char passwords[] =
    "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
    "Uz4ecVxcRbxCbzkA==\n";

static void two_failures(roam_broker_options *o) {
  o->passwords = str(passwords);
  o->auth_failures_max = 2;
}

static void one_a_second(roam_broker_options *o) { o->connect_rate_max = 1; }

enum {
  HONEST,
  POSING,     /* in another's name, whose network brings the answers */
  POSING_MUTE /* and whose network does not: nobody has proved anything */
};

/* A visit by a new process, which then dies. */
static void call(struct play *p, int how, const char *password, uint64_t ns) {
  roam_client_options o = usual(p);
  o.reconnect = false;
  o.user_name = password ? "alice" : NULL;
  if (password) o.password = str(password);
  p->posing = how != HONEST;
  p->mute = how == POSING_MUTE;
  arrive(p, &o);
  run(p, ns);
  kill_client(p);
}

static void take_tickets(struct play *p, const char *password) {
  run(p, 2 * ROAM_S);
  call(p, HONEST, password, ROAM_S);
  assert_true(p->connected_at > 0);
  run(p, 2 * ROAM_S);
}

static void failed_logins_in_anothers_name_are_not_its(void **state) {
  struct play *p = play_new(two_failures);
  (void)state;
  for (int i = 0; i < 4; i++) {
    take_tickets(p, "secret");
    call(p, POSING_MUTE, "wrong", 100 * ROAM_MS);
  }
  assert_int_equal(roam_broker_get_stats(p->broker).auth_failures, 2); /* the others waited for a proof */
  take_tickets(p, "secret");
  call(p, POSING, "secret", ROAM_S); /* whose address it is */
  assert_true(p->connected_at > 0);
  assert_int_equal(p->peer_at - p->began, 3 * HALF_RTT); /* it waited, too */
  assert_int_equal(roam_broker_get_stats(p->broker).connects_limited, 0);
  run(p, 61 * ROAM_S);
  take_tickets(p, "secret");
  call(p, POSING, "secret", ROAM_S);
  assert_int_equal(p->peer_at - p->began, HALF_RTT);
  for (int i = 0; i < 5; i++) { /* two of nobody's, two of its own, and no more */
    take_tickets(p, "secret");
    assert_int_equal(roam_broker_get_stats(p->broker).connects_limited, 0);
    call(p, POSING, "wrong", 200 * ROAM_MS);
    assert_int_equal(p->connected_at, 0);
  }
  assert_int_equal(roam_broker_get_stats(p->broker).auth_failures, 6);
  assert_int_equal(roam_broker_get_stats(p->broker).connects_limited, 1);
  play_free(p);
}

static void connects_in_anothers_name_are_not_its(void **state) {
  struct play *p = play_new(one_a_second);
  (void)state;
  take_tickets(p, NULL);
  call(p, POSING_MUTE, NULL, 30 * ROAM_MS);
  assert_int_equal(p->peer_at - p->began, HALF_RTT); /* taken at its word */
  p->state_len = 0;
  call(p, POSING, NULL, 500 * ROAM_MS); /* whose address it is */
  assert_true(p->connected_at > 0);
  call(p, POSING, NULL, 200 * ROAM_MS); /* and it pays for itself */
  assert_int_equal(p->connected_at, 0);
  assert_int_equal(roam_broker_get_stats(p->broker).connects_limited, 1);
  take_tickets(p, NULL);
  call(p, POSING, NULL, 200 * ROAM_MS); /* early, and proved a little later: then it is charged */
  assert_int_equal(p->peer_at - p->began, HALF_RTT);
  assert_true(p->connected_at > 0);
  p->state_len = 0;
  call(p, POSING, NULL, 200 * ROAM_MS);
  assert_int_equal(p->connected_at, 0);
  assert_int_equal(roam_broker_get_stats(p->broker).connects_limited, 2);
  play_free(p);
}

/* ---- another server, another address ---- */

/* The same secret: the successor's stateless reset is believed, and the client is back at once. */
static void a_restarted_broker_is_noticed_by_its_reset(void **state) {
  struct play *p = play_new(NULL);
  (void)state;
  arrive(p, NULL);
  run(p, ROAM_S);
  restart_broker(p);
  p->connected_at = 0;
  roam_time at = p->g->now;
  assert_int_equal(roam_client_hint(p->client, at), 0);
  run(p, ROAM_S);
  assert_true(roam_broker_get_stats(p->broker).resets_sent >= 1);
  assert_true(p->connected_at != 0 && p->connected_at - at < ROAM_S);
  assert_string_equal(roam_client_error(p->client).text,
                      "connection to mqtt-quic://10.0.0.1:14567 lost: the peer does not know this connection any more (was "
                      "it restarted?)");
  play_free(p);
}

static void prefer(roam_broker_options *o) { assert_int_equal(roam_addr_parse("10.0.0.9:15000", &o->preferred_ipv4), 0); }

static void a_client_goes_to_the_preferred_address(void **state) {
  struct play *p = play_new(prefer);
  uint64_t listener;
  (void)state;
  assert_int_equal(roam_broker_listen(p->broker, p->g->now, ROAM_TRANSPORT_QUIC, &p->bo.preferred_ipv4, &listener), 0);
  run(p, ROAM_MS);
  for (int follow = 1; follow >= 0; follow--) {
    roam_client_options o = usual(p);
    o.follow_preferred = follow;
    arrive(p, &o);
    run(p, ROAM_S);
    roam_client_stats stats = roam_client_get_stats(p->client);
    assert_int_equal(stats.migrations, follow);
    assert_int_equal(stats.remote.port, follow ? 15000 : 14567);
    roam_client_message m = {.topic = str("t"), .payload = str("1"), .qos = 1};
    assert_int_equal(roam_client_publish(p->client, p->g->now, &m, NULL), 0);
    run(p, RTT);
    assert_int_equal(roam_client_get_stats(p->client).inflight, 0);
    kill_client(p);
    run(p, 120 * ROAM_S);
  }
  play_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trips),
      cmocka_unit_test(a_lost_connection_resumes_early),
      cmocka_unit_test(only_what_may_be_repeated_goes_early),
      cmocka_unit_test(what_was_rejected_is_sent_again_by_itself),
      cmocka_unit_test(flows_speak_early_too),
      cmocka_unit_test(a_ticket_of_the_lower_mode_holds_nobody_there),
      cmocka_unit_test(a_server_that_has_unlearned_flows),
      cmocka_unit_test(tickets_belong_to_trust_and_time),
      cmocka_unit_test(damaged_state_is_only_a_first_visit),
      cmocka_unit_test(a_first_flight_played_again_does_nothing),
      cmocka_unit_test(failed_logins_in_anothers_name_are_not_its),
      cmocka_unit_test(connects_in_anothers_name_are_not_its),
      cmocka_unit_test(a_restarted_broker_is_noticed_by_its_reset),
      cmocka_unit_test(a_client_goes_to_the_preferred_address),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
