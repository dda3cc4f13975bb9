/* keep.h - what commands keep in files on behalf of clients and brokers: a client's saved state, a broker's secret, key
 * logs and qlogs. All of them mode 0600: whoever has one can read or resume connections. */
#ifndef ROAM_KEEP_H
#define ROAM_KEEP_H

#include "tool.h"

#include <roamqtt/client.h>
#include <roamqtt/tap.h>

#define ROAM_KEEP_STATE_MAX (1u << 20)
#define ROAM_KEEP_QLOGS_MAX 64
#define ROAM_KEEP_PATH_MAX 4096

/* A tap whose lines go to files. */
typedef struct roam_keep_tap {
  FILE *keylog;
  const char *qlog_folder;
  struct {
    char name[64];
    FILE *file;
  } qlogs[ROAM_KEEP_QLOGS_MAX]; /* written at present; connections beyond that have none */
} roam_keep_tap;

/* Opens what was asked for (both may be NULL) and sets the sinks in out. False: why is said. */
bool roam_keep_tap_open(roam_keep_tap *t, const char *keylog_path, const char *qlog_folder, roam_tap *out,
                        char why[ROAM_WHY_MAX]);
void roam_keep_tap_close(roam_keep_tap *t);

/* A client's state: NULL path, or no such file yet: nothing. free(*bytes). */
bool roam_keep_state_read(const char *path, uint8_t **bytes, size_t *len, char why[ROAM_WHY_MAX]);
bool roam_keep_state_write(const char *path, roam_client *client, char why[ROAM_WHY_MAX]);

/* The 32 bytes in that file; made when it is not there. */
bool roam_keep_secret(const char *path, uint8_t secret[32], char why[ROAM_WHY_MAX]);

#endif
