/* report.c - what a run says about itself when asked. Refuses to keep figures of its own. */
#include "load/load.h"

roam_client *roam_load_publisher(roam_load *l, size_t row) {
  if (row >= l->workers_len) return NULL;
  /* Whoever asks is about to give a command, and what it starts must go out. */
  roam_load_touch(l, &l->members[2 * row]);
  return l->members[2 * row].client;
}

bool roam_load_running(const roam_load *l) { return l->state == ROAM_LOAD_RUNNING; }

bool roam_load_over(const roam_load *l) { return l->state == ROAM_LOAD_OVER; }

roam_rc roam_load_error(const roam_load *l, const char **text) {
  if (text) *text = l->rc ? l->why : "";
  return l->rc;
}

roam_time roam_load_started(const roam_load *l) { return l->started; }

roam_rc roam_load_get_report(const roam_load *l, size_t row, roam_load_report *out) {
  if (row >= l->workers_len) return ROAM_E_NOT_FOUND;
  roam_worker_report(&l->workers[row], l->started ? l->now - l->started : 0, out);
  return 0;
}
