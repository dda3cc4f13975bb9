/* load.h - a load run from inside: its clients as members, who of them wants attention, and the run's course.
 *
 * Invariant: a member is on `touched` (something was done to it: drain it), on `dry` (drained: hear it and read its
 * deadline) or on neither (then its node in `due` holds its deadline). Each outward drain drains a member at most once, so
 * that the units it gave stay valid until the next. */
#ifndef ROAM_LOAD_LOAD_H
#define ROAM_LOAD_LOAD_H

#include "base/heap.h"
#include "base/list.h"
#include "base/ring.h"
#include "load/router.h"
#include "load/worker.h"

#include <roamqtt/load.h>

#define ROAM_LOAD_ROWS_MAX 4096
#define ROAM_LOAD_MESSAGES_MAX UINT64_C(100000000)
#define ROAM_LOAD_SOCKETS_MAX 16 /* of each client on average: old ones linger during a migration */
#define ROAM_LOAD_TEXT_MAX 192
#define ROAM_LOAD_POLL_MAX 32

struct roam_member {
  roam_client *client;
  struct roam_worker *worker;
  uint32_t row, index; /* index: in roam_load.members */
  struct roam_heap_node due;
  struct roam_list place;
  bool publisher, ready, subscribe; /* subscribe: to be done once its events are read */
  uint32_t connects;
};

/* An event on its way out; text is kept beside it because the client's own does not last. */
struct roam_load_event {
  roam_event event;
  char text[ROAM_LOAD_TEXT_MAX];
};

enum roam_load_state {
  ROAM_LOAD_NEW,
  ROAM_LOAD_CONNECTING,
  ROAM_LOAD_RUNNING,
  ROAM_LOAD_OVER
};

struct roam_load {
  roam_load_options o;
  struct roam_plan plan;
  struct roam_worker *workers;
  struct roam_member *members; /* two for each worker: publisher, subscriber */
  size_t workers_len, members_len;
  roam_recorder *recorder;
  roam_random *random;
  uint8_t *payload;
  struct roam_router router;
  struct roam_heap due;
  struct roam_list touched, dry;
  struct roam_ring events; /* of roam_load_event */
  struct roam_load_event polled[ROAM_LOAD_POLL_MAX];
  enum roam_load_state state;
  roam_time now, begun, started, end;
  uint64_t next;   /* the message to offer next, in every row */
  uint32_t second; /* the second that is running */
  size_t ready;    /* members */
  roam_rc rc;
  char why[ROAM_LOAD_TEXT_MAX];
};

void roam_load_touch(roam_load *l, struct roam_member *m);
/* Takes what happened to a client; true when anything did. */
bool roam_load_hear(roam_load *l, struct roam_member *m);
/* The run cannot go on. Only the first reason is kept. */
void roam_load_fail(roam_load *l, roam_rc rc, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* journal.c: the recording and the events for the owner. */
void roam_load_note(roam_load *l, const char *kind, uint32_t row, const roam_field fields[], size_t n);
void roam_load_note_rows(roam_load *l);
void roam_load_note_start(roam_load *l);
void roam_load_note_link(roam_load *l, const char *kind, const struct roam_member *m, const roam_event *ev);
void roam_load_note_path(roam_load *l, const char *kind, const struct roam_member *m, const roam_event *ev);
void roam_load_note_rate(roam_load *l, uint32_t row);
/* Queues an event; text may be NULL. Without memory it is dropped: events inform, the recording counts. */
void roam_load_tell(roam_load *l, const roam_event *event, const char *text);

#endif
