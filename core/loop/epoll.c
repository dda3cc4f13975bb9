/* epoll.c - one descriptor to wait on: epoll over sockets, a timer that counts through suspension, and a bell. Refuses to
 * know what the descriptors are for.
 *
 * The timer is moved only when something is due earlier than it is set to, or after it fired: waking once for nothing is
 * cheaper than a system call for every acknowledgement that moves a deadline. */
#include "loop/epoll.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int watch_own(struct roam_poller *p, int *fd) {
  if (*fd < 0) return errno;
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = fd};
  return epoll_ctl(p->epfd, EPOLL_CTL_ADD, *fd, &e) == 0 ? 0 : errno;
}

int roam_poller_open(struct roam_poller *p) {
  p->armed = ROAM_NEVER;
  p->timerfd = p->bellfd = -1;
  p->epfd = epoll_create1(EPOLL_CLOEXEC);
  if (p->epfd < 0) return errno;
  p->timerfd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  int error = watch_own(p, &p->timerfd);
  if (error == 0) {
    p->bellfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    error = watch_own(p, &p->bellfd);
  }
  if (error != 0) roam_poller_close(p);
  return error;
}

void roam_poller_close(struct roam_poller *p) {
  int fds[] = {p->epfd, p->timerfd, p->bellfd};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
    if (fds[i] >= 0) close(fds[i]);
  }
  p->epfd = p->timerfd = p->bellfd = -1;
}

int roam_poller_watch(struct roam_poller *p, int fd, void *owner, uint32_t known, uint32_t wanted) {
  if (known == wanted) return 0;
  struct epoll_event e = {.events = wanted, .data.ptr = owner};
  int how = wanted == 0 ? EPOLL_CTL_DEL : known == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  return epoll_ctl(p->epfd, how, fd, &e) == 0 ? 0 : errno;
}

void roam_poller_arm(struct roam_poller *p, roam_time at) {
  if (at >= p->armed) return;
  struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / ROAM_S), .tv_nsec = (long)(at % ROAM_S)}};
  if (at == 0) when.it_value.tv_nsec = 1; /* zero would stop it */
  if (timerfd_settime(p->timerfd, TFD_TIMER_ABSTIME, &when, NULL) == 0) p->armed = at;
}

static int to_ms(uint64_t wait_ns) {
  if (wait_ns > (uint64_t)INT32_MAX * ROAM_MS) return wait_ns == ROAM_NEVER ? -1 : INT32_MAX;
  return (int)((wait_ns + ROAM_MS - 1) / ROAM_MS);
}

static void empty(int fd) {
  uint64_t count;
  (void)!read(fd, &count, sizeof count);
}

int roam_poller_wait(struct roam_poller *p, uint64_t wait_ns) {
  int n = epoll_wait(p->epfd, p->ready, ROAM_POLLER_EVENTS, to_ms(wait_ns));
  if (n < 0) return errno == EINTR ? 0 : -errno;
  for (int i = 0; i < n; i++) {
    if (p->ready[i].data.ptr == &p->timerfd) {
      empty(p->timerfd);
      p->armed = ROAM_NEVER;
    } else if (p->ready[i].data.ptr == &p->bellfd) {
      empty(p->bellfd);
    } else {
      continue;
    }
    p->ready[i].data.ptr = NULL;
  }
  return n;
}

void roam_poller_ring(const struct roam_poller *p) {
  int saved = errno; /* a signal handler must leave it alone */
  uint64_t one = 1;
  (void)!write(p->bellfd, &one, sizeof one);
  errno = saved;
}
