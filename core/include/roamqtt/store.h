/* store.h - where a broker keeps what must survive a restart: opaque keys and records, changed in batches that are applied
 * whole or not at all. Whoever drives the machine (a loop, a world) writes the batches; the machine itself never touches
 * the store once it is made. */
#ifndef ROAMQTT_STORE_H
#define ROAMQTT_STORE_H

#include <roamqtt/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ROAM_STORE_WHY_MAX 256

/* When what is committed is forced onto the disk. */
typedef enum roam_store_sync {
  ROAM_STORE_SYNC_ALWAYS,   /* in each commit: a power cut loses nothing acknowledged */
  ROAM_STORE_SYNC_INTERVAL, /* once in sync_interval_ns: a power cut loses at most that */
  ROAM_STORE_SYNC_OFF       /* never: only the death of the process is survived */
} roam_store_sync;

typedef roam_rc (*roam_store_visit)(void *context, roam_bytes key, roam_bytes record);

/* All but free are called by one thread at a time, which need not be the one that made the store. why: a sentence with the
 * remedy, written on failure. ROAM_E_NO_SPACE: nothing was changed, the same batch may be tried again; other failures are
 * final. */
typedef struct roam_store_ops {
  /* Every key and record, in order of keys; a visit that is not 0 ends it and is returned. ROAM_E_DAMAGED. */
  roam_rc (*scan)(void *self, roam_store_visit visit, void *context, char why[ROAM_STORE_WHY_MAX]);
  /* Applies a batch, all or nothing. On return it outlives the process, and a power cut when the policy says so. */
  roam_rc (*commit)(void *self, roam_bytes batch, char why[ROAM_STORE_WHY_MAX]);
  /* Forces what is committed onto the disk; called once in sync_interval_ns when that is set. */
  roam_rc (*sync)(void *self, char why[ROAM_STORE_WHY_MAX]);
  void (*free)(void *self);
} roam_store_ops;

/* A store of your own: embed this first. */
typedef struct roam_store {
  const roam_store_ops *ops;
  uint64_t sync_interval_ns; /* 0: sync is never called */
} roam_store;

typedef struct roam_store_options {
  size_t size;
  roam_store_sync sync;      /* ALWAYS */
  uint64_t sync_interval_ns; /* 1 s, for INTERVAL */
} roam_store_options;

ROAM_API void roam_store_options_init(roam_store_options *o);
/* Opens or makes a store in an SQLite file (and `path`-wal beside it), for this process alone. o NULL: defaults. NULL with
 * *rc (may be NULL) and why: ROAM_E_PERMISSION or ROAM_E_READ_ONLY (cannot be written), ROAM_E_IN_USE (another process has
 * it), ROAM_E_DAMAGED (no store, or a broken one), ROAM_E_NEWER (written by a later version), ROAM_E_NO_SPACE, ROAM_E_IO,
 * ROAM_E_MEMORY. The file of an earlier version is migrated. */
ROAM_API roam_store *roam_store_open(const char *path, const roam_store_options *o, roam_rc *rc,
                                     char why[ROAM_STORE_WHY_MAX]);
/* A store that lasts as long as the object: for a broker made anew within one process, and for tests. NULL: no memory. */
ROAM_API roam_store *roam_store_memory(void);
ROAM_API void roam_store_free(roam_store *store); /* after the machine that uses it was taken off its loop */

/* What a batch consists of. */
enum {
  ROAM_STORE_PUT = 1,     /* key becomes record */
  ROAM_STORE_DROP = 2,    /* key goes, if it is there */
  ROAM_STORE_DROP_ALL = 3 /* all keys that begin with key go */
};

typedef struct roam_store_change {
  uint8_t what;
  roam_bytes key, record;
} roam_store_change;

/* For those who write a store: the next change of a batch. 1 = *out set and *rest advanced, 0 = end, ROAM_E_MALFORMED. */
ROAM_API int roam_store_next(roam_bytes *rest, roam_store_change *out);

#ifdef __cplusplus
}
#endif
#endif
