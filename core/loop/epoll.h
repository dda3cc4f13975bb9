/* epoll.h - one descriptor to wait on: epoll over sockets, a timer that counts through suspension, and a bell. Refuses to
 * know what the descriptors are for. */
#ifndef ROAM_LOOP_EPOLL_H
#define ROAM_LOOP_EPOLL_H

#include <sys/epoll.h>

#include <roamqtt/base.h>

enum {
  ROAM_POLLER_EVENTS = 256
};

/* Invariant: armed is what the timer is set to, never later than what was last asked for while that lay ahead. */
struct roam_poller {
  int epfd, timerfd, bellfd;
  roam_time armed; /* ROAM_NEVER: not running */
  struct epoll_event ready[ROAM_POLLER_EVENTS];
};

int roam_poller_open(struct roam_poller *p); /* 0 or an errno */
void roam_poller_close(struct roam_poller *p);
/* Makes fd watched for `wanted` (0: not at all), knowing that it is watched for `known`. 0 or an errno. */
int roam_poller_watch(struct roam_poller *p, int fd, void *owner, uint32_t known, uint32_t wanted);
/* The descriptor becomes readable at this time at the latest. */
void roam_poller_arm(struct roam_poller *p, roam_time at);
/* Waits at most wait_ns (ROAM_NEVER: for ever); how many of ready[] hold an owner (NULL: the bell or the timer), or a
 * negative errno. Touches nothing but p, so nothing need be locked. */
int roam_poller_wait(struct roam_poller *p, uint64_t wait_ns);
/* Ends a wait; from any thread or a signal handler. */
void roam_poller_ring(const struct roam_poller *p);

#endif
