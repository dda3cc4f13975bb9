/* broker_access.c - the broker's password file and access list: reads them and says which line of which file is wrong. What
 * they mean is the library's affair. */
#include "cmd_broker.h"

#include <stdlib.h>

#define FILE_MAX ((size_t)64 << 20)

typedef roam_rc check_file(roam_bytes file, roam_access_fault *fault);

static int read_one(const struct roam_broker_run *b, const char *option, const char *path, check_file *check, uint8_t **at,
                    roam_bytes *out) {
  char why[ROAM_WHY_MAX];
  roam_access_fault fault = {0};
  size_t len;
  if (!path) return 0;
  if (roam_file_read(path, FILE_MAX, at, &len, why)) return roam_broker_complain(b, path, "%s: %s", option, why);
  *out = (roam_bytes){*at, len};
  if (check(*out, &fault) == 0) return 0;
  return roam_broker_complain(b, path, "%s: %s, line %u: %s", option, path, fault.line, fault.text);
}

int roam_files_read(struct roam_broker_run *b, roam_broker_options *o) {
  int code = read_one(b, "--password-file", b->password_file, roam_passwords_check, &b->passwords, &o->passwords);
  if (!code) code = read_one(b, "--acl-file", b->acl_file, roam_acl_check, &b->acl, &o->acl);
  o->allow_anonymous = b->anonymous;
  o->subject_as_user_name = b->subject_as_user;
  return code;
}

static roam_rc set_passwords(roam_broker *broker, roam_time now, void *context) {
  const roam_broker_options *o = context;
  return roam_broker_set_passwords(broker, now, o->passwords, NULL);
}

static roam_rc set_acl(roam_broker *broker, roam_time now, void *context) {
  const roam_broker_options *o = context;
  return roam_broker_set_acl(broker, now, o->acl, NULL);
}

void roam_files_hand_over(struct roam_broker_run *b, const roam_broker_options *o) {
  roam_broker_options copy = *o;
  if (o->passwords.base && roam_crew_each(b, set_passwords, &copy) == ROAM_E_STATE)
    roam_tell_line(b, ROAM_LOG_WARNING, "--password-file: the broker began without one; it counts after a restart");
  if (o->acl.base) (void)roam_crew_each(b, set_acl, &copy); /* it has been checked */
}

void roam_files_free(struct roam_broker_run *b) {
  free(b->passwords);
  free(b->acl);
  b->passwords = b->acl = NULL;
}
