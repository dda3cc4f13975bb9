/* blob.c - an immutable, counted block: one copy of a payload for all who send it. The only shared thing in the library, so
 * the only atomic count in it. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <roamqtt/base.h>

#include "base/assert.h"
#include "base/blob.h"

struct roam_blob {
  atomic_size_t count;
  size_t len;
  bool stays; /* on one thread */
  uint8_t data[];
};

roam_blob *roam_blob_new(const void *bytes, size_t len) {
  if (len > SIZE_MAX - sizeof(roam_blob)) return NULL;
  roam_blob *blob = malloc(sizeof *blob + len);
  if (!blob) return NULL;
  atomic_init(&blob->count, 1);
  blob->len = len;
  blob->stays = false;
  if (bytes && len > 0) memcpy(blob->data, bytes, len);
  return blob;
}

void roam_blob_stay(roam_blob *blob) {
  if (blob) blob->stays = true;
}

static void count_here(roam_blob *blob, size_t more) {
  size_t count = atomic_load_explicit(&blob->count, memory_order_relaxed) + more;
  atomic_store_explicit(&blob->count, count, memory_order_relaxed);
}

roam_blob *roam_blob_ref(roam_blob *blob) {
  if (!blob) return NULL;
  if (blob->stays) count_here(blob, 1);
  else atomic_fetch_add_explicit(&blob->count, 1, memory_order_relaxed);
  return blob;
}

void roam_blob_unref(roam_blob *blob) {
  if (!blob) return;
  /* The only count there is: nobody can be taking another. Most blobs end here, without a locked instruction. */
  if (atomic_load_explicit(&blob->count, memory_order_acquire) == 1) {
    free(blob);
    return;
  }
  if (blob->stays) {
    count_here(blob, SIZE_MAX); /* one less */
    return;
  }
  /* Release our uses before the count falls; acquire everybody's before the memory goes. */
  size_t before = atomic_fetch_sub_explicit(&blob->count, 1, memory_order_acq_rel);
  ROAM_ASSERT(before > 0);
  if (before == 1) free(blob);
}

uint8_t *roam_blob_data(roam_blob *blob) { return blob->data; }

size_t roam_blob_len(const roam_blob *blob) { return blob->len; }
