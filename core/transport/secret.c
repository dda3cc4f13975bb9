/* secret.c - a secret for transport_options.secret that an owner may keep over restarts. It becomes keys of tickets, so it
 * comes from GnuTLS and not from the owner's source of chance, which may be a simulated one. */
#include <gnutls/gnutls.h>
#include <string.h>

#include "transport/transport.h"

roam_rc roam_transport_secret_make(uint8_t secret[ROAM_TRANSPORT_SECRET_BYTES]) {
  gnutls_datum_t key = {0};
  int rv = gnutls_session_ticket_key_generate(&key);
  bool good = rv >= 0 && key.size >= ROAM_TRANSPORT_SECRET_BYTES;
  if (good) memcpy(secret, key.data, ROAM_TRANSPORT_SECRET_BYTES);
  if (key.data) gnutls_memset(key.data, 0, key.size);
  gnutls_free(key.data);
  return good ? 0 : ROAM_E_TLS;
}
