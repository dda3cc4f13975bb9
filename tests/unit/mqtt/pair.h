/* pair.h - a client session glued to a server session in memory: two byte pipes, virtual time, and a log of every event
 * with copies of what it pointed to. The test decides how the bytes are cut, when the connection breaks, and who
 * acknowledges. */
#ifndef TESTS_UNIT_MQTT_PAIR_H
#define TESTS_UNIT_MQTT_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <roamqtt/mqtt.h>

#define T0 ROAM_S
#define LOG_MAX 2048u

struct seen {
  roam_session_event_kind kind;
  uint64_t token;
  uint16_t packet_id;
  uint8_t qos, reason;
  bool dup, retain, session_present;
  roam_rc rc;
  char topic[64];
  char payload[64];
  size_t payload_len, codes_len;
  uint8_t codes[8];
  uint8_t props[64];
  size_t props_len;
};

struct pipe {
  uint8_t *bytes; /* exactly as large as what it holds, so that a sanitizer sees every step too far */
  size_t len;
  uint64_t total;
};

struct side {
  roam_session *session;
  struct pipe in; /* on its way to this side */
  struct seen *log;
  size_t log_len;
  bool deaf;    /* does not read */
  bool mute;    /* does not write */
  bool no_acks; /* does not acknowledge messages by itself */
  bool no_poll;
};

struct pair {
  struct side client, server;
  roam_time now;
  size_t chunk; /* most bytes in one feed, 0 = all */
  size_t room;  /* most bytes in one drain */
  size_t slices;
  roam_packet connect, connack;
};

static inline roam_bytes text(const char *s) { return (roam_bytes){(const uint8_t *)s, strlen(s)}; }

static inline void pipe_append(struct pipe *p, const uint8_t *bytes, size_t len) {
  uint8_t *grown = malloc(p->len + len + 1);
  assert_non_null(grown);
  if (p->len > 0) {
    memcpy(grown, p->bytes, p->len);
  }
  memcpy(grown + p->len, bytes, len);
  free(p->bytes);
  p->bytes = grown;
  p->len += len;
  p->total += len;
}

static inline void pipe_take(struct pipe *p, size_t len) {
  uint8_t *rest = p->len > len ? malloc(p->len - len) : NULL;
  if (rest != NULL) {
    memcpy(rest, p->bytes + len, p->len - len);
  }
  free(p->bytes);
  p->bytes = rest;
  p->len -= len;
}

static inline void copy_text(char *to, size_t cap, roam_bytes from, size_t *len) {
  size_t n = from.len < cap - 1 ? from.len : cap - 1;
  if (n > 0) {
    memcpy(to, from.base, n);
  }
  to[n] = 0;
  if (len != NULL) {
    *len = from.len;
  }
}

static inline void side_log(struct side *side, const roam_session_event *e) {
  assert_true(side->log_len < LOG_MAX);
  struct seen *x = &side->log[side->log_len++];
  *x = (struct seen){.kind = e->kind,
                     .token = e->token,
                     .packet_id = e->packet.packet_id,
                     .qos = e->packet.qos,
                     .reason = e->kind == ROAM_SE_FAULT ? e->fault.reason : e->packet.reason,
                     .dup = e->packet.dup,
                     .retain = e->packet.retain,
                     .session_present = e->packet.session_present,
                     .rc = e->fault.rc};
  copy_text(x->topic, sizeof x->topic, e->packet.topic, NULL);
  copy_text(x->payload, sizeof x->payload, e->packet.payload, &x->payload_len);
  x->codes_len = e->packet.codes.len;
  if (x->codes_len > 0 && x->codes_len <= sizeof x->codes) {
    memcpy(x->codes, e->packet.codes.base, x->codes_len);
  }
  x->props_len = e->packet.props.len;
  if (x->props_len > 0 && x->props_len <= sizeof x->props) {
    memcpy(x->props, e->packet.props.base, x->props_len);
  }
}

/* Answers SUBSCRIBE with the QoS asked for, UNSUBSCRIBE with 0, and acknowledges messages. */
static inline void side_answer(struct pair *p, struct side *side, const roam_session_event *e) {
  uint8_t codes[64];
  size_t n = 0;
  roam_bytes rest = e->packet.filters;
  roam_filter filter;
  int type = e->kind == ROAM_SE_SUBSCRIBE ? ROAM_SUBSCRIBE : ROAM_UNSUBSCRIBE;
  while (rest.len > 0 && n < sizeof codes && roam_filter_next(&rest, type, &filter) == 1) {
    codes[n++] = filter.qos;
  }
  roam_bytes list = {codes, n}, none = {NULL, 0};
  if (e->kind == ROAM_SE_SUBSCRIBE) {
    assert_int_equal(roam_session_suback(side->session, p->now, e->lane, e->packet.packet_id, list, none), 0);
  } else if (e->kind == ROAM_SE_UNSUBSCRIBE) {
    assert_int_equal(roam_session_unsuback(side->session, p->now, e->lane, e->packet.packet_id, list, none), 0);
  } else if (e->kind == ROAM_SE_MESSAGE && e->packet.qos > 0 && side == &p->server && !side->no_acks) {
    assert_int_equal(roam_session_ack(side->session, p->now, e->lane, e->packet.packet_id, 0), 0);
  }
}

static inline bool side_poll(struct pair *p, struct side *side) {
  roam_session_event ev[16];
  bool moved = false;
  size_t n;
  while (!side->no_poll && (n = roam_session_poll(side->session, ev, 16)) > 0) {
    moved = true;
    for (size_t i = 0; i < n; i++) {
      side_log(side, &ev[i]); /* before anything is called: the views live until then */
    }
    for (size_t i = 0; i < n; i++) {
      side_answer(p, side, &ev[i]);
    }
  }
  return moved;
}

static inline bool side_read(struct pair *p, struct side *side) {
  bool moved = false;
  size_t offered = 0;
  while (!side->deaf && side->in.len > offered) {
    size_t step = p->chunk > 0 && p->chunk < side->in.len - offered ? p->chunk : side->in.len - offered;
    size_t used;
    roam_bytes view = {side->in.bytes, offered + step};
    roam_session_feed(side->session, p->now, 0, view, &used);
    moved = side_poll(p, side) || used > 0 || moved;
    offered = offered + step - used;
    pipe_take(&side->in, used);
  }
  return moved;
}

static inline bool side_write(struct pair *p, struct side *from, struct side *to) {
  roam_slice out[32];
  bool moved = false;
  size_t n;
  while (!from->mute && (n = roam_session_drain(from->session, p->now, 0, p->room, out, p->slices)) > 0) {
    moved = true;
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
      assert_true(out[i].len > 0);
      total += out[i].len;
      pipe_append(&to->in, out[i].base, out[i].len);
    }
    assert_true(total <= p->room);
  }
  return moved;
}

/* Moves bytes until neither side has anything to say. */
static inline void pair_pump(struct pair *p) {
  bool moved = true;
  for (int turns = 0; moved; turns++) {
    assert_true(turns < 100000);
    moved = side_write(p, &p->client, &p->server);
    moved = side_read(p, &p->server) || moved;
    moved = side_poll(p, &p->server) || moved;
    moved = side_write(p, &p->server, &p->client) || moved;
    moved = side_read(p, &p->client) || moved;
    moved = side_poll(p, &p->client) || moved;
  }
}

static inline void pair_init(struct pair *p, const roam_session_options *client, const roam_session_options *server) {
  *p = (struct pair){.now = T0, .room = 65536, .slices = 32};
  p->client.session = roam_session_new(client);
  p->server.session = roam_session_new(server);
  p->client.log = calloc(LOG_MAX, sizeof *p->client.log);
  p->server.log = calloc(LOG_MAX, sizeof *p->server.log);
  assert_non_null(p->client.session);
  assert_non_null(p->server.session);
  assert_true(p->client.log != NULL && p->server.log != NULL);
  p->connect = (roam_packet){.type = ROAM_CONNECT,
                             .version = client->version,
                             .connect = {.client_id = {(const uint8_t *)"c", 1}, .clean_start = false}};
  p->connack = (roam_packet){.type = ROAM_CONNACK};
}

/* The server's owner reads CONNECT itself, as a broker does. */
static inline void pair_connect(struct pair *p, bool session_present) {
  roam_packet connect;
  roam_fault fault;
  size_t used;
  assert_int_equal(roam_session_connect(p->client.session, p->now, &p->connect), 0);
  assert_true(side_write(p, &p->client, &p->server));
  roam_bytes view = {p->server.in.bytes, p->server.in.len};
  assert_int_equal(roam_packet_read(view, 0, UINT32_MAX, false, &connect, &used, &fault), 0);
  assert_true(used > 0);
  p->connack.session_present = session_present;
  assert_int_equal(roam_session_accept(p->server.session, p->now, &connect, &p->connack, connect.connect.keep_alive_s), 0);
  pipe_take(&p->server.in, used);
}

/* The connection breaks: what was on its way is lost. */
static inline void pair_cut(struct pair *p) {
  pipe_take(&p->client.in, p->client.in.len);
  pipe_take(&p->server.in, p->server.in.len);
  roam_session_detach(p->client.session, p->now);
  roam_session_detach(p->server.session, p->now);
}

static inline void pair_reset(struct pair *p) {
  roam_session_free(p->client.session);
  roam_session_free(p->server.session);
  free(p->client.in.bytes);
  free(p->server.in.bytes);
  free(p->client.log);
  free(p->server.log);
}

static inline size_t count_kind(const struct side *side, roam_session_event_kind kind) {
  size_t n = 0;
  for (size_t i = 0; i < side->log_len; i++) {
    n += side->log[i].kind == kind;
  }
  return n;
}

/* The i-th event of a kind, which must be there. */
static inline const struct seen *find_kind(const struct side *side, roam_session_event_kind kind, size_t i) {
  for (size_t j = 0; j < side->log_len; j++) {
    if (side->log[j].kind == kind && i-- == 0) {
      return &side->log[j];
    }
  }
  fail_msg("no such event: kind %d", (int)kind);
  return NULL;
}

static inline roam_rc publish_bytes(struct pair *p, struct side *side, const char *topic, roam_bytes props,
                                    roam_bytes payload, uint8_t qos, uint64_t token) {
  roam_message m;
  assert_int_equal(roam_message_make(&m, p->now, text(topic), props, payload, qos, false), 0);
  roam_publish_how how = {.qos = qos, .report_qos0 = true};
  roam_rc rv = roam_session_publish(side->session, p->now, &m, &how, token);
  roam_blob_unref(m.blob);
  return rv;
}

static inline roam_rc publish(struct pair *p, struct side *side, const char *topic, const char *payload, uint8_t qos,
                              uint64_t token) {
  return publish_bytes(p, side, topic, (roam_bytes){NULL, 0}, text(payload), qos, token);
}

#endif
