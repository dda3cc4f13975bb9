/* saved.c - see saved.h. The form is a CBOR sequence of the record layer's items: one "state" with the version, one
 * "server" for each entry. It refuses to read or write files. */
#include "client/saved.h"

#include <roamqtt/record.h>
#include <stdlib.h>
#include <string.h>

#define FORM 1
#define MARGIN_S 60 /* of a ticket's life, for the way and the clocks */
#define LIFETIME_MAX_S (6u * 3600u)
#define ENCODED_MAX (128u * 1024u)
#define PART_MAX 16384u

static roam_bytes view(roam_blob *b) { return b ? (roam_bytes){roam_blob_data(b), roam_blob_len(b)} : (roam_bytes){0}; }

static void drop(roam_blob **b) {
  roam_blob_unref(*b);
  *b = NULL;
}

static void forget(struct roam_saved_entry *e) {
  drop(&e->session);
  drop(&e->params);
  drop(&e->token);
  memset(e, 0, sizeof *e);
}

void roam_saved_reset(struct roam_saved *s) {
  for (size_t i = 0; s->entries && i < ROAM_SAVED_MAX; i++) forget(&s->entries[i]);
  free(s->entries);
  free(s->encoded);
  *s = (struct roam_saved){0};
}

/* ---- entries --------------------------------------------------------------------------------------------------------- */

static struct roam_saved_entry *find(const struct roam_saved *s, const struct roam_saved_key *key) {
  for (size_t i = 0; s->entries && i < ROAM_SAVED_MAX; i++) {
    struct roam_saved_entry *e = &s->entries[i];
    if (e->host[0] && e->port == key->port && strcmp(e->host, key->host) == 0 &&
        memcmp(e->print, key->print, sizeof e->print) == 0)
      return e;
  }
  return NULL;
}

static struct roam_saved_entry *find_or_make(struct roam_saved *s, const struct roam_saved_key *key) {
  struct roam_saved_entry *e = find(s, key);
  if (e || !key->host[0] || strlen(key->host) >= sizeof e->host) return e;
  if (!s->entries) s->entries = calloc(ROAM_SAVED_MAX, sizeof *s->entries);
  if (!s->entries) return NULL;
  e = &s->entries[0];
  for (size_t i = 1; i < ROAM_SAVED_MAX; i++)
    if (s->entries[i].used < e->used) e = &s->entries[i];
  forget(e);
  strcpy(e->host, key->host);
  e->port = key->port;
  memcpy(e->print, key->print, sizeof e->print);
  return e;
}

/* A ticket whose age nobody can tell is too old. */
static bool is_fresh(const struct roam_saved_entry *e, const struct roam_saved_time *t) {
  int64_t lifetime = e->lifetime_s < LIFETIME_MAX_S ? e->lifetime_s : LIFETIME_MAX_S, age;
  if (e->received_at != 0) age = t->now > e->received_at ? (int64_t)((t->now - e->received_at) / ROAM_S) : 0;
  else if (e->received_unix_s != 0 && t->unix_s >= e->received_unix_s) age = t->unix_s - e->received_unix_s;
  else return false;
  return age + MARGIN_S < lifetime;
}

void roam_saved_offer(struct roam_saved *s, const struct roam_saved_key *key, const struct roam_saved_time *t,
                      roam_resume *out) {
  struct roam_saved_entry *e = find(s, key);
  *out = (roam_resume){0};
  if (!e) return;
  e->used = ++s->turn;
  if (e->session && !is_fresh(e, t)) {
    drop(&e->session);
    drop(&e->params);
    s->changed = true;
  }
  *out = (roam_resume){.session = view(e->session),
                       .params = view(e->params),
                       .token = view(e->token),
                       .rtt_ns = e->rtt_ns,
                       .alpn = e->alpn};
}

void roam_saved_spend(struct roam_saved *s, const struct roam_saved_key *key) {
  struct roam_saved_entry *e = find(s, key);
  if (!e || !e->session) return;
  drop(&e->session);
  drop(&e->params);
  s->changed = true;
}

static void replace(roam_blob **b, roam_bytes with) {
  drop(b);
  if (with.len > 0) *b = roam_blob_new(with.base, with.len);
}

void roam_saved_drop_ticket(struct roam_saved *s, const struct roam_saved_key *key) {
  struct roam_saved_entry *e = find(s, key);
  if (!e) return;
  drop(&e->session);
  drop(&e->params);
  s->changed = true;
}

static void set_alpn(struct roam_saved_entry *e, roam_bytes name) {
  size_t len = name.len < sizeof e->alpn ? name.len : 0;
  if (len > 0) memcpy(e->alpn, name.base, len);
  e->alpn[len] = 0;
}

static roam_bytes text(const char *t) { return (roam_bytes){(const uint8_t *)t, strlen(t)}; }

void roam_saved_learn(struct roam_saved *s, const struct roam_saved_key *key, const struct roam_saved_time *t,
                      const roam_resume *learned) {
  struct roam_saved_entry *e = find_or_make(s, key);
  if (!e) return;
  e->used = ++s->turn;
  if (learned->session.len > 0) {
    replace(&e->session, learned->session);
    replace(&e->params, learned->params);
    e->lifetime_s = learned->lifetime_s;
    set_alpn(e, text(learned->alpn ? learned->alpn : ""));
    e->received_at = t->now;
    e->received_unix_s = t->unix_s;
    s->changed = true;
  }
  if (learned->token.len > 0) {
    replace(&e->token, learned->token);
    s->changed = true;
  }
  if (learned->rtt_ns > 0) e->rtt_ns = learned->rtt_ns;
}

/* ---- bytes ----------------------------------------------------------------------------------------------------------- */

static roam_rc put_entry(roam_recorder *r, const struct roam_saved_entry *e) {
  const roam_field fields[] = {
      {.name = "host", .type = ROAM_FIELD_TEXT, .bytes = text(e->host)},
      {.name = "port", .type = ROAM_FIELD_UINT, .number = e->port},
      {.name = "print", .type = ROAM_FIELD_BYTES, .bytes = {e->print, sizeof e->print}},
      {.name = "session", .type = ROAM_FIELD_BYTES, .bytes = view(e->session)},
      {.name = "params", .type = ROAM_FIELD_BYTES, .bytes = view(e->params)},
      {.name = "received", .type = ROAM_FIELD_UINT, .number = (uint64_t)e->received_unix_s},
      {.name = "lifetime", .type = ROAM_FIELD_UINT, .number = e->lifetime_s},
      {.name = "token", .type = ROAM_FIELD_BYTES, .bytes = view(e->token)},
      {.name = "alpn", .type = ROAM_FIELD_TEXT, .bytes = text(e->alpn)},
      {.name = "rtt_ns", .type = ROAM_FIELD_UINT, .number = e->rtt_ns},
  };
  return roam_recorder_put(r, 0, "server", ROAM_RECORD_NO_ROW, fields, sizeof fields / sizeof fields[0]);
}

roam_bytes roam_saved_encode(struct roam_saved *s) {
  free(s->encoded);
  s->encoded = NULL;
  s->encoded_len = 0;
  roam_recorder *r = s->entries ? roam_recorder_new(ENCODED_MAX) : NULL;
  if (!r) return (roam_bytes){0};
  const roam_field form = {.name = "form", .type = ROAM_FIELD_UINT, .number = FORM};
  roam_recorder_start(r, 0);
  roam_rc rc = roam_recorder_put(r, 0, "state", ROAM_RECORD_NO_ROW, &form, 1);
  for (size_t i = 0; rc == 0 && i < ROAM_SAVED_MAX; i++)
    if (s->entries[i].host[0]) rc = put_entry(r, &s->entries[i]);
  roam_bytes bytes = roam_recorder_bytes(r);
  if (rc == 0) s->encoded = malloc(bytes.len);
  if (s->encoded) {
    memcpy(s->encoded, bytes.base, bytes.len);
    s->encoded_len = bytes.len;
  }
  roam_recorder_free(r);
  return (roam_bytes){s->encoded, s->encoded_len};
}

static uint64_t number_of(const roam_record *item, const char *name) {
  const roam_field *f = roam_record_field(item, name);
  return f && f->type == ROAM_FIELD_UINT ? f->number : 0;
}

static roam_bytes bytes_of(const roam_record *item, const char *name, roam_field_type type) {
  const roam_field *f = roam_record_field(item, name);
  return f && f->type == type && f->bytes.len <= PART_MAX ? f->bytes : (roam_bytes){0};
}

static void take_entry(struct roam_saved *s, const roam_record *item) {
  char host[ROAM_SAVED_HOST_MAX] = "";
  roam_bytes name = bytes_of(item, "host", ROAM_FIELD_TEXT), print = bytes_of(item, "print", ROAM_FIELD_BYTES);
  uint64_t port = number_of(item, "port");
  if (name.len == 0 || name.len >= sizeof host || print.len != ROAM_SAVED_PRINT || port == 0 || port > 65535) return;
  memcpy(host, name.base, name.len);
  struct roam_saved_key key = {.host = host, .port = (uint16_t)port};
  memcpy(key.print, print.base, print.len);
  struct roam_saved_entry *e = find_or_make(s, &key);
  if (!e) return;
  replace(&e->session, bytes_of(item, "session", ROAM_FIELD_BYTES));
  replace(&e->params, bytes_of(item, "params", ROAM_FIELD_BYTES));
  replace(&e->token, bytes_of(item, "token", ROAM_FIELD_BYTES));
  set_alpn(e, bytes_of(item, "alpn", ROAM_FIELD_TEXT));
  uint64_t received = number_of(item, "received"), lifetime = number_of(item, "lifetime");
  e->received_unix_s = received <= INT64_MAX ? (int64_t)received : 0;
  e->lifetime_s = lifetime <= UINT32_MAX ? (uint32_t)lifetime : 0;
  e->rtt_ns = number_of(item, "rtt_ns");
  e->used = ++s->turn;
}

bool roam_saved_load(struct roam_saved *s, roam_bytes bytes) {
  roam_record_reader *r = roam_record_reader_new(bytes);
  roam_record *item = malloc(sizeof *item);
  bool known =
      r && item && roam_record_next(r, item) == 1 && strcmp(item->kind, "state") == 0 && number_of(item, "form") == FORM;
  for (size_t i = 0; known && i < ROAM_SAVED_MAX && roam_record_next(r, item) == 1; i++)
    if (strcmp(item->kind, "server") == 0) take_entry(s, item);
  free(item);
  roam_record_reader_free(r);
  return known;
}
