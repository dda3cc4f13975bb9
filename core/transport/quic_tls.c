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
 * GnuTLS writes session keys to the file named by the environment variable SSLKEYLOGFILE on its own; this file can only say
 * so. It refuses to know resumption; credentials and session are laid out so that it can be added. */
#include "transport/quic_tls.h"

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
  TLS_NEW_SESSION_TICKET = 4
};

/* ---- the endpoint's share ------------------------------------------------------------------------------------------ */

roam_rc roam_quic_tls_init(struct roam_quic_tls *tls, const roam_transport_options *o, const char **why) {
  memset(tls, 0, sizeof *tls);
  if (!o->alpn || strlen(o->alpn) == 0 || strlen(o->alpn) >= sizeof tls->alpn) {
    *why = "alpn must be 1 to 31 bytes";
    return ROAM_E_OPTION;
  }
  strcpy(tls->alpn, o->alpn);
  if (gnutls_priority_init(&tls->priority, PRIORITY, NULL) < 0) {
    *why = "this GnuTLS cannot do TLS 1.3 with the ciphers QUIC needs";
    return ROAM_E_TLS;
  }
  return roam_trust_init(&tls->trust, &o->tls, o->now, why);
}

void roam_quic_tls_reset(struct roam_quic_tls *tls) {
  if (tls->priority) gnutls_priority_deinit(tls->priority);
  tls->priority = NULL;
  roam_trust_reset(&tls->trust);
}

int64_t roam_quic_tls_wall(const struct roam_quic_tls *tls, roam_time now) { return roam_trust_wall(&tls->trust, now); }

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
  if (rv == 0 && (s->server || !s->tls->trust.insecure) && !roam_trust_subject(handle, s->subject)) s->subject[0] = '\0';
  return rv;
}

/* ---- a connection's session ------------------------------------------------------------------------------------------ */

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref) {
  struct roam_quic_session *s = ref->user_data;
  return s->conn;
}

bool roam_quic_session_has_alpn(const struct roam_quic_session *s) {
  gnutls_datum_t chosen;
  return gnutls_alpn_get_selected_protocol(s->handle, &chosen) >= 0 && chosen.size == strlen(s->tls->alpn) &&
         memcmp(chosen.data, s->tls->alpn, chosen.size) == 0;
}

static int check_client_hello(gnutls_session_t handle, unsigned type, unsigned when, unsigned incoming,
                              const gnutls_datum_t *message) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  (void)type, (void)when, (void)message;
  if (!incoming || roam_quic_session_has_alpn(s)) return 0;
  s->rc = ROAM_E_ALPN;
  snprintf(s->text, sizeof s->text, "the client does not ask for the protocol \"%s\"", s->tls->alpn);
  return GNUTLS_E_NO_APPLICATION_PROTOCOL;
}

static int set_up_server(struct roam_quic_session *s) {
  roam_trust_ask_client(&s->tls->trust, s->handle);
  gnutls_handshake_set_hook_function(s->handle, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_POST, check_client_hello);
  return ngtcp2_crypto_gnutls_configure_server_session(s->handle);
}

static int set_up_client(struct roam_quic_session *s) {
  roam_addr addr;
  bool is_ip = roam_addr_parse(s->name, &addr) == 0;
  if (!is_ip && s->name[0]) {
    int rv = gnutls_server_name_set(s->handle, GNUTLS_NAME_DNS, s->name, strlen(s->name));
    if (rv < 0) return rv;
  }
  return ngtcp2_crypto_gnutls_configure_client_session(s->handle);
}

static int set_up(struct roam_quic_session *s) {
  gnutls_datum_t alpn = {(unsigned char *)s->tls->alpn, (unsigned)strlen(s->tls->alpn)};
  int rv = gnutls_priority_set(s->handle, s->tls->priority);
  if (rv >= 0) rv = s->server ? set_up_server(s) : set_up_client(s);
  if (rv >= 0) rv = gnutls_credentials_set(s->handle, GNUTLS_CRD_CERTIFICATE, s->credentials->handle);
  if (rv >= 0) rv = gnutls_alpn_set_protocols(s->handle, &alpn, 1, 0);
  if (rv < 0) return rv;
  if (!s->server || roam_trust_asks(&s->tls->trust)) gnutls_session_set_verify_function(s->handle, verify_peer);
  gnutls_session_set_ptr(s->handle, &s->ref);
  return 0;
}

roam_rc roam_quic_session_init(struct roam_quic_session *s, struct roam_quic_tls *tls, ngtcp2_conn *conn, bool server,
                               const char *name, const roam_time *now) {
  memset(s, 0, sizeof *s);
  s->tls = tls;
  s->conn = conn;
  s->server = server;
  s->now = now;
  s->ref.get_conn = get_conn;
  s->ref.user_data = s;
  if (name) snprintf(s->name, sizeof s->name, "%s", name);
  if (gnutls_init(&s->handle, server ? GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET : GNUTLS_CLIENT) < 0)
    return ROAM_E_MEMORY;
  s->credentials = roam_trust_take(&tls->trust, server);
  if (set_up(s) < 0) {
    roam_quic_session_reset(s);
    return ROAM_E_TLS;
  }
  ngtcp2_conn_set_tls_native_handle(conn, s->handle);
  return 0;
}

void roam_quic_session_reset(struct roam_quic_session *s) {
  if (s->handle) gnutls_deinit(s->handle);
  s->handle = NULL;
  roam_credentials_release(s->credentials);
  s->credentials = NULL;
}

static int fail_alert(struct roam_quic_session *s, uint8_t alert, const char *text) {
  if (s->rc == 0) {
    s->rc = ROAM_E_PROTOCOL;
    snprintf(s->text, sizeof s->text, "%s", text);
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
  int rv = ngtcp2_crypto_recv_crypto_data_cb(s->conn, level, offset, data, len, NULL);
  if (rv != 0) return rv;
  if (s->server && s->tx_key && ngtcp2_conn_get_negotiated_version(s->conn) == 0)
    return fail_alert(s, ALERT_MISSING_EXTENSION, "the client sent no QUIC transport parameters");
  return 0;
}
