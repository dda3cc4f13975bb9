/* drain.c - what goes out on a lane, as slices. The order is: the rest of a packet already begun; answers; requests and
 * whatever must be sent again; the queue, as far as the window lets it; the farewell.
 *
 * Headers are written into one scratch buffer, small payloads right behind them, so that many small packets make one slice;
 * large payloads are slices of the message's own blob. The scratch buffer never moves while slices lie in it: when it is
 * full, the call ends and the next one goes on. Nothing is allocated for a packet, except when one is larger than the room
 * and has to be cut. */
#include "base/assert.h"
#include "mqtt/session.h"

#include <stdlib.h>
#include <string.h>

struct packer {
  struct roam_session *s;
  struct roam_lane *lane;
  roam_slice *out;
  size_t n, count, room;
  bool full; /* nothing more fits in this call */
};

/* What a PUBLISH will look like on this lane. */
struct plan {
  uint16_t alias;   /* 0: none */
  bool alias_known; /* the alias stands for the topic, which is left out */
  size_t props_len; /* all properties, without their length */
  uint32_t remaining;
  size_t head_len, total;
};

/* ---- slices ---- */

static bool extends_last(const struct packer *k, const uint8_t *base) {
  return k->count > 0 && k->out[k->count - 1].hold == NULL && k->out[k->count - 1].base + k->out[k->count - 1].len == base;
}

static void add_slice(struct packer *k, const uint8_t *base, size_t len, roam_blob *hold) {
  ROAM_ASSERT(len <= k->room);
  k->room -= len;
  if (hold == NULL && extends_last(k, base)) {
    k->out[k->count - 1].len += len;
    return;
  }
  ROAM_ASSERT(k->count < k->n);
  k->out[k->count++] = (roam_slice){base, len, hold};
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Goes on with the packet that did not fit whole. Its memory is given back in the next call. */
static void pack_partial(struct packer *k) {
  struct roam_partial *p = &k->lane->live.partial;
  size_t head = least(p->head_len - p->head_at, k->room);
  if (head > 0 && k->count < k->n) {
    add_slice(k, p->head + p->head_at, head, NULL);
    p->head_at += head;
  }
  size_t body = p->head_at == p->head_len ? least(p->body_len - p->body_at, k->room) : 0;
  if (body > 0 && k->count < k->n) {
    add_slice(k, p->body + p->body_at, body, p->blob);
    p->body_at += body;
  }
  k->full = k->full || p->head_at < p->head_len || p->body_at < p->body_len;
}

static bool begin_partial(struct packer *k, const uint8_t *head, size_t head_len, const uint8_t *body, size_t body_len,
                          roam_blob *blob) {
  struct roam_partial *p = &k->lane->live.partial;
  uint8_t *copy = malloc(head_len + 1); /* the farewell and requests have no head */
  if (copy == NULL) {
    return false;
  }
  if (head_len > 0) {
    memcpy(copy, head, head_len);
  }
  *p = (struct roam_partial){copy, head_len, 0, body, body_len, 0, roam_blob_ref(blob)};
  pack_partial(k);
  return true;
}

static bool fits(const struct packer *k, size_t total, size_t slices) {
  return total <= k->room && slices <= k->n - k->count;
}

/* May a packet begin: it fits, or it is the first of this call and may be cut. */
static bool may_begin(struct packer *k, size_t total, size_t slices) {
  if (!fits(k, total, slices) && k->count > 0) {
    k->full = true;
  }
  return !k->full;
}

static void starve(struct packer *k) {
  roam_session_fail(k->s, k->lane->number, ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, "no memory to send with");
  k->full = true;
}

/* A packet that lies whole in a blob. */
static bool pack_blob(struct packer *k, roam_blob *blob) {
  size_t len = roam_blob_len(blob);
  if (!may_begin(k, len, 1)) {
    return false;
  }
  if (fits(k, len, 1)) {
    add_slice(k, roam_blob_data(blob), len, blob);
  } else if (!begin_partial(k, NULL, 0, roam_blob_data(blob), len, blob)) {
    starve(k);
    return false;
  }
  k->s->packets_out++;
  return true;
}

/* len bytes of scratch; NULL: full for this call. It may move only while nothing lies in it. */
static uint8_t *reserve_scratch(struct packer *k, size_t len) {
  struct roam_session *s = k->s;
  if (s->scratch_len > 0) {
    if (s->scratch_cap - s->scratch_len >= len) {
      return s->scratch + s->scratch_len;
    }
    s->scratch_want = least(2 * s->scratch_cap, ROAM_SCRATCH_MAX);
    k->full = true;
    return NULL;
  }
  size_t want = s->scratch_want > ROAM_SCRATCH_MIN ? s->scratch_want : ROAM_SCRATCH_MIN;
  size_t cap = len > want ? len : want;
  if (s->scratch_cap < cap || s->scratch_cap > 2 * ROAM_SCRATCH_MAX) {
    free(s->scratch);
    s->scratch = malloc(cap);
    s->scratch_cap = s->scratch != NULL ? cap : 0;
    if (s->scratch == NULL) {
      starve(k);
      return NULL;
    }
  }
  return s->scratch;
}

/* ---- answers ---- */

static size_t measure_packet(const uint8_t *at, size_t len) {
  uint32_t remaining = 0;
  int used = roam_varint_read(at + 1, len - 1, &remaining);
  ROAM_ASSERT(used > 0);
  return 1 + (size_t)used + remaining;
}

/* How much of the answers goes out now: whole packets, or a piece of the first when nothing else has gone. */
static size_t cut_answers(struct packer *k, const uint8_t *at, size_t len) {
  struct roam_lane_live *live = &k->lane->live;
  if (len <= k->room) {
    live->split = 0;
    return len;
  }
  size_t whole = 0, next = live->split > 0 ? live->split : measure_packet(at, len);
  while (whole + next <= k->room) {
    whole += next;
    next = measure_packet(at + whole, len - whole);
  }
  k->full = true;
  if (whole > 0 || k->count > 0) {
    live->split = whole > 0 ? 0 : live->split;
    return whole;
  }
  live->split = next - k->room;
  return k->room;
}

static void pack_answers(struct packer *k) {
  struct roam_lane_live *live = &k->lane->live;
  roam_bytes view = roam_buf_view(&live->out);
  if (view.len > 0 && roam_ring_count(&live->marks) > 0) {
    view.len = roam_gate_open(k->s, k->lane);
  }
  if (view.len == 0 || k->full) {
    return;
  }
  if (k->count == k->n) {
    k->full = true;
    return;
  }
  size_t len = cut_answers(k, view.base, view.len);
  if (len > 0) {
    add_slice(k, view.base, len, NULL);
    live->taken = len;
  }
}

static void pack_pongs(struct packer *k) {
  while (k->lane->live.pongs > 0 && !k->full) {
    bool extends = k->s->scratch_len > 0 && extends_last(k, k->s->scratch + k->s->scratch_len);
    uint8_t *at = fits(k, 2, extends ? 0 : 1) ? reserve_scratch(k, 2) : NULL;
    if (at == NULL) {
      k->full = true;
      return;
    }
    at[0] = ROAM_PINGRESP << 4;
    at[1] = 0;
    k->s->scratch_len += 2;
    add_slice(k, at, 2, NULL);
    k->lane->live.pongs--;
    k->s->packets_out++;
  }
}

/* ---- PUBLISH ---- */

static struct plan plan_publish(const struct roam_session *s, struct roam_lane *lane, const struct roam_outgoing *m) {
  struct plan plan = {0};
  roam_bytes topic = {m->topic, m->topic_len};
  uint16_t alias_max =
      s->live.peer_alias_max < s->o.topic_alias_send_max ? s->live.peer_alias_max : s->o.topic_alias_send_max;
  if (alias_max > 0 && m->topic_len > 3 && !lane->kept.single) {
    plan.alias = roam_aliases_find(&lane->live.alias_out, topic);
    plan.alias_known = plan.alias != 0;
    if (!plan.alias_known) {
      plan.alias = roam_aliases_vacant(&lane->live.alias_out, alias_max);
    }
  }
  size_t len = 2u + (plan.alias_known ? 0u : m->topic_len) + (m->qos > 0 ? 2u : 0u);
  if (s->version == ROAM_MQTT_5) {
    plan.props_len = (size_t)m->props_len + m->sub_ids_len + (plan.alias != 0 ? 3u : 0u);
    if (plan.props_len > ROAM_REMAINING_MAX) {
      plan.total = SIZE_MAX;
      return plan;
    }
    len += roam_varint_size((uint32_t)plan.props_len) + plan.props_len;
  }
  if (len + m->payload_len > ROAM_REMAINING_MAX) {
    plan.total = SIZE_MAX;
    return plan;
  }
  plan.remaining = (uint32_t)(len + m->payload_len);
  plan.head_len = 1 + roam_varint_size(plan.remaining) + len;
  plan.total = plan.head_len + m->payload_len;
  return plan;
}

static uint8_t *put_bytes(uint8_t *at, const uint8_t *from, size_t len) {
  if (len > 0) {
    memcpy(at, from, len);
  }
  return at + len;
}

/* The interval sent on is what is left of it (section 3.3.2.3.3), rounded up; what was begun in time is not taken back. */
static void patch_expiry(const struct roam_session *s, const struct roam_outgoing *m, uint8_t *props) {
  roam_bytes rest = {props, m->props_len};
  roam_prop prop;
  while (m->expires != ROAM_NEVER && roam_prop_next(&rest, &prop) == 1) {
    if (prop.id == ROAM_PROP_MESSAGE_EXPIRY_INTERVAL) {
      roam_time left = m->expires > s->now ? m->expires - s->now : 1;
      roam_put_u32(props + (rest.base - props) - 4, (uint32_t)((left + ROAM_S - 1) / ROAM_S));
      return;
    }
  }
}

static uint8_t *write_props(const struct roam_session *s, const struct plan *plan, const struct roam_outgoing *m,
                            uint8_t *at) {
  at += roam_varint_write(at, (uint32_t)plan->props_len);
  if (plan->alias != 0) {
    *at = ROAM_PROP_TOPIC_ALIAS;
    roam_put_u16(at + 1, plan->alias);
    at += 3;
  }
  roam_bytes sub_ids = roam_outgoing_sub_ids(m);
  at = put_bytes(at, sub_ids.base, sub_ids.len);
  uint8_t *props = at;
  at = put_bytes(at, m->props, m->props_len);
  patch_expiry(s, m, props);
  return at;
}

static void write_head(const struct roam_session *s, const struct plan *plan, const struct roam_outgoing *m,
                       uint16_t packet_id, bool dup, uint8_t *at) {
  *at++ = (uint8_t)(ROAM_PUBLISH << 4 | dup << 3 | m->qos << 1 | m->retain);
  at += roam_varint_write(at, plan->remaining);
  size_t topic_len = plan->alias_known ? 0 : m->topic_len;
  roam_put_u16(at, (uint16_t)topic_len);
  at = put_bytes(at + 2, m->topic, topic_len);
  if (m->qos > 0) {
    roam_put_u16(at, packet_id);
    at += 2;
  }
  if (s->version == ROAM_MQTT_5) {
    write_props(s, plan, m, at);
  }
}

/* Without memory to remember it, the alias is simply not used again. */
static void learn_alias(struct packer *k, const struct plan *plan, const struct roam_outgoing *m) {
  if (plan->alias != 0 && !plan->alias_known) {
    roam_blob *old;
    roam_aliases_set(&k->lane->live.alias_out, plan->alias, plan->alias, (roam_bytes){m->topic, m->topic_len}, &old);
    roam_blob_unref(old);
  }
}

/* Keeps a message's blob until the next call, when its slices have been taken. */
static bool keep_for_slices(struct packer *k, roam_blob *blob) {
  if (roam_ring_push(&k->s->parting_slices, &blob) != 0) {
    return false;
  }
  roam_blob_ref(blob);
  return true;
}

/* Is there room, in every sense, for this packet? NULL when not, else where its head goes. */
static uint8_t *prepare_publish(struct packer *k, const struct plan *plan, const struct roam_outgoing *m) {
  bool copy = m->payload_len <= ROAM_COPY_MAX;
  size_t in_scratch = plan->head_len + (copy ? m->payload_len : 0);
  const struct roam_session *s = k->s;
  bool extends = s->scratch_len > 0 && extends_last(k, s->scratch + s->scratch_len);
  if (!may_begin(k, plan->total, (extends ? 0u : 1u) + (copy ? 0u : 1u))) {
    return NULL;
  }
  return reserve_scratch(k, in_scratch);
}

static void hand_out_publish(struct packer *k, const struct plan *plan, const struct roam_outgoing *m, uint16_t packet_id,
                             bool dup, uint8_t *head) {
  bool copy = m->payload_len <= ROAM_COPY_MAX;
  size_t head_len = plan->head_len;
  write_head(k->s, plan, m, packet_id, dup, head);
  if (copy) {
    put_bytes(head + head_len, m->payload, m->payload_len);
    head_len += m->payload_len;
  }
  size_t body_len = copy ? 0 : m->payload_len;
  bool extends = extends_last(k, head);
  if (fits(k, plan->total, (extends ? 0u : 1u) + (copy ? 0u : 1u))) {
    k->s->scratch_len += head_len;
    add_slice(k, head, head_len, NULL);
    if (body_len > 0) {
      add_slice(k, m->payload, body_len, m->blob);
    }
  } else if (!begin_partial(k, head, head_len, copy ? NULL : m->payload, body_len, copy ? NULL : m->blob)) {
    starve(k);
    return;
  }
  learn_alias(k, plan, m);
  k->lane->live.begun = k->lane->kept.single;
  k->s->packets_out++;
  k->s->messages_out++;
}

/* ---- exchanges to be sent (again) ---- */

static uint32_t window_of(const struct roam_session *s) {
  uint32_t window = least(s->o.send_window_max, ROAM_WINDOW_MAX);
  return (uint32_t)least(window, s->live.peer_receive_max);
}

static void count_exchange(struct roam_lane *lane, struct roam_exchange *x) {
  x->sent = true;
  if (!x->counted) {
    x->counted = true;
    lane->live.send_open++;
  }
}

static bool pack_again(struct packer *k, struct roam_exchange *x) {
  struct roam_session *s = k->s;
  if (k->lane->live.send_open >= window_of(s)) {
    return false;
  }
  struct plan plan = plan_publish(s, k->lane, &x->message);
  if (plan.total > s->live.peer_packet_max) {
    roam_session_tell_end(s, &x->message, k->lane->number, false, ROAM_REASON_PACKET_TOO_LARGE);
    roam_outgoing_reset(&x->message);
    k->lane->live.cursor = x->next;
    roam_inflight_remove(&k->lane->kept.inflight, x);
    return true;
  }
  uint8_t *head = prepare_publish(k, &plan, &x->message);
  if (head == NULL) {
    return false;
  }
  hand_out_publish(k, &plan, &x->message, x->packet_id, x->sent, head);
  count_exchange(k->lane, x);
  k->lane->live.cursor = x->next;
  return true;
}

static bool pack_pubrel(struct packer *k, struct roam_exchange *x) {
  bool extends = k->s->scratch_len > 0 && extends_last(k, k->s->scratch + k->s->scratch_len);
  if (!may_begin(k, 4, extends ? 0 : 1)) {
    return false;
  }
  uint8_t *at = reserve_scratch(k, 4);
  if (at == NULL) {
    return false;
  }
  at[0] = ROAM_PUBREL << 4 | 2;
  at[1] = 2;
  roam_put_u16(at + 2, x->packet_id);
  if (fits(k, 4, extends ? 0 : 1)) {
    k->s->scratch_len += 4;
    add_slice(k, at, 4, NULL);
  } else if (!begin_partial(k, at, 4, NULL, 0, NULL)) {
    starve(k);
    return false;
  }
  k->lane->live.cursor = x->next;
  k->s->packets_out++;
  return true;
}

static void pack_exchanges(struct packer *k) {
  struct roam_inflight *f = &k->lane->kept.inflight;
  bool more = true;
  while (more && !k->full && k->lane->live.cursor != 0) {
    struct roam_exchange *x = roam_inflight_find(f, k->lane->live.cursor);
    ROAM_ASSERT(x != NULL);
    if (x->early) {
      k->lane->live.cursor = x->next;
      continue;
    }
    if (x->epoch > k->s->committed) {
      return;
    }
    switch (x->state) {
      case ROAM_EXCHANGE_PUBACK:
      case ROAM_EXCHANGE_PUBREC: more = pack_again(k, x); break;
      case ROAM_EXCHANGE_PUBCOMP: more = pack_pubrel(k, x); break;
      default:
        more = pack_blob(k, x->message.blob);
        if (more) {
          x->sent = true;
          k->lane->live.cursor = x->next;
        }
        break;
    }
  }
}

/* ---- the queue ---- */

/* Why the message at the front cannot be sent on this connection; 0: it can. */
static uint8_t find_objection(const struct roam_session *s, const struct roam_outgoing *m, const struct plan *plan) {
  if (m->expires <= s->now) {
    return ROAM_REASON_IMPLEMENTATION_SPECIFIC;
  }
  if (m->qos > s->live.peer_qos_max) {
    return ROAM_REASON_QOS_NOT_SUPPORTED;
  }
  if (m->retain && !s->live.peer_retains) {
    return ROAM_REASON_RETAIN_NOT_SUPPORTED;
  }
  return plan->total > s->live.peer_packet_max ? ROAM_REASON_PACKET_TOO_LARGE : 0;
}

static void send_qos0(struct packer *k, const struct plan *plan, uint8_t *head) {
  struct roam_outgoing m;
  roam_queue_pop(k->s, k->lane, &m);
  if (m.payload_len > ROAM_COPY_MAX && !keep_for_slices(k, m.blob)) {
    starve(k);
  } else {
    hand_out_publish(k, plan, &m, 0, false, head);
    if (m.report) {
      roam_session_tell_end(k->s, &m, k->lane->number, true, ROAM_REASON_SUCCESS);
    }
  }
  roam_outgoing_reset(&m);
}

static void send_exchange(struct packer *k, const struct plan *plan, uint8_t *head) {
  struct roam_exchange *x = roam_inflight_add(&k->lane->kept.inflight);
  if (x == NULL) {
    starve(k);
    return;
  }
  roam_queue_pop(k->s, k->lane, &x->message);
  roam_inflight_hold(&k->lane->kept.inflight, x);
  x->state = x->message.qos == 1 ? ROAM_EXCHANGE_PUBACK : ROAM_EXCHANGE_PUBREC;
  hand_out_publish(k, plan, &x->message, x->packet_id, false, head);
  count_exchange(k->lane, x);
}

/* With a journal a QoS 2 message gets its identifier now and goes when that is written down; what is behind it follows. */
static bool waits_for_epoch(const struct roam_session *s, const struct roam_lane *lane, const struct roam_outgoing *m) {
  return roam_lane_is_journalled(s, lane) && m->qos > 0 && (m->qos == 2 || lane->live.cursor != 0);
}

static bool begin_exchange(struct packer *k) {
  struct roam_session *s = k->s;
  struct roam_exchange *x = roam_inflight_add(&k->lane->kept.inflight);
  if (x == NULL) {
    starve(k);
    return false;
  }
  roam_queue_pop(s, k->lane, &x->message);
  roam_inflight_hold(&k->lane->kept.inflight, x);
  x->state = x->message.qos == 1 ? ROAM_EXCHANGE_PUBACK : ROAM_EXCHANGE_PUBREC;
  if (x->message.qos == 2) {
    x->epoch = s->hold;
    roam_session_tell_changed(s, k->lane->number, ROAM_PUBLISH, x->message.token, x->packet_id);
  }
  if (k->lane->live.cursor == 0) {
    k->lane->live.cursor = x->packet_id;
  }
  return true;
}

static void pack_queue(struct packer *k) {
  struct roam_session *s = k->s;
  struct roam_inflight *f = &k->lane->kept.inflight;
  struct roam_outgoing *m;
  while (!k->full && !k->lane->live.begun && (m = roam_ring_peek(&k->lane->kept.queue)) != NULL) {
    bool ahead = waits_for_epoch(s, k->lane, m);
    if (k->lane->live.cursor != 0 && !ahead) {
      return;
    }
    struct plan plan = plan_publish(s, k->lane, m);
    uint8_t objection = find_objection(s, m, &plan);
    if (objection != 0) {
      roam_queue_drop_front(s, k->lane, objection);
      continue;
    }
    bool closed = k->lane->live.send_open >= window_of(s) || f->count - f->subscribes >= s->o.send_window_max;
    closed |= f->bytes > 0 && f->bytes + roam_outgoing_bytes(m) > s->o.inflight_bytes_max;
    if (m->qos > 0 && (closed || (ahead && f->count - f->subscribes >= window_of(s)))) {
      return;
    }
    if (ahead) {
      if (!begin_exchange(k)) {
        return;
      }
      continue;
    }
    uint8_t *head = prepare_publish(k, &plan, m);
    if (head == NULL) {
      return;
    }
    if (m->qos == 0) {
      send_qos0(k, &plan, head);
    } else {
      send_exchange(k, &plan, head);
    }
  }
}

/* ---- before CONNACK ---- */

/* Requests made since the last connection; older ones wait for CONNACK, like all that is sent again. */
static bool pack_early_requests(struct packer *k, uint32_t *publishes) {
  struct roam_inflight *f = &k->lane->kept.inflight;
  for (struct roam_exchange *x = roam_inflight_find(f, f->first); x != NULL; x = roam_inflight_find(f, x->next)) {
    bool request = x->state == ROAM_EXCHANGE_SUBACK || x->state == ROAM_EXCHANGE_UNSUBACK;
    *publishes += !request && !x->early;
    if (x->state != ROAM_EXCHANGE_SUBACK || x->sent) {
      continue;
    }
    if (!pack_blob(k, x->message.blob)) {
      return false;
    }
    x->sent = x->early = true;
  }
  return true;
}

/* Nothing overtakes anything: with messages to be sent again, or behind one that is not safe, the rest waits. */
static void pack_early(struct packer *k) {
  struct roam_session *s = k->s;
  struct roam_inflight *f = &k->lane->kept.inflight;
  struct roam_outgoing *m;
  uint32_t again = 0;
  if (!pack_early_requests(k, &again) || again > 0) {
    return;
  }
  while (!k->full && s->live.early_sent < ROAM_EARLY_MAX && (m = roam_ring_peek(&k->lane->kept.queue)) != NULL && m->safe &&
         m->expires > s->now) {
    struct plan plan = plan_publish(s, k->lane, m);
    uint8_t *head = plan.total <= s->live.peer_packet_max ? prepare_publish(k, &plan, m) : NULL;
    if (head == NULL) {
      return;
    }
    s->live.early_sent++;
    if (m->qos == 0) {
      send_qos0(k, &plan, head);
      continue;
    }
    uint16_t last = f->last;
    send_exchange(k, &plan, head);
    if (f->last != last) {
      roam_inflight_find(f, f->last)->early = true;
    }
  }
}

/* ---- the whole ---- */

static void pack_farewell(struct packer *k) {
  struct roam_session_live *live = &k->s->live;
  if (live->goodbye == ROAM_GOODBYE_NONE || k->full || k->lane->number != 0) {
    return;
  }
  if (roam_gate_bars_opening(k->s)) { /* nothing may come before CONNACK */
    roam_blob_unref(live->farewell);
    live->farewell = NULL;
  }
  if (live->farewell != NULL && !pack_blob(k, live->farewell)) {
    return;
  }
  live->goodbye = ROAM_GOODBYE_NONE;
  roam_session_end(k->s);
}

size_t roam_session_drain(roam_session *s, roam_time now, uint32_t lane, size_t room, roam_slice out[], size_t n) {
  roam_session_enter(s, now);
  struct packer k = {.s = s, .lane = roam_session_find_lane(s, lane), .out = out, .n = n, .room = room};
  if (k.lane == NULL || k.lane->live.over || s->live.link == ROAM_LINK_NONE || n == 0 || room == 0) {
    return 0;
  }
  pack_partial(&k);
  pack_answers(&k);
  if (s->live.link == ROAM_LINK_UP && !k.full && !roam_gate_bars_opening(s)) {
    pack_pongs(&k);
    pack_exchanges(&k);
    pack_queue(&k);
    if (s->journal) {
      pack_exchanges(&k); /* what got its identifier in an epoch that is there already */
    }
    roam_queue_check_writable(s);
  }
  if (s->live.link == ROAM_LINK_CONNECTING && s->live.early && lane == 0 && !k.full) {
    pack_early(&k);
  }
  pack_farewell(&k);
  if (k.count > 0) {
    s->live.last_out = s->now;
  }
  return k.count;
}
