/* store.c - what all stores have in common. Refuses to know where bytes are kept. */
#include "store/store.h"

#include <string.h>

void roam_store_options_init(roam_store_options *o) {
  *o = (roam_store_options){.size = sizeof *o, .sync = ROAM_STORE_SYNC_ALWAYS, .sync_interval_ns = ROAM_S};
}

roam_store_options roam_store_options_read(const roam_store_options *o) {
  roam_store_options read;
  roam_store_options_init(&read);
  if (o) memcpy(&read, o, o->size < sizeof read ? o->size : sizeof read);
  return read;
}

void roam_store_free(roam_store *store) {
  if (store) store->ops->free(store);
}
