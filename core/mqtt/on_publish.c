/* on_publish.c - messages: those that arrive, those the owner sends, and how one is made. Acknowledgements are in on_ack.c.
 */
#include "mqtt/session.h"

#include <string.h>

/* ---- arriving ---- */

/* Section 3.3.2.3.4: learns or resolves the alias. topic becomes the full name. */
static bool resolve_alias(roam_session *s, struct roam_lane *lane, const roam_packet *p, roam_bytes *topic) {
  roam_prop alias;
  *topic = p->topic;
  if (s->version < ROAM_MQTT_5 || p->props.len == 0) {
    return true;
  }
  if (roam_props_alias_alone(p->props)) {
    alias.number = roam_get_u16(p->props.base + 1);
  } else if (roam_prop_find(p->props, ROAM_PROP_TOPIC_ALIAS, &alias) == 0) {
    return true;
  }
  if (alias.number > s->o.topic_alias_maximum) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_TOPIC_ALIAS_INVALID, "topic alias above the maximum");
    return false;
  }
  if (p->topic.len == 0) {
    *topic = roam_aliases_get(&lane->live.alias_in, (uint16_t)alias.number);
    if (topic->len == 0) {
      roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, "topic alias has not been set");
    }
    return topic->len > 0;
  }
  roam_blob *old;
  roam_rc rv = roam_aliases_set(&lane->live.alias_in, (uint16_t)alias.number, s->o.topic_alias_maximum, p->topic, &old);
  if (rv == 0 && old != NULL && roam_ring_push(&s->parting_events, &old) != 0) {
    rv = ROAM_E_MEMORY; /* old is lost rather than freed under an event's feet */
  }
  if (rv != 0) {
    roam_session_fail(s, lane->number, rv, ROAM_REASON_UNSPECIFIED, "no memory for a topic alias");
  }
  return rv == 0;
}

static bool is_over_quota(const roam_session *s, const struct roam_lane *lane) {
  return s->version == ROAM_MQTT_5 && lane->live.receive_open >= s->o.receive_maximum;
}

static bool await_answer(struct roam_lane *lane, const roam_packet *p, bool answered) {
  struct roam_unacked waiting = {.packet_id = p->packet_id, .qos = p->qos, .answered = answered};
  return roam_ring_push(&lane->live.unacked, &waiting) == 0;
}

/* Is a QoS 2 PUBLISH one we have already reported? Then it is answered again, in its turn, and not reported. */
static bool take_duplicate(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  uint32_t known = roam_received_get(lane, p->packet_id);
  if (known == 0) {
    return false;
  }
  bool acked = (known & 3) == ROAM_RECEIVED_ACKED, here = known >> 2 == s->epoch;
  if (!here) {
    lane->live.receive_open++;
    roam_received_put(lane, p->packet_id, s->epoch, known & 3);
  }
  /* reported on this connection and not acknowledged by the owner yet: the answer is on its way */
  if ((!here || acked) && !await_answer(lane, p, acked)) {
    roam_session_fail(s, lane->number, ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, "no memory for an acknowledgement");
  }
  roam_session_flush_acks(s, lane);
  return true;
}

static void report(roam_session *s, struct roam_lane *lane, const roam_packet *p, roam_bytes topic) {
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_MESSAGE, lane->number);
  t->type = ROAM_PUBLISH;
  t->qos = p->qos;
  t->dup = p->dup;
  t->retain = p->retain;
  t->packet_id = p->packet_id;
  t->props = p->props;
  t->first = topic;
  t->payload = p->payload;
  s->messages_in++;
}

void roam_session_on_publish(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  roam_bytes topic;
  if (!resolve_alias(s, lane, p, &topic)) {
    return;
  }
  if (p->qos == 2 && take_duplicate(s, lane, p)) {
    return;
  }
  if (p->qos > 0) {
    if (is_over_quota(s, lane)) {
      roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_RECEIVE_MAXIMUM_EXCEEDED,
                        "more messages than Receive Maximum");
      return;
    }
    if (!await_answer(lane, p, false) ||
        (p->qos == 2 && roam_received_put(lane, p->packet_id, s->epoch, ROAM_RECEIVED_REPORTED) != 0)) {
      roam_session_fail(s, lane->number, ROAM_E_MEMORY, ROAM_REASON_UNSPECIFIED, "no memory for an acknowledgement");
      return;
    }
    lane->live.receive_open++;
  }
  report(s, lane, p, topic);
}

/* ---- leaving ---- */

roam_rc roam_session_publish(roam_session *s, roam_time now, const roam_message *message, const roam_publish_how *how,
                             uint64_t token) {
  roam_session_enter(s, now);
  if (message->blob == NULL || how->qos > 2 || message->topic.len > ROAM_STRING_MAX ||
      message->props.len > ROAM_REMAINING_MAX || message->payload.len > ROAM_REMAINING_MAX ||
      how->sub_ids.len > ROAM_STRING_MAX) {
    return ROAM_E_ARGUMENT;
  }
  struct roam_lane *lane = roam_session_lane(s, how->lane);
  if (lane == NULL) {
    return how->lane != 0 && s->lanes_len >= ROAM_LANES_MAX ? ROAM_E_LIMIT : ROAM_E_MEMORY;
  }
  struct roam_outgoing m;
  roam_rc rv = roam_outgoing_init(&m, message, how, token);
  if (rv != 0) {
    return rv;
  }
  bool connected = s->live.link == ROAM_LINK_UP || s->live.link == ROAM_LINK_CONNECTING;
  if (connected && roam_outgoing_bytes(&m) > s->live.peer_packet_max) {
    rv = ROAM_E_TOO_LARGE;
  } else if (!connected && how->qos == 0 && !s->o.queue_qos0_offline) {
    roam_session_tell_end(s, &m, lane->number, false, ROAM_REASON_SERVER_UNAVAILABLE);
    roam_outgoing_reset(&m);
    return 0;
  } else {
    rv = roam_queue_put(s, lane, &m);
  }
  if (rv != 0) {
    roam_outgoing_reset(&m);
  }
  return rv;
}

/* ---- making one ---- */

/* Properties that belong to a connection, not to the message. */
static bool is_of_connection(int id) { return id == ROAM_PROP_TOPIC_ALIAS || id == ROAM_PROP_SUBSCRIPTION_IDENTIFIER; }

/* Copies the message's own properties, returns how many bytes they take; out may be NULL to measure. */
static size_t copy_props(roam_bytes props, uint8_t *out) {
  size_t len = 0;
  roam_prop prop;
  if (props.len == 0 || roam_props_alias_alone(props)) {
    return 0;
  }
  for (;;) {
    const uint8_t *from = props.base;
    if (roam_prop_next(&props, &prop) != 1) {
      return len;
    }
    if (is_of_connection(prop.id)) {
      continue;
    }
    size_t size = (size_t)(props.base - from);
    if (out != NULL) {
      memcpy(out + len, from, size);
    }
    len += size;
  }
}

static uint8_t *copy_part(uint8_t *to, roam_bytes from, roam_bytes *view) {
  if (from.len > 0) {
    memcpy(to, from.base, from.len);
  }
  *view = (roam_bytes){to, from.len};
  return to + from.len;
}

static roam_rc copy_message(roam_message *out, roam_time now, roam_bytes topic, roam_bytes props, roam_bytes payload,
                            uint8_t qos, bool retain) {
  roam_prop expiry;
  size_t props_len = copy_props(props, NULL);
  roam_blob *blob = roam_blob_new(NULL, topic.len + props_len + payload.len);
  if (blob == NULL) {
    return ROAM_E_MEMORY;
  }
  *out = (roam_message){.blob = blob, .expires = ROAM_NEVER, .qos = qos, .retain = retain};
  uint8_t *at = copy_part(roam_blob_data(blob), topic, &out->topic);
  copy_props(props, at);
  out->props = (roam_bytes){at, props_len};
  copy_part(at + props_len, payload, &out->payload);
  if (roam_prop_find(props, ROAM_PROP_MESSAGE_EXPIRY_INTERVAL, &expiry) == 1) {
    out->expires = now + (roam_time)expiry.number * ROAM_S;
  }
  return 0;
}

roam_rc roam_message_make(roam_message *out, roam_time now, roam_bytes topic, roam_bytes props, roam_bytes payload,
                          uint8_t qos, bool retain) {
  roam_fault fault;
  if (!roam_topic_valid(topic) || qos > 2 || payload.len > ROAM_REMAINING_MAX || props.len > ROAM_REMAINING_MAX ||
      roam_props_check(props, ROAM_IN(ROAM_PUBLISH), &fault) != 0) {
    return ROAM_E_ARGUMENT;
  }
  return copy_message(out, now, topic, props, payload, qos, retain);
}

roam_rc roam_message_take(roam_message *out, roam_time now, const roam_packet *publish) {
  return copy_message(out, now, publish->topic, publish->props, publish->payload, publish->qos, publish->retain);
}
