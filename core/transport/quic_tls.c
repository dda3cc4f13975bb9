/* quic_tls.c - see quic_tls.h.
 *
 * Certificates are verified by GnuTLS with its time checks off; whether each certificate of the chain is valid today is
 * then asked here, of the wall time the endpoint was given, because GnuTLS would read the clock of the machine and a
 * simulated world has its own. The reason of a refusal is kept as a sentence.
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

#include <gnutls/crypto.h>
#include <gnutls/x509.h>
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
  CHAIN_MAX = 16,
  TICKET_KEY_BYTES = 64,
  TICKET_LIFETIME_S = 6 * 3600,
  SHA256_BYTES = 32
};

/* ---- the endpoint's share ------------------------------------------------------------------------------------------ */

static gnutls_datum_t as_datum(roam_bytes bytes) {
  return (gnutls_datum_t){(unsigned char *)(uintptr_t)bytes.base, (unsigned)bytes.len};
}

static bool parses_as_certificate(const gnutls_datum_t *pem) {
  gnutls_x509_crt_t crt;
  if (gnutls_x509_crt_init(&crt) < 0) return false;
  int rv = gnutls_x509_crt_import(crt, pem, GNUTLS_X509_FMT_PEM);
  gnutls_x509_crt_deinit(crt);
  return rv >= 0;
}

/* GnuTLS compares the two for some kinds of key only. False also when either cannot be read on its own. */
static bool belong_together(const gnutls_datum_t *certificate, const gnutls_datum_t *key_pem) {
  gnutls_x509_crt_t crt = NULL;
  gnutls_x509_privkey_t key = NULL;
  uint8_t a[64], b[64];
  size_t a_len = sizeof a, b_len = sizeof b;
  bool ok = gnutls_x509_crt_init(&crt) >= 0 && gnutls_x509_privkey_init(&key) >= 0 &&
            gnutls_x509_crt_import(crt, certificate, GNUTLS_X509_FMT_PEM) >= 0 &&
            gnutls_x509_privkey_import2(key, key_pem, GNUTLS_X509_FMT_PEM, NULL, 0) >= 0 &&
            gnutls_x509_crt_get_key_id(crt, 0, a, &a_len) >= 0 && gnutls_x509_privkey_get_key_id(key, 0, b, &b_len) >= 0 &&
            a_len == b_len && memcmp(a, b, a_len) == 0;
  if (crt) gnutls_x509_crt_deinit(crt);
  if (key) gnutls_x509_privkey_deinit(key);
  return ok;
}

static roam_rc load_identity(struct roam_quic_tls *tls, const roam_tls_config *config, const char **why) {
  if (config->certificate.len == 0 && config->key.len == 0) return 0;
  if (config->certificate.len == 0 || config->key.len == 0) {
    *why = config->key.len == 0 ? "a certificate was given without its key" : "a key was given without its certificate";
    return ROAM_E_CERTIFICATE;
  }
  gnutls_datum_t certificate = as_datum(config->certificate), key = as_datum(config->key);
  int rv = gnutls_certificate_set_x509_key_mem(tls->credentials, &certificate, &key, GNUTLS_X509_FMT_PEM);
  if (rv >= 0 && !belong_together(&certificate, &key)) rv = GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
  tls->has_certificate = rv >= 0;
  if (rv >= 0) return 0;
  if (rv == GNUTLS_E_MEMORY_ERROR) return ROAM_E_MEMORY;
  if (!parses_as_certificate(&certificate)) *why = "the certificate is not a PEM certificate";
  else if (rv == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) *why = "the key does not belong to the certificate";
  else *why = "the key is not a PEM private key (an encrypted key must be decrypted first)";
  return ROAM_E_CERTIFICATE;
}

static roam_rc load_trust(struct roam_quic_tls *tls, const roam_tls_config *config, const char **why) {
  if (config->ca.len == 0) {
    if (!config->require_client_certificate) return 0;
    *why = "client certificates are required but no CA to check them against was given";
    return ROAM_E_CERTIFICATE;
  }
  gnutls_datum_t ca = as_datum(config->ca);
  int rv = gnutls_certificate_set_x509_trust_mem(tls->credentials, &ca, GNUTLS_X509_FMT_PEM);
  tls->has_ca = rv > 0;
  if (rv > 0) return 0;
  *why = "the CA holds no PEM certificate";
  return rv == GNUTLS_E_MEMORY_ERROR ? ROAM_E_MEMORY : ROAM_E_CERTIFICATE;
}

/* Without a secret of the owner's the key is GnuTLS's own: what the owner draws numbers from is not for keys. */
static roam_rc make_ticket_key(struct roam_quic_tls *tls, const roam_transport_options *o) {
  static const uint8_t none[sizeof o->secret] = {0};
  uint8_t text[2 * SHA256_BYTES + 1] = "roamqtt tickets 1";
  if (memcmp(o->secret, none, sizeof none) == 0)
    return gnutls_session_ticket_key_generate(&tls->ticket_key) < 0 ? ROAM_E_MEMORY : 0;
  text[SHA256_BYTES] = o->tls.require_client_certificate;
  int rv =
      gnutls_hash_fast(GNUTLS_DIG_SHA256, o->tls.ca.len ? o->tls.ca.base : text, o->tls.ca.len, text + SHA256_BYTES + 1);
  tls->ticket_key.data = gnutls_malloc(TICKET_KEY_BYTES);
  if (!tls->ticket_key.data) return ROAM_E_MEMORY;
  tls->ticket_key.size = TICKET_KEY_BYTES;
  if (rv >= 0)
    rv = gnutls_hmac_fast(GNUTLS_MAC_SHA512, o->secret, sizeof o->secret, text, sizeof text, tls->ticket_key.data);
  return rv < 0 ? ROAM_E_TLS : 0;
}

static roam_rc set_up_tickets(struct roam_quic_tls *tls, const roam_transport_options *o, const roam_time *now) {
  tls->early_data = o->early_data;
  if (!tls->has_certificate) return 0;
  roam_rc rc = make_ticket_key(tls, o);
  if (rc != 0 || !tls->early_data) return rc;
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
  if (!o->alpn || strlen(o->alpn) == 0 || strlen(o->alpn) >= sizeof tls->alpn) {
    *why = "alpn must be 1 to 31 bytes";
    return ROAM_E_OPTION;
  }
  strcpy(tls->alpn, o->alpn);
  tls->insecure = o->tls.insecure;
  tls->require_client_certificate = o->tls.require_client_certificate;
  tls->wall_unix_s = o->tls.wall_unix_s;
  tls->wall_at = o->now;
  tls->tap = o->tap;
  if (gnutls_certificate_allocate_credentials(&tls->credentials) < 0) return ROAM_E_MEMORY;
  if (gnutls_priority_init(&tls->priority, PRIORITY, NULL) < 0) {
    *why = "this GnuTLS cannot do TLS 1.3 with the ciphers QUIC needs";
    return ROAM_E_TLS;
  }
  gnutls_certificate_set_verify_flags(tls->credentials,
                                      GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS);
  roam_rc rc = load_identity(tls, &o->tls, why);
  if (rc == 0) rc = load_trust(tls, &o->tls, why);
  return rc != 0 ? rc : set_up_tickets(tls, o, now);
}

void roam_quic_tls_reset(struct roam_quic_tls *tls) {
  roam_replay_reset(&tls->replay);
  if (tls->ticket_key.data) gnutls_memset(tls->ticket_key.data, 0, tls->ticket_key.size);
  gnutls_free(tls->ticket_key.data);
  tls->ticket_key = (gnutls_datum_t){0};
  if (tls->priority) gnutls_priority_deinit(tls->priority);
  if (tls->credentials) gnutls_certificate_free_credentials(tls->credentials);
  tls->priority = NULL;
  tls->credentials = NULL;
}

int64_t roam_quic_tls_wall(const struct roam_quic_tls *tls, roam_time now) {
  if (tls->wall_unix_s == 0) return 0;
  return tls->wall_unix_s + (now > tls->wall_at ? (int64_t)((now - tls->wall_at) / ROAM_S) : 0);
}

/* ---- verification ---------------------------------------------------------------------------------------------------- */

static int refuse(struct roam_quic_session *s, const char *text) {
  s->rc = ROAM_E_CERTIFICATE;
  snprintf(s->text, sizeof s->text, "%s", text);
  return GNUTLS_E_CERTIFICATE_ERROR;
}

/* The name a certificate gives itself, for the sentence: its first alternative name, else its common name. */
static void describe_owner(gnutls_x509_crt_t crt, char *out, size_t size) {
  size_t len = size;
  snprintf(out, size, "an unnamed host");
  int rv = gnutls_x509_crt_get_subject_alt_name(crt, 0, out, &len, NULL);
  if (rv == GNUTLS_SAN_DNSNAME) return;
  if (rv == GNUTLS_SAN_IPADDRESS) {
    roam_addr addr = {.family = len == 4 ? 4 : 6};
    char text[ROAM_ADDR_TEXT_MAX];
    memcpy(addr.ip, out, len <= 16 ? len : 16);
    snprintf(out, size, "%s", roam_addr_format(&addr, text));
    return;
  }
  len = size;
  if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out, &len) < 0)
    snprintf(out, size, "an unnamed host");
}

static int refuse_owner(struct roam_quic_session *s, gnutls_x509_crt_t leaf) {
  char owner[128], text[ROAM_CONN_TEXT_MAX];
  describe_owner(leaf, owner, sizeof owner);
  for (char *c = owner; *c; c++)
    if (*c < 0x20 || *c == 0x7f) *c = '?';
  snprintf(text, sizeof text, "certificate of %.100s is not for %.100s", owner, s->name);
  return refuse(s, text);
}

/* One certificate against the wall time. who: "" for the leaf, "the authority's ". */
static int check_validity(struct roam_quic_session *s, gnutls_x509_crt_t crt, bool leaf) {
  int64_t wall = roam_quic_tls_wall(s->tls, *s->now);
  if (wall < (int64_t)gnutls_x509_crt_get_activation_time(crt))
    return refuse(s, leaf ? "certificate not yet valid (is this machine's clock right?)"
                          : "certificate of the authority not yet valid (is this machine's clock right?)");
  if (wall > (int64_t)gnutls_x509_crt_get_expiration_time(crt))
    return refuse(s, leaf ? "certificate expired" : "certificate of the authority expired");
  return 0;
}

/* The leaf, then each issuer up to the trusted one: the same path GnuTLS has verified. */
static int check_chain_times(struct roam_quic_session *s, gnutls_x509_crt_t chain[], unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    int rv = check_validity(s, chain[i], i == 0);
    if (rv != 0) return rv;
    gnutls_x509_crt_t anchor;
    if (gnutls_certificate_get_issuer(s->tls->credentials, chain[i], &anchor, 0) >= 0)
      return check_validity(s, anchor, false);
  }
  return 0;
}

static int check_status(struct roam_quic_session *s, unsigned status, gnutls_x509_crt_t leaf) {
  if (status == 0) return 0;
  if (status & GNUTLS_CERT_SIGNER_NOT_FOUND) return refuse(s, "certificate signed by an unknown authority");
  if (status & GNUTLS_CERT_SIGNER_NOT_CA) return refuse(s, "certificate signed by something that is no authority");
  if (status & GNUTLS_CERT_REVOKED) return refuse(s, "certificate was revoked");
  if (status & GNUTLS_CERT_SIGNATURE_FAILURE) return refuse(s, "certificate has a wrong signature");
  if (status & GNUTLS_CERT_INSECURE_ALGORITHM) return refuse(s, "certificate uses an insecure algorithm");
  if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
    return refuse(s, s->server ? "certificate is not one for clients" : "certificate is not one for servers");
  if (status & GNUTLS_CERT_UNEXPECTED_OWNER) return refuse_owner(s, leaf);
  return refuse(s, "certificate not acceptable");
}

static int verify_chain(struct roam_quic_session *s, gnutls_x509_crt_t chain[], unsigned n) {
  gnutls_typed_vdata_st wanted[2];
  unsigned status = 0, count = 0;
  const char *purpose = s->server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
  wanted[count++] = (gnutls_typed_vdata_st){GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)(uintptr_t)purpose, 0};
  if (!s->server) wanted[count++] = (gnutls_typed_vdata_st){GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)s->name, 0};
  if (gnutls_certificate_verify_peers(s->handle, wanted, count, &status) < 0)
    return refuse(s, s->server ? "no client certificate, or an unreadable one" : "the server's certificate is unreadable");
  /* Who signed it comes first: validity and owner of a stranger's certificate say nothing. */
  unsigned name_only = status & ~(unsigned)(GNUTLS_CERT_UNEXPECTED_OWNER | GNUTLS_CERT_INVALID);
  int rv = name_only ? check_status(s, status, chain[0]) : check_chain_times(s, chain, n);
  return rv != 0 ? rv : check_status(s, status, chain[0]);
}

static int verify_peer(gnutls_session_t handle) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  gnutls_x509_crt_t chain[CHAIN_MAX];
  unsigned given = 0, n = 0;
  if (!s->server && s->tls->insecure) return 0;
  if (s->tls->wall_unix_s == 0)
    return refuse(s, "the time of day is unknown, so no certificate can be checked; set wall_unix_s");
  const gnutls_datum_t *raw = gnutls_certificate_get_peers(handle, &given);
  if (!raw || given == 0) return refuse(s, s->server ? "the client has no certificate" : "the server has no certificate");
  if (given > CHAIN_MAX) return refuse(s, "certificate chain too long");
  int rv = 0;
  for (; n < given && rv == 0; n++) {
    if (gnutls_x509_crt_init(&chain[n]) < 0) {
      rv = GNUTLS_E_MEMORY_ERROR;
      break;
    }
    if (gnutls_x509_crt_import(chain[n], &raw[n], GNUTLS_X509_FMT_DER) < 0) rv = refuse(s, "certificate is unreadable");
  }
  if (rv == 0) rv = verify_chain(s, chain, n);
  while (n > 0) gnutls_x509_crt_deinit(chain[--n]);
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

/* GnuTLS believes session data blindly: one wrong byte can end the process. So a digest goes with it through files. */
static roam_blob *seal_ticket(const gnutls_datum_t *data) {
  roam_blob *sealed = roam_blob_new(NULL, data->size + SHA256_BYTES);
  if (!sealed) return NULL;
  uint8_t *at = roam_blob_data(sealed);
  memcpy(at, data->data, data->size);
  if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data->data, data->size, at + data->size) >= 0) return sealed;
  roam_blob_unref(sealed);
  return NULL;
}

bool roam_quic_session_give_ticket(struct roam_quic_session *s, roam_bytes sealed) {
  uint8_t digest[SHA256_BYTES];
  if (sealed.len <= sizeof digest) return false;
  size_t len = sealed.len - sizeof digest;
  if (gnutls_hash_fast(GNUTLS_DIG_SHA256, sealed.base, len, digest) < 0) return false;
  if (memcmp(digest, sealed.base + len, sizeof digest) != 0) return false;
  return gnutls_session_set_data(s->handle, sealed.base, len) >= 0;
}

/* A ticket of the server's. Before it is read, the first four bytes of the message are its lifetime; after, GnuTLS can give
 * what the next handshake needs. */
static int keep_ticket(gnutls_session_t handle, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(handle);
  struct roam_quic_session *s = ref->user_data;
  gnutls_datum_t data;
  (void)type;
  if (!incoming) return 0;
  if (when == GNUTLS_HOOK_PRE) {
    const uint8_t *m = message->data;
    if (message->size >= 4) s->ticket_lifetime_s = (uint32_t)m[0] << 24 | (uint32_t)m[1] << 16 | (uint32_t)m[2] << 8 | m[3];
    return 0;
  }
  if (gnutls_session_get_data2(handle, &data) < 0) return 0;
  roam_blob_unref(s->ticket);
  s->ticket = seal_ticket(&data); /* without memory there is none */
  gnutls_free(data.data);
  return 0;
}

void roam_quic_session_send_ticket(struct roam_quic_session *s) {
  if (s->tls->ticket_key.size > 0) gnutls_session_ticket_send(s->handle, 1, 0);
}

static int set_up_tickets_of(struct roam_quic_session *s) {
  struct roam_quic_tls *tls = s->tls;
  if (tls->ticket_key.size == 0) return 0;
  int rv = gnutls_session_ticket_enable_server(s->handle, &tls->ticket_key);
  gnutls_db_set_cache_expiration(s->handle, TICKET_LIFETIME_S);
  if (rv < 0 || !tls->early_data) return rv;
  gnutls_anti_replay_enable(s->handle, tls->replay.handle);
  return gnutls_record_set_max_early_data_size(s->handle, UINT32_MAX);
}

static int set_up_server(struct roam_quic_session *s) {
  int rv = set_up_tickets_of(s);
  if (rv < 0) return rv;
  if (s->tls->require_client_certificate) gnutls_certificate_server_set_request(s->handle, GNUTLS_CERT_REQUIRE);
  gnutls_handshake_set_hook_function(s->handle, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_POST, check_client_hello);
  return ngtcp2_crypto_gnutls_configure_server_session(s->handle);
}

/* The system's trust anchors are read when the first connection needs them: a broker never does. */
static void read_system_trust(struct roam_quic_tls *tls) {
  if (tls->has_ca || tls->insecure || tls->system_trust_read) return;
  gnutls_certificate_set_x509_system_trust(tls->credentials);
  tls->system_trust_read = true;
}

static int set_up_client(struct roam_quic_session *s) {
  roam_addr addr;
  read_system_trust(s->tls);
  bool is_ip = roam_addr_parse(s->name, &addr) == 0;
  if (!is_ip && s->name[0]) {
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

static int set_up(struct roam_quic_session *s) {
  gnutls_datum_t alpn = {(unsigned char *)s->tls->alpn, (unsigned)strlen(s->tls->alpn)};
  int rv = gnutls_priority_set(s->handle, s->tls->priority);
  if (rv >= 0) rv = s->server ? set_up_server(s) : set_up_client(s);
  if (rv >= 0) rv = gnutls_credentials_set(s->handle, GNUTLS_CRD_CERTIFICATE, s->tls->credentials);
  if (rv >= 0) rv = gnutls_alpn_set_protocols(s->handle, &alpn, 1, 0);
  if (rv < 0) return rv;
  if (!s->server || s->tls->require_client_certificate) gnutls_session_set_verify_function(s->handle, verify_peer);
  if (s->tls->tap.keylog) gnutls_session_set_keylog_function(s->handle, tell_secret);
  gnutls_session_set_ptr(s->handle, &s->ref);
  return 0;
}

roam_rc roam_quic_session_init(struct roam_quic_session *s, struct roam_quic_tls *tls, ngtcp2_conn *conn, bool server,
                               const char *name, const roam_time *now, bool early) {
  unsigned flags = server ? GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET : GNUTLS_CLIENT;
  if (server ? tls->early_data && tls->ticket_key.size > 0 : early)
    flags |= GNUTLS_ENABLE_EARLY_DATA | GNUTLS_NO_END_OF_EARLY_DATA;
  memset(s, 0, sizeof *s);
  s->tls = tls;
  s->conn = conn;
  s->server = server;
  s->now = now;
  s->ref.get_conn = get_conn;
  s->ref.user_data = s;
  if (name) snprintf(s->name, sizeof s->name, "%s", name);
  if (gnutls_init(&s->handle, flags) < 0) return ROAM_E_MEMORY;
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
  if (!s->handle) return 0; /* given back: what comes late is a repetition */
  int rv = ngtcp2_crypto_recv_crypto_data_cb(s->conn, level, offset, data, len, NULL);
  if (rv != 0) return rv;
  if (s->server && s->tx_key && ngtcp2_conn_get_negotiated_version(s->conn) == 0)
    return fail_alert(s, ALERT_MISSING_EXTENSION, "the client sent no QUIC transport parameters");
  return 0;
}
