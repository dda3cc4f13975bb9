/* error.h - what the operating system's and QUIC's numbers mean to a person: a ROAM_E_... and a sentence with cause and
 * remedy. */
#ifndef ROAM_TRANSPORT_ERROR_H
#define ROAM_TRANSPORT_ERROR_H

#include <roamqtt/base.h>

#define ROAM_CONN_TEXT_MAX 256

/* An errno of a socket as a ROAM_E_...; doing is what failed ("connecting to"), addr to whom; the sentence goes to text. */
roam_rc roam_error_from_errno(int error, const char *doing, const roam_addr *addr, char text[ROAM_CONN_TEXT_MAX]);
/* A QUIC transport error code in the peer's CONNECTION_CLOSE. handshaking: before the handshake was done. */
roam_rc roam_error_from_quic(uint64_t code, bool handshaking, roam_bytes reason, char text[ROAM_CONN_TEXT_MAX]);
/* A fatal TLS alert from the peer, on a connection that is not QUIC's. */
roam_rc roam_error_from_alert(unsigned alert, char text[ROAM_CONN_TEXT_MAX]);

#endif
