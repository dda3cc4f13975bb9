/* auth.h - password files and access lists as bytes (reading files is the caller's), and lines for a password file.
 *
 * A password file has one `user:hash` a line. Three forms of hash are read; roam_password_make writes the first:
 *   SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>   RFC 5803: serves plain passwords and SCRAM-SHA-256 alike
 *   $7$<iterations>$<salt>$<hash>                               mosquitto_passwd, PBKDF2 with SHA-512
 *   $6$<salt>$<hash>                                            mosquitto_passwd -H sha512, one salted SHA-512
 * Passwords are bytes: nothing is normalised.
 *
 * An access list is in mosquitto's syntax: `topic [read|write|readwrite|deny] FILTER` lines, for everybody without a user
 * name at first and after a line `user NAME` for that user; `pattern [...] FILTER` lines, for everybody, in which %c stands
 * for the client id and %u for the user name. What no line grants is refused. */
#ifndef ROAMQTT_AUTH_H
#define ROAMQTT_AUTH_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is wrong with a file: a line number from 1, and a sentence with the remedy. Static storage. */
typedef struct roam_access_fault {
  uint32_t line;
  const char *text;
} roam_access_fault;

/* Would a broker take these? ROAM_E_OPTION with *fault (may be NULL) set, ROAM_E_MEMORY. */
ROAM_API roam_rc roam_passwords_check(roam_bytes file, roam_access_fault *fault);
ROAM_API roam_rc roam_acl_check(roam_bytes file, roam_access_fault *fault);

#define ROAM_PASSWORD_TEXT_MAX 256
#define ROAM_PASSWORD_ITERATIONS 15000u       /* what roam_password_make uses for 0: some milliseconds */
#define ROAM_PASSWORD_ITERATIONS_MIN 4096u    /* RFC 7677, section 4 */
#define ROAM_PASSWORD_ITERATIONS_MAX 1000000u /* a file that asks for more is refused */

/* The hash of a password for a line of the file, NUL-terminated, with a salt from random. ROAM_E_ARGUMENT: iterations out
 * of bounds; ROAM_E_INTERNAL: GnuTLS would not. */
ROAM_API roam_rc roam_password_make(char out[ROAM_PASSWORD_TEXT_MAX], roam_bytes password, uint32_t iterations,
                                    roam_random *random);

#ifdef __cplusplus
}
#endif
#endif
