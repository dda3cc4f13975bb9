/* quic_ids.c - see quic_ids.h. The first octet is the configuration (0) in its upper three bits, the rest of it random; the
 * server id is one octet. In plaintext the nonce follows. Encrypted, server id and nonce are 16 octets and one AES-128
 * block (the draft's single pass): without the key neither the worker nor what two ids of a connection have in common can
 * be seen.
 *
 * GnuTLS has no ECB; a block in CBC with an initialisation vector of zeros is the same. */
#include "transport/quic_ids.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "base/rng.h"

#define BLOCK 16
#define RANDOM_BITS 0x1f
#define AT_SERVER 1

static roam_rc make_cipher(const uint8_t secret[32], void **out) {
  static const char text[] = "roamqtt connection ids";
  uint8_t mac[32], zero[BLOCK] = {0};
  gnutls_datum_t key = {mac, BLOCK}, iv = {zero, BLOCK};
  gnutls_cipher_hd_t handle = NULL;
  int rv = gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, 32, text, sizeof text - 1, mac);
  if (rv >= 0) rv = gnutls_cipher_init(&handle, GNUTLS_CIPHER_AES_128_CBC, &key, &iv);
  gnutls_memset(mac, 0, sizeof mac);
  *out = rv >= 0 ? handle : NULL;
  return rv >= 0 ? 0 : ROAM_E_TLS;
}

roam_rc roam_quic_ids_init(struct roam_quic_ids *ids, const roam_transport_options *o, const uint8_t secret[32]) {
  *ids = (struct roam_quic_ids){.random = o->random, .workers = o->workers, .worker = o->worker, .len = ROAM_QUIC_ID_BYTES};
  if (o->workers <= 1 || !o->encrypt_ids) return 0;
  ids->len = ROAM_QUIC_ID_ENCRYPTED_BYTES;
  roam_rc rc = make_cipher(secret, &ids->encrypt);
  return rc != 0 ? rc : make_cipher(secret, &ids->decrypt);
}

void roam_quic_ids_reset(struct roam_quic_ids *ids) {
  if (ids->encrypt) gnutls_cipher_deinit(ids->encrypt);
  if (ids->decrypt) gnutls_cipher_deinit(ids->decrypt);
  ids->encrypt = ids->decrypt = NULL;
}

static void start(void *cipher) {
  uint8_t zero[BLOCK] = {0};
  gnutls_cipher_set_iv(cipher, zero, sizeof zero);
}

void roam_quic_ids_make(const struct roam_quic_ids *ids, uint8_t *id) {
  roam_random_fill(ids->random, id, ids->len);
  if (ids->workers <= 1) return;
  id[0] &= RANDOM_BITS;
  id[AT_SERVER] = (uint8_t)ids->worker;
  if (!ids->encrypt) return;
  start(ids->encrypt);
  (void)gnutls_cipher_encrypt(ids->encrypt, id + AT_SERVER, BLOCK); /* of a whole block it cannot fail */
}

uint32_t roam_quic_ids_worker(const struct roam_quic_ids *ids, const uint8_t *id, size_t len) {
  uint8_t block[BLOCK];
  if (ids->workers <= 1 || len != ids->len || (id[0] & ~RANDOM_BITS) != 0) return UINT32_MAX;
  uint8_t worker = id[AT_SERVER];
  if (ids->decrypt) {
    memcpy(block, id + AT_SERVER, BLOCK);
    start(ids->decrypt);
    if (gnutls_cipher_decrypt(ids->decrypt, block, BLOCK) < 0) return UINT32_MAX;
    worker = block[0];
  }
  return worker < ids->workers ? worker : UINT32_MAX;
}
