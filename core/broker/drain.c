/* drain.c - sending everybody to another server, in good order: each client is asked to leave by DISCONNECT with a Server
 * Reference, evenly spread over a stated time so that the other server is not stormed, and who comes meanwhile is sent on
 * in CONNACK. Refuses to end sessions: they expire, or are asked for again, as always. */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"

static uint32_t count_up(const roam_broker *b) {
  uint32_t n = 0;
  ROAM_LIST_EACH(&b->peers, node) n += ROAM_CONTAINER(node, struct roam_peer, all)->state == ROAM_PEER_UP;
  return n;
}

static struct roam_peer *first_up(const roam_broker *b) {
  ROAM_LIST_EACH(&b->peers, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, all);
    if (p->state == ROAM_PEER_UP) return p;
  }
  return NULL;
}

roam_rc roam_broker_send_away(roam_broker *b, roam_time now, uint8_t reason, const char *server_reference,
                              uint64_t spread_ns) {
  struct roam_drain *d = &b->drain;
  b->now = now > b->now ? now : b->now;
  if (b->stopping) return ROAM_E_CLOSED;
  if (reason != ROAM_REASON_USE_ANOTHER_SERVER && reason != ROAM_REASON_SERVER_MOVED) return ROAM_E_ARGUMENT;
  size_t len = server_reference ? strlen(server_reference) : 0;
  if (len == 0 || len >= sizeof d->reference || !roam_utf8_valid((roam_bytes){(const uint8_t *)server_reference, len}))
    return ROAM_E_ARGUMENT;
  uint32_t count = count_up(b);
  *d = (struct roam_drain){.active = true, .reason = reason, .next_at = b->now};
  memcpy(d->reference, server_reference, len);
  d->step_ns = count > 0 ? spread_ns / count : 0;
  roam_trace(&b->o.log, b->now, DRAINING, .clients = count, .server = d->reference, .seconds = spread_ns / ROAM_S);
  return 0;
}

roam_bytes roam_drain_props(const roam_broker *b, uint8_t space[ROAM_DRAIN_PROPS_MAX]) {
  roam_props props = {.base = space, .cap = ROAM_DRAIN_PROPS_MAX};
  const char *ref = b->drain.reference;
  roam_props_put_bytes(&props, ROAM_PROP_SERVER_REFERENCE, (roam_bytes){(const uint8_t *)ref, strlen(ref)});
  return (roam_bytes){props.base, props.len};
}

static void ask(roam_broker *b, struct roam_peer *p) {
  uint8_t space[ROAM_DRAIN_PROPS_MAX];
  b->drain.asked++;
  b->stats.drained++;
  roam_peer_say_with(b, p, b->drain.reason, roam_drain_props(b, space), "sent to another server");
}

void roam_drain_tick(roam_broker *b) {
  struct roam_drain *d = &b->drain;
  struct roam_peer *p;
  while (d->active && !d->done && b->now >= d->next_at && (p = first_up(b)) != NULL) {
    ask(b, p);
    d->next_at += d->step_ns;
  }
  if (!d->active || d->done || b->now < d->next_at || first_up(b)) return;
  d->done = true;
  roam_broker_tell(b, ROAM_EV_DRAINED, NULL, NULL)->token = d->asked;
}

roam_time roam_drain_deadline(const roam_broker *b) {
  return b->drain.active && !b->drain.done ? b->drain.next_at : ROAM_NEVER;
}
