/* sys.h - what the broker says about itself under $SYS. */
#ifndef ROAM_BROKER_SYS_H
#define ROAM_BROKER_SYS_H

#include <roamqtt/base.h>

enum {
  ROAM_SYS_TOPICS_MAX = 256, /* retained under $SYS, the owner's own among them */
  ROAM_SYS_FIGURES = 26,
  ROAM_SYS_LOADS = 6,
  ROAM_SYS_WINDOWS = 3 /* 1, 5 and 15 minutes */
};

struct roam_sys {
  roam_time began, last, due; /* due ROAM_NEVER: never */
  bool said;                  /* once: from then on only what has changed is said again */
  uint32_t connected_most;
  uint64_t figures[ROAM_SYS_FIGURES];                   /* as said last */
  uint64_t load[ROAM_SYS_LOADS][ROAM_SYS_WINDOWS];      /* thousandths per minute, averaged */
  uint64_t load_said[ROAM_SYS_LOADS][ROAM_SYS_WINDOWS]; /* hundredths, as said last */
};

struct roam_broker;

void roam_sys_begin(struct roam_broker *b);
void roam_sys_tick(struct roam_broker *b);
/* Topics under $SYS are the broker's own: a client may not publish there. */
bool roam_sys_owns(roam_bytes topic);

#endif
