/* mail.c - MAIL between the machines of a host: there at once and read at the receiver's next turn, or after a latency that
 * is drawn for each unit, as between threads that do not wait for each other. What one machine sends keeps its order. */
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

struct sim_letter {
  struct roam_list node; /* to->letters */
  struct sim_timer timer;
  struct sim_machine *to;
  roam_wire unit;
  uint8_t data[];
};

roam_rc roam_host_seat(roam_host *h, roam_machine machine, uint32_t seat, void (*drop)(const uint8_t *data, size_t len)) {
  struct sim_machine *m = roam_sim_machine_find(h, &machine);
  if (!m) return ROAM_E_NOT_FOUND;
  m->seated = true;
  m->seat = seat;
  m->drop = drop;
  return 0;
}

void roam_host_mail_latency(roam_host *h, uint64_t most_ns) { h->mail_ns = most_ns; }

static struct sim_machine *at_seat(const struct roam_host *h, uint32_t seat) {
  ROAM_LIST_EACH(&h->machines, node) {
    struct sim_machine *m = ROAM_CONTAINER(node, struct sim_machine, node);
    if (m->seated && m->seat == seat) return m;
  }
  return NULL;
}

/* Takes data over. */
static void hand_over(struct sim_machine *to, const roam_wire *unit, const uint8_t *data) {
  uint8_t *copy = roam_ring_full(&to->inbox) ? NULL : malloc(unit->len + 1);
  if (!copy) {
    if (to->drop) to->drop(data, unit->len);
    return;
  }
  memcpy(copy, data, unit->len);
  roam_wire mail = *unit;
  mail.data = copy;
  roam_sim_feed(to, &mail, NULL, copy);
}

static void free_letter(struct sim_letter *l) {
  roam_heap_remove(&l->to->host->world->timers, &l->timer.node);
  roam_list_remove(&l->node);
  free(l);
}

static void arrive(struct roam_world *w, struct sim_timer *timer) {
  struct sim_letter *l = ROAM_CONTAINER(timer, struct sim_letter, timer);
  (void)w;
  hand_over(l->to, &l->unit, l->data);
  free_letter(l);
}

void roam_sim_mail_send(struct sim_machine *m, const roam_wire *unit) {
  struct roam_world *w = m->host->world;
  struct sim_machine *to = m->seated ? at_seat(m->host, unit->handle) : NULL;
  roam_wire mail = {.kind = ROAM_WIRE_MAIL, .handle = m->seat, .len = unit->len};
  if (to && m->host->mail_ns == 0) {
    hand_over(to, &mail, unit->data);
    return;
  }
  struct sim_letter *l = to ? malloc(sizeof *l + unit->len) : NULL;
  if (!l) {
    if (m->drop) m->drop(unit->data, unit->len);
    return;
  }
  *l = (struct sim_letter){.timer = {.fire = arrive}, .to = to, .unit = mail};
  memcpy(l->data, unit->data, unit->len);
  roam_list_push_back(&to->letters, &l->node);
  roam_time at = w->now + roam_random_below(&w->rng.random, m->host->mail_ns);
  m->mail_at = at > m->mail_at ? at : m->mail_at + 1;
  roam_sim_timer_set(w, &l->timer, m->mail_at);
}

void roam_sim_mail_abandon(struct sim_machine *m) {
  for (struct roam_list *node; (node = roam_list_first(&m->letters)) != NULL;) {
    struct sim_letter *l = ROAM_CONTAINER(node, struct sim_letter, node);
    if (m->drop) m->drop(l->data, l->unit.len);
    free_letter(l);
  }
}
