/* tls.h - who I am and whom I trust: PEM text in memory, never files (reading them is the caller's), and a throw-away CA
 * for tests, demonstrations and first steps. */
#ifndef ROAMQTT_TLS_H
#define ROAMQTT_TLS_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All PEM. Empty means: none. Borrowed for the call they are given to. */
typedef struct roam_tls_config {
  roam_bytes ca;          /* trust anchors; a client without them uses the system's */
  roam_bytes certificate; /* chain, leaf first */
  roam_bytes key;
  bool insecure;                   /* client: do not verify the server. Say it by name or not at all */
  bool require_client_certificate; /* server: verified against ca */
  bool request_client_certificate; /* server: asked for; one that is given is verified against ca, none is fine too */
  int64_t wall_unix_s; /* seconds since 1970 at the time of the call; certificates are checked against it (0: refuse to
                          verify) */
  roam_bytes more; /* server: further certificates, PEM: each chain (leaf first) with its key behind it. The first of all
                      with the name that a client asks for (SNI) is shown; certificate, when none has it */
} roam_tls_config;

/* What is wrong with certificate, key, more or ca, as a sentence; NULL when they can be used. Static storage. */
ROAM_API const char *roam_tls_config_error(const roam_tls_config *config);

/* A certificate authority and one certificate made by it, Ed25519, PEM, NUL-terminated. */
typedef struct roam_identity {
  char *ca_certificate, *ca_key, *certificate, *key;
} roam_identity;

/* Makes both. names: comma-separated DNS names and IP addresses for the certificate ("localhost,127.0.0.1,::1");
 * common_name for people. Valid from an hour before wall_unix_s for days. client: the certificate is for a client.
 * ROAM_E_TLS with GnuTLS's own failure, ROAM_E_ARGUMENT: an unusable name. roam_identity_clear frees (and may be called
 * after failure). */
ROAM_API roam_rc roam_identity_make(roam_identity *out, const char *common_name, const char *names, int64_t wall_unix_s,
                                    uint32_t days, bool client);
/* The same with an existing CA (its PEM certificate and key): out->ca_* are copies. */
ROAM_API roam_rc roam_identity_issue(roam_identity *out, roam_bytes ca_certificate, roam_bytes ca_key,
                                     const char *common_name, const char *names, int64_t wall_unix_s, uint32_t days,
                                     bool client);
ROAM_API void roam_identity_clear(roam_identity *identity);

#ifdef __cplusplus
}
#endif
#endif
