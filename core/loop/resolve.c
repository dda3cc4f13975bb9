/* resolve.c - host names to addresses on a thread of its own, because the C library's resolver blocks. Refuses to cache.
 *
 * The state is shared by two owners, the loop and the thread; whoever leaves last frees it. So a thread that getaddrinfo
 * holds for half a minute can be left behind: it frees the state when it comes back, and calls nobody. */
#include "loop/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "net/sockaddr.h"

enum {
  QUESTIONS_MAX = 256,
  NAME_BYTES_MAX = 255,
  FAREWELL_MS = 200
};

struct queue {
  struct roam_answer *first, **last;
};

struct roam_resolver {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  pthread_t thread;
  struct queue questions, answers;
  size_t waiting; /* questions, the one being asked, and answers not taken */
  bool stop, ended;
  void (*done)(void *context);
  void *context;
};

static void push(struct queue *q, struct roam_answer *item) {
  item->next = NULL;
  *q->last = item;
  q->last = &item->next;
}

static struct roam_answer *pop(struct queue *q) {
  struct roam_answer *item = q->first;
  if (!item) return NULL;
  q->first = item->next;
  if (!q->first) q->last = &q->first;
  return item;
}

static void destroy(struct roam_resolver *r) {
  struct queue *queues[] = {&r->questions, &r->answers};
  for (size_t i = 0; i < 2; i++) {
    for (struct roam_answer *item = pop(queues[i]); item; item = pop(queues[i])) free(item);
  }
  pthread_cond_destroy(&r->changed);
  pthread_mutex_destroy(&r->mutex);
  free(r);
}

/* Is it this top-level name, or one below it? RFC 6761 gives two of them a meaning that no server need be asked for. */
static bool is_under(const char *name, const char *top) {
  size_t n = strlen(name), m = strlen(top);
  if (n > 0 && name[n - 1] == '.') n--;
  if (n < m || strncasecmp(name + n - m, top, m) != 0) return false;
  return n == m || name[n - m - 1] == '.';
}

static void take(struct roam_answer *item, roam_addr addr) {
  addr.port = item->port;
  if (addr.family != 0 && item->n < ROAM_RESOLVE_ADDRS_MAX) item->addrs[item->n++] = addr;
}

static void take_loopback(struct roam_answer *item) {
  take(item, (roam_addr){.family = 4, .ip = {127, 0, 0, 1}});
  take(item, (roam_addr){.family = 6, .ip = {[15] = 1}});
}

/* A system without a hosts file knows no localhost; names under "invalid" exist nowhere, and asking only costs a time-out.
 */
static void look_up(struct roam_answer *item) {
  if (is_under(item->name, "invalid")) return;
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
  if (getaddrinfo(item->name, NULL, &hints, &list) != 0) {
    if (is_under(item->name, "localhost")) take_loopback(item);
    return;
  }
  for (const struct addrinfo *a = list; a && item->n < ROAM_RESOLVE_ADDRS_MAX; a = a->ai_next) {
    union roam_sockaddr sa;
    if (a->ai_addrlen > sizeof sa) continue;
    memset(&sa, 0, sizeof sa);
    memcpy(&sa, a->ai_addr, a->ai_addrlen);
    take(item, roam_sockaddr_to(&sa));
  }
  freeaddrinfo(list);
}

static void *answer_questions(void *argument) {
  struct roam_resolver *r = argument;
  pthread_mutex_lock(&r->mutex);
  for (;;) {
    struct roam_answer *item = r->stop ? NULL : pop(&r->questions);
    if (!item && r->stop) break;
    if (!item) {
      pthread_cond_wait(&r->changed, &r->mutex);
      continue;
    }
    pthread_mutex_unlock(&r->mutex);
    look_up(item);
    pthread_mutex_lock(&r->mutex);
    push(&r->answers, item);
    if (!r->stop) r->done(r->context);
  }
  bool last = r->ended; /* the loop has gone without waiting for us */
  r->ended = true;
  pthread_cond_broadcast(&r->changed);
  pthread_mutex_unlock(&r->mutex);
  if (last) destroy(r);
  return NULL;
}

static int start(struct roam_resolver *r) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the application's threads */
  int error = pthread_create(&r->thread, NULL, answer_questions, r);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

struct roam_resolver *roam_resolver_new(void (*done)(void *context), void *context) {
  struct roam_resolver *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&r->mutex, NULL);
  pthread_cond_init(&r->changed, &clock);
  pthread_condattr_destroy(&clock);
  r->questions.last = &r->questions.first;
  r->answers.last = &r->answers.first;
  r->done = done;
  r->context = context;
  if (start(r) == 0) return r;
  destroy(r);
  return NULL;
}

void roam_resolver_free(struct roam_resolver *r) {
  if (!r) return;
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += FAREWELL_MS * (long)ROAM_MS;
  if (until.tv_nsec >= (long)ROAM_S) {
    until.tv_nsec -= (long)ROAM_S;
    until.tv_sec++;
  }
  pthread_t thread = r->thread;
  pthread_mutex_lock(&r->mutex);
  r->stop = true;
  pthread_cond_broadcast(&r->changed);
  while (!r->ended && pthread_cond_timedwait(&r->changed, &r->mutex, &until) == 0) continue;
  bool ended = r->ended;
  r->ended = true;
  pthread_mutex_unlock(&r->mutex);
  if (!ended) {
    pthread_detach(thread);
    return;
  }
  pthread_join(thread, NULL);
  destroy(r);
}

roam_rc roam_resolver_ask(struct roam_resolver *r, uint32_t asker, uint32_t handle, const char *name, uint16_t port) {
  size_t len = strnlen(name, NAME_BYTES_MAX + 1);
  if (len > NAME_BYTES_MAX) return ROAM_E_LIMIT;
  struct roam_answer *item = calloc(1, sizeof *item + len + 1);
  if (!item) return ROAM_E_MEMORY;
  item->asker = asker;
  item->handle = handle;
  item->port = port;
  memcpy(item->name, name, len);
  pthread_mutex_lock(&r->mutex);
  bool fits = r->waiting < QUESTIONS_MAX;
  if (fits) {
    r->waiting++;
    push(&r->questions, item);
    pthread_cond_broadcast(&r->changed);
  }
  pthread_mutex_unlock(&r->mutex);
  if (fits) return 0;
  free(item);
  return ROAM_E_LIMIT;
}

struct roam_answer *roam_resolver_take(struct roam_resolver *r) {
  pthread_mutex_lock(&r->mutex);
  struct roam_answer *item = pop(&r->answers);
  if (item) r->waiting--;
  pthread_mutex_unlock(&r->mutex);
  return item;
}
