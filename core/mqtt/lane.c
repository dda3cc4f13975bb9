/* lane.c - the lanes of a session other than the control lane: how one fails alone, how one ends, and what becomes of what
 * was in flight on it; and datagrams, which are packets on no lane at all.
 *
 * A lane's fault concerns the lane: nothing more is read or sent there, the owner is told, everything else goes on. It
 * refuses to know streams: whether another one follows is for the owner to say. */
#include "base/assert.h"
#include "mqtt/session.h"

#include <string.h>

void roam_lane_fail(roam_session *s, struct roam_lane *lane, uint32_t number, roam_rc rc, uint8_t reason,
                    const char *text) {
  if (lane != NULL && lane->live.over) {
    return;
  }
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_LANE_FAULT, number);
  t->rc = rc;
  t->reason = reason;
  t->text = text;
  if (lane != NULL) {
    lane->live.over = true;
  }
}

/* ---- ends ---- */

static void take_out(roam_session *s, struct roam_lane *lane) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    if (s->lanes[i] == lane) {
      s->lanes_len--;
      memmove(&s->lanes[i], &s->lanes[i + 1], (s->lanes_len - i) * sizeof s->lanes[0]);
      break;
    }
  }
  roam_lane_free(lane);
}

/* Requests are asked again, or not, by whoever asked. */
static void forget_requests(struct roam_lane *lane) {
  struct roam_inflight *f = &lane->kept.inflight;
  for (uint16_t id = f->first; id != 0;) {
    struct roam_exchange *x = roam_inflight_find(f, id);
    id = x->next;
    if (x->state == ROAM_EXCHANGE_SUBACK || x->state == ROAM_EXCHANGE_UNSUBACK) {
      roam_outgoing_reset(&x->message);
      roam_inflight_remove(f, x);
      f->subscribes--;
    }
  }
}

static void empty(roam_session *s, struct roam_lane *lane) {
  forget_requests(lane);
  roam_session_forget(s, lane);
}

static void drop(roam_session *s, struct roam_lane *lane) {
  empty(s, lane);
  roam_lane_forget_aliases(s, lane);
  take_out(s, lane);
}

/* Requests keep their exchange, and are sent again with the next stream. */
static void begin_again(roam_session *s, struct roam_lane *lane) {
  roam_map64_reset(&lane->kept.received);
  s->awaiting_rel -= lane->kept.awaiting_rel;
  lane->kept.awaiting_rel = 0;
  roam_lane_forget_aliases(s, lane);
  roam_lane_lose_exchanges(s, lane, true);
}

/* Both counts of what is queued are over all lanes and stay as they are. */
static void merge(roam_session *s, struct roam_lane *lane) {
  struct roam_lane *control = roam_session_lane(s, 0);
  struct roam_outgoing *first;
  begin_again(s, lane);
  while (control != NULL && (first = roam_ring_peek(&lane->kept.queue)) != NULL) {
    if (roam_ring_push(&control->kept.queue, first) != 0) {
      break; /* no memory: the rest is dropped, and told */
    }
    roam_ring_pop(&lane->kept.queue, NULL);
  }
  drop(s, lane);
}

void roam_session_lane_end(roam_session *s, roam_time now, uint32_t lane, roam_lane_end how) {
  roam_session_enter(s, now);
  struct roam_lane *l = lane != 0 ? roam_session_find_lane(s, lane) : NULL;
  if (l == NULL) {
    return;
  }
  roam_lane_part_aliases(s, l);
  roam_lane_live_reset(l);
  switch (how) {
    case ROAM_LANE_DROP: drop(s, l); return;
    case ROAM_LANE_MERGE: merge(s, l); return;
    case ROAM_LANE_AGAIN: begin_again(s, l); break;
    case ROAM_LANE_EMPTY: empty(s, l); break;
    case ROAM_LANE_RESUME: break;
  }
  if (s->live.link == ROAM_LINK_UP) {
    l->live.cursor = l->kept.inflight.first;
  }
}

roam_rc roam_session_lane_single(roam_session *s, roam_time now, uint32_t lane, bool single) {
  roam_session_enter(s, now);
  struct roam_lane *l = roam_session_lane(s, lane);
  if (l == NULL) {
    return s->lanes_len >= ROAM_LANES_MAX ? ROAM_E_LIMIT : ROAM_E_MEMORY;
  }
  l->kept.single = single;
  return 0;
}

roam_rc roam_session_lane_rules(roam_session *s, roam_time now, uint32_t lane, unsigned rules) {
  roam_session_enter(s, now);
  struct roam_lane *l = roam_session_lane(s, lane);
  if (l == NULL) {
    return s->lanes_len >= ROAM_LANES_MAX ? ROAM_E_LIMIT : ROAM_E_MEMORY;
  }
  if ((l->kept.rules & ROAM_LANE_ALIASES) != 0 && (rules & ROAM_LANE_ALIASES) == 0) {
    roam_lane_forget_aliases(s, l);
  }
  l->kept.rules = (uint8_t)rules;
  return 0;
}

const char *roam_lane_objection(const struct roam_lane *lane, const roam_packet *p) {
  bool subscribing = p->type >= ROAM_SUBSCRIBE && p->type <= ROAM_UNSUBACK;
  if ((lane->kept.rules & ROAM_LANE_OF_ASSIGNED) != 0 && subscribing) {
    return "nobody subscribes on a server's flow";
  }
  if ((lane->kept.rules & ROAM_LANE_INWARD) != 0 && (p->type != ROAM_PUBLISH || p->qos > 0)) {
    return "a packet on a one-way stream that wants an answer, or is one";
  }
  return NULL;
}

void roam_session_set_flows(roam_session *s, bool flows) { s->flows = flows; }

roam_session_lane_info roam_session_get_lane(const roam_session *s, uint32_t lane) {
  const struct roam_lane *l = roam_session_find_lane(s, lane);
  if (l == NULL) {
    return (roam_session_lane_info){.exists = false};
  }
  const struct roam_partial *p = &l->live.partial;
  bool part = p->head_at < p->head_len || p->body_at < p->body_len;
  return (roam_session_lane_info){
      .exists = true,
      .over = l->live.over,
      .begun = l->live.begun,
      .unsent = part || roam_buf_len(&l->live.out) > l->live.taken || l->live.cursor != 0,
      .inflight = l->kept.inflight.count,
      .unacked = (uint32_t)roam_ring_count(&l->live.unacked),
      .queued = (uint32_t)roam_ring_count(&l->kept.queue),
  };
}

/* ---- datagrams ---- */

static bool travels_in_datagram(const roam_packet *p, bool plain) {
  roam_prop alias;
  if (p->type == ROAM_PUBLISH) {
    bool aliased = p->version == ROAM_MQTT_5 && roam_prop_find(p->props, ROAM_PROP_TOPIC_ALIAS, &alias) == 1;
    return !aliased && (p->qos == 0 || !plain);
  }
  return !plain && p->type >= ROAM_PUBACK && p->type <= ROAM_UNSUBACK;
}

roam_rc roam_session_feed_datagram(roam_session *s, roam_time now, roam_bytes datagram, bool plain) {
  roam_session_enter(s, now);
  struct roam_lane *lane = s->live.link == ROAM_LINK_UP ? roam_session_lane(s, 0) : NULL;
  if (lane == NULL) {
    return ROAM_E_STATE;
  }
  if (roam_session_clogged(s, lane)) {
    return ROAM_E_BLOCKED;
  }
  if (datagram.len == 0 || datagram.base[0] == 0) {
    return ROAM_E_UNSUPPORTED; /* empty, or by its first byte no MQTT */
  }
  roam_packet p;
  roam_fault fault;
  size_t used = 0;
  roam_rc rv =
      roam_packet_read(datagram, s->version, s->o.maximum_packet_size, s->o.role == ROAM_ROLE_CLIENT, &p, &used, &fault);
  if (rv != 0 || used != datagram.len) {
    return ROAM_E_MALFORMED;
  }
  if (!travels_in_datagram(&p, plain)) {
    return ROAM_E_PROTOCOL;
  }
  s->live.last_in = s->now;
  s->packets_in++;
  roam_session_dispatch(s, lane, &p);
  return 0;
}

roam_rc roam_session_write_datagram(roam_session *s, roam_time now, const roam_message *message,
                                    const roam_publish_how *how, uint8_t *out, size_t cap, size_t *len) {
  roam_session_enter(s, now);
  if (s->live.link != ROAM_LINK_UP) {
    return ROAM_E_STATE;
  }
  if (cap > s->live.peer_packet_max) {
    cap = s->live.peer_packet_max;
  }
  uint8_t props[512];
  roam_bytes all = message->props;
  if (how->sub_ids.len > 0) {
    if (how->sub_ids.len + message->props.len > sizeof props) {
      return ROAM_E_TOO_LARGE;
    }
    memcpy(props, how->sub_ids.base, how->sub_ids.len);
    if (message->props.len > 0) {
      memcpy(props + how->sub_ids.len, message->props.base, message->props.len);
    }
    all = (roam_bytes){props, how->sub_ids.len + message->props.len};
  }
  roam_packet p = {.type = ROAM_PUBLISH,
                   .version = s->version,
                   .retain = how->retain,
                   .topic = message->topic,
                   .payload = message->payload,
                   .props = s->version == ROAM_MQTT_5 ? all : (roam_bytes){0}};
  roam_rc rv = roam_packet_write(&p, out, cap, len);
  if (rv != 0) {
    return rv == ROAM_E_LIMIT ? ROAM_E_TOO_LARGE : rv;
  }
  s->live.last_out = s->now;
  s->packets_out++;
  s->messages_out++;
  return 0;
}
