/* trust.c - see trust.h.
 *
 * Certificates are verified by GnuTLS with its time checks off; whether each certificate of the chain is valid today is
 * then asked here, of the wall time the endpoint was given, because GnuTLS would read the clock of the machine and a
 * simulated world has its own. The reason of a refusal is kept as a sentence. Refuses to know which protocol the session
 * carries. */
#include "transport/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  CHAIN_MAX = 16
};

/* ---- an endpoint's share ------------------------------------------------------------------------------------------- */

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

/* One certificate chain and its key. */
static roam_rc load_identity(struct roam_credential *c, roam_bytes certificate_pem, roam_bytes key_pem, const char **why) {
  gnutls_datum_t certificate = as_datum(certificate_pem), key = as_datum(key_pem);
  int rv = gnutls_certificate_set_x509_key_mem(c->handle, &certificate, &key, GNUTLS_X509_FMT_PEM);
  if (rv >= 0 && !belong_together(&certificate, &key)) rv = GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
  if (rv >= 0) rv = gnutls_x509_crt_init(&c->leaf);
  if (rv >= 0) rv = gnutls_x509_crt_import(c->leaf, &certificate, GNUTLS_X509_FMT_PEM);
  if (rv >= 0) return 0;
  if (rv == GNUTLS_E_MEMORY_ERROR) return ROAM_E_MEMORY;
  if (!parses_as_certificate(&certificate)) *why = "the certificate is not a PEM certificate";
  else if (rv == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) *why = "the key does not belong to the certificate";
  else *why = "the key is not a PEM private key (an encrypted key must be decrypted first)";
  return ROAM_E_CERTIFICATE;
}

static roam_rc load_trust(struct roam_credential *c, const roam_tls_config *config, const char **why) {
  if (config->ca.len == 0) return 0;
  gnutls_datum_t ca = as_datum(config->ca);
  int rv = gnutls_certificate_set_x509_trust_mem(c->handle, &ca, GNUTLS_X509_FMT_PEM);
  if (rv > 0) return 0;
  *why = "the CA holds no PEM certificate";
  return rv == GNUTLS_E_MEMORY_ERROR ? ROAM_E_MEMORY : ROAM_E_CERTIFICATE;
}

/* certificate empty: none, only trust. */
static roam_rc add_credential(struct roam_credentials *c, const roam_tls_config *config, roam_bytes certificate,
                              roam_bytes key, const char **why) {
  struct roam_credential *fresh = &c->all[c->all_len];
  if (gnutls_certificate_allocate_credentials(&fresh->handle) < 0) return ROAM_E_MEMORY;
  c->all_len++;
  gnutls_certificate_set_verify_flags(fresh->handle,
                                      GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS);
  roam_rc rc = certificate.len > 0 ? load_identity(fresh, certificate, key, why) : 0;
  return rc != 0 ? rc : load_trust(fresh, config, why);
}

/* ---- several certificates, by name ---------------------------------------------------------------------------------- */

/* The next PEM block from *rest on, and what is behind it. Empty: there is none. */
static roam_bytes next_block(roam_bytes *rest) {
  static const char begin[] = "-----BEGIN ", end[] = "-----END ";
  const uint8_t *from = rest->len ? memmem(rest->base, rest->len, begin, sizeof begin - 1) : NULL;
  const uint8_t *last = from ? memmem(from, rest->len - (size_t)(from - rest->base), end, sizeof end - 1) : NULL;
  if (!last) return (roam_bytes){0};
  const uint8_t *stop = rest->base + rest->len, *line = memchr(last, '\n', (size_t)(stop - last));
  roam_bytes block = {from, (size_t)((line ? line + 1 : stop) - from)};
  *rest = (roam_bytes){block.base + block.len, (size_t)(stop - block.base) - block.len};
  return block;
}

static bool is_key(roam_bytes block) {
  const uint8_t *line = memchr(block.base, '\n', block.len);
  return line && memmem(block.base, (size_t)(line - block.base), "PRIVATE KEY", 11) != NULL;
}

/* Everything up to a key, it included; empty at the end. *whole false: certificates without a key. */
static roam_bytes next_identity(roam_bytes *rest, bool *whole) {
  roam_bytes first = next_block(rest), block = first;
  for (*whole = true; block.len > 0 && !is_key(block); block = next_block(rest)) continue;
  *whole = first.len == 0 || block.len > 0;
  if (first.len == 0) return first;
  return (roam_bytes){first.base, *whole ? (size_t)(block.base + block.len - first.base) : first.len};
}

static size_t count_more(roam_bytes rest) {
  size_t n = 0;
  bool whole;
  while (n < ROAM_CREDENTIALS_MAX && next_identity(&rest, &whole).len > 0) n++;
  return n;
}

static roam_rc load_more(struct roam_credentials *c, const roam_tls_config *config, const char **why) {
  roam_bytes rest = config->more, one;
  bool whole;
  if (config->more.len > 0 && count_more(config->more) == 0) {
    *why = "more: holds no PEM";
    return ROAM_E_CERTIFICATE;
  }
  while ((one = next_identity(&rest, &whole)).len > 0) {
    if (!whole) *why = "more: its last certificate has no key behind it";
    else if (c->all_len == ROAM_CREDENTIALS_MAX) *why = "more: at most 256 certificates";
    if (!whole || c->all_len == ROAM_CREDENTIALS_MAX) return ROAM_E_CERTIFICATE;
    roam_rc rc = add_credential(c, config, one, one, why);
    if (rc != 0) return rc;
  }
  return 0;
}

int roam_credentials_choose(const struct roam_credentials *c, gnutls_session_t server) {
  char name[256];
  size_t len = sizeof name - 1;
  unsigned type;
  if (c->all_len < 2 || gnutls_server_name_get(server, name, &len, &type, 0) < 0 || type != GNUTLS_NAME_DNS) return 0;
  name[len] = '\0';
  for (size_t i = 0; i < c->all_len; i++) {
    if (!gnutls_x509_crt_check_hostname2(c->all[i].leaf, name, GNUTLS_VERIFY_DO_NOT_ALLOW_IP_MATCHES)) continue;
    return i == 0 ? 0 : gnutls_credentials_set(server, GNUTLS_CRD_CERTIFICATE, c->all[i].handle);
  }
  return 0;
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

static const char *find_gap(const roam_tls_config *config) {
  if (config->certificate.len > 0 && config->key.len == 0) return "a certificate was given without its key";
  if (config->key.len > 0 && config->certificate.len == 0) return "a key was given without its certificate";
  if (config->more.len > 0 && config->certificate.len == 0)
    return "more: the first certificate belongs to certificate and key";
  if (config->ca.len == 0 && (config->require_client_certificate || config->request_client_certificate))
    return "client certificates are asked for but no CA to check them against was given";
  return NULL;
}

static roam_rc fill_credentials(struct roam_credentials *c, const roam_tls_config *config, const char **why) {
  *why = find_gap(config);
  if (*why) return ROAM_E_CERTIFICATE;
  c->all = calloc(1 + count_more(config->more), sizeof *c->all);
  if (!c->all) return ROAM_E_MEMORY;
  roam_rc rc = add_credential(c, config, config->certificate, config->key, why);
  if (rc == 0) rc = load_more(c, config, why);
  if (rc != 0) return rc;
  c->handle = c->all[0].handle;
  c->has_certificate = config->certificate.len > 0;
  c->has_ca = config->ca.len > 0;
  return 0;
}

static roam_rc make_credentials(const roam_tls_config *config, struct roam_credentials **out, const char **why) {
  struct roam_credentials *c = calloc(1, sizeof *c);
  if (!c) return ROAM_E_MEMORY;
  c->count = 1;
  roam_rc rc = fill_credentials(c, config, why);
  if (rc == 0) *out = c;
  else roam_credentials_release(c);
  return rc;
}

void roam_credentials_release(struct roam_credentials *c) {
  if (!c || --c->count > 0) return;
  for (size_t i = 0; i < c->all_len; i++) {
    if (c->all[i].leaf) gnutls_x509_crt_deinit(c->all[i].leaf);
    gnutls_certificate_free_credentials(c->all[i].handle);
  }
  free(c->all);
  free(c);
}

const char *roam_tls_config_error(const roam_tls_config *config) {
  struct roam_credentials *c;
  const char *why = NULL;
  roam_rc rc = make_credentials(config, &c, &why);
  if (rc == 0) roam_credentials_release(c);
  return rc == 0 ? NULL : why ? why : roam_strerror(rc);
}

roam_rc roam_trust_init(struct roam_trust *t, const roam_tls_config *config, roam_time now, const char **why) {
  *t = (struct roam_trust){.insecure = config->insecure,
                           .require_client_certificate = config->require_client_certificate,
                           .request_client_certificate = config->request_client_certificate,
                           .wall_unix_s = config->wall_unix_s,
                           .wall_at = now};
  return make_credentials(config, &t->credentials, why);
}

void roam_trust_reset(struct roam_trust *t) {
  roam_credentials_release(t->credentials);
  t->credentials = NULL;
}

roam_rc roam_trust_replace(struct roam_trust *t, const roam_tls_config *config, const char **why) {
  struct roam_credentials *fresh;
  roam_tls_config wanted = *config;
  wanted.require_client_certificate = t->require_client_certificate;
  wanted.request_client_certificate = t->request_client_certificate;
  roam_rc rc = make_credentials(&wanted, &fresh, why);
  if (rc != 0) return rc;
  roam_credentials_release(t->credentials);
  t->credentials = fresh;
  return 0;
}

/* The system's trust anchors are read when the first connection needs them: a broker never does. */
struct roam_credentials *roam_trust_take(struct roam_trust *t, bool server) {
  struct roam_credentials *c = t->credentials;
  if (!server && !c->has_ca && !t->insecure && !c->system_trust_read) {
    gnutls_certificate_set_x509_system_trust(c->handle);
    c->system_trust_read = true;
  }
  c->count++;
  return c;
}

int64_t roam_trust_wall(const struct roam_trust *t, roam_time now) {
  if (t->wall_unix_s == 0) return 0;
  return t->wall_unix_s + (now > t->wall_at ? (int64_t)((now - t->wall_at) / ROAM_S) : 0);
}

void roam_trust_ask_client(const struct roam_trust *t, gnutls_session_t server) {
  if (t->require_client_certificate) gnutls_certificate_server_set_request(server, GNUTLS_CERT_REQUIRE);
  else if (t->request_client_certificate) gnutls_certificate_server_set_request(server, GNUTLS_CERT_REQUEST);
}

/* ---- verification ---------------------------------------------------------------------------------------------------- */

static int refuse(struct roam_trust_check *s, const char *text) {
  s->rc = ROAM_E_CERTIFICATE;
  snprintf(s->text, ROAM_CONN_TEXT_MAX, "%s", text);
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

static int refuse_owner(struct roam_trust_check *s, gnutls_x509_crt_t leaf) {
  char owner[128], text[ROAM_CONN_TEXT_MAX];
  describe_owner(leaf, owner, sizeof owner);
  for (char *c = owner; *c; c++)
    if (*c < 0x20 || *c == 0x7f) *c = '?';
  snprintf(text, sizeof text, "certificate of %.100s is not for %.100s", owner, s->name);
  return refuse(s, text);
}

/* One certificate against the wall time. who: "" for the leaf, "the authority's ". */
static int check_validity(struct roam_trust_check *s, gnutls_x509_crt_t crt, bool leaf) {
  int64_t wall = roam_trust_wall(s->trust, s->now);
  if (wall < (int64_t)gnutls_x509_crt_get_activation_time(crt))
    return refuse(s, leaf ? "certificate not yet valid (is this machine's clock right?)"
                          : "certificate of the authority not yet valid (is this machine's clock right?)");
  if (wall > (int64_t)gnutls_x509_crt_get_expiration_time(crt))
    return refuse(s, leaf ? "certificate expired" : "certificate of the authority expired");
  return 0;
}

/* The leaf, then each issuer up to the trusted one: the same path GnuTLS has verified. */
static int check_chain_times(struct roam_trust_check *s, gnutls_x509_crt_t chain[], unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    int rv = check_validity(s, chain[i], i == 0);
    if (rv != 0) return rv;
    gnutls_x509_crt_t anchor;
    if (gnutls_certificate_get_issuer(s->credentials->handle, chain[i], &anchor, 0) >= 0)
      return check_validity(s, anchor, false);
  }
  return 0;
}

static int check_status(struct roam_trust_check *s, unsigned status, gnutls_x509_crt_t leaf) {
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

static int verify_chain(struct roam_trust_check *s, gnutls_x509_crt_t chain[], unsigned n) {
  gnutls_typed_vdata_st wanted[2];
  unsigned status = 0, count = 0;
  const char *purpose = s->server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
  wanted[count++] = (gnutls_typed_vdata_st){GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)(uintptr_t)purpose, 0};
  if (!s->server) wanted[count++] = (gnutls_typed_vdata_st){GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)(uintptr_t)s->name, 0};
  if (gnutls_certificate_verify_peers(s->handle, wanted, count, &status) < 0)
    return refuse(s, s->server ? "no client certificate, or an unreadable one" : "the server's certificate is unreadable");
  /* Who signed it comes first: validity and owner of a stranger's certificate say nothing. */
  unsigned name_only = status & ~(unsigned)(GNUTLS_CERT_UNEXPECTED_OWNER | GNUTLS_CERT_INVALID);
  int rv = name_only ? check_status(s, status, chain[0]) : check_chain_times(s, chain, n);
  return rv != 0 ? rv : check_status(s, status, chain[0]);
}

int roam_trust_verify(struct roam_trust_check *s) {
  gnutls_x509_crt_t chain[CHAIN_MAX];
  unsigned given = 0, n = 0;
  if (!s->server && s->trust->insecure) return 0;
  const gnutls_datum_t *raw = gnutls_certificate_get_peers(s->handle, &given);
  bool none = !raw || given == 0;
  if (none && s->server && !s->trust->require_client_certificate) return 0;
  if (s->trust->wall_unix_s == 0)
    return refuse(s, "the time of day is unknown, so no certificate can be checked; set wall_unix_s");
  if (none) return refuse(s, s->server ? "the client has no certificate" : "the server has no certificate");
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

/* ---- the name a verified peer has ------------------------------------------------------------------------------------ */

/* A stranger chose these bytes, and they may become a user name: nothing that ends a string early or moves a cursor. */
static bool is_plain(const char *text, size_t len) {
  if (len == 0 || len != strlen(text)) return false;
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
  return true;
}

bool roam_trust_subject(gnutls_session_t handle, char out[ROAM_SUBJECT_MAX]) {
  unsigned given = 0;
  gnutls_x509_crt_t crt;
  const gnutls_datum_t *raw = gnutls_certificate_get_peers(handle, &given);
  if (!raw || given == 0 || gnutls_x509_crt_init(&crt) < 0) return false;
  size_t len = ROAM_SUBJECT_MAX;
  int rv = gnutls_x509_crt_import(crt, &raw[0], GNUTLS_X509_FMT_DER);
  if (rv >= 0) rv = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out, &len);
  if (rv == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
    len = ROAM_SUBJECT_MAX;
    rv = gnutls_x509_crt_get_dn(crt, out, &len);
  }
  gnutls_x509_crt_deinit(crt);
  return rv >= 0 && is_plain(out, len);
}
