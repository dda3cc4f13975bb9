/* identity.c - keeps one throw-away CA in the user's state folder, so that a client which trusts it once trusts the
 * broker's next starts too. The server's own certificate is made anew each time and never written. The CA file says in a
 * line of text above the PEM until when it holds. */
#include "identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DAYS 365
#define DAY_S 86400
#define PEM_MAX 65536

static const char until_mark[] = "valid until (seconds since 1970): ";

static bool find_folder(char path[ROAM_PATH_MAX], char why[ROAM_WHY_MAX]) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  int n = -1;
  if (state && state[0] == '/') n = snprintf(path, ROAM_PATH_MAX, "%s/roamqtt", state);
  else if (home && home[0] == '/') n = snprintf(path, ROAM_PATH_MAX, "%s/.local/state/roamqtt", home);
  if (n > 0 && n < ROAM_PATH_MAX - 32) return true;
  snprintf(why, ROAM_WHY_MAX,
           "neither XDG_STATE_HOME nor HOME names a folder for the throw-away CA; set one, or give --cert and --key");
  return false;
}

static bool make_folders(char *path, char why[ROAM_WHY_MAX]) {
  for (char *slash = path + 1; slash; *slash++ = '/') {
    slash = strchr(slash, '/');
    if (slash) *slash = 0;
    int failed = mkdir(path, 0700) && errno != EEXIST;
    if (failed)
      snprintf(why, ROAM_WHY_MAX, "cannot make %.300s: %s; set XDG_STATE_HOME, or give --cert and --key", path,
               strerror(errno));
    if (failed) return false;
    if (!slash) return true;
  }
  return true;
}

/* Days that the CA in this text still holds, at most DAYS; 0 = none. */
static uint32_t days_left(const char *text, int64_t wall_unix_s) {
  const char *mark = strstr(text, until_mark);
  if (!mark) return 0;
  long long left = (strtoll(mark + strlen(until_mark), NULL, 10) - wall_unix_s) / DAY_S;
  return left < 7 || left > DAYS ? 0 : (uint32_t)left;
}

struct ca {
  char certificate_path[ROAM_PATH_MAX], key_path[ROAM_PATH_MAX];
  uint8_t *certificate, *key;
  size_t certificate_len, key_len;
};

static void clear(struct ca *ca) {
  free(ca->certificate);
  free(ca->key);
  ca->certificate = ca->key = NULL;
}

static roam_rc reuse(struct ca *ca, roam_identity *out, const char *names, int64_t wall_unix_s) {
  char why[ROAM_WHY_MAX];
  roam_rc rc = roam_file_read(ca->certificate_path, PEM_MAX, &ca->certificate, &ca->certificate_len, why);
  if (!rc) rc = roam_file_read(ca->key_path, PEM_MAX, &ca->key, &ca->key_len, why);
  uint32_t days = rc ? 0 : days_left((const char *)ca->certificate, wall_unix_s);
  if (!days) rc = ROAM_E_NOT_FOUND;
  else
    rc = roam_identity_issue(out, (roam_bytes){ca->certificate, ca->certificate_len}, (roam_bytes){ca->key, ca->key_len},
                             "roamqtt broker", names, wall_unix_s, days, false);
  clear(ca);
  return rc;
}

static roam_rc make(struct ca *ca, roam_identity *out, const char *names, int64_t wall_unix_s, char why[ROAM_WHY_MAX]) {
  char text[8192];
  roam_rc rc = roam_identity_make(out, "roamqtt broker", names, wall_unix_s, DAYS, false);
  if (rc) {
    snprintf(why, ROAM_WHY_MAX, "cannot make a throw-away CA: %s; give --cert and --key", roam_strerror(rc));
    return rc;
  }
  int n = snprintf(text, sizeof text, "roamqtt's throw-away CA; %s%lld\n%s", until_mark,
                   (long long)wall_unix_s + DAYS * DAY_S, out->ca_certificate);
  if (n < 0 || (size_t)n >= sizeof text) return ROAM_E_LIMIT;
  rc = roam_file_write(ca->key_path, out->ca_key, strlen(out->ca_key), 0600, why);
  if (!rc) rc = roam_file_write(ca->certificate_path, text, (size_t)n, 0644, why);
  if (rc) roam_identity_clear(out);
  return rc;
}

roam_rc roam_identity_throwaway(roam_identity *out, const char *names, int64_t wall_unix_s, char ca_path[ROAM_PATH_MAX],
                                char why[ROAM_WHY_MAX]) {
  char folder[ROAM_PATH_MAX];
  struct ca ca = {0};
  if (!find_folder(folder, why) || !make_folders(folder, why)) return ROAM_E_IO;
  snprintf(ca.certificate_path, sizeof ca.certificate_path, "%.4000s/ca.pem", folder);
  snprintf(ca.key_path, sizeof ca.key_path, "%.4000s/ca-key.pem", folder);
  memcpy(ca_path, ca.certificate_path, ROAM_PATH_MAX);
  roam_rc rc = reuse(&ca, out, names, wall_unix_s);
  return rc ? make(&ca, out, names, wall_unix_s, why) : 0;
}
