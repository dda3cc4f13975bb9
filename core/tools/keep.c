/* keep.c - see keep.h. */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- taps ------------------------------------------------------------------------------------------------------------ */

static FILE *open_private(const char *path, bool append) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0600);
  FILE *file = fd >= 0 ? fdopen(fd, append ? "a" : "w") : NULL;
  if (!file && fd >= 0) close(fd);
  return file;
}

static void write_secret(void *context, const char *line) {
  roam_keep_tap *t = context;
  fprintf(t->keylog, "%s\n", line);
  fflush(t->keylog); /* somebody is looking on */
}

static FILE *qlog_of(roam_keep_tap *t, const char *name, size_t *slot) {
  char path[ROAM_KEEP_PATH_MAX];
  size_t vacant = ROAM_KEEP_QLOGS_MAX;
  for (size_t i = 0; i < ROAM_KEEP_QLOGS_MAX; i++) {
    *slot = i;
    if (t->qlogs[i].file && strcmp(t->qlogs[i].name, name) == 0) return t->qlogs[i].file;
    if (!t->qlogs[i].file && vacant == ROAM_KEEP_QLOGS_MAX) vacant = i;
  }
  if (vacant == ROAM_KEEP_QLOGS_MAX || strlen(name) >= sizeof t->qlogs[0].name) return NULL;
  int n = snprintf(path, sizeof path, "%s/%s.sqlog", t->qlog_folder, name);
  if (n < 0 || (size_t)n >= sizeof path) return NULL;
  *slot = vacant;
  strcpy(t->qlogs[vacant].name, name);
  return t->qlogs[vacant].file = open_private(path, true);
}

static void write_qlog(void *context, const char *name, roam_bytes text, bool last) {
  roam_keep_tap *t = context;
  size_t slot;
  if (last && text.len == 0) {
    for (size_t i = 0; i < ROAM_KEEP_QLOGS_MAX; i++) {
      if (!t->qlogs[i].file || strcmp(t->qlogs[i].name, name) != 0) continue;
      fclose(t->qlogs[i].file);
      t->qlogs[i].file = NULL;
    }
    return;
  }
  FILE *file = qlog_of(t, name, &slot);
  if (file) fwrite(text.base, 1, text.len, file);
}

bool roam_keep_tap_open(roam_keep_tap *t, const char *keylog_path, const char *qlog_folder, roam_tap *out,
                        char why[ROAM_WHY_MAX]) {
  struct stat st;
  memset(t, 0, sizeof *t);
  t->qlog_folder = qlog_folder;
  if (keylog_path) {
    t->keylog = open_private(keylog_path, true);
    if (!t->keylog) {
      snprintf(why, ROAM_WHY_MAX, "--keylog: cannot write %.300s: %s", keylog_path, strerror(errno));
      return false;
    }
    out->keylog = write_secret;
  }
  if (qlog_folder) {
    bool there = mkdir(qlog_folder, 0700) == 0 || (errno == EEXIST && stat(qlog_folder, &st) == 0 && S_ISDIR(st.st_mode));
    if (!there) {
      snprintf(why, ROAM_WHY_MAX, "--qlog: %.300s is not a folder and cannot be made one: %s", qlog_folder,
               strerror(errno));
      roam_keep_tap_close(t);
      return false;
    }
    out->qlog = write_qlog;
  }
  out->context = t;
  return true;
}

void roam_keep_tap_close(roam_keep_tap *t) {
  if (t->keylog) fclose(t->keylog);
  for (size_t i = 0; i < ROAM_KEEP_QLOGS_MAX; i++)
    if (t->qlogs[i].file) fclose(t->qlogs[i].file);
  memset(t, 0, sizeof *t);
}

/* ---- state and secret ------------------------------------------------------------------------------------------------ */

bool roam_keep_state_read(const char *path, uint8_t **bytes, size_t *len, char why[ROAM_WHY_MAX]) {
  *bytes = NULL;
  *len = 0;
  if (!path) return true;
  roam_rc rc = roam_file_read(path, ROAM_KEEP_STATE_MAX, bytes, len, why);
  return rc == 0 || rc == ROAM_E_NOT_FOUND;
}

bool roam_keep_state_write(const char *path, roam_client *client, char why[ROAM_WHY_MAX]) {
  roam_bytes state = roam_client_saved(client);
  return state.len == 0 || roam_file_write(path, state.base, state.len, 0600, why) == 0;
}

bool roam_keep_secret(const char *path, uint8_t secret[32], char why[ROAM_WHY_MAX]) {
  uint8_t *bytes = NULL;
  size_t len;
  roam_rc rc = roam_file_read(path, 64, &bytes, &len, why);
  bool good = rc == 0 && len == 32;
  if (good) memcpy(secret, bytes, 32);
  free(bytes);
  if (good) return true;
  if (rc == 0) snprintf(why, ROAM_WHY_MAX, "%.300s does not hold 32 bytes; remove it and it is made anew", path);
  if (rc != ROAM_E_NOT_FOUND) return false;
  if (getrandom(secret, 32, 0) != 32) {
    snprintf(why, ROAM_WHY_MAX, "no random bytes: %s", strerror(errno));
    return false;
  }
  return roam_file_write(path, secret, 32, 0600, why) == 0;
}
