/* quic_tls.c - see quic_tls.h.
 *
 * Certificates are trust.c's.
 *
 * Three things are checked that neither library checks, each of which lets a stranger end the process or in:
 *  - a ClientHello without quic_transport_parameters (ngtcp2 asserts when it writes next): alert missing_extension;
 *  - TLS messages after the handshake other than NewSessionTicket to a client, any at all to a server (a TLS KeyUpdate
 * makes ngtcp2 assert): alert unexpected_message, and GnuTLS never sees them;
 *  - a ClientHello without our ALPN: alert no_application_protocol.
 *
 * Tickets. A server's ticket key comes from its secret, so that a restarted one takes its predecessor's tickets, and from
 * what it demands of client certificates, because a resumed handshake checks none. Early data is taken once
 * (quic_replay.h).
 *
 * GnuTLS writes session keys to the file named by the environment variable SSLKEYLOGFILE on its own; this file can only say
 * so. It refuses to keep tickets. */
#include "transport/quic_tls.h"
#include "transport/ticket.h"

#include <gnutls/crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Compatibility mode is forbidden in QUIC; the order saves a third of a handshake's work against GnuTLS's own. */
#define PRIORITY                                                                                                           \
  "NORMAL:-VERS-ALL:+VERS-TLS1.3:%DISABLE_TLS13_COMPAT_MODE"                                                               \
  ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"                                                            \
  ":-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305:+AES-256-GCM"

enum {
  ALERT_UNEXPECTED_MESSAGE = 10,
  ALERT_MISSING_EXTENSION = 109,
  TLS_NEW_SESSION_TICKET = 4,
  SHA256_BYTES = 32
};

/* ---- the endpoint's share ------------------------------------------------------------------------------------------ */

static bool split_alpn(struct roam_quic_tls *tls, const char *alpn) {
  if (!alpn || strlen(alpn) == 0 || strlen(alpn) >= sizeof tls->alpn) return false;
  strcpy(tls->alpn, alpn);
  for (const char *at = alpn;; at++) {
    size_t len = strcspn(at, " ");
    if (len == 0 || tls->alpns_count == ROAM_ALPNS_MAX) return false;
    memcpy(tls->alpns[tls->alpns_count++], at, len); /* zeroed */
    at += len;
    if (!*at) return true;
  }
}

static roam_rc set_up_tickets(struct roam_quic_tls *tls, const roam_transport_options *o, const roam_time *now) {
  tls->early_data = o->early_data;
  /* A resumed handshake shows no client certificate: who must show one, or may, does so each time. */
  if (!tls->trust.credentials->has_certificate || roam_trust_asks(&tls->trust)) return 0;
  roam_rc rc = roam_ticket_key_make(&tls->ticket_key, o, "roamqtt tickets 1");
  if (rc != 0 || !tls->early_data) return rc;
  tls->replay.workers = o->workers;
  tls->replay.worker = o->worker;
  return roam_replay_init(&tls->replay, o->replay_window_ns, o->replay_keys_max, o->random, now);
}

static int add_to_hash(gnutls_hash_hd_t hash, const void *bytes, size_t len) {
  uint64_t n = len;
  int rv = gnutls_hash(hash, &n, sizeof n);
  return rv < 0 || len == 0 ? rv : gnutls_hash(hash, bytes, len);
}

roam_rc roam_tls_fingerprint(const roam_tls_config *tls, const char *alpn, const char *server_name, uint8_t out[32]) {
  gnutls_hash_hd_t hash;
  if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0) return ROAM_E_MEMORY;
  int rv = add_to_hash(hash, alpn, strlen(alpn));
  if (rv >= 0) rv = add_to_hash(hash, server_name, strlen(server_name));
  if (rv >= 0) rv = add_to_hash(hash, tls->insecure ? "insecure" : "", tls->insecure ? 8 : 0);
  if (rv >= 0) rv = add_to_hash(hash, tls->ca.base, tls->ca.len);
  if (rv >= 0) rv = add_to_hash(hash, tls->certificate.base, tls->certificate.len);
  gnutls_hash_deinit(hash, out);
  return rv < 0 ? ROAM_E_TLS : 0;
}

roam_rc roam_quic_tls_init(struct roam_quic_tls *tls, const roam_transport_options *o, const roam_time *now,
                           const char **why) {
  memset(tls, 0, sizeof *tls);
  if (!split_alpn(tls, o->alpn)) {
    *why = "alpn must be 1 to 31 bytes, at most 4 names separated by single spaces";
    return ROAM_E_OPTION;
  }
  tls->tap = o->tap;
  if (gnutls_priority_init(&tls->priority, PRIORITY, NULL) < 0) {
    *why = "this GnuTLS cannot do TLS 1.3 with the ciphers QUIC needs";
    return ROAM_E_TLS;
  }
  roam_rc rc = roam_trust_init(&tls->trust, &o->tls, o->now, why);
  return rc != 0 ? rc : set_up_tickets(tls, o, now);
}

void roam_quic_tls_reset(struct roam_quic_tls *tls) {
  roam_replay_reset(&tls->replay);
  roam_ticket_key_free(&tls->ticket_key);
  if (tls->priority) gnutls_priority_deinit(tls->priority);
  tls->priority = NULL;
  roam_trust_reset(&tls->trust);
}

int64_t roam_quic_tls_wall(const struct roam_quic_tls *tls, roam_time now) { return roam_trust_wall(&tls->trust, now); }

/* False: no memory. A certificate without a usable name is none. */
static bool keep_subject(struct roam_quic_session *s) {
  char subject[ROAM_SUBJECT_MAX];
  if (!roam_trust_subject(s->handle, subject)) return true;
  free(s->subject);
  s->subject = strdup(subject);
  return s->subject != NULL;
}

static int verify_peer(gnutls_session_t handle) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  struct roam_trust_check check = {.handle = handle,
                                   .trust = &s->tls->trust,
                                   .credentials = s->credentials,
                                   .server = s->server,
                                   .name = s->name,
                                   .now = *s->now,
                                   .text = s->text};
  int rv = roam_trust_verify(&check);
  if (check.rc != 0) s->rc = check.rc;
  if (rv == 0 && (s->server || !s->tls->trust.insecure) && !keep_subject(s)) {
    s->rc = ROAM_E_MEMORY;
    rv = GNUTLS_E_MEMORY_ERROR;
  }
  return rv;
}

/* ---- a connection's session ------------------------------------------------------------------------------------------ */

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref) {
  struct roam_quic_session *s = ref->user_data;
  return s->conn;
}

const char *roam_quic_tls_alpn(const struct roam_quic_tls *tls, const char *name) {
  if (!name) return tls->alpns_count == 1 ? tls->alpns[0] : NULL;
  for (unsigned i = 0; i < tls->alpns_count; i++)
    if (strcmp(tls->alpns[i], name) == 0) return tls->alpns[i];
  return NULL;
}

const char *roam_quic_session_alpn(const struct roam_quic_session *s) {
  gnutls_datum_t chosen;
  if (gnutls_alpn_get_selected_protocol(s->handle, &chosen) < 0) return NULL;
  for (unsigned i = 0; i < s->tls->alpns_count; i++) {
    const char *ours = s->tls->alpns[i];
    if (chosen.size == strlen(ours) && memcmp(chosen.data, ours, chosen.size) == 0) return ours;
  }
  return NULL;
}

static int check_client_hello(gnutls_session_t handle, unsigned type, unsigned when, unsigned incoming,
                              const gnutls_datum_t *message) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  (void)type, (void)when, (void)message;
  if (!incoming || roam_quic_session_alpn(s)) return 0;
  s->rc = ROAM_E_ALPN;
  snprintf(s->text, ROAM_CONN_TEXT_MAX, "the client does not ask for the protocol \"%s\"", s->tls->alpn);
  return GNUTLS_E_NO_APPLICATION_PROTOCOL;
}

bool roam_quic_session_give_ticket(struct roam_quic_session *s, roam_bytes sealed) {
  return roam_ticket_give(s->handle, sealed);
}

/* A ticket of the server's. Before it is read, the first four bytes of the message are its lifetime; after, GnuTLS can give
 * what the next handshake needs. */
static int keep_ticket(gnutls_session_t handle, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  (void)type;
  if (!incoming) return 0;
  if (when == GNUTLS_HOOK_PRE) {
    s->ticket_lifetime_s = roam_ticket_lifetime(message);
    return 0;
  }
  roam_blob *ticket = roam_ticket_take(handle);
  if (!ticket) return 0;
  roam_blob_unref(s->ticket);
  s->ticket = ticket;
  return 0;
}

void roam_quic_session_send_ticket(struct roam_quic_session *s) {
  if (s->tls->ticket_key.size > 0 && !roam_trust_asks(&s->tls->trust)) gnutls_session_ticket_send(s->handle, 1, 0);
}

static int set_up_tickets_of(struct roam_quic_session *s) {
  struct roam_quic_tls *tls = s->tls;
  if (tls->ticket_key.size == 0 || roam_trust_asks(&tls->trust)) return 0; /* certify may have changed it */
  int rv = gnutls_session_ticket_enable_server(s->handle, &tls->ticket_key);
  gnutls_db_set_cache_expiration(s->handle, ROAM_TICKET_LIFETIME_S);
  if (rv < 0 || !tls->early_data) return rv;
  gnutls_anti_replay_enable(s->handle, tls->replay.handle);
  return gnutls_record_set_max_early_data_size(s->handle, UINT32_MAX);
}

static int choose_credentials(gnutls_session_t handle) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  const struct roam_quic_session *s = ref->user_data;
  return roam_credentials_choose(s->credentials, handle);
}

static int set_up_server(struct roam_quic_session *s) {
  int rv = set_up_tickets_of(s);
  if (rv < 0) return rv;
  roam_trust_ask_client(&s->tls->trust, s->handle);
  gnutls_handshake_set_post_client_hello_function(s->handle, choose_credentials);
  gnutls_handshake_set_hook_function(s->handle, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_POST, check_client_hello);
  return ngtcp2_crypto_gnutls_configure_server_session(s->handle);
}

static int set_up_client(struct roam_quic_session *s) {
  roam_addr addr;
  bool is_ip = s->name && roam_addr_parse(s->name, &addr) == 0;
  if (!is_ip && s->name && s->name[0]) {
    int rv = gnutls_server_name_set(s->handle, GNUTLS_NAME_DNS, s->name, strlen(s->name));
    if (rv < 0) return rv;
  }
  gnutls_handshake_set_hook_function(s->handle, GNUTLS_HANDSHAKE_NEW_SESSION_TICKET, GNUTLS_HOOK_BOTH, keep_ticket);
  return ngtcp2_crypto_gnutls_configure_client_session(s->handle);
}

/* A line of the NSS key log format: label, client random, secret, both in hex. */
static int tell_secret(gnutls_session_t handle, const char *label, const gnutls_datum_t *secret) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  gnutls_datum_t random, server_random;
  char line[64 + 2 * 32 + 2 * 64 + 4];
  gnutls_session_get_random(handle, &random, &server_random);
  if (random.size > 32 || secret->size > 64) return 0;
  int at = snprintf(line, sizeof line, "%.63s ", label);
  for (unsigned i = 0; i < random.size; i++) at += snprintf(line + at, sizeof line - (size_t)at, "%02x", random.data[i]);
  line[at++] = ' ';
  for (unsigned i = 0; i < secret->size; i++) at += snprintf(line + at, sizeof line - (size_t)at, "%02x", secret->data[i]);
  s->tls->tap.keylog(s->tls->tap.context, line);
  gnutls_memset(line, 0, sizeof line);
  return 0;
}

/* Early data must be of the protocol that the ticket is of (RFC 8446 section 4.2.10), so nothing else may be chosen. */
static int offer_protocols(struct roam_quic_session *s) {
  gnutls_datum_t alpn[ROAM_ALPNS_MAX];
  unsigned count = 0;
  for (unsigned i = 0; i < s->tls->alpns_count; i++) {
    const char *name = s->tls->alpns[i];
    if (!s->early || name == s->early)
      alpn[count++] = (gnutls_datum_t){(unsigned char *)(uintptr_t)name, (unsigned)strlen(name)};
  }
  return gnutls_alpn_set_protocols(s->handle, alpn, count, 0);
}

static int set_up(struct roam_quic_session *s) {
  int rv = gnutls_priority_set(s->handle, s->tls->priority);
  if (rv >= 0) rv = s->server ? set_up_server(s) : set_up_client(s);
  if (rv >= 0) rv = gnutls_credentials_set(s->handle, GNUTLS_CRD_CERTIFICATE, s->credentials->handle);
  if (rv >= 0) rv = offer_protocols(s);
  if (rv < 0) return rv;
  if (!s->server || roam_trust_asks(&s->tls->trust)) gnutls_session_set_verify_function(s->handle, verify_peer);
  if (s->tls->tap.keylog) gnutls_session_set_keylog_function(s->handle, tell_secret);
  gnutls_session_set_ptr(s->handle, &s->ref);
  return 0;
}

roam_rc roam_quic_session_init(struct roam_quic_session *s, struct roam_quic_tls *tls, ngtcp2_conn *conn, bool server,
                               const char *name, char text[ROAM_CONN_TEXT_MAX], const roam_time *now, const char *early) {
  unsigned flags = server ? GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET : GNUTLS_CLIENT;
  if (server ? tls->early_data && tls->ticket_key.size > 0 : early != NULL)
    flags |= GNUTLS_ENABLE_EARLY_DATA | GNUTLS_NO_END_OF_EARLY_DATA;
  free(s->subject);
  memset(s, 0, sizeof *s);
  s->tls = tls;
  s->conn = conn;
  s->server = server;
  s->early = early;
  s->now = now;
  s->ref.get_conn = get_conn;
  s->ref.user_data = s;
  s->name = name;
  s->text = text;
  if (gnutls_init(&s->handle, flags) < 0) return ROAM_E_MEMORY;
  s->credentials = roam_trust_take(&tls->trust, server);
  if (set_up(s) < 0) {
    roam_quic_session_reset(s);
    return ROAM_E_TLS;
  }
  ngtcp2_conn_set_tls_native_handle(conn, s->handle);
  return 0;
}

void roam_quic_session_reset(struct roam_quic_session *s) {
  roam_blob_unref(s->ticket);
  s->ticket = NULL;
  if (s->handle) gnutls_deinit(s->handle);
  s->handle = NULL;
  roam_credentials_release(s->credentials);
  s->credentials = NULL;
}

static int fail_alert(struct roam_quic_session *s, uint8_t alert, const char *text) {
  if (s->rc == 0) {
    s->rc = ROAM_E_PROTOCOL;
    snprintf(s->text, ROAM_CONN_TEXT_MAX, "%s", text);
  }
  ngtcp2_conn_set_tls_alert(s->conn, alert);
  return NGTCP2_ERR_CRYPTO;
}

/* Client: only NewSessionTicket may come after the handshake; messages may be cut over frames anywhere. */
static bool allows_post_handshake(struct roam_quic_session *s, const uint8_t *data, size_t len) {
  while (len > 0) {
    if (s->post_left > 0) {
      size_t n = len < s->post_left ? len : s->post_left;
      s->post_left -= (uint32_t)n;
      data += n;
      len -= n;
      continue;
    }
    s->post_header[s->post_header_len++] = *data++;
    len--;
    if (s->post_header[0] != TLS_NEW_SESSION_TICKET) return false;
    if (s->post_header_len < 4) continue;
    s->post_left = (uint32_t)s->post_header[1] << 16 | (uint32_t)s->post_header[2] << 8 | s->post_header[3];
    s->post_header_len = 0;
  }
  return true;
}

int roam_quic_session_recv_crypto(struct roam_quic_session *s, ngtcp2_encryption_level level, uint64_t offset,
                                  const uint8_t *data, size_t len) {
  if (level == NGTCP2_ENCRYPTION_LEVEL_1RTT && (s->server || !allows_post_handshake(s, data, len)))
    return fail_alert(s, ALERT_UNEXPECTED_MESSAGE, "the peer sent a TLS message that QUIC forbids");
  if (!s->handle) return 0; /* given back: what comes late is a repetition */
  int rv = ngtcp2_crypto_recv_crypto_data_cb(s->conn, level, offset, data, len, NULL);
  if (rv != 0) return rv;
  if (s->server && s->tx_key && ngtcp2_conn_get_negotiated_version(s->conn) == 0)
    return fail_alert(s, ALERT_MISSING_EXTENSION, "the client sent no QUIC transport parameters");
  return 0;
}
