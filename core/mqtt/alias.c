/* alias.c - topic aliases (section 3.3.2.3.4), one table for each direction of a lane. Ours are given out first come, first
 * served, and never changed: a table that thrashes costs more than it saves. */
#include "mqtt/session.h"

#include <stdlib.h>
#include <string.h>

void roam_aliases_reset(struct roam_aliases *a) {
  for (uint16_t i = 0; i < a->count; i++) {
    roam_blob_unref(a->topics[i]);
  }
  free(a->topics);
  *a = (struct roam_aliases){0};
}

static roam_rc make_room(struct roam_aliases *a, uint16_t alias, uint16_t max) {
  if (alias <= a->count) {
    return 0;
  }
  uint32_t count = a->count == 0 ? 8 : 2u * a->count;
  count = count < alias ? alias : count > max ? max : count;
  roam_blob **topics = realloc(a->topics, count * sizeof *topics);
  if (topics == NULL) {
    return ROAM_E_MEMORY;
  }
  memset(topics + a->count, 0, (count - a->count) * sizeof *topics);
  a->topics = topics;
  a->count = (uint16_t)count;
  return 0;
}

roam_rc roam_aliases_set(struct roam_aliases *a, uint16_t alias, uint16_t max, roam_bytes topic, roam_blob **old) {
  *old = NULL;
  roam_rc rv = make_room(a, alias, max);
  if (rv != 0) {
    return rv;
  }
  roam_bytes before = roam_aliases_get(a, alias);
  if (before.len == topic.len && memcmp(before.base, topic.base, topic.len) == 0) {
    return 0;
  }
  roam_blob *blob = roam_blob_new(topic.base, topic.len);
  if (blob == NULL) {
    return ROAM_E_MEMORY;
  }
  *old = a->topics[alias - 1];
  a->topics[alias - 1] = blob;
  return 0;
}

roam_bytes roam_aliases_get(const struct roam_aliases *a, uint16_t alias) {
  roam_blob *blob = alias >= 1 && alias <= a->count ? a->topics[alias - 1] : NULL;
  return blob != NULL ? (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)} : (roam_bytes){NULL, 0};
}

uint16_t roam_aliases_find(const struct roam_aliases *a, roam_bytes topic) {
  for (uint16_t i = 0; i < a->count; i++) {
    roam_blob *blob = a->topics[i];
    if (blob != NULL && roam_blob_len(blob) == topic.len && memcmp(roam_blob_data(blob), topic.base, topic.len) == 0) {
      return (uint16_t)(i + 1);
    }
  }
  return 0;
}

uint16_t roam_aliases_vacant(const struct roam_aliases *a, uint16_t max) {
  for (uint16_t i = 0; i < a->count && i < max; i++) {
    if (a->topics[i] == NULL) {
      return (uint16_t)(i + 1);
    }
  }
  return a->count < max ? (uint16_t)(a->count + 1) : 0;
}
