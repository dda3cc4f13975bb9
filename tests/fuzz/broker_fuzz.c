/* broker_fuzz.c - a whole broker over TCP wire units: up to eight connections that send any bytes in any pieces, stop
 * reading, vanish and come back, while time goes by. Every byte the broker sends must be packets that a client of that
 * version may get, within the size and the aliases which that client has allowed. Afterwards somebody new must be served.
 *
 * Input: operations of two bytes (the upper half of the first says which connection) and what they need. */
#include "fuzz.h"

#include "base/rng.h"

#include <roamqtt/broker.h>
#include <roamqtt/event.h>

#define CONNS 8u
#define NEWCOMER CONNS
#define OPERATIONS_MAX 200
#define TURNS_MAX 4000
#define FIRST_MAX 512u
#define OUT_MAX 65536u

struct conn {
  bool open, stalled, honest;
  uint32_t handle;
  uint8_t version;                /* 0: the broker has said nothing yet */
  uint32_t packet_max, alias_max; /* as its CONNECT allows */
  uint8_t first[FIRST_MAX];       /* what it sent first, to learn that CONNECT */
  size_t first_len;
  uint8_t out[OUT_MAX]; /* what came and is not a whole packet yet */
  size_t out_len;
  uint8_t answers[2048]; /* of an honest client */
  size_t answers_len;
  unsigned connacks, messages, acks;
};

struct rig {
  struct tape tape;
  roam_time now;
  struct roam_rng rng;
  roam_broker *broker;
  uint32_t listener, handles;
  bool stopped;
  struct conn conns[CONNS + 1];
};

/* ---- what the broker sends ---- */

static void learn_connect(struct conn *c) {
  roam_packet p;
  roam_fault fault;
  roam_prop prop;
  size_t used = 0;
  c->version = ROAM_MQTT_311;
  c->packet_max = UINT32_MAX;
  c->alias_max = 0;
  if (roam_packet_read((roam_bytes){c->first, c->first_len}, 0, FIRST_MAX, false, &p, &used, &fault) != 0 || used == 0)
    return;
  c->version = p.version;
  if (roam_prop_find(p.props, ROAM_PROP_MAXIMUM_PACKET_SIZE, &prop) == 1) c->packet_max = prop.number;
  if (roam_prop_find(p.props, ROAM_PROP_TOPIC_ALIAS_MAXIMUM, &prop) == 1) c->alias_max = prop.number;
}

static void answer(struct conn *c, uint8_t type, uint16_t packet_id) {
  if (!c->honest || c->answers_len + 4 > sizeof c->answers) return;
  const uint8_t packet[4] = {(uint8_t)(type << 4 | (type == ROAM_PUBREL ? 2 : 0)), 2, (uint8_t)(packet_id >> 8),
                             (uint8_t)packet_id};
  memcpy(c->answers + c->answers_len, packet, 4);
  c->answers_len += 4;
}

static void on_packet(struct conn *c, const roam_packet *p, size_t size) {
  roam_prop alias;
  FUZZ_CHECK(size <= c->packet_max);
  if (p->type != ROAM_CONNACK) FUZZ_CHECK(c->connacks > 0);
  switch (p->type) {
    case ROAM_CONNACK: FUZZ_CHECK(c->connacks++ == 0); break;
    case ROAM_PUBACK: c->acks++; break;
    case ROAM_PUBREC: answer(c, ROAM_PUBREL, p->packet_id); break;
    case ROAM_PUBREL: answer(c, ROAM_PUBCOMP, p->packet_id); break;
    case ROAM_PUBLISH:
      c->messages++;
      if (roam_prop_find(p->props, ROAM_PROP_TOPIC_ALIAS, &alias) == 1) FUZZ_CHECK(alias.number <= c->alias_max);
      if (p->qos > 0) answer(c, p->qos == 1 ? ROAM_PUBACK : ROAM_PUBREC, p->packet_id);
      break;
    default: break;
  }
}

static void on_bytes(struct conn *c, roam_bytes bytes) {
  if (c->version == 0) learn_connect(c);
  FUZZ_CHECK(bytes.len <= OUT_MAX - c->out_len);
  memcpy(c->out + c->out_len, bytes.base, bytes.len);
  c->out_len += bytes.len;
  for (size_t at = 0;;) {
    roam_packet p;
    roam_fault fault = {0};
    size_t used = 0;
    roam_bytes rest = {c->out + at, c->out_len - at};
    if (roam_packet_read(rest, c->version, UINT32_MAX, true, &p, &used, &fault) != 0) {
      fprintf(stderr, "the broker sent: %s\n", fault.text);
      FUZZ_CHECK(fault.rc == 0);
    }
    if (used == 0) {
      memmove(c->out, c->out + at, c->out_len - at);
      c->out_len -= at;
      return;
    }
    on_packet(c, &p, used);
    at += used;
  }
}

/* ---- the edge ---- */

static struct conn *find_conn(struct rig *r, uint32_t handle) {
  for (size_t i = 0; i <= CONNS; i++)
    if (r->conns[i].open && r->conns[i].handle == handle) return &r->conns[i];
  return NULL;
}

static void feed(struct rig *r, const roam_wire *units, size_t n) {
  roam_event ev[32];
  roam_broker_feed(r->broker, r->now, units, n);
  while (roam_broker_poll(r->broker, ev, 32) > 0) {
  }
}

static void on_unit(struct rig *r, const roam_wire *unit) {
  struct conn *c = find_conn(r, unit->handle);
  if (unit->kind == ROAM_WIRE_LISTEN) r->listener = unit->handle;
  if (c == NULL) return;
  if (unit->kind == ROAM_WIRE_DATA) on_bytes(c, (roam_bytes){unit->data, unit->len});
  if (unit->kind == ROAM_WIRE_CLOSE) c->open = false;
}

/* Takes what goes out; then grants as much again to those who read. */
static void drain(struct rig *r) {
  roam_wire out[16], credit[16];
  size_t n;
  for (int turns = 0; (n = roam_broker_drain(r->broker, r->now, out, 16)) > 0; turns++) {
    size_t credits = 0;
    FUZZ_CHECK(turns < TURNS_MAX && n <= 16);
    for (size_t i = 0; i < n; i++) {
      const struct conn *c = find_conn(r, out[i].handle);
      on_unit(r, &out[i]);
      if (c != NULL && c->open && !c->stalled && out[i].kind == ROAM_WIRE_DATA)
        credit[credits++] = (roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = out[i].handle, .credit = out[i].len};
    }
    if (credits > 0) feed(r, credit, credits);
  }
}

static void send_bytes(struct rig *r, struct conn *c, roam_bytes bytes) {
  if (!c->open || bytes.len == 0) return;
  size_t room = FIRST_MAX - c->first_len, len = bytes.len < room ? bytes.len : room;
  if (len > 0) memcpy(c->first + c->first_len, bytes.base, len);
  c->first_len += len;
  uint8_t *copy = fuzz_copy(bytes);
  feed(r, &(roam_wire){.kind = ROAM_WIRE_DATA, .handle = c->handle, .data = copy, .len = bytes.len}, 1);
  free(copy);
}

static void send_answers(struct rig *r) {
  for (size_t i = 0; i <= CONNS; i++) {
    struct conn *c = &r->conns[i];
    uint8_t bytes[sizeof c->answers];
    size_t len = c->answers_len;
    memcpy(bytes, c->answers, len);
    c->answers_len = 0;
    send_bytes(r, c, (roam_bytes){bytes, len});
  }
}

static void settle(struct rig *r) {
  for (int i = 0; i < 8; i++) {
    drain(r);
    send_answers(r);
  }
  drain(r);
}

static roam_addr address(unsigned last, uint16_t port) {
  return (roam_addr){.family = 4, .port = port, .ip = {127, 0, 0, (uint8_t)last}};
}

static void close_conn(struct rig *r, struct conn *c, uint8_t how) {
  if (!c->open) return;
  c->open = false;
  feed(r, &(roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = c->handle, .error = how & 0x7F}, 1);
}

/* A new connection; `first` comes in the same batch. */
static void open_conn(struct rig *r, size_t which, roam_bytes first) {
  struct conn *c = &r->conns[which];
  close_conn(r, c, 0);
  memset(c, 0, sizeof *c);
  c->open = true;
  c->handle = ROAM_HANDLE_EDGE | ++r->handles;
  c->first_len = first.len < FIRST_MAX ? first.len : FIRST_MAX;
  if (c->first_len > 0) memcpy(c->first, first.base, c->first_len);
  uint8_t *copy = fuzz_copy(first);
  const roam_wire units[2] = {{.kind = ROAM_WIRE_ACCEPT,
                               .handle = c->handle,
                               .parent = r->listener,
                               .local = address(1, 1883),
                               .remote = address(2, (uint16_t)(1024 + which))},
                              {.kind = ROAM_WIRE_DATA, .handle = c->handle, .data = copy, .len = first.len}};
  feed(r, units, first.len > 0 ? 2 : 1);
  free(copy);
}

/* ---- packets as a good client writes them ---- */

static void send_packet(struct rig *r, struct conn *c, const roam_packet *p) {
  uint8_t bytes[512];
  size_t len;
  if (roam_packet_write(p, bytes, sizeof bytes, &len) == 0) send_bytes(r, c, (roam_bytes){bytes, len});
}

static uint8_t version_of(uint8_t how) {
  return (how & 3) == 0 ? ROAM_MQTT_5 : (how & 3) == 1 ? ROAM_MQTT_311 : ROAM_MQTT_5;
}

static void send_connect(struct rig *r, size_t which, uint8_t how) {
  static const char *const ids[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "new"};
  static const uint8_t wishes[] = {
      ROAM_PROP_SESSION_EXPIRY_INTERVAL, 0, 0, 0, 30, ROAM_PROP_RECEIVE_MAXIMUM, 0, 2, ROAM_PROP_TOPIC_ALIAS_MAXIMUM, 0, 2,
      ROAM_PROP_MAXIMUM_PACKET_SIZE,     0, 0, 0, 200};
  roam_packet p = {.type = ROAM_CONNECT, .version = version_of(how)};
  if (p.version == ROAM_MQTT_5 && (how & 0x40) != 0) p.props = (roam_bytes){wishes, (how & 0x80) != 0 ? 16 : 8};
  p.connect.client_id = (roam_bytes){(const uint8_t *)ids[which], strlen(ids[which])};
  p.connect.clean_start = (how & 4) != 0;
  p.connect.has_will = (how & 8) != 0;
  p.connect.will_qos = p.connect.has_will ? (how >> 4 & 3) % 3 : 0;
  p.connect.will_retain = p.connect.has_will && (how & 0x20) != 0;
  p.connect.keep_alive_s = 30;
  if (p.connect.has_will) p.connect.will_topic = p.connect.will_payload = (roam_bytes){(const uint8_t *)"a/will", 6};
  if (!r->conns[which].open || r->conns[which].first_len > 0) open_conn(r, which, (roam_bytes){NULL, 0});
  r->conns[which].honest = true;
  send_packet(r, &r->conns[which], &p);
}

static void send_publish(struct rig *r, struct conn *c, uint8_t how) {
  static const char *const topics[4] = {"a/b", "a/c", "x", "$SYS/x"};
  static const uint8_t payload[300];
  const char *topic = topics[how >> 3 & 3];
  roam_packet p = {.type = ROAM_PUBLISH, .version = c->version, .qos = (how & 3) % 3, .retain = (how & 4) != 0};
  p.packet_id = p.qos > 0 ? 1 + (how >> 5) : 0;
  p.topic = (roam_bytes){(const uint8_t *)topic, strlen(topic)};
  p.payload = (roam_bytes){payload, (how & 0x80) != 0 ? sizeof payload : how >> 5 & 3};
  send_packet(r, c, &p);
}

static void send_subscribe(struct rig *r, struct conn *c, uint8_t how) {
  static const char *const filters[8] = {"a/#", "#", "+/b", "$share/g/a/+", "x", "a/b", "$share/g/#", "$SYS/#"};
  const char *filter = filters[how >> 2 & 7];
  uint8_t list[64];
  size_t len = 0;
  int type = (how & 0x20) != 0 ? ROAM_UNSUBSCRIBE : ROAM_SUBSCRIBE;
  roam_filter f = {.filter = {(const uint8_t *)filter, strlen(filter)}, .qos = (how & 3) % 3};
  f.no_local = c->version == ROAM_MQTT_5 && (how & 0x40) != 0 && filter[0] != '$';
  f.retain_as_published = c->version == ROAM_MQTT_5 && (how & 0x80) != 0;
  roam_filter_put(list, sizeof list, &len, type, &f);
  roam_packet p = {.type = (uint8_t)type, .version = c->version, .packet_id = 20, .filters = {list, len}};
  send_packet(r, c, &p);
}

/* ---- operations ---- */

static void pass_time(struct rig *r, uint8_t how) {
  r->now += how >= 0x80 ? (how & 0x7F) * ROAM_S : how * ROAM_MS;
  roam_broker_tick(r->broker, r->now);
}

static void kick(struct rig *r, uint8_t how) {
  const char id[3] = {'c', (char)('0' + (how & 7)), 0};
  roam_broker_kick(r->broker, r->now, id, ROAM_REASON_ADMINISTRATIVE_ACTION);
}

static void operate(struct rig *r) {
  uint8_t op = tape_u8(&r->tape), how = tape_u8(&r->tape);
  size_t which = (op >> 4) % CONNS;
  struct conn *c = &r->conns[which];
  switch (op & 15) {
    case 0: open_conn(r, which, tape_take(&r->tape, how)); break;
    case 1: send_bytes(r, c, tape_take(&r->tape, how)); break;
    case 2: close_conn(r, c, how); break;
    case 3: c->stalled = !c->stalled; break;
    case 4: feed(r, &(roam_wire){.kind = ROAM_WIRE_CREDIT, .handle = c->handle, .credit = how}, c->open ? 1 : 0); break;
    case 5: pass_time(r, how); break;
    case 6:
      roam_broker_publish(r->broker, r->now, (roam_bytes){(const uint8_t *)"a/b", 3}, (roam_bytes){&how, 1}, how % 3,
                          how & 8);
      break;
    case 7: kick(r, how); break;
    case 8: send_connect(r, which, how); break;
    case 9: send_publish(r, c, how); break;
    case 10: send_subscribe(r, c, how); break;
    case 11: c->honest = !c->honest; break;
    case 12:
      r->stopped = r->stopped || how == 0xFF;
      if (r->stopped) roam_broker_stop(r->broker, r->now);
      break;
    case 13: drain(r); return; /* without the answers */
    default: break;
  }
  if ((op & 15) < 14) settle(r); /* 14, 15: the next comes in the same turn */
}

/* Whatever has happened: somebody new connects, subscribes, and gets what he publishes. */
static void expect_serving(struct rig *r) {
  struct conn *c = &r->conns[NEWCOMER];
  send_connect(r, NEWCOMER, 4);
  settle(r);
  FUZZ_CHECK(c->open && c->connacks == 1);
  send_subscribe(r, c, 4 << 2 | 1);
  settle(r);
  unsigned before = c->messages;
  send_publish(r, c, 2 << 3 | 1);
  settle(r);
  FUZZ_CHECK(c->open && c->acks == 1 && c->messages == before + 1);
}

static void check_stats(const struct rig *r) {
  roam_broker_stats s = roam_broker_get_stats(r->broker);
  roam_peer_info info[CONNS + 4];
  FUZZ_CHECK(s.connections <= CONNS + 1 && s.events_dropped == 0);
  roam_broker_clients(r->broker, 0, info, CONNS + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  roam_addr local = address(1, 1883);
  struct rig *r = calloc(1, sizeof *r);
  FUZZ_CHECK(r != NULL);
  roam_broker_options o;
  uint64_t listener;
  roam_rc rc;
  r->tape = (struct tape){data, data + size};
  r->now = ROAM_S;
  roam_rng_init(&r->rng, 3);
  roam_broker_options_init(&o);
  uint8_t bounds = tape_u8(&r->tape);
  if ((bounds & 1) != 0) o.queue_messages_max = 2;
  if ((bounds & 2) != 0) o.overflow = ROAM_OVERFLOW_DROP_OLDEST;
  if ((bounds & 4) != 0) o.receive_maximum = 2;
  if ((bounds & 8) != 0) o.maximum_packet_size = 256;
  if ((bounds & 16) != 0) o.retained_max = 2;
  r->broker = roam_broker_new(&o, r->now, &r->rng.random, &rc);
  FUZZ_CHECK(r->broker != NULL);
  FUZZ_CHECK(roam_broker_listen(r->broker, r->now, ROAM_TRANSPORT_TCP, &local, &listener) == 0);
  drain(r);
  feed(r, &(roam_wire){.kind = ROAM_WIRE_BOUND, .handle = r->listener, .local = local}, 1);
  for (int i = 0; i < OPERATIONS_MAX && tape_left(&r->tape) > 0; i++) operate(r);
  settle(r);
  check_stats(r);
  if (!r->stopped) expect_serving(r);
  roam_broker_free(r->broker);
  free(r);
  return 0;
}
