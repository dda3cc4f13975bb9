/* identity.c - throw-away certificate authorities and the certificates they issue: Ed25519, PEM in memory. Refuses to read
 * or write files, and to be a CA for anything that must last: no revocation, no policy. */
#include <roamqtt/tls.h>

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

enum {
  NAMES_TEXT_MAX = 2048,
  ALLOWANCE_S = 3600,
  DAY_S = 86400
};

static char *copy_text(const void *bytes, size_t len) {
  char *text = malloc(len + 1);
  if (!text) return NULL;
  memcpy(text, bytes, len);
  text[len] = '\0';
  return text;
}

static roam_rc keep_pem(gnutls_datum_t *pem, char **out) {
  *out = copy_text(pem->data, pem->size);
  gnutls_free(pem->data);
  return *out ? 0 : ROAM_E_MEMORY;
}

static roam_rc export_crt(gnutls_x509_crt_t crt, char **out) {
  gnutls_datum_t pem;
  if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem) < 0) return ROAM_E_TLS;
  return keep_pem(&pem, out);
}

static roam_rc export_key(gnutls_x509_privkey_t key, char **out) {
  gnutls_datum_t pem;
  if (gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pem) < 0) return ROAM_E_TLS;
  return keep_pem(&pem, out);
}

/* "localhost,127.0.0.1,::1" -> subject alternative names, each of its kind. */
static roam_rc add_names(gnutls_x509_crt_t crt, const char *names) {
  char text[NAMES_TEXT_MAX], *rest = NULL;
  if (!names || strlen(names) >= sizeof text) return ROAM_E_ARGUMENT;
  strcpy(text, names);
  size_t count = 0;
  for (char *name = strtok_r(text, ", ", &rest); name; name = strtok_r(NULL, ", ", &rest), count++) {
    roam_addr addr;
    bool is_ip = roam_addr_parse(name, &addr) == 0 && addr.port == 0 && addr.scope == 0;
    int rv = is_ip ? gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, addr.ip, addr.family == 4 ? 4 : 16,
                                                          GNUTLS_FSAN_APPEND)
                   : gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name, (unsigned)strlen(name),
                                                          GNUTLS_FSAN_APPEND);
    if (rv < 0) return ROAM_E_ARGUMENT;
  }
  return count > 0 ? 0 : ROAM_E_ARGUMENT;
}

/* The serial number is taken from the key's fingerprint: unique without drawing a number. */
static int set_basics(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *common_name, int64_t wall_unix_s,
                      uint32_t days) {
  uint8_t id[20];
  size_t len = sizeof id;
  int rv = gnutls_x509_crt_set_version(crt, 3);
  if (rv >= 0) rv = gnutls_x509_crt_set_key(crt, key);
  if (rv >= 0) rv = gnutls_x509_privkey_get_key_id(key, 0, id, &len);
  if (rv < 0) return rv;
  rv = gnutls_x509_crt_set_subject_key_id(crt, id, len);
  id[0] = (uint8_t)((id[0] & 0x7f) | 0x40);
  if (rv >= 0) rv = gnutls_x509_crt_set_serial(crt, id, 16);
  if (rv >= 0) rv = gnutls_x509_crt_set_activation_time(crt, (time_t)(wall_unix_s - ALLOWANCE_S));
  if (rv >= 0) rv = gnutls_x509_crt_set_expiration_time(crt, (time_t)(wall_unix_s + (int64_t)days * DAY_S));
  if (rv >= 0)
    rv = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, common_name, (unsigned)strlen(common_name));
  return rv;
}

static int sign(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer, gnutls_x509_privkey_t key) {
  gnutls_privkey_t abstract;
  int rv = gnutls_privkey_init(&abstract);
  if (rv < 0) return rv;
  rv = gnutls_privkey_import_x509(abstract, key, 0);
  if (rv >= 0) rv = gnutls_x509_crt_privkey_sign(crt, issuer, abstract, GNUTLS_DIG_UNKNOWN, 0);
  gnutls_privkey_deinit(abstract);
  return rv;
}

static int generate(gnutls_x509_privkey_t key) {
  return gnutls_x509_privkey_generate(key, GNUTLS_PK_EDDSA_ED25519, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519), 0);
}

static roam_rc make_ca(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *common_name, int64_t wall_unix_s,
                       uint32_t days) {
  char name[128] = "";
  strncat(name, common_name, 100);
  strcat(name, " authority");
  int rv = generate(key);
  if (rv >= 0) rv = set_basics(crt, key, name, wall_unix_s, days);
  if (rv >= 0) rv = gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
  if (rv >= 0) rv = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
  if (rv >= 0) rv = sign(crt, crt, key);
  return rv < 0 ? ROAM_E_TLS : 0;
}

static roam_rc make_leaf(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, gnutls_x509_crt_t ca,
                         gnutls_x509_privkey_t ca_key, const char *common_name, const char *names, int64_t wall_unix_s,
                         uint32_t days, bool client) {
  uint8_t id[64];
  size_t len = sizeof id;
  int rv = generate(key);
  if (rv >= 0) rv = set_basics(crt, key, common_name, wall_unix_s, days);
  if (rv < 0) return ROAM_E_TLS;
  roam_rc rc = add_names(crt, names);
  if (rc != 0) return rc;
  rv = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
  if (rv >= 0) rv = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
  if (rv >= 0)
    rv = gnutls_x509_crt_set_key_purpose_oid(crt, client ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER, 0);
  if (rv >= 0 && gnutls_x509_crt_get_subject_key_id(ca, id, &len, NULL) >= 0)
    rv = gnutls_x509_crt_set_authority_key_id(crt, id, len);
  if (rv >= 0) rv = sign(crt, ca, ca_key);
  return rv < 0 ? ROAM_E_TLS : 0;
}

struct parts {
  gnutls_x509_crt_t ca, crt;
  gnutls_x509_privkey_t ca_key, key;
};

static roam_rc begin(struct parts *p) {
  memset(p, 0, sizeof *p);
  bool ok = gnutls_x509_crt_init(&p->ca) >= 0 && gnutls_x509_crt_init(&p->crt) >= 0 &&
            gnutls_x509_privkey_init(&p->ca_key) >= 0 && gnutls_x509_privkey_init(&p->key) >= 0;
  return ok ? 0 : ROAM_E_MEMORY;
}

static void end(struct parts *p) {
  if (p->ca) gnutls_x509_crt_deinit(p->ca);
  if (p->crt) gnutls_x509_crt_deinit(p->crt);
  if (p->ca_key) gnutls_x509_privkey_deinit(p->ca_key);
  if (p->key) gnutls_x509_privkey_deinit(p->key);
}

roam_rc roam_identity_make(roam_identity *out, const char *common_name, const char *names, int64_t wall_unix_s,
                           uint32_t days, bool client) {
  struct parts p;
  memset(out, 0, sizeof *out);
  if (!common_name || days == 0) return ROAM_E_ARGUMENT;
  roam_rc rc = begin(&p);
  if (rc == 0) rc = make_ca(p.ca, p.ca_key, common_name, wall_unix_s, days);
  if (rc == 0) rc = make_leaf(p.crt, p.key, p.ca, p.ca_key, common_name, names, wall_unix_s, days, client);
  if (rc == 0) rc = export_crt(p.ca, &out->ca_certificate);
  if (rc == 0) rc = export_key(p.ca_key, &out->ca_key);
  if (rc == 0) rc = export_crt(p.crt, &out->certificate);
  if (rc == 0) rc = export_key(p.key, &out->key);
  end(&p);
  if (rc != 0) roam_identity_clear(out);
  return rc;
}

roam_rc roam_identity_issue(roam_identity *out, roam_bytes ca_certificate, roam_bytes ca_key, const char *common_name,
                            const char *names, int64_t wall_unix_s, uint32_t days, bool client) {
  struct parts p;
  gnutls_datum_t ca = {(unsigned char *)(uintptr_t)ca_certificate.base, (unsigned)ca_certificate.len};
  gnutls_datum_t key = {(unsigned char *)(uintptr_t)ca_key.base, (unsigned)ca_key.len};
  memset(out, 0, sizeof *out);
  if (!common_name || days == 0) return ROAM_E_ARGUMENT;
  roam_rc rc = begin(&p);
  if (rc == 0 && gnutls_x509_crt_import(p.ca, &ca, GNUTLS_X509_FMT_PEM) < 0) rc = ROAM_E_TLS;
  if (rc == 0 && gnutls_x509_privkey_import2(p.ca_key, &key, GNUTLS_X509_FMT_PEM, NULL, 0) < 0) rc = ROAM_E_TLS;
  if (rc == 0) rc = make_leaf(p.crt, p.key, p.ca, p.ca_key, common_name, names, wall_unix_s, days, client);
  if (rc == 0) rc = export_crt(p.ca, &out->ca_certificate);
  if (rc == 0) rc = export_key(p.ca_key, &out->ca_key);
  if (rc == 0) rc = export_crt(p.crt, &out->certificate);
  if (rc == 0) rc = export_key(p.key, &out->key);
  end(&p);
  if (rc != 0) roam_identity_clear(out);
  return rc;
}

static void clear_key(char *pem) {
  if (pem) gnutls_memset(pem, 0, strlen(pem));
  free(pem);
}

void roam_identity_clear(roam_identity *identity) {
  free(identity->ca_certificate);
  free(identity->certificate);
  clear_key(identity->ca_key);
  clear_key(identity->key);
  memset(identity, 0, sizeof *identity);
}
