/* session_fuzz.c - a client session and a server session, glued in memory, driven by the input: each publishes, subscribes,
 * acknowledges, breaks off and comes back while bytes on their way are cut, turned, doubled and made up. Whatever happens,
 * bounds hold and nothing hangs. As long as nobody has tampered, neither side may find a fault in the other, every message
 * ends once, and QoS 2 arrives once.
 *
 * Input: version, bounds, then operations of a few bytes each. */
#include "fuzz.h"

#include <roamqtt/mqtt.h>

#define LANES 2u
#define PIPE_MAX 65536u
#define OPERATIONS_MAX 300
#define TOKENS_MAX 400u
#define HELD_MAX 64u
#define KEEP_ALIVE_S 20

struct pipe {
  uint8_t bytes[PIPE_MAX];
  size_t len;
};

struct held {
  uint32_t lane;
  uint16_t packet_id;
  uint8_t qos;
};

struct side {
  roam_session *session;
  struct pipe in[LANES]; /* on their way to this side */
  bool holds;            /* keeps its acknowledgements */
  struct held held[HELD_MAX];
  size_t held_len;
};

struct token {
  uint8_t qos, ends, arrived;
  bool refused;
};

struct rig {
  struct side client, server;
  struct tape tape;
  roam_time now;
  uint8_t version;
  bool attached, known; /* the server has seen a CONNECT and remembers */
  bool up;              /* the client has seen CONNACK; before that it opens no second lane */
  bool strange;         /* somebody tampered: faults are to be expected */
  bool forgetful;       /* a session was cleared: QoS 2 may come twice */
  struct token tokens[TOKENS_MAX];
  uint32_t tokens_len;
};

static const roam_bytes none = {NULL, 0};

/* ---- what both sides owe ---- */

static uint32_t touch(roam_bytes bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.len; i++) sum = sum * 31 + bytes.base[i];
  return sum;
}

static void touch_event(const roam_session_event *e) {
  static volatile uint32_t sink; /* so that the reading is not optimized away */
  const roam_packet *p = &e->packet;
  sink = touch(p->topic) + touch(p->payload) + touch(p->props) + touch(p->filters) + touch(p->codes);
  (void)sink;
  if (e->kind == ROAM_SE_FAULT) FUZZ_CHECK(e->fault.rc < 0 && e->fault.text != NULL);
}

static void check_bounds(const struct side *side) {
  roam_session_info info = roam_session_get_info(side->session);
  FUZZ_CHECK(info.inflight <= 1024 + 1024 && info.queued <= 10000 && info.queued_bytes <= 16u << 20);
}

/* ---- answering events ---- */

static void answer_subscribe(struct rig *r, struct side *side, const roam_session_event *e) {
  uint8_t codes[64];
  size_t n = 0;
  int type = e->kind == ROAM_SE_SUBSCRIBE ? ROAM_SUBSCRIBE : ROAM_UNSUBSCRIBE;
  roam_bytes rest = e->packet.filters;
  roam_filter filter;
  while (n < sizeof codes && roam_filter_next(&rest, type, &filter) == 1) codes[n++] = filter.qos;
  roam_bytes list = {codes, n};
  if (type == ROAM_SUBSCRIBE) roam_session_suback(side->session, r->now, e->lane, e->packet.packet_id, list, none);
  else roam_session_unsuback(side->session, r->now, e->lane, e->packet.packet_id, list, none);
}

static void acknowledge(struct rig *r, struct side *side, const struct held *h) {
  roam_session_ack(side->session, r->now, h->lane, h->packet_id, 0);
}

static void release_held(struct rig *r, struct side *side) {
  for (size_t i = 0; i < side->held_len; i++) acknowledge(r, side, &side->held[i]);
  side->held_len = 0;
}

/* The connection is gone: QoS 1 comes again, but a QoS 2 message is reported once, so its answer is still owed. */
static void keep_owed(struct side *side) {
  size_t kept = 0;
  for (size_t i = 0; i < side->held_len; i++)
    if (side->held[i].qos == 2) side->held[kept++] = side->held[i];
  side->held_len = kept;
}

static void note_message(struct rig *r, const roam_session_event *e) {
  uint32_t token;
  if (e->packet.payload.len < sizeof token) return;
  memcpy(&token, e->packet.payload.base, sizeof token);
  if (token < r->tokens_len && r->tokens[token].arrived < 255) r->tokens[token].arrived++;
}

static void note_end(struct rig *r, const roam_session_event *e) {
  if (e->token >= r->tokens_len) return;
  struct token *t = &r->tokens[e->token];
  if (t->ends < 255) t->ends++;
  if (e->kind == ROAM_SE_DROPPED || e->packet.reason >= 0x80) t->refused = true;
}

static void hold(struct rig *r, struct side *side, const roam_session_event *e) {
  struct held h = {e->lane, e->packet.packet_id, e->packet.qos};
  if (side->holds && side->held_len < HELD_MAX) side->held[side->held_len++] = h;
  else acknowledge(r, side, &h);
}

static void on_event(struct rig *r, struct side *side, const roam_session_event *e) {
  switch (e->kind) {
    case ROAM_SE_SUBSCRIBE:
    case ROAM_SE_UNSUBSCRIBE: answer_subscribe(r, side, e); break;
    case ROAM_SE_MESSAGE:
      if (e->packet.qos > 0) hold(r, side, e);
      break;
    case ROAM_SE_CONNACK: r->up = e->packet.reason == 0; break;
    case ROAM_SE_FAULT:
      if (!r->strange) fprintf(stderr, "fault: %s (0x%02x)\n", e->fault.text, e->fault.reason);
      FUZZ_CHECK(r->strange);
      break;
    default: break;
  }
}

/* Everything is read before anything is called: the views live until then. */
static bool poll_side(struct rig *r, struct side *side) {
  roam_session_event ev[8];
  bool moved = false;
  size_t n;
  while ((n = roam_session_poll(side->session, ev, 8)) > 0) {
    moved = true;
    for (size_t i = 0; i < n; i++) {
      touch_event(&ev[i]);
      if (ev[i].kind == ROAM_SE_MESSAGE) note_message(r, &ev[i]);
      if (ev[i].kind == ROAM_SE_DONE || ev[i].kind == ROAM_SE_DROPPED) note_end(r, &ev[i]);
    }
    for (size_t i = 0; i < n; i++) on_event(r, side, &ev[i]);
  }
  return moved;
}

/* ---- moving bytes ---- */

static void pipe_take(struct pipe *p, size_t len) {
  memmove(p->bytes, p->bytes + len, p->len - len);
  p->len -= len;
}

/* Offers at most `most` bytes of a pipe, from a copy of that size; true when something came of it. */
static bool read_lane(struct rig *r, struct side *side, uint32_t lane, size_t most) {
  struct pipe *in = &side->in[lane];
  size_t len = in->len < most ? in->len : most, used = 0;
  if (len == 0) return false;
  roam_bytes view = {in->bytes, len};
  uint8_t *copy = fuzz_copy(view);
  view.base = copy;
  roam_session_feed(side->session, r->now, lane, view, &used);
  FUZZ_CHECK(used <= len);
  bool moved = poll_side(r, side);
  free(copy);
  pipe_take(in, used);
  return moved || used > 0;
}

static bool write_lane(struct rig *r, struct side *from, struct side *to, uint32_t lane, size_t room) {
  struct pipe *out = &to->in[lane];
  roam_slice slices[8];
  bool moved = false;
  for (size_t n; room > 0 && PIPE_MAX - out->len >= room; moved = true) {
    n = roam_session_drain(from->session, r->now, lane, room, slices, 8);
    if (n == 0) break;
    for (size_t i = 0; i < n; i++) {
      FUZZ_CHECK(slices[i].len > 0 && slices[i].len <= PIPE_MAX - out->len);
      memcpy(out->bytes + out->len, slices[i].base, slices[i].len);
      out->len += slices[i].len;
    }
  }
  return moved;
}

/* The server's owner reads CONNECT itself. */
static bool accept_connect(struct rig *r) {
  struct pipe *in = &r->server.in[0];
  roam_packet connect, connack = {.type = ROAM_CONNACK, .session_present = r->known};
  roam_fault fault;
  size_t used = 0;
  if (r->attached) return false;
  roam_rc rc = roam_packet_read((roam_bytes){in->bytes, in->len}, 0, PIPE_MAX, false, &connect, &used, &fault);
  if (rc != 0) FUZZ_CHECK(r->strange);
  if (rc != 0 || used == 0) return false;
  if (connect.connect.clean_start) {
    roam_session_clear(r->server.session, r->now);
    connack.session_present = false;
  }
  if (roam_session_accept(r->server.session, r->now, &connect, &connack, connect.connect.keep_alive_s) != 0) {
    FUZZ_CHECK(r->strange);
    return false;
  }
  r->attached = r->known = true;
  pipe_take(in, used);
  return true;
}

static bool move_once(struct rig *r, size_t most) {
  bool moved = accept_connect(r);
  for (uint32_t lane = 0; lane < LANES; lane++) {
    moved = write_lane(r, &r->client, &r->server, lane, most) || moved;
    if (lane == 0 || r->up) moved = write_lane(r, &r->server, &r->client, lane, most) || moved;
    if (r->attached) moved = read_lane(r, &r->server, lane, most) || moved;
    moved = read_lane(r, &r->client, lane, most) || moved;
  }
  moved = poll_side(r, &r->client) || moved;
  return poll_side(r, &r->server) || moved;
}

/* Until neither side has anything to say, which must come. */
static void pump(struct rig *r) {
  int turns = 0;
  while (move_once(r, PIPE_MAX / 4)) FUZZ_CHECK(++turns < 20000);
}

static void disconnect(struct rig *r) {
  for (uint32_t lane = 0; lane < LANES; lane++) r->client.in[lane].len = r->server.in[lane].len = 0;
  keep_owed(&r->client);
  keep_owed(&r->server);
  roam_session_detach(r->client.session, r->now);
  roam_session_detach(r->server.session, r->now);
  r->attached = r->up = false;
  poll_side(r, &r->client);
  poll_side(r, &r->server);
}

static void reconnect(struct rig *r) {
  disconnect(r);
  roam_packet connect = {.type = ROAM_CONNECT, .version = r->version};
  connect.connect.client_id = (roam_bytes){(const uint8_t *)"c", 1};
  connect.connect.keep_alive_s = KEEP_ALIVE_S;
  FUZZ_CHECK(roam_session_connect(r->client.session, r->now, &connect) == 0);
}

/* ---- operations: one byte says which, the next what ---- */

static void publish(struct rig *r, struct side *side, uint8_t how) {
  static const char *const topics[4] = {"a", "a/b", "long/topic/name/for/an/alias", "$x"};
  static const uint8_t expiry[5] = {ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, 0, 0, 0, 5};
  static uint8_t payload[2000];
  const char *topic = topics[how >> 2 & 3];
  uint32_t token = r->tokens_len;
  roam_message m;
  if (token == TOKENS_MAX) return;
  memcpy(payload, &token, sizeof token);
  size_t len = (how & 0x80) != 0 ? sizeof payload : (how & 0x40) != 0 ? 300 : sizeof token;
  roam_bytes props = {(how & 0x20) != 0 && r->version == 5 ? expiry : NULL, (how & 0x20) != 0 && r->version == 5 ? 5 : 0};
  FUZZ_CHECK(roam_message_make(&m, r->now, (roam_bytes){(const uint8_t *)topic, strlen(topic)}, props,
                               (roam_bytes){payload, len}, (how & 3) % 3, false) == 0);
  roam_publish_how publish_how = {.qos = (how & 3) % 3, .report_qos0 = true, .lane = how >> 4 & 1};
  if (roam_session_publish(side->session, r->now, &m, &publish_how, token) == 0)
    r->tokens[r->tokens_len++] = (struct token){.qos = publish_how.qos};
  roam_blob_unref(m.blob);
}

static void subscribe(struct rig *r, uint8_t how) {
  uint8_t list[64];
  size_t len = 0;
  int type = (how & 1) != 0 ? ROAM_SUBSCRIBE : ROAM_UNSUBSCRIBE;
  roam_filter filter = {.filter = {(const uint8_t *)"a/#", 3}, .qos = (how >> 1 & 3) % 3};
  for (int i = 0; i <= (how >> 4 & 3); i++) roam_filter_put(list, sizeof list, &len, type, &filter);
  roam_bytes filters = {list, len};
  if (type == ROAM_SUBSCRIBE) roam_session_subscribe(r->client.session, r->now, filters, none, UINT64_MAX);
  else roam_session_unsubscribe(r->client.session, r->now, filters, none, UINT64_MAX);
}

static void inject(struct rig *r, struct side *side, uint8_t how) {
  struct pipe *in = &side->in[how >> 7];
  roam_bytes bytes = tape_take(&r->tape, how & 0x7F);
  r->strange = true;
  if (bytes.len == 0 || bytes.len > PIPE_MAX - in->len) return;
  memcpy(in->bytes + in->len, bytes.base, bytes.len);
  in->len += bytes.len;
}

/* Turns a byte on its way, doubles what is there, or loses a part of it. */
static void tamper(struct rig *r, struct side *side, uint8_t how) {
  struct pipe *in = &side->in[how >> 7];
  r->strange = true;
  if (in->len == 0) return;
  size_t at = tape_u8(&r->tape) % in->len;
  switch (how & 3) {
    case 0: pipe_take(in, at); return;
    case 1:
      if (in->len > PIPE_MAX / 2) return;
      memcpy(in->bytes + in->len, in->bytes, in->len);
      in->len *= 2;
      return;
    default: in->bytes[at] ^= tape_u8(&r->tape);
  }
}

static void pass_time(struct rig *r, uint8_t how) {
  if (how >= 0x80) r->strange = true; /* beyond the Keep Alive */
  r->now += how >= 0x80 ? (how & 0x7F) * ROAM_S : how * ROAM_MS;
  roam_session_tick(r->client.session, r->now);
  roam_session_tick(r->server.session, r->now);
  poll_side(r, &r->client);
  poll_side(r, &r->server);
}

static void authenticate(struct rig *r, struct side *side, uint8_t how) {
  static const uint8_t method[] = {ROAM_PROP_AUTHENTICATION_METHOD, 0, 1, 'm'};
  r->strange = true;
  roam_session_auth(side->session, r->now, how & 0x1F, (roam_bytes){method, (how & 0x80) != 0 ? sizeof method : 0});
}

/* Both forget, as when a session has expired. */
static void forget(struct rig *r) {
  disconnect(r);
  r->client.held_len = r->server.held_len = 0;
  r->forgetful = true;
  r->known = false;
  roam_session_clear(r->server.session, r->now);
  roam_session_clear(r->client.session, r->now);
  poll_side(r, &r->client);
  poll_side(r, &r->server);
}

static void operate(struct rig *r) {
  uint8_t op = tape_u8(&r->tape), how = tape_u8(&r->tape);
  struct side *side = (op & 0x80) != 0 ? &r->server : &r->client;
  switch (op & 15) {
    case 0:
    case 1: publish(r, side, how); break;
    case 2: subscribe(r, how); break;
    case 3: pump(r); break;
    case 4: move_once(r, (size_t)how + 1); break;
    case 5: reconnect(r); break;
    case 6: inject(r, side, how); break;
    case 7: tamper(r, side, how); break;
    case 8: pass_time(r, how); break;
    case 9: side->holds = !side->holds; break;
    case 10: release_held(r, side); break;
    case 11: roam_session_disconnect(side->session, r->now, how, none); break;
    case 12: authenticate(r, side, how); break;
    case 13: roam_session_ping(r->client.session, r->now); break;
    case 14: forget(r); break;
    default: disconnect(r); break;
  }
  check_bounds(&r->client);
  check_bounds(&r->server);
}

/* ---- the end: with good will on both sides everything comes to its end ---- */

static void settle(struct rig *r) {
  r->client.holds = r->server.holds = false;
  reconnect(r);
  release_held(r, &r->client);
  release_held(r, &r->server);
  pump(r);
  if (r->strange) return;
  FUZZ_CHECK(roam_session_get_info(r->client.session).drained && roam_session_get_info(r->server.session).drained);
  for (uint32_t i = 0; i < r->tokens_len; i++) {
    const struct token *t = &r->tokens[i];
    FUZZ_CHECK(t->ends == 1);
    FUZZ_CHECK(t->refused || t->qos == 0 || t->arrived >= 1);
    FUZZ_CHECK(t->arrived <= 1 || t->qos == 1 || r->forgetful);
  }
}

static void init_options(struct rig *r, roam_session_options *o, roam_role role, uint8_t bounds) {
  static const uint16_t windows[4] = {1024, 1, 2, 16};
  roam_session_options_init(o, role);
  o->version = r->version;
  o->receive_maximum = windows[bounds & 3];
  o->send_window_max = windows[bounds >> 2 & 3];
  o->topic_alias_maximum = (bounds & 0x10) != 0 ? 1 : 16;
  if ((bounds & 0x20) != 0) o->queue_messages_max = 4;
  if ((bounds & 0x40) != 0) o->events_max = 4;
  if ((bounds & 0x80) != 0) o->overflow = ROAM_OVERFLOW_DROP_OLDEST;
  if (role == ROAM_ROLE_CLIENT) o->manual_ack = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint8_t versions[4] = {5, 4, 3, 5};
  struct rig *r = calloc(1, sizeof *r);
  FUZZ_CHECK(r != NULL);
  roam_session_options client, server;
  r->tape = (struct tape){data, data + size};
  r->now = ROAM_S;
  r->version = versions[tape_u8(&r->tape) & 3];
  init_options(r, &client, ROAM_ROLE_CLIENT, tape_u8(&r->tape));
  init_options(r, &server, ROAM_ROLE_SERVER, tape_u8(&r->tape));
  r->client.session = roam_session_new(&client);
  r->server.session = roam_session_new(&server);
  FUZZ_CHECK(r->client.session != NULL && r->server.session != NULL);
  reconnect(r);
  for (int i = 0; i < OPERATIONS_MAX && tape_left(&r->tape) > 0; i++) operate(r);
  settle(r);
  roam_session_free(r->client.session);
  roam_session_free(r->server.session);
  free(r);
  return 0;
}
