/* writer.c - the thread that waits for the disk, so that nothing else does. Batches are committed one by one in the order
 * they came; a machine that wants larger commits makes larger batches. When the store asks for it, what is committed is
 * synced once in its interval. After a failed sync the next commit is answered with that failure: pages that could not be
 * written may be gone. */
#include "loop/writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  JOBS_MAX = 64
};

struct job {
  struct job *next;
  uint64_t epoch;
  size_t len;
  uint8_t batch[];
};

struct answer {
  struct answer *next;
  struct roam_written written;
};

struct roam_writer {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  pthread_t thread;
  roam_store *store; /* the thread's */
  struct job *first, **last;
  struct answer *answers, **answers_last;
  size_t waiting;
  bool stop;
  void (*done)(void *context);
  void *context;
  struct timespec sync_at; /* the thread's from here on */
  bool unsynced;
  struct roam_written failed; /* by a sync; rc 0: none */
};

static void plan_sync(struct roam_writer *w) {
  if (w->unsynced) return;
  clock_gettime(CLOCK_MONOTONIC, &w->sync_at);
  uint64_t ns = (uint64_t)w->sync_at.tv_nsec + w->store->sync_interval_ns % ROAM_S;
  w->sync_at.tv_sec += (time_t)(w->store->sync_interval_ns / ROAM_S + ns / ROAM_S);
  w->sync_at.tv_nsec = (long)(ns % ROAM_S);
  w->unsynced = true;
}

static void sync_now(struct roam_writer *w) {
  w->unsynced = false;
  roam_rc rc = w->store->ops->sync(w->store, w->failed.why);
  if (rc != 0) w->failed.rc = rc == ROAM_E_NO_SPACE ? ROAM_E_IO : rc; /* trying again would prove nothing */
}

static void carry_out(struct roam_writer *w, const struct job *job, struct roam_written *out) {
  *out = w->failed;
  out->epoch = job->epoch;
  if (out->rc != 0) return;
  out->rc = w->store->ops->commit(w->store, (roam_bytes){job->batch, job->len}, out->why);
  if (out->rc == 0 && w->store->sync_interval_ns > 0) plan_sync(w);
}

/* The next job, with the mutex held; NULL: a sync is due, or the end has come. */
static struct job *await(struct roam_writer *w) {
  int rc = 0;
  while (!w->first && !w->stop && rc == 0)
    rc = w->unsynced ? pthread_cond_timedwait(&w->changed, &w->mutex, &w->sync_at)
                     : pthread_cond_wait(&w->changed, &w->mutex);
  struct job *job = w->first;
  if (!job) return NULL;
  w->first = job->next;
  if (!w->first) w->last = &w->first;
  return job;
}

static bool is_sync_due(const struct roam_writer *w) {
  struct timespec now;
  if (!w->unsynced) return false;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec > w->sync_at.tv_sec || (now.tv_sec == w->sync_at.tv_sec && now.tv_nsec >= w->sync_at.tv_nsec);
}

static void *work(void *argument) {
  struct roam_writer *w = argument;
  pthread_mutex_lock(&w->mutex);
  for (;;) {
    struct job *job = await(w);
    if (!job && w->stop) break;
    pthread_mutex_unlock(&w->mutex);
    if (is_sync_due(w)) sync_now(w);
    struct answer *answer = job ? malloc(sizeof *answer) : NULL;
    if (answer) {
      carry_out(w, job, &answer->written);
      answer->next = NULL;
    }
    free(job);
    pthread_mutex_lock(&w->mutex);
    if (!answer) continue; /* without memory for it the machine's time-out says that the store has failed */
    *w->answers_last = answer;
    w->answers_last = &answer->next;
    w->done(w->context);
  }
  pthread_mutex_unlock(&w->mutex);
  if (w->unsynced) sync_now(w);
  return NULL;
}

static int start(struct roam_writer *w) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the application's threads */
  int error = pthread_create(&w->thread, NULL, work, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

static void destroy(struct roam_writer *w) {
  struct roam_written written;
  while (roam_writer_take(w, &written)) continue;
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->mutex);
  free(w);
}

struct roam_writer *roam_writer_new(roam_store *store, void (*done)(void *context), void *context) {
  struct roam_writer *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, &clock);
  pthread_condattr_destroy(&clock);
  w->store = store;
  w->last = &w->first;
  w->answers_last = &w->answers;
  w->done = done;
  w->context = context;
  if (start(w) == 0) return w;
  destroy(w);
  return NULL;
}

void roam_writer_free(struct roam_writer *w) {
  if (!w) return;
  pthread_mutex_lock(&w->mutex);
  w->stop = true;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->mutex);
  pthread_join(w->thread, NULL);
  destroy(w);
}

roam_rc roam_writer_put(struct roam_writer *w, uint64_t epoch, roam_bytes batch) {
  struct job *job = malloc(sizeof *job + batch.len);
  if (!job) return ROAM_E_MEMORY;
  *job = (struct job){.epoch = epoch, .len = batch.len};
  if (batch.len > 0) memcpy(job->batch, batch.base, batch.len);
  pthread_mutex_lock(&w->mutex);
  bool fits = w->waiting < JOBS_MAX;
  if (fits) {
    w->waiting++;
    *w->last = job;
    w->last = &job->next;
    pthread_cond_signal(&w->changed);
  }
  pthread_mutex_unlock(&w->mutex);
  if (fits) return 0;
  free(job);
  return ROAM_E_LIMIT;
}

bool roam_writer_take(struct roam_writer *w, struct roam_written *out) {
  pthread_mutex_lock(&w->mutex);
  struct answer *answer = w->answers;
  if (answer) {
    w->answers = answer->next;
    if (!w->answers) w->answers_last = &w->answers;
    w->waiting--;
  }
  pthread_mutex_unlock(&w->mutex);
  if (!answer) return false;
  *out = answer->written;
  free(answer);
  return true;
}
