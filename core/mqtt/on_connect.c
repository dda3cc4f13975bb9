/* on_connect.c - the beginning and the end of a connection under a session: CONNECT and CONNACK for both roles, what is
 * agreed in them, what becomes of the kept half when the peer still has the session and when it does not. */
#include "base/assert.h"
#include "mqtt/session.h"

#include <stdlib.h>
#include <string.h>

/* ---- live ---- */

void roam_lane_live_reset(struct roam_lane *lane) {
  struct roam_lane_live *live = &lane->live;
  roam_buf_reset(&live->out);
  free(live->partial.head);
  roam_blob_unref(live->partial.blob);
  roam_ring_reset(&live->unacked);
  roam_ring_reset(&live->marks);
  if (!roam_lane_keeps_aliases(lane)) {
    roam_aliases_reset(&live->alias_in);
  }
  roam_aliases_reset(
      &live->alias_out); /* ours can be said again at any time, and whether the peer heard them is not known */
  struct roam_buf out = live->out;
  struct roam_ring unacked = live->unacked, marks = live->marks;
  *live = (struct roam_lane_live){.out = out, .unacked = unacked, .marks = marks, .alias_in = live->alias_in};
  struct roam_inflight *f = &lane->kept.inflight;
  for (struct roam_exchange *x = roam_inflight_find(f, f->first); x != NULL; x = roam_inflight_find(f, x->next)) {
    x->counted = x->early = false;
  }
}

void roam_lane_part_aliases(roam_session *s, struct roam_lane *lane) {
  if (!roam_lane_keeps_aliases(lane)) {
    roam_lane_forget_aliases(s, lane);
  }
}

void roam_lane_forget_aliases(roam_session *s, struct roam_lane *lane) {
  struct roam_aliases *a = &lane->live.alias_in;
  for (uint16_t j = 0; j < a->count; j++) {
    if (a->topics[j] != NULL && roam_ring_push(&s->parting_events, &a->topics[j]) == 0) {
      a->topics[j] = NULL;
    }
  }
  roam_aliases_reset(a);
}

void roam_session_live_reset(roam_session *s) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    roam_lane_part_aliases(s, s->lanes[i]);
    roam_lane_live_reset(s->lanes[i]);
  }
  roam_blob_unref(s->live.farewell);
  s->live = (struct roam_session_live){
      .last_in = s->now,
      .last_out = s->now,
      .peer_packet_max = UINT32_MAX,
      .peer_receive_max = UINT16_MAX,
      .peer_qos_max = 2,
      .peer_retains = true,
      .peer_wants_reasons = true,
  };
}

/* What both sides say of themselves in CONNECT and CONNACK. */
static void take_limits(roam_session *s, roam_bytes props) {
  s->live.peer_receive_max = (uint16_t)roam_props_number(props, ROAM_PROP_RECEIVE_MAXIMUM, UINT16_MAX);
  s->live.peer_alias_max = (uint16_t)roam_props_number(props, ROAM_PROP_TOPIC_ALIAS_MAXIMUM, 0);
  s->live.peer_packet_max = roam_props_number(props, ROAM_PROP_MAXIMUM_PACKET_SIZE, UINT32_MAX);
}

/* Everything unanswered goes out again, in its order, before anything new. */
static void resume(roam_session *s) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    s->lanes[i]->live.cursor = s->lanes[i]->kept.inflight.first;
  }
}

static bool is_own_prop(int id) {
  return id == ROAM_PROP_RECEIVE_MAXIMUM || id == ROAM_PROP_TOPIC_ALIAS_MAXIMUM || id == ROAM_PROP_MAXIMUM_PACKET_SIZE;
}

#define OWN_PROPS_MAX 11 /* bytes of the three */

/* The owner's properties and ours; *out is malloc'ed. */
static roam_rc merge_props(const roam_session *s, roam_bytes props, roam_props *out) {
  *out = (roam_props){.base = malloc(props.len + OWN_PROPS_MAX), .cap = props.len + OWN_PROPS_MAX};
  if (out->base == NULL) {
    return ROAM_E_MEMORY;
  }
  for (;;) {
    const uint8_t *from = props.base;
    roam_prop prop;
    if (roam_prop_next(&props, &prop) != 1) {
      break;
    }
    if (!is_own_prop(prop.id)) {
      memcpy(out->base + out->len, from, (size_t)(props.base - from));
      out->len += (size_t)(props.base - from);
    }
  }
  roam_rc rv = props.len == 0 ? 0 : ROAM_E_ARGUMENT;
  if (rv == 0 && s->o.receive_maximum != UINT16_MAX) {
    rv = roam_props_put_number(out, ROAM_PROP_RECEIVE_MAXIMUM, s->o.receive_maximum);
  }
  if (rv == 0 && s->o.topic_alias_maximum != 0) {
    rv = roam_props_put_number(out, ROAM_PROP_TOPIC_ALIAS_MAXIMUM, s->o.topic_alias_maximum);
  }
  if (rv == 0) {
    rv = roam_props_put_number(out, ROAM_PROP_MAXIMUM_PACKET_SIZE, s->o.maximum_packet_size);
  }
  return rv;
}

/* Queues CONNECT or CONNACK with the session's own properties added. */
static roam_rc put_opening(roam_session *s, roam_packet *p) {
  roam_props props = {0};
  roam_rc rv = 0;
  if (s->version == ROAM_MQTT_5) {
    rv = merge_props(s, p->props, &props);
    p->props = (roam_bytes){props.base, props.len};
  }
  struct roam_lane *lane = roam_session_lane(s, 0);
  if (rv == 0) {
    rv = lane != NULL ? roam_session_put(s, lane, p) : ROAM_E_MEMORY;
  }
  free(props.base);
  return rv;
}

/* ---- client ---- */

roam_rc roam_session_connect(roam_session *s, roam_time now, const roam_packet *connect) {
  roam_session_enter(s, now);
  if (s->o.role != ROAM_ROLE_CLIENT || s->live.link != ROAM_LINK_NONE) {
    return ROAM_E_STATE;
  }
  roam_session_live_reset(s);
  roam_packet p = *connect;
  p.type = ROAM_CONNECT;
  p.version = s->version;
  roam_rc rv = put_opening(s, &p);
  if (rv != 0) {
    roam_session_live_reset(s);
    return rv;
  }
  s->epoch++;
  s->live.link = ROAM_LINK_CONNECTING;
  s->live.clean_start = connect->connect.clean_start;
  s->live.keep_alive_s = connect->connect.keep_alive_s;
  return 0;
}

void roam_session_early(roam_session *s) { s->live.early = s->live.link == ROAM_LINK_CONNECTING; }

/* The server has forgotten the session. What it may not have seen is published anew, ahead of what waits; what it has
 * answered with PUBREC it has; requests to subscribe are simply sent again. */
void roam_lane_lose_exchanges(roam_session *s, struct roam_lane *lane, bool unsettled) {
  struct roam_inflight *f = &lane->kept.inflight;
  size_t waiting = roam_ring_count(&lane->kept.queue);
  for (uint16_t id = f->first; id != 0;) {
    struct roam_exchange *x = roam_inflight_find(f, id);
    id = x->next;
    if (x->early) {
      continue; /* the session that has just begun has it */
    }
    if (x->state == ROAM_EXCHANGE_PUBCOMP) {
      roam_session_finish(s, lane, x, ROAM_REASON_SUCCESS);
    } else if (x->state == ROAM_EXCHANGE_PUBREC && x->sent && unsettled) {
      roam_session_tell_end(s, &x->message, lane->number, false, ROAM_REASON_UNSPECIFIED);
      roam_outgoing_reset(&x->message);
      roam_inflight_remove(f, x);
    } else if (x->state == ROAM_EXCHANGE_PUBACK || x->state == ROAM_EXCHANGE_PUBREC) {
      if (roam_ring_push(&lane->kept.queue, &x->message) == 0) {
        s->queued++;
        s->queued_bytes += roam_outgoing_bytes(&x->message);
      } else {
        roam_session_tell_end(s, &x->message, lane->number, false, ROAM_REASON_UNSPECIFIED);
        roam_outgoing_reset(&x->message);
      }
      roam_inflight_remove(f, x);
    }
  }
  for (size_t moved = roam_ring_count(&lane->kept.queue) - waiting; moved > 0 && waiting > 0; waiting--) {
    struct roam_outgoing m;
    roam_ring_pop(&lane->kept.queue, &m);
    roam_rc rv = roam_ring_push(&lane->kept.queue, &m);
    ROAM_ASSERT(rv == 0);
    (void)rv;
  }
}

static void lose_session(roam_session *s) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    roam_map64_reset(&s->lanes[i]->kept.received);
    s->lanes[i]->kept.awaiting_rel = 0;
    if (roam_lane_keeps_aliases(s->lanes[i])) {
      roam_lane_forget_aliases(s, s->lanes[i]);
    }
    roam_lane_lose_exchanges(s, s->lanes[i], false);
  }
  s->awaiting_rel = 0;
}

/* 3.1 has no session-present flag: there a session that was asked for is taken to be there. */
static bool is_present(const roam_session *s, const roam_packet *p) {
  return s->version == ROAM_MQTT_31 ? !s->live.clean_start : p->session_present;
}

void roam_session_on_connack(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  if (p->session_present && s->live.clean_start) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
                      "CONNACK has a session after a clean start");
    return;
  }
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_CONNACK, lane->number);
  t->type = p->type;
  t->reason = p->reason;
  t->session_present = p->session_present;
  t->props = p->props;
  if (p->reason != 0) {
    roam_session_end(s);
    return;
  }
  take_limits(s, p->props);
  s->live.peer_qos_max = (uint8_t)roam_props_number(p->props, ROAM_PROP_MAXIMUM_QOS, 2);
  s->live.peer_retains = roam_props_number(p->props, ROAM_PROP_RETAIN_AVAILABLE, 1) != 0;
  s->live.keep_alive_s = (uint16_t)roam_props_number(p->props, ROAM_PROP_SERVER_KEEP_ALIVE, s->live.keep_alive_s);
  s->live.link = ROAM_LINK_UP;
  if (!is_present(s, p)) {
    lose_session(s);
  }
  resume(s);
}

/* ---- server ---- */

roam_rc roam_session_accept(roam_session *s, roam_time now, const roam_packet *connect, const roam_packet *connack,
                            uint16_t keep_alive_s) {
  roam_session_enter(s, now);
  if (s->o.role != ROAM_ROLE_SERVER || s->live.link != ROAM_LINK_NONE) {
    return ROAM_E_STATE;
  }
  if (connack->reason != 0 || connect->type != ROAM_CONNECT) {
    return ROAM_E_ARGUMENT;
  }
  roam_session_live_reset(s);
  s->version = connect->version;
  roam_packet p = *connack;
  p.type = ROAM_CONNACK;
  p.version = s->version;
  p.session_present = connack->session_present && s->version != ROAM_MQTT_31;
  roam_rc rv = put_opening(s, &p);
  if (rv != 0) {
    roam_session_live_reset(s);
    return rv;
  }
  s->epoch++;
  s->live.link = ROAM_LINK_UP;
  s->live.keep_alive_s = keep_alive_s;
  take_limits(s, connect->props);
  s->live.peer_expires = roam_props_number(connect->props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 0) != 0;
  s->live.peer_wants_reasons = roam_props_number(connect->props, ROAM_PROP_REQUEST_PROBLEM_INFORMATION, 1) != 0;
  if (!connack->session_present) {
    roam_session_clear(s, now);
  }
  resume(s);
  return 0;
}

/* ---- both ---- */

void roam_session_detach(roam_session *s, roam_time now) {
  roam_session_enter(s, now);
  if (s->live.link == ROAM_LINK_NONE) {
    return;
  }
  roam_session_live_reset(s);
  for (uint32_t i = 0; i < s->lanes_len && !s->o.queue_qos0_offline; i++) {
    roam_queue_drop_qos0(s, s->lanes[i]);
  }
  roam_session_slim(s);
}

void roam_session_forget(roam_session *s, struct roam_lane *lane) {
  struct roam_inflight *f = &lane->kept.inflight;
  for (uint16_t id = f->first; id != 0;) {
    struct roam_exchange *x = roam_inflight_find(f, id);
    id = x->next;
    roam_session_tell_end(s, &x->message, lane->number, false, ROAM_REASON_UNSPECIFIED);
  }
  roam_inflight_reset(f);
  lane->live.cursor = 0;
  lane->live.send_open = 0;
  while (roam_ring_count(&lane->kept.queue) > 0) {
    roam_queue_drop_front(s, lane, ROAM_REASON_UNSPECIFIED);
  }
  roam_map64_reset(&lane->kept.received);
  s->awaiting_rel -= lane->kept.awaiting_rel;
  lane->kept.awaiting_rel = 0;
}

void roam_session_clear(roam_session *s, roam_time now) {
  roam_session_enter(s, now);
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    roam_session_forget(s, s->lanes[i]);
    if (roam_lane_keeps_aliases(s->lanes[i])) {
      roam_lane_forget_aliases(s, s->lanes[i]);
    }
  }
  s->awaiting_rel = 0;
}
