/* saved.h - what a client remembers of servers between connections and, as bytes the application keeps, between runs: a
 * ticket with its transport parameters, an address token, the round-trip time.
 *
 * An entry belongs to a host, a port and a fingerprint (protocol, server name, trust settings, our own certificate),
 * because a resumed handshake checks no certificate: a ticket got under other settings is not even looked at. At most
 * ROAM_SAVED_MAX entries; the one not used for longest gives way. Expired tickets are dropped before they are used. */
#ifndef ROAM_CLIENT_SAVED_H
#define ROAM_CLIENT_SAVED_H

#include "transport/transport.h"

#define ROAM_SAVED_MAX 8u
#define ROAM_SAVED_HOST_MAX 256
#define ROAM_SAVED_PRINT 32
#define ROAM_SAVED_ALPN_MAX 32

struct roam_saved_key {
  const char *host;
  uint16_t port;
  uint8_t print[ROAM_SAVED_PRINT];
};

struct roam_saved_entry {
  char host[ROAM_SAVED_HOST_MAX]; /* "": free */
  uint16_t port;
  uint8_t print[ROAM_SAVED_PRINT];
  roam_blob *session, *params, *token;
  int64_t received_unix_s; /* the ticket; 0: the time of day was not known */
  roam_time received_at;   /* in this run; 0: in an earlier one */
  uint32_t lifetime_s;
  char alpn[ROAM_SAVED_ALPN_MAX]; /* what the ticket is of; "": not known */
  uint64_t rtt_ns;
  uint64_t used; /* turn of the last use */
};

struct roam_saved {
  struct roam_saved_entry *entries; /* ROAM_SAVED_MAX, or NULL while there is nothing */
  uint64_t turn;
  bool changed; /* since it was last told */
  uint8_t *encoded;
  size_t encoded_len;
};

/* now and the time of day that belongs to it (0: not known). */
struct roam_saved_time {
  roam_time now;
  int64_t unix_s;
};

void roam_saved_reset(struct roam_saved *s);
/* What an earlier run saved. False: nothing of it can be read. Entries that cannot be are skipped. */
bool roam_saved_load(struct roam_saved *s, roam_bytes bytes);
/* For a connection to that server: fills *out (views live until the next call). A token is given once. */
void roam_saved_offer(struct roam_saved *s, const struct roam_saved_key *key, const struct roam_saved_time *t,
                      roam_resume *out);
/* The ticket has been used and must not be again: over TCP it would tell who we are to whoever watches (RFC 8446, C.4). */
void roam_saved_spend(struct roam_saved *s, const struct roam_saved_key *key);
/* A connection has learned this; rtt_ns in it is kept when not 0. */
void roam_saved_learn(struct roam_saved *s, const struct roam_saved_key *key, const struct roam_saved_time *t,
                      const roam_resume *learned);
/* The ticket for that server is of no use any more. */
void roam_saved_drop_ticket(struct roam_saved *s, const struct roam_saved_key *key);
/* As bytes for roam_saved_load; live until the next call. Empty: nothing to save, or no memory. */
roam_bytes roam_saved_encode(struct roam_saved *s);

#endif
