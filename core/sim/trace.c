/* trace.c - the story of a run as text, a line for each thing that happened: "<ns> <what> <where> ...". Every line goes
 * into the hash, kept or not. Numbers are written by hand: there are two lines for each datagram. Refuses to read a line
 * again: whoever compares reads the text. */
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

enum {
  LINE_BYTES = 512
};

struct line {
  char text[LINE_BYTES];
  size_t len;
};

/* Control characters and what does not fit are replaced or cut: a line is a line. */
static void put_bytes(struct line *l, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  for (size_t i = 0; i < n && l->len < LINE_BYTES - 1; i++) {
    l->text[l->len++] = (char)(p[i] < 0x20 || p[i] > 0x7e ? '?' : p[i]);
  }
}

static void put_text(struct line *l, const char *text) { put_bytes(l, text, strlen(text)); }

static void put_number(struct line *l, uint64_t value) {
  char digits[20];
  size_t n = 0;
  do digits[sizeof digits - ++n] = (char)('0' + value % 10);
  while ((value /= 10) > 0);
  put_bytes(l, digits + sizeof digits - n, n);
}

static void put_addr(struct line *l, const roam_addr *a) {
  char text[ROAM_ADDR_TEXT_MAX];
  if (a->family != 4) {
    put_text(l, roam_addr_format(a, text));
    return;
  }
  for (int i = 0; i < 4; i++) {
    put_number(l, a->ip[i]);
    put_text(l, i < 3 ? "." : ":");
  }
  put_number(l, a->port);
}

static void begin(struct line *l, const struct roam_world *w, const char *what, const char *host) {
  l->len = 0;
  put_number(l, w->now);
  put_text(l, " ");
  put_text(l, what);
  if (!host) return;
  put_text(l, " ");
  put_text(l, host);
}

static bool make_room(struct sim_trace *t, size_t n) {
  if (t->full || t->len + n > t->max) return false;
  if (t->len + n <= t->cap) return true;
  size_t cap = t->cap < 4096 ? 4096 : t->cap * 2;
  if (cap > t->max) cap = t->max;
  uint8_t *base = realloc(t->base, cap);
  if (!base) return false;
  t->base = base;
  t->cap = cap;
  return true;
}

static void finish(struct line *l, struct roam_world *w) {
  struct sim_trace *t = &w->trace;
  l->text[l->len++] = '\n';
  for (size_t i = 0; i < l->len; i++) t->hash = (t->hash ^ (uint8_t)l->text[i]) * UINT64_C(0x100000001b3);
  t->lines++;
  if (!make_room(t, l->len)) {
    t->full = true; /* nothing after a gap, so that what is kept is a beginning */
    return;
  }
  memcpy(t->base + t->len, l->text, l->len);
  t->len += l->len;
}

void roam_sim_trace_parcel(struct roam_world *w, const char *what, const char *host, const roam_parcel *parcel) {
  if (!w->o.trace_datagrams) return;
  struct line l;
  begin(&l, w, what, host);
  put_text(&l, parcel->proto == 6 ? " tcp " : " udp ");
  put_addr(&l, &parcel->src);
  put_text(&l, " > ");
  put_addr(&l, &parcel->dst);
  put_text(&l, " ");
  put_number(&l, parcel->len);
  finish(&l, w);
}

void roam_sim_trace_addr(struct roam_world *w, const char *what, const char *host, const roam_addr *a, const roam_addr *b) {
  struct line l;
  begin(&l, w, what, host);
  put_text(&l, " ");
  put_addr(&l, a);
  if (b) {
    put_text(&l, " > ");
    put_addr(&l, b);
  }
  finish(&l, w);
}

void roam_sim_trace_text(struct roam_world *w, const char *what, const char *host, const char *text) {
  struct line l;
  begin(&l, w, what, host);
  put_text(&l, " ");
  put_text(&l, text);
  finish(&l, w);
}

static void take_log(void *context, roam_time at, roam_level level, const char *text, const char *name,
                     const roam_log_field fields[], size_t n) {
  struct roam_host *host = context;
  struct line l;
  (void)at, (void)level, (void)text;
  begin(&l, host->world, "log", host->name);
  put_text(&l, " ");
  put_text(&l, name);
  for (size_t i = 0; i < n; i++) {
    const char *value = fields[i].text;
    if (!fields[i].is_number && !value) continue;
    put_text(&l, " ");
    put_text(&l, fields[i].name);
    put_text(&l, "=");
    bool quoted = !fields[i].is_number && (value[0] == 0 || strpbrk(value, " \""));
    if (quoted) put_text(&l, "\"");
    if (fields[i].is_number) put_number(&l, fields[i].number);
    else put_text(&l, value);
    if (quoted) put_text(&l, "\"");
  }
  finish(&l, host->world);
}

roam_log roam_host_log(roam_host *host, roam_level level) {
  return (roam_log){.context = host, .level = level, .record = take_log};
}

static bool has_path(const roam_event *ev) {
  return (ev->kind >= ROAM_EV_PATH_PROBING && ev->kind <= ROAM_EV_PATH_FAILED) || ev->kind == ROAM_EV_PEER_MOVED ||
         (ev->kind >= ROAM_EV_NAT_REBOUND && ev->kind <= ROAM_EV_NAT_MAPPED);
}

void roam_sim_trace_event(struct roam_world *w, const char *host, const roam_event *ev) {
  struct line l;
  begin(&l, w, "event", host);
  put_text(&l, " ");
  put_text(&l, roam_event_name(ev->kind));
  if (ev->rc != 0) {
    put_text(&l, " ");
    put_text(&l, roam_error_name(ev->rc));
  }
  if (ev->token != 0) {
    put_text(&l, " token ");
    put_number(&l, ev->token);
  }
  if (ev->peer != 0) {
    put_text(&l, " peer ");
    put_number(&l, ev->peer);
  }
  if (ev->id.len > 0) {
    put_text(&l, " id ");
    put_bytes(&l, ev->id.base, ev->id.len < 64 ? ev->id.len : 64);
  }
  if (has_path(ev)) {
    put_text(&l, " ");
    put_addr(&l, &ev->u.path.local);
    put_text(&l, " ");
    put_addr(&l, &ev->u.path.remote);
  }
  if (ev->kind == ROAM_EV_MESSAGE) {
    put_text(&l, " ");
    put_bytes(&l, ev->u.message.topic.base, ev->u.message.topic.len < 64 ? ev->u.message.topic.len : 64);
    put_text(&l, " ");
    put_number(&l, ev->u.message.payload.len);
  }
  finish(&l, w);
}

roam_bytes roam_world_trace(const roam_world *world) { return (roam_bytes){world->trace.base, world->trace.len}; }

uint64_t roam_world_trace_hash(const roam_world *world) { return world->trace.hash; }

void roam_world_note(roam_world *world, const char *text) { roam_sim_trace_text(world, "note", NULL, text); }
