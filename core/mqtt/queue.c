/* queue.c - messages that wait for a connection or for the window: one FIFO for each lane, bounded over all lanes in
 * messages and in bytes. One FIFO for all qualities, so that nothing overtakes anything. What happens at the bound is the
 * owner's choice and is never silent. */
#include "base/assert.h"
#include "mqtt/session.h"

static bool is_full(const roam_session *s, size_t bytes) {
  return s->queued >= s->o.queue_messages_max || bytes > s->o.queue_bytes_max ||
         s->queued_bytes > s->o.queue_bytes_max - bytes;
}

static roam_rc refuse(roam_session *s) {
  s->blocked = true;
  return s->o.role == ROAM_ROLE_CLIENT ? ROAM_E_BLOCKED : ROAM_E_LIMIT;
}

void roam_queue_pop(roam_session *s, struct roam_lane *lane, struct roam_outgoing *out) {
  bool some = roam_ring_pop(&lane->kept.queue, out);
  ROAM_ASSERT(some && s->queued > 0);
  (void)some;
  s->queued--;
  s->queued_bytes -= roam_outgoing_bytes(out);
}

void roam_queue_drop_front(roam_session *s, struct roam_lane *lane, uint8_t reason) {
  struct roam_outgoing m;
  roam_queue_pop(s, lane, &m);
  roam_session_tell_end(s, &m, lane->number, false, reason);
  roam_outgoing_reset(&m);
}

/* Makes room by the owner's policy. 1: there is room; 0: the new message has been dropped; negative: refused. */
static int overflow(roam_session *s, struct roam_lane *lane, struct roam_outgoing *m) {
  size_t bytes = roam_outgoing_bytes(m);
  if (s->o.overflow == ROAM_OVERFLOW_REFUSE || roam_ring_count(&s->events) >= s->o.events_max) {
    return refuse(s);
  }
  if (s->o.overflow == ROAM_OVERFLOW_DROP_OLDEST && bytes <= s->o.queue_bytes_max) {
    while (is_full(s, bytes) && roam_ring_count(&lane->kept.queue) > 0) {
      roam_queue_drop_front(s, lane, ROAM_REASON_QUOTA_EXCEEDED);
    }
    if (!is_full(s, bytes)) {
      return 1;
    }
  }
  roam_session_tell_end(s, m, lane->number, false, ROAM_REASON_QUOTA_EXCEEDED);
  roam_outgoing_reset(m);
  return 0;
}

/* Takes m over, unless the result is negative. */
roam_rc roam_queue_put(roam_session *s, struct roam_lane *lane, struct roam_outgoing *m) {
  size_t bytes = roam_outgoing_bytes(m);
  while (is_full(s, bytes)) {
    struct roam_outgoing *oldest = roam_ring_peek(&lane->kept.queue);
    if (oldest == NULL || oldest->expires > s->now) {
      break;
    }
    roam_queue_drop_front(s, lane, ROAM_REASON_IMPLEMENTATION_SPECIFIC);
  }
  if (is_full(s, bytes)) {
    int rv = overflow(s, lane, m);
    if (rv <= 0) {
      return rv;
    }
  }
  roam_rc rv = roam_ring_push(&lane->kept.queue, m);
  if (rv != 0) {
    return rv;
  }
  s->queued++;
  s->queued_bytes += bytes;
  return 0;
}

void roam_queue_drop_qos0(roam_session *s, struct roam_lane *lane) {
  for (size_t n = roam_ring_count(&lane->kept.queue); n > 0; n--) {
    struct roam_outgoing *first = roam_ring_peek(&lane->kept.queue);
    if (first->qos == 0) {
      roam_queue_drop_front(s, lane, ROAM_REASON_SERVER_UNAVAILABLE);
      continue;
    }
    struct roam_outgoing m = *first;
    roam_ring_pop(&lane->kept.queue, NULL);
    roam_rc rv = roam_ring_push(&lane->kept.queue, &m); /* into the place that has just become free */
    ROAM_ASSERT(rv == 0);
    (void)rv;
  }
}

/* ---- taking back ---- */

static void give_back(const struct roam_outgoing *m, roam_message *out, uint64_t *token) {
  *out = (roam_message){.blob = roam_blob_ref(m->blob),
                        .topic = {m->topic, m->topic_len},
                        .props = {m->props, m->props_len},
                        .payload = {m->payload, m->payload_len},
                        .expires = m->expires,
                        .qos = m->qos,
                        .retain = m->retain};
  *token = m->token;
}

static bool reclaim_sent(struct roam_lane *lane, roam_message *out, uint64_t *token) {
  struct roam_inflight *f = &lane->kept.inflight;
  for (struct roam_exchange *x = roam_inflight_find(f, f->first); x != NULL; x = roam_inflight_find(f, x->next)) {
    if (x->state != ROAM_EXCHANGE_PUBACK || x->message.token == 0) {
      continue;
    }
    give_back(&x->message, out, token);
    x->message.token = 0; /* what remains of it goes with the session */
    return true;
  }
  return false;
}

static bool reclaim_queued(roam_session *s, struct roam_lane *lane, roam_message *out, uint64_t *token) {
  while (roam_ring_count(&lane->kept.queue) > 0) {
    struct roam_outgoing m;
    roam_queue_pop(s, lane, &m);
    bool wanted = m.token != 0;
    if (wanted) {
      give_back(&m, out, token);
    }
    roam_outgoing_reset(&m);
    if (wanted) {
      return true;
    }
    s->dropped++;
  }
  return false;
}

bool roam_session_reclaim(roam_session *s, roam_message *out, uint64_t *token) {
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    if (reclaim_sent(s->lanes[i], out, token) || reclaim_queued(s, s->lanes[i], out, token)) {
      return true;
    }
  }
  return false;
}

void roam_queue_check_writable(roam_session *s) {
  if (!s->blocked || s->queued > s->o.queue_messages_max / 2 || s->queued_bytes > s->o.queue_bytes_max / 2) {
    return;
  }
  uint32_t subscribes = 0;
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    subscribes += s->lanes[i]->kept.inflight.subscribes;
  }
  if (subscribes <= ROAM_SUBSCRIBES_MAX / 2) {
    s->blocked = false;
    roam_session_tell(s, ROAM_SE_WRITABLE, 0);
  }
}
