/* ticket.c - see ticket.h. Refuses to judge how old a ticket may be: that is its owner's. */
#include "transport/ticket.h"

#include <gnutls/crypto.h>
#include <string.h>

enum {
  KEY_BYTES = 64,
  SHA256_BYTES = 32
};

/* Without a secret of the owner's the key is GnuTLS's own: what the owner draws numbers from is not for keys. */
roam_rc roam_ticket_key_make(gnutls_datum_t *key, const roam_transport_options *o, const char *label) {
  static const uint8_t none[sizeof o->secret] = {0};
  uint8_t text[2 * SHA256_BYTES + 1] = {0};
  if (memcmp(o->secret, none, sizeof none) == 0) return gnutls_session_ticket_key_generate(key) < 0 ? ROAM_E_MEMORY : 0;
  memcpy(text, label, strnlen(label, SHA256_BYTES - 1));
  text[SHA256_BYTES] = o->tls.require_client_certificate;
  int rv =
      gnutls_hash_fast(GNUTLS_DIG_SHA256, o->tls.ca.len ? o->tls.ca.base : text, o->tls.ca.len, text + SHA256_BYTES + 1);
  key->data = gnutls_malloc(KEY_BYTES);
  if (!key->data) return ROAM_E_MEMORY;
  key->size = KEY_BYTES;
  if (rv >= 0) rv = gnutls_hmac_fast(GNUTLS_MAC_SHA512, o->secret, sizeof o->secret, text, sizeof text, key->data);
  return rv < 0 ? ROAM_E_TLS : 0;
}

void roam_ticket_key_free(gnutls_datum_t *key) {
  if (key->data) gnutls_memset(key->data, 0, key->size);
  gnutls_free(key->data);
  *key = (gnutls_datum_t){0};
}

/* GnuTLS believes session data blindly: one wrong byte can end the process. So a digest goes with it through files. */
static roam_blob *seal(const gnutls_datum_t *data) {
  roam_blob *sealed = roam_blob_new(NULL, data->size + SHA256_BYTES);
  if (!sealed) return NULL;
  uint8_t *at = roam_blob_data(sealed);
  memcpy(at, data->data, data->size);
  if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data->data, data->size, at + data->size) >= 0) return sealed;
  roam_blob_unref(sealed);
  return NULL;
}

roam_blob *roam_ticket_take(gnutls_session_t client) {
  gnutls_datum_t data;
  if (gnutls_session_get_data2(client, &data) < 0) return NULL;
  roam_blob *sealed = seal(&data);
  gnutls_free(data.data);
  return sealed;
}

bool roam_ticket_give(gnutls_session_t client, roam_bytes sealed) {
  uint8_t digest[SHA256_BYTES];
  if (sealed.len <= sizeof digest) return false;
  size_t len = sealed.len - sizeof digest;
  if (gnutls_hash_fast(GNUTLS_DIG_SHA256, sealed.base, len, digest) < 0) return false;
  if (memcmp(digest, sealed.base + len, sizeof digest) != 0) return false;
  return gnutls_session_set_data(client, sealed.base, len) >= 0;
}

uint32_t roam_ticket_lifetime(const gnutls_datum_t *message) {
  const uint8_t *m = message->data;
  return message->size < 4 ? 0 : (uint32_t)m[0] << 24 | (uint32_t)m[1] << 16 | (uint32_t)m[2] << 8 | m[3];
}
