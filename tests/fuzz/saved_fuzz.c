/* saved_fuzz.c - what a client saved in an earlier run, which may have been anybody's file since. What is taken from it is
 * within its bounds, and is written and read again as the same. */
#include "fuzz.h"

#include "client/saved.h"

static const struct roam_saved_time later = {.now = 1000 * ROAM_S, .unix_s = 1700000000};

static void check_entry(struct roam_saved *s, const struct roam_saved_entry *e) {
  struct roam_saved_key key = {.host = e->host, .port = e->port};
  roam_resume resume;
  FUZZ_CHECK(e->port != 0 && memchr(e->host, 0, sizeof e->host) != NULL);
  memcpy(key.print, e->print, sizeof key.print);
  roam_saved_offer(s, &key, &later, &resume);
  FUZZ_CHECK(resume.session.len <= 16384 && resume.params.len <= 16384 && resume.token.len <= 16384);
  if (resume.session.len > 0)
    FUZZ_CHECK(e->lifetime_s > 0 && e->received_unix_s <= later.unix_s); /* no ticket of tomorrow */
}

static bool same_blob(roam_blob *a, roam_blob *b) {
  if (!a || !b) return a == b;
  return fuzz_same((roam_bytes){roam_blob_data(a), roam_blob_len(a)}, (roam_bytes){roam_blob_data(b), roam_blob_len(b)});
}

static const struct roam_saved_entry *find(const struct roam_saved *s, const struct roam_saved_entry *e) {
  for (size_t i = 0; s->entries && i < ROAM_SAVED_MAX; i++) {
    const struct roam_saved_entry *other = &s->entries[i];
    if (strcmp(other->host, e->host) == 0 && other->port == e->port && memcmp(other->print, e->print, sizeof e->print) == 0)
      return other;
  }
  return NULL;
}

static void write_again(struct roam_saved *s) {
  struct roam_saved again = {0};
  roam_bytes bytes = roam_saved_encode(s);
  if (bytes.len == 0) return; /* more than is ever written */
  uint8_t *copy = fuzz_copy(bytes);
  FUZZ_CHECK(roam_saved_load(&again, (roam_bytes){copy, bytes.len}));
  for (size_t i = 0; i < ROAM_SAVED_MAX; i++) {
    const struct roam_saved_entry *e = &s->entries[i], *other = e->host[0] ? find(&again, e) : NULL;
    if (!e->host[0]) continue;
    FUZZ_CHECK(other && same_blob(e->session, other->session) && same_blob(e->params, other->params));
    FUZZ_CHECK(same_blob(e->token, other->token) && e->lifetime_s == other->lifetime_s && e->rtt_ns == other->rtt_ns);
    FUZZ_CHECK(e->received_unix_s == other->received_unix_s);
  }
  free(copy);
  roam_saved_reset(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct roam_saved s = {0};
  if (size > 65536) return 0;
  uint8_t *copy = fuzz_copy((roam_bytes){data, size});
  bool known = roam_saved_load(&s, (roam_bytes){copy, size});
  free(copy); /* nothing of it is borrowed */
  if (!known) FUZZ_CHECK(s.entries == NULL);
  for (size_t i = 0; s.entries && i < ROAM_SAVED_MAX; i++)
    if (s.entries[i].host[0]) check_entry(&s, &s.entries[i]);
  if (s.entries) write_again(&s);
  roam_saved_reset(&s);
  return 0;
}
