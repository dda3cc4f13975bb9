/* will.c - wills as data: kept from CONNECT, made into a message when their time has come.
 *
 * A will is dropped by DISCONNECT 0x00 and by nothing else that ends a connection. At any other end it is due after its
 * Will Delay Interval, or when its session ends, whichever comes first; a new connection to the same session before that
 * drops it, a clean start ends the session and so makes it due (section 3.1.3.2.2). sessions.c acts on this. */
#include "broker/will.h"

#include <string.h>

static uint8_t *copy_part(uint8_t *to, roam_bytes from, roam_bytes *view) {
  if (from.len > 0) memcpy(to, from.base, from.len);
  *view = (roam_bytes){to, from.len};
  return to + from.len;
}

/* Without the delay, which is no property of a PUBLISH. */
static size_t copy_props(uint8_t *to, roam_bytes props) {
  size_t len = 0;
  roam_prop prop;
  for (;;) {
    const uint8_t *from = props.base;
    if (roam_prop_next(&props, &prop) != 1) return len;
    if (prop.id == ROAM_PROP_WILL_DELAY_INTERVAL) continue;
    memcpy(to + len, from, (size_t)(props.base - from));
    len += (size_t)(props.base - from);
  }
}

roam_rc roam_will_arm(struct roam_will *will, const roam_packet *connect) {
  roam_prop delay = {0};
  roam_bytes props = connect->version == ROAM_MQTT_5 ? connect->connect.will_props : (roam_bytes){0};
  if (!roam_topic_valid(connect->connect.will_topic)) return ROAM_E_ARGUMENT;
  roam_blob *blob = roam_blob_new(NULL, connect->connect.will_topic.len + props.len + connect->connect.will_payload.len);
  if (!blob) return ROAM_E_MEMORY;
  roam_prop_find(props, ROAM_PROP_WILL_DELAY_INTERVAL, &delay);
  will->blob = blob;
  will->delay_s = delay.number;
  will->qos = connect->connect.will_qos;
  will->retain = connect->connect.will_retain;
  uint8_t *at = copy_part(roam_blob_data(blob), connect->connect.will_topic, &will->topic);
  will->props = (roam_bytes){at, copy_props(at, props)};
  copy_part(at + will->props.len, connect->connect.will_payload, &will->payload);
  return 0;
}

void roam_will_drop(struct roam_will *will, struct roam_heap *waiting) {
  roam_heap_remove(waiting, &will->due);
  roam_blob_unref(will->blob);
  will->blob = NULL;
}

roam_rc roam_will_make(const struct roam_will *will, roam_time now, roam_message *out) {
  return roam_message_make(out, now, will->topic, will->props, will->payload, will->qos, will->retain);
}
