/* records.c - keys and records as bytes. Version 2 of the layout; of version 1, which had no flows, a session's record
 * without its user is still read. */
#include "broker/records.h"

#include "broker/topics.h"

#include <string.h>

enum {
  SESSION_HEAD = 13, /* in layout 1 the identifier follows */
  SESSION_USER = 16,
  DELIVERY_HEAD = 10,
  MESSAGE_HEAD = 20
};

void roam_number_write(uint8_t *out, uint64_t number, size_t len) {
  for (size_t i = 0; i < len; i++) out[i] = (uint8_t)(number >> (8 * (len - 1 - i)));
}

uint64_t roam_number_read(roam_bytes at) {
  uint64_t number = 0;
  for (size_t i = 0; i < at.len && i < 8; i++) number = number << 8 | at.base[i];
  return number;
}

static uint64_t read_at(roam_bytes in, size_t at, size_t len) { return roam_number_read((roam_bytes){in.base + at, len}); }

static uint8_t *put_bytes(uint8_t *at, roam_bytes bytes) {
  if (bytes.len > 0) memcpy(at, bytes.base, bytes.len);
  return at + bytes.len;
}

/* ---- keys ---- */

struct roam_key roam_key_of(uint8_t kind, uint64_t number) {
  struct roam_key k = {.len = 9};
  k.bytes[0] = kind;
  roam_number_write(k.bytes + 1, number, 8);
  return k;
}

struct roam_key roam_key_below(uint64_t session, uint8_t kind, uint64_t n, int len) {
  struct roam_key k = roam_key_of(ROAM_KEY_SESSION, session);
  k.bytes[9] = kind;
  roam_number_write(k.bytes + 10, n, (size_t)len);
  k.len = 10 + (size_t)len;
  return k;
}

size_t roam_key_text(uint8_t *out, const uint64_t *session, uint8_t kind, roam_bytes text) {
  size_t len = 0;
  if (session) {
    out[0] = ROAM_KEY_SESSION;
    roam_number_write(out + 1, *session, 8);
    len = 9;
  }
  out[len++] = kind;
  return (size_t)(put_bytes(out + len, text) - out);
}

/* ---- sessions ---- */

size_t roam_session_record_size(const struct roam_session_record *r) { return SESSION_USER + r->user.len + r->id.len; }

void roam_session_record_write(uint8_t *out, const struct roam_session_record *r) {
  out[0] = r->version;
  roam_number_write(out + 1, r->expiry_s, 4);
  roam_number_write(out + 5, r->gone_at, 8);
  out[SESSION_HEAD] = r->user_known;
  roam_number_write(out + SESSION_HEAD + 1, r->user.len, 2);
  put_bytes(put_bytes(out + SESSION_USER, r->user), r->id);
}

bool roam_session_record_read(uint32_t layout, roam_bytes in, struct roam_session_record *out) {
  size_t head = layout < 2 ? SESSION_HEAD : SESSION_USER, user = 0;
  if (in.len < head) return false;
  *out = (struct roam_session_record){
      .version = in.base[0], .expiry_s = (uint32_t)read_at(in, 1, 4), .gone_at = read_at(in, 5, 8)};
  if (layout >= 2) {
    user = (size_t)read_at(in, SESSION_HEAD + 1, 2);
    if (in.base[SESSION_HEAD] > 1 || user > in.len - head) return false;
    out->user_known = in.base[SESSION_HEAD] != 0;
    out->user = (roam_bytes){in.base + head, user};
  }
  out->id = (roam_bytes){in.base + head + user, in.len - head - user};
  return true;
}

/* ---- deliveries ---- */

enum {
  DELIVERY_RETAIN = 1,
  DELIVERY_FLOW = 2
};

size_t roam_delivery_record_size(const struct roam_delivery_record *r) {
  return DELIVERY_HEAD + (r->flow ? 8 : 0) + r->sub_ids.len;
}

void roam_delivery_record_write(uint8_t *out, const struct roam_delivery_record *r) {
  roam_number_write(out, r->message, 8);
  out[8] = r->qos;
  out[9] = (uint8_t)(r->retain * DELIVERY_RETAIN | (r->flow != 0) * DELIVERY_FLOW);
  if (r->flow) roam_number_write(out + DELIVERY_HEAD, r->flow, 8);
  put_bytes(out + DELIVERY_HEAD + (r->flow ? 8 : 0), r->sub_ids);
}

bool roam_delivery_record_read(roam_bytes in, struct roam_delivery_record *out) {
  if (in.len < DELIVERY_HEAD || in.base[8] == 0 || in.base[8] > 2) return false;
  size_t head = DELIVERY_HEAD + (in.base[9] & DELIVERY_FLOW ? 8 : 0);
  if (in.len < head) return false;
  *out = (struct roam_delivery_record){.message = read_at(in, 0, 8),
                                       .qos = in.base[8],
                                       .retain = (in.base[9] & DELIVERY_RETAIN) != 0,
                                       .flow = head > DELIVERY_HEAD ? read_at(in, DELIVERY_HEAD, 8) : 0,
                                       .sub_ids = {in.base + head, in.len - head}};
  return true;
}

/* ---- subscriptions ---- */

void roam_subscription_record_write(uint8_t out[ROAM_SUBSCRIPTION_RECORD], const struct roam_subscription *s) {
  out[0] = s->qos;
  out[1] = (uint8_t)(s->no_local | s->retain_as_published << 1 | s->datagram << 2);
  roam_number_write(out + 2, s->identifier, 4);
}

bool roam_subscription_record_read(roam_bytes in, struct roam_subscription *out) {
  if (in.len != ROAM_SUBSCRIPTION_RECORD || in.base[0] > 2) return false;
  *out = (struct roam_subscription){.qos = in.base[0],
                                    .no_local = in.base[1] & 1,
                                    .retain_as_published = in.base[1] >> 1 & 1,
                                    .datagram = in.base[1] >> 2 & 1,
                                    .identifier = (uint32_t)read_at(in, 2, 4)};
  return true;
}

/* ---- messages ---- */

size_t roam_message_record_size(const struct roam_message_record *r) {
  return MESSAGE_HEAD + r->topic.len + r->props.len + r->payload.len;
}

void roam_message_record_write(uint8_t *out, const struct roam_message_record *r) {
  roam_number_write(out, r->at, 8);
  roam_number_write(out + 8, r->delay_s, 4);
  out[12] = r->qos;
  out[13] = r->retain;
  roam_number_write(out + 14, r->topic.len, 2);
  roam_number_write(out + 16, r->props.len, 4);
  put_bytes(put_bytes(put_bytes(out + MESSAGE_HEAD, r->topic), r->props), r->payload);
}

bool roam_message_record_read(roam_bytes in, struct roam_message_record *out) {
  if (in.len < MESSAGE_HEAD) return false;
  size_t topic = (size_t)read_at(in, 14, 2), props = (size_t)read_at(in, 16, 4), left = in.len - MESSAGE_HEAD;
  if (topic > left || props > left - topic || in.base[12] > 2) return false;
  const uint8_t *at = in.base + MESSAGE_HEAD;
  *out = (struct roam_message_record){.at = read_at(in, 0, 8),
                                      .delay_s = (uint32_t)read_at(in, 8, 4),
                                      .qos = in.base[12],
                                      .retain = in.base[13] != 0,
                                      .topic = {at, topic},
                                      .props = {at + topic, props},
                                      .payload = {at + topic + props, left - topic - props}};
  return true;
}
