/* error.c - numbers to sentences. Pure: no state, no connection is touched here. */
#include "transport/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct errno_meaning {
  int error;
  roam_rc rc;
  const char *text;
};

static const struct errno_meaning errno_meanings[] = {
    {ECONNREFUSED, ROAM_E_CONN_REFUSED, "connection refused: nothing listens there"},
    {ETIMEDOUT, ROAM_E_TIMEOUT, "timed out"},
    {ENETUNREACH, ROAM_E_UNREACHABLE, "network unreachable"},
    {EHOSTUNREACH, ROAM_E_UNREACHABLE, "host unreachable"},
    {ENETDOWN, ROAM_E_UNREACHABLE, "network is down"},
    {EADDRINUSE, ROAM_E_ADDRESS_IN_USE, "address already in use; choose another port or stop the other program"},
    {EADDRNOTAVAIL, ROAM_E_ADDRESS_NOT_AVAILABLE, "this machine has no such address"},
    {EACCES, ROAM_E_PERMISSION, "permission denied; ports below 1024 need privileges"},
    {EPERM, ROAM_E_PERMISSION, "not permitted; a firewall on this machine may forbid it"},
    {ECONNRESET, ROAM_E_LOST, "connection reset by the peer"},
    {EPIPE, ROAM_E_LOST, "connection closed by the peer while writing"},
    {ECONNABORTED, ROAM_E_LOST, "connection aborted"},
    {ENODEV, ROAM_E_ADDRESS_NOT_AVAILABLE, "no such interface"},
    {ENOENT, ROAM_E_CONN_REFUSED, "no such socket; is the server running?"},
    {EAGAIN, ROAM_E_CONN_REFUSED, "too many connections wait there to be accepted"},
    {ENOMEM, ROAM_E_MEMORY, "out of memory"},
    {ENOBUFS, ROAM_E_MEMORY, "no buffer space"},
    {EMFILE, ROAM_E_LIMIT, "too many open sockets; raise the limit of open files"},
    {ENFILE, ROAM_E_LIMIT, "too many open sockets on this machine"},
};

roam_rc roam_error_from_errno(int error, const char *doing, const roam_addr *addr, char text[ROAM_CONN_TEXT_MAX]) {
  roam_rc rc = ROAM_E_IO;
  const char *what = "input or output failure";
  for (size_t i = 0; i < sizeof errno_meanings / sizeof errno_meanings[0]; i++) {
    if (errno_meanings[i].error != error) continue;
    rc = errno_meanings[i].rc;
    what = errno_meanings[i].text;
    break;
  }
  char where[ROAM_ADDR_TEXT_MAX];
  if (addr->family == 0) snprintf(text, ROAM_CONN_TEXT_MAX, "%s: %s", doing, what); /* it says where */
  else snprintf(text, ROAM_CONN_TEXT_MAX, "%s %s: %s", doing, roam_addr_format(addr, where), what);
  if (rc == ROAM_E_IO) {
    size_t used = strlen(text);
    snprintf(text + used, ROAM_CONN_TEXT_MAX - used, " (errno %d)", error);
  }
  return rc;
}

/* The peer's reason phrase is a stranger's text: only printable ASCII goes into ours. */
static void append_reason(char text[ROAM_CONN_TEXT_MAX], roam_bytes reason) {
  size_t used = strlen(text);
  if (reason.len == 0 || used + 4 >= ROAM_CONN_TEXT_MAX) return;
  text[used++] = ':';
  text[used++] = ' ';
  for (size_t i = 0; i < reason.len && used + 1 < ROAM_CONN_TEXT_MAX; i++) {
    uint8_t c = reason.base[i];
    text[used++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
  }
  text[used] = '\0';
}

struct quic_meaning {
  uint64_t code;
  roam_rc rc;
  const char *text;
};

/* RFC 9000 section 20.1; 0x100 + alert are those of TLS (RFC 8446 section 6). */
static const struct quic_meaning quic_meanings[] = {
    {0x0, 0, "closed by the peer"},
    {0x1, ROAM_E_PEER_CLOSED, "the peer reports a fault of its own"},
    {0x2, ROAM_E_REFUSED, "the server refuses new connections at the moment"},
    {0x3, ROAM_E_PROTOCOL, "the peer says that we sent more than it allowed (flow control)"},
    {0x4, ROAM_E_PROTOCOL, "the peer says that we opened more streams than it allowed"},
    {0x7, ROAM_E_PROTOCOL, "the peer could not read a frame of ours"},
    {0x8, ROAM_E_PROTOCOL, "the peer did not accept our transport parameters"},
    {0xa, ROAM_E_PROTOCOL, "the peer says that we broke the rules of QUIC"},
    {0xb, ROAM_E_REFUSED, "the server did not accept our address token; the next attempt comes without it"},
    {0xc, ROAM_E_PEER_CLOSED, "the peer's application ended the connection during the handshake"},
    {0xd, ROAM_E_PROTOCOL, "the peer has no room for more TLS data"},
    {0xe, ROAM_E_PROTOCOL, "the peer could not update its keys"},
    {0xf, ROAM_E_LOST, "the peer's keys are used up; a new connection has new ones"},
    {0x10, ROAM_E_UNREACHABLE, "the server says that no path to us works"},
    {0x128, ROAM_E_TLS, "the peer found no common cipher, group or signature (handshake_failure)"},
    {0x12a, ROAM_E_CERTIFICATE, "the peer did not accept our certificate (bad_certificate)"},
    {0x12b, ROAM_E_CERTIFICATE, "the peer does not support our kind of certificate"},
    {0x12c, ROAM_E_CERTIFICATE, "the peer says our certificate was revoked"},
    {0x12d, ROAM_E_CERTIFICATE, "the peer says our certificate has expired"},
    {0x12e, ROAM_E_CERTIFICATE, "the peer did not accept our certificate"},
    {0x130, ROAM_E_CERTIFICATE, "the peer does not know the authority of our certificate"},
    {0x131, ROAM_E_REFUSED, "the peer denied access"},
    {0x133, ROAM_E_TLS, "the peer could not verify a TLS message of ours (decrypt_error)"},
    {0x146, ROAM_E_TLS, "the peer does not speak TLS 1.3"},
    {0x15a, ROAM_E_REFUSED, "the server is overloaded (user_canceled)"},
    {0x16d, ROAM_E_TLS, "the peer misses a TLS extension (missing_extension)"},
    {0x170, ROAM_E_TLS, "the server does not know the name we asked for (unrecognized_name); set server_name"},
    {0x174, ROAM_E_CERTIFICATE, "the server demands a client certificate"},
    {0x178, ROAM_E_ALPN, "the server speaks QUIC but not MQTT"},
};

roam_rc roam_error_from_quic(uint64_t code, bool handshaking, roam_bytes reason, char text[ROAM_CONN_TEXT_MAX]) {
  for (size_t i = 0; i < sizeof quic_meanings / sizeof quic_meanings[0]; i++) {
    if (quic_meanings[i].code != code) continue;
    snprintf(text, ROAM_CONN_TEXT_MAX, "%s", quic_meanings[i].text);
    append_reason(text, reason);
    return quic_meanings[i].rc;
  }
  /* Some stacks answer an unknown protocol name with decode_error instead of no_application_protocol. */
  if (handshaking && code == 0x132) {
    snprintf(text, ROAM_CONN_TEXT_MAX, "the server speaks QUIC but not MQTT");
    return ROAM_E_ALPN;
  }
  bool tls = code >= 0x100 && code <= 0x1ff;
  if (tls) snprintf(text, ROAM_CONN_TEXT_MAX, "the peer ended the handshake with TLS alert %" PRIu64, code - 0x100);
  else snprintf(text, ROAM_CONN_TEXT_MAX, "the peer ended the connection with QUIC error 0x%" PRIx64, code);
  append_reason(text, reason);
  return tls ? ROAM_E_TLS : ROAM_E_PROTOCOL;
}

/* TLS on TCP has the same alerts; two of them mean something else there. */
roam_rc roam_error_from_alert(unsigned alert, char text[ROAM_CONN_TEXT_MAX]) {
  if (alert == 0x78) {
    snprintf(text, ROAM_CONN_TEXT_MAX, "the server speaks TLS but not MQTT");
    return ROAM_E_ALPN;
  }
  if (alert == 0x46) {
    snprintf(text, ROAM_CONN_TEXT_MAX, "the peer speaks neither TLS 1.2 nor 1.3 (protocol_version)");
    return ROAM_E_TLS;
  }
  return roam_error_from_quic(0x100 + (uint64_t)alert, false, (roam_bytes){0}, text);
}
