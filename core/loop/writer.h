/* writer.h - commits a machine's batches to its store on a thread of its own, because disks block. Refuses to know what is
 * in them. */
#ifndef ROAM_LOOP_WRITER_H
#define ROAM_LOOP_WRITER_H

#include <roamqtt/store.h>

struct roam_writer;

struct roam_written {
  uint64_t epoch;
  roam_rc rc;
  char why[ROAM_STORE_WHY_MAX];
};

/* Starts the thread; done(context) is called on it after each commit. NULL: no memory or no thread. */
struct roam_writer *roam_writer_new(roam_store *store, void (*done)(void *context), void *context);
/* Finishes what was given to it, syncs if the store wants that, and ends the thread. The store is its owner's again. */
void roam_writer_free(struct roam_writer *writer);
/* Copies the batch. ROAM_E_LIMIT: too many wait; ROAM_E_MEMORY. */
roam_rc roam_writer_put(struct roam_writer *writer, uint64_t epoch, roam_bytes batch);
bool roam_writer_take(struct roam_writer *writer, struct roam_written *out); /* the next that is done */

#endif
