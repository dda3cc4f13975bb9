/* trust.h - certificates for all who speak TLS here: an endpoint's own, whom it trusts, and the check of a peer's chain.
 *
 * Credentials are counted: a session keeps those it began with, so that an endpoint may take new ones at any time and only
 * new connections see them. */
#ifndef ROAM_TRANSPORT_TRUST_H
#define ROAM_TRANSPORT_TRUST_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <roamqtt/tls.h>

#include "transport/error.h"

enum {
  ROAM_SUBJECT_MAX = 256,
  ROAM_CREDENTIALS_MAX = 256 /* certificates of one server */
};

/* One certificate with its key, and all that is trusted. */
struct roam_credential {
  gnutls_certificate_credentials_t handle;
  gnutls_x509_crt_t leaf; /* for its names; NULL: no certificate */
};

/* Does not change once made. */
struct roam_credentials {
  unsigned count;
  gnutls_certificate_credentials_t handle; /* of all[0] */
  bool has_certificate, has_ca, system_trust_read;
  struct roam_credential *all; /* the first is shown when no name of the others fits */
  size_t all_len;
};

struct roam_trust {
  struct roam_credentials *credentials; /* of new sessions */
  bool insecure, require_client_certificate, request_client_certificate;
  int64_t wall_unix_s; /* at */
  roam_time wall_at;
};

/* ROAM_E_CERTIFICATE with *why: which PEM is bad; ROAM_E_MEMORY. */
roam_rc roam_trust_init(struct roam_trust *t, const roam_tls_config *config, roam_time now, const char **why);
void roam_trust_reset(struct roam_trust *t);
/* Other certificates for new sessions; after a failure the old ones stay. Whether clients are asked for one stays too. */
roam_rc roam_trust_replace(struct roam_trust *t, const roam_tls_config *config, const char **why);
/* The credentials for a new session of a client or a server; give them back when it ends. */
struct roam_credentials *roam_trust_take(struct roam_trust *t, bool server);
void roam_credentials_release(struct roam_credentials *c);
/* When the ClientHello has been read: shows a server's certificate for the name it asks for. */
int roam_credentials_choose(const struct roam_credentials *c, gnutls_session_t server);
/* Seconds since 1970 at this now; 0 when nobody told. */
int64_t roam_trust_wall(const struct roam_trust *t, roam_time now);

/* A check of the peer of one session. rc and text say why it was refused. */
struct roam_trust_check {
  gnutls_session_t handle;
  const struct roam_trust *trust;
  const struct roam_credentials *credentials;
  bool server;
  const char *name; /* a client: of the server */
  roam_time now;
  roam_rc rc;
  char *text; /* ROAM_CONN_TEXT_MAX */
};

/* For a verify function of GnuTLS: 0 or a GNUTLS_E_... */
int roam_trust_verify(struct roam_trust_check *check);
/* Asks for a client's certificate as configured. */
void roam_trust_ask_client(const struct roam_trust *t, gnutls_session_t server);
/* Does a server verify what a client sends? */
static inline bool roam_trust_asks(const struct roam_trust *t) {
  return t->require_client_certificate || t->request_client_certificate;
}
/* The common name of the peer's certificate, or its whole subject when it has none; false: no certificate, or a name that
 * is no plain UTF-8 text. Only after roam_trust_verify has let it in. */
bool roam_trust_subject(gnutls_session_t handle, char out[ROAM_SUBJECT_MAX]);

#endif
