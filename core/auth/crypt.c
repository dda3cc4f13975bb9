/* crypt.c - GnuTLS behind crypt.h. It knows no file format and no protocol.
 *
 * gnutls_pbkdf2 would do all iterations in one call and a broker would stand still meanwhile, so the loop is here and the
 * hashing GnuTLS's; a test compares the two. */
#include "auth/crypt.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <string.h>

static const void *base_of(roam_bytes bytes) { return bytes.len > 0 ? (const void *)bytes.base : ""; }

bool roam_sha256(roam_bytes data, uint8_t out[ROAM_SHA256_LEN]) {
  return gnutls_hash_fast(GNUTLS_DIG_SHA256, base_of(data), data.len, out) == 0;
}

bool roam_hmac_sha256(roam_bytes key, roam_bytes data, uint8_t out[ROAM_SHA256_LEN]) {
  return gnutls_hmac_fast(GNUTLS_MAC_SHA256, base_of(key), key.len, base_of(data), data.len, out) == 0;
}

bool roam_salted_sha512(roam_bytes password, roam_bytes salt, uint8_t out[ROAM_SHA512_LEN]) {
  gnutls_hash_hd_t hash;
  if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA512) != 0) return false;
  bool good = gnutls_hash(hash, base_of(password), password.len) == 0 && gnutls_hash(hash, base_of(salt), salt.len) == 0;
  gnutls_hash_deinit(hash, out);
  return good;
}

bool roam_same_secret(const void *a, const void *b, size_t len) { return gnutls_memcmp(a, b, len) == 0; }

/* ---- PBKDF2 ---- */

roam_rc roam_kdf_begin(struct roam_kdf *k, bool sha512, roam_bytes password, roam_bytes salt, uint32_t iterations) {
  static const uint8_t first_block[4] = {0, 0, 0, 1};
  gnutls_hmac_hd_t mac;
  *k = (struct roam_kdf){.len = sha512 ? ROAM_SHA512_LEN : ROAM_SHA256_LEN};
  gnutls_mac_algorithm_t how = sha512 ? GNUTLS_MAC_SHA512 : GNUTLS_MAC_SHA256;
  if (iterations == 0 || gnutls_hmac_init(&mac, how, base_of(password), password.len) != 0) return ROAM_E_INTERNAL;
  k->mac = mac;
  if (gnutls_hmac(mac, base_of(salt), salt.len) != 0 || gnutls_hmac(mac, first_block, sizeof first_block) != 0) {
    roam_kdf_end(k);
    return ROAM_E_INTERNAL;
  }
  gnutls_hmac_output(mac, k->last);
  memcpy(k->out, k->last, k->len);
  k->left = iterations - 1;
  return 0;
}

bool roam_kdf_step(struct roam_kdf *k, uint32_t *budget) {
  for (; k->left > 0 && *budget > 0; k->left--, --*budget) {
    gnutls_hmac(k->mac, k->last, k->len); /* fails only for lengths no memory holds */
    gnutls_hmac_output(k->mac, k->last);
    for (size_t i = 0; i < k->len; i++) k->out[i] ^= k->last[i];
  }
  return k->left == 0;
}

void roam_kdf_end(struct roam_kdf *k) {
  if (k->mac) gnutls_hmac_deinit(k->mac, NULL);
  gnutls_memset(k, 0, sizeof *k);
}

/* ---- base64 ---- */

size_t roam_base64_encode(roam_bytes bytes, char *out, size_t cap) {
  gnutls_datum_t in = {(unsigned char *)(uintptr_t)base_of(bytes), (unsigned)bytes.len}, text = {0};
  if (cap == 0) return 0;
  out[0] = 0;
  if (bytes.len == 0 || gnutls_base64_encode2(&in, &text) != 0) return 0;
  size_t len = text.size < cap ? text.size : 0;
  memcpy(out, text.data, len);
  out[len] = 0;
  gnutls_free(text.data);
  return len;
}

static bool is_base64(roam_bytes text) {
  size_t i = 0;
  if (text.len == 0 || text.len % 4 != 0) return false;
  for (; i < text.len; i++) {
    uint8_t c = text.base[i];
    bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
    if (!letter) break;
  }
  size_t padding = text.len - i;
  for (; i < text.len; i++)
    if (text.base[i] != '=') return false;
  return padding <= 2;
}

bool roam_base64_decode(roam_bytes text, uint8_t *out, size_t cap, size_t *len) {
  gnutls_datum_t in = {(unsigned char *)(uintptr_t)text.base, (unsigned)text.len}, bytes = {0};
  if (!is_base64(text) || text.len / 4 > cap / 3 + 1 || gnutls_base64_decode2(&in, &bytes) != 0) return false;
  bool good = bytes.size > 0 && bytes.size <= cap;
  if (good) {
    memcpy(out, bytes.data, bytes.size);
    *len = bytes.size;
  }
  gnutls_memset(bytes.data, 0, bytes.size);
  gnutls_free(bytes.data);
  return good;
}
