/* route.c - from a message to the sessions it concerns, and from a new subscription to the messages retained for it.
 *
 * One message is one shared blob; for each subscriber there is one entry in its session's queue and nothing else. A slow
 * subscriber never delays or refuses the publisher: what does not fit into a queue is a matter between the broker and that
 * subscriber (overflow). Sessions and peers that got something are marked and served after the batch.
 *
 * Retained messages may be many more than a queue holds, so a search for them is kept as a cursor (struct replay) and goes
 * on as the queue empties. */
#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

#define SUB_IDS_MAX 65535u
#define BEHIND_BYTES 65536u
#define REPLAY_QUEUE 64u /* a replay goes on when fewer messages wait */

/* ---- delivery ---- */

struct delivery {
  const roam_message *message;
  roam_publish_how how;
  uint64_t group; /* a shared subscription's, else 0 */
  bool datagram;  /* may go in one */
};

/* Tidings of a session that nobody is connected to, so that they do not stand in the way of a policy that drops. */
static void discard_events(roam_broker *b, struct roam_record *r) {
  roam_session_event ev;
  while (roam_session_poll(r->session, &ev, 1) == 1) roam_durable_note(b, r, &ev);
}

/* The publisher will be told that all is well, so a subscriber that misses something must learn of it: its session ends.
 * Unless it asked for no more than "at most once", or the owner chose a policy that drops, or no queue could ever hold the
 * message. */
static bool is_hopeless(const roam_broker *b, const struct delivery *d) {
  return roam_blob_len(d->message->blob) > b->o.queue_bytes_max;
}

static void miss(roam_broker *b, struct roam_record *r, const struct delivery *d) {
  bool hopeless = is_hopeless(b, d);
  if (b->o.overflow == ROAM_OVERFLOW_REFUSE && d->how.qos > 0 && !hopeless) {
    roam_sessions_doom(b, r);
    return;
  }
  b->stats.messages_dropped++;
  r->past_dropped++;
}

/* All queues together hold too much, and this one is among those that are behind; or it does with its own connection. */
static bool is_behind(const roam_broker *b, const struct roam_record *r) {
  if (roam_held_queue_is_full(b, r)) return true;
  return (b->queued_bytes >= b->o.queued_bytes_max || roam_held_is_short(b)) && r->queued_left >= BEHIND_BYTES;
}

static void deliver_now(roam_broker *b, struct roam_record *r, const struct delivery *d) {
  if (!roam_list_empty(&r->doomed) || !roam_access_may(b, r, d->message->topic, ROAM_ACL_READ)) return;
  if (r->peer && !roam_lanes_alive(r->peer, d->how.lane)) return; /* its subscriptions go with the stream */
  if (d->datagram && d->how.qos == 0 && r->peer && roam_lanes_write_datagram(b, r->peer, d->message, &d->how)) return;
  if (is_behind(b, r)) {
    miss(b, r, d);
    return;
  }
  uint64_t token = roam_durable_delivery(b, r, d->message, &d->how, d->group);
  roam_rc rc = roam_session_publish(r->session, b->now, d->message, &d->how, token);
  /* The data stream that holds up the most gives way, if it is not the control stream; once it has, this may fit. */
  bool gave_way = rc == ROAM_E_LIMIT && !is_hopeless(b, d) && roam_lanes_sacrifice(b, r);
  if (gave_way && roam_lanes_alive(r->peer, d->how.lane))
    rc = roam_session_publish(r->session, b->now, d->message, &d->how, token);
  if (rc != 0) roam_durable_delivered(b, r, token);
  if (rc == ROAM_E_TOO_LARGE) { /* section 3.1.2.11.4: as if it had been sent */
    b->stats.messages_dropped++;
    r->past_dropped++;
  } else if (rc != 0 && !(gave_way && r->peer && !roam_lanes_alive(r->peer, d->how.lane))) {
    miss(b, r, d); /* else it went with its stream */
  }
  roam_sessions_count_queue(b, r);
  if (r->peer) roam_peer_mark(b, r->peer);
  else discard_events(b, r);
}

void roam_route_deliver(roam_broker *b, struct roam_record *r, const struct roam_letter *letter) {
  struct delivery d = {.message = &letter->message, .group = letter->group, .datagram = letter->datagram};
  d.how = (roam_publish_how){.qos = letter->qos, .retain = letter->retain, .lane = letter->lane};
  if (letter->text) d.how.sub_ids = (roam_bytes){roam_blob_data(letter->text), roam_blob_len(letter->text)};
  deliver_now(b, r, &d);
  roam_durable_routed(b);
}

/* As a letter, for a session that is not here, or not yet quite. Counts are not taken. */
static struct roam_letter write_delivery(const struct delivery *d, uint64_t session, roam_blob *ids) {
  return (struct roam_letter){.kind = ROAM_LETTER_DELIVER,
                              .number = session,
                              .group = d->group,
                              .message = *d->message,
                              .qos = d->how.qos,
                              .retain = d->how.retain,
                              .lane = d->how.lane,
                              .datagram = d->datagram,
                              .text = ids};
}

/* One that is moving between workers, or has moved (mail_move.c). */
static bool admits(roam_broker *b, struct roam_record *r, uint64_t session, const struct delivery *d) {
  roam_blob *ids = d->how.sub_ids.len > 0 ? roam_blob_new(d->how.sub_ids.base, d->how.sub_ids.len) : NULL;
  struct roam_letter letter = write_delivery(d, session, ids);
  bool now = false;
  if (d->how.sub_ids.len > 0 && !ids) roam_mail_fail(b); /* it would come without them */
  else if (r) now = roam_move_admits(b, r, &letter);
  else roam_ghost_forward(b, session, &letter);
  roam_blob_unref(ids);
  return now;
}

static void deliver(roam_broker *b, struct roam_record *r, const struct delivery *d) {
  if (!r->move || admits(b, r, r->number, d)) deliver_now(b, r, d);
}

/* ---- subscription identifiers ---- */

static roam_rc reserve_ids(roam_broker *b, size_t len) {
  if (len <= b->sub_ids_cap) return 0;
  uint8_t *grown = realloc(b->sub_ids, len);
  if (!grown) return ROAM_E_MEMORY;
  b->sub_ids = grown;
  b->sub_ids_cap = len;
  return 0;
}

static roam_rc encode_ids(roam_broker *b, const struct roam_matches *matches, uint32_t first, roam_bytes *out) {
  roam_props props = {0};
  *out = (roam_bytes){0};
  if (first == 0) return 0;
  size_t count = 0;
  for (uint32_t at = first; at != 0; at = matches->ids[at - 1].next) count++;
  size_t want = count * 5 < SUB_IDS_MAX ? count * 5 : SUB_IDS_MAX;
  if (reserve_ids(b, want) != 0) return ROAM_E_MEMORY;
  props.base = b->sub_ids;
  props.cap = b->sub_ids_cap;
  for (uint32_t at = first; at != 0; at = matches->ids[at - 1].next)
    if (roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, matches->ids[at - 1].identifier) != 0) break;
  *out = (roam_bytes){props.base, props.len};
  return 0;
}

/* ---- routing ---- */

roam_rc roam_route_keep(roam_broker *b, const roam_message *message) {
  roam_rc rc = roam_retain_put(&b->retained, message);
  roam_durable_retained(b, message, rc == 0 && message->payload.len > 0);
  if (rc == 0) {
    b->retain_warned = false;
    return 0;
  }
  b->stats.messages_dropped++;
  if (!b->retain_warned)
    roam_trace(&b->o.log, b->now, RETAIN_REFUSED, .why = roam_strerror(rc), .messages = b->retained.count,
               .bytes = b->retained.bytes);
  b->retain_warned = true;
  return rc;
}

roam_rc roam_route(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched) {
  if (b->mail) return roam_mail_route(b, message, from, matched);
  *matched = 0;
  if (message->retain) roam_route_keep(b, message);
  return roam_route_here(b, message, from, matched);
}

roam_rc roam_route_here(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched) {
  const struct roam_matches *matches;
  roam_rc rc = roam_topics_match(&b->topics, message->topic, from, &matches);
  for (size_t i = 0; i < matches->len && rc == 0; i++) {
    const struct roam_match *m = &matches->items[i];
    struct roam_record *r = roam_sessions_by_number(b, ROAM_SUBSCRIBER_SESSION(m->session));
    if (!r && !b->mail) continue;
    struct delivery d = {.message = message, .group = m->group, .how.lane = ROAM_SUBSCRIBER_LANE(m->session)};
    d.how.qos = m->qos < message->qos ? m->qos : message->qos;
    d.how.retain = m->retain_as_published && message->retain;
    d.datagram = m->datagram;
    rc = encode_ids(b, matches, m->first_id, &d.how.sub_ids);
    if (rc != 0) break;
    if (r) deliver(b, r, &d);
    else admits(b, NULL, ROAM_SUBSCRIBER_SESSION(m->session), &d);
    (*matched)++;
  }
  roam_durable_routed(b);
  return rc;
}

/* What a session that has ended was to get from shared subscriptions goes to the members that are left (section 4.8.2: not
 * what it has begun to get at QoS 2). */
void roam_route_hand_over(roam_broker *b, roam_session *session) {
  roam_message message;
  uint64_t token, heir;
  struct roam_subscription how;
  while (roam_session_reclaim(session, &message, &token)) {
    uint64_t group = roam_durable_group(token);
    if (group == 0) { /* its own, and gone with it */
      roam_blob_unref(message.blob);
      continue;
    }
    if (b->mail) {
      roam_mail_again(b, &message, group);
      roam_blob_unref(message.blob);
      continue;
    }
    bool found = message.expires > b->now && roam_topics_share_again(&b->topics, group, &heir, &how);
    struct roam_record *r = found ? roam_sessions_by_number(b, heir) : NULL;
    if (r) {
      uint8_t ids[5];
      roam_props props = {.base = ids, .cap = sizeof ids};
      struct delivery d = {.message = &message, .group = group};
      if (how.identifier != 0) roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, how.identifier);
      d.how = (roam_publish_how){
          .qos = how.qos < message.qos ? how.qos : message.qos, .retain = message.retain, .sub_ids = {ids, props.len}};
      deliver(b, r, &d);
      roam_durable_routed(b);
    } else {
      b->stats.messages_dropped++;
    }
    roam_blob_unref(message.blob);
  }
}

/* ---- retained messages for a new subscription ---- */

struct replay {
  struct roam_list node;
  struct roam_retain_cursor cursor;
  struct roam_subscription how;
  uint32_t lane;
};

static void free_replay(struct replay *replay) {
  roam_list_remove(&replay->node);
  roam_retain_close(&replay->cursor);
  free(replay);
}

void roam_replay_end(struct roam_record *r, int lane, const roam_bytes *filter) {
  ROAM_LIST_EACH(&r->replays, node) {
    struct replay *replay = ROAM_CONTAINER(node, struct replay, node);
    const struct roam_retain_cursor *c = &replay->cursor;
    if (lane >= 0 && replay->lane != (uint32_t)lane) continue;
    if (!filter || (c->filter_len == filter->len && memcmp(c->filter, filter->base, filter->len) == 0)) free_replay(replay);
  }
}

bool roam_replay_take(struct roam_record *r, uint32_t *lane, roam_blob **filter, struct roam_subscription *how) {
  struct roam_list *first = roam_list_first(&r->replays);
  if (!first) return false;
  struct replay *replay = ROAM_CONTAINER(first, struct replay, node);
  *lane = replay->lane;
  *how = replay->how;
  *filter = roam_blob_new(replay->cursor.filter, replay->cursor.filter_len);
  free_replay(replay);
  return true;
}

roam_rc roam_replay_begin(roam_broker *b, struct roam_record *r, uint32_t lane, roam_bytes filter,
                          const struct roam_subscription *how) {
  roam_replay_end(r, (int)lane, &filter);
  if (b->retained.count == 0) return 0;
  struct replay *replay = calloc(1, sizeof *replay);
  if (!replay) return ROAM_E_MEMORY;
  roam_list_init(&replay->node);
  roam_rc rc = roam_retain_open(&b->retained, filter, &replay->cursor);
  if (rc != 0) {
    free(replay);
    return rc;
  }
  replay->how = *how;
  replay->lane = lane;
  roam_list_push_back(&r->replays, &replay->node);
  return 0;
}

static void deliver_retained(roam_broker *b, struct roam_record *r, const struct replay *replay,
                             const roam_message *message) {
  uint8_t ids[5];
  roam_props props = {.base = ids, .cap = sizeof ids};
  struct delivery d = {.message = message, .how.lane = replay->lane};
  if (message->expires <= b->now) return;
  d.how.qos = replay->how.qos < message->qos ? replay->how.qos : message->qos;
  d.how.retain = true;
  if (replay->how.identifier != 0)
    roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, replay->how.identifier); /* five bytes are enough */
  d.how.sub_ids = (roam_bytes){ids, props.len};
  deliver_now(b, r, &d);
  roam_durable_routed(b);
}

/* A replay must never be what overflows a queue. */
static size_t room_in_queue(const roam_broker *b, const roam_session_info *info, size_t bytes) {
  uint32_t low = b->o.queue_messages_max < REPLAY_QUEUE ? b->o.queue_messages_max : REPLAY_QUEUE;
  if (info->queued == 0) return bytes >= b->o.maximum_packet_size ? low : 1;
  if (info->queued >= low || bytes < b->o.maximum_packet_size) return 0;
  return low - info->queued;
}

bool roam_replay_step(roam_broker *b, struct roam_record *r) {
  const roam_message *found[REPLAY_QUEUE];
  struct roam_list *first = roam_list_first(&r->replays);
  if (!first || !roam_list_empty(&r->doomed)) return false;
  struct replay *replay = ROAM_CONTAINER(first, struct replay, node);
  roam_session_info info = roam_session_get_info(r->session);
  size_t bytes = info.queued_bytes < b->o.queue_bytes_max ? (b->o.queue_bytes_max - info.queued_bytes) / 4 : 0;
  size_t room = room_in_queue(b, &info, bytes);
  if (room == 0) return false;
  size_t n = roam_retain_next(&b->retained, &replay->cursor, found, room, bytes + 1);
  for (size_t i = 0; i < n; i++) deliver_retained(b, r, replay, found[i]);
  if (replay->cursor.over) free_replay(replay);
  return true;
}
