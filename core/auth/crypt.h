/* crypt.h - the four things GnuTLS does for this folder: a hash, a MAC, PBKDF2 in slices, base64. No chance is drawn here.
 */
#ifndef ROAM_AUTH_CRYPT_H
#define ROAM_AUTH_CRYPT_H

#include <roamqtt/base.h>

#define ROAM_SHA256_LEN 32
#define ROAM_SHA512_LEN 64

/* false: GnuTLS would not (memory, or a policy of the system's). */
bool roam_sha256(roam_bytes data, uint8_t out[ROAM_SHA256_LEN]);
bool roam_hmac_sha256(roam_bytes key, roam_bytes data, uint8_t out[ROAM_SHA256_LEN]);
bool roam_salted_sha512(roam_bytes password, roam_bytes salt, uint8_t out[ROAM_SHA512_LEN]);
bool roam_same_secret(const void *a, const void *b, size_t len); /* takes as long whatever differs */

/* PBKDF2 (RFC 8018) of one block, a slice at a time, so that nobody waits for the whole of it. Invariant: left iterations
 * are to be done; out is the result when left is 0. Zeroed: nothing to end. */
struct roam_kdf {
  void *mac; /* gnutls_hmac_hd_t */
  uint32_t left;
  uint8_t len; /* of the hash and the result */
  uint8_t last[ROAM_SHA512_LEN], out[ROAM_SHA512_LEN];
};

/* sha512: which hash. iterations >= 1. ROAM_E_INTERNAL. */
roam_rc roam_kdf_begin(struct roam_kdf *k, bool sha512, roam_bytes password, roam_bytes salt, uint32_t iterations);
/* Does at most *budget iterations and takes them off it. True: done. */
bool roam_kdf_step(struct roam_kdf *k, uint32_t *budget);
void roam_kdf_end(struct roam_kdf *k); /* wipes it */

/* Standard alphabet, padded. Decoding: false when it is none, empty, or more than cap bytes. */
size_t roam_base64_encode(roam_bytes bytes, char *out, size_t cap); /* NUL-terminated; 0: cap is too small */
bool roam_base64_decode(roam_bytes text, uint8_t *out, size_t cap, size_t *len);

#endif
