/* durable_cut.c - one commit of several workers: a cut through all of them that no letter crosses. What one worker has
 * written down and what others have because of it becomes true together or not at all, so the reasoning of one worker holds
 * for all: a QoS 2 identifier and the deliveries of its message, a session that leaves and the same that arrives.
 *
 * Theory of operation
 *
 * Rounds are numbered, and all workers go through the same ones. In a round each says ROUND to all others and waits until
 * all have said theirs. What a worker has changed up to its ROUND belongs to the cut; the letters it sends afterwards go
 * out only when it has heard all (mail.c holds them), so whoever reads them has said ROUND, too. With its ROUND each tells
 * whether it is dirty: whether it has sent anything since the ROUND before. If nobody has, no letter is between any two
 * workers, and the cut is complete. If somebody has, there is another round, in which its readers have read that.
 *
 * While a cut is being made no peer is read, so that rounds get clean; two are usual. Each worker then hands its part to
 * the store, which commits the parts of one round together. The next cut begins when that is done and somebody has changed
 * something, or has said something on which an answer depends; then nothing may have to be written, and nothing is. */
#include "broker/broker.h"

static bool wants(const roam_broker *b) {
  const struct roam_durable *d = &b->durable;
  return !d->writing && !d->cut.ready && (d->open.len > 0 || b->mail->dirty);
}

/* Somebody has begun the round after ours. */
static bool is_called(const roam_broker *b) {
  const struct roam_mail *m = b->mail;
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self && m->boxes[i].round > b->durable.cut.round) return true;
  return false;
}

static bool has_heard_all(const roam_broker *b) {
  const struct roam_mail *m = b->mail;
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self && m->boxes[i].round < b->durable.cut.round) return false;
  return true;
}

static bool may_begin(const roam_broker *b) {
  const struct roam_cut *c = &b->durable.cut;
  return c->round == c->done && (c->under_way || is_called(b) || wants(b));
}

void roam_cut_begin(roam_broker *b) {
  b->durable.cut.under_way = true;
  b->durable.cut.begun_at = b->now;
}

bool roam_cut_is_awaited(const roam_broker *b) { return roam_durable_shares(b) && b->durable.on && !b->durable.cut.opened; }

bool roam_cut_idle(const roam_broker *b) {
  const struct roam_cut *c = &b->durable.cut;
  return !c->under_way && !c->ready && c->batch.len == 0 && !b->mail->dirty;
}

bool roam_cut_waits(const roam_broker *b) {
  const struct roam_cut *c = &b->durable.cut;
  if (!b->durable.on) return false;
  return (may_begin(b) && roam_mail_can(b, 1)) || (c->round > c->done && has_heard_all(b)) ||
         (c->ready && !b->durable.writing);
}

static void say(roam_broker *b) {
  struct roam_durable *d = &b->durable;
  struct roam_cut *c = &d->cut;
  struct roam_mail *m = b->mail;
  if (!c->under_way) roam_cut_begin(b);
  bool dirty = m->said != c->said, empty = false;
  c->said = m->said;
  m->dirty = false;
  if (!roam_batch_append(&c->batch, &d->open)) d->starved = true;
  empty = c->batch.len == 0;
  c->epoch = d->epoch++;
  c->round++;
  c->dirty[c->round & 1] = dirty;
  c->empty[c->round & 1] = empty;
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self)
      roam_mail_post(b, i,
                     &(struct roam_letter){.kind = ROAM_LETTER_ROUND, .number = c->round, .flag = dirty, .retain = empty});
}

/* All have said this round. */
static void conclude(roam_broker *b) {
  struct roam_durable *d = &b->durable;
  struct roam_cut *c = &d->cut;
  struct roam_mail *m = b->mail;
  bool dirty = c->dirty[c->round & 1], empty = c->empty[c->round & 1];
  for (uint32_t i = 0; i < m->n; i++) {
    if (i == m->self) continue;
    dirty |= m->boxes[i].dirty[c->round & 1];
    empty &= m->boxes[i].empty[c->round & 1];
  }
  c->done = m->rounds_done = c->round;
  if (dirty) return;
  c->under_way = false;
  c->opened = true;
  c->ready = !empty;
  if (empty) {
    d->committed = c->epoch;
    roam_mail_bury(b);
  }
  roam_durable_wake(b);
}

void roam_cut_step(roam_broker *b) {
  struct roam_cut *c = &b->durable.cut;
  while (b->durable.on && !b->durable.starved) {
    if (may_begin(b)) {
      roam_mail_flush(b);
      if (!roam_mail_can_close(b)) return; /* later */
      say(b);
    }
    if (c->round == c->done || !has_heard_all(b)) return;
    conclude(b);
  }
}

void roam_cut_take(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_mail_box *box = &b->mail->boxes[from];
  if (letter->kind == ROAM_LETTER_FAILED) {
    roam_durable_fail(b, ROAM_E_IO, "the store has failed for another worker");
    return;
  }
  box->round = letter->number;
  box->dirty[letter->number & 1] = letter->flag;
  box->empty[letter->number & 1] = letter->retain;
}

void roam_cut_end(roam_broker *b) {
  struct roam_mail *m = b->mail;
  b->durable.cut.under_way = b->durable.cut.ready = false;
  m->rounds_done = UINT64_MAX; /* mail goes on */
  for (uint32_t i = 0; i < m->n; i++)
    if (i != m->self) roam_mail_post(b, i, &(struct roam_letter){.kind = ROAM_LETTER_FAILED});
  roam_durable_wake(b);
}
