/* scram.h - SCRAM-SHA-256 (RFC 5802 and 7677) without channel binding, both sides, as functions from message to message.
 * They are total: any bytes give an answer or an error. Chance comes in as a nonce. */
#ifndef ROAM_AUTH_SCRAM_H
#define ROAM_AUTH_SCRAM_H

#include "auth/password.h"

#define ROAM_SCRAM_METHOD "SCRAM-SHA-256"
#define ROAM_SCRAM_MESSAGE_MAX 512u /* bytes of one message, either way */
#define ROAM_SCRAM_TEXT_MAX 1600u   /* three of them with the commas between */
#define ROAM_SCRAM_USER_MAX 256u    /* bytes of a user name as it travels */
#define ROAM_SCRAM_NONCE_MAX 128u   /* of both sides together */
#define ROAM_SCRAM_NONCE_LEN 24u    /* of ours */

/* A nonce of ours: 144 random bits as text, NUL-terminated. false: GnuTLS would not. */
bool roam_scram_nonce(roam_random *random, char out[ROAM_SCRAM_NONCE_LEN + 1]);

struct roam_scram_message {
  size_t len;
  char text[ROAM_SCRAM_TEXT_MAX];
};

/* The server's side. Invariant: auth is "client-first-bare,server-first" once first has been answered. */
struct roam_scram_server {
  struct roam_password line;
  bool answered;
  size_t user_len, nonce_len;
  char user[ROAM_SCRAM_USER_MAX], nonce[ROAM_SCRAM_NONCE_MAX], gs2;
  struct roam_scram_message auth, reply;
};

/* Reads client-first-message and makes server-first-message in s->reply. passwords: nobody is refused yet, whoever is
 * unknown (or has a hash that cannot serve) is asked like all others. ROAM_E_MALFORMED, ROAM_E_UNSUPPORTED (channel
 * binding, extensions, somebody else's name). */
roam_rc roam_scram_server_first(struct roam_scram_server *s, roam_bytes message, const struct roam_passwords *passwords,
                                const char *nonce);
/* Reads client-final-message and makes server-final-message in s->reply. ROAM_E_MALFORMED; ROAM_E_REFUSED: not proven. */
roam_rc roam_scram_server_final(struct roam_scram_server *s, roam_bytes message);

/* The client's side. bare becomes the whole of what is signed. What has been derived is kept: the same salt and iterations
 * need it not again. */
struct roam_scram_client {
  uint32_t iterations;
  uint8_t salt_len;
  uint8_t salt[ROAM_PASSWORD_SALT_MAX], salted[ROAM_SHA256_LEN], signature[ROAM_SHA256_LEN];
  bool proven; /* our proof is out: the server's signature is awaited */
  char nonce[ROAM_SCRAM_NONCE_LEN + 1];
  struct roam_scram_message bare, reply;
};

/* client-first-message in c->reply. ROAM_E_LIMIT: the user name is too long. */
roam_rc roam_scram_client_first(struct roam_scram_client *c, roam_bytes user, const char *nonce);
/* Reads server-first-message, makes client-final-message in c->reply. ROAM_E_MALFORMED; ROAM_E_LIMIT: iterations below 4096
 * (too easily guessed) or above 1000000; ROAM_E_INTERNAL. */
roam_rc roam_scram_client_final(struct roam_scram_client *c, roam_bytes message, roam_bytes password);
/* Reads server-final-message: 0 when the server has proven that it knows us too. ROAM_E_MALFORMED, ROAM_E_REFUSED. */
roam_rc roam_scram_client_check(struct roam_scram_client *c, roam_bytes message);

#endif
