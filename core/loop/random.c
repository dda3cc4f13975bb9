/* random.c - the operating system's chance and its wall clock. Refuses to repeat itself.
 *
 * Bytes come through a small buffer per thread, since most who ask want eight of them. The buffer is emptied by a fork, so
 * that parent and child never draw the same bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <roamqtt/loop.h>

#include "base/rng.h"

enum {
  POOL_BYTES = 256
}; /* what one getrandom call gives without being interrupted */

static void fill_from_system(uint8_t *out, size_t n) {
  while (n > 0) {
    ssize_t got = getrandom(out, n, 0);
    if (got < 0 && errno != EINTR) abort(); /* no kernel that we run on; weak bytes would be worse than none */
    if (got <= 0) continue;
    out += got;
    n -= (size_t)got;
  }
}

static void fill(roam_random *self, void *out, size_t n) {
  static _Thread_local struct {
    uint8_t bytes[POOL_BYTES];
    size_t left;
    pid_t owner;
  } pool;
  (void)self;
  if (n > POOL_BYTES) {
    fill_from_system(out, n);
    return;
  }
  pid_t me = getpid();
  if (pool.left < n || pool.owner != me) {
    fill_from_system(pool.bytes, POOL_BYTES);
    pool.left = POOL_BYTES;
    pool.owner = me;
  }
  pool.left -= n;
  memcpy(out, pool.bytes + pool.left, n);
  memset(pool.bytes + pool.left, 0, n);
}

roam_random *roam_random_system(void) {
  static roam_random source = {.fill = fill, .simulated = false};
  return &source;
}

int64_t roam_wall_unix_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec;
}
