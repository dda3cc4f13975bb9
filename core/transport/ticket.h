/* ticket.h - session tickets of TLS 1.3, for QUIC and TLS alike: the key a server seals them with, and the form a client
 * keeps them in. */
#ifndef ROAM_TRANSPORT_TICKET_H
#define ROAM_TRANSPORT_TICKET_H

#include <gnutls/gnutls.h>

#include "transport/transport.h"

enum {
  ROAM_TICKET_LIFETIME_S = 6 * 3600
};

/* From the owner's secret, if it gave one, and from what is demanded of clients; label: for whom, at most 31 bytes. */
roam_rc roam_ticket_key_make(gnutls_datum_t *key, const roam_transport_options *o, const char *label);
void roam_ticket_key_free(gnutls_datum_t *key);
/* A client's, when its hook has been told of a ticket: what the next handshake needs. NULL: none, or no memory. */
roam_blob *roam_ticket_take(gnutls_session_t client);
/* Before the handshake. False: it is damaged. */
bool roam_ticket_give(gnutls_session_t client, roam_bytes sealed);
uint32_t roam_ticket_lifetime(const gnutls_datum_t *message); /* in seconds, of a NewSessionTicket */

#endif
