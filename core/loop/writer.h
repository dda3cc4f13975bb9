/* writer.h - commits a machine's batches, or those of several workers, to their store on a thread of its own, because disks
 * block. Refuses to know what is in them. */
#ifndef ROAM_LOOP_WRITER_H
#define ROAM_LOOP_WRITER_H

#include <roamqtt/store.h>

#define ROAM_WRITER_SEATS_MAX 64u

struct roam_writer;

struct roam_written {
  uint64_t epoch;
  roam_rc rc;
  char why[ROAM_STORE_WHY_MAX];
};

/* Starts the thread. NULL: no memory or no thread. */
struct roam_writer *roam_writer_new(roam_store *store);
/* Finishes what was given to it, syncs if the store wants that, and ends the thread. The store is its owner's again. */
void roam_writer_free(struct roam_writer *writer);
/* Who sits there hears of its commits: done(context) is called on the writer's thread after each. done NULL: nobody any
 * more, and what has not been taken is dropped. One machine alone sits at 0. */
void roam_writer_sit(struct roam_writer *writer, uint32_t seat, void (*done)(void *context), void *context);
/* Copies the batch; with parts above 1 nothing happens before as many seats have given theirs for this epoch. ROAM_E_LIMIT:
 * too many wait; ROAM_E_MEMORY. */
roam_rc roam_writer_put(struct roam_writer *writer, uint32_t seat, uint32_t parts, uint64_t epoch, roam_bytes batch);
bool roam_writer_take(struct roam_writer *writer, uint32_t seat, struct roam_written *out); /* the next that is done */

#endif
