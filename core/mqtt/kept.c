/* kept.c - for owners who write down what a session keeps: the gate that holds answers back until what they say is true,
 * the tidings of what changed, and giving it all back to a new session.
 *
 * The gate. Answers lie in one buffer per lane, in order. Where one waits for an epoch that is not committed, a mark is set
 * at its first byte; drain stops there. Epochs only grow, so what stands behind a mark waits for at least as much. An owner
 * who never calls roam_session_hold has no marks, and pays one comparison for each answer. */
#include "mqtt/session.h"

/* ---- the gate ---- */

void roam_session_hold(roam_session *s, uint64_t epoch) { s->hold = epoch; }

void roam_session_regate(roam_session *s) {
  s->hold = s->committed = 0;
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    struct roam_inflight *f = &s->lanes[i]->kept.inflight;
    for (struct roam_exchange *x = roam_inflight_find(f, f->first); x != NULL; x = roam_inflight_find(f, x->next)) {
      x->epoch = 0;
    }
  }
}

bool roam_gate_close(roam_session *s, struct roam_lane *lane) {
  if (s->hold <= s->committed) {
    return true;
  }
  size_t n = roam_ring_count(&lane->live.marks);
  const struct roam_mark *last = n > 0 ? roam_ring_at(&lane->live.marks, n - 1) : NULL;
  if (last != NULL && last->epoch >= s->hold) {
    return true;
  }
  return roam_ring_push(&lane->live.marks, &(struct roam_mark){lane->live.put, s->hold}) == 0;
}

static const struct roam_mark *first_mark(roam_session *s, struct roam_lane *lane) {
  struct roam_mark *first;
  while ((first = roam_ring_peek(&lane->live.marks)) != NULL && first->epoch <= s->committed) {
    roam_ring_pop(&lane->live.marks, NULL);
  }
  return first;
}

size_t roam_gate_open(roam_session *s, struct roam_lane *lane) {
  const struct roam_mark *first = first_mark(s, lane);
  size_t all = roam_buf_len(&lane->live.out);
  if (first == NULL) {
    return all;
  }
  size_t open = first->begin > lane->live.gone ? (size_t)(first->begin - lane->live.gone) : 0;
  return open < all ? open : all;
}

bool roam_gate_bars_opening(roam_session *s) {
  struct roam_lane *lane = s->lanes_len > 0 ? s->lanes[0] : NULL;
  if (lane == NULL || roam_ring_count(&lane->live.marks) == 0) {
    return false;
  }
  const struct roam_mark *first = first_mark(s, lane);
  return first != NULL && first->begin == 0 && lane->live.gone == 0;
}

void roam_session_release(roam_session *s, uint64_t committed) {
  if (committed > s->committed) {
    s->committed = committed;
  }
}

bool roam_session_held(const roam_session *s) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    const struct roam_lane *lane = s->lanes[i];
    const struct roam_mark *first = roam_ring_peek(&lane->live.marks);
    const struct roam_exchange *next = roam_inflight_find(&lane->kept.inflight, lane->live.cursor);
    if ((first != NULL && first->epoch > s->committed) || (next != NULL && next->epoch > s->committed)) {
      return true;
    }
  }
  return false;
}

/* ---- what changed ---- */

void roam_session_journal(roam_session *s, bool on) { s->journal = on; }

void roam_session_tell_changed(roam_session *s, uint32_t lane, uint8_t type, uint64_t token, uint16_t packet_id) {
  const struct roam_lane *l = s->journal ? roam_session_find_lane(s, lane) : NULL;
  if (l == NULL || !roam_lane_is_journalled(s, l)) {
    return;
  }
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_CHANGED, lane);
  t->type = type;
  t->token = token;
  t->packet_id = packet_id;
}

/* ---- giving back ---- */

static roam_rc restore_queued(roam_session *s, struct roam_lane *lane, const roam_past *past) {
  struct roam_outgoing m;
  roam_rc rv = roam_outgoing_init(&m, past->message, &past->how, past->token);
  if (rv != 0) {
    return rv;
  }
  rv = roam_ring_push(&lane->kept.queue, &m);
  if (rv != 0) {
    roam_outgoing_reset(&m);
    return rv;
  }
  s->queued++;
  s->queued_bytes += roam_outgoing_bytes(&m);
  return 0;
}

static roam_rc restore_exchange(struct roam_lane *lane, const roam_past *past) {
  bool taken = past->packet_id == 0 || roam_inflight_find(&lane->kept.inflight, past->packet_id) != NULL;
  struct roam_exchange *x = taken ? NULL : roam_inflight_add_as(&lane->kept.inflight, past->packet_id);
  if (x == NULL) {
    return taken ? ROAM_E_ARGUMENT : ROAM_E_MEMORY;
  }
  x->sent = true;
  if (past->kind == ROAM_PAST_RELEASED) {
    x->state = ROAM_EXCHANGE_PUBCOMP;
    x->message = (struct roam_outgoing){.token = past->token, .qos = 2, .report = true};
    return 0;
  }
  x->state = ROAM_EXCHANGE_PUBREC;
  roam_rc rv = roam_outgoing_init(&x->message, past->message, &past->how, past->token);
  if (rv != 0) {
    roam_inflight_remove(&lane->kept.inflight, x);
  } else {
    roam_inflight_hold(&lane->kept.inflight, x);
  }
  return rv;
}

static roam_rc restore_received(roam_session *s, struct roam_lane *lane, uint16_t packet_id) {
  if (packet_id == 0 || roam_received_get(lane, packet_id) != 0) {
    return ROAM_E_ARGUMENT;
  }
  roam_rc rv = roam_received_put(lane, packet_id, s->epoch, ROAM_RECEIVED_ACKED);
  s->awaiting_rel += rv == 0 ? 1 : 0;
  return rv;
}

roam_rc roam_session_restore(roam_session *s, const roam_past *past) {
  struct roam_lane *lane = s->live.link == ROAM_LINK_NONE ? roam_session_lane(s, past->how.lane) : NULL;
  if (lane == NULL) {
    return s->live.link == ROAM_LINK_NONE ? ROAM_E_MEMORY : ROAM_E_STATE;
  }
  switch (past->kind) {
    case ROAM_PAST_QUEUED: return restore_queued(s, lane, past);
    case ROAM_PAST_SENT:
    case ROAM_PAST_RELEASED: return restore_exchange(lane, past);
    case ROAM_PAST_RECEIVED: return restore_received(s, lane, past->packet_id);
  }
  return ROAM_E_ARGUMENT;
}

/* ---- looking at it ---- */

static void show(const struct roam_outgoing *m, roam_past_kind kind, uint32_t lane, uint16_t packet_id,
                 roam_session_visit visit, void *context) {
  roam_message message = {.blob = m->blob,
                          .topic = {m->topic, m->topic_len},
                          .props = {m->props, m->props_len},
                          .payload = {m->payload, m->payload_len},
                          .expires = m->expires,
                          .qos = m->qos,
                          .retain = m->retain};
  roam_past past = {.kind = kind,
                    .packet_id = packet_id,
                    .token = m->token,
                    .message = kind == ROAM_PAST_RELEASED ? NULL : &message,
                    .how = {.qos = m->qos, .retain = m->retain, .sub_ids = roam_outgoing_sub_ids(m), .lane = lane}};
  visit(context, &past);
}

static void show_exchange(const struct roam_exchange *x, uint32_t lane, roam_session_visit visit, void *context) {
  switch (x->state) {
    case ROAM_EXCHANGE_PUBACK: show(&x->message, ROAM_PAST_QUEUED, lane, 0, visit, context); break;
    case ROAM_EXCHANGE_PUBREC: show(&x->message, ROAM_PAST_SENT, lane, x->packet_id, visit, context); break;
    case ROAM_EXCHANGE_PUBCOMP: show(&x->message, ROAM_PAST_RELEASED, lane, x->packet_id, visit, context); break;
    default: break;
  }
}

static void show_received(const struct roam_lane *lane, roam_session_visit visit, void *context) {
  size_t left = lane->kept.received.count;
  for (uint32_t id = 1; id <= UINT16_MAX && left > 0; id++) {
    uint32_t known = roam_received_get(lane, (uint16_t)id);
    left -= known != 0;
    if ((known & 3) == ROAM_RECEIVED_ACKED) {
      roam_past past = {.kind = ROAM_PAST_RECEIVED, .packet_id = (uint16_t)id, .how.lane = lane->number};
      visit(context, &past);
    }
  }
}

void roam_session_look(const roam_session *s, roam_session_visit visit, void *context) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    const struct roam_lane *lane = s->lanes[i];
    const struct roam_inflight *f = &lane->kept.inflight;
    for (struct roam_exchange *x = roam_inflight_find(f, f->first); x != NULL; x = roam_inflight_find(f, x->next)) {
      show_exchange(x, lane->number, visit, context);
    }
    for (size_t k = 0; k < roam_ring_count(&lane->kept.queue); k++) {
      show(roam_ring_at(&lane->kept.queue, k), ROAM_PAST_QUEUED, lane->number, 0, visit, context);
    }
    show_received(lane, visit, context);
  }
}
