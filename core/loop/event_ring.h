/* event_ring.h - events on their way from the loop's thread to a reader's, deep copied, bounded in number and bytes.
 * Refuses to wait: a full ring is a value that the producer asks for.
 *
 * One producer, one reader. */
#ifndef ROAM_LOOP_EVENT_RING_H
#define ROAM_LOOP_EVENT_RING_H

#include <pthread.h>

#include <roamqtt/event.h>

struct roam_event_block;

struct roam_event_ring {
  pthread_mutex_t mutex;
  int fd; /* eventfd: readable while `signalled` */
  size_t events_max, bytes_max;
  struct roam_event_block *reading;       /* the reader's own, out of the queue */
  struct roam_event_block *first, **last; /* from here on under the mutex */
  size_t events, bytes;                   /* in all blocks, the one being read included */
  bool signalled;                         /* the reader has been told since it last found nothing */
  bool starved;                           /* the producer found no room and waits to be woken */
  bool lost;                              /* memory was out; the reader is owed a word about it */
};

int roam_event_ring_init(struct roam_event_ring *ring, size_t events_max, size_t bytes_max); /* 0 or an errno */
void roam_event_ring_reset(struct roam_event_ring *ring);
/* How many events to put now; 0: full, and the reader will be told to wake the producer when there is room again. */
size_t roam_event_ring_room(struct roam_event_ring *ring);
/* Copies a batch in. Bytes may be exceeded by the one batch; its size shrinks as the bound comes near. */
void roam_event_ring_put(struct roam_event_ring *ring, uint64_t tag, const roam_event ev[], size_t n);
/* 1 and the next event, whose pointers live until the next take; 0 when empty. *wake: the producer must be woken. */
int roam_event_ring_take(struct roam_event_ring *ring, roam_event *ev, uint64_t *tag, bool *wake);

#endif
