/* on_disconnect.c - how a connection's MQTT ends: DISCONNECT both ways, faults; and AUTH, which is neither here nor there.
 * The owner closes the connection itself; this file only sees to it that nothing wrong is sent before. */
#include "base/assert.h"
#include "mqtt/session.h"

#include <string.h>

/* How much of the answers leaves all the same: the rest of a packet already begun, and a server's CONNACK, before which
 * nothing else may come (section 3.2). */
static size_t measure_bound(const struct roam_lane_live *live) {
  size_t bound = live->taken + live->split;
  roam_bytes out = roam_buf_view(&live->out);
  if (live->split > 0 || out.len <= bound || out.base[bound] >> 4 != ROAM_CONNACK) {
    return bound;
  }
  uint32_t remaining = 0;
  int used = roam_varint_read(out.base + bound + 1, out.len - bound - 1, &remaining);
  ROAM_ASSERT(used > 0);
  return bound + 1 + (size_t)used + remaining;
}

void roam_session_end(roam_session *s) {
  s->live.link = ROAM_LINK_OVER;
  for (uint32_t i = 0; i < s->lanes_len; i++) {
    struct roam_lane_live *live = &s->lanes[i]->live;
    size_t bound = measure_bound(live);
    if (roam_buf_len(&live->out) > bound) {
      live->out.len = bound;
    }
  }
}

static void drop_farewell(roam_session *s) {
  roam_blob_unref(s->live.farewell);
  s->live.farewell = NULL;
}

/* Without memory for the packet the connection ends without it. */
static void prepare_farewell(roam_session *s, uint8_t reason, roam_bytes props) {
  roam_packet p = {.type = ROAM_DISCONNECT, .version = s->version, .reason = reason, .props = props};
  if (roam_packet_size(&p) > s->live.peer_packet_max) {
    p.props = (roam_bytes){NULL, 0};
  }
  size_t size = roam_packet_size(&p), len;
  roam_blob *blob = size > 0 ? roam_blob_new(NULL, size) : NULL;
  if (blob != NULL && roam_packet_write(&p, roam_blob_data(blob), size, &len) != 0) {
    roam_blob_unref(blob);
    blob = NULL;
  }
  drop_farewell(s);
  s->live.farewell = blob;
}

static void say_why(roam_session *s, uint8_t reason, const char *text) {
  uint8_t space[256];
  roam_props props = {.base = space, .cap = sizeof space};
  roam_bytes words = {(const uint8_t *)text, text != NULL ? strlen(text) : 0};
  if (s->o.reason_strings && words.len > 0) {
    roam_props_put_bytes(&props, ROAM_PROP_REASON_STRING, words); /* what does not fit is left out */
  }
  prepare_farewell(s, reason, (roam_bytes){props.base, props.len});
}

/* A client whose CONNECT has not begun to leave has nobody to take leave of: CONNECT is the first packet (section 3.1). */
static bool is_unheard(roam_session *s) {
  struct roam_lane *lane = s->live.link == ROAM_LINK_CONNECTING ? roam_session_lane(s, 0) : NULL;
  if (lane == NULL || lane->live.split > 0) {
    return false;
  }
  roam_bytes out = roam_buf_view(&lane->live.out);
  return out.len > lane->live.taken && out.base[lane->live.taken] >> 4 == ROAM_CONNECT;
}

void roam_session_fail(roam_session *s, uint32_t lane, roam_rc rc, uint8_t reason, const char *text) {
  if (s->live.link == ROAM_LINK_NONE || s->live.link == ROAM_LINK_OVER) {
    return;
  }
  if (lane != 0) {
    roam_lane_fail(s, roam_session_find_lane(s, lane), lane, rc, reason, text);
    return;
  }
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_FAULT, lane);
  t->rc = rc;
  t->reason = reason;
  t->text = text;
  if (is_unheard(s)) {
    drop_farewell(s);
  } else if (s->version == ROAM_MQTT_5 && (s->o.role == ROAM_ROLE_SERVER || reason != ROAM_REASON_KEEP_ALIVE_TIMEOUT)) {
    /* a client has no DISCONNECT for a silent server (section 3.14.2.1), and nobody would read it */
    say_why(s, reason, text);
    s->live.goodbye = ROAM_GOODBYE_HURRIED;
  }
  roam_session_end(s);
}

roam_rc roam_session_disconnect(roam_session *s, roam_time now, uint8_t reason, roam_bytes props) {
  roam_session_enter(s, now);
  if (s->live.link != ROAM_LINK_UP && s->live.link != ROAM_LINK_CONNECTING) {
    return ROAM_E_STATE;
  }
  roam_fault fault;
  if (!roam_reason_fits(reason, ROAM_DISCONNECT) || roam_props_check(props, ROAM_IN(ROAM_DISCONNECT), &fault) != 0) {
    return ROAM_E_ARGUMENT;
  }
  if (reason >= 0x80 && is_unheard(s)) {
    drop_farewell(s);
  } else if (s->version == ROAM_MQTT_5 || s->o.role == ROAM_ROLE_CLIENT) {
    prepare_farewell(s, reason, props);
  }
  s->live.goodbye = ROAM_GOODBYE_ORDERLY;
  if (reason >= 0x80) {
    s->live.goodbye = ROAM_GOODBYE_HURRIED;
    roam_session_end(s);
  }
  return 0;
}

/* Section 3.14.2.2.2: the interval may be changed at the end, but not from nothing to something. */
static bool begins_expiry(const roam_session *s, const roam_packet *p) {
  return s->o.role == ROAM_ROLE_SERVER && s->version == ROAM_MQTT_5 && !s->live.peer_expires &&
         roam_props_number(p->props, ROAM_PROP_SESSION_EXPIRY_INTERVAL, 0) != 0;
}

void roam_session_on_disconnect(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  if (begins_expiry(s, p)) {
    roam_session_fail(s, lane->number, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR,
                      "DISCONNECT begins a Session Expiry Interval that CONNECT did not have");
    return;
  }
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_DISCONNECT, lane->number);
  t->type = p->type;
  t->reason = p->reason;
  t->props = p->props;
  roam_session_end(s);
}

/* ---- AUTH ---- */

void roam_session_on_auth(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  struct roam_tiding *t = roam_session_tell(s, ROAM_SE_AUTH, lane->number);
  t->type = p->type;
  t->reason = p->reason;
  t->props = p->props;
}

roam_rc roam_session_auth(roam_session *s, roam_time now, uint8_t reason, roam_bytes props) {
  roam_session_enter(s, now);
  if (s->version != ROAM_MQTT_5) {
    return ROAM_E_UNSUPPORTED;
  }
  if (s->live.link != ROAM_LINK_UP && s->live.link != ROAM_LINK_CONNECTING) {
    return ROAM_E_STATE;
  }
  roam_packet p = {.type = ROAM_AUTH, .version = s->version, .reason = reason, .props = props};
  struct roam_lane *lane = roam_session_lane(s, 0);
  return lane != NULL ? roam_session_put(s, lane, &p) : ROAM_E_MEMORY;
}
