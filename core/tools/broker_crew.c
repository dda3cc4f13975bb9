/* broker_crew.c - see broker_crew.h. Each worker is a broker on a thread with a loop of its own; the post office carries
 * what they say to each other, a ring brings their events to the main thread, and commands go to them under their
 * thread's lock. Refuses to know what the letters say. */
#include "broker_crew.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cmd_broker.h"

/* ---- events ---------------------------------------------------------------------------------------------------------- */

static void take_event(struct roam_member *m, const roam_event *ev) {
  struct roam_broker_run *b = m->run;
  if (ev->kind == ROAM_EV_LISTEN_FAILED) {
    roam_listeners_refused(b, ev);
  } else if (ev->kind == ROAM_EV_LISTENING) {
    m->settled++;
    if (m->settled == m->asked && !roam_crew_listen(b)) roam_listeners_ready(b);
  } else {
    roam_broker_take_events(b, ev, 1);
  }
}

static roam_time take_events(void *context, roam_time now) {
  struct roam_member *m = context;
  roam_event ev;
  uint64_t tag;
  (void)now;
  while (roam_thread_take(m->thread, &ev, &tag)) take_event(m, &ev);
  return ROAM_NEVER;
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

int roam_crew_settle(struct roam_broker_run *b, roam_broker_options *o) {
  b->crew.n = b->workers > 0 ? (uint32_t)b->workers : 1;
  o->workers = b->crew.n;
  o->encrypt_ids = b->encrypt_ids;
  if (b->crew.n == 1) return 0;
  if (getrandom(b->secret, sizeof b->secret, 0) != (ssize_t)sizeof b->secret) /* --secret replaces it */
    return roam_tool_fail("broker", ROAM_EXIT_LOST, "no random bytes: %s", strerror(errno));
  o->secret = (roam_bytes){b->secret, sizeof b->secret};
  return 0;
}

/* Each worker writes files of its own; a key log that all append to takes whole lines. */
static int open_tap(struct roam_broker_run *b, struct roam_member *m, roam_tap *out) {
  char why[ROAM_WHY_MAX] = "no memory";
  if (!b->keylog_file && !b->qlog_folder) return 0;
  m->tap = calloc(1, sizeof *m->tap);
  if (m->tap && roam_keep_tap_open(m->tap, b->keylog_file, b->qlog_folder, out, why)) return 0;
  return roam_tool_usage("broker", "%s", why);
}

static int start_member(struct roam_broker_run *b, uint32_t i, const roam_broker_options *o, roam_time now) {
  struct roam_member *m = &b->crew.members[i];
  roam_broker_options own = *o;
  roam_loop_options lo;
  roam_thread_options to;
  roam_rc rc = 0;
  own.worker = i;
  m->run = b;
  int code = open_tap(b, m, &own.tap);
  if (code) return code;
  m->broker = roam_broker_new(&own, now, roam_random_system(), &rc);
  if (!m->broker)
    return roam_tool_fail("broker", ROAM_EXIT_USAGE, "worker %u cannot start: %s", (unsigned)i, roam_strerror(rc));
  roam_loop_options_init(&lo);
  lo.log = roam_tell_loop_log(b);
  roam_thread_options_init(&to);
  to.loop = &lo;
  m->thread = roam_thread_new(&to);
  if (!m->thread)
    return roam_tool_fail("broker", ROAM_EXIT_LOST, "worker %u gets no thread: %s", (unsigned)i, strerror(errno));
  roam_machine machine = roam_broker_machine(m->broker);
  roam_thread_lock(m->thread);
  rc = roam_thread_add(m->thread, machine, i);
  if (!rc) rc = roam_thread_seat(m->thread, machine, b->crew.post, i);
  roam_thread_unlock(m->thread);
  if (!rc) rc = roam_loop_add_fd(b->loop, roam_thread_fd(m->thread), take_events, m);
  return rc ? roam_tool_fail("broker", ROAM_EXIT_LOST, "worker %u cannot start: %s", (unsigned)i, roam_strerror(rc)) : 0;
}

int roam_crew_start(struct roam_broker_run *b, const roam_broker_options *o, roam_time now) {
  struct roam_crew *crew = &b->crew;
  if (crew->n <= 1) return 0;
  crew->post = roam_post_new(crew->n, roam_broker_mail_drop);
  roam_rc rc = crew->post ? roam_loop_seat(b->loop, roam_broker_machine(b->broker), crew->post, 0) : (roam_rc)ROAM_E_MEMORY;
  if (rc) return roam_tool_fail("broker", ROAM_EXIT_LOST, "cannot start: %s", roam_strerror(rc));
  int code = 0;
  for (uint32_t i = 1; i < crew->n && !code; i++) code = start_member(b, i, o, now);
  return code;
}

void roam_crew_stop(struct roam_broker_run *b) {
  for (uint32_t i = 1; i < b->crew.n; i++) roam_thread_free(b->crew.members[i].thread);
  for (uint32_t i = 1; i < b->crew.n; i++) {
    struct roam_member *m = &b->crew.members[i];
    roam_broker_free(m->broker);
    if (m->tap) roam_keep_tap_close(m->tap);
    free(m->tap);
  }
}

/* ---- commands -------------------------------------------------------------------------------------------------------- */

bool roam_crew_listen(struct roam_broker_run *b) {
  struct roam_crew *crew = &b->crew;
  if (crew->listening + 1 >= crew->n) return false;
  struct roam_member *m = &crew->members[++crew->listening];
  roam_time now = roam_thread_lock(m->thread);
  roam_rc rc = 0;
  for (size_t i = 0; i < b->listeners_len && !rc; i++) {
    const struct roam_listener *l = &b->listeners[i];
    uint64_t number;
    if (l->name[0] || !l->open) continue; /* a Unix socket is the first worker's, and one that was handed over */
    rc = roam_broker_listen(m->broker, now, l->transport, &l->addr, &number);
    m->asked += !rc;
  }
  roam_thread_unlock(m->thread);
  if (rc) {
    b->code = roam_tool_fail("broker", ROAM_EXIT_CONNECT, "worker %u cannot listen: %s", (unsigned)crew->listening,
                             roam_strerror(rc));
    b->over = true;
  }
  return rc || m->asked > 0 || roam_crew_listen(b);
}

roam_rc roam_crew_each(struct roam_broker_run *b, roam_crew_deed *deed, void *context) {
  roam_rc rc = deed(b->broker, roam_loop_now(b->loop), context);
  for (uint32_t i = 1; i < b->crew.n && !rc; i++) {
    struct roam_member *m = &b->crew.members[i];
    if (!m->thread) continue;
    roam_time now = roam_thread_lock(m->thread);
    rc = deed(m->broker, now, context);
    roam_thread_unlock(m->thread);
  }
  return rc;
}

roam_broker_stats roam_crew_stats(const struct roam_broker_run *b) {
  roam_broker_stats sum = roam_broker_get_stats(b->broker);
  for (uint32_t i = 1; i < b->crew.n; i++) {
    const struct roam_member *m = &b->crew.members[i];
    if (!m->thread) continue;
    roam_thread_lock(m->thread);
    roam_broker_stats more = roam_broker_get_stats(m->broker);
    roam_thread_unlock(m->thread);
    roam_broker_stats_add(&sum, &more);
  }
  return sum;
}

void roam_crew_hold(struct roam_broker_run *b) {
  for (uint32_t i = 1; i < b->crew.n; i++)
    if (b->crew.members[i].thread) roam_thread_lock(b->crew.members[i].thread);
}

void roam_crew_go_on(struct roam_broker_run *b) {
  for (uint32_t i = 1; i < b->crew.n; i++)
    if (b->crew.members[i].thread) roam_thread_unlock(b->crew.members[i].thread);
}
