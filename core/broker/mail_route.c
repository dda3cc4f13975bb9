/* mail_route.c - messages between workers: who of the others wants what, groups whose members are anywhere, retained
 * messages that are the same everywhere. Ways and reasons: docs/design/workers.md. Refuses to know sessions other than by
 * number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"

/* ---- what the others must know ---- */

/* A subscriber in the table of others: who told of it, and whose the groups are (none: he wants it for himself). */
static uint64_t key_of(uint32_t from, uint64_t owner) {
  return 1 + from * (ROAM_WORKERS_MAX + 1) + (owner == ROAM_ORDINARY ? ROAM_WORKERS_MAX : (uint32_t)owner);
}

static uint32_t wanted_at(uint64_t key) {
  uint64_t from = (key - 1) / (ROAM_WORKERS_MAX + 1), owner = (key - 1) % (ROAM_WORKERS_MAX + 1);
  return (uint32_t)(owner == ROAM_WORKERS_MAX ? from : owner);
}

static uint32_t owner_of(const struct roam_mail *m, roam_bytes filter) {
  return roam_mail_home(m, filter.base, filter.len);
}

static roam_bytes view(roam_blob *blob) { return (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)}; }

static void miss(roam_broker *b, uint32_t from) {
  if (from == b->mail->self) roam_mail_fail(b);
  else roam_mail_missed(b, from);
}

static void put_member(roam_broker *b, uint32_t from, uint8_t kind, uint64_t session, roam_bytes filter,
                       const struct roam_subscription *how, bool connected) {
  struct roam_topics *shares = &b->mail->shares;
  char text[ROAM_ID_TEXT_MAX];
  bool existed;
  if (kind == ROAM_LETTER_MEMBER_GONE) {
    roam_topics_unsubscribe(shares, session, filter);
    return;
  }
  roam_rc rc = roam_topics_subscribe(shares, session, filter, how, &existed);
  if (rc == 0) {
    roam_topics_connected(shares, session, connected);
    return;
  }
  snprintf(text, sizeof text, "%.*s", (int)filter.len, (const char *)filter.base);
  roam_trace(&b->o.log, b->now, MEMBER_LOST, .filter = text, .why = roam_strerror(rc));
  miss(b, from);
}

static void tell_member(roam_broker *b, const struct roam_topics_change *c) {
  struct roam_mail *m = b->mail;
  uint32_t owner = owner_of(m, roam_share_split(view(c->filter)).filter);
  uint8_t kind = c->kind == ROAM_MEMBER_PUT ? ROAM_LETTER_MEMBER_PUT : ROAM_LETTER_MEMBER_GONE;
  if (owner == m->self) {
    put_member(b, m->self, kind, c->session, view(c->filter), &c->how, c->connected);
    return;
  }
  roam_mail_post(
      b, owner,
      &(struct roam_letter){
          .kind = kind, .number = c->session, .text = roam_blob_ref(c->filter), .how = c->how, .flag = c->connected});
}

static void tell_filter(roam_broker *b, const struct roam_topics_change *c) {
  struct roam_mail *m = b->mail;
  bool added = c->kind == ROAM_FILTER_ADDED || c->kind == ROAM_GROUPS_ADDED;
  bool ordinary = c->kind == ROAM_FILTER_ADDED || c->kind == ROAM_FILTER_GONE;
  struct roam_letter letter = {.kind = added ? ROAM_LETTER_FILTER_ADDED : ROAM_LETTER_FILTER_GONE,
                               .group = ordinary ? ROAM_ORDINARY : owner_of(m, view(c->filter))};
  if (!ordinary && letter.group != m->self) { /* we publish there, too */
    struct roam_letter mine = letter;
    mine.text = c->filter;
    roam_mail_take_filter(b, m->self, &mine);
  }
  for (uint32_t i = 0; i < m->n; i++) {
    if (i == m->self) continue;
    letter.text = roam_blob_ref(c->filter);
    roam_mail_post(b, i, &letter);
  }
}

void roam_mail_flush(roam_broker *b) {
  struct roam_mail *m = b->mail;
  struct roam_topics_change change;
  if (!m) return;
  while (roam_mail_can(b, 1) && roam_topics_take_change(&b->topics, &change)) {
    if (change.kind == ROAM_MEMBER_PUT || change.kind == ROAM_MEMBER_GONE) tell_member(b, &change);
    else tell_filter(b, &change);
    roam_blob_unref(change.filter);
    m->dirty = true;
    b->durable.changes++;
  }
  if (roam_ring_count(&b->topics.changes) == 0) return; /* else they go when there is room; what depends on them waits */
  m->dirty = true;
  b->durable.changes++;
}

void roam_mail_take_filter(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_topics *others = &b->mail->others;
  static const struct roam_subscription any = {.qos = 2};
  bool existed;
  if (!letter->text || (letter->group != ROAM_ORDINARY && letter->group >= b->mail->n)) return;
  uint64_t key = key_of(from, letter->group);
  if (letter->kind == ROAM_LETTER_FILTER_GONE) {
    roam_topics_unsubscribe(others, key, view(letter->text));
  } else if (roam_topics_subscribe(others, key, view(letter->text), &any, &existed) != 0) {
    static const uint8_t all[] = "#"; /* rather too much than too little */
    roam_rc rc = roam_topics_subscribe(others, key, (roam_bytes){all, 1}, &any, &existed);
    roam_trace(&b->o.log, b->now, FILTER_LOST, .worker = from, .instead = rc == 0 ? "it gets everything" : NULL);
    if (rc != 0) miss(b, from);
  }
}

void roam_mail_take_member(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  if (letter->text) put_member(b, from, letter->kind, letter->number, view(letter->text), &letter->how, letter->flag);
}

/* ---- retained ---- */

struct tombstone {
  struct roam_list node;
  uint64_t stamp, epoch;
  size_t len;
  uint8_t topic[];
};

static void drop_tombstone(struct roam_mail *m, struct tombstone *t) {
  roam_map_remove(&m->tombstones, t->topic, t->len);
  roam_list_remove(&t->node);
  free(t);
}

static bool put_tombstone(roam_broker *b, roam_bytes topic, uint64_t stamp) {
  struct roam_mail *m = b->mail;
  struct tombstone *t = roam_map_get(&m->tombstones, topic.base, topic.len);
  if (t) drop_tombstone(m, t);
  t = calloc(1, sizeof *t + topic.len);
  if (!t) return false;
  *t = (struct tombstone){.stamp = stamp, .epoch = roam_mail_gates(b) ? m->epoch : b->durable.epoch, .len = topic.len};
  memcpy(t->topic, topic.base, topic.len);
  if (roam_map_put(&m->tombstones, t->topic, t->len, t) != 0) {
    free(t);
    return false;
  }
  roam_list_push_back(&m->tombs, &t->node);
  m->dirty = true;
  return true;
}

void roam_mail_bury(roam_broker *b) {
  struct roam_mail *m = b->mail;
  uint64_t over = roam_mail_gates(b) ? m->committed : b->durable.committed;
  ROAM_LIST_EACH(&m->tombs, node) {
    struct tombstone *t = ROAM_CONTAINER(node, struct tombstone, node);
    if (t->epoch > over) return;
    drop_tombstone(m, t);
  }
}

void roam_mail_tombs_free(roam_broker *b) {
  struct roam_mail *m = b->mail;
  ROAM_LIST_EACH(&m->tombs, node) drop_tombstone(m, ROAM_CONTAINER(node, struct tombstone, node));
  roam_map_reset(&m->tombstones);
}

void roam_mail_expired(roam_broker *b, roam_bytes topic, uint64_t stamp) {
  if (b->mail && !put_tombstone(b, topic, stamp)) roam_mail_fail(b);
}

static void retain(roam_broker *b, uint32_t from, const roam_message *message, uint64_t stamp) {
  struct roam_mail *m = b->mail;
  struct tombstone *t = roam_map_get(&m->tombstones, message->topic.base, message->topic.len);
  uint64_t has = roam_retain_stamp(&b->retained, message->topic);
  if (t && t->stamp > has) has = t->stamp;
  if (stamp < has) return;
  b->retained.stamp = stamp;
  roam_rc rc = roam_route_keep(b, message);
  bool kept = rc == 0 && message->payload.len > 0;
  if (kept && t) drop_tombstone(m, t);
  if (!kept && !put_tombstone(b, message->topic, stamp)) miss(b, from); /* what it overtakes would come back */
  if (rc == ROAM_E_MEMORY) miss(b, from); /* it is not everywhere; a limit is the same for all */
}

/* ---- groups that are ours ---- */

static roam_blob *encode_identifier(uint32_t identifier) {
  uint8_t bytes[5];
  roam_props props = {.base = bytes, .cap = sizeof bytes};
  if (identifier == 0) return NULL;
  roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, identifier);
  return roam_blob_new(bytes, props.len);
}

/* To a member, wherever it is. The letter has no counts but the text's, which go with it. */
static void deliver_to(roam_broker *b, struct roam_letter *d) {
  uint32_t at = ROAM_WORKER_OF(d->number);
  struct roam_record *r = at == b->mail->self ? roam_sessions_by_number(b, ROAM_SUBSCRIBER_SESSION(d->number)) : NULL;
  if (at != b->mail->self) {
    roam_blob_ref(d->message.blob);
    roam_mail_post(b, at, d);
    return;
  }
  if (r) roam_route_deliver(b, r, d);
  else roam_ghost_forward(b, d->number, d);
  roam_blob_unref(d->text);
}

static void hand_out(roam_broker *b, const roam_message *message, uint64_t session, uint64_t group,
                     const struct roam_subscription *how) {
  struct roam_letter d = {.kind = ROAM_LETTER_DELIVER,
                          .number = ROAM_SUBSCRIBER_SESSION(session),
                          .lane = ROAM_SUBSCRIBER_LANE(session),
                          .group = group,
                          .qos = how->qos < message->qos ? how->qos : message->qos,
                          .retain = how->retain_as_published && message->retain,
                          .datagram = how->datagram,
                          .message = *message,
                          .text = encode_identifier(how->identifier)};
  if (how->identifier != 0 && !d.text) roam_mail_fail(b); /* it would come without it */
  else deliver_to(b, &d);
}

/* To one member of each of our groups. */
static roam_rc share_out(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched) {
  struct roam_mail *m = b->mail;
  const struct roam_matches *matches;
  if (m->shares.count == 0) return 0;
  roam_rc rc = roam_topics_match(&m->shares, message->topic, from, &matches);
  for (size_t i = 0; i < matches->len && rc == 0; i++) {
    const struct roam_match *found = &matches->items[i];
    struct roam_subscription how = {.qos = found->qos,
                                    .retain_as_published = found->retain_as_published,
                                    .datagram = found->datagram,
                                    .identifier = found->first_id ? matches->ids[found->first_id - 1].identifier : 0};
    hand_out(b, message, found->session, found->group, &how);
    (*matched)++;
  }
  return rc;
}

void roam_mail_again(roam_broker *b, const roam_message *message, uint64_t group) {
  struct roam_mail *m = b->mail;
  uint64_t heir;
  struct roam_subscription how;
  uint32_t owner = ROAM_WORKER_OF(group);
  roam_mail_flush(b); /* who has gone is no member any more */
  if (owner != m->self) {
    roam_blob_ref(message->blob);
    roam_mail_post(b, owner, &(struct roam_letter){.kind = ROAM_LETTER_AGAIN, .group = group, .message = *message});
  } else if (message->expires > b->now && roam_topics_share_again(&m->shares, group, &heir, &how)) {
    hand_out(b, message, heir, group, &how);
  } else {
    b->stats.messages_dropped++;
  }
}

/* ---- messages ---- */

static roam_rc route_here(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched) {
  roam_rc rc = roam_route_here(b, message, from, matched);
  return rc == 0 ? share_out(b, message, from, matched) : rc;
}

/* Which of the others want it. */
static roam_rc find_others(roam_broker *b, const roam_message *message, uint64_t *wanted) {
  struct roam_mail *m = b->mail;
  const struct roam_matches *matches;
  *wanted = roam_cut_is_awaited(b) ? UINT64_MAX : 0; /* not all have said what they loaded */
  if (m->others.count == 0) return 0;
  roam_rc rc = roam_topics_match(&m->others, message->topic, 0, &matches);
  for (size_t i = 0; i < matches->len; i++) *wanted |= UINT64_C(1) << wanted_at(matches->items[i].session);
  return rc;
}

roam_rc roam_mail_route(roam_broker *b, const roam_message *message, uint64_t from, size_t *matched) {
  struct roam_mail *m = b->mail;
  uint64_t wanted, stamp = 0;
  *matched = 0;
  roam_mail_flush(b);
  if (from != 0 ? !roam_mail_may(b, 1) : !roam_mail_can(b, 1)) return ROAM_E_MEMORY;
  roam_rc rc = find_others(b, message, &wanted);
  if (rc != 0) return rc;
  if (message->retain) {
    stamp = ++m->clock << 8 | m->self;
    retain(b, m->self, message, stamp);
    m->dirty = true;
    b->durable.changes++;
  }
  for (uint32_t i = 0; i < m->n && rc == 0; i++) {
    if (i == m->self || (!message->retain && (wanted >> i & 1) == 0)) continue; /* self: its groups are asked below */
    *matched += wanted >> i & 1;
    roam_blob_ref(message->blob);
    rc = roam_mail_post(
        b, i, &(struct roam_letter){.kind = ROAM_LETTER_PUBLISH, .number = from, .stamp = stamp, .message = *message});
  }
  roam_rc here = route_here(b, message, from, matched);
  return rc != 0 ? rc : here;
}

/* DELIVER: to a session of ours, or one that was. */
static void take_delivery(roam_broker *b, struct roam_letter *d) {
  struct roam_record *r = d->flag ? roam_map64_get(&b->mail->arrivals, d->number) : roam_sessions_by_number(b, d->number);
  if (r) {
    roam_route_deliver(b, r, d);
  } else if (d->flag && d->group != 0) {
    roam_mail_again(b, &d->message, d->group);
  } else if (d->flag) {
    b->stats.messages_dropped++; /* it has ended while it was on its way */
  } else if (roam_map64_get(&b->mail->ghosts, d->number)) {
    roam_ghost_forward(b, d->number, d);
  } else if (d->group != 0) {
    uint32_t owner = ROAM_WORKER_OF(d->group);
    struct roam_letter again = {.kind = ROAM_LETTER_AGAIN, .group = d->group, .number = d->number, .message = d->message};
    roam_mail_flush(b);
    roam_blob_ref(d->message.blob);
    roam_mail_post(b, owner, &again);
  }
}

void roam_mail_take_message(roam_broker *b, uint32_t from, struct roam_letter *letter) {
  struct roam_mail *m = b->mail;
  size_t matched = 0;
  if (!letter->message.blob) return;
  switch (letter->kind) {
    case ROAM_LETTER_PUBLISH:
      m->origin = from;
      if (letter->stamp != 0) retain(b, from, &letter->message, letter->stamp);
      /* Its publisher may have been told that all is well, and who misses it is not known. */
      if (route_here(b, &letter->message, letter->number, &matched) != 0 && letter->message.qos > 0) roam_mail_fail(b);
      m->origin = m->self;
      break;
    case ROAM_LETTER_DELIVER: take_delivery(b, letter); break;
    case ROAM_LETTER_AGAIN:
      if (letter->number != 0) roam_topics_forget(&m->shares, letter->number); /* it is not there, whatever we thought */
      roam_mail_again(b, &letter->message, letter->group);
      break;
    default: break;
  }
}
