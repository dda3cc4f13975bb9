/* post.h - the post office as the loop's own files see it. */
#ifndef ROAM_LOOP_POST_H
#define ROAM_LOOP_POST_H

#include <roamqtt/loop.h>

#include "loop/writer.h"

/* Where a machine of this loop is to be found; NULL: it is not there any more. Waits for nobody for long. */
void roam_post_sit(roam_post *post, uint32_t seat, roam_loop *loop);
void roam_post_put(roam_post *post, uint32_t from, const roam_wire *unit);
/* Takes over what has come for a seat; units live until the next call. Then one after the other, until false. */
void roam_post_fetch(roam_post *post, uint32_t seat);
bool roam_post_next(roam_post *post, uint32_t seat, roam_wire *unit);
uint32_t roam_post_seats(const roam_post *post);
/* The writer of the store that they have in common, made by who asks first and ended when all have given it back. done as
 * roam_writer_sit. NULL: no memory, or it is another store than the one of the others. */
struct roam_writer *roam_post_writer(roam_post *post, uint32_t seat, roam_store *store, void (*done)(void *),
                                     void *context);
void roam_post_give_back(roam_post *post, uint32_t seat, struct roam_writer *writer);

#endif
