/* thread.c - a loop on a thread of its own, for hosts that cannot be trusted to come back in time. Refuses to call into the
 * host: events wait in a ring until they are taken.
 *
 * The lock is a queue: whoever asks first gets it first. A plain mutex would let a busy loop, which gives it up only to
 * take it back, keep everybody else out for as long as it likes.
 *
 * The thread holds the lock except while it waits in epoll. `sleeping` is true just then; who unlocks while it is set
 * rings the bell once. When it is not set the thread stands in the queue for the lock, or waits not at all, and settles the
 * machines before its next wait in any case: so no command is left lying. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "loop/driver.h"
#include "loop/event_ring.h"

struct queue_lock {
  pthread_mutex_t mutex;
  pthread_cond_t moved;
  uint64_t next, serving;
};

/* A machine in the thread. */
struct seat {
  struct roam_list node;
  roam_thread *thread;
  uint64_t tag;
};

struct roam_thread {
  pthread_t thread;
  struct queue_lock lock;
  roam_loop *loop;        /* under the lock, but for its poller */
  struct roam_list seats; /* under the lock */
  bool sleeping, stop;    /* under the lock */
  struct roam_event_ring ring;
};

/* ---- the lock -------------------------------------------------------------------------------------------------------- */

static void enter(struct queue_lock *lock) {
  pthread_mutex_lock(&lock->mutex);
  uint64_t mine = lock->next++;
  while (lock->serving != mine) pthread_cond_wait(&lock->moved, &lock->mutex);
  pthread_mutex_unlock(&lock->mutex);
}

static void leave(struct queue_lock *lock) {
  pthread_mutex_lock(&lock->mutex);
  lock->serving++;
  if (lock->serving != lock->next) pthread_cond_broadcast(&lock->moved);
  pthread_mutex_unlock(&lock->mutex);
}

/* ---- the thread ------------------------------------------------------------------------------------------------------ */

static void *run(void *argument) {
  roam_thread *t = argument;
  enter(&t->lock);
  while (!t->stop) {
    (void)roam_loop_settle(t->loop);
    uint64_t wait_ns = roam_loop_prepare(t->loop, ROAM_NEVER);
    t->sleeping = wait_ns != 0;
    leave(&t->lock);
    int rc = roam_loop_wait(t->loop, wait_ns);
    enter(&t->lock);
    t->sleeping = false;
    if (rc != 0) break; /* the poll set itself is broken, by somebody who closed descriptors that are not theirs */
    (void)roam_loop_handle(t->loop);
  }
  (void)roam_loop_settle(t->loop); /* a farewell said just before the end still goes out */
  leave(&t->lock);
  return NULL;
}

void roam_thread_options_init(roam_thread_options *o) {
  *o = (roam_thread_options){.size = sizeof *o, .ring_events = 65536, .ring_bytes = (size_t)64 << 20};
}

static int start(roam_thread *t) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the application's threads */
  int error = pthread_create(&t->thread, NULL, run, t);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

static void destroy(roam_thread *t) {
  roam_loop_free(t->loop);
  for (struct roam_list *node = roam_list_pop_front(&t->seats); node; node = roam_list_pop_front(&t->seats))
    free(ROAM_CONTAINER(node, struct seat, node));
  roam_event_ring_reset(&t->ring);
  pthread_cond_destroy(&t->lock.moved);
  pthread_mutex_destroy(&t->lock.mutex);
  free(t);
}

static int set_up(roam_thread *t, const roam_thread_options *o) {
  t->loop = roam_loop_new(o->loop);
  if (!t->loop) return errno;
  int error = roam_event_ring_init(&t->ring, o->ring_events, o->ring_bytes);
  if (error != 0) roam_loop_free(t->loop);
  return error;
}

roam_thread *roam_thread_new(const roam_thread_options *given) {
  roam_thread_options o;
  roam_thread_options_init(&o);
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  bool valid = o.ring_events > 0 && o.ring_bytes > 0;
  roam_thread *t = valid ? calloc(1, sizeof *t) : NULL;
  int error = !valid ? EINVAL : !t ? ENOMEM : set_up(t, &o);
  if (error != 0) {
    free(t);
    errno = error;
    return NULL;
  }
  roam_list_init(&t->seats);
  pthread_mutex_init(&t->lock.mutex, NULL);
  pthread_cond_init(&t->lock.moved, NULL);
  error = start(t);
  if (error == 0) return t;
  destroy(t);
  errno = error;
  return NULL;
}

void roam_thread_free(roam_thread *t) {
  if (!t) return;
  enter(&t->lock);
  t->stop = true;
  leave(&t->lock);
  roam_loop_wake(t->loop);
  pthread_join(t->thread, NULL);
  destroy(t);
}

/* ---- for the host ---------------------------------------------------------------------------------------------------- */

int roam_thread_fd(const roam_thread *t) { return t->ring.fd; }

roam_time roam_thread_lock(roam_thread *t) {
  enter(&t->lock);
  return roam_loop_now(t->loop);
}

void roam_thread_unlock(roam_thread *t) {
  bool asleep = t->sleeping;
  t->sleeping = false;
  leave(&t->lock);
  if (asleep) roam_loop_wake(t->loop);
}

static void keep_events(void *context, const roam_event ev[], size_t n) {
  struct seat *seat = context;
  roam_event_ring_put(&seat->thread->ring, seat->tag, ev, n);
}

static size_t count_room(void *context) {
  struct seat *seat = context;
  return roam_event_ring_room(&seat->thread->ring);
}

roam_rc roam_thread_add(roam_thread *t, roam_machine machine, uint64_t tag) {
  struct seat *seat = calloc(1, sizeof *seat);
  if (!seat) return ROAM_E_MEMORY;
  seat->thread = t;
  seat->tag = tag;
  roam_rc rc = roam_loop_add_gated(t->loop, machine, keep_events, count_room, seat);
  if (rc != 0) {
    free(seat);
    return rc;
  }
  roam_list_push_back(&t->seats, &seat->node);
  return 0;
}

roam_rc roam_thread_seat(roam_thread *t, roam_machine machine, roam_post *post, uint32_t seat) {
  return roam_loop_seat(t->loop, machine, post, seat);
}

roam_rc roam_thread_remove(roam_thread *t, roam_machine machine) {
  struct seat *seat = roam_loop_context(t->loop, machine);
  if (!seat) return ROAM_E_NOT_FOUND;
  (void)roam_loop_remove(t->loop, machine);
  roam_list_remove(&seat->node);
  free(seat);
  return 0;
}

int roam_thread_take(roam_thread *t, roam_event *ev, uint64_t *tag) {
  bool wake;
  int got = roam_event_ring_take(&t->ring, ev, tag, &wake);
  if (wake) roam_loop_wake(t->loop);
  return got;
}
