/* rig.h - a broker and raw TCP byte clients in virtual time. The test is the edge: it accepts, carries bytes, gives credit,
 * and may stop doing so. */
#ifndef TESTS_UNIT_BROKER_RIG_H
#define TESTS_UNIT_BROKER_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/broker.h>

#include "base/rng.h"

#define LINKS_MAX 64
#define EVENTS_MAX 256

struct link {
  uint32_t handle;
  uint8_t version;
  bool open;    /* neither side has closed */
  bool stalled; /* takes no bytes: gives no credit back */
  uint8_t how;  /* of the broker's CLOSE */
  roam_reader *reader;
  uint64_t credit; /* what the broker takes */
  size_t received; /* bytes */
  uint16_t next_id;
};

struct rig {
  roam_broker *broker;
  struct roam_rng rng;
  roam_time now;
  uint32_t listener; /* handle of the LISTEN unit */
  uint64_t number;   /* of the listener */
  struct link links[LINKS_MAX];
  size_t links_len;
  roam_event events[EVENTS_MAX]; /* without what they point to */
  char ids[EVENTS_MAX][64];
  size_t events_len;
  roam_store *store; /* of the options */
  bool disk_asleep;  /* batches wait for rig_wake_disk */
  roam_rc disk_error;
  size_t batches;
  uint8_t *batch; /* the one being written */
  size_t batch_len;
  uint64_t epoch;
  void (*mail)(struct rig *rig, const roam_wire *unit); /* what it says to other workers */
  void (*after)(struct rig *rig);                       /* when everything else has been carried */
  void (*part)(struct rig *rig, const roam_wire *unit); /* its part of what several workers write */
};

static inline roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static inline void rig_poll(struct rig *rig) {
  roam_event ev[16];
  size_t n;
  while ((n = roam_broker_poll(rig->broker, ev, 16)) > 0) {
    for (size_t i = 0; i < n && rig->events_len < EVENTS_MAX; i++) {
      size_t at = rig->events_len++;
      rig->events[at] = ev[i];
      snprintf(rig->ids[at], sizeof rig->ids[at], "%.*s", (int)ev[i].id.len,
               ev[i].id.len ? (const char *)ev[i].id.base : "");
    }
  }
}

static inline struct link *rig_link(struct rig *rig, uint32_t handle) {
  for (size_t i = 0; i < rig->links_len; i++)
    if (rig->links[i].handle == handle) return &rig->links[i];
  return NULL;
}

static inline void rig_write(struct rig *rig) {
  char why[ROAM_STORE_WHY_MAX] = "the rig says no";
  roam_rc rc = rig->disk_error;
  if (rc == 0) rc = rig->store->ops->commit(rig->store, (roam_bytes){rig->batch, rig->batch_len}, why);
  free(rig->batch);
  rig->batch = NULL;
  roam_wire stored = {.kind = ROAM_WIRE_STORED, .credit = rig->epoch, .error = rc, .name = rc ? why : NULL};
  roam_broker_feed(rig->broker, rig->now, &stored, 1);
}

static inline void rig_take_batch(struct rig *rig, const roam_wire *u) {
  assert_null(rig->batch);
  assert_non_null(rig->store);
  rig->batch = malloc(u->len + 1);
  assert_non_null(rig->batch);
  memcpy(rig->batch, u->data, u->len);
  rig->batch_len = u->len;
  rig->epoch = u->credit;
  rig->batches++;
  if (!rig->disk_asleep) rig_write(rig);
}

static inline void rig_take(struct rig *rig, const roam_wire *u) {
  struct link *l = rig_link(rig, u->handle);
  if (u->kind == ROAM_WIRE_MAIL) {
    if (rig->mail) rig->mail(rig, u);
    return;
  }
  if (u->kind == ROAM_WIRE_STORE) {
    if (rig->part) rig->part(rig, u);
    else rig_take_batch(rig, u);
    return;
  }
  if (u->kind == ROAM_WIRE_LISTEN) rig->listener = u->handle;
  if (!l) return;
  if (u->kind == ROAM_WIRE_DATA) {
    l->received += u->len;
    if (l->reader) assert_int_equal(roam_reader_feed(l->reader, u->data, u->len), 0);
    if (l->stalled) return;
    roam_wire credit = {.kind = ROAM_WIRE_CREDIT, .handle = l->handle, .credit = u->len};
    roam_broker_feed(rig->broker, rig->now, &credit, 1);
  } else if (u->kind == ROAM_WIRE_CREDIT) {
    l->credit += u->credit;
  } else if (u->kind == ROAM_WIRE_CLOSE) {
    l->open = false;
    l->how = u->how;
  }
}

/* Carries everything that waits, one unit at a time: what a unit points to lives until the next call only. */
static inline void rig_run(struct rig *rig) {
  roam_wire out;
  while (roam_broker_drain(rig->broker, rig->now, &out, 1) == 1) rig_take(rig, &out);
  rig_poll(rig);
  if (rig->after) rig->after(rig);
}

/* Lets time pass, ticking whenever the broker asks for it. */
static inline void rig_wait(struct rig *rig, uint64_t ns) {
  roam_time until = rig->now + ns, due;
  int turns = 0;
  rig_run(rig);
  while ((due = roam_broker_deadline(rig->broker)) <= until) {
    assert_true(turns++ < 10000);
    if (due > rig->now) rig->now = due;
    roam_broker_tick(rig->broker, rig->now);
    rig_run(rig);
  }
  rig->now = until;
  roam_broker_tick(rig->broker, rig->now);
  rig_run(rig);
}

/* mail, part: as the rig's. */
static inline void rig_begin_as(struct rig *rig, const roam_broker_options *o,
                                void (*mail)(struct rig *, const roam_wire *),
                                void (*part)(struct rig *, const roam_wire *)) {
  roam_addr local;
  roam_rc rc;
  memset(rig, 0, sizeof *rig);
  rig->mail = mail;
  rig->part = part;
  rig->now = ROAM_S;
  rig->store = o ? o->store : NULL;
  roam_rng_init(&rig->rng, 1);
  rig->broker = roam_broker_new(o, rig->now, &rig->rng.random, &rc);
  assert_non_null(rig->broker);
  assert_int_equal(roam_addr_parse("127.0.0.1:1883", &local), 0);
  assert_int_equal(roam_broker_listen(rig->broker, rig->now, ROAM_TRANSPORT_TCP, &local, &rig->number), 0);
  rig_run(rig);
  roam_wire bound = {.kind = ROAM_WIRE_BOUND, .handle = rig->listener, .local = local};
  roam_broker_feed(rig->broker, rig->now, &bound, 1);
  rig_run(rig);
  assert_int_equal(rig->events[0].kind, ROAM_EV_LISTENING);
  assert_true(rig->events[0].token == rig->number);
  rig->events_len = 0;
}

static inline void rig_begin(struct rig *rig, const roam_broker_options *o) { rig_begin_as(rig, o, NULL, NULL); }

static inline void rig_end(struct rig *rig) {
  roam_broker_free(rig->broker);
  free(rig->batch);
  for (size_t i = 0; i < rig->links_len; i++) roam_reader_free(rig->links[i].reader);
}

static inline struct link *rig_open(struct rig *rig, uint8_t version) {
  assert_true(rig->links_len < LINKS_MAX);
  struct link *l = &rig->links[rig->links_len++];
  *l = (struct link){
      .handle = ROAM_HANDLE_EDGE | (uint32_t)rig->links_len, .version = version, .open = true, .credit = ROAM_CREDIT_START};
  l->reader = roam_reader_new(true, version, 1u << 28);
  assert_non_null(l->reader);
  roam_wire accept = {.kind = ROAM_WIRE_ACCEPT, .handle = l->handle, .parent = rig->listener};
  assert_int_equal(roam_addr_parse("127.0.0.1:1883", &accept.local), 0);
  assert_int_equal(roam_addr_parse("127.0.0.9:40000", &accept.remote), 0);
  accept.remote.port = (uint16_t)(accept.remote.port + rig->links_len);
  roam_broker_feed(rig->broker, rig->now, &accept, 1);
  rig_run(rig);
  return l;
}

static inline void rig_send_raw(struct rig *rig, struct link *l, const void *bytes, size_t len) {
  const uint8_t *at = bytes;
  while (len > 0 && l->open) {
    size_t n = len < l->credit ? len : (size_t)l->credit;
    if (n > 65536) n = 65536;
    if (n == 0) return; /* the broker takes no more */
    roam_wire data = {.kind = ROAM_WIRE_DATA, .handle = l->handle, .data = at, .len = n};
    l->credit -= n;
    at += n;
    len -= n;
    roam_broker_feed(rig->broker, rig->now, &data, 1);
    rig_run(rig);
  }
}

static inline void rig_send(struct rig *rig, struct link *l, const roam_packet *p) {
  roam_packet packet = *p;
  packet.version = l->version;
  size_t size = roam_packet_size(&packet), len;
  assert_true(size > 0);
  uint8_t *bytes = malloc(size);
  assert_non_null(bytes);
  assert_int_equal(roam_packet_write(&packet, bytes, size, &len), 0);
  rig_send_raw(rig, l, bytes, len);
  free(bytes);
}

/* The other end is gone: error 0 is a FIN. */
static inline void rig_hang_up(struct rig *rig, struct link *l, int error) {
  roam_wire close = {.kind = ROAM_WIRE_CLOSE, .handle = l->handle, .error = error};
  l->open = false;
  roam_broker_feed(rig->broker, rig->now, &close, 1);
  rig_run(rig);
}

/* The next packet the link got, which must be of that type. */
static inline roam_packet rig_expect(struct link *l, int type) {
  roam_packet p;
  roam_fault fault;
  int rc = roam_reader_next(l->reader, &p, &fault);
  if (rc < 0) fail_msg("%s", fault.text);
  if (rc == 0) fail_msg("nothing came, %s was expected", roam_packet_name(type));
  if (p.type != type)
    fail_msg("%s came, %s was expected (reason %d)", roam_packet_name(p.type), roam_packet_name(type), p.reason);
  return p;
}

static inline void rig_expect_nothing(struct link *l) {
  roam_packet p;
  roam_fault fault;
  int rc = roam_reader_next(l->reader, &p, &fault);
  if (rc != 0) fail_msg("%s came, nothing was expected", rc > 0 ? roam_packet_name(p.type) : fault.text);
}

static inline roam_packet rig_connect_packet(const char *id, bool clean_start) {
  return (roam_packet){.type = ROAM_CONNECT, .connect = {.client_id = text(id), .clean_start = clean_start}};
}

static inline roam_packet rig_greet(struct rig *rig, struct link *l, const roam_packet *connect) {
  rig_send(rig, l, connect);
  roam_packet connack = rig_expect(l, ROAM_CONNACK);
  return connack;
}

/* A connected client. expiry_s is used in 5.0. */
static inline struct link *rig_join(struct rig *rig, const char *id, uint8_t version, bool clean_start, uint32_t expiry_s) {
  uint8_t bytes[8];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  struct link *l = rig_open(rig, version);
  roam_packet connect = rig_connect_packet(id, clean_start);
  if (version == ROAM_MQTT_5 && expiry_s > 0) {
    assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, expiry_s), 0);
    connect.props = (roam_bytes){bytes, props.len};
  }
  roam_packet connack = rig_greet(rig, l, &connect);
  assert_int_equal(connack.reason, 0);
  return l;
}

static inline uint8_t rig_subscribe_as(struct rig *rig, struct link *l, const roam_filter *f, uint32_t identifier) {
  uint8_t filters[256], bytes[8];
  size_t len = 0;
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  assert_int_equal(roam_filter_put(filters, sizeof filters, &len, ROAM_SUBSCRIBE, f), 0);
  if (identifier) assert_int_equal(roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, identifier), 0);
  rig_send(rig, l,
           &(roam_packet){
               .type = ROAM_SUBSCRIBE, .packet_id = ++l->next_id, .filters = {filters, len}, .props = {bytes, props.len}});
  roam_packet suback = rig_expect(l, ROAM_SUBACK);
  assert_int_equal(suback.packet_id, l->next_id);
  assert_int_equal(suback.codes.len, 1);
  return suback.codes.base[0];
}

static inline void rig_subscribe(struct rig *rig, struct link *l, const char *filter, uint8_t qos) {
  assert_int_equal(rig_subscribe_as(rig, l, &(roam_filter){.filter = text(filter), .qos = qos}, 0), qos);
}

static inline uint16_t rig_publish(struct rig *rig, struct link *l, const char *topic, const char *payload, uint8_t qos,
                                   bool retain) {
  uint16_t id = qos ? ++l->next_id : 0;
  rig_send(rig, l,
           &(roam_packet){.type = ROAM_PUBLISH,
                          .qos = qos,
                          .retain = retain,
                          .packet_id = id,
                          .topic = text(topic),
                          .payload = text(payload)});
  return id;
}

static inline void rig_ack(struct rig *rig, struct link *l, int type, uint16_t packet_id) {
  rig_send(rig, l, &(roam_packet){.type = (uint8_t)type, .packet_id = packet_id});
}

static inline roam_packet rig_expect_message(struct link *l, const char *topic, const char *payload, uint8_t qos) {
  roam_packet p = rig_expect(l, ROAM_PUBLISH);
  assert_int_equal(p.topic.len, strlen(topic));
  assert_memory_equal(p.topic.base, topic, p.topic.len);
  assert_int_equal(p.payload.len, strlen(payload));
  if (p.payload.len > 0) assert_memory_equal(p.payload.base, payload, p.payload.len);
  assert_int_equal(p.qos, qos);
  return p;
}

static inline const roam_event *rig_event(const struct rig *rig, int kind, const char *id) {
  for (size_t i = rig->events_len; i-- > 0;)
    if ((int)rig->events[i].kind == kind && strcmp(rig->ids[i], id) == 0) return &rig->events[i];
  return NULL;
}

struct rig_tally {
  uint8_t kind, below;
  uint32_t count;
};

static inline roam_rc rig_tally(void *context, roam_bytes key, roam_bytes record) {
  struct rig_tally *t = context;
  (void)record;
  if (key.base[0] != t->kind) return 0;
  t->count += t->below ? key.len > 9 && key.base[9] == t->below : key.len == 9 || t->kind != 's';
  return 0;
}

/* How many records of a kind, or of a kind below sessions, there are. */
static inline uint32_t rig_records(roam_store *store, uint8_t kind, uint8_t below) {
  struct rig_tally t = {kind, below, 0};
  char why[ROAM_STORE_WHY_MAX];
  assert_int_equal(store->ops->scan(store, rig_tally, &t, why), 0);
  return t.count;
}

#endif
