/* session.c - one side of one MQTT session: dispatch, events, and what all the files of the machine share. It opens, closes
 * and times nothing; it does not know what carries its lanes, nor which subscriptions exist.
 *
 * Theory of operation
 *
 * A session has two halves. `kept` outlives connections: exchanges (our packets that have an identifier and no final answer
 * yet), the queue behind them, and the identifiers of QoS 2 messages received but not released. `live` dies with the
 * connection: windows, aliases, Keep Alive, unsent answers. Both exist for each lane, because identifiers, windows and
 * aliases are a lane's own. detach resets live whole; connect and accept begin with a fresh one, and then the lane's cursor
 * walks over all exchanges in the order they began, so that everything unanswered goes out again before anything new.
 *
 * An outgoing message passes queue -> exchange -> gone (QoS 0: queue -> gone). It leaves the queue only when drain writes
 * it, so its identifier, alias, remaining expiry and the window are decided at the last moment. PUBLISH is not put into any
 * byte buffer; only answers, which are small, are (lane.live.out), and feed takes no more bytes while too many of them
 * wait. That, events_max and the queue's bounds are the only places where anything piles up.
 *
 * An incoming QoS 1 or 2 message waits in lane.live.unacked until the owner acknowledges it; answers leave in the order of
 * receipt. A QoS 2 identifier is in kept.received from report to PUBREL. A duplicate of it is answered again once the owner
 * has acknowledged, and never reported: that makes it exactly once over any number of connections.
 *
 * Trouble has one way: roam_session_fail tells the owner, puts a DISCONNECT where one may be sent, and ends the link (state
 * OVER): nothing is read or begun any more until the owner detaches. Every verb is harmless in every state. */
#include "mqtt/session.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define OUT_BYTES_MAX (4u << 20) /* one lane's answers with a CONNECT of the largest kind among them */

/* ---- life ---- */

void roam_session_options_init(roam_session_options *o, roam_role role) {
  *o = (roam_session_options){
      .size = sizeof *o,
      .role = role,
      .version = ROAM_MQTT_5,
      .receive_maximum = 1024,
      .send_window_max = 1024,
      .topic_alias_maximum = 16,
      .topic_alias_send_max = 16,
      .maximum_packet_size = 1u << 20,
      .queue_messages_max = 10000,
      .queue_bytes_max = (size_t)16 << 20,
      .overflow = ROAM_OVERFLOW_REFUSE,
      .events_max = 1024,
      .manual_ack = role == ROAM_ROLE_SERVER,
      .inflight_bytes_max = (size_t)16 << 20,
  };
}

static bool are_options_good(const roam_session_options *o) {
  bool versioned = o->version == ROAM_MQTT_31 || o->version == ROAM_MQTT_311 || o->version == ROAM_MQTT_5;
  return versioned && o->receive_maximum > 0 && o->send_window_max > 0 && o->maximum_packet_size > 0 && o->events_max > 0 &&
         o->queue_messages_max > 0 && (o->role == ROAM_ROLE_CLIENT || o->role == ROAM_ROLE_SERVER);
}

roam_session *roam_session_new(const roam_session_options *options) {
  roam_session_options o;
  roam_session_options_init(&o, options != NULL ? options->role : ROAM_ROLE_CLIENT);
  if (options != NULL) {
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  }
  if (!are_options_good(&o)) {
    return NULL;
  }
  roam_session *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  s->o = o;
  s->version = o.version;
  /* beyond events_max come only the ends of what was queued or in flight */
  roam_ring_init(&s->events, sizeof(struct roam_tiding), (size_t)o.events_max + o.queue_messages_max + 2 * ROAM_WINDOW_MAX);
  roam_ring_init(&s->parting_events, sizeof(roam_blob *), (size_t)1 << 20);
  roam_ring_init(&s->parting_slices, sizeof(roam_blob *), (size_t)1 << 20);
  return s;
}

void roam_lane_free(struct roam_lane *lane) {
  lane->kept.rules = 0;
  roam_lane_live_reset(lane);
  roam_inflight_reset(&lane->kept.inflight);
  struct roam_outgoing m;
  while (roam_ring_pop(&lane->kept.queue, &m)) {
    roam_outgoing_reset(&m);
  }
  roam_ring_reset(&lane->kept.queue);
  roam_map64_reset(&lane->kept.received);
  free(lane);
}

static void release_blobs(struct roam_ring *blobs) {
  roam_blob *blob;
  while (roam_ring_pop(blobs, &blob)) {
    roam_blob_unref(blob);
  }
}

void roam_session_free(roam_session *s) {
  if (s == NULL) {
    return;
  }
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    roam_lane_free(s->lanes[i]);
  }
  free(s->lanes);
  release_blobs(&s->parting_events);
  release_blobs(&s->parting_slices);
  roam_ring_reset(&s->parting_events);
  roam_ring_reset(&s->parting_slices);
  roam_ring_reset(&s->events);
  roam_blob_unref(s->live.farewell);
  free(s->scratch);
  free(s);
}

struct roam_lane *roam_session_find_lane(const roam_session *s, uint32_t number) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    if (s->lanes[i]->number == number) {
      return s->lanes[i];
    }
  }
  return NULL;
}

struct roam_lane *roam_session_lane(roam_session *s, uint32_t number) {
  struct roam_lane *known = roam_session_find_lane(s, number);
  if (known != NULL || s->lanes_len == ROAM_LANES_MAX) {
    return known;
  }
  struct roam_lane **lanes = realloc(s->lanes, (s->lanes_len + 1) * sizeof *lanes);
  struct roam_lane *lane = calloc(1, sizeof *lane);
  if (lanes != NULL) {
    s->lanes = lanes;
  }
  if (lanes == NULL || lane == NULL) {
    free(lane);
    return NULL;
  }
  lane->number = number;
  roam_ring_init(&lane->kept.queue, sizeof(struct roam_outgoing), (size_t)s->o.queue_messages_max + ROAM_WINDOW_MAX);
  roam_map64_init(&lane->kept.received, UINT16_MAX, NULL);
  roam_buf_init(&lane->live.out, OUT_BYTES_MAX);
  roam_ring_init(&lane->live.unacked, sizeof(struct roam_unacked), 2 * (size_t)UINT16_MAX);
  roam_ring_init(&lane->live.marks, sizeof(struct roam_mark), OUT_BYTES_MAX);
  s->lanes[s->lanes_len++] = lane;
  return lane;
}

void roam_session_slim(roam_session *s) {
  struct roam_ring *rings[] = {&s->events, &s->parting_events, &s->parting_slices};
  for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++) {
    if (roam_ring_count(rings[i]) == 0) {
      roam_ring_reset(rings[i]);
    }
  }
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    if (roam_ring_count(&s->lanes[i]->kept.queue) == 0) {
      roam_ring_reset(&s->lanes[i]->kept.queue);
    }
    if (s->lanes[i]->kept.inflight.count == 0) {
      roam_inflight_reset(&s->lanes[i]->kept.inflight);
    }
  }
  free(s->scratch);
  s->scratch = NULL;
  s->scratch_len = s->scratch_cap = s->scratch_want = 0;
}

/* ---- the door ---- */

/* Whoever calls is done with what the last call handed out. */
static void release_handed_out(roam_session *s) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    struct roam_lane_live *live = &s->lanes[i]->live;
    if (live->taken > 0) {
      roam_buf_take(&live->out, live->taken);
      live->gone += live->taken;
      live->taken = 0;
    }
    struct roam_partial *p = &live->partial;
    if (p->head != NULL && p->head_at == p->head_len && p->body_at == p->body_len) {
      free(p->head);
      roam_blob_unref(p->blob);
      *p = (struct roam_partial){0};
    }
  }
  s->scratch_len = 0;
  release_blobs(&s->parting_slices);
  if (roam_ring_count(&s->events) == 0) {
    release_blobs(&s->parting_events);
  }
}

void roam_session_enter(roam_session *s, roam_time now) {
  if (now > s->now) {
    s->now = now;
  }
  release_handed_out(s);
}

/* ---- events ---- */

struct roam_tiding *roam_session_tell(roam_session *s, roam_session_event_kind kind, uint32_t lane) {
  struct roam_tiding *t = roam_ring_add(&s->events);
  if (t == NULL) {
    s->starved = true;
    t = &s->spare_tiding;
  }
  *t = (struct roam_tiding){.kind = (uint8_t)kind, .lane = lane};
  return t;
}

void roam_session_tell_end(roam_session *s, const struct roam_outgoing *m, uint32_t lane, bool done, uint8_t reason) {
  if (!done) {
    s->dropped++;
  }
  if (m->report) {
    struct roam_tiding *t = roam_session_tell(s, done ? ROAM_SE_DONE : ROAM_SE_DROPPED, lane);
    t->token = m->token;
    t->reason = reason;
    t->qos = m->qos;
  }
}

/* What CONNECT alone has is left as it was: it is half of an event, and none is about one. */
static void spread(const struct roam_session *s, const struct roam_tiding *t, roam_session_event *e) {
  roam_packet *p = &e->packet;
  e->kind = (roam_session_event_kind)t->kind;
  e->lane = t->lane;
  e->token = t->token;
  e->fault = (roam_fault){t->rc, t->reason, t->text};
  memset(p, 0, offsetof(roam_packet, connect));
  p->type = t->type;
  p->version = s->version;
  p->qos = t->qos;
  p->dup = t->dup;
  p->retain = t->retain;
  p->session_present = t->session_present;
  p->reason = t->reason;
  p->packet_id = t->packet_id;
  p->props = t->props;
  switch (t->kind) {
    case ROAM_SE_MESSAGE:
      e->packet.topic = t->first;
      e->packet.payload = t->payload;
      break;
    case ROAM_SE_SUBSCRIBE:
    case ROAM_SE_UNSUBSCRIBE: e->packet.filters = t->first; break;
    default: e->packet.codes = t->first; break;
  }
}

size_t roam_session_poll(roam_session *s, roam_session_event ev[], size_t n) {
  release_handed_out(s);
  size_t count = 0;
  const struct roam_tiding *t;
  while (count < n && (t = roam_ring_peek(&s->events)) != NULL) {
    roam_session_event *e = &ev[count++];
    spread(s, t, e);
    roam_ring_pop(&s->events, NULL);
    if (e->kind == ROAM_SE_MESSAGE && e->packet.qos > 0 && !s->o.manual_ack) {
      struct roam_lane *lane = roam_session_find_lane(s, e->lane);
      if (lane != NULL) {
        roam_session_answer(s, lane, e->packet.packet_id, ROAM_REASON_SUCCESS);
      }
    }
  }
  if (count < n && s->starved) {
    s->starved = false;
    ev[count++] = (roam_session_event){.kind = ROAM_SE_FAULT,
                                       .fault = {ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, "no memory for an event"}};
  }
  return count;
}

/* ---- answers ---- */

roam_rc roam_session_put(roam_session *s, struct roam_lane *lane, const roam_packet *packet) {
  size_t size = roam_packet_size(packet), len;
  if (size == 0) {
    return ROAM_E_ARGUMENT;
  }
  if (size > s->live.peer_packet_max) {
    return ROAM_E_TOO_LARGE;
  }
  uint8_t *at = roam_gate_close(s, lane) ? roam_buf_reserve(&lane->live.out, size) : NULL;
  if (at == NULL) {
    return size > roam_buf_room(&lane->live.out) ? ROAM_E_BLOCKED : ROAM_E_MEMORY;
  }
  roam_rc rv = roam_packet_write(packet, at, size, &len);
  if (rv == 0) {
    roam_buf_commit(&lane->live.out, len);
    lane->live.put += len;
    s->packets_out++;
  }
  return rv;
}

/* An error says what it is in words too, where those are wanted and fit (sections 3.1.2.11.7 and 3.1.2.11.4). Few are sent,
 * so they go the long way. */
static bool put_refusal(roam_session *s, struct roam_lane *lane, uint8_t type, uint16_t packet_id, uint8_t reason) {
  uint8_t space[64];
  roam_props props = {.base = space, .cap = sizeof space};
  const char *text = roam_reason_text(reason);
  if (!s->o.reason_strings || s->version != ROAM_MQTT_5 || reason < 0x80 || !s->live.peer_wants_reasons || text == NULL ||
      roam_props_put_bytes(&props, ROAM_PROP_REASON_STRING, roam_bytes_make(text, strlen(text))) != 0) {
    return false;
  }
  roam_packet p = {.type = type,
                   .version = s->version,
                   .packet_id = packet_id,
                   .reason = reason,
                   .props = (roam_bytes){props.base, props.len}};
  return roam_session_put(s, lane, &p) == 0;
}

void roam_session_put_ack(roam_session *s, struct roam_lane *lane, uint8_t type, uint16_t packet_id, uint8_t reason) {
  if (s->live.link != ROAM_LINK_UP || put_refusal(s, lane, type, packet_id, reason)) {
    return;
  }
  size_t size = s->version == ROAM_MQTT_5 && reason != 0 ? 5 : 4;
  uint8_t *at = roam_gate_close(s, lane) ? roam_buf_reserve(&lane->live.out, size) : NULL;
  if (at == NULL) {
    roam_session_fail(s, lane->number, ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, "no memory for an acknowledgement");
    return;
  }
  at[0] = (uint8_t)(type << 4 | (type == ROAM_PUBREL ? 2 : 0));
  at[1] = (uint8_t)(size - 2);
  roam_put_u16(at + 2, packet_id);
  if (size == 5) {
    at[4] = reason;
  }
  roam_buf_commit(&lane->live.out, size);
  lane->live.put += size;
  s->packets_out++;
}

/* ---- what arrives ---- */

typedef void handler(roam_session *s, struct roam_lane *lane, const roam_packet *p);

void roam_session_dispatch(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  static handler *const handlers[16] = {
      [ROAM_CONNACK] = roam_session_on_connack,       [ROAM_PUBLISH] = roam_session_on_publish,
      [ROAM_PUBACK] = roam_session_on_puback,         [ROAM_PUBREC] = roam_session_on_pubrec,
      [ROAM_PUBREL] = roam_session_on_pubrel,         [ROAM_PUBCOMP] = roam_session_on_pubcomp,
      [ROAM_SUBSCRIBE] = roam_session_on_subscribe,   [ROAM_SUBACK] = roam_session_on_suback,
      [ROAM_UNSUBSCRIBE] = roam_session_on_subscribe, [ROAM_UNSUBACK] = roam_session_on_suback,
      [ROAM_PINGREQ] = roam_session_on_pingreq,       [ROAM_PINGRESP] = roam_session_on_pingresp,
      [ROAM_DISCONNECT] = roam_session_on_disconnect, [ROAM_AUTH] = roam_session_on_auth,
  };
  bool connecting = s->live.link == ROAM_LINK_CONNECTING;
  bool control_only = p->type == ROAM_CONNACK || p->type == ROAM_DISCONNECT || p->type == ROAM_AUTH;
  if (connecting ? p->type != ROAM_CONNACK && p->type != ROAM_AUTH : p->type == ROAM_CONNACK) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
                      connecting ? "the server's first packet is not CONNACK" : "a second CONNACK");
  } else if (control_only && lane->number != 0) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
                      "a packet that belongs on the control lane");
  } else if (lane->kept.rules != 0 && roam_lane_objection(lane, p) != NULL) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, roam_lane_objection(lane, p));
  } else {
    handlers[p->type](s, lane, p);
  }
}

/* Whoever does not take what we say, or does not hear what we tell, gets no more attention until that changes. In 3.1.1
 * there is no Receive Maximum to hold a peer to, so we stop reading instead. */
bool roam_session_clogged(const roam_session *s, const struct roam_lane *lane) {
  return roam_ring_count(&s->events) >= s->o.events_max || roam_buf_len(&lane->live.out) > ROAM_OUT_MAX ||
         roam_ring_count(&s->parting_events) > s->o.events_max ||
         (s->version < ROAM_MQTT_5 && roam_ring_count(&lane->live.unacked) >= s->o.receive_maximum);
}

void roam_session_feed(roam_session *s, roam_time now, uint32_t lane, roam_bytes bytes, size_t *used) {
  roam_session_enter(s, now);
  *used = 0;
  struct roam_lane *l = s->live.link != ROAM_LINK_NONE ? roam_session_lane(s, lane) : NULL;
  if (l == NULL) {
    roam_session_fail(s, lane, ROAM_E_LIMIT, ROAM_REASON_QUOTA_EXCEEDED, "too many lanes, or no memory for one");
    *used = bytes.len;
    return;
  }
  while (*used < bytes.len) {
    if (s->live.link == ROAM_LINK_OVER || l->live.over) {
      *used = bytes.len;
      return;
    }
    roam_packet p;
    roam_fault fault;
    size_t n = 0;
    if (roam_session_clogged(s, l)) {
      return;
    }
    roam_bytes rest = {bytes.base + *used, bytes.len - *used};
    roam_rc rv =
        roam_packet_take(rest, s->version, s->o.maximum_packet_size, s->o.role == ROAM_ROLE_CLIENT, &p, &n, &fault);
    if (rv != 0) {
      roam_session_fail(s, lane, fault.rc, fault.reason, fault.text);
    } else if (n == 0) {
      return;
    } else {
      *used += n;
      s->live.last_in = s->now;
      s->packets_in++;
      roam_session_dispatch(s, l, &p);
    }
  }
}

/* ---- time and state ---- */

void roam_session_tick(roam_session *s, roam_time now) {
  roam_session_enter(s, now);
  roam_keepalive_tick(s);
}

roam_time roam_session_deadline(const roam_session *s) { return roam_keepalive_deadline(s); }

bool roam_session_attached(const roam_session *s) { return s->live.link != ROAM_LINK_NONE; }

size_t roam_session_weigh(const roam_session *s, size_t *inflight_bytes) {
  *inflight_bytes = 0;
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    *inflight_bytes += s->lanes[i]->kept.inflight.bytes;
  }
  return s->queued_bytes;
}

roam_session_info roam_session_get_info(const roam_session *s) {
  roam_session_info info = {
      .queued = s->queued,
      .queued_bytes = s->queued_bytes,
      .awaiting_rel = s->awaiting_rel,
      .dropped = s->dropped,
      .packets_in = s->packets_in,
      .packets_out = s->packets_out,
      .messages_in = s->messages_in,
      .messages_out = s->messages_out,
      .keep_alive_s = s->live.keep_alive_s,
      .version = s->version,
      .peer_maximum_packet_size = s->live.peer_packet_max,
      .inflight_max = s->o.send_window_max,
      .events = (uint32_t)roam_ring_count(&s->events),
      .drained = s->queued == 0 && s->live.goodbye == ROAM_GOODBYE_NONE,
  };
  if (s->live.link == ROAM_LINK_UP && s->live.peer_receive_max < info.inflight_max) {
    info.inflight_max = s->live.peer_receive_max;
  }
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    const struct roam_lane *lane = s->lanes[i];
    const struct roam_partial *p = &lane->live.partial;
    info.inflight_bytes += lane->kept.inflight.bytes;
    info.inflight += lane->kept.inflight.count - lane->kept.inflight.subscribes;
    bool sent = roam_buf_len(&lane->live.out) == lane->live.taken && p->head_at == p->head_len && p->body_at == p->body_len;
    info.drained = info.drained && sent && lane->kept.inflight.count == 0 && roam_ring_count(&lane->live.unacked) == 0;
  }
  return info;
}
