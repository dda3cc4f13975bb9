/* on_ack.c - acknowledgements both ways: the peer's for our messages (the exchanges of inflight.c), ours for the peer's.
 *
 * An incoming QoS 2 identifier is remembered in kept.received from the moment its message is reported until PUBREL, with
 * whether the owner has acknowledged it and on which connection it was last seen; that is what makes "exactly once" outlive
 * connections. */
#include "mqtt/session.h"

/* ---- what we have received ---- */

uint32_t roam_received_get(const struct roam_lane *lane, uint16_t packet_id) {
  return (uint32_t)(uintptr_t)roam_map64_get(&lane->kept.received, packet_id);
}

roam_rc roam_received_put(struct roam_lane *lane, uint16_t packet_id, uint32_t epoch, uint32_t state) {
  return roam_map64_put(&lane->kept.received, packet_id, (void *)(uintptr_t)(epoch << 2 | state));
}

static void forget_received(roam_session *s, struct roam_lane *lane, uint16_t packet_id, uint32_t known) {
  roam_map64_remove(&lane->kept.received, packet_id);
  if ((known & 3) == ROAM_RECEIVED_ACKED) {
    s->awaiting_rel--;
    lane->kept.awaiting_rel--;
  }
  if (known >> 2 == s->epoch && lane->live.receive_open > 0) {
    lane->live.receive_open--;
  }
}

/* Sends the answers whose turn has come: those at the front that the owner has given. */
void roam_session_flush_acks(roam_session *s, struct roam_lane *lane) {
  struct roam_unacked *first;
  while ((first = roam_ring_peek(&lane->live.unacked)) != NULL && first->answered) {
    struct roam_unacked a = *first;
    roam_ring_pop(&lane->live.unacked, NULL);
    roam_session_put_ack(s, lane, a.qos == 1 ? ROAM_PUBACK : ROAM_PUBREC, a.packet_id, a.reason);
    if (a.qos == 1 && lane->live.receive_open > 0) {
      lane->live.receive_open--;
    }
  }
}

static bool answer_waiting(struct roam_lane *lane, uint16_t packet_id, uint8_t reason, uint8_t *qos) {
  size_t n = roam_ring_count(&lane->live.unacked);
  for (size_t i = 0; i < n; i++) {
    struct roam_unacked *a = roam_ring_at(&lane->live.unacked, i);
    if (a->packet_id == packet_id && !a->answered) {
      a->answered = true;
      a->reason = reason;
      *qos = a->qos;
      return true;
    }
  }
  return false;
}

void roam_session_answer(roam_session *s, struct roam_lane *lane, uint16_t packet_id, uint8_t reason) {
  uint8_t qos = 2; /* without a connection only QoS 2 leaves a trace */
  answer_waiting(lane, packet_id, reason, &qos);
  uint32_t known = qos == 2 ? roam_received_get(lane, packet_id) : 0;
  if ((known & 3) == ROAM_RECEIVED_REPORTED) {
    if (reason >= 0x80) {
      forget_received(s, lane, packet_id, known);
    } else {
      roam_received_put(lane, packet_id, known >> 2, ROAM_RECEIVED_ACKED);
      s->awaiting_rel++;
      lane->kept.awaiting_rel++;
    }
  }
  roam_session_flush_acks(s, lane);
}

roam_rc roam_session_ack(roam_session *s, roam_time now, uint32_t lane, uint16_t packet_id, uint8_t reason) {
  roam_session_enter(s, now);
  if (!roam_reason_fits(reason, ROAM_PUBACK)) {
    return ROAM_E_ARGUMENT;
  }
  struct roam_lane *l = roam_session_find_lane(s, lane);
  if (l == NULL) {
    return lane == 0 ? 0 : ROAM_E_NOT_FOUND;
  }
  roam_session_answer(s, l, packet_id, reason);
  return 0;
}

void roam_session_on_pubrel(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  uint32_t known = roam_received_get(lane, p->packet_id);
  if ((known & 3) == ROAM_RECEIVED_REPORTED) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, "PUBREL before PUBREC");
    return;
  }
  if (known != 0) {
    forget_received(s, lane, p->packet_id, known);
    roam_session_tell_changed(s, lane->number, ROAM_PUBCOMP, 0, p->packet_id);
  }
  roam_session_put_ack(s, lane, ROAM_PUBCOMP, p->packet_id, known != 0 ? 0 : ROAM_REASON_PACKET_ID_NOT_FOUND);
}

/* ---- what we have sent ---- */

static void release_window(struct roam_lane *lane, struct roam_exchange *x) {
  if (x->counted) {
    x->counted = false;
    lane->live.send_open--;
  }
}

void roam_session_finish(roam_session *s, struct roam_lane *lane, struct roam_exchange *x, uint8_t reason) {
  release_window(lane, x);
  if (lane->live.cursor == x->packet_id) {
    lane->live.cursor = x->next;
  }
  roam_session_tell_end(s, &x->message, lane->number, true, reason);
  roam_outgoing_reset(&x->message);
  roam_inflight_remove(&lane->kept.inflight, x);
}

/* The peer answers a packet of ours with one that belongs to another quality of service. */
static void fail_mismatch(roam_session *s, struct roam_lane *lane) {
  roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
                    "acknowledgement does not fit the packet it answers");
}

void roam_session_on_puback(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  struct roam_exchange *x = roam_inflight_find(&lane->kept.inflight, p->packet_id);
  if (x == NULL) {
    return;
  }
  if (x->state != ROAM_EXCHANGE_PUBACK || !x->sent) {
    fail_mismatch(s, lane);
    return;
  }
  roam_session_finish(s, lane, x, p->reason);
}

/* The exchange's second half: the message may be forgotten, its identifier not. */
static void turn_to_pubrel(roam_session *s, struct roam_lane *lane, struct roam_exchange *x) {
  uint64_t token = x->message.token;
  roam_inflight_let_go(&lane->kept.inflight, x);
  roam_outgoing_reset(&x->message);
  x->message = (struct roam_outgoing){.token = token, .qos = 2, .report = true};
  x->state = ROAM_EXCHANGE_PUBCOMP;
  x->epoch = s->hold;
  roam_session_tell_changed(s, lane->number, ROAM_PUBREL, token, x->packet_id);
  if (lane->live.cursor == x->packet_id) {
    lane->live.cursor = x->next;
  }
}

void roam_session_on_pubrec(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  struct roam_exchange *x = roam_inflight_find(&lane->kept.inflight, p->packet_id);
  if (x == NULL) {
    if (p->reason < 0x80) {
      roam_session_put_ack(s, lane, ROAM_PUBREL, p->packet_id, ROAM_REASON_PACKET_ID_NOT_FOUND);
    }
    return;
  }
  if ((x->state != ROAM_EXCHANGE_PUBREC && x->state != ROAM_EXCHANGE_PUBCOMP) || !x->sent) {
    fail_mismatch(s, lane);
    return;
  }
  if (p->reason >= 0x80) {
    roam_session_finish(s, lane, x, p->reason);
    return;
  }
  if (x->state == ROAM_EXCHANGE_PUBREC) {
    turn_to_pubrel(s, lane, x);
    x->reason = p->reason;
  }
  roam_session_put_ack(s, lane, ROAM_PUBREL, p->packet_id, 0);
}

void roam_session_on_pubcomp(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  struct roam_exchange *x = roam_inflight_find(&lane->kept.inflight, p->packet_id);
  if (x == NULL) {
    return;
  }
  if (x->state != ROAM_EXCHANGE_PUBCOMP) {
    fail_mismatch(s, lane);
    return;
  }
  roam_session_finish(s, lane, x, p->reason != 0 ? p->reason : x->reason);
}
