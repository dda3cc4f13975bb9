/* keepalive.c - section 3.1.2.10. A client that has sent nothing for the Keep Alive asks for a sign of life; when none has
 * come half a Keep Alive later (at least 5 s), the connection is given up. Any packet is a sign of life: a PINGRESP may
 * stand behind a long message. A server gives up after one and a half times the Keep Alive without a packet. QUIC's own
 * PING is not this file's. */
#include "mqtt/session.h"

static roam_time keep_alive_ns(const roam_session *s) { return (roam_time)s->live.keep_alive_s * ROAM_S; }

static roam_time pingresp_deadline(const roam_session *s) {
  roam_time patience = keep_alive_ns(s) / 2 > ROAM_PINGRESP_MIN ? keep_alive_ns(s) / 2 : ROAM_PINGRESP_MIN;
  return (s->live.ping_at > s->live.last_in ? s->live.ping_at : s->live.last_in) + patience;
}

roam_time roam_keepalive_deadline(const roam_session *s) {
  if (s->live.link != ROAM_LINK_UP || s->live.keep_alive_s == 0) {
    return ROAM_NEVER;
  }
  if (s->o.role == ROAM_ROLE_SERVER) {
    return s->live.last_in + keep_alive_ns(s) + keep_alive_ns(s) / 2;
  }
  return s->live.ping_waits ? pingresp_deadline(s) : s->live.last_out + keep_alive_ns(s);
}

static void send_ping(roam_session *s) {
  struct roam_lane *lane = roam_session_lane(s, 0);
  if (lane != NULL && roam_session_put(s, lane, &(roam_packet){.type = ROAM_PINGREQ, .version = s->version}) == 0) {
    s->live.ping_waits = true;
    s->live.ping_at = s->now;
  }
}

void roam_keepalive_tick(roam_session *s) {
  if (s->now < roam_keepalive_deadline(s)) {
    return;
  }
  if (s->o.role == ROAM_ROLE_CLIENT && !s->live.ping_waits) {
    send_ping(s);
    return;
  }
  roam_session_fail(s, 0, ROAM_E_TIMEOUT, ROAM_REASON_KEEP_ALIVE_TIMEOUT, "nothing came within the Keep Alive");
}

void roam_session_ping(roam_session *s, roam_time now) {
  roam_session_enter(s, now);
  if (s->o.role != ROAM_ROLE_CLIENT || s->live.link != ROAM_LINK_UP) {
    return;
  }
  struct roam_lane *lane = roam_session_lane(s, 0);
  if (lane != NULL && roam_buf_len(&lane->live.out) == 0) { /* what waits there is as good a sign of life */
    send_ping(s);
  }
}

void roam_session_on_pingreq(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  (void)p;
  if (lane->number != 0 && !s->flows) {
    return; /* a sign of life, which has been noted; nobody answers it there, and clients choke on an answer */
  }
  if (roam_ring_count(&lane->live.marks) > 0) {
    lane->live.pongs += lane->live.pongs < ROAM_PONGS_MAX ? 1 : 0; /* a slow disk is no reason to seem dead */
  } else {
    uint64_t hold = s->hold;
    s->hold = 0;
    roam_session_put(s, lane, &(roam_packet){.type = ROAM_PINGRESP, .version = s->version});
    s->hold = hold;
  }
  roam_session_slim(s);
}

void roam_session_on_pingresp(roam_session *s, struct roam_lane *lane, const roam_packet *p) {
  (void)p;
  if (lane->number != 0) {
    return;
  }
  s->live.ping_waits = false;
  roam_session_slim(s);
}
