/* store.h - the inside of the store layer: keys and opaque records, nothing of what they mean.
 *
 *   store.c          options, freeing
 *   store_mem.c      in memory, in order of keys
 *   store_sqlite.c   in a file; the only one that calls SQLite */
#ifndef ROAM_STORE_H
#define ROAM_STORE_H

#include <roamqtt/store.h>

/* Takes defaults, then what the caller knows of. */
roam_store_options roam_store_options_read(const roam_store_options *o);

#endif
