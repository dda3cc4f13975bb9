/* quic_seal.h - Initial packets of QUIC version 1 made by hand (RFC 9001, section 5), so that a fuzzer gets past the packet
 * protection and says what it likes inside; and the reverse, to learn a ClientHello from a first flight. No state but the
 * keys of one connection id; it writes one packet of 1200 bytes and knows nothing of the later keys. */
#ifndef TESTS_FUZZ_QUIC_SEAL_H
#define TESTS_FUZZ_QUIC_SEAL_H

#include "fuzz.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#define SEAL_DATAGRAM 1200u
#define SEAL_FRAMES_MAX 1100u

struct seal {
  uint8_t dcid[20], key[16], iv[12], hp[16];
  size_t dcid_len;
};

static inline void seal_expand(const uint8_t secret[32], const char *label, uint8_t *out, size_t len) {
  uint8_t info[64] = {0, (uint8_t)len, (uint8_t)(6 + strlen(label)), 't', 'l', 's', '1', '3', ' '};
  memcpy(info + 9, label, strlen(label));
  gnutls_datum_t key = {(unsigned char *)secret, 32}, about = {info, (unsigned)(10 + strlen(label))};
  FUZZ_CHECK(gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &key, &about, out, len) == 0);
}

static inline void seal_init(struct seal *s, const uint8_t *dcid, size_t len) {
  static const uint8_t salt[20] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                                   0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
  uint8_t initial[32], client[32];
  gnutls_datum_t secret = {(unsigned char *)dcid, (unsigned)len}, salted = {(unsigned char *)salt, sizeof salt};
  memcpy(s->dcid, dcid, len);
  s->dcid_len = len;
  FUZZ_CHECK(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &secret, &salted, initial) == 0);
  seal_expand(initial, "client in", client, sizeof client);
  seal_expand(client, "quic key", s->key, sizeof s->key);
  seal_expand(client, "quic iv", s->iv, sizeof s->iv);
  seal_expand(client, "quic hp", s->hp, sizeof s->hp);
}

/* One block of AES, as CBC with a zero vector. */
static inline void seal_mask(const struct seal *s, const uint8_t sample[16], uint8_t mask[16]) {
  uint8_t zero[16] = {0};
  gnutls_datum_t key = {(unsigned char *)s->hp, 16}, iv = {zero, 16};
  gnutls_cipher_hd_t handle;
  FUZZ_CHECK(gnutls_cipher_init(&handle, GNUTLS_CIPHER_AES_128_CBC, &key, &iv) == 0);
  FUZZ_CHECK(gnutls_cipher_encrypt2(handle, sample, 16, mask, 16) == 0);
  gnutls_cipher_deinit(handle);
}

static inline gnutls_aead_cipher_hd_t seal_open_cipher(const struct seal *s) {
  gnutls_datum_t key = {(unsigned char *)s->key, 16};
  gnutls_aead_cipher_hd_t handle;
  FUZZ_CHECK(gnutls_aead_cipher_init(&handle, GNUTLS_CIPHER_AES_128_GCM, &key) == 0);
  return handle;
}

/* The header of an Initial with an empty source id and token, and a packet number of four bytes; returns its length. */
static inline size_t seal_header(const struct seal *s, uint32_t number, uint8_t *out) {
  uint8_t *at = out;
  *at++ = 0xC3;
  memcpy(at, (const uint8_t[]){0, 0, 0, 1}, 4);
  at += 4;
  *at++ = (uint8_t)s->dcid_len;
  memcpy(at, s->dcid, s->dcid_len);
  at += s->dcid_len;
  *at++ = 0; /* source connection id */
  *at++ = 0; /* token */
  size_t rest = SEAL_DATAGRAM - (size_t)(at - out) - 2;
  *at++ = (uint8_t)(0x40 | rest >> 8);
  *at++ = (uint8_t)rest;
  memcpy(at, (const uint8_t[]){(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number},
         4);
  return (size_t)(at + 4 - out);
}

/* A whole datagram with these frames and PADDING behind them. */
static inline void seal_initial(const struct seal *s, uint32_t number, roam_bytes frames, uint8_t out[SEAL_DATAGRAM]) {
  uint8_t plain[SEAL_DATAGRAM] = {0}, nonce[12], mask[16];
  size_t head = seal_header(s, number, out), body = SEAL_DATAGRAM - head - 16, len = body + 16;
  FUZZ_CHECK(frames.len <= SEAL_FRAMES_MAX && frames.len <= body);
  if (frames.len > 0) memcpy(plain, frames.base, frames.len);
  memcpy(nonce, s->iv, sizeof nonce);
  for (int i = 0; i < 4; i++) nonce[8 + i] ^= out[head - 4 + (size_t)i];
  gnutls_aead_cipher_hd_t cipher = seal_open_cipher(s);
  FUZZ_CHECK(gnutls_aead_cipher_encrypt(cipher, nonce, 12, out, head, 16, plain, body, out + head, &len) == 0);
  gnutls_aead_cipher_deinit(cipher);
  seal_mask(s, out + head, mask); /* the sample begins four bytes behind where the number begins */
  out[0] ^= mask[0] & 0x0F;
  for (int i = 0; i < 4; i++) out[head - 4 + (size_t)i] ^= mask[1 + i];
}

static inline size_t seal_varint(const uint8_t **at) {
  size_t len = (size_t)1 << (**at >> 6), value = **at & 0x3F;
  for (size_t i = 1; i < len; i++) value = value << 8 | (*at)[i];
  *at += len;
  return value;
}

/* Opens a client's first Initial; the frames are written to out. Returns how many bytes, 0 when it is none of ours. */
static inline size_t seal_unseal(roam_bytes datagram, uint8_t *out, size_t cap) {
  uint8_t copy[2048], mask[16], nonce[12];
  struct seal s;
  if (datagram.len > sizeof copy || datagram.len < SEAL_DATAGRAM || datagram.base[0] >> 4 != 0xC) return 0;
  memcpy(copy, datagram.base, datagram.len);
  seal_init(&s, copy + 6, copy[5]);
  const uint8_t *at = copy + 6 + copy[5];
  at += 1 + *at;
  size_t token = seal_varint(&at);
  at += token;
  size_t rest = seal_varint(&at), head = (size_t)(at - copy);
  seal_mask(&s, at + 4, mask);
  copy[0] ^= mask[0] & 0x0F;
  size_t number_len = (copy[0] & 3u) + 1;
  memcpy(nonce, s.iv, sizeof nonce);
  for (size_t i = 0; i < number_len; i++) {
    copy[head + i] ^= mask[1 + i];
    nonce[12 - number_len + i] ^= copy[head + i];
  }
  head += number_len;
  size_t len = cap;
  gnutls_aead_cipher_hd_t cipher = seal_open_cipher(&s);
  int rv = gnutls_aead_cipher_decrypt(cipher, nonce, 12, copy, head, 16, copy + head, rest - number_len, out, &len);
  gnutls_aead_cipher_deinit(cipher);
  return rv == 0 ? len : 0;
}

#endif
