/* blob.h - for those who know that nobody on another thread will ever count a blob. */
#ifndef ROAM_BASE_BLOB_H
#define ROAM_BASE_BLOB_H

#include <roamqtt/base.h>

/* From now on it is counted without locked instructions, which wait until all that was written before has left the
 * processor: for a message that goes to many they cost more than the rest. Before a second count is taken; NULL is fine. */
void roam_blob_stay(roam_blob *blob);

#endif
