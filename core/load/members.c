/* members.c - what happens to the clients of a run: connected, subscribed, delivered. Commands that follow from it are
 * given after all events of a batch are read, because a command ends the life of the pointers in them. Refuses to count
 * deliveries (worker.c does). */
#include "load/load.h"

#include <string.h>

#define EVENTS 64

static void become_ready(roam_load *l, struct roam_member *m) {
  if (!m->ready) l->ready++;
  m->ready = true;
}

static void hear_connected(roam_load *l, struct roam_member *m, const roam_event *ev) {
  if (m->connects++ > 0) m->worker->reconnects++;
  else if (m->publisher) become_ready(l, m);
  else m->subscribe = true;
  roam_load_note_link(l, "connected", m, ev);
}

static void hear_subscribed(roam_load *l, struct roam_member *m, const roam_event *ev) {
  if (m->ready) return;
  if (ev->u.ack.codes.len && ev->u.ack.codes.base[0] >= 0x80) {
    roam_load_fail(l, ROAM_E_REFUSED, "%s: the broker refused the subscription (0x%02x)", m->worker->name,
                   ev->u.ack.codes.base[0]);
    return;
  }
  become_ready(l, m);
}

static void hear_message(roam_load *l, struct roam_member *m, const roam_event *ev) {
  uint64_t k = 0, latency_ns = 0;
  if (l->state != ROAM_LOAD_RUNNING || m->publisher) return;
  enum roam_delivery what = roam_worker_deliver(m->worker, &l->plan, l->o.payload_bytes, ev->u.message.payload,
                                                l->now - l->started, &k, &latency_ns);
  const roam_field fields[] = {{"n", ROAM_FIELD_UINT, k, {0}}, {"latency_ns", ROAM_FIELD_UINT, latency_ns, {0}}};
  switch (what) {
    case ROAM_DELIVERY_FIRST: roam_load_note(l, "delivered", m->row, fields, 2); break;
    case ROAM_DELIVERY_AGAIN: roam_load_note(l, "duplicate", m->row, fields, 1); break;
    default: roam_load_note(l, "corrupt", m->row, NULL, 0);
  }
}

static void pass_on(roam_load *l, const struct roam_member *m, const roam_event *ev) {
  roam_event event = *ev;
  event.id = (roam_bytes){(const uint8_t *)m->worker->name, strlen(m->worker->name)};
  event.token = m->publisher ? 0 : 1;
  roam_load_tell(l, &event, ev->text);
}

static void hear_closed(roam_load *l, struct roam_member *m, const roam_event *ev) {
  roam_load_note_link(l, "closed", m, ev);
  if (l->state != ROAM_LOAD_CONNECTING) return;
  roam_load_fail(l, ev->rc ? ev->rc : ROAM_E_LOST, "%s: the %s ended: %s", m->worker->name,
                 m->publisher ? "publisher" : "subscriber", ev->text ? ev->text : roam_strerror(ev->rc));
}

static void hear_event(roam_load *l, struct roam_member *m, const roam_event *ev) {
  switch (ev->kind) {
    case ROAM_EV_MESSAGE: hear_message(l, m, ev); return;
    case ROAM_EV_SUBSCRIBED: hear_subscribed(l, m, ev); return;
    case ROAM_EV_CONNECTED: hear_connected(l, m, ev); break;
    case ROAM_EV_DISCONNECTED: roam_load_note_link(l, "disconnected", m, ev); break;
    case ROAM_EV_CLOSED: hear_closed(l, m, ev); break;
    case ROAM_EV_PATH_PROBING: roam_load_note_path(l, "path-probing", m, ev); break;
    case ROAM_EV_PATH_FAILED: roam_load_note_path(l, "path-failed", m, ev); break;
    case ROAM_EV_PATH_MIGRATED:
      m->worker->migrations++;
      roam_load_note_path(l, "path-migrated", m, ev);
      break;
    default: return;
  }
  pass_on(l, m, ev);
}

static void subscribe(roam_load *l, struct roam_member *m) {
  const char *topic = m->worker->topic;
  const roam_filter filter = {.filter = {(const uint8_t *)topic, strlen(topic)}, .qos = l->o.qos};
  m->subscribe = false;
  roam_rc rc = roam_client_subscribe(m->client, l->now, &filter, 1, NULL);
  if (rc) roam_load_fail(l, rc, "%s: cannot subscribe: %s", m->worker->name, roam_strerror(rc));
}

bool roam_load_hear(roam_load *l, struct roam_member *m) {
  roam_event events[EVENTS];
  size_t n, heard = 0;
  do {
    n = roam_client_poll(m->client, events, EVENTS);
    for (size_t i = 0; i < n; i++) hear_event(l, m, &events[i]);
    heard += n;
  } while (n == EVENTS);
  if (m->subscribe) subscribe(l, m);
  return heard > 0;
}
