/* password.h - a password file in memory, and the check of one password against it in slices. */
#ifndef ROAM_AUTH_PASSWORD_H
#define ROAM_AUTH_PASSWORD_H

#include <roamqtt/auth.h>

#include "auth/crypt.h"

#define ROAM_PASSWORDS_MAX 1000000u        /* users in one file */
#define ROAM_PASSWORD_NAME_MAX 65535u      /* bytes of a user name: MQTT's */
#define ROAM_PASSWORD_SALT_MAX 64u         /* bytes */
#define ROAM_PASSWORD_FILE_MAX (64u << 20) /* bytes */

enum roam_password_kind {
  ROAM_PASSWORD_SCRAM, /* SCRAM-SHA-256: stored is StoredKey */
  ROAM_PASSWORD_PBKDF2_SHA512,
  ROAM_PASSWORD_SHA512
};

/* One line. */
struct roam_password {
  roam_bytes name; /* in the table's text */
  uint64_t stamp;  /* of the whole line: another one means another password */
  enum roam_password_kind kind;
  uint32_t iterations;
  uint8_t salt_len;
  uint8_t salt[ROAM_PASSWORD_SALT_MAX], stored[ROAM_SHA512_LEN], server_key[ROAM_SHA256_LEN];
};

struct roam_passwords;

/* NULL with *rc: ROAM_E_OPTION (*fault says why), ROAM_E_MEMORY. The bytes are copied. random: keys the table, and makes
 * the salts shown to strangers. */
struct roam_passwords *roam_passwords_new(roam_bytes file, roam_random *random, roam_access_fault *fault, roam_rc *rc);
void roam_passwords_free(struct roam_passwords *p);                                               /* NULL is fine */
const struct roam_password *roam_passwords_find(const struct roam_passwords *p, roam_bytes name); /* NULL: none */
/* A line for somebody who has none, always the same for a name, so that strangers cannot tell the difference: its check
 * takes as long and fails. */
void roam_passwords_decoy(const struct roam_passwords *p, roam_bytes name, struct roam_password *out);

/* The check of one password. It keeps nothing of the table. */
struct roam_password_check {
  enum roam_password_kind kind;
  struct roam_kdf kdf;
  uint8_t stored[ROAM_SHA512_LEN], got[ROAM_SHA512_LEN];
};

roam_rc roam_password_check_begin(struct roam_password_check *c, const struct roam_password *line, roam_bytes password);
bool roam_password_check_step(struct roam_password_check *c, uint32_t *budget); /* true: done */
bool roam_password_check_end(struct roam_password_check *c); /* was it right (false before it was done); wipes it */

/* RFC 5802, section 3: from SaltedPassword. */
bool roam_scram_stored_key(const uint8_t salted[ROAM_SHA256_LEN], uint8_t stored[ROAM_SHA256_LEN]);
bool roam_scram_server_key(const uint8_t salted[ROAM_SHA256_LEN], uint8_t key[ROAM_SHA256_LEN]);

#endif
