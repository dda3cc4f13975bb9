/* post.c - MAIL between machines whose loops run on different threads. Each seat has a box under a lock of its own: senders
 * append to it, the receiver takes all of it over at once and reads without the lock. A sender that finds the box empty
 * wakes the receiver. Refuses to know what is in a unit; how much may be under way is the machines' affair, and the bound
 * here is for those that do not keep to it. */
#include "loop/post.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define BOX_BYTES_MAX ((size_t)256 << 20)

struct head {
  uint32_t from;
  uint32_t zero;
  uint64_t len;
};

struct seat {
  pthread_mutex_t lock;
  struct roam_buf box;   /* under the lock: struct head and bytes, again and again */
  roam_loop *loop;       /* under the lock */
  struct roam_buf taken; /* the receiver's */
  size_t at;             /* where it reads */
};

struct roam_post {
  pthread_mutex_t lock; /* of the writer's coming and going */
  struct roam_writer *writer;
  roam_store *store;
  uint32_t writers; /* who has it */
  uint32_t count;
  void (*drop)(const uint8_t *data, size_t len);
  struct seat seats[];
};

roam_post *roam_post_new(uint32_t seats, void (*drop)(const uint8_t *data, size_t len)) {
  roam_post *post = seats > 0 ? calloc(1, sizeof *post + seats * sizeof post->seats[0]) : NULL;
  if (!post) return NULL;
  pthread_mutex_init(&post->lock, NULL);
  post->count = seats;
  post->drop = drop;
  for (uint32_t i = 0; i < seats; i++) {
    pthread_mutex_init(&post->seats[i].lock, NULL);
    roam_buf_init(&post->seats[i].box, BOX_BYTES_MAX);
    roam_buf_init(&post->seats[i].taken, BOX_BYTES_MAX);
  }
  return post;
}

static bool read_at(const struct roam_buf *buf, size_t at, struct head *head, const uint8_t **data) {
  roam_bytes all = roam_buf_view(buf);
  if (at == all.len) return false;
  memcpy(head, all.base + at, sizeof *head);
  *data = all.base + at + sizeof *head;
  return true;
}

static void drop_from(roam_post *post, struct roam_buf *buf, size_t at) {
  struct head head;
  const uint8_t *data;
  for (; read_at(buf, at, &head, &data); at += sizeof head + head.len)
    if (post->drop) post->drop(data, head.len);
  roam_buf_reset(buf);
}

void roam_post_free(roam_post *post) {
  if (!post) return;
  for (uint32_t i = 0; i < post->count; i++) {
    drop_from(post, &post->seats[i].taken, post->seats[i].at);
    drop_from(post, &post->seats[i].box, 0);
    pthread_mutex_destroy(&post->seats[i].lock);
  }
  pthread_mutex_destroy(&post->lock);
  free(post);
}

struct roam_writer *roam_post_writer(roam_post *post, uint32_t seat, roam_store *store, void (*done)(void *),
                                     void *context) {
  pthread_mutex_lock(&post->lock);
  struct roam_writer *writer = NULL;
  if (seat < ROAM_WRITER_SEATS_MAX && (!post->writer || post->store == store)) {
    if (!post->writer) post->writer = roam_writer_new(store);
    writer = post->writer;
    post->store = store;
    post->writers += writer != NULL;
  }
  if (writer) roam_writer_sit(writer, seat, done, context);
  pthread_mutex_unlock(&post->lock);
  return writer;
}

void roam_post_give_back(roam_post *post, uint32_t seat, struct roam_writer *writer) {
  pthread_mutex_lock(&post->lock);
  roam_writer_sit(writer, seat, NULL, NULL);
  if (--post->writers == 0) {
    roam_writer_free(writer);
    post->writer = NULL;
  }
  pthread_mutex_unlock(&post->lock);
}

void roam_post_sit(roam_post *post, uint32_t seat, roam_loop *loop) {
  struct seat *s = &post->seats[seat];
  pthread_mutex_lock(&s->lock);
  s->loop = loop;
  if (loop && roam_buf_len(&s->box) > 0) roam_loop_wake(loop);
  pthread_mutex_unlock(&s->lock);
}

uint32_t roam_post_seats(const roam_post *post) { return post->count; }

void roam_post_put(roam_post *post, uint32_t from, const roam_wire *unit) {
  struct head head = {.from = from, .len = unit->len};
  struct seat *s = unit->handle < post->count ? &post->seats[unit->handle] : NULL;
  bool kept = false;
  if (s) {
    pthread_mutex_lock(&s->lock);
    bool empty = roam_buf_len(&s->box) == 0;
    uint8_t *to = roam_buf_reserve(&s->box, sizeof head + unit->len);
    if (to) {
      memcpy(to, &head, sizeof head);
      memcpy(to + sizeof head, unit->data, unit->len);
      roam_buf_commit(&s->box, sizeof head + unit->len);
      kept = true;
    }
    if (empty && kept && s->loop) roam_loop_wake(s->loop);
    pthread_mutex_unlock(&s->lock);
  }
  if (!kept && post->drop) post->drop(unit->data, unit->len);
}

void roam_post_fetch(roam_post *post, uint32_t seat) {
  struct seat *s = &post->seats[seat];
  roam_buf_take(&s->taken, roam_buf_len(&s->taken));
  s->at = 0;
  pthread_mutex_lock(&s->lock);
  struct roam_buf box = s->box;
  s->box = s->taken;
  s->taken = box;
  pthread_mutex_unlock(&s->lock);
}

bool roam_post_next(roam_post *post, uint32_t seat, roam_wire *unit) {
  struct seat *s = &post->seats[seat];
  struct head head;
  const uint8_t *data;
  if (!read_at(&s->taken, s->at, &head, &data)) return false;
  *unit = (roam_wire){.kind = ROAM_WIRE_MAIL, .handle = head.from, .data = data, .len = head.len};
  s->at += sizeof head + head.len;
  return true;
}
