/* durable_gate.c - when what is written down leaves for the disk, and when answers may leave for the network.
 *
 * One batch is open, at most one is being written. What is said while `open` has epoch e depends at most on e, so answers
 * are marked with e and wait until e is committed; an epoch in which nothing changed is committed for free as soon as the
 * one before it is. A batch whose disk is full is kept and tried again; any other failure is final, because nobody knows
 * what is on the disk then: clients are sent away, and nothing that was not true has been said to them. */
#include "broker/broker.h"

#define RETRY_NS ROAM_S

bool roam_durable_shares(const roam_broker *b) { return b->mail && b->durable.store; }

static bool is_idle(const roam_broker *b) {
  const struct roam_durable *d = &b->durable;
  return !d->writing && d->open.len == 0 && !d->starved && (!b->mail || roam_cut_idle(b));
}

/* Nothing is open and nothing being written: all that was said so far is true. */
static void pass(roam_broker *b) {
  if (b->durable.on && is_idle(b)) b->durable.committed = b->durable.epoch++;
}

uint64_t roam_durable_epoch(const roam_broker *b, uint64_t changes_before) {
  if (roam_mail_gates(b)) return roam_mail_epoch(b, changes_before);
  return b->durable.on && b->durable.changes != changes_before ? b->durable.epoch : 0;
}

static void set_hold(roam_broker *b, struct roam_peer *p) {
  struct roam_durable *d = &b->durable;
  roam_session_hold(p->session, p->record && p->record->kept ? d->epoch : 0);
  roam_session_release(p->session, d->committed);
}

void roam_durable_enter(roam_broker *b, struct roam_peer *p) {
  if (roam_mail_gates(b)) roam_mail_enter(b, p);
  if (!b->durable.store || !p->session) return;
  pass(b);
  set_hold(b, p);
}

void roam_durable_wait(roam_broker *b, struct roam_peer *p) {
  if (roam_list_empty(&p->held)) roam_list_push_back(&b->durable.held, &p->held);
}

void roam_durable_leave(roam_broker *b, struct roam_peer *p) {
  if (roam_mail_gates(b)) roam_mail_leave(b, p);
  struct roam_durable *d = &b->durable;
  if (!d->on || !p->session || !roam_session_held(p->session)) return;
  uint64_t before = d->committed;
  pass(b);
  if (d->committed != before) roam_peer_mark(b, p); /* nothing changed: it may all go */
  else roam_durable_wait(b, p);
}

bool roam_durable_stalled(const roam_broker *b) {
  const struct roam_durable *d = &b->durable;
  if (b->mail && (roam_mail_stalled(b) || (d->on && d->cut.under_way))) return true;
  return d->on && d->open.len > 0 && d->open.len + d->cut.batch.len + d->sealed.len > b->o.store_pending_bytes_max;
}

/* ---- out and back ---- */

static void dismiss(roam_broker *b) {
  ROAM_LIST_EACH(&b->peers, node) {
    struct roam_peer *p = ROAM_CONTAINER(node, struct roam_peer, all);
    if (p->state == ROAM_PEER_UP) roam_peer_say(b, p, ROAM_REASON_IMPLEMENTATION_SPECIFIC, "the store has failed");
  }
}

static void tell(roam_broker *b, roam_event_kind kind, roam_rc rc, const char *why) {
  roam_event *ev = roam_broker_tell(b, kind, NULL, why);
  ev->rc = rc;
  if (rc) roam_trace(&b->o.log, b->now, STORE_FAILED, .why = why);
  else roam_trace(&b->o.log, b->now, STORE_RECOVERED, .why = why);
}

void roam_durable_fail(roam_broker *b, roam_rc rc, const char *why) {
  struct roam_durable *d = &b->durable;
  if (!d->on) return;
  d->on = false;
  d->failed = true;
  d->retry_at = ROAM_NEVER;
  tell(b, ROAM_EV_STORE_FAILED, rc, why && *why ? why : roam_strerror(rc));
  if (b->mail) roam_cut_end(b);
  dismiss(b);
}

static void seal(roam_broker *b, struct roam_batch *batch, uint64_t epoch, uint64_t number) {
  struct roam_durable *d = &b->durable;
  struct roam_batch sealed = *batch;
  *batch = d->sealed;
  d->sealed = sealed;
  d->sealed_epoch = epoch;
  d->sealed_number = number;
  d->writing = true;
  d->sent = false;
  d->sealed_at = b->now;
}

/* What is next, when there is something. */
static void seal_next(roam_broker *b) {
  struct roam_durable *d = &b->durable;
  if (b->mail) {
    roam_cut_step(b);
    if (!d->cut.ready || d->writing || !d->on) return;
    seal(b, &d->cut.batch, d->cut.epoch, d->cut.done);
    d->cut.ready = false;
  } else if (!d->writing && d->open.len > 0) {
    seal(b, &d->open, d->epoch, d->epoch);
    d->epoch++;
  }
}

bool roam_durable_drain(roam_broker *b, roam_wire *out) {
  struct roam_durable *d = &b->durable;
  if (!d->on) return false;
  if (d->starved) {
    roam_durable_fail(b, ROAM_E_MEMORY, "no memory for what must be written to the store");
    return false;
  }
  seal_next(b);
  if (!d->on || !d->writing || d->sent || b->now < (d->retry_at == ROAM_NEVER ? 0 : d->retry_at)) return false;
  d->sent = true;
  d->retry_at = ROAM_NEVER;
  *out = (roam_wire){.kind = ROAM_WIRE_STORE,
                     .handle = b->mail ? b->mail->n : 0,
                     .credit = d->sealed_number,
                     .data = d->sealed.base,
                     .len = d->sealed.len};
  return true;
}

void roam_durable_wake(roam_broker *b) {
  for (struct roam_list *node; (node = roam_list_pop_front(&b->durable.held)) != NULL;)
    roam_peer_mark(b, ROAM_CONTAINER(node, struct roam_peer, held));
}

static void commit(roam_broker *b) {
  struct roam_durable *d = &b->durable;
  d->writing = false;
  d->committed = d->sealed_epoch;
  d->commits++;
  roam_batch_clear(&d->sealed);
  if (d->full) tell(b, ROAM_EV_STORE_RECOVERED, 0, "the store can be written again");
  d->full = false;
  if (b->mail) roam_mail_bury(b);
  roam_durable_wake(b);
}

void roam_durable_stored(roam_broker *b, const roam_wire *unit) {
  struct roam_durable *d = &b->durable;
  if (!d->on || !d->writing || !d->sent || unit->credit != d->sealed_number) return;
  if (unit->error == 0) {
    commit(b);
  } else if (unit->error == ROAM_E_NO_SPACE) {
    if (!d->full) tell(b, ROAM_EV_STORE_FAILED, ROAM_E_NO_SPACE, unit->name ? unit->name : roam_strerror(ROAM_E_NO_SPACE));
    d->full = true;
    d->sent = false;
    d->sealed_at = b->now;
    d->retry_at = b->now + RETRY_NS;
  } else {
    roam_durable_fail(b, unit->error, unit->name);
  }
}

/* ---- time ---- */

static roam_time give_up_at(const roam_broker *b) {
  const struct roam_durable *d = &b->durable;
  if (b->mail && d->on && d->cut.under_way && d->cut.opened) return d->cut.begun_at + b->o.store_timeout_ns;
  return d->on && d->writing && d->sent ? d->sealed_at + b->o.store_timeout_ns : ROAM_NEVER;
}

void roam_durable_tick(roam_broker *b) {
  if (b->now >= give_up_at(b)) roam_durable_fail(b, ROAM_E_TIMEOUT, "the store has not answered within store_timeout_ns");
}

roam_time roam_durable_deadline(const roam_broker *b) {
  const struct roam_durable *d = &b->durable;
  if (!d->on) return ROAM_NEVER;
  if (d->starved || (b->mail && roam_cut_waits(b))) return b->now;
  if (d->writing && !d->sent && d->retry_at != ROAM_NEVER) return d->retry_at;
  if ((!b->mail && !d->writing && d->open.len > 0) || (d->writing && !d->sent)) return b->now;
  return give_up_at(b);
}
