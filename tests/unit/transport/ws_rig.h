/* ws_rig.h - a WebSocket endpoint byte by byte: frames by hand go in, what it says comes out. */
#ifndef WS_RIG_H
#define WS_RIG_H

#include "unit/transport/pair.h"

enum {
  WS_HANDLE = 91,
  WS_OUT_MAX = 4096
};

static const char ws_upgrade[] = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                                 "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct ws_rig {
  struct pair *p;
  uint8_t out[WS_OUT_MAX];
  size_t out_len;
};

static inline void ws_take_out(struct ws_rig *r) {
  roam_wire out[16];
  size_t n;
  while ((n = side_drain(r->p->server, r->p->g->now, out, 16)) > 0) {
    for (size_t i = 0; i < n; i++) {
      if (out[i].kind != ROAM_WIRE_DATA) continue;
      assert_true(r->out_len + out[i].len <= WS_OUT_MAX);
      memcpy(r->out + r->out_len, out[i].data, out[i].len);
      r->out_len += out[i].len;
    }
  }
  side_poll(r->p->server, NULL, 0);
}

static inline void ws_send(struct ws_rig *r, const char *bytes, size_t len) {
  roam_wire unit = {
      .kind = ROAM_WIRE_DATA, .handle = ROAM_HANDLE_EDGE | WS_HANDLE, .data = (const uint8_t *)bytes, .len = len};
  if (len > 0) side_feed(r->p->server, r->p->g->now, &unit, 1);
  ws_take_out(r);
}

static inline void ws_begin(struct ws_rig *r) {
  struct pair_how how = {.kind = ROAM_TRANSPORT_WS};
  *r = (struct ws_rig){.p = pair_new(&how)};
  roam_wire accept = {.kind = ROAM_WIRE_ACCEPT, .handle = ROAM_HANDLE_EDGE | WS_HANDLE, .parent = r->p->listener};
  side_feed(r->p->server, r->p->g->now, &accept, 1);
}

#endif
