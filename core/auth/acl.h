/* acl.h - an access list in memory: who may read from and write to which topics. */
#ifndef ROAM_AUTH_ACL_H
#define ROAM_AUTH_ACL_H

#include <roamqtt/auth.h>

#define ROAM_ACL_ENTRIES_MAX 1000000u
#define ROAM_ACL_FILE_MAX (64u << 20) /* bytes */

#define ROAM_ACL_ANONYMOUS 0u      /* whoever has no user name */
#define ROAM_ACL_NOBODY UINT32_MAX /* a user without lines: the patterns alone count */

enum roam_acl_access {
  ROAM_ACL_READ = 1,
  ROAM_ACL_WRITE = 2
};

struct roam_acl;

/* NULL with *rc: ROAM_E_OPTION (*fault says why), ROAM_E_MEMORY. The bytes are copied. */
struct roam_acl *roam_acl_new(roam_bytes file, roam_access_fault *fault, roam_rc *rc);
void roam_acl_free(struct roam_acl *a); /* NULL is fine */
/* The number under which a user's lines are found; base NULL: nobody's name. */
uint32_t roam_acl_find(const struct roam_acl *a, roam_bytes user_name);

struct roam_acl_who {
  uint32_t number; /* roam_acl_find */
  roam_bytes user_name, client_id;
};

/* May they? what is a topic, or a topic filter (without "$share/name/"): a filter is refused when there is no topic it
 * matches that they may read, as far as single lines tell. */
bool roam_acl_may(const struct roam_acl *a, const struct roam_acl_who *who, roam_bytes what, enum roam_acl_access access);

#endif
