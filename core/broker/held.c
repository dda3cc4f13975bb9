/* held.c - what connections hold, for each client and all together, and what happens when it is too much.
 *
 * Counted is what a connection costs by being there, what has arrived and is not handled (packets cut in the middle), what
 * has been sent and is not acknowledged, by the transport or by MQTT, and datagrams that wait. Payloads are shared by all
 * who get them and are counted for each, so the sum is never too small. A peer is counted anew when it is visited: whatever
 * arrives or is routed to it visits it. What is acknowledged meanwhile is noticed late, so before anybody is ended all are
 * counted once more.
 *
 * Connections and the queues of sessions share a bound: neither takes more than the other leaves, and each may have half.
 * So queues of clients that are away never shut out those that come, and slow connections never empty the queues. */
#include "broker/broker.h"

#define MODEST 65536u /* beside what it costs to be there: nobody who holds no more is ended for all */
#define SWEEP_NS (100 * ROAM_MS)
#define ENDS_MAX 64u /* in one sweep; the next comes soon */
#define ROOM_FOR_GOODBYE 512u

void roam_held_forget(roam_broker *b, struct roam_peer *p) {
  b->held_bytes -= p->held_bytes;
  p->held_bytes = 0;
}

static void count(roam_broker *b, struct roam_peer *p) {
  size_t now = roam_conn_memory(p->conn).bytes + (p->record ? p->record->inflight_seen : 0);
  b->held_bytes = b->held_bytes - p->held_bytes + now;
  p->held_bytes = now;
}

static size_t share(size_t max, size_t others) { return max - (others < max / 2 ? others : max / 2); }

bool roam_held_is_short(const roam_broker *b) { return b->queued_bytes >= share(b->o.memory_max, b->held_bytes); }

bool roam_held_queue_is_full(const roam_broker *b, const struct roam_record *r) {
  return r->peer && r->queued_seen >= share(b->o.client_memory_max, r->peer->held_bytes);
}

static bool is_over(const roam_broker *b) { return b->held_bytes > share(b->o.memory_max, b->queued_bytes); }

bool roam_held_enter(roam_broker *b, struct roam_peer *p) {
  count(b, p);
  if (!is_over(b)) return true;
  roam_held_forget(b, p);
  b->stats.memory_limited++;
  return false;
}

/* Who takes nothing more would not hear why either, and what is to be heard stays in memory. */
static void end(roam_broker *b, struct roam_peer *p, const char *text) {
  b->stats.memory_limited++;
  if (p->state == ROAM_PEER_UP && roam_conn_room(p->conn, 0) >= ROOM_FOR_GOODBYE)
    roam_peer_say(b, p, ROAM_REASON_QUOTA_EXCEEDED, text);
  else roam_peer_leave(b, p, (struct roam_end){ROAM_E_LIMIT, ROAM_REASON_QUOTA_EXCEEDED, text}, false);
}

static bool may_be_ended(const struct roam_peer *p) {
  return p->state != ROAM_PEER_LEFT && p->held_bytes > MODEST && p->held_bytes - MODEST > roam_conn_memory(p->conn).base;
}

static struct roam_peer *find_largest(const roam_broker *b) {
  struct roam_peer *most = NULL;
  ROAM_LIST_EACH(&b->peers, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, all);
    if ((!most || p->held_bytes > most->held_bytes) && may_be_ended(p)) most = p;
  }
  return most;
}

static void relieve(roam_broker *b) {
  struct roam_peer *most;
  if (b->now < b->swept_at + SWEEP_NS) return;
  b->swept_at = b->now;
  ROAM_LIST_EACH(&b->peers, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, all);
    if (p->state != ROAM_PEER_LEFT) count(b, p);
  }
  for (unsigned n = 0; n < ENDS_MAX && is_over(b) && (most = find_largest(b)); n++)
    end(b, most, "memory_max is reached, and it holds the most");
}

void roam_held_check(roam_broker *b, struct roam_peer *p) {
  if (p->state == ROAM_PEER_LEFT) return;
  count(b, p);
  if (p->held_bytes > b->o.client_memory_max) end(b, p, "client_memory_max is reached");
  if (is_over(b)) relieve(b);
}
