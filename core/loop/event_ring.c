/* event_ring.c - events on their way from the loop's thread to a reader's, deep copied, bounded in number and bytes.
 * Refuses to wait: a full ring is a value that the producer asks for.
 *
 * A batch is one block of memory: the events, and behind them every byte they point to. The reader takes a block out of the
 * queue whole and walks it without a lock, so a lock costs once per batch. A block counts until the reader has left it.
 *
 * Nobody sleeps while something waits: `signalled` changes under the mutex only. The producer signals when it is not set;
 * the reader clears it, and empties the descriptor, in the same locked moment in which it finds the queue empty. What is
 * put after that moment signals anew. */
#include "loop/event_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
  BATCH_MAX = 512,
  EVENT_BYTES_GUESS = 16384, /* near the byte bound, batches shrink so that events of this size would just fit */
  PIECES_MAX = 5
};

struct entry {
  roam_event event;
  uint64_t tag;
};

struct roam_event_block {
  struct roam_event_block *next;
  size_t n, at, bytes;
  struct entry entries[];
};

int roam_event_ring_init(struct roam_event_ring *ring, size_t events_max, size_t bytes_max) {
  *ring = (struct roam_event_ring){.events_max = events_max, .bytes_max = bytes_max};
  ring->last = &ring->first;
  ring->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (ring->fd < 0) return errno;
  int error = pthread_mutex_init(&ring->mutex, NULL);
  if (error != 0) close(ring->fd);
  return error;
}

void roam_event_ring_reset(struct roam_event_ring *ring) {
  for (struct roam_event_block *b = ring->first, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  free(ring->reading);
  pthread_mutex_destroy(&ring->mutex);
  close(ring->fd);
}

/* ---- copying --------------------------------------------------------------------------------------------------------- */

/* The byte views in an event, by its kind; how many. */
static size_t list_pieces(roam_event *ev, roam_bytes *pieces[PIECES_MAX]) {
  size_t n = 0;
  pieces[n++] = &ev->id;
  switch (ev->kind) {
    case ROAM_EV_MESSAGE:
      pieces[n++] = &ev->u.message.topic;
      pieces[n++] = &ev->u.message.payload;
      pieces[n++] = &ev->u.message.props;
      break;
    case ROAM_EV_PUBLISHED:
    case ROAM_EV_SUBSCRIBED:
    case ROAM_EV_UNSUBSCRIBED:
      pieces[n++] = &ev->u.ack.codes;
      pieces[n++] = &ev->u.ack.props;
      break;
    case ROAM_EV_AUTH:
      pieces[n++] = &ev->u.auth.user_name;
      pieces[n++] = &ev->u.auth.password;
      pieces[n++] = &ev->u.auth.method;
      pieces[n++] = &ev->u.auth.data;
      break;
    default: break;
  }
  return n;
}

static size_t count_bytes(const roam_event *ev) {
  roam_event copy = *ev;
  roam_bytes *pieces[PIECES_MAX];
  size_t bytes = ev->text ? strlen(ev->text) + 1 : 0;
  for (size_t i = list_pieces(&copy, pieces); i > 0; i--) bytes += pieces[i - 1]->len;
  return bytes;
}

static uint8_t *copy_bytes(roam_event *ev, uint8_t *to) {
  roam_bytes *pieces[PIECES_MAX];
  size_t n = list_pieces(ev, pieces);
  for (size_t i = 0; i < n; i++) {
    if (pieces[i]->len > 0) memcpy(to, pieces[i]->base, pieces[i]->len);
    if (pieces[i]->base || ev->kind != ROAM_EV_AUTH) pieces[i]->base = to; /* there, NULL says that it was not given */
    to += pieces[i]->len;
  }
  if (!ev->text) return to;
  size_t len = strlen(ev->text) + 1;
  ev->text = memcpy(to, ev->text, len);
  return to + len;
}

static struct roam_event_block *copy_batch(uint64_t tag, const roam_event ev[], size_t n) {
  size_t bytes = sizeof(struct roam_event_block) + n * sizeof(struct entry);
  for (size_t i = 0; i < n; i++) bytes += count_bytes(&ev[i]);
  struct roam_event_block *block = malloc(bytes);
  if (!block) return NULL;
  block->next = NULL;
  block->n = n;
  block->at = 0;
  block->bytes = bytes;
  uint8_t *to = (uint8_t *)&block->entries[n];
  for (size_t i = 0; i < n; i++) {
    block->entries[i] = (struct entry){ev[i], tag};
    to = copy_bytes(&block->entries[i].event, to);
  }
  return block;
}

/* ---- producer -------------------------------------------------------------------------------------------------------- */

size_t roam_event_ring_room(struct roam_event_ring *ring) {
  pthread_mutex_lock(&ring->mutex);
  size_t n = ring->events_max > ring->events ? ring->events_max - ring->events : 0;
  size_t left = ring->bytes_max > ring->bytes ? ring->bytes_max - ring->bytes : 0;
  if (n > BATCH_MAX) n = BATCH_MAX;
  if (left == 0) n = 0;
  else if (n > left / EVENT_BYTES_GUESS + 1) n = left / EVENT_BYTES_GUESS + 1;
  if (n == 0) ring->starved = true;
  pthread_mutex_unlock(&ring->mutex);
  return n;
}

static void signal_reader(struct roam_event_ring *ring) {
  if (ring->signalled) return;
  ring->signalled = true;
  uint64_t one = 1;
  (void)!write(ring->fd, &one, sizeof one);
}

void roam_event_ring_put(struct roam_event_ring *ring, uint64_t tag, const roam_event ev[], size_t n) {
  struct roam_event_block *block = copy_batch(tag, ev, n);
  pthread_mutex_lock(&ring->mutex);
  if (block) {
    *ring->last = block;
    ring->last = &block->next;
    ring->events += n;
    ring->bytes += block->bytes;
  } else {
    ring->lost = true;
  }
  signal_reader(ring);
  pthread_mutex_unlock(&ring->mutex);
}

/* ---- reader ---------------------------------------------------------------------------------------------------------- */

/* Gives the block just read back to the bounds; whether the producer waits for that. */
static bool leave_block(struct roam_event_ring *ring) {
  struct roam_event_block *block = ring->reading;
  if (!block) return false;
  ring->reading = NULL;
  ring->events -= block->n;
  ring->bytes -= block->bytes;
  free(block);
  if (!ring->starved || ring->events > ring->events_max / 2 || ring->bytes > ring->bytes_max / 2) return false;
  ring->starved = false;
  return true;
}

static int tell_lost(struct roam_event_ring *ring, roam_event *ev, uint64_t *tag) {
  ring->lost = false;
  *tag = 0;
  *ev = (roam_event){.kind = ROAM_EV_NONE, .rc = ROAM_E_MEMORY, .reason = -1, .text = "events were lost: out of memory"};
  return 1;
}

static void fall_silent(struct roam_event_ring *ring) {
  if (!ring->signalled) return;
  uint64_t count;
  (void)!read(ring->fd, &count, sizeof count);
  ring->signalled = false;
}

int roam_event_ring_take(struct roam_event_ring *ring, roam_event *ev, uint64_t *tag, bool *wake) {
  *wake = false;
  if (!ring->reading || ring->reading->at == ring->reading->n) {
    pthread_mutex_lock(&ring->mutex);
    *wake = leave_block(ring);
    ring->reading = ring->first;
    if (ring->first) ring->first = ring->first->next;
    if (!ring->first) ring->last = &ring->first;
    int told = !ring->reading && ring->lost ? tell_lost(ring, ev, tag) : 0;
    if (!ring->reading && told == 0) fall_silent(ring);
    pthread_mutex_unlock(&ring->mutex);
    if (!ring->reading) return told;
  }
  struct entry *entry = &ring->reading->entries[ring->reading->at++];
  *ev = entry->event;
  *tag = entry->tag;
  return 1;
}
