/* quic_tls.h - all GnuTLS for QUIC: credentials of an endpoint, the TLS session of a connection, and the hooks that make
 * both safe against what a stranger sends. */
#ifndef ROAM_TRANSPORT_QUIC_TLS_H
#define ROAM_TRANSPORT_QUIC_TLS_H

#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "transport/error.h"
#include "transport/quic_replay.h"
#include "transport/transport.h"
#include "transport/trust.h"

enum {
  ROAM_ALPN_MAX = 32,
  ROAM_ALPNS_MAX = 4,
  ROAM_SERVER_NAME_MAX = 256
};

/* What all connections of an endpoint share. */
struct roam_quic_tls {
  struct roam_trust trust;
  gnutls_priority_t priority;
  char alpn[ROAM_ALPN_MAX]; /* as it was given */
  char alpns[ROAM_ALPNS_MAX][ROAM_ALPN_MAX];
  unsigned alpns_count;
  bool early_data;
  gnutls_datum_t ticket_key; /* server; empty: no tickets */
  struct roam_replay replay; /* server */
  roam_tap tap;
};

/* One connection's. `ref` must be where GnuTLS finds it: the struct does not move while handle lives. */
struct roam_quic_session {
  gnutls_session_t handle;
  struct roam_credentials *credentials;
  ngtcp2_crypto_conn_ref ref;
  ngtcp2_conn *conn;
  struct roam_quic_tls *tls;
  const roam_time *now; /* the endpoint's */
  bool server;
  const char *early;                       /* client: what early data speaks, NULL: there is none */
  bool tx_key;                             /* a key above Initial was installed for sending */
  uint8_t post_header[4], post_header_len; /* client: handshake messages after the handshake, by their headers */
  uint32_t post_left;
  roam_rc rc;        /* why the handshake was ended by us, with text; 0 when it was not */
  roam_blob *ticket; /* client: one that has arrived and nobody has taken */
  uint32_t ticket_lifetime_s;
  const char *name; /* borrowed */
  char *text;       /* borrowed: ROAM_CONN_TEXT_MAX bytes, where it is said why the handshake was ended */
  char *subject;    /* of the verified peer, or NULL; outlives a reset, for whoever has the session to free */
};

/* now: the endpoint's, for as long as tls lives. */
roam_rc roam_quic_tls_init(struct roam_quic_tls *tls, const roam_transport_options *o, const roam_time *now,
                           const char **why);
void roam_quic_tls_reset(struct roam_quic_tls *tls);
/* Seconds since 1970 at this now; 0 when nobody told. */
int64_t roam_quic_tls_wall(const struct roam_quic_tls *tls, roam_time now);

/* The session of a connection whose ngtcp2_conn exists already. name: of the server, for a client; for SNI and the check.
 * It and text live as long as the session, which is zero before, or reset. early: a client with leave to send early data:
 * the protocol it speaks, one of roam_quic_tls_alpn; else NULL. */
roam_rc roam_quic_session_init(struct roam_quic_session *s, struct roam_quic_tls *tls, ngtcp2_conn *conn, bool server,
                               const char *name, char text[ROAM_CONN_TEXT_MAX], const roam_time *now, const char *early);
/* Client, before the handshake: a ticket as it was kept. False: it is damaged. */
bool roam_quic_session_give_ticket(struct roam_quic_session *s, roam_bytes sealed);
/* Server, after the handshake: gives the client a ticket for its next visit. */
void roam_quic_session_send_ticket(struct roam_quic_session *s);
void roam_quic_session_reset(struct roam_quic_session *s);
/* ngtcp2's recv_crypto_data with what the library itself does not check. user_data is not used. */
int roam_quic_session_recv_crypto(struct roam_quic_session *s, ngtcp2_encryption_level level, uint64_t offset,
                                  const uint8_t *data, size_t len);
/* The one of our protocols with this name; NULL: none. Without a name: the only one. */
const char *roam_quic_tls_alpn(const struct roam_quic_tls *tls, const char *name);
/* After the handshake: which of our protocols was chosen? It lives as long as the endpoint's share; NULL: none. */
const char *roam_quic_session_alpn(const struct roam_quic_session *s);

#endif
