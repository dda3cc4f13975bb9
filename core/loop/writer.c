/* writer.c - the thread that waits for the disk, so that nothing else does. Batches are committed one by one in the order
 * they came; a machine that wants larger commits makes larger batches. Parts of one commit wait for each other. When the
 * store asks for it, what is committed is synced once in its interval. After a failed sync the next commit is answered with
 * that failure: pages that could not be written may be gone. */
#include "loop/writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  JOBS_MAX = 64 /* of one seat */
};

/* A batch; when it is done, what became of it. */
struct job {
  struct job *next, *more; /* more: other parts of the same commit */
  uint32_t seat, parts;
  struct roam_written written;
  size_t len;
  uint8_t batch[];
};

struct queue {
  struct job *first, **last;
};

struct seat {
  void (*done)(void *context);
  void *context;
  struct queue answers;
  size_t waiting; /* jobs that are not done */
};

struct roam_writer {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  pthread_t thread;
  roam_store *store; /* the thread's */
  struct queue jobs;
  struct job *gathering; /* by next: commits of which parts are missing */
  struct seat seats[ROAM_WRITER_SEATS_MAX];
  bool stop;
  struct timespec sync_at; /* the thread's from here on */
  bool unsynced;
  struct roam_written failed; /* by a sync; rc 0: none */
};

static void init_queue(struct queue *q) {
  q->first = NULL;
  q->last = &q->first;
}

static void push(struct queue *q, struct job *job) {
  job->next = NULL;
  *q->last = job;
  q->last = &job->next;
}

static struct job *pop(struct queue *q) {
  struct job *job = q->first;
  if (!job) return NULL;
  q->first = job->next;
  if (!q->first) q->last = &q->first;
  return job;
}

static void free_job(struct job *job) {
  for (struct job *more; job; job = more) {
    more = job->more;
    free(job);
  }
}

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

/* All parts behind one another; NULL: no memory. A single one is where it was. */
static uint8_t *join(struct job *job, size_t *len) {
  *len = 0;
  for (const struct job *part = job; part; part = part->more) *len += part->len;
  if (!job->more) return job->batch;
  uint8_t *all = malloc(*len + 1), *at = all;
  for (const struct job *part = job; part && all; part = part->more) {
    if (part->len > 0) memcpy(at, part->batch, part->len);
    at += part->len;
  }
  return all;
}

static void carry_out(struct roam_writer *w, struct job *job) {
  struct roam_written *out = &job->written;
  uint64_t epoch = out->epoch;
  size_t len;
  *out = w->failed;
  out->epoch = epoch;
  uint8_t *all = out->rc == 0 ? join(job, &len) : NULL;
  if (all) out->rc = w->store->ops->commit(w->store, (roam_bytes){all, len}, out->why);
  else if (out->rc == 0) out->rc = ROAM_E_MEMORY;
  if (all != job->batch) free(all);
  if (out->rc == 0 && w->store->sync_interval_ns > 0) plan_sync(w);
}

/* To each who had a part in it. With the mutex held. */
static void answer(struct roam_writer *w, struct job *job) {
  struct roam_written written = job->written;
  for (struct job *more; job; job = more) {
    struct seat *seat = &w->seats[job->seat];
    more = job->more;
    job->more = NULL;
    job->written = written;
    seat->waiting--;
    if (!seat->done) {
      free(job);
      continue;
    }
    push(&seat->answers, job);
    seat->done(seat->context);
  }
}

/* The next job, with the mutex held; NULL: a sync is due, or the end has come. */
static struct job *await(struct roam_writer *w) {
  int rc = 0;
  while (!w->jobs.first && !w->stop && rc == 0)
    rc = w->unsynced ? pthread_cond_timedwait(&w->changed, &w->mutex, &w->sync_at)
                     : pthread_cond_wait(&w->changed, &w->mutex);
  return pop(&w->jobs);
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
    if (job) carry_out(w, job);
    pthread_mutex_lock(&w->mutex);
    if (job) answer(w, job);
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

static void drop_answers(struct seat *seat) {
  for (struct job *job; (job = pop(&seat->answers)) != NULL;) free(job);
}

static void destroy(struct roam_writer *w) {
  for (uint32_t i = 0; i < ROAM_WRITER_SEATS_MAX; i++) drop_answers(&w->seats[i]);
  for (struct job *job, *next = w->gathering; (job = next) != NULL;) {
    next = job->next;
    free_job(job);
  }
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->mutex);
  free(w);
}

struct roam_writer *roam_writer_new(roam_store *store) {
  struct roam_writer *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, &clock);
  pthread_condattr_destroy(&clock);
  w->store = store;
  init_queue(&w->jobs);
  for (uint32_t i = 0; i < ROAM_WRITER_SEATS_MAX; i++) init_queue(&w->seats[i].answers);
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

void roam_writer_sit(struct roam_writer *w, uint32_t seat, void (*done)(void *context), void *context) {
  pthread_mutex_lock(&w->mutex);
  w->seats[seat].done = done;
  w->seats[seat].context = context;
  if (!done) drop_answers(&w->seats[seat]);
  pthread_mutex_unlock(&w->mutex);
}

/* True: with this part the commit is complete, and *job is all of it. With the mutex held. */
static bool gather(struct roam_writer *w, struct job **job) {
  struct job **at = &w->gathering, *mine = *job;
  if (mine->parts <= 1) return true;
  while (*at && (*at)->written.epoch != mine->written.epoch) at = &(*at)->next;
  struct job *all = *at;
  if (!all) {
    mine->next = NULL;
    *at = mine;
    return false;
  }
  mine->more = all->more;
  all->more = mine;
  if (--all->parts > 1) return false;
  *at = all->next;
  *job = all;
  return true;
}

roam_rc roam_writer_put(struct roam_writer *w, uint32_t seat, uint32_t parts, uint64_t epoch, roam_bytes batch) {
  struct job *job = malloc(sizeof *job + batch.len);
  if (!job) return ROAM_E_MEMORY;
  *job = (struct job){.seat = seat, .parts = parts, .written.epoch = epoch, .len = batch.len};
  if (batch.len > 0) memcpy(job->batch, batch.base, batch.len);
  pthread_mutex_lock(&w->mutex);
  bool fits = w->seats[seat].waiting < JOBS_MAX;
  w->seats[seat].waiting += fits;
  if (fits && gather(w, &job)) {
    push(&w->jobs, job);
    pthread_cond_signal(&w->changed);
  }
  pthread_mutex_unlock(&w->mutex);
  if (fits) return 0;
  free(job);
  return ROAM_E_LIMIT;
}

bool roam_writer_take(struct roam_writer *w, uint32_t seat, struct roam_written *out) {
  pthread_mutex_lock(&w->mutex);
  struct job *job = pop(&w->seats[seat].answers);
  pthread_mutex_unlock(&w->mutex);
  if (!job) return false;
  *out = job->written;
  free(job);
  return true;
}
