/* broker_crew.h - the workers of `roamqtt broker --workers N` beside the first, which runs on the main thread. */
#ifndef ROAM_BROKER_CREW_H
#define ROAM_BROKER_CREW_H

#include <roamqtt/broker.h>
#include <roamqtt/loop.h>

#include "keep.h"

#define ROAM_CREW_MAX 64

struct roam_broker_run;

struct roam_member {
  struct roam_broker_run *run;
  roam_thread *thread;
  roam_broker *broker;
  size_t asked, settled; /* listeners */
  roam_keep_tap *tap;    /* its own files, or NULL */
};

struct roam_crew {
  uint32_t n; /* with the first; members[0] is not used */
  roam_post *post;
  struct roam_member members[ROAM_CREW_MAX];
  uint32_t listening; /* the member that is being given its listeners; 0: none yet */
  uint32_t drained;
};

/* Before anything is opened: what --workers does not go with. 0, or an exit code, said. */
int roam_crew_settle(struct roam_broker_run *b, roam_broker_options *o);
/* The other workers, each on its thread; the first must be made and in the loop. 0, or an exit code, said. */
int roam_crew_start(struct roam_broker_run *b, const roam_broker_options *o, roam_time now);
/* The first has its listeners: the others get theirs, one worker after the other, so that the kernel numbers their sockets
 * as we do. False: there is none left to be given any. */
bool roam_crew_listen(struct roam_broker_run *b);
void roam_crew_stop(struct roam_broker_run *b); /* threads and what they run; the loop is gone */

/* Does it to every worker, the first one first; until one says no. */
typedef roam_rc roam_crew_deed(roam_broker *broker, roam_time now, void *context);
roam_rc roam_crew_each(struct roam_broker_run *b, roam_crew_deed *deed, void *context);
/* Of all workers together. */
roam_broker_stats roam_crew_stats(const struct roam_broker_run *b);
/* While it is held no worker of the crew writes a line. */
void roam_crew_hold(struct roam_broker_run *b);
void roam_crew_go_on(struct roam_broker_run *b);

#endif
