/* records.h - how the broker's state looks in a store: keys and records, both ways. Knows no session and no store; every
 * length it reads is checked.
 *
 * Numbers are written most significant byte first, so that keys sort as their numbers do. Times are wall time in
 * milliseconds since 1970, 0 = not set, UINT64_MAX = never. */
#ifndef ROAM_BROKER_RECORDS_H
#define ROAM_BROKER_RECORDS_H

#include <roamqtt/mqtt.h>

#define ROAM_RECORDS_VERSION 2u
#define ROAM_KEY_MAX 32u /* of keys without a text in them */

/* The first byte of a key; below a session's key, the byte behind its number. */
enum {
  ROAM_KEY_VERSION = 'f',
  ROAM_KEY_SECRET = 'k',
  ROAM_KEY_MESSAGE = 'm',
  ROAM_KEY_SESSION = 's',
  ROAM_KEY_RETAINED = 't',
  ROAM_KEY_FLOW = 'F',          /* these three before all others, so that a flow is there when it is named */
  ROAM_KEY_FLOW_FILTER = 'G',   /* flow, text */
  ROAM_KEY_FLOW_RECEIVED = 'H', /* flow, packet identifier */
  ROAM_KEY_FILTER = 'f',
  ROAM_KEY_PROGRESS = 'p', /* of a delivery, QoS 2; before ROAM_KEY_DELIVERY, so that it is read first */
  ROAM_KEY_DELIVERY = 'q',
  ROAM_KEY_RECEIVED = 'r',
  ROAM_KEY_WILL = 'w'
};

struct roam_key {
  uint8_t bytes[ROAM_KEY_MAX];
  size_t len;
};

static inline roam_bytes roam_key_view(const struct roam_key *k) { return (roam_bytes){k->bytes, k->len}; }
struct roam_key roam_key_of(uint8_t kind, uint64_t number);                          /* 'm' or 's' */
struct roam_key roam_key_below(uint64_t session, uint8_t kind, uint64_t n, int len); /* n in its last len bytes */
/* kind, then text, for 't' and 'k'; with a session, 's' number 'f' text. Writes 1 or 10 bytes and the text. */
size_t roam_key_text(uint8_t *out, const uint64_t *session, uint8_t kind, roam_bytes text);

uint64_t roam_number_read(roam_bytes at); /* all its bytes as one number, at most 8 */
void roam_number_write(uint8_t *out, uint64_t number, size_t len);

struct roam_session_record {
  uint8_t version; /* MQTT */
  uint32_t expiry_s;
  uint64_t gone_at; /* 0: connected */
  bool user_known;  /* false: whose it is was never found out */
  roam_bytes user;  /* empty: nobody's */
  roam_bytes id;
};

struct roam_delivery_record {
  uint64_t message;
  uint8_t qos;
  bool retain;
  uint64_t flow; /* 0: the control flow */
  roam_bytes sub_ids;
};

/* Messages, retained messages and wills. */
struct roam_message_record {
  uint64_t at; /* a message's expiry; when a will is due, 0: it is not waiting */
  uint32_t delay_s;
  uint8_t qos;
  bool retain;
  roam_bytes topic, props, payload;
};

#define ROAM_SUBSCRIPTION_RECORD 6u /* bytes */
struct roam_subscription;
void roam_subscription_record_write(uint8_t out[ROAM_SUBSCRIPTION_RECORD], const struct roam_subscription *s);
bool roam_subscription_record_read(roam_bytes in, struct roam_subscription *out);
size_t roam_session_record_size(const struct roam_session_record *r);
void roam_session_record_write(uint8_t *out, const struct roam_session_record *r);
/* layout: of the store it comes from, 1 to ROAM_RECORDS_VERSION; before 2 there was no user. */
bool roam_session_record_read(uint32_t layout, roam_bytes in, struct roam_session_record *out);
size_t roam_delivery_record_size(const struct roam_delivery_record *r);
void roam_delivery_record_write(uint8_t *out, const struct roam_delivery_record *r);
bool roam_delivery_record_read(roam_bytes in, struct roam_delivery_record *out);
size_t roam_message_record_size(const struct roam_message_record *r);
void roam_message_record_write(uint8_t *out, const struct roam_message_record *r);
bool roam_message_record_read(roam_bytes in, struct roam_message_record *out);

#endif
