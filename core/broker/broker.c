/* broker.c - the embedded broker: its transports, the five verbs, the commands. It opens no socket and reads no clock;
 * it routes nothing itself.
 *
 * Every verb and command has the same shape: note `now`, change something, settle. Settling is the pump over all: the
 * transports' events mark peers, each marked peer is visited, doomed sessions are buried, until nothing moves or the bound
 * is reached; then the deadline says "now" and the next call goes on. */
#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 256
#define VISITS_MAX 100000u
#define TE_BATCH 64
#define LISTENERS_MAX 64
#define REFUSALS_MAX 64                   /* connections on their way out beside connections_max */
#define HANDLES_EACH UINT32_C(0x01000000) /* from kind times this on */
#define LANE_RX_MIN 262144u
#define PING_NS (20 * ROAM_S)
#define FLOWS_MAX (1u << 22) /* of all sessions */

/* ---- making ---- */

static roam_transport_options transport_options(const roam_broker *b, const roam_broker_options *o) {
  roam_transport_options t;
  roam_transport_options_init(&t);
  t.random = b->random;
  t.log = o->log;
  t.now = b->now;
  t.tls = o->tls;
  t.connect_timeout_ns = o->connect_timeout_ns;
  t.idle_timeout_ns = o->idle_timeout_ns;
  /* MQTT's Keep Alive decides how long a silent client may stay, not QUIC's idle timeout. */
  t.ping_ns = o->idle_timeout_ns > 0 && o->idle_timeout_ns / 3 < PING_NS ? o->idle_timeout_ns / 3 : PING_NS;
  t.conns_max = o->connections_max + REFUSALS_MAX; /* so that it is the broker that refuses, counted and told */
  t.handshakes_max = o->handshakes_max;
  t.retry = o->retry;
  t.follow_paths = o->follow_paths;
  if (o->secret.len == sizeof t.secret) memcpy(t.secret, o->secret.base, sizeof t.secret);
  t.early_data = o->early_data;
  t.replay_window_ns = o->replay_window_ns;
  t.replay_keys_max = o->replay_keys_max;
  t.initial_rtt_ns = o->initial_rtt_ns;
  t.congestion = o->congestion;
  t.datagram_bytes_max = o->datagram_bytes_max;
  t.key_update_bytes = o->key_update_bytes;
  t.preferred[0] = o->preferred_ipv4;
  t.preferred[1] = o->preferred_ipv6;
  t.tap = o->tap;
  t.worker = o->worker;
  t.workers = o->workers;
  t.encrypt_ids = o->encrypt_ids;
  /* the largest packet must fit into a lane's window whole, with some of the next */
  t.lane_rx_bytes = 2 * (size_t)o->maximum_packet_size > LANE_RX_MIN ? 2 * (size_t)o->maximum_packet_size : LANE_RX_MIN;
  /* one stream that is not read must leave the others room */
  if (o->lanes_max > 0 || t.conn_rx_bytes < t.lane_rx_bytes) t.conn_rx_bytes = 2 * t.lane_rx_bytes;
  t.lanes_max = 1 + o->lanes_max;
  t.one_way_lanes_max = o->flows ? o->lanes_max : 0;
  if (o->flows && o->lanes_max > 0) t.alpn = "mqtt MQTT-next"; /* the client's preference decides */
  t.datagrams_max = o->datagrams_max;
  t.one_lane_per_packet = o->one_lane_per_packet;
  return t;
}

/* With a store, tickets, reset and address tokens outlive a restart. A secret that was given counts more. */
static roam_rc settle_secret(roam_broker *b, uint8_t secret[ROAM_TRANSPORT_SECRET_BYTES]) {
  if (!b->durable.on || b->o.secret.len > 0) return 0;
  roam_bytes kept = roam_durable_secret(b, "quic");
  if (kept.len == ROAM_TRANSPORT_SECRET_BYTES) {
    memcpy(secret, kept.base, kept.len);
    return 0;
  }
  roam_rc rc = roam_transport_secret_make(secret);
  return rc != 0 ? rc : roam_durable_set_secret(b, "quic", (roam_bytes){secret, ROAM_TRANSPORT_SECRET_BYTES});
}

static bool needs_certificate(roam_transport_kind kind) { return kind != ROAM_TRANSPORT_TCP && kind != ROAM_TRANSPORT_WS; }

static roam_rc make_transports(roam_broker *b, const roam_broker_options *o) {
  roam_transport_options t = transport_options(b, o);
  roam_rc settled = o->tls.certificate.len > 0 ? settle_secret(b, t.secret) : 0;
  if (settled != 0) return settled;
  t.ws_path = o->ws_path;
  t.ws_origins = o->ws_origins;
  for (uint32_t kind = ROAM_TRANSPORT_QUIC; kind <= ROAM_BROKER_TRANSPORTS; kind++) {
    roam_rc rc;
    const char *why;
    if (needs_certificate((roam_transport_kind)kind) && o->tls.certificate.len == 0) continue;
    t.handle_first = kind * HANDLES_EACH;
    b->transports[kind - 1] = roam_transport_new((roam_transport_kind)kind, &t, &rc, &why);
    if (b->transports[kind - 1]) continue;
    roam_trace(&o->log, b->now, SERVE_FAILED, .transport = roam_transport_name((int)kind),
               .why = why ? why : roam_strerror(rc));
    return rc;
  }
  return 0;
}

static roam_rc make_tables(roam_broker *b) {
  const roam_broker_options *o = &b->o;
  roam_list_init(&b->peers);
  roam_list_init(&b->dirty);
  roam_list_init(&b->order);
  roam_list_init(&b->remembered);
  roam_list_init(&b->doomed);
  roam_list_init(&b->listeners);
  roam_heap_init(&b->timers, o->connections_max);
  uint32_t sessions = o->sessions_max * o->workers; /* of several workers one may get them all */
  roam_heap_init(&b->expiries, sessions);
  roam_heap_init(&b->wills, sessions);
  roam_heap_init(&b->flows, FLOWS_MAX);
  roam_ring_init(&b->events, sizeof(struct roam_told), ROAM_BROKER_EVENTS_MAX);
  roam_ring_init(&b->told, sizeof(struct roam_told), ROAM_BROKER_EVENTS_MAX);
  roam_map_init(&b->ids, (size_t)sessions + ROAM_BROKER_REMEMBERED_MAX + 1, b->random);
  roam_map64_init(&b->sessions, sessions, NULL);
  roam_list_init(&b->topics.all);
  roam_rc rc = roam_topics_init(&b->topics, o->topic_levels_max, o->subscriptions_max,
                                o->workers > 1 ? ROAM_TREE_NODES_MAX : o->sessions_max, b->random);
  if (rc != 0) return rc;
  return roam_retain_init(&b->retained, o->topic_levels_max, o->retained_max, o->retained_bytes_max, b->random);
}

roam_broker *roam_broker_new(const roam_broker_options *given, roam_time now, roam_random *random, roam_rc *result) {
  roam_rc ignored, *rc = result ? result : &ignored;
  roam_broker_options o = roam_broker_options_read(given);
  *rc = ROAM_E_OPTION;
  bool refused = roam_broker_option_error(&o) != NULL;
  roam_options_divide(&o);
  if (!random || refused) return NULL;
  *rc = ROAM_E_MEMORY;
  roam_broker *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->o = o;
  b->random = random;
  b->now = now;
  roam_durable_init(b);
  b->peer_next = (uint64_t)o.worker << ROAM_PEER_SHIFT;
  b->session_next = (uint64_t)o.worker << ROAM_WORKER_SHIFT;
  *rc = make_tables(b);
  if (*rc == 0 && o.workers > 1) *rc = roam_mail_init(b, &o);
  if (*rc == 0) *rc = roam_durable_load(b);
  if (*rc == 0 && roam_durable_shares(b)) roam_cut_begin(b);
  if (*rc == 0 && o.response_information && !(b->response_information = strdup(o.response_information)))
    *rc = ROAM_E_MEMORY;
  b->o.assigned = NULL;
  if (*rc == 0 && o.assigned && !(b->o.assigned = strdup(o.assigned))) *rc = ROAM_E_MEMORY;
  if (*rc == 0) *rc = roam_access_init(b, &o);
  if (*rc == 0) *rc = make_transports(b, &o);
  b->o.tls = (roam_tls_config){0}; /* these are borrowed for this call only */
  b->o.passwords = b->o.acl = (roam_bytes){0};
  b->o.ws_path = b->o.ws_origins = b->o.response_information = NULL;
  b->o.secret = (roam_bytes){0};
  roam_sys_begin(b);
  if (*rc == 0) return b;
  roam_broker_free(b);
  return NULL;
}

void roam_broker_free(roam_broker *b) {
  if (!b) return;
  roam_durable_stop(b);
  roam_mail_close(b);
  while (!roam_list_empty(&b->peers)) roam_peer_free(b, ROAM_CONTAINER(b->peers.next, struct roam_peer, all));
  roam_sessions_free(b);
  roam_durable_reset(b);
  roam_access_reset(b);
  roam_broker_forget_events(b);
  while (!roam_list_empty(&b->listeners))
    free(ROAM_CONTAINER(roam_list_pop_front(&b->listeners), struct roam_listener, node));
  roam_mail_reset(b);
  roam_topics_reset(&b->topics);
  roam_retain_reset(&b->retained);
  roam_map_reset(&b->ids);
  roam_map64_reset(&b->sessions);
  roam_heap_reset(&b->timers);
  roam_heap_reset(&b->expiries);
  roam_heap_reset(&b->wills);
  roam_heap_reset(&b->flows);
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++) roam_transport_free(b->transports[i]);
  free(b->sub_ids);
  free(b->response_information);
  free((char *)(uintptr_t)b->o.assigned);
  free(b);
}

/* ---- listeners ---- */

static struct roam_listener *find_listener(const roam_broker *b, const roam_transport *t, uint32_t handle) {
  ROAM_LIST_EACH(&b->listeners, node) {
    struct roam_listener *l = ROAM_CONTAINER(node, struct roam_listener, node);
    if (l->transport == t && l->handle == handle) return l;
  }
  return NULL;
}

static void on_listener(roam_broker *b, roam_transport *t, const roam_te *te) {
  struct roam_listener *l = find_listener(b, t, te->listener);
  char text[ROAM_ADDR_TEXT_MAX];
  if (!l) return;
  bool good = te->kind == ROAM_TE_LISTENING;
  const char *name = roam_transport_name(roam_transport_get_kind(t));
  roam_event *ev = roam_broker_tell(b, good ? ROAM_EV_LISTENING : ROAM_EV_LISTEN_FAILED, NULL, te->text);
  ev->token = l->number;
  ev->rc = te->rc;
  ev->u.link = (roam_event_link){.local = te->local, .transport = (uint8_t)roam_transport_get_kind(t)};
  l->listening = good;
  if (good) {
    b->stats.listeners++;
    roam_trace(&b->o.log, b->now, LISTENING, .address = roam_addr_format(&te->local, text), .transport = name);
    return;
  }
  roam_trace(&b->o.log, b->now, LISTEN_FAILED, .address = roam_addr_format(&te->local, text), .transport = name,
             .why = te->text ? te->text : roam_strerror(te->rc));
  roam_list_remove(&l->node);
  free(l);
}

/* name NULL: local counts. */
static roam_rc listen_on(roam_broker *b, roam_transport_kind transport, const char *name, const roam_addr *local,
                         uint64_t *listener) {
  if (b->stopping) return ROAM_E_CLOSED;
  if (transport < ROAM_TRANSPORT_QUIC || transport > ROAM_BROKER_TRANSPORTS) return ROAM_E_UNSUPPORTED;
  if (local && !roam_addr_is_loopback(local) && !b->o.anonymous_beyond_loopback && !roam_access_is_configured(b))
    return ROAM_E_PERMISSION;
  roam_transport *t = b->transports[transport - 1];
  if (!t) return ROAM_E_CERTIFICATE;
  size_t count = 0;
  ROAM_LIST_EACH(&b->listeners, node) count++;
  if (count >= LISTENERS_MAX) return ROAM_E_LIMIT;
  struct roam_listener *l = calloc(1, sizeof *l);
  if (!l) return ROAM_E_MEMORY;
  roam_rc rc = name ? roam_transport_listen_name(t, b->now, name, local, &l->handle)
                    : roam_transport_listen(t, b->now, local, &l->handle);
  if (rc != 0) {
    free(l);
    return rc;
  }
  l->transport = t;
  l->number = (uint64_t)transport << 32 | l->handle;
  roam_list_push_back(&b->listeners, &l->node);
  if (listener) *listener = l->number;
  return 0;
}

roam_rc roam_broker_listen(roam_broker *b, roam_time now, roam_transport_kind transport, const roam_addr *local,
                           uint64_t *listener) {
  b->now = now > b->now ? now : b->now;
  return listen_on(b, transport, NULL, local, listener);
}

roam_rc roam_broker_listen_name(roam_broker *b, roam_time now, roam_transport_kind transport, const char *name,
                                const roam_addr *local, uint64_t *listener) {
  b->now = now > b->now ? now : b->now;
  return name && *name ? listen_on(b, transport, name, local, listener) : ROAM_E_ARGUMENT;
}

roam_rc roam_broker_set_certificate(roam_broker *b, const roam_tls_config *tls, const char **why) {
  const char *ignored;
  if (!why) why = &ignored;
  *why = NULL;
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++) {
    if (!b->transports[i] || !needs_certificate((roam_transport_kind)(i + 1))) continue;
    roam_rc rc = tls->certificate.len > 0 ? roam_transport_certify(b->transports[i], tls, why) : ROAM_E_CERTIFICATE;
    if (rc != 0) return rc; /* the same PEM for all: the first one refuses for all */
  }
  return 0;
}

/* ---- the pump over all ---- */

static bool take_events_of(roam_broker *b, roam_transport *t) {
  roam_te te[TE_BATCH];
  size_t n = t ? roam_transport_poll(t, te, TE_BATCH) : 0;
  for (size_t i = 0; i < n; i++) {
    if (te[i].kind == ROAM_TE_LISTENING || te[i].kind == ROAM_TE_LISTEN_FAILED) on_listener(b, t, &te[i]);
    else if (te[i].conn) roam_peer_on_event(b, &te[i]);
  }
  return n > 0;
}

static bool take_events(roam_broker *b) {
  bool any = false;
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++) any |= take_events_of(b, b->transports[i]);
  return any;
}

/* A visit may mark others, and itself when there is more to read; those come later in the same round. */
static bool visit_dirty(roam_broker *b) {
  bool any = false;
  for (uint32_t visits = 0; visits < VISITS_MAX && !roam_list_empty(&b->dirty); visits++) {
    roam_peer_visit(b, ROAM_CONTAINER(b->dirty.next, struct roam_peer, dirty));
    any = true;
  }
  return any;
}

/* Datagrams of connections that other workers have. */
static bool forward_strays(roam_broker *b) {
  roam_transport *quic = b->mail ? b->transports[ROAM_TRANSPORT_QUIC - 1] : NULL;
  roam_blob *stray;
  uint32_t worker;
  bool any = false;
  while (quic && (stray = roam_quic_take_stray(quic, &worker)) != NULL) {
    any = true;
    if (roam_mail_is_long(b, worker)) { /* as a full socket */
      roam_blob_unref(stray);
      continue;
    }
    b->stats.datagrams_forwarded++;
    roam_mail_post(b, worker, &(struct roam_letter){.kind = ROAM_LETTER_DATAGRAM, .text = stray});
  }
  return any;
}

void roam_broker_settle(roam_broker *b) {
  b->busy = false;
  for (int round = 0; round < ROUNDS_MAX; round++) {
    bool moved = take_events(b);
    moved |= visit_dirty(b);
    moved |= roam_sessions_bury(b);
    moved |= roam_mail_tell_ended(b);
    moved |= forward_strays(b);
    if (!moved) return;
  }
  b->busy = true;
}

static void enter(roam_broker *b, roam_time now) {
  if (now > b->now) b->now = now;
  roam_broker_forget_told(b);
}

void roam_broker_enter(roam_broker *b, roam_time now) { enter(b, now); }

/* ---- the five verbs ---- */

static void feed_transport(roam_broker *b, roam_transport *t, const roam_wire in[], size_t n) {
  if (n > 0 && t) roam_transport_feed(t, b->now, in, n);
}

/* likely: the owner of the unit before; most come in runs. */
static roam_transport *owner_of(const roam_broker *b, const roam_wire *unit, roam_transport *likely) {
  if (likely && roam_transport_owns(likely, unit)) return likely;
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++)
    if (b->transports[i] && b->transports[i] != likely && roam_transport_owns(b->transports[i], unit))
      return b->transports[i];
  return NULL;
}

static bool is_for_all(const roam_wire *unit) { return unit->kind == ROAM_WIRE_ADDR || unit->kind == ROAM_WIRE_WAKE; }

/* Runs of units for the same transport are handed over together. A unit of nobody's may belong to a connection that begins
 * earlier in the run, so it is asked about again when the run has been handed over. */
void roam_broker_feed(roam_broker *b, roam_time now, const roam_wire in[], size_t n) {
  enter(b, now);
  roam_transport *run = NULL;
  size_t first = 0;
  for (size_t i = 0; i < n; i++) {
    if (in[i].kind == ROAM_WIRE_STORED) roam_durable_stored(b, &in[i]);
    if (in[i].kind == ROAM_WIRE_MAIL) {
      feed_transport(b, run, in + first, i - first);
      run = NULL;
      first = i + 1;
      roam_mail_feed(b, &in[i]);
      continue;
    }
    roam_transport *owner = is_for_all(&in[i]) ? NULL : owner_of(b, &in[i], run);
    if (owner && owner == run) continue;
    feed_transport(b, run, in + first, i - first);
    run = owner || is_for_all(&in[i]) ? owner : owner_of(b, &in[i], run);
    first = i;
    if (!is_for_all(&in[i])) continue;
    for (size_t k = 0; k < ROAM_BROKER_TRANSPORTS; k++) feed_transport(b, b->transports[k], in + i, 1);
  }
  feed_transport(b, run, in + first, n - first);
  roam_broker_settle(b);
}

static void end_what_is_due(roam_broker *b) {
  for (const roam_message *m; (m = roam_retain_due(&b->retained, b->now)) != NULL;) {
    roam_durable_retained(b, m, false);
    if (b->mail) roam_mail_expired(b, m->topic, roam_retain_stamp(&b->retained, m->topic));
    roam_retain_drop_due(&b->retained);
  }
  roam_sessions_tick(b);
}

void roam_broker_tick(roam_broker *b, roam_time now) {
  struct roam_heap_node *first;
  enter(b, now);
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++)
    if (b->transports[i]) roam_transport_tick(b->transports[i], b->now);
  take_events(b); /* what came in before the time was up counts */
  visit_dirty(b);
  while ((first = roam_heap_first(&b->timers)) && first->at <= b->now)
    roam_peer_due(b, ROAM_CONTAINER(first, struct roam_peer, timer));
  roam_access_tick(b);
  roam_drain_tick(b);
  roam_durable_tick(b);
  if (!roam_cut_is_awaited(b)) end_what_is_due(b);
  roam_sys_tick(b);
  roam_broker_settle(b);
}

size_t roam_broker_drain(roam_broker *b, roam_time now, roam_wire out[], size_t n) {
  enter(b, now);
  for (int round = 0; round < ROUNDS_MAX; round++) {
    if (b->busy || !roam_list_empty(&b->dirty)) roam_broker_settle(b);
    if (n > 0 && roam_durable_drain(b, out)) return 1;
    size_t used = b->mail ? roam_mail_drain(b, out, n) : 0;
    for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS && used < n; i++)
      if (b->transports[i]) used += roam_transport_drain(b->transports[i], b->now, out + used, n - used);
    if (used > 0 || n == 0 || !take_events(b)) return used; /* a drain makes room, and room may be asked for */
    roam_broker_settle(b);
  }
  return 0;
}

static roam_time earlier(roam_time a, roam_time b) { return a < b ? a : b; }

roam_time roam_broker_deadline(const roam_broker *b) {
  if (b->busy || !roam_list_empty(&b->dirty) || !roam_list_empty(&b->doomed)) return b->now;
  if (roam_access_is_busy(b) || roam_mail_waits(b)) return b->now;
  roam_time due = ROAM_NEVER;
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++)
    if (b->transports[i]) due = earlier(due, roam_transport_deadline(b->transports[i]));
  due = earlier(due, roam_heap_deadline(&b->timers));
  due = earlier(due, roam_drain_deadline(b));
  due = earlier(due, roam_durable_deadline(b));
  if (!b->stopping) due = earlier(due, b->sys.due);
  if (roam_cut_is_awaited(b)) return due;
  due = earlier(due, roam_heap_deadline(&b->expiries));
  due = earlier(due, roam_heap_deadline(&b->wills));
  due = earlier(due, roam_heap_deadline(&b->flows));
  return earlier(due, roam_retain_deadline(&b->retained));
}

static void machine_feed(void *self, roam_time now, const roam_wire in[], size_t n) { roam_broker_feed(self, now, in, n); }

static void machine_tick(void *self, roam_time now) { roam_broker_tick(self, now); }

static size_t machine_drain(void *self, roam_time now, roam_wire out[], size_t n) {
  return roam_broker_drain(self, now, out, n);
}

static size_t machine_poll(void *self, roam_event *ev, size_t n) { return roam_broker_poll(self, ev, n); }

static roam_time machine_deadline(const void *self) { return roam_broker_deadline(self); }

roam_machine roam_broker_machine(roam_broker *b) {
  static const roam_machine_ops ops = {machine_feed, machine_tick, machine_drain, machine_poll, machine_deadline};
  return (roam_machine){.ops = &ops, .self = b, .random = b->random, .store = b->o.store};
}

/* ---- commands ---- */

roam_rc roam_broker_publish(roam_broker *b, roam_time now, roam_bytes topic, roam_bytes payload, uint8_t qos, bool retain) {
  roam_message message;
  size_t matched;
  enter(b, now);
  if (b->stopping) return ROAM_E_CLOSED;
  if (roam_tree_levels(topic) > b->o.topic_levels_max) return ROAM_E_LIMIT;
  roam_rc rc = roam_message_make(&message, b->now, topic, (roam_bytes){0}, payload, qos, retain);
  if (rc != 0) return rc;
  rc = roam_route(b, &message, 0, &matched);
  roam_blob_unref(message.blob);
  roam_broker_settle(b);
  return rc;
}

roam_rc roam_broker_kick(roam_broker *b, roam_time now, const char *client_id, uint8_t reason) {
  enter(b, now);
  struct roam_record *r = roam_sessions_find(b, client_id, strlen(client_id));
  bool here = r && r->peer;
  if (!here && (!b->mail || (r && r->session))) return ROAM_E_NOT_FOUND; /* or it is here, and nobody is connected */
  if (reason < 0x80) return ROAM_E_ARGUMENT;
  roam_rc rc = 0;
  if (here) roam_peer_say(b, r->peer, reason, ROAM_KICKED);
  else rc = roam_mail_command(b, ROAM_COMMAND_KICK, client_id, (roam_bytes){0}, reason);
  roam_broker_settle(b);
  return rc;
}

static void stop_listeners(roam_broker *b) {
  while (!roam_list_empty(&b->listeners)) {
    struct roam_listener *l = ROAM_CONTAINER(roam_list_pop_front(&b->listeners), struct roam_listener, node);
    roam_transport_unlisten(l->transport, b->now, l->handle);
    free(l);
  }
  b->stats.listeners = 0;
}

void roam_broker_stop(roam_broker *b, roam_time now) {
  enter(b, now);
  if (b->stopping) return;
  b->stopping = true;
  ROAM_LIST_EACH(&b->peers, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, all);
    if (p->state == ROAM_PEER_UP) roam_peer_say(b, p, ROAM_REASON_SERVER_SHUTTING_DOWN, "the broker is stopping");
    else roam_peer_leave(b, p, (struct roam_end){ROAM_E_CLOSED, -1, "the broker is stopping"}, false);
  }
  stop_listeners(b);
  roam_broker_settle(b);
}
