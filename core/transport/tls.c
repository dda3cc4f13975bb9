/* tls.c - TLS 1.2 and 1.3 as a filter over a byte connection: GnuTLS's record layer fed from memory.
 *
 * GnuTLS pulls from the bytes that have just arrived and pushes into what goes down; "would block" is all it ever learns of
 * a network. Everything that arrived is taken, because GnuTLS itself keeps the unfinished record. Certificates are
 * trust.c's. No renegotiation, no compression. Tickets of TLS 1.3 only, whose handshake agrees on new keys all the same;
 * none where clients must show a certificate, or may, for a resumed handshake shows none. Refuses to know what the bytes
 * mean. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "transport/filter.h"
#include "transport/ticket.h"

/* Forward secrecy and authenticated encryption only; the order of ciphers and groups is the one QUIC has. */
#define PRIORITY                                                                                                           \
  "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA"                                                               \
  ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"                                                            \
  ":-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305:+AES-256-GCM:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE"

enum {
  RECORD_MAX = 16384,
  NAME_MAX_BYTES = 256,
  WARNINGS_MAX = 8 /* warning alerts and refused renegotiations in one connection */
};

struct tls {
  struct roam_layer filter; /* first */
  struct roam_tls_endpoint *endpoint;
  struct roam_credentials *credentials;
  gnutls_session_t handle;
  roam_bytes arrived; /* what GnuTLS has not pulled yet; empty outside of in */
  roam_rc trouble;    /* of what is below */
  roam_rc refused;    /* by the check of certificates; its text stands in filter.text */
  unsigned warnings;
  uint8_t bare_alert; /* see note_bare_alert */
  bool said_goodbye;
  roam_blob *ticket; /* client: the last that has arrived */
  uint32_t lifetime_s;
  bool resumed;
  char name[NAME_MAX_BYTES], subject[ROAM_SUBJECT_MAX];
};

static struct tls *of(const struct roam_layer *f) { return (struct tls *)(uintptr_t)f; }

/* ---- what GnuTLS calls ----------------------------------------------------------------------------------------------- */

static ssize_t pull(gnutls_transport_ptr_t ptr, void *out, size_t max) {
  struct tls *t = ptr;
  size_t n = t->arrived.len < max ? t->arrived.len : max;
  if (n == 0) {
    gnutls_transport_set_errno(t->handle, EAGAIN);
    return -1;
  }
  memcpy(out, t->arrived.base, n);
  t->arrived.base += n;
  t->arrived.len -= n;
  return (ssize_t)n;
}

static int pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms) {
  const struct tls *t = ptr;
  (void)ms;
  return t->arrived.len > 0;
}

static ssize_t push(gnutls_transport_ptr_t ptr, const void *bytes, size_t len) {
  struct tls *t = ptr;
  if (t->trouble == 0) t->trouble = roam_layer_down(&t->filter, (roam_bytes){bytes, len});
  if (t->trouble == 0) return (ssize_t)len;
  gnutls_transport_set_errno(t->handle, EIO);
  return -1;
}

static int choose(gnutls_session_t handle) {
  const struct tls *t = gnutls_session_get_ptr(handle);
  return roam_credentials_choose(t->credentials, handle);
}

/* A ticket of the server's. Its lifetime stands in the message before it is read; after, GnuTLS can give what is kept. */
static int keep_ticket(gnutls_session_t handle, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message) {
  struct tls *t = gnutls_session_get_ptr(handle);
  (void)type;
  if (incoming && when == GNUTLS_HOOK_PRE) t->lifetime_s = roam_ticket_lifetime(message);
  if (!incoming || when != GNUTLS_HOOK_POST) return 0;
  roam_blob *ticket = roam_ticket_take(handle);
  if (!ticket) return 0;
  roam_blob_unref(t->ticket);
  t->ticket = ticket;
  t->filter.news = true;
  return 0;
}

static int verify(gnutls_session_t handle) {
  struct tls *t = gnutls_session_get_ptr(handle);
  struct roam_trust_check check = {.handle = handle,
                                   .trust = &t->endpoint->trust,
                                   .credentials = t->credentials,
                                   .server = t->filter.server,
                                   .name = t->name,
                                   .now = *t->filter.now,
                                   .text = t->filter.text};
  int rv = roam_trust_verify(&check);
  t->refused = check.rc;
  return rv;
}

/* ---- what went wrong ------------------------------------------------------------------------------------------------- */

static roam_rc say(struct tls *t, roam_rc rc, const char *text) {
  snprintf(t->filter.text, ROAM_CONN_TEXT_MAX, "%s", text);
  return rc;
}

static bool lacks_certificate(int rv) {
  return rv == GNUTLS_E_NO_CERTIFICATE_FOUND
#ifdef GNUTLS_E_CERTIFICATE_REQUIRED
         || rv == GNUTLS_E_CERTIFICATE_REQUIRED
#endif
      ;
}

static bool is_not_tls(int rv) {
  return rv == GNUTLS_E_UNEXPECTED_PACKET_LENGTH || rv == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
         rv == GNUTLS_E_RECORD_OVERFLOW || rv == GNUTLS_E_UNEXPECTED_PACKET;
}

static roam_rc explain(struct tls *t, int rv) {
  if (t->trouble != 0) return t->trouble;
  if (t->refused != 0) return t->refused;
  if (rv == GNUTLS_E_FATAL_ALERT_RECEIVED)
    return roam_error_from_alert((unsigned)gnutls_alert_get(t->handle), t->filter.text);
  if (rv == GNUTLS_E_DECRYPTION_FAILED && t->bare_alert) return roam_error_from_alert(t->bare_alert, t->filter.text);
  if (rv == GNUTLS_E_MEMORY_ERROR) return say(t, ROAM_E_MEMORY, "out of memory in TLS");
  if (lacks_certificate(rv) && t->filter.server)
    return say(t, ROAM_E_CERTIFICATE, "the client has no certificate, or none of an authority we accept");
  if (!t->filter.open && is_not_tls(rv))
    return say(t, ROAM_E_TLS,
               t->filter.server ? "what arrived is not TLS 1.2 or 1.3: does the client mean the port without TLS?"
                                : "what the server answered is not TLS: is this the port with TLS?");
  snprintf(t->filter.text, ROAM_CONN_TEXT_MAX, "%s: %s", t->filter.open ? "TLS failed" : "TLS handshake failed",
           gnutls_strerror(rv));
  return ROAM_E_TLS;
}

/* The peer hears an alert first, unless it sent one. */
static roam_rc fail(struct tls *t, int rv) {
  roam_rc rc = explain(t, rv);
  if (rv != GNUTLS_E_FATAL_ALERT_RECEIVED && t->trouble == 0) gnutls_alert_send_appropriate(t->handle, rv);
  t->said_goodbye = true;
  return rc;
}

/* True: not the end of the connection, go on. */
static bool is_passing(struct tls *t, int rv) {
  if (rv == GNUTLS_E_INTERRUPTED) return true;
  bool warning = rv == GNUTLS_E_WARNING_ALERT_RECEIVED || (rv == GNUTLS_E_REHANDSHAKE && !t->filter.server);
  return warning && ++t->warnings <= WARNINGS_MAX;
}

/* ---- bytes ----------------------------------------------------------------------------------------------------------- */

static roam_rc shake_hands(struct tls *t) {
  int rv;
  do {
    rv = gnutls_handshake(t->handle);
  } while (rv < 0 && rv != GNUTLS_E_AGAIN && is_passing(t, rv));
  if (rv == GNUTLS_E_AGAIN) return 0;
  if (rv < 0) return fail(t, rv);
  t->resumed = gnutls_session_is_resumed(t->handle) != 0;
  bool checked = t->filter.server ? roam_trust_asks(&t->endpoint->trust) : !t->endpoint->trust.insecure;
  if (!checked || !roam_trust_subject(t->handle, t->subject)) t->subject[0] = '\0';
  return roam_layer_opened(&t->filter);
}

static roam_rc read_records(struct tls *t) {
  uint8_t bytes[RECORD_MAX];
  for (;;) {
    size_t before = t->arrived.len;
    ssize_t rv = gnutls_record_recv(t->handle, bytes, sizeof bytes);
    if (rv > 0) {
      roam_rc rc = roam_layer_up(&t->filter, (roam_bytes){bytes, (size_t)rv});
      if (rc != 0) return rc;
    } else if (rv == 0) {
      t->filter.ended = true;
      return 0;
    } else if (rv == GNUTLS_E_AGAIN) {
      /* Also said after a session ticket, with more records behind it. */
      if (t->trouble == 0 && t->arrived.len > 0 && t->arrived.len < before) continue;
      return t->trouble;
    } else if (!is_passing(t, (int)rv)) {
      return fail(t, (int)rv);
    }
  }
}

/* A client that refuses our certificate may say so before it encrypts (RFC 8446 section 6 lets it), which GnuTLS then
 * cannot decrypt; the reason stands there all the same. It only serves the sentence: nobody has signed it. */
static void note_bare_alert(struct tls *t, roam_bytes bytes) {
  static const uint8_t header[] = {21, 3, 3, 0, 2, 2};
  if (t->filter.server && bytes.len >= 7 && memcmp(bytes.base, header, sizeof header) == 0) t->bare_alert = bytes.base[6];
}

static roam_rc tls_start(struct roam_layer *f) { return f->server ? 0 : shake_hands(of(f)); }

static roam_rc tls_in(struct roam_layer *f, roam_bytes bytes) {
  struct tls *t = of(f);
  roam_rc rc = 0;
  t->arrived = bytes;
  if (!f->open) {
    note_bare_alert(t, bytes);
    rc = shake_hands(t);
  }
  if (rc == 0 && f->open && !f->ended) rc = read_records(t);
  t->arrived = (roam_bytes){0};
  return rc;
}

static roam_rc tls_out(struct roam_layer *f, roam_bytes bytes) {
  struct tls *t = of(f);
  while (bytes.len > 0) {
    ssize_t rv = gnutls_record_send(t->handle, bytes.base, bytes.len);
    if (rv == GNUTLS_E_INTERRUPTED) continue;
    if (rv <= 0) return explain(t, (int)rv);
    bytes.base += rv;
    bytes.len -= (size_t)rv;
  }
  return 0;
}

static void tls_end(struct roam_layer *f, uint64_t code) {
  struct tls *t = of(f);
  (void)code;
  if (f->open && !t->said_goodbye) gnutls_bye(t->handle, GNUTLS_SHUT_WR);
  t->said_goodbye = true;
}

static const char *tls_subject(const struct roam_layer *f) { return of(f)->subject[0] ? of(f)->subject : NULL; }

static bool tls_resume(struct roam_layer *f, roam_bytes ticket) { return roam_ticket_give(of(f)->handle, ticket); }

static roam_resume tls_learned(const struct roam_layer *f) {
  const struct tls *t = of(f);
  if (!t->ticket) return (roam_resume){0};
  return (roam_resume){.session = {roam_blob_data(t->ticket), roam_blob_len(t->ticket)}, .lifetime_s = t->lifetime_s};
}

static bool tls_resumed(const struct roam_layer *f) { return of(f)->resumed; }

static void tls_free(struct roam_layer *f) {
  struct tls *t = of(f);
  roam_blob_unref(t->ticket);
  if (t->handle) gnutls_deinit(t->handle);
  roam_credentials_release(t->credentials);
  free(t);
}

static const roam_layer_ops tls_ops = {"TLS",       tls_start, tls_in,     tls_out,     tls_end,
                                       tls_subject, tls_free,  tls_resume, tls_learned, tls_resumed};

/* ---- making ---------------------------------------------------------------------------------------------------------- */

static bool gives_tickets(const struct roam_tls_endpoint *e, bool server) {
  return server && e->ticket_key.size > 0 && !roam_trust_asks(&e->trust); /* certify may have changed it */
}

static int set_up(struct tls *t) {
  const struct roam_tls_endpoint *e = t->endpoint;
  gnutls_datum_t alpn = {(unsigned char *)(uintptr_t)e->alpn, (unsigned)strlen(e->alpn)};
  roam_addr addr;
  int rv = gnutls_priority_set(t->handle, e->priority);
  if (rv >= 0) rv = gnutls_credentials_set(t->handle, GNUTLS_CRD_CERTIFICATE, t->credentials->handle);
  if (rv >= 0) rv = gnutls_alpn_set_protocols(t->handle, &alpn, 1, 0);
  if (rv >= 0 && !t->filter.server && t->name[0] && roam_addr_parse(t->name, &addr) != 0)
    rv = gnutls_server_name_set(t->handle, GNUTLS_NAME_DNS, t->name, strlen(t->name));
  if (rv < 0) return rv;
  if (t->filter.server) roam_trust_ask_client(&e->trust, t->handle);
  if (t->filter.server) gnutls_handshake_set_post_client_hello_function(t->handle, choose);
  else gnutls_handshake_set_hook_function(t->handle, GNUTLS_HANDSHAKE_NEW_SESSION_TICKET, GNUTLS_HOOK_BOTH, keep_ticket);
  if (gives_tickets(e, t->filter.server)) {
    rv = gnutls_session_ticket_enable_server(t->handle, &e->ticket_key);
    if (rv < 0) return rv;
    gnutls_db_set_cache_expiration(t->handle, ROAM_TICKET_LIFETIME_S);
  }
  if (!t->filter.server || roam_trust_asks(&e->trust)) gnutls_session_set_verify_function(t->handle, verify);
  gnutls_session_set_ptr(t->handle, t);
  gnutls_transport_set_ptr(t->handle, t);
  gnutls_transport_set_pull_function(t->handle, pull);
  gnutls_transport_set_pull_timeout_function(t->handle, pull_timeout);
  gnutls_transport_set_push_function(t->handle, push);
  gnutls_handshake_set_timeout(t->handle, GNUTLS_INDEFINITE_TIMEOUT);
  return 0;
}

struct roam_layer *roam_tls_filter_new(struct roam_tls_endpoint *e, bool server, const char *name, const roam_time *now) {
  struct tls *t = calloc(1, sizeof *t);
  unsigned flags = (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL;
  flags |= server && !gives_tickets(e, server) ? GNUTLS_NO_TICKETS : GNUTLS_NO_TICKETS_TLS12;
  if (!t) return NULL;
  t->filter = (struct roam_layer){.ops = &tls_ops, .server = server, .now = now};
  t->endpoint = e;
  if (name) snprintf(t->name, sizeof t->name, "%s", name);
  t->credentials = roam_trust_take(&e->trust, server);
  if (gnutls_init(&t->handle, flags) < 0) t->handle = NULL;
  if (t->handle && set_up(t) >= 0) return &t->filter;
  tls_free(&t->filter);
  return NULL;
}

roam_rc roam_tls_endpoint_init(struct roam_tls_endpoint *e, const roam_transport_options *o, const char *alpn,
                               const char **why) {
  memset(e, 0, sizeof *e);
  e->alpn = alpn;
  if (gnutls_priority_init(&e->priority, PRIORITY, NULL) < 0) {
    *why = "this GnuTLS cannot do TLS 1.2 and 1.3 with the ciphers we allow";
    return ROAM_E_TLS;
  }
  roam_rc rc = roam_trust_init(&e->trust, &o->tls, o->now, why);
  if (rc != 0 || !e->trust.credentials->has_certificate || roam_trust_asks(&e->trust)) return rc;
  return roam_ticket_key_make(&e->ticket_key, o, "roamqtt tls tickets 1");
}

void roam_tls_endpoint_reset(struct roam_tls_endpoint *e) {
  if (e->priority) gnutls_priority_deinit(e->priority);
  e->priority = NULL;
  roam_ticket_key_free(&e->ticket_key);
  roam_trust_reset(&e->trust);
}
