/* will.h - what a client asked to be said when it vanishes (section 3.1.2.5). Armed with the CONNECT; what happens when is
 * will.c's theory. */
#ifndef ROAM_BROKER_WILL_H
#define ROAM_BROKER_WILL_H

#include <roamqtt/mqtt.h>

#include "base/heap.h"

struct roam_will {
  struct roam_heap_node due; /* set while it waits for its delay */
  roam_blob *blob;           /* topic, properties, payload; NULL: no will */
  roam_bytes topic, props, payload;
  uint32_t delay_s;
  uint8_t qos;
  bool retain;
};

/* Copies it from a CONNECT. ROAM_E_MEMORY; ROAM_E_ARGUMENT: the topic cannot be published to. */
roam_rc roam_will_arm(struct roam_will *will, const roam_packet *connect);
void roam_will_drop(struct roam_will *will, struct roam_heap *waiting);
static inline bool roam_will_armed(const struct roam_will *will) { return will->blob != NULL; }
/* The message of a will, made at `now`, when its Message Expiry Interval begins. */
roam_rc roam_will_make(const struct roam_will *will, roam_time now, roam_message *out);

#endif
