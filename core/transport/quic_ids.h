/* quic_ids.h - connection ids that carry the worker, in the form of QUIC-LB (draft-ietf-quic-load-balancers). */
#ifndef ROAM_TRANSPORT_QUIC_IDS_H
#define ROAM_TRANSPORT_QUIC_IDS_H

#include "transport/transport.h"

enum {
  ROAM_QUIC_ID_BYTES = 16,           /* plaintext, and of a single worker: all random */
  ROAM_QUIC_ID_ENCRYPTED_BYTES = 17, /* an octet and one AES block */
  ROAM_QUIC_ID_MAX = 17
};

struct roam_quic_ids {
  roam_random *random;
  uint32_t workers, worker;
  size_t len;
  void *encrypt, *decrypt; /* gnutls_cipher_hd_t; NULL: plaintext */
};

/* ROAM_E_TLS: no cipher. */
roam_rc roam_quic_ids_init(struct roam_quic_ids *ids, const roam_transport_options *o, const uint8_t secret[32]);
void roam_quic_ids_reset(struct roam_quic_ids *ids);
void roam_quic_ids_make(const struct roam_quic_ids *ids, uint8_t *id); /* ids->len bytes */
/* Whose is it, if it is one of these? UINT32_MAX: nobody's. */
uint32_t roam_quic_ids_worker(const struct roam_quic_ids *ids, const uint8_t *id, size_t len);

#endif
