/* inflight.c - the table of our unanswered packets: found by packet identifier in one step, walked in the order they were
 * first sent. It allocates by doubling and never per message; it knows nothing of windows or connections. */
#include "base/assert.h"
#include "mqtt/session.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 8u
#define SLOTS_MAX 65536u

roam_rc roam_outgoing_init(struct roam_outgoing *m, const roam_message *message, const roam_publish_how *how,
                           uint64_t token) {
  uint8_t qos = how->qos;
  *m = (struct roam_outgoing){
      .topic = message->topic.base,
      .props = message->props.base,
      .payload = message->payload.base,
      .topic_len = (uint16_t)message->topic.len,
      .props_len = (uint32_t)message->props.len,
      .payload_len = (uint32_t)message->payload.len,
      .expires = message->expires,
      .token = token,
      .qos = qos,
      .safe = how->safe_to_repeat,
      .report = (qos | how->report_qos0) != 0,
      .sub_ids_len = (uint32_t)how->sub_ids.len,
  };
  m->retain = how->retain; /* apart: read together as a word, the two would wait for the writes before them */
  if (how->sub_ids.len > sizeof m->sub_ids) {
    m->sub_blob = roam_blob_new(how->sub_ids.base, how->sub_ids.len);
    if (m->sub_blob == NULL) {
      return ROAM_E_MEMORY;
    }
  } else if (how->sub_ids.len > 0) {
    memcpy(m->sub_ids, how->sub_ids.base, how->sub_ids.len);
  }
  m->blob = roam_blob_ref(message->blob);
  return 0;
}

void roam_outgoing_reset(struct roam_outgoing *m) {
  roam_blob_unref(m->blob);
  roam_blob_unref(m->sub_blob);
  m->blob = m->sub_blob = NULL;
}

roam_bytes roam_outgoing_sub_ids(const struct roam_outgoing *m) {
  return (roam_bytes){m->sub_blob != NULL ? roam_blob_data(m->sub_blob) : m->sub_ids, m->sub_ids_len};
}

size_t roam_outgoing_bytes(const struct roam_outgoing *m) { return (size_t)m->topic_len + m->props_len + m->payload_len; }

static struct roam_exchange *slot_of(const struct roam_inflight *f, uint16_t packet_id) {
  return &f->slots[packet_id & (f->cap - 1)];
}

void roam_inflight_reset(struct roam_inflight *f) {
  for (uint16_t id = f->first; id != 0;) {
    struct roam_exchange *x = slot_of(f, id);
    id = x->next;
    roam_outgoing_reset(&x->message);
  }
  free(f->slots);
  *f = (struct roam_inflight){.last_id = f->last_id};
}

static bool grow(struct roam_inflight *f) {
  uint32_t cap = f->cap == 0 ? SLOTS_MIN : 2 * f->cap;
  struct roam_exchange *slots = cap <= SLOTS_MAX ? calloc(cap, sizeof *slots) : NULL;
  if (slots == NULL) {
    return false;
  }
  for (uint16_t id = f->first; id != 0; id = slot_of(f, id)->next) {
    slots[id & (cap - 1)] = *slot_of(f, id);
  }
  free(f->slots);
  f->slots = slots;
  f->cap = cap;
  return true;
}

/* The next identifier whose slot is free; there is one, because at most half of the slots are in use. */
static uint16_t choose_id(struct roam_inflight *f) {
  do {
    f->last_id = f->last_id == UINT16_MAX ? 1 : (uint16_t)(f->last_id + 1);
  } while (slot_of(f, f->last_id)->packet_id != 0);
  return f->last_id;
}

static struct roam_exchange *append(struct roam_inflight *f, uint16_t id) {
  struct roam_exchange *x = slot_of(f, id);
  *x = (struct roam_exchange){.packet_id = id, .prev = f->last};
  if (f->last != 0) {
    slot_of(f, f->last)->next = id;
  } else {
    f->first = id;
  }
  f->last = id;
  f->count++;
  return x;
}

struct roam_exchange *roam_inflight_add(struct roam_inflight *f) {
  if (2 * f->count >= f->cap && !grow(f)) {
    return NULL;
  }
  return append(f, choose_id(f));
}

struct roam_exchange *roam_inflight_add_as(struct roam_inflight *f, uint16_t packet_id) {
  if (packet_id == 0 || roam_inflight_find(f, packet_id) != NULL) {
    return NULL;
  }
  while (2 * f->count >= f->cap || slot_of(f, packet_id)->packet_id != 0) {
    if (!grow(f)) {
      return NULL;
    }
  }
  f->last_id = packet_id;
  return append(f, packet_id);
}

struct roam_exchange *roam_inflight_find(const struct roam_inflight *f, uint16_t packet_id) {
  if (f->cap == 0 || packet_id == 0) {
    return NULL;
  }
  struct roam_exchange *x = slot_of(f, packet_id);
  return x->packet_id == packet_id ? x : NULL;
}

void roam_inflight_hold(struct roam_inflight *f, struct roam_exchange *x) {
  x->held = (uint32_t)roam_outgoing_bytes(&x->message);
  f->bytes += x->held;
}

void roam_inflight_let_go(struct roam_inflight *f, struct roam_exchange *x) {
  ROAM_ASSERT(f->bytes >= x->held);
  f->bytes -= x->held;
  x->held = 0;
}

void roam_inflight_remove(struct roam_inflight *f, struct roam_exchange *x) {
  ROAM_ASSERT(x->packet_id != 0 && f->count > 0);
  if (x->prev != 0) {
    slot_of(f, x->prev)->next = x->next;
  } else {
    f->first = x->next;
  }
  if (x->next != 0) {
    slot_of(f, x->next)->prev = x->prev;
  } else {
    f->last = x->prev;
  }
  roam_inflight_let_go(f, x);
  x->packet_id = 0;
  f->count--;
}
