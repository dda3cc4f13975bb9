/* resolve.h - host names to addresses on a thread of its own, because the C library's resolver blocks. Refuses to cache. */
#ifndef ROAM_LOOP_RESOLVE_H
#define ROAM_LOOP_RESOLVE_H

#include <roamqtt/base.h>

enum {
  ROAM_RESOLVE_ADDRS_MAX = 16
};

struct roam_resolver;

struct roam_answer {
  struct roam_answer *next;
  uint32_t asker, handle;
  uint16_t port;
  size_t n; /* 0: unknown name */
  roam_addr addrs[ROAM_RESOLVE_ADDRS_MAX];
  char name[]; /* of the question */
};

/* Starts the thread; done(context) is called on it after each answer. NULL: no memory or no thread. */
struct roam_resolver *roam_resolver_new(void (*done)(void *context), void *context);
/* Ends the thread. A question that the system's resolver sits on is waited for a moment and then left behind. */
void roam_resolver_free(struct roam_resolver *resolver);
/* ROAM_E_LIMIT: too many questions wait; ROAM_E_MEMORY. */
roam_rc roam_resolver_ask(struct roam_resolver *resolver, uint32_t asker, uint32_t handle, const char *name, uint16_t port);
/* The next answer, for the caller to free(), or NULL. */
struct roam_answer *roam_resolver_take(struct roam_resolver *resolver);

#endif
