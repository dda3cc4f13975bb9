/* journal.c - what a run writes down and what it tells its owner. Decides nothing. */
#include "load/load.h"

#include <stdio.h>
#include <string.h>

static roam_bytes bytes_of(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

static roam_field number(const char *name, uint64_t value) { return (roam_field){name, ROAM_FIELD_UINT, value, {0}}; }

static roam_field text(const char *name, const char *value) {
  return (roam_field){name, ROAM_FIELD_TEXT, 0, bytes_of(value)};
}

static roam_field address(const char *name, const roam_addr *addr, char shown[ROAM_ADDR_TEXT_MAX]) {
  return text(name, roam_addr_format(addr, shown));
}

static const char *side_of(const struct roam_member *m) { return m->publisher ? "publisher" : "subscriber"; }

void roam_load_note(roam_load *l, const char *kind, uint32_t row, const roam_field fields[], size_t n) {
  /* What does not fit is counted by the recorder, and its owner asks. */
  if (l->recorder) (void)roam_recorder_put(l->recorder, l->now, kind, row, fields, n);
}

void roam_load_note_rows(roam_load *l) {
  for (uint32_t i = 0; i < l->workers_len; i++) {
    const roam_field fields[] = {text("name", l->workers[i].name), text("topic", l->workers[i].topic),
                                 text("publisher", roam_client_id(l->members[2 * i].client)),
                                 text("subscriber", roam_client_id(l->members[2 * i + 1].client))};
    roam_load_note(l, "row", i, fields, 4);
  }
}

void roam_load_note_start(roam_load *l) {
  const roam_field fields[] = {number("rate_per_s", l->o.rate_per_s),
                               number("count", l->plan.count),
                               number("payload_bytes", l->o.payload_bytes),
                               number("qos", l->o.qos),
                               number("last_ns", roam_plan_offset(&l->plan, l->plan.count - 1)),
                               number("settle_ns", l->o.settle_ns)};
  roam_load_note(l, "start", ROAM_RECORD_NO_ROW, fields, 6);
}

void roam_load_note_link(roam_load *l, const char *kind, const struct roam_member *m, const roam_event *ev) {
  char local[ROAM_ADDR_TEXT_MAX], remote[ROAM_ADDR_TEXT_MAX];
  const roam_field fields[] = {text("side", side_of(m)),
                               text("transport", roam_transport_name(ev->u.link.transport)),
                               address("local", &ev->u.link.local, local),
                               address("remote", &ev->u.link.remote, remote),
                               (roam_field){"rc", ROAM_FIELD_INT, (uint64_t)(int64_t)ev->rc, {0}},
                               (roam_field){"reason", ROAM_FIELD_INT, (uint64_t)(int64_t)ev->reason, {0}},
                               (roam_field){"session_present", ROAM_FIELD_BOOL, ev->u.link.session_present, {0}},
                               number("retry_ns", ev->u.link.retry_ns)};
  roam_load_note(l, kind, m->row, fields, 8);
}

void roam_load_note_path(roam_load *l, const char *kind, const struct roam_member *m, const roam_event *ev) {
  char local[ROAM_ADDR_TEXT_MAX], old_local[ROAM_ADDR_TEXT_MAX];
  const roam_field fields[] = {text("side", side_of(m)), address("local", &ev->u.path.local, local),
                               address("old_local", &ev->u.path.old_local, old_local),
                               (roam_field){"rc", ROAM_FIELD_INT, (uint64_t)(int64_t)ev->rc, {0}},
                               number("validation_ns", ev->u.path.validation_ns)};
  roam_load_note(l, kind, m->row, fields, 5);
}

void roam_load_note_rate(roam_load *l, uint32_t row) {
  struct roam_worker *w = &l->workers[row];
  const roam_field fields[] = {number("second", l->second), number("published", w->published_second),
                               number("received", w->received_second)};
  roam_load_note(l, "rate", row, fields, 3);
  roam_event event = {.kind = ROAM_EV_RATE,
                      .reason = -1,
                      .id = bytes_of(w->name),
                      .u.rate = {row, l->second, w->published_second, w->received_second}};
  roam_load_tell(l, &event, NULL);
  w->published_second = w->received_second = 0;
}

void roam_load_tell(roam_load *l, const roam_event *event, const char *said) {
  if (roam_ring_full(&l->events)) roam_ring_pop(&l->events, NULL);
  struct roam_load_event *out = roam_ring_add(&l->events);
  if (!out) return;
  out->event = *event;
  out->event.at = l->now;
  out->event.text = NULL;
  if (said) snprintf(out->text, sizeof out->text, "%s", said);
}
